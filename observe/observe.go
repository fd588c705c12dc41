// Package observe is what validators and issuers tell monitoring: the [Outcome] of each
// call, as it happens, and a [Report] of their state, when it is asked for.
//
// The modules metrics/prommetrics and metrics/otelmetrics are observers for Prometheus and
// OpenTelemetry. To write one of your own, implement [Observer], and [Attacher] if it also
// wants reports:
//
//	type refusals struct{ log *slog.Logger }
//
//	func (r refusals) Observe(o observe.Outcome) {
//		if o.Reason == token.ReasonSignature {
//			r.log.Warn("forged token", slog.String("kind", string(o.Kind)))
//		}
//	}
//
// Pass it to whatever shall be observed:
//
//	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(refusals{slog.Default()}))
package observe

import (
	"time"

	"github.com/meshpass/meshpass/token"
)

// Observer is told what validators and issuers answer.
type Observer interface {
	// Observe is called once for each Validate, Issue and Renew, for each Permits that
	// refuses and for each fork, on the goroutine of the caller, before it returns. Later versions may report
	// other operations. Observe may be called concurrently. The caller waits for
	// it: a validator needs half a microsecond for a token that it remembers, so Observe
	// should take less than a tenth of that, and must not block.
	Observe(Outcome)
}

// Attacher is implemented by an [Observer] that also wants the reports of validators.
type Attacher interface {
	// Attach is called with each new validator. Its Report may be called from then on, from
	// any goroutine. The validator calls detach when it is closed; Report still works, and
	// has the final counts.
	Attach(Reporter) (detach func())
}

// Reporter is a validator of either kind.
type Reporter interface {
	// Report returns the present state. It does not block on the store. It takes time in
	// proportion to the number of keys and lists.
	Report() Report
}

// Operation is what an issuer, a validator or a verified token was called for.
type Operation int

const (
	Validate Operation = iota
	Issue
	Permit // of a token that was accepted; only refusals are reported, without Took
	Renew
	Fork // two holders renew one token, as it seems: see dataplane.Fork; without Took
)

// Outcome is the answer to one call. It has no token and nothing that a peer made up, so
// that its texts can be labels of metrics: they take no more values than the store and the
// configuration have meshes and keys.
type Outcome struct {
	Operation Operation
	Kind      token.Kind

	// Mesh is the mesh for which a token was presented or issued, if the store or the
	// configuration has that mesh. It is empty for others, for zone tokens and for
	// offline issuers.
	Mesh string

	// KeyID is the kid of the key that signed the token. It is empty if the signature was
	// not checked or is wrong, and if nothing was issued.
	KeyID string

	// Reason is token.ReasonNone if the token was accepted, issued or renewed. An issuer has
	// token.ReasonUnknownKey if there is no key to sign with.
	Reason token.Reason

	// Took is how long the answer took. For an accepted token it leaves out what follows
	// the look at the revocation lists, which is less than a microsecond.
	Took time.Duration
}
