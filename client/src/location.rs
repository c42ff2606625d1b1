//! Where regions are: what META said, remembered until a server disagrees.
//!
//! Always true
//! - One lookup per table at a time; who waits for it finds its result.
//! - At most [`CACHED_MAX`] locations are kept of a table, and of at most [`TABLES_MAX`] tables.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use model::cell::ROW_LEN_MAX;
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::TableName;
use parking_lot::{Mutex, RwLock};
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::meta::{self, RegionRow, TableState, lookup_scan, table_state_from};
use protocol::query::{get_to, scan_to};
use protocol::result::{result_from, scanned_from};
use protocol::schema::{region_info_from, table_name_to};
use protocol::service::{CLIENT, Call, MASTER, MovedTo, REGISTRY, RpcError};

use crate::calls::Calls;

/// Most locations kept of one table; when there are more, all are forgotten.
const CACHED_MAX: usize = 100_000;
/// Most tables of which locations are kept; when there are more, all but META's are forgotten.
const TABLES_MAX: usize = 4_096;

/// A region and its server.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub info: RegionInfo,
    /// The region's full name.
    pub name: Bytes,
    /// `host:port`.
    pub address: String,
}

impl Location {
    pub fn specifier(&self) -> pb::RegionSpecifier {
        protocol::schema::region_specifier(self.name.clone())
    }
}

/// Which region of a table is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// The one that holds the row.
    Row(Bytes),
    /// The one that holds the rows just before this row.
    Before(Bytes),
    /// The table's last.
    Last,
}

impl Seek {
    fn fits(&self, region: &RegionInfo) -> bool {
        let ends_behind = |row: &Bytes| region.end_key.is_empty() || region.end_key >= *row;
        match self {
            Seek::Row(row) => region.contains(row),
            Seek::Before(row) => region.start_key < *row && ends_behind(row),
            Seek::Last => region.end_key.is_empty(),
        }
    }

    /// META read backwards from behind the wanted region's row.
    fn scan(&self, table: &TableName) -> Scan {
        let mut scan = match self {
            Seek::Row(row) | Seek::Before(row) => lookup_scan(table, row),
            Seek::Last => lookup_scan(table, b""),
        };
        match self {
            Seek::Row(_) => {}
            // An empty region id stands before every region that starts at the row.
            Seek::Before(row) => {
                scan.start_row = [table.to_string().as_bytes(), b",", &row[..], b","].concat().into();
            }
            // A space stands before every character that a longer table name could go on with.
            Seek::Last => scan.start_row = format!("{table} ,,").into(),
        }
        // A region's name is a row of META: what is cut off here none of them has.
        scan.start_row.truncate(ROW_LEN_MAX);
        scan
    }
}

#[derive(Debug, Default)]
pub(crate) struct TableLocations {
    known: RwLock<BTreeMap<Bytes, Arc<Location>>>,
    lookup: tokio::sync::Mutex<()>,
}

impl TableLocations {
    pub fn cached(&self, seek: &Seek) -> Option<Arc<Location>> {
        let known = self.known.read();
        let (_, location) = match seek {
            Seek::Row(row) => known.range::<[u8], _>((Bound::Unbounded, Bound::Included(&row[..]))).next_back(),
            Seek::Before(row) => known.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(&row[..]))).next_back(),
            Seek::Last => known.last_key_value(),
        }?;
        seek.fits(&location.info).then(|| location.clone())
    }

    fn insert(&self, location: Arc<Location>) {
        let mut known = self.known.write();
        if known.len() >= CACHED_MAX {
            known.clear();
        }
        known.insert(location.info.start_key.clone(), location);
    }

    /// Forgets a location, unless a newer one has taken its place.
    pub fn forget(&self, old: &Location) {
        let mut known = self.known.write();
        if known.get(&old.info.start_key).is_some_and(|now| now.name == old.name && now.address == old.address) {
            known.remove(&old.info.start_key);
        }
    }
}

/// A cluster as a connection sees it: its servers, and where its tables' regions are.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub calls: Calls,
    tables: Mutex<HashMap<TableName, Arc<TableLocations>>>,
}

impl Cluster {
    pub fn new(calls: Calls) -> Cluster {
        Cluster { calls, tables: Mutex::default() }
    }

    /// What is known of a table's regions.
    pub fn locations(&self, table: &TableName) -> Arc<TableLocations> {
        let mut tables = self.tables.lock();
        match tables.get(table) {
            Some(known) => known.clone(),
            None => {
                if tables.len() >= TABLES_MAX {
                    tables.retain(|name, _| name.is_meta());
                }
                tables.entry(table.clone()).or_default().clone()
            }
        }
    }

    /// Forgets everything about a table.
    pub fn forget_table(&self, table: &TableName) {
        if let Some(known) = self.tables.lock().get(table) {
            known.known.write().clear();
        }
    }

    fn forget_server(&self, address: &str) {
        let tables: Vec<_> = self.tables.lock().values().cloned().collect();
        for table in tables {
            table.known.write().retain(|_, location| location.address != address);
        }
    }

    /// The region's location, from memory or META.
    pub async fn locate(&self, table: &TableName, seek: &Seek, limit: Duration) -> Result<Arc<Location>, RpcError> {
        let known = self.locations(table);
        match known.cached(seek) {
            Some(location) => Ok(location),
            None => self.look_up(&known, table, seek, limit).await,
        }
    }

    async fn look_up(
        &self,
        known: &TableLocations,
        table: &TableName,
        seek: &Seek,
        limit: Duration,
    ) -> Result<Arc<Location>, RpcError> {
        let search = async {
            let _alone = known.lookup.lock().await;
            if let Some(location) = known.cached(seek) {
                return Ok(location);
            }
            let location =
                if table.is_meta() { self.find_meta(limit).await? } else { self.ask_meta(table, seek, limit).await? };
            let location = Arc::new(location);
            known.insert(location.clone());
            Ok(location)
        };
        let late = || RpcError::new(ErrorKind::Unavailable, format!("region of {table} was not found in time"));
        runtime::clock::within(&*self.calls.runtime.clock, limit, search).await.unwrap_or_else(|| Err(late()))
    }

    async fn find_meta(&self, limit: Duration) -> Result<Location, RpcError> {
        let request = Call::new(REGISTRY, "GetMetaRegionLocations", &pb::GetMetaRegionLocationsRequest {});
        let answer: pb::GetMetaRegionLocationsResponse = self.calls.ask_registry(request, limit).await?.decode()?;
        let nowhere = || RpcError::new(ErrorKind::NotServing, "hbase:meta is not served yet");
        let primary = answer.meta_locations.iter().find(|one| one.region_info.replica_id() == 0).ok_or_else(nowhere)?;
        let server = primary.server_name.as_ref().ok_or_else(nowhere)?;
        let info = region_info_from(&primary.region_info).map_err(|error| broken(error.to_string()))?;
        let address = format!("{}:{}", server.host_name, server.port());
        Ok(Location { name: info.region_name(), info, address })
    }

    async fn ask_meta(&self, table: &TableName, seek: &Seek, limit: Duration) -> Result<Location, RpcError> {
        // A split parent may stand before the row that is wanted.
        const ROWS: u32 = 4;
        let meta_table = TableName::meta();
        let known = self.locations(&meta_table);
        let meta = match known.cached(&Seek::Last) {
            Some(meta) => meta,
            None => {
                let meta = Arc::new(self.find_meta(limit).await?);
                known.insert(meta.clone());
                meta
            }
        };
        let request = pb::ScanRequest {
            region: Some(meta.specifier()),
            scan: Some(scan_to(&seek.scan(table))),
            number_of_rows: Some(ROWS),
            limit_of_rows: Some(ROWS),
            close_scanner: Some(true),
            ..pb::ScanRequest::default()
        };
        let call = Call::new(CLIENT, "Scan", &request);
        let reply = match self.calls.call(&meta.address, call, limit).await {
            Ok(reply) => reply,
            Err(cause) => {
                self.heed(&meta, &cause);
                return Err(cause);
            }
        };
        let mut found = false;
        for (cells, _) in scanned_from(&reply.decode()?, &mut CellBlock::new(reply.cells.clone()))? {
            found = true;
            let Some(row) = RegionRow::from_cells(&cells)? else { continue };
            if row.info.offline && row.info.split || row.info.table != *table {
                continue;
            }
            if !seek.fits(&row.info) {
                break;
            }
            let gone = [meta::CLOSED, meta::OPENING].contains(&row.state.as_str());
            let server = row.server.filter(|_| !gone).ok_or_else(|| {
                RpcError::new(ErrorKind::NotServing, format!("region {} has no server ({})", row.info, row.state))
            })?;
            return Ok(Location { name: row.info.region_name(), address: server.address(), info: row.info });
        }
        if found {
            return Err(RpcError::new(ErrorKind::NotServing, format!("META names no region of {table} for {seek:?}")));
        }
        Err(RpcError::of(ErrorKind::NotFound, "TableNotFoundException", table.to_string()))
    }

    /// A table's state in META; one attempt.
    pub async fn table_state(&self, table: &TableName, limit: Duration) -> Result<Option<TableState>, RpcError> {
        let meta = self.locate(&TableName::meta(), &Seek::Last, limit).await?;
        let mut get = Get::new(table.to_string());
        get.selection.add_family(meta::TABLE);
        let request = pb::GetRequest { region: meta.specifier(), get: get_to(&get) };
        let reply = match self.calls.call(&meta.address, Call::new(CLIENT, "Get", &request), limit).await {
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

    /// Why a table is out of service or on its way there; `None` if META says that it is in service, or does not know it.
    pub async fn why_disabled(&self, table: &TableName, limit: Duration) -> Result<Option<RpcError>, RpcError> {
        if !matches!(self.table_state(table, limit).await?, Some(TableState::Disabled | TableState::Disabling)) {
            return Ok(None);
        }
        Ok(Some(self.disabled_because(table, limit).await))
    }

    /// Why a table is out of service of which META says that it is. To META one whose head is damaged is disabled; the master knows better.
    pub async fn disabled_because(&self, table: &TableName, limit: Duration) -> RpcError {
        let request = pb::GetTableStateRequest { table_name: table_name_to(table) };
        match self.calls.call_master(Call::new(MASTER, "GetTableState", &request), limit).await {
            // On its way damage becomes one of the errors that nobody should try again.
            Err(cause) if matches!(cause.kind, ErrorKind::Corrupt | ErrorKind::Invalid) => cause,
            _ => RpcError::of(ErrorKind::Conflict, "TableNotEnabledException", format!("{table} is disabled.")),
        }
    }

    /// Corrects what is remembered of a location after a call to it failed.
    pub fn heed(&self, location: &Location, cause: &RpcError) {
        let known = self.locations(&location.info.table);
        match cause.kind {
            ErrorKind::Moved => match moved_to(cause) {
                Some(MovedTo { host, port }) => {
                    known.insert(Arc::new(Location { address: format!("{host}:{port}"), ..location.clone() }));
                }
                None => known.forget(location),
            },
            ErrorKind::NotServing => match cause.short_class() {
                "exceptions.RegionOpeningException" => {}
                "regionserver.RegionServerStoppedException" | "regionserver.RegionServerAbortedException" => {
                    self.forget_server(&location.address);
                }
                _ => known.forget(location),
            },
            ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Fenced => known.forget(location),
            _ => {}
        }
    }
}

/// Where the region went: beside the error, or in its text (hbase-wire.md §1.8).
fn moved_to(cause: &RpcError) -> Option<MovedTo> {
    if cause.moved_to.is_some() {
        return cause.moved_to.clone();
    }
    let (_, rest) = cause.message.split_once("hostname=")?;
    let (host, rest) = rest.split_once(" port=")?;
    let (port, _) = rest.split_once(" startCode=")?;
    Some(MovedTo { host: host.to_owned(), port: port.parse().ok()? })
}

fn broken(why: String) -> RpcError {
    RpcError::new(ErrorKind::Internal, why)
}
