//! Cells as Parquet: a record for each cell, or for each row. No I/O. The layouts are in `docs/formats/export.md`.
//!
//! Always true: what is held is told by `held`, and goes out as a row group when somebody asks for it.

use std::io::Write;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use model::{Cell, CellType};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::encoder::{Encoder, RowValues, column_name};
use super::request::Codec;
use crate::error::{LoadError, Result};

/// Bytes of cells that go to the writer at once.
const BATCH_BYTES: usize = 256 << 10;

/// Bytes that the writer has let go.
#[derive(Debug, Default)]
struct Out(Vec<u8>);

impl Write for Out {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> LoadError {
    LoadError::Encode(error.to_string())
}

/// A file being written, by batches.
struct File {
    schema: Arc<Schema>,
    writer: ArrowWriter<Out>,
    /// What the writer held after the last batch.
    held: usize,
}

impl File {
    fn new(fields: Vec<Field>, codec: Codec) -> Result<File> {
        let schema = Arc::new(Schema::new(fields));
        let compression = match codec {
            Codec::None => Compression::UNCOMPRESSED,
            Codec::Gzip => Compression::GZIP(GzipLevel::default()),
            Codec::Zstd => Compression::ZSTD(ZstdLevel::default()),
            Codec::Snappy => Compression::SNAPPY,
            Codec::Lz4 => Compression::LZ4_RAW,
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_max_row_group_row_count(None)
            .set_created_by(format!("ferrobase {}", env!("CARGO_PKG_VERSION")))
            .build();
        let writer = ArrowWriter::try_new(Out::default(), schema.clone(), Some(properties)).map_err(failed)?;
        Ok(File { schema, writer, held: 0 })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)?;
        self.writer.write(&batch).map_err(failed)?;
        self.held = self.writer.memory_size();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.flush().map_err(failed)?;
        self.held = self.writer.memory_size();
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.writer.finish().map(drop).map_err(failed)?;
        self.held = 0;
        Ok(())
    }

    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.writer.inner_mut().0
    }
}

/// A record for each cell.
pub(super) struct Cells {
    file: File,
    row: BinaryBuilder,
    column: BinaryBuilder,
    timestamp: Int64Builder,
    kind: StringBuilder,
    value: BinaryBuilder,
    bytes: usize,
    name: Vec<u8>,
}

impl Cells {
    pub fn new(codec: Codec) -> Result<Cells> {
        let fields = vec![
            Field::new("row", DataType::Binary, false),
            Field::new("column", DataType::Binary, false),
            Field::new("timestamp", DataType::Int64, false),
            Field::new("type", DataType::Utf8, false),
            Field::new("value", DataType::Binary, true),
        ];
        Ok(Cells {
            file: File::new(fields, codec)?,
            row: BinaryBuilder::new(),
            column: BinaryBuilder::new(),
            timestamp: Int64Builder::new(),
            kind: StringBuilder::new(),
            value: BinaryBuilder::new(),
            bytes: 0,
            name: Vec::new(),
        })
    }

    fn settle(&mut self) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.bytes = 0;
        self.file.write(vec![
            Arc::new(self.row.finish()),
            Arc::new(self.column.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.kind.finish()),
            Arc::new(self.value.finish()),
        ])
    }
}

/// A type's name, as JSON Lines have it.
fn kind_name(kind: CellType) -> &'static str {
    match kind {
        CellType::DELETE => "Delete",
        CellType::DELETE_FAMILY_VERSION => "DeleteFamilyVersion",
        CellType::DELETE_COLUMN => "DeleteColumn",
        CellType::DELETE_FAMILY => "DeleteFamily",
        _ => "Put",
    }
}

impl Encoder for Cells {
    fn append(&mut self, cell: &Cell) -> Result<()> {
        self.name.clear();
        column_name(cell.family(), cell.qualifier(), &mut self.name);
        self.row.append_value(cell.row());
        self.column.append_value(&self.name);
        self.timestamp.append_value(cell.timestamp());
        self.kind.append_value(kind_name(cell.cell_type()));
        self.value.append_option((cell.cell_type() == CellType::PUT).then(|| cell.value()));
        self.bytes += cell.bytes().len();
        if self.bytes >= BATCH_BYTES { self.settle() } else { Ok(()) }
    }

    fn held(&self) -> usize {
        self.bytes + self.file.held
    }

    fn flush(&mut self) -> Result<()> {
        self.settle()?;
        self.file.flush()
    }

    fn ready(&mut self) -> usize {
        self.file.out().len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.file.out()).into()
    }

    fn end(&mut self) -> Result<()> {
        self.settle()?;
        self.file.end()
    }
}

/// A record for each row.
pub(super) struct Rows {
    file: File,
    values: RowValues,
    row: BinaryBuilder,
    columns: Vec<BinaryBuilder>,
    bytes: usize,
}

impl Rows {
    pub fn new(codec: Codec, fields: Vec<(Bytes, Bytes)>) -> Result<Rows> {
        let mut schema = vec![Field::new("row", DataType::Binary, false)];
        for (family, qualifier) in &fields {
            let mut name = Vec::new();
            column_name(family, qualifier, &mut name);
            schema.push(Field::new(String::from_utf8(name).map_err(failed)?, DataType::Binary, true));
        }
        let columns = fields.iter().map(|_| BinaryBuilder::new()).collect();
        let (file, values) = (File::new(schema, codec)?, RowValues::new(fields));
        Ok(Rows { file, values, row: BinaryBuilder::new(), columns, bytes: 0 })
    }

    fn end_row(&mut self) -> Result<()> {
        if self.values.row.is_empty() {
            return Ok(());
        }
        self.row.append_value(&self.values.row);
        for (column, value) in self.columns.iter_mut().zip(&self.values.values) {
            column.append_option(value.as_deref());
        }
        self.bytes += self.values.bytes;
        self.values.clear();
        if self.bytes >= BATCH_BYTES { self.settle() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<()> {
        if self.bytes == 0 {
            return Ok(());
        }
        self.bytes = 0;
        let row: ArrayRef = Arc::new(self.row.finish());
        let values = self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
        let columns = std::iter::once(row).chain(values).collect();
        self.file.write(columns)
    }
}

impl Encoder for Rows {
    fn append(&mut self, cell: &Cell) -> Result<()> {
        if !self.values.continues(cell) {
            self.end_row()?;
        }
        self.values.take(cell);
        Ok(())
    }

    fn held(&self) -> usize {
        self.bytes + self.values.bytes + self.file.held
    }

    fn flush(&mut self) -> Result<()> {
        self.settle()?;
        self.file.flush()
    }

    fn ready(&mut self) -> usize {
        self.file.out().len()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(self.file.out()).into()
    }

    fn end(&mut self) -> Result<()> {
        self.end_row()?;
        self.settle()?;
        self.file.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn encode(mut encoder: impl Encoder, cells: &[Cell], group_bytes: usize) -> Bytes {
        let mut out = Vec::new();
        for cell in cells {
            encoder.append(cell).expect("appended");
            if encoder.held() >= group_bytes {
                encoder.flush().expect("flushed");
            }
            out.extend(encoder.take());
        }
        encoder.end().expect("ended");
        out.extend(encoder.take());
        out.into()
    }

    #[test]
    fn cells_are_read_back_with_every_codec() {
        let cell = |at: usize| {
            let (row, value) = (format!("row{:04}", at / 3), vec![u8::try_from(at % 256).expect("small"); at % 50]);
            let kind = if at % 7 == 3 { CellType::DELETE_COLUMN } else { CellType::PUT };
            let value = if kind == CellType::PUT { &value[..] } else { &[] };
            Cell::new(row.as_bytes(), b"f", b"q\xff", at as i64, kind, value).expect("a cell")
        };
        let cells: Vec<Cell> = (0..20_000).map(cell).collect();
        for codec in [Codec::None, Codec::Gzip, Codec::Zstd, Codec::Snappy, Codec::Lz4] {
            let file = encode(Cells::new(codec).expect("new"), &cells, 150_000);
            let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a file");
            assert!(reader.metadata().num_row_groups() > 2, "{codec:?}: groups are bounded");
            let mut read = Vec::new();
            for batch in reader.build().expect("a reader") {
                let batch = batch.expect("a batch");
                let binary = |name: &str| batch.column_by_name(name).expect("a column").as_binary::<i32>().clone();
                let (rows, columns, values) = (binary("row"), binary("column"), binary("value"));
                let times = batch.column_by_name("timestamp").expect("a column").as_primitive::<Int64Type>().clone();
                let kinds = batch.column_by_name("type").expect("a column").as_string::<i32>().clone();
                for at in 0..batch.num_rows() {
                    let kind = if kinds.value(at) == "Put" { CellType::PUT } else { CellType::DELETE_COLUMN };
                    assert_eq!(kinds.value(at), kind.to_string());
                    let (family, qualifier) = columns.value(at).split_at(1);
                    let made =
                        Cell::new(rows.value(at), family, &qualifier[1..], times.value(at), kind, values.value(at));
                    read.push(made.expect("a cell"));
                }
            }
            assert!(read == cells, "{codec:?}");
        }
    }

    #[test]
    fn rows_have_a_column_for_each_field_and_null_where_there_is_nothing() {
        let put = |row: &str, qualifier: &str, value: &str| {
            Cell::put(row.as_bytes(), b"f", qualifier.as_bytes(), 1, value.as_bytes()).expect("a cell")
        };
        let cells = [put("r", "a", "1"), put("r", "b", ""), put("s", "b", "new"), put("s", "b", "old")];
        let fields = ["a", "b"].map(|qualifier| (Bytes::from("f"), Bytes::from(qualifier))).to_vec();
        let file = encode(Rows::new(Codec::Zstd, fields).expect("new"), &cells, usize::MAX);
        let mut reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("a file").build().expect("a reader");
        let batch = reader.next().expect("one").expect("a batch");
        let shown = |name: &str| {
            let column = batch.column_by_name(name).expect("a column").as_binary::<i32>();
            column.iter().map(|value| value.map(|it| String::from_utf8_lossy(it).into_owned())).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(shown("row"), [some("r"), some("s")]);
        assert_eq!(shown("f:a"), [some("1"), None]);
        assert_eq!(shown("f:b"), [some(""), some("new")]);
        assert!(reader.next().is_none());
    }
}
