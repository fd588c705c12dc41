package httpapi

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	maxTokenRequest = 64 << 10 // bytes; a token has at most 8 KiB

	// defaultValidFor is 10 years, for a request without validFor.
	defaultValidFor = 87600 * time.Hour
)

// readTokenRequest reads and checks a request for a token.
func readTokenRequest(w http.ResponseWriter, r *http.Request, rules Rules, what *Request) error {
	var validFor string
	d, z := &what.Dataplane, &what.Zone
	fields := []field{{"zone", &z.Zone}, {"scope", &z.Scope}, {"validFor", &validFor}}
	if what.Kind == token.KindDataplane {
		fields = []field{{"name", &d.Name}, {"mesh", &d.Mesh}, {"tags", &d.Tags}, {"type", &d.Type}, {"workload", &d.Workload}, {"validFor", &validFor}}
	}
	if err := readBody(w, r, maxTokenRequest, fields); err != nil {
		return err
	}
	what.Mesh = d.Mesh
	var bad faults
	if what.Kind == token.KindDataplane {
		if err := checkMesh(d.Mesh); err != nil {
			bad.add("mesh", "%w", err)
		}
		bad.addName("name", d.Name)
		if err := token.CheckName(d.Type); err != nil {
			bad.add("type", "%w", err)
		} else if !rules.accepts(d.Type) {
			bad.add("type", "%.256s is not a valid proxy type", d.Type) // the words of Kuma
		}
		bad.addName("workload", d.Workload)
		for _, name := range slices.Sorted(maps.Keys(d.Tags)) {
			bad.addName("tags", name)
			if len(d.Tags[name]) == 0 {
				bad.add(tagField(name), "has no values, so it would allow nothing")
			}
			for i, value := range d.Tags[name] {
				bad.addName(fmt.Sprintf("%s[%d]", tagField(name), i), value)
			}
		}
	} else {
		if z.Zone == "" {
			bad.add("zone", "%w", errEmpty)
		}
		bad.addName("zone", z.Zone)
		if z.Scope == nil && !rules.ScopeRequired {
			z.Scope = []string{zone.ScopeCP}
		}
		if len(z.Scope) == 0 { // a token with an empty list would open nothing
			bad.add("scope", "%w", errEmpty)
		}
		for i, scope := range z.Scope {
			if scope == "" {
				bad.add(fmt.Sprintf("scope[%d]", i), "%w", errEmpty)
			}
			bad.addName(fmt.Sprintf("scope[%d]", i), scope)
		}
	}
	what.ValidFor = bad.duration(validFor, defaultValidFor)
	return bad.err()
}

// duration reads a lifetime of a token.
func (f *faults) duration(validFor string, otherwise time.Duration) time.Duration {
	if validFor == "" {
		return otherwise
	}
	d, err := time.ParseDuration(validFor)
	if err != nil {
		f.add("validFor", "%.64q is not a duration, such as \"720h\", of at most 292 years", validFor)
	} else if d < time.Second {
		f.add("validFor", "is %s, want at least 1s", d)
	}
	return d
}

func tagField(name string) string { return fmt.Sprintf("tags[%+.64q]", name) }

// addName adds a fault for a name with which no token is issued.
func (f *faults) addName(field, name string) {
	if err := token.CheckName(name); err != nil {
		f.add(field, "%w", err)
	}
}

func (h *handler) issue(ctx context.Context, w http.ResponseWriter, what Request) error {
	var issued token.Issued
	var err error
	if what.Kind == token.KindDataplane {
		issued, err = h.dataplanes.Issue(ctx, what.Dataplane, what.ValidFor)
	} else {
		issued, err = h.zones.Issue(ctx, what.Zone, what.ValidFor)
	}
	if err != nil {
		return err
	}
	answerWithToken(w, issued)
	return nil
}

func answerWithToken(w http.ResponseWriter, issued token.Issued) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, issued.Token) // fails only if the client is gone
}
