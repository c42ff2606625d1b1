//! One life of a standalone server, and a client of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use client::{Admin, Connection, Table};
use ferrobase_master::{Master, MasterContext};
use filesystem::Filesystem;
use model::mutation::{Mutation, MutationKind};
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, LATEST_TIMESTAMP};
use protocol::messages as pb;
use protocol::meta::ServerName;
use protocol::service::{ADMIN, CLIENT, Call, Connect, Dispatcher, HOST, MASTER, REGISTRY, RpcError, Service};
use regionserver::{RegionServer, ServerContext, ServerSettings};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::region::{RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

/// A server's life.
#[derive(Debug)]
pub struct Cluster {
    pub fs: Arc<dyn Filesystem>,
    pub master: Arc<Master>,
    pub server: Arc<RegionServer>,
    pub log: Log,
    pub service: Arc<dyn Service>,
}

struct Only(Arc<dyn Service>);

#[async_trait]
impl Connect for Only {
    async fn connect(&self, _address: &str) -> Result<Arc<dyn Service>, RpcError> {
        Ok(self.0.clone())
    }
}

static LIVES: AtomicU64 = AtomicU64::new(1);

impl Cluster {
    /// Starts a server over a root, whoever ran there before.
    pub async fn start(fs: Arc<dyn Filesystem>) -> Cluster {
        Cluster::try_start(fs).await.expect("start")
    }

    pub async fn try_start(fs: Arc<dyn Filesystem>) -> Result<Cluster, String> {
        Cluster::start_with(fs, |host| host).await
    }

    /// The master reaches the region server through what `between` makes of it.
    pub async fn start_with(
        fs: Arc<dyn Filesystem>,
        between: impl FnOnce(Arc<dyn Service>) -> Arc<dyn Service>,
    ) -> Result<Cluster, String> {
        let (runtime, life) = (Runtime::system(), LIVES.fetch_add(1, Ordering::Relaxed));
        let leadership =
            coordination::take_over(&fs, &runtime, "here:1").await.map_err(|error| format!("take over: {error}"))?;
        let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), life);
        let log = log.await.map_err(|error| format!("log: {error}"))?;
        let region = RegionContext {
            runtime,
            fs: fs.clone(),
            log: log.clone(),
            budget: Budget::new(64 << 20),
            cache: Arc::new(BlockCache::new(4 << 20)),
            settings: RegionSettings::default(),
        };
        let server = ServerName::new("here", 1, life);
        let settings = ServerSettings::default();
        let hosting = RegionServer::new(ServerContext { region: region.clone(), server: server.clone(), settings });
        let host = between(hosting.clone());
        let master = Master::start(MasterContext { region, leadership, host, server }).await;
        let master = master.map_err(|error| format!("master: {error}"))?;
        let mut service = Dispatcher::default();
        for name in [CLIENT, ADMIN, HOST] {
            service = service.with(name, hosting.clone());
        }
        for name in [MASTER, REGISTRY] {
            service = service.with(name, master.clone());
        }
        Ok(Cluster { fs, master, server: hosting, log, service: Arc::new(service) })
    }

    /// Ends this life in order.
    pub async fn close(self) -> Arc<dyn Filesystem> {
        self.master.close().await.expect("master closes");
        self.server.close().await.expect("server closes");
        self.log.close().await;
        self.fs
    }

    pub async fn connection(&self) -> Connection {
        let builder = Connection::builder("here:1").connector(Arc::new(Only(self.service.clone())));
        builder.timeout(Duration::from_secs(20)).pause(Duration::from_millis(5)).open().await.expect("connects")
    }

    /// Encoded names of the regions that are served.
    pub async fn served(&self) -> BTreeSet<String> {
        let call = Call::new(ADMIN, "GetOnlineRegion", &pb::GetOnlineRegionRequest {});
        let answer: pb::GetOnlineRegionResponse =
            self.service.call(call).await.expect("answer").decode().expect("answer");
        let info = |region| protocol::schema::region_info_from(region).expect("region");
        let served = answer.region_info.iter().map(info).filter(|info| !info.table.is_meta());
        served.map(|info| info.encoded_name()).collect()
    }

    pub async fn admin(&self) -> Admin {
        self.connection().await.admin()
    }

    pub async fn table(&self, table: &str) -> Table {
        self.connection().await.table(name(table))
    }
}

pub fn name(table: &str) -> TableName {
    table.parse().expect("name")
}

/// A table with families `f` and `g`.
pub fn described(table: &str) -> TableDescriptor {
    TableDescriptor::new(name(table))
        .with_family(FamilyDescriptor::new("f").with("VERSIONS", "3"))
        .with_family(FamilyDescriptor::new("g"))
}

pub fn keys(keys: &[&str]) -> Vec<Bytes> {
    keys.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect()
}

/// A put of `f:q`.
pub fn put(row: &str, value: &str) -> Mutation {
    put_in("f", row, value)
}

pub fn put_in(family: &str, row: &str, value: &str) -> Mutation {
    let row = Bytes::copy_from_slice(row.as_bytes());
    let cell = Cell::put(&row, family.as_bytes(), b"q", LATEST_TIMESTAMP, value.as_bytes()).expect("cell");
    let mut mutation = Mutation::new(MutationKind::Put, row);
    mutation.cells.push(cell);
    mutation
}

/// All rows of a table with the value of `f:q`.
pub async fn rows(table: &Table) -> Vec<(String, String)> {
    let mut scan = table.scan(model::query::Scan::default());
    let mut rows = Vec::new();
    while let Some(row) = scan.next_row().await.expect("scan") {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = row.value(b"f", b"q").unwrap_or_default();
        rows.push((text(row.row().unwrap_or_default()), text(&value)));
    }
    rows
}

pub async fn put_all(table: &Table, puts: Vec<Mutation>) {
    for done in table.mutate_all(puts).await {
        done.expect("put");
    }
}
