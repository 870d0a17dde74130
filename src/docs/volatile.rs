//! All that differs from one run of the server to the next, and from one deployment to another.

use std::fmt::Write as _;

/// The text before each value, the bytes that end it, and the name that masks it.
const VOLATILE: &[(&str, &[char], &str)] = &[
    ("\nDate: ", &['\n'], "date"),
    ("\"token\":\"", &['"'], "token"),
    ("\"sent_at\":\"", &['"'], "time"),
    ("\"edited_at\":\"", &['"'], "time"),
    ("\"at\":\"", &['"'], "time"),
    ("\"sid\":\"", &['"'], "session"),
    ("\"created_at\":\"", &['"'], "time"),
    ("\"last_used_at\":\"", &['"'], "time"),
    ("\"expires_at\":\"", &['"'], "time"),
    ("&epoch=", &['>', '&'], "epoch"),
    ("\nETag: \"", &['"'], "tag"),
    ("\nX-Request-Id: ", &['\n'], "id"),
    ("\nRetry-After: ", &['\n'], "wait"),
    (";t=", &['\n'], "wait"),
];

/// A member of a JSON object of which only the form is always the same.
#[derive(Debug)]
pub struct JsonMember {
    name: &'static str,
    /// The kind of value.
    pub what: &'static str,
    /// `true` for a value of the right form.
    pub fits: fn(&str) -> bool,
}

/// All such members.
const MEMBERS: &[JsonMember] = &[
    JsonMember { name: "token", what: "a token", fits: is_token },
    JsonMember { name: "sent_at", what: "a time", fits: is_time },
    JsonMember { name: "edited_at", what: "a time", fits: is_time },
    JsonMember { name: "at", what: "a time", fits: is_time },
    JsonMember { name: "sid", what: "a session", fits: is_session },
    JsonMember { name: "created_at", what: "a time", fits: is_time },
    JsonMember { name: "last_used_at", what: "a time", fits: is_time },
    JsonMember { name: "expires_at", what: "a time", fits: is_time },
];

/// Response fields that depend on the connection, or on volatile parts of the response.
const FIELDS: &[&str] = &[
    "date",
    "content-length",
    "connection",
    "retry-after",
    "ratelimit",
    "transfer-encoding",
    "x-accel-buffering",
    "x-request-id",
];

/// The field with the request's id, up to its number.
const OWN_ID: &str = "\nX-Request-Id: ";

/// The response with the number of a server's first request: the number of earlier requests differs
/// from run to run.
#[must_use]
pub fn settle(response: &str) -> String {
    let Some((before, rest)) = response.split_once(OWN_ID) else { return response.to_owned() };
    let (id, behind) = rest.split_at(rest.find('\n').unwrap_or(rest.len()));
    let name = id.rsplit_once('-').map_or(id, |(process, _)| process);
    format!("{before}{OWN_ID}{name}-0{behind}")
}

/// The response with a name and a length in place of each volatile value.
#[must_use]
pub fn mask(response: &str) -> String {
    let mut masked = settle(response);
    for (before, ends, name) in VOLATILE {
        let mut pieces = masked.split(before);
        let mut result = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let (value, rest) = piece.split_at(piece.find(*ends).unwrap_or(piece.len()));
            let _ = write!(result, "{before}<{name}, {} bytes>{rest}", value.len());
        }
        masked = result;
    }
    masked
}

/// The volatile member of this name, if it is one.
#[must_use]
pub fn member(name: &str) -> Option<&'static JsonMember> {
    MEMBERS.iter().find(|member| member.name == name)
}

/// `true` if a field of this name differs between deployments.
#[must_use]
pub fn is_volatile_field(name: &str) -> bool {
    FIELDS.iter().any(|field| field.eq_ignore_ascii_case(name))
}

/// Three parts in base64url (RFC 7515).
fn is_token(text: &str) -> bool {
    let part = |part: &str| {
        let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        !part.is_empty() && part.bytes().all(safe)
    };
    text.split('.').count() == 3 && text.split('.').all(part)
}

/// 32 lower-case hexadecimal digits.
fn is_session(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// RFC 3339, in UTC, with milliseconds.
fn is_time(text: &str) -> bool {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000Z";
    let fits = |(form, b): (&u8, u8)| if *form == b'0' { b.is_ascii_digit() } else { *form == b };
    text.len() == FORM.len() && FORM.iter().zip(text.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_volatile_values_are_masked() {
        let response = "HTTP/1.1 200 OK\nDate: Mon, 1\nLink: </x?after=3&epoch=aa>; rel=\"next\"\n\n\
                        [{\"id\":1,\"sent_at\":\"now\"},{\"id\":2,\"sent_at\":\"then\"}]";
        let masked = "HTTP/1.1 200 OK\nDate: <date, 6 bytes>\n\
                      Link: </x?after=3&epoch=<epoch, 2 bytes>>; rel=\"next\"\n\n\
                      [{\"id\":1,\"sent_at\":\"<time, 3 bytes>\"},\
                      {\"id\":2,\"sent_at\":\"<time, 4 bytes>\"}]";
        assert_eq!(mask(response), masked);
    }

    #[test]
    fn a_server_is_as_if_asked_for_the_first_time() {
        let response = "HTTP/1.1 200 OK\nX-Request-Id: 2a-1f\nAllow: GET\n\nX-Request-Id: 2a-1f";
        let settled = "HTTP/1.1 200 OK\nX-Request-Id: 2a-0\nAllow: GET\n\nX-Request-Id: 2a-1f";
        assert_eq!(settle(response), settled);
        assert_eq!(settle("[]"), "[]");
        assert!(mask(response).contains("\nX-Request-Id: <id, 4 bytes>\nAllow"));
    }

    #[test]
    fn the_form_of_a_volatile_member_counts() {
        let fits = |name, value| member(name).is_some_and(|member| (member.fits)(value));
        assert!(fits("token", "eyJ0.e_J-.x"));
        assert!(fits("sent_at", "2026-01-02T03:04:05.678Z"));
        for (name, value) in [
            ("token", "eyJ0.eyJ"),
            ("token", "eyJ0..x"),
            ("token", "a.b.c.d"),
            ("token", "a.b.c="),
            ("sent_at", "2026-01-02T03:04:05Z"),
            ("sent_at", "2026-01-02 03:04:05.678Z"),
            ("id", "1"),
        ] {
            assert!(!fits(name, value), "{name} {value}");
        }
    }
}
