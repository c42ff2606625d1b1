//! What is done to a region, and what it answers, in terms both engines share.
//!
//! Invariants
//! - An operation carries everything that decides its outcome: dropping others from a list leaves a list that can be run.

use std::fmt;

use model::mutation::{CheckAndMutate, Mutation};
use model::query::{Get, Scan};
use model::schema::FamilyDescriptor;
use model::{Cell, CellOrder};

/// One step.
#[derive(Clone, Debug)]
pub enum Operation {
    /// What "now" is from here on.
    Clock(i64),
    /// One put, delete, increment or append.
    Mutate(Mutation),
    /// Mutations of one row, all or none.
    Row(Vec<Mutation>),
    /// Check and mutate.
    Check(CheckAndMutate),
    /// Read a row.
    Get(Get),
    /// Read rows.
    Scan(Scan),
    /// A bulk load of these cells: a file for each family, written by others. Not asked of HBase.
    Load(Vec<Cell>),
    /// Memtables to files.
    Flush,
    /// All files of every family to one.
    Major,
    /// Some files of a family to one, oldest first, `to` exclusive.
    Minor {
        /// The family.
        family: String,
        /// First file.
        from: usize,
        /// Behind the last file.
        to: usize,
    },
    /// Close, which flushes, and open again.
    Reopen,
    /// Drop everything in memory and open again from log and files. HBase does nothing here: it must not show.
    Crash,
}

/// What came back.
#[derive(Clone, PartialEq)]
pub enum Answer {
    /// Done; cells in rows (or pieces of rows, in a batched scan).
    Done {
        /// Of a check: whether the condition held.
        held: Option<bool>,
        /// The cells.
        rows: Vec<Vec<Cell>>,
    },
    /// Refused.
    Refused(String),
}

impl Answer {
    /// Done, nothing to tell.
    pub fn nothing() -> Answer {
        Answer::Done { held: None, rows: Vec::new() }
    }

    /// What a get answers.
    pub fn to_get(get: &Get, cells: Vec<Cell>) -> Answer {
        if get.existence_only {
            return Answer::Done { held: Some(!cells.is_empty()), rows: Vec::new() };
        }
        Answer::Done { held: None, rows: if cells.is_empty() { Vec::new() } else { vec![cells] } }
    }

    /// Whether both mean the same to a user: equal cells, or both refused. Where a bound of bytes cut rows, the pieces of a row count as one, for
    /// engines count bytes each in their own way; its cells in order, for families that are read on demand come in pieces of their own.
    ///
    /// Tags of what a write answers do not count: neither server sends them. What is stored shows in reads.
    pub fn agrees(&self, other: &Answer, operation: &Operation) -> bool {
        let read = matches!(operation, Operation::Get(_) | Operation::Scan(_));
        let same = |a: &Cell, b: &Cell| {
            if read { a.bytes() == b.bytes() } else { a.as_ref().without_tags() == b.as_ref().without_tags() }
        };
        match (self, other) {
            (Answer::Refused(_), Answer::Refused(_)) => true,
            (Answer::Done { held: a, rows: x }, Answer::Done { held: b, rows: y }) => {
                let cut = matches!(operation, Operation::Scan(scan) if scan.max_result_size.is_some());
                let (x, y) = if cut { (&joined(x), &joined(y)) } else { (x, y) };
                a == b
                    && x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)))
            }
            _ => false,
        }
    }
}

/// The pieces of each row as one.
fn joined(pieces: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for piece in pieces {
        match rows.last_mut() {
            Some(row) if row[0].row() == piece[0].row() => row.extend_from_slice(piece),
            _ => rows.push(piece.clone()),
        }
    }
    for row in &mut rows {
        row.sort_by(|a, b| CellOrder::User.compare(a.as_ref(), b.as_ref()));
    }
    rows
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Refused(why) => write!(f, "refused: {why}"),
            Answer::Done { held, rows } => {
                write!(f, "done")?;
                if let Some(held) = held {
                    write!(f, " held={held}")?;
                }
                for row in rows {
                    write!(f, "\n    |")?;
                    for cell in row {
                        write!(f, "\n      {cell:?} value={}", cell.value().escape_ascii())?;
                        if !cell.tags().is_empty() {
                            write!(f, " tags={:02x?}", cell.tags())?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

/// A table and what happens to it.
#[derive(Clone, Debug)]
pub struct Story {
    /// Its families.
    pub families: Vec<FamilyDescriptor>,
    /// What happens, in order.
    pub operations: Vec<Operation>,
}

/// Something that plays a story: HBase, or Ferrobase.
pub trait Engine {
    /// A new empty table at time [`START`](crate::generator::START); the old one is gone.
    fn create(&mut self, families: &[FamilyDescriptor]);
    /// One step.
    fn run(&mut self, operation: &Operation) -> Answer;
}
