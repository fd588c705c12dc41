package interop_test

import (
	"os"
	"testing"
)

// missing skips the test, since a program that it needs is not there. Under CI=true
// it fails instead: there everything is to be tested.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s; under CI=true that is a failure", why)
	}
	t.Skip(why)
}
