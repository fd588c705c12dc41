package live

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// KeyUse describes how one process has used one key since its validator was
// created.
type KeyUse struct {
	Scope       keystore.Scope // whose tokens the key verified
	KeyID       string
	Validations uint64    // how often a token was accepted
	LastUsed    time.Time // when a token was last accepted, by the wall clock
	Sessions    int       // bound contexts that are open
}

// keyUse counts the uses of one key.
type keyUse struct {
	validations atomic.Uint64
	refused     atomic.Uint64 // good signatures that were not accepted
	lastUsed    atomic.Int64  // nanoseconds since 1970
	forgotten   atomic.Bool   // no longer in the table
}

func (u *keyUse) count(now time.Time) {
	u.validations.Add(1)
	u.lastUsed.Store(now.UnixNano())
}

// last returns when a token was last accepted, or false if none was.
func (u *keyUse) last() (time.Time, bool) {
	nanos := u.lastUsed.Load()
	return time.Unix(0, nanos), nanos != 0
}

// useTable holds the counters of all keys.
type useTable struct {
	mu  sync.Mutex
	all byScope[signer, *keyUse]
}

// of returns the counters of a key.
func (u *useTable) of(scope keystore.Scope, key signer) *keyUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	use := u.all[scope][key]
	if use == nil {
		use = &keyUse{}
		u.all.put(scope, key, use)
	}
	return use
}

// each calls f with the counters of each key.
func (u *useTable) each(f func(keystore.Scope, signer, *keyUse)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for scope, keys := range u.all {
		for key, use := range keys {
			f(scope, key, use)
		}
	}
}

// forget deletes the counters of the keys of a scope, or of every scope, that are no
// longer good.
func (u *useTable) forget(scope keystore.Scope, check func(keystore.Scope, signer) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	forget := func(of keystore.Scope) {
		for key, use := range u.all[of] {
			if errors.Is(check(of, key), token.ErrInvalid) {
				use.forgotten.Store(true)
				u.all.remove(of, key)
			}
		}
	}
	if scope != sources.EveryScope {
		forget(scope)
		return
	}
	for of := range u.all {
		forget(of)
	}
}

// Usage returns the use of each key whose tokens were accepted, sorted by scope
// and kid.
func (v *Validator) Usage() []KeyUse {
	type name struct {
		scope keystore.Scope
		kid   string
	}
	seen := map[name]*KeyUse{}
	use := func(scope keystore.Scope, kid string) *KeyUse {
		u := seen[name{scope, kid}]
		if u == nil {
			u = &KeyUse{Scope: scope, KeyID: kid}
			seen[name{scope, kid}] = u
		}
		return u
	}
	v.uses.each(func(scope keystore.Scope, key signer, c *keyUse) {
		last, used := c.last()
		if !used { // its tokens were only refused
			return
		}
		u := use(scope, key.kid)
		u.Validations += c.validations.Load()
		if last.After(u.LastUsed) {
			u.LastUsed = last
		}
	})
	v.sessions.open(func(scope keystore.Scope, kid string, n int) { use(scope, kid).Sessions += n })

	all := make([]KeyUse, 0, len(seen))
	for _, u := range seen {
		all = append(all, *u)
	}
	slices.SortFunc(all, func(a, b KeyUse) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.KeyID, b.KeyID))
	})
	return all
}

// Staleness returns the time since the last complete read of the store began.
// It is that of the oldest source without a store, and false until a complete read has
// succeeded.
func (v *Validator) Staleness() (time.Duration, bool) {
	if v.follower == nil {
		return v.sources.Staleness()
	}
	return v.follower.Staleness()
}
