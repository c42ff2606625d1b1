//! Decides cell by cell what a user's read includes.

use std::cmp::Ordering;

use bytes::Bytes;
use model::filter::FilterCode;
use model::query::TimeRange;
use model::schema::KeepDeletedCells;
use model::{CellOrder, CellRef};

use super::FamilySettings;
use super::rows::{FilterSlot, Query};
use super::trackers::{Code, Trackers, Versions};
use crate::error::{Result, StorageError};

/// What every matcher knows: the row it is in, and time.
#[derive(Debug)]
pub struct InRow {
    /// The row; kept after it is left, so that a scanner can go on from it.
    pub row: Vec<u8>,
    inside: bool,
    done: bool,
    now_ms: i64,
}

impl InRow {
    /// In no row.
    pub fn new(now_ms: i64) -> InRow {
        InRow { row: Vec::new(), inside: false, done: false, now_ms }
    }

    /// Enters a row.
    pub fn enter(&mut self, row: &[u8]) {
        self.row.clear();
        self.row.extend_from_slice(row);
        self.inside = true;
        self.done = false;
    }

    /// The row is done.
    pub fn leave(&mut self) {
        self.inside = false;
    }

    /// Whether it is in this row.
    pub fn is_in(&self, row: &[u8]) -> bool {
        self.inside && self.row == row
    }

    /// What can be said before deletes and columns are looked at; `None` means: go on.
    pub fn check(&mut self, trackers: &mut Trackers, cell: CellRef<'_>) -> Option<Code> {
        if !self.is_in(cell.row()) {
            return Some(Code::Done);
        }
        if self.done || trackers.done() {
            self.done = true;
            return Some(Code::NextRow);
        }
        let timestamp = cell.timestamp();
        if trackers.is_too_old(timestamp) {
            return Some(trackers.next_column_or_row(cell));
        }
        // The cell's own time to live only shortens the family's.
        if cell.ttl_ms().is_some_and(|ttl_ms| timestamp.saturating_add(ttl_ms) < self.now_ms) {
            return Some(Code::Skip);
        }
        None
    }
}

/// The matcher of one family in a get or scan.
#[derive(Debug)]
pub struct Matcher {
    pub in_row: InRow,
    trackers: Trackers,
    raw: bool,
    time_range: TimeRange,
    see_past_deletes: bool,
    /// Most versions of the answer, counted again behind the filter.
    versions_after_filter: u32,
    counted: u32,
    counted_qualifier: Vec<u8>,
    counting: bool,
    get: bool,
    reversed: bool,
    stop_row: Bytes,
    include_stop_row: bool,
    order: CellOrder,
}

impl Matcher {
    /// Refuses what HBase refuses: named columns in a raw scan.
    pub fn new(
        query: &Query,
        family: &FamilySettings,
        order: CellOrder,
        now_ms: i64,
        filtered: bool,
    ) -> Result<Matcher> {
        let columns: Vec<Bytes> = match query.selection.columns.get(&family.name) {
            Some(Some(columns)) => columns.iter().cloned().collect(),
            _ => Vec::new(),
        };
        if query.raw && !columns.is_empty() {
            return Err(StorageError::Invalid("cannot specify any column for a raw scan".to_owned()));
        }
        let asked = query.selection.max_versions.max(1);
        let (checked_max, result_max) = if query.raw {
            (if filtered { u32::MAX } else { asked }, asked)
        } else {
            let result = asked.min(family.max_versions);
            (if filtered { family.max_versions } else { result }, result)
        };
        let oldest_ms = if query.raw { 0 } else { family.oldest_unexpired_ms(now_ms) };
        let versions =
            Versions { family_max: family.max_versions, checked_max, result_max, min: family.min_versions, oldest_ms };
        let trackers = Trackers::new(columns, versions, family.new_version_behavior && !query.raw);
        Ok(Matcher {
            in_row: InRow::new(now_ms),
            trackers,
            raw: query.raw,
            time_range: query.selection.time_range_of(&family.name),
            see_past_deletes: family.keep_deleted_cells != KeepDeletedCells::False,
            versions_after_filter: result_max,
            counted: 0,
            counted_qualifier: Vec::new(),
            counting: false,
            get: query.is_get() && !query.raw,
            reversed: query.reversed,
            stop_row: query.stop_row.clone(),
            include_stop_row: query.include_stop_row,
            order,
        })
    }

    /// Whether the read is of a single row.
    pub fn is_get(&self) -> bool {
        self.get
    }

    /// Enters a row.
    pub fn enter(&mut self, row: &[u8]) {
        self.in_row.enter(row);
        self.trackers.reset();
        self.counting = false;
    }

    /// The next wanted column, if columns are named.
    pub fn wanted_column(&self) -> Option<&Bytes> {
        self.trackers.wanted_column()
    }

    /// Whether rows behind this one may be wanted.
    pub fn rows_may_follow(&self) -> bool {
        if self.get {
            return false;
        }
        if self.stop_row.is_empty() {
            return true;
        }
        let order = self.order.compare_rows(&self.in_row.row, &self.stop_row);
        match if self.reversed { order.reverse() } else { order } {
            Ordering::Less => true,
            Ordering::Equal => self.include_stop_row,
            Ordering::Greater => false,
        }
    }

    /// Judges a cell.
    pub fn check(&mut self, cell: CellRef<'_>, filter: &mut FilterSlot) -> Result<Code> {
        if let Some(filter) = filter
            && filter.filter_all_remaining()?
        {
            return Ok(Code::DoneScan);
        }
        if let Some(code) = self.in_row.check(&mut self.trackers, cell) {
            return Ok(code);
        }
        let timestamp = cell.timestamp();
        if !self.raw {
            if cell.cell_type().is_delete() {
                // Where deleted cells are kept, a marker behind the range does not hide what is inside.
                let range = self.time_range;
                let counts = if self.see_past_deletes {
                    range.is_all() || range.contains(timestamp)
                } else {
                    range.is_all() || timestamp >= range.from
                };
                if counts {
                    self.trackers.add_delete(cell);
                }
                return Ok(Code::Skip);
            }
            if let Some(code) = self.trackers.check_deleted(cell) {
                return Ok(code);
            }
        }
        let range = self.time_range;
        if !range.is_all() {
            if timestamp >= range.to && range.to != i64::MAX {
                return Ok(Code::Skip);
            }
            if timestamp < range.from {
                return Ok(self.trackers.next_column_or_row(cell));
            }
        }
        let code = self.trackers.check_column(cell);
        if code != Code::Include {
            return Ok(code);
        }
        let code = self.trackers.check_versions(cell, false);
        if matches!(code, Code::Skip | Code::NextCol) {
            return Ok(code);
        }
        match filter {
            None => Ok(code),
            Some(filter) => {
                let verdict = filter.filter_cell(cell)?;
                Ok(self.merge_verdict(cell, code, verdict))
            }
        }
    }

    /// Brings together what columns and versions say (`code` includes) and what the filter says.
    fn merge_verdict(&mut self, cell: CellRef<'_>, code: Code, verdict: FilterCode) -> Code {
        let code = match (verdict, code) {
            (FilterCode::Skip, Code::Include) => return Code::Skip,
            (FilterCode::Skip, Code::IncludeNextCol) => return Code::NextCol,
            (FilterCode::Skip | FilterCode::NextCol, Code::IncludeNextRow) => return Code::NextRow,
            (FilterCode::Skip | FilterCode::NextCol, _) => return self.trackers.next_column_or_row(cell),
            (FilterCode::NextRow, _) => return Code::NextRow,
            (FilterCode::SeekNextUsingHint, _) => return Code::Hint,
            (FilterCode::Include, code) => code,
            (FilterCode::IncludeAndNextCol, Code::Include) => Code::IncludeNextCol,
            (FilterCode::IncludeAndNextCol, code) => code,
            (FilterCode::IncludeAndSeekNextRow, _) => Code::IncludeNextRow,
        };
        // The filter may have dropped versions; those that passed are counted here.
        if !self.counting || self.counted_qualifier != cell.qualifier() {
            self.counting = true;
            self.counted = 0;
            self.counted_qualifier.clear();
            self.counted_qualifier.extend_from_slice(cell.qualifier());
        }
        self.counted += 1;
        let code = match code {
            _ if self.counted <= self.versions_after_filter => code,
            Code::IncludeNextRow => Code::NextRow,
            _ => Code::NextCol,
        };
        if matches!(code, Code::IncludeNextCol | Code::NextCol) {
            self.trackers.leave_column(cell);
        }
        code
    }
}
