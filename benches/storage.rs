//! The engine's hot paths, one by one, so that a change that makes one slower is seen.
//!
//! `cargo bench -p ferrobase-benches --bench storage -- [PART OF A NAME]`
//!
//! What they come to beside the machine's own limits is measured by `--bin figures` (docs/PERFORMANCE.md).

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ferrobase_benches::*;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use filesystem::memory::MemoryFilesystem;
use model::mutation::Durability;
use model::query::{Get, Scan};
use model::{Cell, CellOrder, SeqNo};
use runtime::random::SystemRandom;
use storage::cache::BlockCache;
use storage::file::reader::HFileReader;
use storage::memtable::Memtable;
use storage::read::{Limits, Merge};
use storage::source::{CellSource, Progress};

const ROWS: usize = 2000;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(tokio_runtime);
    RUNTIME.block_on(work)
}

fn group_commit(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("folder");
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(folder.path(), Arc::new(SystemRandom)).expect("open"));
    let log = block_on(log(&fs));
    let (name, cells) = (bytes::Bytes::from_static(b"region"), row_cells(1));
    let mut group = criterion.benchmark_group("group_commit");
    group.throughput(Throughput::Elements(1));
    for writers in [1, 16, 128] {
        group.bench_function(BenchmarkId::new("entries", writers), |bencher| {
            bencher.iter_custom(|entries| {
                let begin = Instant::now();
                block_on(async {
                    let writers = (0..writers).map(|writer| {
                        let (log, name, cells) = (log.clone(), name.clone(), cells.clone());
                        tokio::spawn(async move {
                            for _ in (writer..entries).step_by(writers as usize) {
                                let ticket = log.submit(&name, SeqNo(1), WRITTEN_MS, None, &cells).expect("submit");
                                ticket.durable().await.expect("durable");
                            }
                        })
                    });
                    for writer in writers.collect::<Vec<_>>() {
                        writer.await.expect("writer");
                    }
                });
                begin.elapsed()
            });
        });
    }
    group.finish();
}

fn shuffled(mut cells: Vec<Cell>) -> Vec<Cell> {
    let mut numbers = Numbers(7);
    for at in (1..cells.len()).rev() {
        cells.swap(at, numbers.below(at + 1));
    }
    cells
}

fn memtable(criterion: &mut Criterion) {
    let cells = shuffled(cells(ROWS));
    let mut group = criterion.benchmark_group("memtable");
    group.throughput(Throughput::Elements(cells.len() as u64));
    group.bench_function("insert", |bencher| {
        let fresh = || (Memtable::new(CellOrder::User), cells.clone());
        let insert = |(table, cells): (Memtable, Vec<Cell>)| {
            let bytes: u64 = cells.into_iter().map(|cell| table.insert(cell)).sum();
            (table, bytes)
        };
        bencher.iter_batched(fresh, insert, BatchSize::LargeInput);
    });
    let table = Arc::new(Memtable::new(CellOrder::User));
    for cell in &cells {
        table.insert(cell.clone());
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bencher| {
        let (mut source, mut numbers) = (table.source(), Numbers(1));
        bencher.iter(|| {
            let _ = source.seek(&cells[numbers.below(cells.len())]).expect("memory");
            source.cell()
        });
    });
    group.throughput(Throughput::Elements(cells.len() as u64));
    group.bench_function("scan", |bencher| bencher.iter(|| walk(&mut table.source())));
    group.finish();
}

/// Walks all cells; a source whose blocks must be loaded is driven to its end.
fn walk(source: &mut impl CellSource) -> usize {
    let mut cells = 0;
    let first = Cell::first_on_row(b"");
    let mut progress = source.seek(&first).expect("seek");
    loop {
        if progress == Progress::NeedsBlock {
            block_on(source.load()).expect("load");
        }
        if source.peek().is_none() {
            return cells;
        }
        cells += 1;
        progress = source.advance().expect("advance");
    }
}

fn open(bytes: &bytes::Bytes, cache_bytes: u64) -> Arc<HFileReader> {
    let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    block_on(async {
        let _ = fs.put_if_absent("f", bytes.clone()).await.expect("put");
        let cache = Arc::new(BlockCache::new(cache_bytes));
        Arc::new(HFileReader::open(&fs, "f", bytes.len() as u64, cache).await.expect("sound"))
    })
}

fn store_files(criterion: &mut Criterion) {
    let cells = cells(ROWS);
    for (encoding_name, encoding) in ENCODINGS {
        for (compression_name, compression) in COMPRESSIONS {
            let mut group = criterion.benchmark_group(format!("hfile/{encoding_name}/{compression_name}"));
            group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
            group.throughput(Throughput::Elements(cells.len() as u64));
            group.bench_function("write", |bencher| bencher.iter(|| store_file(&cells, compression, encoding)));
            let file = store_file(&cells, compression, encoding);
            // A cache that holds nothing: each block is read, checked and decoded.
            let uncached = open(&file, 1);
            group.bench_function("scan", |bencher| {
                bencher.iter(|| assert_eq!(walk(&mut uncached.source()), cells.len()));
            });
            let cached = open(&file, 1 << 30);
            assert_eq!(walk(&mut cached.source()), cells.len());
            group.throughput(Throughput::Elements(1));
            group.bench_function("get", |bencher| {
                let (mut source, mut numbers) = (cached.source(), Numbers(1));
                bencher.iter(|| {
                    let progress = source.seek(&cells[numbers.below(cells.len())]).expect("cached");
                    assert_eq!(progress, Progress::Ready);
                    source.cell()
                });
            });
            group.finish();
        }
    }
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let all = cells(ROWS);
    for files in [1usize, 4] {
        let readers: Vec<_> = (0..files)
            .map(|file| {
                let own = all.iter().enumerate().filter(|(at, _)| at / COLUMNS % files == file);
                let own: Vec<Cell> = own.map(|(_, cell)| cell.clone()).collect();
                open(&store_file(&own, Default::default(), Default::default()), 1 << 30)
            })
            .collect();
        group.throughput(Throughput::Elements(all.len() as u64));
        group.bench_function(BenchmarkId::new("merge", files), |bencher| {
            bencher.iter(|| {
                let sources = readers.iter().map(|file| Box::new(file.source()) as Box<dyn CellSource>).collect();
                let mut merge = Merge::new(sources, CellOrder::User, SeqNo::MAX);
                block_on(async {
                    let mut cells = 0;
                    merge.seek(&Cell::first_on_row(b"")).await.expect("seek");
                    while merge.peek().is_some() {
                        cells += 1;
                        if merge.advance().expect("advance") == Progress::NeedsBlock {
                            merge.finish().await.expect("load");
                        }
                    }
                    assert_eq!(cells, all.len());
                });
            });
        });
    }
    for place in ["memory", "file", "three_files_and_memory"] {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let region = block_on(async {
            let region = region(&fs, place).await;
            for number in 0..ROWS {
                // Rows of all parts lie among each other.
                let number = number * 7 % ROWS;
                region.mutate(vec![put(number, Durability::SkipWal)], None).await.expect("put");
                if place == "three_files_and_memory" && number % (ROWS / 4) == ROWS / 4 - 1 {
                    region.flush().await.expect("flush");
                }
            }
            if place == "file" {
                region.flush().await.expect("flush");
            }
            region
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("get", place), |bencher| {
            let mut numbers = Numbers(3);
            bencher.iter(|| {
                let get = Get::new(row(numbers.below(ROWS)));
                let cells = block_on(region.get(&get)).expect("get");
                assert_eq!(cells.len(), COLUMNS);
            });
        });
        group.throughput(Throughput::Elements(ROWS as u64));
        group.bench_function(BenchmarkId::new("scan", place), |bencher| {
            bencher.iter(|| {
                let rows = block_on(async {
                    let mut rows = Vec::new();
                    let mut scanner = region.scanner(&Scan::default()).await.expect("scan");
                    let mut seen = 0;
                    while scanner.next(&Limits::rows(100), &mut rows).await.expect("scan").more {
                        seen += rows.len();
                        rows.clear();
                    }
                    seen + rows.len()
                });
                assert_eq!(rows, ROWS);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default().without_plots().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = group_commit, memtable, store_files, reads
}
criterion_main!(hot_paths);
