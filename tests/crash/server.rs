//! kill -9 of a real `ferrobase standalone` under concurrent load, while clients go on: what was acknowledged is there, no row is half
//! there, and an increment whose answer was lost is retried with its nonce and happens once.
//!
//! The server comes back on the same port, so the clients' connections live through every kill. Memtables are so small that flushes and
//! compactions run all the time. Short form: 10 kills; long form: `tests/run long kill N [SEED]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Connection, Table};
use ferrobase_tests::process::Server;
use ferrobase_tests::setting;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub const WRITERS: u64 = 6;
const ROWS_PER_WRITER: u64 = 25;
const BATCH: u64 = 5;

fn put(row: &str, version: u64) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Put, row.to_owned());
    let value = format!("{version:0200}");
    for family in [b"f", b"g"] {
        mutation.cells.push(Cell::put(row.as_bytes(), family, b"v", version as i64, value.as_bytes()).expect("small"));
    }
    mutation
}

fn increment(row: &str) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Increment, row.to_owned());
    mutation.cells =
        vec![Cell::put(row.as_bytes(), b"f", b"n", LATEST_TIMESTAMP, &1_i64.to_be_bytes()).expect("small")];
    mutation
}

/// What the writers know; each row has one writer.
#[derive(Default)]
pub struct Known {
    /// Row → newest acknowledged and newest tried version.
    rows: Mutex<BTreeMap<String, (u64, u64)>>,
    pub incremented: AtomicU64,
    in_doubt: AtomicU64,
    pub acknowledged: AtomicU64,
    pub stop: AtomicBool,
}

impl Known {
    fn tried(&self, row: &str, version: u64) {
        self.rows.lock().entry(row.to_owned()).or_default().1 = version;
    }

    fn acknowledged(&self, row: &str, version: u64) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.rows.lock().get_mut(row).expect("tried before").0 = version;
    }

    /// Compares what is there with what is known.
    pub async fn check(&self, table: &Table) {
        let rows = self.rows.lock().clone();
        let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut scan = Scan::default();
        scan.selection.add_column("f", "v");
        scan.selection.add_column("g", "v");
        let mut stream = table.scan(scan);
        while let Some(row) = stream.next_row().await.expect("a scan of a living server") {
            let key = String::from_utf8_lossy(row.row().expect("rows are not empty")).into_owned();
            let versions =
                row.cells.iter().map(|cell| String::from_utf8_lossy(cell.value()).parse().expect("a number"));
            assert!(found.insert(key.clone(), versions.collect()).is_none(), "row {key} came twice");
        }
        for (row, (acknowledged, tried)) in rows {
            let versions = found.remove(&row).unwrap_or_default();
            if acknowledged == 0 && versions.is_empty() {
                continue;
            }
            assert_eq!(versions.len(), 2, "row {row} is half there: {versions:?}, {acknowledged} acknowledged");
            assert_eq!(versions[0], versions[1], "row {row} mixes two writes");
            let in_bounds = (acknowledged..=tried).contains(&versions[0]);
            assert!(in_bounds, "row {row}: {acknowledged} acknowledged, {tried} tried, found {}", versions[0]);
        }
        assert!(found.is_empty(), "rows nobody wrote: {found:?}");
        let counter = table.get(&Get::new("counter")).await.expect("a get from a living server");
        let value = counter
            .value(b"f", b"n")
            .map_or(0, |value| i64::from_be_bytes(value.as_ref().try_into().expect("eight bytes")));
        let (acknowledged, in_doubt) =
            (self.incremented.load(Ordering::SeqCst) as i64, self.in_doubt.load(Ordering::SeqCst) as i64);
        assert!(
            (acknowledged..=acknowledged + in_doubt).contains(&value),
            "{acknowledged} increments acknowledged, {in_doubt} in doubt, found {value}"
        );
    }
}

/// Writes versions from `first` on, until told to stop. `quiet` is held shared during each operation, so that a checker can wait for silence.
pub async fn write(known: Arc<Known>, table: Table, quiet: Arc<tokio::sync::RwLock<()>>, writer: u64, first: u64) {
    for step in first.. {
        if known.stop.load(Ordering::Relaxed) {
            return;
        }
        let _going = quiet.read().await;
        let row = |number: u64| format!("row{writer}-{:02}", number % ROWS_PER_WRITER);
        match step % 4 {
            0 => match table.mutate(increment("counter")).await {
                Ok(_) => {
                    known.incremented.fetch_add(1, Ordering::SeqCst);
                }
                Err(_) => {
                    known.in_doubt.fetch_add(1, Ordering::SeqCst);
                }
            },
            1 => {
                let rows: Vec<String> = (0..BATCH).map(|at| row(step * 7 + at)).collect();
                rows.iter().for_each(|row| known.tried(row, step));
                let results = table.mutate_all(rows.iter().map(|row| put(row, step)).collect()).await;
                for (row, result) in rows.iter().zip(results) {
                    if result.is_ok() {
                        known.acknowledged(row, step);
                    }
                }
            }
            _ => {
                let row = row(step);
                known.tried(&row, step);
                if table.mutate(put(&row, step)).await.is_ok() {
                    known.acknowledged(&row, step);
                }
            }
        }
    }
}

/// A table with memtables so small that flushes and compactions run all the time, and its splits.
pub fn small_table() -> (TableDescriptor, [Bytes; 2]) {
    let mut descriptor = TableDescriptor::new("t".parse().expect("a name"))
        .with_family(FamilyDescriptor::new("f").with("VERSIONS", "1"))
        .with_family(FamilyDescriptor::new("g"));
    descriptor.attributes.insert("MEMSTORE_FLUSHSIZE".into(), "65536".into());
    descriptor.configuration.insert("hbase.table.sanity.checks".into(), "false".into());
    (descriptor, [Bytes::from("row1"), Bytes::from("row3")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_counts_once() {
    let (kills, mut dice) = (setting("SERVER_KILLS", 10), StdRng::seed_from_u64(setting("KILL_SEED", 1)));
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let connection = Connection::builder(&format!("127.0.0.1:{port}"))
        .timeout(Duration::from_secs(120))
        .open()
        .await
        .expect("the server answers");
    let (descriptor, splits) = small_table();
    connection.admin().create_table(&descriptor, &splits).await.expect("a table is made");
    let table = connection.table(descriptor.name.clone());

    let known = Arc::new(Known::default());
    let quiet = Arc::new(tokio::sync::RwLock::new(()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(known.clone(), table.clone(), quiet.clone(), writer, 1)))
        .collect();
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..800))).await;
        server.kill();
        server = Server::start(&data, &["--port", &port]);
        if kill % 3 == 2 {
            let _silence = quiet.write().await;
            known.check(&table).await;
        }
    }
    known.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
    known.check(&table).await;
    let (acknowledged, incremented) =
        (known.acknowledged.load(Ordering::Relaxed), known.incremented.load(Ordering::SeqCst));
    assert!(acknowledged > kills && incremented > kills, "hardly anything was written: {acknowledged}, {incremented}");
    assert_eq!(server.stop(), Some(0), "a graceful end");
    println!("{kills} kills, {acknowledged} puts and {incremented} increments acknowledged: all there, once");
}
