package dataplane_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// Its keys begin with serial 1 again. The validators may read the store only when the new
// key is there.
func TestAMeshThatIsDeletedAndMadeAnewTakesNoTokensOfTheOldOne(t *testing.T) {
	for name, c := range map[string]struct {
		between time.Duration
		silent  bool
	}{
		"after the validator has seen it without keys": {between: time.Minute},
		"at once":                         {},
		"while changes are not announced": {silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				if c.silent {
					f.store.setWatch(silent)
				}
				f.start()
				raw, revoked := f.issue(30*day), f.issue(30*day)
				f.revoke(revoked)
				session := f.session(raw)

				require.NoError(t, dataplane.RemoveAllKeys(t.Context(), f.store.Memory, "default"))
				f.pass(c.between)
				_, err := dataplane.EnsureKey(t.Context(), f.store.Memory, "default")
				require.NoError(t, err)
				f.pass(silentWatchFound)

				f.refuses(raw, token.ErrSignature)
				f.refuses(revoked, token.ErrSignature)
				assert.Error(t, session.Err())
				f.accepts(issue(t, newIssuer(t, f.store.Memory), "default", day))
			})
		})
	}
}
