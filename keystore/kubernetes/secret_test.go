package kubernetes_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/kubernetes"
)

func TestNewRefusesANilClient(t *testing.T) {
	_, err := kubernetes.New(nil)
	require.ErrorContains(t, err, "the client of Secrets is nil")
}

func TestReadmeShowsTheRolesThatTheTestsRunWith(t *testing.T) {
	manifest, err := os.ReadFile("rbac.yaml")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), "\n```yaml\n"+string(manifest)+"```\n")
}

func TestSecrets(t *testing.T) {
	c := theCluster(t)

	t.Run("are of the form that Kuma gives them", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		_, err := store.Create(t.Context(), keystore.Record{Scope: "Prod", Name: "dataplane-token-signing-key-Prod-1", Data: []byte("a")})
		require.ErrorIs(t, err, keystore.ErrName)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "prod", Name: "dataplane-token-signing-key-prod-1", Data: []byte("key")})
		require.NoError(t, err)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "dataplane-token-revocations-default", Data: []byte("ids")})
		require.NoError(t, err)
		_, err = store.Create(t.Context(), keystore.Record{Name: "zone-token-signing-key-1", Data: []byte("zone key")})
		require.NoError(t, err)

		for name, want := range map[string]*corev1.Secret{
			"dataplane-token-signing-key-prod-1":  kumaSecret("prod", "key"),
			"dataplane-token-revocations-default": kumaSecret("default", "ids"),
			"zone-token-signing-key-1":            {Type: "system.kuma.io/global-secret", Data: map[string][]byte{"value": []byte("zone key")}},
		} {
			got := n.get(t, name)
			require.Equal(t, want.Type, got.Type)
			require.Equal(t, want.Labels, got.Labels) // Kuma refuses a global Secret with a mesh
			require.Equal(t, want.Data, got.Data)
			require.Empty(t, got.Annotations)
			require.Empty(t, got.OwnerReferences)
			require.Nil(t, got.Immutable)
		}
	})

	t.Run("that Kuma made are records, and keep all but the value in an update", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		secret := kumaSecret("prod", "key")
		secret.Name = "dataplane-token-signing-key-prod-1"
		secret.Labels["kuma.io/origin"] = "global"
		secret.Annotations = map[string]string{"kuma.io/display-name": "dataplane-token-signing-key-prod-1"}
		secret.OwnerReferences = []metav1.OwnerReference{{APIVersion: "kuma.io/v1alpha1", Kind: "Mesh", Name: "prod", UID: "some-uid"}}
		secret.Data["other"] = []byte("other")
		secret = n.create(t, secret)

		r, err := store.Get(t.Context(), "prod", secret.Name)
		require.NoError(t, err)
		require.Equal(t, "key", string(r.Data))
		require.True(t, r.Created.Equal(secret.CreationTimestamp.Time))
		r.Data = []byte("new key")
		r, err = store.Update(t.Context(), r)
		require.NoError(t, err)

		got := n.get(t, secret.Name)
		require.Equal(t, r.Version, got.ResourceVersion)
		require.Equal(t, map[string][]byte{"value": []byte("new key"), "other": []byte("other")}, got.Data)
		require.Equal(t, secret.Labels, got.Labels)
		require.Equal(t, secret.Annotations, got.Annotations)
		require.Equal(t, secret.OwnerReferences, got.OwnerReferences)
		require.Equal(t, secret.Type, got.Type)
	})

	for what, labels := range map[string]map[string]string{
		"without a mesh label":      {"some": "label"},
		"without any label":         nil,
		"with an empty mesh label":  {"kuma.io/mesh": ""},
		"with the label of default": {"kuma.io/mesh": "default"},
	} {
		t.Run(what+" belong to mesh default", func(t *testing.T) {
			n := c.newNamespace(t)
			store := n.open(t)
			_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "a", Data: []byte("a")})
			require.NoError(t, err)
			_, err = store.Create(t.Context(), keystore.Record{Scope: "prod", Name: "b", Data: []byte("b")})
			require.NoError(t, err)
			n.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key-1", Labels: labels}, Type: "system.kuma.io/secret", Data: map[string][]byte{"value": []byte("key")}})

			r, err := store.Get(t.Context(), "default", "key-1")
			require.NoError(t, err)
			require.Equal(t, "key", string(r.Data))
			listed, err := store.List(t.Context(), "default", "")
			require.NoError(t, err)
			require.Equal(t, []string{"default/a", "default/key-1"}, ids(listed))
			listed, err = store.List(t.Context(), keystore.AllScopes, "")
			require.NoError(t, err)
			require.Equal(t, []string{"default/a", "default/key-1", "prod/b"}, ids(listed))
			_, err = store.Get(t.Context(), keystore.Global, "key-1")
			require.ErrorIs(t, err, keystore.ErrNotFound)
			_, err = store.Create(t.Context(), keystore.Record{Scope: "prod", Name: "key-1"})
			require.ErrorIs(t, err, keystore.ErrNameTaken)
			require.ErrorContains(t, err, `scope "default" has it`)

			watched := watch(t, n.open(t))
			watched.next(t, keystore.AllScopes)
			r.Data = []byte("new key")
			_, err = store.Update(t.Context(), r)
			require.NoError(t, err)
			watched.next(t, "default")
			require.Equal(t, labels, n.get(t, "key-1").Labels)
			require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
			watched.next(t, "default")
			n.wantMissing(t, "key-1")
		})
	}

	t.Run("of mesh default are listed as of one moment, with a label or without", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		labelled, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "a", Data: []byte("0")})
		require.NoError(t, err)
		n.create(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "z"}, Type: "system.kuma.io/secret", Data: map[string][]byte{"value": []byte("0")}})
		bare, err := store.Get(t.Context(), "default", "z")
		require.NoError(t, err)

		reader := newStore(t, through(n.validator, func(r *http.Request) {
			if r.URL.Query().Get("labelSelector") != "!kuma.io/mesh" {
				return
			}
			for _, r := range []*keystore.Record{&labelled, &bare} { // between the two lists
				r.Data = append(r.Data, '+')
				*r, err = store.Update(t.Context(), *r)
				require.NoError(t, err)
			}
		}), n.name)
		for range 3 {
			records, err := reader.List(t.Context(), "default", "")
			require.NoError(t, err)
			require.Equal(t, []string{"default/a", "default/z"}, ids(records))
			require.Equal(t, string(records[0].Data), string(records[1].Data))
		}
		require.Len(t, labelled.Data, 4)
	})

	t.Run("of others are left alone", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		other := n.create(t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "key-1", Labels: map[string]string{"kuma.io/mesh": "default"}},
			Data:       map[string][]byte{"value": []byte("of others")},
		})
		for _, scope := range []keystore.Scope{"default", keystore.Global} {
			_, err := store.Get(t.Context(), scope, "key-1")
			require.ErrorIs(t, err, keystore.ErrNotFound)
			_, err = store.Update(t.Context(), keystore.Record{Scope: scope, Name: "key-1", Version: other.ResourceVersion})
			require.ErrorIs(t, err, keystore.ErrNotFound)
			require.NoError(t, store.Delete(t.Context(), scope, "key-1"))
			listed, err := store.List(t.Context(), scope, "")
			require.NoError(t, err)
			require.Empty(t, listed)
			_, err = store.Create(t.Context(), keystore.Record{Scope: scope, Name: "key-1", Data: []byte("mine")})
			require.ErrorIs(t, err, keystore.ErrNameTaken)
			require.ErrorContains(t, err, `a Secret of type "Opaque" has it`)
		}
		require.Equal(t, other, n.get(t, "key-1"))
	})

	t.Run("that are immutable are not updated, and can be deleted", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		secret := kumaSecret("default", "key")
		immutable := true
		secret.Name, secret.Immutable = "key-1", &immutable
		n.create(t, secret)
		r, err := store.Get(t.Context(), "default", "key-1")
		require.NoError(t, err)
		_, err = store.Update(t.Context(), r)
		require.ErrorContains(t, err, "the Secret is marked as immutable")
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
		n.wantMissing(t, "key-1")
	})

	for what, data := range map[string]map[string][]byte{
		"without data":              nil,
		"with another data key":     {"values": []byte("some-id")},
		"with two other data keys":  {"values": []byte("some-id"), "Value": []byte("some-id")},
		"that was made from a file": {"value.pem": []byte("some-id")},
	} {
		t.Run(what+" are unreadable records, and nothing else is", func(t *testing.T) {
			n := c.newNamespace(t)
			storetest.OneUnreadableRecordIsOneUnreadableRecord(t, n.open, func(tb testing.TB, _ keystore.Scope, name string) {
				secret := n.get(t, name)
				secret.Data = data
				_, err := n.secrets.Update(tb.Context(), secret, metav1.UpdateOptions{})
				require.NoError(tb, err)
			})
		})
	}

	t.Run("without a value are named with the reason, and can be repaired", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		secret := kumaSecret("default", "key")
		secret.Name, secret.Data = "dataplane-token-revocations-default", map[string][]byte{"values": []byte("some-id")}
		secret = n.create(t, secret)
		const problem = `Secret "dataplane-token-revocations-default" has no "value" in its data`
		_, err := store.Get(t.Context(), "default", secret.Name)
		require.ErrorContains(t, err, problem)
		for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
			_, err = store.List(t.Context(), scope, "dataplane-token-")
			require.ErrorContains(t, err, problem)
			_, err = store.List(t.Context(), scope, "dataplane-token-signing-key-")
			require.NoError(t, err)
		}
		secret.Data["value"] = []byte("some-id")
		_, err = n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
		require.NoError(t, err)
		got, err := store.Get(t.Context(), "default", secret.Name)
		require.NoError(t, err)
		require.Equal(t, "some-id", string(got.Data))
	})

	for what, labels := range map[string]map[string]string{"without a mesh label": nil, "with an empty mesh label": {"kuma.io/mesh": ""}} {
		t.Run("with the list of another mesh than default, "+what+", cannot be read", func(t *testing.T) {
			n := c.newNamespace(t)
			store := n.open(t)
			secret := kumaSecret("", "some-id")
			secret.Name, secret.Labels = "dataplane-token-revocations-prod", labels
			n.create(t, secret)
			key := kumaSecret("", "key")
			key.Name, key.Labels = "dataplane-token-signing-key-prod-1", labels
			n.create(t, key) // which is ignored, as a key of mesh default with the name of another
			w := watch(t, n.openReadOnly(t))
			w.next(t, keystore.AllScopes)

			const problem = `no label kuma.io/mesh, want it with the value "prod"`
			for _, scope := range []keystore.Scope{"prod", "default"} {
				_, err := store.Get(t.Context(), scope, secret.Name)
				require.ErrorIs(t, err, keystore.ErrScopeUnknown)
				require.ErrorContains(t, err, problem)
			}
			for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
				records, err := store.List(t.Context(), scope, "dataplane-token-")
				require.Equal(t, []string{"default/dataplane-token-signing-key-prod-1"}, ids(records))
				unreadable, other := keystore.SplitUnreadable(err)
				require.NoError(t, other)
				require.Len(t, unreadable, 1)
				require.ErrorIs(t, unreadable[0], keystore.ErrScopeUnknown)
				require.ErrorContains(t, unreadable[0], problem)
				_, err = store.List(t.Context(), scope, "dataplane-token-signing-key-")
				require.NoError(t, err)
			}
			_, err := store.Create(t.Context(), keystore.Record{Scope: "prod", Name: secret.Name})
			require.ErrorIs(t, err, keystore.ErrNameTaken)
			require.ErrorContains(t, err, problem)
			require.ErrorContains(t, dataplane.Revoke(t.Context(), store, "prod", "other-id"), problem)
			_, err = store.Update(t.Context(), keystore.Record{Scope: "default", Name: secret.Name, Version: n.get(t, secret.Name).ResourceVersion})
			require.ErrorContains(t, err, problem)

			label := func(labels map[string]string) {
				t.Helper()
				secret := n.get(t, secret.Name)
				secret.Labels = labels
				_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
				require.NoError(t, err)
			}
			label(map[string]string{"kuma.io/mesh": "prod"})
			w.next(t, "default")
			w.next(t, "prod")
			records, err := store.List(t.Context(), "prod", "")
			require.NoError(t, err)
			require.Equal(t, []string{"prod/dataplane-token-revocations-prod"}, ids(records))
			label(labels)
			w.next(t, "prod")
			w.next(t, "default")
			require.NoError(t, store.Delete(t.Context(), "default", secret.Name))
			n.wantMissing(t, secret.Name)
		})
	}

	t.Run("with a list whose mesh cannot be told leave that mesh unanswered, also after a restart, and no other", func(t *testing.T) {
		n := c.newNamespace(t)
		storetest.OneListWithoutAScopeConcernsItsMesh(t, n.open, func(tb testing.TB, scope keystore.Scope, name string) {
			secret := n.get(t, name)
			delete(secret.Labels, "kuma.io/mesh")
			_, err := n.secrets.Update(tb.Context(), secret, metav1.UpdateOptions{})
			require.NoError(tb, err)
		})
	})

	t.Run("that finalizers keep are not said to be deleted", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		secret := kumaSecret("default", "key")
		secret.Name, secret.Finalizers = "key-1", []string{"example.com/backup"}
		n.create(t, secret)
		require.ErrorContains(t, store.Delete(t.Context(), "default", "key-1"), `its finalizers ["example.com/backup"] keep it`)
		secret = n.get(t, "key-1")
		secret.Finalizers = nil
		_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
		require.NoError(t, err)
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
		n.wantMissing(t, "key-1")
	})

	t.Run("are at most 1 MiB with what others put into them", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		secret := kumaSecret("default", "key")
		secret.Name, secret.Data["other"] = "key-1", make([]byte, 1000)
		n.create(t, secret)
		r, err := store.Get(t.Context(), "default", "key-1")
		require.NoError(t, err)
		r.Data = make([]byte, 1<<20-999)
		_, err = store.Update(t.Context(), r)
		require.ErrorIs(t, err, keystore.ErrTooLarge)
		require.ErrorContains(t, err, "with its other data the Secret would have 1048577 bytes, the limit is 1048576")
		r.Data = r.Data[1:]
		_, err = store.Update(t.Context(), r)
		require.NoError(t, err)
	})

	t.Run("that became another scope's meanwhile are not deleted", func(t *testing.T) {
		n := c.newNamespace(t)
		secret := kumaSecret("default", "key")
		secret.Name = "key-1"
		n.create(t, secret)
		before := before(n.controlPlane, http.MethodDelete, func() {
			secret := n.get(t, "key-1")
			secret.Labels["kuma.io/mesh"] = "prod"
			_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			require.NoError(t, err)
		})
		require.NoError(t, newStore(t, before, n.name).Delete(t.Context(), "default", "key-1"))
		require.Equal(t, "prod", n.get(t, "key-1").Labels["kuma.io/mesh"])
	})

	t.Run("that changed meanwhile are deleted all the same", func(t *testing.T) {
		n := c.newNamespace(t)
		secret := kumaSecret("default", "key")
		secret.Name = "key-1"
		n.create(t, secret)
		before := before(n.controlPlane, http.MethodDelete, func() {
			secret := n.get(t, "key-1")
			secret.Data["value"] = []byte("new key")
			_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			require.NoError(t, err)
		})
		require.NoError(t, newStore(t, before, n.name).Delete(t.Context(), "default", "key-1"))
		n.wantMissing(t, "key-1")
	})

	t.Run("that the API server refuses to delete though nothing has changed are errors", func(t *testing.T) {
		n := c.newNamespace(t)
		secret := kumaSecret("default", "key")
		secret.Name = "key-1"
		n.create(t, secret)
		// The API server answers as it would to a change, each time.
		refused := through(n.controlPlane, func(r *http.Request) {
			if r.Method == http.MethodDelete {
				const body = `{"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "of-another"}}`
				r.Header.Set("Content-Type", "application/json")
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		err := newStore(t, refused, n.name).Delete(ctx, "default", "key-1")
		require.ErrorContains(t, err, `cannot delete "key-1" in scope "default"`)
		require.NoError(t, ctx.Err(), "it asks again and again")
		n.get(t, "key-1")
	})

	t.Run("that changed meanwhile are not updated", func(t *testing.T) {
		n := c.newNamespace(t)
		r, err := n.open(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("key")})
		require.NoError(t, err)
		before := before(n.controlPlane, http.MethodPut, func() {
			secret := n.get(t, "key-1")
			secret.Data["value"] = []byte("of another writer")
			_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			require.NoError(t, err)
		})
		_, err = newStore(t, before, n.name).Update(t.Context(), r)
		require.ErrorIs(t, err, keystore.ErrConflict)
		require.Equal(t, "of another writer", string(n.get(t, "key-1").Data["value"]))
	})

	t.Run("whose names become free meanwhile are created", func(t *testing.T) {
		n := c.newNamespace(t)
		store := n.open(t)
		_, err := store.Create(t.Context(), keystore.Record{Scope: "prod", Name: "key-1", Data: []byte("key")})
		require.NoError(t, err)
		before := before(n.controlPlane, http.MethodGet, func() {
			require.NoError(t, store.Delete(t.Context(), "prod", "key-1"))
		})
		_, err = newStore(t, before, n.name).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("key")})
		require.NoError(t, err)
	})

	t.Run("cannot be created in a namespace that is terminating, which is not a store that is read-only", func(t *testing.T) {
		n := c.newNamespace(t)
		require.NoError(t, coreClient(t, c.admin).Namespaces().Delete(t.Context(), n.name, metav1.DeleteOptions{}))
		store := n.open(t)
		var err error
		require.Eventually(t, func() bool { // the API server hears of it by a watch of its own
			_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
			require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
			return err != nil
		}, patience, tick)
		require.False(t, isContract(err), "%v", err)
		require.ErrorContains(t, err, "is being terminated")
	})

	t.Run("cannot be created in a namespace that is not there", func(t *testing.T) {
		store := newStore(t, c.admin, "no-such-namespace")
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		require.ErrorContains(t, err, `namespaces "no-such-namespace" not found`)
		require.False(t, isContract(err), "%v", err)
	})

	t.Run("that the user may not read are errors that say so", func(t *testing.T) {
		n := c.newNamespace(t)
		store := newStore(t, c.user(c.ClientCert(t, "nobody")), n.name)
		_, err := store.Get(t.Context(), "default", "key-1")
		require.ErrorContains(t, err, `User "nobody" cannot get resource "secrets"`)
		require.False(t, isContract(err))
		_, err = store.List(t.Context(), keystore.AllScopes, "")
		require.ErrorContains(t, err, `User "nobody" cannot list resource "secrets"`)
		require.False(t, isContract(err))
		err = store.Watch(t.Context(), func(keystore.Scope) { t.Error("a change was announced") })
		require.ErrorContains(t, err, `User "nobody" cannot list resource "secrets"`)
	})

	t.Run("that the user may not write are errors that say so", func(t *testing.T) {
		n := c.newNamespace(t)
		_, err := n.openReadOnly(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		require.ErrorIs(t, err, keystore.ErrReadOnly)
		require.ErrorContains(t, err, `User "system:serviceaccount:`+n.name+`:validator" cannot create resource "secrets"`)
	})
}

func TestStoreLearnsNothingOfRecordsFromAnAnswerThatIsNotOfAnAPIServer(t *testing.T) {
	proxy := httptest.NewServer(http.NotFoundHandler())
	defer proxy.Close()
	store := newStore(t, &rest.Config{Host: proxy.URL}, "kuma-system")
	_, err := store.Get(t.Context(), "default", "key-1")
	require.Error(t, err)
	require.False(t, isContract(err), "%v", err)
	_, err = store.List(t.Context(), "default", "")
	require.Error(t, err)
	require.Error(t, store.Delete(t.Context(), "default", "key-1"))
}

func TestStoreRefusesToWriteWhatKubernetesCannotHoldAndFindsNothingThere(t *testing.T) {
	secrets := secretsOf(t, &rest.Config{Host: "127.0.0.1:1"}, "default") // no request is made
	store, err := kubernetes.New(secrets)
	require.NoError(t, err)
	for _, bad := range []struct {
		scope      keystore.Scope
		name, says string
	}{
		{"default", "dataplane-token-signing-key-Prod-1", `Kubernetes cannot name a Secret "dataplane-token-signing-key-Prod-1": a lowercase RFC 1123 subdomain must consist of lower case`},
		{"default", "key_1", "must consist of lower case alphanumeric characters"},
		{"default", "key-1.", "must start and end with an alphanumeric character"},
		{"prod-", "key-1", `Kubernetes cannot label a Secret with mesh "prod-"`},
		{keystore.Scope(strings.Repeat("m", 64)), "key-1", "must be no more than 63"},
	} {
		for _, write := range []func(context.Context, keystore.Record) (keystore.Record, error){store.Create, store.Update} {
			_, err := write(t.Context(), keystore.Record{Scope: bad.scope, Name: bad.name})
			require.ErrorIs(t, err, keystore.ErrName)
			require.ErrorContains(t, err, bad.says)
		}
		_, err := store.Get(t.Context(), bad.scope, bad.name)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		require.NoError(t, store.Delete(t.Context(), bad.scope, bad.name))
	}
	records, err := store.List(t.Context(), "prod-", "")
	require.NoError(t, err)
	require.Empty(t, records)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: make([]byte, 1<<20+1)})
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	require.ErrorContains(t, err, "the limit is 1048576")
}

// kumaSecret returns a Secret of a mesh, as Kuma's documentation has it.
func kumaSecret(mesh, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"kuma.io/mesh": mesh}},
		Type:       "system.kuma.io/secret",
		Data:       map[string][]byte{"value": []byte(value)},
	}
}

func (n *namespace) create(t *testing.T, secret *corev1.Secret) *corev1.Secret {
	t.Helper()
	created, err := n.secrets.Create(t.Context(), secret, metav1.CreateOptions{})
	require.NoError(t, err)
	return created
}

func (n *namespace) get(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	secret, err := n.secrets.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return secret
}

func (n *namespace) wantMissing(t *testing.T, name string) {
	t.Helper()
	_, err := n.secrets.Get(t.Context(), name, metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func ids(records []keystore.Record) []string {
	var ids []string
	for _, r := range records {
		ids = append(ids, string(r.Scope)+"/"+r.Name)
	}
	return ids
}

// isContract reports whether the error is one of those that the contract names.
func isContract(err error) bool {
	for _, contract := range []error{keystore.ErrNotFound, keystore.ErrExists, keystore.ErrConflict, keystore.ErrReadOnly, keystore.ErrTooLarge, keystore.ErrName} {
		if errors.Is(err, contract) {
			return true
		}
	}
	return false
}

// before returns a configuration with which do is called before the first request
// of the method.
func before(config *rest.Config, method string, do func()) *rest.Config {
	var once sync.Once
	return through(config, func(r *http.Request) {
		if r.Method == method {
			once.Do(do)
		}
	})
}

// through returns a configuration whose requests are seen, and may be changed.
func through(config *rest.Config, see func(*http.Request)) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			see(r)
			return next.RoundTrip(r)
		})
	})
	return config
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }
