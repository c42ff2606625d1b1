//! Flags: names, environment variables and defaults. `docs/CLI.md` is this file in prose.
//!
//! Always true
//! - Every flag has an environment variable `FERROBASE_<FLAG>`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use model::schema::TableName;

use crate::roots::RootFlags;

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// TOML file with settings; its keys are the flags' names
    #[arg(long, global = true, env = "FERROBASE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How much to log: error, warn, info, debug, trace, or a filter such as storage=debug
    #[arg(long, global = true, env = "FERROBASE_LOG_LEVEL", default_value = "warn")]
    pub log_level: String,
    /// How log lines look
    #[arg(long, global = true, env = "FERROBASE_LOG_FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
    /// How results look
    #[arg(long, global = true, env = "FERROBASE_FORMAT", value_enum, default_value = "table")]
    pub format: Format,
    /// Print results only
    #[arg(short, long, global = true, env = "FERROBASE_QUIET")]
    pub quiet: bool,
    /// Colour on a terminal; NO_COLOR is obeyed
    #[arg(long, global = true, env = "FERROBASE_COLOR", value_enum, default_value = "auto")]
    pub color: Color,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Never.
    Never,
}

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Flags of `standalone`.
#[derive(Debug, Args)]
pub struct Standalone {
    /// Where the data lies: a folder, which is made if it is missing, or s3://bucket/prefix
    #[arg(long, env = "FERROBASE_DATA", default_value = "./ferrobase-data", value_name = "URL")]
    pub data: String,
    /// Where the log lies; default the data root. It may change: earlier logs are found where they are
    #[arg(long, env = "FERROBASE_WAL", value_name = "URL")]
    pub wal: Option<String>,
    /// How the roots are reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Address to listen on; any but a loopback one needs --insecure
    #[arg(long, env = "FERROBASE_BIND", default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    /// Host and port that clients are told to use; default the ones listened on
    #[arg(long, env = "FERROBASE_ADVERTISE", value_name = "HOST[:PORT]")]
    pub advertise: Option<String>,
    /// Listen on an address that other machines reach, without any security
    #[arg(long, env = "FERROBASE_INSECURE")]
    pub insecure: bool,
    /// Port of the service; 0 takes a free one
    #[arg(long, env = "FERROBASE_PORT", default_value = "16000", value_name = "N")]
    pub port: u16,
    /// Port of /health, /ready and /metrics; 0 takes a free one, `off` closes it
    #[arg(long, env = "FERROBASE_HTTP_PORT", default_value = "16010", value_name = "N", value_parser = optional_port)]
    pub http_port: OptionalPort,
    /// Port of the Thrift 1 service inside this process; 0 takes a free one
    #[arg(long, env = "FERROBASE_THRIFT_PORT", default_value = "off", value_name = "N", value_parser = optional_port)]
    pub thrift_port: OptionalPort,
    /// Port of the Thrift 2 service inside this process; 0 takes a free one
    #[arg(long, env = "FERROBASE_THRIFT2_PORT", default_value = "off", value_name = "N", value_parser = optional_port)]
    pub thrift2_port: OptionalPort,
    /// Memory for memtables, block cache and requests together; default a quarter of RAM or of the cgroup's limit
    #[arg(long, env = "FERROBASE_MEMORY", value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// File that tells, as JSON, pid and ports once the server is ready
    #[arg(long, env = "FERROBASE_READY_FILE", value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Folder on this machine's disk for copies of parts of store files, for a root in S3 or HDFS
    #[arg(long, env = "FERROBASE_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most that --cache-dir takes on its disk; default 10G
    #[arg(long, env = "FERROBASE_CACHE_SIZE", value_name = "SIZE", value_parser = size)]
    pub cache_size: Option<u64>,
    /// Take the data folder over from a holder that does not answer
    #[arg(long, env = "FERROBASE_TAKE_OVER")]
    pub take_over: bool,
}

/// A port that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionalPort {
    /// Closed.
    Off,
    /// This one; 0 takes a free one.
    Port(u16),
}

/// Reads a port, 0 or `off`.
pub fn optional_port(text: &str) -> Result<OptionalPort, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(OptionalPort::Off);
    }
    text.parse().map(OptionalPort::Port).map_err(|_| "a port number, 0 or `off` is needed".to_owned())
}

/// Bytes, with K, M, G as powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    parse_size::Config::new()
        .with_binary()
        .parse_size(text)
        .map_err(|error| format!("a size such as 64M or 2G is needed ({error})"))
}

/// Flags of `fsck`.
#[derive(Debug, Args)]
pub struct Fsck {
    /// The data root; a server may run on it
    #[arg(long, env = "FERROBASE_DATA", default_value = "./ferrobase-data", value_name = "URL")]
    pub data: String,
    /// How the root is reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Check this table only; `ns:table` for one outside the default namespace
    #[arg(long, env = "FERROBASE_TABLE")]
    pub table: Option<TableName>,
    /// Read every store file whole: checksums, order and number of its cells
    #[arg(long, env = "FERROBASE_DEEP")]
    pub deep: bool,
    /// Delete files that an earlier owner of a region has left over; nothing else is changed
    #[arg(long, env = "FERROBASE_REPAIR")]
    pub repair: bool,
}

/// A time such as 30s or 5min.
pub fn duration(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("a time such as 30s or 5min is needed ({error})"))
}

/// What `inspect` looks into.
#[derive(Debug, Subcommand)]
pub enum Inspect {
    /// A store file: HBase's, or Ferrobase's own
    Hfile(Hfile),
    /// A data root: namespaces, tables, regions, families, files, log streams
    Tree(Tree),
    /// A region's manifest, or a table's head
    Manifest(OneThing),
    /// A region: keys, state, files, and what of it is in the log alone
    Region(OneThing),
    /// The log: its streams, the objects of one, or entries
    Wal(Wal),
}

/// Where `inspect` looks.
#[derive(Debug, Args)]
pub struct Looking {
    /// The data root, if the target is a name below it; a server may run on it
    #[arg(long, env = "FERROBASE_DATA", default_value = "./ferrobase-data", value_name = "URL")]
    pub data: String,
    /// How roots are reached
    #[command(flatten)]
    pub roots: RootFlags,
}

/// Flags of `inspect tree`.
#[derive(Debug, Args)]
pub struct Tree {
    /// The data root; default that of --data
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Where to look
    #[command(flatten)]
    pub looking: Looking,
}

/// Flags of `inspect manifest` and `inspect region`.
#[derive(Debug, Args)]
pub struct OneThing {
    /// A region's encoded name or its name in META, a table's name (of `manifest`), or the path of its register
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Where to look
    #[command(flatten)]
    pub looking: Looking,
}

/// Flags of `inspect wal`.
#[derive(Debug, Args)]
pub struct Wal {
    /// A stream's id or path, the path of one of its objects, or a root; default the root of --data
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Print the entries
    #[arg(short, long, env = "FERROBASE_ENTRIES")]
    pub entries: bool,
    /// Print the entries of this region only: its encoded name or its name in META
    #[arg(long, env = "FERROBASE_REGION", value_name = "NAME")]
    pub region: Option<String>,
    /// Print the entries of this row only; \xNN stands for a byte
    #[arg(long, env = "FERROBASE_ROW")]
    pub row: Option<String>,
    /// Print the entries with these sequence numbers only: N, or FIRST..LAST, or one end of it
    #[arg(long, env = "FERROBASE_SEQNO", value_name = "RANGE", value_parser = seqnos)]
    pub seqno: Option<(u64, u64)>,
    /// Where to look
    #[command(flatten)]
    pub looking: Looking,
}

fn seqnos(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str, open: u64| if text.is_empty() { Ok(open) } else { text.parse::<u64>() };
    let range = match text.split_once("..") {
        Some((from, to)) if text != ".." => number(from, 0).and_then(|from| Ok((from, number(to, u64::MAX)?))),
        _ => text.parse().map(|one| (one, one)),
    };
    let wanted = || "a number such as 7, or a range such as 7..12, 7.. or ..12 is needed".to_owned();
    range.ok().filter(|(from, to)| from <= to).ok_or_else(wanted)
}

/// Flags of `inspect hfile`, with HBase's letters.
#[derive(Debug, Args)]
pub struct Hfile {
    /// The file: a path, s3://bucket/…/file or hdfs://host:port/…/file
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// How a file elsewhere is reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Print trailer and file info
    #[arg(short)]
    pub meta: bool,
    /// Print the cells
    #[arg(short)]
    pub pairs: bool,
    /// Check that the cells are in order
    #[arg(short = 'k')]
    pub check: bool,
    /// Print counts and sizes
    #[arg(short)]
    pub stats: bool,
    /// Print the cells of this row only
    #[arg(short = 'w', value_name = "ROW")]
    pub row: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_ports_may_be_off() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert!(size("much").is_err() && optional_port("70000").is_err());
        assert_eq!((seqnos("7"), seqnos("7..12"), seqnos("..7")), (Ok((7, 7)), Ok((7, 12)), Ok((0, 7))));
        assert!(seqnos("..").is_err() && seqnos("9..7").is_err() && seqnos("x").is_err());
        assert_eq!((optional_port("off"), optional_port("0")), (Ok(OptionalPort::Off), Ok(OptionalPort::Port(0))));
    }
}
