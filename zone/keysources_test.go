package zone_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
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

// heldKeys is a source that gives what it holds, and fails if it holds nil. It is read
// every ten seconds.
type heldKeys struct {
	demands token.Demands
	keys    atomic.Pointer[map[string]*signing.PublicKey]
}

func (s *heldKeys) hold(keys map[string]*signing.PublicKey) { s.keys.Store(&keys) }

func (s *heldKeys) Read(context.Context) (signing.SourceKeys, error) {
	keys := signing.SourceKeys{Keys: *s.keys.Load(), Refresh: 10 * time.Second}
	if keys.Keys == nil {
		return keys, errors.New("the source is down")
	}
	return keys, nil
}

func (s *heldKeys) Demands() token.Demands { return s.demands }
func (s *heldKeys) String() string         { return "idp" }

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAKeyFileThatChangesEndsTheSessionsOfItsOldKeyAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, testKey(0).Public().PEM(), 0o600))
	file, err := signing.PEMFile("key-1", path, token.Demands{LowerCase: true})
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		issuer, err := zone.NewIssuer(store, quiet)
		require.NoError(t, err)
		validator := newValidator(t, store, zone.WithSource(file))
		sessions := map[string]context.Context{}
		for name, raw := range map[string]string{"file": issueCP(t, newOfflineIssuer(t, testKey(0), "key-1")), "store": issueCP(t, issuer)} {
			verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
			require.NoError(t, err)
			session, stop := verified.Bind(t.Context())
			defer stop()
			sessions[name] = session
		}
		require.NoError(t, os.WriteFile(path, testKey(1).Public().PEM(), 0o600))
		pass(time.Second)
		assertEnded(t, sessions["file"], token.ErrUnknownKey)
		assert.NoError(t, sessions["store"].Err())
		assert.NoError(t, check(t, validator, issueCP(t, newOfflineIssuer(t, testKey(1), "key-1"))))

		require.NoError(t, os.Remove(path))
		pass(time.Minute)
		assert.NoError(t, check(t, validator, issueCP(t, newOfflineIssuer(t, testKey(1), "key-1"))), "the last key stays")
		pass(time.Hour)
		assert.ErrorIs(t, check(t, validator, issueCP(t, newOfflineIssuer(t, testKey(1), "key-1"))), token.ErrUnavailable)
		assert.NoError(t, sessions["store"].Err())
	})
}

func TestASourceOfZonesAgesByItselfAndYieldsToTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, source := keystore.NewMemory(), &heldKeys{}
		putKey(t, store, 1, testKey(0))
		source.hold(map[string]*signing.PublicKey{"2": testKey(1).Public()})
		issuer, err := zone.NewIssuer(store, quiet)
		require.NoError(t, err)
		validator := newValidator(t, store, zone.WithSource(source), zone.WithMaxStale(time.Minute), zone.WithSessionMaxStale(time.Minute))
		ofStore, ofSource := issueCP(t, issuer), issueCP(t, newOfflineIssuer(t, testKey(1), "2"))
		assert.NoError(t, check(t, validator, ofSource))

		source.hold(nil)
		pass(2 * time.Minute)
		assert.ErrorIs(t, check(t, validator, ofSource), token.ErrUnavailable)
		assert.NoError(t, check(t, validator, ofStore))

		source.hold(map[string]*signing.PublicKey{"2": testKey(1).Public()})
		pass(11 * time.Second)
		verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, ofSource)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		putKey(t, store, 2, testKey(0))
		synctest.Wait()
		assertEnded(t, session, token.ErrUnknownKey)
		assert.ErrorIs(t, check(t, validator, ofSource), token.ErrSignature)
	})
}

func TestTokensOfAnIdentityProviderAreHeldToItsDemandsAndToTheDocumentedSpelling(t *testing.T) {
	source := &heldKeys{demands: token.Demands{Audience: "mesh"}}
	source.hold(map[string]*signing.PublicKey{"idp": testKey(0).Public()})
	validator := newOfflineValidator(t, zone.WithSource(source))
	for claims, want := range map[string]error{
		`"Zone":"west","Scope":["cp"],"aud":["mesh"]`:                               nil,
		`"Zone":"west","Scope":["cp"],"aud":"mesh","scope":"openid","zone":"Oslo"`:  nil,
		`"Zone":"west","Scope":["cp"],"aud":"shop"`:                                 token.ErrAudience,
		`"Zone":"west","scope":["cp"],"aud":"mesh"`:                                 token.ErrScope,
		`"zone":"west","scope":["cp"],"aud":"mesh"`:                                 token.ErrClaims,
		`"Zone":"west","Scope":["cp"],"SCOPE":["ingress"],"aud":"mesh"`:             token.ErrClaims,
		`"Zone":"west","Scope":["cp"],"aud":"mesh","Mesh":"default","name":"dp-1"`:  token.ErrClaims,
		`"Zone":"west","Scope":["cp"],"aud":"mesh","mesh":"default","Name":"proxy"`: token.ErrClaims,
	} {
		err := check(t, validator, signPayload(t, "idp", `{`+claims+`,"exp":4000000000,"jti":"a"}`))
		if want == nil {
			assert.NoError(t, err, claims)
		} else {
			assert.ErrorIs(t, err, want, claims)
		}
	}
}

func TestValidatorOfZonesRefusesANilSource(t *testing.T) {
	_, err := zone.NewValidator(keystore.NewMemory(), zone.WithSource(nil))
	assert.ErrorContains(t, err, "source is nil")
	_, err = zone.NewOfflineValidator(zone.WithSource((*heldKeys)(nil)))
	assert.ErrorContains(t, err, "source is nil")
}
