#!/usr/bin/env bash
# sled's flush() returns before anything was told to reach the disk.
#
# Expected: what the documentation of `Tree::flush` promises: it calls fsync, and what was written before
#   it survives a crash of the system.
# Seen: 2026-11-29, sled 0.34.7 on Linux, with strace 6.1 of Debian 12. `flush` calls pwrite64 and
#   sync_file_range. The manual page sync_file_range(2) says of the latter that it writes no metadata
#   and does not flush the disk's cache, so that data may be lost in a crash. There is no fsync
#   between the first insert and the last flush; the one there is comes when the database is dropped,
#   which a killed process never does.
# For veche: sled is its index and not what an acknowledged message rests on; that is a log of its own, with
#   fdatasync. A program that has nothing but sled cannot promise that what was flushed is still there
#   after a power failure.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "flush"
version = "0.0.0"
edition = "2021"

[dependencies]
sled = "=0.34.7"

[workspace]
TOML
cat > src/main.rs <<'RUST'
use std::fs;

/// Makes a system call that is easy to find in a trace.
fn mark(text: &str) {
    let _ = fs::metadata(format!("mark-{text}"));
}

fn main() {
    let store = sled::Config::new().path("store").flush_every_ms(None).open().expect("the store opens");
    mark("begin");
    for key in 0..3_u32 {
        store.insert(key.to_be_bytes(), b"value").expect("the value is inserted");
        let bytes = store.flush().expect("the store is flushed");
        println!("flush() succeeded and says that it wrote {bytes} bytes");
    }
    mark("end");
    drop(store);
}
RUST
export CARGO_TARGET_DIR=target
timeout 600 cargo build --quiet
strace --version | head -n 1
timeout 60 strace -f -o trace \
    -e trace=fsync,fdatasync,msync,sync,syncfs,sync_file_range,pwrite64,statx,stat,newfstatat target/debug/flush
sed -n '/mark-begin/,/mark-end/p' trace > between
sed -n '/mark-end/,$p' trace > behind
count() { grep -cE "$1\(" "$2" || true; }
echo "between the first insert and the last of three flushes:"
for call in pwrite64 sync_file_range fsync fdatasync msync sync syncfs; do
    echo "  $call: $(count "[ ^]$call" between)"
done
echo "  fsync when the database is dropped: $(count '[ ^]fsync' behind)"
[ "$(count ' pwrite64' between)" -ge 3 ] && [ "$(count ' sync_file_range' between)" -ge 3 ] \
    && [ "$(count ' (fsync|fdatasync|msync|sync|syncfs)' between)" = 0 ] && [ "$(count ' fsync' behind)" = 1 ] \
    || { echo "the behaviour has changed"; exit 1; }
