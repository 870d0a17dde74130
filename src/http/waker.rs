//! Wakes the loop if it sleeps.
//!
//! tiny_http has one queue for requests and for the wake-ups of `unblock`. If each message of a
//! worker caused a wake-up, they would delay requests: with many of them, as when streams catch up,
//! a turn that takes two entries of the queue takes no request. So only a sleeping loop is woken,
//! and once per sleep.
//!
//! No wake-up is lost, because all changes are made to one atomic variable, and so have an order. A
//! caller first puts its message where the loop looks, then sets [`CALLED`]. The loop goes to sleep
//! by changing [`AWAKE`] to [`ASLEEP`], and sets [`AWAKE`] before it looks. A call comes at one of
//! these times:
//!
//! * Before the loop sets [`AWAKE`]: the loop looks afterwards, and finds the message. Its change
//!   acquires what the call released.
//! * After that, and before the loop goes to sleep: [`AWAKE`] is no longer set, so the loop does
//!   not sleep, but looks again.
//! * While the loop sleeps: the call finds [`ASLEEP`], and wakes it. Later calls find [`CALLED`],
//!   and do nothing.
//!
//! A wake-up may come late, when a request has woken the loop already. It then ends the next sleep
//! without need. There is at most one for each sleep.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The loop will look at all earlier messages.
const AWAKE: u8 = 0;
/// The loop waits for a request or a wake-up.
const ASLEEP: u8 = 1;
/// A message came since the loop was last awake.
const CALLED: u8 = 2;

/// Wakes a loop that waits for a request.
#[derive(Clone)]
pub(super) struct Waker {
    server: Arc<Mutex<Arc<tiny_http::Server>>>,
    state: Arc<AtomicU8>,
}

impl Waker {
    pub(super) fn new(server: Arc<tiny_http::Server>) -> Waker {
        Waker { server: Arc::new(Mutex::new(server)), state: Arc::new(AtomicU8::new(AWAKE)) }
    }

    /// Has the loop look at its messages again. The message must be in the queue already.
    pub(super) fn wake(&self) {
        if self.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            self.server().unblock();
        }
    }

    /// Sleeps, unless there was a call. After it returns, the caller must look at all messages.
    pub(super) fn sleep<T>(&self, sleep: impl FnOnce() -> Option<T>) -> Option<T> {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let falls_asleep = self.state.compare_exchange(AWAKE, ASLEEP, success, failure).is_ok();
        let found = if falls_asleep { sleep() } else { None };
        self.state.swap(AWAKE, Ordering::AcqRel);
        found
    }

    /// Sets the tiny_http server whose requests the loop waits for from now on.
    pub(super) fn set_server(&self, server: Arc<tiny_http::Server>) {
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

    /// Number of times that several callers send a message at once.
    const ROUNDS: usize = 5_000;
    const CALLERS: usize = 3;
    const PATIENCE: Duration = Duration::from_mins(1);

    /// If one wake-up is lost, the test hangs.
    #[test]
    fn no_wake_up_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(tiny_http::Server::from_listener(listener, None).unwrap());
        let waker = Waker::new(Arc::clone(&server));
        let (messages, received) = mpsc::channel();
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (waker, messages) = (waker.clone(), messages.clone());
                let (go_on, may_go_on) = mpsc::channel();
                thread::spawn(move || {
                    for _ in 0..ROUNDS {
                        if may_go_on.recv().is_err() {
                            return;
                        }
                        messages.send(()).unwrap();
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
                    // The loop looks only after a wake-up, whatever caused it.
                    waker.sleep(|| server.recv().ok());
                    missing -= received.try_iter().count();
                }
            }
            done.send(()).unwrap();
        });
        is_done.recv_timeout(PATIENCE).expect("every message is received");
    }

    #[test]
    fn an_awake_loop_is_not_woken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Arc::new(tiny_http::Server::from_listener(listener, None).unwrap());
        let waker = Waker::new(Arc::clone(&server));
        for _ in 0..1000 {
            waker.wake();
        }
        let wake_up = server.recv_timeout(Duration::from_millis(1));
        assert!(matches!(wake_up, Ok(None)), "the queue is empty");
        assert!(waker.sleep(|| Some(())).is_none(), "there is a call");
        assert!(waker.sleep(|| Some(())).is_some());
    }
}
