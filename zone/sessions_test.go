package zone_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func assertEnded(t testing.TB, session context.Context, cause error) {
	t.Helper()
	if assert.Error(t, session.Err(), "the session is open") {
		assert.ErrorIs(t, context.Cause(session), cause)
	}
}

func openSessions(validator zone.Validator) int {
	n := 0
	for _, use := range validator.Usage() {
		n += use.Sessions
	}
	return n
}

// issueFor makes a token for the control plane of zone west.
func issueFor(t testing.TB, issuer zone.Issuer, validFor time.Duration) string {
	t.Helper()
	issued, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, validFor)
	require.NoError(t, err)
	return issued.Token
}

// putList puts text on a revocation list, announced and read when it returns.
func putList(t testing.TB, store keystore.KeyStore, ref revocation.Ref, text string) {
	t.Helper()
	putRecord(t, store, ref.Scope, ref.Name, []byte(text))
	synctest.Wait()
}

func TestSessionEndsWithTheReasonAsItsCauseWhen(t *testing.T) {
	for name, c := range map[string]struct {
		happen func(t *testing.T, store *keystore.Memory, validator zone.Validator, id string)
		cause  error
	}{
		"its token expires": {func(*testing.T, *keystore.Memory, zone.Validator, string) {
			time.Sleep(time.Hour + 30*time.Second)
		}, token.ErrExpired},
		"its token is revoked": {func(t *testing.T, store *keystore.Memory, _ zone.Validator, id string) {
			require.NoError(t, zone.Revoke(t.Context(), store, id))
		}, token.ErrRevoked},
		"its key is removed": {func(t *testing.T, store *keystore.Memory, _ zone.Validator, _ string) {
			require.NoError(t, zone.RemoveKey(t.Context(), store, 1))
		}, token.ErrUnknownKey},
		"its list cannot be read for too long": {func(t *testing.T, store *keystore.Memory, _ zone.Validator, _ string) {
			putList(t, store, revocation.Zone(), "\xff\xfea\x00")
			time.Sleep(10*time.Minute + time.Second)
		}, token.ErrUnavailable},
		"the validator is closed": {func(t *testing.T, _ *keystore.Memory, validator zone.Validator, _ string) {
			require.NoError(t, validator.Close())
		}, token.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := keystore.NewMemory()
				putKey(t, store, 1, testKey(0))
				raw := issueFor(t, newIssuer(t, store), time.Hour)
				putKey(t, store, 2, testKey(1))
				validator := newValidator(t, store, zone.WithSessionMaxStale(10*time.Minute))
				verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
				require.NoError(t, err)
				session, stop := verified.Bind(t.Context())
				defer stop()
				assert.NoError(t, session.Err())
				assert.Equal(t, 1, openSessions(validator))

				c.happen(t, store, validator, verified.Registered().ID)
				synctest.Wait()
				assertEnded(t, session, c.cause)
				late, stop := verified.Bind(t.Context())
				defer stop()
				assertEnded(t, late, c.cause)
				assert.Zero(t, openSessions(validator))
			})
		})
	}
}

func TestSessionStaysOpenWhenOnlyListsOfDataplaneTokensNameItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		validator := newValidator(t, store)
		verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, issueCP(t, newIssuer(t, store)))
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		putList(t, store, revocation.Dataplane("default"), verified.Registered().ID)
		putList(t, store, revocation.DataplaneGlobal("default"), verified.Registered().ID)
		assert.NoError(t, session.Err())
	})
}

func TestSessionOfAContextThatHasEndedHasEnded(t *testing.T) {
	session, stop := zone.Verified{}.Bind(t.Context())
	defer stop()
	assertEnded(t, session, token.ErrInvalid)
}

func TestCacheIsForTheTokensZoneAndScopesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		validator, raw := newValidator(t, store), issueCP(t, newIssuer(t, store))
		for range 3 {
			require.NoError(t, check(t, validator, raw))
			synctest.Wait() // what reads the store allocates too
			ctx := t.Context()
			assert.Zero(t, testing.AllocsPerRun(20, func() { _, _ = validator.Validate(ctx, "west", zone.ScopeCP, raw) }))
			for _, want := range [][2]string{{"east", zone.ScopeCP}, {"west", zone.ScopeIngress}, {"west", ""}, {"", ""}, {"", zone.ScopeCP}} {
				_, err := validator.Validate(t.Context(), want[0], want[1], raw)
				assert.ErrorIs(t, err, token.ErrScope, "%q", want)
			}
		}
	})
}

func TestUsageNamesTheZoneKeyThatVerified(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	validator := newValidator(t, store)
	require.NoError(t, check(t, validator, issueCP(t, newIssuer(t, store))))
	usage := validator.Usage()
	require.Len(t, usage, 1)
	assert.Equal(t, "1", usage[0].KeyID)
	assert.EqualValues(t, 1, usage[0].Validations)

	putKey(t, store, 2, testKey(1))
	assert.ErrorIs(t, zone.RemoveKey(t.Context(), store, 1, zone.UnlessUsed(time.Now().Add(-time.Hour), usage...)), signing.ErrInUse)
	assert.NoError(t, zone.RemoveKey(t.Context(), store, 1, zone.UnlessUsed(time.Now().Add(time.Hour), usage...)))
}

func TestRotateKeepsItsScheduleAndThePublishDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		delay := zone.WithPublishDelay(time.Hour)
		issuer, validator := newIssuer(t, store, delay, zone.WithMaxLifetime(3*day)), newValidator(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- zone.Rotate(ctx, store, zone.Rotation{Logger: slog.New(slog.DiscardHandler), Every: 4 * day, PublishDelay: time.Hour, MaxLifetime: 3 * day})
		}()
		time.Sleep(4*day + time.Minute)
		synctest.Wait()
		old := issueFor(t, issuer, 3*day)
		kid, _ := inside(t, old)
		assert.Equal(t, "1", kid)
		assert.ErrorIs(t, zone.RemoveKey(t.Context(), store, 1, delay), signing.ErrInUse)

		time.Sleep(time.Hour)
		kid, _ = inside(t, issueFor(t, issuer, 3*day))
		assert.Equal(t, "2", kid)
		time.Sleep(3*day - time.Hour - time.Minute)
		synctest.Wait()
		assert.NoError(t, check(t, validator, old), "to its last minute")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		keys, err := zone.Keys(t.Context(), store)
		require.NoError(t, err)
		require.Len(t, keys, 1)
		assert.EqualValues(t, 2, keys[0].Serial)
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
}
