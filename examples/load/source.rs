//! A source of records, whatever file it comes from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One row to be written.
#[derive(Debug)]
pub struct Record {
    /// Row key.
    pub row: String,
    /// Family, qualifier, value.
    pub cells: Vec<(&'static str, String, String)>,
    /// Time of all its cells, in milliseconds.
    pub timestamp: i64,
    /// What it is counted under.
    pub counter: String,
}

/// What a source gives next.
#[derive(Debug)]
pub enum Item {
    /// A good record.
    Record(Record),
    /// Something that is no record; loading goes on behind it.
    Bad {
        /// Line in the file, from 1.
        line: u64,
        /// What is wrong.
        why: String,
        /// The text.
        text: String,
    },
}

/// Gives records one by one.
pub trait Source: Send {
    /// The next one, or `None` at the end.
    fn next(&mut self) -> io::Result<Option<Item>>;
}

/// Bytes read so far of a file as it lies on disk, for the progress bar.
pub type Position = Arc<AtomicU64>;

struct Counted<R> {
    inner: R,
    position: Position,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.inner.read(buffer)?;
        self.position.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}

/// Longest line that is believed, in bytes; a file that is no text may have none that ends.
const LINE_LEN_MAX: usize = 64 << 20;

/// Refuses lines without end.
struct ShortLines<R> {
    inner: R,
    /// Bytes of the line so far.
    len: usize,
}

impl<R: BufRead> BufRead for ShortLines<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.len > LINE_LEN_MAX {
            return Err(io::Error::other(format!("a line is longer than {} MiB: this is no text", LINE_LEN_MAX >> 20)));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, taken: usize) {
        // What is taken was filled before, so that this reads nothing.
        let buffer = self.inner.fill_buf().map_or(&[][..], |buffer| &buffer[..taken.min(buffer.len())]);
        self.len = match buffer.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => buffer.len() - end - 1,
            None => self.len + buffer.len(),
        };
        self.inner.consume(taken);
    }
}

impl<R: BufRead> Read for ShortLines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(out)?;
        self.consume(len);
        Ok(len)
    }
}

/// Opens a file that may be compressed; its name's ending tells how.
pub fn open(path: &Path, position: &Position) -> io::Result<Box<dyn BufRead + Send>> {
    Ok(Box::new(ShortLines { inner: unpacked(path, position)?, len: 0 }))
}

fn unpacked(path: &Path, position: &Position) -> io::Result<Box<dyn BufRead + Send>> {
    let file = File::open(path)?;
    let raw = BufReader::new(Counted { inner: file, position: position.clone() });
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    Ok(match ending {
        "gz" => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(raw))),
        "lz4" => Box::new(BufReader::new(lz4_flex::frame::FrameDecoder::new(raw))),
        "xz" => Box::new(BufReader::new(liblzma::bufread::XzDecoder::new_multi_decoder(raw))),
        "zip" => unzip(path, position)?,
        _ => Box::new(raw),
    })
}

/// The only file inside a zip archive. Its directory lies at the end, so it is read whole: archives of up to 1 GiB.
fn unzip(path: &Path, position: &Position) -> io::Result<Box<dyn BufRead + Send>> {
    const LEN_MAX: u64 = 1 << 30;
    let mut archive = zip::ZipArchive::new(File::open(path)?)?;
    let mut entry = archive.by_index(0)?;
    let mut text = Vec::new();
    if entry.by_ref().take(LEN_MAX).read_to_end(&mut text)? as u64 == LEN_MAX {
        return Err(io::Error::other(format!("{}: more than 1 GiB; unpack it first", path.display())));
    }
    position.fetch_add(std::fs::metadata(path)?.len(), Ordering::Relaxed);
    Ok(Box::new(io::Cursor::new(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_refused_and_short_ones_are_not() {
        let mut endless = ShortLines { inner: BufReader::new(io::repeat(0)), len: 0 };
        let refused = endless.read_until(b'\n', &mut Vec::new()).expect_err("no line ends").to_string();
        assert!(refused.contains("no text"), "{refused}");
        let text = "a line\n".repeat(LINE_LEN_MAX / 6);
        let short = ShortLines { inner: BufReader::new(text.as_bytes()), len: 0 };
        assert_eq!(short.lines().map(|line| line.expect("short").len()).sum::<usize>(), LINE_LEN_MAX / 6 * 6);
    }
}
