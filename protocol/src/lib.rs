//! HBase's messages and how cells travel beside them.
//!
//! Always true
//! - This crate alone knows messages and exception names.
//! - Bytes from the network never panic and never allocate by an unchecked length.
//!
//! Not here yet: HBase's own framing.

mod calls;
pub mod cell_block;
pub mod direct;
mod exception;
pub mod filter;
pub mod grpc;
pub mod listen;
pub mod meta;
pub mod mutation;
pub mod query;
pub mod result;
pub mod schema;
pub mod service;
pub mod status;

// The generated files reach each other by their packages, so the modules stand as these do.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod hbase {
    pub mod pb {
        include!("generated/hbase.pb.rs");
    }
}

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod ferrobase {
    pub mod rpc {
        include!("generated/ferrobase.rpc.rs");
    }
}

/// Our own envelope around HBase's messages (`proto/ferrobase.proto`).
pub use ferrobase::rpc as envelope;
/// HBase's messages, generated from `proto/` by `protocol/generate`.
pub use hbase::pb as messages;
