package grpcauth_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/meshpass/meshpass/grpcauth"
)

// handlerGoroutines says in which of the two ways the servers of the tests run handlers.
var handlerGoroutines bool

// TestMain runs all tests with either way. Benchmarks choose for themselves.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && flag.Lookup("test.bench").Value.String() == "" {
		fmt.Println("== handlers in goroutines of their own")
		handlerGoroutines = true
		code = m.Run()
	}
	os.Exit(code)
}

// way is how servers of the tests run handlers.
func way() []grpcauth.Option {
	if handlerGoroutines {
		return []grpcauth.Option{grpcauth.WithHandlerGoroutines()}
	}
	return nil
}
