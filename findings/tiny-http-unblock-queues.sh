#!/usr/bin/env bash
# tiny_http queues a wake-up for each unblock(), in front of the requests that come after it.
#
# Expected: `Server::unblock` wakes whoever waits in `recv`, and does nothing when nobody waits, as
#   `Condvar::notify_one` and `Thread::unpark` remember one wake-up at most.
# Seen: 2026-11-29, tiny_http 0.12.0. Each call adds an entry to the queue that requests stand in. After
#   1,000 calls with nobody waiting, a request that has arrived is found by the 1,001st `try_recv`. The
#   1,000 before it return `Ok(None)`, which is also what an empty queue returns.
# For veche: a worker that has a result wakes the loop only while the loop sleeps, and once for each sleep.
#   With a wake-up for each result, requests waited for seconds behind wake-ups while many streams caught up.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "wakeups"
version = "0.0.0"
edition = "2021"

[dependencies]
tiny_http = { version = "=0.12.0", default-features = false }

[workspace]
TOML
cat > src/main.rs <<'RUST'
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tiny_http::{Response, Server};

const CALLS: usize = 1000;

fn main() {
    let server = Server::http("127.0.0.1:0").expect("an address is free");
    let address = server.server_addr().to_ip().expect("it is an IP address");
    for _ in 0..CALLS {
        server.unblock();
    }
    let mut client = TcpStream::connect(address).expect("the server listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
    // Only what is in the queue by then counts: the request surely is.
    std::thread::sleep(Duration::from_secs(2));
    let (mut looks, begun) = (0, Instant::now());
    let request = loop {
        looks += 1;
        assert!(begun.elapsed() < Duration::from_secs(30), "the request does not come");
        if let Some(request) = server.try_recv().expect("the server accepts") {
            break request;
        }
    };
    println!("{CALLS} calls of unblock() before a request: try_recv() number {looks} returns it");
    request.respond(Response::empty(200)).expect("the client reads");
    if looks != CALLS + 1 {
        println!("the behaviour has changed");
        std::process::exit(1);
    }
}
RUST
export CARGO_TARGET_DIR=target
timeout 600 cargo build --quiet
cargo tree --depth 1 --prefix none | grep '^tiny_http'
timeout 60 target/debug/wakeups
