//! Clients that received long replies a short time ago. Their further requests are handled after
//! those of others. The length of a reply is unknown until it is made, but a client that has just
//! received megabytes will likely receive more. So a short request waits for one long page of
//! another client, and not for all pages that the client has asked for at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::api::client::{Network, Proxies};
use crate::http::requests::exchange::Exchange;

/// Shortest reply that counts, in bytes. Nearly all replies are shorter, so that this is nearly
/// always empty.
const MIN_BYTES: usize = 64 * 1024;
/// Time for which replies count.
const WINDOW: Duration = Duration::from_secs(1);
/// Bytes in that time from which on requests are deferred, by token and by network.
const MAX_TOKEN_BYTES: usize = 1024 * 1024;
const MAX_NETWORK_BYTES: usize = 8 * 1024 * 1024;
/// Tokens and networks that are known at once.
const MAX_KNOWN: usize = 4096;

/// Bytes of long replies in the current window of time.
pub(super) struct TurnShares {
    since: Instant,
    /// By the hash of a token or a network.
    bytes: HashMap<u64, usize>,
    /// Random keys, so that no client can choose a collision.
    hasher: RandomState,
}

/// Place of a request in the order of handling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Normal,
    /// Its network has received much.
    Deferred,
    /// Its own token has received much.
    Last,
}

/// The client, as far as it is known before the request is handled.
struct ClientKeys {
    token: u64,
    network: u64,
}

impl TurnShares {
    pub(super) fn new() -> TurnShares {
        let (bytes, hasher) = Default::default();
        TurnShares { since: Instant::now(), bytes, hasher }
    }

    /// Counts a reply.
    pub(super) fn count(&mut self, exchange: &Exchange, proxies: &Proxies, bytes: usize) {
        if bytes <= MIN_BYTES {
            return;
        }
        if self.since.elapsed() >= WINDOW || self.bytes.len() >= MAX_KNOWN {
            self.bytes.clear();
            self.since = Instant::now();
        }
        let ClientKeys { token, network } = self.client_keys(exchange, proxies);
        for number in [token, network] {
            *self.bytes.entry(number).or_default() += bytes;
        }
    }

    /// The place of a request.
    pub(super) fn place(&self, exchange: &Exchange, proxies: &Proxies) -> Place {
        if self.bytes.is_empty() || self.since.elapsed() >= WINDOW {
            return Place::Normal;
        }
        let ClientKeys { token, network } = self.client_keys(exchange, proxies);
        let received = |number| self.bytes.get(&number).copied().unwrap_or(0);
        if received(token) >= MAX_TOKEN_BYTES {
            Place::Last
        } else if received(network) >= MAX_NETWORK_BYTES {
            Place::Deferred
        } else {
            Place::Normal
        }
    }

    fn client_keys(&self, exchange: &Exchange, proxies: &Proxies) -> ClientKeys {
        let request = exchange.request(proxies);
        let network = Network::of_client(request.client);
        // A client without a token is known by its network alone.
        let token = request.authorization.map_or_else(
            || self.hasher.hash_one(network),
            |token| self.hasher.hash_one((token, network)),
        );
        ClientKeys { token, network: self.hasher.hash_one((network, "network")) }
    }
}
