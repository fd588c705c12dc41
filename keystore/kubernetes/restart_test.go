package kubernetes_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/keystore"
)

// An API server that has started anew has no older states in its memory.
func TestStoreOnAnAPIServerThatHasForgottenOlderStates(t *testing.T) {
	c := theCluster(t)
	n := c.newNamespace(t)
	_, err := n.open(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	c.Compact(t)
	c.Kill(t)
	c.Start(t)

	t.Run("begins a list of mesh default anew", func(t *testing.T) {
		var exact atomic.Int64
		store := newStore(t, through(n.validator, func(r *http.Request) {
			if r.URL.Query().Get("resourceVersionMatch") == "Exact" && exact.Add(1) == 1 {
				set(r, "resourceVersion", "1")
			}
		}), n.name)
		records, err := store.List(t.Context(), "default", "")
		require.NoError(t, err)
		require.Equal(t, []string{"default/key-1"}, ids(records))
		require.EqualValues(t, 2, exact.Load())
	})

	t.Run("loses a watch that fell too far behind, and Follow begins anew", func(t *testing.T) {
		behind := func() *rest.Config {
			var requests atomic.Int64
			return through(n.validator, func(r *http.Request) {
				if isWatch(r) {
					set(r, "timeoutSeconds", "2")
					if requests.Add(1) == 3 {
						set(r, "resourceVersion", "1")
					}
				}
			})
		}
		w := watch(t, newStore(t, behind(), n.name))
		w.next(t, keystore.AllScopes)
		select {
		case err := <-w.ended:
			require.True(t, apierrors.IsResourceExpired(err) || apierrors.IsGone(err), "%v", err)
			require.ErrorContains(t, err, "kubernetes: the watch was lost: ")
		case <-time.After(patience):
			require.Fail(t, "the watch has not ended")
		}

		f := follow(t, newStore(t, behind(), n.name))
		f.next(t, keystore.AllScopes)
		f.next(t, keystore.AllScopes)
		_, err := n.open(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
		require.NoError(t, err)
		f.next(t, "default")
	})
}
