//! Many actions in one call, by region (hbase-wire.md §2.5).
//!
//! Always true
//! - The request is taken apart whole before anything of it is done: a broken cell block changes nothing.
//! - One result per region action, in order; in a plain one, one entry per action, in order, with its index.
//! - All cells of the answer stand in one block in the order of the results, but for those of atomic and conditional
//!   actions, which travel in their message.
//! - Writes of one row keep their order, also over several parts of one region; rows, and regions, share the log's syncs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::join_all;
use model::ErrorKind;
use model::mutation::{Mutation, MutationKind, Nonce};
use protocol::cell_block::CellBlock;
use protocol::messages as pb;
use protocol::service::{Call, Reply, RpcError};
use protocol::{mutation, result};
use storage::StorageError;
use storage::region::{Outcome, RowWrite};

use crate::errors;
use crate::regions::Hosted;
use crate::server::RegionServer;

/// One action, taken apart.
enum Step {
    Get(pb::Get),
    Write(Mutation, Option<Nonce>),
    Bad(RpcError),
}

/// One region's actions.
struct Part {
    region: pb::RegionSpecifier,
    atomic: bool,
    condition: Option<pb::Condition>,
    steps: Vec<(Option<u32>, Step)>,
}

/// What bounds a call.
struct Limits {
    /// Bytes of cells in the answer so far.
    answered: AtomicU64,
    /// Writes are not begun after it.
    deadline: Option<Duration>,
    /// Bytes of the request.
    bytes: usize,
}

/// A write's place among its part's results, and what it is.
type Write = (usize, Mutation, Option<Nonce>);

impl RegionServer {
    pub(crate) async fn multi(&self, call: &Call) -> Result<Reply, RpcError> {
        let mut request: pb::MultiRequest = call.decode()?;
        let whole_condition = request.condition.take();
        let nonce_group = request.nonce_group();
        let mut cells = CellBlock::new(call.cells.clone());
        let mut parts = Vec::with_capacity(request.region_action.len());
        for action in request.region_action {
            parts.push(take_apart(action, nonce_group, &mut cells)?);
        }
        if let Some(condition) = &whole_condition {
            // The form of clients up to 2.3.
            let [part] = &mut parts[..] else {
                return Err(RpcError::invalid("a condition goes with exactly one region's actions"));
            };
            part.condition = Some(condition.clone());
        }
        // As in HBase: not for the newer form of a condition, whose clients look at the region's result.
        let tells: Vec<bool> =
            parts.iter().map(|part| whole_condition.is_some() || (part.atomic && part.condition.is_none())).collect();
        let bytes = call.param.len() + call.cells.len();
        let limits = Limits { answered: AtomicU64::new(0), deadline: self.deadline(call), bytes };
        let done = self.parts(parts, &limits).await;
        let mut answer = pb::MultiResponse {
            region_statistics: Some(pb::MultiRegionLoadStats::default()),
            ..pb::MultiResponse::default()
        };
        let mut blocks = Vec::with_capacity(done.len());
        for ((result, block), tells) in done.into_iter().zip(tells) {
            if tells {
                answer.processed = answer.processed.or(result.processed);
            }
            answer.region_action_result.push(result);
            blocks.push(block);
        }
        let mut reply = Reply::new(&answer);
        reply.cells = joined(blocks);
        Ok(reply)
    }

    /// Regions side by side, the parts of one region in their order.
    async fn parts(&self, parts: Vec<Part>, limits: &Limits) -> Vec<(pb::RegionActionResult, Bytes)> {
        let mut lanes: Vec<Vec<(usize, Part)>> = Vec::with_capacity(parts.len());
        let mut lane_of: HashMap<Bytes, usize> = HashMap::with_capacity(parts.len());
        for (place, part) in parts.into_iter().enumerate() {
            let lane = *lane_of.entry(part.region.value.clone()).or_insert(lanes.len());
            if lane == lanes.len() {
                lanes.push(Vec::new());
            }
            lanes[lane].push((place, part));
        }
        let run = |lane: Vec<(usize, Part)>| async move {
            let mut done = Vec::with_capacity(lane.len());
            for (place, part) in lane {
                done.push((place, self.part(part, limits).await));
            }
            done
        };
        let mut done: Vec<_> = join_all(lanes.into_iter().map(run)).await.into_iter().flatten().collect();
        done.sort_unstable_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, result)| result).collect()
    }

    async fn part(&self, part: Part, limits: &Limits) -> (pb::RegionActionResult, Bytes) {
        let mut result = pb::RegionActionResult::default();
        let mut block = BytesMut::new();
        let done = match self.region(&part.region) {
            Err(error) => Err(error),
            Ok(hosted) if part.condition.is_some() || part.atomic => self.atomic(&hosted, part, limits).await,
            Ok(hosted) => Ok((None, self.plain(&hosted, part.steps, limits, &mut block).await)),
        };
        match done {
            Ok((processed, entries)) => {
                result.processed = processed;
                result.result_or_exception = entries;
            }
            Err(error) => {
                self.counts.failure(error.kind);
                result.exception = Some(errors::pair(&error));
            }
        }
        (result, block.freeze())
    }

    /// All or nothing, on one row, perhaps under a condition. Entries count from 0, whatever the actions' indexes are.
    async fn atomic(
        &self,
        hosted: &Arc<Hosted>,
        part: Part,
        limits: &Limits,
    ) -> Result<(Option<bool>, Vec<pb::ResultOrException>), RpcError> {
        let (mut changes, mut last_nonce) = (Vec::with_capacity(part.steps.len()), None);
        for (_, step) in part.steps {
            match step {
                Step::Write(change, nonce) => {
                    last_nonce = nonce.or(last_nonce);
                    changes.push(change);
                }
                Step::Get(_) => return Err(RpcError::invalid("Atomic put and/or delete only, not a get")),
                Step::Bad(error) => return Err(error),
            }
        }
        let count = changes.len();
        let answers = changes.iter().any(is_change);
        self.count_writes(hosted, part.condition.is_some(), &changes);
        let condition = part.condition.as_ref().map(mutation::condition_from).transpose()?;
        let write = RowWrite { mutations: changes, condition, nonce: last_nonce, deadline: limits.deadline };
        let outcome = hosted.region.write(write).await.map_err(|error| self.failure(hosted, error))?;
        self.wrote(hosted, limits.bytes);
        let mut entries: Vec<pb::ResultOrException> = (0..count as u32).map(|index| entry(Some(index))).collect();
        if let Some(first) = entries.first_mut().filter(|_| answers && outcome.done) {
            first.result = Some(result::result_inline(&outcome.cells));
        }
        Ok((Some(outcome.done), entries))
    }

    /// Each action on its own.
    async fn plain(
        &self,
        hosted: &Arc<Hosted>,
        steps: Vec<(Option<u32>, Step)>,
        limits: &Limits,
        block: &mut BytesMut,
    ) -> Vec<pb::ResultOrException> {
        let mut entries: Vec<pb::ResultOrException> = Vec::with_capacity(steps.len());
        let mut writes: Vec<Write> = Vec::new();
        for (index, step) in steps {
            let at = entries.len();
            entries.push(entry(index));
            let done = match step {
                Step::Write(change, nonce) => {
                    writes.push((at, change, nonce));
                    continue;
                }
                Step::Bad(error) => Err(error),
                Step::Get(get) => {
                    self.run(hosted, std::mem::take(&mut writes), limits, &mut entries, block).await;
                    let before = block.len();
                    let done = match self.has_room(limits) {
                        Ok(()) => self.get_from(hosted, &get, block, limits.deadline).await,
                        Err(error) => Err(error),
                    };
                    limits.answered.fetch_add((block.len() - before) as u64, Ordering::Relaxed);
                    done
                }
            };
            self.set(&mut entries[at], done);
        }
        self.run(hosted, writes, limits, &mut entries, block).await;
        entries
    }

    fn set(&self, entry: &mut pb::ResultOrException, done: Result<pb::Result, RpcError>) {
        match done {
            Ok(result) => entry.result = Some(result),
            Err(error) => {
                self.counts.failure(error.kind);
                entry.result = None;
                entry.exception = Some(errors::pair(&error));
            }
        }
    }

    /// Whether the answer may still grow.
    fn has_room(&self, limits: &Limits) -> Result<(), RpcError> {
        let bytes = limits.answered.load(Ordering::Relaxed);
        if bytes <= self.ctx.settings.result_bytes_max {
            return Ok(());
        }
        let message = format!("the answer is too large; ask again for the rest. bytes=`{bytes}`");
        Err(RpcError::of(ErrorKind::Busy, "MultiActionResultTooLarge", message))
    }

    /// Writes that follow each other, all rows side by side.
    async fn run(
        &self,
        hosted: &Arc<Hosted>,
        writes: Vec<Write>,
        limits: &Limits,
        entries: &mut [pb::ResultOrException],
        block: &mut BytesMut,
    ) {
        if writes.is_empty() {
            return;
        }
        if let Err(error) = self.has_room(limits) {
            writes.iter().for_each(|(at, ..)| self.set(&mut entries[*at], Err(error.clone())));
            return;
        }
        writes.iter().for_each(|(_, change, _)| self.count_writes(hosted, false, std::slice::from_ref(change)));
        let changes: HashMap<usize, bool> = writes.iter().map(|(at, change, _)| (*at, is_change(change))).collect();
        let mut outcomes = write_rows(hosted, writes, limits.deadline).await;
        self.wrote(hosted, limits.bytes);
        outcomes.sort_by_key(|(at, _)| *at);
        for (at, outcome) in outcomes {
            let done = match outcome {
                Ok(outcome) if changes[&at] => {
                    let before = block.len();
                    let result = result::result_to(&outcome.cells, block);
                    limits.answered.fetch_add((block.len() - before) as u64, Ordering::Relaxed);
                    Ok(result)
                }
                Ok(_) => Ok(pb::Result::default()),
                Err(error) => Err(errors::in_multi(self.failure(hosted, error))),
            };
            self.set(&mut entries[at], done);
        }
    }
}

/// Takes a region's actions and their cells out of the request. A bad action keeps its place.
fn take_apart(action: pb::RegionAction, nonce_group: u64, cells: &mut CellBlock) -> Result<Part, RpcError> {
    let mut steps = Vec::with_capacity(action.action.len());
    for one in action.action {
        let step = match (one.mutation, one.get, one.service_call) {
            (Some(message), _, _) => {
                let mut behind = cells.clone();
                match mutation::mutation_from(&message, &mut behind, nonce_group) {
                    Ok((change, nonce)) => {
                        *cells = behind;
                        Step::Write(change, nonce)
                    }
                    Err(error) => {
                        mutation::skip(&message, cells)?;
                        Step::Bad(error)
                    }
                }
            }
            (None, Some(get), _) => Step::Get(get),
            (None, None, Some(call)) => Step::Bad(errors::unknown_endpoint(&call.service_name)),
            (None, None, None) => Step::Bad(RpcError::invalid("the action is empty")),
        };
        steps.push((one.index, step));
    }
    let (region, atomic, condition) = (action.region, action.atomic.unwrap_or(false), action.condition);
    Ok(Part { region, atomic, condition, steps })
}

fn is_change(change: &Mutation) -> bool {
    matches!(change.kind, MutationKind::Increment | MutationKind::Append)
}

fn entry(index: Option<u32>) -> pb::ResultOrException {
    pb::ResultOrException { index, result: Some(pb::Result::default()), ..pb::ResultOrException::default() }
}

/// Blocks behind each other; the usual single one is not copied.
fn joined(mut blocks: Vec<Bytes>) -> Bytes {
    blocks.retain(|block| !block.is_empty());
    if blocks.len() <= 1 {
        return blocks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(blocks.iter().map(Bytes::len).sum());
    blocks.iter().for_each(|block| all.extend_from_slice(block));
    all.freeze()
}

type Done = (usize, Result<Outcome, StorageError>);

/// Carries out writes: those of one row in their order, those of different rows at the same time.
async fn write_rows(hosted: &Arc<Hosted>, writes: Vec<Write>, deadline: Option<Duration>) -> Vec<Done> {
    let mut rows: HashMap<Bytes, Vec<Write>> = HashMap::with_capacity(writes.len());
    let mut order = Vec::with_capacity(writes.len());
    for write in writes {
        let row = rows.entry(write.1.row.clone()).or_default();
        if row.is_empty() {
            order.push(write.1.row.clone());
        }
        row.push(write);
    }
    let (mut alone, mut lanes) = (Vec::new(), Vec::new());
    for row in order {
        let lane = rows.remove(&row).expect("put there above");
        match &lane[..] {
            [(_, change, None)] if !is_change(change) => alone.extend(lane),
            _ => lanes.push(lane),
        }
    }
    let batch = async {
        let (places, changes): (Vec<usize>, Vec<Mutation>) =
            alone.into_iter().map(|(at, change, _)| (at, change)).unzip();
        if changes.is_empty() {
            return Vec::new();
        }
        places.into_iter().zip(hosted.region.batch_before(changes, deadline).await).collect::<Vec<Done>>()
    };
    let lanes = join_all(lanes.into_iter().map(|lane| write_row(hosted, lane, deadline)));
    let (mut done, others) = futures::future::join(batch, lanes).await;
    done.extend(others.into_iter().flatten());
    done
}

/// The writes of one row. Puts and deletes that follow each other go as one while none of them is wrong.
async fn write_row(hosted: &Arc<Hosted>, lane: Vec<Write>, deadline: Option<Duration>) -> Vec<Done> {
    let mut done = Vec::with_capacity(lane.len());
    let mut lane = lane.into_iter().peekable();
    let write = |mutations, nonce| hosted.region.write(RowWrite { mutations, condition: None, nonce, deadline });
    while let Some((at, change, nonce)) = lane.next() {
        if is_change(&change) || nonce.is_some() {
            done.push((at, write(vec![change], nonce).await));
            continue;
        }
        let (mut places, mut group) = (vec![at], vec![change]);
        while let Some((at, change, _)) = lane.next_if(|(_, change, nonce)| !is_change(change) && nonce.is_none()) {
            places.push(at);
            group.push(change);
        }
        let fallback = if group.len() > 1 { group.clone() } else { Vec::new() };
        match write(group, None).await {
            Err(error)
                if !fallback.is_empty() && !error.kind().is_retriable() && error.kind() != ErrorKind::Unknown =>
            {
                // Nothing was done: find out which of them is wrong.
                for (at, change) in places.into_iter().zip(fallback) {
                    done.push((at, write(vec![change], None).await));
                }
            }
            Ok(outcome) => done.extend(places.into_iter().map(|at| (at, Ok(outcome.clone())))),
            Err(error) => {
                let (kind, text) = (error.kind(), error.to_string());
                let mut first = Some(error);
                let mut next = || first.take().unwrap_or_else(|| StorageError::Log(text.clone(), kind));
                done.extend(places.into_iter().map(|at| (at, Err(next()))));
            }
        }
    }
    done
}
