#!/usr/bin/env bash
# A token that was made offline has leaked. No control plane has seen it being made; it is revoked all the same, by its id.
. "$(dirname "$0")/lib.sh"
mkdir offline
meshpass generate signing-key --format pem --output offline/key-1.pem
meshpass generate public-key --signing-key-path offline/key-1.pem --output key-1.pub
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
for name in dp-1 dp-2; do
	meshpass generate dataplane-token --mesh default --name $name --valid-for 24h \
		--signing-key-path offline/key-1.pem --kid key-1 --output $name.token
	start_proxy $name
	expect $name '"connected"'
done

# The revocation list is that of the mesh, also where useSecrets is false. The token is not at hand, but its id is in the zone's log.
expect west '"proxy authenticated".*"name":"dp-1"'
id=$(field west jti)
meshpass revocations add "$id" --mesh default --control-plane unix:global/admin.sock
expect dp-1 '"stream ended","code":"Unauthenticated"'
expect dp-1 '"stream ended","code":"Unauthenticated"'
expect_none dp-2 '"stream ended"'
say "dp-1's token is revoked by its id: its stream ends, and it is refused; dp-2 stays connected"

meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 24h \
	--signing-key-path offline/key-1.pem --kid key-1 --output dp-1.token --overwrite
expect dp-1 '"connected"'
say "dp-1 is given another token, and is back"
