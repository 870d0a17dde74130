//! Addresses to listen on, as operators write them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

/// Longest name of a host (RFC 1035, section 2.3.4).
const MAX_NAME_LEN: usize = 253;

/// An address and a port, or what stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// The address itself: `127.0.0.1:5000`, `[::1]:5000`.
    At(SocketAddr),
    /// A host name, which the system resolves: `localhost:5000`.
    Named(String, u16),
    /// Every address of the machine: `:5000`.
    Everywhere(u16),
}

impl Listen {
    /// Reads an address. The error says what is expected.
    pub fn parse(text: &str) -> Result<Listen, String> {
        if let Ok(addr) = text.parse() {
            return Ok(Listen::At(addr));
        }
        let (host, port) = text.rsplit_once(':').ok_or("there is no port, as in `:5000`")?;
        if host.contains(':') && !host.starts_with('[') && host.parse::<Ipv6Addr>().is_ok() {
            return Err(format!("an IPv6 address stands in brackets, as in `[{host}]:{port}`"));
        }
        let is_number = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number);
        let port = port.ok_or("the port is no number from 0 to 65535")?;
        if host.is_empty() {
            return Ok(Listen::Everywhere(port));
        }
        // A host that ends in a number is an IP address (WHATWG URL, section 3.5), and this is
        // none.
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        let is_name = host.len() <= MAX_NAME_LEN
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
            && !last.is_empty()
            && !last.bytes().all(|b| b.is_ascii_digit());
        if !is_name {
            return Err("the host is no IP address, nor the name of one".to_owned());
        }
        Ok(Listen::Named(host.to_owned(), port))
    }

    /// The socket addresses, the best one first. For a name, IPv4 comes before IPv6. For all
    /// addresses, IPv6 comes first: it accepts IPv4 as well.
    pub fn candidates(&self) -> io::Result<Vec<SocketAddr>> {
        Ok(match self {
            Listen::At(addr) => vec![*addr],
            Listen::Named(host, port) => {
                let mut found: Vec<SocketAddr> = (&**host, *port).to_socket_addrs()?.collect();
                found.sort_by_key(SocketAddr::is_ipv6);
                found
            }
            Listen::Everywhere(port) => {
                let all = [IpAddr::from(Ipv6Addr::UNSPECIFIED), Ipv4Addr::UNSPECIFIED.into()];
                all.map(|ip| SocketAddr::new(ip, *port)).to_vec()
            }
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::At(addr) => addr.fmt(f),
            Listen::Named(host, port) => write!(f, "{host}:{port}"),
            Listen::Everywhere(port) => write!(f, ":{port}"),
        }
    }
}

/// `true` if other machines can reach the address.
#[must_use]
pub fn is_exposed(addr: SocketAddr) -> bool {
    !addr.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_operators_write() {
        for (text, expected) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:5000", "[::1]:5000"),
            ("[::]:5000", "[::]:5000"),
        ] {
            let addr: SocketAddr = expected.parse().unwrap();
            assert_eq!(Listen::parse(text), Ok(Listen::At(addr)));
            assert_eq!(Listen::At(addr).candidates().unwrap(), [addr]);
        }
        assert_eq!(Listen::parse(":5000"), Ok(Listen::Everywhere(5000)));
        for name in ["localhost", "chat.example.org", "chat.example.org.", "a_b-1", "1and1.de"] {
            let named = Listen::Named(name.to_owned(), 80);
            assert_eq!(Listen::parse(&format!("{name}:80")), Ok(named));
        }
        for (text, why) in [
            ("", "no port"),
            ("5000", "no port"),
            ("localhost", "no port"),
            ("localhost:", "the port"),
            ("localhost:x", "the port"),
            (":+1", "the port"),
            (":65536", "the port"),
            ("::1:5000", "`[::1]:5000`"),
            ("::1", "the host is"),
            ("[::1]", "the port"),
            ("[::g]:5000", "the host"),
            ("*:5000", "the host"),
            ("999.0.0.1:5000", "the host"),
            ("127.1:5000", "the host"),
            ("http://localhost:5000", "the host"),
            ("local host:5000", "the host"),
            (&format!("{}:1", "x".repeat(254)), "the host"),
        ] {
            let error = Listen::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn only_the_loopback_interface_is_this_machine() {
        for (addr, exposed) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("[::ffff:10.0.0.1]:1", true),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.0.2.1:1", true),
        ] {
            assert_eq!(is_exposed(addr.parse().unwrap()), exposed, "{addr}");
        }
        let localhost = Listen::Named("localhost".to_owned(), 1).candidates().unwrap();
        assert!(localhost.iter().all(|addr| !is_exposed(*addr)), "{localhost:?}");
        assert!(localhost.is_sorted_by_key(SocketAddr::is_ipv6), "{localhost:?}");
        let everywhere = Listen::Everywhere(1).candidates().unwrap();
        assert!(everywhere.len() == 2 && everywhere.iter().all(|addr| is_exposed(*addr)));
    }
}
