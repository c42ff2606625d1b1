//! Requests that events of a life send to a bucket, and what they cost at list price.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_benches::measure::beside;
use ferrobase_benches::{COLUMNS, FAMILY, put};
use ferrobase_s3_fixture::{KEY, Process};
use filesystem::Filesystem;
use filesystem::cached::{CacheSettings, CachedFilesystem};
use filesystem::s3::S3Filesystem;
use filesystem::s3::requests::{Counted, Kind};
use model::mutation::Durability;
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

use crate::{BUCKET, bucket, root};

/// Dollars a thousand requests: list price of S3 Standard in us-east-1. PUT, COPY, POST and LIST; GET and HEAD; DELETE is free.
const WRITES_PRICE: f64 = 0.005;
const READS_PRICE: f64 = 0.0004;

/// Dollars of a number of requests of a kind.
fn price(kind: &str, count: f64) -> f64 {
    match kind {
        "get" | "head" => count * READS_PRICE / 1000.0,
        "delete" | "upload-abort" | "token" => 0.0,
        _ => count * WRITES_PRICE / 1000.0,
    }
}

/// Requests and bytes so far.
struct Bill {
    sent: Vec<Counted>,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Bill {
    fn now(fs: &S3Filesystem) -> Bill {
        let requests = fs.requests();
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
        let (bytes_sent, bytes_received) = (of(&requests.bytes_sent), of(&requests.bytes_received));
        Bill { sent: requests.counted(), bytes_sent, bytes_received }
    }

    /// A line of the table: what was sent since, times `scale`.
    fn print(&self, fs: &S3Filesystem, event: &str, scale: f64) {
        let now = Bill::now(fs);
        let mut kinds: Vec<(Kind, f64)> = Vec::new();
        let mut causes: Vec<(&str, f64)> = Vec::new();
        for of in &now.sent {
            let same = |before: &&Counted| (&before.part, before.cause, before.kind) == (&of.part, of.cause, of.kind);
            let before = self.sent.iter().find(same).map_or(0, |before| before.count);
            let count = (of.count - before) as f64 * scale;
            if count == 0.0 {
                continue;
            }
            match kinds.iter_mut().find(|(kind, _)| *kind == of.kind) {
                Some((_, sum)) => *sum += count,
                None => kinds.push((of.kind, count)),
            }
            match causes.iter_mut().find(|(cause, _)| *cause == of.cause.name()) {
                Some((_, sum)) => *sum += count,
                None => causes.push((of.cause.name(), count)),
            }
        }
        kinds.sort_by_key(|(kind, _)| *kind);
        let text = |all: Vec<(&str, f64)>| {
            all.iter().map(|(name, count)| format!("{count:.0} {name}")).collect::<Vec<_>>().join(", ")
        };
        let dollars: f64 = kinds.iter().map(|(kind, count)| price(kind.name(), *count)).sum();
        let named = kinds.iter().map(|(kind, count)| (kind.name(), *count)).collect();
        let mb = |now: u64, before: u64| (now - before) as f64 * scale / 1e6;
        println!(
            "| {event} | {} | {} | {:.1} | {:.1} | {dollars:.6} |",
            text(named),
            text(causes),
            mb(now.bytes_sent, self.bytes_sent),
            mb(now.bytes_received, self.bytes_received),
        );
    }
}

struct Table {
    fs: Arc<dyn Filesystem>,
    table: Arc<TableDescriptor>,
    info: RegionInfo,
    epoch: u64,
}

impl Table {
    async fn new(fs: &S3Filesystem, name: &str) -> Table {
        let table = TableDescriptor::new(name.parse().expect("a name")).with_family(FamilyDescriptor::new(FAMILY));
        let info = RegionInfo::new(table.name.clone(), Bytes::new(), Bytes::new(), 1);
        let runtime = Runtime::system();
        // As a server without `--cache-dir` reads it.
        let settings = CacheSettings::new(None, 0, "root");
        let fs = CachedFilesystem::new(Arc::new(fs.clone()), settings, runtime.clone()).await.expect("a cache");
        let fs: Arc<dyn Filesystem> = Arc::new(fs);
        Region::create(&fs, &runtime, &table.name.to_string(), &info, &table, 1).await.expect("region");
        Table { fs, table: Arc::new(table), info, epoch: 1 }
    }

    async fn log(&self) -> Log {
        let runtime = Runtime::system();
        let stream = runtime.random.next_u64();
        Log::create(self.fs.clone(), runtime, LogSettings::default(), stream).await.expect("a log")
    }

    /// Opens it with an empty cache.
    async fn open(&mut self, log: Log) -> Arc<Region> {
        self.epoch += 1;
        let ctx = RegionContext {
            runtime: Runtime::system(),
            fs: self.fs.clone(),
            log,
            budget: Budget::new(4 << 30),
            cache: Arc::new(BlockCache::new(1 << 30)),
            settings: RegionSettings { blocking_bytes: 4 << 30, ..RegionSettings::default() },
        };
        let (info, name) = (self.info.clone(), self.table.name.to_string());
        Region::open(ctx, info, &name, self.epoch, self.table.clone()).await.expect("region")
    }
}

/// Synced puts of rows from `from`, by so many writers at once; how long it took.
async fn puts(region: &Arc<Region>, from: usize, rows: usize, writers: usize) -> Duration {
    let begun = Instant::now();
    let one = |writer: usize| {
        let region = region.clone();
        tokio::spawn(async move {
            for number in (from + writer..from + rows).step_by(writers) {
                drop(region.mutate(vec![put(number, Durability::SyncWal)], None).await.expect("put"));
            }
        })
    };
    let tasks: Vec<_> = (0..writers).map(one).collect();
    for task in tasks {
        task.await.expect("writer");
    }
    begun.elapsed()
}

fn megabytes(region: &Region) -> f64 {
    region.files(FAMILY.as_bytes()).iter().map(|file| file.1).sum::<u64>() as f64 / 1e6
}

/// Each event once, counted by the back end.
pub async fn run(folder: &Path) {
    let store = bucket(folder);
    let fs = root(&store, "root").await;
    println!(
        "| event | requests | by cause | MB sent | MB received | dollars |\n| --- | --- | --- | --- | --- | --- |"
    );
    for (writers, rows) in [(1, 500), (16, 10_000), (256, 100_000)] {
        let mut table = Table::new(&fs, &format!("puts{writers}")).await;
        let log = table.log().await;
        let region = table.open(log).await;
        puts(&region, 0, writers, writers).await;
        let bill = Bill::now(&fs);
        let took = puts(&region, writers, rows, writers).await;
        let event = format!(
            "a million puts of 1 KB, {writers} writers (counted: {rows} at {:.0} a second)",
            rows as f64 / took.as_secs_f64()
        );
        bill.print(&fs, &event, 1e6 / rows as f64);
        region.close().await.expect("close");
    }

    let mut table = Table::new(&fs, "life").await;
    let log = table.log().await;
    let region = table.open(log.clone()).await;
    let mut rows = 0;
    for more in [2_000, 16_000, 100_000] {
        puts(&region, rows, more, 256).await;
        rows += more;
        let before = megabytes(&region);
        let bill = Bill::now(&fs);
        region.flush().await.expect("flush");
        bill.print(&fs, &format!("a flush of {:.0} MB", megabytes(&region) - before), 1.0);
    }
    let (bill, size) = (Bill::now(&fs), megabytes(&region));
    region.compact(true).await.expect("compact");
    bill.print(&fs, &format!("a compaction of 3 files, {size:.0} MB"), 1.0);
    region.close().await.expect("close");
    drop(region);
    log.end().await.expect("end");

    let log = table.log().await;
    let bill = Bill::now(&fs);
    let region = table.open(log.clone()).await;
    bill.print(&fs, "opening a region after a clean end, one file", 1.0);
    let (bill, size) = (Bill::now(&fs), megabytes(&region));
    let mut scanner = region.scanner(&Scan::default()).await.expect("scan");
    let (mut found, mut more) = (0, true);
    while more {
        let mut out = Vec::new();
        more = scanner.next(&Limits::rows(1000), &mut out).await.expect("scan").more;
        found += out.len();
    }
    assert_eq!(found, rows, "every row");
    drop(scanner);
    bill.print(
        &fs,
        &format!(
            "a gigabyte of store files scanned, nothing cached (counted: {size:.0} MB, {} cells)",
            found * COLUMNS
        ),
        1000.0 / size,
    );

    // Another process takes over with puts in the log that are in no file.
    puts(&region, 0, 20_000, 256).await;
    let (other, bill) = (table.log().await, Bill::now(&fs));
    let again = table.open(other).await;
    bill.print(&fs, "opening a region whose server died with 20,000 puts in its log alone", 1.0);
    again.close().await.expect("close");
}

/// A real server that nobody asks anything.
pub async fn idle(folder: &Path, seconds: usize) {
    let store = bucket(folder);
    let ready = folder.join("ready.json");
    let mut child = Command::new(beside("ferrobase"))
        .args([
            "standalone",
            "--data",
            &format!("s3://{BUCKET}/idle"),
            "--port",
            "0",
            "--http-port",
            "off",
            "--ready-file",
        ])
        .arg(&ready)
        .envs([("AWS_ENDPOINT_URL", store.endpoint().as_str()), ("AWS_ACCESS_KEY_ID", KEY.0)])
        .envs([("AWS_SECRET_ACCESS_KEY", KEY.1), ("AWS_REGION", "us-east-1")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("ferrobase starts");
    let told = loop {
        match std::fs::read(&ready) {
            Ok(text) => break serde_json::from_slice::<serde_json::Value>(&text).expect("JSON"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        assert!(child.try_wait().expect("a child").is_none(), "the server ended");
    };
    let connect = format!("127.0.0.1:{}", told["port"]);
    let script = "create 't', 'f', SPLITS => ['g', 'n', 't']; put 't', 'a', 'f:q', '1'; flush 't'";
    let made = Command::new(beside("ferrobase")).args(["shell", "--connect", &connect, "-c", script]).output();
    assert!(made.expect("a shell").status.success(), "a table of 4 regions");
    let started = store.control().take_log().await.expect("the log").len();
    println!("start, a table of 4 regions, a put and a flush: {started} requests\n");
    count_idle(&store, seconds).await;
    drop(child.kill());
    drop(child.wait());
}

async fn count_idle(store: &Process, seconds: usize) {
    let (begun, length) = (Instant::now(), Duration::from_secs(seconds as u64));
    tokio::time::sleep(length).await;
    let spent = begun.elapsed().as_secs_f64();
    let log = store.control().take_log().await.expect("the log");
    let month = 30.0 * 86_400.0 / spent;
    let mut counted = std::collections::BTreeMap::<(String, String), f64>::new();
    for entry in log {
        let part = entry.key.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        *counted.entry((part, entry.kind)).or_default() += 1.0;
    }
    println!(
        "| idle for {spent:.0} s | kind | requests | a month of 30 days | dollars a month |\n| --- | --- | --- | --- | --- |"
    );
    let (mut all, mut dollars) = (0.0, 0.0);
    for ((part, kind), count) in counted {
        println!("| {part} | {kind} | {count:.0} | {:.0} | {:.2} |", count * month, price(&kind, count * month));
        all += count * month;
        dollars += price(&kind, count * month);
    }
    println!("| all | | | {all:.0} | {dollars:.2} |");
}
