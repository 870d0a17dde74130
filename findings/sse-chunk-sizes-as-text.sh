#!/usr/bin/env bash
# The Python package sseclient reads the stream below the chunked transfer coding.
#
# Expected: a chunk may end anywhere, and the coding is removed before anything reads the content (RFC
#   9112, 7.1.3 "Decoding Chunked"). Any recipient on the way may decode it and apply it anew, with
#   other chunks (RFC 9112, 6.1).
# Seen: 2026-11-29, sseclient 0.0.27 with requests 2.34.2 and urllib3 2.8.0 (PyPI), Python 3.11. The size
#   of each chunk is read as a line of the stream. As long as chunks end where lines end, these
#   are unknown fields, and nobody sees it; where a chunk ends within a line, the rest of the line is
#   lost without an error. sseclient-py 1.9.0 reads the same response as it should.
# For veche: the server writes whole lines in a chunk, a proxy or a long event need not. Clients in
#   Python use another library.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# Both packages are imported as `sseclient`, so each has its own environment.
for package in sseclient==0.0.27 sseclient-py==1.9.0; do
    python3 -m venv "${package%==*}"
    timeout 300 "${package%==*}/bin/pip" install -q --disable-pip-version-check "$package" requests==2.34.2 urllib3==2.8.0
done

cat > client.py <<'PY'
import socket
import sys
import threading
from importlib.metadata import version

import requests
import sseclient

WHOLE = [b'id: 1\ndata: {"text":"hello world"}\n\n']
PARTS = [b'id: 1\ndata: {"text":"hello', b' world"}\n\n']


def server(chunks):
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        connection, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(4096)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for chunk in chunks:
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        connection.sendall(b"0\r\n\r\n")

    threading.Thread(target=run, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/"


package, expected = sys.argv[1:]
seen = []
for chunks in (WHOLE, PARTS):
    url = server(chunks)
    if package == "sseclient":
        event = next(sseclient.SSEClient(url))
    else:
        event = next(sseclient.SSEClient(requests.get(url, stream=True, timeout=20)).events())
    seen.append(event.data)
print(package, version(package))
print("  event in one chunk: ", seen[0])
print("  event in two chunks:", seen[1])
assert seen == ['{"text":"hello world"}', expected], "the behaviour has changed"
PY
timeout 60 sseclient/bin/python client.py sseclient '{"text":"hello'
timeout 60 sseclient-py/bin/python client.py sseclient-py '{"text":"hello world"}'
