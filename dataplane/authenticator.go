package dataplane

import (
	"context"
	"fmt"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Authenticator authenticates proxies by a credential. [NewAuthenticator] makes one
// for dataplane tokens. Package serviceaccount has one for the tokens of Kubernetes
// service accounts, and package insecure has one that accepts every proxy. A server
// that takes an Authenticator works with all of them. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate checks a credential. It is empty if the proxy sent none. It
	// returns a session that says which proxies may use the credential, and when it
	// ends. The errors are those of [Validator.Validate].
	Authenticate(ctx context.Context, credential string) (Session, error)
}

// Session is an authenticated credential. [Verified] is the session of a dataplane
// token.
type Session interface {
	// Permits returns nil if the proxy may use the credential. Otherwise the error
	// matches token.ErrNotPermitted, or token.ErrUnavailable if the answer is unknown.
	Permits(proxy Proxy) error

	// Bind returns a context that ends with the credential, and a function that
	// releases it. The cause of the context is the reason: see [Verified.Bind].
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// NewAuthenticator returns an authenticator for dataplane tokens of all meshes. It
// validates each token for the mesh that the token names; Permits compares that mesh
// with the mesh of the proxy. Its sessions are of type [Verified]. The caller closes
// the validator. If the validator is nil, the result is nil, which servers refuse.
func NewAuthenticator(validator Validator) Authenticator {
	if validator == nil {
		return nil
	}
	return authenticator{validator}
}

type authenticator struct{ validator Validator }

func (a authenticator) Authenticate(ctx context.Context, credential string) (Session, error) {
	verified, err := a.validator.authenticate(ctx, credential)
	if err != nil {
		return nil, err
	}
	return verified, nil
}

// authenticate validates a token for the mesh that it names.
func (v validator) authenticate(ctx context.Context, raw string) (Verified, error) {
	verified, err := v.live.ValidateClaimed(ctx, claimedMesh, raw)
	if err != nil {
		return Verified{}, err
	}
	return Verified{verified, v.boundary}, nil
}

// claimedMesh is a live.Claimed.
func claimedMesh(claims *token.Claims) (live.Want, error) {
	if claims.Dataplane.Mesh == "" {
		return live.Want{}, fmt.Errorf("%w: it names no mesh", token.ErrKind)
	}
	return live.Want{Scope: keystore.Scope(claims.Dataplane.Mesh)}, nil
}
