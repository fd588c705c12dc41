package live

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/meshpass/meshpass/token"
)

// headerMemo remembers decoded headers by their encoded text. Only headers of
// tokens with a good signature are added, so that only holders of keys can fill
// it.
type headerMemo struct {
	mu sync.Mutex
	m  atomic.Pointer[map[string]token.Header]
}

const maxHeaders = 256

func (h *headerMemo) get(encoded string) (token.Header, bool) {
	m := h.m.Load()
	if m == nil {
		return token.Header{}, false
	}
	header, ok := (*m)[encoded]
	return header, ok
}

func (h *headerMemo) put(encoded string, header token.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := map[string]token.Header{}
	if m := h.m.Load(); m != nil {
		if len(*m) < maxHeaders {
			for k, v := range *m {
				next[k] = v
			}
		} // full: start over
	}
	// Clone, so that neither keeps the whole token in memory.
	header.KeyID = strings.Clone(header.KeyID)
	next[strings.Clone(encoded)] = header
	h.m.Store(&next)
}
