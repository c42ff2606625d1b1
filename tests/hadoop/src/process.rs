//! Java processes that do not outlive the test.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

/// What Hadoop needs opened on a Java 17.
const OPENS: &[&str] = &[
    "--add-modules=jdk.unsupported",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.lang.reflect=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-exports=java.security.jgss/sun.security.krb5=ALL-UNNAMED",
];

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/hadoop lies in the root").to_owned()
}

/// Hadoop's jars.
const CLASS_PATH: &str = ".cache/hadoop-classpath.txt";

/// The jars in a list that `tests/setup` has resolved.
fn class_path(list: &str) -> String {
    let list = root().join(list);
    std::fs::read_to_string(&list)
        .unwrap_or_else(|error| panic!("{}: {error}; run tests/setup first (with `hbase` for HBase)", list.display()))
        .trim()
        .to_owned()
}

/// Spawns from a thread that lives as long as the process: a child asks to be killed when the thread that made it ends.
fn spawn(mut command: Command) -> Child {
    type Job = (Command, Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    // SAFETY: prctl is async-signal-safe and touches no memory of the parent.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, todo) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in todo {
                let _ = answer.send(command.spawn()); // who asked may have panicked
            }
        });
        jobs
    });
    let (answer, answered) = channel();
    spawner.send((command, answer)).expect("the spawner lives as long as the process");
    answered.recv().expect("the spawner answers").expect("java starts")
}

/// How much a Java process may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Jvm {
    /// A heap of so many MiB, one collector thread and the first compiler alone: starts soon and leaves the machine to others.
    Small(u32),
    /// A heap of so many MiB; collector and compilers as the machine lets Java choose them.
    Whole(u32),
}

/// A command that runs a main class with the configuration in `conf` and the jars of a list that `tests/setup` has resolved.
pub(crate) fn java(list: &str, main: &str, jvm: Jvm, conf: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("java");
    match jvm {
        Jvm::Small(heap_mb) => {
            command.arg(format!("-Xmx{heap_mb}m")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        }
        Jvm::Whole(heap_mb) => command.arg(format!("-Xmx{heap_mb}m")),
    };
    command
        .arg("-Djava.net.preferIPv4Stack=true")
        .args(OPENS)
        .arg("-cp")
        .arg(format!("{}:{}", conf.display(), class_path(list)))
        .arg(main)
        .args(arguments)
        .env_remove("HADOOP_CONF_DIR")
        .stdin(Stdio::null());
    command
}

/// A Java process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Java {
    child: Child,
    log: PathBuf,
}

impl Java {
    /// Starts a main class with the configuration in `conf`; it logs to `log`.
    pub(crate) fn start(main: &str, heap_mb: u32, conf: &Path, log: &Path, arguments: &[&str]) -> Java {
        Java::spawn(java(CLASS_PATH, main, Jvm::Small(heap_mb), conf, arguments), log)
    }

    /// Starts a command that logs to `log`.
    pub(crate) fn spawn(mut command: Command, log: &Path) -> Java {
        let out = File::options().create(true).append(true).open(log).expect("a log file");
        command.stdout(out.try_clone().expect("a second handle")).stderr(out);
        Java { child: spawn(command), log: log.to_owned() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs a main class to its end; panics unless it succeeds.
    pub(crate) fn run(main: &str, conf: &Path, log: &Path, arguments: &[&str]) {
        Java::start(main, 128, conf, log, arguments).end_well();
    }

    /// Waits for its end; panics unless it is a good one.
    pub(crate) fn end_well(mut self) {
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{status}; {}", self.log_end());
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_some()
    }

    /// Freezes it; none of its threads runs when this returns. It must not be frozen yet.
    pub(crate) fn freeze(&self) {
        self.signal(libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: waitpid(2) writes the status alone; the process has not been waited for, so the id is still ours.
        let answer = unsafe { libc::waitpid(self.child.id() as libc::pid_t, &mut status, libc::WUNTRACED) };
        assert!(answer > 0 && libc::WIFSTOPPED(status), "not frozen: {answer}, status {status}");
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill(2) touches no memory; the process has not been waited for, so the id is still ours.
        let answer = unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
        assert_eq!(answer, 0, "signal {signal}");
    }

    fn log_text(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.log) {
            let _ = file.read_to_string(&mut text); // what cannot be read says nothing
        }
        text
    }

    /// Whether its log has these words.
    pub(crate) fn has_logged(&self, words: &str) -> bool {
        self.log_text().contains(words)
    }

    /// The last lines of its log.
    pub(crate) fn log_end(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        format!("{}:\n{}", self.log.display(), lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}
