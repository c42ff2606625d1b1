//! What a folder says of the export in it: `_export.plan` while it is under way, `_export.done.N` for each range that is done, `_export.run.ID`
//! of the run at work, `_SUCCESS` at the end.
//!
//! Always true
//! - The name of a run is the first file of the folder, then the plan; `_SUCCESS` is the last one, and then these go.
//! - A later run takes the folder from an earlier one by removing its name; the earlier one notes no range and no success behind that.
//! - What a run finds and no range's note names is removed, at its beginning and before `_SUCCESS`, if it has a name that exports give; anything else
//!   ends the run before it begins.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use filesystem::{Entry, ErrorKind, Filesystem, PutOutcome};
use runtime::Runtime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::part::Done;
use super::request::Request;
use crate::error::{LoadError, Result};

const SUCCESS: &str = "_SUCCESS";
const PLAN: &str = "_export.plan";
const DONE: &str = "_export.done.";
const RUN: &str = "_export.run.";
/// Version of the ledger.
const VERSION: u32 = 1;
/// Largest file of the ledger that is read, in bytes.
const NOTE_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    version: u32,
    /// The table that is meant, and no other of its name.
    source: String,
    request: Value,
    /// First rows of the regions, as base64.
    starts: Vec<String>,
}

/// The table as it is now.
pub(super) struct Source {
    /// Tells it from others of its name: of other clusters, or made later.
    pub source: String,
    /// First rows of its regions.
    pub starts: Vec<Bytes>,
}

/// The ledger of a folder.
pub(super) struct Ledger {
    fs: Arc<dyn Filesystem>,
    folder: String,
    run: String,
    starts: Vec<Bytes>,
    done: HashMap<usize, Done>,
}

/// Whether an export gives such names: `part-…` at any depth, `FAMILY/FILE`.
fn is_ours(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    let is_store_file =
        name.split('/').count() == 2 && last.len() == 32 && last.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.starts_with("part-") || is_store_file || name.starts_with(DONE) || name.starts_with(RUN) || name == PLAN
}

impl Ledger {
    /// Begins an export in a folder without files, or goes on with the same one.
    ///
    /// # Errors
    /// Usage: the folder holds something else; nothing was changed. Storage fails.
    pub async fn open(
        fs: &Arc<dyn Filesystem>,
        folder: &str,
        request: &Request,
        Source { source, starts }: Source,
        runtime: &Runtime,
    ) -> Result<Ledger> {
        let run = format!("{RUN}{:032x}", runtime.random.next_u128());
        let mut ledger = Ledger { fs: fs.clone(), folder: folder.to_owned(), run, starts, done: HashMap::new() };
        let found = ledger.found().await?;
        if found.iter().any(|entry| entry.path == SUCCESS) {
            let why = format!("DEST: {folder} holds an export that was finished; name another folder, or remove it");
            return Err(LoadError::Usage(why));
        }
        if let Some(entry) = found.iter().find(|entry| !is_ours(&entry.path)) {
            let why = format!("DEST: {folder} is not empty, it holds `{}`; name another folder", entry.path);
            return Err(LoadError::Usage(why));
        }
        if found.iter().any(|entry| entry.path == PLAN) {
            ledger.go_on(request, &source).await?;
        } else if let Some(entry) = found.iter().find(|entry| !entry.path.starts_with(RUN)) {
            let why = format!(
                "DEST: {folder} is not empty, it holds `{}`, and no export that could go on; name another folder",
                entry.path
            );
            return Err(LoadError::Usage(why));
        } else {
            let starts = ledger.starts.iter().map(|row| STANDARD.encode(row)).collect();
            let plan = Plan { version: VERSION, source, request: request.told(), starts };
            // Whoever finds the plan takes the folder by removing this.
            ledger.put(&ledger.run, b"{}".to_vec()).await?;
            if !ledger.put(PLAN, json(&plan)).await? {
                ledger.remove(&ledger.run).await?;
                return Err(LoadError::Usage(format!("DEST: another export has just begun in {folder}")));
            }
        }
        Ok(ledger)
    }

    /// First rows of the regions that were planned with.
    pub fn starts(&self) -> &[Bytes] {
        &self.starts
    }

    /// Ranges that an earlier run has done.
    pub fn done(&self) -> &HashMap<usize, Done> {
        &self.done
    }

    /// Notes that a range is done.
    ///
    /// # Errors
    /// Another run has taken the folder, or storage fails.
    pub async fn note(&self, range: usize, done: &Done) -> Result<()> {
        self.check_run().await?;
        let name = format!("{DONE}{range:05}");
        if !self.put(&name, json(done)).await? {
            // Of a run that lost the folder while it wrote.
            self.remove(&name).await?;
            self.put(&name, json(done)).await?;
        }
        Ok(())
    }

    /// Ends the export: everything is in its place.
    ///
    /// # Errors
    /// A file is missing or has another length, another run has taken the folder, or storage fails.
    pub async fn close(&self, done: &HashMap<usize, Done>, summary: &impl Serialize) -> Result<()> {
        let found = self.found().await?;
        let sizes: HashMap<&str, u64> = found.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        for file in done.values().flat_map(|done| &done.files) {
            if sizes.get(file.path.as_str()) != Some(&file.bytes) {
                let why = format!(
                    "DEST: `{}` is not there any more as it was written; did something else write to this folder?",
                    file.path
                );
                return Err(LoadError::Usage(why));
            }
        }
        self.check_run().await?;
        // Of a run that lost the folder and wrote on for a while.
        let named: HashSet<&str> = done.values().flat_map(|done| &done.files).map(|file| file.path.as_str()).collect();
        let unnamed = |entry: &&Entry| {
            let path = entry.path.as_str();
            is_ours(path) && !path.starts_with("_export.") && !named.contains(path)
        };
        for entry in found.iter().filter(unnamed) {
            self.remove(&entry.path).await?;
        }
        self.put(SUCCESS, json(summary)).await?;
        for entry in found.iter().filter(|entry| entry.path.starts_with("_export.")) {
            if let Err(error) = self.remove(&entry.path).await {
                tracing::warn!(%error, "a file that is not needed any more stays");
            }
        }
        Ok(())
    }

    /// Takes the folder from an earlier run of the same export.
    async fn go_on(&mut self, request: &Request, source: &str) -> Result<()> {
        let folder = &self.folder;
        let plan: Plan = self.read(PLAN).await?;
        if plan.version != VERSION || plan.request != request.told() {
            let why = format!(
                "DEST: {folder} holds another export that was not finished: the same flags go on with it ({}); remove the folder to begin anew",
                plan.request
            );
            return Err(LoadError::Usage(why));
        }
        if plan.source != source {
            let why = format!(
                "DEST: {folder} holds an unfinished export of another table of this name ({}), this is {source}; remove the folder to begin anew",
                plan.source
            );
            return Err(LoadError::Usage(why));
        }
        let starts = plan.starts.iter().map(|row| STANDARD.decode(row).map(Bytes::from));
        self.starts = starts.collect::<std::result::Result<_, _>>().map_err(|error| self.damaged(PLAN, &error))?;
        self.put(&self.run, b"{}".to_vec()).await?;
        for entry in self.found().await? {
            if entry.path.starts_with(RUN) && entry.path != self.run {
                self.remove(&entry.path).await?;
            }
        }
        // What the other run does behind this look is its own loss: it may note nothing any more.
        let found = self.found().await?;
        let sizes: HashMap<&str, u64> = found.iter().map(|entry| (entry.path.as_str(), entry.size)).collect();
        let mut kept: HashSet<String> = HashSet::new();
        for entry in &found {
            let Some(range) = entry.path.strip_prefix(DONE).and_then(|range| range.parse().ok()) else { continue };
            let done: Done = self.read(&entry.path).await?;
            if done.files.iter().all(|file| sizes.get(file.path.as_str()) == Some(&file.bytes)) {
                kept.insert(entry.path.clone());
                kept.extend(done.files.iter().map(|file| file.path.clone()));
                self.done.insert(range, done);
            }
        }
        for unfinished in self.fs.unfinished(&self.folder).await? {
            self.fs.abandon(&unfinished).await?;
        }
        for entry in found.iter().filter(|entry| !kept.contains(&entry.path)) {
            if entry.path != PLAN && entry.path != self.run {
                self.remove(&entry.path).await?;
            }
        }
        Ok(())
    }

    async fn check_run(&self) -> Result<()> {
        if self.fs.exists(&self.path(&self.run)).await? {
            return Ok(());
        }
        Err(LoadError::Usage(format!("DEST: another run of this export has taken {}; this one ends", self.folder)))
    }

    /// Files of the folder, by their path below it.
    async fn found(&self) -> Result<Vec<Entry>> {
        let below = |entry: Entry| {
            let path = entry.path.strip_prefix(&self.folder)?.strip_prefix('/')?.to_owned();
            Some(Entry { path, ..entry })
        };
        Ok(self.fs.list(&self.folder).await?.into_iter().filter_map(below).collect())
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folder)
    }

    /// False: the name is taken.
    async fn put(&self, name: &str, data: Vec<u8>) -> Result<bool> {
        Ok(self.fs.put_if_absent(&self.path(name), data.into()).await? == PutOutcome::Created)
    }

    async fn remove(&self, name: &str) -> Result<()> {
        Ok(self.fs.delete(&self.path(name)).await?)
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let text = self.fs.read_at(&self.path(name), 0, NOTE_BYTES_MAX).await?;
        serde_json::from_slice(&text).map_err(|error| self.damaged(name, &error))
    }

    fn damaged(&self, name: &str, why: &dyn std::fmt::Display) -> LoadError {
        let why = format!("{why}; remove the folder to begin anew");
        filesystem::Error::new(ErrorKind::Corrupt, &self.path(name), why).into()
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a plain struct")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::part::Made;
    use crate::export::request::Output;
    use filesystem::memory::MemoryFilesystem;
    use model::query::TimeRange;

    fn request(start_row: &'static str) -> Request {
        Request {
            table: "t".parse().expect("a name"),
            output: Output::JsonLines,
            codec: None,
            start_row: start_row.into(),
            stop_row: Bytes::new(),
            time_range: TimeRange::ALL,
            versions: 1,
            columns: Vec::new(),
            raw: false,
            partition: None,
        }
    }

    async fn open(fs: &Arc<dyn Filesystem>, start_row: &'static str, starts: &[&'static str]) -> Result<Ledger> {
        open_of("one", fs, start_row, starts).await
    }

    async fn open_of(
        source: &str,
        fs: &Arc<dyn Filesystem>,
        start_row: &'static str,
        starts: &[&'static str],
    ) -> Result<Ledger> {
        let starts = starts.iter().map(|row| Bytes::from(*row)).collect();
        let source = Source { source: source.to_owned(), starts };
        Ledger::open(fs, "out", &request(start_row), source, &Runtime::system()).await
    }

    async fn file(fs: &Arc<dyn Filesystem>, name: &str) -> Made {
        fs.put_if_absent(&format!("out/{name}"), Bytes::from_static(b"text")).await.expect("written");
        Made { path: name.to_owned(), bytes: 4 }
    }

    async fn names(fs: &Arc<dyn Filesystem>) -> Vec<String> {
        let listed = fs.list("out").await.expect("listed").into_iter().map(|entry| entry.path.replace("out/", ""));
        listed.map(|name| if name.starts_with(RUN) { RUN.to_owned() } else { name }).collect()
    }

    #[tokio::test]
    async fn an_export_goes_on_after_the_ranges_that_are_done() {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let first = open(&fs, "", &["", "m\u{e9}"]).await.expect("begun");
        let done = Done { rows: 1, cells: 2, files: vec![file(&fs, "part-00000.jsonl").await] };
        first.note(0, &done).await.expect("noted");
        file(&fs, "part-00001.jsonl").await;
        assert!(names(&fs).await.contains(&"_export.done.00000".to_owned()));

        // The regions are others by now; the plan stays.
        let second = open(&fs, "", &["", "a", "b"]).await.expect("goes on");
        assert_eq!(second.starts(), ["", "m\u{e9}"]);
        assert_eq!(second.done(), &HashMap::from([(0, done.clone())]));
        assert_eq!(names(&fs).await, ["_export.done.00000", PLAN, RUN, "part-00000.jsonl"], "the rest is removed");
        let error = first.note(1, &done).await.expect_err("it has lost the folder").to_string();
        assert!(error.contains("another run"), "{error}");
        assert!(first.close(&HashMap::new(), &"a summary").await.is_err(), "nor does it end anything");

        let other = Done { rows: 1, cells: 1, files: vec![file(&fs, "f%3Aday=1/part-00001.jsonl").await] };
        second.note(1, &other).await.expect("noted");
        // The first run was about to give this its name when it lost the folder.
        file(&fs, "part-00001.jsonl").await;
        file(&fs, "f/0123456789abcdef0123456789abcdef").await;
        let mut all = HashMap::from([(0, done), (1, other)]);
        second.close(&all, &"a summary").await.expect("ended");
        assert_eq!(names(&fs).await, [SUCCESS, "f%3Aday=1/part-00001.jsonl", "part-00000.jsonl"]);
        let error = open(&fs, "", &[""]).await.err().expect("refused").to_string();
        assert!(error.contains("was finished"), "{error}");
        all.get_mut(&1).expect("a range").files[0].bytes = 5;
        assert!(second.close(&all, &"a summary").await.is_err(), "a file that has another length");
    }

    #[tokio::test]
    async fn a_range_of_which_a_file_is_missing_is_not_done() {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        let first = open(&fs, "", &[""]).await.expect("begun");
        let files = vec![file(&fs, "part-00000.jsonl").await, Made { path: "part-00000-1.jsonl".to_owned(), bytes: 1 }];
        first.note(0, &Done { rows: 1, cells: 1, files }).await.expect("noted");
        let second = open(&fs, "", &[""]).await.expect("goes on");
        assert!(second.done().is_empty());
        assert_eq!(names(&fs).await, [PLAN, RUN]);
    }

    #[tokio::test]
    async fn a_folder_with_something_else_in_it_is_refused_and_left_alone() {
        for (name, why) in [
            ("notes.txt", "it holds `notes.txt`"),
            ("part-00000.jsonl", "no export that could go on"),
            ("f/00000000000000000000000000000000", "no export that could go on"),
            (SUCCESS, "was finished"),
        ] {
            let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
            file(&fs, name).await;
            let error = open(&fs, "", &[""]).await.err().expect("refused").to_string();
            assert!(error.contains(why), "{name}: {error}");
            assert_eq!(names(&fs).await, [name]);
        }
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        open(&fs, "", &[""]).await.expect("begun");
        let before = names(&fs).await;
        let error = open(&fs, "b", &[""]).await.err().expect("refused").to_string();
        assert!(error.contains("another export") && error.contains("start_row"), "{error}");
        let error = open_of("two", &fs, "", &[""]).await.err().expect("refused").to_string();
        assert!(error.contains("another table of this name (one), this is two"), "{error}");
        assert_eq!(names(&fs).await, before);
    }

    #[tokio::test]
    async fn of_two_that_begin_at_once_one_has_the_folder() {
        let fs: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
        // One that stopped before its plan.
        file(&fs, &format!("{RUN}{:032x}", 7)).await;
        let first = open(&fs, "", &[""]).await.expect("as an empty folder");
        let second = open(&fs, "", &[""]).await.expect("goes on");
        let done = Done { rows: 0, cells: 0, files: Vec::new() };
        assert!(first.note(0, &done).await.is_err(), "it was passed over");
        second.note(0, &done).await.expect("noted");
        second.close(&HashMap::from([(0, done)]), &"a summary").await.expect("ended");
        assert_eq!(names(&fs).await, [SUCCESS]);
    }
}
