use std::sync::Arc;

use crate::cache::BlockCache;
use crate::file::reader::HFileReader;
use crate::file::writer::{FileMeta, WriterOptions, write_all};
use crate::source::{CellSource, Progress};
use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use futures::FutureExt;
use model::query::TimeRange;
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellType, SeqNo};
use proptest::prelude::*;

fn golden_cells() -> Vec<Cell> {
    let cell = |row: &str, qualifier: &str, ts, kind, value: &str, mvcc| {
        Cell::new(row.as_bytes(), b"f", qualifier.as_bytes(), ts, kind, value.as_bytes())
            .expect("cell")
            .with_seqno(SeqNo(mvcc))
    };
    vec![
        cell("r1", "a", 1000, CellType::PUT, "v1", 7),
        cell("r1", "b", 1000, CellType::PUT, "v1", 8),
        cell("r1", "b", 900, CellType::DELETE, "", 300),
        cell("r22", "", 5_000_000_000, CellType::PUT, "v2", 0),
    ]
}

#[test]
fn the_golden_file_is_reproduced_byte_for_byte() {
    let options = WriterOptions { create_time_ms: 1_700_000_000_123, as_hbase_2_5: true, ..WriterOptions::default() };
    let meta = FileMeta { max_seq_id: 4242, major: false, compacted: Vec::new() };
    let file = write_all(options, &golden_cells(), &meta).expect("file");
    // Written by HBase's own writer; SHA-256 a6a3c8ea…de9715.
    let golden = include_bytes!("../../tests/golden/four-cells.hfile");
    assert_eq!(hex::encode(&file), hex::encode(golden));
}

fn cells(n: u32) -> Vec<Cell> {
    (0..n)
        .map(|i| {
            let row = format!("row{:06}", i / 3);
            Cell::put(
                row.as_bytes(),
                b"f",
                format!("q{}", i % 3).as_bytes(),
                1000 + i64::from(i),
                format!("value {i}").as_bytes(),
            )
            .expect("cell")
            .with_seqno(SeqNo(u64::from(i)))
        })
        .collect()
}

async fn open(file: Bytes) -> crate::Result<Arc<HFileReader>> {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let size = file.len() as u64;
    fs.put_if_absent("f", file).await.expect("put");
    HFileReader::open(&fs, "f", size, Arc::new(BlockCache::new(1 << 20))).await.map(Arc::new)
}

async fn settle(source: &mut dyn CellSource, progress: crate::Result<Progress>) -> crate::Result<()> {
    match progress? {
        Progress::Ready => Ok(()),
        Progress::NeedsBlock => source.load().await,
    }
}

async fn read_all(file: &Arc<HFileReader>) -> crate::Result<Vec<Cell>> {
    let mut source = file.source();
    let progress = source.seek(&Cell::first_on_row(b""));
    settle(&mut source, progress).await?;
    let mut out = Vec::new();
    while let Some(cell) = source.cell() {
        out.push(cell);
        let progress = source.advance();
        settle(&mut source, progress).await?;
    }
    Ok(out)
}

#[tokio::test]
async fn every_shape_of_file_gives_back_its_cells() {
    for compression in [Compression::None, Compression::Gz, Compression::Lz4, Compression::Zstd, Compression::Snappy] {
        for (n, index_block_size) in [(0, 131_072), (1, 131_072), (3000, 131_072), (3000, 256), (3000, 128)] {
            for bloom in [BloomType::None, BloomType::Row, BloomType::RowCol] {
                let options = WriterOptions {
                    compression,
                    bloom,
                    block_size: 1024,
                    index_block_size,
                    ..WriterOptions::default()
                };
                let cells = cells(n);
                let file = open(write_all(options, &cells, &FileMeta::default()).expect("file")).await.expect("open");
                assert!(
                    read_all(&file).await.expect("read") == cells,
                    "{compression:?} {n} {index_block_size} {bloom:?}"
                );
                assert_eq!(file.entry_count(), u64::from(n));
            }
        }
    }
}

#[tokio::test]
async fn seeks_find_their_cells_in_both_directions() {
    for index_block_size in [131_072, 200] {
        let options = WriterOptions { block_size: 512, index_block_size, ..WriterOptions::default() };
        let cells = cells(1500);
        let file = open(write_all(options, &cells, &FileMeta::default()).expect("file")).await.expect("open");
        let mut source = file.source();
        for at in (0..1500).step_by(7) {
            let key = cells[at].clone();
            let progress = source.seek(&key);
            settle(&mut source, progress).await.expect("seek");
            assert_eq!(source.cell().as_ref(), Some(&cells[at]));
            let progress = source.seek_before(&key);
            settle(&mut source, progress).await.expect("seek before");
            assert_eq!(source.cell().as_ref(), at.checked_sub(1).map(|before| &cells[before]));
            let between = Cell::last_on_column(key.row(), b"f", key.qualifier());
            let progress = source.seek(&between);
            settle(&mut source, progress).await.expect("seek");
            assert_eq!(source.cell().as_ref(), cells.get(at + 1));
        }
        let progress = source.seek(&Cell::first_on_row(b"row000100"));
        settle(&mut source, progress).await.expect("seek");
        let progress = source.reseek(&Cell::first_on_row(b"row000400"));
        settle(&mut source, progress).await.expect("reseek");
        assert_eq!(source.cell().as_ref(), Some(&cells[1200]));
        let progress = source.reseek(&Cell::first_on_row(b"s"));
        settle(&mut source, progress).await.expect("reseek");
        assert!(source.peek().is_none());
    }
}

#[tokio::test]
async fn bloom_filters_and_ranges_know_what_is_absent() {
    for bloom in [BloomType::Row, BloomType::RowCol] {
        let options = WriterOptions { bloom, ..WriterOptions::default() };
        let file = open(write_all(options, &cells(900), &FileMeta::default()).expect("file")).await.expect("open");
        for i in 0..300 {
            let row = format!("row{i:06}");
            assert!(file.may_contain_row(row.as_bytes()).await.expect("bloom"));
            assert!(file.may_contain_column(row.as_bytes(), b"q1").await.expect("bloom"));
        }
        let mut wrong = 0;
        for i in 0..300 {
            let row = format!("row{i:06}x");
            wrong += u32::from(file.may_contain_column(row.as_bytes(), b"q1").await.expect("bloom"));
        }
        assert!(wrong < 20, "{wrong} of 300 false");
        assert!(!file.may_contain_row(b"a").await.expect("range"));
        assert!(!file.may_delete_family(b"row000001").await.expect("none"));
        assert!(!file.may_contain_time(TimeRange { from: 0, to: 1000 }));
        assert!(file.may_contain_time(TimeRange { from: 0, to: 1001 }));
    }
}

#[tokio::test]
async fn damage_is_named_or_harmless() {
    let cells = cells(60);
    let options = WriterOptions { block_size: 512, ..WriterOptions::default() };
    let good = write_all(options, &cells, &FileMeta::default()).expect("file");
    for at in 0..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 0x11;
        let seen = async { read_all(&open(bad.into()).await?).await }.await;
        match seen {
            Err(error) => assert!(error.to_string().contains('f'), "{error}"),
            // The trailer's padding and a few of its counts say nothing of the cells.
            Ok(seen) => assert!(seen == cells, "flipped byte at {at} gave a wrong answer"),
        }
    }
    for cut in (0..good.len()).step_by(13) {
        assert!(open(good.slice(..cut)).await.is_err(), "cut at {cut}");
    }
}

/// The fields of a recorded cell, tags as their payloads.
type Recorded = (String, String, i64, u8, String, u64, Vec<String>);

fn recorded(line: &str) -> Recorded {
    let json: serde_json::Value = serde_json::from_str(line).expect("json");
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let tags =
        json["tags"].as_array().map(|tags| tags.iter().map(|tag| tag[1].as_str().unwrap_or_default().to_owned()));
    (
        text("row"),
        text("qualifier"),
        json["ts"].as_i64().expect("ts"),
        json["type"].as_u64().expect("type") as u8,
        text("value"),
        json["mvcc"].as_u64().unwrap_or(0),
        tags.map(Iterator::collect).unwrap_or_default(),
    )
}

fn fields(cell: &Cell) -> Recorded {
    let cell = cell.as_ref();
    let (mut tags, mut rest) = (Vec::new(), cell.tags());
    while let [a, b, _kind, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*a, *b])) - 1;
        tags.push(hex::encode(&tail[..len]));
        rest = &tail[len..];
    }
    (
        hex::encode(cell.row()),
        hex::encode(cell.qualifier()),
        cell.timestamp(),
        cell.cell_type().0,
        hex::encode(cell.value()),
        cell.seqno().0,
        tags,
    )
}

/// Sound checksums, and an index that leads to the same block again: with several levels such a walk takes for ever.
#[tokio::test]
async fn an_index_that_names_a_block_twice_is_damage() {
    let options = WriterOptions { block_size: 1, bloom: BloomType::None, ..WriterOptions::default() };
    let cells = cells(6);
    let mut file = write_all(options, &cells, &FileMeta::default()).expect("file").to_vec();
    let root = file.windows(8).position(|part| part == b"IDXROOT2").expect("a root index");
    let int = |file: &[u8], at: usize| u32::from_be_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    let (entries, covered) = (root + 33, root + int(&file, root + 29));
    // Offset, length and key of one length each.
    let len = 8 + 4 + 1 + usize::from(file[entries + 12]);
    file.copy_within(entries + len..entries + 2 * len, entries + 2 * len);
    let sum = filesystem::crc32c(&file[root..covered]);
    file[covered..covered + 4].copy_from_slice(&sum.to_be_bytes());
    let file = open(file.into()).await.expect("sound blocks");
    let error = read_all(&file).await.expect_err("the walk does not end").to_string();
    assert!(error.contains("out of order"), "{error}");
}

#[tokio::test]
async fn files_of_a_real_hbase_are_read_and_sought() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (mut files, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).expect("dir") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let Some(stem) = name.strip_suffix(".cells.jsonl.gz") else { continue };
        let mut text = String::new();
        let zipped = std::fs::File::open(&path).expect("cells");
        std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(zipped), &mut text).expect("gzip");
        let expected: Vec<Recorded> = text.lines().map(recorded).collect();
        let data = std::fs::read(path.with_file_name(format!("{stem}.hfile"))).expect("file");
        files += 1;
        let file = match open(data.into()).await {
            Ok(file) => file,
            Err(error) => {
                wrong.push(format!("{stem}: {error}"));
                continue;
            }
        };
        let cells = match read_all(&file).await {
            Ok(cells) => cells,
            Err(error) => {
                wrong.push(format!("{stem}: {error}"));
                continue;
            }
        };
        let found: Vec<Recorded> = cells.iter().map(fields).collect();
        if found != expected {
            let at = found.iter().zip(&expected).position(|(a, b)| a != b);
            let pair = at.map(|at| (&found[at], &expected[at]));
            wrong.push(format!("{stem}: {} of {} cells, first difference {pair:?}", found.len(), expected.len()));
            continue;
        }
        let mut source = file.source();
        for at in (0..cells.len()).step_by(17) {
            let progress = source.seek(&cells[at]);
            settle(&mut source, progress).await.expect("seek");
            if source.cell().as_ref().map(fields).as_ref() != Some(&expected[at]) {
                wrong.push(format!("{stem}: seek to cell {at}"));
                break;
            }
        }
    }
    assert!(files >= 20 && wrong.is_empty(), "{files} files, wrong: {wrong:#?}");
}

/// Files of HBase 2.6.1's own writer, written again from their cells.
#[tokio::test]
async fn files_of_a_real_hbase_are_reproduced_byte_for_byte() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (stem, encoding, bloom, tags, major) in [
        ("none-none-row", DataBlockEncoding::None, BloomType::Row, false, true),
        ("none-fast_diff-row", DataBlockEncoding::FastDiff, BloomType::Row, false, true),
        ("none-row_index_v1-row", DataBlockEncoding::RowIndexV1, BloomType::Row, false, true),
        ("none-none-tags", DataBlockEncoding::None, BloomType::RowCol, true, false),
    ] {
        let data = std::fs::read(dir.join(format!("{stem}.hfile"))).expect("file");
        let cells = read_all(&open(data.clone().into()).await.expect("open")).await.expect("read");
        let options = WriterOptions {
            encoding,
            bloom,
            tags,
            block_size: 1024,
            index_block_size: 256,
            create_time_ms: 1_700_000_000_123,
            ..WriterOptions::default()
        };
        let meta = FileMeta { max_seq_id: 4242, major, compacted: Vec::new() };
        let made = write_all(options, &cells, &meta).expect("write");
        let differs = made.iter().zip(&data).position(|(a, b)| a != b);
        assert!(made == data, "{stem}: {} bytes for {}, first difference at {differs:?}", made.len(), data.len());
    }
}

/// Cells whose rows, qualifiers, times and values share much with their neighbours', or nothing.
fn any_cells() -> impl Strategy<Value = Vec<Cell>> {
    let word = |most| proptest::collection::vec(proptest::sample::select(&b"aab\0\xff"[..]), 0..most);
    let types = [CellType::PUT, CellType::PUT, CellType::DELETE, CellType::DELETE_COLUMN, CellType::DELETE_FAMILY];
    let timestamp = prop_oneof![3 => 1_700_000_000_000..1_700_000_000_300i64, 2 => 0..2i64, 1 => 0..i64::MAX];
    let tags = prop_oneof![
        2 => Just(&b""[..]),
        1 => Just(&b"\0\x04\x05abc"[..]),
        1 => Just(&b"\0\x04\x05abc\0\x09\x08\0\0\0\0\0\0\0\x07"[..]),
    ];
    let value = prop_oneof![word(3), word(40)];
    let cell = (word(9), word(7), timestamp, proptest::sample::select(types.to_vec()), value, tags, 0..u64::MAX >> 1);
    proptest::collection::vec(cell, 0..80).prop_map(|cells| {
        let make =
            |(row, qualifier, timestamp, kind, value, tags, seqno): (Vec<u8>, Vec<u8>, _, CellType, Vec<u8>, _, _)| {
                let (row, qualifier) =
                    ([b"r", &row[..]].concat(), if kind == CellType::DELETE_FAMILY { vec![] } else { qualifier });
                Cell::with_tags(&row, b"fam", &qualifier, timestamp, kind, &value, tags)
                    .expect("cell")
                    .with_seqno(SeqNo(seqno))
            };
        let mut cells: Vec<Cell> = cells.into_iter().map(make).collect();
        cells.sort_by(|a, b| model::CellOrder::User.compare(a.as_ref(), b.as_ref()));
        cells.dedup_by(|a, b| a.as_ref().key() == b.as_ref().key());
        cells
    })
}

fn any_options() -> impl Strategy<Value = WriterOptions> {
    use DataBlockEncoding::{FastDiff, None as Plain, RowIndexV1};
    (
        proptest::sample::select(vec![
            Compression::None,
            Compression::Gz,
            Compression::Lz4,
            Compression::Zstd,
            Compression::Snappy,
        ]),
        proptest::sample::select(vec![Plain, FastDiff, RowIndexV1]),
        proptest::sample::select(vec![BloomType::None, BloomType::Row, BloomType::RowCol]),
        proptest::sample::select(vec![64usize, 300, 65_536]),
        proptest::sample::select(vec![128usize, 131_072]),
        any::<bool>(),
    )
        .prop_map(|(compression, encoding, bloom, block_size, index_block_size, column_filter)| WriterOptions {
            compression,
            encoding,
            bloom,
            block_size,
            index_block_size,
            column_filter,
            tags: true,
            ..WriterOptions::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cells_in_any_shape_are_read_back_and_found(cells in any_cells(), options in any_options()) {
        let done = async {
            let file = open(write_all(options.clone(), &cells, &FileMeta::default())?).await?;
            let seen = read_all(&file).await?;
            let mut source = file.source();
            for (at, cell) in cells.iter().enumerate() {
                assert!(file.may_contain_row(cell.row()).await?, "{cell:?}");
                assert!(file.may_contain_column(cell.row(), cell.qualifier()).await?, "{cell:?}");
                let progress = source.seek(cell);
                settle(&mut source, progress).await?;
                assert_eq!(source.cell().as_ref(), Some(cell));
                let progress = source.seek_before(cell);
                settle(&mut source, progress).await?;
                assert_eq!(source.cell().as_ref(), at.checked_sub(1).map(|before| &cells[before]));
            }
            crate::Result::Ok(seen)
        };
        let seen = done.now_or_never().expect("memory is never waited for").expect("sound");
        prop_assert!(seen == cells, "{options:?}");
    }
}
