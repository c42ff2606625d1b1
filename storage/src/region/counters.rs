//! What a region's reads and writes have met, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering};

use super::skip::Skip;

/// Counts since the region was opened. A store file counts once per read that came to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionCounters {
    /// Store files that were read.
    pub files_read: u64,
    /// Store files left out because no wanted row can be inside: key ranges.
    pub files_skipped_by_key_range: u64,
    /// … because no wanted timestamp is inside, or all cells have outlived their time.
    pub files_skipped_by_time: u64,
    /// … because the Bloom filter knows that the row or column is not inside.
    pub files_skipped_by_bloom: u64,
    /// … because the column filter knows that none of the columns is inside.
    pub files_skipped_by_columns: u64,
    /// Writes that waited for memory or a flush.
    pub writes_waited: u64,
}

impl std::ops::Add for RegionCounters {
    type Output = RegionCounters;

    fn add(self, more: RegionCounters) -> RegionCounters {
        RegionCounters {
            files_read: self.files_read + more.files_read,
            files_skipped_by_key_range: self.files_skipped_by_key_range + more.files_skipped_by_key_range,
            files_skipped_by_time: self.files_skipped_by_time + more.files_skipped_by_time,
            files_skipped_by_bloom: self.files_skipped_by_bloom + more.files_skipped_by_bloom,
            files_skipped_by_columns: self.files_skipped_by_columns + more.files_skipped_by_columns,
            writes_waited: self.writes_waited + more.writes_waited,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    read: AtomicU64,
    key_range: AtomicU64,
    time: AtomicU64,
    bloom: AtomicU64,
    columns: AtomicU64,
    waited: AtomicU64,
}

impl Counters {
    pub fn file(&self, skip: Option<Skip>) {
        let counter = match skip {
            None => &self.read,
            Some(Skip::KeyRange) => &self.key_range,
            Some(Skip::Time) => &self.time,
            Some(Skip::Bloom) => &self.bloom,
            Some(Skip::Columns) => &self.columns,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn write_waited(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    pub fn now(&self) -> RegionCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RegionCounters {
            files_read: get(&self.read),
            files_skipped_by_key_range: get(&self.key_range),
            files_skipped_by_time: get(&self.time),
            files_skipped_by_bloom: get(&self.bloom),
            files_skipped_by_columns: get(&self.columns),
            writes_waited: get(&self.waited),
        }
    }
}
