package metrics

import (
	"time"

	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// reports combines the reports of validators of one kind.
type reports struct {
	loaded           bool // one of them
	staleness        time.Duration
	complete, single observe.Reads
	meshes           map[string]observe.Mesh
	keys             map[keyName]observe.Key
	sources          map[sourceName]observe.Source
}

type sourceName struct{ mesh, name string }

type keyName struct{ mesh, kid string }

// of returns the reports of a kind.
func of(all map[token.Kind]*reports, kind token.Kind) *reports {
	r := all[kind]
	if r == nil {
		r = &reports{meshes: make(map[string]observe.Mesh), keys: make(map[keyName]observe.Key),
			sources: make(map[sourceName]observe.Source)}
		all[kind] = r
	}
	return r
}

// add adds the report of an open validator.
func (rs *reports) add(r observe.Report) {
	for _, k := range r.Keys {
		at := keyName{k.Mesh, k.KeyID}
		sum := rs.keys[at]
		sum.State = max(sum.State, k.State)
		if k.Created.After(sum.Created) {
			sum.Created = k.Created
		}
		if k.UnusedSince.After(sum.UnusedSince) {
			sum.UnusedSince = k.UnusedSince
		}
		sum.Sessions += k.Sessions
		rs.keys[at] = sum
	}
	for _, m := range r.Meshes {
		sum := rs.meshes[m.Name]
		sum.Revoked = max(sum.Revoked, m.Revoked)
		sum.Cutoffs = max(sum.Cutoffs, m.Cutoffs)
		sum.Problems = max(sum.Problems, m.Problems)
		rs.meshes[m.Name] = sum
	}
	for _, s := range r.Sources {
		sum := rs.sources[sourceName{s.Mesh, s.Name}]
		sum.Loaded = sum.Loaded || s.Loaded
		sum.Staleness = max(sum.Staleness, s.Staleness)
		rs.sources[sourceName{s.Mesh, s.Name}] = sum
	}
	if r.Loaded {
		rs.loaded = true
		rs.staleness = max(rs.staleness, r.Staleness)
	}
	rs.count(r)
}

// count adds the counts of a report.
func (rs *reports) count(r observe.Report) {
	for _, k := range r.Keys {
		sum := rs.keys[keyName{k.Mesh, k.KeyID}]
		sum.Accepted += k.Accepted
		sum.Refused += k.Refused
		rs.keys[keyName{k.Mesh, k.KeyID}] = sum
	}
	for _, s := range r.Sources {
		sum := rs.sources[sourceName{s.Mesh, s.Name}]
		sum.Reads = plus(sum.Reads, s.Reads)
		rs.sources[sourceName{s.Mesh, s.Name}] = sum
	}
	rs.complete = plus(rs.complete, r.Complete)
	rs.single = plus(rs.single, r.Single)
}

// addCounts adds the counts of closed validators, of keys and sources that open ones have
// too.
func (rs *reports) addCounts(past *reports) {
	for at, k := range rs.keys {
		k.Accepted += past.keys[at].Accepted
		k.Refused += past.keys[at].Refused
		rs.keys[at] = k
	}
	for at, s := range rs.sources {
		s.Reads = plus(s.Reads, past.sources[at].Reads)
		rs.sources[at] = s
	}
	rs.complete = plus(rs.complete, past.complete)
	rs.single = plus(rs.single, past.single)
}

func plus(a, b observe.Reads) observe.Reads {
	return observe.Reads{Total: a.Total + b.Total, Failed: a.Failed + b.Failed}
}

func (rs *reports) values(emit func(*Instrument, float64, ...string), kind string) {
	for at, k := range rs.keys {
		emit(keys, 1, kind, at.mesh, at.kid, k.State.String())
		emit(keyValidations, float64(k.Accepted), kind, at.mesh, at.kid, "accepted")
		emit(keyValidations, float64(k.Refused), kind, at.mesh, at.kid, "refused")
		if !k.Created.IsZero() {
			emit(keyCreated, seconds(k.Created), kind, at.mesh, at.kid)
		}
		emit(keyUnusedSince, seconds(k.UnusedSince), kind, at.mesh, at.kid)
		emit(sessions, float64(k.Sessions), kind, at.mesh, at.kid)
	}
	for mesh, m := range rs.meshes {
		emit(revokedIDs, float64(m.Revoked), kind, mesh)
		emit(cutoffs, float64(m.Cutoffs), kind, mesh)
		emit(recordProblems, float64(m.Problems), kind, mesh)
	}
	for at, s := range rs.sources {
		if s.Loaded {
			emit(sourceStaleness, s.Staleness.Seconds(), kind, at.mesh, at.name)
		}
		emit(sourceReads, float64(s.Reads.Total), kind, at.mesh, at.name)
		emit(sourceReadFailures, float64(s.Reads.Failed), kind, at.mesh, at.name)
	}
	if rs.loaded {
		emit(staleness, rs.staleness.Seconds(), kind)
	}
	emit(storeReads, float64(rs.complete.Total), kind, "complete")
	emit(storeReads, float64(rs.single.Total), kind, "single")
	emit(storeReadFailures, float64(rs.complete.Failed), kind, "complete")
	emit(storeReadFailures, float64(rs.single.Failed), kind, "single")
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
