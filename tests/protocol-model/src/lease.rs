//! Leased reads under two leaders, in discrete time (PROTOCOLS.md §8; L1 to L4).
//!
//! Server S holds a region and takes leases from leader 0, later from leader 1, who may take over at any tick. Either leader may
//! suspect S, fence its stream and order the region to the next server, S2; leader 0 may be a zombie that goes on doing so.
//! Messages and looks take any time. Clocks may lose ticks against each other; a pause of S needs nothing, since its lease is
//! measured in time.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// L1: the lease does not subtract the age of the leader's look.
    AgeIgnored,
    /// L1: the lease counts from when the answer arrived.
    CountedFromReceipt,
    /// L1: the age is counted from the end of the look.
    AgeFromEndOfLook,
    /// L2: a new leader does not wait for the leases of the old one.
    NewLeaderDoesNotWait,
    /// L2: a leader goes on answering heartbeats of a server it suspects.
    RepliesAfterSuspicion,
    /// L2: the region is ordered without waiting for the lease.
    OrdersWithoutWaiting,
    /// L3: the first lease of a new leader is taken without a look at the own log.
    NoLookForNewLeader,
    /// L2: leaders wait L, not L(1+ρ), though clocks differ in rate.
    DriftIgnored,
    /// L4: the opener does not look at `leader` before serving.
    OpenerTrustsItsOrder,
}

/// Sizes, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// The last tick.
    pub horizon: u8,
    /// L, the length of a lease.
    pub length: u8,
    /// L·ρ: ticks that the clocks of S and of leader 0, taken together, lose against leader 1's.
    pub drift: u8,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// Leader 0's look at the register `leader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    /// None under way.
    None,
    /// Sent at this tick.
    Sent(u8),
    /// Sent at this tick; the register said that the looker leads, or not.
    Read(u8, bool),
}

/// What one leader knows and has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leader {
    /// Its last reply to a heartbeat of S.
    last_reply: u8,
    suspects: bool,
    ordered: bool,
    /// S2 has claimed the region on its order.
    claimed: bool,
}

/// Two leaders, the register `leader`, S and S2.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Leader 1's clock, the fastest.
    now: u8,
    /// Ticks that S's clock and leader 0's have lost.
    behind: [u8; 2],
    /// The register: who leads, and since when leader 1.
    leads: u8,
    took_over: u8,
    look: Look,
    /// When leader 0's last successful look began.
    looked: Option<u8>,
    leaders: [Leader; 2],
    /// S's heartbeat to each leader: when it was sent.
    heartbeat: [Option<u8>; 2],
    /// The leader's answer on its way: when the heartbeat was sent, and the age.
    reply: [Option<(u8, u8)>; 2],
    lease_end: u8,
    /// S has learnt that leader 1 leads, and has made its look (L3).
    learnt: bool,
    proved: bool,
    fenced: bool,
    /// S has met the fence.
    stopped: bool,
    /// S2 has looked at `leader` (L4); S2 serves.
    checked: bool,
    opened: bool,
    /// S has served a leased read.
    served: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Time passes.
    Tick,
    /// Time passes, and a clock loses a tick: that of S (0) or of leader 0 (1).
    TickLost(u8),
    /// Leader 0 sends a look, the register answers, the answer arrives.
    LookBegins,
    LookAtRegister,
    LookAnswered,
    /// Leader 1 swaps `leader`.
    TakeOver,
    /// S sends a heartbeat.
    Heartbeat(u8),
    /// A leader answers it.
    Reply(u8),
    /// S takes the lease.
    TakeLease(u8),
    /// S hears of leader 1.
    Learn,
    /// S looks whether it is fenced (guard 3), for L3.
    LookForFence,
    /// A leader takes S for suspect, fences it, orders the region; S2 claims.
    Suspect(u8),
    Fence(u8),
    Order(u8),
    Claim(u8),
    /// S2 looks at `leader` (L4).
    CheckLeader,
    /// S2 serves.
    Serve,
}

impl Lease {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl State {
    fn server_clock(&self) -> u8 {
        self.now - self.behind[0]
    }

    fn leader_clock(&self, leader: u8) -> u8 {
        self.now - if leader == 0 { self.behind[1] } else { 0 }
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let leader = Leader { last_reply: self.length, suspects: false, ordered: false, claimed: false };
        State {
            now: self.length,
            behind: [0; 2],
            leads: 0,
            took_over: 0,
            look: Look::None,
            looked: None,
            leaders: [leader; 2],
            heartbeat: [None; 2],
            reply: [None; 2],
            lease_end: 0,
            learnt: false,
            proved: false,
            fenced: false,
            stopped: false,
            checked: false,
            opened: false,
            served: false,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.now < self.horizon {
            out.push(Action::Tick);
            if state.behind[0] + state.behind[1] < self.drift {
                out.extend([Action::TickLost(0), Action::TickLost(1)]);
            }
        }
        out.push(match state.look {
            Look::None => Action::LookBegins,
            Look::Sent(_) => Action::LookAtRegister,
            Look::Read(..) => Action::LookAnswered,
        });
        if state.leads == 0 {
            out.push(Action::TakeOver);
        }
        if !state.stopped {
            match (state.learnt, state.proved) {
                (false, _) => {
                    out.push(Action::Heartbeat(0));
                    if state.leads == 1 {
                        out.push(Action::Learn);
                    }
                }
                (true, false) => out.push(Action::LookForFence),
                (true, true) => out.push(Action::Heartbeat(1)),
            }
            for k in 0..2 {
                if state.reply[usize::from(k)].is_some() && (k == 1 || !state.learnt) {
                    out.push(Action::TakeLease(k));
                }
            }
        }
        for k in 0..=state.leads {
            let leader = &state.leaders[usize::from(k)];
            let silent = leader.suspects && !(k == 0 && self.wrong(Mistake::RepliesAfterSuspicion));
            if state.heartbeat[usize::from(k)].is_some() && !silent && (k == 1 || state.looked.is_some()) {
                out.push(Action::Reply(k));
            }
            if !leader.suspects {
                out.push(Action::Suspect(k));
                continue;
            }
            if !state.fenced {
                out.push(Action::Fence(k));
            }
            // L2.
            let wait = self.length + if self.wrong(Mistake::DriftIgnored) { 0 } else { self.drift };
            let mut after = leader.last_reply + wait;
            if k == 1 {
                after = after.max(state.took_over + wait);
            }
            let hasty =
                self.wrong(Mistake::OrdersWithoutWaiting) || k == 1 && self.wrong(Mistake::NewLeaderDoesNotWait);
            if state.fenced && !leader.ordered && (state.leader_clock(k) >= after || hasty) {
                out.push(Action::Order(k));
            }
            if leader.ordered && !leader.claimed && !(k == 0 && state.leaders[1].claimed) {
                out.push(Action::Claim(k));
            }
        }
        if state.leaders[0].claimed && !state.checked && !state.opened {
            out.push(Action::CheckLeader);
        }
        if !state.opened && (state.checked || state.leaders[1].claimed) {
            out.push(Action::Serve);
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::TickLost(clock) => {
                state.now += 1;
                state.behind[usize::from(clock)] += 1;
            }
            Action::LookBegins => state.look = Look::Sent(state.leader_clock(0)),
            Action::LookAtRegister => {
                let Look::Sent(began) = last.look else { return None };
                state.look = Look::Read(began, state.leads == 0);
            }
            Action::LookAnswered => {
                let Look::Read(began, leads) = last.look else { return None };
                if leads {
                    state.looked =
                        Some(if self.wrong(Mistake::AgeFromEndOfLook) { state.leader_clock(0) } else { began });
                }
                state.look = Look::None;
            }
            Action::TakeOver => {
                state.leads = 1;
                state.took_over = state.now;
            }
            Action::Heartbeat(k) => state.heartbeat[usize::from(k)] = Some(state.server_clock()),
            Action::Reply(k) => {
                let sent = state.heartbeat[usize::from(k)].take()?;
                let age = match k {
                    0 if !self.wrong(Mistake::AgeIgnored) => state.leader_clock(0) - state.looked?,
                    _ => 0, // leader 1 is never overtaken here
                };
                state.reply[usize::from(k)] = Some((sent, age));
                state.leaders[usize::from(k)].last_reply = state.leader_clock(k);
            }
            Action::TakeLease(k) => {
                let (sent, age) = state.reply[usize::from(k)].take()?;
                let from = if k == 0 && self.wrong(Mistake::CountedFromReceipt) { state.server_clock() } else { sent };
                let age = if self.wrong(Mistake::CountedFromReceipt) { 0 } else { age };
                state.lease_end = state.lease_end.max((from + self.length).saturating_sub(age));
            }
            Action::Learn => {
                state.learnt = true;
                state.heartbeat[0] = None;
                state.reply[0] = None;
            }
            Action::LookForFence => {
                if state.fenced && !self.wrong(Mistake::NoLookForNewLeader) {
                    state.stopped = true;
                    state.lease_end = 0;
                } else {
                    state.proved = true;
                }
            }
            Action::Suspect(k) => state.leaders[usize::from(k)].suspects = true,
            Action::Fence(_) => state.fenced = true,
            Action::Order(k) => state.leaders[usize::from(k)].ordered = true,
            Action::Claim(k) => state.leaders[usize::from(k)].claimed = true,
            Action::CheckLeader => {
                if state.leads != 0 && !self.wrong(Mistake::OpenerTrustsItsOrder) {
                    return None;
                }
                state.checked = true;
            }
            Action::Serve => state.opened = true,
        }
        state.served |= state.server_clock() < state.lease_end && !state.opened;
        (state != *last).then_some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![("P12: no leased read once a successor serves", |_, state| {
            !(state.opened && state.server_clock() < state.lease_end)
        })]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        vec![("leased reads, a take-over, an opening", |_, state| state.served && state.opened && state.leads == 1)]
    }
}
