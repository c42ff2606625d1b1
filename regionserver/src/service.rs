//! Calls by name.

use std::sync::Arc;

use async_trait::async_trait;
use model::ErrorKind;
use prost::Message;
use protocol::messages as pb;
use protocol::service::{ADMIN, CLIENT, Call, HOST, Reply, RpcError, Service};

use crate::counts::Kind;
use crate::errors;
use crate::server::RegionServer;

impl RegionServer {
    /// Carries an order out on a task of its own, so that it ends even if nobody waits.
    async fn order<O, R, F>(&self, call: &Call, work: impl FnOnce(Arc<RegionServer>, O) -> F) -> Result<Reply, RpcError>
    where
        O: Message + Default,
        R: Message + 'static,
        F: Future<Output = Result<R, RpcError>> + Send + 'static,
    {
        let me = self.arc();
        match runtime::task::spawn("order", work(me, call.decode()?)).await {
            Ok(report) => report.map(|report| Reply::new(&report)),
            Err(error) => Err(RpcError::new(ErrorKind::Unknown, format!("{}: {error}", call.method))),
        }
    }

    async fn answer(&self, call: &Call) -> Result<Reply, RpcError> {
        match (call.service.as_str(), call.method.as_str()) {
            (CLIENT, "Get") => self.get(call).await,
            (CLIENT, "Mutate") => self.mutate(call).await,
            (CLIENT, "Scan") => {
                self.counts.request(Kind::Scan);
                self.before(self.deadline(call), self.scan(call)).await?
            }
            (CLIENT, "Multi") => {
                self.counts.request(Kind::Multi);
                self.multi(call).await
            }
            (CLIENT, method @ ("PrepareBulkLoad" | "BulkLoadHFile" | "CleanupBulkLoad")) => {
                self.counts.request(Kind::BulkLoad);
                match method {
                    "PrepareBulkLoad" => self.prepare_bulk_load(call),
                    "BulkLoadHFile" => self.bulk_load(call).await,
                    _ => self.cleanup_bulk_load(call).await,
                }
            }
            (CLIENT, "ExecService" | "ExecRegionServerService") => {
                let request: pb::CoprocessorServiceRequest = call.decode()?;
                Err(errors::unknown_endpoint(&request.call.service_name))
            }
            (ADMIN, method) => {
                self.counts.request(Kind::Admin);
                match method {
                    "FlushRegion" => self.flush_region(call).await,
                    "CompactRegion" => self.compact_region(call),
                    "CompactionSwitch" => self.compaction_switch(call),
                    "ClearCompactionQueues" => Ok(self.clear_compaction_queues()),
                    "GetRegionInfo" => self.get_region_info(call),
                    "GetOnlineRegion" => Ok(self.get_online_region()),
                    "GetServerInfo" => Ok(self.get_server_info()),
                    "GetRegionLoad" => self.get_region_load(call),
                    _ => Err(call.unknown()),
                }
            }
            (HOST, "OpenRegion") => self.order(call, RegionServer::open_region).await,
            (HOST, "CloseRegion") => self.order(call, RegionServer::close_region).await,
            (HOST, "UpdateRegion") => self.order(call, RegionServer::update_region).await,
            _ => Err(call.unknown()),
        }
    }
}

#[async_trait]
impl Service for RegionServer {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        let answer = match self.check_running() {
            Ok(()) => self.answer(&call).await,
            Err(error) => Err(error),
        };
        answer.inspect_err(|error| self.counts.failure(error.kind))
    }
}
