//! Time and random bytes, real and fixed, and the process's umask.
//!
//! The only module that reads the system clock or asks for entropy, so that everything else gives
//! the same answer to the same questions.
//!
//! There are two clocks in a [`Clock`], because the time of day can be set. What each time that is
//! kept or sent decides, by which of them, and what a step does to it, is said in one place:
//! `docs/operating.md`, section "Clocks". What is ended or forgotten for good is so by the one that
//! only goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::Mode;
use rustix::process::umask;

use crate::model::Timestamp;

/// The umask that the process was started with, where it has another one since.
static OPERATORS_UMASK: OnceLock<u32> = OnceLock::new();

/// Has all that the process makes be its user's only, whatever it is made by: sled leaves it to the
/// umask. To be called before there are other threads.
pub fn keep_files_private() {
    let before = umask(Mode::RWXG | Mode::RWXO);
    OPERATORS_UMASK.get_or_init(|| before.as_raw_mode());
}

/// The mode to be set on a file that was made for others too, where the process's umask has taken
/// from it what the operator's lets them have.
#[must_use]
pub fn shared_mode(mode: u32) -> Option<u32> {
    OPERATORS_UMASK.get().map(|umask| mode & !umask)
}

/// Tells the time of day.
pub trait Clock: Send {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// The time since a moment that stays the same while the process runs, to tell how much has
    /// passed. The time of day will do for a clock that nobody sets.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now().millis())
    }

    /// Both.
    fn read(&self) -> Reading {
        Reading { now: self.now(), elapsed: self.elapsed() }
    }
}

/// What a clock shows at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The time of day, which may be set, forwards or back.
    pub now: Timestamp,
    /// The time that has [passed](Clock::elapsed), which only goes on.
    pub elapsed: Duration,
}

/// Gives unpredictable bytes.
pub trait Entropy: Send {
    /// Fills `bytes`, all of them.
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

    /// Monotonic: what is to last a minute does so when the time of day is set meanwhile.
    fn elapsed(&self) -> Duration {
        static FIRST_ASKED: LazyLock<Instant> = LazyLock::new(Instant::now);
        FIRST_ASKED.elapsed()
    }
}

/// The system's random number generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl SystemEntropy {
    /// An error where the system has no random bytes to give. Once it succeeded it goes on to.
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
