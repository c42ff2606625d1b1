//! Hadoop SequenceFiles of HBase's `Export`: a row as key, a `Result` as value. No I/O but the stream given.
//!
//! ```text
//! "SEQ" version | key class | value class | compressed | in blocks | [codec] | metadata | sync
//! plain, record   { length of both | length of the key | key | value, packed if by record }, now and then -1 | sync
//! block           { -1 | sync | records | four packed buffers: key lengths, keys, value lengths, values }
//! ```
//!
//! Always true
//! - No length that the file states is given memory for before as many bytes have come, and no record is longer than [`RECORD_BYTES_MAX`].
//! - What is wrong with the file itself is told with its place and ends the reading; what is wrong with a record's content does not.

use std::io::{BufReader, Read};

use bytes::{Buf, Bytes};
use model::CellType;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use protocol::messages as pb;

use crate::batch::Batch;

/// First bytes of the files.
pub const MAGIC: &[u8; 3] = b"SEQ";
/// Longest record in bytes, packed or not.
pub const RECORD_BYTES_MAX: u64 = 256 << 20;
/// Versions of the header that have Hadoop's present layout of records.
const VERSIONS: std::ops::RangeInclusive<u8> = 4..=6;
/// The version from which the codec is named.
const VERSION_CODEC: u8 = 5;
/// The version from which there is metadata.
const VERSION_METADATA: u8 = 6;
const KEY_CLASS: &str = "org.apache.hadoop.hbase.io.ImmutableBytesWritable";
const VALUE_CLASS: &str = "org.apache.hadoop.hbase.client.Result";
/// Longest name of a class in bytes.
const NAME_BYTES_MAX: u64 = 4096;
/// Most pairs of metadata.
const METADATA_MAX: u32 = 100_000;
/// A length that is none: a sync marker follows.
const SYNC_ESCAPE: u32 = u32::MAX;
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Largest window of zstd, as a power of two.
const ZSTD_WINDOW_LOG: u32 = 27;
/// More bytes than a byte of Snappy, of LZ4 can become.
const SNAPPY_RATIO_MAX: usize = 64;
/// Largest chunk when it is unpacked; Hadoop's writers make chunks of 256 KiB.
const CHUNK_BYTES_MAX: usize = 64 << 20;
const LZ4_RATIO_MAX: usize = 256;

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    /// A sentence for people.
    pub why: String,
    /// Bytes from the beginning of the file.
    pub offset: u64,
}

type Result<T> = std::result::Result<T, Damage>;

/// How values, or blocks, are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    Zlib,
    Gzip,
    Zstd,
    Snappy,
    Lz4,
}

impl Codec {
    fn from_class(class: &str) -> std::result::Result<Codec, String> {
        match class.strip_prefix("org.apache.hadoop.io.compress.") {
            Some("DefaultCodec" | "DeflateCodec") => Ok(Codec::Zlib),
            Some("GzipCodec") => Ok(Codec::Gzip),
            Some("ZStandardCodec") => Ok(Codec::Zstd),
            Some("SnappyCodec") => Ok(Codec::Snappy),
            Some("Lz4Codec") => Ok(Codec::Lz4),
            _ => Err(format!(
                "the codec {class} is not supported: export with DefaultCodec, GzipCodec, ZStandardCodec, SnappyCodec or Lz4Codec"
            )),
        }
    }

    fn unpack(self, packed: Bytes) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Codec::Zlib => Box::new(flate2::read::ZlibDecoder::new(packed.reader())),
            Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed.reader())),
            Codec::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(packed.reader())?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
            Codec::Snappy | Codec::Lz4 => Box::new(Framed { codec: self, packed, group: 0, chunk: Bytes::new() }),
        })
    }
}

/// Hadoop's framing of codecs without streams: groups of `length unpacked | { length packed | chunk }`.
struct Framed {
    codec: Codec,
    packed: Bytes,
    /// Unpacked bytes of the group that are still to come.
    group: usize,
    chunk: Bytes,
}

impl Framed {
    fn next_chunk(&mut self) -> std::result::Result<Vec<u8>, String> {
        let len = self.packed.try_get_u32().map_err(|_| "a chunk's length is cut short")? as usize;
        if len > self.packed.len() {
            return Err("a chunk is cut short".to_owned());
        }
        let packed = self.packed.split_to(len);
        let chunk = if self.codec == Codec::Snappy {
            let size = snap::raw::decompress_len(&packed).map_err(|error| error.to_string())?;
            if size > self.group.min(CHUNK_BYTES_MAX) || size > len.saturating_mul(SNAPPY_RATIO_MAX) {
                return Err("a chunk is larger than it can be".to_owned());
            }
            snap::raw::Decoder::new().decompress_vec(&packed).map_err(|error| error.to_string())?
        } else {
            let most = self.group.min(CHUNK_BYTES_MAX).min(len.saturating_mul(LZ4_RATIO_MAX));
            lz4_flex::block::decompress(&packed, most).map_err(|error| error.to_string())?
        };
        if chunk.is_empty() || chunk.len() > self.group {
            return Err("a chunk does not fit its group".to_owned());
        }
        Ok(chunk)
    }
}

impl Read for Framed {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let wrong = |why: String| std::io::Error::new(std::io::ErrorKind::InvalidData, why);
        while self.chunk.is_empty() {
            if self.group > 0 {
                self.chunk = self.next_chunk().map_err(wrong)?.into();
                self.group -= self.chunk.len();
            } else if self.packed.is_empty() {
                return Ok(0);
            } else {
                let group = self.packed.try_get_u32().map_err(|_| wrong("a group's length is cut short".to_owned()))?;
                self.group = group as usize;
            }
        }
        let n = out.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut out[..n]);
        Ok(n)
    }
}

/// A stream that knows how far it is.
struct Place<R> {
    input: R,
    at: u64,
}

impl<R: Read> Read for Place<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(out)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// The rest of a block's records: four streams that go on side by side.
struct Block {
    left: u64,
    key_lengths: Box<dyn Read + Send>,
    keys: Box<dyn Read + Send>,
    value_lengths: Box<dyn Read + Send>,
    values: Box<dyn Read + Send>,
}

/// Reads the records of one file.
pub struct SequenceFile {
    input: Place<BufReader<Box<dyn Read + Send>>>,
    /// How values are packed, where they are so one by one; or blocks.
    codec: Option<Codec>,
    in_blocks: bool,
    sync: [u8; 16],
    block: Option<Block>,
    /// Where the record, or its block, begins.
    offset: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

fn cut(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
        _ => error.to_string(),
    }
}

/// Reads one of Hadoop's numbers of one to nine bytes.
fn read_vint(input: &mut impl Read) -> std::io::Result<i64> {
    let mut first = [0_u8; 1];
    input.read_exact(&mut first)?;
    let first = first[0] as i8;
    if first >= -112 {
        return Ok(i64::from(first));
    }
    let negative = first < -120;
    let len = usize::from((if negative { -120 } else { -112 } - i16::from(first)) as u16);
    let mut bytes = [0_u8; 8];
    input.read_exact(&mut bytes[8 - len..])?;
    let number = i64::from_be_bytes(bytes);
    Ok(if negative { !number } else { number })
}

/// Reads so many bytes as they come.
fn read_bytes(input: &mut impl Read, len: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
    out.clear();
    if input.take(len).read_to_end(out)? as u64 == len { Ok(()) } else { Err(std::io::ErrorKind::UnexpectedEof.into()) }
}

fn read_length(input: &mut impl Read) -> std::io::Result<u64> {
    let len = read_vint(input)?;
    match u64::try_from(len) {
        Ok(len) if len <= RECORD_BYTES_MAX => Ok(len),
        _ => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, too_long(len))),
    }
}

fn too_long(len: impl std::fmt::Display) -> String {
    let most = RECORD_BYTES_MAX >> 20;
    format!("a length of {len} bytes, {most} MiB may be: export wide rows in parts with -Dhbase.export.scanner.batch")
}

impl SequenceFile {
    /// Reads a file's header.
    ///
    /// # Errors
    /// It is no SequenceFile of HBase's, it is packed with a codec that is not supported, or it cannot be read.
    pub fn open(input: Box<dyn Read + Send>) -> Result<SequenceFile> {
        let input = Place { input: BufReader::with_capacity(READ_BYTES, input), at: 0 };
        let (key, value) = (Vec::new(), Vec::new());
        let mut file =
            SequenceFile { input, codec: None, in_blocks: false, sync: [0; 16], block: None, offset: 0, key, value };
        file.header()?;
        Ok(file)
    }

    /// Where the record begins, or the block that holds it.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The record's row.
    pub fn row(&self) -> &[u8] {
        // The length was checked when the record was read.
        self.key.get(4..).unwrap_or_default()
    }

    /// Adds the record's cells.
    ///
    /// # Errors
    /// What is wrong with the record, of which cells may have been added.
    pub fn cells(&mut self, out: &mut Batch) -> std::result::Result<(), String> {
        let value = Bytes::from(std::mem::take(&mut self.value));
        cells(self.row(), value, out)
    }

    fn wrong(&self, why: impl Into<String>) -> Damage {
        Damage { why: why.into(), offset: self.input.at }
    }

    fn told<T>(&self, read: std::io::Result<T>) -> Result<T> {
        read.map_err(|error| self.wrong(cut(&error)))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        let read = self.input.read_exact(&mut bytes);
        self.told(read)?;
        Ok(bytes)
    }

    fn name(&mut self) -> Result<String> {
        let len = read_length(&mut self.input);
        let len = self.told(len)?;
        if len > NAME_BYTES_MAX {
            return Err(self.wrong(format!("a name of {len} bytes in the header")));
        }
        let read = read_bytes(&mut self.input, len, &mut self.key);
        self.told(read)?;
        Ok(String::from_utf8_lossy(&self.key).into_owned())
    }

    fn flag(&mut self) -> Result<bool> {
        let [flag] = self.array()?;
        if flag > 1 { Err(self.wrong(format!("a flag of the header is {flag}"))) } else { Ok(flag == 1) }
    }

    fn header(&mut self) -> Result<()> {
        let [s, e, q, version] = self.array()?;
        if &[s, e, q] != MAGIC {
            return Err(Damage { why: "it is no SequenceFile: it does not begin with SEQ".to_owned(), offset: 0 });
        }
        if !VERSIONS.contains(&version) {
            return Err(Damage { why: format!("version {version} of SequenceFiles is not supported"), offset: 3 });
        }
        for (what, wanted) in [("keys", KEY_CLASS), ("values", VALUE_CLASS)] {
            let class = self.name()?;
            if class != wanted {
                return Err(self.wrong(format!("its {what} are {class}, those of HBase's Export are {wanted}")));
            }
        }
        let packed = self.flag()?;
        self.in_blocks = self.flag()?;
        if self.in_blocks && !packed {
            return Err(self.wrong("it is in blocks, but says that it is not packed"));
        }
        if packed && version < VERSION_CODEC {
            self.codec = Some(Codec::Zlib);
        } else if packed {
            let class = self.name()?;
            self.codec = Some(Codec::from_class(&class).map_err(|why| self.wrong(why))?);
        }
        if version >= VERSION_METADATA {
            let n = u32::from_be_bytes(self.array()?);
            if n > METADATA_MAX {
                return Err(self.wrong(format!("{n} pairs of metadata")));
            }
            for _ in 0..2 * n {
                let len = read_length(&mut self.input);
                let len = self.told(len)?;
                let passed = std::io::copy(&mut (&mut self.input).take(len), &mut std::io::sink());
                if self.told(passed)? < len {
                    return Err(self.wrong("it is cut short"));
                }
            }
        }
        self.sync = self.array()?;
        Ok(())
    }

    /// Goes to the next record; false: there is none.
    ///
    /// # Errors
    /// The file is damaged or cut short.
    pub fn advance(&mut self) -> Result<bool> {
        if self.in_blocks { self.advance_in_block() } else { self.advance_plain() }
    }

    /// A length, or nothing at the end of the file.
    fn length_or_end(&mut self) -> Result<Option<u32>> {
        self.offset = self.input.at;
        let mut bytes = Vec::with_capacity(4);
        let read = (&mut self.input).take(4).read_to_end(&mut bytes);
        if self.told(read)? == 0 {
            return Ok(None);
        }
        match <[u8; 4]>::try_from(bytes) {
            Ok(bytes) => Ok(Some(u32::from_be_bytes(bytes))),
            Err(_) => Err(self.wrong("it is cut short")),
        }
    }

    fn check_sync(&mut self) -> Result<()> {
        let offset = self.input.at;
        let found: [u8; 16] = self.array()?;
        if found == self.sync {
            return Ok(());
        }
        Err(Damage { why: "a sync marker is not that of the header: the file is damaged before it".to_owned(), offset })
    }

    fn advance_plain(&mut self) -> Result<bool> {
        let Some(mut both) = self.length_or_end()? else { return Ok(false) };
        if both == SYNC_ESCAPE {
            self.check_sync()?;
            match self.length_or_end()? {
                Some(next) => both = next,
                None => return Ok(false),
            }
        }
        if u64::from(both) > RECORD_BYTES_MAX {
            return Err(self.wrong(too_long(both)));
        }
        let key_len = u32::from_be_bytes(self.array()?);
        if key_len > both {
            return Err(self.wrong(format!("a key of {key_len} bytes in a record of {both}")));
        }
        let read = read_bytes(&mut self.input, key_len.into(), &mut self.key);
        self.told(read)?;
        let len = u64::from(both - key_len);
        let read = read_bytes(&mut self.input, len, &mut self.value);
        self.told(read)?;
        if let Some(codec) = self.codec {
            let packed = Bytes::from(std::mem::take(&mut self.value));
            let unpacked = codec.unpack(packed).and_then(|stream| {
                stream.take(RECORD_BYTES_MAX + 1).read_to_end(&mut self.value)?;
                Ok(())
            });
            unpacked.map_err(|error| self.in_record(&format!("a value cannot be unpacked: {}", cut(&error))))?;
            if self.value.len() as u64 > RECORD_BYTES_MAX {
                return Err(self.in_record(&too_long("more")));
            }
        }
        self.check_key()?;
        Ok(true)
    }

    /// Damage of the record, or of the block that holds it.
    fn in_record(&self, why: &str) -> Damage {
        Damage { why: why.to_owned(), offset: self.offset }
    }

    fn check_key(&self) -> Result<()> {
        let stated = self.key.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize);
        if stated == Some(self.key.len().saturating_sub(4)) {
            return Ok(());
        }
        Err(self.in_record("a key is not as long as it says"))
    }

    fn advance_in_block(&mut self) -> Result<bool> {
        loop {
            let read = match &mut self.block {
                Some(block) if block.left > 0 => {
                    block.left -= 1;
                    block.take(&mut self.key, &mut self.value)
                }
                Some(block) => {
                    let ended = block.check_end();
                    ended.map_err(|error| self.in_record(&format!("a block cannot be unpacked: {}", cut(&error))))?;
                    self.block = None;
                    continue;
                }
                None => {
                    let Some(escape) = self.length_or_end()? else { return Ok(false) };
                    if escape != SYNC_ESCAPE {
                        return Err(self.in_record("a block does not begin with a sync marker"));
                    }
                    self.check_sync()?;
                    self.block = Some(self.read_block()?);
                    continue;
                }
            };
            read.map_err(|error| self.in_record(&format!("a block cannot be unpacked: {}", cut(&error))))?;
            self.check_key()?;
            return Ok(true);
        }
    }

    fn read_block(&mut self) -> Result<Block> {
        let n = read_vint(&mut self.input);
        let n = self.told(n)?;
        let Ok(left) = u64::try_from(n) else { return Err(self.wrong(format!("a block of {n} records"))) };
        let [key_lengths, keys, value_lengths, values] =
            [self.read_buffer()?, self.read_buffer()?, self.read_buffer()?, self.read_buffer()?];
        Ok(Block { left, key_lengths, keys, value_lengths, values })
    }

    fn read_buffer(&mut self) -> Result<Box<dyn Read + Send>> {
        let len = read_length(&mut self.input);
        let len = self.told(len)?;
        let mut packed = Vec::new();
        let read = read_bytes(&mut self.input, len, &mut packed);
        self.told(read)?;
        let codec = self.codec.expect("files in blocks are packed: the header was checked");
        // What is taken out of the streams comes a length at a time.
        let unpacked = codec.unpack(packed.into());
        Ok(Box::new(BufReader::new(self.told(unpacked)?)))
    }
}

impl Block {
    fn take(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> std::io::Result<()> {
        let len = read_length(&mut self.key_lengths)?;
        read_bytes(&mut self.keys, len, key)?;
        let len = read_length(&mut self.value_lengths)?;
        read_bytes(&mut self.values, len, value)
    }

    fn check_end(&mut self) -> std::io::Result<()> {
        for stream in [&mut self.key_lengths, &mut self.keys, &mut self.value_lengths, &mut self.values] {
            if stream.read(&mut [0])? > 0 {
                let why = "it holds more than its records";
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for SequenceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequenceFile").field("offset", &self.offset).field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// Adds the cells of a `Result` with its length before it.
///
/// # Errors
/// What is wrong with it; cells before that have been added.
pub fn cells(row: &[u8], mut value: Bytes, out: &mut Batch) -> std::result::Result<(), String> {
    const NOT_ONE: &str = "the value is not one Result as HBase 0.96 and newer write it";
    let len = decode_varint(&mut value).map_err(|_| NOT_ONE)?;
    if len != value.len() as u64 {
        return Err(NOT_ONE.to_owned());
    }
    // Cell by cell: a list of messages takes many times the bytes of short ones.
    while !value.is_empty() {
        let (field, wire) = decode_key(&mut value).map_err(|_| NOT_ONE)?;
        let number = decode_varint(&mut value).map_err(|_| NOT_ONE)?;
        match (field, wire) {
            (1, WireType::LengthDelimited) if number <= value.len() as u64 => {
                let message = value.split_to(number as usize);
                add(row, message, out)?;
            }
            (2, WireType::Varint) if number > 0 => return Err("its cells are not in the record".to_owned()),
            (2..=5, WireType::Varint) => {}
            _ => return Err(NOT_ONE.to_owned()),
        }
    }
    Ok(())
}

fn add(row: &[u8], message: Bytes, out: &mut Batch) -> std::result::Result<(), String> {
    let cell = pb::Cell::decode(message).map_err(|error| format!("a cell cannot be decoded: {error}"))?;
    if cell.row() != row {
        return Err("a cell is of another row than the record".to_owned());
    }
    model::schema::check_family(cell.family()).map_err(|error| error.to_string())?;
    let kind = cell.cell_type.and_then(|kind| u8::try_from(kind).ok()).map(CellType);
    let Some(kind) = kind.filter(|kind| kind.is_storable()) else {
        return Err(format!("a cell of type {:?}, which cannot be stored", cell.cell_type));
    };
    let Some(time) = cell.timestamp.and_then(|time| i64::try_from(time).ok()).filter(|time| *time < i64::MAX) else {
        return Err(format!("the timestamp {:?} cannot be stored", cell.timestamp));
    };
    out.add(row, cell.family(), cell.qualifier(), time, kind, cell.value(), cell.tags())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::CellRef;

    type Told = std::result::Result<Vec<String>, Damage>;

    /// Cells as the makers of the golden files print them.
    fn read(bytes: Vec<u8>) -> Told {
        let mut file = SequenceFile::open(Box::new(std::io::Cursor::new(bytes)))?;
        let mut out = Vec::new();
        while file.advance()? {
            let mut cells = Batch::default();
            file.cells(&mut cells).map_err(|why| Damage { why, offset: file.offset() })?;
            out.extend(cells.iter().map(shown));
        }
        Ok(out)
    }

    fn shown(cell: CellRef<'_>) -> String {
        let hex = |bytes: &[u8]| match bytes {
            [] => "-".to_owned(),
            _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let (row, family, qualifier) = (hex(cell.row()), hex(cell.family()), hex(cell.qualifier()));
        let (time, kind) = (cell.timestamp(), cell.cell_type().0);
        format!("{row} {family} {qualifier} {time} {kind} {} {}", hex(cell.value()), hex(cell.tags()))
    }

    /// Written by Hadoop's and HBase's classes: `golden/make`.
    fn golden() -> (Vec<(String, Vec<u8>)>, Vec<String>) {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let entries = std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let files = entries.filter(|path| path.extension().is_some_and(|end| end == "seq"));
        let name = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        let files: Vec<_> = files.map(|path| (name(&path), std::fs::read(&path).expect("a file"))).collect();
        assert_eq!(files.len(), 11);
        let cells = std::fs::read_to_string(folder.join("cells.txt")).expect("cells");
        (files, cells.lines().map(str::to_owned).collect())
    }

    #[test]
    fn what_hadoop_wrote_is_read_in_all_compressions() {
        let (files, cells) = golden();
        for (name, bytes) in files {
            assert_eq!(read(bytes).expect(&name), cells, "{name}");
        }
    }

    #[test]
    fn files_that_are_cut_or_damaged_are_told_with_their_place() {
        let (files, cells) = golden();
        for (name, bytes) in files {
            for len in 0..bytes.len() {
                match read(bytes[..len].to_vec()) {
                    // Between two records nobody can see that more should come.
                    Ok(read) => assert!(read.len() < cells.len() && cells.starts_with(&read), "{name} {len}"),
                    Err(damage) => assert!(damage.offset <= len as u64, "{name} {len}: {damage:?}"),
                }
            }
            for at in 0..bytes.len() {
                let mut hurt = bytes.clone();
                hurt[at] ^= 0xff;
                if let Err(damage) = read(hurt) {
                    assert!(damage.offset <= bytes.len() as u64 && !damage.why.is_empty(), "{name} {at}: {damage:?}");
                }
            }
        }
    }

    #[test]
    fn a_sync_marker_that_is_another_is_told() {
        let (files, _) = golden();
        for name in ["none.seq", "block-DefaultCodec.seq"] {
            let (_, mut bytes) = files.iter().find(|(known, _)| known == name).expect("golden").clone();
            let escape = bytes.windows(4).rposition(|four| four == [0xff; 4]).expect("a sync marker");
            bytes[escape + 7] ^= 1;
            let damage = read(bytes).expect_err("refused");
            assert!(damage.why.contains("sync marker"), "{name}: {damage:?}");
            assert_eq!(damage.offset, escape as u64 + 4);
        }
    }

    fn text(name: &str) -> Vec<u8> {
        [&[name.len() as u8], name.as_bytes()].concat()
    }

    fn header(version: u8, key: &str, value: &str, rest: &[u8]) -> Vec<u8> {
        [&b"SEQ"[..], &[version], &text(key), &text(value), rest].concat()
    }

    #[test]
    fn older_headers_are_read() {
        let sync = [7; 16];
        for (version, packed, rest) in
            [(4, false, &[0, 0][..]), (5, false, &[0, 0]), (4, true, &[1, 0]), (6, false, &[0, 0, 0, 0, 0, 0])]
        {
            let message = pb::Cell {
                row: Some("r".into()),
                family: Some("f".into()),
                timestamp: Some(3),
                cell_type: Some(4),
                value: Some("v".into()),
                ..pb::Cell::default()
            };
            let value = pb::Result { cell: vec![message], ..pb::Result::default() }.encode_length_delimited_to_vec();
            let mut packed_value = value.clone();
            if packed {
                packed_value.clear();
                let mut encoder = flate2::read::ZlibEncoder::new(&value[..], flate2::Compression::fast());
                encoder.read_to_end(&mut packed_value).expect("packed");
            }
            let lengths = [5 + packed_value.len() as u32, 5].map(u32::to_be_bytes).concat();
            let record = [&lengths[..], &[0, 0, 0, 1, b'r'], &packed_value].concat();
            let file = [header(version, KEY_CLASS, VALUE_CLASS, rest), sync.to_vec(), record].concat();
            assert_eq!(read(file).expect("good"), ["72 66 - 3 4 76 -"], "version {version}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let codec = |class: &str| [&[1, 0][..], &text(class)].concat();
        for (file, why) in [
            (b"PAR1".to_vec(), "begin with SEQ"),
            (header(3, KEY_CLASS, VALUE_CLASS, &[]), "version 3"),
            (header(6, "org.apache.hadoop.io.Text", VALUE_CLASS, &[]), "keys are org.apache.hadoop.io.Text"),
            (header(6, KEY_CLASS, "org.apache.hadoop.hbase.client.Put", &[]), "values are"),
            (header(6, KEY_CLASS, VALUE_CLASS, &[0, 1]), "not packed"),
            (header(6, KEY_CLASS, VALUE_CLASS, &[2]), "flag"),
            (header(6, KEY_CLASS, VALUE_CLASS, &codec("org.apache.hadoop.io.compress.BZip2Codec")), "BZip2Codec"),
            (header(6, KEY_CLASS, VALUE_CLASS, &[0, 0, 0xff, 0, 0, 0]), "metadata"),
        ] {
            let damage = read(file).expect_err("refused");
            assert!(damage.why.contains(why), "{why}: {damage:?}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_memory_is_given() {
        let head = [header(6, KEY_CLASS, VALUE_CLASS, &[0, 0, 0, 0, 0, 0]), vec![7; 16]].concat();
        for (lengths, why) in [
            ([0x7fff_ffff, 5], "a length of 2147483647 bytes"),
            ([0x0fff_ffff, 5], "cut short"),
            ([8, 9], "a key of 9 bytes in a record of 8"),
        ] {
            let file = [head.clone(), lengths.map(u32::to_be_bytes).concat(), vec![0; 6]].concat();
            let damage = read(file).expect_err("refused");
            assert!(damage.why.contains(why), "{damage:?}");
        }
    }

    #[test]
    fn bad_records_are_told() {
        let good = pb::Cell {
            row: Some("r".into()),
            family: Some("f".into()),
            timestamp: Some(3),
            cell_type: Some(4),
            ..pb::Cell::default()
        };
        for (bad, why) in [
            (pb::Cell { row: Some("s".into()), ..good.clone() }, "another row"),
            (pb::Cell { family: None, ..good.clone() }, "famil"),
            (pb::Cell { cell_type: Some(255), ..good.clone() }, "type"),
            (pb::Cell { timestamp: Some(u64::MAX), ..good.clone() }, "timestamp"),
            (pb::Cell { timestamp: None, ..good.clone() }, "timestamp"),
            (pb::Cell { tags: Some("xxxx".into()), ..good.clone() }, "tag"),
        ] {
            let result = pb::Result { cell: vec![good.clone(), bad], ..pb::Result::default() };
            let mut out = Batch::default();
            let told = cells(b"r", result.encode_length_delimited_to_vec().into(), &mut out).expect_err("bad");
            assert!(told.contains(why) && out.len() == 1, "{why}: {told}");
        }
        let elsewhere = pb::Result { associated_cell_count: Some(1), ..pb::Result::default() };
        assert!(cells(b"r", elsewhere.encode_length_delimited_to_vec().into(), &mut Batch::default()).is_err());
        let trailing =
            [pb::Result { cell: vec![good], ..pb::Result::default() }.encode_length_delimited_to_vec(), vec![0]];
        assert!(cells(b"r", trailing.concat().into(), &mut Batch::default()).is_err());
    }
}
