//! Options of the listening socket, which tiny_http does not offer.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Time for which a write waits for room in the socket's buffer before it returns. It is short
/// because the loop writes too; a worker writes the rest.
const WRITE_TIMEOUT: Duration = Duration::from_millis(5);
/// Time without data after which a connection is probed.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// Time for which sent data may be unacknowledged before the connection is given up.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

/// The first of these addresses that this machine has, or the first of all. It is tested with
/// another port: a port that is taken is to be reported for its own address.
#[must_use]
pub fn first_local(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    let is_local = |addr: &&SocketAddr| TcpListener::bind((addr.ip(), 0)).is_ok();
    addrs.iter().find(is_local).or(addrs.first()).copied()
}

/// Makes a listening socket. On Linux, accepted connections inherit its options; their sockets are
/// out of reach. Without `TCP_NODELAY` a reply in two segments waits for a delayed acknowledgement
/// (40 ms). Without a send timeout a client that does not read blocks its writer.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // `[::]` includes IPv4, whatever `net.ipv6.bindv6only` is.
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
