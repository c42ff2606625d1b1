//! Collection of files and streams, stale, doubled, without grace (PROTOCOLS.md §10).

use super::{Action, FILES, Log, Mistake, NONE, Piece, State};

impl Log {
    /// Steps of the collectors.
    pub fn collection_actions(&self, state: &State, out: &mut Vec<Action>) {
        if self.collect {
            for region in 0..self.regions {
                let manifest = &state.manifests[usize::from(region)];
                if state.collector != Some((region, manifest.epoch, manifest.files)) {
                    out.push(Action::CollectorReads { region });
                }
            }
            if let Some((region, epoch, listed)) = state.collector {
                for file in 0..FILES as u8 {
                    let one = &state.files[usize::from(file)];
                    let old = one.epoch < epoch || self.wrong(Mistake::CollectorIgnoresEpoch);
                    if one.exists && one.region == region && old && listed & 1 << file == 0 {
                        out.push(Action::CollectorDeletes { file });
                    }
                }
            }
        }
        if self.release {
            for stream in 0..self.servers {
                let log = &state.streams[usize::from(stream)];
                if log.ended.is_some() && !log.released && self.may_release(state, usize::from(stream)) {
                    out.push(Action::Release { stream });
                }
                let deletes =
                    |piece: &Piece| piece.is_data() || *piece == Piece::FENCE && self.wrong(Mistake::FenceDeleted);
                if log.released && log.pieces.iter().any(deletes) {
                    out.push(Action::DeleteReleased { stream });
                }
            }
        }
    }

    /// G1: one value of one register; the deletes may come much later.
    pub(super) fn collector_reads(&self, state: &mut State, region: u8) {
        let manifest = &state.manifests[usize::from(region)];
        state.collector = Some((region, manifest.epoch, manifest.files));
    }

    /// G5: every region in the index has flushed its highest seq there, in every family. Once true, true for ever.
    fn may_release(&self, state: &State, stream: usize) -> bool {
        let log = &state.streams[stream];
        let Some(ended) = log.ended else { return false };
        let covered = |region: usize| {
            let manifest = &state.manifests[region];
            let highest =
                (0..ended.f).filter(|n| ended.index[region] & 1 << n != 0).map(|n| log.at(n).seq()).max().unwrap_or(0);
            let flushed = &manifest.flushed[..usize::from(self.families)];
            let flushed =
                if self.wrong(Mistake::ReleasedByOneFamily) { flushed.iter().max() } else { flushed.iter().min() };
            highest <= flushed.copied().unwrap_or(0)
        };
        let mut regions = 0..usize::from(self.regions);
        if self.wrong(Mistake::ReleasedByOwnerChange) {
            return regions.all(|region| usize::from(state.manifests[region].owner) != stream);
        }
        if self.wrong(Mistake::ReleasedByHeadNeeds) {
            return regions.all(|region| state.manifests[region].head_needs()[stream] == NONE);
        }
        if self.wrong(Mistake::ReleasedByOneRegion) { regions.any(covered) } else { regions.all(covered) }
    }

    /// G5: the data; never the fence, never the head.
    pub(super) fn delete_released(&self, state: &mut State, stream: u8) {
        let log = &mut state.streams[usize::from(stream)];
        for piece in &mut log.pieces {
            if piece.is_data() || self.wrong(Mistake::FenceDeleted) {
                *piece = Piece::ABSENT;
            }
        }
        log.sealed = Default::default();
    }
}
