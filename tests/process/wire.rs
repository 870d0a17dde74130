//! A connection on which any bytes can be sent.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::asked::Requests;
use crate::client::{Answer, Client};
use crate::contract::{self, Asked};
use crate::server::{PATIENCE, until};

/// tiny_http's own answers to bytes that are no request.
const NO_REQUEST: [u16; 4] = [400, 408, 417, 505];

/// A declared length just beyond the longest body with which the server lets tiny_http drop a
/// request.
pub(crate) const BEYOND_DROPPED: u64 = 64 * 1024 * 1024 + 1;

/// A client that follows no rules. The answers to it are checked against the contract all the same.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    asked: Requests,
    local_addr: SocketAddr,
    peer_addr: SocketAddr,
}

impl Wire {
    pub(crate) fn connect(addr: SocketAddr) -> Wire {
        Wire::try_connect(addr).expect("the server takes connections")
    }

    pub(crate) fn try_connect(addr: SocketAddr) -> io::Result<Wire> {
        Wire::over(TcpStream::connect_timeout(&addr, PATIENCE)?)
    }

    /// A client for which next to nothing is buffered on the way. Over loopback a connection
    /// otherwise holds some megabytes, because its segments are so large.
    pub(crate) fn connect_narrow(addr: SocketAddr) -> Wire {
        Wire::connect_narrow_from(Ipv4Addr::UNSPECIFIED.into(), addr)
    }

    /// The same from an address of this machine.
    pub(crate) fn connect_narrow_from(from: IpAddr, addr: SocketAddr) -> Wire {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
        // Before it connects, when both sizes are agreed upon.
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.set_tcp_mss(536).expect("small segments");
        socket.connect(&addr.into()).expect("the server takes connections");
        Wire::over(socket.into()).expect("a connected socket")
    }

    /// A connection from the port of one that was reset. `None` if another program has that port by
    /// now.
    pub(crate) fn connect_from(from: SocketAddr, addr: SocketAddr) -> Option<Wire> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_reuse_address(true).expect("a socket option");
        let taken = |error: io::Error| assert_eq!(error.kind(), ErrorKind::AddrInUse);
        socket.bind(&from.into()).map_err(taken).ok()?;
        socket.connect(&addr.into()).expect("the server takes connections");
        Some(Wire::over(socket.into()).expect("a connected socket"))
    }

    /// Its local address.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    fn over(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (local_addr, peer_addr) = (stream.local_addr()?, stream.peer_addr()?);
        let (stream, asked) = (BufReader::new(stream), Requests::default());
        Ok(Wire { stream, asked, local_addr, peer_addr })
    }

    /// Sends; the server may have closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.asked.send(bytes.as_ref());
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes bytes");
    }

    /// Sends a head of such lines without an end, no faster than the server checks it, until the
    /// server ends the connection: soon after the limit of 64 KiB.
    pub(crate) fn send_head_until_cut(&mut self, line: &str) {
        const PIECE: usize = 4 * 1024;
        const PAUSE: Duration = Duration::from_millis(20);
        let piece = line.repeat(PIECE / line.len());
        self.send("GET / HTTP/1.1\r\nX: ");
        let cut = until(PATIENCE, || {
            sleep(PAUSE);
            self.stream.get_mut().write_all(piece.as_bytes()).is_err().then_some(())
        });
        cut.expect("a head without an end is cut");
    }

    /// Half-closes. The server may have closed the connection.
    pub(crate) fn finish(&self) {
        let _ = self.stream.get_ref().shutdown(Shutdown::Write);
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        let stream = self.stream.into_inner();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// The next answer; interim ones are skipped.
    pub(crate) fn try_answer(&mut self) -> io::Result<Answer> {
        self.read_answer(false)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer().expect("an answer")
    }

    /// The answer to a `HEAD`.
    pub(crate) fn head_answer(&mut self) -> Answer {
        self.read_answer(true).expect("an answer")
    }

    /// The next answer, which may be an interim one.
    pub(crate) fn interim_answer(&mut self) -> Answer {
        self.read_one(false).expect("an answer")
    }

    fn read_answer(&mut self, head_only: bool) -> io::Result<Answer> {
        loop {
            let answer = self.read_one(head_only)?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    fn read_one(&mut self, head_only: bool) -> io::Result<Answer> {
        let answer = read_one(&mut self.stream, head_only)?;
        self.check(&answer);
        Ok(answer)
    }

    /// Fails the test unless it is an answer to the request.
    fn check(&mut self, answer: &Answer) {
        if answer.status == 100 {
            return;
        }
        let is_lost = self.asked.is_lost();
        let request = self.asked.answered();
        let is_bare = NO_REQUEST.contains(&answer.status)
            && answer.body.is_empty()
            && answer.header("Content-Type").is_none()
            && answer.header("X-Content-Type-Options").is_none();
        if is_bare {
            return;
        }
        assert!(request.is_some() || is_lost, "nothing was asked for: {answer:?}");
        let asked = request.as_ref();
        let asked = asked.map(|it| Asked { method: &it.method, target: &it.target });
        contract::check(asked, &answer.answered()).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Everything until the server ends the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end as well.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "the connection goes on");
        }
        let mut answers = rest.as_slice();
        // An answer that a reset has cut off does not count.
        while let Ok(answer) = read_one(&mut answers, false) {
            self.check(&answer);
        }
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Returns whether the server ends the connection, as opposed to keeping it until the time
    /// limit or sending something else.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(n) => n == 0,
            Err(e) => !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }

    /// Waits until the server's process has taken everything sent out of its socket.
    pub(crate) fn wait_until_read(&self) {
        let read = until(PATIENCE, || {
            (receive_queue(self.peer_addr, self.local_addr)? == 0).then_some(())
        });
        read.expect("the server reads what it is sent");
    }
}

/// Answers read in this way are not checked.
impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.asked.lose();
        self.stream.read(buffer)
    }
}

/// Reads one answer from any source.
pub(crate) fn read_one(stream: &mut impl BufRead, head_only: bool) -> io::Result<Answer> {
    let status_line = line(stream)?;
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no status line: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| io::Error::other("a field"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer::new(status, headers, Vec::new());
    let length = answer.header("Content-Length").map_or(0, |n| n.parse().expect("a length"));
    if !head_only {
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}

fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None if line.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
        None => Err(io::Error::other(format!("a line without an end: {line:?}"))),
    }
}

/// The bytes that the socket `local` has received from `peer` and its process has not read.
pub(crate) fn receive_queue(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of connections");
    let (local, peer) = (in_table(local), in_table(peer));
    table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next()? == local && fields.next()? == peer;
        let queues = fields.nth(1).filter(|_| found)?;
        u64::from_str_radix(queues.split_once(':')?.1, 16).ok()
    })
}

/// An address in the notation of that table.
fn in_table(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(addr.ip().octets()), addr.port())
        }
        SocketAddr::V6(_) => panic!("only IPv4 is used here"),
    }
}

/// A request with the usual header fields. `fields` end with CRLF each.
pub(crate) fn request(client: &Client, line: &str, fields: &str, body: &str) -> String {
    let token = client.token();
    let token = if token.is_empty() { String::new() } else { bearer(token) };
    format!("{line}\r\nHost: veche\r\n{token}{fields}\r\n{body}")
}

/// A `GET`.
pub(crate) fn get(client: &Client, path: &str) -> String {
    request(client, &format!("GET {path} HTTP/1.1"), "", "")
}

/// A `POST` of a whole body.
pub(crate) fn post(client: &Client, path: &str, body: &str) -> String {
    let length = format!("Content-Length: {}\r\n", body.len());
    request(client, &format!("POST {path} HTTP/1.1"), &length, body)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
