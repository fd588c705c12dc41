package dataplane_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestTheCauseOfASessionThatEndsSaysWhatBecameOfItsKey(t *testing.T) {
	for name, c := range map[string]struct {
		kid    string
		key    int
		happen func(f *following, one, two *scriptedSource)
		says   string
	}{
		"it was removed from the store":  {"1", 0, func(f *following, _, _ *scriptedSource) { f.removeKey(1) }, `key "1" was removed`},
		"it was replaced in the store":   {"1", 0, func(f *following, _, _ *scriptedSource) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(2)) }, `key "1" was removed`},
		"it was removed from a source":   {"a", 1, func(_ *following, one, _ *scriptedSource) { one.hold(nil) }, `key "a" was removed`},
		"it was replaced in a source":    {"a", 1, func(_ *following, one, _ *scriptedSource) { one.hold(map[string]int{"a": 2}) }, `key "a" was removed`},
		"the store has one":              {"7", 1, func(f *following, _, _ *scriptedSource) { putKey(f.t, f.store.Memory, "default", 7, testKey(1)) }, `the key with kid "7" in one is not used: the store has one`},
		"a chosen one hides a source's":  {"b", 1, func(_ *following, _, two *scriptedSource) { two.hold(map[string]int{"b": 1}) }, `kid "b" names another key now`},
		"a chosen one hides the store's": {"1", 0, func(_ *following, _, two *scriptedSource) { two.hold(map[string]int{"1": 0}) }, `kid "1" names another key now`},
		"another source has one too":     {"a", 1, func(_ *following, _, two *scriptedSource) { two.hold(map[string]int{"a": 2}) }, "both one and two have one"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := newScriptedSource("one", map[string]int{"a": 1, "b": 1, "7": 1}), newScriptedSource("two", nil)
				if strings.HasPrefix(name, "a chosen one") {
					two.change(func(k *signing.SourceKeys) { k.Chosen = true })
				}
				f := newFollowing(t).start(dataplane.WithSource("default", one), dataplane.WithSource("default", two))
				session := f.session(f.withSerial(c.kid, c.key))
				c.happen(f, one, two)
				f.pass(everyRefresh)
				assertEnded(t, session, token.ErrUnknownKey)
				assert.ErrorContains(t, context.Cause(session), c.says)
			})
		})
	}
}

func TestARefusalSaysWhereAKeyWasLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		own := dataplane.WithPublicKey("default", "own", testKey(1).Public())
		with, without, offline := newValidator(t, f.store, own), newValidator(t, f.store, own, dataplane.WithoutStoreKeys()), newOfflineValidator(t, own)
		synctest.Wait()
		for kid, says := range map[string][3]string{
			"7":     {`there is no key with kid "7" for mesh "default"`, `no public key with kid "7" is configured for mesh "default"`, `no public key with kid "7" is configured for mesh "default"`},
			"other": {`no source of keys has kid "other", and it is no serial number`, `no public key with kid "other" is configured`, `no public key with kid "other" is configured`},
		} {
			for i, validator := range []dataplane.Validator{with, without, offline} {
				err := check(t, validator, "default", f.withSerial(kid, 2))
				assert.ErrorIs(t, err, token.ErrUnknownKey)
				assert.ErrorContains(t, err, says[i])
			}
		}
	})
}

// The store may have a key of the same serial, so the token waits.
func TestATokenOfASourceWaitsUntilTheStoreWasReadIfItsKidIsASerial(t *testing.T) {
	for name, c := range map[string]struct {
		kid     string
		one     map[string]int
		two     map[string]int
		inStore bool
		waits   time.Duration
		want    error
		says    string
	}{
		"the store does not have it": {kid: "7", one: map[string]int{"7": 1}, waits: 700 * time.Millisecond},
		"the store has it":           {kid: "7", one: map[string]int{"7": 1}, inStore: true, waits: 700 * time.Millisecond, want: token.ErrSignature, says: "the key of the same kid in one is not used"},
		"two sources have it":        {kid: "7", one: map[string]int{"7": 1}, two: map[string]int{"7": 2}, waits: 700 * time.Millisecond, want: token.ErrUnknownKey, says: "both one and two have one"},
		"two sources have a name":    {kid: "a", one: map[string]int{"a": 1}, two: map[string]int{"a": 2}, want: token.ErrUnknownKey, says: "both one and two have one"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				if c.inStore {
					putKey(t, f.store.Memory, "default", 7, testKey(2))
				}
				f.store.setList(f.store.slowly(700 * time.Millisecond))
				f.start(dataplane.WithSource("default", newScriptedSource("one", c.one)), dataplane.WithSource("default", newScriptedSource("two", c.two)))
				began := time.Now()
				err := f.check(f.withSerial(c.kid, 1))
				assert.GreaterOrEqual(t, time.Since(began), c.waits)
				if c.want == nil {
					assert.Equal(t, c.waits, time.Since(began))
				}
				assert.ErrorIs(t, err, c.want)
				if c.want != nil {
					assert.NotErrorIs(t, err, token.ErrUnavailable)
					assert.ErrorContains(t, err, c.says)
				}
			})
		})
	}
}

func TestATokenOfASourceIsRefusedForAMeshThatCannotExist(t *testing.T) {
	own := dataplane.WithPublicKeyForEveryMesh("own", testKey(1).Public())
	validator := newOfflineValidator(t, own)
	online := newValidator(t, newFaultStore(), own)
	for _, mesh := range []string{"a/b", "..", strings.Repeat("m", 129)} {
		raw := signPayload(t, testKey(1), "own", `{"Mesh":"`+mesh+`","jti":"`+someID+`","exp":4000000000}`)
		for _, validator := range []dataplane.Validator{validator, online} {
			err := check(t, validator, mesh, raw)
			assert.ErrorIs(t, err, token.ErrScope)
			assert.ErrorContains(t, err, "the requested mesh cannot exist")
		}
	}
	raw := signPayload(t, testKey(1), "own", `{"Mesh":"a","jti":"`+someID+`","exp":4000000000}`)
	assert.NoError(t, check(t, validator, "a", raw))
}

func TestOnlyARefusalByTheStoresKeySaysThatASourceHasOneOfTheSameKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSource("default", newScriptedSource("idp", map[string]int{"1": 1, "a": 1})))
		const says = "the key of the same kid in idp is not used"
		assert.ErrorContains(t, f.check(f.withSerial("1", 1)), says)
		err := f.check(tampered(f.withSerial("a", 1)))
		assert.ErrorIs(t, err, token.ErrSignature)
		assert.NotContains(t, err.Error(), says)
	})
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		err := f.check(tampered(f.issue(day)))
		assert.ErrorIs(t, err, token.ErrSignature)
		assert.NotContains(t, err.Error(), "not used")
	})
}

// plainSource is a source that cannot be compared with another.
type plainSource struct {
	*scriptedSource
	_ []int
}

func TestSourcesMayShareAMeshUnlessTheirKeysCouldNotBeUsed(t *testing.T) {
	set, plain := newScriptedSource("set", map[string]int{"a": 1}), plainSource{scriptedSource: newScriptedSource("plain", map[string]int{"b": 1})}
	file := pemFile(t, "own", t.TempDir()+"/key.pem")
	for name, options := range map[string][]dataplane.ValidatorOption{
		"a set and a configured key":           {dataplane.WithSource("default", set), dataplane.WithPublicKey("default", "own", testKey(1).Public())},
		"a configured key and a set":           {dataplane.WithPublicKey("default", "own", testKey(1).Public()), dataplane.WithSource("default", set)},
		"a file for one mesh and for all":      {dataplane.WithSource("default", file), dataplane.WithSourceForEveryMesh(file)},
		"a file for two meshes":                {dataplane.WithSource("default", file), dataplane.WithSource("other", file)},
		"two configured keys of several kids":  {dataplane.WithPublicKey("default", "own", testKey(1).Public()), dataplane.WithPublicKey("default", "another", testKey(1).Public())},
		"a source that cannot be compared":     {dataplane.WithSource("default", plain)},
		"the same twice, which cannot be seen": {dataplane.WithSource("default", plain), dataplane.WithSource("default", plain)},
	} {
		validator, err := dataplane.NewOfflineValidator(append(options, quiet)...)
		if assert.NoError(t, err, name) {
			assert.NoError(t, validator.Close())
		}
	}
}

func TestOptionsOfSessionsHaveLimits(t *testing.T) {
	own := dataplane.WithPublicKey("default", "own", testKey(1).Public())
	for says, option := range map[string]dataplane.ValidatorOption{
		"WithSessionMaxStale: -1ns is negative":             dataplane.WithSessionMaxStale(-1),
		"WithSessionJitter: -1ns is out of range":           dataplane.WithSessionJitter(-1),
		"WithSessionJitter: 1m0.000000001s is out of range": dataplane.WithSessionJitter(time.Minute + 1),
		"WithCache: -1 tokens":                              dataplane.WithCache(-1),
	} {
		_, err := dataplane.NewOfflineValidator(own, option)
		assert.ErrorContains(t, err, says)
	}
	for _, option := range []dataplane.ValidatorOption{dataplane.WithSessionMaxStale(0), dataplane.WithSessionJitter(0), dataplane.WithSessionJitter(time.Minute), dataplane.WithCache(0)} {
		newOfflineValidator(t, own, option)
	}
}

func TestSessionsOutliveTheStoreForAnHourByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		session := f.session(f.issue(30 * day))
		f.pass(29 * time.Second)
		reads := f.store.readsSoFar()
		confirmed := reads[len(reads)-1].at
		f.store.setList(failing)
		f.pass(time.Until(confirmed.Add(time.Hour)))
		assertOpen(t, session)
		f.pass(sessionCheck)
		assertEnded(t, session, token.ErrUnavailable)
	})
}

func TestALogOfKidsNamesSixteenOfThemAndCountsTheOthers(t *testing.T) {
	for n, more := range map[int]string{16: "", 17: "more=1"} {
		synctest.Test(t, func(t *testing.T) {
			source := newScriptedSource("idp", nil)
			f := newFollowing(t).start(dataplane.WithSource("default", source))
			keys := map[string]int{}
			for i := range n {
				keys["kid"+string(rune('a'+i))] = 1
			}
			source.hold(keys)
			f.pass(everyRefresh)
			assert.Equal(t, 16, f.log.Count("new key", "source=idp", "kid=kid"))
			if more == "" {
				assert.Zero(t, f.log.Count("more="))
			} else {
				assert.Equal(t, 1, f.log.Count("new key", more))
			}
		})
	}
}

func TestALogOfARefusalSaysWhatIsKnownOfTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.start(dataplane.WithUnrevocableTokens())
		expired := signPayload(t, testKey(0), "1", `{"Mesh":"default","jti":"`+someID+`","exp":1}`)
		f.refuses(expired, token.ErrExpired)
		assert.Equal(t, 1, f.log.Count("level=INFO ", `msg="token refused"`, "kind=dataplane", "mesh=default ", "kid=1 ", "jti="+someID))
		assert.Zero(t, f.log.Count("zone="))
		f.log.Reset()

		f.refuses(signPayload(t, testKey(0), "1", `{"Mesh":"default","exp":1}`), token.ErrExpired)
		assert.Equal(t, 1, f.log.Count("kid=1"))
		assert.Zero(t, f.log.Count("jti"))
		f.log.Reset()

		f.refuses("rubbish", token.ErrMalformed)
		assert.Equal(t, 1, f.log.Count("token refused"))
		assert.Zero(t, f.log.Count("kid="))
		f.log.Reset()

		assert.Error(t, check(t, f.validator, "a\n\"b\"", expired))
		assert.Equal(t, 1, f.log.Count(`mesh="a\\n\\\"b\\\""`), f.log.String())
		f.log.Reset()

		f.store.setList(hanging)
		unknown := f.withSerial("7", 1)
		f.cannotTell(unknown)
		assert.Equal(t, 1, f.log.Count("level=WARN ", "token could not be checked"))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.validator.Validate(ctx, "default", unknown)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.Equal(t, 1, f.log.Count("level=INFO ", "token could not be checked"), "the peer has gone")
		require.NoError(t, f.validator.Close())
		assert.ErrorIs(t, f.check(unknown), token.ErrClosed)
		assert.Equal(t, 2, f.log.Count("level=INFO ", "token could not be checked"), "nothing is wrong")
	})
}

func TestAKeyOfWhichNothingIsKnownAnyMoreIsInNoReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raw := f.issue(30 * day)
		f.accepts(raw)
		f.removeKey(1)
		synctest.Wait()
		f.refuses(raw, token.ErrUnknownKey)
		assert.Empty(t, f.validator.Report().Keys)
		assert.Empty(t, f.validator.Usage())
	})
}

func TestAReportIsSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		var options []dataplane.ValidatorOption
		var meshes, keys, sources []string
		for _, mesh := range []string{"default", "m1", "m2", "m3", "m4", "m5"} {
			for serial := range signing.Serial(3) {
				if mesh != "default" || serial > 0 {
					putKey(t, f.store.Memory, mesh, serial+1, testKey(0))
				}
				keys = append(keys, mesh+"/"+(serial+1).KeyID())
			}
			meshes = append(meshes, mesh)
			for _, name := range []string{"one", "three", "two"} {
				options = append(options, dataplane.WithSource(mesh, newScriptedSource(name, nil)))
				sources = append(sources, mesh+"/"+name)
			}
		}
		slices.Reverse(options)
		f.start(options...)
		r := f.validator.Report()
		var got [3][]string
		for _, m := range r.Meshes {
			got[0] = append(got[0], m.Name)
		}
		for _, k := range r.Keys {
			got[1] = append(got[1], k.Mesh+"/"+k.KeyID)
		}
		for _, s := range r.Sources {
			got[2] = append(got[2], s.Mesh+"/"+s.Name)
		}
		assert.Equal(t, [3][]string{meshes, keys, sources}, got)
	})
}

func TestAReportTellsSinceWhenAKeyIsUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.pass(time.Hour)
		made := time.Now()
		f.start(dataplane.WithPublicKeyForEveryMesh("own", testKey(1).Public()))
		f.pass(time.Hour)
		putKey(t, f.store.Memory, "default", 2, testKey(2))
		added := time.Now()
		var used time.Time
		for _, mesh := range []string{"m1", "m2", "m3", "m4", "m5", "m6"} { // that none but tokens names
			f.pass(time.Minute)
			used = time.Now()
			assert.NoError(t, check(t, f.validator, mesh, issue(t, newOfflineIssuer(t, testKey(1), "own"), mesh, day)))
		}
		f.pass(time.Minute)
		want := map[string]time.Time{"own": used, "1": made, "2": added}
		for range 10 {
			for _, key := range f.validator.Report().Keys {
				assert.True(t, want[key.KeyID].Equal(key.UnusedSince), "%s: %s", key.KeyID, key.UnusedSince)
			}
		}
	})
}

func TestAReportOfAStoreThatWasNotReadYetHasNoMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(hanging)
		r := f.start().validator.Report()
		assert.False(t, r.Loaded)
		assert.Empty(t, r.Meshes)
		assert.Empty(t, r.Keys)
	})
}

func TestAnObserverIsToldHowLongARefusalTookAndOfWhichKindItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := newFollowing(t), &witness{}
		f.store.setList(f.store.slowly(300 * time.Millisecond))
		f.validator = newValidator(t, f.store, dataplane.WithObserver(w))
		f.refuses(tampered(f.issue(day)), token.ErrSignature)
		require.Len(t, w.outcomes, 1)
		assert.InDelta(t, 300*time.Millisecond, w.outcomes[0].Took, float64(time.Millisecond))

		verified := f.verified(f.issue(day))
		why := verified.Permits(dataplane.Proxy{Mesh: "default", Type: "egress"})
		require.True(t, errors.Is(why, token.ErrNotPermitted))
		assert.Equal(t, token.KindDataplane, w.outcomes[2].Kind)
		assert.Equal(t, "1", w.outcomes[2].KeyID)
	})
}

func TestClaimsOfTheStoresAndOfConfiguredKeysMayBeSpeltInLowerCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithPublicKey("default", "own", testKey(1).Public()))
		for kid, key := range map[string]int{"1": 0, "own": 1} {
			f.accepts(signPayload(t, testKey(key), kid, `{"mesh":"default","jti":"`+someID+`","exp":4000000000}`))
		}
	})
}
