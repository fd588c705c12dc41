package token

import "errors"

// Reason names the check that decided about a token, for metrics: one of a small fixed
// set, whatever the text of the error says. [ReasonOf] returns the reason of an error.
type Reason int

// ReasonNone is the reason of nil: nothing speaks against the token. The others stand for
// the errors of the same name. Later versions may add reasons before ReasonOther, which is
// the last one.
const (
	ReasonNone Reason = iota
	ReasonMalformed
	ReasonHeader
	ReasonUnknownKey // also: there is no key to sign with
	ReasonSignature
	ReasonClaims
	ReasonIssuer
	ReasonAudience
	ReasonKind
	ReasonScope
	ReasonRevoked
	ReasonExpired
	ReasonNotYetValid
	ReasonLifetime
	ReasonInvalid // ErrInvalid alone
	ReasonNotPermitted
	ReasonClosed
	ReasonUnavailable
	ReasonLineage
	ReasonNotIssuable
	ReasonIssuingDisabled
	ReasonDenied
	ReasonSigner // the signing key cannot be read, or the issuer has no signer for it
	ReasonOther  // of no error of this package
)

// reasons holds the names, and the errors in the order in which they count: a definite
// rejection outranks an undetermined answer, and a check outranks its class.
var reasons = [...]struct {
	name  string
	class Class
	err   error
}{
	ReasonNone:            {"none", Unclassified, nil},
	ReasonMalformed:       {"malformed", Invalid, ErrMalformed},
	ReasonHeader:          {"header", Invalid, ErrHeader},
	ReasonUnknownKey:      {"unknown_key", Invalid, ErrUnknownKey},
	ReasonSignature:       {"signature", Invalid, ErrSignature},
	ReasonClaims:          {"claims", Invalid, ErrClaims},
	ReasonIssuer:          {"issuer", Invalid, ErrIssuer},
	ReasonAudience:        {"audience", Invalid, ErrAudience},
	ReasonKind:            {"kind", Invalid, ErrKind},
	ReasonScope:           {"scope", NotPermitted, ErrScope},
	ReasonRevoked:         {"revoked", Invalid, ErrRevoked},
	ReasonExpired:         {"expired", Invalid, ErrExpired},
	ReasonNotYetValid:     {"not_yet_valid", Invalid, ErrNotYetValid},
	ReasonLifetime:        {"lifetime", Invalid, ErrLifetime},
	ReasonInvalid:         {"invalid", Invalid, ErrInvalid},
	ReasonNotPermitted:    {"not_permitted", NotPermitted, ErrNotPermitted},
	ReasonClosed:          {"closed", Unavailable, ErrClosed},
	ReasonUnavailable:     {"unavailable", Unavailable, ErrUnavailable},
	ReasonLineage:         {"lineage", Unclassified, ErrLineage},
	ReasonNotIssuable:     {"not_issuable", Unclassified, ErrNotIssuable},
	ReasonIssuingDisabled: {"issuing_disabled", Unclassified, ErrIssuingDisabled},
	ReasonDenied:          {"denied", Unclassified, ErrDenied},
	ReasonSigner:          {"signer", Unclassified, nil},
	ReasonOther:           {"other", Unclassified, nil},
}

// ReasonOf returns the reason of an error about a token: [ReasonNone] for nil, and
// [ReasonOther] for an error that matches none of this package.
func ReasonOf(err error) Reason {
	if err == nil {
		return ReasonNone
	}
	for r := range reasons {
		if is := reasons[r].err; is != nil && errors.Is(err, is) {
			return Reason(r)
		}
	}
	return ReasonOther
}

// Class returns the class of the errors of the reason, as [ClassOf] does.
func (r Reason) Class() Class { return reasons[r.known()].class }

// String returns the name of the reason, in lower case with underscores, such as
// "not_yet_valid".
func (r Reason) String() string { return reasons[r.known()].name }

func (r Reason) known() Reason {
	if r < 0 || int(r) >= len(reasons) {
		return ReasonOther
	}
	return r
}
