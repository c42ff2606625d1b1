//! What stands in META, and how it is asked (hbase-wire.md §4.3).
//!
//! Always true
//! - A region's row is its region name; a table's is its full name.
//! - Rows that HBase wrote are understood, and HBase's clients understand rows written here.
//! - The newest cell of a column counts, wherever it stands.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, CellType};
use prost::Message;

use crate::messages as pb;
use crate::schema::{SchemaMessageError, region_info_from_meta, region_info_to_meta};
use crate::service::RpcError;

/// The family of regions.
pub const INFO: &[u8] = b"info";
/// The family of tables' states.
pub const TABLE: &[u8] = b"table";

const REGION_INFO: &[u8] = b"regioninfo";
const SERVER: &[u8] = b"server";
const START_CODE: &[u8] = b"serverstartcode";
const SEQNUM: &[u8] = b"seqnumDuringOpen";
const SERVER_NAME: &[u8] = b"sn";
const STATE: &[u8] = b"state";

/// State of a region that answers.
pub const OPEN: &str = "OPEN";
/// State of a region that a server was told to open.
pub const OPENING: &str = "OPENING";
/// State of a region that a server was told to close.
pub const CLOSING: &str = "CLOSING";
/// State of a region that no server holds.
pub const CLOSED: &str = "CLOSED";
/// State of a region that its server cannot open.
pub const FAILED_OPEN: &str = "FAILED_OPEN";

/// One life of one server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName {
    /// Host name or address.
    pub host: String,
    /// The port of its calls.
    pub port: u16,
    /// When it started, in milliseconds; tells its lives apart.
    pub start_code: u64,
}

impl ServerName {
    /// A server name from its parts.
    pub fn new(host: impl Into<String>, port: u16, start_code: u64) -> ServerName {
        ServerName { host: host.into(), port, start_code }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.host, self.port, self.start_code)
    }
}

fn bad(what: &'static str, why: impl ToString) -> SchemaMessageError {
    SchemaMessageError::Bad { what, why: why.to_string() }
}

impl FromStr for ServerName {
    type Err = SchemaMessageError;

    fn from_str(text: &str) -> Result<ServerName, SchemaMessageError> {
        let wrong = || bad("server name", format!("`{text}` is not host,port,startcode"));
        let parts: Vec<&str> = text.split(',').collect();
        let &[host, port, start_code] = &parts[..] else { return Err(wrong()) };
        match (port.parse(), start_code.parse()) {
            (Ok(port), Ok(start_code)) if !host.is_empty() => Ok(ServerName::new(host, port, start_code)),
            _ => Err(wrong()),
        }
    }
}

/// Reads a server name.
pub fn server_name_from(message: &pb::ServerName) -> Result<ServerName, SchemaMessageError> {
    let port = u16::try_from(message.port()).map_err(|error| bad("ServerName", error))?;
    Ok(ServerName::new(message.host_name.clone(), port, message.start_code()))
}

/// Writes a server name.
pub fn server_name_to(server: &ServerName) -> pb::ServerName {
    pb::ServerName {
        host_name: server.host.clone(),
        port: Some(server.port.into()),
        start_code: Some(server.start_code),
    }
}

/// The newest value of a column among a row's cells, which come newest first.
fn newest<'a>(cells: &'a [Cell], family: &[u8], qualifier: &[u8]) -> Option<&'a [u8]> {
    cells.iter().find(|cell| cell.family() == family && cell.qualifier() == qualifier).map(Cell::value)
}

fn number(what: &'static str, value: &[u8]) -> Result<u64, SchemaMessageError> {
    let bytes = value.try_into().map_err(|_| bad(what, format!("it has {} bytes instead of 8", value.len())))?;
    Ok(u64::from_be_bytes(bytes))
}

fn text(what: &'static str, value: &[u8]) -> Result<String, SchemaMessageError> {
    std::str::from_utf8(value).map(str::to_owned).map_err(|error| bad(what, error))
}

/// A region's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionRow {
    /// The region.
    pub info: RegionInfo,
    /// Where it was opened last; it may have gone since.
    pub server: Option<ServerName>,
    /// Its sequence number at that opening.
    pub seqnum: Option<u64>,
    /// [`OPEN`], [`CLOSED`] …; empty if the row does not say.
    pub state: String,
}

impl RegionRow {
    /// Reads a row of META; `None` if it describes no region.
    ///
    /// # Errors
    /// Invalid when a cell is not what it should be.
    pub fn from_cells(cells: &[Cell]) -> Result<Option<RegionRow>, RpcError> {
        let Some(info) = newest(cells, INFO, REGION_INFO) else { return Ok(None) };
        let info = region_info_from_meta(&Bytes::copy_from_slice(info))?;
        let server = match (newest(cells, INFO, SERVER), newest(cells, INFO, START_CODE)) {
            (Some(address), Some(start_code)) if !address.is_empty() => {
                let address = text("info:server", address)?;
                let wrong = || bad("info:server", format!("`{address}` is not host:port"));
                let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
                let port = port.parse().map_err(|_| wrong())?;
                Some(ServerName::new(host, port, number("info:serverstartcode", start_code)?))
            }
            _ => None,
        };
        let seqnum = newest(cells, INFO, SEQNUM).map(|value| number("info:seqnumDuringOpen", value)).transpose()?;
        let state = newest(cells, INFO, STATE).map(|value| text("info:state", value)).transpose()?.unwrap_or_default();
        Ok(Some(RegionRow { info, server, seqnum, state }))
    }
}

// A name too long for a row makes no cell; whoever is handed the mutation refuses it for its row.
fn put(row: Bytes, family: &[u8], columns: &[(&[u8], Vec<u8>)], timestamp: i64) -> Mutation {
    let cell = |(qualifier, value): &(&[u8], Vec<u8>)| Cell::put(&row, family, qualifier, timestamp, value).ok();
    let cells = columns.iter().filter_map(cell).collect();
    Mutation { timestamp, cells, ..Mutation::new(MutationKind::Put, row) }
}

fn delete(row: Bytes, family: &[u8], qualifier: &[u8], cell_type: CellType, timestamp: i64) -> Mutation {
    let cells = Cell::new(&row, family, qualifier, timestamp, cell_type, &[]).into_iter().collect();
    Mutation { timestamp, cells, ..Mutation::new(MutationKind::Delete, row) }
}

/// Records that a region answers on a server. `seqnum` grows with every opening, so that clients drop older places.
pub fn open_put(region: &RegionInfo, server: &ServerName, seqnum: u64, timestamp: i64) -> Mutation {
    let mut columns = placed(region, server, OPEN).to_vec();
    columns.insert(1, (SEQNUM, seqnum.to_be_bytes().to_vec()));
    put(region.region_name(), INFO, &columns, timestamp)
}

/// Records that a server cannot open a region ([`FAILED_OPEN`]): it can tell why.
pub fn failed_put(region: &RegionInfo, server: &ServerName, timestamp: i64) -> Mutation {
    put(region.region_name(), INFO, &placed(region, server, FAILED_OPEN), timestamp)
}

fn placed(region: &RegionInfo, server: &ServerName, state: &str) -> [(&'static [u8], Vec<u8>); 5] {
    [
        (REGION_INFO, region_info_to_meta(region).to_vec()),
        (SERVER, server.address().into_bytes()),
        (START_CODE, server.start_code.to_be_bytes().to_vec()),
        (SERVER_NAME, server.to_string().into_bytes()),
        (STATE, state.as_bytes().to_vec()),
    ]
}

/// Records that a server was told to open ([`OPENING`]) or close ([`CLOSING`]) a region.
pub fn moving_put(region: &RegionInfo, server: &ServerName, state: &str, timestamp: i64) -> Mutation {
    let columns = [
        (REGION_INFO, region_info_to_meta(region).to_vec()),
        (SERVER_NAME, server.to_string().into_bytes()),
        (STATE, state.as_bytes().to_vec()),
    ];
    put(region.region_name(), INFO, &columns, timestamp)
}

/// Records that no server holds a region; also the first thing written about a new one. The last place stays.
pub fn closed_put(region: &RegionInfo, timestamp: i64) -> Mutation {
    let columns = [(REGION_INFO, region_info_to_meta(region).to_vec()), (STATE, CLOSED.as_bytes().to_vec())];
    put(region.region_name(), INFO, &columns, timestamp)
}

/// Forgets a region.
pub fn region_delete(region: &RegionInfo, timestamp: i64) -> Mutation {
    delete(region.region_name(), INFO, &[], CellType::DELETE_FAMILY, timestamp)
}

/// Whether a table is in service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableState {
    /// In service.
    Enabled,
    /// Out of service.
    Disabled,
    /// On its way out.
    Disabling,
    /// On its way in.
    Enabling,
}

impl TableState {
    /// From the message's number.
    pub fn from_message(message: &pb::TableState) -> Result<TableState, SchemaMessageError> {
        Ok(match pb::table_state::State::try_from(message.state) {
            Ok(pb::table_state::State::Enabled) => TableState::Enabled,
            Ok(pb::table_state::State::Disabled) => TableState::Disabled,
            Ok(pb::table_state::State::Disabling) => TableState::Disabling,
            Ok(pb::table_state::State::Enabling) => TableState::Enabling,
            Err(_) => return Err(bad("TableState", format!("unknown state {}", message.state))),
        })
    }

    /// The message.
    pub fn to_message(self) -> pb::TableState {
        let state = match self {
            TableState::Enabled => pb::table_state::State::Enabled,
            TableState::Disabled => pb::table_state::State::Disabled,
            TableState::Disabling => pb::table_state::State::Disabling,
            TableState::Enabling => pb::table_state::State::Enabling,
        };
        pb::TableState { state: state.into() }
    }
}

/// Records a table's state.
pub fn table_state_put(table: &TableName, state: TableState, timestamp: i64) -> Mutation {
    put(table.to_string().into(), TABLE, &[(STATE, state.to_message().encode_to_vec())], timestamp)
}

/// Forgets a table's state.
pub fn table_state_delete(table: &TableName, timestamp: i64) -> Mutation {
    delete(table.to_string().into(), TABLE, STATE, CellType::DELETE_COLUMN, timestamp)
}

/// A table's state from its row; `None` if the row has none.
///
/// # Errors
/// Invalid when the cell holds no state.
pub fn table_state_from(cells: &[Cell]) -> Result<Option<TableState>, RpcError> {
    let Some(value) = newest(cells, TABLE, STATE) else { return Ok(None) };
    let message = pb::TableState::decode(value).map_err(|error| bad("TableState", error))?;
    Ok(Some(TableState::from_message(&message)?))
}

fn row_of(table: &TableName, rest: &[&[u8]]) -> Bytes {
    [&[table.to_string().as_bytes()], rest].concat().concat().into()
}

/// Finds the region that holds a row: backwards from the largest region that begins at it, one row. The
/// daughters of a split region are larger than it, so they are found first.
pub fn lookup_scan(table: &TableName, row: &[u8]) -> Scan {
    let mut scan = Scan {
        start_row: row_of(table, &[b",", row, b",99999999999999"]),
        stop_row: row_of(table, &[b",,"]),
        include_stop_row: true,
        reversed: true,
        limit: Some(1),
        caching: Some(1),
        ..Scan::default()
    };
    scan.selection.add_family(INFO);
    scan
}

/// Lists a table's regions.
pub fn table_scan(table: &TableName) -> Scan {
    let mut scan = Scan { start_row: row_of(table, &[b",,"]), stop_row: row_of(table, &[b" ,,"]), ..Scan::default() };
    scan.selection.add_family(INFO);
    scan
}

/// Lists everything: all regions and all tables' states.
pub fn full_scan() -> Scan {
    let mut scan = Scan::default();
    scan.selection.add_family(INFO);
    scan.selection.add_family(TABLE);
    scan
}

/// META's own descriptor.
pub fn meta_descriptor() -> TableDescriptor {
    let family = |name: &'static [u8], versions: &str| {
        FamilyDescriptor::new(name)
            .with("VERSIONS", versions)
            .with("IN_MEMORY", "true")
            .with("BLOCKSIZE", "8192")
            .with("BLOOMFILTER", "ROWCOL")
            .with("DATA_BLOCK_ENCODING", "ROW_INDEX_V1")
    };
    TableDescriptor::new(TableName::meta())
        .with_family(family(INFO, "3"))
        .with_family(family(TABLE, "3"))
        .with_family(family(b"rep_barrier", "2147483647"))
}
