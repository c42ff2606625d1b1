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

use bytes::{Buf, BufMut, Bytes, BytesMut};
use model::mutation::Nonce;
use parking_lot::Mutex;
use runtime::clock::Clock;
use tokio::sync::watch;

use crate::error::{Result, StorageError};

/// Most finished nonces remembered; 24 bytes each, beside the map.
pub const NONCES_MAX: usize = 1 << 17;

/// META block of a store file with the nonces finished when it was written.
pub const META_NAME: &str = "FERROBASE_NONCES";
const META_VERSION: u32 = 1;

/// Body of the META block: `version u32, (group u64, nonce u64)*`, oldest first.
pub fn encode(nonces: &[Nonce]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + nonces.len() * 16);
    out.put_u32(META_VERSION);
    for nonce in nonces {
        out.put_u64(nonce.group);
        out.put_u64(nonce.nonce);
    }
    out.freeze()
}

/// Reads a META block's body.
pub fn decode(mut body: &[u8], file: &str) -> Result<Vec<Nonce>> {
    let what = "nonce block";
    let version = body.try_get_u32().map_err(|_| StorageError::corrupt(what, file, 0, "it is cut short"))?;
    if version > META_VERSION {
        return Err(StorageError::Newer { what, found: version, known: META_VERSION, file: file.to_owned() });
    }
    if version == 0 || !body.len().is_multiple_of(16) {
        return Err(StorageError::corrupt(what, file, 0, "its version or length is wrong"));
    }
    let mut nonces = Vec::with_capacity(body.len() / 16);
    while body.has_remaining() {
        nonces.push(Nonce { group: body.get_u64(), nonce: body.get_u64() });
    }
    Ok(nonces)
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
    window: Duration,
    count_max: usize,
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
            let old = now.saturating_sub(since) >= self.window;
            if !old && state.finished.len() <= self.count_max {
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
pub struct NonceWindow(Arc<Shared>);

/// The right to carry an operation out. Dropped without [`Attempt::done`], it failed and left nothing.
#[derive(Debug)]
pub struct Attempt {
    shared: Arc<Shared>,
    nonce: Nonce,
    finished: bool,
    /// Its end wakes those who wait.
    _settled: watch::Sender<()>,
}

impl Attempt {
    /// The operation happened.
    pub fn done(mut self) {
        self.finished = true;
        self.shared.finish(&mut self.shared.state.lock(), self.nonce);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.state.lock().known.remove(&self.nonce);
        }
    }
}

impl NonceWindow {
    /// An empty window.
    pub fn new(clock: Arc<dyn Clock>, window: Duration) -> NonceWindow {
        NonceWindow::bounded(clock, window, NONCES_MAX)
    }

    fn bounded(clock: Arc<dyn Clock>, window: Duration, count_max: usize) -> NonceWindow {
        NonceWindow(Arc::new(Shared { state: Mutex::default(), clock, window, count_max }))
    }

    /// Begins an operation; `None` says that it has happened already. Waits while another attempt runs.
    pub async fn begin(&self, nonce: Nonce) -> Option<Attempt> {
        loop {
            let mut running = {
                let mut state = self.0.state.lock();
                self.0.expire(&mut state, self.0.clock.monotonic());
                match state.known.get(&nonce) {
                    Some(Known::Finished) => return None,
                    Some(Known::Running(settled)) => settled.clone(),
                    None => {
                        let (sender, receiver) = watch::channel(());
                        state.known.insert(nonce, Known::Running(receiver));
                        let shared = self.0.clone();
                        return Some(Attempt { shared, nonce, finished: false, _settled: sender });
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

    fn window(count_max: usize) -> (Arc<ManualClock>, NonceWindow) {
        let clock = Arc::new(ManualClock::new(1000));
        (clock.clone(), NonceWindow::bounded(clock, Duration::from_secs(10), count_max))
    }

    async fn first(nonces: &NonceWindow, number: u64) -> Attempt {
        nonces.begin(nonce(number)).await.expect("not known")
    }

    #[tokio::test]
    async fn finished_once_failed_again_and_forgotten_with_age() {
        let (clock, nonces) = window(10);
        drop(first(&nonces, 1).await);
        first(&nonces, 1).await.done();
        assert!(nonces.begin(nonce(1)).await.is_none());
        clock.advance_ms(9_999);
        assert!(nonces.begin(nonce(1)).await.is_none());
        clock.advance_ms(1);
        first(&nonces, 1).await.done();
        assert_eq!((nonces.finished(), nonces.dropped_early()), (vec![nonce(1)], 0));
    }

    #[test]
    fn a_block_is_read_back_and_damage_named() {
        let nonces = [nonce(1), nonce(u64::MAX)];
        let body = encode(&nonces);
        assert_eq!(decode(&body, "x").expect("sound"), nonces);
        assert!(decode(&body[..21], "x").expect_err("cut").to_string().contains("`x`"));
        assert!(decode(&[0, 0, 0, 9], "x").expect_err("newer").to_string().contains("newer build"));
    }

    #[tokio::test]
    async fn the_count_is_bounded() {
        let (_, nonces) = window(3);
        for number in 1..=5 {
            nonces.remember(nonce(number));
            nonces.remember(nonce(number));
        }
        assert_eq!((nonces.finished(), nonces.dropped_early()), (vec![nonce(3), nonce(4), nonce(5)], 2));
        first(&nonces, 1).await.done();
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
                running.done();
            }
            assert_eq!(waiter.await.expect("waiter").is_some(), fails, "only a failure lets the next one in");
        }
    }
}
