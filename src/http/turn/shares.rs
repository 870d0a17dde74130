//! For whom long replies were made not long ago: what else they ask for waits behind the requests of
//! others. How long a reply will be, nobody knows before it is made; who has just had some megabytes
//! will likely have more. So a short request waits for one long page of somebody else, and not for
//! all that they have asked for at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use crate::api::client::{Network, Proxies};
use crate::http::requests::exchange::Exchange;

/// In bytes: replies that are no longer do not count. Nearly all are, so that nearly always there
/// is nobody to be found.
const MIN_BYTES: usize = 64 * 1024;
/// How long it counts what somebody was sent.
const WINDOW: Duration = Duration::from_secs(1);
/// In bytes: who has had so much in that time, by one token or in one network, stands behind others.
const OF_TOKEN_BYTES: usize = 1024 * 1024;
const OF_NETWORK_BYTES: usize = 8 * 1024 * 1024;
/// Tokens and networks that are known at once.
const MAX_KNOWN: usize = 4096;

/// What was spent in a window of time.
pub(super) struct TurnShares {
    since: Instant,
    /// By the number of a token or a network.
    bytes: HashMap<u64, usize>,
    /// Keyed at random, so that nobody can choose to share a number.
    numbers: RandomState,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Normal,
    /// Others in its network have had much.
    Deferred,
    /// Who asks has.
    Last,
}

/// Who asks, as far as it is known before it is handled.
struct Who {
    token: u64,
    network: u64,
}

impl TurnShares {
    pub(super) fn new() -> TurnShares {
        let (bytes, numbers) = Default::default();
        TurnShares { since: Instant::now(), bytes, numbers }
    }

    /// A reply was made.
    pub(super) fn count(&mut self, exchange: &Exchange, proxies: &Proxies, bytes: usize) {
        if bytes <= MIN_BYTES {
            return;
        }
        if self.since.elapsed() >= WINDOW || self.bytes.len() >= MAX_KNOWN {
            self.bytes.clear();
            self.since = Instant::now();
        }
        let Who { token, network } = self.who(exchange, proxies);
        for number in [token, network] {
            *self.bytes.entry(number).or_default() += bytes;
        }
    }

    /// Where a request should stand.
    pub(super) fn place(&self, exchange: &Exchange, proxies: &Proxies) -> Place {
        if self.bytes.is_empty() || self.since.elapsed() >= WINDOW {
            return Place::Normal;
        }
        let Who { token, network } = self.who(exchange, proxies);
        let spent = |number| self.bytes.get(&number).copied().unwrap_or(0);
        if spent(token) >= OF_TOKEN_BYTES {
            Place::Last
        } else if spent(network) >= OF_NETWORK_BYTES {
            Place::Deferred
        } else {
            Place::Normal
        }
    }

    fn who(&self, exchange: &Exchange, proxies: &Proxies) -> Who {
        let request = exchange.request(proxies);
        let network = Network::of_client(request.client);
        // Who sends no token is known by the network alone.
        let token = request.authorization.map_or_else(
            || self.numbers.hash_one(network),
            |token| self.numbers.hash_one((token, network)),
        );
        Who { token, network: self.numbers.hash_one((network, "all of it")) }
    }
}
