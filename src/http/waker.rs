//! Wakes the loop where it sleeps, and leaves it alone where it does not.
//!
//! tiny_http has one queue for requests and for what wakes who waits for them. A nudge for each
//! thing that a worker says would stand there in front of the requests: with many of them, as when
//! streams catch up, a turn that takes two nudges takes no request. So only who sleeps is nudged,
//! and once.
//!
//! No wake-up is lost, as all that is said of it is said of one atomic variable, whose changes have
//! an order. Who has something to say puts it where the loop looks, and then says [`CALLED`]. The
//! loop goes to sleep by changing [`AWAKE`] to [`ASLEEP`], and says [`AWAKE`] before it looks. So:
//!
//! * Called before the loop said [`AWAKE`]: it looks behind that, and finds what was put there. The
//!   change acquires what the call has released.
//! * Called after that and before it goes to sleep: there is no [`AWAKE`] to be changed. It does not
//!   sleep, but looks again.
//! * Called while it sleeps: the call finds [`ASLEEP`], and nudges. Others that call before it wakes
//!   find [`CALLED`], and need not.
//!
//! A nudge may come late, when a request has woken the loop already: then it ends the next sleep,
//! for nothing. There is one for each sleep at most.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// It looks after what was said before.
const AWAKE: u8 = 0;
/// It waits for requests, or to be nudged.
const ASLEEP: u8 = 1;
/// Something was said since it was last awake.
const CALLED: u8 = 2;

/// Wakes who waits for a request.
#[derive(Clone)]
pub(super) struct Waker {
    server: Arc<Mutex<Arc<tiny_http::Server>>>,
    state: Arc<AtomicU8>,
}

impl Waker {
    pub(super) fn new(server: Arc<tiny_http::Server>) -> Waker {
        Waker { server: Arc::new(Mutex::new(server)), state: Arc::new(AtomicU8::new(AWAKE)) }
    }

    /// Has the loop look once more at what it is told, which was put there before.
    pub(super) fn wake(&self) {
        if self.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.server().unblock();
        }
    }

    /// Sleeps, unless something was said. What was said until it returns is to be looked at then.
    pub(super) fn sleep<T>(&self, sleep: impl FnOnce() -> Option<T>) -> Option<T> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let falls_asleep = self.state.compare_exchange(AWAKE, ASLEEP, success, failure).is_ok();
        let found = if falls_asleep { sleep() } else { None };
        self.state.swap(AWAKE, Ordering::AcqRel);
        found
    }

    /// From now on it waits for the requests of another server.
    pub(super) fn waits_for(&self, server: Arc<tiny_http::Server>) {
        *self.server() = server;
    }

    fn server(&self) -> MutexGuard<'_, Arc<tiny_http::Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// How often it is told something, each time by several at once.
    const ROUNDS: usize = 5_000;
    const CALLERS: usize = 3;
    const PATIENCE: Duration = Duration::from_mins(1);

    /// As soon as one wake-up is lost, everybody waits for ever.
    #[test]
    fn no_wake_up_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(tiny_http::Server::from_listener(listener, None).unwrap());
        let waker = Waker::new(Arc::clone(&server));
        let (said, heard) = mpsc::channel();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (waker, said) = (waker.clone(), said.clone());
                let (go_on, may_go_on) = mpsc::channel();
                thread::spawn(move || {
                    for _ in 0..ROUNDS {
                        if may_go_on.recv().is_err() {
                            return;
                        }
                        said.send(()).unwrap();
                        waker.wake();
                    }
                });
                go_on
            })
            .collect();
        let (done, is_done) = mpsc::channel();
        thread::spawn(move || {
            for _ in 0..ROUNDS {
                for go_on in &callers {
                    go_on.send(()).unwrap();
                }
                let mut missing = CALLERS;
                while missing > 0 {
                    // Whatever wakes it, it looks behind that only.
                    waker.sleep(|| server.recv().ok());
                    missing -= heard.try_iter().count();
                }
            }
            done.send(()).unwrap();
        });
        is_done.recv_timeout(PATIENCE).expect("everything that is said is heard");
    }

    #[test]
    fn who_is_awake_is_not_nudged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(tiny_http::Server::from_listener(listener, None).unwrap());
        let waker = Waker::new(Arc::clone(&server));
        for _ in 0..1000 {
            waker.wake();
        }
        let nudge = server.recv_timeout(Duration::from_millis(1));
        assert!(matches!(nudge, Ok(None)), "there is nothing in the queue");
        assert!(waker.sleep(|| Some(())).is_none(), "there is something to be looked at");
        assert!(waker.sleep(|| Some(())).is_some());
    }
}
