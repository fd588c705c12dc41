package dataplane

import (
	"context"
	"fmt"

	"github.com/meshpass/meshpass/token"
)

// Authenticator lets proxies in by a credential. [NewAuthenticator] makes one for
// dataplane tokens; package serviceaccount has one for the tokens of Kubernetes
// service accounts, and package insecure one that lets every proxy in. A server that
// takes an Authenticator works with each of them. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate checks a credential, which is empty if the proxy sent none. It
	// returns a session that says which proxies may use the credential, and when it
	// ends. The errors are those of [Validator.Validate].
	Authenticate(ctx context.Context, credential string) (Session, error)
}

// Session is a credential that was authenticated. [Verified] is the one of a
// dataplane token.
type Session interface {
	// Permits returns nil if the proxy may use the credential, and otherwise an
	// error that matches token.ErrNotPermitted, or token.ErrUnavailable if that
	// could not be determined.
	Permits(proxy Proxy) error

	// Bind returns a context that ends with the credential, with the reason as its
	// cause, and a function that releases it: see [Verified.Bind].
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// NewAuthenticator returns an authenticator for dataplane tokens of all meshes. Each
// token is validated for the mesh that it names, and Permits holds the proxy's mesh
// against it. Its sessions are of type [Verified]. The validator stays the caller's
// to close; for a nil one the result is nil, which servers refuse.
func NewAuthenticator(validator Validator) Authenticator {
	if validator == nil {
		return nil
	}
	return authenticator{validator}
}

type authenticator struct{ validator Validator }

func (a authenticator) Authenticate(ctx context.Context, credential string) (Session, error) {
	mesh, unreadable := claimedMesh(credential)
	verified, err := a.validator.Validate(ctx, mesh, credential) // without a mesh it refuses as well, and logs it
	if unreadable != nil {
		return nil, unreadable
	}
	if err != nil {
		return nil, err
	}
	return verified, nil
}

// claimedMesh returns the mesh that an unverified token names.
func claimedMesh(raw string) (string, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return "", err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return "", err
	}
	if claims.Dataplane.Mesh == "" {
		return "", fmt.Errorf("%w: it names no mesh", token.ErrKind)
	}
	return claims.Dataplane.Mesh, nil
}
