//! HBase's Thrift services ([`Api`]) for clients that never heard of Ferrobase.
//!
//! ```text
//! connection ─▶ boundary (where a message ends) ─▶ call (name, arguments) ─▶ one | two (HBase's rules) ─▶ client
//! ```
//!
//! Always true
//! - Transport and protocol are told apart by a connection's first bytes, and a connection keeps them.
//! - A connection that waits holds a socket and nothing else; a message that does not come to its end in time ends its connection.
//! - Every call is answered, in order: with its result, with an exception that its service declares, or with Thrift's own.

mod boundary;
pub(crate) mod call;
mod convert;
#[rustfmt::skip]
#[path = "../generated/hbase_calls.rs"]
mod hbase_calls;
mod http;
mod metrics;
pub(crate) mod one;
mod parse;
mod scanners;
mod server;
mod settings;
#[rustfmt::skip]
#[path = "../generated/thbase_calls.rs"]
mod thbase_calls;
pub(crate) mod two;

pub use metrics::Metrics;
pub use parse::{ParsedCall, parse};
pub use server::serve;
pub use settings::{Api, Settings};
