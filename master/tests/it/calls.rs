//! What stock clients ask for in calls of their own.

use std::sync::Arc;

use filesystem::memory::MemoryFilesystem;
use model::ErrorKind;
use model::schema::FamilyDescriptor;
use prost::Message;
use protocol::messages as pb;
use protocol::messages::get_procedure_result_response::State;
use protocol::schema::{family_to, table_from, table_name_to, table_to};
use protocol::service::{Call, MASTER, REGISTRY, RpcError};

use crate::cluster::{Cluster, described, name};

impl Cluster {
    async fn ask<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A, RpcError> {
        self.service.call(Call::new(MASTER, method, request)).await?.decode()
    }

    /// Polls a procedure to its end.
    async fn outcome(&self, id: u64) -> pb::GetProcedureResultResponse {
        loop {
            let request = pb::GetProcedureResultRequest { proc_id: id };
            let answer: pb::GetProcedureResultResponse =
                self.ask("getProcedureResult", &request).await.expect("answer");
            if answer.state() != State::Running {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn cluster() -> Cluster {
    Cluster::start(Arc::new(MemoryFilesystem::new())).await
}

fn create(table: &str, nonce: u64) -> pb::CreateTableRequest {
    let table_schema = table_to(&described(table));
    pb::CreateTableRequest { table_schema, split_keys: Vec::new(), nonce_group: Some(7), nonce: Some(nonce) }
}

#[tokio::test]
async fn a_request_with_a_nonce_happens_once() {
    let cluster = cluster().await;
    let first: pb::CreateTableResponse = cluster.ask("CreateTable", &create("t", 5)).await.expect("create");
    let again: pb::CreateTableResponse = cluster.ask("CreateTable", &create("t", 5)).await.expect("the same");
    assert_eq!(first.proc_id, again.proc_id);
    let id = first.proc_id.expect("id");
    assert_eq!(cluster.outcome(id).await.state(), State::Finished);
    let other: Result<pb::CreateTableResponse, _> = cluster.ask("CreateTable", &create("t", 6)).await;
    assert_eq!(other.expect_err("exists").kind, ErrorKind::Exists);
    // Also by the next master.
    let cluster = Cluster::start(cluster.fs.clone()).await;
    let again: pb::CreateTableResponse = cluster.ask("CreateTable", &create("t", 5)).await.expect("the same");
    assert_eq!(again.proc_id, Some(id));
    let outcome = cluster.outcome(id).await;
    assert!(outcome.exception.is_none() && outcome.submitted_time() > 0);
    assert_eq!(cluster.outcome(99).await.state(), State::NotFound);
}

#[tokio::test]
async fn nonces_at_the_same_time_happen_once() {
    let cluster = Arc::new(cluster().await);
    let asks = (0..16).map(|_| {
        let cluster = cluster.clone();
        async move { cluster.ask::<pb::CreateTableResponse>("CreateTable", &create("t", 5)).await.expect("id").proc_id }
    });
    let ids = futures::future::join_all(asks).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test]
async fn families_are_added_changed_and_deleted_one_by_one() {
    let cluster = cluster().await;
    cluster.admin().await.create_table(&described("t"), &[]).await.expect("create");
    let table_name = table_name_to(&name("t"));
    let add = |family: &FamilyDescriptor| pb::AddColumnRequest {
        table_name: table_name.clone(),
        column_families: family_to(family),
        ..Default::default()
    };
    let h = FamilyDescriptor::new("h");
    let added: pb::AddColumnResponse = cluster.ask("AddColumn", &add(&h)).await.expect("add");
    assert!(cluster.outcome(added.proc_id.expect("id")).await.exception.is_none());
    let twice: Result<pb::AddColumnResponse, _> = cluster.ask("AddColumn", &add(&h)).await;
    assert_eq!(twice.expect_err("twice").short_class(), "InvalidFamilyOperationException");
    let h = h.with("VERSIONS", "9");
    let modify = |family: &FamilyDescriptor| pb::ModifyColumnRequest {
        table_name: table_name.clone(),
        column_families: family_to(family),
        ..Default::default()
    };
    let changed: pb::ModifyColumnResponse = cluster.ask("ModifyColumn", &modify(&h)).await.expect("modify");
    assert!(cluster.outcome(changed.proc_id.expect("id")).await.exception.is_none());
    let none: Result<pb::ModifyColumnResponse, _> =
        cluster.ask("ModifyColumn", &modify(&FamilyDescriptor::new("x"))).await;
    assert_eq!(none.expect_err("none").message, "table t has no column family x");
    for (family, works) in [("f", true), ("g", true), ("x", false), ("h", false)] {
        let column_name = family.as_bytes().into();
        let request = pb::DeleteColumnRequest { table_name: table_name.clone(), column_name, ..Default::default() };
        match cluster.ask::<pb::DeleteColumnResponse>("DeleteColumn", &request).await {
            Ok(answer) if works => assert!(cluster.outcome(answer.proc_id.expect("id")).await.exception.is_none()),
            Ok(_) => panic!("{family} was deleted"),
            Err(error) => assert!(!works && error.short_class() == "InvalidFamilyOperationException", "{error}"),
        }
    }
    let request = pb::GetTableDescriptorsRequest { table_names: vec![table_name.clone()], ..Default::default() };
    let answer: pb::GetTableDescriptorsResponse = cluster.ask("GetTableDescriptors", &request).await.expect("answer");
    let left = table_from(&answer.table_schema[0]).expect("schema");
    assert_eq!(left.families.into_values().collect::<Vec<_>>(), [h]);
    let request = pb::GetSchemaAlterStatusRequest { table_name };
    let answer: pb::GetSchemaAlterStatusResponse = cluster.ask("GetSchemaAlterStatus", &request).await.expect("answer");
    assert_eq!((answer.yet_to_update_regions(), answer.total_regions()), (0, 1));
}

#[tokio::test]
async fn states_status_and_small_questions_are_answered() {
    let cluster = cluster().await;
    let admin = cluster.admin().await;
    for table in ["t", "u"] {
        admin.create_table(&described(table), &[]).await.expect("create");
    }
    admin.disable_table(&name("u")).await.expect("disable");
    let state = async |table: &str| -> Result<i32, RpcError> {
        let request = pb::GetTableStateRequest { table_name: table_name_to(&name(table)) };
        Ok(cluster.ask::<pb::GetTableStateResponse>("GetTableState", &request).await?.table_state.state)
    };
    assert_eq!(state("t").await.expect("state"), pb::table_state::State::Enabled as i32);
    assert_eq!(state("u").await.expect("state"), pb::table_state::State::Disabled as i32);
    assert_eq!(state("hbase:meta").await.expect("state"), pb::table_state::State::Enabled as i32);
    assert_eq!(state("x").await.expect_err("none").short_class(), "TableNotFoundException");
    for (is_enabled, table) in [(true, "t"), (false, "u")] {
        let request = pb::ListTableNamesByStateRequest { is_enabled };
        let answer: pb::ListTableNamesByStateResponse =
            cluster.ask("ListTableNamesByState", &request).await.expect("answer");
        assert_eq!(answer.table_names, [table_name_to(&name(table))]);
    }
    let request = pb::GetTableNamesRequest { include_sys_tables: Some(true), ..Default::default() };
    let answer: pb::GetTableNamesResponse = cluster.ask("GetTableNames", &request).await.expect("answer");
    assert_eq!(answer.table_names.len(), 3);
    let request = pb::GetClusterStatusRequest::default();
    let answer: pb::GetClusterStatusResponse = cluster.ask("GetClusterStatus", &request).await.expect("answer");
    let status = protocol::status::cluster_from(&answer.cluster_status).expect("status");
    let counts = |table: &str| status.tables[&name(table)];
    assert_eq!((counts("t").open, counts("t").total, counts("u").closed), (1, 1, 1));
    assert_eq!((status.regions(), status.transitions.len()), (2, 0));
    assert_eq!(status.master, Some(protocol::meta::ServerName::new("here", 1, status.servers[0].name.start_code)));
    let only = pb::GetClusterStatusRequest { options: vec![pb::Option::Master.into()] };
    let answer: pb::GetClusterStatusResponse = cluster.ask("GetClusterStatus", &only).await.expect("answer");
    assert!(answer.cluster_status.master.is_some() && answer.cluster_status.live_servers.is_empty());
    let off = pb::SetBalancerRunningRequest { on: false, synchronous: None };
    let answer: pb::SetBalancerRunningResponse = cluster.ask("SetBalancerRunning", &off).await.expect("answer");
    assert_eq!(answer.prev_balance_value, Some(true));
    let answer: pb::IsBalancerEnabledResponse = cluster.ask("IsBalancerEnabled", &()).await.expect("answer");
    assert!(!answer.enabled);
    let answer: pb::IsMasterRunningResponse = cluster.ask("IsMasterRunning", &()).await.expect("answer");
    assert!(answer.is_master_running);
    let answer: pb::GetProceduresResponse = cluster.ask("GetProcedures", &()).await.expect("answer");
    assert_eq!(answer.procedure.len(), 3);
    let error = cluster.ask::<pb::IsMasterRunningResponse>("Bogus", &()).await.expect_err("unknown");
    assert!(error.message.contains("UnsupportedOperationException"), "{error}");
    let bad =
        Call { service: MASTER.to_owned(), method: "CreateTable".to_owned(), param: "\x07".into(), ..Call::default() };
    assert_eq!(cluster.service.call(bad).await.expect_err("bad").kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn the_registry_names_master_and_meta() {
    let cluster = cluster().await;
    let ask = async |method: &str| cluster.service.call(Call::new(REGISTRY, method, &())).await.expect("answer");
    let id: pb::GetClusterIdResponse = ask("GetClusterId").await.decode().expect("id");
    assert_eq!(id.cluster_id.expect("id").len(), 36);
    let meta: pb::GetMetaRegionLocationsResponse = ask("GetMetaRegionLocations").await.decode().expect("meta");
    assert_eq!(meta.meta_locations.len(), 1);
    let nodes: pb::GetBootstrapNodesResponse = ask("GetBootstrapNodes").await.decode().expect("nodes");
    let master: pb::GetActiveMasterResponse = ask("GetActiveMaster").await.decode().expect("master");
    let masters: pb::GetMastersResponse = ask("GetMasters").await.decode().expect("masters");
    let name = master.server_name.clone().expect("name");
    assert_eq!((nodes.server_name, name.host_name.as_str()), (vec![name.clone()], "here"));
    assert!(masters.master_servers[0].is_active && masters.master_servers[0].server_name == name);
    cluster.master.close().await.expect("close");
    let master: pb::GetActiveMasterResponse = ask("GetActiveMaster").await.decode().expect("master");
    assert_eq!(master.server_name, None);
    let error = cluster.ask::<pb::CreateTableResponse>("CreateTable", &create("t", 1)).await.expect_err("stopped");
    assert_eq!(error.short_class(), "MasterNotRunningException");
}
