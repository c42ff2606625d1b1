//! Writes: one row at a time, whole or not at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::mutation::{CheckAndMutate, Condition, Durability, Mutation, MutationKind, Nonce};
use model::query::Get;
use model::{Cell, SeqNo};
use runtime::clock::within;
use runtime::task::to_the_end;
use tokio::sync::RwLockReadGuard;

use super::Region;
use super::prepare::Prepared;
use crate::budget::Charge;
use crate::error::{Result, StorageError};
use crate::nonce::Attempt;
use crate::row_lock::RowLock;
use crate::wal::Ticket;

/// Rows of a batch that go to the log together.
const TOGETHER_MAX: usize = 256;

/// What a write answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether it happened: false only for a condition that did not hold.
    pub done: bool,
    /// New cells of increments and appends that asked for them.
    pub cells: Vec<Cell>,
}

/// A write of one row, all of it or nothing.
#[derive(Clone, Debug, Default)]
pub struct RowWrite {
    /// Mutations of one row.
    pub mutations: Vec<Mutation>,
    /// The row again, and what must hold of it.
    pub condition: Option<(Bytes, Condition)>,
    /// With it a retry happens once, and answers what stands then.
    pub nonce: Option<Nonce>,
    /// Monotonic time after which the write is not begun any more ([`StorageError::Late`]).
    pub deadline: Option<Duration>,
}

/// A write that waits for nothing but the log.
struct Ready<'a> {
    row: RowLock,
    attempt: Option<(Nonce, Attempt)>,
    prepared: Prepared,
    durability: Durability,
    now_ms: i64,
    /// Memory and the right to write; absent if there is nothing to log.
    entry: Option<(Charge, RwLockReadGuard<'a, ()>)>,
}

enum Begun<'a> {
    Ready(Ready<'a>),
    /// It is over without a write.
    Over(Outcome),
}

impl Region {
    /// Writes a row. Once begun, the write goes on even if the returned future is dropped; a future that is kept must be
    /// polled.
    pub async fn write(self: &Arc<Self>, write: RowWrite) -> Result<Outcome> {
        let region = self.clone();
        to_the_end("write", async move { region.write_row(write).await }).await
    }

    /// Mutations of one row, all or none. With a nonce a retry happens once and answers what stands now.
    ///
    /// Once begun, the write goes on even if the returned future is dropped; a future that is kept must be polled.
    pub async fn mutate(self: &Arc<Self>, mutations: Vec<Mutation>, nonce: Option<Nonce>) -> Result<Outcome> {
        self.write(RowWrite { mutations, nonce, ..RowWrite::default() }).await
    }

    /// Mutations of one row, if a condition on it holds.
    pub async fn check_and_mutate(self: &Arc<Self>, check: CheckAndMutate, nonce: Option<Nonce>) -> Result<Outcome> {
        let CheckAndMutate { row, condition, mutations } = check;
        self.write(RowWrite { mutations, condition: Some((row, condition)), nonce, deadline: None }).await
    }

    /// Mutations of any rows, each on its own; they share syncs.
    pub async fn batch(self: &Arc<Self>, mutations: Vec<Mutation>) -> Vec<Result<Outcome>> {
        self.batch_before(mutations, None).await
    }

    /// [`Region::batch`] with a deadline for each ([`RowWrite::deadline`]).
    pub async fn batch_before(
        self: &Arc<Self>,
        mutations: Vec<Mutation>,
        deadline: Option<Duration>,
    ) -> Vec<Result<Outcome>> {
        let (region, mut outcomes) = (self.clone(), Vec::with_capacity(mutations.len()));
        // In parts, so that the log takes other writers' entries in between.
        let mut mutations = mutations.into_iter().peekable();
        while mutations.peek().is_some() {
            let part: Vec<Mutation> = mutations.by_ref().take(TOGETHER_MAX).collect();
            let region = region.clone();
            outcomes.extend(to_the_end("batch", async move { region.write_part(part, deadline).await }).await);
        }
        outcomes
    }

    /// Puts that have to wait for nothing go to the log together, all others each on its own beside them.
    async fn write_part(
        self: &Arc<Self>,
        mutations: Vec<Mutation>,
        deadline: Option<Duration>,
    ) -> Vec<Result<Outcome>> {
        let mut outcomes: Vec<Option<Result<Outcome>>> = Vec::with_capacity(mutations.len());
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        // What comes later for a row that has to wait waits behind it.
        let mut waiting: HashSet<Bytes> = HashSet::new();
        let is_late = deadline.is_some_and(|deadline| deadline <= self.ctx.runtime.clock.monotonic());
        for (at, mutation) in mutations.into_iter().enumerate() {
            outcomes.push(None);
            let waits = is_late || waiting.contains(&mutation.row);
            match if waits { Ok(None) } else { self.begin_at_once(&mutation) } {
                Ok(Some(ready)) => together.push((at, ready)),
                Ok(None) => {
                    waiting.insert(mutation.row.clone());
                    alone.push((at, mutation));
                }
                Err(error) => outcomes[at] = Some(Err(error)),
            }
        }
        let alone = futures::future::join_all(alone.into_iter().map(async |(at, mutation)| {
            let write = RowWrite { mutations: vec![mutation], deadline, ..RowWrite::default() };
            (at, self.write(write).await)
        }));
        let (places, ready): (Vec<usize>, Vec<Ready<'_>>) = together.into_iter().unzip();
        let together = async {
            let done = self.commit(ready).await.into_iter();
            let outcome = |done: Result<Vec<Cell>>| done.map(|cells| Outcome { done: true, cells });
            places.into_iter().zip(done.map(outcome)).collect::<Vec<_>>()
        };
        let (together, alone) = futures::future::join(together, alone).await;
        for (at, outcome) in together.into_iter().chain(alone) {
            outcomes[at] = Some(outcome);
        }
        outcomes.into_iter().map(|outcome| outcome.expect("each is in one of the parts")).collect()
    }

    /// What [`Region::begin`] does, if it is a put that need not wait for its row, memory, or a flush.
    fn begin_at_once(&self, mutation: &Mutation) -> Result<Option<Ready<'_>>> {
        self.check_open()?;
        self.check_row(&mutation.row)?;
        if mutation.kind != MutationKind::Put || self.memtable_bytes() >= self.limits.block.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let Some(lock) = self.row_locks.try_lock(&mutation.row) else { return Ok(None) };
        let now_ms = self.ctx.runtime.clock.now_ms();
        let prepared = self.prepare_put(mutation, now_ms)?;
        let entry = if prepared.cells.is_empty() {
            None
        } else {
            let Some(charge) = self.ctx.budget.try_take(prepared.bytes()) else { return Ok(None) };
            let Ok(updates) = self.updates.try_read() else { return Ok(None) };
            self.check_open()?;
            Some((charge, updates))
        };
        let durability = self.durability(mutation.durability);
        Ok(Some(Ready { row: lock, attempt: None, prepared, durability, now_ms, entry }))
    }

    async fn write_row(self: Arc<Self>, write: RowWrite) -> Result<Outcome> {
        self.check_open()?;
        let row = match (write.condition.as_ref().map(|(row, _)| row), write.mutations.first()) {
            (Some(row), _) => row,
            (None, Some(mutation)) => &mutation.row,
            (None, None) => return Err(StorageError::Invalid("no mutations".to_owned())),
        };
        self.check_row(row)?;
        if write.mutations.iter().any(|mutation| mutation.row != *row) {
            let why = match write.condition {
                Some(_) => "the condition is on another row than the mutation",
                None => "mutations of several rows cannot be one",
            };
            return Err(StorageError::Invalid(why.to_owned()));
        }
        if write.mutations.is_empty() {
            return Err(StorageError::Invalid("no mutations".to_owned()));
        }
        let row = row.clone();
        let begun = match write.deadline {
            None => self.begin(&write, row).await?,
            Some(deadline) => {
                let clock = &*self.ctx.runtime.clock;
                let left = deadline.checked_sub(clock.monotonic()).filter(|left| !left.is_zero());
                let left = left.ok_or(StorageError::Late)?;
                within(clock, left, self.begin(&write, row)).await.ok_or(StorageError::Late)??
            }
        };
        match begun {
            // What was found without a write of one's own is a read.
            Begun::Over(outcome) => self.ctx.log.guard().await.map(|()| outcome),
            Begun::Ready(ready) => {
                let done = self.commit(vec![ready]).await.pop().expect("one for each");
                Ok(Outcome { done: true, cells: done? })
            }
        }
    }

    /// Everything before the log: waits for the row, for memory, reads what the write needs. Given up, it leaves nothing.
    async fn begin(self: &Arc<Self>, write: &RowWrite, row: Bytes) -> Result<Begun<'_>> {
        self.wait_for_flush().await?;
        let attempt = match write.nonce {
            None => None,
            Some(nonce) => match self.nonces.begin(nonce).await {
                Some(attempt) => Some((nonce, attempt)),
                None => return Ok(Begun::Over(self.repeated(&write.mutations).await?)),
            },
        };
        let lock = self.row_locks.lock(row.clone()).await;
        let mut put_ms = self.ctx.runtime.clock.now_ms();
        if let Some((_, condition)) = &write.condition {
            let (holds, seen_ms) = self.condition_holds(&row, condition).await?;
            if !holds {
                return Ok(Begun::Over(Outcome { done: false, cells: Vec::new() }));
            }
            put_ms = put_ms.max(seen_ms.unwrap_or(i64::MIN));
        }
        let now_ms = self.ctx.runtime.clock.now_ms();
        let prepared = self.prepare(&write.mutations, now_ms, put_ms).await?;
        let asked = write.mutations.iter().map(|mutation| mutation.durability).max().unwrap_or_default();
        let durability = self.durability(asked);
        let entry = if prepared.cells.is_empty() {
            None
        } else {
            let charge = self.take_memory(prepared.bytes()).await?;
            let updates = self.updates.read().await;
            self.check_open()?;
            Some((charge, updates))
        };
        Ok(Begun::Ready(Ready { row: lock, attempt, prepared, durability, now_ms, entry }))
    }

    /// How durable a write is, of which this was asked.
    fn durability(&self, asked: Durability) -> Durability {
        match (asked, self.descriptor().durability()) {
            (Durability::UseDefault, Durability::UseDefault) => Durability::SyncWal,
            (Durability::UseDefault, table) => table,
            (asked, _) => asked,
        }
    }

    async fn take_memory(&self, bytes: u64) -> Result<Charge> {
        if let Some(charge) = self.ctx.budget.try_take(bytes) {
            return Ok(charge);
        }
        self.counters.write_waited();
        let wait = Duration::from_millis(self.ctx.settings.memory_wait_ms);
        self.ctx.budget.take(&*self.ctx.runtime.clock, bytes, wait).await
    }

    /// Waits while the memtables are so large that a flush must come first.
    async fn wait_for_flush(&self) -> Result<()> {
        let limit = self.limits.block.load(Ordering::Relaxed);
        if self.memtable_bytes() < limit {
            return Ok(());
        }
        self.counters.write_waited();
        let room = async {
            loop {
                let flushed = self.flushed.notified();
                tokio::pin!(flushed);
                // Registered before the look, so that no flush in between is missed.
                flushed.as_mut().enable();
                if self.memtable_bytes() < limit {
                    return Ok(());
                }
                self.check_open()?;
                flushed.await;
            }
        };
        let wait = Duration::from_millis(self.ctx.settings.memory_wait_ms);
        match within(&*self.ctx.runtime.clock, wait, room).await {
            Some(room) => room,
            None => Err(StorageError::Busy(format!("region {} waits for a flush", self.name()))),
        }
    }

    /// A retry of something that happened: what stands now of its columns.
    async fn repeated(self: &Arc<Self>, mutations: &[Mutation]) -> Result<Outcome> {
        // Its first attempt may not be visible yet; it holds the row until it is.
        let _row = self.row_locks.lock(mutations[0].row.clone()).await;
        let mut cells = Vec::new();
        for mutation in mutations {
            let changes = matches!(mutation.kind, MutationKind::Increment | MutationKind::Append);
            if !changes || !mutation.return_results {
                continue;
            }
            let mut get = Get::new(mutation.row.clone());
            for cell in &mutation.cells {
                get.selection.add_column(cell.family().to_vec(), cell.qualifier().to_vec());
            }
            get.selection.time_range = mutation.time_range;
            cells.extend(self.read_row(&get).await?);
        }
        Ok(Outcome { done: true, cells })
    }

    /// Logs and applies writes of different rows, in their order; what each of them comes to.
    async fn commit(&self, ready: Vec<Ready<'_>>) -> Vec<Result<Vec<Cell>>> {
        let mut logged = Vec::with_capacity(ready.len());
        {
            let _order = self.submit.lock();
            logged.extend(ready.into_iter().map(|ready| {
                let log = ready.entry.is_some().then(|| self.submit(&ready));
                (ready, log.transpose())
            }));
        }
        let (mut done, mut newest) = (Vec::with_capacity(logged.len()), None);
        // Until what was written is visible, or the next writer of the row would not see it.
        let mut rows = Vec::with_capacity(logged.len());
        for (ready, log) in logged {
            let applied = match log {
                Ok(None) => self.ctx.log.guard().await,
                Ok(Some((seqno, ticket))) => {
                    let applied = self.apply_durable(&ready, seqno, ticket).await;
                    newest = newest.max(applied.is_ok().then_some(seqno));
                    applied
                }
                Err(error) => Err(error),
            };
            let Ready { row, attempt, prepared, entry, .. } = ready;
            rows.push(row);
            done.push(applied.map(|()| {
                if let Some((charge, _)) = entry {
                    self.charge.lock().absorb(charge);
                }
                if let Some((_, attempt)) = attempt {
                    attempt.done();
                }
                prepared.results
            }));
        }
        // All that comes before it is visible then, too.
        if let Some(seqno) = newest {
            self.mvcc.wait_visible(seqno).await;
        }
        done
    }

    /// Takes a number and gives the write to the log, unless it is not to be logged. The caller holds the order of both.
    fn submit(&self, ready: &Ready<'_>) -> Result<(SeqNo, Option<Ticket>)> {
        let seqno = self.mvcc.begin();
        if ready.durability == Durability::SkipWal {
            return Ok((seqno, None));
        }
        let nonce = ready.attempt.as_ref().map(|(nonce, _)| *nonce);
        match self.ctx.log.submit(&self.log_name, seqno, ready.now_ms, nonce, &ready.prepared.cells) {
            Ok(ticket) => Ok((seqno, Some(ticket))),
            Err(error) => {
                self.mvcc.complete(seqno);
                Err(error)
            }
        }
    }

    /// Applies a write once it is as durable as was asked. If it is not, it is never applied: if the log turns out to hold it, the next
    /// opening shows it, whole.
    async fn apply_durable(&self, ready: &Ready<'_>, seqno: SeqNo, ticket: Option<Ticket>) -> Result<()> {
        let durable = match ticket {
            Some(ticket) if ready.durability >= Durability::SyncWal => ticket.durable().await,
            Some(_) | None => Ok(()),
        };
        if durable.is_ok() {
            self.apply(seqno, &ready.prepared.cells);
        }
        self.mvcc.complete(seqno);
        durable
    }

    fn apply(&self, seqno: SeqNo, cells: &[Cell]) {
        let version = self.version.read().clone();
        for cell in cells {
            // A family that was dropped after the check takes its cells with it.
            if let Some(store) = version.get(cell.family()) {
                store.active.insert(cell.with_seqno(seqno));
            }
        }
    }
}
