//! HBase's Thrift 2 service, by the rules of its gateway (hbase-wire.md §6.2).
//!
//! Always true
//! - Families and qualifiers come apart; a column without a qualifier is its whole family.
//! - The numbers of this service's enumerations are its own: they are turned by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use client::{Admin, Connection, Namespace, RegionLocation, Row, RowStream, Table};
use futures::future::try_join_all;
use model::filter::{CompareOp, Filter};
use model::mutation::{CheckAndMutate, Condition, Durability, Mutation};
use model::query::{Get, Scan, Selection, TimeRange};
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, CellType, LATEST_TIMESTAMP};
use prometheus_client::metrics::gauge::Gauge;
use prost::Message;
use protocol::filter::filter_from;
use protocol::messages as pb;
use protocol::meta::TableState;
use runtime::clock::Clock;

use super::call::Raised;
use super::convert::{attributes, filter, first_failure, select, table, table_name, time_range, versions, writable};
use super::scanners::{Scanners, take};
use super::settings::Settings;
use crate::generated::thbase as g;

type Result<T> = std::result::Result<T, Raised>;

/// The service's handler.
pub(crate) struct Two {
    connection: Connection,
    scanners: Scanners,
    read_only: bool,
}

fn bad(why: impl std::fmt::Display) -> Raised {
    Raised::io(format!("java.lang.IllegalArgumentException: {why}"))
}

/// HBase's class for a change of a family that cannot be.
const INVALID_FAMILY: &str = "org.apache.hadoop.hbase.InvalidFamilyOperationException";

fn no_family(name: &[u8]) -> Raised {
    Raised::io(format!("{INVALID_FAMILY}: the table has no column family `{}`", name.escape_ascii()))
}

fn result_to(row: &Row) -> g::TResult {
    let value = |cell: &Cell| g::TColumnValue {
        family: cell.family().to_vec(),
        qualifier: cell.qualifier().to_vec(),
        value: cell.value().to_vec(),
        timestamp: Some(cell.timestamp()),
        tags: Some(cell.tags().to_vec()).filter(|tags| !tags.is_empty()),
        type_: Some(cell.cell_type().0.cast_signed()),
    };
    g::TResult {
        row: row.row().map(<[u8]>::to_vec),
        column_values: row.cells.iter().map(value).collect(),
        stale: Some(false),
        partial: Some(row.partial),
    }
}

fn durability(asked: Option<g::TDurability>) -> Result<Durability> {
    Ok(match asked {
        None | Some(g::TDurability::USE_DEFAULT) => Durability::UseDefault,
        Some(g::TDurability::SKIP_WAL) => Durability::SkipWal,
        Some(g::TDurability::ASYNC_WAL) => Durability::AsyncWal,
        Some(g::TDurability::SYNC_WAL) => Durability::SyncWal,
        Some(g::TDurability::FSYNC_WAL) => Durability::FsyncWal,
        Some(other) => return Err(bad(format!("no durability has the number {}", other.0))),
    })
}

/// Cells would be seen by everybody: that must not pass in silence.
fn no_visibility(expression: &Option<g::TCellVisibility>) -> Result<()> {
    match expression {
        None => Ok(()),
        Some(_) => Err(bad("cell visibility is not supported; leave it out")),
    }
}

/// The filter as text or as HBase's message, which wins.
fn filter_of(text: Option<Vec<u8>>, message: Option<Vec<u8>>) -> Result<Option<Filter>> {
    if let Some(message) = message {
        let message = pb::Filter::decode(&message[..]).map_err(bad)?;
        return Ok(Some(filter_from(&message).map_err(bad)?));
    }
    text.map(|text| filter(&text)).transpose()
}

fn add_columns(selection: &mut Selection, columns: Option<Vec<g::TColumn>>) {
    for column in columns.unwrap_or_default() {
        select(selection, column.family.into(), column.qualifier.map(Bytes::from));
    }
}

fn range_of(range: g::TTimeRange) -> Result<TimeRange> {
    time_range(range.min_stamp, range.max_stamp)
}

fn positive(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0)
}

fn get_from(asked: g::TGet) -> Result<Get> {
    if asked.row.is_empty() {
        return Err(bad("Row buffer is null or empty"));
    }
    let mut get = Get::new(asked.row);
    add_columns(&mut get.selection, asked.columns);
    get.selection.time_range = match (asked.timestamp, asked.time_range) {
        (Some(timestamp), _) => time_range(timestamp, timestamp.saturating_add(1))?,
        (None, Some(range)) => range_of(range)?,
        (None, None) => TimeRange::ALL,
    };
    if let Some(most) = asked.max_versions {
        get.selection.max_versions = versions(most)?;
    }
    get.selection.filter = filter_of(asked.filter_string, asked.filter_bytes)?;
    get.selection.cache_blocks = asked.cache_blocks.unwrap_or(true);
    get.selection.store_limit = positive(asked.store_limit);
    get.selection.store_offset = positive(asked.store_offset).unwrap_or(0);
    get.existence_only = asked.existence_only.unwrap_or(false);
    Ok(get)
}

fn scan_from(asked: g::TScan) -> Result<Scan> {
    let mut scan = Scan::between(asked.start_row.unwrap_or_default(), asked.stop_row.unwrap_or_default());
    add_columns(&mut scan.selection, asked.columns);
    scan.caching = positive(asked.caching);
    scan.batch = positive(asked.batch_size);
    scan.limit = positive(asked.limit);
    scan.selection.max_versions = versions(asked.max_versions.unwrap_or(1))?;
    if let Some(range) = asked.time_range {
        scan.selection.time_range = range_of(range)?;
    }
    for (family, range) in asked.col_fam_time_range_map.unwrap_or_default() {
        scan.selection.family_time_ranges.insert(family.into(), range_of(range)?);
    }
    scan.selection.filter = filter_of(asked.filter_string.filter(|text| !text.is_empty()), asked.filter_bytes)?;
    scan.selection.cache_blocks = asked.cache_blocks.unwrap_or(true);
    scan.reversed = asked.reversed.unwrap_or(false);
    Ok(scan)
}

fn put_from(asked: g::TPut) -> Result<Mutation> {
    no_visibility(&asked.cell_visibility)?;
    if asked.column_values.is_empty() {
        return Err(bad("a put needs at least one column value"));
    }
    let (ttl_ms, attributes) = attributes(asked.attributes);
    let put = Mutation::put(asked.row);
    let mut put = Mutation { ttl_ms, attributes, durability: durability(asked.durability)?, ..put };
    let default = asked.timestamp.unwrap_or(LATEST_TIMESTAMP);
    for value in asked.column_values {
        let timestamp = value.timestamp.unwrap_or(default);
        put = put.cell_at(value.family, value.qualifier, timestamp, value.value)?;
    }
    Ok(put)
}

fn delete_from(asked: g::TDelete) -> Result<Mutation> {
    let (_, attributes) = attributes(asked.attributes);
    let row_timestamp = asked.timestamp.unwrap_or(LATEST_TIMESTAMP);
    let mut delete = Mutation {
        timestamp: row_timestamp,
        attributes,
        durability: durability(asked.durability)?,
        ..Mutation::delete(asked.row)
    };
    let kind = match asked.delete_type {
        None | Some(g::TDeleteType::DELETE_COLUMNS) => CellType::DELETE_COLUMN,
        Some(g::TDeleteType::DELETE_COLUMN) => CellType::DELETE,
        Some(g::TDeleteType::DELETE_FAMILY) => CellType::DELETE_FAMILY,
        Some(g::TDeleteType::DELETE_FAMILY_VERSION) => CellType::DELETE_FAMILY_VERSION,
        Some(other) => return Err(bad(format!("no kind of delete has the number {}", other.0))),
    };
    let of_family = matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
    for column in asked.columns.unwrap_or_default() {
        let timestamp = match column.timestamp.or(asked.timestamp) {
            None if kind == CellType::DELETE_FAMILY_VERSION => {
                return Err(bad("DELETE_FAMILY_VERSION needs the timestamp of the version"));
            }
            timestamp => timestamp.unwrap_or(LATEST_TIMESTAMP),
        };
        let qualifier = column.qualifier.filter(|_| !of_family).unwrap_or_default();
        delete.cells.push(Cell::new(&delete.row, &column.family, &qualifier, timestamp, kind, &[])?);
    }
    Ok(delete)
}

fn changes_from(asked: g::TRowMutations) -> Result<Vec<Mutation>> {
    let change = |mutation| match mutation {
        g::TMutation::Put(put) => put_from(put),
        g::TMutation::DeleteSingle(delete) => delete_from(delete),
    };
    asked.mutations.into_iter().map(change).collect()
}

/// A condition on a value; without one, that there is none.
fn condition(family: Vec<u8>, qualifier: Vec<u8>, op: CompareOp, value: Option<Vec<u8>>) -> Condition {
    match value {
        None => Condition::missing(family, qualifier),
        Some(value) => Condition::column(family, qualifier, op, value),
    }
}

fn name_from(name: g::TTableName) -> Result<TableName> {
    let part = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| bad("a table's name is no UTF-8"));
    let qualifier = part(name.qualifier)?;
    Ok(match name.ns.map(part).transpose()?.filter(|ns| !ns.is_empty()) {
        Some(ns) => TableName::new(&ns, &qualifier)?,
        None => qualifier.parse::<TableName>()?,
    })
}

fn name_to(name: &TableName) -> g::TTableName {
    g::TTableName { ns: Some(name.namespace().as_bytes().to_vec()), qualifier: name.qualifier().as_bytes().to_vec() }
}

const BLOOMS: &[(g::TBloomFilterType, &str)] = &[
    (g::TBloomFilterType::NONE, "NONE"),
    (g::TBloomFilterType::ROW, "ROW"),
    (g::TBloomFilterType::ROWCOL, "ROWCOL"),
    (g::TBloomFilterType::ROWPREFIX_FIXED_LENGTH, "ROWPREFIX_FIXED_LENGTH"),
];
const COMPRESSIONS: &[(g::TCompressionAlgorithm, &str)] = &[
    (g::TCompressionAlgorithm::LZO, "LZO"),
    (g::TCompressionAlgorithm::GZ, "GZ"),
    (g::TCompressionAlgorithm::NONE, "NONE"),
    (g::TCompressionAlgorithm::SNAPPY, "SNAPPY"),
    (g::TCompressionAlgorithm::LZ4, "LZ4"),
    (g::TCompressionAlgorithm::BZIP2, "BZIP2"),
    (g::TCompressionAlgorithm::ZSTD, "ZSTD"),
];
const ENCODINGS: &[(g::TDataBlockEncoding, &str)] = &[
    (g::TDataBlockEncoding::NONE, "NONE"),
    (g::TDataBlockEncoding::PREFIX, "PREFIX"),
    (g::TDataBlockEncoding::DIFF, "DIFF"),
    (g::TDataBlockEncoding::FAST_DIFF, "FAST_DIFF"),
    (g::TDataBlockEncoding::ROW_INDEX_V1, "ROW_INDEX_V1"),
];
const KEPT: &[(g::TKeepDeletedCells, &str)] =
    &[(g::TKeepDeletedCells::FALSE, "FALSE"), (g::TKeepDeletedCells::TRUE, "TRUE"), (g::TKeepDeletedCells::TTL, "TTL")];

fn by_number<T: PartialEq + Copy>(names: &[(T, &'static str)], number: T, what: &str) -> Result<&'static str> {
    names.iter().find(|(one, _)| *one == number).map(|(_, name)| *name).ok_or_else(|| bad(format!("unknown {what}")))
}

fn by_name<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names.iter().find(|(_, one)| one.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
}

fn text_of(attributes: &BTreeMap<String, Bytes>, key: &str) -> Option<String> {
    attributes.get(key).map(|value| String::from_utf8_lossy(value).into_owned())
}

fn family_from(asked: g::TColumnFamilyDescriptor) -> Result<FamilyDescriptor> {
    let mut family = FamilyDescriptor::new(asked.name);
    for (key, value) in asked.attributes.unwrap_or_default() {
        family.attributes.insert(String::from_utf8_lossy(&key).into_owned(), value.into());
    }
    family.configuration.extend(asked.configuration.unwrap_or_default());
    let texts = [
        ("BLOOMFILTER", asked.bloomn_filter_type.map(|it| by_number(BLOOMS, it, "bloom filter type")).transpose()?),
        ("COMPRESSION", asked.compression_type.map(|it| by_number(COMPRESSIONS, it, "compression")).transpose()?),
        (
            "DATA_BLOCK_ENCODING",
            asked.data_block_encoding.map(|it| by_number(ENCODINGS, it, "data block encoding")).transpose()?,
        ),
        (
            "KEEP_DELETED_CELLS",
            asked.keep_deleted_cells.map(|it| by_number(KEPT, it, "rule for deleted cells")).transpose()?,
        ),
    ];
    let numbers = [
        ("BLOCKSIZE", asked.block_size),
        ("DFS_REPLICATION", asked.dfs_replication.map(i32::from)),
        ("VERSIONS", asked.max_versions),
        ("MIN_VERSIONS", asked.min_versions),
        ("REPLICATION_SCOPE", asked.scope),
        ("TTL", asked.time_to_live),
    ];
    let truths = [
        ("BLOCKCACHE", asked.block_cache_enabled),
        ("CACHE_BLOOMS_ON_WRITE", asked.cache_blooms_on_write),
        ("CACHE_DATA_ON_WRITE", asked.cache_data_on_write),
        ("CACHE_INDEX_ON_WRITE", asked.cache_indexes_on_write),
        ("COMPRESS_TAGS", asked.compress_tags),
        ("EVICT_BLOCKS_ON_CLOSE", asked.evict_blocks_on_close),
        ("IN_MEMORY", asked.in_memory),
    ];
    for (key, text) in texts {
        family = text.into_iter().fold(family, |family, text| family.with(key, text));
    }
    for (key, number) in numbers {
        family = number.into_iter().fold(family, |family, number| family.with(key, &number.to_string()));
    }
    for (key, truth) in truths {
        family = truth.into_iter().fold(family, |family, truth| family.with(key, if truth { "true" } else { "false" }));
    }
    family.validate()?;
    Ok(family)
}

fn family_to(family: &FamilyDescriptor) -> g::TColumnFamilyDescriptor {
    let text = |key| text_of(&family.attributes, key);
    let number = |key, default: i32| Some(text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(default));
    let truth = |key, default: bool| Some(text(key).map_or(default, |text| text.eq_ignore_ascii_case("true")));
    let named = |key, default: &str| text(key).unwrap_or_else(|| default.to_owned());
    let attribute = |(key, value): (&String, &Bytes)| (key.clone().into_bytes(), value.to_vec());
    g::TColumnFamilyDescriptor {
        name: family.name.to_vec(),
        attributes: Some(family.attributes.iter().map(attribute).collect()),
        configuration: Some(family.configuration.clone()),
        block_size: Some(i32::try_from(family.block_size()).unwrap_or(i32::MAX)),
        bloomn_filter_type: by_name(BLOOMS, &named("BLOOMFILTER", "ROW")),
        compression_type: by_name(COMPRESSIONS, &named("COMPRESSION", "NONE")),
        dfs_replication: Some(text("DFS_REPLICATION").and_then(|text| text.parse().ok()).unwrap_or(0)),
        data_block_encoding: by_name(ENCODINGS, &named("DATA_BLOCK_ENCODING", "NONE")),
        keep_deleted_cells: by_name(KEPT, &named("KEEP_DELETED_CELLS", "FALSE")),
        max_versions: number("VERSIONS", 1),
        min_versions: number("MIN_VERSIONS", 0),
        scope: number("REPLICATION_SCOPE", 0),
        time_to_live: number("TTL", model::schema::TTL_FOREVER),
        block_cache_enabled: truth("BLOCKCACHE", true),
        cache_blooms_on_write: truth("CACHE_BLOOMS_ON_WRITE", false),
        cache_data_on_write: truth("CACHE_DATA_ON_WRITE", false),
        cache_indexes_on_write: truth("CACHE_INDEX_ON_WRITE", false),
        compress_tags: truth("COMPRESS_TAGS", true),
        evict_blocks_on_close: truth("EVICT_BLOCKS_ON_CLOSE", false),
        in_memory: truth("IN_MEMORY", false),
    }
}

fn table_from(asked: g::TTableDescriptor) -> Result<TableDescriptor> {
    let mut table = TableDescriptor::new(name_from(asked.table_name)?);
    for family in asked.columns.unwrap_or_default() {
        table = table.with_family(family_from(family)?);
    }
    for (key, value) in asked.attributes.unwrap_or_default() {
        table.attributes.insert(String::from_utf8_lossy(&key).into_owned(), value.into());
    }
    let name = match durability(asked.durability)? {
        Durability::UseDefault => return Ok(table),
        Durability::SkipWal => "SKIP_WAL",
        Durability::AsyncWal => "ASYNC_WAL",
        Durability::SyncWal => "SYNC_WAL",
        Durability::FsyncWal => "FSYNC_WAL",
    };
    table.attributes.insert("DURABILITY".to_owned(), Bytes::from_static(name.as_bytes()));
    Ok(table)
}

fn table_to(table: &TableDescriptor) -> g::TTableDescriptor {
    let attribute = |(key, value): (&String, &Bytes)| (key.clone().into_bytes(), value.to_vec());
    let durability = match table.durability() {
        Durability::UseDefault => g::TDurability::USE_DEFAULT,
        Durability::SkipWal => g::TDurability::SKIP_WAL,
        Durability::AsyncWal => g::TDurability::ASYNC_WAL,
        Durability::SyncWal => g::TDurability::SYNC_WAL,
        Durability::FsyncWal => g::TDurability::FSYNC_WAL,
    };
    g::TTableDescriptor {
        table_name: name_to(&table.name),
        columns: Some(table.families.values().map(family_to).collect()),
        attributes: Some(table.attributes.iter().map(attribute).collect()),
        durability: Some(durability),
    }
}

fn location_to(location: &RegionLocation) -> g::THRegionLocation {
    let (info, server) = (&location.info, &location.server);
    g::THRegionLocation {
        server_name: g::TServerName {
            host_name: server.host.clone(),
            port: Some(i32::from(server.port)),
            start_code: Some(i64::try_from(server.start_code).unwrap_or(i64::MAX)),
        },
        region_info: g::THRegionInfo {
            region_id: i64::try_from(info.region_id).unwrap_or(i64::MAX),
            table_name: info.table.to_string().into_bytes(),
            start_key: Some(info.start_key.to_vec()),
            end_key: Some(info.end_key.to_vec()),
            offline: Some(info.offline),
            split: Some(info.split),
            replica_id: Some(0),
        },
    }
}

fn namespace_from(asked: g::TNamespaceDescriptor) -> Result<Namespace> {
    let namespace = Namespace { name: asked.name, properties: asked.configuration.unwrap_or_default() };
    namespace.validate()?;
    Ok(namespace)
}

fn namespace_to(namespace: Namespace) -> g::TNamespaceDescriptor {
    g::TNamespaceDescriptor { name: namespace.name, configuration: Some(namespace.properties) }
}

impl Two {
    /// `open` tells the open scanners.
    pub fn new(connection: Connection, settings: &Settings, clock: Arc<dyn Clock>, open: Gauge) -> Two {
        let scanners = Scanners::new(clock, settings, open);
        Two { connection, scanners, read_only: settings.read_only }
    }

    pub fn scanners(&self) -> &Scanners {
        &self.scanners
    }

    fn table(&self, name: &[u8]) -> Result<Table> {
        table(&self.connection, name)
    }

    /// The table, for what changes it.
    fn written(&self, name: &[u8]) -> Result<Table> {
        self.may_write()?;
        self.table(name)
    }

    fn may_write(&self) -> Result<()> {
        writable(self.read_only)
    }

    /// Schema changes.
    fn admin(&self) -> Result<Admin> {
        self.may_write()?;
        Ok(self.connection.admin())
    }

    pub async fn exists(&self, args: g::ExistsArgs) -> Result<bool> {
        Ok(self.table(&args.table)?.exists(&get_from(args.tget)?).await?)
    }

    pub async fn exists_all(&self, args: g::ExistsAllArgs) -> Result<Vec<bool>> {
        let table = self.table(&args.table)?;
        let gets = args.tgets.into_iter().map(get_from).collect::<Result<Vec<_>>>()?;
        Ok(try_join_all(gets.iter().map(|get| table.exists(get))).await?)
    }

    pub async fn get(&self, args: g::GetArgs) -> Result<g::TResult> {
        Ok(result_to(&self.table(&args.table)?.get(&get_from(args.tget)?).await?))
    }

    pub async fn get_multiple(&self, args: g::GetMultipleArgs) -> Result<Vec<g::TResult>> {
        let gets = args.tgets.into_iter().map(get_from).collect::<Result<Vec<_>>>()?;
        Ok(self.table(&args.table)?.get_all(&gets).await?.iter().map(result_to).collect())
    }

    pub async fn put(&self, args: g::PutArgs) -> Result<()> {
        self.written(&args.table)?.mutate(put_from(args.tput)?).await?;
        Ok(())
    }

    async fn check(&self, table: &[u8], row: Vec<u8>, condition: Condition, mutations: Vec<Mutation>) -> Result<bool> {
        let check = CheckAndMutate { row: row.into(), condition, mutations };
        Ok(self.written(table)?.check_and_mutate(check).await?.0)
    }

    pub async fn check_and_put(&self, args: g::CheckAndPutArgs) -> Result<bool> {
        let condition = condition(args.family, args.qualifier, CompareOp::Equal, args.value);
        self.check(&args.table, args.row, condition, vec![put_from(args.tput)?]).await
    }

    async fn change_all(&self, table: &[u8], mutations: Vec<Mutation>) -> Result<()> {
        first_failure(self.written(table)?.mutate_all(mutations).await)
    }

    pub async fn put_multiple(&self, args: g::PutMultipleArgs) -> Result<()> {
        let puts = args.tputs.into_iter().map(put_from).collect::<Result<_>>()?;
        self.change_all(&args.table, puts).await
    }

    pub async fn delete_single(&self, args: g::DeleteSingleArgs) -> Result<()> {
        self.written(&args.table)?.mutate(delete_from(args.tdelete)?).await?;
        Ok(())
    }

    /// Deletes all or raises: the list of what was not deleted is always empty, as in HBase's gateway.
    pub async fn delete_multiple(&self, args: g::DeleteMultipleArgs) -> Result<Vec<g::TDelete>> {
        let deletes = args.tdeletes.into_iter().map(delete_from).collect::<Result<_>>()?;
        self.change_all(&args.table, deletes).await?;
        Ok(Vec::new())
    }

    pub async fn check_and_delete(&self, args: g::CheckAndDeleteArgs) -> Result<bool> {
        let condition = condition(args.family, args.qualifier, CompareOp::Equal, args.value);
        self.check(&args.table, args.row, condition, vec![delete_from(args.tdelete)?]).await
    }

    /// Increments and appends answer with their new cells unless they say that nobody wants them.
    async fn change_counted(&self, table: &[u8], mutation: Mutation) -> Result<g::TResult> {
        let wanted = mutation.return_results;
        let row = self.written(table)?.mutate(mutation).await?;
        Ok(result_to(if wanted { &row } else { const { &NO_ROW } }))
    }

    pub async fn increment(&self, args: g::IncrementArgs) -> Result<g::TResult> {
        let asked = args.tincrement;
        no_visibility(&asked.cell_visibility)?;
        let (ttl_ms, attributes) = attributes(asked.attributes);
        let mut increment = Mutation {
            ttl_ms,
            attributes,
            durability: durability(asked.durability)?,
            return_results: asked.return_results.unwrap_or(true),
            ..Mutation::increment(asked.row)
        };
        for column in asked.columns {
            increment = increment.amount(column.family, column.qualifier, column.amount.unwrap_or(1))?;
        }
        self.change_counted(&args.table, increment).await
    }

    pub async fn append(&self, args: g::AppendArgs) -> Result<g::TResult> {
        let asked = args.tappend;
        no_visibility(&asked.cell_visibility)?;
        let (ttl_ms, attributes) = attributes(asked.attributes);
        let mut append = Mutation {
            ttl_ms,
            attributes,
            durability: durability(asked.durability)?,
            return_results: asked.return_results.unwrap_or(true),
            ..Mutation::append(asked.row)
        };
        for column in asked.columns {
            append = append.cell(column.family, column.qualifier, column.value)?;
        }
        self.change_counted(&args.table, append).await
    }

    pub async fn open_scanner(&self, args: g::OpenScannerArgs) -> Result<i32> {
        let rows: RowStream = self.table(&args.table)?.scan(scan_from(args.tscan)?);
        self.scanners.open(rows, false)
    }

    pub async fn get_scanner_rows(&self, args: g::GetScannerRowsArgs) -> Result<Vec<g::TResult>> {
        let scanner = self.scanners.get(args.scanner_id).ok_or_else(|| Raised::illegal("Invalid scanner Id"))?;
        let most = usize::try_from(args.num_rows.unwrap_or(1)).unwrap_or(0);
        Ok(scanner.next(most).await?.iter().map(result_to).collect())
    }

    pub async fn close_scanner(&self, args: g::CloseScannerArgs) -> Result<()> {
        self.scanners.close(args.scanner_id);
        Ok(())
    }

    pub async fn mutate_row(&self, args: g::MutateRowArgs) -> Result<()> {
        let changes = changes_from(args.trow_mutations)?;
        self.written(&args.table)?.mutate_row(changes).await?;
        Ok(())
    }

    pub async fn get_scanner_results(&self, args: g::GetScannerResultsArgs) -> Result<Vec<g::TResult>> {
        let mut rows = self.table(&args.table)?.scan(scan_from(args.tscan)?);
        let most = usize::try_from(args.num_rows.unwrap_or(1)).unwrap_or(0);
        Ok(take(&mut rows, most).await?.iter().map(result_to).collect())
    }

    pub async fn get_region_location(&self, args: g::GetRegionLocationArgs) -> Result<g::THRegionLocation> {
        let regions = self.connection.admin().regions(&table_name(&args.table)?).await?;
        let found = regions.iter().find(|region| region.info.contains(&args.row));
        found.map(location_to).ok_or_else(|| Raised::io("no server holds the row's region at the moment"))
    }

    pub async fn get_all_region_locations(
        &self,
        args: g::GetAllRegionLocationsArgs,
    ) -> Result<Vec<g::THRegionLocation>> {
        Ok(self.connection.admin().regions(&table_name(&args.table)?).await?.iter().map(location_to).collect())
    }

    pub async fn check_and_mutate(&self, args: g::CheckAndMutateArgs) -> Result<bool> {
        let op = match args.compare_op {
            g::TCompareOp::LESS => CompareOp::Less,
            g::TCompareOp::LESS_OR_EQUAL => CompareOp::LessOrEqual,
            g::TCompareOp::EQUAL => CompareOp::Equal,
            g::TCompareOp::NOT_EQUAL => CompareOp::NotEqual,
            g::TCompareOp::GREATER_OR_EQUAL => CompareOp::GreaterOrEqual,
            g::TCompareOp::GREATER => CompareOp::Greater,
            g::TCompareOp::NO_OP => CompareOp::NoOp,
            other => return Err(bad(format!("no comparison has the number {}", other.0))),
        };
        let condition = condition(args.family, args.qualifier, op, args.value);
        self.check(&args.table, args.row, condition, changes_from(args.row_mutations)?).await
    }

    pub async fn get_table_descriptor(&self, args: g::GetTableDescriptorArgs) -> Result<g::TTableDescriptor> {
        Ok(table_to(&self.connection.admin().descriptor(&name_from(args.table)?).await?))
    }

    async fn descriptors(&self, names: Vec<TableName>) -> Result<Vec<g::TTableDescriptor>> {
        let admin = self.connection.admin();
        let mut tables = Vec::new();
        for name in names {
            tables.push(table_to(&admin.descriptor(&name).await?));
        }
        Ok(tables)
    }

    pub async fn get_table_descriptors(&self, args: g::GetTableDescriptorsArgs) -> Result<Vec<g::TTableDescriptor>> {
        self.descriptors(args.tables.into_iter().map(name_from).collect::<Result<_>>()?).await
    }

    pub async fn table_exists(&self, args: g::TableExistsArgs) -> Result<bool> {
        let name = super::convert::needed(args.table_name, "tableName")?;
        Ok(self.connection.admin().exists(&name_from(name)?).await?)
    }

    async fn names_like(&self, pattern: Option<String>, with_system: bool) -> Result<Vec<TableName>> {
        let admin = self.connection.admin();
        Ok(match with_system {
            true => admin.all_tables(pattern.as_deref()).await?,
            false => admin.tables(pattern.as_deref()).await?,
        })
    }

    pub async fn get_table_descriptors_by_pattern(
        &self,
        args: g::GetTableDescriptorsByPatternArgs,
    ) -> Result<Vec<g::TTableDescriptor>> {
        self.descriptors(self.names_like(args.regex, args.include_sys_tables).await?).await
    }

    pub async fn get_table_descriptors_by_namespace(
        &self,
        args: g::GetTableDescriptorsByNamespaceArgs,
    ) -> Result<Vec<g::TTableDescriptor>> {
        self.descriptors(self.connection.admin().tables_of_namespace(&args.name).await?).await
    }

    pub async fn get_table_names_by_pattern(&self, args: g::GetTableNamesByPatternArgs) -> Result<Vec<g::TTableName>> {
        Ok(self.names_like(args.regex, args.include_sys_tables).await?.iter().map(name_to).collect())
    }

    pub async fn get_table_names_by_namespace(
        &self,
        args: g::GetTableNamesByNamespaceArgs,
    ) -> Result<Vec<g::TTableName>> {
        Ok(self.connection.admin().tables_of_namespace(&args.name).await?.iter().map(name_to).collect())
    }

    pub async fn create_table(&self, args: g::CreateTableArgs) -> Result<()> {
        let splits: Vec<Bytes> = args.split_keys.unwrap_or_default().into_iter().map(Bytes::from).collect();
        Ok(self.admin()?.create_table(&table_from(args.desc)?, &splits).await?)
    }

    pub async fn delete_table(&self, args: g::DeleteTableArgs) -> Result<()> {
        Ok(self.admin()?.delete_table(&name_from(args.table_name)?).await?)
    }

    pub async fn truncate_table(&self, args: g::TruncateTableArgs) -> Result<()> {
        Ok(self.admin()?.truncate_table(&name_from(args.table_name)?, args.preserve_splits).await?)
    }

    pub async fn enable_table(&self, args: g::EnableTableArgs) -> Result<()> {
        Ok(self.admin()?.enable_table(&name_from(args.table_name)?).await?)
    }

    pub async fn disable_table(&self, args: g::DisableTableArgs) -> Result<()> {
        Ok(self.admin()?.disable_table(&name_from(args.table_name)?).await?)
    }

    pub async fn is_table_enabled(&self, args: g::IsTableEnabledArgs) -> Result<bool> {
        Ok(self.connection.admin().is_enabled(&name_from(args.table_name)?).await?)
    }

    pub async fn is_table_disabled(&self, args: g::IsTableDisabledArgs) -> Result<bool> {
        let name = name_from(args.table_name)?;
        match self.connection.admin().table_state(&name).await? {
            Some(state) => Ok(state == TableState::Disabled),
            None => Err(Raised::io(format!("org.apache.hadoop.hbase.TableNotFoundException: {name}"))),
        }
    }

    /// Whether the table is enabled and a server holds each of its regions.
    async fn is_available(&self, name: g::TTableName) -> Result<Option<Vec<RegionLocation>>> {
        let (admin, name) = (self.connection.admin(), name_from(name)?);
        if !admin.is_enabled(&name).await? {
            return Ok(None);
        }
        let mut regions = admin.regions(&name).await?;
        regions.sort_by(|a, b| a.info.start_key.cmp(&b.info.start_key));
        let mut reached = Some(Bytes::new());
        for region in &regions {
            if reached.as_ref() != Some(&region.info.start_key) {
                return Ok(None);
            }
            reached = Some(region.info.end_key.clone()).filter(|end| !end.is_empty());
        }
        Ok((!regions.is_empty() && reached.is_none()).then_some(regions))
    }

    pub async fn is_table_available(&self, args: g::IsTableAvailableArgs) -> Result<bool> {
        Ok(self.is_available(args.table_name).await?.is_some())
    }

    pub async fn is_table_available_with_split(&self, args: g::IsTableAvailableWithSplitArgs) -> Result<bool> {
        let Some(regions) = self.is_available(args.table_name).await? else { return Ok(false) };
        let mut wanted = args.split_keys.unwrap_or_default().into_iter();
        Ok(wanted.all(|split| regions.iter().any(|region| region.info.start_key == split)))
    }

    async fn alter(
        &self,
        name: g::TTableName,
        change: impl FnOnce(&mut TableDescriptor) -> Result<()> + Send,
    ) -> Result<()> {
        let admin = self.admin()?;
        let mut table = admin.descriptor(&name_from(name)?).await?;
        change(&mut table)?;
        Ok(admin.modify_table(&table).await?)
    }

    pub async fn add_column_family(&self, args: g::AddColumnFamilyArgs) -> Result<()> {
        let family = family_from(args.column)?;
        self.alter(args.table_name, |table| {
            let name = family.name.clone();
            match table.families.insert(name.clone(), family) {
                Some(_) => {
                    let why = format!("the table has a column family `{}` already", name.escape_ascii());
                    Err(Raised::io(format!("{INVALID_FAMILY}: {why}")))
                }
                None => Ok(()),
            }
        })
        .await
    }

    pub async fn delete_column_family(&self, args: g::DeleteColumnFamilyArgs) -> Result<()> {
        self.alter(args.table_name, |table| match table.families.remove(&args.column[..]) {
            Some(_) => Ok(()),
            None => Err(no_family(&args.column)),
        })
        .await
    }

    pub async fn modify_column_family(&self, args: g::ModifyColumnFamilyArgs) -> Result<()> {
        let family = family_from(args.column)?;
        self.alter(args.table_name, |table| match table.families.get_mut(&family.name) {
            Some(old) => {
                *old = family;
                Ok(())
            }
            None => Err(no_family(&family.name)),
        })
        .await
    }

    pub async fn modify_table(&self, args: g::ModifyTableArgs) -> Result<()> {
        Ok(self.admin()?.modify_table(&table_from(args.desc)?).await?)
    }

    pub async fn create_namespace(&self, args: g::CreateNamespaceArgs) -> Result<()> {
        Ok(self.admin()?.create_namespace(&namespace_from(args.namespace_desc)?).await?)
    }

    pub async fn modify_namespace(&self, args: g::ModifyNamespaceArgs) -> Result<()> {
        Ok(self.admin()?.modify_namespace(&namespace_from(args.namespace_desc)?).await?)
    }

    pub async fn delete_namespace(&self, args: g::DeleteNamespaceArgs) -> Result<()> {
        Ok(self.admin()?.delete_namespace(&args.name).await?)
    }

    pub async fn get_namespace_descriptor(
        &self,
        args: g::GetNamespaceDescriptorArgs,
    ) -> Result<g::TNamespaceDescriptor> {
        Ok(namespace_to(self.connection.admin().namespace(&args.name).await?))
    }

    pub async fn list_namespace_descriptors(
        &self,
        _: g::ListNamespaceDescriptorsArgs,
    ) -> Result<Vec<g::TNamespaceDescriptor>> {
        Ok(self.connection.admin().namespaces().await?.into_iter().map(namespace_to).collect())
    }

    pub async fn list_namespaces(&self, _: g::ListNamespacesArgs) -> Result<Vec<String>> {
        Ok(self.connection.admin().namespaces().await?.into_iter().map(|namespace| namespace.name).collect())
    }

    pub async fn get_thrift_server_type(&self, _: g::GetThriftServerTypeArgs) -> Result<g::TThriftServerType> {
        Ok(g::TThriftServerType::TWO)
    }

    /// Servers keep no log of slow calls, as HBase's do not unless they are told to: it is empty.
    pub async fn get_slow_log_responses(&self, _: g::GetSlowLogResponsesArgs) -> Result<Vec<g::TOnlineLogRecord>> {
        Ok(Vec::new())
    }

    /// Nothing was cleared, on any server.
    pub async fn clear_slow_log_responses(&self, args: g::ClearSlowLogResponsesArgs) -> Result<Vec<bool>> {
        Ok(args.server_names.unwrap_or_default().iter().map(|_| false).collect())
    }

    pub async fn get_cluster_id(&self, _: g::GetClusterIdArgs) -> Result<String> {
        Ok(self.connection.cluster_id().to_owned())
    }
}

const NO_ROW: Row = Row { cells: Vec::new(), partial: false, cursor: None };
