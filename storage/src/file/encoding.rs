//! Data block encodings (hfile-v3.md §1.8), a block at a time between the plain layout and the encoded one. No I/O.
//!
//! Always true: decoding makes exactly the bytes of the plain layout, so everything behind it knows one layout only; it
//! never makes more bytes than the block's header and its own length field allow.

use bytes::{BufMut, Bytes, BytesMut};
use model::schema::DataBlockEncoding;

use super::block::CellSuffix;
use super::format::{get_vlong, vlong_len};

/// Largest plain block that is decoded, in bytes.
const PLAIN_BYTES_MAX: usize = 1 << 30;
/// Entries of a block's tag dictionary.
const TAG_DICTIONARY_MAX: usize = 127;

/// The encoding's number in a block.
pub fn id(encoding: DataBlockEncoding) -> i16 {
    match encoding {
        DataBlockEncoding::None => 0,
        DataBlockEncoding::Prefix => 2,
        DataBlockEncoding::Diff => 3,
        DataBlockEncoding::FastDiff => 4,
        DataBlockEncoding::RowIndexV1 => 7,
    }
}

/// The encoding's name in FileInfo.
pub fn name(encoding: DataBlockEncoding) -> &'static str {
    match encoding {
        DataBlockEncoding::None => "NONE",
        DataBlockEncoding::Prefix => "PREFIX",
        DataBlockEncoding::Diff => "DIFF",
        DataBlockEncoding::FastDiff => "FAST_DIFF",
        DataBlockEncoding::RowIndexV1 => "ROW_INDEX_V1",
    }
}

/// The encoding of a FileInfo name.
pub fn from_name(text: &str) -> Option<DataBlockEncoding> {
    use DataBlockEncoding::{Diff, FastDiff, None as Plain, Prefix, RowIndexV1};
    [Plain, Prefix, Diff, FastDiff, RowIndexV1].into_iter().find(|encoding| name(*encoding) == text)
}

type Decoded<T> = Result<T, String>;

/// Reads forward through a body.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        if len > self.0.len() {
            return Err("an encoded cell is cut short".to_owned());
        }
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?[0])
    }

    fn cint(&mut self) -> Decoded<usize> {
        let mut value = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if value <= i32::MAX as usize { Ok(value) } else { Err("a length is too large".to_owned()) };
            }
        }
        Err("a length has too many bytes".to_owned())
    }

    fn int(&mut self) -> Decoded<usize> {
        let raw = i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes"));
        usize::try_from(raw).map_err(|_| "a length is negative".to_owned())
    }
}

/// Tags by index, the least recently used one replaced first (hfile-v3.md §2.4).
#[derive(Default)]
struct TagDictionary {
    entries: Vec<Vec<u8>>,
    /// Indexes, the most recently used last.
    recent: Vec<usize>,
}

impl TagDictionary {
    fn touch(&mut self, index: usize) {
        self.recent.retain(|other| *other != index);
        self.recent.push(index);
    }

    fn add(&mut self, tag: &[u8]) {
        if tag.is_empty() {
            return;
        }
        let index = if self.entries.len() < TAG_DICTIONARY_MAX {
            self.entries.push(tag.to_vec());
            self.entries.len() - 1
        } else {
            let index = self.recent[0];
            self.entries[index] = tag.to_vec();
            index
        };
        self.touch(index);
    }

    fn get(&mut self, index: usize) -> Option<Vec<u8>> {
        let tag = self.entries.get(index)?.clone();
        self.touch(index);
        Some(tag)
    }

    /// Reads tags that make `len` bytes in the plain layout.
    fn read(&mut self, input: &mut Input<'_>, len: usize, out: &mut BytesMut) -> Decoded<()> {
        let end = out.len() + len;
        while out.len() < end {
            let first = input.byte()?;
            let tag = if first == 0xff {
                let len = input.cint()?;
                let tag = input.take(len)?.to_vec();
                self.add(&tag);
                tag
            } else {
                let index = usize::from(first) << 8 | usize::from(input.byte()?);
                self.get(index).ok_or("a tag's index is not in the dictionary")?
            };
            if tag.len() > usize::from(u16::MAX) || out.len() + 2 + tag.len() > end {
                return Err("tags are longer than they should be".to_owned());
            }
            out.put_u16(tag.len() as u16);
            out.put_slice(&tag);
        }
        Ok(())
    }
}

struct Previous {
    key: Vec<u8>,
    value_len: usize,
    value: (usize, usize),
}

fn row_len(key: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([key[0], key[1]]))
}

fn timestamp(key: &[u8]) -> i64 {
    i64::from_be_bytes(key[key.len() - 9..key.len() - 1].try_into().expect("eight bytes"))
}

/// Reads row, family and qualifier of a key that shares its first `common` bytes with the previous one.
fn rest_of_key(
    input: &mut Input<'_>,
    previous: &[u8],
    family: &[u8],
    common: usize,
    key_len: usize,
) -> Decoded<Vec<u8>> {
    let wrong = || "a key's lengths do not fit".to_owned();
    if key_len < 12 || common > key_len - 9 || common > previous.len() {
        return Err(wrong());
    }
    let mut key = previous[..common].to_vec();
    if common < 2 {
        key.extend_from_slice(input.take(2 - common)?);
    }
    let row_end = 2 + row_len(&key);
    if common < row_end {
        key.extend_from_slice(input.take(row_end - key.len())?);
        key.push(family.len() as u8);
        key.extend_from_slice(family);
    }
    let rest = (key_len - 9).checked_sub(key.len()).ok_or_else(wrong)?;
    key.extend_from_slice(input.take(rest)?);
    Ok(key)
}

fn family_of(key: &[u8]) -> Option<Vec<u8>> {
    model::KeyRef::parse(key).ok().map(|key| key.family().to_vec())
}

/// Decodes a block's body, its encoding number included, to the plain layout.
pub(super) fn decode(
    body: &Bytes,
    encoding: DataBlockEncoding,
    suffix: CellSuffix,
    tags_packed: bool,
) -> Decoded<Bytes> {
    let mut input = Input(body);
    let found = i16::from_be_bytes(input.take(2)?.try_into().expect("two bytes"));
    if found != id(encoding) {
        return Err(format!("the block has encoding {found}, the file says {}", id(encoding)));
    }
    if encoding == DataBlockEncoding::RowIndexV1 {
        return row_index(body);
    }
    let size = input.int()?;
    if size > PLAIN_BYTES_MAX {
        return Err("the block says it is larger than 1 GiB".to_owned());
    }
    let mut out = BytesMut::new();
    let mut family = Vec::new();
    if encoding == DataBlockEncoding::Diff {
        let len = usize::from(input.byte()?);
        family = input.take(len)?.to_vec();
    }
    let mut tags = TagDictionary::default();
    let mut previous: Option<Previous> = None;
    while !input.0.is_empty() {
        let (key, value_len, same_value) = match encoding {
            DataBlockEncoding::Prefix => prefix_key(&mut input, previous.as_ref())?,
            DataBlockEncoding::Diff => diff_key(&mut input, previous.as_ref(), &family)?,
            _ => fast_diff_key(&mut input, previous.as_ref(), &mut family)?,
        };
        if key.len() < 12 || 2 + row_len(&key) + 10 > key.len() {
            return Err("a key's lengths do not fit".to_owned());
        }
        if out.len() + 8 + key.len() + value_len > size {
            return Err("the cells are longer than the block says".to_owned());
        }
        out.put_i32(key.len() as i32);
        out.put_i32(value_len as i32);
        out.put_slice(&key);
        let at = out.len();
        match (same_value, &previous) {
            (true, Some(previous)) => {
                let (from, to) = previous.value;
                out.extend_from_within(from..to);
            }
            (true, None) => return Err("the first cell refers to a value before it".to_owned()),
            (false, _) => out.put_slice(input.take(value_len)?),
        }
        previous = Some(Previous { key, value_len, value: (at, out.len()) });
        if suffix.tags {
            let len = input.cint()?;
            if len > usize::from(u16::MAX) || out.len() + 2 + len > size {
                return Err("tags are longer than the block says".to_owned());
            }
            out.put_u16(len as u16);
            if tags_packed {
                tags.read(&mut input, len, &mut out)?;
            } else {
                out.put_slice(input.take(len)?);
            }
        }
        if suffix.mvcc {
            let (_, len) = get_vlong(input.0).ok_or("an mvcc number is cut short")?;
            out.put_slice(input.take(len)?);
        }
    }
    if out.len() == size {
        Ok(out.freeze())
    } else {
        Err(format!("{} bytes decoded, the block says {size}", out.len()))
    }
}

/// A key, the value's length, and whether the value is the previous cell's.
type KeyAndValue = (Vec<u8>, usize, bool);

fn prefix_key(input: &mut Input<'_>, previous: Option<&Previous>) -> Decoded<KeyAndValue> {
    let rest = input.cint()?;
    let value_len = input.cint()?;
    let common = input.cint()?;
    let shared = previous.map_or(&[][..], |previous| &previous.key);
    let mut key = shared.get(..common).ok_or("a key shares more than there is")?.to_vec();
    key.extend_from_slice(input.take(rest)?);
    Ok((key, value_len, false))
}

fn diff_key(input: &mut Input<'_>, previous: Option<&Previous>, family: &[u8]) -> Decoded<KeyAndValue> {
    let flag = input.byte()?;
    let before = || previous.ok_or_else(|| "the first cell refers to one before it".to_owned());
    let key_len = if flag & 1 == 0 { input.cint()? } else { before()?.key.len() };
    let value_len = if flag & 2 == 0 { input.cint()? } else { before()?.value_len };
    let common = input.cint()?;
    let shared = previous.map_or(&[][..], |previous| &previous.key);
    let mut key = rest_of_key(input, shared, family, common, key_len)?;
    let count = usize::from(flag >> 4 & 7) + 1;
    let mut raw = [0u8; 8];
    raw[..count].copy_from_slice(input.take(count)?);
    let mut ms = i64::from_le_bytes(raw);
    if flag & 0x80 != 0 {
        ms = ms.wrapping_neg();
    }
    if flag & 8 != 0 {
        ms = timestamp(&before()?.key).wrapping_sub(ms);
    }
    key.extend_from_slice(&ms.to_be_bytes());
    let kind = if flag & 4 == 0 { input.byte()? } else { *before()?.key.last().expect("keys are not empty") };
    key.push(kind);
    Ok((key, value_len, false))
}

fn fast_diff_key(input: &mut Input<'_>, previous: Option<&Previous>, family: &mut Vec<u8>) -> Decoded<KeyAndValue> {
    let flag = input.byte()?;
    let Some(before) = previous else {
        let key_len = input.cint()?;
        let value_len = input.cint()?;
        if flag != 0 || input.cint()? != 0 {
            return Err("the first cell refers to one before it".to_owned());
        }
        let key = input.take(key_len)?.to_vec();
        *family = family_of(&key).ok_or("the first key is not sound")?;
        return Ok((key, value_len, false));
    };
    let key_len = if flag & 8 == 0 { input.cint()? } else { before.key.len() };
    let value_len = if flag & 0x10 == 0 { input.cint()? } else { before.value_len };
    let common = input.cint()?;
    let mut key = rest_of_key(input, &before.key, family, common, key_len)?;
    let kept = usize::from(flag & 7);
    let stamp_at = before.key.len() - 9;
    key.extend_from_slice(&before.key[stamp_at..stamp_at + kept]);
    key.extend_from_slice(input.take(8 - kept)?);
    let kind = if flag & 0x20 == 0 { input.byte()? } else { *before.key.last().expect("keys are not empty") };
    key.push(kind);
    let same_value = flag & 0x40 != 0;
    if same_value && value_len != before.value_len {
        return Err("a value is the previous one's but has another length".to_owned());
    }
    Ok((key, value_len, same_value))
}

fn row_index(body: &Bytes) -> Decoded<Bytes> {
    let end = body.len().checked_sub(4).filter(|end| *end >= 2).ok_or("the row index is cut short")?;
    let cells_len = Input(&body[end..]).int()?;
    let cells_end = cells_len.checked_add(2).filter(|at| *at + 4 <= end).ok_or("the row index does not fit")?;
    let rows = Input(&body[cells_end..]).int()?;
    if rows.checked_mul(4).and_then(|len| len.checked_add(cells_end + 4)) != Some(end) {
        return Err("the row index has the wrong length".to_owned());
    }
    Ok(body.slice(2..cells_end))
}

fn put_cint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Whether blocks can be written so; PREFIX and DIFF are read only.
pub fn can_encode(encoding: DataBlockEncoding) -> bool {
    matches!(encoding, DataBlockEncoding::None | DataBlockEncoding::FastDiff | DataBlockEncoding::RowIndexV1)
}

/// Encodes a block of the plain layout, its encoding number included. Tags stay as they are.
pub(super) fn encode(plain: &[u8], encoding: DataBlockEncoding, suffix: CellSuffix) -> BytesMut {
    let mut out = BytesMut::with_capacity(plain.len() / 2 + 64);
    out.put_i16(id(encoding));
    match encoding {
        DataBlockEncoding::RowIndexV1 => encode_row_index(plain, suffix, &mut out),
        _ => encode_fast_diff(plain, suffix, &mut out),
    }
    out
}

fn encode_row_index(plain: &[u8], suffix: CellSuffix, out: &mut BytesMut) {
    out.put_slice(plain);
    let (mut at, mut rows, mut last): (usize, Vec<usize>, &[u8]) = (0, Vec::new(), &[]);
    while at < plain.len() {
        let key = &plain[at + 8..];
        let row = &key[2..2 + row_len(key)];
        if rows.is_empty() || row != last {
            rows.push(at);
            last = row;
        }
        at = suffix.find(plain, at).next;
    }
    out.put_i32(rows.len() as i32);
    rows.iter().for_each(|row| out.put_i32(*row as i32));
    out.put_i32(plain.len() as i32);
}

/// Leading bytes that a key shares with the previous one, up to the qualifier's end.
fn common_prefix(key: &[u8], previous: &[u8]) -> usize {
    let same = |a: &[u8], b: &[u8]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let lengths = same(&key[..2], &previous[..2]);
    if lengths < 2 {
        return lengths;
    }
    let row_end = 2 + row_len(key);
    let rows = same(&key[2..row_end], &previous[2..row_end]);
    if 2 + rows < row_end {
        return 2 + rows;
    }
    let qualifier = row_end + 1 + usize::from(key[row_end]);
    qualifier + same(&key[qualifier..key.len() - 9], &previous[qualifier..previous.len() - 9])
}

fn encode_fast_diff(plain: &[u8], suffix: CellSuffix, out: &mut BytesMut) {
    out.put_i32(plain.len() as i32);
    let mut previous: Option<(&[u8], &[u8])> = None;
    let mut at = 0;
    while at < plain.len() {
        let found = suffix.find(plain, at);
        let int = |at: usize| u32::from_be_bytes(plain[at..at + 4].try_into().expect("four bytes")) as usize;
        let (key_len, value_len) = (int(at), int(at + 4));
        let key = &plain[at + 8..at + 8 + key_len];
        let value = &plain[at + 8 + key_len..at + 8 + key_len + value_len];
        match previous {
            None => {
                out.put_u8(0);
                put_cint(out, key_len);
                put_cint(out, value_len);
                put_cint(out, 0);
                out.put_slice(key);
                out.put_slice(value);
            }
            Some((last, last_value)) => {
                let common = common_prefix(key, last);
                let (stamp, last_stamp) = (&key[key_len - 9..key_len - 1], &last[last.len() - 9..last.len() - 1]);
                let kept = stamp.iter().zip(last_stamp).take_while(|(a, b)| a == b).count().min(7);
                let same_kind = key.last() == last.last();
                let mut flag = kept as u8;
                for (bit, set) in [
                    (8, key_len == last.len()),
                    (0x10, value_len == last_value.len()),
                    (0x20, same_kind),
                    (0x40, value == last_value),
                ] {
                    flag |= if set { bit } else { 0 };
                }
                out.put_u8(flag);
                if flag & 8 == 0 {
                    put_cint(out, key_len);
                }
                if flag & 0x10 == 0 {
                    put_cint(out, value_len);
                }
                put_cint(out, common);
                let row_end = 2 + row_len(key);
                if common < row_end {
                    out.put_slice(&key[common..row_end]);
                    let qualifier = row_end + 1 + usize::from(key[row_end]);
                    out.put_slice(&key[qualifier..key_len - 9]);
                } else {
                    out.put_slice(&key[common..key_len - 9]);
                }
                out.put_slice(&stamp[kept..]);
                if !same_kind {
                    out.put_u8(key[key_len - 1]);
                }
                if flag & 0x40 == 0 {
                    out.put_slice(value);
                }
            }
        }
        let mut tail = at + 8 + key_len + value_len;
        if suffix.tags {
            let len = usize::from(u16::from_be_bytes([plain[tail], plain[tail + 1]]));
            put_cint(out, len);
            out.put_slice(&plain[tail + 2..tail + 2 + len]);
            tail += 2 + len;
        }
        debug_assert!(!suffix.mvcc || found.next - tail == vlong_len(found.seqno.0 as i64));
        out.put_slice(&plain[tail..found.next]);
        previous = Some((key, value));
        at = found.next;
    }
}
