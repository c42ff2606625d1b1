//! Sources of records: files and folders of files on this machine, in a bucket or in HDFS.
//!
//! Always true
//! - Looking at a source reads names, lengths and at most the first bytes of one file; a file is opened when its turn comes.
//! - Files of a folder come in the order of their names, before those of the folders in it; what jobs leave beside their output, with names
//!   that begin with `_` or `.`, is passed over and counted.
//! - Files of a bucket and of HDFS are read ahead, within a part of the command's memory.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bulkload::parquet_file::{self, RandomRead};
use bulkload::parse::{self, Input, Open};
use bulkload::sequence_file;
use clap::ValueEnum;
use filesystem::cached::{CacheSettings, CachedFilesystem};
use filesystem::{BlobReader, Filesystem};
use runtime::Runtime;

use crate::failure::Failure;
use crate::roots::{RootFlags, Use, refused};

/// Deepest folder of inputs.
const DEPTH_MAX: usize = 64;
/// First bytes that tell what a file is.
const MAGIC_BYTES: usize = 4;
/// Bounds of what is read ahead, in bytes.
const AHEAD_BYTES: (u64, u64) = (8 << 20, 64 << 20);

/// What the sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// As names tell, `.tsv`, `.csv`, `.jsonl`, `.ndjson` or `.parquet`, texts also with `.gz` or `.zst`, or first bytes: Parquet and SequenceFiles; folders as their first file; others hold store files.
    Auto,
    /// Fields between separators, without quotes, as HBase's ImportTsv has them.
    Tsv,
    /// Fields between separators, in quotes where needed.
    Csv,
    /// One JSON object a line.
    Jsonl,
    /// A folder FAMILY/FILE of store files, HBase's or our own.
    Hfile,
    /// SequenceFiles of HBase's Export, or folders of them.
    Seqfile,
    /// Parquet files, or folders of them, also with folders KEY=VALUE.
    Parquet,
}

/// A source as it was found.
pub struct Source {
    /// As people call it.
    name: String,
    place: Place,
    is_folder: bool,
    /// What its name, or its first file, tells.
    pub kind: Option<Kind>,
    files: Vec<Found>,
    /// Things passed over.
    skipped: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum Place {
    Here(PathBuf),
    There { fs: Arc<dyn Filesystem>, key: String },
}

/// A file of a source.
struct Found {
    /// Its path in the folder; empty if the source is the file.
    below: PathBuf,
    bytes: u64,
}

/// Names that tell nothing of cells.
fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_encoded_bytes().first(), Some(b'_' | b'.'))
}

fn kind_of_name(name: &str) -> Option<Kind> {
    let name = name.to_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    match name.rsplit_once('.')?.1 {
        "tsv" | "tab" => Some(Kind::Tsv),
        "csv" => Some(Kind::Csv),
        "jsonl" | "ndjson" => Some(Kind::Jsonl),
        "parquet" => Some(Kind::Parquet),
        _ => None,
    }
}

fn kind_of_bytes(head: &[u8]) -> Option<Kind> {
    if head.starts_with(sequence_file::MAGIC) {
        Some(Kind::Seqfile)
    } else if head == parquet_file::MAGIC {
        Some(Kind::Parquet)
    } else {
        None
    }
}

impl Source {
    /// Looks at what a URL or path names.
    ///
    /// # Errors
    /// There is nothing, or it cannot be looked at: 2; a store that does not answer: 4.
    pub async fn look(url: &str, roots: &RootFlags, memory: u64, runtime: &Runtime) -> Result<Source, Failure> {
        if url == "-" {
            return Err(Failure::usage("-: standard input is read as /dev/stdin"));
        }
        let place = match roots.folder("SRC", url)? {
            Some(path) => Place::Here(path),
            None => {
                let (parent, key) = url.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
                if parent.ends_with('/') {
                    return Err(Failure::usage(format!("{url}: a file or a folder in it is needed")));
                }
                let fs = roots.open_for(Use::Look, "SRC", parent, runtime).await?;
                let ahead = (memory / 8).clamp(AHEAD_BYTES.0, AHEAD_BYTES.1);
                let ahead_bytes = usize::try_from(ahead).unwrap_or(usize::MAX);
                let settings = CacheSettings { ahead_bytes, is_kept: |_| true, ..CacheSettings::new(None, 0, parent) };
                let fs = CachedFilesystem::new(fs, settings, runtime.clone()).await;
                let fs = Arc::new(fs.map_err(|error| refused("SRC", url, &error))?);
                Place::There { fs, key: key.to_owned() }
            }
        };
        let (name, files, skipped) = (url.to_owned(), Vec::new(), BTreeSet::new());
        let mut source = Source { name, place, is_folder: false, kind: None, files, skipped };
        source.find().await?;
        source.kind = source.tell().await?;
        Ok(source)
    }

    fn wrong(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::usage(format!("{}: {why}", self.name))
    }

    async fn find(&mut self) -> Result<(), Failure> {
        match self.place.clone() {
            Place::Here(path) => {
                let found = std::fs::metadata(&path).map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => self.wrong(&"there is no such file or folder"),
                    _ => self.wrong(&error),
                })?;
                self.is_folder = found.is_dir();
                if self.is_folder {
                    self.walk(&path, Path::new(""))?;
                } else {
                    self.files.push(Found { below: PathBuf::new(), bytes: found.len() });
                }
            }
            Place::There { fs, key } => {
                let refused = |error| refused("SRC", &self.name, &error);
                let size = fs.size(&key).await.map_err(refused)?;
                // Some tools mark a folder by an object without bytes.
                let listed = if size.is_some_and(|bytes| bytes > 0) {
                    Vec::new()
                } else {
                    fs.list(&key).await.map_err(refused)?
                };
                if let Some(bytes) = size.filter(|_| listed.is_empty()) {
                    self.files.push(Found { below: PathBuf::new(), bytes });
                    return Ok(());
                }
                if listed.is_empty() {
                    return Err(self.wrong(&"there is no such file, and no folder of this name with files in it"));
                }
                self.is_folder = true;
                for entry in listed {
                    let below = entry.path.strip_prefix(&key).and_then(|rest| rest.strip_prefix('/'));
                    let is_mark = |below: &&str| below.ends_with('/') && entry.size == 0;
                    if let Some(below) = below.filter(|below| !below.is_empty() && !is_mark(below)) {
                        self.add(PathBuf::from(below), entry.size);
                    }
                }
            }
        }
        let folders_last = |file: &Found| {
            let mut parts: Vec<_> = file.below.iter().map(|name| (true, name.to_owned())).collect();
            if let Some((is_folder, _)) = parts.last_mut() {
                *is_folder = false;
            }
            parts
        };
        self.files.sort_by_cached_key(folders_last);
        Ok(())
    }

    /// Whether one of the files is this one of this machine.
    pub fn has(&self, file: &Metadata) -> bool {
        let Place::Here(path) = &self.place else { return false };
        let is_it = |found: Metadata| (found.dev(), found.ino()) == (file.dev(), file.ino());
        self.files.iter().any(|found| std::fs::metadata(within(path, &found.below)).is_ok_and(is_it))
    }

    /// Takes note of a file below a folder, or of what hides it.
    fn add(&mut self, below: PathBuf, bytes: u64) {
        let hidden = below.iter().position(is_hidden);
        match hidden {
            Some(at) => drop(self.skipped.insert(below.iter().take(at + 1).collect())),
            None => self.files.push(Found { below, bytes }),
        }
    }

    fn walk(&mut self, folder: &Path, below: &Path) -> Result<(), Failure> {
        let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{}: {why}", folder.display()));
        if below.components().count() > DEPTH_MAX {
            return Err(wrong(&"folders lie too deep in each other"));
        }
        for entry in std::fs::read_dir(folder).map_err(|error| wrong(&error))? {
            let entry = entry.map_err(|error| wrong(&error))?;
            let (path, below) = (entry.path(), below.join(entry.file_name()));
            let found = std::fs::metadata(&path);
            match found {
                Ok(found) if found.is_dir() && !is_hidden(&entry.file_name()) => self.walk(&path, &below)?,
                // Pipes and such would be waited for.
                Ok(found) if !found.is_file() && !found.is_dir() => drop(self.skipped.insert(below)),
                found => self.add(below, found.map_or(0, |found| found.len())),
            }
        }
        Ok(())
    }

    /// What it is, by its name or its first file's, or by first bytes; store files have no such mark at their beginning, but lie as FAMILY/FILE.
    async fn tell(&self) -> Result<Option<Kind>, Failure> {
        let Some(first) = self.files.first() else { return Ok(None) };
        let named = if self.is_folder { first.below.to_str() } else { Some(self.name.as_str()) };
        if let Some(kind) = named.and_then(kind_of_name) {
            return Ok(Some(kind));
        }
        let mut head = Vec::new();
        match &self.place {
            Place::Here(path) => {
                let path = within(path, &first.below);
                // Others, such as pipes, are read once.
                if std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
                    let file = std::fs::File::open(&path);
                    let read = file.and_then(|file| file.take(MAGIC_BYTES as u64).read_to_end(&mut head));
                    read.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
                }
            }
            Place::There { fs, key } => {
                let read = fs.read_at(&joined(key, &first.below), 0, MAGIC_BYTES).await;
                head = read.map_err(|error| refused("SRC", &self.name, &error))?.into();
            }
        }
        let by_family = self.files.iter().any(|file| file.below.components().count() == 2);
        Ok(kind_of_bytes(&head).or(by_family.then_some(Kind::Hfile)))
    }

    /// A file whose name tells another kind than that of the whole.
    pub fn stranger(&self) -> Option<String> {
        let other =
            |file: &&Found| file.below.to_str().and_then(kind_of_name).is_some_and(|kind| Some(kind) != self.kind);
        self.files.iter().find(other).map(|file| file.below.display().to_string())
    }

    /// Its files as inputs of one kind, and how many things were passed over.
    ///
    /// # Errors
    /// 2: a folder without files, or one that cannot be read in the way that its kind needs.
    pub fn inputs(self, kind: Kind) -> Result<(Vec<Input>, u64), Failure> {
        if self.files.is_empty() {
            return Err(self.wrong(&"there is no file in this folder"));
        }
        let inputs = self.files.iter().map(|file| self.input(file, kind)).collect::<Result<_, _>>()?;
        Ok((inputs, self.skipped.len() as u64))
    }

    fn input(&self, file: &Found, kind: Kind) -> Result<Input, Failure> {
        let Found { below, bytes } = file;
        let folders = below.parent().unwrap_or(Path::new(""));
        let column = |part: Component<'_>| parse::partition(part.as_os_str().to_str()?);
        let partitions =
            if kind == Kind::Parquet { folders.components().filter_map(column).collect() } else { Vec::new() };
        let (name, open) = match self.place.clone() {
            Place::Here(path) => {
                let path = within(&path, below);
                let name = if self.is_folder { path.display().to_string() } else { self.name.clone() };
                (name.clone(), open_here(name, path, kind)?)
            }
            Place::There { fs, key } => {
                let (name, key) = (joined(self.name.trim_end_matches('/'), below), joined(&key, below));
                let open = move || {
                    let file = runtime::task::wait(fs.open(&key)).map_err(std::io::Error::other)?;
                    let size = file.size();
                    let size = size.ok_or_else(|| std::io::Error::other("the store does not tell its length"))?;
                    Ok(Arc::new(There { file, size }) as Arc<dyn RandomRead>)
                };
                (name, Open::Random(Box::new(open)))
            }
        };
        Ok(Input { name, bytes: *bytes, partitions, open })
    }
}

/// A path and what lies below it, which may be nothing.
fn within(path: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { path.to_owned() } else { path.join(below) }
}

/// A key and what stands below it, which came as text.
fn joined(key: &str, below: &Path) -> String {
    match below.to_str() {
        Some(below) if !below.is_empty() => format!("{key}/{below}"),
        _ => key.to_owned(),
    }
}

fn open_here(name: String, path: PathBuf, kind: Kind) -> Result<Open, Failure> {
    let wrong = |why: &dyn std::fmt::Display| Failure::usage(format!("{name}: {why}"));
    let found = std::fs::metadata(&path).map_err(|error| wrong(&error))?;
    if kind != Kind::Parquet {
        return Ok(Open::Stream(Box::new(move || Ok(Box::new(std::fs::File::open(path)?) as Box<dyn Read + Send>))));
    }
    if !found.is_file() {
        let why = "Parquet is read from several places of a file, which this cannot be; save it to a file first";
        return Err(wrong(&why));
    }
    Ok(Open::Random(Box::new(move || {
        let file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Arc::new(Here { file, size }) as Arc<dyn RandomRead>)
    })))
}

/// A file on this machine.
struct Here {
    file: std::fs::File,
    size: u64,
}

impl RandomRead for Here {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        self.file.read_at(out, offset)
    }
}

/// A file of a bucket or HDFS; whoever reads it waits on a thread of their own.
struct There {
    file: Arc<dyn BlobReader>,
    size: u64,
}

impl RandomRead for There {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::io::Result<usize> {
        let read = runtime::task::wait(self.file.read_at(offset, out.len())).map_err(std::io::Error::other)?;
        out[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }
}
