//! A root in a bucket of an S3 store.
//!
//! Always true
//! - Blobs and registers come into being by conditional puts only: a name that is taken is never written over.
//! - Every value written carries a token of its writer. An answer that is lost, or that a repeated try may have spoiled, is
//!   settled by reading back: my token is done, as before is repeated with the same bytes, anything else is somebody else's.
//! - An operation ends within its deadline, retries included. A write that may have happened fails with
//!   [`ErrorKind::Unknown`] and nothing else.
//! - Serving lists nothing and renames nothing.
//!
//! What differs from a folder
//! - Nothing appends: a log here is numbered blobs ([`Filesystem::appends`] says no).
//! - [`Filesystem::lock_root`] locks nothing, because nothing here could be locked safely: who may start is decided by the
//!   register `ferrobase/cluster/leader`, and storage refuses whoever was replaced.
//! - A reader of a deleted blob fails, unless the blob is so short that it was read when it was opened.
//! - A blob that fits one put begins with that put: until it is finished nothing of it lies in the store, and
//!   [`Filesystem::unfinished`] does not know it.
//! - Keys that end in `.reg` are registers.
//!
//! Time-outs and pauses come from the runtime; connections and the time in signatures are the HTTP client's own.

mod credentials;
mod fault;
mod race;
mod reader;
mod register;
pub mod requests;
mod settings;
mod sts;
mod turn;
mod upload;
mod wire;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderName, Method};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::Runtime;
use serde::Deserialize;

pub use credentials::{Credentials, Role, Signer};
pub use settings::{Encryption, S3Settings};

use crate::checksum::crc32c;
use crate::path::check_key;
use crate::*;
use register::Value;
use requests::{Kind, Requests};
use turn::{Reply, Turn, Written};
use wire::{Answer, Ask, Wire};

/// Ending of the keys of registers.
const REGISTER: &str = ".reg";
/// Longest register read.
const REGISTER_BYTES_MAX: usize = 256 << 20;
/// Bodies of registers kept so that a swap of the head needs no read.
const KEPT_BYTES_MAX: usize = 32 << 20;
/// Reads of a register that is damaged, before it is called so.
const DAMAGED_READS: u32 = 3;
/// Objects up to this size are renamed by a conditional put; a copy inside the store has no condition.
const RENAME_BY_PUT_BYTES_MAX: u64 = 16 << 20;

const SOURCE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/');

static TOKEN: HeaderName = HeaderName::from_static("x-amz-meta-ferrobase-token");
static CRC: HeaderName = HeaderName::from_static("x-amz-meta-ferrobase-crc32c");
static COPY_SOURCE: HeaderName = HeaderName::from_static("x-amz-copy-source");

/// What every part of one root shares.
#[derive(Debug)]
struct Store {
    wire: Wire,
    settings: S3Settings,
    runtime: Runtime,
    requests: Arc<Requests>,
    kept: Mutex<Kept>,
}

/// Bodies of registers by key, with the token of their value.
#[derive(Debug, Default)]
struct Kept {
    bodies: HashMap<String, (u128, Bytes)>,
    bytes: usize,
}

impl Kept {
    fn keep(&mut self, key: &str, token: u128, body: Bytes) {
        self.forget(key);
        if self.bytes + body.len() > KEPT_BYTES_MAX {
            self.bodies.clear();
            self.bytes = 0;
        }
        if body.len() <= KEPT_BYTES_MAX {
            self.bytes += body.len();
            self.bodies.insert(key.to_owned(), (token, body));
        }
    }

    fn forget(&mut self, key: &str) {
        if let Some((_, body)) = self.bodies.remove(key) {
            self.bytes -= body.len();
        }
    }
}

impl Store {
    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.wire.prefix)
    }

    fn register_key(&self, path: &str) -> String {
        format!("{}{path}{REGISTER}", self.wire.prefix)
    }

    fn token(&self) -> String {
        format!("{:032x}", self.runtime.random.next_u128())
    }

    /// Puts a whole object under a name that is not taken. `token` may be that of an earlier try.
    async fn put_new(&self, path: &str, what: &'static str, data: Bytes, token: &str) -> Result<PutOutcome> {
        let key = self.key(path);
        let ask = Ask::new(Kind::Put, Method::PUT, &key)
            .header(IF_NONE_MATCH, "*")
            .header(TOKEN.clone(), token)
            .header(CRC.clone(), &format!("{:08x}", crc32c(&data)))
            .body(data);
        let mut turn = Turn::new(self, path, what).writes();
        loop {
            let fault = match turn.write(&ask).await? {
                Written::Done(_) => return Ok(PutOutcome::Created),
                Written::Unclear(fault) => fault,
            };
            match whose(&mut turn, &key, token).await? {
                Some(true) => return Ok(PutOutcome::Created),
                Some(false) => return Ok(PutOutcome::Exists),
                None => turn.after(fault).await?,
            }
        }
    }

    /// Reads a register with its etag.
    async fn register(&self, turn: &mut Turn<'_>, key: &str) -> Result<Option<(Value, String)>> {
        let ask = Ask::new(Kind::Get, Method::GET, key).limit(REGISTER_BYTES_MAX);
        let mut reads = 0;
        loop {
            let answer = match turn.repeat(&ask).await? {
                Reply::Answer(answer) => answer,
                _ => return Ok(None),
            };
            let read = Value::decode(&answer.body);
            match (read, answer.etag()) {
                (Ok(value), Some(etag)) => {
                    self.kept.lock().keep(key, value.token, value.body.clone());
                    return Ok(Some((value, etag.to_owned())));
                }
                // Bytes may be hurt on their way: read again.
                (read, _) => {
                    let why = read.err().unwrap_or("the answer has no etag");
                    reads += 1;
                    if reads == DAMAGED_READS {
                        return Err(turn.error(ErrorKind::Corrupt, format!("a register cannot be read: {why}")));
                    }
                    turn.after(fault::Fault::Nonsense(why.to_owned())).await?;
                }
            }
        }
    }
}

/// Whether the object at a key carries this token; `None`: there is no object.
async fn whose(turn: &mut Turn<'_>, key: &str, token: &str) -> Result<Option<bool>> {
    Ok(match turn.repeat(&Ask::new(Kind::Head, Method::HEAD, key)).await? {
        Reply::Answer(answer) => Some(answer.header(TOKEN.as_str()) == Some(token)),
        _ => None,
    })
}

fn amazon_host(name: &str, region: &str) -> String {
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://{name}.amazonaws.com{end}")
}

/// A root in a bucket. Clones share it.
#[derive(Clone, Debug)]
pub struct S3Filesystem(Arc<Store>);

impl S3Filesystem {
    /// Opens a root. Asks the store at once: an address, a permission or a clock that is wrong is an error here, and so is a
    /// store that ignores the conditions of conditional puts.
    pub async fn open(settings: S3Settings, runtime: Runtime) -> Result<S3Filesystem> {
        let fs = S3Filesystem::open_unchecked(settings, runtime)?;
        race::check(&fs.0).await?;
        Ok(fs)
    }

    /// Opens a root without asking the store anything: only for reading, or where [`S3Filesystem::open`] was done before.
    pub fn open_unchecked(settings: S3Settings, runtime: Runtime) -> Result<S3Filesystem> {
        let url = settings.url();
        let wrong = |message: String| Error::new(ErrorKind::Invalid, &url, message);
        settings.validate().map_err(wrong)?;
        let requests = Arc::new(Requests::default());
        let provider = settings.credentials.provider(&settings.region, settings.allow_http, &requests, &runtime);
        let client = wire::connect(settings.allow_http, settings.connections_idle_max);
        let prefix = settings.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let wire = Wire {
            prefix,
            client: client.map_err(|error| wrong(error.to_string()))?,
            base: settings.base(),
            region: settings.region.clone(),
            credentials: provider.map_err(wrong)?,
            encryption: settings.encryption.headers().map_err(wrong)?,
            requests: requests.clone(),
            clock: runtime.clock.clone(),
        };
        Ok(S3Filesystem(Arc::new(Store { wire, settings, runtime, requests, kept: Mutex::default() })))
    }

    /// What was sent to the store so far.
    pub fn requests(&self) -> &Requests {
        &self.0.requests
    }

    fn turn<'a>(&'a self, path: &'a str, what: &'static str) -> Turn<'a> {
        Turn::new(&self.0, path, what)
    }

    /// Keys of ours, as every operation checks them.
    fn check(path: &str) -> Result<()> {
        check_key(path)?;
        if path.ends_with(REGISTER) {
            return Err(Error::new(ErrorKind::Invalid, path, "keys that end in `.reg` are registers"));
        }
        Ok(())
    }

    async fn head(&self, path: &str, what: &'static str) -> Result<Option<Answer>> {
        let ask = Ask::new(Kind::Head, Method::HEAD, &self.0.key(path));
        match self.turn(path, what).repeat(&ask).await? {
            Reply::Answer(answer) => Ok(Some(answer)),
            _ => Ok(None),
        }
    }

    /// One page after the other of a listing.
    async fn pages<T: for<'a> Deserialize<'a>>(
        &self,
        folder: &str,
        kind: Kind,
        mut next: impl FnMut(T) -> Option<Vec<(&'static str, String)>>,
    ) -> Result<()> {
        let first = if kind == Kind::List { ("list-type", "2") } else { ("uploads", "") };
        let prefix = format!("{}/", self.0.key(folder));
        let mut more = Vec::new();
        loop {
            // Each page has a deadline of its own.
            let mut turn = self.turn(folder, "list");
            let mut ask = Ask::new(kind, Method::GET, "").query(first.0, first.1).query("prefix", &prefix);
            ask.query.extend(more);
            let page = loop {
                match turn.answer(&ask).await?.document() {
                    Ok(page) => break page,
                    Err(fault) => turn.after(fault).await?,
                }
            };
            match next(page) {
                Some(continuation) => more = continuation,
                None => return Ok(()),
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListPage {
    #[serde(default)]
    contents: Vec<Listed>,
    next_continuation_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadsPage {
    #[serde(default, rename = "Upload")]
    uploads: Vec<ListedUpload>,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    is_truncated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedUpload {
    key: String,
    upload_id: String,
}

#[async_trait]
impl Filesystem for S3Filesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        S3Filesystem::check(path)?;
        self.0.put_new(path, "put", data, &self.0.token()).await
    }

    /// Nothing is sent before more bytes have come than fit one put. Finishing fails with [`ErrorKind::Exists`] if the name
    /// is taken by then: the last request, which makes the object visible, carries the condition, be it the put or the
    /// completion of the upload. What was uploaded is then given up.
    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        S3Filesystem::check(path)?;
        Ok(Box::new(upload::S3BlobWriter::new(self.0.clone(), path)))
    }

    /// One request: the object's end, which holds what is looked at first in a store file, and with it its length.
    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        S3Filesystem::check(path)?;
        Ok(Arc::new(reader::S3BlobReader::open(self.0.clone(), path).await?))
    }

    async fn open_known(&self, path: &str, size: u64) -> Result<Arc<dyn BlobReader>> {
        S3Filesystem::check(path)?;
        Ok(Arc::new(reader::S3BlobReader::known(self.0.clone(), path, size)))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        S3Filesystem::check(path)?;
        let Some(answer) = self.head(path, "size").await? else { return Ok(None) };
        let size = answer.header("content-length").and_then(|text| text.parse().ok());
        size.map(Some).ok_or_else(|| Error::new(ErrorKind::Unavailable, path, "the store does not tell the length"))
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        S3Filesystem::check(path)?;
        Ok(self.head(path, "look").await?.is_some())
    }

    async fn delete(&self, path: &str) -> Result<()> {
        S3Filesystem::check(path)?;
        let ask = Ask::new(Kind::Delete, Method::DELETE, &self.0.key(path));
        self.turn(path, "delete").writes().repeat(&ask).await.map(drop)
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        S3Filesystem::check(path)?;
        let key = self.0.register_key(path);
        self.0.kept.lock().forget(&key);
        let ask = Ask::new(Kind::Delete, Method::DELETE, &key);
        self.turn(path, "delete register").writes().repeat(&ask).await.map(drop)
    }

    /// Copies, then deletes. What carries a checksum and has at most 16 MiB is read and put, under the condition that the name is
    /// free. The rest is copied inside the store after a look whether it is free: nobody else may be making that name.
    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        S3Filesystem::check(from)?;
        S3Filesystem::check(to)?;
        let absent = || Error::new(ErrorKind::NotFound, from, "no such object");
        let found = self.head(from, "rename").await?.ok_or_else(absent)?;
        let size = found.header("content-length").and_then(|text| text.parse::<u64>().ok()).unwrap_or(u64::MAX);
        if size <= RENAME_BY_PUT_BYTES_MAX && found.header(CRC.as_str()).is_some() {
            let data = self.read_at(from, 0, size as usize).await?;
            if self.put_if_absent(to, data).await? == PutOutcome::Exists {
                return Ok(PutOutcome::Exists);
            }
        } else {
            if self.exists(to).await? {
                return Ok(PutOutcome::Exists);
            }
            let source = format!("{}/{}", self.0.settings.bucket, self.0.key(from));
            let source = utf8_percent_encode(&source, SOURCE).to_string();
            let ask = Ask::new(Kind::Copy, Method::PUT, &self.0.key(to)).header(COPY_SOURCE.clone(), &source);
            self.turn(to, "rename").writes().answer(&ask).await?;
        }
        self.delete(from).await?;
        Ok(PutOutcome::Created)
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        check_key(folder)?;
        let mut entries = Vec::new();
        self.pages(folder, Kind::List, |page: ListPage| {
            for listed in page.contents {
                if let Some(path) = listed.key.strip_prefix(&self.0.wire.prefix)
                    && !path.ends_with(REGISTER)
                {
                    entries.push(Entry { path: path.to_owned(), size: listed.size });
                }
            }
            let token = page.next_continuation_token.filter(|token| !token.is_empty())?;
            Some(vec![("continuation-token", token)])
        })
        .await?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        check_key(folder)?;
        let mut found = Vec::new();
        self.pages(folder, Kind::ListUploads, |page: UploadsPage| {
            for upload in page.uploads {
                if let Some(path) = upload.key.strip_prefix(&self.0.wire.prefix)
                    && path.starts_with(folder)
                    && path[folder.len()..].starts_with('/')
                {
                    found.push(Unfinished { path: path.to_owned(), aside: upload.upload_id });
                }
            }
            let key = page.next_key_marker.filter(|_| page.is_truncated)?;
            let id = page.next_upload_id_marker.unwrap_or_default();
            Some(vec![("key-marker", key), ("upload-id-marker", id)])
        })
        .await?;
        Ok(found)
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        upload::abort(&self.0, &unfinished.path, &unfinished.aside).await
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        S3Filesystem::check(path)?;
        check_head(path, head)?;
        check_body(path, &body)?;
        let (store, key) = (&self.0, self.0.register_key(path));
        let value = Value { number: 1, token: self.0.runtime.random.next_u128(), head: head.to_owned(), body };
        let ask = Ask::new(Kind::Put, Method::PUT, &key).header(IF_NONE_MATCH, "*").body(value.encode());
        let mut turn = self.turn(path, "create register").writes();
        let etag = loop {
            let fault = match turn.write(&ask).await? {
                Written::Done(etag) => break etag,
                Written::Unclear(fault) => fault,
            };
            match store.register(&mut turn, &key).await? {
                Some((now, etag)) if now.token == value.token => break etag,
                Some((now, etag)) => return Ok(CreateOutcome::Exists(value_of(now, &etag))),
                None => turn.after(fault).await?,
            }
        };
        store.kept.lock().keep(&key, value.token, value.body.clone());
        Ok(CreateOutcome::Created(value.version(&etag)))
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        S3Filesystem::check(path)?;
        let mut turn = self.turn(path, "read register");
        let read = self.0.register(&mut turn, &self.0.register_key(path)).await?;
        Ok(read.map(|(value, etag)| value_of(value, &etag)))
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        S3Filesystem::check(path)?;
        check_head(path, head)?;
        let (store, key) = (&self.0, self.0.register_key(path));
        let Some((number, before, etag)) = register::parse_version(expected) else {
            return Err(Error::new(ErrorKind::Invalid, path, "the version is of another back end"));
        };
        let mut turn = self.turn(path, "swap register").writes();
        let mut etag = etag.to_owned();
        let kept = || store.kept.lock().bodies.get(&key).filter(|kept| kept.0 == before).map(|kept| kept.1.clone());
        let body = match body.or_else(kept) {
            Some(body) => body,
            None => match store.register(&mut turn, &key).await? {
                Some((now, found)) if now.token == before => {
                    etag = found;
                    now.body
                }
                other => return Ok(SwapOutcome::Superseded(other.map(|(now, etag)| value_of(now, &etag)))),
            },
        };
        check_body(path, &body)?;
        let value = Value { number: number + 1, token: store.runtime.random.next_u128(), head: head.to_owned(), body };
        let mut ask = Ask::new(Kind::Put, Method::PUT, &key).header(IF_MATCH, &etag).body(value.encode());
        let etag = loop {
            let fault = match turn.write(&ask).await? {
                Written::Done(etag) => break etag,
                Written::Unclear(fault) => fault,
            };
            match store.register(&mut turn, &key).await? {
                Some((now, etag)) if now.token == value.token => break etag,
                // The same value: only its name for conditions may be written in another way.
                Some((now, etag)) if now.token == before => ask = ask.header(IF_MATCH, &etag),
                other => return Ok(SwapOutcome::Superseded(other.map(|(now, etag)| value_of(now, &etag)))),
            }
            turn.after(fault).await?;
        };
        store.kept.lock().keep(&key, value.token, value.body.clone());
        Ok(SwapOutcome::Swapped(value.version(&etag)))
    }

    fn appends(&self) -> bool {
        false
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        S3Filesystem::check(path)?;
        Err(no_appends(path))
    }

    async fn lock_root(&self, _: &str) -> Result<LockOutcome> {
        Ok(LockOutcome::Locked(RootLock { _guard: Box::new(()) }))
    }

    fn requests(&self) -> Option<&Requests> {
        Some(&self.0.requests)
    }

    async fn read_at(&self, path: &str, offset: u64, len: usize) -> Result<Bytes> {
        S3Filesystem::check(path)?;
        reader::read_range(&self.0, path, offset, len).await
    }
}

fn value_of(value: Value, etag: &str) -> RegisterValue {
    RegisterValue { version: value.version(etag), head: value.head, body: value.body }
}

fn check_body(path: &str, body: &Bytes) -> Result<()> {
    if body.len() >= REGISTER_BYTES_MAX - 1024 {
        return Err(Error::new(ErrorKind::Invalid, path, "a register's body is at most 255 MiB"));
    }
    Ok(())
}
