//! What is always true of servers, streams and regions (PROTOCOLS.md §11).

use super::{Cells, FAMILY, FILES, Log, NUMBERS, REGIONS, SERVERS, Stage, State};
use crate::search::Claim;

/// P3: a swap with an older epoch took place.
pub const EPOCH: u8 = 1;
/// P11: a rightful owner lacks a piece it needs.
pub const STUCK: u8 = 2;
/// P1, P6: a checked read lacks what was acknowledged or shown before.
pub const LOST: u8 = 4;
/// P6: a checked read shows what a rightful opening did not find, or what is another region's.
pub const RETURNED: u8 = 8;
/// P10: a write was acknowledged under a seq that is not higher than an older one's.
pub const SEQ: u8 = 16;
/// P7: a checked read shows a part of a row mutation.
pub const TORN: u8 = 32;
/// P12: a guarded read lacks what was acknowledged or shown when it began.
pub const STALE: u8 = 64;

impl State {
    /// What a server shows of a region.
    pub fn visible(&self, server: usize, region: usize) -> Cells {
        let host = &self.servers[server].hosts[region];
        host.memtable | host.frozen | self.cells_of(host.manifest.files)
    }

    /// Open, and not fenced: its guard would let a read pass.
    pub fn serves(&self, server: usize, region: usize) -> bool {
        self.servers[server].hosts[region].stage == Stage::Open && !self.streams[server].fenced()
    }

    /// What an ideal recovery of the region would bring back now.
    pub fn recoverable(&self, region: usize) -> Cells {
        let manifest = &self.manifests[region];
        let mut cells = self.cells_of(manifest.files);
        for stream in manifest.needed() {
            let log = &self.streams[stream];
            if log.released {
                continue;
            }
            let from = manifest.needs[stream];
            match log.ended {
                Some(ended) => {
                    for n in (from..ended.f).filter(|n| ended.index[region] & 1 << n != 0) {
                        if log.at(n).is_of(region) {
                            cells |= log.at(n).unflushed(&manifest.flushed);
                        }
                    }
                }
                None => {
                    for piece in (from..NUMBERS as u8).map(|n| log.at(n)).take_while(|piece| piece.is_data()) {
                        if piece.is_of(region) {
                            cells |= piece.unflushed(&manifest.flushed);
                        }
                    }
                }
            }
        }
        cells
    }

    /// Whether of every write of the region all cells are there or none.
    fn whole(&self, cells: Cells, region: usize) -> bool {
        (0..4).all(|write| {
            let all = self.submitted[region] & 3 << (2 * write);
            cells & all == 0 || cells & all == all
        })
    }

    /// Reads every region wherever a guard would let it, and notes what the reads break.
    pub fn judge(&mut self) {
        for server in 0..SERVERS {
            for region in 0..REGIONS {
                if !self.serves(server, region) {
                    continue;
                }
                let visible = self.visible(server, region);
                if (self.seen | self.acknowledged) & self.submitted[region] & !visible != 0 {
                    self.broken |= LOST;
                }
                if visible & (self.gone | !self.submitted[region]) != 0 {
                    self.broken |= RETURNED;
                }
                if !self.whole(visible, region) {
                    self.broken |= TORN;
                }
                self.seen |= visible;
            }
        }
    }
}

/// The claims, P-numbers as on the page.
pub fn always() -> Vec<Claim<Log>> {
    vec![
        ("P1: every acknowledged write can be recovered", |_, state| {
            state.acknowledged & !(0..REGIONS).fold(0, |cells, region| cells | state.recoverable(region)) == 0
        }),
        ("P2: a region has at most one unfenced opening, the manifest's", |_, state| {
            (0..REGIONS).all(|region| {
                let serving = (0..SERVERS).filter(|server| state.serves(*server, region));
                serving.clone().count() <= 1
                    && serving.clone().all(|server| usize::from(state.manifests[region].owner) == server)
            })
        }),
        ("P3: no swap under an older epoch", |_, state| state.broken & EPOCH == 0),
        ("P1, P6: a read shows all that was acknowledged or shown", |_, state| state.broken & LOST == 0),
        ("P6: what an opening did not find never comes back", |_, state| state.broken & RETURNED == 0),
        ("P7: a row mutation is read and recovered whole", |model, state| {
            let whole = |region: usize| state.whole(state.recoverable(region), region);
            state.broken & TORN == 0 && (model.families == 1 || (0..REGIONS).all(whole))
        }),
        ("P8: every listed file exists", |_, state| {
            let listed = state.manifests.iter().fold(0, |files, manifest| files | manifest.files);
            (0..FILES).all(|file| listed & 1 << file == 0 || state.files[file].exists)
        }),
        ("P10: acknowledgments come in order of seq, across owners", |_, state| state.broken & SEQ == 0),
        ("P12: a guarded read shows all that was acknowledged or shown when it began", |_, state| {
            state.broken & STALE == 0
        }),
        ("P11: the rightful owner finds every piece it needs", |_, state| state.broken & STUCK == 0),
    ]
}

/// Reached unless flushed seqs of idle families stay behind.
pub const IDLE_FAMILY_RELEASED: &str = "a stream is released although a family never had anything";

/// What occurs, given these sizes.
pub fn reachable(model: &Log) -> Vec<Claim<Log>> {
    let mut claims: Vec<Claim<Log>> = vec![
        ("opened twice, all writes acknowledged, one flush", |model, state| {
            state.acknowledged != 0
                && state.acknowledged == state.submitted[0] | state.submitted[1]
                && state.writes == model.writes
                && state.manifests[0].epoch >= 2
                && state.files[0].epoch != 0
        }),
        ("a put lands behind a fence", |_, state| {
            state.streams.iter().any(|log| {
                log.ended.is_some_and(|ended| (ended.f..NUMBERS as u8).any(|n| log.pieces[usize::from(n)].is_data()))
            })
        }),
    ];
    if model.failures {
        claims.push(("claimed anew after an opening that failed", |_, state| {
            let host = &state.servers[1].hosts[0];
            state.manifests[0].epoch == 3
                && state.epochs[0] == 3
                && host.epoch == 3
                && host.stage == Stage::Open
                && host.memtable != 0
        }));
        claims.push(("given back with old needs, then opened elsewhere", |_, state| {
            state.manifests[0].epoch == 3
                && state.acknowledged != 0
                && state.servers[2].hosts[0].stage == Stage::Open
                && state.manifests[0].needs[1] == super::NONE
                && state.servers[1].life == super::Life::Alive
        }));
    }
    if model.reads {
        claims.push(("a read waits, its server overtaken", |_, state| {
            state.read.is_some_and(|read| {
                read.due & !read.cells != 0 && state.servers[usize::from(read.server)].life == super::Life::Alive
            })
        }));
    }
    if model.release {
        claims.push(("a stream with entries is released and its data deleted", |_, state| {
            state.streams.iter().any(|log| {
                log.released && log.ended.is_some_and(|ended| ended.index != [0; REGIONS] && !log.pieces[0].is_data())
            })
        }));
    }
    if model.collect {
        claims.push(("a file is collected", |_, state| state.files.iter().any(|file| file.epoch != 0 && !file.exists)));
    }
    if model.regions > 1 {
        claims.push(("one stream holds both regions, which go on apart", |_, state| {
            state.streams[0].ended.is_some_and(|ended| ended.index.iter().all(|index| *index != 0))
                && state.manifests.iter().all(|manifest| manifest.epoch > 1)
        }));
    }
    if model.flush_by_family {
        claims.push(("one family is flushed, the other recovered from the log", |_, state| {
            let manifest = &state.manifests[0];
            manifest.flushed[0] != manifest.flushed[1]
                && state.servers[1].hosts[0].stage == Stage::Open
                && state.servers[1].hosts[0].memtable != 0
        }));
    }
    if model.flush_by_family && model.release {
        claims.push((IDLE_FAMILY_RELEASED, |_, state| {
            let idle = (state.submitted[0] | state.submitted[1]) & FAMILY[1] == 0;
            let holds = |log: &super::Stream| log.released && log.ended.is_some_and(|ended| ended.index[0] != 0);
            idle && state.streams.iter().any(holds)
        }));
    }
    if usize::from(model.head_needs) < SERVERS {
        claims.push(("needs are spilled and replayed", |_, state| {
            state.manifests[0].spilled != 0
                && state.servers[2].hosts[0].stage == Stage::Open
                && state.servers[2].hosts[0].memtable != 0
        }));
    }
    claims
}
