//! Flush and compaction: cells to files, files to the manifest.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::SeqNo;
use model::schema::FamilyDescriptor;

use super::open::file_path;
use super::{Region, StoreFile, Version};
use crate::budget::Charge;
use crate::compaction::policy::{self, FileFacts, Forced, PolicySettings};
use crate::compaction::{CompactionScanner, Extent, Keep};
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::file::writer::{FileMeta, HFileWriter, WriterOptions};
use crate::manifest::{FileEntry, Manifest};
use crate::nonce;
use crate::read::FamilySettings;
use crate::source::CellSource;

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

impl Region {
    /// Writes the memtables to files. Nothing to do is done at once, and answered with false.
    pub async fn flush(&self) -> Result<bool> {
        let _flushing = self.flushing.lock().await;
        // A flush in doubt may turn out to be done.
        self.settle(&mut *self.ledger.lock().await).await?;
        let (last, mut charge) = {
            let _updates = self.updates.write().await;
            let mut current = self.version.write();
            let mut version = (**current).clone();
            for store in version.values_mut().filter(|store| !store.active.is_empty()) {
                let fresh = Arc::new(crate::memtable::Memtable::new(self.order));
                store.frozen.insert(0, std::mem::replace(&mut store.active, fresh));
            }
            *current = Arc::new(version);
            let charge = std::mem::replace(&mut *self.charge.lock(), self.ctx.budget.empty());
            (self.mvcc.last(), FlushCharge { region: self, charge: Some(charge) })
        };
        let version = self.version.read().clone();
        if version.values().all(|store| store.frozen.is_empty()) {
            drop(charge.charge.take());
            return Ok(false);
        }
        let descriptor = self.descriptor();
        let mut made: Vec<(Bytes, Option<Arc<StoreFile>>)> = Vec::new();
        for (name, store) in version.iter().filter(|(_, store)| !store.frozen.is_empty()) {
            let Some(family) = descriptor.families.get(name) else { continue };
            let sources = store.frozen.iter().map(|table| Box::new(table.source()) as Box<dyn CellSource>).collect();
            let tags = store.frozen.iter().any(|table| table.has_tags());
            let meta = FileMeta { max_seq_id: last.0, major: false, compacted: Vec::new() };
            made.push((name.clone(), self.write_file(family, sources, Extent::Part, i64::MIN, tags, meta).await?));
        }
        let entries: Vec<(Bytes, Option<FileEntry>)> =
            made.iter().map(|(name, file)| (name.clone(), file.as_ref().map(|file| file.entry.clone()))).collect();
        let stream = self.ctx.log.stream();
        let commit = |manifest: &mut Manifest| {
            for (name, entry) in entries {
                manifest.families.entry(name).or_default().files.extend(entry);
            }
            for state in manifest.families.values_mut() {
                state.flushed = state.flushed.max(last);
            }
            manifest.seq_floor = manifest.seq_floor.max(last);
            // Older streams hold nothing above what is flushed now.
            manifest.needs.retain(|need| *need == stream);
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
        self.publish(commit, change).await?;
        drop(charge.charge.take());
        match self.ctx.log.forget(&self.log_name, last).await {
            Err(error) if error.kind() == model::ErrorKind::Fenced => return Err(error),
            Err(error) => tracing::warn!(%error, "log segments of a flushed region are kept"),
            Ok(()) => {}
        }
        Ok(true)
    }

    async fn write_file(
        &self,
        family: &FamilyDescriptor,
        sources: Vec<Box<dyn CellSource>>,
        extent: Extent,
        earliest_put_ms: i64,
        tags: bool,
        meta: FileMeta,
    ) -> Result<Option<Arc<StoreFile>>> {
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
        let name = format!("{:016x}{:016x}", self.epoch, self.ctx.runtime.random.next_u64());
        let path = file_path(&self.info, &family.name, &name);
        let mut blob: Option<Box<dyn filesystem::BlobWriter>> = None;
        while let Some(cell) = scanner.next().await? {
            // A closing region waits for flushes only.
            if !meta.compacted.is_empty()
                && let Err(error) = self.check_open()
            {
                if let Some(blob) = blob {
                    blob.abort().await;
                }
                return Err(error);
            }
            writer.append(cell.as_ref())?;
            if writer.pending() >= WRITE_BYTES {
                let blob = match &mut blob {
                    Some(blob) => blob,
                    None => blob.insert(self.ctx.fs.create_blob(&path).await?),
                };
                blob.write(writer.take()).await?;
            }
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
        let mut blob = match blob {
            Some(blob) => blob,
            None => self.ctx.fs.create_blob(&path).await?,
        };
        blob.write(writer.take()).await?;
        let size = blob.finish().await?;
        if size != finished.size {
            return Err(StorageError::corrupt("store file", &path, size, "it is not as long as what was written"));
        }
        let reader = HFileReader::open(&self.ctx.fs, &path, size, self.ctx.cache.clone()).await?;
        let reader = Arc::new(reader);
        self.readers.lock().insert(path, Arc::downgrade(&reader));
        let max_seq = SeqNo(meta.max_seq_id);
        let entry = FileEntry { name, size, max_seq, cells: finished.cells, major: meta.major };
        Ok(Some(Arc::new(StoreFile { entry, reader })))
    }

    /// Compacts every family: all files if `major`, else what the policy chooses. Answers how many families changed.
    pub async fn compact(&self, major: bool) -> Result<usize> {
        let descriptor = self.descriptor();
        let mut changed = 0;
        for family in descriptor.families.values() {
            let files = self.version.read().get(&family.name).map(|store| store.files.clone()).unwrap_or_default();
            let now_ms = self.ctx.runtime.clock.now_ms();
            let facts: Vec<FileFacts> = files
                .iter()
                .map(|file| FileFacts {
                    bytes: file.entry.size,
                    is_reference: false,
                    exclude_from_minor: false,
                    created_ms: now_ms,
                    oldest_cell_ms: file.reader.timestamps().map(|times| times.0),
                    newest_cell_ms: file.reader.timestamps().map(|times| times.1),
                    compacting: false,
                })
                .collect();
            drop(files); // their readers are counted
            let settings = PolicySettings {
                ttl_ms: family.ttl_ms(),
                min_versions: family.min_versions(),
                now_ms,
                ..PolicySettings::default()
            };
            let plan = policy::choose(&facts, &settings, if major { Forced::UserMajor } else { Forced::No });
            if let Some(plan) = plan
                && let (Some(first), Some(last)) = (plan.files.first(), plan.files.last())
                && self.compact_files(&family.name, *first..*last + 1, plan.major || plan.all_files).await?
            {
                changed += 1;
            }
        }
        Ok(changed)
    }

    /// Compacts these files of a family, oldest first, into one. Delete markers go only with `major`, which holds only if
    /// the range covers all files. False if there is no such range.
    pub async fn compact_files(&self, family: &[u8], range: Range<usize>, major: bool) -> Result<bool> {
        let _compacting = self.compacting.lock().await;
        let files = self.version.read().get(family).map(|store| store.files.clone()).unwrap_or_default();
        let descriptor = self.descriptor();
        let (Some(inputs), Some(family)) = (files.get(range.clone()), descriptor.families.get(family)) else {
            return Ok(false);
        };
        if inputs.is_empty() {
            return Ok(false);
        }
        let all = major && inputs.len() == files.len();
        let sources = inputs.iter().rev().map(|file| Box::new(file.reader.source()) as Box<dyn CellSource>).collect();
        let max_seq = inputs.iter().map(|file| file.entry.max_seq).max().unwrap_or_default();
        let earliest_put =
            inputs.iter().map(|file| file.reader.earliest_put_ms().unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let meta = FileMeta {
            max_seq_id: max_seq.0,
            major: all,
            compacted: inputs.iter().map(|file| file.entry.name.clone()).collect(),
        };
        let tags = inputs.iter().any(|file| file.reader.has_tags());
        let extent = if all { Extent::All } else { Extent::Part };
        let output = self.write_file(family, sources, extent, earliest_put, tags, meta).await?;
        let entry = output.as_ref().map(|file| file.entry.clone());
        let gone: Vec<String> = inputs.iter().map(|file| file.entry.name.clone()).collect();
        drop(files);
        let replaced = gone.clone();
        let commit = |manifest: &mut Manifest| {
            let state = manifest.families.entry(family.name.clone()).or_default();
            let at = state.files.iter().position(|file| gone.contains(&file.name)).unwrap_or(state.files.len());
            state.files.retain(|file| !gone.contains(&file.name));
            state.files.splice(at..at, entry);
        };
        let name = family.name.clone();
        let change = move |next: &mut Version| {
            if let Some(store) = next.get_mut(&name) {
                let is_replaced = |file: &Arc<StoreFile>| replaced.contains(&file.entry.name);
                let at = store.files.iter().position(is_replaced).unwrap_or(store.files.len());
                store.files.retain(|file| !is_replaced(file));
                store.files.splice(at..at, output);
            }
        };
        self.publish(commit, change).await?;
        self.delete_unread().await;
        Ok(true)
    }
}
