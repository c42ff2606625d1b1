//! Flushes and compactions that nobody asks for.

use std::sync::Arc;

use ferrobase_regionserver::ServerSettings;
use protocol::messages as pb;
use protocol::service::ADMIN;
use runtime::clock::ManualClock;
use storage::compaction::PolicySettings;
use storage::region::RegionSettings;
use storage::wal::LogSettings;

use crate::rig::*;

/// As many rows as given, of a thousand bytes each.
async fn fill(rig: &Rig, rows: std::ops::Range<usize>) {
    let value = "v".repeat(1000);
    for row in rows {
        rig.put(&format!("r{row:05}"), "q", &value).await;
    }
}

fn quick() -> ServerSettings {
    ServerSettings { upkeep_period_ms: 20, ..ServerSettings::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_memtable_is_flushed_and_small_files_become_one() {
    let region = RegionSettings { flush_bytes: 64 << 10, ..RegionSettings::default() };
    // Nothing but what was written wakes the flusher.
    let settings = ServerSettings { upkeep_period_ms: 3_600_000, ..ServerSettings::default() };
    let rig = Rig::with(Plan { region, settings, ..Plan::default() }).await;
    let mut rows = 0;
    while rig.metric("ferrobase_compactions_total") == 0 {
        fill(&rig, rows..rows + 100).await;
        rows += 100;
        until("a flush", || rig.metric("ferrobase_memstore_bytes") < 64 << 10).await;
        assert!(rows <= 2000, "files are never compacted");
    }
    rig.compacted().await;
    assert!(rig.metric("ferrobase_flushes_total") >= 3);
    assert!(rig.metric("ferrobase_store_files") < rig.metric("ferrobase_flushes_total"));
    assert_eq!(rig.metric("ferrobase_flush_failures_total"), 0);
    for row in [0, 50, rows - 1] {
        assert_eq!(rig.value(&format!("r{row:05}"), "q").await.expect("is there").len(), 1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_outlive_a_full_budget_because_the_largest_region_is_flushed() {
    let region = RegionSettings { memory_wait_ms: 60_000, ..RegionSettings::default() };
    let settings = ServerSettings { upkeep_period_ms: 3_600_000, ..ServerSettings::default() };
    let rig = Rig::with(Plan { region, settings, budget: 256 << 10, ..Plan::default() }).await;
    fill(&rig, 0..1500).await;
    assert!(rig.metric("ferrobase_flushes_total") >= 3);
    assert!(rig.metric("ferrobase_memstore_charged_bytes") <= 256 << 10);
    assert_eq!(rig.metric("ferrobase_writes_blocked_total"), 0);
    assert!(rig.value("r00000", "q").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_region_that_holds_the_oldest_log_segments_is_flushed() {
    let log = LogSettings { segment_bytes: 16 << 10, ..LogSettings::default() };
    let settings = ServerSettings { log_segments_max: 4, ..quick() };
    let rig = Rig::empty(Plan { log, settings, ..Plan::default() }, 1).await;
    let (quiet, busy) = (info("", "m"), info("m", ""));
    rig.open(&quiet, 5, 1).await.expect("open");
    rig.open(&busy, 6, 1).await.expect("open");
    rig.put_in(&quiet, "a", "old").await;
    for row in 0..300 {
        rig.put_in(&busy, &format!("r{row}"), &"v".repeat(1000)).await;
    }
    until("log segments go", || rig.metric("ferrobase_log_segments") <= 5).await;
    assert!(rig.metric("ferrobase_flushes_total") >= 2, "the quiet region too");
    let rig = Rig { info: quiet, ..rig };
    assert_eq!(rig.value("a", "q").await.as_deref(), Some("old"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_edits_are_flushed_though_they_are_few() {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let rig = Rig::with(Plan { clock: Some(clock.clone()), settings: quick(), ..Plan::default() }).await;
    rig.put("r", "q", "v").await;
    // Twice, with room for a look between them: an edit's age counts from the first look that meets it.
    for _ in 0..2 {
        let before = rig.metric("ferrobase_flushes_total");
        assert_eq!(before, 0);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        clock.advance_ms(3_500_000);
    }
    until("a flush", || rig.metric("ferrobase_flushes_total") == 1).await;
    assert_eq!(rig.metric("ferrobase_store_files"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_asks_for_compactions_of_a_table_or_family() {
    let compaction = PolicySettings { files_min: 100, blocking_files: 100, ..PolicySettings::default() };
    let region = RegionSettings { compaction, ..RegionSettings::default() };
    let rig = Rig::with(Plan { region, ..Plan::default() }).await;
    for round in 0..4 {
        rig.put("r", "q", &format!("v{round}")).await;
        rig.mutate(&put("r", "g", "q", "v")).await.expect("put");
        rig.flush().await.expect("flush");
    }
    assert_eq!(rig.metric("ferrobase_store_files"), 8);
    rig.compact(false).await;
    rig.compacted().await;
    assert_eq!(rig.metric("ferrobase_store_files"), 8, "the policy chooses none");
    rig.compact(true).await;
    rig.compacted().await;
    assert_eq!((rig.metric("ferrobase_store_files"), rig.metric("ferrobase_compactions_total")), (2, 2));
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compactions_that_are_switched_off_wait() {
    let rig = Rig::new().await;
    let switch = async |enabled| {
        let request = pb::CompactionSwitchRequest { enabled };
        let (answer, _): (pb::CompactionSwitchResponse, _) =
            rig.call(ADMIN, "CompactionSwitch", &request).await.expect("switch");
        answer.prev_state
    };
    rig.put("r", "q", "v").await;
    rig.flush().await.expect("flush");
    assert!(switch(false).await);
    rig.compact(true).await;
    assert_eq!(rig.metric("ferrobase_compactions_waiting"), 2, "one for each family");
    let _: (pb::ClearCompactionQueuesResponse, _) =
        rig.call(ADMIN, "ClearCompactionQueues", &pb::ClearCompactionQueuesRequest::default()).await.expect("clear");
    assert_eq!(rig.metric("ferrobase_compactions_waiting"), 0);
    rig.compact(true).await;
    assert!(!switch(true).await);
    rig.compacted().await;
    assert_eq!(rig.metric("ferrobase_compactions_total"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_files_make_writes_wait_but_never_reads() {
    let compaction = PolicySettings { blocking_files: 3, ..PolicySettings::default() };
    let region = RegionSettings {
        flush_bytes: 20 << 10,
        blocking_bytes: 60 << 10,
        memory_wait_ms: 50,
        compaction,
        ..RegionSettings::default()
    };
    let rig = Rig::with(Plan { region, settings: quick(), ..Plan::default() }).await;
    let mut stopped = table();
    stopped.attributes.insert("COMPACTION_ENABLED".to_owned(), "false".into());
    rig.alter(&stopped).await;
    for round in 0..3 {
        rig.put("a", "q", &format!("v{round}")).await;
        rig.flush().await.expect("flush");
    }
    let mut written = 0;
    let refused = loop {
        match rig.mutate(&put(&format!("r{written:05}"), "f", "q", &"v".repeat(1000))).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 200, "writes are never refused");
    };
    assert_eq!(refused.short_class(), "RegionTooBusyException");
    assert!(refused.kind.is_retriable());
    assert!(written >= 30, "only behind the bound: {written}");
    assert_eq!(rig.metric("ferrobase_store_files"), 3, "the flush is put off");
    assert_eq!(rig.value("a", "q").await.as_deref(), Some("v2"));
    assert!(rig.metric("ferrobase_writes_blocked_total") >= 1);
    // Compactions may run again: files go, the flush comes, writes go on.
    rig.alter(&table()).await;
    until("a flush", || rig.metric("ferrobase_memstore_bytes") < 20 << 10).await;
    rig.put("b", "q", "v").await;
    assert!(rig.value("r00000", "q").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_from_an_earlier_servers_log_are_flushed_soon_and_left_overs_go() {
    let first = Rig::new().await;
    first.put("r", "q", "v").await;
    let fs = first.fs.clone();
    // A file that a dead server never listed.
    let path = format!("data/default/t/{}/f/{:016x}{:016x}", first.info.encoded_name(), 100, 7);
    fs.put_if_absent(&path, "left over".into()).await.expect("put");
    let settings = ServerSettings { replayed_flush_period_ms: 0, ..quick() };
    let second = Rig::empty(Plan { fs: fs.clone(), settings, ..Plan::default() }, 2).await;
    second.open(&second.info, 200, 2).await.expect("open");
    until("a flush", || second.metric("ferrobase_flushes_total") == 1).await;
    until("a collection", || second.metric("ferrobase_collected_files_total") >= 1).await;
    assert!(!fs.exists(&path).await.expect("look"));
    assert_eq!(second.value("r", "q").await.as_deref(), Some("v"));
}
