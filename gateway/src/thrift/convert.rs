//! Between what both services say and what the client understands.

use bytes::Bytes;
use client::{Connection, Row, Table};
use model::filter::{Filter, language};
use model::mutation::Durability;
use model::query::{Selection, TimeRange};
use model::schema::{BloomType, TableName};

use super::call::Raised;

/// Where a value must be and is not.
pub(super) fn needed<T>(value: Option<T>, what: &str) -> Result<T, Raised> {
    value.ok_or_else(|| Raised::io(format!("java.lang.IllegalArgumentException: {what} is missing")))
}

pub(super) fn table_name(name: &[u8]) -> Result<TableName, Raised> {
    let text = std::str::from_utf8(name).map_err(|_| {
        Raised::io(format!("java.lang.IllegalArgumentException: no table name: {}", name.escape_ascii()))
    })?;
    Ok(text.parse::<TableName>()?)
}

pub(super) fn table(connection: &Connection, name: &[u8]) -> Result<Table, Raised> {
    Ok(connection.table(table_name(name)?))
}

/// `family`, or `family:qualifier`, whose qualifier may be empty.
pub(super) fn column(name: &[u8]) -> (Bytes, Option<Bytes>) {
    match name.iter().position(|byte| *byte == b':') {
        None => (Bytes::copy_from_slice(name), None),
        Some(at) => (Bytes::copy_from_slice(&name[..at]), Some(Bytes::copy_from_slice(&name[at + 1..]))),
    }
}

/// Adds a column or a family.
pub(super) fn select(selection: &mut Selection, family: Bytes, qualifier: Option<Bytes>) {
    match qualifier {
        Some(qualifier) => selection.add_column(family, qualifier),
        None => selection.add_family(family),
    }
}

/// A half-open range of time, as HBase checks it.
pub(super) fn time_range(from: i64, to: i64) -> Result<TimeRange, Raised> {
    if from < 0 || to < 0 || to < from {
        let why = format!("java.lang.IllegalArgumentException: no range of time: minStamp={from}, maxStamp={to}");
        return Err(Raised::io(why));
    }
    Ok(TimeRange { from, to })
}

pub(super) fn filter(text: &[u8]) -> Result<Filter, Raised> {
    language::parse(text).map_err(|error| Raised::io(format!("java.lang.IllegalArgumentException: {error}")))
}

pub(super) fn versions(versions: i32) -> Result<u32, Raised> {
    u32::try_from(versions)
        .ok()
        .filter(|versions| *versions > 0)
        .ok_or_else(|| Raised::io("java.lang.IllegalArgumentException: maxVersions must be positive".to_owned()))
}

/// The cells' time to live among operation attributes, and the others.
pub(super) fn attributes(
    attributes: Option<std::collections::BTreeMap<Vec<u8>, Vec<u8>>>,
) -> (Option<i64>, Vec<(String, Bytes)>) {
    let mut ttl = None;
    let mut others = Vec::new();
    for (name, value) in attributes.unwrap_or_default() {
        match <[u8; 8]>::try_from(&value[..]) {
            Ok(millis) if name == b"_ttl" => ttl = Some(i64::from_be_bytes(millis)),
            _ => others.push((String::from_utf8_lossy(&name).into_owned(), value.into())),
        }
    }
    (ttl, others)
}

/// Refuses what changes something where a gateway is read-only.
pub(super) fn writable(read_only: bool) -> Result<(), Raised> {
    match read_only {
        true => Err(Raised::io("this gateway is read-only")),
        false => Ok(()),
    }
}

/// The first failure of several mutations.
pub(super) fn first_failure(answers: Vec<client::Result<Row>>) -> Result<(), Raised> {
    answers.into_iter().try_for_each(|answer| answer.map(|_| ())).map_err(Raised::from)
}

pub(super) fn logged(write_to_wal: Option<bool>) -> Durability {
    if write_to_wal.unwrap_or(true) { Durability::SyncWal } else { Durability::SkipWal }
}

/// HBase's name of a kind of bloom filter.
pub(super) fn bloom_name(bloom: BloomType) -> &'static str {
    match bloom {
        BloomType::None => "NONE",
        BloomType::Row => "ROW",
        BloomType::RowCol => "ROWCOL",
        BloomType::RowPrefixFixedLength => "ROWPREFIX_FIXED_LENGTH",
    }
}
