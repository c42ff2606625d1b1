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

    fn table(self) -> &'static str {
        match self {
            Kind::GetOne => "one",
            Kind::GetTen | Kind::Scan => "ten",
            Kind::Put | Kind::PutAll => "written",
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

/// One of the two that are compared.
struct Side {
    name: &'static str,
    service: Service,
    port: u16,
    /// The process that speaks Thrift.
    gateway: u32,
    /// The process that stores.
    store: u32,
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
fn calls(peer: &mut Peer, kind: Kind, seed: u64, until: Instant, whole: bool) -> Vec<Duration> {
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
            scanner = Some(peer.open_scanner(kind.table(), &from));
        }
        let wanted = key(number(&mut numbers));
        let begun = Instant::now();
        match (kind, scanner) {
            (Kind::GetOne | Kind::GetTen, _) => peer.get(kind.table(), &wanted),
            (Kind::Put, _) => peer.put(kind.table(), &rows[0]),
            (Kind::PutAll, _) => peer.put_all(kind.table(), &rows),
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
                    calls(&mut peer, kind, seed * 1000 + number as u64, Instant::now() + length, whole)
                }
            };
            let threads: Vec<_> = (0..connections).map(|number| scope.spawn(work(number))).collect();
            let (gateway, store) = (processor_time(self.gateway), processor_time(self.store));
            barrier.wait();
            let begun = Instant::now();
            for thread in threads {
                slice.times.extend(thread.join().expect("a driver does not panic"));
            }
            slice.seconds = begun.elapsed().as_secs_f64();
            slice.gateway = processor_time(self.gateway) - gateway;
            slice.store = processor_time(self.store) - store;
        });
        slice
    }
}

/// Rounds of one kind of call with so many connections.
#[derive(Default)]
struct Rounds {
    sides: [Vec<Slice>; 2],
}

impl Rounds {
    fn spread(&self, side: usize, digits: usize, of: impl Fn(&Slice) -> f64) -> String {
        spread(&self.sides[side].iter().map(of).collect::<Vec<_>>(), digits)
    }

    /// Of the first side's to the second's, in each round.
    fn ratio(&self, of: impl Fn(&Slice) -> f64) -> String {
        let ratios = self.sides[0].iter().zip(&self.sides[1]).map(|(own, other)| of(own) / of(other));
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
    for table in ["one", "ten", "written"] {
        create_in_ferrobase(store.port("port"), table);
        create_in_hbase(&hbase, folder, table);
    }
    let (api, port) = match service {
        Service::One => (ThriftApi::One, gateway.port("thrift_port")),
        Service::Two => (ThriftApi::Two, gateway.port("thrift2_port")),
    };
    let other = hbase.thrift(api, &["-f"]);
    let sides = [
        Side { name: "Ferrobase", service, port, gateway: gateway.pid(), store: store.pid() },
        Side { name: "HBase", service, port: other.port, gateway: other.pid(), store: hbase.pid() },
    ];
    sides.iter().for_each(Side::fill);
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
            // Who begins changes, so that what a slice leaves behind meets both.
            for turn in 0..2 {
                let side = ((round + turn) % 2) as usize;
                let slice = sides[side].slice(*kind, *connections, 100 + round, Duration::from_secs(seconds), false);
                assert!(!slice.times.is_empty(), "{kind:?}: no call ended within a slice");
                measured.sides[side].push(slice);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "| call | connections | Ferrobase, calls/s | HBase, calls/s | times HBase's | Ferrobase, p50 / p99 ms | HBase, p50 / p99 ms |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (kind, connections, measured) in &mut all {
        println!(
            "| {} | {connections} | {} | {} | {} | {} | {} |",
            kind.name(service),
            measured.spread(0, 0, Slice::rate),
            measured.spread(1, 0, Slice::rate),
            measured.ratio(Slice::rate),
            measured.percentiles(0),
            measured.percentiles(1),
        );
    }
    println!(
        "\n| µs of processor time a call | connections | Ferrobase's gateway | HBase's gateway | of HBase's | Ferrobase's store | HBase's store | of HBase's |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (kind, connections, measured) in &all {
        let (gateway, store) = (|s: &Slice| s.per_call(s.gateway), |s: &Slice| s.per_call(s.store));
        println!(
            "| {} | {connections} | {} | {} | {} | {} | {} | {} |",
            kind.name(service),
            measured.spread(0, 0, gateway),
            measured.spread(1, 0, gateway),
            measured.ratio(gateway),
            measured.spread(0, 0, store),
            measured.spread(1, 0, store),
            measured.ratio(store),
        );
    }
}
