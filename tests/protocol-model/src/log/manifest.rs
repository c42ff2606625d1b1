//! A region's manifest, its swaps, and what commits to it: flush, compaction, close (PROTOCOLS.md §2, §5, §9).

use super::{
    Action, Cells, FAMILIES, FAMILY, FILES, File, Life, Log, Mistake, NONE, Piece, SERVERS, Stage, State, claims,
};

/// A region's manifest. Swapped as a whole: head and body have one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Manifest {
    /// Compared by every swap.
    pub version: u8,
    /// The epoch it was last claimed under.
    pub epoch: u8,
    /// Who claimed it.
    pub owner: u8,
    /// By family: edits up to it are in files.
    pub flushed: [u8; FAMILIES],
    /// The files it lists, by bit.
    pub files: u8,
    /// By stream: the number from which unflushed edits may lie in it, or [`NONE`].
    pub needs: [u8; SERVERS],
    /// Needs that stand in the body, by bit of the stream.
    pub spilled: u8,
}

impl Manifest {
    /// As a master creates it.
    pub fn created() -> Manifest {
        Manifest { version: 1, owner: NONE, needs: [NONE; SERVERS], ..Manifest::default() }
    }

    /// With the claim of an opening on top: the own stream from this number on.
    pub fn claimed(self, epoch: u8, owner: usize, from: u8) -> Manifest {
        let mut claimed = Manifest { version: self.version + 1, epoch, owner: owner as u8, ..self };
        claimed.needs[owner] = from;
        claimed
    }

    /// The streams needed.
    pub fn needed(&self) -> impl Iterator<Item = usize> + use<> {
        let needs = self.needs;
        (0..SERVERS).filter(move |stream| needs[*stream] != NONE)
    }

    /// The streams needed according to the head alone.
    pub fn head_needs(&self) -> [u8; SERVERS] {
        std::array::from_fn(|stream| if self.spilled & 1 << stream != 0 { NONE } else { self.needs[stream] })
    }
}

impl Log {
    /// Steps of an owner on its manifest, and of swaps under way.
    pub fn manifest_actions(&self, state: &State, server: u8, out: &mut Vec<Action>) {
        let me = &state.servers[usize::from(server)];
        let made = state.files.iter().filter(|file| file.epoch != 0).count() < usize::from(self.files);
        for region in 0..self.regions {
            let host = &me.hosts[usize::from(region)];
            let manifest = &state.manifests[usize::from(region)];
            if let Some(swap) = host.swap {
                if manifest.version + 1 == swap.version {
                    out.push(Action::SwapLands { server, region });
                }
                if me.life == Life::Alive && manifest.version >= swap.version {
                    out.push(Action::SwapAnswered { server, region });
                }
            }
            if host.stage != Stage::Open {
                continue;
            }
            match (host.swap, host.upload) {
                (None, None) => {
                    if host.memtable != 0 && made {
                        let dirty = |family: &usize| host.memtable & FAMILY[*family] != 0;
                        let all = (0..FAMILIES).filter(dirty).fold(0, |all, family| all | 1 << family);
                        if self.flush_by_family && all == 3 {
                            out.extend([1, 2].map(|families| Action::Flush { server, region, families }));
                        }
                        out.push(Action::Flush { server, region, families: all });
                    }
                    if self.compact && host.manifest.files.count_ones() >= 2 && made {
                        out.push(Action::Compact { server, region });
                    }
                    let waiting =
                        (me.applied..me.next).any(|n| self.piece_sent(state, server, n).is_of(usize::from(region)));
                    if self.close && host.memtable == 0 && host.frozen == 0 && !waiting {
                        out.push(Action::Close { server, region });
                    }
                }
                (None, Some(_)) => out.push(Action::Commit { server, region }),
                (Some(_), _) => {}
            }
            let hasty = self.wrong(Mistake::InputsDeletedBeforeAnswer);
            if (self.collect && host.upload.is_none() && host.swap.is_none()) || hasty {
                let listed = host.swap.filter(|_| hasty).unwrap_or(host.manifest).files;
                for file in 0..FILES as u8 {
                    let one = &state.files[usize::from(file)];
                    let mine = one.exists && one.region == region && one.epoch == host.epoch;
                    if mine && listed & 1 << file == 0 && host.upload != Some(file) {
                        out.push(Action::OwnerDeletes { server, file });
                    }
                }
            }
        }
    }

    fn piece_sent(&self, state: &State, server: u8, n: u8) -> Piece {
        let stream = &state.streams[usize::from(server)];
        let put = stream.puts[usize::from(n)];
        if put == Piece::ABSENT { stream.pieces[usize::from(n)] } else { put }
    }

    /// §3: a swap over the version it was based on.
    pub(super) fn swap_lands(&self, state: &mut State, server: u8, region: u8) -> Option<()> {
        let me = &mut state.servers[usize::from(server)];
        let host = &mut me.hosts[usize::from(region)];
        let swap = host.swap?;
        if swap.epoch < state.manifests[usize::from(region)].epoch {
            state.broken |= claims::EPOCH;
        }
        state.manifests[usize::from(region)] = swap;
        if me.life == Life::Dead {
            *host = super::Host::default();
        }
        Some(())
    }

    /// §3 lost answers: mine is there, or it is superseded.
    pub(super) fn swap_answered(&self, state: &mut State, server: u8, region: u8) -> Option<()> {
        let current = state.manifests[usize::from(region)];
        let me = &mut state.servers[usize::from(server)];
        let host = &mut me.hosts[usize::from(region)];
        let swap = host.swap.take()?;
        let done = current.version == swap.version && current.epoch == swap.epoch;
        match (host.stage, done) {
            (Stage::Claiming, true) => {
                host.stage = Stage::Replaying;
                if self.wrong(Mistake::ClaimForgetsOldStreams) || self.wrong(Mistake::SpillForgotten) {
                    // What it read before it claimed, it replays all the same.
                    let mut needs = host.manifest.needs;
                    needs[usize::from(server)] = swap.needs[usize::from(server)];
                    host.manifest = Manifest { needs, ..current };
                } else {
                    host.manifest = current;
                }
            }
            (Stage::Claiming, false) => {
                if self.wrong(Mistake::ClaimWithStaleBody) && current.epoch < host.epoch {
                    host.swap = Some(Manifest { version: current.version + 1, ..swap });
                } else {
                    *host = super::Host::default();
                }
            }
            (Stage::Closing, true) => *host = super::Host::default(),
            (_, true) => {
                host.manifest = current;
                host.upload = None;
                if !host.compacting {
                    host.frozen = 0;
                    host.frozen_seq = [0; FAMILIES];
                }
                host.compacting = false;
            }
            (Stage::Open, false) if self.wrong(Mistake::CommitOverNewEpoch) && !host.compacting => {
                let mut again = Manifest { version: current.version + 1, epoch: host.epoch, ..current };
                again.files |= 1 << host.upload?;
                for family in 0..FAMILIES {
                    again.flushed[family] = again.flushed[family].max(host.frozen_seq[family]);
                }
                host.swap = Some(again);
            }
            // Overtaken: the own stream has ended.
            (_, false) => me.die(),
        }
        Some(())
    }

    /// §9 flush, §6: freeze at seq S and upload. A family with nothing unflushed goes with it.
    pub(super) fn flush(&self, state: &mut State, server: u8, region: u8, families: u8) -> Option<()> {
        let file = state.files.iter().position(|file| file.epoch == 0)?;
        let host = &mut state.servers[usize::from(server)].hosts[usize::from(region)];
        let seq = if self.wrong(Mistake::FlushedCoversInFlight) { host.next_seq - 1 } else { host.applied_seq };
        let clean = |family: usize| host.memtable & FAMILY[family] == 0 && !self.wrong(Mistake::IdleFamilyStaysBehind);
        let all = self.wrong(Mistake::FlushMarksAllFamilies);
        let part: [bool; FAMILIES] = std::array::from_fn(|family| families & 1 << family != 0 || clean(family) || all);
        let frozen: Cells =
            (0..FAMILIES).filter(|family| families & 1 << family != 0).fold(0, |cells, family| cells | FAMILY[family]);
        host.frozen = host.memtable & frozen;
        host.memtable &= !frozen;
        host.frozen_seq = part.map(|part| if part { seq } else { 0 });
        host.upload = Some(file as u8);
        let epoch = if self.wrong(Mistake::UploadBeforeClaim) { host.epoch - 1 } else { host.epoch };
        state.files[file] = File { region, epoch, cells: host.frozen, exists: true };
        Some(())
    }

    /// §9 compaction: merge all files and upload.
    pub(super) fn compact(&self, state: &mut State, server: u8, region: u8) -> Option<()> {
        let file = state.files.iter().position(|file| file.epoch == 0)?;
        let inputs = state.servers[usize::from(server)].hosts[usize::from(region)].manifest.files;
        let cells = state.cells_of(inputs);
        let host = &mut state.servers[usize::from(server)].hosts[usize::from(region)];
        host.upload = Some(file as u8);
        host.compacting = true;
        state.files[file] = File { region, epoch: host.epoch, cells, exists: true };
        Some(())
    }

    /// §9: send the swap: the new file listed, flushed seqs and needs moved (flush), or inputs dropped (compaction).
    pub(super) fn commit(&self, state: &mut State, server: u8, region: u8) -> Option<()> {
        let host = state.servers[usize::from(server)].hosts[usize::from(region)];
        let file = host.upload?;
        let mut swap = Manifest { version: host.manifest.version + 1, ..host.manifest };
        if host.compacting {
            swap.files = 1 << file;
        } else {
            swap.files |= 1 << file;
            for family in 0..FAMILIES {
                swap.flushed[family] = swap.flushed[family].max(host.frozen_seq[family]);
            }
            swap.needs = self.needs_after_flush(state, usize::from(server), usize::from(region), &swap);
            swap.spilled = self.spill(&swap.needs);
        }
        state.servers[usize::from(server)].hosts[usize::from(region)].swap = Some(swap);
        Some(())
    }

    /// §6: `from` is the oldest number unflushed in any family; an older stream goes when all families cover it.
    fn needs_after_flush(&self, state: &State, at: usize, region: usize, swap: &Manifest) -> [u8; SERVERS] {
        let host = &state.servers[at].hosts[region];
        let mut flushed = swap.flushed;
        if self.wrong(Mistake::FromOfFlushedFamily) {
            let newest = flushed.iter().max().copied().unwrap_or(0);
            flushed = [newest; FAMILIES];
        }
        let mut needs = swap.needs;
        for stream in swap.needed() {
            let log = &state.streams[stream];
            let from = swap.needs[stream];
            if stream == at {
                let end = state.servers[at].applied;
                let open = |n: &u8| log.at(*n).is_of(region) && log.at(*n).unflushed(&flushed) != 0;
                needs[stream] = (from..end.max(from)).find(open).unwrap_or(end.max(from));
            } else {
                let index = log.ended.map_or(0, |ended| ended.index[region]);
                let mut flushed = swap.flushed;
                if self.wrong(Mistake::OldNeedsDroppedByOneFamily) {
                    flushed = [host.frozen_seq.iter().max().copied().unwrap_or(0); FAMILIES];
                }
                let open = |n: u8| index & 1 << n != 0 && log.at(n).is_data() && log.at(n).unflushed(&flushed) != 0;
                if !(from..super::NUMBERS as u8).any(open) {
                    needs[stream] = NONE;
                }
            }
        }
        needs
    }

    /// §2: which needs stand in the body, since the head holds only so many: the oldest.
    pub(super) fn spill(&self, needs: &[u8; SERVERS]) -> u8 {
        let listed = needs.iter().filter(|need| **need != NONE).count();
        let over = listed.saturating_sub(usize::from(self.head_needs));
        let oldest = (0..SERVERS).filter(|stream| needs[*stream] != NONE).take(over);
        oldest.fold(0, |spilled, stream| spilled | 1 << stream)
    }

    /// §5 close: flushed, nothing unanswered; commit with no needs.
    pub(super) fn close(&self, state: &mut State, server: u8, region: u8) {
        let host = &mut state.servers[usize::from(server)].hosts[usize::from(region)];
        let version = host.manifest.version + 1;
        host.swap = Some(Manifest { version, needs: [NONE; SERVERS], spilled: 0, ..host.manifest });
        host.stage = Stage::Closing;
    }
}
