package zone_test

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// signPayload makes a token with any payload, also one that no issuer makes.
func signPayload(t testing.TB, kid, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + encode([]byte(payload))
	signature, err := testKey(0).Sign([]byte(input))
	require.NoError(t, err)
	return input + "." + encode(signature)
}

func TestValidatorTakesATokenForItsZoneAndItsScopesAlone(t *testing.T) {
	validator := newOfflineValidator(t, zone.WithPublicKey("key-1", testKey(0).Public()))
	for name, c := range map[string]struct {
		claims      string
		zone, scope string
		passes      bool
	}{
		"west as its control plane":     {`"Zone":"west","Scope":["cp"]`, "west", zone.ScopeCP, true},
		"in lower case":                 {`"zone":"west","scope":["cp"]`, "west", zone.ScopeCP, true},
		"one scope of several":          {`"Zone":"west","Scope":["egress","ingress"]`, "west", zone.ScopeIngress, true},
		"a scope of an application":     {`"Zone":"west","Scope":["metrics"]`, "west", "metrics", true},
		"another zone":                  {`"Zone":"west","Scope":["cp"]`, "east", zone.ScopeCP, false},
		"a zone in another case":        {`"Zone":"west","Scope":["cp"]`, "West", zone.ScopeCP, false},
		"no zone asked for":             {`"Zone":"west","Scope":["cp"]`, "", zone.ScopeCP, false},
		"another scope":                 {`"Zone":"west","Scope":["cp"]`, "west", zone.ScopeIngress, false},
		"a scope in another case":       {`"Zone":"west","Scope":["cp"]`, "west", "CP", false},
		"no scope asked for":            {`"Zone":"west","Scope":["cp"]`, "west", "", false},
		"no scope asked for nor listed": {`"Zone":"west","Scope":[""]`, "west", "", false},
		"null for scopes":               {`"Zone":"west","Scope":null`, "west", zone.ScopeCP, false},
		"null for scopes and no scope":  {`"Zone":"west","Scope":null`, "west", "", false},
		"an empty list":                 {`"Zone":"west","Scope":[]`, "west", zone.ScopeCP, false},
		"no list":                       {`"Zone":"west"`, "west", zone.ScopeCP, false},
	} {
		t.Run(name, func(t *testing.T) {
			raw := signPayload(t, "key-1", `{`+c.claims+`,"exp":4000000000,"jti":"a"}`)
			verified, err := validator.Validate(t.Context(), c.zone, c.scope, raw)
			if c.passes {
				require.NoError(t, err)
				assert.Equal(t, "west", verified.Claims().Zone)
				return
			}
			assert.ErrorIs(t, err, token.ErrScope)
			assert.ErrorIs(t, err, token.ErrInvalid)
			assert.Equal(t, zone.Verified{}, verified)
		})
	}
}

func TestValidatorNamesBothZonesAndBothScopesInItsError(t *testing.T) {
	validator := newOfflineValidator(t, zone.WithPublicKey("key-1", testKey(0).Public()))
	raw := issueCP(t, newOfflineIssuer(t, testKey(0), "key-1"))
	_, err := validator.Validate(t.Context(), "ea\nst", zone.ScopeCP, raw)
	assert.ErrorContains(t, err, `"west"`)
	assert.ErrorContains(t, err, `"ea\nst"`)
	_, err = validator.Validate(t.Context(), "west", zone.ScopeIngress, raw)
	assert.ErrorContains(t, err, `"cp"`)
	assert.ErrorContains(t, err, `"ingress"`)

	for scopes, says := range map[string]string{
		`"1","2","3","4","5","6","7","8"`:     `its scopes are ["1" "2" "3" "4" "5" "6" "7" "8"], want "cp"`,
		`"1","2","3","4","5","6","7","8","9"`: `its scopes are ["1" "2" "3" "4" "5" "6" "7" "8"] and more, want "cp"`,
	} {
		raw := signPayload(t, "key-1", `{"Zone":"west","Scope":[`+scopes+`],"exp":4000000000,"jti":"a"}`)
		_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
		assert.ErrorIs(t, err, token.ErrScope)
		assert.ErrorContains(t, err, says)
	}
}

func TestValidatorNeverTakesTokensOfTheOtherKind(t *testing.T) {
	key := testKey(0).Public()
	zones := newOfflineValidator(t, zone.WithPublicKey("key-1", key))
	meshes, err := dataplane.NewOfflineValidator(dataplane.WithPublicKeyForEveryMesh("key-1", key), dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer meshes.Close()
	dataplanes, err := dataplane.NewOfflineIssuer(testKey(0), "key-1")
	require.NoError(t, err)
	ofMesh, err := dataplanes.Issue(t.Context(), token.Dataplane{Mesh: "west"}, day)
	require.NoError(t, err)
	ofZone := issueCP(t, newOfflineIssuer(t, testKey(0), "key-1"))

	assert.ErrorIs(t, check(t, zones, ofMesh.Token), token.ErrKind)
	_, err = meshes.Validate(t.Context(), "west", ofZone)
	assert.ErrorIs(t, err, token.ErrKind)
}

func TestValidatorTakesTokensWithoutAnIDByAnOptionAlone(t *testing.T) {
	key := zone.WithPublicKey("key-1", testKey(0).Public())
	raw := signPayload(t, "key-1", `{"Zone":"west","Scope":["cp"],"exp":4000000000}`)
	assert.ErrorIs(t, check(t, newOfflineValidator(t, key), raw), token.ErrClaims)
	assert.NoError(t, check(t, newOfflineValidator(t, key, zone.WithUnrevocableTokens()), raw))
}

func TestVerifiedZeroValueSaysNothing(t *testing.T) {
	var none zone.Verified
	assert.Zero(t, none.Claims())
	assert.Zero(t, none.Registered())
	assert.Zero(t, none.KeyID())
}

func TestVerifiedClaimsAreACopy(t *testing.T) {
	validator := newOfflineValidator(t, zone.WithPublicKey("key-1", testKey(0).Public()))
	verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, issueCP(t, newOfflineIssuer(t, testKey(0), "key-1")))
	require.NoError(t, err)
	taken := verified.Claims()
	taken.Zone, taken.Scope[0] = "east", zone.ScopeIngress
	assert.Equal(t, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, verified.Claims())
}

func TestValidatorRefusesOptionsThatMakeNoSense(t *testing.T) {
	key := testKey(0).Public()
	good := zone.WithPublicKey("key-1", key)
	for name, c := range map[string]struct {
		option zone.ValidatorOption
		says   string
	}{
		"a nil option":               {nil, "nil"},
		"a nil logger":               {zone.WithLogger(nil), "logger"},
		"a nil clock":                {zone.WithClock(nil), "clock"},
		"no lifetime":                {zone.WithMaxLifetime(0), "0s"},
		"too much leeway":            {zone.WithLeeway(121 * time.Second), "2m1s"},
		"negative leeway":            {zone.WithLeeway(-time.Second), "-1s"},
		"negative cache":             {zone.WithCache(-1), "-1"},
		"jitter over a minute":       {zone.WithSessionJitter(61 * time.Second), "1m1s"},
		"negative staleness":         {zone.WithMaxStale(-time.Second), "-1s"},
		"a kid twice":                {zone.WithPublicKey("key-1", testKey(1).Public()), `"key-1"`},
		"a nil key":                  {zone.WithPublicKey("key-2", nil), `"key-2"`},
		"no kid":                     {zone.WithPublicKey("", key), "kid"},
		"a public key without a key": {zone.WithPublicKey("key-2", &signing.PublicKey{}), `"key-2"`},
	} {
		t.Run(name, func(t *testing.T) {
			validator, err := zone.NewValidator(keystore.NewMemory(), good, c.option)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, validator)
			_, err = zone.NewOfflineValidator(good, c.option)
			assert.ErrorContains(t, err, c.says)
		})
	}
	_, err := zone.NewValidator(nil)
	assert.ErrorContains(t, err, "store is nil")
	_, err = zone.NewOfflineValidator()
	assert.ErrorContains(t, err, "public key")
	_, err = zone.NewValidator(keystore.NewMemory(), zone.WithoutStoreKeys())
	assert.ErrorContains(t, err, "public key")
}

func TestRevokeWorksTheSameWhereverTheKeysComeFrom(t *testing.T) {
	for name, options := range map[string][]zone.ValidatorOption{
		"store":      nil,
		"configured": {zone.WithPublicKey("1", testKey(0).Public()), zone.WithoutStoreKeys()},
		"both":       {zone.WithPublicKey("1", testKey(0).Public())},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := keystore.NewMemory()
				putKey(t, store, 1, testKey(0))
				taken, kept := issueCP(t, newIssuer(t, store)), issueCP(t, newIssuer(t, store))
				_, claims := inside(t, taken)
				validator := newValidator(t, store, options...)
				require.NoError(t, check(t, validator, taken))

				require.NoError(t, zone.Revoke(t.Context(), store, claims.ID))
				synctest.Wait()
				assert.ErrorIs(t, check(t, validator, taken), token.ErrRevoked)
				assert.NoError(t, check(t, validator, kept))
				list, err := zone.Revoked(t.Context(), store)
				require.NoError(t, err)
				assert.Equal(t, []string{claims.ID}, list.IDs())

				require.NoError(t, zone.Restore(t.Context(), store, claims.ID))
				synctest.Wait()
				assert.NoError(t, check(t, validator, taken))
			})
		})
	}
}

func TestRevokeUsesTheGlobalListOfZoneTokensAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		raw := issueCP(t, newIssuer(t, store))
		_, claims := inside(t, raw)
		putRecord(t, store, "west", "zone-token-revocations", []byte(claims.ID))
		putRecord(t, store, keystore.Global, "zone-token-revocations-west", []byte(claims.ID))
		putRecord(t, store, keystore.Global, "dataplane-token-revocations-west", []byte(claims.ID))
		validator := newValidator(t, store)
		assert.NoError(t, check(t, validator, raw))

		ref := revocation.Zone()
		putRecord(t, store, ref.Scope, ref.Name, []byte("\xff\xfea\x00,\x00b\x00"))
		synctest.Wait()
		err := check(t, validator, raw)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, revocation.ErrUnreadable)

		record, err := store.Get(t.Context(), ref.Scope, ref.Name)
		require.NoError(t, err)
		record.Data = []byte("\ufeff\r\n" + claims.ID + ",\r\n")
		_, err = store.Update(t.Context(), record)
		require.NoError(t, err)
		synctest.Wait()
		assert.ErrorIs(t, check(t, validator, raw), token.ErrRevoked)
	})
}

var errStoreDown = errors.New("the store is down")

// faultStore is a memory store whose reads fail while down is set, and are counted.
type faultStore struct {
	*keystore.Memory
	down  atomic.Bool
	reads atomic.Int32
}

func (s *faultStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	s.reads.Add(1)
	if s.down.Load() {
		return nil, errStoreDown
	}
	if scope != keystore.Global || prefix != "zone-token-" {
		return nil, errors.New("something was read that is no zone token's")
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *faultStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func TestValidatorFollowsItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faultStore{Memory: keystore.NewMemory()}
		store.down.Store(true)
		putKey(t, store.Memory, 1, testKey(0))
		issuer, validator := newIssuer(t, store.Memory), newValidator(t, store)
		old := issueCP(t, issuer)
		assert.ErrorIs(t, check(t, validator, old), token.ErrUnavailable, "a cold start without the store")
		store.down.Store(false)
		time.Sleep(time.Second)
		assert.NoError(t, check(t, validator, old))

		_, err := zone.AddKey(t.Context(), store.Memory, testKey(1))
		require.NoError(t, err)
		assert.NoError(t, check(t, validator, issueCP(t, issuer)), "the new key")
		require.NoError(t, zone.RemoveKey(t.Context(), store.Memory, 1))
		synctest.Wait()
		time.Sleep(2 * time.Second) // the next read that a token may cause is due in one
		assert.ErrorIs(t, check(t, validator, old), token.ErrUnknownKey)

		current := issueCP(t, issuer)
		store.down.Store(true)
		time.Sleep(59 * time.Minute)
		assert.NoError(t, check(t, validator, current))
		time.Sleep(2 * time.Minute)
		assert.ErrorIs(t, check(t, validator, current), errStoreDown)
		assert.ErrorIs(t, check(t, validator, current), token.ErrUnavailable)
		store.down.Store(false)
		time.Sleep(time.Second)
		assert.NoError(t, check(t, validator, current))

		require.NoError(t, validator.Close())
		reads := store.reads.Load()
		assert.ErrorIs(t, check(t, validator, current), token.ErrClosed)
		time.Sleep(time.Hour)
		assert.Equal(t, reads, store.reads.Load(), "the store was read after Close")
	})
}

func TestValidatorDoesNotReadForChangesInMeshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &faultStore{Memory: keystore.NewMemory()}
		putKey(t, store.Memory, 1, testKey(0))
		validator := newValidator(t, store)
		synctest.Wait()
		reads := store.reads.Load()
		for range 100 {
			require.NoError(t, dataplane.Revoke(t.Context(), store.Memory, "default", "a"))
			require.NoError(t, dataplane.Restore(t.Context(), store.Memory, "default", "a"))
		}
		synctest.Wait()
		assert.Equal(t, reads, store.reads.Load())
		assert.NoError(t, check(t, validator, issueCP(t, newIssuer(t, store.Memory))))
	})
}

// listedStore remembers which names were asked for.
type listedStore struct {
	*keystore.Memory
	mu       sync.Mutex
	prefixes map[string]int
}

func (s *listedStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	s.mu.Lock()
	s.prefixes[string(scope)+"/"+prefix]++
	s.mu.Unlock()
	return s.Memory.List(ctx, scope, prefix)
}

func (s *listedStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *listedStore) Get(context.Context, keystore.Scope, string) (keystore.Record, error) {
	return keystore.Record{}, errors.New("a record was read by itself")
}

func TestValidatorWithoutStoreKeysReadsOnlyWhatRevokesTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &listedStore{Memory: keystore.NewMemory(), prefixes: map[string]int{}}
		putKey(t, store.Memory, 1, testKey(0))
		validator := newValidator(t, store, zone.WithPublicKey("1", testKey(0).Public()), zone.WithoutStoreKeys())
		raw := issueCP(t, newIssuer(t, store.Memory))
		assert.NoError(t, check(t, validator, raw))
		_, claims := inside(t, raw)
		require.NoError(t, zone.Revoke(t.Context(), store.Memory, claims.ID))
		synctest.Wait()
		assert.ErrorIs(t, check(t, validator, raw), token.ErrRevoked)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		store.mu.Lock()
		defer store.mu.Unlock()
		assert.Len(t, store.prefixes, 2)
		assert.Greater(t, store.prefixes["/zone-token-revocations"], 20)
		assert.Greater(t, store.prefixes["/zone-token-cutoffs"], 20)
	})
}
