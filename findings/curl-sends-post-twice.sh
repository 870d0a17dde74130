#!/usr/bin/env bash
# curl sends a POST a second time without being told to, and says nothing of it.
#
# Expected: a client should not automatically retry a request whose method is not idempotent, unless
#   it knows that the request is, or that the first one was never applied (RFC 9110, 9.2.2). Without `--retry`
#   one would expect of curl one request for each URL, and an error when no response comes.
# Seen: 2026-11-29, curl 7.88.1 of Debian 12. When a connection that has served a request before is closed
#   after curl wrote the POST and before the first byte of the response, curl makes a new connection
#   and sends the same POST again. The server got both of them whole; curl prints one response
#   and exits with 0. Only `-v` tells ("Connection died, retrying a fresh connect"). On a first
#   connection the same end is an error (52).
# For veche: a server that is killed between storing a message and answering meets just that. Clients with
#   curl or libcurl that reuse connections give every POST an Idempotency-Key.
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT
cd "$dir"

cat > server.py <<'PY'
"""Answers the first request of a connection and closes it, without an answer, when it has read a second one.
The path `/closed` is not answered at all. Writes every request that came whole to the file `requests`."""
import os
import socket

listener = socket.create_server(("127.0.0.1", 0))
listener.settimeout(30)
with open("port.new", "w") as file:
    file.write(str(listener.getsockname()[1]))
os.rename("port.new", "port")
for number in range(1, 6):
    connection, _ = listener.accept()
    stream = connection.makefile("rb")
    for request in (1, 2):
        line = stream.readline().decode().split()
        if not line:
            break
        length = 0
        while (field := stream.readline().decode().strip()):
            name, value = field.split(":", 1)
            if name.lower() == "content-length":
                length = int(value)
        body = stream.read(length).decode()
        with open("requests", "a") as file:
            file.write(f"connection {number}: {line[0]} {line[1]} {body}".rstrip() + "\n")
        if (number, request) == (1, 2) or line[1] == "/closed":
            break
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
    stream.close()
    connection.close()
PY
python3 server.py &
server=$!
for _ in $(seq 100); do [ -e port ] && break; sleep 0.1; done
url=http://127.0.0.1:$(cat port)

curl --version | head -n 1
status=0
curl -sS --max-time 20 "$url/messages" --next -sS --max-time 20 -d 'text=hi' "$url/messages" || status=$?
echo "exit status $status, and the server got:"
cat requests
[ "$status" = 0 ]
diff requests - <<'E' || { echo "the behaviour has changed"; exit 1; }
connection 1: GET /messages
connection 1: POST /messages text=hi
connection 2: POST /messages text=hi
E
rm requests
status=0
curl -sS --max-time 20 -d 'text=hi' "$url/closed" || status=$?
echo "on a first connection: exit status $status, and the server got:"
cat requests
[ "$status" = 52 ] && [ "$(wc -l < requests)" = 1 ] || { echo "the behaviour has changed"; exit 1; }
