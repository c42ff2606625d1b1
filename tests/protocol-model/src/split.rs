//! A split under two masters, one of whom may be a zombie (PROTOCOLS.md §7 M1 to M4, §9, §10 G3).
//!
//! Region 0 is the parent, 1 and 2 its heirs; all writes fall into the left half. Orders to open are executed at any delay;
//! servers may be fenced at any time; heirs compact, collection has no grace. The log is taken as given ([`crate::log`]
//! proves it): what a rightful server acknowledges for a region, its next owner has.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The map is swapped, the parent never retired.
    MapBeforeRetire,
    /// Heirs are made and opened before the parent is retired.
    HeirsBeforeRetire,
    /// The retire does not compare the version that was read.
    RetireWithoutVersion,
    /// M3: the retire does not compare epochs, so that an older master's lands.
    RetireWithoutEpoch,
    /// The heirs are made from the list read while the parent was still open.
    HeirsFromStaleList,
    /// M3: given up without a claim of one's own.
    GivenUpWithoutClaim,
    /// Given up after the parent was retired.
    GivenUpAfterRetire,
    /// G3: an heir that does not exist yet counts as "lists no file".
    MissingHeirListsNothing,
    /// G3: the parent's files are judged by the map.
    FilesJudgedByMap,
    /// M4: the stub of a retired heir is removed while a late create is about.
    StubRemoved,
}

/// Sizes, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// Writes.
    pub writes: u8,
    /// Orders that each master may give.
    pub orders: u8,
    /// Whether an heir may be retired again (its table dropped, or merged away).
    pub heir_retired: bool,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// What a region's manifest says of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Life {
    /// No manifest.
    Absent,
    /// Live, not claimed.
    Closed,
    /// Live, claimed by this server.
    Open(u8),
    /// Retired.
    Retired,
}

/// A region's manifest. `rows`: writes that its owner, now or next, has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Manifest {
    life: Life,
    version: u8,
    epoch: u8,
    /// Lists the parent's file (for the parent: in its own, later its retired list).
    parent_file: bool,
    rows: u8,
}

const ABSENT: Manifest = Manifest { life: Life::Absent, version: 0, epoch: 0, parent_file: false, rows: 0 };

/// A master's place in the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Read the parent's manifest.
    ReadParent,
    /// Retire the parent.
    Retire,
    /// Mistake: waits for the close, with the list it has, and retires.
    RetireWithOldList,
    /// Read the retired list.
    ReadRetired,
    /// Create the heirs' manifests.
    CreateHeirs,
    /// Read the table's map.
    ReadMap,
    /// Swap the table's map.
    SwapMap,
    /// The last words.
    Finish,
    /// Nothing left to do.
    Gone,
}

/// One master: where it is, and what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Master {
    place: Place,
    version: u8,
    rows: u8,
    parent_file: bool,
    map_version: u8,
    /// Its epoch for the retire.
    epoch: u8,
    /// Epochs it has given out.
    used: u8,
}

/// What the leader has persisted of the procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Persisted {
    /// Intent.
    Begun,
    /// The parent is retired: roll forward only.
    Retired,
    /// Given up.
    GivenUp,
}

/// An order on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Order {
    /// The region to open.
    pub region: u8,
    /// Where.
    pub server: u8,
    /// Under which epoch.
    pub epoch: u8,
}

/// Registers, masters, orders, servers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    manifests: [Manifest; 3],
    /// Heirs that were created once.
    created: [bool; 3],
    /// The map names the heirs.
    map: bool,
    map_version: u8,
    leads: u8,
    persisted: Persisted,
    masters: [Master; 2],
    orders: Vec<Order>,
    /// By server and region: believes to have it open.
    holds: [[bool; 3]; 2],
    fenced: [bool; 2],
    /// The parent's file exists.
    file: bool,
    submitted: u8,
    acknowledged: u8,
    /// G3: the collector has read both heirs; has swapped the retired list.
    heirs_quiet: bool,
    list_emptied: bool,
    /// Heir 1 was retired again.
    dropped: bool,
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// Master 1 takes over, and goes on where the procedure was persisted.
    TakeOver,
    /// The next step of a master.
    Procedure(u8),
    /// The leader gives the split up: claims the parent (M3), persists.
    GiveUp(u8),
    /// A master orders `region` to `server`.
    Order { master: u8, region: u8, server: u8 },
    /// An order is executed: one claim.
    Claim(u8),
    /// A server closes a region.
    Close { region: u8, server: u8 },
    /// A server acknowledges a write.
    Write { region: u8, server: u8 },
    /// A server's stream is ended.
    Fence(u8),
    /// An heir replaces the parent's file by its own.
    Compact(u8),
    /// G3: both heirs exist and list no file of the parent.
    ReadHeirs,
    /// G3: the retired list is swapped empty.
    EmptyRetiredList,
    /// G1: the parent's file is deleted.
    Collect,
    /// Heir 1 is retired.
    RetireHeir,
    /// Mistake: the stub of heir 1 is removed.
    RemoveStub,
}

impl Split {
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
        let mut master = state.masters[usize::from(k)];
        let parent = state.manifests[0];
        match master.place {
            Place::ReadParent => {
                master.version = parent.version;
                master.rows = parent.rows;
                master.parent_file = parent.parent_file;
                master.place = match parent.life {
                    Life::Closed => {
                        if master.used > self.orders {
                            return None;
                        }
                        master.epoch = Self::give_epoch(state, k);
                        master.used = state.masters[usize::from(k)].used;
                        if self.wrong(Mistake::MapBeforeRetire) || self.wrong(Mistake::HeirsBeforeRetire) {
                            Place::CreateHeirs
                        } else {
                            Place::Retire
                        }
                    }
                    Life::Retired => Place::ReadRetired,
                    _ if self.wrong(Mistake::HeirsFromStaleList) => Place::RetireWithOldList,
                    _ => return None,
                };
            }
            Place::Retire => {
                let same = parent.version == master.version && parent.life == Life::Closed;
                let rises = parent.epoch < master.epoch;
                master.place = if (same || self.wrong(Mistake::RetireWithoutVersion))
                    && (rises || self.wrong(Mistake::RetireWithoutEpoch))
                {
                    state.manifests[0].retire(master.epoch);
                    Place::ReadRetired
                } else {
                    Place::ReadParent
                };
            }
            Place::RetireWithOldList => {
                if parent.life != Life::Closed || master.used > self.orders {
                    return None;
                }
                let epoch = Self::give_epoch(state, k);
                master.used = state.masters[usize::from(k)].used;
                if parent.epoch >= epoch {
                    return None;
                }
                state.manifests[0].retire(epoch);
                master.place = Place::CreateHeirs;
            }
            Place::ReadRetired => {
                if parent.life == Life::Retired {
                    if state.leads == k && state.persisted == Persisted::Begun {
                        state.persisted = Persisted::Retired;
                    }
                    master.rows = parent.rows;
                    master.parent_file = parent.parent_file;
                    master.place = Place::CreateHeirs;
                } else {
                    master.place = Place::ReadParent;
                }
            }
            Place::CreateHeirs => {
                for region in 1..3 {
                    // From an emptied list (all heirs were made long ago) nothing is made anew.
                    let may = master.parent_file || !state.created[region];
                    if state.manifests[region].life == Life::Absent && may {
                        state.created[region] = true;
                        let rows = if region == 1 { master.rows } else { 0 };
                        let parent_file = master.parent_file;
                        state.manifests[region] =
                            Manifest { life: Life::Closed, version: 1, epoch: 0, parent_file, rows };
                    }
                }
                master.place = Place::ReadMap;
            }
            Place::ReadMap => {
                master.map_version = state.map_version;
                master.place = if state.map { Place::Finish } else { Place::SwapMap };
            }
            Place::SwapMap => {
                if state.map_version == master.map_version {
                    state.map = true;
                    state.map_version += 1;
                    master.place = Place::Finish;
                } else {
                    master.place = Place::ReadMap;
                }
            }
            Place::Finish => master.place = Place::Gone,
            Place::Gone => return None,
        }
        state.masters[usize::from(k)] = master;
        Some(())
    }
}

impl Manifest {
    fn retire(&mut self, epoch: u8) {
        self.life = Life::Retired;
        self.version += 1;
        self.epoch = epoch;
    }
}

impl Model for Split {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let parent = Manifest { life: Life::Open(0), version: 1, epoch: 1, parent_file: true, rows: 0 };
        let master = Master {
            place: Place::ReadParent,
            version: 0,
            rows: 0,
            parent_file: false,
            map_version: 0,
            epoch: 0,
            used: 0,
        };
        State {
            manifests: [parent, ABSENT, ABSENT],
            created: [false; 3],
            map: false,
            map_version: 1,
            leads: 0,
            persisted: Persisted::Begun,
            masters: [master; 2],
            orders: Vec::new(),
            holds: [[true, false, false], [false; 3]],
            fenced: [false; 2],
            file: true,
            submitted: 0,
            acknowledged: 0,
            heirs_quiet: false,
            list_emptied: false,
            dropped: false,
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.leads == 0 {
            out.push(Action::TakeOver);
        }
        let early = self.wrong(Mistake::HeirsBeforeRetire) && state.manifests[1].life != Life::Absent;
        for k in 0..=state.leads {
            let master = &state.masters[usize::from(k)];
            let busy = master.place != Place::Gone;
            if busy {
                out.push(Action::Procedure(k));
                let in_time = state.persisted == Persisted::Begun || self.wrong(Mistake::GivenUpAfterRetire);
                if k == state.leads && in_time {
                    out.push(Action::GiveUp(k));
                }
            }
            if master.used < self.orders && state.orders.len() < 2 {
                // Each master orders what it believes in.
                let made = matches!(master.place, Place::ReadMap | Place::SwapMap | Place::Finish);
                for server in 0..2 {
                    if state.persisted == Persisted::Begun || k == state.leads && state.persisted == Persisted::GivenUp
                    {
                        out.push(Action::Order { master: k, region: 0, server });
                    }
                    if state.persisted == Persisted::Retired || early || made {
                        out.push(Action::Order { master: k, region: 1, server });
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
            for region in 0..2 {
                if state.holds[at][usize::from(region)] {
                    out.push(Action::Close { region, server });
                    if state.submitted < self.writes && !state.fenced[at] {
                        out.push(Action::Write { region, server });
                    }
                }
            }
        }
        for region in 1..3 {
            let heir = &state.manifests[usize::from(region)];
            if heir.parent_file && matches!(heir.life, Life::Closed | Life::Open(_)) {
                out.push(Action::Compact(region));
            }
        }
        if !state.heirs_quiet && state.manifests[0].life == Life::Retired && state.manifests[0].parent_file {
            out.push(Action::ReadHeirs);
        }
        if state.heirs_quiet && !state.list_emptied {
            out.push(Action::EmptyRetiredList);
        }
        let listed = if self.wrong(Mistake::FilesJudgedByMap) { !state.map } else { state.manifests[0].parent_file };
        if state.file && !listed {
            out.push(Action::Collect);
        }
        let heir = &state.manifests[1];
        if self.heir_retired && state.map && heir.life == Life::Closed && !heir.parent_file && heir.version >= 2 {
            out.push(Action::RetireHeir);
        }
        if self.wrong(Mistake::StubRemoved) && state.dropped && heir.life == Life::Retired {
            out.push(Action::RemoveStub);
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::TakeOver => {
                state.leads = 1;
                state.masters[1].map_version = state.map_version;
                state.masters[1].place = match state.persisted {
                    Persisted::Begun => Place::ReadParent,
                    Persisted::Retired => Place::ReadRetired,
                    Persisted::GivenUp => Place::Gone,
                };
            }
            Action::Procedure(k) => self.procedure(&mut state, k)?,
            Action::GiveUp(k) => {
                if self.wrong(Mistake::GivenUpWithoutClaim) {
                    if state.manifests[0].life == Life::Retired {
                        return None;
                    }
                } else if !self.wrong(Mistake::GivenUpAfterRetire) {
                    // M3: a claim of one's own comes first; no older retire can land after it.
                    if state.manifests[0].life != Life::Closed || state.masters[usize::from(k)].used > self.orders {
                        return None;
                    }
                    let epoch = Self::give_epoch(&mut state, k);
                    if state.manifests[0].epoch >= epoch {
                        return None;
                    }
                    state.manifests[0].epoch = epoch;
                    state.manifests[0].version += 1;
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
            Action::Write { region, .. } => {
                let write = 1 << state.submitted;
                state.submitted += 1;
                state.acknowledged |= write;
                state.manifests[usize::from(region)].rows |= write;
            }
            Action::Fence(server) => state.fenced[usize::from(server)] = true,
            Action::Compact(region) => {
                state.manifests[usize::from(region)].parent_file = false;
                state.manifests[usize::from(region)].version += 1;
            }
            Action::ReadHeirs => {
                let lax = self.wrong(Mistake::MissingHeirListsNothing);
                let quiet = |heir: &Manifest| if heir.life == Life::Absent { lax } else { !heir.parent_file };
                if !state.manifests[1..].iter().all(quiet) || !(state.map || lax) {
                    return None;
                }
                state.heirs_quiet = true;
            }
            Action::EmptyRetiredList => {
                state.manifests[0].parent_file = false;
                state.manifests[0].version += 1;
                state.list_emptied = true;
            }
            Action::Collect => state.file = false,
            Action::RetireHeir => {
                state.manifests[1].life = Life::Retired;
                state.manifests[1].version += 1;
                state.dropped = true;
            }
            Action::RemoveStub => {
                state.manifests[1] = ABSENT;
                state.created[1] = false;
            }
        }
        Some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![
            ("P9: no key is served by two unfenced openings", |_, state| {
                let serving = |server: usize, region: usize| !state.fenced[server] && state.holds[server][region];
                let left = (0..2).map(|server| u8::from(serving(server, 0)) + u8::from(serving(server, 1))).sum::<u8>();
                left <= 1 && !(state.dropped && (serving(0, 1) || serving(1, 1)))
            }),
            ("P9: acknowledged rows are reachable from the map", |_, state| {
                let [parent, heir, _] = &state.manifests;
                let follow = state.map || parent.life == Life::Retired && heir.life != Life::Absent;
                state.dropped || state.acknowledged & !if follow { heir.rows } else { parent.rows } == 0
            }),
            ("P8: a listed file exists", |_, state| {
                state.file || !state.manifests.iter().any(|one| one.parent_file && one.life != Life::Absent)
            }),
            ("M3: a split given up never retires its parent", |_, state| {
                state.persisted != Persisted::GivenUp || state.manifests[0].life != Life::Retired
            }),
            ("P9: the map names regions that exist, the parent is retired", |_, state| {
                let [parent, heirs @ ..] = &state.manifests;
                !state.map || parent.life == Life::Retired && heirs.iter().all(|heir| heir.life != Life::Absent)
            }),
        ]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        vec![
            ("split by the second master, file collected, all writes acknowledged", |model, state| {
                state.leads == 1
                    && state.map
                    && !state.file
                    && state.acknowledged.count_ones() == u32::from(model.writes)
            }),
            ("given up, the parent open again", |_, state| {
                state.persisted == Persisted::GivenUp && matches!(state.manifests[0].life, Life::Open(_))
            }),
        ]
    }
}
