//! Flush: cells to files, files to the manifest.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::{BlobWriter, Cause};
use model::schema::FamilyDescriptor;
use model::{ErrorKind, SeqNo};

use super::open::file_path;
use super::{Region, StoreFile, Version};
use crate::budget::Charge;
use crate::compaction::{CompactionScanner, Extent, Keep, Throttle};
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::file::writer::{FileMeta, HFileWriter, WriterOptions};
use crate::manifest::{FileEntry, Manifest};
use crate::nonce;
use crate::read::FamilySettings;
use crate::source::CellSource;

/// Cells after which a writer lets others run and looks whether it should end.
const CELLS_BETWEEN_LOOKS: u32 = 1024;
/// Bytes that a writer gathers before they go to storage.
const WRITE_BYTES: usize = 1 << 20;

/// What frozen memtables take of the budget; given back to the region if their flush fails.
struct FlushCharge<'a> {
    region: &'a Region,
    charge: Option<Charge>,
}

impl Drop for FlushCharge<'_> {
    fn drop(&mut self) {
        if let Some(charge) = self.charge.take() {
            self.region.charge.lock().absorb(charge);
        }
    }
}

/// A file to be written.
pub(super) struct Output<'a> {
    pub family: &'a FamilyDescriptor,
    /// Newest first.
    pub sources: Vec<Box<dyn CellSource>>,
    pub extent: Extent,
    pub earliest_put_ms: i64,
    pub tags: bool,
    pub meta: FileMeta,
    /// Set for compactions, which also end when the region closes.
    pub throttle: Option<&'a Throttle>,
}

impl Region {
    /// Writes the memtables to files. Nothing to do is done at once, and answered with false.
    pub async fn flush(&self) -> Result<bool> {
        Cause::Flush.of(self.flush_memtables()).await
    }

    async fn flush_memtables(&self) -> Result<bool> {
        let _flushing = self.flushing.lock().await;
        // A flush in doubt may turn out to be done.
        self.settle(&mut *self.ledger.lock().await).await?;
        let (last, mut charge) = {
            let _updates = self.updates.write().await;
            (self.mvcc.last(), self.freeze())
        };
        let version = self.version.read().clone();
        let flushed = version.values().any(|store| !store.frozen.is_empty());
        let stream = self.ctx.log.id();
        // Older streams hold nothing above what is flushed now.
        let needs = |manifest: &mut Manifest| manifest.needs.retain(|need| *need == stream);
        if flushed && let Err(error) = self.flush_frozen(version, last, needs).await {
            // Files that surely are not listed only take room.
            self.delete_unread().await;
            return Err(error);
        }
        drop(charge.charge.take());
        self.flushed.notify_waiters();
        if self.ctx.log.holds(&self.log_name) {
            match self.ctx.log.forget(&self.log_name, last).await {
                Err(error) if error.kind() == ErrorKind::Fenced => return Err(error),
                // The next flush tries again.
                Err(error) => tracing::warn!(region = self.name(), %error, "log segments of flushed edits are kept"),
                Ok(()) => {}
            }
        }
        Ok(flushed)
    }

    /// Puts fresh memtables in the place of those that hold something. Nobody writes meanwhile.
    fn freeze(&self) -> FlushCharge<'_> {
        let mut current = self.version.write();
        let mut version = (**current).clone();
        for store in version.values_mut().filter(|store| !store.active.is_empty()) {
            let fresh = Arc::new(crate::memtable::Memtable::new(self.order));
            store.frozen.insert(0, std::mem::replace(&mut store.active, fresh));
        }
        *current = Arc::new(version);
        let charge = std::mem::replace(&mut *self.charge.lock(), self.ctx.budget.empty());
        FlushCharge { region: self, charge: Some(charge) }
    }

    /// Writes what was replayed so far, up to `last`. The streams are needed on, for what stands behind it.
    pub(super) async fn flush_replayed(&self, last: SeqNo) -> Result<()> {
        let mut charge = self.freeze();
        let version = self.version.read().clone();
        if let Err(error) = self.flush_frozen(version, last, |_| {}).await {
            self.delete_unread().await;
            return Err(error);
        }
        drop(charge.charge.take());
        Ok(())
    }

    /// Writes what is frozen; everything up to `last` is in it or in files. `needs` lets streams go that are not needed any more.
    async fn flush_frozen(&self, version: Arc<Version>, last: SeqNo, needs: impl FnOnce(&mut Manifest)) -> Result<()> {
        let descriptor = self.descriptor();
        let mut made: Vec<(Bytes, Option<Arc<StoreFile>>)> = Vec::new();
        for (name, store) in version.iter().filter(|(_, store)| !store.frozen.is_empty()) {
            let Some(family) = descriptor.families.get(name) else { continue };
            let file = self
                .write_file(Output {
                    family,
                    sources: store.frozen.iter().map(|table| Box::new(table.source()) as _).collect(),
                    extent: Extent::Part,
                    earliest_put_ms: i64::MIN,
                    tags: store.frozen.iter().any(|table| table.has_tags()),
                    meta: FileMeta { max_seq_id: last.0, major: false, compacted: Vec::new() },
                    throttle: None,
                })
                .await?;
            made.push((name.clone(), file));
        }
        let entries = made.iter().map(|(name, file)| (name.clone(), file.as_ref().map(|file| file.entry.clone())));
        let entries: Vec<(Bytes, Option<FileEntry>)> = entries.collect();
        let commit = |manifest: &mut Manifest| {
            for (name, entry) in entries {
                manifest.families.entry(name).or_default().files.extend(entry);
            }
            for state in manifest.families.values_mut() {
                state.flushed = state.flushed.max(last);
            }
            manifest.seq_floor = manifest.seq_floor.max(last);
            needs(manifest);
        };
        let change = move |next: &mut Version| {
            for (name, file) in made {
                if let Some(store) = next.get_mut(&name) {
                    let flushed = &version[&name].frozen;
                    store.frozen.retain(|table| !flushed.iter().any(|done| Arc::ptr_eq(done, table)));
                    store.files.extend(file);
                }
            }
        };
        self.publish(commit, change).await
    }

    /// Writes cells to a file that nothing lists yet; `None` if there are none.
    pub(super) async fn write_file(&self, output: Output<'_>) -> Result<Option<Arc<StoreFile>>> {
        let name = format!("{:016x}{:016x}", self.epoch, self.ctx.runtime.random.next_u64());
        let path = file_path(&self.info, &output.family.name, &name);
        let mut blob = None;
        let written = match self.write_cells(output, &path, &mut blob).await {
            Ok(written) => written,
            Err(error) => {
                if let Some(blob) = blob {
                    blob.abort().await;
                }
                return Err(error);
            }
        };
        let Some((meta, cells, expected)) = written else { return Ok(None) };
        let size = blob.expect("something was written").finish().await?;
        if size != expected {
            return Err(StorageError::corrupt("store file", &path, size, "it is not as long as what was written"));
        }
        let reader = Arc::new(HFileReader::open(&self.ctx.fs, &path, size, self.ctx.cache.clone()).await?);
        self.readers.lock().insert(path, Arc::downgrade(&reader));
        let entry = FileEntry { name, size, max_seq: SeqNo(meta.max_seq_id), cells, major: meta.major, loaded_ms: 0 };
        Ok(Some(Arc::new(StoreFile { entry, reader })))
    }

    /// All bytes of a file but its end: what the file says of itself, its cells and its length.
    async fn write_cells(
        &self,
        output: Output<'_>,
        path: &str,
        blob: &mut Option<Box<dyn BlobWriter>>,
    ) -> Result<Option<(FileMeta, u64, u64)>> {
        let Output { family, sources, extent, earliest_put_ms, tags, meta, throttle } = output;
        let now_ms = self.ctx.runtime.clock.now_ms();
        let keep = Keep { extent, smallest_read_point: self.mvcc.smallest_read_point(), earliest_put_ms, now_ms };
        let mut scanner = CompactionScanner::new(sources, self.order, &FamilySettings::from(family), keep);
        let mut writer = HFileWriter::new(WriterOptions {
            compression: family.compression(),
            encoding: family.data_block_encoding(),
            block_size: family.block_size() as usize,
            bloom: family.bloom_type(),
            bloom_prefix_len: family.bloom_prefix_len().unwrap_or(0),
            tags,
            order: self.order,
            create_time_ms: now_ms,
            column_filter: true,
            ..WriterOptions::default()
        });
        let mut cells: u32 = 0;
        while let Some(cell) = scanner.next().await? {
            writer.append(cell.as_ref())?;
            cells = cells.wrapping_add(1);
            if cells.is_multiple_of(CELLS_BETWEEN_LOOKS) {
                // Cells that are in memory already would keep this thread for themselves.
                runtime::task::yield_now().await;
                // A closing region waits for flushes only.
                if throttle.is_some() {
                    self.check_open()?;
                }
            }
            if writer.pending() >= WRITE_BYTES {
                if let Some(throttle) = throttle {
                    throttle.pass(writer.pending() as u64).await;
                    self.check_open()?;
                }
                self.open_blob(path, blob).await?.write(writer.take()).await?;
            }
        }
        if throttle.is_some() {
            self.check_open()?;
        }
        if writer.is_empty() {
            return Ok(None);
        }
        // Captured after the freeze: a nonce is known as finished before its write lets a freeze happen.
        let nonces = self.nonces.finished();
        if !nonces.is_empty() {
            writer.add_meta(nonce::META_NAME, nonce::encode(&nonces));
        }
        let finished = writer.finish(&meta)?;
        self.open_blob(path, blob).await?.write(writer.take()).await?;
        Ok(Some((meta, finished.cells, finished.size)))
    }

    async fn open_blob<'a>(
        &self,
        path: &str,
        blob: &'a mut Option<Box<dyn BlobWriter>>,
    ) -> Result<&'a mut Box<dyn BlobWriter>> {
        if blob.is_none() {
            *blob = Some(self.ctx.fs.create_blob(path).await?);
        }
        Ok(blob.as_mut().expect("just opened"))
    }
}
