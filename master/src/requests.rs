//! Requests for schema changes: what HBase refuses at once is refused at once, the rest becomes a procedure.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use model::cell::ROW_LEN_MAX;
use model::region::RegionInfo;
use model::schema::{DEFAULT_NAMESPACE, FamilyDescriptor, Namespace, SYSTEM_NAMESPACE, TableDescriptor, TableName};
use protocol::meta::{self, RegionRow};
use protocol::service::RpcError;

use crate::catalog::OWN_NAMESPACE;
use crate::head::{HeadState, TableHead, cut};
use crate::master::Master;
use crate::procedure::{Kind, Record, namespace_key, table_key};
use crate::refusal::{
    constraint, enabled_already, enabled_still, namespace_exists, namespace_not_empty, namespace_not_found,
    not_enabled, table_exists, table_not_found,
};
use crate::tables::Table;

/// Regions a table may be created with.
const REGIONS_MAX: usize = 10_000;

/// Least sizes of a region and of a memtable that a table may ask for, in bytes: HBase's `hbase.hregion.max.filesize.limit` and
/// `hbase.hregion.memstore.flush.size.limit`.
const SIZES_LEAST: [(&str, i64); 2] = [("MAX_FILESIZE", 2 << 20), ("MEMSTORE_FLUSHSIZE", 1 << 20)];
/// The key of a table that lets it do without them.
const SANITY_CHECKS: &str = "hbase.table.sanity.checks";

type Result<T> = std::result::Result<T, RpcError>;

/// How a request came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origin {
    /// Nonce group and nonce; nonce 0 is none.
    pub nonce: (u64, u64),
    /// How long the caller waits.
    pub timeout: Option<Duration>,
}

/// A change of one family or of all.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Whole(Box<TableDescriptor>),
    Add(FamilyDescriptor),
    Modify(FamilyDescriptor),
    Delete(Bytes),
}

fn wrong(error: impl std::fmt::Display) -> RpcError {
    RpcError::invalid(error.to_string())
}

/// Refuses what would be promised and not kept.
fn check_supported(table: &TableDescriptor) -> Result<()> {
    table.validate().map_err(wrong)?;
    let no = |what: &str, key: &str, advice: &str| {
        Err(wrong(format!("{what} not supported; {advice}. table=`{}`, key=`{key}`", table.name)))
    };
    for (key, value) in &table.attributes {
        let upper = key.to_ascii_uppercase();
        if upper.starts_with("COPROCESSOR$") {
            return no("coprocessors are", key, "leave the attribute out");
        }
        if upper == "REGION_REPLICATION" && **value != *b"1" {
            return no("region replicas are", key, "set it to 1 or leave it out");
        }
    }
    let told = |key: &str| table.attributes.get(key).map(|value| String::from_utf8_lossy(value).trim().to_owned());
    let checked = table.configuration.get(SANITY_CHECKS).cloned().or_else(|| told(SANITY_CHECKS));
    if checked.is_none_or(|text| text.trim().eq_ignore_ascii_case("true")) {
        for (key, least) in SIZES_LEAST {
            let value = told(key).and_then(|text| text.parse::<i64>().ok());
            // Negative: not set.
            if let Some(value) = value.filter(|value| (0..least).contains(value)) {
                return Err(wrong(format!(
                    "{key} of {value} bytes makes more files or regions than can be managed; at least {least} is needed, \
                     or CONFIGURATION {SANITY_CHECKS} => 'false'. table=`{}`",
                    table.name
                )));
            }
        }
    }
    for family in table.families.values() {
        if let Some(value) = family.attributes.get("ENCRYPTION")
            && !value.is_empty()
            && !value.eq_ignore_ascii_case(b"NONE")
        {
            return no("encryption is", "ENCRYPTION", "leave the attribute out and encrypt the disk");
        }
    }
    Ok(())
}

/// Sorts split keys and refuses useless ones.
fn check_splits(table: &TableName, mut splits: Vec<Bytes>) -> Result<Vec<Bytes>> {
    if splits.len() >= REGIONS_MAX {
        return Err(wrong(format!("a table may be created with at most {REGIONS_MAX} regions")));
    }
    splits.sort();
    if splits.first().is_some_and(Bytes::is_empty) {
        return Err(wrong("a split key is empty; the first region begins there by itself"));
    }
    if let Some(twice) = splits.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(wrong(format!("split keys must be unique. key=`{}`", twice[0].escape_ascii())));
    }
    // Each region's name is a row of META.
    let too_long = |key: &&Bytes| {
        RegionInfo::new(table.clone(), (*key).clone(), Bytes::new(), u64::MAX).region_name().len() > ROW_LEN_MAX
    };
    match splits.iter().find(too_long) {
        Some(key) => Err(wrong(format!("a split key of {} bytes is too long", key.len()))),
        None => Ok(splits),
    }
}

/// The descriptor that a change makes of another.
fn changed(table: &TableDescriptor, change: Change) -> Result<TableDescriptor> {
    let operation = |message: String| RpcError::of(ErrorKind::Invalid, "InvalidFamilyOperationException", message);
    let mut next = table.clone();
    match change {
        Change::Whole(whole) if whole.name != table.name => {
            return Err(wrong(format!("descriptor of table {} for table {}", whole.name, table.name)));
        }
        Change::Whole(whole) => next = *whole,
        Change::Add(family) => {
            if let Some(there) = next.families.insert(family.name.clone(), family) {
                let name = there.name.escape_ascii();
                return Err(operation(format!("table {} has a column family {name} already", table.name)));
            }
        }
        Change::Modify(family) => {
            let name = family.name.clone();
            if next.families.insert(name.clone(), family).is_none() {
                let name = name.escape_ascii();
                return Err(operation(format!("table {} has no column family {name}", table.name)));
            }
        }
        Change::Delete(name) => {
            let shown = name.escape_ascii().to_string();
            if next.families.remove(&name).is_none() {
                return Err(operation(format!("table {} has no column family {shown}", table.name)));
            }
            if next.families.is_empty() {
                let why = format!("{shown} is the only column family of table {}; drop the table instead", table.name);
                return Err(operation(why));
            }
        }
    }
    check_supported(&next)?;
    Ok(next)
}

impl Master {
    /// A table that exists and can be read.
    pub(crate) fn existing(&self, name: &TableName) -> Result<std::sync::Arc<Table>> {
        if let Some(why) = self.tables.why_broken(name) {
            let advice = "restore it while the server is stopped, or drop the table";
            return Err(RpcError::new(ErrorKind::Corrupt, format!("{why}; {advice}")));
        }
        self.tables.get(name).ok_or_else(|| table_not_found(name))
    }

    /// Creates a table.
    pub(crate) async fn create_table(
        &self,
        descriptor: TableDescriptor,
        splits: Vec<Bytes>,
        origin: Origin,
    ) -> Result<u64> {
        check_supported(&descriptor)?;
        let table = descriptor.name.clone();
        let splits = check_splits(&table, splits)?;
        if table.is_meta() {
            return Err(table_exists(&table));
        }
        if [SYSTEM_NAMESPACE, OWN_NAMESPACE].contains(&table.namespace()) {
            return Err(constraint(format!("namespace {} is reserved for system tables", table.namespace())));
        }
        self.submit(table_key(&table), origin.nonce, origin.timeout, move |master| async move {
            let catalog = master.tables.catalog();
            if !catalog.namespaces.contains_key(table.namespace()) {
                return Err(namespace_not_found(table.namespace()).into());
            }
            if catalog.tables.contains_key(&table) {
                return Err(table_exists(&table).into());
            }
            let now_ms = master.now_ms();
            let region_id = master.tables.change_catalog(|catalog| Ok(catalog.take_region_id(now_ms))).await?;
            let regions = cut(&table, &splits, region_id);
            let after = TableHead { state: HeadState::Enabled, descriptor, regions, revision: 1 };
            let table_id = format!("{:016x}", master.ctx.runtime.random.next_u64());
            Ok(Record { table_id, after: Some(after), ..Record::new(Kind::CreateTable) })
        })
        .await
    }

    /// Starts a procedure on a table that exists, in a state that it needs.
    async fn on_table(
        &self,
        name: TableName,
        origin: Origin,
        plan: impl FnOnce(&Table) -> Result<Record> + Send + 'static,
    ) -> Result<u64> {
        self.submit(table_key(&name), origin.nonce, origin.timeout, move |master| async move {
            let table = master.existing(&name)?;
            let record = plan(&table)?;
            Ok(Record { table_id: table.id.clone(), before: Some(table.head.clone()), ..record })
        })
        .await
    }

    /// Deletes a table.
    pub(crate) async fn delete_table(&self, name: TableName, origin: Origin) -> Result<u64> {
        if name.is_meta() {
            return Err(enabled_still(&name));
        }
        self.submit(table_key(&name), origin.nonce, origin.timeout, move |master| async move {
            if master.tables.why_broken(&name).is_some() {
                return master.plan_to_delete_broken(&name).await;
            }
            let table = master.existing(&name)?;
            match table.head.state {
                HeadState::Enabled => Err(enabled_still(&name).into()),
                _ => {
                    let (table_id, before) = (table.id.clone(), Some(table.head.clone()));
                    Ok(Record { table_id, before, ..Record::new(Kind::DeleteTable) })
                }
            }
        })
        .await
    }

    /// Of a table without a readable head, META tells the regions.
    async fn plan_to_delete_broken(&self, name: &TableName) -> crate::error::Result<Record> {
        let table_id = self.tables.catalog().tables.get(name).cloned().ok_or_else(|| table_not_found(name))?;
        if !self.tables.is_head_lost(&table_id).await? {
            // It is another table's, or was restored just now: the next start tells.
            self.existing(name)?;
        }
        let mut regions = Vec::new();
        self.host
            .scan_meta(&meta::table_scan(name), |page| {
                let rows = page.iter().filter_map(|cells| RegionRow::from_cells(cells).ok().flatten());
                regions.extend(rows.map(|row| row.info).filter(|info| info.table == *name));
            })
            .await?;
        // The state of a head that need not be whole.
        let before = TableHead { regions, ..TableHead::dropped(name.clone()) };
        Ok(Record { table_id, before: Some(before), ..Record::new(Kind::DeleteTable) })
    }

    /// Empties a table and puts it in service.
    pub(crate) async fn truncate_table(&self, name: TableName, preserve_splits: bool, origin: Origin) -> Result<u64> {
        if name.is_meta() {
            return Err(enabled_still(&name));
        }
        self.submit(table_key(&name), origin.nonce, origin.timeout, move |master| async move {
            let table = master.existing(&name)?;
            if table.head.state == HeadState::Enabled {
                return Err(enabled_still(&name).into());
            }
            let splits: Vec<Bytes> = match preserve_splits {
                true => table.head.regions.iter().skip(1).map(|region| region.start_key.clone()).collect(),
                false => Vec::new(),
            };
            let now_ms = master.now_ms();
            let region_id = master.tables.change_catalog(|catalog| Ok(catalog.take_region_id(now_ms))).await?;
            let regions = cut(&name, &splits, region_id);
            let after = TableHead { state: HeadState::Enabled, regions, ..table.head.clone() };
            let (table_id, before) = (table.id.clone(), Some(table.head.clone()));
            Ok(Record { table_id, before, after: Some(after), ..Record::new(Kind::TruncateTable) })
        })
        .await
    }

    /// Puts a table in service.
    pub(crate) async fn enable_table(&self, name: TableName, origin: Origin) -> Result<u64> {
        if name.is_meta() {
            return Err(enabled_already(&name));
        }
        self.on_table(name, origin, |table| match table.head.state {
            HeadState::Enabled => Err(enabled_already(table.head.name())),
            _ => Ok(Record::new(Kind::EnableTable)),
        })
        .await
    }

    /// Takes a table out of service.
    pub(crate) async fn disable_table(&self, name: TableName, origin: Origin) -> Result<u64> {
        if name.is_meta() {
            return Err(constraint("hbase:meta cannot be disabled"));
        }
        self.on_table(name, origin, |table| match table.head.state {
            HeadState::Enabled => Ok(Record::new(Kind::DisableTable)),
            _ => Err(not_enabled(table.head.name(), " already")),
        })
        .await
    }

    /// Changes a table's descriptor.
    pub(crate) async fn modify_table(&self, name: TableName, change: Change, origin: Origin) -> Result<u64> {
        if name.is_meta() {
            return Err(constraint("the descriptor of hbase:meta cannot be changed"));
        }
        self.on_table(name, origin, |table| {
            let before = &table.head;
            let descriptor = changed(&before.descriptor, change)?;
            let after = TableHead { descriptor, revision: before.revision + 1, ..before.clone() };
            Ok(Record { after: Some(after), ..Record::new(Kind::ModifyTable) })
        })
        .await
    }

    /// Flushes a table.
    pub(crate) async fn flush_table(&self, name: TableName, origin: Origin) -> Result<u64> {
        self.on_table(name, origin, |table| match table.head.state {
            HeadState::Enabled => Ok(Record::new(Kind::FlushTable)),
            _ => Err(not_enabled(table.head.name(), "; enable it first")),
        })
        .await
    }

    async fn on_namespace(
        &self,
        name: String,
        origin: Origin,
        kind: Kind,
        properties: BTreeMap<String, String>,
    ) -> Result<u64> {
        self.submit(namespace_key(&name), origin.nonce, origin.timeout, move |master| async move {
            let catalog = master.tables.catalog();
            let exists = catalog.namespaces.contains_key(&name);
            if kind == Kind::CreateNamespace && exists {
                return Err(namespace_exists(&name).into());
            }
            if kind != Kind::CreateNamespace && !exists {
                return Err(namespace_not_found(&name).into());
            }
            if kind == Kind::DeleteNamespace
                && let Some(table) = catalog.tables.keys().find(|table| table.namespace() == name)
            {
                return Err(namespace_not_empty(&name, table).into());
            }
            Ok(Record { namespace: name, properties, ..Record::new(kind) })
        })
        .await
    }

    /// Creates a namespace.
    pub(crate) async fn create_namespace(&self, namespace: Namespace, origin: Origin) -> Result<u64> {
        namespace.validate().map_err(wrong)?;
        let Namespace { name, properties } = namespace;
        if name == OWN_NAMESPACE {
            return Err(constraint(format!("namespace {name} is reserved")));
        }
        self.on_namespace(name, origin, Kind::CreateNamespace, properties).await
    }

    /// Replaces a namespace's properties.
    pub(crate) async fn modify_namespace(&self, namespace: Namespace, origin: Origin) -> Result<u64> {
        self.on_namespace(namespace.name, origin, Kind::ModifyNamespace, namespace.properties).await
    }

    /// Deletes an empty namespace.
    pub(crate) async fn delete_namespace(&self, name: String, origin: Origin) -> Result<u64> {
        if [DEFAULT_NAMESPACE, SYSTEM_NAMESPACE].contains(&name.as_str()) {
            return Err(constraint(format!("namespace {name} is reserved and cannot be removed")));
        }
        self.on_namespace(name, origin, Kind::DeleteNamespace, BTreeMap::new()).await
    }
}
