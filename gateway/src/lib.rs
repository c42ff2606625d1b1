//! Doors for foreign clients: HBase's Thrift 1 and Thrift 2 services.
//!
//! Always true
//! - What is stored is reached through the client alone: a gateway may run anywhere and restart at any time; what it holds is
//!   open scanners.
//! - Nothing that a peer sends is believed: messages are bounded in bytes, depth and elements before they are read.
#![warn(missing_docs)]

#[allow(missing_docs, dead_code, unused_imports, clippy::all)]
mod generated {
    pub mod hbase;
    pub mod thbase;
}
pub mod thrift;
