package config

// The types of authentication.
const (
	TypeDPToken             = "dpToken"             // of proxies: dataplane tokens
	TypeZoneToken           = "zoneToken"           // of zone proxies: zone tokens
	TypeCPToken             = "cpToken"             // of zone control planes: zone tokens of scope cp
	TypeServiceAccountToken = "serviceAccountToken" // the tokens of Kubernetes service accounts
	TypeNone                = "none"                // everybody is let in
)

// The environments.
const (
	EnvironmentUniversal  = "universal"
	EnvironmentKubernetes = "kubernetes"
)

// Config is the settings of authentication of a control plane, and of what connects
// to one. Start from [Default], since the zero value has the issuers and the store's
// keys switched off. The settings that a program does not need stay as they are.
type Config struct {
	// Environment is [EnvironmentUniversal] or [EnvironmentKubernetes]. It decides
	// what an empty type stands for. Variable: KUMA_ENVIRONMENT.
	Environment string `json:"environment" yaml:"environment"`

	// DPServer is the server that proxies connect to.
	DPServer struct {
		// Auth is where some documentation has the setting of the same name in Authn.
		Auth struct {
			EnableReloadableTokens bool `json:"enableReloadableTokens" yaml:"enableReloadableTokens"`
		} `json:"auth" yaml:"auth"`

		Authn struct {
			DPProxy   DPProxy   `json:"dpProxy" yaml:"dpProxy"`
			ZoneProxy ZoneProxy `json:"zoneProxy" yaml:"zoneProxy"`

			// EnableReloadableTokens: see [Config.ReloadableTokens]. Variable:
			// KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS.
			EnableReloadableTokens bool `json:"enableReloadableTokens" yaml:"enableReloadableTokens"`
		} `json:"authn" yaml:"authn"`
	} `json:"dpServer" yaml:"dpServer"`

	// DataplaneRuntime is for a proxy: at most one of the token that it presents, of
	// either kind, and the file that holds it. Variables: KUMA_DATAPLANE_RUNTIME_TOKEN
	// and KUMA_DATAPLANE_RUNTIME_TOKEN_PATH.
	DataplaneRuntime struct {
		Token     Secret `json:"dataplaneToken" yaml:"dataplaneToken"`
		TokenPath string `json:"dataplaneTokenPath" yaml:"dataplaneTokenPath"`
	} `json:"dataplaneRuntime" yaml:"dataplaneRuntime"`

	// KMesh is how zone control planes authenticate to the global one, over the
	// protocol KDS.
	KMesh struct {
		Multizone struct {
			Global struct {
				KDS struct {
					Auth KDSServerAuth `json:"auth" yaml:"auth"`
				} `json:"kds" yaml:"kds"`
			} `json:"global" yaml:"global"`
			Zone struct {
				KDS struct {
					Auth KDSClientAuth `json:"auth" yaml:"auth"`
				} `json:"kds" yaml:"kds"`
			} `json:"zone" yaml:"zone"`
		} `json:"multizone" yaml:"multizone"`
	} `json:"kmesh" yaml:"kmesh"`
}

// DPProxy is how data plane proxies authenticate.
type DPProxy struct {
	// Type is [TypeDPToken], [TypeServiceAccountToken] or [TypeNone]. If it is
	// empty, [Config.DPProxyType] says what it stands for. Variable:
	// KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE.
	Type    string  `json:"type" yaml:"type"`
	DPToken DPToken `json:"dpToken" yaml:"dpToken"`
}

// DPToken is about dataplane tokens.
type DPToken struct {
	// EnableIssuer lets the control plane issue tokens, whatever the type. Variable:
	// KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER.
	EnableIssuer bool             `json:"enableIssuer" yaml:"enableIssuer"`
	Validator    DPTokenValidator `json:"validator" yaml:"validator"`
}

// DPTokenValidator is which keys verify dataplane tokens.
type DPTokenValidator struct {
	// UseSecrets accepts tokens that keys of the store have signed. Revocations are
	// read from the store in any case. Variable:
	// KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS.
	UseSecrets bool            `json:"useSecrets" yaml:"useSecrets"`
	PublicKeys []MeshPublicKey `json:"publicKeys" yaml:"publicKeys"`
}

// MeshPublicKey is a key for dataplane tokens that were signed offline. A kid may be
// used once in each mesh, and once without a mesh.
type MeshPublicKey struct {
	KID string `json:"kid" yaml:"kid"`

	// Mesh is the mesh whose tokens the key verifies. If it is empty, these are the
	// tokens of every mesh, other than those with a key of the same kid of their own.
	Mesh string `json:"mesh" yaml:"mesh"`

	// Key and KeyFile: see [PublicKey].
	Key     string `json:"key,omitempty" yaml:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
}

// ZoneProxy is how the proxies of a zone, its ingress and egress, authenticate.
type ZoneProxy struct {
	// Type is [TypeZoneToken], [TypeServiceAccountToken] or [TypeNone]. If it is
	// empty, [Config.ZoneProxyType] says what it stands for. Variable:
	// KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE.
	Type      string    `json:"type" yaml:"type"`
	ZoneToken ZoneToken `json:"zoneToken" yaml:"zoneToken"`
}

// ZoneToken is about the zone tokens of proxies.
type ZoneToken struct {
	// EnableIssuer lets the control plane issue zone tokens of every scope, whatever
	// the type. Variable: KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER.
	EnableIssuer bool `json:"enableIssuer" yaml:"enableIssuer"`

	// Validator has the variable
	// KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS.
	Validator ZoneTokenValidator `json:"validator" yaml:"validator"`
}

// ZoneTokenValidator is which keys verify zone tokens.
type ZoneTokenValidator struct {
	// UseSecrets accepts tokens that keys of the store have signed. Revocations are
	// read from the store in any case.
	UseSecrets bool        `json:"useSecrets" yaml:"useSecrets"`
	PublicKeys []PublicKey `json:"publicKeys" yaml:"publicKeys"`
}

// PublicKey is a key for zone tokens that were signed offline, each with a kid of
// its own.
type PublicKey struct {
	KID string `json:"kid" yaml:"kid"`

	// Key is the PEM text of an RSA public key, in the forms that
	// signing.ParsePublicKey reads. KeyFile is a file with the key, of 64 KiB at
	// most; a relative path is relative to the working directory. One of them is set.
	Key     string `json:"key,omitempty" yaml:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
}

// KDSServerAuth is how a global control plane authenticates those of zones.
type KDSServerAuth struct {
	// Type is [TypeCPToken] or [TypeNone], which is the default. Variable:
	// KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE.
	Type string `json:"type" yaml:"type"`

	CPToken struct {
		// Validator has the variable
		// KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS.
		Validator ZoneTokenValidator `json:"validator" yaml:"validator"`
	} `json:"cpToken" yaml:"cpToken"`
}

// KDSClientAuth is what a zone's control plane presents to the global one: at most
// one of a zone token of scope cp, and the file that holds it. The file need not
// exist when a configuration is read. Variables:
// KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE and
// KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH.
type KDSClientAuth struct {
	CPTokenInline Secret `json:"cpTokenInline" yaml:"cpTokenInline"`
	CPTokenPath   string `json:"cpTokenPath" yaml:"cpTokenPath"`
}

// Default returns the configuration in which nothing is set: environment universal,
// proxies and zone proxies with tokens, issuers enabled, the keys of the store used,
// no public keys, and zones' control planes not authenticated.
func Default() Config {
	var c Config
	c.Environment = EnvironmentUniversal
	c.DPServer.Authn.DPProxy.DPToken.EnableIssuer = true
	c.DPServer.Authn.DPProxy.DPToken.Validator = DPTokenValidator{UseSecrets: true, PublicKeys: []MeshPublicKey{}}
	c.DPServer.Authn.ZoneProxy.ZoneToken.EnableIssuer = true
	c.DPServer.Authn.ZoneProxy.ZoneToken.Validator = ZoneTokenValidator{UseSecrets: true, PublicKeys: []PublicKey{}}
	c.KMesh.Multizone.Global.KDS.Auth.Type = TypeNone
	c.KMesh.Multizone.Global.KDS.Auth.CPToken.Validator = ZoneTokenValidator{UseSecrets: true, PublicKeys: []PublicKey{}}
	return c
}

// DPProxyType returns the type of dpServer.authn.dpProxy. For an empty one that is
// [TypeServiceAccountToken] on Kubernetes and [TypeDPToken] elsewhere.
func (c Config) DPProxyType() string {
	return c.typeOr(c.DPServer.Authn.DPProxy.Type, TypeDPToken)
}

// ZoneProxyType returns the type of dpServer.authn.zoneProxy. For an empty one that
// is [TypeServiceAccountToken] on Kubernetes and [TypeZoneToken] elsewhere.
func (c Config) ZoneProxyType() string {
	return c.typeOr(c.DPServer.Authn.ZoneProxy.Type, TypeZoneToken)
}

func (c Config) typeOr(set, elsewhere string) string {
	switch {
	case set != "":
		return set
	case c.Environment == EnvironmentKubernetes:
		return TypeServiceAccountToken
	}
	return elsewhere
}

// ReloadableTokens reports whether proxies are to read their tokens from their files
// again: dpServer.authn.enableReloadableTokens or its other place, and always on
// Kubernetes. It is for programs that write the bootstrap configuration of Envoy.
// Nothing in Meshpass depends on it: a server checks the token of each stream, and
// the credentials of package grpcauth read their file at each call.
func (c Config) ReloadableTokens() bool {
	return c.DPServer.Authn.EnableReloadableTokens || c.DPServer.Auth.EnableReloadableTokens || c.Environment == EnvironmentKubernetes
}
