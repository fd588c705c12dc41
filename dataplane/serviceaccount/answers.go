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

// answers remembers what the API server said about tokens, by their digests, so
// that it holds no bearer token, and decides which tokens may cause a review.
type answers struct {
	ttl time.Duration // of positive ones

	mu      sync.Mutex
	closed  bool
	good    map[digest]good
	bad     map[digest]bad
	pending map[digest]*pending

	// Reviews of tokens that were good before have a limit of their own, so that
	// a flood of tokens that any peer can make up does not keep them out.
	ofStrangers, ofKnown limit.Bucket
}

type digest = [sha256.Size]byte

// good is a token that was accepted. It stays after its answer is no longer
// used, as one that was good before.
type good struct {
	review *review
	until  time.Time
}

type bad struct {
	err   error
	until time.Time
}

// pending is a review that is under way. The fields are set before done is closed.
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

// find returns the positive answer about a token, if it may still be used, or else
// the review that is under way, or a new one, for which it has called start. The
// error is a remembered refusal, or that too many reviews would be needed.
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
		return nil, nil, fmt.Errorf("%w: more than %v reviews a second would be needed", token.ErrUnavailable, bucket.PerSecond())
	}
	p := &pending{done: make(chan struct{})}
	a.pending[d] = p
	start(p)
	return nil, p, nil
}

// settle ends a review with its result. It began at the given time, from which
// on a positive answer ages.
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

// close keeps reviews from beginning.
func (a *answers) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
}

// put adds an entry; in a full map it takes the place of a random one, which an
// attacker cannot choose.
func put[V any](m map[digest]V, d digest, value V, limit int) {
	if _, has := m[d]; !has && len(m) >= limit {
		for other := range m {
			delete(m, other)
			break
		}
	}
	m[d] = value
}
