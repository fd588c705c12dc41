// Package insecure lets every proxy in, whatever it sends or does not send, as any
// proxy of any mesh that it says it is. It stands for the authentication type
// "none". Whoever reaches a server that uses it gets the configuration, certificates
// and secrets of every mesh: use it where the network alone decides who connects,
// and in tests.
package insecure

import (
	"context"

	"github.com/meshpass/meshpass/dataplane"
)

// Authenticator is a [dataplane.Authenticator] that refuses nothing.
type Authenticator struct{}

// Authenticate returns a session that permits every proxy and ends only with the
// context that it is bound to. It never returns an error.
func (Authenticator) Authenticate(context.Context, string) (dataplane.Session, error) {
	return session{}, nil
}

type session struct{}

func (session) Permits(dataplane.Proxy) error { return nil }

func (session) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}
