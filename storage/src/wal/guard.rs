//! Whether what a read has found may be answered: a server that was replaced must not show what stood before (docs/PROTOCOLS.md §8).
//!
//! ```text
//! evaluate ──▶ a lease holds? ──▶ answer
//!                 └─ no: look at the lowest number without a confirmed piece (one look for all who wait) ──▶ free: answer · fence: the end
//! ```
//!
//! Always true
//! - A look, or an acknowledged piece, counts from when it *began*; what was evaluated later needs a later one, or the lease.
//! - A lease lasts `read_lease_ms` from there, on a clock that counts suspended time. Who ends a stream serves its regions only when every lease
//!   that a look before the fence can have given is over ([`Log::outlast`]).
//! - The lowest number counts, never the newest: a fence stands at the first gap.
//!
//! Only of logs of pieces: on a folder the root's lock keeps a second process away.

use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::time::Duration;

use filesystem::ErrorKind;
use parking_lot::Mutex;
use runtime::clock::within;

use super::object_path;
use super::piece::{self, HEADER_LEN, Kind, WINDOW};
use super::writer::{EndedElsewhere, Log, Shared};
use crate::error::{Result, StorageError};

/// How much faster another machine's clock may run: a successor waits so much longer than a lease lasts, one part in.
const DRIFT_PART: u32 = 100;
/// Numbers that may be confirmed while a look is on its way before it is given up.
const LOOKS_MAX: u64 = 4 * WINDOW;

/// What is known of the numbers.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// When the newest look began that found no fence, or the put of the newest acknowledged piece.
    proven: Mutex<Option<Duration>>,
    /// One look at a time.
    looking: tokio::sync::Mutex<()>,
}

impl Guard {
    /// Nobody had ended the stream at this time.
    pub fn proves(&self, begun: Duration) {
        let mut proven = self.proven.lock();
        *proven = (*proven).max(Some(begun));
    }

    fn proven_since(&self, begun: Duration) -> bool {
        self.proven.lock().is_some_and(|proven| proven >= begun)
    }
}

fn fenced() -> StorageError {
    StorageError::Fenced("the log".to_owned())
}

impl Log {
    /// To be waited for after a read was evaluated and before it is answered: fails if another process may have taken over since.
    pub async fn guard(&self) -> Result<()> {
        let shared = self.shared();
        if shared.is_fenced() {
            return Err(fenced());
        }
        if !shared.pieces {
            return Ok(());
        }
        let clock = &*shared.runtime.clock;
        let (evaluated, lease) = (clock.monotonic(), Duration::from_millis(shared.settings.read_lease_ms));
        if shared.guard.proven_since(evaluated.saturating_sub(lease) + Duration::from_nanos(1)) {
            return Ok(());
        }
        let _turn = shared.guard.looking.lock().await;
        // Somebody's look may have begun after this read was evaluated.
        if shared.guard.proven_since(evaluated) {
            return Ok(());
        }
        let limit = Duration::from_millis(shared.settings.sync_timeout_ms);
        match within(clock, limit, look(shared)).await {
            Some(looked) => looked,
            None => Err(StorageError::Log(
                "its storage does not say whether it was taken over".to_owned(),
                model::ErrorKind::Unavailable,
            )),
        }
    }

    /// Waits until nobody reads on the strength of a stream that was found ended.
    pub(crate) async fn outlast(&self, ended: &EndedElsewhere) {
        let (shared, since) = (self.shared(), ended.since);
        let lease = Duration::from_millis(shared.settings.read_lease_ms);
        if !ended.pieces || lease.is_zero() {
            return;
        }
        let over = since + lease + lease / DRIFT_PART;
        let clock = &*shared.runtime.clock;
        while let Some(left) = over.checked_sub(clock.monotonic()).filter(|left| !left.is_zero()) {
            clock.sleep(left).await;
        }
    }
}

/// Looks at the lowest number that is not known to be stored.
async fn look(shared: &Shared) -> Result<()> {
    let begun = shared.runtime.clock.monotonic();
    let mut number = shared.confirmed.load(Acquire) + 1;
    for _ in 0..LOOKS_MAX {
        let id = piece::id(Kind::Piece, number);
        shared.counters.looks.fetch_add(1, Relaxed);
        let found = match shared.fs.read_at(&object_path(shared.stream, id), 0, HEADER_LEN).await {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if shared.is_fenced() {
            return Err(fenced());
        }
        let confirmed = shared.confirmed.load(Acquire);
        if confirmed >= number {
            // Stored meanwhile, and perhaps sealed and gone: what was found says nothing.
            number = confirmed + 1;
            continue;
        }
        match found {
            None => {
                shared.guard.proves(begun);
                return Ok(());
            }
            // A piece of ours whose put was not answered yet: the fence would stand behind it.
            Some(found) if piece::is_of(&found, shared.token) => number += 1,
            Some(_) => {
                shared.set_fenced();
                return Err(fenced());
            }
        }
    }
    let why = "its numbers move faster than they can be looked at".to_owned();
    Err(StorageError::Log(why, model::ErrorKind::Unavailable))
}
