//! Open scanners of one service, by the numbers that clients know them by.
//!
//! Always true
//! - A scanner that nobody uses for its lease is closed; their number is bounded.
//! - A scanner begins to read when there is space for what it fetches first. Those that have begun go on, so that they may hold more: each by what it
//!   fetches at once, and as much ahead.
//! - Two calls for one scanner take turns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Row;
use client::scan::{RESULT_BYTES, RowStream};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use runtime::clock::{Clock, within};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Raised;
use super::server::ROOM_UNIT;
use super::settings::Settings;

/// What a scanner fetches first.
const BEGIN_UNITS: u32 = (RESULT_BYTES / ROOM_UNIT as u64) as u32;
/// How long a scanner waits for space to begin.
const BEGIN_WAIT: Duration = Duration::from_secs(5);

/// A scanner.
pub(crate) struct Open {
    reading: tokio::sync::Mutex<Reading>,
    space: Arc<Space>,
    /// Whether its rows are given as lists of columns.
    pub sorted: bool,
    used: Mutex<Duration>,
}

struct Reading {
    rows: RowStream,
    /// Space for the rows that it holds; nothing before it has begun.
    held: Option<OwnedSemaphorePermit>,
}

/// Space for rows that scanners have fetched and not given.
struct Space {
    clock: Arc<dyn Clock>,
    /// In [`ROOM_UNIT`]s.
    free: Arc<Semaphore>,
    bytes: usize,
}

impl Space {
    fn new(clock: Arc<dyn Clock>, bytes: usize) -> Space {
        let units = (bytes / ROOM_UNIT).clamp(BEGIN_UNITS as usize, Semaphore::MAX_PERMITS);
        Space { clock, free: Arc::new(Semaphore::new(units)), bytes }
    }

    /// Space for what a scanner fetches first.
    async fn begin(&self) -> Result<OwnedSemaphorePermit, Raised> {
        let space = self.free.clone().acquire_many_owned(BEGIN_UNITS);
        within(&*self.clock, BEGIN_WAIT, space).await.and_then(std::result::Result::ok).ok_or_else(|| Raised::Io {
            message: format!(
                "the rows that open scanners have fetched take all the space there is for them, {} bytes: read scanners to their ends, close \
                 some, or scan with a smaller caching",
                self.bytes
            ),
            can_retry: true,
        })
    }

    /// Takes space for so many bytes, as far as there is some, and gives back what is more.
    fn settle(&self, held: &mut OwnedSemaphorePermit, bytes: usize) {
        let (has, needs) = (held.num_permits(), bytes.div_ceil(ROOM_UNIT));
        if has > needs {
            drop(held.split(has - needs));
        } else if let Ok(more) = u32::try_from(needs - has)
            && let Ok(more) = self.free.clone().try_acquire_many_owned(more)
        {
            held.merge(more);
        }
    }
}

impl Open {
    /// Up to `most` rows; none at the end.
    pub async fn next(&self, most: usize) -> Result<Vec<Row>, Raised> {
        let mut reading = self.reading.lock().await;
        let Reading { rows, held } = &mut *reading;
        let held = match held {
            Some(held) => held,
            None => held.insert(self.space.begin().await?),
        };
        let taken = take(rows, most).await;
        self.space.settle(held, rows.held_bytes());
        taken
    }
}

/// Up to `most` rows; none at the end.
pub(super) async fn take(rows: &mut RowStream, most: usize) -> Result<Vec<Row>, Raised> {
    let mut taken = Vec::new();
    while taken.len() < most {
        match rows.next_row().await? {
            Some(row) if row.is_empty() => {}
            Some(row) => taken.push(row),
            None => break,
        }
    }
    Ok(taken)
}

struct Table {
    next: i32,
    open: HashMap<i32, Arc<Open>>,
}

/// All open scanners.
pub(crate) struct Scanners {
    clock: Arc<dyn Clock>,
    lease: Duration,
    most: usize,
    space: Arc<Space>,
    told: Gauge,
    table: Mutex<Table>,
}

impl Scanners {
    /// `told` is their number.
    pub fn new(clock: Arc<dyn Clock>, settings: &Settings, told: Gauge) -> Scanners {
        let (lease, most) = (settings.scanner_lease, settings.scanners_max);
        let space = Arc::new(Space::new(clock.clone(), settings.scanner_bytes_max));
        Scanners { clock, lease, most, space, told, table: Mutex::new(Table { next: 0, open: HashMap::new() }) }
    }

    /// Gives a scanner its number.
    pub fn open(&self, rows: RowStream, sorted: bool) -> Result<i32, Raised> {
        self.sweep();
        let mut table = self.table.lock();
        if table.open.len() >= self.most {
            let message = format!("{} scanners are open, which is the most; close some", self.most);
            return Err(Raised::Io { message, can_retry: true });
        }
        while table.open.contains_key(&table.next) {
            table.next = table.next.checked_add(1).unwrap_or(0);
        }
        let id = table.next;
        table.next = id.checked_add(1).unwrap_or(0);
        let (used, space) = (Mutex::new(self.clock.monotonic()), self.space.clone());
        let reading = tokio::sync::Mutex::new(Reading { rows, held: None });
        table.open.insert(id, Arc::new(Open { reading, space, sorted, used }));
        self.tell(&table);
        Ok(id)
    }

    /// The scanner with this number, whose lease begins again.
    pub fn get(&self, id: i32) -> Option<Arc<Open>> {
        self.sweep();
        let open = self.table.lock().open.get(&id).cloned()?;
        *open.used.lock() = self.clock.monotonic();
        Some(open)
    }

    /// Closes a scanner; tells whether there was one.
    pub fn close(&self, id: i32) -> bool {
        let mut table = self.table.lock();
        let was = table.open.remove(&id).is_some();
        self.tell(&table);
        was
    }

    /// Closes what nobody has used for its lease.
    pub fn sweep(&self) {
        let now = self.clock.monotonic();
        let mut table = self.table.lock();
        table.open.retain(|_, open| {
            // Whoever reads from it holds it too.
            Arc::strong_count(open) > 1 || now.saturating_sub(*open.used.lock()) < self.lease
        });
        self.tell(&table);
    }

    fn tell(&self, table: &Table) {
        self.told.set(i64::try_from(table.open.len()).unwrap_or(i64::MAX));
    }

    /// How often to sweep.
    pub fn pause(&self) -> Duration {
        self.lease / 4
    }
}
