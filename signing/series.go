package signing

import (
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Series is the keys of one kind in one scope, and knows their record names. Two
// Series are equal (==) if they are the same keys. The zero value is no series:
// use [DataplaneKeys] or [ZoneKeys].
//
// A record is named after its kind, its mesh and its serial; the key with serial
// 0 has the name that ends without a number:
//
//	dataplane-token-signing-key-{mesh}-{serial}          the private keys of a mesh
//	dataplane-token-signing-public-key-{mesh}-{serial}   their public halves, on zones
//	zone-token-signing-key-{serial}                      the private keys of zones, in the global scope
//	zone-token-signing-public-key-{serial}               their public halves, on zones
type Series struct {
	kind token.Kind
	mesh string // empty for zone keys
}

// DataplaneKeys returns the keys that sign the dataplane tokens of a mesh. The
// mesh must be a scope that [keystore.CheckScope] accepts, and not empty: an
// empty one would be the global scope.
func DataplaneKeys(mesh string) Series { return Series{kind: token.KindDataplane, mesh: mesh} }

// ZoneKeys returns the keys that sign zone tokens.
func ZoneKeys() Series { return Series{kind: token.KindZone} }

// Scope returns the scope that holds the records: the mesh, or [keystore.Global]
// for zone keys.
func (s Series) Scope() keystore.Scope { return keystore.Scope(s.mesh) }

// Prefix returns what the names of all records of the series begin with, private
// and public, to list them all. Private keys alone are listed with
// [Series.KeyName] of 0, for reading no more secrets than needed. Either prefix
// brings records that are not of the series too; they are passed over or reported.
func (s Series) Prefix() string { return string(s.kind) + "-token-signing-" }

// KeyName returns the name of the record of a private key. That of serial 0 is
// also the prefix of all the others.
func (s Series) KeyName(serial Serial) string { return s.name("key", serial) }

// PublicKeyName returns the name of the record of a public key. That of serial 0
// is also the prefix of all the others.
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

// ParseName tells which key a record of the series' scope is, by its name. The
// error matches [ErrNotKey] if the name does not begin with [Series.Prefix]: the
// record is something else, which is nobody's mistake. It matches [ErrKey] if the
// name does begin so, but is of another mesh, or ends in anything but a serial
// in its one spelling: such a record is no key, and somebody should be told.
func (s Series) ParseName(name string) (serial Serial, public bool, err error) {
	if !strings.HasPrefix(name, s.Prefix()) {
		return 0, false, fmt.Errorf("%w: %s", ErrNotKey, quoteName(name))
	}
	// Neither half's name is the beginning of the other's.
	number, ok := strings.CutPrefix(name, s.KeyName(0))
	if !ok {
		number, public = strings.CutPrefix(name, s.PublicKeyName(0))
		ok = public
	}
	if ok && number == "" {
		return 0, public, nil
	}
	if kid, dashed := strings.CutPrefix(number, "-"); ok && dashed {
		// Serial 0 has one name, the one without a number.
		if serial, ok := ParseSerial(kid); ok && serial != 0 {
			return serial, public, nil
		}
	}
	return 0, false, unusable("a key record named "+quoteName(name)+" in "+describeScope(s.Scope()),
		fmt.Sprintf("%q or %q, ending there or with a dash and a serial from 1 on", s.KeyName(0), s.PublicKeyName(0)))
}

// Latest returns the record with the highest serial among the private keys: the
// one that signs. It does not look at the key in it: if that is corrupt, the
// caller says so, rather than sign with an older one. Records that are not
// private keys of the series are passed over; [Series.PublicSet] reports them.
// The error matches [ErrNoKey] if no private key is left.
func (s Series) Latest(records []keystore.Record) (keystore.Record, Serial, error) {
	var latest keystore.Record
	highest := Serial(-1)
	for _, record := range records {
		if record.Scope != s.Scope() {
			continue
		}
		serial, public, err := s.ParseName(record.Name)
		if err == nil && !public && serial > highest {
			latest, highest = record, serial
		}
	}
	if highest < 0 {
		return keystore.Record{}, 0, fmt.Errorf("%w: %s has no record named %q (EnsureKey makes the first one)",
			ErrNoKey, describeScope(s.Scope()), s.KeyName(0)+"-{serial}")
	}
	return latest, highest, nil
}

func describeScope(scope keystore.Scope) string {
	if scope == keystore.Global {
		return "the global scope"
	}
	return fmt.Sprintf("mesh %.64q", scope)
}

// quoteName quotes a record's name. Names are long, and end in what matters.
func quoteName(name string) string { return fmt.Sprintf("%.256q", name) }
