//! The fields of Linux's `struct tcp_info` that the server needs.

use std::mem::{MaybeUninit, offset_of, size_of};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The kernel's data on one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct TcpInfo {
    state: u8,
    /// Connections that wait to be accepted, for a listening socket.
    pub(in crate::http) unaccepted: u32,
    /// Time since data was last sent, or since the connection was made.
    pub(in crate::http) since_sent: Duration,
    /// Time since data was last received.
    pub(in crate::http) since_received: Duration,
    /// Bytes that the peer has acknowledged in the connection's life.
    pub(in crate::http) acknowledged: u64,
    /// Bytes received in the connection's life.
    pub(in crate::http) received: u64,
    /// Bytes written in the connection's life, sent or not; always 0 before Linux 4.19.
    pub(in crate::http) written: u64,
    /// True if some written bytes are not acknowledged yet.
    pub(in crate::http) is_pending: bool,
}

/// States of a connection, as in Linux's `net/tcp_states.h`.
const ESTABLISHED: u8 = 1;
const CLOSED: u8 = 7;
const CLOSE_WAIT: u8 = 8;

/// Length of the structure up to the last field that a kernel must give.
const MIN_BYTES: usize = offset_of!(libc::tcp_info, tcpi_bytes_received) + size_of::<u64>();

impl TcpInfo {
    /// `None` if it is not a TCP socket, or the kernel is too old.
    pub(in crate::http) fn of(fd: &impl AsRawFd) -> Option<TcpInfo> {
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        let mut len = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).ok()?;
        #[expect(unsafe_code, reason = "no dependency reads TCP_INFO")]
        // SAFETY: the kernel writes at most `len` bytes to `info`. A descriptor that is not open,
        // or not a socket, is an error. All fields are integers, for which zero is a value.
        let (failed, info) = unsafe {
            let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
            let to = info.as_mut_ptr().cast();
            let failed = libc::getsockopt(fd.as_raw_fd(), level, name, to, &raw mut len);
            (failed, info.assume_init())
        };
        let is_complete = failed == 0 && usize::try_from(len).is_ok_and(|len| len >= MIN_BYTES);
        is_complete.then(|| TcpInfo::from_kernel(&info))
    }

    fn from_kernel(info: &libc::tcp_info) -> TcpInfo {
        let not_sent = info.tcpi_notsent_bytes;
        TcpInfo {
            state: info.tcpi_state,
            unaccepted: info.tcpi_unacked,
            since_sent: Duration::from_millis(info.tcpi_last_data_sent.into()),
            since_received: Duration::from_millis(info.tcpi_last_data_recv.into()),
            acknowledged: info.tcpi_bytes_acked,
            received: info.tcpi_bytes_received,
            is_pending: info.tcpi_unacked > 0 || not_sent > 0,
            // Bytes sent include retransmitted ones.
            written: (info.tcpi_bytes_sent + u64::from(not_sent))
                .saturating_sub(info.tcpi_bytes_retrans),
        }
    }

    /// Returns whether neither the server nor an error has ended it: it is ESTABLISHED, or
    /// CLOSE-WAIT if the peer will send no more (RFC 9293, section 3.3.2).
    pub(in crate::http) fn is_open(&self) -> bool {
        matches!(self.state, ESTABLISHED | CLOSE_WAIT)
    }

    /// Returns whether its peer will send no more.
    pub(in crate::http) fn is_half_closed(&self) -> bool {
        self.state == CLOSE_WAIT
    }

    /// Returns whether only the server's descriptors are left of it.
    pub(in crate::http) fn is_closed(&self) -> bool {
        self.state == CLOSED
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread::sleep;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_connection_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let made = Instant::now();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(TcpInfo::of(&listener).unwrap().unaccepted, 1);
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(TcpInfo::of(&listener).unwrap().unaccepted, 0);
        // A connection on which nothing was sent counts from its creation.
        sleep(Duration::from_millis(20));
        let young = TcpInfo::of(&server).unwrap();
        let ago = young.since_sent;
        assert!(ago > Duration::ZERO && ago.as_secs() <= made.elapsed().as_secs() + 1, "{young:?}");

        client.write_all(b"12345").unwrap();
        server.read_exact(&mut [0; 5]).unwrap();
        server.write_all(b"123").unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        let used = TcpInfo::of(&server).unwrap();
        assert!(used.is_open());
        assert_eq!((used.received, used.acknowledged, used.written), (5, 3, 3));
        assert!(!used.is_half_closed());
        client.shutdown(Shutdown::Write).unwrap();
        server.read_exact(&mut [0]).unwrap_err();
        assert!(TcpInfo::of(&server).unwrap().is_half_closed());
        server.shutdown(Shutdown::Both).unwrap();
        assert!(!TcpInfo::of(&server).unwrap().is_open());
    }

    #[test]
    fn a_file_has_no_tcp_info() {
        assert_eq!(TcpInfo::of(&std::fs::File::open("/dev/null").unwrap()), None);
        assert_eq!(TcpInfo::of(&9999), None);
    }
}
