//! The figures of docs/PERFORMANCE.md for roots elsewhere: durable puts, scans and compactions beside what the root gives raw, and requests with their price.
//!
//! `tests/run long figures [rounds]`, or after `cargo build --release -p ferrobase -p ferrobase-s3-fixture -p ferrobase-benches`:
//! `target/release/roots log|cache|rates|requests|idle [rounds or seconds]`
//!
//! A measured thing and what stands beside it take turns in short slices; the ratio is taken in each round. Nothing here asserts a time.

mod cache;
mod log;
mod rates;
mod requests;

use std::path::Path;

use ferrobase_benches::measure::{beside, load};
use ferrobase_s3_fixture::{KEY, Process};
use filesystem::s3::{Credentials, S3Filesystem, S3Settings};
use runtime::Runtime;

const BUCKET: &str = "ferrobase";

/// The S3 server of the tests, as a process of its own.
fn bucket(folder: &Path) -> Process {
    Process::start(&beside("ferrobase-s3-fixture"), &folder.join("store"), 0, &[BUCKET]).expect("the store starts")
}

async fn root(store: &Process, prefix: &str) -> S3Filesystem {
    let credentials = Credentials::Static { key_id: KEY.0.into(), secret: KEY.1.into(), token: None };
    let endpoint = Some(store.endpoint());
    let settings =
        S3Settings { endpoint, allow_http: true, ..S3Settings::new(BUCKET, prefix, "us-east-1", credentials) };
    S3Filesystem::open(settings, Runtime::system()).await.expect("root")
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let number = arguments.next().map(|text| text.parse::<usize>().expect("a number"));
    let folder = tempfile::tempdir().expect("folder");
    let work = async {
        match what.as_str() {
            "log" => log::run(folder.path(), number.unwrap_or(5)).await,
            "cache" => cache::run(folder.path(), number.unwrap_or(5)).await,
            "rates" => rates::run(folder.path(), number.unwrap_or(3)).await,
            "requests" => requests::run(folder.path()).await,
            "idle" => requests::idle(folder.path(), number.unwrap_or(120)).await,
            _ => panic!("log [rounds], cache [rounds], rates [rounds], requests or idle [seconds] is needed"),
        }
    };
    println!("load {} before\n", load());
    ferrobase_benches::tokio_runtime().block_on(work);
    println!("\nload {} after", load());
}
