package xdsauth_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
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

// guardsOf returns the options of a server that authenticates proxies.
func guardsOf(tb testing.TB, proxies dataplane.Authenticator, options ...xdsauth.Option) []grpc.ServerOption {
	tb.Helper()
	if handlerGoroutines {
		options = append(options, xdsauth.WithHandlerGoroutines())
	}
	guards, err := xdsauth.ServerOptions(proxies, options...)
	require.NoError(tb, err)
	return guards
}
