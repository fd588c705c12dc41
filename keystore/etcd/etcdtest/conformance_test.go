package etcdtest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

func TestStoreConformsOnOneMember(t *testing.T) { conforms(t, startCluster(t, 1)) }

func TestStoreConformsOnThreeMembers(t *testing.T) { conforms(t, startCluster(t, 3, calm)) }

func conforms(t *testing.T, c *cluster) {
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			prefix := newPrefix()
			return keystoretest.Storage{
				Open: func(t *testing.T) keystore.KeyStore { return open(t, c.config(), etcd.WithPrefix(prefix)) },
				Spoil: func(t *testing.T, scope keystore.Scope, name string) {
					folder := "global/"
					if scope != keystore.Global {
						folder = "meshes/" + string(scope) + "/"
					}
					_, err := connect(t, c.config()).Put(t.Context(), prefix+folder+name, "meshpass/2 secret\nsecret")
					require.NoError(t, err)
				},
			}
		},
		MaxData: etcd.MaxData,
	})
}
