//! HBase's own reader over our store files, and our reader over those of HBase's own writer: a matrix of compression, encoding,
//! bloom filter, tags, sequence numbers and index depth.

use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellOrder, CellType, SeqNo};
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::file::writer::{FileMeta, WriterOptions, write_all};
use storage::source::{CellSource, Progress};

use crate::hbase::Java;

/// One point of the matrix.
#[derive(Clone, Copy, Debug)]
struct Shape {
    compression: Compression,
    encoding: DataBlockEncoding,
    bloom: BloomType,
    tags: bool,
    mvcc: bool,
    block_size: usize,
    index_block_size: usize,
    /// Values that do not compress, as long as this.
    value_len: usize,
}

const COMPRESSIONS: [(Compression, &str); 5] = [
    (Compression::None, "NONE"),
    (Compression::Gz, "GZ"),
    (Compression::Lz4, "LZ4"),
    (Compression::Zstd, "ZSTD"),
    (Compression::Snappy, "SNAPPY"),
];
const ENCODINGS: [(DataBlockEncoding, &str); 3] = [
    (DataBlockEncoding::None, "NONE"),
    (DataBlockEncoding::FastDiff, "FAST_DIFF"),
    (DataBlockEncoding::RowIndexV1, "ROW_INDEX_V1"),
];
const BLOOMS: [(BloomType, &str); 3] =
    [(BloomType::None, "NONE"), (BloomType::Row, "ROW"), (BloomType::RowCol, "ROWCOL")];

fn name<T: PartialEq + Copy>(names: &[(T, &'static str)], wanted: T) -> &'static str {
    names.iter().find(|(value, _)| *value == wanted).expect("listed").1
}

fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for (at, (compression, _)) in COMPRESSIONS.iter().enumerate() {
        for (encoding, _) in ENCODINGS {
            for (bloom, _) in BLOOMS {
                for (tags, mvcc) in [(false, false), (true, true)] {
                    // One, two and more levels of index take turns.
                    let index_block_size = [131_072, 1024, 256][all.len() % 3];
                    let block_size = if index_block_size == 256 { 64 } else { [512, 2048][at % 2] };
                    let compression = *compression;
                    all.push(Shape {
                        compression,
                        encoding,
                        bloom,
                        tags,
                        mvcc,
                        block_size,
                        index_block_size,
                        value_len: 0,
                    });
                }
            }
        }
        // Blocks larger than the codecs' buffers, with and without anything to compress.
        for value_len in [0, 2000] {
            let (encoding, bloom) = (DataBlockEncoding::None, BloomType::Row);
            all.push(Shape {
                compression: *compression,
                encoding,
                bloom,
                tags: false,
                mvcc: true,
                block_size: 300_000,
                index_block_size: 131_072,
                value_len,
            });
        }
    }
    all
}

/// Cells with everything that a file can hold, in order.
fn cells(shape: Shape) -> Vec<Cell> {
    let mut noise = 7u64;
    let mut next = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (noise >> 33) as usize
    };
    let mut all = Vec::new();
    for i in 0..150u64 {
        let row = match i % 5 {
            0 => format!("row{i:04}").into_bytes(),
            1 => [b"\xff\x00bin", &i.to_be_bytes()[..]].concat(),
            _ => format!("user/{:03}/{}", i / 7, "x".repeat(i as usize % 40)).into_bytes(),
        };
        for n in 0..1 + next() % 5 {
            let qualifier = ["", "a", "column", "column-2", "\u{e9}"][next() % 5].as_bytes();
            let timestamp = [0, 5, 1_700_000_000_000 + n as i64, i64::MAX - 1][next() % 4];
            let kind = match next() % 12 {
                0 => CellType::DELETE,
                1 => CellType::DELETE_COLUMN,
                2 if i % 3 == 0 => CellType::DELETE_FAMILY,
                3 if i % 3 == 0 => CellType::DELETE_FAMILY_VERSION,
                _ => CellType::PUT,
            };
            let family_marker = matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
            let qualifier = if family_marker { b"" } else { qualifier };
            let mut value = format!("value {}", n % 2).repeat(next() % 9).into_bytes();
            (0..shape.value_len).for_each(|_| value.push(next() as u8));
            if kind != CellType::PUT {
                value.clear();
            }
            let tags: &[u8] = if shape.tags && next() % 2 == 0 { &[0, 4, 65, b'a', b'b', b'c', 0, 1, 66] } else { &[] };
            let cell = Cell::with_tags(&row, b"f", qualifier, timestamp, kind, &value, tags).expect("cell");
            let seqno = if shape.mvcc { [0, 1, 300, 70_000, 1 << 40][next() % 5] } else { 0 };
            all.push(cell.with_seqno(SeqNo(seqno)));
        }
    }
    all.sort_by(|a, b| CellOrder::User.compare(a.as_ref(), b.as_ref()));
    all.dedup_by(|a, b| a.as_ref().key() == b.as_ref().key());
    all
}

fn text(cell: &Cell) -> String {
    format!("{}:{}", hex::encode(cell.bytes()), cell.seqno().0)
}

fn parse(word: &str) -> Cell {
    let (bytes, seqno) = word.split_once(':').expect("bytes and mvcc");
    let bytes = Bytes::from(hex::decode(bytes).expect("hexadecimal"));
    Cell::parse(bytes, SeqNo(seqno.parse().expect("a number"))).expect("HBase writes cells")
}

fn ask(java: &mut Java, line: &str, shape: Shape) -> Vec<String> {
    let answer = java.ask(line);
    assert!(answer.starts_with("ok"), "{shape:?}: {answer}");
    answer.split(' ').skip(1).map(str::to_owned).collect()
}

fn compare(found: &[Cell], expected: &[Cell], shape: Shape) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{shape:?}: {} cells of {}, first difference {:?}",
        found.len(),
        expected.len(),
        differs.map(|at| (&found[at], text(&found[at]), text(&expected[at])))
    );
}

#[test]
fn hbase_reads_our_store_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut java = Java::start("StoreFiles", folder.path());
    let (mut depths, mut files) = (std::collections::BTreeSet::new(), 0);
    for (number, shape) in shapes().into_iter().enumerate() {
        let cells = cells(shape);
        let options = WriterOptions {
            compression: shape.compression,
            encoding: shape.encoding,
            block_size: shape.block_size,
            bloom: shape.bloom,
            tags: shape.tags,
            mvcc: shape.mvcc,
            index_block_size: shape.index_block_size,
            column_filter: true,
            create_time_ms: 1_700_000_000_000,
            ..WriterOptions::default()
        };
        // Half of the files have no family deletes, so that they get a column filter.
        let plain = number % 2 == 0;
        let is_family =
            |cell: &Cell| matches!(cell.cell_type(), CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
        let cells: Vec<Cell> = cells.into_iter().filter(|cell| !plain || !is_family(cell)).collect();
        let file = write_all(options, &cells, &FileMeta { max_seq_id: 9, ..FileMeta::default() }).expect("written");
        let path = folder.path().join(format!("{number:032x}"));
        std::fs::write(&path, &file).expect("a file");
        let words = ask(&mut java, &format!("read {}", path.display()), shape);
        depths.insert(words[0].clone());
        assert_eq!(words[1], plain.to_string(), "{shape:?}: the column filter is a META block to HBase");
        compare(&words[2..].iter().map(|word| parse(word)).collect::<Vec<_>>(), &cells, shape);
        let words = ask(&mut java, &format!("blooms {} {}", path.display(), name(&BLOOMS, shape.bloom)), shape);
        let wrong: Vec<u32> = words.iter().map(|word| word.parse().expect("a count")).collect();
        let most = |at: usize, kinds: &[BloomType]| {
            assert!(
                !kinds.contains(&shape.bloom) || wrong[at] < 60,
                "{shape:?}: {wrong:?} of 1000 pass a bloom filter"
            );
        };
        most(0, &[BloomType::Row, BloomType::RowCol]);
        most(1, &[BloomType::RowCol]);
        assert!(shape.bloom == BloomType::RowCol || wrong[2] < 12, "{shape:?}: family deletes: {wrong:?}");
        files += 1;
    }
    assert_eq!(files, 5 * (3 * 3 * 2 + 2));
    assert!(depths.len() >= 3, "files of several index depths: {depths:?}");
}

async fn settle(source: &mut dyn CellSource, progress: storage::Result<Progress>) {
    if progress.expect("a step") == Progress::NeedsBlock {
        source.load().await.expect("a block");
    }
}

async fn walk(file: &Arc<HFileReader>) -> Vec<Cell> {
    let (mut source, mut out) = (file.source(), Vec::new());
    let progress = source.seek(&Cell::first_on_row(b""));
    settle(&mut source, progress).await;
    while let Some(cell) = source.cell() {
        out.push(cell);
        let progress = source.advance();
        settle(&mut source, progress).await;
    }
    out
}

#[test]
fn we_read_hbases_store_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut java = Java::start("StoreFiles", folder.path());
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an executor");
    let random = Arc::new(runtime::random::SystemRandom);
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder.path(), random).expect("a root"));
    for (number, shape) in shapes().into_iter().enumerate() {
        let cells = cells(shape);
        let path = folder.path().join(format!("{number:032x}"));
        let mut line = format!(
            "write {} compression={} encoding={} bloom={} tags={} mvcc={} block={} index={}",
            path.display(),
            name(&COMPRESSIONS, shape.compression),
            name(&ENCODINGS, shape.encoding),
            name(&BLOOMS, shape.bloom),
            shape.tags,
            shape.mvcc,
            shape.block_size,
            shape.index_block_size
        );
        cells.iter().for_each(|cell| line.extend([" ", &text(cell)]));
        ask(&mut java, &line, shape);
        // What HBase says of its own file shows that the judge itself is sound.
        let words = ask(&mut java, &format!("read {}", path.display()), shape);
        compare(&words[2..].iter().map(|word| parse(word)).collect::<Vec<_>>(), &cells, shape);
        executor.block_on(async {
            let size = std::fs::metadata(&path).expect("HBase has written it").len();
            let cache = Arc::new(BlockCache::new(1 << 20));
            let key = format!("{number:032x}");
            let file =
                Arc::new(HFileReader::open(&fs, &key, size, cache).await.unwrap_or_else(|e| panic!("{shape:?}: {e}")));
            compare(&walk(&file).await, &cells, shape);
            assert_eq!(file.max_seq_id(), Some(SeqNo(4242)));
            let mut source = file.source();
            for (at, cell) in cells.iter().enumerate() {
                let progress = source.seek(cell);
                settle(&mut source, progress).await;
                assert_eq!(source.cell().as_ref(), Some(cell), "{shape:?}: seek to cell {at}");
                let progress = source.seek_before(cell);
                settle(&mut source, progress).await;
                assert_eq!(
                    source.cell().as_ref(),
                    at.checked_sub(1).map(|at| &cells[at]),
                    "{shape:?}: before cell {at}"
                );
                assert!(file.may_contain_row(cell.row()).await.expect("a look"), "{shape:?}: the row of cell {at}");
                let column = file.may_contain_column(cell.row(), cell.qualifier()).await.expect("a look");
                assert!(column, "{shape:?}: the column of cell {at}");
                if matches!(cell.cell_type(), CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION) {
                    assert!(file.may_delete_family(cell.row()).await.expect("a look"), "{shape:?}: cell {at}");
                }
            }
            let (mut rows, mut columns) = (0, 0);
            for i in 0..1000 {
                let row = cells[i % cells.len()].row();
                let absent = [row, format!("absent{i}").as_bytes()].concat();
                rows += u32::from(file.may_contain_row(&absent).await.expect("a look"));
                columns += u32::from(file.may_contain_column(&absent, b"a").await.expect("a look"));
            }
            assert!(shape.bloom != BloomType::Row || rows < 60, "{shape:?}: {rows} of 1000 pass");
            assert!(shape.bloom != BloomType::RowCol || columns < 90, "{shape:?}: {columns} of 1000 pass");
        });
    }
}
