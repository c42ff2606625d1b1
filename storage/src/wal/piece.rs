//! Bytes of pieces and of the segments they are sealed into; no I/O. Both are one object: header, index, blocks by region.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use filesystem::crc32c;
use model::SeqNo;

use super::format::{self, FENCE_MAGIC, GROUP_HEADER_LEN, Place, Range, RegionRanges, StreamIndex};
use crate::error::{Result, StorageError};

const MAGIC: &[u8; 8] = b"FBWALPCE";
const VERSION: u32 = 1;
/// Length of an object's header.
pub(super) const HEADER_LEN: usize = 8 + 4 + 8 + 8 + 16 + 8 + 8 + 8 + 4 + 4 + 4;
/// Where the header has the token.
const TOKEN_AT: usize = 8 + 4 + 8 + 8;
/// Puts in flight; the number `n` is put only when all up to `n - WINDOW` are confirmed. Part of the format: a reader that
/// meets a gap looks that far behind it.
pub(super) const WINDOW: u64 = 8;
/// A block holds one piece's bytes of a region, or several pieces' until it is so long.
const BLOCK_BYTES: usize = 1 << 20;
/// A block so long costs more for its bytes than for its request: laying it beside others gains nothing.
pub(super) const LONG_BLOCK: u64 = 64 << 10;
const WHAT: &str = "log piece";

/// Kind and number of an object of a stream in one u64, so that indexes of all kinds of streams look alike.
const KIND_SHIFT: u32 = 62;
const NUMBER_MASK: u64 = (1 << KIND_SHIFT) - 1;

/// What an object of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A segment that was appended to.
    Appended,
    /// A piece.
    Piece,
    /// A segment made of pieces by their writer.
    Sealed,
    /// A segment made of the last pieces by whoever ended the stream; its number is that of its first piece.
    Tail,
}

/// The object's id.
pub(super) fn id(kind: Kind, number: u64) -> u64 {
    (kind as u64) << KIND_SHIFT | (number & NUMBER_MASK)
}

/// Kind and number of an id.
pub(super) fn kind(id: u64) -> (Kind, u64) {
    let kind = match id >> KIND_SHIFT {
        0 => Kind::Appended,
        1 => Kind::Piece,
        2 => Kind::Sealed,
        _ => Kind::Tail,
    };
    (kind, id & NUMBER_MASK)
}

/// What an object holds of one region, as the entries' bytes.
#[derive(Debug)]
pub(super) struct Part {
    pub min: SeqNo,
    pub max: SeqNo,
    /// In order; each one piece's.
    pub payloads: Vec<Bytes>,
}

/// What an object says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Kind and number.
    pub id: u64,
    /// Tells the writer's objects from others'.
    pub token: u128,
    /// Pieces known to be stored when this was made.
    pub confirmed: u64,
    /// The pieces whose entries these are.
    pub pieces: (u64, u64),
}

/// Makes an object; answers where each region's blocks lie too.
pub(super) fn object(stream: u64, header: Header, parts: &BTreeMap<Bytes, Part>) -> (Bytes, StreamIndex) {
    // Runs of payloads that make a block.
    let mut blocks: Vec<(&Bytes, &Part, std::ops::Range<usize>, usize)> = Vec::with_capacity(parts.len());
    for (region, part) in parts {
        let (mut from, mut len) = (0, 0);
        for (at, payload) in part.payloads.iter().enumerate() {
            if len > 0 && len + payload.len() > BLOCK_BYTES {
                blocks.push((region, part, from..at, len));
                (from, len) = (at, 0);
            }
            len += payload.len();
        }
        blocks.push((region, part, from..part.payloads.len(), len));
    }
    let names: usize = parts.keys().map(|name| 1 + name.len() + 8 + 8 + 4).sum();
    let index_len = 4 + names + blocks.len() * (8 + 4);
    let bytes: usize = blocks.iter().map(|(_, _, _, len)| GROUP_HEADER_LEN + len).sum();
    let mut index = StreamIndex::default();
    let mut offset = (HEADER_LEN + index_len) as u64;
    for (region, part, _, len) in &blocks {
        let len = u32::try_from(GROUP_HEADER_LEN + len).expect("groups are bounded far below 4 GiB");
        index.add(region, part.min, part.max, Range { segment: header.id, offset, len });
        offset += u64::from(len);
    }
    let mut indexed = BytesMut::with_capacity(index_len);
    index.write(&mut indexed, false);
    debug_assert_eq!(indexed.len(), index_len);
    let mut out = BytesMut::with_capacity(HEADER_LEN + index_len + bytes);
    out.put_slice(MAGIC);
    out.put_u32(VERSION);
    out.put_u64(stream);
    out.put_u64(header.id);
    out.put_u128(header.token);
    out.put_u64(header.confirmed);
    out.put_u64(header.pieces.0);
    out.put_u64(header.pieces.1);
    out.put_u32(index_len as u32);
    out.put_u32(crc32c(&indexed));
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.put_slice(&indexed);
    for (_, part, run, _) in blocks {
        let place = Place { stream, segment: header.id, offset: out.len() as u64 };
        format::put_group(&mut out, place, header.confirmed, &part.payloads[run]);
    }
    (out.freeze(), index)
}

/// Whether these bytes begin like a fence.
pub(super) fn is_fence(data: &[u8]) -> bool {
    data.starts_with(FENCE_MAGIC)
}

/// Whether these bytes begin an object that was made with this token.
pub(super) fn is_of(data: &[u8], token: u128) -> bool {
    data.starts_with(MAGIC) && data.get(TOKEN_AT..TOKEN_AT + 16) == Some(&token.to_be_bytes()[..])
}

/// Header of an object, and the length and checksum of its index.
pub(super) fn read_header(data: &[u8], stream: u64, id: u64, file: &str) -> Result<(Header, usize, u32)> {
    let damaged = |offset, why: &str| StorageError::corrupt(WHAT, file, offset, why);
    let Some(mut rest) = data.get(..HEADER_LEN) else { return Err(damaged(data.len() as u64, "it is cut short")) };
    if !rest.starts_with(MAGIC) {
        return Err(damaged(0, "the magic is wrong"));
    }
    if crc32c(&data[..HEADER_LEN - 4]).to_be_bytes() != data[HEADER_LEN - 4..HEADER_LEN] {
        return Err(damaged(0, "the checksum of its header is wrong"));
    }
    rest.advance(8);
    let version = rest.get_u32();
    if version > VERSION {
        return Err(StorageError::Newer { what: WHAT, found: version, known: VERSION, file: file.to_owned() });
    }
    if (rest.get_u64(), rest.get_u64()) != (stream, id) {
        return Err(damaged(12, "the header names another stream or number"));
    }
    let (token, confirmed) = (rest.get_u128(), rest.get_u64());
    let pieces = (rest.get_u64(), rest.get_u64());
    Ok((Header { id, token, confirmed, pieces }, rest.get_u32() as usize, rest.get_u32()))
}

/// Index of an object from its bytes.
pub(super) fn read_index(data: &Bytes, len: usize, crc: u32, id: u64, file: &str) -> Result<StreamIndex> {
    let damaged = |why: &str| StorageError::corrupt(WHAT, file, HEADER_LEN as u64, why);
    if data.len() < len {
        return Err(damaged("its index is cut short"));
    }
    let data = data.slice(..len);
    if crc32c(&data) != crc {
        return Err(damaged("the checksum of its index is wrong"));
    }
    format::read_index(&data, id).ok_or_else(|| damaged("its index is not sound"))
}

/// Entries' bytes of a block that lies at `range` of its object.
pub(super) fn read_block(data: &Bytes, stream: u64, range: Range, file: &str) -> Result<Bytes> {
    let place = Place { stream, segment: range.segment, offset: range.offset };
    match format::read_frame(data, place) {
        Some(frame) if !frame.is_index && frame.len == range.len as usize => Ok(frame.payload),
        _ => Err(StorageError::corrupt(WHAT, file, range.offset, "an indexed block is not sound")),
    }
}

/// What an object holds of a region; `data` are its bytes `from` there on.
pub(super) fn part(data: &Bytes, from: u64, ranges: &RegionRanges, stream: u64, file: &str) -> Result<Part> {
    let payload = |range: &Range| {
        let begin = usize::try_from(range.offset.saturating_sub(from)).unwrap_or(usize::MAX).min(data.len());
        let end = begin.saturating_add(range.len as usize).min(data.len());
        read_block(&data.slice(begin..end), stream, *range, file)
    };
    let payloads = ranges.groups.iter().map(payload).collect::<Result<_>>()?;
    Ok(Part { min: ranges.min, max: ranges.max, payloads })
}

/// Adds what an object holds of a region to what others before it do.
pub(super) fn add(parts: &mut BTreeMap<Bytes, Part>, region: Bytes, part: Part) {
    match parts.entry(region) {
        Entry::Vacant(entry) => drop(entry.insert(part)),
        Entry::Occupied(mut entry) => {
            let whole = entry.get_mut();
            (whole.min, whole.max) = (whole.min.min(part.min), whole.max.max(part.max));
            whole.payloads.extend(part.payloads);
        }
    }
}

/// How long the blocks of regions are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measure {
    /// All together.
    pub bytes: u64,
    /// Blocks shorter than [`LONG_BLOCK`].
    short: u64,
}

/// Measures blocks.
pub(super) fn measure<'a>(of: impl Iterator<Item = &'a RegionRanges>) -> Measure {
    let mut all = Measure::default();
    for block in of.flat_map(|ranges| &ranges.groups) {
        all.bytes += u64::from(block.len);
        all.short += u64::from(u64::from(block.len) < LONG_BLOCK);
    }
    all
}

impl Measure {
    /// Whether laying the blocks together by region spares a request for each `bytes` copied.
    pub fn spares_requests(self, bytes: u64) -> bool {
        self.short * bytes >= self.bytes
    }
}

/// Where the last block ends: the object's length.
pub(super) fn end_of(index: &StreamIndex, index_len: usize) -> u64 {
    let blocks = index.regions.values().flat_map(|ranges| &ranges.groups);
    blocks.map(|range| range.offset + u64::from(range.len)).max().unwrap_or((HEADER_LEN + index_len) as u64)
}
