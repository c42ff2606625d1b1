//! What product code takes from the machine besides files: clock, randomness, tasks, shutdown, sockets, fault points.
//!
//! Always true
//! - Nothing outside this crate asks the operating system for time, randomness, threads or sockets, so that the same
//!   code can run with a manual clock and a seed.

pub mod backoff;
pub mod clock;
pub mod failpoint;
pub mod net;
pub mod random;
pub mod shutdown;
pub mod task;

use std::sync::Arc;

/// The seams, bundled; cheap to clone.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Time.
    pub clock: Arc<dyn clock::Clock>,
    /// Randomness.
    pub random: Arc<dyn random::Random>,
    /// Fault points; off unless a test arms them.
    pub failpoints: failpoint::Failpoints,
}

impl Runtime {
    /// The machine's own clock and randomness.
    pub fn system() -> Runtime {
        Runtime {
            clock: Arc::new(clock::SystemClock),
            random: Arc::new(random::SystemRandom),
            failpoints: failpoint::Failpoints::default(),
        }
    }
}
