//! Writes: one row at a time, whole or not at all.

use std::sync::Arc;
use std::time::Duration;

use model::mutation::{CheckAndMutate, Durability, Mutation, MutationKind, Nonce};
use model::query::Get;
use model::{Cell, SeqNo};

use runtime::task::to_the_end;

use super::Region;
use super::prepare::Prepared;
use crate::error::{Result, StorageError};
use crate::memtable::ENTRY_OVERHEAD_BYTES;
use crate::nonce::Attempt;

/// What a write answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Whether it happened: false only for a condition that did not hold.
    pub done: bool,
    /// New cells of increments and appends that asked for them.
    pub cells: Vec<Cell>,
}

impl Region {
    /// Mutations of one row, all or none. With a nonce a retry happens once and answers what stands now.
    ///
    /// Once begun, the write goes on even if the returned future is dropped; a future that is kept must be polled.
    pub async fn mutate(self: &Arc<Self>, mutations: Vec<Mutation>, nonce: Option<Nonce>) -> Result<Outcome> {
        let region = self.clone();
        to_the_end("write", async move { region.write_row(mutations, None, nonce).await }).await
    }

    /// Mutations of one row, if a condition on it holds.
    pub async fn check_and_mutate(self: &Arc<Self>, check: CheckAndMutate, nonce: Option<Nonce>) -> Result<Outcome> {
        let region = self.clone();
        to_the_end("write", async move {
            let CheckAndMutate { row, condition, mutations } = check;
            region.check_row(&row)?;
            if mutations.iter().any(|mutation| mutation.row != row) {
                return Err(StorageError::Invalid("the condition is on another row than the mutation".to_owned()));
            }
            region.write_row(mutations, Some(condition), nonce).await
        })
        .await
    }

    /// Mutations of any rows, each on its own; they share syncs.
    pub async fn batch(self: &Arc<Self>, mutations: Vec<Mutation>) -> Vec<Result<Outcome>> {
        futures::future::join_all(mutations.into_iter().map(|mutation| self.mutate(vec![mutation], None))).await
    }

    async fn write_row(
        self: Arc<Self>,
        mutations: Vec<Mutation>,
        condition: Option<model::mutation::Condition>,
        nonce: Option<Nonce>,
    ) -> Result<Outcome> {
        self.check_open()?;
        let Some(row) = mutations.first().map(|mutation| mutation.row.clone()) else {
            return Err(StorageError::Invalid("no mutations".to_owned()));
        };
        if mutations.iter().any(|mutation| mutation.row != row) {
            return Err(StorageError::Invalid("mutations of several rows cannot be one".to_owned()));
        }
        self.check_row(&row)?;
        if self.memtable_bytes() >= self.ctx.settings.blocking_bytes {
            return Err(StorageError::Busy(format!("region {} waits for a flush", self.name())));
        }
        let attempt = match nonce {
            None => None,
            Some(nonce) => match self.nonces.begin(nonce).await {
                Some(attempt) => Some(attempt),
                None => return self.repeated(&mutations).await,
            },
        };
        let _row = self.row_locks.lock(row.clone()).await;
        let mut put_ms = self.ctx.runtime.clock.now_ms();
        if let Some(condition) = &condition {
            let (holds, seen_ms) = self.condition_holds(&row, condition).await?;
            if !holds {
                return Ok(Outcome { done: false, cells: Vec::new() });
            }
            put_ms = put_ms.max(seen_ms.unwrap_or(i64::MIN));
        }
        let now_ms = self.ctx.runtime.clock.now_ms();
        let prepared = self.prepare(&mutations, now_ms, put_ms).await?;
        let durability = mutations.iter().map(|mutation| mutation.durability).max().unwrap_or_default();
        let cells = self.commit(prepared, durability, nonce.zip(attempt), now_ms).await?;
        Ok(Outcome { done: true, cells })
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

    async fn commit(
        &self,
        prepared: Prepared,
        durability: Durability,
        attempt: Option<(Nonce, Attempt)>,
        now_ms: i64,
    ) -> Result<Vec<Cell>> {
        let (nonce, attempt) = attempt.unzip();
        let durability = match (durability, self.descriptor().durability()) {
            (Durability::UseDefault, Durability::UseDefault) => Durability::SyncWal,
            (Durability::UseDefault, table) => table,
            (asked, _) => asked,
        };
        if prepared.cells.is_empty() {
            if let Some(attempt) = attempt {
                attempt.done();
            }
            return Ok(prepared.results);
        }
        let bytes = prepared.cells.iter().map(|cell| cell.bytes().len() as u64 + ENTRY_OVERHEAD_BYTES).sum();
        let wait = Duration::from_millis(self.ctx.settings.memory_wait_ms);
        let charge = self.ctx.budget.take(&*self.ctx.runtime.clock, bytes, wait).await?;
        let updates = self.updates.read().await;
        self.check_open()?;
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
