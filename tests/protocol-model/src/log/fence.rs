//! The fence: how anybody ends a stream (PROTOCOLS.md §4).

use super::{Action, Ended, Life, Log, Mistake, NUMBERS, Piece, REGIONS, State};

/// Where a fencer is. `low`: the head as read; `read`: numbers whose data it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fencer {
    /// Nothing begun, or done.
    Idle,
    /// Looking at numbers; `looked`: those looked at, `fences`: those with a fence.
    Look { stream: u8, low: u8, looked: u8, read: u8, fences: u8 },
    /// About to put the fence at n.
    Put { stream: u8, low: u8, n: u8, read: u8 },
    /// A fence stands at f; about to swap the head.
    End { stream: u8, low: u8, f: u8, read: u8 },
}

impl Log {
    /// Steps of the fencers.
    pub fn fence_actions(&self, state: &State, out: &mut Vec<Action>) {
        for fencer in 0..self.fencers {
            match state.fencers[usize::from(fencer)] {
                // The second is of interest only while the first is at work.
                Fencer::Idle if fencer == 1 && state.fencers[0] == Fencer::Idle => {}
                Fencer::Idle => {
                    for stream in 0..self.servers {
                        let at = usize::from(stream);
                        if state.servers[at].life != Life::Unborn && state.streams[at].ended.is_none() {
                            out.push(Action::FenceBegins { fencer, stream });
                        }
                    }
                }
                Fencer::Look { low, looked, .. } => {
                    let mut fresh = (low..=self.numbers).filter(|n| looked & 1 << n == 0);
                    if self.wrong(Mistake::FenceBehindNewest) {
                        out.extend(fresh.next_back().map(|n| Action::FenceLooks { fencer, n }));
                    } else {
                        out.extend(fresh.map(|n| Action::FenceLooks { fencer, n }));
                    }
                }
                Fencer::Put { .. } => {
                    out.push(Action::FencePut { fencer });
                    if self.fence_ahead {
                        out.push(Action::FenceAhead { fencer });
                    }
                }
                Fencer::End { .. } => out.push(Action::FenceEnds { fencer }),
            }
        }
        if state.stray.is_some() {
            out.push(Action::StrayFence);
        }
    }

    /// Step 1: the head is live, with this `low`.
    pub(super) fn fence_begins(&self, state: &mut State, fencer: u8, stream: u8) {
        let low = state.streams[usize::from(stream)].low;
        state.fencers[usize::from(fencer)] = self.look_from(state, stream, low, low, 0);
    }

    /// Step 2, from n upwards: at once, or the first of single looks.
    fn look_from(&self, state: &State, stream: u8, low: u8, from: u8, read: u8) -> Fencer {
        if self.single_looks {
            let looked = (1 << from) - 1; // what lies below needs no look
            return Fencer::Look { stream, low, looked, read, fences: 0 };
        }
        let pieces = &state.streams[usize::from(stream)].pieces;
        let data = pieces[usize::from(from)..].iter().take_while(|piece| piece.is_data()).count() as u8;
        let n = from + data;
        let read = read | (from..n).fold(0, |read, n| read | 1 << n);
        match pieces.get(usize::from(n)) {
            None => Fencer::Idle, // a planted mistake may fill a stream up
            Some(&Piece::FENCE) => Fencer::End { stream, low, f: n, read },
            Some(_) => Fencer::Put { stream, low, n, read },
        }
    }

    /// Step 2, one number; the lowest absent one is settled once all below it are known to hold data.
    pub(super) fn fence_looks(&self, state: &mut State, fencer: u8, n: u8) -> Option<()> {
        let fencer = &mut state.fencers[usize::from(fencer)];
        let Fencer::Look { stream, low, looked, read, fences } = fencer else { return None };
        let piece = state.streams[usize::from(*stream)].pieces[usize::from(n)];
        *looked |= 1 << n;
        if piece.is_data() {
            *read |= 1 << n;
        } else if piece == Piece::FENCE {
            *fences |= 1 << n;
        }
        let (stream, low, read) = (*stream, *low, *read);
        if self.wrong(Mistake::FenceBehindNewest) {
            if piece.is_data() || n == low {
                let n = if piece.is_data() { n + 1 } else { n };
                *fencer = Fencer::Put { stream, low, n, read };
            }
            return Some(());
        }
        let first = (low..NUMBERS as u8).find(|n| read & 1 << n == 0)?;
        if *looked & 1 << first != 0 {
            *fencer = if *fences & 1 << first != 0 {
                Fencer::End { stream, low, f: first, read }
            } else {
                Fencer::Put { stream, low, n: first, read }
            };
        }
        Some(())
    }

    /// Step 3: put-if-absent. Data there → go on behind it.
    pub(super) fn fence_put(&self, state: &mut State, fencer: u8) -> Option<()> {
        let Fencer::Put { stream, low, n, read } = state.fencers[usize::from(fencer)] else { return None };
        let piece = &mut state.streams[usize::from(stream)].pieces[usize::from(n)];
        let after = if piece.is_data() {
            if self.wrong(Mistake::TailReadBeforeFence) {
                Fencer::Put { stream, low, n: n + 1, read }
            } else {
                self.look_from(state, stream, low, n, read)
            }
        } else {
            *piece = Piece::FENCE;
            Fencer::End { stream, low, f: n, read }
        };
        state.fencers[usize::from(fencer)] = after;
        if self.twice_fence && state.stray.is_none() {
            state.stray = Some((stream, n));
        }
        Some(())
    }

    /// Two numbers ahead. The stream still ends at the lowest number without data.
    pub(super) fn put_fence_ahead(&self, state: &mut State, fencer: u8) -> Option<()> {
        let Fencer::Put { stream, n, .. } = state.fencers[usize::from(fencer)] else { return None };
        let piece = state.streams[usize::from(stream)].pieces.get_mut(usize::from(n) + 2)?;
        if *piece != Piece::ABSENT {
            return None;
        }
        *piece = Piece::FENCE;
        Some(())
    }

    /// The put of step 3, which had been sent twice, lands once more.
    pub(super) fn stray_fence(&self, state: &mut State) -> Option<()> {
        let (stream, n) = state.stray.take()?;
        let piece = &mut state.streams[usize::from(stream)].pieces[usize::from(n)];
        if *piece == Piece::ABSENT {
            *piece = Piece::FENCE;
        }
        Some(())
    }

    /// Step 5: swap the head `live → ended`, on the version read.
    pub(super) fn fence_ends(&self, state: &mut State, fencer: u8) -> Option<()> {
        let Fencer::End { stream, low, f, read } = state.fencers[usize::from(fencer)] else { return None };
        let head = &mut state.streams[usize::from(stream)];
        let after = if head.ended.is_some() {
            Fencer::Idle
        } else if head.low == low || self.wrong(Mistake::EndedWithoutCompare) {
            let mut index = [0; REGIONS];
            for n in 0..f {
                let sealed = head.sealed[usize::from(n)];
                let piece = if n < low { sealed } else { head.pieces[usize::from(n)] };
                if piece.is_data() && (n < low || read & 1 << n != 0) {
                    index[piece.region()] |= 1 << n;
                }
            }
            if self.wrong(Mistake::IndexOfOneRegion) {
                index[1] = 0;
            }
            head.ended = Some(Ended { f, low, index });
            Fencer::Idle
        } else if head.low > f && !self.wrong(Mistake::FenceOnFreedNumberKept) {
            let low = head.low;
            self.look_from(state, stream, low, low, 0)
        } else {
            // The fence stands; what went below the new low is in segments now.
            Fencer::End { stream, low: head.low, f, read }
        };
        state.fencers[usize::from(fencer)] = after;
        Some(())
    }
}
