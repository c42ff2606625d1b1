//! The column filter: which qualifiers a file holds, in a META block that HBase ignores (`docs/formats/hfile.md`).
//!
//! Always true
//! - A qualifier of any cell that was added is found in the filter made of it.
//! - There is no filter for a file with family deletes, nor for one with more than [`COLUMNS_MAX`] qualifiers.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use bloomfilter::Bloom;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Result, StorageError};

/// Name of the META block.
pub const META_NAME: &str = "FERROBASE_COLUMNS";
const MAGIC: &[u8; 8] = b"FBCOLUMN";
const VERSION: u32 = 1;
const WHAT: &str = "column filter";

/// Most qualifiers of a filter: 20 KiB. A file with more holds columns that are not rare, or names made of data.
pub const COLUMNS_MAX: usize = 1 << 14;
/// Filters of few qualifiers are made for so many: in a few bits the hash functions would fall together.
const COLUMNS_MIN: usize = 50;
/// Largest number of hash functions that is believed.
const HASHES_MAX: u32 = 64;
/// Keys are hashes already: a fixed seed makes equal files equal.
const SEED: [u8; 32] = *b"ferrobase column filter, seed 01";

/// Takes hashes for what they are.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Collects the qualifiers of a file's cells.
#[derive(Debug, Default)]
pub(super) struct ColumnsBuilder {
    hashes: HashSet<u64, BuildHasherDefault<AsIs>>,
    last: Vec<u8>,
    too_many: bool,
}

impl ColumnsBuilder {
    /// Adds the qualifier of the next cell.
    pub fn add(&mut self, qualifier: &[u8]) {
        if self.too_many || (self.last == qualifier && !self.hashes.is_empty()) {
            return;
        }
        self.last.clear();
        self.last.extend_from_slice(qualifier);
        self.hashes.insert(xxh3_64(qualifier));
        if self.hashes.len() > COLUMNS_MAX {
            self.too_many = true;
            self.hashes = HashSet::default();
        }
    }

    /// Body of the META block; `None` if there were no cells or too many qualifiers.
    pub fn finish(&self) -> Option<Bytes> {
        if self.hashes.is_empty() {
            return None;
        }
        let mut bloom =
            Bloom::<u64>::new_for_fp_rate_with_seed(self.hashes.len().max(COLUMNS_MIN), 0.01, &SEED).ok()?;
        self.hashes.iter().for_each(|hash| bloom.set(hash));
        let mut out = BytesMut::new();
        out.put_slice(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(self.hashes.len() as u32);
        out.put_slice(bloom.as_slice());
        Some(out.freeze())
    }
}

/// A filter that was read.
#[derive(Debug)]
pub(super) struct Columns(Bloom<u64>);

impl Columns {
    /// Reads the META block's body. A newer version is no filter: leaving it out is never wrong.
    pub fn decode(mut body: &[u8], file: &str) -> Result<Option<Columns>> {
        let bad = |why: &str| StorageError::corrupt(WHAT, file, 0, why);
        if body.len() < 16 || body[..8] != MAGIC[..] {
            return Err(bad("the magic is wrong"));
        }
        body.advance(8);
        match body.get_u32() {
            VERSION => {}
            0 => return Err(bad("the version is wrong")),
            _ => return Ok(None),
        }
        let _count = body.get_u32();
        let bloom = Bloom::from_slice(body).map_err(bad)?;
        if bloom.is_empty() || bloom.number_of_hash_functions() > HASHES_MAX {
            return Err(bad("its size is wrong"));
        }
        Ok(Some(Columns(bloom)))
    }

    /// Whether the file may hold a cell of the column.
    pub fn may_contain(&self, qualifier: &[u8]) -> bool {
        self.0.check(&xxh3_64(qualifier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(names: impl IntoIterator<Item = String>) -> Option<Bytes> {
        let mut builder = ColumnsBuilder::default();
        names.into_iter().for_each(|name| builder.add(name.as_bytes()));
        builder.finish()
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        for n in [1usize, 2, 50, COLUMNS_MAX] {
            let body = built((0..n).map(|i| format!("q{i}"))).expect("a filter");
            assert!(body.len() < 130 + n * 10 / 8, "{n}: {} bytes", body.len());
            let columns = Columns::decode(&body, "f").expect("sound").expect("known");
            assert!((0..n).all(|i| columns.may_contain(format!("q{i}").as_bytes())));
            let wrong = (0..10_000).filter(|i| columns.may_contain(format!("other{i}").as_bytes())).count();
            assert!(wrong < 400, "{n}: {wrong} of 10000");
        }
        let nameless = Columns::decode(&built([String::new()]).expect("a filter"), "f").expect("sound").expect("known");
        assert!(nameless.may_contain(b""));
    }

    #[test]
    fn no_cells_or_too_many_qualifiers_make_no_filter() {
        assert_eq!(built([]), None);
        assert_eq!(built((0..=COLUMNS_MAX).map(|i| format!("q{i}"))), None);
    }

    #[test]
    fn bytes_are_those_of_the_format_page() {
        let body = built(["a".to_owned()]).expect("a filter");
        let seed = hex::encode(b"ferrobase column filter, seed 01");
        let expected = format!("4642434f4c554d4e0000000100000001013c00000000000000{}{seed}", "07000000");
        assert!(hex::encode(&body).starts_with(&expected), "{}", hex::encode(&body));
    }

    #[test]
    fn damage_is_named_and_a_newer_version_ignored() {
        let good = built((0..20).map(|i| format!("q{i}"))).expect("a filter");
        for at in 0..good.len() {
            if let Err(error) = Columns::decode(&good[..at], "the file") {
                assert!(error.to_string().contains("`the file`"));
            }
            for bit in 0..8 {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                drop(Columns::decode(&bad, "f").map(|columns| columns.map(|c| c.may_contain(b"q1"))));
            }
        }
        let mut newer = good.to_vec();
        newer[11] = 2;
        assert!(Columns::decode(&newer, "f").expect("not refused").is_none());
    }
}
