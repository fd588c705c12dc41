package dataplane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// placed says what a place of keys holds, by kid: the store, or one of the sources.
type placed struct {
	name     string
	chosen   bool
	every    bool // it is for every mesh
	holds    map[string]int
	scripted *scriptedSource // nil: the store
}

// named is a key of a place.
type named struct {
	place string
	key   int
}

// nameOf is the rule of kids, written from the documents: the key that a kid names.
func nameOf(places []*placed, kid string) (named, bool) {
	one := func(is func(p *placed) bool) (found []named) {
		for _, p := range places {
			if key, ok := p.holds[kid]; ok && is(p) {
				found = append(found, named{p.name, key})
			}
		}
		return found
	}
	for _, found := range [][]named{
		one(func(p *placed) bool { return p.chosen && !p.every }),
		one(func(p *placed) bool { return p.chosen && p.every }),
		one(func(p *placed) bool { return p.scripted == nil }),
		one(func(p *placed) bool { return !p.chosen && p.scripted != nil }),
	} {
		if len(found) > 0 {
			return found[0], len(found) == 1
		}
	}
	return named{}, false
}

// In any history of keys that come to, move between and go from the store and sources, a
// token is good as long as its kid names its key, also while sources fail, and a session stays open as long as that
// is the same key in the same place.
func TestAKidNamesOneKeyInAnyHistoryOfItsSources(t *testing.T) {
	kids := []string{"1", "2", "x"}
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 0))
				f := &following{t: t, store: newFaultStore()}
				places := []*placed{
					{name: "the store"},
					{name: "a file", chosen: true}, {name: "another file", chosen: true}, {name: "a file for every mesh", chosen: true, every: true},
					{name: "a set"}, {name: "another set"}, {name: "a set for every mesh", every: true},
				}
				var options []dataplane.ValidatorOption
				for _, p := range places[1:] {
					p.scripted = newScriptedSource(p.name, nil).change(func(k *signing.SourceKeys) { k.Chosen = p.chosen })
					option := dataplane.WithSource("default", p.scripted)
					if p.every {
						option = dataplane.WithSourceForEveryMesh(p.scripted)
					}
					options = append(options, option)
				}
				f.start(options...)

				type tokenOf struct {
					kid string
					key int
				}
				tokens := map[tokenOf]string{}
				for _, kid := range kids {
					for key := range 3 {
						tokens[tokenOf{kid, key}] = f.withSerial(kid, key)
					}
				}
				type opened struct {
					of      tokenOf
					is      named
					context context.Context
				}
				var sessions []opened
				failing := map[*placed]bool{}
				for step := range 60 {
					p := places[random.IntN(len(places))]
					holds := map[string]int{}
					for _, kid := range kids {
						if random.IntN(4) == 0 && (p.scripted != nil || kid != "x") {
							holds[kid] = random.IntN(3)
						}
					}
					switch {
					case p.scripted == nil:
						setStore(f, p.holds, holds)
						p.holds = holds
					case random.IntN(4) == 0: // the last keys stay
						p.scripted.fail(sourceDown)
						p.scripted.hold(holds)
						failing[p] = true
					default:
						p.scripted.fail(nil)
						p.scripted.hold(holds)
						p.holds = holds
						delete(failing, p)
					}
					f.pass(everyRefresh)

					open := sessions[:0]
					for _, s := range sessions {
						is, ok := nameOf(places, s.of.kid)
						if ok && is == s.is {
							assertOpen(t, s.context, "step %d: %v", step, s)
							open = append(open, s)
							continue
						}
						assertEnded(t, s.context, token.ErrUnknownKey, "step %d: %v", step, s)
					}
					sessions = open
					for of, raw := range tokens {
						if is, ok := nameOf(places, of.kid); ok && is.key == of.key {
							verified, err := f.validator.Validate(t.Context(), "default", raw)
							require.NoError(t, err, "step %d: %v", step, of)
							if len(sessions) < 100 {
								sessions = append(sessions, opened{of, is, f.bound(verified)})
							}
							continue
						}
						err := f.check(raw)
						require.Error(t, err, "step %d: %v", step, of)
						if len(failing) == 0 { // else a source that cannot be read may have the key
							require.ErrorIs(t, err, token.ErrInvalid, "step %d: %v", step, of)
						}
					}
				}
			})
		})
	}
}

// setStore makes the store hold other keys of mesh default. It does not touch those that
// stay.
func setStore(f *following, had, has map[string]int) {
	f.t.Helper()
	for kid, before := range had {
		if key, ok := has[kid]; !ok || key != before {
			serial, _ := signing.ParseSerial(kid)
			require.NoError(f.t, f.store.Memory.Delete(f.t.Context(), "default", signing.DataplaneKeys("default").KeyName(serial)))
		}
	}
	for kid, key := range has {
		if before, ok := had[kid]; !ok || key != before {
			serial, _ := signing.ParseSerial(kid)
			putKey(f.t, f.store.Memory, "default", serial, testKey(key))
		}
	}
}
