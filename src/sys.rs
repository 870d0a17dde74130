//! Time and random bytes, real and fixed, and the process's umask.
//!
//! Only this module reads the system clock and asks for entropy, so that all other code gives the
//! same results for the same input.
//!
//! A [`Clock`] shows two times, because the time of day can be set. Which of them decides about
//! each time that is kept or sent is in `docs/operating.md`, section "Clocks". What ends or is
//! forgotten for good does so by the monotonic clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::model::Timestamp;

/// The umask that the process was started with, if it was changed since.
static OPERATORS_UMASK: OnceLock<u32> = OnceLock::new();

/// Makes all files of the process private to its user. sled creates its files with the process's
/// umask. To be called before there are other threads.
pub fn keep_files_private() {
    let before = umask(Mode::RWXG | Mode::RWXO);
    OPERATORS_UMASK.get_or_init(|| before.as_raw_mode());
}

/// The mode for a file that others may read as far as the operator's umask allows. `None` if the
/// umask was not changed.
#[must_use]
pub fn shared_mode(mode: u32) -> Option<u32> {
    OPERATORS_UMASK.get().map(|umask| mode & !umask)
}

/// Tells the time of day.
pub trait Clock: Send {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// The monotonic time since a moment that is the same for the whole process. For a clock that
    /// nobody sets, the time of day is enough.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().millis())
    }

    /// Both.
    fn read(&self) -> Reading {
        Reading { now: self.now(), elapsed: self.elapsed() }
    }
}

/// Both times of a clock, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time of day. It may be set, forwards or back.
    pub now: Timestamp,
    /// The [monotonic](Clock::elapsed) time.
    pub elapsed: Duration,
}

/// Gives unpredictable bytes.
pub trait Entropy: Send {
    /// Fills all of `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// `N` bytes from `entropy`.
pub fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    /// Monotonic: a timeout of a minute lasts a minute when the time of day is set meanwhile.
    fn elapsed(&self) -> Duration {
        static FIRST_ASKED: LazyLock<Instant> = LazyLock::new(Instant::now);
        FIRST_ASKED.elapsed()
    }
}

/// The system's random number generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl SystemEntropy {
    /// Checks that the system has random bytes. Once it succeeded, the system goes on to have them.
    pub fn probe() -> Result<SystemEntropy, getrandom::Error> {
        getrandom::fill(&mut [0; 1]).map(|()| SystemEntropy)
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "a probed generator does not fail, and a predictable secret is worse than a 500"
        )]
        getrandom::fill(bytes).expect("the system gives random bytes");
    }
}

/// A clock that stands still, for reproducible sessions.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// A clock for tests that goes on, and is set, when it is told to. Its clones show the same.
#[derive(Debug, Clone)]
pub struct SteppedClock(Arc<Hands>);

/// In milliseconds.
#[derive(Debug)]
struct Hands {
    now: AtomicU64,
    elapsed: AtomicU64,
}

impl SteppedClock {
    /// One that begins at a time of day.
    #[must_use]
    pub fn at(now: Timestamp) -> SteppedClock {
        SteppedClock(Arc::new(Hands { now: now.millis().into(), elapsed: 0.into() }))
    }

    /// Time passes.
    pub fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.now.fetch_add(millis, Ordering::SeqCst);
        self.0.elapsed.fetch_add(millis, Ordering::SeqCst);
    }

    /// Somebody sets the time of day, or the machine sleeps: no time passes that the process sees.
    pub fn set(&self, now: Timestamp) {
        self.0.now.store(now.millis(), Ordering::SeqCst);
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.elapsed.load(Ordering::SeqCst))
    }
}

/// Reproducible bytes from a seed (the SplitMix64 sequence). For tests: it hides nothing.
#[derive(Debug, Clone, Copy)]
pub struct SeededEntropy(pub u64);

impl Entropy for SeededEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}
