//! A merge under two masters, one of whom may be a zombie (PROTOCOLS.md §7 M1 to M4, §9, §10 G3).
//!
//! Regions 0 and 1 are the parents, 2 the heir. Retiring the first parent decides; the second may be opened by a late order even
//! then, and is closed again. Otherwise as in [`crate::split`]: orders at any delay, fences at any time, no grace.

use crate::search::{Claim, Model};
use crate::split::{Life, Order};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Heir and map follow the first parent's retirement; the second is not retired.
    SecondNotRetired,
    /// The second parent is retired whatever its version, although it was opened meanwhile.
    SecondRetiredWithoutVersion,
    /// The heir is made from the second parent's list as it was before it was retired.
    HeirFromOldList,
    /// M3: given up by a claim of the second parent, which does not decide.
    GivenUpByClaimOfSecond,
    /// Given up after the first parent was retired.
    GivenUpAfterFirstRetired,
    /// G3: the files of both parents go when the heir lists none of the first's.
    FilesJudgedByFirst,
}

/// Sizes, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Merge {
    /// Writes, into either parent's keys.
    pub writes: u8,
    /// Orders that each master may give.
    pub orders: u8,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// A region's manifest. `files`: the parents' files that it lists, by bit; `rows`: writes that its owner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    life: Life,
    version: u8,
    epoch: u8,
    files: u8,
    rows: u8,
}

/// A master's place in the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Read this parent's manifest.
    Read(u8),
    /// Retire this parent.
    Retire(u8),
    /// Read both retired lists.
    ReadLists,
    /// Create the heir.
    CreateHeir,
    /// Read the table's map.
    ReadMap,
    /// Swap the table's map.
    SwapMap,
    /// Nothing left to do.
    Gone,
}

/// One master: where it is, and what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Master {
    place: Place,
    version: u8,
    epoch: u8,
    used: u8,
    files: u8,
    rows: u8,
    /// Mistake: the second parent's rows, read early.
    early: Option<u8>,
    map_version: u8,
}

/// What the leader has persisted of the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Persisted {
    /// Intent.
    Begun,
    /// The first parent is retired: roll forward only.
    Retired,
    /// Given up.
    GivenUp,
}

/// Registers, masters, orders, servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    manifests: [Manifest; 3],
    created: bool,
    map: bool,
    map_version: u8,
    leads: u8,
    persisted: Persisted,
    masters: [Master; 2],
    orders: Vec<Order>,
    /// By server and region: believes to have it open.
    holds: [[bool; 3]; 2],
    fenced: [bool; 2],
    /// The parents' files that exist, by bit.
    files: u8,
    submitted: u8,
    acknowledged: u8,
    /// Those of the acknowledged writes that fall into the first parent's keys.
    left: u8,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Master 1 takes over, and goes on where the procedure was persisted.
    TakeOver,
    /// The next step of a master.
    Procedure(u8),
    /// The leader gives the merge up: claims the first parent (M3), persists.
    GiveUp(u8),
    /// A master orders `region` to `server`.
    Order { master: u8, region: u8, server: u8 },
    /// An order is executed: one claim.
    Claim(u8),
    /// A server closes a region.
    Close { region: u8, server: u8 },
    /// A server acknowledges a write; `left`: into the first parent's keys.
    Write { region: u8, server: u8, left: bool },
    /// A server's stream is ended.
    Fence(u8),
    /// The heir replaces a parent's file by its own.
    Compact(u8),
    /// G3: the heir exists and lists no file of this parent: its retired list is swapped empty.
    EmptyRetiredList(u8),
    /// G1: a parent's file is deleted.
    Collect(u8),
}

const ABSENT: Manifest = Manifest { life: Life::Absent, version: 0, epoch: 0, files: 0, rows: 0 };

impl Merge {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Region epochs: those of master 1 are higher than all of master 0.
    fn give_epoch(state: &mut State, master: u8) -> u8 {
        let used = &mut state.masters[usize::from(master)].used;
        *used += 1;
        master * 8 + *used + u8::from(master == 0)
    }

    fn procedure(&self, state: &mut State, k: u8) -> Option<()> {
        let at = usize::from(k);
        let mut master = state.masters[at];
        match master.place {
            Place::Read(parent) => {
                let manifest = state.manifests[usize::from(parent)];
                if parent == 1 && state.leads == k && state.persisted == Persisted::Begun {
                    state.persisted = Persisted::Retired;
                }
                master.version = manifest.version;
                if self.wrong(Mistake::HeirFromOldList) {
                    master.early.get_or_insert(state.manifests[1].rows);
                }
                let skip = parent == 1 && self.wrong(Mistake::SecondNotRetired);
                let careless = parent == 1 && self.wrong(Mistake::SecondRetiredWithoutVersion);
                master.place = match manifest.life {
                    _ if skip => Place::ReadLists,
                    Life::Retired if parent == 0 => Place::Read(1),
                    Life::Retired => Place::ReadLists,
                    life if life == Life::Closed || careless => {
                        if master.used > self.orders + 1 {
                            return None;
                        }
                        master.epoch = Self::give_epoch(state, k);
                        master.used = state.masters[at].used;
                        Place::Retire(parent)
                    }
                    _ => return None,
                };
            }
            Place::Retire(parent) => {
                let manifest = &mut state.manifests[usize::from(parent)];
                let same = manifest.version == master.version && manifest.life == Life::Closed;
                let careless = parent == 1 && self.wrong(Mistake::SecondRetiredWithoutVersion);
                master.place = if (same || careless) && manifest.epoch < master.epoch {
                    manifest.life = Life::Retired;
                    manifest.version += 1;
                    manifest.epoch = master.epoch;
                    if parent == 0 { Place::Read(1) } else { Place::ReadLists }
                } else {
                    Place::Read(parent)
                };
            }
            Place::ReadLists => {
                let [first, second, _] = state.manifests;
                master.files = first.files | second.files;
                master.rows = first.rows | master.early.unwrap_or(second.rows);
                master.place = Place::CreateHeir;
            }
            Place::CreateHeir => {
                // From emptied lists (the heir was made long ago) nothing is made anew.
                if state.manifests[2].life == Life::Absent && !state.created {
                    state.created = true;
                    let Master { files, rows, .. } = master;
                    state.manifests[2] = Manifest { life: Life::Closed, version: 1, epoch: 0, files, rows };
                }
                master.place = Place::ReadMap;
            }
            Place::ReadMap => {
                master.map_version = state.map_version;
                master.place = if state.map { Place::Gone } else { Place::SwapMap };
            }
            Place::SwapMap => {
                if state.map_version == master.map_version {
                    state.map = true;
                    state.map_version += 1;
                    master.place = Place::Gone;
                } else {
                    master.place = Place::ReadMap;
                }
            }
            Place::Gone => return None,
        }
        state.masters[at] = master;
        Some(())
    }
}

impl Model for Merge {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let parent = |bit: u8, life: Life| Manifest { life, version: 1, epoch: 1, files: bit, rows: 0 };
        let master = Master {
            place: Place::Read(0),
            version: 0,
            epoch: 0,
            used: 0,
            files: 0,
            rows: 0,
            early: None,
            map_version: 0,
        };
        State {
            manifests: [parent(1, Life::Closed), parent(2, Life::Open(0)), ABSENT],
            created: false,
            map: false,
            map_version: 1,
            leads: 0,
            persisted: Persisted::Begun,
            masters: [master; 2],
            orders: Vec::new(),
            holds: [[false, true, false], [false; 3]],
            fenced: [false; 2],
            files: 3,
            submitted: 0,
            acknowledged: 0,
            left: 0,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.leads == 0 {
            out.push(Action::TakeOver);
        }
        for k in 0..=state.leads {
            let master = &state.masters[usize::from(k)];
            if master.place != Place::Gone {
                out.push(Action::Procedure(k));
                let in_time = state.persisted == Persisted::Begun || self.wrong(Mistake::GivenUpAfterFirstRetired);
                if k == state.leads && in_time && !state.map {
                    out.push(Action::GiveUp(k));
                }
            }
            if master.used < self.orders && state.orders.len() < 2 {
                let made = state.manifests[2].life != Life::Absent;
                for server in 0..2 {
                    // A parent may be ordered as long as the map names it; the first only before it is retired.
                    if state.persisted != Persisted::Retired {
                        out.push(Action::Order { master: k, region: 0, server });
                    }
                    if !state.map {
                        out.push(Action::Order { master: k, region: 1, server });
                    }
                    if made {
                        out.push(Action::Order { master: k, region: 2, server });
                    }
                }
            }
        }
        out.extend((0..state.orders.len()).map(|at| Action::Claim(at as u8)));
        for server in 0..2 {
            let at = usize::from(server);
            if !state.fenced[at] && state.holds[at].contains(&true) {
                out.push(Action::Fence(server));
            }
            for region in (0..3).filter(|region| state.holds[at][usize::from(*region)]) {
                out.push(Action::Close { region, server });
                if state.submitted < self.writes && !state.fenced[at] {
                    if region != 1 {
                        out.push(Action::Write { region, server, left: true });
                    }
                    if region != 0 {
                        out.push(Action::Write { region, server, left: false });
                    }
                }
            }
        }
        let heir = &state.manifests[2];
        for parent in 0..2 {
            let bit = 1 << parent;
            if heir.files & bit != 0 {
                out.push(Action::Compact(parent));
            }
            let judged = if self.wrong(Mistake::FilesJudgedByFirst) { 1 } else { bit };
            let own = &state.manifests[usize::from(parent)];
            let quiet = heir.life != Life::Absent && heir.files & judged == 0 && state.map;
            if own.life == Life::Retired && own.files != 0 && quiet {
                out.push(Action::EmptyRetiredList(parent));
            }
            if state.files & bit != 0 && own.files == 0 {
                out.push(Action::Collect(parent));
            }
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::TakeOver => {
                state.leads = 1;
                state.masters[1].place = match state.persisted {
                    Persisted::Begun => Place::Read(0),
                    Persisted::Retired => Place::Read(1),
                    Persisted::GivenUp => Place::Gone,
                };
            }
            Action::Procedure(k) => self.procedure(&mut state, k)?,
            Action::GiveUp(k) => {
                if !self.wrong(Mistake::GivenUpAfterFirstRetired) {
                    let decides = usize::from(self.wrong(Mistake::GivenUpByClaimOfSecond));
                    let may = state.manifests[decides].life == Life::Closed && state.manifests[0].life != Life::Retired;
                    if !may || state.masters[usize::from(k)].used > self.orders + 1 {
                        return None;
                    }
                    let epoch = Self::give_epoch(&mut state, k);
                    let manifest = &mut state.manifests[decides];
                    if manifest.epoch >= epoch {
                        return None;
                    }
                    manifest.epoch = epoch;
                    manifest.version += 1;
                }
                state.persisted = Persisted::GivenUp;
                state.masters[usize::from(k)].place = Place::Gone;
            }
            Action::Order { master, region, server } => {
                let epoch = Self::give_epoch(&mut state, master);
                state.orders.push(Order { region, server, epoch });
                state.orders.sort();
            }
            Action::Claim(at) => {
                let Order { region, server, epoch } = state.orders.remove(usize::from(at));
                let manifest = &mut state.manifests[usize::from(region)];
                let free = match manifest.life {
                    Life::Closed => true,
                    Life::Open(holder) => state.fenced[usize::from(holder)] && holder != server,
                    Life::Absent | Life::Retired => false,
                };
                if free && manifest.epoch < epoch && !state.fenced[usize::from(server)] {
                    manifest.life = Life::Open(server);
                    manifest.version += 1;
                    manifest.epoch = epoch;
                    state.holds[usize::from(server)][usize::from(region)] = true;
                }
            }
            Action::Close { region, server } => {
                state.holds[usize::from(server)][usize::from(region)] = false;
                let manifest = &mut state.manifests[usize::from(region)];
                if manifest.life == Life::Open(server) && !state.fenced[usize::from(server)] {
                    manifest.life = Life::Closed;
                    manifest.version += 1;
                }
            }
            Action::Write { region, left, .. } => {
                let write = 1 << state.submitted;
                state.submitted += 1;
                state.acknowledged |= write;
                state.left |= if left { write } else { 0 };
                state.manifests[usize::from(region)].rows |= write;
            }
            Action::Fence(server) => state.fenced[usize::from(server)] = true,
            Action::Compact(parent) => {
                state.manifests[2].files &= !(1 << parent);
                state.manifests[2].version += 1;
            }
            Action::EmptyRetiredList(parent) => {
                state.manifests[usize::from(parent)].files = 0;
                state.manifests[usize::from(parent)].version += 1;
            }
            Action::Collect(parent) => state.files &= !(1 << parent),
        }
        Some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![
            ("P9: no key is served by two unfenced openings", |_, state| {
                let serving = |server: usize, region: usize| !state.fenced[server] && state.holds[server][region];
                (0..2).all(|parent| {
                    let openings = (0..2).map(|server| serving(server, parent) as u8 + serving(server, 2) as u8);
                    openings.sum::<u8>() <= 1
                })
            }),
            ("P9: acknowledged rows are reachable from the map", |_, state| {
                let heir = &state.manifests[2];
                (0..2).all(|parent| {
                    let own = &state.manifests[parent];
                    let follow = state.map || own.life == Life::Retired && heir.life != Life::Absent;
                    let due = if parent == 0 { state.left } else { state.acknowledged & !state.left };
                    due & !if follow { heir.rows } else { own.rows } == 0
                })
            }),
            ("P8: a listed file exists", |_, state| {
                let listed = state.manifests.iter().fold(0, |files, manifest| files | manifest.files);
                listed & !state.files == 0
            }),
            ("M3: a merge given up never retires its first parent", |_, state| {
                state.persisted != Persisted::GivenUp || state.manifests[0].life != Life::Retired
            }),
            ("P9: the map names a region that exists, the parents are retired", |_, state| {
                let [first, second, heir] = &state.manifests;
                let retired = first.life == Life::Retired && second.life == Life::Retired;
                !state.map || retired && heir.life != Life::Absent
            }),
        ]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        vec![
            ("merged by the second master, files collected, all writes acknowledged", |model, state| {
                let all = state.acknowledged.count_ones() == u32::from(model.writes);
                state.leads == 1 && state.map && state.files == 0 && all
            }),
            ("the second parent is open although the first is retired", |_, state| {
                state.manifests[0].life == Life::Retired && matches!(state.manifests[1].life, Life::Open(1))
            }),
            ("given up, the first parent open again", |_, state| {
                state.persisted == Persisted::GivenUp && matches!(state.manifests[0].life, Life::Open(_))
            }),
        ]
    }
}
