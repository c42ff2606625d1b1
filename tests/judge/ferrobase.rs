//! Ferrobase's region on a filesystem in memory, as an [`Engine`].

use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::memory::MemoryFilesystem;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor};
use model::{Cell, CellOrder};
use runtime::Runtime;
use runtime::clock::ManualClock;
use runtime::random::SeededRandom;
use storage::StorageError;
use storage::budget::Budget;
use storage::cache::BlockCache;
use storage::file::writer::{FileMeta, WriterOptions, write_all};
use storage::region::{BulkLoad, LoadFile, Outcome, Region, RegionContext, RegionSettings};
use storage::wal::{Log, LogSettings};

use crate::generator::START;
use crate::operation::{Answer, Engine, Operation};
use crate::paper;

/// One region and what it stands on.
pub struct Ferrobase {
    executor: tokio::runtime::Runtime,
    clock: Arc<ManualClock>,
    runtime: Runtime,
    fs: Arc<dyn Filesystem>,
    table: Arc<TableDescriptor>,
    region: Option<Arc<Region>>,
    lives: u64,
    loads: u64,
}

fn info() -> RegionInfo {
    RegionInfo::new("t".parse().expect("a name"), Bytes::new(), Bytes::new(), 1)
}

impl Ferrobase {
    /// Nothing yet.
    pub fn new() -> Ferrobase {
        let clock = Arc::new(ManualClock::new(START));
        let runtime = Runtime { clock: clock.clone(), random: Arc::new(SeededRandom::new(1)), ..Runtime::system() };
        Ferrobase {
            executor: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("threads"),
            clock,
            runtime,
            fs: Arc::new(MemoryFilesystem::new()),
            table: Arc::new(TableDescriptor::new("t".parse().expect("a name"))),
            region: None,
            lives: 0,
            loads: 0,
        }
    }

    /// A new life of the process: a new log stream, a higher epoch.
    fn open(&mut self) {
        self.region = None;
        self.lives += 1;
        let lives = self.lives;
        let (fs, runtime, table) = (self.fs.clone(), self.runtime.clone(), self.table.clone());
        let opened = self.executor.block_on(async move {
            let log = Log::create(
                fs.clone(),
                runtime.clone(),
                LogSettings { segment_bytes: 4096, ..LogSettings::default() },
                lives,
            )
            .await?;
            Region::create(&fs, &runtime, "tid", &info(), &table, 1).await?;
            let ctx = RegionContext {
                runtime,
                fs,
                log,
                budget: Budget::new(64 << 20),
                cache: Arc::new(BlockCache::new(1 << 20)),
                settings: RegionSettings::default(),
            };
            Region::open(ctx, info(), "tid", 1 + lives, table).await
        });
        self.region = Some(opened.expect("the region opens"));
    }

    /// Files of others are put where a tool leaves them, and the region takes them.
    async fn load(
        fs: Arc<dyn Filesystem>,
        region: &Arc<Region>,
        number: u64,
        cells: &[Cell],
    ) -> Result<Answer, StorageError> {
        let mut files = Vec::new();
        for family in region.descriptor().families.keys() {
            let of = cells.iter().filter(|cell| cell.family() == &family[..]);
            let mut of: Vec<Cell> = of.cloned().collect();
            if of.is_empty() {
                continue;
            }
            of.sort_by(|a, b| CellOrder::User.compare(a.as_ref(), b.as_ref()));
            let options = WriterOptions { tags: true, for_load: true, ..WriterOptions::default() };
            let path = format!("ferrobase/staging/judge/{number}/{}/file", String::from_utf8_lossy(family));
            fs.put_if_absent(&path, write_all(options, &of, &FileMeta::default())?).await?;
            files.push(LoadFile { family: family.clone(), path });
        }
        region.bulk_load(BulkLoad { id: format!("load-{number}"), files, verify: true }).await?;
        Ok(Answer::nothing())
    }

    async fn step(region: &Arc<Region>, operation: &Operation) -> Result<Answer, StorageError> {
        let cells = |cells: Vec<model::Cell>| if cells.is_empty() { Vec::new() } else { vec![cells] };
        let written = |outcome: Outcome| Answer::Done { held: None, rows: cells(outcome.cells) };
        Ok(match operation {
            Operation::Mutate(mutation) => written(region.mutate(vec![mutation.clone()], None).await?),
            Operation::Row(mutations) => written(region.mutate(mutations.clone(), None).await?),
            Operation::Check(check) => {
                let outcome = region.check_and_mutate(check.clone(), None).await?;
                Answer::Done { held: Some(outcome.done), rows: cells(outcome.cells) }
            }
            Operation::Get(get) => Answer::to_get(get, region.get(get).await?),
            Operation::Scan(scan) => {
                let mut scanner = region.scanner(scan).await?;
                let limits = paper::limits(Some(scan));
                let (mut found, mut rows, mut more) = (Vec::new(), paper::Rows::of(Some(scan)), true);
                // What lies behind the last row wanted may be refused: it is not asked for.
                while more && !rows.full() {
                    more = scanner.next(&limits, &mut found).await?.more;
                    rows.take(&mut found);
                }
                let rows = rows.found;
                Answer::Done { held: None, rows }
            }
            Operation::Flush => {
                region.flush().await?;
                Answer::nothing()
            }
            Operation::Major => {
                for family in region.descriptor().families.keys() {
                    let files = region.files(family).len();
                    region.compact_files(family, 0..files, true).await?;
                }
                Answer::nothing()
            }
            Operation::Minor { family, from, to } => {
                let files = region.files(family.as_bytes()).len();
                let to = files.min(*to);
                if *from + 2 <= to {
                    // All files are all files, whoever asked.
                    region.compact_files(family.as_bytes(), *from..to, *from == 0 && to == files).await?;
                }
                Answer::nothing()
            }
            Operation::Clock(_) | Operation::Load(_) | Operation::Reopen | Operation::Crash => Answer::nothing(),
        })
    }
}

impl Engine for Ferrobase {
    fn create(&mut self, families: &[FamilyDescriptor]) {
        self.fs = Arc::new(MemoryFilesystem::new());
        self.lives = 0;
        self.clock.set_ms(START);
        let table = TableDescriptor::new("t".parse().expect("a name"));
        self.table = Arc::new(families.iter().cloned().fold(table, TableDescriptor::with_family));
        self.open();
    }

    fn run(&mut self, operation: &Operation) -> Answer {
        let region = self.region.clone().expect("created");
        match operation {
            Operation::Clock(now) => self.clock.set_ms(*now),
            Operation::Reopen => {
                if let Err(error) = self.executor.block_on(region.close()) {
                    return Answer::Refused(format!("close: {error}"));
                }
                drop(region);
                self.open();
            }
            Operation::Crash => {
                drop(region);
                self.open();
            }
            Operation::Load(cells) => {
                self.loads += 1;
                let loaded = Self::load(self.fs.clone(), &region, self.loads, cells);
                return self.executor.block_on(loaded).unwrap_or_else(|error| Answer::Refused(error.to_string()));
            }
            _ => {
                return self
                    .executor
                    .block_on(Self::step(&region, operation))
                    .unwrap_or_else(|error| Answer::Refused(error.to_string()));
            }
        }
        Answer::nothing()
    }
}
