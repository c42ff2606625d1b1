//! Objects on disk, with conditions that hold.
//!
//! Always true
//! - An object is one file, renamed into place: after kill -9 it is there whole, with its metadata, or not at all.
//! - Looking at a condition and acting on it happen under one lock of the key.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::BodyExt;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use runtime::random::{Random, SystemRandom};
use s3s::dto::*;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use serde::{Deserialize, Serialize};

const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// Ends the file name of an object, so that `a` and `a/b` can both be.
const OBJECT: char = '~';
const PART_BYTES_MIN: u64 = 5 << 20;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Meta {
    etag: String,
    #[serde(default)]
    user: BTreeMap<String, String>,
    #[serde(default)]
    encryption: Option<String>,
    /// Of an upload: bucket and key.
    #[serde(default)]
    of: Option<(String, String)>,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    locks: Vec<tokio::sync::Mutex<()>>,
    temporary: AtomicU64,
    pub(crate) ignores_conditions: AtomicBool,
}

/// A file of ours: length of the metadata, metadata, data.
fn read_meta(path: &Path) -> io::Result<(Meta, u64, fs::File)> {
    let mut file = fs::File::open(path)?;
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    let mut meta = vec![0; length as usize];
    file.read_exact(&mut meta)?;
    let size = file.metadata()?.len() - u64::from(length) - 4;
    Ok((serde_json::from_slice(&meta)?, size, file))
}

fn absent<T>(result: io::Result<T>) -> S3Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(s3_error!(InternalError, "{error}")),
    }
}

fn done<T>(result: io::Result<T>) -> S3Result<T> {
    result.map_err(|error| s3_error!(InternalError, "{error}"))
}

async fn collect(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(body) = body else { return Ok(Bytes::new()) };
    // Fails where the bytes are not those that were signed.
    match Body::from(body).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(s3_error!(IncompleteBody, "{error}")),
    }
}

impl Store {
    pub(crate) fn open(folder: &Path) -> io::Result<Store> {
        for name in ["objects", "uploads", "tmp"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let locks = (0..256).map(|_| tokio::sync::Mutex::new(())).collect();
        let (temporary, ignores_conditions) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Store { folder: folder.to_owned(), locks, temporary, ignores_conditions })
    }

    pub(crate) fn make_bucket(&self, bucket: &str) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("objects").join(bucket))
    }

    fn bucket(&self, bucket: &str) -> S3Result<PathBuf> {
        let folder = self.folder.join("objects").join(bucket);
        if folder.is_dir() { Ok(folder) } else { Err(s3_error!(NoSuchBucket, "no such bucket")) }
    }

    fn object(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        let mut path = self.bucket(bucket)?;
        let mut parts = key.split('/').peekable();
        while let Some(part) = parts.next() {
            let name = utf8_percent_encode(part, NAME).to_string();
            if name.is_empty() || name.len() > 250 {
                return Err(s3_error!(InvalidArgument, "a key this store cannot keep"));
            }
            path.push(if parts.peek().is_some() { name } else { format!("{name}{OBJECT}") });
        }
        Ok(path)
    }

    pub(crate) fn encryption_of(&self, bucket: &str, key: &str) -> Option<String> {
        read_meta(&self.object(bucket, key).ok()?).ok()?.0.encryption
    }

    async fn lock(&self, bucket: &str, key: &str) -> tokio::sync::MutexGuard<'_, ()> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((bucket, key));
        self.locks[hash as usize % self.locks.len()].lock().await
    }

    /// Writes a file and renames it into place.
    fn write(&self, path: &Path, meta: &Meta, pieces: &[&[u8]]) -> io::Result<()> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join("tmp").join(format!("{}.{number}", std::process::id()));
        let text = serde_json::to_vec(meta)?;
        let mut out = Vec::with_capacity(4 + text.len() + pieces.iter().map(|piece| piece.len()).sum::<usize>());
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(&text);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        fs::write(&temporary, out)?;
        fs::create_dir_all(path.parent().expect("inside the folder"))?;
        fs::rename(&temporary, path)
    }

    /// The conditions of a write; to be asked under the key's lock.
    fn check(
        &self,
        path: &Path,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        if self.ignores_conditions.load(Ordering::SeqCst) {
            return Ok(());
        }
        let now = absent(read_meta(path))?;
        if let Some(condition) = if_none_match {
            let hit =
                now.as_ref().is_some_and(|(meta, ..)| condition.as_etag().is_none_or(|etag| etag.value() == meta.etag));
            if hit {
                return Err(s3_error!(PreconditionFailed, "the object exists"));
            }
        }
        if let Some(condition) = if_match {
            let Some((meta, ..)) = now else { return Err(s3_error!(NoSuchKey, "no such key")) };
            if condition.as_etag().is_some_and(|etag| etag.value() != meta.etag) {
                return Err(s3_error!(PreconditionFailed, "the etag is another one"));
            }
        }
        Ok(())
    }

    fn upload(&self, id: &str, bucket: &str, key: &str) -> S3Result<(PathBuf, Meta)> {
        let wrong = || s3_error!(NoSuchUpload, "no such upload");
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let folder = self.folder.join("uploads").join(id);
        let (meta, ..) = absent(read_meta(&folder.join("meta")))?.ok_or_else(wrong)?;
        if meta.of.as_ref().is_none_or(|(b, k)| b != bucket || k != key) {
            return Err(wrong());
        }
        Ok((folder, meta))
    }

    /// Keys below a prefix with their files, in order.
    fn keys(&self, bucket: &str, prefix: &str) -> S3Result<Vec<(String, PathBuf)>> {
        fn walk(folder: &Path, key: &str, out: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let plain = |name: &str| percent_decode_str(name).decode_utf8_lossy().into_owned();
                match name.strip_suffix(OBJECT) {
                    Some(name) => out.push((format!("{key}{}", plain(name)), path)),
                    None => walk(&path, &format!("{key}{}/", plain(&name)), out)?,
                }
            }
            Ok(())
        }
        let mut folder = self.bucket(bucket)?;
        let above = prefix.rsplit_once('/').map_or("", |(above, _)| above);
        let mut key = String::new();
        for part in above.split('/').filter(|part| !part.is_empty()) {
            folder.push(utf8_percent_encode(part, NAME).to_string());
            key += part;
            key.push('/');
        }
        let mut keys = Vec::new();
        absent(walk(&folder, &key, &mut keys))?;
        keys.retain(|(key, _)| key.starts_with(prefix));
        keys.sort();
        Ok(keys)
    }
}

fn etag(value: &str) -> ETag {
    ETag::Strong(value.to_owned())
}

fn range_of(range: Option<Range>, size: u64) -> S3Result<(u64, u64, bool)> {
    match range {
        None => Ok((0, size, false)),
        Some(range) => match range.check(size) {
            Ok(range) if !range.is_empty() => Ok((range.start, range.end, true)),
            _ => Err(s3_error!(InvalidRange, "the range lies behind the end")),
        },
    }
}

fn user(metadata: Option<Metadata>) -> BTreeMap<String, String> {
    metadata.into_iter().flatten().collect()
}

fn metadata(user: BTreeMap<String, String>) -> Option<Metadata> {
    Some(user.into_iter().collect::<HashMap<_, _>>())
}

/// What the service calls.
#[derive(Debug)]
pub(crate) struct Shared(pub(crate) std::sync::Arc<Store>);

#[async_trait::async_trait]
impl S3 for Shared {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        let path = self.0.object(&input.bucket, &input.key)?;
        let data = collect(input.body).await?;
        let etag_value = hex::encode(Md5::digest(&data));
        let encryption = input.server_side_encryption.map(|kind| kind.as_str().to_owned());
        let meta = Meta { etag: etag_value.clone(), user: user(input.metadata), encryption, of: None };
        let _lock = self.0.lock(&input.bucket, &input.key).await;
        self.0.check(&path, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        done(self.0.write(&path, &meta, &[&data]))?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(etag(&etag_value)), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let path = self.0.object(&input.bucket, &input.key)?;
        let (meta, size, mut file) = absent(read_meta(&path))?.ok_or_else(|| s3_error!(NoSuchKey, "no such key"))?;
        let (start, end, part) = range_of(input.range, size)?;
        let mut data = vec![0; (end - start) as usize];
        done(file.seek(SeekFrom::Current(start as i64)))?;
        done(file.read_exact(&mut data))?;
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(data.len() as i64),
            content_range: part.then(|| format!("bytes {start}-{}/{size}", end.saturating_sub(1))),
            body: Some(Body::from(data).into()),
            e_tag: Some(etag(&meta.etag)),
            metadata: metadata(meta.user),
            server_side_encryption: meta.encryption.map(ServerSideEncryption::from),
            ..Default::default()
        }))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let path = self.0.object(&input.bucket, &input.key)?;
        let (meta, size, _) = absent(read_meta(&path))?.ok_or_else(|| s3_error!(NoSuchKey, "no such key"))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(size as i64),
            e_tag: Some(etag(&meta.etag)),
            metadata: metadata(meta.user),
            server_side_encryption: meta.encryption.map(ServerSideEncryption::from),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        let path = self.0.object(&input.bucket, &input.key)?;
        let _lock = self.0.lock(&input.bucket, &input.key).await;
        absent(fs::remove_file(path))?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let CopySource::Bucket { bucket, key, .. } = &input.copy_source else {
            return Err(s3_error!(NotImplemented, "only plain sources"));
        };
        let (from, to) = (self.0.object(bucket, key)?, self.0.object(&input.bucket, &input.key)?);
        let (meta, size, mut file) = absent(read_meta(&from))?.ok_or_else(|| s3_error!(NoSuchKey, "no such key"))?;
        let mut data = Vec::with_capacity(size as usize);
        done(file.read_to_end(&mut data))?;
        let _lock = self.0.lock(&input.bucket, &input.key).await;
        done(self.0.write(&to, &meta, &[&data]))?;
        let result = CopyObjectResult { e_tag: Some(etag(&meta.etag)), ..Default::default() };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let mut keys = self.0.keys(&input.bucket, input.prefix.as_deref().unwrap_or_default())?;
        if let Some(after) = input.continuation_token.as_deref().or(input.start_after.as_deref()) {
            keys.retain(|(key, _)| key.as_str() > after);
        }
        let most = input.max_keys.unwrap_or(1000).clamp(1, 1000) as usize;
        let more = keys.len() > most;
        keys.truncate(most);
        let next = keys.last().filter(|_| more).map(|(key, _)| key.clone());
        let mut contents = Vec::new();
        for (key, path) in keys {
            // Deleted meanwhile is not there.
            if let Some((meta, size, _)) = absent(read_meta(&path))? {
                let e_tag = Some(etag(&meta.etag));
                contents.push(Object { key: Some(key), size: Some(size as i64), e_tag, ..Default::default() });
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            key_count: Some(contents.len() as i32),
            contents: Some(contents),
            is_truncated: Some(more),
            next_continuation_token: next,
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        self.0.object(&input.bucket, &input.key)?;
        let id = format!("{:032x}", SystemRandom.next_u128());
        let encryption = input.server_side_encryption.map(|kind| kind.as_str().to_owned());
        let of = Some((input.bucket.clone(), input.key.clone()));
        let meta = Meta { etag: String::new(), user: user(input.metadata), encryption, of };
        done(self.0.write(&self.0.folder.join("uploads").join(&id).join("meta"), &meta, &[]))?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        let (folder, _) = self.0.upload(&input.upload_id, &input.bucket, &input.key)?;
        let data = collect(input.body).await?;
        let meta = Meta { etag: hex::encode(Md5::digest(&data)), ..Meta::default() };
        done(self.0.write(&folder.join(input.part_number.to_string()), &meta, &[&data]))?;
        // An upload that ended meanwhile must not come back as a folder without its beginning.
        self.0.upload(&input.upload_id, &input.bucket, &input.key)?;
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(etag(&meta.etag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let path = self.0.object(&input.bucket, &input.key)?;
        let _lock = self.0.lock(&input.bucket, &input.key).await;
        let (folder, mut meta) = self.0.upload(&input.upload_id, &input.bucket, &input.key)?;
        self.0.check(&path, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let (mut all, mut digest) = (Vec::new(), Md5::new());
        for (i, part) in parts.iter().enumerate() {
            let number = part.part_number.unwrap_or_default();
            let (own, size, mut file) = absent(read_meta(&folder.join(number.to_string())))?
                .ok_or_else(|| s3_error!(InvalidPart, "no such part"))?;
            if part.e_tag.as_ref().is_none_or(|etag| etag.value() != own.etag) {
                return Err(s3_error!(InvalidPart, "the part's etag is another one"));
            }
            if i > 0 && parts[i - 1].part_number.unwrap_or_default() >= number {
                return Err(s3_error!(InvalidPartOrder, "the parts are out of order"));
            }
            if i + 1 < parts.len() && size < PART_BYTES_MIN {
                return Err(s3_error!(EntityTooSmall, "a part is too small"));
            }
            done(file.read_to_end(&mut all))?;
            digest.update(hex::decode(&own.etag).unwrap_or_default());
        }
        if parts.is_empty() {
            return Err(s3_error!(MalformedXML, "no parts"));
        }
        meta.etag = format!("{}-{}", hex::encode(digest.finalize()), parts.len());
        meta.of = None;
        done(self.0.write(&path, &meta, &[&all]))?;
        done(fs::remove_dir_all(folder))?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(etag(&meta.etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        let _lock = self.0.lock(&input.bucket, &input.key).await;
        let (folder, _) = self.0.upload(&input.upload_id, &input.bucket, &input.key)?;
        absent(fs::remove_file(folder.join("meta")))?;
        absent(fs::remove_dir_all(folder))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.0.bucket(&input.bucket)?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let mut found = Vec::new();
        for entry in done(fs::read_dir(self.0.folder.join("uploads")))? {
            let entry = done(entry)?;
            let id = entry.file_name().to_string_lossy().into_owned();
            if let Some((Meta { of: Some((bucket, key)), .. }, ..)) = absent(read_meta(&entry.path().join("meta")))?
                && bucket == input.bucket
                && key.starts_with(prefix)
            {
                found.push((key, id));
            }
        }
        found.sort();
        let after = (input.key_marker.unwrap_or_default(), input.upload_id_marker.unwrap_or_default());
        found.retain(|at| *at > after);
        let most = input.max_uploads.unwrap_or(1000).clamp(1, 1000) as usize;
        let more = found.len() > most;
        found.truncate(most);
        let last = found.last().filter(|_| more).cloned();
        let uploads = found.into_iter().map(|(key, id)| MultipartUpload {
            key: Some(key),
            upload_id: Some(id),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(uploads.collect()),
            is_truncated: Some(more),
            next_key_marker: last.as_ref().map(|(key, _)| key.clone()),
            next_upload_id_marker: last.map(|(_, id)| id),
            ..Default::default()
        }))
    }
}
