package grpcauth

import (
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/internal/caller"
)

const (
	authorizationKey = "authorization"
	clientIDKey      = "client-id"
)

// ErrUnauthenticated: the peer sent no token to validate. A metadata key is
// missing, has several values, or is malformed.
var ErrUnauthenticated = caller.ErrUnauthenticated

// TokenFromMetadata returns the token in the metadata "authorization" of an
// incoming call: the bare token, or "Bearer" in any case, one space and the
// token (RFC 6750, section 2.1). It does not validate the token.
//
// The error matches [ErrUnauthenticated] unless there is exactly one value of one of
// these forms.
func TokenFromMetadata(ctx context.Context) (string, error) {
	value, err := oneValue(ctx, authorizationKey)
	if err != nil {
		return "", err
	}
	raw, ok := caller.Token(value)
	if !ok {
		// The value may contain a token.
		return "", fmt.Errorf("%w: metadata %q is neither a token nor Bearer, one space and a token",
			ErrUnauthenticated, authorizationKey)
	}
	return raw, nil
}

// oneValue returns the value of a key that must have exactly one value.
func oneValue(ctx context.Context, key string) (string, error) {
	values := metadata.ValueFromIncomingContext(ctx, key)
	switch {
	case len(values) == 0:
		return "", fmt.Errorf("%w: there is no metadata %q", ErrUnauthenticated, key)
	case len(values) > 1:
		return "", fmt.Errorf("%w: metadata %q has %d values, want one", ErrUnauthenticated, key, len(values))
	case values[0] == "":
		return "", fmt.Errorf("%w: metadata %q is empty", ErrUnauthenticated, key)
	}
	return values[0], nil
}
