#!/usr/bin/env bash
# requests and httpx cut the target of a Link at its first semicolon.
#
# Expected: the target is all that stands between < and >, and parameters begin behind it (RFC 8288, 3 and
#   appendix B.2). A semicolon is an ordinary character of a path or a query (RFC 3986, 3.3 and 3.4,
#   sub-delims), and of a quoted parameter value.
# Seen: 2026-11-29, requests 2.34.2 and httpx 0.28.1 (PyPI): `response.links` of both splits at every
#   semicolon before it looks for anything else. The address ends there, without an error, and the rest of the
#   query turns up as a parameter of the link; a client that follows `next` loses its cursor and reads
#   the same page again. A semicolon in a title that stands before `rel` loses the `rel`, so there is
#   no `next` at all. http-link-header 1.1.4 (npm) reads all of them as they are.
# For veche: its links hold numbers and fixed names alone, and no parameter but `rel`. Should a query with text
#   of a user ever come into one, a semicolon in it is written as %3B, which both read.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
timeout 300 venv/bin/pip install -q --disable-pip-version-check requests==2.34.2 httpx==0.28.1
timeout 300 npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . http-link-header@1.1.4

cat > fields <<'TXT'
</users?name=a&after=3>; rel="next"
</users?name=a;b&after=3>; rel="next"
</users?name=a%3Bb&after=3>; rel="next"
</users?after=3>; title="more; and more"; rel="next"
TXT
cat > links.py <<'PY'
import httpx
import requests


def with_requests(field):
    response = requests.Response()
    response.headers["Link"] = field
    return response.links


def with_httpx(field):
    return httpx.Response(200, headers={"Link": field}).links


EXPECTED = ["/users?name=a&after=3", "/users?name=a", "/users?name=a%3Bb&after=3", None]
with open("fields") as file:
    fields = file.read().splitlines()
for library, read in ((requests, with_requests), (httpx, with_httpx)):
    found = []
    print(library.__name__, library.__version__)
    for field in fields:
        url = read(field).get("next", {}).get("url")
        print(f"  {field}\n    next: {url}")
        found.append(url)
    assert found == EXPECTED, "the behaviour has changed"
PY
timeout 60 venv/bin/python links.py
cat > links.mjs <<'JS'
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import LinkHeader from 'http-link-header';

const { version } = JSON.parse(readFileSync('node_modules/http-link-header/package.json'));
console.log('http-link-header', version);
const found = readFileSync('fields', 'utf8').trim().split('\n').map((field) => {
  const next = LinkHeader.parse(field).rel('next')[0]?.uri;
  console.log(`  ${field}\n    next: ${next}`);
  return next;
});
assert.deepEqual(found, ['/users?name=a&after=3', '/users?name=a;b&after=3', '/users?name=a%3Bb&after=3',
  '/users?after=3'], 'the behaviour has changed');
JS
timeout 60 node links.mjs
