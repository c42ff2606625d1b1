//! Gets and scans.

use std::sync::Arc;

use model::query::{Get, Scan};
use model::{Cell, SeqNo};

use super::{Region, skip};
use crate::error::{Result, StorageError};
use crate::read::{FamilySettings, FamilySources, Limits, Query, Row, RowScanner, ScanState, start_filter};
use crate::source::CellSource;

/// A scan of one region. Keeps what it sees across flushes and compactions.
#[derive(Debug)]
pub struct RegionScanner {
    region: Arc<Region>,
    rows: RowScanner,
    held: SeqNo,
    see: SeqNo,
}

impl RegionScanner {
    /// Reads on. Dropping the future before it is ready leaves the scanner unusable.
    ///
    /// # Errors
    /// [`model::ErrorKind::Fenced`] if another process may serve the region by now: nothing that was read may be shown.
    pub async fn next(&mut self, limits: &Limits, out: &mut Vec<Row>) -> Result<ScanState> {
        let state = self.read(limits, out).await?;
        self.region.ctx.log.guard().await?;
        Ok(state)
    }

    /// Reads on for a write, whose acknowledgment proves as much.
    pub(super) async fn read(&mut self, limits: &Limits, out: &mut Vec<Row>) -> Result<ScanState> {
        self.rows.next(limits, out).await
    }

    /// The read point it reads at.
    pub fn read_point(&self) -> SeqNo {
        self.see
    }

    /// The row that comes next, if the scanner has begun.
    pub fn position(&self) -> Option<&[u8]> {
        self.rows.position()
    }
}

impl Drop for RegionScanner {
    fn drop(&mut self) {
        self.region.mvcc.release(self.held);
    }
}

impl Region {
    /// One row's cells; none if there is no such row.
    pub async fn get(self: &Arc<Self>, get: &Get) -> Result<Vec<Cell>> {
        self.get_within(get, u64::MAX).await
    }

    /// Reads a row that is to be answered in so many bytes; no more than that and one cell is held.
    ///
    /// # Errors
    /// As [`Region::get`]; Invalid if the cells are more, unless only their existence is asked for.
    pub async fn get_within(self: &Arc<Self>, get: &Get, bytes_max: u64) -> Result<Vec<Cell>> {
        self.check_open()?;
        self.check_row(&get.row)?;
        let mut scanner = self.scan(Query::from(get), None).await?;
        let mut rows = Vec::new();
        let limits = Limits { bytes: bytes_max, partial: bytes_max < u64::MAX, ..Limits::rows(1) };
        scanner.next(&limits, &mut rows).await?;
        let Some(row) = rows.pop() else { return Ok(Vec::new()) };
        let bytes: usize = row.cells.iter().map(|cell| cell.bytes().len()).sum();
        if row.partial && !get.existence_only && bytes as u64 >= bytes_max {
            let why = format!(
                "the row has more cells than one answer may hold; ask for fewer columns or versions, or scan it: \
                 `startrow`, `limit` 1. limit=`{bytes_max}`"
            );
            return Err(StorageError::Invalid(why));
        }
        Ok(row.cells)
    }

    /// Starts a scan.
    pub async fn scanner(self: &Arc<Self>, scan: &Scan) -> Result<RegionScanner> {
        self.check_open()?;
        super::check_row_len(&scan.start_row)?;
        super::check_row_len(&scan.stop_row)?;
        self.scan(Query::from(scan), scan.mvcc_read_point.map(SeqNo)).await
    }

    pub(super) async fn scan(self: &Arc<Self>, query: Query, read_point: Option<SeqNo>) -> Result<RegionScanner> {
        let descriptor = self.descriptor();
        for family in query.selection.columns.keys() {
            self.check_family(&descriptor, family)?;
        }
        let seed = query.selection.filter.as_ref().map_or(0, |_| self.ctx.runtime.random.next_u64());
        let filter = start_filter(&query.selection, query.reversed, seed)?;
        // Held before the version is cloned, so that no compaction in between drops what this scan sees.
        let held = self.mvcc.hold();
        let mut guard = Held { region: Some(self.clone()), held };
        let see = read_point.unwrap_or(held).min(held);
        let bound = if query.selection.read_uncommitted { SeqNo::MAX } else { see };
        let version = self.version.read().clone();
        let now_ms = self.ctx.runtime.clock.now_ms();
        let mut families = Vec::new();
        for (name, store) in version.iter() {
            let Some(family) = descriptor.families.get(name) else { continue };
            if !query.selection.columns.is_empty() && !query.selection.columns.contains_key(name) {
                continue;
            }
            let settings = FamilySettings::from(family);
            let mut sources: Vec<Box<dyn CellSource>> = vec![Box::new(store.active.source())];
            sources.extend(store.frozen.iter().map(|table| Box::new(table.source()) as Box<dyn CellSource>));
            for file in store.files.iter().rev() {
                let skip = skip::choose(&file.reader, &query, &settings, now_ms).await?;
                self.counters.file(skip);
                if skip.is_some() {
                    continue;
                }
                sources.push(Box::new(file.reader.source()));
            }
            families.push(FamilySources { settings, sources });
        }
        let rows = RowScanner::new(query, families, filter, self.order, bound, now_ms)?;
        guard.region = None;
        Ok(RegionScanner { region: self.clone(), rows, held, see })
    }
}

/// Lets a read point go if starting the scan fails.
struct Held {
    region: Option<Arc<Region>>,
    held: SeqNo,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(region) = &self.region {
            region.mvcc.release(self.held);
        }
    }
}
