//! The block cache: decompressed blocks, by file and offset, within a budget of bytes.
//!
//! Always true: one load at a time per block, however many want it; the weight of everything inside stays within the
//! capacity.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

/// Bytes that an entry costs beside its block.
const ENTRY_OVERHEAD_BYTES: u64 = 128;

/// A cached block: its decompressed body and what its header said.
#[derive(Clone, Debug)]
pub struct CachedBlock {
    /// Decompressed body.
    pub body: Bytes,
    /// Length on storage, header and checksums included.
    pub disk_len: usize,
    /// Offset of the previous block of its kind, -1 if there is none.
    pub previous: i64,
    /// Whether it is a data block.
    pub is_data: bool,
    /// What was learned from the body when it was loaded.
    pub guide: Guide,
}

/// Entry of an index block: the smallest key below a block, and where that block is.
#[derive(Clone, Debug)]
pub struct IndexEntry {
    /// A flat key, checked; for blooms whatever they are looked up by.
    pub key: Bytes,
    /// Where the block starts.
    pub offset: u64,
    /// Length on storage.
    pub disk_len: usize,
}

/// What spares readers a walk through a block.
#[derive(Clone, Debug)]
pub enum Guide {
    /// Nothing.
    None,
    /// A data block: where some of its cells start, in order.
    Cells(Box<[u32]>),
    /// An index block, taken apart; never empty.
    Index(Arc<[IndexEntry]>),
}

#[derive(Clone, Debug)]
struct BlockWeight;

impl Weighter<(u64, u64), Arc<CachedBlock>> for BlockWeight {
    fn weight(&self, _key: &(u64, u64), block: &Arc<CachedBlock>) -> u64 {
        let guide = match &block.guide {
            Guide::None => 0,
            Guide::Cells(starts) => size_of_val(&starts[..]),
            Guide::Index(entries) => size_of_val(&entries[..]),
        };
        (block.body.len() + guide) as u64 + ENTRY_OVERHEAD_BYTES
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct BlockCache {
    cache: Cache<(u64, u64), Arc<CachedBlock>, BlockWeight>,
    files: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl BlockCache {
    /// A cache of this many bytes.
    pub fn new(capacity_bytes: u64) -> BlockCache {
        let blocks = (capacity_bytes / 65_536).clamp(16, 1 << 20) as usize;
        BlockCache {
            cache: Cache::with_weighter(blocks, capacity_bytes, BlockWeight),
            files: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// A number for a newly opened file: the first half of its blocks' keys.
    pub fn file_id(&self) -> u64 {
        self.files.fetch_add(1, Ordering::Relaxed)
    }

    /// The block, if it is there.
    pub fn get(&self, file: u64, offset: u64) -> Option<Arc<CachedBlock>> {
        let found = self.cache.get(&(file, offset));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// The block, if it is there, for a reader that otherwise asks again in a way that counts.
    pub fn look(&self, file: u64, offset: u64) -> Option<Arc<CachedBlock>> {
        let found = self.cache.get(&(file, offset))?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(found)
    }

    /// The block, loaded once if it is not there.
    pub async fn get_or_load<E>(
        &self,
        file: u64,
        offset: u64,
        load: impl Future<Output = Result<CachedBlock, E>>,
    ) -> Result<Arc<CachedBlock>, E> {
        self.cache.get_or_insert_async(&(file, offset), async { load.await.map(Arc::new) }).await
    }

    /// Bytes inside.
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Lookups that found their block, and those that did not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}
