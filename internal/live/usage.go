package live

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// KeyUse describes how one process has used one key since its validator was
// created.
type KeyUse struct {
	// Scope is the mesh whose tokens the key verified, or keystore.Global for
	// zone tokens.
	Scope keystore.Scope `json:"mesh,omitempty"`
	KeyID string         `json:"kid"`

	// Validations counts the accepted tokens, each time one was accepted.
	Validations uint64 `json:"validations"`

	// LastUsed is the wall clock time at which the latest was accepted.
	LastUsed time.Time `json:"last_used"`

	// Sessions counts the bound contexts that are open.
	Sessions int `json:"sessions"`
}

// keyOf identifies a key as used for one scope.
type keyOf struct {
	scope keystore.Scope
	kid   string
	key   *signing.PublicKey
}

// keyUse counts the uses of one key.
type keyUse struct {
	validations atomic.Uint64
	lastUsed    atomic.Int64 // nanoseconds since 1970
}

func (u *keyUse) count(now time.Time) {
	u.validations.Add(1)
	u.lastUsed.Store(now.UnixNano())
}

// useOf returns the counters of a token's key.
func (v *Validator) useOf(t *Verified) *keyUse {
	at := keyOf{t.scope, t.keyID, t.key}
	if use, ok := v.uses.Load(at); ok {
		return use.(*keyUse)
	}
	use, _ := v.uses.LoadOrStore(at, &keyUse{})
	return use.(*keyUse)
}

// forgetUses deletes the counters of keys that are no longer in a scope.
func (v *Validator) forgetUses(scope keystore.Scope, next *scopeState) {
	v.uses.Range(func(k, _ any) bool {
		at := k.(keyOf)
		if at.scope == scope && v.configuredKey(scope, at.kid) == nil && (next == nil || !next.has(at.kid, at.key)) {
			v.uses.Delete(k)
		}
		return true
	})
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
	v.uses.Range(func(k, counted any) bool {
		at, c := k.(keyOf), counted.(*keyUse)
		u := use(at.scope, at.kid)
		u.Validations += c.validations.Load()
		if last := time.Unix(0, c.lastUsed.Load()); last.After(u.LastUsed) {
			u.LastUsed = last
		}
		return true
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
// It is 0 without a store, and false until a complete read has succeeded.
func (v *Validator) Staleness() (time.Duration, bool) {
	if v.follower == nil {
		return 0, true
	}
	s := v.follower.current.Load()
	if s == nil || s.full.confirmed.IsZero() {
		return 0, false
	}
	return time.Since(s.full.confirmed), true
}
