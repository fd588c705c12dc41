package simulation

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestModelIsShort(t *testing.T) {
	text, err := os.ReadFile("model.go")
	require.NoError(t, err)
	assert.LessOrEqual(t, strings.Count(string(text), "\n"), 200, "lines")
	assert.NotContains(t, string(text), "meshpass/meshpass/", "it knows nothing of the code")
}

// sec is a moment or a duration in seconds.
func sec(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// calm returns a history of two replicas in which a token of an hour was issued, and nothing
// more. A test adds what it is about.
func calm() *History {
	return &History{
		Settings: Settings{Replicas: 2, MaxStale: Span(sec(60)), SessionMaxStale: Span(sec(120))},
		Keys:     []Key{{1, 0}},
		Tokens: []Token{{Number: 1, Lineage: 1, Start: sec(1), End: sec(1), Serial: 1, Name: "dp-1",
			Made: sec(1), IssuedAt: sec(-4), NotBefore: sec(-299), ExpiresAt: sec(3601)}},
		Started: []Start{{0, 0}, {1, 0}},
		End:     sec(7200),
	}
}

func (h *History) fails(kind string, replica int, from, to float64) *History {
	h.Faults = append(h.Faults, Fault{Kind: kind, Replica: replica, At: Span(sec(from)), For: Span(sec(to - from)), Lag: Span(sec(20)), Key: 1})
	return h
}

func (h *History) changes(c Change, start, end float64, done bool) *History {
	c.Start, c.End, c.Done = sec(start), sec(end), done
	h.Changes = append(h.Changes, c)
	return h
}

func (h *History) answers(replica int, at float64, class Class) *History {
	h.Answers = append(h.Answers, Answer{Replica: replica, Token: 1, Start: sec(at), End: sec(at), Class: class})
	return h
}

func (h *History) session(from, to float64, cause Class) *History {
	h.Sessions = append(h.Sessions, Session{Token: 1, Start: sec(from), End: sec(to), Cause: cause})
	return h
}

func (h *History) issues(from Token, number int, change func(*Token)) *History {
	from.Number = number
	change(&from)
	h.Tokens = append(h.Tokens, from)
	return h
}

func (h *History) sets(c Clock) *History {
	h.Clocks = append(h.Clocks, c)
	return h
}

var (
	revoked  = Change{What: Revoked, Lineage: 1}
	restored = Change{What: Restored, Lineage: 1}
	removed  = Change{What: KeyRemoved, Serial: 1}
	cutOff   = Change{What: CutOff, Name: "dp-1", Before: sec(130)}
	uncut    = Change{What: Uncut, Name: "dp-1", Before: sec(130)}
	pruned   = Change{What: Pruned, Before: sec(2), Lifetime: sec(90)}
)

// TestModel gives the model short histories, by hand. Each has the rule that it breaks, or none:
// so no rule is unable to fail, and none forbids what the documents allow.
func TestModel(t *testing.T) {
	const none = ""
	for _, c := range []struct {
		what    string
		history *History
		broken  string
	}{
		{"nothing happens", calm(), none},
		{"a good token is accepted", calm().answers(0, 5, Accepted), none},
		{"a good token is refused", calm().answers(0, 5, Invalid), "a good token is refused"},
		{"a good token is refused while the store is away", calm().fails(faultDown, 0, 3, 50).answers(0, 5, Invalid), "a good token is refused"},
		{"a good token is not known", calm().answers(0, 5, Unavailable), "not known without a reason"},
		{"a new key is not known, since the store is away", calm().fails(faultDown, 0, 0.5, 50).answers(0, 5, Unavailable), none},
		{"a token is not known, since its key was removed and the store is away", calm().changes(removed, 50, 50, true).fails(faultDown, 0, 80, 90).answers(0, 85, Unavailable), none},
		{"a token of a removed key is not known", calm().changes(removed, 50, 50, true).answers(0, 85, Unavailable), "not known without a reason"},
		{"a token is not known although only another replica is cut off", calm().fails(faultDown, 1, 80, 190).answers(0, 185, Unavailable), "not known without a reason"},
		{"a token is not known soon after the store is away", calm().fails(faultDown, 0, 80, 190).answers(0, 85, Unavailable), "not known without a reason"},
		{"a token is not known when the store was away for too long", calm().fails(faultDown, 0, 80, 190).answers(0, 142, Unavailable), none},
		{"a token is not known long after that", calm().fails(faultDown, 0, 80, 190).answers(0, 250, Unavailable), "not known without a reason"},
		{"a token waits for its key", calm().changes(removed, 50, 50, true).answers(0, 85, Unavailable).took(1.25), none},
		{"a token waits for too long", calm().changes(removed, 50, 50, true).answers(0, 85, Unavailable).took(3.1), "an answer takes too long"},
		{"a token is not known, since a record is unreadable", calm().fails(faultList, 0, 80, 90).answers(0, 85, Unavailable), none},
		{"a token is not known long after a record was unreadable", calm().fails(faultList, 0, 80, 90).answers(0, 285, Unavailable), "not known without a reason"},
		{"a replica that has just started does not know a token, since the store is away", func() *History {
			h := calm().fails(faultDown, 0, 299, 310).answers(0, 305, Unavailable)
			h.Started = append(h.Started, Start{0, sec(300)})
			return h
		}(), none},

		{"a revoked token is accepted at once", calm().changes(revoked, 99, 100, true).answers(0, 101, Accepted), none},
		{"a revoked token is accepted later", calm().changes(revoked, 99, 100, true).answers(0, 101.1, Accepted), "accepted too late"},
		{"a revoked token is accepted soon after the watch was lost", calm().fails(faultLost, 0, 90, 200).changes(revoked, 99, 100, true).answers(0, 103, Accepted), none},
		{"a revoked token is accepted long after the watch was lost", calm().fails(faultLost, 0, 90, 200).changes(revoked, 99, 100, true).answers(0, 103.1, Accepted), "accepted too late"},
		{"a token is revoked again, perhaps without having been restored, and accepted", calm().fails(faultSilent, 0, 40, 60).changes(revoked, 49, 50, false).changes(restored, 79, 80, false).changes(revoked, 99, 100, true).answers(0, 110, Accepted), none},
		{"a token is revoked again after it was restored for sure, and accepted", calm().fails(faultSilent, 0, 40, 60).changes(revoked, 49, 50, true).changes(restored, 79, 80, true).changes(revoked, 99, 100, true).answers(0, 101.1, Accepted), "accepted too late"},
		{"a revoked token is refused", calm().changes(revoked, 99, 100, true).answers(0, 110, Invalid), none},
		{"a revoked token is refused before anyone has answered", calm().changes(revoked, 99, 100, true).answers(0, 99.5, Invalid), none},
		{"a token is refused that is revoked later", calm().changes(revoked, 99, 100, true).answers(0, 98, Invalid), "a good token is refused"},
		{"a token that may be revoked is accepted", calm().changes(revoked, 99, 100, false).answers(0, 110, Accepted), none},
		{"a token that may be revoked is refused", calm().changes(revoked, 99, 100, false).answers(0, 110, Invalid), none},
		{"a revoked token is accepted while the watch is silent", calm().fails(faultSilent, 0, 90, 200).changes(revoked, 99, 100, true).answers(0, 125, Accepted), none},
		{"a revoked token is accepted for longer than a read of everything takes", calm().fails(faultSilent, 0, 90, 200).changes(revoked, 99, 100, true).answers(0, 140, Accepted), "accepted too late"},
		{"a revoked token is accepted while the store is away", calm().fails(faultDown, 0, 90, 300).changes(revoked, 99, 100, true).answers(0, 155, Accepted), none},
		{"a revoked token is accepted past MaxStale", calm().fails(faultDown, 0, 90, 300).changes(revoked, 99, 100, true).answers(0, 165, Accepted), "accepted too late"},
		{"a revoked token is accepted where the store is not away", calm().fails(faultDown, 1, 90, 300).changes(revoked, 99, 100, true).answers(0, 155, Accepted), "accepted too late"},
		{"a revoked token is accepted soon after the store came back", calm().fails(faultDown, 0, 90, 110).changes(revoked, 99, 100, true).answers(0, 115, Accepted), none},
		{"a revoked token is accepted long after the store came back", calm().fails(faultDown, 0, 90, 110).changes(revoked, 99, 100, true).answers(0, 115.1, Accepted), "accepted too late"},
		{"a revoked token is accepted after calls hung, and announcements were lost", calm().fails(faultHang, 0, 90, 110).changes(revoked, 99, 100, true).answers(0, 147, Accepted), none},
		{"a revoked token is accepted long after calls hung", calm().fails(faultHang, 0, 90, 110).changes(revoked, 99, 100, true).answers(0, 147.1, Accepted), "accepted too late"},
		{"a revoked token is accepted by an older state", calm().changes(revoked, 99, 100, true).fails(faultLag, 0, 105, 130).answers(0, 129, Accepted), none},
		{"a revoked token is accepted by an older state that was read meanwhile", func() *History {
			h := calm().changes(revoked, 99, 100, true).fails(faultLag, 0, 110, 130).answers(0, 109, Accepted)
			h.Answers[0].End = sec(110.5)
			return h
		}(), none},
		{"a revoked token is accepted by a state that is not so old", calm().changes(revoked, 99, 100, true).fails(faultLag, 0, 125, 150).answers(0, 149, Accepted), "accepted too late"},
		{"a revoked token is accepted while its list is unreadable", calm().changes(revoked, 99, 100, true).fails(faultList, 0, 100, 130).answers(0, 150, Accepted), "accepted too late"},
		{"a restored token is refused at once", calm().changes(revoked, 99, 100, true).changes(restored, 199, 200, true).answers(0, 201, Invalid), none},
		{"a restored token is refused later", calm().changes(revoked, 99, 100, true).changes(restored, 199, 200, true).answers(0, 260, Invalid), "a good token is refused"},
		{"a restored token is accepted", calm().changes(revoked, 99, 100, true).changes(restored, 199, 200, true).answers(0, 260, Accepted), none},
		{"a token is revoked and restored at the same time, and accepted", calm().changes(revoked, 99, 100, true).changes(restored, 99.5, 101, true).answers(0, 260, Accepted), none},
		{"a token is revoked and restored at the same time, and refused", calm().changes(revoked, 99, 100, true).changes(restored, 99.5, 101, true).answers(0, 260, Invalid), none},
		{"a token is perhaps restored, and refused", calm().changes(revoked, 99, 100, true).changes(restored, 199, 200, false).answers(0, 260, Invalid), none},
		{"a token is restored while a global list is made, and refused", calm().changes(revoked, 99, 100, true).changes(restored, 199, 200, true).changes(Change{What: MadeGlobalList}, 199, 201, true).answers(0, 260, Invalid), none},
		{"another token is revoked", calm().changes(Change{What: Revoked, Lineage: 2}, 99, 100, true).answers(0, 110, Invalid), "a good token is refused"},

		{"a token of a removed key is accepted", calm().changes(removed, 99, 100, true).answers(0, 110, Accepted), "accepted too late"},
		{"a token that is cut off is accepted", calm().changes(cutOff, 99, 100, true).answers(0, 110, Accepted), "accepted too late"},
		{"a token that is cut off no more is refused", calm().changes(cutOff, 99, 100, true).changes(uncut, 199, 200, true).answers(0, 260, Invalid), "a good token is refused"},
		{"an earlier cutoff is removed, and the token accepted", calm().changes(cutOff, 99, 100, true).changes(Change{What: Uncut, Name: "dp-1", Before: sec(9)}, 199, 200, true).answers(0, 260, Accepted), "accepted too late"},
		{"a token that a cutoff does not name is refused", calm().changes(Change{What: CutOff, Name: "dp-2", Before: sec(130)}, 99, 100, true).answers(0, 110, Invalid), "a good token is refused"},
		{"a token below the floor is accepted", calm().changes(pruned, 999, 1000, true).answers(0, 1010, Accepted), "accepted too late"},
		{"a token below the floor is refused", calm().changes(pruned, 999, 1000, true).answers(0, 1010, Invalid), none},
		{"a revoked token that was pruned is accepted", calm().changes(revoked, 50, 51, true).changes(pruned, 999, 1000, true).changes(restored, 1050, 1051, true).answers(0, 1260, Accepted), "accepted too late"},
		{"a floor is higher than the lifetime says", calm().changes(Change{What: Pruned, Before: sec(11), Lifetime: sec(90)}, 999, 1000, true), "a floor is too high"},
		{"a floor is as high as another pruning says", calm().changes(Change{What: Pruned, Before: sec(11), Lifetime: sec(90)}, 999, 1000, true).changes(Change{What: Pruned, Before: sec(11), Lifetime: sec(50)}, 999, 1001, false), none},

		{"an expired token is accepted", calm().answers(0, 3632, Accepted), "accepted at another time"},
		{"an expired token is accepted within the leeway", calm().answers(0, 3630, Accepted), none},
		{"an expired token is refused", calm().answers(0, 3632, Invalid), none},
		{"a token is accepted since the clock is behind", calm().sets(Clock{0, sec(5), -sec(60), 0}).answers(0, 3680, Accepted), none},
		{"a token is refused since the clock is ahead", calm().sets(Clock{0, sec(5), sec(3700), 0}).answers(0, 10, Invalid), none},
		{"a token is refused since the clock has drifted", calm().sets(Clock{0, sec(5), 0, sec(7200)}).answers(0, 1300, Invalid), none},
		{"a token is refused before it was valid", calm().sets(Clock{0, sec(5), -sec(700), 0}).answers(0, 10, Invalid), none},
		{"a token is accepted before it was valid", calm().sets(Clock{0, sec(5), -sec(700), 0}).answers(0, 10, Accepted), "accepted at another time"},

		{"replicas agree at last", calm().issues(calm().Tokens[0], 1, func(x *Token) { x.ExpiresAt *= 9 }).fresh().answers(0, 7201, Accepted).answers(1, 7202, Accepted), none},
		{"replicas do not agree at last", calm().issues(calm().Tokens[0], 1, func(x *Token) { x.ExpiresAt *= 9 }).fresh().changes(revoked, 99, 100, false).answers(0, 7201, Accepted).answers(1, 7202, Invalid), "no agreement at last"},

		{"a session lasts until the end", calm().issues(calm().Tokens[0], 1, func(x *Token) { x.ExpiresAt *= 9 }).fresh().session(10, 7200, Closed), none},
		{"a session lasts until its validator is closed", calm().restarts(0, 3003).session(10, 3000, Closed), none},
		{"a session ends as if its validator was closed", calm().restarts(1, 3000).session(10, 3000, Closed), "a session ends as if its validator was closed"},
		{"a session ends with its token", calm().session(10, 3631, Expired), none},
		{"a session ends before its token expires", calm().session(10, 3630, Expired), "a good session ends"},
		{"a session ends earlier since the clock was ahead for a while", calm().sets(Clock{0, sec(20), sec(600), 0}).sets(Clock{0, sec(30), 0, 0}).session(10, 3031, Expired), none},
		{"a session ends earlier than a clock that was ahead can explain", calm().sets(Clock{0, sec(20), sec(600), 0}).sets(Clock{0, sec(30), 0, 0}).session(10, 3030, Expired), "a good session ends"},
		{"a session outlives the expiry of its token", calm().session(10, 3640, Expired), "a session outlives its token"},
		{"a session outlives it since the clock was set back", calm().sets(Clock{0, sec(20), -sec(600), 0}).session(10, 3640, Expired), "a session outlives its token"},
		{"a session outlives it by a clock that was set forward", calm().sets(Clock{0, sec(20), sec(600), 0}).session(10, 3100, Expired), "a session outlives its token"},
		{"a session of a revoked token ends", calm().changes(revoked, 99, 100, true).session(10, 101, Invalid), none},
		{"a session of a revoked token lasts", calm().changes(revoked, 99, 100, true).session(10, 102.5, Invalid), "a session outlives its token"},
		{"a session begins after the token was revoked", calm().changes(revoked, 99, 100, true).session(110, 111, Invalid), "a session outlives its token"},
		{"a session of a revoked token lasts while the store is away", calm().fails(faultHang, 0, 90, 400).changes(revoked, 99, 100, true).session(10, 215, Unavailable), none},
		{"a session of a revoked token lasts past SessionMaxStale", calm().fails(faultHang, 0, 90, 400).changes(revoked, 99, 100, true).session(10, 235, Unavailable), "a session outlives its token"},
		{"a session of a good token ends", calm().session(10, 200, Invalid), "a good session ends"},
		{"a session of a good token ends while the store is away", calm().fails(faultPartial, 0, 90, 400).session(10, 200, Invalid), "a good session ends"},
		{"a session ends by an older state without its key", calm().fails(faultLag, 0, 15, 40).session(10, 20, Invalid), none},
		{"a session ends, and nobody knows why", calm().session(10, 200, Unavailable), "a session ends without a reason"},
		{"a session ends since the store is away for too long", calm().fails(faultDown, 0, 90, 400).session(10, 211, Unavailable), none},
		{"a session ends too soon while the store is away", calm().fails(faultDown, 0, 90, 400).session(10, 150, Unavailable), "a session ends without a reason"},
		{"a session ends since its list is unreadable", calm().fails(faultList, 0, 90, 400).session(10, 211, Unavailable), none},

		{"a serial is given twice", func() *History { h := calm(); h.Keys = append(h.Keys, Key{1, sec(9)}); return h }(), "serial given twice"},
		{"a new key signs", calm().key(2, 50).issues(calm().Tokens[0], 2, later(2, 60)), none},
		{"an older key signs", calm().key(2, 50).issues(calm().Tokens[0], 2, later(1, 60)), "an older key signs"},
		{"an older key signs at the same moment", calm().key(2, 60).issues(calm().Tokens[0], 2, later(1, 60)), none},
		{"an older key signs after the newer one was removed", calm().key(2, 50).changes(Change{What: KeyRemoved, Serial: 2}, 55, 56, true).issues(calm().Tokens[0], 2, later(1, 60)), none},
		{"an older key signs although the newer one cannot be read", calm().key(2, 50).fails(faultKey, 0, 55, 70).issues(calm().Tokens[0], 2, later(1, 60)), "an older key signs"},
		{"an older key signs by an older state", calm().key(2, 50).fails(faultLag, 0, 55, 70).issues(calm().Tokens[0], 2, later(1, 60)), none},
		{"an older key signs before the publish delay", calm().delay(20).key(2, 50).issues(calm().Tokens[0], 2, later(1, 60)), none},
		{"an older key signs since the clock was set back meanwhile", calm().delay(5).sets(Clock{0, sec(60.1), -sec(90), 0}).key(2, 50).issues(calm().Tokens[0], 2,
			func(x *Token) { later(1, 60)(x); x.End += sec(1) }), none},
		{"a key signs before the publish delay", calm().delay(20).key(2, 50).issues(calm().Tokens[0], 2, later(2, 60)), "a key signs too early"},
		{"a key signs before the publish delay, since the older one was removed", calm().delay(20).key(2, 50).changes(removed, 55, 56, true).issues(calm().Tokens[0], 2, later(2, 60)), none},
		{"a key signs before the publish delay, since the clock is ahead", calm().delay(20).key(2, 50).sets(Clock{0, sec(58), sec(15), 0}).issues(calm().Tokens[0], 2, later(2, 60)), none},
		{"a key signs after the publish delay", calm().delay(5).key(2, 50).issues(calm().Tokens[0], 2, later(2, 60)), none},
		{"an older key signs after the publish delay", calm().delay(5).key(2, 50).issues(calm().Tokens[0], 2, later(1, 60)), "an older key signs"},
		{"a removed key signs", calm().changes(removed, 9, 10, true).issues(calm().Tokens[0], 2, later(1, 60)), "issued what is refused"},
		{"a token is dated before a cutoff", calm().changes(cutOff, 9, 10, true).issues(calm().Tokens[0], 2, later(1, 60)), "issued what is refused"},
		{"a token is dated at a cutoff", calm().changes(cutOff, 9, 10, true).issues(calm().Tokens[0], 2, func(x *Token) { later(1, 60)(x); x.IssuedAt = sec(130) }), none},
		{"a token is issued while the cutoff is made", calm().changes(cutOff, 50, 61, true).issues(calm().Tokens[0], 2, later(1, 60)), none},
		{"a cutoff until now spares an earlier token", calm().changes(Change{What: CutOff, Before: sec(-5)}, 9, 10, true), "a cutoff until now spares a token"},
		{"a cutoff until now spares the token of a wrong clock", calm().sets(Clock{0, 0, sec(300), 0}).changes(Change{What: CutOff, Before: sec(-5)}, 9, 10, true), none},
		{"a renewal has the date of the first token", calm().issues(calm().Tokens[0], 2, func(x *Token) { x.Lineage, x.Start, x.End = 1, sec(60), sec(60) }), none},
		{"a renewal is for another proxy", calm().issues(calm().Tokens[0], 2, func(x *Token) { x.Name = "dp-2" }), "a renewal is more than the first token"},
		{"a renewal is valid for longer than the token", calm().issues(calm().Tokens[0], 2, func(x *Token) { x.ExpiresAt = sec(3602) }), "a renewal is more than the first token"},
		{"a renewal is valid for longer, up to the maximum", calm().atMost(7200).issues(calm().Tokens[0], 2, func(x *Token) { x.NotBefore, x.ExpiresAt = sec(-99), sec(3601) }), none},
		{"a renewal is valid beyond its lineage", calm().issues(calm().Tokens[0], 2, func(x *Token) { x.NotBefore, x.ExpiresAt = sec(-99), sec(3602) }), "a renewal is more than the first token"},
		{"a renewal has a date of its own", calm().issues(calm().Tokens[0], 2, func(x *Token) { later(1, 60)(x); x.Lineage = 1 }), "renewal is dated anew"},
	} {
		broken := c.history.Judge()
		if c.broken == none {
			assert.Empty(t, broken, c.what)
		} else if assert.NotEmpty(t, broken, c.what) {
			assert.Equal(t, c.broken, ruleOf(broken), c.what)
		}
	}
}

// took makes the latest answer take so many seconds.
func (h *History) took(seconds float64) *History {
	h.Answers[len(h.Answers)-1].End += sec(seconds)
	return h
}

func (h *History) restarts(replica int, at float64) *History {
	h.Started = append(h.Started, Start{replica, sec(at)})
	return h
}

func (h *History) atMost(seconds float64) *History {
	h.Settings.MaxLifetime = Span(sec(seconds))
	return h
}

// fresh leaves the latest token only.
func (h *History) fresh() *History {
	h.Tokens = h.Tokens[len(h.Tokens)-1:]
	return h
}

func (h *History) key(serial int, at float64) *History {
	h.Keys = append(h.Keys, Key{serial, sec(at)})
	return h
}

func (h *History) delay(s float64) *History {
	h.Settings.PublishDelay = Span(sec(s))
	return h
}

// later makes a token one that was issued later, with a key.
func later(serial int, at float64) func(*Token) {
	return func(x *Token) {
		by := sec(at) - x.Start
		x.Lineage, x.Serial = x.Number, serial
		for _, moment := range []*time.Duration{&x.Start, &x.End, &x.Made, &x.IssuedAt, &x.NotBefore, &x.ExpiresAt} {
			*moment += by
		}
	}
}
