//! HBase's compound bloom filters: hash, sizing, chunks, folding (hfile-v3.md §1.10). No I/O.

use bytes::Bytes;

/// Bytes of a full chunk.
const CHUNK_BYTES: usize = 131_072;

/// `MurmurHash2` as HBase computes it: the tail bytes are sign-extended.
pub fn murmur(data: &[u8], seed: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = seed ^ data.len() as u32;
    let mut parts = data.chunks_exact(4);
    for part in &mut parts {
        let mut k = u32::from_le_bytes(part.try_into().expect("four bytes")).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = parts.remainder();
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate().rev() {
            hash ^= (i32::from(*byte as i8) as u32) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// Standard `MurmurHash3_x86_32`.
fn murmur3(data: &[u8], seed: u32) -> u32 {
    const C1: u32 = 0xcc9e_2d51;
    const C2: u32 = 0x1b87_3593;
    let mix = |k: u32| k.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2);
    let mut hash = seed;
    let mut parts = data.chunks_exact(4);
    for part in &mut parts {
        hash ^= mix(u32::from_le_bytes(part.try_into().expect("four bytes")));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let mut k = 0;
    for (at, byte) in parts.remainder().iter().enumerate() {
        k |= u32::from(*byte) << (8 * at);
    }
    if !parts.remainder().is_empty() {
        hash ^= mix(k);
    }
    hash ^= data.len() as u32;
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The two hashes of a key. `None` for a hash type that is not supported.
fn hashes(hash_type: u32, key: &[u8]) -> Option<(u32, u32)> {
    let hash = match hash_type {
        1 => murmur,
        2 => murmur3,
        _ => return None,
    };
    let first = hash(key, 0);
    Some((first, hash(key, first)))
}

fn positions((first, second): (u32, u32), count: u32, bits: u64) -> impl Iterator<Item = u64> {
    (0..count).map(move |i| {
        let composite = first.wrapping_add(i.wrapping_mul(second)) as i32;
        i64::from(composite).unsigned_abs() % bits
    })
}

/// Whether a chunk may hold the key; unknown hash types always may.
pub fn may_contain(chunk: &[u8], hash_type: u32, count: u32, key: &[u8]) -> bool {
    if chunk.is_empty() {
        return true;
    }
    match hashes(hash_type, key) {
        None => true,
        Some(both) => {
            positions(both, count, chunk.len() as u64 * 8).all(|bit| chunk[(bit >> 3) as usize] & (1 << (bit & 7)) != 0)
        }
    }
}

/// A finished chunk.
#[derive(Debug)]
pub struct Chunk {
    /// First key added.
    pub first_key: Bytes,
    /// The bits.
    pub bits: Vec<u8>,
}

/// Collects keys into chunks.
#[derive(Debug)]
pub struct BloomBuilder {
    hash_count: u32,
    keys_max: u64,
    bits: Vec<u8>,
    keys: u64,
    first_key: Option<Bytes>,
    last_key: Option<Vec<u8>>,
    /// Closed and not yet written.
    pub ready: Vec<Chunk>,
    /// Keys added.
    pub total_keys: u64,
    /// Keys that all closed chunks could hold, after folding.
    pub total_keys_max: u64,
    total_bytes: u64,
}

impl BloomBuilder {
    /// A filter with HBase's default size and error rate.
    pub fn new(row_col: bool) -> BloomBuilder {
        let mut error = f64::from(0.01f32);
        if row_col {
            error = f64::from((1.0 - (1.0 - error).sqrt()) as f32);
        }
        let bits = (CHUNK_BYTES * 8) as f64;
        let ln2 = std::f64::consts::LN_2;
        let ideal = (bits * ln2 * ln2 / -error.ln()).floor();
        let hash_count = (ln2 * (bits / ideal).floor()).ceil();
        let keys_max = (-bits / hash_count * (1.0 - (error.ln() / hash_count).exp()).ln()).floor();
        BloomBuilder {
            hash_count: hash_count as u32,
            keys_max: keys_max as u64,
            bits: Vec::new(),
            keys: 0,
            first_key: None,
            last_key: None,
            ready: Vec::new(),
            total_keys: 0,
            total_keys_max: 0,
            total_bytes: 0,
        }
    }

    /// Bytes of all closed chunks.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// How many hash functions.
    pub fn hash_count(&self) -> u32 {
        self.hash_count
    }

    /// The last key added.
    pub fn last_key(&self) -> Option<&[u8]> {
        self.last_key.as_deref()
    }

    /// Adds a key; one equal to the last is skipped.
    pub fn add(&mut self, key: &[u8]) {
        if self.last_key.as_deref() == Some(key) {
            return;
        }
        self.close_if_full();
        if self.bits.is_empty() {
            self.bits = vec![0; CHUNK_BYTES];
        }
        let both = hashes(1, key).expect("murmur is supported");
        for bit in positions(both, self.hash_count, CHUNK_BYTES as u64 * 8) {
            self.bits[(bit >> 3) as usize] |= 1 << (bit & 7);
        }
        if self.first_key.is_none() {
            self.first_key = Some(Bytes::copy_from_slice(key));
        }
        let last = self.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        self.keys += 1;
        self.total_keys += 1;
    }

    /// Closes the chunk if it can take no more: at every block's end.
    pub fn close_if_full(&mut self) {
        if self.keys >= self.keys_max {
            self.close();
        }
    }

    /// Closes the chunk, folding it to the size it needs.
    pub fn close(&mut self) {
        let Some(first_key) = self.first_key.take() else { return };
        let mut bits = std::mem::take(&mut self.bits);
        let mut keys_max = self.keys_max;
        while bits.len().is_multiple_of(2) && keys_max > 2 * self.keys {
            let half = bits.split_off(bits.len() / 2);
            bits.iter_mut().zip(half).for_each(|(a, b)| *a |= b);
            keys_max /= 2;
        }
        self.total_keys_max += keys_max;
        self.total_bytes += bits.len() as u64;
        self.keys = 0;
        self.ready.push(Chunk { first_key, bits });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_hbase() {
        // hfile-v3.md §1.10, test vectors.
        let vectors: [(&[u8], u32, u32, u32, u32); 5] = [
            (b"a", 0x9268_5f5e, 0x5b2b_9c66, 0x3c25_69b2, 0x8935_f798),
            (b"row00042", 0xb63a_05eb, 0x3ae8_c81a, 0x7a12_919f, 0x5f76_dcd5),
            (b"\xff", 0x992c_0759, 0x20ae_b023, 0xfd6c_f10d, 0xe654_28bb),
            (b"\x01\x02\x03\x04\xe9\x9f\xb3", 0x86ae_72b3, 0x3ed9_6db2, 0x58c2_a57f, 0x47be_b43a),
            (b"0123456789abc", 0x6615_e6bc, 0x2c47_adb9, 0xf9f4_7291, 0x2cf3_865c),
        ];
        for (key, m0, m1, n0, n1) in vectors {
            assert_eq!(hashes(1, key), Some((m0, m1)), "{}", key.escape_ascii());
            assert_eq!(hashes(2, key), Some((n0, n1)), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn sizes_are_those_of_hbase() {
        let (row, row_col) = (BloomBuilder::new(false), BloomBuilder::new(true));
        assert_eq!((row.hash_count, row.keys_max), (7, 109_306));
        assert_eq!((row_col.hash_count, row_col.keys_max), (8, 95_069));
    }

    #[test]
    fn added_keys_are_found_and_few_others() {
        let mut builder = BloomBuilder::new(false);
        (0..20_000u32).for_each(|n| builder.add(format!("row{n}").as_bytes()));
        builder.close();
        let chunk = &builder.ready[0];
        assert!(chunk.bits.len() < CHUNK_BYTES);
        assert!((0..20_000u32).all(|n| may_contain(&chunk.bits, 1, 7, format!("row{n}").as_bytes())));
        let wrong = (0..20_000u32).filter(|n| may_contain(&chunk.bits, 1, 7, format!("no{n}").as_bytes())).count();
        assert!(wrong < 600, "{wrong} of 20000 false");
    }
}
