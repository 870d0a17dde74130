//! The address of a client, as far as it can be believed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Length of the prefix of an IPv6 address that identifies a subscriber, in bits. Each has 64 bits
/// or more to choose from (RFC 6177), and an attacker uses them.
const IPV6_SUBSCRIBER_BITS: u8 = 64;

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// The bits after the prefix are 0.
    address: IpAddr,
    prefix: u8,
}

/// The proxies whose `X-Forwarded-For` field is believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    trusted: Vec<Network>,
    /// `true` once the log has a warning about a proxy that may be missing here.
    warned: Arc<AtomicBool>,
}

impl Network {
    /// Reads an address, or a network such as `10.0.0.0/8` (RFC 4632, section 3.1). The error says
    /// what is wrong.
    pub fn parse(text: &str) -> Result<Network, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "it is not an IP address")?;
        let bits = bits(address);
        let prefix = match prefix {
            None => bits,
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or("the prefix is too long")?,
            Some(_) => return Err("the length of a network's prefix is a number"),
        };
        let network = Network::of(address, prefix);
        if network.address != address {
            return Err("the address has bits after the network's prefix");
        }
        Ok(network)
    }

    /// The network by which a client is limited: its IPv4 address, or the prefix of its IPv6
    /// address that a subscriber cannot choose.
    #[must_use]
    pub fn of_client(address: IpAddr) -> Network {
        let address = address.to_canonical();
        Network::of(address, bits(address).min(IPV6_SUBSCRIBER_BITS))
    }

    fn of(address: IpAddr, prefix: u8) -> Network {
        let without = |bits: u8| u32::from(bits - prefix);
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(without(32)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(without(128)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Network { address, prefix }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Network::of(address, self.prefix) == self
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl Proxies {
    /// The set of these networks.
    #[must_use]
    pub fn with(trusted: Vec<Network>) -> Proxies {
        Proxies { trusted, ..Proxies::default() }
    }

    /// The client's address. `peer` is the other end of the connection, and `forwarded` is the
    /// `X-Forwarded-For` field, to which each proxy appends the address that it was called from.
    /// Only what a trusted proxy appended counts, so the field is read from its end. A client may
    /// have written anything before that.
    #[must_use]
    pub fn client(&self, peer: IpAddr, forwarded: Option<&str>) -> IpAddr {
        let peer = peer.to_canonical();
        let Some(forwarded) = forwarded else { return peer };
        if self.trusted.is_empty() && !self.warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{peer} sends X-Forwarded-For, which is not trusted; if it is a proxy, all its \
                 clients share one limit unless --trust-proxy {peer} is given"
            );
        }
        let mut client = peer;
        for element in forwarded.rsplit(',') {
            if !self.trusts(client) {
                break;
            }
            let Some(before) = address(element.trim()) else { break };
            client = before;
        }
        client
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }
}

/// An element of `X-Forwarded-For`. Some proxies add the port.
fn address(element: &str) -> Option<IpAddr> {
    let bare = match element.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        // Several colons are an IPv6 address, which has brackets if it has a port.
        None => element
            .split_once(':')
            .filter(|(_, port)| !port.contains(':'))
            .map_or(element, |it| it.0),
    };
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_are_read() {
        for text in [
            "127.0.0.1/32",
            "10.0.0.0/8",
            "0.0.0.0/0",
            "10.1.2.128/25",
            "::1/128",
            "fd00::/8",
            "2001:db8::/32",
            "::/0",
        ] {
            assert_eq!(Network::parse(text).map(|it| it.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Network::parse("127.0.0.1"), Network::parse("127.0.0.1/32"));
        assert_eq!(Network::parse("::1"), Network::parse("::1/128"));
        for text in [
            "",
            "/",
            "localhost",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/+8",
            "10/8",
            "::1/129",
            "fd00::1/8",
            "[::1]",
            "127.0.0.1:80",
            "10.0.0.0/8/8",
            "10.0.0.0/999",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_contains_what_begins_like_it() {
        let contains = |network, address| Network::parse(network).unwrap().contains(ip(address));
        for (network, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("10.0.0.0/8", "10.255.0.1"),
            ("0.0.0.0/0", "8.8.8.8"),
            ("fd00::/8", "fdff::1"),
            ("::/0", "::"),
        ] {
            assert!(contains(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("127.0.0.1", "127.0.0.2"),
            ("10.0.0.0/8", "11.0.0.0"),
            ("fd00::/8", "fe00::"),
            ("::/0", "10.0.0.1"),
            ("0.0.0.0/0", "::1"),
        ] {
            assert!(!contains(network, address), "{network} {address}");
        }
    }

    #[test]
    fn a_subscriber_is_one() {
        let same = |a, b| Network::of_client(ip(a)) == Network::of_client(ip(b));
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("::ffff:192.0.2.1", "::ffff:192.0.2.2"));
    }

    #[test]
    fn only_who_is_trusted_is_believed() {
        let trusted = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"].map(|it| Network::parse(it).unwrap());
        let proxies = Proxies::with(trusted.to_vec());
        for (peer, forwarded, client) in [
            // From a peer that is not trusted.
            ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
            ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
            // By one proxy, by several.
            ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "198.51.100.1, 10.0.0.7", "198.51.100.1"),
            ("127.0.0.1", "2001:db8::1,fd00::1 ,\t10.0.0.7", "2001:db8::1"),
            // What the client itself had sent stands before it.
            ("127.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"),
            ("127.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.7", "198.51.100.1"),
            // A proxy asked by itself.
            ("127.0.0.1", "10.0.0.7", "10.0.0.7"),
            // Nothing that could be believed.
            ("127.0.0.1", "", "127.0.0.1"),
            ("127.0.0.1", "unknown", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1, _hidden", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1,", "127.0.0.1"),
            ("127.0.0.1", "198.51.100.1, unknown, 10.0.0.7", "10.0.0.7"),
            // With ports, and as IPv6 has IPv4.
            ("127.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
            ("127.0.0.1", "[2001:db8::1]", "2001:db8::1"),
            ("127.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ] {
            let found = proxies.client(ip(peer), Some(forwarded));
            assert_eq!(found, ip(client), "{forwarded:?} from {peer}");
        }
        assert_eq!(proxies.client(ip("127.0.0.1"), None), ip("127.0.0.1"));
        let nobody = Proxies::default();
        assert_eq!(nobody.client(ip("127.0.0.1"), Some("198.51.100.1")), ip("127.0.0.1"));
    }
}
