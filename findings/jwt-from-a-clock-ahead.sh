#!/usr/bin/env bash
# Whether a fresh token is valid depends on the library, if the issuer's clock is ahead.
#
# Expected: "iat" says when a token was issued, and serves to tell its age (RFC 7519, 4.1.6); the claim
#   before which a token must not be accepted is another one, "nbf" (4.1.5). So a token with "iat" and
#   "exp" alone is valid until it expires.
# Seen: 2026-11-29, with a token from a clock that is a minute ahead. PyJWT 2.15.1 and joserfc 1.8.0 (PyPI)
#   refuse it as not yet valid; they allow no leeway unless told, so a second or two will do.
#   python-jose 3.5.0 (PyPI), jsonwebtoken 9.0.3 and jose 6.2.18 (npm) accept it.
# For veche: its tokens have "iat". A service that verifies them on another machine sets a leeway
#   (`jwt.decode(..., leeway=30)`, `JWTClaimsRegistry(leeway=30)`), or else it may refuse users just after
#   their login.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

python3 -m venv venv
timeout 300 venv/bin/pip install -q --disable-pip-version-check PyJWT==2.15.1 joserfc==1.8.0 python-jose==3.5.0
timeout 300 npm install --silent --no-save --no-audit --no-fund --ignore-scripts --prefix . jsonwebtoken@9.0.3 jose@6.2.18

cat > verify.py <<'PY'
import os
from importlib.metadata import version

import jose.jwt
import joserfc.jwt
import jwt
from joserfc.jwk import OctKey

TOKEN, KEY = os.environ["TOKEN"], os.environ["KEY"]


def with_joserfc(leeway=0):
    claims = joserfc.jwt.decode(TOKEN, OctKey.import_key(KEY), algorithms=["HS256"]).claims
    joserfc.jwt.JWTClaimsRegistry(leeway=leeway).validate(claims)


CALLS = {
    "PyJWT": lambda: jwt.decode(TOKEN, KEY, algorithms=["HS256"]),
    "PyJWT with leeway": lambda: jwt.decode(TOKEN, KEY, algorithms=["HS256"], leeway=120),
    "joserfc": with_joserfc,
    "joserfc with leeway": lambda: with_joserfc(120),
    "python-jose": lambda: jose.jwt.decode(TOKEN, KEY, algorithms=["HS256"]),
}
found = {}
for name, call in CALLS.items():
    package = name.split()[0]
    try:
        call()
        found[name] = "accepts"
        print(package, version(package) + name[len(package):], "accepts it")
    except Exception as error:
        found[name] = "refuses"
        print(package, version(package) + name[len(package):], "refuses it:", error)
assert found == {
    "PyJWT": "refuses", "PyJWT with leeway": "accepts", "joserfc": "refuses", "joserfc with leeway": "accepts",
    "python-jose": "accepts",
}, "the behaviour has changed"
PY
cat > verify.mjs <<'JS'
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import { jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';

const { TOKEN, KEY } = process.env;
const found = [];
for (const [name, verify] of [
  ['jsonwebtoken', async () => jsonwebtoken.verify(TOKEN, KEY, { algorithms: ['HS256'] })],
  ['jose', () => jwtVerify(TOKEN, new TextEncoder().encode(KEY), { algorithms: ['HS256'] })],
]) {
  const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`));
  const answer = await verify().then(() => 'accepts', (error) => `refuses: ${error.message}`);
  console.log(name, version, answer, 'it');
  found.push(answer);
}
assert.deepEqual(found, ['accepts', 'accepts'], 'the behaviour has changed');
JS
KEY=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export KEY
issue='import jwt, os, time
now = int(time.time())
print(jwt.encode({"sub": "2", "iat": now + int(os.environ["AHEAD"]), "exp": now + 600}, os.environ["KEY"], "HS256"))'
TOKEN=$(AHEAD=60 venv/bin/python -c "$issue")
export TOKEN
timeout 60 venv/bin/python -W ignore verify.py
timeout 60 node verify.mjs
