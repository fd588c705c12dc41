#!/usr/bin/env bash
# The global control plane is down, and a new proxy must join all the same. The zone issues a token with a key of its own, which is good
# in this zone.
. "$(dirname "$0")/lib.sh"
deploy
start_zone east
informed east
meshpass generate dataplane-token --control-plane unix:global/admin.sock --mesh default --name dp-1 --valid-for 24h --output dp-1.token
start_proxy dp-1
expect dp-1 '"connected"'

stop global
expect west 'stream from the global control plane ended'
expect_none dp-1 '"stream ended"'
expect_failure 'no token was made: unix:global/admin.sock' \
	meshpass generate dataplane-token --control-plane unix:global/admin.sock --mesh default --name dp-2
say "the global control plane is down, and issues no tokens; dp-1 stays connected"

meshpass generate dataplane-token --control-plane unix:west/admin.sock --mesh default --name dp-2 --valid-for 24h --output dp-2.token
expect_output 'key \(kid\) +west-1$' meshpass inspect dp-2.token
start_proxy dp-2
expect dp-2 '"connected"'
start_proxy dp-2-in-east -name dp-2 -token-file dp-2.token -address "$(address_of east)" -zone east
expect dp-2-in-east '"stream ended","code":"Unauthenticated"'
say "zone west issues a token with its own key, and dp-2 is connected with it; in east it is refused"

# What the zone has from the global control plane outlasts a restart.
stop west
start_zone west
for name in dp-1 dp-2; do
	expect $name '"connected"' '"Unauthenticated"'
done
say "zone west is restarted, and both are back"

start_global
connected west
meshpass revocations add --control-plane unix:global/admin.sock --token-file dp-2.token
expect dp-2 '"stream ended","code":"Unauthenticated"'
expect_none dp-1 '"stream ended"'
say "the global control plane is up again; there dp-2's token is revoked, and its stream ends"
