package revocation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meshpass/meshpass/token"
)

// Cutoff revokes every token that was issued before a moment: all tokens of a mesh, or
// all zone tokens, or those with one name, workload, zone or key. At most one of Name,
// Workload, Zone and KeyID is set. A token that does not have the claim is not concerned:
// a cutoff for the name dp-1 does not revoke a token for every proxy of the mesh.
//
// A token is issued at its iat (RFC 7519, section 4.1.6). One without an iat was issued
// before every moment. A renewed token has the iat of the first of its lineage. Its kid is
// that of the key that renewed it: a cutoff for the kid before does not revoke it. A cutoff
// is no remedy for a stolen private key, since the thief chooses the iat: remove the key.
type Cutoff struct {
	// Before is the moment. Cutoffs count in whole seconds; a part of a second counts as
	// a whole one. A token that was issued at this second is not revoked.
	Before time.Time

	Name     string // of the proxy
	Workload string
	Zone     string
	KeyID    string // the kid of the key that signed the token
}

// String says what the cutoff revokes.
func (c Cutoff) String() string {
	return c.subject().describe(c.Before)
}

// subject is whom a cutoff concerns: all, or the tokens with this claim.
type subject struct{ member, value string }

// describe says what a cutoff for the subject revokes.
func (s subject) describe(before time.Time) string {
	at := before.UTC().Format(time.RFC3339)
	if s != (subject{}) {
		return fmt.Sprintf("tokens with the %s %.64q issued before %s", s.member, s.value, at)
	}
	return "all tokens issued before " + at
}

const (
	ofName     = "name"
	ofWorkload = "workload"
	ofZone     = "zone"
	ofKeyID    = "kid"
)

func (c Cutoff) subject() subject {
	for _, s := range []subject{{ofName, c.Name}, {ofWorkload, c.Workload}, {ofZone, c.Zone}, {ofKeyID, c.KeyID}} {
		if s.value != "" {
			return s
		}
	}
	return subject{}
}

// check returns why a cutoff of a kind of token cannot be, or nil.
func (c Cutoff) check(kind token.Kind) error {
	var members []string
	for _, s := range []subject{{ofName, c.Name}, {ofWorkload, c.Workload}, {ofZone, c.Zone}, {ofKeyID, c.KeyID}} {
		if s.value == "" {
			continue
		}
		members = append(members, s.member)
		if !utf8.ValidString(s.value) || strings.ContainsRune(s.value, utf8.RuneError) {
			return fmt.Errorf("%w: its %s is not valid UTF-8", ErrCutoff, s.member)
		}
	}
	switch {
	case c.Before.IsZero():
		return fmt.Errorf("%w: it has no moment before which tokens are revoked", ErrCutoff)
	case !canBeWritten(c.Before):
		return fmt.Errorf("%w: its moment is outside the years 0 to 9999 of UTC", ErrCutoff)
	case len(members) > 1:
		return fmt.Errorf("%w: it has %s, want at most one of them", ErrCutoff, strings.Join(members, " and "))
	case kind == token.KindDataplane && c.Zone != "":
		return fmt.Errorf("%w: dataplane tokens have no zone", ErrCutoff)
	case kind == token.KindZone && c.Name+c.Workload != "":
		return fmt.Errorf("%w: zone tokens have no %s", ErrCutoff, members[0])
	}
	return nil
}

// ErrCutoff: a cutoff is none, or cannot be written.
var ErrCutoff = errors.New("revocation: unusable cutoff")

// Cutoffs are the cutoffs of one record. They are immutable and safe for concurrent use.
// The nil *Cutoffs are none.
type Cutoffs struct {
	list  []Cutoff
	by    map[subject]time.Time // the moment of each
	floor time.Time             // of the ids
}

// NewCutoffs returns cutoffs, of which the latest of each subject counts, and a floor,
// which may be the zero time.
func NewCutoffs(list []Cutoff, floor time.Time) *Cutoffs {
	c := &Cutoffs{by: make(map[subject]time.Time), floor: floor}
	for _, cutoff := range list {
		c.add(cutoff)
	}
	return c
}

// ParseCutoffs parses the data of a record: one JSON object (RFC 8259) a line, without a
// record none. Each object is a cutoff,
//
//	{"before":"2026-11-29T10:00:00Z"}
//	{"before":"2026-11-29T10:00:00Z","name":"dp-1"}
//
// with a time as in RFC 3339, section 5.6, with T and Z in upper case and without a leap
// second, and at most one of the members name, workload, zone and kid,
// or the floor that [Prune] leaves: every token is revoked whose id is a UUID of version 7
// (RFC 9562, section 5.7) from before that time.
//
//	{"idsBefore":"2026-08-31T10:00:00Z"}
//
// Anything else makes the whole record unreadable, and the error matches [ErrUnreadable]:
// other members, a member twice, two subjects, a time without a zone. A part of it could
// be what should have revoked the token.
func ParseCutoffs(kind token.Kind, data []byte) (*Cutoffs, error) {
	c := NewCutoffs(nil, time.Time{})
	number := 0
	for line := range bytes.Lines(data) {
		number++
		if len(bytes.Trim(line, " \t\r\n")) == 0 {
			continue
		}
		if err := c.parseLine(kind, line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrUnreadable, number, err)
		}
	}
	return c, nil
}

const memberFloor = "idsBefore"

func (c *Cutoffs) parseLine(kind token.Kind, line []byte) error {
	members, err := parseMembers(line)
	if err != nil {
		return err
	}
	var cutoff Cutoff
	var floor time.Time
	for name, value := range members {
		switch name {
		case "before":
			cutoff.Before, err = ParseMoment(value)
		case memberFloor:
			floor, err = ParseMoment(value)
		case ofName:
			cutoff.Name = value
		case ofWorkload:
			cutoff.Workload = value
		case ofZone:
			cutoff.Zone = value
		case ofKeyID:
			cutoff.KeyID = value
		default:
			return fmt.Errorf("unknown member %.64q", name)
		}
		if err != nil {
			return fmt.Errorf("member %q: %w", name, err)
		}
		if value == "" {
			return fmt.Errorf("member %q is empty", name)
		}
	}
	if !floor.IsZero() {
		if len(members) > 1 {
			return fmt.Errorf("other members beside %q", memberFloor)
		}
		c.floor = latest(c.floor, floor)
		return nil
	}
	if err := cutoff.check(kind); err != nil {
		return err
	}
	c.add(cutoff)
	return nil
}

// parseMembers reads one JSON object all of whose members are strings.
func parseMembers(line []byte) (map[string]string, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("not valid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(line))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	members := make(map[string]string)
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, errors.New("not a JSON object")
		}
		key, _ := name.(string) // as all names are
		value, err := decoder.Token()
		text, ok := value.(string)
		if err != nil || !ok {
			return nil, fmt.Errorf("member %.64q is not a string", key)
		}
		if _, twice := members[key]; twice {
			return nil, fmt.Errorf("member %.64q is there twice", key)
		}
		members[key] = text
	}
	if _, err := decoder.Token(); err != nil {
		return nil, errors.New("the JSON object does not end")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return members, nil
}

// moment matches a time as in RFC 3339, section 5.6: until the second, the part of a
// second, the offset. time.Parse alone accepts more, such as T9:00:00, a comma and +24:00.
var moment = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`)

// ParseMoment reads the moment of a cutoff: a time as RFC 3339, section 5.6, writes it. A
// part of a second counts as a whole one.
func ParseMoment(text string) (time.Time, error) {
	parts := moment.FindStringSubmatch(text)
	if parts == nil {
		return time.Time{}, notAMoment(text)
	}
	at, err := time.Parse(time.RFC3339, parts[1]+parts[3])
	if err != nil {
		return time.Time{}, notAMoment(text)
	}
	if strings.Trim(parts[2], ".0") != "" { // however small a part it is
		at = at.Add(time.Second)
	}
	if at = at.UTC(); !canBeWritten(at) {
		return time.Time{}, fmt.Errorf("%.64q is outside the years 0 to 9999 of UTC", text)
	}
	return at, nil
}

func notAMoment(text string) error {
	return fmt.Errorf("%.64q is not a time as in RFC 3339, such as 2026-11-29T10:00:00Z", text)
}

// canBeWritten reports whether RFC 3339 has the moment, once it is in UTC: an offset or
// the next whole second can lead out of its years.
func canBeWritten(at time.Time) bool {
	year := wholeSecond(at).Year()
	return 0 <= year && year <= 9999
}

// wholeSecond rounds up to a whole second.
func wholeSecond(at time.Time) time.Time {
	whole := at.Truncate(time.Second)
	if whole.Before(at) {
		whole = whole.Add(time.Second)
	}
	return whole.UTC()
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// add adds a cutoff, and reports whether that changes anything: the later one of a
// subject counts.
func (c *Cutoffs) add(cutoff Cutoff) bool {
	cutoff.Before = wholeSecond(cutoff.Before)
	of := cutoff.subject()
	present, ok := c.by[of]
	if ok && !cutoff.Before.After(present) {
		return false
	}
	c.by[of] = cutoff.Before
	if ok {
		c.list[slices.IndexFunc(c.list, func(other Cutoff) bool { return other.subject() == of })] = cutoff
	} else {
		c.list = append(c.list, cutoff)
	}
	return true
}

// format returns the data of a record with these cutoffs. It is never empty, which some
// engines refuse: without cutoffs it is an empty line.
func (c *Cutoffs) format() []byte {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	type line struct {
		Before   string `json:"before,omitempty"`
		Name     string `json:"name,omitempty"`
		Workload string `json:"workload,omitempty"`
		Zone     string `json:"zone,omitempty"`
		KeyID    string `json:"kid,omitempty"`
		Floor    string `json:"idsBefore,omitempty"`
	}
	if !c.floor.IsZero() {
		_ = encoder.Encode(line{Floor: c.floor.Format(time.RFC3339)}) // a buffer takes everything
	}
	for _, l := range c.list {
		_ = encoder.Encode(line{l.Before.Format(time.RFC3339), l.Name, l.Workload, l.Zone, l.KeyID, ""})
	}
	if data.Len() == 0 {
		data.WriteByte('\n')
	}
	return data.Bytes()
}

// Len returns the number of cutoffs. A floor is none.
func (c *Cutoffs) Len() int {
	if c == nil {
		return 0
	}
	return len(c.list)
}

// All returns the cutoffs, in the order in which they were added. The caller may change
// the slice.
func (c *Cutoffs) All() []Cutoff {
	if c == nil {
		return nil
	}
	return slices.Clone(c.list)
}

// Floor returns the moment before which ids of version 7 are revoked, or the zero time.
func (c *Cutoffs) Floor() time.Time {
	if c == nil {
		return time.Time{}
	}
	return c.floor
}

// Check returns why a token is revoked, or "". It does not allocate for a token that is
// not. The kind of the claims must be that of the cutoffs.
func (c *Cutoffs) Check(kid string, claims *token.Claims) string {
	if c == nil {
		return ""
	}
	for _, s := range subjectsOf(kid, claims) {
		if before, ok := c.by[s]; ok && claims.IssuedAt.Before(before) {
			return "a cutoff revokes " + s.describe(before)
		}
	}
	if c.floor.IsZero() {
		return ""
	}
	if made, ok := IDTime(claims.ID); ok && made.Before(c.floor) {
		return "its id is from before " + c.floor.Format(time.RFC3339) + ", when the list of revoked ids begins"
	}
	return ""
}

// subjectsOf returns the subjects that concern a token: all, and one for each claim. For a
// claim that the token lacks it is all once more, since no cutoff has an empty claim.
func subjectsOf(kid string, claims *token.Claims) [5]subject {
	subjects := [5]subject{
		{ofName, claims.Dataplane.Name},
		{ofWorkload, claims.Dataplane.Workload},
		{ofZone, claims.Zone.Zone},
		{ofKeyID, kid},
		{},
	}
	for i, s := range subjects {
		if s.value == "" {
			subjects[i] = subject{}
		}
	}
	return subjects
}

// Latest returns the moment of the latest cutoff that concerns a token with these claims,
// signed by a key, or the zero time.
func (c *Cutoffs) Latest(kid string, claims *token.Claims) time.Time {
	if c == nil {
		return time.Time{}
	}
	var moment time.Time
	for _, s := range subjectsOf(kid, claims) {
		moment = latest(moment, c.by[s])
	}
	return moment
}

// Lacking returns the cutoffs that none of the others covers: none of them has the subject
// with the same moment or a later one. If these are the cutoffs of the same tokens later
// on, what they lack is gone.
func (c *Cutoffs) Lacking(others ...*Cutoffs) []Cutoff {
	return slices.DeleteFunc(c.All(), func(cutoff Cutoff) bool {
		return slices.ContainsFunc(others, func(other *Cutoffs) bool {
			return other != nil && !other.by[cutoff.subject()].Before(cutoff.Before)
		})
	})
}

// IDTime returns when a token's id was made, if it is a canonical UUID of version 7 (RFC
// 9562, section 5.7), in milliseconds.
func IDTime(id string) (time.Time, bool) {
	u, ok := parseUUID(id)
	if !ok {
		return time.Time{}, false
	}
	return u.made()
}
