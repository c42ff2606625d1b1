//! HBase's Thrift 1 service, by the rules of its gateway (hbase-wire.md §6.1).
//!
//! Always true
//! - A column is `family` or `family:qualifier`; `family:` is the family's nameless column.
//! - A time given to a read is an upper bound, outside; given to a delete it is an upper bound, inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use client::{Connection, Row, RowStream, Table};
use futures::TryStreamExt;
use futures::stream;
use model::filter::{CompareOp, Filter};
use model::mutation::{CheckAndMutate, Condition, Mutation};
use model::query::{Get, Scan, Selection};
use model::schema::{FamilyDescriptor, SchemaError, TTL_FOREVER, TableDescriptor};
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};
use prometheus_client::metrics::gauge::Gauge;
use protocol::meta::{self, RegionRow};
use runtime::clock::Clock;

use super::call::Raised;
use super::convert::{
    attributes, column, filter, first_failure, logged, needed, select, table, table_name, time_range, versions,
    writable,
};
use super::scanners::{Open, Scanners};
use super::settings::Settings;
use crate::generated::hbase as g;

/// Tables whose state is asked for at the same time.
const SIDE_BY_SIDE: usize = 16;
/// What an unknown scanner is answered with; clients compare it.
const NO_SCANNER: &str = "scanner ID is invalid";

type Attributes = Option<BTreeMap<Vec<u8>, Vec<u8>>>;
type Result<T> = std::result::Result<T, Raised>;

/// The service's handler.
pub(crate) struct One {
    connection: Connection,
    scanners: Scanners,
    read_only: bool,
}

fn cell_to(cell: &Cell) -> g::TCell {
    g::TCell { value: Some(cell.value().to_vec()), timestamp: Some(cell.timestamp()) }
}

fn cells_to(row: &Row) -> Vec<g::TCell> {
    row.cells.iter().map(cell_to).collect()
}

fn name_of(cell: &Cell) -> Vec<u8> {
    [cell.family(), b":", cell.qualifier()].concat()
}

/// A row with cells; of several versions of a column the newest, as a map can hold one only.
fn row_to(row: &Row, sorted: bool) -> Option<g::TRowResult> {
    let key = row.row()?.to_vec();
    let (mut columns, mut sorted_columns) = (None, None);
    if sorted {
        let column = |cell: &Cell| g::TColumn { column_name: Some(name_of(cell)), cell: Some(cell_to(cell)) };
        sorted_columns = Some(row.cells.iter().map(column).collect());
    } else {
        let mut map = BTreeMap::new();
        for cell in &row.cells {
            map.entry(name_of(cell)).or_insert_with(|| cell_to(cell));
        }
        columns = Some(map);
    }
    Some(g::TRowResult { row: Some(key), columns, sorted_columns })
}

fn selection(columns: Option<Vec<Vec<u8>>>, timestamp: Option<i64>) -> Result<Selection> {
    let mut selection = Selection::default();
    for name in columns.unwrap_or_default() {
        let (family, qualifier) = column(&name);
        select(&mut selection, family, qualifier);
    }
    if let Some(timestamp) = timestamp {
        selection.time_range = time_range(0, timestamp)?;
    }
    Ok(selection)
}

fn family_from(column: g::ColumnDescriptor) -> Result<FamilyDescriptor> {
    let name = column.name.unwrap_or_default();
    if name.is_empty() {
        return Err(Raised::illegal("column name is empty"));
    }
    let (name, _) = super::convert::column(&name);
    let number = |value: Option<i32>, default: i32| value.unwrap_or(default).to_string();
    let truth = |value: Option<bool>| if value.unwrap_or(false) { "true" } else { "false" };
    let text = |value: Option<String>| value.unwrap_or_else(|| "NONE".to_owned());
    let bloom = text(column.bloom_filter_type);
    let ttl = column.time_to_live.filter(|ttl| *ttl > 0).unwrap_or(TTL_FOREVER);
    let family = FamilyDescriptor::new(name)
        .with("VERSIONS", &number(column.max_versions, 3))
        .with("COMPRESSION", &text(column.compression).to_uppercase())
        .with("IN_MEMORY", truth(column.in_memory))
        .with("BLOOMFILTER", &bloom)
        .with("BLOCKCACHE", truth(column.block_cache_enabled))
        .with("TTL", &ttl.to_string());
    family.validate().map_err(|error| Raised::illegal(error.to_string()))?;
    // Elsewhere small letters do; HBase's gateway knows the names of its constants alone.
    if super::convert::bloom_name(family.bloom_type()) != bloom {
        return Err(Raised::illegal(format!(
            "no bloom filter is called `{bloom}`; their names are in capital letters"
        )));
    }
    Ok(family)
}

fn family_to(family: &FamilyDescriptor) -> (Vec<u8>, g::ColumnDescriptor) {
    let name = [&family.name[..], b":"].concat();
    let ttl = family.ttl_ms().map_or(TTL_FOREVER, |ms| i32::try_from(ms / 1000).unwrap_or(TTL_FOREVER));
    let number = |value: u32| Some(i32::try_from(value).unwrap_or(i32::MAX));
    let column = g::ColumnDescriptor {
        name: Some(name.clone()),
        max_versions: number(family.max_versions()),
        compression: Some(upper(family.compression())),
        in_memory: Some(family.in_memory()),
        bloom_filter_type: Some(super::convert::bloom_name(family.bloom_type()).to_owned()),
        bloom_filter_vector_size: Some(0),
        bloom_filter_nb_hashes: Some(0),
        block_cache_enabled: Some(family.block_cache()),
        time_to_live: Some(ttl),
    };
    (name, column)
}

fn upper(value: impl std::fmt::Debug) -> String {
    format!("{value:?}").to_uppercase()
}

fn delete_marker(delete: Mutation, name: &[u8], timestamp: i64) -> Result<Mutation> {
    let (family, qualifier) = column(name);
    let kind = if qualifier.is_some() { CellType::DELETE_COLUMN } else { CellType::DELETE_FAMILY };
    let cell = Cell::new(&delete.row, &family, &qualifier.unwrap_or_default(), timestamp, kind, &[])?;
    Ok(Mutation { cells: [delete.cells, vec![cell]].concat(), ..delete })
}

/// A row's changes: what is put, and what is deleted.
struct Changes {
    put: Mutation,
    delete: Mutation,
}

impl Changes {
    /// `lenient`: a put without a qualifier is left out instead of failing.
    fn read(
        row: Option<Vec<u8>>,
        mutations: Option<Vec<g::Mutation>>,
        timestamp: i64,
        given: &Attributes,
        lenient: bool,
    ) -> Result<Changes> {
        let row = Bytes::from(row.filter(|row| !row.is_empty()).ok_or_else(|| Raised::illegal("row is empty"))?);
        let (ttl_ms, attributes) = attributes(given.clone());
        let mut put = Mutation { ttl_ms, attributes: attributes.clone(), ..Mutation::put(row.clone()) };
        let mut delete = Mutation { attributes, ..Mutation::delete(row) };
        for mutation in mutations.unwrap_or_default() {
            let name = mutation.column.unwrap_or_default();
            if mutation.is_delete.unwrap_or(false) {
                delete = illegal(delete_marker(delete, &name, timestamp))?;
                delete.durability = logged(mutation.write_to_w_a_l);
                continue;
            }
            let (family, qualifier) = column(&name);
            match qualifier {
                Some(_) if family.is_empty() => {
                    return Err(Raised::illegal(format!("a family is missing before `{}`", name.escape_ascii())));
                }
                Some(qualifier) => {
                    let value = mutation.value.unwrap_or_default();
                    put = illegal(put.cell_at(family, qualifier, timestamp, value).map_err(Raised::from))?;
                }
                None if lenient => tracing::warn!(
                    column = %name.escape_ascii(),
                    "a put into a whole family was left out: it needs a column `family:qualifier`"
                ),
                None => {
                    let message = format!("a put needs a column `family:qualifier`, not `{}`", name.escape_ascii());
                    return Err(Raised::Runtime { message });
                }
            }
            put.durability = logged(mutation.write_to_w_a_l);
        }
        Ok(Changes { put, delete })
    }
}

/// Bad arguments are told as such where the service can.
fn illegal<T>(result: Result<T>) -> Result<T> {
    result.map_err(|raised| Raised::illegal(raised.message()))
}

impl One {
    /// `open` tells the open scanners.
    pub fn new(connection: Connection, settings: &Settings, clock: Arc<dyn Clock>, open: Gauge) -> One {
        let scanners = Scanners::new(clock, settings, open);
        One { connection, scanners, read_only: settings.read_only }
    }

    pub fn scanners(&self) -> &Scanners {
        &self.scanners
    }

    fn table(&self, name: Option<Vec<u8>>) -> Result<Table> {
        table(&self.connection, &needed(name, "tableName")?)
    }

    /// For what changes something.
    fn may_write(&self) -> Result<()> {
        writable(self.read_only)
    }

    pub async fn enable_table(&self, args: g::EnableTableArgs) -> Result<()> {
        self.may_write()?;
        Ok(self.connection.admin().enable_table(&table_name(&needed(args.table_name, "tableName")?)?).await?)
    }

    pub async fn disable_table(&self, args: g::DisableTableArgs) -> Result<()> {
        self.may_write()?;
        Ok(self.connection.admin().disable_table(&table_name(&needed(args.table_name, "tableName")?)?).await?)
    }

    pub async fn is_table_enabled(&self, args: g::IsTableEnabledArgs) -> Result<bool> {
        Ok(self.connection.admin().is_enabled(&table_name(&needed(args.table_name, "tableName")?)?).await?)
    }

    /// Both calls ask for a minor compaction, of a region or of a table, as HBase's gateway does.
    async fn compact_either(&self, name: Option<Vec<u8>>) -> Result<()> {
        let name = needed(name, "tableNameOrRegionName")?;
        match self.connection.admin().compact_region(&name, None, false).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            done => return Ok(done?),
        }
        Ok(self.connection.admin().compact(&table_name(&name)?, None, false).await?)
    }

    pub async fn compact(&self, args: g::CompactArgs) -> Result<()> {
        self.compact_either(args.table_name_or_region_name).await
    }

    pub async fn major_compact(&self, args: g::MajorCompactArgs) -> Result<()> {
        self.compact_either(args.table_name_or_region_name).await
    }

    pub async fn get_table_names(&self, _: g::GetTableNamesArgs) -> Result<Vec<Vec<u8>>> {
        let names = self.connection.admin().tables(None).await?;
        Ok(names.iter().map(|name| name.to_string().into_bytes()).collect())
    }

    pub async fn get_table_names_with_is_table_enabled(
        &self,
        _: g::GetTableNamesWithIsTableEnabledArgs,
    ) -> Result<BTreeMap<Vec<u8>, bool>> {
        let admin = self.connection.admin();
        let names = admin.tables(None).await?;
        let states = names.into_iter().map(|name| {
            let admin = admin.clone();
            async move {
                match admin.is_enabled(&name).await {
                    Ok(enabled) => Ok(Some((name.to_string().into_bytes(), enabled))),
                    // It was dropped meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            }
        });
        let states = stream::iter(states.map(Ok::<_, client::ClientError>)).try_buffered(SIDE_BY_SIDE);
        Ok(states.try_filter_map(|state| async move { Ok(state) }).try_collect().await?)
    }

    pub async fn get_column_descriptors(
        &self,
        args: g::GetColumnDescriptorsArgs,
    ) -> Result<BTreeMap<Vec<u8>, g::ColumnDescriptor>> {
        let name = table_name(&needed(args.table_name, "tableName")?)?;
        let table = self.connection.admin().descriptor(&name).await?;
        Ok(table.families.values().map(family_to).collect())
    }

    pub async fn get_table_regions(&self, args: g::GetTableRegionsArgs) -> Result<Vec<g::TRegionInfo>> {
        let name = table_name(&needed(args.table_name, "tableName")?)?;
        let regions = match self.connection.admin().regions(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            regions => regions?,
        };
        Ok(regions.iter().map(|region| region_to(&region.info, Some(&region.server))).collect())
    }

    pub async fn create_table(&self, args: g::CreateTableArgs) -> Result<()> {
        self.may_write()?;
        let name = illegal(table_name(&needed(args.table_name, "tableName")?))?;
        let admin = self.connection.admin();
        let exists = || Raised::Exists { message: "table name already in use".to_owned() };
        if admin.exists(&name).await? {
            return Err(exists());
        }
        let mut table = TableDescriptor::new(name);
        for column in args.column_families.unwrap_or_default() {
            let family = family_from(column)?;
            if table.families.contains_key(&family.name) {
                return Err(Raised::illegal(
                    SchemaError::DuplicateFamily(family.name.escape_ascii().to_string()).to_string(),
                ));
            }
            table = table.with_family(family);
        }
        match admin.create_table(&table, &[]).await {
            Err(error) if error.kind() == ErrorKind::Exists => Err(exists()),
            done => Ok(done?),
        }
    }

    pub async fn delete_table(&self, args: g::DeleteTableArgs) -> Result<()> {
        self.may_write()?;
        let name = table_name(&needed(args.table_name, "tableName")?)?;
        let admin = self.connection.admin();
        if !admin.exists(&name).await? {
            return Err(Raised::io("java.io.IOException: table does not exist"));
        }
        Ok(admin.delete_table(&name).await?)
    }

    async fn read_column(
        &self,
        table: Option<Vec<u8>>,
        row: Option<Vec<u8>>,
        name: Option<Vec<u8>>,
        timestamp: Option<i64>,
        most: Option<i32>,
    ) -> Result<Vec<g::TCell>> {
        let mut get = Get::new(needed(row, "row")?);
        get.selection = selection(Some(vec![needed(name, "column")?]), timestamp)?;
        if let Some(most) = most {
            get.selection.max_versions = versions(most)?;
        }
        Ok(cells_to(&self.table(table)?.get(&get).await?))
    }

    pub async fn get(&self, args: g::GetArgs) -> Result<Vec<g::TCell>> {
        self.read_column(args.table_name, args.row, args.column, None, None).await
    }

    pub async fn get_ver(&self, args: g::GetVerArgs) -> Result<Vec<g::TCell>> {
        let most = args.num_versions.unwrap_or(0);
        self.read_column(args.table_name, args.row, args.column, None, Some(most)).await
    }

    pub async fn get_ver_ts(&self, args: g::GetVerTsArgs) -> Result<Vec<g::TCell>> {
        let (most, timestamp) = (args.num_versions.unwrap_or(0), args.timestamp.unwrap_or(0));
        self.read_column(args.table_name, args.row, args.column, Some(timestamp), Some(most)).await
    }

    async fn read_rows(
        &self,
        table: Option<Vec<u8>>,
        rows: Option<Vec<Vec<u8>>>,
        columns: Option<Vec<Vec<u8>>>,
        timestamp: Option<i64>,
    ) -> Result<Vec<g::TRowResult>> {
        let selection = selection(columns, timestamp)?;
        let get = |row| Get { selection: selection.clone(), ..Get::new(row) };
        let gets: Vec<Get> = needed(rows, "rows")?.into_iter().map(get).collect();
        let table = self.table(table)?;
        let rows = match &gets[..] {
            [get] => vec![table.get(get).await?],
            _ => table.get_all(&gets).await?,
        };
        Ok(rows.iter().filter_map(|row| row_to(row, false)).collect())
    }

    pub async fn get_row(&self, args: g::GetRowArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.row.map(|row| vec![row]), None, None).await
    }

    pub async fn get_row_with_columns(&self, args: g::GetRowWithColumnsArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.row.map(|row| vec![row]), args.columns, None).await
    }

    pub async fn get_row_ts(&self, args: g::GetRowTsArgs) -> Result<Vec<g::TRowResult>> {
        let timestamp = args.timestamp.or(Some(0));
        self.read_rows(args.table_name, args.row.map(|row| vec![row]), None, timestamp).await
    }

    pub async fn get_row_with_columns_ts(&self, args: g::GetRowWithColumnsTsArgs) -> Result<Vec<g::TRowResult>> {
        let timestamp = args.timestamp.or(Some(0));
        self.read_rows(args.table_name, args.row.map(|row| vec![row]), args.columns, timestamp).await
    }

    pub async fn get_rows(&self, args: g::GetRowsArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.rows, None, None).await
    }

    pub async fn get_rows_with_columns(&self, args: g::GetRowsWithColumnsArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.rows, args.columns, None).await
    }

    pub async fn get_rows_ts(&self, args: g::GetRowsTsArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.rows, None, args.timestamp.or(Some(0))).await
    }

    pub async fn get_rows_with_columns_ts(&self, args: g::GetRowsWithColumnsTsArgs) -> Result<Vec<g::TRowResult>> {
        self.read_rows(args.table_name, args.rows, args.columns, args.timestamp.or(Some(0))).await
    }

    /// First the deletes, then the puts: two operations, as in HBase's gateway.
    async fn change_row(&self, table: Option<Vec<u8>>, changes: Changes) -> Result<()> {
        self.may_write()?;
        let table = self.table(table)?;
        if !changes.delete.cells.is_empty() {
            table.mutate(changes.delete).await?;
        }
        if !changes.put.cells.is_empty() {
            table.mutate(changes.put).await?;
        }
        Ok(())
    }

    pub async fn mutate_row(&self, args: g::MutateRowArgs) -> Result<()> {
        let changes = Changes::read(args.row, args.mutations, LATEST_TIMESTAMP, &args.attributes, true)?;
        self.change_row(args.table_name, changes).await
    }

    pub async fn mutate_row_ts(&self, args: g::MutateRowTsArgs) -> Result<()> {
        let timestamp = args.timestamp.unwrap_or(0);
        let changes = Changes::read(args.row, args.mutations, timestamp, &args.attributes, true)?;
        self.change_row(args.table_name, changes).await
    }

    /// First all puts, then all deletes.
    async fn change_rows(
        &self,
        table: Option<Vec<u8>>,
        batches: Option<Vec<g::BatchMutation>>,
        timestamp: i64,
        attributes: Attributes,
    ) -> Result<()> {
        self.may_write()?;
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for batch in batches.unwrap_or_default() {
            let changes = Changes::read(batch.row, batch.mutations, timestamp, &attributes, false)?;
            puts.extend((!changes.put.cells.is_empty()).then_some(changes.put));
            deletes.extend((!changes.delete.cells.is_empty()).then_some(changes.delete));
        }
        let table = self.table(table)?;
        for mutations in [puts, deletes] {
            if !mutations.is_empty() {
                first_failure(table.mutate_all(mutations).await)?;
            }
        }
        Ok(())
    }

    pub async fn mutate_rows(&self, args: g::MutateRowsArgs) -> Result<()> {
        self.change_rows(args.table_name, args.row_batches, LATEST_TIMESTAMP, args.attributes).await
    }

    pub async fn mutate_rows_ts(&self, args: g::MutateRowsTsArgs) -> Result<()> {
        let timestamp = args.timestamp.unwrap_or(0);
        self.change_rows(args.table_name, args.row_batches, timestamp, args.attributes).await
    }

    pub async fn atomic_increment(&self, args: g::AtomicIncrementArgs) -> Result<i64> {
        self.may_write()?;
        let (family, qualifier) = column(&needed(args.column, "column")?);
        let qualifier = qualifier.unwrap_or_default();
        let increment = Mutation::increment(needed(args.row, "row")?);
        let increment = illegal(increment.amount(&family, &qualifier, args.value.unwrap_or(0)).map_err(Raised::from))?;
        let row = self.table(args.table_name)?.mutate(increment).await?;
        let value = row.value(&family, &qualifier).unwrap_or_default();
        let value = <[u8; 8]>::try_from(&value[..]).map_err(|_| Raised::io("the counter came back damaged"))?;
        Ok(i64::from_be_bytes(value))
    }

    async fn remove(
        &self,
        table: Option<Vec<u8>>,
        row: Option<Vec<u8>>,
        name: Option<Option<Vec<u8>>>,
        timestamp: i64,
        given: Attributes,
    ) -> Result<()> {
        self.may_write()?;
        let (_, attributes) = attributes(given);
        let delete = Mutation::delete(needed(row.filter(|row| !row.is_empty()), "row")?);
        let mut delete = Mutation { timestamp, attributes, ..delete };
        if let Some(name) = name {
            delete = delete_marker(delete, &needed(name, "column")?, timestamp)?;
        }
        self.table(table)?.mutate(delete).await?;
        Ok(())
    }

    pub async fn delete_all(&self, args: g::DeleteAllArgs) -> Result<()> {
        self.remove(args.table_name, args.row, Some(args.column), LATEST_TIMESTAMP, args.attributes).await
    }

    pub async fn delete_all_ts(&self, args: g::DeleteAllTsArgs) -> Result<()> {
        let timestamp = args.timestamp.unwrap_or(0);
        self.remove(args.table_name, args.row, Some(args.column), timestamp, args.attributes).await
    }

    pub async fn delete_all_row(&self, args: g::DeleteAllRowArgs) -> Result<()> {
        self.remove(args.table_name, args.row, None, LATEST_TIMESTAMP, args.attributes).await
    }

    pub async fn delete_all_row_ts(&self, args: g::DeleteAllRowTsArgs) -> Result<()> {
        self.remove(args.table_name, args.row, None, args.timestamp.unwrap_or(0), args.attributes).await
    }

    pub async fn increment(&self, args: g::IncrementArgs) -> Result<()> {
        self.may_write()?;
        let increment = needed(args.increment, "increment")?;
        let (name, row) = (increment.table.unwrap_or_default(), increment.row.unwrap_or_default());
        if name.is_empty() || row.is_empty() {
            let message = "Must supply a table and a row key; can't increment".to_owned();
            return Err(Raised::Runtime { message });
        }
        let (family, qualifier) = column(&needed(increment.column, "column")?);
        let mutation = Mutation { return_results: false, ..Mutation::increment(row) };
        let mutation = mutation.amount(family, qualifier.unwrap_or_default(), increment.ammount.unwrap_or(0))?;
        table(&self.connection, &name)?.mutate(mutation).await?;
        Ok(())
    }

    pub async fn increment_rows(&self, args: g::IncrementRowsArgs) -> Result<()> {
        for increment in args.increments.unwrap_or_default() {
            self.increment(g::IncrementArgs { increment: Some(increment) }).await?;
        }
        Ok(())
    }

    pub async fn append(&self, args: g::AppendArgs) -> Result<Vec<g::TCell>> {
        self.may_write()?;
        let append = needed(args.append, "append")?;
        let (name, row) = (append.table.unwrap_or_default(), append.row.unwrap_or_default());
        if name.is_empty() || row.is_empty() {
            return Err(Raised::Runtime { message: "Must supply a table and a row key; can't append".to_owned() });
        }
        let (columns, values) = (append.columns.unwrap_or_default(), append.values.unwrap_or_default());
        if columns.len() != values.len() {
            let message = "there must be as many columns as values".to_owned();
            return Err(Raised::Runtime { message });
        }
        let mut mutation = Mutation::append(row);
        for (name, value) in columns.iter().zip(values) {
            let (family, qualifier) = column(name);
            mutation = mutation.cell(family, qualifier.unwrap_or_default(), value)?;
        }
        Ok(cells_to(&table(&self.connection, &name)?.mutate(mutation).await?))
    }

    pub async fn check_and_put(&self, args: g::CheckAndPutArgs) -> Result<bool> {
        self.may_write()?;
        let mput = needed(args.mput, "mput")?;
        let changes = Changes::read(args.row, Some(vec![mput]), LATEST_TIMESTAMP, &args.attributes, false)?;
        let name = args.column.unwrap_or_default();
        let (family, qualifier) = column(&name);
        let qualifier = qualifier.ok_or_else(|| Raised::Runtime {
            message: format!("a condition needs a column `family:qualifier`, not `{}`", name.escape_ascii()),
        })?;
        let condition = match args.value {
            None => Condition::missing(family, qualifier),
            Some(value) => Condition::column(family, qualifier, CompareOp::Equal, value),
        };
        let check = CheckAndMutate { row: changes.put.row.clone(), condition, mutations: vec![changes.put] };
        Ok(self.table(args.table_name)?.check_and_mutate(check).await?.0)
    }

    /// Opens a scanner; what is wrong with table or columns is told with the first rows.
    fn open(&self, table: Option<Vec<u8>>, scan: Scan, sorted: bool) -> Result<i32> {
        let rows: RowStream = self.table(table)?.scan(scan);
        self.scanners.open(rows, sorted)
    }

    fn scan(
        start: Option<Vec<u8>>,
        stop: Option<Vec<u8>>,
        columns: Option<Vec<Vec<u8>>>,
        timestamp: Option<i64>,
    ) -> Result<Scan> {
        let scan = Scan::between(start.unwrap_or_default(), stop.unwrap_or_default());
        Ok(Scan { selection: selection(columns, timestamp)?, ..scan })
    }

    pub async fn scanner_open_with_scan(&self, args: g::ScannerOpenWithScanArgs) -> Result<i32> {
        let asked = needed(args.scan, "scan")?;
        let mut scan = One::scan(asked.start_row, asked.stop_row, asked.columns, asked.timestamp)?;
        let positive =
            |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
        scan.caching = positive(asked.caching);
        scan.batch = positive(asked.batch_size);
        scan.reversed = asked.reversed.unwrap_or(false);
        scan.selection.cache_blocks = asked.cache_blocks.unwrap_or(true);
        if let Some(text) = asked.filter_string.filter(|text| !text.is_empty()) {
            scan.selection.filter = Some(filter(&text)?);
        }
        self.open(args.table_name, scan, asked.sort_columns.unwrap_or(false))
    }

    pub async fn scanner_open(&self, args: g::ScannerOpenArgs) -> Result<i32> {
        self.open(args.table_name, One::scan(args.start_row, None, args.columns, None)?, false)
    }

    pub async fn scanner_open_with_stop(&self, args: g::ScannerOpenWithStopArgs) -> Result<i32> {
        self.open(args.table_name, One::scan(args.start_row, args.stop_row, args.columns, None)?, false)
    }

    pub async fn scanner_open_with_prefix(&self, args: g::ScannerOpenWithPrefixArgs) -> Result<i32> {
        let prefix = Bytes::from(args.start_and_prefix.unwrap_or_default());
        let mut scan = One::scan(None, None, args.columns, None)?.with_prefix(prefix.clone());
        scan.selection.filter = Some(Filter::WhileMatch { filter: Box::new(Filter::Prefix { prefix }) });
        self.open(args.table_name, scan, false)
    }

    pub async fn scanner_open_ts(&self, args: g::ScannerOpenTsArgs) -> Result<i32> {
        let timestamp = args.timestamp.or(Some(0));
        self.open(args.table_name, One::scan(args.start_row, None, args.columns, timestamp)?, false)
    }

    pub async fn scanner_open_with_stop_ts(&self, args: g::ScannerOpenWithStopTsArgs) -> Result<i32> {
        let timestamp = args.timestamp.or(Some(0));
        self.open(args.table_name, One::scan(args.start_row, args.stop_row, args.columns, timestamp)?, false)
    }

    fn scanner(&self, id: Option<i32>) -> Result<Arc<Open>> {
        self.scanners.get(id.unwrap_or(0)).ok_or_else(|| Raised::illegal(NO_SCANNER))
    }

    async fn next_rows(&self, id: Option<i32>, most: i32) -> Result<Vec<g::TRowResult>> {
        let scanner = self.scanner(id)?;
        let rows = scanner.next(usize::try_from(most).unwrap_or(0)).await?;
        Ok(rows.iter().filter_map(|row| row_to(row, scanner.sorted)).collect())
    }

    pub async fn scanner_get(&self, args: g::ScannerGetArgs) -> Result<Vec<g::TRowResult>> {
        self.next_rows(args.id, 1).await
    }

    pub async fn scanner_get_list(&self, args: g::ScannerGetListArgs) -> Result<Vec<g::TRowResult>> {
        self.next_rows(args.id, args.nb_rows.unwrap_or(0)).await
    }

    pub async fn scanner_close(&self, args: g::ScannerCloseArgs) -> Result<()> {
        match self.scanners.close(args.id.unwrap_or(0)) {
            true => Ok(()),
            false => Err(Raised::illegal(NO_SCANNER)),
        }
    }

    pub async fn get_region_info(&self, args: g::GetRegionInfoArgs) -> Result<g::TRegionInfo> {
        let row = needed(args.row, "row")?;
        let scan = Scan { start_row: row.clone().into(), reversed: true, limit: Some(1), ..Scan::default() };
        let mut rows = self.connection.table(model::schema::TableName::meta()).scan(scan.with_family(meta::INFO));
        let found = rows.next_row().await?.unwrap_or_default();
        let region = RegionRow::from_cells(&found.cells).map_err(|error| Raised::io(error.to_string()))?;
        let missing = || format!("java.io.IOException: Cannot find row in hbase:meta, row={}", row.escape_ascii());
        let region = region.ok_or_else(|| Raised::io(missing()))?;
        Ok(region_to(&region.info, region.server.as_ref()))
    }

    pub async fn get_thrift_server_type(&self, _: g::GetThriftServerTypeArgs) -> Result<g::TThriftServerType> {
        Ok(g::TThriftServerType::ONE)
    }

    pub async fn get_cluster_id(&self, _: g::GetClusterIdArgs) -> Result<String> {
        Ok(self.connection.cluster_id().to_owned())
    }
}

fn region_to(region: &model::region::RegionInfo, server: Option<&client::ServerName>) -> g::TRegionInfo {
    g::TRegionInfo {
        start_key: Some(region.start_key.to_vec()),
        end_key: Some(region.end_key.to_vec()),
        id: Some(i64::try_from(region.region_id).unwrap_or(i64::MAX)),
        name: Some(region.region_name().to_vec()),
        version: Some(1),
        server_name: server.map(|server| server.host.clone().into_bytes()),
        port: server.map(|server| i32::from(server.port)),
    }
}
