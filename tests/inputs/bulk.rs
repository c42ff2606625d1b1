//! The records of a real input by bulk load, from JSON Lines, CSV, TSV and Parquet: each table holds what the loader's puts have written, cell for cell.
//!
//! Files with fields have one set of columns for all their records, and an empty field is a cell. So the columns that every record has make
//! one file, and each of the others one of its own, with the records that have it. In Parquet all stand in one file, and what a record does not
//! have is null.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use client::{Connection, Row};
use ferrobase_tests::process::{Server, binary, example};
use model::query::Scan;
use model::schema::TableName;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

/// Versions that the loader's tables keep.
const VERSIONS: u32 = 10;
/// Bulk loads at a time.
const LOADS_AT_ONCE: usize = 4;
/// Records that are handed to Parquet's writer at a time.
const BATCH: usize = 4096;

struct Record {
    row: String,
    timestamp: i64,
    /// Values by `family:name`.
    cells: BTreeMap<String, String>,
}

/// How fields are written.
#[derive(Clone, Copy, PartialEq)]
enum Fields {
    Csv,
    Tsv,
}

impl Fields {
    fn name(self) -> &'static str {
        match self {
            Fields::Csv => "csv",
            Fields::Tsv => "tsv",
        }
    }

    /// Whether a value can stand in such a file.
    fn takes(self, value: &str) -> bool {
        self == Fields::Csv || !value.contains(['\t', '\n', '\r'])
    }

    fn line(self, fields: &[&str]) -> String {
        match self {
            Fields::Csv => {
                let quoted: Vec<_> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
                quoted.join(",")
            }
            Fields::Tsv => fields.join("\t"),
        }
    }
}

/// A file and what `--columns` says of it.
struct Text {
    path: PathBuf,
    columns: Option<String>,
}

fn create(path: &Path) -> BufWriter<File> {
    BufWriter::new(File::create(path).expect("a file"))
}

fn record(line: &str) -> Record {
    let value: Value = serde_json::from_str(line).expect("a line of JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let cells = value["cells"].as_array().expect("cells");
    Record {
        row: text(&value["row"]),
        timestamp: cells[0]["timestamp"].as_i64().expect("a time"),
        cells: cells.iter().map(|cell| (text(&cell["column"]), text(&cell["value"]))).collect(),
    }
}

/// Files with fields that hold all cells of the records; what cannot stand in them makes a file of JSON Lines.
fn texts(records: &[Record], how: Fields, folder: &Path) -> Vec<Text> {
    let names: BTreeSet<&String> = records.iter().flat_map(|record| record.cells.keys()).collect();
    let whole =
        |name: &&String| records.iter().all(|record| record.cells.get(*name).is_some_and(|value| how.takes(value)));
    let (common, others): (Vec<&String>, Vec<&String>) = names.into_iter().partition(whole);
    let groups = [common].into_iter().chain(others.into_iter().map(|name| vec![name]));
    let mut texts = Vec::new();
    for (at, names) in groups.enumerate() {
        let path = folder.join(format!("{at}.{}", how.name()));
        let mut file = create(&path);
        for record in records {
            let values = names.iter().map(|name| record.cells.get(*name).filter(|value| how.takes(value)));
            if let Some(values) = values.collect::<Option<Vec<_>>>() {
                let timestamp = record.timestamp.to_string();
                let fields = [&record.row, &timestamp].into_iter().chain(values).map(String::as_str);
                writeln!(file, "{}", how.line(&fields.collect::<Vec<_>>())).expect("written");
            }
        }
        file.flush().expect("written");
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        texts.push(Text { path, columns: Some(format!("HBASE_ROW_KEY,HBASE_TS_KEY,{}", names.join(","))) });
    }
    let path = folder.join(format!("rest-of-{}.jsonl", how.name()));
    let (mut file, mut rest) = (create(&path), false);
    for record in records {
        let left = record.cells.iter().filter(|(_, value)| !how.takes(value));
        let cell = |(column, value): (&String, &String)| json!({"column": column, "timestamp": record.timestamp, "value": value});
        let cells: Vec<Value> = left.map(cell).collect();
        if !cells.is_empty() {
            rest = true;
            writeln!(file, "{}", json!({"row": record.row, "cells": cells})).expect("written");
        }
    }
    file.flush().expect("written");
    texts.extend(rest.then_some(Text { path, columns: None }));
    texts
}

/// A Parquet file of all records, as writers make it that were told nothing.
fn columnar(records: &[Record], folder: &Path) -> Text {
    let names: BTreeSet<&String> = records.iter().flat_map(|record| record.cells.keys()).collect();
    let path = folder.join("whole.parquet");
    let mut writer = None;
    for records in records.chunks(BATCH) {
        let rows: ArrayRef = Arc::new(StringArray::from_iter_values(records.iter().map(|record| &record.row)));
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(records.iter().map(|record| record.timestamp)));
        let values = |name: &String| -> ArrayRef {
            Arc::new(StringArray::from_iter(records.iter().map(|record| record.cells.get(name))))
        };
        let columns = names.iter().map(|name| (name.as_str(), values(name), true));
        let columns = [("row", rows, false), ("time", times, false)].into_iter().chain(columns);
        let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("a batch");
        let file = || ArrowWriter::try_new(create(&path), batch.schema(), None).expect("a writer");
        writer.get_or_insert_with(file).write(&batch).expect("written");
    }
    writer.expect("there are records").close().expect("written");
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    Text { path, columns: Some(format!("HBASE_ROW_KEY,HBASE_TS_KEY,{}", names.join(","))) }
}

/// Loads files into a table.
fn load(server: &Server, table: &str, texts: &[Text], folder: &Path) {
    for texts in texts.chunks(LOADS_AT_ONCE) {
        let start = |text: &Text| {
            let mut command = Command::new(binary());
            // A page, or a dictionary, of 1 MiB for each column.
            let memory = if text.path.extension().is_some_and(|kind| kind == "parquet") { "256M" } else { "16M" };
            command.args(["bulkload", table]).arg(&text.path).args(["--memory", memory, "--no-progress", "--quiet"]);
            command.args(["--connect", &format!("127.0.0.1:{}", server.port)]);
            command.args(text.columns.iter().flat_map(|columns| ["--columns", columns]));
            command.env("TMPDIR", folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("ferrobase starts")
        };
        for (child, text) in texts.iter().map(start).collect::<Vec<_>>().into_iter().zip(texts) {
            let output = child.wait_with_output().expect("it ends");
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{}: {error}", text.path.display());
        }
    }
}

fn shown(row: &Row) -> Vec<(&[u8], &[u8])> {
    row.cells.iter().map(|cell| (cell.as_ref().key().as_bytes(), cell.value())).collect()
}

/// The table that `arguments` of the loader have filled, beside tables that are loaded with the records whose rows begin with one of `prefixes`.
pub async fn equal_puts(server: &Server, folder: &Path, arguments: &[&str], prefixes: &[&str]) {
    let (name, folder) = (arguments[0], folder.join("bulk"));
    std::fs::create_dir_all(&folder).expect("a folder");
    let lines = folder.join("whole.jsonl");
    let output = Command::new(example("load"))
        .args(arguments)
        .arg("--write")
        .arg(&lines)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .expect("the loader starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let (part, mut records) = (folder.join("part.jsonl"), Vec::new());
    let mut file = create(&part);
    for line in BufReader::new(File::open(&lines).expect("the loader's lines")).lines() {
        let line = line.expect("read");
        let record = record(&line);
        if prefixes.iter().any(|prefix| record.row.starts_with(prefix)) {
            writeln!(file, "{line}").expect("written");
            records.push(record);
        }
    }
    file.flush().expect("written");

    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let admin = connection.admin();
    let wanted: TableName = name.parse().expect("a name");
    let descriptor = admin.descriptor(&wanted).await.expect("the loader's table");
    let regions = admin.regions(&wanted).await.expect("its regions");
    let splits: Vec<_> = regions.iter().skip(1).map(|region| region.info.start_key.clone()).collect();
    let loads = [
        ("jsonl", vec![Text { path: part, columns: None }]),
        ("csv", texts(&records, Fields::Csv, &folder)),
        ("tsv", texts(&records, Fields::Tsv, &folder)),
        ("parquet", vec![columnar(&records, &folder)]),
    ];
    let mut tables = vec![wanted.clone()];
    for (format, texts) in &loads {
        let table: TableName = format!("{name}_{format}").parse().expect("a name");
        let mut descriptor = descriptor.clone();
        descriptor.name = table.clone();
        admin.create_table(&descriptor, &splits).await.expect("created");
        load(server, &table.to_string(), texts, &folder);
        println!("{table}: {} loads", texts.len());
        tables.push(table);
    }

    let mut cells = 0;
    for prefix in prefixes {
        let mut scan = Scan::default().with_prefix(prefix.as_bytes().to_vec());
        scan.selection.max_versions = VERSIONS;
        let mut scans: Vec<_> = tables.iter().map(|table| connection.table(table.clone()).scan(scan.clone())).collect();
        loop {
            let mut rows = Vec::new();
            for scan in &mut scans {
                rows.push(scan.next_row().await.expect("a row"));
            }
            let rows: Vec<_> = rows.iter().map(|row| row.as_ref().map(shown)).collect();
            for (row, table) in rows.iter().zip(&tables).skip(1) {
                assert_eq!(row, &rows[0], "{table}");
            }
            let Some(row) = &rows[0] else { break };
            cells += row.len();
        }
    }
    let read: usize = records.iter().map(|record| record.cells.len()).sum();
    println!("{} records, {cells} cells in each of {} tables", records.len(), tables.len());
    // Of cells with equal coordinates one is left.
    assert!(cells > read * 9 / 10 && cells <= read, "{cells} cells of {read}");
    std::fs::remove_dir_all(&folder).expect("scratch files go");
}
