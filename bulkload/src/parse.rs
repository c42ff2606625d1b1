//! From files of any kind to cells, one file after the other, on the thread that calls; parts of a text whose records are lines are parsed by
//! others side by side.
//!
//! Always true
//! - Cells come in the order of the files, and of the records in a file.
//! - A bad record is counted, told with its place, and kept for the file of rejects; none of its cells is.
//! - A damaged file ends the reading with its name and the place of the damage.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use storage::region::CELL_BYTES_MAX;
use tokio::sync::mpsc;

use crate::batch::Batch;
use crate::columns::Columns;
use crate::error::{LoadError, Result};
use crate::export::partition::NULL;
use crate::json_lines;
use crate::parquet_file::{self, ParquetFile, RandomRead};
use crate::records::{self, Next, Part, Parts, Records, unpacked};
use crate::report::Progress;
use crate::sequence_file::SequenceFile;

/// Bytes of cells that go from the parser to the sorter at once.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of most records' cells.
const RECORD_BYTES: usize = 16 << 10;
/// Parts of a text parsed at the same time, at most: more than sorting keeps up with would wait.
const PARTS_MAX: usize = 8;

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

/// Where batches and bad records go.
trait Out {
    /// False: nobody takes cells any more.
    fn batch(&mut self, batch: Batch) -> bool;
    /// The same; `count` bad records were met until now.
    fn reject(&mut self, bad: &Bad<'_>, count: u64) -> Result<bool>;
}

/// To the sorter, and to the file of rejects.
struct Sorting {
    batches: mpsc::Sender<Batch>,
    rejects: Option<Box<dyn Write + Send>>,
    rejects_max: u64,
}

impl Out for Sorting {
    fn batch(&mut self, batch: Batch) -> bool {
        self.batches.blocking_send(batch).is_ok()
    }

    fn reject(&mut self, bad: &Bad<'_>, count: u64) -> Result<bool> {
        let Bad { why, file, unit, at, text, row } = bad;
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
        if count > self.rejects_max {
            let (max, file) = (self.rejects_max, (*file).to_owned());
            return Err(LoadError::TooManyRejects { count, max, why: why.clone(), file, unit, at: *at });
        }
        Ok(true)
    }
}

/// What comes of a part of a text.
enum Piece {
    Batch(Batch),
    Bad { why: String, line: u64, text: Vec<u8> },
    Ended(Result<ReadCounts>),
}

/// To the thread that has the part parsed.
struct Handing(SyncSender<Piece>);

impl Out for Handing {
    fn batch(&mut self, mut batch: Batch) -> bool {
        batch.shrink();
        self.0.send(Piece::Batch(batch)).is_ok()
    }

    fn reject(&mut self, bad: &Bad<'_>, _count: u64) -> Result<bool> {
        let text = bad.text.unwrap_or_default().to_vec();
        Ok(self.0.send(Piece::Bad { why: bad.why.clone(), line: bad.at, text }).is_ok())
    }
}

/// Cells on their way to the sorter.
struct Sink<O> {
    /// Of the table; cells of others make a record bad.
    families: Arc<[Bytes]>,
    out: O,
    batch: Batch,
    done: ReadCounts,
}

impl<O: Out> Sink<O> {
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
                self.done.rejected += 1;
                if !self.out.reject(&bad(why), self.done.rejected)? {
                    return Ok(false);
                }
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
            let bytes = cell.as_bytes().len();
            if bytes > CELL_BYTES_MAX {
                let column = [cell.family(), b":", cell.qualifier()].concat();
                let column = column.escape_ascii();
                return Err(format!(
                    "the cell of `{column}` has {bytes} bytes, and may have {CELL_BYTES_MAX} as with puts"
                ));
            }
            cells += 1;
            has_tags |= !cell.tags().is_empty();
        }
        Ok((cells, has_tags))
    }

    fn send(&mut self) -> bool {
        let full = std::mem::replace(&mut self.batch, Batch::with_capacity(BATCH_BYTES + RECORD_BYTES));
        self.out.batch(full)
    }
}

fn unwritten(error: std::io::Error) -> LoadError {
    LoadError::Input { what: "write", why: error.to_string(), file: "--reject".to_owned() }
}

/// Reads files and sends their cells in batches; so many parts of one are parsed at the same time. Ends early if nobody takes cells.
///
/// # Errors
/// A file cannot be read or is damaged, or too many records are bad.
pub fn run(
    inputs: Vec<Input>,
    reading: &Reading,
    families: Vec<Bytes>,
    parallel: usize,
    rejects: Option<Box<dyn Write + Send>>,
    progress: Arc<dyn Progress>,
    batches: mpsc::Sender<Batch>,
) -> Result<ReadCounts> {
    let out = Sorting { batches, rejects, rejects_max: reading.rejects_max };
    let sink = Sink { families: families.into(), out, batch: Batch::default(), done: ReadCounts::default() };
    let mut parser = Parser { reading, sink };
    for input in inputs {
        let Input { name, partitions, open, .. } = input;
        let goes_on = match reading.format {
            Format::Text(format) => {
                let text = unpacked(stream(&name, open, &progress)?).map_err(unread(&name))?;
                match format {
                    records::Format::Csv(_) => parser.records(&name, Records::new(text, format))?,
                    _ => parser.lines(&name, text, format, parallel)?,
                }
            }
            Format::SequenceFile => parser.sequence_file(&name, stream(&name, open, &progress)?)?,
            Format::Parquet(settings) => parser.parquet(&name, &partitions, open, settings, &progress)?,
        };
        if !goes_on {
            return Ok(parser.sink.done);
        }
    }
    let mut sink = parser.sink;
    sink.send();
    if let Some(rejects) = &mut sink.out.rejects {
        rejects.flush().map_err(unwritten)?;
    }
    Ok(sink.done)
}

fn stream(name: &str, open: Open, progress: &Arc<dyn Progress>) -> Result<Box<dyn Read + Send>> {
    let file: Box<dyn Read + Send> = match open {
        Open::Stream(open) => open().map_err(unread(name))?,
        Open::Random(open) => Box::new(parquet_file::Stream::new(open().map_err(unread(name))?)),
    };
    Ok(Box::new(Counted { file, progress: progress.clone() }))
}

struct Parser<'a, O> {
    reading: &'a Reading,
    sink: Sink<O>,
}

fn unread(name: &str) -> impl Fn(std::io::Error) -> LoadError {
    move |error| match error.downcast::<filesystem::Error>() {
        Ok(error) => LoadError::Filesystem(error),
        Err(error) => LoadError::Input { what: "read", why: error.to_string(), file: name.to_owned() },
    }
}

impl<O: Out> Parser<'_, O> {
    /// Takes all records.
    fn records(&mut self, name: &str, mut records: Records) -> Result<bool> {
        let mut is_first = records.is_at_beginning();
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
}

/// Parses a part and hands over what comes of it.
fn parse_part(mut parser: Parser<'_, Handing>, name: &str, part: Part, format: records::Format) {
    let ended = parser.records(name, Records::of(part, format));
    let Sink { mut out, batch, done, .. } = parser.sink;
    // Who has failed does not listen any more.
    let _ = (batch.is_empty() || out.batch(batch)) && out.0.send(Piece::Ended(ended.map(|_| done))).is_ok();
}

impl Parser<'_, Sorting> {
    /// Has parts of a text parsed side by side and takes what comes of them in their order.
    fn lines(
        &mut self,
        name: &str,
        text: Box<dyn Read + Send>,
        format: records::Format,
        parallel: usize,
    ) -> Result<bool> {
        let (mut parts, mut rest) = (Parts::new(text), None);
        let goes_on: Result<bool> = std::thread::scope(|scope| {
            let mut parsed = VecDeque::new();
            loop {
                while parsed.len() < parallel.clamp(1, PARTS_MAX) && rest.is_none() {
                    match parts.advance().map_err(unread(name)).transpose() {
                        Some(Ok(part)) if !part.is_rest => {
                            let (sender, pieces) = sync_channel(1);
                            let batch = Batch::with_capacity(BATCH_BYTES + RECORD_BYTES);
                            let (families, done) = (self.sink.families.clone(), ReadCounts::default());
                            let sink = Sink { families, out: Handing(sender), batch, done };
                            let parser = Parser { reading: self.reading, sink };
                            let work = move || parse_part(parser, name, part, format);
                            let thread = std::thread::Builder::new().name("parse".to_owned());
                            thread.spawn_scoped(scope, work).map_err(unread(name))?;
                            parsed.push_back(pieces);
                        }
                        last => rest = last,
                    }
                }
                let Some(pieces) = parsed.pop_front() else { return Ok(true) };
                let mut has_ended = false;
                for piece in pieces {
                    has_ended = matches!(piece, Piece::Ended(_));
                    if !self.piece(name, piece)? {
                        return Ok(false);
                    }
                }
                if !has_ended {
                    return Ok(false); // it panicked, which ends all when the threads are joined
                }
            }
        });
        match rest.filter(|_| matches!(goes_on, Ok(true))) {
            Some(rest) => self.records(name, Records::of(rest?, format)),
            None => goes_on,
        }
    }

    /// Takes what came of a part.
    fn piece(&mut self, name: &str, piece: Piece) -> Result<bool> {
        match piece {
            Piece::Batch(batch) => Ok((self.sink.batch.is_empty() || self.sink.send()) && self.sink.out.batch(batch)),
            Piece::Bad { why, line, text } => {
                self.sink.done.rejected += 1;
                let bad = Bad { why, file: name, unit: "line", at: line, text: Some(&text), row: &[] };
                self.sink.out.reject(&bad, self.sink.done.rejected)
            }
            Piece::Ended(counts) => {
                let ReadCounts { records, rejected: _, cells, has_tags } = counts?;
                self.sink.done.records += records;
                self.sink.done.cells += cells;
                self.sink.done.has_tags |= has_tags;
                Ok(true)
            }
        }
    }

    fn sequence_file(&mut self, name: &str, text: Box<dyn Read + Send>) -> Result<bool> {
        let damaged = |damage: crate::sequence_file::Damage| LoadError::Damaged {
            why: damage.why,
            file: name.to_owned(),
            offset: damage.offset,
        };
        let mut file = SequenceFile::open(text).map_err(damaged)?;
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
        progress: &Arc<dyn Progress>,
    ) -> Result<bool> {
        let Open::Random(open) = open else {
            let why = "Parquet is read from several places of a file, and this can only be read from its beginning";
            return Err(LoadError::Usage(format!("{name}: {why}; save it to a file first")));
        };
        let file = open().map_err(unread(name))?;
        let columns = self.reading.columns.as_ref();
        let mut file = ParquetFile::open(name, file, progress.clone(), columns, partitions, settings)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;
    use std::io::Cursor;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What a text comes to: rows with their values, bad records, and how it ended.
    struct Came {
        cells: Vec<(String, usize)>,
        rejects: Vec<String>,
        ended: Result<ReadCounts>,
    }

    fn read(texts: Vec<Box<dyn Read + Send>>, format: records::Format, parallel: usize, rejects_max: u64) -> Came {
        let inputs = texts.into_iter().map(|text| Input {
            name: "text".to_owned(),
            bytes: 0,
            partitions: Vec::new(),
            open: Open::Stream(Box::new(|| Ok(text))),
        });
        let inputs: Vec<Input> = inputs.collect();
        let columns = match format {
            records::Format::JsonLines => None,
            _ => Some(Columns::parse("HBASE_ROW_KEY,f:q").expect("columns")),
        };
        let reading = Reading { format: Format::Text(format), columns, timestamp_ms: 1, rejects_max };
        let (sender, mut batches) = mpsc::channel(1);
        let kept = Kept::default();
        let rejects: Option<Box<dyn Write + Send>> = Some(Box::new(kept.clone()));
        let families = vec![Bytes::from_static(b"f")];
        let parsing =
            std::thread::spawn(move || run(inputs, &reading, families, parallel, rejects, Arc::new(Silent), sender));
        let mut cells = Vec::new();
        while let Some(batch) = batches.blocking_recv() {
            let (bytes, ends, _) = batch.into_parts();
            for at in 0..ends.len() {
                let cell = crate::batch::cell_at(&bytes, &ends, at);
                cells.push((cell.row().escape_ascii().to_string(), cell.value().len()));
            }
        }
        let ended = parsing.join().expect("parsed");
        let rejects = String::from_utf8(kept.0.lock().clone()).expect("text").lines().map(str::to_owned).collect();
        Came { cells, rejects, ended }
    }

    fn reader(text: impl Into<Vec<u8>>) -> Box<dyn Read + Send> {
        Box::new(Cursor::new(text.into()))
    }

    /// A line, and what it comes to unless it is bad. One in 10,000 is, and one in 1,000 begins with what is a mark at the beginning of files.
    fn line(at: usize, format: records::Format) -> (Vec<u8>, Option<(String, usize)>) {
        let value = "v".repeat(at % 97);
        let is_bad = at % 10_000 == 5_000;
        let mark: &[u8] = if at % 1_000 == 7 { b"\xef\xbb\xbf" } else { b"" };
        match format {
            records::Format::JsonLines if is_bad => (format!("{{\"row\":{at}}}").into(), None),
            records::Format::JsonLines => {
                let cells = format!(r#"[{{"column":"f:q","timestamp":1,"value":"{value}"}}]"#);
                (format!(r#"{{"row":"r{at}","cells":{cells}}}"#).into(), Some((format!("r{at}"), value.len())))
            }
            _ if is_bad => (format!("bad{at}").into(), None),
            _ => {
                let row = [mark, format!("r{at}").as_bytes()].concat();
                let text = [&row[..], b"\t", value.as_bytes()].concat();
                (text, Some((row.escape_ascii().to_string(), value.len())))
            }
        }
    }

    #[test]
    fn parts_side_by_side_come_to_what_the_whole_comes_to() {
        for format in [records::Format::Tsv(b'\t'), records::Format::JsonLines] {
            let (mut text, mut cells, mut rejects) = (Vec::new(), Vec::new(), Vec::new());
            for at in 1..60_000 {
                let (line, cell) = line(at, format);
                match cell {
                    Some(cell) => cells.push(cell),
                    None => rejects.push(String::from_utf8(line.clone()).expect("text")),
                }
                text.extend_from_slice(&line);
                // Lines without anything count, but not where a record begins.
                text.extend_from_slice(if at % 3 == 0 { b"\r\n" } else { b"\n" });
                if at % 5_000 == 0 {
                    text.extend_from_slice(b"\n");
                }
            }
            text.pop();
            assert!(text.len() > 3 * BATCH_BYTES);
            for parallel in [1, 4] {
                let came = read(vec![reader(text.clone()), reader(text.clone())], format, parallel, 12);
                let counts = came.ended.expect("read");
                assert_eq!((counts.records, counts.rejected, counts.cells), (119_998, 12, 119_986), "{format:?}");
                assert!(came.cells == [&cells[..], &cells[..]].concat(), "{format:?}: cells or their order");
                assert_eq!(came.rejects, [&rejects[..], &rejects[..]].concat());
                // One too many is told with its line: 45,000 lines with eight empty ones before.
                let Err(error) = read(vec![reader(text.clone())], format, parallel, 4).ended else { panic!("taken") };
                let LoadError::TooManyRejects { count: 5, at, .. } = error else { panic!("{error}") };
                assert_eq!(at, 45_008, "{format:?}");
            }
        }
    }

    #[test]
    fn a_line_longer_than_a_part_is_read_with_what_follows() {
        let long = "x".repeat(9 << 20);
        let mut text: Vec<u8> =
            (0..40_000).flat_map(|at| format!("a{at:06}\t{}\n", "y".repeat(60)).into_bytes()).collect();
        text.extend_from_slice(format!("long\t{long}\nlast\tz\nbad").as_bytes());
        let came = read(vec![reader(text)], records::Format::Tsv(b'\t'), 3, 1);
        assert_eq!(came.ended.expect("read").cells, 40_002);
        assert_eq!(came.cells[40_000..], [("long".to_owned(), long.len()), ("last".to_owned(), 1)]);
        assert_eq!(came.rejects, ["bad"]);
    }

    #[test]
    fn a_text_that_cannot_be_read_to_its_end_fails() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _out: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("no more"))
            }
        }
        let good = "r\tv\n".repeat(1 << 20);
        let text: Box<dyn Read + Send> = Box::new(Cursor::new(good.into_bytes()).chain(Broken));
        let Err(error) = read(vec![text], records::Format::Tsv(b'\t'), 4, 0).ended else { panic!("taken") };
        assert!(error.to_string().contains("no more"), "{error}");
    }
}
