//! What tiny_http does not let one say to its sockets, said around it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a write may wait for room in the socket's buffer before it returns with what it has
/// done. Short, because the loop writes too; what is left over goes to a worker.
const WRITE_WAIT: Duration = Duration::from_millis(5);
/// After how long without a sign of life a connection is probed.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// How long sent data may go unacknowledged before the connection is given up.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The first of these addresses that this machine has: with another port, as the port that is wanted
/// may be taken, which is to be said of it.
#[must_use]
pub fn first_of_ours(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    let is_ours = |addr: &&SocketAddr| TcpListener::bind((addr.ip(), 0)).is_ok();
    addrs.iter().find(is_ours).or(addrs.first()).copied()
}

/// A listening socket. On Linux its options are inherited by the connections it accepts, whose
/// sockets are out of reach: without `TCP_NODELAY` a reply in two segments waits for a delayed
/// acknowledgement (40 ms), without a send timeout a client that does not read stops its writer.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // All addresses are all, whatever the system's own rule is (net.ipv6.bindv6only).
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
