//! Sorting more cells than memory holds: sorted runs on scratch storage, merged when they are read.
//!
//! Always true
//! - Of cells with equal keys the one that was added last is read, and the others are not: as with puts in that order.
//! - Cells in memory take no more than the bound given, plus what was added at once.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use model::schema::{BloomType, Compression};
use model::{Cell, CellOrder, SeqNo};
use runtime::task::Task;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::file::writer::{FileMeta, HFileWriter, WriterOptions};
use storage::read::Merge;
use storage::source::{CellSource, Progress};

use crate::error::{LoadError, Result};

/// What a cell takes in memory besides its bytes.
const CELL_OVERHEAD_BYTES: u64 = 112;
/// Bytes that gather before they go to scratch storage.
const WRITE_BYTES: usize = 1 << 20;
/// Runs that are merged at once; more are merged into longer ones first.
const RUNS_MAX: usize = 64;
/// Cells between two moments for others.
const CELLS_BETWEEN_PAUSES: u64 = 1024;

/// Takes cells in any order.
#[derive(Debug)]
pub struct Sorter {
    scratch: Arc<dyn Filesystem>,
    folder: String,
    /// Half of the bound: while one half is written the other one fills.
    half_bytes: u64,
    /// With what their rows begin with, which decides nearly all comparisons without a look at the cells.
    cells: Vec<(u64, Cell)>,
    bytes: u64,
    added: u64,
    runs: Vec<Arc<HFileReader>>,
    made: u64,
    spilling: Option<Task<Result<Arc<HFileReader>>>>,
    cache: Arc<BlockCache>,
}

/// Sorted cells.
#[derive(Clone, Debug)]
pub struct Sorted {
    runs: Vec<Arc<HFileReader>>,
}

impl Sorter {
    /// Keeps its runs in a folder of `scratch`, and at most so many bytes in memory.
    pub fn new(scratch: Arc<dyn Filesystem>, folder: &str, memory_bytes: u64) -> Sorter {
        let cache = Arc::new(BlockCache::new((memory_bytes / 8).clamp(1 << 20, 64 << 20)));
        let half_bytes = (memory_bytes - memory_bytes / 4) / 2;
        Sorter {
            scratch,
            folder: folder.to_owned(),
            half_bytes,
            cells: Vec::new(),
            bytes: 0,
            added: 0,
            runs: Vec::new(),
            made: 0,
            spilling: None,
            cache,
        }
    }

    /// Adds cells.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn add(&mut self, cells: impl IntoIterator<Item = Cell>) -> Result<()> {
        for cell in cells {
            self.bytes += cell.bytes().len() as u64 + CELL_OVERHEAD_BYTES;
            self.added += 1;
            // Greater numbers stand first among equal keys.
            self.cells.push((beginning(cell.row()), cell.with_seqno(SeqNo(self.added))));
        }
        if self.bytes >= self.half_bytes { self.spill().await } else { Ok(()) }
    }

    async fn spill(&mut self) -> Result<()> {
        self.settle().await?;
        if self.cells.is_empty() {
            return Ok(());
        }
        let mut cells = std::mem::take(&mut self.cells);
        self.bytes = 0;
        let (scratch, path, cache) = (self.scratch.clone(), self.next_path(), self.cache.clone());
        self.spilling = Some(runtime::task::spawn("spill", async move {
            let cells = runtime::task::blocking(move || {
                cells.sort_unstable_by(|(a_begins, a), (b_begins, b)| {
                    a_begins.cmp(b_begins).then_with(|| CellOrder::User.compare(a.as_ref(), b.as_ref()))
                });
                cells
            })
            .await;
            write_run(&scratch, &path, cache, Cells::Sorted(cells.into_iter())).await
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
        self.spill().await?;
        self.settle().await?;
        while self.runs.len() > RUNS_MAX {
            let first: Vec<Arc<HFileReader>> = self.runs.drain(..RUNS_MAX).collect();
            let (path, scratch, cache) = (self.next_path(), self.scratch.clone(), self.cache.clone());
            let merged = Sorted { runs: first.clone() }.from(&[]).await?;
            // Longer runs go to the end: numbers, not places, tell what is newer.
            self.runs.push(write_run(&scratch, &path, cache, Cells::Merged(merged)).await?);
            for run in first {
                scratch.delete(run.name()).await?;
            }
        }
        Ok(Sorted { runs: self.runs })
    }
}

/// The first eight bytes of a row as a number: smaller for a smaller row, or equal.
fn beginning(row: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = row.len().min(bytes.len());
    bytes[..len].copy_from_slice(&row[..len]);
    u64::from_be_bytes(bytes)
}

/// Where a run's cells come from.
enum Cells {
    Sorted(std::vec::IntoIter<(u64, Cell)>),
    Merged(Walk),
}

impl Cells {
    async fn next(&mut self) -> Result<Option<Cell>> {
        match self {
            Cells::Sorted(cells) => Ok(cells.next().map(|(_, cell)| cell)),
            Cells::Merged(walk) => walk.take().await,
        }
    }
}

async fn write_run(
    scratch: &Arc<dyn Filesystem>,
    path: &str,
    cache: Arc<BlockCache>,
    mut cells: Cells,
) -> Result<Arc<HFileReader>> {
    let mut writer = HFileWriter::new(WriterOptions {
        compression: Compression::Lz4,
        bloom: BloomType::None,
        tags: true,
        ..WriterOptions::default()
    });
    let mut blob = scratch.create_blob(path).await?;
    while let Some(cell) = cells.next().await? {
        writer.append(cell.as_ref())?;
        if writer.pending() >= WRITE_BYTES {
            blob.write(writer.take()).await?;
        }
        if writer.cells().is_multiple_of(CELLS_BETWEEN_PAUSES) {
            runtime::task::yield_now().await;
        }
    }
    let finished = writer.finish(&FileMeta::default())?;
    blob.write(writer.take()).await?;
    blob.finish().await?;
    Ok(Arc::new(HFileReader::open(scratch, path, finished.size, cache).await?))
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
        let sources = self.runs.iter().map(|run| Box::new(run.source()) as Box<dyn CellSource>).collect();
        let mut merge = Merge::new(sources, CellOrder::User, SeqNo::MAX);
        merge.seek(&Cell::first_on_row(row)).await?;
        Ok(Walk { merge, last: Bytes::new() })
    }
}

/// A walk over sorted cells.
#[derive(Debug)]
pub struct Walk {
    merge: Merge,
    /// The last cell taken; what has its key is passed over.
    last: Bytes,
}

impl Walk {
    /// The next cell.
    ///
    /// # Errors
    /// Scratch storage fails.
    pub async fn take(&mut self) -> Result<Option<Cell>> {
        loop {
            let Some(cell) = self.merge.cell() else { return Ok(None) };
            if self.merge.advance()? == Progress::NeedsBlock {
                self.merge.finish().await?;
            }
            let last = (!self.last.is_empty()).then(|| Cell::from_trusted(self.last.clone(), SeqNo::ZERO));
            let is_old =
                last.is_some_and(|last| CellOrder::User.compare_keys(last.as_ref().key(), cell.as_ref().key()).is_eq());
            if !is_old {
                self.last = cell.bytes().clone();
                return Ok(Some(cell));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use filesystem::memory::MemoryFilesystem;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    async fn check(writes: &[(u8, u8)], memory_bytes: u64) -> usize {
        let scratch: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let mut sorter = Sorter::new(scratch.clone(), "s", memory_bytes);
        let mut expected: BTreeMap<(String, i64), String> = BTreeMap::new();
        for (at, (row, time)) in writes.iter().enumerate() {
            let (row, time, value) = (format!("r{row:03}"), i64::from(*time % 4), format!("v{at}"));
            let cell = Cell::put(row.as_bytes(), b"f", b"q", time, value.as_bytes()).expect("cell");
            sorter.add([cell]).await.expect("add");
            expected.insert((row, -time), value);
        }
        let sorted = sorter.finish().await.expect("finish");
        assert_eq!(sorted.is_empty(), writes.is_empty());
        for from in ["", "r100", "s"] {
            let mut walk = sorted.from(from.as_bytes()).await.expect("walk");
            let mut seen = Vec::new();
            while let Some(cell) = walk.take().await.expect("take") {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                seen.push(((text(cell.row()), -cell.timestamp()), text(cell.value())));
            }
            let wanted: Vec<_> = expected.clone().into_iter().filter(|((row, _), _)| row.as_str() >= from).collect();
            assert_eq!(seen, wanted);
        }
        scratch.list("s").await.expect("list").len()
    }

    #[tokio::test]
    async fn many_runs_are_merged_on_the_way() {
        let writes: Vec<(u8, u8)> = (0..9000_u32).map(|at| ((at * 7 % 251) as u8, (at % 3) as u8)).collect();
        let runs = check(&writes, 20_000).await;
        assert!((2..=RUNS_MAX).contains(&runs), "{runs}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn beginnings_are_in_the_order_of_rows(a in prop::collection::vec(0_u8..3, 0..11), b in prop::collection::vec(0_u8..3, 0..11)) {
            prop_assert!(a > b || beginning(&a) <= beginning(&b));
        }

        #[test]
        fn the_last_of_equal_keys_is_read_in_order(writes in prop::collection::vec(any::<(u8, u8)>(), 0..300), memory in 300u64..40_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
            runtime.block_on(check(&writes, memory));
        }
    }
}
