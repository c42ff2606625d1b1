//! Sorted cells in memory, written concurrently.
//!
//! Always true
//! - Keys are unique: the cell's key with its sequence number. Inserting an equal key into the skip list would make
//!   concurrent readers miss it, so a mutation's own duplicates are dropped before they come here.
//! - A cell, once in, stays until the whole memtable is dropped.

use std::cmp::Ordering as Compare;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use crossbeam_epoch as epoch;
use crossbeam_skiplist::SkipList;
use futures::future::BoxFuture;
use model::cell::beginning;
use model::{Cell, CellOrder, CellRef, SeqNo};

use crate::error::Result;
use crate::source::{CellSource, Progress};

/// Bytes that an entry costs beside the cell's own: skip-list node and bookkeeping (measured: 70 to 100, before its 16 bytes of row).
pub const ENTRY_OVERHEAD_BYTES: u64 = 112;

#[derive(Debug)]
struct Key {
    /// What its row begins with, which decides most comparisons without a look at the cell, which lies elsewhere. 0 where the order is not that
    /// of bytes.
    begins: (u64, u64),
    cell: Cell,
    order: CellOrder,
}

impl Key {
    fn new(cell: Cell, order: CellOrder) -> Key {
        let begins = if order == CellOrder::User { beginning(cell.row()) } else { (0, 0) };
        Key { begins, cell, order }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        self.cmp(other) == Compare::Equal
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Compare> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Compare {
        let cells = || self.order.compare(self.cell.as_ref(), other.cell.as_ref());
        self.begins.cmp(&other.begins).then_with(cells)
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Memtable {
    list: SkipList<Key, ()>,
    order: CellOrder,
    bytes: AtomicU64,
    cells: AtomicU64,
    has_tags: AtomicBool,
    oldest_ms: AtomicI64,
    newest_ms: AtomicI64,
    oldest_seqno: AtomicU64,
}

impl Memtable {
    /// An empty memtable.
    pub fn new(order: CellOrder) -> Memtable {
        Memtable {
            list: SkipList::new(epoch::default_collector().clone()),
            order,
            bytes: AtomicU64::new(0),
            cells: AtomicU64::new(0),
            has_tags: AtomicBool::new(false),
            oldest_ms: AtomicI64::new(i64::MAX),
            newest_ms: AtomicI64::new(i64::MIN),
            oldest_seqno: AtomicU64::new(u64::MAX),
        }
    }

    /// Adds a cell; answers the bytes it is accounted with.
    pub fn insert(&self, cell: Cell) -> u64 {
        let bytes = cell.bytes().len() as u64 + ENTRY_OVERHEAD_BYTES;
        if !cell.tags().is_empty() {
            self.has_tags.store(true, Ordering::Relaxed);
        }
        self.oldest_ms.fetch_min(cell.timestamp(), Ordering::Relaxed);
        self.newest_ms.fetch_max(cell.timestamp(), Ordering::Relaxed);
        // Numbers grow but for those of writers side by side, so a look nearly always does.
        if cell.seqno().0 < self.oldest_seqno.load(Ordering::Relaxed) {
            self.oldest_seqno.fetch_min(cell.seqno().0, Ordering::Relaxed);
        }
        let guard = epoch::pin();
        self.list.insert(Key::new(cell, self.order), (), &guard).release(&guard);
        self.cells.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        bytes
    }

    /// Accounted bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Cells inside.
    pub fn cells(&self) -> u64 {
        self.cells.load(Ordering::Relaxed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a cell has tags.
    pub fn has_tags(&self) -> bool {
        self.has_tags.load(Ordering::Relaxed)
    }

    /// The smallest sequence number of its cells; [`SeqNo::MAX`] if there are none.
    pub fn oldest_seqno(&self) -> SeqNo {
        SeqNo(self.oldest_seqno.load(Ordering::Relaxed))
    }

    /// Walks the cells.
    pub fn source(self: &Arc<Self>) -> MemtableSource {
        MemtableSource { table: self.clone(), batch: Vec::new(), at: 0, ended: true }
    }
}

/// Cells fetched from the skip list at once, at first and at most: finding a place costs more than walking on from it, and
/// cells that are not wanted cost too.
const BATCH: std::ops::RangeInclusive<usize> = 4..=128;

/// The same behind a jump forward, where the next jump may be near.
const RESEEK_BATCH: usize = 32;

/// Walks a [`Memtable`]. Cells inserted behind the position may or may not be seen; the read point decides anyway.
#[derive(Debug)]
pub struct MemtableSource {
    table: Arc<Memtable>,
    batch: Vec<Cell>,
    at: usize,
    /// Nothing lies behind the batch.
    ended: bool,
}

impl MemtableSource {
    fn fill(&mut self, from: Bound<Key>, most: usize) {
        self.batch.clear();
        self.at = 0;
        // Pinned once for all: entries need no counts of their own.
        let guard = epoch::pin();
        let entries = self.table.list.range((from, Bound::Unbounded), &guard);
        self.batch.extend(entries.take(most).map(|entry| entry.key().cell.clone()));
        self.ended = self.batch.len() < most;
    }

    fn key(&self, cell: &Cell) -> Key {
        Key::new(cell.clone(), self.table.order)
    }
}

impl CellSource for MemtableSource {
    fn peek(&self) -> Option<CellRef<'_>> {
        self.batch.get(self.at).map(Cell::as_ref)
    }

    fn cell(&self) -> Option<Cell> {
        self.batch.get(self.at).cloned()
    }

    fn advance(&mut self) -> Result<Progress> {
        if self.at + 1 < self.batch.len() {
            self.at += 1;
        } else if self.ended || self.batch.is_empty() {
            self.batch.clear();
            self.at = 0;
            self.ended = true;
        } else {
            let (last, more) = (self.key(&self.batch[self.at]), self.batch.len() * 2);
            self.fill(Bound::Excluded(last), more.clamp(*BATCH.start(), *BATCH.end()));
        }
        Ok(Progress::Ready)
    }

    fn seek(&mut self, key: &Cell) -> Result<Progress> {
        // A point read takes few cells; a scan fills larger batches as it goes.
        self.fill(Bound::Included(self.key(key)), *BATCH.start());
        Ok(Progress::Ready)
    }

    fn reseek(&mut self, key: &Cell) -> Result<Progress> {
        let order = self.table.order;
        let ahead = self.batch[self.at.min(self.batch.len())..]
            .iter()
            .position(|cell| order.compare(cell.as_ref(), key.as_ref()).is_ge());
        match ahead {
            Some(steps) => self.at += steps,
            None if self.ended => {
                self.batch.clear();
                self.at = 0;
            }
            None => self.fill(Bound::Included(self.key(key)), RESEEK_BATCH),
        }
        Ok(Progress::Ready)
    }

    fn seek_before(&mut self, key: &Cell) -> Result<Progress> {
        self.batch.clear();
        self.at = 0;
        let (before, guard) = (self.key(key), epoch::pin());
        let before = self.table.list.upper_bound(Bound::Excluded(&before), &guard);
        self.batch.extend(before.map(|entry| entry.key().cell.clone()));
        self.ended = self.batch.is_empty();
        Ok(Progress::Ready)
    }

    fn load(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::SeqNo;

    fn cell(row: u32, seqno: u64) -> Cell {
        Cell::put(format!("{row:05}").as_bytes(), b"f", b"q", 1, b"v").expect("cell").with_seqno(SeqNo(seqno))
    }

    #[test]
    fn walks_seeks_and_goes_back() {
        let table = Arc::new(Memtable::new(CellOrder::User));
        for row in (0..500).rev() {
            table.insert(cell(row, 1));
            table.insert(cell(row, 2));
        }
        assert_eq!(table.cells(), 1000);
        let mut source = table.source();
        assert!(source.peek().is_none());
        let _ = source.seek(&Cell::first_on_row(b"")).expect("seek");
        let mut seen = Vec::new();
        while let Some(at) = source.cell() {
            seen.push(at);
            let _ = source.advance().expect("advance");
        }
        assert_eq!(seen.len(), 1000);
        assert!(seen.windows(2).all(|pair| CellOrder::User.compare(pair[0].as_ref(), pair[1].as_ref()).is_lt()));
        let _ = source.seek(&Cell::first_on_row(b"00100")).expect("seek");
        assert_eq!(source.peek().expect("cell").row(), b"00100");
        let _ = source.reseek(&Cell::first_on_row(b"00099")).expect("reseek");
        assert_eq!(source.peek().expect("cell").row(), b"00100", "never backwards");
        let _ = source.reseek(&Cell::first_on_row(b"00400")).expect("reseek");
        assert_eq!(source.peek().expect("cell").row(), b"00400");
        let _ = source.seek_before(&Cell::first_on_row(b"00400")).expect("seek_before");
        assert_eq!(
            (source.peek().expect("cell").row(), source.peek().expect("cell").seqno()),
            (&b"00399"[..], SeqNo(1))
        );
        let _ = source.seek_before(&Cell::first_on_row(b"00000")).expect("seek_before");
        assert!(source.peek().is_none());
    }
}
