//! Calls that come late, meet a closing region, are too large, or are repeated elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferrobase_regionserver::ServerSettings;
use filesystem::faulty::FaultyFilesystem;
use model::ErrorKind;
use model::mutation::MutationKind;
use model::query::{Get, Scan};
use protocol::messages as pb;
use protocol::service::CLIENT;
use protocol::{mutation, query, result};

use crate::rig::*;

/// A Multi of puts into the rig's region.
async fn multi_puts(
    rig: &Rig,
    changes: &[(model::mutation::Mutation, Option<u64>)],
    timeout: Option<Duration>,
) -> Result<(pb::RegionActionResult, protocol::cell_block::CellBlock), protocol::service::RpcError> {
    let mut block = BytesMut::new();
    let action = changes.iter().enumerate().map(|(index, (change, nonce))| pb::Action {
        index: Some(index as u32),
        mutation: Some(mutation::mutation_to(change, *nonce, &mut block)),
        ..pb::Action::default()
    });
    let action = pb::RegionAction { region: rig.region(), atomic: None, action: action.collect(), condition: None };
    let request = pb::MultiRequest { region_action: vec![action], nonce_group: Some(7), condition: None };
    let (answer, cells): (pb::MultiResponse, _) =
        rig.call_with(CLIENT, "Multi", &request, block.freeze(), timeout).await?;
    Ok((answer.region_action_result.into_iter().next().expect("one region"), cells))
}

fn class_of(entry: &pb::ResultOrException) -> Option<&str> {
    let exception = entry.exception.as_ref()?;
    exception.name.strip_prefix("org.apache.hadoop.hbase.")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_nonce_counts_once_also_on_the_next_server() {
    let first = Rig::new().await;
    let (answer, mut block) = first.mutate_if(&increment("r", 5), None, Some(1)).await.expect("increment");
    assert_eq!(number(&result::result_from(&answer.result.expect("a result"), &mut block).expect("cells")), 5);
    let mut append = put("r", "f", "text", "ab");
    append.kind = MutationKind::Append;
    let (done, _) = multi_puts(&first, &[(append.clone(), Some(2))], None).await.expect("multi");
    assert!(done.result_or_exception[0].exception.is_none());
    // One server dies, the next one closes cleanly: from the log, then from a file.
    let mut before = first;
    for life in 2..4 {
        let rig = Rig::empty(Plan { fs: before.fs.clone(), ..Plan::default() }, life).await;
        rig.open(&rig.info, life * 100, 2).await.expect("open");
        let (answer, mut block) = rig.mutate_if(&increment("r", 5), None, Some(1)).await.expect("again");
        let cells = result::result_from(&answer.result.expect("a result"), &mut block).expect("cells");
        assert_eq!(number(&cells), 5, "life {life}");
        let (done, _) = multi_puts(&rig, &[(append.clone(), Some(2))], None).await.expect("multi");
        assert!(done.result_or_exception[0].exception.is_none());
        assert_eq!(rig.value("r", "text").await.as_deref(), Some("ab"), "life {life}");
        rig.server.close().await.expect("close");
        before = rig;
    }
}

#[tokio::test]
async fn a_cell_above_the_limit_is_refused_and_its_neighbours_are_not() {
    let rig = Rig::new().await;
    let large = put("large", "f", "q", &"v".repeat(10 << 20));
    let error = rig.mutate(&large).await.expect_err("too large");
    assert_eq!((error.kind, error.short_class()), (ErrorKind::Invalid, "DoNotRetryIOException"));
    assert!(error.message.contains("10485760"), "{}", error.message);
    let changes = [(put("a", "f", "q", "1"), None), (large, None), (put("b", "f", "q", "1"), None)];
    let (done, _) = multi_puts(&rig, &changes, None).await.expect("multi");
    let classes: Vec<_> = done.result_or_exception.iter().map(class_of).collect();
    assert_eq!(classes, [None, Some("DoNotRetryIOException"), None]);
    for (row, there) in [("a", true), ("large", false), ("b", true)] {
        assert_eq!(rig.value(row, "q").await.is_some(), there, "{row}");
    }
    // A cell that just fits.
    let overhead = model::Cell::put(b"fits", b"f", b"q", 1, b"").expect("cell").bytes().len();
    rig.mutate(&put("fits", "f", "q", &"v".repeat((10 << 20) - overhead))).await.expect("fits");
}

#[tokio::test]
async fn what_comes_too_late_is_not_begun_and_says_so() {
    let rig = Rig::with(Plan { budget: 1 << 20, ..Plan::default() }).await;
    let budget = rig.budget.clone();
    let all = budget.try_take(budget.limit()).expect("free");
    let mut block = BytesMut::new();
    let mutation = mutation::mutation_to(&put("late", "f", "q", "v"), None, &mut block);
    let request = pb::MutateRequest { region: rig.region(), mutation, condition: None, nonce_group: None };
    let short = Some(Duration::from_millis(30));
    let answer = rig.call_with::<pb::MutateResponse>(CLIENT, "Mutate", &request, block.freeze(), short).await;
    let error = answer.expect_err("too late");
    assert_eq!((error.kind, error.short_class()), (ErrorKind::Busy, "CallDroppedException"));
    assert!(error.message.contains("nothing of it happened"), "{}", error.message);
    let changes = [(put("a", "f", "q", "v"), None), (increment("b", 1), Some(3))];
    let (done, _) = multi_puts(&rig, &changes, short).await.expect("multi");
    let classes: Vec<_> = done.result_or_exception.iter().map(class_of).collect();
    assert_eq!(classes, [Some("CallDroppedException"); 2]);
    drop(all);
    let page = rig.scan(&rig.scan_request(&Scan::default(), 10)).await.expect("scan");
    assert!(page.rows.is_empty());
    let (done, _) = multi_puts(&rig, &changes, Some(Duration::from_secs(60))).await.expect("in time");
    assert!(done.result_or_exception.iter().all(|entry| entry.exception.is_none()));
}

#[tokio::test]
async fn a_read_that_hangs_ends_with_its_call_and_the_next_one_works() {
    let fs = FaultyFilesystem::new();
    let plan = || Plan { fs: Arc::new(fs.clone()), ..Plan::default() };
    let before = Rig::with(plan()).await;
    before.put("r", "q", "v").await;
    before.flush().await.expect("flush");
    before.server.close().await.expect("close");
    let rig = Rig::empty(plan(), 2).await;
    rig.open(&rig.info, 101, 1).await.expect("open");
    fs.hang_reads(true);
    let short = Some(Duration::from_millis(30));
    let get = pb::GetRequest { region: rig.region(), get: query::get_to(&Get::new("r")) };
    let answer = rig.call_with::<pb::GetResponse>(CLIENT, "Get", &get, Bytes::new(), short).await;
    let late = (ErrorKind::Unavailable, "exceptions.TimeoutIOException");
    let error = answer.expect_err("the disk hangs");
    assert_eq!((error.kind, error.short_class()), late);
    let action = pb::Action { get: Some(query::get_to(&Get::new("r"))), index: Some(0), ..pb::Action::default() };
    let multi = pb::MultiRequest {
        region_action: vec![pb::RegionAction { region: rig.region(), action: vec![action], ..Default::default() }],
        ..pb::MultiRequest::default()
    };
    let (done, _) =
        rig.call_with::<pb::MultiResponse>(CLIENT, "Multi", &multi, Bytes::new(), short).await.expect("multi");
    assert_eq!(class_of(&done.region_action_result[0].result_or_exception[0]), Some("exceptions.TimeoutIOException"));
    let scan = rig.scan_request(&Scan::default(), 10);
    let answer = rig.call_with::<pb::ScanResponse>(CLIENT, "Scan", &scan, Bytes::new(), short).await;
    let error = answer.expect_err("the disk hangs");
    assert_eq!((error.kind, error.short_class()), late);
    assert_eq!(rig.metric("ferrobase_scanners_open"), 0, "the scanner went with its call");
    fs.hang_reads(false);
    assert_eq!(rig.value("r", "q").await.as_deref(), Some("v"));
    assert_eq!(rig.scan(&scan).await.expect("scan").keys(), ["r"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_closes_under_load_loses_nothing_it_acknowledged() {
    let rig = Arc::new(Rig::new().await);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (rig, acknowledged) = (rig.clone(), acknowledged.clone());
            tokio::spawn(async move {
                for at in 0.. {
                    let row = format!("w{writer}-{at:06}");
                    match rig.mutate(&put(&row, "f", "q", "v")).await {
                        Ok(_) => drop(acknowledged.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => {
                            assert_eq!(error.kind, ErrorKind::NotServing, "{error:?}");
                            return at;
                        }
                    }
                    let read = rig.get(&Get::new(row)).await;
                    assert!(read.map_or_else(|error| error.kind == ErrorKind::NotServing, |cells| cells.len() == 1));
                }
                unreachable!("writes end with an error")
            })
        })
        .collect();
    until("some writes", || acknowledged.load(Ordering::Relaxed) > 200).await;
    rig.close_region(&rig.info).await.expect("close");
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("writer");
    }
    rig.open(&rig.info, 200, 9).await.expect("open again");
    let scan = Scan { max_result_size: Some(1 << 30), ..Scan::default() };
    let page = rig.scan(&rig.scan_request(&scan, u32::MAX)).await.expect("scan");
    assert_eq!(page.keys().len(), written, "what was acknowledged, and nothing that was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scanner_outlives_flush_and_compaction() {
    let rig = Rig::new().await;
    for row in 0..20 {
        rig.put(&format!("r{row:02}"), "q", "old").await;
    }
    let page = rig.scan(&rig.scan_request(&Scan::default(), 5)).await.expect("open");
    for round in 0..3 {
        for row in 0..20 {
            rig.put(&format!("r{row:02}"), "q", &format!("new{round}")).await;
        }
        rig.flush().await.expect("flush");
        if round == 1 {
            rig.compact(true).await;
            rig.compacted().await;
        }
    }
    rig.compact(true).await;
    rig.compacted().await;
    let next = pb::ScanRequest {
        scanner_id: Some(page.id()),
        number_of_rows: Some(100),
        client_handles_partials: Some(true),
        ..pb::ScanRequest::default()
    };
    let rest = rig.scan(&next).await.expect("next");
    assert_eq!((rest.keys().len(), rest.more().1), (15, false));
    assert!(rest.rows.iter().all(|(cells, _)| cells.len() == 1 && cells[0].value() == b"old"));
    assert_eq!(rig.value("r07", "q").await.as_deref(), Some("new2"));
}

#[tokio::test]
async fn an_answer_to_a_scan_is_bounded_whatever_the_client_wants() {
    let settings = ServerSettings { result_bytes_max: 64 << 10, ..ServerSettings::default() };
    let rig = Rig::with(Plan { settings, ..Plan::default() }).await;
    let mut wide = put("wide", "f", "q000", "");
    wide.cells.clear();
    for column in 0..200 {
        wide.cells.extend(put("wide", "f", &format!("q{column:03}"), &"v".repeat(2000)).cells);
    }
    rig.mutate(&wide).await.expect("put");
    rig.put("x", "q", "v").await;
    let greedy = Scan { max_result_size: Some(u64::MAX), ..Scan::default() };
    let mut page = rig.scan(&rig.scan_request(&greedy, u32::MAX)).await.expect("open");
    let (mut cells, mut pages) = (0, 0);
    loop {
        let bytes: usize = page.rows.iter().flat_map(|(cells, _)| cells).map(|cell| cell.bytes().len()).sum();
        assert!(bytes <= (64 << 10) + 2100, "{bytes} bytes in an answer");
        cells += page.rows.iter().map(|(cells, _)| cells.len()).sum::<usize>();
        pages += 1;
        if !page.more().1 {
            break;
        }
        let next = pb::ScanRequest {
            scanner_id: Some(page.id()),
            number_of_rows: Some(u32::MAX),
            client_handles_partials: Some(true),
            ..pb::ScanRequest::default()
        };
        page = rig.scan(&next).await.expect("next");
    }
    assert_eq!(cells, 201);
    assert!(pages >= 7, "{pages}");
}
