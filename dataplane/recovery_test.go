package dataplane_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// What was read before the store failed is too old to answer from; what is read
// when it works again says that the key is gone. Nothing between the two accepts.
func TestValidatorAcceptsNoTokenOfARemovedKeyWhenTheStoreIsReadAgain(t *testing.T) {
	for range 3 {
		store := newFaultStore()
		putKey(t, store.Memory, "default", 1, testKey(0))
		validator := newValidator(t, store, quiet, dataplane.WithMaxStale(0), dataplane.WithCache(0))
		raw := issue(t, newIssuer(t, store.Memory), "default", time.Hour)
		require.NoError(t, check(t, validator, "default", raw))

		store.setList(failing)
		putRecord(t, store.Memory, "default", "dataplane-token-of-no-concern", nil) // announced
		require.Eventually(t, func() bool { return check(t, validator, "default", raw) != nil }, time.Minute, time.Millisecond)
		require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store.Memory, "default"))

		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					err := check(t, validator, "default", raw)
					if !assert.Error(t, err, "the key was removed before the store could be read again") || errors.Is(err, token.ErrUnknownKey) {
						return
					}
				}
			})
		}
		store.setList(nil)
		all.Wait()
	}
}
