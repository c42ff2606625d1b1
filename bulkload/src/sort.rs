//! Sorting more cells than memory holds: sorted runs on scratch storage, merged when they are read.
//!
//! What is sorted are records, each with its cells; cells are compared one by one only where a row comes in several records.
//!
//! A run is a store file whose cells are pieces of rows: the row, the piece's number as qualifier (four bytes, big-endian), and as value the
//! piece's cells, each behind its length (four bytes, little-endian). Nobody else reads it.
//!
//! Always true
//! - Of cells with equal keys the one that was added last is read, and the others are not: as with puts in that order.
//! - Cells in memory take no more than the bound given, plus what was added at once.
//! - Of a row, however many cells it has, [`PIECE_BYTES`] of each run are looked at at a time, or one cell.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use filesystem::Filesystem;
use model::cell::{beginning, compare_within_row, write_cell};
use model::schema::{BloomType, Compression};
use model::{Cell, CellRef, CellType, SeqNo};
use runtime::task::Task;
use storage::cache::BlockCache;
use storage::file::reader::{HFileReader, HFileSource};
use storage::file::writer::{FileMeta, HFileWriter, WriterOptions};
use storage::source::{CellSource, Progress};

use crate::batch::{Batch, cell_at};
use crate::error::{LoadError, Result};

/// What a cell takes in memory besides its bytes, at most an eighth of which is spare.
const CELL_OVERHEAD_BYTES: u64 = 8;
/// What a record takes, in a vector that grows by doubling.
const RECORD_OVERHEAD_BYTES: u64 = 48;
/// Bytes that gather before they go to scratch storage.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes of cells after which a piece of a row ends.
const PIECE_BYTES: usize = 256 << 10;
/// Runs that are merged at once; more are merged into longer ones first.
const RUNS_MAX: usize = 64;
/// Cells between two moments for others.
const CELLS_BETWEEN_PAUSES: usize = 1024;

/// Takes records in any order.
#[derive(Debug)]
pub struct Sorter {
    scratch: Arc<dyn Filesystem>,
    folder: String,
    /// Half of the bound: while one half is written the other one fills.
    half_bytes: u64,
    held: Held,
    /// Older ones first.
    runs: Vec<Run>,
    made: u64,
    spilling: Option<Task<Result<Run>>>,
    cache: Arc<BlockCache>,
}

/// Sorted cells.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// Older ones first.
    runs: Vec<Run>,
}

#[derive(Clone, Debug)]
enum Run {
    File(Arc<HFileReader>),
    /// What came last, and need not be written.
    Memory(Arc<Held>),
}

impl Sorter {
    /// Keeps its runs in a folder of `scratch`, and at most so many bytes in memory.
    pub fn new(scratch: Arc<dyn Filesystem>, folder: &str, memory_bytes: u64) -> Sorter {
        let cache = Arc::new(BlockCache::new((memory_bytes / 8).clamp(1 << 20, 64 << 20)));
        let half_bytes = (memory_bytes - memory_bytes / 4) / 2;
        let folder = folder.to_owned();
        let (held, runs, spilling) = (Held::default(), Vec::new(), None);
        Sorter { scratch, folder, half_bytes, held, runs, made: 0, spilling, cache }
    }

    /// Adds records.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn add(&mut self, batch: Batch) -> Result<()> {
        self.held.add(batch);
        if self.held.bytes >= self.half_bytes { self.spill().await } else { Ok(()) }
    }

    async fn spill(&mut self) -> Result<()> {
        self.settle().await?;
        let held = std::mem::take(&mut self.held);
        let (scratch, path, cache) = (self.scratch.clone(), self.next_path(), self.cache.clone());
        self.spilling = Some(runtime::task::spawn("spill", async move {
            let sorted = Sorted { runs: vec![Run::Memory(held.sorted().await)] };
            write_run(&scratch, &path, cache, sorted.from(&[]).await?).await
        }));
        Ok(())
    }

    fn next_path(&mut self) -> String {
        self.made += 1;
        format!("{}/run-{:06}", self.folder, self.made)
    }

    async fn settle(&mut self) -> Result<()> {
        if let Some(spilling) = self.spilling.take() {
            let run = spilling.await.map_err(|error| LoadError::Usage(error.to_string()))??;
            self.runs.push(run);
        }
        Ok(())
    }

    /// Ends the adding.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn finish(mut self) -> Result<Sorted> {
        self.settle().await?;
        while self.runs.len() >= RUNS_MAX {
            let runs = std::mem::take(&mut self.runs);
            for some in runs.chunks(RUNS_MAX) {
                let (path, cache) = (self.next_path(), self.cache.clone());
                let merged = Sorted { runs: some.to_vec() }.from(&[]).await?;
                self.runs.push(write_run(&self.scratch, &path, cache, merged).await?);
                for run in some {
                    if let Run::File(file) = run {
                        self.scratch.delete(file.name()).await?;
                    }
                }
            }
        }
        if !self.held.records.is_empty() {
            self.runs.push(Run::Memory(self.held.sorted().await));
        }
        Ok(Sorted { runs: self.runs })
    }
}

/// Records in memory.
#[derive(Debug, Default)]
struct Held {
    chunks: Vec<Chunk>,
    records: Vec<Record>,
    bytes: u64,
}

/// The cells of some records, and where they end.
#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    ends: Vec<usize>,
}

/// A cell: its chunk, and its place there.
type Place = (u32, u32);

#[derive(Clone, Copy, Debug)]
struct Record {
    /// What its row begins with, which decides nearly all comparisons without a look at the cells.
    begins: u64,
    /// Its first cell; later records have larger ones.
    first: Place,
    cells: u32,
}

impl Held {
    fn add(&mut self, batch: Batch) {
        let (bytes, ends, records) = batch.into_parts();
        let (chunk, mut first) = (self.chunks.len() as u32, 0);
        self.bytes += (bytes.len() + bytes.len() / 8) as u64;
        self.bytes += CELL_OVERHEAD_BYTES * ends.len() as u64 + RECORD_OVERHEAD_BYTES * records.len() as u64;
        self.chunks.push(Chunk { bytes, ends });
        for end in records {
            let begins = beginning(self.cell((chunk, first)).row()).0;
            self.records.push(Record { begins, first: (chunk, first), cells: end as u32 - first });
            first = end as u32;
        }
    }

    fn cell(&self, (chunk, at): Place) -> CellRef<'_> {
        let Chunk { bytes, ends } = &self.chunks[chunk as usize];
        cell_at(bytes, ends, at as usize)
    }

    fn row(&self, record: &Record) -> &[u8] {
        self.cell(record.first).row()
    }

    async fn sorted(mut self) -> Arc<Held> {
        runtime::task::blocking(move || {
            let mut records = std::mem::take(&mut self.records);
            records.sort_unstable_by(|a, b| {
                let rows = || self.row(a).cmp(self.row(b));
                a.begins.cmp(&b.begins).then_with(rows).then_with(|| a.first.cmp(&b.first))
            });
            self.records = records;
            Arc::new(self)
        })
        .await
    }
}

async fn write_run(scratch: &Arc<dyn Filesystem>, path: &str, cache: Arc<BlockCache>, mut walk: Walk) -> Result<Run> {
    let mut writer = HFileWriter::new(WriterOptions {
        compression: Compression::Lz4,
        bloom: BloomType::None,
        mvcc: false,
        ..WriterOptions::default()
    });
    let mut blob = scratch.create_blob(path).await?;
    let (mut row, mut number, mut unpaused) = (Vec::new(), 0_u32, 0);
    let (mut cells, mut piece) = (Vec::new(), BytesMut::new());
    while walk.advance().await? {
        number = if row == walk.row() { number + 1 } else { 0 };
        row.clear();
        row.extend_from_slice(walk.row());
        cells.clear();
        for cell in walk.cells() {
            cells.put_u32_le(cell.as_bytes().len() as u32);
            cells.extend_from_slice(cell.as_bytes());
            unpaused += 1;
        }
        piece.clear();
        write_cell(&mut piece, &row, &[], &number.to_be_bytes(), 0, CellType::PUT, &cells, &[])
            .map_err(|error| LoadError::Encode(error.to_string()))?;
        writer.append(CellRef::from_trusted(&piece, SeqNo::ZERO))?;
        if writer.pending() >= WRITE_BYTES {
            blob.write(writer.take()).await?;
        }
        if unpaused >= CELLS_BETWEEN_PAUSES {
            unpaused = 0;
            runtime::task::yield_now().await;
        }
    }
    let finished = writer.finish(&FileMeta::default())?;
    blob.write(writer.take()).await?;
    blob.finish().await?;
    Ok(Run::File(Arc::new(HFileReader::open(scratch, path, finished.size, cache).await?)))
}

impl Sorted {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Walks the cells from a row on.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn from(&self, row: &[u8]) -> Result<Walk> {
        let mut sources = Vec::with_capacity(self.runs.len());
        for run in self.runs.iter().rev() {
            sources.push(Source::at(run, row).await?);
        }
        Ok(Walk { sources, stand: Stand::Before, merged: Merged::default() })
    }
}

/// One run as it is walked: a piece of a row at a time.
#[derive(Debug)]
struct Source {
    run: Walked,
    /// The next of the piece's cells.
    at: usize,
}

#[derive(Debug)]
enum Walked {
    File {
        source: HFileSource,
        piece: Option<Cell>,
        /// Where the cells lie in the piece's value.
        cells: Vec<(usize, usize)>,
    },
    Memory {
        held: Arc<Held>,
        /// The record behind those of this row.
        next: usize,
        /// The row's cells.
        cells: Vec<Place>,
        /// Where its piece ends.
        end: usize,
    },
}

impl Source {
    async fn at(run: &Run, row: &[u8]) -> Result<Source> {
        match run {
            Run::File(file) => {
                let mut source = file.source();
                if source.seek(&Cell::first_on_row(row))? == Progress::NeedsBlock {
                    source.load().await?;
                }
                let mut source = Source { run: Walked::File { source, piece: None, cells: Vec::new() }, at: 0 };
                source.take()?;
                Ok(source)
            }
            Run::Memory(held) => {
                let next = held.records.partition_point(|record| held.row(record) < row);
                let run = Walked::Memory { held: held.clone(), next, cells: Vec::new(), end: 0 };
                let mut source = Source { run, at: 0 };
                source.advance().await?;
                Ok(source)
            }
        }
    }

    /// The row; `None` at the end.
    fn row(&self) -> Option<&[u8]> {
        match &self.run {
            Walked::File { piece, .. } => piece.as_ref().map(Cell::row),
            Walked::Memory { held, cells, .. } => cells.first().map(|first| held.cell(*first).row()),
        }
    }

    /// Cells that the piece ends with.
    fn end(&self) -> usize {
        match &self.run {
            Walked::File { cells, .. } => cells.len(),
            Walked::Memory { end, .. } => *end,
        }
    }

    fn cell(&self, at: usize) -> CellRef<'_> {
        match &self.run {
            Walked::File { piece, cells, .. } => {
                let (begin, end) = cells[at];
                let value = piece.as_ref().map(Cell::value).unwrap_or_default();
                CellRef::from_trusted(&value[begin..end], SeqNo::ZERO)
            }
            Walked::Memory { held, cells, .. } => held.cell(cells[at]),
        }
    }

    /// Takes the piece where the file stands.
    fn take(&mut self) -> Result<()> {
        self.at = 0;
        let Walked::File { source, piece, cells } = &mut self.run else { return Ok(()) };
        *piece = source.cell();
        cells.clear();
        let mut left = piece.as_ref().map(Cell::value).unwrap_or_default();
        let whole = left.len();
        while !left.is_empty() {
            let len = left.try_get_u32_le().ok().map(|len| len as usize).filter(|len| *len <= left.len());
            let len = len.ok_or_else(|| LoadError::Encode("a sorted run is not as it was written".to_owned()))?;
            let begin = whole - left.len();
            cells.push((begin, begin + len));
            left.advance(len);
        }
        Ok(())
    }

    /// Goes to the next piece.
    async fn advance(&mut self) -> Result<()> {
        match &mut self.run {
            Walked::File { source, .. } => {
                if source.advance()? == Progress::NeedsBlock {
                    source.load().await?;
                }
                self.take()
            }
            Walked::Memory { held, next, cells, end } => {
                self.at = *end;
                if self.at == cells.len() {
                    (self.at, *end) = (0, 0);
                    *next = gather(held, *next, cells);
                }
                let mut bytes = 0;
                while *end < cells.len() && bytes < PIECE_BYTES {
                    bytes += held.cell(cells[*end]).as_bytes().len();
                    *end += 1;
                }
                Ok(())
            }
        }
    }
}

/// The cells of the row that begins with a record, in order, the newest one alone of those with equal keys; answers the record behind them.
fn gather(held: &Held, first: usize, cells: &mut Vec<Place>) -> usize {
    cells.clear();
    let Some(begins) = held.records.get(first).map(|record| record.begins) else { return first };
    let (row, mut next) = (held.row(&held.records[first]), first);
    while let Some(record) = held.records.get(next)
        && (next == first || record.begins == begins && held.row(record) == row)
    {
        let (chunk, at) = record.first;
        cells.extend((at..at + record.cells).map(|at| (chunk, at)));
        next += 1;
    }
    let compare = |a: &Place, b: &Place| compare_within_row(held.cell(*a).key(), held.cell(*b).key());
    // As it is with most files: a record a row, its columns in order.
    if !cells.is_sorted_by(|a, b| compare(a, b).is_lt()) {
        cells.sort_unstable_by(|a, b| compare(a, b).then_with(|| b.cmp(a)));
        cells.dedup_by(|later, kept| compare(later, kept).is_eq());
    }
    next
}

/// A walk over sorted cells, a piece of a row at a time.
#[derive(Debug)]
pub struct Walk {
    /// Newer ones first.
    sources: Vec<Source>,
    stand: Stand,
    merged: Merged,
}

#[derive(Clone, Copy, Debug)]
enum Stand {
    Before,
    /// The piece of the only source that has the row.
    One(usize),
    /// What several sources have of a row.
    Merged,
}

/// Cells of one row from several sources.
#[derive(Debug, Default)]
struct Merged {
    row: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Walk {
    /// Goes to the next piece; false: there is none.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn advance(&mut self) -> Result<bool> {
        if let Stand::One(at) = self.stand {
            self.sources[at].advance().await?;
        }
        let (mut first, mut shared) = (None, false);
        for (at, source) in self.sources.iter().enumerate() {
            let Some(row) = source.row() else { continue };
            match first.map(|(_, first)| row.cmp(first)) {
                None | Some(Ordering::Less) => (first, shared) = (Some((at, row)), false),
                Some(Ordering::Equal) => shared = true,
                Some(Ordering::Greater) => {}
            }
        }
        let Some((at, row)) = first else { return Ok(false) };
        if shared {
            self.merged.row.clear();
            self.merged.row.extend_from_slice(row);
            self.merge().await?;
            self.stand = Stand::Merged;
        } else {
            self.stand = Stand::One(at);
        }
        Ok(true)
    }

    /// Takes cells of a row from those that have it, until one is left or a piece is full.
    async fn merge(&mut self) -> Result<()> {
        let Merged { row, bytes, ends } = &mut self.merged;
        bytes.clear();
        ends.clear();
        let has_row = |source: &Source| source.row() == Some(row);
        let mut holders: Vec<&mut Source> = self.sources.iter_mut().filter(|source| has_row(source)).collect();
        while holders.len() > 1 && bytes.len() < PIECE_BYTES {
            // The first of equal ones, which is the newest.
            let mut least = 0;
            for at in 1..holders.len() {
                let (this, other) = (&holders[at], &holders[least]);
                if compare_within_row(this.cell(this.at).key(), other.cell(other.at).key()).is_lt() {
                    least = at;
                }
            }
            let begin = bytes.len();
            bytes.extend_from_slice(holders[least].cell(holders[least].at).as_bytes());
            ends.push(bytes.len());
            let taken = CellRef::from_trusted(&bytes[begin..], SeqNo::ZERO).key();
            for source in &mut holders {
                if compare_within_row(source.cell(source.at).key(), taken).is_eq() {
                    source.at += 1;
                    if source.at == source.end() {
                        source.advance().await?;
                    }
                }
            }
            holders.retain(|source| has_row(source));
        }
        Ok(())
    }

    /// The row of the piece.
    pub fn row(&self) -> &[u8] {
        match self.stand {
            Stand::Before => &[],
            Stand::One(at) => self.sources[at].row().unwrap_or_default(),
            Stand::Merged => &self.merged.row,
        }
    }

    /// The piece's cells, in order.
    pub fn cells(&self) -> impl Iterator<Item = CellRef<'_>> {
        let (from, end) = match self.stand {
            Stand::Before => (0, 0),
            Stand::One(at) => (self.sources[at].at, self.sources[at].end()),
            Stand::Merged => (0, self.merged.ends.len()),
        };
        (from..end).map(move |at| match self.stand {
            Stand::One(source) => self.sources[source].cell(at),
            Stand::Before | Stand::Merged => cell_at(&self.merged.bytes, &self.merged.ends, at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::memory::MemoryFilesystem;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A record: its row, and times and columns of its cells.
    type Written = (u8, Vec<(u8, u8)>);

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Sorts records in batches of three, and reads them as a map would have them; answers how many runs there are.
    async fn check(writes: &[Written], memory_bytes: u64, value_bytes: usize) -> usize {
        let scratch: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let mut sorter = Sorter::new(scratch.clone(), "s", memory_bytes);
        let mut expected: BTreeMap<(String, String, i64), String> = BTreeMap::new();
        for (at, writes) in writes.chunks(3).enumerate() {
            let mut batch = Batch::default();
            for (record, (row, cells)) in writes.iter().enumerate() {
                for (number, (time, column)) in cells.iter().enumerate() {
                    let (row, column, time) = (format!("r{row:03}"), format!("c{}", column % 5), i64::from(*time % 4));
                    let value = format!("{at} {record} {number} {}", "x".repeat(value_bytes));
                    let added =
                        batch.add(row.as_bytes(), b"f", column.as_bytes(), time, CellType::PUT, value.as_bytes(), &[]);
                    added.expect("a cell");
                    expected.insert((row, column, -time), value);
                }
                batch.end_record();
            }
            sorter.add(batch).await.expect("add");
        }
        let sorted = sorter.finish().await.expect("finish");
        assert_eq!(sorted.is_empty(), expected.is_empty());
        for from in ["", "r100", "s"] {
            let mut walk = sorted.from(from.as_bytes()).await.expect("walk");
            let mut seen = Vec::new();
            while walk.advance().await.expect("advance") {
                for cell in walk.cells() {
                    assert_eq!(cell.row(), walk.row());
                    let key = (text(cell.row()), text(cell.qualifier()), -cell.timestamp());
                    seen.push((key, text(cell.value())));
                }
            }
            let wanted: Vec<_> = expected.clone().into_iter().filter(|((row, ..), _)| row.as_str() >= from).collect();
            assert_eq!(seen, wanted);
        }
        scratch.list("s").await.expect("list").len()
    }

    #[tokio::test]
    async fn many_runs_are_merged_on_the_way() {
        let record = |at: u32| ((at * 7 % 251) as u8, vec![((at % 3) as u8, 0)]);
        let writes: Vec<Written> = (0..9000).map(record).collect();
        let runs = check(&writes, 10_000, 0).await;
        assert!((1..RUNS_MAX).contains(&runs), "{runs}");
    }

    #[tokio::test]
    async fn rows_longer_than_a_piece_are_merged_within_it() {
        let record = |at: u32| ((at % 2) as u8, vec![((at / 3 % 4) as u8, (at % 5) as u8), (0, (at % 3) as u8)]);
        let writes: Vec<Written> = (0..60).map(record).collect();
        for memory in [1 << 20, 8 << 20] {
            check(&writes, memory, PIECE_BYTES / 5).await;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn the_last_of_equal_keys_is_read_in_order(
            writes in prop::collection::vec((0_u8..30, prop::collection::vec(any::<(u8, u8)>(), 0..5)), 0..300),
            memory in 300u64..60_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(check(&writes, memory, 0));
        }
    }
}
