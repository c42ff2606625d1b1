//! The region server: hosts regions and serves them.
//!
//! Modules, lower ones first: `settings`, `errors`, `counts`, `flush_policy`, `compaction_queue`, `remembered`,
//! `regions` (what is open), `scanners` (what is being read), `upkeep` (what flushes and compactions share), `server` (the
//! whole), `keeper` (flushes and compactions nobody asked for), then one file per kind of call (`get`,
//! `write`, `multi`, `scan`, `load`, `host`, `admin`), `metrics`, and `service`, which takes calls apart and answers them.
//!
//! Always true
//! - A region is served only while this server holds its epoch; a fenced log ends all serving.
//! - Every answer of a class that clients act on is made in `errors`.
//! - Scanners, requests' results and background work have stated bounds ([`ServerSettings`]).

mod admin;
mod compaction_queue;
mod counts;
mod errors;
mod flush_policy;
mod get;
mod host;
mod keeper;
mod load;
mod metrics;
mod multi;
mod regions;
mod remembered;
mod scan;
mod scanners;
mod server;
mod service;
mod settings;
mod upkeep;
mod write;

pub use server::{RegionServer, ServerContext};
pub use settings::ServerSettings;
