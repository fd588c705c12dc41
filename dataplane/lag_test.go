package dataplane_test

import (
	"context"
	"log/slog"
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

// behind lets a copy of the store answer, and say so. Before its answer arrives, another
// reader has one of the store itself.
func (s *faultStore) behind(copied *keystore.Memory) {
	var list listFunc
	list = func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		keystore.NoteLag(ctx)
		records, err := copied.List(ctx, scope, prefix)
		s.setList(nil)
		_, _ = s.List(context.Background(), scope, prefix)
		s.setList(list)
		return records, err
	}
	s.setList(list)
}

func TestValidatorCannotTellATokenOfAnUnknownKeyWhileTheStoreMayLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		ofNewKey, revoked := f.withSerial("2", 1), f.issue(30*day)
		f.revoke(revoked)
		f.refuses(ofNewKey, token.ErrUnknownKey)
		f.store.behind(f.store.Memory)
		f.cannotTell(ofNewKey)
		f.refuses(revoked, token.ErrRevoked)
		f.refuses(f.withSerial("key-2", 1), token.ErrUnknownKey, "such a key is in no store")
		f.pass(time.Minute)
		f.cannotTell(ofNewKey, "after reads of everything")

		f.store.setList(nil)
		f.pass(time.Second)
		f.refuses(ofNewKey, token.ErrUnknownKey)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		f.accepts(ofNewKey)
	})
}

func TestValidatorGoesByWhetherTheAnswerAboutTheMeshOfTheTokenMayLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "default-2", 1, testKey(0))
		f.start()
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if scope == "default-2" {
				keystore.NoteLag(ctx)
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		offline := newOfflineIssuer(t, testKey(1), "2")
		for range 3 {
			assert.ErrorIs(t, check(t, f.validator, "default-2", issue(t, offline, "default-2", day)), token.ErrUnavailable)
			f.refuses(issue(t, offline, "default", day), token.ErrUnknownKey)
			f.pass(2 * time.Second)
		}
	})
}

// The store was at key 1 once. Since then key 2 was given and removed.
func TestKeysAreNeitherMadeNorAddedNorAllRemovedByAListThatMayBeBehind(t *testing.T) {
	for what, c := range map[string]struct {
		copied int // so many keys
		change func(ctx context.Context, store keystore.KeyStore) error
	}{
		"EnsureKey": {0, func(ctx context.Context, store keystore.KeyStore) error {
			_, err := dataplane.EnsureKey(ctx, store, "default")
			return err
		}},
		"AddKey": {1, func(ctx context.Context, store keystore.KeyStore) error {
			_, err := dataplane.AddKey(ctx, store, "default", testKey(1))
			return err
		}},
		"AddExternalKey": {1, func(ctx context.Context, store keystore.KeyStore) error {
			_, err := dataplane.AddExternalKey(ctx, store, "default", testKey(1).Public())
			return err
		}},
		"RemoveAllKeys": {1, func(ctx context.Context, store keystore.KeyStore) error {
			return dataplane.RemoveAllKeys(ctx, store, "default")
		}},
	} {
		t.Run(what, func(t *testing.T) {
			store, copied := newFaultStore(), keystore.NewMemory()
			putKey(t, store.Memory, "default", 1, testKey(0))
			putKey(t, store.Memory, "default", 3, testKey(2))
			if c.copied > 0 {
				putKey(t, copied, "default", 1, testKey(0))
			}
			before := listAll(t, store.Memory)
			store.behind(copied)
			err := c.change(t.Context(), store)
			assert.ErrorIs(t, err, token.ErrUnavailable)
			assert.ErrorContains(t, err, "a copy of the store that may be behind")
			assert.Equal(t, before, listAll(t, store.Memory))
			store.setList(nil)
			require.NoError(t, c.change(t.Context(), store))
		})
	}
}

func TestAKeyThatAListLacksThatMayBeBehindIsNotSaidToBeMissing(t *testing.T) {
	store, copied := newFaultStore(), keystore.NewMemory()
	putKey(t, store.Memory, "default", 1, testKey(0))
	issuer := newIssuer(t, store, dataplane.WithMaxLineage(day))
	issueOne := func() error {
		_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		return err
	}
	require.ErrorIs(t, func() error {
		_, err := newIssuer(t, copied).Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		return err
	}(), signing.ErrNoKey)
	store.behind(copied)
	for what, err := range map[string]error{
		"issuing":  issueOne(),
		"removing": dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.Forced()),
	} {
		assert.ErrorIs(t, err, token.ErrUnavailable, what)
		assert.NotErrorIs(t, err, signing.ErrNoKey, what)
	}
	store.setList(nil)
	require.NoError(t, issueOne())

	validator := newValidator(t, store.Memory)
	putKey(t, copied, "default", 1, testKey(0))
	putKey(t, store.Memory, "default", 2, testKey(1))
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	verified, err := validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	store.behind(copied)
	_, err = issuer.Renew(t.Context(), verified, time.Hour)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.NotErrorIs(t, err, token.ErrUnknownKey)
}

func TestRotateAddsNoKeyByAListThatMayBeBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaultStore()
		putKey(t, store.Memory, "default", 1, testKey(0))
		time.Sleep(2 * time.Hour)
		before := listAll(t, store.Memory)
		store.behind(store.Memory)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			_ = dataplane.Rotate(ctx, store, "default", dataplane.Rotation{Every: time.Hour, MaxLifetime: time.Hour, Logger: slog.New(slog.DiscardHandler)})
		}()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Equal(t, before, listAll(t, store.Memory))
		store.setList(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.Len(t, listAll(t, store.Memory), len(before)+1)
		stop()
		synctest.Wait()
	})
}
