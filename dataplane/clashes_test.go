package dataplane_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/dataplane"
)

func TestClashesBeyondSixteenAreCounted(t *testing.T) {
	for n, more := range map[int]string{15: "", 16: "", 17: "more=1"} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				keys := map[string]int{}
				for i := range n {
					keys[fmt.Sprint("kid-", i)] = 1
				}
				rival := newScriptedSource("rival", nil)
				f := newFollowing(t).start(dataplane.WithSource("default", newScriptedSource("idp", keys)), dataplane.WithSource("default", rival))
				rival.hold(keys)
				f.pass(everyRefresh)
				assert.Equal(t, min(n, 16), f.log.Count("another source has a key of the same kid", "kid=kid-"))
				if more == "" {
					assert.Zero(t, f.log.Count("more keys are not used"))
				} else {
					assert.Equal(t, 1, f.log.Count("more keys are not used", "kind=dataplane", more))
				}
			})
		})
	}
}

func TestAClashThatEndsIsForgottenWithoutALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rival := newScriptedSource("rival", map[string]int{"a": 2})
		f := newFollowing(t).start(dataplane.WithSource("default", newScriptedSource("idp", map[string]int{"a": 1})), dataplane.WithSource("default", rival))
		for times := range 3 {
			assert.Equal(t, times+1, f.log.Count("another source has a key of the same kid", "kid=a"))
			rival.hold(nil)
			f.pass(everyRefresh)
			f.accepts(f.withSerial("a", 1))
			rival.hold(map[string]int{"a": 2})
			f.pass(everyRefresh)
		}
		assert.Zero(t, f.log.Count(`msg=""`))
	})
}

func TestASerialOfASourceClashesWithNothingWhereTheStoreHasNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		source := newScriptedSource("idp", map[string]int{"1": 1})
		f.start(dataplane.WithoutStoreKeys(), dataplane.WithSourceForEveryMesh(source))
		offline := newOfflineValidator(t, dataplane.WithLogger(f.log.Logger()), dataplane.WithSourceForEveryMesh(source))
		synctest.Wait()
		f.accepts(f.withSerial("1", 1))
		assert.NoError(t, check(t, offline, "default", f.withSerial("1", 1)))
		source.hold(nil)
		f.pass(everyRefresh)
		assert.Equal(t, 2, f.log.Count("key is gone", "kid=1"))
		assert.Zero(t, f.log.Count("same kid"))
	})
}
