use std::io::{Cursor, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bulkload::batch::Batch;
use bulkload::columns::Columns;
use bulkload::json_lines;
use bulkload::records::{Format, Next, Records, unpacked};
use model::{Cell, CellType, SeqNo};

/// Separators, quotes and ends of lines.
pub(crate) const CSV_WORDS: &[&[u8]] = &[
    b",",
    b"\t",
    b"|",
    b";",
    b"\"",
    b"\"\"",
    b"\r\n",
    b"\n",
    b"\r",
    b"\xef\xbb\xbf",
    b"HBASE_ROW_KEY",
    b"HBASE_TS_KEY",
    b"f:q",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"9223372036854775807",
    b"-1",
];
/// What a line of JSON is made of.
pub(crate) const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"row\":",
    b"\"cells\":",
    b"\"column\":",
    b"\"timestamp\":",
    b"\"type\":",
    b"\"value\":",
    b"\"b64\":",
    b"\"Put\"",
    b"\"DeleteFamily\"",
    b"\"f:q\"",
    b"null",
    b"1e999",
    b"9223372036854775807",
    b"\\u0000",
    b"\\ud800",
    b"\"\"",
    b"[[[[",
    b"\n",
];
/// Most unpacked text that is looked at: a few bytes of zstd stand for gigabytes.
const TEXT_BYTES_MAX: u64 = 8 << 20;
const DEFAULT_MS: i64 = 7;

struct Kept {
    line: u64,
    raw: Vec<u8>,
    fields: Vec<Vec<u8>>,
}

/// Shows each record up to the first that is none, and answers what that is; an error of packed input ends them too.
fn records(text: Box<dyn Read + Send>, format: Format, each: &mut dyn FnMut(&Records)) -> Option<Next> {
    let mut records = Records::new(text, format);
    loop {
        match records.advance() {
            Ok(Next::Record) => each(&records),
            other => return other.ok(),
        }
    }
}

fn kept(records: &Records) -> Kept {
    let fields = records.fields().map(<[u8]>::to_vec).collect();
    Kept { line: records.line(), raw: records.raw().to_vec(), fields }
}

fn plain(text: &[u8]) -> Box<dyn Read + Send> {
    Box::new(Cursor::new(text.to_vec()))
}

fn unpack(text: &[u8]) -> Option<Box<dyn Read + Send>> {
    Some(Box::new(unpacked(plain(text)).ok()?.take(TEXT_BYTES_MAX)))
}

fn is_packed(text: &[u8]) -> bool {
    text.starts_with(b"\x1f\x8b") || text.starts_with(b"\x28\xb5\x2f\xfd")
}

/// What every cell of a record must be.
fn check(cells: &[Cell], row: &[u8]) {
    for cell in cells {
        let parsed = Cell::parse(cell.bytes().clone(), SeqNo::ZERO);
        assert!(parsed.is_ok(), "a cell that is none: {parsed:?}");
        assert_eq!(cell.row(), row);
        assert!((0..i64::MAX).contains(&cell.timestamp()), "the timestamp {}", cell.timestamp());
        assert!(model::schema::check_family(cell.family()).is_ok(), "the family {:?}", cell.family());
    }
}

/// A batch with a record that stays.
fn before() -> Batch {
    let mut batch = Batch::default();
    batch.add(b"before", b"f", b"", 1, CellType::PUT, b"", &[]).expect("a cell");
    batch.end_record();
    batch
}

/// A file with fields. The first byte says how they are separated (tab, `|`: TSV; `,`, `;`: CSV; `#`: the rest is a list of columns).
///
/// No panic, bounded memory. Records stand in the text in order, with the number of their line. Fields of TSV are what lies between the
/// separators of a line; those of CSV, all put in quotes, are read as the same records. A record becomes cells with its row and values, or an
/// error and none.
pub fn csv(data: &[u8]) {
    let Some((first, text)) = data.split_first() else { return };
    let format = match first {
        b'\t' | b'|' => Format::Tsv(*first),
        b';' => Format::Csv(b';'),
        b'#' => {
            if let Ok(columns) =
                std::str::from_utf8(text).map_err(|_| ()).and_then(|text| Columns::parse(text).map_err(drop))
            {
                assert!(!columns.families().is_empty());
            }
            return;
        }
        _ => Format::Csv(b','),
    };
    let lists = ["HBASE_ROW_KEY,f:a,HBASE_TS_KEY,f:b,g", "f:a,HBASE_ROW_KEY,HBASE_CELL_TTL,f:b"]
        .map(|list| Columns::parse(list).expect("columns"));
    let (mut out, rows) = (before(), [0, 1]);
    let (mut found, keep) = (Vec::new(), !is_packed(text));
    let mut cells = |records: &Records| {
        for (columns, row) in lists.iter().zip(rows) {
            if columns.cells(records.fields(), DEFAULT_MS, &mut out).is_ok() {
                check(&out.to_cells()[1..], records.fields().nth(row).expect("a row"));
            }
            out.drop_record();
            assert_eq!(out.len(), 1, "cells of a record that was dropped");
        }
        found.extend(keep.then(|| kept(records)));
    };
    let Some(unpacked) = unpack(text) else { return };
    let end = records(unpacked, format, &mut cells);
    if keep {
        let mut at = 0;
        for record in &found {
            at += text[at..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            assert!(text[at..].starts_with(&record.raw), "no record of the text: {:?}", record.raw.escape_ascii());
            let line = 1 + text[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
            assert_eq!(record.line, line, "the line of {:?}", record.raw.escape_ascii());
            at += record.raw.len();
        }
        if let Format::Tsv(separator) = format {
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            let lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| !line.is_empty());
            let lines: Vec<Vec<&[u8]>> = lines.map(|line| line.split(|byte| *byte == separator).collect()).collect();
            let fields: Vec<Vec<&[u8]>> =
                found.iter().map(|record| record.fields.iter().map(Vec::as_slice).collect()).collect();
            assert!(fields == lines && end == Some(Next::End), "{fields:?} in place of {lines:?}");
        }
    }
    if let Format::Csv(separator) = format {
        let mut quoted = Vec::new();
        for record in &found {
            for (at, field) in record.fields.iter().enumerate() {
                quoted.extend((at > 0).then_some(separator));
                quoted.push(b'"');
                field.iter().for_each(|byte| quoted.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"'))));
                quoted.push(b'"');
            }
            quoted.push(b'\n');
        }
        let mut again: Vec<Kept> = Vec::new();
        records(plain(&quoted), format, &mut |records| again.push(kept(records)));
        let same = again.len() == found.len() && again.iter().zip(&found).all(|(a, b)| a.fields == b.fields);
        assert!(same, "other records when their fields are put in quotes: {:?}", quoted.escape_ascii());
    }
}

/// JSON Lines.
///
/// No panic, bounded memory. A line becomes cells of one row, or an error and none; the cells written as a line again are the same cells.
pub fn json(data: &[u8]) {
    let Some(text) = unpack(data) else { return };
    let mut out = before();
    records(text, Format::JsonLines, &mut |records| {
        let read = json_lines::cells(records.raw(), DEFAULT_MS, &mut out);
        let cells = out.to_cells().split_off(1);
        out.drop_record();
        assert_eq!(out.len(), 1, "cells of a line that was dropped");
        let (Ok(()), Some(first)) = (read, cells.first()) else { return };
        check(&cells, first.row());
        let line = line(&cells);
        let mut again = Batch::default();
        json_lines::cells(line.as_bytes(), DEFAULT_MS, &mut again).unwrap_or_else(|why| panic!("{line}: {why}"));
        assert!(again.to_cells() == cells, "other cells when written again: {line}");
    });
}

fn line(cells: &[Cell]) -> String {
    let b64 = |bytes: &[u8]| serde_json::json!({ "b64": STANDARD.encode(bytes) });
    let cell = |cell: &Cell| {
        let kind = match cell.cell_type() {
            CellType::PUT => "Put",
            CellType::DELETE => "Delete",
            CellType::DELETE_COLUMN => "DeleteColumn",
            CellType::DELETE_FAMILY => "DeleteFamily",
            CellType::DELETE_FAMILY_VERSION => "DeleteFamilyVersion",
            other => panic!("a cell of type {other:?}"),
        };
        let mut object = serde_json::json!({
            "column": b64(&[cell.family(), b":", cell.qualifier()].concat()),
            "timestamp": cell.timestamp(),
            "type": kind,
        });
        match cell.cell_type() {
            CellType::PUT => object["value"] = b64(cell.value()),
            _ => assert!(cell.value().is_empty(), "a delete has a value"),
        }
        object
    };
    let row = b64(cells.first().map_or(b"", |cell| cell.row()));
    serde_json::json!({ "row": row, "cells": cells.iter().map(cell).collect::<Vec<_>>() }).to_string()
}
