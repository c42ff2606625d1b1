//! Rows of one Parquet file, a batch at a time: records of columns that are told apart by place or name, or one cell a row.
//!
//! A file with exactly these columns holds cells, as `ferrobase export` writes them:
//!
//! ```text
//! row BYTES | column BYTES (family:qualifier) | timestamp INT64 (ms) | type TEXT (Put, Delete, …) | value BYTES
//! ```
//!
//! Always true
//! - What is held of a file at a time fits [`Settings::memory_bytes`]: sizes are checked before the decoder runs, and batches are as
//!   short as that asks for. A file that needs more is refused.
//! - A panic of the decoder is an error that names the file.

use std::io::{BufReader, Read};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use model::CellType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::TypePtr;

use crate::batch;
use crate::columns::{self, Columns, add_cell, check_time, number, ttl_tag};
use crate::error::{LoadError, Result};
use crate::parquet_pages::{self, Chunk, Flaw};
use crate::parquet_values::{self as values, Column};
use crate::report::Progress;

pub use crate::parquet_pages::{MAGIC, RandomRead};
pub use crate::parquet_values::Values;

/// Most rows of a batch.
const ROWS_MAX: u64 = 1024;
/// Columns of a file that holds cells.
const CELL_COLUMNS: [&str; 5] = ["row", "column", "timestamp", "type", "value"];
/// The folder that says which family the cells of its files have.
const FAMILY_FOLDER: &str = "family";

/// How files are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How values become bytes.
    pub values: Values,
    /// Most bytes held of a file at a time. More: larger pages can be read, and less often.
    pub memory_bytes: u64,
}

/// Reads a file from its beginning to its end.
pub struct Stream {
    file: Arc<dyn RandomRead>,
    at: u64,
}

impl Stream {
    /// Begins at the beginning.
    pub fn new(file: Arc<dyn RandomRead>) -> Stream {
        Stream { file, at: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(self.at, out)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A file as the decoder wants it.
#[derive(Clone)]
struct Chunks {
    file: Arc<dyn RandomRead>,
    progress: Arc<dyn Progress>,
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.file.size()
    }
}

impl ChunkReader for Chunks {
    type T = BufReader<Stream>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(Stream { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let inside = start.checked_add(length as u64).is_some_and(|end| end <= self.file.size());
        let mut bytes = Vec::new();
        if inside {
            bytes.reserve_exact(length);
            Stream { file: self.file.clone(), at: start }.take(length as u64).read_to_end(&mut bytes)?;
        }
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} reach over the end of the file")));
        }
        self.progress.done(length as u64);
        Ok(bytes.into())
    }
}

/// Where a column comes from.
#[derive(Clone, Debug)]
enum Origin {
    /// A column of the batches.
    File(usize),
    /// A folder's name.
    Folder(Option<String>),
}

/// What the file's rows are.
#[derive(Debug)]
enum Layout {
    /// Cells, with the places of [`CELL_COLUMNS`] in a batch; and the family that a folder's name tells.
    Cells([usize; 5], Option<String>),
    /// Records.
    Fields(Vec<(columns::Column, Origin)>),
}

/// Reads one file.
pub struct ParquetFile {
    name: String,
    chunks: Chunks,
    metadata: ArrowReaderMetadata,
    /// Columns of the file that are read, in order.
    roots: Vec<usize>,
    layout: Layout,
    skip_empty: bool,
    settings: Settings,
    /// The row group after the one that is being read, and where that one begins.
    next_group: usize,
    offset: u64,
    reader: Option<ParquetRecordBatchReader>,
    rows_before: u64,
}

/// Rows at hand.
#[derive(Debug)]
pub struct Batch {
    columns: Vec<ArrayRef>,
    rows: usize,
    /// Rows of the file before them.
    before: u64,
}

fn damaged(file: &str, (why, offset): Flaw) -> LoadError {
    LoadError::Damaged { why, file: file.to_owned(), offset }
}

/// Runs the decoder; what it fails with, panics too, is told with the file's name.
fn guarded<T>(file: &str, offset: u64, decode: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    let why = match std::panic::catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason it tells");
            format!("the Parquet file is damaged: the decoder gave up, {text}")
        }
    };
    Err(damaged(file, (why, offset)))
}

/// The file's columns as they are read: text and bytes without copies, and old times (INT96) in microseconds, which hold all that Spark and Hive
/// write; in nanoseconds, which the decoder would take, the year 9999 becomes another one without a word.
fn schema_of(metadata: &ArrowReaderMetadata) -> SchemaRef {
    let schema = metadata.schema();
    let roots = metadata.parquet_schema().root_schema().get_fields();
    let is_int96 = |root: &TypePtr| root.is_primitive() && root.get_physical_type() == PhysicalType::INT96;
    let fields = schema.fields().iter().zip(roots).map(|(field, root)| match field.data_type() {
        DataType::Timestamp(..) if is_int96(root) => {
            Arc::new(field.as_ref().clone().with_data_type(DataType::Timestamp(TimeUnit::Microsecond, None)))
        }
        DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8View)),
        DataType::Binary => Arc::new(field.as_ref().clone().with_data_type(DataType::BinaryView)),
        _ => field.clone(),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

impl ParquetFile {
    /// Opens a file. `partitions` are columns that its folders tell: name and value, nothing for null.
    ///
    /// # Errors
    /// It is damaged or none, needs more memory than it may take, or its columns are others than those asked for.
    pub fn open(
        name: &str,
        file: Arc<dyn RandomRead>,
        progress: Arc<dyn Progress>,
        columns: Option<&Columns>,
        partitions: &[(String, Option<String>)],
        settings: Settings,
    ) -> Result<ParquetFile> {
        // A footer's content takes many times its bytes in memory.
        let footer = parquet_pages::check_footer(&*file, settings.memory_bytes / 32);
        let offset = footer.map_err(|flaw| damaged(name, flaw))?;
        let chunks = Chunks { file, progress };
        let metadata = guarded(name, offset, || {
            // Types are the file's own; what Arrow's writers say of them besides is not needed.
            let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
            let metadata = ArrowReaderMetadata::load(&chunks, options.clone())?;
            let options = options.with_schema(schema_of(&metadata));
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)
        })?;
        let usage = |why: String| LoadError::Usage(format!("{name}: {why}"));
        let (layout, roots) = layout(metadata.schema(), columns, partitions).map_err(usage)?;
        let skip_empty = columns.is_some_and(Columns::skips_empty);
        let (name, next_group, rows_before) = (name.to_owned(), 0, 0);
        Ok(ParquetFile {
            name,
            chunks,
            metadata,
            roots,
            layout,
            skip_empty,
            settings,
            next_group,
            offset,
            reader: None,
            rows_before,
        })
    }

    /// The next rows; nothing at the end.
    ///
    /// # Errors
    /// The file is damaged, or needs more memory than it may take.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        loop {
            if let Some(reader) = &mut self.reader {
                let next = guarded(&self.name, self.offset, || Ok(reader.next().transpose()?))?;
                if let Some(batch) = next {
                    return Ok(Some(self.batch(&batch)));
                }
                self.reader = None;
            }
            if self.next_group == self.metadata.metadata().num_row_groups() {
                return Ok(None);
            }
            self.reader = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Batch {
        let columns = batch.columns().iter().map(values::prepared).collect();
        let (rows, before) = (batch.num_rows(), self.rows_before);
        self.rows_before += rows as u64;
        Batch { columns, rows, before }
    }

    fn open_group(&mut self, group: usize) -> Result<ParquetRecordBatchReader> {
        let metadata = self.metadata.metadata().clone();
        let schema = metadata.file_metadata().schema_descr();
        let (mut held, mut per_row) = (0_u64, 0_u64);
        // A page, what it is made of, and those at hand of the other columns.
        let (most, page_max) = (self.settings.memory_bytes / 4 * 3, self.settings.memory_bytes / 4);
        for (leaf, column) in metadata.row_group(group).columns().iter().enumerate() {
            if self.roots.binary_search(&schema.get_column_root_idx(leaf)).is_err() {
                continue;
            }
            let (start, bytes) = guarded(&self.name, self.offset, || Ok(column.byte_range()))?;
            let described = schema.column(leaf);
            let levels = u8::from(described.max_def_level() > 0) + u8::from(described.max_rep_level() > 0);
            let chunk = Chunk { start, bytes, compression: column.compression(), levels };
            let needs = parquet_pages::check_chunk(&*self.chunks.file, chunk, page_max);
            let needs = needs.map_err(|flaw| damaged(&self.name, flaw))?;
            self.offset = start;
            held = held.saturating_add(needs.held);
            let fixed = u64::try_from(described.type_length()).unwrap_or(0);
            if fixed > page_max {
                let why = format!("values of {fixed} bytes each, {page_max} may be: give more --memory");
                return Err(damaged(&self.name, (why, start)));
            }
            per_row = per_row.saturating_add(needs.per_value.max(fixed));
        }
        if held > most {
            let why = format!("pages of row group {group} take {held} bytes at a time, {most} may be");
            let why = format!("{why}: give more --memory, or name fewer columns");
            return Err(damaged(&self.name, (why, self.offset)));
        }
        let in_batch = self.settings.memory_bytes - most;
        let rows = (in_batch / per_row.max(1)).clamp(1, ROWS_MAX);
        let mask = ProjectionMask::roots(schema, self.roots.iter().copied());
        guarded(&self.name, self.offset, || {
            let builder =
                ParquetRecordBatchReaderBuilder::new_with_metadata(self.chunks.clone(), self.metadata.clone());
            builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(rows as usize).build()
        })
    }

    /// The rows of a batch of this file.
    ///
    /// # Errors
    /// A column cannot be written as text.
    pub fn rows<'a>(&'a self, batch: &'a Batch) -> Result<Rows<'a>> {
        let usage = |why: String| LoadError::Usage(format!("{}: {why}", self.name));
        let column = |array: &'a ArrayRef| Column::new(&**array, self.settings.values).map_err(usage);
        // Cells are bytes and text whatever is asked for; of their times the numbers are taken.
        let columns = batch.columns.iter().map(column).collect::<Result<_>>()?;
        Ok(Rows { file: self, batch, columns, row: Vec::new(), scratch: Vec::new() })
    }
}

impl Batch {
    /// Rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// A row's number in the file, counted from 1.
    pub fn number(&self, at: usize) -> u64 {
        self.before + at as u64 + 1
    }
}

type Laid = (Layout, Vec<usize>);

fn layout(
    schema: &Schema,
    columns: Option<&Columns>,
    partitions: &[(String, Option<String>)],
) -> std::result::Result<Laid, String> {
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let Some(columns) = columns else { return cell_layout(schema, &names, partitions) };
    let known = || {
        let folders = partitions.iter().map(|(name, _)| name.as_str());
        names.iter().copied().chain(folders).collect::<Vec<_>>().join(", ")
    };
    let n_known = names.len() + partitions.len();
    let places: Vec<usize> = match columns.names() {
        Some(wanted) => {
            let place = |wanted: &String| {
                let mut all = names.iter().copied().chain(partitions.iter().map(|(name, _)| name.as_str()));
                let place = all.position(|name| name == wanted);
                place.filter(|_| !all.any(|name| name == wanted)).ok_or_else(|| {
                    format!("the file must have one column `{wanted}`, in it or as a folder; it has {}", known())
                })
            };
            wanted.iter().map(place).collect::<std::result::Result<_, _>>()?
        }
        None if [names.len(), n_known].contains(&columns.list().len()) => (0..columns.list().len()).collect(),
        None => {
            let (n, given) = (names.len(), columns.list().len());
            let known = known();
            return Err(format!(
                "{given} columns are given for its {n}: {known}; name those that count as NAME=COLUMN"
            ));
        }
    };
    let mut roots: Vec<usize> = places.iter().copied().filter(|place| *place < names.len()).collect();
    roots.sort_unstable();
    roots.dedup();
    let mut list = Vec::new();
    for (column, place) in columns.list().iter().zip(places) {
        let from = match place.checked_sub(names.len()) {
            Some(folder) => Origin::Folder(partitions[folder].1.clone()),
            None => {
                let (name, kind) = (names[place], schema.field(place).data_type());
                values::check(name, kind)?;
                let good = match column {
                    columns::Column::Timestamp => values::is_time(kind),
                    columns::Column::Ttl => kind.is_integer(),
                    columns::Column::Row | columns::Column::Cell { .. } => true,
                };
                if !good {
                    let kind = values::type_name(kind);
                    return Err(format!("column `{name}` is {kind}: times are whole numbers, or timestamps"));
                }
                Origin::File(roots.binary_search(&place).expect("made of them"))
            }
        };
        list.push((column.clone(), from));
    }
    // Nothing is read of a file whose columns are all folders, not even how many rows it has.
    if roots.is_empty() {
        return Err("no column of the file itself is named".to_owned());
    }
    Ok((Layout::Fields(list), roots))
}

fn cell_layout(
    schema: &Schema,
    names: &[&str],
    partitions: &[(String, Option<String>)],
) -> std::result::Result<Laid, String> {
    let mut places = [0; 5];
    for (place, wanted) in places.iter_mut().zip(CELL_COLUMNS) {
        let found = names.iter().position(|name| *name == wanted).filter(|_| names.len() == CELL_COLUMNS.len());
        *place = found.ok_or_else(|| {
            let (known, cells) = (names.join(", "), CELL_COLUMNS.join(", "));
            format!(
                "--columns is needed: the file's are {known}; only files of cells, with exactly {cells}, do without"
            )
        })?;
        let kind = schema.field(*place).data_type();
        let good = match wanted {
            "timestamp" => *kind == DataType::Int64,
            "type" => *kind == DataType::Utf8View,
            _ => matches!(kind, DataType::Utf8View | DataType::BinaryView),
        };
        if !good {
            let kind = values::type_name(kind);
            return Err(format!("column `{wanted}` of a file of cells cannot be {kind}; other files need --columns"));
        }
    }
    let family = partitions.iter().find(|(name, _)| name == FAMILY_FOLDER).and_then(|(_, value)| value.clone());
    Ok((Layout::Cells(places, family), (0..names.len()).collect()))
}

/// Rows of a batch.
pub struct Rows<'a> {
    file: &'a ParquetFile,
    batch: &'a Batch,
    columns: Vec<Column<'a>>,
    /// Of the last record: its row, as far as it is known.
    row: Vec<u8>,
    scratch: Vec<u8>,
}

impl Rows<'_> {
    /// The row of the last record, as far as it is known.
    pub fn row(&self) -> &[u8] {
        &self.row
    }

    /// Adds the cells of a record.
    ///
    /// # Errors
    /// What is wrong with the record, of which cells may have been added.
    pub fn cells(&mut self, at: usize, default_ms: i64, out: &mut batch::Batch) -> std::result::Result<(), String> {
        self.row.clear();
        let file = self.file;
        match &file.layout {
            Layout::Cells(places, family) => self.cell(at, places, family.as_deref(), default_ms, out),
            Layout::Fields(list) => self.fields(at, list, default_ms, out),
        }
    }

    fn cell(
        &mut self,
        at: usize,
        places: &[usize; 5],
        folder: Option<&str>,
        default_ms: i64,
        out: &mut batch::Batch,
    ) -> std::result::Result<(), String> {
        let [row, column, _, kind, value] = places.map(|place| &self.columns[place]);
        let times = self.batch.columns[places[2]].as_primitive::<Int64Type>();
        let time = if times.is_null(at) { default_ms } else { times.value(at) };
        let row = row.bytes(at).filter(|row| !row.is_empty()).ok_or("the row is empty")?;
        self.row.extend_from_slice(row);
        let column = column.bytes(at).ok_or("the column is null")?;
        if folder.is_some_and(|family| column.split(|byte| *byte == b':').next() != Some(family.as_bytes())) {
            return Err("the cell is of another family than its folder says".to_owned());
        }
        let kind = kind.bytes(at).map(|kind| String::from_utf8_lossy(kind));
        let value = value.bytes(at).unwrap_or_default();
        add_cell(&self.row, column, time, kind.as_deref(), value, out)
    }

    fn fields(
        &mut self,
        at: usize,
        list: &[(columns::Column, Origin)],
        default_ms: i64,
        out: &mut batch::Batch,
    ) -> std::result::Result<(), String> {
        let (mut time, mut ttl_ms) = (default_ms, 0);
        for (column, from) in list {
            let told = |what: &str| match from {
                Origin::Folder(text) => text.as_ref().map(|text| number(text.as_bytes(), what)).transpose(),
                Origin::File(place) => values::milliseconds(&*self.batch.columns[*place], at),
            };
            match column {
                columns::Column::Timestamp => time = told("timestamp")?.unwrap_or(default_ms),
                columns::Column::Ttl => ttl_ms = told("time to live")?.unwrap_or(0),
                columns::Column::Row => {
                    let row = value(&self.columns, from, at, &mut self.scratch)?;
                    self.row.extend_from_slice(row.filter(|row| !row.is_empty()).ok_or("the row key is empty")?);
                }
                columns::Column::Cell { .. } => {}
            }
        }
        check_time(time)?;
        let tags = ttl_tag(ttl_ms);
        for (column, from) in list {
            let columns::Column::Cell { family, qualifier } = column else { continue };
            let Some(value) = value(&self.columns, from, at, &mut self.scratch)? else { continue };
            if value.is_empty() && self.file.skip_empty {
                continue;
            }
            out.add(&self.row, family, qualifier, time, CellType::PUT, value, &tags)?;
        }
        Ok(())
    }
}

fn value<'s>(
    columns: &'s [Column<'_>],
    from: &'s Origin,
    at: usize,
    scratch: &'s mut Vec<u8>,
) -> std::result::Result<Option<&'s [u8]>, String> {
    match from {
        Origin::Folder(text) => Ok(text.as_deref().map(str::as_bytes)),
        Origin::File(place) => columns[*place].value(at, scratch),
    }
}

impl std::fmt::Debug for ParquetFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("name", &self.name).field("layout", &self.layout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
