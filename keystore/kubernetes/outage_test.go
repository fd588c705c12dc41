package kubernetes_test

import (
	"context"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

var outage = flag.Duration("outage", time.Second, "how long the API server stays away, beside the time of its start, when it is killed")

func TestStoreLosesNothingAcknowledgedWhenTheAPIServerIsKilled(t *testing.T) {
	c := theCluster(t)
	storetest.Outage(t, c.newNamespace(t).open, storetest.Fault{Break: c.Kill, Mend: c.Start, For: *outage})
}

func TestStoreKnowsNothingWithoutAnAPIServer(t *testing.T) {
	n := theCluster(t).newNamespace(t)
	p, config := throughProxy(t, n.controlPlane)
	var store keystore.KeyStore = newStore(t, config, n.name)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("key")})
	require.NoError(t, err)
	p.cut()
	for what, call := range map[string]func(context.Context) error{
		"Get":  func(ctx context.Context) error { _, err := store.Get(ctx, "default", "key-1"); return err },
		"List": func(ctx context.Context) error { _, err := store.List(ctx, "default", ""); return err },
		"Create": func(ctx context.Context) error {
			_, err := store.Create(ctx, keystore.Record{Name: "key-2"})
			return err
		},
		"Update": func(ctx context.Context) error { _, err := store.Update(ctx, r); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "default", "key-1") },
		"Watch": func(ctx context.Context) error {
			return store.(keystore.Watcher).Watch(ctx, func(keystore.Scope) { t.Error("a change was announced") })
		},
	} {
		t.Run(what, func(t *testing.T) {
			err := call(t.Context())
			require.Error(t, err)
			require.False(t, isContract(err), "%v", err)
			require.NotContains(t, err.Error(), "BEGIN")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(errors.New("enough"))
			require.ErrorIs(t, call(ctx), context.Canceled)
		})
	}
}
