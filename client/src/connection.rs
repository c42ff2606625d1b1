//! A connection to a cluster: its servers, its master, and what all tables share.

use std::sync::Arc;
use std::time::Duration;

use model::ErrorKind;
use model::schema::TableName;
use protocol::grpc::{Connector, ConnectorSettings};
use protocol::messages as pb;
use protocol::service::{Call, Connect, REGISTRY, RpcError};
use runtime::Runtime;

use crate::Result;
use crate::admin::Admin;
use crate::buffered::{BufferSettings, BufferedMutator};
use crate::calls::{Calls, Settings};
use crate::error::{ClientError, Effect, Subject};
use crate::location::Cluster;
use crate::retry::Retry;
use crate::table::Table;

/// The port of a bootstrap address that names none.
const DEFAULT_PORT: u16 = 16000;

/// How a [`Connection`] is made.
#[derive(Clone, Debug)]
pub struct ConnectionBuilder {
    bootstrap: String,
    settings: Settings,
    open_timeout: Duration,
    connector: Option<Arc<dyn Connect>>,
    runtime: Option<Runtime>,
}

impl ConnectionBuilder {
    /// How long an operation may take with all its attempts; default 60 s. Of a scan: how long the next rows may take.
    /// Schema changes may wait longer, see [`ConnectionBuilder::procedure_timeout`].
    pub fn timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.settings.timeout = timeout;
        self
    }

    /// How long [`ConnectionBuilder::open`] looks for a server that answers; default 10 s, and never longer than an operation.
    /// Longer waits for a cluster that starts, shorter tells sooner that there is none.
    pub fn open_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.open_timeout = timeout;
        self
    }

    /// How long one call waits for its answer; default 20 s. Shorter notices dead servers sooner, longer tolerates slow ones.
    pub fn call_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.settings.call_timeout = timeout;
        self
    }

    /// How long to wait until an accepted schema change has happened; default 10 min.
    pub fn procedure_timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.settings.procedure_timeout = timeout;
        self
    }

    /// Most attempts of an operation; default 16.
    pub fn attempts(mut self, attempts: u32) -> ConnectionBuilder {
        self.settings.attempts = attempts.max(1);
        self
    }

    /// The first pause between attempts; later ones are multiples of it. Default 100 ms.
    pub fn pause(mut self, pause: Duration) -> ConnectionBuilder {
        self.settings.pause = pause;
        self
    }

    /// What makes connections to servers; default gRPC.
    pub fn connector(mut self, connector: Arc<dyn Connect>) -> ConnectionBuilder {
        self.connector = Some(connector);
        self
    }

    /// Clock and randomness; default the machine's.
    pub fn runtime(mut self, runtime: Runtime) -> ConnectionBuilder {
        self.runtime = Some(runtime);
        self
    }

    /// Finds the cluster.
    ///
    /// # Errors
    /// Invalid for a bad address; else no server answered in time.
    pub async fn open(self) -> Result<Connection> {
        let invalid = |why: String| ClientError::local("connect", RpcError::invalid(why));
        let bootstrap = addresses(&self.bootstrap).map_err(invalid)?;
        let runtime = self.runtime.unwrap_or_else(Runtime::system);
        let connector =
            self.connector.unwrap_or_else(|| Arc::new(Connector::new(runtime.clone(), ConnectorSettings::default())));
        let cluster = Arc::new(Cluster::new(Calls::new(runtime, connector, self.settings, bootstrap)));
        let end = cluster.calls.now() + self.open_timeout.min(cluster.calls.settings.timeout);
        let mut retry = Retry::new(&cluster, Subject::new("connect", Effect::Read).until(end));
        loop {
            let request = Call::new(REGISTRY, "GetClusterId", &pb::GetClusterIdRequest {});
            let answer = cluster.calls.ask_registry(request, retry.call_limit()).await;
            let id = answer.and_then(|reply| reply.decode::<pb::GetClusterIdResponse>());
            match id.map(|answer| answer.cluster_id) {
                Ok(Some(id)) => {
                    return Ok(Connection { cluster, cluster_id: id.into() });
                }
                Ok(None) => {
                    retry.again(RpcError::new(ErrorKind::NotServing, "the cluster has no id yet")).await?;
                }
                Err(cause) => retry.again(cause).await?,
            }
        }
    }
}

/// Reads `host:port[,host:port…]`; IPv6 addresses stand in brackets.
fn addresses(text: &str) -> Result<Vec<String>, String> {
    let one = |part: &str| {
        let bad = || format!("`{part}` is not host:port");
        let (host, port) = match part.rsplit_once(':') {
            Some((host, port)) if !part.ends_with(']') => (host, port.parse::<u16>().map_err(|_| bad())?),
            _ => (part, DEFAULT_PORT),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || port == 0 || host.contains(char::is_whitespace) || host.contains(':') && !bracketed {
            return Err(bad());
        }
        Ok(format!("{host}:{port}"))
    };
    let list =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(one).collect::<Result<Vec<_>, _>>()?;
    if list.is_empty() { Err("no bootstrap address was given".to_owned()) } else { Ok(list) }
}

/// A connection to a cluster. Clones share everything: sockets, and what is known of where regions are. A program needs one.
///
/// ```no_run
/// # use ferrobase_client as client;
/// # async fn example() -> client::Result<()> {
/// let connection = client::Connection::builder("node1:16000,node2:16000")
///     .timeout(std::time::Duration::from_secs(10))
///     .open()
///     .await?;
/// println!("connected to cluster {}", connection.cluster_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    cluster: Arc<Cluster>,
    cluster_id: Arc<str>,
}

impl Connection {
    /// Starts to make a connection. `bootstrap` is `host:port[,host:port…]` of any servers of the cluster; the port
    /// defaults to 16000.
    pub fn builder(bootstrap: &str) -> ConnectionBuilder {
        let settings = Settings {
            timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(20),
            procedure_timeout: Duration::from_secs(600),
            attempts: 16,
            pause: Duration::from_millis(100),
        };
        let open_timeout = Duration::from_secs(10);
        ConnectionBuilder { bootstrap: bootstrap.to_owned(), settings, open_timeout, connector: None, runtime: None }
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// A table; whether it exists turns out when it is used.
    pub fn table(&self, name: TableName) -> Table {
        Table::new(self.cluster.clone(), name)
    }

    /// Schema changes and the state of the cluster.
    pub fn admin(&self) -> Admin {
        Admin::new(self.cluster.clone(), self.cluster_id.clone())
    }

    /// Collects mutations of a table and sends them in batches.
    pub fn buffered_mutator(&self, name: TableName, settings: BufferSettings) -> BufferedMutator {
        BufferedMutator::new(self.table(name), settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_addresses_are_hosts_with_ports() {
        assert_eq!(addresses("a:1, b").expect("list"), ["a:1", "b:16000"]);
        assert_eq!(addresses("[::1]:7,[::1]").expect("list"), ["[::1]:7", "[::1]:16000"]);
        for bad in ["", ",", "a:b", ":1", "a:70000", "::1:5"] {
            assert!(addresses(bad).is_err(), "{bad}");
        }
    }
}
