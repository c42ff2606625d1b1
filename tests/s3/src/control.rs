//! The control path, from both sides, and the server as a process.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::door::State;
use crate::plan::{Entry, Rule};

/// Answers a request to `/-fixture/<verb>`.
pub(crate) async fn answer(state: &State, verb: &str, body: &Bytes) -> (u16, String) {
    let text = String::from_utf8_lossy(body).into_owned();
    let json = |value: &dyn erased::Json| (200, value.text());
    match verb {
        "rules" => match serde_json::from_slice::<Vec<Rule>>(body) {
            Ok(rules) => {
                *state.rules.lock() = rules;
                (200, String::new())
            }
            Err(error) => (400, error.to_string()),
        },
        "release" => json(&state.release().await),
        "held" => json(&state.held.lock().len()),
        "log" => json(&std::mem::take(&mut *state.log.lock())),
        "bucket" => match state.store.make_bucket(&text) {
            Ok(()) => (200, String::new()),
            Err(error) => (500, error.to_string()),
        },
        "ignore-conditions" => {
            state.store.ignores_conditions.store(text == "true", Ordering::SeqCst);
            (200, String::new())
        }
        "expire-roles" => {
            state.keys.expire_roles();
            (200, String::new())
        }
        "role-life-ms" => match text.parse() {
            Ok(ms) => {
                *state.keys.life.lock() = Some(Duration::from_millis(ms));
                (200, String::new())
            }
            Err(_) => (400, "not a number".to_owned()),
        },
        "grant" => match text.split_once(' ') {
            Some((who, prefix)) => {
                state.grants.lock().push((who.to_owned(), prefix.to_owned()));
                (200, String::new())
            }
            None => (400, "who, a space, a prefix".to_owned()),
        },
        _ => (404, "no such verb".to_owned()),
    }
}

mod erased {
    pub(super) trait Json {
        fn text(&self) -> String;
    }

    impl<T: serde::Serialize> Json for T {
        fn text(&self) -> String {
            serde_json::to_string(self).expect("plain data")
        }
    }
}

/// One plain HTTP request; the answer's body if it says 200.
pub(crate) async fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| io::Error::other("no answer"))?;
    let good = head.split(' ').nth(1) == Some("200");
    if good { Ok(body.to_owned()) } else { Err(io::Error::other(body.to_owned())) }
}

/// Rules a server in another process.
#[derive(Clone, Copy, Debug)]
pub struct Control(pub SocketAddr);

impl Control {
    async fn call(self, verb: &str, body: &str) -> io::Result<String> {
        exchange(self.0, "POST", &format!("/-fixture/{verb}"), body).await
    }

    async fn number(self, verb: &str) -> io::Result<usize> {
        self.call(verb, "").await?.parse().map_err(io::Error::other)
    }

    /// See [`crate::Server::set_rules`].
    pub async fn set_rules(self, rules: &[Rule]) -> io::Result<()> {
        self.call("rules", &serde_json::to_string(rules)?).await.map(drop)
    }

    /// See [`crate::Server::release`].
    pub async fn release(self) -> io::Result<usize> {
        self.number("release").await
    }

    /// See [`crate::Server::held`].
    pub async fn held(self) -> io::Result<usize> {
        self.number("held").await
    }

    /// See [`crate::Server::take_log`].
    pub async fn take_log(self) -> io::Result<Vec<Entry>> {
        Ok(serde_json::from_str(&self.call("log", "").await?)?)
    }

    /// See [`crate::Server::make_bucket`].
    pub async fn make_bucket(self, bucket: &str) -> io::Result<()> {
        self.call("bucket", bucket).await.map(drop)
    }

    /// See [`crate::Server::ignore_conditions`].
    pub async fn ignore_conditions(self, ignore: bool) -> io::Result<()> {
        self.call("ignore-conditions", if ignore { "true" } else { "false" }).await.map(drop)
    }

    /// See [`crate::Server::expire_roles`].
    pub async fn expire_roles(self) -> io::Result<()> {
        self.call("expire-roles", "").await.map(drop)
    }

    /// See [`crate::Server::limit_role_life`].
    pub async fn limit_role_life(self, life: Duration) -> io::Result<()> {
        self.call("role-life-ms", &life.as_millis().to_string()).await.map(drop)
    }

    /// See [`crate::Server::grant`].
    pub async fn grant(self, who: &str, prefix: &str) -> io::Result<()> {
        self.call("grant", &format!("{who} {prefix}")).await.map(drop)
    }
}

/// A server as a process; killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
}

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

impl Process {
    /// Starts the program on a folder and a port (0: a free one), with buckets.
    pub fn start(program: &Path, folder: &Path, port: u16, buckets: &[&str]) -> io::Result<Process> {
        let ready: PathBuf = folder.join("ready");
        std::fs::create_dir_all(folder)?;
        match std::fs::remove_file(&ready) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut command = Command::new(program);
        command.arg("--dir").arg(folder).arg("--ready-file").arg(&ready).arg("--port").arg(port.to_string());
        for bucket in buckets {
            command.arg("--bucket").arg(bucket);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let end = Instant::now() + START;
        loop {
            if let Ok(text) = std::fs::read_to_string(&ready) {
                let address = text.trim().parse().map_err(io::Error::other)?;
                return Ok(Process { child, address });
            }
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the fixture ended: {status}")));
            }
            if Instant::now() > end {
                drop(child.kill());
                return Err(io::Error::other("the fixture does not start"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its control path.
    pub fn control(&self) -> Control {
        Control(self.address)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
