package revocation_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// flatStore has each name only once, as Kubernetes has.
type flatStore struct{ *keystore.Memory }

func (s flatStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	records, err := s.List(ctx, keystore.AllScopes, r.Name)
	for _, other := range records {
		if other.Name == r.Name && other.Scope != r.Scope {
			return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, keystore.ErrNameTaken)
		}
	}
	if err != nil {
		return keystore.Record{}, err
	}
	return s.Memory.Create(ctx, r)
}

// listsOf returns the ids of the mesh's own list and of the global one; nil where there
// is no record.
func listsOf(t *testing.T, store keystore.KeyStore, mesh string) (own, global []string) {
	t.Helper()
	ids := func(ref revocation.Ref) []string {
		if _, err := store.Get(t.Context(), ref.Scope, ref.Name); err != nil {
			require.ErrorIs(t, err, keystore.ErrNotFound)
			return nil
		}
		list, err := ref.Load(t.Context(), store)
		require.NoError(t, err)
		return append([]string{}, list.IDs()...)
	}
	return ids(revocation.Dataplane(mesh)), ids(revocation.DataplaneGlobal(mesh))
}

func TestDataplaneListsOfAMeshAreKeptInStep(t *testing.T) {
	for name, c := range map[string]struct {
		own, global         []string // before; nil: no record
		wantOwn, wantGlobal []string
	}{
		"neither exists":              {nil, nil, []string{"new"}, nil},
		"only the mesh's exists":      {[]string{"a"}, nil, []string{"a", "new"}, nil},
		"only the global exists":      {nil, []string{"b"}, nil, []string{"b", "new"}},
		"both exist":                  {[]string{"a"}, []string{"b"}, []string{"a", "new"}, []string{"b", "new"}},
		"both exist and one is empty": {[]string{}, []string{"b"}, []string{"new"}, []string{"b", "new"}},
		"one has the id already":      {[]string{"new"}, []string{"b"}, []string{"new"}, []string{"b", "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			for ref, ids := range map[revocation.Ref][]string{revocation.Dataplane("default"): c.own, revocation.DataplaneGlobal("default"): c.global} {
				if ids != nil {
					data, err := revocation.Format(ids)
					require.NoError(t, err)
					_, err = store.Create(t.Context(), keystore.Record{Scope: ref.Scope, Name: ref.Name, Data: data})
					require.NoError(t, err)
				}
			}
			var log logtest.Buffer
			ctx := audit.WithLogger(t.Context(), log.Logger())
			require.NoError(t, revocation.AddDataplane(ctx, store, "default", "new", "new"))
			own, global := listsOf(t, store, "default")
			assert.Equal(t, c.wantOwn, own)
			assert.Equal(t, c.wantGlobal, global)
			assert.Equal(t, 1, log.Count("audit: done", "action=revoke", "mesh=default", "jti=new"), "one decision is one event")

			require.NoError(t, revocation.RemoveDataplane(ctx, store, "default", "new"))
			own, global = listsOf(t, store, "default")
			assert.NotContains(t, own, "new")
			assert.NotContains(t, global, "new")
			assert.Equal(t, 1, log.Count("audit: done", "action=restore", "jti=new"))
		})
	}
}

func TestDataplaneGlobalListStartsWithTheIDsOfTheMeshAndIsMadeOnce(t *testing.T) {
	store := keystore.NewMemory()
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "empty"))
	_, global := listsOf(t, store, "empty")
	assert.Equal(t, []string{}, global, "a list without ids is there too")
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "empty"), "it is made once")

	require.NoError(t, revocation.AddDataplane(t.Context(), store, "default", "a", "b"))
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	own, global := listsOf(t, store, "default")
	assert.Equal(t, []string{"a", "b"}, own)
	assert.Equal(t, []string{"a", "b"}, global)
}

func TestDataplaneListsOfAMeshAreShownWithTheirPlaces(t *testing.T) {
	store := keystore.NewMemory()
	lists, err := revocation.LoadDataplaneLists(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Empty(t, lists)
	assert.Zero(t, lists.Union().Len())

	require.NoError(t, revocation.Dataplane("default").Add(t.Context(), store, "a", "b"))
	require.NoError(t, revocation.DataplaneGlobal("default").Add(t.Context(), store, "b", "c"))
	require.NoError(t, revocation.Dataplane("other").Add(t.Context(), store, "d"))
	lists, err = revocation.LoadDataplaneLists(t.Context(), store, "default")
	require.NoError(t, err)
	require.Len(t, lists, 2)
	assert.Equal(t, revocation.Ref{Scope: "default", Name: "dataplane-token-revocations-default"}, lists[0].Ref)
	assert.Equal(t, []string{"a", "b"}, lists[0].List.IDs())
	assert.Equal(t, revocation.Ref{Scope: keystore.Global, Name: "dataplane-token-revocations-default"}, lists[1].Ref)
	assert.Equal(t, []string{"b", "c"}, lists[1].List.IDs())
	assert.Equal(t, []string{"a", "b", "c"}, lists.Union().IDs())

	put(t, store, revocation.DataplaneGlobal("other"), "\x00\x01")
	lists, err = revocation.LoadDataplaneLists(t.Context(), store, "other")
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	assert.ErrorContains(t, err, "in the global scope")
	assert.Nil(t, lists)
}

func TestDataplaneGlobalListThatIsMadeIsAnAuditEvent(t *testing.T) {
	var log logtest.Buffer
	ctx := audit.WithLogger(audit.WithActor(t.Context(), "alice"), log.Logger())
	store := flatStore{keystore.NewMemory()}
	require.NoError(t, revocation.MakeDataplaneGlobal(ctx, store, "default"))
	assert.Equal(t, 1, log.Count("audit: done", `action="make global list"`, "actor=alice", "kind=dataplane", "mesh=default"))
	require.NoError(t, revocation.Dataplane("other").Add(t.Context(), store, "a"))
	require.ErrorIs(t, revocation.MakeDataplaneGlobal(ctx, store, "other"), keystore.ErrNameTaken)
	assert.Equal(t, 1, log.Count("audit: not done", `action="make global list"`, "mesh=other", "stays in use"))
}

// guardedStore refuses records without data, as Kuma's webhook does.
type guardedStore struct{ *keystore.Memory }

func (s guardedStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if len(r.Data) == 0 {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, keystore.ErrEmpty)
	}
	return s.Memory.Create(ctx, r)
}

func (s guardedStore) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if len(r.Data) == 0 {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrEmpty)
	}
	return s.Memory.Update(ctx, r)
}

func TestListWithoutIDsIsACommaWhereAnEmptyRecordIsRefused(t *testing.T) {
	store := guardedStore{keystore.NewMemory()}
	data := func(ref revocation.Ref) string { return string(get(t, store.Memory, ref).Data) }
	own, global := revocation.Dataplane("default"), revocation.DataplaneGlobal("default")
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	assert.Equal(t, ",", data(global))
	require.NoError(t, revocation.AddDataplane(t.Context(), store, "default", "a"))
	require.NoError(t, own.Add(t.Context(), store, "a"))
	assert.Equal(t, "a", data(global), "the comma is gone")
	require.NoError(t, revocation.RemoveDataplane(t.Context(), store, "default", "a"))
	assert.Equal(t, ",", data(own))
	assert.Equal(t, ",", data(global))
	list, err := revocation.LoadDataplane(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Zero(t, list.Len())
	assert.Empty(t, list.Problems())
}

func TestDataplaneListsLoseNothingWhileTheGlobalOneIsMade(t *testing.T) {
	for round := range 30 {
		store := keystore.NewMemory()
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				assert.NoError(t, revocation.AddDataplane(t.Context(), store, "default", fmt.Sprint("id-", i)))
			})
		}
		all.Go(func() { assert.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default")) })
		all.Wait()
		_, global := listsOf(t, store, "default")
		assert.Len(t, global, 8, "round %d", round)
	}
}

func TestDataplaneListsAreBothCheckedIfTheGlobalOneIsMadeInBetween(t *testing.T) {
	memory, failure := keystore.NewMemory(), errors.New("connection refused")
	made := func(store keystore.KeyStore) func() error {
		return once(func() { assert.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default")) })
	}
	fails := false
	store := interrupted{KeyStore: memory,
		beforeCreate: func() error { fails = true; return made(memory)() },
		beforeGet: func() error {
			if fails {
				return failure
			}
			return nil
		},
	}
	assert.ErrorIs(t, revocation.AddDataplane(t.Context(), store, "default", "a"), failure, "the global list lacks the id")
	fails = false
	require.NoError(t, revocation.AddDataplane(t.Context(), store, "default", "a"))
	own, global := listsOf(t, memory, "default")
	assert.Equal(t, []string{"a"}, own)
	assert.Equal(t, []string{"a"}, global)

	flat := flatStore{keystore.NewMemory()}
	require.NoError(t, revocation.AddDataplane(t.Context(), interrupted{KeyStore: flat, beforeCreate: made(flat)}, "default", "a"))
	own, global = listsOf(t, flat, "default")
	assert.Nil(t, own, "the name is taken")
	assert.Equal(t, []string{"a"}, global)
}

func TestDataplaneGlobalListHasWhatIsRevokedWhileItIsMade(t *testing.T) {
	for name, before := range map[string][]string{"the mesh has no ids": nil, "the mesh has ids": {"a"}} {
		t.Run(name, func(t *testing.T) {
			memory := keystore.NewMemory()
			if before != nil {
				require.NoError(t, revocation.AddDataplane(t.Context(), memory, "default", before[0]))
			}
			store := interrupted{KeyStore: memory, beforeCreate: once(func() { // by a caller who sees no global list
				assert.NoError(t, revocation.AddDataplane(t.Context(), memory, "default", "late"))
			})}
			require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
			_, global := listsOf(t, memory, "default")
			assert.Equal(t, append(before, "late"), global)
		})
	}
}

func TestDataplaneListOfAFlatStoreIsTheOneThatExists(t *testing.T) {
	store := flatStore{keystore.NewMemory()}
	require.NoError(t, revocation.AddDataplane(t.Context(), store, "default", "a"))
	own, global := listsOf(t, store, "default")
	assert.Equal(t, []string{"a"}, own)
	assert.Nil(t, global)
	assert.ErrorIs(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"), keystore.ErrNameTaken)

	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "other"))
	require.NoError(t, revocation.AddDataplane(t.Context(), store, "other", "b"))
	own, global = listsOf(t, store, "other")
	assert.Nil(t, own)
	assert.Equal(t, []string{"b"}, global)
	require.NoError(t, revocation.RemoveDataplane(t.Context(), store, "other", "b"))
	_, global = listsOf(t, store, "other")
	assert.Equal(t, []string{}, global)
}

func TestDataplaneListsAreEachReadAndWrittenOnceAndAFailureOfEitherIsAnError(t *testing.T) {
	failure := errors.New("connection refused")
	own, global := `"dataplane-token-revocations-default" in scope "default": `, `"dataplane-token-revocations-default" in the global scope: `
	var list *revocation.List
	for name, c := range map[string]struct {
		do            func(ctx context.Context, store keystore.KeyStore) error
		first, second string
		event         string
	}{
		"add": {func(ctx context.Context, store keystore.KeyStore) error {
			return revocation.AddDataplane(ctx, store, "default", "b")
		}, "adding to revocation list " + global, "adding to revocation list " + own, "action=revoke"},
		"remove": {func(ctx context.Context, store keystore.KeyStore) error {
			return revocation.RemoveDataplane(ctx, store, "default", "a")
		}, "removing from revocation list " + own, "removing from revocation list " + global, "action=restore"},
		"load": {func(ctx context.Context, store keystore.KeyStore) (err error) {
			list, err = revocation.LoadDataplane(ctx, store, "default")
			return err
		}, "loading revocation list " + own, "loading revocation list " + global, ""},
	} {
		for _, verb := range []string{"get", "update"} {
			for n := 1; n <= 3; n++ {
				memory := keystore.NewMemory()
				require.NoError(t, revocation.AddDataplane(t.Context(), memory, "default", "a"))
				require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), memory, "default"))
				store := interrupted{KeyStore: memory}
				if verb == "get" {
					store.beforeGet = nth(n, always(failure))
				} else {
					store.beforeUpdate = nth(n, always(failure))
				}
				var log logtest.Buffer
				err := c.do(audit.WithLogger(t.Context(), log.Logger()), store)
				if n == 3 || name == "load" && verb == "update" {
					require.NoError(t, err, "%s: no %s fails", name, verb)
					continue
				}
				require.ErrorIs(t, err, failure, "%s: %s %d fails", name, verb, n)
				assert.ErrorContains(t, err, []string{c.first, c.second}[n-1])
				if c.event != "" {
					assert.Equal(t, 1, log.Count("audit: not done", c.event, "mesh=default", "connection refused"))
				}
			}
		}
	}
	assert.Equal(t, []string{"a"}, list.IDs())
}

func TestDataplaneListWhoseNameIsTakenByNoneOfTheMeshIsAnError(t *testing.T) {
	store := interrupted{KeyStore: keystore.NewMemory(), beforeCreate: always(keystore.ErrNameTaken)}
	assert.ErrorIs(t, revocation.AddDataplane(t.Context(), store, "default", "a"), keystore.ErrNameTaken)
}

func TestDataplaneGlobalListThatIsDeletedWhileItIsMadeIsMadeAgain(t *testing.T) {
	memory, global := keystore.NewMemory(), revocation.DataplaneGlobal("default")
	require.NoError(t, revocation.AddDataplane(t.Context(), memory, "default", "a"))
	made := interrupted{KeyStore: memory, beforeGet: nth(3, func() error { // after it was made
		require.Equal(t, "a", string(get(t, memory, global).Data))
		return memory.Delete(t.Context(), global.Scope, global.Name)
	})}
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), made, "default"))
	assert.Equal(t, "a", string(get(t, memory, global).Data))
}
