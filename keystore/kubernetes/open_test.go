package kubernetes_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/kubernetes"
)

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	_, err := kubernetes.Open(nil, "kuma-system")
	require.ErrorContains(t, err, "config is nil")
	_, err = kubernetes.Open(&rest.Config{}, "")
	require.ErrorContains(t, err, "the namespace is empty")
	_, err = kubernetes.Open(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAFile: "/no/such/file"}}, "kuma-system")
	require.ErrorContains(t, err, "cannot open a store")
}

func TestAnOpenedStoreNoticesSoonThatItsConnectionHasDied(t *testing.T) {
	t.Parallel() // it waits for most of its time
	n := theCluster(t).newNamespace(t)
	p, config := throughProxy(t, n.controlPlane)
	store := opener(config, n.name)(t)
	w := watch(t, store)
	w.next(t, keystore.AllScopes)
	p.freeze()
	began := time.Now()
	select {
	case err := <-w.ended:
		require.Error(t, err)
		require.Less(t, time.Since(began), 25*time.Second, "15 s is the goal, client-go by itself takes 45 s")
	case <-time.After(patience):
		require.Fail(t, "the watch has not ended")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := store.List(ctx, keystore.AllScopes, "")
	require.NoError(t, err)
}

func TestAnOpenedStoreShowsTheProgressOfALongList(t *testing.T) {
	n := theCluster(t).newNamespace(t)
	store := opener(n.controlPlane, n.name)(t)
	for _, name := range []string{"key-1", "key-2"} {
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: name, Data: make([]byte, 500_000)})
		require.NoError(t, err)
	}
	steps := 0
	_, err := store.List(keystore.WithProgress(t.Context(), func() { steps++ }), "default", "")
	require.NoError(t, err)
	require.Greater(t, steps, 2)
}
