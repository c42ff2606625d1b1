//! Writes: one row at a time, whole or not at all.

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
use crate::memtable::ENTRY_OVERHEAD_BYTES;
use crate::nonce::Attempt;
use crate::row_lock::RowLock;

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
    _row: RowLock,
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
        let write = |mutation| self.write(RowWrite { mutations: vec![mutation], deadline, ..RowWrite::default() });
        futures::future::join_all(mutations.into_iter().map(write)).await
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
            Begun::Ready(ready) => Ok(Outcome { done: true, cells: self.commit(ready).await? }),
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
        let durability = match (asked, self.descriptor().durability()) {
            (Durability::UseDefault, Durability::UseDefault) => Durability::SyncWal,
            (Durability::UseDefault, table) => table,
            (asked, _) => asked,
        };
        let entry = if prepared.cells.is_empty() {
            None
        } else {
            let bytes = prepared.cells.iter().map(|cell| cell.bytes().len() as u64 + ENTRY_OVERHEAD_BYTES).sum();
            let charge = self.take_memory(bytes).await?;
            let updates = self.updates.read().await;
            self.check_open()?;
            Some((charge, updates))
        };
        Ok(Begun::Ready(Ready { _row: lock, attempt, prepared, durability, now_ms, entry }))
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

    async fn commit(&self, ready: Ready<'_>) -> Result<Vec<Cell>> {
        let Ready { _row, attempt, prepared, durability, now_ms, entry } = ready;
        let (nonce, attempt) = attempt.unzip();
        let Some((charge, updates)) = entry else {
            self.ctx.log.guard().await?;
            if let Some(attempt) = attempt {
                attempt.done();
            }
            return Ok(prepared.results);
        };
        let (seqno, ticket) = {
            let _order = self.submit.lock();
            let seqno = self.mvcc.begin();
            if durability == Durability::SkipWal {
                (seqno, None)
            } else {
                match self.ctx.log.submit(&self.log_name, seqno, now_ms, nonce, &prepared.cells) {
                    Ok(ticket) => (seqno, Some(ticket)),
                    Err(error) => {
                        self.mvcc.complete(seqno);
                        return Err(error);
                    }
                }
            }
        };
        if let Some(ticket) = ticket
            && durability >= Durability::SyncWal
            && let Err(error) = ticket.durable().await
        {
            // Never applied: if the log turns out to hold it, the next opening shows it, whole.
            self.mvcc.complete(seqno);
            return Err(error);
        }
        self.apply(seqno, &prepared.cells);
        self.charge.lock().absorb(charge);
        self.mvcc.complete(seqno);
        if let Some(attempt) = attempt {
            attempt.done();
        }
        drop(updates);
        self.mvcc.wait_visible(seqno).await;
        Ok(prepared.results)
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
