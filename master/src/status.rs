//! What the master answers without changing anything: tables, namespaces, procedures, the cluster's load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::ErrorKind;
use model::filter::{Comparator, Compare};
use model::region::RegionInfo;
use model::schema::{DEFAULT_NAMESPACE, Namespace, TableDescriptor, TableName};
use protocol::messages as pb;
use protocol::messages::get_procedure_result_response::State;
use protocol::meta::{self, TableState};
use protocol::service::RpcError;
use protocol::status::{ClusterStatus, RegionCounts, RegionLoad, ServerLoad, Transition, region_load_from};

use crate::head::HeadState;
use crate::master::{Master, Rate};
use crate::procedure::{Kind, Outcome, Record};
use crate::refusal::namespace_not_found;
use crate::tables::Table;

type Result<T> = std::result::Result<T, RpcError>;

/// Which tables a listing is about.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// A regular expression in Java's syntax that the whole name matches.
    pub pattern: Option<String>,
    pub namespace: Option<String>,
    pub with_system: bool,
}

/// Matches whole names.
struct Pattern(Compare);

impl Pattern {
    fn new(pattern: &str) -> Result<Pattern> {
        let comparator = Comparator::Regex {
            pattern: format!(r"\A(?:{pattern})\z"),
            flags: 0,
            charset: "UTF-8".to_owned(),
            engine: None,
        };
        let bad = |error| RpcError::invalid(format!("`{pattern}` is no regular expression: {error}"));
        Ok(Pattern(Compare::new(&comparator).map_err(bad)?))
    }

    /// A table of the default namespace has two names.
    fn matches(&self, name: &TableName) -> Result<bool> {
        let found = |text: String| match self.0.compare(text.as_bytes()) {
            Ok(found) => Ok(found.is_eq()),
            Err(error) => Err(RpcError::invalid(error.to_string())),
        };
        Ok(found(name.to_string())?
            || name.namespace() == DEFAULT_NAMESPACE && found(format!("{DEFAULT_NAMESPACE}:{name}"))?)
    }
}

fn state_of(table: &Table) -> TableState {
    if table.head.state == HeadState::Enabled { TableState::Enabled } else { TableState::Disabled }
}

fn exception(record: &Record, source: &str) -> Option<pb::ForeignExceptionMessage> {
    let (class, message) = record.error()?;
    Some(pb::ForeignExceptionMessage {
        source: Some(source.to_owned()),
        generic_exception: Some(pb::GenericExceptionMessage {
            class_name: Some(class.to_owned()),
            message: Some(message.to_owned()),
            ..pb::GenericExceptionMessage::default()
        }),
    })
}

fn milliseconds(time: i64) -> u64 {
    u64::try_from(time).unwrap_or(0)
}

impl Master {
    /// Tables' descriptors, sorted by name.
    pub(crate) fn list(&self, wanted: &Wanted) -> Result<Vec<TableDescriptor>> {
        let pattern = wanted.pattern.as_deref().map(Pattern::new).transpose()?;
        let mut tables: Vec<TableDescriptor> =
            self.tables.all().iter().map(|table| table.head.descriptor.clone()).collect();
        if wanted.with_system {
            tables.insert(0, meta::meta_descriptor());
        }
        let mut listed = Vec::new();
        for table in tables {
            let name = &table.name;
            if wanted.namespace.as_ref().is_some_and(|namespace| *namespace != name.namespace()) {
                continue;
            }
            let matches = pattern.as_ref().map(|pattern| pattern.matches(name)).transpose()?;
            if matches != Some(false) {
                listed.push(table);
            }
        }
        Ok(listed)
    }

    /// Descriptors of those of the named tables that exist.
    pub(crate) fn descriptors(&self, names: &[TableName]) -> Result<Vec<TableDescriptor>> {
        let mut found = Vec::new();
        for name in names {
            if name.is_meta() {
                found.push(meta::meta_descriptor());
                continue;
            }
            match self.existing(name) {
                Ok(table) => found.push(table.head.descriptor.clone()),
                Err(error) if error.kind == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Descriptors of tables in or out of service.
    pub(crate) fn list_by_state(&self, enabled: bool) -> Vec<TableDescriptor> {
        let tables = self.tables.all();
        let found = tables.iter().filter(|table| (table.head.state == HeadState::Enabled) == enabled);
        found.map(|table| table.head.descriptor.clone()).collect()
    }

    /// A namespace.
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        let catalog = self.tables.catalog();
        let properties = catalog.namespaces.get(name).ok_or_else(|| namespace_not_found(name))?;
        Ok(Namespace { name: name.to_owned(), properties: properties.clone() })
    }

    /// All namespaces, sorted by name.
    pub(crate) fn namespaces(&self) -> Vec<Namespace> {
        let catalog = self.tables.catalog();
        let all = catalog.namespaces.iter();
        all.map(|(name, properties)| Namespace { name: name.clone(), properties: properties.clone() }).collect()
    }

    /// The unfinished procedure about a table.
    fn running_on(&self, name: &TableName) -> Option<Record> {
        let procedures = self.procedures.lock();
        let mut running = procedures.by_id.values().map(|known| &known.record).filter(|record| !record.is_finished());
        running.find(|record| record.table() == Some(name)).cloned()
    }

    /// A table's state.
    pub(crate) fn table_state(&self, name: &TableName) -> Result<TableState> {
        if name.is_meta() {
            return Ok(TableState::Enabled);
        }
        let table = self.existing(name)?;
        Ok(match self.running_on(name).map(|record| record.kind) {
            Some(Kind::EnableTable) => TableState::Enabling,
            Some(Kind::DisableTable) => TableState::Disabling,
            _ => state_of(&table),
        })
    }

    /// Regions that do not know the newest descriptor yet, and all regions.
    pub(crate) fn alter_status(&self, name: &TableName) -> Result<(u32, u32)> {
        if name.is_meta() {
            return Ok((0, 1));
        }
        let total = u32::try_from(self.existing(name)?.head.regions.len()).unwrap_or(u32::MAX);
        let running = self.running_on(name).is_some_and(|record| record.kind == Kind::ModifyTable);
        Ok((if running { total } else { 0 }, total))
    }

    /// How a procedure stands.
    pub(crate) fn procedure_result(&self, id: u64) -> pb::GetProcedureResultResponse {
        let procedures = self.procedures.lock();
        let Some(known) = procedures.by_id.get(&id) else {
            return pb::GetProcedureResultResponse { state: State::NotFound.into(), ..Default::default() };
        };
        let record = &known.record;
        let state = if record.is_finished() { State::Finished } else { State::Running };
        pb::GetProcedureResultResponse {
            state: state.into(),
            submitted_time: Some(milliseconds(record.submitted_ms)),
            last_update: Some(milliseconds(record.updated_ms)),
            result: None,
            exception: exception(record, &self.server.to_string()).filter(|_| record.is_finished()),
        }
    }

    /// A procedure as `list_procedures` shows it.
    fn described(&self, record: &Record) -> pb::Procedure {
        pb::Procedure {
            class_name: format!("org.apache.hadoop.hbase.master.procedure.{}", record.kind.class()),
            proc_id: record.id,
            submitted_time: milliseconds(record.submitted_ms),
            last_update: milliseconds(record.updated_ms),
            state: match record.outcome {
                Outcome::Running | Outcome::Undoing { .. } => pb::ProcedureState::Runnable,
                Outcome::Done => pb::ProcedureState::Success,
                Outcome::Failed { .. } => pb::ProcedureState::Rolledback,
            }
            .into(),
            exception: exception(record, &self.server.to_string()),
            nonce_group: Some(record.nonce_group),
            nonce: Some(record.nonce),
            ..pb::Procedure::default()
        }
    }

    /// Procedures that run or ended lately.
    pub(crate) fn procedures(&self) -> Vec<pb::Procedure> {
        let procedures = self.procedures.lock();
        procedures.by_id.values().map(|known| self.described(&known.record)).collect()
    }

    /// What is locked, and by which procedure.
    pub(crate) fn locks(&self) -> Vec<pb::LockedResource> {
        let procedures = self.procedures.lock();
        let running = procedures.by_id.values().map(|known| &known.record).filter(|record| !record.is_finished());
        let lock = |record: &Record| {
            let (kind, name) = match record.table() {
                Some(table) => (pb::LockedResourceType::Table, table.to_string()),
                None => (pb::LockedResourceType::Namespace, record.namespace.clone()),
            };
            pb::LockedResource {
                resource_type: kind.into(),
                resource_name: Some(name),
                lock_type: pb::LockType::Exclusive.into(),
                exclusive_lock_owner_procedure: Some(self.described(record)),
                ..pb::LockedResource::default()
            }
        };
        running.map(lock).collect()
    }

    /// How the cluster does.
    pub(crate) async fn cluster_status(&self) -> ClusterStatus {
        let tables = self.tables.all();
        let mut server = ServerLoad::new(self.server.clone());
        server.regions = match self.host.region_loads(None).await {
            Ok(loads) => loads.iter().map(region_load_from).collect(),
            Err(error) => {
                tracing::warn!(%error, "the region server does not tell its load");
                self.open_names(&tables)
            }
        };
        server.requests = server.regions.iter().map(|region| region.reads.saturating_add(region.writes)).sum();
        server.requests_per_second = self.requests_per_second(server.requests);
        let memory = |bytes: u64| u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        server.memory_mb = memory(self.ctx.budget.used().saturating_add(self.ctx.cache.bytes()));
        server.memory_max_mb = memory(self.ctx.budget.limit());
        server.to_ms = milliseconds(self.now_ms());
        server.from_ms = self.server.start_code;
        let (transitions, mut counts) = self.transitions(&tables);
        counts.insert(TableName::meta(), RegionCounts { open: 1, total: 1, ..RegionCounts::default() });
        ClusterStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster_id: self.leadership.cluster_id.clone(),
            master: Some(self.server.clone()),
            servers: vec![server],
            transitions,
            balancer_on: Some(self.balancer.load(std::sync::atomic::Ordering::Acquire)),
            tables: counts,
            ..ClusterStatus::default()
        }
    }

    /// Over the time since it was asked last, a second at least.
    fn requests_per_second(&self, requests: u64) -> u64 {
        let now = self.ctx.runtime.clock.monotonic();
        let mut rate = self.rate.lock();
        if now.saturating_sub(rate.at) >= Duration::from_secs(1) {
            let passed = now.saturating_sub(rate.at).as_secs_f64();
            let more = if rate.at.is_zero() { 0 } else { requests.saturating_sub(rate.requests) };
            *rate = Rate { at: now, requests, per_second: (more as f64 / passed).round() as u64 };
        }
        rate.per_second
    }

    fn open_names(&self, tables: &[Arc<Table>]) -> Vec<RegionLoad> {
        let open = self.open.lock();
        let regions = tables.iter().flat_map(|table| &table.head.regions);
        let open = regions.filter(|info| open.contains_key(&info.encoded_name()));
        let load = |info: &RegionInfo| RegionLoad { region: info.region_name(), ..RegionLoad::default() };
        std::iter::once(&RegionInfo::meta()).chain(open).map(load).collect()
    }

    /// Regions that are not as their table says, and all counted.
    fn transitions(&self, tables: &[Arc<Table>]) -> (Vec<Transition>, BTreeMap<TableName, RegionCounts>) {
        let open = self.open.lock();
        let (mut transitions, mut counts) = (Vec::new(), BTreeMap::new());
        for table in tables {
            let count: &mut RegionCounts = counts.entry(table.head.name().clone()).or_default();
            for info in &table.head.regions {
                let is_open = open.contains_key(&info.encoded_name());
                count.total += 1;
                let state = match (table.head.state == HeadState::Enabled, is_open) {
                    (true, true) => {
                        count.open += 1;
                        continue;
                    }
                    (false, false) => {
                        count.closed += 1;
                        continue;
                    }
                    (true, false) => meta::OPENING,
                    (false, true) => meta::CLOSING,
                };
                count.in_transition += 1;
                let since_ms = self.server.start_code;
                transitions.push(Transition { region: info.clone(), state: state.to_owned(), since_ms });
            }
        }
        (transitions, counts)
    }
}
