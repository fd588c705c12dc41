package token

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/internal/strictjson"
)

// MaxIDLength is the maximum length of a jti, in bytes.
const MaxIDLength = 256

// Skew is by how much the clocks of issuers, validators and operators may differ.
const Skew = 2 * time.Minute

// Kind distinguishes dataplane tokens from zone tokens. Each kind has its own
// tokens, keys and revocation lists.
type Kind string

// The kinds of token.
const (
	KindDataplane Kind = "dataplane"
	KindZone      Kind = "zone"
)

// Dataplane holds the claims about the data plane proxy that may use a token.
// Mesh is required. An empty field does not restrict the proxy. [CheckName] says which
// names a token is issued with.
type Dataplane struct {
	// Mesh is the mesh that the proxy may join.
	Mesh string
	// Name is the required name of the proxy.
	Name string
	// Tags holds the tags that the inbounds of the proxy must carry, each with
	// its allowed values. A tag with an empty list allows nothing. A token
	// without tags decodes to nil.
	Tags map[string][]string
	// Type is the required type of the proxy, such as "dataplane" or "ingress".
	Type string
	// Workload is the required workload of the proxy.
	Workload string
}

// Clone returns a deep copy.
func (d Dataplane) Clone() Dataplane {
	d.Tags = maps.Clone(d.Tags)
	for name, values := range d.Tags {
		d.Tags[name] = slices.Clone(values)
	}
	return d
}

// Zone holds the claims about the zone whose components may use a token.
type Zone struct {
	// Zone is the name of the zone.
	Zone string
	// Scope lists the components that the token is for: "cp", "ingress",
	// "egress", or others that an application defines. An empty list
	// authenticates nothing.
	Scope []string
}

// Clone returns a deep copy.
func (z Zone) Clone() Zone {
	z.Scope = slices.Clone(z.Scope)
	return z
}

// Registered holds the registered claims (RFC 7519, section 4.1) that tokens of
// both kinds carry. Decoded times are whole seconds in UTC. The zero time and
// the empty ID stand for an absent claim.
type Registered struct {
	// ID is the jti, by which a token is revoked: 1 to [MaxIDLength] visible
	// ASCII characters without a comma.
	ID string
	// IssuedAt is the iat. Issuers of this module set it back by five seconds.
	IssuedAt time.Time
	// NotBefore is the nbf: before this time the token is not valid.
	NotBefore time.Time
	// ExpiresAt is the exp: from this time on the token is not valid.
	ExpiresAt time.Time
}

// Claims holds the claims of a token. Exactly one of Dataplane.Mesh and
// Zone.Zone is set, which defines the kind; all fields of the other kind are
// empty.
type Claims struct {
	Registered
	Dataplane Dataplane
	Zone      Zone
}

// Kind returns the kind of token that carries the claims. It is "" if both
// Dataplane.Mesh and Zone.Zone are empty; no token carries such claims.
func (c Claims) Kind() Kind {
	switch {
	case c.Dataplane.Mesh != "":
		return KindDataplane
	case c.Zone.Zone != "":
		return KindZone
	}
	return ""
}

// Claims decodes the payload: a strict JSON object with the claims Mesh, Name,
// Tags, Type and Workload, or Zone and Scope, and the registered claims exp,
// nbf, iat and jti. The first seven may also be spelled in lower case. Any
// other case of a known name is rejected. So is a duplicate claim, even in two
// spellings, and a claim of the other kind, since its restriction would be
// ignored. Unknown claims are ignored, but must be strict JSON too.
//
// An empty string stands for an absent string claim, and null for any absent
// claim. Times are seconds since 1970 up to the year 9999, in digits. A decimal
// fraction is cut off; an exponent, a sign and an exp of 0 are rejected.
//
// Names may have any characters, also those that [CheckName] refuses: other issuers may
// have issued them. Neither exp nor jti is required here; validators require both by default. The
// strings share the memory of one decoded payload of at most [MaxSize] bytes.
//
// Errors match [ErrClaims].
func (u Unverified) Claims() (Claims, error) {
	return u.ClaimsUnder(Demands{LowerCase: true})
}

// ClaimsUnder is Claims for a token whose key has demands. Unless d.LowerCase is true,
// the claims that may be spelled in lower case are other claims in that spelling, and
// ignored. Every spelling that Claims rejects is rejected here too.
//
// A claim that d demands must be there, as RFC 7519 says: iss a string, aud a string or
// an array of strings. Errors match [ErrClaims], [ErrIssuer] or [ErrAudience].
func (u Unverified) ClaimsUnder(d Demands) (Claims, error) {
	packed, err := u.PackedClaims(d)
	return packed.Unpack(), err
}

// PackedClaims is ClaimsUnder without the map of the tags, which most callers never need:
// with one tag it takes half of the memory of the claims. The tags are checked all the same.
func (u Unverified) PackedClaims(d Demands) (PackedClaims, error) {
	packed, err := decodeClaims(decodeText(u.parts().payload), &d)
	if err != nil && !errors.Is(err, ErrInvalid) {
		err = fmt.Errorf("%w: %w", ErrClaims, err)
	}
	return packed, err
}

// PackedClaims holds decoded claims.
type PackedClaims struct {
	// Untagged holds the claims without the tags. They do not tell what a proxy may do.
	Untagged Claims

	// Others reports whether the token has other claims, which are ignored: a token with
	// the same claims would lack them.
	Others bool

	tags string // as the token has them, checked; empty if there are none
}

// Unpack returns the claims with the tags, which are a new map each time.
func (p *PackedClaims) Unpack() Claims {
	c := p.Untagged
	if p.tags != "" {
		c.Dataplane.Tags = decodeTags(p.tags)
	}
	return c
}

// demanded holds the claims that a key may demand.
type demanded struct {
	issuer   string
	audience string   // one, or
	all      []string // several
}

// check returns ErrIssuer or ErrAudience unless the claims are as demanded. What is not
// demanded is empty on both sides.
func (f *demanded) check(d *Demands) error {
	if f.issuer != d.Issuer {
		if f.issuer == "" {
			return fmt.Errorf("%w: iss is missing, want %q", ErrIssuer, d.Issuer)
		}
		return fmt.Errorf("%w: iss is %q, want %q", ErrIssuer, cut(f.issuer), d.Issuer)
	}
	if f.audience == d.Audience || slices.Contains(f.all, d.Audience) {
		return nil
	}
	switch shown := f.all[:min(len(f.all), 4)]; {
	case f.audience != "":
		return fmt.Errorf("%w: aud is %q, want %q", ErrAudience, cut(f.audience), d.Audience)
	case len(shown) > 0:
		return fmt.Errorf("%w: aud has %d values, %.64q first, without %q", ErrAudience, len(f.all), shown, d.Audience)
	}
	return fmt.Errorf("%w: aud is missing, want %q", ErrAudience, d.Audience)
}

// claim is a known claim.
type claim int

const (
	unknownClaim claim = iota
	claimMesh
	claimName
	claimTags
	claimType
	claimWorkload
	claimZone
	claimScope
	claimExpiresAt
	claimNotBefore
	claimIssuedAt
	claimID

	// These are known only if they are demanded.
	claimIssuer
	claimAudience
	claims
)

// claimNames holds the names as they are written. A name that differs only in
// case is another spelling of the same claim.
var claimNames = []string{
	claimMesh:      "Mesh",
	claimName:      "Name",
	claimTags:      "Tags",
	claimType:      "Type",
	claimWorkload:  "Workload",
	claimZone:      "Zone",
	claimScope:     "Scope",
	claimExpiresAt: "exp",
	claimNotBefore: "nbf",
	claimIssuedAt:  "iat",
	claimID:        "jti",
	claimIssuer:    "iss",
	claimAudience:  "aud",
}

func (c claim) String() string { return claimNames[c] }

// claimNamed returns the claim with a name, or unknownClaim. The error means
// that a lenient reader could take the name for a known claim.
func claimNamed(spelling string, d *Demands) (claim, error) {
	switch spelling {
	case "Mesh":
		return claimMesh, nil
	case "Name":
		return claimName, nil
	case "Tags":
		return claimTags, nil
	case "Type":
		return claimType, nil
	case "Workload":
		return claimWorkload, nil
	case "Zone":
		return claimZone, nil
	case "Scope":
		return claimScope, nil
	case "exp":
		return claimExpiresAt, nil
	case "nbf":
		return claimNotBefore, nil
	case "iat":
		return claimIssuedAt, nil
	case "jti":
		return claimID, nil
	}
	found := foldedClaim(spelling)
	switch {
	case !found.known(d):
		return unknownClaim, nil
	case spelling == found.String(): // iss or aud
		return found, nil
	case found <= claimScope && spelling == strings.ToLower(found.String()):
		if d.LowerCase {
			return found, nil
		}
		return unknownClaim, nil // it means something else
	}
	return unknownClaim, fmt.Errorf("%q is not a way to spell claim %s", cut(spelling), found)
}

// known reports whether the claim is one of ours, or demanded.
func (c claim) known(d *Demands) bool {
	switch c {
	case unknownClaim:
		return false
	case claimIssuer:
		return d.Issuer != ""
	case claimAudience:
		return d.Audience != ""
	}
	return true
}

// foldedClaim returns the claim whose name equals spelling if case is ignored.
func foldedClaim(spelling string) claim {
	for c := claimMesh; c < claims; c++ {
		if strings.EqualFold(spelling, c.String()) {
			return c
		}
	}
	return unknownClaim
}

// decodeClaims decodes a payload. The error matches only ErrIssuer, ErrAudience or no
// sentinel.
func decodeClaims(text string, d *Demands) (PackedClaims, error) {
	var packed PackedClaims
	var seen [claims]bool
	var found demanded
	var tags, scope bool // present, even if empty
	c := &packed.Untagged
	r := strictjson.NewReader(text)
	err := r.Document(func(name string) error {
		claim, err := claimNamed(name, d)
		if err != nil {
			return err
		}
		if claim == unknownClaim {
			packed.Others = true
			return r.Skip()
		}
		if seen[claim] {
			return fmt.Errorf("claim %s appears twice, once as %q", claim, name)
		}
		seen[claim] = true
		if r.Word("null") {
			return nil
		}
		switch claim {
		case claimMesh:
			c.Dataplane.Mesh, err = r.Text()
		case claimName:
			c.Dataplane.Name, err = r.Text()
		case claimTags:
			tags = true
			packed.tags, err = checkTags(&r)
		case claimType:
			c.Dataplane.Type, err = r.Text()
		case claimWorkload:
			c.Dataplane.Workload, err = r.Text()
		case claimZone:
			c.Zone.Zone, err = r.Text()
		case claimScope:
			scope = true
			c.Zone.Scope, err = r.Texts()
		case claimExpiresAt:
			c.ExpiresAt, err = decodeTime(&r)
			if err == nil && c.ExpiresAt.Unix() == 0 {
				err = errors.New("0, want a time after 1970")
			}
		case claimNotBefore:
			c.NotBefore, err = decodeTime(&r)
		case claimIssuedAt:
			c.IssuedAt, err = decodeTime(&r)
		case claimID:
			if c.ID, err = r.Text(); err == nil {
				err = checkID(c.ID)
			}
		case claimIssuer:
			found.issuer, err = r.Text()
		case claimAudience:
			if r.Peek() == '[' {
				found.all, err = r.Texts()
			} else {
				found.audience, err = r.Text()
			}
		}
		if err != nil {
			return fmt.Errorf("claim %s: %w", claim, err)
		}
		return nil
	})
	if err != nil {
		return PackedClaims{}, err
	}
	if err := found.check(d); err != nil {
		return PackedClaims{}, err
	}
	if err := c.checkKind(tags, scope); err != nil {
		return PackedClaims{}, err
	}
	return packed, nil
}

// checkKind checks that the claims are those of one kind of token. tags and scope say
// whether the token has these claims, even if they are empty.
func (c *Claims) checkKind(tags, scope bool) error {
	mesh, zone := c.Dataplane.Mesh != "", c.Zone.Zone != ""
	switch {
	case mesh && zone:
		return errors.New("claims Mesh and Zone are both set, want one of them")
	case !mesh && !zone:
		return errors.New("claims Mesh and Zone are both missing, want one of them")
	}
	other := unknownClaim
	switch d := c.Dataplane; {
	case zone && d.Name != "":
		other = claimName
	case zone && tags:
		other = claimTags
	case zone && d.Type != "":
		other = claimType
	case zone && d.Workload != "":
		other = claimWorkload
	case mesh && scope:
		other = claimScope
	}
	if other != unknownClaim {
		return fmt.Errorf("claim %s does not belong in a %s token", other, c.Kind())
	}
	return nil
}

// checkTags reads tags, and returns their text. It is empty if there are none.
func checkTags(r *strictjson.Reader) (text string, err error) {
	some := false
	text, err = r.TextOf(func() error {
		return r.Object(func(name string) error {
			some = true
			if r.Word("null") {
				return nil
			}
			if err := r.Array(func() error { _, err := r.Text(); return err }); err != nil {
				return fmt.Errorf("tag %q: %w", cut(name), err)
			}
			return nil
		})
	})
	if !some {
		return "", err
	}
	return text, err
}

// decodeTags returns the tags in a text that was checked.
func decodeTags(text string) map[string][]string {
	tags := map[string][]string{}
	r := strictjson.NewReader(text)
	_ = r.Object(func(name string) error {
		var values []string
		if !r.Word("null") {
			values, _ = r.Texts()
		}
		tags[name] = values
		return nil
	})
	return tags
}

// maxSeconds is the last second of the year 9999, since 1970.
const maxSeconds = 253402300799

// decodeTime reads a NumericDate (RFC 7519, section 2).
func decodeTime(r *strictjson.Reader) (time.Time, error) {
	number, err := r.Number()
	if err != nil {
		return time.Time{}, err
	}
	if number[0] == '-' {
		return time.Time{}, fmt.Errorf("%q is negative, want seconds since 1970", cut(number))
	}
	var seconds int64
	fraction := false
	for i := range len(number) {
		switch digit := number[i]; {
		case digit == 'e' || digit == 'E':
			return time.Time{}, fmt.Errorf("%q has an exponent, want digits only", cut(number))
		case digit == '.':
			fraction = true
		case !fraction && seconds <= maxSeconds: // stops short of an overflow
			seconds = seconds*10 + int64(digit-'0')
		}
	}
	if seconds > maxSeconds {
		return time.Time{}, fmt.Errorf("%q is after the year 9999, want seconds since 1970", cut(number))
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// checkID accepts only ids that a revocation list can hold, and the empty one.
func checkID(id string) error {
	if len(id) > MaxIDLength {
		return fmt.Errorf("%d bytes, want at most %d", len(id), MaxIDLength)
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' || id[i] == ',' {
			return fmt.Errorf("%q, want visible ASCII characters without a comma", cut(id))
		}
	}
	return nil
}
