//! Flushes, compactions and writes beside each other.

use std::time::Duration;

use runtime::clock::ManualClock;

use super::*;
use crate::compaction::{Forced, Throttle};

fn late_put(row: &str, deadline: Duration) -> RowWrite {
    RowWrite { mutations: vec![put(row, "f", "q", 1, "v")], deadline: Some(deadline), ..RowWrite::default() }
}

/// Files of one family, written round by round.
async fn filled(region: &Arc<Region>, files: usize, value: &str) {
    for round in 0..files {
        for row in 0..20 {
            write(region, put(&format!("row{row:04}"), "f", "q", 1000 + round as i64, value)).await;
        }
        region.flush().await.expect("flush");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushes_and_other_compactions_do_not_wait_for_a_compaction() {
    let mut host = memory();
    let region = host.open().await;
    // More than one piece of a file, so that the compaction stands in the throttle.
    filled(&region, 3, &"v".repeat(60_000)).await;
    let throttle = Arc::new(Throttle::new(region.ctx.runtime.clock.clone(), 1 << 20));
    throttle.pass(3600 << 20).await;
    let compaction = {
        let (region, throttle) = (region.clone(), throttle.clone());
        runtime::task::spawn(
            "compaction",
            async move { region.compact_family(b"f", Forced::UserMajor, &throttle).await },
        )
    };
    while !region.is_compacting() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    filled(&region, 3, "small").await;
    let wanted = region.compactions_wanted();
    assert_eq!(wanted, [(Bytes::from("f"), 10)], "the new files are free");
    let free = Throttle::new(region.ctx.runtime.clock.clone(), 0);
    let done = region.compact_family(b"f", Forced::No, &free).await.expect("compact").expect("something");
    assert_eq!((done.files, done.major), (3, false));
    assert_eq!(region.files(b"f").len(), 4);
    assert!(!region.compact_files(b"f", 0..4, true).await.expect("asked"), "some of them are being compacted");
    assert!(!compaction.is_finished());
    assert_eq!(value(&region, "row0007", "q").await.as_deref(), Some("small"));
    compaction.abort();
    assert!(compaction.await.is_err());
    assert!(!region.is_compacting(), "what was taken is free again");
    assert_eq!(region.compact(true).await.expect("compact"), 1);
    assert_eq!(region.files(b"f").len(), 1);
    assert_eq!(host.fs.list("data").await.expect("list").len(), 1, "no file is left over");
    assert_eq!(rows(&region, &Scan::default()).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_family_that_is_dropped_during_its_compaction_does_not_come_back() {
    let mut host = memory();
    let region = host.open().await;
    filled(&region, 3, "v").await;
    let clock = region.ctx.runtime.clock.clone();
    let taken = region.take(b"f", |facts| Some((0..facts.len()).collect())).expect("three files");
    let mut without = (*table()).clone();
    without.families.remove(&b"f"[..]);
    region.update(Arc::new(without)).await.expect("update");
    let family = FamilyDescriptor::new("f");
    let throttle = Throttle::new(clock, 0);
    assert_eq!(region.rewrite(&family, taken, true, &throttle).await.expect("rewrite"), None);
    region.update(table()).await.expect("the family again");
    assert!(region.files(b"f").is_empty());
    region.close().await.expect("close");
    host.table = table();
    let region = host.open().await;
    assert!(rows(&region, &Scan::default()).await.is_empty());
}

#[tokio::test]
async fn files_whose_cells_have_all_expired_are_dropped_unread() {
    let clock = Arc::new(ManualClock::new(1_000_000));
    let mut host = memory();
    host.runtime.clock = clock.clone();
    let name = "t".parse().expect("name");
    host.table = Arc::new(TableDescriptor::new(name).with_family(FamilyDescriptor::new("f").with("TTL", "10")));
    let region = host.open().await;
    for round in 0..3 {
        write(&region, put("r", "f", &format!("q{round}"), clock_ms(&region), "v")).await;
        region.flush().await.expect("flush");
        clock.advance_ms(8_000);
    }
    assert_eq!(region.compactions_wanted().len(), 1);
    let throttle = Throttle::new(clock, 0);
    let done = region.compact_family(b"f", Forced::No, &throttle).await.expect("compact").expect("dropped");
    assert_eq!((done.files, done.written), (2, 0));
    assert_eq!(host.fs.list("data").await.expect("list").len(), 1);
    assert_eq!(rows(&region, &Scan::default()).await[0].len(), 1);
    assert!(region.compactions_wanted().is_empty());
}

fn clock_ms(region: &Arc<Region>) -> i64 {
    region.ctx.runtime.clock.now_ms()
}

#[tokio::test]
async fn a_write_that_comes_too_late_is_not_begun() {
    let mut host = memory();
    let region = host.open().await;
    let now = region.ctx.runtime.clock.monotonic();
    assert!(matches!(region.write(late_put("a", now)).await, Err(StorageError::Late)));
    // Waiting for the row, then for memory.
    let soon = || region.ctx.runtime.clock.monotonic() + Duration::from_millis(20);
    let row = region.row_locks.lock("b".into()).await;
    assert!(matches!(region.write(late_put("b", soon())).await, Err(StorageError::Late)));
    drop(row);
    let all = region.ctx.budget.try_take(region.ctx.budget.limit()).expect("free");
    let late = RowWrite { nonce: Some(Nonce { group: 1, nonce: 2 }), ..late_put("c", soon()) };
    assert!(matches!(region.write(late.clone()).await, Err(StorageError::Late)));
    assert_eq!(region.counters().writes_waited, 1);
    drop(all);
    assert_eq!(region.ctx.budget.used(), 0);
    assert!(rows(&region, &Scan::default()).await.is_empty(), "nothing of them happened");
    // The nonce of what did not happen is free.
    assert!(region.write(RowWrite { deadline: None, ..late }).await.expect("write").done);
    assert_eq!(rows(&region, &Scan::default()).await.len(), 1);
    let far = region.ctx.runtime.clock.monotonic() + Duration::from_secs(60);
    assert!(region.write(late_put("d", far)).await.expect("in time").done);
}

#[tokio::test]
async fn writes_wait_for_a_flush_and_are_then_told_to_try_again() {
    let mut host = memory();
    host.settings = RegionSettings { blocking_bytes: 2000, memory_wait_ms: 30, ..RegionSettings::default() };
    let region = host.open().await;
    write(&region, put("a", "f", "q", 1, &"v".repeat(3000))).await;
    let refused = region.mutate(vec![put("b", "f", "q", 1, "v")], None).await.expect_err("no flush comes");
    assert_eq!(refused.kind(), ErrorKind::Busy);
    assert_eq!(value(&region, "a", "q").await.expect("reads go on").len(), 3000);
    let patient = RegionSettings { memory_wait_ms: 60_000, ..host.settings.clone() };
    drop(region);
    host.settings = patient;
    let region = host.open().await;
    let waiting = {
        let region = region.clone();
        runtime::task::spawn("writer", async move { region.mutate(vec![put("b", "f", "q", 1, "v")], None).await })
    };
    while region.counters().writes_waited == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(region.flush().await.expect("flush"));
    assert!(waiting.await.expect("task").expect("room now").done);
    // A table's own flush size comes with its own bound.
    let mut sized = (*table()).clone();
    sized.attributes.insert("MEMSTORE_FLUSHSIZE".to_owned(), "1000000".into());
    region.update(Arc::new(sized)).await.expect("update");
    assert_eq!(region.flush_bytes(), 1_000_000);
    write(&region, put("c", "f", "q", 1, &"v".repeat(3000))).await;
    write(&region, put("d", "f", "q", 1, "v")).await;
}

#[tokio::test]
async fn the_log_tells_who_keeps_its_oldest_segments() {
    let mut host = memory();
    let region = host.open().await;
    let log = region.ctx.log.clone();
    for row in 0..30 {
        write(&region, put(&format!("r{row}"), "f", "q", 1, &"v".repeat(500))).await;
    }
    assert!(log.segments() > 3, "segments are small here");
    assert_eq!(log.oldest_regions(), std::slice::from_ref(region.log_name()));
    region.flush().await.expect("flush");
    assert!(log.oldest_regions().is_empty());
    assert!(log.segments() <= 2);
    assert!(log.counters().syncs >= 30 && log.counters().failures == 0);
}
