//! Export: a table's cells as files, the way back from a load.
//!
//! ```text
//! regions ─▶ plan of row ranges ─▶ one scan per range ─▶ one part per range ─▶ `_SUCCESS`
//! ```
//!
//! Modules, lower ones first: `request` (what is asked for), `partition` (folders by a value), `encoder`, `text` and `columnar` (from cells to bytes), `part`
//! (the files of one range), `ledger` (what a folder says of the export in it).
//!
//! Always true
//! - Ranges are planned once, from the regions of that moment, and cover the rows asked for without overlap: regions that split or move
//!   meanwhile change neither what is read nor where it is written.
//! - A file has its name once it is whole. `_SUCCESS` is written last, after all files were seen in their place with their length.
//! - A range's files count once the ledger names them; so the same export goes on after the ranges that are done.
//! - Memory is bounded by what the caller says and the longest cell, or row where rows are gathered, whatever the table holds.
//!
//! Not here: where the folder's storage comes from (`cli` opens it).

mod columnar;
mod encoder;
mod ledger;
mod part;
pub mod partition;
pub mod request;
mod text;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Admin, Table};
use filesystem::Filesystem;
use futures::{StreamExt, stream};
use model::query::Scan;
use model::schema::TableDescriptor;
use runtime::Runtime;
use serde::Serialize;

use crate::error::{LoadError, Result};
use crate::report::Progress;
use ledger::{Ledger, Source};
use part::{Done, Files, Sink};
use request::{Range, Request};

/// Least memory for a range that is being written, in bytes.
pub const RANGE_MEMORY_MIN: u64 = 16 << 20;
/// Bytes of cells between two messages to whoever shows progress.
const TELL_BYTES: u64 = 1 << 20;

/// What an export has done, for people and schedulers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The table.
    pub table: String,
    /// The layout of the files.
    pub output: &'static str,
    /// Row ranges, one for each region there was at the start.
    pub ranges: u64,
    /// Of these, ranges that this run has written.
    pub ranges_done: u64,
    /// Of these, ranges that an earlier run had written.
    pub ranges_before: u64,
    /// Rows.
    pub rows: u64,
    /// Cells.
    pub cells: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Time taken, in seconds.
    pub seconds: f64,
}

impl Summary {
    fn add(&mut self, done: &Done) {
        self.rows += done.rows;
        self.cells += done.cells;
        self.files += done.files.len() as u64;
        self.bytes += done.files.iter().map(|file| file.bytes).sum::<u64>();
    }
}

/// An export, ready to run.
#[derive(Clone)]
pub struct Export {
    /// The table.
    pub table: Table,
    /// For its regions.
    pub admin: Admin,
    /// The cluster that it is of.
    pub cluster_id: String,
    /// Its families.
    pub descriptor: TableDescriptor,
    /// What is asked for.
    pub request: Request,
    /// Storage of the files.
    pub fs: Arc<dyn Filesystem>,
    /// Folder of the files there.
    pub folder: String,
    /// Ranges read at the same time.
    pub parallel: usize,
    /// Bytes for all ranges together, at least [`RANGE_MEMORY_MIN`].
    pub memory_bytes: u64,
    /// Clock and randomness.
    pub runtime: Runtime,
    /// Is told of bytes of cells.
    pub progress: Arc<dyn Progress>,
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("request", &self.request).field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Export {
    /// Looks at the folder, and plans the ranges or takes over those of a run that did not end.
    ///
    /// # Errors
    /// Usage: the folder holds something else, or the request cannot be; nothing was touched. The cluster or the storage fails.
    pub async fn begin(self) -> Result<Begun> {
        self.request.check(&self.descriptor).map_err(LoadError::Usage)?;
        let source = self.source().await?;
        let ledger = Ledger::open(&self.fs, &self.folder, &self.request, source, &self.runtime).await?;
        Ok(Begun { export: self, ledger })
    }

    async fn source(&self) -> Result<Source> {
        let regions = self.admin.regions(self.table.name()).await?;
        let made_ms = regions.iter().map(|region| region.info.region_id).min().unwrap_or_default();
        let source = format!("cluster {}, oldest region {made_ms}", self.cluster_id);
        Ok(Source { source, starts: regions.into_iter().map(|region| region.info.start_key).collect() })
    }
}

/// An export whose folder is its own.
pub struct Begun {
    export: Export,
    ledger: Ledger,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.export.fmt(f)
    }
}

impl Begun {
    /// Writes what is left; `summary` is true even if it fails.
    ///
    /// # Errors
    /// The cluster or the storage fails, or a row cannot be written so: ranges that are done stay, and the same export goes on behind them.
    pub async fn run(self, summary: &mut Summary) -> Result<()> {
        let Begun { export, ledger } = self;
        let clock = export.runtime.clock.clone();
        let begun = clock.monotonic();
        (summary.table, summary.output) = (export.request.table.to_string(), export.request.output.name());
        let ranges = export.request.ranges(ledger.starts());
        let mut done: HashMap<usize, Done> = ledger.done().clone();
        (summary.ranges, summary.ranges_before) = (ranges.len() as u64, done.len() as u64);
        done.values().for_each(|done| summary.add(done));
        export.progress.phase("export", 0);
        let most = usize::try_from(export.memory_bytes / RANGE_MEMORY_MIN).unwrap_or(usize::MAX);
        let parallel = export.parallel.min(most).min(ranges.len()).max(1);
        let memory_bytes = usize::try_from(export.memory_bytes / parallel as u64).unwrap_or(usize::MAX);
        let Export { table, descriptor, request, fs, folder, runtime, progress, .. } = export;
        let files = Arc::new(Files { request, descriptor, fs, folder, runtime });
        let shared = Arc::new(Shared { table, files, progress, ledger, memory_bytes, stopped: AtomicBool::new(false) });
        let left = ranges.into_iter().enumerate().filter(|(at, _)| !done.contains_key(at)).collect::<Vec<_>>();
        let work = left.into_iter().map(|(at, range)| {
            let shared = shared.clone();
            async move {
                let task = runtime::task::spawn("export", async move { shared.range(at, range).await });
                (at, task.await.unwrap_or_else(|error| Err(LoadError::Encode(error.to_string()))))
            }
        });
        let mut work = stream::iter(work).buffer_unordered(parallel);
        let mut failed = None;
        // Once one has failed the others stop by themselves, and take back what they have begun.
        while let Some((at, ended)) = work.next().await {
            match ended {
                Ok(Some(range)) => {
                    summary.add(&range);
                    summary.ranges_done += 1;
                    done.insert(at, range);
                }
                Ok(None) => {}
                Err(error) => {
                    shared.stopped.store(true, Ordering::Relaxed);
                    failed.get_or_insert(error);
                }
            }
        }
        let taken = clock.monotonic().saturating_sub(begun);
        summary.seconds = (taken.as_secs_f64() * 1000.0).round() / 1000.0;
        match failed {
            Some(error) => Err(error),
            None => shared.ledger.close(&done, summary).await,
        }
    }
}

/// What the ranges have in common.
struct Shared {
    table: Table,
    files: Arc<Files>,
    progress: Arc<dyn Progress>,
    ledger: Ledger,
    /// For one range.
    memory_bytes: usize,
    /// A range has failed.
    stopped: AtomicBool,
}

impl Shared {
    /// Reads and writes one range. `None`: others have failed.
    async fn range(&self, at: usize, range: Range) -> Result<Option<Done>> {
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut sink = Sink::new(&self.files, at, self.memory_bytes);
        let scan = self.files.request.scan(range);
        let copied = self.copy(scan, &mut sink).await;
        if !matches!(copied, Ok(true)) {
            sink.abort().await;
            return copied.map(|_| None);
        }
        let done = sink.finish().await?;
        self.ledger.note(at, &done).await?;
        Ok(Some(done))
    }

    /// Copies all of a scan. False: others have failed meanwhile.
    async fn copy(&self, scan: Scan, sink: &mut Sink) -> Result<bool> {
        let mut pieces = self.table.scan(scan);
        let mut untold = 0;
        while let Some(piece) = pieces.next_row().await? {
            untold += piece.cells.iter().map(|cell| cell.bytes().len() as u64).sum::<u64>();
            sink.add(piece.cells).await?;
            if untold >= TELL_BYTES {
                self.progress.done(std::mem::take(&mut untold));
                if self.stopped.load(Ordering::Relaxed) {
                    return Ok(false);
                }
            }
        }
        self.progress.done(untold);
        Ok(true)
    }
}
