//! How often something may be done, by whom: what the operator set, and how far everybody is.
//!
//! What has to be held in mind of everybody is bounded (see [`ledger`]), and ends with the process.

mod attempts;
mod ledger;
mod throttle;

use std::borrow::Cow;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::attempts::Attempt;
use self::attempts::Attempts;
use self::throttle::{Level, Taken, Throttle};
use super::Reply;
use super::client::Network;
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

/// A quota, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit(Option<Quota>);

/// So many at once, and as many again in each window, evenly: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    count: u32,
    window: Duration,
}

/// The most that a quota can be, and the longest window. An interval is never less than a
/// nanosecond, and no multiple of it that is asked for is more than a duration can hold.
const MAX_COUNT: u32 = 1_000_000;
const MAX_WINDOW: Duration = Duration::from_hours(31 * 24);

/// What comes before and behind the number in a window.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

impl Limit {
    /// Reads `off`, or a number and a window: `10/m`, `100/24h`. The reason in words, if it is
    /// neither.
    pub fn parse(text: &str) -> Result<Limit, &'static str> {
        if text == "off" {
            return Ok(Limit(None));
        }
        let wanted = "a limit is 'off' or a number and a time, as in 10/m or 100/24h";
        let (count, window) = text.split_once('/').ok_or(wanted)?;
        let read = |(unit, seconds)| Some((window.strip_suffix::<char>(unit)?, seconds));
        let (times, seconds) =
            UNITS.into_iter().find_map(read).ok_or("the time ends with s, m, h or d")?;
        let times = match times {
            "" => 1,
            times => number(times).ok_or(wanted)?,
        };
        let window = Duration::from_secs(u64::from(times) * seconds);
        let quota = Quota::new(number(count).ok_or(wanted)?, window);
        let beyond = "a limit is 1 to 1,000,000 in a second to 31 days";
        quota.map(|quota| Limit(Some(quota))).ok_or(beyond)
    }
}

/// Digits only: no sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl Quota {
    /// `None` unless it is 1 to [`MAX_COUNT`] in a second to [`MAX_WINDOW`].
    pub(super) fn new(count: u32, window: Duration) -> Option<Quota> {
        let count_fits = (1..=MAX_COUNT).contains(&count);
        let window_fits = (Duration::from_secs(1)..=MAX_WINDOW).contains(&window);
        (count_fits && window_fits).then_some(Quota { count, window })
    }

    /// As many times as much in the same window.
    fn times(self, factor: u32) -> Quota {
        Quota { count: self.count.saturating_mul(factor).min(MAX_COUNT), ..self }
    }

    fn count(self) -> u32 {
        self.count
    }

    /// From one to the next, at the pace at which they come back.
    fn interval(self) -> Duration {
        self.window / self.count
    }
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
    fn limits_are_read() {
        for (text, count, seconds) in [
            ("10/m", 10, 60),
            ("1/s", 1, 1),
            ("100/24h", 100, 86_400),
            ("1000000/31d", 1_000_000, 2_678_400),
            ("5/90s", 5, 90),
        ] {
            let quota = Quota { count, window: Duration::from_secs(seconds) };
            assert_eq!(Limit::parse(text), Ok(Limit(Some(quota))), "{text}");
        }
        assert_eq!(Limit::parse("off"), Ok(Limit(None)));
        for text in [
            "",
            "0",
            "10",
            "/m",
            "10/",
            "10/x",
            "0/m",
            "1000001/m",
            "1/0s",
            "1/32d",
            "-1/m",
            "+1/m",
            "1/+1m",
            "1/-1m",
            " 1/m",
            "1/m ",
            "1/mm",
            "1.5/m",
            "1/1.5m",
            "Off",
            "1/m/s",
            "99999999999/m",
            "1/99999999999s",
        ] {
            assert!(Limit::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_are_enough() {
        let millis = |millis| seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1000, 1001].map(millis), [0, 1, 1, 2]);
    }
}
