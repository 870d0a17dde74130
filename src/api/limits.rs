//! How often something may be done, by whom: what the operator set, and how far everybody is.
//!
//! What has to be held in mind of everybody is bounded (see [`ledger`]), and ends with the process.

mod attempts;
mod ledger;
mod quota;
mod throttle;

use std::borrow::Cow;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::attempts::Attempt;
use self::attempts::Attempts;
pub use self::quota::Limit;
use self::quota::Quota;
use self::throttle::{Level, Taken, Throttle};
use super::client::Network;
use super::reply::Reply;
use crate::model::UserId;
use crate::problem::Problem;
use crate::sys::Clock;

/// What the operator limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Failed logins to an account from a network; what else follows from it is in [`Attempts`].
    pub login: Limit,
    /// Registrations from a network.
    pub registration: Limit,
    /// Messages of a user, of both kinds together.
    pub message: Limit,
}

/// How far everybody is.
#[derive(Debug)]
pub(super) struct Limiters {
    attempts: Option<Attempts>,
    pub(super) registrations: Meter<Network>,
    pub(super) messages: Meter<UserId>,
}

impl Limiters {
    pub(super) fn new(limits: Limits) -> Limiters {
        Limiters {
            attempts: limits.login.0.map(Attempts::new),
            registrations: Meter::new("registrations", limits.registration),
            messages: Meter::new("messages", limits.message),
        }
    }

    /// Counts an attempt to log in, or refuses it: 429, which says nothing of whether there is
    /// such a user.
    pub(super) fn begin_login(
        &mut self,
        name: &str,
        client: IpAddr,
        clock: &dyn Clock,
    ) -> Result<Option<Attempt>, Problem> {
        let Some(attempts) = &mut self.attempts else { return Ok(None) };
        let attempt = attempts.begin(name, client, clock.elapsed());
        attempt.map(Some).map_err(|wait| {
            let why = "too many logins to this account or from this address have failed";
            Problem::too_many_requests(why, seconds(wait))
        })
    }

    /// The attempt does not count any more, and others from there are easier.
    pub(super) fn login_succeeded(&mut self, attempt: Option<Attempt>, clock: &dyn Clock) {
        if let Some((attempts, attempt)) = self.attempts.as_mut().zip(attempt) {
            attempts.succeed(attempt, clock.elapsed());
        }
    }

    /// The attempt does not count any more: it was not made.
    pub(super) fn login_declined(&mut self, attempt: Option<Attempt>, clock: &dyn Clock) {
        if let Some((attempts, attempt)) = self.attempts.as_mut().zip(attempt) {
            attempts.withdraw(attempt, clock.elapsed());
        }
    }
}

/// A limit whose clients are told how they stand with it.
#[derive(Debug)]
pub(super) struct Meter<K> {
    /// What it is of, in the plural.
    name: &'static str,
    throttle: Option<Throttle<K>>,
}

impl<K: Copy + Ord + Hash> Meter<K> {
    fn new(name: &'static str, limit: Limit) -> Meter<K> {
        Meter { name, throttle: limit.0.map(Throttle::new) }
    }

    /// One more of the key's: how it stands then, or 429. Nothing if there is no limit.
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
                let why = format!("no more {name} are left for now");
                let mut problem = Problem::too_many_requests(why, seconds(wait));
                let level = Level { remaining: 0, more_in: wait };
                problem.headers.extend(fields(name, quota, level));
                Err(problem)
            }
        }
    }

    /// What was counted did not come about.
    pub(super) fn uncount(&mut self, key: K, standing: Option<QuotaState>, clock: &dyn Clock) {
        if let Some((throttle, QuotaState { taken, .. })) = self.throttle.as_mut().zip(standing) {
            throttle.give_back(key, taken, clock.elapsed());
        }
    }
}

/// How a client stands with a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuotaState {
    name: &'static str,
    quota: Quota,
    level: Level,
    taken: Taken,
}

impl Reply {
    /// Tells the client how it stands, if there is a limit.
    pub(super) fn with_standing(mut self, standing: Option<QuotaState>) -> Reply {
        if let Some(QuotaState { name, quota, level, .. }) = standing {
            self.headers.extend(fields(name, quota, level));
        }
        self
    }
}

/// The fields of draft-ietf-httpapi-ratelimit-headers-10. `t` is when there will be more.
fn fields(name: &str, quota: Quota, level: Level) -> [(&'static str, Cow<'static, str>); 2] {
    let (count, window) = (quota.count, quota.window.as_secs());
    let (remaining, more_in) = (level.remaining, seconds(level.more_in));
    [
        ("RateLimit-Policy", format!("\"{name}\";q={count};w={window}").into()),
        ("RateLimit", format!("\"{name}\";r={remaining};t={more_in}").into()),
    ]
}

/// Whole seconds, after which it is certainly over.
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
