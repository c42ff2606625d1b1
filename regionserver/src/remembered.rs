//! What upkeep remembers of a region.

use std::time::Duration;

use bytes::Bytes;
use runtime::Runtime;
use runtime::backoff::Backoff;
use storage::compaction::Forced;

/// The first pause after a failure.
const REST_MIN: Duration = Duration::from_millis(500);
/// The longest pause after failures.
const REST_MAX: Duration = Duration::from_secs(10);

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// A flush of upkeep's own runs.
    pub flushing: bool,
    /// Some of its edits are in logs of earlier servers, which go when it is flushed.
    pub replayed: bool,
    /// When a look first met unflushed edits.
    pub dirty_since: Option<Duration>,
    /// When a wanted flush was first put off because of too many files.
    pub put_off_since: Option<Duration>,
    pub flush_rest: Rest,
    pub compaction_rest: Rest,
    /// Compactions that failed and are to be tried again.
    pub failed: Vec<(Bytes, Forced)>,
    /// When compactions are looked for without another reason.
    pub next_check: Duration,
}

/// A pause after failures.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    pub until: Duration,
    backoff: Option<Backoff>,
}

impl Rest {
    pub fn failed(&mut self, runtime: &Runtime) {
        let backoff = self.backoff.get_or_insert_with(|| Backoff::new(REST_MIN));
        self.until = runtime.clock.monotonic() + backoff.next(&*runtime.random).min(REST_MAX);
    }
}
