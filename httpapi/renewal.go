package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
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
// lifetime of the old, the new or an earlier one, whichever is shortest, and after a second at
// least. The answer is 429 until then, and says when. The handler remembers this for up to
// 65,536 ids; beyond that it forgets the oldest and renews those too often rather than not at
// all. Each handler counts for itself: N replicas renew a token up to N times as often.
//
// A thief can take each of these turns, so that the proxy gets 429 until its token expires.
// A proxy that asks in the first four fifths of the lifetime, as a renewal.Keeper does, is
// kept out by three renewals of one token at least. The third is a fork, which the
// validators tell: see dataplane.Fork.
//
// After an attempt that failed, another from the same host is answered with 429 for a
// second, since the store and the operator's policy may have been asked in vain. That holds
// for this host alone, and attempts of other hosts for the same id wait for each other: no one
// can keep a proxy from renewing by failing, except from behind the same load balancer. Its
// host is that of audit.WithAddress in the context of the request, and otherwise the one that
// is connected, so a server behind a load balancer should set it. A refusal of the [Authorizer]
// and a lifetime that is too long cost no such second.
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
	turn := attempt{renewedID{what.Kind, what.Mesh, what.TokenIDs[0]}, hostOf(audit.Address(ctx))}
	if wait, why, told := h.renewing.pace.begin(turn, time.Now()); wait > 0 {
		a := tooEarly(wait, why)
		if !told {
			h.logRefused(ctx, what, a)
		}
		return a
	}
	actor, err := h.allow(r.WithContext(ctx), what)
	ctx = audit.WithActor(ctx, actor)
	if err != nil {
		h.renewing.pace.giveBack(turn) // who has no token can have the authoriser asked too
		h.logRefused(ctx, what, err)
		return err
	}
	issued, err := h.renewInTurn(ctx, turn, presented, asked)
	if err != nil {
		return err
	}
	answerWithToken(w, issued)
	return nil
}

// renewInTurn renews a token, of an id one after the other.
func (h *handler) renewInTurn(ctx context.Context, turn attempt, p presented, validFor time.Duration) (issued token.Issued, err error) {
	wait, err := h.renewing.pace.enter(ctx, turn.id)
	switch {
	case err != nil:
		return token.Issued{}, err
	case wait > 0:
		return token.Issued{}, tooEarly(wait, detailRenewed)
	}
	var each time.Duration
	defer func() { h.renewing.pace.leave(turn.id, each) }() // also after a panic of the operator's policy
	issued, err = p.renew(ctx, validFor)
	switch {
	case err == nil:
		each = max(min(p.lifetime, time.Until(issued.ExpiresAt))/10, betweenAttempts)
	case errors.Is(err, token.ErrNotIssuable), errors.Is(err, token.ErrIssuingDisabled):
		h.renewing.pace.giveBack(turn) // which is known from the token and the request
	}
	return issued, err
}

// The details of an answer of 429. A client distinguishes them: see Error.TooEarly.
const (
	detailRenewed = "a token of this id was renewed just now"
	detailAsked   = "this host has asked for this id just now"
)

func tooEarly(wait time.Duration, why string) *answer {
	a := newAnswer(http.StatusTooManyRequests, titleTooMany, why)
	a.retryAfter = wait
	return a
}

// hostOf returns the host of an address: without a port, and of an IPv6 address its first
// half, since a host has the other half to itself.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && !ip.Is4In6() {
		prefix, _ := ip.WithZone("").Prefix(64)
		return prefix.String()
	}
	return host
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
// the request with the claims. The validator logs and counts what it refuses.
func (h *handler) verify(ctx context.Context, what *Request, raw string) (presented, error) {
	if what.Kind == token.KindDataplane {
		session, err := dataplane.NewAuthenticator(h.renewing.dataplanes).Authenticate(ctx, raw)
		if err != nil {
			return presented{}, err
		}
		verified := session.(dataplane.Verified)
		what.Dataplane = verified.Claims()
		what.Mesh = what.Dataplane.Mesh
		what.TokenIDs = []string{verified.Registered().ID}
		return presented{verified.Lifetime(), func(ctx context.Context, validFor time.Duration) (token.Issued, error) {
			return h.dataplanes.Renew(ctx, verified, validFor)
		}}, nil
	}
	session, err := zone.NewAuthenticator(h.renewing.zones).Authenticate(ctx, raw)
	if err != nil {
		return presented{}, err
	}
	verified := session.(zone.Verified)
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

// attempt is one of a host to renew a token of an id.
type attempt struct {
	id   renewedID
	host string
}

// pace remembers when tokens of an id may be renewed again.
type pace struct {
	mu sync.Mutex

	renewed recent[renewedID]
	failed  recent[attempt]             // or is under way
	running map[renewedID]chan struct{} // closed when it has ended
}

// maxPaced is how many ids, and how many attempts, a pace remembers at most.
const maxPaced = 65536

// betweenAttempts is the shortest time between two attempts of a host to renew tokens of an
// id, and between two renewals of an id.
const betweenAttempts = time.Second

// begin returns for how long a host must not renew a token of an id, and why, or 0. In that
// case its next attempt has to wait for a moment, unless the turn is given back. told says that
// begin has returned such a time before.
func (p *pace) begin(r attempt, now time.Time) (wait time.Duration, why string, told bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t, why := p.renewed.find(r.id), detailRenewed
	if t == nil || !now.Before(t.next) {
		t, why = p.failed.find(r), detailAsked
	}
	if t != nil && now.Before(t.next) {
		told, t.told = t.told, true
		return t.next.Sub(now), why, told
	}
	r.id, r.host = r.id.clone(), strings.Clone(r.host)
	p.failed.put(r, turn{next: now.Add(betweenAttempts)})
	return 0, "", false
}

// giveBack lets a host try again at once.
func (p *pace) giveBack(r attempt) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.failed.find(r); t != nil {
		*t = turn{}
	}
}

// enter waits until no other token of an id is being renewed, since a thief may begin a
// renewal from many hosts and let each fail. It returns for how long one must not be renewed.
// If that is 0, no other of the id is until leave. The error says that ctx has ended.
func (p *pace) enter(ctx context.Context, id renewedID) (wait time.Duration, err error) {
	for {
		wait, other := p.tryToEnter(id, time.Now())
		if other == nil {
			return wait, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: waiting for another renewal of this id: %w", token.ErrUnavailable, ctx.Err())
		}
	}
}

// tryToEnter is enter, but if another token of the id is being renewed, it returns a channel
// that is closed at the end of that.
func (p *pace) tryToEnter(id renewedID, now time.Time) (wait time.Duration, other <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t := p.renewed.find(id); t != nil && now.Before(t.next) {
		return t.next.Sub(now), nil
	}
	if other, is := p.running[id]; is {
		return 0, other
	}
	if p.running == nil {
		p.running = make(map[renewedID]chan struct{})
	}
	p.running[id] = make(chan struct{})
	return 0, nil
}

// leave notes when the next token of an id may be renewed, if one was: then each is not 0. Of
// the times for an id the shortest counts, since a thief may have got a token that is valid
// for longer than that of the proxy.
func (p *pace) leave(id renewedID, each time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.running[id])
	delete(p.running, id)
	if each == 0 {
		return
	}
	if before := p.renewed.find(id); before != nil {
		each = min(each, before.each)
	}
	p.renewed.put(id.clone(), turn{next: time.Now().Add(each), each: each})
}

// clone returns an id that shares no memory with the claims of its token.
func (id renewedID) clone() renewedID {
	return renewedID{id.kind, strings.Clone(id.mesh), strings.Clone(id.id)}
}

type turn struct {
	next time.Time
	each time.Duration // between renewals; 0 of an attempt
	told bool          // that it was too early
}

// recent are the turns of late, and before. When there are too many, the older ones go.
type recent[K comparable] struct{ lately, before map[K]*turn }

func (r *recent[K]) find(key K) *turn {
	if t := r.lately[key]; t != nil {
		return t
	}
	return r.before[key]
}

func (r *recent[K]) put(key K, t turn) {
	if len(r.lately) >= maxPaced/2 {
		r.before, r.lately = r.lately, nil
	}
	if r.lately == nil {
		r.lately = make(map[K]*turn)
	}
	r.lately[key] = &t
}
