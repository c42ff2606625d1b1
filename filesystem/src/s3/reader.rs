//! Reads an object by ranges.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::RANGE;
use parking_lot::Mutex;

use super::fault::Fault;
use super::requests::Kind;
use super::turn::{Reply, Turn};
use super::wire::{Answer, Ask};
use super::{CRC, Store};
use crate::checksum::crc32c;
use crate::error::{ErrorKind, Result};
use crate::{BlobReader, Error};

/// Reads of bytes that are damaged, before they are called so.
const DAMAGED_READS: u32 = 3;

/// Longest single range asked for; longer reads are several.
const RANGE_BYTES_MAX: usize = 64 << 20;

/// What a ranged read brought.
struct Part {
    /// Length of the whole object.
    size: u64,
    offset: u64,
    data: Bytes,
}

/// Offset and whole length of an answer.
fn place(answer: &Answer) -> std::result::Result<(u64, u64), Fault> {
    let nonsense = |what: &str| Fault::Nonsense(what.to_owned());
    if answer.status != 206 {
        return Ok((0, answer.body.len() as u64));
    }
    // bytes 5-9/10
    let text = answer.header("content-range").ok_or_else(|| nonsense("a part without its place"))?;
    let parsed = text.strip_prefix("bytes ").and_then(|rest| {
        let (range, size) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, size) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?, size.parse::<u64>().ok()?);
        (last < size && last.checked_sub(first)? == (answer.body.len() as u64).checked_sub(1)?).then_some((first, size))
    });
    parsed.ok_or_else(|| nonsense("a part whose place does not fit its length"))
}

/// Asks for a range. `None`: it lies behind the end.
async fn get(turn: &mut Turn<'_>, key: &str, range: &str, len: usize) -> Result<Option<Part>> {
    let ask = Ask::new(Kind::Get, Method::GET, key).header(RANGE, range).limit(len.saturating_add(1));
    let mut reads = 0;
    loop {
        let answer = match turn.repeat(&ask).await? {
            Reply::Answer(answer) => answer,
            Reply::Absent => return Err(turn.error(ErrorKind::NotFound, "no such object")),
            Reply::Range => return Ok(None),
        };
        let fault = match place(&answer) {
            Ok((offset, size)) => {
                let whole = answer.body.len() as u64 == size;
                let noted = answer.header(CRC.as_str()).and_then(|text| u32::from_str_radix(text, 16).ok());
                match noted.filter(|_| whole) {
                    Some(noted) if noted != crc32c(&answer.body) => {
                        Fault::Nonsense("a checksum that does not match".into())
                    }
                    _ => return Ok(Some(Part { size, offset, data: answer.body })),
                }
            }
            Err(fault) => fault,
        };
        reads += 1;
        if reads == DAMAGED_READS {
            return Err(turn.error(ErrorKind::Corrupt, format!("the object cannot be read: {fault}")));
        }
        turn.after(fault).await?;
    }
}

/// Bytes from `offset`; fewer than `len` only at the end.
pub(super) async fn read_range(store: &Store, path: &str, offset: u64, len: usize) -> Result<Bytes> {
    let key = store.key(path);
    let mut pieces = Vec::new();
    let (mut at, end) = (offset, offset.saturating_add(len as u64));
    while at < end {
        let want = (end - at).min(RANGE_BYTES_MAX as u64);
        let mut turn = Turn::new(store, path, "read");
        let range = format!("bytes={at}-{}", (at + want - 1).min(i64::MAX as u64));
        let Some(part) = get(&mut turn, &key, &range, want as usize).await? else { break };
        // A store that answers with everything is taken at its word.
        let skip = usize::try_from(at.saturating_sub(part.offset)).unwrap_or(usize::MAX);
        let data = if skip >= part.data.len() { Bytes::new() } else { part.data.slice(skip..) };
        let data = data.slice(..data.len().min(want as usize));
        if part.offset > at || (data.len() as u64) < want.min(part.size.saturating_sub(at)) {
            return Err(turn.error(ErrorKind::Unavailable, "the store answers with another range than asked for"));
        }
        at += data.len() as u64;
        let done = at >= part.size;
        pieces.push(data);
        if done {
            break;
        }
    }
    if pieces.is_empty() && len == 0 {
        return Ok(Bytes::new());
    }
    Ok(if pieces.len() == 1 { pieces.remove(0) } else { pieces.concat().into() })
}

/// An object of which length and end are known.
#[derive(Debug)]
pub(super) struct S3BlobReader {
    store: Arc<Store>,
    path: String,
    size: u64,
    /// The object's end, until something before it is read: then only if it is the whole object.
    tail: Mutex<Option<(u64, Bytes)>>,
}

impl S3BlobReader {
    pub(super) async fn open(store: Arc<Store>, path: &str) -> Result<S3BlobReader> {
        let key = store.key(path);
        let wanted = store.settings.tail_bytes.max(1);
        let mut turn = Turn::new(&store, path, "open");
        let part = get(&mut turn, &key, &format!("bytes=-{wanted}"), wanted).await?;
        // Nothing of an empty object can be asked for.
        let part = part.unwrap_or(Part { size: 0, offset: 0, data: Bytes::new() });
        let (size, tail) = (part.size, Mutex::new(Some((part.offset, part.data))));
        Ok(S3BlobReader { store, path: path.to_owned(), size, tail })
    }

    /// Of an object whose length is known.
    pub(super) fn known(store: Arc<Store>, path: &str, size: u64) -> S3BlobReader {
        S3BlobReader { store, path: path.to_owned(), size, tail: Mutex::default() }
    }

    /// The range, if it lies in the end that was read at opening.
    fn in_tail(&self, offset: u64, len: usize) -> Option<Bytes> {
        let mut tail = self.tail.lock();
        let (start, data) = tail.as_ref()?;
        if offset < *start {
            *tail = None;
            return None;
        }
        let from = (offset - start) as usize;
        Some(data.slice(from..from + len))
    }
}

#[async_trait]
impl BlobReader for S3BlobReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let len = len.min(usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(Bytes::new());
        }
        if let Some(data) = self.in_tail(offset, len) {
            return Ok(data);
        }
        let data = read_range(&self.store, &self.path, offset, len).await?;
        if data.len() < len {
            let message = "the object is shorter than when it was opened";
            return Err(Error::new(ErrorKind::Corrupt, &self.path, message));
        }
        Ok(data)
    }

    async fn distrust(&self, _: u64, _: u64) {
        *self.tail.lock() = None;
    }

    fn size(&self) -> Option<u64> {
        Some(self.size)
    }
}
