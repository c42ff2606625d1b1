//! One region: opens on a filesystem with no server around it.
//!
//! ```text
//! write  lock the row → read what it needs → seqno and log position in one critical section → durable → apply → visible
//! flush  wait for begun writes, freeze the memtables → a file per family → manifest commit → publish → the log may forget
//! load   check the files → manifest commit names them → move them here → manifest commit lists them → publish
//! read   pin the read point and the version (no locks after) → merge → rows
//! ```
//!
//! Always true
//! - A cell is visible only after its log entry is as durable as asked; a write that failed is never applied.
//! - A row's lock is held until its write is visible, so a read-modify-write sees every earlier write of the row.
//! - The manifest decides which files exist; a file is deleted only after a commit that no longer lists it, and after its last reader.

mod bulk;
mod collect;
mod compact;
mod counters;
mod ledger;
mod load;
mod open;
mod persist;
mod prepare;
mod read;
mod skip;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use filesystem::Filesystem;
use model::cell::ROW_LEN_MAX;
use model::region::RegionInfo;
use model::schema::TableDescriptor;
use model::{CellOrder, SeqNo};
use parking_lot::{Mutex, RwLock};
use runtime::Runtime;
use tokio::sync::Notify;

use crate::budget::{Budget, Charge};
use crate::cache::BlockCache;
use crate::compaction::PolicySettings;
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::manifest::FileEntry;
use crate::memtable::Memtable;
use crate::mvcc::Mvcc;
use crate::nonce::NonceWindow;
use crate::row_lock::RowLocks;
use crate::wal::Log;

pub use bulk::{BulkLoad, LoadFile, Loaded, check_load_id};
pub use collect::file_epoch;
pub use compact::Compacted;
pub use counters::RegionCounters;
pub use load::StoreLoad;
pub use open::folder;
pub use read::RegionScanner;
pub use write::{Outcome, RowWrite};

/// Flush sizes of a table at which its writes wait (`hbase.hregion.memstore.block.multiplier`).
const FLUSH_SIZES_MAX: u64 = 4;

/// Largest cell, key and value, in bytes, unless settings say otherwise (`hbase.server.keyvalue.maxsize`).
pub const CELL_BYTES_MAX: usize = 10 << 20;

/// Bounds of a region.
#[derive(Clone, Debug)]
pub struct RegionSettings {
    /// Memtable bytes at which a flush is wanted (`hbase.hregion.memstore.flush.size`).
    pub flush_bytes: u64,
    /// Memtable bytes at which writes wait for a flush; without one in time they are refused with Busy. A table with a
    /// flush size of its own has four times that.
    pub blocking_bytes: u64,
    /// Largest cell in bytes; 0 means no limit.
    pub cell_bytes_max: usize,
    /// How long a nonce is remembered, in milliseconds.
    pub nonce_window_ms: u64,
    /// How long a write waits for memory or a flush before it is refused with Busy, in milliseconds.
    pub memory_wait_ms: u64,
    /// When files are compacted, and how many make flushes wait; families may say otherwise.
    pub compaction: PolicySettings,
}

impl Default for RegionSettings {
    fn default() -> Self {
        RegionSettings {
            flush_bytes: 128 << 20,
            blocking_bytes: 512 << 20,
            cell_bytes_max: CELL_BYTES_MAX,
            nonce_window_ms: 5 * 60 * 1000,
            memory_wait_ms: 5000,
            compaction: PolicySettings::default(),
        }
    }
}

/// What a region needs of its host.
#[derive(Clone, Debug)]
pub struct RegionContext {
    /// Clock, randomness, fault points.
    pub runtime: Runtime,
    /// The data root.
    pub fs: Arc<dyn Filesystem>,
    /// The host's log stream; it may lie on another root.
    pub log: Log,
    /// Memory for memtables, shared by the host's regions.
    pub budget: Budget,
    /// The block cache.
    pub cache: Arc<BlockCache>,
    /// Bounds.
    pub settings: RegionSettings,
}

/// A listed file with its open reader.
#[derive(Debug)]
struct StoreFile {
    entry: FileEntry,
    reader: Arc<HFileReader>,
}

impl StoreFile {
    /// When it was made; of a file that was bulk-loaded, when it was: jobs that write such files may leave their time out.
    fn created_ms(&self) -> i64 {
        match self.entry.loaded_ms {
            0 => self.reader.created_ms().unwrap_or(0),
            loaded_ms => i64::try_from(loaded_ms).unwrap_or(0),
        }
    }
}

/// One family as readers see it. Replaced as a whole, never changed.
#[derive(Clone, Debug)]
struct StoreVersion {
    active: Arc<Memtable>,
    /// Being flushed, newest first.
    frozen: Vec<Arc<Memtable>>,
    /// Oldest first.
    files: Vec<Arc<StoreFile>>,
}

impl StoreVersion {
    fn memtable_bytes(&self) -> u64 {
        self.active.bytes() + self.frozen.iter().map(|table| table.bytes()).sum::<u64>()
    }
}

type Version = BTreeMap<Bytes, StoreVersion>;

/// Bytes in memtables at which something happens, by the descriptor or the settings.
#[derive(Debug, Default)]
struct Limits {
    flush: AtomicU64,
    block: AtomicU64,
}

impl Limits {
    fn set(&self, descriptor: &TableDescriptor, settings: &RegionSettings) {
        let own = descriptor.memtable_flush_bytes().filter(|bytes| *bytes > 0);
        self.flush.store(own.unwrap_or(settings.flush_bytes), Ordering::Relaxed);
        let block = own.map_or(settings.blocking_bytes, |bytes| bytes.saturating_mul(FLUSH_SIZES_MAX));
        self.block.store(block, Ordering::Relaxed);
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Region {
    ctx: RegionContext,
    info: RegionInfo,
    /// Its name in the log.
    log_name: Bytes,
    epoch: u64,
    order: CellOrder,
    descriptor: RwLock<Arc<TableDescriptor>>,
    mvcc: Mvcc,
    row_locks: RowLocks,
    nonces: NonceWindow,
    /// Held shared from taking a seqno until the write is applied; alone while memtables are frozen.
    updates: Arc<tokio::sync::RwLock<()>>,
    /// Makes log order seqno order.
    submit: Mutex<()>,
    version: RwLock<Arc<Version>>,
    ledger: tokio::sync::Mutex<ledger::Ledger>,
    /// One bulk load at a time. Taken before `flushing`.
    loading: tokio::sync::Mutex<()>,
    /// One flush or change of the descriptor at a time. Taken before `compactions`, that before `ledger`.
    flushing: tokio::sync::Mutex<()>,
    /// Tells writers that a flush made room.
    flushed: Notify,
    /// Held shared by each compaction; alone by a closing and by collection.
    compactions: tokio::sync::RwLock<()>,
    /// Names of the files that are being compacted.
    compacting: Mutex<HashSet<String>>,
    limits: Limits,
    /// Files that this opening has opened or written and not deleted, by path. What is not listed is deleted when its last reader is gone.
    readers: Mutex<BTreeMap<String, Weak<HFileReader>>>,
    closing: AtomicBool,
    /// Budget taken by the active memtables.
    charge: Mutex<Charge>,
    counters: counters::Counters,
}

impl Region {
    /// Identity and range.
    pub fn info(&self) -> &RegionInfo {
        &self.info
    }

    /// The epoch it is open under.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The table's descriptor.
    pub fn descriptor(&self) -> Arc<TableDescriptor> {
        self.descriptor.read().clone()
    }

    /// Bytes in memtables.
    pub fn memtable_bytes(&self) -> u64 {
        let version = self.version.read().clone();
        version.values().map(StoreVersion::memtable_bytes).sum()
    }

    /// Whether the memtables have reached the size to be flushed.
    pub fn needs_flush(&self) -> bool {
        self.memtable_bytes() >= self.flush_bytes()
    }

    /// Memtable bytes at which a flush is wanted.
    pub fn flush_bytes(&self) -> u64 {
        self.limits.flush.load(Ordering::Relaxed)
    }

    /// Files of a family, oldest first: name and bytes.
    pub fn files(&self, family: &[u8]) -> Vec<(String, u64)> {
        let version = self.version.read().clone();
        let files = version.get(family).map(|store| store.files.clone()).unwrap_or_default();
        files.iter().map(|file| (file.entry.name.clone(), file.entry.size)).collect()
    }

    /// What its reads have done since it was opened.
    pub fn counters(&self) -> RegionCounters {
        self.counters.now()
    }

    /// What a reader that starts now sees.
    pub fn read_point(&self) -> SeqNo {
        self.mvcc.read_point()
    }

    fn name(&self) -> String {
        self.info.to_string()
    }

    fn check_open(&self) -> Result<()> {
        if self.closing.load(Ordering::Acquire) {
            return Err(StorageError::Closing(format!("region {}", self.name())));
        }
        Ok(())
    }

    fn check_row(&self, row: &[u8]) -> Result<()> {
        if row.is_empty() {
            return Err(StorageError::Invalid("the row is empty".to_owned()));
        }
        check_row_len(row)?;
        if !self.info.contains(row) {
            let row = row[..row.len().min(64)].escape_ascii().to_string();
            return Err(StorageError::WrongRegion { row, region: self.name() });
        }
        Ok(())
    }

    fn check_family(&self, descriptor: &TableDescriptor, family: &[u8]) -> Result<()> {
        if descriptor.families.contains_key(family) {
            return Ok(());
        }
        Err(StorageError::NoSuchFamily { family: family.escape_ascii().to_string(), region: self.name() })
    }
}

/// A longer row cannot exist, and a search key for it would be cut to that of another row.
fn check_row_len(row: &[u8]) -> Result<()> {
    if row.len() > ROW_LEN_MAX {
        let why = format!("a row has at most {ROW_LEN_MAX} bytes. length=`{}`", row.len());
        return Err(StorageError::Invalid(why));
    }
    Ok(())
}
