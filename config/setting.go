package config

import (
	"slices"
	"strings"
)

// setting is one setting, with all its names.
type setting struct {
	path     string // in a document, as in Kuma 3.0
	variable string // empty for none

	// Earlier names, empty for none.
	oldPath, oldVariable string

	field func(*Config) any // *string, *bool, *Secret, *[]PublicKey, *[]MeshPublicKey or *[]KeySource

	// An empty text is an error in a document. Elsewhere it sets nothing.
	notEmpty bool
}

// name returns the path or the variable, under the old or the new name. It is empty if
// there is none.
func (s *setting) name(old, variable bool) string {
	switch {
	case old && variable:
		return s.oldVariable
	case old:
		return s.oldPath
	case variable:
		return s.variable
	}
	return s.path
}

// both returns the path, and the variable if there is one, for messages.
func (s *setting) both(old bool) string {
	path, variable := s.name(old, false), s.name(old, true)
	if variable == "" {
		return path
	}
	return path + " (variable " + variable + ")"
}

// renamed reports whether 2.14.6 gave the setting its name. Before that it began with kmesh.
func (s *setting) renamed() bool { return strings.HasPrefix(s.oldPath, "kmesh.") }

const (
	pathKumaVersion = "meshpass.kumaVersion"
	pathKeySources  = "meshpass.keySources"
	pathMaxLineage  = "meshpass.maxLineage"
	pathMode        = "mode"
	pathKDSType     = entryKDSServer + ".type"
	pathTokenInline = entryKDSClient + ".tokenInline"
	pathTokenPath   = entryKDSClient + ".tokenPath"
	pathAddress     = "multizone.zone.globalAddress"

	// The two places that decide whether zone tokens are issued.
	pathZoneIssuer      = entryKDSServer + ".zoneToken.enableIssuer"
	pathZoneProxyIssuer = entryZoneProxy + ".zoneToken.enableIssuer"
)

var settings = []*setting{
	{path: pathKumaVersion, variable: "MESHPASS_KUMA_VERSION",
		field: func(c *Config) any { return &c.Meshpass.KumaVersion }},
	{path: pathKeySources,
		field: func(c *Config) any { return &c.Meshpass.KeySources }},
	{path: pathMaxLineage, variable: "MESHPASS_MAX_LINEAGE",
		field: func(c *Config) any { return &c.Meshpass.MaxLineage }},
	{path: entryEnvironment, variable: "KUMA_ENVIRONMENT",
		field: func(c *Config) any { return &c.Environment }, notEmpty: true},
	{path: pathMode, variable: "KUMA_MODE",
		field: func(c *Config) any { return &c.Mode }, notEmpty: true},

	{path: entryDPProxy + ".type", variable: "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE",
		field: func(c *Config) any { return &c.DPServer.Authn.DPProxy.Type }},
	{path: entryDPProxy + ".dpToken.enableIssuer", variable: "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER",
		field: func(c *Config) any { return &c.DPServer.Authn.DPProxy.DPToken.EnableIssuer }},
	{path: entryDPValidator + ".useSecrets", variable: "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS",
		field: func(c *Config) any { return &c.DPServer.Authn.DPProxy.DPToken.Validator.UseSecrets }},
	{path: entryDPValidator + ".publicKeys",
		field: func(c *Config) any { return &c.DPServer.Authn.DPProxy.DPToken.Validator.PublicKeys }},

	{path: entryZoneProxy + ".type", variable: "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE",
		field: func(c *Config) any { return &c.DPServer.Authn.ZoneProxy.Type }},
	{path: pathZoneProxyIssuer, variable: "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER",
		field: func(c *Config) any { return &c.DPServer.Authn.ZoneProxy.ZoneToken.EnableIssuer }},
	{path: entryZPValidator + ".useSecrets", variable: "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS",
		field: func(c *Config) any { return &c.DPServer.Authn.ZoneProxy.ZoneToken.Validator.UseSecrets }},
	{path: entryZPValidator + ".publicKeys",
		field: func(c *Config) any { return &c.DPServer.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys }},

	{path: "dpServer.authn.enableReloadableTokens", variable: "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS",
		oldPath: "dpServer.auth.enableReloadableTokens",
		field:   func(c *Config) any { return &c.DPServer.Authn.EnableReloadableTokens }},

	{path: entryRuntime + ".dataplaneToken", variable: "KUMA_DATAPLANE_RUNTIME_TOKEN",
		field: func(c *Config) any { return &c.DataplaneRuntime.Token }},
	{path: entryRuntime + ".dataplaneTokenPath", variable: "KUMA_DATAPLANE_RUNTIME_TOKEN_PATH",
		field: func(c *Config) any { return &c.DataplaneRuntime.TokenPath }},

	{path: pathKDSType, variable: "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
		oldPath: "kmesh.multizone.global.kds.auth.type", oldVariable: "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
		field: func(c *Config) any { return &c.Multizone.Global.KDS.Auth.Type }, notEmpty: true},
	{path: pathZoneIssuer, variable: "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER",
		oldPath: "kmesh.multizone.global.kds.auth.cpToken.enableIssuer", oldVariable: "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_ENABLE_ISSUER",
		field: func(c *Config) any { return &c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer }},
	{path: entryKDSValidator + ".useSecrets", variable: "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_VALIDATOR_USE_SECRETS",
		oldPath: "kmesh.multizone.global.kds.auth.cpToken.validator.useSecrets", oldVariable: "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS",
		field: func(c *Config) any { return &c.Multizone.Global.KDS.Auth.ZoneToken.Validator.UseSecrets }},
	{path: entryKDSValidator + ".publicKeys",
		oldPath: "kmesh.multizone.global.kds.auth.cpToken.validator.publicKeys",
		field:   func(c *Config) any { return &c.Multizone.Global.KDS.Auth.ZoneToken.Validator.PublicKeys }},

	{path: pathAddress, variable: "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS",
		field: func(c *Config) any { return &c.Multizone.Zone.GlobalAddress }},
	{path: pathTokenInline, variable: "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE",
		oldPath: "kmesh.multizone.zone.kds.auth.cpTokenInline", oldVariable: "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE",
		field: func(c *Config) any { return &c.Multizone.Zone.KDS.Auth.TokenInline }},
	{path: pathTokenPath, variable: "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH",
		oldPath: "kmesh.multizone.zone.kds.auth.cpTokenPath", oldVariable: "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH",
		field: func(c *Config) any { return &c.Multizone.Zone.KDS.Auth.TokenPath }},
}

// at returns the setting with a path that is known to exist.
func at(path string) *setting {
	s, _ := settingAt(path)
	return s
}

// settingAt returns the setting at a path of a document, or nil.
func settingAt(path string) (s *setting, old bool) {
	for _, s := range settings {
		if s.path == path {
			return s, false
		}
		if s.oldPath == path {
			return s, true
		}
	}
	return nil, false
}

// members returns the sorted names of the settings and sections in the section at path.
// There are none if path is no section.
func members(path string) []string {
	var names []string
	for _, s := range settings {
		for _, of := range []string{s.path, s.oldPath} {
			if path != "" {
				inside, ok := strings.CutPrefix(of, path+".")
				if !ok {
					continue
				}
				of = inside
			}
			if name, _, _ := strings.Cut(of, "."); name != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// passedOver lists what Kuma 2.10 to 3.0 has beside the settings, by section. None of it is about
// authentication with tokens.
var passedOver = map[string][]string{
	"": {"access", "apiServer", "bootstrapServer", "coreResources", "defaults", "diagnostics", "dnsServer", "eventBus", "experimental",
		"general", "interCp", "ipam", "meshService", "metrics", "monitoringAssignmentServer", "policies", "proxy", "reports", "runtime",
		"store", "tracing", "xdsServer"},
	"dpServer": {"gracefulShutdownTimeout", "hds", "port", "readHeaderTimeout", "tlsCertFile", "tlsCipherSuites", "tlsKeyFile",
		"tlsMaxVersion", "tlsMinVersion"},
	"multizone.global.kds": {"eventBasedWatchdog", "grpcPort", "labels", "logPayloads", "maxMsgSize", "msgSendTimeout", "nackBackoff",
		"refreshInterval", "responseBackoff", "tlsCertFile", "tlsCipherSuites", "tlsEnabled", "tlsKeyFile", "tlsMaxVersion",
		"tlsMinVersion", "tracing", "zoneHealthCheck", "zoneInsightFlushInterval"},
	"multizone.zone": {"disableOriginLabelValidation", "ingressUpdateInterval", "name"},
	"multizone.zone.kds": {"eventBasedWatchdog", "labels", "logPayloads", "maxMsgSize", "msgSendTimeout", "nackBackoff",
		"refreshInterval", "responseBackoff", "rootCaFile", "tlsSkipVerify"},
}

// isPassedOver reports whether a member of a section is none of our settings, and
// known. The section kmesh has members that Kong Mesh does not document in one place, so
// all but multizone are passed over.
func isPassedOver(section, name string) bool {
	if section == "kmesh" {
		return !strings.EqualFold(name, "multizone")
	}
	return slices.Contains(passedOver[section], name)
}
