//! Which operation comes next, and what it is made of.
//!
//! YCSB's core workloads: rows `user<hash>`, values of random bytes, an update writes one column, a read wants all,
//! a scan wants 1 to 100 rows. HBase's PerformanceEvaluation: rows of 26 digits, one column, chosen uniformly.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::{Cell, LATEST_TIMESTAMP};
use parking_lot::Mutex;

use super::chance::{Choice, Dice, fnv};
use super::flags::{Load, Test, Workload};
use crate::failure::Failure;

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A new row, all columns.
    Insert,
    /// A row that is there, one column.
    Update,
    /// A row, all columns.
    Read,
    /// A few rows.
    Scan,
    /// A read, then an update.
    ReadModifyWrite,
    /// Adds to a counter.
    Increment,
    /// Appends to a value.
    Append,
    /// The next row of a long scan.
    Next,
}

impl Kind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Read => "read",
            Kind::Scan => "scan",
            Kind::ReadModifyWrite => "read_modify_write",
            Kind::Increment => "increment",
            Kind::Append => "append",
            Kind::Next => "next",
        }
    }
}

/// What a phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Every row once, in order of its number.
    Load,
    /// A YCSB workload.
    Ycsb(Workload),
    /// A PerformanceEvaluation test.
    Pe(Test),
}

impl Mix {
    fn insert_share(self) -> f64 {
        match self {
            Mix::Ycsb(Workload::D | Workload::E) => 0.05,
            _ => 0.0,
        }
    }

    /// How operations choose their rows, from `records` rows and with so many operations to come.
    pub fn choice(self, records: u64, operations: Option<u64>) -> Choice {
        match self {
            Mix::Load | Mix::Pe(_) => Choice::Uniform,
            Mix::Ycsb(Workload::D) => Choice::latest(records),
            Mix::Ycsb(_) => {
                let inserts = operations.unwrap_or(records) as f64 * self.insert_share() * 2.0;
                Choice::scrambled(records.saturating_add(inserts as u64))
            }
        }
    }

    /// The operation that comes as the `n`-th, with its row's number; a row to insert gets its number later.
    pub fn choose(self, n: u64, records: u64, choice: &mut Choice, dice: &mut Dice) -> (Kind, u64) {
        let kind = match self {
            Mix::Load => return (Kind::Insert, n),
            Mix::Pe(test) => {
                let (kind, random) = match test {
                    Test::SequentialWrite => (Kind::Insert, false),
                    Test::RandomWrite => (Kind::Insert, true),
                    Test::SequentialRead => (Kind::Read, false),
                    Test::RandomRead => (Kind::Read, true),
                    Test::Scan => (Kind::Next, false),
                    Test::Increment => (Kind::Increment, true),
                    Test::Append => (Kind::Append, true),
                };
                return (kind, if random { choice.draw(dice, records) } else { n % records });
            }
            Mix::Ycsb(workload) => {
                let (often, share, seldom) = match workload {
                    Workload::A => (Kind::Read, 0.5, Kind::Update),
                    Workload::B => (Kind::Read, 0.95, Kind::Update),
                    Workload::C => (Kind::Read, 1.0, Kind::Read),
                    Workload::D => (Kind::Read, 0.95, Kind::Insert),
                    Workload::E => (Kind::Scan, 0.95, Kind::Insert),
                    Workload::F => (Kind::Read, 0.5, Kind::ReadModifyWrite),
                };
                if dice.unit() < share { often } else { seldom }
            }
        };
        (kind, if kind == Kind::Insert { 0 } else { choice.draw(dice, records) })
    }
}

/// Numbers of rows: those that are surely there, and those that are being inserted.
#[derive(Debug)]
pub struct Records {
    /// All rows with smaller numbers are there.
    there: AtomicU64,
    next: AtomicU64,
    /// Inserted, but a smaller one is still under way.
    ahead: Mutex<BTreeSet<u64>>,
}

impl Records {
    /// So many rows are there.
    pub fn new(there: u64) -> Records {
        Records { there: AtomicU64::new(there), next: AtomicU64::new(there), ahead: Mutex::default() }
    }

    /// Rows that are surely there.
    pub fn there(&self) -> u64 {
        self.there.load(Ordering::Acquire)
    }

    /// The number of a row to insert.
    pub fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The row was inserted.
    pub fn inserted(&self, record: u64) {
        let mut ahead = self.ahead.lock();
        ahead.insert(record);
        let mut there = self.there.load(Ordering::Relaxed);
        while ahead.remove(&there) {
            there += 1;
        }
        self.there.store(there, Ordering::Release);
    }
}

/// Longest scan of workload E, in rows.
const SCAN_ROWS_MAX: u64 = 100;

/// Largest row, in bytes of its values: every worker holds one.
const ROW_BYTES_MAX: u64 = 64 << 20;

/// What rows look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The only family.
    pub family: &'static str,
    columns: Vec<Bytes>,
    value_size: usize,
    durability: model::mutation::Durability,
    ycsb: bool,
}

impl Shape {
    /// As the flags say; the defaults are those of YCSB or of PerformanceEvaluation.
    pub fn new(load: &Load, ycsb: bool) -> Result<Shape, Failure> {
        let fields = load.fields.unwrap_or(if ycsb { 10 } else { 1 });
        let value_size = load.value_size.unwrap_or(if ycsb { 100 } else { 1000 });
        if !(1..=10_000).contains(&fields) || value_size > 10 << 20 || fields * value_size > ROW_BYTES_MAX {
            return Err(Failure::usage(
                "--fields, --value-size: a row takes 1 to 10000 columns of at most 10 MiB, 64 MiB together",
            ));
        }
        let prefix = if ycsb { "field" } else { "" };
        Ok(Shape {
            family: if ycsb { "family" } else { "info" },
            columns: (0..fields).map(|n| format!("{prefix}{n}").into()).collect(),
            value_size: value_size as usize,
            durability: load.durability.into(),
            ycsb,
        })
    }

    /// Columns of a row, and bytes of a value.
    pub fn sizes(&self) -> (usize, usize) {
        (self.columns.len(), self.value_size)
    }

    /// A row's key.
    pub fn row(&self, record: u64) -> Bytes {
        if self.ycsb { format!("user{}", fnv(record)).into() } else { format!("{record:026}").into() }
    }

    fn mutation(&self, kind: MutationKind, record: u64) -> Mutation {
        Mutation { durability: self.durability, return_results: false, ..Mutation::new(kind, self.row(record)) }
    }

    fn with(&self, mut mutation: Mutation, column: &Bytes, value: &[u8]) -> Mutation {
        let cell = Cell::put(&mutation.row, self.family.as_bytes(), column, LATEST_TIMESTAMP, value);
        mutation.cells.push(cell.expect("rows and columns are short"));
        mutation
    }

    /// All columns of a row.
    pub fn insert(&self, record: u64, dice: &mut Dice) -> Mutation {
        let mut value = vec![0; self.value_size];
        self.columns.iter().fold(self.mutation(MutationKind::Put, record), |mutation, column| {
            dice.fill(&mut value);
            self.with(mutation, column, &value)
        })
    }

    /// One column of a row.
    pub fn update(&self, record: u64, dice: &mut Dice) -> Mutation {
        let column = &self.columns[dice.below(self.columns.len() as u64) as usize];
        let mut value = vec![0; self.value_size];
        dice.fill(&mut value);
        self.with(self.mutation(MutationKind::Put, record), column, &value)
    }

    /// One more in a row's counter.
    pub fn increment(&self, record: u64) -> Mutation {
        self.with(self.mutation(MutationKind::Increment, record), &"counter".into(), &1i64.to_be_bytes())
    }

    /// The row's key behind a row's value, as PerformanceEvaluation does it.
    pub fn append(&self, record: u64) -> Mutation {
        let mutation = self.mutation(MutationKind::Append, record);
        let row = mutation.row.clone();
        self.with(mutation, &"appended".into(), &row)
    }

    /// Reads a row.
    pub fn get(&self, record: u64) -> Get {
        let mut get = Get::new(self.row(record));
        get.selection.add_family(self.family);
        get
    }

    /// Reads on from a row.
    pub fn scan_from(&self, record: u64) -> Scan {
        let mut scan = Scan { start_row: self.row(record), ..Scan::default() };
        scan.selection.add_family(self.family);
        scan
    }

    /// Reads a few rows from one on.
    pub fn short_scan(&self, record: u64, dice: &mut Dice) -> Scan {
        let rows = 1 + dice.below(SCAN_ROWS_MAX) as u32;
        Scan { limit: Some(rows), caching: Some(rows), ..self.scan_from(record) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_have_their_shares() {
        let share = |workload, wanted| {
            let mix = Mix::Ycsb(workload);
            let (mut choice, mut dice) = (mix.choice(1000, Some(10_000)), Dice::new(1));
            let chosen = (0..10_000).map(|n| mix.choose(n, 1000, &mut choice, &mut dice));
            chosen.filter(|(kind, record)| *kind == wanted && *record < 1000).count() as f64 / 10_000.0
        };
        let known = [
            (Workload::A, Kind::Update, 0.5),
            (Workload::B, Kind::Update, 0.05),
            (Workload::C, Kind::Read, 1.0),
            (Workload::D, Kind::Insert, 0.05),
            (Workload::E, Kind::Scan, 0.95),
            (Workload::F, Kind::ReadModifyWrite, 0.5),
        ];
        for (workload, kind, wanted) in known {
            let seen = share(workload, kind);
            assert!((seen - wanted).abs() < 0.02, "{workload:?} {kind:?}: {seen}");
        }
    }

    #[test]
    fn rows_count_only_when_all_before_are_there() {
        let records = Records::new(10);
        let (a, b) = (records.take(), records.take());
        records.inserted(b);
        assert_eq!(records.there(), 10);
        records.inserted(a);
        assert_eq!((a, b, records.there()), (10, 11, 12));
    }
}
