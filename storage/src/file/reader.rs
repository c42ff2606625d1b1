//! Reading a store file.
//!
//! Always true: an open reader holds the parsed trailer, FileInfo and root index; everything else comes through the
//! block cache. The file may lose its name while a reader is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use filesystem::{BlobReader, Filesystem};
use futures::future::{BoxFuture, FutureExt};
use model::query::TimeRange;
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellOrder, CellRef, KeyRef, SeqNo};
use prost::Message;

use super::block::{self, Block, CellSuffix, Found};
use super::columns::{self, Columns};
use super::format::{self, *};
use super::writer::row_col_key;
use super::{bloom, compress, encoding};
use crate::cache::{BlockCache, CachedBlock, Guide, IndexEntry};
use crate::error::{Result, StorageError};
use crate::source::{CellSource, Progress};

/// Largest load-on-open section that is read, in bytes.
const LOAD_ON_OPEN_MAX: u64 = 256 << 20;
/// Behind the entries of a root index of several levels: where the middle key stands.
const MID_KEY_LEN: usize = 16;
/// First read from the end, meant to hold trailer and load-on-open section of most files.
const TAIL_READ: u64 = 64 << 10;

#[derive(Debug)]
struct BloomIndex {
    hash_type: u32,
    hash_count: u32,
    chunks: Vec<IndexEntry>,
    keys_are_cells: bool,
}

/// An open store file.
#[derive(Debug)]
pub struct HFileReader {
    name: String,
    size: u64,
    blob: Arc<dyn BlobReader>,
    cache: Arc<BlockCache>,
    file_id: u64,
    compression: Compression,
    checksum_type: u8,
    order: CellOrder,
    suffix: CellSuffix,
    encoding: DataBlockEncoding,
    tags_packed: bool,
    levels: u32,
    root: Arc<[IndexEntry]>,
    meta_root: Vec<IndexEntry>,
    info: BTreeMap<Bytes, Bytes>,
    entries: u64,
    uncompressed_bytes: u64,
    index_bytes: u64,
    bloom: Option<BloomIndex>,
    bloom_type: BloomType,
    delete_bloom: Option<BloomIndex>,
    /// Offsets of the chunks of both filters, ascending.
    bloom_chunks: Vec<u64>,
    /// Read when first asked for.
    columns: tokio::sync::OnceCell<Option<Columns>>,
}

struct Parts<'a> {
    name: &'a str,
    compression: Compression,
}

impl Parts<'_> {
    fn bad(&self, offset: u64, why: &str) -> StorageError {
        StorageError::corrupt(WHAT, self.name, offset, why)
    }

    /// Entries in root format.
    fn root_entries(&self, rest: &mut Bytes, count: usize, at: u64) -> Result<Vec<IndexEntry>> {
        let mut entries = Vec::with_capacity(count.min(rest.len() / 13 + 1));
        for _ in 0..count {
            let entry = (|| {
                let offset = rest.try_get_u64().ok()?;
                let disk_len = usize::try_from(rest.try_get_i32().ok()?).ok()?;
                let (len, used) = format::get_vlong(rest)?;
                rest.advance(used);
                let len = usize::try_from(len).ok().filter(|len| *len <= rest.len())?;
                Some(IndexEntry { key: rest.split_to(len), offset, disk_len })
            })();
            entries.push(entry.ok_or_else(|| self.bad(at, "an index entry is cut short"))?);
        }
        Ok(entries)
    }

    fn bloom(&self, block: &Block) -> Result<BloomIndex> {
        let mut rest = block.body.clone();
        let bad = || self.bad(block.offset, "the bloom filter's head is not sound");
        let version = rest.try_get_i32().map_err(|_| bad())?;
        if version != 3 {
            return Err(bad());
        }
        let _bytes = rest.try_get_i64().map_err(|_| bad())?;
        let hash_count = rest.try_get_u32().map_err(|_| bad())?;
        let hash_type = rest.try_get_u32().map_err(|_| bad())?;
        let _keys = rest.try_get_i64().map_err(|_| bad())?;
        let _keys_max = rest.try_get_i64().map_err(|_| bad())?;
        let count = rest.try_get_u32().map_err(|_| bad())? as usize;
        let (len, used) = format::get_vlong(&rest).ok_or_else(bad)?;
        rest.advance(used);
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or_else(bad)?;
        rest.advance(len);
        let chunks = self.root_entries(&mut rest, count, block.offset)?;
        if hash_count > 64 || (len > 0 && chunks.iter().any(|chunk| KeyRef::parse(&chunk.key).is_err())) {
            return Err(bad());
        }
        Ok(BloomIndex { hash_type, hash_count, chunks, keys_are_cells: len > 0 })
    }
}

/// Numbers for the cache are drawn when a file is opened, so a file opened twice is cached twice.
impl HFileReader {
    /// Opens a file of this length with at most two reads.
    pub async fn open(fs: &Arc<dyn Filesystem>, path: &str, size: u64, cache: Arc<BlockCache>) -> Result<HFileReader> {
        let blob = fs.open(path).await?;
        match HFileReader::load(blob.clone(), path, size, cache.clone()).await {
            // Perhaps its end was hurt on its way here, and what was kept of that is wrong.
            Err(StorageError::Corrupt { .. }) => {
                blob.distrust(0, size).await;
                HFileReader::load(blob, path, size, cache).await
            }
            loaded => loaded,
        }
    }

    async fn load(blob: Arc<dyn BlobReader>, path: &str, size: u64, cache: Arc<BlockCache>) -> Result<HFileReader> {
        let mut parts = Parts { name: path, compression: Compression::None };
        if size < TRAILER_LEN as u64 {
            return Err(parts.bad(0, "the file is shorter than a trailer"));
        }
        let tail_at = size.saturating_sub(TAIL_READ);
        let mut tail = blob.read_at(tail_at, (size - tail_at) as usize).await?;
        if tail.len() as u64 != size - tail_at {
            return Err(parts.bad(tail_at + tail.len() as u64, "the file is shorter than it should be"));
        }
        let trailer_at = size - TRAILER_LEN as u64;
        let trailer_bytes = tail.slice(tail.len() - TRAILER_LEN..);
        let version = u32::from_be_bytes(trailer_bytes[TRAILER_LEN - 4..].try_into().expect("four bytes"));
        let (major, minor) = (version & 0xff_ffff, version >> 24);
        if !(1..=3).contains(&major) {
            let why = "no HFile version stands at the end: this is no store file, or its end is lost";
            return Err(parts.bad(size - 4, why));
        }
        if major != 3 {
            return Err(parts.bad(size - 4, &format!("HFile major version {major}, only 3 can be read")));
        }
        if minor > 3 {
            let what = "HFile minor";
            return Err(StorageError::Newer { what, found: minor, known: 3, file: path.to_owned() });
        }
        if trailer_bytes[..8] != TRAILER_MAGIC[..] {
            return Err(parts.bad(trailer_at, "the trailer's magic is wrong"));
        }
        let trailer = Trailer::decode_length_delimited(&trailer_bytes[8..TRAILER_LEN - 4])
            .map_err(|error| parts.bad(trailer_at, &error.to_string()))?;
        if trailer.encryption_key.is_some() {
            return Err(StorageError::Invalid(format!(
                "store file `{path}` is encrypted: rewrite it without ENCRYPTION first"
            )));
        }
        parts.compression = compress::from_code(trailer.compression_codec.unwrap_or(2)).map_err(|name| {
            StorageError::Invalid(format!("store file `{path}` is compressed with {name}, which is not supported"))
        })?;
        let order = match trailer.comparator_class_name.as_deref() {
            None => CellOrder::User,
            Some(name) => format::order_of(name).ok_or_else(|| {
                StorageError::Invalid(format!("store file `{path}` is ordered by {name}, which is not supported"))
            })?,
        };
        let load_at = trailer.load_on_open_data_offset.unwrap_or(u64::MAX);
        if load_at >= trailer_at || trailer_at - load_at > LOAD_ON_OPEN_MAX {
            return Err(parts.bad(trailer_at, "the trailer's offsets are wrong"));
        }
        let section = if load_at >= tail_at {
            tail.split_off((load_at - tail_at) as usize).split_to((trailer_at - load_at) as usize)
        } else {
            blob.read_at(load_at, (trailer_at - load_at) as usize).await?
        };
        let (mut blocks, mut at) = (Vec::new(), 0);
        while at < section.len() {
            let block = block::read_block(&section.slice(at..), load_at + at as u64, path, parts.compression)?;
            at += block.disk_len;
            blocks.push(block);
        }
        let kind = |at: usize, kind: BlockType| blocks.get(at).filter(|block: &&Block| block.kind == kind);
        let (Some(root), Some(meta), Some(info)) =
            (kind(0, BlockType::RootIndex), kind(1, BlockType::RootIndex), kind(2, BlockType::FileInfo))
        else {
            return Err(parts.bad(load_at, "the load-on-open section lacks a block"));
        };
        if let Some(other) = blocks.iter().find(|block| block.checksum_type != root.checksum_type) {
            return Err(parts.bad(other.offset, "the block has another kind of checksum than the file's others"));
        }
        // The trailer has no checksum: what it says must fit what the blocks say.
        let levels = trailer.num_data_index_levels.unwrap_or(1);
        let count = trailer.data_index_count.unwrap_or(0) as usize;
        let mut rest = root.body.clone();
        let root_entries = parts.root_entries(&mut rest, count, root.offset)?;
        if rest.len() != if levels > 1 { MID_KEY_LEN } else { 0 } {
            return Err(parts.bad(root.offset, "the root index has another length than the trailer says"));
        }
        if root_entries.iter().any(|entry| KeyRef::parse(&entry.key).is_err()) || !(1..=16).contains(&levels) {
            return Err(parts.bad(root.offset, "the root index is not sound"));
        }
        let mut rest = meta.body.clone();
        let meta_root = parts.root_entries(&mut rest, trailer.meta_index_count.unwrap_or(0) as usize, meta.offset)?;
        if !rest.is_empty() {
            return Err(parts.bad(meta.offset, "the meta index has another length than the trailer says"));
        }
        let info_map = read_info(&info.body).ok_or_else(|| parts.bad(info.offset, "the FileInfo is not sound"))?;
        let text =
            |key: &'static str| info_map.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned());
        let unsupported = |key: &str, name: &str| {
            StorageError::Invalid(format!("store file `{path}` has {key} {name}, which is not supported"))
        };
        if let Some(name) = text("INDEX_BLOCK_ENCODING").filter(|name| name != "NONE") {
            return Err(unsupported("INDEX_BLOCK_ENCODING", &name));
        }
        let encoding = match text("DATA_BLOCK_ENCODING") {
            None => DataBlockEncoding::None,
            Some(name) => encoding::from_name(&name).ok_or_else(|| unsupported("DATA_BLOCK_ENCODING", &name))?,
        };
        let packed = info_map.get("hfile.TAGS_COMPRESSED".as_bytes());
        let tags_packed = packed.is_some_and(|value| value.iter().any(|byte| *byte != 0));
        let suffix = CellSuffix {
            tags: info_map.contains_key("hfile.MAX_TAGS_LEN".as_bytes()),
            mvcc: info_map.get("KEY_VALUE_VERSION".as_bytes()).is_some_and(|value| value[..] == [0, 0, 0, 1]),
            loaded_as: None,
        };
        let find = |wanted: BlockType| blocks[3..].iter().find(|block| block.kind == wanted);
        let bloom_type = match text("BLOOM_FILTER_TYPE").as_deref() {
            Some("ROW") => BloomType::Row,
            Some("ROWCOL") => BloomType::RowCol,
            Some("ROWPREFIX_FIXED_LENGTH") => BloomType::RowPrefixFixedLength,
            _ => BloomType::None,
        };
        let bloom = match find(BlockType::GeneralBloomMeta) {
            Some(block) if bloom_type != BloomType::None => Some(parts.bloom(block)?),
            _ => None,
        };
        let delete_bloom = find(BlockType::DeleteFamilyBloomMeta).map(|block| parts.bloom(block)).transpose()?;
        let mut bloom_chunks: Vec<u64> =
            bloom.iter().chain(&delete_bloom).flat_map(|bloom| &bloom.chunks).map(|chunk| chunk.offset).collect();
        bloom_chunks.sort_unstable();
        Ok(HFileReader {
            name: path.to_owned(),
            size,
            blob,
            file_id: cache.file_id(),
            cache,
            compression: parts.compression,
            checksum_type: root.checksum_type,
            order,
            suffix,
            encoding,
            tags_packed,
            levels,
            root: root_entries.into(),
            meta_root,
            info: info_map,
            entries: trailer.entry_count.unwrap_or(0),
            uncompressed_bytes: trailer.total_uncompressed_bytes.unwrap_or(0),
            index_bytes: trailer.uncompressed_data_index_size.unwrap_or(0),
            bloom,
            bloom_type,
            delete_bloom,
            bloom_chunks,
            columns: tokio::sync::OnceCell::new(),
        })
    }

    /// The file was bulk-loaded: all its cells count as written with this sequence number.
    pub fn loaded_as(mut self, seqno: SeqNo) -> HFileReader {
        self.suffix.loaded_as = Some(seqno);
        self
    }

    /// The path it was opened under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The cells' order.
    pub fn order(&self) -> CellOrder {
        self.order
    }

    /// Cells inside.
    pub fn entry_count(&self) -> u64 {
        self.entries
    }

    /// Bytes before compression and encoding, if the file says; else 0.
    pub fn uncompressed_bytes(&self) -> u64 {
        self.uncompressed_bytes
    }

    /// Bytes of the data index, uncompressed, if the file says; else 0.
    pub fn index_bytes(&self) -> u64 {
        self.index_bytes
    }

    /// When it was made, if the file says.
    pub fn created_ms(&self) -> Option<i64> {
        self.info_long("hfile.CREATE_TIME_TS")
    }

    /// All FileInfo entries, by key.
    pub fn info_entries(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.info.iter()
    }

    /// A FileInfo entry.
    pub fn info(&self, key: &str) -> Option<&Bytes> {
        self.info.get(key.as_bytes())
    }

    fn info_long(&self, key: &str) -> Option<i64> {
        self.info(key).and_then(|value| value[..].try_into().ok().map(i64::from_be_bytes))
    }

    /// `MAX_SEQ_ID_KEY`.
    pub fn max_seq_id(&self) -> Option<SeqNo> {
        self.info_long("MAX_SEQ_ID_KEY").and_then(|value| u64::try_from(value).ok()).map(SeqNo)
    }

    /// Smallest timestamp of a put inside, if the file says.
    pub fn earliest_put_ms(&self) -> Option<i64> {
        self.info_long("EARLIEST_PUT_TS")
    }

    /// Whether cells have tags.
    pub fn has_tags(&self) -> bool {
        self.suffix.tags
    }

    /// Smallest and largest timestamp inside, if the file says.
    pub fn timestamps(&self) -> Option<(i64, i64)> {
        let value = self.info("TIMERANGE").filter(|value| value.len() == 16 && !value.starts_with(b"PBUF"))?;
        let half = |at: usize| i64::from_be_bytes(value[at..at + 8].try_into().expect("eight bytes"));
        Some((half(0), half(8)))
    }

    /// Whether a cell may lie inside the range.
    pub fn may_contain_time(&self, range: TimeRange) -> bool {
        match self.timestamps() {
            Some((oldest, newest)) => newest >= range.from && (range.to == i64::MAX || oldest < range.to),
            None => true,
        }
    }

    /// The first key of the file; `None` if it is empty.
    pub fn first_key(&self) -> Option<KeyRef<'_>> {
        self.root.first().map(|entry| KeyRef::parse(&entry.key).expect("checked at open"))
    }

    /// The last key of the file, if it says.
    pub fn last_key(&self) -> Option<KeyRef<'_>> {
        self.info("hfile.LASTKEY").and_then(|key| KeyRef::parse(key).ok())
    }

    /// Whether the file may hold a cell of the row. Loads at most one bloom chunk.
    pub async fn may_contain_row(&self, row: &[u8]) -> Result<bool> {
        let (Some(first), Some(last)) = (self.first_key(), self.last_key()) else { return Ok(self.entries > 0) };
        if self.order.compare_rows(row, first.row()).is_lt() || self.order.compare_rows(row, last.row()).is_gt() {
            return Ok(false);
        }
        match (&self.bloom, self.bloom_type) {
            (Some(bloom), BloomType::Row) => self.bloom_contains(bloom, row).await,
            (Some(bloom), BloomType::RowPrefixFixedLength) => match self.bloom_prefix_len() {
                Some(len) if row.len() >= len => self.bloom_contains(bloom, &row[..len]).await,
                _ => Ok(true),
            },
            _ => Ok(true),
        }
    }

    /// Whether the file may hold a cell of the column, or a family delete that hides it.
    pub async fn may_contain_column(&self, row: &[u8], qualifier: &[u8]) -> Result<bool> {
        let Some(bloom) = self.bloom.as_ref().filter(|_| self.bloom_type == BloomType::RowCol) else {
            return self.may_contain_row(row).await;
        };
        let mut key = Vec::new();
        row_col_key(&mut key, row, qualifier);
        if self.bloom_contains(bloom, &key).await? {
            return Ok(true);
        }
        // Family deletes stand under the empty qualifier.
        row_col_key(&mut key, row, &[]);
        self.bloom_contains(bloom, &key).await
    }

    /// Whether a row between these two, both included, may be here. The smaller one first; empty means the edge. Loads at
    /// most one bloom chunk, and only if the file has a filter of row prefixes that both share.
    pub async fn may_contain_rows(&self, from: &[u8], to: &[u8]) -> Result<bool> {
        if !self.overlaps(from, to) {
            return Ok(false);
        }
        let same = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        match (&self.bloom, self.bloom_prefix_len()) {
            (Some(bloom), Some(len)) if len > 0 && same >= len => self.bloom_contains(bloom, &from[..len]).await,
            _ => Ok(true),
        }
    }

    /// Whether the file's rows overlap with those between these two, both included. Empty means the edge.
    pub fn overlaps(&self, from: &[u8], to: &[u8]) -> bool {
        let (Some(first), Some(last)) = (self.first_key(), self.last_key()) else { return self.entries > 0 };
        (to.is_empty() || self.order.compare_rows(first.row(), to).is_le())
            && (from.is_empty() || self.order.compare_rows(last.row(), from).is_ge())
    }

    fn bloom_prefix_len(&self) -> Option<usize> {
        if self.bloom_type != BloomType::RowPrefixFixedLength {
            return None;
        }
        let param = self.info("BLOOM_FILTER_PARAM")?;
        usize::try_from(i32::from_be_bytes(param[..].try_into().ok()?)).ok()
    }

    /// Whether the file may hold a cell of one of the columns, in any row, or a family delete. Loads at most one block.
    pub async fn may_contain_any_column(&self, mut qualifiers: impl Iterator<Item = &Bytes>) -> Result<bool> {
        if self.info_long("DELETE_FAMILY_COUNT") != Some(0) {
            return Ok(true);
        }
        let columns = self
            .columns
            .get_or_try_init(async || match self.meta_block(columns::META_NAME).await? {
                Some(body) => Columns::decode(&body, &self.name),
                None => Ok(None),
            })
            .await?;
        Ok(columns.as_ref().is_none_or(|columns| qualifiers.any(|qualifier| columns.may_contain(qualifier))))
    }

    /// Whether the row may have a family delete here.
    pub async fn may_delete_family(&self, row: &[u8]) -> Result<bool> {
        match (&self.delete_bloom, self.info_long("DELETE_FAMILY_COUNT")) {
            (_, Some(0)) => Ok(false),
            (Some(bloom), _) => self.bloom_contains(bloom, row).await,
            _ => Ok(true),
        }
    }

    async fn bloom_contains(&self, bloom: &BloomIndex, key: &[u8]) -> Result<bool> {
        let behind = bloom.chunks.partition_point(|chunk| {
            if bloom.keys_are_cells {
                match (KeyRef::parse(&chunk.key), KeyRef::parse(key)) {
                    (Ok(a), Ok(b)) => self.order.compare_keys(a, b).is_le(),
                    _ => false,
                }
            } else {
                chunk.key[..] <= *key
            }
        });
        let Some(chunk) = behind.checked_sub(1).map(|at| &bloom.chunks[at]) else { return Ok(false) };
        let block = self.block(chunk, BlockType::BloomChunk).await?;
        Ok(bloom::may_contain(&block.body, bloom.hash_type, bloom.hash_count, key))
    }

    /// The body of a META block.
    pub async fn meta_block(&self, name: &str) -> Result<Option<Bytes>> {
        match self.meta_root.iter().find(|entry| entry.key[..] == *name.as_bytes()) {
            None => Ok(None),
            Some(entry) => Ok(Some(self.block(entry, BlockType::Meta).await?.body.clone())),
        }
    }

    /// Reads and verifies what a walk over the cells leaves out: the chunks of the bloom filters and the META blocks.
    pub async fn check_extras(&self) -> Result<()> {
        let chunks = [&self.bloom, &self.delete_bloom].into_iter().flatten().flat_map(|bloom| &bloom.chunks);
        for chunk in chunks {
            self.block(chunk, BlockType::BloomChunk).await?;
        }
        for entry in &self.meta_root {
            self.block(entry, BlockType::Meta).await?;
        }
        Ok(())
    }

    async fn block(&self, entry: &IndexEntry, kind: BlockType) -> Result<Arc<CachedBlock>> {
        if let Some(block) = self.cache.get(self.file_id, entry.offset) {
            return Ok(block);
        }
        self.cache.get_or_load(self.file_id, entry.offset, self.load_block(entry, kind)).await
    }

    async fn load_block(&self, entry: &IndexEntry, kind: BlockType) -> Result<CachedBlock> {
        let (offset, disk_len) = (entry.offset, entry.disk_len);
        if offset.checked_add(disk_len as u64).is_none_or(|end| end > self.size) {
            return Err(StorageError::corrupt(WHAT, &self.name, offset, "an index points outside the file"));
        }
        let data = self.blob.read_at(offset, disk_len).await?;
        match self.parse_block(entry, kind, &data) {
            // Perhaps it was hurt on its way here, and what was kept of that is wrong.
            Err(StorageError::Corrupt { .. }) => {
                self.blob.distrust(offset, disk_len as u64).await;
                self.parse_block(entry, kind, &self.blob.read_at(offset, disk_len).await?)
            }
            parsed => parsed,
        }
    }

    fn parse_block(&self, entry: &IndexEntry, kind: BlockType, data: &Bytes) -> Result<CachedBlock> {
        let (offset, disk_len) = (entry.offset, entry.disk_len);
        let bad = |why: &str| StorageError::corrupt(WHAT, &self.name, offset, why);
        let block = block::read_block(data, offset, &self.name, self.compression)?;
        let kind = match kind {
            BlockType::Data if self.encoding != DataBlockEncoding::None => BlockType::EncodedData,
            kind => kind,
        };
        if block.kind != kind || block.disk_len != disk_len {
            return Err(bad(&format!("{kind:?} block expected, found {:?}", block.kind)));
        }
        if block.checksum_type != self.checksum_type {
            return Err(bad("the block has another kind of checksum than the file's others"));
        }
        let is_data = matches!(kind, BlockType::Data | BlockType::EncodedData);
        let mut body = block.body;
        let mut guide = Guide::None;
        if matches!(kind, BlockType::LeafIndex | BlockType::IntermediateIndex) {
            let entries = parse_non_root(&body).ok_or_else(|| bad("an index block is not sound"))?;
            guide = Guide::Index(entries.into());
        }
        if is_data {
            if kind == BlockType::EncodedData {
                body =
                    encoding::decode(&body, self.encoding, self.suffix, self.tags_packed).map_err(|why| bad(&why))?;
            }
            guide = Guide::Cells(self.suffix.check(&body).map_err(|why| bad(&why))?);
        }
        if !self.is_at_home(entry, &body, &guide, kind, block.previous) {
            return Err(bad("a sound block of another place stands here"));
        }
        Ok(CachedBlock { body, disk_len, previous: block.previous, is_data, guide })
    }

    /// Whether the block is the one that its index entry means: checksums do not tell blocks of one file apart.
    fn is_at_home(&self, entry: &IndexEntry, body: &Bytes, guide: &Guide, kind: BlockType, previous: i64) -> bool {
        match guide {
            // A later block here names one behind this place as its previous; an earlier one begins before the entry's key.
            Guide::Cells(_) => {
                let first = (!body.is_empty()).then(|| self.suffix.find(body, 0));
                first.is_some_and(|found| {
                    let cell = CellRef::from_trusted(&body[..found.end], found.seqno);
                    KeyRef::parse(&entry.key).is_ok_and(|key| self.order.compare_keys(cell.key(), key).is_ge())
                })
            }
            Guide::Index(children) => children[0].key == entry.key,
            Guide::None if kind == BlockType::BloomChunk => {
                let at = self.bloom_chunks.partition_point(|offset| *offset < entry.offset);
                let before = at.checked_sub(1).map_or(-1, |at| self.bloom_chunks[at] as i64);
                previous == before
            }
            Guide::None => true,
        }
    }

    /// Reads the whole file: checksums of all blocks, the order of the cells and their number. Answers the number.
    pub async fn verify(self: &Arc<Self>) -> Result<u64> {
        self.check_extras().await?;
        let (mut source, mut cells, mut last) = (self.source(), 0, None::<Cell>);
        let mut progress = source.seek(&Cell::first_on_row(b""))?;
        loop {
            if progress == Progress::NeedsBlock {
                source.load().await?;
            }
            let Some(cell) = source.cell() else { break };
            let is_before = |last: &Cell| self.order.compare_keys(last.as_ref().key(), cell.as_ref().key()).is_gt();
            if last.as_ref().is_some_and(is_before) {
                let why = format!("cell {} of the file stands behind a greater one", cells + 1);
                return Err(StorageError::corrupt(WHAT, &self.name, 0, &why));
            }
            (cells, last) = (cells + 1, Some(cell));
            progress = source.advance()?;
        }
        if cells != self.entries {
            let why = format!("{cells} cells are found, the trailer says {}", self.entries);
            return Err(StorageError::corrupt(WHAT, &self.name, self.size, &why));
        }
        Ok(cells)
    }

    /// Walks the cells.
    pub fn source(self: &Arc<Self>) -> HFileSource {
        HFileSource {
            file: self.clone(),
            path: Vec::new(),
            block: None,
            at: 0,
            found: None,
            pending: None,
            may_load: false,
        }
    }

    fn compare_entry(&self, key: &[u8], wanted: KeyRef<'_>) -> std::cmp::Ordering {
        match KeyRef::parse(key) {
            Ok(key) => self.order.compare_keys(key, wanted),
            // Entries are checked when their block is loaded.
            Err(_) => std::cmp::Ordering::Less,
        }
    }
}

fn read_info(body: &Bytes) -> Option<BTreeMap<Bytes, Bytes>> {
    let rest = body.strip_prefix(b"PBUF")?;
    let info = FileInfoProto::decode_length_delimited(body.slice_ref(rest)).ok()?;
    Some(info.map_entry.into_iter().map(|pair| (pair.first, pair.second)).collect())
}

fn parse_non_root(body: &Bytes) -> Option<Vec<IndexEntry>> {
    let mut head = body.clone();
    let count = usize::try_from(head.try_get_i32().ok()?).ok()?;
    if count == 0 || count > body.len() / 4 || head.len() < (count + 1) * 4 {
        return None;
    }
    let offsets: Vec<usize> = (0..=count).map(|_| head.get_u32() as usize).collect();
    offsets
        .windows(2)
        .map(|pair| {
            let mut entry = (pair[0] + 12 <= pair[1] && pair[1] <= head.len()).then(|| head.slice(pair[0]..pair[1]))?;
            let offset = entry.get_u64();
            let disk_len = usize::try_from(entry.get_i32()).ok()?;
            KeyRef::parse(&entry).ok()?;
            Some(IndexEntry { key: entry, offset, disk_len })
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Seek(Cell),
    SeekBefore(Cell),
    NextBlock,
}

/// Why a step stopped.
enum Halt {
    /// A block is not in the cache, and loading was not allowed.
    Missing,
    Failed(StorageError),
}

impl From<StorageError> for Halt {
    fn from(error: StorageError) -> Halt {
        Halt::Failed(error)
    }
}

type Stepped<T> = std::result::Result<T, Halt>;

/// Cells that a search forward steps over before it asks the block's guide.
const STEPS_BEFORE_SEARCH: usize = 16;

/// One level of the way from the root to the current data block.
#[derive(Clone, Debug)]
struct Level {
    entries: Arc<[IndexEntry]>,
    at: usize,
}

/// Walks the cells of an [`HFileReader`].
#[derive(Debug)]
pub struct HFileSource {
    file: Arc<HFileReader>,
    path: Vec<Level>,
    block: Option<Arc<CachedBlock>>,
    at: usize,
    found: Option<Found>,
    pending: Option<Step>,
    /// Whether a block that is not in the cache is loaded; else the step stops there.
    may_load: bool,
}

impl HFileSource {
    async fn fetch(&self, entry: &IndexEntry, kind: BlockType) -> Stepped<Arc<CachedBlock>> {
        if self.may_load {
            return Ok(self.file.block(entry, kind).await?);
        }
        self.file.cache.look(self.file.file_id, entry.offset).ok_or(Halt::Missing)
    }

    fn end(&mut self) {
        self.block = None;
        self.found = None;
    }

    fn stand(&mut self, at: usize) {
        let block = self.block.as_ref().expect("standing in a block");
        self.at = at;
        self.found = (at < block.body.len()).then(|| self.file.suffix.find(&block.body, at));
    }

    fn at_cell(&self) -> Option<CellRef<'_>> {
        let (block, found) = (self.block.as_ref()?, self.found?);
        Some(CellRef::from_trusted(&block.body[self.at..found.end], found.seqno))
    }

    /// Goes forward inside the block to the first cell at or behind the key; false if the block ends before.
    fn walk_to(&mut self, key: CellRef<'_>) -> bool {
        let order = self.file.order;
        let mut steps = 0;
        while let Some(cell) = self.at_cell() {
            if order.compare(cell, key).is_ge() {
                return true;
            }
            let next = self.found.expect("at a cell").next;
            steps += 1;
            if steps == STEPS_BEFORE_SEARCH {
                self.search(next, |cell| order.compare(cell, key).is_lt());
            } else {
                self.stand(next);
            }
        }
        false
    }

    /// Stands near the first cell from `from` on of which `is_before` does not hold, not behind it.
    fn search(&mut self, from: usize, is_before: impl Fn(CellRef<'_>) -> bool) {
        let block = self.block.as_ref().expect("standing in a block");
        let at = match &block.guide {
            Guide::Cells(starts) => self.file.suffix.near(&block.body, starts, is_before),
            _ => 0,
        };
        self.stand(at.max(from));
    }

    /// Goes down from the level given to a data block's entry, first or last child each time, or by key.
    async fn descend(&mut self, key: Option<KeyRef<'_>>, last: bool) -> Stepped<()> {
        while self.path.len() < self.file.levels as usize {
            let level = self.path.last().expect("starts with the root");
            let entry = &level.entries[level.at];
            let leaf = self.path.len() + 1 == self.file.levels as usize;
            let kind = if leaf { BlockType::LeafIndex } else { BlockType::IntermediateIndex };
            let block = self.fetch(entry, kind).await?;
            let Guide::Index(entries) = &block.guide else {
                // Two indexes of a damaged file point to one block as blocks of different kinds.
                let why = "an index block is none";
                return Err(StorageError::corrupt(WHAT, &self.file.name, entry.offset, why).into());
            };
            let at = match key {
                Some(key) => {
                    entries.partition_point(|e| self.file.compare_entry(&e.key, key).is_le()).saturating_sub(1)
                }
                None if last => entries.len() - 1,
                None => 0,
            };
            self.path.push(Level { entries: entries.clone(), at });
        }
        self.load_current().await
    }

    async fn load_current(&mut self) -> Stepped<()> {
        let level = self.path.last().expect("the leaf level");
        let entry = &level.entries[level.at];
        let block = self.fetch(entry, BlockType::Data).await?;
        if !block.is_data {
            let why = "a data block is none";
            return Err(StorageError::corrupt(WHAT, &self.file.name, entry.offset, why).into());
        }
        self.block = Some(block);
        self.stand(0);
        Ok(())
    }

    /// Stands in the block that holds the last cell before the key, if there is one, and near the key.
    async fn locate(&mut self, key: &Cell) -> Stepped<bool> {
        if self.file.root.is_empty() {
            self.end();
            return Ok(false);
        }
        let wanted = key.as_ref().key();
        let at = self.file.root.partition_point(|e| self.file.compare_entry(&e.key, wanted).is_le()).saturating_sub(1);
        self.path.clear();
        self.path.push(Level { entries: self.file.root.clone(), at });
        self.descend(Some(wanted), false).await?;
        let order = self.file.order;
        self.search(0, |cell| order.compare(cell, key.as_ref()).is_lt());
        Ok(true)
    }

    /// Where the current data block stands by its index; `None` before the first and behind the last.
    fn block_offset(&self) -> Option<u64> {
        self.path.last().map(|level| level.entries[level.at].offset)
    }

    /// Moves to the neighbouring data block; false at the file's edge. Blocks follow each other in the file: a walk through an index that
    /// leads to one of them twice might never end.
    async fn neighbour(&mut self, forward: bool) -> Stepped<bool> {
        let here = self.block_offset();
        loop {
            let Some(level) = self.path.last_mut() else {
                self.end();
                return Ok(false);
            };
            let moved = if forward {
                (level.at + 1 < level.entries.len()).then(|| level.at + 1)
            } else {
                level.at.checked_sub(1)
            };
            if let Some(at) = moved {
                level.at = at;
                self.descend(None, !forward).await?;
                let there = self.block_offset();
                if here == there || (here < there) != forward {
                    let why = "an index names its blocks out of order";
                    return Err(StorageError::corrupt(WHAT, &self.file.name, there.unwrap_or(0), why).into());
                }
                return Ok(true);
            }
            self.path.pop();
        }
    }

    async fn seek_now(&mut self, key: &Cell) -> Stepped<()> {
        if !self.locate(key).await? {
            return Ok(());
        }
        while !self.walk_to(key.as_ref()) {
            if !self.neighbour(true).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn seek_before_now(&mut self, key: &Cell) -> Stepped<()> {
        if !self.locate(key).await? {
            return Ok(());
        }
        loop {
            let mut last = None;
            while let Some(cell) = self.at_cell() {
                if self.file.order.compare(cell, key.as_ref()).is_ge() {
                    break;
                }
                last = Some(self.at);
                let next = self.found.expect("at a cell").next;
                self.stand(next);
            }
            match last {
                Some(at) => {
                    self.stand(at);
                    return Ok(());
                }
                None => {
                    if !self.neighbour(false).await? {
                        return Ok(());
                    }
                    let order = self.file.order;
                    self.search(0, |cell| order.compare(cell, key.as_ref()).is_lt());
                }
            }
        }
    }

    /// The next block's first cell.
    async fn next_now(&mut self) -> Stepped<()> {
        while self.neighbour(true).await? {
            if self.found.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// How a step ended that was tried without loading; a step that needs a block is kept for [`CellSource::load`].
    fn tried(&mut self, stepped: Option<Stepped<()>>, step: impl FnOnce() -> Step) -> Result<Progress> {
        match stepped.expect("only loading awaits") {
            Ok(()) => Ok(Progress::Ready),
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Missing) => {
                self.found = None;
                self.pending = Some(step());
                Ok(Progress::NeedsBlock)
            }
        }
    }
}

impl CellSource for HFileSource {
    fn peek(&self) -> Option<CellRef<'_>> {
        self.at_cell()
    }

    fn cell(&self) -> Option<Cell> {
        let (block, found) = (self.block.as_ref()?, self.found?);
        Some(Cell::from_trusted(block.body.slice(self.at..found.end), found.seqno))
    }

    fn advance(&mut self) -> Result<Progress> {
        let Some(found) = self.found else { return Ok(Progress::Ready) };
        self.stand(found.next);
        if self.found.is_some() {
            return Ok(Progress::Ready);
        }
        // Unlike the others this step moves along the path, and may have to be taken again.
        let path = self.path.clone();
        self.may_load = false;
        let stepped = self.next_now().now_or_never();
        let progress = self.tried(stepped, || Step::NextBlock)?;
        if progress == Progress::NeedsBlock {
            self.path = path;
        }
        Ok(progress)
    }

    fn seek(&mut self, key: &Cell) -> Result<Progress> {
        self.may_load = false;
        let stepped = self.seek_now(key).now_or_never();
        self.tried(stepped, || Step::Seek(key.clone()))
    }

    fn reseek(&mut self, key: &Cell) -> Result<Progress> {
        if self.found.is_none() || self.walk_to(key.as_ref()) {
            return Ok(Progress::Ready);
        }
        // The wanted cell may be the next block's first, or many blocks ahead: the index knows.
        self.seek(key)
    }

    fn seek_before(&mut self, key: &Cell) -> Result<Progress> {
        self.may_load = false;
        let stepped = self.seek_before_now(key).now_or_never();
        self.tried(stepped, || Step::SeekBefore(key.clone()))
    }

    fn load(&mut self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let Some(step) = self.pending.take() else { return Ok(()) };
            self.may_load = true;
            let stepped = match &step {
                Step::Seek(key) => self.seek_now(key).await,
                Step::SeekBefore(key) => self.seek_before_now(key).await,
                Step::NextBlock => self.next_now().await,
            };
            match stepped {
                Ok(()) => Ok(()),
                Err(Halt::Failed(error)) => Err(error),
                Err(Halt::Missing) => unreachable!("a block that may be loaded is never missing"),
            }
        })
    }
}
