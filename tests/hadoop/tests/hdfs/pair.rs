//! A pair of NameNodes, found by the name service of the configuration: the active one dies under load, the other takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_hadoop_fixture::{Hdfs, Layout};
use filesystem::{CreateOutcome, Filesystem, SwapOutcome};
use runtime::Runtime;
use storage::wal::{Log, LogSettings};

use crate::wal::{put, replayed};
use crate::{open, rounds, settings};

/// Writes to a log that rolls all the time, until told to end: what was acknowledged, and the longest time without an answer.
async fn log_load(fs: Arc<dyn Filesystem>, over: Arc<AtomicBool>) -> (Vec<u64>, Duration) {
    let small = LogSettings { segment_bytes: 20_000, ..LogSettings::default() };
    let log = Log::create(fs, Runtime::system(), small, 1).await.expect("log");
    let (mut acknowledged, mut gap) = (Vec::new(), Duration::ZERO);
    for seqno in 1.. {
        let begun = Instant::now();
        if put(&log, seqno).await {
            acknowledged.push(seqno);
        }
        gap = gap.max(begun.elapsed());
        if over.load(Ordering::SeqCst) {
            break;
        }
    }
    log.close().await;
    (acknowledged, gap)
}

/// Counts in a register, until told to end: what it last was told to hold, and the longest time without an answer.
async fn register_load(fs: Arc<dyn Filesystem>, over: Arc<AtomicBool>) -> (u64, Duration) {
    let CreateOutcome::Created(mut version) = fs.register_create("r", "0", "body".into()).await.expect("create") else {
        panic!("new")
    };
    let (mut count, mut gap, mut begun) = (0u64, Duration::ZERO, Instant::now());
    while !over.load(Ordering::SeqCst) {
        let next = (count + 1).to_string();
        match fs.register_swap("r", &version, &next, Some(Bytes::from(vec![1; 300]))).await {
            Ok(SwapOutcome::Swapped(now)) => version = now,
            Ok(SwapOutcome::Superseded(Some(found))) if found.head == next => version = found.version,
            Ok(other) => panic!("nobody else swaps: {other:?}"),
            Err(error) => {
                println!("a swap after {:?}: {error}", begun.elapsed());
                continue;
            }
        }
        count += 1;
        gap = gap.max(begun.elapsed());
        begun = Instant::now();
    }
    (count, gap)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "starts two NameNodes: tests/run long hdfs"]
async fn the_standby_takes_over_and_nothing_is_lost() {
    let mut hdfs = Hdfs::start(Layout { namenodes: 2, ..Layout::default() });
    for round in 0..rounds().min(5) {
        let (active, standby) = (round % 2, (round + 1) % 2);
        let root = settings(&hdfs);
        assert!(root.url.starts_with("hdfs://pair/"), "only the configuration knows the addresses: {}", root.url);
        let fs = open(root.clone()).await;
        let over = Arc::new(AtomicBool::new(false));
        let logging = tokio::spawn(log_load(open(root.clone()).await, over.clone()));
        let counting = tokio::spawn(register_load(fs.clone(), over.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Killed, and a while later somebody makes the other one active, as a fail-over controller would.
        let begun = Instant::now();
        hdfs.kill_namenode(active);
        tokio::task::block_in_place(|| hdfs.make_active(standby));
        let active_after = begun.elapsed();
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Back as a standby, and handed over again in good order, under load.
        tokio::task::block_in_place(|| hdfs.restart_namenode(active));
        tokio::task::block_in_place(|| hdfs.wait_standby(active));
        tokio::task::block_in_place(|| hdfs.fail_over(standby, active));
        tokio::time::sleep(Duration::from_secs(2)).await;
        tokio::task::block_in_place(|| hdfs.fail_over(active, standby));
        tokio::time::sleep(Duration::from_secs(1)).await;
        over.store(true, Ordering::SeqCst);
        let ((acknowledged, log_gap), (count, register_gap)) =
            (logging.await.expect("log"), counting.await.expect("register"));
        println!(
            "killed, the other active after {active_after:?}; no answer for {log_gap:?} (log), {register_gap:?} (register); \
             {} entries, {count} swaps",
            acknowledged.len()
        );
        let fs: Arc<dyn Filesystem> = fs;
        let seen = replayed(&fs, 1).await;
        assert!(acknowledged.iter().all(|seqno| seen.binary_search(seqno).is_ok()), "acknowledged entries are lost");
        let held: u64 = fs.register_read("r").await.expect("read").expect("exists").head.parse().expect("a number");
        assert!(held == count || held == count + 1, "{held} of {count}");
        assert!(acknowledged.len() > 100 && count > 10, "there was load");
    }
}
