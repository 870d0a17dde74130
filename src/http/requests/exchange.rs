//! One request on its way through the server, with its connection.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tiny_http::{Header, Method};

use crate::api::client::Proxies;
use crate::api::{Body, Request, RequestInfo};

/// A request that has been received and not been answered.
pub(in crate::http) struct Exchange {
    pub(in crate::http) request: tiny_http::Request,
    pub(in crate::http) framing: Framing,
    pub(in crate::http) persistence: Persistence,
    pub(in crate::http) content: RequestBody,
    /// True if the connection must end with the reply, because it is unknown where the next request
    /// would begin.
    pub(in crate::http) close: bool,
    /// Unread bytes of a declared length. tiny_http allocates and reads as many when the request is
    /// dropped.
    pub(in crate::http) unread: u64,
    /// Start of its time in flight.
    pub(in crate::http) begun: Instant,
    /// Part of that time for which it waited for a message.
    pub(in crate::http) parked: Duration,
    pub(in crate::http) trace: RequestInfo,
    /// Index of the last `Origin` field.
    origin: Option<usize>,
    /// Index of the `X-Request-Id` field.
    request_id: Option<usize>,
    /// Number of the pipeline that it holds.
    pipeline: u64,
}

/// Identifies a pipeline: the requests of one connection. A later connection from the same port has
/// another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct PipelineId {
    pub(in crate::http) peer: SocketAddr,
    pub(in crate::http) number: u64,
}

/// The body of a request, as far as it was read.
#[derive(Debug, Default)]
pub(in crate::http) enum RequestBody {
    #[default]
    Empty,
    Bytes(Vec<u8>),
    TooLarge,
    Broken,
}

impl RequestBody {
    /// Memory that it takes, in bytes.
    pub(in crate::http) fn len(&self) -> usize {
        if let RequestBody::Bytes(bytes) = self { bytes.len() } else { 0 }
    }
}

/// Delimitation of a request's body, which decides who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Framing {
    /// No body.
    None,
    /// tiny_http has read it into memory.
    Buffered,
    /// The client may still be sending it.
    Streamed {
        /// The client waits for `100 Continue` before it sends (RFC 9110, section 10.1.1).
        expects_continue: bool,
    },
    /// The lengths contradict each other, or tiny_http would misread them (RFC 9112, section 6.3).
    Ambiguous,
}

impl Framing {
    pub(in crate::http) fn of(request: &tiny_http::Request) -> Framing {
        HeaderFacts::of(request).framing
    }
}

/// Persistence of the connection after the reply (RFC 9112, section 9.3). tiny_http decides it;
/// this value lets the reply say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Persistence {
    /// It persists, the default of HTTP/1.1.
    Implied,
    /// It persists, because a client of HTTP/1.0 asked for it.
    Granted,
    /// It ends.
    Closed,
}

/// Longest body that tiny_http reads before it shows the request.
const BUFFERED_BYTES: usize = 1024;

impl Exchange {
    /// `pipeline` is the number of the pipeline that the request holds.
    pub(in crate::http) fn new(request: tiny_http::Request, pipeline: u64) -> Exchange {
        let HeaderFacts { framing, persistence, origin, request_id } = HeaderFacts::of(&request);
        // tiny_http keeps connections open after requests of every version but 1.0.
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
            origin,
            request_id,
            pipeline,
        }
    }

    /// The pipeline that it holds until it is answered.
    pub(in crate::http) fn pipeline(&self) -> PipelineId {
        PipelineId { peer: self.peer(), number: self.pipeline }
    }

    /// The address of its connection's peer. On TCP it is always known.
    pub(in crate::http) fn peer(&self) -> SocketAddr {
        peer(&self.request)
    }

    /// Returns whether the reply has no content.
    pub(in crate::http) fn is_head(&self) -> bool {
        *self.request.method() == Method::Head
    }

    /// The request as the API sees it.
    pub(in crate::http) fn request(&self, proxies: &Proxies) -> Request<'_> {
        let body = match &self.content {
            RequestBody::Empty => Body::Bytes(&[]),
            RequestBody::Bytes(bytes) => Body::Bytes(bytes),
            RequestBody::TooLarge => Body::TooLarge,
            RequestBody::Broken => Body::Broken,
        };
        let (method, target) = (self.request.method().as_str(), origin_form(self.request.url()));
        let mut request = Request { body, ..Request::new(method, target, self.peer().ip()) };
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

    /// Returns whether an answer of unknown length can be sent in chunks (RFC 9112, section 7.1).
    pub(in crate::http) fn takes_chunks(&self) -> bool {
        *self.request.http_version() >= (1, 1)
    }

    /// The method, or `other` for one that is not registered.
    pub(in crate::http) fn method(&self) -> &'static str {
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

    /// A field that occurs exactly once.
    pub(in crate::http) fn only(&self, wanted: &str) -> Option<&str> {
        let is_it = |header: &&Header| header.field.as_str().as_str().eq_ignore_ascii_case(wanted);
        let mut found = self.request.headers().iter().filter(is_it);
        let first = found.next().filter(|_| found.next().is_none());
        first.map(|header| header.value.as_str())
    }

    /// The `X-Request-Id` field, if there is exactly one.
    pub(in crate::http) fn request_id(&self) -> Option<&str> {
        self.field(self.request_id)
    }

    fn field(&self, index: Option<usize>) -> Option<&str> {
        self.request.headers().get(index?).map(|header| header.value.as_str())
    }

    /// The origin of the page that sent the request, if a page did.
    pub(in crate::http) fn origin(&self) -> Option<&str> {
        self.field(self.origin)
    }
}

/// Adds a line to a field that is a list (RFC 9110, section 5.3).
fn join<'a>(field: &mut Option<Cow<'a, str>>, line: &'a str) {
    match field {
        Some(lines) => *lines = format!("{lines}, {line}").into(),
        None => *field = Some(line.into()),
    }
}

/// The facts in a request's header section that the server itself needs, read in one pass.
struct HeaderFacts {
    framing: Framing,
    persistence: Persistence,
    /// Index of the last `Origin` field.
    origin: Option<usize>,
    /// Index of the `X-Request-Id` field, if there is exactly one.
    request_id: Option<usize>,
}

impl HeaderFacts {
    fn of(request: &tiny_http::Request) -> HeaderFacts {
        let (mut lengths, mut codings, mut expects_continue) = (0, 0, false);
        let mut understood = true;
        let mut connection = String::new();
        let (mut origin, mut request_id, mut request_ids) = (None, None, 0);
        for (index, header) in request.headers().iter().enumerate() {
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
                "origin" => origin = Some(index),
                "x-request-id" => {
                    request_ids += 1;
                    request_id = Some(index);
                }
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
            // tiny_http would give out the bare socket as the body.
            _ if connection.contains("upgrade") => Framing::Ambiguous,
            (1, 0, Some(1..=BUFFERED_BYTES)) if !expects_continue => Framing::Buffered,
            (1, 0, Some(_)) | (0, 1, _) => Framing::Streamed { expects_continue },
            // Several fields, or a length that overflows tiny_http's counter.
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
        let request_id = request_id.filter(|_| request_ids == 1);
        HeaderFacts { framing, persistence, origin, request_id }
    }
}

pub(in crate::http) fn peer(request: &tiny_http::Request) -> SocketAddr {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    request.remote_addr().copied().unwrap_or(unknown)
}

/// The path and query of a request target. The absolute form, as sent to proxies, is accepted too
/// (RFC 9112, section 3.2.2).
fn origin_form(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("http://") else { return target };
    rest.find('/').map_or("/", |slash| &rest[slash..])
}

/// The lower-case name of a header, if the server knows it. Names are case-insensitive.
fn name(header: &Header) -> &'static str {
    const LONGEST: usize = 32;
    let field = header.field.as_str().as_str().as_bytes();
    let mut lower = [0; LONGEST];
    let Some(lower) = lower.get_mut(..field.len()) else { return "" };
    lower.copy_from_slice(field);
    lower.make_ascii_lowercase();
    // The length is compared first, as this runs twice for each header of each request.
    let known: &[&'static str] = match field.len() {
        6 => &["accept", "expect", "origin", "prefer"],
        8 => &["if-match"],
        10 => &["connection", "user-agent"],
        12 => &["content-type", "x-request-id"],
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
            "X-Request-Id",
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
