package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// outcomes counts the answers of validators.
type outcomes struct{ total *prometheus.CounterVec }

func newOutcomes(registry prometheus.Registerer) outcomes {
	o := outcomes{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshpass_validations_total",
		Help: "Tokens validated, by outcome. kid is empty if the signature was not verified.",
	}, []string{"kind", "outcome", "kid"})}
	registry.MustRegister(o.total)
	return o
}

// refusals names the outcomes other than accepted. Those after a verified signature have a
// kid. An unverified kid may be invented, and each one would make a new time series.
var refusals = []struct {
	err    error
	name   string
	signed bool
}{
	{token.ErrMalformed, "malformed", false},
	{token.ErrHeader, "header", false},
	{token.ErrUnknownKey, "unknown_key", false},
	{token.ErrSignature, "signature", false},
	{token.ErrClaims, "claims", true},
	{token.ErrIssuer, "issuer", true},
	{token.ErrAudience, "audience", true},
	{token.ErrKind, "kind", true},
	{token.ErrScope, "scope", false}, // a mesh that cannot exist is refused before the signature
	{token.ErrRevoked, "revoked", true},
	{token.ErrExpired, "expired", true},
	{token.ErrNotYetValid, "not_yet_valid", true},
	{token.ErrLifetime, "lifetime", true},
	{token.ErrUnavailable, "unavailable", false},
}

// refused counts a refused token.
func (o outcomes) refused(kind token.Kind, raw string, err error) {
	for _, r := range refusals {
		if !errors.Is(err, r.err) {
			continue
		}
		kid := ""
		if r.signed {
			kid = keyID(raw)
		}
		o.total.WithLabelValues(string(kind), r.name, kid).Inc()
		return
	}
	o.total.WithLabelValues(string(kind), "other", "").Inc()
}

// accepted counts an accepted token.
func (o outcomes) accepted(kind token.Kind, kid string) {
	o.total.WithLabelValues(string(kind), "accepted", kid).Inc()
}

// keyID returns the kid of a token.
func keyID(raw string) string {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return ""
	}
	header, err := unverified.HeaderOfAnyType()
	if err != nil {
		return ""
	}
	return header.KeyID
}

// countedDataplanes and countedZones are validators that count their answers.
type (
	countedDataplanes struct {
		dataplane.Validator
		outcomes
	}
	countedZones struct {
		zone.Validator
		outcomes
	}
)

// Validate implements dataplane.Validator.
func (v countedDataplanes) Validate(ctx context.Context, mesh, raw string) (dataplane.Verified, error) {
	verified, err := v.Validator.Validate(ctx, mesh, raw)
	if err != nil {
		v.refused(token.KindDataplane, raw, err)
	} else {
		v.accepted(token.KindDataplane, verified.KeyID())
	}
	return verified, err
}

// Validate implements zone.Validator.
func (v countedZones) Validate(ctx context.Context, name, scope, raw string) (zone.Verified, error) {
	verified, err := v.Validator.Validate(ctx, name, scope, raw)
	if err != nil {
		v.refused(token.KindZone, raw, err)
	} else {
		v.accepted(token.KindZone, verified.KeyID())
	}
	return verified, err
}

// watched is a validator of either kind.
type watched struct {
	usage     func() []dataplane.KeyUse
	staleness func() (time.Duration, bool)
}

func ofProxies(v dataplane.Validator) watched { return watched{v.Usage, v.Staleness} }

// ofZones reports the uses of zone keys as those of a mesh without a name.
func ofZones(v zone.Validator) watched {
	return watched{func() (uses []dataplane.KeyUse) {
		for _, use := range v.Usage() {
			uses = append(uses, dataplane.KeyUse{KeyID: use.KeyID, Validations: use.Validations, LastUsed: use.LastUsed, Sessions: use.Sessions})
		}
		return uses
	}, v.Staleness}
}

// validatorState exports the state of a validator.
type validatorState struct {
	validator watched

	sessions, lastUsed, staleness *prometheus.Desc
}

func registerValidator(registry prometheus.Registerer, kind token.Kind, validator watched) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, prometheus.Labels{"kind": string(kind)})
	}
	registry.MustRegister(&validatorState{
		validator: validator,
		sessions:  desc("meshpass_sessions_open", "Open sessions, by the key that signed their tokens.", "mesh", "kid"),
		lastUsed:  desc("meshpass_key_last_used_timestamp_seconds", "When a token of the key was last accepted.", "mesh", "kid"),
		staleness: desc("meshpass_staleness_seconds", "Age of the keys and revocations that answers are based on; none before the first read."),
	})
}

// Describe implements prometheus.Collector.
func (s *validatorState) Describe(descs chan<- *prometheus.Desc) {
	descs <- s.sessions
	descs <- s.lastUsed
	descs <- s.staleness
}

// Collect implements prometheus.Collector.
func (s *validatorState) Collect(metrics chan<- prometheus.Metric) {
	for _, use := range s.validator.usage() {
		metrics <- prometheus.MustNewConstMetric(s.sessions, prometheus.GaugeValue, float64(use.Sessions), use.Mesh, use.KeyID)
		if !use.LastUsed.IsZero() {
			metrics <- prometheus.MustNewConstMetric(s.lastUsed, prometheus.GaugeValue, float64(use.LastUsed.Unix()), use.Mesh, use.KeyID)
		}
	}
	if age, ok := s.validator.staleness(); ok {
		metrics <- prometheus.MustNewConstMetric(s.staleness, prometheus.GaugeValue, age.Seconds())
	}
}
