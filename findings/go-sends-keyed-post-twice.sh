#!/usr/bin/env bash
# Go's HTTP client sends a POST again, silently, if it has the field Idempotency-Key.
#
# Expected: a field that the application sets is carried to the server and means nothing to the client
#   itself; a POST is not retried (RFC 9110, 9.2.2), and the application gets an error.
# Seen: 2026-11-29, net/http of Go 1.19.8, Debian 12's golang-go. When a reused connection is closed without an
#   answer, `http.Transport` takes a request with an Idempotency-Key (or X-Idempotency-Key) for safe
#   to repeat, and sends it once more on a new connection. It is in the documentation of `Transport`,
#   but depends on the name of a field alone: whether the server knows such keys at all is not
#   asked. The same POST without the field fails with EOF.
# For veche: it keeps the promise: a key makes the second one harmless, and the replayed answer is marked. A
#   client in Go sends the field only to endpoints that are documented to heed it, and counts requests at
#   the server, not in the application.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

cat > main.go <<'GO'
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

// serve answers the first request of the first connection, and closes it when it has read the second one
// whole. Later connections are answered. The POSTs that came whole are counted.
func serve(listener net.Listener, posts *int32) {
	for number := 1; number <= 3; number++ {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		reader := bufio.NewReader(connection)
		for count := 1; count <= 2; count++ {
			request, err := http.ReadRequest(reader)
			if err != nil {
				break
			}
			io.Copy(io.Discard, request.Body)
			if request.Method == "POST" {
				atomic.AddInt32(posts, 1)
			}
			if number == 1 && count == 2 {
				break
			}
			io.WriteString(connection, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
		}
		connection.Close()
	}
}

// post makes a connection, reuses it for a POST, and gives what the application and the server saw.
func post(field string) (string, int32) {
	var posts int32
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	go serve(listener, &posts)
	client := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	url := "http://" + listener.Addr().String() + "/messages"
	first, err := client.Get(url)
	if err != nil {
		panic(err)
	}
	io.Copy(io.Discard, first.Body)
	first.Body.Close()
	request, _ := http.NewRequest("POST", url, strings.NewReader("text=hi"))
	if field != "" {
		request.Header.Set(field, `"8e03978e"`)
	}
	response, err := client.Do(request)
	if err != nil {
		return "an error", atomic.LoadInt32(&posts)
	}
	response.Body.Close()
	return response.Status, atomic.LoadInt32(&posts)
}

func main() {
	changed := false
	for _, field := range []string{"", "Request-Id", "Idempotency-Key", "X-Idempotency-Key"} {
		status, posts := post(field)
		fmt.Printf("%s, POST with field %q: the application sees %s, the server %d POSTs\n", runtime.Version(), field, status, posts)
		keyed := strings.HasSuffix(field, "Idempotency-Key")
		changed = changed || keyed != (status == "200 OK" && posts == 2) || keyed == (status == "an error" && posts == 1)
	}
	if changed {
		fmt.Println("the behaviour has changed")
		os.Exit(1)
	}
}
GO
export GO111MODULE=off GOCACHE="$dir/cache" GOPATH="$dir/path" GOTOOLCHAIN=local
timeout 300 go run main.go
