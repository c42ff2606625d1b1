//! How far a load is: a bar on a terminal, otherwise a line every ten seconds. On standard error.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::source::Position;

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// See the module's text.
pub struct Progress {
    bar: Option<ProgressBar>,
    position: Position,
    total: u64,
    begun: Instant,
    last: Instant,
    quiet: bool,
}

impl Progress {
    /// Of a source of `total` bytes on disk.
    pub fn new(total: u64, position: Position, quiet: bool) -> Progress {
        let style = "{bar:40} {bytes}/{total_bytes} {msg} eta {eta}";
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| {
            ProgressBar::new(total).with_style(ProgressStyle::with_template(style).expect("a template written here"))
        });
        Progress { bar, position, total, begun: Instant::now(), last: Instant::now(), quiet }
    }

    /// Shows the records done so far.
    pub fn show(&mut self, records: u64) {
        let rate = records as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let at = self.position.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(at);
            bar.set_message(format!("{records} records, {rate:.0}/s"));
        } else if !self.quiet && self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            eprintln!("{records} records, {rate:.0}/s, {}%", at * 100 / self.total.max(1));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
