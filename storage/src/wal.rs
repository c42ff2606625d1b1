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
pub use reader::{Ended, fence, release, replay};
pub use writer::{Log, LogCounters, LogSettings, Ticket};

fn segment_path(stream: u64, number: u64) -> String {
    format!("ferrobase/log/{stream:016x}/s/{number:016x}")
}

fn head_path(stream: u64) -> String {
    format!("ferrobase/log/{stream:016x}/head")
}

#[cfg(test)]
mod tests;
