//! A region's folder after a kill, one of its files damaged: store files of two lives, an ended log stream, a live one, the registers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::local::LocalFilesystem;
use model::mutation::{Mutation, MutationKind, Nonce};
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, ErrorKind, LATEST_TIMESTAMP};
use runtime::Runtime;
use runtime::random::SystemRandom;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::Limits;
use storage::region::{Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};
use storage::{Result, StorageError};

use crate::hurt::{self, Dice};

const FAMILIES: [(&str, &[(&str, &str)]); 3] = [
    ("f", &[("VERSIONS", "5")]),
    ("g", &[("COMPRESSION", "ZSTD"), ("DATA_BLOCK_ENCODING", "FAST_DIFF"), ("BLOOMFILTER", "ROWCOL")]),
    ("h", &[("COMPRESSION", "GZ"), ("DATA_BLOCK_ENCODING", "ROW_INDEX_V1"), ("BLOCKSIZE", "1024")]),
];
const SEGMENTS: &str = "ferrobase/log/0000000000000002/s";
const SEGMENT_BYTES: u64 = 2048;
const GROUP_HEADER_LEN: usize = 24;
const INCREMENTS: u64 = 18;
/// Writes that end the log, each a group of its own in the last segment.
const TAIL: usize = 9;

pub struct Sample {
    /// Every file by its key, and folders without files.
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Cells of a raw scan.
    cells: Vec<Bytes>,
    /// The live stream's last segment, and where its groups stand in it.
    last_segment: PathBuf,
    tail: Vec<Range<usize>>,
    lives: u64,
}

fn folder() -> tempfile::TempDir {
    // Nothing here asks whether bytes survive a power loss, so where syncs cost nothing will do.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

async fn open(data: &Path, life: u64) -> Result<Arc<Region>> {
    let fs: Arc<dyn Filesystem> = Arc::new(LocalFilesystem::open(data, Arc::new(SystemRandom)).expect("a folder"));
    let runtime = Runtime::system();
    let info = RegionInfo::new("t".parse().expect("a name"), Bytes::new(), Bytes::new(), 1);
    let mut table = TableDescriptor::new("t".parse().expect("a name"));
    for (name, settings) in FAMILIES {
        let family = FamilyDescriptor::new(name);
        table = table.with_family(settings.iter().fold(family, |family, (key, value)| family.with(key, value)));
    }
    let table = Arc::new(table);
    let settings = LogSettings { segment_bytes: SEGMENT_BYTES, ..LogSettings::default() };
    let log = Log::create(fs.clone(), runtime.clone(), settings, life).await.expect("a new stream");
    if life == 1 {
        Region::create(&fs, &runtime, "tid", &info, &table, 1).await.expect("created");
    }
    let cache = Arc::new(BlockCache::new(1 << 20));
    let (budget, settings) = (Budget::new(16 << 20), RegionSettings::default());
    let ctx = RegionContext { runtime, fs, log, budget, cache, settings };
    Region::open(ctx, info, "tid", 1 + life, table).await
}

fn put(row: String, number: usize) -> Mutation {
    let mut mutation = Mutation::new(MutationKind::Put, row.clone());
    for (family, _) in FAMILIES {
        let value = format!("value {number:05}");
        let cell = Cell::put(row.as_bytes(), family.as_bytes(), b"q", 1000 + number as i64, value.as_bytes());
        mutation.cells.push(cell.expect("a cell"));
    }
    mutation
}

async fn increment(region: &Arc<Region>, nonce: u64) -> Result<()> {
    let mut mutation = Mutation::new(MutationKind::Increment, "counter");
    mutation.cells = vec![Cell::put(b"counter", b"f", b"n", LATEST_TIMESTAMP, &1i64.to_be_bytes()).expect("a cell")];
    region.mutate(vec![mutation], Some(Nonce { group: 3, nonce })).await.map(drop)
}

async fn count(region: &Arc<Region>) -> Result<i64> {
    let cells = region.get(&Get::new("counter")).await?;
    Ok(cells.first().map_or(0, |cell| i64::from_be_bytes(cell.value().try_into().expect("eight bytes"))))
}

async fn cells(region: &Arc<Region>) -> Result<Vec<Bytes>> {
    let mut scan = Scan { raw: true, ..Scan::default() };
    scan.selection.max_versions = u32::MAX;
    let mut scanner = region.scanner(&scan).await?;
    let mut rows = Vec::new();
    while scanner.next(&Limits::rows(50), &mut rows).await?.more {}
    Ok(rows.iter().flat_map(|row| &row.cells).map(|cell| cell.bytes().clone()).collect())
}

fn walk(root: &Path, at: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(at).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, out);
        } else {
            out.insert(path.strip_prefix(root).expect("below").to_owned(), std::fs::read(&path).expect("a file"));
        }
    }
}

fn groups(segment: &[u8]) -> Vec<Range<usize>> {
    if !segment.starts_with(b"FBWALSEG") {
        return Vec::new(); // a fence
    }
    let int = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().expect("four bytes")) as usize;
    let (mut at, mut out) = (8 + 4 + 8 + 8 + 4 + int(28) * 16 + 4, Vec::new());
    // A sealed segment's last bytes are no group.
    while segment.get(at..at + GROUP_HEADER_LEN).is_some_and(|head| matches!(&head[..4], b"GRP1" | b"IDX1")) {
        let end = at + GROUP_HEADER_LEN + int(at + 4);
        out.push(at..end);
        at = end;
    }
    out
}

fn run<T>(work: impl Future<Output = T>) -> T {
    // A runtime for each case takes the tasks of logs that are given up with it.
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

/// Two lives of a host that end by a kill each.
pub fn sample() -> Sample {
    let folder = folder();
    run(async {
        let mut number = 0;
        let mut next = || {
            number += 1;
            put(format!("row{:03}", number * 37 % 100), number)
        };
        let mut nonce = 0;
        for life in 1..=2 {
            let region = open(folder.path(), life).await.expect("opens");
            for round in 0..3 {
                for _ in 0..INCREMENTS / 6 {
                    increment(&region, nonce).await.expect("increment");
                    nonce += 1;
                }
                for _ in 0..20 {
                    region.mutate(vec![next()], None).await.expect("put");
                }
                if round < 2 {
                    region.flush().await.expect("flush");
                }
                if round == 1 && life == 1 {
                    region.compact(false).await.expect("compact");
                }
            }
            if life == 2 {
                // Up to a segment's end, so that the tail has the next one for itself.
                let newest = || {
                    let segments = std::fs::read_dir(folder.path().join(SEGMENTS)).expect("a folder");
                    let newest = segments.map(|entry| entry.expect("an entry").path()).max().expect("a segment");
                    newest.metadata().expect("a file").len()
                };
                while newest() < SEGMENT_BYTES {
                    region.mutate(vec![next()], None).await.expect("put");
                }
                for at in 0..TAIL {
                    region.mutate(vec![put(format!("tail{at}"), at)], None).await.expect("put");
                }
            }
        }
    });
    let mut files = BTreeMap::new();
    walk(folder.path(), folder.path(), &mut files);
    let (last_segment, data) = files.iter().rfind(|(path, _)| path.starts_with(SEGMENTS)).expect("segments");
    let tail = groups(data);
    assert_eq!(tail.len(), TAIL, "the tail stands in one segment");
    let last_segment = last_segment.clone();
    let mut sample = Sample { files, cells: Vec::new(), last_segment, tail, lives: 2 };
    sample.cells = run(async {
        let whole = sample.copy(&BTreeMap::new());
        let region = open(whole.path(), sample.lives + 1).await.expect("opens");
        assert_eq!(count(&region).await.expect("a count"), INCREMENTS as i64);
        cells(&region).await.expect("a scan")
    });
    assert_eq!(sample.cells.iter().filter(|cell| is_tail(cell, 0)).count(), FAMILIES.len() * TAIL);
    sample
}

/// Whether a cell is of the tail's group `from` or a later one.
fn is_tail(cell: &Bytes, from: usize) -> bool {
    // The flat cell: two lengths, the row's length, the row.
    cell[10..].starts_with(b"tail") && usize::from(cell[14] - b'0') >= from
}

impl Sample {
    fn copy(&self, changed: &BTreeMap<PathBuf, (PathBuf, Vec<u8>)>) -> tempfile::TempDir {
        let folder = folder();
        for (path, data) in &self.files {
            let (path, data) = changed.get(path).map_or((path, data), |(path, data)| (path, data));
            let target = folder.path().join(path);
            std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
            std::fs::write(target, data).expect("a file");
        }
        folder
    }

    /// Groups of the tail that may be missing, from this one on: all of them are damaged, and no sound header says that
    /// one of them was acknowledged.
    fn may_miss_from(&self, damaged: &[u8]) -> usize {
        let before = &self.files[&self.last_segment];
        let touched = |range: Range<usize>| hurt::touched(before, damaged, range);
        let first = if touched(0..self.tail[0].start) {
            Some(0)
        } else {
            self.tail.iter().position(|group| touched(group.clone()))
        };
        let Some(first) = first else { return usize::MAX };
        let sound = |group: &Range<usize>| !touched(group.start..group.start + GROUP_HEADER_LEN);
        // Without the segment's header the first group's own says that something was acknowledged.
        let from = if touched(0..self.tail[0].start) { 0 } else { first + 1 };
        if self.tail[from..].iter().any(sound) { usize::MAX } else { first }
    }
}

/// The key that errors call a file by: registers are named whole.
fn key(path: &Path) -> String {
    let name = path.file_name().expect("a name").to_string_lossy();
    let register = name.starts_with("h.") || name.starts_with("b.");
    let named = if register { path.parent().expect("a folder") } else { path };
    named.to_string_lossy().into_owned()
}

async fn answers(folder: &Path, life: u64) -> Result<Vec<Bytes>> {
    let region = open(folder, life).await?;
    let seen = cells(&region).await?;
    // Every nonce is remembered: no increment counts again.
    let before = count(&region).await?;
    for nonce in 0..INCREMENTS {
        increment(&region, nonce).await?;
    }
    if count(&region).await? != before {
        return Ok(Vec::new()); // no sound folder shows nothing
    }
    Ok(seen)
}

/// Damages one file and opens the region, twice if it is refused.
pub fn damaged(sample: &Sample, seed: u64) -> std::result::Result<bool, String> {
    let mut dice = Dice::new(seed);
    let paths: Vec<&PathBuf> = sample.files.keys().collect();
    // The tail is where what is allowed is subtle.
    let path = if dice.below(4) == 0 { sample.last_segment.clone() } else { (*dice.of(&paths)).clone() };
    let (mut name, mut data, mut done) = (path.clone(), sample.files[&path].clone(), Vec::new());
    let text = path.file_name().expect("a name").to_string_lossy().into_owned();
    let pointer = text.starts_with("h.");
    if pointer {
        // The pointer's name is its value.
        let mut bytes = text.into_bytes();
        let at = 2 + dice.below(bytes.len() - 2);
        bytes[at] ^= 1 << dice.below(7);
        if bytes[at] == 0 || bytes[at] == b'/' || bytes.starts_with(b"b.") {
            return Ok(true);
        }
        done.push(format!("byte {at} of the name is {}", bytes[at].escape_ascii()));
        name = path.with_file_name(String::from_utf8(bytes).expect("ASCII"));
    } else {
        let in_log = path.starts_with("ferrobase/log") && !text.starts_with("b.");
        let parts = if in_log { groups(&data) } else { Vec::new() };
        let hot: Vec<_> = parts.iter().map(|group| group.start..group.start + GROUP_HEADER_LEN).collect();
        for _ in 0..1 + dice.below(2) {
            done.push(hurt::damage(&mut data, &parts, &hot, &mut dice));
        }
    }
    let may_miss = if path == sample.last_segment { sample.may_miss_from(&data) } else { usize::MAX };
    let told = |why: String| format!("{}: {}: {why}", path.display(), done.join(", "));
    let folder = sample.copy(&BTreeMap::from([(path.clone(), (name, data))]));
    for life in [sample.lives + 1, sample.lives + 2] {
        match run(answers(folder.path(), life)) {
            Ok(seen) => {
                let missing = |from: usize| seen.iter().eq(sample.cells.iter().filter(|cell| !is_tail(cell, from)));
                if seen != sample.cells && !(may_miss..TAIL).any(missing) {
                    return Err(told(format!("other contents, {} cells for {}", seen.len(), sample.cells.len())));
                }
                return Ok(seen != sample.cells || life > sample.lives + 1);
            }
            Err(error) => {
                if let Some(why) = complaint(&error, &key(&path)) {
                    return Err(told(why));
                }
            }
        }
    }
    Ok(true)
}

/// What is wrong with an error, if anything.
fn complaint(error: &StorageError, key: &str) -> Option<String> {
    let text = error.to_string();
    if matches!(error, StorageError::Corrupt { .. }) && !text.contains("offset=`") {
        return Some(format!("the error names no offset: {text}"));
    }
    let kind = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid);
    (!kind || !text.contains(key)).then(|| format!("the error ({:?}) does not name {key}: {text}", error.kind()))
}
