//! Total loss and zombies over roots of other machines, which hold data and log.
//!
//! - The server is killed under load, everything local is deleted, and a new one, of another name and on other ports, starts over the same
//!   root. Every acknowledged write is there, without any step by hand.
//! - The server is frozen under load, another one takes the root over, flushes and compacts, and then the first is thawed: it ends by itself, none
//!   of its late writes is acknowledged, and nothing is lost.
//!
//! - Requests of a server that was passed over lie somewhere on their way, and the bucket does them minutes later, when the new owner has flushed,
//!   compacted and collected: nothing changes.
//!
//! Short form: 5 losses in a bucket, 2 in HDFS, late requests after 2 seconds; long form: `tests/run long loss N [SEED]`, there after minutes.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::{Connection, Table};
use ferrobase_s3_fixture::{Fault, KEY, Rule, Server as Bucket};
use ferrobase_tests::process::{Server, binary};
use ferrobase_tests::setting;
use model::mutation::{Mutation, MutationKind};
use model::query::{Get, Scan};
use model::{Cell, LATEST_TIMESTAMP};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::server::{Known, WRITERS, small_table, write};

/// Time of one operation of a client: those under way when the server dies have no other to go to.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// More writes than a writer does between two losses.
const STEPS_MAX: u64 = 1_000_000;
const BUCKET: &str = "ferrobase";

/// Roots that every machine reaches.
struct Root {
    url: String,
    /// Where the log lies, if elsewhere.
    wal: Option<String>,
    /// Flags that say how it is reached.
    reach: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Root {
    fn in_bucket(bucket: &Bucket) -> Root {
        bucket.make_bucket(BUCKET).expect("a bucket");
        let environment = vec![
            ("AWS_ENDPOINT_URL", bucket.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY.0.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.1.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        Root { url: format!("s3://{BUCKET}/root"), wal: None, reach: Vec::new(), environment }
    }

    /// Starts a server with nothing local but `beside`, which is new.
    fn start(&self, beside: &Path) -> Server {
        let wal = self.wal.iter().flat_map(|url| ["--wal", url]);
        let flags: Vec<&str> = self.reach.iter().map(String::as_str).chain(wal).collect();
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Server::start_over(&self.url, beside, &flags, &environment)
    }

    /// Runs a command that is told the root by a flag.
    async fn run(&self, command: &str, flag: &str, arguments: &[&str]) -> Output {
        let mut process = tokio::process::Command::new(binary());
        process.args([command, flag, &self.url]).args(&self.reach).args(arguments);
        process.envs(self.environment.iter().cloned()).kill_on_drop(true).output().await.expect("ferrobase runs")
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn connect(server: &Server, timeout: Duration) -> Connection {
    let address = format!("127.0.0.1:{}", server.port);
    Connection::builder(&address).timeout(timeout).open().await.expect("the server answers")
}

/// The table, for clients that wait as long as it takes.
async fn table(server: &Server) -> Table {
    connect(server, Duration::from_secs(120)).await.table(small_table().0.name)
}

async fn make_table(server: &Server) {
    let (descriptor, splits) = small_table();
    let patient = connect(server, Duration::from_secs(120)).await;
    patient.admin().create_table(&descriptor, &splits).await.expect("a table is made");
}

/// Writers, whose versions begin behind those of earlier rounds; they go on until at least some writes are acknowledged.
async fn load(known: &Arc<Known>, server: &Server, round: u64, time: Duration) -> Vec<JoinHandle<()>> {
    let table = connect(server, OPERATION_MAX).await.table(small_table().0.name);
    known.stop.store(false, Ordering::Relaxed);
    let quiet = Arc::new(tokio::sync::RwLock::new(()));
    let write =
        |writer| tokio::spawn(write(known.clone(), table.clone(), quiet.clone(), writer, 1 + round * STEPS_MAX));
    let writers = (0..WRITERS).map(write).collect();
    let before = known.acknowledged.load(Ordering::Relaxed);
    tokio::time::sleep(time).await;
    while known.acknowledged.load(Ordering::Relaxed) < before + 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    writers
}

/// Tells the writers to stop, and waits until what they have under way has failed or not.
async fn silence(known: &Known, writers: Vec<JoinHandle<()>>) {
    known.stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer does not panic");
    }
}

async fn lose_everything(root: &Root, losses: u64) {
    let mut dice = StdRng::seed_from_u64(setting("KILL_SEED", 1));
    let known = Arc::new(Known::default());
    for loss in 0..losses {
        let beside = folder();
        let server = root.start(beside.path());
        if loss == 0 {
            make_table(&server).await;
        } else {
            known.check(&table(&server).await).await;
        }
        let writers = load(&known, &server, loss, Duration::from_millis(dice.random_range(200..2_000))).await;
        server.kill();
        silence(&known, writers).await;
    }
    let beside = folder();
    let server = root.start(beside.path());
    known.check(&table(&server).await).await;
    let said = root.run("shell", "--connect", &["-c", "list"]).await;
    let listed = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(listed.contains("1 row(s)"), "the root says where its server is: {said:?}");
    assert_eq!(server.stop(), Some(0), "a graceful end");
    let (acknowledged, incremented) =
        (known.acknowledged.load(Ordering::Relaxed), known.incremented.load(Ordering::SeqCst));
    println!("{losses} losses, {acknowledged} puts and {incremented} increments acknowledged: all there, once");
}

/// A row that writers leave alone.
const WATCHED: &str = "watched";

async fn watch(table: &Table, value: &str) {
    let mut put = Mutation::new(MutationKind::Put, WATCHED);
    put.cells
        .push(Cell::put(WATCHED.as_bytes(), b"f", b"watched", LATEST_TIMESTAMP, value.as_bytes()).expect("a cell"));
    table.mutate(put).await.expect("a put");
}

/// `guarded`: whether a read of who was passed over is refused, also if it came before the thaw.
async fn freeze_and_thaw(root: &Root, guarded: bool) {
    let known = Arc::new(Known::default());
    let (beside, other) = (folder(), folder());
    let mut frozen = root.start(beside.path());
    make_table(&frozen).await;
    let writers = load(&known, &frozen, 0, Duration::from_millis(500)).await;
    let reader = connect(&frozen, Duration::from_secs(60)).await.table(small_table().0.name);
    watch(&reader, "old").await;
    reader.get(&Get::new(WATCHED)).await.expect("a get");
    signal(&frozen, libc::SIGSTOP);
    silence(&known, writers).await;
    // They lie in the frozen server's sockets; when it is thawed, its first act may be to answer them.
    let read = |_| {
        let reader = reader.clone();
        tokio::spawn(async move { reader.get(&Get::new(WATCHED)).await })
    };
    let reads: Vec<_> = if guarded { (0..8).map(read).collect() } else { Vec::new() };
    let server = root.start(other.path());
    watch(&table(&server).await, "new").await;
    known.check(&table(&server).await).await;
    let writers = load(&known, &server, 1, Duration::from_millis(500)).await;
    let admin = connect(&server, Duration::from_secs(120)).await.admin();
    let name = small_table().0.name;
    admin.flush(&name).await.expect("a flush");
    admin.compact(&name, None, true).await.expect("a compaction is asked for");
    signal(&frozen, libc::SIGCONT);
    assert_eq!(frozen.wait(), Some(5), "who was passed over ends:\n{}", frozen.log_text());
    for read in reads {
        if let Ok(row) = read.await.expect("a reader does not panic") {
            assert_eq!(row.value(b"f", b"watched").as_deref(), Some(&b"new"[..]), "a stale read was answered");
        }
    }
    silence(&known, writers).await;
    known.check(&table(&server).await).await;
    assert_eq!(server.stop(), Some(0), "a graceful end");
    // And what lies there is what the registers say.
    let beside = folder();
    let server = root.start(beside.path());
    known.check(&table(&server).await).await;
    assert_eq!(server.stop(), Some(0), "a graceful end");
}

fn signal(server: &Server, signal: i32) {
    // SAFETY: kill(2) touches no memory; the server has not been waited for, so the id is still its.
    assert_eq!(unsafe { libc::kill(server.pid() as libc::pid_t, signal) }, 0);
}

/// Everything that lies in the table, each cell as text.
async fn dump(table: &Table) -> Vec<String> {
    let mut stream = table.scan(Scan::default().with_versions(100));
    let mut cells = Vec::new();
    while let Some(row) = stream.next_row().await.expect("a scan of a living server") {
        cells.extend(row.cells.iter().map(|cell| format!("{cell:?}")));
    }
    cells
}

/// Requests that change something and were on their way when their server was frozen land when another one has long gone on. `freeze`: it is frozen and
/// thawed at the end, else killed.
async fn late_requests_change_nothing(bucket: &Bucket, root: &Root, freeze: bool, later: Duration) -> usize {
    let known = Arc::new(Known::default());
    let (beside, other) = (folder(), folder());
    let mut first = root.start(beside.path());
    make_table(&first).await;
    let name = small_table().0.name;
    let writers = load(&known, &first, 0, Duration::from_secs(1)).await;
    let admin = connect(&first, OPERATION_MAX).await.admin();
    admin.flush(&name).await.expect("a flush");
    // Of pieces of the log, store files, registers, and what collection deletes.
    let changes = ["put", "copy", "upload-complete", "delete"];
    bucket.set_rules(changes.map(|kind| Rule::every(kind, Fault::Hold)).into());
    let (flushed, compacted) = tokio::join!(admin.flush(&name), admin.compact(&name, None, true));
    assert!(flushed.is_err(), "a flush without a store: {compacted:?}");
    if freeze {
        signal(&first, libc::SIGSTOP);
    } else {
        signal(&first, libc::SIGKILL);
        first.wait();
    }
    bucket.set_rules(Vec::new());
    silence(&known, writers).await;
    assert!(bucket.held() > 10, "{} requests are on their way", bucket.held());

    let server = root.start(other.path());
    known.check(&table(&server).await).await;
    let writers = load(&known, &server, 1, Duration::from_millis(500)).await;
    let admin = connect(&server, Duration::from_secs(120)).await.admin();
    admin.flush(&name).await.expect("a flush");
    admin.compact(&name, None, true).await.expect("a compaction is asked for");
    tokio::time::sleep(later).await;
    silence(&known, writers).await;
    admin.flush(&name).await.expect("a flush");
    let cells = dump(&table(&server).await).await;
    let landed = bucket.release().await;
    assert_eq!(dump(&table(&server).await).await, cells, "what landed late changed what is read");
    let writers = load(&known, &server, 2, Duration::from_millis(500)).await;
    if freeze {
        signal(&first, libc::SIGCONT);
        assert_eq!(first.wait(), Some(5), "who was passed over ends:\n{}", first.log_text());
    }
    silence(&known, writers).await;
    known.check(&table(&server).await).await;
    let cells = dump(&table(&server).await).await;
    // Killed, so that the log is read again.
    server.kill();
    let beside = folder();
    let server = root.start(beside.path());
    assert_eq!(dump(&table(&server).await).await, cells, "what landed late changed what a start finds");
    assert_eq!(server.stop(), Some(0), "a graceful end");
    let said = root.run("fsck", "--data", &["--deep", "--format", "json"]).await;
    let found: serde_json::Value = serde_json::from_slice(&said.stdout).expect("a document");
    let found = found["found"].as_array().expect("findings");
    assert!(found.iter().all(|finding| finding["kind"] == "extra"), "beside strays, nothing is wrong: {found:?}");
    landed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_land_long_after_their_server_was_passed_over_change_nothing() {
    let later = Duration::from_secs(setting("LATE_SECONDS", 2));
    for freeze in [true, false] {
        let store = folder();
        let bucket = Bucket::start(store.path()).await.expect("the store starts");
        let landed = late_requests_change_nothing(&bucket, &Root::in_bucket(&bucket), freeze, later).await;
        println!("{landed} requests landed {later:?} late and changed nothing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_alone_brings_back_every_acknowledged_write() {
    let store = folder();
    let bucket = Bucket::start(store.path()).await.expect("the store starts");
    lose_everything(&Root::in_bucket(&bucket), setting("LOSSES", 5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_over_a_bucket_is_passed_over_and_does_no_harm() {
    let store = folder();
    let bucket = Bucket::start(store.path()).await.expect("the store starts");
    freeze_and_thaw(&Root::in_bucket(&bucket), true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hdfs_alone_brings_back_every_acknowledged_write_and_a_frozen_server_does_no_harm() {
    let cluster = ferrobase_hadoop_fixture::shared();
    let root = || Root {
        url: cluster.fresh_root(),
        wal: None,
        reach: vec!["--hadoop-conf".to_owned(), cluster.conf().to_string_lossy().into_owned()],
        environment: Vec::new(),
    };
    lose_everything(&root(), setting("LOSSES", 2)).await;
    freeze_and_thaw(&root(), false).await;
    // The data in a bucket, the log in HDFS.
    let store = folder();
    let bucket = Bucket::start(store.path()).await.expect("the store starts");
    let apart = || {
        let log = root();
        let data = format!("s3://{BUCKET}/data{}", log.url.rsplit('/').next().unwrap_or_default());
        Root { url: data, wal: Some(log.url), reach: log.reach, ..Root::in_bucket(&bucket) }
    };
    lose_everything(&apart(), setting("LOSSES", 2)).await;
    freeze_and_thaw(&apart(), false).await;
}
