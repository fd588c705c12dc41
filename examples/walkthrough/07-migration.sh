#!/usr/bin/env bash
# A deployment with tokens that the control plane issued is to change to tokens that are made offline, without a gap. In between
# both are good.
. "$(dirname "$0")/lib.sh"
deploy
for name in dp-1 dp-2; do
	meshpass generate dataplane-token --control-plane unix:global/admin.sock --mesh default --name $name --valid-for 24h --output $name.token
	start_proxy $name
	expect $name '"connected"'
done
say "dp-1 and dp-2 are connected with tokens that the control plane issued"

# 1. Both at once: useSecrets is true, which is the default, and there is a public key.
mkdir offline
meshpass generate signing-key --format pem --output offline/key-1.pem
meshpass generate public-key --signing-key-path offline/key-1.pem --output key-1.pub
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {"validator": {
	"useSecrets": true,
	"publicKeys": [{"kid": "key-1", "mesh": "default", "keyFile": "key-1.pub"}]
}}}}}}
END
restart_zone west -config west.json
for name in dp-1 dp-2; do
	expect $name '"connected"' '"Unauthenticated"'
done
meshpass generate dataplane-token --mesh default --name dp-3 --valid-for 24h \
	--signing-key-path offline/key-1.pem --kid key-1 --output dp-3.token
start_proxy dp-3
expect dp-3 '"connected"'
expect west '"proxy authenticated".*"name":"dp-3","kid":"key-1"'
say "step 1: the zone accepts both: dp-1 and dp-2 are back with their tokens, dp-3 is in with one that was made offline"

# 2. Replace the tokens. dp-2 is forgotten.
meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 24h \
	--signing-key-path offline/key-1.pem --kid key-1 --output dp-1.token --overwrite
say "step 2: dp-1 has such a token in its file"

# 3. Only the public key is left.
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {
	"enableIssuer": false,
	"validator": {
		"useSecrets": false,
		"publicKeys": [{"kid": "key-1", "mesh": "default", "keyFile": "key-1.pub"}]
	}
}}}}}
END
restart_zone west -config west.json
for name in dp-1 dp-3; do
	expect $name '"connected"' '"Unauthenticated"'
done
expect dp-2 '"stream ended","code":"Unauthenticated"'
say "step 3: the zone accepts the public key alone: dp-1 and dp-3 are back, dp-2 is refused with its old token"
