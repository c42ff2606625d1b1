//! The same against moto, which nobody here wrote.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrobase_s3_fixture::{Fault, KEY, Moto, Rule, Server};
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

/// moto gives the roles and keeps the objects; what stands before it sees which key is used where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_of_two_roles_is_used_on_its_prefix_alone() {
    let (moto, folder) = (Moto::start().expect("moto"), tempfile::tempdir().expect("folder"));
    moto.make_bucket(BUCKET).await.expect("bucket");
    let proxy = Server::before(moto.address(), folder.path()).await.expect("proxy");
    let open = async |prefix: &str| {
        let arn = format!("arn:aws:iam::123456789012:role/{prefix}");
        let role = Role { sts_endpoint: Some(proxy.endpoint()), ..Role::new(&arn) };
        let credentials = Credentials::AssumeRole { source: Box::new(keys(KEY.0, KEY.1)), role };
        let settings = S3Settings { credentials, one_put_bytes: 0, ..settings(&proxy.endpoint(), prefix) };
        filesystem::s3::S3Filesystem::open(settings, Runtime::system()).await.expect("root")
    };
    let (data, log) = (open("data").await, open("log").await);
    // The keys of both end amid what they write.
    let expired = || Fault::Answer { status: 400, code: "ExpiredToken".into() };
    let ends = |kind, prefix: &str| Rule::once(kind, expired()).on(prefix);
    proxy.set_rules(vec![ends("upload-part", "data/"), ends("upload-complete", "data/"), ends("put", "log/")]);
    let mut writer = data.create_blob("big").await.expect("create");
    for _ in 0..2 {
        writer.write(vec![7; 8 << 20].into()).await.expect("write");
    }
    assert_eq!(writer.finish().await.expect("finish"), 16 << 20);
    assert_eq!(log.put_if_absent("x", "2".into()).await.expect("put"), PutOutcome::Created);
    let mut used = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
    let seen = proxy.take_log();
    for entry in &seen {
        let prefix = if entry.kind == "token" { "token" } else { entry.key.split('/').next().expect("a prefix") };
        used.entry(entry.access_key.as_str()).or_default().insert(prefix);
    }
    assert_eq!(seen.iter().filter(|entry| entry.fault.is_some()).count(), 3, "keys did end: {used:?}");
    assert_eq!(used.len(), 6, "the key that takes roles, three for the data and two for the log: {used:?}");
    assert!(used.values().all(|prefixes| prefixes.len() == 1), "each on its prefix: {used:?}");
    assert_eq!(used[KEY.0].first(), Some(&"token"), "{used:?}");
}
