//! A server as a bench's target: one table through the Rust client.

use std::path::Path;
use std::time::Duration;

use client::{Connection, Table};
use model::ErrorKind;
use model::schema::TableName;
use runtime::Runtime;
use serde::Deserialize;

use super::flags::{Load, Settle};
use super::target::{TargetError, table};
use crate::failure::Failure;

impl From<client::ClientError> for TargetError {
    fn from(error: client::ClientError) -> TargetError {
        TargetError { kind: error.kind(), text: error.to_string() }
    }
}

/// What the bench wants to know of a server's ready file.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Ready {
    pid: u32,
    port: u16,
}

/// One table of a server or cluster.
#[derive(Debug)]
pub struct Server {
    connection: Connection,
    table: Table,
    /// The server's process, if it runs here and is known.
    pid: Option<u32>,
    /// The table is made for this run and goes with it.
    temporary: bool,
    runtime: Runtime,
}

/// How long a compaction may take.
const COMPACTION_LIMIT: Duration = Duration::from_secs(1800);

fn ready(file: &Path) -> Result<Ready, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("--server-ready-file {}: {error}; is the server ready?", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    serde_json::from_str(&text).map_err(|error| wrong(&error))
}

impl Server {
    /// Connects to `address`, or to the server that wrote the ready file, and makes the table if it is not there.
    pub async fn open(load: &Load, address: Option<&str>, family: &str, runtime: &Runtime) -> Result<Server, Failure> {
        let ready = load.server_ready_file.as_deref().map(ready).transpose()?;
        let address = match (address, ready) {
            (Some(address), _) => address.to_owned(),
            (None, Some(ready)) => format!("localhost:{}", ready.port),
            (None, None) => {
                return Err(Failure::usage("target `server` needs --server-ready-file; or give its address"));
            }
        };
        let name = match &load.table {
            Some(name) => name.clone(),
            None if load.skip_load => return Err(Failure::usage("--skip-load needs the --table of an earlier run")),
            None => format!("bench_{:016x}", runtime.random.next_u64()),
        };
        let name: TableName = name.parse().map_err(Failure::usage)?;
        let descriptor = table(load, family, name.clone())?;
        let connection = Connection::builder(&address).runtime(runtime.clone()).open().await.map_err(|error| {
            let code = if error.kind() == ErrorKind::Invalid { 2 } else { 4 };
            Failure { code, message: error.to_string() }
        })?;
        let admin = connection.admin();
        if !admin.exists(&name).await? {
            admin.create_table(&descriptor, &[]).await?;
        }
        let table = connection.table(name);
        let (pid, temporary) = (ready.map(|ready| ready.pid), load.table.is_none());
        Ok(Server { connection, table, pid, temporary, runtime: runtime.clone() })
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The server's process, if it is known.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Brings what was loaded into the wanted state.
    pub async fn settle(&self, settle: Settle) -> Result<(), TargetError> {
        let admin = self.connection.admin();
        if settle != Settle::None {
            admin.flush(self.table.name()).await?;
        }
        if settle == Settle::Compact {
            admin.compact(self.table.name(), None, true).await?;
            let until = self.runtime.clock.monotonic() + COMPACTION_LIMIT;
            while self.files().await? > 1 {
                if self.runtime.clock.monotonic() > until {
                    let text = format!("the compaction was not done within {COMPACTION_LIMIT:?}");
                    return Err(TargetError { kind: ErrorKind::Unavailable, text });
                }
                self.runtime.clock.sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Store files of the region that has most.
    async fn files(&self) -> Result<u32, TargetError> {
        let prefix = format!("{},", self.table.name());
        let status = self.connection.admin().cluster_status().await?;
        let regions = status.servers.iter().flat_map(|server| &server.regions);
        let files =
            regions.filter(|region| region.region.starts_with(prefix.as_bytes())).map(|region| region.store_files);
        Ok(files.max().unwrap_or(0))
    }

    /// Drops the table if it was made for this run.
    pub async fn close(self) -> Result<(), Failure> {
        if self.temporary {
            let admin = self.connection.admin();
            admin.disable_table(self.table.name()).await?;
            admin.delete_table(self.table.name()).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_files_say_process_and_port() {
        let folder = std::env::temp_dir().join(format!("ferrobase-bench-ready-{}", std::process::id()));
        std::fs::write(&folder, r#"{"pid": 7, "role": "standalone", "port": 16000, "http_port": null}"#)
            .expect("write");
        let read = ready(&folder).expect("ready");
        assert_eq!((read.pid, read.port), (7, 16000));
        std::fs::write(&folder, "{}").expect("write");
        let refused = ready(&folder).expect_err("no pid");
        assert!(refused.message.contains("pid"), "{}", refused.message);
        std::fs::remove_file(&folder).expect("remove");
    }
}
