//! `X-Request-Id`: what a request is called in the answer and in the access log, so that the two,
//! and what a proxy has logged, can be told to belong together.

use std::fmt;

use crate::http::requests::exchange::Exchange;

/// Longest one that is taken over from a client, in bytes.
pub(in crate::http) const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum RequestId {
    /// The client chose it.
    Given(String),
    /// Nobody else has it.
    Own(OwnId),
}

/// What a process is called, and a number, in hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct OwnId {
    digits: [u8; 33],
    len: usize,
}

impl OwnId {
    /// With every answer, so that it is not left to the formatter.
    fn new(process: &[u8; 16], number: u64) -> OwnId {
        let mut digits = [b'-'; 33];
        digits[..16].copy_from_slice(process);
        let places = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1) as usize;
        for place in 0..places {
            let digit = (number >> (4 * place)) & 0xf;
            digits[16 + places - place] = b"0123456789abcdef"[digit as usize];
        }
        OwnId { digits, len: 17 + places }
    }
}

impl RequestId {
    pub(in crate::http) fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::Given(id) => id.as_bytes(),
            RequestId::Own(OwnId { digits, len }) => &digits[..*len],
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Gives requests their ids.
#[derive(Debug)]
pub(in crate::http) struct RequestIds {
    process: [u8; 16],
    next: u64,
}

impl RequestIds {
    /// `process` should be random.
    pub(in crate::http) fn new(process: u64) -> RequestIds {
        let mut digits = [0; 16];
        digits.copy_from_slice(format!("{process:016x}").as_bytes());
        RequestIds { process: digits, next: 0 }
    }

    /// The id of a request: its client's own, if there is one such field and it is fit to be shown
    /// in a field of the answer and in a log.
    pub(in crate::http) fn of(&mut self, exchange: &Exchange) -> RequestId {
        let given = exchange.only("X-Request-Id").filter(|id| is_fit(id));
        given.map_or_else(|| self.own(), |id| RequestId::Given(id.to_owned()))
    }

    fn own(&mut self) -> RequestId {
        let number = self.next;
        self.next += 1;
        RequestId::Own(OwnId::new(&self.process, number))
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
        for number in [0xf, 0x10, 0x1f3, u64::MAX] {
            let id = RequestId::Own(OwnId::new(&ids.process, number));
            assert_eq!(id.to_string(), format!("000000000000002a-{number:x}"));
        }
        assert_ne!(RequestIds::new(0x2b).own(), RequestIds::new(0x2a).own());
    }
}
