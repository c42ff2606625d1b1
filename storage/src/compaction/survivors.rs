//! The cells that survive a flush or compaction.

use model::schema::KeepDeletedCells;
use model::{Cell, CellOrder, CellRef, SeqNo};

use crate::error::Result;
use crate::read::matcher::InRow;
use crate::read::trackers::{Code, Trackers, Versions};
use crate::read::{FamilySettings, Merge};
use crate::source::{CellSource, Progress};

/// How much of a store is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A flush, or a compaction of some files: delete markers stay, because they may hide cells elsewhere.
    Part,
    /// A compaction of all files: delete markers go.
    All,
}

/// What besides the family's settings decides what survives.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// How much is rewritten.
    pub extent: Extent,
    /// The smallest read point that a reader holds or will take.
    pub smallest_read_point: SeqNo,
    /// Smallest timestamp of a put in the files; `i64::MIN` if it is not known.
    pub earliest_put_ms: i64,
    /// Time of the server.
    pub now_ms: i64,
}

#[derive(Debug)]
struct Survivors {
    in_row: InRow,
    trackers: Trackers,
    keep: Keep,
    keep_deleted_cells: KeepDeletedCells,
    oldest_ms: i64,
    purge_deletes_after_ms: i64,
}

impl Survivors {
    fn enter(&mut self, row: &[u8]) {
        self.in_row.enter(row);
        self.trackers.reset();
    }

    fn check(&mut self, cell: CellRef<'_>) -> Code {
        // With NEW_VERSION_BEHAVIOR only a look at all files tells what is hidden.
        if self.trackers.by_write_order() && self.keep.extent == Extent::Part {
            return Code::Include;
        }
        if let Some(code) = self.in_row.check(&mut self.trackers, cell) {
            return code;
        }
        // With NEW_VERSION_BEHAVIOR what a cell hides or replaces can be told only with all files at hand.
        if self.keep.extent == Extent::Part && self.trackers.by_write_order() {
            return Code::Include;
        }
        let timestamp = cell.timestamp();
        let newer_than_readers = cell.seqno() > self.keep.smallest_read_point;
        if cell.cell_type().is_delete() {
            // Some reader does not see this marker: it may hide nothing yet.
            if newer_than_readers {
                return Code::Include;
            }
            let expired = timestamp < self.oldest_ms;
            let hides = match self.keep_deleted_cells {
                KeepDeletedCells::False => true,
                KeepDeletedCells::Ttl => expired,
                KeepDeletedCells::True => false,
            };
            if hides {
                self.trackers.add_delete(cell);
            }
            if self.keep.extent == Extent::Part {
                return Code::Include;
            }
            let age = self.keep.now_ms.saturating_sub(timestamp);
            if self.purge_deletes_after_ms > 0 && age <= self.purge_deletes_after_ms {
                return Code::Include;
            }
            if hides {
                return Code::Skip;
            }
            // Markers that stay are counted with the versions they stand between, unless no put is older.
            if timestamp < self.keep.earliest_put_ms {
                return self.trackers.next_column_or_row(cell);
            }
        } else {
            // With NEW_VERSION_BEHAVIOR a look counts the put as a version, which readers behind it must not feel.
            if newer_than_readers && self.trackers.by_write_order() {
                return Code::Include;
            }
            if let Some(code) = self.trackers.check_deleted(cell) {
                return code;
            }
        }
        self.trackers.check_versions(cell, newer_than_readers)
    }
}

/// Walks the cells that survive, in order.
#[derive(Debug)]
pub struct CompactionScanner {
    merge: Merge,
    survivors: Survivors,
    leaving: Vec<u8>,
    started: bool,
}

impl CompactionScanner {
    /// Merges the sources, newest first.
    pub fn new(
        sources: Vec<Box<dyn CellSource>>,
        order: CellOrder,
        family: &FamilySettings,
        keep: Keep,
    ) -> CompactionScanner {
        let oldest_ms = family.oldest_unexpired_ms(keep.now_ms);
        let versions = Versions {
            family_max: family.max_versions,
            checked_max: family.max_versions,
            result_max: family.max_versions,
            min: family.min_versions,
            oldest_ms,
        };
        CompactionScanner {
            // Everything is rewritten, also what no reader sees yet.
            merge: Merge::new(sources, order, SeqNo::MAX),
            survivors: Survivors {
                in_row: InRow::new(keep.now_ms),
                trackers: Trackers::new(Vec::new(), versions, family.new_version_behavior),
                keep,
                keep_deleted_cells: family.keep_deleted_cells,
                oldest_ms,
                purge_deletes_after_ms: family.purge_deletes_after_ms,
            },
            leaving: Vec::new(),
            started: false,
        }
    }

    async fn step(&mut self) -> Result<()> {
        if self.merge.advance()? == Progress::NeedsBlock {
            self.merge.finish().await?;
        }
        Ok(())
    }

    /// The next survivor.
    pub async fn next(&mut self) -> Result<Option<Cell>> {
        if !self.started {
            self.started = true;
            self.merge.seek(&Cell::first_on_row(b"")).await?;
        }
        loop {
            let Some(cell) = self.merge.peek() else { return Ok(None) };
            if !self.survivors.in_row.is_in(cell.row()) {
                self.survivors.enter(cell.row());
            }
            match self.survivors.check(cell) {
                code @ (Code::Include | Code::IncludeNextCol | Code::IncludeNextRow) => {
                    let survivor = self.merge.cell();
                    if code == Code::Include {
                        self.step().await?
                    } else {
                        self.leave_column().await?
                    }
                    return Ok(survivor);
                }
                Code::NextCol | Code::NextRow => self.leave_column().await?,
                _ => self.step().await?,
            }
        }
    }

    /// Passes over the rest of the column: all readers see enough before it.
    async fn leave_column(&mut self) -> Result<()> {
        self.leaving.clear();
        if let Some(cell) = self.merge.peek() {
            self.leaving.extend_from_slice(cell.qualifier());
        }
        self.step().await?;
        if self.leaving.is_empty() {
            return Ok(()); // family markers lie among the cells of the column without a name
        }
        while self
            .merge
            .peek()
            .is_some_and(|cell| cell.qualifier() == self.leaving && self.survivors.in_row.is_in(cell.row()))
        {
            self.step().await?;
        }
        Ok(())
    }
}
