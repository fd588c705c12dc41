#!/usr/bin/env bash
# The operator does not want any control plane to be able to make tokens. They are made offline, with a signing key that never leaves
# the operator's machine; the zone has its public half, and accepts nothing else.
. "$(dirname "$0")/lib.sh"

# On the operator's machine:
mkdir offline
meshpass generate signing-key --format pem --output offline/key-1.pem
meshpass generate public-key --signing-key-path offline/key-1.pem --output key-1.pub
meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 24h \
	--signing-key-path offline/key-1.pem --kid key-1 --output dp-1.token
expect_output '^verdict +accepted' meshpass inspect dp-1.token --public-key-path key-1.pub --kid key-1

# The configuration of the zone has the public key, and no others.
cat >west.json <<END
{"dpServer": {"authn": {"dpProxy": {"dpToken": {
	"enableIssuer": false,
	"validator": {
		"useSecrets": false,
		"publicKeys": [{"kid": "key-1", "mesh": "default", "keyFile": "key-1.pub"}]
	}
}}}}}
END
deploy -config west.json
start_proxy dp-1
expect dp-1 '"connected"'
expect west '"proxy authenticated".*"name":"dp-1","kid":"key-1"'
say "dp-1 is connected with a token that was made offline"

# A token that the global control plane issued is refused, and the zone issues none.
meshpass generate dataplane-token --control-plane unix:global/admin.sock --mesh default --name dp-2 --valid-for 24h --output dp-2.token
start_proxy dp-2
expect dp-2 '"stream ended","code":"Unauthenticated"'
expect west '"token refused".*no public key with kid'
expect_failure 'issuing tokens using the control plane is disabled' meshpass generate dataplane-token --control-plane unix:west/admin.sock --mesh default --name dp-2
say "dp-2 is refused with a token that the global control plane issued, and the zone issues none"

# So is one of somebody who made a key of the same name.
meshpass generate signing-key --format pem --output other.pem
meshpass generate dataplane-token --mesh default --name dp-3 --valid-for 24h --signing-key-path other.pem --kid key-1 --output dp-3.token
start_proxy dp-3
expect dp-3 '"stream ended","code":"Unauthenticated"'
expect west '"token refused".*signature'
say "dp-3 is refused with a token of another key of that name"
