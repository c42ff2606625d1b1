//! `fsck`: what the registers of a data root say against the files that lie there. Read-only unless `--repair` is said.

use std::sync::Arc;

use master::{CheckOptions, Checked, Finding};
use parking_lot::Mutex;
use runtime::Runtime;
use serde_json::json;
use storage::cache::BlockCache;

use crate::arguments::{Format, Fsck};
use crate::failure::Failure;
use crate::logs::Logs;
use crate::output;

/// Memory for blocks while files are read, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// Runs the check: findings one by one, then what was looked at.
pub async fn run(flags: &Fsck, format: Format) -> Result<(), Failure> {
    let runtime = Runtime::system();
    let fs = flags.roots.open_existing("--data", &flags.data, &runtime).await?;
    let options = CheckOptions { table: flags.table.clone(), deep: flags.deep, repair: flags.repair };
    // The check goes on when nobody reads; its end tells that too.
    let lost = Mutex::new(None);
    let say = |line: String| {
        if let Err(failure) = output::say(line) {
            *lost.lock() = Some(failure);
        }
    };
    let mut document = Vec::new();
    let mut tell = |finding: &Finding| {
        let Finding { kind, path, why, repaired } = finding;
        let object = || json!({"kind": kind.to_string(), "path": path, "why": why, "repaired": repaired});
        match format {
            Format::Table => say(format!("{kind}{}: {path}: {why}", if *repaired { " (deleted)" } else { "" })),
            Format::Jsonl => say(object().to_string()),
            Format::Json => document.push(object()),
        }
    };
    let logs = Logs::new(fs.clone(), &flags.data, &flags.roots, &runtime)?;
    let checked = master::check(&fs, &options, Arc::new(BlockCache::new(CACHE_BYTES)), &logs, &mut tell).await?;
    if let Some(table) = flags.table.as_ref().filter(|_| checked.tables == 0) {
        return Err(Failure::usage(format!("--table {table}: the catalog of {} names no such table", flags.data)));
    }
    let Checked { tables, regions, files, bytes, cells, findings, repaired } = checked;
    let mut summary = json!({"tables": tables, "regions": regions, "files": files, "bytes": bytes, "cells": cells,
        "findings": findings, "repaired": repaired});
    match format {
        Format::Table => {
            let read = if flags.deep { format!(", {cells} cells read") } else { String::new() };
            let repaired = if flags.repair { format!(", {repaired} deleted") } else { String::new() };
            let looked = format!("{tables} tables, {regions} regions, {files} files of {bytes} bytes{read}");
            say(format!("{looked}: {findings} findings{repaired}"));
        }
        Format::Jsonl => say(summary.to_string()),
        Format::Json => {
            summary["found"] = document.into();
            say(summary.to_string());
        }
    }
    match lost.into_inner() {
        Some(failure) => Err(failure),
        None if checked.findings > 0 => Err(Failure::failed("")),
        None => Ok(()),
    }
}
