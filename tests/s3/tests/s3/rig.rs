//! A server with a bucket, and roots in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrobase_s3_fixture::{KEY, Server};
use filesystem::Filesystem;
use filesystem::s3::{Credentials, S3Filesystem, S3Settings};
use runtime::Runtime;

pub const BUCKET: &str = "bucket";

pub struct Rig {
    pub server: Server,
    _folder: tempfile::TempDir,
    roots: AtomicUsize,
}

pub fn keys(id: &str, secret: &str) -> Credentials {
    Credentials::Static { key_id: id.to_owned(), secret: secret.to_owned(), token: None }
}

/// Settings in which everything that waits is short.
pub fn settings(endpoint: &str, prefix: &str) -> S3Settings {
    S3Settings {
        endpoint: Some(endpoint.to_owned()),
        allow_http: true,
        pause: Duration::from_millis(2),
        ..S3Settings::new(BUCKET, prefix, "us-east-1", keys(KEY.0, KEY.1))
    }
}

impl Rig {
    pub async fn new() -> Rig {
        let folder = tempfile::tempdir().expect("folder");
        let server = Server::start(folder.path()).await.expect("server");
        server.make_bucket(BUCKET).expect("bucket");
        Rig { server, _folder: folder, roots: AtomicUsize::new(0) }
    }

    /// Settings for a prefix that is not used yet.
    pub fn fresh(&self) -> S3Settings {
        let number = self.roots.fetch_add(1, Ordering::SeqCst);
        settings(&self.server.endpoint(), &format!("roots/{number}"))
    }

    pub async fn open(&self, settings: S3Settings) -> S3Filesystem {
        S3Filesystem::open(settings, Runtime::system()).await.expect("root")
    }
}

pub async fn all(fs: &dyn Filesystem, path: &str) -> bytes::Bytes {
    let size = fs.size(path).await.expect("size").expect("exists");
    fs.read_at(path, 0, size as usize).await.expect("read")
}

pub fn shared(fs: S3Filesystem) -> Arc<dyn Filesystem> {
    Arc::new(fs)
}
