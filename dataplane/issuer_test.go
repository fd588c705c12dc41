package dataplane_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"regexp"
	"runtime"
	"strings"
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
)

const day = 24 * time.Hour

var quiet = dataplane.WithLogger(slog.New(slog.DiscardHandler))

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

// signPayload makes a token with any payload, also one that no issuer makes.
func signPayload(t testing.TB, key *signing.PrivateKey, kid, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + encode([]byte(payload))
	signature, err := key.Sign([]byte(input))
	require.NoError(t, err)
	return input + "." + encode(signature)
}

func newIssuer(t testing.TB, store keystore.KeyStore, options ...dataplane.IssuerOption) dataplane.Issuer {
	t.Helper()
	issuer, err := dataplane.NewIssuer(store, options...)
	require.NoError(t, err)
	return issuer
}

func newOfflineIssuer(t testing.TB, key *signing.PrivateKey, kid string, options ...dataplane.IssuerOption) dataplane.Issuer {
	t.Helper()
	issuer, err := dataplane.NewOfflineIssuer(key, kid, options...)
	require.NoError(t, err)
	return issuer
}

func newValidator(t testing.TB, store keystore.KeyStore, options ...dataplane.ValidatorOption) dataplane.Validator {
	t.Helper()
	validator, err := dataplane.NewValidator(store, append([]dataplane.ValidatorOption{quiet}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	return validator
}

func newOfflineValidator(t testing.TB, options ...dataplane.ValidatorOption) dataplane.Validator {
	t.Helper()
	validator, err := dataplane.NewOfflineValidator(append([]dataplane.ValidatorOption{quiet}, options...)...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	return validator
}

func issue(t testing.TB, issuer dataplane.Issuer, mesh string, validFor time.Duration) string {
	t.Helper()
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: mesh}, validFor)
	require.NoError(t, err)
	return issued.Token
}

func check(t testing.TB, validator dataplane.Validator, mesh, raw string) error {
	t.Helper()
	_, err := validator.Validate(t.Context(), mesh, raw)
	return err
}

// countingSigner stands in for a KMS or an HSM.
type countingSigner struct {
	key   *rsa.PrivateKey
	calls atomic.Int32
	err   error
	spoil bool // return a signature that is wrong
}

func (s *countingSigner) Public() crypto.PublicKey { return s.key.Public() }

func (s *countingSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.calls.Add(1)
	if s.err != nil {
		return nil, s.err
	}
	signature, err := s.key.Sign(random, digest, opts)
	if s.spoil && err == nil {
		signature[len(signature)-1] ^= 1
	}
	return signature, err
}

func TestIssuerMakesATokenThatSaysWhatWasAskedAndValidates(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer, validator := newIssuer(t, store), newValidator(t, store)

	for name, claims := range map[string]token.Dataplane{
		"only a mesh": {Mesh: "default"},
		"everything": {Mesh: "default", Name: "dp-1", Type: "ingress", Workload: "backend",
			Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}, "version": {"1"}}},
		"text outside of ASCII": {Mesh: "default", Name: `größe "1" <&>`, Tags: map[string][]string{"тег": {"e\u0301", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			issued, err := issuer.Issue(t.Context(), claims, day)
			require.NoError(t, err)
			verified, err := validator.Validate(t.Context(), "default", issued.Token)
			require.NoError(t, err)
			assert.Equal(t, claims, verified.Claims())
			assert.Equal(t, "1", verified.KeyID())

			_, decoded := inside(t, issued.Token)
			assert.Equal(t, claims, decoded.Dataplane)
			assert.Equal(t, decoded.Registered, verified.Registered())
		})
	}
}

func TestIssuerDatesItsTokensBackAndEndsThemExactlyWhenAsked(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 999_999_999, time.FixedZone("elsewhere", 3600))
	issuer := newOfflineIssuer(t, testKey(0), "key-1", dataplane.WithClock(func() time.Time { return now }))
	second := now.Truncate(time.Second).UTC()

	for _, validFor := range []time.Duration{time.Second, time.Hour, 87600 * time.Hour} {
		_, claims := inside(t, issue(t, issuer, "default", validFor))
		assert.Equal(t, second.Add(validFor), claims.ExpiresAt, validFor)
		assert.Equal(t, second.Add(-5*time.Minute), claims.NotBefore, validFor)
		assert.Equal(t, second.Add(-5*time.Second), claims.IssuedAt, validFor)
	}
}

func TestIssuerGivesEveryTokenAUUIDAsItsIDThatTellsWhenItWasMade(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	issuer := newOfflineIssuer(t, testKey(0), "key-1", dataplane.WithClock(func() time.Time { return now }))
	uuid7 := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	for range 50 {
		_, claims := inside(t, issue(t, issuer, "default", day))
		assert.Regexp(t, uuid7, claims.ID)
		made, ok := revocation.IDTime(claims.ID)
		assert.True(t, ok)
		assert.Equal(t, now.Truncate(time.Millisecond), made)
		assert.False(t, seen[claims.ID], "the id %s was given twice", claims.ID)
		seen[claims.ID] = true
	}
}

func TestIssuerRefusesLifetimesThatMakeNoSense(t *testing.T) {
	signer := &countingSigner{key: testRSA(0)}
	key, err := signing.NewPrivateKey(signer)
	require.NoError(t, err)
	issuer := newOfflineIssuer(t, key, "key-1", dataplane.WithMaxLifetime(time.Hour))

	for _, validFor := range []time.Duration{0, -1, -time.Hour, math.MinInt64, 999 * time.Millisecond,
		time.Hour + 1, math.MaxInt64} {
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, validFor)
		assert.ErrorIs(t, err, token.ErrNotIssuable, "%s", validFor)
		assert.ErrorContains(t, err, validFor.String())
		assert.Empty(t, issued)
	}
	assert.Zero(t, signer.calls.Load(), "something was signed")
}

func TestIssuerMakesATokenOfTheMaximumLifetimeThatValidates(t *testing.T) {
	limit := dataplane.WithMaxLifetime(time.Hour)
	issuer := newOfflineIssuer(t, testKey(0), "key-1", limit)
	validator := newOfflineValidator(t, limit, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	assert.NoError(t, check(t, validator, "default", issue(t, issuer, "default", time.Hour)))

	unlimited := newOfflineIssuer(t, testKey(0), "key-1")
	raw := issue(t, unlimited, "default", time.Hour+time.Second)
	assert.ErrorIs(t, check(t, validator, "default", raw), token.ErrLifetime)
}

func TestIssuerDoesNotOverflowWithTheLongestDuration(t *testing.T) {
	issuer := newOfflineIssuer(t, testKey(0), "key-1")
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	assert.NoError(t, check(t, validator, "default", issue(t, issuer, "default", math.MaxInt64)))
}

func TestIssuerSignsNothingThatAValidatorWouldRefuse(t *testing.T) {
	signer := &countingSigner{key: testRSA(0)}
	key, err := signing.NewPrivateKey(signer)
	require.NoError(t, err)
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	at := func(now time.Time) dataplane.IssuerOption {
		return dataplane.WithClock(func() time.Time { return now })
	}

	for name, c := range map[string]struct {
		claims token.Dataplane
		option dataplane.IssuerOption
	}{
		"no mesh":                       {claims: token.Dataplane{Name: "dp-1"}},
		"a mesh that stands for all":    {claims: token.Dataplane{Mesh: "*"}},
		"a mesh with a slash":           {claims: token.Dataplane{Mesh: "a/b"}},
		"a mesh that climbs":            {claims: token.Dataplane{Mesh: "../default"}},
		"a mesh with a space":           {claims: token.Dataplane{Mesh: " default"}},
		"a mesh with a NUL":             {claims: token.Dataplane{Mesh: "default\x00"}},
		"a mesh of 129 bytes":           {claims: token.Dataplane{Mesh: strings.Repeat("m", 129)}},
		"a mesh outside of ASCII":       {claims: token.Dataplane{Mesh: "größe"}},
		"a tag with a nil list":         {claims: token.Dataplane{Mesh: "default", Tags: map[string][]string{"a": {"b"}, "c": nil}}},
		"a tag with an empty list":      {claims: token.Dataplane{Mesh: "default", Tags: map[string][]string{"a": {}}}},
		"a name that is not UTF-8":      {claims: token.Dataplane{Mesh: "default", Name: "dp\xff"}},
		"a type that is not UTF-8":      {claims: token.Dataplane{Mesh: "default", Type: "\xc3"}},
		"a workload that is not UTF-8":  {claims: token.Dataplane{Mesh: "default", Workload: "\xed\xa0\x80"}},
		"a tag that is not UTF-8":       {claims: token.Dataplane{Mesh: "default", Tags: map[string][]string{"\xff": {"b"}}}},
		"a tag value that is not UTF-8": {claims: token.Dataplane{Mesh: "default", Tags: map[string][]string{"a": {"b", "\xff"}}}},
		"more than 8 KiB":               {claims: token.Dataplane{Mesh: "default", Name: strings.Repeat("n", token.MaxSize)}},
		"a clock before 1970":           {claims: token.Dataplane{Mesh: "default"}, option: at(time.Unix(-day.Milliseconds(), 0))},
		"a clock at the end of time":    {claims: token.Dataplane{Mesh: "default"}, option: at(time.Date(9999, 12, 31, 12, 0, 0, 0, time.UTC))},
	} {
		t.Run(name, func(t *testing.T) {
			var options []dataplane.IssuerOption
			if c.option != nil {
				options = append(options, c.option)
			}
			for _, issuer := range []dataplane.Issuer{
				newOfflineIssuer(t, key, "key-1", options...),
				newIssuer(t, store, options...),
			} {
				issued, err := issuer.Issue(t.Context(), c.claims, day)
				assert.ErrorIs(t, err, token.ErrNotIssuable)
				assert.Empty(t, issued)
				assert.Less(t, len(err.Error()), 512, "the error repeats what was asked at length")
			}
		})
	}
	assert.Zero(t, signer.calls.Load(), "something was signed")
}

func TestIssuerMakesALargeTokenThatJustFitsAndValidates(t *testing.T) {
	issuer := newOfflineIssuer(t, testKey(0), "key-1")
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	length, largest := token.MaxSize*3/4, "" // as base64 that is over the limit, by little
	for largest == "" {
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: strings.Repeat("n", length)}, day)
		if err != nil {
			require.ErrorIs(t, err, token.ErrNotIssuable)
			length--
			continue
		}
		largest = issued.Token
	}
	assert.LessOrEqual(t, len(largest), token.MaxSize)
	assert.Greater(t, len(largest), token.MaxSize-4)
	assert.NoError(t, check(t, validator, "default", largest))
}

func TestIssuerMakesNoTokenForAMeshWithoutAKey(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "other", 1, testKey(0))
	putKey(t, store, "default-2", 1, testKey(0))
	putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
	putRecord(t, store, "default", "dataplane-token-signing-key-default-backup", pemOf(t, testKey(0)))
	before := listAll(t, store)

	issued, err := newIssuer(t, store).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	assert.ErrorIs(t, err, signing.ErrNoKey)
	assert.ErrorContains(t, err, `"default"`)
	assert.Empty(t, issued)
	assert.Equal(t, before, listAll(t, store), "issuing changed the store")
}

func TestIssuerStopsAtAnUnreadableNewestKeyInsteadOfFallingBack(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer := newIssuer(t, store)
	issue(t, issuer, "default", day)

	name := signing.DataplaneKeys("default").KeyName(2)
	putRecord(t, store, "default", name, []byte("not a key"))
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.ErrorContains(t, err, name)
	assert.NotContains(t, err.Error(), "not a key")
	assert.Empty(t, issued)

	_, err = dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 2))
	kid, _ := inside(t, issue(t, issuer, "default", day))
	assert.Equal(t, "3", kid)
}

func TestIssuerSignsWithAKeyAsSoonAsItIsAddedAndNoLongerThanItIsThere(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer := newIssuer(t, store)
	signer := func() string {
		kid, _ := inside(t, issue(t, issuer, "default", day))
		return kid
	}
	require.Equal(t, "1", signer())

	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	require.Equal(t, "2", signer())

	require.NoError(t, store.Delete(t.Context(), "default", signing.DataplaneKeys("default").KeyName(2)))
	require.Equal(t, "1", signer())
}

func TestIssuerSignsAtOnceWithAKeyThatWasReplacedUnderItsName(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer := newIssuer(t, store)
	issue(t, issuer, "default", day)

	replaceKey(t, store, "default", 1, testKey(1))
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(1).Public()))
	assert.NoError(t, check(t, validator, "default", issue(t, issuer, "default", day)))
}

func TestIssuerDoesNotMakeSerialOneAnewWhenTheLastKeyIsDeleted(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer, validator := newIssuer(t, store), newValidator(t, store)
	raw := issue(t, issuer, "default", day)
	require.NoError(t, check(t, validator, "default", raw))

	require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"))
	for range 3 {
		_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, signing.ErrNoKey)
	}
	assert.ErrorIs(t, check(t, newValidator(t, store), "default", raw), token.ErrUnknownKey)
	assert.Empty(t, listAll(t, store), "somebody made a key")
}

func TestIssuerDoesNotTakeAFailingStoreForAMeshWithoutAKey(t *testing.T) {
	store := newFaultStore()
	putKey(t, store.Memory, "default", 1, testKey(0))
	issuer := newIssuer(t, store)
	records := listAll(t, store.Memory)

	for name, c := range map[string]struct {
		list listFunc
		want error
	}{
		"an error": {failing, errStoreDown},
		"a partial list with an error": {func(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
			return records, errStoreDown
		}, errStoreDown},
		"an empty list with an error": {func(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
			return []keystore.Record{}, errStoreDown
		}, errStoreDown},
		"a hang": {hanging, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store.setList(c.list)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
				assert.ErrorIs(t, err, token.ErrUnavailable)
				assert.ErrorIs(t, err, c.want)
				assert.NotErrorIs(t, err, signing.ErrNoKey)
				assert.Empty(t, issued)
			})
		})
	}
	store.setList(nil)
	issue(t, issuer, "default", day)
}

func TestIssuerReadsNothingButTheMeshsKeysAndCutoffs(t *testing.T) {
	store := newFaultStore()
	putKey(t, store.Memory, "default", 1, testKey(0))
	issue(t, newIssuer(t, store), "default", day)
	reads := store.readsSoFar()
	require.Len(t, reads, 3)
	for i, want := range []storeRead{
		{method: "List", scope: "default", name: "dataplane-token-signing-"},
		{method: "Get", scope: "default", name: "dataplane-token-cutoffs-default"},
		{method: "Get", scope: keystore.Global, name: "dataplane-token-cutoffs-default"},
	} {
		want.at = reads[i].at
		assert.Equal(t, want, reads[i])
	}
}

func TestIssuerNeedsAStore(t *testing.T) {
	_, err := dataplane.NewIssuer(nil)
	assert.ErrorContains(t, err, "store is nil")
}

func TestOfflineIssuerNeedsAKeyAndAKid(t *testing.T) {
	for name, c := range map[string]struct {
		key  *signing.PrivateKey
		kid  string
		says string
	}{
		"a kid without a key":         {nil, "key-1", "key-1"},
		"a key without a kid":         {testKey(0), "", "without a kid"},
		"a kid of 257 bytes":          {testKey(0), strings.Repeat("k", 257), "257"},
		"a kid with a line end":       {testKey(0), "key\n1", `\n`},
		"a kid outside of ASCII":      {testKey(0), "schlüssel", "ASCII"},
		"a private key without a key": {&signing.PrivateKey{}, "key-1", "key"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer, err := dataplane.NewOfflineIssuer(c.key, c.kid)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, issuer)
		})
	}
}

func TestIssuerRefusesANilOption(t *testing.T) {
	for name, option := range map[string]dataplane.IssuerOption{
		"nil":                   nil,
		"a nil logger":          dataplane.WithLogger(nil),
		"a nil clock":           dataplane.WithClock(nil),
		"no lifetime":           dataplane.WithMaxLifetime(0),
		"a negative lifetime":   dataplane.WithMaxLifetime(-time.Hour),
		"less than one second":  dataplane.WithMaxLifetime(time.Second - 1),
		"the shortest there is": dataplane.WithMaxLifetime(math.MinInt64),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dataplane.NewIssuer(keystore.NewMemory(), option)
			assert.Error(t, err)
			_, err = dataplane.NewOfflineIssuer(testKey(0), "key-1", option)
			assert.Error(t, err)
		})
	}
}

func TestOfflineIssuerSignsWithAKeyThatIsKeptElsewhere(t *testing.T) {
	signer := &countingSigner{key: testRSA(0)}
	key, err := signing.NewPrivateKey(signer)
	require.NoError(t, err)
	issuer := newOfflineIssuer(t, key, "hsm/slot 7")
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "hsm/slot 7", key.Public()))

	verified, err := validator.Validate(t.Context(), "default", issue(t, issuer, "default", day))
	require.NoError(t, err)
	assert.Equal(t, "hsm/slot 7", verified.KeyID())
	assert.EqualValues(t, 1, signer.calls.Load())
}

func TestOfflineIssuerMakesNoTokenWithASignerThatFailsOrLies(t *testing.T) {
	errHSM := errors.New("the HSM is locked")
	for name, c := range map[string]struct {
		signer *countingSigner
		want   error
	}{
		"fails": {&countingSigner{key: testRSA(0), err: errHSM}, errHSM},
		"lies":  {&countingSigner{key: testRSA(0), spoil: true}, signing.ErrKey},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.NewPrivateKey(c.signer)
			require.NoError(t, err)
			issued, err := newOfflineIssuer(t, key, "hsm").Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			assert.ErrorIs(t, err, c.want)
			assert.Empty(t, issued)
		})
	}
}

func TestIssuerServesManyGoroutinesWhileKeysAreAdded(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issuer := newIssuer(t, store)
	raws := make(chan string, 80)
	for range 4 {
		go func() {
			for range 20 {
				issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
				assert.NoError(t, err)
				raws <- issued.Token
			}
		}()
	}
	_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
	require.NoError(t, err)
	validator := newValidator(t, store)
	for range cap(raws) {
		assert.NoError(t, check(t, validator, "default", <-raws))
	}
}

func TestIssuerForgetsThePrivateKeysOfMeshesThatItNoLongerIssuesFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const meshes = 400
		store := keystore.NewMemory()
		issuer := newIssuer(t, store)
		heap := func() int {
			runtime.GC()
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return int(stats.HeapAlloc)
		}
		for i := range meshes {
			mesh := fmt.Sprint("mesh-", i)
			putKey(t, store, mesh, 1, testKey(0))
			issue(t, issuer, mesh, day)
			require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, mesh))
		}
		putKey(t, store, "default", 1, testKey(0))
		issue(t, issuer, "default", day)
		before := heap()
		time.Sleep(11 * time.Minute)
		issue(t, issuer, "default", day)
		assert.Greater(t, before-heap(), meshes*1024, "a parsed key takes some five kilobytes")
		runtime.KeepAlive(issuer)
	})
}
