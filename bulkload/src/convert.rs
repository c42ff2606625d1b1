//! From text to store files: parsed on one thread, sorted, and written by region and family side by side.

use std::io::{Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use futures::{StreamExt, TryStreamExt, stream};
use model::Cell;
use model::region::RegionInfo;
use model::schema::TableDescriptor;
use runtime::Runtime;
use tokio::sync::mpsc;

use crate::columns::Columns;
use crate::error::{LoadError, Result};
use crate::json_lines;
use crate::records::{Format, Next, Records, unpacked};
use crate::report::Progress;
use crate::sort::{Sorted, Sorter};
use crate::store_file::{FamilyWriter, StoreFile};

/// Bytes of cells that go from the parser to the sorter at once.
const BATCH_BYTES: usize = 1 << 20;
/// Such batches on their way.
const BATCHES_MAX: usize = 4;

/// An input file, opened when its turn comes.
pub struct Input {
    /// What people call it.
    pub name: String,
    /// Bytes as it lies on storage.
    pub bytes: u64,
    /// Opens it.
    pub open: Box<dyn FnOnce() -> std::io::Result<Box<dyn Read + Send>> + Send>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
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

struct Parser {
    reading: Reading,
    rejects: Option<Box<dyn Write + Send>>,
    progress: Arc<dyn Progress>,
    batches: mpsc::Sender<Vec<Cell>>,
    batch: Vec<Cell>,
    batch_bytes: usize,
    done: ReadCounts,
}

impl Parser {
    fn run(mut self, inputs: Vec<Input>) -> Result<ReadCounts> {
        for input in inputs {
            let name = input.name.clone();
            let failed =
                |error: std::io::Error| LoadError::Input { what: "read", why: error.to_string(), file: name.clone() };
            let file = (input.open)().map_err(failed)?;
            let counted = Box::new(Counted { file, progress: self.progress.clone() });
            let text = unpacked(counted).map_err(failed)?;
            let mut records = Records::new(text, self.reading.format);
            loop {
                let bad = match records.advance().map_err(failed)? {
                    Next::End => break,
                    Next::TooLong => Err("the record is too long".to_owned()),
                    Next::Unclosed => {
                        Err("a quote is opened here and not closed before the end of the file".to_owned())
                    }
                    Next::Record => self.take(&records),
                };
                self.done.records += 1;
                if let Err(why) = bad {
                    self.reject(&records, why, &name)?;
                }
                if self.batch_bytes >= BATCH_BYTES && !self.send() {
                    return Ok(self.done);
                }
            }
        }
        self.send();
        if let Some(rejects) = &mut self.rejects {
            let failed = |error: std::io::Error| LoadError::Input {
                what: "write",
                why: error.to_string(),
                file: "--reject".to_owned(),
            };
            rejects.flush().map_err(failed)?;
        }
        Ok(self.done)
    }

    fn take(&mut self, records: &Records) -> std::result::Result<(), String> {
        let (from, at) = (self.batch.len(), self.reading.timestamp_ms);
        match &self.reading.columns {
            Some(columns) => columns.cells(records.fields(), at, &mut self.batch)?,
            None => json_lines::cells(records.raw(), at, &mut self.batch)?,
        }
        self.batch_bytes += self.batch[from..].iter().map(|cell| cell.bytes().len()).sum::<usize>();
        self.done.cells += (self.batch.len() - from) as u64;
        Ok(())
    }

    fn reject(&mut self, records: &Records, why: String, file: &str) -> Result<()> {
        self.done.rejected += 1;
        tracing::warn!(file, line = records.line(), why, "bad record");
        if let Some(rejects) = &mut self.rejects {
            let written = rejects.write_all(records.raw()).and_then(|()| rejects.write_all(b"\n"));
            written.map_err(|error| LoadError::Input {
                what: "write",
                why: error.to_string(),
                file: "--reject".to_owned(),
            })?;
        }
        if self.done.rejected > self.reading.rejects_max {
            let (count, max) = (self.done.rejected, self.reading.rejects_max);
            return Err(LoadError::TooManyRejects { count, max, why, file: file.to_owned(), line: records.line() });
        }
        Ok(())
    }

    /// False: nobody takes them any more.
    fn send(&mut self) -> bool {
        self.batch_bytes = 0;
        self.batches.blocking_send(std::mem::take(&mut self.batch)).is_ok()
    }
}

/// Reads inputs and sorts their cells.
///
/// # Errors
/// An input cannot be read, too many records are bad, a family does not exist, or scratch storage fails.
pub async fn read(
    inputs: Vec<Input>,
    reading: Reading,
    rejects: Option<Box<dyn Write + Send>>,
    table: &TableDescriptor,
    mut sorter: Sorter,
    progress: Arc<dyn Progress>,
) -> Result<(Sorted, ReadCounts)> {
    progress.phase("read", inputs.iter().map(|input| input.bytes).sum());
    let (batches, mut receiver) = mpsc::channel::<Vec<Cell>>(BATCHES_MAX);
    let (batch, batch_bytes, done) = (Vec::new(), 0, ReadCounts::default());
    let parser = Parser { reading, rejects, progress, batches, batch, batch_bytes, done };
    let parsing = runtime::task::spawn("parse", runtime::task::blocking(move || parser.run(inputs)));
    while let Some(batch) = receiver.recv().await {
        if let Some(cell) = batch.iter().find(|cell| !table.families.contains_key(cell.family())) {
            return Err(no_family(table, cell.family()));
        }
        sorter.add(batch).await?;
    }
    let done = parsing.await.map_err(|error| LoadError::Usage(error.to_string()))??;
    Ok((sorter.finish().await?, done))
}

/// Where and how store files are written.
#[derive(Clone)]
pub struct Output {
    /// The storage.
    pub fs: Arc<dyn Filesystem>,
    /// A folder of it; families become folders below.
    pub folder: String,
    /// Whether it is the store's own root.
    pub on_root: bool,
    /// The families' settings.
    pub table: TableDescriptor,
    /// Whether cells may have tags.
    pub tags: bool,
    /// Regions written at the same time.
    pub parallel: usize,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// Is told of bytes of cells.
    pub progress: Arc<dyn Progress>,
}

impl Output {
    /// Writes sorted cells to store files, each of one region and one family, with the family's settings.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn write(&self, sorted: &Sorted, regions: &[RegionInfo]) -> Result<Vec<StoreFile>> {
        self.progress.phase("write", 0);
        let work: Vec<_> = regions.iter().map(|region| self.write_region(sorted, region)).collect();
        let made: Vec<Vec<StoreFile>> = stream::iter(work).buffered(self.parallel.max(1)).try_collect().await?;
        Ok(made.into_iter().flatten().collect())
    }

    async fn write_region(&self, sorted: &Sorted, region: &RegionInfo) -> Result<Vec<StoreFile>> {
        let mut walk = sorted.from(&region.start_key).await?;
        let mut writers: Vec<(Bytes, FamilyWriter)> = Vec::new();
        let mut bytes = 0;
        while let Some(cell) = walk.take().await? {
            if !region.contains(cell.row()) {
                break;
            }
            let at = match writers.iter().position(|(family, _)| family == cell.family()) {
                Some(at) => at,
                None => {
                    writers.push(self.writer(cell.family())?);
                    writers.len() - 1
                }
            };
            writers[at].1.append(cell.as_ref()).await?;
            bytes += cell.bytes().len() as u64;
            if bytes >= BATCH_BYTES as u64 {
                self.progress.done(std::mem::take(&mut bytes));
            }
        }
        self.progress.done(bytes);
        let mut made = Vec::new();
        for (_, writer) in writers {
            made.extend(writer.finish().await?);
        }
        Ok(made)
    }

    fn writer(&self, family: &[u8]) -> Result<(Bytes, FamilyWriter)> {
        let Some(family) = self.table.families.get(family) else {
            return Err(no_family(&self.table, family));
        };
        let folder = format!("{}/{}", self.folder, String::from_utf8_lossy(&family.name));
        let writer = FamilyWriter::new(&self.fs, folder, self.on_root, &self.runtime, family, self.tags);
        Ok((family.name.clone(), writer))
    }
}

fn no_family(table: &TableDescriptor, family: &[u8]) -> LoadError {
    LoadError::Usage(format!("table {} has no family `{}`", table.name, family.escape_ascii()))
}
