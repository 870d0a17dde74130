//! One request on its way through the server, with its connection.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tiny_http::{Header, Method};

use super::in_flight::PipelineId;
use crate::api::client::Proxies;
use crate::api::{Body, Request, RequestInfo};

/// A request that has been received and not been answered.
pub(super) struct Exchange {
    pub(super) request: tiny_http::Request,
    pub(super) framing: Framing,
    pub(super) persistence: Persistence,
    pub(super) content: RequestBody,
    /// Whether the connection must end with the reply, because it is not certain where the next
    /// request would begin.
    pub(super) close: bool,
    /// Bytes of a declared length that nobody has read. tiny_http allocates and reads as many
    /// when the request is dropped.
    pub(super) unread: u64,
    /// Since when it is in flight.
    pub(super) begun: Instant,
    /// For how much of that time it has waited for something to come.
    pub(super) parked: Duration,
    pub(super) trace: RequestInfo,
    /// The number of its lane.
    lane: u64,
}

/// The body of a request, as far as it was read.
#[derive(Debug, Default)]
pub(super) enum RequestBody {
    #[default]
    Empty,
    Bytes(Vec<u8>),
    TooLarge,
    Broken,
}

impl RequestBody {
    /// The memory it takes, in bytes.
    pub(super) fn len(&self) -> usize {
        if let RequestBody::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// How the body of a request is delimited, and so who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// tiny_http has it in memory.
    Buffered,
    /// It comes from the socket, in the client's own time.
    Streamed {
        /// The client waits for `100 Continue` before it sends (RFC 9110, section 10.1.1).
        expects_continue: bool,
    },
    /// The lengths contradict each other or tiny_http would misread them (RFC 9112, section 6.3).
    Ambiguous,
}

impl Framing {
    pub(super) fn of(request: &tiny_http::Request) -> Framing {
        examine(request).0
    }
}

/// Whether the connection goes on behind the reply (RFC 9112, section 9.3). tiny_http decides it;
/// this is for the reply to say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It does, as HTTP/1.1 has it without a word.
    Implied,
    /// It does, because a client of HTTP/1.0 asked for it.
    Granted,
    /// It does not.
    Closed,
}

/// tiny_http reads bodies up to this length itself, before it shows the request.
const BUFFERED_BYTES: usize = 1024;

impl Exchange {
    /// `lane` is the number of the lane that it holds.
    pub(super) fn new(request: tiny_http::Request, lane: u64) -> Exchange {
        let (framing, persistence) = examine(&request);
        // tiny_http keeps the connection of a request of any version but 1.0.
        let close = *request.http_version() < (1, 0);
        Exchange {
            request,
            framing,
            persistence,
            content: RequestBody::Empty,
            close,
            unread: 0,
            begun: Instant::now(),
            parked: Duration::ZERO,
            trace: RequestInfo::default(),
            lane,
        }
    }

    /// The lane that it holds until it is answered.
    pub(super) fn lane(&self) -> PipelineId {
        PipelineId { peer: self.peer(), number: self.lane }
    }

    /// Which connection: its peer's address. Only TCP is listened on, where it is always known.
    pub(super) fn peer(&self) -> SocketAddr {
        peer(&self.request)
    }

    /// Whether only the header section of the reply is wanted.
    pub(super) fn is_head(&self) -> bool {
        *self.request.method() == Method::Head
    }

    /// What the API sees of it.
    pub(super) fn request(&self, proxies: &Proxies) -> Request<'_> {
        let target = origin_form(self.request.url());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let body = match &self.content {
            RequestBody::Empty => Body::Bytes(&[]),
            RequestBody::Bytes(bytes) => Body::Bytes(bytes),
            RequestBody::TooLarge => Body::TooLarge,
            RequestBody::Broken => Body::Broken,
        };
        let mut request = Request {
            method: self.request.method().as_str(),
            path,
            query,
            client: self.peer().ip(),
            authorization: None,
            content_type: None,
            accept: None,
            accept_encoding: None,
            if_match: None,
            if_none_match: None,
            idempotency_key: None,
            last_event_id: None,
            prefer: None,
            origin: None,
            requested_method: None,
            user_agent: None,
            body,
        };
        let mut forwarded = None;
        for header in self.request.headers() {
            let value = header.value.as_str();
            match name(header) {
                "accept" => join(&mut request.accept, value),
                "accept-encoding" => join(&mut request.accept_encoding, value),
                "access-control-request-method" => request.requested_method = Some(value),
                "authorization" => request.authorization = Some(value),
                "content-type" => request.content_type = Some(value),
                "if-match" => join(&mut request.if_match, value),
                "idempotency-key" => join(&mut request.idempotency_key, value),
                "if-none-match" => join(&mut request.if_none_match, value),
                "last-event-id" => join(&mut request.last_event_id, value),
                "origin" => request.origin = Some(value),
                "prefer" => join(&mut request.prefer, value),
                "user-agent" => request.user_agent = Some(value),
                "x-forwarded-for" => join(&mut forwarded, value),
                _ => {}
            }
        }
        request.client = proxies.client(request.client, forwarded.as_deref());
        request
    }

    /// Whether an answer of unknown length can be sent in chunks (RFC 9112, section 7.1).
    pub(super) fn takes_chunks(&self) -> bool {
        *self.request.http_version() >= (1, 1)
    }

    /// The method, unless it is a word of the client's own.
    pub(super) fn method(&self) -> &'static str {
        match self.request.method() {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::NonStandard(_) => "other",
        }
    }

    /// A field that is there once.
    pub(super) fn only(&self, wanted: &str) -> Option<&str> {
        let is_it = |header: &&Header| header.field.as_str().as_str().eq_ignore_ascii_case(wanted);
        let mut found = self.request.headers().iter().filter(is_it);
        let first = found.next().filter(|_| found.next().is_none());
        first.map(|header| header.value.as_str())
    }

    /// The origin of the page that sent it, if a page did.
    pub(super) fn origin(&self) -> Option<&str> {
        let mut headers = self.request.headers().iter().rev();
        let origin = headers.find(|header| name(header) == "origin");
        origin.map(|header| header.value.as_str())
    }
}

/// Adds a line to a field that is a list (RFC 9110, section 5.3).
fn join<'a>(field: &mut Option<Cow<'a, str>>, line: &'a str) {
    match field {
        Some(lines) => *lines = format!("{lines}, {line}").into(),
        None => *field = Some(line.into()),
    }
}

/// What a request's fields say about its body and its connection.
fn examine(request: &tiny_http::Request) -> (Framing, Persistence) {
    let (mut lengths, mut codings, mut expects_continue) = (0, 0, false);
    let mut understood = true;
    let mut connection = String::new();
    for header in request.headers() {
        let value = header.value.as_str();
        match name(header) {
            "content-length" => {
                lengths += 1;
                understood &= !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
            }
            "transfer-encoding" => {
                codings += 1;
                understood &= value.eq_ignore_ascii_case("chunked");
            }
            "expect" => expects_continue = true,
            "connection" if connection.is_empty() => connection = value.to_ascii_lowercase(),
            _ => {}
        }
    }
    let old = *request.http_version() < (1, 1);
    let framing = match (lengths, codings, request.body_length()) {
        _ if !understood => Framing::Ambiguous,
        // HTTP/1.0 has no transfer codings (RFC 9112, section 6.1).
        (_, 1.., _) if old => Framing::Ambiguous,
        (0, 0, _) | (1, 0, Some(0)) => Framing::None,
        // tiny_http hands out the bare socket as the body then.
        _ if connection.contains("upgrade") => Framing::Ambiguous,
        (1, 0, Some(1..=BUFFERED_BYTES)) if !expects_continue => Framing::Buffered,
        (1, 0, Some(_)) | (0, 1, _) => Framing::Streamed { expects_continue },
        // Several of them, or a length that tiny_http cannot count to.
        _ => Framing::Ambiguous,
    };
    let persistence = if connection.contains("close") || connection.contains("upgrade") {
        Persistence::Closed
    } else if !old {
        Persistence::Implied
    } else if connection.contains("keep-alive") {
        Persistence::Granted
    } else {
        Persistence::Closed
    };
    (framing, persistence)
}

pub(super) fn peer(request: &tiny_http::Request) -> SocketAddr {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    request.remote_addr().copied().unwrap_or(unknown)
}

/// The path and query of a request target. One in absolute form, as a proxy gets it, is taken
/// too (RFC 9112, section 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("http://") else { return target };
    rest.find('/').map_or("/", |slash| &rest[slash..])
}

/// A header's name, if it is one that matters here; names are compared without regard to case.
fn name(header: &Header) -> &'static str {
    const LONGEST: usize = 32;
    let field = header.field.as_str().as_str().as_bytes();
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..field.len()) else { return "" };
    lower.copy_from_slice(field);
    lower.make_ascii_lowercase();
    // By length first: each header of each request comes by here, several times.
    let known: &[&'static str] = match field.len() {
        6 => &["accept", "expect", "origin", "prefer"],
        8 => &["if-match"],
        10 => &["connection", "user-agent"],
        12 => &["content-type"],
        13 => &["authorization", "if-none-match", "last-event-id"],
        14 => &["content-length"],
        15 => &["accept-encoding", "idempotency-key", "x-forwarded-for"],
        17 => &["transfer-encoding"],
        29 => &["access-control-request-method"],
        _ => return "",
    };
    known.iter().find(|known| known.as_bytes() == lower).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_whatever_their_case() {
        for known in [
            "Accept",
            "Accept-Encoding",
            "access-control-request-method",
            "AUTHORIZATION",
            "Connection",
            "Content-Length",
            "content-Type",
            "Expect",
            "Idempotency-Key",
            "If-Match",
            "If-None-Match",
            "Last-Event-ID",
            "Origin",
            "Prefer",
            "Transfer-Encoding",
            "User-Agent",
            "X-Forwarded-For",
        ] {
            let header = Header::from_bytes(known, "x").unwrap();
            assert_eq!(name(&header), known.to_ascii_lowercase());
        }
        for unknown in
            ["Accepts", "Host", "User-Agents", "Prefers", "X", &"a".repeat(29), &"b".repeat(99)]
        {
            assert_eq!(name(&Header::from_bytes(unknown, "x").unwrap()), "");
        }
    }
}
