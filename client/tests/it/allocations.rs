//! Bytes of cells are neither copied nor allocated one by one between the caller and the connection.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;

use bytes::BytesMut;
use model::Cell;
use model::mutation::Mutation;
use model::query::{Get, Scan};
use protocol::messages as pb;
use protocol::result::result_to;
use protocol::service::Reply;

use crate::script::*;

thread_local! {
    static ALLOCATIONS: Counter<u64> = const { Counter::new(0) };
}

/// Counts a thread's allocations.
struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; the counter is a plain cell of the thread, which
// itself allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of this thread while a future runs; the tests' executor has only this thread.
async fn allocations<T>(work: impl Future<Output = T>) -> (u64, T) {
    let before = ALLOCATIONS.with(Counter::get);
    let done = work.await;
    (ALLOCATIONS.with(Counter::get) - before, done)
}

const FEW: usize = 20;
const MANY: usize = 2000;
/// Growing vectors and buffers may allocate now and then.
const GROWTH: u64 = 60;

fn cells(count: usize) -> Vec<Cell> {
    (0..count).map(|n| cell("r", &format!("q{n:05}"), "value")).collect()
}

fn got(count: usize) -> Act {
    let mut block = BytesMut::new();
    let result = Some(result_to(&cells(count), &mut block));
    Act::Reply(Reply { cells: block.freeze(), ..Reply::new(&pb::GetResponse { result }) })
}

fn page(rows: usize, width: usize) -> Act {
    let rows: Vec<_> = (0..rows)
        .map(|n| ((0..width).map(|q| cell(&format!("r{n:05}"), &format!("q{q:03}"), "v")).collect(), false))
        .collect();
    let answer = pb::ScanResponse {
        scanner_id: Some(5),
        more_results: Some(false),
        more_results_in_region: Some(false),
        ..pb::ScanResponse::default()
    };
    Act::Reply(scan_reply(answer, &rows))
}

#[tokio::test]
async fn a_get_allocates_nothing_for_each_cell() {
    let script = Script::live(&[(region("", ""), 1)]);
    let table = script.table().await;
    let get = Get::new("r");
    table.get(&get).await.expect("the location is known");
    let mut counts = Vec::new();
    for count in [FEW, MANY] {
        script.next("Get", [got(count)]);
        let (allocated, row) = allocations(table.get(&get)).await;
        assert_eq!(row.expect("get").cells.len(), count);
        counts.push(allocated);
    }
    assert!(counts[1] <= counts[0] + GROWTH, "{counts:?}");
}

#[tokio::test]
async fn a_scan_allocates_nothing_for_each_cell() {
    let script = Script::live(&[(region("", ""), 1)]);
    let table = script.table().await;
    table.get(&Get::new("r")).await.expect("the location is known");
    let mut counts = Vec::new();
    for width in [1, 40] {
        script.next("Scan", [page(50, width)]);
        let (allocated, rows) = allocations(async {
            let (mut rows, mut cells) = (table.scan(Scan::default()), 0);
            while let Some(row) = rows.next_row().await.expect("scan") {
                cells += row.cells.len();
            }
            cells
        })
        .await;
        assert_eq!(rows, 50 * width);
        counts.push(allocated);
    }
    // A row's vector grows a few times; its cells share the block's bytes.
    assert!(counts[1] <= counts[0] + 50 * 4 + GROWTH, "{counts:?}");
}

#[tokio::test]
async fn a_put_allocates_nothing_for_each_cell() {
    let script = Script::live(&[(region("", ""), 1)]);
    let table = script.table().await;
    table.get(&Get::new("r")).await.expect("the location is known");
    let (mut single, mut batched) = (Vec::new(), Vec::new());
    for count in [FEW, MANY] {
        let put = || Mutation { cells: cells(count), ..Mutation::put("r") };
        let change = put();
        let (allocated, done) = allocations(table.mutate(change)).await;
        done.expect("put");
        single.push(allocated);
        let changes = vec![put(), put(), put()];
        let (allocated, done) = allocations(table.mutate_all(changes)).await;
        assert!(done.iter().all(Result::is_ok));
        batched.push(allocated);
    }
    assert!(single[1] <= single[0] + GROWTH && batched[1] <= batched[0] + GROWTH, "{single:?} {batched:?}");
}
