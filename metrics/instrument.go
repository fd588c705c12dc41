package metrics

import "iter"

// Instrument describes a metric in the terms of neither monitoring system.
type Instrument struct {
	Name string // with dots between words, such as "meshpass.store.reads"
	Type Type
	Unit string // as in UCUM: "s" for seconds, or what is counted, such as "{read}"
	Help string

	Attributes []string  // their names, in the order of the values
	Bounds     []float64 // of a histogram: the upper bounds of its buckets, in the unit
}

// Type is the type of a metric.
type Type int

const (
	Counter       Type = iota
	UpDownCounter      // a gauge whose sum over several processes means something
	Gauge
	Histogram // not in Tally.Values: the observer of a monitoring system keeps it
)

// Seconds reports whether the values are durations or timestamps, and so not whole numbers.
func (i *Instrument) Seconds() bool { return i.Unit == "s" }

// The histograms, with the attributes that [Index.Attributes] returns.
var (
	ValidationDuration = &Instrument{
		Name:       "meshpass.validation.duration",
		Type:       Histogram,
		Unit:       "s",
		Help:       "How long Validate took to answer.",
		Attributes: []string{"kind", "class"},
		Bounds:     []float64{1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 10e-3, 100e-3, 500e-3, 1.5},
	}
	IssuanceDuration = &Instrument{
		Name:       "meshpass.issuance.duration",
		Type:       Histogram,
		Unit:       "s",
		Help:       "How long Issue took, with its reads of the store and its signature.",
		Attributes: []string{"kind", "class"},
		Bounds:     issuing,
	}
	RenewalDuration = &Instrument{
		Name:       "meshpass.renewal.duration",
		Type:       Histogram,
		Unit:       "s",
		Help:       "How long Renew took, with its reads of the store and its signature.",
		Attributes: []string{"kind", "class"},
		Bounds:     issuing,
	}
	issuing = []float64{250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5}
)

var (
	validations = &Instrument{
		Name:       "meshpass.validations",
		Unit:       "{validation}",
		Help:       "Answers of Validate. reason is empty for accepted tokens; mesh is empty if the store does not have the one asked for.",
		Attributes: []string{"kind", "mesh", "class", "reason"},
	}
	issuances = &Instrument{
		Name:       "meshpass.issuances",
		Unit:       "{issuance}",
		Help:       "Answers of Issue. reason is empty for issued tokens; mesh is empty if it is known from the request alone.",
		Attributes: []string{"kind", "mesh", "class", "reason"},
	}
	renewals = &Instrument{
		Name:       "meshpass.renewals",
		Unit:       "{renewal}",
		Help:       "Answers of Renew. reason is empty for renewed tokens, and lineage where a new token must be issued.",
		Attributes: []string{"kind", "mesh", "class", "reason"},
	}
	forks = &Instrument{
		Name:       "meshpass.forks",
		Unit:       "{fork}",
		Help:       "Tokens that two holders use or renew, as it seems: after another renewal of the same id, or the latest for the third time.",
		Attributes: []string{"kind", "mesh"},
	}
	permitRefusals = &Instrument{
		Name:       "meshpass.permit.refusals",
		Unit:       "{refusal}",
		Help:       "Peers with accepted tokens that do not permit them, such as a proxy of another name.",
		Attributes: []string{"kind", "mesh"},
	}
	keyValidations = &Instrument{
		Name:       "meshpass.key.validations",
		Unit:       "{validation}",
		Help:       "Tokens with a good signature of the key, accepted or refused.",
		Attributes: []string{"kind", "mesh", "kid", "result"},
	}
	keys = &Instrument{
		Name:       "meshpass.keys",
		Type:       Gauge,
		Unit:       "{key}",
		Help:       "1 for each key. state is signs for the newest, verifies for others, unreadable, or source for those that are not of the store.",
		Attributes: []string{"kind", "mesh", "kid", "state"},
	}
	keyCreated = &Instrument{
		Name:       "meshpass.key.created.timestamp",
		Type:       Gauge,
		Unit:       "s",
		Help:       "When the store created the key, in seconds since 1970.",
		Attributes: []string{"kind", "mesh", "kid"},
	}
	keyUnusedSince = &Instrument{
		Name:       "meshpass.key.unused.since.timestamp",
		Type:       Gauge,
		Unit:       "s",
		Help:       "When this process last accepted a token of the key, or else when it began, in seconds since 1970.",
		Attributes: []string{"kind", "mesh", "kid"},
	}
	sessions = &Instrument{
		Name:       "meshpass.sessions",
		Type:       UpDownCounter,
		Unit:       "{session}",
		Help:       "Open sessions, by the key that signed their tokens.",
		Attributes: []string{"kind", "mesh", "kid"},
	}
	staleness = &Instrument{
		Name:       "meshpass.staleness",
		Type:       Gauge,
		Unit:       "s",
		Help:       "Time since the last complete read of the store began. There is none before the first one has succeeded.",
		Attributes: []string{"kind"},
	}
	storeReads = &Instrument{
		Name:       "meshpass.store.reads",
		Unit:       "{read}",
		Help:       "Reads of the store by validators, complete or of a single mesh, failed ones included.",
		Attributes: []string{"kind", "extent"},
	}
	storeReadFailures = &Instrument{
		Name:       "meshpass.store.read.failures",
		Unit:       "{read}",
		Help:       "Failed reads of the store by validators, complete or of a single mesh.",
		Attributes: []string{"kind", "extent"},
	}
	sourceStaleness = &Instrument{
		Name:       "meshpass.source.staleness",
		Type:       Gauge,
		Unit:       "s",
		Help:       "Time since a source of public keys, such as a JWKS, was last read. There is none before the first read has succeeded.",
		Attributes: []string{"kind", "mesh", "source"},
	}
	sourceReads = &Instrument{
		Name:       "meshpass.source.reads",
		Unit:       "{read}",
		Help:       "Reads of a source of public keys, failed ones included.",
		Attributes: []string{"kind", "mesh", "source"},
	}
	sourceReadFailures = &Instrument{
		Name:       "meshpass.source.read.failures",
		Unit:       "{read}",
		Help:       "Failed reads of a source of public keys.",
		Attributes: []string{"kind", "mesh", "source"},
	}
	revokedIDs = &Instrument{
		Name:       "meshpass.revoked.ids",
		Type:       Gauge,
		Unit:       "{id}",
		Help:       "Token ids on the revocation list of the mesh, the longer one if it has two.",
		Attributes: []string{"kind", "mesh"},
	}
	cutoffs = &Instrument{
		Name:       "meshpass.cutoffs",
		Type:       Gauge,
		Unit:       "{cutoff}",
		Help:       "Cutoffs in force in the mesh.",
		Attributes: []string{"kind", "mesh"},
	}
	recordProblems = &Instrument{
		Name:       "meshpass.record.problems",
		Type:       Gauge,
		Unit:       "{record}",
		Help:       "Records that cannot be read, are misnamed or contradict each other.",
		Attributes: []string{"kind", "mesh"},
	}
)

// Instruments returns the metrics of [Tally.Values].
func Instruments() iter.Seq[*Instrument] {
	return func(yield func(*Instrument) bool) {
		for _, i := range []*Instrument{
			validations, issuances, renewals, forks, permitRefusals, keyValidations, keys, keyCreated, keyUnusedSince, sessions,
			staleness, storeReads, storeReadFailures, sourceStaleness, sourceReads, sourceReadFailures, revokedIDs, cutoffs, recordProblems,
		} {
			if !yield(i) {
				return
			}
		}
	}
}
