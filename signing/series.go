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
//	dataplane-token-signing-key-{mesh}-{serial}          the private keys of a mesh
//	dataplane-token-signing-public-key-{mesh}-{serial}   their public halves, on zones
//	zone-token-signing-key-{serial}                      the private keys of zones, in the global scope
//	zone-token-signing-public-key-{serial}               their public halves, on zones
type Series struct {
	kind token.Kind
	mesh string // empty for zone keys
}

// DataplaneKeys returns the series that signs the dataplane tokens of a mesh.
// The mesh must be a scope that [keystore.CheckScope] accepts. It must not be
// empty, which would be the global scope.
func DataplaneKeys(mesh string) Series { return Series{kind: token.KindDataplane, mesh: mesh} }

// ZoneKeys returns the series that signs zone tokens.
func ZoneKeys() Series { return Series{kind: token.KindZone} }

// Kind returns the kind of the tokens that the series signs.
func (s Series) Kind() token.Kind { return s.kind }

// Scope returns the scope that holds the records: the mesh, or
// [keystore.Global] for zone keys.
func (s Series) Scope() keystore.Scope { return keystore.Scope(s.mesh) }

// Prefix returns the common prefix of all record names of the series, private
// and public. To list only the private keys, use [Series.KeyName] of 0 as the
// prefix. Both prefixes also match other records; the functions of this package
// ignore or report those.
func (s Series) Prefix() string { return string(s.kind) + "-token-signing-" }

// KeyName returns the record name of a private key. The name of serial 0 is the
// prefix of all others.
func (s Series) KeyName(serial Serial) string { return s.name("key", serial) }

// PublicKeyName returns the record name of a public key. The name of serial 0 is
// the prefix of all others.
func (s Series) PublicKeyName(serial Serial) string { return s.name("public-key", serial) }

func (s Series) name(half string, serial Serial) string {
	name := s.Prefix() + half
	if s.kind == token.KindDataplane {
		name += "-" + s.mesh
	}
	if serial != 0 {
		name += "-" + serial.KeyID()
	}
	return name
}

// ParseName returns the serial in the name of a record in the series' scope, and
// whether the key is public. The error matches [ErrNotKey] if the name does not
// start with [Series.Prefix]: the record is not a signing key, which is no fault.
// It matches [ErrKey] if the name has the prefix but is for another mesh or does
// not end in a canonical serial. Such a record is not used; tell an operator.
func (s Series) ParseName(name string) (serial Serial, public bool, err error) {
	if !strings.HasPrefix(name, s.Prefix()) {
		return 0, false, fmt.Errorf("%w: %s", ErrNotKey, quoteName(name))
	}
	// Neither of the two names is a prefix of the other.
	number, ok := strings.CutPrefix(name, s.KeyName(0))
	if !ok {
		number, public = strings.CutPrefix(name, s.PublicKeyName(0))
		ok = public
	}
	if ok && number == "" {
		return 0, public, nil
	}
	if kid, dashed := strings.CutPrefix(number, "-"); ok && dashed {
		// Serial 0 has only the name without a number.
		if serial, ok := ParseSerial(kid); ok && serial != 0 {
			return serial, public, nil
		}
	}
	return 0, false, unusable("a key record named "+quoteName(name)+" in "+describeScope(s.Scope()),
		fmt.Sprintf("%q or %q, alone or with a dash and a serial of at least 1", s.KeyName(0), s.PublicKeyName(0)))
}

// Signing returns the record of the private key that signs: among the keys that
// were created at or before createdBy, the one with the highest serial. If all keys
// are newer, it is the one with the lowest serial. So every validator knows a key
// before it signs. A zero createdBy accepts keys of any age.
//
// records and unreadable are what a list of the store returned. If the key that signs
// is among the unreadable ones, which count as old, the error matches [ErrKey] and says
// why it cannot be read. Signing does not parse the key: if it is corrupt, the caller
// must fail rather than sign with an older key. Other records are ignored;
// [Series.PublicSet] reports them. The error matches [ErrNoKey] if there is no private
// key.
func (s Series) Signing(records []keystore.Record, unreadable []*keystore.Error, createdBy time.Time) (keystore.Record, Serial, error) {
	var signing keystore.Record
	var reason error                 // why signing cannot be read
	chosen, old := Serial(-1), false // old: created at or before createdBy
	consider := func(record keystore.Record, isOld bool, err error) {
		if record.Scope != s.Scope() {
			return
		}
		serial, public, notKey := s.ParseName(record.Name)
		if notKey != nil || public {
			return
		}
		if chosen < 0 || isOld && (!old || serial > chosen) || !isOld && !old && serial < chosen {
			signing, reason, chosen, old = record, err, serial, isOld
		}
	}
	for _, record := range records {
		consider(record, createdBy.IsZero() || !record.Created.After(createdBy), nil)
	}
	for _, err := range unreadable {
		consider(keystore.Record{Scope: err.Scope, Name: err.Name}, true, unreadableKey(err))
	}
	switch {
	case chosen < 0:
		return keystore.Record{}, 0, fmt.Errorf("%w: %s has no record named %q (EnsureKey creates the first one)",
			ErrNoKey, describeScope(s.Scope()), s.KeyName(0)+"-{serial}")
	case reason != nil:
		return keystore.Record{}, chosen, fmt.Errorf("the key that signs: %w", reason)
	}
	return signing, chosen, nil
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
