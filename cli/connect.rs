//! `--connect`: from an address, or a data root, to a connection.
//!
//! Always true: looking for a server changes nothing on a data root.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::Connection;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use runtime::Runtime;

use crate::failure::Failure;

/// Longest wait for a cluster's first answer.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Opens a connection. `timeout` is the deadline of each operation; without it the client has its own.
///
/// # Errors
/// 2 for an address that is none, 4 if nobody answers.
pub async fn open(connect: &str, timeout: Option<Duration>) -> Result<Connection, Failure> {
    open_for(connect, timeout, timeout).await
}

/// Opens a connection; what lasts long by nature ends after `long` at the latest.
///
/// # Errors
/// As [`open`].
pub async fn open_for(connect: &str, timeout: Option<Duration>, long: Option<Duration>) -> Result<Connection, Failure> {
    let runtime = Runtime::system();
    let address = address(connect, &runtime).await?;
    let mut builder = Connection::builder(&address);
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(long) = long {
        builder = builder.procedure_timeout(long);
    }
    let limit = timeout.map_or(FIRST_ANSWER_MAX, |timeout| timeout.min(FIRST_ANSWER_MAX));
    let why = match runtime::clock::within(&*runtime.clock, limit, builder.open()).await {
        Some(Ok(connection)) => return Ok(connection),
        Some(Err(error)) if error.kind() == model::ErrorKind::Invalid => {
            return Err(Failure::usage(format!("--connect: {}", error.message())));
        }
        Some(Err(error)) => error.message().to_owned(),
        None => format!("no answer within {limit:?}"),
    };
    Err(unreachable(format!(
        "cannot reach {address}: {why}; `ferrobase standalone` starts a server, --connect names another"
    )))
}

fn unreachable(message: String) -> Failure {
    Failure { code: 4, message }
}

/// `host:port[,…]` as it is; a data root's address is that of its leader.
async fn address(connect: &str, runtime: &Runtime) -> Result<String, Failure> {
    let folder = match connect.split_once("://") {
        Some(("file", path)) => path,
        Some((scheme, _)) => {
            return Err(Failure::usage(format!(
                "--connect: {scheme}:// is not there yet; host:port or a data folder is needed"
            )));
        }
        None if connect.contains(['/', '\\']) || matches!(connect, "." | "..") => connect,
        None => return Ok(connect.to_owned()),
    };
    if !Path::new(folder).is_dir() {
        return Err(Failure::usage(format!("--connect: {folder} is no folder")));
    }
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder, runtime.random.clone())?);
    match coordination::read_leader(&fs).await? {
        Some(leader) => Ok(leader.address),
        None => Err(unreachable(format!("{folder} holds no store; `ferrobase standalone --data {folder}` makes one"))),
    }
}
