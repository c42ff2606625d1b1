//! Programs that are measured, and figures as they are told.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of processor time a second in `/proc`, the same on every Linux.
const TICKS_A_SECOND: f64 = 100.0;
/// Between two looks at a running program: its peak is known as well as that.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a start may take.
const START_MAX: Duration = Duration::from_secs(60);

/// A program that was built beside this one.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a program has a file");
    let path = own.with_file_name(name);
    assert!(path.exists(), "{} is missing: build it first", path.display());
    path
}

/// Median with the smallest and the largest.
pub fn spread(values: &[f64], digits: usize) -> String {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
    format!("{:.digits$} ({first:.digits$}–{last:.digits$})", sorted[sorted.len() / 2])
}

/// A percentile of what was measured, in milliseconds.
pub fn percentile(times: &mut [Duration], part: f64) -> f64 {
    times.sort_unstable();
    let at = ((times.len() - 1) as f64 * part).round() as usize;
    times[at].as_secs_f64() * 1000.0
}

/// The machine's load of the last minute.
pub fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split_whitespace().take(1).collect()
}

/// State and processor time so far, user's and system's, in seconds, of a process; `None` if there is none.
fn stat(pid: u32) -> Option<(char, f64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which may hold anything, in parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((fields.first()?.chars().next()?, (ticks(11)? + ticks(12)?) / TICKS_A_SECOND))
}

/// Processor time of a process so far, in seconds, to a hundredth.
pub fn processor_time(pid: u32) -> f64 {
    stat(pid).expect("a living process").1
}

/// Peak resident memory of a process in MiB; `None` once it has ended.
pub fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

/// What a program took from its start to its end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Wall clock.
    pub seconds: f64,
    /// Seconds of its processor time.
    pub processor: f64,
    /// Peak of its resident memory.
    pub peak_mib: u64,
}

impl Took {
    /// One program after the other.
    pub fn and(self, then: Took) -> Took {
        Took {
            seconds: self.seconds + then.seconds,
            processor: self.processor + then.processor,
            peak_mib: self.peak_mib.max(then.peak_mib),
        }
    }
}

/// Runs a program to its end, its output to `log`; panics with the log unless it succeeds.
pub fn run(mut command: Command, log: &Path) -> Took {
    let out = File::create(log).expect("a log file");
    command.stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
    let (begun, mut took) = (Instant::now(), Took::default());
    let mut child = command.spawn().expect("the program starts");
    loop {
        let (state, processor) = stat(child.id()).expect("a child that nobody has waited for");
        (took.seconds, took.processor) = (begun.elapsed().as_secs_f64(), processor);
        if state == 'Z' {
            break;
        }
        took.peak_mib = took.peak_mib.max(peak_mib(child.id()).unwrap_or(0));
        std::thread::sleep(LOOK_EVERY);
    }
    let status = child.wait().expect("a child can be waited for");
    let text = || std::fs::read_to_string(log).unwrap_or_default();
    assert!(status.success(), "{command:?}: {status}\n{}", text());
    took
}

/// A running `ferrobase standalone` or `ferrobase thrift`; killed when dropped.
#[derive(Debug)]
pub struct Ferrobase {
    child: Child,
    /// What its ready file says.
    pub told: serde_json::Value,
}

impl Ferrobase {
    /// Starts one and waits until it is ready; its ready file and log lie in `folder` and begin with its first argument.
    pub fn start(folder: &Path, arguments: &[&str]) -> Ferrobase {
        let (ready, log) =
            (folder.join(format!("{}.json", arguments[0])), folder.join(format!("{}.log", arguments[0])));
        let mut child = Command::new(beside("ferrobase"))
            .args(arguments)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("ferrobase starts");
        let begun = Instant::now();
        loop {
            if let Ok(text) = std::fs::read(&ready) {
                let told = serde_json::from_slice(&text).expect("the ready file is written whole");
                return Ferrobase { child, told };
            }
            let ended = child.try_wait().expect("a child can be asked");
            if ended.is_some() || begun.elapsed() > START_MAX {
                drop(child.kill());
                drop(child.wait());
                panic!("not ready (exit {ended:?}):\n{}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A port of its ready file.
    pub fn port(&self, name: &str) -> u16 {
        self.told[name].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
    }
}

impl Drop for Ferrobase {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
