package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/revocation"
)

// put makes or replaces the record of a list.
func put(t testing.TB, store keystore.KeyStore, ref revocation.Ref, data string) {
	t.Helper()
	require.NoError(t, store.Delete(t.Context(), ref.Scope, ref.Name))
	_, err := store.Create(t.Context(), keystore.Record{Scope: ref.Scope, Name: ref.Name, Data: []byte(data)})
	require.NoError(t, err)
}

func get(t testing.TB, store keystore.KeyStore, ref revocation.Ref) keystore.Record {
	t.Helper()
	record, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.NoError(t, err)
	return record
}

// interrupted is a store in which something happens before a verb is carried out.
// If what happens is an error, the verb is not carried out.
type interrupted struct {
	keystore.KeyStore
	beforeGet, beforeCreate, beforeUpdate func() error
}

func (s interrupted) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if s.beforeGet != nil {
		if err := s.beforeGet(); err != nil {
			return keystore.Record{}, err
		}
	}
	return s.KeyStore.Get(ctx, scope, name)
}

func (s interrupted) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if s.beforeCreate != nil {
		if err := s.beforeCreate(); err != nil {
			return keystore.Record{}, err
		}
	}
	return s.KeyStore.Create(ctx, r)
}

func (s interrupted) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if s.beforeUpdate != nil {
		if err := s.beforeUpdate(); err != nil {
			return keystore.Record{}, err
		}
	}
	return s.KeyStore.Update(ctx, r)
}

// once returns a function that calls f the first time and then does nothing.
func once(f func()) func() error {
	var o sync.Once
	return func() error { o.Do(f); return nil }
}

// nth returns a function that calls f the nth time and otherwise does nothing.
func nth(n int, f func() error) func() error {
	return func() error {
		if n--; n == 0 {
			return f()
		}
		return nil
	}
}

func always(err error) func() error { return func() error { return err } }

func TestRefIsWhereKumaKeepsTheList(t *testing.T) {
	assert.Equal(t, revocation.Ref{Scope: "default", Name: "dataplane-token-revocations-default"}, revocation.Dataplane("default"))
	assert.Equal(t, revocation.Ref{Scope: keystore.Global, Name: "dataplane-token-revocations-default"}, revocation.DataplaneGlobal("default"))
	assert.Equal(t, revocation.Ref{Scope: keystore.Global, Name: "zone-token-revocations"}, revocation.Zone())
}

func TestRefOfAMeshThatCannotBeIsRefused(t *testing.T) {
	store := keystore.NewMemory()
	for name, ref := range map[string]revocation.Ref{
		"the empty mesh":                     revocation.Dataplane(""),
		"the empty mesh in the global scope": revocation.DataplaneGlobal(""),
		"all scopes":                         revocation.Dataplane("*"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ref.Load(t.Context(), store)
			assert.ErrorIs(t, err, keystore.ErrName)
			assert.ErrorIs(t, ref.Add(t.Context(), store, "a"), keystore.ErrName)
			assert.ErrorIs(t, ref.Remove(t.Context(), store, "a"), keystore.ErrName)
		})
	}
}

func TestLoadTakesAMissingRecordAsTheEmptyList(t *testing.T) {
	list, err := revocation.Zone().Load(t.Context(), keystore.NewMemory())
	require.NoError(t, err)
	assert.Zero(t, list.Len())
}

func TestLoadNeverTakesAFailedReadAsAnEmptyList(t *testing.T) {
	ref, failure := revocation.Zone(), errors.New("connection refused")
	unreadable := keystore.NewMemory()
	put(t, unreadable, ref, "\xff\xfea\x00")
	ended, end := context.WithCancel(t.Context())
	end()

	for name, test := range map[string]struct {
		ctx   context.Context
		store keystore.KeyStore
		want  error
	}{
		"the store fails":       {t.Context(), interrupted{KeyStore: keystore.NewMemory(), beforeGet: always(failure)}, failure},
		"the list is no text":   {t.Context(), unreadable, revocation.ErrUnreadable},
		"the context has ended": {ended, keystore.NewMemory(), context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := ref.Load(test.ctx, test.store)
			assert.ErrorIs(t, err, test.want)
			assert.ErrorContains(t, err, `"zone-token-revocations" in the global scope`)
			assert.Nil(t, list)
		})
	}
}

func TestRefNeedsAStore(t *testing.T) {
	_, err := revocation.Zone().Load(t.Context(), nil)
	assert.ErrorContains(t, err, "the store is nil")
	assert.ErrorContains(t, revocation.Zone().Add(t.Context(), nil, "a"), "the store is nil")
	assert.ErrorContains(t, revocation.Zone().Remove(t.Context(), nil, "a"), "the store is nil")
}

func TestAddMakesTheRecordAndRemoveLeavesItEmpty(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Dataplane("default")

	require.NoError(t, ref.Add(t.Context(), store, "a", someUUID))
	assert.Equal(t, "a,"+someUUID, string(get(t, store, ref).Data))

	require.NoError(t, ref.Remove(t.Context(), store, someUUID))
	assert.Equal(t, "a", string(get(t, store, ref).Data))

	require.NoError(t, ref.Remove(t.Context(), store, "a"))
	assert.Empty(t, get(t, store, ref).Data)

	list, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Zero(t, list.Len())

	require.NoError(t, ref.Add(t.Context(), store, "b"))
	assert.Equal(t, "b", string(get(t, store, ref).Data))
}

func TestRefsOfOtherMeshesAndKindsStayApart(t *testing.T) {
	store := keystore.NewMemory()
	refs := []revocation.Ref{
		revocation.Dataplane("default"), revocation.DataplaneGlobal("default"),
		revocation.Dataplane("default-2"), revocation.DataplaneGlobal("default-2"), revocation.Zone(),
	}
	for i, ref := range refs {
		require.NoError(t, ref.Add(t.Context(), store, fmt.Sprint("id-", i)))
	}
	for i, ref := range refs {
		list, err := ref.Load(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []string{fmt.Sprint("id-", i)}, list.IDs())
	}
}

func TestEditKeepsTheOrderOfTheList(t *testing.T) {
	tests := map[string]struct {
		before      string
		add, remove []string
		after       string
	}{
		"an id is added last":                        {before: "c,a", add: []string{"b"}, after: "c,a,b"},
		"several are added in the order given":       {before: "c", add: []string{"b", "a"}, after: "c,b,a"},
		"an id given twice is added once":            {before: "c", add: []string{"b", "b"}, after: "c,b"},
		"those that are there keep their place":      {before: "c,a", add: []string{"b", "c"}, after: "c,a,b"},
		"a list by hand is put in normal form":       {before: "\uFEFF c,\r\n\r\na, c\n", add: []string{"b"}, after: "c,a,b"},
		"an id is removed wherever it stands":        {before: "a\nb,a c,a", remove: []string{"a"}, after: "b,c"},
		"several are removed":                        {before: "a,b,c", remove: []string{"c", "x", "a"}, after: "b"},
		"malformed items are kept as they are":       {before: "é;1, a\xff,b\u00A0\xe2\x80,b", add: []string{"c"}, after: "é;1,a\xff,b,\xe2\x80,c"},
		"malformed items stay when an id is removed": {before: "a,é,b", remove: []string{"a"}, after: "é,b"},
		"a canonical UUID is removed and no other spelling": {
			before: strings.ToUpper(someUUID) + "," + someUUID, remove: []string{someUUID}, after: strings.ToUpper(someUUID),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			store, ref := keystore.NewMemory(), revocation.Zone()
			put(t, store, ref, test.before)
			if test.add != nil {
				require.NoError(t, ref.Add(t.Context(), store, test.add...))
			}
			if test.remove != nil {
				require.NoError(t, ref.Remove(t.Context(), store, test.remove...))
			}
			assert.Equal(t, test.after, string(get(t, store, ref).Data))
		})
	}
}

// unversioned is a store that gives no versions, for one writer alone.
type unversioned struct{ keystore.KeyStore }

func (s unversioned) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	r, err := s.KeyStore.Get(ctx, scope, name)
	r.Version = ""
	return r, err
}

func (s unversioned) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	r, err := s.KeyStore.Create(ctx, r)
	r.Version = ""
	return r, err
}

func (s unversioned) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	now, err := s.KeyStore.Get(ctx, r.Scope, r.Name)
	if err != nil {
		return r, err
	}
	r.Version = now.Version
	r, err = s.KeyStore.Update(ctx, r)
	r.Version = ""
	return r, err
}

func TestEditKnowsWhetherTheListIsThereInAStoreWithoutVersions(t *testing.T) {
	store, mesh := unversioned{keystore.NewMemory()}, "default"
	own := revocation.Dataplane(mesh)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, revocation.RemoveDataplane(ctx, store, mesh, "a"), "there is no list")
	_, err := store.Get(ctx, own.Scope, own.Name)
	require.ErrorIs(t, err, keystore.ErrNotFound)

	require.NoError(t, own.Add(ctx, store, "a"))
	require.NoError(t, own.Add(ctx, store, "b", "c"))
	require.NoError(t, own.Remove(ctx, store, "b"))
	assert.Equal(t, "a,c", string(get(t, store, own).Data))

	require.NoError(t, revocation.MakeDataplaneGlobal(ctx, store, mesh))
	require.NoError(t, revocation.AddDataplane(ctx, store, mesh, "d"))
	require.NoError(t, revocation.RemoveDataplane(ctx, store, mesh, "a"))
	assert.Equal(t, "c,d", string(get(t, store, own).Data))
	assert.Equal(t, "c,d", string(get(t, store, revocation.DataplaneGlobal(mesh)).Data), "both lists are in step")
}

func TestEditThatChangesNothingWritesNothing(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	require.NoError(t, ref.Remove(t.Context(), store, "a"))
	require.NoError(t, ref.Add(t.Context(), store))
	_, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.ErrorIs(t, err, keystore.ErrNotFound)

	const written = " a,\n a, b, é\n"
	put(t, store, ref, written)
	before := get(t, store, ref)
	readOnly := interrupted{KeyStore: store, beforeCreate: always(keystore.ErrReadOnly), beforeUpdate: always(keystore.ErrReadOnly)}
	require.NoError(t, ref.Add(t.Context(), readOnly, "b", "a"))
	require.NoError(t, ref.Remove(t.Context(), readOnly, "x", someUUID))
	assert.Equal(t, before, get(t, store, ref))
}

func TestEditChecksIDsBeforeAnythingIsRead(t *testing.T) {
	read := errors.New("the store was read")
	store := interrupted{KeyStore: keystore.NewMemory(), beforeGet: always(read)}
	for _, id := range []string{"", "a,b", "a b", "a\n", "é", strings.Repeat("x", 257)} {
		for _, err := range []error{
			revocation.Zone().Add(t.Context(), store, "good", id),
			revocation.Zone().Remove(t.Context(), store, "good", id),
		} {
			assert.ErrorIs(t, err, revocation.ErrID)
			assert.NotErrorIs(t, err, read)
		}
	}
}

func TestEditDoesNotOverwriteAnUnreadableList(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(t, store, ref, "\xff\xfea\x00,\x00b\x00")
	before := get(t, store, ref)
	assert.ErrorIs(t, ref.Add(t.Context(), store, "c"), revocation.ErrUnreadable)
	assert.ErrorIs(t, ref.Remove(t.Context(), store, "c"), revocation.ErrUnreadable)
	assert.Equal(t, before, get(t, store, ref))
}

func TestRemoveOfTheLastIDDoesNotLeaveAnUnreadableList(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	for item, says := range map[string]string{"é": `"é" holds U+00E9`, "\x00": `"\x00" holds U+0000`} {
		put(t, store, ref, "a,"+item)
		err := ref.Remove(t.Context(), store, "a")
		assert.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorContains(t, err, "what would be left: ")
		assert.ErrorContains(t, err, says)
		assert.Equal(t, "a,"+item, string(get(t, store, ref).Data))
	}

	ids := strings.Repeat("id;", 100) + "id" // too long for an id
	put(t, store, ref, "a,"+ids)
	require.NoError(t, ref.Remove(t.Context(), store, "a"))
	list, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, []string{"id"}, list.IDs(), "what is left revokes")
}

func TestEditPassesOnWhatTheStoreRefuses(t *testing.T) {
	failure := errors.New("connection refused")
	ref := revocation.Zone()
	for _, want := range []error{failure, keystore.ErrReadOnly, keystore.ErrTooLarge, keystore.ErrNameTaken, context.DeadlineExceeded} {
		store := interrupted{KeyStore: keystore.NewMemory(), beforeCreate: always(want), beforeUpdate: always(want)}
		err := ref.Add(t.Context(), store, "b")
		assert.ErrorIs(t, err, want)
		assert.ErrorContains(t, err, `adding to revocation list "zone-token-revocations" in the global scope`)

		put(t, store.KeyStore, ref, "a")
		assert.ErrorIs(t, ref.Add(t.Context(), store, "b"), want)
		err = ref.Remove(t.Context(), store, "a")
		assert.ErrorIs(t, err, want)
		assert.ErrorContains(t, err, "removing from")
	}
	store := interrupted{KeyStore: keystore.NewMemory(), beforeGet: always(failure)}
	assert.ErrorIs(t, ref.Add(t.Context(), store, "b"), failure)
	assert.ErrorIs(t, ref.Remove(t.Context(), store, "b"), failure)
}

func TestAddGoesToARecordThatIsCreatedInBetween(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	raced := interrupted{KeyStore: store, beforeCreate: once(func() { put(t, store, ref, "theirs") })}
	require.NoError(t, ref.Add(t.Context(), raced, "ours"))
	assert.Equal(t, "theirs,ours", string(get(t, store, ref).Data))
}

func TestEditReadsARecordThatIsChangedInBetweenAgain(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(t, store, ref, "a,b")
	raced := interrupted{KeyStore: store, beforeUpdate: once(func() {
		require.NoError(t, ref.Remove(t.Context(), store, "a"))
		require.NoError(t, ref.Add(t.Context(), store, "theirs"))
	})}
	require.NoError(t, ref.Add(t.Context(), raced, "ours"))
	assert.Equal(t, "b,theirs,ours", string(get(t, store, ref).Data))
}

func TestAddMakesARecordThatIsDeletedInBetweenAnew(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(t, store, ref, "a")
	raced := interrupted{KeyStore: store, beforeUpdate: once(func() {
		require.NoError(t, store.Delete(t.Context(), ref.Scope, ref.Name))
	})}
	require.NoError(t, ref.Add(t.Context(), raced, "ours"))
	assert.Equal(t, "ours", string(get(t, store, ref).Data))
}

func TestRemoveLeavesARecordThatIsDeletedInBetweenDeleted(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(t, store, ref, "a,b")
	raced := interrupted{KeyStore: store, beforeUpdate: once(func() {
		require.NoError(t, store.Delete(t.Context(), ref.Scope, ref.Name))
	})}
	require.NoError(t, ref.Remove(t.Context(), raced, "a"))
	_, err := store.Get(t.Context(), ref.Scope, ref.Name)
	assert.ErrorIs(t, err, keystore.ErrNotFound)
}

func TestEditStopsTryingWhenItsContextEnds(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(t, store, ref, "a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	attempts := 0
	contended := interrupted{KeyStore: store, beforeUpdate: func() error {
		if attempts++; attempts == 3 {
			cancel()
		}
		return keystore.ErrConflict
	}}
	err := ref.Add(ctx, contended, "b")
	assert.ErrorIs(t, err, context.Canceled)
	assert.GreaterOrEqual(t, attempts, 3)
	assert.Equal(t, "a", string(get(t, store, ref).Data))
}

func TestEditByManyAdministratorsAtOnceLosesNothing(t *testing.T) {
	directory, err := dir.Open(t.TempDir())
	require.NoError(t, err)
	for name, store := range map[string]keystore.KeyStore{"in memory": keystore.NewMemory(), "in a directory": directory} {
		t.Run(name, func(t *testing.T) { editAtOnce(t, store) })
	}
}

func editAtOnce(t *testing.T, store keystore.KeyStore) {
	const administrators, each = 16, 20
	ref := revocation.Dataplane("default")
	var obsolete []string
	for i := range administrators {
		obsolete = append(obsolete, fmt.Sprint("obsolete-", i))
	}
	require.NoError(t, ref.Add(t.Context(), store, obsolete...))

	var group sync.WaitGroup
	for a := range administrators {
		group.Go(func() {
			for i := range each {
				assert.NoError(t, ref.Add(t.Context(), store, fmt.Sprintf("id-%d-%d", a, i)))
			}
			assert.NoError(t, ref.Remove(t.Context(), store, obsolete[a]))
		})
	}
	group.Wait()

	list, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, administrators*each, list.Len())
	for a := range administrators {
		for i := range each {
			assert.True(t, list.Contains(fmt.Sprintf("id-%d-%d", a, i)))
		}
		assert.False(t, list.Contains(obsolete[a]))
	}
}

func TestEditOfManyIDsIsLikeThatOfAFew(t *testing.T) {
	const n = 100_000
	store, ref := keystore.NewMemory(), revocation.Zone()
	data := firstUUIDs(n)
	put(t, store, ref, string(data))
	first := string(data[:36])

	require.NoError(t, ref.Add(t.Context(), store, someUUID))
	require.NoError(t, ref.Remove(t.Context(), store, first))

	list, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, n, list.Len())
	assert.True(t, list.Contains(someUUID))
	assert.False(t, list.Contains(first))
	want := string(data[37:]) + "," + someUUID
	assert.True(t, want == string(get(t, store, ref).Data), "the others are where they were")
}
