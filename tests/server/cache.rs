//! The read cache of a server over a bucket: what was written or read is not fetched, and no loss of the cache is more than slow.

use std::path::{Path, PathBuf};
use std::process::Command;

use client::{Connection, Table};
use ferrobase_s3_fixture::{Entry, KEY, Server as Bucket};
use ferrobase_tests::process::Server;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, LATEST_TIMESTAMP};

use super::bucket::a_bucket;
use super::start::http;
use super::{ferrobase, said};

const DATA: &str = "s3://ferrobase/root";
const ROWS: u64 = 3000;
const VALUE: usize = 2000;

fn start(bucket: &Bucket, beside: &Path, extra: &[&str]) -> Server {
    let endpoint = bucket.endpoint();
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", KEY.0),
        ("AWS_SECRET_ACCESS_KEY", KEY.1),
        ("AWS_REGION", "us-east-1"),
    ];
    // A block cache that holds next to nothing of the table.
    let all = [&["--memory", "64M", "--http-port", "0"], extra].concat();
    Server::start_over(DATA, beside, &all, &environment)
}

fn value(row: u64, round: u64) -> Vec<u8> {
    (0..VALUE as u64).map(|at| ((row * 31 + round) ^ (at * at + row)) as u8).collect()
}

async fn table(server: &Server) -> Table {
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("it answers");
    connection.table("t".parse().expect("a name"))
}

async fn make(server: &Server) -> Table {
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("it answers");
    let family = FamilyDescriptor::new("f").with("COMPRESSION", "NONE").with("BLOCKSIZE", "16384");
    let descriptor = TableDescriptor::new("t".parse().expect("a name")).with_family(family);
    connection.admin().create_table(&descriptor, &[]).await.expect("a table is made");
    connection.table(descriptor.name)
}

async fn write(table: &Table, round: u64) {
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(200) {
        let puts = chunk.iter().map(|row| {
            let key = format!("row{row:06}");
            let mut put = Mutation::new(MutationKind::Put, key.clone());
            let cell = Cell::put(key.as_bytes(), b"f", b"v", LATEST_TIMESTAMP, &value(*row, round));
            put.cells.push(cell.expect("small"));
            put
        });
        for done in table.mutate_all(puts.collect()).await {
            done.expect("a put");
        }
    }
}

/// A full scan and some gets, each compared.
async fn check(table: &Table, round: u64) {
    let (mut rows, mut row) = (table.scan(Scan::default()), 0);
    while let Some(found) = rows.next_row().await.expect("a row") {
        assert!(found.value(b"f", b"v") == Some(value(row, round).into()), "row {row} of the scan");
        row += 1;
    }
    assert_eq!(row, ROWS);
    for i in 0..60 {
        let row = i * 7919 % ROWS;
        let found = table.get(&Get::new(format!("row{row:06}"))).await.expect("a get");
        assert!(found.value(b"f", b"v") == Some(value(row, round).into()), "row {row}");
    }
}

/// Runs a script in the shell.
fn shell(folder: &Path, server: &Server, script: &str) {
    let connect = format!("127.0.0.1:{}", server.port);
    let done = ferrobase(folder, &["shell", "--connect", &connect, "-c", script]);
    assert!(done.status.success(), "{:?}", said(&done));
}

/// Reads of store files since the last look, by key.
fn reads(bucket: &Bucket) -> Vec<String> {
    let reads =
        |entry: &Entry| ["get", "head"].contains(&entry.kind.as_str()) && entry.key.contains("/data/default/t/");
    bucket.take_log().into_iter().filter(reads).map(|entry| entry.key).collect()
}

fn cells_files(cache: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(cache).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "cells")).collect()
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = http(server.told["http_port"].as_u64().expect("a port"), "/metrics").1;
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_never_fetched_back_not_even_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (bucket, cache) = (a_bucket(&folder.join("store")).await, folder.join("cache"));
    let flags = ["--cache-dir", cache.to_str().expect("text"), "--cache-size", "128M"];
    let server = start(&bucket, &folder.join("one"), &flags);
    let table_of_one = make(&server).await;
    for round in 0..2 {
        write(&table_of_one, round).await;
        shell(folder, &server, "flush 't'");
        check(&table_of_one, round).await;
        assert_eq!(reads(&bucket), [""; 0], "after flush {round}");
    }
    shell(folder, &server, "major_compact 't'");
    check(&table_of_one, 1).await;
    assert_eq!(reads(&bucket), [""; 0], "after the compaction");
    assert!(metric(&server, "ferrobase_disk_cache_reads_total{result=\"hit\"}") > 0);
    assert!(metric(&server, "ferrobase_disk_cache_bytes") > ROWS * VALUE as u64);

    server.kill();
    bucket.take_log();
    let server = start(&bucket, &folder.join("two"), &flags);
    check(&table(&server).await, 1).await;
    assert_eq!(reads(&bucket), [""; 0], "after a kill");
    server.kill();

    // Damaged in every file: right answers, and the bad pieces are told.
    for (number, file) in cells_files(&cache).into_iter().enumerate() {
        let mut data = std::fs::read(&file).expect("read");
        (4096 + number * 100..data.len()).step_by(50_000).for_each(|at| data[at] ^= 0x20);
        std::fs::write(&file, data).expect("write");
    }
    let server = start(&bucket, &folder.join("three"), &flags);
    let table_of_three = table(&server).await;
    check(&table_of_three, 1).await;
    assert!(metric(&server, "ferrobase_disk_cache_damaged_total") > 10);
    assert!(!reads(&bucket).is_empty());

    // Deleted under the running server.
    std::fs::remove_dir_all(&cache).expect("removed");
    check(&table_of_three, 1).await;
    write(&table_of_three, 2).await;
    shell(folder, &server, "flush 't'; major_compact 't'");
    check(&table_of_three, 2).await;
    // One that the end would break off would begin again at the next start, and read.
    let begun = std::time::Instant::now();
    while metric(&server, "ferrobase_compactions_waiting") + metric(&server, "ferrobase_compactions_running") > 0 {
        assert!(begun.elapsed().as_secs() < 120, "the compaction does not end");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let told = server.log_text().matches("--cache-dir").count();
    assert_eq!(told, 1, "{}", server.log_text());
    assert_eq!(server.stop(), Some(0), "a graceful end");

    // Without a cache: no more than two requests open a store file, and a scan needs few.
    bucket.take_log();
    let server = start(&bucket, &folder.join("four"), &[]);
    shell(folder, &server, "get 't', 'none'");
    let opened = reads(&bucket);
    let most = opened.iter().map(|key| opened.iter().filter(|other| *other == key).count()).max();
    assert!(most.is_some_and(|most| most <= 2), "{opened:?}");
    let table = table(&server).await;
    let (mut rows, mut count) = (table.scan(Scan::default()), 0);
    while rows.next_row().await.expect("a row").is_some() {
        count += 1;
    }
    let scanned = reads(&bucket).len();
    // Block by block they would be 366; how long the stretches are depends on the room that `--memory` gives.
    assert!(count == ROWS && scanned <= 60, "{scanned} requests to scan {} KiB", ROWS as usize * VALUE / 1024);
    assert!(metric(&server, "ferrobase_disk_cache_reads_total{result=\"ahead\"}") > 100);
    assert_eq!(server.stop(), Some(0), "a graceful end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_cache_is_told_once_and_costs_only_speed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let disk = folder.join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(&disk).output().expect("mount");
    if !mount.status.success() {
        println!("mounting is not allowed here");
        return;
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            drop(Command::new("umount").arg("-l").arg(&self.0).status());
        }
    }
    let _mounted = Mounted(disk.clone());
    let (bucket, cache) = (a_bucket(&folder.join("store")).await, disk.join("cache"));
    let server =
        start(&bucket, &folder.join("one"), &["--cache-dir", cache.to_str().expect("text"), "--cache-size", "1G"]);
    let table = make(&server).await;
    for round in 0..3 {
        write(&table, round).await;
        shell(folder, &server, "flush 't'");
        check(&table, round).await;
    }
    shell(folder, &server, "major_compact 't'");
    check(&table, 2).await;
    let log = server.log_text();
    assert!(log.matches("--cache-dir").count() == 1 && log.contains("free space there"), "{log}");
    assert!(metric(&server, "ferrobase_disk_cache_failures_total") >= 1);
    assert!(metric(&server, "ferrobase_disk_cache_bytes") <= 4 << 20);
    assert_eq!(server.stop(), Some(0), "a graceful end");
}

#[test]
fn flags_that_make_no_sense_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("write");
    let s3 = "s3://nosuchbucket/root";
    for (flags, hint) in [
        (["--data", "./here", "--cache-dir", "cache", "--cache-size", "1G"], "is a folder"),
        (["--data", s3, "--cache-size", "1G", "--http-port", "off"], "--cache-dir DIR"),
        (["--data", s3, "--cache-dir", "cache", "--cache-size", "1M"], "at least 16M"),
        (["--data", s3, "--cache-dir", "cache", "--cache-size", "much"], "such as 64M"),
    ] {
        let mut command = Command::new(ferrobase_tests::process::binary());
        command.current_dir(folder.path()).env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "y");
        let output = command.args(["standalone", "--port", "0"]).args(flags).output().expect("ferrobase starts");
        assert!(output.status.code() == Some(2) && said(&output).1.contains(hint), "{flags:?}: {:?}", said(&output));
    }
    assert!(!folder.path().join("cache").exists() && !folder.path().join("here").exists());
}
