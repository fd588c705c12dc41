package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"
)

const (
	authorizationKey = "authorization"
	clientIDKey      = "client-id"
)

// ErrUnauthenticated says that a peer did not get as far as presenting a token that could
// be checked: its metadata lacks something, or has it twice, or in another form.
var ErrUnauthenticated = errors.New("peer did not authenticate itself")

// TokenFromMetadata returns the token that a call brings in its metadata
// "authorization": the bare token, or "Bearer", in any case, one space and the token (RFC
// 6750, section 2.1). The token is not looked at.
//
// An error matches [ErrUnauthenticated]: there is not exactly one value, or it has
// another form, such as another scheme.
func TokenFromMetadata(ctx context.Context) (string, error) {
	value, err := oneValue(ctx, authorizationKey)
	if err != nil {
		return "", err
	}
	raw := value
	if scheme, rest, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, bearer) {
		raw = rest
	}
	if raw == "" || strings.Contains(raw, " ") || strings.EqualFold(raw, bearer) {
		// The value is not shown: it may contain a token.
		return "", fmt.Errorf("%w: metadata %q is neither a token nor Bearer, one space and a token",
			ErrUnauthenticated, authorizationKey)
	}
	return raw, nil
}

const bearer = "Bearer"

// oneValue returns the value of a key that must have exactly one.
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
