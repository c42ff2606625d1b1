//! The client's end.
//!
//! Always true
//! - One connection an address, one stream a connection. Requests of many callers leave together.
//! - A call that failed before its request was taken for sending never ran (Unavailable, Busy or Invalid); after that, only
//!   an answer or a clean end of the stream tells, and anything else is Unknown.
//! - Open calls of a connection are bounded; callers beyond the bound wait, as long as their calls may take.
//! - A server that cannot be reached is tried again after a pause that grows; calls in between fail at once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::ErrorKind;
use parking_lot::Mutex;
use runtime::Runtime;
use runtime::backoff::Backoff;
use runtime::clock::within;
use tokio::sync::{Semaphore, oneshot};
use tonic::Streaming;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::{self, Uri, uri::PathAndQuery};

use super::codec::{
    CONNECTION_WINDOW_BYTES, ClientCodec, FRAME_BYTES_MAX, HTTP_FRAME_BYTES, PATH, STREAM_WINDOW_BYTES, Tasks, present,
};
use crate::calls::sendable;
use crate::envelope::{Request, Response};
use crate::exception::exception_from;
use crate::messages::{CellBlockMeta, RequestHeader};
use crate::service::{Call, Connect, Reply, RpcError, Service};

/// How connections are made and what they carry.
#[derive(Clone, Debug)]
pub struct ConnectorSettings {
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Open calls of one connection; no more than the server's bound, or it refuses some.
    pub calls_max: usize,
    /// The longest message, either way.
    pub frame_bytes_max: usize,
    /// A silent connection is asked for a sign of life after this time, and given up when it gives none for as long again.
    pub keep_alive: Duration,
    /// The first pause after a server could not be reached; later ones grow to 200 times this.
    pub pause: Duration,
    /// Addresses remembered; beyond, unused ones are forgotten.
    pub addresses_max: usize,
}

impl Default for ConnectorSettings {
    fn default() -> ConnectorSettings {
        ConnectorSettings {
            connect_timeout: Duration::from_secs(5),
            calls_max: 1024,
            frame_bytes_max: 256 << 20,
            keep_alive: Duration::from_secs(10),
            pause: Duration::from_millis(10),
            addresses_max: 1024,
        }
    }
}

/// Connections by address.
#[derive(Debug)]
pub struct Connector {
    runtime: Runtime,
    settings: Arc<ConnectorSettings>,
    peers: Mutex<HashMap<String, Arc<Peer>>>,
}

impl Connector {
    /// No connection yet.
    pub fn new(runtime: Runtime, settings: ConnectorSettings) -> Connector {
        Connector { runtime, settings: Arc::new(settings), peers: Mutex::default() }
    }

    pub(super) fn peer(&self, address: &str) -> Result<Arc<Peer>, RpcError> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(address) {
            return Ok(peer.clone());
        }
        if peers.len() >= self.settings.addresses_max {
            peers.retain(|_, peer| Arc::strong_count(peer) > 1 || peer.open_link().is_some());
            if peers.len() >= self.settings.addresses_max {
                return Err(RpcError::new(ErrorKind::Busy, format!("too many connections. open=`{}`", peers.len())));
            }
        }
        let peer = Arc::new(Peer::new(self.runtime.clone(), self.settings.clone(), address)?);
        peers.insert(address.to_owned(), peer.clone());
        Ok(peer)
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self, address: &str) -> Result<Arc<dyn Service>, RpcError> {
        let peer = self.peer(address)?;
        peer.link().await?;
        Ok(peer)
    }
}

fn unavailable(message: String) -> RpcError {
    RpcError::new(ErrorKind::Unavailable, message)
}

/// A server, connected or not.
pub(super) struct Peer {
    runtime: Runtime,
    settings: Arc<ConnectorSettings>,
    address: String,
    origin: Uri,
    link: Mutex<Option<Arc<Link>>>,
    /// Whoever holds it may connect.
    attempts: tokio::sync::Mutex<Attempts>,
}

struct Attempts {
    backoff: Backoff,
    /// No try before this time, and why the last one failed.
    failed: Option<(Duration, RpcError)>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peer {
    fn new(runtime: Runtime, settings: Arc<ConnectorSettings>, address: &str) -> Result<Peer, RpcError> {
        let origin = Uri::try_from(format!("http://{address}"))
            .map_err(|error| RpcError::invalid(format!("not an address: {error}. address=`{address}`")))?;
        let attempts = Attempts { backoff: Backoff::new(settings.pause), failed: None };
        let address = address.to_owned();
        Ok(Peer { runtime, settings, address, origin, link: Mutex::default(), attempts: attempts.into() })
    }

    fn open_link(&self) -> Option<Arc<Link>> {
        self.link.lock().as_ref().filter(|link| link.lane.is_open()).cloned()
    }

    pub(super) async fn link(&self) -> Result<Arc<Link>, RpcError> {
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(link) = self.open_link() {
            return Ok(link);
        }
        let clock = &*self.runtime.clock;
        if let Some((not_before, error)) = &attempts.failed
            && clock.monotonic() < *not_before
        {
            return Err(error.clone());
        }
        let limit = self.settings.connect_timeout;
        let made = within(clock, limit, self.make_link()).await.unwrap_or_else(|| {
            Err(unavailable(format!("no connection in time. address=`{}`, timeout=`{limit:?}`", self.address)))
        });
        match made {
            Ok(link) => {
                *attempts = Attempts { backoff: Backoff::new(self.settings.pause), failed: None };
                *self.link.lock() = Some(link.clone());
                Ok(link)
            }
            Err(error) => {
                let pause = attempts.backoff.next(&*self.runtime.random);
                attempts.failed = Some((clock.monotonic() + pause, error.clone()));
                Err(error)
            }
        }
    }

    async fn make_link(&self) -> Result<Arc<Link>, RpcError> {
        let (address, settings) = (&self.address, &self.settings);
        let failed = |error: &dyn std::error::Error| {
            let mut causes = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                causes = format!("{causes}: {next}");
                cause = next.source();
            }
            unavailable(format!("cannot connect: {causes}. address=`{address}`"))
        };
        let stream = runtime::net::connect(address).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => {
                unavailable(format!("connection refused; is the server running? address=`{address}`"))
            }
            _ => failed(&error),
        })?;
        let (sender, connection) = http2::Builder::new(Tasks)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP_FRAME_BYTES)
            .keep_alive_interval(settings.keep_alive)
            .keep_alive_timeout(settings.keep_alive)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Not joined: it ends when the stream below and its sender have ended.
        drop(runtime::task::spawn("grpc connection", async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection broke");
            }
        }));
        let lane = Arc::new(Lane::default());
        let mut grpc = Grpc::with_origin(Sender(sender), self.origin.clone())
            .max_decoding_message_size(settings.frame_bytes_max)
            .max_encoding_message_size(settings.frame_bytes_max);
        let outgoing = Outgoing { lane: lane.clone() };
        let path = PathAndQuery::from_static(PATH);
        let answers = grpc
            .streaming(tonic::Request::new(outgoing), path, ClientCodec::default())
            .await
            .map_err(|status| unavailable(format!("cannot open a stream of calls: {status}. address=`{address}`")))?;
        let announced = answers.metadata().get(FRAME_BYTES_MAX).and_then(|it| it.to_str().ok()?.parse().ok());
        let frame_bytes_max = settings.frame_bytes_max.min(announced.unwrap_or(usize::MAX));
        let reader = read(answers.into_inner(), lane.clone(), address.clone(), grpc);
        // Not joined: it ends with the stream, which ends with the lane at the latest.
        drop(runtime::task::spawn("grpc answers", reader));
        Ok(Arc::new(Link { lane, room: Arc::new(Semaphore::new(settings.calls_max)), frame_bytes_max }))
    }
}

#[async_trait]
impl Service for Peer {
    async fn call(&self, call: Call) -> Result<Reply, RpcError> {
        // A longer one would end the connection with all its calls.
        sendable(&call, self.settings.frame_bytes_max)?;
        let Some(limit) = call.timeout else {
            let (link, _room) = self.room().await?;
            sendable(&call, link.frame_bytes_max)?;
            return link.send(call).await;
        };
        let clock = &*self.runtime.clock;
        let start = clock.monotonic();
        let out_of_time = |kind, class, what| {
            let message = format!("{what}. address=`{}`, timeout=`{limit:?}`", self.address);
            RpcError::of(kind, class, message)
        };
        let (link, _room) = match self.room().now_or_never() {
            Some(room) => room?,
            None => within(clock, limit, self.room()).await.unwrap_or_else(|| {
                Err(out_of_time(ErrorKind::Unavailable, "java.io.IOException", "call could not be sent in time"))
            })?,
        };
        sendable(&call, link.frame_bytes_max)?;
        let left = limit.saturating_sub(clock.monotonic() - start);
        let waiting = link.send(Call { timeout: Some(left), ..call });
        let sequence = waiting.sequence;
        match within(clock, left, waiting).await {
            Some(result) => result,
            None if link.lane.was_taken(sequence) => {
                Err(out_of_time(ErrorKind::Unknown, "exceptions.TimeoutIOException", "no answer in time"))
            }
            None => Err(out_of_time(ErrorKind::Unavailable, "java.io.IOException", "call could not be sent in time")),
        }
    }
}

impl Peer {
    /// A connection, and the right to one more open call on it.
    async fn room(&self) -> Result<(Arc<Link>, tokio::sync::OwnedSemaphorePermit), RpcError> {
        let link = self.link().await?;
        match link.room.clone().acquire_owned().await {
            Ok(room) => Ok((link, room)),
            Err(_) => Err(unavailable(format!("connection closed. address=`{}`", self.address))),
        }
    }
}

/// A connection with its stream. Dropping it ends both.
pub(super) struct Link {
    lane: Arc<Lane>,
    room: Arc<Semaphore>,
    /// The longest message that both ends take.
    frame_bytes_max: usize,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.lane.close();
    }
}

impl Link {
    #[cfg(test)]
    pub(super) fn open_calls(&self) -> usize {
        self.lane.state.lock().open.len()
    }

    pub(super) fn send(&self, call: Call) -> Waiting {
        let header = RequestHeader {
            method_name: Some(call.method),
            // Zero would mean no limit.
            timeout: call.timeout.map(|limit| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1)),
            cell_block_meta: (!call.cells.is_empty())
                .then_some(CellBlockMeta { length: u32::try_from(call.cells.len()).ok() }),
            ..RequestHeader::default()
        };
        let request =
            Request { header, service: call.service, param: present(call.param), cell_block: present(call.cells) };
        Lane::send(&self.lane, request)
    }
}

/// What callers, the outgoing half and the incoming half of a stream share.
#[derive(Default)]
struct Lane {
    state: Mutex<LaneState>,
    /// Requests up to this sequence number were taken for sending.
    taken: AtomicU64,
}

#[derive(Default)]
struct LaneState {
    open: HashMap<u32, Open>,
    /// At most one for each open call.
    queue: VecDeque<(u64, Request)>,
    /// The outgoing half, when it has nothing to send.
    idle: Option<Waker>,
    /// Requests so far.
    sequence: u64,
    closed: bool,
}

struct Open {
    sequence: u64,
    answer: oneshot::Sender<Result<Reply, RpcError>>,
}

/// Call ids are the low half of sequence numbers: two open calls have the same only 2³² calls apart, and no connection has
/// room for so many.
fn id_of(sequence: u64) -> u32 {
    sequence as u32
}

impl Lane {
    fn is_open(&self) -> bool {
        !self.state.lock().closed
    }

    fn was_taken(&self, sequence: u64) -> bool {
        sequence <= self.taken.load(Ordering::Acquire)
    }

    fn send(lane: &Arc<Lane>, mut request: Request) -> Waiting {
        let (answer, waiting) = oneshot::channel();
        let mut state = lane.state.lock();
        let sequence = state.sequence + 1;
        let idle = if state.closed {
            None
        } else {
            state.sequence = sequence;
            request.header.call_id = Some(id_of(sequence));
            state.open.insert(id_of(sequence), Open { sequence, answer });
            state.queue.push_back((sequence, request));
            state.idle.take()
        };
        drop(state);
        if let Some(idle) = idle {
            idle.wake();
        }
        Waiting { lane: lane.clone(), sequence, answer: waiting }
    }

    fn answer(&self, response: Response) {
        let id = response.header.call_id.unwrap_or_default();
        // A call that was given up has no entry.
        let Some(open) = self.state.lock().open.remove(&id) else { return };
        let result = match response.header.exception {
            Some(exception) => Err(exception_from(exception)),
            None => {
                Ok(Reply { param: response.param.unwrap_or_default(), cells: response.cell_block.unwrap_or_default() })
            }
        };
        // The caller may have gone in this moment.
        drop(open.answer.send(result));
    }

    /// No more requests; those waiting to be sent are not sent.
    fn close(&self) -> HashMap<u32, Open> {
        let mut state = self.state.lock();
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        let (open, idle) = (std::mem::take(&mut state.open), state.idle.take());
        drop(state);
        drop(queue);
        if let Some(idle) = idle {
            idle.wake();
        }
        open
    }

    /// The stream ended. `clean` says that the server answered every call it began.
    fn end(&self, clean: bool, why: &str, address: &str) {
        for open in self.close().into_values() {
            let error = if clean || !self.was_taken(open.sequence) {
                unavailable(format!("connection closed before the call: {why}. address=`{address}`"))
            } else {
                RpcError::new(
                    ErrorKind::Unknown,
                    format!("connection broke during the call: {why}. address=`{address}`"),
                )
            };
            drop(open.answer.send(Err(error)));
        }
    }
}

/// A call under way. Dropping it forgets the call.
pub(super) struct Waiting {
    lane: Arc<Lane>,
    sequence: u64,
    answer: oneshot::Receiver<Result<Reply, RpcError>>,
}

impl Future for Waiting {
    type Output = Result<Reply, RpcError>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Self::Output> {
        self.answer.poll_unpin(ctx).map(|answered| {
            // The entry was dropped unanswered: the lane was closed before the request could join it.
            answered.unwrap_or_else(|_| Err(unavailable("connection closed before the call".to_owned())))
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // After an answer there is nothing to forget.
        if !self.answer.is_terminated() {
            let mut state = self.lane.state.lock();
            state.open.remove(&id_of(self.sequence));
            if !self.lane.was_taken(self.sequence) {
                state.queue.retain(|(sequence, _)| *sequence != self.sequence);
            }
        }
    }
}

/// The requests, as tonic asks for them.
struct Outgoing {
    lane: Arc<Lane>,
}

impl Stream for Outgoing {
    type Item = Request;

    fn poll_next(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<Option<Request>> {
        let mut state = self.lane.state.lock();
        match state.queue.pop_front() {
            Some((sequence, request)) => {
                // Under the lock, so that a call given up is either taken before or never.
                self.lane.taken.store(sequence, Ordering::Release);
                Poll::Ready(Some(request))
            }
            None if state.closed => Poll::Ready(None),
            None => {
                state.idle = Some(ctx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Hands answers to their callers until the stream ends. Holds the connection's sender, which keeps the connection.
async fn read(mut answers: Streaming<Response>, lane: Arc<Lane>, address: String, _sender: Grpc<Sender>) {
    loop {
        match answers.message().await {
            Ok(Some(response)) => lane.answer(response),
            Ok(None) => return lane.end(true, "the server closed it", &address),
            Err(status) => {
                let why = format!("{:?}: {}", status.code(), status.message());
                tracing::debug!(address, why, "stream of calls broke");
                return lane.end(false, &why, &address);
            }
        }
    }
}

/// hyper's sender as tonic wants it.
struct Sender(http2::SendRequest<Body>);

impl tonic::codegen::Service<http::Request<Body>> for Sender {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, ctx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(ctx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.send_request(request).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One request taken for sending and one not.
    fn two() -> (Arc<Lane>, Waiting, Waiting) {
        let lane = Arc::new(Lane::default());
        let (taken, kept) = (Lane::send(&lane, Request::default()), Lane::send(&lane, Request::default()));
        let mut outgoing = Outgoing { lane: lane.clone() };
        let mut ctx = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(&mut outgoing).poll_next(&mut ctx), Poll::Ready(Some(_))));
        (lane, taken, kept)
    }

    fn kind(waiting: Waiting) -> ErrorKind {
        waiting.now_or_never().expect("answered").expect_err("failed").kind
    }

    #[test]
    fn only_what_may_have_run_is_unknown() {
        let (lane, taken, kept) = two();
        lane.end(false, "broke", "here");
        assert_eq!((kind(taken), kind(kept)), (ErrorKind::Unknown, ErrorKind::Unavailable));
        let (lane, taken, kept) = two();
        lane.end(true, "closed", "here");
        assert_eq!((kind(taken), kind(kept)), (ErrorKind::Unavailable, ErrorKind::Unavailable));
        assert_eq!(kind(Lane::send(&lane, Request::default())), ErrorKind::Unavailable);
    }

    #[test]
    fn a_call_given_up_before_it_is_sent_is_not_sent() {
        let (lane, taken, kept) = two();
        drop((taken, kept));
        let state = lane.state.lock();
        assert!(state.open.is_empty() && state.queue.is_empty());
    }
}
