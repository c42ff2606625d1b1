//! Fault points: named places where a test makes something go wrong.
//!
//! Always true: a registry belongs to one instance, so tests run side by side; an empty registry costs one atomic load.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// What happens at a fault point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// The step fails and was not done.
    FailBefore,
    /// The step is done, then fails.
    FailAfter,
    /// The step never answers.
    Hang,
}

#[derive(Debug, Default)]
struct Registry {
    armed: AtomicBool,
    points: Mutex<HashMap<&'static str, (Action, u64)>>,
}

/// A registry of fault points; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Failpoints(Arc<Registry>);

impl Failpoints {
    /// Arms a point for this many hits.
    pub fn arm(&self, name: &'static str, action: Action, hits: u64) {
        self.0.points.lock().insert(name, (action, hits));
        self.0.armed.store(true, Ordering::Release);
    }

    /// Disarms a point.
    pub fn disarm(&self, name: &'static str) {
        self.0.points.lock().remove(name);
    }

    /// What to do here, now.
    pub fn hit(&self, name: &'static str) -> Action {
        if !self.0.armed.load(Ordering::Acquire) {
            return Action::None;
        }
        match self.0.points.lock().get_mut(name) {
            Some((action, hits)) if *hits > 0 => {
                *hits -= 1;
                *action
            }
            _ => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_acts_as_often_as_armed() {
        let points = Failpoints::default();
        assert_eq!(points.hit("sync"), Action::None);
        points.arm("sync", Action::FailBefore, 2);
        assert_eq!(
            [points.hit("sync"), points.hit("sync"), points.hit("sync")],
            [Action::FailBefore, Action::FailBefore, Action::None]
        );
    }
}
