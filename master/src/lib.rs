//! The master: which tables exist, where their regions are, and the procedures that change both.
//!
//! ```text
//! request ── checked, planned, written down ──▶ procedure ── step by step ──▶ registers, regions, META
//! ```
//!
//! Always true
//! - What exists is decided by one swap of the catalog or of a table's head; META is a cache made from them.
//! - A schema change is written down with all it intends before it does anything; after a crash it is finished or taken back.
//! - One procedure at a time changes a table.
//! - Only the master writes META.
//!
//! Not here: serving rows (`regionserver`), transports (`protocol`).
//!
//! Floors inside this crate: `error`, `refusal` < `catalog`, `head`, `host`, `lock` < `needs`, `tables`, `procedure` < `master` < `regions` < `steps`
//! < `executor` < `requests`, `start`, `status` < `service`, `check`, `survey`.

mod catalog;
mod check;
mod error;
mod executor;
mod head;
mod host;
mod lock;
mod master;
mod needs;
mod procedure;
mod refusal;
mod regions;
mod requests;
mod service;
mod start;
mod status;
mod steps;
mod survey;
mod tables;

pub use check::{CheckOptions, Checked, Finding, FindingKind, check};
pub use error::{MasterError, Result};
pub use master::{Master, MasterContext};
pub use needs::needed_log_roots;
pub use survey::{Survey, SurveyedHead, SurveyedTable, survey, table_head};
