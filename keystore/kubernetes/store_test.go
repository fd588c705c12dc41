package kubernetes_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/signing"
)

func TestMain(m *testing.M) {
	if storetest.Child(openStorage) {
		return
	}
	os.Exit(m.Run())
}

// The service accounts have the roles of rbac.yaml and no others.
func TestStoreConforms(t *testing.T) {
	c := theCluster(t)
	n := c.newNamespace(t)
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			n.clear(t)
			return keystoretest.Storage{
				Open:         func(t *testing.T) keystore.KeyStore { return n.open(t) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore { return n.openReadOnly(t) },
				Spoil: func(t *testing.T, _ keystore.Scope, name string) {
					secret := n.get(t, name)
					secret.Data = map[string][]byte{"Value": secret.Data["value"]}
					_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
					require.NoError(t, err)
				},
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

func TestStoreServesTokensThroughTheirLife(t *testing.T) {
	storetest.LifeOfAToken(t, theCluster(t).newNamespace(t).open)
}

func TestStoreGivesManyProcessesOneFirstKey(t *testing.T) {
	n := theCluster(t).newNamespace(t)
	storetest.ManyProcessesMakeOneFirstKey(t, n.storage(t), n.open)
}

func TestStoreLetsARevocationEndASessionOfAnotherReplica(t *testing.T) {
	storetest.ARevocationEndsASessionOfAnotherReplica(t, theCluster(t).newNamespace(t).open)
}

func TestStoreNamesTheMeshThatHasTheNameOfANewKey(t *testing.T) {
	store := theCluster(t).newNamespace(t).open(t)
	for _, taken := range []string{"dataplane-token-signing-key-other-1", "dataplane-token-signing-key-default-2"} {
		// Of mesh other-1 or default-2, and without a serial.
		mesh := strings.TrimPrefix(taken, "dataplane-token-signing-key-")
		_, err := store.Create(t.Context(), keystore.Record{Scope: keystore.Scope(mesh), Name: taken, Data: []byte("key")})
		require.NoError(t, err)
	}
	_, err := dataplane.EnsureKey(t.Context(), store, "other")
	require.ErrorIs(t, err, keystore.ErrNameTaken)
	require.ErrorContains(t, err, `scope "other-1" has it`)
	_, err = dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	key, err := signing.NewPrivateKey(forge.Key())
	require.NoError(t, err)
	_, err = dataplane.AddKey(t.Context(), store, "default", key)
	require.ErrorIs(t, err, keystore.ErrNameTaken)
	require.ErrorContains(t, err, `scope "default-2" has it`)
	require.NotContains(t, err.Error(), "added it at the same time", "that would be worth another try")

	_, err = store.Create(t.Context(), keystore.Record{Name: "dataplane-token-revocations-default"})
	require.NoError(t, err)
	// Such a list is the one that counts for the mesh, and no second one can be made.
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", "some-id"))
	global, err := store.Get(t.Context(), keystore.Global, "dataplane-token-revocations-default")
	require.NoError(t, err)
	require.Equal(t, "some-id", string(global.Data))
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "dataplane-token-revocations-default"})
	require.ErrorIs(t, err, keystore.ErrNameTaken)
	require.ErrorContains(t, err, "the global scope has it")
}
