//! HBase's own HRegion in a Java process (tests/java/Judge.java), as an [`Engine`].

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use bytes::Bytes;
use ferrobase_tests::repository;
use model::schema::FamilyDescriptor;
use model::{Cell, SeqNo};

use crate::generator::START;
use crate::operation::{Answer, Engine, Operation};
use crate::wire;

/// A Java program of tests/java that answers each line with a line; killed when dropped.
pub struct Java {
    child: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

/// How long an answer may take. Some of HBase's reads never end (a reseek that goes round in circles): their story ends uncompared.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// What an answer that never came is taken for.
pub const ENDLESS: &str = "Endless";

/// HBase's region.
pub struct HBase {
    java: Java,
    _data: tempfile::TempDir,
}

const FLAGS: &[&str] = &[
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.net.preferIPv4Stack=true",
    "--add-modules=jdk.unsupported",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
];

impl Java {
    /// Starts a program, after `tests/setup` has run.
    pub fn start(program: &str, argument: &Path) -> Java {
        let cache = repository().join(".cache");
        let jars = std::fs::read_to_string(cache.join("classpath.txt")).expect("tests/setup has been run");
        let mut child = Command::new("java")
            .args(FLAGS)
            .arg("-cp")
            .arg(format!("{}:{}", cache.join("java").display(), jars.trim()))
            .arg(program)
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("java starts");
        let commands = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (sender, answers) = channel();
        // Ends with the process.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut java = Java { child, commands, answers };
        assert_eq!(java.read_line().as_deref(), Some("ready"));
        java
    }

    fn read_line(&mut self) -> Option<String> {
        match self.answers.recv_timeout(ANSWER_MAX) {
            Ok(line) => Some(line.trim_end().to_owned()),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the judge died"),
        }
    }

    /// Sends a command, waits for its answer; `None` if there is none within two minutes.
    pub fn try_ask(&mut self, line: &str) -> Option<String> {
        writeln!(self.commands, "{line}").expect("the judge listens");
        self.read_line()
    }

    /// The same, where there is always an answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.try_ask(line).expect("an answer in time")
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl HBase {
    /// Starts the process, after `tests/setup` has run.
    pub fn start() -> HBase {
        let data = tempfile::tempdir().expect("a temporary directory");
        HBase { java: Java::start("Judge", data.path()), _data: data }
    }

    fn ask(&mut self, line: &str) -> Answer {
        let Some(answer) = self.java.try_ask(line) else {
            eprintln!("HBase does not answer: {line}");
            *self = HBase::start();
            return Answer::Refused(ENDLESS.to_owned());
        };
        if let Some(why) = answer.strip_prefix("err ") {
            return Answer::Refused(why.to_owned());
        }
        let mut words = answer.split(' ').skip(1).peekable();
        let held = words.next_if(|word| *word == "true" || *word == "false").map(|word| word == "true");
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        for word in words {
            if word == "|" {
                rows.push(Vec::new());
                continue;
            }
            if rows.is_empty() {
                rows.push(Vec::new());
            }
            let bytes = Bytes::from(hex::decode(word).expect("hexadecimal"));
            rows.last_mut().expect("pushed").push(Cell::parse(bytes, SeqNo::ZERO).expect("HBase writes cells"));
        }
        Answer::Done { held, rows }
    }
}

fn word(message: &wire::Message) -> String {
    if message.0.is_empty() { "-".to_owned() } else { hex::encode(&message.0) }
}

/// The judge's command for an operation; also what a failure report shows.
pub fn command(operation: &Operation) -> Option<String> {
    Some(match operation {
        Operation::Clock(now) => format!("clock {now}"),
        Operation::Mutate(mutation) => format!("mutate {}", word(&wire::mutation(mutation))),
        Operation::Row(mutations) => mutations
            .iter()
            .fold("row".to_owned(), |line, mutation| format!("{line} {}", word(&wire::mutation(mutation)))),
        Operation::Check(check) => {
            check.mutations.iter().fold(format!("check {}", word(&wire::condition(check))), |line, mutation| {
                format!("{line} {}", word(&wire::mutation(mutation)))
            })
        }
        Operation::Get(get) => format!("get {}", word(&wire::get(get))),
        Operation::Scan(scan) => format!(
            "scan {} {} {} {}",
            word(&wire::scan(scan)),
            scan.limit.unwrap_or(0),
            scan.max_result_size.unwrap_or(0),
            scan.allow_partial_results
        ),
        Operation::Flush => "flush".to_owned(),
        Operation::Major => "major".to_owned(),
        Operation::Minor { family, from, to } => format!("minor {family} {from} {to}"),
        Operation::Reopen => "reopen".to_owned(),
        Operation::Crash | Operation::Load(_) => return None,
    })
}

impl Engine for HBase {
    fn create(&mut self, families: &[FamilyDescriptor]) {
        let mut line = "create".to_owned();
        for family in families {
            line.push(' ');
            line.push_str(std::str::from_utf8(&family.name).expect("plain names"));
            for (key, value) in &family.attributes {
                line.push_str(&format!(":{key}={}", String::from_utf8_lossy(value)));
            }
        }
        self.ask(&format!("clock {START}"));
        let answer = self.ask(&line);
        assert!(matches!(answer, Answer::Done { .. }), "{line}: {answer:?}");
    }

    fn run(&mut self, operation: &Operation) -> Answer {
        command(operation).map_or_else(Answer::nothing, |line| self.ask(&line))
    }
}
