//! Blocks: header, checksums, and walking the cells of a data block. No I/O.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::schema::Compression;
use model::{CellRef, SeqNo, cell};

use filesystem::crc32c;

use super::compress;
use super::format::{self, BLOCK_HEADER_LEN, BYTES_PER_CHECKSUM, BlockType, CHECKSUM_CRC32C, WHAT};
use crate::error::{Result, StorageError};

/// A block's body, decompressed.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub kind: BlockType,
    pub body: Bytes,
    pub offset: u64,
    /// Length on storage, header and checksums included.
    pub disk_len: usize,
    pub previous: i64,
    /// Kind of its checksums; one for all blocks of a file.
    pub checksum_type: u8,
}

/// Appends a whole block; answers its length on storage.
pub(super) fn write_block(
    out: &mut BytesMut,
    kind: BlockType,
    body: &[u8],
    previous: i64,
    compression: Compression,
) -> std::io::Result<usize> {
    let packed;
    let disk_body = if compression == Compression::None {
        body
    } else {
        packed = compress::compress(compression, body)?;
        &packed
    };
    let covered = BLOCK_HEADER_LEN + disk_body.len();
    let checksums = covered.div_ceil(BYTES_PER_CHECKSUM) * 4;
    let start = out.len();
    out.reserve(covered + checksums);
    out.put_slice(kind.magic());
    out.put_i32((disk_body.len() + checksums) as i32);
    out.put_i32(body.len() as i32);
    out.put_i64(previous);
    out.put_u8(CHECKSUM_CRC32C);
    out.put_i32(BYTES_PER_CHECKSUM as i32);
    out.put_i32(covered as i32);
    out.put_slice(disk_body);
    let mut sums = [0u8; 4];
    for at in (0..covered).step_by(BYTES_PER_CHECKSUM) {
        let end = (at + BYTES_PER_CHECKSUM).min(covered);
        sums.copy_from_slice(&crc32c(&out[start + at..start + end]).to_be_bytes());
        out.put_slice(&sums);
    }
    Ok(covered + checksums)
}

/// Reads the block at the start of `data`, which lies at `offset` of the file. Checks everything.
pub(super) fn read_block(data: &Bytes, offset: u64, file: &str, compression: Compression) -> Result<Block> {
    let bad = |why: &str| StorageError::corrupt(WHAT, file, offset, why);
    if data.len() < BLOCK_HEADER_LEN {
        return Err(bad("a block header is cut short"));
    }
    let kind = BlockType::from_magic(&data[..8]).ok_or_else(|| bad("no block starts here"))?;
    let mut header = data.slice(8..BLOCK_HEADER_LEN);
    let disk_without_header = header.get_i32();
    let uncompressed = header.get_i32();
    let previous = header.get_i64();
    let checksum_type = header.get_u8();
    let per_checksum = header.get_i32();
    let covered = header.get_i32();
    let (Ok(disk_without_header), Ok(uncompressed), Ok(per_checksum), Ok(covered)) = (
        usize::try_from(disk_without_header),
        usize::try_from(uncompressed),
        usize::try_from(per_checksum),
        usize::try_from(covered),
    ) else {
        return Err(bad("a length in the block header is negative"));
    };
    let disk_len = BLOCK_HEADER_LEN + disk_without_header;
    if per_checksum < BLOCK_HEADER_LEN || covered < BLOCK_HEADER_LEN || covered > disk_len || disk_len > data.len() {
        return Err(bad("the lengths in the block header do not fit"));
    }
    let pieces = covered.div_ceil(per_checksum);
    if previous < -1 || previous >= i64::try_from(offset).unwrap_or(i64::MAX) {
        return Err(bad("the block names a block behind it as the one before"));
    }
    if disk_len - covered != pieces * 4 {
        return Err(bad("the block's checksums have the wrong length"));
    }
    let sum = match checksum_type {
        0 => None,
        1 => Some(crc_fast::CrcAlgorithm::Crc32IsoHdlc),
        2 => Some(crc_fast::CrcAlgorithm::Crc32Iscsi),
        _ => return Err(bad("unknown checksum type")),
    };
    if let Some(algorithm) = sum {
        for piece in 0..pieces {
            let part = &data[piece * per_checksum..((piece + 1) * per_checksum).min(covered)];
            let stored = &data[covered + piece * 4..covered + piece * 4 + 4];
            if (crc_fast::checksum(algorithm, part) as u32).to_be_bytes() != stored {
                return Err(bad("the block's checksum is wrong"));
            }
        }
    }
    let body = data.slice(BLOCK_HEADER_LEN..covered);
    let body = if compression == Compression::None {
        if body.len() != uncompressed {
            return Err(bad("the block's lengths differ although it is not compressed"));
        }
        body
    } else {
        // A header that passed its checksum may still come from a hostile file: never believe a size without a bound.
        if uncompressed > 1 << 30 {
            return Err(bad("the block says it is larger than 1 GiB"));
        }
        compress::decompress(compression, &body, uncompressed).map_err(|why| bad(&why))?.into()
    };
    Ok(Block { kind, body, offset, disk_len, previous, checksum_type })
}

/// What follows each cell's value in data blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CellSuffix {
    pub tags: bool,
    pub mvcc: bool,
    /// What all cells count as written with, whatever stands behind them: the file was bulk-loaded.
    pub loaded_as: Option<SeqNo>,
}

/// Cells from one remembered start to the next: fewer cost memory, more cost steps.
const CELLS_PER_START: usize = 16;

/// One cell found in a data block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// End of the cell's own bytes; a tags section that is empty does not count.
    pub end: usize,
    /// Where the next cell starts.
    pub next: usize,
    pub seqno: SeqNo,
}

impl CellSuffix {
    /// Takes the cell at `at` apart. The block was checked, so that it cannot fail.
    pub fn find(self, body: &[u8], at: usize) -> Found {
        self.try_find(body, at).expect("the block was checked when it was loaded")
    }

    fn try_find(self, body: &[u8], at: usize) -> std::result::Result<Found, String> {
        let data = body.get(at..).ok_or("a cell starts behind the block")?;
        let len = cell::length_without_tags(data).map_err(|error| error.to_string())?;
        let (mut end, mut next) = (at + len, at + len);
        if self.tags {
            let field = body.get(next..next + 2).ok_or("a tags length is cut short")?;
            let tags = usize::from(u16::from_be_bytes([field[0], field[1]]));
            next += 2 + tags;
            if next > body.len() {
                return Err("tags are cut short".to_owned());
            }
            if tags > 0 {
                end = next;
            }
        }
        let mut seqno = SeqNo::ZERO;
        if self.mvcc {
            let (mvcc, len) = format::get_vlong(&body[next..]).ok_or("an mvcc number is cut short")?;
            seqno = SeqNo(u64::try_from(mvcc).map_err(|_| "an mvcc number is negative")?);
            next += len;
        }
        Ok(Found { end, next, seqno: self.loaded_as.unwrap_or(seqno) })
    }

    /// Checks every cell of a block; answers where every sixteenth one starts, for [`CellSuffix::near`].
    pub fn check(self, body: &[u8]) -> std::result::Result<Box<[u32]>, String> {
        if u32::try_from(body.len()).is_err() {
            return Err("the block is larger than 4 GiB".to_owned());
        }
        let mut starts = Vec::new();
        let (mut at, mut count) = (0, 0);
        while at < body.len() {
            let found = self.try_find(body, at)?;
            let cell = CellRef::parse(&body[at..found.end], found.seqno).map_err(|error| error.to_string())?;
            if cell.timestamp() < 0 || !cell.cell_type().is_storable() || cell.row().is_empty() {
                return Err("a cell has a key that cannot be stored".to_owned());
            }
            if count % CELLS_PER_START == 0 {
                starts.push(at as u32);
            }
            count += 1;
            at = found.next;
        }
        Ok(starts.into())
    }

    /// Where to start walking to the first cell of which `is_before` does not hold: not behind it and near it.
    pub fn near(self, body: &[u8], starts: &[u32], is_before: impl Fn(CellRef<'_>) -> bool) -> usize {
        let behind = starts.partition_point(|start| {
            let at = *start as usize;
            let found = self.find(body, at);
            is_before(CellRef::from_trusted(&body[at..found.end], found.seqno))
        });
        behind.checked_sub(1).map_or(0, |at| starts[at] as usize)
    }
}
