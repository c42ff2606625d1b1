//! Cluster status and namespaces as a real HBase 2.6.1 sent them.

use ferrobase_protocol::messages as pb;
use ferrobase_protocol::meta::ServerName;
use ferrobase_protocol::schema::{namespace_from, namespace_to};
use ferrobase_protocol::status::{
    ClusterStatus, NEVER_FLUSHED, RegionCounts, RegionLoad, ServerLoad, Transition, cluster_from, cluster_to,
    kilobytes, megabytes,
};
use model::region::RegionInfo;
use prost::Message;
use serde_json::Value;

fn recorded(method: &str) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let of = |line: &str| {
        let call: Value = serde_json::from_str(line).expect("json");
        let bytes = |key: &str| call[key].as_str().map(|text| hex::decode(text).expect("hex"));
        (call["method"] == method)
            .then(|| Some((call["op"].to_string(), bytes("request")?, bytes("response")?)))
            .flatten()
    };
    include_str!("../golden/calls.jsonl")
        .lines()
        .chain(include_str!("../golden/status.jsonl").lines())
        .filter_map(of)
        .collect()
}

#[test]
fn recorded_status_is_understood_and_written_again() {
    let (mut regions, mut tables, mut names_only) = (0, 0, 0);
    for (op, request, response) in recorded("GetClusterStatus") {
        let options = pb::GetClusterStatusRequest::decode(&request[..]).expect("request").options;
        let mut message = pb::GetClusterStatusResponse::decode(&response[..]).expect("response").cluster_status;
        let read = cluster_from(&message).unwrap_or_else(|error| panic!("{op}: {error}"));
        let mut made = cluster_to(&read, &options);
        assert_eq!(cluster_from(&made).expect("again"), read, "{op}");
        regions += read.regions();
        tables += read.tables.len();
        names_only += usize::from(message.live_servers.is_empty() && !read.servers.is_empty());
        // What Ferrobase does not report, and what means the same when left out.
        message.master_coprocessors.clear();
        message.master_tasks.clear();
        for server in &mut message.live_servers {
            server.server_load.coprocessors.clear();
            server.server_load.user_loads.clear();
            server.server_load.tasks.clear();
            server.server_load.region_cached_info.clear();
            server.server_load.repl_load_sink = None;
            server.server_load.repl_load_source.clear();
            for load in &mut server.server_load.region_loads {
                load.store_complete_sequence_id.clear();
                load.store_ref_count = None;
                load.max_compacted_store_file_ref_count = None;
                load.current_region_cached_ratio = None;
            }
        }
        // A map's order in theirs, by name in ours.
        for status in [&mut message, &mut made] {
            // HBase measures regions apart from their files, later.
            let loads = status.live_servers.iter_mut().flat_map(|server| &mut server.server_load.region_loads);
            loads.for_each(|load| load.region_size_mb = None);
            status.table_region_states_count.sort_by_key(|table| table.table_name.encode_to_vec());
            status.servers_name.sort_by_key(Message::encode_to_vec);
            status.live_servers.sort_by_key(|server| server.server.encode_to_vec());
        }
        for (made, message) in made.live_servers.iter().zip(&message.live_servers) {
            for (made, message) in made.server_load.region_loads.iter().zip(&message.server_load.region_loads) {
                assert_eq!(made, message, "{op}");
            }
        }
        assert!(made == message, "{op}: made {} bytes, HBase {}", made.encoded_len(), message.encoded_len());
    }
    assert!(regions >= 5 && tables >= 3 && names_only >= 1, "{regions} regions, {tables} tables, {names_only} lists");
}

#[test]
fn every_part_comes_back_and_only_if_asked_for() {
    let server = ServerName::new("h", 1, 2);
    let region = RegionInfo::new("ns:t".parse().expect("name"), "a".into(), "b".into(), 9);
    let load = RegionLoad {
        region: region.region_name(),
        stores: 1,
        store_files: 2,
        uncompressed_mb: 3,
        store_file_mb: 4,
        memtable_mb: 5,
        index_kb: 6,
        root_index_kb: 3,
        bloom_kb: 7,
        reads: 8,
        filtered_reads: 9,
        writes: 10,
        compacting_cells: 11,
        compacted_cells: 12,
        flushed_seqno: NEVER_FLUSHED,
        locality: 0.5,
        major_compaction_ms: 13,
    };
    let status = ClusterStatus {
        version: "1".into(),
        cluster_id: "id".into(),
        master: Some(server.clone()),
        backup_masters: vec![ServerName::new("b", 3, 4)],
        servers: vec![ServerLoad {
            requests_per_second: 1,
            requests: 2,
            memory_mb: 3,
            memory_max_mb: 4,
            regions: vec![load],
            from_ms: 5,
            to_ms: 6,
            info_port: 7,
            ..ServerLoad::new(server.clone())
        }],
        dead_servers: vec![ServerName::new("d", 5, 6)],
        unknown_servers: vec![ServerName::new("u", 7, 8)],
        transitions: vec![Transition { region: region.clone(), state: "OPENING".into(), since_ms: 3 }],
        balancer_on: Some(true),
        master_info_port: 8,
        tables: [(region.table, RegionCounts { open: 1, split: 2, closed: 3, in_transition: 4, total: 10 })].into(),
    };
    assert_eq!(status.regions(), 1);
    assert_eq!(cluster_from(&cluster_to(&status, &[])).expect("status"), status);
    let part = |option: pb::Option| cluster_from(&cluster_to(&status, &[option.into()])).expect("status");
    let empty = ClusterStatus { master_info_port: 8, ..ClusterStatus::default() };
    assert_eq!(part(pb::Option::MasterInfoPort), empty);
    assert_eq!(part(pb::Option::ClusterId), ClusterStatus { cluster_id: "id".into(), ..empty.clone() });
    assert_eq!(part(pb::Option::Master), ClusterStatus { master: Some(server.clone()), ..empty.clone() });
    assert_eq!(
        part(pb::Option::ServersName),
        ClusterStatus { servers: vec![ServerLoad::new(server)], ..empty.clone() }
    );
    let tables = ClusterStatus { tables: status.tables.clone(), ..empty };
    assert_eq!(part(pb::Option::TableToRegionsCount), tables);
}

#[test]
fn sizes_above_nothing_are_at_least_one() {
    assert_eq!([megabytes(0), megabytes(1), megabytes(1 << 20), megabytes(3 << 20)], [0, 1, 1, 3]);
    assert_eq!([kilobytes(0), kilobytes(1), kilobytes(2047), kilobytes(u64::MAX)], [0, 1, 1, u32::MAX]);
}

#[test]
fn recorded_namespaces_go_through_the_model_unchanged() {
    let mut namespaces: Vec<pb::NamespaceDescriptor> = Vec::new();
    for (_, request, _) in recorded("CreateNamespace") {
        namespaces.push(pb::CreateNamespaceRequest::decode(&request[..]).expect("request").namespace_descriptor);
    }
    for (_, _, response) in recorded("ListNamespaceDescriptors") {
        let response = pb::ListNamespaceDescriptorsResponse::decode(&response[..]).expect("response");
        namespaces.extend(response.namespace_descriptor);
    }
    for message in &namespaces {
        let mut made = namespace_to(&namespace_from(message).expect("namespace"));
        namespace_from(message).expect("namespace").validate().expect("legal");
        let mut message = message.clone();
        made.configuration.sort_by(|a, b| a.name.cmp(&b.name));
        message.configuration.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(made, message);
    }
    let with_properties = namespaces.iter().filter(|message| !message.configuration.is_empty()).count();
    assert!(namespaces.len() >= 3 && with_properties >= 1, "{} and {with_properties}", namespaces.len());
    let wrong = pb::NamespaceDescriptor { name: b"\xff"[..].into(), configuration: Vec::new() };
    assert!(namespace_from(&wrong).is_err());
}
