//! What is done to a region, and what it answers, in terms both engines share.
//!
//! Invariants
//! - An operation carries everything that decides its outcome: dropping others from a list leaves a list that can be run.

use std::fmt;

use model::Cell;
use model::mutation::{CheckAndMutate, Mutation};
use model::query::{Get, Scan};
use model::schema::FamilyDescriptor;

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

    /// Whether both mean the same to a user: equal cells, or both refused.
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
                a == b
                    && x.len() == y.len()
                    && x.iter().zip(y).all(|(x, y)| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y)))
            }
            _ => false,
        }
    }
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
