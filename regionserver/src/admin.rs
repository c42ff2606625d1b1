//! What HBase's administration asks of a region server (hbase-wire.md §3.5).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use model::ErrorKind;
use protocol::messages as pb;
use protocol::messages::get_region_info_response::CompactionState;
use protocol::meta::server_name_to;
use protocol::schema::{region_info_to, table_name_from};
use protocol::service::{Call, Reply, RpcError};
use protocol::status::{self, NEVER_FLUSHED, RegionLoad, kilobytes, megabytes};

use crate::regions::Hosted;
use crate::server::RegionServer;

impl RegionServer {
    pub(crate) async fn flush_region(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::FlushRegionRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        if let Some(family) = &request.family {
            check_family(&hosted, family)?;
        }
        let older = request.if_older_than_ts.is_none_or(|than| hosted.last_flush_ms() < than);
        let flushed = older && self.flush(&hosted).await?;
        let last_flush_time = hosted.last_flush_ms();
        let answer =
            pb::FlushRegionResponse { last_flush_time, flushed: Some(flushed), wrote_flush_wal_marker: Some(false) };
        Ok(Reply::new(&answer))
    }

    /// Flushes a region on a task of its own, so that it ends even if nobody waits. Whether there was anything.
    pub(crate) async fn flush(&self, hosted: &Arc<Hosted>) -> Result<bool, RpcError> {
        let (me, region) = (self.arc(), hosted.clone());
        match runtime::task::spawn("flush", async move { me.flush_now(&region).await }).await {
            Ok(flushed) => flushed.map_err(|error| self.failure(hosted, error)),
            Err(error) => Err(RpcError::new(ErrorKind::Internal, format!("flush: {error}"))),
        }
    }

    pub(crate) fn compact_region(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::CompactRegionRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        let families = match &request.family {
            Some(family) => {
                check_family(&hosted, family)?;
                vec![family.clone()]
            }
            None => hosted.region.descriptor().families.keys().cloned().collect(),
        };
        if !hosted.region.descriptor().compaction_enabled() {
            // As in HBase, which says nothing either.
            return Ok(Reply::new(&pb::CompactRegionResponse {}));
        }
        let me = self.arc();
        families.into_iter().for_each(|family| me.ask_for_compaction(&hosted, family, request.major()));
        Ok(Reply::new(&pb::CompactRegionResponse {}))
    }

    /// Starts compactions, or none any more; those that run go on.
    pub(crate) fn compaction_switch(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::CompactionSwitchRequest = call.decode()?;
        let prev_state = self.upkeep.compacts.swap(request.enabled, Ordering::AcqRel);
        self.arc().start_compactions();
        Ok(Reply::new(&pb::CompactionSwitchResponse { prev_state }))
    }

    /// Forgets the compactions that wait; the policy finds again what is worth one.
    pub(crate) fn clear_compaction_queues(&self) -> Reply {
        self.upkeep.queue.lock().retain(|_| false);
        Reply::new(&pb::ClearCompactionQueuesResponse {})
    }

    pub(crate) fn get_region_info(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::GetRegionInfoRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        let state = match self.upkeep.compactions_of(&hosted) {
            (false, false) => CompactionState::None,
            (true, false) => CompactionState::Minor,
            (false, true) => CompactionState::Major,
            (true, true) => CompactionState::MajorAndMinor,
        };
        let answer = pb::GetRegionInfoResponse {
            region_info: region_info_to(hosted.region.info()),
            compaction_state: request.compaction_state().then(|| state.into()),
            splittable: Some(false),
            mergeable: Some(false),
            best_split_row: None,
        };
        Ok(Reply::new(&answer))
    }

    pub(crate) fn get_online_region(&self) -> Reply {
        let mut open = self.regions.all();
        open.sort_by(|a, b| a.name.cmp(&b.name));
        let region_info = open.iter().map(|hosted| region_info_to(hosted.region.info())).collect();
        Reply::new(&pb::GetOnlineRegionResponse { region_info })
    }

    pub(crate) fn get_server_info(&self) -> Reply {
        let server_info = pb::ServerInfo { server_name: server_name_to(&self.ctx.server), webui_port: Some(0) };
        Reply::new(&pb::GetServerInfoResponse { server_info })
    }

    pub(crate) fn get_region_load(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::GetRegionLoadRequest = call.decode()?;
        let table = request.table_name.as_ref().map(table_name_from).transpose()?;
        let mut open = self.regions.all();
        open.retain(|hosted| table.as_ref().is_none_or(|table| hosted.region.info().table == *table));
        open.sort_by(|a, b| a.name.cmp(&b.name));
        let region_loads = open.iter().map(|hosted| status::region_load_to(&region_load(hosted))).collect();
        Ok(Reply::new(&pb::GetRegionLoadResponse { region_loads }))
    }
}

fn check_family(hosted: &Hosted, family: &Bytes) -> Result<(), RpcError> {
    if hosted.region.descriptor().families.contains_key(family) {
        return Ok(());
    }
    let message =
        format!("column family `{}` does not exist in region {}", family.escape_ascii(), hosted.region.info());
    Err(RpcError::of(ErrorKind::NotFound, "regionserver.NoSuchColumnFamilyException", message))
}

/// What a region holds and did.
fn region_load(hosted: &Hosted) -> RegionLoad {
    let stores = hosted.region.loads();
    let sum = |of: fn(&storage::region::StoreLoad) -> u64| stores.iter().map(of).sum::<u64>();
    let flushed = stores.iter().map(|store| store.flushed).max().unwrap_or(0);
    let index_kb = kilobytes(sum(|store| store.index_bytes));
    RegionLoad {
        region: hosted.name.clone(),
        stores: stores.len() as u32,
        store_files: sum(|store| store.files as u64) as u32,
        uncompressed_mb: megabytes(sum(|store| store.uncompressed_bytes)),
        store_file_mb: megabytes(sum(|store| store.file_bytes)),
        memtable_mb: megabytes(sum(|store| store.memtable_bytes)),
        index_kb,
        root_index_kb: index_kb,
        reads: hosted.reads.load(Ordering::Relaxed),
        filtered_reads: hosted.filtered.load(Ordering::Relaxed),
        writes: hosted.writes.load(Ordering::Relaxed),
        flushed_seqno: if flushed == 0 { NEVER_FLUSHED } else { flushed },
        major_compaction_ms: stores.iter().map(|store| store.major_ms).filter(|ms| *ms > 0).min().unwrap_or(0) as u64,
        ..RegionLoad::default()
    }
}
