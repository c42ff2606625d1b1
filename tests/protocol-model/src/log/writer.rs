//! The writer of a stream (PROTOCOLS.md §4).

use super::{Action, Cells, Life, Log, Mistake, NONE, NUMBERS, Piece, Stage, State, claims};

impl Log {
    /// Steps of a server as the writer of its stream, and of its puts.
    pub fn writer_actions(&self, state: &State, server: u8, out: &mut Vec<Action>) {
        let at = usize::from(server);
        let me = &state.servers[at];
        let stream = &state.streams[at];
        let alive = me.life == Life::Alive;
        if alive {
            // §4.1: number n is put only after n − W is confirmed.
            let room = me.next - me.applied < self.window && me.next < self.numbers;
            for region in 0..self.regions {
                if me.hosts[usize::from(region)].stage == Stage::Open && room && state.writes < self.writes {
                    out.push(Action::Write { server, region, both_families: self.families > 1 });
                    if self.families > 1 {
                        out.push(Action::Write { server, region, both_families: false });
                    }
                }
            }
            if self.seal && stream.segment <= stream.low && me.applied > stream.low {
                out.push(Action::PutSegment { server });
            }
            if self.trim {
                if self.low_wanted(state, at) > stream.low {
                    out.push(Action::SwapLow { server });
                }
                if stream.pieces[..usize::from(self.deletable(state, at))].iter().any(|piece| piece.is_data()) {
                    out.push(Action::DeleteBelowLow { server });
                }
            }
            out.push(Action::Crash { server });
        }
        for n in 0..NUMBERS as u8 {
            let there = stream.pieces[usize::from(n)] != Piece::ABSENT;
            if stream.puts[usize::from(n)] != Piece::ABSENT && !there {
                out.push(Action::PutLands { server, n, again: false });
                if self.twice {
                    out.push(Action::PutLands { server, n, again: true });
                }
            }
            if alive && (me.applied..me.next).contains(&n) && me.confirmed & 1 << n == 0 && there {
                out.push(Action::Confirm { server, n });
            }
        }
    }

    /// §4.1, §6: seq and number are taken in one critical section.
    pub(super) fn write(&self, state: &mut State, server: u8, region: u8, both_families: bool) {
        let me = &mut state.servers[usize::from(server)];
        let host = &mut me.hosts[usize::from(region)];
        let piece = Piece::entry(state.writes, usize::from(region), host.next_seq, both_families);
        host.next_seq += 1;
        state.streams[usize::from(server)].puts[usize::from(me.next)] = piece;
        me.next += 1;
        state.writes += 1;
        state.submitted[usize::from(region)] |= piece.cells();
    }

    /// A put takes place; it is one only if the number is absent.
    pub(super) fn put_lands(&self, state: &mut State, server: u8, n: u8, again: bool) {
        let stream = &mut state.streams[usize::from(server)];
        stream.pieces[usize::from(n)] = stream.puts[usize::from(n)];
        if !again {
            stream.puts[usize::from(n)] = Piece::ABSENT;
        }
    }

    /// §4.3, §4.4: mine → confirmed, and the whole prefix applied and acknowledged; a fence → stop.
    pub(super) fn confirm(&self, state: &mut State, server: u8, n: u8) {
        let at = usize::from(server);
        let stream = state.streams[at];
        let piece = stream.pieces[usize::from(n)];
        if piece == Piece::FENCE && !self.wrong(Mistake::ExistsTakenAsMine) {
            state.servers[at].die();
            return;
        }
        state.servers[at].confirmed |= 1 << n;
        if self.wrong(Mistake::AcknowledgedBeforePredecessor) {
            state.servers[at].hosts[piece.region()].memtable |= piece.cells();
            state.acknowledged |= piece.cells();
        }
        if self.wrong(Mistake::NumberInDoubtSkipped) {
            state.servers[at].confirmed |= (1 << n) - 1;
        }
        loop {
            let me = &mut state.servers[at];
            let k = me.applied;
            if k >= me.next || me.confirmed & 1 << k == 0 {
                return;
            }
            me.confirmed &= !(1 << k);
            me.applied += 1;
            let stored = stream.pieces[usize::from(k)];
            let piece = if stored.is_data() { stored } else { stream.puts[usize::from(k)] };
            if piece.is_data() {
                apply(state, at, piece);
            }
        }
    }

    /// What `low` may become.
    pub(super) fn low_wanted(&self, state: &State, at: usize) -> u8 {
        let me = &state.servers[at];
        if self.seal {
            // Sealed pieces go on in segments.
            let stream = &state.streams[at];
            let ahead = stream.segment > stream.low && self.wrong(Mistake::SegmentPutAgainLonger);
            return if ahead { me.applied } else { stream.segment };
        }
        let needed = me.hosts[..usize::from(self.regions)].iter().filter_map(|host| {
            let from = match (host.stage, host.swap) {
                (Stage::Closed | Stage::Ordered, _) => NONE,
                (Stage::Claiming, _) if self.wrong(Mistake::PinForgotten) => NONE,
                (Stage::Claiming, Some(swap)) => swap.needs[at], // the pin of §5.3
                (Stage::Open, Some(swap)) if self.wrong(Mistake::TrimmedBeforeCommit) && swap.needs[at] != NONE => {
                    swap.needs[at]
                }
                _ => host.manifest.needs[at],
            };
            (from != NONE).then_some(from)
        });
        let from = if self.wrong(Mistake::LowOfLeastNeedyRegion) { needed.max() } else { needed.min() };
        from.unwrap_or(me.applied)
    }

    /// The number below which pieces may be deleted.
    fn deletable(&self, state: &State, at: usize) -> u8 {
        let early = self.wrong(Mistake::DeletedBeforeHeadSwap);
        if early { self.low_wanted(state, at) } else { state.streams[at].low }
    }

    /// §4.5: a swap of the head; refused once the stream has ended.
    pub(super) fn swap_low(&self, state: &mut State, server: u8) {
        let at = usize::from(server);
        let to = self.low_wanted(state, at);
        let stream = &mut state.streams[at];
        if stream.ended.is_some() && !self.wrong(Mistake::SealedAfterEnd) {
            state.servers[at].die();
            return;
        }
        stream.low = to;
    }

    /// §4.5: the segment comes first. A sleeper's may come after `ended`; no head will name it.
    pub(super) fn put_segment(&self, state: &mut State, server: u8) {
        let at = usize::from(server);
        let to = state.servers[at].applied;
        let stream = &mut state.streams[at];
        let run = usize::from(stream.low)..usize::from(to);
        stream.sealed[run.clone()].copy_from_slice(&stream.pieces[run]);
        stream.segment = to;
    }

    /// §4.5: only after the swap of the head.
    pub(super) fn delete_below_low(&self, state: &mut State, server: u8) {
        let below = self.deletable(state, usize::from(server));
        let stream = &mut state.streams[usize::from(server)];
        for piece in &mut stream.pieces[..usize::from(below)] {
            if piece.is_data() {
                *piece = Piece::ABSENT;
            }
        }
    }
}

/// §4.4: apply to the memtables, publish, answer.
fn apply(state: &mut State, at: usize, piece: Piece) {
    let region = piece.region();
    let host = &mut state.servers[at].hosts[region];
    if host.stage != Stage::Open {
        return;
    }
    let cells: Cells = piece.cells();
    host.memtable |= cells;
    host.applied_seq = host.applied_seq.max(piece.seq());
    state.acknowledged |= cells;
    // A sleeper may still answer for a write that its successor has recovered and shown: that is right (§6).
    if piece.seq() <= state.top[region] && state.seen & cells != cells {
        state.broken |= claims::SEQ;
    }
    state.top[region] = state.top[region].max(piece.seq());
}
