package zone_test

import (
	"log/slog"
	"math"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const day = 24 * time.Hour

var quiet = zone.WithLogger(slog.New(slog.DiscardHandler))

func newIssuer(t testing.TB, store keystore.KeyStore, options ...zone.IssuerOption) zone.Issuer {
	t.Helper()
	issuer, err := zone.NewIssuer(store, options...)
	require.NoError(t, err)
	return issuer
}

func newOfflineIssuer(t testing.TB, key *signing.PrivateKey, kid string, options ...zone.IssuerOption) zone.Issuer {
	t.Helper()
	issuer, err := zone.NewOfflineIssuer(key, kid, options...)
	require.NoError(t, err)
	return issuer
}

func newValidator(t testing.TB, store keystore.KeyStore, options ...zone.ValidatorOption) zone.Validator {
	t.Helper()
	validator, err := zone.NewValidator(store, append([]zone.ValidatorOption{quiet}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	return validator
}

func newOfflineValidator(t testing.TB, options ...zone.ValidatorOption) zone.Validator {
	t.Helper()
	validator, err := zone.NewOfflineValidator(append([]zone.ValidatorOption{quiet}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	return validator
}

// issueCP makes a token for the control plane of zone west.
func issueCP(t testing.TB, issuer zone.Issuer) string {
	t.Helper()
	issued, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 30*day)
	require.NoError(t, err)
	return issued.Token
}

// check validates a token for the control plane of zone west.
func check(t testing.TB, validator zone.Validator, raw string) error {
	t.Helper()
	_, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
	return err
}

// inside decodes a token that the test itself made.
func inside(t testing.TB, raw string) (kid string, claims token.Claims) {
	t.Helper()
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	header, err := u.Header()
	require.NoError(t, err)
	claims, err = u.Claims()
	require.NoError(t, err)
	return header.KeyID, claims
}

func TestIssuerMakesATokenThatSaysWhatWasAskedAndValidates(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	issuer, validator := newIssuer(t, store), newValidator(t, store)
	for name, claims := range map[string]token.Zone{
		"one scope":             {Zone: "west", Scope: []string{zone.ScopeCP}},
		"all scopes":            {Zone: "west", Scope: []string{zone.ScopeEgress, zone.ScopeIngress, zone.ScopeCP}},
		"an application's own":  {Zone: "west", Scope: []string{"metrics", zone.ScopeCP}},
		"a scope that is twice": {Zone: "west", Scope: []string{zone.ScopeCP, zone.ScopeCP}},
	} {
		t.Run(name, func(t *testing.T) {
			issued, err := issuer.Issue(t.Context(), claims, day)
			require.NoError(t, err)
			for _, scope := range claims.Scope {
				verified, err := validator.Validate(t.Context(), "west", scope, issued.Token)
				require.NoError(t, err, scope)
				assert.Equal(t, claims, verified.Claims())
				assert.Equal(t, "1", verified.KeyID())
				_, decoded := inside(t, issued.Token)
				assert.Equal(t, decoded.Registered, verified.Registered())
			}
		})
	}
}

func TestIssuerDatesItsTokensBackAndEndsThemExactlyWhenAsked(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 999_999_999, time.UTC)
	issuer := newOfflineIssuer(t, testKey(0), "key-1", zone.WithClock(func() time.Time { return now }))
	_, claims := inside(t, issueCP(t, issuer))
	second := now.Truncate(time.Second)
	assert.Equal(t, second.Add(30*day), claims.ExpiresAt)
	assert.Equal(t, second.Add(-5*time.Minute), claims.NotBefore)
	assert.Equal(t, second.Add(-5*time.Second), claims.IssuedAt)
	assert.Regexp(t, regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), claims.ID)
}

func TestIssuerRefusesWhatMakesNoSense(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	limit := zone.WithMaxLifetime(time.Hour)
	cp := []string{zone.ScopeCP}
	for name, c := range map[string]struct {
		claims   token.Zone
		validFor time.Duration
	}{
		"no zone":                       {token.Zone{Scope: cp}, time.Hour},
		"no scope":                      {token.Zone{Zone: "west"}, time.Hour},
		"an empty list of scopes":       {token.Zone{Zone: "west", Scope: []string{}}, time.Hour},
		"an empty scope":                {token.Zone{Zone: "west", Scope: []string{zone.ScopeCP, ""}}, time.Hour},
		"a zone that is not UTF-8":      {token.Zone{Zone: "we\xff", Scope: cp}, time.Hour},
		"a scope that is not UTF-8":     {token.Zone{Zone: "west", Scope: []string{"\xc0"}}, time.Hour},
		"more than 8 KiB":               {token.Zone{Zone: "west", Scope: []string{strings.Repeat("s", token.MaxSize)}}, time.Hour},
		"no time":                       {token.Zone{Zone: "west", Scope: cp}, 0},
		"negative time":                 {token.Zone{Zone: "west", Scope: cp}, -time.Second},
		"less than a second":            {token.Zone{Zone: "west", Scope: cp}, 999 * time.Millisecond},
		"more than the maximum":         {token.Zone{Zone: "west", Scope: cp}, time.Hour + 1},
		"the longest duration there is": {token.Zone{Zone: "west", Scope: cp}, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			for _, issuer := range []zone.Issuer{newIssuer(t, store, limit), newOfflineIssuer(t, testKey(0), "key-1", limit)} {
				issued, err := issuer.Issue(t.Context(), c.claims, c.validFor)
				assert.ErrorIs(t, err, token.ErrNotIssuable)
				assert.Empty(t, issued)
			}
		})
	}
}

func TestIssuerMakesNeitherATokenNorAKeyWithoutAKey(t *testing.T) {
	store := keystore.NewMemory()
	issuer := newIssuer(t, store)
	claims := token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}
	_, err := issuer.Issue(t.Context(), claims, day)
	assert.ErrorIs(t, err, signing.ErrNoKey)

	putKey(t, store, 1, testKey(0))
	issueCP(t, issuer)
	require.NoError(t, zone.RemoveAllKeys(t.Context(), store))
	_, err = issuer.Issue(t.Context(), claims, day)
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.Empty(t, listAll(t, store))
}

func TestIssuerStopsAtAnUnreadableNewestKeyInsteadOfFallingBack(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	name := signing.ZoneKeys().KeyName(2)
	putRecord(t, store, keystore.Global, name, []byte("damaged"))
	_, err := newIssuer(t, store).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, day)
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.ErrorContains(t, err, name)
}

func TestIssuerSignsWithAKeyAsSoonAsItIsAdded(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	issuer := newIssuer(t, store)
	issueCP(t, issuer)
	_, err := zone.AddKey(t.Context(), store, testKey(1))
	require.NoError(t, err)
	kid, _ := inside(t, issueCP(t, issuer))
	assert.Equal(t, "2", kid)
}

func TestIssuerWithAValidatorSignsWithANewKeyOnceTheValidatorKnowsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		_, err := zone.EnsureKey(t.Context(), store)
		require.NoError(t, err)
		validator := newValidator(t, store)
		synctest.Wait()
		issuer := newIssuer(t, store, zone.WithValidator(validator))
		for serial := range 3 {
			for range 2 {
				raw := issueCP(t, issuer)
				kid, _ := inside(t, raw)
				assert.Equal(t, signing.Serial(serial+1).KeyID(), kid)
				assert.NoError(t, check(t, validator, raw))
			}
			_, err = zone.AddKey(t.Context(), store, testKey(serial%2))
			require.NoError(t, err)
			synctest.Wait()
		}
		_, err = zone.NewIssuer(keystore.NewMemory(), zone.WithValidator(validator))
		assert.ErrorContains(t, err, "does not follow the keys of this store")
		_, err = zone.NewIssuer(store, zone.WithValidator(nil))
		assert.ErrorContains(t, err, "the validator is nil")
	})
}

func TestIssuerNeedsAStoreOrAKeyAndAKid(t *testing.T) {
	_, err := zone.NewIssuer(nil)
	assert.ErrorContains(t, err, "store is nil")
	_, err = zone.NewIssuer(keystore.NewMemory(), nil)
	assert.ErrorContains(t, err, "nil")
	_, err = zone.NewOfflineIssuer(nil, "key-1")
	assert.ErrorContains(t, err, `"key-1"`)
	_, err = zone.NewOfflineIssuer(testKey(0), "")
	assert.ErrorContains(t, err, "without a kid")
	_, err = zone.NewOfflineIssuer(testKey(0), "a\x00b")
	assert.ErrorContains(t, err, `\x00`)
	_, err = zone.NewOfflineIssuer(testKey(0), "key-1", nil)
	assert.ErrorContains(t, err, "nil")
}
