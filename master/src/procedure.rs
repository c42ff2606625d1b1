//! Durable procedures: what is intended is written down before it is done.
//!
//! Always true
//! - A procedure's row in the master region holds all it needs; a step may run any number of times.
//! - A step's number rises in the row only after the step is done.

mod journal;
mod record;

pub(crate) use journal::{FAMILY, Journal};
pub(crate) use record::{Kind, Outcome, Record, namespace_key, table_key};
