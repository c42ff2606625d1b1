//! The contract of [`Filesystem`] as a suite that every back end and wrapper passes.
//!
//! Each check takes a fresh root. They panic with what they saw.

use std::sync::Arc;

use bytes::Bytes;

use crate::*;

/// Runs every check, each on a root of its own.
pub async fn run_all<F>(make: F)
where
    F: AsyncFn() -> Arc<dyn Filesystem>,
{
    blobs_are_written_once(&*make().await).await;
    blobs_are_invisible_until_finished(&*make().await).await;
    reads_are_cut_at_the_end(&*make().await).await;
    one_of_many_puts_wins(make().await).await;
    registers_change_by_version_only(&*make().await).await;
    one_of_many_swaps_wins_each_version(make().await).await;
    logs_have_one_writer(&*make().await).await;
    listings_show_blobs_and_logs(&*make().await).await;
    names_like_those_of_the_back_end_are_anybodys(&*make().await).await;
    what_is_unfinished_is_found_and_can_be_abandoned(&*make().await).await;
    bad_keys_and_heads_are_refused(&*make().await).await;
}

/// Runs every check where one call in four goes wrong ([`flaky`]): a caller that follows the contract does not notice. Panics if none
/// of a kind did.
pub async fn run_all_flaky<F>(make: F)
where
    F: AsyncFn() -> Arc<dyn Filesystem>,
{
    let roots = parking_lot::Mutex::new(Vec::new());
    run_all(async || {
        let root = flaky::Flaky::over(make().await);
        roots.lock().push(root.clone());
        Arc::new(flaky::Settled::over(Arc::new(root))) as Arc<dyn Filesystem>
    })
    .await;
    let hits = roots.lock().iter().map(flaky::Flaky::hits).fold([0; 3], |[a, b, c], [x, y, z]| [a + x, b + y, c + z]);
    assert!(hits.iter().all(|hits| *hits >= 10), "not done, no answer, late: {hits:?}");
}

/// Runs the checks of what only back ends of one machine promise, each on a root of its own.
pub async fn run_one_machine<F>(make: F)
where
    F: AsyncFn() -> Arc<dyn Filesystem>,
{
    readers_outlive_the_name(&*make().await).await;
    a_commit_sees_the_next_name(&*make().await).await;
    a_root_has_one_holder(&*make().await).await;
}

async fn all(fs: &dyn Filesystem, path: &str) -> Bytes {
    let size = fs.size(path).await.expect("size").expect("exists");
    fs.read_at(path, 0, size as usize).await.expect("read")
}

async fn blobs_are_written_once(fs: &dyn Filesystem) {
    assert_eq!(fs.put_if_absent("a/b", "one".into()).await.expect("put"), PutOutcome::Created);
    assert_eq!(fs.put_if_absent("a/b", "two".into()).await.expect("put"), PutOutcome::Exists);
    let mut writer = fs.create_blob("a/b").await.expect("create");
    writer.write("three".into()).await.expect("write");
    let error = writer.finish().await.expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::Exists, "{error}");
    assert_eq!(all(fs, "a/b").await, "one");
    assert_eq!(fs.put_if_absent("a/c", "x".into()).await.expect("put"), PutOutcome::Created);
    assert_eq!(fs.rename("a/b", "a/c").await.expect("rename"), PutOutcome::Exists);
    assert_eq!(fs.rename("a/b", "d/e").await.expect("rename"), PutOutcome::Created);
    assert_eq!(all(fs, "d/e").await, "one");
    fs.delete("d/e").await.expect("delete");
    fs.delete("d/e").await.expect("absent is fine");
    assert_eq!(fs.size("d/e").await.expect("size"), None);
    assert_eq!(fs.open("d/e").await.expect_err("absent").kind(), ErrorKind::NotFound);
}

async fn blobs_are_invisible_until_finished(fs: &dyn Filesystem) {
    let mut writer = fs.create_blob("x/y").await.expect("create");
    writer.write("12".into()).await.expect("write");
    writer.write("345".into()).await.expect("write");
    assert_eq!(fs.size("x/y").await.expect("size"), None);
    assert!(fs.list("x").await.expect("list").is_empty());
    assert_eq!(writer.finish().await.expect("finish"), 5);
    assert_eq!(all(fs, "x/y").await, "12345");
    let mut dropped = fs.create_blob("x/z").await.expect("create");
    dropped.write("1".into()).await.expect("write");
    dropped.abort().await;
    assert_eq!(fs.size("x/z").await.expect("size"), None);
}

async fn what_is_unfinished_is_found_and_can_be_abandoned(fs: &dyn Filesystem) {
    let names = async |folder| {
        let mut names: Vec<String> =
            fs.unfinished(folder).await.expect("list").into_iter().map(|unfinished| unfinished.path).collect();
        names.sort();
        names
    };
    let begin = async |path| {
        let mut writer = fs.create_blob(path).await.expect("create");
        writer.write("12".into()).await.expect("write");
        writer
    };
    let (done, given_up, abandoned) = (begin("x/y/1").await, begin("x/y/2").await, begin("x/z").await);
    assert_eq!(names("x").await, ["x/y/1", "x/y/2", "x/z"]);
    assert_eq!(names("x/y").await, ["x/y/1", "x/y/2"]);
    done.finish().await.expect("finish");
    given_up.abort().await;
    let [left] = &fs.unfinished("x").await.expect("list")[..] else { panic!("one is left") };
    fs.abandon(left).await.expect("abandon");
    fs.abandon(left).await.expect("gone is fine");
    assert!(abandoned.finish().await.is_err(), "an abandoned writer cannot finish");
    assert!(names("x").await.is_empty());
    assert_eq!(fs.size("x/z").await.expect("size"), None);
    assert_eq!(fs.list("x").await.expect("list").len(), 1);
}

async fn reads_are_cut_at_the_end(fs: &dyn Filesystem) {
    fs.put_if_absent("r", "0123456789".into()).await.expect("put");
    assert_eq!(fs.read_at("r", 8, 5).await.expect("read"), "89");
    assert!(fs.read_at("r", 10, 5).await.expect("read").is_empty());
    assert!(fs.read_at("r", u64::MAX / 2, usize::MAX).await.expect("read").is_empty());
    let open = fs.open("r").await.expect("open");
    assert_eq!(open.read_at(2, 3).await.expect("read"), "234");
    fs.delete("r").await.expect("delete");
    // A back end of many machines may say that it is gone.
    match open.read_at(2, 3).await {
        Ok(data) => assert_eq!(data, "234"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
}

async fn readers_outlive_the_name(fs: &dyn Filesystem) {
    fs.put_if_absent("r", "0123456789".into()).await.expect("put");
    let open = fs.open("r").await.expect("open");
    fs.delete("r").await.expect("delete");
    assert_eq!(open.read_at(2, 3).await.expect("read"), "234");
}

async fn one_of_many_puts_wins(fs: Arc<dyn Filesystem>) {
    for round in 0..20 {
        let path = format!("race/{round}");
        let tries = (0..8).map(|i| {
            let (fs, path) = (fs.clone(), path.clone());
            runtime::task::spawn("put", async move { fs.put_if_absent(&path, Bytes::from(vec![i; 100])).await })
        });
        let mut winners = 0;
        for task in futures::future::join_all(tries).await {
            winners += usize::from(task.expect("task").expect("put") == PutOutcome::Created);
        }
        assert_eq!(winners, 1, "round {round}");
        let data = all(&*fs, &path).await;
        assert!(data.len() == 100 && data.iter().all(|byte| *byte == data[0]), "half an object");
    }
}

async fn registers_change_by_version_only(fs: &dyn Filesystem) {
    assert_eq!(fs.register_read_settled("reg").await.expect("read"), None);
    assert_eq!(fs.register_read("t/r").await.expect("read"), None);
    let CreateOutcome::Created(first) = fs.register_create("t/r", "live,1", "body".into()).await.expect("create")
    else {
        panic!("the register was new");
    };
    let CreateOutcome::Exists(seen) = fs.register_create("t/r", "other", "x".into()).await.expect("create") else {
        panic!("the register existed");
    };
    assert_eq!((seen.head.as_str(), &seen.body[..], &seen.version), ("live,1", &b"body"[..], &first));
    let SwapOutcome::Swapped(second) = fs.register_swap("t/r", &first, "live,2", None).await.expect("swap") else {
        panic!("nobody else swaps");
    };
    let SwapOutcome::Superseded(Some(seen)) =
        fs.register_swap("t/r", &first, "late", Some("late".into())).await.expect("swap")
    else {
        panic!("the version had passed");
    };
    assert_eq!((seen.head.as_str(), &seen.body[..], &seen.version), ("live,2", &b"body"[..], &second));
    let SwapOutcome::Swapped(_) = fs.register_swap("t/r", &second, "live,3", Some("new".into())).await.expect("swap")
    else {
        panic!("nobody else swaps");
    };
    let now = fs.register_read("t/r").await.expect("read").expect("exists");
    assert_eq!((now.head.as_str(), &now.body[..]), ("live,3", &b"new"[..]));
    fs.delete_register("t/r").await.expect("delete");
    assert_eq!(fs.register_swap("t/r", &now.version, "x", None).await.expect("swap"), SwapOutcome::Superseded(None));
}

async fn one_of_many_swaps_wins_each_version(fs: Arc<dyn Filesystem>) {
    fs.register_create("names", "n", Bytes::new()).await.expect("create");
    let names = |body: &Bytes| -> Vec<String> {
        std::str::from_utf8(body).expect("text").split_whitespace().map(str::to_owned).collect()
    };
    let tasks = (0..4).map(|task| {
        let fs = fs.clone();
        runtime::task::spawn("swap", async move {
            for i in 0..25 {
                let name = format!("{task}-{i}");
                loop {
                    let seen = fs.register_read("names").await.expect("read").expect("exists");
                    let mut all = names(&seen.body);
                    // A swap that was overtaken may have happened before.
                    if all.contains(&name) {
                        break;
                    }
                    all.push(name.clone());
                    let body = Some(Bytes::from(all.join(" ")));
                    if let SwapOutcome::Swapped(_) =
                        fs.register_swap("names", &seen.version, "n", body).await.expect("swap")
                    {
                        break;
                    }
                }
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("task");
    }
    let mut all = names(&fs.register_read("names").await.expect("read").expect("exists").body);
    all.sort();
    let mut expected: Vec<String> = (0..4).flat_map(|task| (0..25).map(move |i| format!("{task}-{i}"))).collect();
    expected.sort();
    assert_eq!(all, expected, "every name once");
}

async fn logs_have_one_writer(fs: &dyn Filesystem) {
    if !fs.appends() {
        assert_eq!(fs.log_create("l/1").await.expect_err("no appends").kind(), ErrorKind::Invalid);
        assert!(!fs.exists("l/1").await.expect("look"));
        return;
    }
    let LogOutcome::Created(mut log) = fs.log_create("l/1").await.expect("create") else { panic!("new") };
    assert!(matches!(fs.log_create("l/1").await.expect("create"), LogOutcome::Exists));
    assert_eq!(fs.put_if_absent("l/1", "fence".into()).await.expect("put"), PutOutcome::Exists);
    assert!(fs.exists("l/1").await.expect("look") && !fs.exists("l/2").await.expect("look"));
    log.append("abc".into()).await.expect("append");
    log.sync().await.expect("sync");
    log.append("def".into()).await.expect("append");
    log.sync().await.expect("sync");
    assert_eq!(log.len(), 6);
    assert!(!log.commit("ghi".into(), fs, "l/2").await.expect("commit"));
    assert_eq!(log.len(), 9);
    assert_eq!(fs.put_if_absent("l/2", "fence".into()).await.expect("put"), PutOutcome::Created);
    assert!(matches!(fs.log_begin("l/2", "x".into()).await.expect("begin"), LogOutcome::Exists), "a fence stands");
    assert_eq!(fs.log_seal("l/1").await.expect("seal"), Some(9));
    assert_eq!(fs.log_seal("l/1").await.expect("again"), Some(9));
    assert_eq!((all(fs, "l/1").await, fs.log_seal("l/9").await.expect("seal")), ("abcdefghi".into(), None));
    // Refused, or told of the fence.
    assert!(log.commit("jkl".into(), fs, "l/2").await.unwrap_or(true), "the next name is taken and the log is sealed");
    let LogOutcome::Created(log) = fs.log_begin("l/3", "first".into()).await.expect("begin") else { panic!("new") };
    assert_eq!(log.len(), 5);
    assert!(matches!(fs.log_begin("l/3", "x".into()).await.expect("begin"), LogOutcome::Exists));
    assert!(matches!(fs.log_create("l/3").await.expect("create"), LogOutcome::Exists));
    assert_eq!((fs.log_seal("l/3").await.expect("seal"), all(fs, "l/3").await), (Some(5), "first".into()));
}

async fn a_commit_sees_the_next_name(fs: &dyn Filesystem) {
    if !fs.appends() {
        return;
    }
    let LogOutcome::Created(mut log) = fs.log_create("l/1").await.expect("create") else { panic!("new") };
    assert!(!log.commit("ghi".into(), fs, "l/2").await.expect("commit"));
    assert_eq!(fs.put_if_absent("l/2", "fence".into()).await.expect("put"), PutOutcome::Created);
    assert!(log.commit("jkl".into(), fs, "l/2").await.expect("commit"), "the next name is taken");
    assert_eq!((log.len(), all(fs, "l/1").await), (6, "ghijkl".into()));
}

async fn listings_show_blobs_and_logs(fs: &dyn Filesystem) {
    fs.put_if_absent("d/x/1", "1".into()).await.expect("put");
    fs.put_if_absent("d/2", "22".into()).await.expect("put");
    fs.put_if_absent("e/3", "3".into()).await.expect("put");
    if fs.appends() {
        let LogOutcome::Created(mut log) = fs.log_create("d/l").await.expect("create") else { panic!("new") };
        log.append("333".into()).await.expect("append");
        log.sync().await.expect("sync");
    } else {
        fs.put_if_absent("d/l", "333".into()).await.expect("put");
    }
    let entries: Vec<_> = fs.list("d").await.expect("list").into_iter().map(|entry| (entry.path, entry.size)).collect();
    assert_eq!(entries, [("d/2".to_owned(), 2), ("d/l".to_owned(), 3), ("d/x/1".to_owned(), 1)]);
    assert!(fs.list("nothing").await.expect("list").is_empty());
}

/// A table, a family or a file may be called as a back end calls what it keeps for itself, but for the token.
async fn names_like_those_of_the_back_end_are_anybodys(fs: &dyn Filesystem) {
    let keys = ["n/b.0/h.1.x", "n/h.1.csv/b.x", "n/tmp.1.x/tmp.2.y", "n/tmp.x/tmp."];
    for key in keys {
        assert_eq!(fs.put_if_absent(key, "x".into()).await.expect("put"), PutOutcome::Created, "{key}");
    }
    let mut listed: Vec<_> = fs.list("n").await.expect("list").into_iter().map(|entry| entry.path).collect();
    listed.sort();
    assert_eq!(listed, keys);
    assert!(fs.unfinished("n").await.expect("unfinished").is_empty());
}

async fn bad_keys_and_heads_are_refused(fs: &dyn Filesystem) {
    let unfinished = format!("a/tmp.{:032x}.b", 1);
    for key in ["", "/a", "a//b", "../a", "a/..", &unfinished, "a/"] {
        assert_eq!(fs.put_if_absent(key, "x".into()).await.expect_err(key).kind(), ErrorKind::Invalid, "{key}");
    }
    let long = "x".repeat(HEAD_LEN_MAX + 1);
    for head in ["a/b", "a:b", "a b", &long] {
        let error = fs.register_create("r", head, Bytes::new()).await.expect_err(head);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{head}");
    }
    let limit = "x".repeat(HEAD_LEN_MAX);
    assert!(matches!(fs.register_create("r", &limit, Bytes::new()).await.expect("create"), CreateOutcome::Created(_)));
    assert_eq!(fs.register_read("r").await.expect("read").expect("exists").head, limit);
}

async fn a_root_has_one_holder(fs: &dyn Filesystem) {
    let LockOutcome::Locked(lock) = fs.lock_root("pid 1").await.expect("lock") else { panic!("free") };
    let LockOutcome::Held(holder) = fs.lock_root("pid 2").await.expect("lock") else { panic!("held") };
    assert_eq!(holder, "pid 1");
    drop(lock);
    assert!(matches!(fs.lock_root("pid 3").await.expect("lock"), LockOutcome::Locked(_)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::random::SystemRandom;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn memory_conforms() {
        let make = async || Arc::new(memory::MemoryFilesystem::new()) as Arc<dyn Filesystem>;
        run_all(make).await;
        run_one_machine(make).await;
        run_all_flaky(make).await;
        run_all_flaky(async || Arc::new(memory::MemoryFilesystem::without_appends()) as Arc<dyn Filesystem>).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn local_conforms() {
        let folder = tempfile::tempdir().expect("folder");
        let next = std::sync::atomic::AtomicUsize::new(0);
        let make = async || {
            let root = folder.path().join(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string());
            Arc::new(local::LocalFilesystem::open(root, Arc::new(SystemRandom)).expect("root")) as Arc<dyn Filesystem>
        };
        run_all(make).await;
        run_one_machine(make).await;
        run_all_flaky(make).await;
    }

    #[tokio::test]
    async fn local_refuses_a_damaged_register_body() {
        let folder = tempfile::tempdir().expect("folder");
        let fs = local::LocalFilesystem::open(folder.path(), Arc::new(SystemRandom)).expect("root");
        fs.register_create("r", "h", "hello".into()).await.expect("create");
        let body = std::fs::read_dir(folder.path().join("r"))
            .expect("folder")
            .map(|entry| entry.expect("entry").path())
            .find(|path| path.file_name().expect("name").to_string_lossy().starts_with("b."))
            .expect("body");
        std::fs::write(body, "hellO").expect("damage");
        assert_eq!(fs.register_read("r").await.expect_err("damaged").kind(), ErrorKind::Corrupt);
    }
}
