package revocation_test

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// slowCutoffs is a record of cutoffs, read in the plainest way from its documents, to
// compare with: regular expressions for RFC 8259 and RFC 3339, and arithmetic.
type slowCutoffs struct {
	cutoffs map[[2]string]time.Time // the latest moment, by member and value; {"", ""} for all
	floor   time.Time
}

const slowString = `"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"`

var (
	slowSpace   = `[ \t\r\n]*`
	slowPair    = slowSpace + `(` + slowString + `)` + slowSpace + `:` + slowSpace + `(` + slowString + `)` + slowSpace
	slowPairs   = regexp.MustCompile(slowPair)
	slowObject  = regexp.MustCompile(`\A` + slowSpace + `\{(?:` + slowPair + `(?:,` + slowPair + `)*)?\}` + slowSpace + `\z`)
	slowTime    = regexp.MustCompile(`\A(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))\z`)
	slowVersion = regexp.MustCompile(`\A[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\z`)
)

// slowMoment reads a time, rounded up to a whole second.
func slowMoment(text string) (time.Time, bool) {
	match := slowTime.FindStringSubmatch(text)
	if match == nil {
		return time.Time{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(match[i]); return n } // "": 0
	at := time.Date(number(1), time.Month(number(2)), number(3), number(4), number(5), number(6), 0, time.UTC)
	if at.Format("2006-01-02T15:04:05") != text[:19] || number(9) > 23 || number(10) > 59 {
		return time.Time{}, false // February 30, or another number too large
	}
	offset := time.Duration(number(9))*time.Hour + time.Duration(number(10))*time.Minute
	if match[8] == "-" {
		offset = -offset
	}
	at = at.Add(-offset)
	if strings.Trim(match[7], "0") != "" {
		at = at.Add(time.Second)
	}
	// The first second of year 1 is Go's way to say that there is no time.
	return at, 0 <= at.Year() && at.Year() <= 9999 && !at.IsZero()
}

// slowParse reads a record, and returns false if it is unreadable.
func slowParse(kind token.Kind, data string) (c slowCutoffs, ok bool) {
	c.cutoffs = map[[2]string]time.Time{}
	if !utf8.ValidString(data) {
		return c, false
	}
	for line := range strings.SplitSeq(data, "\n") {
		if strings.Trim(line, " \t\r") == "" {
			continue
		}
		if !slowObject.MatchString(line) {
			return c, false
		}
		members := map[string]string{}
		for _, pair := range slowPairs.FindAllStringSubmatch(line, -1) {
			var name, value string
			if json.Unmarshal([]byte(pair[1]), &name) != nil || json.Unmarshal([]byte(pair[2]), &value) != nil {
				return c, false
			}
			if _, twice := members[name]; twice || value == "" || strings.Contains(value, "\uFFFD") {
				return c, false // what is not a character becomes U+FFFD
			}
			members[name] = value
		}
		names := slices.Sorted(maps.Keys(members))
		if slices.Equal(names, []string{"idsBefore"}) {
			floor, ok := slowMoment(members["idsBefore"])
			if !ok {
				return c, false
			}
			if floor.After(c.floor) {
				c.floor = floor
			}
			continue
		}
		before, ok := slowMoment(members["before"])
		delete(members, "before")
		if !ok || len(members) > 1 {
			return c, false
		}
		var subject [2]string
		for name, value := range members {
			allowed := []string{"kid", "name", "workload"}
			if kind == token.KindZone {
				allowed = []string{"kid", "zone"}
			}
			if !slices.Contains(allowed, name) {
				return c, false
			}
			subject = [2]string{name, value}
		}
		if present, there := c.cutoffs[subject]; !there || before.After(present) {
			c.cutoffs[subject] = before
		}
	}
	return c, true
}

// revokes reports whether a token is revoked.
func (c slowCutoffs) revokes(kid string, claims *token.Claims) bool {
	for subject, before := range c.cutoffs {
		concerned := map[string]bool{
			"":         true,
			"kid":      kid == subject[1],
			"name":     claims.Dataplane.Name == subject[1],
			"workload": claims.Dataplane.Workload == subject[1],
			"zone":     claims.Zone.Zone == subject[1],
		}
		if concerned[subject[0]] && claims.IssuedAt.Before(before) {
			return true
		}
	}
	if !slowVersion.MatchString(claims.ID) || c.floor.IsZero() {
		return false
	}
	milliseconds, _ := strconv.ParseInt(claims.ID[:8]+claims.ID[9:13], 16, 64)
	return milliseconds < c.floor.UnixMilli()
}

// all returns the cutoffs as a Cutoffs has them, by subject.
func (c slowCutoffs) all() map[revocation.Cutoff]time.Time {
	all := map[revocation.Cutoff]time.Time{}
	for subject, before := range c.cutoffs {
		of := func(member string) string {
			if subject[0] == member {
				return subject[1]
			}
			return ""
		}
		all[revocation.Cutoff{Name: of("name"), Workload: of("workload"), Zone: of("zone"), KeyID: of("kid")}] = before
	}
	return all
}

// bySubject takes the moments out of cutoffs.
func bySubject(list []revocation.Cutoff) map[revocation.Cutoff]time.Time {
	all := map[revocation.Cutoff]time.Time{}
	for _, cutoff := range list {
		before := cutoff.Before
		cutoff.Before = time.Time{}
		all[cutoff] = before
	}
	return all
}

// hostileCutoffs are records of which a part is unusual or wrong.
var hostileCutoffs = []string{
	"", "\n", " \t\r\n", "\v", "\f\n", "\x00", ",", "{}", "{", "}", "[]", "null", `""`, "an-id,another-id", "\uFEFF" + `{"before":"2026-11-29T10:00:00Z"}`,
	`{"before":"2026-11-29T10:00:00Z"}`,
	`{"before":"2026-11-29T10:00:00Z","name":"dp-1"}` + "\n" + `{"before":"2026-11-30T10:00:00Z","name":"dp-1"}`,
	`{"before":"2026-11-29T10:00:00Z","workload":"backend"}` + "\r\n\r\n" + `{"kid":"1","before":"2026-11-29T10:00:00Z"}` + "\r\n",
	`{"before":"2026-11-29T10:00:00Z","zone":"west"}`,
	`{"idsBefore":"2026-11-29T10:00:00Z"}` + "\n" + `{"before":"2026-11-29T10:00:00.5+01:00","kid":"1"}`,
	`{"idsBefore":"2026-11-29T10:00:00Z"}` + "\n" + `{"idsBefore":"2025-11-29T10:00:00Z"}`,
	`{"idsBefore":"2026-11-29T10:00:00Z","before":"2026-11-29T10:00:00Z"}`, `{"idsBefore":"2026-11-29T10:00:00Z","name":"a"}`, `{"idsBefore":"0000-01-01T00:00:00Z"}`,
	// members
	`{"before":"2026-11-29T10:00:00Z","before":"2026-11-28T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z","bef\u006fre":"2026-11-28T10:00:00Z"}`,
	`{"bef\u006fre":"2026-11-29T10:00:00Z"}`, `{"Before":"2026-11-29T10:00:00Z"}`, `{"BEFORE":"2026-11-29T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z","Name":"a"}`, `{"before":"2026-11-29T10:00:00Z","\u017fcope":"a"}`, "{\"before\":\"2026-11-29T10:00:00Z\",\"\u212Aid\":\"1\"}",
	`{"before":"2026-11-29T10:00:00Z","name":"a","workload":"b"}`, `{"before":"2026-11-29T10:00:00Z","name":"a","kid":"1"}`, `{"before":"2026-11-29T10:00:00Z","tags":"a"}`, `{"before":"2026-11-29T10:00:00Z","":""}`, `{"before":"2026-11-29T10:00:00Z","":"a"}`,
	`{"before":"2026-11-29T10:00:00Z","name":""}`, `{"before":"2026-11-29T10:00:00Z","name":null}`, `{"before":"2026-11-29T10:00:00Z","name":["a"]}`, `{"before":"2026-11-29T10:00:00Z","name":{"a":"b"}}`, `{"before":"2026-11-29T10:00:00Z","name":1}`, `{"before":"2026-11-29T10:00:00Z","name":true}`,
	`{"before":{"before":"2026-11-29T10:00:00Z"}}`, `{"before":1764410400}`, `{"before":null}`, `{"before":""}`, `{"name":"dp-1"}`,
	// JSON
	`{"before":"2026-11-29T10:00:00Z",}`, `{,"before":"2026-11-29T10:00:00Z"}`, `{"before" "2026-11-29T10:00:00Z"}`, `{"before"::"2026-11-29T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z"]`, `{"before":"2026-11-29T10:00:00Z"`, `{"before":"2026-11-29T10:00:00Z"}}`, `{"before":"2026-11-29T10:00:00Z"}{}`, `{"before":"2026-11-29T10:00:00Z"} x`, `{"before":"2026-11-29T10:00:00Z"},`,
	`[{"before":"2026-11-29T10:00:00Z"}]`, `{before:"2026-11-29T10:00:00Z"}`, `{'before':'2026-11-29T10:00:00Z'}`, "{\n\"before\":\"2026-11-29T10:00:00Z\"\n}", `{"before":"2026-11-29T10:00:00Z"/**/}`, `// a comment`, "\u00A0" + `{"before":"2026-11-29T10:00:00Z"}`,
	`{"before":"2026-11-29T10:00:00Z","name":"\ud800"}`, `{"before":"2026-11-29T10:00:00Z","name":"\ud83d\ude00"}`, `{"before":"2026-11-29T10:00:00Z","name":"\x"}`, `{"before":"2026-11-29T10:00:00Z","name":"\u00"}`, "{\"before\":\"2026-11-29T10:00:00Z\",\"name\":\"\t\"}", `{"before":"2026-11-29T10:00:00Z","name":"\u0000\/\n"}`, "{\"before\":\"2026-11-29T10:00:00Z\",\"name\":\"\xff\"}", "{\"before\":\"2026-11-29T10:00:00Z\",\"name\":\"\uFFFD\u2028\"}", strings.Repeat(`{"a":`, 1000),
	// times
	`{"before":"2026-11-29T10:00:00"}`, `{"before":"2026-11-29 10:00:00Z"}`, `{"before":"2026-11-29t10:00:00z"}`, `{"before":"2026-11-29"}`, `{"before":"2026-11-29T10:00Z"}`, `{"before":"2026-11-29T9:00:00Z"}`, `{"before":"2026-11-29T10:00:00,5Z"}`, `{"before":"2026-11-29T10:00:00.Z"}`, `{"before":"2026-11-29T10:00:00.000000000000Z"}`, `{"before":"2026-11-29T10:00:00.0000000000001Z"}`, `{"before":"2026-11-29T10:00:00.999999999999Z"}`,
	`{"before":"2026-11-29T23:59:60Z"}`, `{"before":"2026-11-29T24:00:00Z"}`, `{"before":"2026-02-29T10:00:00Z"}`, `{"before":"2024-02-29T10:00:00Z"}`, `{"before":"2026-13-01T10:00:00Z"}`, `{"before":"2026-00-00T10:00:00Z"}`, `{"before":"2026-11-29T10:60:00Z"}`,
	`{"before":"2026-11-29T10:00:00+23:59"}`, `{"before":"2026-11-29T10:00:00+24:00"}`, `{"before":"2026-11-29T10:00:00-00:60"}`, `{"before":"2026-11-29T10:00:00+0100"}`, `{"before":"2026-11-29T10:00:00+01"}`, `{"before":"2026-11-29T10:00:00-00:00"}`, `{"before":"2026-11-29T10:00:00 UTC"}`, `{"before":"2026-11-29T10:00:00ZZ"}`,
	`{"before":"0000-01-01T00:00:00Z"}`, `{"before":"0000-01-01T00:00:00+23:00"}`, `{"before":"0001-01-01T00:00:00Z"}`, `{"before":"9999-12-31T23:59:59Z"}`, `{"before":"9999-12-31T23:59:59.1Z"}`, `{"before":"9999-12-31T23:59:59-01:00"}`, `{"before":"12026-11-29T10:00:00Z"}`, `{"before":"-026-11-29T10:00:00Z"}`, `{"before":"now"}`,
}

func FuzzParseCutoffs(f *testing.F) {
	const id = "019acf4d-a7c0-7abc-8def-0123456789ab" // from 2026-11-29
	for _, record := range hostileCutoffs {
		f.Add([]byte(record), "dp-1", "backend", "1", id, ten.Unix()-1)
		f.Add([]byte(`{"before":"2026-11-29T10:00:00Z"}`+"\n"+record), "", "", "key-1", strings.Replace(id, "-7", "-4", 1), int64(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, name, workload, kid, id string, iat int64) {
		for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
			claims := &token.Claims{Registered: token.Registered{ID: id}, Dataplane: token.Dataplane{Name: name, Workload: workload}}
			if kind == token.KindZone {
				claims = &token.Claims{Registered: token.Registered{ID: id}, Zone: token.Zone{Zone: name}}
			}
			if iat != 0 {
				claims.IssuedAt = time.Unix(iat, 0)
			}
			compareCutoffs(t, kind, data, kid, claims)
		}
	})
}

// compareCutoffs reads a record with the package and in the plain way, and compares
// whether it can be read, what is in it, and which tokens it revokes: one, and for each
// cutoff those around its moment.
func compareCutoffs(t *testing.T, kind token.Kind, data []byte, kid string, claims *token.Claims) {
	want, readable := slowParse(kind, string(data))
	c, err := revocation.ParseCutoffs(kind, data)
	if !readable {
		require.ErrorIs(t, err, revocation.ErrUnreadable)
		require.Nil(t, c)
		return
	}
	require.NoError(t, err)
	require.Equal(t, want.all(), bySubject(c.All()))
	require.Equal(t, want.floor, c.Floor())
	require.Equal(t, want.revokes(kid, claims), c.Check(kid, claims) != "")
	for _, cutoff := range c.All() {
		near := &token.Claims{Registered: claims.Registered, Dataplane: claims.Dataplane, Zone: claims.Zone}
		if kind == token.KindZone {
			near.Zone.Zone = cutoff.Zone
		} else {
			near.Dataplane.Name, near.Dataplane.Workload = cutoff.Name, cutoff.Workload
		}
		for _, apart := range []time.Duration{-time.Second, 0, time.Second} {
			near.IssuedAt = cutoff.Before.Add(apart)
			require.Equal(t, want.revokes(cutoff.KeyID, near), c.Check(cutoff.KeyID, near) != "", "%s, issued at %s", cutoff, near.IssuedAt)
		}
	}

	// What is written says the same.
	store, ref := keystore.NewMemory(), revocation.DataplaneCutoffs("default")
	if kind == token.KindZone {
		ref = revocation.ZoneCutoffs()
	}
	_, _, err = ref.Keep(t.Context(), store, c)
	require.NoError(t, err)
	written, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	require.Equal(t, c.All(), written.All())
	require.Equal(t, c.Floor(), written.Floor())
}
