//! The write-ahead log: one stream per life of a process, shared by its regions. Where storage appends, a stream is segments
//! (`docs/formats/log-segment.md`); elsewhere it is pieces, each one put, that are sealed into segments (`docs/formats/log-piece.md`).
//! Whoever writes to or reads from a log need not know which.
//!
//! Always true
//! - Entries are durable in the order they were submitted; a ticket answers `Ok` only when its entry and all before it are
//!   synced and the stream was not fenced meanwhile.
//! - Ends are found by looking at numbers: nothing here lists or renames, except to tell a lost head from a stream never begun.
//! - A segment that failed once is never appended to again: the next one records how much of it counts.
//! - Replay takes an entry once per (region, seqno).
//!
//! Not here: what a region does with its entries.

mod format;
mod guard;
mod piece;
mod piece_reader;
mod piece_writer;
mod reader;
mod roots;
pub mod survey;
mod writer;

pub use format::{Entry, Range, RegionRanges, StreamIndex};
use piece::Kind;
pub use reader::{Ended, fence, look, replay};
pub(crate) use reader::{State, Stretch, is_fence, release, state};
pub use roots::FindRoot;
pub(crate) use writer::EndedElsewhere;
pub use writer::{Log, LogCounters, LogSettings, Ticket};

/// Names a stream in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The log root that it lies on (`docs/formats/log-roots.md`); 0 is the data root.
    pub root: u32,
    /// Its number on that root.
    pub stream: u64,
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.root {
            0 => write!(f, "{:016x}", self.stream),
            root => write!(f, "{:016x}@{root:x}", self.stream),
        }
    }
}

impl StreamId {
    /// Reads what [`std::fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<StreamId> {
        let (stream, root) = match text.split_once('@') {
            Some((stream, root)) => (stream, u32::from_str_radix(root, 16).ok()?),
            None => (text, 0),
        };
        Some(StreamId { root, stream: u64::from_str_radix(stream, 16).ok()? })
    }
}

/// Where streams lie.
pub(crate) const FOLDER: &str = "ferrobase/log";
/// Length of a fence.
pub(crate) const FENCE_LEN: u64 = format::FENCE_MAGIC.len() as u64;

/// Where a stream lies.
pub(crate) fn folder(stream: u64) -> String {
    format!("{FOLDER}/{stream:016x}")
}

fn segment_path(stream: u64, number: u64) -> String {
    format!("{}/s/{number:016x}", folder(stream))
}

/// Where the object with this id lies.
fn object_path(stream: u64, id: u64) -> String {
    let (kind, number) = piece::kind(id);
    let letter = match kind {
        Kind::Appended | Kind::Sealed => 's',
        Kind::Piece => 'p',
        Kind::Tail => 't',
    };
    format!("{}/{letter}/{number:016x}", folder(stream))
}

/// Stream and id of an object or fence. Segments are taken for sealed ones: what kind they are their stream's head tells.
pub(crate) fn parse_path(path: &str) -> Option<(u64, u64)> {
    let (stream, rest) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once('/')?;
    let (letter, number) = rest.split_once('/')?;
    let number = u64::from_str_radix(number, 16).ok()?;
    let kind = match letter {
        "s" => Kind::Sealed,
        "p" => Kind::Piece,
        "t" => Kind::Tail,
        _ => return None,
    };
    let (stream, id) = (u64::from_str_radix(stream, 16).ok()?, piece::id(kind, number));
    (object_path(stream, id) == path).then_some((stream, id))
}

fn head_path(stream: u64) -> String {
    format!("{}/head", folder(stream))
}

#[cfg(test)]
mod piece_tests;
#[cfg(test)]
mod tests;
