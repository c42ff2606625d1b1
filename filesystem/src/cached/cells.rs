//! One file of the cache: a header and cells, each with a sum over its bytes, its number and the file's seed (`docs/formats/cache.md`).
//!
//! Always true: what [`read`] calls good is what was written for exactly this place of exactly this file. Bytes between
//! buffers and file move without a copy in between.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;

use crc_fast::{CrcAlgorithm, Digest};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::{Errno, preadv, pwritev};

const MAGIC: &[u8; 8] = b"FBCACHE\n";
const VERSION: u32 = 1;
/// Length of the header.
pub(super) const HEADER: u64 = 4096;
/// Bytes of a store file in one cell.
pub(super) const DATA: usize = 16_376;
const SUM: usize = 8;
/// Length of a cell.
pub(super) const CELL: u64 = (DATA + SUM) as u64;
const FIXED: usize = 40;
/// Longest store file of which parts are kept.
pub(super) const BLOB_BYTES_MAX: u64 = 256 << 30;
/// Cells in one system call, which takes at most 1024 parts.
const BATCH: usize = 256;

pub(super) type Seed = [u8; 16];

fn sum_of<'a>(seed: &Seed, cell: u64, parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(seed);
    digest.update(&cell.to_le_bytes());
    parts.for_each(|part| digest.update(part));
    digest.finalize()
}

fn place(cell: u64) -> u64 {
    HEADER + cell * CELL
}

/// How many cells a store file of this length has.
pub(super) fn cells_of(len: u64) -> u64 {
    len.div_ceil(DATA as u64)
}

/// What the header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub root: String,
    pub path: String,
    pub len: u64,
    pub seed: Seed,
}

impl Head {
    /// `None`: the names are too long for a header.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let end = HEADER as usize - SUM;
        if FIXED + self.root.len() + self.path.len() > end || self.len > BLOB_BYTES_MAX {
            return None;
        }
        let mut out = Vec::with_capacity(HEADER as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.root.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.path.len() as u16).to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.seed);
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(self.path.as_bytes());
        out.resize(end, 0);
        out.extend_from_slice(&crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &out).to_le_bytes());
        Some(out)
    }

    /// `None`: damaged, or of another version.
    pub(super) fn decode(data: &[u8]) -> Option<Head> {
        let (body, sum) = data.split_at_checked(HEADER as usize - SUM)?;
        if crc_fast::checksum(CrcAlgorithm::Crc64Nvme, body).to_le_bytes() != sum
            || body[..8] != MAGIC[..]
            || body[8..12] != VERSION.to_le_bytes()
        {
            return None;
        }
        let short = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]) as usize;
        let len = u64::from_le_bytes(body[16..24].try_into().ok()?);
        let seed: Seed = body[24..FIXED].try_into().ok()?;
        let root = body.get(FIXED..FIXED + short(12))?;
        let path = body.get(FIXED + root.len()..FIXED + root.len() + short(14))?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Head { root: text(root)?, path: text(path)?, len, seed }).filter(|head| head.len <= BLOB_BYTES_MAX)
    }
}

/// Reads the header; `None`: there is none that is sound.
pub(super) fn read_head(file: &File) -> io::Result<Option<Head>> {
    let mut data = vec![0; HEADER as usize];
    match std::os::unix::fs::FileExt::read_exact_at(file, &mut data, 0) {
        Ok(()) => Ok(Head::decode(&data)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `call` until all parts are moved, or nothing moves any more; how many bytes were.
fn in_full<T>(
    mut parts: &mut [T],
    mut at: u64,
    advance: fn(&mut &mut [T], usize),
    mut call: impl FnMut(&mut [T], u64) -> Result<usize, Errno>,
) -> io::Result<u64> {
    let start = at;
    while !parts.is_empty() {
        match call(parts, at) {
            Ok(0) => break,
            Ok(moved) => {
                at += moved as u64;
                advance(&mut parts, moved);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(at - start)
}

/// Writes cells from `first` on: whole ones, or the last of the store file padded with zeros.
pub(super) fn write(file: &File, seed: &Seed, first: u64, data: &[u8]) -> io::Result<()> {
    let zeros = [0; DATA];
    for (batch, chunk) in data.chunks(BATCH * DATA).enumerate() {
        let first = first + (batch * BATCH) as u64;
        let cells: Vec<&[u8]> = chunk.chunks(DATA).collect();
        let padding = |cell: &[u8]| &zeros[..DATA - cell.len()];
        let sums: Vec<[u8; SUM]> = (first..)
            .zip(&cells)
            .map(|(number, cell)| sum_of(seed, number, [*cell, padding(cell)].into_iter()).to_le_bytes())
            .collect();
        let parts = cells.iter().zip(&sums).flat_map(|(cell, sum)| [*cell, padding(cell), &sum[..]]);
        let mut parts: Vec<IoSlice<'_>> = parts.filter(|part| !part.is_empty()).map(IoSlice::new).collect();
        let len = cells.len() as u64 * CELL;
        let done = in_full(&mut parts, place(first), IoSlice::advance_slices, |parts, at| pwritev(file, parts, at))?;
        if done != len {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// How a read ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The buffer holds the bytes.
    Good,
    /// This cell is not here, or not as it was written; of the buffer nothing counts.
    Bad { cell: u64, absent: bool },
}

/// Which pieces of `head`, `wanted` and `rest` one cell is made of.
fn pieces(lens: [usize; 3], cell: usize) -> impl Iterator<Item = (usize, Range<usize>)> {
    let (from, to) = (cell * DATA, (cell + 1) * DATA);
    let mut begin = 0;
    lens.into_iter().enumerate().filter_map(move |(which, len)| {
        let (start, end) = (begin, begin + len);
        begin = end;
        let range = from.clamp(start, end) - start..to.clamp(start, end) - start;
        (!range.is_empty()).then_some((which, range))
    })
}

/// Fills `wanted` with the store file's bytes from `offset` on, and verifies every cell that it touches.
pub(super) fn read(file: &File, seed: &Seed, offset: u64, wanted: &mut [u8]) -> io::Result<Read> {
    let first = offset / DATA as u64;
    let skip = (offset % DATA as u64) as usize;
    let count = (skip + wanted.len()).div_ceil(DATA);
    let lens = [skip, wanted.len(), count * DATA - skip - wanted.len()];
    // What the first and the last cell hold beside what is wanted is read to be verified.
    let (mut head, mut rest, mut sums) = (vec![0; lens[0]], vec![0; lens[2]], vec![[0; SUM]; count]);
    {
        let mut left: [&mut [u8]; 3] = [&mut head, &mut *wanted, &mut rest];
        let mut sums = &mut sums[..];
        for batch in (0..count).step_by(BATCH) {
            let cells = batch..count.min(batch + BATCH);
            let mut parts = Vec::with_capacity(cells.len() * 4);
            for cell in cells.clone() {
                for (which, range) in pieces(lens, cell) {
                    let (part, behind) = std::mem::take(&mut left[which]).split_at_mut(range.len());
                    left[which] = behind;
                    parts.push(IoSliceMut::new(part));
                }
                let (sum, behind) = std::mem::take(&mut sums).split_at_mut(1);
                sums = behind;
                parts.push(IoSliceMut::new(&mut sum[0]));
            }
            let at = place(first + cells.start as u64);
            in_full(&mut parts, at, IoSliceMut::advance_slices, |parts, at| preadv(file, parts, at))?;
        }
    }
    let buffers: [&[u8]; 3] = [&head, wanted, &rest];
    for (cell, sum) in sums.iter().enumerate() {
        let number = first + cell as u64;
        let parts = || pieces(lens, cell).map(|(which, range)| &buffers[which][range]);
        if sum_of(seed, number, parts()).to_le_bytes() != *sum {
            let absent = *sum == [0; SUM] && parts().all(|part| part.iter().all(|byte| *byte == 0));
            return Ok(Read::Bad { cell: number, absent });
        }
    }
    Ok(Read::Good)
}

/// Frees the space of cells; false if the file system cannot.
pub(super) fn punch(file: &File, first: u64, count: u64) -> io::Result<bool> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, place(first), count * CELL) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The cells that take space, wholly or in part; on a file system without holes all of them.
pub(super) fn occupied(file: &File, cells: u64) -> io::Result<Vec<Range<u64>>> {
    let end = place(cells).min(file.metadata()?.len());
    let (mut found, mut at): (Vec<Range<u64>>, u64) = (Vec::new(), HEADER);
    while at < end {
        let from = match seek(file, SeekFrom::Data(at)) {
            Ok(from) => from.max(at),
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let to = seek(file, SeekFrom::Hole(from)).unwrap_or(end).min(end);
        if from >= to {
            break;
        }
        let first = (from - HEADER) / CELL;
        let first = found.last().map_or(first, |last| first.max(last.end));
        found.push(first..(to - HEADER).div_ceil(CELL));
        at = to;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn read_range(file: &File, seed: &Seed, offset: usize, len: usize) -> Result<Vec<u8>, Read> {
        let mut out = vec![0xaa; len];
        match read(file, seed, offset as u64, &mut out).expect("no error of the disk") {
            Read::Good => Ok(out),
            bad => Err(bad),
        }
    }

    #[test]
    fn the_header_is_as_its_page_says_and_any_flip_ends_it() {
        let head = Head { root: "s3://b/p".into(), path: "data/d/t/r/f/1".into(), len: 20_000, seed: [7; 16] };
        let encoded = head.encode().expect("short names");
        assert_eq!((encoded.len() as u64, Head::decode(&encoded)), (HEADER, Some(head.clone())));
        assert_eq!(hex::encode(&encoded[..24]), "464243414348450a01000000 0800 0e00 204e000000000000".replace(' ', ""));
        for at in 0..encoded.len() {
            let mut flipped = encoded.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(Head::decode(&flipped), None, "byte {at}");
            assert_eq!(Head::decode(&encoded[..at]), None, "cut at {at}");
        }
        assert_eq!(Head { path: "x".repeat(4100), ..head.clone() }.encode(), None);
        assert_eq!(Head { len: BLOB_BYTES_MAX + 1, ..head.clone() }.encode(), None);
        let mut newer = encoded[..HEADER as usize - SUM].to_vec();
        newer[8] = 2;
        newer.extend_from_slice(&crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &newer).to_le_bytes());
        assert_eq!(Head::decode(&newer), None, "a newer version is none of ours");
    }

    #[test]
    fn ranges_read_as_written_across_cells_and_batches() {
        let (file, seed, data) = (tempfile::tempfile().expect("file"), [3; 16], bytes(300 * DATA + 777));
        write(&file, &seed, 0, &data[..10 * DATA]).expect("write");
        write(&file, &seed, 10, &data[10 * DATA..]).expect("write");
        for (offset, len) in [
            (0, 1),
            (0, DATA),
            (5, DATA),
            (DATA - 1, 2),
            (DATA, 65_536),
            (70_000, 65_600),
            (0, data.len()),
            (data.len() - 1, 1),
            (290 * DATA + 9, 10 * DATA),
        ] {
            assert!(
                read_range(&file, &seed, offset, len).expect("good") == data[offset..offset + len],
                "{offset} {len}"
            );
        }
        let occupied_now = occupied(&file, cells_of(data.len() as u64)).expect("seek");
        assert!(occupied_now.len() == 1 && occupied_now[0] == (0..301), "{occupied_now:?}");
        let other = read_range(&file, &[4; 16], 0, 9).expect_err("of another file");
        assert_eq!(other, Read::Bad { cell: 0, absent: false });
        assert!(punch(&file, 3, 2).expect("punch"), "no holes here");
        assert_eq!(read_range(&file, &seed, 2 * DATA, DATA * 2), Err(Read::Bad { cell: 3, absent: true }));
        assert_eq!(occupied(&file, 301).expect("seek"), [0..3, 5..301]);
        // A sound cell at another place is none.
        let mut cell = vec![0; CELL as usize];
        file.read_exact_at(&mut cell, place(7)).expect("read");
        file.write_all_at(&cell, place(8)).expect("write");
        assert_eq!(read_range(&file, &seed, 8 * DATA, 10), Err(Read::Bad { cell: 8, absent: false }));
    }

    #[test]
    fn any_flipped_byte_and_any_cut_of_a_cell_is_noticed() {
        let (seed, data) = ([9; 16], bytes(DATA + 100));
        let whole = tempfile::tempfile().expect("file");
        write(&whole, &seed, 0, &data).expect("write");
        let mut image = vec![0; (HEADER + 2 * CELL) as usize];
        whole.read_exact_at(&mut image[HEADER as usize..], HEADER).expect("read");
        for at in (HEADER as usize..image.len()).step_by(31) {
            let hurt = tempfile::tempfile().expect("file");
            let mut flipped = image.clone();
            flipped[at] ^= 0x10;
            hurt.write_all_at(&flipped, 0).expect("write");
            let cell = (at as u64 - HEADER) / CELL;
            assert_eq!(read_range(&hurt, &seed, 0, data.len()), Err(Read::Bad { cell, absent: false }), "byte {at}");
            hurt.set_len(at as u64).expect("cut");
            assert!(read_range(&hurt, &seed, 0, data.len()).is_err(), "cut at {at}");
        }
    }
}
