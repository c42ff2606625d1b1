//! Each request kind × each fault: what was acknowledged is there, nothing hangs, every error says what it is.

use std::time::{Duration, Instant};

use ferrobase_s3_fixture::{Fault, Rule};
use filesystem::s3::S3Settings;
use filesystem::{CreateOutcome, Error, ErrorKind, Filesystem, PutOutcome, Result, SwapOutcome};
use futures::StreamExt;

use crate::rig::*;

const DEADLINE: Duration = Duration::from_millis(1500);

fn faults() -> Vec<Fault> {
    let answer = |status, code: &str| Fault::Answer { status, code: code.into() };
    vec![
        answer(500, "InternalError"),
        answer(503, "SlowDown"),
        answer(429, ""),
        answer(409, "ConditionalRequestConflict"),
        answer(412, "PreconditionFailed"),
        Fault::DoneAnswer { status: 500, code: "InternalError".into() },
        Fault::DoneAnswer { status: 503, code: "ServiceUnavailable".into() },
        Fault::LoseAnswer,
        Fault::Cut,
        Fault::Delay { ms: 300 },
        Fault::Hold,
        Fault::ShortBody,
        Fault::CorruptBody,
        Fault::SlowClose { ms: 300 },
    ]
}

const KINDS: [&str; 11] = [
    "get",
    "head",
    "put",
    "delete",
    "copy",
    "list",
    "list-uploads",
    "upload-create",
    "upload-part",
    "upload-complete",
    "upload-abort",
];

/// What one round does and how it ended.
struct Round {
    fs: filesystem::s3::S3Filesystem,
    /// Set while a fault may hit.
    strict: bool,
    what: String,
}

impl Round {
    /// An operation's end: bounded, and if it failed, named.
    async fn op<T>(&self, name: &str, operation: impl Future<Output = Result<T>>) -> Option<T> {
        let start = Instant::now();
        let ended = tokio::time::timeout(DEADLINE * 4, operation).await;
        let what = &self.what;
        let ended = ended.unwrap_or_else(|_| panic!("{what}: {name} hangs"));
        assert!(start.elapsed() < DEADLINE * 2 + Duration::from_secs(1), "{what}: {name} took {:?}", start.elapsed());
        match ended {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(!self.strict, "{what}: {name} failed without a fault: {error}");
                self.named(name, &error);
                None
            }
        }
    }

    fn named(&self, name: &str, error: &Error) {
        let known = [
            ErrorKind::Unavailable,
            ErrorKind::Busy,
            ErrorKind::Unknown,
            ErrorKind::Corrupt,
            ErrorKind::NotFound,
            ErrorKind::Exists,
        ];
        assert!(known.contains(&error.kind()), "{}: {name}: {error}", self.what);
        let text = error.to_string();
        assert!(text.len() > 20 && text.contains("path=`"), "{}: {name}: {text}", self.what);
    }

    /// Writes everything there is to write; answers what was acknowledged.
    async fn write(&self, n: usize) -> Vec<(String, Vec<u8>)> {
        let mut acknowledged = Vec::new();
        let path = format!("p/{n}");
        let small = vec![n as u8; 1000];
        match self.op("put", self.fs.put_if_absent(&path, small.clone().into())).await {
            Some(PutOutcome::Created) => acknowledged.push((path, small)),
            Some(PutOutcome::Exists) => panic!("{}: a fresh name is not taken", self.what),
            None => {}
        }
        let path = format!("b/{n}");
        let large: Vec<u8> = (0..300_000u32).map(|i| (i as usize * 31 + n) as u8).collect();
        let done = self.op("blob", async {
            let mut writer = self.fs.create_blob(&path).await?;
            for piece in large.chunks(1 << 20) {
                writer.write(piece.to_vec().into()).await?;
            }
            writer.finish().await
        });
        if let Some(len) = done.await {
            assert_eq!(len, large.len() as u64, "{}", self.what);
            acknowledged.push((path, large));
        }
        let path = format!("a/{n}");
        let given_up = self.op("abort", async {
            let mut writer = self.fs.create_blob(&path).await?;
            writer.write("12".into()).await?;
            writer.abort().await;
            Ok(())
        });
        given_up.await;
        acknowledged
    }

    async fn check(&self, acknowledged: &[(String, Vec<u8>)]) {
        for (path, data) in acknowledged {
            let read = self.op("read", self.fs.read_at(path, 0, data.len() + 1)).await;
            if let Some(read) = read {
                // What came up in parts has no checksum of its own: the formats above have theirs.
                let unchecked = !self.strict && self.what.starts_with("get × CorruptBody") && path.starts_with("b/");
                assert!(read == data || unchecked, "{}: {path} is not what was written", self.what);
            }
            let opened = self.op("open", async { self.fs.open(path).await?.read_at(0, 10).await }).await;
            if let Some(read) = opened {
                let unchecked = !self.strict && self.what.starts_with("get × CorruptBody") && path.starts_with("b/");
                assert!(read == data[..10] || unchecked, "{}: {path}", self.what);
            }
            let size = self.op("size", self.fs.size(path)).await;
            assert!(size.is_none_or(|size| size == Some(data.len() as u64)), "{}: {path}: {size:?}", self.what);
        }
    }
}

async fn meet(rig: &Rig, kind: &str, fault: &Fault, times: u64) {
    let settings = S3Settings {
        deadline: DEADLINE,
        try_limit: Duration::from_millis(200),
        one_put_bytes: 0,
        part_bytes: 5 << 20,
        ..rig.fresh()
    };
    let what = format!("{kind} × {fault:?} × {times}");
    let mut round = Round { fs: rig.open(settings).await, strict: true, what: what.clone() };
    let before = round.write(1).await;
    round.fs.register_create("r", "0", "body".into()).await.expect("create");

    round.strict = false;
    rig.server.set_rules(vec![Rule { times, ..Rule::every(kind, fault.clone()) }]);
    let mut acknowledged = round.write(2).await;
    round.check(&before).await;
    // Counts up a register: what is acknowledged is counted once, what is in doubt at most once.
    let (mut counted, mut doubts) = (0u32, 0);
    for _ in 0..2 {
        let Some(Some(value)) = round.op("read register", round.fs.register_read("r")).await else { continue };
        let head = (value.head.parse::<u32>().expect("number") + 1).to_string();
        match round.fs.register_swap("r", &value.version, &head, None).await {
            Ok(SwapOutcome::Swapped(_)) => counted += 1,
            Ok(SwapOutcome::Superseded(_)) => panic!("{what}: nobody else swaps"),
            Err(error) if error.kind() == ErrorKind::Unknown => doubts += 1,
            Err(error) => round.named("swap", &error),
        }
    }
    let created = round.op("create register", round.fs.register_create("r2", "h", "b".into())).await;
    assert!(!matches!(created, Some(CreateOutcome::Exists(_))), "{what}: a fresh register does not exist");
    let deleted = round.op("delete", round.fs.delete("p/1")).await.is_some();
    let listed = round.op("list", round.fs.list("b")).await;
    assert!(listed.is_none_or(|list| list.iter().any(|entry| entry.path == "b/1")), "{what}");
    round.op("unfinished", round.fs.unfinished("b")).await;
    let renamed = round.op("rename", round.fs.rename("b/1", "b/3")).await == Some(PutOutcome::Created);

    // The fault is over; what was held lands now.
    rig.server.set_rules(Vec::new());
    rig.server.release().await;
    round.strict = true;
    acknowledged.retain(|(path, _)| path != "p/1");
    round.check(&acknowledged).await;
    let large = before.iter().find(|(path, _)| path == "b/1").expect("written before");
    let now = if renamed || round.fs.exists("b/3").await.expect("look") { "b/3" } else { "b/1" };
    round.check(&[(now.to_owned(), large.1.clone())]).await;
    if deleted {
        assert!(!round.fs.exists("p/1").await.expect("look"), "{what}: deleted is gone");
    }
    let value = round.fs.register_read("r").await.expect("read").expect("exists");
    let number = value.head.parse::<u32>().expect("number");
    assert!((counted..=counted + doubts).contains(&number), "{what}: {counted} and {doubts} in doubt, but {number}");
    assert_eq!(value.body, "body", "{what}");
    if created.is_some() {
        assert!(round.fs.register_read("r2").await.expect("read").is_some(), "{what}");
    }
    round.write(4).await;
}

/// Each kind on a server of its own, a few at a time.
async fn campaign(times: u64, takes: fn(usize, &str) -> bool) {
    let kinds = KINDS.map(|kind| async move {
        let rig = Rig::new().await;
        for (i, fault) in faults().into_iter().enumerate() {
            if takes(i, kind) {
                meet(&rig, kind, &fault, times).await;
            }
        }
    });
    futures::stream::iter(kinds).buffer_unordered(4).collect::<()>().await;
}

/// A fault that passes is not even noticed, unless it takes longer than the deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_meets_each_fault_once() {
    campaign(1, |_, _| true).await;
}

/// A fault that stays ends every operation by its deadline, with an error that is true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_meets_each_fault_for_long() {
    // In short: each kind with a third of the faults, each fault with a third of the kinds.
    let few = std::env::var_os("S3_CAMPAIGN_LONG").is_none();
    campaign(u64::MAX, if few { |i, kind| (i + kind.len()).is_multiple_of(3) } else { |_, _| true }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_lands_late_changes_nothing() {
    let rig = Rig::new().await;
    let settings = S3Settings { try_limit: Duration::from_millis(100), ..rig.fresh() };
    let fs = rig.open(settings).await;
    fs.register_create("r", "0", "body".into()).await.expect("create");
    let first = fs.register_read("r").await.expect("read").expect("exists").version;
    rig.server.set_rules(vec![Rule::once("put", Fault::Hold).on("piece"), Rule::once("put", Fault::Hold).on("r.reg")]);
    assert_eq!(fs.put_if_absent("piece", "mine".into()).await.expect("put"), PutOutcome::Created);
    let SwapOutcome::Swapped(second) = fs.register_swap("r", &first, "1", None).await.expect("swap") else {
        panic!("nobody else swaps")
    };
    let SwapOutcome::Swapped(_) = fs.register_swap("r", &second, "2", None).await.expect("swap") else {
        panic!("nobody else swaps")
    };
    assert_eq!(rig.server.release().await, 2);
    assert_eq!(all(&fs, "piece").await, "mine");
    assert_eq!(fs.register_read("r").await.expect("read").expect("exists").head, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_name_while_my_put_is_on_its_way_keeps_it() {
    let rig = Rig::new().await;
    let settings = S3Settings { deadline: Duration::from_millis(300), ..rig.fresh() };
    let (mine, other) = (rig.open(settings.clone()).await, rig.open(settings).await);
    // My put is held, and I cannot look: unknown.
    rig.server.set_rules(vec![Rule::every("put", Fault::Hold).on("piece")]);
    let error = mine.put_if_absent("piece", "mine".into()).await.expect_err("held");
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
    rig.server.set_rules(Vec::new());
    assert_eq!(other.put_if_absent("piece", "other".into()).await.expect("put"), PutOutcome::Created);
    assert!(rig.server.release().await > 0);
    assert_eq!(mine.put_if_absent("piece", "mine".into()).await.expect("put"), PutOutcome::Exists);
    assert_eq!(all(&mine, "piece").await, "other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_asks_to_slow_down_for_long_makes_busy() {
    let rig = Rig::new().await;
    let fs = rig.open(S3Settings { deadline: Duration::from_millis(300), ..rig.fresh() }).await;
    rig.server.set_rules(vec![Rule::every("", Fault::Answer { status: 503, code: "SlowDown".into() })]);
    for error in [
        fs.put_if_absent("a", "1".into()).await.map(drop).expect_err("busy"),
        fs.read_at("a", 0, 1).await.map(drop).expect_err("busy"),
        fs.register_create("r", "h", "b".into()).await.map(drop).expect_err("busy"),
        fs.delete("a").await.expect_err("busy"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        assert!(error.to_string().contains("SlowDown") && error.to_string().contains("overloaded"), "{error}");
    }
    assert!(fs.requests().slowed.load(std::sync::atomic::Ordering::Relaxed) >= 4);
    rig.server.set_rules(Vec::new());
    assert_eq!(fs.put_if_absent("a", "1".into()).await.expect("put"), PutOutcome::Created, "nothing had happened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_silent_try_does_not_use_up_the_deadline() {
    let rig = Rig::new().await;
    let settings = S3Settings { try_limit: Duration::from_millis(100), ..rig.fresh() };
    let fs = rig.open(settings).await;
    fs.put_if_absent("a", "1".into()).await.expect("put");
    fs.register_create("r", "h", "b".into()).await.expect("create");
    let start = Instant::now();
    for kind in ["get", "head", "delete"] {
        rig.server.set_rules(vec![Rule::once(kind, Fault::Delay { ms: 20_000 })]);
        fs.register_read("r").await.expect("read");
        fs.exists("a").await.expect("look");
        fs.delete("b").await.expect("delete");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
