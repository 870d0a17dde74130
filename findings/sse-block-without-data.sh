#!/usr/bin/env bash
# Two clients of server-sent events report blocks that have no data.
#
# Expected: a block whose data buffer is empty is no event and reaches nobody: WHATWG HTML, 9.2.6
#   "Interpreting an event stream", the steps to dispatch, step 2. So a server may send `retry` and
#   `id` alone, and comments with a blank line behind them as heartbeats.
# Seen: 2026-11-29, httpx-sse 0.4.3 (PyPI) and @microsoft/fetch-event-source 2.0.1 (npm).
#   httpx-sse, after the first `id`, yields an event with empty data for every blank line, so for
#   every heartbeat as well; its `json()` then raises. fetch-event-source calls `onmessage` with empty
#   data; when the handler's `JSON.parse` throws, this counts as a failed connection: the client
#   connects again, gets the same first block again, and never comes to the first event.
# For veche: a stream begins with `retry` and `id` without data, and heartbeats end in a blank line. A
#   client with one of these libraries passes over events whose data is empty before it parses them.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
timeout 300 venv/bin/pip install -q --disable-pip-version-check httpx-sse==0.4.3 httpx==0.28.1
timeout 300 npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . \
    @microsoft/fetch-event-source@2.0.1

cat > client.py <<'PY'
import socket
import threading
from importlib.metadata import version

import httpx
import httpx_sse

PARTS = [b':\nretry: 100\nid: 2\n\n', b'id: 3\ndata: {"n":3}\n\n', b':\n\n', b'id: 4\ndata: {"n":4}\n\n']


def serve(listener):
    connection, _ = listener.accept()
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for part in PARTS:
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
    connection.sendall(b"0\r\n\r\n")
    connection.close()


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=(listener,), daemon=True).start()
seen, failed = [], 0
with httpx.Client(timeout=20) as client:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            seen.append((event.id, event.data))
            try:
                event.json()
            except ValueError:
                failed += 1
print("httpx-sse", version("httpx-sse"), "reports for two events:")
for id_, data in seen:
    print(f"  id {id_!r} data {data!r}")
print("  json() raised", failed, "times")
assert seen == [("2", ""), ("3", '{"n":3}'), ("3", ""), ("4", '{"n":4}')], "the behaviour has changed"
PY
timeout 60 venv/bin/python client.py

cat > client.mjs <<'JS'
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import net from 'node:net';

// The library is made for browsers: these two names are all that it needs of one.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = (await import('@microsoft/fetch-event-source')).default;
const { version } = JSON.parse(readFileSync('node_modules/@microsoft/fetch-event-source/package.json'));

const stream = [':\nretry: 100\nid: 2\n\n', 'id: 3\ndata: {"n":3}\n\n', ':\n\n'];
let connections = 0;
const server = net.createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', async () => {
    connections += 1;
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (const part of stream) {
      socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
    }
  });
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const events = [];
const errors = [];
await fetchEventSource(`http://127.0.0.1:${server.address().port}/`, {
  openWhenHidden: true,
  onmessage(event) {
    events.push(JSON.parse(event.data));
  },
  onerror(error) {
    errors.push(error.message);
    if (errors.length === 3) throw error;
  },
}).catch(() => {});
console.log(`@microsoft/fetch-event-source ${version} connected ${connections} times, each time until`);
console.log(`  ${errors[0]}`);
console.log(`  events that reached the program: ${events.length}`);
assert(connections === 3 && events.length === 0 && /JSON/.test(errors[0]), 'the behaviour has changed');
process.exit(0);
JS
timeout 60 node client.mjs
