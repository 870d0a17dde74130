//! Rate limits: the operator's settings, and the state of each client.
//!
//! The state is bounded in size (see [`ledger`]), and is lost when the process ends.

mod attempts;
mod ledger;
mod quota;
mod throttle;

use std::borrow::Cow;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::attempts::LoginAttempt;
use self::attempts::LoginThrottle;
pub use self::quota::Limit;
use self::quota::Quota;
use self::throttle::{Level, Taken, Throttle};
use super::client::Network;
use super::reply::Reply;
use crate::model::UserId;
use crate::problem::Problem;
use crate::sys::Clock;

/// The operator's limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Failed logins to an account from a network; [`LoginThrottle`] derives further limits from
    /// it.
    pub login: Limit,
    /// Registrations from a network.
    pub registration: Limit,
    /// Messages of a user, of both kinds together.
    pub message: Limit,
}

/// The state of all limits.
#[derive(Debug)]
pub(super) struct Limiters {
    attempts: Option<LoginThrottle>,
    pub(super) registrations: Meter<Network>,
    pub(super) messages: Meter<UserId>,
}

impl Limiters {
    pub(super) fn new(limits: Limits) -> Limiters {
        Limiters {
            attempts: limits.login.0.map(LoginThrottle::new),
            registrations: Meter::new("registrations", limits.registration),
            messages: Meter::new("messages", limits.message),
        }
    }

    /// Counts a login attempt, or refuses it with a 429 that does not reveal if there is such a
    /// user.
    pub(super) fn begin_login(
        &mut self,
        name: &str,
        client: IpAddr,
        clock: &dyn Clock,
    ) -> Result<Option<LoginAttempt>, Problem> {
        let Some(attempts) = &mut self.attempts else { return Ok(None) };
        let attempt = attempts.begin(name, client, clock.elapsed());
        attempt.map(Some).map_err(|wait| {
            let why = "too many logins to this account or from this address failed";
            Problem::too_many_requests(why, seconds(wait))
        })
    }

    /// Takes back a counted attempt that succeeded, and exempts its network from one of the limits.
    pub(super) fn login_succeeded(&mut self, attempt: Option<LoginAttempt>, clock: &dyn Clock) {
        if let Some((attempts, attempt)) = self.attempts.as_mut().zip(attempt) {
            attempts.succeed(attempt, clock.elapsed());
        }
    }

    /// Takes back a counted attempt that was not made.
    pub(super) fn login_declined(&mut self, attempt: Option<LoginAttempt>, clock: &dyn Clock) {
        if let Some((attempts, attempt)) = self.attempts.as_mut().zip(attempt) {
            attempts.withdraw(attempt, clock.elapsed());
        }
    }
}

/// A limit whose state is sent to clients.
#[derive(Debug)]
pub(super) struct Meter<K> {
    /// The name of what it counts, in the plural.
    name: &'static str,
    throttle: Option<Throttle<K>>,
}

impl<K: Copy + Ord + Hash> Meter<K> {
    fn new(name: &'static str, limit: Limit) -> Meter<K> {
        Meter { name, throttle: limit.0.map(Throttle::new) }
    }

    /// Counts one more for a key. Returns the key's quota, `None` without a limit, or a 429.
    pub(super) fn count(
        &mut self,
        key: K,
        clock: &dyn Clock,
    ) -> Result<Option<QuotaState>, Problem> {
        let Some(throttle) = &mut self.throttle else { return Ok(None) };
        let (name, quota) = (self.name, throttle.quota());
        match throttle.take(key, clock.elapsed()) {
            Ok((taken, level)) => Ok(Some(QuotaState { name, quota, level, taken })),
            Err(wait) => {
                let why = format!("the limit on {name} is reached for now");
                let mut problem = Problem::too_many_requests(why, seconds(wait));
                let level = Level { remaining: 0, more_in: wait };
                problem.headers.extend(fields(name, quota, level));
                Err(problem)
            }
        }
    }

    /// Takes back what was counted.
    pub(super) fn uncount(&mut self, key: K, state: Option<QuotaState>, clock: &dyn Clock) {
        if let Some((throttle, QuotaState { taken, .. })) = self.throttle.as_mut().zip(state) {
            throttle.give_back(key, taken, clock.elapsed());
        }
    }
}

/// The state of a client's quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuotaState {
    name: &'static str,
    quota: Quota,
    level: Level,
    taken: Taken,
}

impl Reply {
    /// Adds the fields that tell the client's quota, if there is a limit.
    pub(super) fn with_quota(mut self, state: Option<QuotaState>) -> Reply {
        if let Some(QuotaState { name, quota, level, .. }) = state {
            self.headers.extend(fields(name, quota, level));
        }
        self
    }
}

/// The fields of draft-ietf-httpapi-ratelimit-headers-10. `t` is the time until one more is
/// available.
fn fields(name: &str, quota: Quota, level: Level) -> [(&'static str, Cow<'static, str>); 2] {
    let (count, window) = (quota.count, quota.window.as_secs());
    let (remaining, more_in) = (level.remaining, seconds(level.more_in));
    [
        ("RateLimit-Policy", format!("\"{name}\";q={count};w={window}").into()),
        ("RateLimit", format!("\"{name}\";r={remaining};t={more_in}").into()),
    ]
}

/// A time in whole seconds, rounded up.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_enough() {
        let millis = |millis| seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1000, 1001].map(millis), [0, 1, 1, 2]);
    }
}
