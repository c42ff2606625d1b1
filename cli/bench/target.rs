//! What a bench runs against.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::RowStream;
use filesystem::{Filesystem, LockOutcome, RootLock};
use model::mutation::Mutation;
use model::query::{Get, Scan};
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, ErrorKind};
use runtime::Runtime;
use runtime::task::Task;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::read::{Limits, Row};
use storage::region::{Region, RegionContext, RegionScanner, RegionSettings};
use storage::wal::{Log, LogSettings};

use super::flags::{Load, Settle};
use super::server::Server;
use crate::failure::Failure;
use crate::memory;
use crate::roots::open_folder;

/// An operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct TargetError {
    /// What to do about it.
    pub kind: ErrorKind,
    /// What happened.
    pub text: String,
}

impl From<storage::StorageError> for TargetError {
    fn from(error: storage::StorageError) -> TargetError {
        TargetError { kind: error.kind(), text: error.to_string() }
    }
}

/// What an operation read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Rows.
    pub rows: u64,
    /// Bytes of their cells.
    pub bytes: u64,
}

impl Found {
    fn add(&mut self, cells: &[Cell]) {
        self.rows += 1;
        self.bytes += cells.iter().map(|cell| cell.bytes().len() as u64).sum::<u64>();
    }
}

/// What a bench runs against.
#[derive(Debug)]
pub enum Target {
    /// Nothing: every operation is done at once.
    Nothing,
    /// A region in this process.
    Engine(Engine),
    /// A table of a server.
    Server(Box<Server>),
}

/// Where a target's work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// Here.
    Own,
    /// In another process of this machine.
    Other(u32),
    /// Somewhere else.
    Unknown,
}

/// A scan that goes on from row to row.
#[derive(Debug)]
pub enum Cursor {
    /// Of nothing.
    Nothing,
    /// Of a region: rows fetched and not yet taken, last first.
    Engine(Box<RegionScanner>, Vec<Row>, bool),
    /// Of a server's table.
    Server(RowStream),
}

/// Rows that a cursor fetches at once.
const CURSOR_ROWS: usize = 100;

impl Cursor {
    /// The next row; none at the end.
    pub async fn next(&mut self) -> Result<Option<Found>, TargetError> {
        let mut found = Found::default();
        match self {
            Cursor::Nothing => found.rows = 1,
            Cursor::Engine(scanner, rows, more) => {
                while rows.is_empty() && *more {
                    *more = scanner.next(&Limits::rows(CURSOR_ROWS), rows).await?.more;
                    rows.reverse();
                }
                match rows.pop() {
                    Some(row) => found.add(&row.cells),
                    None => return Ok(None),
                }
            }
            Cursor::Server(rows) => match rows.next_row().await? {
                Some(row) => found.add(&row.cells),
                None => return Ok(None),
            },
        }
        Ok(Some(found))
    }
}

impl Target {
    /// Opens what the flags name, with one family.
    pub async fn open(load: &Load, family: &str, runtime: &Runtime) -> Result<Target, Failure> {
        match load.target.as_str() {
            "none" => Ok(Target::Nothing),
            "engine" => Ok(Target::Engine(Engine::open(load, family, runtime).await?)),
            "server" => Ok(Target::Server(Box::new(Server::open(load, None, family, runtime).await?))),
            address => Ok(Target::Server(Box::new(Server::open(load, Some(address), family, runtime).await?))),
        }
    }

    /// Writes.
    pub async fn write(&self, mutation: Mutation) -> Result<(), TargetError> {
        match self {
            Target::Nothing => {}
            Target::Engine(engine) => drop(engine.region.mutate(vec![mutation], None).await?),
            Target::Server(server) => drop(server.table().mutate(mutation).await?),
        }
        Ok(())
    }

    /// Reads a row.
    pub async fn get(&self, get: &Get) -> Result<Found, TargetError> {
        let mut found = Found::default();
        match self {
            Target::Nothing => found.rows = 1,
            Target::Engine(engine) => {
                let cells = engine.region.get(get).await?;
                if !cells.is_empty() {
                    found.add(&cells);
                }
            }
            Target::Server(server) => {
                let row = server.table().get(get).await?;
                if !row.is_empty() {
                    found.add(&row.cells);
                }
            }
        }
        Ok(found)
    }

    /// Reads the first rows of a scan, as many as its limit says.
    pub async fn scan(&self, scan: &Scan) -> Result<Found, TargetError> {
        let mut found = Found::default();
        match self {
            Target::Nothing => found.rows = 1,
            Target::Engine(engine) => {
                let most = scan.limit.map_or(usize::MAX, |limit| limit as usize);
                let mut rows = Vec::new();
                engine.region.scanner(scan).await?.next(&Limits::rows(most), &mut rows).await?;
                rows.iter().for_each(|row| found.add(&row.cells));
            }
            Target::Server(server) => {
                let mut rows = server.table().scan(scan.clone());
                while let Some(row) = rows.next_row().await? {
                    found.add(&row.cells);
                }
            }
        }
        Ok(found)
    }

    /// Starts a scan that goes on.
    pub async fn cursor(&self, scan: &Scan) -> Result<Cursor, TargetError> {
        Ok(match self {
            Target::Nothing => Cursor::Nothing,
            Target::Engine(engine) => Cursor::Engine(Box::new(engine.region.scanner(scan).await?), Vec::new(), true),
            Target::Server(server) => Cursor::Server(server.table().scan(scan.clone())),
        })
    }

    /// Brings what was loaded into the wanted state.
    pub async fn settle(&self, settle: Settle) -> Result<(), TargetError> {
        match self {
            Target::Nothing => {}
            Target::Engine(engine) => {
                if settle != Settle::None {
                    engine.region.flush().await?;
                }
                if settle == Settle::Compact {
                    engine.region.compact(true).await?;
                }
            }
            Target::Server(server) => server.settle(settle).await?,
        }
        Ok(())
    }

    /// Facts about the target for the report.
    pub fn facts(&self) -> serde_json::Value {
        match self {
            Target::Nothing | Target::Server(_) => serde_json::json!({}),
            Target::Engine(engine) => engine.facts(),
        }
    }

    /// The process that does the work: this one, another one, or an unknown one.
    pub fn process(&self) -> Process {
        match self {
            Target::Nothing | Target::Engine(_) => Process::Own,
            Target::Server(server) => server.pid().map_or(Process::Unknown, Process::Other),
        }
    }

    /// Closes it; a temporary folder goes.
    pub async fn close(self) -> Result<(), Failure> {
        match self {
            Target::Nothing => Ok(()),
            Target::Engine(engine) => engine.close().await,
            Target::Server(server) => server.close().await,
        }
    }
}

/// A folder that is removed when it is dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what stays in the folder for temporary files is nobody's problem
    }
}

/// A region in this process over a local folder, with a keeper that flushes and compacts.
#[derive(Debug)]
pub struct Engine {
    region: Arc<Region>,
    log: Log,
    cache: Arc<BlockCache>,
    keeper: Task<()>,
    _lock: RootLock,
    _temporary: Option<Temporary>,
}

const TABLE_ID: &str = "0000000000000001";

/// The bench's table, with one family as the flags say.
///
/// # Errors
/// 2 if it cannot be had so.
pub fn table(load: &Load, family: &str, name: TableName) -> Result<TableDescriptor, Failure> {
    let family = FamilyDescriptor::new(family.to_owned())
        .with("COMPRESSION", &load.compression)
        .with("DATA_BLOCK_ENCODING", &load.encoding)
        .with("BLOOMFILTER", &load.bloom);
    let table = TableDescriptor::new(name).with_family(family);
    table.validate().map_err(Failure::usage)?;
    Ok(table)
}

impl Engine {
    async fn open(load: &Load, family: &str, runtime: &Runtime) -> Result<Engine, Failure> {
        if load.memory < memory::BUDGET_MIN {
            return Err(Failure::usage(format!("--memory: at least {}M is needed", memory::BUDGET_MIN >> 20)));
        }
        let table = table(load, family, "bench".parse()?)?;
        let (folder, temporary) = match &load.data {
            Some(folder) => (folder.clone(), None),
            None => {
                let name = format!("ferrobase-bench-{}-{:x}", std::process::id(), runtime.random.next_u64());
                let folder = std::env::temp_dir().join(name);
                (folder.clone(), Some(Temporary(folder)))
            }
        };
        let shown = folder.display().to_string();
        let fs: Arc<dyn Filesystem> = Arc::new(open_folder(folder, "--data", runtime)?);
        let holder = format!("bench, pid {}", std::process::id());
        let lock = match fs.lock_root(&holder).await.map_err(|error| Failure::from(error).within(&shown))? {
            LockOutcome::Locked(lock) => lock,
            LockOutcome::Held(holder) => {
                return Err(Failure::held(format!("{shown} is held by {holder}; a bench needs a folder of its own")));
            }
        };
        let leadership = coordination::take_over(&fs, runtime, "bench").await?;
        let info = RegionInfo::new(table.name.clone(), Default::default(), Default::default(), 1);
        let log = Log::create(fs.clone(), runtime.clone(), LogSettings::default(), runtime.random.next_u64()).await?;
        let cache = Arc::new(BlockCache::new(load.memory / 2));
        let ctx = RegionContext {
            runtime: runtime.clone(),
            fs: fs.clone(),
            log: log.clone(),
            budget: Budget::of_memory(load.memory),
            cache: cache.clone(),
            settings: RegionSettings::default(),
        };
        let budget = ctx.budget.clone();
        Region::create(&fs, runtime, TABLE_ID, &info, &table, leadership.next_epoch()).await?;
        let region = Region::open(ctx, info, TABLE_ID, leadership.next_epoch(), Arc::new(table)).await?;
        let keeper = runtime::task::spawn("keeper", keep(region.clone(), budget, runtime.clone()));
        Ok(Engine { region, log, cache, keeper, _lock: lock, _temporary: temporary })
    }

    fn facts(&self) -> serde_json::Value {
        let descriptor = self.region.descriptor();
        let files: Vec<u64> =
            descriptor.families.keys().flat_map(|family| self.region.files(family)).map(|file| file.1).collect();
        let (hits, misses) = self.cache.hits_and_misses();
        serde_json::json!({"memtable_bytes": self.region.memtable_bytes(), "file_bytes": files,
            "log_segments": self.log.segments(), "cache_bytes": self.cache.bytes(), "cache_hits": hits, "cache_misses": misses})
    }

    async fn close(self) -> Result<(), Failure> {
        self.keeper.abort();
        let _ = self.keeper.await; // it was aborted
        self.region.close().await?;
        self.log.close().await;
        Ok(())
    }
}

/// Flushes when the region or the memory asks for it, and compacts behind each flush.
async fn keep(region: Arc<Region>, budget: Budget, runtime: Runtime) {
    loop {
        let tick = runtime.clock.sleep(Duration::from_millis(50));
        tokio::select! {
            () = tick => {}
            () = budget.pressed() => {}
        }
        if !(region.needs_flush() || budget.is_pressed()) {
            continue;
        }
        let done = async {
            region.flush().await?;
            region.compact(false).await
        };
        if let Err(error) = done.await {
            tracing::warn!(%error, "flush or compaction failed");
        }
    }
}
