#!/usr/bin/env bash
# Two clients of server-sent events mix the rest of a cut event into the next connection.
#
# Expected: what is pending when the stream ends is discarded, and a new connection begins with empty
#   buffers (WHATWG HTML, 9.2.5 "Parsing an event stream", last paragraph).
# Seen: 2026-11-29, sseclient 0.0.27 and aiohttp-sse-client 0.2.1 with aiohttp 3.14.5 (all PyPI). Both
#   reconnect by themselves with the right Last-Event-ID, so the server sends the cut event once more;
#   but they keep the lines of it that came before the cut, and the next blank line dispatches them:
#   the event comes twice, the first time under the id of the event before it. If a data line itself
#   was cut, aiohttp-sse-client reports the half of it as an event.
# For veche: every stream begins with a block of its own (`retry`, `id`), so that the rest of a cut
#   event does not run into a whole one. A client with one of these libraries leaves out events whose
#   number it has had already, taking the number from the data and not from the id.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
timeout 300 venv/bin/pip install -q --disable-pip-version-check sseclient==0.0.27 requests==2.34.2 urllib3==2.8.0 \
    aiohttp-sse-client==0.2.1 aiohttp==3.14.5

cat > clients.py <<'PY'
import asyncio
import itertools
import socket
import threading
from importlib.metadata import version

import sseclient
from aiohttp_sse_client.client import EventSource

CUTS = {
    "behind the data line": b'id: 4\nevent: posted\ndata: {"n":4}\n',
    "within the data line": b'id: 4\nevent: posted\ndata: {"n"',
}
EVENT = b'id: %d\nevent: posted\ndata: {"n":%d}\n\n'
START = b"retry: 50\nid: %d\n\n"


def server(cut):
    """The first connection ends in the middle of event 4, the second has it whole, and event 5."""
    bodies = [START % 2 + EVENT % (3, 3) + cut, START % 3 + EVENT % (4, 4) + EVENT % (5, 5)]
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        for body in bodies:
            connection, _ = listener.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n" + body
            )
            connection.close()

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


def until_five(events):
    """What has the type of an event: `sseclient` gives blocks without data too."""
    seen = []
    for event in itertools.islice(events, 20):
        if event.event == "posted":
            seen.append((event.id, event.data))
        if event.id == "5":
            return seen
    raise AssertionError("event 5 did not come: the behaviour has changed")


async def with_aiohttp(url):
    seen = []
    async with EventSource(url) as source:
        async for event in source:
            seen.append((event.last_event_id, event.data))
            if event.last_event_id == "5":
                return seen


found = {}
for where, cut in CUTS.items():
    found["sseclient", where] = until_five(sseclient.SSEClient(server(cut)))
    found["aiohttp-sse-client", where] = asyncio.run(asyncio.wait_for(with_aiohttp(server(cut)), 20))
for (name, where), seen in found.items():
    print(f"{name} {version(name)}, cut {where}:")
    for id_, data in seen:
        print(f"  id {id_} data {data}")
three, four, five = ("3", '{"n":3}'), ("4", '{"n":4}'), ("5", '{"n":5}')
assert found == {
    ("sseclient", "behind the data line"): [three, ("3", '{"n":4}'), four, five],
    ("aiohttp-sse-client", "behind the data line"): [three, ("3", '{"n":4}'), four, five],
    ("sseclient", "within the data line"): [three, ("3", ""), four, five],
    ("aiohttp-sse-client", "within the data line"): [three, ("3", '{"n"'), four, five],
}, "the behaviour has changed"
PY
timeout 90 venv/bin/python clients.py
