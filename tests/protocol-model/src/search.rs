//! Breadth-first search through every state that a model can reach.
//!
//! Always true
//! - A search ends by itself: when all states are seen, when a claim is broken, or at its limit of states or memory.
//! - The same model gives the same states in the same order, and a broken claim comes with a shortest trace.
//! - A state is remembered as 64 bits of its hash: two of 20 million fall together with a chance of about 1 in 100,000.
//!
//! Pauses need no step of their own: an actor that takes none of its steps sleeps. Not here: fairness. What must *come*
//! to pass is only shown to be possible ([`Model::reachable`]).

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// A named claim about a state.
pub type Claim<M> = (&'static str, fn(&M, &<M as Model>::State) -> bool);

/// Actors, the objects they share, and what is claimed of them.
pub trait Model: Sized {
    /// Everything that is, of all actors and objects.
    type State: Clone + Hash + Debug;
    /// One step of one actor, or of the network.
    type Action: Copy + Debug;

    /// The state before the first step.
    fn start(&self) -> Self::State;
    /// The steps that may come next, in a fixed order.
    fn actions(&self, state: &Self::State, out: &mut Vec<Self::Action>);
    /// The state after a step; `None`: the step is not possible after all.
    fn step(&self, state: &Self::State, action: Self::Action) -> Option<Self::State>;
    /// What must hold in every state.
    fn always(&self) -> Vec<Claim<Self>>;
    /// What must hold in some state, lest a claim holds for want of behaviour.
    fn reachable(&self) -> Vec<Claim<Self>>;
}

/// Where a search stops.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Distinct states.
    pub states: usize,
    /// Memory of the search, in bytes, roughly.
    pub bytes: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Limit { states: 60_000_000, bytes: 1_800 << 20 }
    }
}

/// What a search found.
#[derive(Debug)]
pub struct Outcome {
    /// Distinct states seen.
    pub states: usize,
    /// Steps taken, also to states seen before.
    pub steps: usize,
    /// Length of the longest shortest path.
    pub depth: usize,
    /// Whether all reachable states were seen (only if no claim was broken).
    pub complete: bool,
    /// The broken claim and the steps to it.
    pub broken: Option<(&'static str, Vec<String>)>,
    /// Claims of [`Model::reachable`] that held nowhere.
    pub unreached: Vec<&'static str>,
}

/// Collects the bytes of a state for the hash.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Hasher for Bytes {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn write_u8(&mut self, byte: u8) {
        self.0.push(byte);
    }
    fn write_isize(&mut self, discriminant: isize) {
        self.0.push(discriminant as u8); // of enums; none here has 256 variants
    }
    fn write_usize(&mut self, length: usize) {
        self.0.push(length as u8); // of arrays and short lists
    }
    fn finish(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64")
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// States in one allocation.
const CHUNK: usize = 1024;

/// Searches all states of a model, nearest first.
pub fn search<M: Model>(model: &M, limit: Limit) -> Outcome {
    let (always, reachable) = (model.always(), model.reachable());
    let mut reached = vec![false; reachable.len()];
    let mut seen: HashSet<u64, BuildHasherDefault<AsIs>> = HashSet::default();
    // How state number i was first reached: from which state, by which of its actions.
    let mut parents: Vec<(u32, u8)> = Vec::new();
    let mut bytes = Bytes::default();
    let mut outcome = Outcome { states: 0, steps: 0, depth: 0, complete: false, broken: None, unreached: Vec::new() };

    // Two levels, in chunks, so that memory of states that are done with is given back.
    let start = model.start();
    let mut next: VecDeque<Vec<M::State>> = VecDeque::from([vec![start.clone()]]);
    let mut waiting = 1;
    let mut number = 0; // of the state that is looked at
    let mut actions = Vec::new();
    start.hash(&mut bytes);
    seen.insert(bytes.finish());
    parents.push((0, 0));
    loop {
        let mut level = std::mem::take(&mut next);
        while let Some(chunk) = level.pop_front() {
            for state in &chunk {
                for (held, claim) in reached.iter_mut().zip(&reachable) {
                    *held = *held || claim.1(model, state);
                }
                if let Some(claim) = always.iter().find(|claim| !claim.1(model, state)) {
                    outcome.broken = Some((claim.0, trace(model, &parents, number)));
                    outcome.states = parents.len();
                    return outcome;
                }
                actions.clear();
                model.actions(state, &mut actions);
                for (choice, action) in actions.iter().enumerate() {
                    let Some(after) = model.step(state, *action) else { continue };
                    outcome.steps += 1;
                    bytes.0.clear();
                    after.hash(&mut bytes);
                    if seen.insert(bytes.finish()) {
                        parents.push((number as u32, u8::try_from(choice).expect("few actions a state")));
                        waiting += 1;
                        match next.back_mut().filter(|chunk| chunk.len() < CHUNK) {
                            Some(chunk) => chunk.push(after),
                            None => next.push_back(Vec::from_iter([after])),
                        }
                    }
                }
                number += 1;
            }
            waiting -= chunk.len();
            let memory = seen.capacity() * 9 + parents.capacity() * 8 + waiting * size_of::<M::State>();
            if parents.len() >= limit.states || memory > limit.bytes {
                level.clear();
                next.clear();
                outcome.states = parents.len();
                outcome.unreached = unreached(&reachable, &reached);
                return outcome;
            }
        }
        if next.is_empty() {
            break;
        }
        outcome.depth += 1;
    }
    outcome.states = parents.len();
    outcome.complete = true;
    outcome.unreached = unreached(&reachable, &reached);
    outcome
}

fn unreached<M: Model>(claims: &[Claim<M>], reached: &[bool]) -> Vec<&'static str> {
    claims.iter().zip(reached).filter(|(_, held)| !**held).map(|(claim, _)| claim.0).collect()
}

fn trace<M: Model>(model: &M, parents: &[(u32, u8)], mut at: usize) -> Vec<String> {
    let mut choices = Vec::new();
    while at != 0 {
        choices.push(parents[at].1);
        at = parents[at].0 as usize;
    }
    let mut state = model.start();
    let mut steps = Vec::new();
    for choice in choices.into_iter().rev() {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        let action = actions[usize::from(choice)];
        state = model.step(&state, action).expect("taken before");
        steps.push(format!("{action:?}"));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters to 9, each by single steps.
    struct Counters(u8);

    impl Model for Counters {
        type State = (u8, u8);
        type Action = bool;
        fn start(&self) -> (u8, u8) {
            (0, 0)
        }
        fn actions(&self, _: &(u8, u8), out: &mut Vec<bool>) {
            out.extend([false, true]);
        }
        fn step(&self, state: &(u8, u8), left: bool) -> Option<(u8, u8)> {
            let after = if left { (state.0 + 1, state.1) } else { (state.0, state.1 + 1) };
            (after.0 < 10 && after.1 < 10).then_some(after)
        }
        fn always(&self) -> Vec<Claim<Self>> {
            vec![("never both there", |model, state| state.0 + state.1 < model.0)]
        }
        fn reachable(&self) -> Vec<Claim<Self>> {
            vec![("left far ahead", |_, state| *state == (9, 0)), ("beyond", |_, state| state.0 > 9)]
        }
    }

    #[test]
    fn every_state_is_seen_once() {
        let outcome = search(&Counters(100), Limit::default());
        assert_eq!((outcome.states, outcome.depth, outcome.complete), (100, 18, true));
        assert_eq!(outcome.unreached, ["beyond"]);
        assert!(outcome.broken.is_none());
    }

    #[test]
    fn a_broken_claim_comes_with_a_shortest_trace() {
        let outcome = search(&Counters(7), Limit::default());
        let (name, steps) = outcome.broken.expect("broken");
        assert_eq!((name, steps.len()), ("never both there", 7));
        assert!(!outcome.complete);
    }

    #[test]
    fn a_search_ends_at_its_limit() {
        let outcome = search(&Counters(100), Limit { states: 20, ..Limit::default() });
        assert!(!outcome.complete && outcome.states < 30 && outcome.broken.is_none());
    }
}
