package live

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// Fork is the use or the renewal of a token although a later one of its lineage was
// presented before, or although it was made before the latest one was first renewed and so
// not from that one, or the renewal of the latest one for the third time.
type Fork struct {
	Token    *Verified // the one that was presented
	Renewed  bool      // it was renewed; otherwise it was used
	Repeated int       // how often, if it is the latest; otherwise 0
	Address  string    // from where it was presented; "" is unknown

	Later        time.Time // when the latest one was made, or what it was renewed to
	LaterAddress string    // from where the latest one was presented first
}

// maxRepeats is how often the latest token may be renewed without being a fork. An answer
// may be lost, so the second time is no sign of anything. Who wants to keep the proxy from
// renewing its token until that expires needs four times: see httpapi.WithRenewal.
const maxRepeats = 2

// lineages holds the latest token that was presented of each lineage with a renewed
// token. A lineage is an id. It forgets those that were not presented for long.
type lineages struct {
	some   atomic.Bool // there is one: until then nothing is looked up
	shards [16]lineageShard
}

type lineageShard struct {
	mu sync.RWMutex

	// Those presented lately, and before. When there are too many, the older ones go.
	lately, before map[lineageID]*lineage
}

// maxLineages is how many lineages lineages holds at most.
const maxLineages = 65536

// A source of keys chooses its ids. Under one of the store or of another source, its tokens
// are another lineage.
type lineageID struct {
	scope  keystore.Scope
	source *sources.Source // nil: the store
	id     string
}

// lineage is what is known of one. It does not change; another takes its place.
type lineage struct {
	made    int64  // the latest token that was presented: when it was made
	address string // from where
	before  int64  // the one that was the latest before it: when that was made; 0: unknown
	repeats int    // how often it was renewed
	next    int64  // the first that it was renewed to: when that was made; 0: unknown

	used, renewed bool // a fork of this sort is known
}

var lineageSeed = maphash.MakeSeed()

// made returns when a token was made, in seconds since 1970: it orders the tokens of a
// lineage. It is 0 if no issuer of this module has made or renewed the token.
func (t *Verified) made() int64 {
	nbf := t.Untagged().NotBefore
	if nbf.IsZero() {
		return 0
	}
	return madeBy(nbf)
}

// madeBy returns when a token with the nbf was made, in seconds since 1970.
func madeBy(nbf time.Time) int64 { return nbf.Add(keylife.Backdate).Unix() }

// isRenewed reports whether a token is not the first of its lineage: that one was made when
// its id was.
func (t *Verified) isRenewed() bool {
	began, ok := revocation.IDTime(t.Untagged().ID)
	return ok && t.made() > began.Unix()
}

// notice notes that a good token is presented, to be used or to be renewed. It reports
// whether that is a fork, of which tell has then told.
//
// A proxy may use a token for a moment after it was renewed: see excuses.
func (v *Validator) notice(ctx context.Context, t *Verified, renewing bool) bool {
	if !t.renewed && !v.lineages.some.Load() {
		return false
	}
	later := v.lineages.present(ctx, t, renewing, &v.config)
	if later == nil {
		return false
	}
	v.tell(ctx, Fork{Token: t, Renewed: renewing}, later)
	return true
}

// count notes that a token was renewed, before its holder gets the new one, which has the
// nbf. It reports whether that is a fork, as notice does.
func (v *Validator) count(ctx context.Context, t *Verified, nbf time.Time) bool {
	latest := v.lineages.count(ctx, t, madeBy(nbf))
	if latest == nil || latest.repeats <= maxRepeats {
		return false
	}
	v.tell(ctx, Fork{Token: t, Renewed: true, Repeated: latest.repeats}, latest)
	return true
}

// forkTimeout is how long the operator's function may take for a fork: a caller waits for it.
const forkTimeout = 10 * time.Second

// tell tells the audit log, the observers and the operator's function of a fork.
func (v *Validator) tell(ctx context.Context, fork Fork, latest *lineage) {
	t := fork.Token
	later := latest.made
	if t.made() > later {
		later = latest.next
	}
	fork.Address, fork.Later, fork.LaterAddress = audit.Address(ctx), time.Unix(later, 0).UTC(), latest.address
	claims := t.Claims()
	event := keylife.EventAbout(audit.Fork, &claims)
	event.KeyID, event.Before, event.OtherAddress, event.Repeated = t.signer.kid, fork.Later, fork.LaterAddress, fork.Repeated
	if began, ok := revocation.IDTime(claims.ID); ok {
		event.LineageAge = v.config.Now().Sub(began)
	}
	audit.Log(ctx, v.config.Log, event)
	v.config.Observe(observe.Outcome{Operation: observe.Fork, Kind: v.family.Kind, Mesh: v.meshOf(t.scope()), KeyID: t.signer.kid})
	// A source could make forks under an id of the store, so that this is revoked.
	if v.config.onFork != nil && (t.signer.source == nil || !v.storeKeys) {
		// A thief must not end it by going away, nor a store that hangs keep the caller for ever.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forkTimeout)
		_ = cancel // only the time ends it: the function may leave work to a goroutine
		v.config.onFork(ctx, fork)
	}
}

// present notes that a token is presented. If that is a fork that was not known, it returns
// the lineage before. Of each sort a lineage has one fork until a later token is presented.
func (l *lineages) present(ctx context.Context, t *Verified, renewing bool, config *Config) (fork *lineage) {
	id, s := l.shardOf(t)
	if id.id == "" {
		return nil
	}
	s.mu.RLock()
	known, lately := s.find(id)
	s.mu.RUnlock()
	if next, _ := known.presented(t, renewing, config, ""); next == known && (lately || known == nil) {
		return nil // the usual case
	}
	address := audit.Address(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ = s.find(id)
	next, isFork := known.presented(t, renewing, config, address)
	if next != nil {
		s.put(id, next)
		l.some.Store(true)
	}
	if isFork {
		return known
	}
	return nil
}

// count notes that a token was renewed to one that was made then. It returns what is known
// of its lineage from then on, or nil if a later token is the latest.
func (l *lineages) count(ctx context.Context, t *Verified, made int64) *lineage {
	id, s := l.shardOf(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := lineage{made: t.made(), address: audit.Address(ctx)}
	if known, _ := s.find(id); known != nil { // it is not, if it was forgotten meanwhile
		next = *known
	}
	if next.made != t.made() {
		return nil
	}
	next.repeats++
	if next.next == 0 {
		next.next = made
	}
	next.next = min(next.next, made) // not the first one, if the clock was set back
	s.put(id, &next)
	l.some.Store(true)
	return &next
}

func (l *lineages) shardOf(t *Verified) (lineageID, *lineageShard) {
	id := lineageID{t.scope(), t.signer.source, t.Untagged().ID}
	return id, &l.shards[maphash.String(lineageSeed, id.id)%uint64(len(l.shards))]
}

// presented returns what is known of a lineage after a token of it was presented, and
// whether that is a fork that was not known.
func (k *lineage) presented(t *Verified, renewing bool, config *Config, address string) (next *lineage, fork bool) {
	switch {
	case k == nil && !t.renewed && !renewing:
		return nil, false
	case k == nil:
		return &lineage{made: t.made(), address: address}, false
	case t.made() > k.made: // without a fork it is what the latest one was renewed to, or what came of that
		return &lineage{made: t.made(), before: k.made, address: address}, t.made() < k.next
	case t.made() == k.made, !renewing && k.used, renewing && k.renewed, !renewing && k.excuses(t, config.Now()):
		return k, false
	}
	changed := *k
	changed.used, changed.renewed = k.used || !renewing, k.renewed || renewing
	return &changed, true
}

// excuses reports whether an earlier token may still be used: the one before the latest, for
// a moment. The moment is too short for a thief, who may renew once in a tenth of the
// lifetime, to renew the token and its renewals in turn while the proxy asks in vain.
func (k *lineage) excuses(t *Verified, now time.Time) bool {
	made := time.Unix(k.made, 0)
	return t.made() >= k.before && now.Before(made.Add(min(token.Skew, t.Untagged().ExpiresAt.Sub(time.Unix(t.made(), 0))/10)))
}

// find returns what is known of a lineage, and whether it was presented lately.
func (s *lineageShard) find(id lineageID) (known *lineage, lately bool) {
	if known, lately = s.lately[id]; lately {
		return known, true
	}
	return s.before[id], false
}

func (s *lineageShard) put(id lineageID, next *lineage) {
	if _, has := s.lately[id]; !has && len(s.lately) >= maxLineages/2/16 {
		s.before, s.lately = s.lately, nil
	}
	if s.lately == nil {
		s.lately = make(map[lineageID]*lineage)
	}
	// They share the memory of a token's claims.
	id.scope, id.id = keystore.Scope(strings.Clone(string(id.scope))), strings.Clone(id.id)
	s.lately[id] = next
}
