//! Ending a stream, and reading what it holds of a region.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use filesystem::{CreateOutcome, Filesystem, PutOutcome, RegisterValue, SwapOutcome, Version};
use futures::{Stream, StreamExt, TryStreamExt};
use model::{Cell, SeqNo};
use tokio::sync::OwnedSemaphorePermit;

use super::format::{self, Entry, Place, Range, StreamIndex};
use super::piece::{self, Kind};
use super::{head_path, object_path, segment_path};
use crate::budget::Budget;
use crate::error::{Result, StorageError};

const WHAT: &str = "log segment";

/// A stream that nobody writes any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The stream.
    pub stream: u64,
    /// What it holds; `None` when it was released: nothing is needed of it.
    pub index: Option<StreamIndex>,
}

/// From where on a live stream's objects count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Low {
    /// Of segments that are appended to: the first.
    Appended(u64),
    /// Of pieces, and of segments made of earlier ones.
    Pieces(PieceLow),
}

/// From where on a stream of pieces counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceLow {
    /// The first piece.
    pub piece: u64,
    /// The first segment.
    pub segment: u64,
    /// The last segment.
    pub last: u64,
}

impl Low {
    /// The head of a live stream.
    pub(super) fn live(self) -> String {
        match self {
            Low::Appended(low) => format!("live.{low:x}"),
            Low::Pieces(PieceLow { piece, segment, last }) => format!("live.{piece:x}.{segment:x}.{last:x}"),
        }
    }

    /// The head of a stream that ends before this number.
    pub(super) fn ended(self, fence: u64) -> String {
        match self {
            Low::Appended(low) => format!("ended.{low:x}.{fence:x}"),
            Low::Pieces(PieceLow { piece, segment, last }) => format!("ended.{piece:x}.{fence:x}.{segment:x}.{last:x}"),
        }
    }
}

pub(super) enum Head {
    Live(Low),
    Ended { low: Low, fence: u64 },
    Released,
}

/// What a stream's head says.
#[derive(Debug)]
pub(crate) enum State {
    /// Somebody may write it.
    Live(Low),
    /// Nobody writes it.
    Ended {
        /// Where it began.
        low: Low,
        /// The number that the fence took.
        fence: u64,
        /// Ids of its objects, in order; of appended segments it has all from `low` to below `fence`.
        objects: Vec<u64>,
        /// What it holds.
        index: StreamIndex,
    },
    /// Nobody needs it.
    Released,
}

impl State {
    /// Whether the object with this id may still be needed, or be made.
    pub(crate) fn keeps(&self, id: u64) -> bool {
        let (kind, number) = piece::kind(id);
        match self {
            // The writer makes numbers behind those listed; below the first it makes none any more. Who ends the stream makes tails.
            State::Live(Low::Appended(low)) => number >= *low,
            State::Live(Low::Pieces(low)) => match kind {
                Kind::Piece => number >= low.piece,
                Kind::Sealed => number >= low.segment,
                _ => true,
            },
            State::Ended { low: Low::Appended(low), fence, .. } => (*low..*fence).contains(&number),
            State::Ended { objects, .. } => objects.contains(&id),
            State::Released => false,
        }
    }
}

/// What a stream's head says, safe to act on; `None`: it has none.
pub(crate) async fn state(fs: &Arc<dyn Filesystem>, stream: u64) -> Result<Option<(State, Version)>> {
    let path = head_path(stream);
    let Some(value) = fs.register_read_settled(&path).await? else { return Ok(None) };
    let state = match parse_head(&value, &path)? {
        Head::Live(low) => State::Live(low),
        Head::Ended { low, fence } => {
            let (objects, index) = format::read_ended_body(&value.body, &path)?;
            State::Ended { low, fence, objects: objects.into_iter().map(|(id, _)| id).collect(), index }
        }
        Head::Released => State::Released,
    };
    Ok(Some((state, value.version)))
}

pub(super) fn parse_head(value: &RegisterValue, path: &str) -> Result<Head> {
    let mut parts = value.head.split('.');
    let state = parts.next();
    let numbers: Option<Vec<u64>> = parts.map(|text| u64::from_str_radix(text, 16).ok()).collect();
    match (state, numbers.as_deref()) {
        (Some("live"), Some(&[low])) => Some(Head::Live(Low::Appended(low))),
        (Some("live"), Some(&[piece, segment, last])) => {
            Some(Head::Live(Low::Pieces(PieceLow { piece, segment, last })))
        }
        (Some("ended"), Some(&[low, fence])) => Some(Head::Ended { low: Low::Appended(low), fence }),
        (Some("ended"), Some(&[piece, fence, segment, last])) => {
            Some(Head::Ended { low: Low::Pieces(PieceLow { piece, segment, last }), fence })
        }
        (Some("released"), Some([])) => Some(Head::Released),
        _ => None,
    }
    .ok_or_else(|| StorageError::corrupt("log head", path, 0, format!("unknown head `{}`", value.head)))
}

fn lost(path: &str) -> StorageError {
    StorageError::corrupt("log head", path, 0, "it is missing, though its stream was written")
}

/// Ends a stream that a manifest names. It was written once, and heads stay for ever: one without a head lost its edits.
pub(crate) async fn fence_known(fs: &Arc<dyn Filesystem>, stream: u64) -> Result<Ended> {
    let path = head_path(stream);
    if fs.register_read_settled(&path).await?.is_none() {
        return Err(lost(&path));
    }
    fence(fs, stream).await
}

/// Looks whether a stream is there that a manifest names, without changing anything; if a region is given and the stream has ended,
/// whether all that it holds of the region can be read. Answers the number of those entries.
pub async fn look(fs: &Arc<dyn Filesystem>, stream: u64, region: Option<&[u8]>) -> Result<usize> {
    match (state(fs, stream).await?, region) {
        (None, _) => Err(lost(&head_path(stream))),
        (Some((State::Ended { index, .. }, _)), Some(region)) => {
            let ended = Ended { stream, index: Some(index) };
            Ok(replay(fs, &ended, region, SeqNo::ZERO).await?.len())
        }
        _ => Ok(0),
    }
}

/// Ends a stream, whoever wrote it; any number of callers, any number of times.
pub async fn fence(fs: &Arc<dyn Filesystem>, stream: u64) -> Result<Ended> {
    let path = head_path(stream);
    loop {
        let Some(value) = fs.register_read(&path).await? else {
            if !fs.list(&super::folder(stream)).await?.is_empty() {
                return Err(lost(&path));
            }
            // Nobody may start it any more.
            let body = format::ended_body(&[], &StreamIndex::default());
            match fs.register_create(&path, "ended.1.1", body).await? {
                CreateOutcome::Created(_) => return Ok(Ended { stream, index: Some(StreamIndex::default()) }),
                CreateOutcome::Exists(_) => continue,
            }
        };
        let mut low = match parse_head(&value, &path)? {
            Head::Released => return Ok(Ended { stream, index: None }),
            Head::Ended { .. } => {
                return Ok(Ended { stream, index: Some(format::read_ended_body(&value.body, &path)?.1) });
            }
            Head::Live(Low::Appended(low)) => low,
            Head::Live(Low::Pieces(low)) => match super::piece_reader::end(fs, stream, value.version, low).await? {
                Some(index) => return Ok(Ended { stream, index: Some(index) }),
                None => continue,
            },
        };
        let mut version = value.version;
        'fence: loop {
            let mut number = low;
            loop {
                let segment = segment_path(stream, number);
                if fs.exists(&segment).await? && !is_fence(fs, &segment).await? {
                    number += 1;
                    continue;
                }
                if fs.put_if_absent(&segment, Bytes::from_static(format::FENCE_MAGIC)).await? == PutOutcome::Created
                    || is_fence(fs, &segment).await?
                {
                    break;
                }
            }
            let scanned = async {
                lost_segment(fs, stream, number).await?;
                seal_all(fs, stream, low, number).await?;
                scan(fs, stream, low, number).await
            };
            let scanned = scanned.await;
            let (lengths, index) = match scanned {
                // The writer may have trimmed meanwhile: look at the head again before believing the damage.
                Err(error) => match fs.register_read(&path).await? {
                    Some(now) if now.version != version => break 'fence,
                    _ => return Err(error),
                },
                Ok(scanned) => scanned,
            };
            let head = Low::Appended(low).ended(number);
            match fs.register_swap(&path, &version, &head, Some(format::ended_body(&lengths, &index))).await? {
                SwapOutcome::Swapped(_) => return Ok(Ended { stream, index: Some(index) }),
                SwapOutcome::Superseded(Some(now)) => match parse_head(&now, &path)? {
                    Head::Live(Low::Appended(now_low)) => {
                        // `now_low > number` means the fence was put on a freed number: begin again above.
                        low = now_low;
                        version = now.version;
                    }
                    _ => break 'fence,
                },
                SwapOutcome::Superseded(None) => break 'fence,
            }
        }
    }
}

/// How many segments are sealed side by side.
const SEALS: usize = 16;

/// Takes every segment from its writer, so that what is read of it then is all there will be.
async fn seal_all(fs: &Arc<dyn Filesystem>, stream: u64, low: u64, fence: u64) -> Result<()> {
    let seals = (low..fence).map(|number| async move { fs.log_seal(&segment_path(stream, number)).await });
    futures::stream::iter(seals).buffer_unordered(SEALS).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}

/// Whether a fence stands there.
pub(crate) async fn is_fence(fs: &Arc<dyn Filesystem>, path: &str) -> Result<bool> {
    match fs.read_at(path, 0, format::FENCE_MAGIC.len()).await {
        Ok(start) => Ok(start[..] == format::FENCE_MAGIC[..]),
        Err(error) if error.kind() == filesystem::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Refuses a stream in which the fence took a number that was in use: later segments are made only behind it.
async fn lost_segment(fs: &Arc<dyn Filesystem>, stream: u64, fence: u64) -> Result<()> {
    let next = segment_path(stream, fence + 1);
    if fs.exists(&next).await? && !is_fence(fs, &next).await? {
        let why = format!("it is missing, though segment {:x} follows it", fence + 1);
        return Err(StorageError::corrupt(WHAT, &segment_path(stream, fence), 0, why));
    }
    Ok(())
}

/// One segment as found: how far it is sound, what it says of earlier ones, what it holds.
pub(super) struct Scanned {
    number: u64,
    pub sound: u64,
    pub acknowledged: u64,
    pub earlier: Vec<(u64, u64)>,
    pub groups: Vec<(Bytes, SeqNo, SeqNo, Range)>,
    pub header: bool,
    pub damaged_at: Option<u64>,
}

async fn scan(fs: &Arc<dyn Filesystem>, stream: u64, low: u64, fence: u64) -> Result<(Vec<(u64, u64)>, StreamIndex)> {
    let mut segments = Vec::new();
    for number in low..fence {
        segments.push(scan_segment(fs, stream, number).await?);
    }
    // What later headers say of earlier segments rules.
    let mut lengths: Vec<(u64, u64)> = segments.iter().map(|segment| (segment.number, segment.sound)).collect();
    for segment in &segments {
        for (number, len) in &segment.earlier {
            if let Some(at) = number.checked_sub(low).and_then(|at| lengths.get_mut(at as usize)) {
                at.1 = *len;
            }
        }
    }
    for (at, segment) in segments.iter().enumerate() {
        let path = segment_path(stream, segment.number);
        let counted_by_later =
            segments[at + 1..].iter().any(|later| later.earlier.iter().any(|(number, _)| *number == segment.number));
        // A segment that a sound later one follows without a word was sound when it was left.
        let followed = segments[at + 1..].iter().any(|later| later.header);
        if segment.sound < lengths[at].1 {
            return Err(StorageError::corrupt(WHAT, &path, segment.sound, "acknowledged bytes are not sound"));
        }
        if segment.sound < segment.acknowledged {
            return Err(StorageError::corrupt(
                WHAT,
                &path,
                segment.sound,
                "bytes before an acknowledged group are not sound",
            ));
        }
        if let Some(offset) = segment.damaged_at
            && followed
            && !counted_by_later
        {
            return Err(StorageError::corrupt(
                WHAT,
                &path,
                offset,
                "a segment that others follow ends in unsound bytes",
            ));
        }
    }
    let mut index = StreamIndex::default();
    for (segment, (_, len)) in segments.iter().zip(&lengths) {
        for (region, min, max, range) in &segment.groups {
            if range.offset + u64::from(range.len) <= *len {
                index.add(region, *min, *max, *range);
            }
        }
    }
    Ok((lengths, index))
}

/// Longest segment header that is expected.
const HEADER_BYTES: usize = 4096;

/// A sealed segment by its header and index alone; `None`: it is not sealed, or one of these is not sound. What lies between is
/// checked by those who read it.
async fn read_sealed(fs: &Arc<dyn Filesystem>, stream: u64, number: u64, size: u64) -> Result<Option<Scanned>> {
    let path = segment_path(stream, number);
    let file = fs.open(&path).await?;
    let Some(end) = size.checked_sub(format::SEAL_LEN as u64) else { return Ok(None) };
    let Some(len) = format::read_seal(&file.read_at(end, format::SEAL_LEN).await?) else { return Ok(None) };
    let Some(offset) = end.checked_sub(u64::from(len)) else { return Ok(None) };
    let place = Place { stream, segment: number, offset };
    let Some(frame) = format::read_frame(&file.read_at(offset, len as usize).await?, place) else { return Ok(None) };
    let Some(index) =
        format::read_index(&frame.payload, number).filter(|_| frame.is_index && frame.len == len as usize)
    else {
        return Ok(None);
    };
    let header = file.read_at(0, HEADER_BYTES).await?;
    let Some((_, earlier)) = format::read_segment_header(&header, stream, number, &path)? else { return Ok(None) };
    let groups = index.regions.into_iter().flat_map(|(region, ranges)| {
        ranges.groups.into_iter().map(move |range| (region.clone(), ranges.min, ranges.max, range))
    });
    let acknowledged = frame.acknowledged.min(offset);
    let groups = groups.collect();
    Ok(Some(Scanned { number, sound: size, acknowledged, earlier, groups, header: true, damaged_at: None }))
}

pub(super) async fn scan_segment(fs: &Arc<dyn Filesystem>, stream: u64, number: u64) -> Result<Scanned> {
    let path = segment_path(stream, number);
    let mut scanned = Scanned {
        number,
        sound: 0,
        acknowledged: 0,
        earlier: Vec::new(),
        groups: Vec::new(),
        header: false,
        damaged_at: None,
    };
    let Some(size) = fs.size(&path).await? else { return Ok(scanned) };
    if let Some(sealed) = read_sealed(fs, stream, number, size).await? {
        return Ok(sealed);
    }
    // A segment is bounded by the roll size and one group; the file's own length bounds the read.
    let data = fs.read_at(&path, 0, usize::try_from(size).unwrap_or(usize::MAX)).await?;
    let Some((header_len, earlier)) = format::read_segment_header(&data, stream, number, &path)? else {
        scanned.damaged_at = (!data.is_empty()).then_some(0);
        // A later sound group shows that the header once was whole.
        if let Some(acknowledged) = later_acknowledged(&data, 0, stream, number) {
            scanned.acknowledged = acknowledged;
        }
        return Ok(scanned);
    };
    scanned.header = true;
    scanned.earlier = earlier;
    let mut offset = header_len;
    scanned.sound = offset as u64;
    while offset < data.len() {
        let place = Place { stream, segment: number, offset: offset as u64 };
        let Some(frame) = format::read_frame(&data.slice(offset..), place) else {
            scanned.damaged_at = Some(offset as u64);
            if let Some(acknowledged) = later_acknowledged(&data, offset, stream, number) {
                scanned.acknowledged = scanned.acknowledged.max(acknowledged);
            }
            break;
        };
        scanned.acknowledged = scanned.acknowledged.max(frame.acknowledged.min(offset as u64));
        if frame.is_index {
            if format::read_index(&frame.payload, number).is_none() {
                return Err(StorageError::corrupt(WHAT, &path, offset as u64, "the index is not sound"));
            }
            // Its seal, whole or not, holds nothing.
            if data.len() - offset - frame.len <= format::SEAL_LEN {
                scanned.sound = data.len() as u64;
                break;
            }
        } else {
            let mut entries = Vec::new();
            format::read_entries(&frame.payload, None, &mut entries)
                .map_err(|why| StorageError::corrupt(WHAT, &path, offset as u64, why))?;
            let range = Range { segment: number, offset: offset as u64, len: frame.len as u32 };
            let mut regions: std::collections::BTreeMap<Bytes, (SeqNo, SeqNo)> = Default::default();
            for entry in entries {
                let seen = regions.entry(entry.region).or_insert((entry.seqno, entry.seqno));
                *seen = (seen.0.min(entry.seqno), seen.1.max(entry.seqno));
            }
            scanned.groups.extend(regions.into_iter().map(|(region, (min, max))| (region, min, max, range)));
        }
        offset += frame.len;
        scanned.sound = offset as u64;
    }
    Ok(scanned)
}

/// The largest acknowledged length that a group from `from` on names; its payload need not be sound.
fn later_acknowledged(data: &[u8], from: usize, stream: u64, segment: u64) -> Option<u64> {
    (from..data.len())
        .filter_map(|at| {
            let place = Place { stream, segment, offset: at as u64 };
            format::read_group_header(&data[at..], place).map(|header| header.acknowledged.min(at as u64))
        })
        .max()
}

/// Bytes that one read takes at most, unless one group is longer.
pub(super) const READ_BYTES: u64 = 8 << 20;
/// Reads at a time.
const READS: usize = 8;

/// Groups that lie behind each other, to be one read.
pub(super) fn runs(groups: &[Range], most: u64) -> Vec<&[Range]> {
    let mut runs: Vec<&[Range]> = Vec::new();
    let mut rest = groups;
    while let Some(first) = rest.first() {
        let mut end = first.offset + u64::from(first.len);
        let follows = |range: &&Range| {
            let follows = range.segment == first.segment
                && range.offset == end
                && end - first.offset + u64::from(range.len) <= most;
            end += u64::from(range.len);
            follows
        };
        let run = 1 + rest[1..].iter().take_while(follows).count();
        runs.push(&rest[..run]);
        rest = &rest[run..];
    }
    runs
}

pub(super) async fn read_run<'a>(
    fs: &Arc<dyn Filesystem>,
    stream: u64,
    run: &'a [Range],
) -> Result<(String, &'a [Range], Bytes)> {
    let path = object_path(stream, run[0].segment);
    let len: u64 = run.iter().map(|range| u64::from(range.len)).sum();
    match fs.read_at(&path, run[0].offset, usize::try_from(len).unwrap_or(usize::MAX)).await {
        Ok(data) => Ok((path, run, data)),
        Err(error) if error.kind() == filesystem::ErrorKind::NotFound => {
            Err(StorageError::corrupt(WHAT, &path, 0, "it is missing, though its stream needs it"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Some of a region's entries, in order.
pub(crate) struct Stretch {
    pub entries: Vec<Entry>,
    /// Kept until they are in memtables.
    pub room: Option<OwnedSemaphorePermit>,
}

/// The entries of a region in an ended stream with `seqno > after`, in order, each once, a stretch at a time: what is read ahead is bounded
/// by the budget's room for replays.
pub(crate) fn stretches<'a>(
    fs: &'a Arc<dyn Filesystem>,
    ended: &'a Ended,
    region: &'a [u8],
    after: SeqNo,
    budget: Option<&'a Budget>,
) -> impl Stream<Item = Result<Stretch>> + Send + 'a {
    let ranges = ended.index.as_ref().and_then(|index| index.regions.get(region)).filter(|ranges| ranges.max > after);
    let groups = ranges.map_or(&[][..], |ranges| &ranges.groups);
    let most = budget.map_or(READ_BYTES, Budget::replay_read_bytes);
    let reads = runs(groups, most).into_iter().map(move |run| async move {
        let bytes = run.iter().map(|range| u64::from(range.len)).sum();
        let room = match budget {
            Some(budget) => Some(budget.replay_room(bytes).await),
            None => None,
        };
        read_run(fs, ended.stream, run).await.map(|read| (read, room))
    });
    let reads: Vec<_> = reads.collect();
    let mut last = after;
    futures::stream::iter(reads).buffered(READS).map(move |read| {
        let ((path, run, data), room) = read?;
        let mut entries = Vec::new();
        for range in run {
            let from = ((range.offset - run[0].offset) as usize).min(data.len());
            let place = Place { stream: ended.stream, segment: range.segment, offset: range.offset };
            let frame = format::read_frame(&data.slice(from..), place)
                .ok_or_else(|| StorageError::corrupt(WHAT, &path, range.offset, "an indexed group is not sound"))?;
            format::read_entries(&frame.payload, Some(region), &mut entries)
                .map_err(|why| StorageError::corrupt(WHAT, &path, range.offset, why))?;
        }
        // A region's order in the log is that of its seqnos: what does not rise stands there twice.
        entries.retain(|entry| entry.seqno > after);
        entries.sort_by_key(|entry| entry.seqno);
        entries.dedup_by_key(|entry| entry.seqno);
        entries.retain(|entry| entry.seqno > last);
        last = entries.last().map_or(last, |entry| entry.seqno);
        let bytes: usize = entries.iter().flat_map(|entry| &entry.cells).map(|cell| cell.bytes().len()).sum();
        if bytes < data.len() / 4 * 3 {
            // Cells hold on to the bytes that they were read with; those of other regions must not stay for their sake.
            copy_out(&mut entries, bytes);
        }
        Ok(Stretch { entries, room })
    })
}

/// Gives entries' cells bytes of their own.
fn copy_out(entries: &mut [Entry], bytes: usize) {
    let mut out = BytesMut::with_capacity(bytes);
    entries.iter().flat_map(|entry| &entry.cells).for_each(|cell| out.put_slice(cell.bytes()));
    let mut out = out.freeze();
    for cell in entries.iter_mut().flat_map(|entry| &mut entry.cells) {
        let own = out.split_to(cell.bytes().len());
        *cell = Cell::from_trusted(own, cell.seqno());
    }
}

/// The entries of a region in an ended stream with `seqno > after`, in order, each once.
pub async fn replay(fs: &Arc<dyn Filesystem>, ended: &Ended, region: &[u8], after: SeqNo) -> Result<Vec<Entry>> {
    let mut stretches = std::pin::pin!(stretches(fs, ended, region, after, None));
    let mut entries = Vec::new();
    while let Some(stretch) = stretches.try_next().await? {
        entries.extend(stretch.entries);
    }
    Ok(entries)
}

/// Gives an ended stream up: from now on all its data may be deleted. False if the head has changed or the answer was lost.
pub(crate) async fn release(fs: &Arc<dyn Filesystem>, stream: u64, version: &Version) -> Result<bool> {
    match fs.register_swap(&head_path(stream), version, "released", Some(Bytes::new())).await? {
        SwapOutcome::Swapped(_) => Ok(true),
        SwapOutcome::Superseded(_) => Ok(false),
    }
}
