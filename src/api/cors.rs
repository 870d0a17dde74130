//! Access by web pages of other origins (the Fetch standard's CORS protocol).
//!
//! Access is by token and never by cookie, so `Access-Control-Allow-Credentials` is never sent: a
//! page can only do what its token allows.

use std::fmt;

use super::contract::Field;
use super::reply::Reply;

/// Longest origin, in bytes: a host name has at most 253.
const MAX_ORIGIN_BYTES: usize = 300;

/// The origins whose pages may use the API; by default none.
#[derive(Debug, Clone, Default)]
pub struct Cors {
    origins: Vec<Origin>,
    /// The response fields that a page may read, besides those that any page may.
    exposed: String,
}

/// The origin of a page (RFC 6454, section 6.2), or `*` for any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads `*`, or an origin as a browser sends it: `https://host` or `https://host:port`, in
    /// lower case and without a path. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Origin, &'static str> {
        if text == "*" {
            return Ok(Origin(text.to_owned()));
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return Err("an origin begins with its scheme, as in https://chat.example.org");
        };
        let (host, port) = match authority.rsplit_once(':') {
            // The last colon of an IPv6 address is within its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let default_port = match scheme {
            "http" => "80",
            "https" => "443",
            _ => "",
        };
        match port {
            Some(port) if !is_port(port) => Err("the port is not a number"),
            Some(port) if port == default_port => {
                Err("browsers omit the default port of the scheme")
            }
            _ if text.len() > MAX_ORIGIN_BYTES => Err("it is too long"),
            _ if !is_scheme(scheme) || !is_host(host) => Err(
                "an origin is a scheme, a host and an optional port, in lower case, with nothing \
                 after it",
            ),
            _ => Ok(Origin(text.to_owned())),
        }
    }
}

fn is_scheme(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| is_lower(b) || b == b'-')
}

fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return address.contains(':')
            && address.bytes().all(|b| is_lower(b) || b == b':' || b == b'.');
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| is_lower(b) || matches!(b, b'-' | b'_'))
    };
    text.split('.').all(is_label)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
        && !text.starts_with('0')
        && text.parse::<u16>().is_ok()
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Cors {
    /// Allows pages of these origins.
    #[must_use]
    pub fn with(origins: Vec<Origin>) -> Cors {
        Cors { origins, exposed: Field::ALL.map(Field::name).join(", ") }
    }

    /// Adds the fields that let a page of the origin read the reply, if it may. `origin` is not
    /// called if no origin is allowed.
    pub fn share<'a>(&self, origin: impl FnOnce() -> Option<&'a str>, reply: &mut Reply) {
        if self.origins.is_empty() {
            return;
        }
        let allowed = self.allowed(origin());
        // The origin is taken from the settings, so that no client's text is in the field.
        if let Some(Origin(allowed)) = allowed {
            reply.headers.push(("Access-Control-Allow-Origin", allowed.clone().into()));
            reply.headers.push(("Access-Control-Expose-Headers", self.exposed.clone().into()));
        }
        if allowed.is_none_or(|Origin(allowed)| allowed != "*") {
            reply.headers.push(("Vary", "Origin".into()));
        }
    }

    pub(super) fn allowed(&self, origin: Option<&str>) -> Option<&Origin> {
        let origin = origin?;
        self.origins.iter().find(|Origin(allowed)| allowed == "*" || allowed == origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for text in [
            "*",
            "https://chat.example.org",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://[::1]",
            "moz-extension://0f3a-b",
        ] {
            assert_eq!(Origin::parse(text).map(|origin| origin.0), Ok(text.to_owned()));
        }
        for text in [
            "",
            "null",
            "chat.example.org",
            "https://",
            "https://Chat.example.org",
            "https://chat.example.org/",
            "https://chat.example.org/path",
            "https://user@chat.example.org",
            "https://chat.example.org:443",
            "http://chat.example.org:80",
            "https://chat.example.org:",
            "https://chat.example.org:70000",
            "https://*.example.org",
            "https://..",
            "https://a]b",
            "https://[a]",
            "https://a:+443",
            "http://a:080",
            "https://a b",
            "https://a\r\nX: y",
            "://x",
            &format!("https://{}", "x".repeat(300)),
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn no_field_allows_credentials() {
        let cors = Cors::with(vec![Origin::parse("*").unwrap()]);
        let mut reply = Reply::empty(204);
        cors.share(|| Some("https://anywhere.example"), &mut reply);
        let names: Vec<_> = reply.headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["Access-Control-Allow-Origin", "Access-Control-Expose-Headers"]);
    }
}
