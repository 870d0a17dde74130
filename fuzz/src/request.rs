//! Whole requests, a session of them: each is answered, as its operation declares, in JSON that
//! parses, with what its sender may see.
//!
//! An input is requests as text, with `---` on a line between them. `Client:` stands for the
//! address of the peer, `Body: broken` and `Body: too large` for a body that could not be read,
//! and `$ALICE` and `$BOB` for good tokens.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use veche::api::contract::ResponseContent;
use veche::api::routes::{self, Match, Route};
use veche::api::stream::MEDIA_TYPE;
use veche::api::{App, Body, Outcome, Reply, Request};
use veche::model::UserId;
use veche::problem::{ANYWHERE, KINDS, ProblemType};

use super::stage::{self, ISSUED, USERS};

/// Requests of one input that are looked at.
const MAX_REQUESTS: usize = 12;

/// Sends the requests that `input` describes, one after the other.
///
/// # Panics
///
/// Where an answer is not what was promised.
pub fn check(input: &[u8]) {
    let mut app = stage::app(stage::store(stage::said()));
    let mut rest = Some(input);
    for _ in 0..MAX_REQUESTS {
        let Some(text) = rest else { break };
        let (text, behind) = match split(text, b"\n---\n") {
            Some((text, behind)) => (text, Some(behind)),
            None => (text, None),
        };
        rest = behind;
        let (head, body) = split(text, b"\n\n").unwrap_or((text, b""));
        let Ok(head) = str::from_utf8(head) else { continue };
        let head = head.replace("$ALICE", &ISSUED[0]).replace("$BOB", &ISSUED[1]);
        let Some(request) = parse(&app, &head, body) else { continue };
        exchange(&mut app, &request);
    }
}

fn split<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

fn parse<'a>(app: &App, head: &'a str, body: &'a [u8]) -> Option<Request<'a>> {
    let (first, fields) = head.split_once('\n').unwrap_or((head, ""));
    let (method, target) = first.split_once(' ')?;
    let mut request = Request { body: Body::Bytes(body), ..stage::request(method, target) };
    let mut forwarded = None;
    for field in fields.lines() {
        let Some((name, value)) = field.split_once(": ") else { continue };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value),
            "content-type" => request.content_type = Some(value),
            "accept-encoding" => request.accept_encoding = Some(Cow::Borrowed(value)),
            "accept" => request.accept = Some(Cow::Borrowed(value)),
            "last-event-id" => request.last_event_id = Some(Cow::Borrowed(value)),
            "if-match" => request.if_match = Some(Cow::Borrowed(value)),
            "idempotency-key" => request.idempotency_key = Some(Cow::Borrowed(value)),
            "if-none-match" => request.if_none_match = Some(Cow::Borrowed(value)),
            "prefer" => request.prefer = Some(Cow::Borrowed(value)),
            "origin" => request.origin = Some(value),
            "access-control-request-method" => request.requested_method = Some(value),
            "x-forwarded-for" => forwarded = Some(value),
            "client" => request.client = value.parse::<IpAddr>().unwrap_or(request.client),
            "body" if value == "broken" => request.body = Body::Broken,
            "body" if value == "too large" => request.body = Body::TooLarge,
            _ => {}
        }
    }
    request.client = app.proxies().client(request.client, forwarded);
    Some(request)
}

/// Asks, and holds the answer to what can be said of any.
fn exchange(app: &mut App, request: &Request<'_>) {
    let (trace, outcome) = app.handle(request);
    let mut reply = finish(app, request, outcome);
    if reply.withheld > 0 {
        // Of what is not made, the length is as if it were.
        let (_, outcome) = app.handle(&Request { method: "GET", ..request.clone() });
        let whole = finish(app, request, outcome);
        assert_eq!(whole.body.len(), reply.withheld);
        reply = whole;
    }
    app.sync().unwrap();
    app.cors().share(|| request.origin, &mut reply);
    for (name, value) in &reply.headers {
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {value:?}");
    }
    let kind = problem(&reply);
    match trace.route {
        Some(route) => promised(route, &reply, kind),
        None => unrouted(request, &reply),
    }
    let Some(route) = trace.route.filter(|route| route.needs_token()) else { return };
    let caller = caller(request);
    assert_eq!(trace.caller.map(UserId::get), caller);
    let Some(caller) = caller else {
        assert_eq!(reply.status, 401);
        return;
    };
    match (route.operation.id, reply.status) {
        ("listMessages" | "listPrivateMessages", 200) => {
            let messages: Vec<Value> = serde_json::from_slice(&reply.body).unwrap();
            for message in &messages {
                visible(message, caller);
            }
        }
        ("showMessage", 200) => visible(&serde_json::from_slice(&reply.body).unwrap(), caller),
        ("postMessage" | "postPrivateMessage", 201) => read_back(app, request, &reply, caller),
        _ => {}
    }
}

/// The reply, from a worker if one is needed. A login to an existing account takes no time here;
/// other passwords find no worker.
fn finish(app: &mut App, request: &Request<'_>, outcome: Outcome) -> Reply {
    let job = match outcome {
        Outcome::Reply(reply) => return reply,
        Outcome::Offload(job) => job,
        Outcome::Park(mut wait) => return app.give_up(&mut wait),
        Outcome::Stream(subscription) => return subscription.reply,
    };
    let Body::Bytes(body) = request.body else { unreachable!("there is no password in it") };
    let Credentials { username: name, password } = read(body);
    let is_known = USERS.iter().any(|(_, it)| it.eq_ignore_ascii_case(&name));
    if is_known && request.path.ends_with("/login") {
        let reply = app.resume((job.work)());
        let right = password == stage::PASSWORD;
        assert_eq!(reply.status, if right { 200 } else { 401 });
        reply
    } else {
        let reply = app.resume(job.declined);
        assert_eq!(reply.status, 503);
        reply
    }
}

/// The type of the problem, if the reply is one. Its members fit its type.
fn problem(reply: &Reply) -> Option<&'static ProblemType> {
    let is_problem = reply.content_type == "application/problem+json";
    assert_eq!(is_problem, reply.status >= 400);
    if !is_problem {
        return None;
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let kind =
        KINDS.iter().find(|kind| body["type"] == format!("/problems/{}", kind.slug)).unwrap();
    assert_eq!(body["title"], kind.title);
    assert_eq!((kind.status, body["status"].as_u64()), (reply.status, Some(reply.status.into())));
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    // A panic of a handler is caught, and there is nothing else here that could fail.
    assert_ne!(kind.status, 500);
    let needs = match kind.status {
        401 => "WWW-Authenticate",
        405 => "Allow",
        429 | 503 => "Retry-After",
        _ => return Some(kind),
    };
    assert!(reply.headers.iter().any(|(name, _)| *name == needs), "{needs} is missing");
    Some(kind)
}

/// A route answers with what its operation declares.
fn promised(route: &Route, reply: &Reply, kind: Option<&'static ProblemType>) {
    let operation = route.operation;
    if let Some(kind) = kind {
        let declared = operation.problems.contains(&kind) || ANYWHERE.contains(&kind);
        assert!(declared, "{} answers {kind:?}", operation.id);
        return;
    }
    let answer = operation.answers.iter().find(|answer| answer.status == reply.status).unwrap();
    for field in answer.fields {
        let is_there = reply.headers.iter().any(|(name, _)| *name == field.name());
        assert!(is_there, "{} has no {}", operation.id, field.name());
    }
    match answer.content {
        ResponseContent::None => assert!(reply.body.is_empty()),
        ResponseContent::File(types) => assert!(types.contains(&reply.content_type)),
        ResponseContent::Json(_) => assert!(json(reply).is_object()),
        ResponseContent::Stream(_) if reply.content_type == MEDIA_TYPE => {
            assert!(reply.body.starts_with(b":\nretry: "));
        }
        ResponseContent::List(_) | ResponseContent::Stream(_) => assert!(json(reply).is_array()),
    }
}

fn json(reply: &Reply) -> Value {
    assert_eq!(reply.content_type, "application/json");
    serde_json::from_slice(&reply.body).unwrap()
}

/// A request without a route is answered 404 or 405, or is a preflight request of a browser.
fn unrouted(request: &Request<'_>, reply: &Reply) {
    match routes::find(request.method, request.path) {
        Match::Route(..) => unreachable!("a route that was not followed"),
        Match::OtherMethods(_) if reply.status == 204 => assert_eq!(request.method, "OPTIONS"),
        Match::OtherMethods(_) => assert_eq!(reply.status, 405),
        Match::Nothing => assert_eq!(reply.status, 404),
    }
}

/// The user whose token the request brings.
fn caller(request: &Request<'_>) -> Option<u64> {
    let (scheme, token) = request.authorization?.split_once(' ')?;
    let is_bearer = scheme.eq_ignore_ascii_case("bearer");
    let mut issued = (1..).zip(&*ISSUED);
    issued.find(|(_, issued)| is_bearer && **issued == token.trim()).map(|(id, _)| id)
}

fn visible(message: &Value, to: u64) {
    let is_party = message["from_user"] == to || message["to_user"] == to;
    assert!(is_party || message["to_user"] == 0, "{message} is not for {to}");
}

/// A message that was posted is there, as it was sent.
fn read_back(app: &mut App, request: &Request<'_>, reply: &Reply, author: u64) {
    let Body::Bytes(body) = request.body else { unreachable!("nothing was sent") };
    let sent: Draft = read(body);
    let (_, location) = reply.headers.iter().find(|(name, _)| *name == "Location").unwrap();
    let asked = stage::request("GET", location);
    let (_, outcome) = app.handle(&Request { authorization: request.authorization, ..asked });
    let Outcome::Reply(shown) = outcome else { unreachable!("no worker is needed") };
    let shown = json(&shown);
    assert_eq!((&shown["text"], &shown["from_user"]), (&sent.text.into(), &author.into()));
}

/// The body of a registration or a login. Other members may be any JSON.
#[derive(Deserialize)]
struct Credentials {
    username: String,
    password: String,
}

/// The body of a post.
#[derive(Deserialize)]
struct Draft {
    text: String,
}

/// A body that was accepted, which is JSON in UTF-8.
fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> T {
    serde_json::from_str(str::from_utf8(body).unwrap()).unwrap()
}
