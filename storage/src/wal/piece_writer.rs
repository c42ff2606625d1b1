//! Writing a stream where storage cannot append: each group commit is a piece, put under the next number if that is free.
//!
//! ```text
//! submit ──▶ group ──(full, or the linger is over)──▶ piece n ──▶ put, up to WINDOW in flight ──▶ stored ──(1..n stored)──▶ acknowledged
//!                                                                              unsealed pieces ──▶ segment by region ──▶ head ──▶ pieces deleted
//! ```
//!
//! Always true
//! - Numbers have no gap, and the bytes of a number never change: a put in doubt is repeated as it was.
//! - A piece is acknowledged when it and all before it surely lie there; a foreign object under a number means fenced.
//! - The head is swapped before anything below it is deleted.
//! - Bytes are put a second time only where that spares requests: pieces in which regions have long blocks stay as they are, unless
//!   there are very many.
//! - A write whose time is over is told so: surely not done if it had no number yet, unknown otherwise.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use filesystem::PutOutcome;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::{ErrorKind, SeqNo};
use runtime::backoff::Backoff;
use runtime::clock::within;
use runtime::task::{Task, TaskError};
use tokio::sync::watch;

use super::format::{RegionRanges, StreamIndex};
use super::object_path;
use super::piece::{self, HEADER_LEN, Header, Kind, Part, WINDOW};
use super::piece_reader::TAIL_PIECES_MAX;
use super::reader::{Low, PieceLow};
use super::writer::{Group, GroupPart, LogSettings, Outcome, Shared, Tracker};
use crate::error::Result;

/// First pause after a put that failed.
const PAUSE: Duration = Duration::from_millis(10);
/// Segments' worth of bytes that are kept until they are sealed; of pieces beyond it they are read again.
const HELD_MAX: u64 = 4;
/// Segments' worth of pieces that may lie there before no more are made.
const PIECES_MAX: usize = 64;
/// Of these, those from which on they are sealed whatever that costs: more than what has a server flush its regions.
const PIECES_SEALED: usize = 48;
/// Pieces that are read again at a time.
const READS: usize = 8;

/// A piece that lies there, with all before it, and is in no segment yet.
#[derive(Clone, Debug)]
pub(super) struct Unsealed {
    pub number: u64,
    since: Duration,
    /// Its bytes in the store.
    len: u64,
    /// Its bytes, if it is likely to be sealed.
    data: Option<Bytes>,
    index: Arc<StreamIndex>,
}

impl Unsealed {
    /// Whether its regions have flushed what it holds of them.
    pub fn is_covered(&self, tracker: &Tracker) -> bool {
        self.unflushed(tracker).next().is_none()
    }

    /// What its regions have not flushed of it.
    pub fn unflushed<'a>(&'a self, tracker: &'a Tracker) -> impl Iterator<Item = (&'a Bytes, &'a RegionRanges)> {
        self.index.regions.iter().filter(|(region, ranges)| !tracker.covers(region, ranges.max))
    }
}

/// Pieces behind the segments, all stored, one after the other.
#[derive(Debug, Default)]
pub(super) struct UnsealedPieces {
    pieces: VecDeque<Unsealed>,
    /// What they have in the store.
    bytes: u64,
    /// What is kept of that.
    held: u64,
}

impl std::ops::Deref for UnsealedPieces {
    type Target = VecDeque<Unsealed>;

    fn deref(&self) -> &VecDeque<Unsealed> {
        &self.pieces
    }
}

impl UnsealedPieces {
    fn push(&mut self, number: u64, since: Duration, data: Bytes, index: StreamIndex, settings: &LogSettings) {
        let len = data.len() as u64;
        let may_be_sealed = piece::measure(index.regions.values()).spares_requests(piece::LONG_BLOCK);
        let keep = may_be_sealed && self.held + len <= HELD_MAX * settings.segment_bytes;
        let data = keep.then_some(data);
        self.bytes += len;
        self.held += data.as_ref().map_or(0, |_| len);
        self.pieces.push_back(Unsealed { number, since, len, data, index: Arc::new(index) });
    }

    /// Those below a number are sealed, or nobody needs them.
    pub fn let_go(&mut self, below: u64) {
        while let Some(gone) = self.pieces.pop_front_if(|piece| piece.number < below) {
            self.bytes -= gone.len;
            self.held -= gone.data.map_or(0, |_| gone.len);
        }
    }

    /// How many from the first on make a segment.
    pub fn one_segment(&self, settings: &LogSettings) -> usize {
        let mut bytes = 0;
        let fits = |piece: &&Unsealed| {
            bytes += piece.len;
            bytes <= settings.segment_bytes
        };
        let fitting = self.pieces.iter().take(settings.segment_pieces).take_while(fits).count();
        fitting.max(1).min(self.pieces.len())
    }

    /// What they would make, as a number of segments.
    pub fn segments(&self, settings: &LogSettings) -> usize {
        let by_bytes = self.bytes.div_ceil(settings.segment_bytes.max(1)) as usize;
        by_bytes.max(self.pieces.len().div_ceil(settings.segment_pieces.max(1)))
    }
}

/// A number whose put is under way.
struct Flying {
    outcome: watch::Sender<Option<Outcome>>,
    bytes: usize,
    begun: Duration,
    /// When its put began.
    put: Duration,
    /// Whether its writers know their outcome.
    told: bool,
    stored: Option<(Bytes, StreamIndex)>,
}

/// A put that came to its end: the number, and the piece if it lies there.
type Landed = (u64, Option<(Bytes, StreamIndex)>);

struct Pieces {
    shared: Arc<Shared>,
    /// The next number.
    next: u64,
    /// Numbers from the lowest that is not acknowledged to below `next`.
    flying: BTreeMap<u64, Flying>,
    puts: FuturesUnordered<Task<Landed>>,
    /// When the newest piece was begun.
    cut: Option<Duration>,
    sealing: Option<Task<()>>,
    /// First and last piece when a seal was due that would have spared nothing.
    left: (u64, u64),
}

/// Starts committing.
pub(super) fn start(shared: Arc<Shared>) {
    let (flying, puts) = (BTreeMap::new(), FuturesUnordered::new());
    let pieces = Pieces { shared, next: 1, flying, puts, cut: None, sealing: None, left: (0, 0) };
    runtime::task::spawn("log committer", pieces.run());
}

impl Pieces {
    async fn run(mut self) {
        let shared = self.shared.clone();
        let _over = scopeguard(&shared);
        loop {
            let now = shared.runtime.clock.monotonic();
            if shared.is_fenced() {
                self.fail_all();
            }
            self.give_up(now);
            self.make_pieces(now);
            let seal_at = self.seal_what_is_due(now);
            if *shared.closed.borrow() && self.is_settled() {
                break;
            }
            let wait = self.next_look(seal_at).map(|at| at.saturating_sub(now));
            let timer = async {
                match wait {
                    Some(wait) => shared.runtime.clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shared.wake.notified() => {}
                Some(landed) = self.puts.next(), if !self.puts.is_empty() => {
                    self.landed(landed);
                    while let Some(Some(landed)) = futures::FutureExt::now_or_never(self.puts.next()) {
                        self.landed(landed);
                    }
                    // Writers that waited run first, so that their next entries share the next piece.
                    runtime::task::yield_now().await;
                }
                ended = ended(&mut self.sealing) => {
                    self.sealing = None;
                    if let Err(error) = ended {
                        // Another run of pieces must not come under the number that it may have put.
                        tracing::error!(%error, "the log cannot go on");
                        shared.set_fenced();
                    }
                }
                () = timer => {}
            }
        }
        if let Some(sealing) = self.sealing.take() {
            let limit = Duration::from_millis(shared.settings.sync_timeout_ms);
            let _ = within(&*shared.runtime.clock, limit, sealing).await; // what it leaves behind, collection removes
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.shared.settings.sync_timeout_ms)
    }

    /// Nobody waits for an outcome.
    fn is_settled(&self) -> bool {
        let open = self.shared.open.lock();
        open.group.bytes == 0 && open.waiting.is_empty() && self.flying.values().all(|flying| flying.told)
    }

    /// When something is to be done that nobody calls for.
    fn next_look(&self, seal_at: Option<Duration>) -> Option<Duration> {
        let settings = &self.shared.settings;
        let open = self.shared.open.lock();
        let (first, open_group) = (open.waiting.front(), (open.group.bytes > 0).then_some(&open.group));
        let group = first.or(open_group).map(|group| group.begun);
        let flying = self.flying.values().find(|flying| !flying.told).map(|flying| flying.begun);
        let given_up = flying.into_iter().chain(group).min().map(|begun| begun + self.timeout());
        // Without room for another piece its linger ends with a landing.
        let linger = (group.is_some() && self.has_room())
            .then(|| self.cut.unwrap_or_default() + Duration::from_millis(settings.linger_ms));
        given_up.into_iter().chain(linger).chain(seal_at).min()
    }

    fn has_room(&self) -> bool {
        let settings = &self.shared.settings;
        let tracker = self.shared.tracker.lock();
        (self.flying.len() as u64) < WINDOW && tracker.pieces.len() < PIECES_MAX * settings.segment_pieces.max(1)
    }

    /// Gives numbers to groups, as many as may fly.
    fn make_pieces(&mut self, now: Duration) {
        self.cut_pieces(now);
        let room = if self.has_room() { WINDOW as usize - self.flying.len() } else { 0 };
        self.shared.open.lock().room = room;
    }

    fn cut_pieces(&mut self, now: Duration) {
        let linger = Duration::from_millis(self.shared.settings.linger_ms);
        while self.has_room() && !self.shared.is_fenced() {
            let group = {
                let mut open = self.shared.open.lock();
                let lingered = self.cut.is_none_or(|cut| now.saturating_sub(cut) >= linger) || !open.accepting;
                if let Some(group) = open.waiting.pop_front() {
                    open.waiting_bytes -= group.bytes;
                    open.room = open.room.saturating_sub(1);
                    group
                } else if open.group.bytes >= self.shared.settings.piece_bytes || (open.group.bytes > 0 && lingered) {
                    std::mem::replace(&mut open.group, Group::new(BytesMut::new()))
                } else {
                    return;
                }
            };
            self.cut = Some(now);
            let number = self.next;
            self.next += 1;
            let Group { bytes, regions, begun, outcome, .. } = group;
            self.flying.insert(number, Flying { outcome, bytes, begun, put: now, told: false, stored: None });
            let confirmed = self.flying.keys().next().map_or(0, |first| first - 1);
            let header = Header {
                id: piece::id(Kind::Piece, number),
                token: self.shared.token,
                confirmed,
                pieces: (number, number),
            };
            self.puts.push(runtime::task::spawn("log piece", put_piece(self.shared.clone(), header, regions)));
        }
    }

    /// A put has come to its end: what has no gap before it is acknowledged.
    fn landed(&mut self, landed: std::result::Result<Landed, TaskError>) {
        let (number, stored) = match landed {
            Ok(landed) => landed,
            Err(error) => {
                // Its number can be neither used again nor left out.
                tracing::error!(%error, "the log cannot go on");
                self.shared.set_fenced();
                return;
            }
        };
        let (Some(stored), Some(flying)) = (stored, self.flying.get_mut(&number)) else { return };
        flying.stored = Some(stored);
        let counters = &self.shared.counters;
        while let Some(first) = self.flying.first_entry() {
            if first.get().stored.is_none() {
                break;
            }
            let (number, flying) = first.remove_entry();
            let Some((data, index)) = flying.stored else { break };
            self.shared.confirmed.store(number, Release);
            self.shared.guard.proves(flying.put);
            let since = self.shared.runtime.clock.monotonic();
            self.shared.tracker.lock().pieces.push(number, since, data, index, &self.shared.settings);
            counters.syncs.fetch_add(1, Relaxed);
            counters.bytes.fetch_add(flying.bytes as u64, Relaxed);
            if !flying.told {
                flying.outcome.send_replace(Some(Outcome::Durable));
            }
        }
    }

    /// Tells those who have waited too long.
    fn give_up(&mut self, now: Duration) {
        let timeout = self.timeout();
        let late = |begun: Duration| now.saturating_sub(begun) >= timeout;
        let counters = &self.shared.counters;
        {
            let why: Arc<str> = "the log's storage does not answer; nothing of the write happened".into();
            let mut open = self.shared.open.lock();
            let open = &mut *open;
            let refuse = |group: Group| {
                counters.failures.fetch_add(1, Relaxed);
                group.outcome.send_replace(Some(Outcome::Failed(ErrorKind::Unavailable, why.clone())));
            };
            while let Some(group) = open.waiting.pop_front_if(|group| late(group.begun)) {
                open.waiting_bytes -= group.bytes;
                refuse(group);
            }
            if open.waiting.is_empty() && open.group.bytes > 0 && late(open.group.begun) {
                refuse(std::mem::replace(&mut open.group, Group::new(BytesMut::new())));
            }
        }
        for flying in self.flying.values_mut().filter(|flying| !flying.told && late(flying.begun)) {
            flying.told = true;
            counters.failures.fetch_add(1, Relaxed);
            let why = "the log's storage does not answer; the write may still happen";
            flying.outcome.send_replace(Some(Outcome::Failed(ErrorKind::Unknown, why.into())));
        }
    }

    fn fail_all(&mut self) {
        let mut outcomes: Vec<_> = std::mem::take(&mut self.flying)
            .into_values()
            .filter(|flying| !flying.told)
            .map(|flying| flying.outcome)
            .collect();
        let mut open = self.shared.open.lock();
        outcomes.extend(open.waiting.drain(..).map(|group| group.outcome));
        open.waiting_bytes = 0;
        if open.group.bytes > 0 {
            outcomes.push(std::mem::replace(&mut open.group, Group::new(BytesMut::new())).outcome);
        }
        drop(open);
        self.shared.counters.failures.fetch_add(outcomes.len() as u64, Relaxed);
        for outcome in outcomes {
            outcome.send_replace(Some(Outcome::Fenced));
        }
    }

    /// Seals, or says when there will be something to seal.
    fn seal_what_is_due(&mut self, now: Duration) -> Option<Duration> {
        if self.sealing.is_some() || *self.shared.closed.borrow() || self.shared.is_fenced() {
            return None; // its end wakes us
        }
        let settings = &self.shared.settings;
        let tracker = self.shared.tracker.lock();
        // Once some of them are gone the question is another one.
        let last_left = if self.left.0 == tracker.pieces.front()?.number { self.left.1 } else { 0 };
        let new = tracker.pieces.partition_point(|piece| piece.number <= last_left);
        let first = tracker.pieces.get(new)?;
        let old_at = first.since + Duration::from_millis(settings.segment_age_ms);
        let count = tracker.pieces.len() - new;
        let few = count <= TAIL_PIECES_MAX.min(settings.segment_pieces.saturating_sub(1));
        let due = count >= settings.segment_pieces
            || tracker.pieces.range(new..).map(|piece| piece.len).sum::<u64>() >= settings.segment_bytes
            || (now >= old_at && !few);
        if !due {
            return (!few).then_some(old_at);
        }
        let forced = tracker.pieces.len() >= PIECES_SEALED * settings.segment_pieces.max(1);
        if !forced && !is_worth_sealing(&tracker) {
            self.left = (tracker.pieces.front()?.number, tracker.pieces.back()?.number);
            return None;
        }
        let pieces: Vec<Unsealed> = tracker.pieces.range(..tracker.pieces.one_segment(settings)).cloned().collect();
        drop(tracker);
        let (shared, token) = (self.shared.clone(), self.shared.token);
        self.sealing = Some(runtime::task::spawn("log seal", async move { seal(&shared, pieces, token).await }));
        None
    }
}

/// Waits for the end of a task, if there is one.
async fn ended(task: &mut Option<Task<()>>) -> std::result::Result<(), TaskError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Says on every way out that the committer has ended.
fn scopeguard(shared: &Arc<Shared>) -> impl Drop {
    struct Over(Arc<Shared>);
    impl Drop for Over {
        fn drop(&mut self) {
            self.0.over.send_replace(true);
        }
    }
    Over(shared.clone())
}

/// Whether laying the pieces together is worth the bytes: it spares requests, or few of the bytes are needed any more.
fn is_worth_sealing(tracker: &Tracker) -> bool {
    let unflushed = tracker.pieces.iter().flat_map(|piece| piece.unflushed(tracker));
    let blocks = piece::measure(unflushed.map(|(_, ranges)| ranges));
    blocks.spares_requests(piece::LONG_BLOCK) || blocks.bytes < tracker.pieces.bytes / 4
}

/// How long one call of so many bytes may take before it is made again: its writers have not given up by then. Where nobody waits, objects
/// are long: a millisecond more for each KiB.
fn call_limit(shared: &Shared, bytes: usize) -> Duration {
    Duration::from_millis((shared.settings.sync_timeout_ms / 3).max(1) + bytes as u64 / 1024)
}

async fn put_piece(shared: Arc<Shared>, header: Header, regions: BTreeMap<Bytes, GroupPart>) -> Landed {
    let part = |part: GroupPart| Part { min: part.min, max: part.max, payloads: vec![part.payload.freeze()] };
    let parts = regions.into_iter().map(|(region, of)| (region, part(of))).collect();
    let (data, index) = piece::object(shared.stream, header, &parts);
    let (_, number) = piece::kind(header.id);
    (number, put(&shared, header.id, &data).await.then_some((data, index)))
}

/// Puts an object of ours until it surely lies there. False: it never will, because the stream has been ended or left.
async fn put(shared: &Arc<Shared>, id: u64, data: &Bytes) -> bool {
    let path = object_path(shared.stream, id);
    let clock = &*shared.runtime.clock;
    let limit = call_limit(shared, data.len());
    let mut pauses = Backoff::new(PAUSE);
    while !shared.is_fenced() && !*shared.over.borrow() {
        let once = async {
            match shared.fs.put_if_absent(&path, data.clone()).await? {
                PutOutcome::Created => Ok(Some(true)),
                // Ours, if an answer was lost; or a fence.
                PutOutcome::Exists => match shared.fs.read_at(&path, 0, HEADER_LEN).await {
                    Ok(found) => Ok(Some(found == data[..HEADER_LEN])),
                    Err(error) if error.kind() == filesystem::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(error),
                },
            }
        };
        match within(clock, limit, once).await {
            Some(Ok(Some(true))) => return true,
            Some(Ok(Some(false))) => {
                shared.set_fenced();
                return false;
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => tracing::warn!(%error, "a put of the log is repeated"),
            None => tracing::warn!(path, "a put of the log does not answer and is repeated"),
        }
        clock.sleep(pauses.next(&*shared.runtime.random)).await;
    }
    false
}

/// What a piece holds that its regions have not flushed. `None`: the log is over.
async fn unflushed_parts(shared: &Shared, piece: &Unsealed) -> Option<Vec<(Bytes, Part)>> {
    let path = object_path(shared.stream, piece::id(Kind::Piece, piece.number));
    let clock = &*shared.runtime.clock;
    let mut pauses = Backoff::new(PAUSE);
    while !shared.is_fenced() && !*shared.over.borrow() {
        let unflushed: Vec<(Bytes, RegionRanges)> = {
            let tracker = shared.tracker.lock();
            piece.unflushed(&tracker).map(|(region, ranges)| (region.clone(), ranges.clone())).collect()
        };
        let blocks = || unflushed.iter().flat_map(|(_, ranges)| &ranges.groups);
        let (from, to) = match (blocks().next(), blocks().next_back()) {
            (Some(first), Some(last)) => (first.offset, last.offset + u64::from(last.len)),
            _ => return Some(Vec::new()),
        };
        let len = (to - from) as usize;
        let read = match &piece.data {
            Some(data) => Some(Ok(data.slice(from as usize..to as usize))),
            None => within(clock, call_limit(shared, len), shared.fs.read_at(&path, from, len)).await,
        };
        match read {
            Some(Ok(data)) => {
                let part = |(region, ranges): &(Bytes, RegionRanges)| {
                    Ok((region.clone(), piece::part(&data, from, ranges, shared.stream, &path)?))
                };
                match unflushed.iter().map(part).collect::<Result<_>>() {
                    Ok(parts) => return Some(parts),
                    // What its regions hold in memory is whole; once they have flushed it nobody needs this.
                    Err(error) => tracing::error!(%error, "a piece of the log cannot be sealed"),
                }
            }
            Some(Err(error)) => tracing::warn!(%error, "a piece of the log is read again"),
            None => tracing::warn!(path, "a read of the log does not answer and is repeated"),
        }
        clock.sleep(pauses.next(&*shared.runtime.random)).await;
    }
    None
}

/// Puts what the pieces hold, by region, into the next segment, and then lets the pieces go.
async fn seal(shared: &Arc<Shared>, pieces: Vec<Unsealed>, token: u128) {
    let (first, last) = (pieces[0].number, pieces[pieces.len() - 1].number);
    let mut parts: BTreeMap<Bytes, Part> = BTreeMap::new();
    let unflushed: Vec<_> = pieces.iter().map(|piece| unflushed_parts(shared, piece)).collect();
    let mut unflushed = futures::stream::iter(unflushed).buffered(READS);
    while let Some(of_piece) = unflushed.next().await {
        let Some(of_piece) = of_piece else { return };
        of_piece.into_iter().for_each(|(region, part)| piece::add(&mut parts, region, part));
    }
    let Low::Pieces(low) = shared.head.lock().await.low else { return };
    // Only sealing makes segments, one after the other: the number is ours.
    let number = low.last + u64::from(!parts.is_empty());
    if !parts.is_empty() {
        let header = Header { id: piece::id(Kind::Sealed, number), token, confirmed: last, pieces: (first, last) };
        let (data, _) = piece::object(shared.stream, header, &parts);
        if !put(shared, header.id, &data).await {
            return;
        }
    }
    let regions: HashMap<Bytes, SeqNo> = parts.into_iter().map(|(region, part)| (region, part.max)).collect();
    let mut pauses = Backoff::new(PAUSE);
    loop {
        {
            let mut head = shared.head.lock().await;
            let Low::Pieces(low) = head.low else { return };
            let low = PieceLow { piece: low.piece.max(last + 1), segment: low.segment, last: number };
            match shared.swap_head(&mut head, Low::Pieces(low)).await {
                Ok(()) => {
                    let mut tracker = shared.tracker.lock();
                    tracker.pieces.let_go(last + 1);
                    if !regions.is_empty() {
                        tracker.segments.insert(number, regions);
                    }
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Fenced => return,
                Err(error) => tracing::warn!(%error, "pieces of the log wait to be let go"),
            }
        }
        if *shared.over.borrow() {
            return;
        }
        shared.runtime.clock.sleep(pauses.next(&*shared.runtime.random)).await;
    }
    if let Err(error) = shared.delete((first..=last).map(|number| piece::id(Kind::Piece, number))).await {
        tracing::warn!(%error, "pieces of the log that nobody needs are left to collection");
    }
}
