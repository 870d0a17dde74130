//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for anything that is not measured. A browser that shares a small machine with a
/// build needs time.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until there is a result; `None` after [`PATIENCE`].
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
