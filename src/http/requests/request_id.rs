//! `X-Request-Id`, which identifies a request in its answer, in the access log, and in the logs of
//! proxies.

use std::fmt;

use crate::http::requests::exchange::Exchange;

/// Longest id that is accepted from a client, in bytes.
pub(in crate::http) const MAX_REQUEST_ID_BYTES: usize = 128;

/// A request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) enum RequestId {
    /// The client's.
    Given(String),
    /// Unique to this request.
    Own(OwnId),
}

/// A process's 16 hexadecimal digits, a hyphen, and a number in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct OwnId {
    digits: [u8; 33],
    len: usize,
}

impl OwnId {
    /// Written without the formatter, as every answer needs one.
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

    /// The id of a request: the client's, if there is exactly one such field and it is safe to show
    /// in a header field and in a log.
    pub(in crate::http) fn of(&mut self, exchange: &Exchange) -> RequestId {
        let given = exchange.request_id().filter(|id| is_safe(id));
        given.map_or_else(|| self.own(), |id| RequestId::Given(id.to_owned()))
    }

    fn own(&mut self) -> RequestId {
        let number = self.next;
        self.next += 1;
        RequestId::Own(OwnId::new(&self.process, number))
    }
}

fn is_safe(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte);
    (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_ids_are_accepted() {
        let longest = "a".repeat(MAX_REQUEST_ID_BYTES);
        for safe_id in ["a", "0b5e-1", "Root=1-67891233-abcdef012345678912345678", &longest] {
            assert!(is_safe(safe_id), "{safe_id}");
        }
        let too_long = "a".repeat(MAX_REQUEST_ID_BYTES + 1);
        for unsafe_id in ["", " ", "a b", "a\r\nSet-Cookie: x", "\"", "é", "{}", "a,b", &too_long]
        {
            assert!(!is_safe(unsafe_id), "{unsafe_id}");
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
