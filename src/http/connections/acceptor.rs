//! The source of requests: tiny_http, which can be restarted.
//!
//! Its accept thread ends for good when it cannot accept a connection, or cannot start a thread for
//! one. The listening socket outlives it. Another tiny_http is started on that socket, and requests
//! of the old one are still received until its connections have ended.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::http::connections::descriptors::inode;
use crate::http::connections::tcp_info::TcpInfo;
use crate::http::waker::Waker;

/// Retired servers whose requests are still received. With one more, the oldest is forgotten.
const MAX_RETIRED: usize = 64;
/// Time for which requests of a retired server are received. Their connections close with the
/// reply.
const RETIREMENT: Duration = Duration::from_mins(5);

/// Waiting connections that a restart leaves to be accepted, however few were shed.
const MIN_ADMITTED: usize = 4;

/// The tiny_http that accepts connections, and retired ones that have.
pub(in crate::http) struct Acceptor {
    listener: Arc<TcpListener>,
    current: Arc<tiny_http::Server>,
    /// The descriptor on which the current server accepts.
    accepting: Arc<AtomicI32>,
    waker: Waker,
    retired: VecDeque<(Instant, Arc<tiny_http::Server>)>,
}

/// Something that ends a wait for requests.
pub(in crate::http) enum Arrival {
    Request(tiny_http::Request, Afterwards),
    /// The accept thread has ended.
    AcceptFailed(io::Error),
}

/// Continuation of a connection after the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Afterwards {
    Continues,
    /// The server that accepted it is retired.
    Closes,
}

/// A handle to check whether the listening socket is still accepted from.
#[derive(Clone)]
pub(in crate::http) struct ListenState {
    listener: Arc<TcpListener>,
    accepting: Arc<AtomicI32>,
}

impl Acceptor {
    pub(in crate::http) fn start(listener: TcpListener) -> io::Result<Acceptor> {
        let (current, fd) = serve(&listener)?;
        let (current, listener) = (Arc::new(current), Arc::new(listener));
        let waker = Waker::new(Arc::clone(&current));
        let accepting = Arc::new(AtomicI32::new(fd));
        Ok(Acceptor { listener, current, accepting, waker, retired: VecDeque::new() })
    }

    pub(in crate::http) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(in crate::http) fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(in crate::http) fn listen_state(&self) -> ListenState {
        ListenState { listener: Arc::clone(&self.listener), accepting: Arc::clone(&self.accepting) }
    }

    /// Restarts accepting if the accept thread has ended. Requests on existing connections are
    /// still received. `shed` is the number of connections that were closed to make room: about as
    /// many of the waiting ones are accepted, lest the restart fail as before. The others are
    /// closed. Returns their number.
    pub(in crate::http) fn renew(&mut self, shed: usize) -> io::Result<usize> {
        let listen_state = self.listen_state();
        if listen_state.is_accepting() {
            return Ok(0);
        }
        let mut refused = 0;
        while listen_state.waiting() > shed.max(MIN_ADMITTED) && is_ready(&self.listener) {
            drop(self.listener.accept()?);
            refused += 1;
        }
        let (fresh, fd) = serve(&self.listener)?;
        let fresh = Arc::new(fresh);
        self.accepting.store(fd, Ordering::Relaxed);
        self.waker.set_server(Arc::clone(&fresh));
        let old = std::mem::replace(&mut self.current, fresh);
        self.retired.push_back((Instant::now(), old));
        if self.retired.len() > MAX_RETIRED {
            self.forget_oldest();
        }
        Ok(refused)
    }

    /// Waits for a request, or to be woken, which gives `None`. In either case, messages that were
    /// sent before it returns are in the loop's queue.
    pub(in crate::http) fn wait(&self) -> Option<Arrival> {
        self.waker.sleep(|| arrival(self.current.recv()))
    }

    /// Waits like [`Acceptor::wait`], for at most `time`.
    pub(in crate::http) fn wait_for(&self, time: Duration) -> Option<Arrival> {
        self.waker.sleep(|| self.current.recv_timeout(time).transpose().and_then(arrival))
    }

    /// The next request that has arrived, without waiting.
    pub(in crate::http) fn next(&mut self) -> Option<Arrival> {
        let current = || self.current.try_recv().transpose();
        // Tried twice: `None` may come from an `unblock` that arrived late.
        let found = current().or_else(current);
        found.and_then(arrival).or_else(|| self.next_of_retired())
    }

    fn next_of_retired(&mut self) -> Option<Arrival> {
        while self.retired.front().is_some_and(|(since, _)| since.elapsed() > RETIREMENT) {
            self.forget_oldest();
        }
        let mut servers = self.retired.iter();
        let found = servers.find_map(|(_, server)| server.try_recv().ok().flatten());
        found.map(|request| Arrival::Request(request, Afterwards::Closes))
    }

    fn forget_oldest(&mut self) {
        // Dropping a server would connect to the listening socket, and block.
        std::mem::forget(self.retired.pop_front());
    }

    /// Stops accepting connections, for good.
    pub(in crate::http) fn close(&self) {
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

fn arrival(received: io::Result<tiny_http::Request>) -> Option<Arrival> {
    match received {
        Ok(request) => Some(Arrival::Request(request, Afterwards::Continues)),
        // An error without a number comes from `unblock`.
        Err(error) if error.raw_os_error().is_none() => None,
        Err(error) => Some(Arrival::AcceptFailed(error)),
    }
}

/// Starts tiny_http on a socket. Returns it with the descriptor on which it accepts.
fn serve(listener: &TcpListener) -> io::Result<(tiny_http::Server, RawFd)> {
    let listener = listener.try_clone()?;
    let fd = listener.as_raw_fd();
    // It panics if no thread can be started.
    let started = catch_unwind(|| tiny_http::Server::from_listener(listener, None));
    let started = started.map_err(|_| io::Error::other("no thread can be started"))?;
    Ok((started.map_err(io::Error::other)?, fd))
}

/// Returns whether a connection can be accepted without blocking.
fn is_ready(listener: &TcpListener) -> bool {
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
}

impl ListenState {
    /// Returns whether the accept thread runs. It has a descriptor of the listening socket of its
    /// own, which is closed when the thread ends, for whatever reason.
    pub(in crate::http) fn is_accepting(&self) -> bool {
        let inode = inode(self.listener.as_raw_fd());
        inode.is_some() && inode == self::inode(self.accepting.load(Ordering::Relaxed))
    }

    /// Number of connections that wait to be accepted.
    fn waiting(&self) -> usize {
        TcpInfo::of(&*self.listener).map_or(0, |info| info.unaccepted as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn an_accept_thread_that_has_ended_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::start(listener).unwrap();
        let listen_state = acceptor.listen_state();
        assert!(listen_state.is_accepting());
        // Waiting connections do not matter while the thread runs.
        let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
        assert_eq!(acceptor.renew(0).unwrap(), 0);
        assert!(acceptor.retired.is_empty());
        drop(waiting);

        // The descriptor no longer refers to the socket, as after the end of the thread.
        let elsewhere =
            ListenState { accepting: Arc::new(AtomicI32::new(0)), ..listen_state.clone() };
        assert!(!elsewhere.is_accepting());
        acceptor.accepting = elsewhere.accepting;
        acceptor.renew(0).unwrap();
        assert_eq!(acceptor.retired.len(), 1);
        assert!(acceptor.listen_state().is_accepting());
    }

    /// A loop that is awake is not nudged: a request would wait after all nudges.
    #[test]
    fn wake_ups_do_not_delay_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::start(listener).unwrap();
        let waker = acceptor.waker();
        for _ in 0..1000 {
            waker.wake();
        }
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: veche\r\n\r\n").unwrap();
        // The first wait may return because of a wake-up.
        let found = (0..2).find_map(|_| acceptor.wait_for(Duration::from_secs(30)));
        let Some(Arrival::Request(request, _)) = found else { panic!("there is no request") };
        std::mem::forget(request);
        assert!(acceptor.next().is_none());
    }
}
