//! Runs every target over its corpus, and over mutations of it for `FUZZ_SECONDS` (20) each, as many targets at a time as there are cores.
//! `FUZZ_TARGET` names the only one to run, `FUZZ_SEED` the first seed.
//!
//! A failing input is printed and written to a file, which `FUZZ_INPUT=FILE FUZZ_TARGET=NAME` plays again. An overflow of the stack
//! ends the process without that: the same `FUZZ_SEED` finds the input again.

mod seeds;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferrobase_fuzz::{TARGETS, Target, allocation, mutate};

#[global_allocator]
static ALLOCATOR: allocation::Counting = allocation::Counting;

/// No input takes so long.
const INPUT_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest input that is printed.
const PRINTED_BYTES_MAX: usize = 2_000;
/// Longest recorded store file that is tried.
const RECORDED_BYTES_MAX: usize = 25_000;

/// The name of threads that try inputs.
const THREAD: &str = "fuzz";

thread_local! {
    /// The last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What is being tried, and since when.
type Watched = Mutex<Option<(&'static Target, Vec<u8>, Instant)>>;

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number")),
        Err(_) => default,
    }
}

fn files(folder: PathBuf, ending: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .map(|path| std::fs::read(path).expect("a file"))
        .collect()
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut corpus = files(target.corpus(), "");
    let recorded = match target.name {
        "hfile" => Some(("storage/tests/golden", ".hfile")),
        "seqfile" => Some(("bulkload/golden", ".seq")),
        _ => None,
    };
    if let Some((folder, end)) = recorded {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
        corpus.extend(files(folder, end).into_iter().filter(|file| file.len() <= RECORDED_BYTES_MAX));
    }
    corpus
}

/// Tells of a failing input, and answers where it was written.
fn tell(target: &Target, input: &[u8], why: &str) -> String {
    let name = format!("fuzz-{}-{:08x}", target.name, filesystem::crc32c(input));
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let written = std::fs::write(&file, input);
    let shown = &input[..input.len().min(PRINTED_BYTES_MAX)];
    let told = format!(
        "{}: {why}; {} bytes in {} ({written:?}): {}",
        target.name,
        input.len(),
        file.display(),
        hex::encode(shown)
    );
    eprintln!("{told}");
    told
}

/// Keeps what is told of panics on threads that try inputs: some are caught on the way and mean damage, and printing one takes more memory than
/// a target may.
fn keep_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| match std::thread::current().name() {
        Some(THREAD) => PANIC.set(panic.to_string()),
        _ => before(panic),
    }));
}

/// Tries an input. Answers its most memory.
fn play(target: &'static Target, input: &[u8], watched: &Watched) -> Result<usize, String> {
    let watch = |now| *watched.lock().unwrap_or_else(PoisonError::into_inner) = now;
    watch(Some((target, input.to_vec(), Instant::now())));
    let (outcome, peak) = allocation::peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    watch(None);
    let most = target.memory_fixed + target.memory_per_byte * input.len();
    match outcome {
        Err(_) => Err(tell(target, input, &PANIC.take())),
        Ok(()) if peak > most => Err(tell(target, input, &format!("takes {peak} bytes, {most} are allowed"))),
        Ok(()) => Ok(peak),
    }
}

/// The corpus, then mutations. Answers a sentence, or what is wrong.
fn run(target: &'static Target, seconds: u64, first_seed: u64, watched: &Watched) -> Result<String, String> {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{}: no corpus", target.name);
    let (mut peak, mut slowest) = (0, Duration::ZERO);
    for input in &corpus {
        peak = peak.max(play(target, input, watched)?);
    }
    let (begun, mut seed) = (Instant::now(), first_seed);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let at = Instant::now();
        peak = peak.max(play(target, &mutate::input(&corpus, target.words, seed), watched)?);
        slowest = slowest.max(at.elapsed());
        seed += 1;
    }
    let (name, inputs, tried) = (target.name, corpus.len(), seed - first_seed);
    Ok(format!(
        "{name}: {inputs} inputs, {tried} mutations from seed {first_seed}; at most {peak} bytes and {slowest:?} for one"
    ))
}

/// Ends the process when an input takes too long.
fn watch(slots: &[Watched], left: &AtomicUsize) {
    while left.load(Ordering::SeqCst) > 0 {
        std::thread::sleep(Duration::from_millis(100));
        for slot in slots {
            let slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((target, input, since)) = &*slot
                && since.elapsed() > INPUT_TIME_MAX
            {
                tell(target, input, &format!("hangs: more than {INPUT_TIME_MAX:?}"));
                std::process::abort();
            }
        }
    }
}

#[test]
fn parsers_hold_what_they_promise_over_corpus_and_mutations() {
    let (seconds, seed, only) =
        (setting("FUZZ_SECONDS", 20), setting("FUZZ_SEED", 1), std::env::var("FUZZ_TARGET").ok());
    let targets: Vec<&'static Target> =
        TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)).collect();
    assert!(
        !targets.is_empty(),
        "FUZZ_TARGET names none of {:?}",
        TARGETS.iter().map(|target| target.name).collect::<Vec<_>>()
    );
    keep_panics();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(targets.len());
    let slots: Vec<Watched> = (0..workers).map(|_| Mutex::default()).collect();
    if let Ok(file) = std::env::var("FUZZ_INPUT") {
        let input = std::fs::read(&file).expect("FUZZ_INPUT is a file");
        let peak = play(targets[0], &input, &slots[0]).expect("it holds");
        return eprintln!("{}: {peak} bytes", targets[0].name);
    }
    let (next, left, wrong) = (AtomicUsize::new(0), AtomicUsize::new(workers), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| watch(&slots, &left));
        for slot in &slots {
            let work = || {
                while let Some(target) = targets.get(next.fetch_add(1, Ordering::SeqCst)) {
                    match catch_unwind(AssertUnwindSafe(|| run(target, seconds, seed, slot))) {
                        Ok(Ok(told)) => eprintln!("{told}"),
                        Ok(Err(why)) => wrong.lock().unwrap_or_else(PoisonError::into_inner).push(why),
                        Err(_) => wrong.lock().unwrap_or_else(PoisonError::into_inner).push(target.name.to_owned()),
                    }
                }
                left.fetch_sub(1, Ordering::SeqCst);
            };
            // The stack of a server's threads.
            std::thread::Builder::new()
                .name(THREAD.to_owned())
                .stack_size(2 << 20)
                .spawn_scoped(scope, work)
                .expect("a thread");
        }
    });
    let wrong = wrong.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{} targets failed:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_target_has_a_corpus_and_a_program_for_libfuzzer() {
    for target in TARGETS {
        assert!(target.corpus().is_dir(), "{}: no folder in corpus", target.name);
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("libfuzzer/src/bin/{}.rs", target.name));
        let text = std::fs::read_to_string(&program).unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        assert!(
            text.contains(&format!("ferrobase_fuzz::{}(", target.name)),
            "{} runs something else",
            program.display()
        );
    }
}

#[test]
fn mutations_are_repeatable_and_differ() {
    let corpus = [b"one".to_vec(), b"another".to_vec()];
    let made: Vec<Vec<u8>> = (0..1000).map(|seed| mutate::input(&corpus, &[b"word"], seed)).collect();
    assert!((0..1000).all(|seed| mutate::input(&corpus, &[b"word"], seed) == made[seed as usize]));
    let distinct: std::collections::BTreeSet<&Vec<u8>> = made.iter().collect();
    assert!(distinct.len() > 900, "{} of 1000 differ", distinct.len());
    assert!(made.iter().any(|input| input.windows(4).any(|part| part == b"word")));
}
