package keystore_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

const maxData = 64 << 20 // bytes of data that the memory store takes

func TestMemoryConforms(t *testing.T) {
	keystoretest.Run(t, keystoretest.Harness{
		New: func(*testing.T) keystoretest.Storage {
			store := keystore.NewMemory()
			return keystoretest.Storage{Open: func(*testing.T) keystore.KeyStore { return store }}
		},
		MaxData: maxData,
	})
}

func TestMemoryIsAnEmptyStoreAsItsZeroValue(t *testing.T) {
	var store keystore.Memory
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Empty(t, records)
	require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	assert.NoError(t, err)
}

func TestMemoryNeverGivesAVersionTwice(t *testing.T) {
	store := keystore.NewMemory()
	given := map[string]bool{}
	for range 5 {
		r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
		require.NoError(t, err)
		require.False(t, given[r.Version], "version %s after creating anew", r.Version)
		given[r.Version] = true

		r, err = store.Update(t.Context(), r)
		require.NoError(t, err)
		require.False(t, given[r.Version], "version %s after an update with the same data", r.Version)
		given[r.Version] = true

		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	}
}

func TestMemoryWritersNeverWaitForAWatcher(t *testing.T) {
	store := keystore.NewMemory()
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	called := make(chan keystore.Scope, 2000)
	var watch sync.WaitGroup
	watch.Go(func() {
		err := store.Watch(ctx, func(scope keystore.Scope) {
			called <- scope
			<-release
		})
		assert.ErrorIs(t, err, context.Canceled)
	})
	require.Equal(t, keystore.AllScopes, <-called)

	// The watcher hangs in its first call. A thousand changes of two scopes are made
	// all the same, and wait for it as two.
	for range 500 {
		for _, scope := range []keystore.Scope{"default", keystore.Global} {
			_, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: "key-1"})
			require.NoError(t, err)
			require.NoError(t, store.Delete(t.Context(), scope, "key-1"))
		}
	}
	close(release)
	assert.Equal(t, keystore.Global, <-called)
	assert.Equal(t, keystore.Scope("default"), <-called)
	cancel()
	watch.Wait()
	assert.Empty(t, called)
}

func TestMemoryStampsRecordsWithTheTimeOfTheirCreation(t *testing.T) {
	store := keystore.NewMemory()
	before := time.Now().Round(0)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	assert.WithinRange(t, r.Created, before, time.Now())
	assert.Equal(t, time.UTC, r.Created.Location())
}
