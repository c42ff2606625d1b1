//! Creating, opening and closing a region.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use filesystem::{Cause, Filesystem};
use futures::TryStreamExt;
use model::region::RegionInfo;
use model::schema::TableDescriptor;
use model::{CellOrder, SeqNo};
use parking_lot::{Mutex, RwLock};
use runtime::Runtime;
use tokio::sync::Notify;

use super::ledger::Ledger;
use super::{Limits, Region, RegionContext, StoreFile, StoreVersion, Version};
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::manifest::{FamilyState, FileEntry, Manifest, ManifestHandle};
use crate::memtable::Memtable;
use crate::mvcc::Mvcc;
use crate::nonce::{self, NonceWindow};
use crate::row_lock::RowLocks;
use crate::wal::{EndedElsewhere, Stretch};

/// Path of a store file.
pub(super) fn file_path(info: &RegionInfo, family: &[u8], name: &str) -> String {
    format!("{}/{}/{name}", folder(info), String::from_utf8_lossy(family))
}

/// Folder of a region's store files, as HBase names it.
pub fn folder(info: &RegionInfo) -> String {
    format!("data/{}/{}/{}", info.table.namespace(), info.table.qualifier(), info.encoded_name())
}

/// Whether a file is the one that the manifest means; its trailer has no checksum.
fn check_file(entry: &FileEntry, reader: &HFileReader, order: CellOrder) -> Result<()> {
    let from = if entry.loaded_ms == 0 { reader.max_seq_id() } else { Some(entry.max_seq) };
    let fits = reader.entry_count() == entry.cells && from == Some(entry.max_seq) && reader.order() == order;
    if fits {
        return Ok(());
    }
    let why = format!(
        "it holds {} cells up to sequence number {:?}, the manifest says {} up to {:?}",
        reader.entry_count(),
        reader.max_seq_id().map(|seqno| seqno.0),
        entry.cells,
        entry.max_seq.0
    );
    Err(StorageError::corrupt("store file", reader.name(), reader.size(), why))
}

/// Lists the descriptor's families: what is gone is gone for good, what is new starts behind `last`.
fn set_families(manifest: &mut Manifest, descriptor: &TableDescriptor, last: SeqNo) {
    manifest.families.retain(|family, _| descriptor.families.contains_key(family));
    for family in descriptor.families.keys() {
        let new = FamilyState { flushed: last, files: Vec::new() };
        manifest.families.entry(family.clone()).or_insert(new);
    }
}

impl Region {
    /// Creates a region's manifest, closed and empty. One that exists is left as it is.
    pub async fn create(
        fs: &Arc<dyn Filesystem>,
        runtime: &Runtime,
        table_id: &str,
        info: &RegionInfo,
        descriptor: &TableDescriptor,
        epoch: u64,
    ) -> Result<()> {
        ManifestHandle::create(fs, &runtime.random, table_id, info, descriptor.families.keys().cloned(), epoch).await
    }

    /// Opens a region under a new epoch: ends the streams that may hold its edits, claims it, replays.
    ///
    /// Ending a stream is the right of whoever decides that its writer is gone; the caller must be that.
    pub async fn open(
        ctx: RegionContext,
        info: RegionInfo,
        table_id: &str,
        epoch: u64,
        descriptor: Arc<TableDescriptor>,
    ) -> Result<Arc<Region>> {
        Cause::Opening.of(Region::open_now(ctx, info, table_id, epoch, descriptor)).await
    }

    async fn open_now(
        ctx: RegionContext,
        info: RegionInfo,
        table_id: &str,
        epoch: u64,
        descriptor: Arc<TableDescriptor>,
    ) -> Result<Arc<Region>> {
        let encoded = info.encoded_name();
        let Some(mut manifest) = ManifestHandle::load(&ctx.fs, &ctx.runtime.random, table_id, &encoded).await? else {
            let path = crate::manifest::path(table_id, &encoded);
            return Err(filesystem::Error::new(filesystem::ErrorKind::NotFound, &path, "region has no manifest").into());
        };
        let log_name = Bytes::from(crate::manifest::log_name(table_id, &encoded));
        let (mut ended, mut unneeded, mut others) = (Vec::new(), Vec::new(), Vec::new());
        // What all families have in files need not be replayed, and collection may delete it at any moment.
        let covered = manifest.manifest().families.values().map(|family| family.flushed).min().unwrap_or(SeqNo::MAX);
        for stream in manifest.manifest().needs.clone() {
            if stream == ctx.log.id() {
                if !ctx.log.holds(&log_name) {
                    // An opening that failed half-way: nothing was written under it.
                    unneeded.push(stream);
                    continue;
                }
                // Opened by this process before: its edits are in our own stream, which cannot be ended.
                return Err(StorageError::Fenced(format!("region {info} was opened and not closed here, it")));
            }
            let found = ctx.log.end_other(stream, &ctx.fs).await?;
            others.push(found.clone());
            let ranges = found.ended.index.as_ref().and_then(|index| index.regions.get(&log_name));
            if ranges.is_some_and(|ranges| ranges.max > covered) {
                ended.push(found);
            } else {
                unneeded.push(stream);
            }
        }
        manifest.claim(epoch, ctx.log.id(), &unneeded).await?;

        let limits = Limits::default();
        limits.set(&descriptor, &ctx.settings);
        let window = Duration::from_millis(ctx.settings.nonce_window_ms);
        let mut region = Region {
            nonces: NonceWindow::new(ctx.runtime.clock.clone(), window),
            charge: Mutex::new(ctx.budget.empty()),
            order: info.cell_order(),
            ctx,
            info,
            log_name,
            epoch,
            descriptor: RwLock::new(descriptor),
            mvcc: Mvcc::new(SeqNo::ZERO),
            row_locks: RowLocks::default(),
            updates: Arc::default(),
            submit: Mutex::new(()),
            version: RwLock::default(),
            ledger: tokio::sync::Mutex::new(Ledger::new(manifest)),
            loading: tokio::sync::Mutex::new(()),
            flushing: tokio::sync::Mutex::new(()),
            flushed: Notify::new(),
            compacting: Mutex::default(),
            compactions: tokio::sync::RwLock::new(()),
            limits,
            readers: Mutex::default(),
            closing: AtomicBool::new(false),
            counters: super::counters::Counters::default(),
        };
        if let Err(error) = region.recover(&ended).await {
            region.give_back().await;
            return Err(error);
        }
        let region = Arc::new(region);
        if let Err(error) = region.finish_loads().await {
            region.give_back().await;
            return Err(error);
        }
        for other in &others {
            region.ctx.log.outlast(other).await;
        }
        Ok(region)
    }

    /// Opens the files and replays, before anybody else has the region.
    async fn recover(&mut self, ended: &[Arc<EndedElsewhere>]) -> Result<()> {
        let descriptor = self.descriptor();
        let manifest = self.ledger.get_mut().manifest.manifest().clone();
        let mut last = manifest.seq_floor;
        let mut stores = BTreeMap::new();
        for family in descriptor.families.keys() {
            let state = manifest.families.get(family).cloned().unwrap_or_default();
            let mut files = Vec::new();
            for entry in state.files {
                let path = file_path(&self.info, family, &entry.name);
                let reader = HFileReader::open(&self.ctx.fs, &path, entry.size, self.ctx.cache.clone()).await?;
                check_file(&entry, &reader, self.order)?;
                last = last.max(entry.max_seq);
                let reader = Arc::new(if entry.loaded_ms == 0 { reader } else { reader.loaded_as(entry.max_seq) });
                self.readers.get_mut().insert(path, Arc::downgrade(&reader));
                files.push(Arc::new(StoreFile { entry, reader }));
            }
            last = last.max(state.flushed);
            let active = Arc::new(Memtable::new(self.order));
            stores.insert(family.clone(), StoreVersion { active, frozen: Vec::new(), files });
        }
        // Files tell the nonces of what is flushed, the log those of the rest: an entry that a flush passed over was
        // never applied.
        let mut files: Vec<&Arc<StoreFile>> =
            stores.values().flat_map(|store| &store.files).filter(|file| file.entry.loaded_ms == 0).collect();
        files.sort_by_key(|file| file.entry.max_seq);
        for file in files {
            if let Some(block) = file.reader.meta_block(nonce::META_NAME).await? {
                for known in nonce::decode(&block, file.reader.name())? {
                    self.nonces.remember(known);
                }
            }
        }
        *self.version.get_mut() = Arc::new(stores);
        let last = self.replay(&manifest, ended, last).await?;
        if !manifest.families.keys().eq(descriptor.families.keys()) {
            let change = |manifest: &mut Manifest| set_families(manifest, &descriptor, last);
            self.ledger.get_mut().manifest.commit(change).await?;
        }
        self.mvcc = Mvcc::new(last);
        Ok(())
    }

    /// Brings what the logs hold into the memtables; flushes on the way if there is no room for it. Answers the last seqno, or `floor`.
    async fn replay(&mut self, manifest: &Manifest, ended: &[Arc<EndedElsewhere>], floor: SeqNo) -> Result<SeqNo> {
        // The log may hold cells of a family's earlier life: one that the manifest does not know starts empty.
        let flushed = |family: &[u8]| manifest.families.get(family).map_or(SeqNo::MAX, |state| state.flushed);
        let (budget, log_name) = (self.ctx.budget.clone(), self.log_name.clone());
        // Streams are needed in the order in which they were written.
        let mut last = SeqNo::ZERO;
        for stream in ended {
            let mut stretches = std::pin::pin!(stream.replay(&log_name, last, &budget));
            while let Some(Stretch { entries, room }) = stretches.try_next().await? {
                let stores = self.version.get_mut().clone();
                let mut bytes = 0;
                for entry in entries {
                    last = entry.seqno;
                    let mut applied = false;
                    for cell in entry.cells {
                        if let Some(store) = stores.get(cell.family())
                            && entry.seqno > flushed(cell.family())
                        {
                            bytes += store.active.insert(cell);
                            applied = true;
                        }
                    }
                    if let Some(nonce) = entry.nonce.filter(|_| applied) {
                        self.nonces.remember(nonce);
                    }
                }
                drop((stores, room));
                self.charge.get_mut().absorb(budget.take_anyway(bytes));
                if !budget.is_pressed() || self.charge.get_mut().bytes() <= budget.replay_flush_bytes() {
                    continue;
                }
                let _turn = budget.replay_flush_turn().await;
                // Others may have made room while this one waited.
                if budget.is_pressed() {
                    self.mvcc = Mvcc::new(floor.max(last));
                    self.flush_replayed(last).await?;
                }
            }
        }
        Ok(floor.max(last))
    }

    /// The opening has failed behind its claim: nothing was logged under it, so the region is closed again with its old needs, and
    /// anybody may claim it without ending this process's log.
    async fn give_back(&self) {
        let stream = self.ctx.log.id();
        if self.ctx.log.is_fenced() || self.ctx.log.holds(&self.log_name) {
            return;
        }
        let without = |manifest: &mut Manifest| manifest.needs.retain(|need| *need != stream);
        if let Err(error) = self.publish(without, |_| {}).await {
            tracing::warn!(region = %self.info, %error, "a region whose opening failed stays claimed by this process");
        }
    }

    /// Takes a changed descriptor: new families start empty, families that are gone are no longer served or listed.
    pub async fn update(&self, descriptor: Arc<TableDescriptor>) -> Result<()> {
        let _flushing = self.flushing.lock().await;
        let _updates = self.updates.write().await;
        let (last, order) = (self.mvcc.last(), self.order);
        let families: Vec<Bytes> = descriptor.families.keys().cloned().collect();
        let change = move |version: &mut Version| {
            version.retain(|family, _| families.contains(family));
            for family in families {
                version.entry(family).or_insert_with(|| StoreVersion {
                    active: Arc::new(Memtable::new(order)),
                    frozen: Vec::new(),
                    files: Vec::new(),
                });
            }
        };
        self.publish(|manifest| set_families(manifest, &descriptor, last), change).await?;
        self.limits.set(&descriptor, &self.ctx.settings);
        *self.descriptor.write() = descriptor;
        Ok(())
    }

    /// Stops writes, ends compactions, flushes, and gives the region up: the next opening replays nothing. If the flush
    /// fails, the region serves on; if anything fails later, it may be closed again.
    pub async fn close(&self) -> Result<()> {
        self.closing.store(true, Ordering::Release);
        self.flushed.notify_waiters();
        // Writes that had begun are applied before this lock is free.
        drop(self.updates.write().await);
        if let Err(error) = self.flush().await {
            self.closing.store(false, Ordering::Release);
            return Err(error);
        }
        // A compaction ends soon and commits nothing behind this.
        let _compactions = self.compactions.write().await;
        let last = self.mvcc.last();
        let commit = |manifest: &mut Manifest| {
            manifest.needs.clear();
            manifest.seq_floor = manifest.seq_floor.max(last);
        };
        // No write may follow even if this fails: it may stand that nobody needs our log.
        self.publish(commit, |_| {}).await?;
        if let Err(error) = self.ctx.log.forget(&self.log_name, last).await {
            tracing::warn!(%error, "log segments of a closed region are kept");
        }
        self.delete_unread().await;
        Ok(())
    }
}
