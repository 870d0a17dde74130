#!/usr/bin/env bash
# curl --retry writes the bodies of the refused attempts, too, if its output is a pipe.
#
# Expected: `curl --retry 2 URL | jq` and `curl --retry 2 -o FILE URL` give the same bytes, those of the
#   response that counted. What belongs to an attempt that curl itself takes back is no output.
# Seen: 2026-11-29, curl 7.88.1 of Debian 12. With `-o` the file is cut back before each retry, and holds the
#   last response alone. On standard output, a pipe or a redirected file, the body of the 429 stays, and
#   the body of the 200 comes behind it; the exit status is 0. With JSON that makes two documents,
#   and a program that takes the first one works on the refusal.
# For veche: a 429 has a problem document as its body. Scripts that retry use `-o FILE`, or `--fail`, which
#   writes no body of a refusal (and retries as well).
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

cat > server.py <<'PY'
"""Refuses the first request for each path, and answers the second one."""
import http.server
import os


class Handler(http.server.BaseHTTPRequestHandler):
    seen = set()

    def log_message(self, *_):
        pass

    def do_GET(self):
        refused = self.path not in self.seen
        self.seen.add(self.path)
        body = b'{"title":"Too many requests"}\n' if refused else b'{"id":7}\n'
        self.send_response(429 if refused else 200)
        if refused:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
server.timeout = 30
with open("port.new", "w") as file:
    file.write(str(server.server_port))
os.rename("port.new", "port")
for _ in range(8):
    server.handle_request()
PY
python3 server.py &
server=$!
for _ in $(seq 100); do [ -e port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)

curl --version | head -n 1
curl -s --max-time 20 --retry 2 -o file "$url/file"
curl -s --max-time 20 --retry 2 "$url/redirected" > redirected
curl -s --max-time 20 --retry 2 "$url/pipe" | cat > pipe
curl -s --max-time 20 --retry 2 --fail "$url/fail" | cat > fail
for name in file redirected pipe fail; do
    echo "$name:"
    sed 's/^/  /' "$name"
done
both='{"title":"Too many requests"}
{"id":7}'
[ "$(cat file)" = '{"id":7}' ] && [ "$(cat redirected)" = "$both" ] && [ "$(cat pipe)" = "$both" ] \
    && [ "$(cat fail)" = '{"id":7}' ] || { echo "the behaviour has changed"; exit 1; }
