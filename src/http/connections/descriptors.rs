//! The connections that tiny_http has accepted and does not show, found among the descriptors of
//! the process.
//!
//! A descriptor can be closed, and opened again for something else, at any instant. So this module
//! acts only on a duplicate, after it has checked what the duplicate refers to. If no descriptor is
//! left for a duplicate, it acts on the descriptor itself, which can end a connection that has just
//! begun in its place.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{SockAddr, SockRef};

use crate::http::connections::process::Process;
use crate::http::connections::tcp_info::TcpInfo;

/// The connections of one listening socket. A look at all of them takes a fraction of a microsecond
/// per open descriptor.
///
/// tiny_http shows only the peer of a request's connection. If the listening socket has several
/// addresses, two connections can have the same peer, each to another address. So anything done to
/// the connection of a request is done while the request is unanswered: until then, its connection
/// is among the descriptors, in whatever state. If one connection has the peer, it is the
/// request's; if several have it, the result is [`AmbiguousPeer`].
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Connections {
    /// Port of the listening socket. Two listening sockets of a process can have connections with
    /// the same peer.
    pub(in crate::http) local_port: u16,
}

/// A descriptor of a connection; tiny_http has two for each.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Descriptor {
    fd: RawFd,
    /// Common to all descriptors of one connection, and unique to it.
    pub(in crate::http) inode: u64,
    pub(in crate::http) peer: SocketAddr,
}

/// Several connections have the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct AmbiguousPeer;

/// All descriptors of the process, sorted.
#[derive(Debug, Default)]
pub(in crate::http) struct DescriptorScan {
    /// Descriptors of connections that still have a peer.
    pub(in crate::http) connected: Vec<Descriptor>,
    /// Inodes of connections that have ended and are still held.
    pub(in crate::http) ended: Vec<u64>,
    /// Number of open descriptors of any kind.
    pub(in crate::http) open: usize,
}

impl Connections {
    /// Looks at every descriptor.
    pub(in crate::http) fn scan(self) -> DescriptorScan {
        let mut scan = DescriptorScan::default();
        for fd in 0..Process::read().descriptor_slots {
            match self.peer_of(fd).map_err(|error| error.raw_os_error()) {
                Ok(Some(peer)) => {
                    scan.connected.extend(inode(fd).map(|inode| Descriptor { fd, inode, peer }));
                }
                Err(Some(libc::ENOTCONN)) => scan.ended.extend(self.ended(fd)),
                Err(Some(libc::EBADF)) => continue,
                _ => {}
            }
            scan.open += 1;
        }
        scan
    }

    /// Peer of a descriptor, if it is one of these connections.
    fn peer_of(self, fd: RawFd) -> io::Result<Option<SocketAddr>> {
        with_socket(fd, |socket| {
            let peer = socket.peer_addr()?.as_socket();
            Ok(peer.filter(|_| self.is_local(&socket)))
        })
    }

    /// Peer of a descriptor, also if the connection has ended.
    fn last_peer_of(self, fd: RawFd) -> Option<SocketAddr> {
        match self.peer_of(fd) {
            Ok(peer) => peer,
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                let is_local =
                    with_socket(fd, |socket| Ok(self.is_local(&socket))).unwrap_or(false);
                if is_local { peer_name(fd) } else { None }
            }
            Err(_) => None,
        }
    }

    fn is_local(self, socket: &SockRef<'_>) -> bool {
        let local = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        local.is_some_and(|addr| addr.port() == self.local_port)
    }

    /// Inode of a connection that no longer has a peer.
    fn ended(self, fd: RawFd) -> Option<u64> {
        let is_ours = with_socket(fd, |socket| Ok(self.is_local(&socket))).ok()?;
        (is_ours && TcpInfo::of(&fd)?.is_closed()).then(|| inode(fd)).flatten()
    }

    /// A descriptor of each connection with one of these peers, including those that have ended and
    /// are still held. Looks at every descriptor once.
    pub(in crate::http) fn with(
        self,
        peers: &HashSet<SocketAddr>,
    ) -> HashMap<SocketAddr, Vec<Descriptor>> {
        let mut found: HashMap<SocketAddr, Vec<Descriptor>> = HashMap::new();
        for fd in 0..Process::read().descriptor_slots {
            let Some(peer) = self.last_peer_of(fd).filter(|peer| peers.contains(peer)) else {
                continue;
            };
            let Some(inode) = inode(fd) else { continue };
            let known = found.entry(peer).or_default();
            if !known.iter().any(|it| it.inode == inode) {
                known.push(Descriptor { fd, inode, peer });
            }
        }
        found
    }

    /// Duplicates for all connections with `peer`.
    pub(in crate::http) fn all(self, peer: SocketAddr) -> Vec<OwnedFd> {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        found.into_iter().filter_map(Descriptor::handle).collect()
    }

    /// A duplicate for the connection with `peer`, which has an unanswered request.
    pub(in crate::http) fn find(self, peer: SocketAddr) -> Result<Option<OwnedFd>, AmbiguousPeer> {
        self.find_all(&HashSet::from([peer])).remove(&peer).transpose()
    }

    /// Does the same as [`Connections::find`] for many peers, in one look at all descriptors. A
    /// connection that cannot be duplicated is ended.
    pub(in crate::http) fn find_all(
        self,
        peers: &HashSet<SocketAddr>,
    ) -> HashMap<SocketAddr, Result<OwnedFd, AmbiguousPeer>> {
        let found = self.with(peers).into_iter().filter_map(|(peer, found)| match found[..] {
            [descriptor] => {
                let duplicate = descriptor.handle();
                if duplicate.is_none() {
                    descriptor.shut_down();
                }
                Some((peer, Ok(duplicate?)))
            }
            _ => Some((peer, Err(AmbiguousPeer))),
        });
        found.collect()
    }

    /// Ends the connection with `peer`: threads that block on it wake, and never block on it again.
    /// If several are open, it does nothing.
    pub(in crate::http) fn shut_down(self, peer: SocketAddr) -> Result<(), AmbiguousPeer> {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        if found.iter().filter(|descriptor| descriptor.is_open()).count() > 1 {
            return Err(AmbiguousPeer);
        }
        // A connection that has ended may still hold unread bytes.
        for descriptor in found {
            descriptor.shut_down();
        }
        Ok(())
    }

    /// Ends all connections with `peer`, for cases in which none of them must continue.
    pub(in crate::http) fn shut_down_all(self, peer: SocketAddr) {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        for descriptor in found {
            descriptor.shut_down();
        }
    }

    /// Ends the connection of a descriptor, if its peer is `peer`. Returns whether it is.
    pub(in crate::http) fn shut_down_descriptor(self, fd: RawFd, peer: SocketAddr) -> bool {
        let Some(inode) = inode(fd) else { return false };
        let is_it = matches!(self.peer_of(fd), Ok(Some(found)) if found == peer);
        if is_it {
            Descriptor { fd, inode, peer }.shut_down();
        }
        is_it
    }
}

impl Descriptor {
    /// The kernel's data on the connection.
    pub(in crate::http) fn info(self) -> Option<TcpInfo> {
        TcpInfo::of(&self.fd).filter(|_| self.is_at(self.fd))
    }

    /// Returns whether neither side has ended the connection. A connection that the server has shut
    /// down is not open, even while it has descriptors.
    pub(in crate::http) fn is_open(self) -> bool {
        self.info().is_some_and(|info| info.is_open())
    }

    /// Ends the connection: threads that block on it wake, and never block on it again.
    pub(in crate::http) fn shut_down(self) {
        // A duplicate cannot become another connection, however long this thread is suspended.
        let duplicate = duplicate(self.fd);
        let fd = duplicate.as_ref().map_or(self.fd, AsRawFd::as_raw_fd);
        if self.is_at(fd) {
            // It fails only if the connection has ended by itself.
            let _ = with_socket(fd, |socket| socket.shutdown(Shutdown::Both));
        }
    }

    /// A duplicate of the descriptor.
    fn handle(self) -> Option<OwnedFd> {
        let duplicate = duplicate(self.fd)?;
        // The number may refer to another connection since.
        self.is_at(duplicate.as_raw_fd()).then_some(duplicate)
    }

    /// Returns whether a descriptor is this connection's. The peer may be that of one connection
    /// and the inode that of the next, if the descriptor was reopened between the two calls.
    fn is_at(self, fd: RawFd) -> bool {
        inode(fd) == Some(self.inode) && peer_name(fd) == Some(self.peer)
    }

    /// Number of received bytes that nobody has read.
    pub(in crate::http) fn unread(self) -> u64 {
        borrow(self.fd, |fd| rustix::io::ioctl_fionread(fd)).unwrap_or(0)
    }
}

/// Number of descriptors that the process has open. It opens none to count them.
pub(in crate::http) fn open_descriptors() -> usize {
    let is_open = |fd: &RawFd| borrow(*fd, |fd| rustix::io::fcntl_getfd(fd)).is_ok();
    (0..Process::read().descriptor_slots).filter(is_open).count()
}

/// Identifies a socket among all descriptors; all of its descriptors have it.
pub(in crate::http) fn inode(fd: RawFd) -> Option<u64> {
    borrow(fd, |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino)).ok()
}

/// Returns whether either side has ended the connection, and all that the peer sent was read.
pub(in crate::http) fn is_at_end(fd: &OwnedFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    matches!(SockRef::from(fd).recv_with_flags(&mut byte, flags), Ok(0))
}

/// Peer of a connection, also of one that was reset, for which `getpeername` fails.
fn peer_name(fd: RawFd) -> Option<SocketAddr> {
    // The kernel rejects a length greater than that of the address.
    let lengths = [size_of::<libc::sockaddr_in6>(), size_of::<libc::sockaddr_in>()];
    lengths.into_iter().find_map(|length| {
        let length = libc::socklen_t::try_from(length).ok()?;
        #[expect(unsafe_code, reason = "no dependency reads SO_PEERNAME")]
        // SAFETY: the kernel writes at most `len` bytes, and `len` never exceeds the storage, which
        // has room for each kind of address; the returned code is its result.
        let ((), peer) = unsafe {
            SockAddr::try_init(|address, len| {
                *len = length;
                let (level, name) = (libc::SOL_SOCKET, libc::SO_PEERNAME);
                match libc::getsockopt(fd, level, name, address.cast(), len) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            })
        }
        .ok()?;
        peer.as_socket()
    })
}

/// Runs `ask` on the socket that a descriptor refers to at this instant.
fn with_socket<T>(fd: RawFd, ask: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
    borrow(fd, |fd| ask(SockRef::from(&fd)))
}

fn borrow<T>(fd: RawFd, ask: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    #[expect(unsafe_code, reason = "tiny_http does not show its sockets")]
    // SAFETY: the descriptor is neither closed through it nor kept. If it is not open, or not a
    // socket, the system call fails.
    ask(unsafe { BorrowedFd::borrow_raw(fd) })
}

fn duplicate(fd: RawFd) -> Option<OwnedFd> {
    with_socket(fd, |socket| Ok(OwnedFd::from(socket.try_clone()?))).ok()
}

#[cfg(test)]
pub(in crate::http) mod tests {
    use std::io::Read as _;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Two connections with the same peer, to two addresses of one listening socket. Each is a pair
    /// of the client's end and the server's end.
    pub(in crate::http) struct Twins {
        pub(in crate::http) connections: Connections,
        pub(in crate::http) peer: SocketAddr,
        pub(in crate::http) pairs: [(TcpStream, TcpStream); 2],
        _listener: TcpListener,
    }

    impl Twins {
        pub(in crate::http) fn connect() -> Twins {
            Twins::connect_to(Ipv4Addr::UNSPECIFIED.into())
        }

        fn connect_to(listening: IpAddr) -> Twins {
            let listener = TcpListener::bind((listening, 0)).unwrap();
            let local_port = listener.local_addr().unwrap().port();
            let mut peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let pairs = [1, 2].map(|host| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                socket.set_reuse_address(true).unwrap();
                socket.bind(&peer.into()).unwrap();
                peer = socket.local_addr().unwrap().as_socket().unwrap();
                let addr = SocketAddr::from(([127, 0, 0, host], local_port));
                socket.connect(&addr.into()).unwrap();
                (TcpStream::from(socket), listener.accept().unwrap().0)
            });
            // A listener on IPv6 sees IPv4 peers as mapped addresses.
            let peer = pairs[0].1.peer_addr().unwrap();
            assert_eq!(pairs[1].1.peer_addr().unwrap(), peer);
            Twins { connections: Connections { local_port }, peer, pairs, _listener: listener }
        }
    }

    fn inodes(found: &[Descriptor]) -> HashSet<u64> {
        found.iter().map(|it| it.inode).collect()
    }

    #[test]
    fn a_connection_with_the_peer_of_another_is_not_found() {
        for listening in [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()] {
            is_not_found(Twins::connect_to(listening));
        }
    }

    fn is_not_found(twins: Twins) {
        let Twins { connections, peer, pairs, _listener } = twins;
        let [(client, server), (other_client, other)] = pairs;
        let expected = HashSet::from([&server, &other].map(|it| inode(it.as_raw_fd()).unwrap()));
        let with = || connections.with(&HashSet::from([peer])).remove(&peer).unwrap();
        assert_eq!(inodes(&with()), expected);
        assert_eq!(connections.find(peer).unwrap_err(), AmbiguousPeer);
        assert_eq!(connections.shut_down(peer), Err(AmbiguousPeer));
        // A connection that was reset is held until its request is answered.
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        (&server).read_exact(&mut [0]).unwrap_err();
        assert_eq!(inodes(&with()), expected);
        assert_eq!(connections.find(peer).unwrap_err(), AmbiguousPeer);
        drop(server);
        let found = connections.find(peer).unwrap().unwrap();
        assert_eq!(inode(found.as_raw_fd()), inode(other.as_raw_fd()));
        assert_eq!(connections.shut_down(peer), Ok(()));
        assert_eq!((&other_client).read(&mut [0]).unwrap(), 0);
    }
}
