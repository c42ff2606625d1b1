//! Schema changes, namespaces, regions and the state of the cluster.
//!
//! Always true
//! - A schema change carries a nonce, so that a retry does not do it twice; the method returns when it has happened.
//! - Whether a table exists and is enabled is read from META, everything else about schemas from the master.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use model::ErrorKind;
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{TableDescriptor, TableName};
use prost::Message;
use protocol::messages as pb;
use protocol::meta::{self, RegionRow, ServerName, TableState, meta_descriptor, server_name_from};
use protocol::schema::{table_from, table_name_from, table_name_to, table_to};
use protocol::service::{ADMIN, Call, MASTER, RpcError};

use crate::Result;
use crate::location::{Cluster, region_specifier};
use crate::retry::{Retry, Subject};
use crate::scan::RowStream;

/// Servers or regions asked at the same time.
const SIDE_BY_SIDE: usize = 16;

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its settings.
    pub properties: BTreeMap<String, String>,
}

impl Namespace {
    /// A namespace without settings.
    pub fn new(name: impl Into<String>) -> Namespace {
        Namespace { name: name.into(), properties: BTreeMap::new() }
    }
}

/// A region and where META says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionLocation {
    /// The region.
    pub info: RegionInfo,
    /// Its server.
    pub server: ServerName,
    /// Its sequence number when it was opened there.
    pub seqnum: u64,
}

/// What a server says about one of its regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionLoad {
    /// The region's full name.
    pub name: Bytes,
    /// Families.
    pub stores: u32,
    /// Store files.
    pub store_files: u32,
    /// Their size in MiB.
    pub store_files_mb: u32,
    /// Memtables' size in MiB.
    pub memtable_mb: u32,
    /// Reads since it was opened.
    pub read_requests: u64,
    /// Writes since it was opened.
    pub write_requests: u64,
}

/// A live server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLoad {
    /// Its name.
    pub name: ServerName,
    /// Requests in the last period.
    pub requests: u64,
    /// Requests since it started.
    pub total_requests: u64,
    /// Memory in use, in MiB.
    pub used_memory_mb: u32,
    /// Memory it may use, in MiB.
    pub max_memory_mb: u32,
    /// Its regions.
    pub regions: Vec<RegionLoad>,
}

/// The state of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterStatus {
    /// The cluster's id.
    pub cluster_id: String,
    /// The active master.
    pub master: ServerName,
    /// Live servers.
    pub servers: Vec<ServerLoad>,
    /// Servers that died and were not forgotten.
    pub dead_servers: Vec<ServerName>,
    /// Open regions on all live servers.
    pub regions: usize,
}

/// Administers a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    cluster: Arc<Cluster>,
    cluster_id: Arc<str>,
}

/// What META shows of a table once a change has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    State(TableState),
    Gone,
    /// Nothing that META shows.
    Hidden,
}

impl Admin {
    pub(crate) fn new(cluster: Arc<Cluster>, cluster_id: Arc<str>) -> Admin {
        Admin { cluster, cluster_id }
    }

    /// Asks the master, again and again while that can help.
    async fn ask<A: Message + Default>(&self, subject: Subject, method: &str, request: &impl Message) -> Result<A> {
        let cluster = &self.cluster;
        let mut retry = Retry::new(cluster, subject);
        let call = Call::new(MASTER, method, request);
        loop {
            match cluster.calls.call_master(call.clone(), retry.call_limit()).await {
                Ok(reply) => return reply.decode().map_err(|cause| retry.fail(cause)),
                Err(cause) => retry.again(cause).await?,
            }
        }
    }

    /// Waits until a procedure has ended.
    async fn finish(&self, subject: Subject, procedure: Option<u64>, outcome: Outcome) -> Result<()> {
        let cluster = &self.cluster;
        let time = cluster.calls.settings.procedure_timeout;
        let mut retry = Retry::lasting(cluster, subject.clone(), time);
        // Fast changes are over in milliseconds: the first pauses are short.
        let mut pause = Duration::from_millis(5).min(cluster.calls.settings.pause);
        while let Some(id) = procedure {
            let request = pb::GetProcedureResultRequest { proc_id: id };
            let answer: pb::GetProcedureResultResponse =
                self.ask(subject.clone(), "getProcedureResult", &request).await?;
            match answer.state() {
                pb::get_procedure_result_response::State::Finished => {
                    return match answer.exception {
                        None => Ok(()),
                        Some(exception) => Err(retry.fail(failure_of(exception))),
                    };
                }
                pb::get_procedure_result_response::State::NotFound => break,
                pb::get_procedure_result_response::State::Running => {}
            }
            self.pause(&mut pause, &mut retry, "the change is still under way").await?;
        }
        // No procedure, or one that the master has forgotten: META shows whether it happened.
        loop {
            let table = match (outcome, &subject.table) {
                (Outcome::Hidden, _) | (_, None) => return Ok(()),
                (_, Some(table)) => table,
            };
            let state = self.state_of(subject.clone(), table).await?;
            let done = match outcome {
                Outcome::State(wanted) => state == Some(wanted),
                Outcome::Gone | Outcome::Hidden => state.is_none(),
            };
            if done {
                return Ok(());
            }
            self.pause(&mut pause, &mut retry, "META does not show the change yet").await?;
        }
    }

    async fn pause(&self, pause: &mut Duration, retry: &mut Retry, why: &str) -> Result<()> {
        if retry.remaining() <= *pause {
            return Err(retry.fail(RpcError::new(ErrorKind::Unknown, why)));
        }
        self.cluster.calls.runtime.clock.sleep(*pause).await;
        *pause = (*pause * 2).min(Duration::from_secs(1));
        Ok(())
    }

    fn nonces(&self) -> (Option<u64>, Option<u64>) {
        (Some(self.cluster.calls.nonce_group), Some(self.cluster.calls.nonce()))
    }

    /// Creates a table, cut at the given rows, and enables it.
    ///
    /// # Errors
    /// Exists, or Invalid for a bad descriptor or bad split rows.
    pub async fn create_table(&self, table: &TableDescriptor, splits: &[Bytes]) -> Result<()> {
        let subject = Subject::new("create table").table(&table.name);
        let (nonce_group, nonce) = self.nonces();
        let table_schema = table_to(table);
        let request = pb::CreateTableRequest { table_schema, split_keys: splits.to_vec(), nonce_group, nonce };
        let answer: pb::CreateTableResponse = self.ask(subject.clone(), "CreateTable", &request).await?;
        self.cluster.forget_table(&table.name);
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await
    }

    /// Deletes a disabled table.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn delete_table(&self, name: &TableName) -> Result<()> {
        let subject = Subject::new("delete table").table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DeleteTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::DeleteTableResponse = self.ask(subject.clone(), "DeleteTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Gone).await?;
        self.cluster.forget_table(name);
        Ok(())
    }

    /// Empties a disabled table and enables it, with its regions as they were or with one.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn truncate_table(&self, name: &TableName, preserve_splits: bool) -> Result<()> {
        let subject = Subject::new("truncate table").table(name);
        let (nonce_group, nonce) = self.nonces();
        let preserve_splits = Some(preserve_splits);
        let request = pb::TruncateTableRequest { table_name: table_name_to(name), preserve_splits, nonce_group, nonce };
        let answer: pb::TruncateTableResponse = self.ask(subject.clone(), "truncateTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await?;
        self.cluster.forget_table(name);
        Ok(())
    }

    /// Puts a disabled table into service.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn enable_table(&self, name: &TableName) -> Result<()> {
        let subject = Subject::new("enable table").table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::EnableTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::EnableTableResponse = self.ask(subject.clone(), "EnableTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await
    }

    /// Takes an enabled table out of service.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not enabled.
    pub async fn disable_table(&self, name: &TableName) -> Result<()> {
        let subject = Subject::new("disable table").table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DisableTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::DisableTableResponse = self.ask(subject.clone(), "DisableTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Disabled)).await
    }

    async fn state_of(&self, subject: Subject, name: &TableName) -> Result<Option<TableState>> {
        let cluster = &self.cluster;
        if name.is_meta() {
            return Ok(Some(TableState::Enabled));
        }
        let mut retry = Retry::new(cluster, subject);
        loop {
            match cluster.table_state(name, retry.call_limit()).await {
                Ok(state) => return Ok(state),
                Err(cause) => retry.again(cause).await?,
            }
        }
    }

    /// The table's state; `None` if it does not exist.
    pub async fn table_state(&self, name: &TableName) -> Result<Option<TableState>> {
        self.state_of(Subject::new("table state").table(name), name).await
    }

    /// Whether the table is enabled.
    ///
    /// # Errors
    /// NotFound if there is no such table.
    pub async fn is_enabled(&self, name: &TableName) -> Result<bool> {
        let subject = Subject::new("is enabled").table(name);
        match self.state_of(subject.clone(), name).await? {
            Some(state) => Ok(state == TableState::Enabled),
            None => Err(Retry::new(&self.cluster, subject).fail(no_table(name))),
        }
    }

    /// Whether the table exists.
    pub async fn exists(&self, name: &TableName) -> Result<bool> {
        Ok(self.table_state(name).await?.is_some())
    }

    /// Gives a table a new descriptor, in place of the whole old one.
    ///
    /// # Errors
    /// NotFound, or Invalid for a bad descriptor.
    pub async fn modify_table(&self, table: &TableDescriptor) -> Result<()> {
        let subject = Subject::new("modify table").table(&table.name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::ModifyTableRequest {
            table_name: table_name_to(&table.name),
            table_schema: table_to(table),
            nonce_group,
            nonce,
            reopen_regions: None,
        };
        let answer: pb::ModifyTableResponse = self.ask(subject.clone(), "ModifyTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// A table's descriptor.
    ///
    /// # Errors
    /// NotFound if there is no such table.
    pub async fn descriptor(&self, name: &TableName) -> Result<TableDescriptor> {
        if name.is_meta() {
            return Ok(meta_descriptor());
        }
        let subject = Subject::new("descriptor").table(name);
        let request = pb::GetTableDescriptorsRequest {
            table_names: vec![table_name_to(name)],
            ..pb::GetTableDescriptorsRequest::default()
        };
        let answer: pb::GetTableDescriptorsResponse =
            self.ask(subject.clone(), "GetTableDescriptors", &request).await?;
        let fail = |cause| Retry::new(&self.cluster, subject.clone()).fail(cause);
        match answer.table_schema.first() {
            Some(schema) => table_from(schema).map_err(|error| fail(error.into())),
            None => Err(fail(no_table(name))),
        }
    }

    /// Names of user tables, sorted; with a pattern those whose whole name matches the regular expression.
    pub async fn tables(&self, pattern: Option<&str>) -> Result<Vec<TableName>> {
        let subject = Subject::new("tables");
        let request = pb::GetTableNamesRequest { regex: pattern.map(str::to_owned), ..Default::default() };
        let answer: pb::GetTableNamesResponse = self.ask(subject.clone(), "GetTableNames", &request).await?;
        self.names(subject, &answer.table_names)
    }

    fn names(&self, subject: Subject, names: &[pb::TableName]) -> Result<Vec<TableName>> {
        let mut names = names
            .iter()
            .map(table_name_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Retry::new(&self.cluster, subject).fail(error.into()))?;
        names.sort();
        Ok(names)
    }

    /// Descriptors of user tables, sorted by name; with a pattern those whose whole name matches the regular expression.
    pub async fn descriptors(&self, pattern: Option<&str>) -> Result<Vec<TableDescriptor>> {
        let subject = Subject::new("descriptors");
        let request = pb::GetTableDescriptorsRequest { regex: pattern.map(str::to_owned), ..Default::default() };
        let answer: pb::GetTableDescriptorsResponse =
            self.ask(subject.clone(), "GetTableDescriptors", &request).await?;
        let mut tables = answer
            .table_schema
            .iter()
            .map(table_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Retry::new(&self.cluster, subject).fail(error.into()))?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// Exists.
    pub async fn create_namespace(&self, namespace: &Namespace) -> Result<()> {
        let subject = Subject::new("create namespace");
        let (nonce_group, nonce) = self.nonces();
        let namespace_descriptor = namespace_to(namespace);
        let request = pb::CreateNamespaceRequest { namespace_descriptor, nonce_group, nonce };
        let answer: pb::CreateNamespaceResponse = self.ask(subject.clone(), "CreateNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// Gives a namespace new settings, in place of all old ones.
    ///
    /// # Errors
    /// NotFound.
    pub async fn modify_namespace(&self, namespace: &Namespace) -> Result<()> {
        let subject = Subject::new("modify namespace");
        let (nonce_group, nonce) = self.nonces();
        let namespace_descriptor = namespace_to(namespace);
        let request = pb::ModifyNamespaceRequest { namespace_descriptor, nonce_group, nonce };
        let answer: pb::ModifyNamespaceResponse = self.ask(subject.clone(), "ModifyNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// Deletes an empty namespace.
    ///
    /// # Errors
    /// NotFound, or Invalid if it holds tables.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let subject = Subject::new("delete namespace");
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DeleteNamespaceRequest { namespace_name: name.to_owned(), nonce_group, nonce };
        let answer: pb::DeleteNamespaceResponse = self.ask(subject.clone(), "DeleteNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// A namespace.
    ///
    /// # Errors
    /// NotFound.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        let request = pb::GetNamespaceDescriptorRequest { namespace_name: name.to_owned() };
        let subject = Subject::new("namespace");
        let answer: pb::GetNamespaceDescriptorResponse = self.ask(subject, "GetNamespaceDescriptor", &request).await?;
        Ok(namespace_from(&answer.namespace_descriptor))
    }

    /// All namespaces, sorted by name.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>> {
        let request = pb::ListNamespaceDescriptorsRequest {};
        let subject = Subject::new("namespaces");
        let answer: pb::ListNamespaceDescriptorsResponse =
            self.ask(subject, "ListNamespaceDescriptors", &request).await?;
        let mut all: Vec<_> = answer.namespace_descriptor.iter().map(namespace_from).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Names of a namespace's tables, sorted.
    ///
    /// # Errors
    /// NotFound.
    pub async fn tables_of_namespace(&self, name: &str) -> Result<Vec<TableName>> {
        let subject = Subject::new("tables of namespace");
        let request = pb::ListTableNamesByNamespaceRequest { namespace_name: name.to_owned() };
        let answer: pb::ListTableNamesByNamespaceResponse =
            self.ask(subject.clone(), "ListTableNamesByNamespace", &request).await?;
        self.names(subject, &answer.table_name)
    }

    fn scan_meta(&self, scan: Scan) -> RowStream {
        RowStream::new(self.cluster.clone(), TableName::meta(), scan)
    }

    /// A table's regions, in the order of their rows. Regions that no server holds are left out.
    ///
    /// # Errors
    /// NotFound if there is no such table.
    pub async fn regions(&self, name: &TableName) -> Result<Vec<RegionLocation>> {
        let subject = Subject::new("regions").table(name);
        let cluster = &self.cluster;
        if name.is_meta() {
            let request = pb::GetMetaRegionLocationsRequest {};
            let mut retry = Retry::new(cluster, subject);
            loop {
                let call = Call::new(protocol::service::REGISTRY, "GetMetaRegionLocations", &request);
                let answer = cluster.calls.ask_registry(call, retry.call_limit()).await;
                match answer.and_then(|reply| meta_regions(&reply.decode()?)) {
                    Ok(regions) => return Ok(regions),
                    Err(cause) => retry.again(cause).await?,
                }
            }
        }
        let mut rows = self.scan_meta(meta::table_scan(name));
        let fail = |cause| Retry::new(cluster, subject.clone()).fail(cause);
        let (mut found, mut regions) = (false, Vec::new());
        while let Some(row) = rows.next_row().await? {
            let Some(row) = RegionRow::from_cells(&row.cells).map_err(fail)? else { continue };
            found = true;
            if row.info.table != *name || row.info.offline || row.info.split {
                continue;
            }
            if let Some(server) = row.server {
                regions.push(RegionLocation { info: row.info, server, seqnum: row.seqnum.unwrap_or(0) });
            }
        }
        if !found && self.state_of(subject.clone(), name).await?.is_none() {
            return Err(fail(no_table(name)));
        }
        Ok(regions)
    }

    /// Calls the server of each of a table's regions.
    async fn each_region(
        &self,
        operation: &'static str,
        name: &TableName,
        request: impl Fn(Bytes) -> Call + Send + Sync,
    ) -> Result<()> {
        let regions = self.regions(name).await?;
        let calls = regions.into_iter().map(|region| {
            let call = request(region.info.region_name());
            self.call_region(operation, region, call)
        });
        futures::stream::iter(calls).buffer_unordered(SIDE_BY_SIDE).try_collect().await
    }

    /// Calls a region's server; follows the region if it moves.
    async fn call_region(&self, operation: &'static str, region: RegionLocation, call: Call) -> Result<()> {
        let cluster = &self.cluster;
        let table = region.info.table.clone();
        let mut retry = Retry::new(cluster, Subject::new(operation).table(&table).row(&region.info.start_key));
        let mut address = region.server.address();
        loop {
            // A flush or compaction takes as long as it takes.
            match cluster.calls.call(&address, call.clone(), retry.remaining()).await {
                Ok(_) => return Ok(()),
                Err(cause) => retry.again(cause).await?,
            }
            if let Ok(regions) = self.regions(&table).await
                && let Some(now) = regions.into_iter().find(|now| now.info == region.info)
            {
                address = now.server.address();
            }
        }
    }

    /// Writes a table's memtables to store files.
    ///
    /// # Errors
    /// NotFound, or Conflict if the table is disabled.
    pub async fn flush(&self, name: &TableName) -> Result<()> {
        self.refuse_disabled("flush", name).await?;
        self.each_region("flush", name, flush_call).await
    }

    /// Writes one region's memtables to store files.
    ///
    /// # Errors
    /// NotFound if no table has the region.
    pub async fn flush_region(&self, region_name: impl AsRef<[u8]>) -> Result<()> {
        let region = self.find_region("flush region", region_name.as_ref()).await?;
        let call = flush_call(region.info.region_name());
        self.call_region("flush region", region, call).await
    }

    /// Finds a region by its full or encoded name.
    async fn find_region(&self, operation: &'static str, name: &[u8]) -> Result<RegionLocation> {
        let fail = |cause| Retry::new(&self.cluster, Subject::new(operation)).fail(cause);
        let meta = RegionInfo::meta();
        if *name == meta.region_name()[..] || *name == *meta.encoded_name().as_bytes() {
            let regions = self.regions(&TableName::meta()).await?;
            return regions.into_iter().next().ok_or_else(|| fail(unknown_region(name)));
        }
        let mut scan = Scan::default();
        scan.selection.add_family(meta::INFO);
        if name.contains(&b',') {
            (scan.start_row, scan.stop_row) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(name));
            scan.include_stop_row = true;
        }
        let mut rows = self.scan_meta(scan);
        while let Some(row) = rows.next_row().await? {
            let Some(row) = RegionRow::from_cells(&row.cells).map_err(fail)? else { continue };
            if *name == row.info.region_name()[..] || *name == *row.info.encoded_name().as_bytes() {
                let server = row.server.ok_or_else(|| {
                    fail(RpcError::new(ErrorKind::NotServing, format!("region {} has no server", row.info)))
                })?;
                return Ok(RegionLocation { info: row.info, server, seqnum: row.seqnum.unwrap_or(0) });
            }
        }
        Err(fail(unknown_region(name)))
    }

    /// Asks for a compaction of a table or of one of its families; it goes on after the answer.
    ///
    /// # Errors
    /// NotFound, or Conflict if the table is disabled.
    pub async fn compact(&self, name: &TableName, family: Option<&[u8]>, major: bool) -> Result<()> {
        self.refuse_disabled("compact", name).await?;
        let family = family.map(Bytes::copy_from_slice);
        let request = |region: Bytes| {
            let region = region_specifier(region);
            let request = pb::CompactRegionRequest { region, major: Some(major), family: family.clone() };
            Call::new(ADMIN, "CompactRegion", &request)
        };
        self.each_region("compact", name, request).await
    }

    async fn refuse_disabled(&self, operation: &'static str, name: &TableName) -> Result<()> {
        let subject = Subject::new(operation).table(name);
        let cause = match self.state_of(subject.clone(), name).await? {
            Some(TableState::Disabled | TableState::Disabling) => {
                RpcError::of(ErrorKind::Conflict, "TableNotEnabledException", name.to_string())
            }
            None => no_table(name),
            Some(_) => return Ok(()),
        };
        Err(Retry::new(&self.cluster, subject).fail(cause))
    }

    /// The state of the cluster.
    pub async fn cluster_status(&self) -> Result<ClusterStatus> {
        let subject = Subject::new("cluster status");
        let request = pb::GetClusterStatusRequest::default();
        let answer: pb::GetClusterStatusResponse = self.ask(subject.clone(), "GetClusterStatus", &request).await?;
        status_from(answer.cluster_status, &self.cluster_id)
            .map_err(|cause| Retry::new(&self.cluster, subject).fail(cause))
    }
}

fn flush_call(region: Bytes) -> Call {
    let region = region_specifier(region);
    let request = pb::FlushRegionRequest { region, if_older_than_ts: None, write_flush_wal_marker: None, family: None };
    Call::new(ADMIN, "FlushRegion", &request)
}

fn meta_regions(answer: &pb::GetMetaRegionLocationsResponse) -> Result<Vec<RegionLocation>, RpcError> {
    let missing = || RpcError::new(ErrorKind::NotServing, "hbase:meta is not served yet");
    let primary = answer.meta_locations.iter().find(|one| one.region_info.replica_id() == 0).ok_or_else(missing)?;
    let server = server_name_from(primary.server_name.as_ref().ok_or_else(missing)?)?;
    let seqnum = u64::try_from(primary.seq_num).unwrap_or(0);
    Ok(vec![RegionLocation { info: RegionInfo::meta(), server, seqnum }])
}

fn status_from(status: pb::ClusterStatus, cluster_id: &str) -> Result<ClusterStatus, RpcError> {
    let master = status.master.as_ref().ok_or_else(|| {
        RpcError::of(ErrorKind::NotServing, "MasterNotRunningException", "the answer names no active master")
    })?;
    let servers = status
        .live_servers
        .into_iter()
        .map(|server| {
            let load = server.server_load;
            Ok(ServerLoad {
                name: server_name_from(&server.server)?,
                requests: load.number_of_requests(),
                total_requests: load.total_number_of_requests(),
                used_memory_mb: load.used_heap_mb(),
                max_memory_mb: load.max_heap_mb(),
                regions: load.region_loads.iter().map(region_load_from).collect(),
            })
        })
        .collect::<Result<Vec<_>, RpcError>>()?;
    let dead_servers = status.dead_servers.iter().map(server_name_from).collect::<Result<Vec<_>, _>>()?;
    Ok(ClusterStatus {
        cluster_id: status.cluster_id.map_or_else(|| cluster_id.to_owned(), |id| id.cluster_id),
        master: server_name_from(master)?,
        dead_servers,
        regions: servers.iter().map(|server| server.regions.len()).sum(),
        servers,
    })
}

fn region_load_from(load: &pb::RegionLoad) -> RegionLoad {
    RegionLoad {
        name: load.region_specifier.value.clone(),
        stores: load.stores(),
        store_files: load.storefiles(),
        store_files_mb: load.storefile_size_mb(),
        memtable_mb: load.mem_store_size_mb(),
        read_requests: load.read_requests_count(),
        write_requests: load.write_requests_count(),
    }
}

fn no_table(name: &TableName) -> RpcError {
    RpcError::of(ErrorKind::NotFound, "TableNotFoundException", name.to_string())
}

fn unknown_region(name: &[u8]) -> RpcError {
    RpcError::of(ErrorKind::NotFound, "UnknownRegionException", name.escape_ascii().to_string())
}

fn namespace_to(namespace: &Namespace) -> pb::NamespaceDescriptor {
    let pair = |(name, value): (&String, &String)| pb::NameStringPair { name: name.clone(), value: value.clone() };
    pb::NamespaceDescriptor {
        name: namespace.name.clone().into(),
        configuration: namespace.properties.iter().map(pair).collect(),
    }
}

fn namespace_from(message: &pb::NamespaceDescriptor) -> Namespace {
    Namespace {
        name: String::from_utf8_lossy(&message.name).into_owned(),
        properties: message.configuration.iter().map(|pair| (pair.name.clone(), pair.value.clone())).collect(),
    }
}

/// What a failed procedure says.
fn failure_of(exception: pb::ForeignExceptionMessage) -> RpcError {
    let Some(exception) = exception.generic_exception else {
        return RpcError::new(ErrorKind::Internal, "the change failed; the master does not say why");
    };
    RpcError::received(&exception.class_name.unwrap_or_default(), exception.message.unwrap_or_default(), true)
}
