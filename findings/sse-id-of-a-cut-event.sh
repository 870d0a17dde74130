#!/usr/bin/env bash
# Two clients of server-sent events count an event as received as soon as its `id` line is.
#
# Expected: an event that the connection's end cuts off is discarded, and its id with it: the id becomes
#   the last event ID only when the blank line dispatches the event (WHATWG HTML, 9.2.5 "Parsing an
#   event stream", last paragraphs, and 9.2.6 "Interpreting an event stream"). After the cut the client
#   asks for what comes behind the event before, and gets the event that was cut.
# Seen: 2026-11-29, @microsoft/fetch-event-source 2.0.1 and eventsource 2.0.2 (both npm). They put the
#   id of the event that was cut into Last-Event-ID, so a server that goes on behind it never sends
#   this event again: it is lost. eventsource 5.1.5 does as expected. Where the server writes `id`
#   behind `data`, as the grammar allows just as well, all three ask for the right event.
# For veche: the order `data`, `id` in the lines of an event makes these clients lose nothing, unless the
#   cut is exactly between the last line and the blank line. A client that must not miss anything
#   compares the ids that it gets with the list.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

timeout 300 npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . \
    @microsoft/fetch-event-source@2.0.1 eventsource2@npm:eventsource@2.0.2 eventsource5@npm:eventsource@5.1.5

cat > clients.mjs <<'JS'
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import net from 'node:net';

// fetch-event-source is made for browsers: these two names are all that it needs of one.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = (await import('@microsoft/fetch-event-source')).default;
const { default: EventSource2 } = await import('eventsource2');
const { EventSource: EventSource5 } = await import('eventsource5');

const clients = {
  '@microsoft/fetch-event-source': (url) => {
    const stop = new AbortController();
    fetchEventSource(url, { openWhenHidden: true, signal: stop.signal, onerror() {} }).catch(() => {});
    return () => stop.abort();
  },
  eventsource2: (url) => {
    const source = new EventSource2(url);
    source.onerror = () => {};
    return () => source.close();
  },
  eventsource5: (url) => {
    const source = new EventSource5(url);
    source.onerror = () => {};
    return () => source.close();
  },
};

// The first connection is cut in the middle of event 4. Gives what the second one asks for.
async function askedAfterCut(connect, cutOff) {
  const asked = [];
  let done;
  const twice = new Promise((resolve) => { done = resolve; });
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      asked.push(/^last-event-id: *(.*?)\r$/im.exec(request.toString())?.[1]);
      if (asked.length === 2) { socket.destroy(); return done(); }
      const part = `retry: 100\n\nid: 3\ndata: {"n":3}\n\n${cutOff}`;
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
      socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
      setTimeout(() => socket.destroy(), 200);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = connect(`http://127.0.0.1:${server.address().port}/`);
  await twice;
  stop();
  server.close();
  return asked[1];
}

const found = {};
for (const [name, connect] of Object.entries(clients)) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  const idFirst = await askedAfterCut(connect, 'id: 4\ndata: {"n"');
  const idLast = await askedAfterCut(connect, 'data: {"n":4}\nid:');
  found[name] = [idFirst, idLast];
  console.log(`${name.replace(/\d$/, '')} ${version}: event 3 came whole, event 4 was cut; asks behind`,
    `${idFirst} if id was written first, behind ${idLast} if last`);
}
assert.deepEqual(found, {
  '@microsoft/fetch-event-source': ['4', '3'], eventsource2: ['4', '3'], eventsource5: ['3', '3'],
}, 'the behaviour has changed');
process.exit(0);
JS
timeout 90 node clients.mjs
