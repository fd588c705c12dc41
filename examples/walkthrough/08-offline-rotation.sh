#!/usr/bin/env bash
# The key with which tokens are made offline is to be replaced, in three steps, each with a change of the zone's configuration or of
# the proxies' files: a second key beside the first, other tokens, the first key gone.
. "$(dirname "$0")/lib.sh"
mkdir offline
for kid in key-1 key-2; do
	meshpass generate signing-key --format pem --output offline/$kid.pem
	meshpass generate public-key --signing-key-path offline/$kid.pem --output $kid.pub
done
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {"enableIssuer": false, "validator": {"useSecrets": false, "publicKeys": [
	{"kid": "key-1", "mesh": "default", "keyFile": "key-1.pub"}
]}}}}}}
END
deploy -config west.json
for name in dp-1 dp-2; do
	meshpass generate dataplane-token --mesh default --name $name --valid-for 24h \
		--signing-key-path offline/key-1.pem --kid key-1 --output $name.token
	start_proxy $name
	expect $name '"connected"'
done

# 1. The second key beside the first. A configuration is read when a control plane starts.
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {"enableIssuer": false, "validator": {"useSecrets": false, "publicKeys": [
	{"kid": "key-1", "mesh": "default", "keyFile": "key-1.pub"},
	{"kid": "key-2", "mesh": "default", "keyFile": "key-2.pub"}
]}}}}}}
END
restart_zone west -config west.json
for name in dp-1 dp-2; do
	expect $name '"connected"' '"Unauthenticated"'
done
say "step 1: the zone has key-2 beside key-1; dp-1 and dp-2 are connected with tokens of key-1"

# 2. Replace the tokens. dp-2 is forgotten.
meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 24h \
	--signing-key-path offline/key-2.pem --kid key-2 --output dp-1.token --overwrite
start_proxy dp-1-again -name dp-1 -token-file dp-1.token
expect dp-1-again '"connected"' '"stream ended"'
expect_none dp-1 '"stream ended"'
say "step 2: dp-1 has a token of key-2 in its file, which is good already"

# 3. The first key is gone.
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {"enableIssuer": false, "validator": {"useSecrets": false, "publicKeys": [
	{"kid": "key-2", "mesh": "default", "keyFile": "key-2.pub"}
]}}}}}}
END
restart_zone west -config west.json
expect dp-1 '"connected"' '"Unauthenticated"'
expect west '"proxy authenticated".*"name":"dp-1","kid":"key-2"'
expect dp-2 '"stream ended","code":"Unauthenticated"'
say "step 3: the zone has key-2 alone; dp-1 is back with its new token, dp-2 is refused with its old one"
