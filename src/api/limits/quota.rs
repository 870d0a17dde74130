//! Quotas: how often something may be done in how much time.

use std::time::Duration;

/// A quota, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit(pub(super) Option<Quota>);

/// A token bucket: `count` at once, and as many again in each window, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(super) count: u32,
    pub(super) window: Duration,
}

/// The highest count and the longest window. An interval is at least a nanosecond, and all
/// multiples that are computed fit into a duration.
const MAX_COUNT: u32 = 1_000_000;
const MAX_WINDOW: Duration = Duration::from_hours(31 * 24);

/// The units of a window, in seconds.
const UNITS: [(char, u64); 4] = [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60)];

impl Limit {
    /// Reads `off`, or a number and a window: `10/m`, `100/24h`. The error says what is wrong.
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

    /// The same window with `factor` times the count.
    pub(super) fn times(self, factor: u32) -> Quota {
        Quota { count: self.count.saturating_mul(factor).min(MAX_COUNT), ..self }
    }

    pub(super) fn count(self) -> u32 {
        self.count
    }

    /// The time in which one more becomes available.
    pub(super) fn interval(self) -> Duration {
        self.window / self.count
    }
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
}
