//! Reads of one table from a folder, from a bucket and from a bucket with the read cache on disk, in turns.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_benches::measure::{percentile, spread};
use ferrobase_benches::{FAMILY, Numbers, put, row};
use filesystem::Filesystem;
use filesystem::cached::{CacheSettings, CachedFilesystem};
use filesystem::local::LocalFilesystem;
use model::mutation::Durability;
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use runtime::Runtime;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

use crate::{bucket, root};

/// Rows of 1 KB.
pub const ROWS: usize = 100_000;
/// The block cache: next to nothing of the table.
const BLOCK_CACHE_BYTES: u64 = 4 << 20;
/// Gets in one slice.
const GETS: usize = 1000;

/// A table, and its one region.
pub fn described(name: &str) -> (Arc<TableDescriptor>, RegionInfo) {
    let table = TableDescriptor::new(name.parse().expect("a name")).with_family(FamilyDescriptor::new(FAMILY));
    let info = RegionInfo::new(table.name.clone(), Bytes::new(), Bytes::new(), 1);
    (Arc::new(table), info)
}

/// Opens a region with a log of its own.
pub async fn open(fs: &Arc<dyn Filesystem>, table: &str, epoch: u64) -> Arc<Region> {
    let runtime = Runtime::system();
    let (table, info) = described(table);
    let stream = runtime.random.next_u64();
    let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), stream).await.expect("a log");
    let ctx = RegionContext {
        runtime,
        fs: fs.clone(),
        log,
        budget: Budget::new(4 << 30),
        cache: Arc::new(BlockCache::new(BLOCK_CACHE_BYTES)),
        settings: RegionSettings { blocking_bytes: 4 << 30, ..RegionSettings::default() },
    };
    Region::open(ctx, info, &table.name.to_string(), epoch, table.clone()).await.expect("region")
}

/// A region with the table in one file; closed. Who reads has one of its own: a region whose owner changed refuses the one before.
async fn fill(fs: &Arc<dyn Filesystem>, name: &str) {
    let (table, info) = described(name);
    Region::create(fs, &Runtime::system(), &table.name.to_string(), &info, &table, 1).await.expect("region");
    let region = open(fs, name, 2).await;
    for number in 0..ROWS {
        drop(region.mutate(vec![put(number, Durability::SkipWal)], None).await.expect("put"));
    }
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    region.close().await.expect("close");
}

/// Megabytes a second of a full scan.
pub async fn scan(region: &Arc<Region>) -> f64 {
    let begun = Instant::now();
    let mut scanner = region.scanner(&Scan::default()).await.expect("scan");
    let (mut rows, mut more) = (0, true);
    while more {
        let mut out = Vec::new();
        more = scanner.next(&Limits::rows(1000), &mut out).await.expect("scan").more;
        rows += out.len();
    }
    assert_eq!(rows, ROWS, "every row");
    let bytes: u64 = region.files(FAMILY.as_bytes()).iter().map(|file| file.1).sum();
    bytes as f64 / 1e6 / begun.elapsed().as_secs_f64()
}

/// Latencies of gets of rows by chance.
async fn gets(region: &Arc<Region>, numbers: &mut Numbers) -> Vec<Duration> {
    let mut times = Vec::with_capacity(GETS);
    for _ in 0..GETS {
        let get = Get::new(row(numbers.below(ROWS)));
        let begun = Instant::now();
        assert!(!region.get(&get).await.expect("get").is_empty(), "the row is there");
        times.push(begun.elapsed());
    }
    times
}

struct Measured {
    name: &'static str,
    region: Arc<Region>,
    scans: Vec<f64>,
    gets: Vec<f64>,
    tails: Vec<f64>,
}

/// `rounds` slices of each.
pub async fn run(folder: &Path, rounds: usize) {
    let store = bucket(folder);
    let local: Arc<dyn Filesystem> =
        Arc::new(LocalFilesystem::open(folder.join("local"), Runtime::system().random).expect("a folder"));
    let s3: Arc<dyn Filesystem> = Arc::new(root(&store, "root").await);
    let cached = async |name: Option<&str>| {
        let settings = CacheSettings::new(name.map(|name| folder.join(name)), 4 << 30, "s3://ferrobase/root");
        let fs = CachedFilesystem::new(s3.clone(), settings, Runtime::system()).await.expect("a cache");
        Arc::new(fs) as Arc<dyn Filesystem>
    };
    let mut all = Vec::new();
    for (table, name, fs) in [
        ("folder", "folder", local.clone()),
        // Written through the cache that is called warm.
        ("warm", "bucket, cache warm", cached(Some("warm")).await),
        ("ahead", "bucket, no cache, read ahead", cached(None).await),
        ("bare", "bucket, as the back end reads", s3.clone()),
    ] {
        fill(&fs, table).await;
        let region = open(&fs, table, 3).await;
        all.push(Measured { name, region, scans: vec![], gets: vec![], tails: vec![] });
    }
    for table in ["cold", "colder"] {
        fill(&s3, table).await;
    }
    let mut colds = (Vec::new(), Vec::new());
    let mut numbers = Numbers(1);
    for round in 0..rounds {
        for one in &mut all {
            one.scans.push(scan(&one.region).await);
            let mut times = gets(&one.region, &mut numbers).await;
            one.gets.push(percentile(&mut times, 0.5) * 1000.0);
            one.tails.push(percentile(&mut times, 0.99) * 1000.0);
        }
        let cold = cached(Some(&format!("cold{round}"))).await;
        let region = open(&cold, "cold", 3 + round as u64).await;
        colds.0.push(scan(&region).await);
        let cold = cached(Some(&format!("colder{round}"))).await;
        let region = open(&cold, "colder", 3 + round as u64).await;
        colds.1.push(percentile(&mut gets(&region, &mut numbers).await, 0.5) * 1000.0);
    }
    println!("| root | scan, MB/s | of the folder's | get, p50 µs | p99 µs | times the folder's p50 |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let ratio = |own: &[f64], base: &[f64]| -> String {
        spread(&own.iter().zip(base).map(|(own, base)| own / base).collect::<Vec<_>>(), 2)
    };
    for one in &all {
        println!(
            "| {} | {} | {} | {} | {} | {} |",
            one.name,
            spread(&one.scans, 0),
            ratio(&one.scans, &all[0].scans),
            spread(&one.gets, 0),
            spread(&one.tails, 0),
            ratio(&one.gets, &all[0].gets)
        );
    }
    println!(
        "| bucket, cache empty | {} | {} | {} | | {} |",
        spread(&colds.0, 0),
        ratio(&colds.0, &all[0].scans),
        spread(&colds.1, 0),
        ratio(&colds.1, &all[0].gets)
    );
}
