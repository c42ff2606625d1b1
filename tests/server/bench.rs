//! `bench` with values that make no sense, and stopped on its way.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ferrobase_tests::process::{Server, binary};

use super::{ferrobase, said};

#[test]
fn bad_usage_is_2_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let cases: &[(&[&str], &str)] = &[
        (&["--memory", "1K"], "--memory"),
        (&["--records", "0"], "--records"),
        (&["--records", "18446744073709551615"], "--records"),
        (&["--threads", "0"], "--threads"),
        (&["--fields", "10000", "--value-size", "1M"], "--value-size"),
        (&["--compression", "FOO"], "COMPRESSION"),
        (&["--duration", "5"], "such as 30s"),
        (&["--json", "/nowhere/x"], "--json"),
        (&["--data", "/dev/null"], "--data"),
        (&["--target", "server", "--server-ready-file", "/nowhere/x"], "--server-ready-file"),
    ];
    for (arguments, hint) in cases {
        let output = ferrobase(folder.path(), &[&["bench", "ycsb", "--workload", "a"], *arguments].concat());
        let (out, why) = said(&output);
        assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{arguments:?}: {why}");
        assert!(why.contains(hint), "{arguments:?}: {why}");
    }
}

#[test]
fn many_rows_do_not_make_the_start_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = ["--records", "1000000000000", "--skip-load", "--target", "none", "--operations", "10"];
    for workload in ["d", "e"] {
        let begun = Instant::now();
        let output = ferrobase(folder.path(), &[&["bench", "ycsb", "--workload", workload], &rows[..]].concat());
        assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_held_folder_is_5() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let output = ferrobase(folder.path(), &["bench", "ycsb", "--workload", "a", "--records", "1", "--data", "data"]);
    let (_, why) = said(&output);
    assert!(output.status.code() == Some(5) && why.contains(&format!("process {}", server.pid())), "{why}");
}

#[test]
fn a_stopped_bench_leaves_neither_folder_nor_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).expect("a folder");
    let address = format!("127.0.0.1:{}", server.port);
    for target in ["engine", &address] {
        let mut child = Command::new(binary())
            .args(["bench", "ycsb", "--workload", "a", "--records", "100", "--duration", "600s", "--target", target])
            .env("TMPDIR", &temporary)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        // Something of it is there before it is stopped.
        let begun = Instant::now();
        let there = || match target {
            "engine" => std::fs::read_dir(&temporary).expect("listed").next().is_some(),
            _ => shell(&folder, &address, "list").contains("bench_"),
        };
        while !there() {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing begins");
            std::thread::sleep(Duration::from_millis(20));
        }
        // SAFETY: kill(2) touches no memory; the child has not been waited for, so the id is still its.
        assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) }, 0);
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(143), "{target}");
    }
    assert!(std::fs::read_dir(&temporary).expect("listed").next().is_none(), "the folder stays");
    let tables = shell(&folder, &address, "list");
    assert!(!tables.contains("bench_"), "{tables}");
}

fn shell(folder: &tempfile::TempDir, address: &str, command: &str) -> String {
    said(&ferrobase(folder.path(), &["shell", "--connect", address, "-q", "-c", command])).0
}
