//! Lost answers, a NameNode that is away or in safe mode, and what an operator reads of mistakes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrobase_hadoop_fixture::shared;
use filesystem::hdfs::{HdfsFilesystem, HdfsSettings};
use filesystem::{CreateOutcome, ErrorKind, Filesystem, LogOutcome, PutOutcome, SwapOutcome};
use runtime::Runtime;

use crate::conformance::raw;
use crate::proxy::{Loss, Proxy};
use crate::{open, settings};

/// The NameNode has done what was asked and nobody hears of it: the outcome is found out, and nothing happens twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_found_out() {
    let hdfs = shared();
    let proxy = Proxy::start(hdfs.rpc_port(0)).await;
    let direct = settings(&hdfs);
    let url = direct.url.replace(&format!(":{}/", hdfs.rpc_port(0)), &format!(":{}/", proxy.port));
    let fs = open(HdfsSettings { url, rpc_timeout: Duration::from_millis(800), ..direct.clone() }).await;
    let judge = open(direct).await;
    for (i, loss) in [Loss::Cut, Loss::Mute].into_iter().enumerate() {
        let CreateOutcome::Created(first) = ({
            proxy.lose("rename2", loss);
            fs.register_create(&format!("r/{i}"), "1", "one".into()).await.expect("create")
        }) else {
            panic!("{loss:?}: it was new")
        };
        proxy.lose("rename2", loss);
        let SwapOutcome::Swapped(second) = fs.register_swap(&format!("r/{i}"), &first, "2", None).await.expect("swap")
        else {
            panic!("{loss:?}: nobody else swaps")
        };
        proxy.lose("rename2", loss);
        let body = Some(Bytes::from("three"));
        let swapped = fs.register_swap(&format!("r/{i}"), &second, "3", body).await.expect("swap");
        assert!(matches!(swapped, SwapOutcome::Swapped(_)), "{loss:?}");
        let value = judge.register_read(&format!("r/{i}")).await.expect("read").expect("exists");
        assert_eq!((value.head.as_str(), &value.body[..]), ("3", &b"three"[..]));
        // A lost race and a lost answer look the same to the second try.
        proxy.lose("rename2", loss);
        let late = fs.register_swap(&format!("r/{i}"), &first, "late", None).await.expect("swap");
        assert!(matches!(late, SwapOutcome::Superseded(Some(found)) if found.head == "3"), "{loss:?}");

        let blob = format!("b/{i}");
        proxy.lose("rename2", loss);
        assert_eq!(fs.put_if_absent(&blob, "mine".into()).await.expect("put"), PutOutcome::Created);
        proxy.lose("rename2", loss);
        assert_eq!(fs.put_if_absent(&blob, "late".into()).await.expect("put"), PutOutcome::Exists);
        assert_eq!(judge.read_at(&blob, 0, 10).await.expect("read"), "mine");
        proxy.lose("rename2", loss);
        assert_eq!(fs.rename(&blob, &format!("moved/{i}")).await.expect("rename"), PutOutcome::Created);
        for method in ["create", "addBlock", "complete", "mkdirs", "fsync"] {
            proxy.lose(method, loss);
            let name = format!("c/{i}/{method}");
            assert_eq!(fs.put_if_absent(&name, "mine".into()).await.expect(method), PutOutcome::Created, "{method}");
            assert_eq!(judge.read_at(&name, 0, 10).await.expect(method), "mine");
        }
        proxy.lose("delete", loss);
        fs.delete(&format!("moved/{i}")).await.expect("delete");
        assert_eq!(judge.size(&format!("moved/{i}")).await.expect("look"), None);

        proxy.lose("rename2", loss);
        let log = format!("l/{i}");
        let LogOutcome::Created(mut writer) = fs.log_begin(&log, "head".into()).await.expect("begin") else {
            panic!("{loss:?}: it was new")
        };
        writer.append("more".into()).await.expect("append");
        if loss == Loss::Cut {
            writer.sync().await.expect("sync");
            // A sync in doubt ruins the writer; what was synced before stays.
            proxy.lose("fsync", loss);
            writer.append("doubt".into()).await.expect("append");
        }
        // A connection that went mute has taken its writer with it.
        assert_eq!(writer.sync().await.expect_err("no answer").kind(), ErrorKind::Unknown);
        assert!(writer.append("again".into()).await.is_err(), "a spoilt writer takes nothing");
        proxy.lose("recoverLease", loss);
        let len = fs.log_seal(&log).await.expect("seal").expect("exists");
        let data = judge.read_at(&log, 0, 100).await.expect("read");
        assert!(
            data.starts_with(if loss == Loss::Cut { &b"headmore"[..] } else { b"head" }) && data.len() as u64 == len,
            "{data:?} {len}"
        );
        assert!(matches!(fs.log_begin(&log, "x".into()).await.expect("begin"), LogOutcome::Exists));
        proxy.lose("create", loss);
        match fs.log_create(&format!("l/created-{i}")).await {
            // The connection was cut before the request got through, by the answer to another one.
            Ok(LogOutcome::Created(mut writer)) => {
                writer.append("x".into()).await.expect("append");
                writer.sync().await.expect("it is this one");
            }
            Ok(LogOutcome::Exists) => panic!("it did not exist"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unknown),
        }
    }
    assert!(proxy.lost() >= 27, "only {} answers were lost", proxy.lost());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_mode_and_a_restarted_namenode_are_waited_for() {
    let mut hdfs = shared();
    let fs = open(settings(&hdfs)).await;
    let short = open(HdfsSettings { deadline: Duration::from_millis(300), ..settings(&hdfs) }).await;
    let CreateOutcome::Created(version) = fs.register_create("r", "1", "one".into()).await.expect("create") else {
        panic!("new")
    };
    let LogOutcome::Created(mut log) = fs.log_begin("l/1", "head".into()).await.expect("begin") else { panic!("new") };
    hdfs.safe_mode(true);
    let error = short.put_if_absent("b", "x".into()).await.expect_err("safe mode");
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("safe mode"), "{error}");
    assert_eq!(fs.register_read("r").await.expect("reads go on").expect("exists").head, "1");
    let waiting = {
        let (fs, version) = (fs.clone(), version.clone());
        tokio::spawn(async move { fs.register_swap("r", &version, "2", Some("two".into())).await })
    };
    hdfs.safe_mode(false);
    assert!(matches!(waiting.await.expect("task").expect("swap"), SwapOutcome::Swapped(_)));

    // What is under way when the NameNode dies is done when it is back, or told to be in doubt.
    hdfs.kill_namenode(0);
    let waiting = {
        let fs = fs.clone();
        tokio::spawn(async move { fs.put_if_absent("later", "x".into()).await })
    };
    let error = short.register_read("r").await.expect_err("no NameNode");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    log.append("lost".into()).await.expect("goes to the DataNodes");
    assert!(log.sync().await.is_err(), "the NameNode does not know of it");
    hdfs.restart_namenode(0);
    hdfs.wait_live(3);
    assert_eq!(waiting.await.expect("task").expect("put"), PutOutcome::Created);
    assert_eq!(fs.register_read("r").await.expect("read").expect("exists").body, "two");
    let LogOutcome::Created(mut next) = fs.log_begin("l/2", "head".into()).await.expect("begin") else { panic!("new") };
    next.append("goes on".into()).await.expect("append");
    next.sync().await.expect("sync");
    assert!(fs.log_seal("l/1").await.expect("seal").expect("exists") >= 4);
    assert!(fs.read_at("l/1", 0, 100).await.expect("read").starts_with(b"head"));
}

/// A NameNode that takes connections and answers nothing stalls every call of the crate for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_namenode_stalls_nobody_for_ever() {
    let hdfs = shared();
    let quick = HdfsSettings {
        rpc_timeout: Duration::from_millis(300),
        deadline: Duration::from_millis(900),
        ..settings(&hdfs)
    };
    let fs = open(quick).await;
    fs.register_create("r", "1", Bytes::new()).await.expect("create");
    hdfs.pause_namenode(0);
    let begun = Instant::now();
    let error = fs.register_read("r").await.expect_err("mute");
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("no answer"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    hdfs.resume_namenode(0);
    let back = Instant::now();
    while fs.register_read("r").await.is_err() {
        assert!(back.elapsed() < Duration::from_secs(60), "it answers again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_named() {
    let hdfs = shared();
    let root = settings(&hdfs);
    open(root.clone()).await;
    let runtime = Runtime::system();
    let refused = async |settings: HdfsSettings| match HdfsFilesystem::open(settings, &runtime).await {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    };
    // Somebody else's folder.
    let error = refused(HdfsSettings { user: Some("mallory".into()), ..root.clone() }).await;
    assert!(error.kind() == ErrorKind::Denied && error.to_string().contains("mallory"), "{error}");
    // Nobody listens there.
    let away = HdfsSettings {
        url: "hdfs://127.0.0.1:1/x".into(),
        deadline: Duration::from_millis(500),
        rpc_timeout: Duration::from_millis(400),
        ..root.clone()
    };
    let error = refused(away).await;
    assert!(error.kind() == ErrorKind::Unavailable && error.to_string().contains("127.0.0.1:1"), "{error}");
    // A name service that the configuration does not know is taken for a host.
    let unknown = HdfsSettings {
        url: "hdfs://no-such-service/x".into(),
        deadline: Duration::from_millis(500),
        rpc_timeout: Duration::from_millis(400),
        ..root.clone()
    };
    let error = refused(unknown).await;
    assert!(error.to_string().contains("no-such-service:8020"), "{error}");
    // No room: a quota of one byte of space.
    let full = settings(&hdfs);
    let raw = raw(&full);
    raw.client.mkdirs(raw.path("").trim_end_matches('/'), 0o755, true).await.expect("a folder");
    hdfs.admin(&["-setSpaceQuota", "1", raw.path("").trim_end_matches('/')]);
    let error = refused(full).await;
    assert!(error.kind() == ErrorKind::Full && error.to_string().contains("Quota"), "{error}");
}
