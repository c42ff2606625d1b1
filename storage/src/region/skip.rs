//! Which store files a read can leave out.
//!
//! Always true: leaving a file out changes no answer. So a file stays in
//! - for its times, if a marker inside may hide wanted cells elsewhere: a file's times reach down to 0 if it has a marker
//!   that hides older cells, and any other marker hides only its own timestamp;
//! - for its columns, if it holds family deletes, or the column without a name is wanted, where those stand;
//! - for both, in raw scans, with `NEW_VERSION_BEHAVIOR`, and with filters that remember rows of which nothing is wanted.

use bytes::Bytes;
use model::filter::Filter;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::file::reader::HFileReader;
use crate::read::{FamilySettings, Query};

/// Why a file is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    KeyRange,
    Time,
    Bloom,
    Columns,
}

/// Whether a filter's word on a row depends on rows of which nothing was wanted.
fn remembers_rows(filter: &Filter) -> bool {
    match filter {
        Filter::WhileMatch { .. } | Filter::RandomRow { .. } => true,
        Filter::Skip { filter } => remembers_rows(filter),
        Filter::List { filters, .. } => filters.iter().any(remembers_rows),
        _ => false,
    }
}

/// Whether the read can do without the file, and why.
pub(super) async fn choose(
    file: &HFileReader,
    query: &Query,
    family: &FamilySettings,
    now_ms: i64,
) -> Result<Option<Skip>> {
    let (low, high) =
        if query.reversed { (&query.stop_row, &query.start_row) } else { (&query.start_row, &query.stop_row) };
    if !file.overlaps(low, high) {
        return Ok(Some(Skip::KeyRange));
    }
    let wanted: Option<&BTreeSet<Bytes>> =
        query.selection.columns.get(&family.name).and_then(Option::as_ref).filter(|columns| !columns.is_empty());
    let free =
        !query.raw && !family.new_version_behavior && !query.selection.filter.as_ref().is_some_and(remembers_rows);
    if free {
        let range = query.selection.time_range_of(&family.name);
        // With MIN_VERSIONS cells stay visible behind their time.
        let oldest_ms = if family.min_versions == 0 { family.oldest_unexpired_ms(now_ms) } else { i64::MIN };
        let expired = file.timestamps().is_some_and(|(_, newest)| newest < oldest_ms);
        if expired || (!range.is_all() && !file.may_contain_time(range)) {
            return Ok(Some(Skip::Time));
        }
    }
    let may = match wanted.filter(|columns| columns.len() == 1).and_then(BTreeSet::first) {
        Some(column) if query.is_get() => file.may_contain_column(&query.start_row, column).await?,
        _ if query.is_get() => file.may_contain_row(&query.start_row).await?,
        _ => file.may_contain_rows(low, high).await?,
    };
    if !may {
        return Ok(Some(Skip::Bloom));
    }
    if let Some(columns) = wanted.filter(|columns| free && columns.iter().all(|column| !column.is_empty()))
        && !file.may_contain_any_column(columns.iter()).await?
    {
        return Ok(Some(Skip::Columns));
    }
    Ok(None)
}
