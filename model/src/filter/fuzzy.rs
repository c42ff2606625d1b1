//! Rows that look like one of some keys, wildcards apart.
//!
//! Always true: a row is compared with a key over the shorter length of both, so a longer row matches by its beginning.

use bytes::Bytes;

use super::node::{FilterCode, FilterError, Node};
use crate::cell::{Cell, CellRef};

/// A key whose free positions may hold anything.
#[derive(Debug)]
struct Pattern {
    key: Vec<u8>,
    /// Whether the key's byte counts.
    fixed: Vec<bool>,
}

#[derive(Debug)]
pub(super) struct FuzzyRow {
    patterns: Vec<Pattern>,
    reversed: bool,
    row_out: bool,
    done: bool,
    last_found: usize,
    /// For each pattern that may match later, the next row it may match; `None` until first needed.
    next_rows: Option<Vec<(Vec<u8>, usize)>>,
}

impl FuzzyRow {
    pub(super) fn new(keys: &[(Bytes, Bytes)], v2: bool, reversed: bool) -> Result<FuzzyRow, FilterError> {
        let mut patterns = Vec::with_capacity(keys.len());
        for (key, mask) in keys {
            if key.len() != mask.len() {
                return Err(FilterError::FuzzyLengths(key.len(), mask.len()));
            }
            // Old clients send 0 for wildcards already turned into masks, older ones 0 for fixed and 1 for free.
            let zero_is_free = !v2 && mask.iter().all(|byte| matches!(byte, 0 | 0xff));
            let fixed: Vec<bool> = mask.iter().map(|byte| *byte == 0xff || (*byte == 0 && !zero_is_free)).collect();
            let key = key.iter().zip(&fixed).map(|(byte, fixed)| if *fixed { *byte } else { 0 }).collect();
            patterns.push(Pattern { key, fixed });
        }
        Ok(FuzzyRow { patterns, reversed, row_out: false, done: false, last_found: 0, next_rows: None })
    }
}

impl Pattern {
    fn matches(&self, row: &[u8]) -> bool {
        row.iter().zip(self.key.iter().zip(&self.fixed)).all(|(byte, (key, fixed))| !fixed || byte == key)
    }

    /// The next row behind `row` that may match.
    fn next(&self, row: &[u8], reversed: bool) -> Option<Vec<u8>> {
        let (least, most) = if reversed { (0xff, 0) } else { (0, 0xff) };
        let free = |at: usize| self.fixed.get(at).is_none_or(|fixed| !fixed);
        let mut result = self.key.clone();
        if row.len() > result.len() {
            result.resize(row.len(), if reversed { 0xff } else { 0 });
        }
        let mut raise = None;
        let mut raised = false;
        for (at, slot) in result.iter_mut().enumerate() {
            // A row shorter than the key counts as continued by the smallest bytes.
            let byte = row.get(at).copied().unwrap_or(0);
            if free(at) {
                *slot = byte;
                if byte != most {
                    raise = Some(at);
                }
            } else {
                let (a, b) = if reversed { (self.key[at], byte) } else { (byte, self.key[at]) };
                if a != b {
                    raised = a < b;
                    break;
                }
            }
        }
        if !raised {
            let at = raise?;
            result[at] = if reversed { result[at] - 1 } else { result[at] + 1 };
            for (later, byte) in result.iter_mut().enumerate().skip(at + 1) {
                if free(later) {
                    *byte = least;
                }
            }
        }
        if !reversed {
            let mut keep =
                (0..self.fixed.len().min(result.len())).rev().find(|at| self.fixed[*at]).map_or(0, |at| at + 1);
            keep = keep.max(raise.map_or(0, |at| at + 1));
            result.truncate(keep);
        }
        Some(result)
    }
}

impl Node for FuzzyRow {
    fn reset(&mut self) {
        self.row_out = false;
    }
    fn filter_all_remaining(&self) -> bool {
        self.done
    }
    fn filter_row_key(&mut self, _first: CellRef<'_>) -> Result<bool, FilterError> {
        Ok(self.done)
    }
    fn filter_cell(&mut self, cell: CellRef<'_>) -> Result<FilterCode, FilterError> {
        let count = self.patterns.len();
        for at in self.last_found..self.last_found + count {
            if self.patterns[at % count].matches(cell.row()) {
                self.last_found = at % count;
                return Ok(FilterCode::Include);
            }
        }
        self.last_found = 0;
        self.row_out = true;
        Ok(FilterCode::SeekNextUsingHint)
    }
    fn next_cell_hint(&mut self, cell: CellRef<'_>) -> Option<Cell> {
        let row = cell.row();
        let reversed = self.reversed;
        let ahead = |next: &[u8]| if reversed { row > next } else { row < next };
        let (mut kept, stale): (Vec<_>, Vec<usize>) = match self.next_rows.take() {
            None => (Vec::new(), (0..self.patterns.len()).collect()),
            Some(rows) => {
                let (kept, stale): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(next, _)| ahead(next));
                (kept, stale.into_iter().map(|(_, at)| at).collect())
            }
        };
        kept.extend(stale.into_iter().filter_map(|at| Some((self.patterns[at].next(row, reversed)?, at))));
        let nearest = if reversed { kept.iter().max() } else { kept.iter().min() };
        let hint = nearest.map(|(next, _)| Cell::first_on_row(next));
        self.done = hint.is_none();
        self.next_rows = Some(kept);
        hint
    }
    fn filter_row(&mut self) -> bool {
        self.row_out
    }
    fn is_hinting(&self) -> bool {
        true
    }
}
