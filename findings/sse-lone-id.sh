#!/usr/bin/env bash
# Two clients of server-sent events forget an id that comes without data.
#
# Expected: a block of an `id` and nothing else reports no event, but sets the last event ID, which the
#   next connection sends: WHATWG HTML, 9.2.6 "Interpreting an event stream", the steps to dispatch,
#   where setting the ID (step 1) comes before returning for want of data (step 2). That is how a
#   server tells a client where it stands before anything has happened.
# Seen: 2026-11-29, eventsource 3.0.7 and event-source-polyfill 1.0.31 (both npm). They reconnect
#   without any id, so that a stream that begins "from now on" misses what happened between the two
#   connections. eventsource 5.1.5 remembers the id. The polyfill, once an event with data has
#   come, sends the id in the query as `lastEventId` and has no field Last-Event-ID at all.
# For veche: the first block of a stream is such an id. Clients with these libraries begin at the
#   address in the list's link `next` (`after=...`) instead of with nothing; with the polyfill they
#   set `lastEventIdQueryParameterName` to `after`.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

timeout 300 npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . \
    eventsource3@npm:eventsource@3.0.7 eventsource5@npm:eventsource@5.1.5 event-source-polyfill@1.0.31

cat > clients.mjs <<'JS'
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import net from 'node:net';

const { EventSource: EventSource3 } = await import('eventsource3');
const { EventSource: EventSource5 } = await import('eventsource5');
const { EventSourcePolyfill } = (await import('event-source-polyfill')).default;
console.error = () => {}; // the polyfill prints every end of a connection

// Gives, for three connections one after another, where each asks to go on from.
async function asked(EventSource) {
  const heads = [];
  const bodies = ['retry: 1000\nid: 7\n\n', 'id: 8\ndata: {"n":8}\n\n'];
  let done;
  const thrice = new Promise((resolve) => { done = resolve; });
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const field = /^last-event-id: *(.*?)\r$/im.exec(request.toString())?.[1];
      const query = /[?&]lastEventId=(\S*)/.exec(request.toString())?.[1];
      heads.push(field ? `field ${field}` : query ? `query ${query}` : 'nothing');
      if (heads.length === 3) { socket.destroy(); return done(); }
      socket.end(`HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n${bodies[heads.length - 1]}`);
    });
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const source = new EventSource(`http://127.0.0.1:${server.address().port}/`);
  source.onerror = () => {};
  await thrice;
  source.close();
  server.close();
  return heads;
}

const found = {};
for (const [name, EventSource] of [['eventsource3', EventSource3], ['event-source-polyfill', EventSourcePolyfill],
  ['eventsource5', EventSource5]]) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  found[name] = await asked(EventSource);
  const [, afterLone, afterEvent] = found[name];
  console.log(`${name.replace(/\d$/, '')} ${version} sends, after a block with the id 7 alone: ${afterLone};`,
    `after an event with the id 8: ${afterEvent}`);
}
assert.deepEqual(found, {
  eventsource3: ['nothing', 'nothing', 'field 8'],
  'event-source-polyfill': ['nothing', 'nothing', 'query 8'],
  eventsource5: ['nothing', 'field 7', 'field 8'],
}, 'the behaviour has changed');
process.exit(0);
JS
timeout 90 node clients.mjs
