//! Which regions to flush. Looks only at its arguments.
//!
//! Always true
//! - Under pressure the largest region goes first; one that waits for a compaction only if it is more than twice as large.
//! - A region with too many files is put off for a while, but never for the sake of memory, the log or its age.

use std::time::Duration;

/// What the policy knows about a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RegionFacts {
    /// Bytes in memtables.
    pub bytes: u64,
    /// Bytes at which a flush is wanted.
    pub flush_bytes: u64,
    /// How long there have been unflushed edits.
    pub dirty_for: Duration,
    /// Age at which unflushed edits are flushed.
    pub period: Duration,
    /// It keeps log segments that should go.
    pub holds_log: bool,
    /// A family has so many files that a compaction should come first.
    pub too_many_files: bool,
    /// How long a wanted flush has been put off for that.
    pub put_off: Duration,
    /// A flush runs, or failed not long ago.
    pub resting: bool,
}

/// Why a region is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Memory,
    Size,
    Log,
    Age,
}

/// Regions to flush, most urgent first.
pub(crate) fn choose(regions: &[RegionFacts], pressed: bool, put_off_max: Duration) -> Vec<(usize, Reason)> {
    let mut ready: Vec<usize> = (0..regions.len()).filter(|at| !regions[*at].resting).collect();
    ready.sort_by_key(|at| std::cmp::Reverse(regions[*at].bytes));
    let mut chosen: Vec<(usize, Reason)> = Vec::new();
    if pressed {
        let mut by_need: Vec<usize> = ready.iter().copied().filter(|at| regions[*at].bytes > 0).collect();
        by_need.sort_by_key(|at| {
            let region = &regions[*at];
            std::cmp::Reverse(if region.too_many_files { region.bytes / 2 } else { region.bytes })
        });
        chosen.extend(by_need.into_iter().map(|at| (at, Reason::Memory)));
    }
    for reason in [Reason::Size, Reason::Log, Reason::Age] {
        for at in &ready {
            if calls(reason, &regions[*at], put_off_max) && !chosen.iter().any(|(known, _)| known == at) {
                chosen.push((*at, reason));
            }
        }
    }
    chosen
}

/// Whether the reason calls for a flush of the region, whatever the others are like.
fn calls(reason: Reason, region: &RegionFacts, put_off_max: Duration) -> bool {
    match reason {
        Reason::Memory => false,
        Reason::Size => region.bytes >= region.flush_bytes && (!region.too_many_files || region.put_off >= put_off_max),
        Reason::Log => region.holds_log,
        Reason::Age => region.bytes > 0 && region.dirty_for >= region.period,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(bytes: u64) -> RegionFacts {
        RegionFacts { bytes, flush_bytes: 100, period: Duration::from_secs(60), ..RegionFacts::default() }
    }

    fn chosen(regions: &[RegionFacts], pressed: bool) -> Vec<(usize, Reason)> {
        choose(regions, pressed, Duration::from_secs(90))
    }

    #[test]
    fn size_log_and_age_each_ask_for_a_flush() {
        let old = RegionFacts { dirty_for: Duration::from_secs(60), ..region(1) };
        let log = RegionFacts { holds_log: true, ..region(2) };
        let regions = [old, log, region(99), region(100), region(300), region(0)];
        assert_eq!(chosen(&regions, false), [(4, Reason::Size), (3, Reason::Size), (1, Reason::Log), (0, Reason::Age)]);
        let empty = RegionFacts { dirty_for: Duration::from_secs(600), ..region(0) };
        assert_eq!(chosen(&[empty], false), []);
    }

    #[test]
    fn pressure_takes_the_largest_first() {
        let regions = [region(10), region(99), region(0), region(50)];
        let of = |regions: &[RegionFacts]| chosen(regions, true).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(of(&regions), [1, 3, 0]);
        let stuck = |bytes| RegionFacts { too_many_files: true, ..region(bytes) };
        assert_eq!(of(&[region(10), stuck(15)]), [0, 1]);
        assert_eq!(of(&[region(10), stuck(25)]), [1, 0]);
        let busy = RegionFacts { resting: true, ..region(1000) };
        assert_eq!(of(&[busy, region(1)]), [1]);
    }

    #[test]
    fn a_region_with_too_many_files_is_put_off_for_a_while() {
        let mut stuck = RegionFacts { too_many_files: true, ..region(200) };
        assert_eq!(chosen(&[stuck.clone()], false), []);
        stuck.put_off = Duration::from_secs(90);
        assert_eq!(chosen(&[stuck], false), [(0, Reason::Size)]);
    }
}
