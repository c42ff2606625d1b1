use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use model::Cell;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::source::{CellSource, Progress};
use storage::{Result, StorageError};

/// Magics of blocks, and names of FileInfo.
pub(crate) const WORDS: &[&[u8]] = &[
    b"DATABLK*",
    b"DATABLKE",
    b"IDXROOT2",
    b"IDXLEAF2",
    b"IDXINTE2",
    b"METABLKc",
    b"FILEINF2",
    b"BLMFMET2",
    b"BLMFBLK2",
    b"DFBLMET2",
    b"TRABLK\"$",
    b"PBUF",
    b"DATA_BLOCK_ENCODING",
    b"FAST_DIFF",
    b"ROW_INDEX_V1",
    b"hfile.LASTKEY",
    b"hfile.MAX_TAGS_LEN",
    b"BLOOM_FILTER_TYPE",
    b"ROWCOL",
    b"KEY_VALUE_VERSION",
    b"\x28\xb5\x2f\xfd",
];
const PATH: &str = "data/default/t/region/f/file";
const HEADER_LEN: usize = 33;
const TRAILER_LEN: usize = 4096;
/// Cells that are walked and asked for. More than any sound file here has.
const CELLS_MAX: usize = 50_000;

/// A store file: as it is, and with the checksums of its blocks computed anew.
///
/// No panic, bounded memory and time. It is opened, walked, verified, asked for cells forward and backward and of its filters; what fails
/// names the file, and the place if the bytes are damaged.
pub fn hfile(data: &[u8]) {
    read(data);
    let mut sealed = data.to_vec();
    seal(&mut sealed);
    if sealed != data {
        read(&sealed);
    }
}

fn read(data: &[u8]) {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    crate::now(fs.put_if_absent(PATH, data.to_vec().into())).expect("put");
    let opened = crate::now(HFileReader::open(&fs, PATH, data.len() as u64, Arc::new(BlockCache::new(1 << 20))));
    let file = match opened {
        Ok(file) => Arc::new(file),
        Err(error) => return complain(&error),
    };
    for outcome in [walk(&file), ask(&file), crate::now(file.verify()).map(drop)] {
        outcome.unwrap_or_else(|error| complain(&error));
    }
}

fn complain(error: &StorageError) {
    let text = error.to_string();
    let placed = !matches!(error, StorageError::Corrupt { .. }) || text.contains("offset=`");
    assert!(placed && text.contains(PATH), "the error does not say where: {text}");
}

fn settle(source: &mut dyn CellSource, progress: Result<Progress>) -> Result<()> {
    match progress? {
        Progress::Ready => Ok(()),
        Progress::NeedsBlock => crate::now(source.load()),
    }
}

fn walk(file: &Arc<HFileReader>) -> Result<()> {
    let (mut source, mut cells) = (file.source(), 0);
    let progress = source.seek(&Cell::first_on_row(b""));
    settle(&mut source, progress)?;
    while let Some(cell) = source.cell()
        && cells < CELLS_MAX
    {
        assert!(Cell::parse(cell.bytes().clone(), cell.seqno()).is_ok(), "a cell that is none: {cell:?}");
        cells += 1;
        let progress = source.advance();
        settle(&mut source, progress)?;
    }
    Ok(())
}

fn ask(file: &Arc<HFileReader>) -> Result<()> {
    file.timestamps();
    let ends = [file.first_key(), file.last_key()];
    let rows = ends.into_iter().flatten().map(|key| key.row().to_vec());
    let rows: Vec<Vec<u8>> = rows.chain([b"".to_vec(), b"row00007".to_vec(), vec![0xff; 20]]).collect();
    let mut source = file.source();
    for row in &rows {
        crate::now(file.may_contain_row(row))?;
        crate::now(file.may_contain_column(row, b"q"))?;
        crate::now(file.may_contain_rows(row, &[]))?;
        crate::now(file.may_delete_family(row))?;
        for key in [Cell::first_on_row(row), Cell::last_on_row(row)] {
            let progress = source.seek(&key);
            settle(&mut source, progress)?;
            let progress = source.reseek(&Cell::last_on_row(&[0xff; 3]));
            settle(&mut source, progress)?;
            let progress = source.seek_before(&key);
            settle(&mut source, progress)?;
            source.cell();
        }
    }
    crate::now(file.may_contain_any_column([bytes::Bytes::from_static(b"q")].iter()))?;
    crate::now(file.meta_block(storage::nonce::META_NAME)).map(drop)
}

/// Computes the checksums anew of all blocks that stand behind each other from the first byte on.
fn seal(data: &mut [u8]) {
    let mut at = 0;
    while at + HEADER_LEN + TRAILER_LEN <= data.len() {
        let rest = &mut data[at..];
        let int = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().expect("four bytes")) as usize;
        let (len, piece, covered) = (HEADER_LEN + int(8), int(25), int(29));
        let algorithm = match rest[24] {
            1 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
            2 => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
            _ => None,
        };
        if len > rest.len() {
            return;
        }
        if let Some(algorithm) = algorithm
            && piece >= HEADER_LEN
            && covered <= len
            && len - covered == covered.div_ceil(piece) * 4
        {
            for (at, start) in (0..covered).step_by(piece).enumerate() {
                let sum = crc_fast::checksum(algorithm, &rest[start..(start + piece).min(covered)]) as u32;
                rest[covered + at * 4..covered + at * 4 + 4].copy_from_slice(&sum.to_be_bytes());
            }
        }
        at += len;
    }
}
