//! The operator's settings and their effects: trusted proxies, allowed origins, and rate limits.
//!
//! An input is lines: trusted networks with commas between them, a peer's address, what it sent as
//! `X-Forwarded-For`, an origin, and a limit.

use std::net::IpAddr;

use veche::api::client::{Network, Proxies};
use veche::api::cors::{Cors, Origin};
use veche::api::limits::{Limit, Limits};
use veche::api::{Body, Outcome, Reply, Request};

use super::stage::{self, ISSUED};

/// The address that a client claims to have.
const CLAIMED: &str = "203.0.113.66";
/// Most messages that are tried, if the limit allows so many at once.
const MAX_MESSAGES: u32 = 40;

/// Applies the settings that `input` describes.
///
/// # Panics
///
/// If their effect is not the intended one.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let mut lines = text.lines();
    let [trusted, peer, forwarded, origin, limit] = [(); 5].map(|()| lines.next().unwrap_or(""));
    let trusted: Vec<Network> = trusted.split(',').filter_map(network).collect();
    if let Ok(peer) = peer.parse() {
        client(&trusted, peer, forwarded);
    }
    if let Ok(parsed) = Origin::parse(origin) {
        share(parsed, origin);
    }
    if let Ok(parsed) = Limit::parse(limit) {
        count(parsed, limit);
    }
}

fn network(text: &str) -> Option<Network> {
    let network = Network::parse(text).ok()?;
    assert_eq!(Network::parse(&network.to_string()), Ok(network));
    Some(network)
}

/// A field that a client writes itself has no effect, because proxies append after it.
fn client(trusted: &[Network], peer: IpAddr, forwarded: &str) {
    let proxies = Proxies::with(trusted.to_vec());
    let claimed: IpAddr = CLAIMED.parse().unwrap();
    let is_trusted = |address| proxies.client(address, Some(CLAIMED)) == claimed;
    let client = proxies.client(peer, Some(forwarded));
    assert_eq!(client, client.to_canonical());
    assert!(is_trusted(peer) || client == peer.to_canonical());
    if !is_trusted(client) {
        let longer = format!("{CLAIMED}, {forwarded}");
        assert_eq!(proxies.client(peer, Some(&longer)), client, "{longer}");
    }
    assert_eq!(Proxies::default().client(peer, Some(forwarded)), peer.to_canonical());
}

/// Pages of this origin may read the reply, and no others but where all may.
fn share(origin: Origin, text: &str) {
    assert_eq!(origin.to_string(), text);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?} is sent as a field");
    let cors = Cors::with(vec![origin]);
    let allowed = |origin| {
        let mut reply = blank();
        cors.share(|| Some(origin), &mut reply);
        reply.headers.iter().any(|(name, _)| *name == "Access-Control-Allow-Origin")
    };
    assert!(allowed(text));
    assert_eq!(
        allowed("https://other.example:1"),
        ["*", "https://other.example:1"].contains(&text)
    );
}

fn blank() -> Reply {
    Reply {
        status: 204,
        content_type: "",
        cache_control: "",
        headers: Vec::new(),
        body: [][..].into(),
        withheld: 0,
    }
}

/// The limit's number of requests is let through at once, and then none.
fn count(limit: Limit, text: &str) {
    let limits = Limits { message: limit, ..Limits::default() };
    let mut app = stage::limited(stage::store(stage::said()), limits);
    let token = format!("Bearer {}", ISSUED[0]);
    let mut post = || {
        let (_, outcome) = app.handle(&Request {
            authorization: Some(&token),
            body: Body::Bytes(br#"{"text":"x"}"#),
            ..stage::request("POST", "/api/messages")
        });
        let Outcome::Reply(reply) = outcome else { unreachable!("no worker is needed") };
        reply.status
    };
    let most = text.split_once('/').map_or(MAX_MESSAGES, |(count, _)| count.parse().unwrap());
    for _ in 0..most.min(MAX_MESSAGES) {
        assert_eq!(post(), 201, "{text}");
    }
    if most < MAX_MESSAGES {
        assert_eq!(post(), 429, "{text}");
    }
}
