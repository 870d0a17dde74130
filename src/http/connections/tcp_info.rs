//! What Linux knows of a TCP connection: the fields of its `struct tcp_info` that matter here.

use std::os::fd::AsRawFd;
use std::time::Duration;

/// A look at one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct TcpInfo {
    state: u8,
    /// Of a listening socket: the connections that nobody has accepted yet.
    pub(in crate::http) unaccepted: u32,
    /// Since something was sent last, or since the connection was made.
    pub(in crate::http) since_sent: Duration,
    /// Since something was received last.
    pub(in crate::http) since_received: Duration,
    /// Bytes in the connection's life that the peer has acknowledged.
    pub(in crate::http) acknowledged: u64,
    /// Bytes in the connection's life that were received.
    pub(in crate::http) received: u64,
    /// Bytes in the connection's life that were written, sent or not. Before Linux 4.19 it is not
    /// known, and always 0.
    pub(in crate::http) written: u64,
    /// Whether some of that is not acknowledged yet.
    pub(in crate::http) is_pending: bool,
}

/// The length of the structure up to and with the last field that there must be.
const BYTES: usize = 136;
/// The same up to and with the last of these fields.
const ALL_BYTES: usize = 216;

impl TcpInfo {
    /// `None` for what is no TCP socket, or where the system does not say.
    pub(in crate::http) fn of(fd: &impl AsRawFd) -> Option<TcpInfo> {
        let mut info = [0_u8; ALL_BYTES];
        let mut len = libc::socklen_t::try_from(ALL_BYTES).ok()?;
        #[expect(unsafe_code, reason = "no library of ours reads TCP_INFO")]
        // SAFETY: the system writes at most `len` bytes to `info`; a descriptor that is not open,
        // or no socket, is an error.
        let failed = unsafe {
            let info = info.as_mut_ptr().cast();
            libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info, &raw mut len)
        };
        let complete = failed == 0 && usize::try_from(len).is_ok_and(|len| len >= BYTES);
        complete.then(|| TcpInfo::parse(&info))
    }

    fn parse(info: &[u8; ALL_BYTES]) -> TcpInfo {
        // Eight bytes, 24 `__u32`, four `__u64`, six `__u32`, four `__u64`, two `__u32` and two
        // `__u64`.
        let u32_at = |at: usize| {
            let mut value = [0; 4];
            value.copy_from_slice(&info[at..at + 4]);
            u32::from_ne_bytes(value)
        };
        let u64_at = |at: usize| {
            let mut value = [0; 8];
            value.copy_from_slice(&info[at..at + 8]);
            u64::from_ne_bytes(value)
        };
        TcpInfo {
            state: info[0],
            unaccepted: u32_at(24),
            since_sent: Duration::from_millis(u32_at(44).into()),
            since_received: Duration::from_millis(u32_at(52).into()),
            acknowledged: u64_at(120),
            received: u64_at(128),
            // What was sent, but for what was sent again, and what is still to be sent.
            is_pending: u32_at(24) > 0 || u32_at(144) > 0,
            written: (u64_at(200) + u64::from(u32_at(144))).saturating_sub(u64_at(208)),
        }
    }

    /// Whether we have not ended it, nor has it ended by itself: it is ESTABLISHED, or CLOSE-WAIT
    /// where the peer will send no more (RFC 9293, section 3.3.2).
    pub(in crate::http) fn is_open(&self) -> bool {
        matches!(self.state, 1 | 8)
    }

    /// Whether its peer will send no more.
    pub(in crate::http) fn is_half_closed(&self) -> bool {
        self.state == 8
    }

    /// Whether nothing is left of it but our descriptors.
    pub(in crate::http) fn is_closed(&self) -> bool {
        self.state == 7
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
    fn a_connection_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let made = Instant::now();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(TcpInfo::of(&listener).unwrap().unaccepted, 1);
        let (mut server, _) = listener.accept().unwrap();
        assert_eq!(TcpInfo::of(&listener).unwrap().unaccepted, 0);
        // A connection on which nothing was sent counts from when it was made.
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
    fn what_is_no_connection_has_none() {
        assert_eq!(TcpInfo::of(&std::fs::File::open("/dev/null").unwrap()), None);
        assert_eq!(TcpInfo::of(&9999), None);
    }
}
