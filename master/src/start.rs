//! From a context to a master that leads, and back.
//!
//! ```text
//! end the last master's log, claim its region ─▶ catalog and heads ─▶ META ─▶ procedures go on, regions open ─▶ watch
//! ```
//!
//! Always true
//! - META is opened before anything else and made to agree with the table heads; rows of tables under change are left
//!   to their procedures.
//! - A region that does not open stops neither the start nor other regions; it is tried again from time to time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use coordination::{CoordinationError, Leadership, LogRoots};
use filesystem::Filesystem;
use futures::StreamExt;
use model::mutation::{Mutation, MutationKind};
use model::query::Scan;
use model::region::RegionInfo;
use model::schema::{FamilyDescriptor, TableDescriptor, TableName};
use model::{Cell, CellType};
use parking_lot::Mutex;
use protocol::meta::{self, RegionRow, TableState};
use runtime::backoff::Backoff;
use runtime::clock::within;
use runtime::shutdown::Shutdown;
use runtime::task::spawn;
use storage::collect::Collected;
use storage::region::{Region, RegionContext};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::catalog::{self, META_TABLE_ID, OWN_TABLE_ID, own_region};
use crate::error::{MasterError, Result};
use crate::head::{HeadState, TableHead};
use crate::host::Host;
use crate::lock::Locks;
use crate::master::{Master, MasterContext};
use crate::procedure::{FAMILY, Journal, Record, table_key};
use crate::regions::openings;
use crate::tables::{Table, Tables};

/// How often META is tried at a start.
const META_TRIES_MAX: usize = 5;
/// Pause between tries to open META.
const META_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at what needs mending.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at who leads and what the region server holds.
const LOOK: Duration = Duration::from_secs(5);
/// Tables mended at a time.
const MENDED_TOGETHER: usize = 8;
/// Between two rounds of collection; the first comes soon after the start.
const COLLECT: Duration = Duration::from_secs(60 * 60);
/// The same over a store that cannot append: it bills listings.
const COLLECT_SPARING: Duration = Duration::from_secs(24 * 60 * 60);
const COLLECT_FIRST: Duration = Duration::from_secs(60);
/// Memory of the master region at which it goes to files.
const JOURNAL_BYTES: u64 = 4 << 20;
/// How long a closing master waits for the steps that run.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

impl Master {
    /// Takes the cluster in hand: ends what earlier masters left running and opens all tables in service.
    ///
    /// # Errors
    /// The master region, the catalog or META could not be opened or read; another start may succeed unless the kind is
    /// Corrupt.
    pub async fn start(ctx: MasterContext) -> Result<Arc<Master>> {
        let MasterContext { region: ctx, leadership, host, server } = ctx;
        let journal = open_journal(&ctx, &leadership).await?;
        check_catalog(&ctx).await?;
        let tables = Tables::load(ctx.fs.clone(), ctx.runtime.random.clone(), leadership.master_epoch).await?;
        let host = Host { service: host, master_epoch: leadership.master_epoch };
        let meta_seqnum = open_meta(&ctx, &leadership, &host).await?;
        let records = journal.load().await?;
        let master = Arc::new_cyclic(|me| Master {
            me: me.clone(),
            ctx,
            leadership,
            server,
            host,
            tables,
            journal,
            locks: Locks::default(),
            procedures: Mutex::default(),
            running: watch::Sender::new(0),
            counter: AtomicU64::new(1),
            open: Mutex::default(),
            meta_seqnum: AtomicU64::new(meta_seqnum),
            meta_ms: AtomicI64::new(0),
            missing: AtomicBool::new(false),
            balancer: AtomicBool::new(true),
            rate: Mutex::default(),
            waiting: AtomicU64::new(0),
            shutdown: Shutdown::new(),
            replaced: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        });
        let busy: BTreeSet<TableName> = records
            .iter()
            .filter(|record| !record.is_finished())
            .filter_map(|record| record.table().cloned())
            .collect();
        master.mend_meta(&busy).await?;
        master.resume(records);
        let served = master
            .tables
            .all()
            .into_iter()
            .filter(|table| table.head.state == HeadState::Enabled && !busy.contains(table.head.name()));
        let all: Vec<_> =
            served.flat_map(|table| openings(&table.id, &table.head.descriptor, &table.head.regions)).collect();
        let infos: Vec<RegionInfo> = all.iter().map(|opening| opening.info.clone()).collect();
        let mut damaged = BTreeSet::new();
        match master.open_regions(all).await {
            Ok(failed) => {
                for (info, error) in failed {
                    tracing::error!(region = %info, %error, "region does not open");
                    damaged.insert(info.encoded_name());
                }
            }
            Err(error) if master.is_end(&error) => return Err(error),
            Err(error) => tracing::error!(%error, "not all regions are open; tried again from time to time"),
        }
        // Where an earlier server had them nobody answers any more; this one can say what is damaged.
        let unserved: Vec<Mutation> = {
            let open = master.open.lock();
            let missing = infos.iter().filter(|info| !open.contains_key(&info.encoded_name()));
            let put = |info: &RegionInfo| match damaged.contains(&info.encoded_name()) {
                true => meta::failed_put(info, &master.server, master.meta_timestamp()),
                false => meta::closed_put(info, master.meta_timestamp()),
            };
            missing.map(put).collect()
        };
        if let Err(error) = master.host.write_meta(&unserved).await {
            tracing::warn!(%error, "META still names an earlier server for regions that do not open");
        }
        master.watch();
        Ok(master)
    }

    /// Ends its work; procedures stop after their step and go on at the next start. Regions stay open: they are the
    /// region server's.
    ///
    /// # Errors
    /// The master region could not be flushed; it is replayed at the next start.
    pub async fn close(&self) -> Result<()> {
        self.shutdown.signal();
        self.tasks.close();
        let stopped = within(&*self.ctx.runtime.clock, CLOSE_WAIT, self.tasks.wait()).await.is_some();
        if !stopped {
            tracing::warn!("a schema change does not stop; it goes on at the next start");
        }
        if !stopped || self.is_fenced() || self.ctx.log.is_fenced() {
            return Ok(());
        }
        Ok(self.journal.close().await?)
    }

    /// Lets procedures go on that an earlier master began, those of one lock in their order.
    fn resume(&self, records: Vec<Record>) {
        let mut by_lock: BTreeMap<String, Vec<Record>> = BTreeMap::new();
        for record in records {
            if record.is_finished() {
                self.note(&record);
            } else {
                tracing::info!(id = record.id, kind = record.kind.class(), step = record.step, "procedure goes on");
                by_lock.entry(record.lock_key()).or_default().push(record);
            }
        }
        for (key, records) in by_lock {
            let guard = self.locks.try_lock(&key).expect("nobody has taken locks yet");
            self.start_procedures(records, guard, true);
        }
    }

    /// Makes META say what the heads say. Tables in `busy` are left alone.
    async fn mend_meta(&self, busy: &BTreeSet<TableName>) -> Result<()> {
        let (mut newest, mut rows) = (0, BTreeMap::<Bytes, Vec<Cell>>::new());
        // Deletes count as well: what is written below their time would stay hidden.
        let raw = Scan { raw: true, ..meta::full_scan() };
        self.host
            .scan_meta(&raw, |page| {
                let times = page.iter().flatten().map(Cell::timestamp).filter(|time| *time < i64::MAX - 1);
                newest = times.max().unwrap_or(0).max(newest);
            })
            .await?;
        self.meta_ms.fetch_max(newest, Ordering::AcqRel);
        self.host
            .scan_meta(&meta::full_scan(), |page| {
                for cells in page {
                    if let Some(first) = cells.first() {
                        rows.insert(Bytes::copy_from_slice(first.row()), cells);
                    }
                }
            })
            .await?;
        let mut mending = Vec::new();
        for table in self.tables.all().iter().filter(|table| !busy.contains(table.head.name())) {
            self.mend_table(table, &mut rows, &mut mending);
        }
        // A table whose head cannot be read is out of service, whatever it was before.
        for name in self.tables.broken().iter().filter(|name| !busy.contains(name)) {
            let said = rows.remove(name.to_string().as_bytes()).map(|cells| meta::table_state_from(&cells));
            if !matches!(said, Some(Ok(Some(TableState::Disabled)))) {
                mending.push(meta::table_state_put(name, TableState::Disabled, self.meta_timestamp()));
            }
        }
        for (row, cells) in rows {
            let table =
                String::from_utf8_lossy(row.split(|byte| *byte == b',').next().unwrap_or_default()).into_owned();
            let name = table.parse::<TableName>().ok();
            if name.as_ref().is_some_and(|name| busy.contains(name)) {
                continue;
            }
            if name.is_some_and(|name| self.tables.why_broken(&name).is_some()) {
                // Its rows say which regions it had.
                let said = RegionRow::from_cells(&cells).ok().flatten().filter(|row| row.state != meta::CLOSED);
                mending.extend(said.map(|row| meta::closed_put(&row.info, self.meta_timestamp())));
            } else {
                tracing::warn!(row = %row.escape_ascii(), "META loses a row that no table has");
                mending.push(forget_row(&cells, self.meta_timestamp())?);
            }
        }
        self.host.write_meta(&mending).await?;
        Ok(())
    }

    /// Takes a table's rows out of `rows`; what they should say is added to `mending`.
    fn mend_table(&self, table: &Table, rows: &mut BTreeMap<Bytes, Vec<Cell>>, mending: &mut Vec<Mutation>) {
        let TableHead { state, regions, .. } = &table.head;
        let name = table.head.name();
        let wanted = if *state == HeadState::Enabled { TableState::Enabled } else { TableState::Disabled };
        let said = rows.remove(name.to_string().as_bytes()).map(|cells| meta::table_state_from(&cells));
        if !matches!(said, Some(Ok(Some(said))) if said == wanted) {
            mending.push(meta::table_state_put(name, wanted, self.meta_timestamp()));
        }
        for info in regions {
            let said = rows.remove(&info.region_name()).map(|cells| RegionRow::from_cells(&cells));
            let closed = matches!(said, Some(Ok(Some(row))) if row.info == *info && row.state == meta::CLOSED);
            // Opening writes the rows of a table in service.
            if *state != HeadState::Enabled && !closed {
                mending.push(meta::closed_put(info, self.meta_timestamp()));
            }
        }
    }

    /// Looks from time to time whether this master still leads and whether regions are missing; sweeps.
    fn watch(&self) {
        let (me, shutdown, clock) = (self.me.clone(), self.shutdown.clone(), self.ctx.runtime.clock.clone());
        let work = async move {
            let (mut looked, mut mended, mut backoff) = (clock.monotonic(), clock.monotonic(), Backoff::new(TICK));
            let (mut pause, mut collect_at) = (Duration::ZERO, clock.monotonic() + COLLECT_FIRST);
            while within(&*clock, TICK, shutdown.wait()).await.is_none() {
                let Some(master) = me.upgrade() else { return };
                if master.ctx.log.is_fenced() {
                    return master.stop_as_replaced(&"its log has been ended");
                }
                let now = clock.monotonic();
                if !master.missing.load(Ordering::Acquire) {
                    (backoff, pause) = (Backoff::new(TICK), Duration::ZERO);
                } else if now.saturating_sub(mended) >= pause {
                    master.mend_regions().await;
                    (mended, pause) = (clock.monotonic(), backoff.next(&*master.ctx.runtime.random));
                }
                if now.saturating_sub(looked) >= LOOK {
                    looked = now;
                    if master.leadership.is_current(&master.ctx.fs).await.is_ok_and(|current| !current) {
                        return master.stop_as_replaced(&"the leader's register names another");
                    }
                    if let Err(error) = master.sweep().await {
                        tracing::warn!(%error, "not all was looked after; again later");
                    }
                }
                if now >= collect_at {
                    let sparing = !master.ctx.log.filesystem().appends();
                    collect_at = now + if sparing { COLLECT_SPARING } else { COLLECT };
                    master.collect().await;
                }
            }
        };
        spawn("master watch", self.tasks.track_future(work));
    }

    async fn sweep(&self) -> Result<()> {
        self.look_for_lost().await?;
        self.forget_finished().await?;
        Ok(self.journal.tidy(&self.ctx.log, JOURNAL_BYTES).await?)
    }

    /// Deletes logs that no region needs, and what the master region has left lying about.
    async fn collect(&self) {
        let (own, log) = (self.ctx.log.id(), &self.ctx.log);
        let mut roots = vec![(own.root, log.filesystem().clone())];
        roots.extend((own.root != 0).then(|| (0, self.ctx.fs.clone())));
        roots.extend(log.other_roots().into_iter().filter(|(id, _)| *id != own.root));
        for (id, logs) in roots {
            let own = (id == own.root).then_some(own.stream);
            match self.collect_logs(&logs, own).await {
                Ok((Collected { released, files, bytes, .. }, left)) => {
                    tracing::info!(root = id, released, files, bytes, "logs collected");
                    if !left && id != 0 && own.is_none() {
                        self.note_idle(id).await;
                    }
                }
                Err(error) => tracing::warn!(root = id, %error, "logs were not collected"),
            }
        }
        if let Err(error) = self.journal.collect().await {
            tracing::warn!(%error, "the master region's folder was not collected");
        }
    }

    /// Streams of one log root; `own` is ours, if it lies there. Answers whether there was anything but fences, too.
    async fn collect_logs(&self, logs: &Arc<dyn Filesystem>, own: Option<u64>) -> Result<(Collected, bool)> {
        let streams = storage::collect::list(logs).await?;
        let mut done = Collected::default();
        // One process serves below a root. Who leads is asked behind the listing: a successor's stream is not in it.
        if self.leadership.is_current(&self.ctx.fs).await? {
            done += streams.end_others(own).await;
        }
        done += streams.collect(&self.ctx.fs).await;
        Ok((done, !streams.is_empty()))
    }

    /// A log root without streams need not be there at the next start, if no manifest names it.
    async fn note_idle(&self, id: u32) {
        let noted = async {
            if !crate::needs::needed_log_roots(&self.ctx.fs).await?.contains_key(&id) {
                LogRoots::set_idle(&self.ctx.fs, &self.ctx.runtime, &self.leadership, id).await?;
            }
            Ok::<_, MasterError>(())
        };
        if let Err(error) = noted.await {
            tracing::warn!(root = id, %error, "whether a log root is still needed cannot be told");
        }
    }

    /// Opens what should be open and is not, of all tables that nobody changes right now.
    async fn mend_regions(&self) {
        self.missing.store(false, Ordering::Release);
        let tables = self.tables.all();
        futures::stream::iter(tables).for_each_concurrent(MENDED_TOGETHER, |table| self.mend_regions_of(table)).await;
    }

    async fn mend_regions_of(&self, table: Arc<Table>) {
        match self.locks.try_lock(&table_key(table.head.name())) {
            Some(_guard) => self.open_missing(table.head.name()).await,
            None => self.missing.store(true, Ordering::Release),
        }
    }

    /// Opens those regions of a table in service that are closed. The caller holds its lock.
    pub(crate) async fn open_missing(&self, name: &TableName) {
        let Some(table) = self.tables.get(name).filter(|table| table.head.state == HeadState::Enabled) else { return };
        if self.shutdown.is_signalled() {
            return;
        }
        let missing: Vec<RegionInfo> = {
            let open = self.open.lock();
            let is_missing = |info: &&RegionInfo| !open.get(&info.encoded_name()).is_some_and(|opened| opened.in_meta);
            table.head.regions.iter().filter(is_missing).cloned().collect()
        };
        match self.open_regions(openings(&table.id, &table.head.descriptor, &missing)).await {
            Ok(failed) => {
                for (info, error) in failed {
                    tracing::error!(region = %info, %error, "region does not open");
                }
            }
            Err(error) => tracing::warn!(table = %table.head.name(), %error, "regions do not open"),
        }
    }
}

async fn open_journal(ctx: &RegionContext, leadership: &Leadership) -> Result<Journal> {
    let info = own_region();
    let descriptor = TableDescriptor::new(info.table.clone()).with_family(FamilyDescriptor::new(FAMILY));
    let epoch = leadership.master_region_epoch();
    Region::create(&ctx.fs, &ctx.runtime, OWN_TABLE_ID, &info, &descriptor, epoch - 1).await?;
    let region = Region::open(ctx.clone(), info, OWN_TABLE_ID, epoch, Arc::new(descriptor)).await?;
    Ok(Journal::new(region))
}

/// A root has its catalog before it has META: without the one and with the other it has lost what tables there are.
async fn check_catalog(ctx: &RegionContext) -> Result<()> {
    let meta = storage::manifest::path(META_TABLE_ID, &RegionInfo::meta().encoded_name());
    if ctx.fs.register_read_settled(catalog::PATH).await.map_err(CoordinationError::from)?.is_none()
        && ctx.fs.register_read(&meta).await.map_err(CoordinationError::from)?.is_some()
    {
        return Err(CoordinationError::Corrupt {
            what: catalog::FORMAT.what,
            why: "it is missing, though there is META; nothing was changed".to_owned(),
            path: catalog::PATH.to_owned(),
        }
        .into());
    }
    Ok(())
}

async fn open_meta(ctx: &RegionContext, leadership: &Leadership, host: &Host) -> Result<u64> {
    let (info, descriptor) = (RegionInfo::meta(), meta::meta_descriptor());
    Region::create(&ctx.fs, &ctx.runtime, META_TABLE_ID, &info, &descriptor, leadership.next_epoch()).await?;
    let mut backoff = Backoff::new(META_PAUSE);
    loop {
        let opened = host.open(&info, META_TABLE_ID, leadership.next_epoch(), &descriptor).await;
        match opened.map_err(MasterError::from) {
            Ok(seqnum) => return Ok(seqnum),
            Err(error) if error.is_passing() && backoff.tries() + 1 < META_TRIES_MAX => {
                tracing::warn!(%error, "META does not open; again");
                ctx.runtime.clock.sleep(backoff.next(&*ctx.runtime.random)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Deletes a row of META, whatever it says.
fn forget_row(cells: &[Cell], timestamp: i64) -> Result<Mutation> {
    let row = Bytes::copy_from_slice(cells.first().map(Cell::row).unwrap_or_default());
    let mut mutation = Mutation { timestamp, ..Mutation::new(MutationKind::Delete, row) };
    for family in [meta::INFO, meta::TABLE] {
        let cell = Cell::new(&mutation.row, family, &[], timestamp, CellType::DELETE_FAMILY, &[]);
        mutation.cells.push(cell.map_err(storage::StorageError::from)?);
    }
    Ok(mutation)
}
