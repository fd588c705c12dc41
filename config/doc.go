// Package config makes authenticators and issuers from a configuration whose settings
// and variables have the names that Kuma and Kong Mesh document.
//
// These are all the settings, as YAML, with their defaults where there is one:
//
//	meshpass:
//	  kumaVersion: "3.0"              # or 2.13, 2.14.6, ...; without it: every version
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
// [Read] reads JSON and variables, and checks the configuration. For YAML use a library
// of your choice; the structs have tags for it. Make the library refuse unknown names:
//
//	c := config.Default()
//	err := yaml.Unmarshal(document, &c)
//	err = c.ApplyEnvironment(os.LookupEnv)
//	err = c.Check()
//
// To read these settings from a larger document, embed [DPProxy], [ZoneProxy] or another
// section in your own structs, and copy it into a Config.
//
// The error lists all problems, each with the path of its entry:
//
//	config: dpServer.authn.dpProxy.dpToken.validator.publicKeys[1] (kid "key-1"): both key and keyFile are set, want one of them
//	config: kmesh.multizone.global.kds.auth.type: found "konnect", want one of cpToken, none
//
// # Using
//
// A control plane authenticates proxies, and issues tokens:
//
//	proxies, err := c.NewProxyAuthenticator(store) // a dataplane.Authenticator, as grpcauth/xdsauth takes it
//	defer proxies.Close()
//	issuer, err := c.NewDataplaneIssuer(store)
//
// A global control plane authenticates zones:
//
//	if c.KMesh.Multizone.Global.KDS.Auth.Type == config.TypeCPToken {
//		validator, err := c.NewKDSValidator(store)
//		defer validator.Close()
//		intercept, err := grpcauth.StreamServerInterceptor(grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP))
//	}
//
// A zone presents its token. The credentials read the file at each call:
//
//	auth := c.KMesh.Multizone.Zone.KDS.Auth
//	if auth.CPTokenPath != "" {
//		creds, err = grpcauth.NewTokenFileCredentials(auth.CPTokenPath)
//	} else {
//		creds, err = grpcauth.NewTokenCredentials(auth.CPTokenInline.Reveal())
//	}
//
// # Differences from Kuma
//
// Check refuses the same kid twice for one mesh, an empty list of keys with useSecrets
// false, and a token together with its path. A key for one mesh takes precedence over a
// key with the same kid for every mesh. Kong Mesh's type konnect, and cpToken's
// enableIssuer, are not supported.
package config
