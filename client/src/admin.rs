//! Schema changes, namespaces, regions and the state of the cluster.
//!
//! Always true
//! - A schema change carries a nonce, so that a retry does not do it twice; the method returns when it has happened.
//! - Whether a table exists and is enabled is read from META, everything else about schemas from the master.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use model::ErrorKind;
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{Namespace, TableDescriptor, TableName};
use prost::Message;
use protocol::messages as pb;
use protocol::meta::{self, RegionRow, ServerName, TableState, meta_descriptor, server_name_from};
use protocol::schema::{
    namespace_from, namespace_to, region_specifier, table_from, table_name_from, table_name_to, table_to,
};
use protocol::service::{ADMIN, Call, MASTER, REGISTRY, RpcError};
use protocol::status::{ClusterStatus, cluster_from};

use crate::Result;
use crate::error::{ClientError, Effect, Subject};
use crate::location::Cluster;
use crate::retry::Retry;
use crate::scan::RowStream;

/// Servers or regions asked at the same time.
const SIDE_BY_SIDE: usize = 16;

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

/// Administers a cluster. Cheap to clone; made by [`Connection::admin`](crate::Connection::admin).
///
/// A schema change is sent within the connection's timeout; once the master has accepted it, the method waits for its end
/// within [`procedure_timeout`](crate::ConnectionBuilder::procedure_timeout). A change that was accepted goes on even if nobody waits.
///
/// ```no_run
/// # use ferrobase_client as client;
/// # use client::split::{SplitAlgorithm, split_keys};
/// # use model::schema::{FamilyDescriptor, TableDescriptor};
/// # async fn example(connection: client::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let admin = connection.admin();
/// let table = TableDescriptor::new("events".parse()?)
///     .with_family(FamilyDescriptor::new("d").with("VERSIONS", "1").with("COMPRESSION", "ZSTD"));
/// admin.create_table(&table, &split_keys(SplitAlgorithm::HexString, 16)?).await?;
/// for region in admin.regions(&table.name).await? {
///     println!("{} on {}", region.info, region.server);
/// }
/// admin.disable_table(&table.name).await?;
/// admin.delete_table(&table.name).await?;
/// # Ok(())
/// # }
/// ```
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

    /// An operation that begins now. Whatever it takes shares one deadline.
    fn subject(&self, operation: &'static str, effect: Effect) -> Subject {
        let calls = &self.cluster.calls;
        Subject::new(operation, effect).until(calls.now() + calls.settings.timeout)
    }

    fn fail(&self, subject: &Subject, cause: impl Into<RpcError>) -> ClientError {
        ClientError::new(subject.clone(), 1, false, cause.into())
    }

    /// Asks the master, again and again while that can help.
    async fn ask<A: Message + Default>(&self, subject: &Subject, method: &str, request: &impl Message) -> Result<A> {
        let cluster = &self.cluster;
        let mut retry = Retry::new(cluster, subject.clone());
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
        let subject = subject.until(cluster.calls.now() + cluster.calls.settings.procedure_timeout);
        let retry = Retry::new(cluster, subject.clone());
        // Fast changes are over in milliseconds: the first pauses are short.
        let mut pause = Duration::from_millis(5).min(cluster.calls.settings.pause);
        while let Some(id) = procedure {
            let request = pb::GetProcedureResultRequest { proc_id: id };
            let answer: pb::GetProcedureResultResponse = self.ask(&subject, "getProcedureResult", &request).await?;
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
            self.pause(&mut pause, &retry, "the change is still under way").await?;
        }
        // No procedure, or one that the master has forgotten: META shows whether it happened.
        loop {
            let table = match (outcome, &subject.table) {
                (Outcome::Hidden, _) | (_, None) => return Ok(()),
                (_, Some(table)) => table,
            };
            let state = self.state_of(&subject, table).await?;
            let done = match outcome {
                Outcome::State(wanted) => state == Some(wanted),
                Outcome::Gone | Outcome::Hidden => state.is_none(),
            };
            if done {
                return Ok(());
            }
            self.pause(&mut pause, &retry, "META does not show the change yet").await?;
        }
    }

    async fn pause(&self, pause: &mut Duration, retry: &Retry, why: &str) -> Result<()> {
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
        let subject = self.subject("create table", Effect::Once).table(&table.name);
        let (nonce_group, nonce) = self.nonces();
        let table_schema = table_to(table);
        let request = pb::CreateTableRequest { table_schema, split_keys: splits.to_vec(), nonce_group, nonce };
        let answer: pb::CreateTableResponse = self.ask(&subject, "CreateTable", &request).await?;
        self.cluster.forget_table(&table.name);
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await
    }

    /// Deletes a disabled table.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn delete_table(&self, name: &TableName) -> Result<()> {
        let subject = self.subject("delete table", Effect::Once).table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DeleteTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::DeleteTableResponse = self.ask(&subject, "DeleteTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Gone).await?;
        self.cluster.forget_table(name);
        Ok(())
    }

    /// Empties a disabled table and enables it, with its regions as they were or with one.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn truncate_table(&self, name: &TableName, preserve_splits: bool) -> Result<()> {
        let subject = self.subject("truncate table", Effect::Once).table(name);
        let (nonce_group, nonce) = self.nonces();
        let preserve_splits = Some(preserve_splits);
        let request = pb::TruncateTableRequest { table_name: table_name_to(name), preserve_splits, nonce_group, nonce };
        let answer: pb::TruncateTableResponse = self.ask(&subject, "truncateTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await?;
        self.cluster.forget_table(name);
        Ok(())
    }

    /// Puts a disabled table into service.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not disabled.
    pub async fn enable_table(&self, name: &TableName) -> Result<()> {
        let subject = self.subject("enable table", Effect::Once).table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::EnableTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::EnableTableResponse = self.ask(&subject, "EnableTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Enabled)).await
    }

    /// Takes an enabled table out of service.
    ///
    /// # Errors
    /// NotFound, or Conflict if it is not enabled.
    pub async fn disable_table(&self, name: &TableName) -> Result<()> {
        let subject = self.subject("disable table", Effect::Once).table(name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DisableTableRequest { table_name: table_name_to(name), nonce_group, nonce };
        let answer: pb::DisableTableResponse = self.ask(&subject, "DisableTable", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::State(TableState::Disabled)).await
    }

    async fn state_of(&self, subject: &Subject, name: &TableName) -> Result<Option<TableState>> {
        let cluster = &self.cluster;
        if name.is_meta() {
            return Ok(Some(TableState::Enabled));
        }
        let mut retry = Retry::new(cluster, subject.clone());
        loop {
            match cluster.table_state(name, retry.call_limit()).await {
                Ok(state) => return Ok(state),
                Err(cause) => retry.again(cause).await?,
            }
        }
    }

    /// The table's state; `None` if it does not exist.
    pub async fn table_state(&self, name: &TableName) -> Result<Option<TableState>> {
        self.state_of(&self.subject("table state", Effect::Read).table(name), name).await
    }

    /// Whether the table is enabled.
    ///
    /// # Errors
    /// NotFound if there is no such table.
    pub async fn is_enabled(&self, name: &TableName) -> Result<bool> {
        let subject = self.subject("is enabled", Effect::Read).table(name);
        match self.state_of(&subject, name).await? {
            Some(state) => Ok(state == TableState::Enabled),
            None => Err(self.fail(&subject, no_table(name))),
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
        let subject = self.subject("modify table", Effect::Once).table(&table.name);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::ModifyTableRequest {
            table_name: table_name_to(&table.name),
            table_schema: table_to(table),
            nonce_group,
            nonce,
            reopen_regions: None,
        };
        let answer: pb::ModifyTableResponse = self.ask(&subject, "ModifyTable", &request).await?;
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
        let subject = self.subject("descriptor", Effect::Read).table(name);
        let request = pb::GetTableDescriptorsRequest {
            table_names: vec![table_name_to(name)],
            ..pb::GetTableDescriptorsRequest::default()
        };
        let answer: pb::GetTableDescriptorsResponse = self.ask(&subject, "GetTableDescriptors", &request).await?;
        match answer.table_schema.first() {
            Some(schema) => table_from(schema).map_err(|error| self.fail(&subject, error)),
            None => Err(self.fail(&subject, no_table(name))),
        }
    }

    /// Names of user tables, sorted; with a pattern those whose whole name matches the regular expression.
    pub async fn tables(&self, pattern: Option<&str>) -> Result<Vec<TableName>> {
        self.tables_like(pattern, false).await
    }

    /// As [`Admin::tables`], with those of the system.
    pub async fn all_tables(&self, pattern: Option<&str>) -> Result<Vec<TableName>> {
        self.tables_like(pattern, true).await
    }

    async fn tables_like(&self, pattern: Option<&str>, with_system: bool) -> Result<Vec<TableName>> {
        let subject = self.subject("tables", Effect::Read);
        let include_sys_tables = Some(with_system);
        let request =
            pb::GetTableNamesRequest { regex: pattern.map(str::to_owned), include_sys_tables, ..Default::default() };
        let answer: pb::GetTableNamesResponse = self.ask(&subject, "GetTableNames", &request).await?;
        self.names(&subject, &answer.table_names)
    }

    fn names(&self, subject: &Subject, names: &[pb::TableName]) -> Result<Vec<TableName>> {
        let mut names = names
            .iter()
            .map(table_name_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.fail(subject, error))?;
        names.sort();
        Ok(names)
    }

    /// Descriptors of user tables, sorted by name; with a pattern those whose whole name matches the regular expression.
    pub async fn descriptors(&self, pattern: Option<&str>) -> Result<Vec<TableDescriptor>> {
        let subject = self.subject("descriptors", Effect::Read);
        let request = pb::GetTableDescriptorsRequest { regex: pattern.map(str::to_owned), ..Default::default() };
        let answer: pb::GetTableDescriptorsResponse = self.ask(&subject, "GetTableDescriptors", &request).await?;
        let mut tables = answer
            .table_schema
            .iter()
            .map(table_from)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.fail(&subject, error))?;
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tables)
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// Exists.
    pub async fn create_namespace(&self, namespace: &Namespace) -> Result<()> {
        let subject = self.subject("create namespace", Effect::Once);
        let (nonce_group, nonce) = self.nonces();
        let namespace_descriptor = namespace_to(namespace);
        let request = pb::CreateNamespaceRequest { namespace_descriptor, nonce_group, nonce };
        let answer: pb::CreateNamespaceResponse = self.ask(&subject, "CreateNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// Gives a namespace new settings, in place of all old ones.
    ///
    /// # Errors
    /// NotFound.
    pub async fn modify_namespace(&self, namespace: &Namespace) -> Result<()> {
        let subject = self.subject("modify namespace", Effect::Once);
        let (nonce_group, nonce) = self.nonces();
        let namespace_descriptor = namespace_to(namespace);
        let request = pb::ModifyNamespaceRequest { namespace_descriptor, nonce_group, nonce };
        let answer: pb::ModifyNamespaceResponse = self.ask(&subject, "ModifyNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// Deletes an empty namespace.
    ///
    /// # Errors
    /// NotFound, or Invalid if it holds tables.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let subject = self.subject("delete namespace", Effect::Once);
        let (nonce_group, nonce) = self.nonces();
        let request = pb::DeleteNamespaceRequest { namespace_name: name.to_owned(), nonce_group, nonce };
        let answer: pb::DeleteNamespaceResponse = self.ask(&subject, "DeleteNamespace", &request).await?;
        self.finish(subject, answer.proc_id, Outcome::Hidden).await
    }

    /// A namespace.
    ///
    /// # Errors
    /// NotFound.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        let request = pb::GetNamespaceDescriptorRequest { namespace_name: name.to_owned() };
        let subject = self.subject("namespace", Effect::Read);
        let answer: pb::GetNamespaceDescriptorResponse = self.ask(&subject, "GetNamespaceDescriptor", &request).await?;
        namespace_from(&answer.namespace_descriptor).map_err(|error| self.fail(&subject, error))
    }

    /// All namespaces, sorted by name.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>> {
        let request = pb::ListNamespaceDescriptorsRequest {};
        let subject = self.subject("namespaces", Effect::Read);
        let answer: pb::ListNamespaceDescriptorsResponse =
            self.ask(&subject, "ListNamespaceDescriptors", &request).await?;
        let all = answer.namespace_descriptor.iter().map(namespace_from).collect::<Result<Vec<_>, _>>();
        let mut all = all.map_err(|error| self.fail(&subject, error))?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Names of a namespace's tables, sorted.
    ///
    /// # Errors
    /// NotFound.
    pub async fn tables_of_namespace(&self, name: &str) -> Result<Vec<TableName>> {
        let subject = self.subject("tables of namespace", Effect::Read);
        let request = pb::ListTableNamesByNamespaceRequest { namespace_name: name.to_owned() };
        let answer: pb::ListTableNamesByNamespaceResponse =
            self.ask(&subject, "ListTableNamesByNamespace", &request).await?;
        self.names(&subject, &answer.table_name)
    }

    fn scan_meta(&self, subject: &Subject, scan: Scan) -> RowStream {
        RowStream::new(self.cluster.clone(), subject.clone(), TableName::meta(), scan)
    }

    /// A table's regions, in the order of their rows. Regions that no server holds are left out.
    ///
    /// # Errors
    /// NotFound if there is no such table.
    pub async fn regions(&self, name: &TableName) -> Result<Vec<RegionLocation>> {
        self.regions_of(&self.subject("regions", Effect::Read).table(name), name).await
    }

    async fn regions_of(&self, subject: &Subject, name: &TableName) -> Result<Vec<RegionLocation>> {
        if name.is_meta() {
            return Ok(vec![self.meta_region(subject).await?]);
        }
        let mut rows = self.scan_meta(subject, meta::table_scan(name));
        let (mut found, mut regions) = (false, Vec::new());
        while let Some(row) = rows.next_row().await? {
            let row = RegionRow::from_cells(&row.cells).map_err(|cause| self.fail(subject, cause))?;
            let Some(row) = row else { continue };
            found = true;
            if row.info.table != *name || row.info.offline || row.info.split {
                continue;
            }
            if let Some(server) = row.server {
                regions.push(RegionLocation { info: row.info, server, seqnum: row.seqnum.unwrap_or(0) });
            }
        }
        if !found && self.state_of(subject, name).await?.is_none() {
            return Err(self.fail(subject, no_table(name)));
        }
        Ok(regions)
    }

    async fn meta_region(&self, subject: &Subject) -> Result<RegionLocation> {
        let mut retry = Retry::new(&self.cluster, subject.clone());
        loop {
            let call = Call::new(REGISTRY, "GetMetaRegionLocations", &pb::GetMetaRegionLocationsRequest {});
            let answer = self.cluster.calls.ask_registry(call, retry.call_limit()).await;
            match answer.and_then(|reply| meta_region_from(&reply.decode()?)) {
                Ok(region) => return Ok(region),
                Err(cause) => retry.again(cause).await?,
            }
        }
    }

    /// Calls the server of each of a table's regions.
    async fn each_region(
        &self,
        subject: &Subject,
        name: &TableName,
        request: impl Fn(Bytes) -> Call + Send + Sync,
    ) -> Result<()> {
        let regions = self.regions_of(subject, name).await?;
        let calls = regions.into_iter().map(|region| {
            let call = request(region.info.region_name());
            self.call_region(subject, region, call)
        });
        futures::stream::iter(calls).buffer_unordered(SIDE_BY_SIDE).try_collect().await
    }

    /// Calls a region's server; follows the region if it moves.
    async fn call_region(&self, subject: &Subject, region: RegionLocation, call: Call) -> Result<()> {
        let cluster = &self.cluster;
        let table = &region.info.table;
        let subject = subject.clone().table(table).row(&region.info.start_key);
        let mut retry = Retry::new(cluster, subject.clone());
        let mut address = region.server.address();
        loop {
            // A flush or compaction takes as long as it takes.
            match cluster.calls.call(&address, call.clone(), retry.remaining()).await {
                Ok(_) => return Ok(()),
                Err(cause) => retry.again(cause).await?,
            }
            if let Ok(regions) = self.regions_of(&subject, table).await
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
        let subject = self.subject("flush", Effect::Repeatable).table(name);
        self.refuse_disabled(&subject, name).await?;
        self.each_region(&subject, name, flush_call).await
    }

    /// Writes one region's memtables to store files. The region is named in full or by its encoded name.
    ///
    /// # Errors
    /// NotFound if no table has the region.
    pub async fn flush_region(&self, region_name: impl AsRef<[u8]>) -> Result<()> {
        let subject = self.subject("flush region", Effect::Repeatable);
        let region = self.find_region(&subject, region_name.as_ref()).await?;
        let call = flush_call(region.info.region_name());
        self.call_region(&subject, region, call).await
    }

    /// Finds a region by its full or encoded name.
    async fn find_region(&self, subject: &Subject, name: &[u8]) -> Result<RegionLocation> {
        let meta = RegionInfo::meta();
        if *name == meta.region_name()[..] || *name == *meta.encoded_name().as_bytes() {
            return self.meta_region(subject).await;
        }
        let mut scan = Scan::default();
        scan.selection.add_family(meta::INFO);
        if name.contains(&b',') {
            (scan.start_row, scan.stop_row) = (Bytes::copy_from_slice(name), Bytes::copy_from_slice(name));
            scan.include_stop_row = true;
        }
        let mut rows = self.scan_meta(subject, scan);
        while let Some(row) = rows.next_row().await? {
            let row = RegionRow::from_cells(&row.cells).map_err(|cause| self.fail(subject, cause))?;
            let Some(row) = row else { continue };
            if *name == row.info.region_name()[..] || *name == *row.info.encoded_name().as_bytes() {
                let nowhere = || RpcError::new(ErrorKind::NotServing, format!("region {} has no server", row.info));
                let server = row.server.ok_or_else(|| self.fail(subject, nowhere()))?;
                return Ok(RegionLocation { info: row.info, server, seqnum: row.seqnum.unwrap_or(0) });
            }
        }
        let cause =
            RpcError::of(ErrorKind::NotFound, "UnknownRegionException", format!("no region `{}`", name.escape_ascii()));
        Err(self.fail(subject, cause))
    }

    /// Asks for a compaction of a table or of one of its families; it goes on after the answer.
    ///
    /// # Errors
    /// NotFound, or Conflict if the table is disabled.
    pub async fn compact(&self, name: &TableName, family: Option<&[u8]>, major: bool) -> Result<()> {
        let subject = self.subject("compact", Effect::Repeatable).table(name);
        self.refuse_disabled(&subject, name).await?;
        self.each_region(&subject, name, |region| compact_call(region, family, major)).await
    }

    /// Asks for a compaction of a region or of one of its families. The region is named in full or by its encoded name.
    ///
    /// # Errors
    /// NotFound if no table has the region.
    pub async fn compact_region(
        &self,
        region_name: impl AsRef<[u8]>,
        family: Option<&[u8]>,
        major: bool,
    ) -> Result<()> {
        let subject = self.subject("compact region", Effect::Repeatable);
        let region = self.find_region(&subject, region_name.as_ref()).await?;
        let call = compact_call(region.info.region_name(), family, major);
        self.call_region(&subject, region, call).await
    }

    async fn refuse_disabled(&self, subject: &Subject, name: &TableName) -> Result<()> {
        let cause = match self.state_of(subject, name).await? {
            Some(TableState::Disabled | TableState::Disabling) => {
                self.cluster.disabled_because(name, self.cluster.calls.settings.call_timeout).await
            }
            None => no_table(name),
            Some(_) => return Ok(()),
        };
        Err(self.fail(subject, cause))
    }

    /// The state of the cluster.
    ///
    /// # Errors
    /// No master answered in time.
    pub async fn cluster_status(&self) -> Result<ClusterStatus> {
        let subject = self.subject("cluster status", Effect::Read);
        let request = pb::GetClusterStatusRequest::default();
        let answer: pb::GetClusterStatusResponse = self.ask(&subject, "GetClusterStatus", &request).await?;
        let mut status = cluster_from(&answer.cluster_status).map_err(|error| self.fail(&subject, error))?;
        if status.cluster_id.is_empty() {
            status.cluster_id = self.cluster_id.as_ref().to_owned();
        }
        Ok(status)
    }
}

fn flush_call(region: Bytes) -> Call {
    let region = region_specifier(region);
    let request = pb::FlushRegionRequest { region, if_older_than_ts: None, write_flush_wal_marker: None, family: None };
    Call::new(ADMIN, "FlushRegion", &request)
}

fn compact_call(region: Bytes, family: Option<&[u8]>, major: bool) -> Call {
    let (region, family) = (region_specifier(region), family.map(Bytes::copy_from_slice));
    Call::new(ADMIN, "CompactRegion", &pb::CompactRegionRequest { region, major: Some(major), family })
}

fn meta_region_from(answer: &pb::GetMetaRegionLocationsResponse) -> Result<RegionLocation, RpcError> {
    let missing = || RpcError::new(ErrorKind::NotServing, "hbase:meta is not served yet");
    let primary = answer.meta_locations.iter().find(|one| one.region_info.replica_id() == 0).ok_or_else(missing)?;
    let server = server_name_from(primary.server_name.as_ref().ok_or_else(missing)?)?;
    let seqnum = u64::try_from(primary.seq_num).unwrap_or(0);
    Ok(RegionLocation { info: RegionInfo::meta(), server, seqnum })
}

fn no_table(name: &TableName) -> RpcError {
    RpcError::of(ErrorKind::NotFound, "TableNotFoundException", name.to_string())
}

/// What a failed procedure says.
fn failure_of(exception: pb::ForeignExceptionMessage) -> RpcError {
    let Some(exception) = exception.generic_exception else {
        return RpcError::new(ErrorKind::Internal, "the change failed; the master does not say why");
    };
    RpcError::received(&exception.class_name.unwrap_or_default(), exception.message.unwrap_or_default(), true)
}
