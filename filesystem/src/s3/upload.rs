//! Writes an object: with one put if it fits, in parts otherwise.
//!
//! Always true
//! - Nothing is visible before the last request: the put, or the completion. Both carry the condition that the name is not
//!   taken, and both are settled by the token that the object carries.
//! - At most `parts_in_flight` parts wait in memory besides the one being filled.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::IF_NONE_MATCH;
use runtime::task::Task;
use serde::Deserialize;

use super::fault::{Fault, Meaning};
use super::requests::Kind;
use super::turn::{Reply, Turn};
use super::wire::Ask;
use super::{Store, TOKEN, whose};
use crate::cause::Cause;
use crate::error::{Error, ErrorKind, Result};
use crate::{BlobWriter, PutOutcome};

/// The store's bound.
const PARTS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Begun {
    upload_id: String,
}

/// Gives an upload up; gone is fine.
pub(super) async fn abort(store: &Store, path: &str, id: &str) -> Result<()> {
    let ask = Ask::new(Kind::UploadAbort, Method::DELETE, &store.key(path)).query("uploadId", id);
    Turn::new(store, path, "abort upload").writes().repeat(&ask).await.map(drop)
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct S3BlobWriter {
    store: Arc<Store>,
    path: String,
    token: String,
    buffer: BytesMut,
    written: u64,
    /// Set once it no longer fits one put.
    upload: Option<String>,
    /// Parts under way, oldest first.
    under_way: VecDeque<Task<Result<String>>>,
    etags: Vec<String>,
}

impl S3BlobWriter {
    pub(super) fn new(store: Arc<Store>, path: &str) -> S3BlobWriter {
        S3BlobWriter {
            token: store.token(),
            store,
            path: path.to_owned(),
            buffer: BytesMut::new(),
            written: 0,
            upload: None,
            under_way: VecDeque::new(),
            etags: Vec::new(),
        }
    }

    async fn begin(&mut self) -> Result<String> {
        if let Some(id) = &self.upload {
            return Ok(id.clone());
        }
        // A repeated begin leaves an upload that nobody completes: the collector's.
        let mut turn = Turn::new(&self.store, &self.path, "begin upload").writes();
        let ask = Ask::new(Kind::UploadCreate, Method::POST, &self.store.key(&self.path))
            .query("uploads", "")
            .header(TOKEN.clone(), &self.token);
        let begun: Begun = loop {
            match turn.answer(&ask).await?.document() {
                Ok(begun) => break begun,
                Err(fault) => turn.after(fault).await?,
            }
        };
        self.upload = Some(begun.upload_id.clone());
        Ok(begun.upload_id)
    }

    async fn send_part(&mut self, data: Bytes) -> Result<()> {
        let id = self.begin().await?;
        while self.under_way.len() >= self.store.settings.parts_in_flight {
            self.wait_for_oldest().await?;
        }
        let number = self.etags.len() + self.under_way.len() + 1;
        if number > PARTS_MAX {
            let message = "the blob has more than 10000 parts: raise the size of a part";
            return Err(Error::new(ErrorKind::Invalid, &self.path, message));
        }
        let (store, path) = (self.store.clone(), self.path.clone());
        let cause = Cause::said().unwrap_or(Cause::Other);
        let part = async move {
            let mut turn = Turn::new(&store, &path, "write part").writes();
            let ask = Ask::new(Kind::UploadPart, Method::PUT, &store.key(&path))
                .query("partNumber", number.to_string())
                .query("uploadId", id)
                .body(data);
            loop {
                match turn.repeat(&ask).await? {
                    Reply::Answer(answer) => match answer.etag() {
                        Some(etag) => return Ok(etag.to_owned()),
                        None => turn.after(Fault::Nonsense("no etag".to_owned())).await?,
                    },
                    _ => return Err(turn.error(ErrorKind::NotFound, "the unfinished blob was abandoned")),
                }
            }
        };
        self.under_way.push_back(runtime::task::spawn("s3 part", cause.of(part)));
        Ok(())
    }

    async fn wait_for_oldest(&mut self) -> Result<()> {
        if let Some(oldest) = self.under_way.pop_front() {
            let ended = oldest.await.map_err(|error| {
                Error::new(ErrorKind::Unknown, &self.path, format!("a part was not written: {error}"))
            })?;
            self.etags.push(ended?);
        }
        Ok(())
    }

    async fn complete(&mut self, id: &str) -> Result<u64> {
        let mut document = String::from("<CompleteMultipartUpload>");
        for (i, etag) in self.etags.iter().enumerate() {
            let etag = etag.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
            let number = i + 1;
            write!(document, "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>").expect("memory");
        }
        document += "</CompleteMultipartUpload>";
        let key = self.store.key(&self.path);
        let ask = Ask::new(Kind::UploadComplete, Method::POST, &key)
            .query("uploadId", id)
            .header(IF_NONE_MATCH, "*")
            .body(document.into());
        let mut turn = Turn::new(&self.store, &self.path, "complete upload").writes();
        let token = &self.token;
        loop {
            let fault = match turn.once(&ask).await {
                Ok(_) => return Ok(self.written),
                Err(fault) => fault,
            };
            match fault.meaning() {
                Meaning::Absent | Meaning::Precondition | Meaning::Conflict | Meaning::Doubt => {
                    turn.in_doubt(&fault);
                    match whose(&mut turn, &key, token).await? {
                        Some(true) => return Ok(self.written),
                        Some(false) => return Err(self.taken()),
                        None if fault.meaning() == Meaning::Absent => {
                            return Err(turn.error(ErrorKind::NotFound, "the unfinished blob was abandoned"));
                        }
                        None => {}
                    }
                }
                _ => {}
            }
            turn.after(fault).await?;
        }
    }

    fn taken(&self) -> Error {
        Error::new(ErrorKind::Exists, &self.path, "the name is taken")
    }
}

#[async_trait]
impl BlobWriter for S3BlobWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.buffer.extend_from_slice(&data);
        self.written += data.len() as u64;
        if self.upload.is_none() && self.buffer.len() > self.store.settings.one_put_bytes {
            self.begin().await?;
        }
        while self.upload.is_some() && self.buffer.len() >= self.store.settings.part_bytes {
            let part = self.buffer.split_to(self.store.settings.part_bytes).freeze();
            self.send_part(part).await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        let Some(id) = self.upload.clone() else {
            return match self.store.put_new(&self.path, "put", rest, &self.token).await? {
                PutOutcome::Created => Ok(self.written),
                PutOutcome::Exists => Err(self.taken()),
            };
        };
        // An upload has at least one part.
        if !rest.is_empty() || self.etags.is_empty() && self.under_way.is_empty() {
            self.send_part(rest).await?;
        }
        while !self.under_way.is_empty() {
            self.wait_for_oldest().await?;
        }
        let finished = self.complete(&id).await;
        if let Err(error) = &finished
            && error.kind() == ErrorKind::Exists
            && let Err(error) = abort(&self.store, &self.path, &id).await
        {
            tracing::warn!(%error, "an upload whose name was taken is left to the collector");
        }
        finished
    }

    async fn abort(mut self: Box<Self>) {
        for part in self.under_way.drain(..) {
            part.abort();
            // A part that is still being written could outlive the upload's end.
            drop(part.await);
        }
        if let Some(id) = self.upload.take()
            && let Err(error) = abort(&self.store, &self.path, &id).await
        {
            tracing::warn!(%error, "an upload that was given up is left to the collector");
        }
    }
}
