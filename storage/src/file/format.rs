//! Constants, variable integers and messages of the file format. No I/O.

use bytes::{BufMut, BytesMut};
use model::CellOrder;

pub(super) const WHAT: &str = "store file";
pub(super) const TRAILER_LEN: usize = 4096;
pub(super) const BLOCK_HEADER_LEN: usize = 33;
pub(super) const BYTES_PER_CHECKSUM: usize = 16_384;
pub(super) const CHECKSUM_CRC32C: u8 = 2;
pub(super) const TRAILER_MAGIC: &[u8; 8] = b"TRABLK\"$";
pub(super) const INDEX_BLOCK_MAX: usize = 131_072;
pub(super) const INDEX_ENTRIES_MIN: usize = 16;

/// Kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockType {
    Data,
    EncodedData,
    LeafIndex,
    BloomChunk,
    Meta,
    IntermediateIndex,
    RootIndex,
    FileInfo,
    GeneralBloomMeta,
    DeleteFamilyBloomMeta,
}

const MAGICS: [(BlockType, &[u8; 8]); 10] = [
    (BlockType::Data, b"DATABLK*"),
    (BlockType::EncodedData, b"DATABLKE"),
    (BlockType::LeafIndex, b"IDXLEAF2"),
    (BlockType::BloomChunk, b"BLMFBLK2"),
    (BlockType::Meta, b"METABLKc"),
    (BlockType::IntermediateIndex, b"IDXINTE2"),
    (BlockType::RootIndex, b"IDXROOT2"),
    (BlockType::FileInfo, b"FILEINF2"),
    (BlockType::GeneralBloomMeta, b"BLMFMET2"),
    (BlockType::DeleteFamilyBloomMeta, b"DFBLMET2"),
];

impl BlockType {
    pub(super) fn magic(self) -> &'static [u8; 8] {
        MAGICS.iter().find(|(kind, _)| *kind == self).expect("every kind is listed").1
    }

    pub(super) fn from_magic(magic: &[u8]) -> Option<BlockType> {
        MAGICS.iter().find(|(_, known)| &known[..] == magic).map(|(kind, _)| *kind)
    }
}

/// Hadoop's variable-length integer.
pub(super) fn put_vlong(out: &mut BytesMut, value: i64) {
    if (-112..=127).contains(&value) {
        out.put_i8(value as i8);
        return;
    }
    let (magnitude, base) = if value < 0 { (!value as u64, -120i32) } else { (value as u64, -112i32) };
    let len = 8 - magnitude.leading_zeros() as usize / 8;
    out.put_i8((base - len as i32) as i8);
    out.put_slice(&magnitude.to_be_bytes()[8 - len..]);
}

pub(super) fn vlong_len(value: i64) -> usize {
    if (-112..=127).contains(&value) {
        return 1;
    }
    let magnitude = if value < 0 { !value as u64 } else { value as u64 };
    9 - magnitude.leading_zeros() as usize / 8
}

/// Reads one; answers it with its length.
pub(super) fn get_vlong(data: &[u8]) -> Option<(i64, usize)> {
    let first = *data.first()? as i8;
    if first >= -112 {
        return Some((i64::from(first), 1));
    }
    let (len, negative) = if first >= -120 {
        ((-112 - i32::from(first)) as usize, false)
    } else {
        ((-120 - i32::from(first)) as usize, true)
    };
    let mut value: i64 = 0;
    for byte in data.get(1..1 + len)? {
        value = (value << 8) | i64::from(*byte);
    }
    Some((if negative { !value } else { value }, 1 + len))
}

pub(super) fn put_vbytes(out: &mut BytesMut, data: &[u8]) {
    put_vlong(out, data.len() as i64);
    out.put_slice(data);
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BytesBytesPair {
    #[prost(bytes = "bytes", required, tag = "1")]
    pub first: bytes::Bytes,
    #[prost(bytes = "bytes", required, tag = "2")]
    pub second: bytes::Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct FileInfoProto {
    #[prost(message, repeated, tag = "1")]
    pub map_entry: Vec<BytesBytesPair>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Trailer {
    #[prost(uint64, optional, tag = "1")]
    pub file_info_offset: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub load_on_open_data_offset: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub uncompressed_data_index_size: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub total_uncompressed_bytes: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    pub data_index_count: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub meta_index_count: Option<u32>,
    #[prost(uint64, optional, tag = "7")]
    pub entry_count: Option<u64>,
    #[prost(uint32, optional, tag = "8")]
    pub num_data_index_levels: Option<u32>,
    #[prost(uint64, optional, tag = "9")]
    pub first_data_block_offset: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    pub last_data_block_offset: Option<u64>,
    #[prost(string, optional, tag = "11")]
    pub comparator_class_name: Option<String>,
    #[prost(uint32, optional, tag = "12")]
    pub compression_codec: Option<u32>,
    #[prost(bytes = "bytes", optional, tag = "13")]
    pub encryption_key: Option<bytes::Bytes>,
}

/// The comparator's name in the trailer.
pub(super) fn comparator_name(order: CellOrder) -> &'static str {
    match order {
        CellOrder::User => "org.apache.hadoop.hbase.KeyValue$KVComparator",
        CellOrder::Meta => "org.apache.hadoop.hbase.KeyValue$MetaComparator",
    }
}

/// The order that a comparator's name means.
pub(super) fn order_of(name: &str) -> Option<CellOrder> {
    let short = name.rsplit('.').next().unwrap_or(name);
    match short {
        "KeyValue$KVComparator"
        | "KeyValue$KeyComparator"
        | "CellComparator"
        | "CellComparatorImpl"
        | "InnerStoreCellComparator" => Some(CellOrder::User),
        "KeyValue$MetaComparator"
        | "KeyValue$MetaKeyComparator"
        | "CellComparator$MetaCellComparator"
        | "CellComparatorImpl$MetaCellComparator"
        | "MetaCellComparator" => Some(CellOrder::Meta),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlong_is_that_of_hadoop() {
        let known = [
            (0, "00"),
            (127, "7f"),
            (128, "8f80"),
            (256, "8e0100"),
            (65_536, "8d010000"),
            (1 << 31, "8c80000000"),
            (i64::MAX, "887fffffffffffffff"),
            (-1, "ff"),
            (-112, "90"),
            (-113, "8770"),
            (-257, "860100"),
            (i64::MIN, "807fffffffffffffff"),
        ];
        for (value, text) in known {
            let mut out = BytesMut::new();
            put_vlong(&mut out, value);
            assert_eq!(hex::encode(&out), text, "{value}");
            assert_eq!(get_vlong(&out), Some((value, out.len())));
            assert_eq!(vlong_len(value), out.len());
        }
        assert_eq!(get_vlong(&[0x88, 1]), None);
    }
}
