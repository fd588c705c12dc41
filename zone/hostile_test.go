package zone_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// hostileNow is the time on the validator's clock, in seconds since 1970.
const hostileNow = 1_769_546_939

// hostileSample is the zone token of Kuma's documentation. Nobody here has its key.
const hostileSample = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.eyJab25lIjoid2VzdCIsIlNjb3BlIjpbImNwIl0sImV4cCI6MTY2OTU0NjkzOSwibmJmIjoxNjY2OTU0NjM5LCJpYXQiOjE2NjY5NTQ5MzksImp0aSI6IjZiYWYyYzkwLTBlODYtNGM2Mi05N2E3LTc4MzU4NTU4MzRiYyJ9.DJfA0M6uUfO4oytp8jHtzngiVggQWQR88YQxWVU1ujc0Zv-XStRDwvpdEoFGOzWVn4EUfI3gcv9qS2MxqIzQjJ83k5Jq85w4hkPyLGr-0jNS1UZF6yXz7lB_As8f91gMVHbRAoFuoybV5ndDtfYzwZknyzott7doxk-SjTes2GDvpg0-kFNGc4MBR2EprGl7YKO0vhFxQljn5AyCAhmAA7-PM7WRCzhmS-pUXacfZtP2VulWYhmTAuLPnkJrJN-ZWPkIpnV1MZmsgWbzTpnW-PhmCMQfD5m2im1c_3OlFwa9P9rZQQhdhbTp0ofMvW-cdCAcG_lOJI5j60cqPh2DGg"

// The header and the payload of a token against which nothing can be said.
var (
	hostileHeader = forge.Object{{Name: "alg", Value: `"RS256"`}, {Name: "kid", Value: `"1"`}, {Name: "typ", Value: `"JWT"`}}

	hostilePayload = forge.Object{
		{Name: "Zone", Value: `"west"`},
		{Name: "Scope", Value: `["cp"]`},
		{Name: "exp", Value: hostileAt(3600)},
		{Name: "nbf", Value: hostileAt(-300)},
		{Name: "iat", Value: hostileAt(-300)},
		{Name: "jti", Value: `"6baf2c90-0e86-4c62-97a7-7835855834bc"`},
	}
)

// hostileAt is a time in a token, in seconds from now.
func hostileAt(seconds int) string { return strconv.Itoa(hostileNow + seconds) }

func hostileWithHeader(header forge.Object) string {
	return forge.Token(header.String(), hostilePayload.String(), forge.RS256(forge.Key()))
}

func hostileWithPayload(payload forge.Object) string {
	return forge.Token(hostileHeader.String(), payload.String(), forge.RS256(forge.Key()))
}

// hostileCase is a token and the answer that it must get. Where nothing else is said
// it is presented by zone "west" for scope "cp" and signed with the key that it names.
type hostileCase struct {
	name        string
	raw         string
	zone, scope string // asked for
	want        error  // nil: accepted
	reads       bool   // whether validating it makes the store be read, once
	options     []zone.ValidatorOption
}

func hostileAccepted(name, raw string) hostileCase {
	return hostileCase{name: name, raw: raw, zone: "west", scope: "cp"}
}

func hostileRefused(want error, name, raw string) hostileCase {
	return hostileCase{name: name, raw: raw, zone: "west", scope: "cp", want: want}
}

func (c hostileCase) askedFor(zone, scope string) hostileCase {
	c.zone, c.scope = zone, scope
	return c
}

func (c hostileCase) causingARead() hostileCase { c.reads = true; return c }

func (c hostileCase) under(options ...zone.ValidatorOption) hostileCase {
	c.options = append(c.options, options...)
	return c
}

func hostileConfigured(kid string, key *rsa.PrivateKey) zone.ValidatorOption {
	public, err := signing.NewPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return zone.WithPublicKey(kid, public)
}

func hostileCases() []hostileCase {
	good := hostileWithPayload(hostilePayload)
	dataplane := hostilePayload.Without("Zone").Without("Scope").And("Mesh", `"default"`).And("Name", `"dp-1"`).And("Tags", `{"kuma.io/service":["backend"]}`)
	scoped := func(scope string) string { return hostileWithPayload(hostilePayload.With("Scope", scope)) }
	zoned := func(zone string) string { return hostileWithPayload(hostilePayload.With("Zone", zone)) }
	withKid := func(kid string, sign forge.Signer) string {
		return forge.Token(hostileHeader.With("kid", strconv.Quote(kid)).String(), hostilePayload.String(), sign)
	}
	with := func(name, value string) string { return hostileWithPayload(hostilePayload.With(name, value)) }
	signed, badly := forge.RS256(forge.Key()), forge.RS256(forge.OtherKey())

	cases := []hostileCase{
		hostileAccepted("a token against which nothing can be said", good),
		hostileAccepted("names in lower case", hostileWithPayload(hostilePayload.Renamed("Zone", "zone").Renamed("Scope", "scope"))),
		hostileAccepted("nothing but Zone, Scope, exp and jti", hostileWithPayload(hostilePayload.Without("nbf").Without("iat"))),
		hostileAccepted("a configured key", withKid("key-1", signed)).under(hostileConfigured("key-1", forge.Key())),
		hostileAccepted("a Mesh that is null", hostileWithPayload(hostilePayload.And("Mesh", `null`))),
		hostileAccepted("a Mesh that is empty", hostileWithPayload(hostilePayload.And("Mesh", `""`))),
		hostileAccepted("Name, Tags, Type and Workload that are null", hostileWithPayload(hostilePayload.And("Name", `null`).And("Tags", `null`).And("Type", `null`).And("Workload", `null`))),

		hostileRefused(token.ErrKind, "a dataplane token that the zones' key signed", hostileWithPayload(dataplane)),
		hostileRefused(token.ErrKind, "a dataplane token in lower case", hostileWithPayload(dataplane.Renamed("Mesh", "mesh").Renamed("Name", "name").Renamed("Tags", "tags"))),
		hostileRefused(token.ErrKind, "a dataplane token for a mesh that is called like the zone", hostileWithPayload(dataplane.With("Mesh", `"west"`))),
		hostileRefused(token.ErrKind, "a dataplane token with a Zone that is empty", hostileWithPayload(dataplane.And("Zone", `""`))),
		hostileRefused(token.ErrKind, "a dataplane token by a configured key that serves both kinds", forge.Token(hostileHeader.With("kid", `"key-1"`).String(), dataplane.String(), signed)).
			under(hostileConfigured("key-1", forge.Key())),
		hostileRefused(token.ErrClaims, "a dataplane token with a Scope", hostileWithPayload(dataplane.And("Scope", `["cp"]`))),
		hostileRefused(token.ErrClaims, "Zone and Mesh", hostileWithPayload(hostilePayload.And("Mesh", `"default"`))),
		hostileRefused(token.ErrClaims, "Zone and mesh", hostileWithPayload(hostilePayload.And("mesh", `"default"`))),
		hostileRefused(token.ErrClaims, "Zone and MESH", hostileWithPayload(hostilePayload.And("MESH", `null`))),
		hostileRefused(token.ErrClaims, "Zone and a Name", hostileWithPayload(hostilePayload.And("Name", `"dp-1"`))),
		hostileRefused(token.ErrClaims, "Zone and Tags", hostileWithPayload(hostilePayload.And("Tags", `{"a":["b"]}`))),
		hostileRefused(token.ErrClaims, "Zone and a Workload", hostileWithPayload(hostilePayload.And("Workload", `"w"`))),

		hostileRefused(token.ErrScope, "another zone", zoned(`"east"`)),
		hostileRefused(token.ErrScope, "a good token presented by another zone", good).askedFor("east", "cp"),
		hostileRefused(token.ErrScope, "a good token presented by a zone without a name", good).askedFor("", "cp"),
		hostileRefused(token.ErrScope, "a good token presented by a zone in capitals", good).askedFor("WEST", "cp"),
		hostileRefused(token.ErrScope, "a good token presented by a zone with a space", good).askedFor("west ", "cp"),
		hostileRefused(token.ErrScope, "a good token presented by every zone", good).askedFor("*", "cp"),
		hostileRefused(token.ErrScope, "a zone called *", zoned(`"*"`)),
		hostileRefused(token.ErrScope, "a zone with a NUL at its end", zoned(`"west\u0000"`)),
		hostileRefused(token.ErrScope, "a zone with a Cyrillic letter", zoned(`"w\u0435st"`)),
		hostileRefused(token.ErrScope, "a zone with a zero width space", zoned(`"west\u200b"`)),
		hostileRefused(token.ErrScope, "a zone with an escape sequence for terminals", zoned(`"\u001b[2J\r\nwest"`)),
		hostileRefused(token.ErrScope, "two zones with a comma", zoned(`"west,east"`)),
		hostileRefused(token.ErrScope, "a good token for ingress", good).askedFor("west", zone.ScopeIngress),
		hostileRefused(token.ErrScope, "a good token for egress", good).askedFor("west", zone.ScopeEgress),
		hostileRefused(token.ErrScope, "a good token for CP", good).askedFor("west", "CP"),
		hostileRefused(token.ErrScope, "a good token for no scope", good).askedFor("west", ""),
		hostileRefused(token.ErrScope, "an empty scope for no scope", scoped(`[""]`)).askedFor("west", ""),
		hostileRefused(token.ErrScope, "no Scope for no scope", hostileWithPayload(hostilePayload.Without("Scope"))).askedFor("west", ""),
		hostileRefused(token.ErrScope, "no Scope", hostileWithPayload(hostilePayload.Without("Scope"))),
		hostileRefused(token.ErrScope, "another zone and no Scope", hostileWithPayload(hostilePayload.Without("Scope").With("Zone", `"east"`))),

		hostileRefused(token.ErrSignature, "the documentation's sample", hostileSample),
		hostileRefused(token.ErrSignature, "a signature by another key", forge.Token(hostileHeader.String(), hostilePayload.String(), badly)),
		hostileRefused(token.ErrSignature, "the key of a mesh with the same kid", withKid("1", badly)),
		hostileRefused(token.ErrUnknownKey, "the key of a mesh with a kid of its own", withKid("4", badly)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "a key whose record is in a mesh", withKid("5", badly)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "a key whose record is named after a mesh", withKid("6", badly)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "a key whose record has a leading zero", withKid("7", badly)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "a serial that no key has", withKid("2", signed)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "serial 0, which no key has", withKid("0", signed)).causingARead(),
		hostileRefused(token.ErrUnknownKey, "a kid with a leading zero", withKid("01", signed)),
		hostileRefused(token.ErrUnknownKey, "a kid with the zone before it", withKid("west-1", signed)),
		hostileRefused(token.ErrUnknownKey, "a kid that is a path", withKid("../../1", signed)),
		hostileRefused(token.ErrUnknownKey, "a kid that is not configured", withKid("key-2", signed)).under(hostileConfigured("key-1", forge.Key())),
		hostileRefused(token.ErrUnknownKey, "a stored key where only configured keys count", good).under(hostileConfigured("key-1", forge.Key()), zone.WithoutStoreKeys()),
		hostileRefused(token.ErrHeader, "alg none with a valid signature", hostileWithHeader(hostileHeader.With("alg", `"none"`))),
		hostileRefused(token.ErrHeader, "crit", hostileWithHeader(hostileHeader.And("crit", `["exp"]`))),
		hostileRefused(token.ErrHeader, "typ at+jwt", hostileWithHeader(hostileHeader.With("typ", `"at+jwt"`))),
		hostileRefused(token.ErrMalformed, "Bearer before the token", "Bearer "+good),
		hostileRefused(token.ErrMalformed, "a newline after the token", good+"\n"),
		hostileRefused(token.ErrMalformed, "nothing", ""),

		hostileRefused(token.ErrClaims, "no Zone", hostileWithPayload(hostilePayload.Without("Zone"))),
		hostileRefused(token.ErrClaims, "no exp", hostileWithPayload(hostilePayload.Without("exp"))),
		hostileRefused(token.ErrClaims, "no jti", hostileWithPayload(hostilePayload.Without("jti"))),
		hostileRefused(token.ErrClaims, "Zone twice", hostileWithPayload(hostilePayload.And("Zone", `"west"`))),
		hostileRefused(token.ErrClaims, "Zone and zone", hostileWithPayload(hostilePayload.And("zone", `"west"`))),
		hostileRefused(token.ErrClaims, "Zone and ZONE", hostileWithPayload(hostilePayload.And("ZONE", `"east"`))),
		hostileRefused(token.ErrClaims, "ZONE alone", hostileWithPayload(hostilePayload.Renamed("Zone", "ZONE"))),
		hostileRefused(token.ErrClaims, "Scope twice", hostileWithPayload(hostilePayload.And("Scope", `["cp"]`))),
		hostileRefused(token.ErrClaims, "Scope and scope", hostileWithPayload(hostilePayload.And("scope", `["ingress"]`))),
		hostileRefused(token.ErrClaims, "Scope and SCOPE", hostileWithPayload(hostilePayload.And("SCOPE", `["ingress"]`))),
		hostileRefused(token.ErrClaims, "SCOPE alone", hostileWithPayload(hostilePayload.Renamed("Scope", "SCOPE"))),
		hostileRefused(token.ErrClaims, "scope with a long s alone", hostileWithPayload(hostilePayload.Renamed("Scope", "\u017fcope"))),
		hostileRefused(token.ErrClaims, "scope with a long s beside Scope", hostileWithPayload(hostilePayload.And("\u017fcope", `["ingress"]`))),
		hostileRefused(token.ErrClaims, "scope with an escaped long s", hostileWithPayload(hostilePayload.And(`\u017fcope`, `["ingress"]`))),

		hostileRefused(token.ErrRevoked, "a revoked id", with("jti", `"revoked-for-zones"`)),
		hostileRefused(token.ErrRevoked, "a revoked id by a configured key", forge.Token(hostileHeader.With("kid", `"key-1"`).String(), hostilePayload.With("jti", `"revoked-for-zones"`).String(), signed)).
			under(hostileConfigured("key-1", forge.Key()), zone.WithoutStoreKeys()),
		hostileAccepted("an id on the list of a mesh", with("jti", `"revoked-for-default"`)),
		hostileAccepted("an id on a list of zone tokens that is in a mesh", with("jti", `"revoked-by-mistake"`)),
		hostileAccepted("a revoked id in capitals, which is another id", with("jti", `"REVOKED-FOR-ZONES"`)),

		hostileAccepted("exp 29 s ago", with("exp", hostileAt(-29))),
		hostileRefused(token.ErrExpired, "exp 30 s ago", with("exp", hostileAt(-30))),
		hostileAccepted("nbf 30 s ahead", with("nbf", hostileAt(30))),
		hostileRefused(token.ErrNotYetValid, "nbf 31 s ahead", with("nbf", hostileAt(31))),
		hostileAccepted("an hour and five minutes where an hour is the maximum", good).under(zone.WithMaxLifetime(time.Hour)),
		hostileRefused(token.ErrLifetime, "an hour, five minutes and a second where an hour is the maximum", with("exp", hostileAt(3601))).under(zone.WithMaxLifetime(time.Hour)),

		hostileRefused(token.ErrSignature, "a bad signature, another zone and expired", forge.Token(hostileHeader.String(), hostilePayload.With("Zone", `"east"`).With("exp", "1").String(), badly)),
		hostileRefused(token.ErrKind, "a dataplane token that is expired and revoked", hostileWithPayload(dataplane.With("exp", "1").With("jti", `"revoked-for-zones"`))),
		hostileRefused(token.ErrScope, "another zone, expired and revoked", hostileWithPayload(hostilePayload.With("Zone", `"east"`).With("exp", "1").With("jti", `"revoked-for-zones"`))),
		hostileRefused(token.ErrScope, "another scope, expired and revoked", hostileWithPayload(hostilePayload.With("Scope", `["egress"]`).With("exp", "1").With("jti", `"revoked-for-zones"`))),
		hostileRefused(token.ErrRevoked, "revoked and expired", hostileWithPayload(hostilePayload.With("exp", "1").With("jti", `"revoked-for-zones"`))),
	}
	for _, scope := range []string{
		`["cp"]`, `["cp","ingress"]`, `["ingress","cp"]`, `["cp","cp"]`, `["","cp"]`, `["\u0063p"]`, `["CP","cp"]`, ` [ "cp" ] `,
	} {
		cases = append(cases, hostileAccepted("Scope is "+scope, scoped(scope)))
	}
	for _, scope := range []string{
		`null`, `[]`, `[""]`, `["ingress"]`, `["CP"]`, `["Cp"]`, `["cp "]`, `[" cp"]`, `["cp,ingress"]`, `["cp ingress"]`, `["c","p"]`, `["*"]`, `["cp*"]`, `["cp\u0000"]`,
		`["\u0441\u0440"]`, `["\uff43\uff50"]`, `["cp\u200b"]`, `["cpcp"]`, `["c"]`, `["null"]`, `["[\"cp\"]"]`,
	} {
		cases = append(cases, hostileRefused(token.ErrScope, "Scope is "+scope, scoped(scope)))
	}
	for _, scope := range []string{
		`"cp"`, `""`, `"cp ingress"`, `{"cp":true}`, `{}`, `{"0":"cp"}`, `1`, `true`, `["cp",null]`, `["cp",1]`, `["cp",["ingress"]]`, `[["cp"]]`, `[{"cp":"cp"}]`, `["cp",]`, `[,"cp"]`, `["cp"`,
		`["cp" "ingress"]`, `["cp";"ingress"]`, `['cp']`, `["\ud800"]`, `[cp]`, "[\"cp\xff\"]", "[\"cp\n\"]",
	} {
		cases = append(cases, hostileRefused(token.ErrClaims, "Scope is "+scope, scoped(scope)))
	}
	for _, name := range []string{`1`, `true`, `["west"]`, `{"west":"west"}`, `null`, `""`, `"\ud800"`, `west`} {
		cases = append(cases, hostileRefused(token.ErrClaims, "Zone is "+name, zoned(name)))
	}
	return cases
}

// hostileStore counts what is read from a store in memory. It announces changes as
// the store does.
type hostileStore struct {
	*keystore.Memory

	failure atomic.Pointer[error]

	mu    sync.Mutex
	reads []time.Time
}

func (s *hostileStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	s.mu.Lock()
	s.reads = append(s.reads, time.Now())
	s.mu.Unlock()
	if err := s.failure.Load(); err != nil {
		return nil, *err
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *hostileStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *hostileStore) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	s.mu.Lock()
	s.reads = append(s.reads, time.Now())
	s.mu.Unlock()
	return s.Memory.Get(ctx, scope, name)
}

func (s *hostileStore) readsSoFar() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reads)
}

func newHostileStore(t *testing.T) *hostileStore {
	t.Helper()
	store := &hostileStore{Memory: keystore.NewMemory()}
	create := func(scope keystore.Scope, name string, data []byte) {
		_, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: data})
		require.NoError(t, err)
	}
	createKey := func(scope keystore.Scope, name string, key *rsa.PrivateKey) {
		create(scope, name, pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	}
	createKey(keystore.Global, "zone-token-signing-public-key-1", forge.Key())
	createKey(keystore.Global, "zone-token-signing-public-key-default-6", forge.OtherKey())
	createKey(keystore.Global, "zone-token-signing-public-key-0007", forge.OtherKey())
	createKey("default", "dataplane-token-signing-public-key-default-1", forge.OtherKey())
	createKey("default", "dataplane-token-signing-public-key-default-4", forge.OtherKey())
	createKey("default", "zone-token-signing-public-key-5", forge.OtherKey())
	create(keystore.Global, "zone-token-revocations", []byte("revoked-for-zones"))
	create(keystore.Global, "dataplane-token-revocations-default", []byte("revoked-for-default"))
	create("default", "dataplane-token-revocations-default", []byte("revoked-for-default"))
	create("default", "zone-token-revocations", []byte("revoked-by-mistake"))
	return store
}

// newHostileValidator returns a validator that has read the store, and that is at
// rest.
func newHostileValidator(t *testing.T, store keystore.KeyStore, log slog.Handler, options ...zone.ValidatorOption) zone.Validator {
	t.Helper()
	options = append([]zone.ValidatorOption{
		zone.WithLogger(slog.New(log)),
		zone.WithClock(func() time.Time { return time.Unix(hostileNow, 0) }),
	}, options...)
	validator, err := zone.NewValidator(store, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	synctest.Wait()
	return validator
}

// hostileReasons are the errors for the checks. An answer matches one of them.
var hostileReasons = []error{
	token.ErrMalformed, token.ErrHeader, token.ErrUnknownKey, token.ErrSignature, token.ErrClaims, token.ErrIssuer,
	token.ErrAudience, token.ErrKind, token.ErrScope, token.ErrRevoked, token.ErrExpired, token.ErrNotYetValid, token.ErrLifetime, token.ErrUnavailable,
}

// assertHostileAnswer holds an answer to what is wanted: that error and no other, no
// token beside it, and nothing of the token in it.
func assertHostileAnswer(t *testing.T, want error, raw string, verified zone.Verified, err error) {
	t.Helper()
	if want == nil {
		require.NoError(t, err)
		assert.NotEqual(t, zone.Verified{}, verified)
		return
	}
	require.Error(t, err)
	assert.Equal(t, zone.Verified{}, verified)
	for _, reason := range hostileReasons {
		assert.Equal(t, reason == want, errors.Is(err, reason), "whether %q is %q", err, reason)
	}
	assert.Equal(t, want != token.ErrUnavailable, errors.Is(err, token.ErrInvalid), "whether %q is a definite refusal", err)
	assertNothingHostileIn(t, raw, err.Error())
}

// assertNothingHostileIn asserts that a text holds neither a token nor the beginning
// of any of its parts.
func assertNothingHostileIn(t *testing.T, raw, text string) {
	t.Helper()
	for _, part := range append(strings.Split(raw, "."), raw) {
		if len(part) >= 16 {
			assert.False(t, strings.Contains(text, part[:16]), "part of the token is in %.300q", text)
		}
	}
	assert.Equal(t, -1, strings.IndexFunc(text, unicode.IsControl), "control characters are escaped in %.300q", text)
}

func TestValidatorGivesHostileTokensTheAnswersThatItMust(t *testing.T) {
	cases := hostileCases()
	names := map[string]bool{}
	for _, c := range cases {
		require.False(t, names[c.name], "there are two cases named %q", c.name)
		names[c.name] = true
	}
	require.Greater(t, len(cases), 100)
	t.Logf("%d cases", len(cases))

	good := hostileWithPayload(hostilePayload)
	store := newHostileStore(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				validator := newHostileValidator(t, store, slog.NewTextHandler(&logged, nil), c.options...)
				logged.Reset()

				for range 2 { // what was learnt the first time changes nothing
					before := len(store.readsSoFar())
					verified, err := validator.Validate(t.Context(), c.zone, c.scope, c.raw)
					assertHostileAnswer(t, c.want, c.raw, verified, err)
					synctest.Wait()
					reads := 0
					if c.reads {
						reads = 1
					}
					assert.Equal(t, reads, len(store.readsSoFar())-before, "reads of the store")
					time.Sleep(2 * time.Second) // until a token may cause a read again
				}

				lines := strings.Count(logged.String(), "\n")
				if c.want == nil {
					assert.Zero(t, lines)
				} else {
					assert.Equal(t, 2, lines)
				}
				for line := range strings.Lines(logged.String()) {
					assertNothingHostileIn(t, c.raw, strings.TrimSuffix(line, "\n"))
				}
				if c.options == nil {
					verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, good)
					assertHostileAnswer(t, nil, good, verified, err)
				}
			})
		})
	}
}

func TestValidatorRefusesAnAcceptedTokenForOtherZonesAndScopes(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		raw := hostileWithPayload(hostilePayload.With("Scope", `["cp","ingress"]`))
		for range 2 {
			for _, asked := range []struct {
				zone, scope string
				want        error
			}{
				{"west", zone.ScopeCP, nil}, {"east", zone.ScopeCP, token.ErrScope}, {"west", zone.ScopeEgress, token.ErrScope},
				{"west", zone.ScopeIngress, nil}, {"", zone.ScopeIngress, token.ErrScope}, {"west", "", token.ErrScope},
			} {
				verified, err := validator.Validate(t.Context(), asked.zone, asked.scope, raw)
				assertHostileAnswer(t, asked.want, raw, verified, err)
			}
		}
	})
}

func TestValidatorRefusesHostileTokensDefinitelyWhereTheStoreCannotBeRead(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler, zone.WithMaxStale(time.Minute))
		down := errors.New("the store is down")
		store.failure.Store(&down)
		time.Sleep(2 * time.Minute)
		for _, c := range []hostileCase{
			hostileRefused(token.ErrUnavailable, "a good token", hostileWithPayload(hostilePayload)),
			hostileRefused(token.ErrExpired, "an expired token", hostileWithPayload(hostilePayload.With("exp", "1"))),
			hostileRefused(token.ErrRevoked, "a revoked token", hostileWithPayload(hostilePayload.With("jti", `"revoked-for-zones"`))),
			hostileRefused(token.ErrScope, "another zone", hostileWithPayload(hostilePayload.With("Zone", `"east"`))),
			hostileRefused(token.ErrScope, "another scope", hostileWithPayload(hostilePayload.With("Scope", `["egress"]`))),
			hostileRefused(token.ErrSignature, "a bad signature", forge.Token(hostileHeader.String(), hostilePayload.String(), forge.RS256(forge.OtherKey()))),
			hostileRefused(token.ErrUnavailable, "an unknown serial", hostileWithHeader(hostileHeader.With("kid", `"2"`))),
		} {
			verified, err := validator.Validate(t.Context(), c.zone, c.scope, c.raw)
			assertHostileAnswer(t, c.want, c.raw, verified, err)
		}
	})
}

func TestValidatorUnderAFloodOfUnknownSerialsReadsTheStoreOnceASecond(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		time.Sleep(2 * time.Second)
		read, began := len(store.readsSoFar()), time.Now()
		const rounds, tokens = 15, 1300
		rest := "." + forge.Encode(hostilePayload.String()) + "." + forge.Encode(string(make([]byte, 256)))
		for round := range rounds {
			var presenting sync.WaitGroup
			var waiting atomic.Int64
			waiting.Store(tokens)
			for i := range tokens {
				presenting.Go(func() {
					raw := forge.Encode(`{"alg":"RS256","kid":"`+strconv.Itoa(1000+round*tokens+i)+`"}`) + rest
					_, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
					if errors.Is(err, token.ErrUnknownKey) == errors.Is(err, token.ErrUnavailable) {
						t.Errorf("the answer is %v", err)
					}
					waiting.Add(-1)
				})
			}
			synctest.Wait()
			assert.LessOrEqual(t, waiting.Load(), int64(1024), "tokens waiting")
			presenting.Wait()
		}
		reads := store.readsSoFar()[read:]
		require.Greater(t, len(reads), 10)
		// One of them may be the read of everything, which comes at least every 30 s.
		assert.LessOrEqual(t, len(reads), int(time.Since(began)/time.Second)+2)
	})
}

func TestValidatorKeepsErrorsAndLogLinesShortForHostileNames(t *testing.T) {
	store := newHostileStore(t)
	long := strings.Repeat("z", 1<<20)
	good := hostileWithPayload(hostilePayload)
	for _, c := range []hostileCase{
		hostileRefused(token.ErrScope, "a zone of 5,000 letters", hostileWithPayload(hostilePayload.With("Zone", strconv.Quote(long[:5000])))),
		hostileRefused(token.ErrScope, "a scope of 5,000 letters", hostileWithPayload(hostilePayload.With("Scope", `["`+long[:5000]+`"]`))),
		hostileRefused(token.ErrScope, "a thousand scopes", hostileWithPayload(hostilePayload.With("Scope", `["a"`+strings.Repeat(`,"a"`, 999)+`]`))),
		hostileRefused(token.ErrScope, "a good token presented by a zone of a million letters", good).askedFor(long, zone.ScopeCP),
		hostileRefused(token.ErrScope, "a good token presented for a scope of a million letters", good).askedFor("west", long),
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged bytes.Buffer
				validator := newHostileValidator(t, store, slog.NewTextHandler(&logged, nil), c.options...)
				logged.Reset()
				_, err := validator.Validate(t.Context(), c.zone, c.scope, c.raw)
				require.ErrorIs(t, err, c.want)
				assert.Less(t, len(err.Error()), 1024, "bytes in the error")
				assert.Less(t, logged.Len(), 4096, "bytes in the log")
			})
		})
	}
}
