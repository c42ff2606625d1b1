//! A real `ferrobase standalone` process: started on free ports, waited for, killed.
//!
//! Invariants
//! - The process is killed when its handle is dropped, so also when a test panics.
//! - Ports come from the ready file; nothing is fixed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a start may take before the test fails.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where clients connect.
    pub port: u16,
    /// What the ready file says.
    pub told: serde_json::Value,
    /// From spawn to ready.
    pub start_time: Duration,
    /// Its standard error.
    pub log: PathBuf,
}

/// The binary beside the running test, built by `tests/run` or `cargo build`.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a file");
    let folder = test.parent().and_then(Path::parent).expect("target/debug/deps");
    let binary = folder.join("ferrobase");
    assert!(binary.exists(), "{} is missing: run `cargo build` first", binary.display());
    binary
}

/// An example of the root package, built by `cargo test` or `cargo build --examples`.
pub fn example(name: &str) -> PathBuf {
    let path = binary().with_file_name("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    path
}

impl Server {
    /// Starts a server over `data` and waits until it is ready. `extra` are more arguments.
    pub fn start(data: &Path, extra: &[&str]) -> Server {
        Server::start_in(data, &data.with_extension("run"), extra)
    }

    /// The same, with ready file and log in a folder of its own, for two servers over one root.
    pub fn start_in(data: &Path, beside: &Path, extra: &[&str]) -> Server {
        Server::start_over(&data.to_string_lossy(), beside, extra, &[])
    }

    /// Starts a server over a root that is given by its URL, with more variables in its environment.
    pub fn start_over(data: &str, beside: &Path, extra: &[&str], environment: &[(&str, &str)]) -> Server {
        std::fs::create_dir_all(beside).expect("a folder beside the data");
        let (ready, log) = (beside.join("ready.json"), beside.join("log"));
        let _ = std::fs::remove_file(&ready); // A killed server leaves it behind.
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let begun = Instant::now();
        let mut child = Command::new(binary())
            .args(["standalone", "--data", data])
            .envs(environment.iter().copied())
            .args(
                [("--port", "0"), ("--http-port", "off")]
                    .iter()
                    .filter(|(flag, _)| !extra.contains(flag))
                    .flat_map(|it| [it.0, it.1]),
            )
            .arg("--ready-file")
            .arg(&ready)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("ferrobase starts");
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let told: serde_json::Value = serde_json::from_str(&text).expect("the ready file is written whole");
                let port = told["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
                return Server { child, port, told, start_time: begun.elapsed(), log };
            }
            let ended = child.try_wait().expect("a child can be asked");
            if ended.is_some() || begun.elapsed() > START_MAX {
                let _ = child.kill();
                let _ = child.wait();
                panic!("server not ready (exit {ended:?}):\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Waits for the end; the exit code. Panics if it takes longer than a start may.
    pub fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                return status.code();
            }
            assert!(begun.elapsed() < START_MAX, "the server does not end:\n{}", self.log_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGTERM, and waits; the exit code.
    pub fn stop(mut self) -> Option<i32> {
        // SAFETY: kill(2) touches no memory; the process has not been waited for, so the id is still ours.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        self.wait()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of `/proc/PID/status`, such as `Threads`, or `VmRSS` in KiB.
pub fn status(pid: u32, name: &str) -> u64 {
    status_if_alive(pid, name).expect("a living process")
}

fn status_if_alive(pid: u32, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().trim_end_matches(" kB").parse().expect("a number"))
}

/// Peak resident memory of a process in MiB.
pub fn peak_mib(pid: u32) -> u64 {
    peak_mib_if_alive(pid).expect("a living process")
}

/// The same; `None` for one that has ended.
pub fn peak_mib_if_alive(pid: u32) -> Option<u64> {
    Some(status_if_alive(pid, "VmHWM")? >> 10)
}
