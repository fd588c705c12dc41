package replica

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

func TestCompleteReadTakesWhatIsThereAndTellsWhatHasChanged(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	f := &Follower{family: dataplanes, prefixes: []string{dataplanes.Prefix}}
	state, data := &State{}, map[keystore.Scope]string{}
	for step := range 100 {
		before := maps.Clone(data)
		for range random.IntN(3) {
			scope := meshName(random.IntN(20))
			if random.IntN(3) == 0 {
				delete(data, scope)
			} else {
				data[scope] = string(rune('a' + random.IntN(26)))
			}
		}
		var records []keystore.Record
		var want []keystore.Scope
		for _, scope := range slices.Sorted(maps.Keys(data)) {
			records = append(records, keystore.Record{Scope: scope, Name: "dataplane-token-revocations-" + string(scope), Data: []byte(data[scope]), Version: data[scope]})
		}
		for i := range 20 {
			if scope := meshName(i); data[scope] != before[scope] {
				want = append(want, scope)
			}
		}

		f.current.Store(state)
		f.store = listed{records: records}
		parts, err := f.readAll(t.Context(), func() {})
		require.NoError(t, err)
		next, changed := f.merge(state, parts, reading{confirmed: time.Now()})
		slices.Sort(changed)
		require.Equal(t, want, changed, "step %d", step)
		require.Equal(t, len(data), next.scopes.len)
		for scope, id := range data {
			c := next.scopes.get(scope)
			require.True(t, c.lists[listID{scope, false}].ids.Contains(id))
			if !slices.Contains(changed, scope) {
				require.Same(t, state.scopes.get(scope), c)
			}
		}
		state = next
	}
}

// listed is a store with these records, of which only List works.
type listed struct {
	keystore.KeyStore
	records []keystore.Record
}

func (l listed) List(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
	return l.records, nil
}
