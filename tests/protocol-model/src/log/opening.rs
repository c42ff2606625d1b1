//! Opening a region: order, claim, replay (PROTOCOLS.md §5).

use super::{
    Action, FAMILIES, Host, Life, Log, Manifest, Mistake, NONE, NUMBERS, Piece, SERVERS, Stage, State, claims,
};

impl Log {
    /// Steps of a server that opens a region.
    pub fn opening_actions(&self, state: &State, server: u8, out: &mut Vec<Action>) {
        let at = usize::from(server);
        let life = state.servers[at].life;
        // Lives begin in order: they are alike.
        let may_begin = at == 0 || state.servers[at - 1].life != Life::Unborn;
        let able = life == Life::Alive || life == Life::Unborn && may_begin;
        for region in 0..self.regions {
            let host = &state.servers[at].hosts[usize::from(region)];
            match host.stage {
                Stage::Closed if able && state.epochs[usize::from(region)] < self.openings => {
                    out.push(Action::Order { server, region });
                }
                Stage::Ordered => out.push(Action::Claim { server, region }),
                Stage::Replaying => {
                    out.push(Action::Replay { server, region });
                    if self.failures {
                        out.extend([Action::GiveBack { server, region }, Action::Drop { server, region }]);
                    }
                }
                Stage::Open if self.failures && host.swap.is_none() => {
                    out.push(Action::Drop { server, region });
                    if self.wrong(Mistake::GivenBackAfterServing) {
                        out.push(Action::GiveBack { server, region });
                    }
                }
                _ => {}
            }
        }
    }

    /// A master's order, with the next epoch. The server's life begins with its first.
    pub(super) fn order(&self, state: &mut State, server: u8, region: u8) {
        let epoch = &mut state.epochs[usize::from(region)];
        *epoch += 1;
        let me = &mut state.servers[usize::from(server)];
        me.life = Life::Alive;
        me.hosts[usize::from(region)] = Host { stage: Stage::Ordered, epoch: *epoch, ..Host::default() };
    }

    /// Steps 1 to 3.
    pub(super) fn claim(&self, state: &mut State, server: u8, region: u8) {
        let at = usize::from(server);
        let current = state.manifests[usize::from(region)];
        let mut read = current;
        if self.wrong(Mistake::SpillNotRead) {
            read.needs = current.head_needs();
            read.spilled = 0;
        }
        let next = state.servers[at].next;
        // A need whose index lacks the region holds nothing for it.
        for stream in read.needed().filter(|_| self.drop_needs) {
            let log = &state.streams[stream];
            let index = match log.ended {
                Some(ended) => ended.index[usize::from(region)],
                None if self.wrong(Mistake::NeedOfLiveStreamDropped) && stream != at => {
                    // The indexes of the segments so far.
                    (0..log.low).filter(|n| log.at(*n).is_of(usize::from(region))).fold(0, |index, n| index | 1 << n)
                }
                None => continue,
            };
            if index >> read.needs[stream] == 0 {
                read.needs[stream] = NONE;
            }
        }
        let fenced = |stream: usize| {
            stream == at || state.streams[stream].ended.is_some() || self.wrong(Mistake::OpenedWithoutFence)
        };
        let host = &mut state.servers[at].hosts[usize::from(region)];
        let newer = current.epoch < host.epoch || self.wrong(Mistake::OlderEpochClaims);
        let own = current.needs[at];
        let log = &state.streams[at];
        // A need on the own stream: an opening here failed. Anew only if nothing was ever logged under it.
        let logged = (own.min(NUMBERS as u8)..NUMBERS as u8)
            .any(|n| log.pieces[usize::from(n)].is_of(region.into()) || log.puts[usize::from(n)].is_of(region.into()));
        let anew = self.failures && (!logged || self.wrong(Mistake::ClaimedAnewAfterServing));
        if !newer || own != NONE && !anew || !read.needed().all(fenced) {
            *host = Host::default(); // Superseded, NotFenced, or a failed opening of my own
            return;
        }
        let mut claim = read.claimed(host.epoch, at, next);
        claim.spilled = self.spill(&claim.needs);
        host.manifest = read;
        if self.wrong(Mistake::ClaimForgetsOldStreams) {
            claim.needs = [NONE; SERVERS];
            claim.needs[at] = next;
        }
        if self.wrong(Mistake::SpillForgotten) {
            claim.needs = claim.head_needs();
            claim.spilled = 0;
        }
        host.swap = Some(claim);
        host.stage = Stage::Claiming;
    }

    /// Steps 5 to 7. Replayed edits stay in memory and in the old streams.
    pub(super) fn replay(&self, state: &mut State, server: u8, region: u8) {
        let (at, r) = (usize::from(server), usize::from(region));
        let host = state.servers[at].hosts[r];
        let rightful = state.manifests[r].epoch == host.epoch;
        let Some(replayed) = self.read_streams(state, at, r, &host.manifest) else {
            if rightful {
                state.broken |= claims::STUCK;
            }
            state.servers[at].hosts[r] = Host::default();
            return;
        };
        let floor = host.manifest.flushed.iter().max().copied().unwrap_or(0);
        let top = replayed.top.max(floor);
        let host = &mut state.servers[at].hosts[r];
        host.stage = Stage::Open;
        host.memtable = replayed.cells;
        host.applied_seq = if self.wrong(Mistake::SeqFromFlushed) { floor } else { top };
        host.next_seq = host.applied_seq + 1;
        // What was begun before and is not here is gone for good, if this opening is the rightful one.
        if rightful && !state.streams[at].fenced() {
            state.gone |= state.submitted[r] & !state.visible(at, r);
            state.top[r] = state.top[r].max(top);
        }
    }

    /// The opening fails, before anything was served: a commit without the own need. The stream holds nothing of it.
    pub(super) fn give_back(&self, state: &mut State, server: u8, region: u8) {
        let at = usize::from(server);
        let host = &mut state.servers[at].hosts[usize::from(region)];
        let mut swap = Manifest { version: host.manifest.version + 1, ..host.manifest };
        swap.needs[at] = NONE;
        swap.spilled = self.spill(&swap.needs);
        host.swap = Some(swap);
        host.stage = Stage::Closing;
    }

    /// Reads the region's entries of every ended stream that the manifest needs; `None`: one is missing.
    fn read_streams(&self, state: &State, at: usize, region: usize, manifest: &Manifest) -> Option<Replayed> {
        let mut replayed = Replayed::default();
        let mut flushed = manifest.flushed;
        if self.wrong(Mistake::ReplaySkipsByNewestFamily) {
            flushed = [flushed.iter().max().copied().unwrap_or(0); FAMILIES];
        }
        for stream in manifest.needed().filter(|stream| *stream != at) {
            let log = &state.streams[stream];
            if log.released {
                continue; // holds nothing that is needed
            }
            let from = manifest.needs[stream];
            let mut take = |piece: Piece| {
                if piece.is_of(region) || piece.is_data() && self.wrong(Mistake::ReplayTakesOtherRegions) {
                    replayed.cells |= piece.unflushed(&flushed);
                    replayed.top = replayed.top.max(piece.seq());
                }
            };
            let Some(ended) = log.ended else {
                // Only without a fence: as far as it goes.
                (from..NUMBERS as u8).map(|n| log.at(n)).take_while(|piece| piece.is_data()).for_each(&mut take);
                continue;
            };
            let indexed = if self.wrong(Mistake::ReplayTakesOtherRegions) {
                ended.index.iter().fold(0, |all, one| all | one)
            } else {
                ended.index[region]
            };
            for n in (from..ended.f).filter(|n| indexed & 1 << n != 0) {
                let piece = log.at(n);
                if !piece.is_data() {
                    return None;
                }
                take(piece);
            }
            if self.wrong(Mistake::ReadPastFence) {
                (ended.f..NUMBERS as u8).map(|n| log.at(n)).for_each(&mut take);
            }
        }
        Some(replayed)
    }
}

/// What the streams hold for a region.
#[derive(Default)]
struct Replayed {
    cells: super::Cells,
    top: u8,
}
