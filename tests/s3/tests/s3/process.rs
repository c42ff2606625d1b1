//! The server as a process, killed and started again on the same data.

use std::path::Path;
use std::time::Duration;

use ferrobase_s3_fixture::{Fault, Process, Rule};
use filesystem::s3::{S3Filesystem, S3Settings};
use filesystem::{Filesystem, PutOutcome, SwapOutcome};
use runtime::Runtime;

use crate::rig::*;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ferrobase-s3-fixture"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_the_server() {
    let folder = tempfile::tempdir().expect("folder");
    let mut process = Process::start(program(), folder.path(), 0, &[BUCKET]).expect("start");
    let (endpoint, port) = (process.endpoint(), process.address().port());
    let settings = S3Settings { deadline: Duration::from_secs(60), ..settings(&endpoint, "root") };
    let fs = S3Filesystem::open(settings, Runtime::system()).await.expect("root");
    fs.register_create("r", "0", "body".into()).await.expect("create");
    let writer = {
        let fs = fs.clone();
        tokio::spawn(async move {
            let mut version = fs.register_read("r").await.expect("read").expect("exists").version;
            for n in 1..=300u32 {
                let put = fs.put_if_absent(&format!("p/{n:04}"), vec![n as u8; 5000].into()).await.expect("put");
                assert_eq!(put, PutOutcome::Created, "{n}: nobody else writes");
                version = match fs.register_swap("r", &version, &n.to_string(), None).await.expect("swap") {
                    SwapOutcome::Swapped(version) => version,
                    SwapOutcome::Superseded(now) => panic!("{n}: nobody else swaps: {now:?}"),
                };
            }
        })
    };
    let mut kills = 0;
    while !writer.is_finished() && kills < 5 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        process.kill().expect("kill");
        process = Process::start(program(), folder.path(), port, &[]).expect("start again");
        kills += 1;
    }
    writer.await.expect("every write was done once");
    assert!(kills > 0);
    assert_eq!(fs.list("p").await.expect("list").len(), 300);
    for n in 1..=300u32 {
        assert_eq!(all(&fs, &format!("p/{n:04}")).await, vec![n as u8; 5000], "{n}");
    }
    assert_eq!(fs.register_read("r").await.expect("read").expect("exists").head, "300");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_ruled_through_its_control_path() {
    let folder = tempfile::tempdir().expect("folder");
    let process = Process::start(program(), folder.path(), 0, &[BUCKET]).expect("start");
    let control = process.control();
    let settings = S3Settings { try_limit: Duration::from_millis(200), ..settings(&process.endpoint(), "root") };
    let fs = S3Filesystem::open(settings, Runtime::system()).await.expect("root");
    control.take_log().await.expect("log");
    control.set_rules(&[Rule::once("put", Fault::Hold)]).await.expect("rules");
    fs.put_if_absent("a", "1".into()).await.expect("put");
    let log = control.take_log().await.expect("log");
    let kinds: Vec<_> = log.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["put", "head", "put"]);
    assert_eq!((log[0].fault.clone(), log[0].status, log[2].status), (Some(Fault::Hold), 0, 200));
    assert!(log.iter().all(|entry| entry.access_key == "test" && entry.key == "root/a"));
    assert_eq!((control.held().await.expect("held"), control.release().await.expect("release")), (1, 1));
    control.ignore_conditions(true).await.expect("control");
    let again = S3Filesystem::open(crate::rig::settings(&process.endpoint(), "root"), Runtime::system()).await;
    assert!(again.expect_err("it lies").to_string().contains("ignores the conditions"));
}
