//! Rows within any of some ranges, seeking from one to the next.

use bytes::Bytes;

use super::data::RowRange;
use super::node::{FilterCode, FilterError, Node};
use crate::cell::{Cell, CellRef};

#[derive(Debug)]
pub(super) struct MultiRowRange {
    /// Disjoint, in scan order.
    ranges: Vec<RowRange>,
    reversed: bool,
    /// Where the scan stands: the first range that does not end before the row.
    at: usize,
    /// Of the row; `Skip` where the row key was never shown (inside a `Skip` filter).
    code: FilterCode,
    done: bool,
}

fn is_valid(range: &RowRange) -> bool {
    range.start.is_empty()
        || range.stop.is_empty()
        || range.start < range.stop
        || (range.start == range.stop && range.stop_inclusive)
}

/// Sorts and joins ranges that touch or overlap.
fn merge(ranges: &[RowRange]) -> Vec<RowRange> {
    let mut sorted = ranges.to_vec();
    sorted.sort_by(|a, b| a.start.cmp(&b.start).then(b.start_inclusive.cmp(&a.start_inclusive)));
    let mut merged: Vec<RowRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        let Some(last) = merged.last_mut() else {
            merged.push(range);
            continue;
        };
        let touches = last.stop.is_empty()
            || last.stop > range.start
            || (last.stop == range.start && (last.stop_inclusive || range.start_inclusive));
        if !touches {
            merged.push(range);
        } else if !last.stop.is_empty() {
            if range.stop.is_empty() || range.stop > last.stop {
                (last.stop, last.stop_inclusive) = (range.stop, range.stop_inclusive);
            } else if range.stop == last.stop {
                last.stop_inclusive |= range.stop_inclusive;
            }
        }
    }
    merged
}

impl MultiRowRange {
    pub(super) fn new(ranges: &[RowRange], reversed: bool) -> Result<MultiRowRange, FilterError> {
        if ranges.is_empty() || !ranges.iter().all(is_valid) {
            return Err(FilterError::InvalidRange);
        }
        let mut ranges = merge(ranges);
        if reversed {
            ranges.reverse();
        }
        Ok(MultiRowRange { ranges, reversed, at: 0, code: FilterCode::Skip, done: false })
    }

    /// Whether the range ends before the row, in scan order.
    fn is_behind(&self, range: &RowRange, row: &[u8]) -> bool {
        if self.reversed {
            row < &range.start[..] || (row == &range.start[..] && !range.start_inclusive)
        } else {
            !range.stop.is_empty() && (row > &range.stop[..] || (row == &range.stop[..] && !range.stop_inclusive))
        }
    }

    /// Whether the range begins at or before the row, in scan order.
    fn has_begun(&self, range: &RowRange, row: &[u8]) -> bool {
        if self.reversed {
            range.stop.is_empty() || row < &range.stop[..] || (row == &range.stop[..] && range.stop_inclusive)
        } else {
            row > &range.start[..] || (row == &range.start[..] && range.start_inclusive)
        }
    }

    /// The bound at which the scan enters a range.
    fn entrance<'a>(&self, range: &'a RowRange) -> &'a Bytes {
        if self.reversed { &range.stop } else { &range.start }
    }
}

impl Node for MultiRowRange {
    fn filter_all_remaining(&self) -> bool {
        self.done
    }
    fn filter_row_key(&mut self, first: CellRef<'_>) -> Result<bool, FilterError> {
        if self.done {
            return Ok(true);
        }
        let row = first.row();
        self.at = self.ranges.iter().position(|range| !self.is_behind(range, row)).unwrap_or(self.ranges.len());
        self.code = match self.ranges.get(self.at) {
            None => {
                self.done = true;
                FilterCode::NextRow
            }
            Some(range) if self.has_begun(range, row) => FilterCode::Include,
            // The excluded bound itself: the range begins with the next row.
            Some(range) if self.entrance(range) == row => FilterCode::NextRow,
            Some(_) => FilterCode::SeekNextUsingHint,
        };
        Ok(false)
    }
    fn filter_cell(&mut self, _cell: CellRef<'_>) -> Result<FilterCode, FilterError> {
        Ok(self.code)
    }
    fn next_cell_hint(&mut self, _cell: CellRef<'_>) -> Option<Cell> {
        Some(Cell::first_on_row(self.entrance(self.ranges.get(self.at)?)))
    }
    fn is_hinting(&self) -> bool {
        true
    }
}
