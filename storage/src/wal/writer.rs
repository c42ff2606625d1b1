//! Writing a stream: submit under the caller's lock, commit in groups on a task of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use filesystem::{CreateOutcome, Filesystem, LogOutcome, LogWriter, SwapOutcome, Version};
use futures::{Stream, StreamExt};
use model::mutation::Nonce;
use model::{Cell, ErrorKind, SeqNo};
use parking_lot::Mutex;
use runtime::Runtime;
use runtime::clock::within;
use tokio::sync::{Notify, OnceCell, watch};

use super::format::{self, GROUP_HEADER_LEN, Place, Range, StreamIndex};
use super::guard::Guard;
use super::piece::{self, Kind};
use super::piece_writer::{self, UnsealedPieces};
use super::reader::{Ended, Low, PieceLow, Stretch, is_fence};
use super::roots::{FindRoot, Roots};
use super::{StreamId, head_path, object_path, segment_path};
use crate::budget::Budget;
use crate::error::{Result, StorageError};

/// How a log behaves.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// Bytes after which a segment is sealed; larger: fewer files, kept longer.
    pub segment_bytes: u64,
    /// Bytes that may wait for one sync; more is Busy.
    pub pending_bytes_max: usize,
    /// How long one write or sync may take before the segment is given up, in milliseconds. Without appends: how long a writer waits
    /// for a store that does not answer.
    pub sync_timeout_ms: u64,
    /// Without appends, each put is paid for: pieces that are not full begin at least so many milliseconds apart. A write
    /// after a pause goes at once; under a steady load the log makes at most 1000 / `linger_ms` puts a second until they are full.
    pub linger_ms: u64,
    /// Bytes at which a piece is full and need not linger.
    pub piece_bytes: usize,
    /// Bytes to which pieces grow while all puts allowed are in flight.
    pub piece_bytes_max: usize,
    /// Pieces that are sealed into one segment, or fewer of `segment_bytes` together, if that spares requests: `docs/formats/log-piece.md`.
    pub segment_pieces: usize,
    /// Age of a piece in milliseconds at which the same is asked of it and those after it, if they are more than a few.
    pub segment_age_ms: u64,
    /// Without appends: how long reads are answered, in milliseconds, on the strength of one look at the store that found nobody else's fence. An
    /// opening behind another process's log waits so long and 1 % more, so it must be the same in all processes. 0: a look for each read, or for those
    /// that wait together, and no waiting.
    pub read_lease_ms: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            segment_bytes: 64 << 20,
            pending_bytes_max: 64 << 20,
            sync_timeout_ms: 30_000,
            linger_ms: 20,
            piece_bytes: 1 << 20,
            piece_bytes_max: 8 << 20,
            segment_pieces: 64,
            segment_age_ms: 60_000,
            read_lease_ms: 1_000,
        }
    }
}

/// Pauses between tries when no space is left.
const FULL_PAUSE_MIN: Duration = Duration::from_millis(50);
const FULL_PAUSE_MAX: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Durable,
    Failed(ErrorKind, Arc<str>),
    Fenced,
}

/// What a group holds of one region.
#[derive(Debug)]
pub(super) struct GroupPart {
    pub min: SeqNo,
    pub max: SeqNo,
    /// Its entries, if they are to lie by region.
    pub payload: BytesMut,
}

#[derive(Debug)]
pub(super) struct Group {
    /// The entries, if they are to lie in the order they came.
    pub payload: BytesMut,
    /// Length of all entries.
    pub bytes: usize,
    pub regions: BTreeMap<Bytes, GroupPart>,
    /// When the first came; known of pieces only.
    pub begun: Duration,
    pub outcome: watch::Sender<Option<Outcome>>,
}

impl Group {
    pub fn new(payload: BytesMut) -> Group {
        let outcome = watch::Sender::new(None);
        Group { payload, bytes: 0, regions: BTreeMap::new(), begun: Duration::ZERO, outcome }
    }
}

#[derive(Debug)]
pub(super) struct Open {
    pub group: Group,
    /// Full groups before it that wait for a number.
    pub waiting: VecDeque<Group>,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Pieces that may be put now.
    pub room: usize,
    /// Largest seqno ever submitted, by region.
    submitted: HashMap<Bytes, SeqNo>,
    pub accepting: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Sealed and open segments that still count: largest seqno by region.
    pub segments: BTreeMap<u64, HashMap<Bytes, SeqNo>>,
    /// Pieces behind them.
    pub pieces: UnsealedPieces,
    flushed: HashMap<Bytes, SeqNo>,
}

impl Tracker {
    /// Whether all up to `max` of the region is in files.
    pub fn covers(&self, region: &Bytes, max: SeqNo) -> bool {
        self.flushed.get(region).is_some_and(|flushed| *flushed >= max)
    }
}

/// The head of a live stream as its writer knows it.
#[derive(Debug)]
pub(super) struct Live {
    version: Version,
    pub low: Low,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub fs: Arc<dyn Filesystem>,
    pub runtime: Runtime,
    pub settings: LogSettings,
    /// Id of the root that it lies on.
    root: u32,
    pub stream: u64,
    /// Whether the log is made of pieces, because its storage cannot append.
    pub pieces: bool,
    /// Tells this writer's objects from others'.
    pub token: u128,
    /// The last piece that is acknowledged.
    pub confirmed: AtomicU64,
    pub guard: Guard,
    pub open: Mutex<Open>,
    pub tracker: Mutex<Tracker>,
    pub wake: Notify,
    pub closed: watch::Sender<bool>,
    /// Whether the committer of pieces has ended.
    pub over: watch::Sender<bool>,
    fenced: std::sync::atomic::AtomicBool,
    pub counters: Counters,
    pub head: tokio::sync::Mutex<Live>,
    /// Other roots on which streams of others may lie.
    roots: Roots,
    /// Streams of others that were ended, the oldest first.
    others: Mutex<VecDeque<(StreamId, Other)>>,
}

/// A stream of another, once it is ended.
type Other = Arc<OnceCell<Arc<EndedElsewhere>>>;

/// A stream of another, and the root that it lies on.
#[derive(Debug)]
pub(crate) struct EndedElsewhere {
    pub ended: Ended,
    fs: Arc<dyn Filesystem>,
    /// Whether it is made of pieces.
    pub pieces: bool,
    /// When it was known to be ended.
    pub since: Duration,
}

impl EndedElsewhere {
    /// The entries of a region in it, behind `after`, a stretch at a time.
    pub fn replay<'a>(
        &'a self,
        region: &'a [u8],
        after: SeqNo,
        budget: &'a Budget,
    ) -> impl Stream<Item = Result<Stretch>> + Send + 'a {
        super::reader::stretches(&self.fs, &self.ended, region, after, Some(budget))
    }
}

/// Ended streams that are remembered.
const OTHERS_MAX: usize = 16;

impl Shared {
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(std::sync::atomic::Ordering::Acquire)
    }

    pub fn set_fenced(&self) {
        self.fenced.store(true, std::sync::atomic::Ordering::Release);
        self.wake.notify_one();
    }

    /// Swaps the head of the live stream; whoever else has swapped it has ended the stream.
    pub async fn swap_head(&self, head: &mut Live, low: Low) -> Result<()> {
        let (path, live) = (head_path(self.stream), low.live());
        let mut swapped = self.fs.register_swap(&path, &head.version, &live, None).await?;
        if let SwapOutcome::Superseded(Some(found)) = &swapped
            && found.head.starts_with("live.")
        {
            // Only this writer says so: an earlier swap stands whose answer was lost.
            head.version = found.version.clone();
            swapped = self.fs.register_swap(&path, &head.version, &live, None).await?;
        }
        match swapped {
            SwapOutcome::Swapped(version) => {
                *head = Live { version, low };
                Ok(())
            }
            SwapOutcome::Superseded(_) => {
                self.set_fenced();
                Err(StorageError::Fenced("the log".to_owned()))
            }
        }
    }

    /// Deletes objects below the head's numbers. What is left of them is found by collection.
    pub async fn delete(&self, ids: impl Iterator<Item = u64>) -> Result<()> {
        let deletes: Vec<_> =
            ids.map(|id| async move { self.fs.delete(&object_path(self.stream, id)).await }).collect();
        let done: Vec<_> = futures::stream::iter(deletes).buffer_unordered(DELETES).collect().await;
        done.into_iter().collect::<filesystem::Result<()>>().map_err(Into::into)
    }
}

/// Deletions at a time.
const DELETES: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub syncs: AtomicU64,
    pub bytes: AtomicU64,
    pub failures: AtomicU64,
    pub looks: AtomicU64,
}

/// What a log has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounters {
    /// Groups made durable, each by one sync.
    pub syncs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Groups that could not be made durable.
    pub failures: u64,
    /// Looks made for reads, whether another process has taken over.
    pub looks: u64,
}

/// The writing end of a stream; clones share it.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

/// Stands for a submitted entry.
#[derive(Debug)]
pub struct Ticket(watch::Receiver<Option<Outcome>>);

impl Ticket {
    /// Waits until the entry is durable, or known to have failed.
    pub async fn durable(mut self) -> Result<()> {
        let outcome = match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            // The committer is gone without an answer: only when the process is going down.
            Err(_) => None,
        };
        match outcome {
            Some(Outcome::Durable) => Ok(()),
            Some(Outcome::Failed(kind, why)) => Err(StorageError::Log(why.to_string(), kind)),
            Some(Outcome::Fenced) => Err(StorageError::Fenced("the log".to_owned())),
            None => Err(StorageError::Log("the log is closing".to_owned(), ErrorKind::Unknown)),
        }
    }
}

impl Log {
    /// Starts a stream in the data root with this number, which must be new: 64 random bits.
    pub async fn create(fs: Arc<dyn Filesystem>, runtime: Runtime, settings: LogSettings, stream: u64) -> Result<Log> {
        Log::create_on(fs, runtime, settings, StreamId { root: 0, stream }).await
    }

    /// Starts a stream in the root `fs`, which the cluster has under this id: if it is not the data root, its register says so already.
    pub async fn create_on(
        fs: Arc<dyn Filesystem>,
        runtime: Runtime,
        settings: LogSettings,
        id: StreamId,
    ) -> Result<Log> {
        let StreamId { root, stream } = id;
        let pieces = !fs.appends();
        let low = match pieces {
            true => Low::Pieces(PieceLow { piece: 1, segment: 1, last: 0 }),
            false => Low::Appended(1),
        };
        let version = match fs.register_create(&head_path(stream), &low.live(), Bytes::new()).await? {
            CreateOutcome::Created(version) => version,
            CreateOutcome::Exists(_) => return Err(StorageError::Fenced(format!("log stream {stream:016x}"))),
        };
        let open = Open {
            group: Group::new(BytesMut::new()),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            room: 0,
            submitted: HashMap::new(),
            accepting: true,
        };
        let token = runtime.random.next_u128();
        let shared = Arc::new(Shared {
            fs,
            token,
            confirmed: AtomicU64::new(0),
            guard: Guard::default(),
            runtime,
            settings,
            root,
            stream,
            pieces,
            open: Mutex::new(open),
            tracker: Mutex::default(),
            wake: Notify::new(),
            closed: watch::Sender::new(false),
            over: watch::Sender::new(false),
            fenced: std::sync::atomic::AtomicBool::new(false),
            counters: Counters::default(),
            head: tokio::sync::Mutex::new(Live { version, low }),
            roots: Roots::default(),
            others: Mutex::default(),
        });
        if pieces {
            piece_writer::start(shared.clone());
        } else {
            let shared = shared.clone();
            let committer = Committer { shared, number: 0, current: None, earlier: Vec::new(), full: None };
            runtime::task::spawn("log committer", committer.run());
        }
        Ok(Log(shared))
    }

    /// The stream's number on its root.
    pub fn stream(&self) -> u64 {
        self.0.stream
    }

    /// The stream's name in the cluster.
    pub fn id(&self) -> StreamId {
        StreamId { root: self.0.root, stream: self.0.stream }
    }

    /// Whether somebody ended the stream: this process must stop serving.
    pub fn is_fenced(&self) -> bool {
        self.0.is_fenced()
    }

    /// The root on which it lies.
    pub fn filesystem(&self) -> &Arc<dyn Filesystem> {
        &self.0.fs
    }

    /// Another log root of the cluster, besides the data root.
    pub fn know_root(&self, id: u32, fs: Arc<dyn Filesystem>) {
        self.0.roots.add(id, fs);
    }

    /// Who finds the roots that it was not told.
    pub fn find_roots_by(&self, finder: Arc<dyn FindRoot>) {
        self.0.roots.find_by(finder);
    }

    /// The other log roots that were told or found.
    pub fn other_roots(&self) -> Vec<(u32, Arc<dyn Filesystem>)> {
        self.0.roots.all()
    }

    /// Ends another stream, which a manifest on the root `data` needs, and answers what it holds. What was learnt is remembered:
    /// nobody writes an ended stream.
    pub(crate) async fn end_other(&self, stream: StreamId, data: &Arc<dyn Filesystem>) -> Result<Arc<EndedElsewhere>> {
        let cell = {
            let mut others = self.0.others.lock();
            match others.iter().find(|(other, _)| *other == stream) {
                Some((_, cell)) => cell.clone(),
                None => {
                    if others.len() >= OTHERS_MAX {
                        others.pop_front();
                    }
                    others.push_back((stream, Arc::default()));
                    others[others.len() - 1].1.clone()
                }
            }
        };
        cell.get_or_try_init(async || {
            let fs = match stream.root {
                root if root == self.0.root => self.0.fs.clone(),
                0 => data.clone(),
                root => self.0.roots.get(root).await?,
            };
            let ended = super::reader::fence_known(&fs, stream.stream).await?;
            Ok(self.ended_at(fs, ended))
        })
        .await
        .cloned()
    }

    fn ended_at(&self, fs: Arc<dyn Filesystem>, ended: Ended) -> Arc<EndedElsewhere> {
        let (pieces, since) = (!fs.appends(), self.0.runtime.clock.monotonic());
        Arc::new(EndedElsewhere { ended, fs, pieces, since })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Hands an entry over. Cheap; meant to be called inside the critical section that took the seqno, so that log order is
    /// seqno order. Fails with Busy when too much waits, and when the log is closed; then nothing was logged.
    pub fn submit(
        &self,
        region: &Bytes,
        seqno: SeqNo,
        written_ms: i64,
        nonce: Option<Nonce>,
        cells: &[Cell],
    ) -> Result<Ticket> {
        let mut guard = self.0.open.lock();
        let open = &mut *guard;
        if !open.accepting {
            return Err(StorageError::Closing("the log".to_owned()));
        }
        if open.waiting_bytes + open.group.bytes >= self.0.settings.pending_bytes_max {
            return Err(StorageError::Busy("the log is behind".to_owned()));
        }
        if self.0.pieces {
            let settings = &self.0.settings;
            // What comes at once goes in as many pieces as may fly; they grow when no more may.
            let most = if open.waiting.len() < open.room { settings.piece_bytes } else { settings.piece_bytes_max };
            if open.group.bytes >= most {
                let full = std::mem::replace(&mut open.group, Group::new(BytesMut::new()));
                open.waiting_bytes += full.bytes;
                open.waiting.push_back(full);
            }
            if open.group.bytes == 0 {
                open.group.begun = self.0.runtime.clock.monotonic();
            }
        }
        let group = &mut open.group;
        let part = match group.regions.get_mut(region) {
            Some(part) => part,
            None => {
                let part = GroupPart { min: seqno, max: seqno, payload: BytesMut::new() };
                group.regions.entry(region.clone()).or_insert(part)
            }
        };
        part.max = seqno;
        let out = if self.0.pieces { &mut part.payload } else { &mut group.payload };
        let before = out.len();
        format::write_entry(out, region, seqno, written_ms, nonce, cells);
        group.bytes += out.len() - before;
        let ticket = Ticket(group.outcome.subscribe());
        match open.submitted.get_mut(region) {
            Some(last) => *last = seqno,
            None => drop(open.submitted.insert(region.clone(), seqno)),
        }
        drop(guard);
        self.0.wake.notify_one();
        Ok(ticket)
    }

    /// The region has flushed everything up to `seqno`: segments that nobody needs any more are deleted.
    pub async fn forget(&self, region: &Bytes, seqno: SeqNo) -> Result<()> {
        let mut head = self.0.head.lock().await;
        let (low, unneeded) = {
            let mut tracker = self.0.tracker.lock();
            let flushed = tracker.flushed.entry(region.clone()).or_default();
            *flushed = (*flushed).max(seqno);
            // The newest segment that is appended to may still grow; one that is sealed does not.
            let end = match head.low {
                Low::Appended(_) => tracker.segments.keys().next_back().copied().unwrap_or(0),
                Low::Pieces(low) => low.last + 1,
            };
            let covered =
                |regions: &HashMap<Bytes, SeqNo>| regions.iter().all(|(name, max)| tracker.covers(name, *max));
            let segments = tracker.segments.iter();
            let unneeded: Vec<u64> = segments
                .take_while(|(number, regions)| **number < end && covered(regions))
                .map(|(number, _)| *number)
                .collect();
            match head.low {
                Low::Appended(low) => (Low::Appended(unneeded.last().map_or(low, |last| last + 1)), unneeded),
                Low::Pieces(mut low) => {
                    let segment = |number: &u64| piece::id(Kind::Sealed, *number);
                    let mut ids: Vec<u64> = unneeded.iter().map(segment).collect();
                    low.segment = unneeded.last().map_or(low.segment, |last| last + 1);
                    let pieces = tracker.pieces.iter().take_while(|piece| piece.is_covered(&tracker));
                    for piece in pieces {
                        low.piece = piece.number + 1;
                        ids.push(piece::id(Kind::Piece, piece.number));
                    }
                    (Low::Pieces(low), ids)
                }
            }
        };
        if unneeded.is_empty() {
            return Ok(());
        }
        // First the head, then the files: a reader never looks below `low`.
        self.0.swap_head(&mut head, low).await?;
        if let Low::Pieces(low) = low {
            {
                let mut tracker = self.0.tracker.lock();
                tracker.pieces.let_go(low.piece);
                tracker.segments.retain(|number, _| *number >= low.segment);
            }
            drop(head);
            self.0.wake.notify_one(); // there may be room for writers
            return self.0.delete(unneeded.into_iter()).await;
        }
        for number in unneeded {
            self.0.fs.delete(&segment_path(self.0.stream, number)).await?;
            self.0.tracker.lock().segments.remove(&number);
        }
        Ok(())
    }

    /// Whether entries of the region were submitted that it has not said to be flushed.
    pub fn holds(&self, region: &Bytes) -> bool {
        let Some(last) = self.0.open.lock().submitted.get(region).copied() else { return false };
        self.0.tracker.lock().flushed.get(region).is_none_or(|flushed| *flushed < last)
    }

    /// What it has done.
    pub fn counters(&self) -> LogCounters {
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let counters = &self.0.counters;
        LogCounters {
            syncs: of(&counters.syncs),
            bytes: of(&counters.bytes),
            failures: of(&counters.failures),
            looks: of(&counters.looks),
        }
    }

    /// Regions whose unflushed entries keep the oldest segment, or as many pieces, by name in the log: flushing them lets it go. None if
    /// there is only the segment being written.
    pub fn oldest_regions(&self) -> Vec<Bytes> {
        let tracker = self.0.tracker.lock();
        if self.segments_of(&tracker) < 2 {
            return Vec::new();
        }
        match tracker.segments.values().next() {
            Some(oldest) => {
                let unflushed = oldest.iter().filter(|(region, max)| !tracker.covers(region, **max));
                unflushed.map(|(region, _)| region.clone()).collect()
            }
            None => {
                let oldest = tracker.pieces.range(..tracker.pieces.one_segment(&self.0.settings));
                let unflushed: BTreeSet<&Bytes> =
                    oldest.flat_map(|piece| piece.unflushed(&tracker)).map(|(region, _)| region).collect();
                unflushed.into_iter().cloned().collect()
            }
        }
    }

    /// Closes the log and ends its stream: nobody has to find out that this process is gone.
    pub async fn end(&self) -> Result<()> {
        self.close().await;
        super::fence(&self.0.fs, self.0.stream).await.map(drop)
    }

    /// Number of segments that still count, pieces by what they would make.
    pub fn segments(&self) -> usize {
        self.segments_of(&self.0.tracker.lock())
    }

    fn segments_of(&self, tracker: &Tracker) -> usize {
        tracker.segments.len() + tracker.pieces.segments(&self.0.settings)
    }

    /// Stops taking entries and waits until all that were taken are settled.
    pub async fn close(&self) {
        if self.0.pieces {
            self.0.open.lock().accepting = false;
            self.0.closed.send_replace(true);
            self.0.wake.notify_one();
            let _ = self.0.over.subscribe().wait_for(|over| *over).await;
            return;
        }
        let last = {
            let mut open = self.0.open.lock();
            open.accepting = false;
            (!open.group.payload.is_empty()).then(|| open.group.outcome.subscribe())
        };
        self.0.wake.notify_one();
        if let Some(mut last) = last {
            let _ = last.wait_for(Option::is_some).await; // a committer that is gone settles nothing more
        }
        self.0.closed.send_replace(true);
        self.0.wake.notify_one();
    }
}

/// A group could not be made durable. If it may stand whole, a death before the next segment begins lets it appear.
fn failed(error: &StorageError, may_stand: bool) -> Outcome {
    match may_stand {
        true => Outcome::Failed(ErrorKind::Unknown, format!("{error}; the write may still happen").into()),
        false => Outcome::Failed(error.kind(), error.to_string().into()),
    }
}

fn timed_out() -> StorageError {
    StorageError::Log("the storage call timed out".to_owned(), ErrorKind::Unavailable)
}

struct Committer {
    shared: Arc<Shared>,
    /// The newest number used.
    number: u64,
    current: Option<Segment>,
    /// Segments that failed since the last sound one, with the length that counts.
    earlier: Vec<(u64, u64)>,
    full: Option<Full>,
}

/// How often a group is tried. A try at a new segment that fails takes two: the next one finds its name taken.
const TRIES: usize = 6;

/// No space was left at the last try.
struct Full {
    /// When the next try may be made.
    until: Duration,
    pause: Duration,
    why: Arc<str>,
}

struct Segment {
    number: u64,
    writer: Box<dyn LogWriter>,
    acknowledged: u64,
    index: StreamIndex,
}

impl Committer {
    async fn run(mut self) {
        loop {
            let group = {
                let mut open = self.shared.open.lock();
                (!open.group.payload.is_empty()).then(|| {
                    let capacity = open.group.payload.len().min(1 << 20);
                    std::mem::replace(&mut open.group, Group::new(BytesMut::with_capacity(capacity)))
                })
            };
            let Some(group) = group else {
                if *self.shared.closed.borrow() {
                    return;
                }
                self.shared.wake.notified().await;
                continue;
            };
            let outcome = self.commit(&group).await;
            let counters = &self.shared.counters;
            match &outcome {
                Outcome::Durable => {
                    counters.syncs.fetch_add(1, Relaxed);
                    counters.bytes.fetch_add(group.payload.len() as u64, Relaxed);
                }
                _ => drop(counters.failures.fetch_add(1, Relaxed)),
            }
            if matches!(outcome, Outcome::Fenced) {
                self.shared.set_fenced();
            }
            group.outcome.send_replace(Some(outcome));
            // Writers that waited for this group run first, so that their next entries share the next sync.
            runtime::task::yield_now().await;
        }
    }

    /// Tries the current segment, then new ones. What failed for good is cut off by the next segment.
    async fn commit(&mut self, group: &Group) -> Outcome {
        if self.shared.is_fenced() {
            return Outcome::Fenced;
        }
        if let Some(outcome) = self.still_full() {
            return outcome;
        }
        let mut failure = None;
        // Whether the group may stand whole at the end of a segment that no later one cuts off yet.
        let mut may_stand = false;
        for _ in 0..TRIES {
            if self.current.is_none() {
                match self.start_segment().await {
                    Ok(()) => {}
                    Err(StorageError::Fenced(_)) => return Outcome::Fenced,
                    Err(error) => {
                        if self.is_full(&error) {
                            return failed(&error, may_stand);
                        }
                        failure = Some(error);
                        continue;
                    }
                }
            }
            let before = self.current.as_ref().map_or(0, |segment| segment.acknowledged);
            match self.write(group).await {
                Ok(outcome) => {
                    self.full = None;
                    return outcome;
                }
                Err(error) => {
                    let broken = self.current.take().expect("it was just written to");
                    tracing::warn!(segment = broken.number, %error, "log segment given up");
                    self.earlier.push((broken.number, before));
                    let whole = before + (GROUP_HEADER_LEN + group.payload.len()) as u64;
                    may_stand = broken.writer.holds_at_most() >= whole;
                    if self.is_full(&error) {
                        return failed(&error, may_stand);
                    }
                    failure = Some(error);
                }
            }
        }
        failed(&failure.expect("every round fails or returns"), may_stand)
    }

    /// Notes that no space is left. Every try leaves a segment behind, so that for a while none is made.
    fn is_full(&mut self, error: &StorageError) -> bool {
        if error.kind() == ErrorKind::Full {
            let pause = self.full.take().map_or(FULL_PAUSE_MIN, |full| (full.pause * 2).min(FULL_PAUSE_MAX));
            let until = self.shared.runtime.clock.monotonic() + pause;
            self.full = Some(Full { until, pause, why: error.to_string().into() });
        }
        error.kind() == ErrorKind::Full
    }

    fn still_full(&self) -> Option<Outcome> {
        let full = self.full.as_ref()?;
        let waits = full.until > self.shared.runtime.clock.monotonic();
        waits.then(|| Outcome::Failed(ErrorKind::Full, full.why.clone()))
    }

    async fn timed<T>(&self, call: impl Future<Output = filesystem::Result<T>>) -> Result<T> {
        let limit = Duration::from_millis(self.shared.settings.sync_timeout_ms);
        match within(&*self.shared.runtime.clock, limit, call).await {
            Some(done) => Ok(done?),
            None => Err(timed_out()),
        }
    }

    async fn start_segment(&mut self) -> Result<()> {
        // A number counts as used only once its name is taken: readers end the stream at the first gap.
        let number = self.number + 1;
        let path = segment_path(self.shared.stream, number);
        let header = format::segment_header(self.shared.stream, number, &self.earlier);
        let writer = match self.timed(self.shared.fs.log_begin(&path, header)).await? {
            LogOutcome::Created(writer) => {
                self.number = number;
                self.shared.tracker.lock().segments.entry(number).or_default();
                writer
            }
            LogOutcome::Exists => {
                let limit = Duration::from_millis(self.shared.settings.sync_timeout_ms);
                let fence = within(&*self.shared.runtime.clock, limit, is_fence(&self.shared.fs, &path)).await;
                if fence.ok_or_else(timed_out)?? {
                    return Err(StorageError::Fenced("the log".to_owned()));
                }
                // A try of ours that failed or whose answer was lost. It holds at most a header, and goes with its neighbours.
                self.number = number;
                self.shared.tracker.lock().segments.entry(number).or_default();
                self.earlier.push((number, 0));
                return Err(StorageError::Log("a try at a new segment failed".to_owned(), ErrorKind::Unknown));
            }
        };
        let acknowledged = writer.len();
        self.earlier.clear();
        self.current = Some(Segment { number, writer, acknowledged, index: StreamIndex::default() });
        Ok(())
    }

    /// Writes, syncs and then looks: if the next number is taken, somebody fenced this stream before the sync was done.
    async fn write(&mut self, group: &Group) -> Result<Outcome> {
        let segment = self.current.as_mut().expect("the caller started one");
        {
            // Before the bytes can be durable: a segment is never forgotten for want of bookkeeping.
            let mut tracker = self.shared.tracker.lock();
            let regions = tracker.segments.entry(segment.number).or_default();
            for (region, part) in &group.regions {
                regions.insert(region.clone(), part.max);
            }
        }
        let place = Place { stream: self.shared.stream, segment: segment.number, offset: segment.acknowledged };
        let frame = format::group(place, segment.acknowledged, &group.payload);
        let range = Range { segment: segment.number, offset: segment.acknowledged, len: frame.len() as u32 };
        let next = segment_path(self.shared.stream, segment.number + 1);
        let limit = Duration::from_millis(self.shared.settings.sync_timeout_ms);
        let done = segment.writer.commit(frame, &*self.shared.fs, &next);
        let taken = match within(&*self.shared.runtime.clock, limit, done).await {
            Some(done) => done?,
            None => return Err(StorageError::Log("the sync timed out".to_owned(), ErrorKind::Unavailable)),
        };
        segment.acknowledged = segment.writer.len();
        if taken {
            return Ok(Outcome::Fenced);
        }
        for (region, part) in &group.regions {
            segment.index.add(region, part.min, part.max, range);
        }
        if segment.acknowledged >= self.shared.settings.segment_bytes {
            self.seal().await;
        }
        Ok(Outcome::Durable)
    }

    /// Ends the segment with its index. The index only spares readers a scan, so a failure is not one.
    async fn seal(&mut self) {
        let mut segment = self.current.take().expect("the caller has one");
        let place = Place { stream: self.shared.stream, segment: segment.number, offset: segment.acknowledged };
        let frame = format::seal(place, segment.acknowledged, &segment.index);
        let sealed = async {
            segment.writer.append(frame).await?;
            segment.writer.sync().await
        };
        if let Err(error) = self.timed(sealed).await {
            tracing::warn!(segment = segment.number, %error, "log segment left without an index");
        }
        // A torn index must not hide that everything before it counts.
        self.earlier.push((segment.number, segment.acknowledged));
    }
}
