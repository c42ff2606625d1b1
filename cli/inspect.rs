//! Looking into files, registers and logs.
//!
//! Always true: nothing on a root is created, fenced, deleted or swapped; a server may live beside.

mod cluster;
mod log;
mod print;
mod target;

use std::sync::Arc;

use model::{Cell, CellOrder, ErrorKind};
use runtime::Runtime;
use serde_json::json;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::source::{CellSource, Progress};

use self::print::Printer;
use crate::arguments::{Format, Hfile, Inspect};
use crate::failure::Failure;
use crate::output::say;
use crate::ready::HBASE_LEVEL;
use crate::shell::binary;

/// Memory for blocks while a file is read, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// Prints the version.
pub fn version(format: Format) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    match format {
        Format::Table => say(format_args!("ferrobase {version}")),
        _ => {
            say(json!({"version": version, "hbase": HBASE_LEVEL, "formats": {"hfile": "3.3", "log": 1, "manifest": 1}}))
        }
    }
}

/// Runs one `inspect`.
pub async fn run(what: &Inspect, format: Format) -> Result<(), Failure> {
    match what {
        Inspect::Hfile(flags) => hfile(flags, format).await,
        Inspect::Tree(flags) => cluster::tree(flags, format).await,
        Inspect::Manifest(flags) => cluster::manifest(flags, format).await,
        Inspect::Region(flags) => cluster::region(flags, format).await,
        Inspect::Wal(flags) => log::wal(flags, format).await,
    }
}

fn print_cell(printer: &mut Printer, cell: &Cell) -> Result<(), Failure> {
    let (row, family, qualifier) = (binary(cell.row()), binary(cell.family()), binary(cell.qualifier()));
    let (value, kind) = (binary(cell.value()), cell.cell_type().to_string());
    let (ts, seq, len) = (cell.timestamp(), cell.seqno(), cell.value().len());
    let text = format!("K: {row}/{family}:{qualifier}/{ts}/{kind}/vlen={len}/seqid={seq} V: {value}");
    printer.item("cells", &text, || {
        let column = format!("{family}:{qualifier}");
        json!({"row": row, "column": column, "timestamp": ts, "type": kind, "seqid": seq.0, "value": value})
    })
}

async fn settle(source: &mut impl CellSource, progress: storage::Result<Progress>) -> Result<(), Failure> {
    if progress? == Progress::NeedsBlock {
        source.load().await?;
    }
    Ok(())
}

async fn hfile(flags: &Hfile, format: Format) -> Result<(), Failure> {
    let target = &flags.target;
    let none = |why: String| Failure::usage(format!("TARGET {target}: {why}; the path of a store file is needed"));
    let (folder, name) = target::folder_and_name(target).ok_or_else(|| none("no file".to_owned()))?;
    let fs = flags.roots.open_existing("TARGET", folder, &Runtime::system()).await?;
    let size = match fs.size(name).await {
        Ok(size) => size.ok_or_else(|| none("there is no such file".to_owned()))?,
        Err(error) => return Err(target::failed(target, ErrorKind::from(error.kind()), error)),
    };
    let file = Arc::new(HFileReader::open(&fs, name, size, Arc::new(BlockCache::new(CACHE_BYTES))).await?);
    let mut printer = Printer::new(format);
    if flags.meta {
        for (key, value) in file.info_entries() {
            let (key, value) = (binary(key), binary(value));
            printer.item("info", &format!("{key} = {value}"), || json!({"key": key, "value": value}))?;
        }
    }
    let (mut cells, mut rows, mut key_bytes, mut value_bytes) = (0u64, 0u64, 0u64, 0u64);
    let mut last: Option<Cell> = None;
    let mut source = file.source();
    let start = flags.row.as_deref().map_or_else(|| Cell::first_on_row(b""), |row| Cell::first_on_row(row.as_bytes()));
    let progress = source.seek(&start);
    settle(&mut source, progress).await?;
    while let Some(cell) = source.cell() {
        if flags.row.as_deref().is_some_and(|row| cell.row() != row.as_bytes()) {
            break;
        }
        if flags.pairs || flags.row.is_some() {
            print_cell(&mut printer, &cell)?;
        }
        if flags.check
            && let Some(last) = &last
            && CellOrder::User.compare_keys(last.as_ref().key(), cell.as_ref().key()).is_gt()
        {
            return Err(format!("{}: cell {cell:?} stands behind {last:?}", target).into());
        }
        cells += 1;
        rows += u64::from(last.as_ref().is_none_or(|last| last.row() != cell.row()));
        key_bytes += cell.as_ref().key_len() as u64;
        value_bytes += cell.value().len() as u64;
        last = Some(cell);
        let progress = source.advance();
        settle(&mut source, progress).await?;
    }
    if flags.row.is_none() {
        file.check_extras().await?;
    }
    if flags.row.is_none() && cells != file.entry_count() {
        return Err(format!("{}: {cells} cells found, the trailer says {}", target, file.entry_count()).into());
    }
    let nothing_asked = !(flags.meta || flags.pairs || flags.check || flags.row.is_some());
    if flags.stats || nothing_asked {
        let text = format!(
            "file bytes: {size}\ncells: {cells}\nrows: {rows}\nkey bytes: {key_bytes}\nvalue bytes: {value_bytes}"
        );
        printer.item("stats", &text, || {
            json!({"file_bytes": size, "cells": cells, "rows": rows, "key_bytes": key_bytes, "value_bytes": value_bytes})
        })?;
    }
    if flags.check {
        printer.item("in_order", &format!("{cells} cells are in order"), || json!({"cells": cells}))?;
    }
    printer.end()
}
