//! Which attempts of once-only operations a region has seen.
//!
//! Always true
//! - Of all attempts with one nonce at most one is carried out within the window; the others wait for its outcome.
//! - An attempt that failed for certain is forgotten, so its repetition is carried out.
//! - The count is bounded: at the bound the oldest finished nonce goes first, and a counter tells.
//!
//! Ages are monotonic times of this process: a nonce taken over from a log counts as new, so a window only gets longer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use model::mutation::Nonce;
use parking_lot::Mutex;
use runtime::clock::Clock;
use tokio::sync::watch;

/// Bounds of a window.
#[derive(Clone, Copy, Debug)]
pub struct NonceSettings {
    /// How long a finished nonce is remembered.
    pub window: Duration,
    /// How many finished nonces are remembered at most; 24 bytes each, beside the map.
    pub count_max: usize,
}

impl Default for NonceSettings {
    fn default() -> Self {
        NonceSettings { window: Duration::from_secs(300), count_max: 100_000 }
    }
}

#[derive(Debug)]
enum Known {
    /// Somebody is at it; the channel closes when it is settled.
    Running(watch::Receiver<()>),
    Finished,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Nonce, Known>,
    /// Oldest first.
    finished: VecDeque<(Duration, Nonce)>,
    dropped_early: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    settings: NonceSettings,
}

impl Shared {
    fn finish(&self, state: &mut State, nonce: Nonce) {
        let now = self.clock.monotonic();
        if !matches!(state.known.insert(nonce, Known::Finished), Some(Known::Finished)) {
            state.finished.push_back((now, nonce));
        }
        self.expire(state, now);
    }

    fn expire(&self, state: &mut State, now: Duration) {
        while let Some((since, nonce)) = state.finished.front().copied() {
            let old = now.saturating_sub(since) >= self.settings.window;
            if !old && state.finished.len() <= self.settings.count_max {
                break;
            }
            state.dropped_early += u64::from(!old);
            state.finished.pop_front();
            state.known.remove(&nonce);
        }
    }
}

/// The nonce window of one region; clones share it.
#[derive(Clone, Debug)]
pub struct Nonces(Arc<Shared>);

/// What [`Nonces::begin`] found.
#[derive(Debug)]
pub enum Attempt {
    /// Nobody has done it: carry it out, then [`Running::finish`].
    First(Running),
    /// It has been carried out: answer with a read.
    Repeated,
}

/// An attempt under way. Dropping it unfinished says that it failed and left nothing.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    nonce: Nonce,
    finished: bool,
    /// Its end wakes those who wait.
    _settled: watch::Sender<()>,
}

impl Running {
    /// The operation happened.
    pub fn finish(mut self) {
        self.finished = true;
        self.shared.finish(&mut self.shared.state.lock(), self.nonce);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.state.lock().known.remove(&self.nonce);
        }
    }
}

impl Nonces {
    /// An empty window.
    pub fn new(clock: Arc<dyn Clock>, settings: NonceSettings) -> Nonces {
        Nonces(Arc::new(Shared { state: Mutex::default(), clock, settings }))
    }

    /// Starts an attempt; waits while another one with the same nonce runs.
    pub async fn begin(&self, nonce: Nonce) -> Attempt {
        loop {
            let mut running = {
                let mut state = self.0.state.lock();
                self.0.expire(&mut state, self.0.clock.monotonic());
                match state.known.get(&nonce) {
                    Some(Known::Finished) => return Attempt::Repeated,
                    Some(Known::Running(settled)) => settled.clone(),
                    None => {
                        let (sender, receiver) = watch::channel(());
                        state.known.insert(nonce, Known::Running(receiver));
                        let shared = self.0.clone();
                        return Attempt::First(Running { shared, nonce, finished: false, _settled: sender });
                    }
                }
            };
            // Nothing is ever sent: an error means the attempt is settled.
            let _ = running.changed().await;
        }
    }

    /// Remembers a nonce found in a log or a file as finished now.
    pub fn remember(&self, nonce: Nonce) {
        self.0.finish(&mut self.0.state.lock(), nonce);
    }

    /// The finished nonces within the window, oldest first.
    pub fn finished(&self) -> Vec<Nonce> {
        let mut state = self.0.state.lock();
        self.0.expire(&mut state, self.0.clock.monotonic());
        state.finished.iter().map(|(_, nonce)| *nonce).collect()
    }

    /// How many were forgotten before their time, for want of room.
    pub fn dropped_early(&self) -> u64 {
        self.0.state.lock().dropped_early
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::ManualClock;

    fn nonce(nonce: u64) -> Nonce {
        Nonce { group: 1, nonce }
    }

    fn window(count_max: usize) -> (Arc<ManualClock>, Nonces) {
        let clock = Arc::new(ManualClock::new(1000));
        let settings = NonceSettings { window: Duration::from_secs(10), count_max };
        (clock.clone(), Nonces::new(clock, settings))
    }

    async fn first(nonces: &Nonces, number: u64) -> Running {
        match nonces.begin(nonce(number)).await {
            Attempt::First(running) => running,
            Attempt::Repeated => panic!("nonce {number} is known"),
        }
    }

    #[tokio::test]
    async fn finished_once_failed_again_and_forgotten_with_age() {
        let (clock, nonces) = window(10);
        drop(first(&nonces, 1).await);
        first(&nonces, 1).await.finish();
        assert!(matches!(nonces.begin(nonce(1)).await, Attempt::Repeated));
        clock.advance_ms(9_999);
        assert!(matches!(nonces.begin(nonce(1)).await, Attempt::Repeated));
        clock.advance_ms(1);
        first(&nonces, 1).await.finish();
        assert_eq!((nonces.finished(), nonces.dropped_early()), (vec![nonce(1)], 0));
    }

    #[tokio::test]
    async fn the_count_is_bounded() {
        let (_, nonces) = window(3);
        for number in 1..=5 {
            nonces.remember(nonce(number));
            nonces.remember(nonce(number));
        }
        assert_eq!((nonces.finished(), nonces.dropped_early()), (vec![nonce(3), nonce(4), nonce(5)], 2));
        first(&nonces, 1).await.finish();
    }

    #[tokio::test]
    async fn a_repetition_waits_for_the_outcome() {
        let (_, nonces) = window(10);
        for fails in [true, false] {
            let running = first(&nonces, 7).await;
            let waiter = {
                let nonces = nonces.clone();
                runtime::task::spawn("retry", async move { nonces.begin(nonce(7)).await })
            };
            runtime::task::yield_now().await;
            if fails {
                drop(running);
            } else {
                running.finish();
            }
            match waiter.await.expect("waiter") {
                Attempt::First(again) => assert!(fails, "dropping {again:?} lets the next one in"),
                Attempt::Repeated => assert!(!fails),
            }
        }
    }
}
