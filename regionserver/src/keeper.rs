//! What is done without being asked: flushes and compactions.
//!
//! ```text
//! writes, memory, log, age ──▶ look ──▶ flush policy ──▶ flushes (bounded) ──▶ compactions wanted
//! openings, users, time    ──────────────────────────────────────────────────▶ queue ──▶ compactions (bounded, throttled)
//! ```
//!
//! Always true
//! - Reads wait for nothing of it.
//! - What failed is tried again after a pause that grows, up to a bound.
//! - A region that leaves ends its compactions, and waits for its flush.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use runtime::task::Task;
use storage::StorageError;
use storage::compaction::Forced;
use storage::region::RegionContext;

use crate::compaction_queue::Request;
use crate::flush_policy::{self, Reason, RegionFacts};
use crate::regions::Hosted;
use crate::remembered::Rest;
use crate::server::RegionServer;
use crate::upkeep::Region;

/// A store that cannot append bills its listings: rounds of collection are so much rarer there.
const SPARING: u32 = 24;
/// Looks follow each other no faster.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Bytes written to a region after which somebody looks whether it should be flushed; less if its memtables are small.
const LOOK_BYTES: u64 = 1 << 20;
/// Logs of others that a region may need for long.
const OLD_STREAMS_MAX: usize = 4;
/// How urgent a user's request is.
const USER_ROOM: i64 = 1;

impl RegionServer {
    /// Looks after all regions for as long as the server lives.
    pub(crate) fn start_upkeep(self: &Arc<Self>) -> Task<()> {
        let (me, shutdown) = (Arc::downgrade(self), self.shutdown.clone());
        let clock = self.ctx.region.runtime.clock.clone();
        let budget = self.ctx.region.budget.clone();
        let period = Duration::from_millis(self.ctx.settings.upkeep_period_ms.max(1));
        let upkeep = self.upkeep.clone();
        runtime::task::spawn("upkeep", async move {
            loop {
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = clock.sleep(period) => {}
                    () = upkeep.wake.notified() => {}
                    () = budget.pressed() => {}
                }
                match me.upgrade() {
                    Some(server) => server.look(),
                    None => return,
                }
                clock.sleep(LOOK_PAUSE).await;
            }
        })
    }

    /// Something was written: from time to time that calls for a look.
    pub(crate) fn wrote(&self, hosted: &Hosted, bytes: usize) {
        let look = (hosted.region.flush_bytes() / 8).min(LOOK_BYTES);
        if hosted.wrote(bytes as u64, look) && hosted.region.needs_flush() {
            self.upkeep.wake.notify_one();
        }
    }

    fn facts(&self, hosted: &Hosted, now: Duration, pressed: bool, holds_log: bool) -> RegionFacts {
        let (bytes, flush_bytes) = (hosted.region.memtable_bytes(), hosted.region.flush_bytes());
        let too_many_files = (pressed || bytes >= flush_bytes) && hosted.region.has_too_many_files();
        let settings = &self.ctx.settings;
        let system = hosted.region.info().table.namespace() == "hbase";
        let mut known = hosted.upkeep.lock();
        let period_ms = match known.replayed {
            true => settings.replayed_flush_period_ms,
            false if system => settings.system_flush_period_ms,
            false => settings.flush_period_ms,
        };
        let dirty_since = if bytes == 0 { None } else { Some(known.dirty_since.unwrap_or(now)) };
        let put_off = too_many_files && bytes >= flush_bytes;
        let put_off_since = if put_off { Some(known.put_off_since.unwrap_or(now)) } else { None };
        (known.dirty_since, known.put_off_since) = (dirty_since, put_off_since);
        let since = |since: Option<Duration>| since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        RegionFacts {
            bytes,
            flush_bytes,
            dirty_for: since(dirty_since),
            period: Duration::from_millis(period_ms),
            holds_log,
            too_many_files,
            put_off: since(put_off_since),
            resting: known.flushing || known.flush_rest.until > now,
        }
    }

    /// Starts what is due.
    fn look(self: &Arc<Self>) {
        if self.is_fenced() {
            return;
        }
        let now = self.ctx.region.runtime.clock.monotonic();
        let pressed = self.ctx.region.budget.is_pressed();
        let log = &self.ctx.region.log;
        let too_long = log.segments() > self.ctx.settings.log_segments_max;
        let holders: HashSet<Bytes> = if too_long { log.oldest_regions() } else { Vec::new() }.into_iter().collect();
        let open = self.regions.all();
        let facts: Vec<RegionFacts> = open
            .iter()
            .map(|hosted| self.facts(hosted, now, pressed, holders.contains(hosted.region.log_name())))
            .collect();
        let put_off_max = Duration::from_millis(self.ctx.settings.blocking_wait_ms);
        for (at, reason) in flush_policy::choose(&facts, pressed, put_off_max) {
            let Ok(slot) = self.upkeep.flush_slots.clone().try_acquire_owned() else { break };
            let (me, hosted) = (self.clone(), open[at].clone());
            hosted.upkeep.lock().flushing = true;
            runtime::task::spawn("flush", async move {
                // Also after a panic, or the region would never be flushed again.
                let _end = scopeguard::guard((me.clone(), hosted.clone(), slot), |(me, hosted, slot)| {
                    let mut known = hosted.upkeep.lock();
                    known.flushing = false;
                    if std::thread::panicking() {
                        known.flush_rest.failed(&me.ctx.region.runtime);
                    }
                    drop((known, slot));
                    me.upkeep.wake.notify_one();
                });
                me.flush_because(&hosted, reason).await;
            });
        }
        for (hosted, facts) in open.iter().zip(&facts) {
            let (failed, due) = {
                let mut known = hosted.upkeep.lock();
                let rested = known.compaction_rest.until <= now;
                let failed = if rested { std::mem::take(&mut known.failed) } else { Vec::new() };
                let due = rested && known.next_check <= now;
                if due {
                    known.next_check = now + Duration::from_millis(self.ctx.settings.compaction_check_ms);
                }
                (failed, due)
            };
            for (family, forced) in failed {
                self.want_compaction(hosted, family, forced, USER_ROOM);
            }
            if due || facts.too_many_files {
                self.want_compactions(hosted);
            }
        }
    }

    async fn flush_because(self: &Arc<Self>, hosted: &Arc<Hosted>, reason: Reason) {
        let bytes = hosted.region.memtable_bytes();
        tracing::debug!(region = %hosted.region.info(), ?reason, bytes, "flush");
        if let Err(error) = self.flush_now(hosted).await {
            tracing::warn!(region = %hosted.region.info(), %error, "flush failed; it is tried again");
            self.failure(hosted, error);
        }
    }

    /// Flushes a region; then its files may be worth a compaction. Whether there was anything to flush.
    pub(crate) async fn flush_now(self: &Arc<Self>, hosted: &Arc<Hosted>) -> Result<bool, StorageError> {
        let runtime = &self.ctx.region.runtime;
        let bytes = hosted.region.memtable_bytes();
        let flushed = hosted.region.flush().await;
        match &flushed {
            Ok(flushed) => {
                {
                    let mut known = hosted.upkeep.lock();
                    (known.flush_rest, known.replayed) = (Rest::default(), false);
                }
                hosted.flushed_at(runtime.clock.now_ms());
                if *flushed {
                    self.counts.flushes.add(1);
                    self.counts.flushed_bytes.add(bytes);
                    self.want_compactions(hosted);
                }
            }
            Err(_) => {
                self.counts.flush_failures.add(1);
                hosted.upkeep.lock().flush_rest.failed(runtime);
            }
        }
        flushed
    }

    /// A region has come: it may bring edits that others' logs hold, files worth a compaction, and left-overs.
    pub(crate) async fn took_in(self: &Arc<Self>, hosted: &Arc<Hosted>) {
        let old_streams = hosted.region.old_streams().await;
        hosted.upkeep.lock().replayed = old_streams > 0;
        self.want_compactions(hosted);
        let (me, hosted) = (self.clone(), hosted.clone());
        runtime::task::spawn("opened", async move {
            if old_streams >= OLD_STREAMS_MAX {
                me.flush_because(&hosted, Reason::Log).await;
            }
            // Where listings are billed, what lies about waits for the next round.
            if me.ctx.region.fs.appends() {
                me.collect(&hosted).await;
            }
        });
    }

    /// Deletes what a region's earlier openings have left, one region at a time.
    async fn collect(&self, hosted: &Arc<Hosted>) {
        let _alone = self.upkeep.collecting.lock().await;
        if hosted.is_gone() || self.shutdown.is_signalled() {
            return;
        }
        match hosted.region.collect().await {
            Ok(done) => self.counts.collected(&done),
            Err(error) => tracing::warn!(region = %hosted.region.info(), %error, "left-over files are kept"),
        }
    }

    /// Deletes left-overs of regions every now and then. Those of logs are the master's.
    pub(crate) fn start_collection(self: &Arc<Self>) -> Task<()> {
        let (me, shutdown) = (Arc::downgrade(self), self.shutdown.clone());
        let clock = self.ctx.region.runtime.clock.clone();
        let first = Duration::from_millis(self.ctx.settings.collect_period_ms.max(1));
        let later = if self.ctx.region.fs.appends() { first } else { first * SPARING };
        runtime::task::spawn("collection", async move {
            let mut period = first;
            loop {
                tokio::select! {
                    () = shutdown.wait() => return,
                    () = clock.sleep(period) => {}
                }
                period = later;
                let Some(server) = me.upgrade() else { return };
                for hosted in server.regions.all() {
                    server.collect(&hosted).await;
                }
                let RegionContext { fs, runtime, .. } = &server.ctx.region;
                match storage::collect::old_staging(fs, runtime.clock.now_ms()).await {
                    Ok(done) => server.counts.collected(&done),
                    Err(error) => tracing::warn!(%error, "old files of bulk loads are kept"),
                }
            }
        })
    }

    /// Queues the compactions that the policy wants.
    pub(crate) fn want_compactions(self: &Arc<Self>, hosted: &Arc<Hosted>) {
        if hosted.upkeep.lock().compaction_rest.until > self.ctx.region.runtime.clock.monotonic() {
            return;
        }
        for (family, room) in hosted.region.compactions_wanted() {
            self.want_compaction(hosted, family, Forced::No, room);
        }
    }

    /// Queues a user's request.
    pub(crate) fn ask_for_compaction(self: &Arc<Self>, hosted: &Arc<Hosted>, family: Bytes, major: bool) {
        let forced = if major { Forced::UserMajor } else { Forced::No };
        self.want_compaction(hosted, family, forced, USER_ROOM);
    }

    fn want_compaction(self: &Arc<Self>, hosted: &Arc<Hosted>, family: Bytes, forced: Forced, room: i64) {
        self.upkeep.queue.lock().push(Request { region: Region(hosted.clone()), family, forced, room });
        self.start_compactions();
    }

    pub(crate) fn start_compactions(self: &Arc<Self>) {
        loop {
            let request = {
                let mut queue = self.upkeep.queue.lock();
                queue.retain(|region| !region.0.is_gone());
                if self.shutdown.is_signalled() || !self.upkeep.compacts.load(Ordering::Acquire) {
                    return;
                }
                queue.start()
            };
            let Some(request) = request else { return };
            let me = self.clone();
            runtime::task::spawn("compaction", async move {
                let again = {
                    // Also after a panic, or its lane would be lost.
                    let _end = scopeguard::guard((), |()| me.upkeep.queue.lock().end(&request));
                    me.compact(&request).await
                };
                if again {
                    me.want_compactions(&request.region.0);
                }
                me.start_compactions();
            });
        }
    }

    /// Runs a compaction. Whether another look at the region is worth it.
    async fn compact(self: &Arc<Self>, request: &Request<Region>) -> bool {
        let hosted = &request.region.0;
        let stuck = hosted.region.has_too_many_files();
        let throttle = if stuck { &self.upkeep.free } else { &self.upkeep.throttle };
        match hosted.region.compact_family(&request.family, request.forced, throttle).await {
            Ok(done) => {
                hosted.upkeep.lock().compaction_rest = Rest::default();
                let Some(done) = done else { return false };
                if done.major { &self.counts.compactions_major } else { &self.counts.compactions_minor }.add(1);
                self.counts.compacted_bytes.add(done.bytes);
                tracing::debug!(region = %hosted.region.info(), ?done, "compacted");
                if stuck {
                    // A flush may have been put off for it.
                    self.upkeep.wake.notify_one();
                }
                true
            }
            Err(error) if error.kind() == ErrorKind::NotServing => false,
            Err(error) => {
                tracing::warn!(region = %hosted.region.info(), %error, "compaction failed; it is tried again");
                self.counts.compaction_failures.add(1);
                {
                    let mut known = hosted.upkeep.lock();
                    known.compaction_rest.failed(&self.ctx.region.runtime);
                    let again = (request.family.clone(), request.forced);
                    if !known.failed.contains(&again) {
                        known.failed.push(again);
                    }
                }
                self.failure(hosted, error);
                false
            }
        }
    }
}
