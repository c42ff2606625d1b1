//! The read cache over a bucket: the same contract, and how few requests it needs.

use std::sync::Arc;

use filesystem::cached::{CacheSettings, CachedFilesystem};
use filesystem::s3::S3Filesystem;
use filesystem::s3::requests::Kind;
use filesystem::{Filesystem, conformance};
use runtime::Runtime;

use crate::rig::*;

async fn cached(fs: S3Filesystem, folder: Option<&std::path::Path>) -> CachedFilesystem {
    let settings = CacheSettings::new(folder.map(Into::into), 256 << 20, "s3://bucket/root");
    let settings = CacheSettings { is_kept: |path| !path.starts_with("d/"), ..settings };
    CachedFilesystem::new(Arc::new(fs), settings, Runtime::system()).await.expect("a cache")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_before_a_bucket() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().expect("folder");
    let next = std::sync::atomic::AtomicUsize::new(0);
    conformance::run_all(async || {
        let cache = folder.path().join(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string());
        let in_parts = filesystem::s3::S3Settings { one_put_bytes: 0, ..rig.fresh() };
        Arc::new(cached(rig.open(in_parts).await, Some(&cache)).await) as Arc<dyn Filesystem>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_is_few_long_reads_and_everybody_shares_them() {
    let rig = Rig::new().await;
    let data: Vec<u8> = (0..20_000_003u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let plain = rig.open(rig.fresh()).await;
    plain.put_if_absent("data/x", data.clone().into()).await.expect("put");
    let folder = tempfile::tempdir().expect("folder");
    for on_disk in [None, Some(folder.path())] {
        let fs = cached(plain.clone(), on_disk).await;
        let before = plain.requests().sent(Kind::Get);
        let open = fs.open("data/x").await.expect("open");
        // As a store file is opened: its end first.
        let tail = open.read_at(data.len() as u64 - 65_536, 65_536).await.expect("read");
        assert!(tail == data[data.len() - 65_536..]);
        assert_eq!(plain.requests().sent(Kind::Get) - before, 1, "opening, with the end");
        let scans = (0..4).map(|_| {
            let (open, data) = (open.clone(), &data);
            async move {
                for at in (0..data.len()).step_by(65_000) {
                    let len = 65_000.min(data.len() - at);
                    assert!(open.read_at(at as u64, len).await.expect("read") == data[at..at + len], "{at}");
                }
            }
        });
        futures::future::join_all(scans).await;
        let gets = plain.requests().sent(Kind::Get) - before;
        assert!(gets <= 40, "{gets} requests for 20 MB, four times");
        if on_disk.is_none() {
            continue;
        }
        // A second time nothing is asked for.
        for at in (0..data.len()).step_by(65_000) {
            let len = 65_000.min(data.len() - at);
            assert!(open.read_at(at as u64, len).await.expect("read") == data[at..at + len], "{at}");
        }
        assert!(plain.requests().sent(Kind::Get) - before <= gets + 2, "what is being written to disk may be missed");
    }
}
