//! Total loss: the server is killed under load, everything local is deleted, and a new one, of another name and on other ports, starts over
//! the same bucket, which holds data and log. Every acknowledged write is there, without any step by hand.
//!
//! Short form: 5 losses; long form: `tests/run long loss N [SEED]`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::Connection;
use ferrobase_s3_fixture::{KEY, Server as Bucket};
use ferrobase_tests::process::Server;
use ferrobase_tests::setting;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::server::{Known, WRITERS, small_table, write};

/// Time of one operation of a client: those under way when the server dies have no other to go to.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// More writes than a writer does between two losses.
const STEPS_MAX: u64 = 1_000_000;
const BUCKET: &str = "ferrobase";

/// Starts a server over the bucket with nothing local but `beside`, which is new.
fn start(bucket: &Bucket, beside: &Path) -> Server {
    let endpoint = bucket.endpoint();
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", KEY.0),
        ("AWS_SECRET_ACCESS_KEY", KEY.1),
        ("AWS_REGION", "us-east-1"),
    ];
    Server::start_over(&format!("s3://{BUCKET}/root"), beside, &[], &environment)
}

async fn connect(server: &Server, timeout: Duration) -> Connection {
    let address = format!("127.0.0.1:{}", server.port);
    Connection::builder(&address).timeout(timeout).open().await.expect("the server answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_alone_brings_back_every_acknowledged_write() {
    let (losses, mut dice) = (setting("LOSSES", 5), StdRng::seed_from_u64(setting("KILL_SEED", 1)));
    let store = tempfile::tempdir().expect("a folder");
    let bucket = Bucket::start(store.path()).await.expect("the store starts");
    bucket.make_bucket(BUCKET).expect("a bucket");
    let (descriptor, splits) = small_table();
    let known = Arc::new(Known::default());
    for loss in 0..=losses {
        let beside = tempfile::tempdir().expect("a folder");
        let server = start(&bucket, beside.path());
        let patient = connect(&server, Duration::from_secs(120)).await;
        if loss == 0 {
            patient.admin().create_table(&descriptor, &splits).await.expect("a table is made");
        } else {
            known.check(&patient.table(descriptor.name.clone())).await;
        }
        if loss == losses {
            assert_eq!(server.stop(), Some(0), "a graceful end");
            break;
        }
        let table = connect(&server, OPERATION_MAX).await.table(descriptor.name.clone());
        known.stop.store(false, Ordering::Relaxed);
        let quiet = Arc::new(tokio::sync::RwLock::new(()));
        let write =
            |writer| tokio::spawn(write(known.clone(), table.clone(), quiet.clone(), writer, 1 + loss * STEPS_MAX));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        let before = known.acknowledged.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(dice.random_range(200..2_000))).await;
        while known.acknowledged.load(Ordering::Relaxed) < before + 20 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill();
        known.stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("a writer does not panic");
        }
        drop(beside);
    }
    let (acknowledged, incremented) =
        (known.acknowledged.load(Ordering::Relaxed), known.incremented.load(Ordering::SeqCst));
    println!("{losses} losses, {acknowledged} puts and {incremented} increments acknowledged: all there, once");
}
