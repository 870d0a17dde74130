//! `X-Request-Id`: what a request is called in the answer and in the access log, so that the two,
//! and what a proxy has logged, can be told to belong together.

use std::fmt;

use super::exchange::Exchange;

/// Longest one that is taken over from a client, in bytes.
pub(super) const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestId {
    /// The client chose it.
    Given(String),
    /// Nobody else has it: what this process is called, and a number.
    Own(u64, u64),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Given(id) => f.write_str(id),
            RequestId::Own(process, number) => write!(f, "{process:016x}-{number:x}"),
        }
    }
}

/// Gives requests their ids.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: u64,
    next: u64,
}

impl RequestIds {
    /// `process` should be random.
    pub(super) fn new(process: u64) -> RequestIds {
        RequestIds { process, next: 0 }
    }

    /// The id of a request: its client's own, if there is one such field and it is fit to be shown
    /// in a field of the answer and in a log.
    pub(super) fn of(&mut self, exchange: &Exchange) -> RequestId {
        let given = exchange.only("x-request-id").filter(|id| is_fit(id));
        given.map_or_else(|| self.own(), |id| RequestId::Given(id.to_owned()))
    }

    fn own(&mut self) -> RequestId {
        let number = self.next;
        self.next += 1;
        RequestId::Own(self.process, number)
    }
}

fn is_fit(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_harmless_is_taken_over() {
        let longest = "a".repeat(MAX_REQUEST_ID_BYTES);
        for fit in ["a", "0b5e-1", "Root=1-67891233-abcdef012345678912345678", &longest] {
            assert!(is_fit(fit), "{fit}");
        }
        let too_long = "a".repeat(MAX_REQUEST_ID_BYTES + 1);
        for unfit in ["", " ", "a b", "a\r\nSet-Cookie: x", "\"", "é", "{}", "a,b", &too_long] {
            assert!(!is_fit(unfit), "{unfit}");
        }
    }

    #[test]
    fn own_ids_differ() {
        let mut ids = RequestIds::new(0x2a);
        assert_eq!(ids.own().to_string(), "000000000000002a-0");
        assert_eq!(ids.own().to_string(), "000000000000002a-1");
        assert_ne!(RequestIds::new(0x2b).own(), RequestIds::new(0x2a).own());
    }
}
