//! `export`: from a table to files, through the `bulkload` crate.
//!
//! Always true
//! - What cannot be is told before DEST is touched, with exit code 2.
//! - Success is `_SUCCESS` in DEST; every other end says whether the same command goes on.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bulkload::LoadError;
use bulkload::export::partition::Partition;
use bulkload::export::request::{ALL_VERSIONS, Codec, Output, Request, Wanted};
use bulkload::export::{Export, RANGE_MEMORY_MIN, Summary};
use clap::{Args, ValueEnum};
use filesystem::Filesystem;
use model::ErrorKind;
use model::query::TimeRange;
use model::schema::TableName;
use runtime::Runtime;

use crate::arguments::{Format, Global, duration, size};
use crate::connect;
use crate::failure::Failure;
use crate::progress::Shown;
use crate::roots::{RootFlags, Use};
use crate::shell::from_binary;

/// How files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Rows as JSON, one object a line, with every cell's timestamp and type.
    Jsonl,
    /// A header, and a line for each row with the newest values of --columns.
    Csv,
    /// A record for each cell, or with --wide for each row.
    Parquet,
    /// Store files, which Ferrobase's and HBase's completebulkload take.
    Hfile,
}

/// How files are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Packed {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// Snappy; Parquet and store files only.
    Snappy,
    /// LZ4; Parquet and store files only.
    Lz4,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct Flags {
    /// The table; `ns:table` for one outside the default namespace
    #[arg(value_name = "TABLE")]
    pub table: TableName,
    /// A folder without files: a path, s3://bucket/folder or hdfs://host:port/folder
    #[arg(value_name = "DEST")]
    pub dest: String,
    /// How files are written
    #[arg(long, env = "FERROBASE_OUTPUT", value_enum, default_value = "jsonl")]
    pub output: Kind,
    /// First row; \xNN stands for a byte
    #[arg(long, env = "FERROBASE_START_ROW", value_name = "ROW", default_value = "", hide_default_value = true)]
    pub start_row: String,
    /// Row behind the last; \xNN stands for a byte
    #[arg(long, env = "FERROBASE_STOP_ROW", value_name = "ROW", default_value = "", hide_default_value = true)]
    pub stop_row: String,
    /// Smallest timestamp, in milliseconds
    #[arg(long, env = "FERROBASE_START_TIME", value_name = "MS", default_value = "0")]
    pub start_time: i64,
    /// Smallest timestamp behind the last, in milliseconds; default no end
    #[arg(long, env = "FERROBASE_END_TIME", value_name = "MS")]
    pub end_time: Option<i64>,
    /// Versions of each column: a number, or `all`; default 1, with --raw all
    #[arg(long, env = "FERROBASE_VERSIONS", value_name = "N", value_parser = versions)]
    pub versions: Option<u32>,
    /// Families and columns, such as cf,cf:q; \xNN stands for a byte. Default all
    #[arg(long, env = "FERROBASE_COLUMNS", value_name = "LIST")]
    pub columns: Option<String>,
    /// With delete markers, and what they hide
    #[arg(long, env = "FERROBASE_RAW")]
    pub raw: bool,
    /// Parquet with a record for each row, and a column for each of --columns with its newest value
    #[arg(long, env = "FERROBASE_WIDE")]
    pub wide: bool,
    /// How files are packed; default none for text, zstd for Parquet, the families' own for store files
    #[arg(long, env = "FERROBASE_COMPRESSION", value_enum)]
    pub compression: Option<Packed>,
    /// Folders NAME=VALUE by the newest value of a column (cf:q), or by the bytes that rows begin with (row_prefix=N)
    #[arg(long, env = "FERROBASE_PARTITION", value_name = "SPEC")]
    pub partition: Option<String>,
    /// Memory for all regions read at the same time
    #[arg(long, env = "FERROBASE_MEMORY", value_name = "SIZE", value_parser = size, default_value = "512M")]
    pub memory: u64,
    /// Regions read at the same time; default the number of cores
    #[arg(long, env = "FERROBASE_PARALLEL", value_name = "N")]
    pub parallel: Option<usize>,
    /// Server as HOST:PORT[,…], or the data folder of a running one
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDR")]
    pub connect: String,
    /// Longest wait for the cluster's next answer over all attempts, such as 2min; default a minute
    #[arg(long, env = "FERROBASE_TIMEOUT", value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// How a DEST elsewhere is reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// No progress on standard error
    #[arg(long, env = "FERROBASE_NO_PROGRESS")]
    pub no_progress: bool,
}

fn versions(text: &str) -> Result<u32, String> {
    if text == "all" {
        return Ok(ALL_VERSIONS);
    }
    text.parse().ok().filter(|n| (1..=ALL_VERSIONS).contains(n)).ok_or_else(|| "a number or `all` is needed".to_owned())
}

fn wanted(name: &str) -> Result<Wanted, Failure> {
    let (family, qualifier) = match name.split_once(':') {
        Some((family, qualifier)) => (family, Some(from_binary(qualifier.as_bytes()))),
        None => (name, None),
    };
    let family = from_binary(family.as_bytes());
    model::schema::check_family(&family).map_err(|error| Failure::usage(format!("--columns: {error}")))?;
    Ok(Wanted { family, qualifier })
}

impl Flags {
    fn request(&self) -> Result<Request, Failure> {
        let row = |text: &str| from_binary(text.as_bytes());
        let output = match (self.output, self.wide) {
            (Kind::Parquet, true) => Output::WideParquet,
            (_, true) => return Err(Failure::usage("--wide: only of --output parquet")),
            (Kind::Jsonl, false) => Output::JsonLines,
            (Kind::Csv, false) => Output::Csv,
            (Kind::Parquet, false) => Output::Parquet,
            (Kind::Hfile, false) => Output::StoreFiles,
        };
        let codec = |packed: Packed| match packed {
            Packed::None => Codec::None,
            Packed::Gzip => Codec::Gzip,
            Packed::Zstd => Codec::Zstd,
            Packed::Snappy => Codec::Snappy,
            Packed::Lz4 => Codec::Lz4,
        };
        let partition = self.partition.as_deref().map(|spec| {
            let read: Result<Partition, String> = match spec.split_once(':') {
                Some((family, qualifier)) => {
                    let (family, qualifier) = (row(family), row(qualifier));
                    let checked = model::schema::check_family(&family).map_err(|error| error.to_string());
                    checked.map(|()| Partition::Column((family, qualifier)))
                }
                None => spec.parse(),
            };
            read.map_err(|why| Failure::usage(format!("--partition: {why}")))
        });
        let columns = self.columns.iter().flat_map(|list| list.split(',')).map(|name| wanted(name.trim()));
        Ok(Request {
            table: self.table.clone(),
            output,
            codec: self.compression.map(codec),
            start_row: row(&self.start_row),
            stop_row: row(&self.stop_row),
            time_range: TimeRange { from: self.start_time, to: self.end_time.unwrap_or(i64::MAX) },
            versions: self.versions.unwrap_or(if self.raw { ALL_VERSIONS } else { 1 }),
            columns: columns.collect::<Result<_, _>>()?,
            raw: self.raw,
            partition: partition.transpose()?,
        })
    }

    /// DEST's storage, and its name there. A folder's parents are made.
    async fn place(&self, runtime: &Runtime) -> Result<(Arc<dyn Filesystem>, String), Failure> {
        let url = self.roots.canonical("DEST", &self.dest)?;
        let folder = self.roots.folder("DEST", &url)?;
        let (parent, name) = url.rsplit_once('/').unwrap_or((".", &url));
        if name.is_empty() || parent.ends_with(":/") {
            return Err(Failure::usage(format!("DEST {}: a folder below that is needed", self.dest)));
        }
        filesystem::check_key(name).map_err(|error| Failure::usage(format!("DEST {}: {error}", self.dest)))?;
        let how = match &folder {
            Some(folder) if folder.exists() && !folder.is_dir() => {
                return Err(Failure::usage(format!("DEST {}: a folder is needed, this is none", self.dest)));
            }
            Some(_) => Use::Make,
            None => Use::Look,
        };
        let parent = if parent.is_empty() { "/" } else { parent };
        Ok((self.roots.open_for(how, "DEST", parent, runtime).await?, name.to_owned()))
    }

    fn failure(&self, error: &LoadError, began: bool) -> Failure {
        let message = error.to_string();
        let elsewhere = self.dest.contains("://") && !self.dest.starts_with("file://");
        match (error, error.kind()) {
            (LoadError::Client(_), ErrorKind::Unavailable | ErrorKind::NotServing) => Failure { code: 4, message },
            (LoadError::Filesystem(_), ErrorKind::Unavailable | ErrorKind::Busy) if elsewhere => {
                Failure { code: 4, message }
            }
            (LoadError::Usage(_), _) if !began => Failure::usage(message),
            (LoadError::Client(_), ErrorKind::NotFound) if !began => Failure::usage(message),
            (LoadError::Filesystem(_), ErrorKind::Denied | ErrorKind::Invalid) if !began => {
                Failure::usage(format!("DEST {}: {message}", self.dest))
            }
            _ => Failure::failed(message),
        }
    }
}

/// Runs `export`.
pub async fn run(flags: &Flags, global: &Global) -> Result<(), Failure> {
    let runtime = Runtime::system();
    let request = flags.request()?;
    if flags.memory < RANGE_MEMORY_MIN {
        return Err(Failure::usage(format!("--memory: at least {}M is needed", RANGE_MEMORY_MIN >> 20)));
    }
    let connection = connect::open(&flags.connect, &flags.roots, flags.timeout).await?;
    let admin = connection.admin();
    let descriptor = match admin.descriptor(&flags.table).await {
        Ok(descriptor) => descriptor,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Failure::usage(format!("table {} does not exist", flags.table)));
        }
        Err(error) => return Err(flags.failure(&error.into(), false)),
    };
    request.check(&descriptor).map_err(Failure::usage)?;
    let (fs, folder) = flags.place(&runtime).await?;
    let shown = Arc::new(Shown::new(global.quiet || flags.no_progress, &runtime));
    let cores = || std::thread::available_parallelism().map_or(2, usize::from);
    let table = connection.table(flags.table.clone());
    let export = Export {
        table,
        admin,
        cluster_id: connection.cluster_id().to_owned(),
        descriptor,
        request,
        fs,
        folder,
        parallel: flags.parallel.unwrap_or_else(cores).max(1),
        memory_bytes: flags.memory,
        runtime: runtime.clone(),
        progress: shown.clone(),
    };
    let begun = export.begin().await.map_err(|error| flags.failure(&error, false))?;
    let mut summary = Summary::default();
    let ended = begun.run(&mut summary).await;
    shown.end();
    if let Err(error) = ended {
        let Failure { code, message } = flags.failure(&error, true);
        let done = summary.ranges_done + summary.ranges_before;
        let message = format!(
            "{message}; {done} of {} regions are written to {}, which has no _SUCCESS: the same command goes on with the others",
            summary.ranges, flags.dest
        );
        return Err(Failure { code, message });
    }
    tell(&summary, &flags.dest, global.format);
    Ok(())
}

/// Nobody may be reading: the exit code tells all the same.
fn tell(summary: &Summary, dest: &str, format: Format) {
    let text = match format {
        Format::Table => {
            let Summary { table, ranges, ranges_before, rows, cells, files, bytes, seconds, .. } = summary;
            let mut text =
                format!("{cells} cells in {rows} rows of {table} written to {dest}: {files} files of {bytes} bytes");
            if *ranges_before > 0 {
                text += &format!("\n{ranges_before} of {ranges} regions had been written before");
            }
            text + &format!("\n{seconds:.1} s")
        }
        Format::Json | Format::Jsonl => serde_json::to_string(summary).expect("a plain struct"),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
}
