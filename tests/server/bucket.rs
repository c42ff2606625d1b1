//! A server whose data and log lie in a bucket: what it asks of the store, who else may start, and what wrong settings say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use ferrobase_s3_fixture::{Fault, KEY, Rule, Server as Bucket};
use ferrobase_tests::process::{Server, binary};

use super::start::http;
use super::{ferrobase, said};

pub const DATA: &str = "s3://ferrobase/root";

/// A store in a folder, with the bucket that these tests use.
pub async fn a_bucket(folder: &Path) -> Bucket {
    let bucket = Bucket::start(folder).await.expect("the store starts");
    bucket.make_bucket("ferrobase").expect("a bucket");
    bucket
}

pub fn environment(bucket: &Bucket) -> [(&'static str, String); 4] {
    [
        ("AWS_ENDPOINT_URL", bucket.endpoint()),
        ("AWS_ACCESS_KEY_ID", KEY.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEY.1.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

pub fn start(bucket: &Bucket, beside: &Path) -> Server {
    let environment = environment(bucket);
    let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start_over(DATA, beside, &["--http-port", "0"], &environment)
}

/// Runs `ferrobase` to its end with these settings for the bucket; it runs aside, for the bucket lives in this process.
pub async fn run(environment: Vec<(&'static str, String)>, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).envs(environment).current_dir(folder).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("ferrobase starts")).await.expect("it ran")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_served_without_listing_and_its_requests_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let bucket = a_bucket(&folder.join("store")).await;
    let server = start(&bucket, &folder.join("one"));
    let connect = format!("127.0.0.1:{}", server.port);
    bucket.take_log();
    let script = "create 't', 'f', SPLITS => ['m']; put 't', 'a', 'f:q', '1'; put 't', 'x', 'f:q', '2'; flush 't'; \
                  put 't', 'a', 'f:q', '3'; flush 't'; major_compact 't'; put 't', 'b', 'f:q', '4'; scan 't'";
    let wrote = ferrobase(folder, &["shell", "--connect", &connect, "-c", script]);
    assert!(wrote.status.success() && said(&wrote).0.contains("3 row(s)"), "{:?}", said(&wrote));
    let held = bucket.take_log();
    let of_kind = |kind: &str| held.iter().filter(|entry| entry.kind == kind).count();
    assert!(of_kind("put") > 10, "{held:?}");
    let listed: Vec<_> =
        held.iter().filter(|entry| ["list", "list-uploads", "copy"].contains(&entry.kind.as_str())).collect();
    assert!(listed.is_empty(), "serving lists and renames nothing: {listed:?}");
    let metrics = http(server.told["http_port"].as_u64().expect("a port"), "/metrics").1;
    for wanted in ["part=\"table:default:t\",kind=\"put\"", "part=\"log\",kind=\"put\"", "part=\"manifests\""] {
        assert!(metrics.contains(&format!("ferrobase_s3_requests_total{{{wanted}")), "{wanted}: {metrics}");
    }

    // Nobody else may start, and anybody may look.
    let all = || environment(&bucket).to_vec();
    let second = ["standalone", "--data", DATA, "--port", "0", "--http-port", "off"];
    let output = run(all(), folder, &second).await;
    assert_eq!(output.status.code(), Some(5), "{:?}", said(&output));
    assert!(said(&output).1.contains(&connect), "{:?}", said(&output));
    let output = run(all(), folder, &["fsck", "--data", DATA, "--deep"]).await;
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));

    // After a kill the next one is up without asking anybody for names, and has everything.
    server.kill();
    let server = start(&bucket, &folder.join("two"));
    // The root says where its server is.
    let read = run(all(), folder, &["shell", "--connect", DATA, "-c", "get 't', 'a'; get 't', 'b'"]).await;
    assert!(said(&read).0.contains("value=3") && said(&read).0.contains("value=4"), "{:?}", said(&read));
    assert_eq!(server.stop(), Some(0), "a graceful end");

    // What the store refuses is said with what can be done about it.
    for (status, code, hint) in [
        (403, "AccessDenied", "s3:PutObject"),
        (403, "RequestTimeTooSkewed", "set the clock"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
        (501, "NotImplemented", "does not implement"),
    ] {
        bucket.set_rules(vec![Rule::every("put", Fault::Answer { status, code: code.to_owned() })]);
        let output = run(all(), folder, &second).await;
        assert_eq!(output.status.code(), Some(2), "{code}: {:?}", said(&output));
        for word in [code, hint, DATA] {
            assert!(said(&output).1.contains(word), "{code}: {word}: {:?}", said(&output));
        }
    }
    bucket.set_rules(Vec::new());

    // Wrong settings say what to do, and leave nothing behind.
    let mut wrong_secret = all();
    wrong_secret[2].1 = "wrong".to_owned();
    bucket.ignore_conditions(true);
    let output = run(all(), folder, &second).await;
    assert!(output.status.code() == Some(2) && said(&output).1.contains("condition"), "{:?}", said(&output));
    bucket.ignore_conditions(false);
    for (environment, data, hint) in
        [(wrong_secret, DATA, "SignatureDoesNotMatch"), (all(), "s3://nosuchbucket/root", "bucket")]
    {
        let arguments = ["standalone", "--data", data, "--port", "0", "--http-port", "off"];
        for arguments in [&arguments[..], &["shell", "--connect", data, "-c", "list"]] {
            let output = run(environment.clone(), folder, arguments).await;
            assert_eq!(output.status.code(), Some(2), "{arguments:?}: {:?}", said(&output));
            assert!(said(&output).1.contains(hint), "{arguments:?}: {:?}", said(&output));
        }
    }
    let output = run(all(), folder, &["shell", "--connect", "s3://ferrobase/elsewhere", "-c", "list"]).await;
    assert!(output.status.code() == Some(4) && said(&output).1.contains("holds no store"), "{:?}", said(&output));
}

/// What another root would take for its own, and what only looks like a bucket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_root_inside_another_and_half_a_url_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = a_bucket(&folder.path().join("store")).await;
    let server = start(&bucket, &folder.path().join("one"));
    for (data, hint) in [
        ("s3://ferrobase/root/inner", "lies inside the data root s3://ferrobase/root"),
        ("s3://ferrobase/root/ferrobase/log/", "lies inside the data root s3://ferrobase/root"),
        ("s3:/ferrobase/other", "two slashes"),
    ] {
        let arguments = ["standalone", "--data", data, "--port", "0", "--http-port", "off"];
        let output = run(environment(&bucket).to_vec(), folder.path(), &arguments).await;
        assert_eq!(output.status.code(), Some(2), "{data}: {:?}", said(&output));
        assert!(said(&output).1.contains(hint), "{data}: {:?}", said(&output));
    }
    assert_eq!(server.stop(), Some(0));
    assert!(!folder.path().join("s3:").exists(), "no folder has this name");
}

/// The log's own bytes, which nothing reads until a region needs them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fsck_reads_the_log_of_a_dead_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let bucket = a_bucket(&folder.join("store")).await;
    let server = start(&bucket, &folder.join("one"));
    let connect = format!("127.0.0.1:{}", server.port);
    let script = format!("create 't', 'f'; put 't', 'a', 'f:q', '{}'", "long ".repeat(20_000));
    let wrote = ferrobase(folder, &["shell", "--connect", &connect, "-c", &script]);
    assert!(wrote.status.success(), "{:?}", said(&wrote));
    server.kill();
    let fsck = async || run(environment(&bucket).to_vec(), folder, &["fsck", "--data", DATA, "--deep"]).await;
    let sound = fsck().await;
    assert_eq!(sound.status.code(), Some(0), "{:?}", said(&sound));
    let pieces = folder.join("store/objects/ferrobase/root/ferrobase/log");
    let streams = std::fs::read_dir(&pieces).expect("a log").flatten();
    let pieces = streams.filter_map(|stream| std::fs::read_dir(stream.path().join("p")).ok()).flatten().flatten();
    let long =
        pieces.map(|piece| piece.path()).find(|piece| std::fs::metadata(piece).is_ok_and(|it| it.len() > 100_000));
    let long = long.expect("the piece of the long value");
    let mut data = std::fs::read(&long).expect("read");
    data[90_000] ^= 1;
    std::fs::write(&long, data).expect("damaged");
    let damaged = fsck().await;
    assert_eq!(damaged.status.code(), Some(1), "{:?}", said(&damaged));
    let name = long.file_name().and_then(|name| name.to_str()).expect("a name").trim_end_matches('~');
    assert!(said(&damaged).0.contains(name) && said(&damaged).0.contains("not sound"), "{:?}", said(&damaged));
}

/// Data and log below two prefixes, a role for each, named on the command line; their keys end while the server writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_roles_serve_two_prefixes_and_their_keys_are_renewed() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let bucket = a_bucket(&folder.join("store")).await;
    let roles = ["root", "log"].map(|prefix| (prefix, format!("arn:aws:iam::123456789012:role/{prefix}")));
    for (prefix, role) in &roles {
        bucket.grant(role, &format!("{prefix}/"));
    }
    let without = ["standalone", "--data", DATA, "--port", "0", "--http-port", "off"];
    let output = run(environment(&bucket).to_vec(), folder, &without).await;
    assert!(output.status.code() == Some(2) && said(&output).1.contains("AccessDenied"), "{:?}", said(&output));
    bucket.take_log();

    let variables = environment(&bucket);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let signers = roles.map(|(prefix, role)| format!("s3://ferrobase/{prefix}=role:{role}")).join(",");
    let flags = ["--wal", "s3://ferrobase/log", "--s3-credentials", &signers];
    let server = Server::start_over(DATA, &folder.join("one"), &flags, &variables);
    let connect = format!("127.0.0.1:{}", server.port);
    let shell = |script: &str| ferrobase(folder, &["shell", "--connect", &connect, "-c", script]);
    assert!(shell("create 't', 'f'").status.success());
    for round in 0..3 {
        bucket.expire_roles();
        let wrote = shell(&format!("put 't', 'a', 'f:q', '{round}'; flush 't'"));
        assert!(wrote.status.success(), "{:?}", said(&wrote));
    }
    assert_eq!(server.stop(), Some(0), "a graceful end");
    let mut used = BTreeMap::<String, BTreeSet<String>>::new();
    for entry in bucket.take_log() {
        let prefix = if entry.kind == "token" { "token" } else { entry.key.split('/').next().unwrap_or_default() };
        used.entry(entry.access_key).or_default().insert(prefix.to_owned());
    }
    assert!(used.values().all(|prefixes| prefixes.len() == 1), "each key on its prefix alone: {used:?}");
    assert!(used[KEY.0].contains("token"), "{used:?}");
    for prefix in ["root", "log"] {
        let keys = used.values().filter(|prefixes| prefixes.contains(prefix)).count();
        assert!(keys >= 4, "one at the start and one for each that ended, at {prefix}: {used:?}");
    }
}
