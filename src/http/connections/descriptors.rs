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

use socket2::{SockAddr, SockRef};

use crate::http::connections::process::Process;
use crate::http::connections::tcp_info::TcpInfo;

/// The connections of one listening socket. To go through them takes a fraction of a microsecond
/// for each descriptor that is open.
///
/// tiny_http says of a request no more than the peer of its connection. Where the listening socket
/// has several addresses, two connections can have one and the same peer, each to another of these.
/// So whatever is done to the connection of a request is done while the request is unanswered:
/// as long as it is, its connection is among the descriptors, in whatever state. If there is only
/// one with its peer, it is that one; if there are [`AmbiguousPeer`], it is not known which.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Connections {
    /// Where the listening socket listens. Two of them in a process can have connections with one
    /// and the same peer.
    pub(in crate::http) local_port: u16,
}

/// One of a connection's descriptors; tiny_http has two.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Descriptor {
    fd: RawFd,
    /// What two descriptors of one connection have in common, and no other.
    pub(in crate::http) inode: u64,
    pub(in crate::http) peer: SocketAddr,
}

/// There are several connections with one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct AmbiguousPeer;

/// What a look at all descriptors found.
#[derive(Debug, Default)]
pub(in crate::http) struct DescriptorScan {
    /// Those of connections that still have a peer.
    pub(in crate::http) connected: Vec<Descriptor>,
    /// The connections that have ended and are still held, by inode.
    pub(in crate::http) ended: Vec<u64>,
    /// How many descriptors, of all kinds, are open.
    pub(in crate::http) open: usize,
}

impl Connections {
    /// Looks at every descriptor there is.
    pub(in crate::http) fn scan(self) -> DescriptorScan {
        let mut scan = DescriptorScan::default();
        for fd in 0..Process::look().descriptor_slots {
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

    /// The other end of a descriptor, if it is one of these connections.
    fn peer_of(self, fd: RawFd) -> io::Result<Option<SocketAddr>> {
        look(fd, |socket| {
            let peer = socket.peer_addr()?.as_socket();
            Ok(peer.filter(|_| self.is_local(&socket)))
        })
    }

    /// The same, also if the connection has ended.
    fn last_peer_of(self, fd: RawFd) -> Option<SocketAddr> {
        match self.peer_of(fd) {
            Ok(peer) => peer,
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => {
                let is_local = look(fd, |socket| Ok(self.is_local(&socket))).unwrap_or(false);
                if is_local { peer_name(fd) } else { None }
            }
            Err(_) => None,
        }
    }

    fn is_local(self, socket: &SockRef<'_>) -> bool {
        let local = socket.local_addr().ok().and_then(|addr| addr.as_socket());
        local.is_some_and(|addr| addr.port() == self.local_port)
    }

    /// The inode of a connection that has no peer any more.
    fn ended(self, fd: RawFd) -> Option<u64> {
        let is_ours = look(fd, |socket| Ok(self.is_local(&socket))).ok()?;
        (is_ours && TcpInfo::of(&fd)?.is_closed()).then(|| inode(fd)).flatten()
    }

    /// A descriptor of each connection with one of these peers, those too that have ended and are
    /// still held, in one look at all descriptors.
    pub(in crate::http) fn with(
        self,
        peers: &HashSet<SocketAddr>,
    ) -> HashMap<SocketAddr, Vec<Descriptor>> {
        let mut found: HashMap<SocketAddr, Vec<Descriptor>> = HashMap::new();
        for fd in 0..Process::look().descriptor_slots {
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

    /// Handles of our own on all connections with `peer`.
    pub(in crate::http) fn all(self, peer: SocketAddr) -> Vec<OwnedFd> {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        found.into_iter().filter_map(Descriptor::handle).collect()
    }

    /// A handle of our own on the connection with `peer`, of which a request is unanswered.
    pub(in crate::http) fn find(self, peer: SocketAddr) -> Result<Option<OwnedFd>, AmbiguousPeer> {
        self.find_all(&HashSet::from([peer])).remove(&peer).transpose()
    }

    /// The same for many at once, in one look at all descriptors. One of which there can be no handle
    /// is ended.
    pub(in crate::http) fn find_all(
        self,
        peers: &HashSet<SocketAddr>,
    ) -> HashMap<SocketAddr, Result<OwnedFd, AmbiguousPeer>> {
        let found = self.with(peers).into_iter().filter_map(|(peer, found)| match found[..] {
            [descriptor] => {
                let ours = descriptor.handle();
                if ours.is_none() {
                    descriptor.shut_down();
                }
                Some((peer, Ok(ours?)))
            }
            _ => Some((peer, Err(AmbiguousPeer))),
        });
        found.collect()
    }

    /// Ends the connection with `peer` from outside: whoever reads or writes it is woken, and never
    /// waits again. If several are open, nothing is done.
    pub(in crate::http) fn shut_down(self, peer: SocketAddr) -> Result<(), AmbiguousPeer> {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        if found.iter().filter(|descriptor| descriptor.is_open()).count() > 1 {
            return Err(AmbiguousPeer);
        }
        // Of the others something may still be read that came before they were ended.
        for descriptor in found {
            descriptor.shut_down();
        }
        Ok(())
    }

    /// The same, and if it is not known which it is, all of them: for where none of them must go on.
    pub(in crate::http) fn shut_down_all(self, peer: SocketAddr) {
        let found = self.with(&HashSet::from([peer])).remove(&peer).unwrap_or_default();
        for descriptor in found {
            descriptor.shut_down();
        }
    }

    /// The same for the one that has this descriptor, if that is one with `peer`.
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
    /// What the system knows of the connection.
    pub(in crate::http) fn info(self) -> Option<TcpInfo> {
        TcpInfo::of(&self.fd).filter(|_| self.is_at(self.fd))
    }

    /// Whether neither side has ended the connection. One that we ended is not open, also while its
    /// descriptors still are.
    pub(in crate::http) fn is_open(self) -> bool {
        self.info().is_some_and(|info| info.is_open())
    }

    /// Ends the connection from outside: whoever reads or writes it is woken, and never waits again.
    pub(in crate::http) fn shut_down(self) {
        // What is done to a handle of our own cannot happen to another connection, however long
        // this thread is kept waiting meanwhile.
        let ours = duplicate(self.fd);
        let fd = ours.as_ref().map_or(self.fd, AsRawFd::as_raw_fd);
        if self.is_at(fd) {
            // It fails only if the connection has ended by itself.
            let _ = look(fd, |socket| socket.shutdown(Shutdown::Both));
        }
    }

    /// A handle of our own on it.
    fn handle(self) -> Option<OwnedFd> {
        let ours = duplicate(self.fd)?;
        // It may have become another one since.
        self.is_at(ours.as_raw_fd()).then_some(ours)
    }

    /// Whether a descriptor is this connection's. What was seen may be the peer of one and the inode
    /// of the next, if the descriptor was opened anew between.
    fn is_at(self, fd: RawFd) -> bool {
        inode(fd) == Some(self.inode) && peer_name(fd) == Some(self.peer)
    }

    /// How many of the bytes that were received nobody has read.
    pub(in crate::http) fn unread(self) -> u64 {
        borrow(self.fd, |fd| rustix::io::ioctl_fionread(fd)).unwrap_or(0)
    }
}

/// What all descriptors of one socket have in common, and no other.
pub(in crate::http) fn inode(fd: RawFd) -> Option<u64> {
    borrow(fd, |fd| rustix::fs::fstat(fd).map(|stat| stat.st_ino)).ok()
}

/// Whether a connection's peer has ended it, or we have, and all it sent has been read.
pub(in crate::http) fn is_at_end(fd: &OwnedFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    matches!(SockRef::from(fd).recv_with_flags(&mut byte, flags), Ok(0))
}

/// The other end of a connection, also of one that was reset: `getpeername` says nothing of that.
fn peer_name(fd: RawFd) -> Option<SocketAddr> {
    // The system wants to be asked for no more bytes than it has.
    let lengths = [size_of::<libc::sockaddr_in6>(), size_of::<libc::sockaddr_in>()];
    lengths.into_iter().find_map(|length| {
        let length = libc::socklen_t::try_from(length).ok()?;
        #[expect(unsafe_code, reason = "no library of ours reads SO_PEERNAME")]
        // SAFETY: the system writes at most as many bytes as `len` says, which is what it says
        // beforehand too, and there is room for each kind of address; the result is its answer.
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
pub(in crate::http) mod tests {
    use std::io::Read as _;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use socket2::{Domain, Socket, Type};

    use super::*;

    /// Two connections with one and the same peer, to two addresses of one listening socket: for
    /// each the client's end and the server's.
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
            // As the server has it: IPv6 has IPv4 addresses of its own.
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
        // One that was reset is held as long as somebody has to answer it.
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
