use std::time::Duration;

use bytes::Bytes;
use client::{Row, Table};
use futures::TryStreamExt;
use model::Cell;
use model::mutation::Mutation;
use model::query::Scan;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use regionserver::ServerSettings;

use crate::rig::*;

const ROWS: usize = 300;
const SPLITS: [&str; 4] = ["r0050", "r0051", "r0150", "r0220"];

fn row(n: usize) -> String {
    format!("r{n:04}")
}

/// Most rows have a few cells, some have many.
fn width(n: usize) -> usize {
    if n % 37 == 5 { 60 } else { 1 + n % 5 }
}

async fn filled(node: &Node) -> Table {
    let table = node.table("t", &SPLITS).await;
    let put = |n: usize| {
        let cells = (0..width(n)).map(|column| (format!("q{column:02}"), format!("value {n} {column}")));
        cells.fold(Mutation::put(row(n)), |put, (qualifier, value)| put.cell("f", qualifier, value).expect("cell"))
    };
    let answers = table.mutate_all((0..ROWS).map(put).collect()).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    table
}

fn key(cell: &Cell) -> (Bytes, Bytes) {
    (cell.row_bytes(), Bytes::copy_from_slice(cell.qualifier()))
}

/// What the scan should give: rows in order, with their number of cells.
fn expected(scan: &Scan) -> Vec<(String, usize)> {
    let wanted = |n: &usize| {
        let row = Bytes::from(row(*n));
        let (low, low_in, high, high_in) = match scan.reversed {
            false => (&scan.start_row, scan.include_start_row, &scan.stop_row, scan.include_stop_row),
            true => (&scan.stop_row, scan.include_stop_row, &scan.start_row, scan.include_start_row),
        };
        (low.is_empty() || row > low || low_in && row == low)
            && (high.is_empty() || row < high || high_in && row == high)
    };
    let mut rows: Vec<_> = (0..ROWS).filter(wanted).map(|n| (row(n), width(n))).collect();
    if scan.reversed {
        rows.reverse();
    }
    rows.truncate(scan.limit.map_or(usize::MAX, |limit| limit as usize));
    rows
}

/// Checks rows, order, completeness and the size of pieces.
fn check(scan: &Scan, rows: &[Row]) {
    let mut whole: Vec<(String, usize)> = Vec::new();
    let mut last: Option<(Bytes, Bytes)> = None;
    for piece in rows {
        assert!(piece.cursor.is_none() && !piece.is_empty(), "{scan:?}");
        let row = String::from_utf8_lossy(piece.row().expect("cells")).into_owned();
        let goes_on = whole.last().is_some_and(|(before, _)| *before == row);
        let pieces = scan.batch.is_some() || scan.allow_partial_results;
        assert!(!goes_on || pieces, "row {row} comes in pieces: {scan:?}");
        for cell in &piece.cells {
            let key = key(cell);
            if goes_on || key.1 != "q00" {
                let before = last.as_ref().expect("a cell before");
                assert!(before.0 == key.0 && before.1 < key.1, "{key:?} after {before:?}: {scan:?}");
            }
            last = Some(key);
        }
        if let Some(batch) = scan.batch {
            assert!(piece.cells.len() <= batch as usize && (piece.cells.len() == batch as usize || !piece.partial));
        }
        match whole.last_mut().filter(|_| goes_on) {
            Some((_, cells)) => *cells += piece.cells.len(),
            None => whole.push((row, piece.cells.len())),
        }
    }
    assert_eq!(whole, expected(scan), "{scan:?}");
}

fn any_scan(dice: &mut StdRng) -> Scan {
    let edge = |dice: &mut StdRng| match dice.random_range(0..5) {
        0 => Bytes::new(),
        1 => Bytes::copy_from_slice(SPLITS[dice.random_range(0..SPLITS.len())].as_bytes()),
        2 => Bytes::from(format!("r{:04}x", dice.random_range(0..ROWS))),
        _ => Bytes::from(row(dice.random_range(0..ROWS))),
    };
    let reversed = dice.random_bool(0.4);
    let (mut start_row, mut stop_row) = (edge(dice), edge(dice));
    if !start_row.is_empty() && !stop_row.is_empty() && (start_row > stop_row) != reversed {
        std::mem::swap(&mut start_row, &mut stop_row);
    }
    let mut some = |chance: f64, most: u32| dice.random_bool(chance).then(|| dice.random_range(1..=most));
    let (limit, batch, caching) = (some(0.4, 120), some(0.3, 9), some(0.5, 40));
    let max_result_size = some(0.5, 6000).map(u64::from);
    let mut yes = |chance: f64| dice.random_bool(chance);
    Scan {
        start_row,
        stop_row,
        include_start_row: yes(0.7),
        include_stop_row: yes(0.3),
        reversed,
        limit,
        batch,
        caching,
        max_result_size,
        allow_partial_results: yes(0.3),
        ..Scan::default()
    }
}

#[tokio::test]
async fn every_scan_gives_each_row_once_and_whole() {
    let node = Node::new().await;
    let table = filled(&node).await;
    for seed in 0..150 {
        let scan = any_scan(&mut StdRng::seed_from_u64(seed));
        let rows: Vec<Row> =
            table.scan(scan.clone()).try_collect().await.unwrap_or_else(|error| panic!("{seed}: {error}"));
        check(&scan, &rows);
    }
}

#[tokio::test]
async fn also_when_calls_and_answers_get_lost() {
    let node = Node::new().await;
    filled(&node).await;
    let (connection, faults) = node.faulty().await;
    let table = connection.table(name("t"));
    for seed in 1000..1080 {
        faults.at_random(seed, 5);
        // A row is read anew after a loss: its parts must be few enough to come through.
        let scan = any_scan(&mut StdRng::seed_from_u64(seed));
        let scan = Scan {
            caching: scan.caching.map(|rows| rows + 10),
            max_result_size: scan.max_result_size.map(|bytes| bytes + 1500),
            ..scan
        };
        let rows: Vec<Row> =
            table.scan(scan.clone()).try_collect().await.unwrap_or_else(|error| panic!("{seed}: {error}"));
        check(&scan, &rows);
    }
    assert!(faults.made() > 50, "{}", faults.made());
}

#[tokio::test]
async fn also_when_the_server_starts_anew_in_the_middle() {
    let mut node = Node::new().await;
    filled(&node).await;
    let address = node.address.to_string();
    for (round, reversed) in [false, true].into_iter().enumerate() {
        let table = builder(&address).open().await.expect("connection").table(name("t"));
        let batch = (round == 1).then_some(7);
        let scan = Scan { caching: Some(10), max_result_size: Some(2000), reversed, batch, ..Scan::default() };
        let mut stream = table.scan(scan.clone());
        let mut rows = Vec::new();
        for _ in 0..75 {
            rows.push(stream.next_row().await.expect("scan").expect("a row"));
        }
        let (fs, at) = node.close().await;
        node = Node::start(fs, at).await;
        while let Some(row) = stream.next_row().await.expect("scan") {
            rows.push(row);
        }
        check(&scan, &rows);
    }
}

#[tokio::test]
async fn a_slow_reader_keeps_its_scanner_and_its_view() {
    let node = Node::with(ServerSettings { scanner_lease_ms: 200, ..ServerSettings::default() }).await;
    let table = filled(&node).await;
    let scan = Scan { caching: Some(10), ..Scan::default() };
    let mut stream = table.scan(scan.clone());
    let mut rows = vec![stream.next_row().await.expect("scan").expect("a row")];
    // Written behind the scan in the region that it reads: not seen by it.
    table.mutate(put("r0049x", "later")).await.expect("put");
    tokio::time::sleep(Duration::from_millis(700)).await;
    while let Some(row) = stream.next_row().await.expect("scan") {
        rows.push(row);
    }
    check(&scan, &rows);
    let now: Vec<Row> = table.scan(Scan::between("r0049", "r0050")).try_collect().await.expect("scan");
    assert_eq!(now.len(), 2);
}

#[tokio::test]
async fn scans_dropped_early_leave_nothing_open() {
    let node = Node::new().await;
    let table = filled(&node).await;
    for _ in 0..20 {
        let mut stream = table.scan(Scan { caching: Some(3), ..Scan::default() });
        stream.next_row().await.expect("scan").expect("a row");
    }
    let closed = async {
        while !node.server.metrics().contains("\nferrobase_scanners_open 0\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("all scanners are closed");
}
