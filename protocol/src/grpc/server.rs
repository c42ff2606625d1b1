//! The server's end.
//!
//! Always true
//! - New calls are read only when the answers so far are on their way: a slow reader stops its own calls, and what waits
//!   for it is bounded by its open calls.
//! - At shutdown calls read are answered as not served, and the stream ends when the last open call is answered.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use futures::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::Runtime;
use runtime::clock::within;
use runtime::net::{TcpListener, TcpStream};
use runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tonic::codegen::http;
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};

use super::codec::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HTTP_FRAME_BYTES, PATH, STREAM_WINDOW_BYTES, ServerCodec, Tasks, present,
};
use crate::calls::{Answer, Calls, Lane, Limits, fitting, stopped};
use crate::direct::Direct;
use crate::envelope::{Request, Response};
use crate::exception::exception_to;
use crate::listen::{self, Door, Doors, Opening};
use crate::messages::{CellBlockMeta, ResponseHeader};
use crate::service::{Call, Reply, RpcError, Service};

/// Serves gRPC alone, until `shutdown` and the end of the open calls.
pub async fn serve(listener: TcpListener, server: Arc<Server>, shutdown: Shutdown) {
    let (clock, limits) = (server.calls.clock().clone(), server.calls.limits().clone());
    listen::serve(listener, Doors::default().with(Opening::Http2, server), clock, limits, shutdown).await;
}

/// The door for gRPC.
pub struct Server {
    calls: Arc<Calls>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("limits", self.calls.limits()).finish_non_exhaustive()
    }
}

impl Server {
    /// Hands calls to `service`.
    pub fn new(runtime: &Runtime, service: Arc<dyn Service>, limits: Limits) -> Server {
        Server { calls: Calls::new(service, runtime.clock.clone(), limits) }
    }

    /// The same server for callers in this process, as one connection, until `shutdown`.
    pub fn direct(&self, shutdown: Shutdown) -> Arc<Direct> {
        Arc::new(Direct::new(Lane::new(self.calls.clone()), shutdown))
    }
}

#[async_trait]
impl Door for Server {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, shutdown: Shutdown) {
        let limits = self.calls.limits().clone();
        let (clock, lane) = (&**self.calls.clock(), Lane::new(self.calls.clone()));
        let opened = Arc::new(AtomicBool::new(false));
        let answer = service_fn({
            let (opened, shutdown, frame_bytes_max) = (opened.clone(), shutdown.clone(), limits.frame_bytes_max);
            move |request: http::Request<Incoming>| {
                opened.store(true, Ordering::Release);
                let (lane, shutdown) = (lane.clone(), shutdown.clone());
                async move {
                    if request.uri().path() != PATH {
                        let status = Status::unimplemented(format!("no such method. path=`{}`", request.uri().path()));
                        return Ok::<_, Infallible>(status.into_http());
                    }
                    let mut grpc = Grpc::new(ServerCodec::default())
                        .max_decoding_message_size(frame_bytes_max)
                        .max_encoding_message_size(frame_bytes_max);
                    Ok(grpc.streaming(Open { lane, shutdown, frame_bytes_max }, request).await)
                }
            }
        });
        let connection = http2::Builder::new(Tasks)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES)
            // One is used; a few more let a client make a new one while an old one ends.
            .max_concurrent_streams(8)
            .keep_alive_interval(limits.keep_alive)
            .keep_alive_timeout(limits.keep_alive)
            .serve_connection(TokioIo::new(stream), answer);
        let mut connection = pin!(connection);
        let silent = async {
            clock.sleep(limits.first_call_wait).await;
            if opened.load(Ordering::Acquire) {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = shutdown.wait() => {
                connection.as_mut().graceful_shutdown();
                let ended = within(clock, limits.grace, connection.as_mut()).await;
                if ended.is_none() {
                    tracing::warn!(%peer, "closed a connection whose calls did not end in time");
                }
                ended
            }
            () = silent => {
                tracing::info!(%peer, "closed a connection that began no call");
                None
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%peer, error = &error as &dyn std::error::Error, "connection broke");
        }
    }
}

/// The method `Open`.
struct Open {
    lane: Lane,
    shutdown: Shutdown,
    frame_bytes_max: usize,
}

impl StreamingService<Request> for Open {
    type Response = Response;
    type ResponseStream = Session;
    type Future = Ready<Result<tonic::Response<Session>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Request>>) -> Self::Future {
        let (done, finished) = mpsc::unbounded_channel();
        let shutdown = self.shutdown.clone();
        let mut response = tonic::Response::new(Session {
            requests: Some(request.into_inner()),
            lane: self.lane.clone(),
            running: 0,
            done,
            finished,
            shutdown: self.shutdown.clone(),
            stopping: async move { shutdown.wait().await }.boxed(),
            frame_bytes_max: self.frame_bytes_max,
        });
        response.metadata_mut().insert(FRAME_BYTES_MAX, self.frame_bytes_max.into());
        ready(Ok(response))
    }
}

/// One stream of calls, as the stream of its answers. Being asked for an answer makes it read calls.
struct Session {
    /// None once the client has sent all it will.
    requests: Option<Streaming<Request>>,
    lane: Lane,
    /// Calls begun whose answers have not come through `finished`.
    running: usize,
    /// Unbounded as a type; it holds one answer for each of `running`, and these are bounded.
    done: mpsc::UnboundedSender<(u32, Answer)>,
    finished: mpsc::UnboundedReceiver<(u32, Answer)>,
    shutdown: Shutdown,
    stopping: BoxFuture<'static, ()>,
    frame_bytes_max: usize,
}

impl Stream for Session {
    type Item = Result<Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let session = &mut *self;
        loop {
            if session.running > 0
                && let Poll::Ready(Some((id, answer))) = session.finished.poll_recv(ctx)
            {
                session.running -= 1;
                return Poll::Ready(Some(Ok(response(id, answer.result, session.frame_bytes_max))));
            }
            let Some(requests) = &mut session.requests else {
                return if session.running == 0 { Poll::Ready(None) } else { Poll::Pending };
            };
            match requests.poll_next_unpin(ctx) {
                Poll::Ready(Some(Ok(request))) => {
                    let id = request.header.call_id.unwrap_or_default();
                    if let Some(result) = session.begin(id, request) {
                        return Poll::Ready(Some(Ok(response(id, result, session.frame_bytes_max))));
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    tracing::debug!(%status, "stream of calls broke");
                    session.requests = None;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(None) => session.requests = None,
                Poll::Pending if session.running == 0 && session.stopping.poll_unpin(ctx).is_ready() => {
                    session.requests = None;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Session {
    fn begin(&mut self, id: u32, request: Request) -> Option<Result<Reply, RpcError>> {
        if self.shutdown.is_signalled() {
            return Some(Err(stopped()));
        }
        let call = Call {
            service: request.service,
            method: request.header.method_name.unwrap_or_default(),
            param: request.param.unwrap_or_default(),
            cells: request.cell_block.unwrap_or_default(),
            timeout: request.header.timeout.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into())),
        };
        let done = self.done.clone();
        let answer = self.lane.start(call, move |answer| {
            // Nobody listens once the stream is gone; the call ran all the same.
            drop(done.send((id, answer)));
        });
        if answer.is_none() {
            self.running += 1;
        }
        answer.map(|answer| answer.result)
    }
}

fn response(id: u32, result: Result<Reply, RpcError>, frame_bytes_max: usize) -> Response {
    let mut header = ResponseHeader { call_id: Some(id), ..ResponseHeader::default() };
    match fitting(result, frame_bytes_max) {
        Ok(Reply { param, cells }) => {
            // A cell block is no longer than a frame, which fits.
            header.cell_block_meta =
                (!cells.is_empty()).then_some(CellBlockMeta { length: u32::try_from(cells.len()).ok() });
            Response { header, param: present(param), cell_block: present(cells) }
        }
        Err(error) => {
            header.exception = Some(exception_to(&error));
            Response { header, param: None, cell_block: None }
        }
    }
}
