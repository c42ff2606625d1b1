//! Keys: each used where it belongs, renewed before and at their end.

use std::time::Duration;

use ferrobase_s3_fixture::{Fault, KEY, Rule};
use filesystem::s3::requests::Kind;
use filesystem::s3::{Credentials, Role, S3Settings};
use filesystem::{ErrorKind, Filesystem, PutOutcome};

use crate::rig::*;

fn role(rig: &Rig, arn: &str) -> Role {
    Role { sts_endpoint: Some(rig.server.endpoint()), ..Role::new(arn) }
}

fn taking(rig: &Rig, arn: &str) -> Credentials {
    Credentials::AssumeRole { source: Box::new(keys(KEY.0, KEY.1)), role: role(rig, arn) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_prefixes_with_two_roles() {
    let rig = Rig::new().await;
    rig.server.grant("arn:data", "roots/data");
    rig.server.grant("arn:log", "roots/log");
    let at = |prefix: &str, arn: &str| S3Settings {
        credentials: taking(&rig, arn),
        ..settings(&rig.server.endpoint(), prefix)
    };
    let (data, log) = (rig.open(at("roots/data", "arn:data")).await, rig.open(at("roots/log", "arn:log")).await);
    data.put_if_absent("x", "1".into()).await.expect("put");
    log.put_if_absent("x", "2".into()).await.expect("put");
    let mut used = std::collections::BTreeMap::<_, std::collections::BTreeSet<_>>::new();
    for entry in rig.server.take_log() {
        if entry.kind != "token" {
            let root = entry.key.split('/').nth(1).expect("root").to_owned();
            used.entry(entry.access_key).or_default().insert(root);
        }
    }
    assert_eq!(used.len(), 2, "one key for each: {used:?}");
    assert!(used.values().all(|roots| roots.len() == 1), "each on its prefix: {used:?}");
    let wrong = filesystem::s3::S3Filesystem::open(at("roots/data", "arn:log"), runtime::Runtime::system()).await;
    assert_eq!(wrong.expect_err("not its prefix").kind(), ErrorKind::Denied);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_expire_amid_an_upload_are_renewed_without_an_error() {
    let rig = Rig::new().await;
    let credentials = taking(&rig, "arn:r");
    let fs = rig.open(S3Settings { credentials, one_put_bytes: 0, part_bytes: 5 << 20, ..rig.fresh() }).await;
    let mut writer = fs.create_blob("big").await.expect("create");
    for _ in 0..3 {
        writer.write(vec![7; 5 << 20].into()).await.expect("write");
        rig.server.expire_roles();
    }
    assert_eq!(writer.finish().await.expect("finish"), 15 << 20);
    rig.server.expire_roles();
    assert_eq!(fs.put_if_absent("x", "1".into()).await.expect("put"), PutOutcome::Created);
    let refused = rig.server.take_log().iter().filter(|entry| entry.status == 400).count();
    assert!(refused >= 2, "they did expire");
    assert!(fs.requests().sent(Kind::Token) >= 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_renewed_before_they_expire() {
    let rig = Rig::new().await;
    rig.server.limit_role_life(Duration::from_secs(2));
    let fs = rig.open(S3Settings { credentials: taking(&rig, "arn:r"), ..rig.fresh() }).await;
    let mut n = 0;
    while fs.requests().sent(Kind::Token) < 3 {
        fs.put_if_absent(&format!("x/{n}"), "1".into()).await.expect("put");
        n += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(n < 3000, "keys are never renewed");
    }
    assert!(rig.server.take_log().iter().all(|entry| entry.status != 400), "none was used after its end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_file_and_a_profile_lead_to_keys() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().expect("folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "a.b.c\n").expect("file");
    let credentials = Credentials::WebIdentity { token_file, role: role(&rig, "arn:web") };
    rig.open(S3Settings { credentials, ..rig.fresh() }).await;

    let config = folder.path().join("config");
    let text = format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={}\n[profile r]\nrole_arn=arn:p\nsource_profile=default\n",
        KEY.0, KEY.1
    );
    std::fs::write(&config, text).expect("file");
    for (profile, tokens) in [("default", 0), ("r", 1)] {
        let credentials = Credentials::Profile {
            credentials_file: folder.path().join("absent"),
            config_file: config.clone(),
            profile: profile.to_owned(),
            sts_endpoint: Some(rig.server.endpoint()),
        };
        let fs = rig.open(S3Settings { credentials, ..rig.fresh() }).await;
        assert_eq!(fs.requests().sent(Kind::Token), tokens);
    }
    let credentials = Credentials::Profile {
        credentials_file: folder.path().join("absent"),
        config_file: config,
        profile: "nobody".to_owned(),
        sts_endpoint: None,
    };
    let settings = S3Settings { credentials, deadline: Duration::from_millis(200), ..rig.fresh() };
    let error = filesystem::s3::S3Filesystem::open(settings, runtime::Runtime::system()).await.expect_err("no profile");
    assert!(error.to_string().contains("no such profile. profile=`nobody`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_is_refused_is_an_error_that_names_it() {
    let rig = Rig::new().await;
    rig.server.set_rules(vec![Rule::every("token", Fault::Answer { status: 403, code: "AccessDenied".into() })]);
    let deadline = Duration::from_millis(300);
    let settings = S3Settings { credentials: taking(&rig, "arn:no"), deadline, ..rig.fresh() };
    let error = filesystem::s3::S3Filesystem::open(settings, runtime::Runtime::system()).await.expect_err("no role");
    assert!(error.to_string().contains("role=`arn:no`") && error.to_string().contains("403"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machines_role_is_used_and_fetched_again_when_it_expires() {
    let rig = Rig::new().await;
    rig.server.grant("machine", "");
    let credentials = Credentials::Instance { endpoint: Some(rig.server.endpoint()) };
    let fs = rig.open(S3Settings { credentials, ..rig.fresh() }).await;
    rig.server.expire_roles();
    fs.put_if_absent("x", "1".into()).await.expect("put");
    let log = rig.server.take_log();
    assert_eq!(log.iter().filter(|entry| entry.status == 400).count(), 1, "they did expire");
    assert!(log.iter().all(|entry| entry.access_key.starts_with("ASIA")));
}
