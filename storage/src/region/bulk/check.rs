//! What a file must be before a region takes it for its own.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::{ErrorKind, check_key};
use futures::{StreamExt, TryStreamExt, stream};
use model::{Cell, CellRef, CellType};

use super::{BulkLoad, FILES_MAX, LoadFile, Region, SIDE_BY_SIDE};
use crate::cache::BlockCache;
use crate::error::{Result, StorageError};
use crate::file::reader::HFileReader;
use crate::manifest::MovingFile;
use crate::source::{CellSource, Progress};

/// Bytes of blocks kept while files are checked: theirs are not wanted in the cache of reads.
const CHECK_CACHE_BYTES: u64 = 1 << 20;
/// Cells between two moments for others.
const CELLS_BETWEEN_PAUSES: u64 = 1024;

/// Folders below the root where everything belongs to somebody.
fn belongs_to_the_store(path: &str) -> bool {
    path.starts_with("data/") || (path.starts_with("ferrobase/") && !path.starts_with("ferrobase/staging/"))
}

/// What a look at every cell of a file has shown.
#[derive(Default)]
struct Seen {
    cells: u64,
    times: Option<(i64, i64)>,
    earliest_put_ms: Option<i64>,
    family_deletes: u64,
    last: Vec<u8>,
}

impl Seen {
    fn add(&mut self, cell: CellRef<'_>) {
        let (time, kind) = (cell.timestamp(), cell.cell_type());
        let (oldest, newest) = self.times.unwrap_or((time, time));
        // Such markers reach down to the beginning.
        let from = if matches!(kind, CellType::DELETE_COLUMN | CellType::DELETE_FAMILY) { 0 } else { time };
        self.times = Some((oldest.min(from), newest.max(time)));
        if kind == CellType::PUT {
            self.earliest_put_ms = Some(self.earliest_put_ms.map_or(time, |earliest| earliest.min(time)));
        }
        self.family_deletes += u64::from(matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION));
        self.cells += 1;
        self.last.clear();
        self.last.extend_from_slice(cell.key().as_bytes());
    }

    /// What the file says of itself and is not so; reads would leave cells out that they should find.
    fn refute(&self, reader: &HFileReader) -> Option<&'static str> {
        let long = |key: &str| reader.info(key).and_then(|value| value[..].try_into().ok().map(i64::from_be_bytes));
        let covers = |(from, to): (i64, i64)| self.times.is_none_or(|(oldest, newest)| from <= oldest && newest <= to);
        if reader.timestamps().is_some_and(|range| !covers(range)) {
            return Some("TIMERANGE leaves cells out");
        }
        if let (Some(said), Some(seen)) = (reader.earliest_put_ms(), self.earliest_put_ms)
            && said > seen
        {
            return Some("EARLIEST_PUT_TS is later than a put");
        }
        if long("DELETE_FAMILY_COUNT") == Some(0) && self.family_deletes > 0 {
            return Some("DELETE_FAMILY_COUNT is 0 and family deletes are inside");
        }
        let last = reader.last_key().map(|key| key.as_bytes().to_vec());
        (last.as_deref() != Some(&self.last[..])).then_some("LASTKEY is not the last cell's key")
    }
}

impl Region {
    /// Checks all files of a load; nothing is changed. Answers what they are and gives them names.
    pub(super) async fn check_files(&self, load: &BulkLoad) -> Result<Vec<MovingFile>> {
        if load.files.is_empty() || load.files.len() > FILES_MAX {
            let why = format!("a load has 1 to {FILES_MAX} files, not {}", load.files.len());
            return Err(StorageError::Invalid(why));
        }
        let mut paths: Vec<&str> = load.files.iter().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        if let Some(twice) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(StorageError::Invalid(format!("a load names a file twice: {}", twice[0])));
        }
        let cache = Arc::new(BlockCache::new(CHECK_CACHE_BYTES));
        let checks: Vec<_> = load.files.iter().map(|file| self.check_load_file(file, load.verify, &cache)).collect();
        stream::iter(checks).buffered(SIDE_BY_SIDE).try_collect().await
    }

    async fn check_load_file(&self, file: &LoadFile, verify: bool, cache: &Arc<BlockCache>) -> Result<MovingFile> {
        let LoadFile { family, path } = file;
        let bad = |why: &str| StorageError::Invalid(format!("file `{path}` cannot be loaded: {why}"));
        self.check_family(&self.descriptor(), family)?;
        check_key(path)?;
        if belongs_to_the_store(path) {
            return Err(bad("what lies there belongs to the store"));
        }
        let size = self.ctx.fs.size(path).await?.ok_or_else(|| bad("there is no such file"))?;
        let reader = match HFileReader::open(&self.ctx.fs, path, size, cache.clone()).await {
            Err(StorageError::Filesystem(error)) if error.kind() == ErrorKind::NotFound => {
                return Err(bad("there is no such file"));
            }
            opened => Arc::new(opened?),
        };
        if reader.order() != self.order {
            return Err(bad("its cells are in another order than the table's"));
        }
        if reader.info("MOB_FILE_REFS").is_some_and(|refs| !refs.is_empty()) {
            return Err(bad("it refers to MOB files, which would be lost"));
        }
        let first = first_cell(&reader).await?;
        let (Some(first), true) = (first, reader.entry_count() > 0) else { return Err(bad("it holds no cells")) };
        let Some(last) = reader.last_key() else { return Err(bad("it does not say its last key (hfile.LASTKEY)")) };
        let other = |found: &[u8]| {
            bad(&format!("it holds cells of family `{}`, not `{}`", found.escape_ascii(), family.escape_ascii()))
        };
        if first.family() != family || last.family() != family {
            return Err(other(if first.family() == family { last.family() } else { first.family() }));
        }
        self.check_row(first.row())?;
        self.check_row(last.row())?;
        if verify {
            self.check_cells(&reader, family, &other).await?;
        }
        let name = format!("{:016x}{:016x}", self.epoch, self.ctx.runtime.random.next_u64());
        Ok(MovingFile { family: family.clone(), name, was: path.clone(), size, cells: reader.entry_count() })
    }

    async fn check_cells(
        &self,
        reader: &Arc<HFileReader>,
        family: &Bytes,
        other: &(dyn Fn(&[u8]) -> StorageError + Sync),
    ) -> Result<()> {
        reader.check_extras().await?;
        let (mut source, mut seen) = (reader.source(), Seen::default());
        let mut progress = source.seek(&Cell::first_on_row(b""))?;
        loop {
            if progress == Progress::NeedsBlock {
                source.load().await?;
            }
            let Some(cell) = source.peek() else { break };
            if cell.family() != family {
                return Err(other(cell.family()));
            }
            let last = model::KeyRef::parse(&seen.last);
            if seen.cells > 0 && last.is_ok_and(|last| self.order.compare_keys(last, cell.key()).is_gt()) {
                let why = format!("cell {} of the file stands behind a greater one", seen.cells + 1);
                return Err(StorageError::corrupt("store file", reader.name(), 0, why));
            }
            seen.add(cell);
            if seen.cells.is_multiple_of(CELLS_BETWEEN_PAUSES) {
                runtime::task::yield_now().await;
            }
            progress = source.advance()?;
        }
        if seen.cells != reader.entry_count() {
            let why = format!("{} cells are found, the trailer says {}", seen.cells, reader.entry_count());
            return Err(StorageError::corrupt("store file", reader.name(), reader.size(), why));
        }
        match seen.refute(reader) {
            Some(why) => Err(StorageError::corrupt("store file", reader.name(), 0, why)),
            None => Ok(()),
        }
    }
}

async fn first_cell(reader: &Arc<HFileReader>) -> Result<Option<Cell>> {
    let mut source = reader.source();
    if source.seek(&Cell::first_on_row(b""))? == Progress::NeedsBlock {
        source.load().await?;
    }
    Ok(source.cell())
}
