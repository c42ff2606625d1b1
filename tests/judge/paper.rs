//! A region on paper: vectors in the place of memtable and files, with the engine's own reader and compaction rules over them.
//!
//! It judges `storage::read` and `storage::compaction` alone, without log, memtable, files and manifests. Puts, deletes and all reads;
//! what else a story holds is left out by [`tamed`].

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::FutureExt;
use model::mutation::{Mutation, MutationKind};
use model::query::{Scan, Selection};
use model::schema::FamilyDescriptor;
use model::{Cell, CellOrder, CellType, LATEST_TIMESTAMP, SeqNo};
use storage::compaction::{CompactionScanner, Extent, Keep};
use storage::read::{FamilySettings, FamilySources, Limits, Query, Row, RowScanner, start_filter};
use storage::source::{CellSource, VecSource};

use crate::generator::START;
use crate::operation::{Answer, Engine, Operation, Story};

/// Vectors never make a reader wait.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("nothing to wait for")
}

/// One family: the memtable and the files, oldest first.
#[derive(Default)]
struct Store {
    memtable: Vec<Cell>,
    files: Vec<Vec<Cell>>,
}

/// The region.
#[derive(Default)]
pub struct Paper {
    families: Vec<FamilyDescriptor>,
    stores: BTreeMap<Bytes, Store>,
    now: i64,
    seqno: u64,
}

/// The story without what paper cannot do.
pub fn tamed(mut story: Story) -> Story {
    story.operations.retain(|operation| match operation {
        Operation::Mutate(mutation) => matches!(mutation.kind, MutationKind::Put | MutationKind::Delete),
        Operation::Row(_) | Operation::Check(_) => false,
        _ => true,
    });
    story
}

type Read<'a> = &'a dyn Fn(&Query) -> Result<Vec<Vec<Cell>>, String>;

/// The cells that a put or delete means, each key once.
pub fn cells_of(
    mutation: &Mutation,
    families: &[FamilyDescriptor],
    now: i64,
    read: Read<'_>,
) -> Result<Vec<Cell>, String> {
    let stamp = |time: i64| if time == LATEST_TIMESTAMP { now } else { time };
    let make = |family: &[u8], qualifier: &[u8], time: i64, kind: CellType, value: &[u8]| {
        let mut tags = Vec::new();
        if let Some(ttl) = mutation.ttl_ms {
            tags.extend([0, 9, model::cell::TAG_TTL]);
            tags.extend(ttl.to_be_bytes());
        }
        Cell::with_tags(&mutation.row, family, qualifier, time, kind, value, &tags).expect("small parts")
    };
    let mut cells: Vec<Cell> = Vec::new();
    if mutation.kind == MutationKind::Delete && mutation.cells.is_empty() {
        for family in families {
            cells.push(make(&family.name, b"", stamp(mutation.timestamp), CellType::DELETE_FAMILY, b""));
        }
    }
    let mut asked: BTreeMap<(&[u8], &[u8]), u32> = BTreeMap::new();
    for cell in &mutation.cells {
        let mut time = stamp(cell.timestamp());
        let looks = mutation.kind == MutationKind::Delete && cell.cell_type() == CellType::DELETE;
        if looks && cell.timestamp() == LATEST_TIMESTAMP {
            // The n-th such marker of a column removes the n-th newest version.
            let nth = asked.entry((cell.family(), cell.qualifier())).or_default();
            *nth += 1;
            let mut selection = Selection { max_versions: *nth, ..Selection::default() };
            selection.add_column(cell.family().to_vec(), cell.qualifier().to_vec());
            let get = model::query::Get { row: mutation.row.clone(), selection, existence_only: false };
            let found = read(&Query::from(&get))?.into_iter().flatten().nth(*nth as usize - 1);
            time = found.map_or(now, |found| found.timestamp());
        }
        let made = make(cell.family(), cell.qualifier(), time, cell.cell_type(), cell.value());
        // The last of equal keys counts.
        cells.retain(|held| CellOrder::User.compare(held.as_ref(), made.as_ref()).is_ne());
        cells.push(made);
    }
    Ok(cells)
}

/// The bounds of one call of a scanner.
pub fn limits(scan: Option<&Scan>) -> Limits {
    let few = scan.is_some_and(|scan| scan.limit.is_some());
    Limits {
        bytes: scan.and_then(|scan| scan.max_result_size).unwrap_or(u64::MAX),
        partial: scan.is_some_and(|scan| scan.allow_partial_results),
        ..Limits::rows(if few { 1 } else { 3 })
    }
}

/// The results of a scan, up to its limit of rows.
pub struct Rows {
    /// Rows, or pieces of them.
    pub found: Vec<Vec<Cell>>,
    whole: u32,
    limit: u32,
}

impl Rows {
    /// None yet.
    pub fn of(scan: Option<&Scan>) -> Rows {
        Rows { found: Vec::new(), whole: 0, limit: scan.and_then(|scan| scan.limit).unwrap_or(u32::MAX) }
    }

    /// Whether a row behind the last one wanted was met.
    pub fn full(&self) -> bool {
        self.whole > self.limit
    }

    /// Takes what was read.
    pub fn take(&mut self, rows: &mut Vec<Row>) {
        for row in rows.drain(..) {
            self.whole += u32::from(self.found.last().is_none_or(|last| last[0].row() != row.cells[0].row()));
            if !self.full() {
                self.found.push(row.cells);
            }
        }
    }
}

impl Paper {
    fn read(&self, query: Query, scan: Option<&Scan>) -> Result<Vec<Vec<Cell>>, String> {
        let text = |error: storage::StorageError| error.to_string();
        let filter = start_filter(&query.selection, query.reversed, 1).map_err(text)?;
        let wanted = |name: &Bytes| query.selection.columns.is_empty() || query.selection.columns.contains_key(name);
        let families = self
            .families
            .iter()
            .filter(|family| wanted(&family.name))
            .map(|family| {
                let store = &self.stores[&family.name];
                let sources = std::iter::once(&store.memtable)
                    .chain(store.files.iter().rev())
                    .map(|cells| Box::new(VecSource::new(cells.clone(), CellOrder::User)) as Box<dyn CellSource>)
                    .collect();
                FamilySources { settings: FamilySettings::from(family), sources }
            })
            .collect();
        let mut scanner =
            RowScanner::new(query, families, filter, CellOrder::User, SeqNo(self.seqno), self.now).map_err(text)?;
        let (limits, mut read) = (limits(scan), Vec::new());
        let (mut rows, mut more) = (Rows::of(scan), true);
        while more && !rows.full() {
            more = block_on(scanner.next(&limits, &mut read)).map_err(text)?.more;
            rows.take(&mut read);
        }
        Ok(rows.found)
    }

    fn write(&mut self, mutation: &Mutation) -> Result<(), String> {
        let cells = cells_of(mutation, &self.families, self.now, &|query| self.read(query.clone(), None))?;
        self.seqno += 1;
        for cell in cells {
            let cell = cell.with_seqno(SeqNo(self.seqno));
            self.stores.get_mut(cell.family()).ok_or("no such family")?.memtable.push(cell);
        }
        Ok(())
    }

    fn survivors(&self, family: &FamilyDescriptor, inputs: &[Vec<Cell>], extent: Extent) -> Vec<Cell> {
        let sources = inputs
            .iter()
            .rev()
            .map(|cells| Box::new(VecSource::new(cells.clone(), CellOrder::User)) as Box<dyn CellSource>)
            .collect();
        let puts = inputs.iter().flatten().filter(|cell| cell.cell_type() == CellType::PUT);
        let keep = Keep {
            extent,
            smallest_read_point: SeqNo(self.seqno),
            earliest_put_ms: puts.map(Cell::timestamp).min().unwrap_or(i64::MAX),
            now_ms: self.now,
        };
        let mut scanner = CompactionScanner::new(sources, CellOrder::User, &FamilySettings::from(family), keep);
        let mut kept = Vec::new();
        while let Some(cell) = block_on(scanner.next()).expect("vectors do not fail") {
            kept.push(cell);
        }
        kept
    }

    fn flush(&mut self) {
        for family in self.families.clone() {
            let store = self.stores.get_mut(&family.name).expect("created");
            let memtable = std::mem::take(&mut store.memtable);
            if memtable.is_empty() {
                continue;
            }
            let kept = self.survivors(&family, &[memtable], Extent::Part);
            if !kept.is_empty() {
                self.stores.get_mut(&family.name).expect("created").files.push(kept);
            }
        }
    }

    fn compact(&mut self, family: &FamilyDescriptor, from: usize, to: usize) {
        let files = self.stores[&family.name].files.clone();
        let (from, to) = (from.min(files.len()), to.min(files.len()));
        if to - from < 2 && (from, to) != (0, 1) {
            return;
        }
        let extent = if to - from == files.len() { Extent::All } else { Extent::Part };
        let kept = self.survivors(family, &files[from..to], extent);
        let store = self.stores.get_mut(&family.name).expect("created");
        store.files.splice(from..to, (!kept.is_empty()).then_some(kept));
    }
}

impl Engine for Paper {
    fn create(&mut self, families: &[FamilyDescriptor]) {
        let stores = families.iter().map(|family| (family.name.clone(), Store::default())).collect();
        *self = Paper { families: families.to_vec(), stores, now: START, seqno: 1 };
    }

    fn run(&mut self, operation: &Operation) -> Answer {
        let done = |rows| Answer::Done { held: None, rows };
        let answer = match operation {
            Operation::Clock(now) => {
                self.now = *now;
                Ok(Vec::new())
            }
            Operation::Mutate(mutation) => self.write(mutation).map(|()| Vec::new()),
            Operation::Get(get) => match self.read(Query::from(get), None) {
                Ok(rows) => return Answer::to_get(get, rows.into_iter().flatten().collect()),
                Err(why) => Err(why),
            },
            Operation::Scan(scan) => self.read(Query::from(scan), Some(scan)),
            Operation::Flush | Operation::Reopen => {
                self.flush();
                Ok(Vec::new())
            }
            Operation::Major => {
                for family in self.families.clone() {
                    self.compact(&family, 0, usize::MAX);
                }
                Ok(Vec::new())
            }
            Operation::Minor { family, from, to } => {
                if let Some(family) = self.families.iter().find(|found| found.name == family.as_bytes()).cloned()
                    && (*from.min(to), self.stores[&family.name].files.len()) != (0, 1)
                {
                    self.compact(&family, *from, *to);
                }
                Ok(Vec::new())
            }
            Operation::Crash | Operation::Row(_) | Operation::Check(_) | Operation::Load(_) => Ok(Vec::new()),
        };
        answer.map_or_else(Answer::Refused, done)
    }
}
