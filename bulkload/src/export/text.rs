//! Cells as text: JSON Lines as `json_lines` reads them, and CSV as `records` does. No I/O.
//!
//! Always true
//! - A line of JSON has at most [`LINE_BYTES_MAX`] and the length of one cell: a longer row goes on in the next line, with its key again.
//! - CSV that is written is UTF-8, and what is read from it is what was stored; what cannot be is an error that names the row.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::{Cell, CellType};

use super::encoder::{Encoder, RowValues, column_name, shown};
use super::request::Codec;
use crate::error::{LoadError, Result};
use crate::records::RECORD_BYTES_MAX;

/// Bytes of a line of JSON after which the row goes on in the next one.
const LINE_BYTES_MAX: usize = 8 << 20;
/// Bytes that go to the packer at once.
const PACK_BYTES: usize = 64 << 10;
/// Level of Zstandard.
const ZSTD_LEVEL: i32 = 3;

/// Text, packed or not.
enum Packer {
    Plain(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Ended(Vec<u8>),
}

impl Packer {
    fn new(codec: Codec) -> Result<Packer> {
        Ok(match codec {
            Codec::Gzip => Packer::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Codec::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(failed)?;
                encoder.include_checksum(true).map_err(failed)?;
                Packer::Zstd(encoder)
            }
            // Nothing else is asked of text.
            Codec::None | Codec::Snappy | Codec::Lz4 => Packer::Plain(Vec::new()),
        })
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        match self {
            Packer::Plain(out) => out.write_all(text),
            Packer::Gzip(encoder) => encoder.write_all(text),
            Packer::Zstd(encoder) => encoder.write_all(text),
            Packer::Ended(_) => Err(std::io::Error::other("the file has ended")),
        }
        .map_err(failed)
    }

    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Packer::Plain(out) | Packer::Ended(out) => out,
            Packer::Gzip(encoder) => encoder.get_mut(),
            Packer::Zstd(encoder) => encoder.get_mut(),
        }
    }

    fn end(&mut self) -> Result<()> {
        let ended = match std::mem::replace(self, Packer::Ended(Vec::new())) {
            Packer::Plain(out) | Packer::Ended(out) => Ok(out),
            Packer::Gzip(encoder) => encoder.finish(),
            Packer::Zstd(encoder) => encoder.finish(),
        };
        *self = Packer::Ended(ended.map_err(failed)?);
        Ok(())
    }
}

fn failed(error: std::io::Error) -> LoadError {
    LoadError::Encode(error.to_string())
}

/// Text on its way to the packer.
struct Text {
    text: Vec<u8>,
    packer: Packer,
}

impl Text {
    fn new(codec: Codec) -> Result<Text> {
        Ok(Text { text: Vec::new(), packer: Packer::new(codec)? })
    }

    fn settle(&mut self) -> Result<()> {
        if self.text.len() >= PACK_BYTES { self.pack() } else { Ok(()) }
    }

    fn pack(&mut self) -> Result<()> {
        self.packer.write(&self.text)?;
        self.text.clear();
        self.text.shrink_to(2 * PACK_BYTES);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.pack()?;
        self.packer.end()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.packer.out()).into()
    }
}

/// Rows as JSON, one object a line.
pub(super) struct JsonLines {
    text: Text,
    /// The row of the open line; empty if none is open.
    row: Vec<u8>,
    /// Bytes of the open line that the packer has, or will have.
    line_bytes: usize,
    column: Vec<u8>,
}

impl JsonLines {
    pub fn new(codec: Codec) -> Result<JsonLines> {
        Ok(JsonLines { text: Text::new(codec)?, row: Vec::new(), line_bytes: 0, column: Vec::new() })
    }

    fn end_line(&mut self) {
        if !self.row.is_empty() {
            self.text.text.extend_from_slice(b"]}\n");
            self.row.clear();
        }
    }
}

impl Encoder for JsonLines {
    fn append(&mut self, cell: &Cell) -> Result<()> {
        if self.row != cell.row() || self.line_bytes >= LINE_BYTES_MAX {
            self.end_line();
        }
        let out = &mut self.text.text;
        let before = out.len();
        if self.row.is_empty() {
            self.line_bytes = 0;
            self.row.extend_from_slice(cell.row());
            out.extend_from_slice(b"{\"row\":");
            json_bytes(cell.row(), out);
            out.extend_from_slice(b",\"cells\":[");
        } else {
            out.push(b',');
        }
        self.column.clear();
        column_name(cell.family(), cell.qualifier(), &mut self.column);
        out.extend_from_slice(b"{\"column\":");
        json_bytes(&self.column, out);
        write!(out, ",\"timestamp\":{},\"type\":\"{}\"", cell.timestamp(), cell.cell_type()).map_err(failed)?;
        if cell.cell_type() == CellType::PUT {
            out.extend_from_slice(b",\"value\":");
            json_bytes(cell.value(), out);
        }
        out.push(b'}');
        self.line_bytes += out.len() - before;
        self.text.settle()
    }

    fn held(&self) -> usize {
        self.text.text.len()
    }

    fn flush(&mut self) -> Result<()> {
        self.text.pack()
    }

    fn ready(&mut self) -> usize {
        self.text.packer.out().len()
    }

    fn take(&mut self) -> Bytes {
        self.text.take()
    }

    fn end(&mut self) -> Result<()> {
        self.end_line();
        self.text.end()
    }
}

/// Text as a JSON string, unless that is longer than base64, for control characters take six bytes each; what is no text as base64.
fn json_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let encoded_len = bytes.len().div_ceil(3) * 4;
    if let Ok(text) = std::str::from_utf8(bytes) {
        let long = bytes.iter().filter(|byte| **byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 8 | 12)).count();
        if bytes.len() + 5 * long <= encoded_len + 10 {
            serde_json::to_writer(&mut *out, text).expect("writing to memory does not fail");
            return;
        }
    }
    out.extend_from_slice(b"{\"b64\":\"");
    let from = out.len();
    out.resize(from + encoded_len, 0);
    STANDARD.encode_slice(bytes, &mut out[from..]).expect("there is room for all of it");
    out.extend_from_slice(b"\"}");
}

/// A header, and a line for each row.
pub(super) struct Csv {
    text: Text,
    values: RowValues,
    rules: csv_core::Writer,
}

impl Csv {
    pub fn new(codec: Codec, fields: Vec<(Bytes, Bytes)>) -> Result<Csv> {
        let mut csv = Csv { text: Text::new(codec)?, values: RowValues::new(fields), rules: csv_core::Writer::new() };
        let out = &mut csv.text.text;
        out.extend_from_slice(b"HBASE_ROW_KEY");
        for (family, qualifier) in csv.values.fields() {
            let mut name = Vec::new();
            column_name(family, qualifier, &mut name);
            out.push(b',');
            quoted(&csv.rules, &name, out);
        }
        out.push(b'\n');
        Ok(csv)
    }

    fn end_row(&mut self) -> Result<()> {
        let RowValues { row, values, bytes, .. } = &self.values;
        if row.is_empty() {
            return Ok(());
        }
        let refused = |what: &str| {
            let why = format!("{what}; --output jsonl and parquet hold it");
            Err(LoadError::Row { why, row: shown(row) })
        };
        // Quotes at most double it.
        if bytes.saturating_mul(2) > RECORD_BYTES_MAX {
            return refused("the row is too long for a line of CSV");
        }
        if std::str::from_utf8(row).is_err() {
            return refused("the row key is not UTF-8, which CSV cannot hold");
        }
        let out = &mut self.text.text;
        quoted(&self.rules, row, out);
        for (value, (family, qualifier)) in values.iter().zip(self.values.fields()) {
            out.push(b',');
            let Some(value) = value else { continue };
            if std::str::from_utf8(value).is_err() {
                let (family, qualifier) = (family.escape_ascii(), qualifier.escape_ascii());
                return refused(&format!("the value of `{family}:{qualifier}` is not UTF-8, which CSV cannot hold"));
            }
            quoted(&self.rules, value, out);
        }
        out.push(b'\n');
        self.values.clear();
        self.text.settle()
    }
}

impl Encoder for Csv {
    fn append(&mut self, cell: &Cell) -> Result<()> {
        if !self.values.continues(cell) {
            self.end_row()?;
        }
        self.values.take(cell);
        Ok(())
    }

    fn held(&self) -> usize {
        self.text.text.len() + self.values.bytes
    }

    fn flush(&mut self) -> Result<()> {
        self.text.pack()
    }

    fn ready(&mut self) -> usize {
        self.text.packer.out().len()
    }

    fn take(&mut self) -> Bytes {
        self.text.take()
    }

    fn end(&mut self) -> Result<()> {
        self.end_row()?;
        self.text.end()
    }
}

/// A field, in quotes where that is needed; an empty one in quotes too, so that readers can tell it from one that is not there.
fn quoted(rules: &csv_core::Writer, field: &[u8], out: &mut Vec<u8>) {
    // Spaces at the ends are taken off by some readers.
    let spaced =
        field.first().is_some_and(u8::is_ascii_whitespace) || field.last().is_some_and(u8::is_ascii_whitespace);
    if !field.is_empty() && !spaced && !rules.should_quote(field) {
        out.extend_from_slice(field);
        return;
    }
    out.push(b'"');
    let from = out.len();
    out.resize(from + 2 * field.len(), 0);
    let (_, _, written) = csv_core::quote(field, &mut out[from..], b'"', b'\\', true);
    out.truncate(from + written);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::columns::Columns;
    use crate::json_lines;
    use crate::records::{Format, Next, Records, unpacked};
    use proptest::prelude::*;

    fn encode(mut encoder: impl Encoder, cells: &[Cell]) -> Vec<u8> {
        let mut out = Vec::new();
        for cell in cells {
            encoder.append(cell).expect("appended");
            out.extend(encoder.take());
        }
        encoder.end().expect("ended");
        out.extend(encoder.take());
        assert_eq!((encoder.held(), encoder.ready()), (0, 0));
        out
    }

    fn records(text: Vec<u8>, format: Format) -> Records {
        Records::new(unpacked(Box::new(std::io::Cursor::new(text))).expect("unpacked"), format)
    }

    fn put(row: &str, qualifier: &str, value: &[u8]) -> Cell {
        Cell::put(row.as_bytes(), b"f", qualifier.as_bytes(), 7, value).expect("a cell")
    }

    #[test]
    fn json_lines_are_these() {
        let gone = Cell::new(b"r\xff", b"f", b"", 9, CellType::DELETE_FAMILY, b"").expect("a cell");
        let cells = [put("r", "q", b"v\n\""), put("r", "x", b"\xff\x00"), put("s", "", b""), gone];
        let text = String::from_utf8(encode(JsonLines::new(Codec::None).expect("new"), &cells)).expect("text");
        let wanted = [
            r#"{"row":"r","cells":[{"column":"f:q","timestamp":7,"type":"Put","value":"v\n\""},{"column":"f:x","timestamp":7,"type":"Put","value":{"b64":"/wA="}}]}"#,
            r#"{"row":"s","cells":[{"column":"f:","timestamp":7,"type":"Put","value":""}]}"#,
            r#"{"row":{"b64":"cv8="},"cells":[{"column":"f:","timestamp":9,"type":"DeleteFamily"}]}"#,
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_long_row_goes_on_in_the_next_line_and_every_line_can_be_loaded() {
        // NULs are text, of which each would take six bytes.
        let value = vec![0; 3 << 20];
        let cells: Vec<Cell> = (0..9).map(|at| put("r", &at.to_string(), &value)).collect();
        let mut lines = records(encode(JsonLines::new(Codec::Gzip).expect("new"), &cells), Format::JsonLines);
        let (mut read, mut n_lines) = (Batch::default(), 0);
        while lines.advance().expect("read") == Next::Record {
            json_lines::cells(lines.raw(), 0, &mut read).expect("a line");
            read.end_record();
            n_lines += 1;
        }
        let read = read.to_cells();
        assert!(read == cells && (3..9).contains(&n_lines), "{} cells, {n_lines} lines", read.len());
    }

    #[test]
    fn csv_is_this() {
        let fields = ["a", "b,"].map(|qualifier| (Bytes::from("f"), Bytes::from(qualifier))).to_vec();
        let cells = [put("r", "a", b""), put("r", "b,", b"x\"y\nz"), put("s", "a", b"new"), put("s", "a", b"old")];
        let text = encode(Csv::new(Codec::None, fields.clone()).expect("new"), &cells);
        let wanted = "HBASE_ROW_KEY,f:a,\"f:b,\"\nr,\"\",\"x\"\"y\nz\"\ns,new,\n";
        assert_eq!(String::from_utf8(text).expect("text"), wanted);
        for (cell, why) in [
            (put("r", "a", b"\xff"), "`f:a` is not UTF-8"),
            (Cell::put(b"\xff", b"f", b"a", 1, b"").expect("a cell"), "row key is not UTF-8"),
            (put("r", "a", &vec![b'x'; 17 << 20]), "too long"),
        ] {
            let mut csv = Csv::new(Codec::None, fields.clone()).expect("new");
            csv.append(&cell).expect("taken");
            let error = csv.end().expect_err("refused").to_string();
            assert!(error.contains(why) && error.contains("--output jsonl"), "{error}");
        }
    }

    fn any_cell() -> impl Strategy<Value = Cell> {
        let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "\\PC{0,20}".prop_map(String::into_bytes)];
        let kinds = [CellType::PUT, CellType::DELETE, CellType::DELETE_COLUMN].to_vec();
        let kind = prop::sample::select(kinds);
        (prop::collection::vec(any::<u8>(), 1..5), bytes.clone(), 0..9_i64, kind, bytes).prop_map(
            |(row, qualifier, time, kind, value)| {
                let value = if kind == CellType::PUT { &value[..] } else { &[] };
                Cell::new(&row, b"f", &qualifier, time, kind, value).expect("a cell")
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_as_json_is_read_back(cells in prop::collection::vec(any_cell(), 0..30), codec in 0..3_usize) {
            let codec = [Codec::None, Codec::Gzip, Codec::Zstd][codec];
            let mut lines = records(encode(JsonLines::new(codec).expect("new"), &cells), Format::JsonLines);
            let mut read = Batch::default();
            while lines.advance().expect("read") == Next::Record {
                json_lines::cells(lines.raw(), 0, &mut read).expect("a line");
                read.end_record();
            }
            prop_assert_eq!(read.to_cells(), cells);
        }

        #[test]
        fn what_is_written_as_csv_is_read_back(rows in prop::collection::btree_map("\\PC{1,5}|[\"\n\r, a]{1,5}", ("\\PC{0,9}|[\"\n\r, a]{0,9}", "[\"\n\r, a]{0,9}"), 0..20)) {
            let cells: Vec<Cell> = rows.iter()
                .flat_map(|(row, (a, b))| [put(row, "a", a.as_bytes()), put(row, "b", b.as_bytes())])
                .collect();
            let fields = ["a", "b"].map(|qualifier| (Bytes::from("f"), Bytes::from(qualifier))).to_vec();
            let mut lines = records(encode(Csv::new(Codec::Zstd, fields).expect("new"), &cells), Format::Csv(b','));
            let columns = Columns::parse("HBASE_ROW_KEY,f:a,f:b").expect("columns");
            prop_assert_eq!(lines.advance().expect("read"), Next::Record);
            prop_assert!(columns.is_header(lines.fields()));
            let mut read = Batch::default();
            while lines.advance().expect("read") == Next::Record {
                columns.cells(lines.fields(), 7, &mut read).expect("a record");
                read.end_record();
            }
            prop_assert_eq!(read.to_cells(), cells);
        }
    }
}
