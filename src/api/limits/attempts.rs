//! Limits on login attempts, which slow down guesses of passwords and nothing else.
//!
//! An attempt is counted when it begins, so that many at once do not exceed the limit, and is taken
//! back when it succeeds. So only failures add up.
//!
//! * **To an account from a network**, as often as the operator says.
//! * **From a network**, to any accounts, [`ACCOUNTS_PER_NETWORK`] times as often. It slows down a
//!   client that tries a few passwords with many names.
//! * **To an account**, from any network, [`NETWORKS_PER_ACCOUNT`] times as often. It slows down an
//!   attacker with many networks. Networks with a successful login to the account are exempt.
//!   Otherwise the attacker could keep the owner out.
//!
//! The limits do not depend on whether an account exists: unknown names are limited like all
//! others, and a refusal reveals nothing of them.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use super::ledger::Ledger;
use super::quota::Quota;
use super::throttle::{Taken, Throttle};
use crate::api::client::Network;

/// The factor of the limit on a network: so many accounts may be attacked from it as if each were
/// the only one, and so many people who share an address can mistype at once. With the default
/// limit it is more than can wait for their passwords to be verified, so that a client that is
/// right is not refused.
const ACCOUNTS_PER_NETWORK: u32 = 10;
/// The factor of the limit on an account: it may be attacked from so many networks as if each were
/// the only one.
const NETWORKS_PER_ACCOUNT: u32 = 5;

/// The state of the limits on login attempts.
#[derive(Debug)]
pub(super) struct LoginThrottle {
    /// A hasher with a random key, so that nobody can choose names with equal hashes. No answer
    /// depends on the key.
    numbers: RandomState,
    from_network_to_account: Throttle<u64>,
    from_network: Throttle<Network>,
    to_account: Throttle<u64>,
    /// The pairs of account and network of successful logins, with the time of the last one.
    familiar: Ledger<u64>,
}

/// An attempt that was counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginAttempt {
    network: Network,
    account: u64,
    /// The hash of account and network.
    pair: u64,
    from_network_to_account: Taken,
    from_network: Taken,
    to_account: Option<Taken>,
}

impl LoginThrottle {
    pub(super) fn new(quota: Quota) -> LoginThrottle {
        LoginThrottle {
            numbers: RandomState::new(),
            from_network_to_account: Throttle::new(quota),
            from_network: Throttle::new(quota.times(ACCOUNTS_PER_NETWORK)),
            to_account: Throttle::new(quota.times(NETWORKS_PER_ACCOUNT)),
            familiar: Ledger::new(),
        }
    }

    /// Counts a login attempt with a name, which need not exist. The error is the time until the
    /// next attempt.
    ///
    /// An attempt that a later limit refuses stays counted by the earlier ones. So each of those
    /// who attack the same account gets a share of it, however often they try.
    pub(super) fn begin(
        &mut self,
        name: &str,
        client: IpAddr,
        now: Duration,
    ) -> Result<LoginAttempt, Duration> {
        let network = Network::of_client(client);
        // A hash has the same size for any name.
        let account = self.numbers.hash_one(name.to_ascii_lowercase());
        let pair = self.numbers.hash_one((account, network));
        let (from_network_to_account, _) = self.from_network_to_account.take(pair, now)?;
        let (from_network, _) = self.from_network.take(network, now)?;
        let is_familiar = self.familiar.get(pair).is_some();
        let to_account =
            if is_familiar { None } else { Some(self.to_account.take(account, now)?.0) };
        Ok(LoginAttempt {
            network,
            account,
            pair,
            from_network_to_account,
            from_network,
            to_account,
        })
    }

    /// Takes back an attempt that succeeded.
    pub(super) fn succeed(&mut self, attempt: LoginAttempt, now: Duration) {
        self.familiar.set(attempt.pair, now);
        self.withdraw(attempt, now);
    }

    /// Takes back an attempt that was not made, or that succeeded.
    pub(super) fn withdraw(&mut self, attempt: LoginAttempt, now: Duration) {
        let LoginAttempt { network, account, pair, .. } = attempt;
        self.from_network_to_account.give_back(pair, attempt.from_network_to_account, now);
        self.from_network.give_back(network, attempt.from_network, now);
        if let Some(taken) = attempt.to_account {
            self.to_account.give_back(account, taken, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::ledger::MAX_KEYS;
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);
    const MINUTE: Duration = Duration::from_mins(1);
    const LIMIT: u32 = 10;

    fn attempts() -> LoginThrottle {
        LoginThrottle::new(Quota::new(LIMIT, MINUTE).unwrap())
    }

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    /// Tries until it is refused: the number of attempts, and the time to wait then.
    fn fail(attempts: &mut LoginThrottle, name: &str, from: u32, now: Duration) -> (u32, Duration) {
        let mut failed = 0;
        loop {
            match attempts.begin(name, address(from), now) {
                Ok(_) => failed += 1,
                Err(wait) => return (failed, wait),
            }
        }
    }

    fn succeed(attempts: &mut LoginThrottle, name: &str, from: u32, now: Duration) {
        let attempt = attempts.begin(name, address(from), now).unwrap();
        attempts.succeed(attempt, now);
    }

    #[test]
    fn who_guesses_is_slowed_down_and_the_owner_is_not() {
        let mut attempts = attempts();
        let (owner, attacker) = (1, 2);
        let mut guesses = 0;
        for second in 0..3600 {
            let now = NOW + Duration::from_secs(second);
            let (failed, wait) = fail(&mut attempts, "ANN", attacker, now);
            guesses += failed;
            assert!(wait <= MINUTE / LIMIT, "{wait:?}");
            succeed(&mut attempts, "ann", owner, now);
        }
        assert_eq!(guesses, LIMIT + 59 * LIMIT + 9);
    }

    #[test]
    fn who_shares_the_address_of_who_guesses_waits_for_seconds() {
        let mut attempts = attempts();
        let (failed, wait) = fail(&mut attempts, "ann", 1, NOW);
        assert_eq!((failed, wait), (LIMIT, Duration::from_secs(6)));
        succeed(&mut attempts, "ann", 1, NOW + wait);
        // Other accounts are not concerned.
        succeed(&mut attempts, "bob", 1, NOW);
    }

    #[test]
    fn who_hammers_at_one_account_is_in_nobodys_way_to_others() {
        let mut attempts = attempts();
        for name in ["ann", "Ann", "ANN"].iter().cycle().take(1000) {
            let _ = attempts.begin(name, address(1), NOW);
        }
        let left = (0..).take_while(|n| attempts.begin(&n.to_string(), address(1), NOW).is_ok());
        assert_eq!(left.count(), (LIMIT * (ACCOUNTS_PER_NETWORK - 1)) as usize);
    }

    #[test]
    fn who_is_right_is_never_refused() {
        let mut attempts = attempts();
        (0..1000).for_each(|_| succeed(&mut attempts, "ann", 1, NOW));
        assert_eq!(attempts.from_network_to_account.keys(), 0);
        assert_eq!(attempts.from_network.keys() + attempts.to_account.keys(), 0);
    }

    #[test]
    fn many_at_once_are_no_way_around() {
        let mut attempts = attempts();
        let mut begun: Vec<_> =
            (0..LIMIT).map(|_| attempts.begin("ann", address(1), NOW).unwrap()).collect();
        assert!(attempts.begin("ann", address(1), NOW).is_err());
        attempts.succeed(begun.remove(0), NOW);
        attempts.withdraw(begun.remove(0), NOW);
        assert_eq!(fail(&mut attempts, "ann", 1, NOW).0, 2);
    }

    #[test]
    fn many_names_are_no_way_around() {
        let mut attempts = attempts();
        let tried = (0..).take_while(|n| attempts.begin(&n.to_string(), address(1), NOW).is_ok());
        assert_eq!(tried.count(), (LIMIT * ACCOUNTS_PER_NETWORK) as usize);
        succeed(&mut attempts, "ann", 2, NOW);
    }

    #[test]
    fn many_networks_are_no_way_around_and_the_owner_gets_in_from_where_they_were() {
        let mut attempts = attempts();
        let (home, elsewhere) = (1, 2);
        succeed(&mut attempts, "ann", home, NOW);
        let attackers = 10..100;
        let mut guesses = 0;
        for from in attackers.clone() {
            let tried = (0..100).filter(|_| attempts.begin("ann", address(from), NOW).is_ok());
            guesses += tried.count();
        }
        assert_eq!(guesses, (LIMIT * NETWORKS_PER_ACCOUNT) as usize);
        succeed(&mut attempts, "ann", home, NOW);
        let wait = attempts.begin("ann", address(elsewhere), NOW).unwrap_err();
        assert_eq!(wait, MINUTE / (LIMIT * NETWORKS_PER_ACCOUNT));
        // From elsewhere they have to wait for their turn. The others have used up theirs.
        let later = NOW + 2 * wait;
        assert!(attackers.into_iter().all(|n| attempts.begin("ann", address(n), later).is_err()));
        succeed(&mut attempts, "ann", elsewhere, later);
    }

    #[test]
    fn an_ipv6_network_is_one() {
        let mut attempts = attempts();
        let from = |text: &str| text.parse::<IpAddr>().unwrap();
        for n in 0..LIMIT {
            attempts.begin("ann", from(&format!("2001:db8::{n:x}:1")), NOW).unwrap();
        }
        assert!(attempts.begin("ann", from("2001:db8:0:0:ffff::"), NOW).is_err());
        attempts.begin("ann", from("2001:db8:0:1::"), NOW).unwrap();
    }

    #[test]
    fn names_and_addresses_that_are_made_up_take_no_more_memory() {
        let mut attempts = attempts();
        let attacked = fail(&mut attempts, "ann", 0, NOW);
        assert_eq!(attacked.0, LIMIT);
        for n in 1..=200_000 {
            attempts.begin(&n.to_string(), address(n), NOW).unwrap();
            succeed(&mut attempts, "bob", n, NOW);
        }
        let keys = [
            attempts.from_network_to_account.keys(),
            attempts.from_network.keys(),
            attempts.to_account.keys(),
            attempts.familiar.len(),
        ];
        assert!(keys.iter().all(|keys| (MAX_KEYS - 1..=MAX_KEYS).contains(keys)), "{keys:?}");
        assert_eq!(fail(&mut attempts, "ann", 0, NOW).0, 0);
    }
}
