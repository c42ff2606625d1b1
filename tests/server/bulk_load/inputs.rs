//! Parquet files, folders of them, and exports of HBase against a real server.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::*;

pub fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.expect("a batch");
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_max_row_group_row_count(Some(700)).build();
    let file = std::fs::File::create(path).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

fn text(values: impl Iterator<Item = impl Into<String>>) -> ArrayRef {
    Arc::new(values.map(|value| Some(value.into())).collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<Int64Array>())
}

/// Some records as the fields of a file.
pub fn fields(records: impl Iterator<Item = usize> + Clone) -> Vec<(&'static str, ArrayRef)> {
    let records = || records.clone().map(record);
    vec![
        ("id", text(records().map(|record| record.0))),
        ("at", numbers(records().map(|record| record.1))),
        ("a", text(records().map(|record| record.2))),
        ("b", text(records().map(|record| record.3))),
        ("more", numbers(records().map(|_| 1))),
    ]
}

/// All records' cells of a family, as `export` writes them.
fn cells_of(family: &'static str) -> Vec<(&'static str, ArrayRef)> {
    let bytes = |values: Vec<String>| Arc::new(BinaryArray::from_iter_values(values)) as ArrayRef;
    let records = || (0..ROWS).map(record);
    let in_f = family == "f";
    let qualifier = if in_f { "a" } else { "b" };
    vec![
        ("row", bytes(records().map(|record| record.0).collect())),
        ("column", bytes(records().map(|_| format!("{family}:{qualifier}")).collect())),
        ("timestamp", numbers(records().map(|record| record.1))),
        ("type", text(records().map(|_| "Put"))),
        ("value", bytes(records().map(|record| if in_f { record.2 } else { record.3 }).collect())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_is_loaded_as_puts_would_write_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    let wanted = create(&connection, "puts", &["row3"]).await;
    for chunk in (0..ROWS).collect::<Vec<_>>().chunks(500) {
        let done = wanted.mutate_all(chunk.iter().copied().map(put).collect()).await;
        done.into_iter().for_each(|done| drop(done.expect("put")));
    }
    let wanted = cells(&wanted).await;

    parquet(&tool.at("in.parquet"), fields(0..ROWS));
    std::fs::copy(tool.at("in.parquet"), tool.at("nameless")).expect("copied");
    for (name, half) in [("part-0", 0..ROWS / 2), ("part-1", ROWS / 2..ROWS)] {
        parquet(&tool.at("days/day=1/hour=%31").join(name), fields(half));
    }
    std::fs::write(tool.at("days/_SUCCESS"), "").expect("written");
    for family in ["f", "g"] {
        parquet(&tool.at(&format!("cells/family={family}/cells.parquet")), cells_of(family));
    }
    let by_name = "b=g:b,at=HBASE_TS_KEY,id=HBASE_ROW_KEY,a=f:a";
    for (name, source, columns) in [
        ("named", "in.parquet", Some(by_name)),
        ("magic", "nameless", Some(by_name)),
        ("days", "days", Some(by_name)),
        ("cells", "cells", None),
    ] {
        let table = create(&connection, name, &["row2", "row4"]).await;
        let mut arguments = vec!["bulkload", name, source, "--memory", "16M"];
        arguments.extend(columns.iter().flat_map(|columns| ["--columns", columns]));
        let summary = tool.good(&arguments);
        assert_eq!(summary["regions"].as_u64(), Some(3), "{summary}");
        assert!(cells(&table).await == wanted, "{name} is what puts wrote");
    }

    // Folders as columns, by place and by name; values as Bytes.toBytes has them.
    let table = create(&connection, "folders", &[]).await;
    let columns = "id=HBASE_ROW_KEY,day=f:day,hour=f:hour,more=f:more";
    let timestamp = ["--timestamp", "5", "--parquet-values", "bytes"];
    let summary = tool.good(&[&["bulkload", "folders", "days", "--columns", columns][..], &timestamp].concat());
    assert_eq!((summary["inputs"].as_u64(), summary["skipped"].as_u64()), (Some(2), Some(1)), "{summary}");
    let found = cells(&table).await;
    for (qualifier, value) in [(&b"day"[..], &b"1"[..]), (b"hour", b"1"), (b"more", &[0, 0, 0, 0, 0, 0, 0, 1])] {
        let of_column = |key: &Vec<u8>| key.windows(qualifier.len()).any(|part| part == qualifier);
        let values: Vec<_> = found.iter().filter(|(key, _)| of_column(key)).collect();
        assert!(values.len() > ROWS / 2 && values.iter().all(|(_, found)| found == value), "{}", values.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_of_hbase_are_loaded_as_its_import_loads_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let connection = open(&server).await;
    copy(&ferrobase_tests::repository().join("tests/server/golden"), tool.folder.path());
    let create = async |name: &str| {
        let family = |name: &str| FamilyDescriptor::new(name.to_owned()).with("VERSIONS", "100");
        let table = TableDescriptor::new(name.parse().expect("a name"));
        let table = ["f", "g", "s"].into_iter().map(family).fold(table, TableDescriptor::with_family);
        connection.admin().create_table(&table, &["c".into()]).await.expect("created");
        connection.table(table.name)
    };
    let (import, export, one) = (create("import").await, create("export").await, create("one").await);
    tool.good(&["completebulkload", "import-bulk-out", "import"]);
    let summary = tool.good(&["bulkload", "export", "export-out"]);
    assert_eq!((summary["inputs"].as_u64(), summary["skipped"].as_u64()), (Some(3), Some(1)), "{summary}");
    let wanted = cells(&import).await;
    assert!(wanted.len() > 100, "{}", wanted.len());
    assert!(cells(&export).await == wanted, "the export is what Import made of it");

    // A file that is cut, or damaged, ends the run with its name and the place; nothing is loaded.
    let part = std::fs::read(tool.at("export-out/part-m-00001")).expect("a file");
    let mut hurt = part.clone();
    hurt[part.len() - 40] ^= 0xff;
    for (name, bytes) in [("cut", &part[..part.len() - 9]), ("hurt", &hurt)] {
        std::fs::write(tool.at(name), bytes).expect("written");
        let (code, _, error) = tool.run(&["bulkload", "one", name, "--input", "seqfile", "--max-rejects", "1000"]);
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&format!("file=`{name}`, offset=`")), "{error}");
    }
    assert!(cells(&one).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_do_not_fit_their_flags_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &[]);
    let tool = Tool { folder, connect: format!("127.0.0.1:{}", server.port) };
    let table = create(&open(&server).await, "t", &[]).await;
    parquet(&tool.at("in.parquet"), vec![("k", text(["r", ""].into_iter())), ("v", text(["", "x"].into_iter()))]);
    std::fs::create_dir(tool.at("empty")).expect("made");
    write(&tool.at("in.tsv"), ["r\t", "s\tx"].map(str::to_owned).into_iter());
    write(&tool.at("in.jsonl"), std::iter::empty());
    let refused = |arguments: &[&str], code: i32, why: &str| {
        let (found, _, error) = tool.run(&[&["bulkload", "t"], arguments].concat());
        assert!(found == Some(code) && error.contains(why), "{arguments:?}: {found:?} {error}");
    };
    let columns = ["--columns", "HBASE_ROW_KEY,f:a"];
    refused(&[&["in.parquet", "--separator", ","], &columns[..]].concat(), 2, "--separator");
    refused(&["x", "--input", "seqfile", "--columns", "HBASE_ROW_KEY,f:a"], 2, "--columns");
    refused(&["x", "--input", "seqfile", "--timestamp", "5"], 2, "--timestamp");
    refused(&[&["in.tsv", "--parquet-values", "bytes"], &columns[..]].concat(), 2, "--parquet-values");
    refused(&["in.jsonl", "--skip-empty-columns"], 2, "--skip-empty-columns");
    refused(&["in.parquet", "--skip-empty-columns"], 2, "needs --columns");
    refused(&["in.parquet"], 2, "the file's are k, v");
    refused(&["in.parquet", "--columns", "k=HBASE_ROW_KEY,w=f:a"], 2, "one column `w`");
    refused(&["/dev/stdin", "--input", "parquet"], 2, "several places");
    refused(&["s3://bucket"], 2, "a file or a folder in it is needed");
    refused(&["nosuch.parquet"], 2, "no such file");
    std::fs::create_dir(tool.at("mixed")).expect("made");
    for name in ["a.jsonl", "b.csv"] {
        write(&tool.at("mixed").join(name), std::iter::empty());
    }
    refused(&["mixed"], 2, "b.csv is of another kind");
    refused(&["empty"], 2, "say --input");
    std::fs::write(tool.at("empty/notes.txt"), "notes").expect("written");
    refused(&["empty"], 2, "say --input");
    std::fs::remove_file(tool.at("empty/notes.txt")).expect("removed");
    refused(&["empty", "--input", "parquet"], 2, "no file in this folder");
    refused(&["in.tsv", "--input", "parquet"], 1, "no Parquet file");
    refused(&["in.tsv", "--input", "seqfile"], 1, "does not begin with SEQ");
    refused(&[&["in.parquet"], &columns[..]].concat(), 1, "record=`2`; nothing was loaded");
    assert!(cells(&table).await.is_empty());

    let run = [&["bulkload", "t", "in.parquet", "--reject", "rejects"], &columns[..]].concat();
    let (code, summary, error) = tool.run(&run);
    assert_eq!((code, summary["cells"].as_u64(), summary["rejected"].as_u64()), (Some(3), Some(1), Some(1)), "{error}");
    let rejects = std::fs::read_to_string(tool.at("rejects")).expect("rejects");
    let line: Value = serde_json::from_str(&rejects).expect("a line");
    let wanted = json!({"row": "", "file": "in.parquet", "record": 2, "reason": "the row key is empty"});
    assert_eq!(line, wanted);
    assert_eq!(cells(&table).await.len(), 1);
    let summary =
        tool.good(&[&["bulkload", "t", "in.tsv", "--skip-empty-columns", "--dry-run"], &columns[..]].concat());
    assert_eq!((summary["records"].as_u64(), summary["cells"].as_u64()), (Some(2), Some(1)), "{summary}");
}
