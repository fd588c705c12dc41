package live

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/meshpass/meshpass/token"
)

// headerMemo remembers decoded headers by their encoded text. It takes only
// headers of tokens with a good signature, so that only holders of keys fill it.
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
	// Clone all, so that the memo does not keep the token in memory.
	header.KeyID, header.Type = strings.Clone(header.KeyID), strings.Clone(header.Type)
	next[strings.Clone(encoded)] = header
	h.m.Store(&next)
}
