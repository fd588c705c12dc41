package kubernetes_test

import (
	"os"
	"strings"
	"testing"

	"github.com/meshpass/meshpass/internal/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

func TestMain(m *testing.M) {
	if storetest.Child(openStorage) {
		return
	}
	os.Exit(m.Run())
}

// The users have the roles of rbac.yaml and no others.
func TestStoreKeepsTheContract(t *testing.T) {
	c := newCluster(t)
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			n := c.newNamespace(t)
			return keystoretest.Storage{
				Open:         func(t *testing.T) keystore.KeyStore { return n.open(t) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore { return n.openReadOnly(t) },
			}
		},
		MaxData:       1 << 20,
		FlatNamespace: true,
		Takes:         takes,
	})
}

// takes says which records Kubernetes can hold, by its documentation: names are
// lower-case RFC 1123 subdomains, and meshes are values of labels.
func takes(scope keystore.Scope, name string) bool {
	alphanumeric := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || !alphanumeric(part[0]) || !alphanumeric(part[len(part)-1]) {
			return false
		}
	}
	return name == strings.ToLower(name) && !strings.Contains(name, "_") &&
		(scope == keystore.Global || len(scope) <= 63 && alphanumeric(scope[len(scope)-1]))
}

func TestTokens(t *testing.T) {
	c := newCluster(t)
	t.Run("live on two replicas", func(t *testing.T) {
		n := c.newNamespace(t)
		storetest.LifeOfAToken(t, n.open)
	})
	t.Run("are of one first key, though many processes make it", func(t *testing.T) {
		n := c.newNamespace(t)
		storetest.ManyProcessesMakeOneFirstKey(t, n.storage(t), n.open)
	})
	t.Run("are revoked on another replica", func(t *testing.T) {
		n := c.newNamespace(t)
		storetest.ARevocationEndsASessionOfAnotherReplica(t, n.open)
	})
}
