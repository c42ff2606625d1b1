//! How a cluster does: servers, regions and their load, between messages and plain data (hbase-wire.md §3.3).
//!
//! Always true
//! - A number that a message leaves out is 0.
//! - Sizes are in MiB or KiB as on the wire, where anything above nothing is at least 1 ([`megabytes`], [`kilobytes`]).
//!
//! Not here: coprocessors, replication, users and tasks, which Ferrobase does not report.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::region::RegionInfo;
use model::schema::TableName;

use crate::messages as pb;
use crate::messages::Option as Part;
use crate::meta::{ServerName, server_name_from, server_name_to};
use crate::schema::{
    SchemaMessageError, region_info_from, region_info_to, region_specifier, table_name_from, table_name_to,
};

type Result<T> = std::result::Result<T, SchemaMessageError>;

/// Sequence number that stands for "never flushed".
pub const NEVER_FLUSHED: u64 = u64::MAX;

fn units(bytes: u64, unit: u64) -> u32 {
    if bytes == 0 { 0 } else { u32::try_from(bytes / unit).unwrap_or(u32::MAX).max(1) }
}

/// Bytes as whole MiB.
pub fn megabytes(bytes: u64) -> u32 {
    units(bytes, 1 << 20)
}

/// Bytes as whole KiB.
pub fn kilobytes(bytes: u64) -> u32 {
    units(bytes, 1 << 10)
}

/// What a region holds and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegionLoad {
    /// The region name, as in META.
    pub region: Bytes,
    /// Families.
    pub stores: u32,
    /// Store files of all families.
    pub store_files: u32,
    /// Their size before compression and encoding.
    pub uncompressed_mb: u32,
    /// Their size.
    pub store_file_mb: u32,
    /// Memtables of all families.
    pub memtable_mb: u32,
    /// Indexes of all store files.
    pub index_kb: u32,
    /// Of these, the roots.
    pub root_index_kb: u32,
    /// Bloom filters of all store files.
    pub bloom_kb: u32,
    /// Reads since the region was opened.
    pub reads: u64,
    /// Of these, reads that a filter left nothing of.
    pub filtered_reads: u64,
    /// Writes since the region was opened.
    pub writes: u64,
    /// Cells that the running compaction has to go through.
    pub compacting_cells: u64,
    /// Of these, cells it went through.
    pub compacted_cells: u64,
    /// Largest sequence number in store files alone, or [`NEVER_FLUSHED`].
    pub flushed_seqno: u64,
    /// Share of the store files' bytes on the server's own disks, 0 to 1.
    pub locality: f32,
    /// When the oldest store file was written by a major compaction; 0 if one never was.
    pub major_compaction_ms: u64,
}

/// Reads a region's load.
pub fn region_load_from(message: &pb::RegionLoad) -> RegionLoad {
    RegionLoad {
        region: message.region_specifier.value.clone(),
        stores: message.stores(),
        store_files: message.storefiles(),
        uncompressed_mb: message.store_uncompressed_size_mb(),
        store_file_mb: message.storefile_size_mb(),
        memtable_mb: message.mem_store_size_mb(),
        index_kb: message.total_static_index_size_kb(),
        root_index_kb: message.root_index_size_kb(),
        bloom_kb: message.total_static_bloom_size_kb(),
        reads: message.read_requests_count(),
        filtered_reads: message.filtered_read_requests_count(),
        writes: message.write_requests_count(),
        compacting_cells: message.total_compacting_k_vs(),
        compacted_cells: message.current_compacted_k_vs(),
        flushed_seqno: message.complete_sequence_id.unwrap_or(NEVER_FLUSHED),
        locality: message.data_locality(),
        major_compaction_ms: message.last_major_compaction_ts(),
    }
}

/// Writes a region's load.
pub fn region_load_to(load: &RegionLoad) -> pb::RegionLoad {
    pb::RegionLoad {
        region_specifier: region_specifier(load.region.clone()),
        stores: Some(load.stores),
        storefiles: Some(load.store_files),
        store_uncompressed_size_mb: Some(load.uncompressed_mb),
        storefile_size_mb: Some(load.store_file_mb),
        mem_store_size_mb: Some(load.memtable_mb),
        storefile_index_size_kb: Some(load.root_index_kb.into()),
        read_requests_count: Some(load.reads),
        write_requests_count: Some(load.writes),
        total_compacting_k_vs: Some(load.compacting_cells),
        current_compacted_k_vs: Some(load.compacted_cells),
        root_index_size_kb: Some(load.root_index_kb),
        total_static_index_size_kb: Some(load.index_kb),
        total_static_bloom_size_kb: Some(load.bloom_kb),
        complete_sequence_id: Some(load.flushed_seqno),
        data_locality: Some(load.locality),
        last_major_compaction_ts: Some(load.major_compaction_ms),
        filtered_read_requests_count: Some(load.filtered_reads),
        region_size_mb: Some(load.store_file_mb),
        ..pb::RegionLoad::default()
    }
}

/// What a server holds and did.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLoad {
    /// The server.
    pub name: ServerName,
    /// Requests each second, of late.
    pub requests_per_second: u64,
    /// Requests since its start.
    pub requests: u64,
    /// Memory in use.
    pub memory_mb: u32,
    /// Memory it may use.
    pub memory_max_mb: u32,
    /// Its regions.
    pub regions: Vec<RegionLoad>,
    /// From when the numbers are, in milliseconds.
    pub from_ms: u64,
    /// Until when the numbers are, in milliseconds.
    pub to_ms: u64,
    /// Port of its pages; 0 if it has none.
    pub info_port: u32,
}

impl ServerLoad {
    /// A server about which nothing is known.
    pub fn new(name: ServerName) -> ServerLoad {
        ServerLoad {
            name,
            requests_per_second: 0,
            requests: 0,
            memory_mb: 0,
            memory_max_mb: 0,
            regions: Vec::new(),
            from_ms: 0,
            to_ms: 0,
            info_port: 0,
        }
    }
}

/// Reads a server's load.
pub fn server_load_from(message: &pb::LiveServerInfo) -> Result<ServerLoad> {
    let load = &message.server_load;
    Ok(ServerLoad {
        name: server_name_from(&message.server)?,
        requests_per_second: load.number_of_requests(),
        requests: load.total_number_of_requests(),
        memory_mb: load.used_heap_mb(),
        memory_max_mb: load.max_heap_mb(),
        regions: load.region_loads.iter().map(region_load_from).collect(),
        from_ms: load.report_start_time(),
        to_ms: load.report_end_time(),
        info_port: load.info_server_port(),
    })
}

/// Writes a server's load.
pub fn server_load_to(load: &ServerLoad) -> pb::LiveServerInfo {
    let server_load = pb::ServerLoad {
        number_of_requests: Some(load.requests_per_second),
        total_number_of_requests: Some(load.requests),
        used_heap_mb: Some(load.memory_mb),
        max_heap_mb: Some(load.memory_max_mb),
        region_loads: load.regions.iter().map(region_load_to).collect(),
        report_start_time: Some(load.from_ms),
        report_end_time: Some(load.to_ms),
        info_server_port: Some(load.info_port),
        ..pb::ServerLoad::default()
    };
    pb::LiveServerInfo { server: server_name_to(&load.name), server_load }
}

/// A table's regions by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionCounts {
    /// Regions that answer.
    pub open: u32,
    /// Parents of a split that still stand in META.
    pub split: u32,
    /// Regions that no server holds and none should.
    pub closed: u32,
    /// Regions on their way from one state to another.
    pub in_transition: u32,
    /// All of them.
    pub total: u32,
}

/// A region on its way from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The region.
    pub region: RegionInfo,
    /// Its state, as in META.
    pub state: String,
    /// Since when, in milliseconds.
    pub since_ms: u64,
}

/// How a cluster does. A part that was not asked for is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterStatus {
    /// Version of the servers.
    pub version: String,
    /// The cluster's id.
    pub cluster_id: String,
    /// The master.
    pub master: Option<ServerName>,
    /// Masters that wait for their turn.
    pub backup_masters: Vec<ServerName>,
    /// Servers that live. If only their names were asked for, without load.
    pub servers: Vec<ServerLoad>,
    /// Servers that died.
    pub dead_servers: Vec<ServerName>,
    /// Servers that META names and nobody knows.
    pub unknown_servers: Vec<ServerName>,
    /// Regions on their way.
    pub transitions: Vec<Transition>,
    /// Whether the balancer runs.
    pub balancer_on: Option<bool>,
    /// Port of the master's pages; 0 if it has none.
    pub master_info_port: i32,
    /// Each table's regions by state.
    pub tables: BTreeMap<TableName, RegionCounts>,
}

impl ClusterStatus {
    /// Regions on all servers.
    pub fn regions(&self) -> usize {
        self.servers.iter().map(|server| server.regions.len()).sum()
    }
}

/// Reads a cluster's status.
pub fn cluster_from(message: &pb::ClusterStatus) -> Result<ClusterStatus> {
    let names = |servers: &[pb::ServerName]| servers.iter().map(server_name_from).collect::<Result<Vec<ServerName>>>();
    let mut servers: Vec<ServerLoad> = message.live_servers.iter().map(server_load_from).collect::<Result<_>>()?;
    if servers.is_empty() {
        servers = names(&message.servers_name)?.into_iter().map(ServerLoad::new).collect();
    }
    let transition = |transition: &pb::RegionInTransition| {
        let state = &transition.region_state;
        Ok(Transition {
            region: region_info_from(&state.region_info)?,
            state: pb::region_state::State::try_from(state.state)
                .map_or_else(|_| state.state.to_string(), |state| state.as_str_name().to_owned()),
            since_ms: state.stamp(),
        })
    };
    let counts = |table: &pb::TableRegionStatesCount| {
        let counts = &table.region_states_count;
        let counts = RegionCounts {
            open: counts.open_regions,
            split: counts.split_regions,
            closed: counts.closed_regions,
            in_transition: counts.regions_in_transition,
            total: counts.total_regions,
        };
        Ok((table_name_from(&table.table_name)?, counts))
    };
    Ok(ClusterStatus {
        version: message.hbase_version.as_ref().map(|it| it.version.clone()).unwrap_or_default(),
        cluster_id: message.cluster_id.as_ref().map(|it| it.cluster_id.clone()).unwrap_or_default(),
        master: message.master.as_ref().map(server_name_from).transpose()?,
        backup_masters: names(&message.backup_masters)?,
        servers,
        dead_servers: names(&message.dead_servers)?,
        unknown_servers: names(&message.unknown_servers)?,
        transitions: message.regions_in_transition.iter().map(transition).collect::<Result<_>>()?,
        balancer_on: message.balancer_on,
        master_info_port: message.master_info_port(),
        tables: message.table_region_states_count.iter().map(counts).collect::<Result<_>>()?,
    })
}

/// Writes the parts of a cluster's status that were asked for; no part named means all.
pub fn cluster_to(status: &ClusterStatus, options: &[i32]) -> pb::ClusterStatus {
    let wants = |part: Part| options.is_empty() || options.contains(&part.into());
    let names = |servers: &[ServerName], part: Part| {
        servers.iter().filter(|_| wants(part)).map(server_name_to).collect::<Vec<pb::ServerName>>()
    };
    let transition = |transition: &Transition| pb::RegionInTransition {
        spec: region_specifier(transition.region.region_name()),
        region_state: pb::RegionState {
            region_info: region_info_to(&transition.region),
            state: pb::region_state::State::from_str_name(&transition.state)
                .unwrap_or(pb::region_state::State::Offline)
                .into(),
            stamp: Some(transition.since_ms),
        },
    };
    let counts = |(table, counts): (&TableName, &RegionCounts)| pb::TableRegionStatesCount {
        table_name: table_name_to(table),
        region_states_count: pb::RegionStatesCount {
            open_regions: counts.open,
            split_regions: counts.split,
            closed_regions: counts.closed,
            regions_in_transition: counts.in_transition,
            total_regions: counts.total,
        },
    };
    let live = status.servers.iter();
    pb::ClusterStatus {
        hbase_version: wants(Part::HbaseVersion)
            .then(|| pb::HBaseVersionFileContent { version: status.version.clone() }),
        live_servers: live.clone().filter(|_| wants(Part::LiveServers)).map(server_load_to).collect(),
        dead_servers: names(&status.dead_servers, Part::DeadServers),
        regions_in_transition: status
            .transitions
            .iter()
            .filter(|_| wants(Part::RegionsInTransition))
            .map(transition)
            .collect(),
        cluster_id: wants(Part::ClusterId).then(|| pb::ClusterId { cluster_id: status.cluster_id.clone() }),
        master: status.master.as_ref().filter(|_| wants(Part::Master)).map(server_name_to),
        backup_masters: names(&status.backup_masters, Part::BackupMasters),
        balancer_on: status.balancer_on.filter(|_| wants(Part::BalancerOn)),
        // HBase sends it whether asked or not.
        master_info_port: Some(status.master_info_port),
        servers_name: live.filter(|_| wants(Part::ServersName)).map(|server| server_name_to(&server.name)).collect(),
        table_region_states_count: status
            .tables
            .iter()
            .filter(|_| wants(Part::TableToRegionsCount))
            .map(counts)
            .collect(),
        unknown_servers: names(&status.unknown_servers, Part::UnknownServers),
        ..pb::ClusterStatus::default()
    }
}
