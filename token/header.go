package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/internal/strictjson"
)

// MaxKeyIDLength is the maximum length of a kid, in bytes.
const MaxKeyIDLength = 256

// algorithm is the only accepted one (RFC 7518, section 3.3).
const algorithm = "RS256"

// Header is the protected header of a token (RFC 7515, section 4). The
// algorithm is always RS256.
type Header struct {
	// KeyID is the kid, which names the signing key: 1 to [MaxKeyIDLength]
	// printable ASCII characters.
	KeyID string

	// Type is the typ, or empty if there is none.
	Type string
}

// Header decodes the protected header: a strict JSON object with alg "RS256", a
// kid, and typ absent or "JWT" in any case. It rejects each parameter that brings
// a key or changes how the token is read (crit, b64, zip, enc, cty, jku, jwk, x5u,
// x5c), whatever its value; a known name in another case; and a duplicate name.
// Unknown names are ignored (RFC 7515, section 4), but must be strict JSON too.
//
// Errors match [ErrHeader].
func (u Unverified) Header() (Header, error) {
	header, err := u.HeaderOfAnyType()
	if err != nil {
		return Header{}, err
	}
	if err := header.CheckType(Demands{}); err != nil {
		return Header{}, err
	}
	return header, nil
}

// HeaderOfAnyType is Header for a token whose key is not known yet: the key decides
// which typ is acceptable. It accepts any string that is not empty. Call
// [Header.CheckType] once the key is known.
func (u Unverified) HeaderOfAnyType() (Header, error) {
	header, err := decodeHeader(decodeText(u.parts().header))
	if err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	return header, nil
}

// CheckType returns an error that matches [ErrHeader] unless the typ is what d demands.
// Without a demand that is "JWT" in any case, or no typ. A demanded typ must be there, in
// any case, with or without "application/" before it (RFC 7515, section 4.1.9).
func (h Header) CheckType(d Demands) error {
	switch {
	case d.Type == "":
		if h.Type != "" && !strings.EqualFold(h.Type, "JWT") {
			return fmt.Errorf("%w: typ is %q, want \"JWT\" or no typ", ErrHeader, cut(h.Type))
		}
	case h.Type == "":
		return fmt.Errorf("%w: typ is missing, want %q", ErrHeader, d.Type)
	case !strings.EqualFold(mediaType(h.Type), mediaType(d.Type)):
		return fmt.Errorf("%w: typ is %q, want %q", ErrHeader, cut(h.Type), d.Type)
	}
	return nil
}

// mediaType returns a typ in its short form.
func mediaType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) && !strings.Contains(typ[len(prefix):], "/") {
		return typ[len(prefix):]
	}
	return typ
}

// refusedParameters holds the parameters of RFC 7515, section 4.1, RFC 7516,
// section 4.1, and RFC 7797, section 3, that are rejected whatever their value.
var refusedParameters = []string{"crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"}

var knownParameters = append([]string{"alg", "kid", "typ"}, refusedParameters...)

func decodeHeader(text string) (Header, error) {
	var header Header
	var alg, kid bool
	r := strictjson.NewReader(text)
	err := r.Document(func(name string) error {
		var value string
		var err error
		switch name {
		case "alg", "kid", "typ":
			if value, err = r.Text(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		default:
			if slices.Contains(refusedParameters, name) {
				return fmt.Errorf("%s is not accepted in a header", name)
			}
			if known := foldedName(name, knownParameters); known != "" {
				return fmt.Errorf("%q is not a way to spell %s", cut(name), known)
			}
			return r.Skip()
		}
		switch {
		case name == "alg" && value != algorithm:
			return fmt.Errorf("alg is %q, want %q", cut(value), algorithm)
		case name == "alg":
			alg = true
		case name == "kid":
			kid = true
			header.KeyID = value
			return CheckKeyID(value)
		case value == "":
			return errors.New("typ is \"\", want a type or no typ")
		default:
			header.Type = value
		}
		return nil
	})
	switch {
	case err != nil:
		return Header{}, err
	case !alg:
		return Header{}, fmt.Errorf("alg is missing, want %q", algorithm)
	case !kid:
		return Header{}, errors.New("kid is missing")
	}
	return header, nil
}

// CheckKeyID returns an error unless kid is 1 to [MaxKeyIDLength] printable
// ASCII characters. A space at either end is part of the kid. The error matches
// no sentinel of this package.
func CheckKeyID(kid string) error {
	if kid == "" {
		return errors.New("kid is empty")
	}
	if len(kid) > MaxKeyIDLength {
		return fmt.Errorf("kid has %d bytes, want at most %d", len(kid), MaxKeyIDLength)
	}
	for i := range len(kid) {
		if kid[i] < ' ' || kid[i] > '~' {
			return fmt.Errorf("kid is %q, want printable ASCII characters only", cut(kid))
		}
	}
	return nil
}

// foldedName returns the known name that equals name if case is ignored, or "".
func foldedName(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(name, k) {
			return k
		}
	}
	return ""
}
