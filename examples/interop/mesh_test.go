package interop_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// kind is one of the two kinds of token: a key that signs, an issuer and a validator
// on the store that holds it, and claims to put into tokens.
type kind struct {
	name     string
	key      interop.Key
	claims   token.Claims
	issue    func(t *testing.T) string
	validate func(raw string) (token.Claims, error)
}

var quiet = slog.New(slog.DiscardHandler)

// kinds makes a store with a mesh and with zones, as EnsureKey does.
func kinds(t *testing.T) []kind {
	t.Helper()
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	_, err = zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	return []kind{
		dataplaneKind(t, store, storedKey(t, store, "default", "dataplane-token-signing-key-default-1")),
		zoneKind(t, store, storedKey(t, store, keystore.Global, "zone-token-signing-key-1")),
	}
}

func dataplaneKind(t *testing.T, store keystore.KeyStore, key interop.Key) kind {
	issuer, err := dataplane.NewIssuer(store, dataplane.WithLogger(quiet))
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, validator.Close()) })
	claims := token.Dataplane{
		Mesh:     "default",
		Name:     "dp-1",
		Tags:     map[string][]string{"kuma.io/service": {"backend", "backend-admin"}, "région": {"zürich \"1\" <&>"}},
		Type:     "dataplane",
		Workload: "backend",
	}
	return kind{
		name:   "dataplane",
		key:    key,
		claims: token.Claims{Dataplane: claims, Registered: registered()},
		issue: func(t *testing.T) string {
			issued, err := issuer.Issue(t.Context(), claims, time.Hour)
			require.NoError(t, err)
			return issued.Token
		},
		validate: func(raw string) (token.Claims, error) {
			verified, err := validator.Validate(context.Background(), "default", raw)
			return token.Claims{Dataplane: verified.Claims(), Registered: verified.Registered()}, err
		},
	}
}

func zoneKind(t *testing.T, store keystore.KeyStore, key interop.Key) kind {
	issuer, err := zone.NewIssuer(store, zone.WithLogger(quiet))
	require.NoError(t, err)
	validator, err := zone.NewValidator(store, zone.WithLogger(quiet))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, validator.Close()) })
	claims := token.Zone{Zone: "west", Scope: []string{zone.ScopeCP, zone.ScopeEgress}}
	return kind{
		name:   "zone",
		key:    key,
		claims: token.Claims{Zone: claims, Registered: registered()},
		issue: func(t *testing.T) string {
			issued, err := issuer.Issue(t.Context(), claims, time.Hour)
			require.NoError(t, err)
			return issued.Token
		},
		validate: func(raw string) (token.Claims, error) {
			verified, err := validator.Validate(context.Background(), "west", zone.ScopeCP, raw)
			return token.Claims{Zone: verified.Claims(), Registered: verified.Registered()}, err
		},
	}
}

// registered returns the claims that a peer puts into a token which is valid now.
func registered() token.Registered {
	now := time.Now().Truncate(time.Second).UTC()
	return token.Registered{
		ID:        "6baf2c90-0e86-4c62-97a7-7835855834bc",
		IssuedAt:  now.Add(-time.Minute),
		NotBefore: now.Add(-time.Minute),
		ExpiresAt: now.Add(time.Hour),
	}
}

// storedKey returns a signing key of the store, as somebody reads it who has the
// record alone.
func storedKey(t *testing.T, store keystore.KeyStore, scope keystore.Scope, name string) interop.Key {
	t.Helper()
	record, err := store.Get(t.Context(), scope, name)
	require.NoError(t, err)
	return interop.Key{ID: "1", RSA: parsePKCS1(t, record.Data)}
}

func parsePKCS1(t *testing.T, data []byte) *rsa.PrivateKey {
	t.Helper()
	block, rest := pem.Decode(data)
	require.NotNil(t, block, "no PEM block")
	require.Empty(t, rest)
	require.Equal(t, "RSA PRIVATE KEY", block.Type)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key
}

// claimsOf returns what a token of ours says, without a library in between.
func claimsOf(t *testing.T, raw string) token.Claims {
	t.Helper()
	unverified, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	claims, err := unverified.Claims()
	require.NoError(t, err)
	return claims
}

// forgeries returns changed copies of a token, each well formed, none with a good
// signature. strange is what another key
// signed.
func forgeries(t *testing.T, raw string, strange string) map[string]string {
	t.Helper()
	parts := strings.Split(raw, ".")
	require.Len(t, parts, 3)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	changed := strings.NewReplacer(`"dp-1"`, `"dp-2"`, `"egress"`, `"ingress"`).Replace(string(payload))
	require.NotEqual(t, string(payload), changed)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	signature[len(signature)/2] ^= 1
	return map[string]string{
		"another payload":                  parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + parts[2],
		"one bit of the signature changed": parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(signature),
		"signed by another key":            strange,
	}
}
