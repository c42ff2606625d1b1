//! Pauses between tries: HBase's table of multiples, with jitter.

use std::time::Duration;

use crate::random::Random;

const MULTIPLES: [u32; 13] = [1, 2, 3, 5, 10, 20, 40, 100, 100, 100, 100, 200, 200];

/// Counts tries and tells how long to pause.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    tries: usize,
}

impl Backoff {
    /// Starts with pauses of about `base`.
    pub fn new(base: Duration) -> Backoff {
        Backoff { base, tries: 0 }
    }

    /// The next pause: the table's multiple of the base, ± 10 %.
    pub fn next(&mut self, random: &dyn Random) -> Duration {
        let multiple = MULTIPLES[self.tries.min(MULTIPLES.len() - 1)];
        self.tries += 1;
        let jitter = 0.9 + 0.2 * (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        (self.base * multiple).mul_f64(jitter)
    }

    /// How many pauses were given.
    pub fn tries(&self) -> usize {
        self.tries
    }
}
