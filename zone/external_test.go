package zone_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// kms stands in for a KMS that holds one key of the tests.
type kms struct {
	n   int
	err error
}

func (k *kms) Public() crypto.PublicKey { return testRSA(k.n).Public() }

func (k *kms) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if k.err != nil {
		return nil, k.err
	}
	return testRSA(k.n).Sign(random, digest, options)
}

func externalKey(t testing.TB, k *kms) *signing.PrivateKey {
	t.Helper()
	key, err := signing.NewPrivateKey(k)
	require.NoError(t, err)
	return key
}

func TestExternalKeySignsIsRotatedAndEndsItsSessionsWhenItIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := externalKey(t, &kms{n: 0}), externalKey(t, &kms{n: 1})
		store := keystore.NewMemory()
		for range 2 { // as on two replicas
			added, err := zone.AddExternalKey(t.Context(), store, first.Public())
			require.NoError(t, err)
			assert.EqualValues(t, 1, added.Serial)
		}
		issuer := newIssuer(t, store, zone.WithSigners(signing.SignersOf(first, second)))
		validator := newValidator(t, store)
		raw := issueFor(t, issuer, time.Hour)
		verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		records := listAll(t, store)
		require.Len(t, records, 1)
		assert.Equal(t, "zone-token-signing-external-key-1", records[0].Name)
		assert.Equal(t, keystore.Global, records[0].Scope)
		assert.Equal(t, first.Public().PEM(), records[0].Data)

		require.ErrorIs(t, zone.RemoveKey(t.Context(), store, 1, zone.Forced()), signing.ErrInUse)
		added, err := zone.AddExternalKey(t.Context(), store, second.Public())
		require.NoError(t, err)
		assert.EqualValues(t, 2, added.Serial)
		next := issueFor(t, issuer, time.Hour)
		kid, _ := inside(t, next)
		assert.Equal(t, "2", kid)
		require.NoError(t, session.Err())
		require.NoError(t, zone.RemoveKey(t.Context(), store, 1))
		synctest.Wait()
		assertEnded(t, session, token.ErrUnknownKey)
		assert.ErrorIs(t, check(t, validator, raw), token.ErrUnknownKey)
		assert.NoError(t, check(t, validator, next))

		keys, err := zone.Keys(t.Context(), store)
		require.NoError(t, err)
		require.Len(t, keys, 1)
		assert.True(t, keys[0].Signs)
		assert.True(t, keys[0].External)
	})
}

func TestExternalKeyWithoutASignerOrWithOneThatFailsStopsIssuing(t *testing.T) {
	locked := errors.New("the HSM is locked")
	k := &kms{n: 0, err: locked}
	key := externalKey(t, k)
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(1))
	_, err := zone.AddExternalKey(t.Context(), store, key.Public())
	require.NoError(t, err)
	ask := func(options ...zone.IssuerOption) error {
		_, err := newIssuer(t, store, options...).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
		return err
	}
	for _, err := range []error{ask(), ask(zone.WithSigners(signing.SignersOf(testKey(1))))} {
		assert.ErrorIs(t, err, signing.ErrNoSigner)
		assert.ErrorContains(t, err, "key 2, "+key.Public().Fingerprint())
		assert.NotErrorIs(t, err, token.ErrUnavailable)
	}
	err = ask(zone.WithSigners(signing.SignersOf(key)))
	assert.ErrorIs(t, err, locked)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.NotErrorIs(t, err, signing.ErrNoSigner)
	k.err = nil
	assert.NoError(t, ask(zone.WithSigners(signing.SignersOf(key))))

	_, err = zone.AddKey(t.Context(), store, testKey(1))
	require.NoError(t, err)
	assert.NoError(t, ask(), "a key in the store signs again")
}

func TestExternalKeyOfTheZonesSignsNoDataplaneTokens(t *testing.T) {
	key := externalKey(t, &kms{n: 0})
	store := keystore.NewMemory()
	_, err := zone.AddExternalKey(t.Context(), store, key.Public())
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithSigners(signing.SignersOf(key)))
	require.NoError(t, err)
	_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	assert.ErrorIs(t, err, signing.ErrNoKey)
}

func TestRotateAddsNoKeyAfterAnExternalOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(1))
		_, err := zone.AddExternalKey(t.Context(), store, testKey(0).Public())
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- zone.Rotate(ctx, store, zone.Rotation{Every: 24 * time.Hour, MaxLifetime: time.Hour})
		}()
		time.Sleep(240 * time.Hour)
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		keys, err := zone.Keys(t.Context(), store)
		require.NoError(t, err)
		require.Len(t, keys, 1, "the old one is removed")
		assert.EqualValues(t, 2, keys[0].Serial)
	})
}
