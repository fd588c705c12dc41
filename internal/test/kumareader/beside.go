package kumareader

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// Shared is an engine that a store of this module and a Kuma share. It has no records of
// tokens yet.
type Shared struct {
	Store keystore.KeyStore

	// Read returns the records as the engine holds them, not through the store.
	Read func(context.Context) (Secrets, error)

	// Write creates or replaces a record as Kuma writes it, not through the store.
	Write func(context.Context, Secret) error

	Flat bool // a name exists once, not once in each scope
}

// The meshes of the test. An engine on which a Secret needs its Mesh has them before.
const (
	madeHere      = "made-here"
	madeByKuma    = "made-by-kuma"
	revokedHere   = "revoked-here"
	revokedInKuma = "revoked-in-kuma"
	emptied       = "emptied"
	ofTheMesh     = "of-the-mesh"
)

// Meshes returns the names of the meshes that [Beside] uses.
func Meshes() []string {
	return []string{madeHere, madeByKuma, revokedHere, revokedInKuma, emptied, ofTheMesh}
}

const patience = 30 * time.Second // for what must come within a second

// Beside tests that this module and a Kuma that share an engine read what the other one
// writes: keys, revocation lists, and the tokens that come of them.
func Beside(t *testing.T, shared Shared) {
	ctx := audit.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
	b := &beside{Shared: shared, t: t, ctx: ctx, log: slog.New(slog.DiscardHandler)}
	dataplanes, err := dataplane.NewValidator(b.Store, dataplane.WithLogger(b.log))
	b.must(err)
	defer dataplanes.Close()
	zones, err := zone.NewValidator(b.Store, zone.WithLogger(b.log))
	b.must(err)
	defer zones.Close()
	b.dataplanes, b.zones = dataplanes, zones

	b.run("Kuma signs and validates with the keys that are made here", (*beside).ourKeys)
	b.run("keys that Kuma makes are used here", (*beside).kumasKeys)
	b.run("Kuma in a zone validates with the public keys that are written here", (*beside).publicKeys)
	b.run("what is revoked here is revoked in Kuma once the global list is made", (*beside).ourRevocations)
	b.run("what is revoked in Kuma's list is revoked here, and both go on writing it", (*beside).kumasRevocations)
	b.run("zone tokens are revoked in both by the one list", (*beside).zoneRevocations)
	b.run("Kuma understands a list without ids", (*beside).emptyLists)
	if b.Flat {
		b.run("the list that exists is used, and a second one is refused", (*beside).oneList)
	} else {
		b.run("Kuma does not read the list of the mesh", (*beside).meshList)
	}
}

// beside is a shared engine in the course of a test.
type beside struct {
	Shared
	t          *testing.T
	ctx        context.Context
	log        *slog.Logger
	dataplanes dataplane.Validator
	zones      zone.Validator
}

// run runs a part of the test.
func (b beside) run(name string, part func(*beside)) {
	b.t.Run(name, func(t *testing.T) {
		b.t = t
		part(&b)
	})
}

func (b *beside) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// wants fails unless an error matches; nil matches nil.
func (b *beside) wants(what string, err, want error) {
	b.t.Helper()
	if !errors.Is(err, want) || err != nil && want == nil {
		b.t.Errorf("%s: error is %v, want %v", what, err, want)
	}
}

// soon waits until the validators, which follow the store, know what was written.
func (b *beside) soon(what string, check func() error, want error) {
	b.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = check(); errors.Is(err, want) && (err == nil) == (want == nil) {
			return
		}
	}
	b.t.Errorf("%s: error is %v, want %v", what, err, want)
}

func (b *beside) secrets() Secrets {
	b.t.Helper()
	secrets, err := b.Read(b.ctx)
	b.must(err)
	return secrets
}

// mesh makes a mesh with a first key, of a name that every engine takes.
func (b *beside) mesh(name string) Kind {
	b.t.Helper()
	b.key(signing.DataplaneKeys(name), 1)
	return Dataplane(name)
}

// key writes a key of the test process through the store, since making one takes long.
func (b *beside) key(of signing.Series, serial signing.Serial) {
	b.t.Helper()
	private, err := signing.NewPrivateKey(forge.Key())
	b.must(err)
	data, err := private.PEM()
	b.must(err)
	_, err = b.Store.Create(b.ctx, keystore.Record{Scope: of.Scope(), Name: of.KeyName(serial), Data: data})
	b.must(err)
}

// issue returns a token that is issued here, and its id.
func (b *beside) issue(mesh string) (raw, id string) {
	b.t.Helper()
	issuer, err := dataplane.NewIssuer(b.Store, dataplane.WithLogger(b.log))
	b.must(err)
	issued, err := issuer.Issue(b.ctx, token.Dataplane{Mesh: mesh, Name: "dp-1"}, time.Hour)
	b.must(err)
	return issued.Token, issued.ID
}

func (b *beside) issueZone() (raw, id string) {
	b.t.Helper()
	issuer, err := zone.NewIssuer(b.Store, zone.WithLogger(b.log))
	b.must(err)
	issued, err := issuer.Issue(b.ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	b.must(err)
	return issued.Token, issued.ID
}

// renew renews a dataplane token.
func (b *beside) renew(mesh, raw string) string {
	b.t.Helper()
	issuer, err := dataplane.NewIssuer(b.Store, dataplane.WithLogger(b.log), dataplane.WithMaxLineage(24*time.Hour), dataplane.WithMaxLifetime(2*time.Hour))
	b.must(err)
	b.soon("here, of a token to renew", b.here(Dataplane(mesh), raw), nil)
	verified, err := b.dataplanes.Validate(b.ctx, mesh, raw)
	b.must(err)
	renewed, err := issuer.Renew(b.ctx, verified, 2*time.Hour)
	b.must(err)
	return renewed.Token
}

// renewZone renews a zone token.
func (b *beside) renewZone(raw string) string {
	b.t.Helper()
	issuer, err := zone.NewIssuer(b.Store, zone.WithLogger(b.log), zone.WithMaxLineage(24*time.Hour), zone.WithMaxLifetime(2*time.Hour))
	b.must(err)
	b.soon("here, of a zone token to renew", b.here(Zone(), raw), nil)
	verified, err := b.zones.Validate(b.ctx, "west", zone.ScopeCP, raw)
	b.must(err)
	renewed, err := issuer.Renew(b.ctx, verified, 2*time.Hour)
	b.must(err)
	return renewed.Token
}

// issueInKuma returns a token that Kuma issues.
func (b *beside) issueInKuma(of Kind, id string) string {
	b.t.Helper()
	now := time.Now().Unix()
	claims := fmt.Sprintf(`{"Name":"dp-1","Mesh":%q,"Tags":{},"Type":"","Workload":"","exp":%d,"nbf":%d,"iat":%d,"jti":%q}`, of.mesh, now+3600, now-300, now-5, id)
	if of.mesh == "" {
		claims = fmt.Sprintf(`{"Zone":"west","Scope":["cp"],"exp":%d,"nbf":%d,"iat":%d,"jti":%q}`, now+3600, now-300, now-5, id)
	}
	raw, err := b.secrets().Sign(of, claims)
	b.must(err)
	return raw
}

// here validates a token here.
func (b *beside) here(of Kind, raw string) func() error {
	return func() error {
		var err error
		if of.mesh == "" {
			_, err = b.zones.Validate(b.ctx, "west", zone.ScopeCP, raw)
		} else {
			_, err = b.dataplanes.Validate(b.ctx, of.mesh, raw)
		}
		return err
	}
}

func (b *beside) write(mesh, name, data string) {
	b.t.Helper()
	b.must(b.Write(b.ctx, Secret{mesh, name, []byte(data)}))
}

func (b *beside) ourKeys() {
	of := Dataplane(madeHere)
	_, err := dataplane.EnsureKey(b.ctx, b.Store, madeHere)
	b.must(err)
	for _, next := range []*rsa.PrivateKey{forge.Key(), nil} {
		raw, _ := b.issue(madeHere)
		b.wants("Kuma, of a token from here", b.secrets().Validate(of, raw), nil)
		b.soon("here, of a token from Kuma", b.here(of, b.issueInKuma(of, "by-kuma")), nil)
		if next == nil {
			break
		}
		private, err := signing.NewPrivateKey(next)
		b.must(err)
		_, err = dataplane.AddKey(b.ctx, b.Store, madeHere, private)
		b.must(err)
	}
	raw := b.issueInKuma(of, "by-kuma")
	if kid := kidOf(b, raw); kid != "2" {
		b.t.Errorf("Kuma signs with kid %s, want the latest key, 2", kid)
	}
}

func (b *beside) kumasKeys() {
	of := Dataplane(madeByKuma)
	der := x509.MarshalPKCS1PrivateKey(forge.Key())
	b.write(madeByKuma, dataplaneKeys+madeByKuma+"-1", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})))
	b.write(madeByKuma, dataplaneKeys+madeByKuma+"-2", string(x509.MarshalPKCS1PrivateKey(forge.OtherKey())))
	kuma := b.issueInKuma(of, "by-kuma")
	b.soon("here, of a token from Kuma", b.here(of, kuma), nil)
	ours, _ := b.issue(madeByKuma)
	if kid := kidOf(b, ours); kid != "2" || kidOf(b, kuma) != kid {
		b.t.Errorf("kid is %s here and %s in Kuma, want 2", kid, kidOf(b, kuma))
	}
	b.wants("Kuma, of a token from here", b.secrets().Validate(of, ours), nil)
}

func (b *beside) publicKeys() {
	b.key(signing.ZoneKeys(), 1)
	private, err := signing.NewPrivateKey(forge.Key())
	b.must(err)
	_, err = b.Store.Create(b.ctx, keystore.Record{Scope: keystore.Global, Name: signing.ZoneKeys().PublicKeyName(1), Data: private.Public().PEM()})
	b.must(err)
	raw, _ := b.issueZone()
	b.wants("Kuma in a zone", b.secrets().ValidateInZone(raw), nil)
	b.wants("Kuma that issues", b.secrets().Validate(Zone(), raw), nil)
	b.soon("here, of a token from Kuma", b.here(Zone(), b.issueInKuma(Zone(), "zone-by-kuma")), nil)
}

func (b *beside) ourRevocations() {
	of := b.mesh(revokedHere)
	before, idBefore := b.issue(revokedHere)
	later, idLater := b.issue(revokedHere)
	if b.Flat { // where the list of the mesh would take the name
		b.must(revocation.MakeDataplaneGlobal(b.ctx, b.Store, revokedHere))
	}
	b.must(dataplane.Revoke(b.ctx, b.Store, revokedHere, idBefore))
	b.must(revocation.MakeDataplaneGlobal(b.ctx, b.Store, revokedHere))
	b.wants("Kuma, of an id from before the global list", b.secrets().Validate(of, before), ErrRevoked)
	b.wants("Kuma, of another id", b.secrets().Validate(of, later), nil)
	renewed := b.renew(revokedHere, later)
	b.wants("Kuma, of a renewed token", b.secrets().Validate(of, renewed), nil)
	b.must(dataplane.Revoke(b.ctx, b.Store, revokedHere, idLater))
	b.wants("Kuma, of a later id", b.secrets().Validate(of, later), ErrRevoked)
	b.wants("Kuma, of a renewed token of that id", b.secrets().Validate(of, renewed), ErrRevoked)
	b.soon("here, of the later id", b.here(of, later), token.ErrRevoked)
	b.must(dataplane.Restore(b.ctx, b.Store, revokedHere, idBefore))
	b.wants("Kuma, of a restored id", b.secrets().Validate(of, before), nil)
	b.wants("Kuma, of the other one", b.secrets().Validate(of, later), ErrRevoked)
}

func (b *beside) kumasRevocations() {
	of := b.mesh(revokedInKuma)
	kuma, ours := b.issueInKuma(of, "kuma-1"), b.issueInKuma(of, "kuma-2")
	b.write("", dataplaneRevocations+revokedInKuma, "kuma-0,kuma-1\n")
	b.soon("here, of an id that Kuma revokes", b.here(of, kuma), token.ErrRevoked)
	b.must(dataplane.Revoke(b.ctx, b.Store, revokedInKuma, "kuma-2"))
	for _, raw := range []string{kuma, ours} {
		b.wants("Kuma, after a revocation from here", b.secrets().Validate(of, raw), ErrRevoked)
		b.soon("here, after a revocation from here", b.here(of, raw), token.ErrRevoked)
	}
	b.write("", dataplaneRevocations+revokedInKuma, "kuma-2")
	b.soon("here, of an id that Kuma restores", b.here(of, kuma), nil)

	b.write("", dataplaneRevocations+revokedInKuma, "kuma-0, kuma-1\r\nkuma-2") // by hand
	b.wants("Kuma, of a list with blanks", b.secrets().Validate(of, kuma), nil)
	b.must(dataplane.Revoke(b.ctx, b.Store, revokedInKuma, "kuma-3"))
	b.wants("Kuma, of a list that was written anew here", b.secrets().Validate(of, kuma), ErrRevoked)
}

func (b *beside) zoneRevocations() {
	raw, id := b.issueZone()
	renewed := b.renewZone(raw)
	b.wants("Kuma, of a renewed token", b.secrets().Validate(Zone(), renewed), nil)
	b.must(zone.Revoke(b.ctx, b.Store, id))
	for _, raw := range []string{raw, renewed} {
		b.wants("Kuma", b.secrets().Validate(Zone(), raw), ErrRevoked)
	}
	b.wants("Kuma in a zone", b.secrets().ValidateInZone(raw), ErrRevoked)
	kuma := b.issueInKuma(Zone(), "zone-kuma")
	b.write("", zoneRevocations, id+",zone-kuma\n")
	b.soon("here, of an id that Kuma revokes", b.here(Zone(), kuma), token.ErrRevoked)
	b.must(zone.Restore(b.ctx, b.Store, id))
	b.wants("Kuma, of a restored id", b.secrets().Validate(Zone(), raw), nil)
	b.wants("Kuma, of its own id", b.secrets().Validate(Zone(), kuma), ErrRevoked)
}

func (b *beside) emptyLists() {
	of := b.mesh(emptied)
	raw, id := b.issue(emptied)
	b.must(revocation.MakeDataplaneGlobal(b.ctx, b.Store, emptied))
	b.wants("Kuma, of a new list", b.secrets().Validate(of, raw), nil)
	b.must(dataplane.Revoke(b.ctx, b.Store, emptied, id))
	b.wants("Kuma", b.secrets().Validate(of, raw), ErrRevoked)
	b.must(dataplane.Restore(b.ctx, b.Store, emptied, id))
	b.wants("Kuma, of an emptied list", b.secrets().Validate(of, raw), nil)
	b.soon("here, of an emptied list", b.here(of, raw), nil)
	if data := b.secrets().get("", of.revocations); len(data) > 0 && string(data) != "," {
		b.t.Errorf("the emptied list holds %q", data)
	}
}

func (b *beside) meshList() {
	of := b.mesh(ofTheMesh)
	raw, id := b.issue(ofTheMesh)
	b.must(dataplane.Revoke(b.ctx, b.Store, ofTheMesh, id))
	b.soon("here", b.here(of, raw), token.ErrRevoked)
	b.wants("Kuma", b.secrets().Validate(of, raw), nil)
}

func (b *beside) oneList() {
	of := b.mesh(ofTheMesh)
	raw, id := b.issue(ofTheMesh)
	b.must(dataplane.Revoke(b.ctx, b.Store, ofTheMesh, id))
	b.wants("making the global list", revocation.MakeDataplaneGlobal(b.ctx, b.Store, ofTheMesh), keystore.ErrNameTaken)
	lists, err := revocation.LoadDataplaneLists(b.ctx, b.Store, ofTheMesh)
	b.must(err)
	if len(lists) != 1 || lists[0].Ref != revocation.Dataplane(ofTheMesh) {
		b.t.Errorf("lists are %v, want that of the mesh", lists)
	}
	b.wants("Kuma, of the list that it does not read", b.secrets().Validate(of, raw), nil)

	lists, err = revocation.LoadDataplaneLists(b.ctx, b.Store, revokedHere)
	b.must(err)
	if len(lists) != 1 || lists[0].Ref != revocation.DataplaneGlobal(revokedHere) {
		b.t.Errorf("lists are %v, want the global one", lists)
	}
}

func kidOf(b *beside, raw string) string {
	b.t.Helper()
	unverified, err := token.ParseUnverified(raw)
	b.must(err)
	header, err := unverified.Header()
	b.must(err)
	return header.KeyID
}
