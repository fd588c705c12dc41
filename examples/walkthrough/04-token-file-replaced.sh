#!/usr/bin/env bash
# The token of a proxy is about to expire. The operator replaces its file, while the proxy runs: neither is the proxy restarted, nor
# does it lose its stream before the old token expires.
. "$(dirname "$0")/lib.sh"
deploy

export MESHPASS_CONTROL_PLANE=unix:global/admin.sock
meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 24h --output dp-1.token
start_proxy dp-1
expect dp-1 '"connected"'
expect west '"proxy authenticated"'
old=$(field west jti)
cp dp-1.token old.token

# --overwrite puts the whole file in the place of the old one at once: a proxy never reads half a token.
meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 720h --output dp-1.token --overwrite
expect_none dp-1 '"stream ended"'
say "the file has a new token; the stream with the old one is still open"

# The old token ends; here it is revoked, so that nobody has to wait for a day.
meshpass revocations add --token-file old.token
expect dp-1 '"stream ended","code":"Unauthenticated"'
expect dp-1 '"connected"'
expect west '"proxy authenticated"'
[ "$(field west jti)" != "$old" ]
say "when the old token ends, the proxy, which was not restarted, is back with the new one"
