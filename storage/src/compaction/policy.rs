//! Which files to compact: HBase's exploring policy. Looks only at its arguments: no I/O, no clock.
//!
//! Always true
//! - The files chosen are neighbours in the order of their sequence numbers, so that a rewritten file takes their place.

/// What the policy knows about a store file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes.
    pub bytes: u64,
    /// Whether it refers to (half of) a file of another region; such files must be rewritten.
    pub is_reference: bool,
    /// Whether minor compactions leave it out (a bulk-loaded file with that mark).
    pub exclude_from_minor: bool,
    /// Time of the file's creation, in milliseconds.
    pub created_ms: i64,
    /// Smallest timestamp of a cell, if known.
    pub oldest_cell_ms: Option<i64>,
    /// Largest timestamp of a cell, if known.
    pub newest_cell_ms: Option<i64>,
    /// Whether a compaction that runs takes it.
    pub compacting: bool,
}

/// The settings of the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicySettings {
    /// Fewest files of a minor compaction (`hbase.hstore.compaction.min`).
    pub files_min: usize,
    /// Most files of a compaction (`hbase.hstore.compaction.max`).
    pub files_max: usize,
    /// A selection below this size is always in ratio (`hbase.hstore.compaction.min.size`; the memtable's flush size).
    pub bytes_min: u64,
    /// Larger files and selections are left alone (`hbase.hstore.compaction.max.size`).
    pub bytes_max: u64,
    /// No file may be larger than this times the sum of the others (`hbase.hstore.compaction.ratio`).
    pub ratio: f64,
    /// Files from which writes wait (`hbase.hstore.blockingStoreFiles`).
    pub blocking_files: usize,
    /// Period of major compactions in milliseconds, spread out already; 0 switches them off.
    pub major_period_ms: i64,
    /// The family's time to live in milliseconds.
    pub ttl_ms: Option<i64>,
    /// The family's `MIN_VERSIONS`: above 0, expired files may hold cells that are kept.
    pub min_versions: u32,
    /// Time of the server.
    pub now_ms: i64,
}

impl Default for PolicySettings {
    fn default() -> Self {
        PolicySettings {
            files_min: 3,
            files_max: 10,
            bytes_min: 128 << 20,
            bytes_max: u64::MAX,
            ratio: 1.2,
            blocking_files: 16,
            major_period_ms: 7 * 24 * 3_600_000,
            ttl_ms: None,
            min_versions: 0,
            now_ms: 0,
        }
    }
}

/// Who asks for a compaction of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Nobody.
    No,
    /// The engine itself.
    Major,
    /// A user: the bound on the number of files does not hold.
    UserMajor,
}

/// Files to compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Indexes into the files given, ascending, neighbours.
    pub files: Vec<usize>,
    /// All files of the store: delete markers may go.
    pub all_files: bool,
    /// It was meant as a major compaction and takes all files.
    pub major: bool,
}

/// Whether a look at the files is worth it: enough of them are not being compacted.
pub fn is_needed(files: &[FileFacts], settings: &PolicySettings) -> bool {
    files.iter().filter(|file| !file.compacting).count() >= settings.files_min
}

/// Files of which every cell has outlived its time: they may simply be dropped. Never the newest file, whose
/// sequence numbers the store still needs.
pub fn expired(files: &[FileFacts], settings: &PolicySettings) -> Vec<usize> {
    let Some(ttl_ms) = settings.ttl_ms.filter(|_| settings.min_versions == 0) else { return Vec::new() };
    let oldest_ms = settings.now_ms.saturating_sub(ttl_ms);
    let dead = |file: &FileFacts| !file.compacting && file.newest_cell_ms.is_some_and(|newest| newest < oldest_ms);
    (0..files.len().saturating_sub(1)).filter(|at| dead(&files[*at])).collect()
}

/// Chooses files to compact; `files` are in ascending order of their sequence numbers.
pub fn choose(files: &[FileFacts], settings: &PolicySettings, forced: Forced) -> Option<Plan> {
    let busy = files.iter().filter(|file| file.compacting).count();
    let stuck = files.len() - busy + usize::from(busy > 0) >= settings.blocking_files;
    // Files older than one that is being compacted are left alone, so that neighbours stay neighbours.
    let first = files.iter().rposition(|file| file.compacting).map_or(0, |at| at + 1);
    let mut candidates: Vec<usize> = (first..files.len()).collect();
    let force = forced != Forced::No;
    if !(force && candidates.len() == files.len()) {
        let too_large = |at: &usize| !files[*at].is_reference && files[*at].bytes > settings.bytes_max;
        let skip = candidates.iter().take_while(|at| too_large(at)).count();
        candidates.drain(..skip);
    }
    let all = candidates.len() == files.len();
    let try_major = (forced == Forced::UserMajor && all)
        || (((force && all) || is_major_due(files, &candidates, settings)) && candidates.len() < settings.files_max);
    let after_split = candidates.iter().any(|at| files[*at].is_reference);
    if !try_major && !after_split {
        candidates.retain(|at| !files[*at].exclude_from_minor);
        candidates = explore(files, &candidates, settings, stuck);
        if candidates.len() < settings.files_min {
            return None;
        }
    }
    if !(forced == Forced::UserMajor && try_major) {
        candidates.truncate(settings.files_max);
    }
    if candidates.is_empty() {
        return None;
    }
    let all_files = candidates.len() == files.len();
    Some(Plan { files: candidates, all_files, major: try_major && all_files })
}

fn is_major_due(files: &[FileFacts], candidates: &[usize], settings: &PolicySettings) -> bool {
    let Some(oldest_file_ms) = candidates.iter().map(|at| files[*at].created_ms).min() else { return false };
    let period_ms = settings.major_period_ms;
    if period_ms == 0 || oldest_file_ms <= 0 || oldest_file_ms >= settings.now_ms.saturating_sub(period_ms) {
        return false;
    }
    let [only] = candidates else { return true };
    let file = &files[*only];
    let age_ms = file.oldest_cell_ms.map_or(i64::MIN, |oldest_ms| settings.now_ms.saturating_sub(oldest_ms));
    // One file gets no better, unless cells in it have expired.
    settings.ttl_ms.is_some_and(|ttl_ms| age_ms > ttl_ms)
}

/// Looks at every run of neighbours that is long enough, and takes the one with most files for least bytes.
fn explore(files: &[FileFacts], candidates: &[usize], settings: &PolicySettings, stuck: bool) -> Vec<usize> {
    let total = |run: &[usize]| run.iter().map(|at| files[*at].bytes).sum::<u64>();
    let mut best: (&[usize], u64) = (&[], 0);
    let mut smallest: (&[usize], u64) = (&[], u64::MAX);
    let fewest = settings.files_min.max(1);
    for start in 0..candidates.len() {
        for end in start + fewest..=candidates.len().min(start + settings.files_max) {
            let run = &candidates[start..end];
            let bytes = total(run);
            if stuck && bytes < smallest.1 {
                smallest = (run, bytes);
            }
            if bytes > settings.bytes_max || (bytes >= settings.bytes_min && !in_ratio(files, run, bytes, settings)) {
                continue;
            }
            let better = if stuck && best.1 > 0 && bytes > 0 {
                // A stuck store wants files gone cheaply; a small gain is not worth a later, larger run.
                best.0.len() as f64 / best.1 as f64 * 1.05 < run.len() as f64 / bytes as f64
            } else {
                run.len() > best.0.len() || (run.len() == best.0.len() && bytes < best.1)
            };
            if better {
                best = (run, bytes);
            }
        }
    }
    if best.0.is_empty() && stuck { smallest.0.to_vec() } else { best.0.to_vec() }
}

fn in_ratio(files: &[FileFacts], run: &[usize], bytes: u64, settings: &PolicySettings) -> bool {
    run.len() < 2
        || run.iter().all(|at| {
            let own = files[*at].bytes;
            own as f64 <= (bytes - own) as f64 * settings.ratio
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<FileFacts> {
        let file = |bytes: &u64| FileFacts {
            bytes: *bytes,
            is_reference: false,
            exclude_from_minor: false,
            created_ms: 1000,
            oldest_cell_ms: Some(0),
            newest_cell_ms: Some(500),
            compacting: false,
        };
        sizes.iter().map(file).collect()
    }

    // The cases of HBase's own TestDefaultCompactSelection: min size 10, max size 1000, ratio 1.0, 3 to 5 files.
    fn settings() -> PolicySettings {
        PolicySettings {
            files_max: 5,
            bytes_min: 10,
            bytes_max: 1000,
            ratio: 1.0,
            major_period_ms: 0,
            now_ms: 10_000,
            ..PolicySettings::default()
        }
    }

    fn chosen(sizes: &[u64], forced: Forced) -> Vec<u64> {
        let files = files(sizes);
        choose(&files, &settings(), forced)
            .map_or_else(Vec::new, |plan| plan.files.iter().map(|at| sizes[*at]).collect())
    }

    #[test]
    fn minor_selections_keep_the_ratio() {
        assert_eq!(chosen(&[999, 50, 23, 12, 12], Forced::No), [23, 12, 12], "skewed: the large ones stay");
        assert_eq!(
            chosen(&[251, 253, 251, 253, 251], Forced::No),
            [251, 253, 251],
            "most files within the largest size"
        );
        assert_eq!(chosen(&[100, 50, 25, 12, 6], Forced::No), Vec::<u64>::new(), "no run is in ratio");
        assert_eq!(chosen(&[12, 12], Forced::No), Vec::<u64>::new(), "too few");
        assert_eq!(
            chosen(&[7, 6, 5, 4, 3, 2, 1], Forced::No),
            [5, 4, 3, 2, 1],
            "as many as allowed, the cheapest of them"
        );
        assert_eq!(chosen(&[1, 1, 1, 1], Forced::No), [1, 1, 1, 1], "small files always go together");
    }

    #[test]
    fn forced_majors_take_everything() {
        assert_eq!(chosen(&[5000, 50, 23], Forced::UserMajor), [5000, 50, 23]);
        assert_eq!(chosen(&[9, 8, 7, 6, 5, 4, 3], Forced::UserMajor).len(), 7, "a user's request knows no bound");
        let plan = choose(&files(&[9000, 5]), &settings(), Forced::UserMajor).expect("plan");
        assert!(plan.major && plan.all_files);
    }

    #[test]
    fn files_up_to_a_running_compaction_are_left_alone() {
        let mut some = files(&[1, 1, 1, 1, 1, 1]);
        some[1].compacting = true;
        some[2].compacting = true;
        let plan = choose(&some, &settings(), Forced::UserMajor).expect("plan");
        assert_eq!((plan.files, plan.major, plan.all_files), (vec![3, 4, 5], false, false));
    }

    #[test]
    fn a_major_compaction_is_due_after_its_period() {
        let settings = PolicySettings { major_period_ms: 5000, ..settings() };
        assert!(choose(&files(&[100, 1]), &settings, Forced::No).expect("due").major);
        let one = files(&[100]);
        assert_eq!(choose(&one, &settings, Forced::No), None, "one file gets no better");
        let with_ttl = PolicySettings { ttl_ms: Some(7000), ..settings };
        assert!(choose(&one, &with_ttl, Forced::No).expect("cells have expired").major);
    }

    #[test]
    fn references_are_always_rewritten() {
        let mut split = files(&[100, 3000]);
        split[1].is_reference = true;
        let plan = choose(&split, &settings(), Forced::No).expect("plan");
        assert_eq!((plan.files, plan.all_files, plan.major), (vec![0, 1], true, false));
    }

    #[test]
    fn expired_files_may_be_dropped_but_never_the_newest() {
        let settings = PolicySettings { ttl_ms: Some(1000), ..settings() };
        assert_eq!(expired(&files(&[1, 1, 1]), &settings), [0, 1]);
        assert!(expired(&files(&[1, 1]), &PolicySettings { min_versions: 1, ..settings }).is_empty());
    }

    #[test]
    fn a_stuck_store_takes_the_cheapest_run() {
        let stuck = PolicySettings { blocking_files: 4, ..settings() };
        let some = files(&[100, 50, 25, 12]);
        assert_eq!(choose(&some, &stuck, Forced::No).expect("plan").files, [1, 2, 3]);
    }
}
