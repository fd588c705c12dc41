package httpapi

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// Until a client has shown that it may do what it asks for, its body takes memory. A
// small body is always read. All others share a pool, and a request that finds the pool
// empty is refused and may be sent again.
const (
	smallBody  = 4 << 10  // bytes; a request for a token is smaller
	poolSize   = 32 << 20 // bytes of memory
	bodyFactor = 20       // bytes of memory for each byte of a body, at most
)

// errBusy refuses a body for which there is no memory.
var errBusy = errors.New("too many requests with large bodies")

// pool is what is left of the memory for bodies.
type pool struct {
	mu   sync.Mutex
	used int
}

func (p *pool) take(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used+n > poolSize {
		return false
	}
	p.used += n
	return true
}

func (p *pool) give(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
}

// chargedBody is a body that takes memory from a pool as it is read.
type chargedBody struct {
	io.ReadCloser
	pool *pool
	read int
	held int // from the pool
}

// charge makes the body of a request take its memory from the pool, and returns what
// gives it back.
func (p *pool) charge(r *http.Request) (release func()) {
	if r.Body == nil {
		return func() {}
	}
	b := &chargedBody{ReadCloser: r.Body, pool: p}
	r.Body = b
	return func() {
		p.give(b.held)
		b.held = 0
	}
}

func (b *chargedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into)
	b.read += n
	if b.read > smallBody && n > 0 {
		cost := n * bodyFactor
		if !b.pool.take(cost) {
			return 0, errBusy
		}
		b.held += cost
	}
	return n, err
}
