package main

import (
	"io"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// What belongs to authentication, and what does not, by the beginning of a function's name in
// a profile.
var (
	authenticating = []string{
		"github.com/meshpass/meshpass/", // the library; the benchmark's own functions are below
		"github.com/golang-jwt/",
		"github.com/lestrrat-go/",
		"k8s.io/",
		"net/http", // no server here uses it for anything but reviews, nor these
		"golang.org/x/net/http2.(*Transport)",
		"golang.org/x/net/http2.(*ClientConn)",
		"golang.org/x/net/http2.(*clientStream)",
		"golang.org/x/net/http2.(*clientConnReadLoop)",
		"github.com/jackc/",
		"go.etcd.io/",
	}
	other = []string{"google.golang.org/", "github.com/envoyproxy/", "main.", "github.com/meshpass/meshpass/benchmarks."}

	// The checks of servers other than Meshpass, which are functions of the benchmark.
	checks = []string{".(*golangJWT).", ".(*reviewer)."}
)

// authenticationShare returns which share of the samples of a processor profile
// authentication has, between 0 and 1. A sample is that of the innermost function that
// belongs to authentication or to something else: RSA that is called by a token library is
// authentication, RSA of a TLS handshake is gRPC's. What runs beneath neither, such as garbage
// collection, counts as something else.
func authenticationShare(from io.Reader) (float64, error) {
	parsed, err := profile.Parse(from)
	if err != nil {
		return 0, err
	}
	var in, all int64
	for _, sample := range parsed.Sample {
		all += sample.Value[0]
		if isAuthentication(sample) {
			in += sample.Value[0]
		}
	}
	if all == 0 {
		return 0, nil
	}
	return float64(in) / float64(all), nil
}

func isAuthentication(sample *profile.Sample) bool {
	for _, location := range sample.Location { // the innermost is the first
		for _, line := range location.Line {
			name := line.Function.Name
			begins := func(with string) bool { return strings.HasPrefix(name, with) }
			contains := func(part string) bool { return strings.Contains(name, part) }
			switch {
			case slices.ContainsFunc(checks, contains):
				return true
			case slices.ContainsFunc(other, begins):
				return false
			case slices.ContainsFunc(authenticating, begins):
				return true
			}
		}
	}
	return false
}
