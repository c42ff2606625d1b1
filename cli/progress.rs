//! How far a long command is, on standard error.
//!
//! Always true: on a terminal a bar, otherwise a line now and then; who asks for quiet sees nothing.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bulkload::report::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use runtime::Runtime;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Where it is known how much there is.
const BAR: &str = "{msg:6} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
/// Where it is not.
const COUNT: &str = "{msg:6} {spinner} {bytes} {bytes_per_sec} in {elapsed}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template written here")
}

/// A bar on a terminal, otherwise a line now and then.
pub struct Shown {
    bar: Option<ProgressBar>,
    quiet: bool,
    runtime: Runtime,
    done: AtomicU64,
    state: Mutex<State>,
}

/// Since when, and how far, a phase is.
#[derive(Default)]
struct State {
    phase: &'static str,
    total: u64,
    begun: Duration,
    line: Duration,
}

impl Shown {
    /// `quiet`: nothing is shown.
    pub fn new(quiet: bool, runtime: &Runtime) -> Shown {
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| ProgressBar::new(0).with_style(style(BAR)));
        Shown { bar, quiet, runtime: runtime.clone(), done: AtomicU64::new(0), state: Mutex::default() }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Shown {
    fn phase(&self, name: &'static str, bytes: u64) {
        let now = self.runtime.clock.monotonic();
        *self.state.lock() = State { phase: name, total: bytes, begun: now, line: now };
        self.done.store(0, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.reset();
            // A bar has to know how much there is.
            bar.set_style(style(if bytes > 0 { BAR } else { COUNT }));
            bar.set_length(bytes);
            bar.set_message(name);
        }
    }

    fn done(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        if self.bar.is_some() || self.quiet {
            return;
        }
        let now = self.runtime.clock.monotonic();
        let mut state = self.state.lock();
        if now.saturating_sub(state.line) < LINE_EVERY {
            return;
        }
        state.line = now;
        let seconds = now.saturating_sub(state.begun).as_secs_f64().max(0.001);
        let rate = done as f64 / seconds;
        let left = state.total.saturating_sub(done) as f64 / rate.max(1.0);
        let eta =
            if state.total > 0 { format!(" of {} MiB, {left:.0} s left", state.total >> 20) } else { String::new() };
        // Nobody may be reading.
        let _ = writeln!(
            std::io::stderr(),
            "{}: {} MiB{eta}, {:.1} MiB/s",
            state.phase,
            done >> 20,
            rate / f64::from(1 << 20)
        );
    }
}
