//! The ways to run the shell besides a session on a pipe: `-c`, files, conversations, closed readers, no cluster.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use ferrobase_tests::process::{Server, binary};

use crate::mask::masked;
use crate::sessions::shell;

fn server() -> (tempfile::TempDir, Server) {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(&data.path().join("data"), &[]);
    (data, server)
}

fn flags(flags: &[&str]) -> Vec<String> {
    flags.iter().map(|flag| (*flag).to_owned()).collect()
}

#[test]
fn commands_of_arguments_run_in_one_session_and_stop_at_the_first_error() {
    let (_data, server) = server();
    let run = |list: &[&str]| {
        let (exit, out, err) = shell(server.port, &flags(list), b"");
        (exit, masked(&out, server.port), err)
    };
    let (exit, out, err) = run(&["-c", "t = create 't', 'f'", "-c", "t.count; t.drop", "-c", "list"]);
    let first = "Created table t\nTook N seconds\n0 row(s)\nTook N seconds\nTook N seconds\n";
    assert_eq!((exit, out.as_str()), (Some(1), first));
    assert_eq!(err, "ERROR: -c number 2, line 1, column 10: Table t is enabled. Disable it first.\n");
    assert_eq!(run(&["-q", "-c", "list"]), (Some(0), "TABLE\nt\n1 row(s)\n".to_owned(), String::new()));
    let (exit, _, err) = run(&["-c", "scan 't', {"]);
    assert_eq!((exit, err.as_str()), (Some(1), "ERROR: line 1, column 12: a value is expected\n"));
}

#[test]
fn a_file_runs_and_errors_name_it() {
    let (data, server) = server();
    let file = data.path().join("script.rb");
    std::fs::write(&file, "create 't', 'f'\n\nput 't', 'r', 'g:q', 'v'\nexit\n").expect("written");
    let name = file.to_str().expect("UTF-8");
    let (exit, out, err) = shell(server.port, &flags(&[name]), b"");
    let out = masked(&out, server.port);
    assert_eq!((exit, out.as_str()), (Some(1), "Created table t\nTook N seconds\nTook N seconds\n"));
    assert_eq!(err, format!("ERROR: {name}, line 3, column 1: Unknown column family! Valid column names: f:*\n"));
    let (exit, out, err) = shell(server.port, &flags(&["/nowhere/script.rb"]), b"");
    assert_eq!((exit, out.as_str()), (Some(2), ""));
    assert!(err.contains("/nowhere/script.rb"), "{err}");
}

/// A program writes a command, reads its answer, and writes the next.
#[test]
fn a_pipe_is_a_conversation() {
    let (_data, server) = server();
    let mut child = Command::new(binary())
        .args(["shell", "--format", "json", "--connect", &format!("127.0.0.1:{}", server.port)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut input = child.stdin.take().expect("piped");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut ask = |text: &str| {
        writeln!(input, "{text}").expect("written");
        let mut line = String::new();
        output.read_line(&mut line).expect("an answer");
        line
    };
    assert_eq!(ask("create 't', 'f'"), "\"t\"\n");
    assert_eq!(ask("incr 't', 'r', 'f:n', 5"), "5\n");
    assert_eq!(ask("count 't',\n  INTERVAL => 1"), "1\n");
    drop(input);
    assert!(child.wait().expect("the shell ends").success());
}

#[test]
fn a_reader_that_goes_away_ends_the_shell_quietly() {
    let (_data, server) = server();
    let mut script = "create 't', 'f'\n".to_owned();
    script.extend((0..400).map(|row| format!("put 't', '{row:04}', 'f:q', '{}'\n", "v".repeat(1000))));
    let (exit, _, err) = shell(server.port, &[], script.as_bytes());
    assert_eq!((exit, err.as_str()), (Some(0), ""));
    let mut child = Command::new(binary())
        .args(["shell", "--connect", &format!("127.0.0.1:{}", server.port), "-c", "scan 't'; scan 't'; scan 't'"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell starts");
    let mut output = child.stdout.take().expect("piped");
    output.read_exact(&mut [0; 100]).expect("the first rows");
    drop(output);
    let ended = child.wait_with_output().expect("the shell ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(1), ""));
}

#[test]
fn no_cluster_is_exit_code_four() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let (exit, out, err) = shell(port, &flags(&["--timeout", "1s", "-c", "list"]), b"");
    assert_eq!((exit, out.as_str()), (Some(4), ""));
    assert!(err.contains(&format!("cannot reach 127.0.0.1:{port}")) && err.contains("--connect"), "{err}");
    let output = Command::new(binary()).args(["shell", "--connect", "a:b:c", "-c", "list"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The folder of a running store is an address too: its leader is read from there.
#[test]
fn a_data_folder_says_where_its_server_is() {
    let (data, server) = server();
    let folder = data.path().join("data");
    let output = Command::new(binary())
        .args(["shell", "-q", "-c", "list", "--connect", folder.to_str().expect("UTF-8")])
        .output()
        .expect("runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "TABLE\n0 row(s)\n", "{output:?}");
    drop(server);
    let elsewhere = data.path().join("empty");
    std::fs::create_dir(&elsewhere).expect("made");
    let output = Command::new(binary())
        .args(["shell", "-c", "list", "--connect", elsewhere.to_str().expect("UTF-8")])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(std::fs::read_dir(&elsewhere).expect("listed").count(), 0, "looking must not write");
}

#[test]
fn a_word_of_megabytes_is_refused_soon_and_shown_in_short() {
    let (data, server) = server();
    let file = data.path().join("script.rb");
    for (text, hint) in [
        ("a".repeat(8 << 20), "unknown command"),
        (format!("create 't', {}", "A".repeat(8 << 20)), "not known"),
        (format!("scan 't', {{FILTER => \"{}\"}}", "(".repeat(8 << 20)), "nested"),
    ] {
        std::fs::write(&file, text).expect("written");
        let begun = std::time::Instant::now();
        let (exit, _, err) = shell(server.port, &flags(&[file.to_str().expect("UTF-8")]), b"");
        assert!(exit == Some(1) && err.contains(hint), "{}", &err[..err.len().min(500)]);
        assert!(err.len() < 20_000, "{} bytes are said", err.len());
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_script_without_end_is_refused() {
    let (_data, server) = server();
    let (exit, out, err) = shell(server.port, &flags(&["/dev/zero"]), b"");
    assert_eq!((exit, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("/dev/zero") && err.contains("pipe"), "{err}");
}
