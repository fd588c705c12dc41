package live

import "iter"

// listed is how many sessions a listing copies at a time, under the lock.
const listed = 256

// cursor is where a listing is in the ring of a key.
type cursor struct{ next *session } // nil: at the end

// pass moves the cursor past a session of a key.
func (c *cursor) pass(x *session, k *keySessions) {
	if c.next != x {
		return
	}
	if c.next = x.links[sameKey].next; c.next == k.newest { // once around
		c.next = nil
	}
}

// Sessions yields the token of each open session.
func (v *Validator) Sessions() iter.Seq[*Verified] { return v.sessions.list }

// list yields the tokens of the open sessions, key by key. It calls yield without the
// lock, which it holds for a few sessions at a time.
func (s *sessions) list(yield func(*Verified) bool) {
	for _, k := range s.byKey() {
		if !s.listKey(k, yield) {
			return
		}
	}
}

func (s *sessions) byKey() (all []*keySessions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keys := range s.keys {
		for _, k := range keys {
			all = append(all, k)
		}
	}
	return all
}

func (s *sessions) listKey(k *keySessions, yield func(*Verified) bool) bool {
	c := &cursor{}
	s.mu.Lock()
	if !s.closed {
		c.next = k.newest
		s.cursors[c] = struct{}{}
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.cursors, c)
	}()
	var batch []*Verified
	for {
		if batch = s.advance(c, k, batch[:0]); len(batch) == 0 {
			return true
		}
		for _, t := range batch {
			if !yield(t) {
				return false
			}
		}
	}
}

// advance moves a cursor by some sessions, and appends their tokens.
func (s *sessions) advance(c *cursor, k *keySessions, tokens []*Verified) []*Verified {
	s.mu.Lock()
	defer s.mu.Unlock()
	for x := c.next; x != nil && len(tokens) < listed; x = c.next {
		tokens = append(tokens, x.token)
		c.pass(x, k)
	}
	return tokens
}
