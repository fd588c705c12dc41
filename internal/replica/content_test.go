package replica

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

const (
	listOfA    = "dataplane-token-revocations-a"
	cutoffsOfA = "dataplane-token-cutoffs-a"
	listOfB    = "dataplane-token-revocations-b"
	cutoffsOfB = "dataplane-token-cutoffs-b"
	keyOfA     = "dataplane-token-signing-key-a-1"
)

// publicKey is the public half of a key that nobody has.
const publicKey = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwzxwXWVRSIb6Kk+eV1yF
P+abfCz29aya0dXor280th6gnljUaV0qiZRCyVlZZe6zxBahK/mFzsnjlS2lE32w
0568PeHkkxxlE995hYQf9l/pgr24Nk+124JzXFlXkE4B0s2UiIrux1vlYIm5Vdp/
kLCu5tp4ch+r/T5KGI0J9O3JYppKlyNKvuGA28PP5HNryvBzEZu8WEjE2ShowkSW
H+LtlPGSlxSvRn+iT6VEOjPi58VPhEcsm01u32kgKot+hjRX7qfs8TwBp9ZY7wp5
IvxUxZfT0K+4FIHv7uJwH9KmAgGgg+IK2ztukFzLOjt9SZEd+a2Pf8czpXMtoomA
0wIDAQAB
-----END PUBLIC KEY-----
`

var (
	moment    = time.Unix(1_700_000_000, 5)
	errDenied = errors.New("permission denied")
	errBroken = errors.New("the disk is broken")
)

// holding returns a record whose version tells its data apart.
func holding(scope keystore.Scope, name, data string) keystore.Record {
	return keystore.Record{Scope: scope, Name: name, Data: []byte(data), Version: fmt.Sprintf("%q", data), Created: moment}
}

// denied is a record that the store lists and cannot read.
func denied(scope keystore.Scope, name string, reason error) *keystore.Error {
	return &keystore.Error{Op: "read", Scope: scope, Name: name, Err: reason}
}

// parsed is what a scope has after a read of records.
func parsed(scope keystore.Scope, records ...keystore.Record) *content {
	return dataplanes.parse(scope, found{records: records}, nil, moment)
}

func TestARecordCountsForTheTokensThatItsNameAndScopeSay(t *testing.T) {
	ids := func(owner keystore.Scope) listID { return listID{owner: owner} }
	cutoffs := func(owner keystore.Scope) listID { return listID{owner: owner, cutoffs: true} }
	for name, c := range map[string]struct {
		in      keystore.Scope
		found   found
		list    listID // "": none
		stray   listID
		problem string // "": none
	}{
		"a list of its mesh":           {in: "a", found: found{records: []keystore.Record{holding("a", listOfA, "x")}}, list: ids("a")},
		"cutoffs of its mesh":          {in: "a", found: found{records: []keystore.Record{holding("a", cutoffsOfA, "")}}, list: cutoffs("a")},
		"a global list of a mesh":      {in: "", found: found{records: []keystore.Record{holding("", listOfA, "x")}}, list: ids("a")},
		"global cutoffs of a mesh":     {in: "", found: found{records: []keystore.Record{holding("", cutoffsOfA, "")}}, list: cutoffs("a")},
		"a list of another mesh":       {in: "a", found: found{records: []keystore.Record{holding("a", listOfB, "x")}}, problem: `revocation list "` + listOfB + `" in scope "a" belongs to another scope`},
		"cutoffs of another mesh":      {in: "a", found: found{records: []keystore.Record{holding("a", cutoffsOfB, "")}}, problem: `list of cutoffs "` + cutoffsOfB + `" in scope "a" belongs to another scope`},
		"a record of another scope":    {in: "a", found: found{records: []keystore.Record{holding("b", listOfA, "x")}}, problem: `in scope "b" belongs to another scope`},
		"a global record, not so said": {in: "", found: found{records: []keystore.Record{holding("b", listOfB, "x")}}, problem: `in scope "b" belongs to another scope`},
		"the list of zone tokens":      {in: "", found: found{records: []keystore.Record{holding("", "zone-token-revocations", "x")}}, problem: `"zone-token-revocations" in scope "" is ignored: no dataplane key belongs`},
		"the cutoffs of zone tokens":   {in: "", found: found{records: []keystore.Record{holding("", "zone-token-cutoffs", "")}}, problem: `"zone-token-cutoffs" in scope "" is ignored: no dataplane key belongs`},
		"a key in the global scope":    {in: "", found: found{unreadable: []*keystore.Error{denied("", keyOfA, errDenied)}}, problem: "permission denied"},

		"an unreadable list": {in: "a", found: found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}, list: ids("a"), problem: `revocation list "` + listOfA + `" in scope "a": `},
		"an unreadable list of its mesh that does not say its scope": {in: "a", found: found{unreadable: []*keystore.Error{denied("a", listOfA, keystore.ErrScopeUnknown)}}, list: ids("a"), problem: listOfA},
		"an unreadable global list":                                  {in: "", found: found{unreadable: []*keystore.Error{denied("", listOfA, errDenied)}}, list: ids("a"), problem: `in scope "": `},
		"unreadable cutoffs":                                         {in: "a", found: found{unreadable: []*keystore.Error{denied("a", cutoffsOfA, errDenied)}}, list: cutoffs("a"), problem: `list of cutoffs "` + cutoffsOfA},
		"an unreadable list of another mesh":                         {in: "a", found: found{unreadable: []*keystore.Error{denied("a", listOfB, errDenied)}}, problem: "belongs to another scope"},
		"one that does not say its scope":                            {in: "a", found: found{unreadable: []*keystore.Error{denied("a", listOfB, keystore.ErrScopeUnknown)}}, stray: ids("b"), problem: listOfB},
		"cutoffs that do not say their scope":                        {in: "a", found: found{unreadable: []*keystore.Error{denied("a", cutoffsOfB, keystore.ErrScopeUnknown)}}, stray: cutoffs("b"), problem: cutoffsOfB},
		"another scope, of which nothing is said":                    {in: "a", found: found{unreadable: []*keystore.Error{denied("c", listOfA, keystore.ErrScopeUnknown)}}, stray: ids("a"), problem: listOfA},
	} {
		t.Run(name, func(t *testing.T) {
			got := dataplanes.parse(c.in, c.found, nil, moment)
			lists, strays := map[listID]bool{}, map[listID]bool{}
			for id, l := range got.lists {
				lists[id] = true
				assert.Equal(t, len(c.found.unreadable) > 0, l.err != nil)
				assert.Nil(t, l.record.Data, "the data is not kept")
			}
			for id, l := range got.strays {
				strays[id] = true
				assert.Error(t, l.err)
			}
			want := func(id listID) map[listID]bool {
				if id == (listID{}) {
					return map[listID]bool{}
				}
				return map[listID]bool{id: true}
			}
			assert.Equal(t, want(c.list), lists)
			assert.Equal(t, want(c.stray), strays)
			if c.problem == "" {
				assert.Empty(t, got.problems)
				return
			}
			require.Len(t, got.problems, 1)
			assert.Contains(t, got.problems[0], c.problem)
		})
	}
}

func TestAMalformedItemOfAListIsAProblemThatNamesTheList(t *testing.T) {
	got := parsed("a", holding("a", listOfA, "good,größe"))
	require.Len(t, got.problems, 1)
	assert.Contains(t, got.problems[0], `revocation list "`+listOfA+`" in scope "a": `)
	assert.True(t, got.lists[listID{owner: "a"}].ids.Contains("good"))
}

func TestAScopeIsParsedAgainIfARecordMayHaveChanged(t *testing.T) {
	change := func(edit func(*keystore.Record)) func(*found) {
		return func(in *found) { edit(&in.records[1]) }
	}
	for name, c := range map[string]struct {
		change func(*found)
		same   bool
	}{
		"nothing has changed":                {func(*found) {}, true},
		"the data of the same version":       {change(func(r *keystore.Record) { r.Data = []byte("y") }), true},
		"a version":                          {change(func(r *keystore.Record) { r.Version = "2" }), false},
		"a name":                             {change(func(r *keystore.Record) { r.Name = "dataplane-token-z" }), false},
		"when it was created, by a second":   {change(func(r *keystore.Record) { r.Created = r.Created.Add(time.Second) }), false},
		"when it was created, by nanosecond": {change(func(r *keystore.Record) { r.Created = r.Created.Add(1) }), false},
		"a record less":                      {func(in *found) { in.records = in.records[:1] }, false},
		"no record":                          {func(in *found) { in.records = nil }, false},
		"why a record cannot be read":        {func(in *found) { in.unreadable = []*keystore.Error{denied("a", keyOfA, errBroken)} }, false},
		"that it can be read":                {func(in *found) { in.unreadable = nil }, false},
		"that a second one cannot be read": {func(in *found) {
			in.unreadable = append(in.unreadable, denied("a", "dataplane-token-signing-key-a-2", errDenied))
		}, false},
	} {
		read := func() found {
			return found{[]keystore.Record{holding("a", cutoffsOfA, ""), holding("a", listOfA, "x")}, []*keystore.Error{denied("a", keyOfA, errDenied)}}
		}
		before := dataplanes.parse("a", read(), nil, moment)
		next := read()
		c.change(&next)
		assert.Equal(t, c.same, before == dataplanes.parse("a", next, before, moment), name)
	}
}

func TestRecordsWithoutAVersionAreAlwaysParsedAgain(t *testing.T) {
	for _, first := range []bool{true, false} {
		in := found{records: []keystore.Record{holding("a", cutoffsOfA, ""), holding("a", listOfA, "x")}}
		if first {
			in.records[0].Version = ""
		} else {
			in.records[1].Version = ""
		}
		before := dataplanes.parse("a", in, nil, moment)
		after := dataplanes.parse("a", in, before, moment)
		assert.NotSame(t, before, after)
		assert.Equal(t, first, before.lists[listID{owner: "a"}] == after.lists[listID{owner: "a"}], "the other record is known")
	}
}

func TestARecordThatHasNotChangedIsNotParsedAgain(t *testing.T) {
	before := parsed("a", holding("a", cutoffsOfA, ""), holding("a", listOfA, "x"))
	after := dataplanes.parse("a", found{records: []keystore.Record{holding("a", cutoffsOfA, ""), holding("a", listOfA, "x,y")}}, before, moment)
	assert.Same(t, before.lists[listID{"a", true}], after.lists[listID{"a", true}])
	assert.NotSame(t, before.lists[listID{"a", false}], after.lists[listID{"a", false}])
	assert.True(t, after.lists[listID{"a", false}].ids.Contains("y"))
}

// A record ages from the first read that could not read it, for whatever reason, until one
// can.
func TestARecordHasBeenUnreadableSinceTheFirstReadThatFailedInARow(t *testing.T) {
	for name, c := range map[string]struct {
		scope, owner keystore.Scope
		record       string
		reason       error
		since        func(*content) (time.Time, bool)
	}{
		"a list":     {"a", "a", listOfA, errDenied, func(c *content) (time.Time, bool) { return sinceOf(c.lists, listID{"a", false}) }},
		"cutoffs":    {"a", "a", cutoffsOfA, errDenied, func(c *content) (time.Time, bool) { return sinceOf(c.lists, listID{"a", true}) }},
		"one astray": {"a", "b", listOfB, keystore.ErrScopeUnknown, func(c *content) (time.Time, bool) { return sinceOf(c.strays, listID{"b", false}) }},
		"a key":      {"a", "a", keyOfA, errDenied, func(c *content) (time.Time, bool) { at, ok := c.unreadable["1"]; return at, ok }},
	} {
		t.Run(name, func(t *testing.T) {
			at := func(seconds int) time.Time { return moment.Add(time.Duration(seconds) * time.Second) }
			fails := func(reason error) found {
				return found{unreadable: []*keystore.Error{denied(c.scope, c.record, reason)}}
			}
			first := dataplanes.parse("a", fails(c.reason), nil, at(1))
			since, ok := c.since(first)
			assert.True(t, ok)
			assert.Equal(t, at(1), since)

			second := dataplanes.parse("a", fails(fmt.Errorf("again: %w", c.reason)), first, at(2))
			since, _ = c.since(second)
			assert.NotSame(t, first, second)
			assert.Equal(t, at(1), since, "another reason is no better")

			gone := dataplanes.parse("a", found{}, second, at(3))
			_, ok = c.since(gone)
			assert.False(t, ok)
			again := dataplanes.parse("a", fails(c.reason), gone, at(4))
			since, _ = c.since(again)
			assert.Equal(t, at(4), since)
		})
	}
}

// sinceOf returns since when a record cannot be read, or false if it can or is not there.
func sinceOf(lists map[listID]*list, id listID) (time.Time, bool) {
	l := lists[id]
	if l == nil || l.err == nil {
		return time.Time{}, false
	}
	return l.since, true
}

func TestAListThatWasReadAndThenCannotBeReadIsUnreadableSinceThen(t *testing.T) {
	id := listID{"a", false}
	read := parsed("a", holding("a", listOfA, "x"))
	fails := found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}
	unreadable := dataplanes.parse("a", fails, read, moment.Add(time.Minute))
	since, ok := sinceOf(unreadable.lists, id)
	assert.True(t, ok)
	assert.Equal(t, moment.Add(time.Minute), since)
	assert.Nil(t, unreadable.lists[id].ids)
	assert.ErrorIs(t, unreadable.lists[id].err, errDenied)

	repaired := dataplanes.parse("a", found{records: []keystore.Record{holding("a", listOfA, "x")}}, unreadable, moment.Add(time.Hour))
	assert.NoError(t, repaired.lists[id].err)
	assert.True(t, repaired.lists[id].ids.Contains("x"))
}

func TestTheKeysOfAMeshAreReadAndTheirProblemsNamed(t *testing.T) {
	series := signing.DataplaneKeys("a")
	got := dataplanes.parse("a", found{
		records:    []keystore.Record{holding("a", series.PublicKeyName(1), publicKey), holding("a", series.KeyName(2), "no key")},
		unreadable: []*keystore.Error{denied("a", series.KeyName(3), errDenied)},
	}, nil, moment)
	assert.Equal(t, []string{"1", "2", "3"}, got.keyIDs())
	assert.Equal(t, map[string]time.Time{"2": moment, "3": moment}, got.unreadable)
	require.Len(t, got.problems, 2)
	assert.Contains(t, strings.Join(got.problems, "\n"), series.KeyName(2))
	assert.Contains(t, strings.Join(got.problems, "\n"), series.KeyName(3))
	_, err := got.keys.Find("1")
	assert.NoError(t, err)

	next := dataplanes.parse("a", found{records: []keystore.Record{holding("a", series.PublicKeyName(1), publicKey), holding("a", listOfA, "x")}}, got, moment)
	before, _ := got.keys.Find("1")
	after, _ := next.keys.Find("1")
	assert.Same(t, before, after, "a key keeps its pointer")
	assert.Nil(t, next.unreadable)
}
