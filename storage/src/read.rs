//! Reading rows: from sorted cells with all their versions and delete markers to what a user may see.
//!
//! ```text
//! sources -> Merge (one order, one read point) -> FamilyScanner (Matcher) -> RowScanner (filter, batch, limits)
//! ```
//!
//! Always true
//! - What is visible depends on the sources, the read point and the time handed in, never on a clock.
//! - A cell is cloned only when it is part of the answer; skipping allocates at most one search key per seek.
//! - Nothing is awaited per cell, only when a source needs a block.

mod family;
mod filter;
pub(crate) mod matcher;
mod merge;
mod rows;
pub(crate) mod trackers;

pub use family::FamilyScanner;
pub use filter::start_filter;
pub use merge::Merge;
pub use rows::{Deadline, FamilySources, Limits, Query, Reached, Row, RowFilter, RowScanner, ScanState};

use bytes::Bytes;
use model::schema::{FamilyDescriptor, KeepDeletedCells};

/// The settings of a family that decide what is visible and what a compaction keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilySettings {
    /// The family.
    pub name: Bytes,
    /// Most versions of a column.
    pub max_versions: u32,
    /// Versions kept although their time to live has passed.
    pub min_versions: u32,
    /// Time to live in milliseconds; `None` means for ever.
    pub ttl_ms: Option<i64>,
    /// Whether deleted cells stay readable.
    pub keep_deleted_cells: KeepDeletedCells,
    /// Whether sequence numbers decide what a delete hides.
    pub new_version_behavior: bool,
    /// Milliseconds for which a major compaction keeps delete markers (`hbase.hstore.time.to.purge.deletes`).
    pub purge_deletes_after_ms: i64,
}

impl From<&FamilyDescriptor> for FamilySettings {
    fn from(family: &FamilyDescriptor) -> FamilySettings {
        FamilySettings {
            name: family.name.clone(),
            max_versions: family.max_versions(),
            min_versions: family.min_versions(),
            ttl_ms: family.ttl_ms(),
            keep_deleted_cells: family.keep_deleted_cells(),
            new_version_behavior: family.new_version_behavior(),
            purge_deletes_after_ms: family
                .configuration
                .get("hbase.hstore.time.to.purge.deletes")
                .and_then(|text| text.trim().parse().ok())
                .unwrap_or(0),
        }
    }
}

impl FamilySettings {
    /// Cells with a smaller timestamp have outlived the family's time to live.
    pub fn oldest_unexpired_ms(&self, now_ms: i64) -> i64 {
        self.ttl_ms.map_or(i64::MIN, |ttl_ms| now_ms.saturating_sub(ttl_ms))
    }
}
