package token

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unsafe"
)

// MaxSize is the maximum size of a compact token, in bytes.
const MaxSize = 8192

// Unverified is a parsed token that has not been verified: its sender chose all
// of the content. It never prints the token, which is a bearer credential even
// before it is validated.
//
// The zero Unverified is empty; its Header and Claims return errors.
type Unverified struct {
	// A function, because fmt prints the unexported fields of a caller's struct
	// without calling Format, and with a wrong verb it even follows pointers.
	compact func() compact
}

// compact holds the text of a token and its parts, all slices of one string.
type compact struct {
	signingInput, header, payload, signature string
}

// ParseUnverified parses a compact token (RFC 7515, section 7.1) and checks
// only its form: at most [MaxSize] bytes; three non-empty parts with a dot
// between them; each part in the base64url alphabet without padding (RFC 7515,
// section 2) and canonical, with zero spare bits (RFC 4648, section 3.5), so
// that a token has one spelling. White space is not trimmed.
//
// Errors match [ErrMalformed] and allocate no memory. A text longer than MaxSize
// is rejected in constant time.
func ParseUnverified(raw string) (Unverified, error) {
	if len(raw) > MaxSize {
		return Unverified{}, errTooLong
	}
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found {
		return Unverified{}, errFewParts
	}
	if strings.IndexByte(signature, '.') >= 0 {
		return Unverified{}, errManyParts
	}
	if err := headerPart.check(header); err != nil {
		return Unverified{}, err
	}
	if err := payloadPart.check(payload); err != nil {
		return Unverified{}, err
	}
	if err := signaturePart.check(signature); err != nil {
		return Unverified{}, err
	}
	signingInput := raw[:len(header)+1+len(payload)]
	c := compact{signingInput, header, payload, signature}
	return Unverified{func() compact { return c }}, nil
}

// EncodedHeader returns the base64url text of the protected header, as written
// in the token. Equal texts are equal headers.
func (u Unverified) EncodedHeader() string { return u.parts().header }

// SigningInput returns the signed text: the encoded header, a dot and the
// encoded payload (RFC 7515, section 5.2). Together with the signature it is
// the bearer token: do not log it.
func (u Unverified) SigningInput() string { return u.parts().signingInput }

// AppendSignature appends the decoded, unverified signature to b and returns the
// extended slice. b may be nil.
func (u Unverified) AppendSignature(b []byte) []byte {
	part := u.parts().signature
	all := slices.Grow(b, decodedLen(part))[:len(b)+decodedLen(part)]
	decode(all[len(b):], part)
	return all
}

// Format writes "token.Unverified" under every verb, never the token. It
// implements [fmt.Formatter].
func (u Unverified) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, unverifiedName) }

// LogValue returns "token.Unverified", never the token. It implements
// [slog.LogValuer].
func (u Unverified) LogValue() slog.Value { return slog.StringValue(unverifiedName) }

const unverifiedName = "token.Unverified"

func (u Unverified) parts() compact {
	if u.compact == nil {
		return compact{}
	}
	return u.compact()
}

// Declared once, so that a flood of malformed tokens allocates no memory.
var (
	errTooLong   = malformed("longer than %d bytes", MaxSize)
	errFewParts  = malformed("fewer than three parts, want header.payload.signature")
	errManyParts = malformed("more than three parts, want header.payload.signature")

	headerPart    = newPart("header")
	payloadPart   = newPart("payload")
	signaturePart = newPart("signature")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrMalformed, fmt.Errorf(format, args...))
}

// part holds the errors for one part of a compact token.
type part struct {
	empty, alphabet, length, spare error
}

func newPart(name string) part {
	return part{
		empty:    malformed("%s is empty", name),
		alphabet: malformed("%s has a character other than A-Z, a-z, 0-9, '-' and '_'", name),
		length:   malformed("%s has a length that no base64url text has", name),
		spare:    malformed("%s ends in spare bits that are not zero", name),
	}
}

// check differs from encoding/base64: it does not skip CR and LF, and it
// rejects non-zero spare bits.
func (p *part) check(text string) error {
	if text == "" {
		return p.empty
	}
	var all byte
	rest := text
	for ; len(rest) >= 8; rest = rest[8:] { // half the time of a loop over single bytes
		all |= sextets[rest[0]] | sextets[rest[1]] | sextets[rest[2]] | sextets[rest[3]] |
			sextets[rest[4]] | sextets[rest[5]] | sextets[rest[6]] | sextets[rest[7]]
	}
	for i := range len(rest) {
		all |= sextets[rest[i]]
	}
	if all&notInAlphabet != 0 {
		return p.alphabet
	}
	// Each character has six bits: 2 characters leave 4 spare bits, 3 leave 2,
	// and 1 does not make a byte.
	last := sextets[text[len(text)-1]]
	switch len(text) % 4 {
	case 1:
		return p.length
	case 2:
		if last&0x0f != 0 {
			return p.spare
		}
	case 3:
		if last&0x03 != 0 {
			return p.spare
		}
	}
	return nil
}

const notInAlphabet = 0x80

// sextets maps each base64url character to its six bits (RFC 4648, section 5).
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = notInAlphabet
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(alphabet) {
		table[alphabet[i]] = byte(i)
	}
	return table
}()

func decodedLen(part string) int { return len(part) * 6 / 8 }

// decode decodes a part that was checked into decodedLen bytes. It takes a
// quarter of the time of encoding/base64, which would check the part again.
func decode(bytes []byte, part string) {
	for len(part) >= 8 && len(bytes) >= 8 { // the last two bytes are overwritten
		binary.BigEndian.PutUint64(bytes, uint64(sextets[part[0]])<<58|uint64(sextets[part[1]])<<52|
			uint64(sextets[part[2]])<<46|uint64(sextets[part[3]])<<40|uint64(sextets[part[4]])<<34|
			uint64(sextets[part[5]])<<28|uint64(sextets[part[6]])<<22|uint64(sextets[part[7]])<<16)
		bytes, part = bytes[6:], part[8:]
	}
	for len(part) >= 4 && len(bytes) >= 4 { // the fourth byte is overwritten
		binary.BigEndian.PutUint32(bytes, uint32(sextets[part[0]])<<26|uint32(sextets[part[1]])<<20|
			uint32(sextets[part[2]])<<14|uint32(sextets[part[3]])<<8)
		bytes, part = bytes[3:], part[4:]
	}
	bits, n := uint32(0), 0
	for i := range len(part) {
		bits, n = bits<<6|uint32(sextets[part[i]]), n+6
		if n >= 8 {
			n -= 8
			bytes[0] = byte(bits >> n)
			bytes = bytes[1:]
		}
	}
}

// decodeText decodes a part that was checked. Its only allocation is the
// string.
func decodeText(part string) string {
	text := make([]byte, decodedLen(part))
	decode(text, part)
	return unsafe.String(unsafe.SliceData(text), len(text)) // nothing changes text any more
}
