use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use filesystem::memory::MemoryFilesystem;
use filesystem::*;
use model::{Cell, ErrorKind as Kind, SeqNo};
use runtime::Runtime;

use super::piece::{self, HEADER_LEN, Header, Part};
use super::*;

fn settings() -> LogSettings {
    LogSettings { linger_ms: 0, segment_pieces: 1000, ..LogSettings::default() }
}

async fn log(fs: &Arc<dyn Filesystem>, stream: u64, settings: LogSettings) -> Log {
    Log::create(fs.clone(), Runtime::system(), settings, stream).await.expect("log")
}

fn root() -> (MemoryFilesystem, Arc<dyn Filesystem>) {
    let memory = MemoryFilesystem::without_appends();
    (memory.clone(), Arc::new(memory))
}

fn submit(log: &Log, region: &'static str, seqno: u64) -> Ticket {
    submit_value(log, region, seqno, b"value")
}

fn submit_value(log: &Log, region: &'static str, seqno: u64, value: &[u8]) -> Ticket {
    let cell = Cell::put(format!("row{seqno}").as_bytes(), b"f", b"q", 7, value).expect("cell");
    log.submit(&Bytes::from_static(region.as_bytes()), SeqNo(seqno), 5, None, &[cell]).expect("submit")
}

async fn write(log: &Log, region: &'static str, seqno: u64) {
    submit(log, region, seqno).durable().await.expect("durable");
}

/// An entry that is worth a request of its own.
async fn write_long(log: &Log, region: &'static str, seqno: u64) {
    submit_value(log, region, seqno, &[7; 100_000]).durable().await.expect("durable");
}

/// Whether a stream has this segment.
async fn has_segment(fs: &Arc<dyn Filesystem>, number: u64) -> bool {
    let end = format!("/s/{number:016x}");
    paths(fs).await.iter().any(|path| path.ends_with(&end))
}

async fn seqnos(fs: &Arc<dyn Filesystem>, ended: &Ended, region: &str) -> Vec<u64> {
    let entries = replay(fs, ended, region.as_bytes(), SeqNo::ZERO).await.expect("replay");
    entries.iter().map(|entry| entry.seqno.0).collect()
}

async fn paths(fs: &Arc<dyn Filesystem>) -> Vec<String> {
    fs.list("ferrobase/log").await.expect("list").into_iter().map(|file| file.path).collect()
}

/// Waits for what a log does in the background.
async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..3000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{what} does not come to hold");
}

/// Counts requests; puts of pieces may be held back, and all requests be refused.
#[derive(Debug, Default)]
struct Store {
    root: MemoryFilesystem,
    requests: parking_lot::Mutex<std::collections::BTreeMap<&'static str, u64>>,
    /// Puts of pieces from this number on are held.
    hold_from: AtomicU64,
    held: parking_lot::Mutex<Vec<(String, Bytes)>>,
    refuses: std::sync::atomic::AtomicBool,
    /// So many reads of files are refused.
    refused_reads: AtomicU64,
    flying: AtomicU64,
    most_flying: AtomicU64,
    /// How long a put takes.
    put_ms: u64,
}

impl Store {
    fn new(put_ms: u64) -> Arc<Store> {
        let (root, hold_from) = (MemoryFilesystem::without_appends(), AtomicU64::new(u64::MAX));
        Arc::new(Store { root, hold_from, put_ms, ..Store::default() })
    }

    fn count(&self, what: &'static str) -> Result<()> {
        *self.requests.lock().entry(what).or_default() += 1;
        match self.refuses.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, what, "503 Slow Down")),
            false => Ok(()),
        }
    }

    fn taken(&self) -> std::collections::BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.requests.lock())
    }

    /// What was held arrives.
    async fn land(&self) -> Vec<PutOutcome> {
        let mut outcomes = Vec::new();
        let held = std::mem::take(&mut *self.held.lock());
        for (path, data) in held {
            outcomes.push(self.root.put_if_absent(&path, data).await.expect("put"));
        }
        outcomes
    }
}

#[async_trait]
impl Filesystem for Store {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        self.count("put")?;
        let number = path.split_once("/p/").and_then(|(_, number)| u64::from_str_radix(number, 16).ok());
        if number.is_some_and(|number| number >= self.hold_from.load(Ordering::SeqCst)) && data.len() > 8 {
            self.held.lock().push((path.to_owned(), data));
            return std::future::pending().await;
        }
        let flying = self.flying.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_flying.fetch_max(flying, Ordering::SeqCst);
        if self.put_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(self.put_ms)).await;
        }
        self.flying.fetch_sub(1, Ordering::SeqCst);
        self.root.put_if_absent(path, data).await
    }
    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        self.count("blob")?;
        self.root.create_blob(path).await
    }
    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        self.count("read")?;
        let fewer = |left: u64| left.checked_sub(1);
        if self.refused_reads.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok() {
            return Err(Error::new(ErrorKind::Unavailable, path, "503 Slow Down"));
        }
        self.root.open(path).await
    }
    async fn size(&self, path: &str) -> Result<Option<u64>> {
        self.count("look")?;
        self.root.size(path).await
    }
    async fn delete(&self, path: &str) -> Result<()> {
        self.count("delete")?;
        self.root.delete(path).await
    }
    async fn delete_register(&self, path: &str) -> Result<()> {
        self.count("delete")?;
        self.root.delete_register(path).await
    }
    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        self.count("rename")?;
        self.root.rename(from, to).await
    }
    async fn list(&self, folder: &str) -> Result<Vec<filesystem::Entry>> {
        self.count("list")?;
        self.root.list(folder).await
    }
    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        self.count("list")?;
        self.root.unfinished(folder).await
    }
    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        self.root.abandon(unfinished).await
    }
    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        self.count("put")?;
        self.root.register_create(path, head, body).await
    }
    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.count("read")?;
        self.root.register_read(path).await
    }
    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        self.count("put")?;
        self.root.register_swap(path, expected, head, body).await
    }
    fn appends(&self) -> bool {
        false
    }
    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        self.root.log_create(path).await
    }
    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        self.root.lock_root(holder).await
    }
}

#[tokio::test]
async fn pieces_segments_and_the_tail_are_one_stream() {
    for (segment_pieces, writes) in [(1000, 3), (1000, 20), (2, 20), (7, 40)] {
        let (_, fs) = root();
        let log = log(&fs, 1, LogSettings { segment_pieces, ..settings() }).await;
        for seqno in 1..=writes {
            write(&log, if seqno % 3 == 0 { "b" } else { "a" }, seqno).await;
        }
        let ended = fence(&fs, 1).await.expect("fence");
        let (b, a): (Vec<u64>, Vec<u64>) = (1..=writes).partition(|seqno| seqno % 3 == 0);
        assert_eq!((seqnos(&fs, &ended, "a").await, seqnos(&fs, &ended, "b").await), (a, b));
        assert_eq!(fence(&fs, 1).await.expect("again"), ended);
        // Whoever opens a region reads a few objects, however many pieces there were.
        let groups = &ended.index.as_ref().expect("an index").regions[&Bytes::from("a")].groups;
        assert!(groups.len() <= if segment_pieces == 2 { 11 } else { 7 }, "{segment_pieces} {writes}: {groups:?}");
        let late = submit(&log, "a", 99).durable().await.expect_err("fenced");
        assert!(late.kind() == Kind::Fenced && log.is_fenced());
        assert_eq!(fence(&fs, 1).await.expect("again"), ended, "what came after the end is no part of it");
    }
}

#[tokio::test]
async fn sealed_pieces_are_deleted_and_flushed_ones_are_never_sealed() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 6, ..settings() }).await;
    for seqno in 1..=5 {
        write(&log, if seqno == 2 { "b" } else { "a" }, seqno).await;
    }
    assert!(log.oldest_regions().is_empty(), "nothing is sealed");
    log.forget(&Bytes::from("a"), SeqNo(5)).await.expect("forget");
    assert_eq!(paths(&fs).await.len(), 4, "only the pieces before the first that is needed go");
    for seqno in 6..=8 {
        write(&log, "c", seqno).await;
    }
    until("sealed", async || paths(&fs).await.len() < 4).await;
    let left = paths(&fs).await;
    assert!(left.iter().any(|path| path.ends_with("/s/0000000000000001")), "{left:?}");
    write(&log, "c", 9).await;
    let mut oldest = log.oldest_regions();
    oldest.sort();
    assert_eq!(oldest, ["b", "c"]);
    let copy = fence(&fs, 1).await.expect("fence");
    assert!(seqnos(&fs, &copy, "a").await.is_empty(), "it is in files");
    assert_eq!((seqnos(&fs, &copy, "b").await, seqnos(&fs, &copy, "c").await), (vec![2], vec![6, 7, 8, 9]));
}

/// A piece is needed until all its regions have flushed what it holds of them.
#[tokio::test]
async fn a_piece_stays_for_the_last_region_that_needs_it() {
    let (_, fs) = root();
    let log = log(&fs, 1, settings()).await;
    write(&log, "a", 1).await;
    for ticket in [submit(&log, "a", 2), submit(&log, "b", 1)] {
        ticket.durable().await.expect("durable");
    }
    assert_eq!(log.counters().syncs, 2, "both regions' entries are in one piece");
    log.forget(&Bytes::from("a"), SeqNo(2)).await.expect("forget");
    assert_eq!(paths(&fs).await.len(), 1, "the piece of one region goes, the piece of both stays");
    let copy = fence(&fs, 1).await.expect("fence");
    assert_eq!(seqnos(&fs, &copy, "b").await, [1]);

    let (_, fs) = root();
    let log = self::log(&fs, 2, settings()).await;
    for ticket in [submit(&log, "a", 1), submit(&log, "b", 1)] {
        ticket.durable().await.expect("durable");
    }
    log.forget(&Bytes::from("a"), SeqNo(1)).await.expect("forget");
    log.forget(&Bytes::from("b"), SeqNo(1)).await.expect("forget");
    assert!(paths(&fs).await.is_empty(), "nobody needs it");
}

/// They are not put twice, neither by their writer nor by who ends the stream.
#[tokio::test]
async fn pieces_with_long_blocks_stay_as_they_are() {
    let store = Store::new(0);
    let fs: Arc<dyn Filesystem> = store.clone();
    let log = log(&fs, 1, LogSettings { segment_pieces: 2, ..settings() }).await;
    for seqno in 1..=10 {
        write_long(&log, if seqno == 1 { "b" } else { "a" }, seqno).await;
    }
    assert_eq!((log.segments(), log.oldest_regions()), (5, vec![Bytes::from("a"), Bytes::from("b")]));
    log.close().await;
    assert_eq!(paths(&fs).await.len(), 10, "no segment");
    store.taken();
    let ended = fence(&fs, 1).await.expect("fence");
    assert_eq!(store.taken()["put"], 2, "the fence and the head");
    assert_eq!((seqnos(&fs, &ended, "a").await, seqnos(&fs, &ended, "b").await), ((2..=10).collect(), vec![1]));
}

/// Short entries behind long ones are sealed with them once that spares enough requests, and nobody waits meanwhile.
#[tokio::test]
async fn long_and_short_blocks_take_turns() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 2, sync_timeout_ms: 5000, ..settings() }).await;
    for seqno in 1..=20 {
        write_long(&log, "a", seqno).await;
    }
    for seqno in 21..=70 {
        write(&log, ["a", "b"][seqno as usize % 2], seqno).await;
    }
    until("sealed", async || has_segment(&fs, 20).await).await;
    for seqno in 71..=80 {
        write_long(&log, "a", seqno).await;
    }
    let ended = fence(&fs, 1).await.expect("fence");
    let (b, a): (Vec<u64>, Vec<u64>) = (1..=80).partition(|seqno| (21..=70).contains(seqno) && seqno % 2 == 1);
    assert_eq!((seqnos(&fs, &ended, "a").await, seqnos(&fs, &ended, "b").await), (a, b));
}

/// A stream does not become so long that it takes long to end, and reads that fail are made again.
#[tokio::test]
async fn very_many_pieces_are_sealed_whatever_they_hold() {
    for refused_reads in [0, 3] {
        let store = Store::new(0);
        let fs: Arc<dyn Filesystem> = store.clone();
        let log = log(&fs, 1, LogSettings { segment_pieces: 2, ..settings() }).await;
        store.refused_reads.store(refused_reads, Ordering::SeqCst);
        for seqno in 1..=150 {
            write_long(&log, "a", seqno).await;
        }
        until("sealed", async || has_segment(&fs, 27).await).await;
        assert!(store.taken()["read"] >= 54 + refused_reads, "pieces are not kept in memory");
        let ended = fence(&fs, 1).await.expect("fence");
        assert_eq!(seqnos(&fs, &ended, "a").await, (1..=150).collect::<Vec<_>>());
    }
}

/// A region that is seldom written does not keep what others wrote behind its entry.
#[tokio::test]
async fn little_that_is_needed_among_long_pieces_is_sealed() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 4, ..settings() }).await;
    write(&log, "cold", 1).await;
    for seqno in 1..=20 {
        write_long(&log, "a", seqno).await;
        log.forget(&Bytes::from("a"), SeqNo(seqno)).await.expect("forget");
    }
    until("sealed", async || has_segment(&fs, 1).await && paths(&fs).await.len() < 10).await;
    let ended = fence(&fs, 1).await.expect("fence");
    assert_eq!(seqnos(&fs, &ended, "cold").await, [1]);
    assert!(seqnos(&fs, &ended, "a").await.len() < 10);
}

#[tokio::test]
async fn forgotten_segments_go_and_a_clean_end_leaves_no_data() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 2, ..settings() }).await;
    for seqno in 1..=20 {
        write(&log, "a", seqno).await;
    }
    until("segments", async || log.segments() > 3).await;
    log.close().await;
    log.forget(&Bytes::from("a"), SeqNo(20)).await.expect("forget");
    assert_eq!((log.segments(), paths(&fs).await.len()), (0, 0));
    log.end().await.expect("end");
    assert_eq!(paths(&fs).await.len(), 1, "the fence");
    assert!(fence(&fs, 1).await.expect("ended").index.expect("an index").regions.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_pieces_of_which_eight_fly() {
    let store = Store::new(5);
    let fs: Arc<dyn Filesystem> = store.clone();
    let log = log(&fs, 3, LogSettings { piece_bytes: 500, ..settings() }).await;
    let next = Arc::new(parking_lot::Mutex::new(0));
    let tasks = (0..64).map(|_| {
        let (log, next) = (log.clone(), next.clone());
        runtime::task::spawn("writer", async move {
            for _ in 0..20 {
                let ticket = {
                    let mut next = next.lock();
                    *next += 1;
                    submit(&log, "a", *next)
                };
                ticket.durable().await.expect("durable");
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("writer");
    }
    assert!((2..=8).contains(&store.most_flying.load(Ordering::SeqCst)), "{store:?}");
    let puts = log.counters().syncs;
    assert!(puts < 64 * 20 / 4, "every write had a put of its own: {puts}");
    let ended = fence(&fs, 3).await.expect("fence");
    assert_eq!(seqnos(&fs, &ended, "a").await, (1..=64 * 20).collect::<Vec<_>>());
}

#[tokio::test]
async fn pieces_that_are_not_full_keep_their_distance_and_full_ones_do_not() {
    let (_, fs) = root();
    let log = log(&fs, 3, LogSettings { linger_ms: 40, piece_bytes: 400, ..LogSettings::default() }).await;
    let begun = std::time::Instant::now();
    write(&log, "a", 1).await;
    assert!(begun.elapsed().as_millis() < 40, "a write after a pause goes at once");
    for seqno in 2..=4 {
        write(&log, "a", seqno).await;
    }
    assert!(begun.elapsed().as_millis() >= 3 * 40, "{:?}", begun.elapsed());
    assert_eq!(log.counters().syncs, 4);
    let tickets: Vec<Ticket> = (5..=44).map(|seqno| submit(&log, "a", seqno)).collect();
    for ticket in tickets {
        ticket.durable().await.expect("durable");
    }
    assert!(log.counters().syncs >= 5);
}

/// The window is the format's: a hole in it is no damage, a hole that a piece knows to have been filled is.
#[tokio::test]
async fn a_piece_that_is_gone_is_told_from_one_that_never_came() {
    let store = Store::new(0);
    let fs: Arc<dyn Filesystem> = store.clone();
    let log = log(&fs, 1, settings()).await;
    write(&log, "a", 1).await;
    write(&log, "a", 2).await;
    store.hold_from.store(3, Ordering::SeqCst);
    let _held = submit(&log, "a", 3);
    until("held", async || !store.held.lock().is_empty()).await;
    store.hold_from.store(u64::MAX, Ordering::SeqCst);
    let behind: Vec<Ticket> = (4..=6).map(|seqno| submit(&log, "a", seqno)).collect();
    until("stored", async || paths(&fs).await.len() >= 3).await;
    let ended = fence(&fs, 1).await.expect("a hole in the window");
    assert_eq!(seqnos(&fs, &ended, "a").await, [1, 2]);
    assert_eq!(store.land().await, [PutOutcome::Exists], "the fence has its place");
    for ticket in behind {
        assert_eq!(ticket.durable().await.expect_err("fenced").kind(), Kind::Fenced);
    }

    for gone in [1..=1, 2..=2, 3..=3, 2..=10, 5..=60] {
        let (_, fs) = root();
        let log = self::log(&fs, 1, settings()).await;
        for seqno in 1..=gone.end() + 20 {
            write(&log, "a", seqno).await;
        }
        let path = |number| object_path(1, piece::id(piece::Kind::Piece, number));
        for number in gone.clone() {
            fs.delete(&path(number)).await.expect("delete");
        }
        let path = path(*gone.start());
        let seen = survey::look(&fs, 1).await.expect("look").expect("a stream").objects;
        assert!(seen.iter().any(|object| object.path == path && object.end != survey::ObjectEnd::Whole), "{seen:?}");
        for _ in 0..2 {
            let error = fence(&fs, 1).await.expect_err("a piece is gone");
            assert!(error.kind() == Kind::Corrupt && error.to_string().contains(&path), "{error}");
        }
    }
}

#[tokio::test]
async fn a_put_in_doubt_is_repeated_with_the_same_bytes() {
    for effect in [Effect::Before, Effect::Torn, Effect::After, Effect::Late(0), Effect::Late(1), Effect::Late(3)] {
        let machine = FaultyFilesystem::over(MemoryFilesystem::without_appends());
        let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
        let log = log(&fs, 7, settings()).await;
        write(&log, "a", 1).await;
        machine.plan(Fault { step: machine.steps(), effect, stop: false });
        let tickets = [submit(&log, "a", 2), submit(&log, "a", 3)];
        for ticket in tickets {
            ticket.durable().await.expect("durable");
        }
        write(&log, "a", 4).await;
        assert!(!log.is_fenced(), "{effect:?}");
        machine.land();
        let ended = fence(&fs, 7).await.expect("fence");
        assert_eq!(seqnos(&fs, &ended, "a").await, [1, 2, 3, 4], "{effect:?}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_writers_wait_and_are_then_refused() {
    let store = Store::new(0);
    let fs: Arc<dyn Filesystem> = store.clone();
    let patience = LogSettings { sync_timeout_ms: 300, piece_bytes: 1, piece_bytes_max: 1, ..settings() };
    let log = log(&fs, 1, patience).await;
    write(&log, "a", 1).await;
    store.refuses.store(true, Ordering::SeqCst);
    let tickets: Vec<Ticket> = (2..=12).map(|seqno| submit(&log, "a", seqno)).collect();
    let mut kinds = Vec::new();
    for ticket in tickets {
        kinds.push(ticket.durable().await.expect_err("refused").kind());
    }
    // Those that had a number may still happen; the others do not.
    assert_eq!(kinds[..8], [Kind::Unknown; 8]);
    assert_eq!(kinds[8..], [Kind::Unavailable; 3]);
    store.refuses.store(false, Ordering::SeqCst);
    write(&log, "a", 13).await;
    let ended = fence(&fs, 1).await.expect("fence");
    assert_eq!(seqnos(&fs, &ended, "a").await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 13]);

    let store = Store::new(0);
    let fs: Arc<dyn Filesystem> = store.clone();
    let few = LogSettings { pending_bytes_max: 500, piece_bytes_max: 1, ..settings() };
    let log = self::log(&fs, 1, few).await;
    store.refuses.store(true, Ordering::SeqCst);
    let cell = Cell::put(b"row", b"f", b"q", 7, &[7; 100]).expect("cell");
    let mut waiting = Vec::new();
    let busy = loop {
        match log.submit(&Bytes::from("a"), SeqNo(waiting.len() as u64 + 1), 5, None, std::slice::from_ref(&cell)) {
            Ok(ticket) => waiting.push(ticket),
            Err(error) => break error,
        }
        tokio::task::yield_now().await;
        assert!(waiting.len() < 100, "the queue has a bound");
    };
    assert_eq!(busy.kind(), Kind::Busy);
}

/// The writer is frozen amid its puts, fenced, and its puts arrive later.
#[tokio::test]
async fn what_a_frozen_writer_had_sent_is_refused_or_no_part_of_the_stream() {
    for acknowledged in [0, 2, 9] {
        let store = Store::new(0);
        let fs: Arc<dyn Filesystem> = store.clone();
        let log = log(&fs, 1, LogSettings { piece_bytes: 1, piece_bytes_max: 1, ..settings() }).await;
        for seqno in 1..=acknowledged {
            write(&log, "a", seqno).await;
        }
        store.hold_from.store(0, Ordering::SeqCst);
        let tickets: Vec<Ticket> = (1..=8).map(|by| submit(&log, "a", acknowledged + by)).collect();
        until("held", async || store.held.lock().len() == 8).await;
        let ended = fence(&fs, 1).await.expect("fence");
        assert_eq!(seqnos(&fs, &ended, "a").await, (1..=acknowledged).collect::<Vec<_>>());
        let landed = store.land().await;
        assert_eq!(landed[0], PutOutcome::Exists);
        assert_eq!(landed[1..], [PutOutcome::Created; 7], "behind the fence nobody looks");
        assert_eq!(fence(&fs, 1).await.expect("again"), ended);
        assert_eq!(seqnos(&fs, &ended, "a").await, (1..=acknowledged).collect::<Vec<_>>());
        drop(tickets);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fencers_agree_whatever_the_writer_does_meanwhile() {
    for round in 0..20 {
        let (_, fs) = root();
        let log = log(&fs, 1, LogSettings { segment_pieces: 1 + round % 6, ..settings() }).await;
        let writer = {
            let log = log.clone();
            runtime::task::spawn("writer", async move {
                let mut acknowledged = 0;
                for seqno in 1.. {
                    if submit(&log, "a", seqno).durable().await.is_err() {
                        return acknowledged;
                    }
                    acknowledged = seqno;
                }
                unreachable!("it is fenced")
            })
        };
        until("written", async || log.counters().syncs > 5 * round as u64).await;
        let fencers = (0..3).map(|_| {
            let fs = fs.clone();
            runtime::task::spawn("fencer", async move { fence(&fs, 1).await.expect("fence") })
        });
        let ended: Vec<Ended> =
            futures::future::join_all(fencers).await.into_iter().map(|ended| ended.expect("fencer")).collect();
        assert!(ended.iter().all(|other| *other == ended[0]));
        let acknowledged = writer.await.expect("writer");
        let seen = seqnos(&fs, &ended[0], "a").await;
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
        assert!(seen.len() as u64 >= acknowledged, "{acknowledged} acknowledged, {} left", seen.len());
    }
}

/// Where there is room for four pieces, each seal has to make room for the next writes, and its end to be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_wait_for_seals_go_on() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 1, ..settings() }).await;
    let writers = ["a", "b", "c", "d"].map(|region| {
        let log = log.clone();
        runtime::task::spawn("writer", async move {
            for seqno in 1..=2500 {
                write(&log, region, seqno).await;
            }
        })
    });
    futures::future::join_all(writers).await.into_iter().for_each(|done| done.expect("every write is durable"));
    assert_eq!(log.counters().failures, 0);
}

#[tokio::test]
async fn nothing_is_listed_or_renamed_and_a_region_is_read_with_few_requests() {
    let store = Store::new(0);
    let fs: Arc<dyn Filesystem> = store.clone();
    let log = log(&fs, 1, LogSettings { segment_pieces: 100, ..settings() }).await;
    for seqno in 1..=250 {
        write(&log, ["a", "b", "c"][seqno as usize % 3], seqno).await;
    }
    let root: Arc<dyn Filesystem> = Arc::new(store.root.clone());
    until("sealed", async || paths(&root).await.len() == 50 + 2).await;
    assert_eq!(log.segments(), 3);
    log.forget(&Bytes::from("b"), SeqNo(250)).await.expect("forget");
    let written = store.taken();
    // 250 pieces, two segments, head and its swaps.
    assert!((253..=256).contains(&written["put"]), "{written:?}");
    let ended = fence(&fs, 1).await.expect("fence");
    let fenced = store.taken();
    assert!(fenced["put"] == 3 && fenced["read"] <= 16 + 64 + 16 + 8 + 4, "{fenced:?}");
    assert_eq!(seqnos(&fs, &ended, "a").await.len(), 83);
    assert_eq!(store.taken()["read"], 3, "two segments and the tail");
    for of in [written, fenced] {
        assert!(!of.contains_key("list") && !of.contains_key("rename"), "{of:?}");
    }
}

#[tokio::test]
async fn damage_of_any_byte_is_named_or_makes_no_difference() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 8, ..settings() }).await;
    for seqno in 1..=8 {
        write(&log, if seqno % 3 == 0 { "b" } else { "a" }, seqno).await;
    }
    until("sealed", async || paths(&fs).await.len() == 1).await;
    for seqno in 9..=11 {
        write(&log, "a", seqno).await;
    }
    let head = fs.register_read(&head_path(1)).await.expect("read").expect("a head");
    for damaged in paths(&fs).await {
        let size = fs.size(&damaged).await.expect("size").expect("it lies there") as usize;
        for at in 0..size {
            for cut in [false, true] {
                let copy: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::without_appends());
                for path in paths(&fs).await {
                    let len = fs.size(&path).await.expect("size").expect("it lies there") as usize;
                    let mut data = fs.read_at(&path, 0, len).await.expect("read").to_vec();
                    if path == damaged {
                        if cut {
                            data.truncate(at);
                        } else {
                            data[at] ^= 0x10;
                        }
                    }
                    copy.put_if_absent(&path, data.into()).await.expect("put");
                }
                copy.register_create(&head_path(1), &head.head, head.body.clone()).await.expect("create");
                let read = async {
                    let ended = fence(&copy, 1).await?;
                    let a = replay(&copy, &ended, b"a", SeqNo::ZERO).await?;
                    Ok::<_, crate::StorageError>((a, replay(&copy, &ended, b"b", SeqNo::ZERO).await?))
                };
                let error = match read.await {
                    Ok((a, b)) => panic!("{damaged} byte {at} cut {cut}: {} {}", a.len(), b.len()),
                    Err(error) => error,
                };
                let newer = matches!(error, crate::StorageError::Newer { .. });
                assert!(newer || error.kind() == Kind::Corrupt, "{error}");
                assert!(error.to_string().contains(&damaged), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_segment_that_is_gone_is_damage() {
    let (_, fs) = root();
    let log = log(&fs, 1, LogSettings { segment_pieces: 2, ..settings() }).await;
    for seqno in 1..=6 {
        write(&log, "a", seqno).await;
    }
    until("sealed", async || has_segment(&fs, 2).await).await;
    let path = object_path(1, piece::id(piece::Kind::Sealed, 1));
    fs.delete(&path).await.expect("delete");
    let error = fence(&fs, 1).await.expect_err("a segment is gone");
    assert!(error.kind() == Kind::Corrupt && error.to_string().contains(&path), "{error}");
}

#[test]
fn objects_are_those_of_the_format_page() {
    let payload = |text: &'static str| Bytes::from_static(text.as_bytes());
    let part = |min, payloads| Part { min: SeqNo(min), max: SeqNo(9), payloads };
    let parts = [
        (Bytes::from("a"), part(1, vec![payload("one"), payload("two")])),
        (Bytes::from("b"), part(2, vec![payload("three")])),
    ];
    let header = Header { id: piece::id(piece::Kind::Piece, 3), token: 0xabc, confirmed: 2, pieces: (3, 3) };
    let (data, index) = piece::object(1, header, &parts.into());
    let fixed = "464257414c5043450000000100000000000000014000000000000003000000000000000000000000000\
                 00abc000000000000000200000000000000030000000000000003";
    assert!(hex::encode(&data).starts_with(fixed), "{}", hex::encode(&data));
    let (found, len, crc) = piece::read_header(&data, 1, header.id, "f").expect("read");
    assert_eq!(found, header);
    assert_eq!(piece::read_index(&data.slice(HEADER_LEN..), len, crc, header.id, "f").expect("read"), index);
    assert_eq!(piece::end_of(&index, len), data.len() as u64);
    let blocks = &index.regions[&Bytes::from("a")].groups;
    let from = blocks[0].offset as usize;
    let block = data.slice(from..from + blocks[0].len as usize);
    assert_eq!(piece::read_block(&block, 1, blocks[0], "f").expect("read"), "onetwo");
    assert!(piece::read_header(&data, 2, header.id, "f").expect_err("another stream").to_string().contains("another"));
}
