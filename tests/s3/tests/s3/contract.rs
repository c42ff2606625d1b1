//! The contract of a back end, on a server that behaves and on one that does not.

use std::time::Duration;

use ferrobase_s3_fixture::{Fault, Rule};
use filesystem::s3::S3Settings;
use filesystem::s3::requests::Kind;
use filesystem::{BlobWriter, ErrorKind, Filesystem, PutOutcome, SwapOutcome, conformance};

use crate::rig::*;

/// Every blob as an upload in parts: what is begun then lies in the store.
fn in_parts(settings: S3Settings) -> S3Settings {
    S3Settings { one_put_bytes: 0, ..settings }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms() {
    let rig = Rig::new().await;
    conformance::run_all(async || shared(rig.open(in_parts(rig.fresh())).await)).await;
}

/// One call in four fails on its way to the back end or back from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_under_the_faulty_wrapper() {
    let rig = Rig::new().await;
    conformance::run_all_flaky(async || shared(rig.open(in_parts(rig.fresh())).await)).await;
}

/// One request in five goes wrong, in every way there is; nobody notices but by the time it takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_on_a_bad_day() {
    let rig = Rig::new().await;
    let often = |fault| Rule { percent: 3, ..Rule::every("", fault) };
    rig.server.set_rules(vec![
        // A beginning whose answer is lost leaves an upload that nobody knows; the contract counts uploads.
        Rule::every("upload-create", Fault::Delay { ms: 0 }),
        often(Fault::Answer { status: 503, code: "SlowDown".into() }),
        often(Fault::Answer { status: 500, code: "InternalError".into() }),
        often(Fault::Answer { status: 429, code: String::new() }),
        often(Fault::Answer { status: 409, code: "ConditionalRequestConflict".into() }),
        often(Fault::DoneAnswer { status: 500, code: "InternalError".into() }),
        often(Fault::LoseAnswer),
        often(Fault::Cut),
        often(Fault::ShortBody),
    ]);
    let settings = || S3Settings { deadline: Duration::from_secs(120), ..in_parts(rig.fresh()) };
    conformance::run_all(async || shared(rig.open(settings()).await)).await;
}

async fn write(fs: &dyn Filesystem, path: &str, data: &[u8]) -> Box<dyn BlobWriter> {
    let mut writer = fs.create_blob(path).await.expect("create");
    for piece in data.chunks(3_000_001) {
        writer.write(piece.to_vec().into()).await.expect("write");
    }
    writer
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_blobs_go_up_in_parts_and_are_read_by_ranges() {
    let rig = Rig::new().await;
    let fs = rig.open(rig.fresh()).await;
    let data = bytes((21 << 20) + 5);
    assert_eq!(write(&fs, "big", &data).await.finish().await.expect("finish"), data.len() as u64);
    let sent = |kind| fs.requests().sent(kind);
    assert_eq!((sent(Kind::UploadCreate), sent(Kind::UploadPart), sent(Kind::UploadComplete)), (1, 3, 1));
    assert_eq!(all(&fs, "big").await, data);
    // Opening is one request, and what a store file shows first comes with it.
    let gets = sent(Kind::Get);
    let open = fs.open("big").await.expect("open");
    assert_eq!(open.read_at(data.len() as u64 - 5000, 9999).await.expect("read"), data[data.len() - 5000..]);
    assert_eq!(sent(Kind::Get), gets + 1);
    assert_eq!(open.read_at(12_345_678, 100).await.expect("read"), data[12_345_678..12_345_778]);
    assert_eq!(open.read_at(data.len() as u64, 1).await.expect("read"), "");
    assert_eq!(sent(Kind::Get), gets + 2);
    // The name is taken: what was uploaded is given up, what stands stays.
    let taken = write(&fs, "big", &bytes(9 << 20)).await.finish().await.expect_err("taken");
    assert_eq!(taken.kind(), ErrorKind::Exists);
    assert!(fs.unfinished("nothing").await.expect("list").is_empty());
    assert_eq!(fs.size("big").await.expect("size"), Some(data.len() as u64));
    assert_eq!(fs.rename("big", "other").await.expect("rename"), PutOutcome::Created);
    assert_eq!((all(&fs, "other").await, fs.exists("big").await.expect("look")), (data.into(), false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_blobs_and_empty_ones_are_one_put() {
    let rig = Rig::new().await;
    let fs = rig.open(rig.fresh()).await;
    let puts = fs.requests().sent(Kind::Put);
    write(&fs, "small", b"12").await.finish().await.expect("finish");
    write(&fs, "empty", b"").await.finish().await.expect("finish");
    assert_eq!(fs.requests().sent(Kind::Put), puts + 2);
    assert_eq!(fs.requests().sent(Kind::UploadCreate), 0);
    let open = fs.open("empty").await.expect("open");
    assert_eq!(open.read_at(0, 10).await.expect("read"), "");
    assert_eq!(fs.read_at("empty", 0, 10).await.expect("read"), "");
    assert_eq!(fs.size("empty").await.expect("size"), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_the_head_is_one_request() {
    let rig = Rig::new().await;
    let settings = rig.fresh();
    let (fs, other) = (rig.open(settings.clone()).await, rig.open(settings).await);
    fs.register_create("r", "a", "body".into()).await.expect("create");
    let value = fs.register_read("r").await.expect("read").expect("exists");
    let before = fs.requests().total();
    let SwapOutcome::Swapped(version) = fs.register_swap("r", &value.version, "b", None).await.expect("swap") else {
        panic!("nobody else swaps")
    };
    assert_eq!(fs.requests().total(), before + 1);
    // Somebody who has not seen the body reads it first.
    let SwapOutcome::Swapped(_) = other.register_swap("r", &version, "c", None).await.expect("swap") else {
        panic!("nobody else swaps")
    };
    let now = fs.register_read("r").await.expect("read").expect("exists");
    assert_eq!((now.head.as_str(), &now.body[..]), ("c", &b"body"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_go_over_pages_and_show_no_registers() {
    let rig = Rig::new().await;
    let fs = rig.open(rig.fresh()).await;
    let names: Vec<String> = (0..1005).map(|i| format!("d/{i:04}")).collect();
    for chunk in names.chunks(50) {
        let puts = chunk.iter().map(|name| fs.put_if_absent(name, "1".into()));
        futures::future::try_join_all(puts).await.expect("put");
    }
    fs.register_create("d/r", "h", "b".into()).await.expect("create");
    let found: Vec<String> = fs.list("d").await.expect("list").into_iter().map(|entry| entry.path).collect();
    assert_eq!(found, names);
    assert_eq!(fs.requests().sent(Kind::List), 2);
    assert_eq!(fs.put_if_absent("d/x.reg", "1".into()).await.expect_err("reserved").kind(), ErrorKind::Invalid);
}
