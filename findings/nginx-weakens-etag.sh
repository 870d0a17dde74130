#!/usr/bin/env bash
# nginx with gzip makes ETags weak, so that no If-Match of a client that accepts gzip ever holds.
#
# Expected: a client reads a resource through a proxy, sends the ETag that it got in If-Match, and the
#   change is applied, as nobody changed the resource in between (RFC 9110, 13.1.1).
# Seen: 2026-11-29, nginx 1.22.1 and curl 7.88.1 of Debian 12. When nginx compresses a response, it turns the
#   strong ETag "v1" into W/"v1", which is right, as the bytes are others. But If-Match compares strongly
#   (RFC 9110, 13.1.1 and 8.8.3.2), a weak tag never matches, and nginx passes the client's W/"v1" on
#   as it is: every conditional change is answered 412, although nothing has changed. A client that does
#   not accept gzip, such as curl without `--compressed`, has no trouble: so the fault shows in
#   browsers and not in the tests by hand.
# For veche: behind nginx leave application/json out of `gzip_types` (it is not there by default) or set
#   `gzip off` for the API. A client that gets a weak tag does not use it in If-Match.
set -euo pipefail
dir=$(mktemp -d)
origin=
proxy=
trap 'for pid in $origin $proxy; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$dir"' EXIT
cd "$dir"

cat > origin.py <<'PY'
"""One resource that never changes. A PATCH is applied if its If-Match has the resource's ETag."""
import http.server
import os
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = b'{"text":"' + b"hello " * 20 + b'"}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(204 if self.headers.get("If-Match") == '"v1"' else 412)
        self.end_headers()


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open("port.new", "w") as file:
    file.write(str(server.server_port))
os.rename("port.new", "port")
threading.Timer(60, server.shutdown).start()
server.serve_forever()
PY
python3 origin.py &
origin=$!
for _ in $(seq 100); do [ -e port ] && break; sleep 0.1; done

# nginx listens on a socket in the folder, as it cannot tell which port it was given.
cat > nginx.conf <<CONF
daemon off;
worker_processes 1;
pid $dir/pid;
error_log $dir/error.log;
events { worker_connections 32; }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    gzip on;
    gzip_types application/json;
    server {
        listen unix:$dir/socket;
        location / { proxy_pass http://127.0.0.1:$(cat port); }
    }
}
CONF
timeout 60 /usr/sbin/nginx -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf" &
proxy=$!
for _ in $(seq 100); do [ -S socket ] && break; sleep 0.1; done

/usr/sbin/nginx -v
curl --version | head -n 1
for compressed in "" --compressed; do
    # shellcheck disable=SC2086
    tag=$(curl -sS --max-time 20 $compressed -o /dev/null -D - --unix-socket socket http://localhost/messages/1 \
        | sed -n 's/^etag: *\(.*\)\r$/\1/Ip')
    status=$(curl -sS --max-time 20 -o /dev/null -w '%{http_code}' --unix-socket socket -X PATCH -H "If-Match: $tag" \
        -d '{"text":"hi"}' http://localhost/messages/1)
    echo "curl ${compressed:-without --compressed}: ETag $tag, PATCH with it in If-Match is answered $status"
    echo "$tag $status" >> found
done
diff found - <<'E' || { echo "the behaviour has changed"; exit 1; }
"v1" 204
W/"v1" 412
E
