//! Durable writes on a log that lies in a folder, in HDFS or in a bucket.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_benches::measure::{load, percentile, spread};
use ferrobase_benches::{WRITTEN_MS, log, row};
use ferrobase_hadoop_fixture::{Hdfs, Layout};
use filesystem::Filesystem;
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use filesystem::local::LocalFilesystem;
use futures::StreamExt;
use model::{Cell, SeqNo};
use runtime::Runtime;
use runtime::random::SystemRandom;
use storage::wal::Log;

use crate::{bucket, root};

/// One slice of one side: many times what a write takes, so that its beginning and its end weigh little.
fn slice_of(value: usize) -> Duration {
    Duration::from_millis(if value > 10_000 { 3000 } else { 400 })
}
/// Slices of each side in a round.
const SLICES: usize = 4;
/// Raw puts at a time.
const IN_FLIGHT: usize = 8;

/// What the root gives raw.
enum Raw {
    /// Appends to a file, each with its `fdatasync`.
    Folder(Arc<File>),
    /// Appends to a file of HDFS, each with its `hsync`.
    Hdfs(Box<Bare>),
    /// Puts of whole objects, some at a time: the last one's number, and the last that was let go of.
    Puts(Arc<dyn Filesystem>, u64, u64),
}

/// A file of HDFS, and how the next one is made.
struct Bare {
    client: hdfs_native::Client,
    folder: String,
    number: u64,
    file: hdfs_native::file::FileWriter,
}

impl Bare {
    async fn create(client: hdfs_native::Client, folder: &str, number: u64) -> Bare {
        let options = hdfs_native::WriteOptions::default().block_size(128 << 20);
        let mut file = client.create(&format!("{folder}/bare{number}"), options).await.expect("create");
        // Records of a log are never aligned to the checksums' chunks, which costs a packet more.
        file.write_bytes("head".into()).await.expect("write");
        Bare { client, folder: folder.to_owned(), number, file }
    }

    async fn next(&mut self) {
        self.file.close().await.expect("close");
        self.client.delete(&format!("{}/bare{}", self.folder, self.number), false).await.expect("delete");
        *self = Bare::create(self.client.clone(), &self.folder, self.number + 1).await;
    }
}

impl Raw {
    fn name(&self) -> &'static str {
        match self {
            Raw::Folder(_) => "fdatasync",
            Raw::Hdfs(_) => "hsync",
            Raw::Puts(..) => "puts, 8 in flight",
        }
    }

    /// So many bytes again and again for a slice; how long each took.
    async fn slice(&mut self, bytes: usize, slice: Duration) -> Vec<Duration> {
        let (data, begun) = (Bytes::from(vec![7; bytes]), Instant::now());
        let mut times = Vec::new();
        match self {
            Raw::Folder(file) => {
                let file = file.clone();
                let work = move || {
                    while begun.elapsed() < slice {
                        let begun = Instant::now();
                        (&*file).write_all(&data).expect("write");
                        file.sync_data().expect("sync");
                        times.push(begun.elapsed());
                    }
                    times
                };
                times = tokio::task::spawn_blocking(work).await.expect("raw syncs");
            }
            Raw::Hdfs(bare) => {
                let file = &mut bare.file;
                while begun.elapsed() < slice {
                    let begun = Instant::now();
                    file.write_bytes(data.clone()).await.expect("write");
                    file.hsync().await.expect("hsync");
                    times.push(begun.elapsed());
                }
            }
            Raw::Puts(fs, next, _) => {
                let put = |number: u64| {
                    let (fs, data) = (fs.clone(), data.clone());
                    tokio::spawn(async move {
                        let begun = Instant::now();
                        fs.put_if_absent(&format!("raw/{number}"), data).await.expect("put");
                        begun.elapsed()
                    })
                };
                let mut flying = futures::stream::FuturesUnordered::new();
                while begun.elapsed() < slice {
                    while flying.len() < IN_FLIGHT {
                        *next += 1;
                        flying.push(put(*next));
                    }
                    times.extend(flying.next().await.map(|done| done.expect("put")));
                }
                while let Some(done) = flying.next().await {
                    times.push(done.expect("put"));
                }
            }
        }
        times
    }

    /// Lets go of what was put, as a log does of what is flushed: who comes next finds the same memory free.
    async fn forget(&mut self) {
        match self {
            Raw::Folder(file) => {
                file.set_len(0).and_then(|()| (&**file).rewind()).expect("an empty file");
            }
            Raw::Hdfs(bare) => bare.next().await,
            Raw::Puts(fs, last, forgotten) => {
                let gone = (*forgotten + 1..=*last).map(|number| {
                    let fs = fs.clone();
                    async move { fs.delete(&format!("raw/{number}")).await.expect("delete") }
                });
                futures::stream::iter(gone).buffer_unordered(IN_FLIGHT).collect::<()>().await;
                *forgotten = *last;
            }
        }
    }
}

/// The numbers of one side in a round.
#[derive(Default)]
struct Side {
    times: Vec<Duration>,
    /// Time that the slices took, to the end of their last write.
    spent: f64,
}

/// Writers that each wait for their entry, for a slice.
async fn logged(log: &Log, next: &Arc<Mutex<u64>>, writers: usize, cells: &Arc<Vec<Cell>>) -> Vec<Duration> {
    let (begun, slice) = (Instant::now(), slice_of(cells[0].value().len()));
    let one = || {
        let (log, next, cells) = (log.clone(), next.clone(), cells.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while begun.elapsed() < slice {
                let begun = Instant::now();
                let ticket = {
                    let mut next = next.lock().expect("nobody panics");
                    *next += 1;
                    log.submit(&REGION, SeqNo(*next), WRITTEN_MS, None, &cells)
                };
                ticket.expect("submit").durable().await.expect("durable");
                times.push(begun.elapsed());
            }
            times
        })
    };
    let tasks: Vec<_> = (0..writers).map(|_| one()).collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("writer"));
    }
    times
}

const REGION: Bytes = Bytes::from_static(b"region");

/// What is written in a line of the table.
#[derive(Clone, Copy)]
struct Load {
    writers: usize,
    /// Bytes of a value.
    value: usize,
    /// Whether what was written counts as flushed after each slice. If not, the log grows, for one round.
    flushed: bool,
}

/// One line of the table.
async fn line(name: &str, fs: &Arc<dyn Filesystem>, raw: &mut Raw, load: Load, rounds: usize) {
    let Load { writers, value, flushed } = load;
    let cell = Cell::put(&row(1), b"f", b"q", WRITTEN_MS, &vec![7; value]).expect("cell");
    let (cells, next) = (Arc::new(vec![cell]), Arc::new(Mutex::new(0)));
    let log = log(fs).await;
    logged(&log, &next, writers, &cells).await; // the first segment is begun
    let mut all: Vec<(Side, Side)> = Vec::new();
    let (mut groups, mut beside) = (0, 0);
    for _ in 0..if flushed { rounds } else { 1 } {
        let (mut own, mut other) = (Side::default(), Side::default());
        for _ in 0..SLICES {
            let (before, begun) = (log.counters(), Instant::now());
            own.times.extend(logged(&log, &next, writers, &cells).await);
            own.spent += begun.elapsed().as_secs_f64();
            let after = log.counters();
            let last = SeqNo(*next.lock().expect("nobody panics"));
            groups = ((after.bytes - before.bytes) / (after.syncs - before.syncs).max(1)) as usize;
            if flushed {
                log.forget(&REGION, last).await.expect("forget");
            }
            let begun = Instant::now();
            beside = groups;
            other.times.extend(raw.slice(beside, slice_of(value)).await);
            other.spent += begun.elapsed().as_secs_f64();
            if flushed {
                raw.forget().await;
            }
        }
        all.push((own, other));
    }
    log.close().await;
    let entry = value + 60;
    let rate = |side: &Side| side.times.len() as f64 / side.spent;
    let rates: Vec<f64> = all.iter().map(|(own, _)| rate(own)).collect();
    let bytes = |own: &Side, other: &Side| rate(own) * entry as f64 / (rate(other) * beside as f64);
    let of_bytes: Vec<f64> = all.iter().map(|(own, other)| bytes(own, other)).collect();
    let of_time: Vec<f64> = all
        .iter_mut()
        .map(|(own, other)| percentile(&mut own.times, 0.5) / percentile(&mut other.times, 0.5))
        .collect();
    let mut own: Vec<Duration> = all.iter().flat_map(|(own, _)| own.times.clone()).collect();
    let mut other: Vec<Duration> = all.iter().flat_map(|(_, other)| other.times.clone()).collect();
    println!(
        "| {name}{} | {writers} | {value} | {:.1} / {:.1} | {} | {:.0} | {} KiB {} | {:.1} / {:.1} | {} | {} |",
        if flushed { "" } else { ", not flushed" },
        percentile(&mut own, 0.5),
        percentile(&mut own, 0.99),
        spread(&rates, 0),
        rates.iter().sum::<f64>() / rates.len() as f64 * entry as f64 / 1e6,
        groups.div_ceil(1024),
        raw.name(),
        percentile(&mut other, 0.5),
        percentile(&mut other, 0.99),
        spread(&of_time, 2),
        spread(&of_bytes, 2),
    );
}

async fn lines(name: &str, fs: Arc<dyn Filesystem>, mut raw: Raw, rounds: usize) {
    for (writers, value, flushed) in
        [(1, 1000, true), (16, 1000, true), (256, 1000, true), (256, 64 << 10, true), (256, 64 << 10, false)]
    {
        line(name, &fs, &mut raw, Load { writers, value, flushed }, rounds).await;
    }
    println!("| | | | load {} | | | | | | |", load());
}

/// Every root, or those that `ROOTS` names.
pub async fn run(folder: &Path, rounds: usize) {
    let wanted = std::env::var("ROOTS").unwrap_or_else(|_| "folder hdfs bucket".to_owned());
    println!(
        "| log on | writers | value, bytes | p50 / p99, ms | entries a second | MB/s | beside it: one raw write of a group | p50 / p99, ms \
         | time of an entry to that of a raw write | bytes a second to raw |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    if wanted.contains("folder") {
        let local = LocalFilesystem::open(folder.join("root"), Arc::new(SystemRandom)).expect("a folder");
        let raw = Raw::Folder(Arc::new(File::create(folder.join("raw")).expect("create")));
        lines("a folder", Arc::new(local), raw, rounds).await;
    }
    if wanted.contains("hdfs") {
        let hdfs = tokio::task::spawn_blocking(|| Hdfs::start(Layout::default())).await.expect("an HDFS");
        let (url, conf) = (hdfs.fresh_root(), hdfs.conf());
        let settings =
            HdfsSettings { hadoop_conf: Some(conf.clone()), block_size: Some(128 << 20), ..HdfsSettings::new(&url) };
        let fs = HdfsFilesystem::open(settings, &Runtime::system()).await.expect("root");
        let (_, path) = url.split_at(hdfs.url().len());
        let client = hdfs_native::ClientBuilder::new().with_url(format!("{}/", hdfs.url()));
        let client = client.with_config_dir(conf.to_string_lossy().into_owned()).build().expect("a client");
        let bare = Bare::create(client, path, 0).await;
        lines("HDFS", Arc::new(fs), Raw::Hdfs(Box::new(bare)), rounds).await;
        tokio::task::spawn_blocking(|| drop(hdfs)).await.expect("it ends");
    }
    if wanted.contains("bucket") {
        let store = bucket(folder);
        let fs: Arc<dyn Filesystem> = Arc::new(root(&store, "log").await);
        lines("a bucket", fs.clone(), Raw::Puts(fs, 0, 0), rounds).await;
    }
}
