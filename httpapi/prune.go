package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// wirePrune is a request to prune a revocation list.
type wirePrune struct {
	Lifetime string `json:"lifetime"` // as Go writes it
	DryRun   bool   `json:"dryRun"`
}

// wirePruning is the answer.
type wirePruning struct {
	IDsBefore string `json:"idsBefore"` // the floor, as in RFC 3339
	Dropped   int    `json:"dropped"`
	Kept      int    `json:"kept"`
	DryRun    bool   `json:"dryRun"`
	Sessions  *int   `json:"sessions,omitempty"` // absent if the server does not know
}

// readPruning reads and checks a request to prune a revocation list.
func readPruning(w http.ResponseWriter, r *http.Request, what *Request) error {
	var lifetime string
	if err := readBody(w, r, maxTokenRequest, []field{{"lifetime", &lifetime}, {"dryRun", &what.DryRun}}); err != nil {
		return err
	}
	var bad faults
	var err error
	what.Lifetime, err = time.ParseDuration(lifetime)
	switch {
	case lifetime == "":
		bad.add("lifetime", "is missing, want the longest validity of any token, such as \"2160h\"")
	case err != nil:
		bad.add("lifetime", "%.64q is not a duration, such as \"2160h\", of at most 292 years", lifetime)
	case what.Lifetime <= 0:
		bad.add("lifetime", "is %s, want more than 0", what.Lifetime)
	}
	return bad.err()
}

func (h *handler) prune(ctx context.Context, w http.ResponseWriter, what Request) error {
	var p revocation.Pruning
	var err error
	if what.Kind == token.KindDataplane {
		p, err = dataplane.PruneRevocations(ctx, h.store, what.Mesh, what.Lifetime, what.DryRun, h.validators...)
	} else {
		p, err = zone.PruneRevocations(ctx, h.store, what.Lifetime, what.DryRun, h.zoneValidators...)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(wirePruning{p.Floor.Format(time.RFC3339), p.Dropped, p.Kept, what.DryRun, known(p.Sessions)})) // fails only if the client is gone
	return nil
}

// PruneDataplane drops the ids of expired tokens from the revocation list of a mesh, as
// dataplane.PruneRevocations does by the clock of the server. With dryRun it changes
// nothing; Sessions of the result is then of the server's process. It is -1 if the server
// does not know.
func (c *Client) PruneDataplane(ctx context.Context, mesh string, lifetime time.Duration, dryRun bool) (revocation.Pruning, error) {
	return c.prune(ctx, ofMesh(mesh), lifetime, dryRun)
}

// PruneZone is PruneDataplane for the revocation list of zone tokens.
func (c *Client) PruneZone(ctx context.Context, lifetime time.Duration, dryRun bool) (revocation.Pruning, error) {
	return c.prune(ctx, ofZones(), lifetime, dryRun)
}

func (c *Client) prune(ctx context.Context, of owner, lifetime time.Duration, dryRun bool) (revocation.Pruning, error) {
	if of.err != nil {
		return revocation.Pruning{}, of.err
	}
	data, err := c.do(ctx, http.MethodPost, "/revocations"+of.path+prunePath, wirePrune{lifetime.String(), dryRun}, promise{http.StatusOK, []string{"application/json"}, maxTokenRequest})
	if err != nil {
		return revocation.Pruning{}, err
	}
	var answer wirePruning
	if err := json.Unmarshal(data, &answer); err != nil {
		return revocation.Pruning{}, unusable("%v", err)
	}
	floor, err := time.Parse(time.RFC3339, answer.IDsBefore)
	switch {
	case err != nil:
		return revocation.Pruning{}, unusable("idsBefore is not a time")
	case answer.DryRun != dryRun:
		return revocation.Pruning{}, unusable("its dryRun is %t, want %t", answer.DryRun, dryRun)
	case answer.Dropped < 0 || answer.Kept < 0 || answer.Sessions != nil && *answer.Sessions < 0:
		return revocation.Pruning{}, unusable("a number in it is negative")
	}
	return revocation.Pruning{Floor: floor.UTC(), Dropped: answer.Dropped, Kept: answer.Kept, Sessions: orUnknown(answer.Sessions)}, nil
}
