//! One signed request to an S3 store and its answer.
//!
//! Connections, TLS and signatures are `object_store`'s. Its calls are not used: they hide the status behind retries of their
//! own (a 409 reads as "exists"), keep an expired credential for as long as they retry, cannot complete an upload under a
//! condition, and cannot list uploads.
//!
//! Always true
//! - One call is one HTTP request, counted, and ends within the time it is given.
//! - Answers are read up to the length that was asked for and no further.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use object_store::ClientOptions;
use object_store::aws::AwsAuthorizer;
use object_store::client::{HttpClient, HttpConnector, HttpErrorKind, HttpRequest, ReqwestConnector};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::clock::{Clock, within};
use serde::Deserialize;

use super::credentials::Provider;
use super::fault::Fault;
use super::requests::{Kind, Requests};

const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const KEY: &AsciiSet = &STRICT.remove(b'/');

/// Longest error text read.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Longest listing or other document read.
pub(super) const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) kind: Kind,
    pub(super) method: Method,
    /// Key in the bucket; empty: the bucket itself.
    pub(super) key: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Longest body of an answer that is accepted.
    pub(super) limit: usize,
}

impl Ask {
    pub(super) fn new(kind: Kind, method: Method, key: &str) -> Ask {
        let key = key.to_owned();
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Ask { kind, method, key, query, headers, body: Bytes::new(), limit: DOCUMENT_BYTES_MAX }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Ask {
        self.query.push((name, value.into()));
        self
    }

    /// Sets a header. The value is ours: printable.
    pub(super) fn header(mut self, name: impl Into<HeaderName>, value: &str) -> Ask {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name.into(), value);
        }
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Ask {
        self.body = body;
        self
    }

    pub(super) fn limit(mut self, limit: usize) -> Ask {
        self.limit = limit;
        self
    }
}

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(super) fn etag(&self) -> Option<&str> {
        self.header("etag").filter(|etag| !etag.is_empty())
    }

    /// Reads an XML document.
    pub(super) fn document<T: for<'a> Deserialize<'a>>(&self) -> Result<T, Fault> {
        let text = std::str::from_utf8(&self.body).map_err(|error| Fault::Nonsense(error.to_string()))?;
        quick_xml::de::from_str(text).map_err(|error| Fault::Nonsense(error.to_string()))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ErrorDocument {
    code: String,
    message: String,
    region: Option<String>,
}

/// Makes the HTTP client. Requests have no time-out there: they are cut off from outside.
pub(super) fn connect(allow_http: bool, idle_max: usize) -> object_store::Result<HttpClient> {
    // Whoever installs one first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = ClientOptions::new()
        .with_allow_http(allow_http)
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(5))
        .with_pool_max_idle_per_host(idle_max)
        // Stores close idle connections: one that is closed while a put is on its way costs a look.
        .with_pool_idle_timeout(Duration::from_secs(15))
        .with_http1_only();
    ReqwestConnector::default().connect(&options)
}

/// Sends requests to one bucket.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: HttpClient,
    /// Scheme, host and, in path style, the bucket; no slash at the end.
    pub(super) base: String,
    /// What keys of the root begin with: empty, or ends in `/`.
    pub(super) prefix: String,
    pub(super) region: String,
    pub(super) credentials: Arc<dyn Provider>,
    /// Headers of every request that makes an object.
    pub(super) encryption: HeaderMap,
    pub(super) requests: Arc<Requests>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Wire {
    /// Sends one request and reads its answer, in `limit` altogether and never waiting for longer than `patience`.
    pub(super) async fn once(&self, ask: &Ask, limit: Duration, patience: Duration) -> Result<Answer, Fault> {
        let sent = within(&*self.clock, limit, async {
            let credential = self.credentials.get().await.map_err(Fault::Credentials)?;
            let answer = self.exchange(ask, &credential, patience).await;
            if let Err(fault) = &answer
                && fault.meaning() == super::fault::Meaning::Expired
            {
                self.credentials.expire(&credential).await;
            }
            answer
        });
        let answer = sent.await.unwrap_or_else(|| Err(Fault::Unanswered(format!("nothing within {limit:?}"))));
        match &answer {
            Err(Fault::Unanswered(_)) => drop(self.requests.unanswered.fetch_add(1, Ordering::Relaxed)),
            Err(fault) if fault.meaning() == super::fault::Meaning::SlowDown => {
                self.requests.slowed.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        answer
    }

    async fn exchange(
        &self,
        ask: &Ask,
        credential: &object_store::aws::AwsCredential,
        patience: Duration,
    ) -> Result<Answer, Fault> {
        let mut url = format!("{}/{}", self.base, utf8_percent_encode(&ask.key, KEY));
        for (i, (name, value)) in ask.query.iter().enumerate() {
            url += if i == 0 { "?" } else { "&" };
            url += &format!("{name}={}", utf8_percent_encode(value, STRICT));
        }
        let wrong = |error: &dyn std::fmt::Display| Fault::NotSent(format!("the request cannot be made: {error}"));
        let mut request = HttpRequest::new(ask.body.clone().into());
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = url.parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
        *request.headers_mut() = ask.headers.clone();
        if matches!(ask.kind, Kind::Put | Kind::Copy | Kind::UploadCreate) {
            request.headers_mut().extend(self.encryption.clone());
        }
        AwsAuthorizer::new(credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| wrong(&error))?;
        let named = ask.query.iter().find(|(name, _)| *name == "prefix").map_or(&ask.key, |(_, prefix)| prefix);
        self.requests.count_at(ask.kind, named.strip_prefix(&self.prefix).unwrap_or(named));
        self.requests.bytes_sent.fetch_add(ask.body.len() as u64, Ordering::Relaxed);
        let wait = Wait { clock: &*self.clock, patience };
        receive(&self.client, &self.requests, ask.kind, request, ask.limit, wait).await
    }
}

/// How long to wait for the beginning of an answer, and then for each piece of it.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) patience: Duration,
}

impl Wait<'_> {
    async fn wait<T>(self, future: impl Future<Output = T>) -> Result<T, Fault> {
        let silence = || Fault::Unanswered(format!("nothing within {:?}", self.patience));
        within(self.clock, self.patience, future).await.ok_or_else(silence)
    }
}

/// Sends a finished request and reads the answer.
pub(super) async fn receive(
    client: &HttpClient,
    requests: &Requests,
    kind: Kind,
    request: HttpRequest,
    limit: usize,
    wait: Wait<'_>,
) -> Result<Answer, Fault> {
    requests.count(kind);
    let lost = |error: object_store::client::HttpError| match error.kind() {
        HttpErrorKind::Connect => Fault::NotSent(chain(&error)),
        _ => Fault::Unanswered(chain(&error)),
    };
    let head = *request.method() == Method::HEAD;
    let response = wait.wait(client.execute(request)).await?.map_err(lost)?;
    let (parts, body) = response.into_parts();
    let status = parts.status.as_u16();
    let good = (200..300).contains(&status);
    let limit = if good { limit } else { ERROR_BYTES_MAX };
    let mut data = BytesMut::new();
    let mut stream = body.bytes_stream();
    while let Some(piece) = wait.wait(stream.next()).await? {
        let piece = match piece {
            Ok(piece) => piece,
            // The status says enough.
            Err(_) if !good => break,
            Err(error) => return Err(Fault::Unanswered(chain(&error))),
        };
        if data.len() + piece.len() > limit {
            if !good {
                break;
            }
            return Err(Fault::Nonsense(format!("the body is longer than {limit} bytes")));
        }
        data.extend_from_slice(&piece);
    }
    requests.bytes_received.fetch_add(data.len() as u64, Ordering::Relaxed);
    let declared = parts.headers.get(http::header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if good && !head && declared.is_some_and(|declared: usize| declared != data.len()) {
        return Err(Fault::Unanswered("the body ends early".to_owned()));
    }
    let body = data.freeze();
    // Some requests answer 200 before they know, and then say the error.
    let late_error = good && matches!(kind, Kind::UploadComplete | Kind::Copy) && contains_error(&body);
    if good && !late_error {
        return Ok(Answer { status, headers: parts.headers, body });
    }
    let document: ErrorDocument =
        std::str::from_utf8(&body).ok().and_then(|text| quick_xml::de::from_str(text).ok()).unwrap_or_default();
    let named = parts.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let reason = || parts.status.canonical_reason().unwrap_or_default().to_owned();
    let message = if document.message.is_empty() { reason() } else { document.message };
    let status = if good { 500 } else { status };
    Err(Fault::Answered { status, code: document.code, message, region: document.region.or(named) })
}

fn contains_error(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| text.contains("<Error>"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += ": ";
            text += &cause_text;
        }
        source = cause.source();
    }
    text
}
