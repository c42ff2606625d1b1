//! `ferrobase bench`: known loads against a region in this process or a server, measured.
//!
//! Always true
//! - The same seed gives the same operations for each worker; which worker does more depends on time.
//! - Processor time, memory and bytes written are those of the process that serves: of a server on this machine by its ready file,
//!   of another one unknown. With target `engine` that is this process with the bench's own work inside: run the same with target
//!   `none` to see how much that is.
//! - Without `--rate` every worker waits for its operation before it starts the next one, so latencies say nothing about a
//!   load that would not wait; with it they count from when the operation was due.

mod chance;
mod flags;
mod meter;
mod plan;
mod server;
mod target;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use model::ErrorKind;
use parking_lot::Mutex;
use runtime::Runtime;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

pub use flags::Bench;
use flags::{Load, Test};

use crate::arguments::Format;
use crate::failure::Failure;
use crate::output::say;
use chance::{Choice, Dice};
use meter::{Tally, Usage};
use plan::{Kind, Mix, Records, Shape};
use target::{Cursor, Found, Process, Target, TargetError};

/// How long an operation that is refused for now is tried again.
const RETRY_LIMIT: Duration = Duration::from_secs(60);
/// Operations after which a worker lets other tasks run: reads from memory never wait by themselves.
const OPERATIONS_PER_YIELD: u64 = 64;

/// Runs one bench and prints its report.
pub async fn run(bench: &Bench, format: Format) -> Result<(), Failure> {
    let runtime = Runtime::system();
    let (load, mix, name) = match bench {
        Bench::Ycsb { workload, load } => (load, Mix::Ycsb(*workload), format!("ycsb {workload:?}").to_lowercase()),
        Bench::Pe { test, load } => (load, Mix::Pe(*test), format!("pe {test:?}")),
    };
    let shape = Shape::new(load, matches!(mix, Mix::Ycsb(_)))?;
    if let Some(file) = &load.json {
        // Before a long run and not behind it.
        std::fs::write(file, "").map_err(|error| Failure::usage(format!("--json {}: {error}", file.display())))?;
    }
    // From here on there may be something to take away.
    let stop = Arc::new(Stop::default());
    let watch = runtime::task::spawn("signals", stop.clone().watch()?);
    let target = Arc::new(Target::open(load, shape.family, &runtime).await?);
    let outcome = measure(load, mix, &name, &shape, &target, &stop, &runtime).await;
    watch.abort();
    // Tables and folders of this run go, however it ended.
    if let Some(target) = Arc::into_inner(target) {
        let closed = target.close().await;
        if outcome.is_ok() {
            closed?;
        }
    }
    let report = outcome?;
    if let Some(file) = &load.json {
        std::fs::write(file, format!("{report:#}\n")).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    match format {
        Format::Table => say(table(&report).trim_end())?,
        Format::Json => say(format_args!("{report:#}"))?,
        Format::Jsonl => say(&report)?,
    }
    let phases = report["phases"].as_array().into_iter().flatten();
    let missing: u64 = phases.filter_map(|phase| phase["missing"].as_u64()).sum();
    if missing > 0 {
        return Err(format!("{missing} reads found no row where one was loaded").into());
    }
    Ok(())
}

/// Whether the run is to end before its time.
#[derive(Debug, Default)]
struct Stop {
    now: AtomicBool,
    /// The exit code of the signal that came.
    code: AtomicU8,
}

impl Stop {
    /// Waits for SIGINT or SIGTERM; a second one ends the process at once.
    fn watch(self: Arc<Stop>) -> Result<impl Future<Output = ()> + Send + use<>, Failure> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(async move {
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                if self.code.swap(code, Ordering::AcqRel) != 0 {
                    std::process::exit(code.into());
                }
                self.now.store(true, Ordering::Release);
            }
        })
    }

    fn check(&self) -> Result<(), Failure> {
        match self.code.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Failure { code, message: "stopped by a signal".to_owned() }),
        }
    }
}

/// Runs the phases and reports on them.
async fn measure(
    load: &Load,
    mix: Mix,
    name: &str,
    shape: &Shape,
    target: &Arc<Target>,
    stop: &Arc<Stop>,
    runtime: &Runtime,
) -> Result<Value, Failure> {
    stop.check()?;
    let writes_first = matches!(mix, Mix::Ycsb(_) | Mix::Pe(Test::SequentialRead | Test::RandomRead | Test::Scan));
    let operations = load.operations.or(load.duration.is_none().then_some(load.records));
    let started_ms = runtime.clock.now_ms();
    let mut phases = Vec::new();
    if writes_first && !load.skip_load {
        let records = Records::new(0);
        let bounds = Bounds { operations: Some(load.records), duration: None, warmup: Duration::ZERO, rate: None };
        phases.push(phase("load", Mix::Load, records, bounds, load, shape, target, stop, runtime).await?);
        target.settle(load.settle).await?;
        stop.check()?;
    }
    let bounds = Bounds { operations, duration: load.duration, warmup: load.warmup, rate: load.rate };
    let records = Records::new(load.records);
    phases.push(phase("run", mix, records, bounds, load, shape, target, stop, runtime).await?);
    let (fields, value_size) = shape.sizes();
    Ok(json!({
        "bench": name,
        "version": env!("CARGO_PKG_VERSION"),
        "optimised": !cfg!(debug_assertions),
        "started_ms": started_ms,
        "machine": meter::machine(),
        "settings": {
            "target": load.target, "records": load.records, "operations": operations, "threads": load.threads, "fields": fields,
            "value_size": value_size, "durability": format!("{:?}", load.durability).to_lowercase(),
            "duration_s": load.duration.map(|d| d.as_secs_f64()), "warmup_s": load.warmup.as_secs_f64(), "rate": load.rate,
            "seed": load.seed, "settle": format!("{:?}", load.settle).to_lowercase(), "skip_load": load.skip_load,
            "compression": load.compression, "encoding": load.encoding, "bloom": load.bloom, "memory": load.memory,
        },
        "phases": phases,
    }))
}

/// When a phase ends and what of it counts.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Operations counted.
    operations: Option<u64>,
    duration: Option<Duration>,
    warmup: Duration,
    rate: Option<u64>,
}

struct Shared {
    mix: Mix,
    bounds: Bounds,
    threads: u64,
    seed: u64,
    shape: Shape,
    target: Arc<Target>,
    runtime: Runtime,
    records: Records,
    /// Operations handed out that count.
    issued: AtomicU64,
    begin: Duration,
    /// From here on operations count.
    warm: Duration,
    end: Option<Duration>,
    stop: Arc<Stop>,
    failure: Mutex<Option<TargetError>>,
}

#[allow(clippy::too_many_arguments, reason = "the parts of one run, put together here only")]
async fn phase(
    name: &str,
    mix: Mix,
    records: Records,
    bounds: Bounds,
    load: &Load,
    shape: &Shape,
    target: &Arc<Target>,
    stop: &Arc<Stop>,
    runtime: &Runtime,
) -> Result<Value, Failure> {
    let choice = mix.choice(load.records, bounds.operations);
    let begin = runtime.clock.monotonic();
    let warm = begin + bounds.warmup;
    let shared = Arc::new(Shared {
        mix,
        bounds,
        threads: load.threads,
        seed: load.seed,
        shape: shape.clone(),
        target: target.clone(),
        runtime: runtime.clone(),
        records,
        issued: AtomicU64::new(0),
        begin,
        warm,
        end: bounds.duration.map(|duration| warm + duration),
        stop: stop.clone(),
        failure: Mutex::new(None),
    });
    let workers: Vec<_> = (0..load.threads)
        .map(|id| runtime::task::spawn("bench worker", worker(shared.clone(), id, choice.clone())))
        .collect();
    if !bounds.warmup.is_zero() {
        runtime.clock.sleep(bounds.warmup).await;
    }
    let process = target.process();
    let usage = || match process {
        Process::Own => Some(Usage::of(None)),
        Process::Other(pid) => Some(Usage::of(Some(pid))),
        Process::Unknown => None,
    };
    let (before, own_before, counted_from) = (usage(), Usage::of(None), runtime.clock.monotonic());
    let mut tally = Tally::default();
    for worker in workers {
        tally.merge(worker.await?);
    }
    let seconds = (runtime.clock.monotonic() - counted_from).as_secs_f64();
    let (after, own_after) = (usage(), Usage::of(None));
    stop.check()?;
    if let Some(failure) = shared.failure.lock().take() {
        let code = if failure.kind == ErrorKind::Unavailable { 4 } else { 1 };
        return Err(Failure { code, message: format!("{name}: {failure}") });
    }
    let spent = before.zip(after).map(|(before, after)| after.since(before));
    let own = own_after.since(own_before);
    let each = |total: f64| (total / tally.operations.max(1) as f64 * 1000.0).round() / 1000.0;
    Ok(json!({
        "phase": name,
        "operations": tally.operations,
        "seconds": seconds,
        "operations_per_second": (tally.operations as f64 / seconds).round(),
        "cpu_seconds": spent.map(|spent| spent.cpu.as_secs_f64()),
        "cpu_us_per_operation": spent.map(|spent| each(spent.cpu.as_secs_f64() * 1e6)),
        "bench_cpu_us_per_operation": (process != Process::Own).then(|| each(own.cpu.as_secs_f64() * 1e6)),
        "rows_per_operation": each(tally.rows as f64),
        "bytes_per_operation": each(tally.bytes as f64),
        "written_bytes_per_operation": spent.map(|spent| each(spent.written as f64)),
        "missing": tally.missing,
        "retries": tally.retries,
        "resident_bytes": spent.map(|spent| spent.resident),
        "resident_bytes_max": spent.map(|spent| spent.resident_max),
        "target": target.facts(),
        "latency_us": tally.latencies(),
    }))
}

struct Worker {
    shared: Arc<Shared>,
    dice: Dice,
    choice: Choice,
    cursor: Option<Cursor>,
    tally: Tally,
}

async fn worker(shared: Arc<Shared>, id: u64, choice: Choice) -> Tally {
    let mut dice = Dice::new(shared.seed);
    (0..=id).for_each(|_| dice = Dice::new(dice.next()));
    let mut worker = Worker { shared: shared.clone(), dice, choice, cursor: None, tally: Tally::default() };
    if let Err(failure) = worker.work(id).await {
        shared.stop.now.store(true, Ordering::Relaxed);
        shared.failure.lock().get_or_insert(failure);
    }
    worker.tally
}

impl Worker {
    async fn work(&mut self, id: u64) -> Result<(), TargetError> {
        let shared = self.shared.clone();
        let interval = shared.bounds.rate.map(|rate| Duration::from_secs_f64(shared.threads as f64 / rate as f64));
        // Workers of a paced load start one after the other.
        let mut due = shared.begin + interval.unwrap_or_default().mul_f64(id as f64 / shared.threads as f64);
        for turn in 1.. {
            if shared.stop.now.load(Ordering::Acquire) {
                break;
            }
            let mut start = shared.runtime.clock.monotonic();
            if let Some(interval) = interval {
                if due > start {
                    shared.runtime.clock.sleep(due - start).await;
                }
                start = due;
                due += interval;
            }
            if shared.end.is_some_and(|end| start >= end) {
                break;
            }
            let counts = start >= shared.warm;
            let n = if counts { shared.issued.fetch_add(1, Ordering::Relaxed) } else { turn };
            if counts && shared.bounds.operations.is_some_and(|most| n >= most) {
                break;
            }
            let (kind, record) = shared.mix.choose(n, shared.records.there().max(1), &mut self.choice, &mut self.dice);
            let tried = self.operate(kind, record, id).await?;
            if counts {
                self.tally.record(kind, shared.runtime.clock.monotonic().saturating_sub(start));
                self.tally.rows += tried.rows;
                self.tally.bytes += tried.bytes;
                let must_find = matches!(kind, Kind::Read | Kind::ReadModifyWrite | Kind::Scan);
                self.tally.missing += u64::from(must_find && tried.rows == 0);
            }
            if turn % OPERATIONS_PER_YIELD == 0 {
                runtime::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn operate(&mut self, kind: Kind, record: u64, id: u64) -> Result<Found, TargetError> {
        let shared = self.shared.clone();
        let (shape, target) = (&shared.shape, &shared.target);
        match kind {
            Kind::Insert => {
                let grows = matches!(shared.mix, Mix::Ycsb(_));
                let record = if grows { shared.records.take() } else { record };
                let found = self.write(|dice| shape.insert(record, dice)).await?;
                if grows {
                    shared.records.inserted(record);
                }
                Ok(found)
            }
            Kind::Update => self.write(|dice| shape.update(record, dice)).await,
            Kind::Increment => self.write(|_| shape.increment(record)).await,
            Kind::Append => self.write(|_| shape.append(record)).await,
            Kind::Read => target.get(&shape.get(record)).await,
            Kind::Scan => target.scan(&shape.short_scan(record, &mut self.dice)).await,
            Kind::ReadModifyWrite => {
                let mut found = target.get(&shape.get(record)).await?;
                found.bytes += self.write(|dice| shape.update(record, dice)).await?.bytes;
                Ok(found)
            }
            Kind::Next => {
                for from in [id * shared.records.there() / shared.threads, 0] {
                    let cursor = match &mut self.cursor {
                        Some(cursor) => cursor,
                        None => self.cursor.insert(target.cursor(&shape.scan_from(from)).await?),
                    };
                    if let Some(found) = cursor.next().await? {
                        return Ok(found);
                    }
                    self.cursor = None;
                }
                Ok(Found::default())
            }
        }
    }

    /// Writes; what is refused for now is tried again, with all that time in the operation's latency.
    async fn write(&mut self, make: impl Fn(&mut Dice) -> model::mutation::Mutation) -> Result<Found, TargetError> {
        let mutation = make(&mut self.dice);
        let bytes = mutation.cells.iter().map(|cell| cell.bytes().len() as u64).sum();
        let clock = &self.shared.runtime.clock;
        let until = clock.monotonic() + RETRY_LIMIT;
        loop {
            match self.shared.target.write(mutation.clone()).await {
                Ok(()) => return Ok(Found { rows: 0, bytes }),
                Err(error) if error.kind == ErrorKind::Busy && clock.monotonic() < until => {
                    self.tally.retries += 1;
                    clock.sleep(Duration::from_millis(5)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The report for people.
fn table(report: &Value) -> String {
    let mut out = String::new();
    let settings = &report["settings"];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let or_unknown = |value: &Value| if value.is_null() { "unknown".to_owned() } else { value.to_string() };
    let _ = writeln!(
        out,
        "{} on {}: {} rows of {} x {} bytes, {} at once, durability {}, {} cores{}",
        text(&report["bench"]),
        text(&settings["target"]),
        settings["records"],
        settings["fields"],
        settings["value_size"],
        settings["threads"],
        text(&settings["durability"]),
        report["machine"]["cores"],
        if report["optimised"] == json!(true) { "" } else { " (NOT an optimised build)" }
    );
    for phase in report["phases"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{}: {} operations in {:.2} s, {} a second, {} us of processor time each, {} bytes each, {} bytes written each, {} retries",
            text(&phase["phase"]),
            phase["operations"],
            phase["seconds"].as_f64().unwrap_or_default(),
            phase["operations_per_second"],
            or_unknown(&phase["cpu_us_per_operation"]),
            phase["bytes_per_operation"],
            or_unknown(&phase["written_bytes_per_operation"]),
            phase["retries"],
        );
        for (kind, latency) in phase["latency_us"].as_object().into_iter().flatten() {
            let value = |name: &str| latency[name].to_string();
            let _ = writeln!(
                out,
                "  {kind}: {} times, mean {} us, p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                value("count"),
                value("mean"),
                value("p50"),
                value("p90"),
                value("p99"),
                value("p999"),
                value("max")
            );
        }
    }
    out
}
