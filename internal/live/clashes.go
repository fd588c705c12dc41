package live

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// clash is a kid that has several keys in a scope.
type clash struct {
	scope keystore.Scope // EveryScope for a clash of sources for every scope
	kid   string
}

// clashes remembers which clashes were logged, and how.
type clashes struct {
	mu     sync.Mutex
	logged map[clash]string
}

// reportClashesInStore reports the clashes of the keys that a scope of the store has, and
// of those that it had.
func (v *Validator) reportClashesInStore(now known, scope keystore.Scope, has, had []string) {
	if len(v.config.sources) == 0 {
		return
	}
	var all []clash
	for _, kid := range slices.Concat(has, had) {
		all = append(all, clash{scope, kid})
	}
	v.reportClashes(now, all)
}

// reportClashesOfSource reports the clashes of the keys that a source has got or lost.
func (v *Validator) reportClashesOfSource(now known, c sources.Change) {
	scope := c.Source.Scope
	var all []clash
	for _, kid := range slices.Concat(c.Added, c.Removed) {
		all = append(all, clash{scope, kid})
		if scope != sources.EveryScope {
			continue
		}
		for _, of := range now.sources.Scopes(kid) {
			all = append(all, clash{of, kid})
		}
		if _, serial := signing.ParseSerial(kid); serial && now.store != nil {
			for _, of := range now.store.ScopesWith(kid) {
				all = append(all, clash{of, kid})
			}
		}
	}
	v.reportClashes(now, all)
}

// reportClashes logs those that are clashes, each once, and forgets the others. After
// maxKids it logs how many more there are.
func (v *Validator) reportClashes(now known, all []clash) {
	v.clashes.mu.Lock()
	defer v.clashes.mu.Unlock()
	logged := 0
	for _, c := range all {
		message, attrs := v.describeClash(now, c)
		if message == v.clashes.logged[c] {
			continue
		}
		if message == "" {
			delete(v.clashes.logged, c)
			continue
		}
		if v.clashes.logged == nil {
			v.clashes.logged = make(map[clash]string)
		}
		v.clashes.logged[c] = message
		if logged++; logged > maxKids {
			continue
		}
		v.config.Log.Warn(message, append(attrs, slog.String("kind", string(v.family.Kind)), slog.String("scope", string(c.scope)), slog.String("kid", c.kid))...)
	}
	if more := logged - maxKids; more > 0 {
		v.config.Log.Warn("more keys are not used: there are several of the same kid", slog.String("kind", string(v.family.Kind)), slog.Int("more", more))
	}
}

// describeClash returns the message about a clash, or "" if it is none.
func (v *Validator) describeClash(now known, c clash) (message string, attrs []any) {
	held, _ := now.sources.Find(c.scope, c.kid)
	if held == nil {
		return "", nil
	}
	if missing, err := lacks(now.store, c.scope, c.kid); !missing && err == nil {
		message = "a key of a source is not used: the store has a key of the same kid"
		if held.Chosen {
			message = "a configured public key hides the key of the same kid in the store"
		}
		return message, []any{slog.String("source", held.Source.String())}
	}
	if hidden := now.sources.Hidden(c.scope, c.kid); hidden != "" {
		return "a key is not used: another source has a key of the same kid", []any{slog.String("source", hidden)}
	}
	return "", nil
}
