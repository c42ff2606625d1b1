//! A cache on this machine's disk, and reading ahead, before a root in S3 or HDFS.
//!
//! Always true
//! - Only finished blobs below `data/` (store files, whose names are never used twice) are kept; registers, logs and whatever changes goes
//!   through untouched.
//! - A reader gets the store's bytes or the store's error: every kept byte is verified when it is read (`docs/formats/cache.md`), and
//!   what is missing, damaged or of a disk that fails is fetched from the store.
//! - What is written counts as kept only when the store has confirmed the whole blob.
//! - One read of the store serves everybody who waits for the same bytes; reads of a scan are long ones.
//!
//! A reader that was opened from the cache fails after the blob's deletion, even over a back end whose own readers do not.
//!
//! foyer (0.22) was looked at for the disk: it drops what comes in bursts, as flushes do, and hands out whole values.

mod ahead;
mod cells;
mod disk;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join;
use parking_lot::Mutex;
use runtime::Runtime;
use runtime::task::{blocking, spawn};

use crate::s3::requests::Requests;
use crate::*;
use ahead::{Flight, Flights, Landing, Limit, Streams};
use cells::{DATA, cells_of};
use disk::{Copy, Disk, Entry};

/// Smallest cache on disk.
pub const CACHE_BYTES_MIN: u64 = 16 << 20;

/// Where and how much is kept.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// The folder, of this process alone; `None`: nothing is kept on disk, scans are read ahead all the same.
    pub folder: Option<PathBuf>,
    /// Most that the folder's files take on disk, in bytes.
    pub bytes: u64,
    /// Names the root: what another one has left in the folder is thrown away.
    pub root: String,
    /// Most memory for what is fetched and not read yet, in bytes. Less makes scans slower.
    pub ahead_bytes: usize,
    /// How long a disk that failed is left alone. Longer spares a bad disk, shorter comes back sooner.
    pub pause: Duration,
    /// Which blobs are kept.
    pub is_kept: fn(&str) -> bool,
}

impl CacheSettings {
    /// For the store files of a root.
    pub fn new(folder: Option<PathBuf>, bytes: u64, root: &str) -> CacheSettings {
        CacheSettings {
            folder,
            bytes,
            root: root.to_owned(),
            ahead_bytes: 64 << 20,
            pause: Duration::from_secs(60),
            is_kept: |path| path.starts_with("data/"),
        }
    }
}

/// What the cache did; all but the gauges only grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads answered from the disk.
    pub hits: AtomicU64,
    /// Reads answered by a fetch that had begun for others, or ahead.
    pub ahead: AtomicU64,
    /// Reads that went to the store.
    pub misses: AtomicU64,
    /// Bytes of reads answered from the disk.
    pub hit_bytes: AtomicU64,
    /// Bytes fetched from the store.
    pub fetched_bytes: AtomicU64,
    /// Bytes written to the disk.
    pub written_bytes: AtomicU64,
    /// Bytes that made room.
    pub evicted_bytes: AtomicU64,
    /// Cells that were not as they had been written.
    pub damaged: AtomicU64,
    /// Operations that the disk refused.
    pub failures: AtomicU64,
    /// Bytes on disk now.
    pub bytes: AtomicU64,
    /// Most bytes on disk; 0: nothing is kept there.
    pub limit_bytes: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[derive(Debug)]
struct Shared {
    inner: Arc<dyn Filesystem>,
    disk: Option<Arc<Disk>>,
    limit: Limit,
    is_kept: fn(&str) -> bool,
    counters: Arc<Counters>,
}

/// See the module's text. Clones share it.
#[derive(Clone, Debug)]
pub struct CachedFilesystem(Arc<Shared>);

impl CachedFilesystem {
    /// Puts a cache before a root. A folder that cannot be used at all is an error; one that another process holds, or whose disk is full,
    /// is told in the log and tried again later.
    pub async fn new(
        inner: Arc<dyn Filesystem>,
        settings: CacheSettings,
        runtime: Runtime,
    ) -> Result<CachedFilesystem> {
        let counters = Arc::new(Counters::default());
        let CacheSettings { folder, bytes, root, ahead_bytes, pause, is_kept } = settings;
        let disk = match folder {
            None => None,
            Some(folder) => {
                let (counters, name) = (counters.clone(), folder.display().to_string());
                let opened = blocking(move || Disk::new(&folder, &root, bytes, pause, runtime, counters)).await;
                Some(Arc::new(opened.map_err(|error| Error::io(&name, "open the folder of the read cache", error))?))
            }
        };
        Ok(CachedFilesystem(Arc::new(Shared { inner, disk, limit: Limit::new(ahead_bytes), is_kept, counters })))
    }

    /// What it did.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    fn disk_for(&self, path: &str) -> Option<&Arc<Disk>> {
        self.0.disk.as_ref().filter(|_| (self.0.is_kept)(path))
    }

    async fn drop_kept(&self, path: &str) {
        if let Some(disk) = self.disk_for(path).cloned() {
            let path = path.to_owned();
            blocking(move || disk.remove(&path)).await;
        }
    }

    /// How many store files the disk has seen deleted.
    fn removals(&self) -> u64 {
        self.0.disk.as_ref().map_or(0, |disk| disk.removals())
    }

    /// A reader of a blob that stood when `removals` others had been deleted.
    fn reader(&self, path: &str, size: u64, opened: Option<Arc<dyn BlobReader>>, removals: u64) -> Arc<dyn BlobReader> {
        let file = File {
            shared: self.0.clone(),
            path: path.to_owned(),
            size,
            inner: tokio::sync::OnceCell::new_with(opened),
            flights: Arc::default(),
            distrusted: AtomicU64::new(0),
            removals,
        };
        Arc::new(CachedReader { file: Arc::new(file), streams: Streams::default(), held: Mutex::default() })
    }
}

/// A blob that is read through the cache.
#[derive(Debug)]
struct File {
    shared: Arc<Shared>,
    path: String,
    size: u64,
    /// Opened when the store is first needed.
    inner: tokio::sync::OnceCell<Arc<dyn BlobReader>>,
    flights: Arc<Flights>,
    /// How often bytes were found to be damaged: what was fetched before is not kept.
    distrusted: AtomicU64,
    /// Files deleted when this one was opened: once it is deleted itself, nothing of it is kept.
    removals: u64,
}

impl Drop for File {
    fn drop(&mut self) {
        self.shared.limit.end_all(&self.flights);
    }
}

impl File {
    fn entry(&self) -> Option<Arc<Entry>> {
        self.shared.disk.as_ref()?.find(&self.path, Some(self.size))
    }

    async fn inner(&self) -> Result<&Arc<dyn BlobReader>> {
        self.inner.get_or_try_init(|| self.shared.inner.open_known(&self.path, self.size)).await
    }

    /// Where cells lie in the blob.
    fn range(&self, cells: &Range<u64>) -> Range<u64> {
        cells.start * DATA as u64..(cells.end * DATA as u64).min(self.size)
    }

    async fn fetch(&self, cells: &Range<u64>) -> Result<Bytes> {
        let range = self.range(cells);
        let len = (range.end - range.start) as usize;
        let data = self.inner().await?.read_at(range.start, len).await?;
        add(&self.shared.counters.fetched_bytes, data.len() as u64);
        if data.len() != len {
            let message = "the blob is shorter than when it was opened";
            return Err(Error::new(ErrorKind::Corrupt, &self.path, message));
        }
        Ok(data)
    }

    /// Begins to fetch cells, keeps them on disk if there is one, and else, if they are fetched ahead, here.
    fn launch(self: &Arc<Self>, cells: Range<u64>, is_ahead: bool) -> Landing {
        let (id, sender, landing) = self.shared.limit.begin(&self.flights, cells.clone());
        let (file, trust) = (self.clone(), self.distrusted.load(Ordering::Acquire));
        let cause = Cause::said().unwrap_or(Cause::Reads);
        spawn(
            "fetch",
            cause.of(async move {
                let fetched = file.fetch(&cells).await.map_err(Arc::new);
                let data = fetched.as_ref().ok().cloned();
                // Nobody may be waiting any more.
                let _ = sender.send(fetched);
                let kept = match (&file.shared.disk, data.clone()) {
                    (Some(disk), Some(data)) => {
                        let (disk, file, path, size) = (disk.clone(), file.clone(), file.path.clone(), file.size);
                        let removals = file.removals;
                        let is_trusted = move || file.distrusted.load(Ordering::Acquire) == trust;
                        blocking(move || disk.fill((&path, size), cells.start, &data, removals, &is_trusted)).await
                    }
                    _ => false,
                };
                if kept || !is_ahead || data.is_none() {
                    file.shared.limit.end(&file.flights, id);
                }
            }),
        );
        landing
    }

    /// Begins to fetch what is not here of cells that will be wanted.
    fn launch_ahead(self: &Arc<Self>, cells: Range<u64>) {
        let entry = self.entry();
        let is_wanted =
            |cell: &u64| !entry.as_ref().is_some_and(|entry| entry.has(*cell)) && self.flights.with(*cell).is_none();
        let first = cells.clone().find(is_wanted);
        let last = cells.rev().find(is_wanted);
        if let (Some(first), Some(last)) = (first, last) {
            drop(self.launch(first..last + 1, true));
        }
    }
}

/// Where cells come from.
enum Source {
    Disk(Arc<Entry>),
    Flight(Landing, u64),
}

#[derive(Debug)]
struct CachedReader {
    file: Arc<File>,
    streams: Streams,
    /// Keeps the cache's file open.
    held: Mutex<Option<Arc<std::fs::File>>>,
}

impl CachedReader {
    /// Bytes that all are on disk; `None`: they cannot be had from there.
    async fn kept(&self, entry: &Arc<Entry>, range: Range<u64>, is_use: bool) -> Option<Bytes> {
        let (disk, entry) = (self.file.shared.disk.clone()?, entry.clone());
        let len = (range.end - range.start) as usize;
        let read = blocking(move || disk.read(&entry, range.start, len, is_use)).await;
        let (data, file) = match read {
            Some((data, file)) => (Some(data), Some(file)),
            None => (None, None),
        };
        let _dropped = std::mem::replace(&mut *self.held.lock(), file);
        data.map(Bytes::from)
    }

    /// Where each of the cells comes from: what is nowhere is fetched, in one read.
    fn sources(&self, cells: Range<u64>) -> (Vec<(Range<u64>, Source)>, bool) {
        let entry = self.file.entry();
        let flying = !self.file.flights.is_empty();
        let flight = |cell| if flying { self.file.flights.with(cell) } else { None };
        let is_here = |cell: &u64| entry.as_ref().is_some_and(|entry| entry.has(*cell)) || flight(*cell).is_some();
        let first = cells.clone().find(|cell| !is_here(cell));
        let last = cells.clone().rev().find(|cell| !is_here(cell));
        let missing = first.zip(last).map_or(0..0, |(first, last)| first..last + 1);
        let fetch = (!missing.is_empty()).then(|| self.file.launch(missing.clone(), false));
        let (mut sources, mut at) = (Vec::new(), cells.start);
        while at < cells.end {
            let (end, source) = if let Some(landing) = fetch.clone().filter(|_| missing.contains(&at)) {
                (missing.end, Source::Flight(landing, missing.start))
            } else if let Some(entry) = entry.as_ref().filter(|entry| entry.has(at)) {
                let end = (at..cells.end).find(|cell| !entry.has(*cell) || missing.contains(cell));
                (end.unwrap_or(cells.end), Source::Disk(entry.clone()))
            } else if let Some(Flight { cells, landing, .. }) = flight(at) {
                (cells.end, Source::Flight(landing, cells.start))
            } else {
                // It landed or left between two looks.
                (at + 1, Source::Flight(self.file.launch(at..at + 1, false), at))
            };
            sources.push((at..end.min(cells.end), source));
            at = end;
        }
        (sources, fetch.is_some())
    }

    /// Puts together what comes from several places.
    async fn gather(&self, offset: u64, len: usize, cells: Range<u64>, is_use: bool) -> Result<Bytes> {
        let (sources, is_miss) = self.sources(cells);
        let counters = &self.file.shared.counters;
        add(if is_miss { &counters.misses } else { &counters.ahead }, 1);
        let wanted = offset..offset + len as u64;
        let mut out = Vec::with_capacity(len);
        for (cells, source) in sources {
            let range = self.file.range(&cells);
            let range = range.start.max(wanted.start)..range.end.min(wanted.end);
            match source {
                Source::Disk(entry) => match self.kept(&entry, range.clone(), is_use).await {
                    Some(data) => out.extend_from_slice(&data),
                    None => {
                        let len = (range.end - range.start) as usize;
                        out.extend_from_slice(&self.file.inner().await?.read_at(range.start, len).await?);
                    }
                },
                Source::Flight(landing, first) => {
                    let begin = first * DATA as u64;
                    match landing.await {
                        // Copied: a part would keep all of it in memory.
                        Ok(Ok(data)) => {
                            out.extend_from_slice(&data[(range.start - begin) as usize..(range.end - begin) as usize])
                        }
                        Ok(Err(error)) if is_miss => return Err(error.again()),
                        // What was fetched ahead failed, or its task is gone: ask for what is needed now.
                        _ => {
                            let len = (range.end - range.start) as usize;
                            out.extend_from_slice(&self.file.inner().await?.read_at(range.start, len).await?);
                        }
                    }
                }
            }
        }
        if out.len() != len {
            let message = "the blob is shorter than when it was opened";
            return Err(Error::new(ErrorKind::Corrupt, &self.file.path, message));
        }
        Ok(out.into())
    }
}

#[async_trait]
impl BlobReader for CachedReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let file = &self.file;
        let len = len.min(usize::try_from(file.size.saturating_sub(offset)).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(Bytes::new());
        }
        let cells = offset / DATA as u64..(offset + len as u64).div_ceil(DATA as u64);
        let limit = &file.shared.limit;
        let (is_scan, stretch) = self.streams.follow(limit, offset, len, cells_of(file.size));
        if let Some(stretch) = stretch {
            file.launch_ahead(stretch);
        }
        if let Some(entry) = file.entry().filter(|entry| entry.has_all(cells.clone()))
            && let Some(data) = self.kept(&entry, offset..offset + len as u64, !is_scan).await
        {
            let counters = &file.shared.counters;
            add(&counters.hits, 1);
            add(&counters.hit_bytes, len as u64);
            return Ok(data);
        }
        self.gather(offset, len, cells, !is_scan).await
    }

    async fn distrust(&self, offset: u64, len: u64) {
        let file = &self.file;
        file.distrusted.fetch_add(1, Ordering::AcqRel);
        let end = offset.saturating_add(len).min(file.size);
        if let (Some(disk), Some(entry)) = (file.shared.disk.clone(), file.entry())
            && offset < end
        {
            let cells = offset / DATA as u64..end.div_ceil(DATA as u64);
            blocking(move || disk.forget(&entry, cells)).await;
        }
        file.shared.limit.end_all(&file.flights);
        if let Some(inner) = file.inner.get() {
            inner.distrust(offset, len).await;
        }
    }

    fn size(&self) -> Option<u64> {
        Some(self.file.size)
    }
}

/// Writes to the store, and a copy to the disk beside it.
#[derive(Debug)]
struct CachedWriter {
    inner: Box<dyn BlobWriter>,
    /// `None` after a write was cut off.
    copy: Option<Copy>,
}

#[async_trait]
impl BlobWriter for CachedWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let Some(mut copy) = self.copy.take() else { return self.inner.write(data).await };
        let copied = data.clone();
        let copying = blocking(move || {
            copy.write(&copied);
            copy
        });
        let (written, copy) = join(self.inner.write(data), copying).await;
        self.copy = Some(copy);
        written
    }

    async fn finish(self: Box<Self>) -> Result<u64> {
        let CachedWriter { inner, copy } = *self;
        let finished = inner.finish().await;
        let Some(copy) = copy else { return finished };
        let len = finished.as_ref().ok().copied();
        blocking(move || match len {
            Some(len) => copy.finish(len),
            None => drop(copy),
        })
        .await;
        finished
    }

    async fn abort(self: Box<Self>) {
        let CachedWriter { inner, copy } = *self;
        join(inner.abort(), blocking(move || drop(copy))).await;
    }
}

#[async_trait]
impl Filesystem for CachedFilesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        let outcome = self.0.inner.put_if_absent(path, data.clone()).await?;
        if let Some(disk) = self.disk_for(path).filter(|_| outcome == PutOutcome::Created).cloned() {
            let mut copy = Copy::new(disk, path);
            blocking(move || {
                copy.write(&data);
                copy.finish(data.len() as u64);
            })
            .await;
        }
        Ok(outcome)
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        let inner = self.0.inner.create_blob(path).await?;
        match self.disk_for(path) {
            Some(disk) => Ok(Box::new(CachedWriter { inner, copy: Some(Copy::new(disk.clone(), path)) })),
            None => Ok(inner),
        }
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        if !(self.0.is_kept)(path) {
            return self.0.inner.open(path).await;
        }
        let removals = self.removals();
        if let Some(entry) = self.0.disk.as_ref().and_then(|disk| disk.find(path, None)) {
            return Ok(self.reader(path, entry.len, None, removals));
        }
        let opened = self.0.inner.open(path).await?;
        let size = match opened.size() {
            Some(size) => Some(size),
            None => self.0.inner.size(path).await?,
        };
        let absent = || Error::new(ErrorKind::NotFound, path, "it was deleted while it was opened");
        Ok(self.reader(path, size.ok_or_else(absent)?, Some(opened), removals))
    }

    async fn open_known(&self, path: &str, size: u64) -> Result<Arc<dyn BlobReader>> {
        if !(self.0.is_kept)(path) {
            return self.0.inner.open_known(path, size).await;
        }
        Ok(self.reader(path, size, None, self.removals()))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        self.0.inner.size(path).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let deleted = self.0.inner.delete(path).await;
        self.drop_kept(path).await;
        deleted
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        self.0.inner.delete_register(path).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        let renamed = self.0.inner.rename(from, to).await;
        self.drop_kept(from).await;
        renamed
    }

    async fn list(&self, folder: &str) -> Result<Vec<crate::Entry>> {
        self.0.inner.list(folder).await
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        self.0.inner.unfinished(folder).await
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        self.0.inner.abandon(unfinished).await
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        self.0.inner.register_create(path, head, body).await
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.0.inner.register_read(path).await
    }

    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.0.inner.register_read_settled(path).await
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        self.0.inner.register_swap(path, expected, head, body).await
    }

    fn appends(&self) -> bool {
        self.0.inner.appends()
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        self.0.inner.log_create(path).await
    }

    async fn log_begin(&self, path: &str, first: Bytes) -> Result<LogOutcome> {
        self.0.inner.log_begin(path, first).await
    }

    async fn log_seal(&self, path: &str) -> Result<Option<u64>> {
        self.0.inner.log_seal(path).await
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        self.0.inner.exists(path).await
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        self.0.inner.lock_root(holder).await
    }

    fn requests(&self) -> Option<&Requests> {
        self.0.inner.requests()
    }

    fn cache(&self) -> Option<&Counters> {
        Some(self.counters())
    }

    async fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes> {
        let removals = self.removals();
        match self.disk_for(path).and_then(|disk| disk.find(path, None)) {
            Some(entry) => self.reader(path, entry.len, None, removals).read_at(offset, len).await,
            None => self.0.inner.read_at(path, offset, len).await,
        }
    }
}

#[cfg(test)]
mod tests;
