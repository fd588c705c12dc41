package replica

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/keystore"
)

// lags answers that what the store says about these scopes may be behind.
func lags(scopes ...keystore.Scope) answerFunc {
	return func(ctx context.Context, scope keystore.Scope) error {
		if slices.Contains(scopes, scope) {
			keystore.NoteLag(ctx)
		}
		return nil
	}
}

func TestWhetherTheKeysOfAMeshMayBeBehindIsThatOfTheLatestAnswerAboutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b")...)
		store.answers(lags(keystore.AllScopes))
		f := follows(t, dataplanes, store, time.Hour)
		mayLag := func(want bool, scopes ...keystore.Scope) {
			t.Helper()
			for _, scope := range scopes {
				assert.Equal(t, want, f.State().MayLag(scope), scope)
			}
		}
		mayLag(true, "a", "b", "unknown")
		f.pass(time.Second)
		store.answers(nil)
		f.announce("a")
		mayLag(false, "a")
		mayLag(true, "b", "unknown")
		f.announce(keystore.AllScopes)
		mayLag(false, "a", "b", "unknown")

		f.pass(time.Second)
		store.answers(lags("a", "unknown"))
		f.announce("a", "unknown")
		mayLag(true, "a", "unknown")
		mayLag(false, "b")
	})
}
