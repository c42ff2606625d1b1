//! A server with one region, and calls in short form.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrobase_regionserver::{RegionServer, ServerContext, ServerSettings};
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};
use prost::Message;
use protocol::cell_block::CellBlock;
use protocol::envelope::*;
use protocol::messages as pb;
use protocol::meta::ServerName;
use protocol::service::{ADMIN, CLIENT, Call, HOST, RpcError, Service};
use protocol::{mutation, query, result, schema};
use runtime::Runtime;
use runtime::clock::ManualClock;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

pub const TABLE_ID: &str = "t0001";

/// A time in the tests' present.
pub const NOW_MS: i64 = 1_700_000_000_000;

pub fn table() -> TableDescriptor {
    TableDescriptor::new("t".parse().expect("name"))
        .with_family(FamilyDescriptor::new("f").with("VERSIONS", "3"))
        .with_family(FamilyDescriptor::new("g"))
}

pub fn info(start: &str, end: &str) -> RegionInfo {
    let bytes = |key: &str| Bytes::copy_from_slice(key.as_bytes());
    RegionInfo::new("t".parse().expect("name"), bytes(start), bytes(end), 1)
}

/// What a server is started with.
pub struct Plan {
    pub fs: Arc<dyn Filesystem>,
    pub settings: ServerSettings,
    pub region: RegionSettings,
    pub log: LogSettings,
    pub budget: u64,
    pub clock: Option<Arc<ManualClock>>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            fs: Arc::new(MemoryFilesystem::new()),
            settings: ServerSettings::default(),
            region: RegionSettings::default(),
            log: LogSettings::default(),
            budget: 64 << 20,
            clock: None,
        }
    }
}

pub struct Rig {
    pub server: Arc<RegionServer>,
    pub fs: Arc<dyn Filesystem>,
    pub runtime: Runtime,
    pub budget: Budget,
    pub info: RegionInfo,
}

pub type Answer<M> = Result<(M, CellBlock), RpcError>;

impl Rig {
    /// A server with the whole table in one region.
    pub async fn new() -> Rig {
        Rig::with(Plan::default()).await
    }

    pub async fn with(plan: Plan) -> Rig {
        let rig = Rig::empty(plan, 1).await;
        rig.open(&rig.info, 100, 1).await.expect("open");
        rig
    }

    /// A server without regions; `stream` is its log's id.
    pub async fn empty(plan: Plan, stream: u64) -> Rig {
        let mut runtime = Runtime::system();
        if let Some(clock) = plan.clock {
            runtime.clock = clock;
        }
        let log = Log::create(plan.fs.clone(), runtime.clone(), plan.log, stream).await.expect("log");
        let budget = Budget::new(plan.budget);
        let region = RegionContext {
            runtime: runtime.clone(),
            fs: plan.fs.clone(),
            log,
            budget: budget.clone(),
            cache: Arc::new(BlockCache::new(4 << 20)),
            settings: plan.region,
        };
        let server = ServerName { host: "here".to_owned(), port: 1, start_code: stream };
        let server = RegionServer::new(ServerContext { region, server, settings: plan.settings });
        Rig { server, fs: plan.fs, runtime, budget, info: info("", "") }
    }

    pub async fn call<M: Message + Default>(&self, service: &str, method: &str, message: &impl Message) -> Answer<M> {
        self.call_with(service, method, message, Bytes::new(), None).await
    }

    pub async fn call_with<M: Message + Default>(
        &self,
        service: &str,
        method: &str,
        message: &impl Message,
        cells: Bytes,
        timeout: Option<Duration>,
    ) -> Answer<M> {
        let mut call = Call::new(service, method, message);
        call.cells = cells;
        call.timeout = timeout;
        let reply = self.server.call(call).await?;
        Ok((reply.decode()?, CellBlock::new(reply.cells)))
    }

    pub fn open_order(&self, info: &RegionInfo, epoch: u64, master_epoch: u32) -> OpenRegionOrder {
        OpenRegionOrder {
            master_epoch,
            region: schema::region_info_to(info),
            table_id: TABLE_ID.to_owned(),
            epoch,
            table: schema::table_to(&table()),
        }
    }

    /// Creates the region if need be, and opens it.
    pub async fn open(&self, info: &RegionInfo, epoch: u64, master_epoch: u32) -> Answer<OpenRegionReport> {
        Region::create(&self.fs, &self.runtime, TABLE_ID, info, &table(), 1).await.expect("create");
        self.call(HOST, "OpenRegion", &self.open_order(info, epoch, master_epoch)).await
    }

    pub async fn close_region(&self, info: &RegionInfo) -> Answer<CloseRegionReport> {
        let order = CloseRegionOrder { master_epoch: 9, encoded_name: info.encoded_name() };
        self.call(HOST, "CloseRegion", &order).await
    }

    pub fn region(&self) -> pb::RegionSpecifier {
        specifier(&self.info)
    }

    pub async fn get(&self, get: &Get) -> Result<Vec<Cell>, RpcError> {
        let request = pb::GetRequest { region: self.region(), get: query::get_to(get) };
        let (answer, mut block): (pb::GetResponse, _) = self.call(CLIENT, "Get", &request).await?;
        result::result_from(&answer.result.expect("a result"), &mut block)
    }

    pub async fn value(&self, row: &str, qualifier: &str) -> Option<String> {
        let mut get = Get::new(Bytes::copy_from_slice(row.as_bytes()));
        get.selection.add_column("f", Bytes::copy_from_slice(qualifier.as_bytes()));
        let cells = self.get(&get).await.expect("get");
        cells.first().map(|cell| String::from_utf8_lossy(cell.value()).into_owned())
    }

    pub async fn mutate(&self, change: &Mutation) -> Answer<pb::MutateResponse> {
        self.mutate_if(change, None, None).await
    }

    pub async fn mutate_if(
        &self,
        change: &Mutation,
        condition: Option<pb::Condition>,
        nonce: Option<u64>,
    ) -> Answer<pb::MutateResponse> {
        let mut block = BytesMut::new();
        let mutation = mutation::mutation_to(change, nonce, &mut block);
        let request = pb::MutateRequest { region: self.region(), mutation, condition, nonce_group: Some(7) };
        self.call_with(CLIENT, "Mutate", &request, block.freeze(), None).await
    }

    /// Puts into any region.
    pub async fn put_in(&self, info: &RegionInfo, row: &str, value: &str) {
        let mut block = BytesMut::new();
        let mutation = mutation::mutation_to(&put(row, "f", "q", value), None, &mut block);
        let request = pb::MutateRequest { region: specifier(info), mutation, condition: None, nonce_group: None };
        let _: (pb::MutateResponse, _) =
            self.call_with(CLIENT, "Mutate", &request, block.freeze(), None).await.expect("put");
    }

    /// A number of the server's metrics, the sum over all labels.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.server.metrics();
        let of = |line: &str| {
            let (key, value) = line.rsplit_once(' ')?;
            (key.split('{').next() == Some(name)).then(|| value.parse::<u64>().expect("a number"))
        };
        let values: Vec<u64> = text.lines().filter(|line| !line.starts_with('#')).filter_map(of).collect();
        assert!(!values.is_empty(), "no metric {name}");
        values.iter().sum()
    }

    pub async fn alter(&self, table: &TableDescriptor) {
        let encoded_name = self.info.encoded_name();
        let order = UpdateRegionOrder { master_epoch: 9, encoded_name, table: schema::table_to(table) };
        let _: (UpdateRegionReport, _) = self.call(HOST, "UpdateRegion", &order).await.expect("update");
    }

    pub async fn flush(&self) -> Answer<pb::FlushRegionResponse> {
        let request = pb::FlushRegionRequest {
            region: self.region(),
            if_older_than_ts: None,
            write_flush_wal_marker: None,
            family: None,
        };
        self.call(ADMIN, "FlushRegion", &request).await
    }

    pub async fn compact(&self, major: bool) {
        let request = pb::CompactRegionRequest { region: self.region(), major: Some(major), family: None };
        let _: (pb::CompactRegionResponse, _) = self.call(ADMIN, "CompactRegion", &request).await.expect("compact");
    }

    /// Waits until no compaction of the region waits or runs.
    pub async fn compacted(&self) {
        let request =
            pb::GetRegionInfoRequest { region: self.region(), compaction_state: Some(true), best_split_row: None };
        for _ in 0..2000 {
            let (answer, _): (pb::GetRegionInfoResponse, _) =
                self.call(ADMIN, "GetRegionInfo", &request).await.expect("info");
            if answer.compaction_state() == pb::get_region_info_response::CompactionState::None {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("compactions do not end");
    }

    pub async fn put(&self, row: &str, qualifier: &str, value: &str) {
        self.mutate(&put(row, "f", qualifier, value)).await.expect("put");
    }

    pub async fn scan(&self, request: &pb::ScanRequest) -> Result<Page, RpcError> {
        let (answer, mut block): (pb::ScanResponse, _) = self.call(CLIENT, "Scan", request).await?;
        let rows = result::scanned_from(&answer, &mut block)?;
        assert!(block.is_empty());
        Ok(Page { answer, rows })
    }

    pub fn scan_request(&self, scan: &Scan, rows: u32) -> pb::ScanRequest {
        pb::ScanRequest {
            region: Some(self.region()),
            scan: Some(query::scan_to(scan)),
            number_of_rows: Some(rows),
            client_handles_partials: Some(true),
            client_handles_heartbeats: Some(true),
            ..pb::ScanRequest::default()
        }
    }
}

pub fn specifier(info: &RegionInfo) -> pb::RegionSpecifier {
    protocol::schema::region_specifier(info.region_name())
}

/// One answer of a scan.
#[derive(Debug)]
pub struct Page {
    pub answer: pb::ScanResponse,
    /// Cells and whether the row goes on.
    pub rows: Vec<(Vec<Cell>, bool)>,
}

impl Page {
    pub fn keys(&self) -> Vec<String> {
        self.rows.iter().map(|(cells, _)| String::from_utf8_lossy(cells[0].row()).into_owned()).collect()
    }

    pub fn id(&self) -> u64 {
        self.answer.scanner_id.expect("every answer has it")
    }

    pub fn more(&self) -> (bool, bool) {
        (self.answer.more_results.expect("set"), self.answer.more_results_in_region.expect("set"))
    }
}

pub fn put(row: &str, family: &str, qualifier: &str, value: &str) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Put, Bytes::copy_from_slice(row.as_bytes()));
    let (row, family, qualifier) = (row.as_bytes(), family.as_bytes(), qualifier.as_bytes());
    mutation.cells.push(Cell::put(row, family, qualifier, LATEST_TIMESTAMP, value.as_bytes()).expect("cell"));
    mutation
}

pub fn increment(row: &str, by: i64) -> Mutation {
    let mut mutation = put(row, "f", "n", "");
    mutation.kind = MutationKind::Increment;
    mutation.cells = vec![Cell::put(row.as_bytes(), b"f", b"n", LATEST_TIMESTAMP, &by.to_be_bytes()).expect("cell")];
    mutation
}

pub fn number(cells: &[Cell]) -> i64 {
    i64::from_be_bytes(cells[0].value().try_into().expect("8 bytes"))
}

/// The error's class without its package.
pub fn class<T: std::fmt::Debug>(answer: Result<T, RpcError>) -> String {
    answer.expect_err("fails").short_class().to_owned()
}

/// Waits until something holds, at most twenty seconds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within twenty seconds: {what}");
}
