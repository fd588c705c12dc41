// Package config makes authenticators and issuers from a configuration whose settings
// and variables have the names that Kuma and Kong Mesh document.
//
// These are all the settings, as YAML, with their defaults where there is one:
//
//	environment: universal            # or kubernetes
//	dpServer:
//	  authn:
//	    enableReloadableTokens: false # see Config.ReloadableTokens
//	    dpProxy:
//	      type: ""                    # dpToken, serviceAccountToken or none; by the environment
//	      dpToken:
//	        enableIssuer: true
//	        validator:
//	          useSecrets: true        # the keys of the store
//	          publicKeys:             # none; keys of tokens that were signed offline
//	          - kid: key-1
//	            mesh: default         # without it: of every mesh
//	            keyFile: /keys/key-1.pem
//	    zoneProxy:
//	      type: ""                    # zoneToken, serviceAccountToken or none; by the environment
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
//	kmesh:
//	  multizone:
//	    global:
//	      kds:
//	        auth:
//	          type: none              # or cpToken
//	          cpToken:
//	            validator:
//	              useSecrets: true
//	              publicKeys: []
//	    zone:
//	      kds:
//	        auth:                     # one of the two
//	          cpTokenInline: ...
//	          cpTokenPath: /var/run/token
//
// # Reading
//
// [Read] takes JSON and variables, and checks what they say. For YAML use a library of
// your choice; the structs have tags for it, and the library should be told to refuse
// unknown names:
//
//	c := config.Default()
//	err := yaml.Unmarshal(document, &c)
//	err = c.ApplyEnvironment(os.LookupEnv)
//	err = c.Check()
//
// Settings of a larger document are read by embedding [DPProxy], [ZoneProxy] or another
// section in structs of your own, and copying it into a Config.
//
// What is wrong is reported all at once, each with the path of its entry:
//
//	config: dpServer.authn.dpProxy.dpToken.validator.publicKeys[1] (kid "key-1"): both key and keyFile are set, want one of them
//	config: kmesh.multizone.global.kds.auth.type: found "konnect", want one of cpToken, none
//
// # Using
//
// A control plane lets proxies in, and issues tokens:
//
//	proxies, err := c.NewProxyAuthenticator(store) // a dataplane.Authenticator, as grpcauth/xdsauth takes it
//	defer proxies.Close()
//	issuer, err := c.NewDataplaneIssuer(store)
//
// A global control plane lets zones in:
//
//	if c.KMesh.Multizone.Global.KDS.Auth.Type == config.TypeCPToken {
//		validator, err := c.NewKDSValidator(store)
//		defer validator.Close()
//		intercept, err := grpcauth.StreamServerInterceptor(grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP))
//	}
//
// A zone presents its token. The file is read again at each call:
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
// A kid that is there twice for one mesh, and an empty list of keys with useSecrets
// false, are refused. A key of a mesh comes before one of the same kid for every mesh.
// A token and its path may not both be set. Kong Mesh's type konnect, and cpToken's
// enableIssuer, are not supported.
package config
