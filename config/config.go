package config

// The types of authentication.
const (
	TypeDPToken             = "dpToken"             // of proxies: dataplane tokens
	TypeZoneToken           = "zoneToken"           // of zone control planes and of zone proxies: zone tokens
	TypeServiceAccountToken = "serviceAccountToken" // the tokens of Kubernetes service accounts
	TypeNone                = "none"                // every peer is accepted
)

// The environments.
const (
	EnvironmentUniversal  = "universal"
	EnvironmentKubernetes = "kubernetes"
)

// The modes.
const (
	ModeGlobal     = "global"     // a global control plane, which zone control planes connect to
	ModeZone       = "zone"       // the control plane of a zone
	ModeStandalone = "standalone" // the name of Kuma 2 for a control plane without other zones
)

// Config holds the authentication settings of a control plane, and of the proxies and
// zones that connect to it. Its fields have the names of Kuma 3.0; the names of earlier
// versions set the same fields, as the package comment says. Start from [Default], since
// the zero value switches off issuers and the store's keys. Keep the defaults that a
// program does not need to change.
//
// [Read] reads a Config. A JSON or YAML library can do it too: Config has the methods
// that such libraries call. What they read is as strict as Read, but not checked; call
// [Config.Check].
type Config struct {
	// Meshpass holds the settings that Kuma does not have.
	Meshpass struct {
		// KumaVersion is the version of Kuma or Kong Mesh that the settings are written
		// for, such as "2.13", "2.14.6" or "3.0". A missing part counts as the latest:
		// "2" is the latest 2.14. A setting that this version does not read is an
		// error. If KumaVersion is empty, the names of all versions are read. It also
		// says what the token of a proxy is compared with; see
		// [Config.NewProxyAuthenticator]. Variable: MESHPASS_KUMA_VERSION.
		KumaVersion string `json:"kumaVersion,omitempty" yaml:"kumaVersion,omitempty"`

		// KeySources holds sources of public keys beside the publicKeys of Kuma: their
		// keys may change while a control plane runs, and demand more of the tokens.
		KeySources []KeySource `json:"keySources,omitempty" yaml:"keySources,omitempty"`

		// MaxLineage lets the issuers renew tokens, and says for how long after a first
		// token was issued its renewals are valid: a duration of Go from "1s" to
		// "87600h", ten years. See dataplane.WithMaxLineage. If it is empty, nothing is
		// renewed. Variable: MESHPASS_MAX_LINEAGE.
		MaxLineage string `json:"maxLineage,omitempty" yaml:"maxLineage,omitempty"`
	} `json:"meshpass" yaml:"meshpass"`

	// Environment is [EnvironmentUniversal] or [EnvironmentKubernetes]. It decides
	// what an empty type means. Variable: KUMA_ENVIRONMENT.
	Environment string `json:"environment" yaml:"environment"`

	// Mode is [ModeGlobal], [ModeZone] or [ModeStandalone], or empty if it is not set.
	// A global control plane must say how zones authenticate; see [Config.Check].
	// Variable: KUMA_MODE.
	Mode string `json:"mode,omitempty" yaml:"mode,omitempty"`

	// DPServer is the server that proxies connect to.
	DPServer struct {
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

	// Multizone says how zone control planes authenticate to the global control plane
	// over KDS.
	Multizone struct {
		Global struct {
			KDS struct {
				Auth KDSServerAuth `json:"auth" yaml:"auth"`
			} `json:"kds" yaml:"kds"`
		} `json:"global" yaml:"global"`
		Zone struct {
			// GlobalAddress is the URL of the global control plane. With a token, its
			// scheme must be grpcs. Variable: KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS.
			GlobalAddress string `json:"globalAddress,omitempty" yaml:"globalAddress,omitempty"`

			KDS struct {
				Auth KDSClientAuth `json:"auth" yaml:"auth"`
			} `json:"kds" yaml:"kds"`
		} `json:"zone" yaml:"zone"`
	} `json:"multizone" yaml:"multizone"`

	readings []reading // where settings were read; see Readings
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

// ZoneProxy says how the proxies of a zone, its ingress and egress, authenticate. Kuma
// 3.0 ignores it: there, they authenticate like other proxies. See [Config.Check].
type ZoneProxy struct {
	// Type is [TypeZoneToken], [TypeServiceAccountToken] or [TypeNone], or empty: see
	// [Config.ZoneProxyType]. Variable: KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE.
	Type      string    `json:"type" yaml:"type"`
	ZoneToken ZoneToken `json:"zoneToken" yaml:"zoneToken"`
}

// ZoneToken holds the settings for zone tokens, of zone control planes or of zone
// proxies.
type ZoneToken struct {
	// EnableIssuer lets the control plane issue zone tokens of every scope, whatever
	// the type. The issuer is enabled if it is true in both places. Variables:
	// KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER and
	// KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER. Before 2.14.6 the first
	// is KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_ENABLE_ISSUER.
	EnableIssuer bool               `json:"enableIssuer" yaml:"enableIssuer"`
	Validator    ZoneTokenValidator `json:"validator" yaml:"validator"`
}

// ZoneTokenValidator says which keys verify zone tokens.
type ZoneTokenValidator struct {
	// UseSecrets accepts tokens signed with keys of the store. The validator always
	// reads revocations from the store. Variables:
	// KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_VALIDATOR_USE_SECRETS and
	// KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS. Before 2.14.6
	// the first is KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS.
	UseSecrets bool        `json:"useSecrets" yaml:"useSecrets"`
	PublicKeys []PublicKey `json:"publicKeys" yaml:"publicKeys"`
}

// PublicKey is a key for zone tokens that are signed offline. Each key needs a
// different kid. In a document a kid may also be a whole number.
type PublicKey struct {
	KID string `json:"kid" yaml:"kid"`

	// Key is an RSA public key as PEM that signing.ParsePublicKey reads. KeyFile is
	// the path of a file with the key, of at most 64 KiB; a relative path is relative
	// to the working directory. Set exactly one of them. A validator reads the file
	// again every 500 ms: see signing.PEMFile.
	Key     string `json:"key,omitempty" yaml:"key,omitempty"`
	KeyFile string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
}

// KDSServerAuth says how a global control plane authenticates zone control planes.
type KDSServerAuth struct {
	// Type is [TypeZoneToken] or [TypeNone], or empty if it is not set, which Kuma
	// treats as none. Variable: KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE. Before 2.14.6 it
	// is KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE, and zoneToken is called cpToken.
	Type string `json:"type,omitempty" yaml:"type,omitempty"`

	// ZoneToken is cpToken before 2.14.6.
	ZoneToken ZoneToken `json:"zoneToken" yaml:"zoneToken"`
}

// KDSClientAuth is what a zone control plane presents to the global control plane: a
// zone token of scope cp, or the path of a file with the token. If both are set, the
// path takes precedence. The file need not exist when the configuration is read.
type KDSClientAuth struct {
	// TokenInline has the variable KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE. Before
	// 2.14.6 it is cpTokenInline, KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE.
	TokenInline Secret `json:"tokenInline" yaml:"tokenInline"`

	// TokenPath has no element "..". Variable:
	// KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH. Before 2.14.6 it is cpTokenPath,
	// KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH.
	TokenPath string `json:"tokenPath" yaml:"tokenPath"`
}

// Default returns the default configuration: environment universal, tokens for
// proxies and zone proxies, issuers enabled, keys of the store in use, no public keys,
// and no type of authentication of zone control planes.
func Default() Config {
	var c Config
	c.Environment = EnvironmentUniversal
	c.DPServer.Authn.DPProxy.DPToken.EnableIssuer = true
	c.DPServer.Authn.DPProxy.DPToken.Validator = DPTokenValidator{UseSecrets: true, PublicKeys: []MeshPublicKey{}}
	zoneTokens := func() ZoneToken {
		return ZoneToken{EnableIssuer: true, Validator: ZoneTokenValidator{UseSecrets: true, PublicKeys: []PublicKey{}}}
	}
	c.DPServer.Authn.ZoneProxy.ZoneToken = zoneTokens()
	c.Multizone.Global.KDS.Auth.ZoneToken = zoneTokens()
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
// if dpServer.authn.enableReloadableTokens is, and always on Kubernetes. It is for
// programs that write the bootstrap
// configuration of Envoy. Meshpass does not use it: a server checks the token of each
// stream, and the credentials of package grpcauth read their file at each call.
func (c Config) ReloadableTokens() bool {
	return c.DPServer.Authn.EnableReloadableTokens || c.Environment == EnvironmentKubernetes
}
