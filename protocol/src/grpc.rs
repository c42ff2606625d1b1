//! Calls over gRPC: one bidirectional stream a connection, `/ferrobase.rpc.Calls/Open`, whose messages are
//! `proto/ferrobase.proto`'s `Request` and `Response`.
//!
//! Always true
//! - Calls of a stream are begun in order and answered in any order; the call id tells which answer is whose.
//! - A stream that ends cleanly has answered every call that the server began. Whatever is still open then never ran.
//! - A stream that breaks leaves it open whether the calls sent on it ran.

mod client;
mod codec;
mod server;
#[cfg(test)]
mod tests;

pub use self::client::{Connector, ConnectorSettings};
pub use self::server::{Server, serve};

pub use crate::calls::Limits;
