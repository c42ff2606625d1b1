use std::sync::Arc;

use bytes::Bytes;
use filesystem::Filesystem;
use filesystem::faulty::{Effect, Fault, FaultyFilesystem};
use filesystem::memory::MemoryFilesystem;
use model::mutation::Nonce;
use model::{Cell, ErrorKind, SeqNo};
use runtime::Runtime;

use super::*;

fn cell(row: u64, value: &str) -> Cell {
    Cell::put(format!("row{row}").as_bytes(), b"f", b"q", 7, value.as_bytes()).expect("cell")
}

fn root() -> (MemoryFilesystem, Arc<dyn Filesystem>) {
    let memory = MemoryFilesystem::new();
    (memory.clone(), Arc::new(memory))
}

async fn log(fs: &Arc<dyn Filesystem>, stream: u64, segment_bytes: u64) -> Log {
    let settings = LogSettings { segment_bytes, ..LogSettings::default() };
    Log::create(fs.clone(), Runtime::system(), settings, stream).await.expect("log")
}

fn region(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

async fn write(log: &Log, name: &'static str, seqno: u64) {
    let nonce = seqno.is_multiple_of(2).then_some(Nonce { group: 1, nonce: seqno });
    let ticket =
        log.submit(&region(name), SeqNo(seqno), 5, nonce, &[cell(seqno, "a"), cell(seqno, "b")]).expect("submit");
    ticket.durable().await.expect("durable");
}

async fn seqnos(fs: &Arc<dyn Filesystem>, ended: &Ended, name: &str, after: u64) -> Vec<u64> {
    let entries = replay(fs, ended, name.as_bytes(), SeqNo(after)).await.expect("replay");
    for entry in &entries {
        assert_eq!(entry.nonce.is_some(), entry.seqno.0 % 2 == 0);
        assert_eq!(entry.cells.len(), 2);
        assert_eq!(entry.cells[0].seqno(), entry.seqno);
    }
    entries.iter().map(|entry| entry.seqno.0).collect()
}

#[tokio::test]
async fn replay_gives_each_region_its_entries_in_order() {
    let (_, fs) = root();
    let log = log(&fs, 1, 300).await;
    for seqno in 1..=20 {
        write(&log, if seqno % 3 == 0 { "b" } else { "a" }, seqno).await;
    }
    assert!(log.segments() > 3, "small segments roll");
    log.close().await;
    let ended = fence(&fs, 1).await.expect("fence");
    assert_eq!(seqnos(&fs, &ended, "b", 0).await, [3, 6, 9, 12, 15, 18]);
    assert_eq!(seqnos(&fs, &ended, "b", 9).await, [12, 15, 18]);
    assert_eq!(seqnos(&fs, &ended, "a", 18).await, [19, 20]);
    assert_eq!(fence(&fs, 1).await.expect("again"), ended);
    let (_, version) = state(&fs, 1).await.expect("look").expect("a head");
    assert!(release(&fs, 1, &version).await.expect("release"));
    assert_eq!(fence(&fs, 1).await.expect("released").index, None);
}

#[tokio::test]
async fn a_fenced_writer_is_refused() {
    let (_, fs) = root();
    let log = log(&fs, 2, 1 << 20).await;
    write(&log, "a", 1).await;
    let ended = fence(&fs, 2).await.expect("fence");
    let ticket = log.submit(&region("a"), SeqNo(2), 5, None, &[cell(2, "late")]).expect("submit");
    assert_eq!(ticket.durable().await.expect_err("fenced").kind(), ErrorKind::Fenced);
    assert!(log.is_fenced());
    assert_eq!(replay(&fs, &ended, b"a", SeqNo(0)).await.expect("replay").len(), 1);
    let again = Log::create(fs.clone(), Runtime::system(), LogSettings::default(), 2).await;
    assert_eq!(again.expect_err("taken").kind(), ErrorKind::Fenced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_syncs_and_keep_order() {
    // In memory a sync takes no time, so nobody would wait for one.
    let folder = tempfile::tempdir().expect("folder");
    let local = filesystem::local::LocalFilesystem::open(folder.path(), Arc::new(runtime::random::SystemRandom));
    let fs: Arc<dyn Filesystem> = Arc::new(local.expect("root"));
    let log = log(&fs, 3, 1 << 20).await;
    let next = Arc::new(parking_lot::Mutex::new(0));
    let tasks = (0..16).map(|_| {
        let (log, next) = (log.clone(), next.clone());
        runtime::task::spawn("writer", async move {
            for _ in 0..20 {
                let ticket = {
                    let mut next = next.lock();
                    *next += 1;
                    log.submit(
                        &region("a"),
                        SeqNo(*next * 2),
                        5,
                        Some(Nonce { group: 1, nonce: *next }),
                        &[cell(1, "a"), cell(2, "b")],
                    )
                };
                ticket.expect("submit").durable().await.expect("durable");
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("writer");
    }
    let ended = fence(&fs, 3).await.expect("fence");
    assert_eq!(seqnos(&fs, &ended, "a", 0).await, (1..=320).map(|n| n * 2).collect::<Vec<_>>());
    let groups = ended.index.expect("index").regions[&region("a")].groups.len();
    assert!(groups < 320, "every write had a sync of its own: {groups}");
}

#[tokio::test]
async fn forget_drops_segments_that_all_regions_flushed() {
    let (_, fs) = root();
    let log = log(&fs, 4, 200).await;
    for seqno in 1..=10 {
        write(&log, if seqno == 2 { "b" } else { "a" }, seqno).await;
    }
    let before = log.segments();
    log.forget(&region("a"), SeqNo(10)).await.expect("forget");
    let after_a = log.segments();
    assert!(after_a >= before - 1, "region b still needs an early segment: {before} → {after_a}");
    log.forget(&region("b"), SeqNo(2)).await.expect("forget");
    assert_eq!(log.segments(), 1);
    let ended = fence(&fs, 4).await.expect("fence");
    assert!(seqnos(&fs, &ended, "b", 0).await.is_empty());
}

/// Copies a root with one byte changed or the file cut.
async fn damaged(fs: &Arc<dyn Filesystem>, path: &str, change: impl Fn(&mut Vec<u8>)) -> Arc<dyn Filesystem> {
    let copy: Arc<dyn Filesystem> = Arc::new(MemoryFilesystem::new());
    for entry in fs.list("ferrobase").await.expect("list") {
        let mut data = fs.read_at(&entry.path, 0, entry.size as usize).await.expect("read").to_vec();
        if entry.path == path {
            change(&mut data);
        }
        copy.put_if_absent(&entry.path, data.into()).await.expect("put");
    }
    let head = head_path(5);
    let value = fs.register_read(&head).await.expect("read").expect("head");
    copy.register_create(&head, &value.head, value.body).await.expect("create");
    copy
}

#[tokio::test]
async fn damage_is_an_error_or_a_torn_tail_and_never_a_wrong_answer() {
    let (_, fs) = root();
    let log = log(&fs, 5, 1 << 20).await;
    for seqno in 1..=6 {
        write(&log, "a", seqno).await;
    }
    let path = segment_path(5, 1);
    let size = fs.size(&path).await.expect("size").expect("exists") as usize;
    let all: Vec<u64> = (1..=6).collect();
    for at in 0..size {
        for cut in [false, true] {
            let change = |data: &mut Vec<u8>| if cut { data.truncate(at) } else { data[at] ^= 0x40 };
            let copy = damaged(&fs, &path, change).await;
            match fence(&copy, 5).await {
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        if matches!(error, crate::StorageError::Newer { .. }) {
                            ErrorKind::Invalid
                        } else {
                            ErrorKind::Corrupt
                        }
                    );
                    assert!(error.to_string().contains(&path), "{error}");
                }
                Ok(ended) => {
                    let seen = seqnos(&copy, &ended, "a", 0).await;
                    // The last group is acknowledged nowhere inside the file; a cut file says nothing of what it lost.
                    assert!(all.starts_with(&seen), "at {at} cut {cut}: {seen:?}");
                    assert!(cut || seen.len() >= 5, "a flipped byte at {at} dropped acknowledged entries: {seen:?}");
                }
            }
        }
    }
}

/// A group in a value once counted as one of the log's: it made an honest torn tail look like damage, and the region unreadable.
#[tokio::test]
async fn a_value_that_holds_a_log_is_no_log() {
    let (_, fs) = root();
    let log_in_value = {
        let (_, other) = root();
        let log = log(&other, 6, 1 << 20).await;
        for seqno in 1..=6 {
            write(&log, "a", seqno).await;
        }
        let path = segment_path(6, 1);
        let len = other.size(&path).await.expect("size").expect("exists");
        other.read_at(&path, 0, len as usize).await.expect("read")
    };
    let log = log(&fs, 5, 1 << 20).await;
    write(&log, "a", 1).await;
    let path = segment_path(5, 1);
    let sound = fs.size(&path).await.expect("size").expect("exists") as usize;
    let mut cells = vec![Cell::put(b"row", b"f", b"q", 7, &log_in_value).expect("cell")];
    cells.push(Cell::put(b"row", b"f", b"r", 7, b"the tail that is torn").expect("cell"));
    log.submit(&region("a"), SeqNo(2), 5, None, &cells).expect("submit").durable().await.expect("durable");
    let whole = fs.size(&path).await.expect("size").expect("exists") as usize;
    assert!(whole > sound + log_in_value.len());
    let torn = damaged(&fs, &path, |data| data.truncate(whole - 1)).await;
    let ended = fence(&torn, 5).await.expect("a torn tail is no damage");
    assert!(replay(&torn, &ended, b"a", SeqNo(0)).await.expect("replay").iter().map(|e| e.seqno.0).eq([1]));
}

/// A group whose append or sync failed, or succeeded without an answer, stands in two segments.
#[tokio::test]
async fn an_entry_that_was_appended_again_counts_once() {
    for effect in [Effect::Before, Effect::Torn, Effect::After] {
        for step in 0..2 {
            let machine = FaultyFilesystem::new();
            let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
            let log = log(&fs, 7, 1 << 20).await;
            write(&log, "a", 1).await;
            machine.plan(Fault { step: machine.steps() + step, effect, stop: false });
            write(&log, "a", 2).await;
            write(&log, "a", 3).await;
            log.close().await;
            assert!(fs.exists(&segment_path(7, 2)).await.expect("look"), "{effect:?} {step}: it was written again");
            let ended = fence(&fs, 7).await.expect("fence");
            assert_eq!(seqnos(&fs, &ended, "a", 0).await, [1, 2, 3], "{effect:?} at step {step}");
        }
    }
}

#[tokio::test]
async fn a_trim_whose_answer_was_lost_is_not_taken_for_a_fence() {
    let machine = FaultyFilesystem::new();
    let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
    let log = log(&fs, 5, 300).await;
    for seqno in 1..=12 {
        write(&log, "a", seqno).await;
    }
    let segments = log.segments();
    machine.plan(Fault { step: machine.steps(), effect: Effect::After, stop: false });
    log.forget(&region("a"), SeqNo(12)).await.expect_err("no answer");
    log.forget(&region("a"), SeqNo(12)).await.expect("again");
    assert!(!log.is_fenced() && log.segments() < segments);
    write(&log, "a", 13).await;
}

#[tokio::test]
async fn a_segment_that_is_gone_is_not_the_end() {
    let (_, fs) = root();
    let log = log(&fs, 5, 300).await;
    for seqno in 1..=12 {
        write(&log, "a", seqno).await;
    }
    let gone = segment_path(5, 2);
    fs.delete(&gone).await.expect("delete");
    for _ in 0..2 {
        let error = fence(&fs, 5).await.expect_err("a segment is gone");
        assert!(error.kind() == ErrorKind::Corrupt && error.to_string().contains(&gone), "{error}");
    }
}

/// A fence of sealed segments takes their headers and indexes and not what lies between.
#[tokio::test]
async fn damage_in_a_sealed_segment_is_an_error_or_the_right_answer() {
    let (_, fs) = root();
    let log = log(&fs, 5, 300).await;
    for seqno in 1..=12 {
        write(&log, if seqno % 3 == 0 { "b" } else { "a" }, seqno).await;
    }
    let whole = fence(&fs, 5).await.expect("fence");
    let sealed = segment_path(5, 2);
    let size = fs.size(&sealed).await.expect("size").expect("exists") as usize;
    let mut left_to_readers = 0;
    for at in 0..size {
        let copy = damaged(&fs, &sealed, |data| data[at] ^= 0x10).await;
        // As before the fence was put.
        let head = head_path(5);
        let value = copy.register_read(&head).await.expect("read").expect("head");
        copy.register_swap(&head, &value.version, "live.1", Some(Bytes::new())).await.expect("swap");
        let ended = match fence(&copy, 5).await {
            Err(error) => {
                let newer = matches!(error, crate::StorageError::Newer { .. });
                assert!(
                    (newer || error.kind() == ErrorKind::Corrupt) && error.to_string().contains(&sealed),
                    "{error}"
                );
                continue;
            }
            Ok(ended) => ended,
        };
        assert_eq!(ended.index.as_ref().expect("an index").regions.len(), 2);
        for (name, expected) in [("a", vec![1, 2, 4, 5, 7, 8, 10, 11]), ("b", vec![3, 6, 9, 12])] {
            match replay(&copy, &ended, name.as_bytes(), SeqNo(0)).await {
                Ok(entries) => {
                    let seen: Vec<u64> = entries.iter().map(|entry| entry.seqno.0).collect();
                    assert_eq!(seen, expected, "byte {at}");
                }
                Err(error) => {
                    assert!(error.to_string().contains(&sealed), "{error}");
                    left_to_readers += 1;
                }
            }
        }
    }
    assert!(left_to_readers > 100, "the fence does not read groups that the index names: {left_to_readers}");
    let index = whole.index.expect("an index");
    assert_eq!(index.regions.values().map(|ranges| ranges.groups.len()).sum::<usize>(), 12);
}

#[test]
fn header_is_that_of_the_format_page() {
    let header = format::segment_header(1, 1, &[]);
    let fixed = "464257414c53454700000001000000000000000100000000000000010000000";
    assert!(hex::encode(&header).starts_with(fixed), "{}", hex::encode(&header));
    assert_eq!(format::read_segment_header(&header, 1, 1, "f").expect("read").expect("whole"), (header.len(), vec![]));
    let mut newer = header.to_vec();
    newer[11] = 2;
    let end = newer.len() - 4;
    let crc = filesystem::crc32c(&newer[..end]).to_be_bytes();
    newer[end..].copy_from_slice(&crc);
    let error = format::read_segment_header(&newer.into(), 1, 1, "f").expect_err("newer");
    assert!(error.to_string().contains("format version 2"), "{error}");
}

#[tokio::test]
async fn a_stream_that_lost_its_head_is_not_an_empty_one() {
    let (_, fs) = root();
    let written = log(&fs, 8, 1 << 20).await;
    write(&written, "a", 1).await;
    drop(written);
    fs.delete_register(&head_path(8)).await.expect("delete");
    for ended in [fence(&fs, 8).await, reader::fence_known(&fs, 8).await, reader::fence_known(&fs, 9).await] {
        assert_eq!(ended.expect_err("lost").kind(), ErrorKind::Corrupt);
    }
    // Nobody wrote this one, and nobody may begin to.
    assert_eq!(fence(&fs, 9).await.expect("new").index, Some(StreamIndex::default()));
}

/// Space is missed when a group is synced: all its bytes may lie there, and a death before the next segment lets it appear.
#[tokio::test]
async fn a_group_that_may_stand_after_a_full_store_is_told_as_unknown() {
    let machine = FaultyFilesystem::new();
    let fs: Arc<dyn Filesystem> = Arc::new(machine.clone());
    let log = log(&fs, 9, 1 << 20).await;
    write(&log, "a", 1).await;
    let failed = async |seqno| {
        let ticket = log.submit(&region("a"), SeqNo(seqno), 5, None, &[cell(seqno, "a"), cell(seqno, "b")]);
        ticket.expect("submit").durable().await.expect_err("no space").kind()
    };
    machine.set_full_at_sync(true);
    assert_eq!(failed(3).await, ErrorKind::Unknown);
    // What comes while it is known to be full has no bytes anywhere.
    assert_eq!(failed(5).await, ErrorKind::Full);
    // It does appear, if nothing follows.
    let found: Vec<_> = replay(&fs, &fence(&fs, 9).await.expect("fence"), b"a", SeqNo(0)).await.expect("replay");
    assert_eq!(found.iter().map(|entry| entry.seqno.0).collect::<Vec<_>>(), [1, 3]);

    let log = super::tests::log(&fs, 10, 1 << 20).await;
    machine.set_full_at_sync(false);
    write(&log, "a", 1).await;
    machine.set_full(true);
    let ticket = log.submit(&region("a"), SeqNo(3), 5, None, &[cell(3, "a")]).expect("submit");
    assert_eq!(ticket.durable().await.expect_err("no space").kind(), ErrorKind::Full, "not a byte was taken");
    machine.set_full(false);
    let found = replay(&fs, &fence(&fs, 10).await.expect("fence"), b"a", SeqNo(0)).await.expect("replay");
    assert_eq!(found.len(), 1);
}
