//! What is wrong with a store, an address, a key or a clock is said at opening, in words that help.

use std::time::Duration;

use ferrobase_s3_fixture::{Fault, KEY, Rule};
use filesystem::s3::{Encryption, S3Filesystem, S3Settings};
use filesystem::{ErrorKind, Filesystem};
use runtime::Runtime;

use crate::rig::*;

async fn refused(settings: S3Settings, kind: ErrorKind, words: &[&str]) {
    let start = std::time::Instant::now();
    let error = S3Filesystem::open(settings, Runtime::system()).await.expect_err("refused");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{word}` is not in: {error}");
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_conditions_is_refused() {
    let rig = Rig::new().await;
    rig.server.ignore_conditions(true);
    let words = ["ignores the conditions", "cannot be used", &rig.server.endpoint()];
    refused(rig.fresh(), ErrorKind::Invalid, &words).await;
    rig.server.ignore_conditions(false);
    let fs = rig.open(rig.fresh()).await;
    assert!(fs.list("ferrobase").await.expect("list").is_empty(), "the probe leaves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_named() {
    let rig = Rig::new().await;
    let bucket = S3Settings { bucket: "nowhere".into(), ..rig.fresh() };
    refused(bucket, ErrorKind::Invalid, &["NoSuchBucket", "create the bucket"]).await;
    let unknown = S3Settings { credentials: keys("nobody", "x"), ..rig.fresh() };
    refused(unknown, ErrorKind::Denied, &["InvalidAccessKeyId", "does not know"]).await;
    let wrong = S3Settings { credentials: keys(KEY.0, "x"), ..rig.fresh() };
    refused(wrong, ErrorKind::Denied, &["SignatureDoesNotMatch", "secret key"]).await;
    let answer = |status, code: &str| Rule::every("put", Fault::Answer { status, code: code.into() });
    for (rule, kind, words) in [
        (answer(403, "AccessDenied"), ErrorKind::Denied, ["AccessDenied", "s3:PutObject"]),
        (answer(403, "RequestTimeTooSkewed"), ErrorKind::Denied, ["RequestTimeTooSkewed", "set the clock"]),
        (answer(301, "PermanentRedirect"), ErrorKind::Invalid, ["PermanentRedirect", "AWS_REGION"]),
        (answer(400, "AuthorizationHeaderMalformed"), ErrorKind::Invalid, ["another region", "AWS_REGION"]),
        (answer(501, "NotImplemented"), ErrorKind::Invalid, ["NotImplemented", "does not implement"]),
        (answer(507, "QuotaExceeded"), ErrorKind::Full, ["QuotaExceeded", "507"]),
    ] {
        rig.server.set_rules(vec![rule]);
        refused(rig.fresh(), kind, &words).await;
    }
    rig.server.set_rules(Vec::new());
    let silent = S3Settings { deadline: Duration::from_millis(500), ..settings("http://127.0.0.1:1", "p") };
    refused(silent, ErrorKind::Unavailable, &["no connection", "endpoint"]).await;
    let clear = S3Settings { allow_http: false, ..rig.fresh() };
    refused(clear, ErrorKind::Invalid, &["in the clear", "--s3-allow-http"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_fault_at_opening_is_ridden_out() {
    let rig = Rig::new().await;
    for fault in [Fault::LoseAnswer, Fault::Cut, Fault::Answer { status: 503, code: "SlowDown".into() }] {
        rig.server.set_rules(vec![Rule { percent: 30, times: 10, ..Rule::every("", fault) }]);
        rig.open(rig.fresh()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encryption_is_asked_for_with_every_object() {
    let rig = Rig::new().await;
    let kms = Encryption::Kms { key_id: Some("key".into()), bucket_key: true };
    for (encryption, expected) in [(Encryption::Bucket, None), (Encryption::S3, Some("AES256")), (kms, Some("aws:kms"))]
    {
        let settings = S3Settings { encryption, one_put_bytes: 10, ..rig.fresh() };
        let prefix = settings.prefix.clone();
        let fs = rig.open(settings).await;
        fs.put_if_absent("a", "1".into()).await.expect("put");
        fs.register_create("r", "h", "b".into()).await.expect("create");
        let mut writer = fs.create_blob("b").await.expect("create");
        writer.write(vec![1; 100].into()).await.expect("write");
        writer.finish().await.expect("finish");
        for key in ["a", "b", "r.reg"] {
            let found = rig.server.encryption_of(BUCKET, &format!("{prefix}/{key}"));
            assert_eq!(found.as_deref(), expected, "{key}");
        }
    }
}
