//! A log of appended files, on a folder of one machine or on HDFS, and the fence that ends it (PROTOCOLS.md §4).
//!
//! One writer, two recoverers. A file holds a set of writes, which lie in the order they were made. On HDFS an hsync may go
//! unanswered whether it took place or not, and a file is appended to only while the writer has its lease; on a folder the
//! writer appends and syncs, then looks whether the next number exists. A try at a new file that fails uses its number up.

use crate::search::{Claim, Model};

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Folder: the look for the next number comes before the append, not after.
    LookBeforeAppend,
    /// A recoverer answers with what it read itself, not with what `ended` says.
    EachReadsItsOwnTail,
    /// HDFS: the lease is recovered first, the next number taken after.
    LeaseBeforeNumber,
    /// HDFS: the lease is recovered, the number never taken.
    NumberNotTaken,
    /// HDFS: the answer "not yet" of recover_lease is ignored.
    LeaseAnswerIgnored,
    /// HDFS: after an hsync without an answer the entries are not appended again in the next file.
    RollWithoutAppendingAgain,
    /// HDFS: an hsync without an answer is taken as done.
    HsyncErrorIgnored,
    /// A creation that failed has used its number up, whether or not a file stands there.
    FailedCreationSkipsNumber,
    /// A creation that failed is repeated, and "exists" is taken for one's own without a look.
    ExistsTakenAsMine,
}

/// The kind of store, sizes, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    /// HDFS; else a folder.
    pub hdfs: bool,
    /// Writes.
    pub writes: u8,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// Numbers of the stream.
const NUMBERS: usize = 5;

/// What stands at a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum File {
    /// Nothing.
    Absent,
    /// A fence.
    Fence,
    /// Writes, by bit; `open`: the writer may append (on a folder always).
    Data { writes: u8, open: bool },
}

const EMPTY: File = File::Data { writes: 0, open: true };

/// Where a recoverer is. `f` is the number it holds for the first without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recoverer {
    /// Nothing begun.
    Idle,
    /// About to put a fence.
    PutFence { f: u8 },
    /// About to recover the lease of every file below `f`.
    RecoverLease { f: u8 },
    /// About to read all files below `f` and note their lengths.
    NoteLengths { f: u8 },
    /// About to swap the head.
    End { f: u8, writes: u8 },
    /// Recovered these writes.
    Done { writes: u8 },
    /// Mistake: lease recovered and tail read before the number is taken.
    LateFence { f: u8, writes: u8 },
}

/// The stream, its writer and its recoverers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    files: [File; NUMBERS],
    /// The head register: f and the writes below it, once ended.
    ended: Option<(u8, u8)>,
    /// The writer's file; `None` when it has stopped.
    file: Option<u8>,
    /// The next number to create.
    next: u8,
    /// A creation without an answer that may yet take place.
    late: Option<u8>,
    /// Writes not yet appended, or appended without an answer.
    buffer: u8,
    /// Folder: appended and synced, not yet answered.
    unlooked: u8,
    /// Mistake: the look was made.
    looked: bool,
    submitted: u8,
    acknowledged: u8,
    recoverers: [Recoverer; 2],
}

/// A step.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// A write arrives.
    Write,
    /// Folder: append and fdatasync.
    AppendAndSync,
    /// Folder: look at the next number; there: fenced; absent: answer.
    LookAtNextNumber,
    /// HDFS: append and hsync, answered.
    Hsync,
    /// HDFS: an error or no answer, done or not done.
    HsyncInDoubt { done: bool },
    /// Create the next number exclusively. There already: a fence → fenced; a file → a creation of one's own whose
    /// answer was lost, which counts as empty: on to the next number.
    Roll,
    /// The creation fails without an answer, and may take place later.
    RollInDoubt,
    /// It takes place.
    LateCreation,
    /// The next step of a recoverer.
    Recover(u8),
    /// HDFS: recover_lease answers "not yet".
    LeaseNotYet(u8),
}

impl Appended {
    fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn recover(&self, state: &mut State, recoverer: Recoverer) -> Recoverer {
        match recoverer {
            Recoverer::Idle => match state.ended {
                Some((_, writes)) if !self.wrong(Mistake::EachReadsItsOwnTail) => Recoverer::Done { writes },
                _ if self.wrong(Mistake::LeaseBeforeNumber) => {
                    let f = state.first_without_data();
                    state.recover_lease(f);
                    Recoverer::LateFence { f, writes: state.written_below(f) }
                }
                _ => Recoverer::PutFence { f: state.first_without_data() },
            },
            Recoverer::PutFence { f } => match state.files[usize::from(f)] {
                File::Data { .. } => Recoverer::PutFence { f: state.first_without_data() },
                File::Absent if !self.wrong(Mistake::NumberNotTaken) => {
                    state.files[usize::from(f)] = File::Fence;
                    Recoverer::RecoverLease { f }
                }
                File::Absent | File::Fence => Recoverer::RecoverLease { f },
            },
            Recoverer::RecoverLease { f } => {
                if self.hdfs {
                    state.recover_lease(f);
                }
                Recoverer::NoteLengths { f }
            }
            Recoverer::NoteLengths { f } => Recoverer::End { f, writes: state.written_below(f) },
            Recoverer::End { writes, .. } if self.wrong(Mistake::EachReadsItsOwnTail) => Recoverer::Done { writes },
            Recoverer::End { f, writes } => {
                let (_, writes) = *state.ended.get_or_insert((f, writes));
                Recoverer::Done { writes }
            }
            Recoverer::LateFence { f, writes } => {
                let absent = |n: &u8| !matches!(state.files[usize::from(*n)], File::Data { .. });
                let f = (f..NUMBERS as u8).find(absent).unwrap_or(NUMBERS as u8 - 1);
                state.files[usize::from(f)] = File::Fence;
                Recoverer::End { f, writes }
            }
            Recoverer::Done { writes } => Recoverer::Done { writes },
        }
    }
}

impl State {
    fn first_without_data(&self) -> u8 {
        self.files.iter().position(|file| !matches!(file, File::Data { .. })).unwrap_or(NUMBERS - 1) as u8
    }

    fn written_below(&self, f: u8) -> u8 {
        self.files[..usize::from(f)]
            .iter()
            .fold(0, |all, file| if let File::Data { writes, .. } = file { all | writes } else { all })
    }

    fn recover_lease(&mut self, f: u8) {
        for file in &mut self.files[..usize::from(f)] {
            if let File::Data { open, .. } = file {
                *open = false;
            }
        }
    }

    /// Appends the buffer to the writer's file, if the file still takes it.
    fn append(&mut self, file: u8) -> bool {
        let buffer = self.buffer;
        match &mut self.files[usize::from(file)] {
            File::Data { writes, open: true } => {
                *writes |= buffer;
                true
            }
            _ => false,
        }
    }
}

impl Model for Appended {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let mut files = [File::Absent; NUMBERS];
        files[0] = EMPTY;
        State {
            files,
            ended: None,
            file: Some(0),
            next: 1,
            late: None,
            buffer: 0,
            unlooked: 0,
            looked: false,
            submitted: 0,
            acknowledged: 0,
            recoverers: [Recoverer::Idle; 2],
        }
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        if state.file.is_some() {
            if state.submitted < self.writes {
                out.push(Action::Write);
            }
            let early = self.wrong(Mistake::LookBeforeAppend);
            match (self.hdfs, state.buffer != 0) {
                (true, true) => out.extend([
                    Action::Hsync,
                    Action::HsyncInDoubt { done: true },
                    Action::HsyncInDoubt { done: false },
                ]),
                (false, true) if !early || state.looked => out.push(Action::AppendAndSync),
                _ => {}
            }
            if !self.hdfs && (state.unlooked != 0 || early && state.buffer != 0 && !state.looked) {
                out.push(Action::LookAtNextNumber);
            }
            if usize::from(state.next) < NUMBERS - 1 && state.unlooked == 0 {
                out.push(Action::Roll);
                if state.late.is_none() {
                    out.push(Action::RollInDoubt);
                }
            }
        }
        if state.late.is_some() {
            out.push(Action::LateCreation);
        }
        for k in 0..2 {
            match state.recoverers[usize::from(k)] {
                Recoverer::Done { .. } => {}
                Recoverer::RecoverLease { .. } if self.hdfs => out.extend([Action::Recover(k), Action::LeaseNotYet(k)]),
                _ => out.push(Action::Recover(k)),
            }
        }
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Write => {
                state.buffer |= 1 << state.submitted;
                state.submitted += 1;
            }
            Action::AppendAndSync => {
                state.append(last.file?);
                if self.wrong(Mistake::LookBeforeAppend) {
                    state.acknowledged |= state.buffer;
                    state.looked = false;
                } else {
                    state.unlooked |= state.buffer;
                }
                state.buffer = 0;
            }
            Action::LookAtNextNumber => {
                if state.files[usize::from(last.file?) + 1] != File::Absent {
                    state.file = None;
                } else if self.wrong(Mistake::LookBeforeAppend) {
                    state.looked = true;
                } else {
                    state.acknowledged |= state.unlooked;
                    state.unlooked = 0;
                }
            }
            Action::Hsync => {
                if !state.append(last.file?) {
                    return None; // the lease is gone: an error, which is the case of doubt
                }
                state.acknowledged |= state.buffer;
                state.buffer = 0;
            }
            Action::HsyncInDoubt { done } => {
                if done {
                    state.append(last.file?);
                }
                // The buffer stays and goes to the next file: roll, append again, sync, then answer.
                if self.wrong(Mistake::HsyncErrorIgnored) {
                    state.acknowledged |= state.buffer;
                    state.buffer = 0;
                }
            }
            Action::Roll => match state.files[usize::from(last.next)] {
                File::Absent => {
                    state.files[usize::from(last.next)] = EMPTY;
                    state.file = Some(last.next);
                    state.next += 1;
                    if self.wrong(Mistake::RollWithoutAppendingAgain) {
                        state.acknowledged |= state.buffer;
                        state.buffer = 0;
                    }
                }
                File::Fence if !self.wrong(Mistake::ExistsTakenAsMine) => state.file = None,
                File::Fence | File::Data { .. } => state.next += 1,
            },
            Action::RollInDoubt => {
                state.late = Some(last.next);
                if self.wrong(Mistake::FailedCreationSkipsNumber) {
                    state.next += 1;
                }
            }
            Action::LateCreation => {
                let n = usize::from(state.late.take()?);
                if state.files[n] == File::Absent {
                    state.files[n] = EMPTY;
                }
            }
            Action::Recover(k) => {
                let recoverer = last.recoverers[usize::from(k)];
                state.recoverers[usize::from(k)] = self.recover(&mut state, recoverer);
            }
            Action::LeaseNotYet(k) => {
                let Recoverer::RecoverLease { f } = last.recoverers[usize::from(k)] else { return None };
                if !self.wrong(Mistake::LeaseAnswerIgnored) {
                    return None; // poll until true
                }
                state.recoverers[usize::from(k)] = Recoverer::NoteLengths { f };
            }
        }
        Some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        vec![
            ("P1: no recoverer misses an acknowledged write", |_, state| {
                state.recoverers.iter().all(|recoverer| match recoverer {
                    Recoverer::Done { writes } => state.acknowledged & !writes == 0,
                    _ => true,
                })
            }),
            ("P5: all recoverers see one log", |_, state| match state.recoverers {
                [Recoverer::Done { writes: one }, Recoverer::Done { writes: other }] => one == other,
                _ => true,
            }),
        ]
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        let mut claims: Vec<Claim<Self>> = vec![("acknowledged before the end, stopped after it", |_, state| {
            state.acknowledged != 0 && state.ended.is_some() && state.file.is_none()
        })];
        if self.hdfs {
            claims.push(("a write stands in two files", |_, state| {
                let written = |n: usize| if let File::Data { writes, .. } = state.files[n] { writes } else { 0 };
                written(0) & written(1) != 0
            }));
        }
        claims
    }
}
