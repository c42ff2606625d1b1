//! The figures of docs/PERFORMANCE.md: each beside something that the machine does with the same bytes in the same minute.
//!
//! `cargo run --release -p ferrobase-benches --bin figures [rounds [folder]]`
//!
//! A round measures a figure and what stands beside it one right after the other; the ratio is taken in each round. What is printed is
//! the median of the rounds with the smallest and the largest. On a busy machine both sides suffer, so ratios say more than rates.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_benches::*;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use model::mutation::Durability;
use model::query::{Get, Scan};
use model::{Cell, SeqNo};
use runtime::random::SystemRandom;
use storage::memtable::ENTRY_OVERHEAD_BYTES;
use storage::read::Limits;
use storage::region::Region;

/// How long one side of a round takes.
const SIDE: Duration = Duration::from_millis(500);
/// How long one of two things that take turns does so before the other.
const SLICE: Duration = Duration::from_millis(50);
const ROWS: usize = 20_000;

/// The values of the rounds.
#[derive(Default)]
struct Rounds(Vec<f64>);

impl Rounds {
    fn text(&self, digits: usize) -> String {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
        format!("{:.digits$} ({first:.digits$}–{last:.digits$})", sorted[sorted.len() / 2])
    }
}

/// A figure and what stands beside it, both in things a second.
struct Figure {
    name: String,
    beside: &'static str,
    own: Rounds,
    other: Rounds,
    ratio: Rounds,
}

impl Figure {
    fn new(name: impl Into<String>, beside: &'static str) -> Figure {
        let [own, other, ratio] = [(); 3].map(|()| Rounds::default());
        Figure { name: name.into(), beside, own, other, ratio }
    }

    fn add(&mut self, own: f64, other: f64) {
        self.own.0.push(own);
        self.other.0.push(other);
        self.ratio.0.push(own / other);
    }

    fn print(&self) {
        let [own, other] = [&self.own, &self.other].map(|rounds| rounds.text(0));
        println!("| {} | {own} | {} | {other} | {} |", self.name, self.beside, self.ratio.text(2));
    }
}

/// How often a second `work` is done, which does so many at once.
fn rate(time: Duration, mut work: impl FnMut() -> usize) -> f64 {
    let (begin, mut done) = (Instant::now(), 0);
    while begin.elapsed() < time {
        done += work();
    }
    done as f64 / begin.elapsed().as_secs_f64()
}

/// Appends of so many bytes, each synced, a second; on a thread that does nothing else, like the log's.
async fn raw_syncs(file: &Arc<File>, bytes: usize) -> f64 {
    let file = file.clone();
    let syncing = tokio::task::spawn_blocking(move || {
        let data = vec![7; bytes];
        rate(SLICE, || {
            (&*file).write_all(&data).expect("write");
            file.sync_data().expect("sync");
            1
        })
    });
    syncing.await.expect("raw syncs")
}

/// Entries a second of writers that each wait for their entry.
async fn closed_loop<F: Future<Output = ()> + Send>(
    writers: usize,
    write: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
) -> f64 {
    let begin = Instant::now();
    let loops = (0..writers).map(|writer| {
        let write = write.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while begin.elapsed() < SLICE {
                write(writer + done * writers).await;
                done += 1;
            }
            done
        })
    });
    let mut done = 0;
    for one in loops.collect::<Vec<_>>() {
        done += one.await.expect("writer");
    }
    done as f64 / begin.elapsed().as_secs_f64()
}

/// Writes: the log and whole puts against one sync a batch of the same bytes. In short slices that take turns: how long a
/// sync takes changes by the second.
async fn commits(fs: &Arc<dyn Filesystem>, folder: &Path, rounds: usize) {
    let (log, cells) = (log(fs).await, Arc::new(row_cells(1)));
    let entry_bytes: usize = cells.iter().map(|cell| cell.bytes().len() + 4).sum();
    let region = region(fs, "commits").await;
    let raw = Arc::new(File::create(folder.join("raw")).expect("create"));
    for writers in [1, 8, 64] {
        let beside = "rows a second at one fdatasync for a batch of all writers";
        let mut entries = Figure::new(format!("log entries a second, {writers} writers"), beside);
        let mut puts = Figure::new(format!("puts a second, {writers} writers"), beside);
        for _ in 0..rounds {
            let (mut limit, mut logged, mut put_rate) = (0.0, 0.0, 0.0);
            let slices = SIDE.as_millis() / SLICE.as_millis();
            for _ in 0..slices {
                limit += raw_syncs(&raw, entry_bytes * writers).await * writers as f64;
                let (log, cells) = (log.clone(), cells.clone());
                logged += closed_loop(writers, move |_| {
                    let ticket = log.submit(&Bytes::from_static(b"region"), SeqNo(1), WRITTEN_MS, None, &cells);
                    async move { ticket.expect("submit").durable().await.expect("durable") }
                })
                .await;
                let target = region.clone();
                put_rate += closed_loop(writers, move |number| {
                    let (region, put) = (target.clone(), put(number % ROWS, Durability::SyncWal));
                    async move { drop(region.mutate(vec![put], None).await.expect("put")) }
                })
                .await;
            }
            let slices = slices as f64;
            entries.add(logged / slices, limit / slices);
            puts.add(put_rate / slices, limit / slices);
            region.flush().await.expect("flush");
        }
        entries.print();
        puts.print();
    }
    region.close().await.expect("close");
}

type Map = BTreeMap<Bytes, Cell>;

/// A key that sorts like the cell does among these cells.
fn key(cell: &Cell) -> Bytes {
    [cell.row(), cell.qualifier()].concat().into()
}

/// Puts without a log, gets and scans against a map of the same cells.
async fn in_memory(fs: &Arc<dyn Filesystem>, rounds: usize) {
    let all: Vec<Vec<Cell>> = (0..ROWS).map(row_cells).collect();
    let map: Map = all.iter().flatten().map(|cell| (key(cell), cell.clone())).collect();
    let mut puts = Figure::new("puts a second without log, one after the other", "rows put into a BTreeMap");
    for round in 0..rounds {
        let region = region(fs, &format!("puts{round}")).await;
        let fresh: Vec<_> = (0..ROWS).map(|number| put(number * 7919 % ROWS, Durability::SkipWal)).collect();
        let begin = Instant::now();
        for put in fresh {
            region.mutate(vec![put], None).await.expect("put");
        }
        let own = ROWS as f64 / begin.elapsed().as_secs_f64();
        let (begin, mut map) = (Instant::now(), Map::new());
        for number in 0..ROWS {
            map.extend(all[number * 7919 % ROWS].iter().map(|cell| (key(cell), cell.clone())));
        }
        puts.add(own, ROWS as f64 / begin.elapsed().as_secs_f64());
        region.close().await.expect("close");
    }
    puts.print();
    let region = region(fs, "reads").await;
    for number in 0..ROWS {
        region.mutate(vec![put(number, Durability::SkipWal)], None).await.expect("put");
    }
    for place in ["from memory", "from a cached store file"] {
        let mut gets = Figure::new(format!("gets a second {place}"), "rows looked up in a BTreeMap");
        let mut scans = Figure::new(format!("scanned rows a second {place}"), "rows walked in a BTreeMap");
        read(&region, &map).await; // so that the cache is filled
        for _ in 0..rounds {
            let [get, get_beside, scan, scan_beside] = read(&region, &map).await;
            gets.add(get, get_beside);
            scans.add(scan, scan_beside);
        }
        gets.print();
        scans.print();
        region.flush().await.expect("flush");
    }
    region.close().await.expect("close");
}

async fn read(region: &Arc<Region>, map: &Map) -> [f64; 4] {
    let mut numbers = Numbers(5);
    let (begin, mut gets) = (Instant::now(), 0);
    while begin.elapsed() < SIDE {
        let cells = region.get(&Get::new(row(numbers.below(ROWS)))).await.expect("get");
        assert_eq!(cells.len(), COLUMNS);
        gets += 1;
    }
    let get = f64::from(gets) / begin.elapsed().as_secs_f64();
    let get_beside = rate(SIDE, || {
        let from = row(numbers.below(ROWS));
        let cells: Vec<Cell> =
            map.range((Bound::Included(from), Bound::Unbounded)).take(COLUMNS).map(|found| found.1.clone()).collect();
        assert_eq!(cells.len(), COLUMNS);
        1
    });
    let (begin, mut scanned) = (Instant::now(), 0);
    while begin.elapsed() < SIDE {
        let mut scanner = region.scanner(&Scan::default()).await.expect("scan");
        let mut rows = Vec::new();
        while scanner.next(&Limits::rows(1000), &mut rows).await.expect("scan").more {
            scanned += rows.len();
            rows.clear();
        }
        scanned += rows.len();
    }
    let scan = scanned as f64 / begin.elapsed().as_secs_f64();
    let scan_beside = rate(SIDE, || {
        let mut rows = Vec::new();
        let mut cells = Vec::with_capacity(COLUMNS);
        for cell in map.values() {
            cells.push(cell.clone());
            if cells.len() == COLUMNS {
                rows.push(std::mem::replace(&mut cells, Vec::with_capacity(COLUMNS)));
            }
        }
        rows.len()
    });
    [get, get_beside, scan, scan_beside]
}

/// Flushes and compactions against writing a file of the same size.
async fn files(fs: &Arc<dyn Filesystem>, folder: &Path, rounds: usize) {
    let mut flushes = Figure::new("flushed MB a second", "MB a second written to one file and synced");
    let mut compactions =
        Figure::new("compacted MB a second, four files", "MB a second written to one file and synced");
    let raw_write = |bytes: u64| {
        let begin = Instant::now();
        let path = folder.join("raw");
        let mut file = File::create(&path).expect("create");
        let data = vec![7; 1 << 20];
        for _ in 0..bytes >> 20 {
            file.write_all(&data).expect("write");
        }
        file.sync_all().expect("sync");
        let rate = (bytes >> 20) as f64 / begin.elapsed().as_secs_f64();
        std::fs::remove_file(&path).expect("remove");
        rate
    };
    for round in 0..rounds {
        let region = region(fs, &format!("files{round}")).await;
        for part in 0..4 {
            for number in (part..ROWS * 4).step_by(4) {
                region.mutate(vec![put(number, Durability::SkipWal)], None).await.expect("put");
            }
            let begin = Instant::now();
            region.flush().await.expect("flush");
            let size = region.files(FAMILY.as_bytes()).last().expect("a file").1;
            flushes.add(size as f64 / 1048576.0 / begin.elapsed().as_secs_f64(), raw_write(size));
        }
        let size: u64 = region.files(FAMILY.as_bytes()).iter().map(|file| file.1).sum();
        let begin = Instant::now();
        region.compact(true).await.expect("compact");
        compactions.add(size as f64 / 1048576.0 / begin.elapsed().as_secs_f64(), raw_write(size));
        region.close().await.expect("close");
    }
    flushes.print();
    compactions.print();
}

/// Bytes of a million cells, in each form.
fn sizes() {
    let cells = cells(ROWS);
    let million = |bytes: usize| bytes as f64 / cells.len() as f64;
    let plain: usize =
        cells.iter().map(|cell| cell.row().len() + cell.qualifier().len() + cell.value().len() + 8).sum();
    let line = |name: &str, bytes: usize| {
        println!("| {name} | {:.1} | {:.2} |", million(bytes), bytes as f64 / plain as f64);
    };
    println!("\n| a million cells | MB | beside row, qualifier, timestamp and value alone |\n| --- | --- | --- |");
    line("row, qualifier, timestamp, value", plain);
    let flat: usize = cells.iter().map(|cell| cell.bytes().len()).sum();
    line("in a memtable, as accounted", flat + cells.len() * ENTRY_OVERHEAD_BYTES as usize);
    for (encoding_name, encoding) in ENCODINGS {
        for (name, compression) in COMPRESSIONS {
            line(&format!("store file, {encoding_name}, {name}"), store_file(&cells, compression, encoding).len());
        }
    }
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split_whitespace().take(1).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let rounds: usize = arguments.next().map_or(7, |text| text.parse().expect("rounds"));
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).expect("folder");
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder.path(), Arc::new(SystemRandom)).expect("open"));
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
    println!("{rounds} rounds, {cores} cores, load {} before", load());
    println!("\n| figure | Ferrobase | beside it | there | ratio |\n| --- | --- | --- | --- | --- |");
    tokio_runtime().block_on(async {
        tokio::spawn({
            let (fs, folder) = (fs.clone(), folder.path().to_owned());
            async move {
                commits(&fs, &folder, rounds).await;
                in_memory(&fs, rounds).await;
                files(&fs, &folder, rounds.div_ceil(3)).await;
            }
        })
        .await
        .expect("figures");
    });
    sizes();
    println!("\nload {} after", load());
}
