//! What a Parquet file claims of its sizes, looked at before a decoder believes it. The only I/O is that of the file given.
//!
//! ```text
//! "PAR1" | column chunks: { page header | page } … | footer | length of the footer | "PAR1"
//! ```
//!
//! Always true
//! - What passes needs no more memory than it says, and lies inside the file; the depth of the schema is bounded.
//! - Pages of codecs that do not state a length are unpacked once here, to nowhere, if they could become more than they claim; pages that
//!   begin with lists of lengths are unpacked, too, as the decoder believes how long those say they are.

use std::io::Read;

use parquet::basic::Compression;

/// A file that is read at any place, by several readers at once.
pub trait RandomRead: Send + Sync {
    /// Its bytes when it was opened.
    fn size(&self) -> u64;
    /// Bytes from `offset` on; none only at the end.
    ///
    /// # Errors
    /// Storage fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize>;
}

/// First and last bytes of the files.
pub const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes behind the footer: its length, and the magic.
const TAIL: usize = 8;
/// Deepest schema that is looked at.
const DEPTH_MAX: usize = 64;
/// Longest header of a page in bytes.
const HEADER_BYTES_MAX: usize = 4 << 20;
/// Bytes read for a header at first.
const HEADER_BYTES: usize = 4 << 10;
/// More bytes than a byte of gzip, of LZ4 can become.
const GZIP_RATIO_MAX: u64 = 1032;
const LZ4_RATIO_MAX: u64 = 256;
/// First bytes of LZ4's own frames.
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// What a value in memory takes besides its bytes.
const VALUE_OVERHEAD: u64 = 16;
/// Text and bytes behind a list of their lengths.
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
/// Values that repeat the beginning of the one before: they may become as long as their page. Two lists of lengths stand before them.
const DELTA_BYTE_ARRAY: i64 = 7;

/// What is wrong, and where.
pub type Flaw = (String, u64);

/// Thrift's compact protocol, as far as it is needed to walk over it.
struct Thrift<'a> {
    data: &'a [u8],
    at: usize,
}

/// Why a walk ended.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The bytes at hand do not reach.
    Short,
    /// It is no such thing.
    Wrong,
}

impl Thrift<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let byte = *self.data.get(self.at).ok_or(Stop::Short)?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64, Stop> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Stop::Wrong)
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let number = self.varint()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// The next field's number and type; nothing at the end of the struct.
    fn field(&mut self, last: &mut i64) -> Result<Option<(i64, u8)>, Stop> {
        let head = self.byte()?;
        if head & 0x0f == 0 {
            return Ok(None);
        }
        *last = if head >> 4 == 0 { self.number()? } else { *last + i64::from(head >> 4) };
        if i16::try_from(*last).is_err() {
            return Err(Stop::Wrong);
        }
        Ok(Some((*last, head & 0x0f)))
    }

    fn pass(&mut self, bytes: u64) -> Result<(), Stop> {
        let left = (self.data.len() - self.at) as u64;
        if bytes > left {
            return Err(Stop::Short);
        }
        self.at += bytes as usize;
        Ok(())
    }

    fn list(&mut self) -> Result<(u64, u8), Stop> {
        let head = self.byte()?;
        let n = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Ok((n, head & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Wrong);
        }
        match kind {
            1 | 2 => Ok(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let len = self.varint()?;
                self.pass(len)
            }
            9 | 10 => {
                let (n, kind) = self.list()?;
                (0..n).try_for_each(|_| self.skip_element(kind, depth + 1))
            }
            11 => {
                let n = self.varint()?;
                let kinds = if n > 0 { self.byte()? } else { 0 };
                (0..n).try_for_each(|_| {
                    self.skip_element(kinds >> 4, depth + 1)?;
                    self.skip_element(kinds & 0x0f, depth + 1)
                })
            }
            12 => {
                let mut last = 0;
                while let Some((_, kind)) = self.field(&mut last)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            _ => Err(Stop::Wrong),
        }
    }

    /// An element takes bytes: no number of them is passed without as many. Flags, of which Parquet has no lists in footers and headers, would
    /// take one each; those who read the file behind this check take them for nothing, and then whatever follows for something else.
    fn skip_element(&mut self, kind: u8, depth: usize) -> Result<(), Stop> {
        if matches!(kind, 1 | 2) { Err(Stop::Wrong) } else { self.skip(kind, depth) }
    }

    /// The numbers among a struct's fields that are below 10; flags are 1 and 0.
    fn numbers(
        &mut self,
        mut inner: impl FnMut(&mut Self, i64) -> Result<bool, Stop>,
    ) -> Result<[Option<i64>; 10], Stop> {
        let (mut found, mut last) = ([None; 10], 0);
        while let Some((field, kind)) = self.field(&mut last)? {
            let place = usize::try_from(field).ok().filter(|field| *field < found.len());
            match (place, kind) {
                (Some(place), 1 | 2) => found[place] = Some(i64::from(kind == 1)),
                (Some(place), 4..=6) => found[place] = Some(self.number()?),
                (Some(_), 12) if inner(self, field)? => {}
                _ => self.skip(kind, 0)?,
            }
        }
        Ok(found)
    }
}

/// Fills `out` from a place, as far as the file goes.
fn read_at(file: &dyn RandomRead, offset: u64, out: &mut [u8]) -> Result<usize, Flaw> {
    let mut done = 0;
    while done < out.len() {
        match file.read_at(offset + done as u64, &mut out[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err((error.to_string(), offset)),
        }
    }
    Ok(done)
}

/// Checks ends and footer of a file; answers where the footer begins.
pub fn check_footer(file: &dyn RandomRead, bytes_max: u64) -> Result<u64, Flaw> {
    let size = file.size();
    let mut head = [0; 4];
    let mut tail = [0; TAIL];
    let whole = size >= (MAGIC.len() + TAIL) as u64
        && read_at(file, 0, &mut head)? == head.len()
        && read_at(file, size - TAIL as u64, &mut tail)? == TAIL;
    if !whole || &head != MAGIC {
        return Err(("it is no Parquet file: it does not begin with PAR1".to_owned(), 0));
    }
    let (len, magic) = tail.split_at(4);
    if magic != MAGIC {
        return Err(("the Parquet file is cut short, or encrypted: it does not end with PAR1".to_owned(), size - 4));
    }
    let len = u64::from(u32::from_le_bytes(len.try_into().expect("four bytes")));
    let at = size - TAIL as u64;
    if len > at - MAGIC.len() as u64 {
        return Err((format!("a footer of {len} bytes is longer than the file"), at));
    }
    if len > bytes_max {
        let why = format!("a footer of {len} bytes, {bytes_max} may be: give more --memory");
        return Err((why, at - len));
    }
    let mut footer = vec![0; len as usize];
    if read_at(file, at - len, &mut footer)? < footer.len() {
        return Err(("the file became shorter".to_owned(), at));
    }
    check_schema(&footer).map_err(|why| (why, at - len))?;
    Ok(at - len)
}

/// Checks that the schema is a tree of bounded depth.
fn check_schema(footer: &[u8]) -> Result<(), String> {
    let no_footer = |_: Stop| "the footer cannot be decoded".to_owned();
    let mut thrift = Thrift { data: footer, at: 0 };
    let mut last = 0;
    while let Some((field, kind)) = thrift.field(&mut last).map_err(no_footer)? {
        if (field, kind) != (2, 9) {
            thrift.skip(kind, 0).map_err(no_footer)?;
            continue;
        }
        let (n, _) = thrift.list().map_err(no_footer)?;
        // Children that are still to come, of each group that is open.
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..n {
            let numbers = thrift.numbers(|_, _| Ok(false)).map_err(no_footer)?;
            if let Some(children) = open.last_mut() {
                *children -= 1;
            }
            if let Some(children) = numbers[5].filter(|children| *children > 0) {
                open.push(children);
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if open.len() > DEPTH_MAX {
                return Err(format!("its columns are nested more than {DEPTH_MAX} deep"));
            }
        }
    }
    Ok(())
}

/// A column's part of a row group.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Where it begins.
    pub start: u64,
    /// Its bytes.
    pub bytes: u64,
    /// How its pages are packed.
    pub compression: Compression,
    /// Lists of levels before a page's values: for what may be null, and for what is repeated.
    pub levels: u8,
}

/// What reading a chunk takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes of what is held of it at a time, besides rows that were read.
    pub held: u64,
    /// Most bytes of a value, averaged over a page.
    pub per_value: u64,
}

#[derive(Debug)]
struct Page {
    is_dictionary: bool,
    unpacked: u64,
    packed: u64,
    values: u64,
    encoding: Option<i64>,
    is_second_version: bool,
    /// Bytes before what is packed.
    plain: u64,
    is_packed: bool,
}

/// Walks over the headers of a chunk's pages.
pub fn check_chunk(file: &dyn RandomRead, chunk: Chunk, page_max: u64) -> Result<Needs, Flaw> {
    let (mut at, size) = (chunk.start, file.size());
    let end = match chunk.start.checked_add(chunk.bytes) {
        Some(end) if end <= size => end,
        _ => return Err(("a column reaches over the end of the file".to_owned(), chunk.start)),
    };
    let (mut needs, mut largest, mut dictionary, mut window) = (Needs::default(), 0, 0, Vec::new());
    while at < end {
        let (page, header_len) = page_at(file, at, end, &mut window)?;
        let begins = at + header_len;
        if page.packed > end - begins {
            return Err(("a page reaches over the end of its column".to_owned(), at));
        }
        if page.unpacked.max(page.packed) > page_max {
            let len = page.unpacked.max(page.packed);
            return Err((format!("a page of {len} bytes, {page_max} may be: give more --memory"), at));
        }
        if page.is_dictionary && page.values > page.unpacked || page.plain > page.packed.min(page.unpacked) {
            return Err(("the numbers of a page's header contradict each other".to_owned(), at));
        }
        check_unpacked(file, &page, begins, chunk.compression, page_max)?;
        if matches!(page.encoding, Some(DELTA_LENGTH_BYTE_ARRAY | DELTA_BYTE_ARRAY)) {
            check_lengths(file, &page, begins, chunk)?;
        }
        if page.is_dictionary {
            dictionary = page.unpacked + page.values * VALUE_OVERHEAD;
        } else if page.values > 0 {
            largest = largest.max(page.unpacked + page.packed);
            let prefixed = page.encoding == Some(DELTA_BYTE_ARRAY);
            let per_value = if prefixed { page.unpacked } else { page.unpacked.div_ceil(page.values) };
            needs.per_value = needs.per_value.max(per_value);
        }
        at = begins + page.packed;
    }
    needs.held = dictionary + 2 * largest;
    needs.per_value += VALUE_OVERHEAD;
    Ok(needs)
}

fn page_at(file: &dyn RandomRead, at: u64, end: u64, window: &mut Vec<u8>) -> Result<(Page, u64), Flaw> {
    let mut len = HEADER_BYTES;
    loop {
        let most = usize::try_from(end - at).unwrap_or(len).min(len);
        window.resize(most, 0);
        let read = read_at(file, at, window)?;
        let mut thrift = Thrift { data: &window[..read], at: 0 };
        match page_header(&mut thrift) {
            Ok(page) => return Ok((page, thrift.at as u64)),
            Err(Stop::Short) if most == len && read == most && len < HEADER_BYTES_MAX => len *= 8,
            Err(_) => return Err(("a page's header cannot be decoded".to_owned(), at)),
        }
    }
}

fn page_header(thrift: &mut Thrift<'_>) -> Result<Page, Stop> {
    let (mut of_page, mut found) = ([None; 10], None);
    let numbers = thrift.numbers(|thrift, field| {
        if !matches!(field, 5 | 7 | 8) {
            return Ok(false);
        }
        of_page = thrift.numbers(|_, _| Ok(false))?;
        found = Some(field);
        Ok(true)
    })?;
    let length = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).ok_or(Stop::Wrong);
    let of_levels = |number: Option<i64>| if found == Some(8) { length(number) } else { Ok(0) };
    Ok(Page {
        is_dictionary: found == Some(7),
        unpacked: length(numbers[2])?,
        packed: length(numbers[3])?,
        values: length(of_page[1].or(Some(0)))?,
        encoding: match found {
            Some(5) => of_page[2],
            Some(8) => of_page[4],
            _ => None,
        },
        is_second_version: found == Some(8),
        plain: of_levels(of_page[5])?.saturating_add(of_levels(of_page[6])?),
        is_packed: found != Some(8) || of_page[7] != Some(0),
    })
}

/// Unpacks what could become more than it claims, to nowhere.
fn check_unpacked(
    file: &dyn RandomRead,
    page: &Page,
    begins: u64,
    compression: Compression,
    page_max: u64,
) -> Result<(), Flaw> {
    let ratio = match compression {
        Compression::GZIP(_) => GZIP_RATIO_MAX,
        Compression::LZ4 => LZ4_RATIO_MAX,
        _ => return Ok(()),
    };
    if !page.is_packed || page.packed.saturating_mul(ratio) <= page_max {
        return Ok(());
    }
    let mut packed = vec![0; (page.packed - page.plain) as usize];
    if read_at(file, begins + page.plain, &mut packed)? < packed.len() {
        return Err(("a page is cut short".to_owned(), begins));
    }
    let stream: Box<dyn Read + '_> = match compression {
        Compression::LZ4 if !packed.starts_with(&LZ4_FRAME) => return Ok(()),
        Compression::LZ4 => Box::new(lz4_flex::frame::FrameDecoder::new(&packed[..])),
        _ => Box::new(flate2::read::MultiGzDecoder::new(&packed[..])),
    };
    let most = page.unpacked - page.plain;
    match std::io::copy(&mut stream.take(most + 1), &mut std::io::sink()) {
        Ok(n) if n <= most => Ok(()),
        Ok(_) => Err(("a page becomes longer than its header says".to_owned(), begins)),
        Err(error) => Err((format!("a page cannot be unpacked: {error}"), begins)),
    }
}

/// Checks how many lengths a page of text or bytes says it begins with.
fn check_lengths(file: &dyn RandomRead, page: &Page, begins: u64, chunk: Chunk) -> Result<(), Flaw> {
    let mut packed = vec![0; (page.packed - page.plain) as usize];
    if read_at(file, begins + page.plain, &mut packed)? < packed.len() {
        return Err(("a page is cut short".to_owned(), begins));
    }
    let whole = unpack(packed, page, chunk.compression).map_err(|why| (why, begins))?;
    let lists = if page.encoding == Some(DELTA_BYTE_ARRAY) { 2 } else { 1 };
    let levels = if page.is_second_version { 0 } else { chunk.levels };
    if pass_lengths(&whole, levels, lists, page.values).is_ok() {
        return Ok(());
    }
    Err(("a page does not begin with the lengths of its values".to_owned(), begins))
}

fn unpack(packed: Vec<u8>, page: &Page, compression: Compression) -> Result<Vec<u8>, String> {
    let len = (page.unpacked - page.plain) as usize;
    let wrong = |error: &dyn std::fmt::Display| format!("a page cannot be unpacked: {error}");
    // A page without values has nothing to unpack.
    if !page.is_packed || len == 0 {
        return Ok(packed);
    }
    match compression {
        Compression::UNCOMPRESSED => Ok(packed),
        Compression::SNAPPY => {
            let mut out = vec![0; len];
            snap::raw::Decoder::new().decompress(&packed, &mut out).map_err(|error| wrong(&error))?;
            Ok(out)
        }
        Compression::LZ4_RAW => lz4_flex::block::decompress(&packed, len).map_err(|error| wrong(&error)),
        Compression::ZSTD(_) => zstd::bulk::decompress(&packed, len).map_err(|error| wrong(&error)),
        Compression::GZIP(_) => {
            let mut out = Vec::new();
            let stream = flate2::read::MultiGzDecoder::new(&packed[..]).take(len as u64);
            { stream }.read_to_end(&mut out).map_err(|error| wrong(&error))?;
            Ok(out)
        }
        other => Err(format!("a page with lists of lengths in {other} is not supported")),
    }
}

/// Passes over levels and lists of lengths, none of which may be longer than `values`.
fn pass_lengths(page: &[u8], levels: u8, lists: u8, values: u64) -> Result<(), Stop> {
    let mut walk = Thrift { data: page, at: 0 };
    for _ in 0..levels {
        let len = page.get(walk.at..walk.at + 4).ok_or(Stop::Short)?;
        walk.pass(4 + u64::from(u32::from_le_bytes(len.try_into().expect("four bytes"))))?;
    }
    for _ in 0..lists {
        let (block, parts, n) = (walk.varint()?, walk.varint()?, walk.varint()?);
        walk.varint()?;
        if n > values || parts == 0 || block == 0 || block % parts != 0 || parts > page.len() as u64 {
            return Err(Stop::Wrong);
        }
        let mut left = n.saturating_sub(1);
        while left > 0 {
            walk.varint()?;
            let widths = walk.at;
            walk.pass(parts)?;
            for width in &page[widths..widths + parts as usize] {
                if left == 0 {
                    break;
                }
                walk.pass((block / parts).checked_mul(u64::from(*width)).ok_or(Stop::Wrong)?.div_ceil(8))?;
                left = left.saturating_sub(block / parts);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Memory(Vec<u8>);

    impl RandomRead for Memory {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
            let from = self.0.get(offset as usize..).unwrap_or_default();
            let n = from.len().min(out.len());
            out[..n].copy_from_slice(&from[..n]);
            Ok(n)
        }
    }

    fn varint(mut number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
        out
    }

    /// A header as the format has it: type, both lengths, and of the kind of page (5 data, 7 dictionary) values and encoding.
    fn page(kind: u8, unpacked: u64, values: u64, encoding: u64, packed: &[u8]) -> Vec<u8> {
        let number = |number: u64| [vec![0x15], varint(number << 1)].concat();
        let of_kind = [vec![(kind - 3) << 4 | 12], number(values), number(encoding), vec![0]].concat();
        [number(0), number(unpacked), number(packed.len() as u64), of_kind, vec![0], packed.to_vec()].concat()
    }

    fn check(pages: &[Vec<u8>], compression: Compression) -> Result<Needs, Flaw> {
        let file = Memory(pages.concat());
        let chunk = Chunk { start: 0, bytes: file.size(), compression, levels: 0 };
        check_chunk(&file, chunk, 900_000)
    }

    #[test]
    fn a_chunk_needs_its_dictionary_and_two_pages() {
        let pages = [page(7, 100, 10, 0, &[1; 60]), page(5, 1000, 10, 8, &[2; 300]), page(5, 2000, 50, 0, &[3; 500])];
        let needs = check(&pages, Compression::SNAPPY).expect("good");
        assert_eq!(needs, Needs { held: 100 + 10 * 16 + 2 * 2500, per_value: 100 + 16 });
        // Two lists of one length each, then a value.
        let lengths = [&[0x80, 1, 4, 1, 0, 0x80, 1, 4, 1, 4][..], b"abcd"].concat();
        let prefixed = [page(5, lengths.len() as u64, 2, DELTA_BYTE_ARRAY as u64, &lengths)];
        assert_eq!(check(&prefixed, Compression::UNCOMPRESSED).expect("good").per_value, 14 + 16);
    }

    #[test]
    fn claims_that_cannot_be_are_refused() {
        for (pages, why) in [
            (vec![page(5, 2 << 30, 10, 0, &[1; 60])], "a page of 2147483648 bytes"),
            (vec![page(5, 2 << 20, 10, 0, &[1; 60])], "give more --memory"),
            (vec![page(7, 100, 1 << 40, 0, &[1; 60])], "contradict"),
            (vec![page(5, 100, 10, 0, &[1; 60])[..40].to_vec()], "over the end of its column"),
            (vec![vec![0xff; 300]], "cannot be decoded"),
            (vec![[&[0x18][..], &varint(1 << 40)].concat()], "cannot be decoded"),
        ] {
            let (told, at) = check(&pages, Compression::SNAPPY).expect_err("refused");
            assert!(told.contains(why) && at == 0, "{why}: {told}");
        }
        let chunk = Chunk { start: 5, bytes: u64::MAX - 2, compression: Compression::SNAPPY, levels: 0 };
        assert!(check_chunk(&Memory(vec![0; 9]), chunk, 1 << 20).is_err());
    }

    #[test]
    fn pages_that_become_longer_than_they_say_are_refused() {
        let text = vec![b'x'; 900_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).expect("packed");
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(&text).expect("packed");
        let packed = [
            (Compression::GZIP(parquet::basic::GzipLevel::default()), gzip.finish().expect("packed")),
            (Compression::LZ4, lz4.finish().expect("packed")),
        ];
        for (compression, packed) in packed {
            let len = text.len() as u64;
            assert!(check(&[page(5, len, 10, 0, &packed)], compression).is_ok(), "{compression:?}");
            let (told, _) = check(&[page(5, len - 1, 10, 0, &packed)], compression).expect_err("refused");
            assert!(told.contains("longer than its header says"), "{told}");
        }
    }

    #[test]
    fn lists_of_lengths_are_not_longer_than_the_page_has_values() {
        let list = |n: u64, width: u8| {
            let block = [vec![0], vec![width, 0, 0, 0], vec![0; 4 * usize::from(width)]].concat();
            [varint(128), varint(4), varint(n), vec![0], if n > 1 { block } else { Vec::new() }].concat()
        };
        let checked = |lists: &[Vec<u8>], encoding: i64| {
            let page = page(5, lists.concat().len() as u64, 9, encoding as u64, &lists.concat());
            check(&[page], Compression::UNCOMPRESSED).map_err(|(why, _)| why)
        };
        assert!(checked(&[list(9, 3)], DELTA_LENGTH_BYTE_ARRAY).is_ok());
        assert!(checked(&[list(9, 3), list(9, 0)], DELTA_BYTE_ARRAY).is_ok());
        for (lists, encoding) in [
            (vec![list(1 << 40, 0)], DELTA_LENGTH_BYTE_ARRAY),
            (vec![list(10, 3)], DELTA_LENGTH_BYTE_ARRAY),
            (vec![list(9, 3), list(1 << 40, 0)], DELTA_BYTE_ARRAY),
            (vec![list(9, 3)], DELTA_BYTE_ARRAY),
            (vec![vec![0; 20]], DELTA_LENGTH_BYTE_ARRAY),
        ] {
            let why = checked(&lists, encoding).expect_err("refused");
            assert!(why.contains("lengths of its values"), "{why}");
        }
    }

    #[test]
    fn schemas_that_are_too_deep_are_refused() {
        // FileMetaData { 2: list of SchemaElement { 5: one child } }, then a leaf.
        let footer = |depth: usize| {
            let groups = [0x55, 0x02, 0x00].repeat(depth);
            [&[0x29, 0xfc][..], &varint(depth as u64 + 1), &groups, &[0x00, 0x00]].concat()
        };
        assert_eq!(check_schema(&footer(DEPTH_MAX)), Ok(()));
        assert!(check_schema(&footer(DEPTH_MAX + 1)).expect_err("refused").contains("nested"));
        assert!(check_schema(&footer(3)[..6]).is_err());
    }

    #[test]
    fn lists_of_flags_are_refused() {
        // Field 9: a list of two numbers, or flags; then of a map from numbers to flags.
        for (list, is_good) in
            [([0x99, 0x25, 2, 2, 0], true), ([0x99, 0x21, 1, 1, 0], false), ([0x99, 0x22, 1, 1, 0], false)]
        {
            assert_eq!(check_schema(&list).is_ok(), is_good, "{list:?}");
        }
        assert!(check_schema(&[0x9b, 1, 0x55, 2, 2, 0]).is_ok());
        assert!(check_schema(&[0x9b, 1, 0x51, 2, 1, 0]).is_err());
    }

    #[test]
    fn footers_lie_inside_the_file_and_are_not_too_long() {
        let file = |len: u32, bytes: usize| [&MAGIC[..], &vec![0; bytes], &len.to_le_bytes(), MAGIC].concat();
        assert_eq!(check_footer(&Memory(file(10, 10)), 100), Ok(4));
        for (bytes, why) in [
            (file(11, 10), "longer than the file"),
            (file(u32::MAX, 10), "longer than the file"),
            (file(200, 200), "give more --memory"),
            (b"PAR1PAR1".to_vec(), "does not begin"),
            (vec![b'x'; 100], "does not begin"),
            (file(10, 10)[..21].to_vec(), "cut short"),
        ] {
            let (told, _) = check_footer(&Memory(bytes), 100).expect_err("refused");
            assert!(told.contains(why), "{why}: {told}");
        }
    }
}
