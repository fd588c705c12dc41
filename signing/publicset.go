package signing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// PublicSet holds the public halves of the keys of a series, from one read of a
// store. It holds no private key, is immutable and safe for concurrent use.
// [Series.PublicSet] makes one.
type PublicSet struct {
	series   Series
	readings []reading // by serial, those of one serial by kind; no maps, since a validator may have 100,000 sets
	problems []error
}

// Key is one key of a series.
type Key struct {
	Serial Serial

	// Created is the time at which the store created the record of the private
	// or external key, or if there is none, of the public key. It is zero if the
	// store cannot read that record.
	Created time.Time

	// Public verifies the tokens signed with the key. It is nil if the key
	// cannot be read; Err is then the reason.
	Public *PublicKey

	// Private reports whether there is a private key with this serial, readable
	// or not, rather than only its public half.
	Private bool

	// External reports whether the private half is outside the store, in a KMS or
	// HSM: there is an [ExternalRecord] with this serial, readable or not, and no
	// private key.
	External bool

	// Signs marks the private or external key with the highest serial, readable or
	// not. A set with only copies of public keys marks none. Issuers with a publish
	// delay may still sign with an older key.
	Signs bool

	// Err is set if and only if Public is nil. It matches [ErrKey].
	Err error
}

// reading is the result of reading one record: key or err is set.
type reading struct {
	serial  Serial
	kind    RecordKind
	version string // of the record; empty if the store could not read it
	created time.Time
	key     *PublicKey
	err     error
}

// unchanged reports whether the record is sure to have the data that was read.
func (r *reading) unchanged(record keystore.Record) bool {
	return record.Version != "" && record.Version == r.version && record.Created.Equal(r.created)
}

// privateParser returns the public half of the private key in a record.
type privateParser func(data []byte) (*PublicKey, error)

// PublicSet parses the keys in records and keeps their public halves. It
// accepts every record of the series. If a serial has several, it uses the private
// one, then the external one, unless that cannot be read. Faulty records do
// not affect the other keys; [PublicSet.Problems] reports them. Records that the store
// listed but could not read, given as unreadable, count as faulty.
//
// PublicSet reads the encoding of a private key and its public half, which is cheap. It
// does not notice a private half that is not valid or belongs to another key: tokens can
// still be verified, and signing fails. [Series.CheckedSet] notices that.
//
// previous is the result of the previous read, or nil. A record with the same
// Version and Created is not parsed again. An unchanged key keeps its pointer,
// even if its record was rewritten, so callers can compare keys by pointer.
func (s Series) PublicSet(records []keystore.Record, unreadable []*keystore.Error, previous *PublicSet) *PublicSet {
	return s.set(records, unreadable, previous, parsePublicHalf)
}

// CheckedSet is [Series.PublicSet] without a previous read, for those who show the keys to
// an operator or change them. It validates private keys as [ParsePrivateKey] does, which
// takes a tenth of the time of a signature or more for each: a key that cannot sign is
// faulty.
func (s Series) CheckedSet(records []keystore.Record, unreadable []*keystore.Error) *PublicSet {
	return s.set(records, unreadable, nil, func(data []byte) (*PublicKey, error) {
		private, err := ParsePrivateKey(data)
		return private.Public(), err
	})
}

func (s Series) set(records []keystore.Record, unreadable []*keystore.Error, previous *PublicSet, parsePrivate privateParser) *PublicSet {
	if previous == nil || previous.series != s {
		previous = &PublicSet{}
	}
	set := &PublicSet{series: s, readings: make([]reading, 0, len(records)+len(unreadable))}
	for _, record := range records {
		serial, kind, ok := set.place(record)
		if !ok {
			continue
		}
		r := reading{serial: serial, kind: kind, version: record.Version, created: record.Created}
		if before := previous.reading(serial, kind); before != nil && before.unchanged(record) {
			r.key, r.err = before.key, before.err
		} else {
			r.read(record, parsePrivate)
		}
		set.add(r)
	}
	for _, err := range unreadable {
		if serial, kind, ok := set.place(keystore.Record{Scope: err.Scope, Name: err.Name}); ok {
			set.add(reading{serial: serial, kind: kind, err: unreadableKey(err)})
		}
	}
	for rest := set.readings; len(rest) > 0; {
		n := recordsOfFirst(rest)
		set.settle(rest[:n], previous)
		rest = rest[n:]
	}
	return set
}

// Signing is [Series.Signing] of the records that the set was made from. The record has no
// Data, and no Version if the store could not read it.
func (set *PublicSet) Signing(createdBy time.Time) (keystore.Record, Serial, error) {
	records := make([]keystore.Record, len(set.readings))
	for i, r := range set.readings {
		records[i] = keystore.Record{Scope: set.series.Scope(), Name: set.series.recordName(r.kind, r.serial), Version: r.version, Created: r.created}
	}
	return set.series.Signing(records, nil, createdBy)
}

// place returns the key of which a record holds a part. It reports a record that should be
// one of the series and is not.
func (set *PublicSet) place(record keystore.Record) (Serial, RecordKind, bool) {
	serial, kind, err := set.series.ParseName(record.Name)
	switch {
	case errors.Is(err, ErrNotKey):
	case record.Scope != set.series.Scope():
		set.report(unusable(describeRecord(record), "the keys of "+describeScope(set.series.Scope())))
	case err != nil:
		set.report(err)
	default:
		return serial, kind, true
	}
	return 0, 0, false
}

// read parses the data of the record.
func (r *reading) read(record keystore.Record, parsePrivate privateParser) {
	parse := ParsePublicKey
	if r.kind == PrivateRecord {
		parse = parsePrivate
	}
	if r.key, r.err = parse(record.Data); r.err != nil {
		r.err = fmt.Errorf("%s: %w", describeRecord(record), r.err)
	}
}

// add adds what was read, in its place.
func (set *PublicSet) add(r reading) {
	if r.err != nil {
		set.report(r.err)
	}
	at, there := set.search(r.serial, r.kind)
	if there {
		set.readings[at] = r
	} else {
		set.readings = slices.Insert(set.readings, at, r)
	}
}

func (set *PublicSet) search(serial Serial, kind RecordKind) (at int, ok bool) {
	return slices.BinarySearchFunc(set.readings, serial, func(r reading, serial Serial) int {
		if r.serial != serial {
			return cmp.Compare(r.serial, serial)
		}
		return cmp.Compare(r.kind, kind)
	})
}

// reading returns what was read from a record, or nil.
func (set *PublicSet) reading(serial Serial, kind RecordKind) *reading {
	at, ok := set.search(serial, kind)
	if !ok {
		return nil
	}
	return &set.readings[at]
}

// recordsOfFirst returns how many of the readings, of which there is one at least, have the
// serial of the first one.
func recordsOfFirst(readings []reading) int {
	n := 1
	for n < len(readings) && readings[n].serial == readings[0].serial {
		n++
	}
	return n
}

// used returns the one of the readings of a serial whose key is used: the first that can be
// read, or the first.
func used(readings []reading) *reading {
	for i := range readings {
		if readings[i].err == nil {
			return &readings[i]
		}
	}
	return &readings[0]
}

// settle keeps the pointer of a key that has not changed, and reports contradictions between
// the readings of one serial, and to the set before.
func (set *PublicSet) settle(readings []reading, previous *PublicSet) {
	from := used(readings)
	for i := range readings {
		if r := &readings[i]; r.err == nil && r != from && !r.key.Equal(from.key) {
			set.report(fmt.Errorf("%s: %w", set.describe(r),
				unusable("the public key "+r.key.Fingerprint(),
					fmt.Sprintf("that of %s, %s, which is used instead", set.describe(from), from.key.Fingerprint()))))
		}
	}
	before, _ := previous.find(from.serial)
	switch {
	case before == nil || from.key == nil || before == from.key:
	case before.Equal(from.key):
		from.key = before
	default:
		set.report(fmt.Errorf("%s: %w", set.describe(from),
			unusable("the key "+from.key.Fingerprint(),
				before.Fingerprint()+" as before (to replace a key, add the next serial)")))
	}
}

// describe names the record of a reading.
func (set *PublicSet) describe(r *reading) string {
	return describeRecord(keystore.Record{Scope: set.series.Scope(), Name: set.series.recordName(r.kind, r.serial)})
}

func (set *PublicSet) report(problem error) { set.problems = append(set.problems, problem) }

// Find returns the key whose serial, in decimal, is kid. The error matches
// [ErrNoKey] if there is no such key, or if kid is not a canonical serial. It
// matches [ErrKey] if the key exists but cannot be read.
func (set *PublicSet) Find(kid string) (*PublicKey, error) {
	serial, ok := ParseSerial(kid)
	if !ok {
		return nil, fmt.Errorf("%w: kid %.64q is not the serial of a key in %s", ErrNoKey, kid, describeScope(set.series.Scope()))
	}
	if key, err := set.find(serial); key != nil || err != nil {
		return key, err
	}
	return nil, fmt.Errorf("%w: %s has no record named %s, %s or %s", ErrNoKey, describeScope(set.series.Scope()),
		quoteName(set.series.KeyName(serial)), quoteName(set.series.ExternalKeyName(serial)), quoteName(set.series.PublicKeyName(serial)))
}

// find returns the key with a serial, or why it cannot be read. Both are nil if there is none.
func (set *PublicSet) find(serial Serial) (*PublicKey, error) {
	at, _ := set.search(serial, PrivateRecord)
	if at == len(set.readings) || set.readings[at].serial != serial {
		return nil, nil
	}
	rest := set.readings[at:]
	from := used(rest[:recordsOfFirst(rest)])
	return from.key, from.err
}

// Keys returns all keys by ascending serial, including those that cannot be
// read. The caller may change the slice.
func (set *PublicSet) Keys() []Key {
	keys := make([]Key, 0, len(set.readings))
	signs := -1
	for rest := set.readings; len(rest) > 0; {
		n := recordsOfFirst(rest)
		first, from := rest[0], used(rest[:n])
		if first.kind != PublicRecord {
			signs = len(keys)
		}
		keys = append(keys, Key{
			Serial:   first.serial,
			Created:  first.created,
			Public:   from.key,
			Private:  first.kind == PrivateRecord,
			External: first.kind == ExternalRecord,
			Err:      from.err,
		})
		rest = rest[n:]
	}
	if signs >= 0 {
		keys[signs].Signs = true
	}
	return keys
}

// Problems returns the faults to report to an operator: records that cannot be
// read, are misnamed or belong to another scope; records whose key differs from
// that in the previous set; and public keys that do not match their private
// key. Each error matches [ErrKey] and names the record. A fault that persists
// has the same text in every later set; a changed key is reported once. The
// caller may change the slice.
func (set *PublicSet) Problems() []error { return slices.Clone(set.problems) }

func describeRecord(record keystore.Record) string {
	return "record " + quoteName(record.Name) + " in " + describeScope(record.Scope)
}
