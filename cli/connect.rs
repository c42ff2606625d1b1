//! `--connect`: from an address, or a data root, to a connection.
//!
//! Always true: looking for a server changes nothing on a data root.

use std::sync::Arc;
use std::time::Duration;

use client::Connection;
use coordination::CoordinationError;
use protocol::service::Connect;
use runtime::Runtime;

use crate::failure::Failure;
use crate::roots::{self, RootFlags};

/// Longest wait for a cluster's first answer.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Opens a connection. `timeout` is the deadline of each operation; without it the client has its own. `roots` tell how a data root is reached, if
/// one is named instead of an address.
///
/// # Errors
/// 2 for an address that is none and a root that cannot be looked into, 4 if nobody answers.
pub async fn open(connect: &str, roots: &RootFlags, timeout: Option<Duration>) -> Result<Connection, Failure> {
    open_for(connect, roots, timeout, timeout).await
}

/// Opens a connection; what lasts long by nature ends after `long` at the latest.
///
/// # Errors
/// As [`open`].
pub async fn open_for(
    connect: &str,
    roots: &RootFlags,
    timeout: Option<Duration>,
    long: Option<Duration>,
) -> Result<Connection, Failure> {
    let runtime = Runtime::system();
    let limit = timeout.map_or(FIRST_ANSWER_MAX, |timeout| timeout.min(FIRST_ANSWER_MAX));
    let address = match runtime::clock::within(&*runtime.clock, limit, address(connect, roots, &runtime)).await {
        Some(address) => address?,
        None => return Err(unreachable(format!("--connect {connect}: no answer within {limit:?}"))),
    };
    let mut builder = Connection::builder(&address);
    if let Some(timeout) = timeout {
        builder = builder.timeout(timeout);
    }
    if let Some(long) = long {
        builder = builder.procedure_timeout(long);
    }
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

/// Opens a connection to the server of this process.
///
/// # Errors
/// It does not answer.
pub async fn open_near(address: &str, connector: Arc<dyn Connect>) -> Result<Connection, Failure> {
    let opened = Connection::builder(address).connector(connector).open().await;
    opened.map_err(|error| unreachable(format!("this server does not answer: {}", error.message())))
}

/// `host:port[,…]` as it is; a data root's address is that of its leader.
async fn address(connect: &str, flags: &RootFlags, runtime: &Runtime) -> Result<String, Failure> {
    let is_root = connect.contains(['/', '\\']) || matches!(connect, "." | "..");
    if !is_root {
        return Ok(connect.to_owned());
    }
    let fs = flags.open_existing("--connect", connect, runtime).await?;
    let refused = |error| match error {
        CoordinationError::Filesystem(error) => roots::refused("--connect", connect, &error),
        error => Failure::failed(format!("--connect {connect}: {error}")),
    };
    match coordination::read_leader(&fs).await.map_err(refused)? {
        Some(leader) => Ok(leader.address),
        None => {
            Err(unreachable(format!("{connect} holds no store; `ferrobase standalone --data {connect}` makes one")))
        }
    }
}
