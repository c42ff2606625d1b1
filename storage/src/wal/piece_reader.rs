//! Ending a stream of pieces. What its last pieces hold is read once, here, and laid down by region for those who open them.
//!
//! Always true
//! - The stream ends at the lowest number that is no piece, once a fence has it: what is acknowledged has no gap before it. A fence
//!   further on stops the writer and ends nothing.
//! - A tail holds the same bytes whoever makes it: pieces never change, and its number is that of the first of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use filesystem::{ErrorKind, Filesystem, PutOutcome, SwapOutcome, Version};
use futures::{StreamExt, TryStreamExt};

use super::format::{self, StreamIndex};
use super::piece::{self, HEADER_LEN, Header, Kind, Part, WINDOW};
use super::reader::{Low, PieceLow};
use super::{head_path, object_path};
use crate::error::{Result, StorageError};

/// Bytes of an object that a look takes: most pieces whole, of others the header and index.
const LOOK_BYTES: usize = 64 << 10;
/// Looks at a time; while pieces are still met, so many times more.
const LOOKS: u64 = 16;
const MORE_LOOKS: u64 = 4;
/// Looks behind the end, each twice as far as the one before, to as many pieces as there may be.
const FAR_LOOKS: u32 = 8;
/// Pieces that are left as they are when their stream ends; more are laid together.
pub(super) const TAIL_PIECES_MAX: usize = 4;
/// Bytes that are copied to spare those who open regions a request: more than where nobody waits.
const A_REQUEST: u64 = 512 << 10;
/// Bytes of looked-at pieces that are kept for their laying together; others are read again.
const KEPT_BYTES: usize = 16 << 20;
/// Bytes of pieces that are laid together in one object.
const TAIL_BYTES: u64 = 64 << 20;
const WHAT: &str = "log piece";

/// An object as a look has found it.
pub(super) struct Object {
    header: Header,
    pub index: StreamIndex,
    /// Its first bytes.
    start: Bytes,
    pub len: u64,
}

pub(super) enum Look {
    Absent,
    Fence,
    Data(Object),
}

pub(super) async fn look(fs: &Arc<dyn Filesystem>, stream: u64, id: u64) -> Result<Look> {
    let path = object_path(stream, id);
    let start = match fs.read_at(&path, 0, LOOK_BYTES).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Look::Absent),
        read => read?,
    };
    if piece::is_fence(&start) {
        return Ok(Look::Fence);
    }
    let (header, index_len, crc) = piece::read_header(&start, stream, id, &path)?;
    let index = match start.len() >= HEADER_LEN + index_len {
        true => start.slice(HEADER_LEN..),
        false => fs.read_at(&path, HEADER_LEN as u64, index_len).await?,
    };
    let index = piece::read_index(&index, index_len, crc, id, &path)?;
    let len = piece::end_of(&index, index_len);
    Ok(Look::Data(Object { header, index, start, len }))
}

async fn look_at(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    kind: Kind,
    numbers: std::ops::Range<u64>,
) -> Vec<Result<Look>> {
    let looks: Vec<_> = numbers.map(|number| look(fs, stream, piece::id(kind, number))).collect();
    futures::stream::iter(looks).buffered((MORE_LOOKS * LOOKS) as usize).collect().await
}

/// Ends a live stream of pieces whose head has this version. `None`: the head has changed, look at it again.
pub(super) async fn end(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    version: Version,
    low: PieceLow,
) -> Result<Option<StreamIndex>> {
    let gathered = async {
        let (pieces, fence) = fence(fs, stream, low.piece).await?;
        let (objects, index) = gather(fs, stream, low, pieces).await?;
        Ok((fence, objects, index))
    };
    let (fence, objects, index) = match gathered.await {
        Ok(gathered) => gathered,
        // The writer may have trimmed or sealed meanwhile: look at the head again before believing the damage.
        Err(error) => match fs.register_read(&head_path(stream)).await? {
            Some(now) if now.version != version => return Ok(None),
            _ => return Err(error),
        },
    };
    let head = Low::Pieces(low).ended(fence);
    match fs.register_swap(&head_path(stream), &version, &head, Some(format::ended_body(&objects, &index))).await? {
        SwapOutcome::Swapped(_) => Ok(Some(index)),
        SwapOutcome::Superseded(_) => Ok(None),
    }
}

/// Puts a fence at the first free number from `first` on; answers the pieces before it, and its number.
async fn fence(fs: &Arc<dyn Filesystem>, stream: u64, first: u64) -> Result<(Vec<Object>, u64)> {
    let mut pieces: Vec<Object> = Vec::new();
    let mut kept = 0;
    'looking: loop {
        let next = first + pieces.len() as u64;
        let looks = if pieces.is_empty() { LOOKS } else { MORE_LOOKS * LOOKS };
        for look in look_at(fs, stream, Kind::Piece, next..next + looks).await {
            match look? {
                Look::Data(mut piece) => {
                    kept += piece.start.len();
                    if kept > KEPT_BYTES {
                        piece.start = Bytes::new();
                    }
                    pieces.push(piece);
                }
                Look::Absent | Look::Fence => break 'looking,
            }
        }
    }
    let mut stopped = false;
    let fence = loop {
        let number = first + pieces.len() as u64;
        let id = piece::id(Kind::Piece, number);
        let put = fs.put_if_absent(&object_path(stream, id), Bytes::from_static(format::FENCE_MAGIC)).await?;
        if put == PutOutcome::Created {
            break number;
        }
        match look(fs, stream, id).await? {
            Look::Fence => break number,
            Look::Data(piece) => {
                pieces.push(piece);
                if !stopped {
                    // A writer that is faster than we are: one fence behind everything it has in flight, and it gets no further.
                    let ahead = object_path(stream, piece::id(Kind::Piece, number + 2 * WINDOW));
                    let put = fs.put_if_absent(&ahead, Bytes::from_static(format::FENCE_MAGIC)).await?;
                    stopped = put == PutOutcome::Created;
                }
            }
            Look::Absent => {} // freed by a trim; the head tells
        }
    };
    match loss(fs, stream, fence).await {
        Some(lost) => Err(lost),
        None => Ok((pieces, fence)),
    }
}

/// The error if a free number was a piece's: a piece that knows it to be stored lies behind it. What else lies there is no part of the
/// stream. All of a window and the one behind it are looked at, and some further on, in case that many are gone.
pub(super) async fn loss(fs: &Arc<dyn Filesystem>, stream: u64, free: u64) -> Option<StorageError> {
    let near = free + 1..free + 1 + 2 * WINDOW;
    let far = (1..=FAR_LOOKS).map(|doubled| free + ((2 * WINDOW) << doubled));
    let looks: Vec<_> = near.chain(far).map(|number| look(fs, stream, piece::id(Kind::Piece, number))).collect();
    let mut looks = futures::stream::iter(looks).buffered(LOOKS as usize);
    while let Some(found) = looks.next().await {
        if let Ok(Look::Data(behind)) = found
            && behind.header.confirmed >= free
        {
            let (_, number) = piece::kind(behind.header.id);
            let why = format!("it is missing, though piece {number:x} was written when it was stored");
            let path = object_path(stream, piece::id(Kind::Piece, free));
            return Some(StorageError::corrupt(WHAT, &path, 0, why));
        }
    }
    None
}

/// The objects that the stream consists of with their lengths, and what they hold.
async fn gather(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    low: PieceLow,
    pieces: Vec<Object>,
) -> Result<(Vec<(u64, u64)>, StreamIndex)> {
    let (mut objects, mut index) = (Vec::new(), StreamIndex::default());
    let mut add = |id: u64, len: u64, of: StreamIndex| {
        objects.push((id, len));
        for (region, ranges) in of.regions {
            for range in ranges.groups {
                index.add(&region, ranges.min, ranges.max, range);
            }
        }
    };
    let segments = look_at(fs, stream, Kind::Sealed, low.segment..low.last + 1).await;
    for (number, segment) in (low.segment..).zip(segments) {
        let id = piece::id(Kind::Sealed, number);
        match segment? {
            Look::Data(segment) => add(id, segment.len, segment.index),
            Look::Absent | Look::Fence => {
                let why = "the segment is missing, though the stream's head names it";
                return Err(StorageError::corrupt(WHAT, &object_path(stream, id), 0, why));
            }
        }
    }
    if pieces.len() <= TAIL_PIECES_MAX {
        pieces.into_iter().for_each(|piece| add(piece.header.id, piece.len, piece.index));
        return Ok((objects, index));
    }
    let mut rest = &pieces[..];
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |piece: &&Object| {
            bytes += piece.len;
            bytes <= TAIL_BYTES
        };
        let (run, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        rest = behind;
        let blocks = piece::measure(run.iter().flat_map(|piece| piece.index.regions.values()));
        let laid = match blocks.spares_requests(A_REQUEST) {
            true => lay_together(fs, stream, run).await?,
            false => None,
        };
        match laid {
            Some((id, len, index)) => add(id, len, index),
            None => run.iter().for_each(|piece| add(piece.header.id, piece.len, piece.index.clone())),
        }
    }
    Ok((objects, index))
}

/// Puts what pieces hold into one object, by region. `None`: another object has the name.
async fn lay_together(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    run: &[Object],
) -> Result<Option<(u64, u64, StreamIndex)>> {
    let number = |piece: &Object| piece::kind(piece.header.id).1;
    let pieces = (number(&run[0]), number(&run[run.len() - 1]));
    let mut parts: BTreeMap<Bytes, Part> = BTreeMap::new();
    let reads: Vec<_> = run.iter().map(|piece| whole(fs, stream, piece)).collect();
    let mut reads = futures::stream::iter(reads).buffered(LOOKS as usize);
    let mut read = run.iter();
    while let (Some(data), Some(piece)) = (reads.try_next().await?, read.next()) {
        let path = object_path(stream, piece.header.id);
        for (region, ranges) in &piece.index.regions {
            piece::add(&mut parts, region.clone(), piece::part(&data, 0, ranges, stream, &path)?);
        }
    }
    let header = Header { id: piece::id(Kind::Tail, pieces.0), token: 0, confirmed: pieces.1, pieces };
    let (data, index) = piece::object(stream, header, &parts);
    let path = object_path(stream, header.id);
    if fs.put_if_absent(&path, data.clone()).await? == PutOutcome::Exists
        && fs.read_at(&path, 0, HEADER_LEN).await? != data[..HEADER_LEN]
    {
        return Ok(None);
    }
    Ok(Some((header.id, data.len() as u64, index)))
}

/// All bytes of an object.
async fn whole(fs: &Arc<dyn Filesystem>, stream: u64, object: &Object) -> Result<Bytes> {
    let begun = object.start.len() as u64;
    if begun >= object.len {
        return Ok(object.start.clone());
    }
    let len = usize::try_from(object.len - begun).unwrap_or(usize::MAX);
    let rest = fs.read_at(&object_path(stream, object.header.id), begun, len).await?;
    let mut data = BytesMut::with_capacity(object.start.len() + rest.len());
    data.extend_from_slice(&object.start);
    data.extend_from_slice(&rest);
    Ok(data.freeze())
}
