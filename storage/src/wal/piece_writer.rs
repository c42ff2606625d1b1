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
//! - A write whose time is over is told so: surely not done if it had no number yet, unknown otherwise.

use std::collections::{BTreeMap, HashMap};
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
use runtime::task::Task;
use tokio::sync::watch;

use super::format::StreamIndex;
use super::object_path;
use super::piece::{self, HEADER_LEN, Header, Kind, Part, WINDOW};
use super::piece_reader::TAIL_PIECES_MAX;
use super::reader::{Low, PieceLow};
use super::writer::{Group, GroupPart, Outcome, Shared, Tracker};

/// First pause after a put that failed.
const PAUSE: Duration = Duration::from_millis(10);
/// Segments' worth of pieces that may wait to be sealed before no more are made.
const UNSEALED_MAX: usize = 4;

/// A piece that lies there, with all before it, and is in no segment yet.
#[derive(Clone, Debug)]
pub(super) struct Unsealed {
    pub number: u64,
    since: Duration,
    data: Bytes,
    index: Arc<StreamIndex>,
}

impl Unsealed {
    /// Whether its regions have flushed what it holds of them.
    pub fn is_covered(&self, tracker: &Tracker) -> bool {
        self.index.regions.iter().all(|(region, ranges)| tracker.covers(region, ranges.max))
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
}

/// Starts committing.
pub(super) fn start(shared: Arc<Shared>) {
    let (flying, puts) = (BTreeMap::new(), FuturesUnordered::new());
    let pieces = Pieces { shared, next: 1, flying, puts, cut: None, sealing: None };
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
                () = ended(&mut self.sealing) => self.sealing = None,
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
        (self.flying.len() as u64) < WINDOW
            && tracker.pieces.len() < UNSEALED_MAX * settings.segment_pieces.max(1)
            && unsealed_bytes(&tracker) < UNSEALED_MAX as u64 * settings.segment_bytes
    }

    /// Gives numbers to groups, as many as may fly.
    fn make_pieces(&mut self, now: Duration) {
        let linger = Duration::from_millis(self.shared.settings.linger_ms);
        while self.has_room() && !self.shared.is_fenced() {
            let group = {
                let mut open = self.shared.open.lock();
                let lingered = self.cut.is_none_or(|cut| now.saturating_sub(cut) >= linger) || !open.accepting;
                if let Some(group) = open.waiting.pop_front() {
                    open.waiting_bytes -= group.bytes;
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
    fn landed(&mut self, landed: Result<Landed, runtime::task::TaskError>) {
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
            let piece = Unsealed { number, since, data, index: Arc::new(index) };
            self.shared.tracker.lock().pieces.push_back(piece);
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
        let first = tracker.pieces.front()?;
        let old_at = first.since + Duration::from_millis(settings.segment_age_ms);
        let few = tracker.pieces.len() <= TAIL_PIECES_MAX.min(settings.segment_pieces.saturating_sub(1));
        let due = tracker.pieces.len() >= settings.segment_pieces
            || unsealed_bytes(&tracker) >= settings.segment_bytes
            || (now >= old_at && !few);
        if !due {
            return (!few).then_some(old_at);
        }
        let pieces: Vec<Unsealed> = tracker.pieces.iter().cloned().collect();
        drop(tracker);
        let (shared, token) = (self.shared.clone(), self.shared.token);
        self.sealing = Some(runtime::task::spawn("log seal", async move { seal(&shared, pieces, token).await }));
        None
    }
}

/// Waits for the end of a task, if there is one.
async fn ended(task: &mut Option<Task<()>>) {
    match task {
        Some(task) => drop(task.await),
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

fn unsealed_bytes(tracker: &Tracker) -> u64 {
    tracker.pieces.iter().map(|piece| piece.data.len() as u64).sum()
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
    // So that a call that hangs is made again before its writers give up.
    // A segment is long, and nobody waits for it: a millisecond more for each KiB.
    let limit = Duration::from_millis((shared.settings.sync_timeout_ms / 3).max(1) + data.len() as u64 / 1024);
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

/// Puts what the pieces hold, by region, into the next segment, and then lets the pieces go.
async fn seal(shared: &Arc<Shared>, pieces: Vec<Unsealed>, token: u128) {
    let (first, last) = (pieces[0].number, pieces[pieces.len() - 1].number);
    let mut parts: BTreeMap<Bytes, Part> = BTreeMap::new();
    {
        let tracker = shared.tracker.lock();
        for piece in &pieces {
            for (region, ranges) in &piece.index.regions {
                if tracker.covers(region, ranges.max) {
                    continue; // it is in files
                }
                let part = parts.entry(region.clone()).or_insert_with(|| Part {
                    min: ranges.min,
                    max: ranges.max,
                    payloads: Vec::new(),
                });
                part.max = part.max.max(ranges.max);
                part.payloads.extend(ranges.groups.iter().map(|range| piece::payload_of(&piece.data, *range)));
            }
        }
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
                    while tracker.pieces.front().is_some_and(|piece| piece.number <= last) {
                        tracker.pieces.pop_front();
                    }
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
