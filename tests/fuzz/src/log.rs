use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::memory::MemoryFilesystem;
use filesystem::{Filesystem, LogOutcome, crc32c, crc32c_of};
use model::SeqNo;
use storage::wal::survey::{self, ObjectEnd, Wanted};
use storage::wal::{fence, replay};

/// Magics, and the smallest entry.
pub(crate) const WORDS: &[&[u8]] =
    &[b"FBWALSEG", b"FBWALPCE", b"FBFENCE1", b"FBLOGEND", b"GRP1", b"IDX1", b"SEAL", b"\0\0\0\x01", b"\x01\x01a"];
/// The stream's number; checked by headers.
const STREAM: u64 = 5;
const SEGMENT_HEADER_LEN: usize = 8 + 4 + 8 + 8 + 4;
const PIECE_HEADER_LEN: usize = 8 + 4 + 8 + 8 + 16 + 8 + 8 + 8 + 4 + 4 + 4;
const GROUP_HEADER_LEN: usize = 4 + 4 + 8 + 4 + 4;

/// The first byte of an input.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `s`: the rest is the only segment of a live stream that is appended to.
    Segment,
    /// `p`: the only piece of a live stream of pieces.
    Piece,
    /// `e`: the body of an ended stream's head; its objects are missing.
    Ended,
}

/// What a log stream has left (`s`, `p` or `e`, then bytes): as it is, and with its checksums computed anew.
///
/// No panic, bounded memory. It is looked at, read, ended and replayed; replay gives each entry of a region once, of that region, in order.
pub fn log(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let kind = match first {
        b's' => Kind::Segment,
        b'p' => Kind::Piece,
        _ => Kind::Ended,
    };
    read(kind, data);
    let mut sealed = data.to_vec();
    match kind {
        Kind::Segment => seal_segment(&mut sealed),
        Kind::Piece => seal_piece(&mut sealed),
        Kind::Ended => seal_body(&mut sealed),
    }
    if sealed != data {
        read(kind, &sealed);
    }
}

fn stream(kind: Kind, data: &[u8]) -> Arc<dyn Filesystem> {
    let memory = if kind == Kind::Piece { MemoryFilesystem::without_appends() } else { MemoryFilesystem::new() };
    let fs: Arc<dyn Filesystem> = Arc::new(memory);
    let (folder, body) = (format!("ferrobase/log/{STREAM:016x}"), Bytes::copy_from_slice(data));
    let (head, head_body) = match kind {
        Kind::Segment => ("live.1", Bytes::new()),
        Kind::Piece => ("live.1.1.0", Bytes::new()),
        Kind::Ended => ("ended.1.2", body.clone()),
    };
    crate::now(fs.register_create(&format!("{folder}/head"), head, head_body)).expect("a head");
    match kind {
        Kind::Segment => {
            let LogOutcome::Created(mut log) =
                crate::now(fs.log_create(&format!("{folder}/s/{:016x}", 1))).expect("a segment")
            else {
                panic!("the root is new")
            };
            crate::now(log.append(body)).expect("appended");
        }
        Kind::Piece => drop(crate::now(fs.put_if_absent(&format!("{folder}/p/{:016x}", 1), body)).expect("put")),
        Kind::Ended => {}
    }
    fs
}

fn read(kind: Kind, data: &[u8]) {
    let fs = stream(kind, data);
    let mut regions = BTreeSet::new();
    if let Ok(looked) = crate::now(survey::look(&fs, STREAM)) {
        let looked = looked.expect("the stream has a head");
        for object in &looked.objects {
            regions.extend(object.index.regions.keys().cloned());
            if let ObjectEnd::Torn { at } | ObjectEnd::Damaged { at, .. } = object.end {
                assert!(kind == Kind::Ended || at <= data.len() as u64, "{object:?} ends behind its bytes");
            }
            // A group that is not sound ends it, and is told.
            let _ = crate::now(survey::entries(&fs, STREAM, object, &Wanted::default(), &mut |_| {}));
        }
    }
    let Ok(ended) = crate::now(fence(&fs, STREAM)) else { return };
    regions.extend(ended.index.iter().flat_map(|index| index.regions.keys().cloned()));
    for region in regions.iter().take(100) {
        let Ok(entries) = crate::now(replay(&fs, &ended, region, SeqNo::ZERO)) else { continue };
        assert!(entries.iter().all(|entry| entry.region == *region), "an entry of another region than {region:?}");
        assert!(entries.windows(2).all(|pair| pair[0].seqno < pair[1].seqno), "entries out of order");
    }
}

fn int(data: &[u8], at: usize) -> usize {
    data.get(at..at + 4).map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")) as usize)
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(there) = data.get_mut(at..at + bytes.len()) {
        there.copy_from_slice(bytes);
    }
}

/// Seals groups that stand behind each other.
fn seal_groups(data: &mut [u8], mut at: usize, object: u64) {
    while data.get(at..at + GROUP_HEADER_LEN).is_some() {
        let end = at + GROUP_HEADER_LEN + int(data, at + 4);
        let Some(payload) = data.get(at + GROUP_HEADER_LEN..end) else { return };
        let sum = crc32c(payload);
        put(data, at + 16, &sum.to_be_bytes());
        let place = [&STREAM.to_be_bytes()[..], &object.to_be_bytes(), &(at as u64).to_be_bytes()];
        let sum = crc32c_of(&[place[0], place[1], place[2], &data[at..at + 20]]);
        put(data, at + 20, &sum.to_be_bytes());
        at = end;
    }
}

fn seal_segment(data: &mut [u8]) {
    put(data, 12, &STREAM.to_be_bytes());
    put(data, 20, &1u64.to_be_bytes());
    let end = SEGMENT_HEADER_LEN + int(data, 28) * 16;
    if let Some(head) = data.get(..end) {
        let sum = crc32c(head);
        put(data, end, &sum.to_be_bytes());
        seal_groups(data, end + 4, 1);
    }
}

fn seal_piece(data: &mut [u8]) {
    if data.len() < PIECE_HEADER_LEN {
        return;
    }
    // A piece's kind is 1, in the upper two bits.
    let (id, index_len) = (1u64 << 62 | 1, int(data, 68));
    put(data, 12, &STREAM.to_be_bytes());
    put(data, 20, &id.to_be_bytes());
    if let Some(index) = data.get(PIECE_HEADER_LEN..PIECE_HEADER_LEN + index_len) {
        let sum = crc32c(index);
        put(data, 72, &sum.to_be_bytes());
    }
    let sum = crc32c(&data[..PIECE_HEADER_LEN - 4]);
    put(data, PIECE_HEADER_LEN - 4, &sum.to_be_bytes());
    seal_groups(data, PIECE_HEADER_LEN + index_len, id);
}

fn seal_body(data: &mut [u8]) {
    if data.len() >= 16 {
        let sum = crc32c(&data[16..]);
        put(data, 12, &sum.to_be_bytes());
    }
}
