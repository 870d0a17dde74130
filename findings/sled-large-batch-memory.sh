#!/usr/bin/env bash
# sled keeps the memory of what a large batch has replaced, far beyond its cache.
#
# Expected: `Config::cache_capacity` bounds what a database keeps in memory, whatever the sizes of the
#   batches that are applied to it.
# Seen: 2026-11-29, sled 0.34.7 on Linux. The same 200,000 entries are inserted into two fresh databases
#   with a cache of 8 MiB. In batches of 256 entries the process stays at a fraction of what it takes with
#   batches of 16,384. sled copies a page for each entry that it puts there, and frees the copies a little
#   at a time, after so many operations; a batch is one operation, however many pages it replaces.
# For veche: it writes its index in batches of about 1,024 entries and has replaced pages freed after each.
#   Who imports into sled applies small batches.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "batches"
version = "0.0.0"
edition = "2021"

[dependencies]
sled = "=0.34.7"

[profile.dev.package.sled]
opt-level = 3

[workspace]
TOML
cat > src/main.rs <<'RUST'
use std::fs;

const ENTRIES: u64 = 200_000;

/// The most memory that the process has had resident, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

fn main() {
    let size: u64 = std::env::args().nth(1).and_then(|size| size.parse().ok()).expect("a batch size");
    let config = sled::Config::new().path(format!("store-{size}")).cache_capacity(8 * 1024 * 1024);
    let store = config.open().expect("the store opens");
    for first in (0..ENTRIES).step_by(size as usize) {
        let mut batch = sled::Batch::default();
        for number in first..(first + size).min(ENTRIES) {
            // In no order, as names are.
            let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            batch.insert(&key, &number.to_be_bytes());
        }
        store.apply_batch(batch).expect("the batch is applied");
    }
    println!("{}", peak());
}
RUST
export CARGO_TARGET_DIR=target
timeout 600 cargo build --quiet
cargo tree --depth 1 --prefix none | grep '^sled'
small=$(timeout 120 target/debug/batches 256)
large=$(timeout 120 target/debug/batches 16384)
echo "200,000 entries in batches of 256: at most $small MiB resident"
echo "the same in batches of 16,384:     at most $large MiB resident"
[ "$large" -ge $((3 * small)) ] || { echo "the behaviour has changed"; exit 1; }
