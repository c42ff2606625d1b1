//! What both ends agree on.

use std::future::Future;

use bytes::Bytes;
use tonic_prost::ProstCodec;

use crate::envelope::{Request, Response};

pub(super) const PATH: &str = "/ferrobase.rpc.Calls/Open";
/// How much one stream may have under way unread.
pub(super) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// How much all streams of a connection may have under way unread.
pub(super) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// HTTP/2's own frames; larger ones cost less for long cell blocks, smaller ones let streams take turns.
pub(super) const HTTP_FRAME_BYTES: u32 = 256 << 10;
/// Metadata of a stream's answers: the longest message that the server takes.
pub(super) const FRAME_BYTES_MAX: &str = "ferrobase-frame-bytes-max";

pub(super) type ServerCodec = ProstCodec<Response, Request>;
pub(super) type ClientCodec = ProstCodec<Request, Response>;

/// Nothing is sent for no bytes.
pub(super) fn present(bytes: Bytes) -> Option<Bytes> {
    (!bytes.is_empty()).then_some(bytes)
}

/// Starts HTTP/2's own tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tasks;

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        // Not joined: it ends with its connection.
        drop(runtime::task::spawn("grpc stream", future));
    }
}
