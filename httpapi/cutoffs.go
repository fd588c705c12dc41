package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// wireCutoff is a cutoff in requests and answers.
type wireCutoff struct {
	Before   string `json:"before"` // as in RFC 3339
	Name     string `json:"name,omitempty"`
	Workload string `json:"workload,omitempty"`
	Zone     string `json:"zone,omitempty"`
	KeyID    string `json:"kid,omitempty"`
}

// wireCutoffs is the answer to ListCutoffs.
type wireCutoffs struct {
	Cutoffs   []wireCutoff `json:"cutoffs"`
	IDsBefore string       `json:"idsBefore,omitempty"` // the floor
}

// wireAffected is the answer to a dry run of CutOff.
type wireAffected struct {
	wireCutoff
	DryRun   bool         `json:"dryRun"`             // always true
	Sessions *int         `json:"sessions,omitempty"` // absent if the server does not know
	Keys     []wireKeyUse `json:"keys,omitempty"`
}

// wireKeyUse is the use of a key by a process of the server.
type wireKeyUse struct {
	KeyID       string    `json:"kid"`
	Validations uint64    `json:"validations"`
	LastUsed    time.Time `json:"lastUsed"`
	Sessions    int       `json:"sessions"`
}

// untilNow stands for the moment of a cutoff that the server takes.
const untilNow = "now"

func toWire(c revocation.Cutoff) wireCutoff {
	return wireCutoff{c.Before.UTC().Format(time.RFC3339), c.Name, c.Workload, c.Zone, c.KeyID}
}

func (w wireCutoff) cutoff() (revocation.Cutoff, error) {
	before, err := revocation.ParseMoment(w.Before)
	return revocation.Cutoff{Before: before.UTC(), Name: w.Name, Workload: w.Workload, Zone: w.Zone, KeyID: w.KeyID}, err
}

// readCutoff reads and checks a request to change the cutoffs.
func readCutoff(w http.ResponseWriter, r *http.Request, what *Request) error {
	var c wireCutoff
	fields := []field{{"before", &c.Before}, {"zone", (*subject)(&c.Zone)}, {"kid", (*subject)(&c.KeyID)}}
	if what.Kind == token.KindDataplane {
		fields = []field{{"before", &c.Before}, {"name", (*subject)(&c.Name)}, {"workload", (*subject)(&c.Workload)}, {"kid", (*subject)(&c.KeyID)}}
	}
	if what.Action == CutOff {
		fields = append(fields, field{"dryRun", &what.DryRun})
	}
	if err := readBody(w, r, maxTokenRequest, fields); err != nil {
		return err
	}
	var bad faults
	var err error
	what.UntilNow = what.Action == CutOff && c.Before == untilNow
	if what.Cutoff, err = c.cutoff(); what.UntilNow {
		what.Cutoff.Before, err = time.Time{}, nil
	}
	switch {
	case what.UntilNow:
	case c.Before == "":
		bad.add("before", "is missing, want a time as in RFC 3339, such as 2026-11-29T10:00:00Z")
	case err != nil:
		bad.add("before", "%.64q is not a time as in RFC 3339, such as 2026-11-29T10:00:00Z", c.Before)
	case what.Action == CutOff && what.Cutoff.Before.Unix() < 0:
		bad.add("before", "is before 1970, when no token was issued")
	case what.Action == CutOff && what.Cutoff.Before.After(time.Now().Add(2*token.Skew)):
		bad.add("before", "is more than %s ahead", 2*token.Skew)
	}
	given := ""
	for _, s := range []struct{ field, value string }{{"name", c.Name}, {"workload", c.Workload}, {"zone", c.Zone}, {"kid", c.KeyID}} {
		switch {
		case s.value == "":
		case given != "":
			bad.add(s.field, "is there beside %s, want at most one of them", given)
		default:
			given = s.field
		}
	}
	return bad.err()
}

func (h *handler) listCutoffs(ctx context.Context, w http.ResponseWriter, what Request) error {
	scope := keystore.Global
	if what.Kind == token.KindDataplane {
		scope = keystore.Scope(what.Mesh)
	}
	answer := wireCutoffs{Cutoffs: []wireCutoff{}}
	var floor time.Time
	for _, ref := range revocation.CutoffsOf(what.Kind, scope) {
		cutoffs, err := ref.Load(ctx, h.store)
		if err != nil {
			return err
		}
		for _, c := range cutoffs.All() {
			answer.Cutoffs = append(answer.Cutoffs, toWire(c))
		}
		if cutoffs.Floor().After(floor) {
			floor = cutoffs.Floor()
			answer.IDsBefore = floor.Format(time.RFC3339)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(answer)) // fails only if the client is gone
	return nil
}

// cutOff adds a cutoff, and answers with the one that is in force, or says what a cutoff
// would do.
func (h *handler) cutOff(ctx context.Context, w http.ResponseWriter, what Request) error {
	if what.UntilNow {
		var err error
		if what.Cutoff, err = h.untilNow(ctx, what); err != nil {
			return err
		}
	}
	if what.DryRun {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(marshal(h.affected(what))) // fails only if the client is gone
		return nil
	}
	var inForce revocation.Cutoff
	var err error
	if what.Kind == token.KindDataplane {
		var d dataplane.Cutoff
		d, err = dataplane.CutOff(ctx, h.store, what.Mesh, ofDataplanes(what.Cutoff))
		inForce = generalDataplane(d)
	} else {
		var z zone.Cutoff
		z, err = zone.CutOff(ctx, h.store, ofZoneTokens(what.Cutoff))
		inForce = generalZone(z)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(marshal(toWire(inForce)))
	return nil
}

func (h *handler) untilNow(ctx context.Context, what Request) (revocation.Cutoff, error) {
	if what.Kind == token.KindDataplane {
		d, err := dataplane.UntilNow(ctx, h.store, what.Mesh, ofDataplanes(what.Cutoff))
		return generalDataplane(d), err
	}
	z, err := zone.UntilNow(ctx, h.store, ofZoneTokens(what.Cutoff))
	return generalZone(z), err
}

func (h *handler) affected(what Request) wireAffected {
	answer := wireAffected{wireCutoff: toWire(sendable(what.Cutoff)), DryRun: true}
	sessions := 0
	if what.Kind == token.KindDataplane {
		affected := dataplane.AffectedBy(what.Mesh, ofDataplanes(what.Cutoff), h.validators...)
		sessions = affected.Sessions
		for _, use := range affected.Keys {
			answer.Keys = append(answer.Keys, wireKeyUse{use.KeyID, use.Validations, use.LastUsed.UTC(), use.Sessions})
		}
	} else {
		affected := zone.AffectedBy(ofZoneTokens(what.Cutoff), h.zoneValidators...)
		sessions = affected.Sessions
		for _, use := range affected.Keys {
			answer.Keys = append(answer.Keys, wireKeyUse{use.KeyID, use.Validations, use.LastUsed.UTC(), use.Sessions})
		}
	}
	answer.Sessions = known(sessions)
	return answer
}

// known returns a number for an answer, or nil if it is not known.
func known(sessions int) *int {
	if sessions < 0 {
		return nil
	}
	return &sessions
}

func (h *handler) removeCutoff(ctx context.Context, w http.ResponseWriter, what Request) error {
	var err error
	if what.Kind == token.KindDataplane {
		err = dataplane.RemoveCutoff(ctx, h.store, what.Mesh, ofDataplanes(what.Cutoff))
	} else {
		err = zone.RemoveCutoff(ctx, h.store, ofZoneTokens(what.Cutoff))
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func ofDataplanes(c revocation.Cutoff) dataplane.Cutoff {
	return dataplane.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}
}

func generalDataplane(c dataplane.Cutoff) revocation.Cutoff {
	return revocation.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}
}

func ofZoneTokens(c revocation.Cutoff) zone.Cutoff {
	return zone.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

func generalZone(c zone.Cutoff) revocation.Cutoff {
	return revocation.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

// CutOffDataplane adds a cutoff for a mesh, as dataplane.CutOff does. It returns the
// cutoff that is in force for the subject: that one, or the present one if it is later.
// Before is sent in whole seconds; a part of a second counts as a whole one.
//
// The server decides by its own clock whether Before is too far ahead. The error is then
// an [*Error] with status 400.
func (c *Client) CutOffDataplane(ctx context.Context, mesh string, cutoff dataplane.Cutoff) (dataplane.Cutoff, error) {
	inForce, err := c.cutOff(ctx, ofMesh(mesh), generalDataplane(cutoff))
	return ofDataplanes(inForce), err
}

// PreviewCutoffDataplane returns a cutoff that CutOffDataplane can add, and what the
// server's process knows of the tokens that it would revoke. If cutoff.Before is zero, the
// cutoff revokes what was issued until now, as that of dataplane.UntilNow does by the
// clock of the server: add it right after. It changes nothing.
//
// affected.Sessions is -1 if the server does not know. The error matches
// revocation.ErrCutoff if one until now cannot be made yet.
func (c *Client) PreviewCutoffDataplane(ctx context.Context, mesh string, cutoff dataplane.Cutoff) (wouldBe dataplane.Cutoff, affected dataplane.Affected, err error) {
	preview, general, err := c.previewCutoff(ctx, ofMesh(mesh), generalDataplane(cutoff))
	if err != nil {
		return dataplane.Cutoff{}, dataplane.Affected{}, err
	}
	affected.Sessions = orUnknown(preview.Sessions)
	for _, use := range preview.Keys {
		affected.Keys = append(affected.Keys, dataplane.KeyUse{Mesh: mesh, KeyID: use.KeyID, Validations: use.Validations, LastUsed: use.LastUsed, Sessions: use.Sessions})
	}
	return ofDataplanes(general), affected, nil
}

// RemoveCutoffDataplane removes a cutoff of a mesh, as dataplane.RemoveCutoff does. If it
// is not there, nothing happens.
func (c *Client) RemoveCutoffDataplane(ctx context.Context, mesh string, cutoff dataplane.Cutoff) error {
	return c.removeCutoff(ctx, ofMesh(mesh), generalDataplane(cutoff))
}

// CutoffsDataplane returns the cutoffs of a mesh. floor is the moment before which every
// id of version 7 is revoked, since the list was pruned, or the zero time.
func (c *Client) CutoffsDataplane(ctx context.Context, mesh string) (cutoffs []dataplane.Cutoff, floor time.Time, err error) {
	all, floor, err := c.listCutoffs(ctx, ofMesh(mesh))
	for _, cutoff := range all {
		if cutoff.Zone != "" {
			return nil, time.Time{}, unusable("a cutoff of a mesh names a zone")
		}
		cutoffs = append(cutoffs, ofDataplanes(cutoff))
	}
	return cutoffs, floor, err
}

// CutOffZone adds a cutoff for zone tokens, as CutOffDataplane does for a mesh.
func (c *Client) CutOffZone(ctx context.Context, cutoff zone.Cutoff) (zone.Cutoff, error) {
	inForce, err := c.cutOff(ctx, ofZones(), generalZone(cutoff))
	return ofZoneTokens(inForce), err
}

// PreviewCutoffZone is PreviewCutoffDataplane for zone tokens.
func (c *Client) PreviewCutoffZone(ctx context.Context, cutoff zone.Cutoff) (wouldBe zone.Cutoff, affected zone.Affected, err error) {
	preview, general, err := c.previewCutoff(ctx, ofZones(), generalZone(cutoff))
	if err != nil {
		return zone.Cutoff{}, zone.Affected{}, err
	}
	affected.Sessions = orUnknown(preview.Sessions)
	for _, use := range preview.Keys {
		affected.Keys = append(affected.Keys, zone.KeyUse{KeyID: use.KeyID, Validations: use.Validations, LastUsed: use.LastUsed, Sessions: use.Sessions})
	}
	return ofZoneTokens(general), affected, nil
}

// RemoveCutoffZone removes a cutoff of zone tokens. If it is not there, nothing happens.
func (c *Client) RemoveCutoffZone(ctx context.Context, cutoff zone.Cutoff) error {
	return c.removeCutoff(ctx, ofZones(), generalZone(cutoff))
}

// CutoffsZone returns the cutoffs of zone tokens and the floor, as CutoffsDataplane does.
func (c *Client) CutoffsZone(ctx context.Context) (cutoffs []zone.Cutoff, floor time.Time, err error) {
	all, floor, err := c.listCutoffs(ctx, ofZones())
	for _, cutoff := range all {
		if cutoff.Name+cutoff.Workload != "" {
			return nil, time.Time{}, unusable("a cutoff of zone tokens names a proxy or a workload")
		}
		cutoffs = append(cutoffs, ofZoneTokens(cutoff))
	}
	return cutoffs, floor, err
}

func (c *Client) cutOff(ctx context.Context, of owner, cutoff revocation.Cutoff) (revocation.Cutoff, error) {
	if of.err != nil {
		return revocation.Cutoff{}, of.err
	}
	asked := sendable(cutoff)
	data, err := c.do(ctx, http.MethodPost, "/cutoffs"+of.path, toWire(asked), promise{http.StatusOK, []string{"application/json"}, maxTokenRequest})
	if err != nil {
		return revocation.Cutoff{}, err
	}
	var answer wireCutoff
	if err := json.Unmarshal(data, &answer); err != nil {
		return revocation.Cutoff{}, unusable("%v", err)
	}
	inForce, err := answer.cutoff()
	if err != nil {
		return revocation.Cutoff{}, unusable("before is not a time")
	}
	earlier := inForce.Before.Before(asked.Before)
	asked.Before = inForce.Before
	if earlier || inForce != asked { // else a caller would believe that the tokens are revoked
		return revocation.Cutoff{}, unusable("it is not a cutoff that covers the one that was asked for")
	}
	return inForce, nil
}

func (c *Client) previewCutoff(ctx context.Context, of owner, cutoff revocation.Cutoff) (answer wireAffected, wouldBe revocation.Cutoff, err error) {
	if of.err != nil {
		return answer, wouldBe, of.err
	}
	asked := sendable(cutoff)
	body := wireAffected{wireCutoff: toWire(asked), DryRun: true}
	if cutoff.Before.IsZero() {
		body.Before = untilNow
	}
	data, err := c.do(ctx, http.MethodPost, "/cutoffs"+of.path, body, promise{http.StatusOK, []string{"application/json"}, maxListAnswer})
	if err != nil {
		return answer, wouldBe, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, wouldBe, unusable("%v", err)
	}
	if !answer.DryRun {
		return answer, wouldBe, unusable("it does not say that it was a dry run")
	}
	if wouldBe, err = answer.cutoff(); err != nil {
		return answer, wouldBe, unusable("before is not a time")
	}
	if cutoff.Before.IsZero() {
		asked.Before = wouldBe.Before
	}
	if !asked.Before.Equal(wouldBe.Before) {
		return answer, wouldBe, unusable("it is about another moment")
	}
	if asked.Before = wouldBe.Before; asked != wouldBe {
		return answer, wouldBe, unusable("it is about other tokens")
	}
	if orUnknown(answer.Sessions) < 0 && answer.Sessions != nil {
		return answer, wouldBe, unusable("its number of sessions is negative")
	}
	for i, use := range answer.Keys {
		if token.CheckKeyID(use.KeyID) != nil || use.Sessions < 0 {
			return answer, wouldBe, unusable("keys[%d] is not the use of a key", i)
		}
	}
	return answer, wouldBe, nil
}

// orUnknown returns a number of an answer, or -1 if it is not there.
func orUnknown(sessions *int) int {
	if sessions == nil {
		return -1
	}
	return *sessions
}

func (c *Client) removeCutoff(ctx context.Context, of owner, cutoff revocation.Cutoff) error {
	if of.err != nil {
		return of.err
	}
	_, err := c.do(ctx, http.MethodPost, "/cutoffs"+of.path+removePath, toWire(sendable(cutoff)), promise{status: http.StatusNoContent})
	return err
}

// sendable rounds the moment up to a whole second, as the server does.
func sendable(c revocation.Cutoff) revocation.Cutoff {
	whole := c.Before.Truncate(time.Second)
	if whole.Before(c.Before) {
		whole = whole.Add(time.Second)
	}
	c.Before = whole
	return c
}

func (c *Client) listCutoffs(ctx context.Context, of owner) (all []revocation.Cutoff, floor time.Time, err error) {
	if of.err != nil {
		return nil, time.Time{}, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/cutoffs"+of.path, nil, promise{http.StatusOK, []string{"application/json"}, maxListAnswer})
	if err != nil {
		return nil, time.Time{}, err
	}
	var answer wireCutoffs
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, time.Time{}, unusable("%v", err)
	}
	if answer.Cutoffs == nil { // a missing list is not an empty list
		return nil, time.Time{}, unusable("the field cutoffs is missing")
	}
	for i, w := range answer.Cutoffs {
		cutoff, err := w.cutoff()
		if err != nil {
			return nil, time.Time{}, unusable("cutoffs[%d].before is not a time", i)
		}
		all = append(all, cutoff)
	}
	if answer.IDsBefore != "" {
		if floor, err = time.Parse(time.RFC3339, answer.IDsBefore); err != nil {
			return nil, time.Time{}, unusable("idsBefore is not a time")
		}
	}
	return all, floor.UTC(), nil
}
