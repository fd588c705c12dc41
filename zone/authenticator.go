package zone

import (
	"context"
	"fmt"
	"slices"

	"github.com/meshpass/meshpass/token"
)

// Peer describes a component of a zone that connects, as it names itself.
type Peer struct {
	Zone string

	// Scope is what the component is: [ScopeCP], [ScopeIngress], [ScopeEgress], or
	// another scope that an application defines.
	Scope string
}

// Authenticator lets the components of zones in by a credential. [NewAuthenticator]
// makes one for zone tokens. A server that takes an Authenticator works with each
// implementation. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate checks a credential, which is empty if the peer sent none. It
	// returns a session that says which peers may use the credential, and when it
	// ends. The errors are those of [Validator.Validate].
	Authenticate(ctx context.Context, credential string) (Session, error)
}

// Session is a credential that was authenticated. [Verified] is the one of a zone
// token.
type Session interface {
	// Permits returns nil if the peer may use the credential, and otherwise an
	// error that matches token.ErrNotPermitted, or token.ErrUnavailable if that
	// could not be determined.
	Permits(peer Peer) error

	// Bind returns a context that ends with the credential, with the reason as its
	// cause, and a function that releases it: see [Verified.Bind].
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// NewAuthenticator returns an authenticator for zone tokens of all zones. Each token
// is validated for the zone and a scope that it names itself, and Permits holds the
// peer's against them. Its sessions are of type [Verified]. The validator stays the
// caller's to close; for a nil one the result is nil, which servers refuse.
func NewAuthenticator(validator Validator) Authenticator {
	if validator == nil {
		return nil
	}
	return authenticator{validator}
}

type authenticator struct{ validator Validator }

func (a authenticator) Authenticate(ctx context.Context, credential string) (Session, error) {
	zone, scope, unreadable := claimed(credential)
	verified, err := a.validator.Validate(ctx, zone, scope, credential) // without a zone it refuses as well, and logs it
	if unreadable != nil {
		return nil, unreadable
	}
	if err != nil {
		return nil, err
	}
	return verified, nil
}

// claimed returns the zone that an unverified token names, and the first of its
// scopes.
func claimed(raw string) (zone, scope string, err error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return "", "", err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return "", "", err
	}
	if claims.Zone.Zone == "" {
		return "", "", fmt.Errorf("%w: it names no zone", token.ErrKind)
	}
	if len(claims.Zone.Scope) > 0 {
		scope = claims.Zone.Scope[0]
	}
	return claims.Zone.Zone, scope, nil
}

// Permits reports whether the peer may use the token: its zone must be that of the
// token, and the token's scopes must hold the peer's. An empty list of scopes permits
// nothing. [Validator.Validate] has made the same check for the zone and scope that
// it was given.
//
// The error matches token.ErrNotPermitted and names the difference.
func (t Verified) Permits(peer Peer) error {
	if t.live == nil {
		return fmt.Errorf("%w: the Verified is empty (was an error of Validate ignored?)", token.ErrNotPermitted)
	}
	claims := &t.live.Claims().Zone
	if claims.Zone != peer.Zone {
		return fmt.Errorf("%w: zone %.64q of the token is not the peer's, %.64q", token.ErrNotPermitted, claims.Zone, peer.Zone)
	}
	if peer.Scope == "" || !slices.Contains(claims.Scope, peer.Scope) {
		return fmt.Errorf("%w: the peer is a %.64q, the token has the scopes %s", token.ErrNotPermitted, peer.Scope, some(claims.Scope))
	}
	return nil
}

// some quotes the first scopes of a list.
func some(scopes []string) string {
	const shown = 8
	if len(scopes) > shown {
		return fmt.Sprintf("%.64q and %d more", scopes[:shown], len(scopes)-shown)
	}
	return fmt.Sprintf("%.64q", scopes)
}
