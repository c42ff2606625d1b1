//! `--cache-dir` and `--cache-size`: the read cache before a root in S3 or HDFS.
//!
//! Always true: without `--cache-dir` nothing is kept on this machine's disk; scans of such a root are read ahead all the same.

use std::sync::Arc;

use filesystem::Filesystem;
use filesystem::cached::{CACHE_BYTES_MIN, CacheSettings, CachedFilesystem};
use runtime::Runtime;

use crate::arguments::Standalone;
use crate::failure::Failure;

/// What a cache takes if nobody says.
const CACHE_BYTES: u64 = 10 << 30;
/// What scans may have fetched ahead, unless that is more than a sixteenth of the memory.
const AHEAD_BYTES: u64 = 64 << 20;

/// What the flags say; `None`: the root is a folder, which needs no cache.
///
/// # Errors
/// 2, if the flags make no sense together.
pub fn settings(flags: &Standalone, is_folder: bool, budget: u64) -> Result<Option<CacheSettings>, Failure> {
    let data = &flags.data;
    match (&flags.cache_dir, flags.cache_size) {
        (Some(_), _) if is_folder => {
            let why = format!(
                "--cache-dir: {data} is a folder, which a copy would not make faster; it is for s3:// and hdfs:// roots"
            );
            return Err(Failure::usage(why));
        }
        (None, Some(_)) => return Err(Failure::usage("--cache-size: say where, with --cache-dir DIR")),
        (Some(_), Some(size)) if size < CACHE_BYTES_MIN => {
            return Err(Failure::usage(format!("--cache-size: at least {}M is needed", CACHE_BYTES_MIN >> 20)));
        }
        _ => {}
    }
    if is_folder {
        return Ok(None);
    }
    let size = flags.cache_size.unwrap_or(CACHE_BYTES);
    let ahead_bytes = usize::try_from((budget / 16).min(AHEAD_BYTES)).unwrap_or(usize::MAX);
    Ok(Some(CacheSettings { ahead_bytes, ..CacheSettings::new(flags.cache_dir.clone(), size, data) }))
}

/// Puts the cache before the root.
///
/// # Errors
/// 2, if the folder can be of no use. One that another process uses, or whose disk is full, is told in the log and tried again.
pub async fn before(
    fs: Arc<dyn Filesystem>,
    settings: CacheSettings,
    runtime: &Runtime,
) -> Result<Arc<dyn Filesystem>, Failure> {
    let cached = CachedFilesystem::new(fs, settings, runtime.clone()).await;
    let hint = "a folder on this machine that can be written is needed";
    Ok(Arc::new(cached.map_err(|error| Failure::usage(format!("--cache-dir: {error}; {hint}")))?))
}
