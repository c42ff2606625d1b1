//! The models are searched: without a mistake every claim holds in every state, and with each planted mistake some claim breaks.
//!
//! The small sizes run always; `tests/run long model` runs the large ones (`large::`, ignored otherwise).

use std::fmt::Debug;
use std::time::Instant;

use ferrobase_protocol_model::search::{Limit, Model, Outcome, search};
use ferrobase_protocol_model::{appended, lease, load, log, merge, pins, register, split};

fn report<M: Model + Debug>(name: &str, model: &M, limit: Limit) -> Outcome {
    let began = Instant::now();
    let outcome = search(model, limit);
    let Outcome { states, steps, depth, complete, ref broken, ref unreached } = outcome;
    let end = match broken {
        Some((claim, trace)) => format!("broken after {} steps: {claim}", trace.len()),
        None if complete => "complete".to_owned(),
        None => "stopped at the limit".to_owned(),
    };
    println!("{name}: {states} states, {steps} steps, depth {depth}, {:.1} s, {end}", began.elapsed().as_secs_f32());
    if std::env::var_os("TRACE").is_some() {
        broken.iter().flat_map(|(_, trace)| trace).for_each(|step| println!("    {step}"));
    }
    assert!(broken.is_some() || !complete || unreached.is_empty(), "{name}: never reached: {unreached:?}");
    outcome
}

/// All claims hold in all states.
fn holds<M: Model + Debug>(name: &str, model: M) {
    let outcome = report(name, &model, Limit::default());
    if let Some((claim, trace)) = outcome.broken {
        panic!("{name}: `{claim}` is broken by\n  {}", trace.join("\n  "));
    }
    assert!(outcome.complete, "{name}: stopped at the limit. model=`{model:?}`");
}

/// No claim breaks in as many states as fit; for sizes too large to finish.
fn holds_so_far<M: Model + Debug>(name: &str, model: M, states: usize) {
    let outcome = report(name, &model, Limit { states, ..Limit::default() });
    assert!(outcome.broken.is_none(), "{name}: {:?}", outcome.broken);
}

/// A planted mistake breaks the claim whose name begins so.
fn finds<M: Model + Debug>(name: &str, model: M, claim: &str) {
    let outcome = report(name, &model, Limit::default());
    let (broken, _) = outcome.broken.unwrap_or_else(|| panic!("{name}: not found"));
    assert!(broken.starts_with(claim), "{name}: found by `{broken}`, not `{claim}`");
}

#[path = "models/log.rs"]
mod log_tests;
#[path = "models/others.rs"]
mod others;

/// No planted mistake is left without a test.
#[test]
fn every_mistake_has_its_finder() {
    let tests = [include_str!("models/log.rs"), include_str!("models/others.rs")].concat();
    let sources = [
        ("log", include_str!("../src/log/mod.rs"), 30),
        ("appended", include_str!("../src/appended.rs"), 5),
        ("register", include_str!("../src/register.rs"), 5),
        ("lease", include_str!("../src/lease.rs"), 5),
        ("split", include_str!("../src/split.rs"), 5),
        ("merge", include_str!("../src/merge.rs"), 5),
        ("pins", include_str!("../src/pins.rs"), 5),
        ("load", include_str!("../src/load.rs"), 5),
    ];
    for (name, source, at_least) in sources {
        let (_, rest) = source.split_once("pub enum Mistake {").expect("an enum of mistakes");
        let (variants, _) = rest.split_once('}').expect("its end");
        let mistakes: Vec<&str> = variants
            .lines()
            .filter_map(|line| line.trim().strip_suffix(',').filter(|word| word.chars().all(char::is_alphanumeric)))
            .collect();
        assert!(mistakes.len() >= at_least, "{name}: {mistakes:?}");
        for mistake in mistakes {
            assert!(tests.contains(mistake), "{name}: nothing finds {mistake}");
        }
    }
}
