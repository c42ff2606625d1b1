//! What can be asked of a table: [`Get`] and [`Scan`] with HBase's options, as plain data.
//!
//! Invariants
//! - A time range is half open, `[from, to)`.
//! - No columns selected means all families; a family without qualifiers means the whole family.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::filter::Filter;

/// Half-open range of timestamps in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// Smallest timestamp inside.
    pub from: i64,
    /// Smallest timestamp behind the range; `i64::MAX` means no end (and includes `i64::MAX` itself).
    pub to: i64,
}

impl TimeRange {
    /// Everything.
    pub const ALL: TimeRange = TimeRange { from: 0, to: i64::MAX };

    /// Whether every timestamp that can be stored lies inside.
    pub fn is_all(self) -> bool {
        self.from <= 0 && self.to == i64::MAX
    }

    /// Whether the timestamp lies inside.
    pub fn contains(self, timestamp: i64) -> bool {
        timestamp >= self.from && (timestamp < self.to || self.to == i64::MAX)
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        TimeRange::ALL
    }
}

/// Selected columns: family → qualifiers, or the whole family.
pub type Columns = BTreeMap<Bytes, Option<BTreeSet<Bytes>>>;

/// What [`Get`] and [`Scan`] have in common: which cells of a row are wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// Columns wanted; empty means all families.
    pub columns: Columns,
    /// Timestamps wanted.
    pub time_range: TimeRange,
    /// Ranges that replace `time_range` for their family.
    pub family_time_ranges: BTreeMap<Bytes, TimeRange>,
    /// Versions wanted of each column, at least 1; capped by the family's `VERSIONS` (not in raw scans).
    pub max_versions: u32,
    /// The filter, if any.
    pub filter: Option<Filter>,
    /// Most cells per family and row; `None` means no limit.
    pub store_limit: Option<u32>,
    /// Cells of each family and row to skip first.
    pub store_offset: u32,
    /// Whether blocks read may enter the block cache.
    pub cache_blocks: bool,
    /// See also cells whose write is not yet published.
    pub read_uncommitted: bool,
    /// Load families that the filter calls inessential only for rows it accepted.
    pub load_families_on_demand: Option<bool>,
}

impl Default for Selection {
    fn default() -> Self {
        Selection {
            columns: Columns::new(),
            time_range: TimeRange::ALL,
            family_time_ranges: BTreeMap::new(),
            max_versions: 1,
            filter: None,
            store_limit: None,
            store_offset: 0,
            cache_blocks: true,
            read_uncommitted: false,
            load_families_on_demand: None,
        }
    }
}

impl Selection {
    /// Adds one column.
    pub fn add_column(&mut self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) {
        self.columns.entry(family.into()).or_default().get_or_insert_default().insert(qualifier.into());
    }

    /// Adds a whole family; columns named before for it are forgotten.
    pub fn add_family(&mut self, family: impl Into<Bytes>) {
        self.columns.insert(family.into(), None);
    }

    /// The time range that applies to a family.
    pub fn time_range_of(&self, family: &[u8]) -> TimeRange {
        self.family_time_ranges.get(family).copied().unwrap_or(self.time_range)
    }
}

/// Reads one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Get {
    /// The row.
    pub row: Bytes,
    /// Which of its cells.
    pub selection: Selection,
    /// Only tell whether there is a cell.
    pub existence_only: bool,
}

impl Get {
    /// Newest version of every column of the row.
    pub fn new(row: impl Into<Bytes>) -> Get {
        Get { row: row.into(), selection: Selection::default(), existence_only: false }
    }

    /// Reads only this column, and others named so.
    pub fn with_column(mut self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Get {
        self.selection.add_column(family, qualifier);
        self
    }

    /// Reads only this family, and others named so.
    pub fn with_family(mut self, family: impl Into<Bytes>) -> Get {
        self.selection.add_family(family);
        self
    }

    /// Reads so many versions of each column.
    pub fn with_versions(mut self, versions: u32) -> Get {
        self.selection.max_versions = versions;
        self
    }

    /// Reads what the filter lets pass.
    pub fn with_filter(mut self, filter: Filter) -> Get {
        self.selection.filter = Some(filter);
        self
    }
}

/// Reads a range of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// First row (the largest, if reversed); empty means the table's edge.
    pub start_row: Bytes,
    /// Whether `start_row` itself is wanted.
    pub include_start_row: bool,
    /// Last row; empty means the table's other edge.
    pub stop_row: Bytes,
    /// Whether `stop_row` itself is wanted.
    pub include_stop_row: bool,
    /// From large rows to small ones.
    pub reversed: bool,
    /// Which cells of each row.
    pub selection: Selection,
    /// Most cells per result; wide rows are cut into several results. `None` means whole rows.
    pub batch: Option<u32>,
    /// Most rows of the whole scan; `None` means no limit.
    pub limit: Option<u32>,
    /// Rows per request that the client would like; `None` leaves it to size alone.
    pub caching: Option<u32>,
    /// Bytes per response that the client would like.
    pub max_result_size: Option<u64>,
    /// Whether a response may end inside a row.
    pub allow_partial_results: bool,
    /// Include delete markers and deleted cells; versions are limited by the scan alone.
    pub raw: bool,
    /// On a time-limited empty response, tell the row reached.
    pub need_cursor: bool,
    /// Read point of an earlier scanner to continue from; `None` takes the current one.
    pub mvcc_read_point: Option<u64>,
}

impl Default for Scan {
    fn default() -> Self {
        Scan {
            start_row: Bytes::new(),
            include_start_row: true,
            stop_row: Bytes::new(),
            include_stop_row: false,
            reversed: false,
            selection: Selection::default(),
            batch: None,
            limit: None,
            caching: None,
            max_result_size: None,
            allow_partial_results: false,
            raw: false,
            need_cursor: false,
            mvcc_read_point: None,
        }
    }
}

/// The smallest row that is larger than every row with this prefix; empty if there is none.
pub fn prefix_stop_row(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte != 0xff) {
        None => Bytes::new(),
        Some(at) => {
            let mut stop = prefix[..=at].to_vec();
            stop[at] += 1;
            stop.into()
        }
    }
}

impl Scan {
    /// Reads the rows from `start` to before `stop`; empty means the table's edge.
    pub fn between(start: impl Into<Bytes>, stop: impl Into<Bytes>) -> Scan {
        Scan { start_row: start.into(), stop_row: stop.into(), ..Scan::default() }
    }

    /// Limits the scan to rows that start with `prefix`.
    pub fn with_prefix(mut self, prefix: impl Into<Bytes>) -> Scan {
        let prefix = prefix.into();
        self.stop_row = prefix_stop_row(&prefix);
        self.start_row = prefix;
        self.include_start_row = true;
        self.include_stop_row = false;
        self
    }

    /// Reads only this column, and others named so.
    pub fn with_column(mut self, family: impl Into<Bytes>, qualifier: impl Into<Bytes>) -> Scan {
        self.selection.add_column(family, qualifier);
        self
    }

    /// Reads only this family, and others named so.
    pub fn with_family(mut self, family: impl Into<Bytes>) -> Scan {
        self.selection.add_family(family);
        self
    }

    /// Reads so many versions of each column.
    pub fn with_versions(mut self, versions: u32) -> Scan {
        self.selection.max_versions = versions;
        self
    }

    /// Reads what the filter lets pass.
    pub fn with_filter(mut self, filter: Filter) -> Scan {
        self.selection.filter = Some(filter);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_stop_row_is_the_next_possible_row() {
        assert_eq!(prefix_stop_row(b"ab"), "ac");
        assert_eq!(&prefix_stop_row(b"a\xff\xff")[..], b"b");
        assert!(prefix_stop_row(b"\xff\xff").is_empty());
        assert!(prefix_stop_row(b"").is_empty());
    }
}
