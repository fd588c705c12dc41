package httpapi

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
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

func (h *handler) revoked(ctx context.Context, what Request) (*revocation.List, error) {
	if what.Kind == token.KindDataplane {
		return dataplane.Revoked(ctx, h.store, what.Mesh)
	}
	return zone.Revoked(ctx, h.store)
}

func (h *handler) list(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	list, err := h.revoked(ctx, what)
	if err != nil {
		return err
	}
	setProblems(w.Header(), list)
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
	_ = out.WriteByte(']')
	if problems := list.Problems(); len(problems) > 0 {
		texts := make([]string, len(problems))
		for i, p := range problems {
			texts[i] = p.Error()
		}
		_, _ = out.WriteString(`,"problems":`)
		_, _ = out.Write(marshal(texts))
	}
	_ = out.WriteByte('}')
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
	// The change is made, whatever is found now.
	if list, err := h.revoked(ctx, what); err == nil {
		setProblems(w.Header(), list)
	} else {
		h.log.WarnContext(ctx, "a revocation list was changed and could not be read again",
			slog.String("kind", string(what.Kind)), slog.String("mesh", what.Mesh), slog.String("error", err.Error()))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
