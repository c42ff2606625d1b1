//! `inspect wal`: streams, their objects, entries.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use model::{Cell, ErrorKind};
use serde_json::{Value, json};
use storage::wal::StreamIndex;
use storage::wal::survey::{self, FoundEntry, ObjectEnd, ObjectKind, Stream, StreamObject, StreamState, Wanted};

use super::print::Printer;
use super::target::{self, LogsAt, Root};
use crate::arguments::{Format, Wal};
use crate::failure::Failure;
use crate::shell::{binary, from_binary, timestamp};

/// Looks at a stream whose objects its writer lets go while they are read.
const TRIES_MAX: usize = 3;

/// A stream's state in a word.
pub fn state_text(state: StreamState) -> &'static str {
    match state {
        StreamState::Live => "live",
        StreamState::Ended { .. } => "ended",
        StreamState::Released => "released",
        StreamState::Headless => "without head",
    }
}

fn kind_text(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Piece => "piece",
        ObjectKind::Segment => "segment",
        ObjectKind::Tail => "tail",
    }
}

/// One line for each stream of the root.
pub async fn streams(root: &Root, out: &mut Printer) -> Result<(), Failure> {
    for LogsAt { url, fs: logs, .. } in &root.logs {
        for id in survey::streams(logs).await.map_err(|error| root.failed(error))? {
            if let Some(stream) = look(root, logs, id, out).await? {
                print_stream(url, &stream, out)?;
            }
        }
    }
    Ok(())
}

/// A look at a stream; one whose head is damaged is told.
async fn look(root: &Root, logs: &Arc<dyn Filesystem>, id: u64, out: &mut Printer) -> Result<Option<Stream>, Failure> {
    match survey::look(logs, id).await {
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => {
            out.wrong(&format!("stream {id:016x}: {error}"))?;
            Ok(None)
        }
        looked => looked.map_err(|error| root.failed(error)),
    }
}

fn print_stream(url: &str, stream: &Stream, out: &mut Printer) -> Result<(), Failure> {
    let bytes: u64 = stream.objects.iter().map(|object| object.bytes).sum();
    let regions: std::collections::BTreeSet<&Bytes> =
        stream.objects.iter().flat_map(|object| object.index.regions.keys()).collect();
    let (count, regions, others) = (stream.objects.len(), regions.len(), stream.others.len());
    let state = state_text(stream.state);
    let head = if stream.head.is_empty() { "-" } else { &stream.head };
    let beside = if others > 0 { format!(", {others} objects beside it") } else { String::new() };
    let text = format!(
        "stream {:016x} {state} ({head}): {count} objects, {bytes} bytes, {regions} regions{beside}",
        stream.id
    );
    out.item("streams", &text, || {
        json!({"id": format!("{:016x}", stream.id), "root": url, "state": state, "head": stream.head, "objects": count,
            "bytes": bytes, "regions": regions, "beside": others})
    })?;
    if stream.state == StreamState::Headless {
        out.wrong(&format!("stream {:016x} has objects and no head: it cannot be opened; restore it", stream.id))?;
    }
    for object in &stream.objects {
        if let ObjectEnd::Damaged { at, why } = &object.end {
            out.wrong(&format!("{why}. file=`{}`, offset=`{at}`", object.path))?;
        }
    }
    Ok(())
}

fn index_json(index: &StreamIndex) -> Vec<Value> {
    let region = |(name, ranges): (&Bytes, &storage::wal::RegionRanges)| {
        json!({"region": binary(name), "first_seqno": ranges.min.0, "last_seqno": ranges.max.0,
            "groups": ranges.groups.len(), "bytes": ranges.groups.iter().map(|range| u64::from(range.len)).sum::<u64>()})
    };
    index.regions.iter().map(region).collect()
}

fn print_object(stream: u64, object: &StreamObject, out: &mut Printer) -> Result<(), Failure> {
    let kind = kind_text(object.kind);
    let end = match &object.end {
        ObjectEnd::Whole => String::new(),
        ObjectEnd::Torn { at } => format!(", torn or unfinished from offset {at} on: no part of the stream"),
        ObjectEnd::Damaged { at, .. } => format!(", DAMAGED at offset {at}"),
    };
    let unsure = match object.bytes - object.sure {
        0 => String::new(),
        bytes => format!(", the last {bytes} not known to be synced"),
    };
    let text = format!("  {kind} {:x} {}: {} bytes{unsure}{end}", object.number, object.path, object.bytes);
    out.item("objects", &text, || {
        let (end, at) = match &object.end {
            ObjectEnd::Whole => ("whole", None),
            ObjectEnd::Torn { at } => ("torn", Some(*at)),
            ObjectEnd::Damaged { at, .. } => ("damaged", Some(*at)),
        };
        json!({"stream": format!("{stream:016x}"), "kind": kind, "number": object.number, "path": object.path,
            "bytes": object.bytes, "sure": object.sure, "end": end, "ends_at": at, "index": index_json(&object.index)})
    })?;
    for (name, ranges) in &object.index.regions {
        let (groups, bytes) =
            (ranges.groups.len(), ranges.groups.iter().map(|range| u64::from(range.len)).sum::<u64>());
        let (first, last) = (ranges.min.0, ranges.max.0);
        out.text(&format!("    {}: seqno {first} to {last}, {groups} groups, {bytes} bytes", binary(name)))?;
    }
    Ok(())
}

fn cell_text(cell: &Cell) -> String {
    let column = format!("{}:{}", binary(cell.family()), binary(cell.qualifier()));
    let what = match cell.cell_type().is_delete() {
        true => format!("type={}", cell.cell_type()),
        false => format!("value={}", binary(cell.value())),
    };
    format!("      {} column={column}, timestamp={}, {what}", binary(cell.row()), timestamp(cell.timestamp()))
}

fn cell_json(cell: &Cell) -> Value {
    json!({"row": binary(cell.row()), "column": format!("{}:{}", binary(cell.family()), binary(cell.qualifier())),
        "timestamp": cell.timestamp(), "type": cell.cell_type().to_string(), "value": binary(cell.value())})
}

fn print_entry(path: &str, found: &FoundEntry, out: &mut Printer) -> Result<(), Failure> {
    let FoundEntry { offset, sure, entry } = found;
    let nonce = entry.nonce.map(|nonce| format!(", nonce {:x}/{:x}", nonce.group, nonce.nonce)).unwrap_or_default();
    let unsure = if *sure { "" } else { " (not known to be synced)" };
    let (region, written) = (binary(&entry.region), timestamp(entry.written_ms));
    let text = format!("    seqno {} of {region} at offset {offset}, written {written}{nonce}{unsure}", entry.seqno.0);
    out.item("entries", &text, || {
        json!({"path": path, "offset": offset, "sure": sure, "region": region, "seqno": entry.seqno.0,
            "written_ms": entry.written_ms,
            "nonce": entry.nonce.map(|nonce| format!("{:x}/{:x}", nonce.group, nonce.nonce)),
            "cells": entry.cells.iter().map(cell_json).collect::<Vec<_>>()})
    })?;
    entry.cells.iter().try_for_each(|cell| out.text(&cell_text(cell)))
}

/// What is to be looked at.
struct Meant {
    root: Root,
    stream: Option<u64>,
    /// An object of it, by its key.
    object: Option<String>,
}

async fn find(flags: &Wal) -> Result<Meant, Failure> {
    let looking = &flags.looking;
    let target = flags.target.as_deref().unwrap_or(&looking.data);
    let stream = |text: &str| (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten();
    if let Some((url, key)) = target::split(target) {
        let parts: Vec<&str> = key.split('/').collect();
        let (id, object) = match &parts[..] {
            ["ferrobase", "log", id] | ["ferrobase", "log", id, "head"] => (stream(id), None),
            ["ferrobase", "log", id, "s" | "p" | "t", _] => (stream(id), Some(key.clone())),
            _ => (None, None),
        };
        let Some(id) = id else {
            let hint = "ROOT/ferrobase/log/STREAM, or an object s/N, p/N or t/N below it, is needed";
            return Err(Failure::usage(format!("TARGET {target}: {hint}")));
        };
        return Ok(Meant { root: Root::open(looking, &url).await?, stream: Some(id), object });
    }
    if let Some(id) = stream(target) {
        return Ok(Meant { root: Root::open(looking, &looking.data).await?, stream: Some(id), object: None });
    }
    let root = Root::open(looking, target).await?;
    Ok(Meant { root, stream: None, object: None })
}

/// The region's name in the log.
async fn region_of(root: &Root, name: &str) -> Result<Bytes, Failure> {
    let survey = root.survey().await?;
    let Some((table, info)) = survey.region(&from_binary(name.as_bytes())) else {
        let hint = "a region's encoded name or its name in META is needed; `inspect tree` lists all";
        return Err(Failure::usage(format!("--region {name}: {} names no such region; {hint}", root.url)));
    };
    Ok(storage::manifest::log_name(&table.id, &info.encoded_name()).into())
}

/// `inspect wal`.
pub async fn wal(flags: &Wal, format: Format) -> Result<(), Failure> {
    let Meant { root, stream, object } = find(flags).await?;
    let mut out = Printer::new(format);
    let region = match &flags.region {
        Some(name) => Some(region_of(&root, name).await?),
        None => None,
    };
    let row = flags.row.as_deref().map(|row| from_binary(row.as_bytes()));
    let wanted = Wanted { region, row, seqnos: flags.seqno };
    let filtered = wanted.region.is_some() || wanted.row.is_some() || wanted.seqnos.is_some();
    let entries = flags.entries || filtered || object.is_some();
    let Some(id) = stream else {
        if !entries {
            // A root of logs alone has no cluster id.
            if streams_of(&root).await? == 0 {
                root.survey().await?;
            }
            streams(&root, &mut out).await?;
            return out.end();
        }
        for at in 0..root.logs.len() {
            let ids = survey::streams(&root.logs[at].fs).await.map_err(|error| root.failed(error))?;
            for id in ids {
                show(&root, at, id, None, &wanted, true, &mut out).await?;
            }
        }
        return out.end();
    };
    for at in 0..root.logs.len() {
        if show(&root, at, id, object.as_deref(), &wanted, entries, &mut out).await? {
            return out.end();
        }
    }
    if out.wrong {
        return out.end();
    }
    let hint = "`inspect wal ROOT` lists the streams";
    Err(Failure::usage(format!("{}: there is no log stream {id:016x}; {hint}", root.url)))
}

async fn streams_of(root: &Root) -> Result<usize, Failure> {
    let mut count = 0;
    for LogsAt { fs: logs, .. } in &root.logs {
        count += survey::streams(logs).await.map_err(|error| root.failed(error))?.len();
    }
    Ok(count)
}

/// Shows a stream, or one object of it; false if it is not there.
async fn show(
    root: &Root,
    at: usize,
    id: u64,
    object: Option<&str>,
    wanted: &Wanted,
    entries: bool,
    out: &mut Printer,
) -> Result<bool, Failure> {
    let LogsAt { url, fs: logs, .. } = &root.logs[at];
    let Some(mut stream) = look(root, logs, id, out).await? else { return Ok(false) };
    if let Some(key) = object
        && !stream.objects.iter().any(|object| object.path == key)
    {
        let state = state_text(stream.state);
        let why = match stream.others.iter().any(|other| other.path == key) {
            true => "it lies there and is no part of the stream: a fence, or left over",
            false => "there is no such object",
        };
        return Err(Failure::usage(format!(
            "{url}/{key}: {why}. The stream is {state}, its head says `{}`",
            stream.head
        )));
    }
    print_stream(url, &stream, out)?;
    let mut tried = 0;
    let mut number = 0;
    while let Some(found) = stream.objects.get(number) {
        number += 1;
        if object.is_some_and(|key| key != found.path) {
            continue;
        }
        print_object(id, found, out)?;
        if !entries {
            continue;
        }
        let mut read = Vec::new();
        let ended = survey::entries(logs, id, found, wanted, &mut |entry| read.push(entry)).await;
        for entry in &read {
            print_entry(&found.path, entry, out)?;
        }
        match ended {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                // Its writer may have trimmed it meanwhile.
                let path = found.path.clone();
                let now = look(root, logs, id, out).await?;
                match now {
                    Some(now) if now.head != stream.head && tried < TRIES_MAX => {
                        tried += 1;
                        out.text(&format!("    {path}: let go meanwhile"))?;
                        let behind = now.objects.iter().position(|object| object.path > path);
                        number = behind.unwrap_or(now.objects.len());
                        stream = now;
                    }
                    _ => out.wrong(&error.to_string())?,
                }
            }
            Err(error) => return Err(root.failed(error)),
        }
    }
    for other in stream.others.iter().filter(|_| object.is_none()) {
        out.text(&format!("  beside it {}: {} bytes", other.path, other.size))?;
    }
    Ok(true)
}
