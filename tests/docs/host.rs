//! What a page is run against: a server on a fresh store.

pub(crate) use veche::docs::page::Stage;

/// Where the chat is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Store {
    /// `--store memory`
    Memory,
    /// `--store sled`
    Sled,
}

/// A running server. It ends on drop.
pub(crate) trait Host {
    /// Where it listens, on 127.0.0.1.
    fn port(&self) -> u16;

    /// Sets the stage until the set is dropped; `None` where that cannot be done.
    fn stage(&self, stage: Stage) -> Option<Set>;
}

/// A stage that is set. On drop everything is as it was.
pub(crate) struct Set(Option<Box<dyn FnOnce()>>);

impl Set {
    /// `strike` puts everything back.
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
