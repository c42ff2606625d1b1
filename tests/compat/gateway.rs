//! A running gateway, and calls to it byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ferrobase_tests::process::binary;

/// How long anything may take before a test fails.
pub const WAIT: Duration = Duration::from_secs(120);

/// `ferrobase thrift`; killed when dropped.
pub struct Gateway {
    child: Child,
    /// Of Thrift 1 and 2.
    pub ports: [u16; 2],
    http_port: u16,
    log: PathBuf,
}

impl Gateway {
    /// Starts one before the server at a port and waits until it is ready.
    pub fn start(folder: &Path, server: u16, extra: &[&str]) -> Gateway {
        let (ready, log) = (folder.join("gateway.json"), folder.join("gateway.log"));
        // With the open files that a process has by default on most systems.
        let child = Command::new("sh")
            .args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\""])
            .arg(binary())
            .args(["thrift", "start", "-threadpool", "-p", "0", "--infoport", "0"])
            .args(if extra.contains(&"--thrift2-port") { &[][..] } else { &["--thrift2-port", "0"] })
            .arg("--connect")
            .arg(format!("127.0.0.1:{server}"))
            .arg("--ready-file")
            .arg(&ready)
            .args(extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("ferrobase starts");
        let mut gateway = Gateway { child, ports: [0; 2], http_port: 0, log };
        let begun = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let told: serde_json::Value = serde_json::from_str(&text).expect("the ready file is written whole");
                // 0 for a door that is closed.
                let port = |name| u16::try_from(told[name].as_u64().unwrap_or(0)).expect("a port");
                gateway.ports = ["thrift_port", "thrift2_port"].map(port);
                gateway.http_port = port("http_port");
                return gateway;
            }
            let ended = gateway.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none() && begun.elapsed() < WAIT, "not ready: {ended:?}\n{}", gateway.log_text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A new connection to Thrift 1, whose reads fail rather than wait for ever.
    pub fn connect(&self) -> TcpStream {
        connect(self.ports[0])
    }

    /// A counter or gauge of its `/metrics`, by the beginning of its line; 0 if it has never moved.
    pub fn metric(&self, name: &str) -> u64 {
        metric(self.http_port, name)
    }

    /// Waits until a number of its `/metrics` is as wanted.
    pub fn wait_for(&self, name: &str, wanted: impl Fn(u64) -> bool) {
        let begun = Instant::now();
        while !wanted(self.metric(name)) {
            assert!(begun.elapsed() < WAIT, "{name} is {}\n{}", self.metric(name), self.log_text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection to a port of this machine.
pub fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(WAIT)).expect("a time-out");
    stream.set_write_timeout(Some(WAIT)).expect("a time-out");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// One number of a `/metrics` page.
pub fn metric(http_port: u16, name: &str) -> u64 {
    let mut stream = connect(http_port);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    assert!(page.contains("# EOF"), "{page}");
    let line = page.lines().find(|line| line.starts_with(name));
    line.map_or(0, |line| line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number"))
}

/// A field of type string.
pub fn string(id: u16, value: &[u8]) -> Vec<u8> {
    [&[11][..], &id.to_be_bytes(), &u32::try_from(value.len()).expect("short").to_be_bytes(), value].concat()
}

/// A field of type i32.
pub fn int(id: u16, value: i32) -> Vec<u8> {
    [&[8][..], &id.to_be_bytes(), &value.to_be_bytes()].concat()
}

/// A list with one struct.
pub fn list_of_one(id: u16, fields: &[Vec<u8>]) -> Vec<u8> {
    [&[15][..], &id.to_be_bytes(), &[12, 0, 0, 0, 1], &fields.concat(), &[0]].concat()
}

/// A strict binary message of a call.
pub fn message(name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    let len = u32::try_from(name.len()).expect("short").to_be_bytes();
    [&[0x80, 1, 0, 1][..], &len, name.as_bytes(), &[0, 0, 0, 7], &fields.concat(), &[0]].concat()
}

/// The message as a frame.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).expect("short").to_be_bytes()[..], message].concat()
}

/// Calls over a framed connection; the answer's body behind its head, or why there is none.
pub fn try_call(stream: &mut TcpStream, name: &str, fields: &[Vec<u8>]) -> std::io::Result<Vec<u8>> {
    stream.write_all(&framed(&message(name, fields)))?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let mut answer = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer[..2], [0x80, 1], "a strict answer");
    // Exceptions that no method declares are of type 3.
    let kind = answer[3];
    let head = 4 + 4 + name.len() + 4;
    if kind == 3 {
        return Err(std::io::Error::other(String::from_utf8_lossy(&answer[head..]).into_owned()));
    }
    Ok(answer.split_off(head))
}

/// The same, which must succeed.
pub fn call(stream: &mut TcpStream, name: &str, fields: &[Vec<u8>]) -> Vec<u8> {
    try_call(stream, name, fields).unwrap_or_else(|error| panic!("{name}: {error}"))
}
