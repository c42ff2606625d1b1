//! A region: one range of one table's rows, and the names HBase gives it (hfile-v3.md §3, hbase-wire.md §4.3).
//!
//! Invariants
//! - `start_key` is inside, `end_key` is not; empty means open on that side.
//! - The encoded name is the MD5, in lower-case hex, of the region name before its last dot; META's is `1588230740`.

use std::cmp::Ordering;
use std::fmt;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::cell::CellOrder;
use crate::schema::TableName;

/// Encoded name of META's only region.
pub const META_ENCODED_NAME: &str = "1588230740";

/// A region's identity and range.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegionInfo {
    /// The table.
    pub table: TableName,
    /// First row inside; empty means from the beginning.
    pub start_key: Bytes,
    /// First row behind; empty means to the end.
    pub end_key: Bytes,
    /// Time of creation in milliseconds, made to rise strictly.
    pub region_id: u64,
    /// Taken out of service (a split parent).
    pub offline: bool,
    /// Has been split.
    pub split: bool,
}

impl RegionInfo {
    /// A region that is neither split nor offline.
    pub fn new(table: TableName, start_key: Bytes, end_key: Bytes, region_id: u64) -> RegionInfo {
        RegionInfo { table, start_key, end_key, region_id, offline: false, split: false }
    }

    /// META's only region.
    pub fn meta() -> RegionInfo {
        RegionInfo::new(TableName::meta(), Bytes::new(), Bytes::new(), 1)
    }

    /// The region name without its MD5 suffix: `table,startkey,regionid`.
    fn name_prefix(&self) -> Vec<u8> {
        let mut name = self.table.to_string().into_bytes();
        name.push(b',');
        name.extend_from_slice(&self.start_key);
        name.push(b',');
        name.extend_from_slice(self.region_id.to_string().as_bytes());
        name
    }

    /// The encoded name: 32 hex digits, or META's number. Names the region's directory.
    pub fn encoded_name(&self) -> String {
        if self.table.is_meta() {
            return META_ENCODED_NAME.to_owned();
        }
        hex::encode(Md5::digest(self.name_prefix()))
    }

    /// The full region name, which is also the region's row in META.
    pub fn region_name(&self) -> Bytes {
        let mut name = self.name_prefix();
        if !self.table.is_meta() {
            name.push(b'.');
            name.extend_from_slice(self.encoded_name().as_bytes());
            name.push(b'.');
        }
        name.into()
    }

    /// The order of its cells.
    pub fn cell_order(&self) -> CellOrder {
        if self.table.is_meta() { CellOrder::Meta } else { CellOrder::User }
    }

    /// Whether the row lies inside.
    pub fn contains(&self, row: &[u8]) -> bool {
        let order = self.cell_order();
        order.compare_rows(row, &self.start_key) != Ordering::Less
            && (self.end_key.is_empty() || order.compare_rows(row, &self.end_key) == Ordering::Less)
    }
}

impl fmt::Display for RegionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.region_name().escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hbase() {
        // hbase-wire.md §9.
        let t1 = RegionInfo::new("t1".parse().expect("name"), Bytes::new(), Bytes::new(), 1_700_000_000_000);
        assert_eq!(t1.region_name(), "t1,,1700000000000.43ae7364b4a555b93267937f9bc49ec1.");
        let row5 = RegionInfo::new("ns1:t1".parse().expect("name"), "row5".into(), Bytes::new(), 1_700_000_000_000);
        assert_eq!(row5.region_name(), "ns1:t1,row5,1700000000000.b9577d910aa8c58a57efd9e6ee375042.");
        assert_eq!(RegionInfo::meta().region_name(), "hbase:meta,,1");
        assert_eq!(RegionInfo::meta().encoded_name(), "1588230740");
    }

    #[test]
    fn contains_is_half_open() {
        let region = RegionInfo::new("t".parse().expect("name"), "b".into(), "d".into(), 1);
        assert!(!region.contains(b"a") && region.contains(b"b") && region.contains(b"czz") && !region.contains(b"d"));
    }
}
