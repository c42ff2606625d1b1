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
mod piece;
mod piece_reader;
mod piece_writer;
mod reader;
mod writer;

pub use format::{Entry, Range, StreamIndex};
use piece::Kind;
pub use reader::{Ended, fence, replay};
pub(crate) use reader::{State, is_fence, release, state};
pub use writer::{Log, LogCounters, LogSettings, Ticket};

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
