#!/usr/bin/env bash
# The signing key of the mesh is to be replaced, in three steps: add the next key, replace the tokens, remove the old key. The
# control plane has a publish delay: it signs with the new key as soon as all zones know that.
. "$(dirname "$0")/lib.sh"
controlplane certificates -dir . -zones west
start_global -publish-delay 1s
start_zone west
informed west

store=dir:global/store # keys are added and removed in the store
export MESHPASS_CONTROL_PLANE=unix:global/admin.sock
for name in dp-1 dp-2; do
	meshpass generate dataplane-token --mesh default --name $name --valid-for 24h --output $name.token
	start_proxy $name
	expect $name '"connected"'
done
expect_output 'key \(kid\) +1$' meshpass inspect dp-1.token

# 1. Add the next key. All zones learn its public half; tokens of the first one stay good.
meshpass keys add --mesh default --store $store
expect west '"new key".*"kid":"2"'
expect_failure 'in use' meshpass keys remove 1 --mesh default --publish-delay 1h --store $store # it still signs
say "step 1: key 2 is added, and zone west knows it"

# 2. Replace the tokens. dp-2 is forgotten.
new_token() {
	meshpass generate dataplane-token --mesh default --name "$1" --valid-for 24h --output "$1.token" --overwrite
	meshpass inspect "$1.token" | grep 'key (kid) *2$' >&3 # not before the publish delay is over
}
eventually new_token dp-1
start_proxy dp-1-again -name dp-1 -token-file dp-1.token
expect dp-1-again '"connected"' '"stream ended"'
expect_none dp-1 '"stream ended"'
expect_none dp-2 '"stream ended"'
say "step 2: dp-1 has a token of key 2 in its file, which is good already; all streams are still open"

# Who would lose a stream? This zone has two with tokens of key 1.
expect_output '"kid":"1"[^}]*"sessions":2' curl --unix-socket west/admin.sock http://admin/usage

# 3. Remove the old key. Streams with its tokens end.
meshpass keys remove 1 --mesh default --publish-delay 1s --store $store
expect dp-1 '"stream ended","code":"Unauthenticated"'
expect dp-1 '"connected"'
expect dp-2 '"stream ended","code":"Unauthenticated"'
expect dp-2 '"stream ended","code":"Unauthenticated"'
expect_none dp-1-again '"stream ended"'
say "step 3: key 1 is removed; dp-1 is back with its new token, dp-2, which has none, is refused"

new_token dp-2
expect dp-2 '"connected"'
say "dp-2 is given one, and is in"
