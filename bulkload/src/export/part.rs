//! The files of one range: one part, one for each folder by a value, or store files by family.
//!
//! Always true
//! - A file ends between two rows, and a row's cells are in one file of its folder, in order.
//! - Files open at the same time, and the bytes they hold, are bounded; what has to make room goes on in another file of its folder.
//! - Nothing has a name before it is whole; what was begun is taken back by `abort`.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::{BlobWriter, ErrorKind, Filesystem};
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, CellType};
use runtime::Runtime;
use serde::{Deserialize, Serialize};

use super::columnar::{Cells, Rows};
use super::encoder::{Encoder, shown};
use super::partition::Partition;
use super::request::{Codec, Output, Request};
use super::text::{Csv, JsonLines};
use crate::error::{LoadError, Result};
use crate::store_file::{FamilyWriter, FamilyWriters};

/// Bytes that gather before they go to storage.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which a range goes on in another file: stores bound the length of an object.
const FILE_BYTES_MAX: u64 = 32 << 30;
/// What a file that is open may take besides what it tells, in bytes: packers, what storage has not taken yet.
const OPEN_FILE_BYTES: usize = 4 << 20;
/// The same on S3, where an upload has several parts on their way.
const OPEN_UPLOAD_BYTES: usize = 48 << 20;
/// Most files open for one range.
const OPEN_FILES_MAX: usize = 500;
/// Most files of a folder that were ended to make room for others, on average, before the export is given up: it would go on so.
const PARTS_OF_FOLDER_MAX: usize = 8;
/// Most folders of one range.
const FOLDERS_MAX: usize = 1000;
/// Largest row group, in bytes.
const GROUP_BYTES_MAX: usize = 128 << 20;
/// Part of a range's memory that may be held, for what is held is put together once more when it goes out.
const HELD_PART: usize = 3;

/// Where files go, and what they hold.
pub(super) struct Files {
    pub request: Request,
    pub descriptor: TableDescriptor,
    pub fs: Arc<dyn Filesystem>,
    pub folder: String,
    pub runtime: Runtime,
}

/// A file that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its path below the export's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// A file that is being written.
struct Open {
    path: String,
    encoder: Box<dyn Encoder>,
    blob: Box<dyn BlobWriter>,
    bytes: u64,
    /// Number of the last row that was written to it.
    used: u64,
}

impl Open {
    /// Gives storage what is ready.
    async fn drain(&mut self, least: usize) -> Result<()> {
        if self.encoder.ready() > 0 && self.encoder.ready() >= least {
            let data = self.encoder.take();
            self.bytes += data.len() as u64;
            self.blob.write(data).await?;
            runtime::task::yield_now().await;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Made> {
        let ended = match self.encoder.end() {
            Ok(()) => self.drain(0).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            self.blob.abort().await;
            return Err(error);
        }
        let (path, blob) = (self.path, self.blob);
        let bytes = blob.finish().await.map_err(|error| match error.kind() {
            ErrorKind::Exists => LoadError::Usage(format!("{error}; is another export writing to this folder?")),
            _ => error.into(),
        })?;
        Ok(Made { path, bytes })
    }
}

/// What was made of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Rows.
    pub rows: u64,
    /// Cells.
    pub cells: u64,
    /// Its files.
    pub files: Vec<Made>,
}

/// Where the cells of a range go.
pub(super) enum Sink {
    /// Parts.
    Parts(Box<Parts>),
    /// Store files.
    StoreFiles(StoreFiles),
}

impl Sink {
    pub fn new(files: &Arc<Files>, range: usize, memory_bytes: usize) -> Sink {
        match files.request.output {
            Output::StoreFiles => Sink::StoreFiles(StoreFiles::new(files)),
            _ => Sink::Parts(Box::new(Parts::new(files, range, memory_bytes))),
        }
    }

    /// Adds the next cells, which are of one row.
    pub async fn add(&mut self, cells: Vec<Cell>) -> Result<()> {
        match self {
            Sink::Parts(parts) => parts.add(cells).await,
            Sink::StoreFiles(files) => files.add(cells).await,
        }
    }

    /// Ends; what was made.
    pub async fn finish(self) -> Result<Done> {
        match self {
            Sink::Parts(parts) => parts.finish().await,
            Sink::StoreFiles(files) => files.finish().await,
        }
    }

    /// Takes back what is not whole.
    pub async fn abort(self) {
        match self {
            Sink::Parts(parts) => parts.abort().await,
            Sink::StoreFiles(files) => files.abort().await,
        }
    }
}

/// Parts of a range, by folder; without folders there is the one called "".
pub(super) struct Parts {
    to: Arc<Files>,
    range: usize,
    held_bytes_max: usize,
    /// What an open file counts for.
    open_bytes: usize,
    open_files_max: usize,
    /// Files begun in all folders.
    n_begun: usize,
    open: HashMap<String, Open>,
    /// Files begun, by folder.
    begun: HashMap<String, usize>,
    made: Vec<Made>,
    row: Vec<u8>,
    /// Rows so far.
    rows: u64,
    written: Counts,
    /// Folder of the row, if that is known.
    folder: String,
    /// Cells of a row of which the folder is not known yet.
    gathered: Vec<Cell>,
    gathered_bytes: usize,
}

impl Parts {
    fn new(files: &Arc<Files>, range: usize, memory_bytes: usize) -> Parts {
        let open_bytes = if files.fs.appends() { OPEN_FILE_BYTES } else { OPEN_UPLOAD_BYTES };
        Parts {
            to: files.clone(),
            range,
            held_bytes_max: (memory_bytes / HELD_PART).min(GROUP_BYTES_MAX),
            open_bytes,
            open_files_max: (memory_bytes / open_bytes).clamp(1, OPEN_FILES_MAX),
            n_begun: 0,
            open: HashMap::new(),
            begun: HashMap::new(),
            made: Vec::new(),
            row: Vec::new(),
            rows: 0,
            written: Counts::default(),
            folder: String::new(),
            gathered: Vec::new(),
            gathered_bytes: 0,
        }
    }

    async fn add(&mut self, cells: Vec<Cell>) -> Result<()> {
        let Some(first) = cells.first() else { return Ok(()) };
        if self.row != first.row() {
            self.end_row().await?;
            self.begin_row(first.row()).await?;
        }
        if !matches!(self.to.request.partition, Some(Partition::Column(_))) {
            return self.write(&cells).await;
        }
        self.gathered_bytes += cells.iter().map(|cell| cell.bytes().len()).sum::<usize>();
        self.gathered.extend(cells);
        if self.gathered_bytes > self.held_bytes_max {
            let why = format!(
                "the row is longer than {} bytes, and has to be held whole to find its folder: raise --memory",
                self.held_bytes_max
            );
            return Err(LoadError::Row { why, row: shown(&self.row) });
        }
        Ok(())
    }

    async fn begin_row(&mut self, row: &[u8]) -> Result<()> {
        self.rows += 1;
        self.row.clear();
        self.row.extend_from_slice(row);
        if let Some(by @ Partition::RowPrefix(_)) = &self.to.request.partition {
            let folder = by.folder(Some(row)).map_err(|why| self.refused(why))?;
            if folder != self.folder {
                // Rows are in order: no later one has the beginning of those before.
                let before = std::mem::replace(&mut self.folder, folder);
                self.end_file(&before).await?;
            }
        }
        self.end_long_file().await
    }

    /// Ends the file of the row's folder, if it is long enough.
    async fn end_long_file(&mut self) -> Result<()> {
        if self.open.get(&self.folder).is_some_and(|open| open.bytes >= FILE_BYTES_MAX) {
            let folder = self.folder.clone();
            self.end_file(&folder).await?;
        }
        Ok(())
    }

    /// Writes a row that was gathered.
    async fn end_row(&mut self) -> Result<()> {
        let Some(by @ Partition::Column((family, qualifier))) = &self.to.request.partition else { return Ok(()) };
        if self.gathered.is_empty() {
            return Ok(());
        }
        let of_column = |cell: &&Cell| cell.family() == family && cell.qualifier() == qualifier;
        let newest = self.gathered.iter().filter(of_column).find(|cell| cell.cell_type() == CellType::PUT);
        self.folder = by.folder(newest.map(Cell::value)).map_err(|why| self.refused(why))?;
        self.end_long_file().await?;
        let mut cells = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        self.write(&cells).await?;
        cells.clear();
        self.gathered = cells;
        Ok(())
    }

    fn refused(&self, why: String) -> LoadError {
        LoadError::Row { why, row: shown(&self.row) }
    }

    /// Writes cells to the file of the row's folder.
    async fn write(&mut self, cells: &[Cell]) -> Result<()> {
        if !self.open.contains_key(&self.folder) {
            if cells.iter().all(|cell| is_hidden(self.to.request.hidden(), cell)) {
                return Ok(());
            }
            self.make_room().await?;
            let open = self.begin().await?;
            self.open.insert(self.folder.clone(), open);
        }
        let open = self.open.get_mut(&self.folder).expect("just opened");
        open.used = self.rows;
        let hidden = self.to.request.hidden();
        for cell in cells {
            if !is_hidden(hidden, cell) {
                open.encoder.append(cell)?;
                self.written.add(self.rows);
            }
        }
        open.drain(WRITE_BYTES).await?;
        self.bound_held().await
    }

    /// Ends the file that was written to longest ago, if there are too many.
    async fn make_room(&mut self) -> Result<()> {
        if self.open.len() < self.open_files_max {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(folder, _)| folder.clone());
        self.end_file(&oldest.expect("there is one")).await
    }

    /// Has what is held go out, if it is too much.
    async fn bound_held(&mut self) -> Result<()> {
        let held: usize = self.open.values().map(|open| open.encoder.held()).sum();
        if held < self.held_bytes_max {
            return Ok(());
        }
        let largest = self.open.values_mut().max_by_key(|open| open.encoder.held()).expect("something is held");
        largest.encoder.flush()?;
        largest.drain(0).await
    }

    /// Begins a file in the row's folder.
    async fn begin(&mut self) -> Result<Open> {
        let n_begun = self.begun.entry(self.folder.clone()).or_default();
        let again = if *n_begun == 0 { String::new() } else { format!("-{n_begun}") };
        *n_begun += 1;
        if self.begun.len() > FOLDERS_MAX {
            let why = format!(
                "--partition: more than {FOLDERS_MAX} different values in one region: choose a column with fewer, or a shorter prefix"
            );
            return Err(LoadError::Usage(why));
        }
        self.n_begun += 1;
        if self.n_begun > PARTS_OF_FOLDER_MAX * self.begun.len().max(self.open_files_max) {
            let (folders, open) = (self.begun.len(), self.open_files_max);
            let why = format!(
                "--partition: rows of {folders} and more values follow each other in a region, and {open} files can be open at a time: give more \
                 --memory ({} MiB for a file of each region read at the same time, {OPEN_FILES_MAX} files at most), or choose a column with fewer values",
                self.open_bytes >> 20
            );
            return Err(LoadError::Usage(why));
        }
        let request = &self.to.request;
        let text = |name: &str| match request.codec {
            Some(Codec::Gzip) => format!("{name}.gz"),
            Some(Codec::Zstd) => format!("{name}.zst"),
            _ => name.to_owned(),
        };
        let extension = match request.output {
            Output::JsonLines => text("jsonl"),
            Output::Csv => text("csv"),
            Output::Parquet | Output::WideParquet | Output::StoreFiles => "parquet".to_owned(),
        };
        let slash = if self.folder.is_empty() { "" } else { "/" };
        let path = format!("{}{slash}part-{:05}{again}.{extension}", self.folder, self.range);
        let (plain, packed) = (request.codec.unwrap_or(Codec::None), request.codec.unwrap_or(Codec::Zstd));
        let encoder: Box<dyn Encoder> = match request.output {
            Output::JsonLines => Box::new(JsonLines::new(plain)?),
            Output::Csv => Box::new(Csv::new(plain, request.fields())?),
            Output::Parquet | Output::StoreFiles => Box::new(Cells::new(packed)?),
            Output::WideParquet => Box::new(Rows::new(packed, request.fields())?),
        };
        let blob = self.to.fs.create_blob(&format!("{}/{path}", self.to.folder)).await?;
        Ok(Open { path, encoder, blob, bytes: 0, used: 0 })
    }

    async fn end_file(&mut self, folder: &str) -> Result<()> {
        if let Some(open) = self.open.remove(folder) {
            self.made.push(open.finish().await?);
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Done> {
        let ended = match self.end_row().await {
            Ok(()) => self.end_files().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => Ok(Done { rows: self.written.rows, cells: self.written.cells, files: self.made }),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn end_files(&mut self) -> Result<()> {
        let mut folders: Vec<String> = self.open.keys().cloned().collect();
        folders.sort();
        for folder in folders {
            self.end_file(&folder).await?;
        }
        Ok(())
    }

    async fn abort(self) {
        for (_, open) in self.open {
            open.blob.abort().await;
        }
    }
}

fn is_hidden(hidden: Option<&(Bytes, Bytes)>, cell: &Cell) -> bool {
    hidden.is_some_and(|(family, qualifier)| family == cell.family() && qualifier == cell.qualifier())
}

/// What was written.
#[derive(Default)]
struct Counts {
    rows: u64,
    cells: u64,
    /// Number of the last row that was counted.
    last: u64,
}

impl Counts {
    /// A cell of the row with this number, from 1.
    fn add(&mut self, row: u64) {
        self.cells += 1;
        self.rows += u64::from(self.last != row);
        self.last = row;
    }
}

/// Store files of a range, by family.
pub(super) struct StoreFiles {
    to: Arc<Files>,
    row: Vec<u8>,
    written: Done,
    writers: FamilyWriters,
}

impl StoreFiles {
    fn new(files: &Arc<Files>) -> StoreFiles {
        let written = Done { rows: 0, cells: 0, files: Vec::new() };
        StoreFiles { to: files.clone(), row: Vec::new(), written, writers: FamilyWriters::default() }
    }

    async fn add(&mut self, cells: Vec<Cell>) -> Result<()> {
        let Some(first) = cells.first() else { return Ok(()) };
        if self.row != first.row() {
            self.row.clear();
            self.row.extend_from_slice(first.row());
            self.written.rows += 1;
        }
        self.written.cells += cells.len() as u64;
        let to = &self.to;
        let cells = cells.iter().map(Cell::as_ref);
        self.writers.append(first.row(), cells, |family| StoreFiles::writer(to, family)).await?;
        Ok(())
    }

    fn writer(to: &Files, name: &[u8]) -> Result<FamilyWriter> {
        let Files { descriptor, request, fs, folder, runtime } = to;
        let Some(family) = descriptor.families.get(name) else {
            let why = format!("table {} has got a family `{}` meanwhile", descriptor.name, name.escape_ascii());
            return Err(LoadError::Usage(why));
        };
        let set = |codec: Codec| FamilyDescriptor::with(family.clone(), "COMPRESSION", codec.of_family());
        let family = request.codec.map_or_else(|| family.clone(), set);
        let folder = format!("{folder}/{}", String::from_utf8_lossy(name));
        // No client gets to see tags.
        Ok(FamilyWriter::new(fs, folder, false, runtime, &family, false))
    }

    async fn finish(self) -> Result<Done> {
        let made = self.writers.finish().await?;
        let below = |path: &str| path.strip_prefix(&self.to.folder).unwrap_or(path).trim_start_matches('/').to_owned();
        let files = made.iter().map(|file| Made { path: below(&file.path), bytes: file.bytes }).collect();
        Ok(Done { files, ..self.written })
    }

    async fn abort(self) {
        self.writers.abort().await;
    }
}
