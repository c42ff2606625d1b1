use std::time::Duration;

use ferrobase_client::{Row, RowStream};
use futures::TryStreamExt;
use model::query::Scan;
use model::{Cell, ErrorKind};
use protocol::messages as pb;

use crate::script::*;

/// A row's cells: `q0`, `q1`, …
fn cells(row: &str, from: usize, to: usize) -> Vec<Cell> {
    (from..to).map(|n| cell(row, &format!("q{n}"), "v")).collect()
}

fn page(more_in_region: bool, rows: &[(Vec<Cell>, bool)]) -> Act {
    let answer = pb::ScanResponse {
        scanner_id: Some(5),
        more_results: Some(true),
        more_results_in_region: Some(more_in_region),
        mvcc_read_point: Some(42),
        ttl: Some(60_000),
        ..pb::ScanResponse::default()
    };
    Act::Reply(scan_reply(answer, rows))
}

fn heartbeat(cursor: Option<&str>) -> Act {
    let answer = pb::ScanResponse {
        scanner_id: Some(5),
        more_results: Some(true),
        more_results_in_region: Some(true),
        heartbeat_message: Some(true),
        cursor: cursor.map(|row| pb::Cursor { row: Some(row.to_owned().into()) }),
        ..pb::ScanResponse::default()
    };
    Act::Reply(scan_reply(answer, &[]))
}

fn unknown_scanner() -> Act {
    fail(ErrorKind::NotFound, "UnknownScannerException")
}

/// Rows as `row:qualifier,…`, with `+` where the row goes on.
async fn read(rows: RowStream) -> Vec<String> {
    let shown = |row: Row| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let columns: Vec<_> = row.cells.iter().map(|cell| text(cell.qualifier())).collect();
        format!("{}:{}{}", text(row.row().expect("cells")), columns.join(","), if row.partial { "+" } else { "" })
    };
    rows.map_ok(shown).try_collect().await.expect("scan")
}

fn opened(script: &std::sync::Arc<Script>) -> Vec<pb::ScanRequest> {
    let requests = script.seen("Scan").into_iter().map(|seen| seen.decode::<pb::ScanRequest>());
    requests.filter(|request| request.scan.is_some()).collect()
}

#[tokio::test]
async fn a_scanner_lost_in_the_middle_of_a_row_costs_neither_rows_nor_cells() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next(
        "Scan",
        [
            page(true, &[(cells("a", 0, 2), false), (cells("b", 0, 2), true)]),
            unknown_scanner(),
            page(true, &[(cells("b", 0, 3), true)]),
            fail(ErrorKind::NotFound, "exceptions.ScannerResetException"),
            page(true, &[(cells("b", 0, 4), true)]),
            page(false, &[(cells("b", 4, 5), false), (cells("c", 0, 1), false)]),
        ],
    );
    let rows = read(script.table().await.scan(Scan::default())).await;
    assert_eq!(rows, ["a:q0,q1", "b:q0,q1,q2,q3,q4", "c:q0"]);
    let starts: Vec<_> = opened(&script)
        .into_iter()
        .filter_map(|request| request.scan)
        .map(|scan| (scan.start_row().to_vec(), scan.include_start_row(), scan.mvcc_read_point()))
        .collect();
    assert_eq!(starts[0].0, b"");
    assert_eq!(starts[1..], [(b"a".to_vec(), false, 42), (b"a".to_vec(), false, 42)], "one read point for the region");
}

#[tokio::test]
async fn pieces_given_are_not_given_again() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next(
        "Scan",
        [
            page(true, &[(cells("b", 0, 2), true)]),
            unknown_scanner(),
            page(true, &[(cells("b", 0, 1), true), (cells("b", 1, 3), true)]),
            page(false, &[(cells("b", 3, 4), false), (cells("c", 0, 1), false)]),
        ],
    );
    let scan = Scan { allow_partial_results: true, ..Scan::default() };
    assert_eq!(read(script.table().await.scan(scan)).await, ["b:q0,q1+", "b:q2+", "b:q3", "c:q0"]);
    let again = opened(&script).remove(1).scan.expect("scan");
    assert_eq!((again.start_row(), again.include_start_row()), (&b"b"[..], true));
}

#[tokio::test]
async fn pieces_of_a_batch_are_put_together_again_after_a_loss() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next(
        "Scan",
        [
            page(true, &[(cells("b", 0, 2), true), (cells("b", 2, 3), true)]),
            unknown_scanner(),
            page(false, &[(cells("b", 0, 2), true), (cells("b", 2, 4), true), (cells("b", 4, 5), false)]),
        ],
    );
    let scan = Scan { batch: Some(2), ..Scan::default() };
    assert_eq!(read(script.table().await.scan(scan)).await, ["b:q0,q1+", "b:q2,q3+", "b:q4"]);
}

#[tokio::test]
async fn calls_out_of_order_are_forgiven_once() {
    let out_of_order = || fail(ErrorKind::NotFound, "exceptions.OutOfOrderScannerNextException");
    let script = Script::live(&[(region("", ""), 1)]);
    script.next("Scan", [page(true, &[(cells("a", 0, 1), false)]), out_of_order(), page(false, &[])]);
    assert_eq!(read(script.table().await.scan(Scan::default())).await, ["a:q0"]);
    script.next("Scan", [page(true, &[(cells("a", 0, 1), false)]), out_of_order(), out_of_order()]);
    let mut rows = script.table().await.scan(Scan::default());
    assert!(rows.next_row().await.expect("a row").is_some());
    assert_eq!(rows.next_row().await.expect_err("twice").class(), "OutOfOrderScannerNextException");
    assert!(rows.next_row().await.expect("over").is_none());
}

#[tokio::test]
async fn a_region_that_moves_under_a_scan_is_followed() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next(
        "Scan",
        [
            page(true, &[(cells("a", 0, 1), false)]),
            fail(ErrorKind::NotServing, "NotServingRegionException"),
            page(false, &[(cells("b", 0, 1), false)]),
        ],
    );
    let table = script.table().await;
    let mut rows = table.scan(Scan::default());
    assert!(rows.next_row().await.expect("a row").is_some());
    script.place(&region("", ""), 2);
    assert_eq!(read(rows).await, ["b:q0"]);
    let asked: Vec<_> = script.seen("Scan").iter().map(|seen| seen.address.clone()).collect();
    assert_eq!((asked.first(), asked.last()), (Some(&"s1:1".to_owned()), Some(&"s2:2".to_owned())));
}

#[tokio::test]
async fn calls_of_a_scanner_are_numbered() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next("Scan", (0..4).map(|n| page(n < 3, &[(cells(&format!("r{n}"), 0, 1), false)])));
    assert_eq!(read(script.table().await.scan(Scan::default())).await.len(), 4);
    let numbers: Vec<_> =
        script.seen("Scan").iter().map(|seen| seen.decode::<pb::ScanRequest>().next_call_seq).collect();
    assert_eq!(numbers, [None, Some(0), Some(1), Some(2)]);
}

#[tokio::test]
async fn a_server_that_takes_its_time_is_not_given_up() {
    let script = Script::new(&[(region("", ""), 1)]);
    let slow = || Act::After(Duration::from_secs(15), Box::new(heartbeat(None)));
    script.next("Scan", (0..20).map(|_| slow()).chain([page(false, &[(cells("z", 0, 1), false)])]));
    assert_eq!(read(script.table().await.scan(Scan::default())).await, ["z:q0"]);
    assert!(script.now() >= Duration::from_secs(300), "five times what one operation may take without an answer");
    // Without any answer it is.
    script.rule(|seen| (seen.method() == "Scan").then_some(Act::Hang));
    let begin = script.now();
    let error = script.table().await.scan(Scan::default()).next_row().await.expect_err("no answer");
    assert!(error.is_retriable() && script.now() - begin <= Duration::from_secs(60), "{error}");
}

#[tokio::test]
async fn cursors_are_given_to_who_asks_for_them() {
    for need_cursor in [true, false] {
        let script = Script::live(&[(region("", ""), 1)]);
        script.next("Scan", [heartbeat(Some("k")), heartbeat(Some("p")), page(false, &[(cells("z", 0, 1), false)])]);
        let mut rows = script.table().await.scan(Scan { need_cursor, ..Scan::default() });
        if need_cursor {
            for at in ["k", "p"] {
                let row = rows.next_row().await.expect("scan").expect("a cursor");
                assert_eq!((row.is_empty(), row.cursor.as_deref()), (true, Some(at.as_bytes())));
            }
        }
        assert_eq!(read(rows).await, ["z:q0"]);
    }
}

#[tokio::test]
async fn the_limit_is_told_and_kept() {
    let script = Script::live(&[(region("", "m"), 1), (region("m", ""), 1)]);
    let many = |rows: &[&str]| rows.iter().map(|row| (cells(row, 0, 1), false)).collect::<Vec<_>>();
    script.next("Scan", [page(false, &many(&["a", "b"])), page(true, &many(&["n", "o", "p", "q"]))]);
    let scan = Scan { limit: Some(4), ..Scan::default() };
    assert_eq!(read(script.table().await.scan(scan)).await, ["a:q0", "b:q0", "n:q0", "o:q0"]);
    let told: Vec<_> = opened(&script)
        .iter()
        .map(|request| (request.limit_of_rows(), request.number_of_rows(), request.close_scanner()))
        .collect();
    assert_eq!(told, [(4, 4, true), (2, 2, true)], "few rows need no scanner that stays open");
    assert_eq!(script.seen("Scan").len(), 2);
}

#[tokio::test]
async fn caching_and_size_are_told() {
    let script = Script::live(&[(region("", ""), 1)]);
    let scan = Scan { caching: Some(7), max_result_size: Some(1234), ..Scan::default() };
    read(script.table().await.scan(scan)).await;
    let request = opened(&script).remove(0);
    assert_eq!((request.number_of_rows(), request.scan.expect("scan").max_result_size()), (7, 1234));
    read(script.table().await.scan(Scan::default())).await;
    let request = opened(&script).remove(1);
    assert_eq!((request.number_of_rows(), request.scan.expect("scan").max_result_size()), (128, 2 << 20));
    read(script.table().await.scan(Scan { limit: Some(5000), ..Scan::default() })).await;
    assert_eq!(opened(&script).remove(2).number_of_rows(), 5000, "all of them are wanted");
}

/// Who stops early has had little more read than what was taken.
#[tokio::test]
async fn batches_grow_with_what_was_given_and_are_asked_for_at_half_of_the_one_before() {
    let script = Script::live(&[(region("", ""), 1)]);
    let answer = pb::ScanResponse { scanner_id: Some(5), more_results: Some(true), ..pb::ScanResponse::default() };
    let answer = pb::ScanResponse { more_results_in_region: Some(true), ..answer };
    let rows_of = |name: &str| (0..300).map(|n| (cells(&format!("{name}{n:03}"), 0, 1), false)).collect::<Vec<_>>();
    script.next("Scan", [Act::Reply(scan_reply(answer, &rows_of("a")))]);
    script.next("Scan", [page(true, &rows_of("b")), page(false, &[])]);
    let mut rows = script.table().await.scan(Scan::default());
    let asked = || {
        let seen = script.seen("Scan");
        seen.iter().map(|seen| seen.decode::<pb::ScanRequest>().number_of_rows()).collect::<Vec<_>>()
    };
    for _ in 0..149 {
        assert!(rows.next_row().await.expect("scan").is_some());
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(asked(), [128]);
    assert!(rows.next_row().await.expect("scan").is_some());
    until(|| asked().len() == 2).await;
    for _ in 150..600 {
        assert!(rows.next_row().await.expect("scan").is_some());
    }
    assert!(rows.next_row().await.expect("scan").is_none());
    assert_eq!(asked(), [128, 150, 300]);
}

#[tokio::test]
async fn a_slow_readers_scanner_is_kept_alive_and_one_batch_is_read_ahead() {
    let script = Script::live(&[(region("", ""), 1)]);
    let answer = pb::ScanResponse {
        scanner_id: Some(5),
        more_results: Some(true),
        more_results_in_region: Some(true),
        ttl: Some(90),
        ..pb::ScanResponse::default()
    };
    let first = scan_reply(answer, &[(cells("a", 0, 1), false)]);
    script.next("Scan", [Act::Reply(first)]);
    script.next("Scan", (0..3).map(|n| page(true, &[(cells(&format!("b{n}"), 0, 1), false)])));
    let mut rows = script.table().await.scan(Scan::default());
    assert!(rows.next_row().await.expect("scan").is_some());
    let renewed = || script.seen("Scan").iter().filter(|seen| seen.decode::<pb::ScanRequest>().renew()).count();
    until(|| renewed() >= 3).await;
    assert_eq!(script.seen("Scan").len() - renewed(), 2, "the first, and one more");
    drop(rows);
}

#[tokio::test]
async fn a_stream_dropped_before_its_end_closes_its_scanner() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next("Scan", [page(true, &[(cells("a", 0, 1), false)])]);
    script.rule(|seen| (seen.method() == "Scan").then(|| heartbeat(None)));
    let mut rows = script.table().await.scan(Scan::default());
    assert!(rows.next_row().await.expect("scan").is_some());
    drop(rows);
    let closed = |seen: &Seen| {
        let request: pb::ScanRequest = seen.decode();
        request.close_scanner() && request.scanner_id == Some(5) && request.number_of_rows == Some(0)
    };
    until(|| script.seen("Scan").iter().any(closed)).await;
}

#[tokio::test]
async fn a_scan_that_failed_is_over() {
    let script = Script::live(&[(region("", ""), 1)]);
    script.next(
        "Scan",
        [page(true, &[(cells("a", 0, 1), false)]), fail(ErrorKind::Denied, "security.AccessDeniedException")],
    );
    let mut rows = script.table().await.scan(Scan::default());
    assert!(rows.next_row().await.expect("scan").is_some());
    assert_eq!(rows.next_row().await.expect_err("denied").kind(), ErrorKind::Denied);
    assert!(rows.next_row().await.expect("over").is_none());
}

#[tokio::test]
async fn answers_to_scans_that_make_no_sense_are_errors() {
    let good = |rows: &[(Vec<Cell>, bool)]| match page(false, rows) {
        Act::Reply(reply) => reply,
        _ => unreachable!("a page is a reply"),
    };
    let mut torn = good(&[(cells("a", 0, 3), false)]);
    torn.cells.truncate(torn.cells.len() - 1);
    let mut counts: pb::ScanResponse = good(&[(cells("a", 0, 3), false)]).decode().expect("answer");
    counts.cells_per_result[0] = u32::MAX;
    let no_scanner = pb::ScanResponse { scanner_id: None, more_results_in_region: Some(true), ..Default::default() };
    for reply in [torn, scan_reply(counts, &[]), scan_reply(no_scanner, &[])] {
        let script = Script::live(&[(region("", ""), 1)]);
        script.next("Scan", [Act::Reply(reply)]);
        let error = script.table().await.scan(Scan::default()).next_row().await.expect_err("nonsense");
        assert!(!error.is_retriable(), "{error}");
        assert_eq!(
            script.seen("Scan").iter().filter(|seen| !seen.decode::<pb::ScanRequest>().close_scanner()).count(),
            1
        );
    }
}

#[tokio::test]
async fn a_scan_over_nothing_asks_nobody() {
    let script = Script::live(&[(region("", ""), 1)]);
    let scan = Scan { start_row: "r".into(), stop_row: "r".into(), ..Scan::default() };
    assert!(read(script.table().await.scan(scan)).await.is_empty());
    assert!(script.seen("Scan").is_empty());
}

#[tokio::test]
async fn a_row_that_never_comes_through_ends_with_the_time() {
    let script = Script::new(&[(region("", ""), 1)]);
    let turn = std::sync::atomic::AtomicUsize::new(0);
    script.rule(move |seen| {
        let turn = (seen.method() == "Scan").then(|| turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst))?;
        Some(if turn % 2 == 0 { page(true, &[(cells("wide", 0, 2), true)]) } else { unknown_scanner() })
    });
    let error = script.table().await.scan(Scan::default()).next_row().await.expect_err("lost again and again");
    assert!(error.is_retriable() && script.now() <= Duration::from_secs(61), "{error} {:?}", script.now());
}

#[tokio::test]
async fn a_wait_for_a_row_that_is_given_up_loses_nothing() {
    use futures::FutureExt;
    let script = Script::live(&[(region("", ""), 1)]);
    let late = |act: Act| Act::After(Duration::from_millis(10), Box::new(act));
    script.next("Scan", (0..4).map(|n| late(page(n < 3, &[(cells(&format!("r{n}"), 0, 1), false)]))));
    let mut rows = script.table().await.scan(Scan::default());
    let mut got = Vec::new();
    let mut given_up = 0;
    loop {
        match rows.next_row().now_or_never() {
            Some(Ok(Some(row))) => got.push(row),
            Some(end) => break assert!(end.expect("scan").is_none()),
            None => {
                given_up += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    assert!(given_up > 5, "{given_up}");
    assert_eq!(got.iter().map(|row| row.row().expect("cells")).collect::<Vec<_>>(), [b"r0", b"r1", b"r2", b"r3"]);
}
