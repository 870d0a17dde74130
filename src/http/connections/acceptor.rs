//! Where requests come from: tiny_http, which can be started anew.
//!
//! Its accept thread ends for good when a connection cannot be accepted, or no thread can be had
//! for one. The listening socket outlives it: another tiny_http is started on it, and the old one
//! is still listened to until its connections have gone.

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

/// How many that are not accepting any more are listened to. Of one more, the oldest is not.
const MAX_RETIRED: usize = 64;
/// For how long. Whoever makes a request on such a connection is told to make a new one.
const RETIREMENT: Duration = Duration::from_mins(5);

/// So many of the connections that wait are always accepted.
const MIN_ADMITTED: usize = 4;

/// What accepts connections now, and what did before.
pub(in crate::http) struct Acceptor {
    listener: Arc<TcpListener>,
    current: Arc<tiny_http::Server>,
    /// The descriptor on which the current one accepts.
    accepting: Arc<AtomicI32>,
    waker: Waker,
    retired: VecDeque<(Instant, Arc<tiny_http::Server>)>,
}

/// What comes of waiting.
pub(in crate::http) enum Arrival {
    Request(tiny_http::Request, Afterwards),
    /// Nothing accepts connections any more.
    Dead(io::Error),
}

/// What becomes of a connection when a request of it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Afterwards {
    GoesOn,
    /// Who accepted it accepts no more.
    Ends,
}

/// A look at the listening socket from elsewhere.
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

    /// Accepts connections anew, where nobody does any more. What comes on those there are is still
    /// received. So many have just given way: about as many of those that wait are accepted, lest
    /// it end as it did before. The others are closed, and counted.
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
        self.waker.waits_for(Arc::clone(&fresh));
        let old = std::mem::replace(&mut self.current, fresh);
        self.retired.push_back((Instant::now(), old));
        if self.retired.len() > MAX_RETIRED {
            self.forget_oldest();
        }
        Ok(refused)
    }

    /// Waits for a request, or to be woken, which is `None`. Whatever it was, who was told
    /// something before this returns is to be heard then.
    pub(in crate::http) fn wait(&self) -> Option<Arrival> {
        self.waker.sleep(|| arrival(self.current.recv()))
    }

    /// The same for so long at most.
    pub(in crate::http) fn wait_for(&self, time: Duration) -> Option<Arrival> {
        self.waker.sleep(|| self.current.recv_timeout(time).transpose().and_then(arrival))
    }

    /// What is there now.
    pub(in crate::http) fn next(&mut self) -> Option<Arrival> {
        let current = || self.current.try_recv().transpose();
        // Asked twice, because what looks like the end may be a nudge that came late.
        let found = current().or_else(current);
        found.and_then(arrival).or_else(|| self.next_of_retired())
    }

    fn next_of_retired(&mut self) -> Option<Arrival> {
        while self.retired.front().is_some_and(|(since, _)| since.elapsed() > RETIREMENT) {
            self.forget_oldest();
        }
        let mut servers = self.retired.iter();
        let found = servers.find_map(|(_, server)| server.try_recv().ok().flatten());
        found.map(|request| Arrival::Request(request, Afterwards::Ends))
    }

    fn forget_oldest(&mut self) {
        // To drop it would connect to the listening socket, and wait for that.
        std::mem::forget(self.retired.pop_front());
    }

    /// Takes no more connections, for good.
    pub(in crate::http) fn close(&self) {
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

fn arrival(received: io::Result<tiny_http::Request>) -> Option<Arrival> {
    match received {
        Ok(request) => Some(Arrival::Request(request, Afterwards::GoesOn)),
        // An error without a number is the nudge of `unblock`.
        Err(error) if error.raw_os_error().is_none() => None,
        Err(error) => Some(Arrival::Dead(error)),
    }
}

/// Starts tiny_http on a socket, and says on which descriptor it accepts.
fn serve(listener: &TcpListener) -> io::Result<(tiny_http::Server, RawFd)> {
    let listener = listener.try_clone()?;
    let fd = listener.as_raw_fd();
    // It panics when the system has no thread for it.
    let started = catch_unwind(|| tiny_http::Server::from_listener(listener, None));
    let started = started.map_err(|_| io::Error::other("no thread can be started"))?;
    Ok((started.map_err(io::Error::other)?, fd))
}

/// Whether a connection can be accepted without waiting for one.
fn is_ready(listener: &TcpListener) -> bool {
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).is_ok_and(|ready| ready == 1)
}

impl ListenState {
    /// Whether somebody accepts. The accept thread has a descriptor of the listening socket to
    /// itself, which is closed when the thread ends, however it does.
    pub(in crate::http) fn is_accepting(&self) -> bool {
        let inode = inode(self.listener.as_raw_fd());
        inode.is_some() && inode == self::inode(self.accepting.load(Ordering::Relaxed))
    }

    /// How many connections wait to be accepted.
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
    fn a_door_that_nobody_attends_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::start(listener).unwrap();
        let listen_state = acceptor.listen_state();
        assert!(listen_state.is_accepting());
        // However many wait: they are somebody's.
        let waiting: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
        assert_eq!(acceptor.renew(0).unwrap(), 0);
        assert!(acceptor.retired.is_empty());
        drop(waiting);

        // Its end of it closes, as when the thread ends.
        let elsewhere =
            ListenState { accepting: Arc::new(AtomicI32::new(0)), ..listen_state.clone() };
        assert!(!elsewhere.is_accepting());
        acceptor.accepting = elsewhere.accepting;
        acceptor.renew(0).unwrap();
        assert_eq!(acceptor.retired.len(), 1);
        assert!(acceptor.listen_state().is_accepting());
    }

    /// Who is awake anyway is not woken: a request would wait behind all that was said.
    #[test]
    fn nudges_do_not_stand_before_requests() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let mut acceptor = Acceptor::start(listener).unwrap();
        let waker = acceptor.waker();
        for _ in 0..1000 {
            waker.wake();
        }
        let mut client = TcpStream::connect(addr).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: veche\r\n\r\n").unwrap();
        // The first look may be for what was said.
        let found = (0..2).find_map(|_| acceptor.wait_for(Duration::from_secs(30)));
        let Some(Arrival::Request(request, _)) = found else { panic!("there is no request") };
        std::mem::forget(request);
        assert!(acceptor.next().is_none());
    }
}
