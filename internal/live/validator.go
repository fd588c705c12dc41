package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Validator validates tokens of one family. It answers from memory; a token
// waits only where the store may have a key or list that was not read yet.
type Validator struct {
	family   *Family
	config   validatorConfig
	follower *follower // nil: there is no store
	refusals *reporter
	sessions *sessions
	cache    *cache // nil: none
	closed   atomic.Bool
	ended    chan struct{} // closed when Close is done
	headers  headerMemo
	uses     useTable

	collided sync.Map // configuredKey -> struct{}: logged as also in the store
}

// Want describes the use for which a token is validated.
type Want struct {
	Scope     keystore.Scope // of the key and of the revocation list: a mesh, or global
	Zone      string         // for zone tokens
	ZoneScope string         // for zone tokens: one that the scope list must hold
}

// NewValidator returns a validator that follows a store until Close.
func NewValidator(family *Family, store keystore.KeyStore, options []ValidatorOption) (*Validator, error) {
	if store == nil {
		return nil, errors.New("NewValidator: the store is nil (without a store, use NewOfflineValidator)")
	}
	v, err := newValidator(family, options)
	if err != nil {
		return nil, err
	}
	if v.config.withoutStore && len(v.config.configured) == 0 {
		return nil, errors.New("WithoutStoreKeys leaves no key at all: configure a public key")
	}
	v.sessions = newSessions(&v.config, func(scope keystore.Scope, kid string) (time.Duration, error) {
		return v.follower.current.Load().unknowable(scope, kid, time.Now())
	})
	prefix := family.Prefix
	if v.config.withoutStore {
		prefix = family.ListPrefix
	}
	v.follower = follow(family, store, prefix, v.published, v.reportReads)
	return v, nil
}

// NewOfflineValidator returns a validator with configured keys only.
func NewOfflineValidator(family *Family, options []ValidatorOption) (*Validator, error) {
	v, err := newValidator(family, options)
	if err != nil {
		return nil, err
	}
	if len(v.config.configured) == 0 {
		return nil, errors.New("NewOfflineValidator: no public key is configured (use WithPublicKey)")
	}
	v.sessions = newSessions(&v.config, nil)
	return v, nil
}

func newValidator(family *Family, options []ValidatorOption) (*Validator, error) {
	config := validatorConfig{
		common:          defaults(),
		leeway:          defaultLeeway,
		maxStale:        defaultMaxStale,
		sessionMaxStale: defaultMaxStale,
		cache:           defaultCache,
	}
	for _, o := range options {
		if o == nil {
			return nil, errors.New("an option is nil")
		}
		if err := o.applyValidator(&config); err != nil {
			return nil, err
		}
	}
	for at := range config.configured {
		ok := family.Within == keystore.AllScopes
		if at.scope != everyScope {
			_, ok = family.Keys(at.scope)
		}
		if !ok { // an option of the other package: the types are the same
			return nil, fmt.Errorf("public key %q: configured for mesh %q, which no %s token belongs to; is it an option of the other package?", at.kid, at.scope, family.Kind)
		}
	}
	return &Validator{family: family, config: config, ended: make(chan struct{}), refusals: newReporter(config.log), cache: newCache(config.cache)}, nil
}

// Close ends all sessions and stops following the store. Afterwards Validate
// returns token.ErrClosed.
func (v *Validator) Close() error {
	if v.closed.Swap(true) {
		<-v.ended // concurrent callers wait as well
		return nil
	}
	defer close(v.ended)
	v.sessions.close()
	if v.follower != nil {
		v.follower.close()
	}
	return nil
}

// Validate makes all checks, in their order. It does not check the text of a
// remembered token again.
func (v *Validator) Validate(ctx context.Context, want Want, raw string) (*Verified, error) {
	var known digest
	if v.cache != nil && len(raw) <= token.MaxSize {
		known = digestOf(raw)
		if t := v.cache.get(known); t != nil && t.scope == want.Scope && !v.closed.Load() {
			err := v.decide(ctx, want, t)
			if err == nil {
				return t, nil
			}
			if errors.Is(err, token.ErrUnavailable) { // it may be good again: keep it, and wait once only
				u, _ := token.ParseUnverified(raw) // for the log
				v.logRefusal(ctx, want, u, t, err)
				return nil, err
			}
			v.cache.drop(known)
		}
	}
	t, u, err := v.validate(ctx, want, raw)
	if err != nil {
		v.logRefusal(ctx, want, u, t, err)
		return nil, err
	}
	if v.cache != nil {
		v.cache.put(known, t)
	}
	return t, nil
}

// validate is Validate without the cache. With an error it also returns what is
// known of the token, for the log.
func (v *Validator) validate(ctx context.Context, want Want, raw string) (*Verified, token.Unverified, error) {
	if v.closed.Load() {
		return nil, token.Unverified{}, token.ErrClosed
	}
	u, err := token.ParseUnverified(raw)
	if err != nil {
		return nil, u, err
	}
	header, remembered := v.headers.get(u.EncodedHeader())
	if !remembered {
		if header, err = u.Header(); err != nil {
			return nil, u, err
		}
	}
	key, ofStore, err := v.findKey(ctx, want.Scope, header.KeyID)
	if err != nil {
		return nil, u, err
	}
	buffer := signatures.Get().(*[signing.MaxBits / 8]byte)
	err = key.Verify(view(u.SigningInput()), u.AppendSignature(buffer[:0]))
	signatures.Put(buffer)
	if err != nil {
		return nil, u, err
	}
	if !remembered {
		v.headers.put(u.EncodedHeader(), header)
	}
	claims, err := u.Claims()
	if err != nil {
		return nil, u, err
	}
	t := &Verified{validator: v, claims: claims, scope: want.Scope, keyID: header.KeyID, key: key, ofStore: ofStore}
	return t, u, v.decide(ctx, want, t)
}

// signatures holds buffers for decoded signatures.
var signatures = sync.Pool{New: func() any { return new([signing.MaxBits / 8]byte) }}

// decide makes the checks on a token whose signature is good, and counts it if
// it is accepted. Definite refusals come first, in order: the answer is
// token.ErrUnavailable only if no other check rejects the token.
func (v *Validator) decide(ctx context.Context, want Want, t *Verified) error {
	claims := &t.claims
	if err := v.checkRequired(claims); err != nil {
		return err
	}
	if err := v.checkScope(want, claims); err != nil {
		return err
	}
	now, unknown := v.checkStore(ctx, t)
	if unknown != nil && !errors.Is(unknown, token.ErrUnavailable) {
		return unknown
	}
	now = v.config.wallClock(now)
	if err := v.checkTimes(claims, now); err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	use := t.use.Load()
	if use == nil || use.forgotten.Load() { // seen for the first time, or its key was away meanwhile
		use = v.uses.of(t.scope, keyID{t.keyID, t.key})
		t.use.Store(use)
	}
	use.count(now)
	return nil
}

// findKey returns the key with a kid, configured or from the store.
func (v *Validator) findKey(ctx context.Context, scope keystore.Scope, kid string) (key *signing.PublicKey, ofStore bool, err error) {
	if key := v.configuredKey(scope, kid); key != nil {
		return key, false, v.checkAsked(scope)
	}
	key, err = v.findStoreKey(ctx, scope, kid)
	return key, true, err
}

func (v *Validator) findStoreKey(ctx context.Context, scope keystore.Scope, kid string) (*signing.PublicKey, error) {
	if v.follower == nil || v.config.withoutStore {
		return nil, fmt.Errorf("%w: no public key with kid %.64q is configured%s", token.ErrUnknownKey, kid, ofMesh(scope))
	}
	if s := v.follower.current.Load(); s != nil {
		if key, err := s.find(scope, kid); err == nil {
			return key, nil // the usual case: nothing to check or to wait for
		}
	}
	if _, ok := signing.ParseSerial(kid); !ok {
		return nil, fmt.Errorf("%w: kid %.64q is neither a configured key's nor a serial number", token.ErrUnknownKey, kid)
	}
	if err := v.checkAsked(scope); err != nil {
		return nil, err
	}
	s, err := v.follower.loaded(ctx)
	if err != nil {
		return nil, err
	}
	key, err := s.find(scope, kid)
	if err == nil {
		return key, nil
	}
	if errors.Is(err, signing.ErrNoKey) {
		find := func() (*signing.PublicKey, error) { return v.follower.current.Load().find(scope, kid) }
		found := func() bool { _, err := find(); return err == nil }
		if err := v.follower.reread(ctx, scope, found); err != nil {
			return nil, err
		}
		if key, err = find(); err == nil {
			return key, nil
		}
	}
	if errors.Is(err, signing.ErrNoKey) {
		return nil, fmt.Errorf("%w: there is no key with kid %.64q%s; if it was removed, the token must be issued anew", token.ErrUnknownKey, kid, ofMesh(scope))
	}
	return nil, unavailable(err)
}

func (v *Validator) configuredKey(scope keystore.Scope, kid string) *signing.PublicKey {
	if len(v.config.configured) == 0 {
		return nil
	}
	if key := v.config.configured[configuredKey{scope, kid}]; key != nil {
		return key
	}
	return v.config.configured[configuredKey{everyScope, kid}]
}

// checkAsked rejects a scope that can hold no token of the family before it
// causes a read. The peer often chooses the mesh.
func (v *Validator) checkAsked(scope keystore.Scope) error {
	if err := keystore.CheckScope(scope); err != nil {
		return fmt.Errorf("%w: asked for a mesh that cannot exist: %w", token.ErrScope, err)
	}
	if _, ok := v.family.Keys(scope); !ok {
		return fmt.Errorf("%w: asked for no mesh", token.ErrScope)
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
			return fmt.Errorf("%w: it is for mesh %.64q, asked for %.64q", token.ErrScope, claims.Dataplane.Mesh, want.Scope)
		}
		return nil
	}
	if claims.Zone.Zone != want.Zone {
		return fmt.Errorf("%w: it is for zone %.64q, asked for %.64q", token.ErrScope, claims.Zone.Zone, want.Zone)
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
	return fmt.Errorf("%w: its scopes are %.64q%s, asked for %.64q", token.ErrScope, scopes, more, want.ZoneScope)
}

// checkStore makes the checks that depend on the store: the key and the
// revocation lists. Each answer rests on one state. With two, a read that
// succeeds between them would make an old answer pass for a current one.
//
// It also returns the time of the answer by the system's clock, which takes too
// long to read to be read for each check.
func (v *Validator) checkStore(ctx context.Context, t *Verified) (time.Time, error) {
	if v.follower == nil {
		return time.Now(), nil
	}
	s, err := v.follower.loaded(ctx)
	now := time.Now()
	if err != nil {
		return now, err
	}
	if err := s.check(t); err != nil {
		return now, err
	}
	err = s.reading(t.scope, now).tooStale(now, v.config.maxStale)
	if err == nil || !v.follower.mayRead(t.scope) {
		return now, err
	}
	err = v.checkReread(ctx, t)
	return time.Now(), err
}

// checkReread is checkStore after another read of the token's scope.
func (v *Validator) checkReread(ctx context.Context, t *Verified) error {
	tooStale := func(s *state) error {
		now := time.Now()
		return s.reading(t.scope, now).tooStale(now, v.config.maxStale)
	}
	if err := v.follower.reread(ctx, t.scope, func() bool { return tooStale(v.follower.current.Load()) == nil }); err != nil {
		return err
	}
	s := v.follower.current.Load()
	if err := s.check(t); err != nil {
		return err
	}
	return tooStale(s)
}

// checkTimes compares exp and nbf with the wall clock (RFC 7519, sections 4.1.4
// and 4.1.5).
func (v *Validator) checkTimes(claims *token.Claims, now time.Time) error {
	if !now.Before(claims.ExpiresAt.Add(v.config.leeway)) {
		return fmt.Errorf("%w at %s", token.ErrExpired, claims.ExpiresAt.Format(time.RFC3339))
	}
	if now.Before(claims.NotBefore.Add(-v.config.leeway)) {
		return fmt.Errorf("%w: before %s", token.ErrNotYetValid, claims.NotBefore.Format(time.RFC3339))
	}
	if v.config.maxLifetime == 0 {
		return nil
	}
	start := claims.IssuedAt
	if start.IsZero() {
		start = claims.NotBefore
	}
	if start.IsZero() {
		return fmt.Errorf("%w: it has neither iat nor nbf to count from", token.ErrLifetime)
	}
	if start.After(now) { // an iat in the future must not shorten the lifetime
		start = now
	}
	if lifetime := claims.ExpiresAt.Sub(start); lifetime-backdate > v.config.maxLifetime {
		return fmt.Errorf("%w: %s, the maximum is %s", token.ErrLifetime, lifetime, v.config.maxLifetime)
	}
	return nil
}

func ofMesh(scope keystore.Scope) string {
	if scope == keystore.Global {
		return ""
	}
	return fmt.Sprintf(" for mesh %.64q", scope)
}

// logRefusal logs the reason, kid and jti, never the token. A decoded kid or
// jti is printable.
func (v *Validator) logRefusal(ctx context.Context, want Want, u token.Unverified, t *Verified, err error) {
	level, message := slog.LevelInfo, "token refused"
	if errors.Is(err, token.ErrUnavailable) {
		message = "token could not be checked"
		if ctx.Err() == nil && !errors.Is(err, token.ErrClosed) {
			level = slog.LevelWarn
		}
	}
	if !v.config.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("kind", string(v.family.Kind)), slog.String("reason", err.Error())}
	if want.Scope != keystore.Global {
		attrs = append(attrs, slog.String("mesh", shorten(string(want.Scope))))
	}
	if want.Zone != "" {
		attrs = append(attrs, slog.String("zone", shorten(want.Zone)))
	}
	if header, err := u.Header(); err == nil {
		attrs = append(attrs, slog.String("kid", header.KeyID))
	}
	if t != nil && t.claims.ID != "" {
		attrs = append(attrs, slog.String("jti", t.claims.ID))
	}
	v.refusals.report(ctx, level, message, attrs...)
}

// shorten escapes and truncates a name that a peer sent.
func shorten(s string) string {
	quoted := fmt.Sprintf("%.64q", s)
	return quoted[1 : len(quoted)-1]
}

// published handles a new state of a scope. It ends the affected sessions
// first.
func (v *Validator) published(scope keystore.Scope, prev, next *scopeState) {
	v.sessions.keysChanged(scope, func(kid string, key *signing.PublicKey) bool {
		return next != nil && next.has(kid, key)
	})
	if next != nil {
		for owner, l := range next.lists {
			if l.err == nil && (prev == nil || prev.lists[owner] != l) {
				v.sessions.listChanged(owner, l.ids)
			}
		}
	}
	v.forgetUses(scope, next)
	v.report(scope, prev, next)
}

// report logs each change in a new state of a scope once.
func (v *Validator) report(scope keystore.Scope, prev, next *scopeState) {
	log := v.config.log.With(slog.String("kind", string(v.family.Kind)), slog.String("scope", string(scope)))
	before, after := describe(prev), describe(next)
	for p := range after.problems {
		if !before.problems[p] {
			log.Warn("record problem", slog.String("problem", p))
		}
	}
	for kid := range after.keys {
		if v.config.withoutStore || v.configuredKey(scope, kid) == nil {
			continue
		}
		if _, reported := v.collided.LoadOrStore(configuredKey{scope, kid}, struct{}{}); !reported {
			log.Warn("a configured public key hides the key of the same kid in the store", slog.String("kid", kid))
		}
	}
	if prev == nil {
		return
	}
	for kid := range before.keys {
		if !after.keys[kid] {
			log.Warn("key is gone: tokens that it signed are refused", slog.String("kid", kid))
		}
	}
	for kid := range after.keys {
		if !before.keys[kid] {
			log.Info("new key", slog.String("kid", kid))
		}
	}
	for owner, l := range prev.lists {
		var now *list
		if next != nil {
			now = next.lists[owner]
		}
		if n := l.missingFrom(now); n > 0 {
			log.Warn("ids are gone from a revocation list", slog.Int("ids", n))
		}
	}
}

// description holds the parts of a state whose changes are logged.
type description struct {
	problems map[string]bool
	keys     map[string]bool // by kid
}

func describe(s *scopeState) description {
	d := description{problems: map[string]bool{}, keys: map[string]bool{}}
	if s == nil {
		return d
	}
	for _, p := range s.problems {
		d.problems[p] = true
	}
	if s.keys != nil {
		for _, key := range s.keys.Keys() {
			d.keys[key.Serial.KeyID()] = true
		}
	}
	return d
}

func (v *Validator) reportReads(err error) {
	log := v.config.log.With(slog.String("kind", string(v.family.Kind)))
	if err != nil {
		log.Warn("reading the store fails: answers rest on what was read before", slog.String("error", err.Error()))
		return
	}
	log.Info("reading the store works again")
}

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
