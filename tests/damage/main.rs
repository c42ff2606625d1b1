//! Files at rest go bad: bits flip, sectors are lost, swapped or stale, files are cut or grow a tail. Whatever happens to a store file, a
//! log segment or a register, a reader answers right or says which file is damaged, and where; it never panics, answers wrong, hangs
//! or allocates without bound. Of the log, groups that nothing intact behind them calls acknowledged may be dropped as torn.
//!
//! Short form: a fixed seed. Long form: `tests/run long damage [N] [SEED]`. A failure prints the seed that plays its case alone, with
//! `DAMAGE_CASES=1`.

mod allocation;
mod hurt;
mod regions;
mod store_files;

use ferrobase_tests::setting;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// More than any case may allocate beside what was there before, in bytes.
const CASE_BYTES_MAX: usize = 24 << 20;
/// No case takes so long.
const CASE_TIME_MAX: Duration = Duration::from_secs(60);

static SERIAL: Mutex<()> = Mutex::new(());
static HOOK: Once = Once::new();
static PANICS: AtomicU64 = AtomicU64::new(0);

/// One test at a time: allocations and panics are counted for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            hook(info);
        }));
    });
    SERIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays `share` percent of the cases that were asked for, each with its own seed. A case answers `Err` for what must not be, else
/// whether the damage was noticed.
fn play(what: &'static str, share: u64, case: impl Fn(u64) -> Result<bool, String>) {
    let (cases, seed) = (setting("DAMAGE_CASES", 10_000), setting("DAMAGE_SEED", 1));
    let cases = (cases * share / 100).max(1);
    let (current, ended) = (AtomicU64::new(seed), (Mutex::new(false), Condvar::new()));
    let mut noticed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut done = ended.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut last = seed;
            while !*done {
                let waited = ended.1.wait_timeout(done, CASE_TIME_MAX).unwrap_or_else(PoisonError::into_inner);
                done = waited.0;
                let now = current.load(Ordering::SeqCst);
                if waited.1.timed_out() && now == last && !*done {
                    eprintln!("{what}: DAMAGE_SEED={now} hangs");
                    std::process::abort();
                }
                last = now;
            }
        });
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            for seed in seed..seed + cases {
                current.store(seed, Ordering::SeqCst);
                let panics = PANICS.load(Ordering::SeqCst);
                let (outcome, peak) = allocation::peak_of(|| catch_unwind(AssertUnwindSafe(|| case(seed))));
                assert_eq!(PANICS.load(Ordering::SeqCst), panics, "{what}: DAMAGE_SEED={seed} panics");
                match outcome.expect("counted above") {
                    Ok(seen) => noticed += u64::from(seen),
                    Err(why) => panic!("{what}: DAMAGE_SEED={seed}: {why}"),
                }
                assert!(peak <= CASE_BYTES_MAX, "{what}: DAMAGE_SEED={seed} allocates {peak} bytes");
            }
        }));
        *ended.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        ended.1.notify_all();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    eprintln!("{what}: {cases} cases from seed {seed}, damage noticed in {noticed}");
    assert!(cases < 100 || noticed > cases / 10, "{what}: hardly any damage was noticed: the cases do not hit");
}

#[test]
fn a_damaged_store_file_is_named_or_read_right() {
    let _alone = alone();
    let mut samples = store_files::samples();
    samples.retain(store_files::Sample::has_checksums);
    play("store files", 100, |seed| store_files::damaged(&samples, seed));
}

#[test]
fn a_lying_store_file_neither_panics_nor_eats_memory() {
    let _alone = alone();
    let samples = store_files::samples();
    play("lying store files", 100, |seed| store_files::lying(&samples, seed));
}

#[test]
fn a_region_over_damaged_files_names_them_or_answers_right() {
    let _alone = alone();
    let sample = regions::sample();
    play("regions", 10, |seed| regions::damaged(&sample, seed));
}
