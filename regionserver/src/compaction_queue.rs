//! Compactions that wait and run.
//!
//! Always true
//! - A family of a region waits at most once for each kind, so the queue is bounded by what is open.
//! - A family is in one running compaction of each kind at a time; one lane is never taken by compactions that were asked
//!   for as a whole, which may be long.

use bytes::Bytes;
use storage::compaction::Forced;

/// A wanted compaction of one family; `T` names its region.
#[derive(Clone, Debug)]
pub(crate) struct Request<T> {
    pub region: T,
    pub family: Bytes,
    pub forced: Forced,
    /// Smaller is more urgent: files that may be added before flushes wait; 1 for users.
    pub room: i64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    waiting: Vec<Request<T>>,
    running: Vec<Request<T>>,
    lanes: usize,
}

impl<T: Clone + PartialEq> Queue<T> {
    pub fn new(lanes: usize) -> Queue<T> {
        Queue { waiting: Vec::new(), running: Vec::new(), lanes: lanes.max(1) }
    }

    /// Adds a request, or makes the one that waits more urgent.
    pub fn push(&mut self, request: Request<T>) {
        match self.waiting.iter_mut().find(|waiting| same(waiting, &request)) {
            Some(waiting) => waiting.room = waiting.room.min(request.room),
            None => self.waiting.push(request),
        }
    }

    /// The next to run, if there is a lane for it.
    pub fn start(&mut self) -> Option<Request<T>> {
        if self.running.len() >= self.lanes {
            return None;
        }
        let forced = self.running.iter().filter(|running| running.forced != Forced::No).count();
        let room_for_forced = forced + 1 < self.lanes || (self.lanes == 1 && forced == 0);
        let may = |request: &Request<T>| {
            (request.forced == Forced::No || room_for_forced)
                && !self.running.iter().any(|running| same(running, request))
        };
        let (at, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, request)| may(request))
            .min_by_key(|(_, request)| request.room)?;
        let request = self.waiting.remove(at);
        self.running.push(request.clone());
        Some(request)
    }

    /// A running one has ended.
    pub fn end(&mut self, request: &Request<T>) {
        if let Some(at) = self.running.iter().position(|running| same(running, request)) {
            self.running.remove(at);
        }
    }

    /// Drops what waits and is not wanted any more.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.waiting.retain(|request| keep(&request.region));
    }

    /// Numbers waiting and running.
    pub fn len(&self) -> (usize, usize) {
        (self.waiting.len(), self.running.len())
    }

    /// Whether a region has minor and major ones, waiting or running.
    pub fn of(&self, region: &T) -> (bool, bool) {
        let has = |major: bool| {
            let mut all = self.waiting.iter().chain(&self.running);
            all.any(|request| request.region == *region && (request.forced != Forced::No) == major)
        };
        (has(false), has(true))
    }
}

fn same<T: PartialEq>(a: &Request<T>, b: &Request<T>) -> bool {
    a.region == b.region && a.family == b.family && a.forced == b.forced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(region: u32, forced: Forced, room: i64) -> Request<u32> {
        Request { region, family: "f".into(), forced, room }
    }

    #[test]
    fn the_most_urgent_goes_first_and_each_waits_once() {
        let mut queue = Queue::new(2);
        for (region, room) in [(1, 9), (2, 3), (1, 1), (3, 5)] {
            queue.push(request(region, Forced::No, room));
        }
        assert_eq!(queue.len(), (3, 0));
        let first = queue.start().expect("a lane");
        assert_eq!(first.region, 1);
        queue.push(request(1, Forced::No, 0));
        assert_eq!(queue.start().expect("a lane").region, 2, "1 runs already");
        assert!(queue.start().is_none(), "no lane is free");
        queue.end(&first);
        assert_eq!(queue.start().expect("a lane").region, 1);
        queue.retain(|region| *region != 3);
        assert_eq!(queue.len(), (0, 2));
    }

    #[test]
    fn whole_compactions_leave_a_lane_to_the_others() {
        let mut queue = Queue::new(2);
        queue.push(request(1, Forced::UserMajor, 1));
        queue.push(request(2, Forced::UserMajor, 1));
        let first = queue.start().expect("a lane");
        assert!(queue.start().is_none());
        assert_eq!((queue.of(&1), queue.of(&2), queue.of(&3)), ((false, true), (false, true), (false, false)));
        queue.push(request(2, Forced::No, 9));
        assert_eq!(queue.start().expect("a lane").forced, Forced::No);
        assert_eq!(queue.of(&2), (true, true));
        queue.end(&first);
        assert_eq!(queue.start().expect("a lane").region, 2);
        let mut one = Queue::new(1);
        one.push(request(1, Forced::UserMajor, 1));
        assert!(one.start().is_some(), "a single lane is for all");
    }
}
