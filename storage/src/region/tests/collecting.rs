//! What collection deletes and what it keeps.

use filesystem::faulty::{Effect, Fault, FaultyFilesystem};

use super::*;
use crate::collect::{self, Collected};
use crate::manifest::{self, ManifestHandle};
use crate::wal;

async fn paths(fs: &Arc<dyn Filesystem>, folder: &str) -> Vec<String> {
    fs.list(folder).await.expect("list").into_iter().map(|file| file.path).collect()
}

/// Data of the log: what is not a fence.
async fn segments(fs: &Arc<dyn Filesystem>) -> Vec<String> {
    let mut left = paths(fs, "ferrobase/log").await;
    for at in (0..left.len()).rev() {
        if wal::is_fence(fs, &left[at]).await.expect("read") {
            left.remove(at);
        }
    }
    left
}

#[tokio::test]
async fn compacted_files_stay_until_their_last_reader_is_gone() {
    let mut host = memory();
    let region = host.open().await;
    for round in 0..2 {
        write(&region, put("a", "f", "q", round, "v")).await;
        write(&region, put("b", "f", "q", round, "v")).await;
        region.flush().await.expect("flush");
    }
    let old = paths(&host.fs, "data").await;
    let mut scanner = region.scanner(&Scan::default()).await.expect("scanner");
    assert_eq!(region.compact(true).await.expect("compact"), 1);
    assert_eq!(region.collect().await.expect("collect"), Collected::default());
    let left = paths(&host.fs, "data").await;
    assert!(old.iter().all(|path| left.contains(path)), "read by the scanner: {old:?}, {left:?}");
    let mut rows = Vec::new();
    while scanner.next(&Limits::rows(1), &mut rows).await.expect("next").more {}
    assert_eq!(rows.len(), 2);
    drop(scanner);
    assert_eq!(region.collect().await.expect("collect").files, 2);
    assert_eq!(paths(&host.fs, "data").await.len(), 1);
    assert_eq!(value(&region, "b", "q").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn files_of_others_and_of_later_epochs_are_kept() {
    let mut host = memory();
    let region = host.open().await;
    let folder = super::super::open::folder(&info());
    let epoch = region.epoch();
    let name = |epoch: u64| format!("{folder}/f/{epoch:016x}{:016x}", 7);
    let keep = [
        name(epoch + 1),
        format!("{folder}/f/5b9d6a0e8c1f4d7fa1b2c3d4e5f60718"),
        format!("{folder}/f/notes.txt"),
        format!("{folder}/.regioninfo"),
    ];
    let sweep = [name(epoch), name(epoch - 1), format!("{folder}/gone/{:016x}{:016x}", 1, 2)];
    for path in keep.iter().chain(&sweep) {
        host.fs.put_if_absent(path, "x".into()).await.expect("put");
    }
    let (_later, _ours) = (
        host.fs.create_blob(&name(epoch + 2)).await.expect("begin"),
        host.fs.create_blob(&format!("{folder}/f/{epoch:016x}{:016x}", 9)).await.expect("begin"),
    );
    let done = region.collect().await.expect("collect");
    assert_eq!((done.files, done.bytes, done.unfinished), (3, 3, 1));
    let mut keep = keep.to_vec();
    keep.sort();
    assert_eq!(paths(&host.fs, "data").await, keep);
    assert_eq!(host.fs.unfinished("data").await.expect("list")[0].path, name(epoch + 2));
}

#[tokio::test]
async fn a_stream_is_released_when_every_region_of_it_has_flushed() {
    let mut host = memory();
    let first = host.open().await;
    write(&first, put("r", "f", "q", 1, "v")).await;
    drop(first);
    let second = host.open().await;
    assert_eq!(second.old_streams().await, 1);
    assert_eq!(
        collect::streams(&host.fs, &host.fs).await.expect("collect"),
        Collected::default(),
        "only memory has it"
    );
    write(&second, put("r", "g", "q", 1, "v")).await;
    drop(second);
    let third = host.open().await;
    assert_eq!(third.old_streams().await, 2);
    third.flush().await.expect("flush");
    assert_eq!(third.old_streams().await, 0);
    let done = collect::streams(&host.fs, &host.fs).await.expect("collect");
    assert_eq!((done.released, done.files, done.failed), (2, 2, 0));
    assert!(segments(&host.fs).await.is_empty());
    assert_eq!(collect::streams(&host.fs, &host.fs).await.expect("again"), Collected::default());
    let fourth = host.open().await;
    assert_eq!(fourth.get(&Get::new("r")).await.expect("get").len(), 2);
}

#[tokio::test]
async fn what_no_manifest_names_any_more_ends_with_its_process() {
    let mut host = memory();
    let (region, log) = host.open_with_log().await;
    write(&region, put("r", "f", "q", 1, "v")).await;
    region.close().await.expect("close");
    // A clean close takes the need away; the newest segment stays with the live stream.
    assert_eq!(segments(&host.fs).await.len(), 1);
    drop((region, log)); // and the process dies before it ends its stream
    let (region, log) = host.open_with_log().await;
    write(&region, put("r", "f", "q", 2, "v")).await;
    assert_eq!(
        collect::streams(&host.fs, &host.fs).await.expect("collect"),
        Collected::default(),
        "nobody has ended it"
    );
    let done = collect::list(&host.fs).await.expect("list").end_others(Some(log.stream())).await;
    assert_eq!((done.ended, done.failed), (1, 0));
    assert_eq!(collect::streams(&host.fs, &host.fs).await.expect("collect").released, 1);
    write(&region, put("r", "f", "q", 3, "our own stream goes on")).await;
    region.close().await.expect("close");
    log.end().await.expect("end");
    assert_eq!(collect::streams(&host.fs, &host.fs).await.expect("collect").released, 1);
    assert!(segments(&host.fs).await.is_empty());
    let region = host.open().await;
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("our own stream goes on"));
}

#[tokio::test]
async fn a_stream_of_retired_and_dropped_regions_is_released_and_a_lost_manifest_keeps_it() {
    for (retire, head, released) in
        [(true, None, 1), (false, Some("dropped.5"), 1), (false, Some("enabled.5"), 0), (false, None, 0)]
    {
        let mut host = memory();
        let region = host.open().await;
        write(&region, put("r", "f", "q", 1, "v")).await;
        drop(region);
        wal::fence(&host.fs, 1).await.expect("end");
        let random = &host.runtime.random;
        let path = manifest::path("tid", &info().encoded_name());
        if retire {
            let handle = ManifestHandle::load(&host.fs, random, "tid", &info().encoded_name()).await.expect("load");
            handle.expect("exists").retire(99).await.expect("retire");
        } else {
            host.fs.delete_register(&path).await.expect("delete");
        }
        if let Some(head) = head {
            host.fs.register_create("ferrobase/table/tid/head", head, Bytes::new()).await.expect("create");
        }
        let done = collect::streams(&host.fs, &host.fs).await.expect("collect");
        assert_eq!(
            (done.released, segments(&host.fs).await.len() as u64),
            (released, 1 - released),
            "{retire} {head:?}"
        );
    }
}

#[tokio::test]
async fn a_damaged_manifest_or_head_keeps_the_stream() {
    let mut host = memory();
    let region = host.open().await;
    write(&region, put("r", "f", "q", 1, "v")).await;
    region.flush().await.expect("flush");
    drop(region);
    wal::fence(&host.fs, 1).await.expect("end");
    for path in [manifest::path("tid", &info().encoded_name()), "ferrobase/log/0000000000000001/head".to_owned()] {
        let good = host.fs.register_read(&path).await.expect("read").expect("exists");
        let swap = async |expected: &filesystem::Version, body: Bytes| {
            let done = host.fs.register_swap(&path, expected, &good.head, Some(body)).await.expect("swap");
            let filesystem::SwapOutcome::Swapped(version) = done else { panic!("nobody else swaps") };
            version
        };
        let version = swap(&good.version, good.body.slice(..good.body.len() - 1)).await;
        let done = collect::streams(&host.fs, &host.fs).await.expect("collect");
        assert_eq!((done.failed, done.released, segments(&host.fs).await.len()), (1, 0, 1), "{path}");
        swap(&version, good.body.clone()).await;
    }
    assert_eq!(collect::streams(&host.fs, &host.fs).await.expect("collect").released, 1);
}

/// A flush whose commit stood although every answer was lost was once made again beside its own file: the older file was
/// listed and known to nobody, so that a major compaction left puts in it whose delete markers it dropped.
#[tokio::test]
async fn a_flush_whose_answer_is_lost_is_finished_later_and_listed_once() {
    let machine = FaultyFilesystem::new();
    let mut host = Host::new(Arc::new(machine.clone()));
    let region = host.open().await;
    write(&region, put("r", "f", "q", 1, "deleted")).await;
    let before = machine.steps();
    // Create, write and finish of the file, then the swap, three times.
    machine.plan_all((before + 3..before + 6).map(|step| Fault { step, effect: Effect::After, stop: false }).collect());
    assert_eq!(region.flush().await.expect_err("in doubt").kind(), ErrorKind::Unknown);
    assert!(machine.step_name(before + 3).expect("a step").starts_with("register swap"));
    assert_eq!(value(&region, "r", "q").await.as_deref(), Some("deleted"));
    assert!(!region.flush().await.expect("flush"), "it is done by now");
    assert_eq!((region.files(b"f").len(), region.memtable_bytes()), (1, 0));
    let mut delete = put("r", "f", "q", 1, "");
    delete.kind = MutationKind::Delete;
    delete.cells = vec![Cell::new(b"r", b"f", b"q", 1, CellType::DELETE_COLUMN, b"").expect("cell")];
    write(&region, delete).await;
    region.flush().await.expect("flush");
    region.compact(true).await.expect("compact");
    assert_eq!(value(&region, "r", "q").await, None);
    drop(region);
    let region = host.open().await;
    assert_eq!(value(&region, "r", "q").await, None, "nothing returns");
    assert_eq!(region.files(b"f").len(), paths(&host.fs, "data").await.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_does_not_wait_for_a_compaction() {
    let mut host = memory();
    let region = host.open().await;
    for round in 0..3 {
        write(&region, put("r", "f", "q", round, "v")).await;
        region.flush().await.expect("flush");
    }
    let compacting = region.compactions.read().await;
    write(&region, put("r", "f", "q", 9, "new")).await;
    assert!(region.flush().await.expect("flush"));
    drop(compacting);
    let flushes = {
        let region = region.clone();
        runtime::task::spawn("flushes", async move {
            for at in 0..50 {
                write(&region, put(&format!("row{at:02}"), "f", "q", 1, "v")).await;
                region.flush().await.expect("flush");
            }
        })
    };
    while !flushes.is_finished() {
        region.compact(true).await.expect("compact");
        runtime::task::yield_now().await;
    }
    flushes.await.expect("flushes");
    region.compact(true).await.expect("compact");
    assert_eq!((region.files(b"f").len(), paths(&host.fs, "data").await.len()), (1, 1));
    assert_eq!(rows(&region, &Scan::default()).await.len(), 51);
    drop(region);
    assert_eq!(rows(&host.open().await, &Scan::default()).await.len(), 51);
}
