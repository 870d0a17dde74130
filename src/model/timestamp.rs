//! Times of day.

use std::borrow::Cow;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Milliseconds since 1970-01-01T00:00:00Z; in JSON and in words as RFC 3339 in UTC, with three
/// decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 9999-12-30T22:00:00Z, the last millisecond that jiff takes for one.
    pub const MAX: Timestamp = Timestamp(253_402_207_200_000);

    /// Anything past [`Timestamp::MAX`] becomes it: a clock that far off is not worth an error.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Timestamp {
        if millis < Timestamp::MAX.0 { Timestamp(millis) } else { Timestamp::MAX }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as JWT's `NumericDate` counts them (RFC 7519).
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(millis).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let time: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let millis = u64::try_from(time.as_millisecond()).map_err(D::Error::custom)?;
        let time = Timestamp::from_millis(millis);
        // What it would be cut, rounded or moved to is not what was said.
        if time.to_string() == text {
            Ok(time)
        } else {
            Err(D::Error::custom("a time is in UTC, with three decimals and a Z"))
        }
    }
}
