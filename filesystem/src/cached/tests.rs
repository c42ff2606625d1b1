use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;

use super::*;
use crate::faulty::{Effect, Fault, FaultyFilesystem};
use crate::flaky::{Flaky, Settled};
use crate::local::LocalFilesystem;
use crate::memory::MemoryFilesystem;

/// Makes a root in a folder.
type Back = fn(&Path) -> Arc<dyn Filesystem>;

/// Everything but logs, with which the contract tests change too.
fn kept(path: &str) -> bool {
    !path.starts_with("l/") && path != "d/l"
}

fn settings(folder: &Path, bytes: u64) -> CacheSettings {
    let settings = CacheSettings::new(Some(folder.to_owned()), bytes, "memory://root");
    CacheSettings { is_kept: kept, pause: Duration::ZERO, ..settings }
}

async fn open(inner: Arc<dyn Filesystem>, settings: CacheSettings) -> CachedFilesystem {
    CachedFilesystem::new(inner, settings, Runtime::system()).await.expect("a cache")
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

async fn write(fs: &dyn Filesystem, path: &str, data: &[u8]) -> Result<u64> {
    let mut writer = fs.create_blob(path).await?;
    for piece in data.chunks(100_003) {
        writer.write(piece.to_vec().into()).await?;
    }
    writer.finish().await
}

/// Reads in many ways, each compared.
async fn check(fs: &dyn Filesystem, path: &str, data: &[u8]) {
    let open = fs.open(path).await.expect("open");
    for i in 0..40u64 {
        let offset = (i.wrapping_mul(7_919_317) % data.len() as u64) as usize;
        let len = [1, 4096, 65_536, 300_000][i as usize % 4].min(data.len() - offset);
        let read = open.read_at(offset as u64, len).await.expect("read");
        assert!(read == data[offset..offset + len], "{path} {offset} {len}");
    }
    let read = open.read_at(0, usize::MAX).await.expect("read");
    assert!(read == data, "{path}: whole");
}

/// What the folder's files take on disk.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.metadata().ok()?.blocks() * 512)).sum()
}

fn cells_files(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "cells")).collect()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 30 s: {what}");
}

/// Waits until nobody uses the folder.
async fn is_free(cache: &Path) {
    let is_free = || std::fs::File::open(cache.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
    until("the last fetches end", is_free).await;
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_conforms_over_every_back_end_and_over_faults() {
    let folder = tempfile::tempdir().expect("folder");
    let next = AtomicUsize::new(0);
    let make = async |inner: Back, on_disk: bool| {
        let folder = folder.path().join(next.fetch_add(1, Ordering::SeqCst).to_string());
        let settings = settings(&folder.join("cache"), 64 << 20);
        let settings = if on_disk { settings } else { CacheSettings { folder: None, ..settings } };
        Arc::new(open(inner(&folder), settings).await) as Arc<dyn Filesystem>
    };
    let backs: [Back; 4] = [
        |_| Arc::new(MemoryFilesystem::new()),
        |_| Arc::new(MemoryFilesystem::without_appends()),
        |_| Arc::new(FaultyFilesystem::new()),
        |folder| Arc::new(LocalFilesystem::open(folder.join("root"), Runtime::system().random).expect("root")),
    ];
    let flaky: Back = |_| Arc::new(Flaky::over(Arc::new(MemoryFilesystem::new())));
    for back in backs {
        for on_disk in [true, false] {
            conformance::run_all(async || make(back, on_disk).await).await;
            // With calls that fail below it, and above it.
            let over_flaky = async || Arc::new(Settled::over(make(flaky, on_disk).await)) as Arc<dyn Filesystem>;
            conformance::run_all(over_flaky).await;
            let under_flaky = async || {
                let root = Arc::new(Flaky::over(make(back, on_disk).await));
                Arc::new(Settled::over(root)) as Arc<dyn Filesystem>
            };
            conformance::run_all(under_flaky).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_read_without_the_store_and_so_after_a_restart() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), FaultyFilesystem::new());
    let fs = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    let data: Vec<Vec<u8>> = [1, 16_375, 16_376, 16_377, 5_000_000].map(|len| bytes(len as u64, len)).to_vec();
    for data in &data {
        write(&fs, &format!("data/{}", data.len()), data).await.expect("write");
    }
    assert_eq!(fs.put_if_absent("data/put", "xyz".into()).await.expect("put"), PutOutcome::Created);
    // From here on the store answers nothing.
    inner.stop();
    for data in &data {
        check(&fs, &format!("data/{}", data.len()), data).await;
    }
    assert_eq!((count(&fs.counters().fetched_bytes), count(&fs.counters().misses)), (0, 0));
    drop(fs);
    let fs = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    for data in &data {
        check(&fs, &format!("data/{}", data.len()), data).await;
    }
    assert_eq!(fs.read_at("data/put", 1, 9).await.expect("read"), "yz");
    let counters = fs.counters();
    assert_eq!((count(&counters.fetched_bytes), count(&counters.damaged), count(&counters.failures)), (0, 0, 0));
    assert!(fs.open("data/other").await.is_err(), "the store is gone indeed");
    // Of another root nothing is taken.
    drop(fs);
    let other = CacheSettings { root: "memory://other".into(), ..settings(folder.path(), 64 << 20) };
    let fs = open(Arc::new(inner), other).await;
    assert!(fs.open("data/1").await.is_err());
    assert!(cells_files(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_kept_and_what_is_deleted_leaves() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let data = bytes(1, 3_000_000);
    write(&inner, "data/x", &data).await.expect("write");
    let fs = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    check(&fs, "data/x", &data).await;
    let all = cells::cells_of(3_000_000) * cells::CELL + cells::HEADER;
    until("everything is kept", || count(&fs.counters().written_bytes) >= all).await;
    assert_eq!(count(&fs.counters().bytes), all, "each cell is counted once");
    let fetched = count(&fs.counters().fetched_bytes);
    check(&fs, "data/x", &data).await;
    assert_eq!(count(&fs.counters().fetched_bytes), fetched);
    assert!(taken(folder.path()) <= all, "{}", taken(folder.path()));
    let reader = fs.open("data/x").await.expect("open");
    reader.read_at(0, 10).await.expect("read");
    fs.delete("data/x").await.expect("delete");
    assert_eq!((cells_files(folder.path()).len(), count(&fs.counters().bytes)), (0, 0));
    assert_eq!(reader.read_at(100_000, 10).await.expect_err("deleted").kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_never_give_a_wrong_byte() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let cache = folder.path().join("cache");
    let data = bytes(5, 700_000);
    let fresh = async || open(Arc::new(inner.clone()), settings(&cache, 64 << 20)).await;
    let fs = fresh().await;
    write(&fs, "data/x", &data).await.expect("write");
    drop(fs);
    let [file] = &cells_files(&cache)[..] else { panic!("one file") };
    let image = std::fs::read(file).expect("read");
    let mut damaged = 0;
    for round in 0..250usize {
        let mut hurt = image.clone();
        let at = match round {
            0..100 => round * 41 % 4096, // the header
            _ => round.wrapping_mul(2_654_435_761) % hurt.len(),
        };
        match round % 5 {
            0 | 1 => hurt[at] ^= 1 << (round % 8),
            2 => hurt.truncate(at),
            3 => hurt[at..].fill(0),
            // Sound cells at wrong places.
            _ => hurt[4096..].rotate_left(16_384),
        }
        is_free(&cache).await;
        drop(std::fs::remove_file(file)); // a damaged one was removed
        std::fs::write(file, &hurt).expect("hurt");
        let fs = fresh().await;
        check(&fs, "data/x", &data).await;
        check(&fs, "data/x", &data).await;
        damaged += count(&fs.counters().damaged);
        // Hurt while it is read.
        for file in cells_files(&cache) {
            let open = std::fs::OpenOptions::new().write(true).open(file).expect("open");
            std::os::unix::fs::FileExt::write_all_at(&open, &[0x55; 100], 4096 + (at as u64 % 600_000)).expect("hurt");
        }
        check(&fs, "data/x", &data).await;
        fs.delete("data/y").await.expect("absent is fine");
        drop(fs);
        cells_files(&cache).iter().filter(|other| *other != file).for_each(|other| drop(std::fs::remove_file(other)));
    }
    assert!(damaged > 100, "only {damaged} damaged cells were met");
    // Beginnings and endings of other names, and what a killed process left without a header.
    std::fs::write(cache.join("00000000000000000000000000000000.cells"), &image[4096..]).expect("write");
    std::fs::write(cache.join("ffffffffffffffffffffffffffffffff.cells"), "").expect("write");
    std::fs::write(cache.join("precious.txt"), "mine").expect("write");
    is_free(&cache).await;
    drop(fresh().await);
    assert_eq!(std::fs::read(cache.join("precious.txt")).expect("left alone"), b"mine");
    assert!(!cache.join("00000000000000000000000000000000.cells").exists());
    assert!(!cache.join("ffffffffffffffffffffffffffffffff.cells").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_under_load_and_over_restarts() {
    const BOUND: u64 = 16 << 20;
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let cache = folder.path().to_owned();
    let files: Vec<(String, Vec<u8>)> =
        (0..24).map(|i| (format!("data/{i}"), bytes(i, 1_500_000 + 90_000 * i as usize))).collect();
    for (path, data) in &files[..12] {
        write(&inner, path, data).await.expect("write");
    }
    let fs = open(Arc::new(inner.clone()), settings(&cache, BOUND)).await;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (watched, over) = (cache.clone(), done.clone());
    let watch = std::thread::spawn(move || {
        let mut most = 0;
        while !over.load(Ordering::Relaxed) {
            most = most.max(taken(&watched));
            std::thread::sleep(Duration::from_millis(1));
        }
        most
    });
    let files = Arc::new(files);
    let readers = (0..4).map(|reader| {
        let (fs, files) = (fs.clone(), files.clone());
        tokio::spawn(async move {
            for i in 0..24 {
                let (path, data) = &files[(i * 7 + reader * 3) % 12];
                check(&fs, path, data).await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for (path, data) in &files[12..] {
        write(&fs, path, data).await.expect("write");
        check(&fs, path, data).await;
        if path.ends_with('5') {
            fs.delete(path).await.expect("delete");
        }
    }
    for reader in readers {
        reader.await.expect("a reader");
    }
    done.store(true, Ordering::Relaxed);
    let most = watch.join().expect("watch");
    assert!(most <= BOUND && most > BOUND / 2, "{most}");
    assert!(
        count(&fs.counters().evicted_bytes) > BOUND / 2 && count(&fs.counters().failures) == 0,
        "{:?}",
        fs.counters()
    );
    let counted = count(&fs.counters().bytes);
    assert!(taken(&cache) <= counted && counted <= BOUND, "{} {counted}", taken(&cache));
    drop(fs);
    is_free(&cache).await;
    // What was counted is found again, and a smaller bound holds at once.
    let fs = open(Arc::new(inner.clone()), settings(&cache, BOUND)).await;
    assert!(count(&fs.counters().bytes) >= taken(&cache) && taken(&cache) > BOUND / 2);
    drop(fs);
    let fs = open(Arc::new(inner.clone()), settings(&cache, BOUND / 4)).await;
    assert!(taken(&cache) <= BOUND / 4 && taken(&cache) > 0);
    for (path, data) in &files[..12] {
        check(&fs, path, data).await;
    }
    assert!(taken(&cache) <= BOUND / 4);
    // Longer than the cache: the first half-cache of it is kept, the rest comes from the store.
    let long = bytes(99, 3 * (BOUND / 4) as usize);
    write(&fs, "data/long", &long).await.expect("write");
    assert!(taken(&cache) <= BOUND / 4);
    check(&fs, "data/long", &long).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unconfirmed_blob_is_never_kept() {
    for (effect, stands) in [(Effect::Before, false), (Effect::After, true), (Effect::Late(2), false)] {
        let (folder, inner) = (tempfile::tempdir().expect("folder"), FaultyFilesystem::new());
        let fs = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
        let (ours, theirs) = (bytes(1, 400_000), bytes(2, 400_000));
        // create, four writes, finish
        inner.plan(Fault { step: 5, effect, stop: false });
        write(&fs, "data/x", &ours[..]).await.expect_err("the fault");
        assert!(cells_files(folder.path()).is_empty(), "{effect:?}");
        assert_eq!(count(&fs.counters().bytes), 0);
        let put = inner.put_if_absent("data/x", theirs.clone().into()).await.expect("put");
        assert_eq!(put == PutOutcome::Exists, stands);
        check(&fs, "data/x", if stands { &ours } else { &theirs }).await;
        // The same for a name that is taken, one that is given up and one that is dropped.
        assert_eq!(write(&fs, "data/x", &ours).await.expect_err("taken").kind(), ErrorKind::Exists);
        assert_eq!(fs.put_if_absent("data/x", "x".into()).await.expect("put"), PutOutcome::Exists);
        for abort in [true, false] {
            let mut writer = fs.create_blob("data/y").await.expect("create");
            writer.write(ours.clone().into()).await.expect("write");
            if abort { writer.abort().await } else { drop(writer) }
        }
        assert_eq!(inner.put_if_absent("data/y", theirs.clone().into()).await.expect("put"), PutOutcome::Created);
        check(&fs, "data/y", &theirs).await;
        check(&fs, "data/x", if stands { &ours } else { &theirs }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_has_one_user_and_another_goes_without_until_it_is_free() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let data = bytes(1, 500_000);
    let first = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    write(&first, "data/x", &data).await.expect("write");
    let second = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    check(&second, "data/x", &data).await;
    assert_eq!((count(&second.counters().hits), count(&second.counters().written_bytes)), (0, 0));
    check(&first, "data/x", &data).await;
    assert_eq!(count(&first.counters().misses), 0);
    drop(first);
    check(&second, "data/x", &data).await;
    until("the folder is taken", || count(&second.counters().bytes) > 0).await;
    check(&second, "data/x", &data).await;
    assert!(count(&second.counters().hits) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_deleted_or_swapped_costs_only_speed() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let cache = folder.path().join("cache");
    let data = bytes(1, 2_000_000);
    let fs = open(Arc::new(inner.clone()), settings(&cache, 64 << 20)).await;
    write(&fs, "data/a", &data).await.expect("write");
    let reader = fs.open("data/a").await.expect("open");
    reader.read_at(0, 10).await.expect("read");
    for round in 0..4 {
        if round % 2 == 0 {
            std::fs::remove_dir_all(&cache).expect("remove");
        } else {
            std::fs::rename(&cache, folder.path().join(format!("old{round}"))).expect("rename");
            std::fs::create_dir(&cache).expect("another");
        }
        assert_eq!(reader.read_at(1_000_000, 1000).await.expect("read"), data[1_000_000..1_001_000]);
        check(&fs, "data/a", &data).await;
        let path = format!("data/b{round}");
        write(&fs, &path, &data).await.expect("write");
        check(&fs, &path, &data).await;
        // It is used again.
        write(&fs, &format!("data/c{round}"), &data).await.expect("write");
        until("it is kept again", || taken(&cache) > 2_000_000).await;
        assert!(taken(&cache) <= count(&fs.counters().bytes));
    }
    // A folder that cannot be one is refused at once.
    std::fs::write(folder.path().join("file"), "").expect("write");
    let refused =
        CachedFilesystem::new(Arc::new(inner), settings(&folder.path().join("file"), 64 << 20), Runtime::system());
    refused.await.expect_err("a file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_were_damaged_on_their_way_are_not_kept_for_good() {
    let (folder, inner) = (tempfile::tempdir().expect("folder"), MemoryFilesystem::new());
    let (good, bad) = (bytes(1, 500_000), bytes(2, 500_000));
    inner.put_if_absent("data/x", bad.into()).await.expect("put");
    let fs = open(Arc::new(inner.clone()), settings(folder.path(), 64 << 20)).await;
    let reader = fs.open("data/x").await.expect("open");
    reader.read_at(0, 500_000).await.expect("read");
    // Not `bytes`: room is taken before it is written to.
    let all = cells::cells_of(500_000) * cells::CELL + cells::HEADER;
    until("it is kept", || count(&fs.counters().written_bytes) >= all).await;
    drop(reader);
    inner.delete("data/x").await.expect("delete");
    inner.put_if_absent("data/x", good.clone().into()).await.expect("put");
    let reader = fs.open("data/x").await.expect("open");
    assert_ne!(reader.read_at(70_000, 60_000).await.expect("read"), good[70_000..130_000], "kept as it came");
    reader.distrust(70_000, 60_000).await;
    assert_eq!(reader.read_at(70_000, 60_000).await.expect("read"), good[70_000..130_000]);
}

/// On a tmpfs, where mounting is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_only_speed_and_leaves_room_to_others() {
    let folder = tempfile::tempdir().expect("folder");
    let mut mount = std::process::Command::new("mount");
    if !mount
        .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
        .arg(folder.path())
        .output()
        .expect("mount")
        .status
        .success()
    {
        println!("mounting is not allowed here");
        return;
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            drop(std::process::Command::new("umount").arg("-l").arg(&self.0).status());
        }
    }
    let _mounted = Mounted(folder.path().to_owned());
    let cache = folder.path().join("cache");
    let inner = MemoryFilesystem::new();
    let fs =
        open(Arc::new(inner.clone()), CacheSettings { pause: Duration::from_secs(3600), ..settings(&cache, 64 << 20) })
            .await;
    for i in 0..8 {
        let data = bytes(i, 2_500_000);
        write(&fs, &format!("data/{i}"), &data).await.expect("the store has room");
        check(&fs, &format!("data/{i}"), &data).await;
    }
    assert_eq!(count(&fs.counters().failures), 1, "one try, then a pause");
    assert!(count(&fs.counters().bytes) > 2_500_000 && taken(&cache) <= count(&fs.counters().bytes));
    std::fs::write(folder.path().join("log"), vec![1; 200_000]).expect("there is room for others");
    check(&fs, "data/1", &bytes(1, 2_500_000)).await;
    drop(fs);
    // A disk that is full from the start is no reason not to start.
    let fill = vec![7; 1 << 20];
    for i in 0..8 {
        drop(std::fs::write(folder.path().join(format!("fill{i}")), &fill));
    }
    let fs = open(Arc::new(inner), settings(&folder.path().join("other"), 64 << 20)).await;
    check(&fs, "data/5", &bytes(5, 2_500_000)).await;
}

/// A fetch that comes to its end after its file was deleted leaves nothing behind.
#[tokio::test]
async fn what_was_fetched_before_a_delete_is_not_kept_after_it() {
    let folder = tempfile::tempdir().expect("folder");
    let fs = open(Arc::new(MemoryFilesystem::new()), settings(folder.path(), 64 << 20)).await;
    let disk = fs.0.disk.clone().expect("a disk");
    let fill = |since| disk.fill(("data/a", 3), 0, b"abc", since, &|| true);
    let before = disk.removals();
    assert!(fill(before) && disk.find("data/a", None).is_some());
    disk.remove("data/a");
    assert!(!fill(before) && disk.find("data/a", None).is_none());
    assert!(disk.fill(("data/b", 3), 0, b"abc", before, &|| true), "others are kept");
    assert!(fill(disk.removals()), "it stands again");
    let long_ago = disk.removals();
    (0..=super::disk::REMOVALS_KNOWN).for_each(|n| disk.remove(&n.to_string()));
    assert!(!fill(long_ago), "nobody remembers whether it was deleted");
}
