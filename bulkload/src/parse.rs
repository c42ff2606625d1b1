//! From files of any kind to cells, one file after the other, on the thread that calls.
//!
//! Always true
//! - A bad record is counted, told with its place, and kept for the file of rejects; none of its cells is.
//! - A damaged file ends the reading with its name and the place of the damage.

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::columns::Columns;
use crate::error::{LoadError, Result};
use crate::export::partition::NULL;
use crate::json_lines;
use crate::parquet_file::{self, ParquetFile, RandomRead};
use crate::records::{self, Next, Records, unpacked};
use crate::report::Progress;
use crate::sequence_file::SequenceFile;

/// Bytes of cells that go from the parser to the sorter at once.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of most records' cells.
const RECORD_BYTES: usize = 16 << 10;

/// Opens a file that is read from its beginning to its end.
pub type OpenStream = Box<dyn FnOnce() -> std::io::Result<Box<dyn Read + Send>> + Send>;
/// Opens a file that is read at any place.
pub type OpenRandom = Box<dyn FnOnce() -> std::io::Result<Arc<dyn RandomRead>> + Send>;

/// How an input is opened when its turn comes.
pub enum Open {
    /// From its beginning to its end.
    Stream(OpenStream),
    /// At any place.
    Random(OpenRandom),
}

/// An input file.
pub struct Input {
    /// What people call it.
    pub name: String,
    /// Bytes as it lies on storage.
    pub bytes: u64,
    /// Columns that its folders tell: name and value, nothing for null.
    pub partitions: Vec<(String, Option<String>)>,
    /// Opens it.
    pub open: Open,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The column that a folder's name `key=value` tells, as Hive and Spark write them; nothing for other names, and for those that are not UTF-8
/// when their escapes are undone.
pub fn partition(folder: &str) -> Option<(String, Option<String>)> {
    let (key, value) = folder.split_once('=')?;
    let text = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8().ok().map(|text| text.into_owned());
    let value = if value == NULL { None } else { Some(text(value)?) };
    Some((text(key)?, value))
}

/// How the files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As text.
    Text(records::Format),
    /// As HBase's Export writes them.
    SequenceFile,
    /// As Parquet; what is read of them at once, and values.
    Parquet(parquet_file::Settings),
}

/// How records become cells.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How the files are written.
    pub format: Format,
    /// What stands where; of files with fields.
    pub columns: Option<Columns>,
    /// Timestamp of cells that bring none, in milliseconds.
    pub timestamp_ms: i64,
    /// Most bad records.
    pub rejects_max: u64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Records.
    pub records: u64,
    /// Of these, bad ones.
    pub rejected: u64,
    /// Cells.
    pub cells: u64,
    /// Whether any cell has tags.
    pub has_tags: bool,
}

/// Counts bytes of an input as they are read.
struct Counted {
    file: Box<dyn Read + Send>,
    progress: Arc<dyn Progress>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read(out)?;
        self.progress.done(n as u64);
        Ok(n)
    }
}

/// A bad record.
struct Bad<'a> {
    why: String,
    file: &'a str,
    /// What its place is counted in.
    unit: &'static str,
    at: u64,
    /// As it stands in a text.
    text: Option<&'a [u8]>,
    /// Its row, if there is no text and as far as it is known.
    row: &'a [u8],
}

/// Cells on their way to the sorter.
struct Sink {
    /// Of the table; cells of others make a record bad.
    families: Vec<Bytes>,
    rejects: Option<Box<dyn Write + Send>>,
    rejects_max: u64,
    batches: mpsc::Sender<Batch>,
    batch: Batch,
    done: ReadCounts,
}

impl Sink {
    /// Ends a record, whose cells were added or which is bad. False: nobody takes cells any more.
    fn settle<'a>(
        &mut self,
        added: std::result::Result<(), String>,
        bad: impl FnOnce(String) -> Bad<'a>,
    ) -> Result<bool> {
        self.done.records += 1;
        match added.and_then(|()| self.look()) {
            Ok((cells, has_tags)) => {
                self.done.cells += cells;
                self.done.has_tags |= has_tags;
                self.batch.end_record();
            }
            Err(why) => {
                self.batch.drop_record();
                self.reject(&bad(why))?;
            }
        }
        Ok(self.batch.bytes() < BATCH_BYTES || self.send())
    }

    /// How many cells a record has, and whether one of them has tags.
    fn look(&self) -> std::result::Result<(u64, bool), String> {
        let (mut cells, mut has_tags) = (0, false);
        for cell in self.batch.open_record() {
            if !self.families.iter().any(|family| family == cell.family()) {
                return Err(format!("the table has no family `{}`", cell.family().escape_ascii()));
            }
            cells += 1;
            has_tags |= !cell.tags().is_empty();
        }
        Ok((cells, has_tags))
    }

    fn reject(&mut self, bad: &Bad<'_>) -> Result<()> {
        let Bad { why, file, unit, at, text, row } = bad;
        self.done.rejected += 1;
        tracing::warn!(file, unit, at, why, "bad record");
        if let Some(rejects) = &mut self.rejects {
            let written = match text {
                Some(text) => rejects.write_all(text).and_then(|()| rejects.write_all(b"\n")),
                None => {
                    let row = match std::str::from_utf8(row) {
                        Ok(row) => serde_json::json!(row),
                        Err(_) => serde_json::json!({"b64": STANDARD.encode(row)}),
                    };
                    writeln!(rejects, "{}", serde_json::json!({"row": row, "file": file, *unit: at, "reason": why}))
                }
            };
            written.map_err(unwritten)?;
        }
        if self.done.rejected > self.rejects_max {
            let (count, max, file) = (self.done.rejected, self.rejects_max, (*file).to_owned());
            return Err(LoadError::TooManyRejects { count, max, why: why.clone(), file, unit, at: *at });
        }
        Ok(())
    }

    fn send(&mut self) -> bool {
        let full = std::mem::replace(&mut self.batch, Batch::with_capacity(BATCH_BYTES + RECORD_BYTES));
        self.batches.blocking_send(full).is_ok()
    }
}

fn unwritten(error: std::io::Error) -> LoadError {
    LoadError::Input { what: "write", why: error.to_string(), file: "--reject".to_owned() }
}

/// Reads files and sends their cells in batches. Ends early if nobody takes them.
///
/// # Errors
/// A file cannot be read or is damaged, or too many records are bad.
pub fn run(
    inputs: Vec<Input>,
    reading: Reading,
    families: Vec<Bytes>,
    rejects: Option<Box<dyn Write + Send>>,
    progress: Arc<dyn Progress>,
    batches: mpsc::Sender<Batch>,
) -> Result<ReadCounts> {
    let (batch, done, rejects_max) = (Batch::default(), ReadCounts::default(), reading.rejects_max);
    let sink = Sink { families, rejects, rejects_max, batches, batch, done };
    let mut parser = Parser { reading, progress, sink };
    for input in inputs {
        let Input { name, partitions, open, .. } = input;
        let goes_on = match parser.reading.format {
            Format::Text(format) => parser.text(&name, open, format)?,
            Format::SequenceFile => parser.sequence_file(&name, open)?,
            Format::Parquet(settings) => parser.parquet(&name, &partitions, open, settings)?,
        };
        if !goes_on {
            return Ok(parser.sink.done);
        }
    }
    let mut sink = parser.sink;
    sink.send();
    if let Some(rejects) = &mut sink.rejects {
        rejects.flush().map_err(unwritten)?;
    }
    Ok(sink.done)
}

struct Parser {
    reading: Reading,
    progress: Arc<dyn Progress>,
    sink: Sink,
}

fn unread(name: &str) -> impl Fn(std::io::Error) -> LoadError {
    move |error| match error.downcast::<filesystem::Error>() {
        Ok(error) => LoadError::Filesystem(error),
        Err(error) => LoadError::Input { what: "read", why: error.to_string(), file: name.to_owned() },
    }
}

impl Parser {
    fn stream(&self, name: &str, open: Open) -> Result<Box<dyn Read + Send>> {
        let file: Box<dyn Read + Send> = match open {
            Open::Stream(open) => open().map_err(unread(name))?,
            Open::Random(open) => Box::new(parquet_file::Stream::new(open().map_err(unread(name))?)),
        };
        Ok(Box::new(Counted { file, progress: self.progress.clone() }))
    }

    fn text(&mut self, name: &str, open: Open, format: records::Format) -> Result<bool> {
        let text = unpacked(self.stream(name, open)?).map_err(unread(name))?;
        let mut records = Records::new(text, format);
        let mut is_first = true;
        loop {
            let added = match records.advance().map_err(unread(name))? {
                Next::End => return Ok(true),
                // The header of an export.
                Next::Record if std::mem::take(&mut is_first) && self.is_header(name, &records)? => continue,
                Next::TooLong => Err("the record is too long".to_owned()),
                Next::Unclosed => Err("a quote is opened here and not closed before the end of the file".to_owned()),
                Next::Record => self.take(&records),
            };
            let text = Some(records.raw());
            let bad = |why| Bad { why, file: name, unit: "line", at: records.line(), text, row: &[] };
            if !self.sink.settle(added, bad)? {
                return Ok(false);
            }
        }
    }

    /// Whether the first record is the header of an export.
    fn is_header(&self, name: &str, records: &Records) -> Result<bool> {
        let Some(columns) = &self.reading.columns else { return Ok(false) };
        if columns.is_header(records.fields()) {
            return Ok(true);
        }
        match records.fields().next() {
            Some(b"HBASE_ROW_KEY") => {
                let names = String::from_utf8_lossy(records.raw()).into_owned();
                let why = format!("{name}: its first line says that its columns are {names}: say so with --columns");
                Err(LoadError::Usage(why))
            }
            _ => Ok(false),
        }
    }

    fn take(&mut self, records: &Records) -> std::result::Result<(), String> {
        let at = self.reading.timestamp_ms;
        match &self.reading.columns {
            Some(columns) => columns.cells(records.fields(), at, &mut self.sink.batch),
            None => json_lines::cells(records.raw(), at, &mut self.sink.batch),
        }
    }

    fn sequence_file(&mut self, name: &str, open: Open) -> Result<bool> {
        let damaged = |damage: crate::sequence_file::Damage| LoadError::Damaged {
            why: damage.why,
            file: name.to_owned(),
            offset: damage.offset,
        };
        let mut file = SequenceFile::open(self.stream(name, open)?).map_err(damaged)?;
        while file.advance().map_err(damaged)? {
            let added = file.cells(&mut self.sink.batch);
            let bad = |why| Bad { why, file: name, unit: "offset", at: file.offset(), text: None, row: file.row() };
            if !self.sink.settle(added, bad)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn parquet(
        &mut self,
        name: &str,
        partitions: &[(String, Option<String>)],
        open: Open,
        settings: parquet_file::Settings,
    ) -> Result<bool> {
        let Open::Random(open) = open else {
            let why = "Parquet is read from several places of a file, and this can only be read from its beginning";
            return Err(LoadError::Usage(format!("{name}: {why}; save it to a file first")));
        };
        let file = open().map_err(unread(name))?;
        let columns = self.reading.columns.as_ref();
        let progress = self.progress.clone();
        let mut file = ParquetFile::open(name, file, progress, columns, partitions, settings)?;
        let at = self.reading.timestamp_ms;
        while let Some(batch) = file.next_batch()? {
            let mut rows = file.rows(&batch)?;
            for place in 0..batch.len() {
                let added = rows.cells(place, at, &mut self.sink.batch);
                let number = batch.number(place);
                let bad = |why| Bad { why, file: name, unit: "record", at: number, text: None, row: rows.row() };
                if !self.sink.settle(added, bad)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
