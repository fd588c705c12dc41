package httpauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpauth"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// addresses notes from where tokens are presented, and refuses them.
type addresses struct{ seen []string }

func (a *addresses) note(ctx context.Context) error {
	a.seen = append(a.seen, audit.Address(ctx))
	return token.ErrRevoked
}

type proxiesFrom struct{ *addresses }

func (p proxiesFrom) Authenticate(ctx context.Context, _ string) (dataplane.Session, error) {
	return nil, p.note(ctx)
}

type zonesFrom struct{ *addresses }

func (z zonesFrom) Authenticate(ctx context.Context, _ string) (zone.Session, error) {
	return nil, z.note(ctx)
}

func TestAnAuthenticatorLearnsFromWhereATokenIsPresented(t *testing.T) {
	var a addresses
	describe := func(*http.Request) (dataplane.Proxy, error) { return dataplane.Proxy{}, nil }
	for _, auth := range []httpauth.AuthFunc{httpauth.Zone(zonesFrom{&a}, zone.ScopeCP), httpauth.Proxy(proxiesFrom{&a}, describe)} {
		for _, known := range []string{"", "of-the-client"} {
			r := httptest.NewRequestWithContext(audit.WithAddress(t.Context(), known), http.MethodGet, "/", nil)
			r.RemoteAddr = "10.0.0.1:9"
			r.Header.Set("Authorization", "Bearer a.b.c")
			r.Header.Set("Client-Id", "west")
			_, err := auth(r)
			assert.ErrorIs(t, err, token.ErrRevoked)
		}
	}
	assert.Equal(t, []string{"10.0.0.1:9", "of-the-client", "10.0.0.1:9", "of-the-client"}, a.seen)
}
