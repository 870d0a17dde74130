//! Shows the progress of a long task: a bar on a terminal, lines in the log elsewhere. A task that
//! ends within half a second shows nothing. A task that reports the result of each part has a bar
//! below the results.

use std::io;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::docs::check::Report;
use crate::printable;
use crate::store::Progress;

/// Time before the progress of a task is shown.
const QUIET: Duration = Duration::from_millis(500);
/// Interval of the log lines, where there is no terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// Shows progress on standard error.
#[derive(Debug, Default)]
pub struct Display {
    task: Option<Task>,
}

#[derive(Debug)]
struct Task {
    name: &'static str,
    total: u64,
    next_report: Instant,
    bar: Option<ProgressBar>,
}

impl Progress for Display {
    fn begin(&mut self, name: &'static str, total: u64) {
        self.task = Some(Task { name, total, next_report: Instant::now() + QUIET, bar: None });
    }

    fn advance(&mut self, done: u64) {
        let Some(task) = &mut self.task else { return };
        if let Some(bar) = &task.bar {
            bar.set_position(done);
        } else if Instant::now() >= task.next_report {
            task.report(done);
        }
    }

    fn end(&mut self) {
        if let Some(Task { bar: Some(bar), .. }) = self.task.take() {
            bar.finish_and_clear();
        }
    }
}

impl Task {
    fn report(&mut self, done: u64) {
        if printable::is_watched() {
            let bar = bar(self.name, self.total);
            bar.set_position(done);
            self.bar = Some(bar);
        } else {
            self.next_report = Instant::now() + LOG_INTERVAL;
            match done.saturating_mul(100).checked_div(self.total) {
                Some(percent) => log::info!("{}: {percent} %", self.name),
                None => log::info!("{}: {done} bytes", self.name),
            }
        }
    }
}

/// Writes lines to standard output; on a terminal, with a bar below them.
#[derive(Debug)]
pub struct Lines {
    name: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
}

impl Lines {
    /// For a task of `total` parts.
    #[must_use]
    pub fn new(name: &'static str, total: usize) -> Lines {
        Lines { name, total: u64::try_from(total).unwrap_or(u64::MAX), bar: None }
    }
}

impl Report for Lines {
    fn line(&mut self, line: &str) -> io::Result<()> {
        let write = || printable::print(line);
        self.bar.as_ref().map_or_else(write, |bar| bar.suspend(write))
    }

    fn advance(&mut self, done: usize) {
        if self.bar.is_none() && printable::is_watched() {
            self.bar = Some(bar(self.name, self.total));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &'static str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
        bar.set_style(style);
    }
    bar.set_message(name);
    bar
}
