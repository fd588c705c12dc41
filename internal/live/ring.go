package live

// A ring links sessions that have something in common in a circle. A session in a ring
// of its own is its own neighbour, so no link is ever nil and joining and leaving are
// the same everywhere in the ring.
const (
	sameID = iota
	sameKey
	kindsOfRing
)

// links are the neighbours of a session in a ring of one kind.
type links struct{ prev, next *session }

// join adds a session to the ring of another one. If that is nil, the session gets a
// ring of its own.
func (x *session) join(kind int, other *session) {
	if other == nil {
		other = x
		x.links[kind] = links{x, x}
	}
	prev := other.links[kind].prev
	x.links[kind] = links{prev, other}
	prev.links[kind].next, other.links[kind].prev = x, x
}

// leave removes a session from its ring. It returns one that stays, or nil.
func (x *session) leave(kind int) (stays *session) {
	at := x.links[kind]
	at.prev.links[kind].next, at.next.links[kind].prev = at.next, at.prev
	x.links[kind] = links{}
	if at.next == x {
		return nil
	}
	return at.next
}

// ring returns all sessions of a ring. n is about how many they are.
func (x *session) ring(kind, n int) []*session {
	all := append(make([]*session, 0, n), x)
	for other := x.links[kind].next; other != x; other = other.links[kind].next {
		all = append(all, other)
	}
	return all
}
