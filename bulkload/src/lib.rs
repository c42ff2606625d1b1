//! Bulk load: files in, store files made of them, regions that take them.
//!
//! ```text
//! TSV, CSV, JSON Lines, Parquet, SequenceFiles ─▶ cells ─▶ sorted runs ─▶ store files per region and family ─┐
//! store files of others ─────────────────▶ checked, copied, split where a region ends ─┴▶ one load per region
//! ```
//!
//! Modules, lower ones first: `error`, `report`; `batch` (cells on their way); `columns`, `json_lines`, `records`, `sequence_file`, `parquet_pages`, `parquet_values`,
//! `parquet_file` (from bytes to cells), `parse` (files of any kind, bad records); `sort` (runs and their merge);
//! `store_file` (making, measuring and splitting store files), `plan` (which file goes to which region), `load` (the loads), `convert` (from
//! inputs to store files); `export` (the way back, and what it is made of).
//!
//! Always true
//! - A region takes the files of one load id once, all or none of them; so a load that was killed is run again with the same id.
//! - Files become a region's own when it takes them, and not before; until then they lie where they lay.
//! - Memory is bounded by what the caller says and the longest record, whatever the input holds.
//!
//! Not here: where inputs and the store's root come from (`cli` opens them).

#![warn(missing_docs)]

pub mod batch;
pub mod columns;
pub mod convert;
pub mod error;
pub mod export;
pub mod json_lines;
pub mod load;
pub mod parquet_file;
mod parquet_pages;
mod parquet_values;
pub mod parse;
pub mod plan;
pub mod records;
pub mod report;
pub mod sequence_file;
pub mod sort;
pub mod store_file;

pub use error::{LoadError, Result};
