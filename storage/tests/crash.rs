//! A region meets a fault at every storage step of a story: writes, flushes, compactions, restarts.
//!
//! What was acknowledged is there afterwards; what was not is there whole or not at all; increments count once per nonce.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrobase_storage as storage;
use filesystem::Filesystem;
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use filesystem::memory::MemoryFilesystem;
use model::mutation::{Mutation, MutationKind, Nonce};
use model::query::Get;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, ErrorKind, LATEST_TIMESTAMP};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings, StreamId};

const ROWS: [&str; 3] = ["r0", "r1", "r2"];
const COUNTER: &str = "count";

#[derive(Clone, Copy, Debug)]
enum Action {
    /// Puts into both families of a row.
    Put(usize),
    /// Deletes a row.
    Delete(usize),
    Increment,
    Flush,
    Compact,
    /// The process is killed and comes back.
    Kill,
    /// The region is closed and opened elsewhere.
    Move,
    /// What nobody needs is deleted.
    Collect,
}

use Action::*;

const STORY: &[Action] = &[
    Put(0),
    Put(1),
    Increment,
    Flush,
    Put(2),
    Increment,
    Delete(1),
    Flush,
    Increment,
    Compact,
    Put(0),
    Collect,
    Kill,
    Increment,
    Collect,
    Put(1),
    Kill,
    Flush,
    Collect,
    Increment,
    Delete(0),
    Kill,
    Put(2),
    Flush,
    Compact,
    Increment,
    Move,
    Collect,
    Put(0),
    Increment,
    Put(1),
    Put(2),
    Increment,
    Put(1),
    Kill,
    Put(0),
    Increment,
    Put(1),
    Kill,
    Flush,
    Collect,
];

fn info() -> RegionInfo {
    RegionInfo::new("t".parse().expect("name"), Bytes::new(), Bytes::new(), 1)
}

fn table() -> Arc<TableDescriptor> {
    let table = TableDescriptor::new("t".parse().expect("name"));
    Arc::new(table.with_family(FamilyDescriptor::new("f")).with_family(FamilyDescriptor::new("g")))
}

/// A new process's log stream. Where it is made of pieces, every other process leaves them to whoever ends its stream, and a writer
/// does not wait for long on a machine that may have stopped.
async fn start_log(fs: &Arc<dyn Filesystem>, life: u64, patience_ms: u64) -> storage::Result<Log> {
    start_log_on(0, fs, life, patience_ms).await
}

async fn start_log_on(root: u32, fs: &Arc<dyn Filesystem>, life: u64, patience_ms: u64) -> storage::Result<Log> {
    let (segment_bytes, sync_timeout_ms) = if fs.appends() { (300, 30_000) } else { (64 << 20, patience_ms) };
    let segment_pieces = if life.is_multiple_of(2) { 2 } else { 100 };
    let settings =
        // Without a lease each read looks, and no opening waits.
        LogSettings { segment_bytes, sync_timeout_ms, linger_ms: 0, segment_pieces, read_lease_ms: 0, ..LogSettings::default() };
    Log::create_on(fs.clone(), Runtime::system(), settings, StreamId { root, stream: life }).await
}

async fn open_as(
    fs: &Arc<dyn Filesystem>,
    log: Log,
    epoch: u64,
    table: Arc<TableDescriptor>,
) -> storage::Result<Arc<Region>> {
    open_within(fs, log, epoch, table, Budget::new(1 << 20)).await
}

async fn open_within(
    fs: &Arc<dyn Filesystem>,
    log: Log,
    epoch: u64,
    table: Arc<TableDescriptor>,
    budget: Budget,
) -> storage::Result<Arc<Region>> {
    let ctx = RegionContext {
        runtime: Runtime::system(),
        fs: fs.clone(),
        log,
        budget,
        cache: Arc::new(BlockCache::new(1 << 20)),
        settings: RegionSettings::default(),
    };
    Region::create(fs, &ctx.runtime, "tid", &info(), &table, 1).await?;
    Region::open(ctx, info(), "tid", epoch, table).await
}

/// Opens the region in a new process: its own stream, a higher epoch.
async fn open(fs: &Arc<dyn Filesystem>, lives: &AtomicU64, patience_ms: u64) -> storage::Result<Arc<Region>> {
    let life = lives.fetch_add(1, Ordering::SeqCst);
    open_as(fs, start_log(fs, life, patience_ms).await?, 1 + life, table()).await
}

fn increment(nonce: u64) -> (Mutation, Nonce) {
    let mut mutation = Mutation::new(MutationKind::Increment, COUNTER);
    let by = 1_i64.to_be_bytes();
    mutation.cells = vec![Cell::put(COUNTER.as_bytes(), b"f", b"n", LATEST_TIMESTAMP, &by).expect("cell")];
    (mutation, Nonce { group: 9, nonce })
}

/// What a client knows.
#[derive(Debug, Default)]
struct Known {
    /// By row: what may stand there; the first is the last acknowledged.
    rows: BTreeMap<&'static str, Vec<Option<String>>>,
    /// Nonces of increments, and whether each was acknowledged.
    increments: BTreeMap<u64, bool>,
    /// Whether a file may arrive between a collection and the look at what it has left.
    files_land_late: bool,
}

impl Known {
    fn told(&mut self, row: &'static str, value: Option<String>, acknowledged: bool) {
        let candidates = self.rows.entry(row).or_insert_with(|| vec![None]);
        if acknowledged {
            candidates.clear();
        }
        candidates.push(value);
    }

    async fn verify(&mut self, region: &Arc<Region>, at: &str) {
        for (row, candidates) in &mut self.rows {
            let cells = region.get(&Get::new(*row)).await.expect("get");
            let value = |family: &[u8]| {
                let mut of = cells.iter().filter(|cell| cell.family() == family);
                let value = of.next().map(|cell| String::from_utf8(cell.value().to_vec()).expect("text"));
                assert!(of.next().is_none(), "{at}: one version");
                value
            };
            assert_eq!(value(b"f"), value(b"g"), "{at}: row {row} is whole");
            assert!(candidates.contains(&value(b"f")), "{at}: row {row} holds {:?} of {candidates:?}", value(b"f"));
            // What an opening shows is decided.
            *candidates = vec![value(b"f")];
        }
        let count = self.count(region).await;
        let done = self.increments.values().filter(|done| **done).count();
        assert!((done..=self.increments.len()).contains(&count), "{at}: {done} <= {count}");
    }

    async fn count(&self, region: &Arc<Region>) -> usize {
        let cells = region.get(&Get::new(COUNTER)).await.expect("get");
        cells.first().map_or(0, |cell| i64::from_be_bytes(cell.value().try_into().expect("8 bytes")) as usize)
    }

    /// The client sends every increment again.
    async fn retry(&mut self, region: &Arc<Region>, at: &str) {
        for nonce in self.increments.keys() {
            let (mutation, nonce) = increment(*nonce);
            region.mutate(vec![mutation], Some(nonce)).await.expect("retry");
        }
        self.increments.values_mut().for_each(|done| *done = true);
        assert_eq!(self.count(region).await, self.increments.len(), "{at}: each increment counts once");
    }
}

async fn act(fs: &Arc<dyn Filesystem>, region: &Arc<Region>, action: Action, number: usize, known: &mut Known) {
    match action {
        Put(row) => {
            let (row, value) = (ROWS[row], format!("v{number}"));
            let mut mutation = Mutation::new(MutationKind::Put, row);
            for family in ["f", "g"] {
                let cell = Cell::put(row.as_bytes(), family.as_bytes(), b"q", number as i64 + 1, value.as_bytes());
                mutation.cells.push(cell.expect("cell"));
            }
            let told = region.mutate(vec![mutation], None).await.is_ok();
            known.told(row, Some(value), told);
        }
        Delete(row) => {
            let row = ROWS[row];
            let mut mutation = Mutation::new(MutationKind::Delete, row);
            mutation.timestamp = number as i64 + 1;
            let told = region.mutate(vec![mutation], None).await.is_ok();
            known.told(row, None, told);
        }
        Increment => {
            let (mutation, nonce) = increment(number as u64 + 1);
            known.increments.insert(nonce.nonce, false);
            for _ in 0..3 {
                if region.mutate(vec![mutation.clone()], Some(nonce)).await.is_ok() {
                    known.increments.insert(nonce.nonce, true);
                    break;
                }
            }
        }
        Flush => drop(region.flush().await),
        Compact => drop(region.compact(true).await),
        Collect => {
            if region.collect().await.is_ok() && !known.files_land_late {
                nothing_unneeded(fs, region, &format!("action {number}")).await;
            }
            drop(storage::collect::streams(fs, fs).await);
        }
        Kill | Move => unreachable!("done by the story"),
    }
}

/// A root that appends, or one that does not.
type Root = fn() -> MemoryFilesystem;
const ROOTS: [Root; 2] = [MemoryFilesystem::new, MemoryFilesystem::without_appends];

/// Tells the story with faults, then looks at what is left. Answers the steps taken.
async fn tell(root: Root, faults: &[Fault], reads: bool) -> u64 {
    let machine = FaultyFilesystem::over(root());
    if reads {
        machine.count_reads();
    }
    machine.plan_all(faults.to_vec());
    let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
    let (lives, mut known) = (AtomicU64::new(1), Known::default());
    known.files_land_late = faults.iter().any(|fault| matches!(fault.effect, Effect::Late(_)));
    let mut region: Option<Arc<Region>> = None;
    for (number, action) in STORY.iter().enumerate() {
        if matches!(action, Kill) {
            region = None;
        } else if matches!(action, Move)
            && let Some(region) = region.take()
        {
            drop(region.close().await);
        }
        for _ in 0..4 {
            if region.is_none() {
                region = open(&fs, &lives, 100).await.ok();
            }
        }
        let Some(region) = &region else {
            assert!(machine.is_stopped(), "{faults:?}: a passing fault keeps nobody from opening");
            break;
        };
        if !matches!(action, Kill | Move) {
            act(&fs, region, *action, number, &mut known).await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await; // what goes on behind writes has its turn
        }
        if machine.is_stopped() {
            break;
        }
    }
    let steps = machine.steps();
    let step = faults.first().and_then(|fault| machine.step_name(fault.step));
    let at = format!("{faults:?} {}", step.unwrap_or_default());
    drop(region);
    machine.stop();

    let fs: Arc<dyn Filesystem> = Arc::new(machine.root());
    let region = open(&fs, &lives, 30_000).await.unwrap_or_else(|error| panic!("{at}: {error}"));
    known.verify(&region, &format!("{at}: reopened")).await;
    // What the machine had sent arrives now.
    machine.land();
    known.files_land_late = false;
    known.verify(&region, &format!("{at}: landed")).await;
    drop(region);
    let region = open(&fs, &lives, 30_000).await.expect("open");
    act(&fs, &region, Collect, 0, &mut known).await;
    known.verify(&region, &format!("{at}: reopened twice")).await;
    known.retry(&region, &at).await;
    region.flush().await.expect("flush");
    act(&fs, &region, Collect, 0, &mut known).await;
    known.verify(&region, &format!("{at}: flushed")).await;
    region.compact(true).await.expect("compact");
    known.verify(&region, &format!("{at}: compacted")).await;
    drop(region);
    let life = lives.fetch_add(1, Ordering::SeqCst);
    let log = start_log(&fs, life, 30_000).await.expect("log");
    let region = open_as(&fs, log.clone(), 1 + life, table()).await.expect("open");
    storage::collect::list(&fs).await.expect("list").end_others(Some(life)).await;
    known.retry(&region, &at).await;
    region.collect().await.expect("collect");
    known.verify(&region, &format!("{at}: at last")).await;
    nothing_unneeded(&fs, &region, &at).await;
    region.close().await.expect("close");
    log.end().await.expect("end");
    let done = storage::collect::streams(&fs, &fs).await.expect("collect");
    assert_eq!(done.failed, 0, "{at}");
    for file in fs.list("ferrobase/log").await.expect("list") {
        let data = fs.read_at(&file.path, 0, 100).await.expect("read");
        assert_eq!(data, "FBFENCE1", "{at}: {} is left of the log", file.path);
    }
    assert!(fs.unfinished("ferrobase").await.expect("list").is_empty(), "{at}");
    let region = open(&fs, &lives, 30_000).await.expect("open");
    known.verify(&region, &format!("{at}: in the end")).await;
    steps
}

/// The region's folder holds what it lists and nothing else.
async fn nothing_unneeded(fs: &Arc<dyn Filesystem>, region: &Arc<Region>, at: &str) {
    let mut listed: Vec<String> =
        ["f", "g"].iter().flat_map(|family| region.files(family.as_bytes())).map(|(name, _)| name).collect();
    listed.sort();
    let Ok(stored) = fs.list("data").await else { return }; // the fault has hit this look
    let mut stored: Vec<String> =
        stored.iter().map(|file| file.path.rsplit('/').next().unwrap_or_default().to_owned()).collect();
    stored.sort();
    assert_eq!(stored, listed, "{at}: store files");
    let Ok(left) = fs.unfinished("data").await else { return };
    assert!(left.is_empty(), "{at}: unfinished store files");
}

async fn every_step(effect: Effect, stop: bool, reads: bool) {
    for root in ROOTS {
        let steps = tell(root, &[], reads).await;
        assert!(steps > 100, "{steps} steps");
        for step in 0..steps {
            tell(root, &[Fault { step, effect, stop }], reads).await;
        }
    }
}

#[tokio::test]
async fn a_stop_before_any_step_loses_nothing_acknowledged() {
    every_step(Effect::Before, true, false).await;
}

#[tokio::test]
async fn a_stop_amid_any_step_loses_nothing_acknowledged() {
    every_step(Effect::Torn, true, false).await;
}

#[tokio::test]
async fn a_stop_after_any_step_loses_nothing_acknowledged() {
    every_step(Effect::After, true, false).await;
}

#[tokio::test]
async fn a_failed_step_loses_nothing_acknowledged() {
    every_step(Effect::Before, false, false).await;
}

#[tokio::test]
async fn a_failed_step_or_look_loses_nothing_acknowledged() {
    every_step(Effect::Before, false, true).await;
}

#[tokio::test]
async fn a_half_done_step_loses_nothing_acknowledged() {
    every_step(Effect::Torn, false, false).await;
}

#[tokio::test]
async fn a_lost_answer_loses_nothing_acknowledged() {
    every_step(Effect::After, false, false).await;
}

#[tokio::test]
async fn a_step_that_lands_later_loses_nothing_acknowledged() {
    for steps in [0, 1, 4, 1_000_000] {
        every_step(Effect::Late(steps), false, false).await;
    }
}

#[tokio::test]
async fn a_step_that_lands_after_the_next_opening_loses_nothing_acknowledged() {
    every_step(Effect::Late(1_000_000), true, false).await;
}

/// A commit's answers are lost until its holder gives up; what it meant to do is brought to its end by the next.
#[tokio::test]
async fn lost_answers_in_a_row_lose_nothing_acknowledged() {
    for root in ROOTS {
        let steps = tell(root, &[], false).await;
        for effect in [Effect::After, Effect::Torn] {
            for step in 0..steps {
                let fault = |step| Fault { step, effect, stop: false };
                tell(root, &[fault(step), fault(step + 1), fault(step + 2)], false).await;
            }
        }
    }
}

#[tokio::test]
async fn an_opening_that_failed_can_be_repeated_by_the_same_process() {
    for after in 0.. {
        let machine = FaultyFilesystem::new();
        let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
        let mut known = Known::default();
        let region = open_as(&fs, start_log(&fs, 1, 30_000).await.expect("log"), 2, table()).await.expect("open");
        for (number, action) in [Put(0), Increment, Flush, Increment, Put(1)].into_iter().enumerate() {
            act(&fs, &region, action, number, &mut known).await;
        }
        drop(region);
        let log = start_log(&fs, 2, 30_000).await.expect("log");
        machine.plan(Fault { step: machine.steps() + after, effect: Effect::Before, stop: false });
        let first = open_as(&fs, log.clone(), 3, table()).await;
        let failed = first.is_err();
        let region = match first {
            Ok(region) => region,
            Err(_) => open_as(&fs, log, 4, table()).await.expect("again"),
        };
        known.verify(&region, "opened").await;
        known.retry(&region, "opened").await;
        if !failed {
            assert!(after > 1, "some step of an opening fails it");
            break;
        }
    }
}

#[tokio::test]
async fn a_family_that_is_dropped_and_comes_back_is_empty() {
    let narrow = || Arc::new(TableDescriptor::new(info().table).with_family(FamilyDescriptor::new("f")));
    for flush in [false, true] {
        for reopened in [false, true] {
            let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
            let mut region =
                open_as(&fs, start_log(&fs, 1, 30_000).await.expect("log"), 2, table()).await.expect("open");
            let mut known = Known::default();
            act(&fs, &region, Put(0), 0, &mut known).await;
            if flush {
                act(&fs, &region, Flush, 1, &mut known).await;
            }
            for (life, table) in [(2, narrow()), (3, table())] {
                if reopened {
                    region = open_as(&fs, start_log(&fs, life, 30_000).await.expect("log"), 1 + life, table)
                        .await
                        .expect("open");
                } else {
                    region.update(table).await.expect("update");
                }
            }
            for life in 4..6 {
                let cells = region.get(&Get::new(ROWS[0])).await.expect("get");
                let families: Vec<_> = cells.iter().map(|cell| cell.family()).collect();
                assert_eq!(families, [b"f"], "flush {flush}, reopened {reopened}, life {life}");
                region = open_as(&fs, start_log(&fs, life, 30_000).await.expect("log"), 1 + life, table())
                    .await
                    .expect("open");
            }
            act(&fs, &region, Put(0), 9, &mut known).await;
            known.verify(&region, "written again").await;
        }
    }
}

/// One process is frozen amid its writes, a flush and their commits; another takes the region over, flushes, compacts and deletes
/// what nobody needs; then what the first had sent arrives, and it goes on.
#[tokio::test]
async fn a_frozen_process_loses_nothing_and_changes_nothing() {
    for root in ROOTS {
        for frozen in 0..14 {
            let at = format!("frozen for {frozen} steps");
            let machine = FaultyFilesystem::over(root());
            let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
            let lives = AtomicU64::new(1 + frozen % 2);
            let old = open(&fs, &lives, 60).await.expect("open");
            let mut known = Known::default();
            for (number, action) in [Put(0), Increment, Put(1), Flush, Put(2), Increment].into_iter().enumerate() {
                act(&fs, &old, action, number, &mut known).await;
            }
            let from = machine.steps() + frozen % 3;
            let late = |step| Fault { step, effect: Effect::Late(1_000_000), stop: false };
            machine.plan_all((from..from + frozen).map(late).collect());
            for (number, action) in [Put(0), Flush].into_iter().enumerate() {
                act(&fs, &old, action, 10 + number, &mut known).await;
            }
            let new_fs: Arc<dyn Filesystem> = Arc::new(machine.root());
            let region = open(&new_fs, &lives, 30_000).await.expect("open elsewhere");
            known.verify(&region, &at).await;
            known.files_land_late = true;
            for (number, action) in [Put(1), Increment, Flush, Compact, Collect, Put(2)].into_iter().enumerate() {
                act(&new_fs, &region, action, 20 + number, &mut known).await;
            }
            machine.plan_all(Vec::new());
            machine.land();
            known.verify(&region, &format!("{at}: landed")).await;
            let error = old.mutate(vec![increment(999).0], None).await.expect_err("taken over");
            let unsure = [ErrorKind::Fenced, ErrorKind::Unknown, ErrorKind::Unavailable];
            assert!(unsure.contains(&error.kind()), "{at}: {error}");
            assert!(old.flush().await.is_err() || old.memtable_bytes() == 0, "{at}");
            known.verify(&region, &format!("{at}: gone on")).await;
            known.files_land_late = false;
            act(&new_fs, &region, Collect, 30, &mut known).await;
            drop(region);
            let region = open(&new_fs, &lives, 30_000).await.expect("open again");
            known.verify(&region, &format!("{at}: reopened")).await;
            known.retry(&region, &at).await;
        }
    }
}

/// What exists is known from manifests and numbers.
#[tokio::test]
async fn nothing_is_listed_or_renamed_to_serve_flush_open_and_open_again() {
    for root in ROOTS {
        let machine = FaultyFilesystem::over(root());
        machine.count_reads();
        let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
        let (lives, mut known) = (AtomicU64::new(1), Known::default());
        for life in 0..4 {
            let region = open(&fs, &lives, 30_000).await.expect("open");
            known.verify(&region, "opened").await;
            for (number, action) in STORY.iter().filter(|action| matches!(action, Put(_) | Increment)).enumerate() {
                act(&fs, &region, *action, number, &mut known).await;
            }
            match life {
                0 => act(&fs, &region, Flush, 99, &mut known).await,
                1 => act(&fs, &region, Compact, 99, &mut known).await,
                2 => region.close().await.expect("close"),
                _ => {}
            }
        }
        let names: Vec<String> = (0..machine.steps()).filter_map(|step| machine.step_name(step)).collect();
        assert!(names.len() > 100);
        let costly: Vec<&String> =
            names.iter().filter(|name| name.starts_with("list") || name.starts_with("rename")).collect();
        assert!(costly.is_empty(), "{costly:?}");
    }
}

/// The log lies elsewhere than the data, and then elsewhere again: what the earlier log holds is found there.
#[tokio::test]
async fn data_and_logs_on_different_roots() {
    let data: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::without_appends());
    let logs: Vec<Arc<dyn Filesystem>> = ROOTS.iter().map(|root| Arc::new(root()) as Arc<dyn Filesystem>).collect();
    let mut known = Known::default();
    for life in 1..=6 {
        let own = life as usize % 2;
        let log = start_log_on(own as u32 + 1, &logs[own], life, 30_000).await.expect("log");
        log.know_root(2 - own as u32, logs[1 - own].clone());
        let region = open_as(&data, log, 1 + life, table()).await.expect("open");
        known.verify(&region, "opened").await;
        for (number, action) in [Put(0), Increment, Put(1)].into_iter().enumerate() {
            act(&data, &region, action, number + life as usize * 10, &mut known).await;
        }
        if life == 5 {
            region.flush().await.expect("flush");
            for log in &logs {
                storage::collect::streams(&data, log).await.expect("collect");
            }
        }
    }
    assert!(data.list("ferrobase/log").await.expect("list").is_empty());
    assert!(
        logs[0].list("data").await.expect("list").is_empty() && logs[1].list("data").await.expect("list").is_empty()
    );
    // Roots that nobody told, and roots that are not what they were: an error, and nothing is changed.
    let manifest = format!("ferrobase/table/tid/{}", info().encoded_name());
    let before = data.register_read(&manifest).await.expect("read");
    let alone = start_log_on(2, &logs[1], 8, 30_000).await.expect("log");
    let error = open_as(&data, alone, 9, table()).await.expect_err("the root of the stream is not known");
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let astray = start_log_on(2, &logs[1], 9, 30_000).await.expect("log");
    let empty: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    astray.know_root(1, empty.clone());
    let error = open_as(&data, astray, 10, table()).await.expect_err("the stream is not there");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(data.register_read(&manifest).await.expect("read"), before);
    assert!(empty.list("ferrobase").await.expect("list").is_empty(), "no head is made for a stream that is lost");
    assert!(storage::wal::look(&empty, 6, None).await.is_err());
    let at_home = start_log_on(2, &logs[1], 10, 30_000).await.expect("log");
    at_home.know_root(1, logs[0].clone());
    known.verify(&open_as(&data, at_home, 11, table()).await.expect("open"), "all roots are known").await;
}

async fn needs(fs: &Arc<dyn Filesystem>) -> Vec<StreamId> {
    let path = storage::manifest::path("tid", &info().encoded_name());
    let value = fs.register_read(&path).await.expect("read").expect("a manifest");
    storage::manifest::Manifest::decode(&value, &path).expect("sound").needs
}

/// An opening fails behind its claim, at any step: the region is closed again with its old needs. Another process opens it and finds
/// everything, and does not have to end the log of the first, which serves other regions.
#[tokio::test]
async fn an_opening_that_fails_gives_the_region_back() {
    for root in ROOTS {
        for effect in [Effect::Before, Effect::Torn, Effect::After] {
            for after in 0.. {
                let machine = FaultyFilesystem::over(root());
                let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
                let mut known = Known::default();
                let region =
                    open_as(&fs, start_log(&fs, 1, 30_000).await.expect("log"), 2, table()).await.expect("open");
                for (number, action) in [Put(0), Increment, Flush, Increment, Put(1)].into_iter().enumerate() {
                    act(&fs, &region, action, number, &mut known).await;
                }
                drop(region);
                let log = start_log(&fs, 2, 30_000).await.expect("log");
                machine.count_reads();
                machine.plan(Fault { step: machine.steps() + after, effect, stop: false });
                let at = format!("{effect:?} {after} steps on");
                let planned = machine.steps() + after;
                let opened = open_as(&fs, log.clone(), 3, table()).await;
                if machine.steps() <= planned {
                    assert!(after > 5, "an opening takes some steps");
                    break;
                }
                if opened.is_ok() {
                    continue; // a lost answer of a swap is found out
                }
                machine.plan_all(Vec::new());
                assert_eq!(needs(&fs).await, [StreamId { root: 0, stream: 1 }], "{at}");
                let region = open_as(&fs, start_log(&fs, 3, 30_000).await.expect("log"), 4, table()).await.expect(&at);
                known.verify(&region, &at).await;
                known.retry(&region, &at).await;
                let cell = Cell::put(b"r", b"f", b"q", 1, b"v").expect("cell");
                let ticket =
                    log.submit(&Bytes::from_static(b"other"), model::SeqNo(1), 0, None, &[cell]).expect("submit");
                ticket.durable().await.unwrap_or_else(|error| panic!("{at}: the first process was ended: {error}"));
            }
        }
    }
}

/// Unflushed edits for which there is no room: they are flushed on the way, and a death anywhere there loses nothing.
#[tokio::test]
async fn a_replay_flushes_on_its_way_and_may_die_there() {
    const WRITES: usize = 600;
    const ROOM: u64 = 256 << 10;
    for root in ROOTS {
        let check = async |region: &Arc<Region>, at: &str| {
            for number in 0..WRITES {
                let cells = region.get(&Get::new(format!("row{number:04}"))).await.expect("get");
                assert!(cells.len() == 1 && cells[0].value() == [number as u8; 1000], "{at}: row {number}: {cells:?}");
            }
        };
        for stop in (0..).step_by(3) {
            let machine = FaultyFilesystem::over(root());
            let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
            let settings =
                LogSettings { linger_ms: 0, segment_bytes: 128 << 10, read_lease_ms: 0, ..LogSettings::default() };
            let log = Log::create(fs.clone(), Runtime::system(), settings, 1).await.expect("log");
            let region = open_within(&fs, log, 2, table(), Budget::new(16 << 20)).await.expect("open");
            let mutations = (0..WRITES).map(|number| {
                let row = format!("row{number:04}");
                let mut mutation = Mutation::new(MutationKind::Put, row.clone());
                mutation.cells = vec![Cell::put(row.as_bytes(), b"f", b"q", 1, &[number as u8; 1000]).expect("cell")];
                mutation
            });
            for told in region.batch(mutations.collect()).await {
                told.expect("acknowledged");
            }
            drop(region);
            let log = start_log(&fs, 2, 100).await.expect("log");
            machine.plan(Fault { step: machine.steps() + stop, effect: Effect::After, stop: true });
            let budget = Budget::new(ROOM);
            let opened = open_within(&fs, log, 3, table(), budget.clone()).await;
            let at = format!("stopped {stop} steps on");
            if let Ok(region) = &opened {
                assert!(region.files(b"f").len() > 1, "{at}: {:?}", region.files(b"f"));
                assert!(region.memtable_bytes() < ROOM && budget.used() == region.memtable_bytes(), "{at}");
                check(region, &at).await;
            }
            let is_over = opened.is_ok();
            drop(opened);
            machine.stop();
            let fs: Arc<dyn Filesystem> = Arc::new(machine.root());
            let region = open_as(&fs, start_log(&fs, 3, 30_000).await.expect("log"), 4, table()).await.expect(&at);
            check(&region, &at).await;
            if is_over {
                break;
            }
        }
    }
}

/// A process that was replaced shows nothing of what it knew, even if it has nothing to write.
#[tokio::test]
async fn a_replaced_process_answers_no_read() {
    for lease_ms in [0, 300] {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::without_appends());
        let start = async |life| {
            let settings = LogSettings { read_lease_ms: lease_ms, linger_ms: 0, ..LogSettings::default() };
            Log::create(fs.clone(), Runtime::system(), settings, life).await.expect("log")
        };
        let (old_log, mut known) = (start(1).await, Known::default());
        let old = open_as(&fs, old_log.clone(), 2, table()).await.expect("open");
        act(&fs, &old, Put(0), 0, &mut known).await;
        for _ in 0..100 {
            known.verify(&old, "alone").await;
        }
        let looks = old_log.counters().looks;
        if lease_ms == 0 {
            assert!(looks >= 100, "{looks} looks: each read has its own");
        }
        let mut scanner = old.scanner(&model::query::Scan::default()).await.expect("scanner");
        let new = open_as(&fs, start(2).await, 3, table()).await.expect("open elsewhere");
        act(&fs, &new, Put(0), 1, &mut known).await;
        let fenced = |error: storage::StorageError| assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(!old_log.is_fenced(), "nobody has told it");
        fenced(scanner.next(&storage::read::Limits::rows(9), &mut Vec::new()).await.expect_err("a scan"));
        fenced(old.get(&Get::new(ROWS[0])).await.expect_err("a get"));
        assert!(old_log.is_fenced());
        known.verify(&new, "replaced").await;
    }
}

/// The same for a condition that does not hold and for a repeated increment: both are reads.
#[tokio::test]
async fn a_replaced_process_answers_no_write_that_comes_to_a_read() {
    for repeated in [false, true] {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::without_appends());
        let old = open_as(&fs, start_log(&fs, 1, 30_000).await.expect("log"), 2, table()).await.expect("open");
        let (add, nonce) = increment(1);
        old.mutate(vec![add.clone()], Some(nonce)).await.expect("done");
        let new = open_as(&fs, start_log(&fs, 2, 30_000).await.expect("log"), 3, table()).await.expect("elsewhere");
        let refused = if repeated {
            old.mutate(vec![add], Some(nonce)).await
        } else {
            let comparator = model::filter::Comparator::Binary(Bytes::from_static(b"other"));
            let condition = model::mutation::Condition::Column {
                family: Bytes::from_static(b"f"),
                qualifier: Bytes::from_static(b"n"),
                op: model::filter::CompareOp::Equal,
                comparator,
                time_range: model::query::TimeRange::ALL,
            };
            let check = model::mutation::CheckAndMutate { row: COUNTER.into(), condition, mutations: vec![add] };
            old.check_and_mutate(check, None).await
        };
        assert_eq!(refused.expect_err("replaced").kind(), ErrorKind::Fenced, "repeated: {repeated}");
        drop(new);
    }
}
