package httpapi

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const maxRevocationRequest = 1 << 20 // bytes; some 26,000 UUIDs

// readTokenIDs reads and checks a request to change a revocation list.
func readTokenIDs(w http.ResponseWriter, r *http.Request, what *Request) error {
	if err := readBody(w, r, maxRevocationRequest, []field{{"ids", &what.TokenIDs}}); err != nil {
		return err
	}
	var bad faults
	if len(what.TokenIDs) == 0 {
		bad.add("ids", "is missing, want a list of token ids (jti)")
	}
	for _, id := range what.TokenIDs {
		if err := revocation.CheckID(id); err != nil {
			what.TokenIDs = nil
			bad.add("ids", "%w", err)
			break
		}
	}
	return bad.err()
}

func (h *handler) list(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	var list *revocation.List
	var err error
	if what.Kind == token.KindDataplane {
		list, err = dataplane.Revoked(ctx, h.store, what.Mesh)
	} else {
		list, err = zone.Revoked(ctx, h.store)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if r.Method == http.MethodHead {
		return nil
	}
	// Write id by id: a million ids take 40 MB.
	out := bufio.NewWriterSize(w, 64<<10)
	_, _ = out.WriteString(`{"ids":[`)
	for i, id := range list.IDs() {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		// An id is visible ASCII, whose quoted form is that of JSON.
		if _, err := out.Write(strconv.AppendQuote(out.AvailableBuffer(), id)); err != nil {
			return nil // the client is gone
		}
	}
	_, _ = out.WriteString("]}")
	_ = out.Flush()
	return nil
}

func (h *handler) change(ctx context.Context, w http.ResponseWriter, what Request) error {
	var err error
	switch {
	case what.Kind == token.KindDataplane && what.Action == Revoke:
		err = dataplane.Revoke(ctx, h.store, what.Mesh, what.TokenIDs[0], what.TokenIDs[1:]...)
	case what.Kind == token.KindDataplane && what.Action == Restore:
		err = dataplane.Restore(ctx, h.store, what.Mesh, what.TokenIDs[0], what.TokenIDs[1:]...)
	case what.Action == Revoke:
		err = zone.Revoke(ctx, h.store, what.TokenIDs[0], what.TokenIDs[1:]...)
	case what.Action == Restore:
		err = zone.Restore(ctx, h.store, what.TokenIDs[0], what.TokenIDs[1:]...)
	default:
		err = errors.New("no change")
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
