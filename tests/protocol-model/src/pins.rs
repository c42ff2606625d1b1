//! A snapshot and a clone of one region with one file, under two masters (PROTOCOLS.md §9, §10 G4).
//!
//! Master 0 may be a zombie that goes on with both operations while master 1 gives them up. The region compacts the file away
//! and collection deletes it the moment that nothing in the region's manifest lists it.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The snapshot's object is put before the region pins the files.
    SnapshotBeforePin,
    /// A snapshot is given up without putting its object as abandoned.
    SnapshotGivenUpWithoutStub,
    /// The clone's manifest is made before the region pins the files for it.
    CloneBeforePin,
    /// A clone is given up without making its manifest Retired.
    CloneGivenUpWithoutStub,
    /// The clone's pin goes with the snapshot, although the clone lists the file.
    UnpinnedWhileCloneLists,
    /// The clone pins what the snapshot's object names, not what the region's own pin holds.
    ClonePinsFromObject,
}

/// The model has one size.
#[derive(Clone, Copy, Debug)]
pub struct Pins {
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// The object `snapshot/<sid>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Snapshot {
    /// Not put.
    Absent,
    /// Put; whether it names the file.
    Exists { names: bool },
    /// Put as abandoned.
    Abandoned,
    /// Deleted by its owner.
    Deleted,
}

/// The clone's manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloned {
    /// Not created.
    Absent,
    /// Lists the file.
    Lists,
    /// Lists no file of the region any more.
    Free,
    /// Created as Retired.
    Retired,
}

/// How far a master is with one operation; the file names it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Not begun.
    Begin,
    /// First step done, with these names.
    Holding { names: bool },
    /// Done, or given up.
    Done,
}

/// The region's manifest, the file, the snapshot, the clone, two masters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    leads: u8,
    /// The manifest lists the file.
    listed: bool,
    /// The pins for the snapshot and for the clone, and whether they hold the file.
    snapshot_pin: Option<bool>,
    clone_pin: Option<bool>,
    /// The file exists.
    file: bool,
    snapshot: Snapshot,
    clone: Cloned,
    snapshots: [Progress; 2],
    clones: [Progress; 2],
    snapshot_given_up: bool,
    clone_given_up: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Master 1 takes over.
    TakeOver,
    /// The region replaces the file.
    Compact,
    /// G1, G2: the file is in no list.
    Collect,
    /// The next step of a master's snapshot: pin, then put the object.
    Snapshot(u8),
    /// Master 1 puts the object as abandoned.
    GiveUpSnapshot,
    /// G4.
    UnpinSnapshot,
    /// The snapshot is deleted.
    DeleteSnapshot,
    /// The next step of a master's clone: pin, then create the manifest.
    Clone(u8),
    /// Master 1 creates the manifest as Retired.
    GiveUpClone,
    /// The clone compacts the file away.
    CompactClone,
    /// G4.
    UnpinClone,
}

impl Pins {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl State {
    /// Pins what is listed now; asked again, answers with the pin that is there.
    fn pin_snapshot(&mut self) -> bool {
        *self.snapshot_pin.get_or_insert(self.listed)
    }

    fn put_snapshot(&mut self, names: bool) {
        if self.snapshot == Snapshot::Absent {
            self.snapshot = Snapshot::Exists { names };
        }
    }
}

impl Model for Pins {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        State {
            leads: 0,
            listed: true,
            snapshot_pin: None,
            clone_pin: None,
            file: true,
            snapshot: Snapshot::Absent,
            clone: Cloned::Absent,
            snapshots: [Progress::Begin; 2],
            clones: [Progress::Begin; 2],
            snapshot_given_up: false,
            clone_given_up: false,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.leads == 0 {
            out.push(Action::TakeOver);
        }
        if state.listed {
            out.push(Action::Compact);
        }
        if state.file && !state.listed && state.snapshot_pin != Some(true) && state.clone_pin != Some(true) {
            out.push(Action::Collect);
        }
        for k in 0..=state.leads {
            if state.snapshots[usize::from(k)] != Progress::Done {
                out.push(Action::Snapshot(k));
            }
            if state.clones[usize::from(k)] != Progress::Done {
                out.push(Action::Clone(k));
            }
        }
        if state.leads == 1 {
            if !state.snapshot_given_up {
                out.push(Action::GiveUpSnapshot);
            }
            if !state.clone_given_up {
                out.push(Action::GiveUpClone);
            }
        }
        let over = matches!(state.snapshot, Snapshot::Abandoned | Snapshot::Deleted);
        let careless = state.snapshot_given_up && self.wrong(Mistake::SnapshotGivenUpWithoutStub);
        if state.snapshot_pin.is_some() && (over || careless) {
            out.push(Action::UnpinSnapshot);
        }
        if matches!(state.snapshot, Snapshot::Exists { .. }) {
            out.push(Action::DeleteSnapshot);
        }
        if state.clone == Cloned::Lists {
            out.push(Action::CompactClone);
        }
        let over = matches!(state.clone, Cloned::Free | Cloned::Retired);
        let careless = state.clone_given_up && self.wrong(Mistake::CloneGivenUpWithoutStub)
            || state.snapshot == Snapshot::Deleted && self.wrong(Mistake::UnpinnedWhileCloneLists);
        if state.clone_pin.is_some() && (over || careless) {
            out.push(Action::UnpinClone);
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::TakeOver => state.leads = 1,
            Action::Compact => state.listed = false,
            Action::Collect => state.file = false,
            Action::Snapshot(k) => {
                let early = self.wrong(Mistake::SnapshotBeforePin);
                state.snapshots[usize::from(k)] = match last.snapshots[usize::from(k)] {
                    Progress::Begin if early => {
                        state.put_snapshot(last.listed);
                        Progress::Holding { names: last.listed }
                    }
                    Progress::Begin => Progress::Holding { names: state.pin_snapshot() },
                    Progress::Holding { .. } if early => {
                        state.pin_snapshot();
                        Progress::Done
                    }
                    Progress::Holding { names } => {
                        state.put_snapshot(names);
                        Progress::Done
                    }
                    Progress::Done => return None,
                };
            }
            Action::GiveUpSnapshot => {
                if state.snapshot != Snapshot::Absent {
                    return None;
                }
                if !self.wrong(Mistake::SnapshotGivenUpWithoutStub) {
                    state.snapshot = Snapshot::Abandoned;
                }
                state.snapshot_given_up = true;
                state.snapshots[1] = Progress::Done;
            }
            Action::UnpinSnapshot => state.snapshot_pin = None,
            Action::DeleteSnapshot => state.snapshot = Snapshot::Deleted,
            Action::Clone(k) => {
                let late = self.wrong(Mistake::CloneBeforePin) || self.wrong(Mistake::ClonePinsFromObject);
                state.clones[usize::from(k)] = match last.clones[usize::from(k)] {
                    Progress::Begin => {
                        let Snapshot::Exists { names } = last.snapshot else { return None };
                        if late {
                            Progress::Holding { names }
                        } else {
                            // One swap copies the snapshot's pin, and fails if that is gone.
                            if state.clone_pin.is_none() {
                                state.clone_pin = Some(last.snapshot_pin?);
                            }
                            Progress::Holding { names: state.clone_pin? }
                        }
                    }
                    Progress::Holding { names } => {
                        // The pin out of the snapshot's object comes first, and yet too late.
                        if self.wrong(Mistake::ClonePinsFromObject) && state.clone_pin.is_none() {
                            state.clone_pin = Some(names);
                        }
                        if state.clone == Cloned::Absent {
                            state.clone = if names { Cloned::Lists } else { Cloned::Free };
                        }
                        if late && state.clone_pin.is_none() {
                            state.clone_pin = Some(names);
                        }
                        Progress::Done
                    }
                    Progress::Done => return None,
                };
            }
            Action::GiveUpClone => {
                if state.clone != Cloned::Absent {
                    return None;
                }
                if !self.wrong(Mistake::CloneGivenUpWithoutStub) {
                    state.clone = Cloned::Retired;
                }
                state.clone_given_up = true;
                state.clones[1] = Progress::Done;
            }
            Action::CompactClone => state.clone = Cloned::Free,
            Action::UnpinClone => state.clone_pin = None,
        }
        (state != *last).then_some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![("P8: a file that anything names exists", |_, state| {
            let named =
                state.listed || state.snapshot == Snapshot::Exists { names: true } || state.clone == Cloned::Lists;
            state.file || !named
        })]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        vec![
            ("the clone alone holds the file", |_, state| {
                state.clone == Cloned::Lists
                    && state.snapshot == Snapshot::Deleted
                    && !state.listed
                    && state.snapshot_pin.is_none()
            }),
            ("all have let go, the file is collected", |_, state| {
                state.clone == Cloned::Free && state.snapshot == Snapshot::Deleted && !state.file
            }),
        ]
    }
}
