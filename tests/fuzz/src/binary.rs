//! SequenceFiles and Parquet, as a bulk load reads them: cells, or an error that names the place; no panic and no memory beyond what is said.
//! What the Parquet decoder panics of is told as damage, so only its own memory and time are seen here.

use std::io::Cursor;
use std::sync::Arc;

use bulkload::batch::Batch;
use bulkload::columns::Columns;
use bulkload::parquet_file::{ParquetFile, RandomRead, Settings, Values};
use bulkload::report::Silent;
use bulkload::sequence_file::SequenceFile;
use bytes::Bytes;

/// Names and marks of SequenceFiles.
pub(crate) const SEQUENCE_WORDS: &[&[u8]] = &[
    b"SEQ\x06",
    b"\xff\xff\xff\xff",
    b"org.apache.hadoop.hbase.io.ImmutableBytesWritable",
    b"org.apache.hadoop.hbase.client.Result",
    b"org.apache.hadoop.io.compress.DefaultCodec",
    b"org.apache.hadoop.io.compress.SnappyCodec",
    b"\x8f\xff",
    b"\x84\x7f\xff\xff\xff",
    b"\x78\x9c",
    b"\x28\xb5\x2f\xfd",
];
/// Marks of Parquet, and numbers as its footer writes them.
pub(crate) const PARQUET_WORDS: &[&[u8]] = &[
    b"PAR1",
    b"row",
    b"column",
    b"timestamp",
    b"value",
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x15\x00",
];
/// Most bytes that a Parquet file's reading may hold here.
const PARQUET_BYTES_MAX: u64 = 4 << 20;
/// Most cells that are looked at: a few bytes stand for any number of equal ones.
const CELLS_MAX: usize = 100_000;

/// Reads a SequenceFile to its end or its damage.
pub fn seqfile(data: &[u8]) {
    let Ok(mut file) = SequenceFile::open(Box::new(Cursor::new(data.to_vec()))) else { return };
    let (mut cells, mut before, mut seen) = (Batch::default(), 0, 0);
    loop {
        match file.advance() {
            Ok(true) => {}
            Ok(false) => break,
            Err(damage) => {
                assert!(damage.offset <= data.len() as u64, "damage behind the end: {damage:?}");
                break;
            }
        }
        assert!(file.offset() >= before && file.offset() <= data.len() as u64, "{} behind {before}", file.offset());
        before = file.offset();
        let _ = file.cells(&mut cells); // of a bad record some
        assert!(cells.iter().all(|cell| cell.row() == file.row()), "a cell of another row");
        seen += 1 + cells.len();
        cells.drop_record();
        if seen > CELLS_MAX {
            break;
        }
    }
}

struct InMemory(Bytes);

impl RandomRead for InMemory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

fn parquet_as(data: &Bytes, columns: Option<&Columns>, values: Values) {
    let file = Arc::new(InMemory(data.clone()));
    let settings = Settings { values, memory_bytes: PARQUET_BYTES_MAX };
    let Ok(mut file) = ParquetFile::open("input", file, Arc::new(Silent), columns, &[], settings) else { return };
    let (mut cells, mut seen) = (Batch::default(), 0);
    while let Ok(Some(batch)) = file.next_batch() {
        let Ok(mut rows) = file.rows(&batch) else { return };
        for at in 0..batch.len() {
            let _ = rows.cells(at, 7, &mut cells); // of a bad record some
            assert!(cells.iter().all(|cell| cell.row() == rows.row()), "a cell of another row");
            seen += 1 + cells.len();
            cells.drop_record();
        }
        if seen > CELLS_MAX {
            return;
        }
    }
}

/// Reads a Parquet file as cells, and as records of two columns.
pub fn parquet(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    parquet_as(&data, None, Values::Text);
    let columns = Columns::parse("HBASE_ROW_KEY,f:a").expect("columns");
    for values in [Values::Text, Values::Bytes] {
        parquet_as(&data, Some(&columns), values);
    }
}
