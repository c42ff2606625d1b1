//! Writing a store file.
//!
//! The writer makes bytes and does no I/O: the caller takes them with [`HFileWriter::take`] and hands them to a blob.
//!
//! Always true: cells come in order; whole blocks only are handed out.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use model::schema::{BloomType, Compression, DataBlockEncoding};
use model::{Cell, CellOrder, CellRef, CellType, KeyRef, LATEST_TIMESTAMP};
use prost::Message;

use super::block::{CellSuffix, write_block};
use super::bloom::BloomBuilder;
use super::columns::{self, ColumnsBuilder};
use super::compress;
use super::encoding;
use super::format::{self, *};
use crate::error::{Result, StorageError};

/// How a file is written.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Compression of all blocks.
    pub compression: Compression,
    /// Encoding of data blocks; PREFIX and DIFF, which are only read, are written as FAST_DIFF.
    pub encoding: DataBlockEncoding,
    /// Bytes of cells after which a data block ends.
    pub block_size: usize,
    /// The general bloom filter.
    pub bloom: BloomType,
    /// Prefix length for [`BloomType::RowPrefixFixedLength`].
    pub bloom_prefix_len: usize,
    /// Whether cells may have tags.
    pub tags: bool,
    /// Whether sequence numbers are stored.
    pub mvcc: bool,
    /// The cells' order.
    pub order: CellOrder,
    /// Milliseconds since 1970, for people.
    pub create_time_ms: i64,
    /// Bytes after which an index block ends.
    pub index_block_size: usize,
    /// Whether to write the column filter.
    pub column_filter: bool,
    /// Leave out the FileInfo entries that HBase 2.5 does not write.
    pub as_hbase_2_5: bool,
    /// Mark the file as one that is to be bulk-loaded, as HBase's HFileOutputFormat2 does: it has no sequence number of its own.
    pub for_load: bool,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            compression: Compression::None,
            encoding: DataBlockEncoding::None,
            block_size: 65_536,
            bloom: BloomType::Row,
            bloom_prefix_len: 0,
            tags: false,
            mvcc: true,
            order: CellOrder::User,
            create_time_ms: 0,
            index_block_size: INDEX_BLOCK_MAX,
            column_filter: false,
            as_hbase_2_5: false,
            for_load: false,
        }
    }
}

#[derive(Debug)]
struct IndexEntry {
    key: Vec<u8>,
    offset: u64,
    disk_len: usize,
}

impl IndexEntry {
    fn root_len(&self) -> usize {
        12 + vlong_len(self.key.len() as i64) + self.key.len()
    }
}

/// A bloom chunk on storage: first key, offset, length.
type WrittenChunk = (Bytes, u64, usize);

/// Writes one file.
#[derive(Debug)]
pub struct HFileWriter {
    options: WriterOptions,
    out: BytesMut,
    /// Bytes that were taken last: as many gather until the next time.
    taken: usize,
    /// Offset of the end of `out` in the file.
    offset: u64,
    body: BytesMut,
    /// What ROW_INDEX_V1 adds to the open block.
    row_index_bytes: usize,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    last_key_of_previous_block: Option<Vec<u8>>,
    previous: BTreeMap<&'static [u8; 8], i64>,
    leaf: Vec<IndexEntry>,
    leaf_key_bytes: usize,
    /// Leaf blocks, with the number of entries in each for the mid-key.
    leaves: Vec<(IndexEntry, usize)>,
    index_uncompressed: u64,
    total_uncompressed: u64,
    first_data: Option<u64>,
    last_data: u64,
    blocks: u64,
    cells: u64,
    key_bytes: u64,
    value_bytes: u64,
    mvcc_max: u64,
    tags_max: usize,
    oldest_ms: i64,
    newest_ms: i64,
    earliest_put_ms: i64,
    family_deletes: u64,
    biggest: (u64, Vec<u8>),
    bloom: Option<(BloomBuilder, Vec<WrittenChunk>)>,
    delete_bloom: (BloomBuilder, Vec<WrittenChunk>),
    columns: Option<ColumnsBuilder>,
    meta: BTreeMap<String, Bytes>,
    key_buffer: Vec<u8>,
}

/// What the file is told at its end.
#[derive(Clone, Debug, Default)]
pub struct FileMeta {
    /// Largest sequence number of the flush or of the compacted files.
    pub max_seq_id: u64,
    /// Whether this is the output of a major compaction.
    pub major: bool,
    /// Names of the files that were compacted into it.
    pub compacted: Vec<String>,
}

/// What the writer knows of the finished file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Length in bytes.
    pub size: u64,
    /// Cells.
    pub cells: u64,
}

fn meta_key(row: &[u8], family: &[u8], qualifier: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(12 + row.len() + family.len() + qualifier.len());
    key.extend_from_slice(&(row.len() as u16).to_be_bytes());
    key.extend_from_slice(row);
    key.push(family.len() as u8);
    key.extend_from_slice(family);
    key.extend_from_slice(qualifier);
    key.extend_from_slice(&LATEST_TIMESTAMP.to_be_bytes());
    key.push(CellType::MAXIMUM.0);
    key
}

/// A short key between two: `left < answer <= right`.
fn mid(left: &[u8], right: &[u8]) -> Option<Vec<u8>> {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    if same == left.len() {
        return (left.len() < right.len()).then(|| {
            let mut key = right[..same].to_vec();
            key.push(0);
            key
        });
    }
    let mut key = left[..same].to_vec();
    key.push(left[same] + 1);
    Some(key)
}

/// A key `k` with `left < k <= right`, as short as HBase makes it.
fn separator(order: CellOrder, left: &[u8], right: &[u8]) -> Vec<u8> {
    if order == CellOrder::Meta {
        return right.to_vec();
    }
    let (Ok(a), Ok(b)) = (KeyRef::parse(left), KeyRef::parse(right)) else { return right.to_vec() };
    if let Some(row) = mid(a.row(), b.row()) {
        return meta_key(&row, &[], &[]);
    }
    if let Some(family) = mid(a.family(), b.family()) {
        return meta_key(b.row(), &family, &[]);
    }
    match mid(a.qualifier(), b.qualifier()) {
        Some(qualifier) => meta_key(b.row(), b.family(), &qualifier),
        None => right.to_vec(),
    }
}

impl HFileWriter {
    /// Starts a file.
    pub fn new(mut options: WriterOptions) -> HFileWriter {
        if !encoding::can_encode(options.encoding) {
            options.encoding = DataBlockEncoding::FastDiff;
        }
        let bloom = (options.bloom != BloomType::None)
            .then(|| (BloomBuilder::new(options.bloom == BloomType::RowCol), Vec::new()));
        let columns = options.column_filter.then(ColumnsBuilder::default);
        HFileWriter {
            options,
            out: BytesMut::new(),
            taken: 0,
            offset: 0,
            body: BytesMut::new(),
            row_index_bytes: 0,
            first_key: Vec::new(),
            last_key: Vec::new(),
            last_key_of_previous_block: None,
            previous: BTreeMap::new(),
            leaf: Vec::new(),
            leaf_key_bytes: 0,
            leaves: Vec::new(),
            index_uncompressed: 0,
            total_uncompressed: 0,
            first_data: None,
            last_data: 0,
            blocks: 0,
            cells: 0,
            key_bytes: 0,
            value_bytes: 0,
            mvcc_max: 0,
            tags_max: 0,
            oldest_ms: i64::MAX,
            newest_ms: -1,
            earliest_put_ms: i64::MAX,
            family_deletes: 0,
            biggest: (0, Vec::new()),
            bloom,
            delete_bloom: (BloomBuilder::new(false), Vec::new()),
            columns,
            meta: BTreeMap::new(),
            key_buffer: Vec::new(),
        }
    }

    /// Cells so far.
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// Bytes made and not yet taken.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Bytes made so far.
    pub fn len(&self) -> u64 {
        self.offset
    }

    /// Whether nothing was made.
    pub fn is_empty(&self) -> bool {
        self.cells == 0
    }

    /// Takes the finished bytes, to be written to the blob.
    pub fn take(&mut self) -> Bytes {
        self.taken = self.out.len();
        self.out.split().freeze()
    }

    /// Adds an opaque META block, which HBase ignores.
    pub fn add_meta(&mut self, name: &str, body: Bytes) {
        self.meta.insert(name.to_owned(), body);
    }

    /// Adds the next cell.
    pub fn append(&mut self, cell: CellRef<'_>) -> Result<()> {
        let key = cell.key();
        if self.cells > 0 {
            let last = KeyRef::parse(&self.last_key).expect("kept from a cell");
            let order = self.options.order.compare_keys(last, key);
            if order.is_gt() {
                return Err(StorageError::Invalid(format!("cells are out of order: {key:?} follows {last:?}")));
            }
            // The row index counts as part of the block, as HBase counts it.
            if order.is_lt() && self.body.len() + self.row_index_bytes >= self.options.block_size {
                self.finish_block()?;
            }
        }
        if self.body.is_empty() {
            self.first_key.clear();
            self.first_key.extend_from_slice(key.as_bytes());
        }
        if self.options.encoding == DataBlockEncoding::RowIndexV1
            && (self.body.is_empty() || KeyRef::parse(&self.last_key).is_ok_and(|last| last.row() != key.row()))
        {
            self.row_index_bytes += 4;
        }
        self.add_to_blooms(cell);
        if let Some(columns) = &mut self.columns {
            columns.add(cell.qualifier());
        }
        self.body.put_slice(cell.without_tags());
        let tags = cell.tags();
        if self.options.tags {
            self.body.put_u16(tags.len() as u16);
            self.body.put_slice(tags);
        } else if !tags.is_empty() {
            return Err(StorageError::Invalid("a cell with tags came to a file without tags".to_owned()));
        }
        if self.options.mvcc {
            put_vlong(&mut self.body, cell.seqno().0 as i64);
        }
        self.count(cell);
        self.last_key.clear();
        self.last_key.extend_from_slice(key.as_bytes());
        Ok(())
    }

    fn count(&mut self, cell: CellRef<'_>) {
        self.cells += 1;
        self.key_bytes += cell.key_len() as u64;
        self.value_bytes += cell.value_len() as u64;
        if self.options.mvcc {
            self.mvcc_max = self.mvcc_max.max(cell.seqno().0);
        }
        let tags = cell.tags().len();
        self.tags_max = self.tags_max.max(tags);
        let size = 12 + cell.key_len() as u64 + cell.value_len() as u64 + if tags > 0 { 2 + tags as u64 } else { 0 };
        if size > self.biggest.0 {
            self.biggest.0 = size;
            self.biggest.1.clear();
            self.biggest.1.extend_from_slice(cell.key().as_bytes());
        }
        let (timestamp, kind) = (cell.timestamp(), cell.cell_type());
        let mut include = |ms: i64| {
            self.oldest_ms = self.oldest_ms.min(ms);
            self.newest_ms = self.newest_ms.max(ms);
        };
        include(timestamp);
        if kind == CellType::DELETE_COLUMN || kind == CellType::DELETE_FAMILY {
            include(0);
        }
        if kind == CellType::PUT {
            self.earliest_put_ms = self.earliest_put_ms.min(timestamp);
        }
    }

    fn add_to_blooms(&mut self, cell: CellRef<'_>) {
        let row = cell.row();
        if let Some((builder, _)) = &mut self.bloom {
            match self.options.bloom {
                BloomType::Row => builder.add(row),
                BloomType::RowPrefixFixedLength => builder.add(&row[..row.len().min(self.options.bloom_prefix_len)]),
                BloomType::RowCol => {
                    row_col_key(&mut self.key_buffer, row, cell.qualifier());
                    builder.add(&self.key_buffer);
                }
                BloomType::None => {}
            }
        }
        if matches!(cell.cell_type(), CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION) {
            self.family_deletes += 1;
            if self.options.bloom != BloomType::RowCol {
                self.delete_bloom.0.add(row);
            }
        }
    }

    /// Writes a block; answers where it stands.
    fn emit(&mut self, kind: BlockType, body: &[u8]) -> Result<(u64, usize)> {
        let previous = match kind {
            BlockType::Meta | BlockType::FileInfo | BlockType::GeneralBloomMeta | BlockType::DeleteFamilyBloomMeta => {
                -1
            }
            _ => self.previous.insert(kind.magic(), self.offset as i64).unwrap_or(-1),
        };
        if self.out.is_empty() {
            self.out.reserve(self.taken);
        }
        let len = write_block(&mut self.out, kind, body, previous, self.options.compression)
            .map_err(|error| StorageError::Invalid(format!("compress a block: {error}")))?;
        let at = self.offset;
        self.offset += len as u64;
        Ok((at, len))
    }

    fn finish_block(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        let mut body = self.body.split();
        self.row_index_bytes = 0;
        let mut kind = BlockType::Data;
        if self.options.encoding != DataBlockEncoding::None {
            kind = BlockType::EncodedData;
            let suffix = CellSuffix { tags: self.options.tags, mvcc: self.options.mvcc, loaded_as: None };
            body = encoding::encode(&body, self.options.encoding, suffix);
        }
        let (offset, disk_len) = self.emit(kind, &body)?;
        self.total_uncompressed += (BLOCK_HEADER_LEN + body.len()) as u64;
        self.first_data.get_or_insert(offset);
        self.last_data = offset;
        self.blocks += 1;
        let key = match &self.last_key_of_previous_block {
            None => self.first_key.clone(),
            Some(last) => separator(self.options.order, last, &self.first_key),
        };
        self.last_key_of_previous_block = Some(self.last_key.clone());
        self.leaf_key_bytes += 12 + key.len();
        self.leaf.push(IndexEntry { key, offset, disk_len });
        if 4 + 4 * (self.leaf.len() + 1) + self.leaf_key_bytes >= self.options.index_block_size {
            self.write_leaf()?;
        }
        if let Some((builder, _)) = &mut self.bloom {
            builder.close_if_full();
        }
        self.delete_bloom.0.close_if_full();
        self.write_bloom_chunks()
    }

    fn write_bloom_chunks(&mut self) -> Result<()> {
        let write = |this: &mut Self, chunks: Vec<super::bloom::Chunk>| -> Result<Vec<WrittenChunk>> {
            let mut written = Vec::new();
            for chunk in chunks {
                let (offset, len) = this.emit(BlockType::BloomChunk, &chunk.bits)?;
                this.total_uncompressed += (BLOCK_HEADER_LEN + chunk.bits.len()) as u64;
                written.push((chunk.first_key, offset, len));
            }
            Ok(written)
        };
        let chunks = self.bloom.as_mut().map(|(builder, _)| std::mem::take(&mut builder.ready)).unwrap_or_default();
        let written = write(self, chunks)?;
        if let Some((_, all)) = &mut self.bloom {
            all.extend(written);
        }
        let chunks = std::mem::take(&mut self.delete_bloom.0.ready);
        let written = write(self, chunks)?;
        self.delete_bloom.1.extend(written);
        Ok(())
    }

    fn write_leaf(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.leaf);
        self.leaf_key_bytes = 0;
        let body = non_root(&entries);
        let (offset, disk_len) = self.emit(BlockType::LeafIndex, &body)?;
        self.index_uncompressed += body.len() as u64;
        self.total_uncompressed += (BLOCK_HEADER_LEN + body.len()) as u64;
        let count = entries.len();
        let key = entries.into_iter().next().expect("a leaf has an entry").key;
        self.leaves.push((IndexEntry { key, offset, disk_len }, count));
        Ok(())
    }

    /// Ends the file. Take the last bytes afterwards.
    pub fn finish(&mut self, file_meta: &FileMeta) -> Result<Finished> {
        self.finish_block()?;
        if !self.leaves.is_empty() && !self.leaf.is_empty() {
            self.write_leaf()?;
        }
        if let Some((builder, _)) = &mut self.bloom {
            builder.close();
        }
        self.delete_bloom.0.close();
        self.write_bloom_chunks()?;

        // A family delete hides cells of every column: such a file must always be read.
        if let Some(body) =
            self.columns.take().filter(|_| self.family_deletes == 0).and_then(|columns| columns.finish())
        {
            self.meta.insert(columns::META_NAME.to_owned(), body);
        }
        let mut meta_index = BytesMut::new();
        let meta = std::mem::take(&mut self.meta);
        for (name, body) in &meta {
            let (offset, len) = self.emit(BlockType::Meta, body)?;
            self.total_uncompressed += (BLOCK_HEADER_LEN + body.len()) as u64;
            put_root_entry(&mut meta_index, offset, len, name.as_bytes());
        }

        let (mut levels, mut mid_key) = (1, None);
        let mut root = std::mem::take(&mut self.leaf);
        if !self.leaves.is_empty() {
            levels = 2;
            mid_key = Some(self.mid_key());
            root = std::mem::take(&mut self.leaves).into_iter().map(|(entry, _)| entry).collect();
        }
        let root_len = |entries: &[IndexEntry]| entries.iter().map(IndexEntry::root_len).sum::<usize>();
        while root_len(&root) > self.options.index_block_size && root.len() > INDEX_ENTRIES_MIN && levels < 16 {
            root = self.write_intermediate(root)?;
            levels += 1;
        }
        let load_on_open = self.offset;
        let mut body = BytesMut::new();
        for entry in &root {
            put_root_entry(&mut body, entry.offset, entry.disk_len, &entry.key);
        }
        if let Some((offset, disk_len, at)) = mid_key {
            body.put_u64(offset);
            body.put_i32(disk_len as i32);
            body.put_i32(at as i32);
        }
        self.index_uncompressed += body.len() as u64;
        self.emit(BlockType::RootIndex, &body)?;
        self.total_uncompressed += (BLOCK_HEADER_LEN + meta_index.len()) as u64;
        self.emit(BlockType::RootIndex, &meta_index)?;
        let info = self.file_info(file_meta);
        self.total_uncompressed += (BLOCK_HEADER_LEN + info.len()) as u64;
        let (file_info_offset, _) = self.emit(BlockType::FileInfo, &info)?;
        if let Some((builder, chunks)) = &self.bloom
            && builder.total_keys > 0
        {
            let comparator =
                if self.options.bloom == BloomType::RowCol { "org.apache.hadoop.hbase.CellComparatorImpl" } else { "" };
            let body = bloom_meta(builder, chunks, comparator);
            self.total_uncompressed += (BLOCK_HEADER_LEN + body.len()) as u64;
            self.emit(BlockType::GeneralBloomMeta, &body)?;
        }
        if self.delete_bloom.0.total_keys > 0 {
            let body = bloom_meta(&self.delete_bloom.0, &self.delete_bloom.1, "");
            self.total_uncompressed += (BLOCK_HEADER_LEN + body.len()) as u64;
            self.emit(BlockType::DeleteFamilyBloomMeta, &body)?;
        }
        let trailer = Trailer {
            file_info_offset: Some(file_info_offset),
            load_on_open_data_offset: Some(load_on_open),
            uncompressed_data_index_size: Some(self.index_uncompressed),
            total_uncompressed_bytes: Some(self.total_uncompressed + TRAILER_LEN as u64),
            data_index_count: Some(root.len() as u32),
            meta_index_count: Some(meta.len() as u32),
            entry_count: Some(self.cells),
            num_data_index_levels: Some(levels),
            first_data_block_offset: Some(self.first_data.unwrap_or(u64::MAX)),
            last_data_block_offset: Some(if self.first_data.is_some() { self.last_data } else { u64::MAX }),
            comparator_class_name: Some(comparator_name(self.options.order).to_owned()),
            compression_codec: Some(compress::code(self.options.compression)),
            encryption_key: None,
        };
        let start = self.out.len();
        self.out.put_slice(TRAILER_MAGIC);
        self.out.put_slice(&trailer.encode_length_delimited_to_vec());
        self.out.resize(start + TRAILER_LEN - 4, 0);
        self.out.put_u32(0x0300_0003);
        self.offset += TRAILER_LEN as u64;
        Ok(Finished { size: self.offset, cells: self.cells })
    }

    /// The middle data block: its leaf, and its place inside.
    fn mid_key(&self) -> (u64, usize, usize) {
        let mut at = (self.blocks as usize - 1) / 2;
        for (leaf, count) in &self.leaves {
            if at < *count {
                return (leaf.offset, leaf.disk_len, at);
            }
            at -= count;
        }
        unreachable!("the leaves hold every block")
    }

    fn write_intermediate(&mut self, below: Vec<IndexEntry>) -> Result<Vec<IndexEntry>> {
        let mut above = Vec::new();
        let mut chunk: Vec<IndexEntry> = Vec::new();
        let mut chunk_len = 0;
        let count = below.len();
        for (at, entry) in below.into_iter().enumerate() {
            chunk_len += entry.root_len();
            chunk.push(entry);
            if (at >= INDEX_ENTRIES_MIN && chunk_len >= self.options.index_block_size) || at + 1 == count {
                let body = non_root(&chunk);
                let (offset, disk_len) = self.emit(BlockType::IntermediateIndex, &body)?;
                self.index_uncompressed += body.len() as u64;
                let key = std::mem::take(&mut chunk).into_iter().next().expect("just pushed").key;
                above.push(IndexEntry { key, offset, disk_len });
                chunk_len = 0;
            }
        }
        Ok(above)
    }

    fn file_info(&self, meta: &FileMeta) -> Vec<u8> {
        let mut info: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let long = |value: i64| value.to_be_bytes().to_vec();
        let flag = |value: bool| vec![if value { 0xff } else { 0 }];
        let average = |sum: u64| (sum.checked_div(self.cells).unwrap_or(0) as i32).to_be_bytes().to_vec();
        if self.cells > 0 {
            info.insert("hfile.LASTKEY", self.last_key.clone());
            if !self.options.as_hbase_2_5 {
                info.insert("hfile.KEY_OF_BIGGEST_CELL", self.biggest.1.clone());
                info.insert("hfile.LEN_OF_BIGGEST_CELL", long(self.biggest.0 as i64));
            }
        }
        info.insert("hfile.AVG_KEY_LEN", average(self.key_bytes));
        info.insert("hfile.AVG_VALUE_LEN", average(self.value_bytes));
        info.insert("hfile.CREATE_TIME_TS", long(self.options.create_time_ms));
        if self.options.tags {
            info.insert("hfile.MAX_TAGS_LEN", (self.tags_max as i32).to_be_bytes().to_vec());
            info.insert("hfile.TAGS_COMPRESSED", flag(false));
        }
        if self.options.encoding != DataBlockEncoding::None {
            info.insert("DATA_BLOCK_ENCODING", encoding::name(self.options.encoding).as_bytes().to_vec());
        }
        if self.options.mvcc {
            info.insert("KEY_VALUE_VERSION", 1i32.to_be_bytes().to_vec());
            info.insert("MAX_MEMSTORE_TS_KEY", long(self.mvcc_max as i64));
        }
        if self.options.for_load {
            info.insert("BULKLOAD_TIMESTAMP", long(self.options.create_time_ms));
            info.insert("BULKLOAD_SOURCE_TASK", b"ferrobase".to_vec());
            info.insert("EXCLUDE_FROM_MINOR_COMPACTION", flag(false));
        } else {
            info.insert("MAX_SEQ_ID_KEY", long(meta.max_seq_id as i64));
        }
        info.insert("MAJOR_COMPACTION_KEY", flag(meta.major || self.options.for_load));
        let mut tracker = b"PBUF".to_vec();
        for name in &meta.compacted {
            tracker.push(0x0a);
            prost::encoding::encode_varint(name.len() as u64, &mut tracker);
            tracker.extend_from_slice(name.as_bytes());
        }
        if !self.options.for_load {
            info.insert("COMPACTION_EVENT_KEY", tracker);
        }
        info.insert("TIMERANGE", [long(self.oldest_ms), long(self.newest_ms)].concat());
        info.insert("EARLIEST_PUT_TS", long(self.earliest_put_ms));
        info.insert("DELETE_FAMILY_COUNT", long(self.family_deletes as i64));
        if !self.options.as_hbase_2_5 {
            info.insert("HISTORICAL", flag(false));
        }
        if let Some((builder, _)) = &self.bloom
            && let Some(last) = builder.last_key()
        {
            let name = match self.options.bloom {
                BloomType::RowCol => "ROWCOL",
                BloomType::RowPrefixFixedLength => "ROWPREFIX_FIXED_LENGTH",
                _ => "ROW",
            };
            info.insert("BLOOM_FILTER_TYPE", name.as_bytes().to_vec());
            info.insert("LAST_BLOOM_KEY", last.to_vec());
            if self.options.bloom == BloomType::RowPrefixFixedLength {
                info.insert("BLOOM_FILTER_PARAM", (self.options.bloom_prefix_len as i32).to_be_bytes().to_vec());
            }
        }
        let map_entry = info
            .into_iter()
            .map(|(key, value)| BytesBytesPair { first: Bytes::from_static(key.as_bytes()), second: value.into() })
            .collect();
        let mut out = b"PBUF".to_vec();
        out.extend(FileInfoProto { map_entry }.encode_length_delimited_to_vec());
        out
    }
}

/// The bytes that a ROWCOL filter holds: a flat key with an empty family.
pub(super) fn row_col_key(out: &mut Vec<u8>, row: &[u8], qualifier: &[u8]) {
    out.clear();
    out.extend_from_slice(&(row.len() as u16).to_be_bytes());
    out.extend_from_slice(row);
    out.push(0);
    out.extend_from_slice(qualifier);
    out.extend_from_slice(&LATEST_TIMESTAMP.to_be_bytes());
    out.push(CellType::MAXIMUM.0);
}

fn put_root_entry(out: &mut BytesMut, offset: u64, disk_len: usize, key: &[u8]) {
    out.put_u64(offset);
    out.put_i32(disk_len as i32);
    format::put_vbytes(out, key);
}

fn non_root(entries: &[IndexEntry]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(entries.len() as i32);
    let mut at = 0;
    for entry in entries {
        out.put_i32(at as i32);
        at += 12 + entry.key.len();
    }
    out.put_i32(at as i32);
    for entry in entries {
        out.put_u64(entry.offset);
        out.put_i32(entry.disk_len as i32);
        out.put_slice(&entry.key);
    }
    out
}

fn bloom_meta(builder: &BloomBuilder, chunks: &[WrittenChunk], comparator: &str) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(3);
    out.put_i64(builder.total_bytes() as i64);
    out.put_i32(builder.hash_count() as i32);
    out.put_i32(1);
    out.put_i64(builder.total_keys as i64);
    out.put_i64(builder.total_keys_max as i64);
    out.put_i32(chunks.len() as i32);
    format::put_vbytes(&mut out, comparator.as_bytes());
    for (key, offset, len) in chunks {
        put_root_entry(&mut out, *offset, *len, key);
    }
    out
}

/// Writes all cells of a vector as one file; for tests and tools.
pub fn write_all(options: WriterOptions, cells: &[Cell], meta: &FileMeta) -> Result<Bytes> {
    let mut writer = HFileWriter::new(options);
    for cell in cells {
        writer.append(cell.as_ref())?;
    }
    writer.finish(meta)?;
    Ok(writer.take())
}
