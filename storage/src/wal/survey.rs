//! Looking at streams without touching them: for people, beside a writer that may live.
//!
//! Always true
//! - Nothing is created, fenced, deleted or swapped.
//! - What a living writer trims, seals or makes meanwhile is no damage: the look is taken again.
//! - Of a live stream an entry is *sure* once something behind it says that it was durable: the rest of what is sound may still go with
//!   the machine, and bad bytes there are a torn tail or an append under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use filesystem::{ErrorKind, Filesystem};
use model::SeqNo;

use super::format::{self, Entry, Place, Range, StreamIndex};
use super::piece::{self, Kind};
use super::piece_reader::{self, Look};
use super::reader::{self, Head, Low};
use super::{FOLDER, folder, head_path, object_path, parse_path, segment_path};
use crate::error::{Result, StorageError};

/// Looks at one stream before its changing is told as an error.
const LOOKS_MAX: usize = 8;
const WHAT: &str = "log segment";

/// What a stream's head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// Somebody may write it.
    Live,
    /// Nobody writes it; its objects are known.
    Ended {
        /// The number that the fence took.
        fence: u64,
    },
    /// Nobody needs it.
    Released,
    /// It has no head, though it has objects.
    Headless,
}

/// What an object of a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// One put of a writer whose storage cannot append.
    Piece,
    /// An appended file, or pieces laid together by their writer.
    Segment,
    /// The last pieces, laid together by whoever ended the stream.
    Tail,
}

/// How an object ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEnd {
    /// All of it is sound.
    Whole,
    /// What lies from here on is no part of the stream: written and never acknowledged, or being written.
    Torn {
        /// The first byte of it.
        at: u64,
    },
    /// It holds bytes that must be sound and are not.
    Damaged {
        /// The first byte of it.
        at: u64,
        /// What is wrong.
        why: String,
    },
}

/// An object that is part of a stream.
#[derive(Clone, Debug)]
pub struct StreamObject {
    /// Its key below the log root.
    pub path: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its number among its kind.
    pub number: u64,
    /// Its bytes that are part of the stream.
    pub bytes: u64,
    /// Of those, the bytes that surely were durable.
    pub sure: u64,
    /// What it holds.
    pub index: StreamIndex,
    /// How it ends.
    pub end: ObjectEnd,
}

/// A stream as a look has found it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its id.
    pub id: u64,
    /// What its head says.
    pub state: StreamState,
    /// The head as it stands.
    pub head: String,
    /// Its objects, in order.
    pub objects: Vec<StreamObject>,
    /// Objects that lie there and are no part of it: left over, or fences.
    pub others: Vec<filesystem::Entry>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this region, by its name in the log.
    pub region: Option<Bytes>,
    /// With a cell of this row.
    pub row: Option<Bytes>,
    /// With a sequence number from here to there, both included.
    pub seqnos: Option<(u64, u64)>,
}

impl Wanted {
    fn wants(&self, entry: &Entry) -> bool {
        self.seqnos.is_none_or(|(from, to)| (from..=to).contains(&entry.seqno.0))
            && self.row.as_ref().is_none_or(|row| entry.cells.iter().any(|cell| cell.row() == row))
    }

    /// Whether an object may hold such an entry of a region.
    fn may_hold(&self, region: &Bytes, min: SeqNo, max: SeqNo) -> bool {
        self.region.as_ref().is_none_or(|wanted| wanted == region)
            && self.seqnos.is_none_or(|(from, to)| min.0 <= to && max.0 >= from)
    }
}

/// An entry where it was found.
#[derive(Debug)]
pub struct FoundEntry {
    /// Where its group begins in its object.
    pub offset: u64,
    /// Whether it surely was durable.
    pub sure: bool,
    /// The entry.
    pub entry: Entry,
}

/// The streams below a log root that have left anything. One that was begun and never written is not among them.
pub async fn streams(fs: &Arc<dyn Filesystem>) -> Result<BTreeSet<u64>> {
    Ok(fs.list(FOLDER).await?.iter().filter_map(|file| parse_path(&file.path)).map(|(stream, _)| stream).collect())
}

/// Looks at a stream; `None` if there is nothing of it on this root.
///
/// # Errors
/// A head that cannot be read, a store that cannot be reached. What is wrong with an object is told of the object.
pub async fn look(fs: &Arc<dyn Filesystem>, stream: u64) -> Result<Option<Stream>> {
    let path = head_path(stream);
    for _ in 0..LOOKS_MAX {
        let value = fs.register_read(&path).await?;
        let listed = fs.list(&folder(stream)).await?;
        let Some(value) = value else {
            if listed.is_empty() {
                return Ok(None);
            }
            let (state, head) = (StreamState::Headless, String::new());
            return Ok(Some(Stream { id: stream, state, head, objects: Vec::new(), others: listed }));
        };
        let (state, objects) = match reader::parse_head(&value, &path)? {
            Head::Released => (StreamState::Released, Ok(Vec::new())),
            Head::Ended { fence, .. } => {
                let (objects, index) = format::read_ended_body(&value.body, &path)?;
                (StreamState::Ended { fence }, ended(fs, stream, objects, index).await)
            }
            Head::Live(Low::Appended(low)) => (StreamState::Live, appended(fs, stream, low).await),
            Head::Live(Low::Pieces(low)) => (StreamState::Live, pieces(fs, stream, low).await),
        };
        let doubtful =
            objects.as_ref().map_or(true, |objects| objects.iter().any(|object| object.end != ObjectEnd::Whole));
        if doubtful && fs.register_read(&path).await?.is_none_or(|now| now.version != value.version) {
            continue; // trimmed, sealed or ended meanwhile
        }
        let objects = objects?;
        let mine: BTreeSet<&str> = objects.iter().map(|object| object.path.as_str()).collect();
        // What a living writer has made since is no left-over.
        let others = listed.into_iter().filter(|file| !mine.contains(file.path.as_str()) && state != StreamState::Live);
        let others = others.collect();
        return Ok(Some(Stream { id: stream, state, head: value.head, objects, others }));
    }
    let why = "the stream changes faster than it can be looked at; again";
    Err(filesystem::Error::new(ErrorKind::Unavailable, &path, why).into())
}

fn damaged(error: StorageError) -> Result<ObjectEnd> {
    match error {
        StorageError::Corrupt { why, offset: at, .. } => Ok(ObjectEnd::Damaged { at, why }),
        StorageError::Newer { .. } => Ok(ObjectEnd::Damaged { at: 0, why: error.to_string() }),
        other => Err(other),
    }
}

fn missing() -> ObjectEnd {
    ObjectEnd::Damaged { at: 0, why: "it is missing, though its stream needs it".to_owned() }
}

fn object(stream: u64, id: u64, bytes: u64, index: StreamIndex, end: ObjectEnd) -> StreamObject {
    let (kind, number) = piece::kind(id);
    let kind = match kind {
        Kind::Piece => ObjectKind::Piece,
        Kind::Appended | Kind::Sealed => ObjectKind::Segment,
        Kind::Tail => ObjectKind::Tail,
    };
    StreamObject { path: object_path(stream, id), kind, number, bytes, sure: bytes, index, end }
}

/// The objects of an ended stream, as its head names them.
async fn ended(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    objects: Vec<(u64, u64)>,
    index: StreamIndex,
) -> Result<Vec<StreamObject>> {
    let mut by_object: BTreeMap<u64, StreamIndex> = BTreeMap::new();
    for (region, ranges) in index.regions {
        for range in ranges.groups {
            by_object.entry(range.segment).or_default().add(&region, ranges.min, ranges.max, range);
        }
    }
    let mut found = Vec::with_capacity(objects.len());
    for (id, len) in objects {
        let end = match fs.size(&object_path(stream, id)).await? {
            None if len == 0 => ObjectEnd::Whole,
            None => missing(),
            Some(size) if size < len => {
                ObjectEnd::Damaged { at: size, why: format!("it is cut short: {len} bytes of it count") }
            }
            Some(size) if size > len => ObjectEnd::Torn { at: len },
            Some(_) => ObjectEnd::Whole,
        };
        found.push(object(stream, id, len, by_object.remove(&id).unwrap_or_default(), end));
    }
    Ok(found)
}

/// The objects of a live stream of segments that are appended to.
async fn appended(fs: &Arc<dyn Filesystem>, stream: u64, low: u64) -> Result<Vec<StreamObject>> {
    let mut scans = Vec::new();
    for number in low.. {
        let path = segment_path(stream, number);
        if !fs.exists(&path).await? || reader::is_fence(fs, &path).await? {
            break;
        }
        let size = fs.size(&path).await?.unwrap_or(0);
        scans.push((number, size, reader::scan_segment(fs, stream, number).await));
    }
    // What later segments say of earlier ones rules.
    let mut said: BTreeMap<u64, u64> = BTreeMap::new();
    for scanned in scans.iter().filter_map(|(_, _, scanned)| scanned.as_ref().ok()) {
        said.extend(scanned.earlier.iter().copied());
    }
    let last_whole = scans.iter().filter(|(_, _, it)| it.as_ref().is_ok_and(|it| it.header)).map(|it| it.0).max();
    let mut objects = Vec::new();
    for (number, size, scanned) in scans {
        let id = piece::id(Kind::Appended, number);
        let scanned = match scanned {
            Ok(scanned) => scanned,
            Err(error) => {
                objects.push(object(stream, id, 0, StreamIndex::default(), damaged(error)?));
                continue;
            }
        };
        // A segment that a sound later one follows without a word counts as far as it goes, and was sound when it was left.
        let counted = said.get(&number).copied();
        let followed = last_whole.is_some_and(|last| last > number);
        let bytes = counted.unwrap_or(scanned.sound).min(scanned.sound);
        let must = counted.unwrap_or(if followed { size } else { scanned.acknowledged });
        let end = if scanned.sound < must {
            let why = "acknowledged bytes are not sound".to_owned();
            ObjectEnd::Damaged { at: scanned.damaged_at.unwrap_or(scanned.sound), why }
        } else if size > bytes {
            ObjectEnd::Torn { at: bytes }
        } else {
            ObjectEnd::Whole
        };
        let mut index = StreamIndex::default();
        for (region, min, max, range) in &scanned.groups {
            if range.offset + u64::from(range.len) <= bytes {
                index.add(region, *min, *max, *range);
            }
        }
        let mut object = object(stream, id, bytes, index, end);
        object.sure = if followed { bytes } else { scanned.acknowledged.min(bytes) };
        objects.push(object);
    }
    Ok(objects)
}

/// The objects of a live stream of pieces: segments, then pieces as far as there is no gap.
async fn pieces(fs: &Arc<dyn Filesystem>, stream: u64, low: reader::PieceLow) -> Result<Vec<StreamObject>> {
    let mut objects = Vec::new();
    let segments = (low.segment..low.last + 1).map(|number| (piece::id(Kind::Sealed, number), true));
    let pieces = (low.piece..).map(|number| (piece::id(Kind::Piece, number), false));
    for (id, needed) in segments.chain(pieces) {
        let (bytes, index, end) = match piece_reader::look(fs, stream, id).await {
            Ok(Look::Data(found)) => (found.len, found.index, ObjectEnd::Whole),
            Ok(Look::Absent | Look::Fence) if !needed => {
                let (_, number) = piece::kind(id);
                if let Some(lost) = piece_reader::loss(fs, stream, number).await {
                    objects.push(object(stream, id, 0, StreamIndex::default(), damaged(lost)?));
                }
                break;
            }
            Ok(Look::Absent | Look::Fence) => (0, StreamIndex::default(), missing()),
            Err(error) => (0, StreamIndex::default(), damaged(error)?),
        };
        objects.push(object(stream, id, bytes, index, end));
    }
    Ok(objects)
}

/// Reads an object's entries that are wanted, in the order in which they stand there.
///
/// # Errors
/// The first group that is not sound, with file and offset; the entries before it were handed over.
pub async fn entries(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    of: &StreamObject,
    wanted: &Wanted,
    each: &mut (dyn FnMut(FoundEntry) + Send),
) -> Result<()> {
    let regions = of.index.regions.iter().filter(|(region, ranges)| wanted.may_hold(region, ranges.min, ranges.max));
    let mut ranges: Vec<Range> = regions.flat_map(|(_, ranges)| ranges.groups.iter().copied()).collect();
    ranges.sort_by_key(|range| range.offset);
    // Groups of appended segments hold several regions' entries.
    ranges.dedup();
    for run in reader::runs(&ranges, reader::READ_BYTES) {
        let (path, run, data) = reader::read_run(fs, stream, run).await?;
        for range in run {
            let from = usize::try_from(range.offset - run[0].offset).unwrap_or(usize::MAX).min(data.len());
            let place = Place { stream, segment: range.segment, offset: range.offset };
            let bad = |why: String| StorageError::corrupt(WHAT, &path, range.offset, why);
            let frame = format::read_frame(&data.slice(from..), place)
                .ok_or_else(|| bad("an indexed group is not sound".to_owned()))?;
            let mut found = Vec::new();
            format::read_entries(&frame.payload, wanted.region.as_deref(), &mut found).map_err(bad)?;
            let (offset, sure) = (range.offset, range.offset + u64::from(range.len) <= of.sure);
            for entry in found.into_iter().filter(|entry| wanted.wants(entry)) {
                each(FoundEntry { offset, sure, entry });
            }
        }
    }
    Ok(())
}
