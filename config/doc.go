// Package config makes authenticators and issuers from a configuration whose settings
// and variables have the names that Kuma and Kong Mesh document.
//
// These are all the settings, as YAML, with their defaults where there is one:
//
//	meshpass:
//	  kumaVersion: "3.0"              # or 2.13, 2.14.6, ...; without it: every version
//	  keySources:                     # none; further public keys, which may change: see KeySource
//	  - tokens: dataplane             # or zone
//	    everyMesh: true               # or a mesh
//	    jwksURL: https://idp.example.com/keys
//	    issuer: https://idp.example.com # what the tokens must say
//	    audience: mesh
//	    type: at+jwt                  # without it: JWT
//	    lowerCase: false              # true accepts claims in lower case
//	    anyIssuer: false              # true waives the issuer
//	    anyAudience: false            # true waives the audience
//	  - tokens: zone
//	    jwksFile: /keys/zones.json
//	  - tokens: dataplane
//	    mesh: default
//	    kid: key-3
//	    keyFile: /keys/key-3.pem      # or key
//	  maxLineage: 8760h               # without it: issuers renew nothing
//	environment: universal            # or kubernetes
//	mode: global                      # or zone, standalone
//	dpServer:
//	  authn:
//	    enableReloadableTokens: false # see Config.ReloadableTokens
//	    dpProxy:
//	      type: ""                    # dpToken, serviceAccountToken or none; see Config.DPProxyType
//	      dpToken:
//	        enableIssuer: true
//	        validator:
//	          useSecrets: true        # the keys of the store
//	          publicKeys:             # none; keys for tokens that are signed offline
//	          - kid: key-1            # or a number
//	            mesh: default         # without it: every mesh
//	            keyFile: /keys/key-1.pem
//	    zoneProxy:                    # not in 3.0
//	      type: ""                    # zoneToken, serviceAccountToken or none; see Config.ZoneProxyType
//	      zoneToken:
//	        enableIssuer: true
//	        validator:
//	          useSecrets: true
//	          publicKeys:
//	          - kid: key-2
//	            key: |
//	              -----BEGIN PUBLIC KEY-----
//	              ...
//	dataplaneRuntime:                 # of a proxy: one of the two
//	  dataplaneToken: ...
//	  dataplaneTokenPath: /var/run/token
//	multizone:
//	  global:
//	    kds:
//	      auth:
//	        type: zoneToken           # or none
//	        zoneToken:
//	          enableIssuer: true
//	          validator:
//	            useSecrets: true
//	            publicKeys: []
//	  zone:
//	    globalAddress: grpcs://global:5685
//	    kds:
//	      auth:                       # of the two, tokenPath takes precedence
//	        tokenInline: ...
//	        tokenPath: /var/run/token
//
// # Reading
//
// [Read] reads JSON and variables, and checks the configuration:
//
//	c, err := config.Read(document, os.LookupEnv)
//	c.LogReadings(slog.Default())
//
// For YAML use a library of your choice. It calls Config's own method, which is as
// strict as Read, but for names that are there twice: gopkg.in/yaml.v3 refuses them, while
// gopkg.in/yaml.v2 and sigs.k8s.io/yaml, as in Kuma, take the last one:
//
//	c := config.Default()
//	err := yaml.Unmarshal(document, &c)
//	err = c.ApplyEnvironment(os.LookupEnv)
//	err = c.Check()
//	c.LogReadings(slog.Default())
//
// The document may be the configuration file of a control plane of Kuma 2.10 to 3.0. What
// is not about authentication is passed over. Every other name is an error, since a
// misspelt section would lose all its settings: also a setting of a Kuma that is newer
// than this package. Of the section kmesh, only multizone is read.
//
// To read these settings from a larger document, put a Config into your own structs. Or
// embed [DPProxy], [ZoneProxy] or another section, and copy it into a Config; then your
// library decides how strict it is, and only the names above are known.
//
// The error lists all problems, each with the path of its entry:
//
//	config: dpServer.authn.dpProxy.dpToken.validator.publicKeys[1] (kid "key-1"): both key and keyFile are set, want one of them
//	config: multizone.global.kds.auth.type (from KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE): found "konnect", want one of zoneToken, none
//
// # Versions of Kuma
//
// The names above are those of Kuma and Kong Mesh 3.0. These are read too, and set the
// same fields:
//
//	Kong Mesh 2.x                                      2.14.6 and later
//	kmesh.multizone.global.kds.auth.type: cpToken      multizone.global.kds.auth.type: zoneToken
//	kmesh.multizone.global.kds.auth.cpToken            multizone.global.kds.auth.zoneToken
//	kmesh.multizone.zone.kds.auth.cpTokenInline        multizone.zone.kds.auth.tokenInline
//	kmesh.multizone.zone.kds.auth.cpTokenPath          multizone.zone.kds.auth.tokenPath
//
// The fields of [Config] name their variables. A variable overrides the document under
// the same name. If a setting has two values under its two names, [Config.Check] returns
// an error that names both: none of them takes precedence.
//
// Say with meshpass.kumaVersion which version the configuration is written for. Then a
// name that this version does not read is an error too. That prevents the one mistake
// that opens a mesh: Kong Mesh 3.0 ignores kmesh.multizone in a document, so a global
// control plane that is configured there authenticates no zone. For the same reason a
// global control plane, whose mode is global, must say how zones authenticate; Check has
// the rules.
//
// The version also says what the token of a proxy is compared with: its inbounds in 2.x,
// its labels in 3.0. See [Config.NewProxyAuthenticator].
//
// [Config.Readings] returns which name was read and where. Its warnings name what is
// deprecated and who is not authenticated. [Config.LogReadings] logs it: do that at the
// start. Neither contains a value.
//
// # Using
//
// A control plane authenticates proxies, and issues tokens:
//
//	proxies, err := c.NewProxyAuthenticator(store) // a dataplane.Authenticator, as grpcauth/xdsauth takes it
//	defer proxies.Close()
//	issuer, err := c.NewDataplaneIssuer(store)
//
// A global control plane authenticates zones. NewKDSValidator returns an error unless the
// type is zoneToken:
//
//	validator, err := c.NewKDSValidator(store)
//	defer validator.Close()
//	auth := grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP)
//	options, err := grpcauth.ServerOptions(auth)
//
// A zone presents its token. The credentials read the file at each call:
//
//	auth := c.Multizone.Zone.KDS.Auth
//	if auth.TokenPath != "" { // takes precedence
//		creds, err = grpcauth.NewTokenFileCredentials(auth.TokenPath)
//	} else {
//		creds, err = grpcauth.NewTokenCredentials(auth.TokenInline.Reveal())
//	}
//
// # Differences from Kuma
//
// Files of keys are read again when they change, and a key that is gone ends the sessions
// of its tokens: Kuma reads them at the start. A file that cannot be read later leaves the
// last key in use until dataplane.WithMaxStale has passed.
//
// Check refuses the same kid twice for one mesh, an empty list of keys with useSecrets
// false, a path with an element "..", also where Kuma would shorten the path, and under
// the old names a token together with its path. A token for an address without TLS is
// refused under the old names too. An empty variable counts as not set. A key for one
// mesh takes precedence over a key with the same kid for every mesh. Kong Mesh's type
// konnect is not supported. The issuer of zone tokens is enabled only if it is enabled
// for control planes and for zone proxies.
package config
