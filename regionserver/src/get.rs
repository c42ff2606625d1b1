//! Reads of one row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use model::ErrorKind;
use protocol::messages as pb;
use protocol::service::{Call, Reply, RpcError};
use protocol::{query, result};

use crate::counts::Kind;
use crate::regions::Hosted;
use crate::server::RegionServer;

impl RegionServer {
    pub(crate) async fn get(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::GetRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        let mut block = BytesMut::new();
        let result = self.get_from(&hosted, &request.get, &mut block, self.deadline(call)).await?;
        let mut reply = Reply::new(&pb::GetResponse { result: Some(result) });
        reply.cells = block.freeze();
        Ok(reply)
    }

    /// Reads a row; its cells go to the block. At the deadline the read is given up.
    pub(crate) async fn get_from(
        &self,
        hosted: &Arc<Hosted>,
        get: &pb::Get,
        block: &mut BytesMut,
        deadline: Option<Duration>,
    ) -> Result<pb::Result, RpcError> {
        if get.closest_row_before() {
            // Clients of old try it on META and go on from just this class.
            let message = "a get of the closest row before is not supported";
            return Err(RpcError::of(ErrorKind::Invalid, "exceptions.UnknownProtocolException", message));
        }
        let get = query::get_from(get).map_err(|error| RpcError::invalid(error.to_string()))?;
        hosted.reads.fetch_add(1, Ordering::Relaxed);
        self.counts.request(Kind::Get);
        self.counts.rows_read.add(1);
        let read = hosted.region.get_within(&get, self.ctx.settings.row_bytes_max);
        let cells = self.before(deadline, read).await?.map_err(|error| self.failure(hosted, error))?;
        if get.existence_only {
            return Ok(result::exists_to(!cells.is_empty()));
        }
        Ok(result::result_to(&cells, block))
    }
}
