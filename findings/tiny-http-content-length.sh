#!/usr/bin/env bash
# tiny_http sends a Content-Length where there must be none, and none where the length is known.
#
# Expected: no Content-Length in a 204; in a 304 either none, or the length that the 200 would have had
#   (RFC 9110, 8.6). A body whose length is known gets a Content-Length, whatever it is.
# Seen: 2026-11-29, tiny_http 0.12.0. `Response::empty(204)` and `Response::empty(304)` both say
#   `Content-Length: 0`, so the 304 tells a cache that the resource is empty. `Response::from_data` of
#   32767 bytes has its length, of 32768 bytes is chunked and has none, also towards a HEAD, which asks
#   just for that. `with_chunked_threshold(usize::MAX)` brings it back.
# For veche: it writes the heads of its responses itself: no length in a 204 or 304, and one in every other
#   response but a stream. Who uses `Response` sets the threshold, and has no way to leave the length out.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "lengths"
version = "0.0.0"
edition = "2021"

[dependencies]
tiny_http = { version = "=0.12.0", default-features = false }

[workspace]
TOML
cat > src/main.rs <<'RUST'
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tiny_http::{Response, Server};

/// The framing of the response to this request.
fn framing(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out is allowed");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the response comes");
    let text = String::from_utf8_lossy(&bytes);
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let fields: Vec<&str> = head
        .lines()
        .filter(|line| line.starts_with("Content-Length:") || line.starts_with("Transfer-Encoding:"))
        .collect();
    fields.join(", ")
}

fn main() {
    let server = Server::http("127.0.0.1:0").expect("an address is free");
    let address = server.server_addr().to_ip().expect("it is an IP address");
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let data = |length: usize| Response::from_data(vec![b'x'; length]);
            let sent = match request.url() {
                "/204" => request.respond(Response::empty(204)),
                "/304" => request.respond(Response::empty(304)),
                "/32767" => request.respond(data(32767)),
                "/32768" => request.respond(data(32768)),
                _ => request.respond(data(32768).with_chunked_threshold(usize::MAX)),
            };
            sent.expect("the client reads");
        }
    });
    let expected = [
        ("GET", "/204", "Content-Length: 0"),
        ("GET", "/304", "Content-Length: 0"),
        ("GET", "/32767", "Content-Length: 32767"),
        ("GET", "/32768", "Transfer-Encoding: chunked"),
        ("HEAD", "/32768", "Transfer-Encoding: chunked"),
        ("GET", "/32768-with-threshold", "Content-Length: 32768"),
    ];
    let mut changed = false;
    for (method, path, fields) in expected {
        let found = framing(address, method, path);
        println!("{method} {path}: {found}");
        changed |= found != fields;
    }
    if changed {
        println!("the behaviour has changed");
        std::process::exit(1);
    }
}
RUST
export CARGO_TARGET_DIR=target
timeout 600 cargo build --quiet
cargo tree --depth 1 --prefix none | grep '^tiny_http'
timeout 60 target/debug/lengths
