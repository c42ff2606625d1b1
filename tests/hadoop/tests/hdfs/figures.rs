//! What a durable append and a swap cost, beside the crate's bare sync in the same run.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_hadoop_fixture::shared;
use filesystem::{CreateOutcome, Filesystem, LogOutcome, SwapOutcome};

use crate::conformance::raw;
use crate::{open, settings};

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!("{what}: p50 {:?}, p99 {:?}, max {:?} (n={})", at(0.5), at(0.99), at(1.0), times.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures: tests/run long hdfs"]
async fn appends_and_swaps() {
    let hdfs = shared();
    let root = settings(&hdfs);
    let fs = open(root.clone()).await;
    let raw = raw(&root);
    let record = Bytes::from(vec![7; 1024]);
    let mut bare = raw.client.create(&raw.path("bare"), hdfs_native::WriteOptions::default()).await.expect("create");
    let LogOutcome::Created(mut log) = fs.log_begin("l/1", "head".into()).await.expect("begin") else { panic!("new") };
    // Records of a log are never aligned to the checksums' chunks, which costs a packet more.
    bare.write_bytes("head".into()).await.expect("a log is never aligned");
    let (mut of_bare, mut of_log) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let begun = Instant::now();
        bare.write_bytes(record.clone()).await.expect("write");
        bare.hsync().await.expect("hsync");
        of_bare.push(begun.elapsed());
        let begun = Instant::now();
        log.commit(record.clone(), &*fs, "l/2").await.expect("commit");
        of_log.push(begun.elapsed());
    }
    print("bare write and hsync of 1 KiB", of_bare);
    print("durable append of 1 KiB", of_log);
    let CreateOutcome::Created(mut version) = fs.register_create("r", "0", "body".into()).await.expect("create") else {
        panic!("new")
    };
    for (what, body, n) in
        [("head-only swap", None, 500), ("swap with a body of 4 KiB", Some(Bytes::from(vec![1; 4096])), 100)]
    {
        let mut times = Vec::new();
        for _ in 0..n {
            let begun = Instant::now();
            let swapped = fs.register_swap("r", &version, "1", body.clone()).await.expect("swap");
            times.push(begun.elapsed());
            let SwapOutcome::Swapped(next) = swapped else { panic!("nobody else swaps") };
            version = next;
        }
        print(what, times);
    }
    let mut times = Vec::new();
    for i in 0..50 {
        let begun = Instant::now();
        fs.put_if_absent(&format!("b/{i}"), vec![3; 64 << 10].into()).await.expect("put");
        times.push(begun.elapsed());
    }
    print("blob of 64 KiB", times);
    let mut times = Vec::new();
    for _ in 0..300 {
        let begun = Instant::now();
        fs.register_read("r").await.expect("read");
        times.push(begun.elapsed());
    }
    print("read of a register with a body of 4 KiB", times);
}
