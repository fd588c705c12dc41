package live

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// backdate is how far nbf and iat are set back, so that a verifier whose clock
// is behind accepts the token.
const backdate = 5 * time.Minute

// Issuer issues tokens of one family, with the newest key of a store or with
// one given key.
type Issuer struct {
	family *Family
	config issuerConfig

	store keystore.KeyStore
	mu    sync.Mutex
	keys  map[keystore.Scope]parsedKey // of the key that signs

	private *signing.PrivateKey // offline
	kid     string

	disabled bool
}

type parsedKey struct {
	version string
	created time.Time
	kid     string
	private *signing.PrivateKey
}

// NewIssuer returns an issuer that signs with the newest key of a store, which
// it reads for every token.
func NewIssuer(family *Family, store keystore.KeyStore, options []IssuerOption) (*Issuer, error) {
	if store == nil {
		return nil, errors.New("NewIssuer: the store is nil (without a store, use NewOfflineIssuer)")
	}
	i, err := newIssuer(family, options)
	if err != nil {
		return nil, err
	}
	i.store, i.keys = store, make(map[keystore.Scope]parsedKey)
	return i, nil
}

// NewOfflineIssuer returns an issuer that signs with one key, under a kid that
// the operator chooses.
func NewOfflineIssuer(family *Family, private *signing.PrivateKey, kid string, options []IssuerOption) (*Issuer, error) {
	if private.Public() == nil {
		return nil, fmt.Errorf("NewOfflineIssuer: kid %.64q without a key: the signing key is nil", kid)
	}
	if kid == "" {
		return nil, errors.New("NewOfflineIssuer: a key without a kid: the kid is empty, and validators look the key up by it")
	}
	if err := token.CheckKeyID(kid); err != nil {
		return nil, err
	}
	i, err := newIssuer(family, options)
	if err != nil {
		return nil, err
	}
	i.private, i.kid = private, kid
	return i, nil
}

// NewDisabledIssuer returns an issuer that issues nothing.
func NewDisabledIssuer(family *Family, options []IssuerOption) (*Issuer, error) {
	i, err := newIssuer(family, options)
	if err != nil {
		return nil, err
	}
	i.disabled = true
	return i, nil
}

func newIssuer(family *Family, options []IssuerOption) (*Issuer, error) {
	config := issuerConfig{common: defaults()}
	for _, o := range options {
		if o == nil {
			return nil, errors.New("an option is nil")
		}
		if err := o.applyIssuer(&config); err != nil {
			return nil, err
		}
	}
	return &Issuer{family: family, config: config}, nil
}

// Issue returns a token with the claims, valid for validFor from now. Whatever it
// decides is an audit event.
func (i *Issuer) Issue(ctx context.Context, scope keystore.Scope, claims token.Claims, validFor time.Duration) (token.Issued, error) {
	event := audit.Event{
		Action:   audit.Issue,
		Kind:     i.family.Kind,
		Mesh:     claims.Dataplane.Mesh,
		Name:     claims.Dataplane.Name,
		Type:     claims.Dataplane.Type,
		Workload: claims.Dataplane.Workload,
		Tags:     claims.Dataplane.Tags,
		Zone:     claims.Zone.Zone,
		Scope:    claims.Zone.Scope,
	}
	issued, err := i.issue(ctx, scope, claims, validFor)
	event.TokenID, event.KeyID, event.Expires, event.Err = issued.ID, issued.KeyID, issued.ExpiresAt, err
	audit.Log(ctx, i.config.log, event)
	return issued, err
}

func (i *Issuer) issue(ctx context.Context, scope keystore.Scope, claims token.Claims, validFor time.Duration) (token.Issued, error) {
	if i.disabled {
		return token.Issued{}, token.ErrIssuingDisabled
	}
	if validFor < time.Second {
		return token.Issued{}, fmt.Errorf("%w: it would be valid for %s, want at least 1s", token.ErrNotIssuable, validFor)
	}
	if limit := i.config.maxLifetime; limit != 0 && validFor > limit {
		return token.Issued{}, fmt.Errorf("%w: it would be valid for %s, the maximum is %s", token.ErrNotIssuable, validFor, limit)
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
	now := i.config.now().Truncate(time.Second).UTC()
	claims.Registered = token.Registered{
		ID:        newID(),
		IssuedAt:  now.Add(-backdate),
		NotBefore: now.Add(-backdate),
		ExpiresAt: now.Add(validFor),
	}
	private, kid, err := i.signingKey(ctx, scope)
	if err != nil {
		return token.Issued{}, err
	}
	raw, err := token.Encode(kid, claims, private.Sign)
	if err != nil {
		return token.Issued{}, err
	}
	return token.Issued{Token: raw, ID: claims.ID, KeyID: kid, ExpiresAt: claims.ExpiresAt}, nil
}

// signingKey returns the key that signs now. If it cannot be read, that is an
// error: an older key must not sign in its place.
func (i *Issuer) signingKey(ctx context.Context, scope keystore.Scope) (*signing.PrivateKey, string, error) {
	if i.store == nil {
		return i.private, i.kid, nil
	}
	series, _ := i.family.Keys(scope)
	records, err := i.store.List(ctx, scope, series.KeyName(0))
	if err != nil {
		return nil, "", fmt.Errorf("%w: reading the signing key: %w", token.ErrUnavailable, err)
	}
	record, serial, err := i.choose(series, records)
	if err != nil {
		i.mu.Lock()
		delete(i.keys, scope) // keep no private key that the store no longer has
		i.mu.Unlock()
		return nil, "", err
	}
	i.mu.Lock()
	known := i.keys[scope]
	i.mu.Unlock()
	if kid := serial.KeyID(); known.kid == kid && record.Version != "" && known.version == record.Version && known.created.Equal(record.Created) {
		return known.private, kid, nil
	}
	private, err := signing.ParsePrivateKey(record.Data)
	if err != nil {
		return nil, "", fmt.Errorf("the newest signing key, record %q, cannot sign: %w", record.Name, err)
	}
	known = parsedKey{version: record.Version, created: record.Created, kid: serial.KeyID(), private: private}
	i.mu.Lock()
	i.keys[scope] = known
	i.mu.Unlock()
	return known.private, known.kid, nil
}

// choose returns the record of the key that signs: the newest one older than
// the publish delay, or else the oldest one.
func (i *Issuer) choose(series signing.Series, records []keystore.Record) (keystore.Record, signing.Serial, error) {
	published := i.config.now().Add(-i.config.publishDelay)
	record, serial, err := series.Latest(records)
	for err == nil && i.config.publishDelay > 0 && record.Created.After(published) {
		records = slices.DeleteFunc(records, func(r keystore.Record) bool { return r.Name == record.Name })
		older, olderSerial, none := series.Latest(records)
		if none != nil {
			break
		}
		record, serial = older, olderSerial
	}
	return record, serial, err
}

// newID returns a random UUID (RFC 9562, section 5.4).
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never returns an error: crypto/rand ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
