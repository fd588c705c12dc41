// Package engines starts real engines for tests: servers that are installed on the
// machine, each as a process of its own with an empty store.
package engines

import (
	"fmt"
	"math/rand/v2"
	"net"
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

// FreeAddress returns an address of this machine, HOST:PORT, on which no process
// listens. Its port is none that systems give to clients, so that it stays free while
// a server is down.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	var err error
	for range 100 {
		var listener net.Listener
		if listener, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))); err == nil {
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	tb.Fatal(err)
	return ""
}
