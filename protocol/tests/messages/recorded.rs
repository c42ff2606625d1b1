//! Calls recorded from a real HBase 2.6.1: every message is decoded and encoded again to the same bytes.

use ferrobase_protocol::messages as pb;
use prost::Message;
use serde_json::Value;

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, prost::DecodeError> {
    Ok(M::decode(bytes)?.encode_to_vec())
}

type Both = (fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>, fn(&[u8]) -> Result<Vec<u8>, prost::DecodeError>);

fn types(service: &str, method: &str) -> Both {
    match (service, method) {
        ("AdminService", "ClearCompactionQueues") => {
            (again::<pb::ClearCompactionQueuesRequest>, again::<pb::ClearCompactionQueuesResponse>)
        }
        ("AdminService", "ClearRegionBlockCache") => {
            (again::<pb::ClearRegionBlockCacheRequest>, again::<pb::ClearRegionBlockCacheResponse>)
        }
        ("AdminService", "CompactRegion") => (again::<pb::CompactRegionRequest>, again::<pb::CompactRegionResponse>),
        ("AdminService", "CompactionSwitch") => {
            (again::<pb::CompactionSwitchRequest>, again::<pb::CompactionSwitchResponse>)
        }
        ("AdminService", "FlushRegion") => (again::<pb::FlushRegionRequest>, again::<pb::FlushRegionResponse>),
        ("AdminService", "GetOnlineRegion") => {
            (again::<pb::GetOnlineRegionRequest>, again::<pb::GetOnlineRegionResponse>)
        }
        ("AdminService", "GetRegionInfo") => (again::<pb::GetRegionInfoRequest>, again::<pb::GetRegionInfoResponse>),
        ("AdminService", "GetRegionLoad") => (again::<pb::GetRegionLoadRequest>, again::<pb::GetRegionLoadResponse>),
        ("AdminService", "RollWALWriter") => (again::<pb::RollWalWriterRequest>, again::<pb::RollWalWriterResponse>),
        ("AdminService", "StopServer") => (again::<pb::StopServerRequest>, again::<pb::StopServerResponse>),
        ("AdminService", "UpdateConfiguration") => {
            (again::<pb::UpdateConfigurationRequest>, again::<pb::UpdateConfigurationResponse>)
        }
        ("ClientService", "ExecService") => {
            (again::<pb::CoprocessorServiceRequest>, again::<pb::CoprocessorServiceResponse>)
        }
        ("ClientService", "Get") => (again::<pb::GetRequest>, again::<pb::GetResponse>),
        ("ClientService", "Multi") => (again::<pb::MultiRequest>, again::<pb::MultiResponse>),
        ("ClientService", "Mutate") => (again::<pb::MutateRequest>, again::<pb::MutateResponse>),
        ("ClientService", "Scan") => (again::<pb::ScanRequest>, again::<pb::ScanResponse>),
        ("MasterService", "AbortProcedure") => {
            (again::<pb::AbortProcedureRequest>, again::<pb::AbortProcedureResponse>)
        }
        ("MasterService", "AddColumn") => (again::<pb::AddColumnRequest>, again::<pb::AddColumnResponse>),
        ("MasterService", "AssignRegion") => (again::<pb::AssignRegionRequest>, again::<pb::AssignRegionResponse>),
        ("MasterService", "Balance") => (again::<pb::BalanceRequest>, again::<pb::BalanceResponse>),
        ("MasterService", "ClearDeadServers") => {
            (again::<pb::ClearDeadServersRequest>, again::<pb::ClearDeadServersResponse>)
        }
        ("MasterService", "CreateNamespace") => {
            (again::<pb::CreateNamespaceRequest>, again::<pb::CreateNamespaceResponse>)
        }
        ("MasterService", "CreateTable") => (again::<pb::CreateTableRequest>, again::<pb::CreateTableResponse>),
        ("MasterService", "DecommissionRegionServers") => {
            (again::<pb::DecommissionRegionServersRequest>, again::<pb::DecommissionRegionServersResponse>)
        }
        ("MasterService", "DeleteColumn") => (again::<pb::DeleteColumnRequest>, again::<pb::DeleteColumnResponse>),
        ("MasterService", "DeleteNamespace") => {
            (again::<pb::DeleteNamespaceRequest>, again::<pb::DeleteNamespaceResponse>)
        }
        ("MasterService", "DeleteSnapshot") => {
            (again::<pb::DeleteSnapshotRequest>, again::<pb::DeleteSnapshotResponse>)
        }
        ("MasterService", "DeleteTable") => (again::<pb::DeleteTableRequest>, again::<pb::DeleteTableResponse>),
        ("MasterService", "DisableTable") => (again::<pb::DisableTableRequest>, again::<pb::DisableTableResponse>),
        ("MasterService", "EnableCatalogJanitor") => {
            (again::<pb::EnableCatalogJanitorRequest>, again::<pb::EnableCatalogJanitorResponse>)
        }
        ("MasterService", "EnableTable") => (again::<pb::EnableTableRequest>, again::<pb::EnableTableResponse>),
        ("MasterService", "ExecProcedure") => (again::<pb::ExecProcedureRequest>, again::<pb::ExecProcedureResponse>),
        ("MasterService", "FlushMasterStore") => {
            (again::<pb::FlushMasterStoreRequest>, again::<pb::FlushMasterStoreResponse>)
        }
        ("MasterService", "FlushTable") => (again::<pb::FlushTableRequest>, again::<pb::FlushTableResponse>),
        ("MasterService", "GetClusterStatus") => {
            (again::<pb::GetClusterStatusRequest>, again::<pb::GetClusterStatusResponse>)
        }
        ("MasterService", "GetCompletedSnapshots") => {
            (again::<pb::GetCompletedSnapshotsRequest>, again::<pb::GetCompletedSnapshotsResponse>)
        }
        ("MasterService", "GetLocks") => (again::<pb::GetLocksRequest>, again::<pb::GetLocksResponse>),
        ("MasterService", "GetNamespaceDescriptor") => {
            (again::<pb::GetNamespaceDescriptorRequest>, again::<pb::GetNamespaceDescriptorResponse>)
        }
        ("MasterService", "GetSchemaAlterStatus") => {
            (again::<pb::GetSchemaAlterStatusRequest>, again::<pb::GetSchemaAlterStatusResponse>)
        }
        ("MasterService", "GetSpaceQuotaRegionSizes") => {
            (again::<pb::GetSpaceQuotaRegionSizesRequest>, again::<pb::GetSpaceQuotaRegionSizesResponse>)
        }
        ("MasterService", "GetTableDescriptors") => {
            (again::<pb::GetTableDescriptorsRequest>, again::<pb::GetTableDescriptorsResponse>)
        }
        ("MasterService", "GetTableNames") => (again::<pb::GetTableNamesRequest>, again::<pb::GetTableNamesResponse>),
        ("MasterService", "IsBalancerEnabled") => {
            (again::<pb::IsBalancerEnabledRequest>, again::<pb::IsBalancerEnabledResponse>)
        }
        ("MasterService", "IsCatalogJanitorEnabled") => {
            (again::<pb::IsCatalogJanitorEnabledRequest>, again::<pb::IsCatalogJanitorEnabledResponse>)
        }
        ("MasterService", "IsCleanerChoreEnabled") => {
            (again::<pb::IsCleanerChoreEnabledRequest>, again::<pb::IsCleanerChoreEnabledResponse>)
        }
        ("MasterService", "IsNormalizerEnabled") => {
            (again::<pb::IsNormalizerEnabledRequest>, again::<pb::IsNormalizerEnabledResponse>)
        }
        ("MasterService", "IsProcedureDone") => {
            (again::<pb::IsProcedureDoneRequest>, again::<pb::IsProcedureDoneResponse>)
        }
        ("MasterService", "IsRpcThrottleEnabled") => {
            (again::<pb::IsRpcThrottleEnabledRequest>, again::<pb::IsRpcThrottleEnabledResponse>)
        }
        ("MasterService", "IsSnapshotCleanupEnabled") => {
            (again::<pb::IsSnapshotCleanupEnabledRequest>, again::<pb::IsSnapshotCleanupEnabledResponse>)
        }
        ("MasterService", "IsSplitOrMergeEnabled") => {
            (again::<pb::IsSplitOrMergeEnabledRequest>, again::<pb::IsSplitOrMergeEnabledResponse>)
        }
        ("MasterService", "ListDecommissionedRegionServers") => {
            (again::<pb::ListDecommissionedRegionServersRequest>, again::<pb::ListDecommissionedRegionServersResponse>)
        }
        ("MasterService", "ListNamespaceDescriptors") => {
            (again::<pb::ListNamespaceDescriptorsRequest>, again::<pb::ListNamespaceDescriptorsResponse>)
        }
        ("MasterService", "ListNamespaces") => {
            (again::<pb::ListNamespacesRequest>, again::<pb::ListNamespacesResponse>)
        }
        ("MasterService", "ListTableDescriptorsByNamespace") => {
            (again::<pb::ListTableDescriptorsByNamespaceRequest>, again::<pb::ListTableDescriptorsByNamespaceResponse>)
        }
        ("MasterService", "ListTableDescriptorsByState") => {
            (again::<pb::ListTableDescriptorsByStateRequest>, again::<pb::ListTableDescriptorsByStateResponse>)
        }
        ("MasterService", "ListTableNamesByNamespace") => {
            (again::<pb::ListTableNamesByNamespaceRequest>, again::<pb::ListTableNamesByNamespaceResponse>)
        }
        ("MasterService", "ListTableNamesByState") => {
            (again::<pb::ListTableNamesByStateRequest>, again::<pb::ListTableNamesByStateResponse>)
        }
        ("MasterService", "MergeTableRegions") => {
            (again::<pb::MergeTableRegionsRequest>, again::<pb::MergeTableRegionsResponse>)
        }
        ("MasterService", "ModifyColumn") => (again::<pb::ModifyColumnRequest>, again::<pb::ModifyColumnResponse>),
        ("MasterService", "ModifyNamespace") => {
            (again::<pb::ModifyNamespaceRequest>, again::<pb::ModifyNamespaceResponse>)
        }
        ("MasterService", "ModifyTable") => (again::<pb::ModifyTableRequest>, again::<pb::ModifyTableResponse>),
        ("MasterService", "ModifyTableStoreFileTracker") => {
            (again::<pb::ModifyTableStoreFileTrackerRequest>, again::<pb::ModifyTableStoreFileTrackerResponse>)
        }
        ("MasterService", "MoveRegion") => (again::<pb::MoveRegionRequest>, again::<pb::MoveRegionResponse>),
        ("MasterService", "Normalize") => (again::<pb::NormalizeRequest>, again::<pb::NormalizeResponse>),
        ("MasterService", "RecommissionRegionServer") => {
            (again::<pb::RecommissionRegionServerRequest>, again::<pb::RecommissionRegionServerResponse>)
        }
        ("MasterService", "RestoreSnapshot") => {
            (again::<pb::RestoreSnapshotRequest>, again::<pb::RestoreSnapshotResponse>)
        }
        ("MasterService", "RunCatalogScan") => {
            (again::<pb::RunCatalogScanRequest>, again::<pb::RunCatalogScanResponse>)
        }
        ("MasterService", "RunCleanerChore") => {
            (again::<pb::RunCleanerChoreRequest>, again::<pb::RunCleanerChoreResponse>)
        }
        ("MasterService", "SetBalancerRunning") => {
            (again::<pb::SetBalancerRunningRequest>, again::<pb::SetBalancerRunningResponse>)
        }
        ("MasterService", "SetCleanerChoreRunning") => {
            (again::<pb::SetCleanerChoreRunningRequest>, again::<pb::SetCleanerChoreRunningResponse>)
        }
        ("MasterService", "SetNormalizerRunning") => {
            (again::<pb::SetNormalizerRunningRequest>, again::<pb::SetNormalizerRunningResponse>)
        }
        ("MasterService", "SetSplitOrMergeEnabled") => {
            (again::<pb::SetSplitOrMergeEnabledRequest>, again::<pb::SetSplitOrMergeEnabledResponse>)
        }
        ("MasterService", "Snapshot") => (again::<pb::SnapshotRequest>, again::<pb::SnapshotResponse>),
        ("MasterService", "SwitchExceedThrottleQuota") => {
            (again::<pb::SwitchExceedThrottleQuotaRequest>, again::<pb::SwitchExceedThrottleQuotaResponse>)
        }
        ("MasterService", "SwitchRpcThrottle") => {
            (again::<pb::SwitchRpcThrottleRequest>, again::<pb::SwitchRpcThrottleResponse>)
        }
        ("MasterService", "TruncateRegion") => {
            (again::<pb::TruncateRegionRequest>, again::<pb::TruncateRegionResponse>)
        }
        ("MasterService", "UnassignRegion") => {
            (again::<pb::UnassignRegionRequest>, again::<pb::UnassignRegionResponse>)
        }
        ("MasterService", "getProcedureResult") => {
            (again::<pb::GetProcedureResultRequest>, again::<pb::GetProcedureResultResponse>)
        }
        ("MasterService", "truncateTable") => (again::<pb::TruncateTableRequest>, again::<pb::TruncateTableResponse>),
        _ => panic!("a call of another method: {service}.{method}"),
    }
}

/// A length-delimited message's own bytes.
fn body(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text).expect("hex")
}

#[test]
fn recorded_messages_are_encoded_again_to_the_same_bytes() {
    let text = include_str!("../golden/calls.jsonl");
    let mut checked = 0;
    for line in text.lines() {
        let call: Value = serde_json::from_str(line).expect("json");
        let word = |key: &str| call[key].as_str().unwrap_or_default();
        let (request, response) = types(word("service"), word("method"));
        let headers: Both = (again::<pb::RequestHeader>, again::<pb::ResponseHeader>);
        let parts = [
            ("request", request),
            ("response", response),
            ("request_header", headers.0),
            ("response_header", headers.1),
        ];
        for (key, decode) in parts {
            let Some(recorded) = call[key].as_str().map(body) else { continue };
            let made = decode(&recorded).unwrap_or_else(|error| panic!("{} {key}: {error}", word("op")));
            assert_eq!(hex::encode(made), hex::encode(&recorded), "{} {key} of {}", word("op"), word("method"));
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} messages were checked");
}

#[test]
fn recorded_filters_go_through_the_model_to_the_same_bytes() {
    let mut classes = std::collections::BTreeSet::new();
    for line in include_str!("../golden/filters.jsonl").lines() {
        let call: Value = serde_json::from_str(line).expect("json");
        let request = body(call["request"].as_str().expect("hex"));
        let filter = match call["method"].as_str() {
            Some("Scan") => pb::ScanRequest::decode(&request[..]).expect("scan").scan.and_then(|scan| scan.filter),
            _ => pb::GetRequest::decode(&request[..]).expect("get").get.filter,
        };
        let Some(filter) = filter else { continue };
        let read =
            ferrobase_protocol::filter::filter_from(&filter).unwrap_or_else(|error| panic!("{}: {error}", call["op"]));
        let made = ferrobase_protocol::filter::filter_to(&read);
        assert_eq!(hex::encode(made.encode_to_vec()), hex::encode(filter.encode_to_vec()), "{}: {read:?}", call["op"]);
        classes.insert(filter.name);
    }
    assert!(classes.len() >= 20, "only {classes:?}");
}

#[test]
fn recorded_descriptors_go_through_the_model_unchanged() {
    use ferrobase_protocol::schema::{table_from, table_to};
    let sorted = |mut table: pb::TableSchema| {
        // The model keeps attributes by name; on the wire their order means nothing.
        table.attributes.sort_by(|a, b| a.first.cmp(&b.first));
        table.configuration.sort_by(|a, b| a.name.cmp(&b.name));
        for family in &mut table.column_families {
            family.attributes.sort_by(|a, b| a.first.cmp(&b.first));
            family.configuration.sort_by(|a, b| a.name.cmp(&b.name));
        }
        table
    };
    let mut checked = 0;
    for line in include_str!("../golden/calls.jsonl").lines() {
        let call: Value = serde_json::from_str(line).expect("json");
        let tables = match (call["method"].as_str(), call["request"].as_str(), call["response"].as_str()) {
            (Some("CreateTable"), Some(request), _) => {
                vec![pb::CreateTableRequest::decode(&body(request)[..]).expect("request").table_schema]
            }
            (Some("GetTableDescriptors"), _, Some(response)) => {
                pb::GetTableDescriptorsResponse::decode(&body(response)[..]).expect("response").table_schema
            }
            _ => continue,
        };
        for table in tables {
            let Ok(read) = table_from(&table) else { continue };
            assert_eq!(sorted(table_to(&read)), sorted(table), "{}", call["op"]);
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} descriptors were checked");
}

#[test]
fn recorded_queries_are_understood_and_mean_the_same_when_written_again() {
    use ferrobase_protocol::query::{get_from, get_to, scan_from, scan_to};
    let (mut gets, mut scans) = (0, 0);
    for line in include_str!("../golden/calls.jsonl").lines().chain(include_str!("../golden/filters.jsonl").lines()) {
        let call: Value = serde_json::from_str(line).expect("json");
        let Some(request) = call["request"].as_str().map(body) else { continue };
        match call["method"].as_str() {
            Some("Get") => {
                let Ok(read) = get_from(&pb::GetRequest::decode(&request[..]).expect("get").get) else { continue };
                assert_eq!(get_from(&get_to(&read)).expect("again"), read, "{}", call["op"]);
                gets += 1;
            }
            Some("Scan") => {
                let Some(scan) = pb::ScanRequest::decode(&request[..]).expect("scan").scan else { continue };
                let Ok(read) = scan_from(&scan) else { continue };
                assert_eq!(scan_from(&scan_to(&read)).expect("again"), read, "{}", call["op"]);
                scans += 1;
            }
            _ => {}
        }
    }
    assert!(gets >= 10 && scans >= 30, "only {gets} gets and {scans} scans were checked");
}
