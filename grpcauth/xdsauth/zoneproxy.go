package xdsauth

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// isZoneToken reports whether a token says that it is one for a zone. The token is not
// verified: this only chooses who verifies it.
func isZoneToken(raw string) bool {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return false
	}
	claims, err := unverified.Claims()
	return err == nil && claims.Kind() == token.KindZone
}

// zoneProxies are the types of zone proxies, with the scope that each needs and the type
// of its resource.
var zoneProxies = map[string]struct{ scope, resource string }{
	"ingress": {zone.ScopeIngress, "ZoneIngress"},
	"egress":  {zone.ScopeEgress, "ZoneEgress"},
}

// zonePeer returns the zone proxy that a node describes, in a zone.
func zonePeer(node *corev3.Node, zoneName string) (zone.Peer, error) {
	name, isZoneProxy := strings.CutPrefix(node.GetId(), ".")
	if !isZoneProxy || name == "" {
		return zone.Peer{}, notPermitted("the node id %s is not a dot and a name; a zone token is for zone proxies, which have no mesh", quote(node.GetId()))
	}
	proxyType, err := stringIn(node, MetadataType)
	if err != nil {
		return zone.Peer{}, err
	}
	as, ok := zoneProxies[proxyType]
	if !ok {
		return zone.Peer{}, notPermitted("metadata %q is %s; a zone proxy is an ingress or an egress", MetadataType, quote(proxyType))
	}
	own, _, err := resourceOf(node, as.resource, "", name)
	if err != nil {
		return zone.Peer{}, err
	}
	if own.zone != "" && own.zone != zoneName {
		return zone.Peer{}, notPermitted("metadata %q: its zone is %s, this zone is %s", MetadataResource, quote(own.zone), quote(zoneName))
	}
	return zone.Peer{Zone: zoneName, Scope: as.scope}, nil
}
