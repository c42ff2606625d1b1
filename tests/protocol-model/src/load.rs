//! A bulk load of two files into one region, under an owner that may be a sleeper and its successor (PROTOCOLS.md §9, §10).
//!
//! Owner 0 holds epoch 1, owner 1 claims epoch 2 at any time; whoever lost the region goes on with what it last saw. Somebody else may delete
//! a file where it waits, at any moment: a user, or the sweep of what a killed tool has left.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Files are moved before the manifest names them.
    MovedBeforeDecided,
    /// Files are listed, and answered for, by the first swap; readers try both names.
    ListedBeforeMoved,
    /// Collection takes files that are on their way for left over.
    CollectedWhileMoving,
    /// What is left of a load whose file is gone is listed.
    HalfListed,
    /// The second swap is put over whatever stands.
    ListedWithoutVersion,
}

/// The model has one size.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// What the manifest says of the load; names carry the epoch of the owner that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Nothing.
    None,
    /// Its files are on their way to names of this epoch.
    Decided(u8),
    /// Its files are the region's, under names of this epoch.
    Listed(u8),
    /// A file of a compaction stands for them.
    Compacted,
}

/// A manifest's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    version: u8,
    epoch: u8,
    entry: Entry,
}

/// How far an owner is, besides what it last saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Does not hold the region yet.
    Away,
    /// Serves.
    Serving,
    /// Has found both files where they wait.
    Checked,
    /// Has found both files under their names.
    Arrived,
    /// Has found that a file is nowhere, and what it moved is back.
    Lost,
    /// Was refused.
    Dead,
}

/// One owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    phase: Phase,
    seen: Manifest,
}

/// Manifest, files, owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    manifest: Manifest,
    /// By file: whether it lies where it waits, under its name of epoch 1, of epoch 2.
    files: [[bool; 3]; 2],
    owners: [Owner; 2],
    /// The load was answered for.
    told: bool,
    /// Some manifest named the load.
    decided: bool,
    /// Somebody else has deleted a file.
    deleted: bool,
    /// A load was undone.
    undone: bool,
}

/// A step of an owner, or of somebody else.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Owner 1 claims the region.
    Claim,
    /// Looks whether both files wait.
    Check(u8),
    /// The first swap.
    Decide(u8),
    /// Renames one file; its source may be gone.
    Move(u8, u8),
    /// Looks whether the files have arrived.
    Look(u8),
    /// The second swap, and the answer.
    List(u8),
    /// The swap that forgets a load whose file is gone.
    Forget(u8),
    /// The swap that puts a compacted file in the place of both.
    Compact(u8),
    /// Deletes files in the region's folder that are not listed (G1, G2).
    Collect(u8),
    /// Somebody else deletes a file where it waits.
    Delete(u8),
}

impl Load {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl State {
    /// Swaps what the owner saw for something else; refused, it is dead.
    fn swap(&mut self, at: usize, entry: Entry, blindly: bool) -> bool {
        let owner = &mut self.owners[at];
        if owner.seen.version != self.manifest.version && !blindly {
            owner.phase = Phase::Dead;
            return false;
        }
        self.manifest = Manifest { version: self.manifest.version + 1, entry, ..self.manifest };
        *owner = Owner { phase: Phase::Serving, seen: self.manifest };
        true
    }

    fn is_there(&self, file: usize, epoch: u8) -> bool {
        self.files[file][usize::from(epoch)]
    }
}

/// Names under which an owner takes the files on their way.
fn target(load: &Load, owner: &Owner, at: u8) -> Option<u8> {
    match owner.seen.entry {
        Entry::Decided(epoch) => Some(epoch),
        Entry::Listed(epoch) if load.wrong(Mistake::ListedBeforeMoved) => Some(epoch),
        Entry::None if load.wrong(Mistake::MovedBeforeDecided) && owner.phase == Phase::Checked => Some(at + 1),
        _ => None,
    }
}

impl Model for Load {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let seen = Manifest { version: 1, epoch: 1, entry: Entry::None };
        let owner = |phase| Owner { phase, seen };
        State {
            manifest: seen,
            files: [[true, false, false]; 2],
            owners: [owner(Phase::Serving), owner(Phase::Away)],
            told: false,
            decided: false,
            deleted: false,
            undone: false,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.owners[1].phase == Phase::Away {
            out.push(Action::Claim);
        }
        for at in 0..2_u8 {
            let owner = &state.owners[usize::from(at)];
            match (owner.phase, owner.seen.entry) {
                (Phase::Away | Phase::Dead, _) => continue,
                (Phase::Serving, Entry::None) => out.push(Action::Check(at)),
                (Phase::Checked, Entry::None) => out.push(Action::Decide(at)),
                (Phase::Serving, Entry::Decided(_)) => out.push(Action::Look(at)),
                (Phase::Arrived, Entry::Decided(_)) => out.push(Action::List(at)),
                (Phase::Lost, Entry::Decided(_)) => out.push(Action::Forget(at)),
                (Phase::Serving, Entry::Listed(_)) => out.push(Action::Compact(at)),
                _ => {}
            }
            if target(self, owner, at).is_some() {
                out.extend([Action::Move(at, 0), Action::Move(at, 1)]);
            }
            out.push(Action::Collect(at));
        }
        if !state.deleted {
            out.extend([Action::Delete(0), Action::Delete(1)]);
        }
    }

    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Claim => {
                next.manifest = Manifest { version: state.manifest.version + 1, epoch: 2, ..state.manifest };
                next.owners[1] = Owner { phase: Phase::Serving, seen: next.manifest };
            }
            Action::Check(at) => {
                (state.files.iter().all(|file| file[0])).then_some(())?;
                next.owners[usize::from(at)].phase = Phase::Checked;
            }
            Action::Decide(at) => {
                let at_once = self.wrong(Mistake::ListedBeforeMoved);
                let entry = if at_once { Entry::Listed(at + 1) } else { Entry::Decided(at + 1) };
                if next.swap(usize::from(at), entry, false) {
                    next.decided = true;
                    next.told |= at_once;
                }
            }
            Action::Move(at, file) => {
                let epoch = target(self, &state.owners[usize::from(at)], at)?;
                let file = &mut next.files[usize::from(file)];
                // A rename without a source, or onto a name that is taken, does nothing.
                (file[0] && !file[usize::from(epoch)]).then_some(())?;
                (file[0], file[usize::from(epoch)]) = (false, true);
            }
            Action::Look(at) => {
                let Entry::Decided(epoch) = state.owners[usize::from(at)].seen.entry else { return None };
                let all_here = state.files.iter().all(|file| file[usize::from(epoch)]);
                let any_gone = state.files.iter().any(|file| !file[usize::from(epoch)] && !file[0]);
                let owner = &mut next.owners[usize::from(at)];
                if all_here || (any_gone && self.wrong(Mistake::HalfListed)) {
                    owner.phase = Phase::Arrived;
                } else if any_gone {
                    owner.phase = Phase::Lost;
                    for file in next.files.iter_mut().filter(|file| file[usize::from(epoch)] && !file[0]) {
                        (file[0], file[usize::from(epoch)]) = (true, false);
                    }
                } else {
                    return None;
                }
            }
            Action::List(at) => {
                let Entry::Decided(epoch) = state.owners[usize::from(at)].seen.entry else { return None };
                let blindly = self.wrong(Mistake::ListedWithoutVersion);
                next.told |= next.swap(usize::from(at), Entry::Listed(epoch), blindly);
            }
            Action::Forget(at) => next.undone |= next.swap(usize::from(at), Entry::None, false),
            Action::Compact(at) => {
                next.swap(usize::from(at), Entry::Compacted, false);
            }
            Action::Collect(at) => {
                let seen = state.owners[usize::from(at)].seen;
                let kept = match seen.entry {
                    Entry::Listed(epoch) => epoch,
                    Entry::Decided(epoch) if !self.wrong(Mistake::CollectedWhileMoving) => epoch,
                    _ => 0,
                };
                for epoch in (1..=at + 1).filter(|epoch| *epoch != kept) {
                    next.files.iter_mut().for_each(|file| file[usize::from(epoch)] = false);
                }
            }
            Action::Delete(file) => {
                let file = &mut next.files[usize::from(file)];
                file[0].then_some(())?;
                file[0] = false;
                next.deleted = true;
            }
        }
        Some(next)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![
            ("P8 listed files exist", |load, state| match state.manifest.entry {
                Entry::Listed(epoch) => {
                    let both_names = load.wrong(Mistake::ListedBeforeMoved);
                    (0..2).all(|file| state.is_there(file, epoch) || (both_names && state.files[file][0]))
                }
                _ => true,
            }),
            ("what was told stays", |_, state| {
                !state.told || matches!(state.manifest.entry, Entry::Listed(_) | Entry::Compacted)
            }),
            ("what is not decided lies where it lay", |_, state| {
                state.decided || state.deleted || state.files.iter().all(|file| file[0])
            }),
            ("nothing is lost but by others", |_, state| {
                let compacted = state.manifest.entry == Entry::Compacted;
                state.deleted || compacted || state.files.iter().all(|file| file.contains(&true))
            }),
        ]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        vec![
            ("told", |_, state| state.told),
            ("finished by the successor", |_, state| {
                state.manifest.entry == Entry::Listed(1) && state.manifest.epoch == 2
            }),
            ("undone", |_, state| state.undone),
            ("compacted", |_, state| state.manifest.entry == Entry::Compacted),
            ("a sleeper is refused", |_, state| state.owners[0].phase == Phase::Dead),
        ]
    }
}
