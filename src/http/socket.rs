//! What tiny_http does not let one say to its sockets, said around it.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a write may wait for room in the socket's buffer before it returns with what it has
/// done. Short, because the loop writes too; what is left over goes to a worker.
const WRITE_WAIT: Duration = Duration::from_millis(5);
/// After how long without a sign of life a connection is probed.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// How long sent data may go unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// A listening socket. On Linux its options are inherited by the connections it accepts, whose
/// sockets are out of reach: without `TCP_NODELAY` a reply in two segments waits for a delayed
/// acknowledgement (40 ms), without a send timeout a client that does not read stops its writer.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The connections that one listening socket has accepted, found among the process's
/// descriptors. That takes about a microsecond for each that is open: for emergencies only.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connections {
    /// Where the listening socket listens. Two of them in a process can have connections with one
    /// and the same peer.
    pub(super) local_port: u16,
}

impl Connections {
    /// A handle of our own on the connection with `peer`.
    pub(super) fn find(self, peer: SocketAddr) -> Option<OwnedFd> {
        let names = std::fs::read_dir("/proc/self/fd").ok()?;
        names
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(duplicate)
            .find(|fd| self.is_with(peer, fd).unwrap_or(false))
    }

    fn is_with(self, peer: SocketAddr, fd: &OwnedFd) -> io::Result<bool> {
        let socket = SockRef::from(fd);
        let local_port = socket.local_addr()?.as_socket().map(|addr| addr.port());
        let same_peer = socket.peer_addr()?.as_socket() == Some(peer);
        Ok(same_peer && local_port == Some(self.local_port))
    }

    /// Whether there is a connection with `peer` that neither side has ended. One that we ended is
    /// not, also while its descriptors are still open.
    pub(super) fn is_open(self, peer: SocketAddr) -> bool {
        self.find(peer).is_some_and(|fd| {
            // The first field of `struct tcp_info` is the state (RFC 9293, section 3.3.2):
            // ESTABLISHED, or CLOSE-WAIT where the peer will send no more.
            tcp_info::<1>(&fd).is_some_and(|[state]| matches!(state, 1 | 8))
        })
    }

    /// Ends a connection from outside: whoever reads or writes it is woken, and never waits again.
    pub(super) fn sever(self, peer: SocketAddr) {
        if let Some(fd) = self.find(peer) {
            // It fails only if the connection has ended by itself.
            let _ = SockRef::from(&fd).shutdown(Shutdown::Both);
        }
    }
}

/// How many bytes a TCP connection has received in its life; 0 where the system does not say.
pub(super) fn received_bytes(fd: &OwnedFd) -> u64 {
    /// Where `tcpi_bytes_received` lies in Linux's `struct tcp_info`: behind 8 bytes, 24 `__u32`
    /// and 3 `__u64`.
    const OFFSET: usize = 8 + 24 * 4 + 3 * 8;
    let info = tcp_info::<{ OFFSET + 8 }>(fd);
    info.and_then(|info| info.last_chunk().copied()).map_or(0, u64::from_ne_bytes)
}

/// The first `N` bytes of what Linux knows of a TCP connection.
fn tcp_info<const N: usize>(fd: &OwnedFd) -> Option<[u8; N]> {
    let mut info = [0_u8; N];
    let mut len = libc::socklen_t::try_from(N).ok()?;
    #[expect(unsafe_code, reason = "no library of ours reads TCP_INFO")]
    // SAFETY: the descriptor is open, and the system writes at most `len` bytes to `info`.
    let failed = unsafe {
        let info = info.as_mut_ptr().cast();
        libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut len)
    };
    (failed == 0 && usize::try_from(len) == Ok(N)).then_some(info)
}

/// Whether a connection's peer has ended it, or we have, and all it sent has been read.
pub(super) fn is_at_end(fd: &OwnedFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    matches!(SockRef::from(fd).recv_with_flags(&mut byte, flags), Ok(0))
}

fn duplicate(fd: RawFd) -> Option<OwnedFd> {
    if fd < 0 {
        return None;
    }
    #[expect(unsafe_code, reason = "tiny_http does not show its sockets")]
    // SAFETY: the descriptor is used for nothing but to duplicate whatever it stands for at that
    // instant. Should it have been closed since it was listed, that fails; should it have been
    // opened anew, the caller's look at the duplicate's peer decides.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    borrowed.try_clone_to_owned().ok()
}
