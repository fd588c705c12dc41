package sealed

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

const (
	keyLength   = 32
	keyIDLength = 8
	keyIDInfo   = "meshpass-key-encryption-key-v1\n"
	dataKeyInfo = "meshpass-data-key-v1\n"
)

// AESGCM is a [Sealer] with key-encryption keys in memory, for AES-256-GCM. It is
// immutable and safe for concurrent use. When printed, logged or marshalled, it shows
// only the ids of its keys. The zero value holds no key and seals nothing.
type AESGCM struct {
	// A func holds the keys and not a field: fmt prints unexported fields without asking
	// their methods, but does not look into a func.
	keys func() []keyEncryptionKey
}

type keyEncryptionKey struct {
	id  [keyIDLength]byte
	gcm cipher.AEAD
}

// NewAESGCM returns a Sealer that seals with the first key and opens with all keys. A
// key has 32 bytes from a random generator, such as openssl rand 32; it must not be a
// password. NewAESGCM copies the keys. It returns an error if there is no key, if a key
// does not have 32 bytes, or if two keys are the same.
//
// A key may seal 2^32 data keys, one for each write, before it must be replaced: the
// nonces are random (NIST SP 800-38D, section 8.3).
func NewAESGCM(keys ...[]byte) (*AESGCM, error) {
	if len(keys) == 0 {
		return nil, errors.New("keystore/sealed: no key-encryption key, want at least one")
	}
	var held []keyEncryptionKey
	for i, key := range keys {
		if len(key) != keyLength {
			return nil, fmt.Errorf("keystore/sealed: key-encryption key %d of %d has %d bytes, want %d", i+1, len(keys), len(key), keyLength)
		}
		for j := range i {
			if bytes.Equal(keys[j], key) {
				return nil, fmt.Errorf("keystore/sealed: key-encryption keys %d and %d of %d are the same", j+1, i+1, len(keys))
			}
		}
		gcm, err := newGCM(key)
		if err != nil {
			return nil, fmt.Errorf("keystore/sealed: key-encryption key %d of %d: %w", i+1, len(keys), err)
		}
		sum := sha256.Sum256(append([]byte(keyIDInfo), key...))
		held = append(held, keyEncryptionKey{[keyIDLength]byte(sum[:]), gcm})
	}
	return &AESGCM{keys: func() []keyEncryptionKey { return held }}, nil
}

// Seal implements [Sealer]. It returns 68 bytes.
func (s *AESGCM) Seal(_ context.Context, dataKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	held := s.held()
	if len(held) == 0 {
		return nil, errors.New("keystore/sealed: an AESGCM without keys, want one from NewAESGCM")
	}
	key := held[0]
	return key.gcm.Seal(bytes.Clone(key.id[:]), nil, dataKey, key.context(scope, name)), nil
}

// Open implements [Sealer].
func (s *AESGCM) Open(_ context.Context, sealed []byte, scope keystore.Scope, name string) ([]byte, error) {
	if len(sealed) != keyIDLength+gcmOverhead+dataKeyLength {
		return nil, fmt.Errorf("%w: its sealed data key has %d bytes, want %d of AES-GCM",
			ErrAltered, len(sealed), keyIDLength+gcmOverhead+dataKeyLength)
	}
	id := [keyIDLength]byte(sealed)
	held := s.held()
	i := slices.IndexFunc(held, func(k keyEncryptionKey) bool { return k.id == id })
	if i < 0 {
		return nil, fmt.Errorf("%w: it was sealed under key %s, want one of %q", ErrNoKey, hex.EncodeToString(id[:]), s.ids())
	}
	dataKey, err := held[i].gcm.Open(nil, nil, sealed[keyIDLength:], held[i].context(scope, name))
	if err != nil {
		return nil, fmt.Errorf("%w: its data key was not sealed for it under key %s", ErrAltered, hex.EncodeToString(id[:]))
	}
	return dataKey, nil
}

// Current implements [Sealer].
func (s *AESGCM) Current(sealed []byte) bool {
	held := s.held()
	return len(held) > 0 && bytes.HasPrefix(sealed, held[0].id[:])
}

// context returns the additional data for the data key of a record.
func (k keyEncryptionKey) context(scope keystore.Scope, name string) []byte {
	return slices.Concat([]byte(dataKeyInfo), k.id[:], []byte(scope), []byte{0}, []byte(name))
}

func (s *AESGCM) held() []keyEncryptionKey {
	if s == nil || s.keys == nil {
		return nil
	}
	return s.keys()
}

func (s *AESGCM) ids() (ids []string) {
	for _, key := range s.held() {
		ids = append(ids, hex.EncodeToString(key.id[:]))
	}
	return ids
}

// redacted is the only text that is ever printed for an AESGCM.
func (s *AESGCM) redacted() string {
	if len(s.held()) == 0 {
		return "AES-GCM without keys"
	}
	return "AES-GCM with key " + strings.Join(s.ids(), ", ") + " (redacted)"
}

// Format prints the ids of the keys, for every verb.
func (s AESGCM) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, s.redacted()) }

// LogValue logs the ids of the keys.
func (s AESGCM) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalText returns the ids of the keys, for encoding/json and others.
func (s AESGCM) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }
