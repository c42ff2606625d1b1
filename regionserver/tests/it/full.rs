//! No space is left, and then there is again.

use std::sync::Arc;
use std::time::Duration;

use ferrobase_regionserver::ServerSettings;
use filesystem::faulty::FaultyFilesystem;
use model::ErrorKind;
use model::query::Scan;
use storage::region::RegionSettings;

use crate::rig::*;

fn plan(machine: &FaultyFilesystem) -> Plan {
    let region = RegionSettings { flush_bytes: 32 << 10, memory_wait_ms: 50, ..RegionSettings::default() };
    let settings = ServerSettings { upkeep_period_ms: 20, ..ServerSettings::default() };
    Plan { fs: Arc::new(machine.clone()), region, settings, ..Plan::default() }
}

/// Tries until the write is taken, as a client does.
async fn resumes(rig: &Rig, row: &str) {
    for _ in 0..2000 {
        match rig.mutate(&put(row, "f", "q", "after")).await {
            Ok(_) => return,
            Err(error) => assert_eq!(error.kind, ErrorKind::Full, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("writes do not resume");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_fail_clearly_reads_go_on_and_writes_resume_by_themselves() {
    let machine = FaultyFilesystem::new();
    let rig = Rig::with(plan(&machine)).await;
    rig.put("a", "q", "before").await;
    rig.flush().await.expect("flush");
    rig.put("b", "q", "before").await;
    for round in 0..3 {
        machine.set_full(true);
        for _ in 0..20 {
            let error = rig.mutate(&put("lost", "f", "q", "lost")).await.expect_err("full");
            assert_eq!((error.kind, error.short_class()), (ErrorKind::Full, "RegionTooBusyException"));
            assert!(error.message.contains("the store is full; writes resume by themselves"), "{}", error.message);
        }
        for (row, expected) in [("a", Some("before")), ("b", Some("before")), ("lost", None)] {
            assert_eq!(rig.value(row, "q").await.as_deref(), expected);
        }
        let page = rig.scan(&rig.scan_request(&Scan::default(), 100)).await.expect("scan");
        assert_eq!(page.keys().len(), 2 + round);
        machine.set_full(false);
        resumes(&rig, &format!("c{round}")).await;
    }
    assert!(rig.metric("ferrobase_log_failures_total") >= 60);
    rig.flush().await.expect("flush");
    until("the log's left-overs go", || rig.metric("ferrobase_log_segments") <= 2).await;
    // What a successor finds.
    let other = Rig::empty(Plan { fs: rig.fs.clone(), ..Plan::default() }, 2).await;
    other.open(&other.info, 300, 2).await.expect("open");
    let page = other.scan(&other.scan_request(&Scan::default(), 100)).await.expect("scan");
    assert_eq!(page.keys(), ["a", "b", "c0", "c1", "c2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_and_compactions_are_tried_again() {
    let machine = FaultyFilesystem::new();
    let rig = Rig::with(plan(&machine)).await;
    let value = "v".repeat(1000);
    for round in 0..2 {
        rig.put(&format!("a{round}"), "q", &value).await;
        rig.flush().await.expect("flush");
    }
    for row in 0..29 {
        rig.put(&format!("r{row:02}"), "q", &value).await;
    }
    machine.set_full(true);
    let refused = rig.flush().await.expect_err("full");
    assert_eq!(refused.kind, ErrorKind::Full);
    rig.compact(true).await;
    until("a failed compaction", || rig.metric("ferrobase_compaction_failures_total") >= 1).await;
    assert_eq!(rig.metric("ferrobase_store_files"), 2);
    assert_eq!(rig.value("r07", "q").await.as_deref(), Some(&value[..]));
    assert!(rig.metric("ferrobase_memstore_charged_bytes") > 29_000, "what is not flushed keeps its memory");
    machine.set_full(false);
    // Enough for a flush by size.
    for row in 0..10 {
        resumes(&rig, &format!("s{row}")).await;
        rig.put(&format!("t{row}"), "q", &value).await;
    }
    until("the flush", || rig.metric("ferrobase_memstore_bytes") < 32 << 10).await;
    until("the compaction", || rig.metric("ferrobase_compactions_total") >= 1).await;
    rig.compacted().await;
    assert!(rig.metric("ferrobase_flush_failures_total") >= 1);
    let page = rig.scan(&rig.scan_request(&Scan::default(), 100)).await.expect("scan");
    assert_eq!(page.keys().len(), 2 + 29 + 20);
    rig.server.close().await.expect("close");
    assert_eq!(rig.metric("ferrobase_memstore_charged_bytes"), 0);
    let listed = rig.fs.list("data").await.expect("list").len();
    let left = rig.fs.unfinished("data").await.expect("list").len();
    assert!(listed <= 3 && left == 0, "no left-overs of failed flushes: {listed} files, {left} unfinished");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_cannot_be_closed_serves_on() {
    let machine = FaultyFilesystem::new();
    let rig = Rig::with(plan(&machine)).await;
    rig.put("a", "q", "v").await;
    machine.set_full(true);
    let refused = rig.close_region(&rig.info).await.expect_err("it cannot flush");
    assert_eq!(refused.kind, ErrorKind::Full);
    assert_eq!(rig.value("a", "q").await.as_deref(), Some("v"));
    machine.set_full(false);
    resumes(&rig, "b").await;
    rig.close_region(&rig.info).await.expect("close");
    rig.open(&rig.info, 200, 9).await.expect("open again");
    assert_eq!(rig.value("b", "q").await.as_deref(), Some("after"));
}
