//! Gets and scans between messages and `model` (hbase-wire.md §2.2, §2.4, §5.3).
//!
//! Always true: what a message leaves out means HBase's default.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::query::{Columns, Get, Scan, Selection, TimeRange};

use crate::filter::{FilterMessageError, filter_from, filter_to};
use crate::messages as pb;
use crate::service::RpcError;

const RAW: &str = "_raw_";
const ISOLATION: &str = "_isolationlevel_";

/// Why a message is no query.
#[derive(Debug, thiserror::Error)]
pub enum QueryMessageError {
    /// The filter is wrong.
    #[error("{0}")]
    Filter(#[from] FilterMessageError),
    /// A value is out of range.
    #[error("bad {what}: {why}")]
    Bad {
        /// The field.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl From<QueryMessageError> for RpcError {
    fn from(error: QueryMessageError) -> RpcError {
        RpcError::invalid(error.to_string())
    }
}

type Result<T> = std::result::Result<T, QueryMessageError>;

/// Reads a time range; a missing end is open.
pub fn time_range_from(message: &pb::TimeRange) -> Result<TimeRange> {
    let from = message.from.unwrap_or(0);
    let to = message.to.unwrap_or(i64::MAX as u64);
    let bad = |why: String| QueryMessageError::Bad { what: "time range", why };
    let from = i64::try_from(from).map_err(|_| bad(format!("it begins at {from}, which is negative")))?;
    let to = i64::try_from(to).map_err(|_| bad(format!("it ends at {to}, which is negative")))?;
    if to < from {
        return Err(bad(format!("it ends at {to}, before it begins at {from}")));
    }
    Ok(TimeRange { from, to })
}

/// Writes a time range.
pub fn time_range_to(range: TimeRange) -> pb::TimeRange {
    pb::TimeRange { from: Some(range.from.max(0) as u64), to: Some(range.to.max(0) as u64) }
}

fn columns_from(columns: &[pb::Column]) -> Columns {
    let mut out = Columns::new();
    for column in columns {
        if column.qualifier.is_empty() {
            out.insert(column.family.clone(), None);
        } else if let Some(set) = out.entry(column.family.clone()).or_insert_with(|| Some(Default::default())) {
            set.extend(column.qualifier.iter().cloned());
        }
    }
    out
}

fn columns_to(columns: &Columns) -> Vec<pb::Column> {
    let column = |(family, qualifiers): (&Bytes, &Option<std::collections::BTreeSet<Bytes>>)| pb::Column {
        family: family.clone(),
        qualifier: qualifiers.iter().flatten().cloned().collect(),
    };
    columns.iter().map(column).collect()
}

fn ranges_from(ranges: &[pb::ColumnFamilyTimeRange]) -> Result<BTreeMap<Bytes, TimeRange>> {
    ranges.iter().map(|range| Ok((range.column_family.clone(), time_range_from(&range.time_range)?))).collect()
}

fn ranges_to(ranges: &BTreeMap<Bytes, TimeRange>) -> Vec<pb::ColumnFamilyTimeRange> {
    let range = |(family, range): (&Bytes, &TimeRange)| pb::ColumnFamilyTimeRange {
        column_family: family.clone(),
        time_range: time_range_to(*range),
    };
    ranges.iter().map(range).collect()
}

fn attribute<'a>(attributes: &'a [pb::NameBytesPair], name: &str) -> Option<&'a [u8]> {
    attributes.iter().find(|pair| pair.name == name).and_then(|pair| pair.value.as_deref())
}

/// HBase's boolean attributes: one byte, not 0.
fn is_set(attributes: &[pb::NameBytesPair], name: &str) -> bool {
    attribute(attributes, name).is_some_and(|value| value.len() == 1 && value[0] != 0)
}

fn pair(name: &str, value: u8) -> pb::NameBytesPair {
    pb::NameBytesPair { name: name.to_owned(), value: Some(vec![value].into()) }
}

fn attributes_to(selection: &Selection, raw: bool) -> Vec<pb::NameBytesPair> {
    let isolation = selection.read_uncommitted.then(|| pair(ISOLATION, 1));
    isolation.into_iter().chain(raw.then(|| pair(RAW, 0xff))).collect()
}

/// The [`Selection`] of a get or scan message: two types with the same fields.
macro_rules! selection_from {
    ($message:expr) => {{
        let message = $message;
        Selection {
            columns: columns_from(&message.column),
            time_range: message.time_range.as_ref().map(time_range_from).transpose()?.unwrap_or_default(),
            family_time_ranges: ranges_from(&message.cf_time_range)?,
            max_versions: message.max_versions().max(1),
            filter: message.filter.as_ref().map(filter_from).transpose()?,
            store_limit: message.store_limit.filter(|limit| *limit <= i32::MAX as u32),
            store_offset: message.store_offset.unwrap_or(0),
            cache_blocks: message.cache_blocks(),
            read_uncommitted: is_set(&message.attribute, ISOLATION),
            load_families_on_demand: message.load_column_families_on_demand,
        }
    }};
}

/// Reads a get.
pub fn get_from(message: &pb::Get) -> Result<Get> {
    let selection = selection_from!(message);
    Ok(Get { row: message.row.clone(), selection, existence_only: message.existence_only() })
}

/// Writes a get.
pub fn get_to(get: &Get) -> pb::Get {
    let selection = &get.selection;
    pb::Get {
        row: get.row.clone(),
        column: columns_to(&selection.columns),
        attribute: attributes_to(selection, false),
        filter: selection.filter.as_ref().map(filter_to),
        time_range: (!selection.time_range.is_all()).then(|| time_range_to(selection.time_range)),
        max_versions: Some(selection.max_versions),
        cache_blocks: Some(selection.cache_blocks),
        store_limit: selection.store_limit,
        store_offset: (selection.store_offset > 0).then_some(selection.store_offset),
        existence_only: get.existence_only.then_some(true),
        cf_time_range: ranges_to(&selection.family_time_ranges),
        load_column_families_on_demand: selection.load_families_on_demand,
        ..pb::Get::default()
    }
}

/// Reads a scan.
pub fn scan_from(message: &pb::Scan) -> Result<Scan> {
    let selection = selection_from!(message);
    let (start_row, stop_row) =
        (message.start_row.clone().unwrap_or_default(), message.stop_row.clone().unwrap_or_default());
    // A client that does not know the field asks for one row by equal ends.
    let one_row = !start_row.is_empty() && start_row == stop_row;
    Ok(Scan {
        include_start_row: message.include_start_row(),
        include_stop_row: message.include_stop_row.unwrap_or(one_row),
        start_row,
        stop_row,
        reversed: message.reversed(),
        selection,
        batch: message.batch_size.filter(|batch| (1..=i32::MAX as u32).contains(batch)),
        limit: None,
        caching: message.caching.filter(|caching| *caching > 0),
        max_result_size: message.max_result_size.filter(|size| *size > 0),
        allow_partial_results: message.allow_partial_results.unwrap_or(false),
        raw: is_set(&message.attribute, RAW),
        need_cursor: message.need_cursor_result(),
        mvcc_read_point: message.mvcc_read_point.filter(|point| *point > 0),
    })
}

/// Writes a scan; its limit of rows belongs to the request around it.
pub fn scan_to(scan: &Scan) -> pb::Scan {
    let selection = &scan.selection;
    pb::Scan {
        column: columns_to(&selection.columns),
        attribute: attributes_to(selection, scan.raw),
        start_row: Some(scan.start_row.clone()),
        stop_row: Some(scan.stop_row.clone()),
        filter: selection.filter.as_ref().map(filter_to),
        time_range: (!selection.time_range.is_all()).then(|| time_range_to(selection.time_range)),
        max_versions: Some(selection.max_versions),
        cache_blocks: Some(selection.cache_blocks),
        batch_size: scan.batch,
        max_result_size: scan.max_result_size,
        store_limit: selection.store_limit,
        store_offset: (selection.store_offset > 0).then_some(selection.store_offset),
        load_column_families_on_demand: selection.load_families_on_demand,
        reversed: scan.reversed.then_some(true),
        caching: scan.caching,
        allow_partial_results: scan.allow_partial_results.then_some(true),
        cf_time_range: ranges_to(&selection.family_time_ranges),
        mvcc_read_point: scan.mvcc_read_point,
        include_start_row: Some(scan.include_start_row),
        include_stop_row: Some(scan.include_stop_row),
        need_cursor_result: scan.need_cursor.then_some(true),
        ..pb::Scan::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_come_back_as_they_were() {
        let mut get = Get::new("r");
        get.selection.add_column("f", "q");
        get.selection.add_family("g");
        get.selection.time_range = TimeRange { from: 5, to: 9 };
        get.selection.family_time_ranges.insert("f".into(), TimeRange { from: 1, to: 2 });
        get.selection.max_versions = 3;
        get.selection.store_limit = Some(4);
        get.selection.store_offset = 1;
        get.selection.read_uncommitted = true;
        get.existence_only = true;
        assert_eq!(get_from(&get_to(&get)).expect("get"), get);
        let scan = Scan {
            start_row: "a".into(),
            include_start_row: false,
            stop_row: "b".into(),
            include_stop_row: true,
            reversed: true,
            selection: get.selection.clone(),
            batch: Some(5),
            raw: true,
            mvcc_read_point: Some(7),
            ..Scan::default()
        };
        assert_eq!(scan_from(&scan_to(&scan)).expect("scan"), scan);
    }

    #[test]
    fn an_old_client_asks_for_one_row_by_equal_ends() {
        let message = pb::Scan { start_row: Some("r".into()), stop_row: Some("r".into()), ..pb::Scan::default() };
        assert!(scan_from(&message).expect("scan").include_stop_row);
        let message = pb::Scan { start_row: Some("r".into()), stop_row: Some("s".into()), ..pb::Scan::default() };
        assert!(!scan_from(&message).expect("scan").include_stop_row);
        let upside_down = pb::TimeRange { from: Some(9), to: Some(5) };
        assert!(time_range_from(&upside_down).is_err());
    }
}
