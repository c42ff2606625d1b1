//! A register on a file system: compare-and-set by renaming a pointer (PROTOCOLS.md §3).
//!
//! Clients read, swap the head alone or head and body, may sleep before any step, and learn outcomes only by an answer that may be
//! lost or by looking. A rename lands once or never, at any time after it was asked for.
//!
//! A token that nobody refers to any more is given out again: it cannot be told from a new one, and so the states stay few.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Versions are numbered files created exclusively, and old ones are trimmed: a freed number is won by a sleeper.
    NumberedAndTrimmed,
    /// The winner of a head-only swap deletes "the old body", which is the one it kept.
    HeadSwapDeletesBody,
    /// The bodies to delete are listed after the rename, when a later swap's may be among them.
    BodiesListedAfterRename,
    /// "Superseded" is taken as "did not happen", and the body that the attempt named is deleted.
    SupersededDeletesItsBody,
    /// A body written for one version is named again in a swap of the next.
    BodyNamedAgain,
    /// The old body is deleted before the rename.
    BodyDeletedFirst,
    /// A head-only swap keeps the body that the client saw first, not the one beside the pointer that it renames.
    HeadSwapKeepsStaleBody,
}

/// Sizes, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Register {
    /// Clients, at most 3.
    pub clients: u8,
    /// Versions after which no client begins anew.
    pub versions: u8,
    /// Whether swaps of the head alone occur.
    pub head_only: bool,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// The pointer's name: version number, token of the value, token of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    n: u8,
    token: u8,
    body: u8,
}

/// A rename of `from` to `to`; `old`: bodies that lay there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Swap {
    from: Pointer,
    to: Pointer,
    old: u16,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// Nothing begun.
    Idle,
    /// The directory is listed.
    Listed(Pointer),
    /// This body is read, too.
    Read { seen: Pointer, body: u8 },
    /// A new body is written (or the old one kept) and the directory listed again.
    Prepared(Swap),
    /// The rename is under way; `landed`: it took place.
    Asked { swap: Swap, landed: bool },
    /// The client knows that its rename took place; old bodies may be deleted, late or never.
    Won(Swap),
}

/// The register's directory and the clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pointer: Pointer,
    /// Bodies that exist, by token.
    bodies: u16,
    /// Numbered scheme: versions that exist, by number.
    numbered: u16,
    clients: [Client; 3],
    /// The newest version, as an onlooker outside would know it.
    newest: u8,
    /// A swap took place over another version than the one it was based on.
    overtook: bool,
    /// A client was told that its swap was done, or not done, wrongly.
    misled: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// List the register's directory.
    List(u8),
    /// Open the body; gone: list again.
    OpenBody(u8),
    /// Write a new body and list what lies there.
    WriteBody(u8),
    /// Keep the body; only the head will change.
    KeepBody(u8),
    /// Send the rename.
    AskRename(u8),
    /// The rename reaches the directory.
    RenameLands(u8),
    /// The answer "done" arrives.
    Answered(u8),
    /// No answer, an error or "no such name": read, and let the token decide.
    LookForToken(u8),
    /// Delete the old bodies.
    DeleteOldBodies(u8),
    /// Forget the clean-up.
    Leave(u8),
}

impl Register {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn numbered(&self) -> bool {
        self.wrong(Mistake::NumberedAndTrimmed)
    }
}

impl State {
    fn used_tokens(&self) -> u16 {
        let of = |pointer: Pointer| 1 << pointer.token | 1 << pointer.body;
        self.clients.iter().fold(self.bodies | of(self.pointer), |used, client| {
            used | match client {
                Client::Idle => 0,
                Client::Listed(seen) => of(*seen),
                Client::Read { seen, body } => of(*seen) | 1 << body,
                Client::Prepared(swap) | Client::Asked { swap, .. } | Client::Won(swap) => {
                    of(swap.from) | of(swap.to) | swap.old
                }
            }
        })
    }

    fn fresh_token(&self) -> u8 {
        let token = self.used_tokens().trailing_ones() as u8;
        assert!(token < 16, "three clients refer to fewer tokens");
        token
    }

    /// Bodies that no pointer, present or attempted, can name any more are as good as deleted.
    fn forget_garbage(&mut self) {
        let bodies = |pointer: Pointer| 1_u16 << pointer.body;
        let named = self.clients.iter().fold(bodies(self.pointer), |named, client| {
            named
                | match client {
                    Client::Listed(seen) => bodies(*seen),
                    Client::Read { seen, body } => bodies(*seen) | 1 << body,
                    Client::Prepared(swap) | Client::Asked { swap, .. } => bodies(swap.from) | bodies(swap.to),
                    Client::Idle | Client::Won(_) => 0,
                }
        });
        self.bodies &= named;
        for client in &mut self.clients {
            if let Client::Prepared(swap) | Client::Asked { swap, .. } | Client::Won(swap) = client {
                swap.old &= named;
            }
        }
    }

    /// What a listing shows. Numbered scheme: the highest number; the token is not in the name.
    fn listed(&self, numbered: bool) -> Pointer {
        if numbered { Pointer { n: 15 - self.numbered.leading_zeros() as u8, token: 0, body: 0 } } else { self.pointer }
    }
}

impl Model for Register {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        State {
            pointer: Pointer { n: 0, token: 0, body: 0 },
            bodies: 1,
            numbered: 1,
            clients: [Client::Idle; 3],
            newest: 0,
            overtook: false,
            misled: false,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        for k in 0..self.clients {
            match state.clients[usize::from(k)] {
                Client::Idle if state.newest >= self.versions => {}
                Client::Idle => out.push(Action::List(k)),
                Client::Listed(_) => out.push(Action::OpenBody(k)),
                Client::Read { .. } => {
                    out.push(Action::WriteBody(k));
                    if self.head_only {
                        out.push(Action::KeepBody(k));
                    }
                }
                Client::Prepared(_) => out.push(Action::AskRename(k)),
                Client::Asked { landed, .. } => {
                    out.push(if landed { Action::Answered(k) } else { Action::RenameLands(k) });
                    out.push(Action::LookForToken(k));
                }
                Client::Won(_) => out.extend([Action::DeleteOldBodies(k), Action::Leave(k)]),
            }
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::List(k) => state.clients[usize::from(k)] = Client::Listed(state.listed(self.numbered())),
            Action::OpenBody(k) => {
                let Client::Listed(seen) = last.clients[usize::from(k)] else { return None };
                let there = state.bodies & 1 << seen.body != 0;
                let body = seen.body;
                let stale = self.wrong(Mistake::HeadSwapKeepsStaleBody);
                // The mistake: it lists once more for the newest pointer, but keeps the body of the first look.
                let seen = if stale { state.pointer } else { seen };
                state.clients[usize::from(k)] = if there { Client::Read { seen, body } } else { Client::Idle };
            }
            Action::WriteBody(k) | Action::KeepBody(k) => {
                let Client::Read { seen: from, body } = last.clients[usize::from(k)] else { return None };
                let token = if self.numbered() { 0 } else { state.fresh_token() };
                let mut to = Pointer { n: from.n + 1, token, body };
                let mut old = 0;
                if matches!(action, Action::WriteBody(_)) && !self.numbered() {
                    old = state.bodies;
                    to.body = token;
                    state.bodies |= 1 << token;
                }
                if self.wrong(Mistake::HeadSwapDeletesBody) && matches!(action, Action::KeepBody(_)) {
                    old = 1 << from.body;
                }
                state.clients[usize::from(k)] = Client::Prepared(Swap { from, to, old });
            }
            Action::AskRename(k) => {
                let Client::Prepared(swap) = last.clients[usize::from(k)] else { return None };
                if self.wrong(Mistake::BodyDeletedFirst) {
                    state.bodies &= !swap.old;
                }
                state.clients[usize::from(k)] = Client::Asked { swap, landed: false };
            }
            Action::RenameLands(k) => {
                let Client::Asked { swap, landed: false } = last.clients[usize::from(k)] else { return None };
                let free =
                    if self.numbered() { state.numbered & 1 << swap.to.n == 0 } else { state.pointer == swap.from };
                if !free {
                    return None; // the source is gone (or the number taken): nothing happens
                }
                state.overtook |= state.newest != swap.from.n;
                state.newest = swap.to.n;
                state.pointer = swap.to;
                state.numbered |= 1 << swap.to.n;
                state.clients[usize::from(k)] = Client::Asked { swap, landed: true };
            }
            Action::Answered(k) => {
                let Client::Asked { swap, landed: true } = last.clients[usize::from(k)] else { return None };
                state.clients[usize::from(k)] = Client::Won(swap);
            }
            Action::LookForToken(k) => {
                let Client::Asked { swap, landed } = last.clients[usize::from(k)] else { return None };
                let seen = state.listed(self.numbered());
                let expected = if self.numbered() { swap.from.n >= seen.n } else { seen == swap.from };
                if expected {
                    return None; // repeat the same bytes
                }
                if seen.token == swap.to.token && !self.numbered() {
                    state.misled |= !landed;
                    state.clients[usize::from(k)] = Client::Won(swap);
                    return Some(state);
                }
                // Superseded: it may have happened and been overtaken. Nothing that the attempt named is deleted.
                state.clients[usize::from(k)] = Client::Idle;
                if self.wrong(Mistake::SupersededDeletesItsBody) && swap.to.body != swap.from.body {
                    state.bodies &= !(1 << swap.to.body);
                } else if self.wrong(Mistake::BodyNamedAgain) && !landed && swap.to.body != swap.from.body {
                    let to = Pointer { n: seen.n + 1, token: state.fresh_token(), body: swap.to.body };
                    let old = state.bodies & !(1 << to.body);
                    state.clients[usize::from(k)] = Client::Prepared(Swap { from: seen, to, old });
                }
            }
            Action::DeleteOldBodies(k) => {
                let Client::Won(swap) = last.clients[usize::from(k)] else { return None };
                if self.wrong(Mistake::BodiesListedAfterRename) && swap.old != 0 {
                    state.bodies &= 1 << swap.to.body;
                } else {
                    state.bodies &= !swap.old;
                }
                if self.numbered() {
                    state.numbered &= !((1 << swap.to.n) - 1);
                }
                state.clients[usize::from(k)] = Client::Idle;
            }
            Action::Leave(k) => state.clients[usize::from(k)] = Client::Idle,
        }
        state.forget_garbage();
        Some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![
            ("a swap takes place only over the version it read", |_, state| !state.overtook),
            ("a client that is told done has swapped", |_, state| !state.misled),
            ("the current version can be read", |_, state| state.bodies & 1 << state.pointer.body != 0),
        ]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        let mut claims: Vec<Claim<Self>> = vec![
            ("all versions are swapped in", |model, state| state.newest == model.versions),
            ("a client sleeps through two swaps of others", |_, state| {
                let sleeps = |client: &Client| matches!(client, Client::Asked { swap, landed: false } if swap.from.n + 1 < state.newest);
                state.clients.iter().any(sleeps)
            }),
        ];
        if self.head_only {
            claims.push(("a body outlives two versions", |_, state| state.newest >= 2 && state.pointer.body == 0));
        }
        claims
    }
}
