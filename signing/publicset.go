package signing

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// PublicSet is the public halves of the keys of a series, as one read of a store
// found them. It holds no private key, never changes, and may be used by many
// goroutines at once. [Series.PublicSet] makes one.
type PublicSet struct {
	series   Series
	keys     []Key               // by serial
	byKeyID  map[string]Key      // by the serial in decimal
	readings map[string]*reading // by the record's name
	problems []error
}

// Key is one key of a series.
type Key struct {
	Serial Serial

	// Created is when the store created the key's record: that of the private key
	// if there is one, else that of the public key.
	Created time.Time

	// Public verifies the tokens that the key signed. It is nil if the key's
	// record cannot be read; Err says why then.
	Public *PublicKey

	// Private says that there is a private key of this serial, readable or not, and
	// not its public half alone.
	Private bool

	// Signs marks the private key with the highest serial, whether or not it can
	// be read. A set that has public keys only marks none.
	Signs bool

	// Err is set if and only if Public is nil. It matches [ErrKey].
	Err error
}

// reading is what one record holds: either key or err is set.
type reading struct {
	record keystore.Record // without Data
	key    *PublicKey
	err    error
}

func read(record keystore.Record, public bool) *reading {
	var key *PublicKey
	var err error
	if public {
		key, err = ParsePublicKey(record.Data)
	} else {
		var private *PrivateKey
		private, err = ParsePrivateKey(record.Data)
		key = private.Public()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", describeRecord(record), err)
	}
	record.Data = nil
	return &reading{record, key, err}
}

// PublicSet reads the keys in records, of which it keeps the public halves. It
// takes every record of the series, private or public; if both have a serial, the
// private one wins, unless it cannot be read. Whatever is amiss with a record
// is told by [PublicSet.Problems], and the other keys serve.
//
// previous is what the read before found, or nil. A record whose Version and
// Created are the same is not parsed again, and a key that is the same as before
// keeps its pointer, even if its record was written anew: so a caller can tell by
// pointers whether the very key is still there.
func (s Series) PublicSet(records []keystore.Record, previous *PublicSet) *PublicSet {
	if previous == nil || previous.series != s {
		previous = &PublicSet{}
	}
	set := &PublicSet{series: s, byKeyID: make(map[string]Key), readings: make(map[string]*reading)}
	halves := make(map[Serial]struct{ private, public *reading })
	signs := Serial(-1)
	for _, record := range records {
		serial, public, err := s.ParseName(record.Name)
		switch {
		case errors.Is(err, ErrNotKey):
			continue
		case record.Scope != s.Scope():
			set.report(unusable(describeRecord(record), "the keys of "+describeScope(s.Scope())))
			continue
		case err != nil:
			set.report(err)
			continue
		}
		r := previous.readings[record.Name]
		// A store that gives no Version cannot tell that nothing has changed.
		if r == nil || record.Version == "" || r.record.Version != record.Version || !r.record.Created.Equal(record.Created) {
			r = read(record, public)
		}
		set.readings[record.Name] = r
		if r.err != nil {
			set.report(r.err)
		}
		h := halves[serial]
		if public {
			h.public = r
		} else {
			h.private = r
			signs = max(signs, serial)
		}
		halves[serial] = h
	}
	for _, serial := range slices.Sorted(maps.Keys(halves)) {
		key := set.choose(serial, halves[serial].private, halves[serial].public, previous)
		key.Signs = serial == signs
		set.keys = append(set.keys, key)
		set.byKeyID[serial.KeyID()] = key
	}
	return set
}

// choose makes one key of the records of a serial, of which at most one is nil,
// and reports what does not fit together.
func (set *PublicSet) choose(serial Serial, private, public *reading, previous *PublicSet) Key {
	from := private
	switch {
	case private == nil:
		from = public
	case public == nil:
	case private.err != nil && public.err == nil:
		from = public
	case private.err == nil && public.err == nil && !private.key.Equal(public.key):
		set.report(fmt.Errorf("%s: %w", describeRecord(public.record),
			unusable("the public key "+public.key.Fingerprint(),
				fmt.Sprintf("that of %s, %s, which is used", describeRecord(private.record), private.key.Fingerprint()))))
	}
	key := Key{Serial: serial, Created: from.record.Created, Public: from.key, Err: from.err}
	if private != nil {
		key.Private = true
		key.Created = private.record.Created
	}
	if before := previous.byKeyID[serial.KeyID()].Public; before.Equal(key.Public) {
		key.Public = before
	} else if before != nil && key.Public != nil {
		set.report(fmt.Errorf("%s: %w", describeRecord(from.record),
			unusable("the key "+key.Public.Fingerprint(),
				before.Fingerprint()+" as before (a key is replaced by adding the next serial)")))
	}
	return key
}

func (set *PublicSet) report(problem error) { set.problems = append(set.problems, problem) }

// Find returns the key whose serial, in decimal, is kid. The error matches
// [ErrNoKey] if there is no such key, which any kid that is not a serial in its
// one spelling comes to; it matches [ErrKey] if the key's record is there but
// cannot be read.
func (set *PublicSet) Find(kid string) (*PublicKey, error) {
	if key, ok := set.byKeyID[kid]; ok {
		return key.Public, key.Err
	}
	serial, ok := ParseSerial(kid)
	if !ok {
		return nil, fmt.Errorf("%w: kid %.64q is not the serial of a key in %s", ErrNoKey, kid, describeScope(set.series.Scope()))
	}
	return nil, fmt.Errorf("%w: %s has no record named %s or %s", ErrNoKey, describeScope(set.series.Scope()),
		quoteName(set.series.KeyName(serial)), quoteName(set.series.PublicKeyName(serial)))
}

// Keys returns all keys, also those that cannot be read, by ascending serial.
// The slice is the caller's.
func (set *PublicSet) Keys() []Key { return slices.Clone(set.keys) }

// Problems returns what somebody should be told about: records that cannot be
// read, that are misnamed or belong to another scope, that hold another key than
// in the set before, and public keys that are not their private key's. Each error
// matches [ErrKey] and names the record. As long as a problem remains, every set
// has it in the same words; a key that was changed is told of once. The slice is
// the caller's.
func (set *PublicSet) Problems() []error { return slices.Clone(set.problems) }

func describeRecord(record keystore.Record) string {
	return "record " + quoteName(record.Name) + " in " + describeScope(record.Scope)
}
