package replica

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// changeOf is the change of scope a when a read finds other records there than the one
// before. The global scope has these records. nil: the scope has none.
func changeOf(before, after found, global ...keystore.Record) Change {
	holds := func(in found, prev *content) *content {
		if len(in.records)+len(in.unreadable) == 0 {
			return nil
		}
		return dataplanes.parse("a", in, prev, moment)
	}
	c := Change{Scope: "a", prev: holds(before, nil)}
	c.next = holds(after, c.prev)
	c.State = (&State{}).with(keystore.Global, parsed(keystore.Global, global...)).with("a", c.next)
	return c
}

func records(all ...keystore.Record) found { return found{records: all} }

func TestAChangeNamesEachNewProblemOnce(t *testing.T) {
	misnamed := func(n string) keystore.Record { return holding("a", "dataplane-token-signing-key-a-"+n, "") }
	c := changeOf(records(misnamed("x")), records(misnamed("x"), misnamed("y")))
	require.Len(t, c.Problems(), 1)
	assert.Contains(t, c.Problems()[0], "key-a-y")
	assert.Len(t, changeOf(found{}, records(misnamed("x"), misnamed("y"))).Problems(), 2, "all of a new scope")
	assert.Empty(t, changeOf(records(misnamed("x")), found{}).Problems())

	assert.Equal(t, []string{"b", "c"}, missing([]string{"a", "b", "b", "c"}, []string{"a"}))
	assert.Equal(t, []string{"b"}, missing([]string{"b"}, nil))
	assert.Empty(t, missing(nil, []string{"a"}))
}

func TestAChangeNamesTheKeysThatCameAndWent(t *testing.T) {
	key := func(serial string) keystore.Record {
		return holding("a", "dataplane-token-signing-key-a-"+serial, "damaged "+serial)
	}
	c := changeOf(records(key("1"), key("2")), records(key("2"), key("3")))
	added, removed := c.Keys()
	assert.Equal(t, []string{"3"}, added)
	assert.Equal(t, []string{"1"}, removed)
	assert.Equal(t, []string{"2", "3"}, c.KeyIDs())

	added, removed = changeOf(found{}, records(key("1"))).Keys()
	assert.Empty(t, added, "no key of a new scope counts as added")
	assert.Empty(t, removed)
	c = changeOf(records(key("1")), found{})
	added, removed = c.Keys()
	assert.Empty(t, added)
	assert.Equal(t, []string{"1"}, removed)
	assert.Empty(t, c.KeyIDs())
}

func TestAChangeHasTheIDsThatAreNewAndTheOwnersOfChangedCutoffs(t *testing.T) {
	const first, second = "018bcfe5-6800-7000-8000-000000000001", "018bcfe5-6800-7000-8000-000000000002"
	list := func(data string) keystore.Record { return holding("a", listOfA, data) }
	cutoffs := func(data string) keystore.Record { return holding("a", cutoffsOfA, data) }
	const cutoff = `{"before":"2026-11-29T10:00:00Z"}`
	for name, c := range map[string]struct {
		before, after found
		ids           []string
		cutoffs       []keystore.Scope
	}{
		"a new scope":           {found{}, records(cutoffs(cutoff), list(first)), []string{first}, []keystore.Scope{"a"}},
		"an id that was added":  {records(list(first)), records(list(first + "," + second)), []string{second}, nil},
		"another list":          {records(list(first)), records(list(second)), []string{second}, nil},
		"other cutoffs":         {records(cutoffs(""), list(first)), records(cutoffs(cutoff), list(first)), nil, []keystore.Scope{"a"}},
		"cutoffs that are gone": {records(cutoffs(cutoff), list(first)), records(list(first)), nil, nil},
		"an unreadable list":    {records(list(first)), found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}, nil, nil},
		"unreadable cutoffs":    {records(cutoffs("")), found{unreadable: []*keystore.Error{denied("a", cutoffsOfA, errDenied)}}, nil, nil},
		"a list that is repaired": {found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}, records(list(first)),
			[]string{first}, nil},
		"an emptied scope": {records(list(first)), found{}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			lists, cutoffs := changeOf(c.before, c.after).Lists()
			assert.Equal(t, c.cutoffs, cutoffs)
			var ids []string
			for _, l := range lists {
				assert.EqualValues(t, "a", l.Owner)
				ids = append(ids, l.IDs()...)
			}
			assert.Equal(t, c.ids, ids)
		})
	}
}

func TestAChangeCountsTheIDsThatAreGoneAndThoseThatAreBelowTheFloor(t *testing.T) {
	const (
		early, late = "018bcfe5-6800-7000-8000-000000000001", "018bd50b-c400-7000-8000-000000000002" // a day apart
		floor       = `{"idsBefore":"2023-11-15T00:00:00Z"}`
	)
	list := func(data string) keystore.Record { return holding("a", listOfA, data) }
	cutoffs := holding("a", cutoffsOfA, floor)
	for name, c := range map[string]struct {
		before, after    found
		global           []keystore.Record
		restored, pruned []int
	}{
		"no id":                      {before: records(list(early)), after: records(list(early + "," + late))},
		"an id":                      {before: records(list(early + "," + late)), after: records(list(late)), restored: []int{1}},
		"two ids":                    {before: records(list(early + "," + late)), after: records(list("x")), restored: []int{2}},
		"a list":                     {before: records(cutoffs, list(late)), after: records(cutoffs), restored: []int{1}},
		"a scope":                    {before: records(list(early + "," + late)), restored: []int{2}},
		"a new scope":                {after: records(list(early))},
		"an id below the floor":      {before: records(cutoffs, list(early+","+late)), after: records(cutoffs, list(late)), pruned: []int{1}},
		"one below and two above":    {before: records(cutoffs, list(early+","+late+",x")), after: records(cutoffs, list("y")), restored: []int{2}, pruned: []int{1}},
		"an id above the floor":      {before: records(cutoffs, list(early+","+late)), after: records(cutoffs, list(early)), restored: []int{1}},
		"below a floor that is new":  {before: records(list(early)), after: records(cutoffs, list("")), pruned: []int{1}},
		"below a global floor":       {before: records(list(early)), after: records(list("")), global: []keystore.Record{holding("", cutoffsOfA, floor)}, pruned: []int{1}},
		"below the floor of another": {before: records(list(early)), after: records(list("")), global: []keystore.Record{holding("", cutoffsOfB, floor)}, restored: []int{1}},
		"a list that cannot be read": {before: records(list(early)), after: found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}},
		"an unreadable list":         {before: found{unreadable: []*keystore.Error{denied("a", listOfA, errDenied)}}, after: records(list(""))},
	} {
		t.Run(name, func(t *testing.T) {
			restored, pruned := changeOf(c.before, c.after, c.global...).Restored()
			assert.Equal(t, c.restored, restored, "restored")
			assert.Equal(t, c.pruned, pruned, "pruned")
		})
	}
}

func TestAChangeNamesTheCutoffsThatAreGone(t *testing.T) {
	const (
		all      = `{"before":"2026-11-29T10:00:00Z"}` + "\n"
		ofDP1    = `{"before":"2026-11-29T10:00:00Z","name":"dp-1"}` + "\n"
		floor    = `{"idsBefore":"2026-08-31T10:00:00Z"}` + "\n"
		lower    = `{"idsBefore":"2026-08-30T10:00:00Z"}` + "\n"
		higher   = `{"idsBefore":"2026-09-01T10:00:00Z"}` + "\n"
		saysAll  = "all tokens issued before 2026-11-29T10:00:00Z"
		saysDP1  = `tokens with the name "dp-1" issued before 2026-11-29T10:00:00Z`
		saysHere = "ids of version 7 from before 2026-08-31T10:00:00Z"
	)
	cutoffs := func(data string) keystore.Record { return holding("a", cutoffsOfA, data) }
	globally := func(data string) []keystore.Record { return []keystore.Record{holding("", cutoffsOfA, data)} }
	unreadable := found{unreadable: []*keystore.Error{denied("a", cutoffsOfA, errDenied)}}
	list := holding("a", listOfA, "x")
	for name, c := range map[string]struct {
		before, after found
		global        []keystore.Record
		gone          []string
	}{
		"none, of a new scope":                {after: records(cutoffs(all))},
		"none":                                {before: records(cutoffs(all)), after: records(cutoffs(all), list)},
		"none, one was added":                 {before: records(cutoffs(all)), after: records(cutoffs(all + ofDP1))},
		"one":                                 {before: records(cutoffs(all + ofDP1)), after: records(cutoffs(all)), gone: []string{saysDP1}},
		"both":                                {before: records(cutoffs(all + ofDP1)), after: records(cutoffs("")), gone: []string{saysAll, saysDP1}},
		"the record":                          {before: records(cutoffs(all), list), after: records(list), gone: []string{saysAll}},
		"the scope":                           {before: records(cutoffs(all)), gone: []string{saysAll}},
		"the scope, the global one has them":  {before: records(cutoffs(all)), global: globally(all)},
		"the record, and none in the global":  {before: records(cutoffs(all)), global: globally(ofDP1), gone: []string{saysAll}},
		"the record of another in the global": {before: records(cutoffs(all)), global: []keystore.Record{holding("", cutoffsOfB, all)}, gone: []string{saysAll}},
		"it cannot be read":                   {before: records(cutoffs(all)), after: unreadable},
		"it could not be read":                {before: unreadable, after: records(cutoffs(""))},
		"an unreadable one in the global":     {before: records(cutoffs(all)), after: records(list), global: globally("{")},
		"the floor":                           {before: records(cutoffs(all + floor)), after: records(cutoffs(all)), gone: []string{saysHere}},
		"the floor is lower":                  {before: records(cutoffs(floor)), after: records(cutoffs(lower)), gone: []string{saysHere}},
		"the floor is higher":                 {before: records(cutoffs(floor)), after: records(cutoffs(higher))},
		"the floor, the global one is higher": {before: records(cutoffs(floor)), after: records(cutoffs(lower)), global: globally(higher)},
		"the floor, and this one is higher":   {before: records(cutoffs(floor)), after: records(cutoffs(higher)), global: globally(lower)},
		"ids alone":                           {before: records(list), after: records(holding("a", listOfA, "y"))},
	} {
		t.Run(name, func(t *testing.T) {
			gone := changeOf(c.before, c.after, c.global...).Uncut()
			if c.gone == nil {
				assert.Empty(t, gone)
				return
			}
			require.Len(t, gone, 1)
			assert.Equal(t, cutoffsOfA, gone[0].Name)
			slices.Sort(gone[0].Texts)
			assert.Equal(t, c.gone, gone[0].Texts)
		})
	}
}

func TestTheFloorOfAMeshIsTheLatestOfItsRecords(t *testing.T) {
	floor := func(scope keystore.Scope, data string) keystore.Record { return holding(scope, cutoffsOfA, data) }
	const early, late = `{"idsBefore":"2026-08-31T10:00:00Z"}`, `{"idsBefore":"2026-09-01T10:00:00Z"}`
	want := time.Date(2026, 9, 1, 10, 0, 0, 0, time.UTC)
	for _, order := range [][2]string{{early, late}, {late, early}, {late, late}} {
		s := (&State{}).with(keystore.Global, parsed(keystore.Global, floor("", order[0]))).with("a", parsed("a", floor("a", order[1])))
		assert.True(t, want.Equal(s.floor("a")), s.floor("a"))
	}
	assert.True(t, (&State{}).floor("a").IsZero())
}
