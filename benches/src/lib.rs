//! What the benches share: cells and rows that are always the same, a region over any filesystem, and programs that are measured.

pub mod measure;

use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use model::mutation::{Durability, Mutation, MutationKind};
use model::region::RegionInfo;
use model::schema::{Compression, DataBlockEncoding, FamilyDescriptor, TableDescriptor};
use model::{Cell, SeqNo};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::file::writer::{FileMeta, WriterOptions, write_all};
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

/// The only family.
pub const FAMILY: &str = "f";
/// Columns of a row.
pub const COLUMNS: usize = 10;
/// Milliseconds of all cells.
pub const WRITTEN_MS: i64 = 1_700_000_000_000;

/// Compressions with their names.
pub const COMPRESSIONS: [(&str, Compression); 5] = [
    ("NONE", Compression::None),
    ("SNAPPY", Compression::Snappy),
    ("LZ4", Compression::Lz4),
    ("ZSTD", Compression::Zstd),
    ("GZ", Compression::Gz),
];

/// Encodings that are written, with their names.
pub const ENCODINGS: [(&str, DataBlockEncoding); 3] = [
    ("NONE", DataBlockEncoding::None),
    ("FAST_DIFF", DataBlockEncoding::FastDiff),
    ("ROW_INDEX_V1", DataBlockEncoding::RowIndexV1),
];

/// Numbers that are the same in each run (SplitMix64).
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

/// The key of a row; keys in order of their numbers.
pub fn row(number: usize) -> Bytes {
    format!("user{number:012}").into()
}

const WORDS: &[&str] = &[
    "depends",
    "library",
    "version",
    "package",
    "shared",
    "runtime",
    "files",
    "for",
    "the",
    "and",
    "with",
    "stable",
    "tools",
    "data",
    "python3",
    "source",
    "amd64",
    "optional",
    "section",
    "provides",
    "common",
    "debug",
    "module",
    "interface",
    "support",
    "2.4",
    "1:7",
    "small",
    "fast",
    "network",
    "client",
    "server",
];

/// A value of words and numbers, of about a hundred bytes: neither noise nor one byte repeated.
pub fn value(numbers: &mut Numbers) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < 90 {
        text.push_str(WORDS[numbers.below(WORDS.len())]);
        text.push(' ');
        if numbers.below(4) == 0 {
            text.push_str(&numbers.below(100_000).to_string());
            text.push(' ');
        }
    }
    text.into_bytes()
}

/// The cells of a row.
pub fn row_cells(number: usize) -> Vec<Cell> {
    let (row, mut numbers) = (row(number), Numbers(number as u64));
    let cell = |column: usize| {
        let value = value(&mut numbers);
        Cell::put(&row, FAMILY.as_bytes(), format!("field{column}").as_bytes(), WRITTEN_MS, &value)
            .expect("short parts")
    };
    (0..COLUMNS).map(cell).collect()
}

/// The cells of so many rows, in order, each row with its sequence number.
pub fn cells(rows: usize) -> Vec<Cell> {
    let numbered =
        |number: usize| row_cells(number).into_iter().map(move |cell| cell.with_seqno(SeqNo(number as u64 + 1)));
    (0..rows).flat_map(numbered).collect()
}

/// A put of a whole row.
pub fn put(number: usize, durability: Durability) -> Mutation {
    let cells = row_cells(number);
    Mutation { cells, durability, return_results: false, ..Mutation::new(MutationKind::Put, row(number)) }
}

/// The bytes of a store file with these cells, which are in order.
pub fn store_file(cells: &[Cell], compression: Compression, encoding: DataBlockEncoding) -> Bytes {
    let options = WriterOptions { compression, encoding, ..WriterOptions::default() };
    write_all(options, cells, &FileMeta::default()).expect("cells in order")
}

/// A log of its own.
pub async fn log(fs: &Arc<dyn Filesystem>) -> Log {
    let runtime = Runtime::system();
    let stream = runtime.random.next_u64();
    Log::create(fs.clone(), runtime, LogSettings::default(), stream).await.expect("a new stream")
}

/// A region for rows of these benches.
pub async fn region(fs: &Arc<dyn Filesystem>, table: &str) -> Arc<Region> {
    let runtime = Runtime::system();
    let table = TableDescriptor::new(table.parse().expect("table name")).with_family(FamilyDescriptor::new(FAMILY));
    let info = RegionInfo::new(table.name.clone(), Bytes::new(), Bytes::new(), 1);
    let ctx = RegionContext {
        runtime: runtime.clone(),
        fs: fs.clone(),
        log: log(fs).await,
        budget: Budget::new(2 << 30),
        cache: Arc::new(BlockCache::new(1 << 30)),
        settings: RegionSettings { blocking_bytes: 2 << 30, ..RegionSettings::default() },
    };
    Region::create(fs, &runtime, &table.name.to_string(), &info, &table, 1).await.expect("region");
    Region::open(ctx, info, &table.name.to_string(), 2, Arc::new(table)).await.expect("region")
}

/// A runtime like the server's.
pub fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}
