//! Writes of one row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use model::mutation::{Mutation, MutationKind};
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::service::{Call, Reply, RpcError};
use protocol::{mutation, result};
use storage::region::RowWrite;

use crate::counts::Kind;
use crate::errors;
use crate::regions::Hosted;
use crate::server::RegionServer;

impl RegionServer {
    /// The time after which the caller has given the call up, so that nothing of it need be begun.
    pub(crate) fn deadline(&self, call: &Call) -> Option<Duration> {
        call.timeout.map(|timeout| self.ctx.region.runtime.clock.monotonic() + timeout)
    }

    /// Waits for a read until its caller gives it up; then it is dropped.
    pub(crate) async fn before<T>(
        &self,
        deadline: Option<Duration>,
        read: impl Future<Output = T>,
    ) -> Result<T, RpcError> {
        let Some(deadline) = deadline else { return Ok(read.await) };
        let clock = &*self.ctx.region.runtime.clock;
        let left = deadline.saturating_sub(clock.monotonic());
        runtime::clock::within(clock, left, read).await.ok_or_else(errors::late)
    }

    /// Counts writes before they are tried.
    pub(crate) fn count_writes(&self, hosted: &Arc<Hosted>, checked: bool, changes: &[Mutation]) {
        hosted.writes.fetch_add(changes.len() as u64, Ordering::Relaxed);
        self.counts.mutations.add(changes.len() as u64);
        if checked {
            self.counts.request(Kind::CheckAndMutate);
        } else {
            changes.iter().for_each(|change| self.counts.request(Kind::of(change)));
        }
    }

    pub(crate) async fn mutate(&self, call: &Call) -> Result<Reply, RpcError> {
        let request: pb::MutateRequest = call.decode()?;
        let hosted = self.region(&request.region)?;
        let mut cells = CellBlock::new(call.cells.clone());
        let (change, nonce) = mutation::mutation_from(&request.mutation, &mut cells, request.nonce_group())?;
        let answers = matches!(change.kind, MutationKind::Increment | MutationKind::Append);
        self.count_writes(&hosted, request.condition.is_some(), std::slice::from_ref(&change));
        let condition = request.condition.as_ref().map(mutation::condition_from).transpose()?;
        let write = RowWrite { mutations: vec![change], condition, nonce, deadline: self.deadline(call) };
        let outcome = hosted.region.write(write).await.map_err(|error| self.failure(&hosted, error))?;
        self.wrote(&hosted, call.param.len() + call.cells.len());
        let mut block = BytesMut::new();
        let result = (answers && outcome.done).then(|| result::result_to(&outcome.cells, &mut block));
        let mut reply = Reply::new(&pb::MutateResponse { result, processed: Some(outcome.done) });
        reply.cells = block.freeze();
        Ok(reply)
    }
}
