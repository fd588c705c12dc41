#!/usr/bin/env bash
# Zones connect to the global control plane without proving who they are. This is to change while they are connected.
. "$(dirname "$0")/lib.sh"
deploy # the global control plane with -zone-authentication none
start_zone east
connected east
expect global '"Zone CP connected without a token","zone":"east"'

without_token() { metrics_of global | grep -x "controlplane_zone_streams_without_token $1" >&3; }
eventually without_token 2
say "west and east are connected without tokens"

# 1. Give each zone a token, in the file that its -token-file names. It connects again, with the token. East is forgotten.
export MESHPASS_CONTROL_PLANE=unix:global/admin.sock
meshpass generate zone-token --zone west --scope cp --valid-for 720h --output west.token
expect global '"Zone CP successfully authenticated","zone":"west"'
eventually without_token 1
say 'step 1: west has a token; the global logs "Zone CP successfully authenticated"'

# 2. When there are no streams without a token, turn it on. Here there is one.
curl --unix-socket global/admin.sock http://admin/zone-authentication -X PUT --data cpToken
expect east 'stream from the global control plane ended","code":"Unauthenticated"'
expect east 'no stream from the global control plane","code":"Unauthenticated"'
expect_none west 'stream from the global control plane ended'
say "step 2: zone authentication is on: west's stream stays; east, which has no token, is refused"

meshpass generate zone-token --zone east --scope cp --valid-for 720h --output east.token
expect global '"Zone CP successfully authenticated","zone":"east"'
connected east
say "east is given one, and is back"

# 3. Keep it on, also when the global control plane is restarted.
stop global
start_global -zone-authentication cpToken
expect global '"Zone CP successfully authenticated"'
expect global '"Zone CP successfully authenticated"'
say "step 3: the global control plane is restarted with -zone-authentication cpToken, and both are back"

# A zone token is for one zone, and for what its scope says.
stop east
cp west.token east.token
start_zone east
expect global '"call refused".*zone is .*west.*, the peer.s is .*east'
expect east 'no stream from the global control plane","code":"PermissionDenied"'
meshpass generate zone-token --zone east --scope ingress --valid-for 720h --output east.token --overwrite
expect global '"call refused".*scope is .*cp.*, the token.s are .*ingress'
expect east 'no stream from the global control plane","code":"PermissionDenied"'
say "east is refused with the token of west, and with one of scope ingress"
