//! Logs while DataNodes die and fences rise, below and through the write-ahead log of `storage`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_hadoop_fixture::{Hdfs, shared};
use filesystem::{ErrorKind, Filesystem, LogOutcome, LogWriter};

use crate::{open, rounds, settings};

async fn begin(fs: &dyn Filesystem, path: &str) -> Option<Box<dyn LogWriter>> {
    match fs.log_begin(path, "head".into()).await.expect("begin") {
        LogOutcome::Created(writer) => Some(writer),
        LogOutcome::Exists => None,
    }
}

/// The fence as a reader sees it: once sealed, the old writer makes nothing durable any more, and all it was told to be durable is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_log_takes_nothing_from_its_old_writer() {
    let hdfs = shared();
    let root = settings(&hdfs);
    let (old, new) = (open(root.clone()).await, open(root).await);
    // Idle, and in the middle of syncing.
    for busy in [false, true] {
        let path = format!("l/{busy}");
        let mut writer = begin(&*old, &path).await.expect("new");
        for _ in 0..20 {
            writer.append("0123456789".into()).await.expect("append");
            writer.sync().await.expect("sync");
        }
        let writing = tokio::spawn(async move {
            let mut acknowledged = writer.len();
            loop {
                if !busy || writer.append("0123456789".into()).await.is_err() || writer.sync().await.is_err() {
                    break;
                }
                acknowledged = writer.len();
            }
            (writer, acknowledged)
        });
        let begun = Instant::now();
        let len = new.log_seal(&path).await.expect("seal").expect("exists");
        println!("sealed (busy writer: {busy}) after {:?}", begun.elapsed());
        let (mut writer, acknowledged) = writing.await.expect("task");
        assert!(len >= acknowledged, "{len} of {acknowledged}");
        let failed = match writer.append("late".into()).await {
            Ok(()) => writer.sync().await.is_err(),
            Err(_) => true,
        };
        assert!(failed, "a fenced writer syncs");
        drop(writer);
        let data = new.read_at(&path, 0, usize::MAX).await.expect("read");
        assert_eq!((data.len() as u64, new.log_seal(&path).await.expect("again")), (len, Some(len)));
        assert!(!data.ends_with(b"late"));
    }
}

/// Writes numbered records into logs `1`, `2` … as the write-ahead log does: what is in doubt is written again to the next one. Answers the
/// longest time without an acknowledgement and how many records were acknowledged.
struct Load {
    fs: Arc<dyn Filesystem>,
    writer: Option<Box<dyn LogWriter>>,
    log: u64,
    record: u64,
    /// By log: the records it holds for certain.
    sure: Vec<(u64, u64)>,
}

impl Load {
    fn new(fs: Arc<dyn Filesystem>) -> Load {
        Load { fs, writer: None, log: 0, record: 0, sure: Vec::new() }
    }

    /// One record, acknowledged; how long it took.
    async fn put(&mut self) -> Duration {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(120), "record {} is not acknowledged", self.record);
            let mut writer = match self.writer.take() {
                Some(writer) => writer,
                None => {
                    self.log += 1;
                    match self.fs.log_begin(&format!("l/{}", self.log), "head".into()).await {
                        Ok(LogOutcome::Created(writer)) => writer,
                        Ok(LogOutcome::Exists) => panic!("nobody fences"),
                        Err(_) => continue,
                    }
                }
            };
            let record = format!("[{:08}]", self.record);
            if writer.append(Bytes::from(record.repeat(100))).await.is_ok() && writer.sync().await.is_ok() {
                self.sure.push((self.log, self.record));
                self.record += 1;
                self.writer = Some(writer);
                return begun.elapsed();
            }
        }
    }

    /// Every acknowledged record is in its log.
    async fn check(&self) {
        let mut texts = std::collections::HashMap::new();
        for log in 1..=self.log {
            let path = format!("l/{log}");
            let begun = Instant::now();
            let sealed = loop {
                // A machine that is busy enough makes DataNodes look dead, and a seal that is not done in time is asked for again.
                match self.fs.log_seal(&path).await {
                    Err(error) if error.kind() == ErrorKind::Unavailable && begun.elapsed().as_secs() < 600 => {
                        println!("after {:?}: {error}", begun.elapsed());
                    }
                    done => break done.expect("seal"),
                }
            };
            if sealed.is_some() {
                texts.insert(log, self.fs.read_at(&path, 0, usize::MAX).await.expect("read"));
            }
        }
        for (log, record) in &self.sure {
            let text = format!("[{record:08}]").repeat(100);
            let data = &texts[log];
            assert!(data.windows(text.len()).any(|window| window == text.as_bytes()), "record {record} of log {log}");
        }
    }
}

async fn kill_under_load(hdfs: &mut Hdfs, victims: &[usize]) -> Duration {
    // What has fewer replicas than nodes dies with them, and waits for them.
    let begun = Instant::now();
    let mut load = loop {
        let mut load = Load::new(open(settings(hdfs)).await);
        load.put().await;
        if hdfs.newest_block_is_everywhere() {
            break load;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "no log has three replicas");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for _ in 0..100 {
        load.put().await;
    }
    victims.iter().for_each(|victim| hdfs.kill_datanode(*victim));
    let mut gap = Duration::ZERO;
    for _ in 0..100 {
        gap = gap.max(load.put().await);
    }
    // Blobs and registers go on as well.
    let begun = Instant::now();
    load.fs.put_if_absent("blob", vec![7; 100_000].into()).await.expect("put");
    load.fs.register_create("r", "1", "body".into()).await.expect("create");
    println!("{} killed: no acknowledgement for {gap:?}; a blob and a register: {:?}", victims.len(), begun.elapsed());
    assert_eq!(load.fs.read_at("blob", 99_990, 100).await.expect("read"), vec![7; 10]);
    assert_eq!(load.fs.register_read("r").await.expect("read").expect("exists").body, "body");
    drop(load.writer.take());
    // A node that leaves a pipeline by itself leaves two replicas: if both die, what they hold is there when one is back, and not before.
    if let [one] = victims {
        load.check().await;
        hdfs.restart_datanode(*one);
    } else {
        victims.iter().for_each(|victim| hdfs.restart_datanode(*victim));
        load.check().await;
    }
    gap
}

fn summary(what: &str, mut gaps: Vec<Duration>) {
    gaps.sort_unstable();
    println!(
        "{what}: no acknowledgement for {:?} (median), {:?} (worst) of {}",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1],
        gaps.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_datanode_loses_nothing() {
    let mut hdfs = shared();
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        gaps.push(kill_under_load(&mut hdfs, &[round % 3]).await);
    }
    summary("one DataNode killed", gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_killed_datanodes_lose_nothing() {
    let mut hdfs = shared();
    let mut gaps = Vec::new();
    for round in 0..rounds() {
        gaps.push(kill_under_load(&mut hdfs, &[round % 3, (round + 1) % 3]).await);
    }
    summary("two DataNodes killed", gaps);
}

/// A DataNode that answers nothing, instead of one that is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_datanode_loses_nothing() {
    let hdfs = shared();
    let mut load = Load::new(open(settings(&hdfs)).await);
    for _ in 0..50 {
        load.put().await;
    }
    hdfs.pause_datanode(1);
    let mut gap = Duration::ZERO;
    for _ in 0..50 {
        gap = gap.max(load.put().await);
    }
    println!("paused: {gap:?}");
    hdfs.resume_datanode(1);
    drop(load.writer.take());
    load.check().await;
}
