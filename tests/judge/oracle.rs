//! The slow model of `storage::oracle` as an [`Engine`]: HBase judges it on a sample, and it judges Ferrobase's region in volume.
//!
//! Puts, deletes, bulk loads, gets and scans without filters; what else a story holds is left out by [`tamed`]. Loads are judged by the model alone:
//! HBase flushes before it takes one, so that its files tell another story.

use model::mutation::MutationKind;
use model::query::Scan;
use model::schema::FamilyDescriptor;
use model::{Cell, CellOrder, LATEST_TIMESTAMP, SeqNo};
use storage::oracle::Oracle;
use storage::read::{FamilySettings, Query};

use crate::generator::{Dice, START};
use crate::operation::{Answer, Engine, Operation, Story};
use crate::paper;

/// The model and its clock.
pub struct Model {
    families: Vec<FamilyDescriptor>,
    oracle: Oracle,
    now: i64,
    seqno: u64,
}

impl Default for Model {
    fn default() -> Model {
        Model { families: Vec::new(), oracle: Oracle::new(Vec::new(), CellOrder::User), now: START, seqno: 1 }
    }
}

/// The story without what the model cannot do: filters, batches, raw scans of columns, which are refused; and where write order counts raw
/// scans, cells with a time to live and more than one version of a column in one put.
pub fn tamed(story: Story) -> Story {
    let mut story = paper::tamed(story);
    let ordered = story.families.iter().any(FamilyDescriptor::new_version_behavior);
    let refused = |scan: &Scan| scan.raw && scan.selection.columns.values().flatten().flatten().next().is_some();
    story.operations.retain(|operation| match operation {
        Operation::Scan(scan) => !(refused(scan) || ordered && scan.raw),
        _ => true,
    });
    for operation in &mut story.operations {
        match operation {
            // A version that a flush has dropped does not come back when the cell over it expires.
            Operation::Mutate(mutation) if ordered => {
                mutation.ttl_ms = None;
                // HBase counts versions by the writes they came with: two of one write count once.
                let mut seen = std::collections::BTreeSet::new();
                let put = mutation.kind == MutationKind::Put;
                mutation.cells.retain(|cell| !put || seen.insert((cell.family().to_vec(), cell.qualifier().to_vec())));
            }
            Operation::Get(get) => get.selection.filter = None,
            Operation::Scan(scan) => (scan.selection.filter, scan.batch) = (None, None),
            _ => {}
        }
    }
    story
}

/// The story with some of its writes as bulk loads, of up to three writes each.
pub fn with_loads(mut story: Story, seed: u64) -> Story {
    let mut dice = Dice::new(seed ^ 0x10ad);
    // Some stories load often, some never.
    let share = dice.of(&[0, 5, 15, 40]);
    let ordered = story.families.iter().any(FamilyDescriptor::new_version_behavior);
    let (mut now, mut gathered) = (START, Vec::new());
    for operation in &mut story.operations {
        match operation {
            Operation::Clock(at) => now = *at,
            Operation::Mutate(mutation) if !mutation.cells.is_empty() && dice.chance(share) => {
                gathered.extend(mutation.cells.iter().map(|cell| timed(cell, now)));
                if dice.chance(60) {
                    let mut seen = std::collections::BTreeSet::new();
                    // A file holds a key once; where write order counts, so does a load a column, whose cells have no order among them.
                    gathered.retain(|cell: &Cell| {
                        let column = [cell.row(), cell.family(), cell.qualifier()].map(<[u8]>::to_vec);
                        let version = (!ordered).then(|| (cell.timestamp(), cell.cell_type()));
                        let family_wide = ordered && cell.qualifier().is_empty() && cell.cell_type().is_delete();
                        !family_wide && seen.insert((column, version))
                    });
                    *operation = Operation::Load(std::mem::take(&mut gathered));
                }
            }
            _ => {}
        }
    }
    story.operations.retain(|operation| !matches!(operation, Operation::Load(cells) if cells.is_empty()));
    story
}

/// The cell with a time of its own: what comes in a file is never stamped.
fn timed(cell: &Cell, now: i64) -> Cell {
    let time = if cell.timestamp() == LATEST_TIMESTAMP { now } else { cell.timestamp() };
    Cell::new(cell.row(), cell.family(), cell.qualifier(), time, cell.cell_type(), cell.value()).expect("small parts")
}

impl Model {
    fn read(&self, query: &Query, limit: Option<u32>) -> Vec<Vec<Cell>> {
        let mut rows = self.oracle.read(query, None, SeqNo(self.seqno), self.now);
        rows.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        rows
    }

    fn flush(&mut self) {
        for family in &mut self.oracle.families {
            // Where write order counts the model knows no files, for nothing a flush does may show.
            if !family.memtable.is_empty() && !family.settings.new_version_behavior {
                family.flush(CellOrder::User, SeqNo(self.seqno), SeqNo(self.seqno), self.now);
            }
            family.files.retain(|file| !file.cells.is_empty());
        }
    }

    fn compact(&mut self, name: &[u8], from: usize, to: usize, single: bool) {
        let Some(family) = self.oracle.families.iter_mut().find(|family| family.settings.name == name) else { return };
        let (from, to) = (from.min(family.files.len()), to.min(family.files.len()));
        if to >= from + 2 || (single && (from, to) == (0, 1)) {
            family.compact(CellOrder::User, from, to - from, SeqNo(self.seqno), self.now);
        }
        family.files.retain(|file| !file.cells.is_empty());
    }

    fn load(&mut self, cells: &[Cell]) {
        self.seqno += 1;
        let number = SeqNo(self.seqno);
        for family in &mut self.oracle.families {
            let of = cells.iter().filter(|cell| cell.family() == &family.settings.name[..]);
            let of: Vec<Cell> = of.map(|cell| cell.clone().with_seqno(number)).collect();
            if family.settings.new_version_behavior {
                family.memtable.extend(of);
            } else if !of.is_empty() {
                family.load(CellOrder::User, of, number);
            }
        }
    }
}

impl Engine for Model {
    fn create(&mut self, families: &[FamilyDescriptor]) {
        let settings = families.iter().map(FamilySettings::from).collect();
        let oracle = Oracle::new(settings, CellOrder::User);
        *self = Model { families: families.to_vec(), oracle, now: START, seqno: 1 };
    }

    fn run(&mut self, operation: &Operation) -> Answer {
        let done = |rows| Answer::Done { held: None, rows };
        match operation {
            Operation::Clock(now) => self.now = *now,
            Operation::Mutate(mutation) => {
                let read = |query: &Query| Ok(self.read(query, None));
                match paper::cells_of(mutation, &self.families, self.now, &read) {
                    Err(why) => return Answer::Refused(why),
                    Ok(cells) => {
                        self.seqno += 1;
                        let stamp = |cell: Cell| cell.with_seqno(SeqNo(self.seqno));
                        self.oracle.write(&cells.into_iter().map(stamp).collect::<Vec<_>>());
                    }
                }
            }
            Operation::Get(get) => {
                let cells = self.read(&Query::from(get), None).into_iter().flatten().collect();
                return Answer::to_get(get, cells);
            }
            Operation::Scan(scan) => return done(self.read(&Query::from(scan), scan.limit)),
            Operation::Load(cells) => self.load(cells),
            Operation::Flush | Operation::Reopen => self.flush(),
            Operation::Major => {
                for family in self.families.clone() {
                    self.compact(&family.name, 0, usize::MAX, true);
                }
            }
            Operation::Minor { family, from, to } => self.compact(family.as_bytes(), *from, *to, false),
            Operation::Crash | Operation::Row(_) | Operation::Check(_) => {}
        }
        Answer::nothing()
    }
}
