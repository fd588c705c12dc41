package dataplane_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// issueWithValidator makes an issuer that has the validator, and signs a first token, for
// which the store is read.
func (f *following) issueWithValidator(options ...dataplane.IssuerOption) {
	f.t.Helper()
	f.issuer = newIssuer(f.t, f.store, append(options, dataplane.WithValidator(f.validator))...)
	f.signs("1")
}

// signs checks which key signs.
func (f *following) signs(kid string, because ...any) {
	f.t.Helper()
	assert.Equal(f.t, kid, signedBy(f.t, f.issuer), because...)
}

// reading returns how many reads of the store something causes.
func (f *following) reading(do func()) int {
	before := len(f.store.readsSoFar())
	do()
	return len(f.store.readsSoFar()) - before
}

func TestIssuerWithAValidatorReadsTheStoreForOneTokenAndNotForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		assert.Equal(t, 3, f.reading(func() { f.issueWithValidator() }))
		assert.Zero(t, f.reading(func() {
			for range 5 {
				f.accepts(f.issue(day))
			}
		}))
	})
}

func TestIssuerWithAValidatorSignsWithANewKeyOnceTheValidatorKnowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		_, err := dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(1)) // by another process
		require.NoError(t, err)
		synctest.Wait()
		f.signs("2")
		assert.Zero(t, f.reading(func() { f.signs("2") }))

		f.store.setWatch(silent) // and the validator's watch breaks
		require.NoError(t, f.validator.Close())
		f.start().issueAgainWithValidator("2")
		_, err = dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(2))
		require.NoError(t, err)
		f.pass(31 * time.Second)
		f.signs("3", "found by the validator's next complete read")
	})
}

// issueAgainWithValidator is issueWithValidator for a store whose key has another kid.
func (f *following) issueAgainWithValidator(kid string) {
	f.t.Helper()
	f.issuer = newIssuer(f.t, f.store, dataplane.WithValidator(f.validator))
	f.signs(kid)
}

func TestIssuerWithAValidatorStopsAtANewestKeyThatIsDamagedAndNoOlderKeyStepsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		name := signing.DataplaneKeys("default").KeyName(2)
		putRecord(t, f.store.Memory, "default", name, []byte("not a key"))
		synctest.Wait()
		for range 3 {
			_, err := f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			assert.ErrorIs(t, err, signing.ErrKey)
			assert.ErrorContains(t, err, name)
		}
		replaceKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		f.signs("2")
	})
}

func TestIssuerWithAValidatorSignsNoLongerThanItsKeyIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		replaceKey(t, f.store.Memory, "default", 1, testKey(1))
		synctest.Wait()
		f.accepts(f.issue(day), "signed with the key that has the name now")
		require.NoError(t, dataplane.RemoveAllKeys(t.Context(), f.store.Memory, "default"))
		synctest.Wait()
		_, err := f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, signing.ErrNoKey)
	})
}

func TestIssuerWithAValidatorLetsAKeySignOnceItsPublishDelayIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator(dataplane.WithPublishDelay(10 * time.Minute))
		f.pass(time.Hour)
		_, err := dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(1))
		require.NoError(t, err)
		f.pass(10*time.Minute - time.Second)
		f.signs("1")
		f.pass(time.Second)
		f.signs("2")
		assert.Zero(t, f.reading(func() { f.signs("2") }))
	})
}

func TestIssuerWithAValidatorHeedsTheCutoffsThatTheValidatorKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		before := time.Now().Add(token.Skew)
		f.cutOff(dataplane.Cutoff{Before: before})
		synctest.Wait()
		for range 3 {
			raw := f.issue(day)
			_, claims := inside(t, raw)
			assert.True(t, claims.IssuedAt.Equal(before), "dated at the cutoff")
			f.accepts(raw)
		}
		assert.Zero(t, f.reading(func() { f.issue(day) }))

		require.NoError(t, dataplane.RemoveCutoff(t.Context(), f.store.Memory, "default", dataplane.Cutoff{Before: before}))
		synctest.Wait()
		_, claims := inside(t, f.issue(day))
		assert.True(t, claims.IssuedAt.Before(before))
		assert.Zero(t, f.reading(func() { f.issue(day) }))
	})
}

// An issuer may learn of a change before its validator does: from a read of the store that
// something else caused.
func TestIssuerWithAValidatorDoesNotForgetWhatItReadForTheValidatorsSake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		_, err := dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(1))
		require.NoError(t, err)
		before := time.Now().Add(token.Skew)
		f.cutOff(dataplane.Cutoff{Before: before})
		f.issuer = newIssuer(t, f.store, dataplane.WithValidator(f.validator))
		for range 3 {
			kid, claims := inside(t, f.issue(day))
			assert.Equal(t, "2", kid)
			assert.True(t, claims.IssuedAt.Equal(before))
		}
	})
}

func TestIssuerWithAValidatorIssuesNothingOnceItsReadsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		f.store.setList(failing)
		f.pass(31 * time.Second)
		_, err := f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, errStoreDown)
		f.store.setList(nil)
		f.pass(time.Second)
		f.signs("1")
		assert.Zero(t, f.reading(func() { f.signs("1") }))
	})
}

func TestIssuerReadsTheStoreForEachTokenOnceItsValidatorIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.issueWithValidator()
		require.NoError(t, f.validator.Close())
		_, err := dataplane.AddKey(t.Context(), f.store.Memory, "default", testKey(1))
		require.NoError(t, err)
		f.signs("2")
		assert.Equal(t, 3, f.reading(func() { f.signs("2") }))
	})
}

func TestIssuerWithAValidatorSignsWithAKeyThatIsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		key, signer := externalKey(t, 1)
		f.issueWithValidator(dataplane.WithSigners(signing.SignersOf(key)))
		addExternal(t, f.store.Memory, key)
		synctest.Wait()
		f.signs("2")
		assert.Zero(t, f.reading(func() { f.signs("2") }))
		assert.EqualValues(t, 2, signer.calls.Load())
	})
}

func TestIssuerTakesOnlyAValidatorThatFollowsTheKeysOfItsStore(t *testing.T) {
	store := newFaultStore()
	putKey(t, store.Memory, "default", 1, testKey(0))
	public := dataplane.WithPublicKey("default", "1", testKey(0).Public())
	validator := newValidator(t, store)
	for name, c := range map[string]struct {
		store     keystore.KeyStore
		validator dataplane.Validator
		want      string
	}{
		"of another store":           {store.Memory, validator, "does not follow the keys of this store"},
		"of the revocations only":    {store, newValidator(t, store, dataplane.WithoutStoreKeys(), public), "does not follow the keys of this store"},
		"without a store":            {store, newOfflineValidator(t, public), "does not follow the keys of this store"},
		"nil":                        {store, nil, "the validator is nil"},
		"in another":                 {store, struct{ dataplane.Validator }{validator}, "or one around that of NewValidator"},
		"and no store, as always so": {nil, validator, "the store is nil"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dataplane.NewIssuer(c.store, dataplane.WithValidator(c.validator))
			assert.ErrorContains(t, err, c.want)
		})
	}
	_, err := dataplane.NewIssuer(store, dataplane.WithValidator(validator), dataplane.WithValidator(validator))
	assert.ErrorContains(t, err, "given twice")
	_, err = dataplane.NewOfflineIssuer(testKey(0), "1", dataplane.WithValidator(validator))
	assert.ErrorContains(t, err, "WithValidator is for NewIssuer")
}
