//! Synthetic rows by the million through `ferrobase bulkload`, in no order: each is there once, and the tool keeps to its memory.

use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::Connection;
use ferrobase_tests::process::{Server, binary, peak_mib, peak_mib_if_alive};
use ferrobase_tests::setting;
use model::query::Scan;
use model::schema::{FamilyDescriptor, TableDescriptor};

use super::{BUDGET_MIB, PEAK_MIB};

const REGIONS: u64 = 8;
/// What a peak may reach above the memory that a program is given.
const ABOVE_MIB: u64 = 300;
/// Has no factor in common with round numbers of rows.
const STEP: u64 = 7919;

fn key(number: u64) -> String {
    format!("{number:010}")
}

fn text(number: u64) -> String {
    format!("{:016x} and some words that are the same in every row", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// `BULK_ROWS` rows with `BULK_MEMORY_MIB` to sort in: few by default, so that they do not fit either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_by_the_million_are_loaded_once_each_within_the_memory_given() {
    let (rows, memory) = (setting("BULK_ROWS", 200_000), setting("BULK_MEMORY_MIB", 16));
    assert!(!rows.is_multiple_of(STEP), "BULK_ROWS must not be a multiple of {STEP}");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--memory", &format!("{BUDGET_MIB}M")]);
    let connection = Connection::builder(&format!("127.0.0.1:{}", server.port)).open().await.expect("connected");
    let family = FamilyDescriptor::new("f").with("COMPRESSION", "LZ4");
    let descriptor = TableDescriptor::new("t".parse().expect("a name")).with_family(family);
    let splits: Vec<_> = (1..REGIONS).map(|region| key(region * rows / REGIONS).into()).collect();
    connection.admin().create_table(&descriptor, &splits).await.expect("created");

    let mut child = Command::new(binary())
        .args(["bulkload", "t", "/dev/stdin", "--input", "jsonl", "--no-progress", "--format", "json"])
        .args(["--memory", &format!("{memory}M"), "--connect", &format!("127.0.0.1:{}", server.port)])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ferrobase starts");
    let (begun, input) = (Instant::now(), child.stdin.take().expect("a pipe"));
    let writer = std::thread::spawn(move || {
        let mut input = BufWriter::with_capacity(1 << 20, input);
        for at in 0..rows {
            let number = at * STEP % rows;
            let (key, text) = (key(number), text(number));
            writeln!(
                input,
                r#"{{"row":"{key}","cells":[{{"column":"f:number","timestamp":7,"value":"{number}"}},{{"column":"f:text","timestamp":7,"value":"{text}"}}]}}"#
            )
            .expect("the tool reads");
        }
        input.flush().expect("the tool reads");
    });
    let mut peak = 0;
    while child.try_wait().expect("a child can be asked").is_none() {
        peak = peak.max(peak_mib_if_alive(child.id()).unwrap_or(0));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let output = child.wait_with_output().expect("it has ended");
    assert_eq!(output.status.code(), Some(0));
    writer.join().expect("everything was taken");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a summary");
    assert_eq!((summary["records"].as_u64(), summary["cells"].as_u64()), (Some(rows), Some(2 * rows)), "{summary}");
    assert_eq!(summary["regions"].as_u64(), Some(REGIONS), "{summary}");
    println!("{rows} rows in {:.1} s; the tool's peak {peak} MiB with {memory} MiB", begun.elapsed().as_secs_f64());

    let (begun, mut found) = (Instant::now(), 0);
    let mut scan = connection.table(descriptor.name).scan(Scan::default());
    while let Some(row) = scan.next_row().await.expect("a row") {
        let cells: Vec<_> = row.cells.iter().map(|cell| (cell.row(), cell.qualifier(), cell.value())).collect();
        let (key, number, text) = (key(found), found.to_string(), text(found));
        let wanted =
            [(key.as_bytes(), &b"number"[..], number.as_bytes()), (key.as_bytes(), &b"text"[..], text.as_bytes())];
        assert_eq!(cells, wanted, "row {found}");
        found += 1;
    }
    assert_eq!(found, rows);
    let server_peak = peak_mib(server.pid());
    println!("read back in {:.1} s; the server's peak {server_peak} MiB", begun.elapsed().as_secs_f64());
    assert!(peak > 0 && peak <= memory + ABOVE_MIB, "peak {peak} MiB with {memory} MiB to sort in");
    assert!(server_peak <= PEAK_MIB, "the server's peak {server_peak} MiB with {BUDGET_MIB} MiB");
    assert_eq!(server.stop(), Some(0));
}
