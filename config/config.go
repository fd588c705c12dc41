package config

// The types of authentication.
const (
	TypeDPToken             = "dpToken"             // of proxies: dataplane tokens
	TypeZoneToken           = "zoneToken"           // of zone proxies: zone tokens
	TypeCPToken             = "cpToken"             // of zone control planes: zone tokens of scope cp
	TypeServiceAccountToken = "serviceAccountToken" // the tokens of Kubernetes service accounts
	TypeNone                = "none"                // every peer is accepted
)

// The environments.
const (
	EnvironmentUniversal  = "universal"
	EnvironmentKubernetes = "kubernetes"
)

// Config holds the authentication settings of a control plane, and of the proxies and
// zones that connect to it. Start from [Default], since the zero value switches off
// issuers and the store's keys. Leave the settings that a program does not need.
type Config struct {
	// Environment is [EnvironmentUniversal] or [EnvironmentKubernetes]. It decides
	// what an empty type means. Variable: KUMA_ENVIRONMENT.
	Environment string `json:"environment" yaml:"environment"`

	// DPServer is the server that proxies connect to.
	DPServer struct {
		// Auth is another place for the setting with the same name in Authn.
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

	// DataplaneRuntime is for a proxy: the token that it presents, of either kind, or
	// the path of the file with the token. Set at most one of them. Variables:
	// KUMA_DATAPLANE_RUNTIME_TOKEN and KUMA_DATAPLANE_RUNTIME_TOKEN_PATH.
	DataplaneRuntime struct {
		Token     Secret `json:"dataplaneToken" yaml:"dataplaneToken"`
		TokenPath string `json:"dataplaneTokenPath" yaml:"dataplaneTokenPath"`
	} `json:"dataplaneRuntime" yaml:"dataplaneRuntime"`

	// KMesh says how zone control planes authenticate to the global control plane over
	// KDS.
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

// DPProxy says how data plane proxies authenticate.
type DPProxy struct {
	// Type is [TypeDPToken], [TypeServiceAccountToken] or [TypeNone], or empty: see
	// [Config.DPProxyType]. Variable: KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE.
	Type    string  `json:"type" yaml:"type"`
	DPToken DPToken `json:"dpToken" yaml:"dpToken"`
}

// DPToken holds the settings for dataplane tokens.
type DPToken struct {
	// EnableIssuer lets the control plane issue tokens, whatever the type. Variable:
	// KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER.
	EnableIssuer bool             `json:"enableIssuer" yaml:"enableIssuer"`
	Validator    DPTokenValidator `json:"validator" yaml:"validator"`
}

// DPTokenValidator says which keys verify dataplane tokens.
type DPTokenValidator struct {
	// UseSecrets accepts tokens signed with keys of the store. The validator always
	// reads revocations from the store. Variable:
	// KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS.
	UseSecrets bool            `json:"useSecrets" yaml:"useSecrets"`
	PublicKeys []MeshPublicKey `json:"publicKeys" yaml:"publicKeys"`
}

// MeshPublicKey is a key for dataplane tokens that are signed offline. Each mesh may
// have a kid once, and the keys without a mesh may have it once.
type MeshPublicKey struct {
	KID string `json:"kid" yaml:"kid"`

	// Mesh is the mesh whose tokens the key verifies. If it is empty, the key verifies
	// the tokens of every mesh that has no key with the same kid.
	Mesh string `json:"mesh" yaml:"mesh"`

	// Key and KeyFile: see [PublicKey].
	Key     string `json:"key,omitempty" yaml:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
}

// ZoneProxy says how the proxies of a zone, its ingress and egress, authenticate.
type ZoneProxy struct {
	// Type is [TypeZoneToken], [TypeServiceAccountToken] or [TypeNone], or empty: see
	// [Config.ZoneProxyType]. Variable: KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE.
	Type      string    `json:"type" yaml:"type"`
	ZoneToken ZoneToken `json:"zoneToken" yaml:"zoneToken"`
}

// ZoneToken holds the settings for the zone tokens of proxies.
type ZoneToken struct {
	// EnableIssuer lets the control plane issue zone tokens of every scope, whatever
	// the type. Variable: KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER.
	EnableIssuer bool `json:"enableIssuer" yaml:"enableIssuer"`

	// Validator has the variable
	// KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS.
	Validator ZoneTokenValidator `json:"validator" yaml:"validator"`
}

// ZoneTokenValidator says which keys verify zone tokens.
type ZoneTokenValidator struct {
	// UseSecrets accepts tokens signed with keys of the store. The validator always
	// reads revocations from the store.
	UseSecrets bool        `json:"useSecrets" yaml:"useSecrets"`
	PublicKeys []PublicKey `json:"publicKeys" yaml:"publicKeys"`
}

// PublicKey is a key for zone tokens that are signed offline. Each key needs a
// different kid.
type PublicKey struct {
	KID string `json:"kid" yaml:"kid"`

	// Key is an RSA public key as PEM that signing.ParsePublicKey reads. KeyFile is
	// the path of a file with the key, of at most 64 KiB; a relative path is relative
	// to the working directory. Set exactly one of them.
	Key     string `json:"key,omitempty" yaml:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
}

// KDSServerAuth says how a global control plane authenticates zone control planes.
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

// KDSClientAuth is what a zone control plane presents to the global control plane: a
// zone token of scope cp, or the path of a file with the token. Set at most one of
// them. The file need not exist when the configuration is read. Variables:
// KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE and
// KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH.
type KDSClientAuth struct {
	CPTokenInline Secret `json:"cpTokenInline" yaml:"cpTokenInline"`
	CPTokenPath   string `json:"cpTokenPath" yaml:"cpTokenPath"`
}

// Default returns the default configuration: environment universal, tokens for
// proxies and zone proxies, issuers enabled, keys of the store in use, no public keys,
// and no authentication of zone control planes.
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

// DPProxyType returns the type of dpServer.authn.dpProxy. An empty type means
// [TypeServiceAccountToken] on Kubernetes and [TypeDPToken] elsewhere.
func (c Config) DPProxyType() string {
	return c.typeOr(c.DPServer.Authn.DPProxy.Type, TypeDPToken)
}

// ZoneProxyType returns the type of dpServer.authn.zoneProxy. An empty type means
// [TypeServiceAccountToken] on Kubernetes and [TypeZoneToken] elsewhere.
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

// ReloadableTokens reports whether proxies should reread their token files. It is true
// if dpServer.authn.enableReloadableTokens or dpServer.auth.enableReloadableTokens is
// set, and always on Kubernetes. It is for programs that write the bootstrap
// configuration of Envoy. Meshpass does not use it: a server checks the token of each
// stream, and the credentials of package grpcauth read their file at each call.
func (c Config) ReloadableTokens() bool {
	return c.DPServer.Authn.EnableReloadableTokens || c.DPServer.Auth.EnableReloadableTokens || c.Environment == EnvironmentKubernetes
}
