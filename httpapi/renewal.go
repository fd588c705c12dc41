package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/caller"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// WithRenewal serves the two paths under which the holder of a good token gets another with
// the same claims and id: see dataplane.Issuer.Renew, for which the issuers need
// dataplane.WithMaxLineage and zone.WithMaxLineage. The validators say which tokens are good.
// Pass those that guard the proxies and zones, so that they notice forks: see
// dataplane.WithForkHandler. Either may be nil: its path is then not served. The handler
// does not close them.
//
// The token in the header Authorization is all that authenticates such a request. The
// [Authorizer] still decides about it, under the action [Renew].
//
// After a token was renewed, one of its id is renewed again only after a tenth of the
// lifetime of the old or the new one, whichever is shorter, and after a second at least. The
// answer is 429 until then, and says when. The handler remembers this for up to 65,536 ids; beyond
// that it forgets the oldest and renews those too often rather than not at all.
func WithRenewal(dataplanes dataplane.Validator, zones zone.Validator) Option {
	return func(h *handler) error {
		if dataplanes == nil && zones == nil {
			return errors.New("WithRenewal: both validators are nil")
		}
		if h.renewing.dataplanes != nil || h.renewing.zones != nil {
			return errors.New("WithRenewal: given twice")
		}
		h.renewing.dataplanes, h.renewing.zones = dataplanes, zones
		return nil
	}
}

// renewing is what renewing needs.
type renewing struct {
	dataplanes dataplane.Validator // nil: none are renewed
	zones      zone.Validator
	pace       pace
}

func (r *renewing) serves(kind token.Kind) bool {
	return kind == token.KindDataplane && r.dataplanes != nil || kind == token.KindZone && r.zones != nil
}

// maxRenewalRequest is the maximum size of a request to renew a token, in bytes.
const maxRenewalRequest = smallBody

// renew answers a request to renew a token. What is cheap to refuse is refused first.
func (h *handler) renew(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	ctx = audit.WithAddress(ctx, r.RemoteAddr)
	if h.admit != nil {
		if err := h.admit(r, what); err != nil {
			err = fmt.Errorf("%w: %w", errRefused, err)
			h.logRefused(ctx, what, err)
			return err
		}
	}
	raw, err := tokenOf(r)
	if err != nil {
		return err
	}
	var validFor string
	if r.ContentLength != 0 {
		if err := readBody(w, r, maxRenewalRequest, []field{{"validFor", &validFor}}); err != nil {
			return err
		}
	}
	var bad faults
	what.ValidFor = bad.duration(validFor, 0)
	if err := bad.err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	presented, err := h.verify(ctx, &what, raw) // which logs what it refuses
	if err != nil {
		return err
	}
	asked := what.ValidFor
	if asked == 0 { // the issuer may shorten it
		what.ValidFor = presented.lifetime
	}
	id := renewedID{what.Kind, what.Mesh, what.TokenIDs[0]}
	if wait, told := h.renewing.pace.begin(id, time.Now()); wait > 0 {
		a := newAnswer(http.StatusTooManyRequests, titleTooMany, "a token of this id was renewed just now")
		a.retryAfter = wait
		if !told {
			h.logRefused(ctx, what, a)
		}
		return a
	}
	actor, err := h.allow(r.WithContext(ctx), what)
	ctx = audit.WithActor(ctx, actor)
	if err != nil {
		h.logRefused(ctx, what, err)
		return err
	}
	issued, err := presented.renew(ctx, asked)
	if err != nil {
		return err
	}
	h.renewing.pace.done(id, time.Now().Add(min(presented.lifetime, time.Until(issued.ExpiresAt))/10))
	answerWithToken(w, issued)
	return nil
}

// tokenOf returns the token in the header of a request.
func tokenOf(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 1 {
		if raw, ok := caller.Token(values[0]); ok {
			return raw, nil
		}
	}
	return "", newAnswer(http.StatusUnauthorized, "Unauthenticated", "want one header Authorization, with the token to renew")
}

// presented is a good token, of either kind.
type presented struct {
	lifetime time.Duration
	renew    func(ctx context.Context, validFor time.Duration) (token.Issued, error)
}

// verify validates a token for what it says that it is for: its own mesh, or its zone and
// the first of its scopes. So it is good for that, and nothing else is asked. It completes
// the request with the claims.
func (h *handler) verify(ctx context.Context, what *Request, raw string) (presented, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return presented{}, err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return presented{}, err
	}
	if claims.Kind() != what.Kind {
		return presented{}, fmt.Errorf("%w: want a %s token", token.ErrKind, what.Kind)
	}
	if what.Kind == token.KindDataplane {
		verified, err := h.renewing.dataplanes.Validate(ctx, claims.Dataplane.Mesh, raw)
		if err != nil {
			return presented{}, err
		}
		what.Dataplane = verified.Claims()
		what.Mesh = what.Dataplane.Mesh
		what.TokenIDs = []string{verified.Registered().ID}
		return presented{verified.Lifetime(), func(ctx context.Context, validFor time.Duration) (token.Issued, error) {
			return h.dataplanes.Renew(ctx, verified, validFor)
		}}, nil
	}
	if len(claims.Zone.Scope) == 0 {
		return presented{}, fmt.Errorf("%w: it has no scope, so it authenticates nothing", token.ErrScope)
	}
	verified, err := h.renewing.zones.Validate(ctx, claims.Zone.Zone, claims.Zone.Scope[0], raw)
	if err != nil {
		return presented{}, err
	}
	what.Zone = verified.Claims()
	what.TokenIDs = []string{verified.Registered().ID}
	return presented{verified.Lifetime(), func(ctx context.Context, validFor time.Duration) (token.Issued, error) {
		return h.zones.Renew(ctx, verified, validFor)
	}}, nil
}

// renewedID is an id and where it belongs.
type renewedID struct {
	kind     token.Kind
	mesh, id string
}

// pace remembers when tokens of an id may be renewed again.
type pace struct {
	mu sync.Mutex

	// Those renewed lately, and before. When there are too many, the older ones go.
	lately, before map[renewedID]*turn
}

// maxPaced is how many ids a pace remembers at most.
const maxPaced = 65536

// betweenAttempts is the shortest time between two attempts to renew tokens of an id.
const betweenAttempts = time.Second

type turn struct {
	next time.Time
	told bool // that it was too early
}

// begin returns for how long a token of an id must not be renewed, or 0. In that case the
// next attempt has to wait for a moment, and longer if done is called. told says that begin
// has returned such a time before.
func (p *pace) begin(id renewedID, now time.Time) (wait time.Duration, told bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.lately[id]
	if t == nil {
		t = p.before[id]
	}
	if t != nil && now.Before(t.next) {
		told, t.told = t.told, true
		return t.next.Sub(now), told
	}
	p.put(id, now.Add(betweenAttempts))
	return 0, false
}

// done notes that a token was renewed, and that the next is due not before a time.
func (p *pace) done(id renewedID, next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.lately[id]; t == nil || next.After(t.next) {
		p.put(id, next)
	}
}

func (p *pace) put(id renewedID, next time.Time) {
	if len(p.lately) >= maxPaced/2 {
		p.before, p.lately = p.lately, nil
	}
	if p.lately == nil {
		p.lately = make(map[renewedID]*turn)
	}
	id.mesh, id.id = strings.Clone(id.mesh), strings.Clone(id.id) // they share the memory of the token's claims
	p.lately[id] = &turn{next: next}
}
