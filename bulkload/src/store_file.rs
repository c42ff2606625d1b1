//! Making, measuring and splitting store files.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::{BlobWriter, Filesystem};
use model::schema::FamilyDescriptor;
use model::{Cell, CellRef};
use runtime::Runtime;
use storage::StorageError;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::file::writer::{FileMeta, HFileWriter, WriterOptions};
use storage::source::{CellSource, Progress as Step};

use crate::error::{LoadError, Result};

/// Bytes that gather before they go to storage.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes after which a file ends with the row: stores that copy objects do so up to 5 GB.
pub const FILE_BYTES_MAX: u64 = 2 << 30;
/// Cells between two moments for others.
const CELLS_BETWEEN_PAUSES: u64 = 1024;
/// Blocks kept while a file is walked.
const CACHE_BYTES: u64 = 2 << 20;
/// Bytes copied at once.
const COPY_BYTES: usize = 4 << 20;

/// A store file that a load may offer to a region.
#[derive(Clone, Debug)]
pub struct StoreFile {
    /// Where it lies.
    pub fs: Arc<dyn Filesystem>,
    /// Its key there.
    pub path: String,
    /// Whether that is the store's own root.
    pub on_root: bool,
    /// Its cells' family.
    pub family: Bytes,
    /// Row of its first cell.
    pub first_row: Bytes,
    /// Row of its last cell.
    pub last_row: Bytes,
    /// Bytes.
    pub bytes: u64,
    /// Cells.
    pub cells: u64,
}

/// Looks at a store file: its ends, and all of it if asked. `None`: it holds no cells.
///
/// # Errors
/// It is damaged, or no store file.
pub async fn measure(
    fs: &Arc<dyn Filesystem>,
    path: &str,
    bytes: u64,
    on_root: bool,
    verify: bool,
) -> Result<Option<StoreFile>> {
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    let reader = Arc::new(HFileReader::open(fs, path, bytes, cache).await?);
    if verify {
        reader.verify().await?;
    }
    let Some(first) = seek(&mut reader.source(), b"").await? else { return Ok(None) };
    let Some(last) = reader.last_key() else {
        let why = format!("store file `{path}` does not say its last key (hfile.LASTKEY); it cannot be loaded");
        return Err(StorageError::Invalid(why).into());
    };
    Ok(Some(StoreFile {
        fs: fs.clone(),
        path: path.to_owned(),
        on_root,
        family: Bytes::copy_from_slice(first.family()),
        first_row: first.row_bytes(),
        last_row: Bytes::copy_from_slice(last.row()),
        bytes,
        cells: reader.entry_count(),
    }))
}

async fn seek(source: &mut impl CellSource, row: &[u8]) -> Result<Option<Cell>> {
    if source.seek(&Cell::first_on_row(row))? == Step::NeedsBlock {
        source.load().await?;
    }
    Ok(source.cell())
}

/// Copies a file to a key of the store's root.
///
/// # Errors
/// Either end fails.
pub async fn copy(file: &StoreFile, root: &Arc<dyn Filesystem>, path: &str) -> Result<StoreFile> {
    let reader = file.fs.open(&file.path).await?;
    let mut writer = root.create_blob(path).await?;
    let mut at = 0;
    let copied: Result<()> = async {
        while at < file.bytes {
            let len = usize::try_from(file.bytes - at).unwrap_or(COPY_BYTES).min(COPY_BYTES);
            let data = reader.read_at(at, len).await?;
            if data.is_empty() {
                let why = "it is shorter than it was".to_owned();
                return Err(LoadError::Input { what: "copy", why, file: file.path.clone() });
            }
            at += data.len() as u64;
            writer.write(data).await?;
        }
        Ok(())
    }
    .await;
    match copied {
        Ok(()) => {
            writer.finish().await?;
            Ok(StoreFile { fs: root.clone(), path: path.to_owned(), on_root: true, ..file.clone() })
        }
        Err(error) => {
            writer.abort().await;
            Err(error)
        }
    }
}

/// Writes the store files of one family in one folder, each row in one file.
pub struct FamilyWriter {
    fs: Arc<dyn Filesystem>,
    folder: String,
    on_root: bool,
    runtime: Runtime,
    family: FamilyDescriptor,
    tags: bool,
    open: Option<Open>,
    made: Vec<StoreFile>,
    unpaused: u64,
}

struct Open {
    writer: HFileWriter,
    blob: Box<dyn BlobWriter>,
    path: String,
    first_row: Bytes,
    last_row: Vec<u8>,
}

impl std::fmt::Debug for FamilyWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FamilyWriter").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl FamilyWriter {
    /// Begins; files come with the first cell.
    pub fn new(
        fs: &Arc<dyn Filesystem>,
        folder: String,
        on_root: bool,
        runtime: &Runtime,
        family: &FamilyDescriptor,
        tags: bool,
    ) -> FamilyWriter {
        let (fs, runtime, family) = (fs.clone(), runtime.clone(), family.clone());
        FamilyWriter { fs, folder, on_root, runtime, family, tags, open: None, made: Vec::new(), unpaused: 0 }
    }

    /// Adds the next cells in order, all of one row; answers their bytes.
    ///
    /// # Errors
    /// A cell is out of order, or storage fails.
    pub async fn append(&mut self, row: &[u8], cells: impl Iterator<Item = CellRef<'_>>) -> Result<u64> {
        if let Some(open) = &self.open
            && open.writer.len() >= FILE_BYTES_MAX
            && open.last_row != row
        {
            self.end_file().await?;
        }
        if self.open.is_none() {
            self.open = Some(self.begin(row).await?);
        }
        let open = self.open.as_mut().expect("just opened");
        let mut bytes = 0;
        for cell in cells {
            open.writer.append(cell)?;
            bytes += cell.as_bytes().len() as u64;
            self.unpaused += 1;
        }
        if open.last_row != row {
            open.last_row.clear();
            open.last_row.extend_from_slice(row);
        }
        if open.writer.pending() >= WRITE_BYTES {
            let data = open.writer.take();
            open.blob.write(data).await?;
        }
        if self.unpaused >= CELLS_BETWEEN_PAUSES {
            self.unpaused = 0;
            runtime::task::yield_now().await;
        }
        Ok(bytes)
    }

    async fn begin(&mut self, row: &[u8]) -> Result<Open> {
        let path = format!("{}/{:032x}", self.folder, self.runtime.random.next_u128());
        let family = &self.family;
        let writer = HFileWriter::new(WriterOptions {
            compression: family.compression(),
            encoding: family.data_block_encoding(),
            block_size: family.block_size() as usize,
            bloom: family.bloom_type(),
            bloom_prefix_len: family.bloom_prefix_len().unwrap_or(0),
            tags: self.tags,
            mvcc: false,
            create_time_ms: self.runtime.clock.now_ms(),
            column_filter: true,
            for_load: true,
            ..WriterOptions::default()
        });
        let blob = self.fs.create_blob(&path).await?;
        Ok(Open { writer, blob, path, first_row: Bytes::copy_from_slice(row), last_row: row.to_vec() })
    }

    async fn end_file(&mut self) -> Result<()> {
        let Some(Open { mut writer, mut blob, path, first_row, last_row }) = self.open.take() else { return Ok(()) };
        let ended = match writer.finish(&FileMeta::default()) {
            Ok(finished) => blob.write(writer.take()).await.map(|()| finished).map_err(LoadError::from),
            Err(error) => Err(error.into()),
        };
        let finished = match ended {
            Ok(finished) => finished,
            Err(error) => {
                blob.abort().await;
                return Err(error);
            }
        };
        blob.finish().await?;
        self.made.push(StoreFile {
            fs: self.fs.clone(),
            path,
            on_root: self.on_root,
            family: self.family.name.clone(),
            first_row,
            last_row: last_row.into(),
            bytes: finished.size,
            cells: finished.cells,
        });
        Ok(())
    }

    /// Ends; the files made, in order.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn finish(mut self) -> Result<Vec<StoreFile>> {
        self.end_file().await?;
        Ok(self.made)
    }

    /// Gives up the file that is not whole; those made before stay.
    pub async fn abort(self) {
        if let Some(open) = self.open {
            open.blob.abort().await;
        }
    }
}

/// The writers of all families that have come.
#[derive(Debug, Default)]
pub struct FamilyWriters(Vec<(Bytes, FamilyWriter)>);

impl FamilyWriters {
    /// Adds the next cells in order, all of one row; answers their bytes. A family that comes for the first time gets its writer from `make`.
    ///
    /// # Errors
    /// There is no such family, a cell is out of order, or storage fails.
    pub async fn append<'c>(
        &mut self,
        row: &[u8],
        cells: impl Iterator<Item = CellRef<'c>>,
        make: impl Fn(&[u8]) -> Result<FamilyWriter>,
    ) -> Result<u64> {
        let (mut cells, mut bytes) = (cells.peekable(), 0);
        while let Some(family) = cells.peek().map(|cell| cell.family()) {
            let at = match self.0.iter().position(|(known, _)| known == family) {
                Some(at) => at,
                None => {
                    self.0.push((Bytes::copy_from_slice(family), make(family)?));
                    self.0.len() - 1
                }
            };
            let of_family = std::iter::from_fn(|| cells.next_if(|cell| cell.family() == family));
            bytes += self.0[at].1.append(row, of_family).await?;
        }
        Ok(bytes)
    }

    /// Ends all; the files made. After a failure none is left open.
    ///
    /// # Errors
    /// Storage fails.
    pub async fn finish(mut self) -> Result<Vec<StoreFile>> {
        let mut made = Vec::new();
        while let Some((_, writer)) = self.0.pop() {
            match writer.finish().await {
                Ok(files) => made.extend(files),
                Err(error) => {
                    self.abort().await;
                    return Err(error);
                }
            }
        }
        Ok(made)
    }

    /// Gives up the files that are not whole.
    pub async fn abort(self) {
        for (_, writer) in self.0 {
            writer.abort().await;
        }
    }
}

/// Writes the cells of a file anew, one file for each of the ranges that begin at these rows. Its own settings give way to the family's.
///
/// # Errors
/// The file is damaged, or storage fails.
pub async fn split(
    file: &StoreFile,
    starts: &[Bytes],
    root: &Arc<dyn Filesystem>,
    folder: &str,
    runtime: &Runtime,
    family: &FamilyDescriptor,
) -> Result<Vec<StoreFile>> {
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    let reader = Arc::new(HFileReader::open(&file.fs, &file.path, file.bytes, cache).await?);
    let mut source = reader.source();
    let mut next = starts.iter().skip_while(|start| **start <= file.first_row).peekable();
    let writer = || FamilyWriter::new(root, folder.to_owned(), true, runtime, family, reader.has_tags());
    let (mut out, mut made) = (writer(), Vec::new());
    seek(&mut source, b"").await?;
    while let Some(cell) = source.cell() {
        if next.peek().is_some_and(|start| cell.row() >= &start[..]) {
            while next.next_if(|start| cell.row() >= &start[..]).is_some() {}
            made.extend(std::mem::replace(&mut out, writer()).finish().await?);
        }
        out.append(cell.row(), std::iter::once(cell.as_ref())).await?;
        if source.advance()? == Step::NeedsBlock {
            source.load().await?;
        }
    }
    made.extend(out.finish().await?);
    Ok(made)
}
