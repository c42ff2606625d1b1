//! A root in memory on which a test makes one step go wrong, or the machine stop.
//!
//! Steps are the operations that change storage, counted from 0 in the order they arrive; opening, looking and reading
//! registers count only if asked for.
//!
//! Always true
//! - After a stop nothing changes any more: every operation through the wrapper fails. What survives is
//!   [`FaultyFilesystem::root`]: everything confirmed, and of unsynced log bytes only what the fault says.
//! - A fault tells the truth: a failure that is not [`ErrorKind::Unknown`] left nothing behind that counts.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;

use crate::memory::MemoryFilesystem;
use crate::*;

/// What becomes of the step that the fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is not done.
    Before,
    /// A log append or sync is half done; anything else is not done, and the answer leaves that open.
    Torn,
    /// It is done, and the answer is lost.
    After,
    /// It is done so many steps later, or when [`FaultyFilesystem::land`] is called, whatever stands there by then; the answer is
    /// lost. Of puts, deletions, finished blobs and changes of registers; anything else is never done.
    Late(u64),
}

/// A fault at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The step.
    pub step: u64,
    /// What becomes of it.
    pub effect: Effect,
    /// Whether the machine stops there; otherwise the next steps work again.
    pub stop: bool,
}

/// Steps that need space.
const GROWING: [&str; 5] = ["put", "blob write", "register create", "register swap", "log append"];

type Late = Box<dyn FnOnce(&MemoryFilesystem) + Send>;

#[derive(Default)]
struct State {
    steps: u64,
    /// What lands late, and when.
    late: Vec<(u64, Late)>,
    faults: Vec<Fault>,
    stopped: bool,
    full: bool,
    /// Space is missed only when a log is synced.
    full_at_sync: bool,
    count_reads: bool,
    /// Durable length of each log.
    synced: HashMap<String, usize>,
    names: Vec<String>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("steps", &self.steps).field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Shared {
    root: MemoryFilesystem,
    state: Mutex<State>,
    hangs: tokio::sync::watch::Sender<bool>,
}

impl Shared {
    fn stop(&self, state: &mut State, torn: Option<&str>) {
        state.stopped = true;
        self.root.crash();
        for (path, synced) in &state.synced {
            let len = self.root.log_len(path).unwrap_or(0);
            let keep = if torn == Some(path) { synced + len.saturating_sub(*synced).div_ceil(2) } else { *synced };
            self.root.cut_log(path, keep);
        }
    }

    /// A read: a fault makes it fail.
    fn check(&self, what: &str, path: &str) -> Result<()> {
        if self.state.lock().count_reads {
            return self.step(what, path, |_, _| Some(Ok(())));
        }
        if self.state.lock().stopped {
            return Err(Error::new(ErrorKind::Unavailable, path, "the machine has stopped"));
        }
        Ok(())
    }

    /// Counts a step and does it as the plan says. `work` gets whether it is to be torn.
    fn step<T>(&self, what: &str, path: &str, work: impl FnOnce(&mut State, bool) -> Option<Result<T>>) -> Result<T> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err(Error::new(ErrorKind::Unavailable, path, "the machine has stopped"));
        }
        if state.full && GROWING.contains(&what) || state.full_at_sync && what == "log sync" {
            return Err(Error::new(ErrorKind::Full, path, "no space is left"));
        }
        let number = state.steps;
        self.land(&mut state, number);
        state.steps += 1;
        state.names.push(format!("{what} {path}"));
        let Some(fault) = state.faults.iter().copied().find(|fault| fault.step == number) else {
            return work(&mut state, false).expect("only a torn step gives no answer");
        };
        match fault.effect {
            Effect::Before | Effect::Late(_) => {}
            Effect::Torn => drop(work(&mut state, true)),
            Effect::After => drop(work(&mut state, false)),
        }
        if fault.stop {
            self.stop(&mut state, (fault.effect == Effect::Torn).then_some(path));
        }
        let kind = if fault.effect == Effect::Before { ErrorKind::Unavailable } else { ErrorKind::Unknown };
        Err(Error::new(kind, path, format!("fault at step {number}, {what}: {:?}", fault.effect)))
    }

    /// What is due lands.
    fn land(&self, state: &mut State, now: u64) {
        for (due, late) in std::mem::take(&mut state.late) {
            match due <= now {
                true => late(&self.root),
                false => state.late.push((due, late)),
            }
        }
    }

    /// Puts a step off that lands late. None: it does not.
    fn put_off(&self, what: &str, path: &str, late: impl FnOnce() -> Late) -> Result<()> {
        let effect = {
            let state = self.state.lock();
            let fault = state.faults.iter().find(|fault| fault.step == state.steps);
            fault.map(|fault| fault.effect).filter(|_| !(state.stopped || state.full && GROWING.contains(&what)))
        };
        let Some(Effect::Late(steps)) = effect else { return Ok(()) };
        let done: Result<()> = self.step(what, path, |_, _| None);
        let mut state = self.state.lock();
        let due = state.steps + steps;
        state.late.push((due, late()));
        done
    }

    /// A step on the root that is done as a whole or not at all.
    fn whole<T>(&self, what: &str, path: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.step(what, path, |_, torn| {
            (!torn).then(|| work.now_or_never().expect("the memory back end answers at once"))
        })
    }
}

#[derive(Debug)]
struct FaultyReader {
    inner: Arc<dyn BlobReader>,
    shared: Arc<Shared>,
}

#[async_trait]
impl BlobReader for FaultyReader {
    async fn read_at(&self, offset: u64, len: usize) -> Result<Bytes> {
        let mut hangs = self.shared.hangs.subscribe();
        hangs.wait_for(|hang| !hang).await.expect("its sender is in the same value");
        self.inner.read_at(offset, len).await
    }
}

/// See the module's text. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultyFilesystem(Arc<Shared>);

impl FaultyFilesystem {
    /// An empty root without faults.
    pub fn new() -> FaultyFilesystem {
        FaultyFilesystem::default()
    }

    /// Starts from a root, as after a restart.
    pub fn over(root: MemoryFilesystem) -> FaultyFilesystem {
        FaultyFilesystem(Arc::new(Shared { root, ..Shared::default() }))
    }

    /// Counts reads as steps too.
    pub fn count_reads(&self) {
        self.0.state.lock().count_reads = true;
    }

    /// Whether reads of blobs and logs hang, until told otherwise.
    pub fn hang_reads(&self, hang: bool) {
        self.0.hangs.send_replace(hang);
    }

    /// Plans a fault; replaces an earlier plan.
    pub fn plan(&self, fault: Fault) {
        self.plan_all(vec![fault]);
    }

    /// Plans several faults at different steps; replaces an earlier plan.
    pub fn plan_all(&self, faults: Vec<Fault>) {
        self.0.state.lock().faults = faults;
    }

    /// No space is left, or there is space again. Names may still be taken and heads of registers be swapped, which need
    /// none; whatever holds bytes fails with [`ErrorKind::Full`], uncounted.
    pub fn set_full(&self, full: bool) {
        self.0.state.lock().full = full;
    }

    /// A store that gives space out late: logs take bytes, and cannot sync them for want of space.
    pub fn set_full_at_sync(&self, full: bool) {
        self.0.state.lock().full_at_sync = full;
    }

    /// Steps counted so far.
    pub fn steps(&self) -> u64 {
        self.0.state.lock().steps
    }

    /// Name of a step, for a test's message.
    pub fn step_name(&self, step: u64) -> Option<String> {
        self.0.state.lock().names.get(step as usize).cloned()
    }

    /// Whether the machine has stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.state.lock().stopped
    }

    /// Everything that was to land later lands now, also on a machine that has stopped.
    pub fn land(&self) {
        self.0.land(&mut self.0.state.lock(), u64::MAX);
    }

    /// The machine stops now; unsynced log bytes are gone.
    pub fn stop(&self) {
        self.0.stop(&mut self.0.state.lock(), None);
    }

    /// What is on storage.
    pub fn root(&self) -> MemoryFilesystem {
        self.0.root.clone()
    }
}

#[derive(Debug)]
struct FaultyBlobWriter {
    shared: Arc<Shared>,
    path: String,
    inner: Box<dyn BlobWriter>,
}

#[async_trait]
impl BlobWriter for FaultyBlobWriter {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        let inner = &mut self.inner;
        self.shared.whole("blob write", &self.path, async move { inner.write(data).await })
    }

    async fn finish(self: Box<Self>) -> Result<u64> {
        let FaultyBlobWriter { shared, path, inner } = *self;
        let mut inner = Some(inner);
        shared.put_off("blob finish", &path, || {
            let inner = inner.take().expect("taken once");
            Box::new(move |_| drop(inner.finish().now_or_never()))
        })?;
        let inner = inner.expect("it does not land late");
        shared.whole("blob finish", &path, inner.finish())
    }

    async fn abort(self: Box<Self>) {
        self.inner.abort().await;
    }
}

#[derive(Debug)]
struct FaultyLogWriter {
    shared: Arc<Shared>,
    path: String,
    inner: Box<dyn LogWriter>,
}

#[async_trait]
impl LogWriter for FaultyLogWriter {
    async fn append(&mut self, data: Bytes) -> Result<()> {
        let inner = &mut self.inner;
        self.shared.step("log append", &self.path, |_, torn| {
            let data = if torn { data.slice(..data.len() / 2) } else { data };
            Some(inner.append(data).now_or_never().expect("the memory back end answers at once"))
        })
    }

    async fn sync(&mut self) -> Result<()> {
        let (shared, path) = (&self.shared, &self.path);
        shared.step("log sync", path, |state, torn| {
            if torn {
                return None;
            }
            state.synced.insert(path.clone(), shared.root.log_len(path).unwrap_or(0));
            Some(Ok(()))
        })
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn holds_at_most(&self) -> u64 {
        self.inner.holds_at_most()
    }
}

#[async_trait]
impl Filesystem for FaultyFilesystem {
    async fn put_if_absent(&self, path: &str, data: Bytes) -> Result<PutOutcome> {
        self.0.put_off("put", path, || {
            let (path, data) = (path.to_owned(), data.clone());
            Box::new(move |root| drop(root.put_if_absent(&path, data).now_or_never()))
        })?;
        self.0.whole("put", path, self.0.root.put_if_absent(path, data))
    }

    async fn create_blob(&self, path: &str) -> Result<Box<dyn BlobWriter>> {
        let inner = self.0.whole("blob create", path, self.0.root.create_blob(path))?;
        Ok(Box::new(FaultyBlobWriter { shared: self.0.clone(), path: path.to_owned(), inner }))
    }

    async fn open(&self, path: &str) -> Result<Arc<dyn BlobReader>> {
        self.0.check("open", path)?;
        Ok(Arc::new(FaultyReader { inner: self.0.root.open(path).await?, shared: self.0.clone() }))
    }

    async fn size(&self, path: &str) -> Result<Option<u64>> {
        self.0.check("look", path)?;
        self.0.root.size(path).await
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.0.put_off("delete", path, || {
            let path = path.to_owned();
            Box::new(move |root| drop(root.delete(&path).now_or_never()))
        })?;
        self.0.whole("delete", path, self.0.root.delete(path))
    }

    async fn delete_register(&self, path: &str) -> Result<()> {
        self.0.whole("register delete", path, self.0.root.delete_register(path))
    }

    async fn rename(&self, from: &str, to: &str) -> Result<PutOutcome> {
        self.0.whole("rename", from, self.0.root.rename(from, to))
    }

    async fn list(&self, folder: &str) -> Result<Vec<Entry>> {
        self.0.check("list", folder)?;
        self.0.root.list(folder).await
    }

    async fn unfinished(&self, folder: &str) -> Result<Vec<Unfinished>> {
        self.0.check("list unfinished", folder)?;
        self.0.root.unfinished(folder).await
    }

    async fn abandon(&self, unfinished: &Unfinished) -> Result<()> {
        self.0.whole("abandon", &unfinished.path, self.0.root.abandon(unfinished))
    }

    async fn register_create(&self, path: &str, head: &str, body: Bytes) -> Result<CreateOutcome> {
        self.0.put_off("register create", path, || {
            let (path, head, body) = (path.to_owned(), head.to_owned(), body.clone());
            Box::new(move |root| drop(root.register_create(&path, &head, body).now_or_never()))
        })?;
        self.0.whole("register create", path, self.0.root.register_create(path, head, body))
    }

    async fn register_read(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.0.check("register read", path)?;
        self.0.root.register_read(path).await
    }

    async fn register_read_settled(&self, path: &str) -> Result<Option<RegisterValue>> {
        self.register_read(path).await
    }

    async fn register_swap(
        &self,
        path: &str,
        expected: &Version,
        head: &str,
        body: Option<Bytes>,
    ) -> Result<SwapOutcome> {
        let what = if body.is_some() { "register swap" } else { "register head swap" };
        self.0.put_off(what, path, || {
            let (path, expected, head, body) = (path.to_owned(), expected.clone(), head.to_owned(), body.clone());
            Box::new(move |root| drop(root.register_swap(&path, &expected, &head, body).now_or_never()))
        })?;
        self.0.whole(what, path, self.0.root.register_swap(path, expected, head, body))
    }

    fn appends(&self) -> bool {
        self.0.root.appends()
    }

    async fn log_create(&self, path: &str) -> Result<LogOutcome> {
        Ok(match self.0.whole("log create", path, self.0.root.log_create(path))? {
            LogOutcome::Exists => LogOutcome::Exists,
            LogOutcome::Created(inner) => {
                self.0.state.lock().synced.entry(path.to_owned()).or_default();
                LogOutcome::Created(Box::new(FaultyLogWriter { shared: self.0.clone(), path: path.to_owned(), inner }))
            }
        })
    }

    async fn lock_root(&self, holder: &str) -> Result<LockOutcome> {
        self.0.root.lock_root(holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms_without_faults() {
        let make = async || Arc::new(FaultyFilesystem::new()) as Arc<dyn Filesystem>;
        conformance::run_all(make).await;
        conformance::run_one_machine(make).await;
        let object_store = || FaultyFilesystem::over(MemoryFilesystem::without_appends());
        conformance::run_all(async || Arc::new(object_store()) as Arc<dyn Filesystem>).await;
    }

    #[tokio::test]
    async fn a_stop_keeps_what_was_synced_and_of_the_rest_what_the_fault_says() {
        for (effect, left) in [(Effect::Before, "abcd"), (Effect::Torn, "abcdef"), (Effect::After, "abcdefgh")] {
            let fs = FaultyFilesystem::new();
            fs.plan(Fault { step: 4, effect, stop: true });
            let LogOutcome::Created(mut log) = fs.log_create("l").await.expect("create") else { panic!("new") };
            log.append("abcd".into()).await.expect("append");
            log.sync().await.expect("sync");
            log.append("efgh".into()).await.expect("append");
            assert_eq!(fs.read_at("l", 0, 100).await.expect("read"), "abcdefgh", "seen before it is durable");
            assert!(log.sync().await.is_err());
            assert!(fs.is_stopped() && log.append("x".into()).await.is_err() && fs.size("l").await.is_err());
            assert_eq!(fs.root().read_at("l", 0, 100).await.expect("read"), left);
            assert_eq!(fs.step_name(4).expect("name"), "log sync l");
        }
    }

    #[tokio::test]
    async fn what_lands_late_meets_what_stands_by_then() {
        let fs = FaultyFilesystem::new();
        let late = |step| Fault { step, effect: Effect::Late(1), stop: false };
        fs.plan_all(vec![late(0), late(2)]);
        assert_eq!(fs.put_if_absent("a", "1".into()).await.expect_err("late").kind(), ErrorKind::Unknown);
        assert_eq!(fs.put_if_absent("a", "2".into()).await.expect("free"), PutOutcome::Created);
        assert_eq!(fs.put_if_absent("b", "1".into()).await.expect_err("late").kind(), ErrorKind::Unknown);
        assert_eq!(fs.read_at("a", 0, 9).await.expect("read"), "2", "the first put has found the name taken");
        fs.stop();
        assert_eq!(fs.root().size("b").await.expect("look"), None);
        fs.land();
        assert_eq!(fs.root().size("b").await.expect("look"), Some(1));
    }

    #[tokio::test]
    async fn a_passing_fault_hits_one_step() {
        for (effect, kind) in [(Effect::Before, ErrorKind::Unavailable), (Effect::After, ErrorKind::Unknown)] {
            let fs = FaultyFilesystem::new();
            fs.plan(Fault { step: 0, effect, stop: false });
            assert_eq!(fs.put_if_absent("a", "1".into()).await.expect_err("fault").kind(), kind);
            let again = fs.put_if_absent("a", "1".into()).await.expect("works");
            assert_eq!(again == PutOutcome::Exists, effect == Effect::After);
            assert_eq!(fs.steps(), 2);
        }
    }
}
