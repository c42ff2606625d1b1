//! What operations cost: latencies, bytes, processor time.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::plan::Kind;

/// What a worker has seen.
#[derive(Debug, Default)]
pub struct Tally {
    latencies: BTreeMap<Kind, Histogram<u64>>,
    /// Operations counted.
    pub operations: u64,
    /// Rows read.
    pub rows: u64,
    /// Bytes of cells read and values written.
    pub bytes: u64,
    /// Reads of loaded rows that found none.
    pub missing: u64,
    /// Attempts that were refused for now and tried again.
    pub retries: u64,
}

/// Longest latency that is told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;

impl Tally {
    /// Counts one operation.
    pub fn record(&mut self, kind: Kind, latency: Duration) {
        self.operations += 1;
        let histogram = self.latencies.entry(kind).or_insert_with(|| {
            Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("bounds that a histogram can have")
        });
        histogram.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another worker has seen.
    pub fn merge(&mut self, other: Tally) {
        for (kind, histogram) in other.latencies {
            match self.latencies.get_mut(&kind) {
                Some(mine) => mine.add(&histogram).expect("equal bounds"),
                None => drop(self.latencies.insert(kind, histogram)),
            }
        }
        self.operations += other.operations;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.missing += other.missing;
        self.retries += other.retries;
    }

    /// By kind of operation, in microseconds.
    pub fn latencies(&self) -> Value {
        let us = |ns: u64| (ns as f64 / 10.0).round() / 100.0;
        let of = |h: &Histogram<u64>| {
            json!({"count": h.len(), "mean": (h.mean() / 10.0).round() / 100.0, "min": us(h.min()), "p50": us(h.value_at_quantile(0.5)),
                "p90": us(h.value_at_quantile(0.9)), "p99": us(h.value_at_quantile(0.99)),
                "p999": us(h.value_at_quantile(0.999)), "max": us(h.max())})
        };
        Value::Object(self.latencies.iter().map(|(kind, h)| (kind.name().to_owned(), of(h))).collect())
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Bytes it caused to be written to storage.
    pub written: u64,
    /// Memory it holds now, in bytes.
    pub resident: u64,
    /// Most memory it ever held, in bytes.
    pub resident_max: u64,
}

/// A number behind a word in a file of `/proc`.
fn number_behind(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Processor time of this process.
fn own_cpu() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a rusage that lives through the call, and zeroes are a valid rusage.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Processor time of another process, in steps of the kernel's tick.
fn cpu_of(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<u64>().ok()).sum();
    // SAFETY: a call without pointers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as u64;
    Duration::from_nanos(ticks * 1_000_000_000 / per_second)
}

impl Usage {
    /// Time and bytes since an earlier look; memory as it is now.
    pub fn since(self, before: Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(before.cpu), written: self.written.saturating_sub(before.written), ..self }
    }

    /// Of this process, or of another one on this machine. What cannot be read is 0.
    pub fn of(pid: Option<u32>) -> Usage {
        let cpu = pid.map_or_else(own_cpu, cpu_of);
        let pid = pid.unwrap_or_else(std::process::id);
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (status, io) = (read("status"), read("io"));
        Usage {
            cpu,
            written: number_behind(&io, "write_bytes:"),
            resident: number_behind(&status, "VmRSS:") << 10,
            resident_max: number_behind(&status, "VmHWM:") << 10,
        }
    }
}

/// Number of processors, their name, memory in bytes.
pub fn machine() -> Value {
    let read = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({"cores": std::thread::available_parallelism().map_or(0, |n| n.get()), "processor": model.trim_start_matches([' ', '\t', ':']),
        "memory_bytes": number_behind(&read("/proc/meminfo"), "MemTotal:") << 10, "kernel": read("/proc/sys/kernel/osrelease").trim()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_read_processor_time_agree() {
        let mut sum = 0u64;
        while own_cpu() < Duration::from_millis(50) {
            sum = (0..100_000u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        }
        let (own, other) = (own_cpu(), cpu_of(std::process::id()));
        assert!(own.abs_diff(other) < Duration::from_millis(40), "{own:?} {other:?} {sum}");
        assert!(Usage::of(None).resident > 1 << 20);
    }

    #[test]
    fn tallies_add_up() {
        let mut all = Tally::default();
        for latency in [1u64, 3] {
            let mut one = Tally { bytes: 5, ..Tally::default() };
            one.record(Kind::Read, Duration::from_micros(latency));
            all.merge(one);
        }
        let read = &all.latencies()["read"];
        assert_eq!((all.operations, all.bytes, read["count"].as_u64()), (2, 10, Some(2)));
        assert!((read["mean"].as_f64().expect("mean") - 2.0).abs() < 0.01, "{read}");
    }
}
