//! Records of text files, one at a time, however long the file is.
//!
//! Always true
//! - A record longer than [`RECORD_BYTES_MAX`] is told as one, and passed over, without being held.
//! - The bytes of a bad record are at hand, as they stand in the input but for a byte order mark, for a file of rejects.

use std::io::{BufRead, BufReader, Cursor, Read};

use csv_core::ReadRecordResult;

/// Longest record in bytes.
pub const RECORD_BYTES_MAX: usize = 32 << 20;
/// Bytes that a part of a text is cut from.
const PART_BYTES: usize = 1 << 20;
/// Bytes in which a line's end is looked for.
const LINE_BYTES_MAX: usize = 4 << 20;
/// Most fields of a record.
const FIELDS_MAX: usize = 100_000;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// UTF-8's byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// First bytes of compressed files.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Largest window of a zstd file, as a power of two.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a text file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Fields between separators, without quotes.
    Tsv(u8),
    /// Fields between separators, in quotes where needed.
    Csv(u8),
    /// A JSON object a line.
    JsonLines,
}

/// What the next record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A whole record.
    Record,
    /// One that is too long.
    TooLong,
    /// The rest of the input, from a quote on that nothing closes.
    Unclosed,
    /// There is none.
    End,
}

/// Reads the records of one file.
pub struct Records {
    input: BufReader<Box<dyn Read + Send>>,
    core: Option<csv_core::Reader>,
    /// The separator, if quotes count.
    quoted: Option<u8>,
    fields: Vec<u8>,
    ends: Vec<usize>,
    n_fields: usize,
    raw: Vec<u8>,
    line: u64,
    next_line: u64,
}

/// A file's text: what is compressed with gzip or zstd, as its first bytes tell, is unpacked.
///
/// # Errors
/// The file cannot be read.
pub fn unpacked(mut file: Box<dyn Read + Send>) -> std::io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::with_capacity(4);
    (&mut file).take(4).read_to_end(&mut head)?;
    let (is_gzip, is_zstd) = (head.starts_with(&GZIP), head == ZSTD);
    let whole = Cursor::new(head).chain(file);
    Ok(if is_gzip {
        Box::new(flate2::read::MultiGzDecoder::new(whole))
    } else if is_zstd {
        let mut decoder = zstd::stream::read::Decoder::new(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Box::new(decoder)
    } else {
        Box::new(whole)
    })
}

/// A part of a text.
pub struct Part {
    /// Its bytes.
    pub text: Box<dyn Read + Send>,
    /// The number of its first line, counted from 1.
    pub line: u64,
    /// It is all that is left, however much: most of it is read as it is parsed.
    pub is_rest: bool,
}

/// Cuts a text into parts of whole lines. Records that end where a line does, as all do but those of CSV, can be read from each by itself.
pub struct Parts {
    text: Option<Box<dyn Read + Send>>,
    /// The beginning of a line.
    begun: Vec<u8>,
    line: u64,
}

impl Parts {
    /// Begins.
    pub fn new(text: Box<dyn Read + Send>) -> Parts {
        Parts { text: Some(text), begun: Vec::new(), line: 1 }
    }

    /// The next part; none behind the rest of the text. Where a line is very long the rest begins with it.
    ///
    /// # Errors
    /// The text cannot be read. There is no part behind that.
    pub fn advance(&mut self) -> std::io::Result<Option<Part>> {
        let Some(mut text) = self.text.take() else { return Ok(None) };
        let mut bytes = std::mem::take(&mut self.begun);
        loop {
            let begun = bytes.len();
            bytes.reserve_exact(PART_BYTES);
            let is_whole = (&mut text).take(PART_BYTES as u64).read_to_end(&mut bytes)? == PART_BYTES;
            let end = bytes[begun..].iter().rposition(|byte| *byte == b'\n').map(|at| begun + at + 1);
            match end {
                Some(end) if is_whole => {
                    self.begun = bytes[end..].to_vec();
                    bytes.truncate(end);
                    let line = self.line;
                    self.line += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
                    self.text = Some(text);
                    return Ok(Some(Part { text: Box::new(Cursor::new(bytes)), line, is_rest: false }));
                }
                None if is_whole && bytes.len() < LINE_BYTES_MAX => {}
                _ => {
                    let text = Box::new(Cursor::new(bytes).chain(text));
                    return Ok(Some(Part { text, line: self.line, is_rest: true }));
                }
            }
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("line", &self.line).finish_non_exhaustive()
    }
}

impl Records {
    /// Reads a file's text.
    pub fn new(text: Box<dyn Read + Send>, format: Format) -> Records {
        let core = match format {
            Format::Tsv(separator) => Some(csv_core::ReaderBuilder::new().delimiter(separator).quoting(false).build()),
            Format::Csv(separator) => Some(csv_core::ReaderBuilder::new().delimiter(separator).build()),
            Format::JsonLines => None,
        };
        let quoted = if let Format::Csv(separator) = format { Some(separator) } else { None };
        Records {
            quoted,
            input: BufReader::with_capacity(READ_BYTES, text),
            core,
            fields: vec![0; 4096],
            ends: vec![0; 64],
            n_fields: 0,
            raw: Vec::new(),
            line: 0,
            next_line: 1,
        }
    }

    /// Reads a part of a text.
    pub fn of(part: Part, format: Format) -> Records {
        let mut records = Records::new(part.text, format);
        if part.line > 1 {
            records.next_line = part.line;
            if let Some(core) = &mut records.core {
                // An empty line, or it takes these bytes for a mark at the beginning of a file.
                core.read_record(b"\n", &mut [0], &mut [0]);
            }
        }
        records
    }

    /// Whether no record of the text was read yet.
    pub fn is_at_beginning(&self) -> bool {
        self.next_line == 1
    }

    /// Where the record begins: its line, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The record as it stands in the input, without the end of its line; of one that is too long the beginning.
    pub fn raw(&self) -> &[u8] {
        let end = self.raw.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
        &self.raw[..end]
    }

    /// The record's fields, where it has any.
    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).take(self.n_fields).map(|(start, end)| &self.fields[start..*end])
    }

    /// Goes to the next record. Lines without anything are passed over.
    ///
    /// # Errors
    /// The input cannot be read.
    pub fn advance(&mut self) -> std::io::Result<Next> {
        loop {
            let next = if self.core.is_some() { self.advance_fields()? } else { self.advance_line()? };
            if next != Next::Record || !self.raw().is_empty() {
                return Ok(next);
            }
        }
    }

    fn advance_line(&mut self) -> std::io::Result<Next> {
        self.raw.clear();
        self.line = self.next_line;
        let mut too_long = false;
        loop {
            let read = self.input.fill_buf()?;
            if read.is_empty() {
                return Ok(match (too_long, self.raw.is_empty()) {
                    (true, _) => Next::TooLong,
                    (false, true) => Next::End,
                    (false, false) => {
                        self.strip_mark();
                        Next::Record
                    }
                });
            }
            let end = read.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(read.len(), |at| at + 1);
            too_long |= self.raw.len() + used > RECORD_BYTES_MAX;
            if !too_long {
                self.raw.extend_from_slice(&read[..used]);
            }
            self.input.consume(used);
            if end.is_some() {
                self.next_line += 1;
                self.strip_mark();
                return Ok(if too_long { Next::TooLong } else { Next::Record });
            }
        }
    }

    /// Passes over the mark that some programs begin a text with, as the parser of fields does.
    fn strip_mark(&mut self) {
        if self.line == 1 && self.raw.starts_with(BYTE_ORDER_MARK) {
            self.raw.drain(..BYTE_ORDER_MARK.len());
        }
    }

    fn advance_fields(&mut self) -> std::io::Result<Next> {
        let core = self.core.as_mut().expect("asked before");
        self.raw.clear();
        self.line = self.next_line;
        let (mut n_bytes, mut n_ends, mut too_long) = (0, 0, false);
        loop {
            let read = self.input.fill_buf()?;
            let at_end = read.is_empty();
            let (result, used, written, ended) =
                core.read_record(read, &mut self.fields[n_bytes..], &mut self.ends[n_ends..]);
            too_long |= self.raw.len() + used > RECORD_BYTES_MAX;
            if !too_long {
                self.raw.extend_from_slice(&read[..used]);
            }
            self.next_line += read[..used].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.input.consume(used);
            (n_bytes, n_ends) = (n_bytes + written, n_ends + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.fields.len() < RECORD_BYTES_MAX && !too_long => {
                    let more = (self.fields.len() * 2).min(RECORD_BYTES_MAX);
                    self.fields.resize(more, 0);
                }
                ReadRecordResult::OutputEndsFull if self.ends.len() < FIELDS_MAX && !too_long => {
                    let more = (self.ends.len() * 2).min(FIELDS_MAX);
                    self.ends.resize(more, 0);
                }
                // What does not fit is written over what came before: nobody will look at it.
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    (n_bytes, n_ends, too_long) = (0, 0, true);
                }
                ReadRecordResult::Record => {
                    self.n_fields = n_ends;
                    self.pass_over_empty_lines();
                    let unclosed = at_end && self.quoted.is_some_and(|separator| ends_in_quotes(&self.raw, separator));
                    return Ok(match (too_long, unclosed) {
                        (true, _) => Next::TooLong,
                        (false, true) => Next::Unclosed,
                        (false, false) => Next::Record,
                    });
                }
                ReadRecordResult::End => return Ok(if too_long { Next::TooLong } else { Next::End }),
            }
            if at_end && matches!(result, ReadRecordResult::InputEmpty) {
                return Ok(Next::End);
            }
        }
    }

    /// The parser takes empty lines for the beginning of the record behind them.
    fn pass_over_empty_lines(&mut self) {
        let n_empty = self.raw.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        self.line += self.raw[..n_empty].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.raw.drain(..n_empty);
    }
}

/// Whether a record ends inside a field that a quote began.
fn ends_in_quotes(record: &[u8], separator: u8) -> bool {
    let (mut begins, mut inside, mut at) = (true, false, 0);
    while let Some(byte) = record.get(at) {
        match (inside, byte) {
            (true, b'"') if record.get(at + 1) == Some(&b'"') => at += 1,
            (_, b'"') => inside = begins && !inside,
            _ => {}
        }
        begins = !inside && *byte == separator;
        at += 1;
    }
    inside
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("line", &self.line).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: impl Into<Vec<u8>>, format: Format) -> Vec<(u64, Vec<String>, String)> {
        let file: Box<dyn Read + Send> = Box::new(Cursor::new(text.into()));
        let mut records = Records::new(unpacked(file).expect("unpacked"), format);
        let mut out = Vec::new();
        while records.advance().expect("read") == Next::Record {
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            out.push((records.line(), records.fields().map(text).collect(), text(records.raw())));
        }
        out
    }

    fn fields(text: &str, format: Format) -> Vec<Vec<String>> {
        records(text, format).into_iter().map(|(_, fields, _)| fields).collect()
    }

    #[test]
    fn fields_are_cut_at_separators_and_quotes_count_in_csv_only() {
        assert_eq!(fields("a\t\"b\t\nc\td\te\r\n", Format::Tsv(b'\t')), [vec!["a", "\\\"b", ""], vec!["c", "d", "e"]]);
        assert_eq!(fields("a,\"b,\"\"x\ny\"\nc,", Format::Csv(b',')), [vec!["a", "b,\\\"x\\ny"], vec!["c", ""]]);
        assert_eq!(fields("a|b\0c\n\n\nd|", Format::Tsv(b'|')), [vec!["a", "b\\x00c"], vec!["d", ""]]);
        assert!(fields("", Format::Csv(b',')).is_empty());
        let lines: Vec<(u64, String)> =
            records("a,\"1\n2\"\nb,3", Format::Csv(b',')).into_iter().map(|(line, _, raw)| (line, raw)).collect();
        assert_eq!(lines, [(1, "a,\\\"1\\n2\\\"".to_owned()), (3, "b,3".to_owned())]);
        let behind_empty_lines: Vec<(u64, String)> =
            records("\r\na,1\n\n\nb,2", Format::Csv(b',')).into_iter().map(|(line, _, raw)| (line, raw)).collect();
        assert_eq!(behind_empty_lines, [(2, "a,1".to_owned()), (5, "b,2".to_owned())]);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told() {
        for (text, last) in [
            ("a,b\nr1,\"open\nr2,x\n", Next::Unclosed),
            ("a,b\nr1,\"open\"\"", Next::Unclosed),
            ("a,b\nr1,\"\"\"", Next::Unclosed),
            ("a,b\nr1,\"closed\n\"\"\"", Next::Record),
            ("a,b\nr1,5\" pipe", Next::Record),
        ] {
            let file: Box<dyn Read + Send> = Box::new(Cursor::new(text.to_owned()));
            let mut records = Records::new(file, Format::Csv(b','));
            assert_eq!(records.advance().expect("read"), Next::Record, "{text}");
            assert_eq!((records.advance().expect("read"), records.line()), (last, 2), "{text}");
            assert_eq!(records.advance().expect("read"), Next::End, "{text}");
        }
    }

    #[test]
    fn lines_and_compressed_files_are_read() {
        let lines = |text: &[u8]| -> Vec<String> {
            records(text, Format::JsonLines).into_iter().map(|(_, _, raw)| raw).collect()
        };
        assert_eq!(lines(b"{}\r\n\n[1]"), ["{}", "[1]"]);
        assert_eq!(lines(b"\xef\xbb\xbf{}\n\xef\xbb\xbf1"), ["{}", "\\xef\\xbb\\xbf1"]);
        let zstd = zstd::encode_all(&b"x\ny\n"[..], 1).expect("packed");
        assert_eq!(lines(&zstd), ["x", "y"]);
        let mut gzip = Vec::new();
        for part in [&b"x\ny"[..], b"z\n"] {
            let mut encoder = flate2::read::GzEncoder::new(part, flate2::Compression::fast());
            encoder.read_to_end(&mut gzip).expect("packed");
        }
        assert_eq!(lines(&gzip), ["x", "yz"], "members follow each other");
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let zstd = zstd::encode_all(&vec![7; 100_000][..], 1).expect("packed");
        let file: Box<dyn Read + Send> = Box::new(Cursor::new(zstd[..zstd.len() - 3].to_vec()));
        let mut records = Records::new(unpacked(file).expect("head"), Format::JsonLines);
        assert!(records.advance().is_err());
    }

    #[test]
    fn records_that_are_too_long_are_told_and_passed_over() {
        for format in [Format::JsonLines, Format::Tsv(b'\t'), Format::Csv(b',')] {
            for filler in [b'x', b'\t', b','] {
                let long = std::io::repeat(filler).take(RECORD_BYTES_MAX as u64 + 70_000);
                let file: Box<dyn Read + Send> = Box::new(b"a\n"[..].chain(long).chain(&b"\nb\n"[..]));
                let mut records = Records::new(file, format);
                assert_eq!(records.advance().expect("read"), Next::Record, "{format:?} {filler}");
                assert_eq!(records.advance().expect("read"), Next::TooLong, "{format:?} {filler}");
                assert_eq!(records.advance().expect("read"), Next::Record, "{format:?} {filler}");
                assert_eq!((records.raw(), records.line()), (&b"b"[..], 3));
                assert_eq!(records.advance().expect("read"), Next::End);
            }
        }
    }
}
