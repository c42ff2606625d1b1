//! Data roots by their URL: a folder, a prefix in a bucket, a folder of an HDFS.
//!
//! Always true: a root that is named wrongly, or cannot be used, is a usage error before anything is touched.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use filesystem::local::LocalFilesystem;
use filesystem::s3::{S3Filesystem, S3Settings, Signer};
use filesystem::{ErrorKind, Filesystem};
use runtime::Runtime;

use crate::failure::Failure;

/// How roots are reached; S3 takes the standard `AWS_*` variables besides.
#[derive(Clone, Debug, Default, Args)]
pub struct RootFlags {
    /// Allow an S3 endpoint without TLS on another machine
    #[arg(long, env = "FERROBASE_S3_ALLOW_HTTP")]
    pub s3_allow_http: bool,
    /// Who signs for roots at and below a URL; WHO is role:ARN, profile:NAME, machine or variables [default: variables]
    #[arg(long, env = "FERROBASE_S3_CREDENTIALS", value_name = "URL=WHO", value_delimiter = ',')]
    pub s3_credentials: Vec<Signer>,
    /// Folder with Hadoop's core-site.xml and hdfs-site.xml; default what HADOOP_CONF_DIR or HADOOP_HOME name
    #[arg(long, env = "FERROBASE_HADOOP_CONF", value_name = "DIR")]
    pub hadoop_conf: Option<PathBuf>,
}

/// A root's URL, understood.
#[derive(Debug)]
enum Place {
    Folder(PathBuf),
    Bucket(Box<S3Settings>),
    Hdfs(Box<HdfsSettings>),
}

/// For what a root is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To write to it; a folder is made if it is missing.
    Make,
    /// To write to it; a folder must be there.
    Serve,
    /// To look into it, or to end what lies there; a store's conditions are not tried.
    Look,
}

impl RootFlags {
    fn place(&self, flag: &str, url: &str) -> Result<Place, Failure> {
        match url.split_once("://") {
            None if ["s3:", "hdfs:", "file:"].iter().any(|scheme| url.starts_with(scheme)) => {
                let why = format!("a URL has two slashes behind its `:`; a folder of this name is ./{url}");
                Err(Failure::usage(format!("{flag} `{url}`: {why}")))
            }
            None if !url.is_empty() => Ok(Place::Folder(url.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(Place::Folder(path.into())),
            Some(("s3", _)) => {
                let env = |name: &str| std::env::var(name).ok();
                let settings = S3Settings::from_env(url, self.s3_allow_http, &env)
                    .map_err(|why| Failure::usage(format!("{flag} {url}: {why}")))?;
                let credentials = Signer::choose(&self.s3_credentials, url, &env);
                Ok(Place::Bucket(Box::new(S3Settings { credentials, ..settings })))
            }
            Some(("hdfs", _)) => {
                let hadoop_conf = self.hadoop_conf.clone();
                Ok(Place::Hdfs(Box::new(HdfsSettings { hadoop_conf, ..HdfsSettings::new(url) })))
            }
            _ => {
                let known = "a folder, file:///folder, s3://bucket/prefix or hdfs://host:port/folder is needed";
                Err(Failure::usage(format!("{flag} `{url}`: {known}")))
            }
        }
    }

    /// Opens a root to serve from it. A folder is made if it is missing.
    pub async fn open(&self, flag: &str, url: &str, runtime: &Runtime) -> Result<Arc<dyn Filesystem>, Failure> {
        self.open_for(Use::Make, flag, url, runtime).await
    }

    /// Opens a root to look into it: nothing is made.
    pub async fn open_existing(
        &self,
        flag: &str,
        url: &str,
        runtime: &Runtime,
    ) -> Result<Arc<dyn Filesystem>, Failure> {
        self.open_for(Use::Look, flag, url, runtime).await
    }

    /// Opens a root.
    ///
    /// # Errors
    /// 4 if it cannot be reached, 2 if it is not there or cannot be used.
    pub async fn open_for(
        &self,
        how: Use,
        flag: &str,
        url: &str,
        runtime: &Runtime,
    ) -> Result<Arc<dyn Filesystem>, Failure> {
        let refused = |error| refused(flag, url, &error);
        Ok(match self.place(flag, url)? {
            Place::Folder(path) => {
                if how != Use::Make {
                    match std::fs::metadata(&path) {
                        Ok(found) if found.is_dir() => {}
                        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                            return Err(Failure::usage(format!("{flag} {url}: {error}")));
                        }
                        _ => return Err(Failure::usage(format!("{flag} {url}: there is no such folder"))),
                    }
                }
                Arc::new(open_folder(path, flag, runtime)?)
            }
            Place::Bucket(settings) if how == Use::Look => {
                Arc::new(S3Filesystem::open_unchecked(*settings, runtime.clone()).map_err(refused)?)
            }
            Place::Bucket(settings) => Arc::new(S3Filesystem::open(*settings, runtime.clone()).await.map_err(refused)?),
            Place::Hdfs(settings) if how == Use::Look => {
                Arc::new(HdfsFilesystem::open_unchecked(*settings, runtime).map_err(refused)?)
            }
            Place::Hdfs(settings) => Arc::new(HdfsFilesystem::open(*settings, runtime).await.map_err(refused)?),
        })
    }

    /// The URL as it is remembered: a folder by its whole path.
    pub fn canonical(&self, flag: &str, url: &str) -> Result<String, Failure> {
        let Some(folder) = self.folder(flag, url)? else { return Ok(url.trim_end_matches('/').to_owned()) };
        let whole = std::path::absolute(&folder).map_err(|error| Failure::usage(format!("{flag} {url}: {error}")))?;
        // What stands behind a link belongs to the machine; `..` and such to the way it was written.
        let whole: PathBuf = whole.components().collect();
        let text = whole.to_str().ok_or_else(|| Failure::usage(format!("{flag} {url}: the path is not UTF-8")))?;
        Ok(text.to_owned())
    }

    /// The folder of a root that is one.
    pub fn folder(&self, flag: &str, url: &str) -> Result<Option<PathBuf>, Failure> {
        match self.place(flag, url)? {
            Place::Folder(path) => Ok(Some(path)),
            Place::Bucket(_) | Place::Hdfs(_) => Ok(None),
        }
    }
}

/// What a root's error means to a command: 4 if it cannot be reached, 2 if it is not there or cannot be used.
pub fn refused(flag: &str, url: &str, error: &filesystem::Error) -> Failure {
    let message = format!("{flag} {url}: {error}");
    match error.kind() {
        ErrorKind::Unavailable => Failure { code: 4, message },
        ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::NotFound => Failure::usage(message),
        _ => Failure::failed(message),
    }
}

/// Opens a root in a folder, which is made if it is missing.
///
/// # Errors
/// 2, with the flag's name, if the folder cannot be had.
pub fn open_folder(path: PathBuf, flag: &str, runtime: &Runtime) -> Result<LocalFilesystem, Failure> {
    if path.is_symlink() && !path.exists() {
        return Err(Failure::usage(format!("{flag}: {} is a link that leads nowhere", path.display())));
    }
    LocalFilesystem::open(path, runtime.random.clone())
        .map_err(|error| Failure::usage(format!("{flag}: {error}; a folder that can be written is needed")))
}
