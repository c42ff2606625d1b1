//! Running a server's calls, whatever carried them.
//!
//! Always true
//! - A call that has its answer at once is answered on the task that read it; any other runs on a task of its own.
//! - A call that began runs to its end, also when its time is over or its connection is gone: a write is never cut in half.
//! - Open calls of a connection and bytes of all calls together are bounded. Beyond a bound a call is answered with Busy
//!   and not begun.
//! - A panic ends its own call alone.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use model::ErrorKind;
use runtime::clock::{Clock, within};

use crate::service::{Call, Reply, RpcError, Service};

/// What one server takes on.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open calls of one connection. More keep slow disks busier; fewer bound what one client can occupy.
    pub calls_max: usize,
    /// Bytes of all open calls' requests and of answers that wait for their readers; at most a tenth of the memory budget.
    pub request_bytes_total: usize,
    /// The longest message, either way.
    pub frame_bytes_max: usize,
    /// Open connections; further ones are closed at once.
    pub connections_max: usize,
    /// How long a new connection may stay without a first call.
    pub first_call_wait: Duration,
    /// A silent connection is asked for a sign of life after this time, and closed when it gives none for as long again.
    pub keep_alive: Duration,
    /// How long open calls may take to end at shutdown.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            calls_max: 1024,
            request_bytes_total: 256 << 20,
            frame_bytes_max: 256 << 20,
            connections_max: 10_000,
            first_call_wait: Duration::from_secs(10),
            keep_alive: Duration::from_secs(20),
            grace: Duration::from_secs(10),
        }
    }
}

/// More than the envelope adds to a call's own bytes and names.
const ENVELOPE_BYTES: usize = 1 << 10;

/// The calls of a server.
pub(crate) struct Calls {
    service: Arc<dyn Service>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    bytes: AtomicUsize,
}

impl Calls {
    pub(crate) fn new(service: Arc<dyn Service>, clock: Arc<dyn Clock>, limits: Limits) -> Arc<Calls> {
        Arc::new(Calls { service, clock, limits, bytes: AtomicUsize::new(0) })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

/// The calls of one connection.
#[derive(Clone)]
pub(crate) struct Lane {
    calls: Arc<Calls>,
    open: Arc<AtomicUsize>,
}

/// An answer. Dropping it, once written, makes room for other calls.
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, RpcError>,
    _room: Option<Room>,
}

impl Answer {
    fn refusal(error: RpcError) -> Answer {
        Answer { result: Err(error), _room: None }
    }
}

/// What a call occupies.
struct Room {
    lane: Lane,
    bytes: usize,
}

impl Room {
    /// An answer's bytes are there already, so they are only counted.
    fn add(&mut self, bytes: usize) {
        self.lane.calls.bytes.fetch_add(bytes, Ordering::AcqRel);
        self.bytes += bytes;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.lane.calls.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.lane.open.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Lane {
    pub(crate) fn new(calls: Arc<Calls>) -> Lane {
        Lane { calls, open: Arc::default() }
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.calls.limits()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &**self.calls.clock()
    }

    /// Calls that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn admit(&self, bytes: usize) -> Result<Room, RpcError> {
        let Calls { limits, bytes: held, .. } = &*self.calls;
        if bytes > limits.request_bytes_total {
            return Err(too_big(bytes, limits.request_bytes_total));
        }
        if self.open.fetch_add(1, Ordering::AcqRel) >= limits.calls_max {
            self.open.fetch_sub(1, Ordering::AcqRel);
            let message = format!("too many open calls on this connection. open=`{}`", limits.calls_max);
            return Err(RpcError::of(ErrorKind::Busy, "CallQueueTooBigException", message));
        }
        if held.fetch_add(bytes, Ordering::AcqRel) + bytes > limits.request_bytes_total {
            held.fetch_sub(bytes, Ordering::AcqRel);
            self.open.fetch_sub(1, Ordering::AcqRel);
            let message = format!("too many bytes in open calls. limit=`{}`", limits.request_bytes_total);
            return Err(RpcError::of(ErrorKind::Busy, "CallQueueTooBigException", message));
        }
        Ok(Room { lane: self.clone(), bytes })
    }

    /// Begins a call. The answer comes back if it is there at once; else `later` gets it, exactly once.
    pub(crate) fn start(&self, call: Call, later: impl FnOnce(Answer) + Send + 'static) -> Option<Answer> {
        let mut room = match self.admit(call.param.len() + call.cells.len()) {
            Ok(room) => room,
            Err(error) => return Some(Answer::refusal(error)),
        };
        let (timeout, method) = (call.timeout, call.method.clone());
        let service = self.calls.service.clone();
        let mut running = Box::pin(AssertUnwindSafe(async move { service.call(call).await }).catch_unwind());
        // The task that goes on with the call has its own waker, so this one would only be called in vain.
        if let Poll::Ready(outcome) = running.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(Answer { result: settle(outcome, &method), _room: Some(room) });
        }
        let clock = self.calls.clock.clone();
        // Not joined: it ends by itself, and `later` tells the connection.
        drop(runtime::task::spawn("rpc call", async move {
            let outcome = match timeout {
                None => running.await,
                Some(limit) => match within(&*clock, limit, running.as_mut()).await {
                    Some(outcome) => outcome,
                    None => {
                        let message = format!("{method} ran out of time and goes on. timeout=`{limit:?}`");
                        let error = RpcError::of(ErrorKind::Unknown, "exceptions.TimeoutIOException", message);
                        later(Answer::refusal(error));
                        if let Err(error) = settle(running.await, &method) {
                            tracing::debug!(method, %error, "call failed after its time");
                        }
                        return;
                    }
                },
            };
            let result = settle(outcome, &method);
            if let Ok(reply) = &result {
                room.add(reply.param.len() + reply.cells.len());
            }
            later(Answer { result, _room: Some(room) });
        }));
        None
    }
}

/// The server takes no more calls.
pub(crate) fn stopped() -> RpcError {
    let class = "regionserver.RegionServerStoppedException";
    RpcError::of(ErrorKind::NotServing, class, "server is shutting down")
}

/// The answer, unless it is longer than a frame.
pub(crate) fn fitting(result: Result<Reply, RpcError>, frame_bytes_max: usize) -> Result<Reply, RpcError> {
    let reply = result?;
    let bytes = reply.param.len() + reply.cells.len() + ENVELOPE_BYTES;
    if bytes > frame_bytes_max {
        let message = format!("answer is too big; ask for less at once. bytes=`{bytes}`, limit=`{frame_bytes_max}`");
        return Err(RpcError::new(ErrorKind::Invalid, message));
    }
    Ok(reply)
}

/// Whether a request fits a frame.
pub(crate) fn sendable(call: &Call, frame_bytes_max: usize) -> Result<(), RpcError> {
    let bytes = call.param.len() + call.cells.len() + call.service.len() + call.method.len() + ENVELOPE_BYTES;
    if bytes > frame_bytes_max { Err(too_big(bytes, frame_bytes_max)) } else { Ok(()) }
}

/// The request is longer than the server takes.
fn too_big(bytes: usize, limit: usize) -> RpcError {
    let message = format!("request is too big. bytes=`{bytes}`, limit=`{limit}`");
    RpcError::of(ErrorKind::Invalid, "exceptions.RequestTooBigException", message)
}

fn settle(outcome: Result<Result<Reply, RpcError>, Box<dyn Any + Send>>, method: &str) -> Result<Reply, RpcError> {
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tracing::error!(method, panic = text, "call panicked");
        Err(RpcError::new(ErrorKind::Internal, format!("{method} failed inside the server. panic=`{text}`")))
    })
}
