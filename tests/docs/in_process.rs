//! The server as a thread of the test: clock, random bytes and epoch are fixed, so that every byte
//! it sends is known, and states that no client can cause can be staged.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use clap::Parser as _;
use tempfile::TempDir;
use veche::api::App;
use veche::auth::tokens::Tokens;
use veche::cli::Cli;
use veche::http::{ServeError, Server, ServerSettings, Stopper};
use veche::model::{StoreId, Timestamp, UserId};
use veche::store::{Backend, LogStore, MemoryStore};
use veche::sys::{Clock, SeededEntropy};

use crate::crowd::Crowd;
use crate::faulty::{BESIDES, Faults, FaultyStore};
use crate::host::{Host, Set, Stage, Store};

/// The time of every session, 2026-01-02T03:04:05.678Z, in milliseconds.
const NOW: u64 = 1_767_323_045_678;
/// The epoch of every store.
const EPOCH: StoreId = StoreId(0x5eed_0000_c4a7_0001);
/// The secret that signs tokens.
const SECRET: &[u8; 32] = b"no secret: everybody may know it";
/// The default of the binary.
const TOKEN_TTL_SECONDS: u64 = 3600;

/// A running server.
pub(crate) struct InProcess {
    port: u16,
    now: Arc<AtomicU64>,
    faults: Arc<Faults>,
    stopper: Stopper,
    running: Option<JoinHandle<Result<(), ServeError>>>,
    _dir: TempDir,
}

impl InProcess {
    /// Starts it on a fresh store, with the binary's `arguments` as far as they concern the API.
    pub(crate) fn start(store: Store, arguments: &[&str]) -> InProcess {
        let arguments = Cli::try_parse_from([&["veche"], arguments].concat()).unwrap();
        let dir = TempDir::new().unwrap();
        let store: Box<dyn Backend> = match store {
            Store::Memory => Box::new(MemoryStore::new(EPOCH)),
            Store::Sled => Box::new(LogStore::open(dir.path(), EPOCH, &mut ()).unwrap()),
        };
        let now = Arc::new(AtomicU64::new(NOW));
        let faults = Arc::<Faults>::default();
        let app = App::new(
            Box::new(FaultyStore::new(store, Arc::clone(&faults))),
            Tokens::new(SECRET, TOKEN_TTL_SECONDS, EPOCH),
            Box::new(StagedClock(Arc::clone(&now))),
            Box::new(SeededEntropy(1)),
            arguments.serve.settings(),
        );
        let server =
            Server::bind((Ipv4Addr::LOCALHOST, 0).into(), ServerSettings::default()).unwrap();
        let (port, stopper) = (server.local_addr().port(), server.stopper());
        let running = Some(thread::spawn(move || server.run(app)));
        InProcess { port, now, faults, stopper, running, _dir: dir }
    }
}

impl InProcess {
    fn with_fault(&self, fault: fn(&Faults) -> &AtomicBool) -> Set {
        let faults = Arc::clone(&self.faults);
        fault(&faults).store(true, Ordering::SeqCst);
        Set::until(move || fault(&faults).store(false, Ordering::SeqCst))
    }
}

impl Host for InProcess {
    fn port(&self) -> u16 {
        self.port
    }

    fn stage(&self, stage: Stage) -> Option<Set> {
        Some(match stage {
            Stage::Plain | Stage::FreshStore => Set::until(|| {}),
            Stage::HourLater => {
                let now = Arc::clone(&self.now);
                now.fetch_add(TOKEN_TTL_SECONDS * 1000, Ordering::SeqCst);
                Set::until(move || now.store(NOW, Ordering::SeqCst))
            }
            Stage::FailingStore => self.with_fault(|faults| &faults.failing),
            Stage::FullDisk => self.with_fault(|faults| &faults.full),
            Stage::ManyBlocked => self.with_fault(|faults| &faults.crowded),
            Stage::FullQueue => {
                let crowd = Crowd::of_senders(self.port);
                Set::until(move || drop(crowd))
            }
            Stage::ManyWaiting => {
                let (user, at) = (UserId::FIRST, Timestamp::from_millis(NOW));
                let tokens = Tokens::new(SECRET, TOKEN_TTL_SECONDS, EPOCH);
                let there = self.with_fault(|faults| &faults.besides);
                let crowd = Crowd::of_waiters(self.port, &tokens.issue(user, at, BESIDES).unwrap());
                Set::until(move || drop((crowd, there)))
            }
        })
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stopper.stop();
        let ended = self.running.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(Ok(())))), "{ended:?}");
    }
}

/// Tells the staged time.
struct StagedClock(Arc<AtomicU64>);

impl Clock for StagedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}
