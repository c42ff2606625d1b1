//! The HDFS back end over a real HDFS: the conformance suite, then nodes killed, paused and refused under it.
//!
//! One cluster serves all tests, one test at a time. `HDFS_ROUNDS=n` repeats the tests of killed nodes.

mod conformance;
mod errors;
mod figures;
mod log;
mod pair;
mod proxy;
mod wal;

use std::sync::Arc;

use ferrobase_hadoop_fixture::Hdfs;
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use runtime::Runtime;

/// Settings for a root nobody else uses.
fn settings(hdfs: &Hdfs) -> HdfsSettings {
    HdfsSettings { hadoop_conf: Some(hdfs.conf()), ..HdfsSettings::new(hdfs.fresh_root()) }
}

async fn open(settings: HdfsSettings) -> Arc<HdfsFilesystem> {
    Arc::new(HdfsFilesystem::open(settings, &Runtime::system()).await.expect("the root opens"))
}

/// How often the tests of killed nodes repeat what they do.
fn rounds() -> usize {
    std::env::var("HDFS_ROUNDS").ok().map_or(1, |text| text.parse().expect("HDFS_ROUNDS is a number"))
}
