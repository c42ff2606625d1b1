//! What is fetched and not read yet: reads under way, and what scans will want next.
//!
//! Always true
//! - Bytes fetched and not yet given up are at most [`Limit`]'s; the oldest go first.
//! - A fetch serves everybody who wants its cells, and lives on when those who wait for it do not.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::Shared;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::cells::DATA;
use crate::error::Error;

/// A gap that a scan steps over: index blocks and bloom chunks stand between blocks of data.
const SKIPPED: u64 = 256 << 10;
/// First and longest stretch that is fetched ahead, in cells.
const FIRST: u64 = 16;
const LONGEST: u64 = 256;
/// Scans of one store file that are told apart.
const STREAMS: usize = 8;

/// What a fetch brought. Nobody sends: its task was dropped.
pub(super) type Landed = Result<Bytes, Arc<Error>>;
pub(super) type Landing = Shared<oneshot::Receiver<Landed>>;

/// A fetch.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    id: u64,
    pub(super) cells: Range<u64>,
    pub(super) landing: Landing,
}

/// The fetches of one reader.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Vec<Flight>>);

impl Flights {
    /// The fetch that brings a cell.
    pub(super) fn with(&self, cell: u64) -> Option<Flight> {
        self.0.lock().iter().find(|flight| flight.cells.contains(&cell)).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn remove(&self, id: u64) {
        self.0.lock().retain(|flight| flight.id != id);
    }
}

#[derive(Debug, Default)]
struct Order {
    next: u64,
    bytes: usize,
    flights: VecDeque<(u64, usize, Weak<Flights>)>,
}

/// The bound over all readers.
#[derive(Debug)]
pub(super) struct Limit {
    bytes: usize,
    order: Mutex<Order>,
}

impl Limit {
    pub(super) fn new(bytes: usize) -> Limit {
        Limit { bytes, order: Mutex::default() }
    }

    /// Longest stretch to fetch ahead: a scan has two of them, and eight scans shall find room.
    fn longest(&self) -> u64 {
        (self.bytes / DATA / 16).clamp(1, LONGEST as usize) as u64
    }

    /// A fetch begins; the oldest that are not needed any more make room.
    pub(super) fn begin(&self, flights: &Arc<Flights>, cells: Range<u64>) -> (u64, oneshot::Sender<Landed>, Landing) {
        use futures::FutureExt;
        let (sender, receiver) = oneshot::channel();
        let landing = receiver.shared();
        let bytes = (cells.end - cells.start) as usize * DATA;
        let (id, dropped) = {
            let mut order = self.order.lock();
            let mut dropped = Vec::new();
            while order.bytes + bytes > self.bytes
                && let Some((id, bytes, flights)) = order.flights.pop_front()
            {
                order.bytes -= bytes;
                dropped.push((id, flights));
            }
            order.next += 1;
            order.bytes += bytes;
            let id = order.next;
            order.flights.push_back((id, bytes, Arc::downgrade(flights)));
            flights.0.lock().push(Flight { id, cells, landing: landing.clone() });
            (id, dropped)
        };
        for (id, flights) in dropped {
            let _ = flights.upgrade().map(|flights| flights.remove(id));
        }
        (id, sender, landing)
    }

    /// A fetch is over, and what it brought not needed here any more.
    pub(super) fn end(&self, flights: &Flights, id: u64) {
        flights.remove(id);
        let mut order = self.order.lock();
        if let Some(at) = order.flights.iter().position(|flight| flight.0 == id) {
            let (_, bytes, _) = order.flights.remove(at).expect("just found");
            order.bytes -= bytes;
        }
    }

    /// A reader goes.
    pub(super) fn end_all(&self, flights: &Flights) {
        let ids: Vec<u64> = flights.0.lock().iter().map(|flight| flight.id).collect();
        ids.into_iter().for_each(|id| self.end(flights, id));
    }
}

/// One scan.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Where its last read ended.
    end: u64,
    /// Reads one behind the other.
    reads: u32,
    /// Cells before this one were asked for.
    asked: u64,
    age: u64,
}

/// The scans that read one store file.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<([Stream; STREAMS], u64)>);

impl Streams {
    /// Takes note of a read. Whether it goes on where an earlier one ended, and the cells that are worth fetching then.
    pub(super) fn follow(&self, limit: &Limit, offset: u64, len: usize, cells: u64) -> (bool, Option<Range<u64>>) {
        let end = offset + len as u64;
        let mut streams = self.0.lock();
        streams.1 += 1;
        let (age, streams) = (streams.1, &mut streams.0);
        let goes_on = |stream: &&mut Stream| stream.age > 0 && (stream.end..=stream.end + SKIPPED).contains(&offset);
        let Some(stream) = streams.iter_mut().find(goes_on) else {
            if let Some(same) = streams.iter_mut().find(|stream| stream.age > 0 && stream.end == end) {
                same.age = age;
                return (false, None);
            }
            let oldest = streams.iter_mut().min_by_key(|stream| stream.age).expect("there are some");
            *oldest = Stream { end, reads: 0, asked: 0, age };
            return (false, None);
        };
        stream.reads = stream.reads.saturating_add(1);
        (stream.end, stream.age) = (end, age);
        let stretch = (FIRST << (stream.reads - 1).min(16)).min(limit.longest());
        let here = end.div_ceil(DATA as u64);
        stream.asked = stream.asked.max(here);
        if stream.asked >= here + stretch || stream.asked >= cells {
            return (true, None);
        }
        let range = stream.asked..(stream.asked + stretch).min(cells);
        stream.asked = range.end;
        (true, Some(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_known_by_its_second_read_and_fetches_ever_longer_stretches() {
        let (streams, limit) = (Streams::default(), Limit::new(64 << 20));
        let mut stretches = Vec::new();
        for block in 0..400u64 {
            let (goes_on, stretch) = streams.follow(&limit, block * 65_600, 65_536, 10_000);
            assert_eq!(goes_on, block > 0);
            stretches.extend(stretch);
        }
        assert!(stretches.windows(2).all(|pair| pair[0].end == pair[1].start), "each cell once: {stretches:?}");
        let lens: Vec<u64> = stretches.iter().map(|stretch| stretch.end - stretch.start).collect();
        assert_eq!((lens[0], *lens.iter().max().expect("some")), (FIRST, LONGEST));
        let (_, at_end) = streams.follow(&limit, 400 * 65_600, 65_536, 1602);
        assert_eq!(at_end, None, "nothing is behind the end");
    }

    #[test]
    fn reads_here_and_there_are_no_scan() {
        let (streams, limit) = (Streams::default(), Limit::new(64 << 20));
        for read in 0..200u64 {
            let offset = read.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 40);
            assert_eq!(streams.follow(&limit, offset, 65_536, u64::MAX), (false, None), "{read}");
        }
        assert_eq!(streams.follow(&limit, 5 << 41, 65_536, u64::MAX), (false, None));
        assert_eq!(streams.follow(&limit, 5 << 41, 65_536, u64::MAX), (false, None), "the same again");
    }

    #[test]
    fn the_oldest_fetches_make_room() {
        let (limit, flights) = (Limit::new(4 * DATA), Arc::new(Flights::default()));
        let begun: Vec<u64> = (0..6).map(|cell| limit.begin(&flights, cell..cell + 1).0).collect();
        let held: Vec<bool> = (0..6).map(|cell| flights.with(cell).is_some()).collect();
        assert_eq!(held, [false, false, true, true, true, true]);
        begun.into_iter().for_each(|id| limit.end(&flights, id));
        assert_eq!((limit.order.lock().bytes, flights.is_empty()), (0, true));
    }
}
