//! kill -9 of a region's host under load: every acknowledged write is there afterwards, no row is half there, no increment counts twice.
//!
//! The process that is killed is this test binary itself, playing the host of one region over a local folder: eight writers, and flushes
//! and compactions all the time, with log segments so small that they roll. Increments carry nonces; those not acknowledged before the kill
//! are sent again in the next life, with the same nonce. Short form: 30 kills; long form: `tests/run long kill N [SEED]`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_tests::setting;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use model::mutation::{Mutation, MutationKind, Nonce};
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use runtime::Runtime;
use runtime::random::SystemRandom;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

const WRITERS: u64 = 8;
const ROWS_PER_WRITER: u64 = 20;
const COUNTERS: u64 = 3;

/// A life of the host: its own log stream and epoch.
async fn open(data: &Path, life: u64) -> Arc<Region> {
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(data, Arc::new(SystemRandom)).expect("a folder"));
    let runtime = Runtime::system();
    let info = RegionInfo::new("t".parse().expect("a name"), Bytes::new(), Bytes::new(), 1);
    let table = TableDescriptor::new("t".parse().expect("a name"));
    let table = Arc::new(
        table.with_family(FamilyDescriptor::new("f").with("VERSIONS", "2")).with_family(FamilyDescriptor::new("g")),
    );
    let settings = LogSettings { segment_bytes: 32 << 10, ..LogSettings::default() };
    let log = Log::create(fs.clone(), runtime.clone(), settings, life).await.expect("a log");
    Region::create(&fs, &runtime, "tid", &info, &table, 1).await.expect("created or there");
    let ctx = RegionContext {
        runtime,
        fs,
        log,
        budget: Budget::new(64 << 20),
        cache: Arc::new(BlockCache::new(4 << 20)),
        settings: RegionSettings::default(),
    };
    Region::open(ctx, info, "tid", 1 + life, table).await.expect("the region opens after a kill")
}

/// One line to the parent, whole or (killed in the middle) without its end.
fn say(line: &str) {
    std::io::stdout().lock().write_all(format!("{line}\n").as_bytes()).expect("the parent listens");
}

fn counter(number: u64) -> String {
    format!("counter{number}")
}

async fn increment(region: &Arc<Region>, number: u64, nonce: u64) {
    let row = counter(number);
    let mut mutation = Mutation::new(MutationKind::Increment, row.clone());
    mutation.cells =
        vec![Cell::put(row.as_bytes(), b"f", b"n", LATEST_TIMESTAMP, &1_i64.to_be_bytes()).expect("small")];
    say(&format!("try-increment {number} {nonce}"));
    if region.mutate(vec![mutation], Some(Nonce { group: 1, nonce })).await.is_ok() {
        say(&format!("ack-increment {number} {nonce}"));
    }
}

async fn put(region: &Arc<Region>, row: String, version: u64) {
    let mut mutation = Mutation::new(MutationKind::Put, row.clone());
    let value = format!("{version:0100}");
    for family in [b"f", b"g"] {
        mutation.cells.push(Cell::put(row.as_bytes(), family, b"v", version as i64, value.as_bytes()).expect("small"));
    }
    say(&format!("try-put {row} {version}"));
    if region.mutate(vec![mutation], None).await.is_ok() {
        say(&format!("ack-put {row} {version}"));
    }
}

/// The process that is killed. `CRASH_PENDING` are increments of earlier lives that were not acknowledged.
#[test]
#[ignore = "run by the other test"]
fn host() {
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"));
    let life: u64 = setting("CRASH_LIFE").parse().expect("a number");
    let data = setting("CRASH_DATA");
    let pending = setting("CRASH_PENDING");
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads").block_on(
        async move {
            let region = open(Path::new(&data), life).await;
            for word in pending.split_whitespace() {
                let (number, nonce) = word.split_once(':').expect("number:nonce");
                increment(&region, number.parse().expect("a number"), nonce.parse().expect("a number")).await;
            }
            let clock = Arc::new(AtomicU64::new(life << 32));
            for writer in 0..WRITERS {
                let (region, clock) = (region.clone(), clock.clone());
                tokio::spawn(async move {
                    loop {
                        let step = clock.fetch_add(1, Ordering::SeqCst) + 1;
                        match step % 3 {
                            0 => increment(&region, step % (3 * COUNTERS) / 3, step).await,
                            _ => put(&region, format!("row{writer}-{}", step % ROWS_PER_WRITER), step).await,
                        }
                    }
                });
            }
            for round in 0_u64.. {
                tokio::time::sleep(Duration::from_millis(15)).await;
                region.flush().await.expect("flush");
                if round % 3 == 2 {
                    region.compact(round % 2 == 0).await.expect("compact");
                }
            }
        },
    );
}

/// What the parent knows of the writes.
#[derive(Default)]
struct Known {
    /// Row → newest acknowledged and newest tried version.
    rows: BTreeMap<String, (u64, u64)>,
    /// Nonce → counter and whether it is acknowledged.
    increments: BTreeMap<u64, (u64, bool)>,
    acknowledged: u64,
}

impl Known {
    fn hear(&mut self, line: &str) {
        // The test harness of the child may print in front of its first line.
        let words: Vec<&str> =
            line.split_whitespace().skip_while(|word| !word.starts_with("try-") && !word.starts_with("ack-")).collect();
        let [what, name, number] = words[..] else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        self.acknowledged += u64::from(what.starts_with("ack-"));
        match what {
            "try-put" | "ack-put" => {
                let (acknowledged, tried) = self.rows.entry(name.to_owned()).or_default();
                *tried = number.max(*tried);
                if what == "ack-put" {
                    *acknowledged = number.max(*acknowledged);
                }
            }
            "try-increment" => {
                self.increments.entry(number).or_insert((name.parse().expect("a number"), false));
            }
            _ => self.increments.get_mut(&number).expect("tried before").1 = true,
        }
    }

    fn pending(&self) -> String {
        let open = self.increments.iter().filter(|(_, (_, acknowledged))| !acknowledged);
        open.map(|(nonce, (number, _))| format!("{number}:{nonce}")).collect::<Vec<_>>().join(" ")
    }

    async fn check(&self, region: &Arc<Region>) {
        let mut found: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
        let mut scanner = region.scanner(&Scan::default()).await.expect("scanner");
        let mut rows = Vec::new();
        while scanner.next(&Limits::rows(100), &mut rows).await.expect("next").more {}
        for row in rows {
            found.insert(String::from_utf8_lossy(row.cells[0].row()).into_owned(), row.cells);
        }
        for (row, (acknowledged, tried)) in &self.rows {
            let versions: Vec<u64> = found
                .get(row)
                .into_iter()
                .flatten()
                .map(|cell| String::from_utf8_lossy(cell.value()).parse().expect("a number"))
                .collect();
            if *acknowledged > 0 || !versions.is_empty() {
                assert_eq!(versions.len(), 2, "row {row} is half there: {versions:?}");
                assert_eq!(versions[0], versions[1], "row {row} mixes two writes");
                assert!(
                    (*acknowledged..=*tried).contains(&versions[0]),
                    "row {row}: {acknowledged} acknowledged, found {}",
                    versions[0]
                );
            }
        }
        for number in 0..COUNTERS {
            let cells = found.get(&counter(number)).map(Vec::as_slice).unwrap_or_default();
            let value =
                cells.first().map_or(0, |cell| i64::from_be_bytes(cell.value().try_into().expect("eight bytes")));
            let of_counter = || self.increments.values().filter(|(counter, _)| *counter == number);
            let (acknowledged, tried) =
                (of_counter().filter(|(_, acknowledged)| *acknowledged).count(), of_counter().count());
            assert!(
                (acknowledged as i64..=tried as i64).contains(&value),
                "counter {number}: {acknowledged} acknowledged of {tried}, found {value}"
            );
        }
    }
}

/// Killed when dropped, so also when the test panics.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let (kills, mut dice) = (setting("KILLS", 30), StdRng::seed_from_u64(setting("KILL_SEED", 1)));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let mut known = Known::default();
    let mut life = 0;
    for kill in 0..kills {
        life += 1;
        let child = Command::new(std::env::current_exe().expect("a test has a file"))
            .args(["--ignored", "--exact", "region::host", "--nocapture", "--test-threads=1"])
            .env("CRASH_LIFE", life.to_string())
            .env("CRASH_DATA", &data)
            .env("CRASH_PENDING", known.pending())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child");
        let mut host = Host(child);
        let mut heard = BufReader::new(host.0.stdout.take().expect("piped"));
        let enough = Duration::from_millis(dice.random_range(50..450));
        let (mut begun, mut killed, mut line) = (None, false, String::new());
        loop {
            line.clear();
            if heard.read_line(&mut line).expect("a pipe") == 0 {
                break;
            }
            if line.ends_with('\n') {
                known.hear(&line);
            }
            if line.contains("ack-")
                && Instant::now().duration_since(*begun.get_or_insert_with(Instant::now)) > enough
                && !killed
            {
                host.0.kill().expect("a child can be killed");
                killed = true;
            }
        }
        assert!(killed, "the host ended by itself before kill {kill}");
        drop(host);
        life += 1;
        executor.block_on(async {
            let region = open(&data, life).await;
            known.check(&region).await;
            // Closing flushes: the nonces of increments not yet acknowledged must outlive it.
            if kill % 3 == 0 {
                region.close().await.expect("close");
            }
        });
    }
    println!(
        "{kills} kills, {} acknowledged writes, {} increments: all there, once",
        known.acknowledged,
        known.increments.len()
    );
}
