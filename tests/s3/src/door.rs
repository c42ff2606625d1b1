//! What stands before the store: connections, the log, the rules, the control path.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use percent_encoding::percent_decode_str;
use runtime::random::{Random, SystemRandom};
use s3s::service::{S3Service, S3ServiceBuilder};

use crate::plan::{Entry, Fault, Rule};
use crate::store::{Shared, Store};
use crate::token::{Auth, Keys};

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// Longest log kept.
const LOG_MAX: usize = 1_000_000;
/// Most requests held.
const HELD_MAX: usize = 10_000;

/// Everything a server shares.
pub(crate) struct State {
    service: S3Service,
    /// Where requests are really answered, if not here.
    upstream: Option<SocketAddr>,
    pub(crate) store: Arc<Store>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) grants: Mutex<Vec<(String, String)>>,
    pub(crate) rules: Mutex<Vec<Rule>>,
    pub(crate) log: Mutex<Vec<Entry>>,
    pub(crate) held: Mutex<VecDeque<Request<Bytes>>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("store", &self.store).finish_non_exhaustive()
    }
}

impl State {
    pub(crate) fn new(folder: &Path, upstream: Option<SocketAddr>) -> io::Result<State> {
        let (store, keys) = (Arc::new(Store::open(folder)?), Arc::new(Keys::default()));
        keys.add(crate::KEY.0, crate::KEY.1);
        let mut builder = S3ServiceBuilder::new(Shared(store.clone()));
        builder.set_auth(Auth(keys.clone()));
        let service = builder.build();
        let (grants, rules, log, held) = Default::default();
        Ok(State { service, upstream, store, keys, grants, rules, log, held })
    }

    async fn forward(&self, request: Request<Bytes>) -> Answer {
        if let Some(upstream) = self.upstream {
            return pass_on(upstream, request)
                .await
                .unwrap_or_else(|error| error_answer(502, "BadGateway", &error.to_string()));
        }
        let request = request.map(s3s::Body::from);
        match self.service.call(request).await {
            Ok(answer) => answer.map(|body| body.map_err(|error| io::Error::other(error.to_string())).boxed_unsync()),
            Err(error) => error_answer(500, "InternalError", &format!("{error:?}")),
        }
    }

    pub(crate) async fn release(&self) -> usize {
        let mut n = 0;
        loop {
            let Some(request) = self.held.lock().pop_front() else { return n };
            self.forward(request).await;
            n += 1;
        }
    }

    fn may(&self, entry: &Entry) -> bool {
        let grants = self.grants.lock();
        let who = self.keys.holder(&entry.access_key);
        grants.is_empty() || grants.iter().any(|(whom, prefix)| *whom == who && entry.key.starts_with(prefix.as_str()))
    }
}

/// Serves connections for ever.
pub(crate) async fn serve(listener: tokio::net::TcpListener, state: Arc<State>) {
    // Ends the connections too when it is aborted.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let state = state.clone();
                connections.spawn(async move {
                    let service = hyper::service::service_fn(move |request| handle(state.clone(), request));
                    // A connection that ends with an error is the client's or a rule's doing.
                    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn classify(request: &Request<Bytes>) -> Entry {
    let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    let query = request.uri().query().unwrap_or_default();
    let parameter = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
        })
    };
    let has = |name: &str| parameter(name).is_some();
    let kind = match request.method().as_str() {
        "POST" if bucket.is_empty() => "token",
        "GET" if has("uploads") => "list-uploads",
        "GET" if has("list-type") => "list",
        "GET" => "get",
        "HEAD" => "head",
        "PUT" if has("partNumber") => "upload-part",
        "PUT" if request.headers().contains_key("x-amz-copy-source") => "copy",
        "PUT" => "put",
        "POST" if has("uploads") => "upload-create",
        "POST" if has("uploadId") => "upload-complete",
        "DELETE" if has("uploadId") => "upload-abort",
        "DELETE" => "delete",
        _ => "other",
    };
    let signed = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let access_key = signed.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
    Entry {
        kind: kind.to_owned(),
        method: request.method().to_string(),
        bucket: bucket.to_owned(),
        key: if key.is_empty() { parameter("prefix").unwrap_or_default() } else { key.to_owned() },
        access_key: access_key.to_owned(),
        bytes: request.body().len() as u64,
        status: 0,
        fault: None,
    }
}

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request::from_parts(parts, body);
    if let Some(verb) = request.uri().path().strip_prefix("/-fixture/") {
        let (status, text) = crate::control::answer(&state, verb, request.body()).await;
        return Ok(plain(status, text.into()));
    }
    if let Some(path) = request.uri().path().strip_prefix("/latest/") {
        return Ok(state
            .keys
            .metadata(path)
            .map_or_else(|code| error_answer(404, code, "none"), |text| plain(200, text.into())));
    }
    let mut entry = classify(&request);
    let rule = {
        let mut rules = state.rules.lock();
        rules
            .iter_mut()
            .find_map(|rule| rule.hits(&entry, || SystemRandom.next_u64() as u8).then(|| rule.fault.clone()))
    };
    entry.fault = rule.clone();
    let number = {
        let mut log = state.log.lock();
        if log.len() == LOG_MAX {
            log.clear();
        }
        log.push(entry.clone());
        log.len() - 1
    };
    let answer = meet(&state, &entry, rule, request).await?;
    if let Some(noted) = state.log.lock().get_mut(number) {
        noted.status = answer.status().as_u16();
    }
    Ok(answer)
}

async fn meet(state: &State, entry: &Entry, rule: Option<Fault>, request: Request<Bytes>) -> Result<Answer, io::Error> {
    let cut = || io::Error::other("cut by a rule");
    if let Some(Fault::Answer { status, code }) = &rule {
        return Ok(error_answer(*status, code, "by a rule"));
    }
    if rule == Some(Fault::Cut) {
        return Err(cut());
    }
    if entry.kind == "token" && state.upstream.is_none() {
        let form = String::from_utf8_lossy(request.body()).into_owned();
        return Ok(match state.keys.answer(&form, &entry.access_key) {
            Ok(text) => plain(200, text.into()),
            Err(code) => error_answer(403, code, "no role"),
        });
    }
    if state.keys.is_expired(&entry.access_key) {
        return Ok(error_answer(400, "ExpiredToken", "the provided token has expired"));
    }
    if !state.may(entry) {
        return Ok(error_answer(403, "AccessDenied", "access denied"));
    }
    match rule {
        Some(Fault::Hold) => {
            let mut held = state.held.lock();
            if held.len() < HELD_MAX {
                held.push_back(request);
            }
            Err(cut())
        }
        Some(Fault::Delay { ms }) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(state.forward(request).await)
        }
        Some(Fault::LoseAnswer) => {
            state.forward(request).await;
            Err(cut())
        }
        Some(Fault::DoneAnswer { status, code }) => {
            state.forward(request).await;
            Ok(error_answer(status, &code, "by a rule, and yet done"))
        }
        Some(fault) => spoil(state.forward(request).await, &fault).await,
        None => Ok(state.forward(request).await),
    }
}

/// Asks another server the same, with the host that was signed.
async fn pass_on(upstream: SocketAddr, request: Request<Bytes>) -> io::Result<Answer> {
    let stream = tokio::net::TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // It ends with the sender.
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request.map(Full::new)).await.map_err(io::Error::other)?;
    let (mut parts, body) = answer.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    parts.headers.remove("connection");
    Ok(Response::from_parts(parts, Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync()))
}

/// Gives an answer whose body is not as it should be.
async fn spoil(answer: Answer, fault: &Fault) -> Result<Answer, io::Error> {
    let (parts, body) = answer.into_parts();
    let data = body.collect().await?.to_bytes();
    let pieces: Vec<(u64, Result<Bytes, io::Error>)> = match fault {
        Fault::ShortBody if data.is_empty() => return Err(io::Error::other("cut by a rule")),
        Fault::ShortBody => {
            vec![(0, Ok(data.slice(..data.len() / 2))), (50, Err(io::Error::other("cut by a rule")))]
        }
        Fault::CorruptBody => {
            let mut hurt = data.to_vec();
            let middle = hurt.len() / 2;
            if let Some(byte) = hurt.get_mut(middle) {
                *byte ^= 0x10;
            }
            vec![(0, Ok(hurt.into()))]
        }
        Fault::SlowClose { ms } => {
            let last = data.len().saturating_sub(1);
            vec![(0, Ok(data.slice(..last))), (*ms, Ok(data.slice(last..)))]
        }
        _ => vec![(0, Ok(data.clone()))],
    };
    if let (Fault::SlowClose { ms }, true) = (fault, data.is_empty()) {
        tokio::time::sleep(Duration::from_millis(*ms)).await;
    }
    let mut response = Response::from_parts(parts, ());
    // The length is announced as if nothing were wrong.
    if !data.is_empty() {
        response.headers_mut().insert("content-length", data.len().into());
    }
    let stream = futures::stream::iter(pieces).then(|(ms, piece)| async move {
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        piece.map(Frame::data)
    });
    Ok(response.map(|()| StreamBody::new(stream).boxed_unsync()))
}

fn plain(status: u16, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never: Infallible| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}

fn error_answer(status: u16, code: &str, message: &str) -> Answer {
    plain(status, format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>").into())
}
