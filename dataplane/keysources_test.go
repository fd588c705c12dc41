package dataplane_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// everyRefresh is longer than the time between reads of a scripted source.
const everyRefresh = 11 * time.Second

// idToken makes a token as an identity provider does.
func idToken(key int, kid, typ, claims string) string {
	return forge.Token(`{"alg":"RS256","kid":"`+kid+`","typ":"`+typ+`"}`,
		`{"Mesh":"default","jti":"`+someID+`","exp":4000000000,`+claims+`}`, forge.RS256(testRSA(key)))
}

// keyFile writes the file of a public key as an operator does who wants no reader to see
// half of it.
func keyFile(t testing.TB, path string, key int) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", testKey(key).Public().PEM(), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func pemFile(t testing.TB, kid, path string) *signing.File {
	t.Helper()
	source, err := signing.PEMFile(kid, path, token.Demands{LowerCase: true})
	require.NoError(t, err)
	return source
}

func TestAKeyThatComesToASourceIsGoodAndOneThatGoesEndsItsSessionsAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	for name, c := range map[string]struct {
		option   func() (option dataplane.ValidatorOption, change func(key int))
		kid      string
		interval time.Duration // within which a change is in force
	}{
		"a file": {func() (dataplane.ValidatorOption, func(int)) {
			keyFile(t, path, 1)
			return dataplane.WithSource("default", pemFile(t, "key-1", path)), func(key int) { keyFile(t, path, key) }
		}, "key-1", time.Second},
		"a source for every mesh": {func() (dataplane.ValidatorOption, func(int)) {
			source := newScriptedSource("idp", map[string]int{"key-1": 1})
			return dataplane.WithSourceForEveryMesh(source), func(key int) { source.hold(map[string]int{"key-1": key}) }
		}, "key-1", everyRefresh},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				option, change := c.option()
				f := newFollowing(t).start(option)
				ofSource, ofStore := f.withSerial(c.kid, 1), f.issue(30*day)
				var ending, staying []context.Context
				for range 500 {
					ending = append(ending, f.session(ofSource))
					staying = append(staying, f.session(ofStore))
				}
				next := f.withSerial(c.kid, 2)
				f.refuses(next, token.ErrSignature)

				f.pass(time.Hour)
				assert.Equal(t, 1000, openSessions(f.validator))
				change(2)
				f.pass(c.interval)
				for i := range ending {
					assertEnded(t, ending[i], token.ErrUnknownKey)
					assertOpen(t, staying[i])
				}
				f.refuses(ofSource, token.ErrSignature)
				f.accepts(next)
				assert.Equal(t, 1, f.log.Count("level=WARN", "another key has this kid now", "kid="+c.kid, "source="))
			})
		})
	}
}

func TestKeysOfASourceComeAndGoOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		a, b := f.withSerial("a", 1), f.withSerial("b", 2)
		first := f.session(a)
		f.refuses(b, token.ErrUnknownKey)
		assert.Zero(t, f.log.Count("new key"), "the first read finds no new key")

		source.hold(map[string]int{"a": 1, "b": 2})
		f.pass(everyRefresh)
		second := f.session(b)
		assert.Equal(t, 1, f.log.Count("level=INFO", "new key", "source=idp", "scope=default", "kid=b"))

		source.hold(map[string]int{"b": 2})
		f.pass(everyRefresh)
		assertEnded(t, first, token.ErrUnknownKey)
		assertOpen(t, second)
		f.refuses(a, token.ErrUnknownKey)
		assert.Equal(t, 1, f.log.Count("level=WARN", "key is gone", "source=idp", "kid=a"))

		source.hold(nil)
		f.pass(everyRefresh)
		assertEnded(t, second, token.ErrUnknownKey, "an empty answer is believed")
		assert.Equal(t, 1, f.log.Count("level=WARN", "the source has no key", "source=idp"))

		source.hold(map[string]int{"a": 1})
		f.pass(everyRefresh)
		f.accepts(a)
		f.pass(time.Hour)
		assert.Equal(t, 1, f.log.Count("the source has no key"))
		assert.Zero(t, f.log.Count("fails"))
	})
}

func TestAKeyThatGoesFromASourceForEveryMeshEndsItsSessionsInEveryMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1, "b": 2})
		f := newFollowing(t).start(dataplane.WithSourceForEveryMesh(source))
		sessions := map[string][]context.Context{}
		for _, mesh := range []string{"default", "other", "new"} {
			for kid, key := range map[string]int{"a": 1, "b": 2} {
				verified, err := f.validator.Validate(t.Context(), mesh, issue(t, newOfflineIssuer(t, testKey(key), kid), mesh, day))
				require.NoError(t, err)
				sessions[kid] = append(sessions[kid], f.bound(verified))
			}
		}
		source.hold(map[string]int{"b": 2})
		f.pass(everyRefresh)
		for i := range sessions["a"] {
			assertEnded(t, sessions["a"][i], token.ErrUnknownKey)
			assertOpen(t, sessions["b"][i])
		}
		assert.Equal(t, 1, f.log.Count("key is gone", "kid=a", "scope=*"))
		used := map[string]int{}
		for _, use := range f.validator.Usage() {
			used[use.KeyID]++
		}
		assert.Equal(t, map[string]int{"b": 3}, used)
	})
}

func TestAKeyFileThatIsAwayOrUnusableLeavesTheLastKeyAndIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	whole := testKey(1).Public().PEM()
	private, err := testKey(1).PEM()
	require.NoError(t, err)
	for name, spoil := range map[string]func() error{
		"away":         func() error { return os.Remove(path) },
		"half written": func() error { return os.WriteFile(path, whole[:len(whole)/2], 0o600) },
		"empty":        func() error { return os.WriteFile(path, nil, 0o600) },
		"private":      func() error { return os.WriteFile(path, private, 0o600) },
		"in UTF-16":    func() error { return os.WriteFile(path, unreadable, 0o600) },
		"huge":         func() error { return os.WriteFile(path, append(whole, make([]byte, 64<<10)...), 0o600) },
		"a folder":     func() error { _ = os.Remove(path); return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(path))
			keyFile(t, path, 1)
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start(dataplane.WithSource("default", pemFile(t, "key-1", path)))
				raw := f.withSerial("key-1", 1)
				session := f.session(raw)
				require.NoError(t, spoil())
				f.pass(time.Second)
				f.accepts(raw)
				assertOpen(t, session)
				assert.Equal(t, 1, f.log.Count("level=WARN", "reading a source of keys fails", "source="+path, "error="))
				assert.Zero(t, f.log.Count(strings.Split(string(private), "\n")[1]), "the log has the content of the file")

				require.NoError(t, os.RemoveAll(path))
				keyFile(t, path, 1)
				f.pass(time.Second)
				f.accepts(raw)
				assertOpen(t, session)
				assert.Equal(t, 1, f.log.Count("level=INFO", "reading a source of keys works again", "source="+path))
			})
		})
	}
}

func TestAKeyFileIsReadWhateverItsTimeOfModification(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	keyFile(t, path, 1)
	before, err := os.Stat(path)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSource("default", pemFile(t, "key-1", path)))
		session := f.session(f.withSerial("key-1", 1))
		require.NoError(t, os.WriteFile(path, testKey(2).Public().PEM(), 0o600))
		require.NoError(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
		f.pass(time.Second)
		assertEnded(t, session, token.ErrUnknownKey)
	})
}

func TestAKidOfAFileNamesTheStoresKeyNeverEvenBeforeTheFileCouldBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSource("default", pemFile(t, "1", path)))
		ofStore, ofFile := f.issue(30*day), f.withSerial("1", 1)
		before := len(f.store.readsSoFar())
		f.cannotTell(ofStore)
		f.cannotTell(ofFile)
		assert.Len(t, f.store.readsSoFar(), before, "the store is not asked")
		f.refuses(f.withSerial("7", 1), token.ErrUnknownKey, "a file has one kid")

		keyFile(t, path, 1)
		f.pass(time.Second)
		f.accepts(ofFile)
		f.refuses(ofStore, token.ErrSignature)
		assert.Equal(t, 1, f.log.Count("configured public key hides", "source="+path, "kid=1"))
	})
}

func TestASourceThatFailsKeepsItsKeysUntilTheyAreTooOldForItsTokensAlone(t *testing.T) {
	for name, fails := range map[string]func(context.Context) error{
		"fails":                      sourceDown,
		"hangs":                      sourceHangs,
		"hangs and does not give up": func(context.Context) error { time.Sleep(2 * time.Hour); return nil },
		"panics":                     func(context.Context) error { panic("a source of another author") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newScriptedSource("idp", map[string]int{"a": 1})
				f := newFollowing(t).start(dataplane.WithSource("default", source),
					dataplane.WithMaxStale(10*time.Minute), dataplane.WithSessionMaxStale(20*time.Minute))
				ofSource, ofStore := f.withSerial("a", 1), f.issue(30*day)
				session, other := f.session(ofSource), f.session(ofStore)

				source.fail(fails)
				f.pass(9 * time.Minute)
				f.accepts(ofSource)
				assert.Equal(t, 1, f.log.Count("level=WARN", "reading a source of keys fails", "source=idp"))
				f.pass(2 * time.Minute)
				f.cannotTell(ofSource)
				f.accepts(ofStore)
				assertOpen(t, session)
				f.pass(10 * time.Minute)
				assertEnded(t, session, token.ErrUnavailable)
				assertOpen(t, other)

				source.fail(nil)
				f.pass(2 * time.Hour)
				f.accepts(ofSource)
				assert.Equal(t, 1, f.log.Count("reading a source of keys works again"))
				assert.Zero(t, f.log.Count("reading the store fails"))
			})
		})
	}
}

func TestTokensOfASourceNeedTheStoreForTheirRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		f := newFollowing(t).start(dataplane.WithSource("default", source), dataplane.WithMaxStale(10*time.Minute))
		raw := f.withSerial("a", 1)
		f.revoke(raw)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		f.restore(raw)
		synctest.Wait()
		session := f.session(raw)
		f.store.setList(failing)
		f.pass(11 * time.Minute)
		f.cannotTell(raw)
		assertOpen(t, session)
		source.hold(nil)
		f.pass(everyRefresh)
		assertEnded(t, session, token.ErrUnknownKey)
		f.refuses(raw, token.ErrUnknownKey, "no store is needed to know this")
	})
}

func TestASourceThatWasNeverReadIsNotOneWithoutTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		source.fail(sourceHangs)
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		raw := f.withSerial("a", 1)
		start := time.Now()
		f.cannotTell(raw)
		assert.Equal(t, time.Second, time.Since(start))
		f.accepts(f.issue(30 * day))
		f.pass(5 * time.Second)
		source.fail(sourceDown)
		f.pass(time.Minute)
		start = time.Now()
		f.cannotTell(raw)
		assert.Zero(t, time.Since(start), "no read will tell soon")
		source.fail(nil)
		f.pass(everyRefresh)
		f.accepts(raw)
	})
}

func TestATokenWaitsForTheFirstReadOfASource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		source.fail(func(context.Context) error { time.Sleep(700 * time.Millisecond); return nil })
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		start := time.Now()
		f.accepts(f.withSerial("a", 1))
		assert.Equal(t, 700*time.Millisecond, time.Since(start))
		f.refuses(f.withSerial("b", 1), token.ErrUnknownKey)
	})
}

func TestAnUnknownKidCausesAtMostOneReadInItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1}).change(func(k *signing.SourceKeys) {
			k.Refresh, k.OnDemand = 5*time.Minute, 10*time.Second
		})
		f := newFollowing(t).start(dataplane.WithSourceForEveryMesh(source))
		b := f.withSerial("b", 2)
		f.cannotTell(b, "it may not be read so soon")
		assert.Len(t, source.readsSoFar(), 1)

		source.hold(map[string]int{"a": 1, "b": 2})
		f.pass(9500 * time.Millisecond)
		start := time.Now()
		f.accepts(b)
		assert.Equal(t, 500*time.Millisecond, time.Since(start))
		assert.Len(t, source.readsSoFar(), 2)

		f.pass(time.Minute)
		f.refuses(f.withSerial("c", 2), token.ErrUnknownKey, "a read that began after it was asked for has not found it")
		assert.Len(t, source.readsSoFar(), 3)
		for i := range 2000 {
			f.cannotTell(f.withKid(b, fmt.Sprintf("c-%d", i)))
		}
		assert.Len(t, source.readsSoFar(), 3)

		f.pass(9500 * time.Millisecond)
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { f.refuses(f.withKid(b, fmt.Sprintf("d-%d", i)), token.ErrUnknownKey) })
		}
		all.Wait()
		assert.Len(t, source.readsSoFar(), 4, "all tokens share a read")

		f.pass(time.Minute)
		source.fail(sourceDown)
		f.cannotTell(f.withKid(b, "e"))
		f.accepts(b)
	})
}

func TestWaitingForASourceEndsWithItsContextAndTheValidator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", nil)
		source.fail(sourceHangs)
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		raw := f.withSerial("a", 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		answers := make(chan error, 2)
		go func() { _, err := f.validator.Validate(ctx, "default", raw); answers <- err }()
		synctest.Wait()
		cancel(assert.AnError)
		err := <-answers
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, assert.AnError)

		go func() { answers <- f.check(raw) }()
		synctest.Wait()
		start := time.Now()
		assert.NoError(t, f.validator.Close())
		assert.Zero(t, time.Since(start))
		assert.ErrorIs(t, <-answers, token.ErrClosed)
	})
}

func TestAtMost1024TokensWaitForTheStoreAndTheSourcesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", nil)
		source.fail(sourceHangs)
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		raw := f.withSerial("a", 1)
		var waiting sync.WaitGroup
		for range 1024 {
			waiting.Go(func() { f.cannotTell(raw) })
		}
		synctest.Wait()
		start := time.Now()
		f.cannotTell(raw)
		f.cannotTell(f.withSerial("7", 1))
		assert.Zero(t, time.Since(start))
		waiting.Wait()
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestAKidThatTwoSourcesHaveIsUsedForNeitherWhileBothHaveIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newScriptedSource("one", map[string]int{"a": 1, "b": 1}), newScriptedSource("two", nil)
		f := newFollowing(t).start(dataplane.WithSource("default", one), dataplane.WithSourceForEveryMesh(two))
		a, b := f.withSerial("a", 1), f.withSerial("b", 1)
		session, other := f.session(a), f.session(b)

		two.hold(map[string]int{"a": 2})
		f.pass(everyRefresh)
		assertEnded(t, session, token.ErrUnknownKey)
		assert.ErrorContains(t, context.Cause(session), "both one and two have one")
		assertOpen(t, other)
		f.refuses(a, token.ErrUnknownKey)
		f.refuses(f.withSerial("a", 2), token.ErrUnknownKey)
		assert.NoError(t, check(t, f.validator, "other", issue(t, newOfflineIssuer(t, testKey(2), "a"), "other", day)))
		f.pass(time.Hour)
		assert.Equal(t, 1, f.log.Count("level=WARN", "another source has a key of the same kid", "kid=a", `source="one, two"`))

		two.hold(nil)
		f.pass(everyRefresh)
		f.accepts(a)
		two.hold(map[string]int{"a": 2})
		f.pass(everyRefresh)
		assert.Equal(t, 2, f.log.Count("another source has a key of the same kid", "kid=a", "scope=default"))
	})
}

func TestAChosenKidGoesBeforeThatOfAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp := newScriptedSource("idp", map[string]int{"a": 2})
		f := newFollowing(t).start(dataplane.WithSource("default", idp), dataplane.WithPublicKeyForEveryMesh("a", testKey(1).Public()))
		f.accepts(f.withSerial("a", 1))
		f.refuses(f.withSerial("a", 2), token.ErrSignature)
		assert.Equal(t, 1, f.log.Count("another source has a key of the same kid", "kid=a", "source=idp"))
	})
}

func TestAFileForOneMeshThatWasNeverReadIsNoClashWithOneForEveryMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "key.pem")
		require.NoError(t, os.WriteFile(path, testKey(1).Public().PEM(), 0o600))
		f := newFollowing(t).start(dataplane.WithSource("default", pemFile(t, "a", path+".missing")), dataplane.WithSourceForEveryMesh(pemFile(t, "a", path)))
		f.pass(time.Second)
		f.cannotTell(f.withSerial("a", 1))
		assert.Zero(t, f.log.Count("another source has a key of the same kid"))
	})
}

func TestAKidThatIsChosenInTwoSourcesIsUsedForNeitherNorForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		chosen := func(k *signing.SourceKeys) { k.Chosen = true }
		one, two := newScriptedSource("one", map[string]int{"1": 1}).change(chosen), newScriptedSource("two", nil).change(chosen)
		f := newFollowing(t).start(dataplane.WithSource("default", one), dataplane.WithSource("default", two))
		ofOne := f.withSerial("1", 1)
		session := f.session(ofOne)
		two.hold(map[string]int{"1": 2})
		f.pass(everyRefresh)
		assertEnded(t, session, token.ErrUnknownKey)
		for _, raw := range []string{ofOne, f.withSerial("1", 2), f.issue(30 * day)} {
			f.refuses(raw, token.ErrUnknownKey)
		}
		two.hold(nil)
		f.pass(everyRefresh)
		f.accepts(ofOne)
		f.refuses(f.issue(30*day), token.ErrSignature)
	})
}

func TestASerialOfASourceIsUsedWhileTheStoreHasNoneOfItsOwn(t *testing.T) {
	for name, option := range map[string]func(signing.Source) dataplane.ValidatorOption{
		"for one mesh":   func(s signing.Source) dataplane.ValidatorOption { return dataplane.WithSource("default", s) },
		"for every mesh": dataplane.WithSourceForEveryMesh,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newScriptedSource("idp", map[string]int{"2": 1})
				f := newFollowing(t).start(option(source))
				raw := f.withSerial("2", 1)
				session := f.session(raw)
				before := len(f.store.readsSoFar())
				for range 1000 {
					f.accepts(raw)
				}
				assert.Len(t, f.store.readsSoFar(), before, "no token causes a read of the store")

				putKey(t, f.store.Memory, "default", 2, testKey(2))
				synctest.Wait()
				assertEnded(t, session, token.ErrUnknownKey)
				assert.ErrorContains(t, context.Cause(session), "the store has one")
				f.accepts(f.issue(30*day), "the store's key stays in use")
				f.refuses(raw, token.ErrSignature)
				assert.ErrorContains(t, f.check(raw), "the key of the same kid in idp is not used")
				assert.Equal(t, 1, f.log.Count("level=WARN", "the store has a key of the same kid", "source=idp", "scope=default", "kid=2"))

				f.removeKey(2)
				synctest.Wait()
				f.accepts(raw)
			})
		})
	}
}

func TestASerialOfASourceThatTheStoreHasFirstIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", nil)
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		f.start(dataplane.WithSourceForEveryMesh(source))
		session := f.session(f.issue(30 * day))
		source.hold(map[string]int{"1": 1})
		f.pass(everyRefresh)
		assertOpen(t, session)
		f.accepts(f.issue(30 * day))
		f.refuses(f.withSerial("1", 1), token.ErrSignature)
		for _, mesh := range []string{"default", "other"} {
			assert.Equal(t, 1, f.log.Count("the store has a key of the same kid", "kid=1", "scope="+mesh))
		}
	})
}

func TestASerialOfASourceNeedsToKnowTheStoresKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(failing)
		f.start(dataplane.WithSource("default", newScriptedSource("idp", map[string]int{"1": 1, "a": 1})))
		f.cannotTell(f.withSerial("1", 1))
		f.cannotTell(f.issue(30*day), "its key is in the store")
		f.refuses(tampered(f.withSerial("a", 1)), token.ErrSignature)
		f.store.setList(nil)
		f.pass(recovery)
		f.refuses(f.withSerial("1", 1), token.ErrSignature)
		f.accepts(f.withSerial("a", 1))
	})
}

func TestTokensOfASourceMustSayWhatItDemands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		source.demands = token.Demands{Issuer: "https://idp", Audience: "mesh", Type: "at+jwt"}
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		good := `"iss":"https://idp","aud":["mesh","shop"]`
		for range 2 { // at first sight, and remembered
			f.accepts(idToken(1, "a", "at+jwt", good))
			f.refuses(idToken(1, "a", "JWT", good), token.ErrHeader)
			f.refuses(idToken(1, "a", "at+jwt", `"iss":"https://idp","aud":"shop"`), token.ErrAudience)
			f.refuses(idToken(1, "a", "at+jwt", `"iss":"https://other","aud":"mesh"`), token.ErrIssuer)
			f.refuses(tampered(idToken(1, "a", "at+jwt", `"iss":"https://other","aud":"mesh"`)), token.ErrSignature)
		}
		f.refuses(idToken(0, "1", "at+jwt", good), token.ErrHeader, "the store's keys sign no at+jwt")
		f.accepts(idToken(0, "1", "JWT", `"iss":7`), "and are held to no issuer")
	})
}

func TestARememberedTokenIsHeldToTheDemandsOfTheSourceThatHasItsKeyNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lax, strict := newScriptedSource("lax", map[string]int{"a": 1}), newScriptedSource("strict", nil)
		strict.demands = token.Demands{Audience: "mesh"}
		f := newFollowing(t).start(dataplane.WithSource("default", lax), dataplane.WithSource("default", strict))
		raw := idToken(1, "a", "JWT", `"aud":"shop"`)
		session := f.session(raw)
		lax.hold(nil)
		strict.hold(map[string]int{"a": 1})
		f.pass(everyRefresh)
		assertEnded(t, session, token.ErrUnknownKey)
		f.refuses(raw, token.ErrAudience)
	})
}

func TestWhatAUserOfAnIdentityProviderCallsHimselfIsNoClaimAboutAProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		f := newFollowing(t).start(dataplane.WithSource("default", source), dataplane.WithPublicKey("default", "b", testKey(1).Public()))
		user := `"name":"dp-1","scope":"openid profile","zone":"Europe/Berlin","type":"human"`
		verified := f.verified(idToken(1, "a", "JWT", user))
		assert.Equal(t, token.Dataplane{Mesh: "default"}, verified.Claims())
		f.refuses(idToken(1, "b", "JWT", user), token.ErrClaims, "a configured key takes claims in lower case")
		f.refuses(idToken(1, "a", "JWT", `"NAME":"dp-1"`), token.ErrClaims)
	})
}

func TestCutoffsAndReportsOfUseConcernTheKeysOfASourceToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSourceForEveryMesh(newScriptedSource("idp", map[string]int{"a": 1, "b": 2})))
		a, b := f.withSerial("a", 1), f.withSerial("b", 2)
		session, other := f.session(a), f.session(b)
		uses := f.validator.Usage()
		require.Len(t, uses, 2)
		for i, kid := range []string{"a", "b"} {
			assert.Equal(t, dataplane.KeyUse{Mesh: "default", KeyID: kid, Validations: 1, LastUsed: uses[i].LastUsed, Sessions: 1}, uses[i])
		}
		_, err := dataplane.CutOff(t.Context(), f.store.Memory, "default", dataplane.Cutoff{Before: time.Now().Add(time.Minute), KeyID: "a"})
		require.NoError(t, err)
		synctest.Wait()
		assertEnded(t, session, token.ErrRevoked)
		assertOpen(t, other)
		f.refuses(a, token.ErrRevoked)
		f.accepts(b)
	})
}

func TestASourceIsReadTwiceWithinTheShorterLimitOfStaleness(t *testing.T) {
	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		onDemand,
		interval time.Duration
	}{
		"as it says":           {nil, 0, 10 * time.Second},
		"a shorter limit":      {[]dataplane.ValidatorOption{dataplane.WithSessionMaxStale(4 * time.Second)}, 0, 2 * time.Second},
		"the limit 0":          {[]dataplane.ValidatorOption{dataplane.WithMaxStale(0)}, 0, time.Second},
		"as often as it likes": {[]dataplane.ValidatorOption{dataplane.WithMaxStale(0)}, 5 * time.Second, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newScriptedSource("idp", map[string]int{"a": 1}).change(func(k *signing.SourceKeys) { k.OnDemand = c.onDemand })
				f := newFollowing(t).start(append(c.options, dataplane.WithSource("default", source))...)
				raw := f.withSerial("a", 1)
				session := f.session(raw)
				for range 100 {
					f.pass(c.interval/3 + 7)
					f.accepts(raw)
				}
				assertOpen(t, session)
				reads := source.readsSoFar()
				require.Greater(t, len(reads), 30)
				for i := range len(reads) - 1 {
					assert.Equal(t, c.interval, reads[i+1].Sub(reads[i]))
				}
			})
		})
	}
}

func TestKeysOfASourceThatCannotBeUsedAreReportedOnceAndTheOthersServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1}).change(func(k *signing.SourceKeys) {
			k.Keys["nil"], k.Keys["empty"], k.Keys["a\nb"] = nil, &signing.PublicKey{}, testKey(2).Public()
			k.Problems = []error{assert.AnError, nil, assert.AnError}
		})
		f := newFollowing(t).start(dataplane.WithSource("default", source))
		f.pass(time.Hour)
		f.accepts(f.withSerial("a", 1))
		f.refuses(f.withSerial("nil", 1), token.ErrUnknownKey)
		f.refuses(f.withSerial("empty", 1), token.ErrUnknownKey)
		assert.Equal(t, 4, f.log.Count("level=WARN", "source problem", "source=idp"))
		assert.Equal(t, 1, f.log.Count("source problem", assert.AnError.Error()))
		source.change(func(k *signing.SourceKeys) { k.Problems = nil })
		f.pass(everyRefresh)
		source.change(func(k *signing.SourceKeys) { k.Problems = []error{assert.AnError} })
		f.pass(everyRefresh)
		assert.Equal(t, 2, f.log.Count("source problem", assert.AnError.Error()), "it had gone meanwhile")
	})
}

func TestASourceThatChangesAllItsKeysAtEachReadDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(n int) map[string]int {
			keys := map[string]int{}
			for i := range 1000 {
				keys[fmt.Sprint("kid", n, "-", i)] = 1
			}
			return keys
		}
		source, rival := newScriptedSource("idp", nil), newScriptedSource("rival", nil)
		f := newFollowing(t).start(dataplane.WithSource("default", source), dataplane.WithSource("default", rival))
		f.pass(time.Second)
		for n := range 3 {
			source.hold(many(n))
			rival.hold(many(n))
			f.pass(everyRefresh)
		}
		for _, message := range []string{"new key", "key is gone"} {
			assert.Equal(t, 16, f.log.Count(message, "source=idp", "kid=kid0-"), message)
			assert.Positive(t, f.log.Count(message, "source=idp", "more=984"), message)
		}
		assert.Equal(t, 16, f.log.Count("another source has a key of the same kid", "kid=kid2-"))
		assert.Equal(t, 3, f.log.Count("more keys are not used", "more=984"))
	})
}

func TestAValidatorWithSourcesAloneNeedsNoStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"1": 1})
		f := newFollowing(t)
		source.fail(sourceDown)
		f.validator = newOfflineValidator(t, dataplane.WithSource("default", source), dataplane.WithPublicKey("default", "b", testKey(2).Public()),
			dataplane.WithMaxStale(time.Minute), dataplane.WithSessionMaxStale(time.Minute))
		synctest.Wait()
		_, ready := f.validator.Staleness()
		assert.False(t, ready)
		source.fail(nil)
		f.pass(time.Second)
		stale, ready := f.validator.Staleness()
		assert.True(t, ready)
		assert.Equal(t, 500*time.Millisecond, stale)
		raw := f.withSerial("1", 1)
		session := f.session(raw)
		f.refuses(f.withSerial("7", 1), token.ErrUnknownKey)
		source.fail(sourceDown)
		f.pass(2 * time.Minute)
		f.cannotTell(raw)
		assertEnded(t, session, token.ErrUnavailable)
		source.fail(nil)
		f.pass(everyRefresh)
		session = f.session(raw)
		source.hold(nil)
		f.pass(everyRefresh)
		assertEnded(t, session, token.ErrUnknownKey)
	})
}

func TestAValidatorThatIsClosedLeavesASourceThatIgnoresItsContextAfter5Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", nil)
		let := make(chan struct{})
		source.fail(func(context.Context) error { <-let; return nil })
		validator := newOfflineValidator(t, dataplane.WithSource("default", source))
		synctest.Wait()
		start := time.Now()
		assert.NoError(t, validator.Close())
		assert.Equal(t, 5*time.Second, time.Since(start))
		close(let)
	})
}

func TestValidatorRefusesSourcesThatMakeNoSense(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	fixed, err := signing.FixedSource(map[string]*signing.PublicKey{"key-1": testKey(0).Public()}, token.Demands{})
	require.NoError(t, err)
	set := newScriptedSource("a set", nil)
	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		says    string
	}{
		"a nil source":                 {[]dataplane.ValidatorOption{dataplane.WithSource("default", nil)}, "source is nil"},
		"a nil source for every mesh":  {[]dataplane.ValidatorOption{dataplane.WithSourceForEveryMesh(nil)}, "source is nil"},
		"a nil pointer":                {[]dataplane.ValidatorOption{dataplane.WithSource("default", (*signing.File)(nil))}, "source is nil"},
		"no mesh":                      {[]dataplane.ValidatorOption{dataplane.WithSource("", fixed)}, "mesh"},
		"the mesh that stands for all": {[]dataplane.ValidatorOption{dataplane.WithSource("*", fixed)}, `"*"`},
		"a kid in a file and configured": {[]dataplane.ValidatorOption{dataplane.WithSource("default", pemFile(t, "key-1", path)),
			dataplane.WithPublicKey("default", "key-1", testKey(0).Public())}, `"key-1": configured twice`},
		"a kid in two files": {[]dataplane.ValidatorOption{dataplane.WithSourceForEveryMesh(pemFile(t, "key-1", path)),
			dataplane.WithSourceForEveryMesh(pemFile(t, "key-1", path+"2"))}, `"key-1": configured twice`},
		"a source twice":                      {[]dataplane.ValidatorOption{dataplane.WithSource("default", set), dataplane.WithSource("default", set)}, "a set is there twice"},
		"a source for a mesh and every mesh":  {[]dataplane.ValidatorOption{dataplane.WithSource("default", set), dataplane.WithSourceForEveryMesh(set)}, "a set is there twice"},
		"a source for every mesh and for one": {[]dataplane.ValidatorOption{dataplane.WithSourceForEveryMesh(set), dataplane.WithSource("default", set)}, "a set is there twice"},
	} {
		_, err := dataplane.NewValidator(keystore.NewMemory(), c.options...)
		assert.ErrorContains(t, err, c.says, name)
		_, err = dataplane.NewOfflineValidator(c.options...)
		assert.ErrorContains(t, err, c.says, name)
	}
}

func TestASourceMayServeTwoMeshes(t *testing.T) {
	set := newScriptedSource("a set", map[string]int{"a": 1})
	validator, err := dataplane.NewOfflineValidator(dataplane.WithSource("default", set), dataplane.WithSource("other", set))
	require.NoError(t, err)
	defer validator.Close()
	for _, mesh := range []string{"default", "other"} {
		assert.NoError(t, check(t, validator, mesh, issue(t, newOfflineIssuer(t, testKey(1), "a"), mesh, day)))
	}
}

func TestValidatorServesManyGoroutinesWhileKeysComeAndGo(t *testing.T) {
	source := newScriptedSource("idp", map[string]int{"a": 1}).change(func(k *signing.SourceKeys) { k.Refresh = time.Millisecond })
	store := keystore.NewMemory()
	validator := newValidator(t, store, dataplane.WithSourceForEveryMesh(source))
	f := &following{t: t}
	raws := []string{f.withSerial("a", 1), f.withSerial("2", 2), f.withSerial("b", 2)}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Second)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			source.hold([]map[string]int{{"a": 1}, {"2": 2}, {}, {"a": 1, "2": 2, "b": 2}}[i%4])
			time.Sleep(20 * time.Millisecond)
		}
	})
	all.Go(func() {
		for ctx.Err() == nil {
			putKey(t, store, "default", 2, testKey(2))
			time.Sleep(30 * time.Millisecond)
			assert.NoError(t, store.Delete(t.Context(), "default", signing.DataplaneKeys("default").KeyName(2)))
			time.Sleep(30 * time.Millisecond)
		}
	})
	for i := range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				verified, err := validator.Validate(ctx, "default", raws[i%len(raws)])
				if err != nil {
					continue
				}
				session, stop := verified.Bind(ctx)
				select {
				case <-session.Done():
				case <-time.After(5 * time.Millisecond):
				}
				stop()
			}
		})
	}
	all.Wait()
	assert.Zero(t, openSessions(validator))
}
