package dataplane_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/token"
)

func TestATokenOfTheGreatestLengthIsRemembered(t *testing.T) {
	// Of 37 and 5848 bytes and a signature of 256 come 50, 7798 and 342 characters, and two dots.
	payload := func(size int) string {
		const format = `{"Mesh":"default","jti":"a","exp":4000000000,"made-up":"%0*d"}`
		return fmt.Sprintf(format, size-len(fmt.Sprintf(format, 0, 0))+1, 0)
	}
	raw := signPayload(t, testKey(0), "1", payload(5848))
	require.Len(t, raw, token.MaxSize)
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()))
	require.NoError(t, check(t, validator, "default", raw))
	assert.True(t, isRemembered(t, validator, raw))
	assert.ErrorIs(t, check(t, validator, "default", signPayload(t, testKey(0), "1", payload(5849))), token.ErrMalformed)
}

func TestATokenStaysRememberedWhileItCannotBeCheckedAndNotOnceItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(30 * day)
		f.remembered(raw, dataplane.WithMaxStale(time.Minute))
		f.store.setList(failing)
		f.pass(2 * time.Minute)
		f.cannotTell(raw)
		f.store.setList(nil)
		f.pass(recovery)
		assert.True(t, isRemembered(t, f.validator, raw))

		f.revoke(raw)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		f.restore(raw)
		synctest.Wait()
		assert.False(t, isRemembered(t, f.validator, raw), "a token that was refused takes no room")
		assert.True(t, isRemembered(t, f.validator, raw))
	})
}

func TestAnAuthenticatorRemembersTokens(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKeyForEveryMesh("1", testKey(0).Public()))
	authenticator := dataplane.NewAuthenticator(validator)
	raw := issue(t, newOfflineIssuer(t, testKey(0), "1"), "default", day)
	authenticate := func() { _, _ = authenticator.Authenticate(t.Context(), raw) }
	first, again := mallocs(authenticate), mallocs(authenticate)
	assert.Greater(t, first, uint64(10))
	assert.Less(t, again, uint64(10))
}

func TestAHeaderThatWasSeenIsNotDecodedAgain(t *testing.T) {
	const tokens = 20
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(0))
	perToken := func(header func(n int) string) float64 {
		var raws []string
		for n := range tokens {
			raws = append(raws, forge.Token(header(n), `{"Mesh":"default","jti":"a","exp":4000000000}`, forge.RS256(testRSA(0))))
		}
		return testing.AllocsPerRun(tokens-1, func() {
			if err := check(t, validator, "default", raws[0]); err != nil {
				t.Error(err)
			}
			raws = raws[1:]
		})
	}
	same := perToken(func(int) string { return `{"alg":"RS256","kid":"1","typ":"JWT"}` })
	other := perToken(func(n int) string { return fmt.Sprintf(`{"alg":"RS256","kid":"1","typ":"JWT","made-up":%d}`, n) })
	assert.Greater(t, other, same+2)
}

func TestForksAreToldAlikeWithAndWithoutAMemoryOfTokens(t *testing.T) {
	for _, remembered := range []int{0, 100} {
		t.Run(fmt.Sprint(remembered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLineage(t, dataplane.WithCache(remembered))
				old := l.issue()
				time.Sleep(20 * time.Minute)
				next := l.renew(old, "")
				l.use(next, "")
				time.Sleep(token.Skew - time.Second)
				l.use(old, "")
				assert.Empty(t, l.forks, "the proxy may not have the new token yet")
				time.Sleep(time.Second)
				l.use(old, "")
				require.Len(t, l.forks, 1)
				assert.False(t, l.forks[0].Renewed, "it was used")
			})
		})
	}
}
