//! How many threads and descriptors a server has, and that it gets rid of those that others made
//! it take.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::time::Duration;

use crate::server::{Server, until};

/// What comes and goes by itself: the probes' connections, and tiny_http's spare threads.
const SPARE: usize = 8;
/// Longer than anything may keep a connection: 30 s for a body, the same for its answer, and 5 s in
/// which tiny_http and the pools keep a thread.
const PATIENCE: Duration = Duration::from_mins(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Levels {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
}

/// What tiny_http keeps of a connection that is lost for good.
const LEAKED: Levels = Levels { threads: 1, descriptors: 2 };

impl Levels {
    pub(crate) fn of(server: &Server) -> Levels {
        let threads = thread_names(server).len();
        Levels { threads, descriptors: server.descriptors() }
    }

    /// Waits until there are at least so many more.
    pub(crate) fn grow(self, server: &Server, by: Levels, patience: Duration) -> bool {
        let has_grown = || {
            let now = Levels::of(server);
            let threads = now.threads >= self.threads + by.threads;
            (threads && now.descriptors >= self.descriptors + by.descriptors).then_some(())
        };
        until(patience, has_grown).is_some()
    }

    /// Fails the test unless the server comes back to what it had, within 5 % and what `leaked`
    /// connections take.
    pub(crate) fn return_to(self, server: &Server, leaked: usize, what: &str) {
        let most = Levels {
            threads: self.threads * 105 / 100 + SPARE + leaked * LEAKED.threads,
            descriptors: self.descriptors * 105 / 100 + SPARE + leaked * LEAKED.descriptors,
        };
        let is_back =
            |now: Levels| now.threads <= most.threads && now.descriptors <= most.descriptors;
        let back = until(PATIENCE, || Some(Levels::of(server)).filter(|now| is_back(*now)));
        let now = back.unwrap_or_else(|| Levels::of(server));
        println!("{what}: {self} before, {now} afterwards");
        assert!(back.is_some(), "{what}: {now}, which should be {most} at most");
    }
}

/// The name of each of its threads.
pub(crate) fn thread_names(server: &Server) -> Vec<String> {
    let threads = fs::read_dir(server.process().join("task")).expect("a process has threads");
    // Some may have ended meanwhile.
    let names = threads.flatten().filter_map(|it| fs::read_to_string(it.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

impl Display for Levels {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} threads and {} descriptors", self.threads, self.descriptors)
    }
}
