#!/usr/bin/env bash
# A proxy is to join the mesh. The operator has the control plane issue a token for it, which is good for this proxy alone, for a day.
. "$(dirname "$0")/lib.sh"
deploy

export MESHPASS_CONTROL_PLANE=unix:global/admin.sock
meshpass generate dataplane-token --mesh default --name dp-1 --tag kuma.io/service=backend --valid-for 24h --output dp-1.token
expect_output '^verdict +accepted' meshpass inspect dp-1.token

start_proxy dp-1
expect dp-1 '"connected"'
expect west '"proxy authenticated".*"name":"dp-1","kid":"1"'
say "the control plane issued a token for dp-1, which is connected with it"

# Another proxy cannot use it, nor can dp-1 say that it is another service.
start_proxy dp-2 -token-file dp-1.token
expect dp-2 '"stream ended","code":"PermissionDenied"'
start_proxy dp-1-as-frontend -name dp-1 -token-file dp-1.token -service frontend
expect dp-1-as-frontend '"stream ended","code":"PermissionDenied"'
expect_none dp-1 '"stream ended"'
say "dp-2, and dp-1 as another service, are refused with this token"
