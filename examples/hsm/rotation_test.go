package hsm_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// device is an HSM or a TPM with the keys that the tests have made in it.
type device struct {
	newKey  func() *signing.PublicKey
	remove  func(*signing.PublicKey)
	signers signing.Signers
}

// rotate issues with a key of the device, rotates to the next key, removes the old one,
// and goes on with a key in the store.
func (d device) rotate(t *testing.T) {
	ctx, folder := t.Context(), t.TempDir()
	store, err := dir.Open(folder)
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithSigners(d.signers))
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	issue := func(wantedKey string) string {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
		require.NoError(t, err)
		require.Equal(t, wantedKey, issued.KeyID)
		return issued.Token
	}
	accept := func(raw string) dataplane.Verified {
		verified, err := validator.Validate(ctx, "default", raw)
		require.NoError(t, err)
		return verified
	}

	first := d.newKey()
	_, err = dataplane.AddExternalKey(ctx, store, "default", first)
	require.NoError(t, err)
	old := issue("1")
	session, stop := accept(old).Bind(ctx)
	defer stop()

	second := d.newKey()
	_, err = dataplane.AddExternalKey(ctx, store, "default", second)
	require.NoError(t, err)
	next := issue("2")
	accept(next)
	accept(old)
	require.NoError(t, session.Err())

	require.NoError(t, dataplane.RemoveKey(ctx, store, "default", 1))
	d.remove(first)
	select {
	case <-session.Done():
		require.ErrorIs(t, context.Cause(session), token.ErrUnknownKey)
	case <-time.After(10 * time.Second):
		t.Fatal("the session of the removed key is open")
	}
	_, err = validator.Validate(ctx, "default", old)
	require.ErrorIs(t, err, token.ErrUnknownKey)
	accept(next)
	accept(issue("2"))
	requireNoPrivateKey(t, folder)

	d.remove(second)
	_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
	require.ErrorIs(t, err, token.ErrUnavailable, "the signer is gone")
	_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
	require.ErrorIs(t, err, signing.ErrNoSigner)
	require.ErrorContains(t, err, second.Fingerprint())

	stored, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	_, err = dataplane.AddKey(ctx, store, "default", stored)
	require.NoError(t, err)
	accept(issue("3"))
	accept(next)
}

// issueAtOnce issues zone tokens from many goroutines.
func (d device) issueAtOnce(t *testing.T) {
	store, err := dir.Open(t.TempDir())
	require.NoError(t, err)
	_, err = zone.AddExternalKey(t.Context(), store, d.newKey())
	require.NoError(t, err)
	issuer, err := zone.NewIssuer(store, zone.WithSigners(d.signers))
	require.NoError(t, err)
	validator, err := zone.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 5 {
				issued, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
				if !assert.NoError(t, err) {
					return
				}
				_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, issued.Token)
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
}

func requireNoPrivateKey(t *testing.T, folder string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.False(t, bytes.Contains(data, []byte("PRIVATE")), path)
		files++
		return nil
	}))
	require.NotZero(t, files)
}
