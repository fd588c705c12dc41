package serviceaccount

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/token"
)

// claims are the claims of a token. They are unverified until the API server has
// authenticated the token.
type claims struct {
	subject string
	expires time.Time
	id      string // jti; "" if there is none
}

// precheck refuses tokens that cannot be good, so that they cause no review. For
// the log it returns the claims that it could read.
//
// There is no leeway for exp. The kubelet replaces a token when a fifth of its
// lifetime is left, at least two minutes, so clocks may differ by that much.
func (v *Validator) precheck(raw string) (claims, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return claims{}, err
	}
	c, audiences, err := decodeClaims(unverified)
	if err != nil {
		return c, fmt.Errorf("%w: %w", token.ErrClaims, err)
	}
	if len(shared(v.audiences, audiences)) == 0 {
		return c, fmt.Errorf("%w: its audiences are %s, want one of %s", token.ErrClaims, some(audiences), some(v.audiences))
	}
	return c, v.checkExpiry(c.expires)
}

func (v *Validator) checkExpiry(expires time.Time) error {
	if !v.config.now().Before(expires) {
		return fmt.Errorf("%w at %s", token.ErrExpired, expires.Format(time.RFC3339))
	}
	return nil
}

func decodeClaims(unverified token.Unverified) (c claims, audiences []string, err error) {
	_, payload, _ := strings.Cut(unverified.SigningInput(), ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return c, nil, errors.New("the payload is not base64url")
	}
	// A map, since a struct would accept "EXP" as "exp".
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return c, nil, errors.New("the payload is not a JSON object")
	}
	if id, ok := member[string](members, "jti"); ok {
		c.id = id
	}
	subject, _ := member[string](members, "sub")
	if _, _, err := parseUsername(subject); err != nil {
		return c, nil, fmt.Errorf("sub %.64q is %w", subject, err)
	}
	c.subject = subject

	// A single audience may be a string instead of a list (RFC 7519, section 4.1.3).
	audiences, ok := member[[]string](members, "aud")
	if one, isOne := member[string](members, "aud"); isOne {
		audiences, ok = []string{one}, true
	}
	if !ok {
		return c, nil, errors.New("aud is missing or not a list of strings")
	}

	if _, has := members["exp"]; !has {
		return c, nil, errors.New("exp is missing, as in the token of a Secret; use a token from a projected volume")
	}
	const year10000 = 253402300800
	seconds, ok := member[float64](members, "exp") // a fraction is cut off
	if !ok || seconds < 1 || seconds >= year10000 {
		return c, nil, errors.New("exp is not a time, want seconds since 1970")
	}
	c.expires = time.Unix(int64(seconds), 0).UTC()
	return c, audiences, nil
}

// member returns a member of an object, and false if it is absent or of another
// type.
func member[T any](members map[string]json.RawMessage, name string) (T, bool) {
	var value *T // remains nil for null
	if err := json.Unmarshal(members[name], &value); err != nil || value == nil {
		var none T
		return none, false
	}
	return *value, true
}

// shared returns the members of a that are also in b.
func shared(a, b []string) []string {
	var both []string
	for _, s := range a {
		if slices.Contains(b, s) {
			both = append(both, s)
		}
	}
	return both
}

// some quotes the first names of a list.
func some(names []string) string {
	const shown = 8
	if len(names) > shown {
		return fmt.Sprintf("%.64q and %d more", names[:shown], len(names)-shown)
	}
	return fmt.Sprintf("%.64q", names)
}
