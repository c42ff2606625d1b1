//! `bulkload` and `completebulkload`: from files to regions, through the `bulkload` crate.
//!
//! Always true
//! - Store files below the store's root are adopted where they lie, everything else is copied or converted.
//! - Scratch files go with the command, however it ends, unless it is killed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bulkload::columns::{Columns, check_time};
use bulkload::convert::{self, Output};
use bulkload::load::{self, Options, Target};
use bulkload::parquet_file::{self, Values};
use bulkload::parse::{Format as Written, Reading};
use bulkload::records::Format as Text;
use bulkload::report::{Progress, Summary};
use bulkload::sort::Sorter;
use bulkload::{LoadError, store_file::StoreFile};
use clap::{Args, ValueEnum};
use client::Connection;
use filesystem::Filesystem;
use model::ErrorKind;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use runtime::Runtime;
use storage::region::check_load_id;

use crate::arguments::{Format, Global, size};
use crate::connect;
use crate::failure::Failure;
use crate::progress::Shown;
use crate::roots::{RootFlags, Use};
use crate::sources::{Kind, Source};

/// The longest that a region may take over its files: a store may have to copy them.
const REGION_MAX: Duration = Duration::from_secs(3600);
/// Least memory for sorting.
const MEMORY_MIN: u64 = 16 << 20;

/// How values of Parquet files become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ParquetValues {
    /// UTF-8, as people write them.
    Text,
    /// As HBase's Bytes.toBytes: big-endian numbers, booleans ff and 00.
    Bytes,
}

/// Flags of both commands.
#[derive(Clone, Debug, Args)]
pub struct Shared {
    /// Server as HOST:PORT[,…], or the data root of a running one
    #[arg(long, env = "FERROBASE_CONNECT", default_value = "localhost:16000", value_name = "ADDR")]
    pub connect: String,
    /// Where the store's data root is, if the server cannot tell or calls it otherwise
    #[arg(long, env = "FERROBASE_DATA", value_name = "URL")]
    pub data: Option<String>,
    /// How roots are reached
    #[command(flatten)]
    pub roots: RootFlags,
    /// Name of this load; a region takes a name once, so the same again goes on where a killed run ended
    #[arg(long, env = "FERROBASE_LOAD_ID", value_name = "ID", value_parser = load_id)]
    pub load_id: Option<String>,
    /// Create the table if it does not exist, with the families that are loaded
    #[arg(long, env = "FERROBASE_CREATE")]
    pub create: bool,
    /// Read every store file whole before: checksums, order, number of its cells, and what it says of itself
    #[arg(long, env = "FERROBASE_VERIFY")]
    pub verify: bool,
    /// Files and regions worked on at the same time; default twice the number of cores
    #[arg(long, env = "FERROBASE_PARALLEL", value_name = "N")]
    pub parallel: Option<usize>,
    /// Look at everything, load nothing
    #[arg(long, env = "FERROBASE_DRY_RUN")]
    pub dry_run: bool,
    /// No progress on standard error
    #[arg(long, env = "FERROBASE_NO_PROGRESS")]
    pub no_progress: bool,
}

/// Flags of `bulkload`.
#[derive(Debug, Args)]
pub struct Bulkload {
    /// The table; `ns:table` for one outside the default namespace
    #[arg(value_name = "TABLE")]
    pub table: TableName,
    /// Files, or a folder of store files
    #[arg(value_name = "SRC", required = true)]
    pub sources: Vec<String>,
    /// What the sources are
    #[arg(long, env = "FERROBASE_INPUT", value_enum, default_value = "auto")]
    pub input: Kind,
    /// What stands in the columns of TSV, CSV and Parquet, as for ImportTsv: HBASE_ROW_KEY,cf:q,HBASE_TS_KEY,HBASE_CELL_TTL;
    /// of Parquet also by name: id=HBASE_ROW_KEY,price=cf:q
    #[arg(long, env = "FERROBASE_COLUMNS", value_name = "LIST")]
    pub columns: Option<String>,
    /// Separator of TSV and CSV, one byte; default a tab or a comma
    #[arg(long, env = "FERROBASE_SEPARATOR", value_name = "BYTE")]
    pub separator: Option<String>,
    /// Let empty fields of TSV, CSV and Parquet make no cells
    #[arg(long, env = "FERROBASE_SKIP_EMPTY_COLUMNS")]
    pub skip_empty_columns: bool,
    /// How values of Parquet become bytes; default text
    #[arg(long, env = "FERROBASE_PARQUET_VALUES", value_enum, value_name = "HOW")]
    pub parquet_values: Option<ParquetValues>,
    /// Timestamp of cells that bring none, in milliseconds; default now
    #[arg(long, env = "FERROBASE_TIMESTAMP", value_name = "MS", value_parser = timestamp, allow_negative_numbers = true)]
    pub timestamp: Option<i64>,
    /// File that bad records are written to, as they stand in the input; of binary files where they stand, as JSON
    #[arg(long, env = "FERROBASE_REJECT", value_name = "FILE")]
    pub reject: Option<PathBuf>,
    /// Most bad records; default none, with --reject any number
    #[arg(long, env = "FERROBASE_MAX_REJECTS", value_name = "N")]
    pub max_rejects: Option<u64>,
    /// Write store files to this folder, as DIR/FAMILY/FILE, and load nothing
    #[arg(long, env = "FERROBASE_HFILES_ONLY", value_name = "DIR")]
    pub hfiles_only: Option<PathBuf>,
    /// Memory for sorting, half of it for pages where Parquet is read
    #[arg(long, env = "FERROBASE_MEMORY", value_name = "SIZE", value_parser = size, default_value = "512M")]
    pub memory: u64,
    /// What both commands take
    #[command(flatten)]
    pub shared: Shared,
}

/// Flags of `completebulkload`.
#[derive(Debug, Args)]
pub struct Complete {
    /// A folder FAMILY/FILE of store files
    #[arg(value_name = "DIR")]
    pub folder: String,
    /// The table; `ns:table` for one outside the default namespace
    #[arg(value_name = "TABLE")]
    pub table: TableName,
    /// What both commands take
    #[command(flatten)]
    pub shared: Shared,
}

fn failure(error: LoadError) -> Failure {
    let message = error.to_string();
    match (&error, error.kind()) {
        (LoadError::Usage(_), _) => Failure::usage(message),
        (LoadError::Restless { .. }, _) => Failure { code: 3, message },
        (LoadError::Client(_) | LoadError::Filesystem(_), ErrorKind::Unavailable | ErrorKind::NotServing) => {
            Failure { code: 4, message }
        }
        _ => Failure::failed(message),
    }
}

/// Runs `completebulkload`.
pub async fn complete(flags: &Complete, global: &Global) -> Result<(), Failure> {
    let Complete { folder, table, shared } = flags;
    let flags = Bulkload {
        table: table.clone(),
        sources: vec![folder.clone()],
        input: Kind::Hfile,
        columns: None,
        separator: None,
        skip_empty_columns: false,
        parquet_values: None,
        timestamp: None,
        reject: None,
        max_rejects: None,
        hfiles_only: None,
        memory: MEMORY_MIN,
        shared: shared.clone(),
    };
    run(&flags, global).await
}

/// Runs `bulkload`.
pub async fn run(flags: &Bulkload, global: &Global) -> Result<(), Failure> {
    let runtime = Runtime::system();
    let begun = runtime.clock.monotonic();
    if flags.input != Kind::Auto {
        flags.check(flags.input)?;
    }
    let mut sources = Vec::new();
    if flags.input != Kind::Hfile {
        for source in &flags.sources {
            sources.push(Source::look(source, &flags.shared.roots, flags.memory, &runtime).await?);
        }
    }
    let input = flags.kind(&sources)?;
    if flags.input == Kind::Auto {
        flags.check(input)?;
    }
    let reading = if input == Kind::Hfile { None } else { Some(flags.reading(input, &runtime)?) };
    let shown = Arc::new(Shown::new(global.quiet || flags.shared.no_progress, &runtime));
    let connection = connect::open_for(&flags.shared.connect, &flags.shared.roots, None, Some(REGION_MAX)).await?;
    let job = Job { flags, runtime: runtime.clone(), connection, progress: shown.clone() };
    let mut summary = Summary { table: flags.table.to_string(), dry_run: flags.shared.dry_run, ..Summary::default() };
    let ended = match reading {
        None => job.store_files(&mut summary).await,
        Some(reading) => job.records(sources, input, reading, &mut summary).await,
    };
    shown.end();
    summary.seconds = (runtime.clock.monotonic().saturating_sub(begun).as_secs_f64() * 1000.0).round() / 1000.0;
    if let Err(failure) = ended {
        if summary.regions > 0 {
            let again = format!("--load-id {}", summary.load_id);
            let message = format!("{}; {} regions are loaded, {again} goes on", failure.message, summary.regions);
            return Err(Failure { code: if failure.code == 2 { 1 } else { failure.code }, message });
        }
        return Err(failure);
    }
    tell(&summary, flags, global.format);
    if summary.rejected > 0 { Err(Failure { code: 3, message: String::new() }) } else { Ok(()) }
}

/// Nobody may be reading: the exit code tells all the same.
fn tell(summary: &Summary, flags: &Bulkload, format: Format) {
    let text = match format {
        Format::Table => {
            let Summary { files, bytes, cells, regions, seconds, load_id, .. } = summary;
            let what = format!("{files} store files with {cells} cells in {bytes} bytes");
            let mut text = match (&flags.hfiles_only, summary.dry_run) {
                (Some(folder), _) => format!("{what} written to {}", folder.display()),
                (None, true) => format!("{what} would go to {regions} regions; nothing was loaded"),
                (None, false) => format!("{what} loaded into {regions} regions of {} as {load_id}", summary.table),
            };
            for (number, meaning) in [
                (summary.records, "records read"),
                (summary.rejected, "bad records"),
                (summary.copied, "store files copied to the store's root"),
                (summary.split, "store files crossed a border and were split"),
                (summary.skipped, "inputs passed over"),
                (summary.regions_before, "regions had taken this load before"),
            ] {
                if number > 0 {
                    text += &format!("\n{number} {meaning}");
                }
            }
            if summary.skipped > 0 && *files + summary.inputs == 0 && summary.regions_before == 0 {
                text += "\nnothing was found to load: store files lie as DIR/FAMILY/FILE";
            }
            text + &format!("\n{seconds:.1} s")
        }
        Format::Json | Format::Jsonl => serde_json::to_string(summary).expect("a plain struct"),
    };
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Bulkload {
    /// What the sources are, from the flag or what was found.
    fn kind(&self, sources: &[Source]) -> Result<Kind, Failure> {
        if self.input != Kind::Auto {
            return Ok(self.input);
        }
        let mut kinds = self.sources.iter().zip(sources).map(|(source, found)| (source, found.kind));
        let (first, kind) = kinds.next().expect("clap asks for one");
        if let Some((other, _)) = kinds.find(|(_, other)| *other != kind) {
            let why = format!("{first} and {other} are of different kinds: load them apart, or say --input");
            return Err(Failure::usage(why));
        }
        for (source, found) in self.sources.iter().zip(sources) {
            if let Some(stranger) = found.stranger() {
                let why = format!("{source}: {stranger} is of another kind than the files before it");
                return Err(Failure::usage(format!("{why}: load them apart, or say --input")));
            }
        }
        kind.ok_or_else(|| {
            Failure::usage(format!("{first}: its name, or what is in it, does not tell what it is; say --input"))
        })
    }

    /// Refuses flags that mean nothing for the input.
    fn check(&self, input: Kind) -> Result<(), Failure> {
        let (text, fields) = (&[Kind::Tsv, Kind::Csv][..], &[Kind::Tsv, Kind::Csv, Kind::Parquet][..]);
        let timed = &[Kind::Tsv, Kind::Csv, Kind::Jsonl, Kind::Parquet][..];
        for (flag, given, kinds, why) in [
            ("--separator", self.separator.is_some(), text, "only TSV and CSV have separators"),
            ("--columns", self.columns.is_some(), fields, "the cells of these files bring their columns along"),
            ("--skip-empty-columns", self.skip_empty_columns, fields, "only TSV, CSV and Parquet have fields"),
            ("--parquet-values", self.parquet_values.is_some(), &[Kind::Parquet][..], "the files are no Parquet"),
            ("--timestamp", self.timestamp.is_some(), timed, "the cells of these files bring their timestamps along"),
        ] {
            if given && !kinds.contains(&input) {
                return Err(Failure::usage(format!("{flag}: {why}")));
            }
        }
        if self.skip_empty_columns && self.columns.is_none() {
            return Err(Failure::usage("--skip-empty-columns needs --columns"));
        }
        Ok(())
    }

    fn reading(&self, input: Kind, runtime: &Runtime) -> Result<Reading, Failure> {
        let separator = match self.separator.as_deref() {
            None if input == Kind::Csv => b',',
            None | Some("\\t") => b'\t',
            Some(text) if text.len() == 1 && !matches!(text, "\n" | "\r" | "\"") => text.as_bytes()[0],
            Some(text) => {
                return Err(Failure::usage(format!(
                    "--separator `{text}`: one byte is needed, no quote or end of line"
                )));
            }
        };
        let values = match self.parquet_values {
            Some(ParquetValues::Bytes) => Values::Bytes,
            Some(ParquetValues::Text) | None => Values::Text,
        };
        let format = match input {
            Kind::Csv => Written::Text(Text::Csv(separator)),
            Kind::Jsonl => Written::Text(Text::JsonLines),
            Kind::Seqfile => Written::SequenceFile,
            Kind::Parquet => Written::Parquet(parquet_file::Settings { values, memory_bytes: self.memory / 2 }),
            Kind::Auto | Kind::Tsv | Kind::Hfile => Written::Text(Text::Tsv(separator)),
        };
        let columns = match &self.columns {
            None if matches!(input, Kind::Tsv | Kind::Csv) => {
                return Err(Failure::usage("--columns is needed, such as HBASE_ROW_KEY,cf:a,cf:b"));
            }
            None => None,
            Some(text) if input == Kind::Parquet => Some(Columns::parse_named(text)),
            Some(text) => Some(Columns::parse(text)),
        };
        let columns = columns.transpose().map_err(|why| Failure::usage(format!("--columns: {why}")))?;
        let columns = columns.map(|columns| columns.skipping_empty(self.skip_empty_columns));
        if self.memory < MEMORY_MIN {
            return Err(Failure::usage(format!("--memory: at least {}M is needed", MEMORY_MIN >> 20)));
        }
        let rejects_max = self.max_rejects.unwrap_or(if self.reject.is_some() { u64::MAX } else { 0 });
        let timestamp_ms = self.timestamp.unwrap_or_else(|| runtime.clock.now_ms());
        Ok(Reading { format, columns, timestamp_ms, rejects_max })
    }

    fn parallel(&self) -> usize {
        // Writers wait for storage half of the time.
        let twice = || 2 * std::thread::available_parallelism().map_or(2, usize::from);
        self.shared.parallel.unwrap_or_else(twice).max(1)
    }
}

/// One run.
struct Job<'a> {
    flags: &'a Bulkload,
    runtime: Runtime,
    connection: Connection,
    progress: Arc<Shown>,
}

impl Job<'_> {
    fn progress(&self) -> Arc<dyn Progress> {
        self.progress.clone()
    }

    /// The table, which is created if that was asked for.
    async fn descriptor(&self, families: impl IntoIterator<Item = bytes::Bytes>) -> Result<TableDescriptor, Failure> {
        let (admin, name) = (self.connection.admin(), &self.flags.table);
        if self.flags.shared.create && !admin.exists(name).await.map_err(|error| failure(error.into()))? {
            let families = families.into_iter().map(FamilyDescriptor::new);
            let table = families.fold(TableDescriptor::new(name.clone()), TableDescriptor::with_family);
            if self.flags.shared.dry_run {
                return Err(Failure::usage(format!("table {name} does not exist, and --dry-run creates none")));
            }
            admin.create_table(&table, &[]).await.map_err(|error| failure(error.into()))?;
        }
        match admin.descriptor(name).await {
            Ok(table) => Ok(table),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Failure::usage(format!("table {name} does not exist; --create makes it")))
            }
            Err(error) => Err(failure(error.into())),
        }
    }

    /// The store's root, opened, and how it is called.
    async fn target(&self, descriptor: TableDescriptor) -> Result<(Target, String), Failure> {
        let table = self.connection.table(self.flags.table.clone());
        let room = table.prepare_bulk_load().await.map_err(|error| failure(error.into()))?;
        let shared = &self.flags.shared;
        let Some(url) = shared.data.clone().or_else(|| room.root_url.clone()) else {
            return Err(Failure::usage("the server does not tell where its data root lies; say --data"));
        };
        let url = shared.roots.canonical("--data", &url)?;
        let root = shared.roots.open_for(Use::Look, "--data", &url, &self.runtime).await?;
        let (admin, runtime) = (self.connection.admin(), self.runtime.clone());
        Ok((Target { table, admin, descriptor, root, room, runtime }, url))
    }

    fn options(&self, summary: &mut Summary) -> Options {
        let own = || format!("{:032x}", self.runtime.random.next_u128());
        let id = self.flags.shared.load_id.clone().unwrap_or_else(own);
        summary.load_id.clone_from(&id);
        Options { id, verify: self.flags.shared.verify, parallel: self.flags.parallel() }
    }

    /// Folders of store files.
    async fn store_files(&self, summary: &mut Summary) -> Result<(), Failure> {
        if self.flags.hfiles_only.is_some() {
            return Err(Failure::usage("--hfiles-only: the sources are store files already"));
        }
        let options = self.options(summary);
        let roots = &self.flags.shared.roots;
        let mut folders = Vec::new();
        for source in &self.flags.sources {
            let url = roots.canonical("SRC", source)?;
            if roots.folder("SRC", &url)?.is_some_and(|folder| !folder.is_dir()) {
                return Err(Failure::usage(format!("{source}: there is no such folder")));
            }
            folders.push(real(url));
        }
        let families = folders.iter().flat_map(|folder| families_in(Path::new(folder))).collect::<Vec<_>>();
        let descriptor = self.descriptor(families).await?;
        let (target, root_url) = self.target(descriptor).await?;
        let (root_url, progress) = (real(root_url), self.progress());
        let mut files: Vec<StoreFile> = Vec::new();
        for folder in &folders {
            let below = folder.strip_prefix(root_url.as_str()).and_then(|rest| rest.strip_prefix('/'));
            let (fs, key, on_root) = match below {
                Some(key) => (target.root.clone(), key.to_owned(), true),
                None => {
                    let (parent, key) = folder.rsplit_once('/').unwrap_or((".", folder));
                    let parent = if parent.is_empty() { "/" } else { parent };
                    (roots.open_for(Use::Look, "SRC", parent, &self.runtime).await?, key.to_owned(), false)
                }
            };
            let verify = self.flags.shared.verify && self.flags.shared.dry_run;
            let found = load::find(&fs, &key, on_root, &target.descriptor, verify, summary, &progress).await;
            files.extend(found.map_err(failure)?);
        }
        if self.flags.shared.dry_run {
            return target.preview(files, summary).await.map_err(failure);
        }
        target.load(files, &options, summary, &progress).await.map_err(failure)?;
        self.clean(&target).await;
        Ok(())
    }

    /// What is left of a load that stands only takes room.
    async fn clean(&self, target: &Target) {
        if let Err(error) = target.table.cleanup_bulk_load(&target.room).await {
            tracing::warn!(%error, folder = target.room.folder, "files that are not needed any more stay for a week");
        }
    }

    /// Files of records.
    async fn records(
        &self,
        sources: Vec<Source>,
        input: Kind,
        reading: Reading,
        summary: &mut Summary,
    ) -> Result<(), Failure> {
        let options = Options { verify: false, ..self.options(summary) };
        let rejects = self.flags.reject.as_deref().map(|path| open_rejects(path, &sources)).transpose()?;
        let mut inputs = Vec::new();
        for source in sources {
            let (found, skipped) = source.inputs(input)?;
            inputs.extend(found);
            summary.skipped += skipped;
        }
        summary.inputs = inputs.len() as u64;
        summary.input_bytes = inputs.iter().map(|input| input.bytes).sum();
        let families = reading.columns.as_ref().map(Columns::families).unwrap_or_default();
        if families.is_empty() && self.flags.shared.create {
            return Err(Failure::usage("--create: the families of these files are not known before they are read"));
        }
        let descriptor = self.descriptor(families.clone()).await?;
        if let Some(family) = families.iter().find(|family| !descriptor.families.contains_key(*family)) {
            let family = family.escape_ascii();
            return Err(Failure::usage(format!("table {} has no family `{family}`", self.flags.table)));
        }
        let scratch = Scratch::new(&self.runtime)?;
        let for_pages = if let Written::Parquet(settings) = reading.format { settings.memory_bytes } else { 0 };
        let sorter = Sorter::new(scratch.fs.clone(), "sort", self.flags.memory - for_pages);
        let progress = self.progress();
        // What an earlier run rejected stays until there is a run.
        let rejects = rejects.map(Rejects::begin).transpose()?;
        let read =
            convert::read(inputs, reading, rejects, &descriptor, options.parallel, sorter, progress.clone()).await;
        let (sorted, counts) = read.map_err(failure)?;
        (summary.records, summary.rejected) = (counts.records, counts.rejected);
        if self.flags.shared.dry_run {
            summary.cells = counts.cells;
            return Ok(());
        }
        let (target, _) = self.target(descriptor.clone()).await?;
        let regions = target.regions().await.map_err(failure)?;
        let (fs, folder, on_root) = match &self.flags.hfiles_only {
            None => (target.root.clone(), format!("{}/made", target.room.folder), true),
            Some(folder) => place(folder, &self.runtime)?,
        };
        let (parallel, runtime, tags) = (options.parallel, self.runtime.clone(), counts.has_tags);
        let progress_of = progress.clone();
        let output = Output { fs, folder, on_root, table: descriptor, tags, parallel, runtime, progress: progress_of };
        let files = output.write(&sorted, &regions).await.map_err(failure)?;
        if self.flags.hfiles_only.is_some() {
            summary.files = files.len() as u64;
            summary.bytes = files.iter().map(|file| file.bytes).sum();
            summary.cells = files.iter().map(|file| file.cells).sum();
            return Ok(());
        }
        target.load(files, &options, summary, &progress).await.map_err(failure)?;
        self.clean(&target).await;
        Ok(())
    }
}

/// A folder's path without links, so that two names of one folder are the same; URLs stay.
fn real(url: String) -> String {
    let found = if url.contains("://") { None } else { std::fs::canonicalize(&url).ok() };
    found.and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(url)
}

/// Families that a folder of store files has folders of.
fn families_in(folder: &Path) -> Vec<bytes::Bytes> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.starts_with(['_', '.'])).map(bytes::Bytes::from).collect()
}

/// A folder for store files, and its storage.
fn place(folder: &Path, runtime: &Runtime) -> Result<(Arc<dyn Filesystem>, String, bool), Failure> {
    let whole = std::path::absolute(folder)?;
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name().and_then(|name| name.to_str())) else {
        return Err(Failure::usage(format!("--hfiles-only {}: a folder is needed", folder.display())));
    };
    let fs = crate::roots::open_folder(parent.to_owned(), "--hfiles-only", runtime)?;
    Ok((Arc::new(fs), name.to_owned(), false))
}

fn timestamp(text: &str) -> Result<i64, String> {
    let time = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
    check_time(time).map(|()| time)
}

fn load_id(text: &str) -> Result<String, String> {
    check_load_id(text).map(|()| text.to_owned())
}

/// A file for bad records, as it was found.
struct Rejects<'a> {
    path: &'a Path,
    file: std::fs::File,
}

fn no_rejects(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::usage(format!("--reject {}: {why}", path.display()))
}

/// Opens a file for bad records, which is none of those that are loaded.
fn open_rejects<'a>(path: &'a Path, sources: &[Source]) -> Result<Rejects<'a>, Failure> {
    let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let opened = opened.and_then(|file| Ok((file.metadata()?, file)));
    let (found, file) = opened.map_err(|error| no_rejects(path, error))?;
    if sources.iter().any(|source| source.has(&found)) {
        return Err(no_rejects(path, "it is one of the files that are loaded; bad records need a file of their own"));
    }
    Ok(Rejects { path, file })
}

impl Rejects<'_> {
    /// Empties it.
    fn begin(self) -> Result<Box<dyn Write + Send>, Failure> {
        let found = self.file.metadata();
        // Others, such as pipes, have no length.
        let emptied = found.and_then(|found| if found.is_file() { self.file.set_len(0) } else { Ok(()) });
        emptied.map_err(|error| no_rejects(self.path, error))?;
        Ok(Box::new(std::io::BufWriter::new(self.file)))
    }
}

/// A folder for sorting, which goes with this value.
struct Scratch {
    fs: Arc<dyn Filesystem>,
    folder: PathBuf,
}

impl Scratch {
    fn new(runtime: &Runtime) -> Result<Scratch, Failure> {
        let name = format!("ferrobase-bulkload-{}-{:016x}", std::process::id(), runtime.random.next_u64());
        let folder = std::env::temp_dir().join(name);
        let fs = crate::roots::open_folder(folder.clone(), "TMPDIR", runtime)?;
        Ok(Scratch { fs: Arc::new(fs), folder })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            tracing::warn!(%error, folder = %self.folder.display(), "scratch files are left");
        }
    }
}
