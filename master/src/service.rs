//! Calls by name.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use model::region::RegionInfo;
use model::schema::{TableDescriptor, TableName};
use protocol::messages as pb;
use protocol::messages::security_capabilities_response::Capability;
use protocol::meta::server_name_to;
use protocol::schema::{
    family_from, namespace_from, namespace_to, region_info_to, table_from, table_name_from, table_name_to, table_to,
};
use protocol::service::{Call, MASTER, REGISTRY, Reply, RpcError, Service};
use protocol::status::cluster_to;

use crate::master::Master;
use crate::requests::{Change, Origin};
use crate::status::Wanted;

type Result<T> = std::result::Result<T, RpcError>;

/// The answer to a request of a schema change: the procedure's id.
macro_rules! started {
    ($response:ident, $id:expr) => {
        Ok(Reply::new(&pb::$response { proc_id: Some($id?) }))
    };
}

fn origin(call: &Call, group: Option<u64>, nonce: Option<u64>) -> Origin {
    Origin { nonce: (group.unwrap_or(0), nonce.unwrap_or(0)), timeout: call.timeout }
}

fn names(tables: &[TableDescriptor]) -> Vec<pb::TableName> {
    tables.iter().map(|table| table_name_to(&table.name)).collect()
}

fn schemas(tables: &[TableDescriptor]) -> Vec<pb::TableSchema> {
    tables.iter().map(table_to).collect()
}

impl Master {
    fn registry(&self, call: &Call) -> Result<Reply> {
        let server = || server_name_to(&self.server);
        let leads = !self.shutdown.is_signalled();
        Ok(match call.method.as_str() {
            "GetClusterId" => {
                let cluster_id = Some(self.leadership.cluster_id.clone());
                Reply::new(&pb::GetClusterIdResponse { cluster_id })
            }
            "GetActiveMaster" => Reply::new(&pb::GetActiveMasterResponse { server_name: leads.then(server) }),
            "GetMasters" => {
                let entry = pb::GetMastersResponseEntry { server_name: server(), is_active: leads };
                Reply::new(&pb::GetMastersResponse { master_servers: vec![entry] })
            }
            "GetMetaRegionLocations" => {
                let seq_num = i64::try_from(self.meta_seqnum.load(Ordering::Acquire)).unwrap_or(i64::MAX);
                let region_info = region_info_to(&RegionInfo::meta());
                let location = pb::RegionLocation { region_info, server_name: Some(server()), seq_num };
                Reply::new(&pb::GetMetaRegionLocationsResponse { meta_locations: vec![location] })
            }
            "GetBootstrapNodes" => Reply::new(&pb::GetBootstrapNodesResponse { server_name: vec![server()] }),
            _ => return Err(call.unknown()),
        })
    }

    async fn change(&self, call: &Call) -> Result<Reply> {
        match call.method.as_str() {
            "CreateTable" => {
                let request: pb::CreateTableRequest = call.decode()?;
                let (table, origin) =
                    (table_from(&request.table_schema)?, origin(call, request.nonce_group, request.nonce));
                started!(CreateTableResponse, self.create_table(table, request.split_keys, origin).await)
            }
            "DeleteTable" => {
                let request: pb::DeleteTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(DeleteTableResponse, self.delete_table(name, origin).await)
            }
            "truncateTable" => {
                let request: pb::TruncateTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(TruncateTableResponse, self.truncate_table(name, request.preserve_splits(), origin).await)
            }
            "EnableTable" => {
                let request: pb::EnableTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(EnableTableResponse, self.enable_table(name, origin).await)
            }
            "DisableTable" => {
                let request: pb::DisableTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(DisableTableResponse, self.disable_table(name, origin).await)
            }
            "ModifyTable" => {
                let request: pb::ModifyTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let change = Change::Whole(Box::new(table_from(&request.table_schema)?));
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(ModifyTableResponse, self.modify_table(name, change, origin).await)
            }
            "AddColumn" => {
                let request: pb::AddColumnRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let change = Change::Add(family_from(&request.column_families)?);
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(AddColumnResponse, self.modify_table(name, change, origin).await)
            }
            "ModifyColumn" => {
                let request: pb::ModifyColumnRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let change = Change::Modify(family_from(&request.column_families)?);
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(ModifyColumnResponse, self.modify_table(name, change, origin).await)
            }
            "DeleteColumn" => {
                let request: pb::DeleteColumnRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(
                    DeleteColumnResponse,
                    self.modify_table(name, Change::Delete(request.column_name), origin).await
                )
            }
            "FlushTable" => {
                let request: pb::FlushTableRequest = call.decode()?;
                let name = table_name_from(&request.table_name)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(FlushTableResponse, self.flush_table(name, origin).await)
            }
            "CreateNamespace" => {
                let request: pb::CreateNamespaceRequest = call.decode()?;
                let namespace = namespace_from(&request.namespace_descriptor)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(CreateNamespaceResponse, self.create_namespace(namespace, origin).await)
            }
            "ModifyNamespace" => {
                let request: pb::ModifyNamespaceRequest = call.decode()?;
                let namespace = namespace_from(&request.namespace_descriptor)?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(ModifyNamespaceResponse, self.modify_namespace(namespace, origin).await)
            }
            "DeleteNamespace" => {
                let request: pb::DeleteNamespaceRequest = call.decode()?;
                let origin = origin(call, request.nonce_group, request.nonce);
                started!(DeleteNamespaceResponse, self.delete_namespace(request.namespace_name, origin).await)
            }
            _ => self.look(call).await,
        }
    }

    /// What changes nothing that is stored.
    async fn look(&self, call: &Call) -> Result<Reply> {
        let named = |name: &pb::TableName| -> Result<TableName> { Ok(table_name_from(name)?) };
        Ok(match call.method.as_str() {
            "getProcedureResult" => {
                let request: pb::GetProcedureResultRequest = call.decode()?;
                Reply::new(&self.procedure_result(request.proc_id))
            }
            "GetProcedures" => Reply::new(&pb::GetProceduresResponse { procedure: self.procedures() }),
            "GetLocks" => Reply::new(&pb::GetLocksResponse { lock: self.locks() }),
            "AbortProcedure" => {
                // A change that is under way is finished or gives up by itself.
                Reply::new(&pb::AbortProcedureResponse { is_procedure_aborted: false })
            }
            "GetTableDescriptors" => {
                let request: pb::GetTableDescriptorsRequest = call.decode()?;
                let tables = if request.table_names.is_empty() {
                    let with_system = request.include_sys_tables();
                    self.list(&Wanted { pattern: request.regex, namespace: request.namespace, with_system })?
                } else {
                    self.descriptors(&request.table_names.iter().map(named).collect::<Result<Vec<_>>>()?)?
                };
                Reply::new(&pb::GetTableDescriptorsResponse { table_schema: schemas(&tables) })
            }
            "GetTableNames" => {
                let request: pb::GetTableNamesRequest = call.decode()?;
                let with_system = request.include_sys_tables();
                let tables =
                    self.list(&Wanted { pattern: request.regex, namespace: request.namespace, with_system })?;
                Reply::new(&pb::GetTableNamesResponse { table_names: names(&tables) })
            }
            "ListTableDescriptorsByState" => {
                let request: pb::ListTableDescriptorsByStateRequest = call.decode()?;
                let table_schema = schemas(&self.list_by_state(request.is_enabled));
                Reply::new(&pb::ListTableDescriptorsByStateResponse { table_schema })
            }
            "ListTableNamesByState" => {
                let request: pb::ListTableNamesByStateRequest = call.decode()?;
                let table_names = names(&self.list_by_state(request.is_enabled));
                Reply::new(&pb::ListTableNamesByStateResponse { table_names })
            }
            "GetTableState" => {
                let request: pb::GetTableStateRequest = call.decode()?;
                let table_state = self.table_state(&named(&request.table_name)?)?.to_message();
                Reply::new(&pb::GetTableStateResponse { table_state })
            }
            "GetSchemaAlterStatus" => {
                let request: pb::GetSchemaAlterStatusRequest = call.decode()?;
                let (waiting, total) = self.alter_status(&named(&request.table_name)?)?;
                let (yet_to_update_regions, total_regions) = (Some(waiting), Some(total));
                Reply::new(&pb::GetSchemaAlterStatusResponse { yet_to_update_regions, total_regions })
            }
            "GetNamespaceDescriptor" => {
                let request: pb::GetNamespaceDescriptorRequest = call.decode()?;
                let namespace_descriptor = namespace_to(&self.namespace(&request.namespace_name)?);
                Reply::new(&pb::GetNamespaceDescriptorResponse { namespace_descriptor })
            }
            "ListNamespaceDescriptors" => {
                let namespace_descriptor = self.namespaces().iter().map(namespace_to).collect();
                Reply::new(&pb::ListNamespaceDescriptorsResponse { namespace_descriptor })
            }
            "ListNamespaces" => {
                let namespace_name = self.namespaces().into_iter().map(|namespace| namespace.name).collect();
                Reply::new(&pb::ListNamespacesResponse { namespace_name })
            }
            "ListTableDescriptorsByNamespace" => {
                let request: pb::ListTableDescriptorsByNamespaceRequest = call.decode()?;
                let table_schema = schemas(&self.list_of_namespace(request.namespace_name)?);
                Reply::new(&pb::ListTableDescriptorsByNamespaceResponse { table_schema })
            }
            "ListTableNamesByNamespace" => {
                let request: pb::ListTableNamesByNamespaceRequest = call.decode()?;
                let table_name = names(&self.list_of_namespace(request.namespace_name)?);
                Reply::new(&pb::ListTableNamesByNamespaceResponse { table_name })
            }
            "GetClusterStatus" => {
                let request: pb::GetClusterStatusRequest = call.decode()?;
                let cluster_status = cluster_to(&self.cluster_status().await, &request.options);
                Reply::new(&pb::GetClusterStatusResponse { cluster_status })
            }
            "IsMasterInMaintenanceMode" => Reply::new(&pb::IsInMaintenanceModeResponse { in_maintenance_mode: false }),
            "IsBalancerEnabled" => {
                Reply::new(&pb::IsBalancerEnabledResponse { enabled: self.balancer.load(Ordering::Acquire) })
            }
            "SetBalancerRunning" => {
                let request: pb::SetBalancerRunningRequest = call.decode()?;
                let prev_balance_value = Some(self.balancer.swap(request.on, Ordering::AcqRel));
                Reply::new(&pb::SetBalancerRunningResponse { prev_balance_value })
            }
            // One server holds all regions: there is never a move.
            "Balance" => Reply::new(&pb::BalanceResponse {
                balancer_ran: self.balancer.load(Ordering::Acquire),
                moves_calculated: Some(0),
                moves_executed: Some(0),
            }),
            "getSecurityCapabilities" => {
                let capabilities = vec![Capability::SimpleAuthentication.into()];
                Reply::new(&pb::SecurityCapabilitiesResponse { capabilities })
            }
            "GetCompletedSnapshots" => Reply::new(&pb::GetCompletedSnapshotsResponse::default()),
            "ListDecommissionedRegionServers" => Reply::new(&pb::ListDecommissionedRegionServersResponse::default()),
            _ => return Err(call.unknown()),
        })
    }

    fn list_of_namespace(&self, namespace: String) -> Result<Vec<TableDescriptor>> {
        self.namespace(&namespace)?;
        self.list(&Wanted { namespace: Some(namespace), with_system: true, pattern: None })
    }
}

#[async_trait]
impl Service for Master {
    async fn call(&self, call: Call) -> Result<Reply> {
        match call.service.as_str() {
            REGISTRY => self.registry(&call),
            MASTER if call.method == "IsMasterRunning" => {
                let is_master_running = !self.shutdown.is_signalled();
                Ok(Reply::new(&pb::IsMasterRunningResponse { is_master_running }))
            }
            MASTER => {
                self.check_running()?;
                self.change(&call).await
            }
            _ => Err(call.unknown()),
        }
    }
}
