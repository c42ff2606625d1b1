mod collecting;
mod skipping;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use filesystem::local::LocalFilesystem;
use filesystem::memory::MemoryFilesystem;
use model::filter::{Comparator, CompareOp, Filter};
use model::mutation::{CheckAndMutate, Condition, Durability, Mutation, MutationKind, Nonce};
use model::query::{Get, Scan, TimeRange};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, CellType, ErrorKind, LATEST_TIMESTAMP};
use runtime::Runtime;
use runtime::random::SystemRandom;

use super::*;
use crate::read::Limits;
use crate::wal::LogSettings;

struct Host {
    fs: Arc<dyn Filesystem>,
    runtime: Runtime,
    settings: RegionSettings,
    table: Arc<TableDescriptor>,
    lives: u64,
}

fn info() -> RegionInfo {
    RegionInfo::new("t".parse().expect("name"), Bytes::new(), Bytes::new(), 1)
}

fn table() -> Arc<TableDescriptor> {
    let table = TableDescriptor::new("t".parse().expect("name"));
    Arc::new(
        table.with_family(FamilyDescriptor::new("f").with("VERSIONS", "3")).with_family(FamilyDescriptor::new("g")),
    )
}

impl Host {
    fn new(fs: Arc<dyn Filesystem>) -> Host {
        Host { fs, runtime: Runtime::system(), settings: RegionSettings::default(), table: table(), lives: 0 }
    }

    /// A new life of the process: a new stream, a higher epoch.
    async fn open(&mut self) -> Arc<Region> {
        self.open_with_log().await.0
    }

    async fn open_with_log(&mut self) -> (Arc<Region>, Log) {
        self.lives += 1;
        let settings = LogSettings { segment_bytes: 4096, ..LogSettings::default() };
        let log = Log::create(self.fs.clone(), self.runtime.clone(), settings, self.lives).await.expect("log");
        let ctx = RegionContext {
            runtime: self.runtime.clone(),
            fs: self.fs.clone(),
            log: log.clone(),
            budget: Budget::new(64 << 20),
            cache: Arc::new(BlockCache::new(1 << 20)),
            settings: self.settings.clone(),
        };
        Region::create(&self.fs, &self.runtime, "tid", &info(), &self.table, 1).await.expect("create");
        (Region::open(ctx, info(), "tid", 1 + self.lives, self.table.clone()).await.expect("open"), log)
    }
}

fn memory() -> Host {
    Host::new(Arc::new(MemoryFilesystem::new()))
}

fn put(row: &str, family: &str, qualifier: &str, timestamp: i64, value: &str) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Put, Bytes::copy_from_slice(row.as_bytes()));
    let parts = (row.as_bytes(), family.as_bytes(), qualifier.as_bytes());
    mutation.cells.push(Cell::put(parts.0, parts.1, parts.2, timestamp, value.as_bytes()).expect("cell"));
    mutation
}

fn increment(row: &str, by: i64) -> Mutation {
    let mut mutation = put(row, "f", "n", LATEST_TIMESTAMP, "");
    mutation.kind = MutationKind::Increment;
    mutation.cells = vec![Cell::put(row.as_bytes(), b"f", b"n", LATEST_TIMESTAMP, &by.to_be_bytes()).expect("cell")];
    mutation
}

async fn write(region: &Arc<Region>, mutation: Mutation) {
    assert!(region.mutate(vec![mutation], None).await.expect("write").done);
}

async fn value(region: &Arc<Region>, row: &str, qualifier: &str) -> Option<String> {
    let mut get = Get::new(Bytes::copy_from_slice(row.as_bytes()));
    get.selection.add_column("f", Bytes::copy_from_slice(qualifier.as_bytes()));
    let cells = region.get(&get).await.expect("get");
    cells.first().map(|cell| String::from_utf8_lossy(cell.value()).into_owned())
}

async fn rows(region: &Arc<Region>, scan: &Scan) -> Vec<Vec<Cell>> {
    let mut scanner = region.scanner(scan).await.expect("scanner");
    let mut out = Vec::new();
    while scanner.next(&Limits::rows(7), &mut out).await.expect("next").more {}
    out.into_iter().map(|row| row.cells).collect()
}

/// A search key for a row that cannot be would be cut to another row's.
#[tokio::test]
async fn rows_that_cannot_be_are_refused() {
    let mut host = Host::new(Arc::new(MemoryFilesystem::default()));
    let region = host.open().await;
    let long = vec![b'r'; ROW_LEN_MAX + 1];
    assert_eq!(region.get(&Get::new(long.clone())).await.expect_err("refused").kind(), ErrorKind::Invalid);
    for scan in [Scan::between(long.clone(), ""), Scan::between("", long)] {
        assert_eq!(region.scanner(&scan).await.expect_err("refused").kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn what_is_written_is_read_before_and_after_flush_compaction_and_opening() {
    let folder = tempfile::tempdir().expect("folder");
    let local = LocalFilesystem::open(folder.path(), Arc::new(SystemRandom)).expect("root");
    for fs in [Arc::new(MemoryFilesystem::new()) as Arc<dyn Filesystem>, Arc::new(local)] {
        let mut host = Host::new(fs.clone());
        let mut region = host.open().await;
        let mut expected: BTreeMap<String, String> = BTreeMap::new();
        for round in 0..6 {
            for i in 0..40 {
                let (row, text) = (format!("row{:03}", i * 7 % 60), format!("value {round} {i}"));
                write(&region, put(&row, "f", "q", 1000 + round * 100 + i, &text)).await;
                expected.insert(row, text);
            }
            match round {
                0 | 3 => assert!(region.flush().await.expect("flush")),
                1 => region = host.open().await, // the old one is dropped without closing
                2 => {
                    region.close().await.expect("close");
                    region = host.open().await;
                }
                4 => assert_eq!(region.compact(true).await.expect("compact"), 1),
                _ => {}
            }
            for (row, text) in &expected {
                assert_eq!(value(&region, row, "q").await.as_ref(), Some(text), "round {round}");
            }
            assert_eq!(rows(&region, &Scan::default()).await.len(), expected.len());
        }
        region.flush().await.expect("flush");
        assert_eq!(region.compact(true).await.expect("compact"), 1);
        assert_eq!(region.files(b"f").len(), 1);
        assert_eq!(fs.list("data").await.expect("list").len(), 1, "compacted files are gone");
        assert_eq!(region.memtable_bytes(), 0);
    }
}

#[tokio::test]
async fn reversed_scans_give_the_rows_backwards() {
    let mut host = memory();
    let region = host.open().await;
    for i in 0..30 {
        write(&region, put(&format!("row{i:02}"), "f", "q", 5, "v")).await;
        if i == 10 || i == 20 {
            region.flush().await.expect("flush");
        }
    }
    let mut forward = rows(&region, &Scan::default()).await;
    forward.reverse();
    assert_eq!(rows(&region, &Scan { reversed: true, ..Scan::default() }).await, forward);
}

#[tokio::test]
async fn deletes_hide_what_they_cover() {
    let mut host = memory();
    let region = host.open().await;
    for timestamp in [10, 20, 30] {
        write(&region, put("r", "f", "q", timestamp, &timestamp.to_string())).await;
    }
    let mut newest = put("r", "f", "q", 0, "");
    newest.kind = MutationKind::Delete;
    newest.cells = vec![Cell::new(b"r", b"f", b"q", LATEST_TIMESTAMP, CellType::DELETE, b"").expect("cell")];
    write(&region, newest).await;
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("20"));
    write(&region, Mutation { timestamp: 15, ..Mutation::new(MutationKind::Delete, "r") }).await;
    region.flush().await.expect("flush");
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("20"));
    write(&region, Mutation::new(MutationKind::Delete, "r")).await;
    assert_eq!(value(&region, "r", "q").await, None);
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    let raw = Scan { raw: true, ..Scan::default() };
    assert!(rows(&region, &raw).await.is_empty(), "a major compaction leaves neither markers nor what they hide");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_and_checks_are_atomic_under_concurrency() {
    let mut host = memory();
    let region = host.open().await;
    let tasks = (0..8u64).map(|task| {
        let region = region.clone();
        runtime::task::spawn("increments", async move {
            let mut claimed = 0;
            for i in 0..25 {
                let nonce = Nonce { group: task + 1, nonce: i + 1 };
                region.mutate(vec![increment("r", 1)], Some(nonce)).await.expect("increment");
                // A retry of the same operation counts for nothing.
                let again = region.mutate(vec![increment("r", 1)], Some(nonce)).await.expect("again");
                assert_eq!(again.cells.len(), 1);
                let condition = Condition::Column {
                    family: "f".into(),
                    qualifier: Bytes::from(format!("slot{i}")),
                    op: model::filter::CompareOp::Equal,
                    comparator: model::filter::Comparator::Binary(Bytes::new()),
                    time_range: TimeRange::ALL,
                };
                let mutations = vec![put("r", "f", &format!("slot{i}"), LATEST_TIMESTAMP, &task.to_string())];
                let check = CheckAndMutate { row: "r".into(), condition, mutations };
                claimed += u32::from(region.check_and_mutate(check, None).await.expect("check").done);
            }
            claimed
        })
    });
    let claimed: u32 = futures::future::join_all(tasks).await.into_iter().map(|task| task.expect("task")).sum();
    assert_eq!(claimed, 25, "each slot is taken once");
    let region = host.open().await; // from the log
    let cells = region.get(&Get::new("r")).await.expect("get");
    let counter = cells.iter().find(|cell| cell.qualifier() == b"n").expect("counter");
    assert_eq!(counter.value(), 200i64.to_be_bytes());
    // The nonce is in the log: a retry after the restart still counts for nothing.
    region.mutate(vec![increment("r", 1)], Some(Nonce { group: 1, nonce: 25 })).await.expect("retry");
    let cells = region.get(&Get::new("r")).await.expect("get");
    assert_eq!(cells.iter().find(|cell| cell.qualifier() == b"n").expect("counter").value(), 200i64.to_be_bytes());
}

/// Puts of free rows go to the log together; what has to wait, or is wrong, is on its own.
#[tokio::test]
async fn a_batch_is_what_its_writes_are_alone() {
    let mutations = || {
        let mut all: Vec<Mutation> = (0..600).map(|i| put(&format!("r{}", i % 290), "f", "a", 1000 + i, "x")).collect();
        let mut two = put("r7", "g", "b", LATEST_TIMESTAMP, "y");
        two.cells.extend(put("r7", "f", "b", LATEST_TIMESTAMP, "z").cells);
        let mut old = put("r8", "f", "a", 1, "");
        old.kind = MutationKind::Delete;
        old.cells = vec![Cell::new(b"r8", b"f", b"a", 1300, CellType::DELETE_COLUMN, b"").expect("cell")];
        let mut with_ttl = put("r9", "f", "c", LATEST_TIMESTAMP, "t");
        with_ttl.ttl_ms = Some(3_600_000);
        let mut unlogged = put("r10", "f", "c", 5, "u");
        unlogged.durability = Durability::SkipWal;
        let mut foreign = put("r11", "f", "c", 5, "v");
        foreign.row = "r12".into();
        let empty = Mutation::new(MutationKind::Put, "r13");
        let wrong = put("r11", "nosuch", "c", 5, "v");
        let mut number = put("r14", "f", "n", 9_000_000_000_000, "");
        number.cells = vec![Cell::put(b"r14", b"f", b"n", 9_000_000_000_000, &50_i64.to_be_bytes()).expect("cell")];
        let twice = [increment("r14", 3), number, increment("r14", 4)];
        let more = [two, old, with_ttl, unlogged, foreign, empty, wrong].into_iter().chain(twice);
        for (at, mutation) in more.enumerate() {
            all.insert(at * 60, mutation);
        }
        all
    };
    let (mut one, mut other) = (memory(), memory());
    let (together, alone) = (one.open().await, other.open().await);
    let batch = together.batch(mutations()).await;
    let told = |done: Result<super::write::Outcome>| done.map(|done| done.done).map_err(|error| error.to_string());
    let mut expected = Vec::new();
    for mutation in mutations() {
        expected.push(told(alone.mutate(vec![mutation], None).await));
    }
    assert_eq!(batch.into_iter().map(told).collect::<Vec<_>>(), expected);
    assert_eq!(expected.iter().filter(|done| done.is_err()).count(), 2);
    // But for times that each took by itself.
    let shown = |rows: Vec<Vec<Cell>>| {
        let one = |cell: &Cell| {
            let now = cell.timestamp() > 1_000_000_000;
            let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
            let place = format!("{} {} {}", text(cell.row()), text(cell.family()), text(cell.qualifier()));
            let time = if now { 0 } else { cell.timestamp() };
            format!("{place} {time} {} {}", text(cell.value()), cell.tags().len())
        };
        rows.iter().flatten().map(one).collect::<Vec<_>>()
    };
    let mut all = Scan::default();
    all.selection.max_versions = 3;
    let seen = shown(rows(&together, &all).await);
    assert_eq!(seen, shown(rows(&alone, &all).await));
    // From the log, which one write did not go to.
    let logged: Vec<String> = seen.into_iter().filter(|cell| !cell.ends_with("u 0")).collect();
    assert_eq!(shown(rows(&one.open().await, &all).await), logged);
}

#[tokio::test]
async fn a_row_is_free_when_what_was_written_is_seen() {
    let region = memory().open().await;
    // A write that others have to wait for: what comes behind it is applied, and not seen yet.
    let before = region.mvcc.begin();
    let mut number = put("r", "f", "n", 0, "");
    number.cells = vec![Cell::put(b"r", b"f", b"n", 1000, &50_i64.to_be_bytes()).expect("cell")];
    let together = region.clone();
    let batch = vec![number, put("s", "f", "q", LATEST_TIMESTAMP, "x")];
    let batch = runtime::task::spawn("batch", async move { together.batch(batch).await });
    while region.memtable_bytes() == 0 {
        runtime::task::yield_now().await;
    }
    let counted = region.clone();
    let counting = runtime::task::spawn("count", async move { counted.mutate(vec![increment("r", 1)], None).await });
    for _ in 0..1000 {
        runtime::task::yield_now().await;
    }
    region.mvcc.complete(before);
    batch.await.expect("ended").into_iter().for_each(|done| assert!(done.expect("put").done));
    assert!(counting.await.expect("ended").expect("increment").done);
    let cells = region.get(&Get::new("r")).await.expect("get");
    assert_eq!(cells[0].value(), 51_i64.to_be_bytes(), "the increment saw what was written before it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_of_two_families_is_seen_whole_or_not_at_all() {
    // Many cells, so that a reader comes while they are being applied.
    const COLUMNS: usize = 40;
    let mut host = memory();
    let region = host.open().await;
    let writer = {
        let region = region.clone();
        runtime::task::spawn("writer", async move {
            for i in 0..300 {
                let mut both = put("r", "f", "q00", 1000 + i, &i.to_string());
                for family in ["f", "g"] {
                    for column in 1..=COLUMNS {
                        both.cells.extend(put("r", family, &format!("q{column:02}"), 1000 + i, &i.to_string()).cells);
                    }
                }
                write(&region, both).await;
                if i % 50 == 49 {
                    region.flush().await.expect("flush");
                }
                if i % 100 == 99 {
                    region.compact(true).await.expect("compact");
                }
            }
        })
    };
    while !writer.is_finished() {
        let cells = region.get(&Get::new("r")).await.expect("get");
        let whole = cells.len() == 1 + 2 * COLUMNS && cells.iter().all(|cell| cell.value() == cells[0].value());
        assert!(cells.is_empty() || whole, "{cells:?}");
    }
    writer.await.expect("writer");
}

#[tokio::test]
async fn a_scanner_keeps_what_it_saw_across_flush_and_compaction() {
    let mut host = memory();
    let region = host.open().await;
    for i in 0..50 {
        write(&region, put(&format!("row{i:02}"), "f", "q", 5, "old")).await;
    }
    region.flush().await.expect("flush");
    let mut scanner = region.scanner(&Scan::default()).await.expect("scanner");
    let mut seen = Vec::new();
    scanner.next(&Limits::rows(10), &mut seen).await.expect("next");
    for i in 0..50 {
        write(&region, put(&format!("row{i:02}"), "f", "q", 6, "new")).await;
        write(&region, put(&format!("row{i:02}x"), "f", "q", 6, "new")).await;
    }
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    while scanner.next(&Limits::rows(10), &mut seen).await.expect("next").more {}
    assert_eq!(seen.len(), 50);
    assert!(seen.iter().all(|row| row.cells[0].value() == b"old"));
}

/// A client's scan goes on in a new scanner after each answer; a scanner that waits meanwhile keeps its read point alive.
#[tokio::test]
async fn a_read_point_that_is_held_is_served_after_flush_and_compaction() {
    let mut host = memory();
    host.table = Arc::new(TableDescriptor::new(info().table).with_family(FamilyDescriptor::new("f")));
    let region = host.open().await;
    write(&region, put("r", "f", "q", 5, "old")).await;
    write(&region, put("s", "f", "q", 5, "deleted later")).await;
    let holder = region.scanner(&Scan::default()).await.expect("scanner");
    let then = Scan { mvcc_read_point: Some(holder.read_point().0), ..Scan::default() };
    for timestamp in 6..9 {
        write(&region, put("r", "f", "q", timestamp, "new")).await;
    }
    write(&region, Mutation::new(MutationKind::Delete, "s")).await;
    let seen = async |when: &str| {
        let seen: Vec<_> = rows(&region, &then).await.into_iter().flatten().map(|cell| cell.value().to_vec()).collect();
        assert_eq!(seen, [&b"old"[..], b"deleted later"], "{when}");
    };
    seen("in memory").await;
    region.flush().await.expect("flush");
    seen("flushed").await;
    write(&region, put("r", "f", "q", 9, "newest")).await;
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    seen("compacted").await;
    drop(holder);
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("newest"));
}

#[tokio::test]
async fn a_flush_gives_its_memory_back() {
    let mut host = memory();
    let region = host.open().await;
    let budget = region.ctx.budget.clone();
    for round in 0..3 {
        for i in 0..20 {
            write(&region, put(&format!("row{i}"), "f", "q", round, "value")).await;
        }
        assert!(budget.used() > 20 * 100 && budget.used() == region.memtable_bytes(), "{} bytes", budget.used());
        region.flush().await.expect("flush");
        assert_eq!((budget.used(), region.memtable_bytes()), (0, 0), "round {round}");
    }
    write(&region, put("r", "f", "q", 5, "value")).await;
    let held = budget.used();
    let region = host.open().await; // from the log, with a budget of its own
    assert_eq!((region.ctx.budget.used(), region.memtable_bytes()), (held, held), "a replay is accounted");
}

#[tokio::test]
async fn a_write_that_failed_is_never_seen() {
    let machine = FaultyFilesystem::new();
    let mut host = Host::new(Arc::new(machine.clone()));
    let region = host.open().await;
    write(&region, put("r", "f", "q", 5, "kept")).await;
    let first = machine.steps();
    let faults = (first..first + 100).map(|step| Fault { step, effect: Effect::Before, stop: false });
    machine.plan_all(faults.collect());
    region.mutate(vec![put("r", "f", "q", 6, "lost")], None).await.expect_err("nothing can be written");
    let nonce = Some(Nonce { group: 1, nonce: 1 });
    region.mutate(vec![increment("n", 1)], nonce).await.expect_err("nothing can be written");
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("kept"));
    assert_eq!(value(&region, "n", "n").await, None);
    machine.plan_all(Vec::new());
    region.mutate(vec![increment("n", 1)], nonce).await.expect("a failed attempt is carried out when it is repeated");
    write(&region, put("r", "f", "q", 7, "next")).await;
    let region = host.open().await;
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("next"));
    let cells = region.get(&Get::new("n")).await.expect("get");
    assert_eq!(cells[0].value(), 1i64.to_be_bytes());
}

#[tokio::test]
async fn wrong_requests_are_refused_with_a_kind() {
    let mut host = memory();
    host.settings.cell_bytes_max = 1000;
    let region = host.open().await;
    let refuse = async |mutation: Mutation| region.mutate(vec![mutation], None).await.expect_err("refused").kind();
    assert_eq!(refuse(put("r", "nope", "q", 1, "v")).await, ErrorKind::NotFound);
    assert_eq!(refuse(put("r", "f", "q", 1, &"x".repeat(1000))).await, ErrorKind::Invalid);
    write(&region, put("r", "f", "n", 1, "short")).await;
    assert_eq!(refuse(increment("r", 1)).await, ErrorKind::Invalid);
    let mut get = Get::new("r");
    get.selection.add_family("nope");
    assert_eq!(region.get(&get).await.expect_err("refused").kind(), ErrorKind::NotFound);
    region.close().await.expect("close");
    assert_eq!(region.get(&Get::new("r")).await.expect_err("closed").kind(), ErrorKind::NotServing);
}

#[tokio::test]
async fn an_overtaken_region_can_neither_log_nor_commit() {
    let mut host = memory();
    let old = host.open().await;
    write(&old, put("r", "f", "q", 1, "kept")).await;
    let new = host.open().await;
    assert_eq!(value(&new, "r", "q").await.as_deref(), Some("kept"));
    let late = old.mutate(vec![put("r", "f", "q", 2, "late")], None).await.expect_err("fenced");
    assert_eq!(late.kind(), ErrorKind::Fenced);
    assert_eq!(old.flush().await.expect_err("fenced").kind(), ErrorKind::Fenced);
    new.flush().await.expect("flush");
    assert_eq!(value(&new, "r", "q").await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn unlogged_writes_are_lost_with_the_process_and_kept_by_a_flush() {
    let mut host = memory();
    let region = host.open().await;
    write(&region, Mutation { durability: Durability::SkipWal, ..put("a", "f", "q", 1, "v") }).await;
    region.flush().await.expect("flush");
    write(&region, Mutation { durability: Durability::SkipWal, ..put("b", "f", "q", 1, "v") }).await;
    assert_eq!(value(&region, "b", "q").await.as_deref(), Some("v"));
    let region = host.open().await;
    assert_eq!(value(&region, "a", "q").await.as_deref(), Some("v"));
    assert_eq!(value(&region, "b", "q").await, None);
}

/// A counter made with a time to live once lost it at the next increment, so that it never expired (found by HBase as judge).
#[tokio::test]
async fn increment_keeps_the_time_to_live_of_its_cell() {
    let region = memory().open().await;
    write(&region, Mutation { ttl_ms: Some(3_600_000), ..increment("r", 1) }).await;
    write(&region, increment("r", 1)).await;
    let cells = region.get(&Get::new("r")).await.expect("get");
    assert_eq!(cells[0].as_ref().ttl_ms(), Some(3_600_000));
    write(&region, Mutation { ttl_ms: Some(7_200_000), ..increment("r", 1) }).await;
    let cells = region.get(&Get::new("r")).await.expect("get");
    assert_eq!((cells[0].as_ref().ttl_ms(), cells[0].tags().len()), (Some(7_200_000), 11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_a_compaction_and_loses_nothing() {
    let mut host = memory();
    let mut region = host.open().await;
    for round in 0..4 {
        for row in 0..500 {
            write(&region, put(&format!("row{row:04}"), "f", "q", 1000 + round, "v")).await;
        }
        region.flush().await.expect("flush");
    }
    let compaction = {
        let region = region.clone();
        runtime::task::spawn("compaction", async move { region.compact(true).await })
    };
    runtime::task::yield_now().await;
    region.close().await.expect("close");
    if let Err(error) = compaction.await.expect("task") {
        assert_eq!(error.kind(), ErrorKind::NotServing);
    }
    assert_eq!(
        region.compact(true).await.map_or_else(|error| error.kind(), |_| ErrorKind::NotServing),
        ErrorKind::NotServing
    );
    region = host.open().await;
    assert_eq!(rows(&region, &Scan::default()).await.len(), 500);
    let listed = region.files(b"f").len();
    assert_eq!(host.fs.list("data").await.expect("list").len(), listed, "no file is left over");
}

#[tokio::test]
async fn a_condition_reads_all_families_whichever_its_filter_needs() {
    let region = memory().open().await;
    write(&region, put("r", "g", "x", 5, "1")).await;
    let column = Filter::SingleColumnValue {
        family: "f".into(),
        qualifier: "absent".into(),
        op: CompareOp::Equal,
        comparator: Comparator::Binary(Bytes::new()),
        filter_if_missing: true,
        latest_version_only: true,
    };
    // Skip looks at cells alone: the one that is there passes, and that the column is missing is not asked.
    for (filter, holds) in [(Filter::Skip { filter: Box::new(column.clone()) }, true), (column, false)] {
        let condition = Condition::Filter { filter, time_range: TimeRange::ALL };
        let mutations = vec![put("r", "g", "y", 5, "2")];
        let check = CheckAndMutate { row: "r".into(), condition, mutations };
        assert_eq!(region.check_and_mutate(check, None).await.expect("check").done, holds);
    }
}
