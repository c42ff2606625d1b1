//! How fast compactions may go, over all regions of a process.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::clock::Clock;

/// Lets so many bytes a second pass, in the order of their coming.
#[derive(Debug)]
pub struct Throttle {
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    /// When what was let through so far has passed.
    free_at: Mutex<Duration>,
}

impl Throttle {
    /// A throttle; 0 lets everything pass at once.
    pub fn new(clock: Arc<dyn Clock>, bytes_per_second: u64) -> Throttle {
        Throttle { clock, bytes_per_second, free_at: Mutex::default() }
    }

    /// Waits until these bytes may pass.
    pub async fn pass(&self, bytes: u64) {
        if self.bytes_per_second == 0 {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let wait = {
            let now = self.clock.monotonic();
            let mut free_at = self.free_at.lock();
            let begins = now.max(*free_at);
            *free_at = begins + takes;
            begins - now
        };
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use runtime::clock::ManualClock;

    #[test]
    fn what_follows_waits_for_what_went_before() {
        let clock = Arc::new(ManualClock::new(1000));
        let throttle = Throttle::new(clock.clone(), 1000);
        assert!(throttle.pass(500).now_or_never().is_some(), "the first passes at once");
        assert_eq!(*throttle.free_at.lock(), Duration::from_millis(1500));
        clock.advance_ms(600);
        assert!(throttle.pass(1).now_or_never().is_some(), "enough time has gone by");
        let free = Throttle::new(clock, 0);
        assert!((0..10).all(|_| free.pass(u64::MAX).now_or_never().is_some()));
    }
}
