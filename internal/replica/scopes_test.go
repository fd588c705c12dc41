package replica

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

func TestScopesKeepWhatEachVersionHeld(t *testing.T) {
	type version struct {
		scopes scopes
		want   map[keystore.Scope]*content
	}
	random := rand.New(rand.NewPCG(1, 2))
	versions := []version{{want: map[keystore.Scope]*content{}}}
	for range 200 {
		from := versions[random.IntN(len(versions))]
		edit, want := from.scopes.edit(), maps.Clone(from.want)
		for range random.IntN(40) {
			scope := keystore.Scope(fmt.Sprintf("mesh-%d", random.IntN(600)))
			if random.IntN(20) == 0 {
				scope = keystore.Global
			}
			if random.IntN(3) == 0 {
				edit.put(scope, nil)
				delete(want, scope)
				continue
			}
			c := &content{}
			edit.put(scope, c)
			want[scope] = c
		}
		versions = append(versions, version{edit.scopes, want})
	}
	for _, v := range versions {
		require.Equal(t, len(v.want), v.scopes.len)
		require.True(t, maps.Equal(v.want, maps.Collect(v.scopes.all())))
		yields := 0
		for range v.scopes.all() {
			yields++
		}
		require.Equal(t, len(v.want), yields, "each once")
		for scope, c := range v.want {
			require.Same(t, c, v.scopes.get(scope))
		}
		require.Nil(t, v.scopes.get("absent"))
	}
}

func TestScopesBeginWithARandomMeshAndEndWithTheGlobalScope(t *testing.T) {
	edit := scopes{}.edit()
	const meshes = 100
	for i := range meshes {
		edit.put(meshName(i), &content{})
	}
	edit.put(keystore.Global, &content{})
	first := map[keystore.Scope]bool{}
	for range 1000 {
		var last keystore.Scope
		n := 0
		for scope := range edit.scopes.all() {
			if n == 0 {
				first[scope] = true
			}
			last = scope
			n++
		}
		require.Equal(t, keystore.Global, last)
	}
	require.Greater(t, len(first), meshes/2)
	for range edit.scopes.all() { // a loop may end at any time
		break
	}
}

func TestScopesAreSpreadOverAllParts(t *testing.T) {
	var seen [width][width]bool
	n := 0
	for i := range 40 * width * width {
		i, j := placeOf(meshName(i))
		if !seen[i][j] {
			seen[i][j] = true
			n++
		}
	}
	require.Equal(t, width*width, n)
}

func TestAChangeOfNeighbouringPartsReachesNoOlderScopes(t *testing.T) {
	var neighbours [width]keystore.Scope // in the parts of one part
	for n, found := 0, 0; found < width; n++ {
		if i, j := placeOf(meshName(n)); i == 7 && neighbours[j] == "" {
			neighbours[j] = meshName(n)
			found++
		}
	}
	forward, backward := neighbours, neighbours
	slices.Reverse(backward[:])
	for _, order := range [][width]keystore.Scope{forward, backward} {
		before := scopes{}.edit()
		was := map[keystore.Scope]*content{}
		for _, name := range order {
			was[name] = &content{}
			before.put(name, was[name])
		}
		after := before.scopes.edit()
		for _, name := range order {
			after.put(name, &content{})
		}
		for _, name := range order {
			require.Same(t, was[name], before.get(name))
			require.NotSame(t, was[name], after.get(name))
		}
	}
}
