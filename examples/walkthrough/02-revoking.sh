#!/usr/bin/env bash
# The token of a proxy has leaked. The operator takes it back: nobody may be connected with it any more. Afterwards the token
# turns out to be safe, and the operator makes it good again.
. "$(dirname "$0")/lib.sh"
deploy

export MESHPASS_CONTROL_PLANE=unix:global/admin.sock
for name in dp-1 dp-2; do
	meshpass generate dataplane-token --mesh default --name $name --valid-for 24h --output $name.token
	start_proxy $name
	expect $name '"connected"'
done

# On the global control plane; it tells the zones.
meshpass revocations add --token-file dp-1.token
expect dp-1 '"stream ended","code":"Unauthenticated"'
expect dp-1 '"stream ended","code":"Unauthenticated"' # it has tried again
expect_none dp-2 '"stream ended"'
expect_failure '^verdict +refused: token revoked' meshpass inspect dp-1.token
say "dp-1's token is revoked: its stream ends, and it is refused when it comes back; dp-2 stays connected"

# A zone would lose what is revoked on it alone.
expect_failure 'change them there' meshpass revocations add --control-plane unix:west/admin.sock --token-file dp-2.token

meshpass revocations remove --token-file dp-1.token
expect dp-1 '"connected"'
expect_output '^$' meshpass revocations list --mesh default
say "it is not revoked any more, and dp-1 is back"
