//! The progress of a long task.

/// An observer of a long task.
pub trait Progress {
    /// A task begins that will count to `total`.
    fn begin(&mut self, task: &'static str, total: u64);
    /// It has counted to `done`.
    fn advance(&mut self, done: u64);
    /// Ends the task.
    fn end(&mut self);
}

/// Observes nothing.
impl Progress for () {
    fn begin(&mut self, _: &'static str, _: u64) {}
    fn advance(&mut self, _: u64) {}
    fn end(&mut self) {}
}
