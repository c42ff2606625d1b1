//! Flags of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use model::mutation::Durability;

use crate::arguments::{duration, size};

/// What `bench` runs.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// One of YCSB's core workloads: load, then run
    Ycsb {
        /// The mix: a 50 % reads and updates, b 95 % reads, c reads, d reads of the latest, e short scans,
        /// f read-modify-write
        #[arg(long, env = "FERROBASE_WORKLOAD", value_enum, ignore_case = true)]
        workload: Workload,
        /// How much and against what
        #[command(flatten)]
        load: Load,
    },
    /// One of the tests of HBase's PerformanceEvaluation
    Pe {
        /// The test; those that read load the rows first
        #[arg(value_name = "TEST", value_enum)]
        test: Test,
        /// How much and against what
        #[command(flatten)]
        load: Load,
    },
}

/// YCSB's core workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "their names are all there is; the mixes are in `plan`")]
pub enum Workload {
    A,
    B,
    C,
    D,
    E,
    F,
}

/// Tests of HBase's PerformanceEvaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "camelCase")]
#[allow(missing_docs, reason = "their names are all there is; what they do is in `plan`")]
pub enum Test {
    SequentialWrite,
    RandomWrite,
    SequentialRead,
    RandomRead,
    Scan,
    Increment,
    Append,
}

/// When a write is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durable {
    /// Not logged
    Skip,
    /// Logged soon
    Async,
    /// Logged and synced
    Sync,
    /// Forced to the device
    Fsync,
}

impl From<Durable> for Durability {
    fn from(durable: Durable) -> Durability {
        match durable {
            Durable::Skip => Durability::SkipWal,
            Durable::Async => Durability::AsyncWal,
            Durable::Sync => Durability::SyncWal,
            Durable::Fsync => Durability::FsyncWal,
        }
    }
}

/// What happens between loading and running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Settle {
    /// Nothing: what is not flushed yet is read from memory
    None,
    /// All is flushed
    Flush,
    /// All is flushed and compacted into one file
    Compact,
}

/// Rows that a bench may have.
const RECORDS_MAX: u64 = 1_000_000_000_000;

/// How much and against what.
#[derive(Clone, Debug, Args)]
pub struct Load {
    /// `engine`: a region in this process; HOST:PORT[,…]: a server; `server`: the one of --server-ready-file; `none`: nothing, to
    /// see what the bench itself costs
    #[arg(long, env = "FERROBASE_TARGET", default_value = "engine")]
    pub target: String,
    /// Rows loaded
    #[arg(long, env = "FERROBASE_RECORDS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
    pub records: u64,
    /// Operations of the run [default: as many as rows, or no limit with --duration]
    #[arg(long, env = "FERROBASE_OPERATIONS")]
    pub operations: Option<u64>,
    /// Operations under way at once
    #[arg(long, env = "FERROBASE_THREADS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub threads: u64,
    /// Columns of a row [default: 10; pe: 1]
    #[arg(long, env = "FERROBASE_FIELDS")]
    pub fields: Option<u64>,
    /// Bytes of a value [default: 100; pe: 1000]
    #[arg(long, env = "FERROBASE_VALUE_SIZE", value_parser = size)]
    pub value_size: Option<u64>,
    /// When a write is acknowledged
    #[arg(long, env = "FERROBASE_DURABILITY", value_enum, default_value = "sync")]
    pub durability: Durable,
    /// Longest time of the run, such as 30s
    #[arg(long, env = "FERROBASE_DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Time before anything of the run is counted
    #[arg(long, env = "FERROBASE_WARMUP", value_parser = duration, default_value = "0s")]
    pub warmup: Duration,
    /// Operations a second in all; latency then counts from when an operation was due
    #[arg(long, env = "FERROBASE_RATE", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Same seed, same operations
    #[arg(long, env = "FERROBASE_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Leave out loading: the rows are there from an earlier run
    #[arg(long, env = "FERROBASE_SKIP_LOAD")]
    pub skip_load: bool,
    /// Between loading and running
    #[arg(long, env = "FERROBASE_SETTLE", value_enum, default_value = "none")]
    pub settle: Settle,
    /// COMPRESSION of the table's family
    #[arg(long, env = "FERROBASE_COMPRESSION", default_value = "NONE")]
    pub compression: String,
    /// DATA_BLOCK_ENCODING of the table's family
    #[arg(long, env = "FERROBASE_ENCODING", default_value = "NONE")]
    pub encoding: String,
    /// BLOOMFILTER of the table's family
    #[arg(long, env = "FERROBASE_BLOOM", default_value = "ROW")]
    pub bloom: String,
    /// Memory for memtables and blocks of target `engine`
    #[arg(long, env = "FERROBASE_MEMORY", value_parser = size, default_value = "1G")]
    pub memory: u64,
    /// Folder for target `engine`, kept [default: a temporary one, removed]
    #[arg(long, env = "FERROBASE_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Table of a server, made if it is not there, kept [default: a new one, dropped at the end]
    #[arg(long, env = "FERROBASE_TABLE", value_name = "NAME")]
    pub table: Option<String>,
    /// The --ready-file that the server wrote: processor time, memory and bytes written are those of its process
    #[arg(long, env = "FERROBASE_SERVER_READY_FILE", value_name = "FILE")]
    pub server_ready_file: Option<PathBuf>,
    /// Write all settings and results as JSON
    #[arg(long, env = "FERROBASE_JSON", value_name = "FILE")]
    pub json: Option<PathBuf>,
}
