//! The connections that tiny_http has accepted, which it does not show: found among the
//! descriptors of the process.
//!
//! A descriptor that is looked at here may be closed, and opened anew for something else, at any
//! instant. So what is asked of it decides, and something is done only to a duplicate that has been
//! asked again; where there is no descriptor left for that, to the descriptor itself, which can end
//! a connection that has just begun in its place.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::process::Process;
use super::tcp_info::TcpInfo;

/// How exactly the system knows times: a tick takes 10 ms at most.
const GRANULARITY: Duration = Duration::from_millis(10);
/// By how much a connection must be younger than a request to be certainly not the request's: the
/// system's ticks may come late where other machines have its processors.
const CERTAINLY: Duration = Duration::from_millis(100);

/// The connections of one listening socket. To go through them takes a fraction of a microsecond
/// for each descriptor that is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    /// Where the listening socket listens. Two of them in a process can have connections with one
    /// and the same peer.
    pub(super) local_port: u16,
}

/// One of a connection's descriptors; tiny_http has two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptor {
    fd: RawFd,
    pub(super) peer: SocketAddr,
}

/// What a look at all descriptors found.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Those of connections that still have a peer.
    pub(super) connected: Vec<Descriptor>,
    /// The connections that have ended and are still held, by inode.
    pub(super) ended: Vec<u64>,
    /// How many descriptors, of all kinds, are open.
    pub(super) open: usize,
}

impl Connections {
    /// Looks at every descriptor there is.
    pub(super) fn census(self) -> Census {
        let mut census = Census::default();
        for fd in 0..Process::look().descriptor_slots {
            match self.peer_of(fd).map_err(|error| error.raw_os_error()) {
                Ok(Some(peer)) => census.connected.push(Descriptor { fd, peer }),
                Err(Some(libc::ENOTCONN)) => census.ended.extend(self.ended(fd)),
                Err(Some(libc::EBADF)) => continue,
                _ => {}
            }
            census.open += 1;
        }
        census
    }

    /// The other end of a descriptor, if it is one of these connections.
    fn peer_of(self, fd: RawFd) -> io::Result<Option<SocketAddr>> {
        look(fd, |socket| {
            let peer = socket.peer_addr()?.as_socket();
            let local_port = socket.local_addr()?.as_socket().map(|addr| addr.port());
            Ok(peer.filter(|_| local_port == Some(self.local_port)))
        })
    }

    /// The inode of a connection that has no peer any more.
    fn ended(self, fd: RawFd) -> Option<u64> {
        let local = look(fd, |socket| socket.local_addr()).ok()?.as_socket()?;
        let is_ours = local.port() == self.local_port;
        (is_ours && TcpInfo::of(&fd)?.is_closed()).then(|| inode(fd)).flatten()
    }

    fn descriptors_with(self, peer: SocketAddr) -> impl Iterator<Item = Descriptor> {
        let slots = 0..Process::look().descriptor_slots;
        slots
            .filter(move |fd| matches!(self.peer_of(*fd), Ok(Some(found)) if found == peer))
            .map(move |fd| Descriptor { fd, peer })
    }

    /// A handle of our own on the connection with `peer`.
    pub(super) fn find(self, peer: SocketAddr) -> Option<OwnedFd> {
        self.descriptors_with(peer).find_map(|Descriptor { fd, .. }| {
            let ours = duplicate(fd)?;
            // It may have become another one since.
            let found = SockRef::from(&ours).peer_addr().ok()?.as_socket();
            (found == Some(peer)).then_some(ours)
        })
    }

    /// The same for many at once, in one look at all descriptors. One of which there can be no handle
    /// is ended.
    pub(super) fn find_all(self, peers: &HashSet<SocketAddr>) -> HashMap<SocketAddr, OwnedFd> {
        let mut found = HashMap::new();
        for fd in 0..Process::look().descriptor_slots {
            if found.len() == peers.len() {
                break;
            }
            let Ok(Some(peer)) = self.peer_of(fd) else { continue };
            if !peers.contains(&peer) || found.contains_key(&peer) {
                continue;
            }
            let Some(ours) = duplicate(fd) else {
                self.shut_down(Descriptor { fd, peer });
                continue;
            };
            if SockRef::from(&ours).peer_addr().is_ok_and(|it| it.as_socket() == Some(peer)) {
                found.insert(peer, ours);
            }
        }
        found
    }

    /// Whether there is a connection with `peer` that neither side has ended. One that we ended is
    /// not, also while its descriptors are still open.
    pub(super) fn is_open(self, peer: SocketAddr) -> bool {
        self.descriptors_with(peer).any(|found| found.info().is_some_and(|info| info.is_open()))
    }

    /// When the connection with `peer` was made, or a little earlier, if it is open and nothing was
    /// sent on it so far.
    pub(super) fn unanswered_since(self, peer: SocketAddr) -> Option<Instant> {
        let info = self.descriptors_with(peer).find_map(Descriptor::info)?;
        let is_unanswered = info.is_open() && info.acknowledged == 0;
        let age = info.since_sent + GRANULARITY;
        is_unanswered.then(|| Instant::now().checked_sub(age)).flatten()
    }

    /// Ends a connection from outside: whoever reads or writes it is woken, and never waits again.
    pub(super) fn sever(self, peer: SocketAddr) {
        if let Some(descriptor) = self.descriptors_with(peer).next() {
            self.shut_down(descriptor);
        }
    }

    /// The same for a connection that was seen.
    pub(super) fn shut_down(self, seen: Descriptor) {
        let is_it = |fd| matches!(self.peer_of(fd), Ok(Some(peer)) if peer == seen.peer);
        // What is done to a handle of our own cannot happen to another connection, however long
        // this thread is kept waiting meanwhile.
        let ours = duplicate(seen.fd);
        let fd = ours.as_ref().map_or(seen.fd, AsRawFd::as_raw_fd);
        if is_it(fd) {
            // It fails only if the connection has ended by itself.
            let _ = look(fd, |socket| socket.shutdown(Shutdown::Both));
        }
    }
}

impl Descriptor {
    /// What the system knows of the connection.
    pub(super) fn info(self) -> Option<TcpInfo> {
        TcpInfo::of(&self.fd)
    }

    /// How many of the bytes that were received nobody has read.
    pub(super) fn unread(self) -> u64 {
        borrow(self.fd, |fd| rustix::io::ioctl_fionread(fd)).unwrap_or(0)
    }

    /// What two descriptors of one connection have in common, and no other.
    pub(super) fn inode(self) -> Option<u64> {
        inode(self.fd)
    }
}

/// What all descriptors of one socket have in common, and no other.
pub(super) fn inode(fd: RawFd) -> Option<u64> {
    borrow(fd, |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino)).ok()
}

/// Whether a connection's peer has ended it, or we have, and all it sent has been read.
pub(super) fn is_at_end(fd: &OwnedFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    matches!(SockRef::from(fd).recv_with_flags(&mut byte, flags), Ok(0))
}

/// Whether a connection is not the one on which a request came that was taken in so long ago, but
/// another one from the same port: nothing has been read from it, or it was made later. It may be
/// another one all the same, if it was made soon after and its own request is about to be taken in.
pub(super) fn is_another(socket: &OwnedFd, request_age: Duration) -> bool {
    let Some(info) = TcpInfo::of(socket) else { return false };
    let unread = rustix::io::ioctl_fionread(socket).unwrap_or(0);
    let is_younger = info.acknowledged == 0 && info.since_sent + CERTAINLY < request_age;
    info.received <= unread || is_younger
}

/// Asks something of whatever socket a descriptor stands for at this instant.
fn look<T>(fd: RawFd, ask: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
    borrow(fd, |fd| ask(SockRef::from(&fd)))
}

fn borrow<T>(fd: RawFd, ask: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    #[expect(unsafe_code, reason = "tiny_http does not show its sockets")]
    // SAFETY: the descriptor is not closed through it, and not kept. Should it not be open, or be
    // no socket, the system says so.
    ask(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn duplicate(fd: RawFd) -> Option<OwnedFd> {
    look(fd, |socket| Ok(OwnedFd::from(socket.try_clone()?))).ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_request_did_not_come_on_a_connection_that_is_younger_or_unread() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let made = Instant::now();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let socket = OwnedFd::from(server.try_clone().unwrap());
        assert!(is_another(&socket, Duration::ZERO), "nothing was sent");
        client.write_all(b"GET").unwrap();
        server.peek(&mut [0]).unwrap();
        assert!(is_another(&socket, Duration::ZERO), "nothing was read");
        server.read_exact(&mut [0]).unwrap();
        assert!(!is_another(&socket, Duration::ZERO));
        let before = made.elapsed() + 100 * CERTAINLY;
        assert!(is_another(&socket, before), "it was made later");
        // Something was answered before, so that it is no new one.
        server.write_all(b"OK").unwrap();
        client.read_exact(&mut [0, 0]).unwrap();
        client.write_all(b"GET").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        assert!(!is_another(&socket, before));
    }
}
