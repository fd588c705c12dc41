package config_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// A control plane that accepts tokens which were signed offline, and issues none.
func Example() {
	ctx := context.Background()
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "public.pem")
	if err := os.WriteFile(file, key.Public().PEM(), 0o600); err != nil {
		log.Fatal(err)
	}

	c, err := config.Read(fmt.Appendf(nil, `{"dpServer": {"authn": {"dpProxy": {
		"type": "dpToken",
		"dpToken": {
			"enableIssuer": false,
			"validator": {
				"useSecrets": false,
				"publicKeys": [{"kid": "key-1", "mesh": "default", "keyFile": %q}]
			}
		}
	}}}}`, file), os.LookupEnv)
	if err != nil {
		log.Fatal(err)
	}
	proxies, err := c.NewProxyAuthenticator(keystore.NewMemory()) // the store of revocations
	if err != nil {
		log.Fatal(err)
	}
	defer proxies.Close()

	offline, err := dataplane.NewOfflineIssuer(key, "key-1")
	if err != nil {
		log.Fatal(err)
	}
	issued, err := offline.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	session, err := proxies.Authenticate(ctx, issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"}))
	fmt.Println(session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-2"}))
	// Output:
	// <nil>
	// token does not permit this: the token's name is "dp-1", the proxy's is "dp-2"
}

// A global control plane moves from the names of 2.x to those of 3.0.
func ExampleConfig_Readings() {
	variables := map[string]string{
		"KUMA_MODE":                            "global",
		"KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE": "cpToken",
	}
	lookup := func(name string) (string, bool) { value, ok := variables[name]; return value, ok }
	c, err := config.Read(nil, lookup)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Multizone.Global.KDS.Auth.Type)
	for _, r := range c.Readings() {
		if r.Warning != "" {
			fmt.Printf("%s: %s\n", r.Name, r.Warning)
		}
	}

	variables["MESHPASS_KUMA_VERSION"] = "3.0"
	_, err = config.Read(nil, lookup)
	fmt.Println(err)
	// Output:
	// zoneToken
	// KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE: deprecated name, which Kuma 3.0 does not read: use multizone.global.kds.auth.type (variable KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE), where cpToken is called zoneToken
	// config: kmesh.multizone.global.kds.auth.type (from KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE): Kuma 3.0 does not read this; use multizone.global.kds.auth.type (variable KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE), where cpToken is called zoneToken, and remove this
}

// What is wrong is reported at once, each with the path of its entry.
func ExampleRead() {
	_, err := config.Read([]byte(`{
		"dpServer": {"authn": {"dpProxy": {"type": "dptoken", "dpToken": {"validator": {"publicKeys": [{"kid": "key-1"}]}}}}},
		"multizone": {"global": {"kds": {"auth": {"type": "konnect"}}}}
	}`), nil)
	fmt.Println(err)
	// Output:
	// config: dpServer.authn.dpProxy.type: found "dptoken", want one of dpToken, serviceAccountToken, none
	// config: multizone.global.kds.auth.type: found "konnect", want one of zoneToken, none
	// config: dpServer.authn.dpProxy.dpToken.validator.publicKeys[0] (kid "key-1"): neither key nor keyFile is set, want one of them
}
