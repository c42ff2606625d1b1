//! Scans and compactions of one table on each root, beside a file of as many bytes that is written and read raw there.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ferrobase_benches::measure::spread;
use ferrobase_benches::{FAMILY, put};
use ferrobase_hadoop_fixture::{Hdfs, Layout};
use filesystem::Filesystem;
use filesystem::cached::{CacheSettings, CachedFilesystem};
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use filesystem::local::LocalFilesystem;
use futures::{StreamExt, TryStreamExt};
use model::mutation::Durability;
use runtime::Runtime;
use runtime::random::SystemRandom;
use storage::region::Region;

use crate::cache::{ROWS, described, open, scan};
use crate::{bucket, root};

/// Files before the compaction.
const FILES: usize = 3;
/// Bytes written or read raw at once, and how many reads are in flight.
const RAW_BYTES: usize = 4 << 20;
const READS: usize = 4;

/// Megabytes a second of each round.
#[derive(Default)]
struct Rates {
    scans: Vec<f64>,
    reads: Vec<f64>,
    compactions: Vec<f64>,
    writes: Vec<f64>,
}

/// One round on a root: as a server reads it, and raw.
async fn round(served: &Arc<dyn Filesystem>, raw: &Arc<dyn Filesystem>, number: usize, rates: &mut Rates) {
    let name = format!("t{number}");
    let (table, info) = described(&name);
    Region::create(served, &Runtime::system(), &table.name.to_string(), &info, &table, 1).await.expect("region");
    let region = open(served, &name, 2).await;
    for row in 0..ROWS {
        drop(region.mutate(vec![put(row, Durability::SkipWal)], None).await.expect("put"));
        if (row + 1) % ROWS.div_ceil(FILES) == 0 {
            region.flush().await.expect("flush");
        }
    }
    region.flush().await.expect("flush");
    let bytes: u64 = region.files(FAMILY.as_bytes()).iter().map(|file| file.1).sum();
    let rate = |begun: Instant| bytes as f64 / 1e6 / begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    region.compact(true).await.expect("compact");
    rates.compactions.push(rate(begun));
    rates.scans.push(scan(&region).await);
    region.close().await.expect("close");

    let (path, data) = (format!("raw/{number}"), Bytes::from(vec![7; RAW_BYTES]));
    let begun = Instant::now();
    let mut blob = raw.create_blob(&path).await.expect("create");
    for _ in 0..bytes.div_ceil(RAW_BYTES as u64) {
        blob.write(data.clone()).await.expect("write");
    }
    let written = blob.finish().await.expect("finish");
    rates.writes.push(rate(begun) * written as f64 / bytes as f64);
    let begun = Instant::now();
    let file = raw.open(&path).await.expect("open");
    let pieces = (0..written).step_by(RAW_BYTES).map(|at| file.read_at(at, RAW_BYTES));
    let read: Vec<Bytes> = futures::stream::iter(pieces).buffered(READS).try_collect().await.expect("read");
    assert_eq!(read.iter().map(Bytes::len).sum::<usize>() as u64, written);
    rates.reads.push(rate(begun) * written as f64 / bytes as f64);
}

/// `rounds` of each root.
pub async fn run(folder: &Path, rounds: usize) {
    let store = bucket(folder);
    let hdfs = tokio::task::spawn_blocking(|| Hdfs::start(Layout::default())).await.expect("an HDFS");
    let settings = HdfsSettings { hadoop_conf: Some(hdfs.conf()), ..HdfsSettings::new(hdfs.fresh_root()) };
    let local = LocalFilesystem::open(folder.join("local"), Arc::new(SystemRandom)).expect("a folder");
    let bucket: Arc<dyn Filesystem> = Arc::new(root(&store, "root").await);
    let hadoop: Arc<dyn Filesystem> = Arc::new(HdfsFilesystem::open(settings, &Runtime::system()).await.expect("root"));
    let roots: [(&str, Arc<dyn Filesystem>, bool); 3] =
        [("a folder", Arc::new(local), false), ("a bucket", bucket, true), ("HDFS", hadoop, true)];
    println!(
        "| root | scan, MB/s | raw reads of 4 MiB, 4 in flight | of raw | compaction of 3 files, MB/s | raw write | of raw |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (name, raw, is_ahead) in roots {
        let served = if is_ahead {
            let cached = CachedFilesystem::new(raw.clone(), CacheSettings::new(None, 0, name), Runtime::system()).await;
            Arc::new(cached.expect("reads ahead")) as Arc<dyn Filesystem>
        } else {
            raw.clone()
        };
        let mut rates = Rates::default();
        for number in 0..rounds {
            round(&served, &raw, number, &mut rates).await;
        }
        let ratio = |own: &[f64], raw: &[f64]| -> String {
            spread(&own.iter().zip(raw).map(|(own, raw)| own / raw).collect::<Vec<_>>(), 2)
        };
        let Rates { scans, reads, compactions, writes } = &rates;
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            spread(scans, 0),
            spread(reads, 0),
            ratio(scans, reads),
            spread(compactions, 0),
            spread(writes, 0),
            ratio(compactions, writes)
        );
    }
    tokio::task::spawn_blocking(|| drop(hdfs)).await.expect("it ends");
}
