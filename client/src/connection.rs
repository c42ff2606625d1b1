//! A connection to a cluster: its servers, its master, and what all tables share.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::ErrorKind;
use model::query::Get;
use model::schema::TableName;
use parking_lot::Mutex;
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::meta::{self, ServerName, TableState, server_name_from, table_state_from};
use protocol::query::get_to;
use protocol::result::result_from;
use protocol::service::{CLIENT, Call, Connect, MASTER, REGISTRY, Reply, RpcError};
use runtime::Runtime;
use runtime::clock::within;

use crate::Result;
use crate::admin::Admin;
use crate::buffered::{BufferSettings, BufferedMutator};
use crate::error::ClientError;
use crate::location::{Locations, Seek};
use crate::retry::{Retry, Subject};
use crate::table::Table;

/// The port of a bootstrap address that names none.
const DEFAULT_PORT: u16 = 16000;

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub timeout: Duration,
    pub call_timeout: Duration,
    pub procedure_timeout: Duration,
    pub attempts: u32,
    pub pause: Duration,
}

/// How a [`Connection`] is made.
#[derive(Clone, Debug)]
pub struct ConnectionBuilder {
    bootstrap: String,
    settings: Settings,
    connector: Option<Arc<dyn Connect>>,
    runtime: Option<Runtime>,
}

impl ConnectionBuilder {
    /// How long an operation may take with all its attempts; default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> ConnectionBuilder {
        self.settings.timeout = timeout;
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

    /// What makes connections to servers.
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
    /// Invalid for a bad address; else no server answered within the timeout.
    pub async fn open(self) -> Result<Connection> {
        let invalid = |why: String| ClientError::local("connect", RpcError::invalid(why));
        let bootstrap = addresses(&self.bootstrap).map_err(invalid)?;
        let runtime = self.runtime.unwrap_or_else(Runtime::system);
        let connector = self.connector.ok_or_else(|| invalid("no connector was given".to_owned()))?;
        let nonces = AtomicU64::new(runtime.random.next_u64());
        let shared = Arc::new(Shared {
            nonce_group: runtime.random.next_u64(),
            runtime,
            connector,
            settings: self.settings,
            bootstrap,
            bootstrap_at: AtomicUsize::new(0),
            cluster_id: OnceLock::new(),
            master: Mutex::default(),
            locations: Locations::default(),
            nonces,
        });
        let mut retry = Retry::new(&shared, Subject::new("connect"));
        loop {
            let request = Call::new(REGISTRY, "GetClusterId", &pb::GetClusterIdRequest {});
            let answer = shared.ask_registry(request, retry.call_limit()).await;
            let id = answer.and_then(|reply| reply.decode::<pb::GetClusterIdResponse>());
            match id.map(|answer| answer.cluster_id) {
                Ok(Some(id)) => {
                    shared.cluster_id.get_or_init(|| id);
                    return Ok(Connection { shared });
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

/// What everything made by one connection shares.
pub(crate) struct Shared {
    pub runtime: Runtime,
    pub settings: Settings,
    /// Set once the connection is open.
    cluster_id: OnceLock<String>,
    pub locations: Locations,
    pub nonce_group: u64,
    connector: Arc<dyn Connect>,
    bootstrap: Vec<String>,
    /// The bootstrap address that answered last.
    bootstrap_at: AtomicUsize,
    master: Mutex<Option<ServerName>>,
    nonces: AtomicU64,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("bootstrap", &self.bootstrap).finish_non_exhaustive()
    }
}

impl Shared {
    /// A nonce for an operation.
    pub fn nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed).max(1)
    }

    /// Makes a call; an answer that does not come in time may stand for work that was done.
    pub async fn call(&self, address: &str, mut call: Call, limit: Duration) -> Result<Reply, RpcError> {
        call.timeout = Some(limit);
        let (service, method) = (call.service.clone(), call.method.clone());
        let work = async { self.connector.connect(address).await?.call(call).await };
        within(&*self.runtime.clock, limit, work).await.unwrap_or_else(|| {
            let why = format!("no answer to {service}.{method} from {address} within {limit:?}");
            Err(RpcError::new(ErrorKind::Unknown, why))
        })
    }

    /// Asks the bootstrap servers one after the other, the last good one first.
    pub async fn ask_registry(&self, call: Call, limit: Duration) -> Result<Reply, RpcError> {
        let first = self.bootstrap_at.load(Ordering::Relaxed);
        let share = limit / u32::try_from(self.bootstrap.len()).unwrap_or(u32::MAX);
        let mut last = None;
        for step in 0..self.bootstrap.len() {
            let at = (first + step) % self.bootstrap.len();
            match self.call(&self.bootstrap[at], call.clone(), share).await {
                Ok(reply) => {
                    self.bootstrap_at.store(at, Ordering::Relaxed);
                    return Ok(reply);
                }
                // Nothing changes at a registry: an answer that is lost is an answer that is missing.
                Err(cause) if cause.kind == ErrorKind::Unknown => {
                    last = Some(RpcError::new(ErrorKind::Unavailable, cause.message));
                }
                Err(cause) => last = Some(cause),
            }
        }
        Err(last.unwrap_or_else(|| RpcError::invalid("no bootstrap address was given")))
    }

    /// The active master, from memory or the registry.
    pub async fn master(&self, limit: Duration) -> Result<ServerName, RpcError> {
        let known = self.master.lock().clone();
        if let Some(master) = known {
            return Ok(master);
        }
        let request = Call::new(REGISTRY, "GetActiveMaster", &pb::GetActiveMasterRequest {});
        let answer: pb::GetActiveMasterResponse = self.ask_registry(request, limit).await?.decode()?;
        let name = answer
            .server_name
            .ok_or_else(|| RpcError::of(ErrorKind::NotServing, "MasterNotRunningException", "no master is active"))?;
        let master = server_name_from(&name)?;
        *self.master.lock() = Some(master.clone());
        Ok(master)
    }

    /// One call to the master; a failure that may mean another master forgets this one.
    pub async fn call_master(&self, call: Call, limit: Duration) -> Result<Reply, RpcError> {
        let master = self.master(limit).await?;
        let call = Call { service: MASTER.to_owned(), ..call };
        let answer = self.call(&master.address(), call, limit).await;
        if let Err(cause) = &answer
            && matches!(
                cause.kind,
                ErrorKind::NotServing
                    | ErrorKind::Moved
                    | ErrorKind::Unavailable
                    | ErrorKind::Unknown
                    | ErrorKind::Fenced
            )
        {
            let mut known = self.master.lock();
            if known.as_ref() == Some(&master) {
                *known = None;
            }
        }
        answer
    }

    /// A table's state in META; one attempt.
    pub async fn table_state(&self, table: &TableName, limit: Duration) -> Result<Option<TableState>, RpcError> {
        let meta = self.locate(&TableName::meta(), &Seek::Last, limit).await?;
        let mut get = Get::new(table.to_string());
        get.selection.add_family(meta::TABLE);
        let request = pb::GetRequest { region: meta.specifier(), get: get_to(&get) };
        let reply = match self.call(&meta.address, Call::new(CLIENT, "Get", &request), limit).await {
            Ok(reply) => reply,
            Err(cause) => {
                self.heed(&meta, &cause);
                return Err(cause);
            }
        };
        let answer: pb::GetResponse = reply.decode()?;
        let mut block = CellBlock::new(reply.cells.clone());
        let cells = answer.result.map(|result| result_from(&result, &mut block)).transpose()?.unwrap_or_default();
        table_state_from(&cells)
    }

    /// False if the table is out of service or on its way there.
    pub async fn may_be_served(&self, table: &TableName, limit: Duration) -> Result<bool, RpcError> {
        let state = self.table_state(table, limit).await?;
        Ok(!matches!(state, Some(TableState::Disabled | TableState::Disabling)))
    }
}

/// A connection to a cluster. Clones share everything.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) shared: Arc<Shared>,
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
        ConnectionBuilder { bootstrap: bootstrap.to_owned(), settings, connector: None, runtime: None }
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        self.shared.cluster_id.get().map_or("", String::as_str)
    }

    /// A table; whether it exists turns out when it is used.
    pub fn table(&self, name: TableName) -> Table {
        Table::new(self.shared.clone(), name)
    }

    /// Schema changes and the state of the cluster.
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
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
