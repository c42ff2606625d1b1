//! Servers, their numbered log streams, and the regions whose edits lie in them (PROTOCOLS.md §4, §5, §6, §9, §10).
//!
//! A server is one life; it has one stream of numbered pieces, as on S3. Masters are not modelled: any region may be ordered
//! to any server and any stream be fenced at any time, as often as the sizes allow. A request lands late, twice or never, and a
//! server learns an outcome only by looking. Collection has no grace.
//!
//! | module | section | steps |
//! | --- | --- | --- |
//! | [`writer`] | 4 | write, put, confirm, seal and trim |
//! | [`fence`] | 4 | look, put the fence, swap the head |
//! | [`opening`] | 5 | order, claim, replay |
//! | [`manifest`] | 5, 9 | swaps landing and being answered; flush, compaction, close |
//! | [`reads`] | 8 | a read and its guard |
//! | [`collection`] | 10 | files and streams |
//! | [`claims`] | 11 | what is always true |
//!
//! Coarse: a replay is one step, as is "read the manifest, look at the heads"; fencers' own answers are not lost.

pub mod claims;
pub mod collection;
pub mod fence;
pub mod manifest;
pub mod opening;
pub mod reads;
pub mod writer;

use std::hash::{Hash, Hasher};

use crate::search::{Claim, Model};
use fence::Fencer;
use manifest::Manifest;
use reads::Read;

/// Most servers (lives), and so streams.
pub const SERVERS: usize = 3;
/// Numbers of a stream.
pub const NUMBERS: usize = 5;
/// Most store files ever made.
pub const FILES: usize = 4;
/// Most regions.
pub const REGIONS: usize = 2;
/// Most families of a region.
pub const FAMILIES: usize = 2;
/// No number, no file, no server.
pub const NONE: u8 = 15;

/// A planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// §5.2: the old stream is not ended before the claim.
    OpenedWithoutFence,
    /// §4 fence: the tail is read first; what lands before the fence is passed over unread.
    TailReadBeforeFence,
    /// §4.4: an entry is acknowledged as its own number is confirmed, whatever the ones before it.
    AcknowledgedBeforePredecessor,
    /// §4.2: a number in doubt is skipped.
    NumberInDoubtSkipped,
    /// §4.3: "exists" is taken as one's own put.
    ExistsTakenAsMine,
    /// §4.5: sealing and trimming go on after `ended`.
    SealedAfterEnd,
    /// §4.5: a segment whose put is in doubt is put again with a longer run; the shorter one stands.
    SegmentPutAgainLonger,
    /// §4.5: pieces are deleted before the head's swap has taken place.
    DeletedBeforeHeadSwap,
    /// §5.3: a claim that is under way does not hold `low` back.
    PinForgotten,
    /// §4.5: `low` passes a `from` whose swap is not confirmed.
    TrimmedBeforeCommit,
    /// §4.5, several regions: `low` follows the region that needs least, not the one that needs most.
    LowOfLeastNeedyRegion,
    /// §4 fence: `ended` is not compared with the `low` it was computed from.
    EndedWithoutCompare,
    /// §4 fence: a fence on a number below the new `low` is kept, only the index is corrected.
    FenceOnFreedNumberKept,
    /// §4 fence: the fence goes behind the newest number found, not on the lowest absent one.
    FenceBehindNewest,
    /// §4 fence, several regions: the index holds one region, the one whose opening asked for the fence.
    IndexOfOneRegion,
    /// §4: a reader goes on past the fence.
    ReadPastFence,
    /// §5.5, several regions: a replay takes every entry of the stream.
    ReplayTakesOtherRegions,
    /// §5.3: the claim lists only the own stream.
    ClaimForgetsOldStreams,
    /// §5.4: a superseded claim is tried again with the old body.
    ClaimWithStaleBody,
    /// §5 give back: a region that was served is given back like one that was not.
    GivenBackAfterServing,
    /// §5.2: a region that was served here and dropped is claimed anew like one that was not.
    ClaimedAnewAfterServing,
    /// §8 guard 3: the look is made at the newest number, not at the lowest unconfirmed.
    LookAtNewestNumber,
    /// §8 guard 2: a number confirmed behind a gap counts as proof.
    ProofBehindGap,
    /// §5.1: an older epoch may claim.
    OlderEpochClaims,
    /// §5.7: an upload before the claim is confirmed.
    UploadBeforeClaim,
    /// §5.5: sequence numbers go on from the flushed one, not from the replayed.
    SeqFromFlushed,
    /// §2 needs: what does not fit the head is not written to the body either.
    SpillForgotten,
    /// §2 needs: the opener reads the needs of the head only.
    SpillNotRead,
    /// §2 needs: an index that lacks the region is believed although its stream goes on.
    NeedOfLiveStreamDropped,
    /// §9 flush: a refused commit is put on the new version, whatever its epoch.
    CommitOverNewEpoch,
    /// §9 flush: the flushed seq covers entries that are still in flight.
    FlushedCoversInFlight,
    /// §6 per-family flush: a flush of one family moves the flushed seq of all.
    FlushMarksAllFamilies,
    /// §6 per-family flush: `from` is that of the family just flushed.
    FromOfFlushedFamily,
    /// §6 per-family flush: needs on older streams go with the first family's flush.
    OldNeedsDroppedByOneFamily,
    /// §6 per-family flush: a replay skips by the highest flushed seq of all families.
    ReplaySkipsByNewestFamily,
    /// §6 per-family flush: the flushed seq of a family with nothing to flush stays behind. Harmless to what is kept, but no
    /// stream is ever released.
    IdleFamilyStaysBehind,
    /// §9 compaction: inputs are deleted before the swap is answered.
    InputsDeletedBeforeAnswer,
    /// G1: the collector deletes uploads of the living epoch.
    CollectorIgnoresEpoch,
    /// G5: a stream is released when its regions have moved.
    ReleasedByOwnerChange,
    /// G5, per-family flush: a stream is released when one family is flushed.
    ReleasedByOneFamily,
    /// G5, several regions: a stream is released when one region is flushed.
    ReleasedByOneRegion,
    /// G5, needs: "no need in the head" is taken for "needs nothing".
    ReleasedByHeadNeeds,
    /// G5: a released stream's fence is deleted with its data.
    FenceDeleted,
}

/// Sizes, which features move, and which mistake is planted.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// Lives of servers.
    pub servers: u8,
    /// Regions; all may be open on one server.
    pub regions: u8,
    /// Families of each region.
    pub families: u8,
    /// Writes in all.
    pub writes: u8,
    /// W: unconfirmed numbers of a writer.
    pub window: u8,
    /// Openings of each region.
    pub openings: u8,
    /// Store files ever made.
    pub files: u8,
    /// Numbers that a writer may use.
    pub numbers: u8,
    /// Fencers at once, 1 or 2.
    pub fencers: u8,
    /// Whether the regions begin open on the first server, rather than never opened.
    pub begun: bool,
    /// Needs that stand in a manifest's head; more are spilled to its body.
    pub head_needs: u8,
    /// A claim drops needs on ended streams whose index lacks the region.
    pub drop_needs: bool,
    /// Compactions occur.
    pub compact: bool,
    /// Clean closes occur.
    pub close: bool,
    /// Collection of files.
    pub collect: bool,
    /// Collection of streams.
    pub release: bool,
    /// Writers move `low` and delete below it.
    pub trim: bool,
    /// What goes below `low` is kept in segments.
    pub seal: bool,
    /// A writer's put may land again later.
    pub twice: bool,
    /// A fence's put may land again later.
    pub twice_fence: bool,
    /// Openings fail before they serve: the claim is given back, or left standing and made anew; and open regions are
    /// dropped without a close.
    pub failures: bool,
    /// Reads are evaluated, then guarded, in steps of their own.
    pub reads: bool,
    /// The fencer's looks are single steps, in any order, the writer moving between.
    pub single_looks: bool,
    /// A fencer may stop a writer that runs away by a fence further ahead, which ends nothing by itself.
    pub fence_ahead: bool,
    /// A flush may take one family.
    pub flush_by_family: bool,
    /// The planted mistake.
    pub mistake: Option<Mistake>,
}

/// The smallest size that shows anything.
pub const TINY: Log = Log {
    servers: 2,
    regions: 1,
    families: 1,
    writes: 2,
    window: 2,
    openings: 2,
    files: 1,
    numbers: 3,
    fencers: 1,
    begun: false,
    head_needs: SERVERS as u8,
    drop_needs: false,
    compact: false,
    close: false,
    collect: false,
    release: false,
    trim: false,
    seal: false,
    twice: false,
    twice_fence: false,
    failures: false,
    reads: false,
    single_looks: false,
    fence_ahead: false,
    flush_by_family: false,
    mistake: None,
};

/// A set of written cells: two bits a write, one for each family.
pub type Cells = u8;

/// The cells of one family, of all writes.
pub const FAMILY: [Cells; FAMILIES] = [0b0101_0101, 0b1010_1010];

/// What stands at a number of a stream: nothing, a fence, or an entry, packed into a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece(u8);

impl Hash for Piece {
    fn hash<H: Hasher>(&self, into: &mut H) {
        into.write_u8(self.0);
    }
    fn hash_slice<H: Hasher>(pieces: &[Piece], into: &mut H) {
        pieces.iter().for_each(|piece| into.write_u8(piece.0));
    }
}

impl Piece {
    /// Nothing.
    pub const ABSENT: Piece = Piece(0);
    /// A fence.
    pub const FENCE: Piece = Piece(0xff);

    /// The entry of a whole row mutation.
    pub fn entry(write: u8, region: usize, seq: u8, both_families: bool) -> Piece {
        assert!(write < 4 && region < REGIONS && (1..15).contains(&seq));
        Piece(write | (region as u8) << 2 | seq << 3 | u8::from(both_families) << 7)
    }
    /// Whether an entry stands here.
    pub fn is_data(self) -> bool {
        self != Self::ABSENT && self != Self::FENCE
    }
    /// Whether an entry of the region stands here.
    pub fn is_of(self, region: usize) -> bool {
        self.is_data() && usize::from(self.0 >> 2 & 1) == region
    }
    /// The entry's region.
    pub fn region(self) -> usize {
        usize::from(self.0 >> 2 & 1)
    }
    /// The entry's sequence number in its region.
    pub fn seq(self) -> u8 {
        self.0 >> 3 & 15
    }
    /// The cells it writes.
    pub fn cells(self) -> Cells {
        let families = if self.0 & 0x80 != 0 { 3 } else { 1 };
        families << (2 * (self.0 & 3))
    }
    /// Those of its cells that a store with these flushed seqs does not have in files.
    pub fn unflushed(self, flushed: &[u8; FAMILIES]) -> Cells {
        (0..FAMILIES)
            .filter(|family| self.seq() > flushed[*family])
            .fold(0, |cells, family| cells | self.cells() & FAMILY[family])
    }
}

/// A stream: its pieces, its segments, and its head register (`low`, `ended`, `released`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// What stands at each number.
    pub pieces: [Piece; NUMBERS],
    /// Puts that are under way.
    pub puts: [Piece; NUMBERS],
    /// What segments hold of the numbers below `low`.
    pub sealed: [Piece; NUMBERS],
    /// The newest segment ends before this number; beyond `low` until the head names it.
    pub segment: u8,
    /// The lowest number that may be unsealed and stand alone.
    pub low: u8,
    /// The head's `ended`.
    pub ended: Option<Ended>,
    /// The head's `released`.
    pub released: bool,
}

/// The head of an ended stream: numbers below `f`, those below `low` in segments; by region the numbers that hold entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ended {
    /// The first number that is not part of the stream.
    pub f: u8,
    /// `low` as the fencer found it.
    pub low: u8,
    /// The index.
    pub index: [u8; REGIONS],
}

impl Stream {
    /// The piece with this number, where the head register says it lies.
    pub fn at(&self, n: u8) -> Piece {
        let low = self.ended.map_or(self.low, |ended| ended.low);
        let sealed = self.sealed[usize::from(n)];
        if n < low && sealed.is_data() { sealed } else { self.pieces[usize::from(n)] }
    }

    /// Whether no further number can be confirmed in a whole prefix: a fence stands at the first gap.
    pub fn fenced(&self) -> bool {
        let first = self.pieces[usize::from(self.low)..].iter().find(|piece| !piece.is_data());
        self.ended.is_some() || first == Some(&Piece::FENCE)
    }
}

/// How far a server is with a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not here.
    #[default]
    Closed,
    /// An order has come.
    Ordered,
    /// The claim is under way.
    Claiming,
    /// The claim is confirmed.
    Replaying,
    /// Served.
    Open,
    /// The commit of a clean close is under way.
    Closing,
}

/// A region on a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// How far it is.
    pub stage: Stage,
    /// The epoch of this opening.
    pub epoch: u8,
    /// The manifest as last confirmed.
    pub manifest: Manifest,
    /// A swap of it under way; outlives its server.
    pub swap: Option<Manifest>,
    /// Cells in the memtables.
    pub memtable: Cells,
    /// Cells of the flush under way.
    pub frozen: Cells,
    /// The seq that the flush covers, by family; 0: the family is not part of it.
    pub frozen_seq: [u8; FAMILIES],
    /// The upload that is not committed yet.
    pub upload: Option<u8>,
    /// That upload is a compaction's.
    pub compacting: bool,
    /// Highest seq applied.
    pub applied_seq: u8,
    /// Next seq to give out.
    pub next_seq: u8,
}

// What is not there costs one byte, since most of a search is hashing.
impl Hash for Host {
    fn hash<H: Hasher>(&self, into: &mut H) {
        let there = *self != Host::default();
        there.hash(into);
        if there {
            (self.stage, self.epoch, self.manifest, self.swap, self.memtable, self.frozen).hash(into);
            (self.frozen_seq, self.upload, self.compacting, self.applied_seq, self.next_seq).hash(into);
        }
    }
}

impl Hash for Stream {
    fn hash<H: Hasher>(&self, into: &mut H) {
        let there = *self != Stream::default();
        there.hash(into);
        if there {
            (self.pieces, self.puts, self.sealed, self.segment, self.low, self.ended, self.released).hash(into);
        }
    }
}

impl Hash for File {
    fn hash<H: Hasher>(&self, into: &mut H) {
        self.epoch.hash(into);
        if self.epoch != 0 {
            (self.region, self.cells, self.exists).hash(into);
        }
    }
}

/// One life of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Life {
    /// Not started.
    #[default]
    Unborn,
    /// Running, or asleep.
    Alive,
    /// Gone for good; what it sent is still under way.
    Dead,
}

/// A server: its place in its stream, and its regions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its life.
    pub life: Life,
    /// The next number to use.
    pub next: u8,
    /// Numbers below are confirmed and applied.
    pub applied: u8,
    /// Numbers confirmed out of order.
    pub confirmed: u8,
    /// Its regions.
    pub hosts: [Host; REGIONS],
}

impl Server {
    /// Dies; swaps under way stay under way.
    pub fn die(&mut self) {
        let hosts = self.hosts.map(|host| match host.swap {
            Some(_) => Host { epoch: host.epoch, swap: host.swap, ..Host::default() },
            None => Host::default(),
        });
        *self = Server { life: Life::Dead, hosts, ..Server::default() };
    }
}

/// A store file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Whose folder it lies in.
    pub region: u8,
    /// The epoch in its name; 0: not made yet.
    pub epoch: u8,
    /// Its cells.
    pub cells: Cells,
    /// Not deleted.
    pub exists: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The regions' manifests.
    pub manifests: [Manifest; REGIONS],
    /// The streams, by server.
    pub streams: [Stream; SERVERS],
    /// The servers.
    pub servers: [Server; SERVERS],
    /// Store files.
    pub files: [File; FILES],
    /// Fencers.
    pub fencers: [Fencer; 2],
    /// What the collector has read: a region, its epoch, its listed files.
    pub collector: Option<(u8, u8, u8)>,
    /// Epochs given out, by region.
    pub epochs: [u8; REGIONS],
    /// Writes begun.
    pub writes: u8,
    /// Their cells, by region.
    pub submitted: [Cells; REGIONS],
    /// Cells of acknowledged writes.
    pub acknowledged: Cells,
    /// Cells that a checked read has shown.
    pub seen: Cells,
    /// Cells that a rightful opening did not find: gone for good.
    pub gone: Cells,
    /// Highest seq acknowledged, or recovered by a rightful owner, by region.
    pub top: [u8; REGIONS],
    /// A read that is evaluated but not guarded yet.
    pub read: Option<Read>,
    /// A fence's put that may land once more: stream and number.
    pub stray: Option<(u8, u8)>,
    /// What a step has broken; bits of [`claims`].
    pub broken: u8,
}

/// A step. Servers, regions, numbers, streams, files and fencers are given by index.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// §5: some master orders a region to a server.
    Order { server: u8, region: u8 },
    /// §5.1–3: read the manifest, look at the heads, send the claim.
    Claim { server: u8, region: u8 },
    /// A swap of a manifest takes place.
    SwapLands { server: u8, region: u8 },
    /// The server learns what became of its swap.
    SwapAnswered { server: u8, region: u8 },
    /// §5.5–7: replay, then serve.
    Replay { server: u8, region: u8 },
    /// §4.1: a write gets a number, and its put is sent.
    Write { server: u8, region: u8, both_families: bool },
    /// A put takes place; `again`: it may come once more.
    PutLands { server: u8, n: u8, again: bool },
    /// §4.3: look what stands at a number.
    Confirm { server: u8, n: u8 },
    /// §4.5: put a segment of all that is confirmed.
    PutSegment { server: u8 },
    /// §4.5: swap the head with a higher `low`.
    SwapLow { server: u8 },
    /// §4.5: delete the pieces below `low`.
    DeleteBelowLow { server: u8 },
    /// §9: freeze families (by bit), and upload.
    Flush { server: u8, region: u8, families: u8 },
    /// §9: merge all files, and upload.
    Compact { server: u8, region: u8 },
    /// §9: send the commit of the upload.
    Commit { server: u8, region: u8 },
    /// §5: send the commit of a clean close.
    Close { server: u8, region: u8 },
    /// §5: send the commit that takes the claim back; nothing was served.
    GiveBack { server: u8, region: u8 },
    /// §5: a region is dropped without a commit.
    Drop { server: u8, region: u8 },
    /// §8: evaluate a read.
    Read { server: u8, region: u8 },
    /// §8 guard 2: an entry whose put began after the evaluation is acknowledged.
    GuardByLog,
    /// §8 guard 3: look at the lowest unconfirmed number.
    GuardByLook,
    /// G2: the owner deletes a file of its own epoch.
    OwnerDeletes { server: u8, file: u8 },
    /// A server dies.
    Crash { server: u8 },
    /// §4 fence 1: read the head.
    FenceBegins { fencer: u8, stream: u8 },
    /// §4 fence 2: look at a number.
    FenceLooks { fencer: u8, n: u8 },
    /// §4 fence 3: put the fence if the number is absent.
    FencePut { fencer: u8 },
    /// §4 fence 3: put one more fence, two numbers ahead.
    FenceAhead { fencer: u8 },
    /// §4 fence: a repeated put lands late.
    StrayFence,
    /// §4 fence 5: swap the head.
    FenceEnds { fencer: u8 },
    /// G1: the collector reads a manifest.
    CollectorReads { region: u8 },
    /// G1: the collector deletes a file.
    CollectorDeletes { file: u8 },
    /// G5: swap the head to `released`.
    Release { stream: u8 },
    /// G5: delete a released stream's data.
    DeleteReleased { stream: u8 },
}

impl Log {
    /// Whether this mistake is planted.
    pub fn wrong(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }
}

impl State {
    /// The cells in a set of files.
    pub fn cells_of(&self, files: u8) -> Cells {
        (0..FILES).filter(|file| files & 1 << file != 0).fold(0, |cells, file| cells | self.files[file].cells)
    }
}

impl Model for Log {
    type State = State;
    type Action = Action;

    fn start(&self) -> State {
        let mut state = State {
            manifests: [Manifest::created(); REGIONS],
            streams: [Stream::default(); SERVERS],
            servers: [Server::default(); SERVERS],
            files: [File::default(); FILES],
            fencers: [Fencer::Idle; 2],
            collector: None,
            epochs: [0; REGIONS],
            writes: 0,
            submitted: [0; REGIONS],
            acknowledged: 0,
            seen: 0,
            gone: 0,
            top: [0; REGIONS],
            read: None,
            stray: None,
            broken: 0,
        };
        if self.begun {
            state.servers[0].life = Life::Alive;
            for region in 0..usize::from(self.regions) {
                let manifest = Manifest::created().claimed(1, 0, 0);
                state.manifests[region] = manifest;
                state.epochs[region] = 1;
                let host = &mut state.servers[0].hosts[region];
                *host = Host { stage: Stage::Open, epoch: 1, manifest, next_seq: 1, ..Host::default() };
            }
        }
        state
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        for server in 0..self.servers {
            self.opening_actions(state, server, out);
            self.manifest_actions(state, server, out);
            self.writer_actions(state, server, out);
        }
        self.read_actions(state, out);
        self.fence_actions(state, out);
        self.collection_actions(state, out);
    }

    fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Order { server, region } => self.order(&mut state, server, region),
            Action::Claim { server, region } => self.claim(&mut state, server, region),
            Action::SwapLands { server, region } => self.swap_lands(&mut state, server, region)?,
            Action::SwapAnswered { server, region } => self.swap_answered(&mut state, server, region)?,
            Action::Replay { server, region } => self.replay(&mut state, server, region),
            Action::Write { server, region, both_families } => self.write(&mut state, server, region, both_families),
            Action::PutLands { server, n, again } => self.put_lands(&mut state, server, n, again),
            Action::Confirm { server, n } => self.confirm(&mut state, server, n),
            Action::PutSegment { server } => self.put_segment(&mut state, server),
            Action::SwapLow { server } => self.swap_low(&mut state, server),
            Action::DeleteBelowLow { server } => self.delete_below_low(&mut state, server),
            Action::Flush { server, region, families } => self.flush(&mut state, server, region, families)?,
            Action::Compact { server, region } => self.compact(&mut state, server, region)?,
            Action::Commit { server, region } => self.commit(&mut state, server, region)?,
            Action::Close { server, region } => self.close(&mut state, server, region),
            Action::GiveBack { server, region } => self.give_back(&mut state, server, region),
            Action::Drop { server, region } => {
                state.servers[usize::from(server)].hosts[usize::from(region)] = Host::default();
            }
            Action::Read { server, region } => self.read(&mut state, server, region),
            Action::GuardByLog => self.guard_by_log(&mut state)?,
            Action::GuardByLook => self.guard_by_look(&mut state)?,
            Action::FenceAhead { fencer } => self.put_fence_ahead(&mut state, fencer)?,
            Action::StrayFence => self.stray_fence(&mut state)?,
            Action::OwnerDeletes { file, .. } | Action::CollectorDeletes { file } => {
                state.files[usize::from(file)].exists = false;
            }
            Action::Crash { server } => state.servers[usize::from(server)].die(),
            Action::FenceBegins { fencer, stream } => self.fence_begins(&mut state, fencer, stream),
            Action::FenceLooks { fencer, n } => self.fence_looks(&mut state, fencer, n)?,
            Action::FencePut { fencer } => self.fence_put(&mut state, fencer)?,
            Action::FenceEnds { fencer } => self.fence_ends(&mut state, fencer)?,
            Action::CollectorReads { region } => self.collector_reads(&mut state, region),
            Action::Release { stream } => state.streams[usize::from(stream)].released = true,
            Action::DeleteReleased { stream } => self.delete_released(&mut state, stream),
        }
        state.judge();
        Some(state)
    }

    fn always(&self) -> Vec<Claim<Self>> {
        claims::always()
    }

    fn reachable(&self) -> Vec<Claim<Self>> {
        claims::reachable(self)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn states_are_small() {
        assert!(size_of::<super::State>() <= 560, "millions lie in memory: {}", size_of::<super::State>());
    }
}
