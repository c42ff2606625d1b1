//! Multi-version visibility for one region.
//!
//! A write takes a [`SeqNo`] in [`Mvcc::begin`] and becomes visible in [`Mvcc::complete`].
//!
//! Invariants
//! - The read point only grows, and never passes a write that has not completed.
//! - Sequence numbers are handed out in log order: `begin` runs inside the critical section that takes the log position.
//!
//! Not here: durability (`wal`), row locks (`row_lock`).

use std::collections::{BTreeMap, VecDeque};

use model::SeqNo;
use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Debug)]
struct State {
    last: SeqNo,
    /// Begun and not yet covered by the read point: number, and whether it completed.
    writes: VecDeque<(SeqNo, bool)>,
    /// Read points that scanners hold, with how many hold each.
    readers: BTreeMap<SeqNo, usize>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Mvcc {
    state: Mutex<State>,
    read_point: watch::Sender<SeqNo>,
}

impl Mvcc {
    /// Everything up to `last` is visible.
    pub fn new(last: SeqNo) -> Mvcc {
        let state = State { last, writes: VecDeque::new(), readers: BTreeMap::new() };
        Mvcc { state: Mutex::new(state), read_point: watch::Sender::new(last) }
    }

    /// Takes the next number.
    pub fn begin(&self) -> SeqNo {
        let mut state = self.state.lock();
        state.last = state.last.next();
        let seqno = state.last;
        state.writes.push_back((seqno, false));
        seqno
    }

    /// The write is applied (or dropped for good): it no longer holds the read point back.
    pub fn complete(&self, seqno: SeqNo) {
        let mut state = self.state.lock();
        let at = state.writes.binary_search_by_key(&seqno, |write| write.0).expect("begun and not yet completed");
        assert!(!std::mem::replace(&mut state.writes[at].1, true), "a write completes once");
        let mut reached = None;
        while let Some((seqno, true)) = state.writes.front().copied() {
            state.writes.pop_front();
            reached = Some(seqno);
        }
        if let Some(seqno) = reached {
            self.read_point.send_replace(seqno);
        }
    }

    /// Waits until the write is visible.
    pub async fn wait_visible(&self, seqno: SeqNo) {
        if self.read_point() >= seqno {
            return;
        }
        let mut receiver = self.read_point.subscribe();
        // The sender lives in `self`, which outlives the borrow.
        let _ = receiver.wait_for(|read_point| *read_point >= seqno).await;
    }

    /// What a reader that starts now sees.
    pub fn read_point(&self) -> SeqNo {
        *self.read_point.borrow()
    }

    /// The last number handed out.
    pub fn last(&self) -> SeqNo {
        self.state.lock().last
    }

    /// Holds a read point for a scanner; compactions keep what it sees.
    pub fn hold(&self) -> SeqNo {
        let mut state = self.state.lock();
        let read_point = *self.read_point.borrow();
        *state.readers.entry(read_point).or_default() += 1;
        read_point
    }

    /// Lets a held read point go.
    pub fn release(&self, read_point: SeqNo) {
        let mut state = self.state.lock();
        if let Some(count) = state.readers.get_mut(&read_point) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&read_point);
            }
        }
    }

    /// The smallest read point that anybody holds or will take.
    pub fn smallest_read_point(&self) -> SeqNo {
        let state = self.state.lock();
        let now = *self.read_point.borrow();
        state.readers.keys().next().copied().map_or(now, |held| held.min(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_point_waits_for_earlier_writes() {
        let mvcc = Mvcc::new(SeqNo(10));
        let (first, second) = (mvcc.begin(), mvcc.begin());
        assert_eq!((first, second), (SeqNo(11), SeqNo(12)));
        mvcc.complete(second);
        assert_eq!(mvcc.read_point(), SeqNo(10));
        mvcc.complete(first);
        assert_eq!(mvcc.read_point(), SeqNo(12));
    }

    #[test]
    fn smallest_read_point_is_held_back_by_readers() {
        let mvcc = Mvcc::new(SeqNo(1));
        let held = mvcc.hold();
        let write = mvcc.begin();
        mvcc.complete(write);
        assert_eq!((mvcc.smallest_read_point(), mvcc.read_point()), (SeqNo(1), SeqNo(2)));
        mvcc.release(held);
        assert_eq!(mvcc.smallest_read_point(), SeqNo(2));
    }
}
