package httpapi

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
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

// RevocationList says where a revocation list of a mesh is, and what is on it. A mesh may
// have two, and a token is revoked if its id is on either.
type RevocationList struct {
	Scope string `json:"scope"` // ScopeMesh or ScopeGlobal
	Name  string `json:"name"`  // of the record
	Count int    `json:"count"` // of ids

	// Missing are the ids on the other list of the mesh that this one lacks. If this is
	// the global list, Kuma does not see that they are revoked. A list in the scope of the
	// mesh does not lack the ids that pruning has dropped.
	Missing []string `json:"missing,omitempty"`
}

// The scopes of a RevocationList.
const (
	ScopeMesh   = "mesh"
	ScopeGlobal = "global" // Kuma reads this one alone
)

// readListScope reads and checks a request to make a list.
func readListScope(w http.ResponseWriter, r *http.Request) error {
	var scope string
	if err := readBody(w, r, maxTokenRequest, []field{{"scope", &scope}}); err != nil {
		return err
	}
	if scope != ScopeGlobal {
		return invalid(InvalidParameter{"scope", `want "global"`})
	}
	return nil
}

func (h *handler) revoked(ctx context.Context, what Request) (*revocation.List, error) {
	list, _, err := h.revokedWithLists(ctx, what)
	return list, err
}

// revokedWithLists returns the ids that are revoked, and for a mesh its lists.
func (h *handler) revokedWithLists(ctx context.Context, what Request) (*revocation.List, revocation.Lists, error) {
	if what.Kind == token.KindZone {
		list, err := zone.Revoked(ctx, h.store)
		return list, nil, err
	}
	lists, err := revocation.LoadDataplaneLists(ctx, h.store, what.Mesh)
	return lists.Union(), lists, err
}

func (h *handler) list(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	list, lists, err := h.revokedWithLists(ctx, what)
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
	if what.Kind == token.KindDataplane {
		_, _ = out.WriteString(`,"lists":`)
		_, _ = out.Write(marshal(DescribeLists(lists, h.floor(ctx, what.Mesh, lists))))
	}
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

// floor returns the moment below which pruning has dropped ids from a list of a mesh. It
// is zero if that is not known, or if there are no two lists to compare.
func (h *handler) floor(ctx context.Context, mesh string, lists revocation.Lists) (floor time.Time) {
	if len(lists) < 2 {
		return time.Time{}
	}
	for _, ref := range revocation.CutoffsOf(token.KindDataplane, keystore.Scope(mesh)) {
		if cutoffs, err := ref.Load(ctx, h.store); err == nil && cutoffs.Floor().After(floor) {
			floor = cutoffs.Floor()
		}
	}
	return floor
}

// DescribeLists describes the lists of a mesh, as the answers do. floor is the moment
// below which pruning has dropped ids, or the zero time.
func DescribeLists(lists revocation.Lists, floor time.Time) []RevocationList {
	described := make([]RevocationList, len(lists))
	all := lists.Union()
	var ids []string // all, if a list lacks some
	for i, placed := range lists {
		l := RevocationList{Scope: ScopeMesh, Name: placed.Ref.Name, Count: placed.List.Len()}
		if placed.Ref.Scope == keystore.Global {
			l.Scope = ScopeGlobal
		}
		if l.Count < all.Len() {
			if ids == nil {
				ids = all.IDs()
			}
			l.Missing = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
				made, ok := revocation.IDTime(id)
				pruned := l.Scope == ScopeMesh && ok && made.Before(floor)
				return pruned || placed.List.Contains(id)
			})
		}
		described[i] = l
	}
	return described
}

// makeGlobalList makes the list of a mesh that Kuma reads, and answers with the lists
// that there are now.
func (h *handler) makeGlobalList(ctx context.Context, w http.ResponseWriter, what Request) error {
	if err := revocation.MakeDataplaneGlobal(ctx, h.store, what.Mesh); err != nil {
		return err
	}
	list, lists, err := h.revokedWithLists(ctx, what)
	if err != nil {
		return err // to make it again does no harm
	}
	setProblems(w.Header(), list)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(struct {
		Lists []RevocationList `json:"lists"`
	}{DescribeLists(lists, h.floor(ctx, what.Mesh, lists))})) // fails only if the client is gone
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
