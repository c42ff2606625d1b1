//! Start and end of `standalone`: exit codes, ready file, HTTP door, one process per root.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use ferrobase_tests::process::Server;

use super::{ferrobase, said};

pub fn http(port: u64, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).expect("a port"))).expect("the door is open");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (code, body.to_owned())
}

/// Sends a signal to a server of ours.
fn signal(server: &Server, signal: libc::c_int) {
    // SAFETY: kill(2) touches no memory; the server has not been waited for, so the id is still its.
    assert_eq!(unsafe { libc::kill(server.pid() as libc::pid_t, signal) }, 0);
}

/// Runs the shell against a server.
fn shell(folder: &std::path::Path, server: &Server, arguments: &[&str]) -> std::process::Output {
    let connect = format!("127.0.0.1:{}", server.port);
    ferrobase(folder, &[&["shell", "--connect", &connect], arguments].concat())
}

#[test]
fn a_server_tells_its_doors_answers_on_them_and_ends_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &["--http-port", "0"]);
    assert_eq!(server.told["role"], "standalone");
    assert_eq!(server.told["pid"], server.pid());
    assert!(server.told["thrift_port"].is_null(), "{}", server.told);
    let port = server.told["http_port"].as_u64().expect("a port");
    assert_eq!(http(port, "/health"), (200, "ok\n".to_owned()));
    assert_eq!(http(port, "/ready"), (200, "ready\n".to_owned()));
    let (code, metrics) = http(port, "/metrics");
    assert!(code == 200 && metrics.contains("# TYPE") && metrics.ends_with("# EOF\n"), "{metrics}");
    assert_eq!(http(port, "/nothing").0, 404);
    let ready = data.with_extension("run").join("ready.json");
    assert!(ready.exists());
    assert_eq!(server.stop(), Some(0));
    assert!(!ready.exists(), "a graceful end takes the ready file away");
}

#[test]
fn a_held_root_is_refused_and_the_holder_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let arguments = ["standalone", "--data", "data", "--port", "0", "--http-port", "off"];
    let second = ferrobase(folder.path(), &arguments);
    assert_eq!(second.status.code(), Some(5), "{:?}", said(&second));
    let (_, why) = said(&second);
    assert!(why.contains(&format!("process {}", server.pid())), "{why}");
    // The ready file that the holder wrote is the holder's.
    let ready = data.with_extension("run").join("ready.json");
    let file = ready.to_string_lossy();
    let second = ferrobase(folder.path(), &[&arguments[..], &["--ready-file", &file]].concat());
    assert_eq!(second.status.code(), Some(5), "{:?}", said(&second));
    let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&ready).expect("still there")).expect("whole");
    assert_eq!(told, server.told);
    // A holder that answers is not passed over.
    let third = ferrobase(folder.path(), &[&arguments[..], &["--take-over"]].concat());
    assert_eq!(third.status.code(), Some(5), "{:?}", said(&third));
}

#[test]
fn a_stopped_holder_is_passed_over_and_gives_up_when_it_wakes() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut paused = Server::start(&data, &[]);
    signal(&paused, libc::SIGSTOP);
    let second = Server::start_in(&data, &data.with_extension("run2"), &["--take-over"]);
    signal(&paused, libc::SIGCONT);
    assert_eq!(paused.wait(), Some(5), "the holder that woke");
    assert_eq!(second.stop(), Some(0));
}

#[test]
fn bad_usage_is_2_and_touches_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["--port", &port, "--http-port", "off"], "cannot listen"),
        (&["--port", "0", "--http-port", &port], "--http-port"),
        (&["--bind", "0.0.0.0", "--port", "0"], "--insecure"),
        (&["--data", "gs://bucket/x", "--port", "0", "--http-port", "off"], "s3://bucket/prefix"),
        (&["--data", "s3://UPPER/x", "--port", "0", "--http-port", "off"], "not a bucket's name"),
        (&["--wal", "gs://bucket/x", "--port", "0", "--http-port", "off"], "--wal `gs://bucket/x`"),
        (&["--memory", "1M", "--port", "0"], "--memory"),
        (&["--memory", "much", "--port", "0"], "64M"),
        (&["--prot", "0"], "--port"),
        (&["--log-level", "a=b=c"], "--log-level"),
        (&["--log-level", "warning"], "`warning` is no level"),
        (&["--data", "/dev/null", "--port", "0", "--http-port", "off"], "--data"),
        (&["--ready-file", "/nowhere/x", "--port", "0", "--http-port", "off"], "--ready-file /nowhere/x"),
    ];
    for (arguments, hint) in cases {
        let output = ferrobase(folder.path(), &[&["standalone"], *arguments].concat());
        let (_, why) = said(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {why}");
        assert!(why.contains(hint), "{arguments:?}: {why}");
        assert!(!folder.path().join("ferrobase-data").exists(), "{arguments:?} touched the data");
    }
}

/// A store among another one's files would be garbage to that one.
#[test]
fn a_root_inside_another_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    std::os::unix::fs::symlink(data.join("ferrobase"), folder.path().join("link")).expect("a link");
    let refused = |arguments: &[&str]| {
        let arguments = [&["standalone", "--port", "0", "--http-port", "off"], arguments].concat();
        let (code, (_, why)) = {
            let output = ferrobase(folder.path(), &arguments);
            (output.status.code(), said(&output))
        };
        assert!(code == Some(2) && why.contains("lies inside the data root"), "{arguments:?}: {code:?} {why}");
    };
    for inner in ["data/data", "data/new/deep", "link/new", "new/../data/x"] {
        refused(&["--data", inner]);
        refused(&["--data", "other", "--wal", inner]);
    }
    for new in ["data/new", "new", "data/data/ferrobase", "data/x", "other"] {
        assert!(!folder.path().join(new).exists(), "{new}");
    }
    // What is there already goes on, though somebody has begun a root around it.
    let inner = folder.path().join("around/inner");
    Server::start(&inner, &[]).kill();
    Server::start(&folder.path().join("around"), &[]).kill();
    Server::start(&inner, &[]).kill();
    // A log may lie in its own data root.
    let own = folder.path().join("own");
    for _ in 0..2 {
        Server::start(&own, &["--wal", &own.join("log").to_string_lossy()]).kill();
    }
    assert_eq!(server.stop(), Some(0));
    Server::start(&data, &[]).kill();
}

/// Scripts and people must not take silence for a result.
#[test]
fn a_result_that_nobody_takes_is_an_error() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("Linux has it");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    server.kill();
    let bench = ["bench", "ycsb", "--workload", "c", "--target", "none", "--records", "10", "--operations", "10"];
    for arguments in [&["version"][..], &["fsck", "--data", "data"], &bench] {
        let mut command = std::process::Command::new(ferrobase_tests::process::binary());
        let output = command.args(arguments).current_dir(folder.path()).stdout(full()).output().expect("it runs");
        let (_, why) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {why}");
        assert!(why.contains("standard output"), "{arguments:?}: {why}");
    }
}

/// A write larger than what is free, and a memtable too small to be flushed for its own sake.
#[test]
fn large_writes_make_room_for_themselves() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--memory", "32M"]);
    let script = folder.path().join("large.rb");
    let value = "v".repeat(9 << 20);
    let puts: String = (0..4).map(|n| format!("put 'large', 'r{n}', 'f:q', '{value}'\n")).collect();
    std::fs::write(&script, format!("create 'large', 'f'\n{puts}count 'large'\n")).expect("written");
    let output = shell(folder.path(), &server, &[&script.to_string_lossy()]);
    let (out, why) = said(&output);
    assert!(output.status.success() && out.contains("4 row(s)"), "{}: {why}", output.status);
}

/// Whoever did not type a value must be told where it comes from.
#[test]
fn a_refused_value_names_its_variable_or_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |variable: &str, value: &std::ffi::OsStr, arguments: &[&str]| {
        let mut command = std::process::Command::new(ferrobase_tests::process::binary());
        let output = command.args(arguments).env(variable, value).current_dir(folder.path()).output().expect("it runs");
        (output.status.code(), said(&output).1)
    };
    let (code, why) = run("FERROBASE_MEMORY", "much".as_ref(), &["standalone"]);
    assert!(code == Some(2) && why.contains("FERROBASE_MEMORY"), "{why}");
    let (code, why) = run("FERROBASE_MEMORY", "64M".as_ref(), &["standalone", "--memory", "much"]);
    assert!(code == Some(2) && !why.contains("FERROBASE_MEMORY"), "{why}");
    let bytes: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff");
    let (code, why) = run("FERROBASE_ADVERTISE", bytes, &["standalone"]);
    assert!(code == Some(2) && why.contains("FERROBASE_ADVERTISE"), "{why}");
    let (code, why) = run("FERROBASE_CONFIG", "".as_ref(), &["version"]);
    assert!(code == Some(0), "an empty variable is none: {why}");
    std::fs::write(folder.path().join("c.toml"), "memory = \"much\"\n").expect("written");
    let (code, why) = run("FERROBASE_CONFIG", "c.toml".as_ref(), &["standalone"]);
    assert!(code == Some(2) && why.contains("c.toml"), "{why}");
    // What has the right form and is refused later.
    for (variable, value) in [("FERROBASE_MEMORY", "1M"), ("FERROBASE_BIND", "0.0.0.0"), ("FERROBASE_DATA", "ftp://x")]
    {
        let (code, why) = run(variable, value.as_ref(), &["standalone"]);
        assert!(code == Some(2) && why.contains(variable), "{why}");
    }
    std::fs::write(folder.path().join("c.toml"), "memory = \"1M\"\n").expect("written");
    let (code, why) = run("FERROBASE_CONFIG", "c.toml".as_ref(), &["standalone"]);
    assert!(code == Some(2) && why.contains("c.toml"), "{why}");
    let (code, why) = run("FERROBASE_CONFIG", "c.toml".as_ref(), &["standalone", "--bind", "0.0.0.0", "--memory=64M"]);
    assert!(code == Some(2) && !why.contains("c.toml"), "{why}");
}

/// A region that another try cannot open is told as such, at once, and opens by itself once it is restored.
#[test]
fn a_region_with_a_damaged_manifest_says_why_and_comes_back_when_it_is_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let shell = |server: &Server, script: &str| said(&shell(folder.path(), server, &["-c", script]));
    shell(&server, "create 't', 'f', SPLITS => ['m']; put 't', 'a', 'f:q', 'va'; put 't', 'x', 'f:q', 'vx'; flush 't'");
    server.kill();
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.collect::<Vec<_>>()
    };
    let regions = names(&data.join("data/default/t"));
    let region = regions.iter().find_map(|path| path.file_name().filter(|name| name.len() == 32)).expect("a region");
    let tables = names(&data.join("ferrobase/table"));
    let manifest = tables.iter().map(|table| table.join(region)).find(|path| path.is_dir()).expect("its manifest");
    let bodies: Vec<_> =
        names(&manifest).into_iter().map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect();
    let bodies: Vec<_> = bodies.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    assert!(!bodies.is_empty(), "{manifest:?}");
    for (path, bytes) in &bodies {
        let mut bytes = bytes.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).expect("written");
    }
    let server = Server::start(&data, &[]);
    let is_read = |row: &str| shell(&server, &format!("get 't', '{row}'")).0.contains(&format!("v{row}"));
    let (bad, good) = if is_read("x") { ("a", "x") } else { ("x", "a") };
    assert!(is_read(good) && !is_read(bad));
    for script in [format!("get 't', '{bad}'"), "scan 't'".to_owned(), format!("put 't', '{bad}', 'f:q', 'v'")] {
        let (_, why) = shell(&server, &script);
        assert!(why.contains("cannot be opened") && why.contains("checksum"), "{script}: {why}");
    }
    // Nor is it forgotten on another way in.
    shell(&server, "disable 't'; enable 't'");
    let (_, why) = shell(&server, &format!("get 't', '{bad}'"));
    assert!(why.contains("cannot be opened") && why.contains("checksum"), "{why}");
    for (path, bytes) in &bodies {
        std::fs::write(path, bytes).expect("written");
    }
    let begun = std::time::Instant::now();
    while !is_read(bad) {
        assert!(begun.elapsed().as_secs() < 120, "it does not come back");
    }
}

/// Neither the server nor the client holds a row that no answer can carry; a scan reads it in parts.
#[test]
fn a_row_larger_than_an_answer_is_refused_by_get_and_read_by_scan() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--memory", "64M"]);
    let script = folder.path().join("large.rb");
    let value = "v".repeat(8 << 20);
    let puts: String = (10..36).map(|n| format!("put 'big', 'r', 'f:q{n}', '{value}'\n")).collect();
    std::fs::write(&script, format!("create 'big', 'f'\n{puts}count 'big'\n")).expect("written");
    let shell = |server: &Server, arguments: &[&str]| {
        let output = shell(folder.path(), server, arguments);
        let (out, why) = said(&output);
        (output.status.success(), out, why)
    };
    let (done, out, why) = shell(&server, &[&script.to_string_lossy()]);
    assert!(done && out.contains("1 row(s)"), "{why}");
    server.kill();
    let server = Server::start(&folder.path().join("data"), &["--memory", "64M"]);
    let (done, _, why) = shell(&server, &["-c", "get 'big', 'r', {MAXLENGTH => 5}"]);
    assert!(!done && why.contains("fewer columns"), "{why}");
    let peak = ferrobase_tests::process::peak_mib(server.pid());
    assert!(peak <= 64 + 300, "{peak} MiB");
    let (done, out, why) =
        shell(&server, &["-c", "get 'big', 'r', {COLUMN => 'f:q20', MAXLENGTH => 5}; scan 'big', {MAXLENGTH => 5}"]);
    assert!(done && out.matches("column=f:q").count() == 26, "{why}");
}

/// The longest rows are found by a client that does not know yet where they are.
#[test]
fn the_longest_rows_are_written_read_and_deleted_by_new_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let shell = |script: &str| {
        let file = folder.path().join("script.rb");
        std::fs::write(&file, script).expect("written");
        let output = shell(folder.path(), &server, &[&file.to_string_lossy()]);
        let (out, why) = said(&output);
        assert!(output.status.success(), "{}", why.chars().take(300).collect::<String>());
        out
    };
    shell("create 't', 'f', SPLITS => ['m', 'zzzz']");
    for first in ["a", "m", "zz", "zzzzz"] {
        let row = format!("{first}{}", "z".repeat(32_767 - first.len()));
        shell(&format!("put 't', '{row}', 'f:q', 'v'"));
        assert!(shell(&format!("get 't', '{row}'")).contains("value=v"), "{first}");
        assert!(shell(&format!("scan 't', {{STARTROW => '{row}', LIMIT => 1}}")).contains("value=v"), "{first}");
        shell(&format!("deleteall 't', '{row}'"));
        assert!(!shell(&format!("get 't', '{row}'")).contains("value=v"), "{first}");
    }
}

/// To META a table with a damaged head is a disabled one; users are told what it is.
#[test]
fn a_table_with_a_damaged_head_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let shell = |server: &Server, script: &str| said(&shell(folder.path(), server, &["-c", script]));
    shell(&server, "create 't', 'f'; put 't', 'a', 'f:q', 'v'");
    server.kill();
    let mut heads = 0;
    for table in std::fs::read_dir(data.join("ferrobase/table")).expect("tables") {
        let Ok(entries) = std::fs::read_dir(table.expect("an entry").path().join("head")) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if std::fs::metadata(&path).expect("a file").len() > 0 {
                std::fs::write(&path, b"garbage").expect("written");
                heads += 1;
            }
        }
    }
    assert_eq!(heads, 1);
    let server = Server::start(&data, &[]);
    for script in ["get 't', 'a'", "scan 't'", "put 't', 'a', 'f:q', 'v'", "flush 't'"] {
        let (_, why) = shell(&server, script);
        assert!(why.contains("restore it while the server is stopped"), "{script}: {why}");
    }
}
