package zone

import (
	"context"
	"fmt"
	"slices"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Peer describes a component of a zone that connects, as the component names
// itself.
type Peer struct {
	Zone string

	// Scope says which component it is: [ScopeCP], [ScopeIngress], [ScopeEgress],
	// or a scope that an application defines.
	Scope string
}

// Authenticator authenticates the components of zones by a credential.
// [NewAuthenticator] makes one for zone tokens. A server that takes an Authenticator
// works with each implementation. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate checks a credential. It is empty if the peer sent none. It
	// returns a session that says which peers may use the credential, and when it
	// ends. The errors are those of [Validator.Validate].
	Authenticate(ctx context.Context, credential string) (Session, error)
}

// Session is an authenticated credential. [Verified] is the session of a zone token.
type Session interface {
	// Permits returns nil if the peer may use the credential. Otherwise the error
	// matches token.ErrNotPermitted, or token.ErrUnavailable if the answer is unknown.
	Permits(peer Peer) error

	// Bind returns a context that ends with the credential, and a function that
	// releases it. The cause of the context is the reason: see [Verified.Bind].
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// NewAuthenticator returns an authenticator for zone tokens of all zones. It validates
// each token for the zone and the first scope that the token names; Permits compares
// the zone and the scopes with the peer. Its sessions are of type [Verified]. The caller
// closes the validator. If it is nil, the result is nil, which servers refuse.
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

// authenticate validates a token for the zone and the first scope that it names.
func (v validator) authenticate(ctx context.Context, raw string) (Verified, error) {
	verified, err := v.live.ValidateClaimed(ctx, claimedUse, raw)
	if err != nil {
		return Verified{}, err
	}
	return Verified{verified}, nil
}

// claimedUse is a live.Claimed.
func claimedUse(claims *token.Claims) (live.Want, error) {
	if claims.Zone.Zone == "" {
		return live.Want{}, fmt.Errorf("%w: it names no zone", token.ErrKind)
	}
	want := live.Want{Scope: keystore.Global, Zone: claims.Zone.Zone}
	if len(claims.Zone.Scope) > 0 {
		want.ZoneScope = claims.Zone.Scope[0]
	}
	return want, nil
}

// Permits reports whether the peer may use the token: the zones must be equal, and
// the token's scopes must include the peer's scope. An empty list of scopes permits
// nothing. [Validator.Validate] has made the same check for its arguments.
//
// The error matches token.ErrNotPermitted and names the difference.
func (t Verified) Permits(peer Peer) error {
	if t.live == nil {
		return fmt.Errorf("%w: the Verified is empty (was an error of Validate ignored?)", token.ErrNotPermitted)
	}
	claims := &t.live.Untagged().Zone
	if claims.Zone != peer.Zone {
		return t.live.NotPermitted(fmt.Errorf("%w: the token's zone is %.64q, the peer's is %.64q", token.ErrNotPermitted, claims.Zone, peer.Zone))
	}
	if peer.Scope == "" || !slices.Contains(claims.Scope, peer.Scope) {
		return t.live.NotPermitted(fmt.Errorf("%w: the peer's scope is %.64q, the token's are %s", token.ErrNotPermitted, peer.Scope, some(claims.Scope)))
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
