//! A big file of TSV into a table cut into regions: by `ferrobase bulkload`, by puts of the Rust client, and by HBase's ImportTsv and
//! BulkLoadHFilesTool with MapReduce in one process.
//!
//! Every table is scanned through its Thrift server afterwards: rows, cells and the sum of their hashes are those of the file.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use client::{BufferSettings, Connection};
use ferrobase_benches::measure::{Ferrobase, Took, beside, peak_mib, processor_time, run as run_program, spread};
use ferrobase_benches::{COLUMNS, Numbers, tokio_runtime, value};
use ferrobase_hadoop_fixture::{HBase, ThriftApi};
use model::mutation::{Mutation, MutationKind};
use model::{Cell, LATEST_TIMESTAMP};

use crate::wire::{FAMILY, Peer, Service};
use crate::{HEAP_MB, create_in_ferrobase, create_in_hbase, key};

/// Memory that `ferrobase bulkload` may sort in.
const MEMORY: &str = "512M";
/// Heap of ImportTsv, in MiB.
const IMPORT_HEAP_MB: u32 = 2048;
/// Heap of the tool that hands files to regions, in MiB.
const LOAD_HEAP_MB: u32 = 512;
/// Buffered mutators that put side by side.
const PUTTERS: usize = 4;
/// Rows that are asked for at once when a table is counted.
const SCANNED_AT_ONCE: i32 = 1000;

/// What a file or a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    rows: u64,
    cells: u64,
    /// Of the cells' hashes; their order does not matter.
    sum: u64,
}

impl Tally {
    fn add(&mut self, row: &[u8], column: &[u8], value: &[u8]) {
        let mut hasher = DefaultHasher::new();
        (row, column, value).hash(&mut hasher);
        self.cells += 1;
        self.sum = self.sum.wrapping_add(hasher.finish());
    }
}

fn qualifier(column: usize) -> String {
    format!("field{column}")
}

/// `HBASE_ROW_KEY,f:field0,…`, which both sides read.
fn columns() -> String {
    (0..COLUMNS).fold("HBASE_ROW_KEY".to_owned(), |text, column| format!("{text},{FAMILY}:{}", qualifier(column)))
}

/// Rows of ten columns of words, in no order; its bytes and what it holds.
fn write_input(path: &Path, bytes: u64) -> (u64, Tally) {
    let mut file = BufWriter::new(File::create(path).expect("a file"));
    let (mut written, mut tally) = (0, Tally::default());
    while written < bytes {
        let (row, mut numbers) = (key(tally.rows), Numbers(tally.rows));
        let mut line = row.clone().into_bytes();
        for column in 0..COLUMNS {
            let value = value(&mut numbers);
            line.push(b'\t');
            line.extend(&value);
            tally.add(row.as_bytes(), format!("{FAMILY}:{}", qualifier(column)).as_bytes(), &value);
        }
        line.push(b'\n');
        file.write_all(&line).expect("written");
        (written, tally.rows) = (written + line.len() as u64, tally.rows + 1);
    }
    file.into_inner().expect("written").sync_all().expect("synced");
    (written, tally)
}

/// What a table holds, as its Thrift server tells.
fn count(port: u16, table: &str) -> Tally {
    let mut peer = Peer::connect(Service::One, port);
    let scanner = peer.open_scanner(table, "");
    let mut tally = Tally::default();
    loop {
        peer.scan(scanner, SCANNED_AT_ONCE);
        let rows = peer.walk(|row, column, value| tally.add(row, column, value));
        if rows == 0 {
            peer.close_scanner(scanner);
            return tally;
        }
        tally.rows += rows as u64;
    }
}

/// What one way took, with the processor time of the server meanwhile.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    tool: Took,
    server: f64,
}

/// One way in all rounds.
struct Ways {
    name: &'static str,
    rounds: Vec<Way>,
}

/// Runs something while a server works for it.
fn with_server(pid: u32, work: impl FnOnce() -> Took) -> Way {
    let before = processor_time(pid);
    let tool = work();
    Way { tool, server: processor_time(pid) - before }
}

/// All lines as puts, acknowledged when this returns; and then how long until they lie in store files.
async fn puts(connect: &str, table: &str, input: &Path) -> (Took, Took) {
    let connection = Connection::builder(connect).open().await.expect("connected");
    let (begun, before) = (Instant::now(), processor_time(std::process::id()));
    let took = || Took {
        seconds: begun.elapsed().as_secs_f64(),
        processor: processor_time(std::process::id()) - before,
        peak_mib: peak_mib(std::process::id()).expect("this process lives"),
    };
    let name: model::schema::TableName = table.parse().expect("a name");
    let buffer = |_| connection.buffered_mutator(name.clone(), BufferSettings::default());
    let buffers: Vec<_> = (0..PUTTERS).map(buffer).collect();
    let qualifiers: Vec<String> = (0..COLUMNS).map(qualifier).collect();
    let mut lines = BufReader::with_capacity(1 << 20, File::open(input).expect("the input"));
    let mut line = Vec::new();
    for number in 0.. {
        line.clear();
        if lines.read_until(b'\n', &mut line).expect("read") == 0 {
            break;
        }
        let mut fields = line.strip_suffix(b"\n").unwrap_or(&line).split(|byte| *byte == b'\t');
        let row = fields.next().expect("a line has a key");
        let mut put = Mutation::new(MutationKind::Put, row.to_vec());
        for (qualifier, value) in qualifiers.iter().zip(fields) {
            let cell = Cell::put(row, FAMILY.as_bytes(), qualifier.as_bytes(), LATEST_TIMESTAMP, value);
            put.cells.push(cell.expect("short parts"));
        }
        buffers[number % PUTTERS].mutate(put).await.expect("taken");
    }
    for buffer in buffers {
        buffer.close().await.expect("acknowledged");
    }
    let acknowledged = took();
    connection.admin().flush(&name).await.expect("flushed");
    (acknowledged, took())
}

struct Bench<'a> {
    folder: &'a Path,
    input: PathBuf,
    store: Ferrobase,
    gateway: Ferrobase,
    hbase: HBase,
}

impl Bench<'_> {
    fn connect(&self) -> String {
        format!("127.0.0.1:{}", self.store.port("port"))
    }

    fn ferrobase_load(&self, table: &str) -> Way {
        let mut command = Command::new(beside("ferrobase"));
        command.args(["bulkload", table]).arg(&self.input).args(["--columns", &columns(), "--memory", MEMORY]);
        command.args(["--connect", &self.connect(), "--no-progress"]).env("TMPDIR", self.folder);
        with_server(self.store.pid(), || run_program(command, &self.folder.join("bulkload.log")))
    }

    fn ferrobase_puts(&self, table: &str) -> (Way, Way) {
        let mut acknowledged = Took::default();
        let mut server = 0.0;
        let flushed = with_server(self.store.pid(), || {
            let before = processor_time(self.store.pid());
            let (first, all) = tokio_runtime().block_on(puts(&self.connect(), table, &self.input));
            (acknowledged, server) = (first, processor_time(self.store.pid()) - before);
            all
        });
        // Flushes that fall into the puts are theirs; what the last one costs is in both figures of the server.
        (Way { tool: acknowledged, server }, flushed)
    }

    /// ImportTsv into store files, and their load.
    fn hbase_load(&self, table: &str) -> (Way, Way) {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let (made, scratch) = (self.folder.join("hfiles"), self.folder.join("mapreduce"));
        let url = format!("file://{}", made.display());
        let settings = [
            "-Dmapreduce.framework.name=local".to_owned(),
            "-Dfs.defaultFS=file:///".to_owned(),
            format!("-Dmapreduce.local.map.tasks.maximum={cores}"),
            format!("-Dmapreduce.local.reduce.tasks.maximum={cores}"),
            format!("-Dhadoop.tmp.dir={}", scratch.display()),
            format!("-Dhbase.fs.tmp.dir={}", scratch.join("hbase").display()),
            format!("-Dimporttsv.columns={}", columns()),
            format!("-Dimporttsv.bulk.output={url}"),
        ];
        let input = format!("file://{}", self.input.display());
        let mut arguments: Vec<&str> = settings.iter().map(String::as_str).collect();
        arguments.extend([table, &input]);
        let import = "org.apache.hadoop.hbase.mapreduce.ImportTsv";
        let import = self.hbase.tool(import, IMPORT_HEAP_MB, &arguments);
        let made_by = with_server(self.hbase.pid(), || run_program(import, &self.folder.join("import.log")));
        let load = self.hbase.tool("org.apache.hadoop.hbase.tool.BulkLoadHFilesTool", LOAD_HEAP_MB, &[&url, table]);
        let loaded = with_server(self.hbase.pid(), || run_program(load, &self.folder.join("load.log")));
        std::fs::remove_dir_all(&made).expect("made by ImportTsv");
        drop(std::fs::remove_dir_all(&scratch)); // It may be empty and gone already.
        (made_by, loaded)
    }
}

/// Every way in turns; a table is printed, and how many times as long the others take.
pub fn run(folder: &Path, megabytes: u64, rounds: u64) {
    let input = folder.join("input.tsv");
    let (bytes, wanted) = write_input(&input, megabytes * 1_000_000);
    println!(
        "{:.1} MB of TSV, {} rows, {} cells, {} regions\n",
        bytes as f64 / 1e6,
        wanted.rows,
        wanted.cells,
        crate::REGIONS
    );
    let (store, gateway) = crate::start_ferrobase(folder);
    let hbase = HBase::start_for_figures(&folder.join("hbase"), HEAP_MB);
    let bench = Bench { folder, input, store, gateway, hbase };
    let thrift = bench.hbase.thrift(ThriftApi::One, &["-f"]);
    let names = [
        "`ferrobase bulkload`",
        "puts, acknowledged",
        "puts, acknowledged and flushed",
        "HBase: ImportTsv",
        "HBase: BulkLoadHFilesTool",
        "HBase: both",
    ];
    let mut all = names.map(|name| Ways { name, rounds: Vec::new() });
    for round in 1..=rounds {
        let names = [format!("loaded{round}"), format!("put{round}")];
        names.iter().for_each(|table| create_in_ferrobase(bench.store.port("port"), table));
        create_in_hbase(&bench.hbase, folder, &names[0]);
        let loaded = bench.ferrobase_load(&names[0]);
        let (made, taken) = bench.hbase_load(&names[0]);
        let (acknowledged, flushed) = bench.ferrobase_puts(&names[1]);
        let both = Way { tool: made.tool.and(taken.tool), server: made.server + taken.server };
        for (ways, way) in all.iter_mut().zip([loaded, acknowledged, flushed, made, taken, both]) {
            ways.rounds.push(way);
        }
        for table in &names {
            assert_eq!(count(bench.gateway.port("thrift_port"), table), wanted, "{table} in Ferrobase");
        }
        assert_eq!(count(thrift.port, &names[0]), wanted, "{} in HBase", names[0]);
        eprintln!("round {round} of {rounds}: every row and cell of the file is in each table");
    }
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "| way | seconds | seconds a GB | times as long | processor seconds a GB, tool | the same, server | tool's peak, MiB |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for ways in &all {
        let of = |digits, of: &dyn Fn(&Way) -> f64| spread(&ways.rounds.iter().map(of).collect::<Vec<_>>(), digits);
        let longer = ways.rounds.iter().zip(&all[0].rounds).map(|(way, own)| way.tool.seconds / own.tool.seconds);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} |",
            ways.name,
            of(1, &|way| way.tool.seconds),
            of(1, &|way| way.tool.seconds / gigabytes),
            spread(&longer.collect::<Vec<_>>(), 2),
            of(1, &|way| way.tool.processor / gigabytes),
            of(1, &|way| way.server / gigabytes),
            of(0, &|way| way.tool.peak_mib as f64),
        );
    }
}
