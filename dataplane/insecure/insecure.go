// Package insecure accepts every proxy, with or without a credential, as the proxy
// that it claims to be, of any type and in any mesh. It implements the authentication
// type "none".
// Any peer that reaches such a server gets the configuration, certificates and
// secrets of every mesh: use it only where the network decides who connects, and in
// tests.
package insecure

import (
	"context"

	"github.com/meshpass/meshpass/dataplane"
)

// Authenticator is a [dataplane.Authenticator] that refuses nothing.
type Authenticator struct{}

// Authenticate returns a session that permits every proxy. A context bound to it
// ends only with its parent. Authenticate never returns an error.
func (Authenticator) Authenticate(context.Context, string) (dataplane.Session, error) {
	return session{}, nil
}

type session struct{}

func (session) Permits(dataplane.Proxy) error { return nil }

func (session) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
