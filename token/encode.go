package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Encode returns a compact token with the claims, its times cut to whole
// seconds, and keyID as its kid. It calls sign once, with the signing input
// (RFC 7515, section 5.1). sign returns an RS256 signature over it.
//
// The error matches [ErrNotIssuable] if the decoder or a validator would reject
// the token: for claims of no kind or of both; a bad kid; a missing or bad ID;
// a missing ExpiresAt, or one that is not after NotBefore; times before 1970 or
// after the year 9999; a tag with an empty list; a zone token without a scope
// or with an empty one; a name that [CheckName] refuses; a token over [MaxSize] bytes.
// Encode checks all of this before it calls sign. After sign it rejects only an
// empty signature, and one that makes the token exceed MaxSize (RSA keys above
// 2048 bits). An error of sign is returned wrapped.
func Encode(keyID string, c Claims, sign func(signingInput []byte) ([]byte, error)) (string, error) {
	if sign == nil {
		return "", fmt.Errorf("%w: no signing function", ErrNotIssuable)
	}
	signingInput, err := encodeSigningInput(keyID, c)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotIssuable, err)
	}
	signature, err := sign([]byte(signingInput))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(signature) == 0 {
		return "", fmt.Errorf("%w: the signature is empty", ErrNotIssuable)
	}
	if err := checkSize(signingInput, len(signature)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotIssuable, err)
	}
	return signingInput + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

func encodeSigningInput(keyID string, c Claims) (string, error) {
	if err := checkClaims(c); err != nil {
		return "", err
	}
	header, err := json.Marshal(wireHeader{Algorithm: algorithm, KeyID: keyID, Type: "JWT"})
	if err != nil {
		return "", err
	}
	registered := wireRegistered{
		ExpiresAt: *seconds(c.ExpiresAt),
		NotBefore: seconds(c.NotBefore),
		IssuedAt:  seconds(c.IssuedAt),
		ID:        c.ID,
	}
	var payload []byte
	if d := c.Dataplane; d.Mesh != "" {
		if d.Tags == nil {
			d.Tags = map[string][]string{} // {}, not null
		}
		payload, err = json.Marshal(wireDataplane{d.Name, d.Mesh, d.Tags, d.Type, d.Workload, registered})
	} else {
		payload, err = json.Marshal(wireZone{c.Zone.Zone, c.Zone.Scope, registered})
	}
	if err != nil {
		return "", err
	}
	// The decoder checks kid, jti and times.
	if _, err := decodeHeader(string(header)); err != nil {
		return "", err
	}
	if _, err := decodeClaims(string(payload), &Demands{}); err != nil {
		return "", err
	}
	signingInput := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	const smallestSignature = 2048 / 8 // bytes; no smaller key signs
	return signingInput, checkSize(signingInput, smallestSignature)
}

// The wire forms, with names and fields in the order in which they are written.
type (
	wireHeader struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}
	wireDataplane struct {
		Name     string
		Mesh     string
		Tags     map[string][]string
		Type     string
		Workload string
		wireRegistered
	}
	wireZone struct {
		Zone  string
		Scope []string
		wireRegistered
	}
	wireRegistered struct {
		ExpiresAt int64  `json:"exp"`
		NotBefore *int64 `json:"nbf,omitempty"`
		IssuedAt  *int64 `json:"iat,omitempty"`
		ID        string `json:"jti"`
	}
)

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// checkClaims makes the checks that the decoder does not make.
func checkClaims(c Claims) error {
	d, z := c.Dataplane, c.Zone
	zone := z.Zone != ""
	switch {
	case d.Mesh == "" && !zone:
		return errors.New("neither a mesh nor a zone is named")
	case zone && (d.Mesh != "" || d.Name != "" || len(d.Tags) > 0 || d.Type != "" || d.Workload != ""):
		return errors.New("claims about a data plane proxy do not belong in a zone token")
	case !zone && len(z.Scope) > 0:
		return errors.New("a scope does not belong in a dataplane token")
	case zone && len(z.Scope) == 0:
		return errors.New("a zone token without a scope authenticates nothing")
	case c.ID == "":
		return errors.New("jti is missing, so the token could not be revoked")
	case c.ExpiresAt.IsZero():
		return errors.New("exp is missing")
	case !c.NotBefore.IsZero() && c.ExpiresAt.Unix() <= c.NotBefore.Unix():
		return fmt.Errorf("exp %d is not after nbf %d", c.ExpiresAt.Unix(), c.NotBefore.Unix())
	}
	for _, scope := range z.Scope {
		if scope == "" {
			return errors.New("a scope is empty")
		}
	}
	for name, values := range d.Tags {
		if len(values) == 0 {
			return fmt.Errorf("tag %q has an empty list, which allows nothing", cut(name))
		}
	}
	// encoding/json would replace invalid UTF-8 with U+FFFD.
	return checkNames(c)
}

// checkSize checks the size of a token whose signature has the given length in
// bytes.
func checkSize(signingInput string, signature int) error {
	size := len(signingInput) + 1 + base64.RawURLEncoding.EncodedLen(signature)
	if size > MaxSize {
		return fmt.Errorf("the token would have %d bytes, want at most %d", size, MaxSize)
	}
	return nil
}
