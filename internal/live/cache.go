package live

import (
	"crypto/sha256"
	"sync"
	"unsafe"
)

// cache remembers verified tokens by the digest of their text, so that it holds
// no bearer token. It saves only the checks of form and signature: the validator
// checks everything that can change again on each use.
type cache struct {
	shards [16]shard
	limit  int // of entries, in each shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[digest]*Verified
}

type digest [sha256.Size]byte

// newCache returns a cache of about the given number of tokens, or nil for 0.
func newCache(tokens int) *cache {
	if tokens == 0 {
		return nil
	}
	c := &cache{}
	c.limit = (tokens-1)/len(c.shards) + 1
	for i := range c.shards {
		c.shards[i].entries = make(map[digest]*Verified)
	}
	return c
}

func digestOf(raw string) digest { return sha256.Sum256(view(raw)) }

// view returns the bytes of a text without a copy. The caller must not change
// them.
func view(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

func (c *cache) shard(d digest) *shard { return &c.shards[int(d[0])%len(c.shards)] }

func (c *cache) get(d digest) *Verified {
	s := c.shard(d)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[d]
}

func (c *cache) put(d digest, t *Verified) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) >= c.limit {
		for other := range s.entries { // a random one, which an attacker cannot choose
			delete(s.entries, other)
			break
		}
	}
	s.entries[d] = t
}

// drop removes a token that is no longer good.
func (c *cache) drop(d digest) {
	s := c.shard(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, d)
}
