//! Whole sessions against expected outputs.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ferrobase_tests::process::{Server, binary};

use crate::mask::masked;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("shell/sessions")
}

/// A run of the shell and what it must give.
#[derive(Debug, Default)]
struct Run {
    flags: Vec<String>,
    input: String,
    out: String,
    err: String,
    exit: i32,
}

fn read(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut part = "run";
    for line in text.split_inclusive('\n') {
        if let Some(head) = line.strip_prefix("## ") {
            let (name, rest) = head.trim_end().split_once(' ').unwrap_or((head.trim_end(), ""));
            match name {
                "run" => {
                    let flags = rest.split_whitespace().map(str::to_owned).collect();
                    runs.push(Run { flags, ..Run::default() });
                    part = "run";
                }
                "out" => part = "out",
                "err" => part = "err",
                "exit" => runs.last_mut().expect("a run").exit = rest.parse().expect("an exit code"),
                other => panic!("unknown part `{other}`"),
            }
            continue;
        }
        let run = runs.last_mut().expect("a file starts with `## run`");
        match part {
            "run" => run.input.push_str(line),
            "out" => run.out.push_str(line),
            _ => run.err.push_str(line),
        }
    }
    runs
}

/// Runs the shell with that input; exit code, output, errors.
pub fn shell(port: u16, flags: &[String], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(binary())
        .args(["shell", "--connect", &format!("127.0.0.1:{port}")])
        .args(flags)
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A shell that stopped at an error has closed its end.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("the shell ends");
    writer.join().expect("the writer does not panic");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn session(name: &str) {
    let file = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&file).expect("a session's file");
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(&data.path().join("data"), &[]);
    for (number, run) in read(&text).iter().enumerate() {
        let (exit, out, err) = shell(server.port, &run.flags, run.input.as_bytes());
        let (out, err) = (masked(&out, server.port), masked(&err, server.port));
        let label = format!("{name}, run {}", number + 1);
        same(&label, &run.out, &out, &err);
        same(&format!("{label}, errors"), &run.err, &err, &out);
        assert_eq!(exit, Some(run.exit), "{label}");
    }
}

/// Compares texts line by line, so that the first difference is seen.
fn same(label: &str, expected: &str, found: &str, beside: &str) {
    if expected == found {
        return;
    }
    let (mut expected_lines, mut found_lines) = (expected.lines(), found.lines());
    let mut line = 1;
    loop {
        let (left, right) = (expected_lines.next(), found_lines.next());
        if left != right || left.is_none() {
            let (left, right) = (left.unwrap_or("(the end)"), right.unwrap_or("(the end)"));
            panic!("{label}, line {line}\nexpected: {left}\nfound:    {right}\n\nall:\n{found}\nbeside it:\n{beside}");
        }
        line += 1;
    }
}

macro_rules! sessions {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            session(stringify!($name));
        })*

        #[test]
        fn every_file_is_run() {
            let mut files: Vec<_> = std::fs::read_dir(folder())
                .expect("the folder")
                .map(|entry| entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),*]);
        }
    };
}

sessions!(asking, counters, errors, json, language, namespaces, regions, rows, scans, tables);
