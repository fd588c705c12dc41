package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Validator validates tokens of one family. It answers from memory. A token waits
// only if the store may have a key or list that the validator has not read yet.
type Validator struct {
	family   *replica.Family
	config   Config
	store    keystore.KeyStore // nil: there is none
	follower *replica.Follower // nil: there is no store
	sources  *sources.Follower

	storeKeys bool        // the keys of the store verify tokens
	waiting   *limit.Gate // of tokens that wait for a read
	refusals  *limit.Reporter
	sessions  *sessions
	cache     *cache // nil: none
	closed    atomic.Bool
	ended     chan struct{} // closed when Close is done
	headers   headerMemo
	uses      useTable
	clashes   clashes
	lineages  lineages
	made      time.Time
	detach    []func()
}

// Want describes the use for which a token is validated.
type Want struct {
	Scope     keystore.Scope // of the key and of the revocation list: a mesh, or global
	Zone      string         // for zone tokens
	ZoneScope string         // for zone tokens: the scope that the token must have
}

// NewValidator returns a validator that follows a store until Close.
func NewValidator(family *replica.Family, store keystore.KeyStore, config Config) (*Validator, error) {
	if store == nil {
		return nil, errors.New("NewValidator: the store is nil (without a store, use NewOfflineValidator)")
	}
	if config.withoutStore && len(config.sources) == 0 {
		return nil, errors.New("WithoutStoreKeys: no public key is configured (use WithPublicKey or WithSource)")
	}
	v := newValidator(family, config)
	v.store, v.storeKeys = store, !config.withoutStore
	prefixes := []string{family.Prefix}
	if config.withoutStore {
		// In this order: a list is pruned after the floor was written among the cutoffs.
		prefixes = []string{revocation.NamePrefix(family.Kind), revocation.CutoffsPrefix(family.Kind)}
	}
	v.follower = replica.Follow(family, store, prefixes, config.staleness(), v.waiting, replica.Events{Changed: v.changed, Reads: v.reportReads})
	v.sources.Start(v.sourceEvents())
	v.attach()
	return v, nil
}

// NewOfflineValidator returns a validator with the keys of sources only.
func NewOfflineValidator(family *replica.Family, config Config) (*Validator, error) {
	if len(config.sources) == 0 {
		return nil, errors.New("NewOfflineValidator: no public key is configured (use WithPublicKey or WithSource)")
	}
	v := newValidator(family, config)
	v.sources.Start(v.sourceEvents())
	v.attach()
	return v, nil
}

func newValidator(family *replica.Family, config Config) *Validator {
	waiting := limit.NewGate(maxWaiting)
	v := &Validator{
		family:   family,
		config:   config,
		waiting:  waiting,
		sources:  sources.New(config.sources, config.staleness(), waiting),
		refusals: limit.NewReporter(config.Log),
		cache:    newCache(config.cache),
		ended:    make(chan struct{}),
		uses:     useTable{all: make(byScope[signer, *keyUse])},
		made:     config.Now(),
	}
	v.sessions = newSessions(&v.config)
	v.sessions.knowable = v.knowable
	return v
}

// maxWaiting is how many tokens wait at once for reads of the store or of sources.
const maxWaiting = 1024

// Close ends all sessions and stops following the store and the sources. Afterwards Validate
// returns token.ErrClosed.
func (v *Validator) Close() error {
	if v.closed.Swap(true) {
		<-v.ended // concurrent callers wait as well
		return nil
	}
	defer close(v.ended)
	v.sessions.close()
	var followers sync.WaitGroup
	followers.Go(v.sources.Close)
	if v.follower != nil {
		followers.Go(v.follower.Close)
	}
	followers.Wait()
	for _, detach := range v.detach {
		detach()
	}
	return nil
}

// Validate makes all checks in order. For a remembered token it does not check
// form and signature again.
func (v *Validator) Validate(ctx context.Context, want Want, raw string) (*Verified, error) {
	return v.accept(ctx, want, nil, raw)
}

// ValidateClaimed is Validate for the use that the token itself names. claimed returns it
// for claims that may not be true: the caller compares them with the peer afterwards.
func (v *Validator) ValidateClaimed(ctx context.Context, claimed Claimed, raw string) (*Verified, error) {
	return v.accept(ctx, Want{}, claimed, raw)
}

// Claimed returns the use for which claims are, which are without the tags. It must not
// change them. If they are for none, the error refuses the token.
type Claimed func(*token.Claims) (Want, error)

// accept is Validate, or ValidateClaimed if claimed is not nil.
func (v *Validator) accept(ctx context.Context, want Want, claimed Claimed, raw string) (*Verified, error) {
	began := v.now()
	var known digest
	if v.cache != nil && len(raw) <= token.MaxSize {
		known = digestOf(raw)
		t := v.cache.get(known)
		if t != nil && claimed != nil {
			want, _ = claimed(t.Untagged()) // without an error, as when it was accepted
		}
		if t != nil && t.scope() == want.Scope && !v.closed.Load() {
			err := v.decide(ctx, want, t, began)
			if err == nil {
				v.notice(ctx, t, false)
				return t, nil
			}
			if !errors.Is(err, token.ErrUnavailable) { // else it may become good again
				v.cache.drop(known)
			}
			if !errors.Is(err, token.ErrUnknownKey) { // else another key may have its kid by now
				v.refused(ctx, want, raw, t, began, err)
				return nil, err
			}
		}
	}
	var t *Verified
	u, read, err := v.open(raw, claimed, &want)
	if err == nil {
		t, err = v.verify(ctx, want, u, read, began)
	}
	if err != nil {
		v.refused(ctx, want, raw, t, began, err)
		return nil, err
	}
	if v.cache != nil {
		v.cache.put(known, t)
	}
	v.notice(ctx, t, false)
	return t, nil
}

// open takes a token apart. If claimed is not nil, open reads the claims as the keys of the
// store demand, and sets want.
func (v *Validator) open(raw string, claimed Claimed, want *Want) (u token.Unverified, read *token.PackedClaims, err error) {
	if v.closed.Load() {
		return token.Unverified{}, nil, token.ErrClosed
	}
	if u, err = token.ParseUnverified(raw); err != nil || claimed == nil {
		return u, nil, err
	}
	packed, err := u.PackedClaims(demandsOfStore)
	if err != nil {
		return token.Unverified{}, nil, err
	}
	*want, err = claimed(&packed.Untagged)
	return u, &packed, err
}

// verify checks a token that is not remembered. read is nil if the claims were not read yet.
// With an error it also returns what it has read of the token, for the log and the
// observers: a Verified means that the signature is good.
func (v *Validator) verify(ctx context.Context, want Want, u token.Unverified, read *token.PackedClaims, began setting.Instant) (*Verified, error) {
	header, remembered := v.headers.get(u.EncodedHeader())
	if !remembered {
		var err error
		if header, err = u.HeaderOfAnyType(); err != nil {
			return nil, err
		}
	}
	k, err := v.findKey(ctx, want.Scope, header.KeyID)
	if err != nil {
		return nil, err
	}
	demands := k.demands()
	if err := header.CheckType(*demands); err != nil {
		return nil, err
	}
	buffer := signatures.Get().(*[signing.MaxBits / 8]byte)
	err = k.key.Verify(view(u.SigningInput()), u.AppendSignature(buffer[:0]))
	signatures.Put(buffer)
	if err != nil {
		return nil, v.explain(want.Scope, k, err)
	}
	if !remembered {
		v.headers.put(u.EncodedHeader(), header)
	}
	t := &Verified{validator: v, signer: k}
	if read != nil && *demands == demandsOfStore {
		t.claims = *read
	} else if t.claims, err = u.PackedClaims(*demands); err != nil {
		return t, err
	}
	t.renewed = t.isRenewed()
	return t, v.decide(ctx, want, t, began)
}

// signatures holds buffers for decoded signatures.
var signatures = sync.Pool{New: func() any { return new([signing.MaxBits / 8]byte) }}

// decide makes the checks on a token whose signature is good, and counts and reports the
// token if it is accepted. Definite refusals come first: the error matches
// token.ErrUnavailable only if no other check rejects the token.
func (v *Validator) decide(ctx context.Context, want Want, t *Verified, began setting.Instant) error {
	claims := t.Untagged()
	if err := v.checkRequired(claims); err != nil {
		return err
	}
	if err := v.checkScope(want, claims); err != nil {
		return err
	}
	at, unknown := v.checkKnown(ctx, t)
	if unknown != nil && !errors.Is(unknown, token.ErrUnavailable) {
		return unknown
	}
	now := v.config.WallClock(at)
	if err := v.checkTimes(claims, now); err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	use := t.use.Load()
	if use == nil || use.forgotten.Load() { // first use, or the key was removed and added again
		use = v.uses.of(t.scope(), t.signer)
		t.use.Store(use)
	}
	use.count(now)
	v.accepted(t, began, at)
	return nil
}

// checkAsked rejects a scope that cannot have tokens of the family, before it
// causes a read. The peer often chooses the mesh.
func (v *Validator) checkAsked(scope keystore.Scope) error {
	if err := keystore.CheckScope(scope); err != nil {
		return fmt.Errorf("%w: the requested mesh cannot exist: %w", token.ErrScope, err)
	}
	if _, ok := v.family.Keys(scope); !ok {
		return fmt.Errorf("%w: the requested mesh is empty", token.ErrScope)
	}
	return nil
}

func (v *Validator) checkRequired(claims *token.Claims) error {
	switch {
	case claims.ExpiresAt.IsZero():
		return fmt.Errorf("%w: exp is missing", token.ErrClaims)
	case claims.ID == "" && !v.config.unrevocable:
		return fmt.Errorf("%w: jti is missing, so the token could not be revoked", token.ErrClaims)
	case claims.Kind() != v.family.Kind:
		return fmt.Errorf("%w: it is a %s token, want a %s token", token.ErrKind, claims.Kind(), v.family.Kind)
	}
	return nil
}

func (v *Validator) checkScope(want Want, claims *token.Claims) error {
	if v.family.Kind == token.KindDataplane {
		if claims.Dataplane.Mesh != string(want.Scope) {
			return fmt.Errorf("%w: it is for mesh %.64q, want %.64q", token.ErrScope, claims.Dataplane.Mesh, want.Scope)
		}
		return nil
	}
	if claims.Zone.Zone != want.Zone {
		return fmt.Errorf("%w: it is for zone %.64q, want %.64q", token.ErrScope, claims.Zone.Zone, want.Zone)
	}
	for _, s := range claims.Zone.Scope {
		if s == want.ZoneScope && s != "" {
			return nil
		}
	}
	const shown = 8
	scopes, more := claims.Zone.Scope, ""
	if len(scopes) > shown {
		scopes, more = scopes[:shown], " and more"
	}
	return fmt.Errorf("%w: its scopes are %.64q%s, want %.64q", token.ErrScope, scopes, more, want.ZoneScope)
}

// checkKnown makes the checks that depend on the store and the sources: the key and the
// revocation lists. It uses one state of each for all checks. With two, a read that
// succeeds between them would make an old answer look current.
//
// It also returns the time of the answer by the system's clock, so that the other
// checks need not read the clock, which is slow.
func (v *Validator) checkKnown(ctx context.Context, t *Verified) (time.Time, error) {
	age := t.signer.source.Age()
	if v.follower == nil {
		now := time.Now()
		return now, cmp.Or(t.check(v.with(nil)), age.Check(now, v.config.maxStale))
	}
	s, err := v.follower.Loaded(ctx)
	now := time.Now()
	if err != nil {
		return now, cmp.Or(t.check(v.with(nil)), err)
	}
	tooOld := s.CheckAge(t.scope(), now, v.config.maxStale)
	if tooOld != nil && v.follower.MayRead(t.scope()) && t.check(v.with(s)) == nil {
		err = v.reread(ctx, t.scope())
		s, now = v.follower.State(), time.Now()
		tooOld = cmp.Or(err, s.CheckAge(t.scope(), now, v.config.maxStale))
	}
	return now, cmp.Or(t.check(v.with(s)), tooOld, age.Check(now, v.config.maxStale))
}

// reread waits for another read of a scope, or until its state is no longer too old.
func (v *Validator) reread(ctx context.Context, scope keystore.Scope) error {
	return v.follower.Reread(ctx, scope, func() bool {
		return v.follower.State().CheckAge(scope, time.Now(), v.config.maxStale) == nil
	})
}

// checkTimes compares exp and nbf with the wall clock (RFC 7519, sections 4.1.4
// and 4.1.5), and iat too. A time that the token does not have is zero, which is long past.
func (v *Validator) checkTimes(claims *token.Claims, now time.Time) error {
	if !now.Before(claims.ExpiresAt.Add(v.config.leeway)) {
		return expiredError(claims)
	}
	if now.Before(claims.NotBefore.Add(-v.config.leeway)) {
		return fmt.Errorf("%w: before %s", token.ErrNotYetValid, claims.NotBefore.Format(time.RFC3339))
	}
	if claims.IssuedAt.Sub(now) > 3*token.Skew+v.config.leeway {
		return fmt.Errorf("%w: it says that it was issued at %s", token.ErrNotYetValid, claims.IssuedAt.Format(time.RFC3339))
	}
	if v.config.MaxLifetime == 0 {
		return nil
	}
	made := keylife.Made(claims, now)
	if made.IsZero() {
		return fmt.Errorf("%w: it has neither iat nor nbf to count from", token.ErrLifetime)
	}
	if lifetime := claims.ExpiresAt.Sub(made); lifetime > v.config.MaxLifetime {
		return fmt.Errorf("%w: %s, the maximum is %s", token.ErrLifetime, lifetime, v.config.MaxLifetime)
	}
	return nil
}

func expiredError(claims *token.Claims) error {
	return fmt.Errorf("%w at %s", token.ErrExpired, claims.ExpiresAt.Format(time.RFC3339))
}

func ofMesh(scope keystore.Scope) string {
	if scope == keystore.Global {
		return ""
	}
	return fmt.Sprintf(" for mesh %.64q", scope)
}
