package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// The errors of a sealed store about the stored data, beside those of every KeyStore.
// They are wrapped in a [keystore.Error] with the operation "open"; match them with
// errors.Is.
var (
	// ErrNotSealed: the record exists and is not sealed.
	ErrNotSealed = errors.New("keystore/sealed: record is not sealed")

	// ErrAltered: the record is not as it was sealed, or was sealed for another scope or
	// name. The text says which, if that can be known.
	ErrAltered = errors.New("keystore/sealed: sealed record was altered or misplaced")

	// ErrNoKey: the record was sealed under a key-encryption key that the Sealer does
	// not have.
	ErrNoKey = errors.New("keystore/sealed: no key to open the record")
)

const (
	// family is the beginning of sealed data in the format of every version.
	family = "meshpass-sealed-"
	magic  = family + "v1\n"

	lengthAt      = len(magic) + sha256.Size
	sealedKeyAt   = lengthAt + 2
	gcmOverhead   = 12 + 16 // nonce and tag
	maxSealedKey  = 8 << 10
	dataKeyLength = 32
)

// envelope has the parts of the stored data of a record.
type envelope struct {
	header    []byte // everything before the nonce: the additional data
	sealedKey []byte // the end of header
	body      []byte // nonce, cipher text, tag
}

// place stands for a scope and a name.
func place(scope keystore.Scope, name string) [sha256.Size]byte {
	return sha256.Sum256([]byte(magic + string(scope) + "\x00" + name))
}

// parse returns the parts of the data that is stored under a scope and a name.
func parse(data []byte, scope keystore.Scope, name string) (envelope, error) {
	if !strings.HasPrefix(string(data[:min(len(data), len(magic))]), magic) {
		return envelope{}, notThisFormat(data)
	}
	if len(data) < sealedKeyAt {
		return envelope{}, fmt.Errorf("%w: it is cut short, to %d bytes", ErrAltered, len(data))
	}
	// This comes before the rest: if the data was copied here, nothing else matters.
	if place(scope, name) != [sha256.Size]byte(data[len(magic):lengthAt]) {
		return envelope{}, fmt.Errorf("%w: it was sealed for another scope or name", ErrAltered)
	}
	n := int(binary.BigEndian.Uint16(data[lengthAt:]))
	if n == 0 || n > maxSealedKey {
		return envelope{}, fmt.Errorf("%w: its sealed data key has %d bytes, want 1 to %d", ErrAltered, n, maxSealedKey)
	}
	bodyAt := sealedKeyAt + n
	if len(data) < bodyAt+gcmOverhead {
		return envelope{}, fmt.Errorf("%w: it is cut short, to %d bytes", ErrAltered, len(data))
	}
	return envelope{header: data[:bodyAt], sealedKey: data[sealedKeyAt:bodyAt], body: data[bodyAt:]}, nil
}

// notThisFormat returns the error for data that does not begin with magic. Only data
// that no version can have sealed counts as not sealed, since AcceptPlaintext lets that
// in.
func notThisFormat(data []byte) error {
	switch {
	case strings.HasPrefix(string(data[:min(len(data), len(family))]), family):
		return fmt.Errorf("%w: it begins with %.20q, want %q", ErrAltered, data, magic)
	case len(data) > 0 && strings.HasPrefix(family, string(data[:min(len(data), len(family))])):
		return fmt.Errorf("%w: it is cut short, to %d bytes", ErrAltered, len(data))
	}
	return ErrNotSealed
}

// newHeader returns the part of an envelope before the nonce.
func newHeader(scope keystore.Scope, name string, sealedKey []byte) []byte {
	header := make([]byte, 0, sealedKeyAt+len(sealedKey))
	header = append(header, magic...)
	where := place(scope, name)
	header = append(header, where[:]...)
	header = binary.BigEndian.AppendUint16(header, uint16(len(sealedKey)))
	return append(header, sealedKey...)
}

// encrypt returns the header followed by the encrypted data.
func encrypt(header []byte, dataKey [dataKeyLength]byte, data []byte) ([]byte, error) {
	gcm, err := newGCM(dataKey[:])
	if err != nil {
		return nil, err
	}
	out := make([]byte, len(header), len(header)+gcmOverhead+len(data))
	copy(out, header)
	return gcm.Seal(out, nil, data, header), nil
}

// decrypt returns the data of an envelope.
func (e envelope) decrypt(dataKey [dataKeyLength]byte) ([]byte, error) {
	gcm, err := newGCM(dataKey[:])
	if err != nil {
		return nil, err
	}
	data, err := gcm.Open(nil, nil, e.body, e.header)
	if err != nil {
		return nil, fmt.Errorf("%w: its data is not what was encrypted with its data key", ErrAltered)
	}
	return data, nil
}

func newDataKey() (key [dataKeyLength]byte) {
	_, _ = rand.Read(key[:]) // never fails, says its documentation
	return key
}

// newGCM returns AES-GCM that puts a random nonce in front, as FIPS mode demands.
func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
