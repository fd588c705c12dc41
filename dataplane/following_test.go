package dataplane_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/token"
)

// following is a validator that follows a store which may fail, inside of a
// synctest bubble: time passes only when a test lets it, and a goroutine that
// is left behind fails the test.
type following struct {
	t         testing.TB
	store     *faultStore
	issuer    dataplane.Issuer // is not touched by the store's faults
	log       logtest.Buffer
	validator dataplane.Validator
}

// newFollowing has a store with key 1 of mesh default, and no validator yet.
func newFollowing(t testing.TB) *following {
	f := &following{t: t, store: newFaultStore()}
	putKey(t, f.store.Memory, "default", 1, testKey(0))
	f.issuer = newIssuer(t, f.store.Memory)
	return f
}

// start makes the validator and waits until it has read the store, as far as
// that answers.
func (f *following) start(options ...dataplane.ValidatorOption) *following {
	f.t.Helper()
	f.validator = newValidator(f.t, f.store, append([]dataplane.ValidatorOption{dataplane.WithLogger(f.log.Logger())}, options...)...)
	synctest.Wait()
	return f
}

// pass lets time go by, and everything happen that is due until then.
func (f *following) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (f *following) issue(validFor time.Duration) string {
	f.t.Helper()
	raw := issue(f.t, f.issuer, "default", validFor)
	f.t.Cleanup(func() { assert.Zero(f.t, f.log.Count(raw), "lines with a token") })
	return raw
}

func (f *following) check(raw string) error {
	f.t.Helper()
	return check(f.t, f.validator, "default", raw)
}

func (f *following) accepts(raw string, because ...any) {
	f.t.Helper()
	assert.NoError(f.t, f.check(raw), because...)
}

// refuses checks a definite refusal.
func (f *following) refuses(raw string, want error, because ...any) {
	f.t.Helper()
	err := f.check(raw)
	assert.ErrorIs(f.t, err, want, because...)
	assert.ErrorIs(f.t, err, token.ErrInvalid, because...)
	assert.NotErrorIs(f.t, err, token.ErrUnavailable, because...)
}

// cannotTell checks the answer "we could not know".
func (f *following) cannotTell(raw string, because ...any) {
	f.t.Helper()
	err := f.check(raw)
	assert.ErrorIs(f.t, err, token.ErrUnavailable, because...)
	assert.NotErrorIs(f.t, err, token.ErrInvalid, because...)
}

// revoke puts a token on the mesh's list, by whatever means the store has.
func (f *following) revoke(raw string) {
	f.t.Helper()
	_, claims := inside(f.t, raw)
	require.NoError(f.t, dataplane.Revoke(f.t.Context(), f.store.Memory, "default", claims.ID))
}

func (f *following) restore(raw string) {
	f.t.Helper()
	_, claims := inside(f.t, raw)
	require.NoError(f.t, dataplane.Restore(f.t.Context(), f.store.Memory, "default", claims.ID))
}

// withSerial makes a token of a serial, whether or not the store has its key.
func (f *following) withSerial(kid string, key int) string {
	f.t.Helper()
	return issue(f.t, newOfflineIssuer(f.t, testKey(key), kid), "default", 30*day)
}

// tampered changes the last byte but one of a token's signature.
func tampered(raw string) string {
	at := len(raw) - 3
	changed := byte('A')
	if raw[at] == changed {
		changed = 'B'
	}
	return raw[:at] + string(changed) + raw[at+1:]
}

// withKid gives a token another kid. Its signature no longer fits.
func (f *following) withKid(raw, kid string) string {
	_, rest, _ := strings.Cut(raw, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"`+kid+`","typ":"JWT"}`)) + "." + rest
}
