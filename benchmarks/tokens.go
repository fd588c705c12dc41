package main

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The keys of the mesh. Key 1 is compromised, key 2 signs the replacements.
const (
	compromised = signing.Serial(1)
	replacement = signing.Serial(2)
)

// tokens are those of all proxies, by their number.
type tokens struct {
	old         []string  // of key 1, issued an hour before
	replacement []string  // of key 2
	before      time.Time // a moment between
}

// issueTokens issues tokens for n proxies, on all processors.
func issueTokens(tb testing.TB, n int) tokens {
	tb.Helper()
	now := time.Now()
	return tokens{
		old:         issue(tb, n, forge.Key(), compromised, func() time.Time { return time.Now().Add(-time.Hour) }),
		replacement: issue(tb, n, forge.OtherKey(), replacement, time.Now),
		before:      now.Add(-10 * time.Minute),
	}
}

func issue(tb testing.TB, n int, key *rsa.PrivateKey, serial signing.Serial, now func() time.Time) []string {
	tb.Helper()
	private, err := signing.NewPrivateKey(key)
	require.NoError(tb, err)
	issuer, err := dataplane.NewOfflineIssuer(private, fmt.Sprint(serial), dataplane.WithClock(now))
	require.NoError(tb, err)
	raws := make([]string, n)
	require.NoError(tb, concurrently(runtime.NumCPU(), n, func(i int) error {
		claims := token.Dataplane{Mesh: mesh, Name: proxyName(i), Tags: map[string][]string{serviceTag: {"backend"}}}
		issued, err := issuer.Issue(context.Background(), claims, 24*time.Hour)
		raws[i] = issued.Token
		return err
	}))
	return raws
}

// createKeys puts both keys into a store, as an operator does who has begun to rotate.
func createKeys(tb testing.TB, store keystore.KeyStore) {
	tb.Helper()
	series := signing.DataplaneKeys(mesh)
	for serial, key := range map[signing.Serial]*rsa.PrivateKey{compromised: forge.Key(), replacement: forge.OtherKey()} {
		private, err := signing.NewPrivateKey(key)
		require.NoError(tb, err)
		pem, err := private.PEM()
		require.NoError(tb, err)
		_, err = store.Create(tb.Context(), keystore.Record{Scope: series.Scope(), Name: series.KeyName(serial), Data: pem})
		require.NoError(tb, err)
	}
}

// concurrently calls f with 0 to n-1, from some goroutines, and returns their errors.
func concurrently(goroutines, n int, f func(i int) error) error {
	var working sync.WaitGroup
	var next atomic.Int64
	failures := make([]error, goroutines)
	for g := range goroutines {
		working.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && failures[g] == nil; i = next.Add(1) - 1 {
				if err := f(int(i)); err != nil {
					failures[g] = fmt.Errorf("%d: %w", i, err)
				}
			}
		})
	}
	working.Wait()
	return errors.Join(failures...)
}
