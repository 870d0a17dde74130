//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that is not measured. A browser that shares a small machine with a
/// build needs its time.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until there is an answer; `None` after [`PATIENCE`].
pub(crate) fn until<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}
