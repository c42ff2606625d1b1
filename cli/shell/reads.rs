//! `get`, `scan`, `count`, `get_counter`.

use std::collections::HashMap;

use bytes::Bytes;
use client::Row;
use model::filter::language;
use model::filter::{Filter, FilterListOp};
use model::query::{Get, Scan, Selection, TimeRange, prefix_stop_row};
use model::schema::TableName;
use model::{Cell, CellType};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::convert::{Converter, ReadColumn, read_column};
use super::error::{Failure, Result};
use super::options::{Arguments, Options, int};
use super::show;
use super::value::Value;

/// Rows asked for at once by `count` if `CACHE` does not say.
const COUNT_CACHE: u32 = 1000;

/// How cells are printed.
#[derive(Default)]
struct Look {
    /// By family and qualifier.
    columns: HashMap<(Bytes, Bytes), Converter>,
    /// For everything else.
    general: Converter,
    /// Most characters of `timestamp=…, value=…`.
    max_length: Option<usize>,
    /// Cells of `hbase:meta` hold regions.
    meta: bool,
}

impl Look {
    fn of(table: &TableName, options: &mut Options) -> Result<Look> {
        let mut look = Look { meta: table.is_meta(), ..Look::default() };
        if let Some(name) = options.text("FORMATTER")? {
            look.general = Converter::named(&name)?;
        }
        if let Some(class) = options.text("FORMATTER_CLASS")? {
            Converter::check_class(&class)?;
        }
        look.max_length = options.int("MAXLENGTH")?.and_then(|length| usize::try_from(length).ok());
        Ok(look)
    }

    fn column(&self, cell: &Cell) -> Result<String> {
        Ok(format!("{}:{}", self.general.convert(cell.family())?, self.general.convert(cell.qualifier())?))
    }

    fn value(&self, cell: &Cell) -> Result<String> {
        if self.meta && cell.family() == b"info" {
            let qualifier = cell.qualifier();
            if qualifier == b"regioninfo" || qualifier.starts_with(b"split") || qualifier.starts_with(b"merge") {
                return Ok(protocol::schema::region_info_from_meta(&Bytes::copy_from_slice(cell.value()))
                    .map(|info| show::region(&info))
                    .unwrap_or_default());
            }
            if qualifier == b"serverstartcode" && cell.value().len() == 8 {
                return Converter::Long.convert(cell.value());
            }
        }
        let key = (Bytes::copy_from_slice(cell.family()), Bytes::copy_from_slice(cell.qualifier()));
        self.columns.get(&key).copied().unwrap_or(self.general).convert(cell.value())
    }

    fn cell(&self, cell: &Cell) -> Result<String> {
        let time = show::timestamp(cell.timestamp());
        let mut text = if cell.cell_type().is_delete() {
            format!("timestamp={time}, type={}", cell.cell_type())
        } else {
            format!("timestamp={time}, value={}", self.value(cell)?)
        };
        if let Some(most) = self.max_length
            && let Some((at, _)) = text.char_indices().nth(most)
        {
            text.truncate(at);
        }
        Ok(text)
    }

    fn json(&self, cell: &Cell) -> Result<Json> {
        let mut json = json!({
            "family": show::binary(cell.family()),
            "qualifier": show::binary(cell.qualifier()),
            "timestamp": cell.timestamp(),
            "type": cell.cell_type().to_string(),
        });
        if !cell.cell_type().is_delete() {
            json["value"] = self.value(cell)?.into();
        }
        Ok(json)
    }

    fn row_json(&self, row: &Row) -> Result<Json> {
        let cells = row.cells.iter().map(|cell| self.json(cell)).collect::<Result<Vec<_>>>()?;
        let mut json = json!({"row": show::binary(row.row().unwrap_or_default()), "cells": cells});
        if row.partial {
            json["partial"] = true.into();
        }
        Ok(json)
    }
}

fn add_column(selection: &mut Selection, look: &mut Look, text: &[u8]) -> Result<()> {
    let (family, qualifier, converter): ReadColumn<'_> = read_column(text)?;
    let family = Bytes::copy_from_slice(family);
    let Some(qualifier) = qualifier.map(Bytes::copy_from_slice) else {
        selection.add_family(family);
        return Ok(());
    };
    if let Some(converter) = converter {
        look.columns.insert((family.clone(), qualifier.clone()), converter);
    }
    // A family that is wanted whole stays whole.
    if !matches!(selection.columns.get(&family), Some(None)) {
        selection.add_column(family, qualifier);
    }
    Ok(())
}

fn add_columns(selection: &mut Selection, look: &mut Look, value: &Value) -> Result<()> {
    if let Value::Array(items) = value {
        return items.iter().try_for_each(|item| add_columns(selection, look, item));
    }
    let wrong = || Failure::says(format!("COLUMNS must be specified as a String or an Array, not {}", value.inspect()));
    add_column(selection, look, &value.to_bytes().ok_or_else(wrong)?)
}

fn time_range(options: &mut Options) -> Result<TimeRange> {
    let mut range = TimeRange::ALL;
    if let Some(at) = options.int("TIMESTAMP")? {
        range = TimeRange { from: at, to: at.saturating_add(1) };
    }
    if let Some(value) = options.take("TIMERANGE") {
        let Value::Array(ends) = &value else {
            return Err(Failure::says(format!("TIMERANGE must be [from, to], not {}", value.inspect())));
        };
        let [from, to] = ends.as_slice() else {
            return Err(Failure::says(format!("TIMERANGE must be [from, to], not {}", value.inspect())));
        };
        range = TimeRange { from: int("TIMERANGE", from)?, to: int("TIMERANGE", to)? };
    }
    if range.from < 0 || range.to < range.from {
        return Err(Failure::says(format!("times must be 0 or more and in order, not [{}, {})", range.from, range.to)));
    }
    Ok(range)
}

fn filter(options: &mut Options) -> Result<Option<Filter>> {
    let Some(text) = options.bytes("FILTER")? else { return Ok(None) };
    match language::parse(&text) {
        Ok(filter) => Ok(Some(filter)),
        Err(error) => Err(Failure::says(format!("FILTER \"{}\": {error}", show::binary(&text)))),
    }
}

/// What `get` and `scan` have in common.
fn select(selection: &mut Selection, look: &mut Look, options: &mut Options) -> Result<()> {
    for name in ["COLUMN", "COLUMNS"] {
        if let Some(value) = options.take(name) {
            add_columns(selection, look, &value)?;
        }
    }
    selection.time_range = time_range(options)?;
    if let Some(versions) = options.int("VERSIONS")? {
        let wrong = |_| Failure::says(format!("VERSIONS must be at least 1, not {versions}"));
        selection.max_versions = u32::try_from(versions).map_err(wrong)?;
        if versions == 0 {
            return Err(Failure::says("VERSIONS must be at least 1, not 0"));
        }
    }
    selection.filter = filter(options)?;
    if let Some(cache) = options.flag("CACHE_BLOCKS")? {
        selection.cache_blocks = cache;
    }
    match options.text("ISOLATION_LEVEL")?.as_deref() {
        None | Some("READ_COMMITTED") => {}
        Some("READ_UNCOMMITTED") => selection.read_uncommitted = true,
        Some(other) => {
            return Err(Failure::says(format!("ISOLATION_LEVEL is READ_COMMITTED or READ_UNCOMMITTED, not {other}")));
        }
    }
    match options.text("CONSISTENCY")?.as_deref() {
        // Every read here is strong, and a strong answer is a timeline's too.
        None | Some("STRONG" | "TIMELINE") => {}
        Some(other) => return Err(Failure::says(format!("CONSISTENCY is STRONG or TIMELINE, not {other}"))),
    }
    if options.int("REGION_REPLICA_ID")?.is_some_and(|replica| replica != 0) {
        return Err(Failure::says("REGION_REPLICA_ID: region replicas are not there yet; only 0 can be read"));
    }
    if options.take("AUTHORIZATIONS").is_some() {
        return Err(Failure::says("AUTHORIZATIONS: visibility labels are not there yet"));
    }
    if options.take("ATTRIBUTES").is_some() {
        return Err(Failure::says("ATTRIBUTES of reads are there for coprocessors, and Ferrobase has none"));
    }
    Ok(())
}

const GET_OPTIONS: [&str; 14] = [
    "COLUMN",
    "COLUMNS",
    "TIMESTAMP",
    "TIMERANGE",
    "VERSIONS",
    "FILTER",
    "MAXLENGTH",
    "FORMATTER",
    "FORMATTER_CLASS",
    "ATTRIBUTES",
    "CONSISTENCY",
    "CACHE_BLOCKS",
    "ISOLATION_LEVEL",
    "REGION_REPLICA_ID",
];

/// `get`.
pub async fn get(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let mut get = Get::new(arguments.bytes("a row")?);
    let mut columns = Vec::new();
    while let Some(value) = arguments.peek() {
        if matches!(value, Value::Hash(_)) {
            break;
        }
        columns.extend(arguments.next().filter(|value| *value != Value::Nil));
    }
    let mut options = arguments.options()?;
    arguments.done()?;
    let mut look = Look::of(&table, &mut options)?;
    select(&mut get.selection, &mut look, &mut options)?;
    options.done(&GET_OPTIONS)?;
    add_columns(&mut get.selection, &mut look, &Value::Array(columns))?;
    context.printer.header("COLUMN", "CELL")?;
    let row = context.table(&table).get(&get).await?;
    for cell in &row.cells {
        if context.printer.is_table() {
            context.printer.row(&look.column(cell)?, &look.cell(cell)?)?;
        }
    }
    context.printer.footer(u64::from(!row.is_empty()))?;
    if !context.printer.is_table() && !row.is_empty() {
        let json = look.row_json(&row)?;
        context.printer.one(|| json)?;
    } else if !context.printer.is_table() {
        context.printer.one(|| Json::Null)?;
    }
    Ok(Value::Nil)
}

const SCAN_OPTIONS: [&str; 29] = [
    "STARTROW",
    "STOPROW",
    "ROWPREFIXFILTER",
    "LIMIT",
    "COLUMN",
    "COLUMNS",
    "FILTER",
    "TIMERANGE",
    "TIMESTAMP",
    "VERSIONS",
    "REVERSED",
    "RAW",
    "BATCH",
    "CACHE",
    "CACHE_BLOCKS",
    "MAX_RESULT_SIZE",
    "MAXLENGTH",
    "FORMATTER",
    "FORMATTER_CLASS",
    "ISOLATION_LEVEL",
    "READ_TYPE",
    "ALLOW_PARTIAL_RESULTS",
    "CONSISTENCY",
    "REGION_REPLICA_ID",
    "ATTRIBUTES",
    "ALL_METRICS",
    "METRICS",
    "INTERVAL",
    "AUTHORIZATIONS",
];

fn scan_of(options: &mut Options, look: &mut Look) -> Result<Scan> {
    let mut scan = Scan::default();
    select(&mut scan.selection, look, options)?;
    scan.reversed = options.flag("REVERSED")?.unwrap_or(false);
    scan.start_row = options.bytes("STARTROW")?.unwrap_or_default();
    scan.stop_row = options.bytes("STOPROW")?.unwrap_or_default();
    if let Some(prefix) = options.bytes("ROWPREFIXFILTER")? {
        // As in HBase this replaces STARTROW and STOPROW.
        if scan.reversed {
            scan.start_row = prefix_stop_row(&prefix);
            scan.include_start_row = false;
            scan.stop_row = prefix;
            scan.include_stop_row = true;
        } else {
            scan = scan.with_prefix(prefix);
        }
    }
    scan.limit = options.positive("LIMIT")?;
    scan.caching = options.positive("CACHE")?;
    scan.batch = options.positive("BATCH")?;
    scan.max_result_size =
        options.int("MAX_RESULT_SIZE")?.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
    scan.raw = options.flag("RAW")?.unwrap_or(false);
    scan.allow_partial_results = options.flag("ALLOW_PARTIAL_RESULTS")?.unwrap_or(false);
    match options.text("READ_TYPE")?.as_deref() {
        None | Some("DEFAULT" | "STREAM" | "PREAD") => {}
        Some(other) => return Err(Failure::says(format!("READ_TYPE is DEFAULT, STREAM or PREAD, not {other}"))),
    }
    if scan.raw && !scan.selection.columns.is_empty() && scan.selection.columns.values().any(Option::is_some) {
        return Err(Failure::says("RAW cannot be combined with columns; whole families are allowed"));
    }
    Ok(scan)
}

fn metrics_wanted(options: &mut Options) -> Result<bool> {
    let all = options.flag("ALL_METRICS")?.unwrap_or(false);
    Ok(options.take("METRICS").is_some() || all)
}

/// `scan`.
pub async fn scan(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let mut options = arguments.options()?;
    arguments.done()?;
    let mut look = Look::of(&table, &mut options)?;
    let scan = scan_of(&mut options, &mut look)?;
    if metrics_wanted(&mut options)? {
        eprintln!("ferrobase: scan metrics are not collected yet");
    }
    options.done(&SCAN_OPTIONS)?;
    context.printer.header("ROW", "COLUMN+CELL")?;
    // As in HBase, LIMIT counts results, of which BATCH makes several from one row.
    let most = scan.limit.map_or(u64::MAX, u64::from);
    let mut rows = context.table(&table).scan(scan);
    let mut count = 0_u64;
    while count < most
        && let Some(row) = rows.next_row().await?
    {
        let Some(key) = row.row() else { continue };
        count += 1;
        if !context.printer.is_table() {
            let json = look.row_json(&row)?;
            context.printer.item(|| json)?;
            continue;
        }
        let key = look.general.convert(key)?;
        for cell in &row.cells {
            let text = format!("column={}, {}", look.column(cell)?, look.cell(cell)?);
            context.printer.row(&key, &text)?;
        }
    }
    context.printer.end_items()?;
    context.printer.footer(count)?;
    Ok(Value::Nil)
}

/// `count`.
pub async fn count(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    // The old way to give the interval.
    let interval = arguments.optional_int("INTERVAL")?;
    let mut options = arguments.options()?;
    arguments.done()?;
    let interval = options.int("INTERVAL")?.or(interval).unwrap_or(1000);
    let interval = u64::try_from(interval).ok().filter(|interval| *interval > 0);
    let interval = interval.ok_or_else(|| Failure::says("INTERVAL must be at least 1"))?;
    let cache_blocks = options.flag("CACHE_BLOCKS")?.unwrap_or(false);
    let mut scan = scan_of(&mut options, &mut Look::default())?;
    options.done(&SCAN_OPTIONS)?;
    scan.caching = scan.caching.or(Some(COUNT_CACHE));
    scan.selection.cache_blocks = cache_blocks;
    scan.selection.filter = Some(match scan.selection.filter.take() {
        None => Filter::FirstKeyOnly,
        Some(filter) => Filter::List { op: FilterListOp::MustPassAll, filters: vec![filter, Filter::FirstKeyOnly] },
    });
    let mut rows = context.table(&table).scan(scan);
    let mut count = 0_u64;
    while let Some(row) = rows.next_row().await? {
        let Some(key) = row.row() else { continue };
        count += 1;
        if count.is_multiple_of(interval) {
            context.printer.line(format!("Current count: {count}, row: {}", show::binary(key)))?;
            context.printer.flush()?;
        }
    }
    context.printer.footer(count)?;
    context.printer.one(|| count.into())?;
    Ok(Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
}

/// Shows a counter.
pub fn show_counter(context: &mut Context<'_>, cell: Option<&Cell>) -> Result<Value> {
    let Some(cell) = cell else {
        context.printer.line("No counter found at specified coordinates")?;
        context.printer.one(|| Json::Null)?;
        return Ok(Value::Nil);
    };
    let number: i64 = Converter::Long.convert(cell.value())?.parse().map_err(|_| Failure::says("no counter"))?;
    context.printer.line(format!("COUNTER VALUE = {number}"))?;
    context.printer.one(|| number.into())?;
    Ok(Value::Int(number))
}

/// `get_counter`.
pub async fn get_counter(context: &mut Context<'_>, mut arguments: Arguments) -> Result<Value> {
    let table = arguments.table()?;
    let mut get = Get::new(arguments.bytes("a row")?);
    let mut column = arguments.bytes("a column")?.to_vec();
    arguments.done()?;
    // A family alone is its column without a name, as for `incr`.
    if !column.contains(&b':') {
        column.push(b':');
    }
    add_column(&mut get.selection, &mut Look::default(), &column)?;
    let row = context.table(&table).get(&get).await?;
    show_counter(context, row.cells.iter().find(|cell| cell.cell_type() == CellType::PUT))
}
