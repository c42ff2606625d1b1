//! Thrift over HTTP: the body of a POST is a message, the body of its answer is the answer, as HBase's gateway has it.
//!
//! Always true
//! - What is said of messages on a bare connection (bounds, time, order) holds for bodies.
//! - A connection ends on which nothing has come to its end for the time that a message may take: half a head, an answer that is not
//!   taken, or nothing at all, which clients of HTTP expect.

use std::convert::Infallible;
use std::io::Cursor;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use runtime::clock::within;
use runtime::shutdown::Shutdown;
use tokio::io::AsyncReadExt;

use super::server::{End, Gateway, Link, Room, Wire};

/// What every request over HTTP to this service begins with. As a frame's length it would be more than any bound.
pub(super) const OPENING: &[u8] = b"POST ";
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Serves a connection that began with [`OPENING`].
pub(super) async fn serve(gateway: &Gateway, link: Link, shutdown: &Shutdown) -> Result<(), End> {
    let (read, write) = link.stream.into_split();
    let stream = tokio::io::join(Cursor::new(link.data.freeze()).chain(read), write);
    let clock = gateway.clock();
    // Since when nothing is under way; `None` while a call is.
    let idle = Mutex::new(Some(clock.monotonic()));
    let answered = service_fn(|request| {
        *idle.lock() = None;
        let idle = &idle;
        async move {
            let answer = answer(gateway, request).await;
            *idle.lock() = Some(clock.monotonic());
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), answered));
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = too_long(gateway, &idle) => return Ok(()),
        () = shutdown.wait() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    match ended {
        Ok(()) => Ok(()),
        Err(error) if error.is_incomplete_message() => Err(End::Gone),
        Err(error) if error.is_parse() => Err(End::Refused(format!("no HTTP: {error}"))),
        Err(error) => Err(End::Broken(std::io::Error::other(error))),
    }
}

/// Ends when nothing has been under way for the time that a message may take.
async fn too_long(gateway: &Gateway, idle: &Mutex<Option<Duration>>) {
    let (clock, limit) = (gateway.clock(), gateway.message_timeout());
    let mut left = limit;
    loop {
        clock.sleep(left).await;
        let since = *idle.lock();
        left = since.map_or(limit, |since| (since + limit).saturating_sub(clock.monotonic()));
        if left.is_zero() {
            return;
        }
    }
}

fn response(status: StatusCode, body: impl Into<Bytes>, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn refusal(gateway: &Gateway, status: StatusCode, why: &End) -> Response<Full<Bytes>> {
    tracing::warn!(%why, %status, "refused a thrift call over HTTP");
    gateway.closed(why);
    let mut refused = response(status, format!("{why}\n"), "text/plain; charset=utf-8");
    // What is left of the body is not read.
    refused.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    refused
}

async fn answer(gateway: &Gateway, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        let why = End::Refused(format!("{} is no call; POST a Thrift message", request.method()));
        return refusal(gateway, StatusCode::METHOD_NOT_ALLOWED, &why);
    }
    let limit = gateway.message_timeout();
    let mut room = Room::default();
    let message = match within(gateway.clock(), limit, body(gateway, request.into_body(), &mut room)).await {
        Some(Ok(message)) => message,
        Some(Err(why)) => return refusal(gateway, StatusCode::BAD_REQUEST, &why),
        None => return refusal(gateway, StatusCode::REQUEST_TIMEOUT, &End::Late(limit)),
    };
    match call(gateway, &message).await {
        Ok(data) => response(StatusCode::OK, data, "application/x-thrift"),
        Err(why) => refusal(gateway, StatusCode::BAD_REQUEST, &why),
    }
}

async fn body(gateway: &Gateway, mut body: Incoming, room: &mut Room) -> Result<Vec<u8>, End> {
    let (mut message, most) = (Vec::new(), gateway.message_bytes_max());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| End::Broken(std::io::Error::other(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if message.len() + data.len() > most {
            return Err(End::Refused(format!("a message has more than the {most} bytes that are allowed")));
        }
        gateway.hold(room, message.len() + data.len()).await?;
        message.extend_from_slice(&data);
    }
    Ok(message)
}

async fn call(gateway: &Gateway, message: &[u8]) -> Result<Vec<u8>, End> {
    let no_message = || End::Refused("the body is no Thrift message".to_owned());
    let wire = Wire::of(message).filter(|wire| !wire.framed).ok_or_else(no_message)?;
    gateway.check(wire)?;
    if gateway.boundary(wire).find(message)?.is_none() {
        return Err(End::Refused("the body ends before its message".to_owned()));
    }
    Ok(gateway.answer(wire, message).await?.unwrap_or_default())
}
