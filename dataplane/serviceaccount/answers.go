package serviceaccount

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/token"
)

const (
	maxGood     = 16384 // tokens, about half a kilobyte each
	maxBad      = 4096
	negativeTTL = 5 * time.Second
)

// answers remembers the API server's answers by the digests of the tokens, so that
// it holds no bearer token. It also limits which tokens may cause a review.
type answers struct {
	ttl time.Duration // of positive ones

	mu      sync.Mutex
	closed  bool
	good    map[digest]good
	bad     map[digest]bad
	pending map[digest]*pending

	// Tokens that were good before have a separate limit, so that a flood of invented
	// tokens does not keep them out.
	ofStrangers, ofKnown limit.Bucket
}

type digest = [sha256.Size]byte

// good is an accepted token. It stays after its answer has expired, as a token that
// was good before.
type good struct {
	review *review
	until  time.Time
}

type bad struct {
	err   error
	until time.Time
}

// pending is a review in progress. The other fields are set before done is closed.
type pending struct {
	done   chan struct{}
	review *review
	err    error
}

func newAnswers(ttl time.Duration, perSecond int) *answers {
	bucket := limit.NewBucket(float64(perSecond), float64(perSecond))
	return &answers{
		ttl:         ttl,
		good:        make(map[digest]good),
		bad:         make(map[digest]bad),
		pending:     make(map[digest]*pending),
		ofStrangers: bucket,
		ofKnown:     bucket,
	}
}

// find returns the positive answer about a token, if it may still be used. Otherwise
// it returns the review in progress, or a new one, for which it has called start.
// The error is a remembered refusal, or says that the limit on reviews is reached.
func (a *answers) find(d digest, start func(*pending)) (*review, *pending, error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, nil, token.ErrClosed
	}
	g, known := a.good[d]
	if known && now.Before(g.until) {
		return g.review, nil, nil
	}
	if p := a.pending[d]; p != nil {
		return nil, p, nil
	}
	if b, ok := a.bad[d]; ok && now.Before(b.until) {
		return nil, nil, b.err
	}
	bucket := &a.ofStrangers
	if known {
		bucket = &a.ofKnown
	}
	if !bucket.Allow(now) {
		return nil, nil, fmt.Errorf("%w: the limit of %v reviews a second is reached", token.ErrUnavailable, bucket.PerSecond())
	}
	p := &pending{done: make(chan struct{})}
	a.pending[d] = p
	start(p)
	return nil, p, nil
}

// settle ends a review with its result. A positive answer ages from the time at
// which the review began.
func (a *answers) settle(d digest, p *pending, began time.Time, r *review, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.pending, d)
	switch {
	case err == nil:
		put(a.good, d, good{r, began.Add(a.ttl)}, maxGood)
	case errors.Is(err, token.ErrInvalid):
		delete(a.good, d)
		put(a.bad, d, bad{err, time.Now().Add(negativeTTL)}, maxBad)
	}
	p.review, p.err = r, err
	close(p.done)
}

// close keeps new reviews from beginning.
func (a *answers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// put adds an entry. In a full map it replaces a random one, which an attacker
// cannot choose.
func put[V any](m map[digest]V, d digest, value V, limit int) {
	if _, has := m[d]; !has && len(m) >= limit {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[d] = value
}
