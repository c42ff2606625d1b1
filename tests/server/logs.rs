//! The log on a root of its own: every mix of data and log, a root that changes from start to start, and roots that are not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ferrobase_s3_fixture::{KEY, Server as Bucket};
use ferrobase_tests::process::{Server, binary};

use super::bucket::a_bucket;
use super::{ferrobase, said};

/// Runs commands of the shell; what they print.
fn shell(folder: &Path, server: &Server, script: &str) -> String {
    let connect = format!("127.0.0.1:{}", server.port);
    let output = ferrobase(folder, &["shell", "--connect", &connect, "-c", script]);
    assert!(output.status.success(), "{script}: {:?}\n{}", said(&output), server.log_text());
    said(&output).0
}

/// Puts that are acknowledged and nothing flushes.
fn put(folder: &Path, server: &Server, number: usize) {
    shell(folder, server, &format!("put 't', 'row{number}', 'f:q', 'value{number}'"));
}

fn check(folder: &Path, server: &Server, numbers: usize) {
    let found = shell(folder, server, "scan 't'");
    for number in 0..numbers {
        assert!(found.contains(&format!("value=value{number}\n")), "{number} of {numbers}: {found}");
    }
}

fn environment(bucket: &Bucket) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", bucket.endpoint()),
        ("AWS_ACCESS_KEY_ID", KEY.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", KEY.1.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
    ]
}

/// Roots of one test.
struct Place {
    folder: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a folder"), environment: Vec::new() }
    }

    fn with(bucket: &Bucket) -> Place {
        Place { environment: environment(bucket), ..Place::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder `name`, as an argument.
    fn at(&self, name: &str) -> String {
        self.path().join(name).to_string_lossy().into_owned()
    }

    fn start(&self, data: &str, wal: Option<&str>) -> Server {
        let environment: Vec<_> = self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let flags: Vec<&str> = wal.iter().flat_map(|wal| ["--wal", *wal]).chain(["--http-port", "0"]).collect();
        Server::start_over(data, &self.path().join("run"), &flags, &environment)
    }

    /// Runs `ferrobase` to its end; aside, because a bucket lives in this process.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.args(arguments).envs(self.environment.iter().cloned()).current_dir(self.path()).stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().expect("ferrobase starts")).await.expect("it ran")
    }

    /// A start that must be refused with this code, and name all of `hints`; nothing below `data` changes.
    async fn refused(&self, data: &str, wal: Option<&str>, code: i32, hints: &[&str]) {
        let before = tree(Path::new(data));
        let mut arguments = vec!["standalone", "--data", data, "--port", "0", "--http-port", "off"];
        arguments.extend(wal.iter().flat_map(|wal| ["--wal", *wal]));
        let output = self.run(&arguments).await;
        let (_, why) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{wal:?}: {why}");
        for hint in hints {
            assert!(why.contains(hint), "{wal:?}: `{hint}` in {why}");
        }
        assert_eq!(tree(Path::new(data)), before, "{wal:?}: a refused start changes nothing");
    }
}

/// Every file below a folder but the lock, with its bytes.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(next) else { continue };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().contains("lock") {
                found.insert(path.clone(), std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_moves_through_every_place_and_takes_no_write_with_it() {
    let store = tempfile::tempdir().expect("a folder");
    let bucket = a_bucket(store.path()).await;
    for (mix, data) in ["data", "s3://ferrobase/data"].into_iter().enumerate() {
        let place = Place::with(&bucket);
        let data = if data == "data" { place.at(data) } else { data.to_owned() };
        let (a, b, remote) = (place.at("a"), place.at("b"), format!("s3://ferrobase/log{mix}"));
        let roots = [Some(&*a), Some(&*b), None, Some(&*remote), None, Some(&*a), Some(&*remote), Some(&*b)];
        for (number, wal) in roots.into_iter().enumerate() {
            bucket.take_log();
            let server = place.start(&data, wal);
            let listed = bucket.take_log().into_iter().filter(|entry| entry.kind.starts_with("list")).count();
            assert!(number == 0 || number == 3 || listed == 0, "{number}: a start lists nothing but what is new");
            assert_eq!(server.told["wal"], wal.unwrap_or(&data));
            if number == 0 {
                shell(place.path(), &server, "create 't', 'f', SPLITS => ['row1', 'row3']");
            }
            check(place.path(), &server, number);
            put(place.path(), &server, number);
            // Unflushed after a kill; a graceful end leaves nothing in the log.
            if number % 4 == 1 { assert_eq!(server.stop(), Some(0)) } else { server.kill() }
        }
        let output = place.run(&["fsck", "--data", &data, "--deep"]).await;
        assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
        let server = place.start(&data, None);
        check(place.path(), &server, roots.len());
        assert_eq!(server.stop(), Some(0));
        // No region needs them any more: what is gone is not missed.
        std::fs::remove_dir_all(&a).expect("removed");
        let server = place.start(&data, Some(&b));
        check(place.path(), &server, roots.len());
        put(place.path(), &server, roots.len());
        server.kill();
        // An empty folder that nobody misses is a new root.
        std::fs::create_dir(&a).expect("a folder");
        let server = place.start(&data, Some(&a));
        check(place.path(), &server, roots.len() + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_root_that_is_needed_and_not_there_is_an_error_and_no_loss() {
    let place = Place::new();
    let (data, a, b, away) = (place.at("data"), place.at("a"), place.at("b"), place.at("away"));
    // Another cluster, whose log root is not ours.
    let (theirs, foreign) = (place.at("theirs"), place.at("foreign"));
    place.start(&theirs, Some(&foreign)).kill();
    let server = place.start(&data, Some(&a));
    shell(place.path(), &server, "create 't', 'f'");
    put(place.path(), &server, 0);
    server.kill();

    let all = [None, Some(&*a), Some(&*b)];
    // The folder is missing: a disk that is not mounted, or another machine.
    std::fs::rename(&a, &away).expect("renamed");
    for wal in all {
        place.refused(&data, wal, 2, &[&a, "no such folder", "unflushed writes there", "--wal at its new place"]).await;
    }
    let output = place.run(&["fsck", "--data", &data]).await;
    assert!(output.status.code() == Some(1) && said(&output).0.contains(&a), "{:?}", said(&output));
    assert!(!Path::new(&a).exists() && !Path::new(&b).exists(), "nothing is made in its place");
    // It is there, and empty.
    std::fs::create_dir(&a).expect("a folder");
    for wal in all {
        place.refused(&data, wal, 2, &[&a, "no log root lies there", "unflushed writes there"]).await;
    }
    std::fs::remove_dir(&a).expect("still empty");
    // It is there, and another cluster's.
    let copied = Command::new("cp").args(["-r", &foreign, &a]).status().expect("cp runs");
    assert!(copied.success());
    let before = tree(Path::new(&a));
    for wal in all {
        place.refused(&data, wal, 2, &[&a, "another log root lies there", "unflushed writes there"]).await;
    }
    assert_eq!(tree(Path::new(&a)), before, "another cluster's log is left alone");
    std::fs::remove_dir_all(&a).expect("removed");
    // Its mark is there, and its streams are not.
    std::fs::create_dir_all(format!("{a}/ferrobase/log")).expect("folders");
    std::fs::copy(format!("{away}/ferrobase/log/root"), format!("{a}/ferrobase/log/root")).expect("copied");
    let output = place.run(&["standalone", "--data", &data, "--wal", &a, "--port", "0", "--http-port", "off"]).await;
    assert_eq!(output.status.code(), Some(1), "{:?}", said(&output));
    assert!(said(&output).1.contains("it is missing, though its stream was written"), "{:?}", said(&output));
    let output = place.run(&["fsck", "--data", &data]).await;
    assert!(
        output.status.code() == Some(1) && said(&output).0.contains("damaged: ferrobase/log/"),
        "{:?}",
        said(&output)
    );
    std::fs::remove_dir_all(&a).expect("removed");

    // It was moved: known by its mark, at its new place.
    let server = place.start(&data, Some(&away));
    check(place.path(), &server, 1);
    put(place.path(), &server, 1);
    server.kill();
    let server = place.start(&data, Some(&b));
    check(place.path(), &server, 2);
    put(place.path(), &server, 2);
    server.kill();
    // And back.
    std::fs::rename(&away, &a).expect("renamed");
    let server = place.start(&data, Some(&a));
    check(place.path(), &server, 3);
    assert_eq!(server.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_root_is_one_clusters_and_the_data_root_has_one_name() {
    let place = Place::new();
    let (data, logs, other) = (place.at("data"), place.at("logs"), place.at("other"));
    let register = Path::new(&data).join("ferrobase/cluster/logs");
    // The data root by other names is the data root.
    std::os::unix::fs::symlink(&data, place.at("link")).expect("a link");
    for wal in [format!("{data}/"), format!("file://{data}"), format!("{}/./data", place.at(".")), place.at("link")] {
        let server = place.start(&data, Some(&wal));
        assert_eq!(server.stop(), Some(0));
        assert!(!register.exists(), "{wal}");
    }
    assert_eq!(place.start(&data, Some(&logs)).stop(), Some(0));
    assert!(register.exists());
    place.refused(&other, Some(&logs), 2, &[&logs, "a root of the cluster"]).await;
    place.refused(&other, Some(&data), 2, &[&data, "a root of the cluster"]).await;
    place.refused(&logs, None, 1, &["this is no data root"]).await;
    // Streams without a mark are somebody's.
    std::fs::remove_file(format!("{logs}/ferrobase/log/root")).expect("removed");
    let (strange, new) = (place.at("strange"), place.at("new"));
    std::fs::rename(&logs, &strange).expect("renamed");
    place.refused(&data, Some(&strange), 2, &[&strange, "a part of a log root"]).await;
    place.refused(&data, Some("gs://bucket/x"), 2, &["--wal `gs://bucket/x`"]).await;
    assert_eq!(place.start(&data, Some(&new)).stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_holds_the_log_and_does_not_answer_is_4() {
    let store = tempfile::tempdir().expect("a folder");
    let bucket = a_bucket(store.path()).await;
    let mut place = Place::with(&bucket);
    let data = place.at("data");
    let server = place.start(&data, Some("s3://ferrobase/log"));
    shell(place.path(), &server, "create 't', 'f'");
    put(place.path(), &server, 0);
    let metrics = super::start::http(server.told["http_port"].as_u64().expect("a port"), "/metrics").1;
    assert!(metrics.contains("ferrobase_s3_requests_total{part=\"log\",kind=\"put\""), "{metrics}");
    server.kill();
    let good = std::mem::replace(&mut place.environment[2].1, "wrong".to_owned());
    for wal in [None, Some("s3://ferrobase/log")] {
        place.refused(&data, wal, 2, &["s3://ferrobase/log", "SignatureDoesNotMatch", "unflushed writes there"]).await;
    }
    place.environment[2].1 = good;
    // Nobody listens there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let good = std::mem::replace(&mut place.environment[0].1, format!("http://{silent}"));
    place.refused(&data, None, 4, &["s3://ferrobase/log", "unflushed writes there", "make it reachable"]).await;
    place.environment[0].1 = good;
    let server = place.start(&data, None);
    check(place.path(), &server, 1);
    assert_eq!(server.stop(), Some(0));
}
