//! The server that a page is run against, on a fresh store.

pub(crate) use veche::docs::page::Stage;

/// The kind of store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    /// `--store memory`
    Memory,
    /// `--store sled`
    Sled,
}

/// A running server. It ends on drop.
pub(crate) trait Host {
    /// The port, on 127.0.0.1.
    fn port(&self) -> u16;

    /// Sets the stage until the returned set is dropped; `None` if that is not possible.
    fn stage(&self, stage: Stage) -> Option<Set>;
}

/// A stage that is set. On drop everything is restored.
pub(crate) struct Set(Option<Box<dyn FnOnce()>>);

impl Set {
    /// `strike` restores everything.
    pub(crate) fn until(strike: impl FnOnce() + 'static) -> Set {
        Set(Some(Box::new(strike)))
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        if let Some(strike) = self.0.take() {
            strike();
        }
    }
}
