//! What `inspect` is asked to look at: a root, and perhaps one thing below it.
//!
//! Always true: looking changes nothing; a target that is none is a usage error that says what would be one.

use std::sync::Arc;

use coordination::LogRoots;
use filesystem::Filesystem;
use master::Survey;
use model::ErrorKind;
use runtime::Runtime;

use crate::arguments::Looking;
use crate::failure::Failure;

/// Folders of ours below a root, by which a path of one thing is told from that of a root.
const FOLDERS: [&str; 3] = ["ferrobase/table/", "ferrobase/log/", "ferrobase/cluster/"];
/// What an S3 object's name says of a register.
const REGISTER: &str = ".reg";

/// A data root, opened to look into it.
pub struct Root {
    /// As it was given.
    pub url: String,
    /// The root.
    pub fs: Arc<dyn Filesystem>,
    /// Where log streams may lie.
    pub logs: Vec<LogsAt>,
}

/// A log root.
pub struct LogsAt {
    /// Its id in the cluster; 0 is the data root.
    pub id: u32,
    /// Where it is.
    pub url: String,
    /// The root.
    pub fs: Arc<dyn Filesystem>,
}

/// Root and key, if the target is the path of a thing of ours.
pub fn split(target: &str) -> Option<(String, String)> {
    let target = target.trim_end_matches('/');
    let below = |folder: &str| target.rfind(&format!("/{folder}"));
    let key = |key: &str| key.strip_suffix(REGISTER).unwrap_or(key).to_owned();
    if FOLDERS.iter().any(|folder| target.starts_with(folder)) {
        return Some((".".to_owned(), key(target)));
    }
    let at = FOLDERS.iter().filter_map(|folder| below(folder)).max()?;
    let root = if at == 0 { "/" } else { &target[..at] };
    Some((root.to_owned(), key(&target[at + 1..])))
}

/// Where a thing's file lies, and its name there.
pub fn folder_and_name(target: &str) -> Option<(&str, &str)> {
    let (folder, name) = target.rsplit_once('/').unwrap_or((".", target));
    let folder = if folder.is_empty() { "/" } else { folder };
    (!name.is_empty() && !folder.ends_with(":/")).then_some((folder, name))
}

/// What went wrong while looking, with the root and the exit code.
pub fn failed(url: &str, kind: ErrorKind, why: impl std::fmt::Display) -> Failure {
    let message = format!("{url}: {why}");
    match kind {
        ErrorKind::Unavailable | ErrorKind::Busy => Failure { code: 4, message },
        ErrorKind::Denied | ErrorKind::NotFound | ErrorKind::Invalid => Failure::usage(message),
        _ => Failure::failed(message),
    }
}

impl Root {
    /// Opens a root.
    pub async fn open(looking: &Looking, url: &str) -> Result<Root, Failure> {
        let fs = looking.roots.open_existing("the root", url, &Runtime::system()).await?;
        let mut logs = vec![LogsAt { id: 0, url: url.to_owned(), fs: fs.clone() }];
        let known = LogRoots::read(&fs).await.map_err(|error| failed(url, error.kind(), error))?;
        for root in known.iter().filter(|root| root.id != 0) {
            let fs = looking.roots.open_existing("log root", &root.url, &Runtime::system()).await?;
            logs.push(LogsAt { id: root.id, url: root.url.clone(), fs });
        }
        Ok(Root { url: url.to_owned(), fs, logs })
    }

    /// What its registers say.
    pub async fn survey(&self) -> Result<Survey, Failure> {
        let surveyed = master::survey(&self.fs).await.map_err(|error| failed(&self.url, error.kind(), error))?;
        surveyed.ok_or_else(|| {
            let hint = "name the folder, bucket prefix or HDFS folder that a server was given as --data";
            Failure::usage(format!("{}: no data root (ferrobase/cluster/id is missing); {hint}", self.url))
        })
    }

    /// An error that came from looking into it.
    pub fn failed(&self, error: storage::StorageError) -> Failure {
        failed(&self.url, error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_ours_is_taken_apart_at_its_root() {
        let split = |target| split(target).map(|(root, key)| format!("{root} {key}"));
        assert_eq!(split("s3://b/p/ferrobase/log/00a1/head.reg").as_deref(), Some("s3://b/p ferrobase/log/00a1/head"));
        assert_eq!(split("ferrobase/table/t/head/").as_deref(), Some(". ferrobase/table/t/head"));
        assert_eq!(split("/ferrobase/table/t/r").as_deref(), Some("/ ferrobase/table/t/r"));
        assert_eq!(split("./data").as_deref(), None);
        assert_eq!(folder_and_name("s3://b/p/x"), Some(("s3://b/p", "x")));
        assert_eq!(folder_and_name("x"), Some((".", "x")));
        assert_eq!(folder_and_name("s3://b"), None);
        assert_eq!(folder_and_name("/x"), Some(("/", "x")));
    }
}
