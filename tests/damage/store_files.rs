//! Store files of every shape, damaged.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use futures::FutureExt;
use model::mutation::Nonce;
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellOrder, CellType, SeqNo};
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::file::writer::{FileMeta, HFileWriter, WriterOptions};
use storage::source::{CellSource, Progress};
use storage::{Result, StorageError};

use crate::hurt::{self, Dice};

const PATH: &str = "data/default/t/region/f/file";
const HEADER_LEN: usize = 33;
const TRAILER_LEN: usize = 4096;

/// What a file says when it is sound.
#[derive(Debug, PartialEq)]
struct Contents {
    cells: Vec<(Bytes, SeqNo)>,
    nonces: Option<Bytes>,
    timestamps: Option<(i64, i64)>,
    has_tags: bool,
}

/// What the manifest knows of a file: a region compares it with what the file says.
#[derive(Debug, PartialEq)]
struct Listed {
    cells: u64,
    max_seq: Option<SeqNo>,
    order: CellOrder,
}

pub struct Sample {
    name: String,
    data: Vec<u8>,
    blocks: Vec<Range<usize>>,
    hot: Vec<Range<usize>>,
    cells: Vec<Cell>,
    contents: Contents,
    listed: Listed,
}

impl Sample {
    /// HBase can be told to write none; then nobody can tell.
    pub fn has_checksums(&self) -> bool {
        self.blocks.first().is_none_or(|block| self.data[block.start + 24] != 0)
    }
}

/// Blocks of a file from its first byte up to the trailer.
fn blocks(data: &[u8]) -> Vec<Range<usize>> {
    let (mut at, mut out) = (0, Vec::new());
    while at + TRAILER_LEN < data.len() {
        let len = u32::from_be_bytes(data[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        out.push(at..at + HEADER_LEN + len);
        at += HEADER_LEN + len;
    }
    out
}

/// Nothing here waits for anything: the files are in memory.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory is never waited for")
}

fn open(data: Vec<u8>, size: usize) -> Result<Arc<HFileReader>> {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    now(fs.put_if_absent(PATH, data.into())).expect("put");
    now(HFileReader::open(&fs, PATH, size as u64, Arc::new(BlockCache::new(1 << 20)))).map(Arc::new)
}

fn settle(source: &mut dyn CellSource, progress: Result<Progress>) -> Result<()> {
    match progress? {
        Progress::Ready => Ok(()),
        Progress::NeedsBlock => now(source.load()),
    }
}

fn read_all(file: &Arc<HFileReader>, most: usize) -> Result<Vec<Cell>> {
    let mut source = file.source();
    let progress = source.seek(&Cell::first_on_row(b""));
    settle(&mut source, progress)?;
    let mut out = Vec::new();
    while let Some(cell) = source.cell()
        && out.len() < most
    {
        out.push(cell);
        let progress = source.advance();
        settle(&mut source, progress)?;
    }
    Ok(out)
}

fn contents(file: &Arc<HFileReader>, most: usize) -> Result<Contents> {
    let cells = read_all(file, most)?;
    Ok(Contents {
        cells: cells.iter().map(|cell| (cell.bytes().clone(), cell.seqno())).collect(),
        nonces: now(file.meta_block(storage::nonce::META_NAME))?,
        timestamps: file.timestamps(),
        has_tags: file.has_tags(),
    })
}

fn listed(file: &HFileReader) -> Listed {
    Listed { cells: file.entry_count(), max_seq: file.max_seq_id(), order: file.order() }
}

/// Asks for some cells of the sound file one by one. `Ok(Err)`: a wrong answer.
fn ask(file: &Arc<HFileReader>, cells: &[Cell], dice: &mut Dice) -> Result<std::result::Result<(), String>> {
    let mut source = file.source();
    for _ in 0..6.min(cells.len()) {
        let at = dice.below(cells.len());
        let cell = &cells[at];
        let wrong = |what: &str| Ok(Err(format!("{what} of cell {at}, {cell:?}")));
        let qualifier = Bytes::copy_from_slice(cell.qualifier());
        if !now(file.may_contain_row(cell.row()))? {
            return wrong("may_contain_row");
        }
        if !now(file.may_contain_column(cell.row(), &qualifier))? {
            return wrong("may_contain_column");
        }
        if !now(file.may_contain_any_column([&qualifier].into_iter()))? {
            return wrong("may_contain_any_column");
        }
        let family_delete = matches!(cell.cell_type(), CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
        if family_delete && !now(file.may_delete_family(cell.row()))? {
            return wrong("may_delete_family");
        }
        let progress = source.seek(cell);
        settle(&mut source, progress)?;
        if source.cell().as_ref().map(Cell::bytes) != Some(cell.bytes()) {
            return wrong("seek");
        }
        let progress = source.seek_before(cell);
        settle(&mut source, progress)?;
        if source.cell().as_ref().map(Cell::bytes) != at.checked_sub(1).map(|before| cells[before].bytes()) {
            return wrong("seek_before");
        }
    }
    Ok(Ok(()))
}

fn sample(name: String, data: Vec<u8>) -> Sample {
    let size = data.len();
    let file = open(data.clone(), size).unwrap_or_else(|error| panic!("{name}: {error}"));
    let blocks = blocks(&data);
    let mut hot: Vec<_> = blocks.iter().map(|block| block.start..block.start + HEADER_LEN).collect();
    // The trailer's fields, often: they have no checksum.
    let trailer = size - TRAILER_LEN;
    (0..blocks.len().max(4)).for_each(|_| hot.push(trailer..trailer + 120));
    hot.push(size - 4..size);
    let cells = read_all(&file, usize::MAX).unwrap_or_else(|error| panic!("{name}: {error}"));
    let sound = ask(&file, &cells, &mut Dice::new(7)).expect("sound");
    sound.unwrap_or_else(|why| panic!("{name}: {why}"));
    let contents = contents(&file, usize::MAX).expect("sound");
    Sample { name, blocks, hot, cells, contents, listed: listed(&file), data }
}

fn cell(row: usize, qualifier: &str, timestamp: i64, kind: CellType, value: &str, tagged: bool) -> Cell {
    let tags: &[u8] = if tagged && row.is_multiple_of(3) { b"\0\x04\x05abc" } else { b"" };
    let row = format!("row{row:05}");
    Cell::with_tags(row.as_bytes(), b"f", qualifier.as_bytes(), timestamp, kind, value.as_bytes(), tags)
        .expect("a cell")
}

/// Files of our own writer in every compression and encoding that it writes, and the files recorded from HBase.
pub fn samples() -> Vec<Sample> {
    use DataBlockEncoding::{FastDiff, None as Plain, RowIndexV1};
    let mut out = Vec::new();
    for compression in [Compression::None, Compression::Gz, Compression::Lz4, Compression::Zstd, Compression::Snappy] {
        for encoding in [Plain, FastDiff, RowIndexV1] {
            for (bloom, tags, index_block_size) in
                [(BloomType::Row, false, 131_072), (BloomType::RowCol, true, 256), (BloomType::None, false, 128)]
            {
                let options = WriterOptions {
                    compression,
                    encoding,
                    bloom,
                    tags,
                    index_block_size,
                    block_size: 600,
                    column_filter: true,
                    ..WriterOptions::default()
                };
                let mut writer = HFileWriter::new(options);
                for row in 0..40 {
                    // With tags also family deletes: such a file has a filter of its own for them, but none of columns.
                    if tags && row % 2 == 0 {
                        let marker = cell(row, "", 900, CellType::DELETE_FAMILY, "", true).with_seqno(SeqNo(5));
                        writer.append(marker.as_ref()).expect("in order");
                    }
                    for (at, qualifier) in ["a", "bb"].into_iter().enumerate() {
                        // Numbers of one width make blocks of one length, which can be taken for one another.
                        let value = format!("value {:06}", row * 7919 % 1000);
                        let put = cell(row, qualifier, 1000 + row as i64, CellType::PUT, &value, tags);
                        writer
                            .append(put.with_seqno(SeqNo((100_000 + row * 2 + at) as u64)).as_ref())
                            .expect("in order");
                    }
                }
                let nonces = [1, 2, 3].map(|nonce| Nonce { group: 9, nonce });
                writer.add_meta(storage::nonce::META_NAME, storage::nonce::encode(&nonces));
                writer.finish(&FileMeta { max_seq_id: 4242, ..FileMeta::default() }).expect("a file");
                let name = format!("{compression:?} {encoding:?} {bloom:?}");
                out.push(sample(name, writer.take().to_vec()));
            }
        }
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../storage/tests/golden");
    let mut recorded: Vec<_> =
        std::fs::read_dir(golden).expect("recorded files").map(|e| e.expect("entry").path()).collect();
    recorded.sort();
    for path in recorded.iter().filter(|path| path.extension().is_some_and(|ending| ending == "hfile")) {
        let data = std::fs::read(path).expect("a file");
        // Large ones say nothing more and take longer.
        if data.len() < 200_000 {
            out.push(sample(path.file_name().expect("a name").to_string_lossy().into_owned(), data));
        }
    }
    assert!(out.len() > 60, "{} samples", out.len());
    out
}

/// What is wrong with an error, if anything: it must name the file, and the place if the bytes are damaged.
fn complaint(error: &StorageError) -> Option<String> {
    let text = error.to_string();
    let placed = !matches!(error, StorageError::Corrupt { .. }) || text.contains("offset=`");
    (!placed || !text.contains(PATH)).then(|| format!("the error does not say where: {text}"))
}

/// Damages a file once or twice, opens it as a region does, with the length from the manifest, and reads it.
pub fn damaged(samples: &[Sample], seed: u64) -> std::result::Result<bool, String> {
    let mut dice = Dice::new(seed);
    let sample = dice.of(samples);
    let (mut data, mut done) = (sample.data.clone(), Vec::new());
    for _ in 0..1 + dice.below(2) {
        done.push(hurt::damage(&mut data, &sample.blocks, &sample.hot, &mut dice));
    }
    let told = |why: String| format!("{}: {}: {why}", sample.name, done.join(", "));
    let seen = open(data, sample.data.len()).and_then(|file| {
        let said = listed(&file);
        if said != sample.listed {
            return Ok(None); // the region compares this with its manifest
        }
        let asked = ask(&file, &sample.cells, &mut dice)?;
        Ok(Some((contents(&file, sample.cells.len() + 1)?, asked)))
    });
    match seen {
        Err(error) => complaint(&error).map_or(Ok(true), |why| Err(told(why))),
        Ok(None) => Ok(true),
        Ok(Some((_, Err(why)))) => Err(told(format!("wrong: {why}"))),
        Ok(Some((contents, Ok(())))) if contents != sample.contents => Err(told("other contents".to_owned())),
        Ok(Some(_)) => Ok(false),
    }
}

/// Computes a block's checksums anew, where its header has them.
fn seal(block: &mut [u8]) {
    let int = |at: usize| u32::from_be_bytes(block[at..at + 4].try_into().expect("four bytes")) as usize;
    let (kind, piece, covered) = (block[24], int(25), int(29));
    let algorithm = match kind {
        1 => crc_fast::CrcAlgorithm::Crc32IsoHdlc,
        2 => crc_fast::CrcAlgorithm::Crc32Iscsi,
        _ => return,
    };
    for (at, start) in (0..covered).step_by(piece).enumerate() {
        let sum = crc_fast::checksum(algorithm, &block[start..(start + piece).min(covered)]) as u32;
        block[covered + at * 4..covered + at * 4 + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Changes a block and its checksums with it, as a program with a fault or a foe would: no answer can be expected to be right.
pub fn lying(samples: &[Sample], seed: u64) -> std::result::Result<bool, String> {
    let mut dice = Dice::new(seed);
    let sample = dice.of(samples);
    let mut data = sample.data.clone();
    for _ in 0..1 + dice.below(3) {
        let block = dice.of(&sample.blocks).clone();
        let len = block.len();
        let block = &mut data[block];
        let covered = u32::from_be_bytes(block[29..33].try_into().expect("four bytes")) as usize;
        match dice.below(4) {
            0 => {
                // The length when decompressed, the block before.
                let (at, width) = if dice.below(2) == 0 { (12, 4) } else { (16, 8) };
                let value = [0, 1, 0x3fff_ffff, 0x7fff_ffff, u64::MAX, 1 << 63, len as u64][dice.below(7)];
                block[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
            }
            1 if covered > HEADER_LEN => {
                let (at, bit) = (HEADER_LEN + dice.below(covered - HEADER_LEN), dice.below(8));
                block[at] ^= 1 << bit;
            }
            _ if covered > HEADER_LEN + 4 => {
                let at = HEADER_LEN + dice.below(covered - HEADER_LEN - 4);
                let value = [0, 1, 0x7f, 0xff, 0x7fff_ffff, u32::MAX, 0x8000_0000, len as u32][dice.below(8)];
                block[at..at + 4].copy_from_slice(&value.to_be_bytes());
            }
            _ => {}
        }
        seal(block);
    }
    let outcome = open(data, sample.data.len()).and_then(|file| {
        // A wrong answer counts as noticed: only that there is one can be asked here.
        let right = ask(&file, &sample.cells, &mut dice)?.is_ok();
        Ok(right & (contents(&file, 10_000)? == sample.contents))
    });
    match outcome {
        Ok(right) => Ok(!right),
        Err(error) => complaint(&error).map_or(Ok(true), |why| Err(format!("{}: {why}", sample.name))),
    }
}
