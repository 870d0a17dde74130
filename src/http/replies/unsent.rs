//! Limits on the bytes of replies that clients leave unread.
//!
//! A client that does not read keeps its reply in memory, and a worker busy. The total is bounded,
//! and each user and network has a share of it. Without shares, one client that reads nothing would
//! leave no room for the replies of others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api::client::Network;
use crate::http::requests::exchange::Exchange;
use crate::model::UserId;

/// Unread bytes of replies in all. Beyond it, a client that does not keep up is cut off at once.
const MAX_UNSENT_BYTES: usize = 256 * 1024 * 1024;
/// From so many bytes on, clients have less time to read, as when all workers are busy.
pub(in crate::http) const PRESSURE_BYTES: usize = MAX_UNSENT_BYTES / 2;
/// Share of the clients of one network.
const OF_NETWORK: Share = Share { bytes: 64 * 1024 * 1024, replies: 192 };
/// Share of a user in all networks: more than the longest page.
const OF_USER: Share = Share { bytes: 32 * 1024 * 1024, replies: 96 };

/// Limits on what a user or a network may leave unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    bytes: usize,
    /// Each has a worker, or waits for one.
    replies: usize,
}

/// All unread replies. The loop adds to them, and workers remove them.
#[derive(Clone, Default)]
pub(in crate::http) struct Unsent(Arc<Mutex<Amounts>>);

#[derive(Default)]
struct Amounts {
    bytes: usize,
    // Users and networks without unread replies are not in the maps, which are thus bounded by the
    // workers' jobs.
    of_networks: HashMap<Network, Amount>,
    of_users: HashMap<UserId, Amount>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Amount {
    bytes: usize,
    replies: usize,
}

/// The reader of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct UnsentKey {
    network: Network,
    user: Option<UserId>,
}

/// Reason for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum UnsentFull {
    /// [`MAX_UNSENT_BYTES`] are unread.
    ForAll,
    /// The reader's share is used up.
    ForReader,
}

/// Counts a reply as unread until it is dropped.
pub(in crate::http) struct UnsentBytes {
    unsent: Unsent,
    reader: UnsentKey,
    bytes: usize,
}

impl UnsentKey {
    pub(in crate::http) fn of(exchange: &Exchange) -> UnsentKey {
        let client = exchange.trace.client.unwrap_or(exchange.peer().ip());
        UnsentKey { network: Network::of_client(client), user: exchange.trace.caller }
    }
}

impl Share {
    /// Returns whether a share has room for one more reply.
    fn has_room(self, amount: Option<&Amount>, bytes: usize) -> bool {
        amount.is_none_or(|amount| {
            amount.bytes + bytes <= self.bytes && amount.replies < self.replies
        })
    }
}

impl Unsent {
    /// Checks whether there is room for a reply to this reader.
    pub(in crate::http) fn room(&self, reader: UnsentKey, bytes: usize) -> Result<(), UnsentFull> {
        let amounts = self.amounts();
        if amounts.bytes + bytes > MAX_UNSENT_BYTES {
            return Err(UnsentFull::ForAll);
        }
        let of_user = reader.user.and_then(|user| amounts.of_users.get(&user));
        let of_network = amounts.of_networks.get(&reader.network);
        if !OF_USER.has_room(of_user, bytes) || !OF_NETWORK.has_room(of_network, bytes) {
            return Err(UnsentFull::ForReader);
        }
        Ok(())
    }

    /// Counts a reply, for which there should be room.
    pub(in crate::http) fn hold(&self, reader: UnsentKey, bytes: usize) -> UnsentBytes {
        let mut amounts = self.amounts();
        amounts.bytes += bytes;
        amounts.of_networks.entry(reader.network).or_default().add(bytes);
        if let Some(user) = reader.user {
            amounts.of_users.entry(user).or_default().add(bytes);
        }
        UnsentBytes { unsent: self.clone(), reader, bytes }
    }

    /// Returns whether so much is unread that deadlines should be short.
    pub(in crate::http) fn is_under_pressure(&self) -> bool {
        self.amounts().bytes >= PRESSURE_BYTES
    }

    /// Unread bytes in all.
    pub(in crate::http) fn bytes(&self) -> usize {
        self.amounts().bytes
    }

    fn amounts(&self) -> MutexGuard<'_, Amounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.replies += 1;
    }
}

impl Drop for UnsentBytes {
    fn drop(&mut self) {
        let mut amounts = self.unsent.amounts();
        amounts.bytes -= self.bytes;
        take_away(&mut amounts.of_networks, self.reader.network, self.bytes);
        if let Some(user) = self.reader.user {
            take_away(&mut amounts.of_users, user, self.bytes);
        }
    }
}

fn take_away<K: Eq + Hash>(amounts: &mut HashMap<K, Amount>, key: K, bytes: usize) {
    if let Entry::Occupied(mut amount) = amounts.entry(key) {
        amount.get_mut().bytes -= bytes;
        amount.get_mut().replies -= 1;
        if amount.get().replies == 0 {
            amount.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(address: &str, user: u64) -> UnsentKey {
        let network = Network::of_client(address.parse().unwrap());
        UnsentKey { network, user: UserId::new(user) }
    }

    #[test]
    fn a_user_has_a_share() {
        let unsent = Unsent::default();
        let held = unsent.hold(reader("192.0.2.1", 1), OF_USER.bytes - 1);
        let elsewhere = reader("192.0.2.2", 1);
        assert_eq!(unsent.room(elsewhere, 1), Ok(()));
        assert_eq!(unsent.room(elsewhere, 2), Err(UnsentFull::ForReader));
        for other in [reader("192.0.2.1", 2), reader("192.0.2.1", 0)] {
            assert_eq!(unsent.room(other, OF_USER.bytes), Ok(()), "another user, or none");
        }
        drop(held);
        assert_eq!(unsent.room(elsewhere, OF_USER.bytes), Ok(()));
        assert!(unsent.amounts().of_users.is_empty() && unsent.amounts().of_networks.is_empty());
    }

    #[test]
    fn a_network_has_a_share() {
        for (one, same, another) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::1", "2001:db8:1:3::1"),
        ] {
            let unsent = Unsent::default();
            let half = OF_NETWORK.bytes / 2;
            let _held = [1, 2].map(|user| unsent.hold(reader(one, user), half));
            assert_eq!(unsent.room(reader(same, 3), 0), Ok(()));
            assert_eq!(unsent.room(reader(same, 3), 1), Err(UnsentFull::ForReader));
            assert_eq!(unsent.room(reader(another, 3), OF_USER.bytes), Ok(()));
        }
    }

    #[test]
    fn a_share_limits_the_number_of_replies() {
        let unsent = Unsent::default();
        let mut held: Vec<_> =
            (0..OF_USER.replies).map(|_| unsent.hold(reader("192.0.2.1", 1), 1)).collect();
        assert_eq!(unsent.room(reader("192.0.2.2", 1), 1), Err(UnsentFull::ForReader));
        let more = OF_USER.replies..OF_NETWORK.replies;
        held.extend(more.map(|user| unsent.hold(reader("192.0.2.1", 2 + user as u64), 1)));
        assert_eq!(unsent.room(reader("192.0.2.1", 0), 1), Err(UnsentFull::ForReader));
        held.pop();
        assert_eq!(unsent.room(reader("192.0.2.1", 0), 1), Ok(()));
    }

    #[test]
    fn all_shares_together_are_limited() {
        let unsent = Unsent::default();
        let networks = MAX_UNSENT_BYTES / OF_NETWORK.bytes;
        let address = |number| format!("192.0.2.{number}");
        let mut held = Vec::new();
        for number in 0..networks {
            assert_eq!(unsent.is_under_pressure(), number >= networks / 2);
            assert_eq!(unsent.room(reader(&address(number), 0), OF_NETWORK.bytes), Ok(()));
            held.push(unsent.hold(reader(&address(number), 0), OF_NETWORK.bytes));
        }
        assert_eq!(unsent.room(reader("198.51.100.1", 9), 1), Err(UnsentFull::ForAll));
        held.pop();
        assert_eq!(unsent.room(reader("198.51.100.1", 9), 1), Ok(()));
        assert_eq!(unsent.bytes(), MAX_UNSENT_BYTES - OF_NETWORK.bytes);
    }
}
