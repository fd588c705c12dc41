// Package engines starts real engines for tests: servers that are installed on the
// machine, each as a process of its own with an empty store.
package engines

import (
	"os"
	"testing"
)

// missing skips the test, since the engine is not installed. Under CI=true it
// fails instead: there everything is to be tested.
func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s; under CI=true that is a failure", why)
	}
	tb.Skip(why)
}
