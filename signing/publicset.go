package signing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// PublicSet holds the public halves of the keys of a series, from one read of a
// store. It holds no private key, is immutable and safe for concurrent use.
// [Series.PublicSet] makes one.
type PublicSet struct {
	series   Series
	keys     []Key     // by serial
	readings []reading // by the record's name; no maps, since a validator may have 100,000 sets
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
	record keystore.Record // without Data
	key    *PublicKey
	err    error
}

// privateParser returns the public half of the private key in a record.
type privateParser func(data []byte) (*PublicKey, error)

func read(record keystore.Record, kind RecordKind, parsePrivate privateParser) reading {
	parse := ParsePublicKey
	if kind == PrivateRecord {
		parse = parsePrivate
	}
	key, err := parse(record.Data)
	if err != nil {
		err = fmt.Errorf("%s: %w", describeRecord(record), err)
	}
	return reading{record.WithoutData(), key, err}
}

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
	halves := make(map[Serial]recordsOfKey)
	add := func(record keystore.Record, read func(RecordKind) reading) {
		serial, kind, err := s.ParseName(record.Name)
		switch {
		case errors.Is(err, ErrNotKey):
			return
		case record.Scope != s.Scope():
			set.report(unusable(describeRecord(record), "the keys of "+describeScope(s.Scope())))
			return
		case err != nil:
			set.report(err)
			return
		}
		set.readings = append(set.readings, read(kind)) // which has room
		r := &set.readings[len(set.readings)-1]
		if r.err != nil {
			set.report(r.err)
		}
		h := halves[serial]
		h[kind] = r
		halves[serial] = h
	}
	for _, record := range records {
		add(record, func(kind RecordKind) reading {
			if r := previous.reading(record.Name); r != nil && record.Unchanged(r.record) {
				return *r
			}
			return read(record, kind, parsePrivate)
		})
	}
	for _, err := range unreadable {
		record := keystore.Record{Scope: err.Scope, Name: err.Name}
		add(record, func(RecordKind) reading { return reading{record: record, err: unreadableKey(err)} })
	}
	_, signs, err := s.Signing(records, unreadable, time.Time{})
	if errors.Is(err, ErrNoKey) { // only public keys, or none
		signs = -1
	}
	set.keys = make([]Key, 0, len(halves))
	for _, serial := range slices.Sorted(maps.Keys(halves)) {
		key := set.choose(serial, halves[serial], previous)
		key.Signs = serial == signs
		set.keys = append(set.keys, key)
	}
	slices.SortFunc(set.readings, func(a, b reading) int { return cmp.Compare(a.record.Name, b.record.Name) })
	return set
}

// reading returns what was read from the record with a name, or nil.
func (set *PublicSet) reading(name string) *reading {
	i, ok := slices.BinarySearchFunc(set.readings, name, func(r reading, name string) int { return cmp.Compare(r.record.Name, name) })
	if !ok {
		return nil
	}
	return &set.readings[i]
}

// key returns the key with a serial, or nil.
func (set *PublicSet) key(serial Serial) *Key {
	i, ok := slices.BinarySearchFunc(set.keys, serial, func(k Key, serial Serial) int { return cmp.Compare(k.Serial, serial) })
	if !ok {
		return nil
	}
	return &set.keys[i]
}

// recordsOfKey holds what was read for one serial, by RecordKind; nil means no record.
type recordsOfKey [PublicRecord + 1]*reading

// choose combines the records of a serial into one key, and reports contradictions.
// There is at least one record.
func (set *PublicSet) choose(serial Serial, of recordsOfKey, previous *PublicSet) Key {
	var first, from *reading
	for _, r := range of {
		switch {
		case r == nil:
		case first == nil:
			first, from = r, r
		case from.err != nil:
			if r.err == nil {
				from = r
			}
		case r.err == nil && !r.key.Equal(from.key):
			set.report(fmt.Errorf("%s: %w", describeRecord(r.record),
				unusable("the public key "+r.key.Fingerprint(),
					fmt.Sprintf("that of %s, %s, which is used instead", describeRecord(from.record), from.key.Fingerprint()))))
		}
	}
	key := Key{
		Serial:   serial,
		Created:  first.record.Created,
		Public:   from.key,
		Private:  of[PrivateRecord] != nil,
		External: of[PrivateRecord] == nil && of[ExternalRecord] != nil,
		Err:      from.err,
	}
	var before *PublicKey
	if k := previous.key(serial); k != nil {
		before = k.Public
	}
	if before.Equal(key.Public) {
		key.Public = before
	} else if before != nil && key.Public != nil {
		set.report(fmt.Errorf("%s: %w", describeRecord(from.record),
			unusable("the key "+key.Public.Fingerprint(),
				before.Fingerprint()+" as before (to replace a key, add the next serial)")))
	}
	return key
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
	if key := set.key(serial); key != nil {
		return key.Public, key.Err
	}
	return nil, fmt.Errorf("%w: %s has no record named %s, %s or %s", ErrNoKey, describeScope(set.series.Scope()),
		quoteName(set.series.KeyName(serial)), quoteName(set.series.ExternalKeyName(serial)), quoteName(set.series.PublicKeyName(serial)))
}

// Keys returns all keys by ascending serial, including those that cannot be
// read. The caller may change the slice.
func (set *PublicSet) Keys() []Key { return slices.Clone(set.keys) }

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
