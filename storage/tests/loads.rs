//! A region meets a fault at every storage step of a story of bulk loads, writes, flushes, compactions and restarts.
//!
//! Readers see a load whole or not at all; one that was acknowledged stays; the same id again loads once; until a load is decided its
//! files lie where they were put.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrobase_storage as storage;
use filesystem::Filesystem;
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use filesystem::memory::MemoryFilesystem;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, CellOrder, CellType, ErrorKind};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::file::writer::{FileMeta, WriterOptions, write_all};
use storage::region::{BulkLoad, LoadFile, Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

const FAMILIES: [&str; 2] = ["f", "g"];
/// A row that loads and puts write at one timestamp: the last one wins.
const SHARED: &str = "shared";

fn info() -> RegionInfo {
    RegionInfo::new("t".parse().expect("name"), "b".into(), "x".into(), 1)
}

fn table() -> Arc<TableDescriptor> {
    let family = |name: &str| FamilyDescriptor::new(name.to_owned()).with("VERSIONS", "9");
    Arc::new(TableDescriptor::new("t".parse().expect("name")).with_family(family("f")).with_family(family("g")))
}

async fn open(fs: &Arc<dyn Filesystem>, lives: &AtomicU64) -> storage::Result<Arc<Region>> {
    let life = lives.fetch_add(1, Ordering::SeqCst);
    let (segment_bytes, sync_timeout_ms) = if fs.appends() { (300, 30_000) } else { (64 << 20, 100) };
    let settings =
        LogSettings { segment_bytes, sync_timeout_ms, linger_ms: 0, read_lease_ms: 0, ..LogSettings::default() };
    let ctx = RegionContext {
        runtime: Runtime::system(),
        fs: fs.clone(),
        log: Log::create(fs.clone(), Runtime::system(), settings, life).await?,
        budget: Budget::new(1 << 20),
        cache: Arc::new(BlockCache::new(1 << 20)),
        settings: RegionSettings::default(),
    };
    Region::create(fs, &ctx.runtime, "tid", &info(), &table(), 1).await?;
    Region::open(ctx, info(), "tid", 1 + life, table()).await
}

fn file(family: &str, rows: &[(&str, i64, &str)]) -> Bytes {
    let cell = |(row, time, value): &(&str, i64, &str)| {
        Cell::put(row.as_bytes(), family.as_bytes(), b"q", *time, value.as_bytes()).expect("cell")
    };
    file_of(rows.iter().map(cell).collect())
}

fn file_of(mut cells: Vec<Cell>) -> Bytes {
    cells.sort_by(|a, b| CellOrder::User.compare(a.as_ref(), b.as_ref()));
    let options = WriterOptions { tags: true, for_load: true, create_time_ms: 77, ..WriterOptions::default() };
    write_all(options, &cells, &FileMeta::default()).expect("file")
}

fn staged(number: usize, family: &str) -> String {
    format!("ferrobase/staging/tool/{number}/{family}/0123456789abcdef")
}

/// Puts the files of load `number` where a tool leaves them.
async fn stage(fs: &dyn Filesystem, number: usize) {
    for family in FAMILIES {
        let (row, value) = (format!("load{number}"), format!("load {number}"));
        let data = file(family, &[(&row, 5, &value), (SHARED, 5, &value)]);
        fs.put_if_absent(&staged(number, family), data).await.expect("put");
    }
}

fn load(number: usize) -> BulkLoad {
    let path = |family: &str| LoadFile { family: family.to_owned().into(), path: staged(number, family) };
    BulkLoad { id: format!("load-{number}"), files: FAMILIES.map(path).into(), verify: number.is_multiple_of(2) }
}

/// The values of a row, newest first, which must be the same in both families.
async fn values(region: &Arc<Region>, row: &str, at: &str) -> Vec<String> {
    let mut get = Get::new(row.to_owned());
    get.selection.max_versions = 9;
    let cells = region.get(&get).await.expect("get");
    let of = |family: &str| -> Vec<String> {
        let cells = cells.iter().filter(|cell| cell.family() == family.as_bytes());
        cells.map(|cell| String::from_utf8_lossy(cell.value()).into_owned()).collect()
    };
    assert_eq!(of("f"), of("g"), "{at}: row {row} is whole");
    of("f")
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Put,
    Load(usize),
    Flush,
    Compact,
    Kill,
    Move,
    Collect,
}

use Action::*;

const STORY: &[Action] = &[
    Put,
    Load(1),
    Put,
    Load(1),
    Flush,
    Load(2),
    Kill,
    Load(2),
    Put,
    Load(3),
    Compact,
    Collect,
    Load(1),
    Move,
    Load(3),
    Load(4),
    Put,
    Kill,
    Load(4),
    Compact,
    Collect,
];

#[derive(Debug, Default)]
struct Known {
    /// Loads tried, and whether one of the tries was acknowledged.
    loads: BTreeMap<usize, bool>,
    /// What may stand in the shared row. What was acknowledged leaves nothing older.
    shared: Vec<String>,
}

impl Known {
    fn wrote(&mut self, value: String, told: bool) {
        if told {
            self.shared.clear();
        }
        self.shared.push(value);
    }

    async fn verify(&mut self, fs: &Arc<dyn Filesystem>, region: &Arc<Region>, at: &str) {
        for (number, told) in &self.loads {
            let seen = values(region, &format!("load{number}"), at).await;
            let stands = seen == [format!("load {number}")];
            assert!(stands || (seen.is_empty() && !told), "{at}: load {number}, told {told}: {seen:?}");
            if !stands && region.load_is_decided(&load(*number).id).await.is_ok_and(|decided| !decided) {
                for family in FAMILIES {
                    let left = fs.size(&staged(*number, family)).await;
                    // The fault may have hit this look.
                    assert!(!matches!(left, Ok(None)), "{at}: load {number} is not decided and its file is gone");
                }
            }
        }
        let seen = values(region, SHARED, at).await;
        assert!(seen.len() <= 1, "{at}: one cell at one timestamp: {seen:?}");
        match seen.first() {
            // A load that nobody was told of counts as written when it is finished, which may be late.
            Some(value) => {
                let untold = self.loads.iter().any(|(number, told)| !told && *value == format!("load {number}"));
                assert!(untold || self.shared.contains(value), "{at}: {value} of {:?}", self.shared);
            }
            None => assert!(self.loads.values().all(|told| !told), "{at}: nothing in the shared row"),
        }
    }
}

async fn act(region: &Arc<Region>, action: Action, at: usize, known: &mut Known) {
    match action {
        Put => {
            let mut mutation = Mutation::new(MutationKind::Put, SHARED);
            let value = format!("put {at}");
            for family in FAMILIES {
                let cell = Cell::put(SHARED.as_bytes(), family.as_bytes(), b"q", 5, value.as_bytes()).expect("cell");
                mutation.cells.push(cell);
            }
            let told = region.mutate(vec![mutation], None).await.is_ok();
            known.wrote(value, told);
        }
        Load(number) => {
            let first = !known.loads.contains_key(&number);
            let again = known.loads.get(&number).copied().unwrap_or(false);
            let answer = region.bulk_load(load(number)).await;
            if let Ok(done) = &answer {
                assert!(done.before || !again, "load {number} is done once");
                assert!(!(first && done.before), "load {number} has never been tried");
            }
            *known.loads.entry(number).or_default() |= answer.is_ok();
            if !again {
                known.wrote(format!("load {number}"), answer.is_ok_and(|done| !done.before));
            }
        }
        Flush => drop(region.flush().await),
        Compact => drop(region.compact(true).await),
        Collect => drop(region.collect().await),
        Kill | Move => unreachable!("done by the story"),
    }
}

/// A root that appends, or one that does not.
type Root = fn() -> MemoryFilesystem;
const ROOTS: [Root; 2] = [MemoryFilesystem::new, MemoryFilesystem::without_appends];

/// Tells the story with faults, then tries every load again. Answers the steps taken.
async fn tell(root: Root, faults: &[Fault], reads: bool) -> u64 {
    let root = root();
    for number in 1..=4 {
        stage(&root, number).await;
    }
    let machine = FaultyFilesystem::over(root);
    if reads {
        machine.count_reads();
    }
    machine.plan_all(faults.to_vec());
    let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
    let (lives, mut known) = (AtomicU64::new(1), Known::default());
    let mut region: Option<Arc<Region>> = None;
    for (number, action) in STORY.iter().enumerate() {
        match (action, region.take()) {
            (Kill, _) => {}
            (Move, Some(region)) => drop(region.close().await),
            (_, left) => region = left,
        }
        for _ in 0..4 {
            if region.is_none() {
                region = open(&fs, &lives).await.ok();
            }
        }
        let Some(region) = &region else {
            assert!(machine.is_stopped(), "{faults:?}: a passing fault keeps nobody from opening");
            break;
        };
        if !matches!(action, Kill | Move) {
            act(region, *action, number, &mut known).await;
        }
        for _ in 0..20 {
            tokio::task::yield_now().await; // what goes on behind writes has its turn
        }
        if machine.is_stopped() {
            break;
        }
        if !reads {
            known.verify(&fs, region, &format!("{faults:?} action {number}")).await;
        }
    }
    let steps = machine.steps();
    let step = faults.first().and_then(|fault| machine.step_name(fault.step));
    let at = format!("{faults:?} {}", step.unwrap_or_default());
    drop(region);
    machine.stop();

    let fs: Arc<dyn Filesystem> = Arc::new(machine.root());
    let region = open(&fs, &lives).await.unwrap_or_else(|error| panic!("{at}: {error}"));
    known.verify(&fs, &region, &format!("{at}: reopened")).await;
    for number in 1..=4 {
        if region.load_is_decided(&load(number).id).await.expect("manifest") {
            let seen = values(&region, &format!("load{number}"), &at).await;
            assert_eq!(seen.len(), 1, "{at}: what is decided stands once the region is open");
        }
    }
    machine.land();
    known.verify(&fs, &region, &format!("{at}: landed")).await;
    drop(region);
    let region = open(&fs, &lives).await.expect("open");
    for number in 1..=4 {
        let again = known.loads.get(&number).copied().unwrap_or(false);
        let done = region.bulk_load(load(number)).await.unwrap_or_else(|error| panic!("{at}: load {number}: {error}"));
        assert!(done.before || !again, "{at}: load {number} is done once");
        known.loads.insert(number, true);
        if !done.before {
            known.wrote(format!("load {number}"), true);
        }
    }
    known.verify(&fs, &region, &format!("{at}: loaded")).await;
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    known.verify(&fs, &region, &format!("{at}: compacted")).await;
    drop(region);
    let region = open(&fs, &lives).await.expect("open");
    region.collect().await.expect("collect");
    known.verify(&fs, &region, &format!("{at}: in the end")).await;
    let mut listed: Vec<String> =
        FAMILIES.iter().flat_map(|family| region.files(family.as_bytes())).map(|(name, _)| name).collect();
    let mut lying: Vec<String> = Vec::new();
    for folder in ["data", "ferrobase/staging"] {
        let names = fs.list(folder).await.expect("list");
        lying.extend(names.iter().map(|file| file.path.rsplit('/').next().unwrap_or_default().to_owned()));
    }
    listed.sort();
    lying.sort();
    assert_eq!(lying, listed, "{at}: what lies about");
    steps
}

async fn every_step(effect: Effect, stop: bool, reads: bool) {
    for root in ROOTS {
        let steps = tell(root, &[], reads).await;
        assert!(steps > 60, "{steps} steps");
        for step in 0..steps {
            tell(root, &[Fault { step, effect, stop }], reads).await;
        }
    }
}

#[tokio::test]
async fn a_stop_before_or_after_any_step_leaves_loads_whole() {
    every_step(Effect::Before, true, false).await;
    every_step(Effect::After, true, false).await;
}

#[tokio::test]
async fn a_failed_step_or_look_leaves_loads_whole() {
    every_step(Effect::Before, false, false).await;
    every_step(Effect::Before, false, true).await;
}

#[tokio::test]
async fn a_lost_answer_leaves_loads_whole() {
    every_step(Effect::After, false, false).await;
    every_step(Effect::Torn, false, false).await;
}

#[tokio::test]
async fn a_step_that_lands_later_leaves_loads_whole() {
    for steps in [1, 4] {
        every_step(Effect::Late(steps), false, false).await;
    }
    every_step(Effect::Late(1_000_000), true, false).await;
}

#[tokio::test]
async fn lost_answers_in_a_row_leave_loads_whole() {
    for root in ROOTS {
        let steps = tell(root, &[], false).await;
        for step in 0..steps {
            let fault = |step| Fault { step, effect: Effect::After, stop: false };
            tell(root, &[fault(step), fault(step + 1), fault(step + 2)], false).await;
        }
    }
}

async fn ready() -> (MemoryFilesystem, Arc<dyn Filesystem>, Arc<Region>) {
    let root = MemoryFilesystem::new();
    let fs: Arc<dyn Filesystem> = Arc::new(root.clone());
    let region = open(&fs, &AtomicU64::new(1)).await.expect("open");
    (root, fs, region)
}

async fn refused(region: &Arc<Region>, files: &[(&str, &str)], verify: bool) -> storage::StorageError {
    let file =
        |(family, path): &(&str, &str)| LoadFile { family: (*family).to_owned().into(), path: (*path).to_owned() };
    let load = BulkLoad { id: "x".to_owned(), files: files.iter().map(file).collect(), verify };
    region.bulk_load(load).await.expect_err("refused")
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_touched() {
    let (_, fs, region) = ready().await;
    let put = async |path: &str, data: Bytes| {
        fs.put_if_absent(path, data).await.expect("put");
    };
    put("in/f/good", file("f", &[("c", 1, "v")])).await;
    put("in/f/also", file("f", &[("d", 1, "v")])).await;
    put("in/f/low", file("f", &[("a", 1, "v"), ("c", 1, "v")])).await;
    put("in/f/high", file("f", &[("c", 1, "v"), ("x", 1, "v")])).await;
    put("in/f/other", file("g", &[("c", 1, "v")])).await;
    put("in/f/none", file("f", &[])).await;
    put("in/f/text", Bytes::from("not a store file")).await;
    let good = file("f", &[("c", 1, "v")]);
    put("in/f/cut", good.slice(..good.len() - 9)).await;
    let meta = write_all(
        WriterOptions { order: CellOrder::Meta, ..WriterOptions::default() },
        &[Cell::put(b"c", b"f", b"q", 1, b"v").expect("cell")],
        &FileMeta::default(),
    );
    put("in/f/meta", meta.expect("file")).await;
    let cases: &[(&str, &str, ErrorKind, &str)] = &[
        ("f", "in/f/low", ErrorKind::Moved, "outside the region"),
        ("f", "in/f/high", ErrorKind::Moved, "outside the region"),
        ("f", "in/f/other", ErrorKind::Invalid, "cells of family `g`, not `f`"),
        ("f", "in/f/none", ErrorKind::Invalid, "no cells"),
        ("f", "in/f/text", ErrorKind::Corrupt, "in/f/text"),
        ("f", "in/f/cut", ErrorKind::Corrupt, "in/f/cut"),
        ("f", "in/f/meta", ErrorKind::Invalid, "another order"),
        ("f", "in/f/missing", ErrorKind::Invalid, "no such file"),
        ("h", "in/f/also", ErrorKind::NotFound, "family `h`"),
        ("f", "../f/good", ErrorKind::Invalid, "not a legal key"),
        ("f", "data/default/t/0/f/0", ErrorKind::Invalid, "belongs to the store"),
        ("f", "ferrobase/table/tid/head", ErrorKind::Invalid, "belongs to the store"),
    ];
    for (family, path, kind, why) in cases {
        let error = refused(&region, &[("f", "in/f/good"), (family, path)], false).await;
        assert!(error.kind() == *kind && error.to_string().contains(why), "{path}: {:?} {error}", error.kind());
    }
    let error = refused(&region, &[("f", "in/f/good"), ("f", "in/f/good")], false).await;
    assert!(error.to_string().contains("twice"), "{error}");
    assert!(refused(&region, &[], false).await.to_string().contains("1 to 1000 files"));
    let id = "with space".to_owned();
    let error = region.bulk_load(BulkLoad { id, ..load(1) }).await.expect_err("refused");
    assert!(error.to_string().contains("printable"), "{error}");
    assert!(region.files(b"f").is_empty() && fs.list("in").await.expect("list").len() == 8 + 1);
}

#[tokio::test]
async fn what_a_whole_look_finds_is_refused() {
    let (root, fs, region) = ready().await;
    let rows: Vec<(String, i64, String)> = (0..5000).map(|at| (format!("c{at:05}"), at, "value".repeat(9))).collect();
    let rows: Vec<(&str, i64, &str)> =
        rows.iter().map(|(row, time, value)| (row.as_str(), *time, value.as_str())).collect();
    let good = file("f", &rows);
    let mut hurt = good.to_vec();
    hurt[good.len() / 2] ^= 1;
    fs.put_if_absent("in/f/hurt", hurt.into()).await.expect("put");
    let error = refused(&region, &[("f", "in/f/hurt")], true).await;
    assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains("checksum"), "{error}");
    fs.put_if_absent("in/f/good", good).await.expect("put");
    let files = vec![LoadFile { family: "f".into(), path: "in/f/good".to_owned() }];
    let done = region.bulk_load(BulkLoad { id: "x".to_owned(), files, verify: true }).await.expect("loaded");
    assert_eq!((done.files, done.cells, done.before), (1, 5000, false));
    assert_eq!(root.list("in").await.expect("list").len(), 1, "the file is the region's now");
}

#[tokio::test]
async fn a_load_whose_file_is_taken_away_is_undone_as_a_whole() {
    for steps in 0..30 {
        let root = MemoryFilesystem::new();
        stage(&root, 1).await;
        let machine = FaultyFilesystem::over(root.clone());
        let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
        let lives = AtomicU64::new(1);
        let region = open(&fs, &lives).await.expect("open");
        machine.plan(Fault { step: machine.steps() + steps, effect: Effect::Before, stop: true });
        let done = region.bulk_load(load(1)).await.is_ok();
        drop(region);
        let fs: Arc<dyn Filesystem> = Arc::new(machine.root());
        fs.delete(&staged(1, "g")).await.expect("delete");
        let region = open(&fs, &lives).await.expect("a lost file keeps no region closed");
        let seen = values(&region, "load1", "reopened").await;
        assert!(!done || seen.len() == 1, "what was told stands");
        if seen.is_empty() {
            assert!(fs.size(&staged(1, "f")).await.expect("size").is_some(), "what was moved is back where it was");
            let error = region.bulk_load(load(1)).await.expect_err("half of it");
            assert!(error.to_string().contains("no such file"), "{error}");
            stage(&*fs, 1).await;
            assert!(!region.bulk_load(load(1)).await.expect("whole again").before);
        }
        if done {
            assert!(steps > 3, "{steps}");
            return;
        }
    }
    panic!("a load has fewer steps");
}

/// Two loads and a put at equal coordinates: whatever numbers the files bring along, the last one wins, before and after compaction.
#[tokio::test]
async fn the_newest_load_wins_whatever_its_file_says() {
    let (_, fs, region) = ready().await;
    for (number, stored) in [(1, 900_000_u64), (2, 0), (3, 5)] {
        for family in FAMILIES {
            let value = format!("load {number}");
            let cell = Cell::put(SHARED.as_bytes(), family.as_bytes(), b"q", 5, value.as_bytes()).expect("cell");
            let cells = [cell.with_seqno(model::SeqNo(stored))];
            let data = write_all(WriterOptions::default(), &cells, &FileMeta::default()).expect("file");
            fs.put_if_absent(&staged(number, family), data).await.expect("put");
        }
    }
    let mut known = Known::default();
    for (at, action) in [Put, Load(1), Load(2), Put, Load(3)].into_iter().enumerate() {
        act(&region, action, at, &mut known).await;
        let expected = match action {
            Load(number) => format!("load {number}"),
            _ => format!("put {at}"),
        };
        assert_eq!(values(&region, SHARED, "").await, [expected.as_str()], "after {action:?}");
        if at == 2 {
            region.flush().await.expect("flush");
            region.compact(true).await.expect("compact");
            assert_eq!(values(&region, SHARED, "").await, [expected], "after compaction");
        }
    }
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    assert_eq!(values(&region, SHARED, "").await, ["load 3"]);
}

/// What a load deletes may lie in no file yet: then its markers stay until it does.
#[tokio::test]
async fn what_a_load_deletes_stays_deleted_though_it_was_in_memory() {
    for root in ROOTS {
        for kind in
            [CellType::DELETE, CellType::DELETE_COLUMN, CellType::DELETE_FAMILY, CellType::DELETE_FAMILY_VERSION]
        {
            let (root, lives) = (root(), AtomicU64::new(1));
            let fs: Arc<dyn Filesystem> = Arc::new(root.clone());
            let mut region = open(&fs, &lives).await.expect("region");
            let write = async |region: &Arc<Region>, row: &str, value: &str| {
                let mut put = Mutation::new(MutationKind::Put, row.to_owned());
                put.cells = FAMILIES
                    .map(|family| {
                        Cell::put(row.as_bytes(), family.as_bytes(), b"q", 5, value.as_bytes()).expect("cell")
                    })
                    .into();
                region.mutate(vec![put], None).await.expect("put");
            };
            let family_delete = matches!(kind, CellType::DELETE_FAMILY | CellType::DELETE_FAMILY_VERSION);
            let qualifier: &[u8] = if family_delete { b"" } else { b"q" };
            for family in FAMILIES {
                let marker = Cell::new(b"row", family.as_bytes(), qualifier, 5, kind, b"").expect("cell");
                root.put_if_absent(&staged(1, family), file_of(vec![marker])).await.expect("put");
            }
            write(&region, "row", "deleted").await;
            region.bulk_load(load(1)).await.expect("load");
            let raw = async |region: &Arc<Region>| {
                let mut scan = Scan { raw: true, ..Scan::default() };
                scan.selection.max_versions = i32::MAX as u32;
                let (mut rows, limits) = (Vec::new(), storage::read::Limits::rows(10));
                let mut scanner = region.scanner(&scan).await.expect("scanner");
                while scanner.next(&limits, &mut rows).await.expect("next").more {}
                rows.iter().flat_map(|row| &row.cells).filter(|cell| cell.cell_type().is_delete()).count()
            };
            for step in ["compact", "kill", "compact", "put", "compact", "flush", "compact"] {
                match step {
                    "compact" => drop(region.compact(true).await.expect("compact")),
                    "flush" => drop(region.flush().await.expect("flush")),
                    "kill" => region = open(&fs, &lives).await.expect("region"),
                    _ => write(&region, "other", "newer").await,
                }
                let left = values(&region, "row", step).await;
                assert!(left.is_empty(), "{kind:?}, after {step}: {left:?}");
            }
            assert_eq!(raw(&region).await, 0, "with all in files the markers go");
            // Nothing older is in memory now.
            for family in FAMILIES {
                let marker = Cell::new(b"other", family.as_bytes(), qualifier, 5, kind, b"").expect("cell");
                root.put_if_absent(&staged(2, family), file_of(vec![marker])).await.expect("put");
            }
            region.bulk_load(load(2)).await.expect("load");
            write(&region, "row", "newer").await;
            assert_eq!(raw(&region).await, 2);
            region.compact(true).await.expect("compact");
            assert_eq!((raw(&region).await, values(&region, "other", "").await.len()), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_scan_that_began_before_a_load_does_not_see_it() {
    let (root, _, region) = ready().await;
    stage(&root, 1).await;
    let mut known = Known::default();
    act(&region, Put, 0, &mut known).await;
    let mut scanner = region.scanner(&Scan::default()).await.expect("scanner");
    act(&region, Load(1), 1, &mut known).await;
    let (mut rows, limits) = (Vec::new(), storage::read::Limits::rows(10));
    while scanner.next(&limits, &mut rows).await.expect("next").more {}
    let seen: Vec<&[u8]> = rows.iter().flat_map(|row| &row.cells).map(|cell| cell.value()).collect();
    assert_eq!(seen, [b"put 0", b"put 0"]);
    assert_eq!(values(&region, SHARED, "").await, ["load 1"]);
}

#[tokio::test]
async fn a_folder_of_files_on_their_way_goes_when_it_is_a_week_old() {
    use storage::collect::{STAGING, clear_staging, old_staging, staged_at, staging_name};
    const DAY_MS: i64 = 24 * 3_600_000;
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    let random = runtime::random::SeededRandom::new(1);
    let now_ms = 1_700_000_000_000;
    let (old, new) = (staging_name(now_ms - 8 * DAY_MS, &random), staging_name(now_ms - 6 * DAY_MS, &random));
    assert_eq!((staged_at(&new), staged_at("0123"), staged_at("..")), (Some(now_ms - 6 * DAY_MS), None, None));
    for name in [&old, &new, &"tool".to_owned()] {
        for file in ["f/1", "g/2"] {
            fs.put_if_absent(&format!("{STAGING}/{name}/{file}"), Bytes::from("x")).await.expect("put");
        }
    }
    let left = async || -> Vec<String> {
        let files = fs.list(STAGING).await.expect("list");
        files.iter().map(|file| file.path.split('/').nth(2).expect("a folder").to_owned()).collect()
    };
    assert_eq!(old_staging(&fs, now_ms).await.expect("collected").files, 2);
    assert_eq!(left().await, [&new, &new, "tool", "tool"], "what is young, and what has no time in its name, stays");
    assert_eq!(clear_staging(&fs, &new).await.expect("cleared").files, 2);
    assert_eq!(left().await, ["tool", "tool"]);
}
