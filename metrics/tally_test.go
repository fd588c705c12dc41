package metrics_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/metrics"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// values returns the values of a metric, sorted: attributes, then the value.
func values(tally *metrics.Tally, name string) (all []string) {
	for v := range tally.Values() {
		if v.Instrument.Name == name {
			all = append(all, fmt.Sprint(strings.Join(v.Attributes, ","), " ", v.Value))
		}
	}
	slices.Sort(all)
	return all
}

// report is a validator that reports this.
type report observe.Report

func (r report) Report() observe.Report { return observe.Report(r) }

func TestTallyCountsConcurrentOutcomes(t *testing.T) {
	tally := metrics.NewTally()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 1000 {
				tally.Observe(observe.Outcome{Kind: token.KindDataplane, Mesh: fmt.Sprint(i % 10)})
				tally.Observe(observe.Outcome{Kind: token.KindZone, Reason: token.ReasonRevoked})
			}
		})
	}
	all.Wait()
	counted := values(tally, "meshpass.validations")
	require.Len(t, counted, 11)
	assert.Equal(t, "dataplane,0,accepted, 800", counted[0])
	assert.Equal(t, "zone,,invalid,revoked 8000", counted[10])
}

func TestTallyNamesTheClassOfEachReasonByTheOperation(t *testing.T) {
	for reason, want := range map[token.Reason][3]string{
		token.ReasonNone:            {"accepted", "issued", "renewed"},
		token.ReasonUnknownKey:      {"invalid", "failed", "refused"},
		token.ReasonSigner:          {"other", "failed", "failed"},
		token.ReasonScope:           {"not_permitted", "failed", "failed"},
		token.ReasonRevoked:         {"invalid", "failed", "refused"},
		token.ReasonLineage:         {"other", "refused", "refused"},
		token.ReasonDenied:          {"other", "refused", "refused"},
		token.ReasonNotIssuable:     {"other", "refused", "refused"},
		token.ReasonIssuingDisabled: {"other", "refused", "refused"},
		token.ReasonUnavailable:     {"unavailable", "unavailable", "unavailable"},
		token.ReasonClosed:          {"unavailable", "unavailable", "unavailable"},
		token.ReasonOther + 7:       {"other", "failed", "failed"}, // of a later version
	} {
		for at, operation := range []observe.Operation{observe.Validate, observe.Issue, observe.Renew} {
			for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
				o := observe.Outcome{Operation: operation, Kind: kind, Reason: reason}
				index, timed := metrics.IndexOf(o)
				require.True(t, timed)
				require.Less(t, index, metrics.Indexes)
				ofKind, class := index.Attributes()
				assert.Equal(t, []any{operation, string(kind), want[at]}, []any{index.Operation(), ofKind, class}, reason)
				metrics.NewTally().Observe(o)
			}
		}
	}
}

func TestTallyCountsRenewalsAndForks(t *testing.T) {
	tally := metrics.NewTally()
	for _, reason := range []token.Reason{token.ReasonNone, token.ReasonLineage, token.ReasonRevoked, token.ReasonUnavailable, token.ReasonSigner} {
		o := observe.Outcome{Operation: observe.Renew, Kind: token.KindZone, Reason: reason}
		tally.Observe(o)
	}
	tally.Observe(observe.Outcome{Operation: observe.Fork, Kind: token.KindDataplane, Mesh: "default"})
	assert.ElementsMatch(t, []string{"zone,,renewed, 1", "zone,,refused,lineage 1", "zone,,refused,revoked 1", "zone,,unavailable,unavailable 1", "zone,,failed,signer 1"},
		values(tally, "meshpass.renewals"))
	assert.Equal(t, []string{"dataplane,default 1"}, values(tally, "meshpass.forks"))
}

func TestTallyAddsUpWhatSeveralValidatorsOfAKindReport(t *testing.T) {
	tally := metrics.NewTally()
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	tally.Attach(report{Kind: token.KindZone, Loaded: true, Staleness: time.Second, Complete: observe.Reads{Total: 3, Failed: 1},
		Meshes:  []observe.Mesh{{Revoked: 5}},
		Sources: []observe.Source{{Name: "keys.json", Loaded: true, Staleness: time.Second, Reads: observe.Reads{Total: 2, Failed: 1}}},
		Keys:    []observe.Key{{KeyID: "1", State: observe.Signs, Created: at(50), Accepted: 4, UnusedSince: at(100), Sessions: 1}}})
	tally.Attach(report{Kind: token.KindZone, Loaded: true, Staleness: 2 * time.Second, Complete: observe.Reads{Total: 4},
		Meshes:  []observe.Mesh{{Revoked: 5, Cutoffs: 1}},
		Sources: []observe.Source{{Name: "keys.json", Loaded: true, Staleness: 3 * time.Second, Reads: observe.Reads{Total: 2}}, {Name: "never"}},
		Keys:    []observe.Key{{KeyID: "1", Created: at(50), Accepted: 2, Refused: 1, UnusedSince: at(90), Sessions: 2}, {KeyID: "own", UnusedSince: at(1)}}})
	tally.Attach(report{Kind: token.KindDataplane})
	for name, want := range map[string][]string{
		"meshpass.key.validations":            {"zone,,1,accepted 6", "zone,,1,refused 1", "zone,,own,accepted 0", "zone,,own,refused 0"},
		"meshpass.keys":                       {"zone,,1,signs 1", "zone,,own,verifies 1"},
		"meshpass.key.created.timestamp":      {"zone,,1 50"},
		"meshpass.key.unused.since.timestamp": {"zone,,1 100", "zone,,own 1"},
		"meshpass.sessions":                   {"zone,,1 3", "zone,,own 0"},
		"meshpass.staleness":                  {"zone 2"},
		"meshpass.store.reads":                {"dataplane,complete 0", "dataplane,single 0", "zone,complete 7", "zone,single 0"},
		"meshpass.store.read.failures":        {"dataplane,complete 0", "dataplane,single 0", "zone,complete 1", "zone,single 0"},
		"meshpass.source.staleness":           {"zone,,keys.json 3"},
		"meshpass.source.reads":               {"zone,,keys.json 4", "zone,,never 0"},
		"meshpass.source.read.failures":       {"zone,,keys.json 1", "zone,,never 0"},
		"meshpass.revoked.ids":                {"zone, 5"},
		"meshpass.cutoffs":                    {"zone, 1"},
	} {
		assert.Equal(t, want, values(tally, name), name)
	}
}

func TestTallyNeverCountsBackwardsWhenOneOfSeveralValidatorsIsClosed(t *testing.T) {
	tally := metrics.NewTally()
	use := func(kid string, sessions int) report {
		return report{Kind: token.KindZone, Complete: observe.Reads{Total: 3}, Keys: []observe.Key{{KeyID: kid, Accepted: 4, Sessions: sessions}}}
	}
	detach := tally.Attach(use("1", 0))
	detachRemoved := tally.Attach(use("removed", 0))
	tally.Attach(use("1", 2))
	detach()
	detach() // does nothing
	detachRemoved()
	assert.Equal(t, []string{"zone,,1,accepted 8", "zone,,1,refused 0"}, values(tally, "meshpass.key.validations"))
	assert.Equal(t, []string{"zone,,1 2"}, values(tally, "meshpass.sessions"))
	assert.Equal(t, []string{"zone,complete 9", "zone,single 0"}, values(tally, "meshpass.store.reads"))
}

func TestTallyTakesOutcomesWhileItsValuesAreRead(t *testing.T) {
	tally := metrics.NewTally()
	tally.Observe(observe.Outcome{Kind: token.KindZone})
	for range tally.Values() {
		tally.Observe(observe.Outcome{Kind: token.KindZone, Mesh: "new"})
	}
	assert.Len(t, values(tally, "meshpass.validations"), 2)
}

func TestTallyIgnoresOperationsOfALaterVersion(t *testing.T) {
	tally, later := metrics.NewTally(), observe.Outcome{Operation: observe.Fork + 1}
	tally.Observe(later)
	for v := range tally.Values() {
		t.Errorf("%s has a value", v.Instrument.Name)
	}
	_, timed := metrics.IndexOf(later)
	assert.False(t, timed)
}

func TestEachInstrumentHasAsManyValuesOfAttributesAsNames(t *testing.T) {
	tally := metrics.NewTally()
	tally.Observe(observe.Outcome{Kind: token.KindZone})
	tally.Observe(observe.Outcome{Kind: token.KindZone, Operation: observe.Issue})
	for _, operation := range []observe.Operation{observe.Permit, observe.Renew, observe.Fork} {
		tally.Observe(observe.Outcome{Kind: token.KindZone, Operation: operation})
	}
	tally.Attach(report{Kind: token.KindZone, Loaded: true, Meshes: []observe.Mesh{{}}, Keys: []observe.Key{{KeyID: "1", Created: time.Now()}},
		Sources: []observe.Source{{Loaded: true}}})
	found := map[string]bool{}
	for v := range tally.Values() {
		found[v.Instrument.Name] = true
		assert.Len(t, v.Attributes, len(v.Instrument.Attributes), v.Instrument.Name)
	}
	for i := range metrics.Instruments() {
		assert.True(t, found[i.Name], "%s has a value", i.Name)
		assert.NotEmpty(t, i.Help)
		assert.NotEmpty(t, i.Unit)
	}
}
