package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Faults, changes and tokens come at random. While they last nothing that is not
// so may be said; once they end, everything announced counts and is answered.
func TestValidatorHeedsAnnouncedChangesOnceRandomFaultsEnd(t *testing.T) {
	for seed := range storetest.Repeat(12, 200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stressFollowing(t, uint64(seed)) })
		})
	}
}

func stressFollowing(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	f := newFollowing(t)
	const meshes = 6
	mesh := func(i int) string { return fmt.Sprintf("mesh-%d", i) }
	offline := newOfflineIssuer(t, testKey(2), "own")
	polled, hangs := seed%4 >= 2, seed%2 == 0
	options := []dataplane.ValidatorOption{quiet, dataplane.WithMaxStale([]time.Duration{0, 5 * time.Second, time.Hour}[seed%3])}
	for i := range meshes {
		if i > 0 { // one has no records, but tokens
			putKey(t, f.store.Memory, mesh(i), 1, testKey(1))
		}
		options = append(options, dataplane.WithPublicKey(mesh(i), "own", testKey(2).Public()))
	}
	var store keystore.KeyStore = f.store
	if polled {
		store = f.polled()
	}
	if seed%5 == 4 {
		f.store.setList(failing) // a cold start
	}
	f.startOn(store, options...)

	type revocable struct {
		mesh, raw, id string
		revoked       bool
	}
	var tokens []*revocable
	for i := range meshes {
		for range 12 {
			raw := issue(t, offline, mesh(i), 30*day)
			_, claims := inside(t, raw)
			tokens = append(tokens, &revocable{mesh: mesh(i), raw: raw, id: claims.ID})
		}
	}
	var asking sync.WaitGroup
	ask := func(mesh, raw string, wants ...error) {
		wait := time.Duration(1+random.IntN(2000)) * time.Millisecond
		asking.Go(func() {
			ctx, leave := context.WithTimeout(t.Context(), wait)
			defer leave()
			began := time.Now()
			_, err := f.validator.Validate(ctx, mesh, raw)
			assert.LessOrEqual(t, time.Since(began), 1260*time.Millisecond)
			for _, want := range append(wants, token.ErrUnavailable) {
				if errors.Is(err, want) { // also nil
					return
				}
			}
			t.Errorf("mesh %s: the answer is %v, want one of %v", mesh, err, wants)
		})
	}
	for range 10 { // times that all is well again
		for range 10 {
			switch random.IntN(4) {
			case 0: // another fault
				broken := map[keystore.Scope]int{keystore.AllScopes: random.IntN(3), keystore.Global: random.IntN(6)}
				for i := range meshes {
					broken[keystore.Scope(mesh(i))] = random.IntN(6)
				}
				f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
					switch broken[scope] {
					case 1:
						return failing(ctx, scope, prefix)
					case 2:
						if hangs {
							return hanging(ctx, scope, prefix)
						}
						return failing(ctx, scope, prefix)
					case 3:
						time.Sleep(30 * time.Millisecond)
					}
					return f.store.Memory.List(ctx, scope, prefix)
				})
			case 1:
				if x := tokens[random.IntN(len(tokens))]; !x.revoked {
					x.revoked = true
					require.NoError(t, dataplane.Revoke(t.Context(), f.store.Memory, x.mesh, x.id))
				}
			case 2:
				x := tokens[random.IntN(len(tokens))]
				ask(x.mesh, x.raw, nil, token.ErrRevoked) // it may not be known yet, or revoked while it waits
			case 3:
				for range 1 + random.IntN(10) {
					ask(mesh(random.IntN(2*meshes)), f.withKid(tokens[0].raw, fmt.Sprint(7+random.IntN(3))), token.ErrUnknownKey)
				}
			}
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		}
		f.store.setList(nil)
		if hangs { // a polled store is read as a whole after twice the time that such a read hung
			f.pass(20 * time.Second)
		}
		f.pass(recovery)
		asking.Wait()
		for _, x := range tokens {
			err := check(t, f.validator, x.mesh, x.raw)
			if x.revoked {
				assert.ErrorIs(t, err, token.ErrRevoked, x.mesh)
			} else {
				assert.NoError(t, err, x.mesh)
			}
		}
	}
	f.pass(31 * time.Second)
	since := len(f.store.readsSoFar())
	f.pass(time.Minute)
	most := []int{70, 28, 4}[seed%3] // complete reads, by the limit of staleness
	if polled {
		most += 62
	}
	assert.LessOrEqual(t, len(f.store.readsSoFar())-since, most, "nothing is left to be read")
}
