//! The ready file: JSON that tells a script the process and its ports once every door answers.
//!
//! Always true: the file is absent or whole (written aside, then renamed); a stale one is removed at start, that of a living
//! process only once its root is ours.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// The HBase whose semantics, messages and store files these are.
pub const HBASE_LEVEL: &str = "2.6.1";

/// What the file says; ports that are closed are `null`.
#[derive(Debug, Serialize)]
pub struct Ready {
    /// Process id.
    pub pid: u32,
    /// `standalone`, …
    pub role: &'static str,
    /// Version of the binary.
    pub version: &'static str,
    /// Service port.
    pub port: u16,
    /// HTTP port.
    pub http_port: Option<u16>,
    /// Thrift 1 port.
    pub thrift_port: Option<u16>,
    /// Thrift 2 port.
    pub thrift2_port: Option<u16>,
    /// ZooKeeper port.
    pub zookeeper_port: Option<u16>,
    /// Data root.
    pub data: String,
    /// Log root.
    pub wal: String,
}

/// Removes the file when dropped, if it is ours.
#[derive(Debug)]
pub struct ReadyFile {
    path: Option<PathBuf>,
    ours: bool,
}

impl ReadyFile {
    /// Makes sure that the file can be written, and removes what a process left that is gone. A living one may hold the root.
    pub fn prepare(path: Option<&Path>) -> std::io::Result<ReadyFile> {
        let file = ReadyFile { path: path.map(Path::to_owned), ours: false };
        if let Some(path) = path {
            let aside = aside(path, std::process::id());
            std::fs::write(&aside, "")?;
            std::fs::remove_file(&aside)?;
            if !written_by_the_living(path) {
                file.remove()?;
            }
        }
        Ok(file)
    }

    /// The root is ours, and so is the file: whatever stands there is removed.
    pub fn take(&mut self) -> std::io::Result<()> {
        self.ours = true;
        self.remove()
    }

    fn remove(&self) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes the file whole.
    pub fn write(&self, ready: &Ready) -> std::io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let aside = aside(path, ready.pid);
        std::fs::write(&aside, serde_json::to_vec(ready)?)?;
        std::fs::rename(&aside, path)
    }
}

/// The name beside the file under which it is written.
fn aside(path: &Path, pid: u32) -> PathBuf {
    let mut aside = path.to_owned().into_os_string();
    aside.push(format!(".{pid}"));
    aside.into()
}

/// Whether the file names a process that runs.
fn written_by_the_living(path: &Path) -> bool {
    let pid = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let pid = pid.and_then(|told| told["pid"].as_i64()).and_then(|pid| libc::pid_t::try_from(pid).ok());
    // SAFETY: kill(2) with signal 0 sends nothing and touches no memory.
    pid.is_some_and(|pid| pid > 0 && unsafe { libc::kill(pid, 0) } == 0)
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if self.ours {
            // A failure leaves a stale file, removed at the next start.
            let _ = self.remove();
        }
    }
}
