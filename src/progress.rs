//! Shows how far a long task is: a bar on a terminal, lines in the log elsewhere. A task that is
//! over at once shows nothing.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::store::Progress;

/// How long a task may take before it is shown.
const QUIET: Duration = Duration::from_millis(500);
/// How often it is logged where there is no terminal.
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
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(self.total);
            if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
                bar.set_style(style);
            }
            bar.set_message(self.name);
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
