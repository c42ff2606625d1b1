//! Store files of ours that the real HBase takes by its own tool, and reads and compacts as we do.
//!
//! Always true: both sides take the same files, and every cell of every scan is compared, byte by byte.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use client::{Connection, Table};
use ferrobase_hadoop_fixture::HBase;
use ferrobase_tests::process::{Server, binary};
use ferrobase_tests::{repository, setting};
use model::CellType;
use model::query::Scan;
use model::schema::{FamilyDescriptor, TableDescriptor};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;

const TABLE: &str = "t";
const COMPRESSIONS: [&str; 5] = ["NONE", "GZ", "SNAPPY", "LZ4", "ZSTD"];
const ENCODINGS: [&str; 5] = ["NONE", "PREFIX", "DIFF", "FAST_DIFF", "ROW_INDEX_V1"];
const BLOOMS: [&str; 4] = ["NONE", "ROW", "ROWCOL", "ROWPREFIX_FIXED_LENGTH"];
/// Where regions begin.
const SPLITS: [&[u8]; 3] = [b"\x40", b"common-prefix-\x80", b"\xc0\xff\x00"];
/// How long a compaction may take before the test fails.
const COMPACTION_MAX: Duration = Duration::from_secs(60);

/// Each compression with each encoding, the Bloom filters in turn.
fn families() -> Vec<FamilyDescriptor> {
    let family = |at: usize| {
        let (compression, encoding) = (COMPRESSIONS[at / ENCODINGS.len()], ENCODINGS[at % ENCODINGS.len()]);
        let mut family = FamilyDescriptor::new(name(at))
            .with("COMPRESSION", compression)
            .with("DATA_BLOCK_ENCODING", encoding)
            .with("BLOOMFILTER", BLOOMS[at % BLOOMS.len()])
            .with("VERSIONS", "3")
            .with("BLOCKSIZE", "1024");
        family.configuration.insert("RowPrefixBloomFilter.prefix_length".to_owned(), "3".to_owned());
        family
    };
    (0..COMPRESSIONS.len() * ENCODINGS.len()).map(family).collect()
}

fn name(family: usize) -> String {
    format!("f{family:02}")
}

/// A family as the Java side is told of it.
fn told(family: &FamilyDescriptor) -> String {
    let mut text = String::from_utf8(family.name.to_vec()).expect("text");
    for (key, value) in &family.attributes {
        write!(text, ";{key}={}", String::from_utf8_lossy(value)).expect("a string takes all");
    }
    for (key, value) in &family.configuration {
        write!(text, ";{key}={value}").expect("a string takes all");
    }
    text
}

fn one_of<'a>(dice: &mut StdRng, all: &'a [Vec<u8>]) -> &'a [u8] {
    &all[dice.random_range(0..all.len())]
}

fn some_bytes(dice: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    dice.fill_bytes(&mut bytes);
    bytes
}

/// Rows as JSON Lines: odd keys, columns and times, every kind of delete, several versions.
fn odd_rows(dice: &mut StdRng) -> String {
    let beginnings = [&b""[..], b"\0\0", b"common-prefix-", b"\xff\xfe"].map(<[u8]>::to_vec);
    let mut rows: Vec<Vec<u8>> = (0..150)
        .map(|_| {
            let len = dice.random_range(1..24);
            [one_of(dice, &beginnings), &some_bytes(dice, len)].concat()
        })
        .collect();
    rows.extend([vec![0], vec![0, 0], vec![255; 4], vec![b'k'; 2000]]);
    rows.extend(SPLITS.map(<[u8]>::to_vec));
    let mut columns = [&b""[..], b"\0", b"q", b"\xff:\0", b"a-long-common-prefix-1", b"a-long-common-prefix-2"]
        .map(<[u8]>::to_vec)
        .to_vec();
    columns.push(vec![b'c'; 300]);
    let times = [0, 1, 2, 1000, 1001, 1_700_000_000_000, i64::MAX - 1];
    let encoded = |bytes: &[u8]| json!({"b64": STANDARD.encode(bytes)});
    let mut lines = String::new();
    for row in &rows {
        let mut cells = Vec::new();
        for family in 0..COMPRESSIONS.len() * ENCODINGS.len() {
            for _ in 0..dice.random_range(0..7) {
                let kind = match dice.random_range(0..12) {
                    0 => "Delete",
                    1 => "DeleteColumn",
                    2 => "DeleteFamily",
                    3 => "DeleteFamilyVersion",
                    _ => "Put",
                };
                let column = if kind.starts_with("DeleteFamily") { b"" } else { one_of(dice, &columns) };
                let column = [name(family).as_bytes(), b":", column].concat();
                let time = times[dice.random_range(0..times.len())];
                let mut cell = json!({"column": encoded(&column), "timestamp": time, "type": kind});
                if kind == "Put" {
                    let value = match dice.random_range(0..8) {
                        0 => Vec::new(),
                        1 => some_bytes(dice, 3000),
                        2 => b"again and ".repeat(50),
                        _ => some_bytes(dice, 9),
                    };
                    cell["value"] = encoded(&value);
                }
                cells.push(cell);
            }
        }
        if !cells.is_empty() {
            writeln!(lines, "{}", json!({"row": encoded(row), "cells": cells})).expect("a string takes all");
        }
    }
    lines
}

/// Rows with cells that live for a time of their own, as tab-separated text: some are gone already. The time stands in the row's name.
fn tagged_rows(now_ms: i64) -> String {
    let mut lines = String::new();
    for beginning in ["!", "common-prefix-~", "ü", "\u{10ffff}"] {
        for at in 0..40_i64 {
            let ttl = if at % 4 == 0 { 1 + at } else { 86_400_000 + at };
            let time = now_ms - 3_600_000 + at % 3;
            writeln!(lines, "{beginning}ttl{ttl}\t{time}\t{ttl}\ta\tb{at}\tc\td\te").expect("a string takes all");
        }
    }
    lines
}

/// What HBase's files say of a cell that lives for a time: the time in a tag of type 8.
fn tags(row: &[u8]) -> String {
    let text = String::from_utf8_lossy(row);
    let Some(ttl) = text.rsplit_once("ttl").and_then(|(_, digits)| digits.parse::<i64>().ok()) else {
        return "-".to_owned();
    };
    format!("000908{ttl:016x}")
}

fn hex_or_dash(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { hex::encode(bytes) }
}

/// The cells of one scan, as lines of the Java side.
async fn scanned(table: &Table, raw: bool) -> Vec<String> {
    let scan = Scan { raw, ..Scan::default().with_versions(u32::MAX >> 1) };
    let (mut rows, mut lines) = (table.scan(scan), Vec::new());
    while let Some(row) = rows.next_row().await.expect("a scan") {
        for cell in &row.cells {
            let family = String::from_utf8_lossy(cell.family()).into_owned();
            lines.push(format!(
                "{} {family} {} {} {} {} {}",
                hex::encode(cell.row()),
                hex_or_dash(cell.qualifier()),
                cell.timestamp(),
                cell.as_ref().cell_type().0,
                hex_or_dash(cell.value()),
                tags(cell.row()),
            ));
        }
    }
    lines
}

fn has_deletes(lines: &[String]) -> bool {
    lines.iter().any(|line| {
        let kind = line.split(' ').nth(4).and_then(|kind| kind.parse().ok()).expect("a type");
        CellType(kind).is_delete()
    })
}

/// What a raw scan and a plain one of HBase's table show.
fn scanned_by_hbase(hbase: &HBase, folder: &Path) -> [Vec<String>; 2] {
    let out = folder.join("cells");
    hbase.run(&java(), &["cells", TABLE, &out.to_string_lossy()]);
    let text = std::fs::read_to_string(out).expect("written");
    let (raw, plain) = text.split_once("--\n").expect("two scans");
    [raw, plain].map(|text| text.lines().map(str::to_owned).collect())
}

fn same(what: &str, ours: &[String], hbase: &[String]) {
    let unlike = ours.iter().zip(hbase).find(|(ours, hbase)| ours != hbase);
    if let Some((ours, hbase)) = unlike {
        panic!("{what}:\nHBase: {hbase}\nours:  {ours}");
    }
    assert_eq!(ours.len(), hbase.len(), "{what}: as many cells");
}

fn java() -> String {
    repository().join("tests/compat/HBaseTable.java").to_string_lossy().into_owned()
}

fn ferrobase(folder: &Path, server: &Server, arguments: &[&str]) {
    let mut command = Command::new(binary());
    command.args(arguments).args(["--connect", &format!("127.0.0.1:{}", server.port), "--no-progress"]);
    let output = command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null()).output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: starts HBase's own server; tests/run long thrift"]
async fn hbase_takes_our_store_files_and_reads_and_compacts_them_as_we_do() {
    let seed = setting("HFILES_SEED", 1);
    println!("HFILES_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let server = Server::start(&folder.join("ours"), &[]);
    let hbase = HBase::start(&folder.join("theirs"));
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("a connection");
    let descriptor = families()
        .into_iter()
        .fold(TableDescriptor::new(TABLE.parse().expect("a name")), |table, family| table.with_family(family));
    let splits = SPLITS.map(bytes::Bytes::from_static);
    connection.admin().create_table(&descriptor, &splits).await.expect("created");
    let table = connection.table(descriptor.name.clone());
    let borders = SPLITS.map(hex::encode).join(",");
    let specs: Vec<String> = families().iter().map(told).collect();
    let create: Vec<&str> = ["create", TABLE, &borders].into_iter().chain(specs.iter().map(String::as_str)).collect();
    hbase.run(&java(), &create);

    // The files, made once; both sides take them, the tagged ones last.
    std::fs::write(folder.join("odd.jsonl"), odd_rows(&mut dice)).expect("written");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    std::fs::write(folder.join("tagged.tsv"), tagged_rows(i64::try_from(now).expect("a time"))).expect("written");
    let columns = "HBASE_ROW_KEY,HBASE_TS_KEY,HBASE_CELL_TTL,f00:,f06:q,f12:q,f18:q,f24:q";
    ferrobase(folder, &server, &["bulkload", TABLE, "odd.jsonl", "--hfiles-only", "odd"]);
    ferrobase(folder, &server, &["bulkload", TABLE, "tagged.tsv", "--columns", columns, "--hfiles-only", "tagged"]);
    for made in ["odd", "tagged"] {
        ferrobase(folder, &server, &["completebulkload", made, TABLE, "--verify"]);
        let url = format!("file://{}", folder.join(made).display());
        hbase.run("org.apache.hadoop.hbase.tool.BulkLoadHFilesTool", &[&url, TABLE]);
    }

    let [raw, plain] = scanned_by_hbase(&hbase, folder);
    println!("{} cells, {} of them visible", raw.len(), plain.len());
    assert!(has_deletes(&raw) && plain.len() > 1000 && raw.iter().any(|line| !line.ends_with(" -")), "a rich table");
    same("raw", &scanned(&table, true).await, &raw);
    same("plain", &scanned(&table, false).await, &plain);

    hbase.run(&java(), &["compact", TABLE]);
    let [raw_after, plain_after] = scanned_by_hbase(&hbase, folder);
    same("HBase's own, before and after its compaction", &plain, &plain_after);
    assert!(raw_after.len() < raw.len() && !has_deletes(&raw_after), "HBase has compacted");
    connection.admin().compact(table.name(), None, true).await.expect("asked for");
    let begun = Instant::now();
    let mut ours = scanned(&table, true).await;
    while has_deletes(&ours) || ours.len() > raw_after.len() {
        assert!(begun.elapsed() < COMPACTION_MAX, "{} cells, {} wanted", ours.len(), raw_after.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
        ours = scanned(&table, true).await;
    }
    same("raw after compactions", &ours, &raw_after);
    same("plain after compactions", &scanned(&table, false).await, &plain_after);
}
