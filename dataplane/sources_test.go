package dataplane_test

import (
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestValidatorTakesKeysFromTheStoreTheOptionsOrBoth(t *testing.T) {
	configured := dataplane.WithPublicKey("default", "key-1", testKey(1).Public())
	for name, c := range map[string]struct {
		options                   []dataplane.ValidatorOption
		fromStore, fromConfigured bool
	}{
		"store":      {nil, true, false},
		"configured": {[]dataplane.ValidatorOption{configured, dataplane.WithoutStoreKeys()}, false, true},
		"both":       {[]dataplane.ValidatorOption{configured}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start(c.options...)
				for raw, good := range map[string]bool{f.issue(30 * day): c.fromStore, f.withSerial("key-1", 1): c.fromConfigured} {
					if !good {
						f.refuses(raw, token.ErrUnknownKey)
						continue
					}
					f.accepts(raw)
					f.revoke(raw)
					synctest.Wait()
					f.refuses(raw, token.ErrRevoked)
					f.restore(raw)
					synctest.Wait()
					f.accepts(raw)
				}
			})
		})
	}
}

func TestValidatorWithConfiguredKeysNeedsTheStoreForRevocations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(failing)
		f.start(dataplane.WithoutStoreKeys(), dataplane.WithPublicKey("default", "key-1", testKey(1).Public()))
		raw := f.withSerial("key-1", 1)
		f.cannotTell(raw)
		f.refuses(tampered(raw), token.ErrSignature)
		f.refuses(f.withSerial("key-2", 1), token.ErrUnknownKey, "no store is needed to know this")
		f.refuses(f.withSerial("7", 1), token.ErrUnknownKey, "nor this")
		f.store.setList(nil)
		f.pass(recovery)
		f.accepts(raw)
	})
}

func TestValidatorWithoutStoreKeysReadsForNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithoutStoreKeys(), dataplane.WithPublicKey("default", "key-1", testKey(1).Public()))
		before := len(f.store.readsSoFar())
		for range 100 {
			f.refuses(f.withSerial("7", 1), token.ErrUnknownKey)
		}
		synctest.Wait()
		assert.Equal(t, before, len(f.store.readsSoFar()))
	})
}

func TestValidatorDoesNotTakeAFailingStoreForOneWithoutTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithPublicKey("default", "1000", testKey(1).Public()))
		f.store.setList(failing)
		err := f.check(f.withSerial("7", 1))
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, errStoreDown)
		assert.NotErrorIs(t, err, token.ErrInvalid)
		f.refuses(f.withSerial("key-1", 1), token.ErrUnknownKey, "no store has a key of this kid")
		f.accepts(f.withSerial("1000", 1))
	})
}

func TestValidatorPrefersAKeyForOneMeshToAKeyForEveryMesh(t *testing.T) {
	validator := newOfflineValidator(t,
		dataplane.WithPublicKeyForEveryMesh("key-1", testKey(0).Public()),
		dataplane.WithPublicKey("default", "key-1", testKey(1).Public()))
	every, bound := newOfflineIssuer(t, testKey(0), "key-1"), newOfflineIssuer(t, testKey(1), "key-1")

	assert.NoError(t, check(t, validator, "default", issue(t, bound, "default", day)))
	assert.ErrorIs(t, check(t, validator, "default", issue(t, every, "default", day)), token.ErrSignature)
	assert.NoError(t, check(t, validator, "other", issue(t, every, "other", day)))
	assert.ErrorIs(t, check(t, validator, "other", issue(t, bound, "other", day)), token.ErrSignature)
	assert.ErrorIs(t, check(t, validator, "other", issue(t, every, "default", day)), token.ErrScope)
}

func TestValidatorUsesAKeyForOneMeshInNoOther(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	issuer := newOfflineIssuer(t, testKey(0), "key-1")
	assert.ErrorIs(t, check(t, validator, "default-2", issue(t, issuer, "default-2", day)), token.ErrUnknownKey)
	assert.ErrorIs(t, check(t, validator, "", issue(t, issuer, "default", day)), token.ErrInvalid)
}

func TestValidatorLogsOnceThatAConfiguredKeyHidesTheStoresKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		f.start(dataplane.WithPublicKey("default", "1", testKey(1).Public()))
		f.refuses(f.issue(30*day), token.ErrSignature)
		f.accepts(f.withSerial("1", 1))
		assert.NoError(t, check(t, f.validator, "other", issue(t, f.issuer, "other", day)))

		f.revoke(f.issue(day))
		f.pass(10 * time.Minute)
		assert.Equal(t, 1, f.log.Count("level=WARN", "configured public key hides", "scope=default", "kid=1"))
		assert.Equal(t, 1, f.log.Count("hides"))
	})
}

func TestValidatorLogsForEachMeshThatAConfiguredKeyHidesTheStoresKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		f.start(dataplane.WithPublicKeyForEveryMesh("1", testKey(1).Public()))
		assert.Equal(t, 1, f.log.Count("configured public key hides", "scope=default", "kid=1"))
		assert.Equal(t, 1, f.log.Count("configured public key hides", "scope=other", "kid=1"))
	})
}

func TestValidatorWithoutStoreKeysReportsNoHiddenKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithoutStoreKeys(), dataplane.WithPublicKey("default", "1", testKey(1).Public()))
		f.accepts(f.withSerial("1", 1))
		assert.Zero(t, f.log.Count("hides"))
	})
}

func TestValidatorRefusesOptionsThatMakeNoSense(t *testing.T) {
	key := testKey(0).Public()
	good := dataplane.WithPublicKey("default", "key-1", key)
	with := func(options ...dataplane.ValidatorOption) []dataplane.ValidatorOption { return options }

	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		says    string
	}{
		"a nil option":                    {with(nil), "nil"},
		"a nil logger":                    {with(dataplane.WithLogger(nil)), "logger"},
		"a nil clock":                     {with(dataplane.WithClock(nil)), "clock"},
		"no lifetime":                     {with(dataplane.WithMaxLifetime(0)), "0s"},
		"a lifetime below a second":       {with(dataplane.WithMaxLifetime(999 * time.Millisecond)), "999ms"},
		"a negative leeway":               {with(dataplane.WithLeeway(-1)), "-1ns"},
		"more than two minutes of leeway": {with(dataplane.WithLeeway(2*time.Minute + 1)), "2m0"},
		"an overflowing leeway":           {with(dataplane.WithLeeway(math.MaxInt64)), "range"},
		"a negative staleness":            {with(dataplane.WithMaxStale(-1)), "-1ns"},
		"a kid twice for one mesh":        {with(dataplane.WithPublicKey("default", "key-1", testKey(1).Public())), `"key-1"`},
		"the same key twice for one mesh": {with(good), `"key-1"`},
		"a kid twice for every mesh":      {with(dataplane.WithPublicKeyForEveryMesh("k", key), dataplane.WithPublicKeyForEveryMesh("k", key)), `"k"`},
		"a nil key":                       {with(dataplane.WithPublicKey("default", "key-2", nil)), `"key-2"`},
		"a nil key for every mesh":        {with(dataplane.WithPublicKeyForEveryMesh("key-2", nil)), `"key-2"`},
		"a public key without a key":      {with(dataplane.WithPublicKey("default", "key-2", &signing.PublicKey{})), `"key-2"`},
		"no kid":                          {with(dataplane.WithPublicKey("default", "", key)), "kid"},
		"a kid of 257 bytes":              {with(dataplane.WithPublicKeyForEveryMesh(strings.Repeat("k", 257), key)), "257"},
		"a kid with a line end":           {with(dataplane.WithPublicKey("default", "a\nb", key)), `\n`},
		"no mesh":                         {with(dataplane.WithPublicKey("", "key-2", key)), "mesh"},
		"the mesh that stands for all":    {with(dataplane.WithPublicKey("*", "key-2", key)), `"*"`},
		"a mesh that cannot be":           {with(dataplane.WithPublicKey("a/b", "key-2", key)), `"a/b"`},
	} {
		t.Run(name, func(t *testing.T) {
			store := newFaultStore()
			options := append([]dataplane.ValidatorOption{good}, c.options...)
			validator, err := dataplane.NewValidator(store, options...)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, validator)
			assert.Zero(t, len(store.readsSoFar()))

			validator, err = dataplane.NewOfflineValidator(options...)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, validator)
		})
	}
}

func TestValidatorNeedsAStoreOrAKey(t *testing.T) {
	_, err := dataplane.NewValidator(nil)
	assert.ErrorContains(t, err, "store is nil")
	_, err = dataplane.NewOfflineValidator()
	assert.ErrorContains(t, err, "public key")
	_, err = dataplane.NewValidator(keystore.NewMemory(), dataplane.WithoutStoreKeys())
	assert.ErrorContains(t, err, "public key")
}

func TestValidatorTakesOptionsAtTheirLimits(t *testing.T) {
	for _, option := range []dataplane.ValidatorOption{
		dataplane.WithLeeway(0), dataplane.WithLeeway(2 * time.Minute), dataplane.WithMaxStale(0),
		dataplane.WithMaxStale(math.MaxInt64), dataplane.WithMaxLifetime(time.Second), dataplane.WithMaxLifetime(math.MaxInt64),
	} {
		newValidator(t, keystore.NewMemory(), option)
	}
}

func TestValidatorTakesTheSameKidForTwoMeshes(t *testing.T) {
	validator := newOfflineValidator(t,
		dataplane.WithPublicKey("a", "key-1", testKey(0).Public()),
		dataplane.WithPublicKey("b", "key-1", testKey(1).Public()))
	assert.NoError(t, check(t, validator, "a", issue(t, newOfflineIssuer(t, testKey(0), "key-1"), "a", day)))
	assert.NoError(t, check(t, validator, "b", issue(t, newOfflineIssuer(t, testKey(1), "key-1"), "b", day)))
}

func TestValidatorHasALeewayOfHalfAMinuteByDefault(t *testing.T) {
	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		leeway  time.Duration
	}{
		"default": {nil, 30 * time.Second},
		"none":    {[]dataplane.ValidatorOption{dataplane.WithLeeway(0)}, 0},
		"most":    {[]dataplane.ValidatorOption{dataplane.WithLeeway(2 * time.Minute)}, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			issued := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			now := issued
			clock := dataplane.WithClock(func() time.Time { return now })
			raw := issue(t, newOfflineIssuer(t, testKey(0), "key-1", clock), "default", time.Hour)
			validator := newOfflineValidator(t, append(c.options, clock, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))...)

			begins, ends := issued.Add(-5*time.Minute-c.leeway), issued.Add(time.Hour+c.leeway)
			now = begins.Add(-1)
			assert.ErrorIs(t, check(t, validator, "default", raw), token.ErrNotYetValid)
			now = begins
			assert.NoError(t, check(t, validator, "default", raw))
			now = ends.Add(-1)
			assert.NoError(t, check(t, validator, "default", raw))
			now = ends
			assert.ErrorIs(t, check(t, validator, "default", raw), token.ErrExpired)
		})
	}
}

func TestValidatorTakesTokensWithoutAnIDByAnOptionAlone(t *testing.T) {
	key := dataplane.WithPublicKey("default", "key-1", testKey(0).Public())
	for _, payload := range []string{
		`{"Mesh":"default","exp":4000000000}`,
		`{"Mesh":"default","exp":4000000000,"jti":""}`,
		`{"Mesh":"default","exp":4000000000,"jti":null}`,
	} {
		raw := signPayload(t, testKey(0), "key-1", payload)
		err := check(t, newOfflineValidator(t, key), "default", raw)
		assert.ErrorIs(t, err, token.ErrClaims)
		assert.ErrorContains(t, err, "jti")
		assert.NoError(t, check(t, newOfflineValidator(t, key, dataplane.WithUnrevocableTokens()), "default", raw))
	}
	malformed := signPayload(t, testKey(0), "key-1", `{"Mesh":"default","exp":4000000000,"jti":"a,b"}`)
	assert.ErrorIs(t, check(t, newOfflineValidator(t, key, dataplane.WithUnrevocableTokens()), "default", malformed), token.ErrClaims)
}

func TestValidatorCountsTheLifetimeFromIATElseFromNBF(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	validator := newOfflineValidator(t, dataplane.WithMaxLifetime(time.Hour), dataplane.WithClock(func() time.Time { return now }),
		dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	for name, c := range map[string]struct {
		times string
		want  error
	}{
		"an hour, backdated by five minutes": {`"iat":1999999700,"nbf":1999999700,"exp":2000003600`, nil},
		"a second more":                      {`"iat":1999999700,"nbf":1999999700,"exp":2000003601`, token.ErrLifetime},
		"nbf alone":                          {`"nbf":1999999700,"exp":2000003600`, nil},
		"nbf alone, and a second more":       {`"nbf":1999999700,"exp":2000003601`, token.ErrLifetime},
		"neither":                            {`"exp":2000000060`, token.ErrLifetime},
		"an exp in the year 5138":            {`"iat":1999999700,"exp":99999999999`, token.ErrLifetime},
	} {
		err := check(t, validator, "default", signPayload(t, testKey(0), "key-1", `{"Mesh":"default","jti":"a",`+c.times+`}`))
		if c.want == nil {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorIs(t, err, c.want, name)
		}
	}
}

func TestValidatorDoesNotTakeATrailingCommaForTheIDOfTokensWithoutOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putRecord(t, f.store.Memory, "default", "dataplane-token-revocations-default", []byte("a,"))
		raw := signPayload(t, testKey(0), "1", `{"Mesh":"default","exp":4000000000}`)
		f.start(dataplane.WithUnrevocableTokens())
		f.accepts(raw)
		assert.ErrorIs(t, check(t, newValidator(t, f.store), "default", raw), token.ErrClaims)
	})
}

func TestValidatorServesManyGoroutinesWithConfiguredKeys(t *testing.T) {
	validator := newOfflineValidator(t,
		dataplane.WithPublicKey("default", "key-1", testKey(0).Public()),
		dataplane.WithPublicKeyForEveryMesh("key-2", testKey(1).Public()))
	raws := []string{
		issue(t, newOfflineIssuer(t, testKey(0), "key-1"), "default", day),
		issue(t, newOfflineIssuer(t, testKey(1), "key-2"), "default", day),
		issue(t, newOfflineIssuer(t, testKey(2), "key-3"), "default", day),
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 50 {
				n := (i + j) % len(raws)
				_, err := validator.Validate(t.Context(), "default", raws[n])
				if n == 2 {
					assert.ErrorIs(t, err, token.ErrUnknownKey)
				} else {
					assert.NoError(t, err)
				}
			}
		})
	}
	all.Wait()
}

func TestValidatorLogsAFloodOfRefusalsAtALimitedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		good := f.issue(30 * day)
		for range 500 {
			f.refuses(tampered(good), token.ErrSignature)
		}
		burst := f.log.Count("token refused")
		assert.NotZero(t, burst)
		assert.LessOrEqual(t, burst, 10)

		for range 600 {
			f.pass(100 * time.Millisecond)
			f.refuses(tampered(good), token.ErrSignature)
		}
		assert.InDelta(t, burst+60, f.log.Count("token refused"), 2)
		assert.InDelta(t, 60, f.log.Count("token refused", "left_out="), 2, "the log does not say how many lines were left out")
		assert.Equal(t, f.log.Count("token refused"), f.log.Count("token refused", "kid=1", "mesh=default", "reason="))
	})
}
