//! Any root, but calls to it go wrong now and then; and a caller that follows the contract and gets its way all the same.
//!
//! [`Flaky`] is the root, [`Settled`] the caller: it repeats what failed with a kind that says "nothing happened", and settles by reading
//! what may have happened. The suite of [`crate::conformance`] over both says that a back end keeps its promises when answers are lost,
//! and that the contract is enough to work with.
//!
//! Always true
//! - A fault tells the truth: Unavailable did nothing, Unknown was done, or will be before the next call.
//! - Which calls are hit depends on their number alone.
//!
//! Not here: appends and syncs of logs, whose failure ends the log (`storage::wal` goes on with the next one), and machines that stop
//! ([`crate::faulty`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use crate::*;

/// What becomes of a call that is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It is not done.
    Before,
    /// It is done and its answer lost.
    After,
    /// It is done when the next call comes, before that; its answer is lost.
    Late,
}

const READS: &[Effect] = &[Effect::Before];
const ONCE: &[Effect] = &[Effect::Before, Effect::After];
const ANY: &[Effect] = &[Effect::Before, Effect::After, Effect::Late];

#[derive(Default)]
struct Hits {
    calls: AtomicU64,
    by_effect: [AtomicU64; 3],
    late: Mutex<Vec<BoxFuture<'static, ()>>>,
}

impl std::fmt::Debug for Hits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hits").field("calls", &self.calls).field("by_effect", &self.by_effect).finish_non_exhaustive()
    }
}

impl Hits {
    async fn call<T>(&self, path: &str, effects: &[Effect], work: BoxFuture<'static, Result<T>>) -> Result<T>
    where
        T: Send + 'static,
    {
        let due = std::mem::take(&mut *self.late.lock());
        for late in due {
            late.await;
        }
        let Some(effect) = self.draw(effects) else { return work.await };
        self.by_effect[effect as usize].fetch_add(1, Ordering::Relaxed);
        match effect {
            Effect::Before => return Err(Error::new(ErrorKind::Unavailable, path, "a fault: not done")),
            Effect::After => drop(work.await?),
            Effect::Late => self.late.lock().push(Box::pin(async { drop(work.await) })),
        }
        Err(Error::new(ErrorKind::Unknown, path, format!("a fault: {effect:?}")))
    }

    fn draw(&self, effects: &[Effect]) -> Option<Effect> {
        // SplitMix64 of the call's number: no beat with the suite's own.
        let mut z = self.calls.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z ^= z >> 27;
        z.is_multiple_of(ONE_IN).then(|| effects[(z / ONE_IN) as usize % effects.len()])
    }
}

/// One call in so many is hit.
const ONE_IN: u64 = 4;

/// See the module's text. Clones share it.
#[derive(Clone, Debug)]
pub struct Flaky {
    inner: Arc<dyn Filesystem>,
    hits: Arc<Hits>,
}

impl Flaky {
    /// Faults over a root.
    pub fn over(inner: Arc<dyn Filesystem>) -> Flaky {
        Flaky { inner, hits: Arc::default() }
    }

    /// Calls that were not done, done without an answer, done late.
    pub fn hits(&self) -> [u64; 3] {
        [0, 1, 2].map(|effect: usize| self.hits.by_effect[effect].load(Ordering::Relaxed))
    }
}

/// One call of the inner root through the faults; arguments are cloned into it.
macro_rules! hit {
    ($self:ident, $path:ident, $effects:expr, $call:ident($($argument:ident),*)) => {{
        let inner = $self.inner.clone();
        $(let $argument = $argument.to_owned();)*
        $self.hits.call(&$path.to_owned(), $effects, Box::pin(async move { inner.$call($(&$argument),*).await })).await
    }};
}

#[derive(Debug)]
struct FlakyReader {
    inner: Arc<dyn BlobReader>,
    hits: Arc<Hits>,
}

#[async_trait]
impl BlobReader for FlakyReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let inner = self.inner.clone();
        self.hits.call("a reader", READS, Box::pin(async move { inner.read_at(offset, len).await })).await
    }
}

#[derive(Debug)]
struct FlakyWriter {
    inner: Box<dyn BlobWriter>,
    path: String,
    hits: Arc<Hits>,
}

#[async_trait]
impl BlobWriter for FlakyWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        // Whoever is refused gives the writer up, so that it does not matter what was written.
        self.hits.call(&self.path, READS, Box::pin(async { Ok(()) })).await?;
        self.inner.write(data).await
    }

    async fn finish(self: Box<Self>) -> Result<u64> {
        let FlakyWriter { inner, path, hits } = *self;
        hits.call(&path, &[Effect::After], Box::pin(inner.finish())).await
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

#[async_trait]
impl Filesystem for Flaky {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        let (inner, at) = (self.inner.clone(), path.to_owned());
        self.hits.call(path, ANY, Box::pin(async move { inner.put_if_absent(&at, data).await })).await
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        let inner = hit!(self, path, READS, create_blob(path))?;
        Ok(Box::new(FlakyWriter { inner, path: path.to_owned(), hits: self.hits.clone() }))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        let inner = hit!(self, path, READS, open(path))?;
        Ok(Arc::new(FlakyReader { inner, hits: self.hits.clone() }))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        hit!(self, path, READS, size(path))
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        hit!(self, path, READS, exists(path))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        hit!(self, path, ONCE, delete(path))
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        hit!(self, path, ONCE, delete_register(path))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        hit!(self, from, ONCE, rename(from, to))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        hit!(self, folder, READS, list(folder))
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        hit!(self, folder, READS, unfinished(folder))
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        let path = &unfinished.path;
        hit!(self, path, ONCE, abandon(unfinished))
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        let (inner, at, head) = (self.inner.clone(), path.to_owned(), head.to_owned());
        self.hits.call(path, ANY, Box::pin(async move { inner.register_create(&at, &head, body).await })).await
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        hit!(self, path, READS, register_read(path))
    }

    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        hit!(self, path, READS, register_read_settled(path))
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        let (inner, at, expected, head) = (self.inner.clone(), path.to_owned(), expected.clone(), head.to_owned());
        let swap = async move { inner.register_swap(&at, &expected, &head, body).await };
        self.hits.call(path, ANY, Box::pin(swap)).await
    }

    fn appends(&self) -> bool {
        self.inner.appends()
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        hit!(self, path, READS, log_create(path))
    }

    async fn log_begin(&self, path: &str, first: Bytes) -> Result<LogOutcome> {
        let (inner, at) = (self.inner.clone(), path.to_owned());
        self.hits.call(path, READS, Box::pin(async move { inner.log_begin(&at, first).await })).await
    }

    async fn log_seal(&self, path: &str) -> Result<Option<u64>> {
        hit!(self, path, ONCE, log_seal(path))
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        self.inner.lock_root(holder).await
    }
}

/// Tries of a call before its error is believed.
const TRIES: usize = 40;

/// Whether an error leaves something to try: nothing happened, or it may have.
fn passes(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Busy)
}

fn call<T, F: Future<Output = Result<T>>>(work: F) -> F {
    work
}

/// Repeats a call that may be repeated at will; the name stands for whether an earlier try may have happened.
macro_rules! until {
    ($call:expr) => {
        until!(_doubt => $call)
    };
    ($doubt:ident => $call:expr) => {{
        let (mut $doubt, mut tries) = (false, 0);
        loop {
            tries += 1;
            match call(async { $call }).await {
                Err(error) if passes(&error) && tries < TRIES => $doubt |= error.kind() == ErrorKind::Unknown,
                done => break done,
            }
        }
    }};
}

/// See the module's text. Clones share it.
#[derive(Clone, Debug)]
pub struct Settled(Arc<dyn Filesystem>);

impl Settled {
    /// A caller of this root.
    pub fn over(inner: Arc<dyn Filesystem>) -> Settled {
        Settled(inner)
    }

    /// Whether the object holds these bytes.
    async fn holds(&self, path: &str, data: &[u8]) -> Result<bool> {
        match self.read_at(path, 0, data.len() + 1).await {
            Ok(found) => Ok(found == data),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[derive(Debug)]
struct SettledReader(Arc<dyn BlobReader>);

#[async_trait]
impl BlobReader for SettledReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        until!(self.0.read_at(offset, len).await)
    }
}

/// Keeps what it writes: a writer that failed is given up and another one begun.
#[derive(Debug)]
struct SettledWriter {
    root: Settled,
    path: String,
    data: Vec<u8>,
    inner: Option<Box<dyn BlobWriter>>,
}

impl SettledWriter {
    async fn begin(&mut self) -> Result<()> {
        let path = &self.path;
        let mut writer = until!(self.root.0.create_blob(path).await)?;
        match writer.write(Bytes::copy_from_slice(&self.data)).await {
            Ok(()) => self.inner = Some(writer),
            Err(error) if passes(&error) => writer.abort().await,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn have_one(&mut self) -> Result<()> {
        for _ in 0..TRIES {
            if self.inner.is_some() {
                break;
            }
            self.begin().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl BlobWriter for SettledWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.data.extend_from_slice(&data);
        let Some(writer) = &mut self.inner else { return self.have_one().await };
        match writer.write(data).await {
            Err(error) if passes(&error) => {
                if let Some(broken) = self.inner.take() {
                    broken.abort().await;
                }
                self.have_one().await
            }
            done => done,
        }
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        self.have_one().await?;
        let Some(writer) = self.inner.take() else {
            return Err(Error::new(ErrorKind::Unavailable, &self.path, "a blob failed again and again"));
        };
        match writer.finish().await {
            // Somebody may have abandoned it, so that it is not begun anew.
            Err(error) if error.kind() == ErrorKind::Unknown && self.root.holds(&self.path, &self.data).await? => {
                Ok(self.data.len() as u64)
            }
            done => done,
        }
    }

    async fn abort(self: Box<Self>) {
        if let Some(writer) = self.inner {
            writer.abort().await;
        }
    }
}

#[async_trait]
impl Filesystem for Settled {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        until!(doubt => match self.0.put_if_absent(path, data.clone()).await? {
            PutOutcome::Exists if doubt && self.holds(path, &data).await? => Ok(PutOutcome::Created),
            outcome => Ok(outcome),
        })
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        let inner = until!(self.0.create_blob(path).await)?;
        let path = path.to_owned();
        Ok(Box::new(SettledWriter { root: self.clone(), path, data: Vec::new(), inner: Some(inner) }))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        Ok(Arc::new(SettledReader(until!(self.0.open(path).await)?)))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        until!(self.0.size(path).await)
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        until!(self.0.exists(path).await)
    }

    async fn delete(&self, path: &str) -> Result<()> {
        until!(self.0.delete(path).await)
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        until!(self.0.delete_register(path).await)
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        until!(doubt => match self.0.rename(from, to).await {
            // Only this caller renames that blob: it is where it was to be.
            Ok(PutOutcome::Exists) if doubt && self.size(from).await?.is_none() => Ok(PutOutcome::Created),
            Err(error) if doubt && error.kind() == ErrorKind::NotFound && self.exists(to).await? => {
                Ok(PutOutcome::Created)
            }
            done => done,
        })
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        until!(self.0.list(folder).await)
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        until!(self.0.unfinished(folder).await)
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        until!(self.0.abandon(unfinished).await)
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        until!(doubt => match self.0.register_create(path, head, body.clone()).await? {
            CreateOutcome::Exists(value) if doubt && value.head == head && value.body == body => {
                Ok(CreateOutcome::Created(value.version))
            }
            outcome => Ok(outcome),
        })
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        until!(self.0.register_read(path).await)
    }

    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        until!(self.0.register_read_settled(path).await)
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        until!(doubt => match self.0.register_swap(path, expected, head, body.clone()).await? {
            SwapOutcome::Superseded(Some(value))
                if doubt && value.head == head && body.as_ref().is_none_or(|body| *body == value.body) =>
            {
                Ok(SwapOutcome::Swapped(value.version))
            }
            outcome => Ok(outcome),
        })
    }

    fn appends(&self) -> bool {
        self.0.appends()
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        until!(self.0.log_create(path).await)
    }

    async fn log_begin(&self, path: &str, first: Bytes) -> Result<LogOutcome> {
        until!(self.0.log_begin(path, first.clone()).await)
    }

    async fn log_seal(&self, path: &str) -> Result<Option<u64>> {
        until!(self.0.log_seal(path).await)
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        self.0.lock_root(holder).await
    }
}
