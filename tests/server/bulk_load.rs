//! `bulkload` and `completebulkload` against a real server: what they load is what puts would have written, cell for cell; a server that is
//! killed meanwhile, and a run that goes on; files on the store's root, elsewhere, and across borders; what is refused.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use client::{Connection, Table};
use ferrobase_tests::process::{Server, binary};
use model::Cell;
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::schema::{FamilyDescriptor, TableDescriptor};
use serde_json::{Value, json};

use super::{ferrobase, said};

mod elsewhere;
mod inputs;

const ROWS: usize = 3000;

/// A row of the input: key, timestamp, two values.
fn record(at: usize) -> (String, i64, String, String) {
    // Some rows come twice, with equal and with other timestamps: the last of equal ones counts.
    let at_row = if at % 10 == 9 { at - 5 } else { at };
    let time = 1_700_000_000_000 + (at_row % 7) as i64 + i64::from(at % 20 == 19);
    (format!("row{:06}", at_row * 7919 % 1_000_000), time, format!("a{at}"), format!("b{}", "x".repeat(at % 90)))
}

fn put(at: usize) -> Mutation {
    let (row, time, a, b) = record(at);
    let mut put = Mutation::new(MutationKind::Put, row.clone());
    let cell = |family: &[u8], qualifier: &[u8], value: &str| {
        Cell::put(row.as_bytes(), family, qualifier, time, value.as_bytes()).expect("cell")
    };
    put.cells = vec![cell(b"f", b"a", &a), cell(b"g", b"b", &b)];
    put
}

fn write(path: &Path, lines: impl Iterator<Item = String>) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    lines.for_each(|line| writeln!(file, "{line}").expect("written"));
    file.flush().expect("written");
}

pub async fn open(server: &Server) -> Connection {
    Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("a connection")
}

async fn create(connection: &Connection, name: &str, splits: &[&str]) -> Table {
    let family = |name: &str| FamilyDescriptor::new(name.to_owned()).with("VERSIONS", "5");
    let g =
        family("g").with("COMPRESSION", "ZSTD").with("DATA_BLOCK_ENCODING", "FAST_DIFF").with("BLOOMFILTER", "ROWCOL");
    let table = TableDescriptor::new(name.parse().expect("a name")).with_family(family("f")).with_family(g);
    let splits: Vec<_> = splits.iter().map(|split| (*split).to_owned().into()).collect();
    connection.admin().create_table(&table, &splits).await.expect("created");
    connection.table(table.name)
}

/// All cells of a table, all versions: key, timestamp and value.
async fn cells(table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut scan = Scan::default();
    scan.selection.max_versions = 5;
    let (mut rows, mut out) = (table.scan(scan), Vec::new());
    while let Some(row) = rows.next_row().await.expect("a scan") {
        out.extend(row.cells.iter().map(|cell| (cell.as_ref().key().as_bytes().to_vec(), cell.value().to_vec())));
    }
    out
}

pub struct Tool {
    pub folder: tempfile::TempDir,
    pub connect: String,
}

impl Tool {
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).args(["--connect", &self.connect, "--format", "json", "--no-progress"]);
        command.current_dir(self.folder.path()).env("TMPDIR", self.folder.path()).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, Value, String) {
        let output: Output = self.command(arguments).output().expect("ferrobase starts");
        let (out, error) = said(&output);
        (output.status.code(), serde_json::from_str(&out).unwrap_or(Value::Null), error)
    }

    /// Starts it and waits so long; how it ended, if it did.
    pub fn run_for(&self, arguments: &[&str], limit: Duration) -> (Child, Option<ExitStatus>) {
        let mut running =
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let begun = Instant::now();
        loop {
            let status = running.try_wait().expect("asked");
            if status.is_some() || begun.elapsed() > limit {
                return (running, status);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn good(&self, arguments: &[&str]) -> Value {
        let (code, summary, error) = self.run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {error}");
        summary
    }
}

fn names(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.expect("an entry").path()).map(|path| if path.is_dir() { names(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_is_what_puts_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    let wanted = create(&connection, "puts", &["row3"]).await;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        // Mutations of one row happen in their order: of equal coordinates the last one counts.
        let done = wanted.mutate_all(chunk.iter().copied().map(put).collect()).await;
        done.into_iter().for_each(|done| drop(done.expect("put")));
    }
    let wanted = cells(&wanted).await;
    assert!(wanted.len() > ROWS, "{}", wanted.len());

    let tsv = |at: usize| {
        let (row, time, a, b) = record(at);
        format!("{a}\t{row}\t{time}\t{b}")
    };
    write(&tool.at("in.tsv"), (0..ROWS).map(tsv));
    let csv = |at: usize| {
        let (row, time, a, b) = record(at);
        format!("\"{a}\",{row},{time},\"{b}\"")
    };
    write(&tool.at("plain.csv"), (0..ROWS).map(csv));
    let zstd = zstd::encode_all(std::fs::File::open(tool.at("plain.csv")).expect("a file"), 3).expect("packed");
    std::fs::write(tool.at("in.csv.zst"), zstd).expect("written");
    let line = |at: usize| {
        let (row, time, a, b) = record(at);
        let a = json!({"column": "f:a", "timestamp": time, "type": "Put", "value": a});
        json!({"row": row, "cells": [a, {"column": "g:b", "timestamp": time, "value": b}]}).to_string()
    };
    write(&tool.at("in.jsonl"), (0..ROWS).map(line));

    let columns = "f:a,HBASE_ROW_KEY,HBASE_TS_KEY,g:b";
    for (name, file, columns) in
        [("tsv", "in.tsv", Some(columns)), ("csv", "in.csv.zst", Some(columns)), ("jsonl", "in.jsonl", None)]
    {
        let table = create(&connection, name, &["row2", "row4", "row6"]).await;
        let mut arguments = vec!["bulkload", name, file, "--memory", "16M"];
        arguments.extend(columns.iter().flat_map(|columns| ["--columns", columns]));
        let dry = tool.good(&[&arguments[..], &["--dry-run"]].concat());
        assert_eq!((dry["records"].as_u64(), dry["dry_run"].as_bool()), (Some(ROWS as u64), Some(true)));
        assert!(cells(&table).await.is_empty(), "{name}: a dry run loads nothing");
        let summary = tool.good(&arguments);
        assert_eq!(
            (summary["records"].as_u64(), summary["regions"].as_u64()),
            (Some(ROWS as u64), Some(4)),
            "{summary}"
        );
        assert!(cells(&table).await == wanted, "{name} is what puts wrote");
    }
    assert_eq!(names(&data.join("ferrobase/staging")), 0, "nothing is left of what was on its way");

    // Files only, of a table with other borders; then into it: elsewhere, and on the store's root.
    let table = create(&connection, "files", &["row1", "row5"]).await;
    let arguments = ["bulkload", "puts", "in.tsv", "--columns", columns, "--hfiles-only", "made"];
    let made = tool.good(&arguments);
    assert_eq!((made["files"].as_u64(), names(&tool.at("made"))), (Some(4), 4), "{made}");
    std::fs::write(tool.at("made/_SUCCESS"), "").expect("written");
    let dry = tool.good(&["completebulkload", "made", "files", "--dry-run", "--verify"]);
    assert_eq!((dry["files"].as_u64(), dry["split"].as_u64()), (Some(4), Some(4)), "{dry}");
    let complete = ["completebulkload", "made", "files", "--verify", "--load-id", "files-1"];
    let summary = tool.good(&complete);
    assert_eq!((summary["split"].as_u64(), summary["regions"].as_u64()), (Some(4), Some(3)), "{summary}");
    assert!(cells(&table).await == wanted, "files that crossed borders");
    assert_eq!(names(&tool.at("made")), 5, "files elsewhere stay");
    let again = tool.good(&complete);
    assert_eq!((again["regions"].as_u64(), again["regions_before"].as_u64()), (Some(0), Some(3)), "{again}");

    let table = create(&connection, "adopted", &["row3"]).await;
    let below = data.join("incoming");
    std::fs::rename(tool.at("made"), &below).expect("moved");
    let summary = tool.good(&["completebulkload", below.to_str().expect("text"), "adopted"]);
    assert_eq!((summary["split"].as_u64(), summary["copied"].as_u64()), (Some(0), Some(0)), "{summary}");
    assert!(cells(&table).await == wanted, "files that were adopted");
    assert_eq!(names(&below), 1, "the region's now; what was no store file stays");

    // Everything is there after a kill, and after compactions and a restart.
    server.kill();
    let server = Server::start(&data, &[]);
    let connection = open(&server).await;
    for name in ["tsv", "csv", "jsonl", "files", "adopted"] {
        let table = connection.table(name.parse().expect("a name"));
        assert!(cells(&table).await == wanted, "{name} after a kill");
        connection.admin().compact(table.name(), None, true).await.expect("asked");
    }
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&data, &[]);
    let connection = open(&server).await;
    for name in ["tsv", "csv", "jsonl", "files", "adopted"] {
        assert!(cells(&connection.table(name.parse().expect("a name"))).await == wanted, "{name} after a restart");
    }
    let checked = ferrobase(tool.folder.path(), &["fsck", "--data", "data", "--deep"]);
    assert_eq!(checked.status.code(), Some(0), "{:?}", said(&checked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_after_kills_of_tool_and_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = Server::start(&data, &[]);
    let port = server.port.to_string();
    let tool = Tool { folder, connect: format!("127.0.0.1:{port}") };
    let connection = open(&server).await;
    let splits: Vec<String> = (1..10).map(|at| format!("row{at}")).collect();
    let table = create(&connection, "t", &splits.iter().map(String::as_str).collect::<Vec<_>>()).await;
    write(&tool.at("in.tsv"), (0..ROWS).map(|at| format!("row{:06}\tvalue {at}\tother {at}", at * 7919 % 1_000_000)));
    let arguments =
        ["bulkload", "t", "in.tsv", "--columns", "HBASE_ROW_KEY,f:a,g:b", "--load-id", "once", "--timestamp", "5"];
    let mut ended = false;
    for round in 0..40_u64 {
        // Each round goes a little further before it is cut: first the tool, then the server.
        let (mut running, status) = tool.run_for(&arguments, Duration::from_millis(40 + 30 * round));
        match status {
            Some(status) if status.success() => {
                ended = true;
                break;
            }
            Some(status) => {
                let output = running.wait_with_output().expect("ended");
                panic!("round {round}: {status}: {:?}", said(&output));
            }
            None if round % 2 == 0 => {
                running.kill().expect("killed");
                running.wait().expect("ended");
            }
            None => {
                server.kill();
                server = Server::start(&data, &["--port", &port]);
                // The client goes on where it was, or says what it could not do.
                let output = running.wait_with_output().expect("ends");
                assert!(matches!(output.status.code(), Some(0 | 1 | 3 | 4)), "round {round}: {:?}", said(&output));
            }
        }
        let seen = cells(&table).await;
        assert_eq!(seen.len() % 2, 0, "round {round}: rows are whole");
    }
    if !ended {
        tool.good(&arguments);
    }
    let seen = cells(&table).await;
    assert_eq!(seen.len(), 2 * ROWS, "each row exactly once");
    server.kill();
    let server = Server::start(&data, &["--port", &port]);
    assert_eq!(cells(&open(&server).await.table("t".parse().expect("a name"))).await, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_named_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let table = create(&open(&server).await, "t", &[]).await;
    write(&tool.at("in.tsv"), ["r1\tv", "no separator", "r2\tv\tx", "r3\tv"].map(str::to_owned).into_iter());
    let columns = ["--columns", "HBASE_ROW_KEY,f:a"];
    let with = |more: &[&'static str]| [&["bulkload", "t", "in.tsv"], &columns[..], more].concat();
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let (found, summary, error) = tool.run(arguments);
        assert!(found == Some(code) && error.contains(why), "{arguments:?}: {found:?} {error}");
        assert_eq!(summary, Value::Null);
    };
    refused(&with(&[]), 1, "line=`2`; nothing was loaded");
    refused(&with(&["--max-rejects", "1"]), 1, "line=`3`; nothing was loaded");
    refused(&["bulkload", "t", "in.tsv"], 2, "--columns is needed");
    refused(&["bulkload", "t", "in.tsv", "--columns", "HBASE_ROW_KEY,x:a"], 2, "no family `x`");
    refused(&["bulkload", "t", "in.tsv", "--columns", "HBASE_ROW_KEY,f:a,HBASE_ATTRIBUTES_KEY"], 2, "not supported");
    refused(&["bulkload", "nosuch", "in.tsv", "--columns", "HBASE_ROW_KEY,f:a"], 2, "does not exist");
    refused(&["bulkload", "t", "nosuch.tsv", "--columns", "HBASE_ROW_KEY,f:a"], 2, "nosuch.tsv");
    refused(&["completebulkload", "nosuch", "t"], 2, "no such folder");
    for (name, text, why) in [("h/x", "x", "no family `h`"), ("f/x", "no store file", "f/x")] {
        let path = tool.at("bad").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, text).expect("written");
        let (code, _, error) = tool.run(&["completebulkload", "bad", "t"]);
        assert!(matches!(code, Some(1 | 2)) && error.contains(why), "{code:?} {error}");
        std::fs::remove_dir_all(tool.at("bad")).expect("removed");
    }
    let line = |row: &str, column: &str| format!(r#"{{"row":"{row}","cells":[{{"column":"{column}","value":"v"}}]}}"#);
    write(&tool.at("in.jsonl"), [line("a", "f:q"), line("b", "x:q")].into_iter());
    refused(&["bulkload", "t", "in.jsonl"], 1, "no family `x`. file=`in.jsonl`, line=`2`; nothing was loaded");
    refused(&["bulkload", "t", "nosuch"], 2, "there is no such file");
    refused(&with(&["--load-id", ""]), 2, "1 to 128 printable");
    refused(&with(&["--load-id", "für heute"]), 2, "1 to 128 printable");
    refused(&with(&["--timestamp", "9223372036854775807"]), 2, "--timestamp");
    // An input is not what bad records are written over, whatever it is called.
    std::os::unix::fs::symlink("in.tsv", tool.at("link")).expect("a link");
    let text = std::fs::read(tool.at("in.tsv")).expect("read");
    for name in ["in.tsv", "link", "./in.tsv"] {
        refused(&with(&["--reject", name]), 2, "one of the files that are loaded");
    }
    assert!(std::fs::read(tool.at("in.tsv")).expect("read") == text);
    // Nor is what an earlier run rejected lost to one that does not begin.
    std::fs::write(tool.at("rejects"), "of before").expect("written");
    refused(&["bulkload", "nosuch", "in.tsv", "--columns", "HBASE_ROW_KEY,f:a", "--reject", "rejects"], 2, "not exist");
    assert_eq!(std::fs::read_to_string(tool.at("rejects")).expect("read"), "of before");
    write(&tool.at("large.tsv"), std::iter::once(format!("r\t{}", "v".repeat(10 << 20))));
    let large = ["bulkload", "t", "large.tsv", "--columns", "HBASE_ROW_KEY,f:a"];
    refused(&large, 1, "cell of `f:a` has 10485783 bytes, and may have 10485760 as with puts");
    assert!(cells(&table).await.is_empty());
    let (code, summary, error) = tool.run(&with(&["--reject", "rejects"]));
    assert_eq!((code, summary["rejected"].as_u64(), summary["cells"].as_u64()), (Some(3), Some(2), Some(2)), "{error}");
    assert_eq!(std::fs::read_to_string(tool.at("rejects")).expect("rejects"), "no separator\nr2\tv\tx\n");
    assert_eq!(cells(&table).await.len(), 2);
    drop(server);
    let nobody = with(&[]);
    let (code, _, error) = tool.run(&nobody);
    assert_eq!(code, Some(4), "{error}");
}

/// While it waits for an input that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_load_and_nothing_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    create(&open(&server).await, "t", &[]).await;
    let made = std::process::Command::new("mkfifo").arg(tool.at("in.jsonl")).status().expect("mkfifo runs");
    assert!(made.success());
    std::fs::create_dir(tool.at("scratch")).expect("made");
    let mut command = tool.command(&["bulkload", "t", "in.jsonl"]);
    let mut running = command.env("TMPDIR", tool.at("scratch")).stderr(Stdio::piped()).spawn().expect("starts");
    let scratch = || std::fs::read_dir(tool.at("scratch")).expect("listed").count();
    let begun = Instant::now();
    while scratch() == 0 {
        assert!(running.try_wait().expect("asked").is_none() && begun.elapsed().as_secs() < 60, "it waits");
        std::thread::sleep(Duration::from_millis(5));
    }
    // SAFETY: kill(2) touches no memory; the tool has not been waited for, so the id is still its.
    assert_eq!(unsafe { libc::kill(running.id() as libc::pid_t, libc::SIGTERM) }, 0);
    let output = running.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(143), "{:?}", said(&output));
    assert_eq!(scratch(), 0);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copied");
        }
    }
}

/// Written by HBase 2.6.1: ImportTsv with bulk output (`HBASE_ROW_KEY,HBASE_TS_KEY,f:one,g:two`), and Import of an Export with bulk output.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_hbase_load_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start(&data, &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    let golden = ferrobase_tests::repository().join("tests/server/golden");
    copy(&golden, tool.folder.path());
    let text = create(&connection, "text", &["c"]).await;
    let columns = "HBASE_ROW_KEY,HBASE_TS_KEY,f:one,g:two";
    // Some lines of it are bad on purpose.
    let (code, summary, error) =
        tool.run(&["bulkload", "text", "importtsv-in.tsv", "--columns", columns, "--reject", "rejects"]);
    assert!(matches!(code, Some(0 | 3)), "{summary} {error}");
    let wanted = cells(&text).await;
    assert!(wanted.len() > 90, "{}", wanted.len());
    for (name, splits) in [("one", &[][..]), ("three", &["b005", "c"])] {
        let table = create(&connection, name, splits).await;
        tool.good(&["completebulkload", "importtsv-out", name, "--verify"]);
        assert!(cells(&table).await == wanted, "{name}: what ImportTsv wrote is what ours reads from its input");
    }

    let family = |name: &str| FamilyDescriptor::new(name.to_owned()).with("VERSIONS", "100");
    let plain = TableDescriptor::new("plain".parse().expect("a name"));
    let plain = ["f", "g", "s"].into_iter().map(family).fold(plain, TableDescriptor::with_family);
    connection.admin().create_table(&plain, &[]).await.expect("created");
    tool.good(&["completebulkload", "import-bulk-out", "plain", "--verify"]);
    let packed = std::fs::File::open(golden.join("import-bulk.jsonl.gz")).expect("a file");
    let lines = std::io::read_to_string(flate2::read::GzDecoder::new(packed)).expect("text");
    let mut wanted: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("a line");
        let bytes = |key: &str| hex::decode(line[key].as_str().unwrap_or_default()).unwrap_or_default();
        let family = line["family"].as_str().expect("a family");
        let time = line["ts"].as_i64().expect("a time");
        let (row, qualifier, value) = (bytes("row"), bytes("qualifier"), bytes("value"));
        let cell = Cell::put(&row, family.as_bytes(), &qualifier, time, b"").expect("a cell");
        wanted.push((cell.as_ref().key().as_bytes().to_vec(), value));
    }
    let found = cells(&connection.table(plain.name)).await;
    assert!(found == wanted, "{} cells, {} in HBase", found.len(), wanted.len());
}
