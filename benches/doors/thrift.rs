//! Calls of a Thrift service: `ferrobase thrift` before `ferrobase standalone`, and HBase's Thrift server before HBase, each of the four a
//! process of its own.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use ferrobase_benches::Numbers;
use ferrobase_benches::measure::{percentile, processor_time, spread};
use ferrobase_hadoop_fixture::{HBase, ThriftApi};

use crate::wire::{FAMILY, Peer, Row, Service};
use crate::{HEAP_MB, create_in_ferrobase, create_in_hbase, key};

/// Rows of the tables that are read.
const ROWS: u64 = 20_000;
/// Rows that are written, again and again.
const WRITTEN_ROWS: usize = 100_000;
/// Bytes of a value.
const VALUE_LEN: usize = 100;
/// Columns of the wider rows.
const COLUMNS: usize = 10;
/// Rows of a call that has several.
const BATCH: usize = 100;
/// Calls for rows before a scanner is closed and another one opened, which counts into time and processor time of these calls.
const CALLS_OF_A_SCANNER: usize = 20;
/// Connections at a time.
const CONNECTIONS: [usize; 2] = [1, 32];

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    GetOne,
    GetTen,
    Put,
    PutAll,
    Scan,
}

const KINDS: [Kind; 5] = [Kind::GetOne, Kind::GetTen, Kind::Put, Kind::PutAll, Kind::Scan];

impl Kind {
    fn name(self, service: Service) -> String {
        let (get, put, put_all, scan) = match service {
            Service::One => ("getRow", "mutateRow", "mutateRows", "scannerGetList"),
            Service::Two => ("get", "put", "putMultiple", "getScannerRows"),
        };
        match self {
            Kind::GetOne => format!("{get}, 1 cell"),
            Kind::GetTen => format!("{get}, {COLUMNS} cells"),
            Kind::Put => format!("{put}, 1 cell"),
            Kind::PutAll => format!("{put_all}, {BATCH} rows of 1 cell"),
            Kind::Scan => format!("{scan}, {BATCH} rows of {COLUMNS} cells"),
        }
    }

    fn table(self, side: &Side) -> &'static str {
        match self {
            Kind::GetOne => "one",
            Kind::GetTen | Kind::Scan => "ten",
            Kind::Put | Kind::PutAll => side.written,
        }
    }

    /// Rows and cells of an answer.
    fn answer(self) -> (usize, usize) {
        match self {
            Kind::GetOne => (1, 1),
            Kind::GetTen => (1, COLUMNS),
            Kind::Put | Kind::PutAll => (0, 0),
            Kind::Scan => (BATCH, BATCH * COLUMNS),
        }
    }
}

/// One of those that are compared.
struct Side {
    name: &'static str,
    service: Service,
    port: u16,
    /// The process that speaks Thrift.
    gateway: u32,
    /// The process that stores, if it is another one.
    store: Option<u32>,
    /// The table that is written.
    written: &'static str,
}

/// What a slice gave.
#[derive(Default)]
struct Slice {
    times: Vec<Duration>,
    seconds: f64,
    gateway: f64,
    store: f64,
}

impl Slice {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.seconds
    }

    /// Microseconds of processor time a call.
    fn per_call(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.times.len() as f64
    }
}

fn value(numbers: &mut Numbers) -> Vec<u8> {
    (0..VALUE_LEN).map(|_| b'a' + numbers.below(26) as u8).collect()
}

fn row(number: u64, columns: usize) -> Row {
    let mut numbers = Numbers(number);
    (key(number), (0..columns).map(|column| (format!("field{column}"), value(&mut numbers))).collect())
}

/// Calls until `until`; the time of each. `whole`: every answer is read and counted.
fn calls(side: &Side, peer: &mut Peer, kind: Kind, seed: u64, until: Instant, whole: bool) -> Vec<Duration> {
    let (mut numbers, mut times, mut scanner) = (Numbers(seed), Vec::new(), None);
    let batch = if kind == Kind::PutAll { BATCH } else { 1 };
    let mut rows: Vec<Row> = (0..batch as u64).map(|number| row(seed ^ number, 1)).collect();
    while Instant::now() < until {
        let number = |numbers: &mut Numbers| numbers.below(ROWS as usize) as u64;
        if matches!(kind, Kind::Put | Kind::PutAll) {
            rows.iter_mut().for_each(|row| row.0 = key(numbers.below(WRITTEN_ROWS) as u64));
        }
        if kind == Kind::Scan && times.len() % CALLS_OF_A_SCANNER == 0 {
            if let Some(scanner) = scanner.take() {
                peer.close_scanner(scanner);
            }
            // A fourth of the rows lies behind it at least, more than a scanner is asked for.
            let from = format!("{:02x}", numbers.below(0xc0));
            scanner = Some(peer.open_scanner(kind.table(side), &from));
        }
        let wanted = key(number(&mut numbers));
        let begun = Instant::now();
        match (kind, scanner) {
            (Kind::GetOne | Kind::GetTen, _) => peer.get(kind.table(side), &wanted),
            (Kind::Put, _) => peer.put(kind.table(side), &rows[0]),
            (Kind::PutAll, _) => peer.put_all(kind.table(side), &rows),
            (Kind::Scan, scanner) => peer.scan(scanner.expect("opened above"), BATCH as i32),
        }
        times.push(begun.elapsed());
        if whole {
            let (mut cells, prefix) = (0, format!("{FAMILY}:field"));
            let found = peer.walk(|_, column, value| {
                cells += usize::from(column.starts_with(prefix.as_bytes()) && value.len() == VALUE_LEN);
            });
            assert_eq!((found, cells), kind.answer(), "{kind:?}");
        }
    }
    if let Some(scanner) = scanner {
        peer.close_scanner(scanner);
    }
    times
}

impl Side {
    fn fill(&self) {
        let mut peer = Peer::connect(self.service, self.port);
        for (table, columns) in [("one", 1), ("ten", COLUMNS)] {
            for from in (0..ROWS).step_by(BATCH) {
                let rows: Vec<Row> = (from..from + BATCH as u64).map(|number| row(number, columns)).collect();
                peer.put_all(table, &rows);
            }
        }
        // What is read is what was written.
        let (wanted, mut found) = (row(7, COLUMNS), Vec::new());
        peer.get("ten", &wanted.0);
        peer.walk(|_, column, value| found.push((String::from_utf8_lossy(column).into_owned(), value.to_vec())));
        found.sort();
        let wanted: Vec<_> = wanted.1.into_iter().map(|(name, value)| (format!("{FAMILY}:{name}"), value)).collect();
        assert!(found == wanted, "{}: a row is not what was written", self.name);
    }

    fn slice(&self, kind: Kind, connections: usize, seed: u64, length: Duration, whole: bool) -> Slice {
        let barrier = Barrier::new(connections + 1);
        let mut slice = Slice::default();
        std::thread::scope(|scope| {
            let work = |number: usize| {
                let barrier = &barrier;
                move || {
                    let mut peer = Peer::connect(self.service, self.port);
                    barrier.wait();
                    calls(self, &mut peer, kind, seed * 1000 + number as u64, Instant::now() + length, whole)
                }
            };
            let threads: Vec<_> = (0..connections).map(|number| scope.spawn(work(number))).collect();
            let spent = || (processor_time(self.gateway), self.store.map_or(0.0, processor_time));
            let (gateway, store) = spent();
            barrier.wait();
            let begun = Instant::now();
            for thread in threads {
                slice.times.extend(thread.join().expect("a driver does not panic"));
            }
            slice.seconds = begun.elapsed().as_secs_f64();
            let after = spent();
            (slice.gateway, slice.store) = (after.0 - gateway, after.1 - store);
        });
        slice
    }
}

/// Those that are compared: HBase, a gateway of its own before the store, and the gateway inside the store's process.
const HBASE: usize = 0;
const APART: usize = 1;
const INSIDE: usize = 2;
const SIDES: usize = 3;

/// Rounds of one kind of call with so many connections.
#[derive(Default)]
struct Rounds {
    sides: [Vec<Slice>; SIDES],
}

impl Rounds {
    fn spread(&self, side: usize, digits: usize, of: impl Fn(&Slice) -> f64) -> String {
        spread(&self.sides[side].iter().map(of).collect::<Vec<_>>(), digits)
    }

    /// Of a side's to HBase's, in each round.
    fn ratio(&self, side: usize, of: impl Fn(&Slice) -> f64) -> String {
        let ratios = self.sides[side].iter().zip(&self.sides[HBASE]).map(|(own, other)| of(own) / of(other));
        spread(&ratios.collect::<Vec<_>>(), 2)
    }

    fn percentiles(&mut self, side: usize) -> String {
        let mut times: Vec<Duration> = self.sides[side].iter().flat_map(|slice| slice.times.iter().copied()).collect();
        format!("{:.2} / {:.2}", percentile(&mut times, 0.5), percentile(&mut times, 0.99))
    }
}

/// Every call in turns; two tables are printed.
pub fn run(folder: &Path, service: Service, seconds: u64, rounds: u64, warm_seconds: u64) {
    let (store, gateway) = crate::start_ferrobase(folder);
    let hbase = HBase::start_for_figures(&folder.join("hbase"), HEAP_MB);
    create_in_ferrobase(store.port("port"), "inside");
    for table in ["one", "ten", "written"] {
        create_in_ferrobase(store.port("port"), table);
        create_in_hbase(&hbase, folder, table);
    }
    let (api, port) = match service {
        Service::One => (ThriftApi::One, "thrift_port"),
        Service::Two => (ThriftApi::Two, "thrift2_port"),
    };
    let other = hbase.thrift(api, &["-f"]);
    let side = |name, port, gateway, store, written| Side { name, service, port, gateway, store, written };
    let sides: [Side; SIDES] = [
        side("HBase", other.port, other.pid(), Some(hbase.pid()), "written"),
        side("a gateway", gateway.port(port), gateway.pid(), Some(store.pid()), "written"),
        side("the server", store.port(port), store.pid(), None, "inside"),
    ];
    // The third reads the second's tables.
    sides[..INSIDE].iter().for_each(Side::fill);
    let most = CONNECTIONS.into_iter().max().expect("some");
    for (at, kind) in KINDS.into_iter().enumerate() {
        for side in &sides {
            let warm = Duration::from_secs(warm_seconds);
            let slice = side.slice(kind, most, 1 + at as u64, warm, true);
            let (name, rate) = (kind.name(service), slice.rate());
            eprintln!("{} is warm: {name}, {rate:.0} a second over {:.0} s", side.name, slice.seconds);
        }
    }
    let mut all: Vec<(Kind, usize, Rounds)> = KINDS
        .into_iter()
        .flat_map(|kind| CONNECTIONS.map(|connections| (kind, connections, Rounds::default())))
        .collect();
    for round in 0..rounds {
        for (kind, connections, measured) in &mut all {
            // Who begins changes, so that what a slice leaves behind meets all.
            for turn in 0..SIDES {
                let turn = if round % 2 == 0 { turn } else { SIDES - 1 - turn };
                let (side, length) = ((round as usize + turn) % SIDES, Duration::from_secs(seconds));
                let seed = 100 + round * SIDES as u64 + side as u64;
                let slice = sides[side].slice(*kind, *connections, seed, length, false);
                assert!(!slice.times.is_empty(), "{kind:?}: no call ended within a slice");
                measured.sides[side].push(slice);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "| call | connections | HBase, calls/s | p50 / p99 ms | a gateway, calls/s | times HBase's | p50 / p99 ms | inside the server, calls/s \
         | times HBase's | p50 / p99 ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (kind, connections, measured) in &mut all {
        print!("| {} | {connections} | {} | ", kind.name(service), measured.spread(HBASE, 0, Slice::rate));
        print!("{} |", measured.percentiles(HBASE));
        for side in [APART, INSIDE] {
            let (rate, ratio) = (measured.spread(side, 0, Slice::rate), measured.ratio(side, Slice::rate));
            print!(" {rate} | {ratio} | {} |", measured.percentiles(side));
        }
        println!();
    }
    println!(
        "\n| µs of processor time a call | connections | HBase's gateway + its region server | a gateway + the store | HBase's to it \
         | inside the server | HBase's to it |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for (kind, connections, measured) in &all {
        let (gateway, store) = (|s: &Slice| s.per_call(s.gateway), |s: &Slice| s.per_call(s.store));
        let times = |side| measured.ratio(side, |slice| 1.0 / slice.per_call(slice.gateway + slice.store));
        let both = |side| format!("{} + {}", measured.spread(side, 0, gateway), measured.spread(side, 0, store));
        println!(
            "| {} | {connections} | {} | {} | {} | {} | {} |",
            kind.name(service),
            both(HBASE),
            both(APART),
            times(APART),
            measured.spread(INSIDE, 0, gateway),
            times(INSIDE),
        );
    }
}
