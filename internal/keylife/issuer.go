package keylife

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Backdate is how far issuers set back nbf, so that verifiers whose clocks are behind
// accept the token.
const Backdate = 5 * time.Minute

// IssuedBefore is how far they set back iat. It is less, since cutoffs count from iat.
const IssuedBefore = 5 * time.Second

// Config holds the settings of an issuer.
type Config struct {
	setting.Common
	publishDelay  time.Duration
	policy        Policy          // nil: everything is allowed
	renewalPolicy RenewalPolicy   // nil: policy decides about renewals too
	signers       signing.Signers // nil: there are none
	followed      Followed        // nil: each token reads the store
	maxLineage    time.Duration   // 0: nothing is renewed
	longTokens    bool            // those valid for longer than maxLineage are renewed too
}

// Option changes the settings of an issuer.
type Option func(*Config) error

// Defaults returns the settings without an option.
func Defaults() Config { return Config{Common: setting.Defaults()} }

// Policy decides whether a token is issued. An error denies it.
type Policy func(ctx context.Context, claims token.Claims, validFor time.Duration) error

// WithPolicy sets the policy that an issuer asks before it signs.
func WithPolicy(policy Policy) Option {
	return func(c *Config) error {
		if policy == nil {
			return errors.New("WithPolicy: the policy is nil")
		}
		if c.policy != nil {
			return errors.New("WithPolicy: given twice")
		}
		c.policy = policy
		return nil
	}
}

// WithPublishDelay sets how old a key must be before it signs.
func WithPublishDelay(delay time.Duration) Option {
	return func(c *Config) error {
		c.publishDelay = delay
		return checkPublishDelay(delay)
	}
}

// WithSigners gives an issuer the keys outside the store.
func WithSigners(signers signing.Signers) Option {
	return func(c *Config) error {
		if signers == nil {
			return errors.New("WithSigners: the function is nil")
		}
		if c.signers != nil {
			return errors.New("WithSigners: given twice")
		}
		c.signers = signers
		return nil
	}
}

// Followed knows a store without reading it, as a validator does.
type Followed interface {
	// Follows reports whether it follows all records of the family in a store.
	Follows(keystore.KeyStore) bool

	// Issuing returns what is known for the tokens of a scope, or false if the store
	// should be asked instead.
	Issuing(keystore.Scope) (replica.Issuing, bool)
}

// WithFollowed sets what an issuer asks before it reads the store.
func WithFollowed(followed Followed) Option {
	return func(c *Config) error {
		if c.followed != nil {
			return errors.New("WithValidator: given twice")
		}
		c.followed = followed
		return nil
	}
}

// InvalidOption returns an option that fails with err.
func InvalidOption(err error) Option { return func(*Config) error { return err } }

func checkPublishDelay(delay time.Duration) error {
	if delay < 0 {
		return fmt.Errorf("WithPublishDelay: %s is negative", delay)
	}
	return nil
}

// publishedBy returns the latest creation time of a key that may sign at now.
func publishedBy(now time.Time, delay time.Duration) time.Time {
	if delay == 0 {
		return time.Time{}
	}
	return now.Add(-delay)
}

// Issuer issues tokens of one family, with the newest key of a store or with
// one given key.
type Issuer struct {
	family *replica.Family
	config Config

	store   keystore.KeyStore
	mu      sync.Mutex
	keys    map[keystore.Scope]parsedKey // the keys that sign
	cutoffs map[revocation.CutoffsRef]parsedCutoffs
	swept   time.Time // when what was not used was last forgotten

	private *signing.PrivateKey // offline
	kid     string

	disabled bool
}

type parsedKey struct {
	record  keystore.Record // without its Data
	private *signing.PrivateKey
	used    time.Time
}

// parsedCutoffs are remembered, since a thousand take five times as long to parse as a
// signature.
type parsedCutoffs struct {
	record  keystore.Record // without its Data
	cutoffs *revocation.Cutoffs
	used    time.Time
}

// An issuer forgets a private key, and cutoffs, that it has not used for longUnused.
// Nothing tells it that a mesh was deleted, and to parse a key again takes a tenth of a
// signature.
const (
	longUnused    = 10 * time.Minute
	sweepInterval = time.Minute
)

// NewIssuer returns an issuer that signs with the newest key of a store. It reads the store
// for every token of which what is followed does not say enough.
func NewIssuer(family *replica.Family, store keystore.KeyStore, config Config) (*Issuer, error) {
	if store == nil {
		return nil, errors.New("NewIssuer: the store is nil (without a store, use NewOfflineIssuer)")
	}
	if config.followed != nil && !config.followed.Follows(store) {
		return nil, errors.New("NewIssuer: the validator of WithValidator does not follow the keys of this store")
	}
	return &Issuer{family: family, config: config, store: store,
		keys: make(map[keystore.Scope]parsedKey), cutoffs: make(map[revocation.CutoffsRef]parsedCutoffs)}, nil
}

// NewOfflineIssuer returns an issuer that signs with one key, under a kid that
// the operator chooses.
func NewOfflineIssuer(family *replica.Family, private *signing.PrivateKey, kid string, config Config) (*Issuer, error) {
	if private.Public() == nil {
		return nil, fmt.Errorf("NewOfflineIssuer: kid %.64q without a key: the signing key is nil", kid)
	}
	if kid == "" {
		return nil, errors.New("NewOfflineIssuer: a key without a kid: validators look the key up by its kid")
	}
	if err := token.CheckKeyID(kid); err != nil {
		return nil, err
	}
	if config.signers != nil {
		return nil, errors.New("NewOfflineIssuer: WithSigners is for NewIssuer; an offline issuer has one key")
	}
	if config.followed != nil {
		return nil, errors.New("NewOfflineIssuer: WithValidator is for NewIssuer; an offline issuer has one key")
	}
	return &Issuer{family: family, config: config, private: private, kid: kid}, nil
}

// NewDisabledIssuer returns an issuer that issues nothing.
func NewDisabledIssuer(family *replica.Family, config Config) *Issuer {
	return &Issuer{family: family, config: config, disabled: true}
}

// Issue returns a token with the claims, valid for validFor from now. Each call is
// an audit event.
func (i *Issuer) Issue(ctx context.Context, scope keystore.Scope, claims token.Claims, validFor time.Duration) (token.Issued, error) {
	event := EventAbout(audit.Issue, &claims)
	began := setting.Now()
	issued, err := i.issue(ctx, scope, claims, validFor)
	i.observe(observe.Issue, scope, issued, began, err)
	event.TokenID, event.KeyID, event.Expires, event.Err = issued.ID, issued.KeyID, issued.ExpiresAt, err
	audit.Log(ctx, i.config.Log, event)
	return issued, err
}

// EventAbout returns an event about a token with the claims.
func EventAbout(action audit.Action, claims *token.Claims) audit.Event {
	return audit.Event{
		Action:   action,
		Kind:     claims.Kind(),
		Mesh:     claims.Dataplane.Mesh,
		Name:     claims.Dataplane.Name,
		Type:     claims.Dataplane.Type,
		Workload: claims.Dataplane.Workload,
		Tags:     claims.Dataplane.Tags,
		Zone:     claims.Zone.Zone,
		Scope:    claims.Zone.Scope,
		TokenID:  claims.ID,
		Expires:  claims.ExpiresAt,
	}
}

// observe tells the observers what was issued or renewed, or why nothing was.
func (i *Issuer) observe(operation observe.Operation, scope keystore.Scope, issued token.Issued, began setting.Instant, err error) {
	if len(i.config.Observers) == 0 {
		return
	}
	o := observe.Outcome{
		Operation: operation,
		Kind:      i.family.Kind,
		KeyID:     issued.KeyID,
		Reason:    token.ReasonOf(err),
		Took:      began.Until(time.Now()),
	}
	if i.store != nil && (err == nil || operation == observe.Renew || errors.Is(err, signing.ErrKey) || errors.Is(err, signing.ErrNoSigner)) { // else only the request may have the mesh
		o.Mesh = string(scope)
	}
	switch {
	case errors.Is(err, signing.ErrNoKey):
		o.Reason = token.ReasonUnknownKey
	case o.Reason == token.ReasonOther: // all else that can fail is the key
		o.Reason = token.ReasonSigner
	}
	i.config.Observe(o)
}

func (i *Issuer) issue(ctx context.Context, scope keystore.Scope, claims token.Claims, validFor time.Duration) (token.Issued, error) {
	if i.disabled {
		return token.Issued{}, token.ErrIssuingDisabled
	}
	if err := i.checkValidFor(validFor); err != nil {
		return token.Issued{}, err
	}
	if _, ok := i.family.Keys(scope); !ok {
		return token.Issued{}, fmt.Errorf("%w: the mesh is missing", token.ErrNotIssuable)
	}
	if err := keystore.CheckScope(scope); err != nil {
		return token.Issued{}, fmt.Errorf("%w: %w", token.ErrNotIssuable, err)
	}
	if i.config.policy != nil {
		if err := i.config.policy(ctx, claims, validFor); err != nil {
			return token.Issued{}, fmt.Errorf("%w: %w", token.ErrDenied, err)
		}
	}
	private, kid, cutoffs, ok := i.followed(scope)
	if !ok {
		var err error
		if private, kid, _, err = i.signingKey(ctx, scope); err != nil {
			return token.Issued{}, err
		}
		if cutoffs, err = i.loadAllCutoffs(ctx, scope); err != nil {
			return token.Issued{}, fmt.Errorf("%w: %w", token.ErrUnavailable, err)
		}
	}
	now := i.config.Now().Truncate(time.Second).UTC()
	claims.Registered = token.Registered{
		ID:        newID(i.config.Now()),
		IssuedAt:  now.Add(-IssuedBefore),
		NotBefore: now.Add(-Backdate),
		ExpiresAt: now.Add(validFor),
	}
	if err := heedCutoffs(cutoffs, kid, &claims, now); err != nil {
		return token.Issued{}, err
	}
	return i.sign(ctx, scope, private, kid, claims)
}

func (i *Issuer) checkValidFor(validFor time.Duration) error {
	if validFor < time.Second {
		return fmt.Errorf("%w: it would be valid for %s, want at least 1s", token.ErrNotIssuable, validFor)
	}
	if limit := i.config.MaxLifetime; limit != 0 && validFor > limit {
		return fmt.Errorf("%w: it would be valid for %s, the maximum is %s", token.ErrNotIssuable, validFor, limit)
	}
	return nil
}

// sign returns the token with the claims, signed by the key.
func (i *Issuer) sign(ctx context.Context, scope keystore.Scope, private *signing.PrivateKey, kid string, claims token.Claims) (token.Issued, error) {
	raw, err := token.Encode(kid, claims, func(signingInput []byte) ([]byte, error) {
		signature, err := private.SignContext(ctx, signingInput)
		if err != nil {
			i.forget(scope) // a signer that failed is looked up again
		}
		return signature, err
	})
	if err != nil {
		return token.Issued{}, err
	}
	return token.Issued{Token: raw, ID: claims.ID, KeyID: kid, ExpiresAt: claims.ExpiresAt}, nil
}

// followed returns the key that signs now, and the cutoffs that concern its tokens, without
// reading the store. It returns false unless what is followed agrees with what was read
// last: either may be older than the other.
func (i *Issuer) followed(scope keystore.Scope) (key *signing.PrivateKey, kid string, cutoffs []*revocation.Cutoffs, ok bool) {
	if i.config.followed == nil {
		return nil, "", nil, false
	}
	now, ok := i.config.followed.Issuing(scope)
	if !ok {
		return nil, "", nil, false
	}
	record, serial, err := now.Keys.Signing(publishedBy(i.config.Now(), i.config.publishDelay))
	if err != nil {
		return nil, "", nil, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	known := i.keys[scope]
	if !record.Unchanged(known.record) {
		return nil, "", nil, false
	}
	for _, ref := range revocation.CutoffsOf(i.family.Kind, scope) {
		at := slices.IndexFunc(now.Cutoffs, func(r keystore.Record) bool { return r.Scope == ref.Scope })
		last, read := i.cutoffs[ref]
		if read != (at >= 0) || read && !now.Cutoffs[at].Unchanged(last.record) {
			return nil, "", nil, false
		}
		if read {
			cutoffs = append(cutoffs, last.cutoffs)
			last.used = time.Now()
			i.cutoffs[ref] = last
		}
	}
	i.remember(scope, known)
	return known.private, serial.KeyID(), cutoffs, true
}

// signingKey returns the key that signs now, and the keys of the store, if there is one. If
// the key cannot be read, signingKey returns an error: an older key must not sign in its
// place.
func (i *Issuer) signingKey(ctx context.Context, scope keystore.Scope) (*signing.PrivateKey, string, listing, error) {
	if i.store == nil {
		return i.private, i.kid, listing{}, nil
	}
	series, _ := i.family.Keys(scope)
	listed, err := listKeys(ctx, i.store, series)
	if err != nil {
		return nil, "", listing{}, fmt.Errorf("%w: reading the signing key: %w", token.ErrUnavailable, err)
	}
	record, serial, err := listed.signing(publishedBy(i.config.Now(), i.config.publishDelay))
	if err != nil {
		i.forget(scope) // the store has removed the key
		return nil, "", listing{}, err
	}
	kid := serial.KeyID()
	i.mu.Lock()
	known := i.keys[scope]
	i.mu.Unlock()
	if !record.Unchanged(known.record) {
		private, err := i.findSigningKey(ctx, series, serial, record)
		if err != nil {
			return nil, "", listing{}, err
		}
		known = parsedKey{record: record.WithoutData(), private: private}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.remember(scope, known)
	return known.private, kid, listed, nil
}

// remember remembers a key that signs, and forgets what was not used for long. The caller
// holds mu.
func (i *Issuer) remember(scope keystore.Scope, key parsedKey) {
	now := time.Now()
	key.used = now
	i.keys[scope] = key
	if now.Sub(i.swept) >= sweepInterval {
		i.swept = now
		maps.DeleteFunc(i.keys, func(_ keystore.Scope, key parsedKey) bool { return now.Sub(key.used) > longUnused })
		maps.DeleteFunc(i.cutoffs, func(_ revocation.CutoffsRef, c parsedCutoffs) bool { return now.Sub(c.used) > longUnused })
	}
}

func (i *Issuer) forget(scope keystore.Scope) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.keys, scope)
}

// findSigningKey returns the private key in a record or, if that is an external key, the
// one of the signers.
func (i *Issuer) findSigningKey(ctx context.Context, series signing.Series, serial signing.Serial, record keystore.Record) (*signing.PrivateKey, error) {
	halves, err := parseSigningKey(series, record)
	if err != nil || halves.private != nil {
		return halves.private, err
	}
	which := fmt.Sprintf("key %d, %s, record %q, which signs", serial, halves.public.Fingerprint(), record.Name)
	if i.config.signers == nil {
		return nil, fmt.Errorf("%w: %s, is in a KMS or HSM, and this issuer has no signers", signing.ErrNoSigner, which)
	}
	private, err := i.config.signers(ctx, halves.public)
	switch {
	case errors.Is(err, signing.ErrNoSigner):
		return nil, fmt.Errorf("%s, is in a KMS or HSM, and this issuer does not have it: %w", which, err)
	case err != nil:
		return nil, fmt.Errorf("%w: looking for the signer of %s: %w", token.ErrUnavailable, which, err)
	case private.Public() == nil:
		return nil, fmt.Errorf("%w: %s, is in a KMS or HSM, and this issuer does not have it", signing.ErrNoSigner, which)
	case !private.Public().Equal(halves.public):
		return nil, fmt.Errorf("%w: found the signer of %s, wanted that of %s", signing.ErrKey, private.Public().Fingerprint(), which)
	}
	return private, nil
}

// keyHalves is what a record of a key that signs holds: the private key or, if that is
// outside the store, its public half.
type keyHalves struct {
	private *signing.PrivateKey
	public  *signing.PublicKey
}

func parseSigningKey(series signing.Series, record keystore.Record) (keyHalves, error) {
	var halves keyHalves
	_, kind, err := series.ParseName(record.Name)
	switch {
	case err != nil:
	case kind == signing.ExternalRecord:
		halves.public, err = signing.ParsePublicKey(record.Data)
	default:
		halves.private, err = signing.ParsePrivateKey(record.Data)
	}
	if err != nil {
		return keyHalves{}, fmt.Errorf("the newest signing key, record %q, cannot sign: %w", record.Name, err)
	}
	return halves, nil
}

// heedCutoffs dates a token at the latest cutoff that concerns it, if that is later than
// its iat: the operator who made the cutoff wants new tokens to be good. It returns an
// error if the token would be revoked all the same.
func heedCutoffs(all []*revocation.Cutoffs, kid string, claims *token.Claims, now time.Time) error {
	for _, cutoffs := range all {
		if cutoff := cutoffs.Latest(kid, claims); cutoff.After(claims.IssuedAt) && !cutoff.After(now.Add(3*token.Skew)) {
			claims.IssuedAt = cutoff
		}
		if why := cutoffs.Check(kid, claims); why != "" {
			return fmt.Errorf("%w: it would be revoked at once: %s", token.ErrNotIssuable, why)
		}
	}
	return nil
}

// loadAllCutoffs returns the cutoffs that concern the tokens of a scope, if there is a store.
func (i *Issuer) loadAllCutoffs(ctx context.Context, scope keystore.Scope) (all []*revocation.Cutoffs, err error) {
	if i.store == nil {
		return nil, nil
	}
	for _, ref := range revocation.CutoffsOf(i.family.Kind, scope) {
		cutoffs, err := i.loadCutoffs(ctx, ref)
		if err != nil {
			return nil, err
		}
		all = append(all, cutoffs)
	}
	return all, nil
}

// loadCutoffs reads the cutoffs of a record, and parses them if they have changed.
func (i *Issuer) loadCutoffs(ctx context.Context, ref revocation.CutoffsRef) (*revocation.Cutoffs, error) {
	record, err := i.store.Get(ctx, ref.Scope, ref.Name)
	i.mu.Lock()
	known := i.cutoffs[ref]
	if errors.Is(err, keystore.ErrNotFound) {
		delete(i.cutoffs, ref)
		i.mu.Unlock()
		return nil, nil
	}
	i.mu.Unlock()
	if err == nil && !record.Unchanged(known.record) {
		known.record = record.WithoutData()
		known.cutoffs, err = revocation.ParseCutoffs(i.family.Kind, record.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("loading the cutoffs %.64q: %w", ref.Name, err)
	}
	known.used = time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cutoffs[ref] = known
	return known.cutoffs, nil
}

// newID returns a UUID of version 7 (RFC 9562, section 5.7), which tells when it was made.
func newID(now time.Time) string {
	var b [16]byte
	rand.Read(b[6:]) // never returns an error: crypto/rand ends the program instead
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMilli())<<16|uint64(b[6])<<8|uint64(b[7]))
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
