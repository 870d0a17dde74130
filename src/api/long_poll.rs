//! Long polls (RFC 6202, section 2): a page that is empty is held until something is on it.

use std::time::Duration;

use super::app::App;
use super::contract::Parameter;
use super::failure::Failure;
use super::notices::Topic;
use super::outcome::Outcome;
use super::paging::{Query, number};
use super::reply::Reply;
use super::request::Call;
use super::wait::{PollResult, Wait};
use crate::model::{Cursor, Window};
use crate::problem::Problem;

/// The longest that a request can ask to be held, in seconds.
pub(super) const MAX_WAIT_SECONDS: u64 = 60;

/// The time for which a request for a page may be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WaitOptions {
    pub(super) time: Duration,
    /// `true` if the `Prefer` field gave the time. The reply says then that it was applied.
    pub(super) was_preferred: bool,
}

impl WaitOptions {
    /// The options of a request: `wait` in its query or else `wait` in its `Prefer` field. 400 for
    /// one in the query that is out of range or without `after`. An invalid preference is ignored
    /// (RFC 7240, section 2), and a `HEAD` never waits.
    pub(super) fn of(
        call: &Call<'_>,
        query: &Query<'_>,
        window: Window,
    ) -> Result<Option<WaitOptions>, Problem> {
        let is_head = call.request.method == "HEAD";
        let is_after = matches!(window.cursor, Cursor::From(_));
        let options = |seconds, was_preferred| {
            let time = Duration::from_secs(seconds);
            (!is_head).then_some(WaitOptions { time, was_preferred })
        };
        let Some(wait) = query.get(Parameter::Wait) else {
            let preferred = call.request.prefer.as_deref().filter(|_| is_after);
            return Ok(preferred.and_then(preferred_wait).and_then(|time| options(time, true)));
        };
        let seconds = number(wait).filter(|seconds| *seconds <= MAX_WAIT_SECONDS);
        let seconds = seconds.ok_or_else(|| {
            Problem::parameter(Parameter::Wait.name(), "must be a number from 0 to 60")
        })?;
        if !is_after {
            let why = "must be given together with after";
            return Err(Problem::parameter(Parameter::Wait.name(), why));
        }
        Ok(options(seconds, false))
    }
}

impl App {
    /// The page that `read` finds. If it is empty and the client waits, the request is held until
    /// an event of `topics`.
    pub(super) fn page_or_wait(
        &mut self,
        call: &Call<'_>,
        options: Option<WaitOptions>,
        topics: Vec<Topic>,
        window: Window,
        mut read: impl FnMut(&mut App) -> Result<PollResult, Failure> + 'static,
    ) -> Result<Outcome, Failure> {
        let waits = options.filter(|options| !options.time.is_zero());
        match (read(self)?, waits) {
            (PollResult::Nothing(_), Some(WaitOptions { time, .. })) => {
                // The token was verified when the request came.
                let (expires, left) = self.expiry(call)?;
                let time = time.min(left);
                let look =
                    move |app: &mut App| Ok(read(app)?.map(|page| page.with_applied(options)));
                Ok(Outcome::Park(Wait::new(call.bearer(), expires, time, topics, window, look)))
            }
            (PollResult::News(page) | PollResult::Nothing(page), _) => {
                Ok(Outcome::Reply(page.with_applied(options)))
            }
        }
    }
}

impl Reply {
    /// Says that a preference was applied (RFC 7240, section 3), if it was.
    pub(super) fn with_applied(self, options: Option<WaitOptions>) -> Reply {
        match options {
            Some(WaitOptions { time, was_preferred: true }) => {
                self.with("Preference-Applied", format!("wait={}", time.as_secs()))
            }
            _ => self,
        }
    }
}

/// The seconds of the first `wait` in a list of preferences (RFC 7240, sections 2 and 4.3), if they
/// are in range. Of several, only the first counts.
fn preferred_wait(list: &str) -> Option<u64> {
    let mut preferences = unquoted_split(list, ',');
    let value = preferences.find_map(|preference| {
        // Parameters follow the first semicolon, and `wait` has none.
        let preference = unquoted_split(preference, ';').next()?;
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim_matches(BLANK).eq_ignore_ascii_case("wait").then(|| value.trim_matches(BLANK))
    })?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let digits = quoted.unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds = digits.parse().ok().filter(|_| is_number);
    seconds.filter(|seconds| *seconds <= MAX_WAIT_SECONDS)
}

/// White space in a field (RFC 9110, section 5.6.3).
const BLANK: [char; 2] = [' ', '\t'];

/// The parts between separators that are not within quotes (RFC 9110, section 5.6.4).
fn unquoted_split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_found_in_a_list() {
        for (list, seconds) in [
            ("wait=10", 10),
            ("wait=0", 0),
            ("wait=60", 60),
            ("WAIT=10", 10),
            ("Wait = 10", 10),
            ("wait=\"10\"", 10),
            ("wait=010", 10),
            (" wait=10 ", 10),
            ("respond-async, wait=10", 10),
            ("respond-async,wait=10", 10),
            ("wait=10, respond-async", 10),
            (", ,wait=10", 10),
            ("wait=10; foo=bar", 10),
            ("wait=10;foo=\"a;b\"", 10),
            ("foo=\"a, wait=5\", wait=10", 10),
            ("foo=\"a\\\", wait=5\", wait=10", 10),
            ("foo; wait=5, wait=10", 10),
            ("wait=10, wait=20", 10),
            ("wait=10\t,\tfoo", 10),
        ] {
            assert_eq!(preferred_wait(list), Some(seconds), "{list}");
        }
        for list in [
            "",
            "wait",
            "wait=",
            "wait=\"\"",
            "wait=61",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=ten",
            "wait=1 0",
            "wait=\"10",
            "wait=99999999999999999999999",
            "waiting=10",
            "await=10",
            "foo=\"wait=10\"",
            "foo;wait=10",
            // The first one counts, even if it is invalid.
            "wait=61, wait=10",
            "wait, wait=10",
        ] {
            assert_eq!(preferred_wait(list), None, "{list}");
        }
    }
}
