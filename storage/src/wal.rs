//! The write-ahead log: one stream per life of a process, shared by its regions (`docs/formats/log-segment.md`).
//!
//! Always true
//! - Entries are durable in the order they were submitted; a ticket answers `Ok` only when its entry and all before it are
//!   synced and the stream was not fenced meanwhile.
//! - A segment that failed once is never appended to again: the next one records how much of it counts.
//! - Replay takes an entry once per (region, seqno).
//!
//! Not here: what a region does with its entries.

mod format;
mod reader;
mod writer;

pub use format::{Entry, Range, StreamIndex};
pub use reader::{Ended, fence, replay};
pub(crate) use reader::{State, fence_known, is_fence, release, state};
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

/// Stream and number of a segment or fence.
pub(crate) fn parse_path(path: &str) -> Option<(u64, u64)> {
    let (stream, number) = path.strip_prefix(FOLDER)?.strip_prefix('/')?.split_once("/s/")?;
    let parsed = (u64::from_str_radix(stream, 16).ok()?, u64::from_str_radix(number, 16).ok()?);
    (segment_path(parsed.0, parsed.1) == path).then_some(parsed)
}

fn head_path(stream: u64) -> String {
    format!("{}/head", folder(stream))
}

#[cfg(test)]
mod tests;
