package sealed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
)

// named returns "scope/name" of each record that a list could not read.
func named(t *testing.T, err error) (names []string) {
	t.Helper()
	unreadable, other := keystore.SplitUnreadable(err)
	require.NoError(t, other)
	for _, u := range unreadable {
		names = append(names, u.Op+" "+string(u.Scope)+"/"+u.Name)
	}
	return names
}

func namesOf(records []keystore.Record) (names []string) {
	for _, r := range records {
		names = append(names, string(r.Scope)+"/"+r.Name)
	}
	return names
}

func TestListReturnsTheOthersBesideRecordsThatCannotBeOpenedAndNamesThese(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	for _, name := range []string{"a-good", "b-plain", "c-altered", "d-moved", "e-other-key", "f-good"} {
		create(t, writer, "default", name, "content")
	}
	create(t, writer, "other", "g-good", "content")
	put(t, inner, "default", "b-plain", []byte("planted"))
	altered := stored(t, inner, "default", "c-altered")
	altered[len(altered)-1] ^= 1
	put(t, inner, "default", "c-altered", altered)
	put(t, inner, "default", "d-moved", stored(t, inner, "default", "a-good"))
	foreign := keystore.NewMemory()
	create(t, newStore(t, foreign, aesgcm(t, 2)), "default", "e-other-key", "content")
	put(t, inner, "default", "e-other-key", stored(t, foreign, "default", "e-other-key"))

	for what, store := range map[string]keystore.KeyStore{"that has written them": writer, "opened later": newStore(t, inner, aesgcm(t, 1))} {
		for range 2 { // the second time from what is remembered
			records, err := store.List(t.Context(), keystore.AllScopes, "")
			require.Equal(t, []string{"default/a-good", "default/f-good", "other/g-good"}, namesOf(records), what)
			for _, r := range records {
				require.Equal(t, "content", string(r.Data))
			}
			require.Equal(t, []string{"open default/b-plain", "open default/c-altered", "open default/d-moved", "open default/e-other-key"}, named(t, err), what)
			require.ErrorIs(t, err, sealed.ErrNotSealed)
			require.ErrorIs(t, err, sealed.ErrAltered)
			require.ErrorIs(t, err, sealed.ErrNoKey)
		}
		records, err := store.List(t.Context(), "other", "")
		require.NoError(t, err)
		require.Len(t, records, 1)
	}
	require.NoError(t, writer.Delete(t.Context(), "default", "c-altered"), "it can be removed")
}

func TestOnePlantedRecordIsOneUnreadableRecord(t *testing.T) {
	inner := keystore.NewMemory()
	open := func(tb testing.TB) keystore.KeyStore {
		store, err := sealed.New(inner, aesgcm(t, 1))
		require.NoError(tb, err)
		return store
	}
	storetest.OneUnreadableRecordIsOneUnreadableRecord(t, open, func(_ testing.TB, scope keystore.Scope, name string) {
		put(t, inner, scope, name, []byte("planted"))
	})
}

// halfReadable is a store that cannot read one of its records.
type halfReadable struct{ keystore.KeyStore }

var errRights = errors.New("permission denied")

func (h halfReadable) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := h.KeyStore.List(ctx, scope, prefix)
	if err != nil {
		return nil, err
	}
	return records, keystore.Unreadable([]*keystore.Error{{Op: "read", Scope: "default", Name: "z-foreign", Err: errRights}})
}

func TestListPassesOnWhatTheInnerStoreCannotRead(t *testing.T) {
	inner := keystore.NewMemory()
	store := newStore(t, halfReadable{inner}, aesgcm(t, 1))
	create(t, store, "default", "a-good", "content")
	put(t, inner, "default", "b-plain", []byte("planted"))
	records, err := store.List(t.Context(), "default", "")
	require.Equal(t, []string{"default/a-good"}, namesOf(records))
	require.Equal(t, []string{"open default/b-plain", "read default/z-foreign"}, named(t, err))
	require.ErrorIs(t, err, errRights)
}

func TestListFailsIfTheSealerFailsWithoutSayingThatTheRecordIsToBlame(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	for _, name := range []string{"a-good", "b-good"} {
		create(t, writer, "default", name, "content")
	}
	put(t, inner, "default", "c-plain", []byte("planted"))
	for _, away := range []error{errors.New("the KMS is down"), context.DeadlineExceeded} {
		sealer := &counting{Sealer: aesgcm(t, 1), open: func(context.Context) error { return away }}
		records, err := newStore(t, inner, sealer).List(t.Context(), "default", "")
		require.ErrorIs(t, err, away)
		require.Nil(t, records)
		_, other := keystore.SplitUnreadable(err)
		require.Error(t, other, "a failed list, and no list without some records")
	}
	records, err := newStore(t, inner, wrong{aesgcm(t, 1), nil, make([]byte, 31)}).List(t.Context(), "default", "")
	require.ErrorContains(t, err, "data key of 31 bytes")
	require.Nil(t, records)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newStore(t, inner, aesgcm(t, 1)).List(ctx, "default", "")
	require.ErrorIs(t, err, context.Canceled)
}

// misplacing is a store that answers with the record of another place.
type misplacing struct {
	keystore.KeyStore
	move func(r *keystore.Record)
}

func (m misplacing) moved(r keystore.Record, err error) (keystore.Record, error) {
	if err == nil {
		m.move(&r)
	}
	return r, err
}

func (m misplacing) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	return m.moved(m.KeyStore.Get(ctx, keystore.Scope(strings.ToLower(string(scope))), strings.ToLower(name)))
}

func (m misplacing) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return m.moved(m.KeyStore.Create(ctx, r))
}

func (m misplacing) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return m.moved(m.KeyStore.Update(ctx, r))
}

func (m misplacing) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := m.KeyStore.List(ctx, scope, prefix)
	for i := range records {
		m.move(&records[i])
	}
	return records, err
}

func TestStoreRefusesARecordOfAnotherPlaceThanWasAskedFor(t *testing.T) {
	ctx := t.Context()
	t.Run("from a store that folds case", func(t *testing.T) {
		inner := keystore.NewMemory()
		for _, options := range [][]sealed.Option{nil, {sealed.AcceptPlaintext()}, {sealed.WritePlaintext()}} {
			store := newStore(t, misplacing{inner, func(*keystore.Record) {}}, aesgcm(t, 1), options...)
			require.NoError(t, inner.Delete(ctx, "prod", "key-1"))
			create(t, store, "prod", "key-1", "content")
			_, err := store.Get(ctx, "prod", "key-1")
			require.NoError(t, err)
			for _, asked := range [][2]string{{"Prod", "key-1"}, {"prod", "KEY-1"}} {
				r, err := store.Get(ctx, keystore.Scope(asked[0]), asked[1])
				require.ErrorIs(t, err, sealed.ErrAltered)
				require.NotErrorIs(t, err, keystore.ErrNotFound)
				require.ErrorContains(t, err, `the store answered with record "key-1" of scope "prod"`)
				require.ErrorContains(t, err, asked[0])
				require.Empty(t, r)
			}
		}
	})
	for what, move := range map[string]func(*keystore.Record){
		"another scope":     func(r *keystore.Record) { r.Scope = "other" },
		"the global scope":  func(r *keystore.Record) { r.Scope = keystore.Global },
		"another name":      func(r *keystore.Record) { r.Name = "other" },
		"a name around it":  func(r *keystore.Record) { r.Name = "x" + r.Name },
		"all scopes at all": func(r *keystore.Record) { r.Scope = keystore.AllScopes },
	} {
		t.Run("that answers with "+what, func(t *testing.T) {
			for _, options := range [][]sealed.Option{nil, {sealed.WritePlaintext()}} {
				inner := keystore.NewMemory()
				store := newStore(t, misplacing{inner, move}, aesgcm(t, 1), options...)
				r, err := store.Create(ctx, keystore.Record{Scope: "prod", Name: "key-1", Data: []byte("content")})
				require.ErrorIs(t, err, sealed.ErrAltered)
				require.ErrorContains(t, err, `cannot create "key-1" in scope "prod"`)
				require.Empty(t, r)
				written, err := inner.Get(ctx, "prod", "key-1")
				require.NoError(t, err)
				written.Data = []byte("changed")
				r, err = store.Update(ctx, written)
				require.ErrorIs(t, err, sealed.ErrAltered)
				require.Empty(t, r)
				_, err = store.Get(ctx, "prod", "key-1")
				require.ErrorIs(t, err, sealed.ErrAltered)
				records, err := store.List(ctx, "prod", "key-")
				require.ErrorIs(t, err, sealed.ErrAltered)
				require.Nil(t, records)
				_, other := keystore.SplitUnreadable(err)
				require.Error(t, other, "which records there are is in doubt")
			}
		})
	}
}

// lagging is a store whose answers to a Get and a List say that they may be behind.
type lagging struct{ keystore.KeyStore }

func (l lagging) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	keystore.NoteLag(ctx)
	return l.KeyStore.Get(ctx, scope, name)
}

func (l lagging) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	keystore.NoteLag(ctx)
	return l.KeyStore.List(ctx, scope, prefix)
}

func TestAnswersMayLagIfThoseOfTheInnerStoreDo(t *testing.T) {
	inner := keystore.NewMemory()
	create(t, newStore(t, inner, aesgcm(t, 1)), "default", "key-1", "content")
	for _, lags := range []bool{false, true} {
		store := newStore(t, inner, aesgcm(t, 1))
		if lags {
			store = newStore(t, lagging{inner}, aesgcm(t, 1))
		}
		ctx, mayLag := keystore.WithLag(t.Context())
		_, err := store.Get(ctx, "default", "key-1")
		require.NoError(t, err)
		assert.Equal(t, lags, mayLag())
		ctx, mayLag = keystore.WithLag(t.Context())
		_, err = store.List(ctx, "default", "")
		require.NoError(t, err)
		assert.Equal(t, lags, mayLag())
	}
}

func TestResealGoesOnBesideRecordsThatCannotBeOpenedAndNamesThemInTheEnd(t *testing.T) {
	ctx := t.Context()
	inner := keystore.NewMemory()
	old := newStore(t, inner, aesgcm(t, 1))
	for _, name := range []string{"a", "b", "c"} {
		create(t, old, "default", name, "content")
	}
	put(t, inner, "default", "b", []byte("planted"))
	lost := create(t, newStore(t, inner, aesgcm(t, 9)), "default", "d", "of a lost key")
	rewritten, err := sealed.Reseal(ctx, halfReadable{inner}, aesgcm(t, 2, 1))
	require.Equal(t, 2, rewritten)
	require.Equal(t, []string{"open default/b", "open default/d", "read default/z-foreign"}, named(t, err))
	for _, name := range []string{"a", "c"} {
		r, err := newStore(t, inner, aesgcm(t, 2)).Get(ctx, "default", name)
		require.NoError(t, err)
		require.Equal(t, "content", string(r.Data))
	}
	left, err := inner.Get(ctx, "default", "d")
	require.NoError(t, err)
	require.Equal(t, lost.Version, left.Version, "it is as it was")

	down := errors.New("the KMS is down")
	_, err = sealed.Reseal(ctx, inner, &counting{Sealer: aesgcm(t, 3, 2), open: func(context.Context) error { return down }})
	require.ErrorIs(t, err, down)
	_, other := keystore.SplitUnreadable(err)
	require.Error(t, other)
}

func TestListSaysAfterEachCallOfTheSealerThatItGetsOn(t *testing.T) {
	inner := keystore.NewMemory()
	writer := newStore(t, inner, aesgcm(t, 1))
	for i := range 40 {
		create(t, writer, "default", fmt.Sprint("key-", i), "content")
	}
	var progressed atomic.Int64
	_, err := newStore(t, inner, aesgcm(t, 1)).List(keystore.WithProgress(t.Context(), func() { progressed.Add(1) }), "default", "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, progressed.Load(), int64(40))
}
