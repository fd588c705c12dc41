package replica

import (
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
	f := &Follower{family: dataplanes}
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
		var in found
		var want []keystore.Scope
		for _, scope := range slices.Sorted(maps.Keys(data)) {
			in.records = append(in.records, keystore.Record{Scope: scope, Name: "dataplane-token-revocations-" + string(scope), Data: []byte(data[scope]), Version: data[scope]})
		}
		for i := range 20 {
			if scope := meshName(i); data[scope] != before[scope] {
				want = append(want, scope)
			}
		}

		next, changed := f.merge(state, in, time.Now())
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
