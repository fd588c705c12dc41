package dataplane_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// externalKey is a key of the tests in what stands in for a KMS, and its signer.
func externalKey(t testing.TB, n int) (*signing.PrivateKey, *countingSigner) {
	t.Helper()
	signer := &countingSigner{key: testRSA(n)}
	key, err := signing.NewPrivateKey(signer)
	require.NoError(t, err)
	return key, signer
}

func addExternal(t testing.TB, store keystore.KeyStore, key *signing.PrivateKey) signing.Key {
	t.Helper()
	added, err := dataplane.AddExternalKey(t.Context(), store, "default", key.Public())
	require.NoError(t, err)
	return added
}

func TestExternalKeySignsUnderItsSerialAndTheStoreHasOnlyItsPublicHalf(t *testing.T) {
	key, signer := externalKey(t, 0)
	other, otherSigner := externalKey(t, 1)
	store := keystore.NewMemory()
	added := addExternal(t, store, key)
	assert.EqualValues(t, 1, added.Serial)
	assert.True(t, added.Signs)
	assert.True(t, added.External)
	assert.False(t, added.Private)
	assert.False(t, added.Created.IsZero())
	keys, err := dataplane.Keys(t.Context(), store, "default")
	require.NoError(t, err)
	require.Len(t, keys, 1)
	assert.True(t, keys[0].Public.Equal(added.Public))
	keys[0].Public = added.Public
	assert.Equal(t, []signing.Key{added}, keys)

	issuer := newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(other, key)))
	validator := newValidator(t, store)
	for range 3 {
		verified, err := validator.Validate(t.Context(), "default", issue(t, issuer, "default", day))
		require.NoError(t, err)
		assert.Equal(t, "1", verified.KeyID())
	}
	assert.EqualValues(t, 3, signer.calls.Load())
	assert.Zero(t, otherSigner.calls.Load())
	records := listAll(t, store)
	require.Len(t, records, 1)
	assert.Equal(t, "dataplane-token-signing-external-key-default-1", records[0].Name)
	assert.Equal(t, keystore.Scope("default"), records[0].Scope)
	assert.Equal(t, key.Public().PEM(), records[0].Data)
}

func TestExternalKeysAndStoredOnesFollowOneAnotherAndTheNewestSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t) // key 1 is in the store
		first, firstSigner := externalKey(t, 1)
		f.issuer = newIssuer(t, f.store.Memory, dataplane.WithSigners(signing.SignersOf(first)))
		f.start()
		tokens := []string{f.issue(day)}
		addExternal(t, f.store.Memory, first)
		tokens = append(tokens, f.issue(day))
		_, err := dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(2))
		require.NoError(t, err)
		tokens = append(tokens, f.issue(day))
		for i, raw := range tokens {
			kid, _ := inside(t, raw)
			assert.Equal(t, signing.Serial(i+1).KeyID(), kid)
			f.accepts(raw)
		}
		assert.EqualValues(t, 1, firstSigner.calls.Load())
		keys, err := dataplane.Keys(t.Context(), f.store.Memory, "default")
		require.NoError(t, err)
		require.Len(t, keys, 3)
		for i, key := range keys {
			assert.Equal(t, i != 1, key.Private)
			assert.Equal(t, i == 1, key.External)
			assert.Equal(t, i == 2, key.Signs)
		}
	})
}

func TestExternalKeyWithoutASignerStopsIssuingAndNoOlderKeyStepsIn(t *testing.T) {
	key, _ := externalKey(t, 1)
	old, oldSigner := externalKey(t, 2)
	other := testKey(0)
	for name, options := range map[string][]dataplane.IssuerOption{
		"no signers":             nil,
		"signers of older keys":  {dataplane.WithSigners(signing.SignersOf(old, other, nil))},
		"no keys":                {dataplane.WithSigners(signing.SignersOf())},
		"a function without one": {dataplane.WithSigners(func(context.Context, *signing.PublicKey) (*signing.PrivateKey, error) { return nil, nil })},
	} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			putKey(t, store, "default", 1, other)
			addExternal(t, store, old)
			addExternal(t, store, key)
			issued, err := newIssuer(t, store, options...).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			require.ErrorIs(t, err, signing.ErrNoSigner)
			for _, class := range []error{signing.ErrNoKey, signing.ErrKey, token.ErrUnavailable, token.ErrNotIssuable} {
				assert.NotErrorIs(t, err, class)
			}
			assert.ErrorContains(t, err, "key 3, "+key.Public().Fingerprint())
			assert.ErrorContains(t, err, `"dataplane-token-signing-external-key-default-3"`)
			assert.Equal(t, 1, strings.Count(err.Error(), signing.ErrNoSigner.Error()))
			assert.Empty(t, issued)
		})
	}
	assert.Zero(t, oldSigner.calls.Load())
}

func TestExternalKeyThatCannotBeReadStopsIssuing(t *testing.T) {
	key, signer := externalKey(t, 1)
	for name, data := range map[string][]byte{"damaged": []byte("?"), "a private key": pemOf(t, testKey(1))} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			putKey(t, store, "default", 1, testKey(0))
			putRecord(t, store, "default", signing.DataplaneKeys("default").ExternalKeyName(2), data)
			_, err := newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(key))).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			assert.ErrorIs(t, err, signing.ErrKey)
			_, err = dataplane.EnsureKey(t.Context(), store, "default")
			assert.ErrorIs(t, err, signing.ErrKey)
		})
	}
	assert.Zero(t, signer.calls.Load())
}

// signFunc is a signer with the public half of a key of the tests.
type signFunc struct {
	public crypto.PublicKey
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

func (s signFunc) Public() crypto.PublicKey { return s.public }

func (s signFunc) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	return s.sign(random, digest, options)
}

func TestIssuerHandsOutNoTokenOfASignerThatFailsOrLies(t *testing.T) {
	locked := errors.New("the HSM is locked")
	for name, c := range map[string]struct {
		sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
		wanted error
		not    error
	}{
		"it fails":                  {func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, locked }, locked, signing.ErrKey},
		"it is unavailable":         {func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, locked }, token.ErrUnavailable, signing.ErrKey},
		"it panics":                 {func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { panic("no session") }, token.ErrUnavailable, signing.ErrKey},
		"it signs with another key": {testRSA(1).Sign, signing.ErrKey, token.ErrUnavailable},
		"it signs nothing":          {func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }, signing.ErrKey, token.ErrUnavailable},
		"it signs something else": {func(r io.Reader, _ []byte, o crypto.SignerOpts) ([]byte, error) {
			return testRSA(0).Sign(r, make([]byte, 32), o)
		}, signing.ErrKey, token.ErrUnavailable},
		"its signature is too short": {func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return make([]byte, 255), nil }, signing.ErrKey, token.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.NewPrivateKey(signFunc{testRSA(0).Public(), c.sign})
			require.NoError(t, err)
			store := keystore.NewMemory()
			addExternal(t, store, key)
			ctx, log := audited(t)
			issued, err := newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(key))).Issue(ctx, token.Dataplane{Mesh: "default"}, day)
			require.ErrorIs(t, err, c.wanted)
			assert.NotErrorIs(t, err, c.not)
			assert.NotErrorIs(t, err, signing.ErrNoSigner)
			assert.ErrorContains(t, err, key.Public().Fingerprint())
			assert.Empty(t, issued)
			assert.Equal(t, 1, log.Count("audit: not done", "action=issue", "reason="))
		})
	}
}

func TestIssuerLooksAKeyUpOnceAndAgainAfterItFailed(t *testing.T) {
	key, signer := externalKey(t, 0)
	store := keystore.NewMemory()
	addExternal(t, store, key)
	var lookups atomic.Int32
	issuer := newIssuer(t, store, dataplane.WithSigners(func(_ context.Context, public *signing.PublicKey) (*signing.PrivateKey, error) {
		lookups.Add(1)
		assert.True(t, public.Equal(key.Public()))
		return key, nil
	}))
	for range 3 {
		issue(t, issuer, "default", day)
	}
	assert.EqualValues(t, 1, lookups.Load())
	signer.err = errors.New("the session is gone")
	_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	require.ErrorIs(t, err, signer.err)
	signer.err = nil
	issue(t, issuer, "default", day)
	assert.EqualValues(t, 2, lookups.Load())
}

func TestIssuerTellsALookUpThatFailsFromAKeyThatIsNotThere(t *testing.T) {
	key, _ := externalKey(t, 0)
	other, _ := externalKey(t, 1)
	unreachable := errors.New("the KMS cannot be reached")
	store := keystore.NewMemory()
	addExternal(t, store, key)
	find := func(found *signing.PrivateKey, err error) error {
		issuer := newIssuer(t, store, dataplane.WithSigners(func(context.Context, *signing.PublicKey) (*signing.PrivateKey, error) { return found, err }))
		_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		return err
	}
	err := find(nil, unreachable)
	assert.ErrorIs(t, err, unreachable)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.NotErrorIs(t, err, signing.ErrNoSigner)
	err = find(other, nil)
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.ErrorContains(t, err, other.Public().Fingerprint())
}

func TestIssuerReturnsWhenItsContextEndsWhileTheSignerIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := signFunc{testRSA(0).Public(), func(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
			time.Sleep(10 * time.Second)
			return testRSA(0).Sign(random, digest, options)
		}}
		key, err := signing.NewPrivateKey(slow)
		require.NoError(t, err)
		store := keystore.NewMemory()
		addExternal(t, store, key)
		issuer := newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(key)))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.Equal(t, time.Second, time.Since(began))

		issue(t, issuer, "default", day)
		assert.Equal(t, 11*time.Second, time.Since(began), "who waits gets a token")
	})
}

func TestWithSignersIsGivenOnceAndToIssuersWithAStore(t *testing.T) {
	signers := dataplane.WithSigners(signing.SignersOf(testKey(0)))
	for name, options := range map[string][]dataplane.IssuerOption{"nil": {dataplane.WithSigners(nil)}, "twice": {signers, signers}} {
		_, err := dataplane.NewIssuer(keystore.NewMemory(), options...)
		assert.ErrorContains(t, err, "WithSigners", name)
	}
	_, err := dataplane.NewOfflineIssuer(testKey(0), "key-1", signers)
	assert.ErrorContains(t, err, "WithSigners")
}

func TestAddExternalKeyOnEveryReplicaAddsOneKey(t *testing.T) {
	key, _ := externalKey(t, 0)
	const n = 8
	store := newFaultStore()
	store.setList(everyoneReads(store, n))
	keys := make(chan signing.Key, n)
	for range n {
		go func() {
			added, err := dataplane.AddExternalKey(t.Context(), store, "default", key.Public())
			assert.NoError(t, err)
			keys <- added
		}()
	}
	for range n {
		assert.EqualValues(t, 1, (<-keys).Serial)
	}
	assert.EqualValues(t, 1, addExternal(t, store, key).Serial, "one that starts later")
	assert.Len(t, listAll(t, store), 1)
	ensured, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	assert.EqualValues(t, 1, ensured.Serial)
	assert.True(t, ensured.External)
	assert.Len(t, listAll(t, store), 1)
}

func TestAddExternalKeyMakesNoOlderKeySignAgain(t *testing.T) {
	first, _ := externalKey(t, 1)
	second, _ := externalKey(t, 2)
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	addExternal(t, store, first)
	addExternal(t, store, second)
	before := listAll(t, store)
	for name, key := range map[string]*signing.PublicKey{"an older one": first.Public(), "one in the store": testKey(0).Public()} {
		_, err := dataplane.AddExternalKey(t.Context(), store, "default", key)
		assert.ErrorIs(t, err, signing.ErrKey, name)
		assert.ErrorContains(t, err, "of serial", name)
	}
	_, err := dataplane.AddExternalKey(t.Context(), store, "default", nil)
	assert.Error(t, err)
	_, err = dataplane.AddExternalKey(t.Context(), store, "", first.Public())
	assert.ErrorIs(t, err, keystore.ErrName)
	_, err = dataplane.AddExternalKey(t.Context(), nil, "default", first.Public())
	assert.Error(t, err)
	assert.Equal(t, before, listAll(t, store))
}

func TestAddExternalKeyAddsNothingToAStoreThatHasOnlyCopies(t *testing.T) {
	key, _ := externalKey(t, 1)
	store := keystore.NewMemory()
	putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
	_, err := dataplane.AddExternalKey(t.Context(), store, "default", key.Public())
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.ErrorContains(t, err, "only public keys")
	_, err = newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(key, testKey(0)))).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	assert.ErrorIs(t, err, signing.ErrNoKey, "a copy does not sign")
	assert.Len(t, listAll(t, store), 1)
}

func TestAddKeyAndAddExternalKeyAtTheSameTimeShareNoSerial(t *testing.T) {
	key, _ := externalKey(t, 1)
	store := newFaultStore()
	putKey(t, store, "default", 1, testKey(0))
	store.setList(everyoneReads(store, 2))
	errs := make(chan error, 2)
	go func() {
		_, err := dataplane.AddKey(t.Context(), store, "default", testKey(2))
		errs <- err
	}()
	go func() {
		_, err := dataplane.AddExternalKey(t.Context(), store, "default", key.Public())
		errs <- err
	}()
	failed := errors.Join(<-errs, <-errs)
	assert.ErrorIs(t, failed, keystore.ErrExists)
	assert.ErrorContains(t, failed, "at the same time")
	assert.LessOrEqual(t, len(listAll(t, store)), 2, "a serial has one key")
}

func TestPublishDelayHoldsForExternalKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, _ := externalKey(t, 1)
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(time.Hour)
		addExternal(t, store, key)
		issuer := newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute), dataplane.WithSigners(signing.SignersOf(key)))
		assert.Equal(t, "1", signedBy(t, issuer))
		assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.WithPublishDelay(10*time.Minute)))
		pass(10 * time.Minute)
		assert.Equal(t, "2", signedBy(t, issuer))
	})
}

func TestRemoveKeyRemovesAnExternalKeyOnceAnotherSignsAndEndsItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := externalKey(t, 1)
		second, _ := externalKey(t, 2)
		f := newFollowing(t)
		store := f.store.Memory
		f.issuer = newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(first, second)))
		f.start()
		addExternal(t, store, first)
		ofFirst := f.issue(day)
		verified, err := f.validator.Validate(t.Context(), "default", ofFirst)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()

		for _, options := range [][]dataplane.RemoveOption{nil, {dataplane.Forced()}} {
			assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 2, options...))
		}
		assert.EqualValues(t, 3, addExternal(t, store, second).Serial)
		ofSecond := f.issue(day)
		f.accepts(ofFirst)
		assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 2, dataplane.UnlessUsed(time.Time{}, f.validator.Usage()...)))
		require.NoError(t, session.Err())
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 2))
		synctest.Wait()
		assert.ErrorIs(t, context.Cause(session), token.ErrUnknownKey)
		f.refuses(ofFirst, token.ErrUnknownKey)
		f.accepts(ofSecond)
		assert.Equal(t, []signing.Serial{1, 3}, serialsOf(t, store, "default"))
		require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"))
		assert.Empty(t, listAll(t, store))
	})
}

func TestRotateAddsNoKeyAfterAnExternalOneAndRemovesTheOldOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := externalKey(t, 1)
		second, _ := externalKey(t, 2)
		f := newFollowing(t)
		store := f.store.Memory
		f.issuer = newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(first, second)), dataplane.WithPublishDelay(schedule.PublishDelay),
			dataplane.WithMaxLifetime(schedule.MaxLifetime))
		f.start()
		var log logtest.Buffer
		schedule := schedule
		schedule.Logger = log.Logger()
		addExternal(t, store, first)
		defer rotate(t, store, schedule)()
		f.pass(schedule.PublishDelay - time.Second)
		last := f.issue(schedule.MaxLifetime)
		kid, _ := inside(t, last)
		require.Equal(t, "1", kid)
		f.pass(schedule.MaxLifetime)
		f.accepts(last)
		f.pass(10 * schedule.Every)
		assert.Equal(t, []signing.Serial{2}, serialsOf(t, store, "default"))
		assert.Equal(t, 1, log.Count("rotation adds no keys", "kid=2", "level=INFO"))

		addExternal(t, store, second)
		f.pass(schedule.PublishDelay + schedule.MaxLifetime + rotationMargin + 2*time.Hour)
		assert.Equal(t, []signing.Serial{3}, serialsOf(t, store, "default"))
		assert.Equal(t, 1, log.Count("rotation adds no keys", "kid=3"))
		assert.Zero(t, log.Count("failed"))

		_, err := dataplane.AddKey(t.Context(), store, "default", testKey(0))
		require.NoError(t, err)
		f.pass(2*schedule.Every + 2*time.Hour)
		keys, err := dataplane.Keys(t.Context(), store, "default")
		require.NoError(t, err)
		assert.Equal(t, signing.Serial(6), keys[len(keys)-1].Serial, "keys in the store are rotated again")
	})
}

func TestAuditHasAnEventForEveryDecisionAboutAnExternalKey(t *testing.T) {
	first, _ := externalKey(t, 0)
	second, _ := externalKey(t, 1)
	ctx, log := audited(t)
	store := keystore.NewMemory()
	for range 2 {
		_, err := dataplane.AddExternalKey(ctx, store, "default", first.Public())
		require.NoError(t, err)
	}
	_, err := dataplane.AddExternalKey(ctx, store, "default", second.Public())
	require.NoError(t, err)
	issuer := newIssuer(t, store, dataplane.WithSigners(signing.SignersOf(second)), dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	_, err = issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
	require.NoError(t, err)
	require.NoError(t, dataplane.RemoveKey(ctx, store, "default", 1))
	for _, event := range []string{`action="create key"`, `action="remove key"`} {
		assert.Equal(t, 1, log.Count("audit: done", event, "actor=alice", "mesh=default", "kid=1"), event)
	}
	for _, event := range []string{`action="add key"`, "action=issue"} {
		assert.Equal(t, 1, log.Count("audit: done", event, "actor=alice", "mesh=default", "kid=2"), event)
	}
	assert.Equal(t, 4, log.Count("audit:"))
}
