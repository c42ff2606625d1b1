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

/// Opens a file that may be compressed; its name's ending tells how.
pub fn open(path: &Path, position: &Position) -> io::Result<Box<dyn BufRead + Send>> {
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
