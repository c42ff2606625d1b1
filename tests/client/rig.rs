//! Servers that listen on the loopback, and connections that can be made to fail.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use client::{Admin, Connection, ConnectionBuilder, Row, Table};
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use master::{Master, MasterContext};
use model::ErrorKind;
use model::mutation::Mutation;
use model::query::Get;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use parking_lot::Mutex;
use protocol::grpc::{self, Connector, ConnectorSettings, Limits};
use protocol::meta::ServerName;
use protocol::service::{ADMIN, CLIENT, Call, Connect, Dispatcher, HOST, MASTER, REGISTRY, Reply, RpcError, Service};
use regionserver::{RegionServer, ServerContext, ServerSettings};
use runtime::Runtime;
use runtime::shutdown::Shutdown;
use runtime::task::Task;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::region::{RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

static LIVES: AtomicU64 = AtomicU64::new(1);

/// One life of a standalone server.
pub struct Node {
    pub address: SocketAddr,
    pub server: Arc<RegionServer>,
    pub fs: Arc<dyn Filesystem>,
    master: Arc<Master>,
    log: Log,
    stop: Shutdown,
    door: Task<()>,
}

impl Node {
    /// A new cluster.
    pub async fn new() -> Node {
        Node::with(ServerSettings::default()).await
    }

    pub async fn with(settings: ServerSettings) -> Node {
        let any = "127.0.0.1:0".parse().expect("address");
        Node::start_with(Arc::new(MemoryFilesystem::new()), any, settings).await
    }

    /// Starts over a root, whoever ran there before.
    pub async fn start(fs: Arc<dyn Filesystem>, at: SocketAddr) -> Node {
        Node::start_with(fs, at, ServerSettings::default()).await
    }

    async fn start_with(fs: Arc<dyn Filesystem>, at: SocketAddr, settings: ServerSettings) -> Node {
        let (runtime, life) = (Runtime::system(), LIVES.fetch_add(1, Ordering::Relaxed));
        let listener = runtime::net::bind(at).await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let leadership = coordination::take_over(&fs, &runtime, &address.to_string()).await.expect("take over");
        let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), life).await.expect("log");
        let region = RegionContext {
            runtime,
            fs: fs.clone(),
            log: log.clone(),
            budget: Budget::new(64 << 20),
            cache: Arc::new(BlockCache::new(8 << 20)),
            settings: RegionSettings::default(),
        };
        let name = ServerName::new(address.ip().to_string(), address.port(), life);
        let server = RegionServer::new(ServerContext { region: region.clone(), server: name.clone(), settings });
        let host: Arc<dyn Service> = server.clone();
        let master = Master::start(MasterContext { region, leadership, host, server: name }).await.expect("master");
        let mut dispatcher = Dispatcher::default();
        for service in [CLIENT, ADMIN, HOST] {
            dispatcher = dispatcher.with(service, server.clone());
        }
        for service in [MASTER, REGISTRY] {
            dispatcher = dispatcher.with(service, master.clone());
        }
        let stop = Shutdown::new();
        let server_of_calls = grpc::Server::new(&Runtime::system(), Arc::new(dispatcher), Limits::default());
        let door = runtime::task::spawn("door", grpc::serve(listener, Arc::new(server_of_calls), stop.clone()));
        Node { address, server, fs, master, log, stop, door }
    }

    /// Ends in order.
    pub async fn close(self) -> (Arc<dyn Filesystem>, SocketAddr) {
        self.stop.signal();
        self.door.await.expect("the door closes");
        self.server.close().await.expect("regions close");
        self.master.close().await.expect("master closes");
        self.log.close().await;
        (self.fs, self.address)
    }

    /// Ends without a word: nothing is closed, and what runs goes on until the log is taken away from it.
    pub async fn kill(self) -> (Arc<dyn Filesystem>, SocketAddr) {
        self.stop.signal();
        self.door.abort();
        drop(self.door.await);
        (self.fs, self.address)
    }

    pub fn builder(&self) -> ConnectionBuilder {
        builder(&self.address.to_string())
    }

    pub async fn connection(&self) -> Connection {
        self.builder().open().await.expect("connection")
    }

    pub async fn admin(&self) -> Admin {
        self.connection().await.admin()
    }

    /// A new table with families `f` (3 versions) and `g`, cut at the given rows.
    pub async fn table(&self, table: &str, splits: &[&str]) -> Table {
        let connection = self.connection().await;
        connection.admin().create_table(&described(table), &keys(splits)).await.expect("create");
        connection.table(name(table))
    }

    /// A connection with faults between it and the server.
    pub async fn faulty(&self) -> (Connection, Arc<Faults>) {
        let faults = Faults::new();
        let connection = self.builder().connector(faults.connector()).open().await.expect("connection");
        (connection, faults)
    }
}

pub fn builder(address: &str) -> ConnectionBuilder {
    Connection::builder(address).pause(Duration::from_millis(5)).timeout(Duration::from_secs(30))
}

pub fn name(table: &str) -> TableName {
    table.parse().expect("name")
}

pub fn described(table: &str) -> TableDescriptor {
    TableDescriptor::new(name(table))
        .with_family(FamilyDescriptor::new("f").with("VERSIONS", "3"))
        .with_family(FamilyDescriptor::new("g"))
}

pub fn keys(keys: &[&str]) -> Vec<Bytes> {
    keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect()
}

/// A put of `f:q`.
pub fn put(row: impl Into<Bytes>, value: impl AsRef<[u8]>) -> Mutation {
    Mutation::put(row).cell("f", "q", value).expect("cell")
}

/// Adds to `f:n`.
pub fn increment(row: impl Into<Bytes>, by: i64) -> Mutation {
    Mutation::increment(row).amount("f", "n", by).expect("cell")
}

pub fn number(row: &Row) -> i64 {
    row.value("f", "n").map_or(0, |value| i64::from_be_bytes(value[..].try_into().expect("8 bytes")))
}

/// The newest value of `f:q` as text.
pub async fn value(table: &Table, row: &'static str) -> Option<String> {
    let row = table.get(&Get::new(row)).await.expect("get");
    row.value("f", "q").map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not sent.
    Refuse,
    /// It is not sent, but nobody can tell.
    LoseCall,
    /// It is carried out, but nobody hears of it.
    LoseAnswer,
    /// It is carried out, and no answer comes.
    Hang,
}

/// A connector that fails now and then.
pub struct Faults {
    inner: Connector,
    /// Faults for the next calls of a method.
    lined_up: Mutex<Vec<(&'static str, Fault)>>,
    /// One of how many calls of the client service fails, and the state of chance.
    dice: Mutex<Option<(u64, u64)>>,
    made: AtomicU64,
}

impl Faults {
    pub fn new() -> Arc<Faults> {
        let inner = Connector::new(Runtime::system(), ConnectorSettings::default());
        Arc::new(Faults { inner, lined_up: Mutex::default(), dice: Mutex::default(), made: AtomicU64::new(0) })
    }

    pub fn connector(self: &Arc<Faults>) -> Arc<dyn Connect> {
        Arc::new(FaultyConnector(self.clone()))
    }

    pub fn next(&self, method: &'static str, faults: impl IntoIterator<Item = Fault>) {
        self.lined_up.lock().extend(faults.into_iter().map(|fault| (method, fault)));
    }

    /// From now on one of `one_in` calls fails.
    pub fn at_random(&self, seed: u64, one_in: u64) {
        *self.dice.lock() = Some((one_in, seed | 1));
    }

    /// Faults that happened.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    fn fault(&self, call: &Call) -> Option<Fault> {
        let mut lined_up = self.lined_up.lock();
        if let Some(at) = lined_up.iter().position(|(method, _)| *method == call.method) {
            return Some(lined_up.remove(at).1);
        }
        let mut dice = self.dice.lock();
        let (one_in, state) = dice.as_mut().filter(|_| call.service == CLIENT)?;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let faults = [Fault::Refuse, Fault::LoseCall, Fault::LoseAnswer];
        (*state >> 8).is_multiple_of(*one_in).then(|| faults[(*state >> 32) as usize % faults.len()])
    }
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faults")
    }
}

struct Line {
    faults: Arc<Faults>,
    server: Arc<dyn Service>,
}

#[async_trait]
impl Service for Line {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        let Some(fault) = self.faults.fault(&call) else { return self.server.call(call).await };
        self.faults.made.fetch_add(1, Ordering::Relaxed);
        if matches!(fault, Fault::LoseAnswer | Fault::Hang) {
            self.server.call(call).await?;
        }
        match fault {
            Fault::Refuse => Err(RpcError::new(ErrorKind::Unavailable, "made up: not sent")),
            Fault::LoseCall | Fault::LoseAnswer => Err(RpcError::new(ErrorKind::Unknown, "made up: connection broke")),
            Fault::Hang => pending().await,
        }
    }
}

#[async_trait]
impl Connect for FaultyConnector {
    async fn connect(&self, address: &str) -> Result<Arc<dyn Service>, RpcError> {
        let server = self.0.inner.connect(address).await?;
        Ok(Arc::new(Line { faults: self.0.clone(), server }))
    }
}

/// The faults as a client sees them.
struct FaultyConnector(Arc<Faults>);
