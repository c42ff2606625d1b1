//! Reads on a server that may be a zombie: evaluated, then guarded, then answered (PROTOCOLS.md §8, guards 2 and 3).
//!
//! One read is under way at a time. Guard 1, the lease, needs time: [`crate::lease`].

use super::{Action, Cells, Life, Log, Mistake, Piece, Stage, State, claims};

/// A read that waits for its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Read {
    /// Where.
    pub server: u8,
    /// What it found.
    pub cells: Cells,
    /// What it must show: all that was acknowledged or shown when it began.
    pub due: Cells,
    /// The number that the next put will have.
    pub next: u8,
}

impl Log {
    /// Steps of a read.
    pub fn read_actions(&self, state: &State, out: &mut Vec<Action>) {
        match state.read {
            Some(_) => out.extend([Action::GuardByLog, Action::GuardByLook]),
            None if self.reads => {
                for server in 0..self.servers {
                    for region in 0..self.regions {
                        let host = &state.servers[usize::from(server)].hosts[usize::from(region)];
                        if host.stage == Stage::Open {
                            out.push(Action::Read { server, region });
                        }
                    }
                }
            }
            None => {}
        }
    }

    /// Evaluates.
    pub(super) fn read(&self, state: &mut State, server: u8, region: u8) {
        let region = usize::from(region);
        let cells = state.visible(usize::from(server), region);
        let due = (state.acknowledged | state.seen) & state.submitted[region];
        let next = state.servers[usize::from(server)].next;
        state.read = Some(Read { server, cells, due, next });
    }

    fn answer(&self, state: &mut State, read: Read) {
        if read.due & !read.cells != 0 {
            state.broken |= claims::STALE;
        }
        state.seen |= read.cells;
        state.read = None;
    }

    /// Guard 2.
    pub(super) fn guard_by_log(&self, state: &mut State) -> Option<()> {
        let read = state.read?;
        let me = &state.servers[usize::from(read.server)];
        let behind_gap = self.wrong(Mistake::ProofBehindGap) && me.confirmed >> read.next != 0;
        if me.life != Life::Alive || me.applied <= read.next && !behind_gap {
            return None;
        }
        self.answer(state, read);
        Some(())
    }

    /// Guard 3. A piece of one's own there: confirm it first.
    pub(super) fn guard_by_look(&self, state: &mut State) -> Option<()> {
        let read = state.read?;
        let at = usize::from(read.server);
        let me = &state.servers[at];
        if me.life != Life::Alive {
            state.read = None; // it died, the read with it
            return Some(());
        }
        let n = if self.wrong(Mistake::LookAtNewestNumber) { me.next } else { me.applied };
        match state.streams[at].pieces[usize::from(n)] {
            Piece::ABSENT => self.answer(state, read),
            Piece::FENCE => {
                state.servers[at].die();
                state.read = None;
            }
            _ => return None,
        }
        Some(())
    }
}
