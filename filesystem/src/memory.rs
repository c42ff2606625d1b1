//! Everything in memory: for tests and for standing in where nothing must survive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::path::check_key;
use crate::*;

#[derive(Debug, Default)]
struct State {
    blobs: BTreeMap<String, Bytes>,
    logs: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
    registers: BTreeMap<String, (u64, String, Bytes)>,
    swaps: u64,
    no_appends: bool,
    /// Blobs being written: their keys by number.
    unfinished: BTreeMap<u64, String>,
    begun: u64,
    crashes: u64,
    holder: Option<(Arc<AtomicBool>, String)>,
}

/// A root in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryFilesystem(Arc<Mutex<State>>);

impl MemoryFilesystem {
    /// An empty root that cannot append, like an object store.
    pub fn without_appends() -> MemoryFilesystem {
        let root = MemoryFilesystem::default();
        root.0.lock().no_appends = true;
        root
    }

    /// An empty root.
    pub fn new() -> MemoryFilesystem {
        MemoryFilesystem::default()
    }

    /// From now on writers begun before leave their traces.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn crash(&self) {
        self.0.lock().crashes += 1;
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn log_len(&self, path: &str) -> Option<usize> {
        self.0.lock().logs.get(path).map(|log| log.lock().len())
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn cut_log(&self, path: &str, len: usize) {
        if let Some(log) = self.0.lock().logs.get(path) {
            log.lock().truncate(len);
        }
    }
}

fn slice(data: &Bytes, offset: u64, len: usize) -> Bytes {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
    data.slice(start..start.saturating_add(len).min(data.len()))
}

#[derive(Debug)]
struct MemoryBlob(Bytes);

#[async_trait]
impl BlobReader for MemoryBlob {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        Ok(slice(&self.0, offset, len))
    }
}

#[derive(Debug)]
struct MemoryLogReader(Arc<Mutex<Vec<u8>>>);

#[async_trait]
impl BlobReader for MemoryLogReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let data = self.0.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        Ok(Bytes::copy_from_slice(&data[start..start.saturating_add(len).min(data.len())]))
    }
}

#[derive(Debug)]
struct MemoryBlobWriter {
    root: MemoryFilesystem,
    path: String,
    data: Vec<u8>,
    number: u64,
    crashes: u64,
}

impl Drop for MemoryBlobWriter {
    fn drop(&mut self) {
        let mut state = self.root.0.lock();
        if state.crashes == self.crashes {
            state.unfinished.remove(&self.number);
        }
    }
}

#[async_trait]
impl BlobWriter for MemoryBlobWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.data.extend_from_slice(&data);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        let data = std::mem::take(&mut self.data);
        let len = data.len() as u64;
        if !self.root.0.lock().unfinished.contains_key(&self.number) {
            return Err(Error::new(ErrorKind::NotFound, &self.path, "the unfinished blob was abandoned"));
        }
        match self.root.put_if_absent(&self.path, data.into()).await? {
            PutOutcome::Created => Ok(len),
            PutOutcome::Exists => Err(Error::new(ErrorKind::Exists, &self.path, "the name is taken")),
        }
    }

    async fn abort(self: Box<Self>) {}
}

#[derive(Debug)]
struct MemoryLogWriter {
    data: Arc<Mutex<Vec<u8>>>,
    len: u64,
}

#[async_trait]
impl LogWriter for MemoryLogWriter {
    async fn append(&mut self, data: Bytes) -> Result<()> {
        self.data.lock().extend_from_slice(&data);
        self.len += data.len() as u64;
        Ok(())
    }

    async fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn holds_at_most(&self) -> u64 {
        self.len
    }
}

#[derive(Debug)]
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[async_trait]
impl Filesystem for MemoryFilesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        check_key(path)?;
        let mut state = self.0.lock();
        if state.blobs.contains_key(path) || state.logs.contains_key(path) {
            return Ok(PutOutcome::Exists);
        }
        state.blobs.insert(path.to_owned(), data);
        Ok(PutOutcome::Created)
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        check_key(path)?;
        let mut state = self.0.lock();
        state.begun += 1;
        let (number, crashes) = (state.begun, state.crashes);
        state.unfinished.insert(number, path.to_owned());
        drop(state);
        Ok(Box::new(MemoryBlobWriter { root: self.clone(), path: path.to_owned(), data: Vec::new(), number, crashes }))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        check_key(path)?;
        let state = self.0.lock();
        if let Some(blob) = state.blobs.get(path) {
            return Ok(Arc::new(MemoryBlob(blob.clone())));
        }
        match state.logs.get(path) {
            Some(log) => Ok(Arc::new(MemoryLogReader(log.clone()))),
            None => Err(Error::new(ErrorKind::NotFound, path, "no such object")),
        }
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        check_key(path)?;
        let state = self.0.lock();
        Ok(match state.blobs.get(path) {
            Some(blob) => Some(blob.len() as u64),
            None => state.logs.get(path).map(|log| log.lock().len() as u64),
        })
    }

    async fn delete(&self, path: &str) -> Result<()> {
        check_key(path)?;
        let mut state = self.0.lock();
        state.blobs.remove(path);
        state.logs.remove(path);
        Ok(())
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        check_key(path)?;
        self.0.lock().registers.remove(path);
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        check_key(from)?;
        check_key(to)?;
        let mut state = self.0.lock();
        if state.blobs.contains_key(to) || state.logs.contains_key(to) {
            return Ok(PutOutcome::Exists);
        }
        match state.blobs.remove(from) {
            Some(blob) => {
                state.blobs.insert(to.to_owned(), blob);
                Ok(PutOutcome::Created)
            }
            None => Err(Error::new(ErrorKind::NotFound, from, "no such object")),
        }
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        check_key(folder)?;
        let below = format!("{folder}/");
        let state = self.0.lock();
        let blobs = state.blobs.iter().map(|(path, data)| (path, data.len()));
        let logs = state.logs.iter().map(|(path, data)| (path, data.lock().len()));
        let mut entries: Vec<Entry> = blobs
            .chain(logs)
            .filter(|(path, _)| path.starts_with(&below))
            .map(|(path, size)| Entry { path: path.clone(), size: size as u64 })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        check_key(folder)?;
        let below = format!("{folder}/");
        let state = self.0.lock();
        let found = state.unfinished.iter().filter(|(_, path)| path.starts_with(&below));
        Ok(found.map(|(number, path)| Unfinished { path: path.clone(), aside: number.to_string() }).collect())
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        if let Ok(number) = unfinished.aside.parse::<u64>() {
            self.0.lock().unfinished.remove(&number);
        }
        Ok(())
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        check_key(path)?;
        check_head(path, head)?;
        let mut state = self.0.lock();
        if let Some((version, head, body)) = state.registers.get(path) {
            let version = Version(version.to_string());
            return Ok(CreateOutcome::Exists(RegisterValue { version, head: head.clone(), body: body.clone() }));
        }
        state.swaps += 1;
        let version = state.swaps;
        state.registers.insert(path.to_owned(), (version, head.to_owned(), body));
        Ok(CreateOutcome::Created(Version(version.to_string())))
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        check_key(path)?;
        Ok(self.0.lock().registers.get(path).map(|(version, head, body)| RegisterValue {
            version: Version(version.to_string()),
            head: head.clone(),
            body: body.clone(),
        }))
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        check_key(path)?;
        check_head(path, head)?;
        let mut state = self.0.lock();
        state.swaps += 1;
        let next = state.swaps;
        match state.registers.get_mut(path) {
            None => Ok(SwapOutcome::Superseded(None)),
            Some((version, old_head, old_body)) if version.to_string() != expected.0 => {
                let version = Version(version.to_string());
                Ok(SwapOutcome::Superseded(Some(RegisterValue {
                    version,
                    head: old_head.clone(),
                    body: old_body.clone(),
                })))
            }
            Some(value) => {
                value.0 = next;
                value.1 = head.to_owned();
                if let Some(body) = body {
                    value.2 = body;
                }
                Ok(SwapOutcome::Swapped(Version(next.to_string())))
            }
        }
    }

    fn appends(&self) -> bool {
        !self.0.lock().no_appends
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        check_key(path)?;
        let mut state = self.0.lock();
        if state.no_appends {
            return Err(no_appends(path));
        }
        if state.blobs.contains_key(path) || state.logs.contains_key(path) {
            return Ok(LogOutcome::Exists);
        }
        let data = Arc::new(Mutex::new(Vec::new()));
        state.logs.insert(path.to_owned(), data.clone());
        Ok(LogOutcome::Created(Box::new(MemoryLogWriter { data, len: 0 })))
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        let mut state = self.0.lock();
        if let Some((held, text)) = &state.holder
            && held.load(Ordering::SeqCst)
        {
            return Ok(LockOutcome::Held(text.clone()));
        }
        let held = Arc::new(AtomicBool::new(true));
        state.holder = Some((held.clone(), holder.to_owned()));
        Ok(LockOutcome::Locked(RootLock { _guard: Box::new(Held(held)) }))
    }
}
