//! What a flush or compaction writes, and which files a compaction takes.
//!
//! Always true
//! - No reader sees a difference, except where HBase's readers do: a flush and every compaction drop versions beyond
//!   the family's, expired cells and cells that a marker hides; the markers themselves go only when all files of a
//!   store are rewritten, and these are older than all that is in memory alone (bulk loads may be newer).
//! - Cells newer than the smallest read point in use are kept, and hide nothing.

pub mod policy;
mod survivors;
#[cfg(test)]
mod tests;
mod throttle;

pub use policy::{FileFacts, Forced, Plan, PolicySettings};
pub use survivors::{CompactionScanner, Extent, Keep};
pub use throttle::Throttle;
