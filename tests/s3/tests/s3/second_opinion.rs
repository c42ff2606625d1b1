//! The same against moto, which nobody here wrote.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrobase_s3_fixture::{KEY, Moto};
use filesystem::s3::requests::Kind;
use filesystem::s3::{Credentials, Role, S3Settings};
use filesystem::{Filesystem, PutOutcome, conformance};
use runtime::Runtime;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moto_conforms_and_gives_roles() {
    let moto = Moto::start().expect("moto");
    moto.make_bucket(BUCKET).await.expect("bucket");
    let next = AtomicUsize::new(0);
    let fresh = || S3Settings {
        one_put_bytes: 0,
        // It answers 500 to parts of an upload that was given up.
        deadline: Duration::from_secs(5),
        ..settings(&moto.endpoint(), &format!("roots/{}", next.fetch_add(1, Ordering::SeqCst)))
    };
    let open = async |settings| filesystem::s3::S3Filesystem::open(settings, Runtime::system()).await.expect("root");
    conformance::run_all(async || shared(open(fresh()).await)).await;
    conformance::run_all_flaky(async || shared(open(fresh()).await)).await;

    let role = Role { sts_endpoint: Some(moto.endpoint()), ..Role::new("arn:aws:iam::123456789012:role/data") };
    let folder = tempfile::tempdir().expect("folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "a.b.c").expect("file");
    for credentials in [
        Credentials::AssumeRole { source: Box::new(keys(KEY.0, KEY.1)), role: role.clone() },
        Credentials::WebIdentity { token_file, role },
    ] {
        let fs = open(S3Settings { credentials, one_put_bytes: 1 << 20, ..fresh() }).await;
        assert_eq!(fs.put_if_absent("x", "1".into()).await.expect("put"), PutOutcome::Created);
        assert_eq!(fs.requests().sent(Kind::Token), 1);
        let data: Vec<u8> = (0..11_000_000u32).map(|i| (i / 7) as u8).collect();
        let mut writer = fs.create_blob("big").await.expect("create");
        for piece in data.chunks(1_000_000) {
            writer.write(piece.to_vec().into()).await.expect("write");
        }
        writer.finish().await.expect("finish");
        assert_eq!(all(&fs, "big").await, data);
        assert_eq!(fs.rename("big", "moved").await.expect("rename"), PutOutcome::Created);
        assert_eq!(fs.size("moved").await.expect("size"), Some(data.len() as u64));
        fs.put_if_absent("empty", "".into()).await.expect("put");
        let open = fs.open("empty").await.expect("open");
        assert_eq!(open.read_at(0, 1).await.expect("read"), "");
    }
}
