//! The write-ahead log of `storage` over HDFS: DataNodes die under it, and a fence stops it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_hadoop_fixture::shared;
use filesystem::Filesystem;
use filesystem::hdfs::HdfsSettings;
use model::{Cell, ErrorKind, SeqNo};
use runtime::Runtime;
use storage::wal::{Log, LogSettings, fence, replay};

use crate::{open, settings};

const REGION: Bytes = Bytes::from_static(b"region");

pub(crate) async fn put(log: &Log, seqno: u64) -> bool {
    let cell = Cell::put(format!("row{seqno}").as_bytes(), b"f", b"q", 7, &[7; 200]).expect("cell");
    match log.submit(&REGION, SeqNo(seqno), 5, None, &[cell]) {
        Ok(ticket) => ticket.durable().await.is_ok(),
        Err(_) => false,
    }
}

pub(crate) async fn replayed(fs: &Arc<dyn Filesystem>, stream: u64) -> Vec<u64> {
    let ended = fence(fs, stream).await.expect("fence");
    let entries = replay(fs, &ended, &REGION, SeqNo(0)).await.expect("replay");
    entries.into_iter().map(|entry| entry.seqno.0).collect()
}

/// A writes, freezes as far as anybody can see, B fences and reads, A goes on: nothing that A was told to be durable is missing, and A is
/// told of nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fenced_writer_acknowledges_nothing_more() {
    let hdfs = shared();
    let root = settings(&hdfs);
    let a: Arc<dyn Filesystem> = open(root.clone()).await;
    let b: Arc<dyn Filesystem> = open(root).await;
    let small = LogSettings { segment_bytes: 20_000, ..LogSettings::default() };
    let log = Log::create(a, Runtime::system(), small, 1).await.expect("log");
    let mut next = 1;
    while next <= 200 {
        assert!(put(&log, next).await);
        next += 1;
    }
    assert!(log.segments() > 1, "small segments roll");
    let writing = tokio::spawn(async move {
        let mut acknowledged = next - 1;
        while put(&log, acknowledged + 1).await {
            acknowledged += 1;
        }
        (log, acknowledged)
    });
    let seen = replayed(&b, 1).await;
    let (log, acknowledged) = writing.await.expect("task");
    assert!(seen.len() as u64 >= acknowledged, "{} of {acknowledged}", seen.len());
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    assert!(!put(&log, acknowledged + 2).await, "fenced for good");
    assert_eq!(replayed(&b, 1).await, seen, "what was read once stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_outlives_its_datanodes() {
    let mut hdfs = shared();
    let root = HdfsSettings { seal_deadline: Duration::from_secs(45), ..settings(&hdfs) };
    let fs: Arc<dyn Filesystem> = open(root).await;
    let log = Log::create(fs.clone(), Runtime::system(), LogSettings::default(), 2).await.expect("log");
    let (mut acknowledged, mut refused, mut gap) = (Vec::new(), 0, Duration::ZERO);
    for seqno in 1..=300 {
        match seqno {
            100 => hdfs.kill_datanode(0),
            200 => hdfs.kill_datanode(1),
            _ => {}
        }
        let begun = Instant::now();
        if put(&log, seqno).await {
            acknowledged.push(seqno);
        } else {
            refused += 1;
        }
        gap = gap.max(begun.elapsed());
    }
    println!("longest put with one and two DataNodes dead: {gap:?}, {refused} refused");
    assert!(acknowledged.len() > 250, "{refused} refused");
    drop(log);
    // The segment that was begun when the first one had died may have had one replica yet, and it died with the second: it waits for it.
    if let Err(error) = fence(&fs, 2).await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        println!("with both dead: {error}");
        (0..2).for_each(|node| hdfs.restart_datanode(node));
    }
    let seen = replayed(&fs, 2).await;
    assert!(acknowledged.iter().all(|seqno| seen.binary_search(seqno).is_ok()), "acknowledged entries are lost");
}
