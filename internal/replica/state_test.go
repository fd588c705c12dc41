package replica

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// at is a moment so many seconds after the beginning; 0 stands for never.
func at(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return moment.Add(time.Duration(seconds * float64(time.Second)))
}

func TestReadingsMergeToTheLatestOfEach(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	for name, c := range map[string]struct{ a, b, want reading }{
		"neither":               {reading{}, reading{}, reading{}},
		"a later confirmation":  {reading{confirmed: at(1)}, reading{confirmed: at(2)}, reading{confirmed: at(2)}},
		"an older confirmation": {reading{confirmed: at(2)}, reading{confirmed: at(1)}, reading{confirmed: at(2)}},
		"confirmed at once":     {reading{confirmed: at(1)}, reading{confirmed: at(1), mayLag: true}, reading{confirmed: at(1), mayLag: true}},
		"a later failure":       {reading{confirmed: at(3), failed: at(1), err: one}, reading{failed: at(2), err: two}, reading{confirmed: at(3), failed: at(2), err: two}},
		"an older failure":      {reading{confirmed: at(3), failed: at(2), err: one}, reading{failed: at(1), err: two}, reading{confirmed: at(3), failed: at(2), err: one}},
		"failures at once":      {reading{failed: at(1), err: one}, reading{failed: at(1), err: two}, reading{failed: at(1), err: one}},
	} {
		assert.Equal(t, c.want, c.a.merge(c.b), name)
	}
}

func TestAStateAgesOnlyAfterAFailureOrWhileAReadIsOverdue(t *testing.T) {
	const overdue = 35 * time.Second
	now := at(100)
	for name, c := range map[string]struct {
		r    reading
		want time.Duration
	}{
		"never confirmed":             {reading{failed: at(1)}, math.MaxInt64},
		"just confirmed":              {reading{confirmed: at(100)}, 0},
		"a failure before":            {reading{confirmed: at(90), failed: at(89)}, 0},
		"a failure at the same time":  {reading{confirmed: at(90), failed: at(90)}, 0},
		"a failure after":             {reading{confirmed: at(90), failed: at(91)}, 10 * time.Second},
		"not yet overdue":             {reading{confirmed: now.Add(-overdue)}, 0},
		"overdue":                     {reading{confirmed: now.Add(-overdue - 1)}, overdue + 1},
		"overdue, and a failure once": {reading{confirmed: at(50), failed: at(40)}, 50 * time.Second},
	} {
		assert.Equal(t, c.want, c.r.staleness(now, overdue), name)
	}
	assert.Equal(t, errDenied, reading{err: errDenied}.cause())
	assert.Equal(t, errOverdue, reading{}.cause())
}

// aged is a state with reads of all scopes, of scope a alone and of the global scope alone.
func aged(full, own, global reading, has ...keystore.Scope) *State {
	s := &State{full: full, overdue: 35 * time.Second}
	for _, scope := range has {
		s = s.with(scope, &content{})
	}
	for scope, r := range map[keystore.Scope]reading{"a": own, keystore.Global: global} {
		if r != (reading{}) {
			s = s.withReading(scope, r)
		}
	}
	return s
}

func TestAScopeIsAsOldAsTheOldestOfTheReadsThatItRestsOn(t *testing.T) {
	ofAll, ofA, ofGlobal := errors.New("of all"), errors.New("of a"), errors.New("of the global scope")
	failing := reading{confirmed: at(10), failed: at(95), err: ofAll} // 90 s old
	for name, c := range map[string]struct {
		full, own, global reading
		age               time.Duration // 0: current
		cause             error
	}{
		"all was read":                         {full: reading{confirmed: at(90)}},
		"a read of all failed":                 {full: failing, age: 90 * time.Second, cause: ofAll},
		"then the scope was read":              {full: failing, own: reading{confirmed: at(96)}, age: 90 * time.Second, cause: ofAll},
		"then the global scope was read":       {full: failing, global: reading{confirmed: at(96)}, age: 90 * time.Second, cause: ofAll},
		"then both were read":                  {full: failing, own: reading{confirmed: at(96)}, global: reading{confirmed: at(97)}},
		"then the scope failed too":            {full: failing, own: reading{failed: at(97), err: ofA}, age: 90 * time.Second, cause: ofA},
		"the scope failed alone":               {full: reading{confirmed: at(90)}, own: reading{failed: at(96), err: ofA}, age: 10 * time.Second, cause: ofA},
		"the global scope failed alone":        {full: reading{confirmed: at(90)}, global: reading{failed: at(96), err: ofGlobal}, age: 10 * time.Second, cause: ofGlobal},
		"both failed":                          {full: reading{confirmed: at(90)}, own: reading{failed: at(96), err: ofA}, global: reading{failed: at(97), err: ofGlobal}, age: 10 * time.Second, cause: ofA},
		"the scope was read after both failed": {full: reading{confirmed: at(90)}, own: reading{confirmed: at(98), failed: at(96), err: ofA}, global: reading{failed: at(97), err: ofGlobal}, age: 10 * time.Second, cause: ofGlobal},
		"a read is overdue":                    {full: reading{confirmed: at(60)}, age: 40 * time.Second, cause: errOverdue},
		"an overdue read, but the scopes were": {full: reading{confirmed: at(60)}, own: reading{confirmed: at(96)}, global: reading{confirmed: at(96)}},
	} {
		for _, has := range [][]keystore.Scope{{"a", keystore.Global}, {"a"}, {keystore.Global}, nil} {
			t.Run(fmt.Sprintf("%s, records in %q", name, has), func(t *testing.T) {
				s, now := aged(c.full, c.own, c.global, has...), at(100)
				if c.age == 0 {
					assert.NoError(t, s.CheckAge("a", now, 0))
					assert.NoError(t, s.CheckKnowable("a", "1", now, 0))
					return
				}
				for _, check := range []func(time.Duration) error{
					func(limit time.Duration) error { return s.CheckAge("a", now, limit) },
					func(limit time.Duration) error { return s.CheckKnowable("a", "1", now, limit) },
				} {
					assert.NoError(t, check(c.age))
					err := check(c.age - 1)
					assert.ErrorIs(t, err, token.ErrUnavailable)
					assert.ErrorIs(t, err, c.cause)
					assert.ErrorContains(t, err, "not confirmed for "+c.age.String())
				}
			})
		}
	}
}

func TestAScopeThatWasNeverReadIsTooOldForEveryLimit(t *testing.T) {
	for name, c := range map[string]struct {
		own, global reading
		age, keys   bool // they are known
	}{
		"nothing was read":         {},
		"the scope alone was read": {own: reading{confirmed: at(96)}, keys: true},
		"the global scope was":     {global: reading{confirmed: at(96)}},
		"both were":                {own: reading{confirmed: at(96)}, global: reading{confirmed: at(96)}, age: true, keys: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := aged(reading{failed: at(95), err: errDenied}, c.own, c.global)
			err := s.CheckAge("a", at(100), math.MaxInt64)
			assert.Equal(t, c.age, err == nil)
			known := s.Known("a")
			assert.Equal(t, c.keys, known == nil)
			for _, err := range []error{err, known} {
				if err != nil {
					assert.ErrorIs(t, err, token.ErrUnavailable)
					assert.ErrorIs(t, err, errDenied)
					assert.ErrorContains(t, err, "never read")
				}
			}
		})
	}
}

func TestSessionsAreCheckableAsLongAsNoRecordOfTheirTokensWasUnreadableForTooLong(t *testing.T) {
	series := signing.DataplaneKeys("a")
	unreadable := func(since float64, scope keystore.Scope, name string, reason error) func(*State) *State {
		return func(s *State) *State {
			return s.with(scope, dataplanes.parse(scope, found{unreadable: []*keystore.Error{denied(scope, name, reason)}}, nil, at(since)))
		}
	}
	failed := reading{confirmed: at(60), failed: at(61), err: errBroken} // 40 s old
	for name, c := range map[string]struct {
		full  reading
		has   func(*State) *State
		kid   string
		age   time.Duration // 0: current
		cause error
	}{
		"its list":                          {has: unreadable(70, "a", listOfA, errDenied), age: 30 * time.Second, cause: errDenied},
		"its cutoffs":                       {has: unreadable(70, "a", cutoffsOfA, errDenied), age: 30 * time.Second, cause: errDenied},
		"its list in the global scope":      {has: unreadable(70, "", listOfA, errDenied), age: 30 * time.Second, cause: errDenied},
		"a list astray":                     {has: unreadable(70, "b", listOfA, keystore.ErrScopeUnknown), age: 30 * time.Second, cause: keystore.ErrScopeUnknown},
		"the list of another mesh":          {has: unreadable(70, "b", listOfB, errDenied)},
		"its key":                           {has: unreadable(70, "a", series.KeyName(1), errDenied), kid: "1", age: 30 * time.Second, cause: errDenied},
		"another key":                       {has: unreadable(70, "a", series.KeyName(2), errDenied), kid: "1"},
		"a key of the same kid":             {has: unreadable(70, "a", series.KeyName(1), errDenied), kid: ""},
		"its list, and the store for less":  {full: failed, has: unreadable(50, "a", listOfA, errDenied), age: 50 * time.Second, cause: errDenied},
		"its list, and the store for more":  {full: failed, has: unreadable(70, "a", listOfA, errDenied), age: 40 * time.Second, cause: errBroken},
		"its list, and the store as long":   {full: failed, has: unreadable(60, "a", listOfA, errDenied), age: 40 * time.Second, cause: errBroken},
		"its key, and the store for less":   {full: failed, has: unreadable(50, "a", series.KeyName(1), errDenied), kid: "1", age: 50 * time.Second, cause: errDenied},
		"its key, and the store for more":   {full: failed, has: unreadable(70, "a", series.KeyName(1), errDenied), kid: "1", age: 40 * time.Second, cause: errBroken},
		"its key, and the store as long":    {full: failed, has: unreadable(60, "a", series.KeyName(1), errDenied), kid: "1", age: 40 * time.Second, cause: errBroken},
		"a list that was read long ago":     {has: func(s *State) *State { return s.with("a", parsed("a", holding("a", listOfA, "x"))) }},
		"its list since this very moment":   {has: unreadable(100, "a", listOfA, errDenied)},
		"its list and, for longer, its key": {has: func(s *State) *State { return unreadableListAndKey(s, at(70), at(50)) }, kid: "1", age: 50 * time.Second, cause: errBroken},
		"its list and, since later, a key":  {has: func(s *State) *State { return unreadableListAndKey(s, at(50), at(70)) }, kid: "1", age: 50 * time.Second, cause: errDenied},
	} {
		t.Run(name, func(t *testing.T) {
			if c.full == (reading{}) {
				c.full = reading{confirmed: at(95)}
			}
			s, now := c.has(&State{full: c.full, overdue: time.Minute}), at(100)
			if c.age == 0 {
				assert.NoError(t, s.CheckKnowable("a", c.kid, now, 0))
				return
			}
			assert.NoError(t, s.CheckKnowable("a", c.kid, now, c.age))
			err := s.CheckKnowable("a", c.kid, now, c.age-1)
			assert.ErrorIs(t, err, token.ErrUnavailable)
			assert.ErrorIs(t, err, c.cause)
		})
	}
}

// unreadableListAndKey is the state in which the list of mesh a (errDenied) and its key 1
// (errBroken) cannot be read, each since a time.
func unreadableListAndKey(s *State, list, key time.Time) *State {
	name := signing.DataplaneKeys("a").KeyName(1)
	first, second := denied("a", listOfA, errDenied), denied("a", name, errBroken)
	begin, both := found{unreadable: []*keystore.Error{first}}, found{unreadable: []*keystore.Error{first, second}}
	if key.Before(list) {
		begin, list, key = found{unreadable: []*keystore.Error{second}}, key, list
	}
	return s.with("a", dataplanes.parse("a", both, dataplanes.parse("a", begin, nil, list), key))
}

func TestATokenIsHeldToEachListAndCutoffThatAppliesToIt(t *testing.T) {
	const id = "some-id"
	revoking := holding("a", listOfA, id)
	cutting := holding("", cutoffsOfA, `{"before":"2026-11-29T10:00:00Z","kid":"1"}`)
	unreadable := func(scope keystore.Scope, name string, reason error) *content {
		return dataplanes.parse(scope, found{unreadable: []*keystore.Error{denied(scope, name, reason)}}, nil, moment)
	}
	claims := claimsWithID(id)
	claims.IssuedAt = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		holds  map[keystore.Scope]*content
		claims *token.Claims
		kid    string
		want   error
	}{
		"nothing there":                          {nil, claims, "1", nil},
		"its list":                               {map[keystore.Scope]*content{"a": parsed("a", revoking)}, claims, "1", token.ErrRevoked},
		"its list in the global scope":           {map[keystore.Scope]*content{"": parsed("", holding("", listOfA, id))}, claims, "1", token.ErrRevoked},
		"the list of another mesh":               {map[keystore.Scope]*content{"b": parsed("b", holding("b", listOfB, id))}, claims, "1", nil},
		"a cutoff":                               {map[keystore.Scope]*content{"": parsed("", cutting)}, claims, "1", token.ErrRevoked},
		"a cutoff of another key":                {map[keystore.Scope]*content{"": parsed("", cutting)}, claims, "2", nil},
		"an unreadable list":                     {map[keystore.Scope]*content{"a": unreadable("a", listOfA, errDenied)}, claims, "1", token.ErrUnavailable},
		"an unreadable list, and it has no id":   {map[keystore.Scope]*content{"a": unreadable("a", listOfA, errDenied)}, &token.Claims{}, "1", nil},
		"unreadable cutoffs, and it has no id":   {map[keystore.Scope]*content{"a": unreadable("a", cutoffsOfA, errDenied)}, &token.Claims{}, "1", token.ErrUnavailable},
		"a list astray":                          {map[keystore.Scope]*content{"b": unreadable("b", listOfA, keystore.ErrScopeUnknown)}, claims, "1", token.ErrUnavailable},
		"an unreadable list and one that has it": {map[keystore.Scope]*content{"a": unreadable("a", listOfA, errDenied), "": parsed("", holding("", listOfA, id))}, claims, "1", token.ErrRevoked},
		"an unreadable list and a cutoff":        {map[keystore.Scope]*content{"a": unreadable("a", listOfA, errDenied), "": parsed("", cutting)}, claims, "1", token.ErrRevoked},
		"a list in which it is not":              {map[keystore.Scope]*content{"a": parsed("a", holding("a", listOfA, "other"))}, claims, "1", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &State{}
			for scope, held := range c.holds {
				s = s.with(scope, held)
			}
			err := s.CheckRevoked("a", c.kid, c.claims)
			assert.ErrorIs(t, err, c.want)
			if c.want == token.ErrUnavailable {
				assert.NotErrorIs(t, err, token.ErrInvalid)
				assert.Equal(t, 1, strings.Count(err.Error(), token.ErrUnavailable.Error()))
			}
		})
	}
}

func TestWhatIsUnavailableIsSaidOnce(t *testing.T) {
	assert.NoError(t, unavailable(nil))
	assert.ErrorIs(t, unavailable(errDenied), token.ErrUnavailable)
	assert.ErrorIs(t, unavailable(errDenied), errDenied)
	assert.Equal(t, token.ErrUnavailable, unavailable(token.ErrUnavailable))
}

func TestListsAstrayAreThoseOfEveryScopeThatHasSome(t *testing.T) {
	astray := func(name string) *content {
		return dataplanes.parse("x", found{unreadable: []*keystore.Error{denied("x", name, keystore.ErrScopeUnknown)}}, nil, moment)
	}
	has := func(s *State) (all []keystore.Scope) {
		for id, l := range s.strays {
			assert.Same(t, l, s.lists(id)[2])
			all = append(all, id.owner)
		}
		slices.Sort(all)
		return all
	}
	first := (&State{}).with("x", astray(listOfA))
	assert.Equal(t, []keystore.Scope{"a"}, has(first))
	both := first.with("y", astray(listOfB))
	assert.Equal(t, []keystore.Scope{"a", "b"}, has(both))
	assert.Equal(t, []keystore.Scope{"a", "b"}, has(both.with("z", &content{})), "another scope changes nothing")
	assert.Equal(t, []keystore.Scope{"a", "b"}, has(both.with("z", nil)))
	assert.Equal(t, []keystore.Scope{"b"}, has(both.with("x", &content{})), "one was put right")
	assert.Equal(t, []keystore.Scope{"b"}, has(both.with("x", nil)), "one is gone")
	assert.Equal(t, []keystore.Scope{"a"}, has(first), "a state is immutable")
	assert.Empty(t, has(first.with("x", nil)))
	assert.Nil(t, first.with("x", nil).strays)
}

func TestAStateKeepsItsReadsWhenAScopeChanges(t *testing.T) {
	full := reading{confirmed: at(1), failed: at(2), err: errDenied}
	s := &State{full: full, overdue: time.Minute}
	s = s.withReading("empty", reading{confirmed: at(3)})
	next := s.with("a", &content{})
	assert.Equal(t, full, next.full)
	assert.Equal(t, time.Minute, next.overdue)
	assert.Equal(t, reading{confirmed: at(3)}, next.own("empty"))
	assert.True(t, next.Has("a"))
	assert.False(t, s.Has("a"))
	assert.False(t, (*State)(nil).Has("a"))
	assert.False(t, next.with("a", nil).Has("a"))
}

func TestReadsOfAScopeAddUp(t *testing.T) {
	for name, s := range map[string]*State{"with records": (&State{}).with("a", &content{}), "without records": {}} {
		s = s.withReading("a", reading{failed: at(1), err: errDenied})
		s = s.withReading("a", reading{confirmed: at(2)})
		assert.Equal(t, reading{confirmed: at(2), failed: at(1), err: errDenied}, s.own("a"), name)
		assert.Equal(t, reading{}, s.own("b"), name)
	}
	before := &State{}
	after := before.withReading("a", reading{confirmed: at(1)})
	assert.Equal(t, reading{}, before.own("a"))
	third := after.withReading("b", reading{confirmed: at(2)})
	assert.Equal(t, reading{}, after.own("b"), "a state is immutable")
	assert.Equal(t, reading{confirmed: at(1)}, third.own("a"))
}

func TestAStateRemembersAThousandScopesWithoutRecordsAndAlwaysTheGlobalOne(t *testing.T) {
	s := (&State{}).withReading(keystore.Global, reading{confirmed: at(1)})
	for i := range maxEmpty - 1 {
		s = s.withReading(meshName(i), reading{confirmed: at(1)})
	}
	assert.Len(t, s.empty, 1024)
	for i := range 4 * maxEmpty { // which one is forgotten is random
		scope := meshName(maxEmpty + i)
		s = s.withReading(scope, reading{confirmed: at(2)})
		if len(s.empty) != 1024 || s.own(keystore.Global).confirmed != at(1) || s.own(scope).confirmed != at(2) {
			t.Fatal(i, len(s.empty), s.own(keystore.Global), s.own(scope))
		}
	}
}

func TestAStateFindsAKeyByItsKidAndTheScopesThatHaveIt(t *testing.T) {
	keyed := func(mesh string, serial signing.Serial, data string) *content {
		return parsed(keystore.Scope(mesh), holding(keystore.Scope(mesh), signing.DataplaneKeys(mesh).PublicKeyName(serial), data))
	}
	s := (&State{}).with("a", keyed("a", 1, publicKey)).with("b", keyed("b", 1, "damaged")).with("c", keyed("c", 2, "damaged")).
		with(keystore.Global, parsed(keystore.Global, holding("", listOfA, "x")))
	key, err := s.Key("a", "1")
	assert.NoError(t, err)
	assert.NotNil(t, key)
	_, err = s.Key("b", "1")
	assert.ErrorIs(t, err, signing.ErrKey)
	for scope, kid := range map[keystore.Scope]string{"a": "2", "absent": "1", keystore.Global: "1"} {
		_, err = s.Key(scope, kid)
		assert.ErrorIs(t, err, signing.ErrNoKey)
	}
	has := s.ScopesWith("1")
	slices.Sort(has)
	assert.Equal(t, []keystore.Scope{"a", "b"}, has)
	var all []string
	s.Keys(func(scope keystore.Scope, key signing.Key) {
		all = append(all, fmt.Sprintf("%s %s %t", scope, key.Serial.KeyID(), key.Err == nil))
	})
	slices.Sort(all)
	assert.Equal(t, []string{"a 1 true", "b 1 false", "c 2 false"}, all)
}

func TestTheReportOfAMeshHasItsListsWhereverTheyAre(t *testing.T) {
	const cutoff, another = `{"before":"2026-11-29T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z","kid":"1"}`
	s := (&State{}).
		with("a", parsed("a", holding("a", cutoffsOfA, cutoff), holding("a", listOfA, "x,y,z"))).
		with("b", parsed("b", holding("b", listOfB, "x"), holding("b", "dataplane-token-signing-key-b-x", ""), holding("b", "dataplane-token-signing-key-b-y", ""))).
		with("keyless", parsed("keyless", holding("keyless", "dataplane-token-of-no-concern", ""))).
		with(keystore.Global, parsed(keystore.Global, holding("", cutoffsOfA, cutoff+"\n"+another), holding("", listOfA, "x"), holding("", "dataplane-token-other", "")))
	meshes := s.Meshes()
	slices.SortFunc(meshes, func(a, b observe.Mesh) int { return strings.Compare(a.Name, b.Name) })
	assert.Equal(t, []observe.Mesh{
		{Name: "", Problems: 1},
		{Name: "a", Revoked: 3, Cutoffs: 2},
		{Name: "b", Revoked: 1, Problems: 2},
		{Name: "keyless"},
	}, meshes)

	global := (&State{}).with(keystore.Global, parsed(keystore.Global, holding("", listOfA, "x")))
	assert.Equal(t, []observe.Mesh{{Name: "a", Revoked: 1}}, global.Meshes(), "the global scope is no mesh")
	astray := (&State{}).with("x", dataplanes.parse("x", found{unreadable: []*keystore.Error{denied("x", listOfA, keystore.ErrScopeUnknown)}}, nil, moment))
	assert.Len(t, astray.Meshes(), 2)
}

func TestAnIssuerIsToldOfAScopeOnlyWhileAllOfItIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		current := &State{full: reading{confirmed: now}, overdue: time.Minute}
		list, cutoffs := holding("a", listOfA, "x"), holding("a", cutoffsOfA, "")
		good := func() *content { return parsed("a", cutoffs, list) }
		spoilt := func(scope keystore.Scope, name string) *content {
			return dataplanes.parse(scope, found{records: []keystore.Record{}, unreadable: []*keystore.Error{denied(scope, name, errDenied)}}, nil, now)
		}
		for name, c := range map[string]struct {
			state   *State
			cutoffs int
			ok      bool
		}{
			"nothing was read":                       {},
			"the scope has no records":               {state: current},
			"all of it":                              {state: current.with("a", good()), cutoffs: 1, ok: true},
			"with cutoffs in the global scope":       {state: current.with("a", good()).with("", parsed("", holding("", cutoffsOfA, ""))), cutoffs: 2, ok: true},
			"a record that cannot be read":           {state: current.with("a", spoilt("a", keyOfA))},
			"global cutoffs that cannot be":          {state: current.with("a", good()).with("", spoilt("", cutoffsOfA))},
			"a global list that cannot be":           {state: current.with("a", good()).with("", spoilt("", listOfA)), cutoffs: 1, ok: true},
			"cutoffs that cannot be understood":      {state: current.with("a", parsed("a", holding("a", cutoffsOfA, "{")))},
			"the latest read has failed":             {state: current.with("a", good()).withReading("a", reading{failed: now.Add(time.Nanosecond), err: errDenied})},
			"a scope that has no keys of its tokens": {state: current.with("a", &content{})},
		} {
			f := &Follower{}
			if c.state != nil {
				f.current.Store(c.state)
			}
			time.Sleep(time.Until(now.Add(time.Nanosecond)))
			in, ok := f.Issuing("a")
			assert.Equal(t, c.ok, ok, name)
			if ok {
				assert.NotNil(t, in.Keys, name)
				require.Len(t, in.Cutoffs, c.cutoffs, name)
				for _, r := range in.Cutoffs {
					assert.Equal(t, cutoffsOfA, r.Name)
				}
			}
		}
	})
}

func claimsWithID(id string) *token.Claims {
	var claims token.Claims
	claims.ID = id
	return &claims
}
