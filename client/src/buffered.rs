//! Collects mutations and sends them in batches.
//!
//! Always true
//! - At most one batch is on its way and one is filling, so that memory is bounded and mutations of a row keep their order;
//!   whoever adds to a full buffer waits.
//! - Every mutation that failed for good is reported once: to the handler, or by the next flush.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::mutation::Mutation;
use parking_lot::Mutex;
use protocol::service::RpcError;
use runtime::shutdown::Shutdown;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use crate::Result;
use crate::error::{ClientError, Effect, Subject};
use crate::table::Table;

/// Most failures kept until the next flush, and no more bytes of them than a batch has; later ones are only counted.
const FAILURES_MAX: usize = 10_000;
/// What a mutation weighs besides its cells.
const MUTATION_OVERHEAD: usize = 200;

/// A mutation that failed for good.
#[derive(Clone, Debug)]
pub struct MutationFailure {
    /// What was to be done.
    pub mutation: Mutation,
    /// Why it was not.
    pub error: ClientError,
}

/// Hears of failures as they happen.
pub type FailureHandler = Arc<dyn Fn(MutationFailure) + Send + Sync>;

/// How a [`BufferedMutator`] works.
#[derive(Clone)]
pub struct BufferSettings {
    /// Bytes collected before a batch is sent; more means fewer calls and more memory. At most twice as much is held, and
    /// two of the largest mutations.
    pub bytes: usize,
    /// Longest time that a mutation waits before it is sent by itself; `None` waits for size or a flush.
    pub period: Option<Duration>,
    /// Largest mutation that is taken, in bytes.
    pub max_mutation_bytes: usize,
    /// Hears of failures; `None` reports them at the next flush.
    pub on_failure: Option<FailureHandler>,
}

impl Default for BufferSettings {
    fn default() -> BufferSettings {
        BufferSettings { bytes: 2 << 20, period: None, max_mutation_bytes: 10 << 20, on_failure: None }
    }
}

impl fmt::Debug for BufferSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferSettings")
            .field("bytes", &self.bytes)
            .field("period", &self.period)
            .finish_non_exhaustive()
    }
}

/// Mutations that failed since the last flush.
#[derive(Debug, thiserror::Error)]
#[error("{} mutation(s) failed; the first: {}", self.count, self.failures[0].error)]
pub struct FlushError {
    /// The mutations and why they failed, the oldest first; at least one.
    pub failures: Vec<MutationFailure>,
    /// How many failed; more than `failures` if there were too many to keep.
    pub count: usize,
}

impl FlushError {
    /// What befell the first one.
    pub fn first(&self) -> &ClientError {
        &self.failures[0].error
    }
}

#[derive(Default)]
struct Buffer {
    mutations: Vec<Mutation>,
    bytes: usize,
    failures: Vec<MutationFailure>,
    failed_bytes: usize,
    failed: usize,
}

struct Inner {
    table: Table,
    settings: BufferSettings,
    buffer: Mutex<Buffer>,
    /// Held while a batch is on its way.
    sending: Arc<AsyncMutex<()>>,
    stop: Shutdown,
}

/// Collects mutations of one table and sends them in batches, in the background. Shared by reference.
///
/// Close it: [`BufferedMutator::close`] sends what is left and reports failures. A drop sends nothing, because it could
/// neither wait nor report; mutations still buffered then are lost, and a warning is logged. A batch already on its way
/// is sent to its end.
///
/// ```no_run
/// # use ferrobase_client as client;
/// # use model::{Cell, LATEST_TIMESTAMP, mutation::{Mutation, MutationKind}};
/// # async fn example(connection: client::Connection) -> Result<(), Box<dyn std::error::Error>> {
/// let buffer = connection.buffered_mutator("readings".parse()?, client::BufferSettings::default());
/// for n in 0..1_000_000_u32 {
///     let row = format!("{n:08}");
///     let mut put = Mutation::new(MutationKind::Put, row.clone());
///     put.cells.push(Cell::put(row.as_bytes(), b"d", b"n", LATEST_TIMESTAMP, &n.to_be_bytes())?);
///     buffer.mutate(put).await?;
/// }
/// if let Err(failed) = buffer.close().await {
///     println!("{} mutations failed, the first: {}", failed.count, failed.first());
/// }
/// # Ok(())
/// # }
/// ```
pub struct BufferedMutator {
    inner: Arc<Inner>,
}

impl fmt::Debug for BufferedMutator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedMutator").field("table", self.inner.table.name()).finish_non_exhaustive()
    }
}

impl Buffer {
    fn take(&mut self) -> Vec<Mutation> {
        self.bytes = 0;
        std::mem::take(&mut self.mutations)
    }
}

impl Inner {
    fn take(&self) -> Vec<Mutation> {
        self.buffer.lock().take()
    }

    /// Sends what is there. The guard shows that no other batch is on its way.
    async fn send(self: Arc<Inner>, batch: Vec<Mutation>, _alone: OwnedMutexGuard<()>) {
        if batch.is_empty() {
            return;
        }
        // Mutations share their bytes, so that the copy is small.
        let answers = self.table.mutate_all(batch.clone()).await;
        for (mutation, answer) in batch.into_iter().zip(answers) {
            let Err(error) = answer else { continue };
            let failure = MutationFailure { mutation, error };
            if let Some(handler) = &self.settings.on_failure {
                handler(failure);
                continue;
            }
            let mut buffer = self.buffer.lock();
            buffer.failed += 1;
            let room = buffer.failures.len() < FAILURES_MAX && buffer.failed_bytes < self.settings.bytes;
            if room || buffer.failures.is_empty() {
                buffer.failed_bytes += weight(&failure.mutation);
                buffer.failures.push(failure);
            }
        }
    }

    async fn send_by_the_clock(self: Arc<Inner>, period: Duration) {
        let clock = self.table.clock();
        let (stop, weak) = (self.stop.clone(), Arc::downgrade(&self));
        drop(self);
        loop {
            tokio::select! {
                () = stop.wait() => return,
                () = clock.sleep(period) => {}
            }
            let Some(inner) = weak.upgrade() else { return };
            let alone = inner.sending.clone().lock_owned().await;
            let batch = inner.take();
            inner.send(batch, alone).await;
        }
    }
}

impl BufferedMutator {
    pub(crate) fn new(table: Table, settings: BufferSettings) -> BufferedMutator {
        let inner = Arc::new(Inner {
            table,
            settings,
            buffer: Mutex::default(),
            sending: Arc::default(),
            stop: Shutdown::new(),
        });
        if let Some(period) = inner.settings.period {
            let period = period.max(Duration::from_millis(1));
            runtime::task::spawn("buffered mutator", inner.clone().send_by_the_clock(period));
        }
        BufferedMutator { inner }
    }

    /// The table's name.
    pub fn name(&self) -> &model::schema::TableName {
        self.inner.table.name()
    }

    /// Adds a mutation. Waits while the buffer is full and the batch before it is still on its way.
    ///
    /// # Errors
    /// Invalid if the mutation is larger than the settings allow. Failures of sent mutations are not reported here.
    pub async fn mutate(&self, mutation: Mutation) -> Result<()> {
        let inner = &self.inner;
        let bytes = weight(&mutation);
        if bytes > inner.settings.max_mutation_bytes {
            let why = format!("mutation of {bytes} bytes is larger than {}", inner.settings.max_mutation_bytes);
            let subject = Subject::new("buffer", Effect::Repeatable).table(self.name()).row(&mutation.row);
            return Err(ClientError::new(subject, 0, false, RpcError::invalid(why)));
        }
        loop {
            {
                let mut buffer = inner.buffer.lock();
                if buffer.bytes < inner.settings.bytes {
                    buffer.bytes += bytes;
                    buffer.mutations.push(mutation);
                    self.send_if_full(&mut buffer);
                    return Ok(());
                }
            }
            let alone = inner.sending.clone().lock_owned().await;
            self.send_in_background(alone);
        }
    }

    /// Sends a full buffer at once if nothing is on its way; else the next one to add does it.
    fn send_if_full(&self, buffer: &mut Buffer) {
        if buffer.bytes >= self.inner.settings.bytes
            && let Ok(alone) = self.inner.sending.clone().try_lock_owned()
        {
            runtime::task::spawn("buffered mutator", self.inner.clone().send(buffer.take(), alone));
        }
    }

    fn send_in_background(&self, alone: OwnedMutexGuard<()>) {
        let batch = self.inner.take();
        runtime::task::spawn("buffered mutator", self.inner.clone().send(batch, alone));
    }

    /// Adds mutations.
    ///
    /// # Errors
    /// As [`BufferedMutator::mutate`]; those before the refused one were added.
    pub async fn mutate_all(&self, mutations: Vec<Mutation>) -> Result<()> {
        for mutation in mutations {
            self.mutate(mutation).await?;
        }
        Ok(())
    }

    /// Sends everything added so far and waits for the answers.
    ///
    /// # Errors
    /// The mutations that failed since the last flush, if there is no handler.
    pub async fn flush(&self) -> Result<(), FlushError> {
        let alone = self.inner.sending.clone().lock_owned().await;
        // A task of its own: the batch is sent even if nobody waits for the flush any more.
        let sending = runtime::task::spawn("buffered mutator", self.inner.clone().send(self.inner.take(), alone));
        sending.await.expect("a batch is sent without panic");
        let mut buffer = self.inner.buffer.lock();
        buffer.failed_bytes = 0;
        let (failures, count) = (std::mem::take(&mut buffer.failures), std::mem::take(&mut buffer.failed));
        if failures.is_empty() { Ok(()) } else { Err(FlushError { failures, count }) }
    }

    /// Flushes for the last time.
    ///
    /// # Errors
    /// As [`BufferedMutator::flush`].
    pub async fn close(self) -> Result<(), FlushError> {
        self.inner.stop.signal();
        self.flush().await
    }
}

impl Drop for BufferedMutator {
    fn drop(&mut self) {
        self.inner.stop.signal();
        let buffer = self.inner.buffer.lock();
        if !buffer.mutations.is_empty() || buffer.failed > 0 {
            let (table, unsent, failed) = (self.name(), buffer.mutations.len(), buffer.failed);
            tracing::warn!(%table, unsent, failed, "a buffered mutator was dropped without being closed");
        }
    }
}

fn weight(mutation: &Mutation) -> usize {
    mutation.cells.iter().map(|cell| cell.bytes().len()).sum::<usize>() + MUTATION_OVERHEAD
}
