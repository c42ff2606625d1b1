//! One cell: a slice of HBase's KeyValue bytes, with its sequence number beside it.
//!
//! ```text
//! i32 keyLen | i32 valueLen | key | value [ u16 tagsLen | tags ]
//! key:  i16 rowLen | row | u8 familyLen | family | qualifier | i64 timestamp | u8 type
//! ```
//!
//! The same bytes stand in the log, the memtable's slab, an HFile block with encoding NONE and the cell block
//! on the wire; each place adds only its own prefix or suffix. Integers are big-endian.
//!
//! Invariants
//! - A [`Cell`] or [`CellRef`] holds exactly one well-formed KeyValue: lengths fit, `rowLen >= 1` unless it is a
//!   search key, `familyLen <= 127`, tags well formed. Accessors rely on it and never fail.
//! - The tags section is present only when it is not empty.
//! - Equal cells have equal bytes.
//! - Order: row, family, qualifier ascending (unsigned bytes); timestamp descending; type descending (unsigned);
//!   sequence number descending.
//!
//! Not here: framing (`n` before each cell, mvcc behind it) and compression, which belong to the formats.

use std::cmp::Ordering;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Timestamp that means "the server's time at the write"; never stored.
pub const LATEST_TIMESTAMP: i64 = i64::MAX;
/// Smallest timestamp, used in search keys only.
pub const OLDEST_TIMESTAMP: i64 = i64::MIN;
/// Longest row in bytes (HBase: a signed 16-bit length).
pub const ROW_LEN_MAX: usize = i16::MAX as usize;
/// Longest family name in bytes (HBase: a signed 8-bit length).
pub const FAMILY_LEN_MAX: usize = i8::MAX as usize;
/// Longest tags section in bytes, without its length field.
pub const TAGS_LEN_MAX: usize = u16::MAX as usize;
/// Bytes before the key: key length and value length.
pub const PREFIX_LEN: usize = 8;
/// Key bytes besides row, family and qualifier: row length, family length, timestamp, type.
pub const KEY_FIXED_LEN: usize = 2 + 1 + 8 + 1;

/// Position of a mutation in its region's history; also the mvcc number of its cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// The number before any write.
    pub const ZERO: SeqNo = SeqNo(0);
    /// Larger than every number in use; as a cell's number it sorts before all cells with an equal key.
    pub const MAX: SeqNo = SeqNo(u64::MAX);

    /// The next number.
    pub fn next(self) -> SeqNo {
        SeqNo(self.0 + 1)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// HBase's type codes. Compared unsigned, larger first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellType(pub u8);

impl CellType {
    /// Search keys only: sorts behind every cell of its coordinates.
    pub const MINIMUM: CellType = CellType(0);
    /// A value.
    pub const PUT: CellType = CellType(4);
    /// Hides the cell with exactly this timestamp.
    pub const DELETE: CellType = CellType(8);
    /// Hides all cells of the family with exactly this timestamp.
    pub const DELETE_FAMILY_VERSION: CellType = CellType(10);
    /// Hides all versions of the column up to this timestamp.
    pub const DELETE_COLUMN: CellType = CellType(12);
    /// Hides all cells of the family up to this timestamp.
    pub const DELETE_FAMILY: CellType = CellType(14);
    /// Search keys only: sorts before every cell of its coordinates.
    pub const MAXIMUM: CellType = CellType(255);

    /// Whether the code is one that may be stored.
    pub fn is_storable(self) -> bool {
        matches!(self.0, 4 | 8 | 10 | 12 | 14)
    }

    /// Whether the code is one of HBase's, search codes included.
    pub fn is_known(self) -> bool {
        self.is_storable() || self == CellType::MINIMUM || self == CellType::MAXIMUM
    }

    /// Whether this is one of the four delete markers.
    #[inline]
    pub fn is_delete(self) -> bool {
        matches!(self.0, 8 | 10 | 12 | 14)
    }
}

impl fmt::Display for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("Minimum"),
            4 => f.write_str("Put"),
            8 => f.write_str("Delete"),
            10 => f.write_str("DeleteFamilyVersion"),
            12 => f.write_str("DeleteColumn"),
            14 => f.write_str("DeleteFamily"),
            255 => f.write_str("Maximum"),
            other => write!(f, "Unknown({other})"),
        }
    }
}

impl fmt::Debug for CellType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why bytes or parts do not make a cell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// The bytes end before the lengths in them say.
    #[error("cell is cut short. needed=`{needed}`, have=`{have}`")]
    Short {
        /// Bytes needed.
        needed: usize,
        /// Bytes present.
        have: usize,
    },
    /// Bytes follow the cell.
    #[error("bytes follow the cell. cell=`{cell}`, have=`{have}`")]
    Trailing {
        /// Length of the cell itself.
        cell: usize,
        /// Bytes present.
        have: usize,
    },
    /// The row is empty.
    #[error("row is empty")]
    EmptyRow,
    /// The row is longer than [`ROW_LEN_MAX`].
    #[error("row is too long. length=`{0}`, limit=`32767`")]
    RowTooLong(usize),
    /// The family is longer than [`FAMILY_LEN_MAX`].
    #[error("family is too long. length=`{0}`, limit=`127`")]
    FamilyTooLong(usize),
    /// The key's parts do not add up to its length, or a length is negative.
    #[error("key length is wrong. keyLength=`{0}`")]
    KeyLength(i64),
    /// The value does not fit 31 bits, or its length is negative.
    #[error("value length is wrong. valueLength=`{0}`")]
    ValueLength(i64),
    /// The type code is none of HBase's.
    #[error("unknown type code. code=`{0}`")]
    UnknownType(u8),
    /// The tags are not well formed.
    #[error("tags are not well formed")]
    Tags,
}

#[inline]
fn be_u16(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]))
}

#[inline]
fn be_u32(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

/// A flat key: `i16 rowLen | row | u8 familyLen | family | qualifier | i64 timestamp | u8 type`, well formed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a>(&'a [u8]);

impl<'a> KeyRef<'a> {
    /// Checks that `bytes` is a flat key.
    pub fn parse(bytes: &'a [u8]) -> Result<KeyRef<'a>, CellError> {
        if bytes.len() < KEY_FIXED_LEN {
            return Err(CellError::Short { needed: KEY_FIXED_LEN, have: bytes.len() });
        }
        let row_len = be_u16(bytes, 0);
        if row_len > ROW_LEN_MAX {
            return Err(CellError::RowTooLong(row_len));
        }
        if row_len + KEY_FIXED_LEN > bytes.len() {
            return Err(CellError::KeyLength(bytes.len() as i64));
        }
        let family_len = usize::from(bytes[2 + row_len]);
        if family_len > FAMILY_LEN_MAX {
            return Err(CellError::FamilyTooLong(family_len));
        }
        if row_len + family_len + KEY_FIXED_LEN > bytes.len() {
            return Err(CellError::KeyLength(bytes.len() as i64));
        }
        Ok(KeyRef(bytes))
    }

    /// The key's bytes.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    #[inline]
    fn row_len(self) -> usize {
        be_u16(self.0, 0)
    }

    /// The row.
    #[inline]
    pub fn row(self) -> &'a [u8] {
        &self.0[2..2 + self.row_len()]
    }

    /// The family; empty only in search keys.
    #[inline]
    pub fn family(self) -> &'a [u8] {
        let at = 2 + self.row_len();
        let len = usize::from(self.0[at]);
        &self.0[at + 1..at + 1 + len]
    }

    /// The qualifier; may be empty.
    #[inline]
    pub fn qualifier(self) -> &'a [u8] {
        let at = 2 + self.row_len();
        let len = usize::from(self.0[at]);
        &self.0[at + 1 + len..self.0.len() - 9]
    }

    /// Milliseconds since 1970, or whatever the writer meant by it.
    #[inline]
    pub fn timestamp(self) -> i64 {
        let at = self.0.len() - 9;
        let mut raw = [0u8; 8];
        raw.copy_from_slice(&self.0[at..at + 8]);
        i64::from_be_bytes(raw)
    }

    /// The type code.
    #[inline]
    pub fn cell_type(self) -> CellType {
        CellType(self.0[self.0.len() - 1])
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}:{}/{}/{}",
            self.row().escape_ascii(),
            self.family().escape_ascii(),
            self.qualifier().escape_ascii(),
            self.timestamp(),
            self.cell_type()
        )
    }
}

/// A borrowed cell.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CellRef<'a> {
    bytes: &'a [u8],
    seqno: SeqNo,
}

/// Length in bytes of the cell at the start of `bytes`, without a tags section: lengths, key and value.
/// Fails if the lengths are impossible; does not look at the key.
pub fn length_without_tags(bytes: &[u8]) -> Result<usize, CellError> {
    if bytes.len() < PREFIX_LEN {
        return Err(CellError::Short { needed: PREFIX_LEN, have: bytes.len() });
    }
    let key_len = be_u32(bytes, 0);
    let value_len = be_u32(bytes, 4);
    if !(KEY_FIXED_LEN..=i32::MAX as usize).contains(&key_len) {
        return Err(CellError::KeyLength(i64::from(key_len as u32 as i32)));
    }
    if value_len > i32::MAX as usize {
        return Err(CellError::ValueLength(i64::from(value_len as u32 as i32)));
    }
    let needed = PREFIX_LEN + key_len + value_len;
    if bytes.len() < needed {
        return Err(CellError::Short { needed, have: bytes.len() });
    }
    Ok(needed)
}

/// Checks a tags section (without its length field): repeated `u16 len | u8 type | payload`, `len >= 1`.
pub fn check_tags(mut tags: &[u8]) -> Result<(), CellError> {
    if tags.len() > TAGS_LEN_MAX {
        return Err(CellError::Tags);
    }
    while !tags.is_empty() {
        if tags.len() < 3 {
            return Err(CellError::Tags);
        }
        let len = be_u16(tags, 0);
        if len == 0 || tags.len() < 2 + len {
            return Err(CellError::Tags);
        }
        tags = &tags[2 + len..];
    }
    Ok(())
}

impl<'a> CellRef<'a> {
    /// Checks that `bytes` is exactly one cell, with or without a tags section.
    pub fn parse(bytes: &'a [u8], seqno: SeqNo) -> Result<CellRef<'a>, CellError> {
        let end = length_without_tags(bytes)?;
        let key_len = be_u32(bytes, 0);
        let key = KeyRef::parse(&bytes[PREFIX_LEN..PREFIX_LEN + key_len])?;
        if !key.cell_type().is_known() {
            return Err(CellError::UnknownType(key.cell_type().0));
        }
        if bytes.len() > end {
            if bytes.len() < end + 2 {
                return Err(CellError::Trailing { cell: end, have: bytes.len() });
            }
            let tags_len = be_u16(bytes, end);
            if tags_len == 0 || bytes.len() != end + 2 + tags_len {
                return Err(CellError::Tags);
            }
            check_tags(&bytes[end + 2..])?;
        }
        Ok(CellRef { bytes, seqno })
    }

    /// Takes bytes that are known to be exactly one well-formed cell: they passed [`CellRef::parse`] before, or
    /// were written by this module. Wrong bytes make accessors panic; they are never unsound.
    #[inline]
    pub fn from_trusted(bytes: &'a [u8], seqno: SeqNo) -> CellRef<'a> {
        debug_assert!(CellRef::parse(bytes, seqno).is_ok(), "from_trusted was handed bytes that are no cell");
        CellRef { bytes, seqno }
    }

    /// All bytes, tags included.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Lengths, key and value, without the tags section: what `KeyValueCodec` sends.
    #[inline]
    pub fn without_tags(self) -> &'a [u8] {
        &self.bytes[..PREFIX_LEN + self.key_len() + self.value_len()]
    }

    /// The sequence number beside the bytes.
    #[inline]
    pub fn seqno(self) -> SeqNo {
        self.seqno
    }

    /// Length of the flat key in bytes.
    #[inline]
    pub fn key_len(self) -> usize {
        be_u32(self.bytes, 0)
    }

    /// Length of the value in bytes.
    #[inline]
    pub fn value_len(self) -> usize {
        be_u32(self.bytes, 4)
    }

    /// The flat key.
    #[inline]
    pub fn key(self) -> KeyRef<'a> {
        KeyRef(&self.bytes[PREFIX_LEN..PREFIX_LEN + self.key_len()])
    }

    /// The row.
    #[inline]
    pub fn row(self) -> &'a [u8] {
        let len = be_u16(self.bytes, PREFIX_LEN);
        &self.bytes[PREFIX_LEN + 2..PREFIX_LEN + 2 + len]
    }

    /// The family.
    #[inline]
    pub fn family(self) -> &'a [u8] {
        self.key().family()
    }

    /// The qualifier.
    #[inline]
    pub fn qualifier(self) -> &'a [u8] {
        self.key().qualifier()
    }

    /// The timestamp in milliseconds.
    #[inline]
    pub fn timestamp(self) -> i64 {
        self.key().timestamp()
    }

    /// The type code.
    #[inline]
    pub fn cell_type(self) -> CellType {
        CellType(self.bytes[PREFIX_LEN + self.key_len() - 1])
    }

    /// The value.
    #[inline]
    pub fn value(self) -> &'a [u8] {
        let at = PREFIX_LEN + self.key_len();
        &self.bytes[at..at + self.value_len()]
    }

    /// The tags section without its length field; empty if there is none.
    #[inline]
    pub fn tags(self) -> &'a [u8] {
        let end = PREFIX_LEN + self.key_len() + self.value_len();
        if self.bytes.len() > end { &self.bytes[end + 2..] } else { &[] }
    }

    /// The tags one by one: type and payload.
    pub fn tag_iter(self) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.tags();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let len = be_u16(rest, 0);
            let tag = (rest[2], &rest[3..2 + len]);
            rest = &rest[2 + len..];
            Some(tag)
        })
    }

    /// The cell's own time to live in milliseconds (tag type 8), if it has one.
    #[inline]
    pub fn ttl_ms(self) -> Option<i64> {
        self.tag_iter()
            .find(|(tag_type, payload)| *tag_type == TAG_TTL && payload.len() == 8)
            .map(|(_, payload)| i64::from_be_bytes(payload.try_into().expect("length was checked above")))
    }

    /// Whether both cells lie in the same row, family and qualifier.
    #[inline]
    pub fn same_column(self, other: CellRef<'_>) -> bool {
        let (a, b) = (self.key(), other.key());
        a.row() == b.row() && a.family() == b.family() && a.qualifier() == b.qualifier()
    }

    /// A copy on the heap.
    pub fn to_cell(self) -> Cell {
        Cell { bytes: Bytes::copy_from_slice(self.bytes), seqno: self.seqno }
    }
}

impl fmt::Debug for CellRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/vlen={}/seqid={}", self.key(), self.value_len(), self.seqno)
    }
}

/// Tag type of a cell's own time to live: `i64` milliseconds.
pub const TAG_TTL: u8 = 8;

/// A shared cell: cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Cell {
    bytes: Bytes,
    seqno: SeqNo,
}

impl Cell {
    /// Checks that `bytes` is exactly one cell and keeps it.
    pub fn parse(bytes: Bytes, seqno: SeqNo) -> Result<Cell, CellError> {
        CellRef::parse(&bytes, seqno)?;
        Ok(Cell { bytes, seqno })
    }

    /// See [`CellRef::from_trusted`].
    #[inline]
    pub fn from_trusted(bytes: Bytes, seqno: SeqNo) -> Cell {
        debug_assert!(CellRef::parse(&bytes, seqno).is_ok(), "from_trusted was handed bytes that are no cell");
        Cell { bytes, seqno }
    }

    /// Makes a cell from its parts, sequence number 0. Row and family lengths are checked; an empty row is
    /// refused (search keys have constructors of their own).
    pub fn new(
        row: &[u8],
        family: &[u8],
        qualifier: &[u8],
        timestamp: i64,
        cell_type: CellType,
        value: &[u8],
    ) -> Result<Cell, CellError> {
        Cell::with_tags(row, family, qualifier, timestamp, cell_type, value, &[])
    }

    /// [`Cell::new`] with a tags section (without its length field).
    pub fn with_tags(
        row: &[u8],
        family: &[u8],
        qualifier: &[u8],
        timestamp: i64,
        cell_type: CellType,
        value: &[u8],
        tags: &[u8],
    ) -> Result<Cell, CellError> {
        if row.is_empty() {
            return Err(CellError::EmptyRow);
        }
        let mut out = BytesMut::new();
        write_cell(&mut out, row, family, qualifier, timestamp, cell_type, value, tags)?;
        Ok(Cell { bytes: out.freeze(), seqno: SeqNo::ZERO })
    }

    /// A put with sequence number 0.
    pub fn put(row: &[u8], family: &[u8], qualifier: &[u8], timestamp: i64, value: &[u8]) -> Result<Cell, CellError> {
        Cell::new(row, family, qualifier, timestamp, CellType::PUT, value)
    }

    fn search(row: &[u8], family: &[u8], qualifier: &[u8], timestamp: i64, cell_type: CellType, seqno: SeqNo) -> Cell {
        // Rows that are too long cannot exist, so a search key may cut them: everything still sorts on the same side.
        let row = &row[..row.len().min(ROW_LEN_MAX)];
        let family = &family[..family.len().min(FAMILY_LEN_MAX)];
        let mut out = BytesMut::new();
        write_cell(&mut out, row, family, qualifier, timestamp, cell_type, &[], &[])
            .expect("lengths were cut to the limits above");
        Cell { bytes: out.freeze(), seqno }
    }

    /// Search key that sorts before every cell of the row. An empty row sorts before everything.
    pub fn first_on_row(row: &[u8]) -> Cell {
        Cell::search(row, &[], &[], LATEST_TIMESTAMP, CellType::MAXIMUM, SeqNo::MAX)
    }

    /// Search key that sorts behind every cell of the row.
    pub fn last_on_row(row: &[u8]) -> Cell {
        Cell::search(row, &[], &[], OLDEST_TIMESTAMP, CellType::MINIMUM, SeqNo::ZERO)
    }

    /// Search key that sorts before every cell of the family in the row, family deletes included.
    pub fn first_on_family(row: &[u8], family: &[u8]) -> Cell {
        Cell::search(row, family, &[], LATEST_TIMESTAMP, CellType::MAXIMUM, SeqNo::MAX)
    }

    /// Search key that sorts before every cell of the column.
    pub fn first_on_column(row: &[u8], family: &[u8], qualifier: &[u8]) -> Cell {
        Cell::search(row, family, qualifier, LATEST_TIMESTAMP, CellType::MAXIMUM, SeqNo::MAX)
    }

    /// Search key that sorts before every cell of the column with this or a smaller timestamp.
    pub fn first_on_column_at(row: &[u8], family: &[u8], qualifier: &[u8], timestamp: i64) -> Cell {
        Cell::search(row, family, qualifier, timestamp, CellType::MAXIMUM, SeqNo::MAX)
    }

    /// Search key that sorts behind every cell of the column.
    pub fn last_on_column(row: &[u8], family: &[u8], qualifier: &[u8]) -> Cell {
        Cell::search(row, family, qualifier, OLDEST_TIMESTAMP, CellType::MINIMUM, SeqNo::ZERO)
    }

    /// The cell, borrowed.
    #[inline]
    pub fn as_ref(&self) -> CellRef<'_> {
        CellRef { bytes: &self.bytes, seqno: self.seqno }
    }

    /// All bytes, tags included, shared.
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The row, shared.
    pub fn row_bytes(&self) -> Bytes {
        self.bytes.slice_ref(self.as_ref().row())
    }

    /// The value, shared.
    pub fn value_bytes(&self) -> Bytes {
        self.bytes.slice_ref(self.as_ref().value())
    }

    /// The sequence number.
    #[inline]
    pub fn seqno(&self) -> SeqNo {
        self.seqno
    }

    /// The same cell with another sequence number; shares the bytes.
    pub fn with_seqno(&self, seqno: SeqNo) -> Cell {
        Cell { bytes: self.bytes.clone(), seqno }
    }

    /// The row.
    #[inline]
    pub fn row(&self) -> &[u8] {
        self.as_ref().row()
    }

    /// The family.
    #[inline]
    pub fn family(&self) -> &[u8] {
        self.as_ref().family()
    }

    /// The qualifier.
    #[inline]
    pub fn qualifier(&self) -> &[u8] {
        self.as_ref().qualifier()
    }

    /// The timestamp in milliseconds.
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.as_ref().timestamp()
    }

    /// The type code.
    #[inline]
    pub fn cell_type(&self) -> CellType {
        self.as_ref().cell_type()
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &[u8] {
        self.as_ref().value()
    }

    /// The tags section without its length field; empty if there is none.
    #[inline]
    pub fn tags(&self) -> &[u8] {
        self.as_ref().tags()
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// Appends one cell to `out`. Nothing is written on error. An empty row is allowed here, for search keys.
#[expect(clippy::too_many_arguments, reason = "the parts of a cell, in the order in which they are laid out")]
pub fn write_cell(
    out: &mut BytesMut,
    row: &[u8],
    family: &[u8],
    qualifier: &[u8],
    timestamp: i64,
    cell_type: CellType,
    value: &[u8],
    tags: &[u8],
) -> Result<(), CellError> {
    if row.len() > ROW_LEN_MAX {
        return Err(CellError::RowTooLong(row.len()));
    }
    if family.len() > FAMILY_LEN_MAX {
        return Err(CellError::FamilyTooLong(family.len()));
    }
    let key_len = KEY_FIXED_LEN + row.len() + family.len() + qualifier.len();
    let key_len_field = i32::try_from(key_len).map_err(|_| CellError::KeyLength(key_len as i64))?;
    let value_len_field = i32::try_from(value.len()).map_err(|_| CellError::ValueLength(value.len() as i64))?;
    check_tags(tags)?;
    let tags_len = if tags.is_empty() { 0 } else { 2 + tags.len() };
    out.reserve(PREFIX_LEN + key_len + value.len() + tags_len);
    out.put_i32(key_len_field);
    out.put_i32(value_len_field);
    out.put_u16(row.len() as u16);
    out.put_slice(row);
    out.put_u8(family.len() as u8);
    out.put_slice(family);
    out.put_slice(qualifier);
    out.put_i64(timestamp);
    out.put_u8(cell_type.0);
    out.put_slice(value);
    if !tags.is_empty() {
        out.put_u16(tags.len() as u16);
        out.put_slice(tags);
    }
    Ok(())
}

/// Overwrites the timestamp of the well-formed cell in `bytes`.
pub fn stamp(bytes: &mut [u8], timestamp: i64) {
    let at = PREFIX_LEN + be_u32(bytes, 0) - 9;
    bytes[at..at + 8].copy_from_slice(&timestamp.to_be_bytes());
}

/// Which order a table's cells are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CellOrder {
    /// Rows are compared as unsigned bytes.
    #[default]
    User,
    /// `hbase:meta`: a row is `table,startkey,regionid…`, compared part by part (hbase-wire.md §4.3).
    Meta,
}

/// The first 16 bytes of a row as two numbers: smaller for a row that comes before in [`CellOrder::User`], or equal.
#[inline]
pub fn beginning(row: &[u8]) -> (u64, u64) {
    let mut bytes = [0; 16];
    let len = row.len().min(bytes.len());
    bytes[..len].copy_from_slice(&row[..len]);
    let number = u128::from_be_bytes(bytes);
    ((number >> 64) as u64, number as u64)
}

impl CellOrder {
    /// Compares two rows.
    #[inline]
    pub fn compare_rows(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            CellOrder::User => a.cmp(b),
            CellOrder::Meta => compare_meta_rows(a, b),
        }
    }

    /// Compares two flat keys: everything but the sequence number.
    #[inline]
    pub fn compare_keys(self, a: KeyRef<'_>, b: KeyRef<'_>) -> Ordering {
        self.compare_rows(a.row(), b.row()).then_with(|| compare_within_row(a, b))
    }

    /// Compares two cells, the larger sequence number first among equal keys.
    #[inline]
    pub fn compare(self, a: CellRef<'_>, b: CellRef<'_>) -> Ordering {
        self.compare_keys(a.key(), b.key()).then_with(|| b.seqno().cmp(&a.seqno()))
    }
}

/// Compares two keys of one row: family, qualifier, timestamp, type.
pub fn compare_within_row(a: KeyRef<'_>, b: KeyRef<'_>) -> Ordering {
    let (a_family, a_qualifier) = (a.family(), a.qualifier());
    let (b_family, b_qualifier) = (b.family(), b.qualifier());
    // "Last on row": no family, no qualifier, type Minimum sorts behind the whole row.
    let a_last = a_family.is_empty() && a_qualifier.is_empty() && a.cell_type() == CellType::MINIMUM;
    let b_last = b_family.is_empty() && b_qualifier.is_empty() && b.cell_type() == CellType::MINIMUM;
    match (a_last, b_last) {
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        _ => {}
    }
    a_family
        .cmp(b_family)
        .then_with(|| a_qualifier.cmp(b_qualifier))
        .then_with(|| b.timestamp().cmp(&a.timestamp()))
        .then_with(|| b.cell_type().cmp(&a.cell_type()))
}

fn compare_meta_rows(a: &[u8], b: &[u8]) -> Ordering {
    let first = |row: &[u8]| row.iter().position(|byte| *byte == b',');
    let (a_first, b_first) = (first(a), first(b));
    let order = a[..a_first.unwrap_or(a.len())].cmp(&b[..b_first.unwrap_or(b.len())]);
    if order != Ordering::Equal {
        return order;
    }
    let (a_first, b_first) = match (a_first, b_first) {
        (None, None) => return Ordering::Equal,
        (None, Some(_)) => return Ordering::Less,
        (Some(_), None) => return Ordering::Greater,
        (Some(a_first), Some(b_first)) => (a_first, b_first),
    };
    let last = |row: &[u8], from: usize| row[from + 1..].iter().rposition(|byte| *byte == b',').map(|at| at + from + 1);
    let (a_last, b_last) = (last(a, a_first), last(b, b_first));
    let order = a[a_first + 1..a_last.unwrap_or(a.len())].cmp(&b[b_first + 1..b_last.unwrap_or(b.len())]);
    if order != Ordering::Equal {
        return order;
    }
    match (a_last, b_last) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a_last), Some(b_last)) => a[a_last + 1..].cmp(&b[b_last + 1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(row: &str, family: &str, qualifier: &str, timestamp: i64, cell_type: CellType) -> Cell {
        Cell::new(row.as_bytes(), family.as_bytes(), qualifier.as_bytes(), timestamp, cell_type, b"v").expect("cell")
    }

    #[test]
    fn layout_is_that_of_hbase() {
        // hbase-wire.md §9: row r1, family f, qualifier q, ts 1000, Put, value v.
        let made = Cell::put(b"r1", b"f", b"q", 1000, b"v").expect("cell");
        assert_eq!(hex::encode(made.bytes()), "00000010000000010002723101667100000000000003e80476");
        let ttl = [0, 9, 8, 0, 0, 0, 0, 0, 0, 0xea, 0x60];
        let tagged = Cell::with_tags(b"r1", b"f", b"q", 1000, CellType::PUT, b"v", &ttl).expect("cell");
        assert_eq!(
            hex::encode(tagged.bytes()),
            "00000010000000010002723101667100000000000003e80476000b000908000000000000ea60"
        );
        assert_eq!(tagged.as_ref().ttl_ms(), Some(60_000));
        assert_eq!(tagged.as_ref().without_tags(), &made.bytes()[..]);
    }

    #[test]
    fn accessors_give_back_the_parts() {
        let made = Cell::new(b"row", b"fam", b"qual", -5, CellType::DELETE, b"value").expect("cell");
        assert_eq!(made.row(), b"row");
        assert_eq!(made.family(), b"fam");
        assert_eq!(made.qualifier(), b"qual");
        assert_eq!(made.timestamp(), -5);
        assert_eq!(made.cell_type(), CellType::DELETE);
        assert_eq!(made.value(), b"value");
        assert!(made.tags().is_empty());
    }

    #[test]
    fn order_is_row_family_qualifier_then_newest_and_highest_type_first() {
        let sorted = [
            Cell::first_on_row(b"a"),
            cell("a", "f", "", 9, CellType::DELETE_FAMILY),
            cell("a", "f", "p", 7, CellType::PUT),
            Cell::first_on_column(b"a", b"f", b"q"),
            cell("a", "f", "q", 9, CellType::PUT),
            cell("a", "f", "q", 8, CellType::DELETE_COLUMN),
            cell("a", "f", "q", 8, CellType::DELETE),
            cell("a", "f", "q", 8, CellType::PUT).with_seqno(SeqNo(5)),
            cell("a", "f", "q", 8, CellType::PUT).with_seqno(SeqNo(4)),
            Cell::last_on_column(b"a", b"f", b"q"),
            cell("a", "g", "", 1, CellType::PUT),
            Cell::last_on_row(b"a"),
            cell("aa", "f", "q", 1, CellType::PUT),
            cell("b", "f", "q", 1, CellType::PUT),
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(CellOrder::User.compare(a.as_ref(), b.as_ref()), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn meta_rows_compare_part_by_part() {
        let sorted: [&[u8]; 8] = [
            b"t",
            b"t,,1",
            b"t,,99999999999999",
            b"t,\x01,5",
            b"t,a,1",
            b"t,a,b,1", // the start key holds a comma
            b"t ,,",
            b"t-2,,1",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(
                    CellOrder::Meta.compare_rows(a, b),
                    i.cmp(&j),
                    "{:?} {:?}",
                    a.escape_ascii(),
                    b.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let good = cell("r", "f", "q", 1, CellType::PUT).bytes().to_vec();
        for cut in 0..good.len() {
            assert!(CellRef::parse(&good[..cut], SeqNo::ZERO).is_err(), "cut at {cut}");
        }
        for (at, byte) in [(0, 0x80), (4, 0x80), (8, 0x80), (11, 0x80), (good.len() - 2, 99)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(CellRef::parse(&bad, SeqNo::ZERO).is_err(), "byte {at}");
        }
        let mut trailing = good.clone();
        trailing.push(0);
        assert!(CellRef::parse(&trailing, SeqNo::ZERO).is_err());
    }

    #[test]
    fn stamp_changes_the_timestamp_only() {
        let made = Cell::put(b"r", b"f", b"q", LATEST_TIMESTAMP, b"v").expect("cell");
        let mut raw = made.bytes().to_vec();
        stamp(&mut raw, 77);
        assert_eq!(
            Cell::parse(raw.into(), SeqNo::ZERO).expect("cell"),
            Cell::put(b"r", b"f", b"q", 77, b"v").expect("cell")
        );
    }

    proptest::proptest! {
        #[test]
        fn beginnings_are_in_the_order_of_rows(
            a in proptest::collection::vec(0_u8..3, 0..20),
            b in proptest::collection::vec(0_u8..3, 0..20),
        ) {
            proptest::prop_assert!(a > b || beginning(&a) <= beginning(&b));
        }
    }
}
