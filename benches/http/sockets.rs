//! The kernel's data on a process's TCP connections, read over netlink (`sock_diag(7)`).
//!
//! wrk cannot tell whether all its connections were served: it counts a timeout when an answer
//! comes late, so an answer that never comes is no error to it, and it silently opens a closed
//! connection again. The kernel counts the bytes that each socket received and knows when the last
//! of them came.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::time::Duration;
use std::{fs, iter};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Result;

/// An established IPv4 connection of a process, as seen from its own end.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Names the socket for as long as it is open.
    pub(crate) inode: u64,
    /// Bytes the other side sent so far.
    pub(crate) received: u64,
    /// The time since the last byte; meaningless while `received` is 0.
    pub(crate) silent: Duration,
}

/// The established IPv4 connections that process `pid` holds.
pub(crate) fn of_process(pid: u32) -> Result<Vec<Connection>> {
    let own = inodes_of(pid)?;
    let mut all = established()?;
    all.retain(|connection| own.contains(&connection.inode));
    Ok(all)
}

/// The inodes of the sockets among the process's descriptors.
fn inodes_of(pid: u32) -> io::Result<BTreeSet<u64>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed after the directory was listed.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let inode =
            target.to_str().and_then(|name| name.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(inodes)
}

// From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_INFO: u16 = 2;
const TCP_ESTABLISHED: u32 = 1;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Length of `struct inet_diag_msg`, whose last field is the inode.
const MESSAGE: usize = 72;
/// The offsets of `tcpi_last_data_recv` (milliseconds) and `tcpi_bytes_received` in `struct
/// tcp_info`.
const LAST_DATA_RECV: usize = 52;
const BYTES_RECEIVED: usize = 128;

/// Every established IPv4 connection of this network namespace.
fn established() -> Result<Vec<Connection>> {
    let mut netlink =
        Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(NETLINK_SOCK_DIAG)))
            .map_err(|error| {
                format!("cannot ask the kernel about TCP connections (sock_diag): {error}")
            })?;
    netlink.set_read_timeout(Some(Duration::from_secs(5)))?;
    netlink.write_all(&dump_request())?;

    let mut connections = Vec::new();
    let mut datagram = vec![0; 64 * 1024];
    loop {
        let len = netlink.read(&mut datagram)?;
        for (kind, payload) in messages(&datagram[..len]) {
            match kind {
                NLMSG_DONE => return Ok(connections),
                NLMSG_ERROR => {
                    return Err("the kernel refuses to list TCP connections (sock_diag)".into());
                }
                _ => connections.extend(connection(payload)),
            }
        }
    }
}

fn dump_request() -> Vec<u8> {
    let mut request = Vec::with_capacity(HEADER + REQUEST);
    request.extend(u32::try_from(HEADER + REQUEST).unwrap_or(u32::MAX).to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 8]); // sequence and port: one question a socket needs neither
    request.extend([AF_INET, IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), 0]);
    request.extend((1_u32 << TCP_ESTABLISHED).to_ne_bytes());
    request.resize(HEADER + REQUEST, 0); // no filter on addresses
    request
}

/// Splits a datagram into netlink messages: type and payload.
fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    records(datagram, HEADER, |header| Some((u32_at(header, 0)? as usize, u16_at(header, 4)?)))
}

/// Splits what follows an `inet_diag_msg` into attributes: type and payload.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    records(bytes, 4, |header| Some((usize::from(u16_at(header, 0)?), u16_at(header, 2)?)))
}

/// Splits netlink records: each has a header with its length, header included, and its type, and is
/// padded to four bytes.
fn records(
    mut bytes: &[u8],
    header: usize,
    read: impl Fn(&[u8]) -> Option<(usize, u16)>,
) -> impl Iterator<Item = (u16, &[u8])> {
    iter::from_fn(move || {
        let (len, kind) = read(bytes)?;
        let payload = bytes.get(header..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    })
}

fn connection(message: &[u8]) -> Option<Connection> {
    let (_, info) =
        attributes(message.get(MESSAGE..)?).find(|&(kind, _)| kind == INET_DIAG_INFO)?;
    Some(Connection {
        inode: u64::from(u32_at(message, MESSAGE - 4)?),
        received: u64::from_ne_bytes(*info.get(BYTES_RECEIVED..)?.first_chunk()?),
        silent: Duration::from_millis(u64::from(u32_at(info, LAST_DATA_RECV)?)),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}
