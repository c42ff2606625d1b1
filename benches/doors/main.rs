//! The figures of docs/PERFORMANCE.md for the ways in that HBase has too, each beside HBase's own in the same run: calls of the Thrift
//! services, and bulk load.
//!
//! After `tests/setup hbase` and `cargo build --release -p ferrobase -p ferrobase-benches`:
//! `target/release/doors thrift|thrift2 [seconds of a slice] [rounds] [seconds of warming up]` and `target/release/doors bulkload [MB] [rounds]`
//!
//! Always true
//! - Both sides do the same work with the same bytes, driven by the same code, and what they answer or hold at the end is looked at.
//! - Two sides take turns, and the ratio is taken in each round. Nothing here asserts a time.

mod bulkload;
mod thrift;
mod wire;

use std::path::Path;

use ferrobase_benches::measure::{Ferrobase, load};
use ferrobase_hadoop_fixture::HBase;

use crate::wire::Service;

/// Regions of every table, cut where the first hexadecimal digits of its keys are.
const REGIONS: u32 = 8;
/// Heap of each Java process, in MiB.
const HEAP_MB: u32 = 1024;

/// The key of a row: the numbers' order says nothing about the keys', and no two are equal.
fn key(number: u64) -> String {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", mixed ^ (mixed >> 31))
}

/// The borders between regions, as HBase's `HexStringSplit` makes them.
fn splits() -> Vec<String> {
    (1..REGIONS).map(|at| format!("{:08x}", u64::from(at) * (1 << 32) / u64::from(REGIONS))).collect()
}

/// A table of [`REGIONS`] regions in HBase, with a family as HBase makes it unasked: no compression, Bloom filters of rows.
fn create_in_hbase(hbase: &HBase, folder: &Path, table: &str) {
    let regions = REGIONS.to_string();
    let arguments = [table, "HexStringSplit", "-c", &regions, "-f", wire::FAMILY];
    let command = hbase.tool("org.apache.hadoop.hbase.util.RegionSplitter", 256, &arguments);
    ferrobase_benches::measure::run(command, &folder.join(format!("create-{table}.log")));
}

/// A store with both services inside, and a gateway of both before it as a process of its own.
fn start_ferrobase(folder: &Path) -> (Ferrobase, Ferrobase) {
    let data = folder.join("data").to_string_lossy().into_owned();
    let ports = ["--port", "0", "--http-port", "off", "--thrift-port", "0", "--thrift2-port", "0"];
    let settings = [&["standalone", "--data", &data, "--memory", "1G"][..], &ports].concat();
    let store = Ferrobase::start(folder, &settings);
    let connect = format!("127.0.0.1:{}", store.port("port"));
    let gateway = Ferrobase::start(
        folder,
        &["thrift", "--connect", &connect, "-p", "0", "--thrift2-port", "0", "--infoport", "off"],
    );
    (store, gateway)
}

/// The same in Ferrobase.
fn create_in_ferrobase(port: u16, table: &str) {
    let family = model::schema::FamilyDescriptor::new(wire::FAMILY);
    let table = model::schema::TableDescriptor::new(table.parse().expect("a name")).with_family(family);
    let splits: Vec<_> = splits().into_iter().map(Into::into).collect();
    ferrobase_benches::tokio_runtime().block_on(async {
        let connection = client::Connection::builder(&format!("127.0.0.1:{port}")).open().await.expect("connected");
        connection.admin().create_table(&table, &splits).await.expect("a table");
    });
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("folder");
    println!("load {} before\n", load());
    match what.as_str() {
        "thrift" => thrift::run(folder.path(), Service::One, number(5), number(5), number(20)),
        "thrift2" => thrift::run(folder.path(), Service::Two, number(5), number(5), number(20)),
        "bulkload" => bulkload::run(folder.path(), number(1024), number(3)),
        _ => {
            panic!("thrift or thrift2 [seconds] [rounds] [seconds of warming up], or bulkload [MB] [rounds] is needed")
        }
    }
    println!("\nload {} after", load());
}
