#!/usr/bin/env bash
# urllib3 sleeps as long as a 429 says, up to six hours, without being told to retry.
#
# Expected: `request("GET", url, timeout=1)` gives the 429, or an error, within about a second. Retry-After
#   is advice to the client (RFC 9110, 10.2.3; RFC 6585, section 4), and `Retry` by default lists no status
#   that is retried (`status_forcelist` is empty).
# Seen: 2026-11-29, urllib3 2.8.0 (PyPI), Python 3.11. The default `Retry` heeds Retry-After of a 413, 429 or 503
#   all the same, for all methods but POST and PATCH: the call sleeps for it and tries anew, and `timeout`
#   does not count the sleep. The bound is `Retry.DEFAULT_RETRY_AFTER_MAX`, 21600 seconds. A POST
#   with the same answer returns at once. requests 2.34.2, built on urllib3, switches it off.
# For veche: a limit such as `2/d` says Retry-After: 43200, so a GET that is refused looks like one that
#   hangs. Clients pass `retries=urllib3.Retry(3, respect_retry_after_header=False)`, or a
#   `retry_after_max` that suits them, and look at the 429 themselves.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
timeout 300 venv/bin/pip install -q --disable-pip-version-check urllib3==2.8.0 requests==2.34.2

cat > client.py <<'PY'
import http.server
import threading
import time

import requests
import urllib3


class Handler(http.server.BaseHTTPRequestHandler):
    """Refuses the first request for each path, and answers the second one."""

    seen = {}

    def log_message(self, *_):
        pass

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen[self.path] = self.seen.get(self.path, 0) + 1
        self.send_response(429 if self.seen[self.path] == 1 else 200)
        self.send_header("Retry-After", "3")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
pool = urllib3.PoolManager()
switched_off = urllib3.Retry(3, respect_retry_after_header=False)
CALLS = {
    "urllib3 GET": lambda path: pool.request("GET", url + path, timeout=1).status,
    "urllib3 POST": lambda path: pool.request("POST", url + path, timeout=1, body=b"text=hi").status,
    "urllib3 GET with respect_retry_after_header=False": lambda path: pool.request(
        "GET", url + path, timeout=1, retries=switched_off
    ).status,
    "requests GET": lambda path: requests.get(url + path, timeout=1).status_code,
}
print("urllib3", urllib3.__version__, "requests", requests.__version__, "with timeout=1 and Retry-After: 3")
found = []
for number, (name, call) in enumerate(CALLS.items()):
    start = time.monotonic()
    status = call(f"/{number}")
    slept = time.monotonic() - start >= 3
    requests_seen = Handler.seen[f"/{number}"]
    print(f"  {name}: {'sleeps, ' if slept else ''}status {status}, requests at the server: {requests_seen}")
    found.append((status, requests_seen, slept or requests_seen == 1))
bound = urllib3.Retry.DEFAULT_RETRY_AFTER_MAX
print("  the longest sleep by default:", bound, "seconds")
assert found == [(200, 2, True), (429, 1, True), (429, 1, True), (429, 1, True)] and bound == 21600, "the behaviour has changed"
PY
timeout 60 venv/bin/python client.py
