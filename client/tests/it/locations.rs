use std::time::Duration;

use model::ErrorKind;
use model::query::{Get, Scan};
use protocol::service::{MovedTo, RpcError};

use crate::script::*;

fn not_serving() -> Act {
    fail(ErrorKind::NotServing, "NotServingRegionException")
}

fn gets(script: &Script) -> Vec<String> {
    script.seen("Get").iter().map(|seen| seen.address.clone()).collect()
}

/// META has moved the region on; who asks the old server hears of nothing but the given failure.
async fn follows(act: Act, lookups: usize) {
    let script = Script::new(&[(region("", ""), 1)]);
    let table = script.table().await;
    table.get(&Get::new("r")).await.expect("get");
    script.place(&region("", ""), 2);
    script.rule(move |seen| (seen.method() == "Get" && seen.address == "s1:1").then(|| act.clone()));
    table.get(&Get::new("r")).await.expect("get");
    assert_eq!(gets(&script), ["s1:1", "s1:1", "s2:2"]);
    assert_eq!(script.seen("Lookup").len(), lookups);
}

#[tokio::test]
async fn a_location_is_forgotten_when_it_is_wrong() {
    follows(not_serving(), 2).await;
    follows(fail(ErrorKind::Moved, "regionserver.WrongRegionException"), 2).await;
    follows(fail(ErrorKind::NotServing, "regionserver.RegionServerStoppedException"), 2).await;
    follows(Act::Fail(RpcError::new(ErrorKind::Unavailable, "connection closed")), 2).await;
    follows(Act::Fail(RpcError::new(ErrorKind::Unknown, "connection broke")), 2).await;
    follows(Act::Fail(RpcError::new(ErrorKind::Fenced, "another server has it")), 2).await;
    follows(Act::Hang, 2).await;
}

#[tokio::test]
async fn a_server_that_says_where_the_region_went_saves_the_lookup() {
    let moved =
        RpcError::new(ErrorKind::Moved, "Region moved to: hostname=s2 port=2 startCode=1. As of locationSeqNum=9.");
    follows(Act::Fail(RpcError { moved_to: Some(MovedTo { host: "s2".to_owned(), port: 2 }), ..moved.clone() }), 1)
        .await;
    follows(Act::Fail(moved), 1).await;
    follows(Act::Fail(RpcError::new(ErrorKind::Moved, "Region moved to: nobody knows")), 2).await;
}

#[tokio::test]
async fn a_location_is_kept_when_the_server_only_asks_for_patience() {
    for class in
        ["RegionTooBusyException", "CallQueueTooBigException", "CallDroppedException", "RetryImmediatelyException"]
    {
        let script = Script::new(&[(region("", ""), 1)]);
        script.next("Get", [fail(ErrorKind::Busy, class)]);
        script.table().await.get(&Get::new("r")).await.expect("get");
        assert_eq!((gets(&script).len(), script.seen("Lookup").len()), (2, 1), "{class}");
    }
    let script = Script::new(&[(region("", ""), 1)]);
    script.next("Get", [fail(ErrorKind::NotServing, "exceptions.RegionOpeningException")]);
    script.table().await.get(&Get::new("r")).await.expect("get");
    assert_eq!((gets(&script).len(), script.seen("Lookup").len()), (2, 1));
}

#[tokio::test]
async fn a_stopped_server_takes_all_its_locations_along() {
    let script = Script::new(&[(region("", "m"), 1), (region("m", ""), 1)]);
    let table = script.table().await;
    table.get_all(&[Get::new("a"), Get::new("x")]).await.expect("gets");
    assert_eq!(script.seen("Lookup").len(), 2);
    script.place(&region("", "m"), 2);
    script.place(&region("m", ""), 3);
    script.next("Get", [fail(ErrorKind::NotServing, "regionserver.RegionServerStoppedException")]);
    table.get(&Get::new("a")).await.expect("get");
    table.get(&Get::new("x")).await.expect("get");
    assert_eq!(gets(&script), ["s1:1", "s2:2", "s3:3"], "the second region's old server was not asked");
}

#[tokio::test]
async fn a_location_serves_all_rows_of_its_region() {
    let script = Script::new(&[(region("", "g"), 1), (region("g", "p"), 2), (region("p", ""), 3)]);
    let table = script.table().await;
    for row in ["a", "fzz", "g", "ozz", "p", "\u{7f}", "a", "h"] {
        table.get(&Get::new(row)).await.expect("get");
    }
    assert_eq!(gets(&script), ["s1:1", "s1:1", "s2:2", "s2:2", "s3:3", "s3:3", "s1:1", "s2:2"]);
    assert_eq!(script.seen("Lookup").len(), 3);
    assert_eq!(script.seen("GetMetaRegionLocations").len(), 1);
}

#[tokio::test]
async fn a_gap_in_meta_is_waited_out() {
    let script = Script::new(&[(region("", "g"), 1), (region("p", ""), 3)]);
    let table = script.table().await;
    let error = table.get(&Get::new("h")).await.expect_err("nobody has it");
    assert!(error.kind() == ErrorKind::NotServing && script.now() > Duration::from_secs(30), "{error}");
    table.get(&Get::new("q")).await.expect("another region is not concerned");
}

#[tokio::test]
async fn calls_at_once_share_a_lookup() {
    let script = Script::live(&[(region("", ""), 1)]);
    let table = script.table().await;
    script.next("Lookup", [Act::After(Duration::from_millis(20), Box::new(Act::Plain))]);
    let gets: Vec<_> = (0..50).map(|n| Get::new(format!("r{n}"))).collect();
    let all = futures::future::join_all(gets.iter().map(|get| table.get(get)));
    for got in all.await {
        got.expect("get");
    }
    assert_eq!((script.seen("Get").len(), script.seen("Lookup").len()), (50, 1));
}

#[tokio::test]
async fn a_lookup_that_hangs_holds_nobody_up_longer_than_a_call() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next("Lookup", [Act::Hang]);
    let builder = script.builder().call_timeout(Duration::from_millis(50)).pause(Duration::from_millis(1));
    let table = builder.open().await.expect("connection").table(name());
    let gets: Vec<_> = (0..20).map(|n| Get::new(format!("r{n}"))).collect();
    let all = futures::future::join_all(gets.iter().map(|get| table.get(get)));
    for got in tokio::time::timeout(Duration::from_secs(10), all).await.expect("in time") {
        got.expect("get");
    }
    assert!(script.seen("Lookup").len() <= 3, "{}", script.seen("Lookup").len());
}

#[tokio::test]
async fn meta_is_looked_for_again_when_its_server_is_gone() {
    let script = Script::new(&[(region("", ""), 1)]);
    script.next("Lookup", [not_serving(), Act::Fail(RpcError::new(ErrorKind::Unavailable, "refused"))]);
    script.table().await.get(&Get::new("r")).await.expect("get");
    assert_eq!((script.seen("Lookup").len(), script.seen("GetMetaRegionLocations").len()), (3, 3));
}

#[tokio::test]
async fn a_scan_backwards_starts_in_the_last_region() {
    let script = Script::new(&[(region("", "g"), 1), (region("g", "p"), 2), (region("p", ""), 3)]);
    let mut rows = script.table().await.scan(Scan { reversed: true, ..Scan::default() });
    assert!(rows.next_row().await.expect("scan").is_none());
    let asked: Vec<_> = script.seen("Scan").iter().map(|seen| seen.address.clone()).collect();
    assert_eq!(asked, ["s3:3", "s2:2", "s1:1"]);
}
