//! Store files: HFile v3 (`docs/formats/hfile.md`).
//!
//! Always true
//! - A file's cells are in order and of one family.
//! - Every block read from storage passed its checksum, and its cells were checked, before anything uses it.

mod block;
mod bloom;
mod columns;
mod compress;
mod encoding;
mod format;
pub mod reader;
pub mod writer;

#[cfg(test)]
mod tests;
