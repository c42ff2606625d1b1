//! Bytes of segments, groups, entries and indexes; no I/O.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use filesystem::{crc32c, crc32c_of};
use model::mutation::Nonce;
use model::{Cell, SeqNo};

use crate::error::{Result, StorageError};

pub(super) const SEGMENT_MAGIC: &[u8; 8] = b"FBWALSEG";
pub(super) const FENCE_MAGIC: &[u8; 8] = b"FBFENCE1";
const ENDED_MAGIC: &[u8; 8] = b"FBLOGEND";
pub(super) const VERSION: u32 = 1;
const GROUP_MAGIC: &[u8; 4] = b"GRP1";
const INDEX_MAGIC: &[u8; 4] = b"IDX1";
pub(super) const GROUP_HEADER_LEN: usize = 4 + 4 + 8 + 4 + 4;
const KIND_MUTATION: u8 = 1;
const WHAT: &str = "log segment";

/// One row mutation of one region.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Encoded region name; at most 255 bytes.
    pub region: Bytes,
    /// Its position in the region's history.
    pub seqno: SeqNo,
    /// Wall time of the write in milliseconds, for people.
    pub written_ms: i64,
    /// Identifies the attempt, if it must happen once.
    pub nonce: Option<Nonce>,
    /// The resulting cells.
    pub cells: Vec<Cell>,
}

pub(super) fn write_entry(
    out: &mut BytesMut,
    region: &[u8],
    seqno: SeqNo,
    written_ms: i64,
    nonce: Option<Nonce>,
    cells: &[Cell],
) {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(KIND_MUTATION);
    out.put_u8(u8::try_from(region.len()).expect("encoded region names are short"));
    out.put_slice(region);
    out.put_u64(seqno.0);
    out.put_i64(written_ms);
    match nonce {
        None => out.put_u8(0),
        Some(nonce) => {
            out.put_u8(1);
            out.put_u64(nonce.group);
            out.put_u64(nonce.nonce);
        }
    }
    out.put_u32(u32::try_from(cells.len()).expect("a mutation has fewer than 2^32 cells"));
    for cell in cells {
        out.put_u32(u32::try_from(cell.bytes().len()).expect("a cell is smaller than 4 GiB"));
        out.put_slice(cell.bytes());
    }
    let len = u32::try_from(out.len() - start - 4).expect("a mutation is smaller than 4 GiB");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Decodes the entries of a group's payload, those of one region only if named.
pub(super) fn read_entries(
    payload: &Bytes,
    region: Option<&[u8]>,
    out: &mut Vec<Entry>,
) -> std::result::Result<(), String> {
    let mut rest = payload.clone();
    while rest.has_remaining() {
        let short = |_| "an entry is cut short".to_owned();
        let len = rest.try_get_u32().map_err(short)? as usize;
        if rest.len() < len {
            return Err("an entry is cut short".to_owned());
        }
        let mut entry = rest.split_to(len);
        let kind = entry.try_get_u8().map_err(short)?;
        if kind != KIND_MUTATION {
            return Err(format!("unknown entry kind {kind}: a newer build wrote this log"));
        }
        let name_len = usize::from(entry.try_get_u8().map_err(short)?);
        if entry.len() < name_len {
            return Err("a region name is cut short".to_owned());
        }
        let name = entry.split_to(name_len);
        let seqno = SeqNo(entry.try_get_u64().map_err(short)?);
        let written_ms = entry.try_get_i64().map_err(short)?;
        let nonce = match entry.try_get_u8().map_err(short)? {
            0 => None,
            1 => Some(Nonce { group: entry.try_get_u64().map_err(short)?, nonce: entry.try_get_u64().map_err(short)? }),
            other => return Err(format!("nonce flag {other}")),
        };
        if region.is_some_and(|region| region != &name[..]) {
            continue;
        }
        let count = entry.try_get_u32().map_err(short)? as usize;
        // The smallest cell with its length takes 25 bytes.
        let mut cells = Vec::with_capacity(count.min(entry.len() / 25 + 1));
        for _ in 0..count {
            let len = entry.try_get_u32().map_err(short)? as usize;
            if entry.len() < len {
                return Err("a cell is cut short".to_owned());
            }
            cells.push(Cell::parse(entry.split_to(len), seqno).map_err(|error| error.to_string())?);
        }
        if entry.has_remaining() {
            return Err("bytes follow an entry's cells".to_owned());
        }
        out.push(Entry { region: name, seqno, written_ms, nonce, cells });
    }
    Ok(())
}

/// Where a group with entries of a region lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Number of the segment; of other objects with their kind in the upper two bits.
    pub segment: u64,
    /// Offset of the group's header.
    pub offset: u64,
    /// Length of the group, header included.
    pub len: u32,
}

/// What a stream or segment holds of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionRanges {
    /// Smallest seqno.
    pub min: SeqNo,
    /// Largest seqno.
    pub max: SeqNo,
    /// The groups, in order.
    pub groups: Vec<Range>,
}

/// What a stream or segment holds, by encoded region name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamIndex {
    /// Regions by encoded name.
    pub regions: BTreeMap<Bytes, RegionRanges>,
}

impl StreamIndex {
    pub(super) fn add(&mut self, region: &Bytes, min: SeqNo, max: SeqNo, range: Range) {
        let ranges =
            self.regions.entry(region.clone()).or_insert_with(|| RegionRanges { min, max, groups: Vec::new() });
        ranges.min = ranges.min.min(min);
        ranges.max = ranges.max.max(max);
        ranges.groups.push(range);
    }

    pub(super) fn write(&self, out: &mut BytesMut, with_segment: bool) {
        out.put_u32(self.regions.len() as u32);
        for (name, ranges) in &self.regions {
            out.put_u8(name.len() as u8);
            out.put_slice(name);
            out.put_u64(ranges.min.0);
            out.put_u64(ranges.max.0);
            out.put_u32(ranges.groups.len() as u32);
            for range in &ranges.groups {
                if with_segment {
                    out.put_u64(range.segment);
                }
                out.put_u64(range.offset);
                out.put_u32(range.len);
            }
        }
    }

    fn read(rest: &mut Bytes, segment: Option<u64>) -> Option<StreamIndex> {
        let mut index = StreamIndex::default();
        for _ in 0..rest.try_get_u32().ok()? {
            let len = usize::from(rest.try_get_u8().ok()?);
            if rest.len() < len {
                return None;
            }
            let name = rest.split_to(len);
            let min = SeqNo(rest.try_get_u64().ok()?);
            let max = SeqNo(rest.try_get_u64().ok()?);
            let count = rest.try_get_u32().ok()? as usize;
            let mut groups = Vec::with_capacity(count.min(rest.len() / 12));
            for _ in 0..count {
                let segment = match segment {
                    Some(segment) => segment,
                    None => rest.try_get_u64().ok()?,
                };
                let range = Range { segment, offset: rest.try_get_u64().ok()?, len: rest.try_get_u32().ok()? };
                // Nothing is so long, and nobody who asks where it ends need think of it.
                if range.offset > i64::MAX as u64 {
                    return None;
                }
                groups.push(range);
            }
            index.regions.insert(name, RegionRanges { min, max, groups });
        }
        Some(index)
    }
}

pub(super) fn segment_header(stream: u64, number: u64, earlier: &[(u64, u64)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_slice(SEGMENT_MAGIC);
    out.put_u32(VERSION);
    out.put_u64(stream);
    out.put_u64(number);
    out.put_u32(earlier.len() as u32);
    for (number, len) in earlier {
        out.put_u64(*number);
        out.put_u64(*len);
    }
    let crc = crc32c(&out);
    out.put_u32(crc);
    out.freeze()
}

/// A segment's header: its length and the acknowledged lengths of earlier segments. `None`: torn before it was whole.
pub(super) type SegmentHeader = (usize, Vec<(u64, u64)>);

pub(super) fn read_segment_header(data: &Bytes, stream: u64, number: u64, file: &str) -> Result<Option<SegmentHeader>> {
    let mut rest = data.clone();
    if rest.len() < 8 || rest.split_to(8)[..] != SEGMENT_MAGIC[..] {
        return Ok(None);
    }
    let Ok(version) = rest.try_get_u32() else { return Ok(None) };
    let (Ok(found_stream), Ok(found_number), Ok(count)) = (rest.try_get_u64(), rest.try_get_u64(), rest.try_get_u32())
    else {
        return Ok(None);
    };
    let len = 8 + 4 + 8 + 8 + 4 + count as usize * 16;
    if data.len() < len + 4 || crc32c(&data[..len]).to_be_bytes() != data[len..len + 4] {
        return Ok(None);
    }
    if version > VERSION {
        return Err(StorageError::Newer { what: WHAT, found: version, known: VERSION, file: file.to_owned() });
    }
    if (found_stream, found_number) != (stream, number) {
        return Err(StorageError::corrupt(WHAT, file, 12, "the header names another stream or segment"));
    }
    let earlier = (0..count).map(|_| (rest.get_u64(), rest.get_u64())).collect();
    Ok(Some((len + 4, earlier)))
}

/// Where a group lies. It is part of the group's checksum: bytes of a group elsewhere, in a stale sector or inside a
/// user's value, are no group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub stream: u64,
    pub segment: u64,
    pub offset: u64,
}

impl Place {
    fn checksum(self, head: &[u8]) -> u32 {
        let Place { stream, segment, offset } = self;
        crc32c_of(&[&stream.to_be_bytes(), &segment.to_be_bytes(), &offset.to_be_bytes(), head])
    }
}

fn frame(magic: &[u8; 4], place: Place, acknowledged: u64, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(GROUP_HEADER_LEN + payload.len());
    out.put_slice(magic);
    out.put_u32(u32::try_from(payload.len()).expect("groups are bounded far below 4 GiB"));
    out.put_u64(acknowledged);
    out.put_u32(crc32c(payload));
    let crc = place.checksum(&out);
    out.put_u32(crc);
    out.put_slice(payload);
    out.freeze()
}

pub(super) fn group(place: Place, acknowledged: u64, payload: &[u8]) -> Bytes {
    frame(GROUP_MAGIC, place, acknowledged, payload)
}

/// Writes a group whose payload is these parts behind each other.
pub(super) fn put_group(out: &mut BytesMut, place: Place, acknowledged: u64, payloads: &[Bytes]) {
    let (start, len) = (out.len(), payloads.iter().map(Bytes::len).sum::<usize>());
    let parts: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
    out.put_slice(GROUP_MAGIC);
    out.put_u32(u32::try_from(len).expect("groups are bounded far below 4 GiB"));
    out.put_u64(acknowledged);
    out.put_u32(crc32c_of(&parts));
    let crc = place.checksum(&out[start..]);
    out.put_u32(crc);
    parts.iter().for_each(|part| out.put_slice(part));
}

fn index_group(place: Place, acknowledged: u64, index: &StreamIndex) -> Bytes {
    let mut payload = BytesMut::new();
    index.write(&mut payload, false);
    frame(INDEX_MAGIC, place, acknowledged, &payload)
}

/// What ends a sealed segment: the length of its index group, and this.
const SEAL_MAGIC: &[u8; 4] = b"SEAL";
/// Length of a seal.
pub(super) const SEAL_LEN: usize = 4 + 4;

/// The index group of a segment with the seal behind it.
pub(super) fn seal(place: Place, acknowledged: u64, index: &StreamIndex) -> Bytes {
    let group = index_group(place, acknowledged, index);
    let mut out = BytesMut::with_capacity(group.len() + SEAL_LEN);
    out.put_slice(&group);
    out.put_u32(group.len() as u32);
    out.put_slice(SEAL_MAGIC);
    out.freeze()
}

/// Length of the index group that a seal says to stand before it.
pub(super) fn read_seal(seal: &[u8]) -> Option<u32> {
    let (len, magic) = seal.split_first_chunk::<4>()?;
    (magic == SEAL_MAGIC).then(|| u32::from_be_bytes(*len))
}

/// A sound header of a group, whose payload may be damaged.
pub(super) struct GroupHeader {
    is_index: bool,
    payload_len: usize,
    payload_crc: u32,
    pub acknowledged: u64,
}

/// The sound header at the start of `data`, if there is one. Cheap, so that a search may ask it of every byte.
pub(super) fn read_group_header(data: &[u8], place: Place) -> Option<GroupHeader> {
    let mut head = data.get(..GROUP_HEADER_LEN)?;
    let is_index = match &head[..4] {
        magic if magic == GROUP_MAGIC => false,
        magic if magic == INDEX_MAGIC => true,
        _ => return None,
    };
    let expected = place.checksum(&head[..GROUP_HEADER_LEN - 4]);
    head.advance(4);
    let (payload_len, acknowledged) = (head.get_u32() as usize, head.get_u64());
    let payload_crc = head.get_u32();
    (head.get_u32() == expected).then_some(GroupHeader { is_index, payload_len, payload_crc, acknowledged })
}

/// One sound group.
pub(super) struct Frame {
    pub is_index: bool,
    pub acknowledged: u64,
    pub payload: Bytes,
    pub len: usize,
}

/// The sound group at the start of `data`, if there is one.
pub(super) fn read_frame(data: &Bytes, place: Place) -> Option<Frame> {
    let header = read_group_header(data, place)?;
    let len = GROUP_HEADER_LEN.checked_add(header.payload_len).filter(|len| *len <= data.len())?;
    let payload = data.slice(GROUP_HEADER_LEN..len);
    if crc32c(&payload) != header.payload_crc {
        return None;
    }
    Some(Frame { is_index: header.is_index, acknowledged: header.acknowledged, payload, len })
}

/// Index of a segment, from its index group.
pub(super) fn read_index(payload: &Bytes, segment: u64) -> Option<StreamIndex> {
    let mut rest = payload.clone();
    StreamIndex::read(&mut rest, Some(segment)).filter(|_| rest.is_empty())
}

pub(super) fn ended_body(lengths: &[(u64, u64)], index: &StreamIndex) -> Bytes {
    let mut rest = BytesMut::new();
    rest.put_u32(lengths.len() as u32);
    for (number, len) in lengths {
        rest.put_u64(*number);
        rest.put_u64(*len);
    }
    index.write(&mut rest, true);
    let mut out = BytesMut::new();
    out.put_slice(ENDED_MAGIC);
    out.put_u32(VERSION);
    out.put_u32(crc32c(&rest));
    out.put_slice(&rest);
    out.freeze()
}

/// The objects that an ended stream consists of with their lengths, and what they hold.
pub(super) fn read_ended_body(body: &Bytes, file: &str) -> Result<(Vec<(u64, u64)>, StreamIndex)> {
    let damaged = |why: &str| StorageError::corrupt("log head", file, 0, why);
    if body.len() < 16 || body[..8] != ENDED_MAGIC[..] {
        return Err(damaged("the magic is wrong"));
    }
    let mut rest = body.slice(8..);
    let version = rest.get_u32();
    if version > VERSION {
        return Err(StorageError::Newer { what: "log head", found: version, known: VERSION, file: file.to_owned() });
    }
    if rest.get_u32() != crc32c(&rest) {
        return Err(damaged("the checksum is wrong"));
    }
    let count = rest.try_get_u32().map_err(|_| damaged("it is cut short"))? as usize;
    if rest.len() < count.saturating_mul(16) {
        return Err(damaged("it is cut short"));
    }
    let objects = (0..count).map(|_| (rest.get_u64(), rest.get_u64())).collect();
    let index = StreamIndex::read(&mut rest, None).ok_or_else(|| damaged("the index is not sound"))?;
    Ok((objects, index))
}
