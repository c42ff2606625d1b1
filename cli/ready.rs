//! The ready file: JSON that tells a script the process and its ports once every door answers.
//!
//! Always true: the file is absent or whole (written aside, then renamed); a stale one is removed at start.

use std::path::{Path, PathBuf};

use serde::Serialize;

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

/// Removes the file when dropped.
#[derive(Debug)]
pub struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Removes what an earlier process left, and makes sure that the file can be written.
    pub fn clear(path: Option<&Path>) -> std::io::Result<ReadyFile> {
        if let Some(path) = path {
            let aside = aside(path, std::process::id());
            std::fs::write(&aside, "")?;
            std::fs::remove_file(&aside)?;
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(ReadyFile(path.map(Path::to_owned)))
    }

    /// Writes the file whole.
    pub fn write(&self, ready: &Ready) -> std::io::Result<()> {
        let Some(path) = &self.0 else { return Ok(()) };
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

impl Drop for ReadyFile {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // A file that is gone already is what we want; any other failure leaves a stale file, removed at the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}
