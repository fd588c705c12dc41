package etcdtest

import (
	"testing"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

func TestStoreConformsOnOneMember(t *testing.T) { conforms(t, startCluster(t, 1)) }

func TestStoreConformsOnThreeMembers(t *testing.T) { conforms(t, startCluster(t, 3)) }

func conforms(t *testing.T, c *cluster) {
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			opener := c.opener()
			return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore { return opener(t) }}
		},
		MaxData: etcd.MaxData,
	})
}
