//! `export` against a real server: what is exported and loaded into another table is what was there, cell for cell, whatever the layout; ranges,
//! times, versions, columns; folders by a value; exporters and servers that are killed, and runs that go on; what is refused.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use client::{Connection, Table};
use ferrobase_tests::process::Server;
use filesystem::Filesystem;
use filesystem::s3::{S3Filesystem, S3Settings};
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, CellOrder, CellType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use runtime::Runtime;
use serde_json::Value;

use super::bulk_load::{Tool, open};
use super::space::Mounted;
use super::{bucket, said};

const SPLITS: [&[u8]; 3] = [b"k", b"n\x00\xff", b"\xc3"];
/// Cells of the row that no answer of the server holds whole.
const WIDE_ROW_CELLS: usize = 6000;

async fn create(connection: &Connection, name: &str, splits: &[&'static [u8]]) -> Table {
    let family = |name: &str| FamilyDescriptor::new(name.to_owned()).with("VERSIONS", "5");
    let g = family("g").with("COMPRESSION", "ZSTD").with("DATA_BLOCK_ENCODING", "FAST_DIFF");
    let table = TableDescriptor::new(name.parse().expect("a name")).with_family(family("f")).with_family(g);
    let splits: Vec<Bytes> = splits.iter().map(|split| Bytes::from_static(split)).collect();
    connection.admin().create_table(&table, &splits).await.expect("created");
    connection.table(table.name)
}

async fn write(table: &Table, kind: MutationKind, cells: Vec<Cell>) {
    let mutations = cells.chunk_by(|a, b| a.row() == b.row()).map(|cells| {
        let mut mutation = Mutation::new(kind, cells[0].row_bytes());
        mutation.cells = cells.to_vec();
        mutation
    });
    for done in table.mutate_all(mutations.collect()).await {
        done.expect("written");
    }
}

fn put(row: &[u8], family: &str, qualifier: &[u8], time: i64, value: &[u8]) -> Cell {
    Cell::put(row, family.as_bytes(), qualifier, time, value).expect("a cell")
}

/// Rows of all kinds: text, bytes, versions, values without anything, deletes of each kind, and one row of several megabytes.
async fn fill(table: &Table) {
    let mut puts = Vec::new();
    let rows: [&[u8]; 9] =
        [b"\x00", b"a,b\"c\nd", b"a:b", "caf\u{e9}".as_bytes(), b"k", b"n", b"n\x00\xff", b"\xc3\x28", b"\xff\xff"];
    for (at, row) in rows.iter().enumerate() {
        for time in [10, 20, 30] {
            puts.push(put(row, "f", b"a", time, format!("value \"{at}\", {time}\n").as_bytes()));
        }
        puts.push(put(row, "f", b"\xff:\x00", 15, &[0, 159, 146, 150]));
        puts.push(put(row, "f", b"day", 12, [&b"2026-11-22"[..], b"a/b=%", b"\xff", b""][at % 4]));
        puts.push(put(row, "g", b"", 25, b""));
        puts.push(put(row, "g", b"n", 40, &[0; 9]));
    }
    // Neither with a day.
    puts.push(put(b"text1", "f", b"a", 10, b"one"));
    puts.push(put(b"text2", "g", b"b", 50, b" two "));
    write(table, MutationKind::Put, puts).await;
    for chunk in (0..WIDE_ROW_CELLS).collect::<Vec<_>>().chunks(1000) {
        let cell = |at: &usize| put(b"wide", "f", format!("q{at:05}").as_bytes(), 10, &[b'x'; 900]);
        write(table, MutationKind::Put, chunk.iter().map(cell).collect()).await;
    }
    let delete = |row: &[u8], family: &str, qualifier: &[u8], time, kind| {
        Cell::new(row, family.as_bytes(), qualifier, time, kind, b"").expect("a cell")
    };
    let deletes = vec![
        delete(b"a:b", "f", b"a", 20, CellType::DELETE),
        delete("caf\u{e9}".as_bytes(), "f", b"a", 20, CellType::DELETE_COLUMN),
        delete(b"k", "f", b"", 15, CellType::DELETE_FAMILY),
        delete(b"n", "f", b"", 15, CellType::DELETE_FAMILY_VERSION),
        delete(b"wide", "f", b"q00007", 10, CellType::DELETE_COLUMN),
        delete(b"zzz", "g", b"", 5, CellType::DELETE_FAMILY),
    ];
    write(table, MutationKind::Delete, deletes).await;
}

async fn scanned(table: &Table, scan: Scan) -> Vec<Cell> {
    let (mut rows, mut out) = (table.scan(scan), Vec::new());
    while let Some(row) = rows.next_row().await.expect("a scan") {
        out.extend(row.cells);
    }
    out
}

fn all(raw: bool) -> Scan {
    let mut scan = Scan { raw, ..Scan::default() };
    scan.selection.max_versions = 1000;
    scan
}

/// The same cells, wherever they lie.
fn same(found: &[Cell], wanted: &[Cell]) {
    let shown = |cells: &[Cell]| {
        let show = |cell: &Cell| (cell.as_ref().key().as_bytes().to_vec(), cell.value().to_vec());
        cells.iter().map(show).collect::<Vec<_>>()
    };
    assert!(shown(found) == shown(wanted), "{} cells, {} wanted", found.len(), wanted.len());
}

/// Files below a folder by their path in it, sorted.
fn files(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, below: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let entry = entry.expect("an entry");
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                walk(&entry.path(), &format!("{name}/"), out);
            } else {
                out.push(name);
            }
        }
    }
    let mut out = Vec::new();
    walk(folder, "", &mut out);
    out.sort();
    out
}

/// Parts below a folder, and that this is all there is.
fn parts(folder: &Path) -> Vec<PathBuf> {
    // Notes of a run that was killed behind its success may be left.
    let names = files(folder).into_iter().filter(|name| !name.starts_with("_export."));
    let (parts, rest): (Vec<_>, Vec<_>) = names.partition(|name| name.contains("part-"));
    assert_eq!(rest, ["_SUCCESS"]);
    parts.iter().map(|name| folder.join(name)).collect()
}

fn load(tool: &Tool, table: &str, dest: &str, more: &[&str]) -> Value {
    let parts = parts(&tool.at(dest));
    let parts = parts.iter().map(|part| part.to_str().expect("text"));
    let arguments: Vec<&str> = ["bulkload", table].into_iter().chain(parts).chain(more.iter().copied()).collect();
    tool.good(&arguments)
}

/// Cells of Parquet files, sorted as a table has them.
fn parquet_cells(files: &[PathBuf]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).expect("a file"));
        for batch in reader.expect("Parquet").build().expect("a reader") {
            let batch = batch.expect("a batch");
            let binary = |name: &str| batch.column_by_name(name).expect("a column").as_binary::<i32>().clone();
            let (rows, columns, values) = (binary("row"), binary("column"), binary("value"));
            let times = batch.column_by_name("timestamp").expect("a column").as_primitive::<Int64Type>();
            let kinds = batch.column_by_name("type").expect("a column").as_string::<i32>();
            for at in 0..batch.num_rows() {
                let kind = match kinds.value(at) {
                    "Put" => CellType::PUT,
                    "Delete" => CellType::DELETE,
                    "DeleteColumn" => CellType::DELETE_COLUMN,
                    "DeleteFamily" => CellType::DELETE_FAMILY,
                    "DeleteFamilyVersion" => CellType::DELETE_FAMILY_VERSION,
                    other => panic!("{other}"),
                };
                let column = columns.value(at);
                let cut = column.iter().position(|byte| *byte == b':').expect("a family");
                let made = Cell::new(
                    rows.value(at),
                    &column[..cut],
                    &column[cut + 1..],
                    times.value(at),
                    kind,
                    values.value(at),
                );
                cells.push(made.expect("a cell"));
            }
        }
    }
    cells.sort_by(|a, b| CellOrder::User.compare(a.as_ref(), b.as_ref()));
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_loads_back_cell_for_cell() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    let table = create(&connection, "t", &SPLITS).await;
    fill(&table).await;
    let (raw, live) = (scanned(&table, all(true)).await, scanned(&table, all(false)).await);
    assert!(raw.len() > live.len() && live.len() > WIDE_ROW_CELLS);

    // Everything, as text.
    for (at, compression) in ["none", "gzip", "zstd"].into_iter().enumerate() {
        let (dest, name) = (format!("raw{at}"), format!("raw{at}"));
        let summary = tool.good(&["export", "t", &dest, "--raw", "--compression", compression]);
        let ending = [".jsonl", ".jsonl.gz", ".jsonl.zst"][at];
        let names: Vec<String> = (0..4).map(|part| format!("part-{part:05}{ending}")).collect();
        assert_eq!(files(&tool.at(&dest))[1..], names);
        assert_eq!(
            (summary["cells"].as_u64(), summary["rows"].as_u64(), summary["ranges"].as_u64()),
            (Some(raw.len() as u64), Some(13), Some(4)),
            "{summary}"
        );
        let sizes: u64 = names.iter().map(|name| tool.at(&dest).join(name).metadata().expect("a file").len()).sum();
        assert_eq!(summary["bytes"].as_u64(), Some(sizes));
        let other = create(&connection, &name, &[b"m"]).await;
        load(&tool, &name, &dest, &[]);
        same(&scanned(&other, all(true)).await, &raw);
        same(&scanned(&other, all(false)).await, &live);
    }

    // What the table shows, and the newest of it.
    tool.good(&["export", "t", "live", "--versions", "all"]);
    let other = create(&connection, "live", &[]).await;
    load(&tool, "live", "live", &[]);
    same(&scanned(&other, all(true)).await, &live);
    tool.good(&["export", "t", "newest"]);
    let other = create(&connection, "newest", &[]).await;
    load(&tool, "newest", "newest", &[]);
    let newest = scanned(&table, Scan::default()).await;
    assert!(newest.len() < live.len());
    same(&scanned(&other, all(true)).await, &newest);

    // A part of it.
    let arguments =
        ["export", "t", "some", "--output", "parquet", "--start-row", "a\\x2Cc", "--stop-row", "n\\x00\\xFF\\x01"];
    let more = ["--start-time", "15", "--end-time", "30", "--versions", "2", "--columns", "f:a,g,f:\\xFF:\\x00"];
    let summary = tool.good(&[&arguments[..], &more].concat());
    let mut scan =
        Scan::between(&b"a,c"[..], &b"n\x00\xff\x01"[..]).with_column("f", "a").with_column("f", &b"\xff:\x00"[..]);
    scan = scan.with_family("g").with_versions(2);
    (scan.selection.time_range.from, scan.selection.time_range.to) = (15, 30);
    let some = scanned(&table, scan).await;
    let rows: BTreeSet<&[u8]> = some.iter().map(Cell::row).collect();
    assert!(rows.len() > 2 && some.iter().any(|cell| cell.family() == b"g"));
    assert_eq!((summary["rows"].as_u64(), summary["ranges"].as_u64()), (Some(rows.len() as u64), Some(3)));
    same(&parquet_cells(&parts(&tool.at("some"))), &some);

    // Everything, as Parquet and as store files.
    for compression in ["none", "gzip", "zstd", "snappy", "lz4"] {
        let dest = format!("parquet-{compression}");
        tool.good(&[
            "export",
            "t",
            &dest,
            "--output",
            "parquet",
            "--raw",
            "--compression",
            compression,
            "--memory",
            "16M",
        ]);
        same(&parquet_cells(&parts(&tool.at(&dest))), &raw);
    }
    for (dest, flags, wanted) in [("store", &["--raw"][..], &raw), ("small", &["--compression", "lz4"][..], &newest)] {
        let summary = tool.good(&[&["export", "t", dest, "--output", "hfile"], flags].concat());
        assert_eq!(summary["cells"].as_u64(), Some(wanted.len() as u64), "{summary}");
        let other = create(&connection, dest, &SPLITS).await;
        let loaded = tool.good(&["completebulkload", dest, dest, "--verify"]);
        assert_eq!((loaded["split"].as_u64(), loaded["skipped"].as_u64()), (Some(0), Some(1)), "{loaded}");
        same(&scanned(&other, all(true)).await, wanted);
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_become_lines_and_records_and_folders_are_named_by_values() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    let table = create(&connection, "t", &SPLITS).await;
    fill(&table).await;

    // CSV, of what is text.
    let csv = ["export", "t", "csv", "--output", "csv", "--columns", "f:a,g:b", "--start-row", "a", "--stop-row", "z"];
    let (code, _, error) = tool.run(&csv);
    assert!(code == Some(1) && error.contains("row key is not UTF-8") && error.contains("--output jsonl"), "{error}");
    assert!(!tool.at("csv/_SUCCESS").exists());
    let csv =
        ["export", "t", "csv2", "--output", "csv", "--columns", "f:a,g:b", "--start-row", "a", "--stop-row", "n\\x00"];
    assert_eq!(tool.good(&csv)["rows"], 5);
    let text = std::fs::read_to_string(tool.at("csv2/part-00000.csv")).expect("a part");
    assert!(text.starts_with("HBASE_ROW_KEY,f:a,g:b\n\"a,b\"\"c\nd\",\"value \"\"1\"\", 30\n\",\na:b,"), "{text}");
    tool.good(&[
        "export",
        "t",
        "csv3",
        "--output",
        "csv",
        "--columns",
        "f:a,g:b",
        "--start-row",
        "t",
        "--stop-row",
        "u",
    ]);
    let text = std::fs::read_to_string(tool.at("csv3/part-00000.csv")).expect("a part");
    assert_eq!(text, "HBASE_ROW_KEY,f:a,g:b\ntext1,one,\ntext2,,\" two \"\n");
    let other = create(&connection, "csv", &[]).await;
    let columns = ["--columns", "HBASE_ROW_KEY,f:a,g:b", "--skip-empty-columns"];
    assert_eq!(load(&tool, "csv", "csv2", &columns)["records"], 5, "the header is no record");
    load(&tool, "csv", "csv3", &columns);
    let values = |cells: Vec<Cell>| {
        let value = |cell: &Cell| (cell.row_bytes(), cell.qualifier().to_vec(), cell.value_bytes());
        cells.iter().map(value).collect::<Vec<_>>()
    };
    let scan = |start: &'static [u8], stop: &'static [u8]| {
        Scan::between(start, stop).with_column("f", "a").with_column("g", "b")
    };
    let mut wanted = values(scanned(&table, scan(b"a", b"n\x00")).await);
    wanted.extend(values(scanned(&table, scan(b"t", b"u")).await));
    assert_eq!(values(scanned(&other, all(true)).await), wanted);

    // A record for each row.
    tool.good(&["export", "t", "wide", "--output", "parquet", "--wide", "--columns", "f:a,f:day"]);
    let mut seen = Vec::new();
    for file in parts(&tool.at("wide")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(file).expect("a file"));
        for batch in reader.expect("Parquet").build().expect("a reader") {
            let batch = batch.expect("a batch");
            let column = |name: &str| batch.column_by_name(name).expect("a column").as_binary::<i32>().clone();
            let (rows, a, day) = (column("row"), column("f:a"), column("f:day"));
            for at in 0..batch.num_rows() {
                let row = Bytes::copy_from_slice(rows.value(at));
                for (name, values) in [("a", &a), ("day", &day)] {
                    if !arrow_array::Array::is_null(values, at) {
                        seen.push((row.clone(), name.as_bytes().to_vec(), Bytes::copy_from_slice(values.value(at))));
                    }
                }
            }
        }
    }
    let scan = Scan::default().with_column("f", "a").with_column("f", "day");
    assert_eq!(seen, values(scanned(&table, scan).await));

    // Folders by a column, and by the beginning of the row; every cell is in one of them.
    let live = scanned(&table, all(false)).await;
    let flags = ["--output", "parquet", "--versions", "all"];
    tool.good(&[&["export", "t", "days", "--partition", "f:day"], &flags[..]].concat());
    let names = files(&tool.at("days"));
    let folders: BTreeSet<&str> = names.iter().filter_map(|name| Some(name.split_once('/')?.0)).collect();
    let wanted = ["f%3Aday=%FF", "f%3Aday=2026-11-22", "f%3Aday=__HIVE_DEFAULT_PARTITION__", "f%3Aday=a%2Fb%3D%25"];
    assert_eq!(folders.into_iter().collect::<Vec<_>>(), wanted);
    same(&parquet_cells(&parts(&tool.at("days"))), &live);
    let of_day = parquet_cells(
        &parts(&tool.at("days"))
            .into_iter()
            .filter(|path| path.display().to_string().contains("11-22"))
            .collect::<Vec<_>>(),
    );
    let days: BTreeSet<&[u8]> = of_day.iter().filter(|cell| cell.qualifier() == b"day").map(Cell::value).collect();
    assert_eq!(days, BTreeSet::from([&b"2026-11-22"[..]]));
    let flags = ["--versions", "all", "--columns", "f:a"];
    tool.good(&[&["export", "t", "hidden", "--partition", "f:day"], &flags[..]].concat());
    let other = create(&connection, "hidden", &[]).await;
    load(&tool, "hidden", "hidden", &[]);
    let only_a = live.iter().filter(|cell| cell.qualifier() == b"a").cloned().collect::<Vec<_>>();
    same(&scanned(&other, all(true)).await, &only_a);
    tool.good(&["export", "t", "prefixes", "--partition", "row_prefix=1", "--versions", "all", "--output", "parquet"]);
    let names = files(&tool.at("prefixes"));
    for folder in ["row_prefix=%00/", "row_prefix=a/", "row_prefix=t/", "row_prefix=%FF/"] {
        assert_eq!(names.iter().filter(|name| name.starts_with(folder)).count(), 1, "{names:?}");
    }
    same(&parquet_cells(&parts(&tool.at("prefixes"))), &live);
    drop(server);
}

/// A table that takes a while.
async fn many(connection: &Connection, name: &str) -> (Table, Vec<Cell>) {
    let splits: [&[u8]; 9] = [b"r1", b"r2", b"r3", b"r4", b"r5", b"r6", b"r7", b"r8", b"r9"];
    let table = create(connection, name, &splits).await;
    for chunk in (0..20_000_u32).collect::<Vec<_>>().chunks(2000) {
        let cell = |at: &u32| put(format!("r{at:05}").as_bytes(), "f", b"q", 7, &at.to_be_bytes().repeat(50));
        write(&table, MutationKind::Put, chunk.iter().map(|at| (at * 5) % 100_000).map(|at| cell(&at)).collect()).await;
    }
    let cells = scanned(&table, all(true)).await;
    assert_eq!(cells.len(), 20_000);
    (table, cells)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_on_after_kills_of_tool_and_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let tool = Tool { folder, connect: format!("127.0.0.1:{port}") };
    let connection = open(&server).await;
    let (_, wanted) = many(&connection, "t").await;
    let arguments = ["export", "t", "out", "--parallel", "1", "--output", "parquet"];
    let mut ended = false;
    for round in 0..60_u64 {
        // Each round goes a little further before it is cut: first the tool, then the server.
        let (mut running, status) = tool.run_for(&arguments, Duration::from_millis(20 + 10 * round));
        if status.is_some_and(|status| status.success()) {
            ended = true;
            break;
        }
        assert!(status.is_none(), "round {round}: {:?}", said(&running.wait_with_output().expect("ended")));
        if round % 4 != 3 {
            running.kill().expect("killed");
            running.wait().expect("ended");
        } else {
            server.kill();
            server = Server::start(&data, &["--port", &port]);
            // The client goes on where it was.
            let output = running.wait_with_output().expect("ends");
            assert_eq!(output.status.code(), Some(0), "round {round}: {:?}", said(&output));
            ended = true;
            break;
        }
        if tool.at("out/_SUCCESS").exists() {
            // It was killed behind its success.
            ended = true;
            break;
        }
    }
    if !ended {
        tool.good(&arguments);
    }
    same(&parquet_cells(&parts(&tool.at("out"))), &wanted);
    let (code, _, error) = tool.run(&arguments);
    assert!(code == Some(2) && error.contains("was finished"), "{code:?} {error}");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_export_leaves_no_success_and_a_server_that_is_gone_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let tool = Tool { folder, connect: format!("127.0.0.1:{port}") };
    let connection = open(&server).await;
    let (_, wanted) = many(&connection, "t").await;
    let arguments = ["export", "t", "out", "--parallel", "1", "--timeout", "3s"];
    // Cut once something is done, and not all.
    let until_some = |running: &mut std::process::Child| {
        let begun = Instant::now();
        while !files(&tool.at("out")).iter().any(|name| name.starts_with("_export.done.")) {
            assert!(begun.elapsed() < Duration::from_secs(60) && running.try_wait().expect("asked").is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let mut running = tool.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    until_some(&mut running);
    running.kill().expect("killed");
    running.wait().expect("ended");
    let left = files(&tool.at("out"));
    assert!(left.contains(&"_export.plan".to_owned()) && !left.contains(&"_SUCCESS".to_owned()), "{left:?}");
    for name in left.iter().filter(|name| name.starts_with("part-")) {
        let text = std::fs::read_to_string(tool.at("out").join(name)).expect("a part");
        assert!(text.lines().count() == 2000 && text.ends_with("}\n"), "{name} is whole");
    }

    // Other flags are another export.
    let before = files(&tool.at("out"));
    let (code, _, error) = tool.run(&["export", "t", "out", "--raw"]);
    assert!(code == Some(2) && error.contains("another export"), "{code:?} {error}");
    assert_eq!(files(&tool.at("out")), before);

    server.kill();
    let (code, _, error) = tool.run(&arguments);
    assert_eq!(code, Some(4), "{error}");
    let server = Server::start(&data, &["--port", &port]);
    let mut running = tool.command(&arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    let begun = Instant::now();
    while files(&tool.at("out")).iter().filter(|name| name.starts_with("_export.done.")).count() < 3 {
        assert!(begun.elapsed() < Duration::from_secs(60) && running.try_wait().expect("asked").is_none());
    }
    server.kill();
    let output = running.wait_with_output().expect("ends");
    let error = said(&output).1;
    assert!(output.status.code() == Some(4) && error.contains("the same command goes on"), "{error}");
    assert!(!tool.at("out/_SUCCESS").exists());

    let server = Server::start(&data, &["--port", &port]);
    let summary = tool.good(&arguments);
    assert!(summary["ranges_before"].as_u64() >= Some(3), "{summary}");
    assert_eq!(
        (summary["ranges"].as_u64(), summary["cells"].as_u64()),
        (Some(10), Some(wanted.len() as u64)),
        "{summary}"
    );
    let connection = open(&server).await;
    let other = create(&connection, "other", &[]).await;
    load(&tool, "other", "out", &[]);
    same(&scanned(&other, all(true)).await, &wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_the_export_goes_on_when_there_is_space() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).expect("a folder");
    let Some(_mounted) = Mounted::new(&disk) else {
        println!("mounting is not allowed here: not tried on a real full disk");
        return;
    };
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let (_, wanted) = many(&open(&server).await, "t").await;
    // There is space for some of the parts.
    std::fs::write(disk.join("ballast"), vec![1; 61 << 20]).expect("there is space yet");
    let arguments = ["export", "t", "disk/out", "--output", "parquet", "--compression", "none"];
    let (code, _, error) = tool.run(&arguments);
    assert!(code == Some(1) && error.contains("No space left") && error.contains("goes on"), "{code:?} {error}");
    let left = files(&disk.join("out"));
    assert!(!left.contains(&"_SUCCESS".to_owned()) && !left.iter().any(|name| name.starts_with("tmp.")), "{left:?}");
    let whole: Vec<PathBuf> =
        left.iter().filter(|name| name.starts_with("part-")).map(|name| disk.join("out").join(name)).collect();
    assert_eq!(parquet_cells(&whole).len(), 2000 * whole.len(), "what has a name is whole");
    std::fs::remove_file(disk.join("ballast")).expect("removed");
    tool.good(&arguments);
    same(&parquet_cells(&parts(&disk.join("out"))), &wanted);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_exported_is_told_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    create(&open(&server).await, "t", &[]).await;
    std::fs::write(tool.at("file"), "text").expect("written");
    std::fs::create_dir(tool.at("full")).expect("a folder");
    std::fs::write(tool.at("full/notes"), "text").expect("written");
    for (arguments, why) in [
        (&["nosuch", "out"][..], "does not exist"),
        (&["t", "full"][..], "not empty, it holds `notes`"),
        (&["t", "file"][..], "a folder is needed"),
        (&["t", "/"][..], "a folder below that is needed"),
        (&["t", "s3://bucket"][..], "a folder below that is needed"),
        (&["t", "ftp://host/x"][..], "a folder, file:///folder"),
        (&["t", "out", "--output", "csv"][..], "--columns: --output csv needs columns"),
        (&["t", "out", "--output", "csv", "--columns", "f"][..], "needs columns"),
        (&["t", "out", "--output", "csv", "--columns", "f:a", "--raw"][..], "name families only"),
        (&["t", "out", "--output", "csv", "--columns", "f:a", "--versions", "all"][..], "hold versions"),
        (&["t", "out", "--columns", "x:a"][..], "no family `x`"),
        (&["t", "out", "--wide"][..], "only of --output parquet"),
        (&["t", "out", "--versions", "0"][..], "a number or `all`"),
        (&["t", "out", "--compression", "snappy"][..], "gzip or zstd"),
        (&["t", "out", "--start-row", "b", "--stop-row", "a"][..], "--start-row"),
        (&["t", "out", "--start-time", "9", "--end-time", "9"][..], "--start-time"),
        (&["t", "out", "--partition", "day"][..], "row_prefix=4 is needed"),
        (&["t", "out", "--partition", "f:day", "--output", "hfile"][..], "by family"),
        (&["t", "out", "--memory", "1M"][..], "at least 16M"),
    ] {
        let (code, summary, error) = tool.run(&[&["export"], arguments].concat());
        assert!(code == Some(2) && error.contains(why), "{arguments:?}: {code:?} {error}");
        assert_eq!((summary, tool.at("out").exists()), (Value::Null, false), "{arguments:?}");
    }
    assert_eq!(files(&tool.at("full")), ["notes"]);
    assert_eq!(tool.good(&["export", "t", "deep/down/out"])["files"], 0);
    assert_eq!(files(&tool.at("deep")), ["down/out/_SUCCESS"], "an empty table");
    drop(server);
    let (code, _, error) = tool.run(&["export", "t", "out"]);
    assert!(code == Some(4) && !tool.at("out").exists(), "{code:?} {error}");
}

/// Instead of a file for every row.
#[tokio::test(flavor = "multi_thread")]
async fn more_values_side_by_side_than_files_can_be_open_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let table = create(&open(&server).await, "t", &[]).await;
    let rows = (0..1000).map(|row| {
        let (row, day) = (format!("row{row:04}"), format!("{}", row % 20));
        let mut put = Mutation::new(MutationKind::Put, row.clone());
        put.cells.push(Cell::put(row.as_bytes(), b"f", b"day", 5, day.as_bytes()).expect("a cell"));
        put
    });
    table.mutate_all(rows.collect()).await.into_iter().for_each(|done| drop(done.expect("put")));
    let arguments = ["export", "t", "out", "--partition", "f:day", "--memory", "16M"];
    let (code, summary, error) = tool.run(&arguments);
    assert!(error.contains("4 files can be open at a time: give more --memory"), "{error}");
    assert_eq!((code, summary), (Some(1), Value::Null));
    assert!(files(&tool.at("out")).len() < 300, "{:?}", files(&tool.at("out")));
    let summary = tool.good(&["export", "t", "other", "--partition", "f:day"]);
    assert_eq!((summary["files"].as_u64(), summary["rows"].as_u64()), (Some(20), Some(1000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_export_to_a_bucket_is_whole_and_is_loaded_from_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let store = bucket::a_bucket(&folder.join("store")).await;
    let environment = bucket::environment(&store).to_vec();
    let server = Server::start(&folder.join("data"), &[]);
    let connect = format!("127.0.0.1:{}", server.port);
    let run = async |arguments: &[&str]| {
        let all = [arguments, &["--connect", &connect, "--format", "json", "--no-progress"]].concat();
        let output = bucket::run(environment.clone(), folder, &all).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {:?}", said(&output));
        serde_json::from_str::<Value>(&said(&output).0).expect("a summary")
    };
    let connection = open(&server).await;
    let (table, other) = (create(&connection, "t", &SPLITS).await, create(&connection, "other", &SPLITS).await);
    fill(&table).await;
    let raw = scanned(&table, all(true)).await;
    run(&["export", "t", "s3://ferrobase/out/store", "--output", "hfile", "--raw"]).await;
    run(&["completebulkload", "s3://ferrobase/out/store", "other", "--verify"]).await;
    same(&scanned(&other, all(true)).await, &raw);
    run(&["export", "t", "s3://ferrobase/out/cells", "--output", "parquet", "--raw"]).await;
    let variable = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let settings = S3Settings::from_env("s3://ferrobase/out", true, &variable).expect("settings");
    let root = S3Filesystem::open_unchecked(settings, Runtime::system()).expect("the root");
    let names: Vec<String> = root.list("cells").await.expect("listed").into_iter().map(|entry| entry.path).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    let copies = folder.join("copies");
    std::fs::create_dir(&copies).expect("a folder");
    for name in names.iter().filter(|name| name.ends_with(".parquet")) {
        let data = root.read_at(name, 0, 64 << 20).await.expect("read");
        std::fs::write(copies.join(name.replace('/', "-")), data).expect("written");
    }
    let copies: Vec<PathBuf> = files(&copies).iter().map(|name| copies.join(name)).collect();
    same(&parquet_cells(&copies), &raw);
}
