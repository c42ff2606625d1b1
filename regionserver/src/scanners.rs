//! The scanners that are open, their leases, and those that were closed a short while ago.
//!
//! Always true
//! - A scanner is used by one call at a time; a call that goes away in the middle takes its scanner with it.
//! - A scanner in use does not expire; its lease begins anew when it comes back.
//! - The number of scanners and of remembered ids is bounded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::ErrorKind;
use parking_lot::Mutex;
use protocol::service::RpcError;
use runtime::Runtime;
use runtime::clock::Clock;
use storage::region::RegionScanner;

use crate::errors;
use crate::regions::Hosted;
use crate::settings::ServerSettings;

/// Ids of closed scanners that are remembered.
const CLOSED_MAX: usize = 10_000;

/// What a scanner needs between calls.
#[derive(Debug)]
pub(crate) struct Reading {
    pub scanner: RegionScanner,
    /// The row whose first part ended the last answer.
    pub cut_row: Option<Bytes>,
    /// Complete rows that the scan may still give, if it said so.
    pub rows_left: Option<u32>,
    /// Bytes of cells that the client wants in an answer.
    pub result_bytes: u64,
    pub need_cursor: bool,
}

#[derive(Debug)]
struct State {
    /// Absent while a call uses it.
    reading: Option<Reading>,
    next_call_seq: u64,
    lease_ends: Duration,
}

/// An open scanner.
#[derive(Debug)]
pub(crate) struct OpenScanner {
    pub id: u64,
    pub hosted: Arc<Hosted>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct Closed {
    ids: HashSet<u64>,
    order: VecDeque<(Duration, u64)>,
}

/// What an id stands for.
pub(crate) enum Found {
    Open(Arc<OpenScanner>),
    /// It was closed not long ago.
    Closed,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Scanners {
    clock: Arc<dyn Clock>,
    lease: Duration,
    open_max: usize,
    open: Mutex<HashMap<u64, Arc<OpenScanner>>>,
    closed: Mutex<Closed>,
    next_id: Mutex<u64>,
}

/// A scanner in the hands of a call. Dropping it closes the scanner; [`InUse::give_back`] keeps it.
#[derive(Debug)]
pub(crate) struct InUse<'a> {
    scanners: &'a Scanners,
    open: Arc<OpenScanner>,
    reading: Option<Reading>,
}

impl Scanners {
    pub fn new(runtime: &Runtime, settings: &ServerSettings) -> Scanners {
        Scanners {
            clock: runtime.clock.clone(),
            lease: Duration::from_millis(settings.scanner_lease_ms),
            open_max: settings.scanners_max,
            open: Mutex::default(),
            closed: Mutex::default(),
            // Ids of an earlier life of the server must not be met again.
            next_id: Mutex::new(runtime.random.next_u64() >> 1 & !0xffff_ffff),
        }
    }

    /// How long a scanner lives unused.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Number of open scanners.
    pub fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Takes a new scanner in, in use.
    pub fn add(&self, hosted: Arc<Hosted>, reading: Reading) -> Result<InUse<'_>, RpcError> {
        let id = {
            let mut next = self.next_id.lock();
            *next += 1;
            *next
        };
        let state = State { reading: None, next_call_seq: 0, lease_ends: Duration::MAX };
        let scanner = Arc::new(OpenScanner { id, hosted, state: Mutex::new(state) });
        let mut open = self.open.lock();
        if open.len() >= self.open_max {
            let message = format!("too many open scanners. open=`{}`", open.len());
            return Err(RpcError::new(ErrorKind::Busy, message));
        }
        open.insert(id, scanner.clone());
        Ok(InUse { scanners: self, open: scanner, reading: Some(reading) })
    }

    /// Looks an id up.
    pub fn find(&self, id: u64) -> Result<Found, RpcError> {
        let now = self.clock.monotonic();
        let found = self.open.lock().get(&id).cloned();
        match found {
            Some(scanner) if scanner.state.lock().lease_ends > now => Ok(Found::Open(scanner)),
            Some(_) => {
                self.open.lock().remove(&id);
                Err(errors::unknown_scanner(id))
            }
            None if self.closed.lock().ids.contains(&id) => Ok(Found::Closed),
            None => Err(errors::unknown_scanner(id)),
        }
    }

    /// Takes a scanner for a call.
    pub fn take(&self, scanner: Arc<OpenScanner>) -> Result<InUse<'_>, RpcError> {
        let mut state = scanner.state.lock();
        let Some(reading) = state.reading.take() else {
            let message = format!("scanner {} is in use by another call", scanner.id);
            return Err(RpcError::of(ErrorKind::NotFound, "regionserver.LeaseException", message));
        };
        state.lease_ends = Duration::MAX;
        drop(state);
        Ok(InUse { scanners: self, open: scanner, reading: Some(reading) })
    }

    /// Forgets a scanner.
    pub fn remove(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    /// Closes scanners that were not used for too long.
    pub fn expire(&self) {
        let now = self.clock.monotonic();
        let mut open = self.open.lock();
        let before = open.len();
        open.retain(|_, scanner| scanner.state.lock().lease_ends > now);
        if open.len() < before {
            tracing::debug!(ended = before - open.len(), "scanner leases ended");
        }
        drop(open);
        let mut closed = self.closed.lock();
        while let Some((at, id)) = closed.order.front().copied()
            && now.saturating_sub(at) > self.lease
        {
            closed.order.pop_front();
            closed.ids.remove(&id);
        }
    }

    /// Closes all.
    pub fn clear(&self) {
        self.open.lock().clear();
    }

    fn close(&self, id: u64) {
        self.remove(id);
        let mut closed = self.closed.lock();
        if closed.order.len() >= CLOSED_MAX
            && let Some((_, oldest)) = closed.order.pop_front()
        {
            closed.ids.remove(&oldest);
        }
        closed.order.push_back((self.clock.monotonic(), id));
        closed.ids.insert(id);
    }
}

impl OpenScanner {
    /// Checks the number of a call, and expects the next one.
    pub fn check_call_seq(&self, got: u64) -> Result<(), RpcError> {
        let mut state = self.state.lock();
        if got != state.next_call_seq {
            let message = format!("expected nextCallSeq: {} but the client sent {got}", state.next_call_seq);
            return Err(RpcError::of(ErrorKind::NotFound, "exceptions.OutOfOrderScannerNextException", message));
        }
        state.next_call_seq += 1;
        Ok(())
    }
}

impl InUse<'_> {
    pub fn id(&self) -> u64 {
        self.open.id
    }

    pub fn hosted(&self) -> Arc<Hosted> {
        self.open.hosted.clone()
    }

    pub fn reading(&mut self) -> &mut Reading {
        self.reading.as_mut().expect("present until it is given back")
    }

    /// Keeps the scanner open for the next call.
    pub fn give_back(mut self) {
        let mut state = self.open.state.lock();
        state.reading = self.reading.take();
        state.lease_ends = self.scanners.clock.monotonic() + self.scanners.lease;
    }

    /// Ends the scanner; late calls for it are answered kindly.
    pub fn close(mut self) {
        self.reading = None;
        self.scanners.close(self.open.id);
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if self.reading.is_some() {
            self.scanners.remove(self.open.id);
        }
    }
}
