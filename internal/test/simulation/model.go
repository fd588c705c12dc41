package simulation

import (
	"slices"
	"time"
)

// The bounds that docs/design.md and docs/operating.md state, with what calls of the modelled
// store take.
const (
	prompt   = 4 * time.Second  // a change that is announced; calls take up to 230 ms
	fullRead = 30 * time.Second // a change whose announcement was lost
	tail     = 6 * time.Second  // after a fault: a call that hung has failed, and others were made
	check    = 2 * time.Second  // a session notices the time, and that the store is away
	leeway   = 30 * time.Second
	skew     = 2 * time.Minute
	never    = 1 << 62
)

var (
	away   = []string{faultDown, faultHang, faultDeaf, faultPartial, faultAll, faultSlow} // reads fail or are late
	unread = []string{faultKey, faultList, faultCutoffs}                                  // a record is unreadable
	dark   = slices.Concat(away, unread)
	blind  = append(dark, faultLag)
	deaf   = append(blind, faultLost, faultSilent) // announcements are lost, or were of no use
)

// Judge returns what must not have been, each by the name of a rule and a sentence.
func (h *History) Judge() []string {
	h.wrong = nil
	for i, k := range h.Keys {
		h.rule("serial given twice", slices.ContainsFunc(h.Keys[:i], func(o Key) bool { return o.Serial == k.Serial }), k)
	}
	for i := range h.Tokens {
		h.judgeToken(&h.Tokens[i])
	}
	for _, a := range h.Answers {
		h.judgeAnswer(a, h.token(a.Token))
	}
	for _, s := range h.Sessions {
		h.judgeSession(s, h.token(s.Token))
	}
	return h.wrong
}

// judgeToken judges how a token was issued or renewed.
func (h *History) judgeToken(t *Token) {
	first := h.token(t.Lineage)
	early, _ := h.clock(t.Replica, t.Start, t.End)
	h.rule("renewal is dated anew", t.IssuedAt != first.IssuedAt || t.Made != first.Made, *t)
	for _, k := range h.Keys {
		signs := k.Made+time.Duration(h.Settings.PublishDelay) < min(t.Start, early)
		removed := slices.ContainsFunc(h.Changes, func(c Change) bool { return c.What == KeyRemoved && c.Serial == k.Serial && c.Start < t.End })
		h.rule("an older key signs", k.Serial > t.Serial && signs && !removed && h.lagged(t.Replica, k.Made, t.End) == 0, *t, k)
	}
	for _, c := range h.Changes {
		heeded := c.What != Revoked && h.stands(c, t, t.End) && c.End < t.Start && h.lagged(t.Replica, c.End, t.End) == 0
		h.rule("issued what is refused", heeded, *t, c)
		honest := t == first && h.ahead(t.Replica, t.Start) <= skew && h.ahead(t.Replica, t.End) <= skew
		dated := slices.ContainsFunc(h.Changes, func(u Change) bool { return u.What == Uncut && u.Start < c.End }) // perhaps at the cutoff that is gone
		h.rule("a cutoff until now spares a token", c.What == CutOff && c.Done && c.names(t) && t.End <= c.Start && honest && !dated && t.IssuedAt >= c.Before, *t, c)
	}
}

// judgeAnswer judges an answer about a token.
func (h *History) judgeAnswer(a Answer, t *Token) {
	early, late := h.clock(a.Replica, a.Start, a.End)
	since, good := h.goodSince(t, a.End)
	good = good && late < t.ExpiresAt+leeway && early >= t.NotBefore-leeway && t.IssuedAt <= early+3*skew
	switch a.Class {
	case Accepted:
		c := h.overdue(a.Replica, t, a.Start, a.End, h.Settings.MaxStale, away)
		h.rule("accepted too late", c != nil, a, *t, c)
		h.rule("accepted at another time", early >= t.ExpiresAt+leeway || late < t.NotBefore-leeway, a, *t)
	case Invalid:
		h.rule("a good token is refused", good && (since == 0 || a.Start > h.known(a.Replica, since-2*fullRead, since, a.End, never, dark)), a, *t)
	case Unavailable:
		h.rule("not known without a reason", !h.mayNotKnow(a.Replica, t, a.Start, a.End, time.Duration(h.Settings.MaxStale)), a, *t)
	}
	for _, b := range h.Answers {
		if a.Start < h.End || b.Start < h.End || b.Token != a.Token || b.Replica <= a.Replica || a.Class == b.Class {
			continue
		}
		otherEarly, otherLate := h.clock(b.Replica, b.Start, b.End)
		inTime := max(late, otherLate)+3*skew < t.ExpiresAt && min(early, otherEarly) > max(t.NotBefore, t.IssuedAt-3*skew)
		h.rule("no agreement at last", inTime, a, b)
	}
}

// judgeSession judges how long a session lasted.
func (h *History) judgeSession(s Session, t *Token) {
	left := t.ExpiresAt + leeway - s.Start - h.ahead(s.Replica, s.Start) // when it began
	for at := s.Start; at+check < s.End; at += time.Second {
		early, _ := h.clock(s.Replica, at, at+check)
		c := h.overdue(s.Replica, t, at, at, h.Settings.SessionMaxStale, dark)
		if c != nil || at-s.Start > left || early >= t.ExpiresAt+leeway {
			h.rule("a session outlives its token", true, s, *t, c)
			break
		}
	}
	since, good := h.goodSince(t, s.End)
	if made := h.made(t.Serial); h.lagged(s.Replica, made, s.End) > 0 { // an older state has no such key
		since = max(since, made, 1)
	}
	_, late := h.clock(s.Replica, s.Start, s.End)
	inTime := s.End-s.Start < left && late < t.ExpiresAt+leeway && late >= t.NotBefore-leeway && t.IssuedAt <= late+3*skew
	knows := since == 0 || s.End > h.known(s.Replica, since-2*fullRead, since, s.End, never, dark)
	h.rule("a good session ends", s.Cause == Invalid && inTime && good && knows, s, *t)
	h.rule("a session ends without a reason", s.Cause == Unavailable && inTime && !h.mayNotKnow(s.Replica, t, s.End, s.End, time.Duration(h.Settings.SessionMaxStale)), s, *t)
}

// bad reports whether a change is for the worse of a token.
func (c Change) bad(t *Token) bool {
	return c.What == Revoked && c.Lineage == t.Lineage || c.What == KeyRemoved && c.Serial == t.Serial ||
		c.What == Pruned && t.Made < c.Before || c.What == CutOff && c.names(t) && t.IssuedAt < c.Before
}

func (c Change) names(t *Token) bool { return c.Name == "" || c.Name == t.Name }

// undoes reports whether a change takes another one back. The later cutoff of a name counts.
func (c Change) undoes(bad Change) bool {
	return bad.What == Revoked && c.What == Restored && c.Lineage == bad.Lineage ||
		bad.What == CutOff && c.What == Uncut && c.Name == bad.Name && c.Before >= bad.Before
}

// stands reports whether a change for the worse was made and has certainly not been taken
// back by a moment.
func (h *History) stands(c Change, t *Token, at time.Duration) bool {
	undone := func(u Change) bool { return u.undoes(c) && u.End > c.Start && u.Start < at }
	return c.Done && c.bad(t) && !slices.ContainsFunc(h.Changes, undone)
}

// goodSince returns since when a token has certainly been good until a moment. 0: always.
func (h *History) goodSince(t *Token, until time.Duration) (since time.Duration, good bool) {
	for _, c := range h.Changes {
		if !c.bad(t) || c.Start >= until {
			continue
		}
		undone := time.Duration(never)
		for _, u := range h.Changes {
			spared := func(m Change) bool { return m.What == MadeGlobalList && m.End > u.Start && m.Start < u.End }
			if u.undoes(c) && u.Done && u.Start >= c.End && !slices.ContainsFunc(h.Changes, spared) {
				undone = min(undone, u.End)
			}
		}
		since = max(since, undone)
	}
	return since, since < until
}

// overdue returns a change because of which a replica must refuse a token if it is asked
// at start and answers at end.
func (h *History) overdue(replica int, t *Token, start, end time.Duration, maxStale Span, why []string) *Change {
	for i, c := range h.Changes {
		if !h.stands(c, t, end) {
			continue
		}
		heard := c.Start
		for _, before := range h.Changes { // of the same kind, which has left nothing to announce
			if before.What == c.What && before.bad(t) {
				heard = min(heard, before.Start)
			}
		}
		if start > h.known(replica, heard, c.End, end, max(time.Duration(maxStale), check), why) {
			return &h.Changes[i]
		}
	}
	return nil
}

// known returns by when a replica must go by what was done at a moment: a read has found it,
// or reads have failed for so long that what the replica knew is too old.
func (h *History) known(replica int, heard, done, at, maxStale time.Duration, why []string) time.Duration {
	done, bound := max(done, h.lagged(replica, done, at)), prompt
	if h.faults(deaf, replica, heard-check, at) > 0 {
		bound += h.interval()
	}
	return done + min(bound+h.faults(why, replica, done, at), max(bound, maxStale))
}

// mayNotKnow reports whether a replica has a reason to answer that it could not know.
func (h *History) mayNotKnow(replica int, t *Token, start, end, maxStale time.Duration) bool {
	gone := func(c Change) bool { return c.What == KeyRemoved && c.bad(t) && c.Start < end }
	rotated := h.Settings.RotateEvery > 0 && end > t.ExpiresAt
	if (rotated || slices.ContainsFunc(h.Changes, gone)) && (end-start >= time.Second || h.faults(blind, replica, start-tail, end) > 0) {
		return true // it has looked for the key, for as long as a token waits
	}
	cold := max(h.made(t.Serial), h.started(replica, start)) // it has no older answer
	if troubles := h.faults(deaf, replica, cold-tail, end); start < cold+check || troubles > 0 && start < cold+prompt+h.interval()+troubles {
		return true
	}
	reach := prompt + h.interval() + h.faults(deaf, replica, start-5*fullRead, end) // of a record that was unreadable
	long := h.faults(away, replica, start-maxStale-tail, end)
	return h.faults(append(unread, faultLag), replica, start-reach, end) > 0 || long > 0 && long > maxStale-min(fullRead, maxStale/2)-check
}
