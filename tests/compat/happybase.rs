//! happybase, as it is in PyPI, what Hue asks, and every call of Thrift 2 through thriftpy2, over the gateway, in each of the four ways to speak.
//!
//! Always true: what is printed is what stands in the `.txt` beside the script, line by line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use ferrobase_tests::process::Server;
use ferrobase_tests::repository;

use crate::gateway::Gateway;

pub const WIRES: [(&str, &str); 4] =
    [("buffered", "binary"), ("framed", "binary"), ("buffered", "compact"), ("framed", "compact")];

pub fn python(script: &str, arguments: &[&str]) -> Command {
    let packages = repository().join(".cache/happybase");
    assert!(packages.is_dir(), "{} is missing: run tests/setup first", packages.display());
    let mut command = Command::new("timeout");
    command.arg("300").arg("python3").arg(repository().join("tests/compat").join(script)).args(arguments);
    command.env("PYTHONPATH", packages).env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

pub fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// What the script prints over each wire is what it should, line by line.
fn prints_the_same_over_all_wires(script: &str, arguments: &[&str]) {
    let expected = repository().join("tests/compat").join(script).with_extension("txt");
    let expected = std::fs::read_to_string(expected).expect("expected lines");
    for (transport, protocol) in WIRES {
        let arguments = [arguments, &[transport, protocol]].concat();
        let printed = text(&python(script, &arguments).output().expect("python3 runs"));
        for (n, (got, wanted)) in printed.lines().zip(expected.lines()).enumerate() {
            assert_eq!(got, wanted, "line {} over {transport} {protocol}", n + 1);
        }
        assert_eq!(printed.lines().count(), expected.lines().count(), "{transport} {protocol}:\n{printed}");
    }
}

#[test]
fn happybase_hue_and_thrift_2_work_over_all_four_wires() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let gateway = Gateway::start(folder.path(), server.port, &[]);
    prints_the_same_over_all_wires("happybase_api.py", &[&gateway.ports[0].to_string()]);
    prints_the_same_over_all_wires("hue_api.py", &[&gateway.ports[0].to_string()]);
    let idl = repository().join("gateway/idl/thbase.thrift");
    prints_the_same_over_all_wires("thrift2_api.py", &[&idl.to_string_lossy(), &gateway.ports[1].to_string()]);
}

/// Clients keep their connections over a kill and a restart of the server behind the gateway.
#[test]
fn connections_outlive_the_server_behind_the_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let gateway = Gateway::start(folder.path(), server.port, &[]);
    let mut client = python("restart.py", &[&gateway.ports[0].to_string()]);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 runs");
    let mut lines = BufReader::new(client.stdout.take().expect("piped")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "written");
    server.kill();
    let server = Server::start(&data, &["--port", &port]);
    client.stdin.take().expect("piped").write_all(b"go on\n").expect("it listens");
    assert_eq!(next(), "[b'before', b'scanned', b'after']");
    assert!(client.wait().expect("it ends").success());
    drop(server);
}
