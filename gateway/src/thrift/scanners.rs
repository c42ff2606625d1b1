//! Open scanners of one service, by the numbers that clients know them by.
//!
//! Always true
//! - A scanner that nobody uses for its lease is closed; their number is bounded.
//! - While scanners hold as many bytes of rows as they may, none begins to read. Those that have begun go on, so that they may hold more by what each
//!   fetches at once.
//! - Two calls for one scanner take turns.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use client::{Row, RowStream};
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use runtime::clock::Clock;

use super::call::Raised;
use super::settings::Settings;

/// A scanner.
pub(crate) struct Open {
    rows: tokio::sync::Mutex<RowStream>,
    /// What it holds of rows, in bytes; nothing before it has begun.
    holds: Mutex<Option<usize>>,
    /// All that hold rows.
    held: Arc<Held>,
    /// Whether its rows are given as lists of columns.
    pub sorted: bool,
    used: Mutex<Duration>,
}

/// Bytes of rows that scanners hold.
struct Held {
    bytes: AtomicUsize,
    most: usize,
}

impl Open {
    /// Up to `most` rows; none at the end.
    pub async fn next(&self, most: usize) -> Result<Vec<Row>, Raised> {
        let mut rows = self.rows.lock().await;
        let held = self.held.bytes.load(Ordering::Relaxed);
        if self.holds.lock().is_none() && held >= self.held.most {
            let message = format!(
                "open scanners hold {held} bytes of rows, and may hold {}: read them to their ends, close some, or scan with a smaller batch",
                self.held.most
            );
            return Err(Raised::Io { message, can_retry: true });
        }
        let taken = take(&mut rows, most).await;
        self.hold(Some(rows.held_bytes()));
        taken
    }

    fn hold(&self, bytes: Option<usize>) {
        let before = std::mem::replace(&mut *self.holds.lock(), bytes);
        self.held.bytes.fetch_add(bytes.unwrap_or(0), Ordering::Relaxed);
        self.held.bytes.fetch_sub(before.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.hold(None);
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
    held: Arc<Held>,
    told: Gauge,
    table: Mutex<Table>,
}

impl Scanners {
    /// `told` is their number.
    pub fn new(clock: Arc<dyn Clock>, settings: &Settings, told: Gauge) -> Scanners {
        let (lease, most) = (settings.scanner_lease, settings.scanners_max);
        let held = Arc::new(Held { bytes: AtomicUsize::new(0), most: settings.scanner_bytes_max });
        Scanners { clock, lease, most, held, told, table: Mutex::new(Table { next: 0, open: HashMap::new() }) }
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
        let used = Mutex::new(self.clock.monotonic());
        table.open.insert(
            id,
            Arc::new(Open {
                rows: tokio::sync::Mutex::new(rows),
                holds: Mutex::default(),
                held: self.held.clone(),
                sorted,
                used,
            }),
        );
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
