package signing

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Series identifies the keys of one kind in one scope and defines their record
// names. Two Series are equal (==) if they identify the same keys. The zero
// value is invalid: use [DataplaneKeys] or [ZoneKeys].
//
// A record name consists of the kind, the mesh and the serial. The name for
// serial 0 has no number:
//
//	dataplane-token-signing-key-{mesh}-{serial}            the private keys of a mesh
//	dataplane-token-signing-external-key-{mesh}-{serial}   the public halves of its keys in a KMS or HSM
//	dataplane-token-signing-public-key-{mesh}-{serial}     the public halves of both, on zones
//	zone-token-signing-key-{serial}                        the private keys of zones, in the global scope
//	zone-token-signing-external-key-{serial}               the public halves of their keys in a KMS or HSM
//	zone-token-signing-public-key-{serial}                 the public halves of both, on zones
type Series struct {
	kind token.Kind
	mesh string // empty for zone keys
}

// DataplaneKeys returns the series that signs the dataplane tokens of a mesh.
// The mesh must be a scope that [keystore.CheckScope] accepts. It must not be
// empty, which would be the global scope.
func DataplaneKeys(mesh string) Series { return Series{kind: token.KindDataplane, mesh: mesh} }

// RecordKind tells what a record of a series holds.
type RecordKind int

const (
	// PrivateRecord: a private key. It signs.
	PrivateRecord RecordKind = iota + 1

	// ExternalRecord: the public half of a key whose private half is outside the
	// store, in a KMS or HSM. It signs too, where an issuer has the signer.
	ExternalRecord

	// PublicRecord: a copy of the public half of a key that is in another store. It
	// only verifies.
	PublicRecord
)

// ZoneKeys returns the series that signs zone tokens.
func ZoneKeys() Series { return Series{kind: token.KindZone} }

// Kind returns the kind of the tokens that the series signs.
func (s Series) Kind() token.Kind { return s.kind }

// Scope returns the scope that holds the records: the mesh, or
// [keystore.Global] for zone keys.
func (s Series) Scope() keystore.Scope { return keystore.Scope(s.mesh) }

// Prefix returns the common prefix of all record names of the series. It also
// matches other records; the functions of this package ignore or report those.
func (s Series) Prefix() string { return string(s.kind) + afterKind }

const afterKind = "-token-signing-"

// KeyName returns the record name of a private key. The name of serial 0 is the
// prefix of all others.
func (s Series) KeyName(serial Serial) string { return s.recordName(PrivateRecord, serial) }

// ExternalKeyName returns the record name of a key in a KMS or HSM. The name of
// serial 0 is the prefix of all others.
func (s Series) ExternalKeyName(serial Serial) string { return s.recordName(ExternalRecord, serial) }

// PublicKeyName returns the record name of a public key. The name of serial 0 is
// the prefix of all others.
func (s Series) PublicKeyName(serial Serial) string { return s.recordName(PublicRecord, serial) }

// recordWords are the words for each kind in the names of records. None begins another.
var recordWords = [...]string{PrivateRecord: "key", ExternalRecord: "external-key", PublicRecord: "public-key"}

func (s Series) recordName(kind RecordKind, serial Serial) string {
	name := s.Prefix() + recordWords[kind]
	if s.kind == token.KindDataplane {
		name += "-" + s.mesh
	}
	if serial != 0 {
		name += "-" + serial.KeyID()
	}
	return name
}

// cutRecordName returns what follows in a name that begins as those of a kind of record. It
// makes no string: a validator may read 300,000 names.
func (s Series) cutRecordName(name string, kind RecordKind) (rest string, ok bool) {
	rest, ok = s.cutPrefix(name)
	if ok {
		rest, ok = strings.CutPrefix(rest, recordWords[kind])
	}
	if ok && s.kind == token.KindDataplane {
		if rest, ok = strings.CutPrefix(rest, "-"); ok {
			rest, ok = strings.CutPrefix(rest, s.mesh)
		}
	}
	return rest, ok
}

// cutPrefix returns a name without the Prefix of the series.
func (s Series) cutPrefix(name string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(name, string(s.kind)); ok {
		rest, ok = strings.CutPrefix(rest, afterKind)
	}
	return rest, ok
}

// ParseName returns the serial in the name of a record in the series' scope, and
// what the record holds. The error matches [ErrNotKey] if the name does not
// start with [Series.Prefix]: the record is not a signing key, which is no fault.
// It matches [ErrKey] if the name has the prefix but is for another mesh or does
// not end in a canonical serial. Such a record is not used; tell an operator.
func (s Series) ParseName(name string) (Serial, RecordKind, error) {
	if _, ok := s.cutPrefix(name); !ok {
		return 0, 0, fmt.Errorf("%w: %s", ErrNotKey, quoteName(name))
	}
	for kind := PrivateRecord; kind <= PublicRecord; kind++ {
		number, ok := s.cutRecordName(name, kind)
		if !ok {
			continue
		}
		if number == "" {
			return 0, kind, nil
		}
		if kid, dashed := strings.CutPrefix(number, "-"); dashed {
			// Serial 0 has only the name without a number.
			if serial, ok := ParseSerial(kid); ok && serial != 0 {
				return serial, kind, nil
			}
		}
	}
	return 0, 0, unusable("a key record named "+quoteName(name)+" in "+describeScope(s.Scope()),
		fmt.Sprintf("%q, %q or %q, alone or with a dash and a serial of at least 1", s.KeyName(0), s.ExternalKeyName(0), s.PublicKeyName(0)))
}

// Signing returns the record of the key that signs, which is a [PrivateRecord] or an
// [ExternalRecord]: among the keys that were created at or before createdBy, the one with
// the highest serial. If all keys are newer, it is the one with the lowest serial. So
// every validator knows a key before it signs. A zero createdBy accepts keys of any age.
//
// records and unreadable are what a list of the store returned. If the key that signs
// is among the unreadable ones, which count as old, the error matches [ErrKey] and says
// why it cannot be read. Signing does not parse the key: if it is corrupt, the caller
// must fail rather than sign with an older key. Other records are ignored;
// [Series.PublicSet] reports them. The error matches [ErrNoKey] if there is no key that
// signs.
func (s Series) Signing(records []keystore.Record, unreadable []*keystore.Error, createdBy time.Time) (keystore.Record, Serial, error) {
	type candidate struct {
		record keystore.Record
		kind   RecordKind
		old    bool  // created at or before createdBy
		err    error // why it cannot be read
	}
	keys := make(map[Serial]candidate)
	consider := func(record keystore.Record, old bool, err error) {
		if record.Scope != s.Scope() {
			return
		}
		serial, kind, notKey := s.ParseName(record.Name)
		if notKey != nil || kind == PublicRecord {
			return
		}
		if other, ok := keys[serial]; !ok || kind < other.kind { // validators use the private key too
			keys[serial] = candidate{record, kind, old, err}
		}
	}
	for _, record := range records {
		consider(record, createdBy.IsZero() || !record.Created.After(createdBy), nil)
	}
	for _, err := range unreadable {
		consider(keystore.Record{Scope: err.Scope, Name: err.Name}, true, unreadableKey(err))
	}
	var signs candidate
	chosen := Serial(-1)
	for serial, key := range keys {
		if chosen < 0 || key.old && (!signs.old || serial > chosen) || !key.old && !signs.old && serial < chosen {
			signs, chosen = key, serial
		}
	}
	switch {
	case chosen < 0:
		return keystore.Record{}, 0, fmt.Errorf("%w: %s has no record named %q (EnsureKey creates the first one)",
			ErrNoKey, describeScope(s.Scope()), s.KeyName(0)+"-{serial}")
	case signs.err != nil:
		return keystore.Record{}, chosen, fmt.Errorf("the key that signs: %w", signs.err)
	}
	return signs.record, chosen, nil
}

// unreadableKey returns the error of a key whose record the store cannot read.
func unreadableKey(err *keystore.Error) error { return fmt.Errorf("%w: %w", ErrKey, err) }

func describeScope(scope keystore.Scope) string {
	if scope == keystore.Global {
		return "the global scope"
	}
	return fmt.Sprintf("mesh %.64q", scope)
}

// quoteName quotes a record name of up to 256 characters: its end matters.
func quoteName(name string) string { return fmt.Sprintf("%.256q", name) }
