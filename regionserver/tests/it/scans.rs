use std::sync::Arc;

use ferrobase_regionserver::ServerSettings;
use model::filter::Filter;
use model::query::Scan;
use protocol::messages as pb;
use runtime::clock::ManualClock;

use crate::rig::*;

/// Rows r00, r01, … with three cells each.
async fn filled(rows: usize) -> Rig {
    let rig = Rig::new().await;
    fill(&rig, rows).await;
    rig
}

async fn fill(rig: &Rig, rows: usize) {
    for row in 0..rows {
        let mut change = put(&format!("r{row:02}"), "f", "a", "1");
        for qualifier in ["b", "c"] {
            change.cells.extend(put(&format!("r{row:02}"), "f", qualifier, "1").cells);
        }
        rig.mutate(&change).await.expect("put");
    }
}

fn next(page: &Page, rows: u32) -> pb::ScanRequest {
    pb::ScanRequest {
        scanner_id: Some(page.id()),
        number_of_rows: Some(rows),
        client_handles_partials: Some(true),
        ..pb::ScanRequest::default()
    }
}

#[tokio::test]
async fn a_scan_is_opened_read_on_and_ends_by_itself() {
    let rig = filled(5).await;
    let first = rig.scan(&rig.scan_request(&Scan::default(), 2)).await.expect("open");
    assert_eq!((first.keys(), first.more()), (vec!["r00".to_owned(), "r01".to_owned()], (true, true)));
    assert_eq!(first.answer.ttl, Some(60_000));
    assert!(first.answer.mvcc_read_point.expect("set") > 0);
    assert_eq!(first.rows[0].0.len(), 3);
    let second = rig.scan(&next(&first, 2)).await.expect("next");
    assert_eq!((second.id(), second.more()), (first.id(), (true, true)));
    let last = rig.scan(&next(&first, 2)).await.expect("next");
    assert_eq!((last.keys(), last.more()), (vec!["r04".to_owned()], (true, false)));
    // It is closed; what comes late is answered with its id alone.
    let late = rig.scan(&next(&first, 2)).await.expect("late");
    assert_eq!(late.answer, pb::ScanResponse { scanner_id: Some(first.id()), ..Default::default() });
    let unknown = pb::ScanRequest { scanner_id: Some(first.id() + 99), ..next(&first, 1) };
    assert_eq!(class(rig.scan(&unknown).await), "UnknownScannerException");
    assert_eq!(class(rig.scan(&pb::ScanRequest::default()).await), "DoNotRetryIOException");
}

#[tokio::test]
async fn an_opening_may_read_nothing_and_a_small_scan_does_all_at_once() {
    let rig = filled(3).await;
    let opened = rig.scan(&rig.scan_request(&Scan::default(), 0)).await.expect("open");
    assert_eq!((opened.rows.len(), opened.more()), (0, (true, true)));
    let close = pb::ScanRequest { scanner_id: Some(opened.id()), close_scanner: Some(true), ..Default::default() };
    let closed = rig.scan(&close).await.expect("close");
    assert_eq!((closed.rows.len(), closed.id(), closed.more()), (0, opened.id(), (true, true)));
    let small = pb::ScanRequest { close_scanner: Some(true), ..rig.scan_request(&Scan::default(), 2) };
    let page = rig.scan(&small).await.expect("small");
    assert_eq!(page.keys(), ["r00", "r01"]);
    assert_eq!(rig.scan(&next(&page, 1)).await.expect("late").rows.len(), 0, "it was closed");
    let missing = Scan { start_row: "x".into(), ..Scan::default() };
    let page = rig.scan(&rig.scan_request(&missing, 2)).await.expect("nothing there");
    assert_eq!((page.rows.len(), page.more()), (0, (true, false)));
    assert!(page.answer.cells_per_result.is_empty());
}

#[tokio::test]
async fn the_limit_of_rows_ends_the_whole_scan() {
    let rig = filled(6).await;
    let limited = |limit, request| pb::ScanRequest { limit_of_rows: Some(limit), ..request };
    let page = rig.scan(&limited(3, rig.scan_request(&Scan::default(), 100))).await.expect("open");
    assert_eq!((page.keys().len(), page.more()), (3, (false, false)));
    // Given with the opening only, and counted down by the client: both mean the same.
    for counted in [false, true] {
        let page = rig.scan(&limited(3, rig.scan_request(&Scan::default(), 2))).await.expect("open");
        assert_eq!((page.keys().len(), page.more()), (2, (true, true)));
        let request = next(&page, 2);
        let page = rig.scan(&if counted { limited(1, request) } else { request }).await.expect("next");
        assert_eq!((page.keys(), page.more()), (vec!["r02".to_owned()], (false, false)));
    }
    // Pieces of a row count once, when the row ends.
    let pieces = Scan { batch: Some(2), ..Scan::default() };
    let page = rig.scan(&limited(2, rig.scan_request(&pieces, 3))).await.expect("open");
    assert_eq!(
        page.rows.iter().map(|(cells, cut)| (cells.len(), *cut)).collect::<Vec<_>>(),
        [(2, true), (1, false), (2, true)]
    );
    let page = rig.scan(&limited(1, next(&page, 3))).await.expect("next");
    assert_eq!((page.keys(), page.more()), (vec!["r01".to_owned()], (false, false)));
}

#[tokio::test]
async fn an_answer_ends_at_its_size_inside_a_row_only_if_the_client_can_take_it() {
    let rig = filled(4).await;
    let tiny = Scan { max_result_size: Some(1), ..Scan::default() };
    let mut page = rig.scan(&rig.scan_request(&tiny, u32::MAX)).await.expect("open");
    let mut seen = Vec::new();
    loop {
        seen.extend(page.rows.iter().map(|(cells, cut)| (cells[0].row().to_vec(), cells.len(), *cut)));
        if !page.more().1 {
            break;
        }
        page = rig.scan(&next(&page, u32::MAX)).await.expect("next");
    }
    assert_eq!(seen.len(), 12, "cell by cell");
    assert_eq!(seen.iter().filter(|(_, _, cut)| !cut).count(), 4, "the last piece of each row is marked: {seen:?}");
    let whole = pb::ScanRequest { client_handles_partials: None, ..rig.scan_request(&tiny, u32::MAX) };
    let page = rig.scan(&whole).await.expect("open");
    assert_eq!((page.rows.len(), page.rows[0].0.len(), page.rows[0].1), (1, 3, false));
}

#[tokio::test]
async fn call_numbers_are_checked_when_they_are_sent() {
    let rig = filled(5).await;
    let page = rig.scan(&rig.scan_request(&Scan::default(), 1)).await.expect("open");
    let numbered =
        |number, renew| pb::ScanRequest { next_call_seq: Some(number), renew: Some(renew), ..next(&page, 1) };
    assert_eq!(rig.scan(&numbered(0, false)).await.expect("0").keys(), ["r01"]);
    let renewed = rig.scan(&numbered(1, true)).await.expect("1");
    assert_eq!((renewed.rows.len(), renewed.id(), renewed.more()), (0, page.id(), (true, true)));
    assert_eq!(class(rig.scan(&numbered(1, false)).await), "exceptions.OutOfOrderScannerNextException");
    assert_eq!(rig.scan(&numbered(2, false)).await.expect("2").keys(), ["r02"]);
    assert_eq!(rig.scan(&next(&page, 1)).await.expect("without").keys(), ["r03"]);
}

#[tokio::test]
async fn a_lease_ends_unless_the_scanner_is_used_or_renewed() {
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let settings = ServerSettings { scanner_lease_ms: 200, scanners_max: 2, ..ServerSettings::default() };
    let rig = Rig::with(Plan { settings, clock: Some(clock.clone()), ..Plan::default() }).await;
    fill(&rig, 9).await;
    let page = rig.scan(&rig.scan_request(&Scan::default(), 1)).await.expect("open");
    for renew in [true, false, true, false] {
        clock.advance_ms(150);
        rig.scan(&pb::ScanRequest { renew: Some(renew), ..next(&page, 1) }).await.expect("within the lease");
    }
    clock.advance_ms(201);
    assert_eq!(class(rig.scan(&next(&page, 1)).await), "UnknownScannerException");
    // Forgotten ones do not fill the table.
    for _ in 0..2 {
        rig.scan(&rig.scan_request(&Scan::default(), 1)).await.expect("open");
    }
    assert_eq!(class(rig.scan(&rig.scan_request(&Scan::default(), 1)).await), "RegionTooBusyException");
    clock.advance_ms(201);
    for _ in 0..2000 {
        if rig.scan(&rig.scan_request(&Scan::default(), 1)).await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("leases never ended");
}

#[tokio::test]
async fn a_scanner_keeps_what_it_sees_and_ends_with_its_region() {
    let rig = filled(6).await;
    let page = rig.scan(&rig.scan_request(&Scan::default(), 1)).await.expect("open");
    rig.put("r03", "a", "changed").await;
    rig.put("r99", "a", "new").await;
    let rest = rig.scan(&next(&page, 3)).await.expect("next");
    assert_eq!(rest.keys(), ["r01", "r02", "r03"]);
    assert_eq!(rest.rows[2].0[0].value(), b"1");
    // The same view again, asked for by its read point.
    let pinned = Scan { mvcc_read_point: page.answer.mvcc_read_point, ..Scan::default() };
    let again = rig.scan(&rig.scan_request(&pinned, 100)).await.expect("pinned");
    assert_eq!(again.answer.mvcc_read_point, page.answer.mvcc_read_point);
    assert_eq!((again.keys().len(), again.rows[3].0[0].value()), (6, &b"1"[..]));
    rig.close_region(&rig.info).await.expect("close");
    assert_eq!(class(rig.scan(&next(&page, 1)).await), "NotServingRegionException");
    assert_eq!(class(rig.scan(&next(&page, 1)).await), "UnknownScannerException");
}

#[tokio::test]
async fn filters_metrics_and_their_end() {
    let rig = filled(6).await;
    let mut scan = Scan::default();
    scan.selection.filter = Some(Filter::Prefix { prefix: "r02".into() });
    let request = pb::ScanRequest { track_scan_metrics: Some(true), ..rig.scan_request(&scan, 100) };
    let page = rig.scan(&request).await.expect("open");
    assert_eq!((page.keys(), page.more()), (vec!["r02".to_owned()], (true, false)));
    let metrics: Vec<_> = page.answer.scan_metrics.expect("metrics").metrics;
    let of = |name: &str| metrics.iter().find(|pair| pair.name() == name).and_then(|pair| pair.value);
    assert_eq!((of("ROWS_SCANNED"), of("ROWS_FILTERED")), (Some(4), Some(3)));
    scan.selection.filter = Some(Filter::Prefix { prefix: "a".into() });
    let page = rig.scan(&rig.scan_request(&scan, 100)).await.expect("open");
    assert_eq!((page.rows.len(), page.more()), (0, (false, false)), "the filter has ended the scan everywhere");
}
