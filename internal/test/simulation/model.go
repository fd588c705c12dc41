package simulation

import (
	"slices"
	"time"
)

// The bounds of docs/design.md and docs/operating.md, with what calls of the modelled store take.
const (
	prompt   = time.Second      // a change that is announced, within 100 ms; calls take up to 230 ms
	watching = 2 * time.Second  // a watch that was lost has begun again, or the store is polled
	fullRead = 30 * time.Second // a change whose announcement was lost
	tail     = 6 * time.Second  // after a fault: a call that hung has failed, and others were made
	waits    = 3 * time.Second  // a token, for its key and for a state
	check    = 2 * time.Second  // a session notices the time, and that the store is away
	leeway   = 30 * time.Second
	skew     = 2 * time.Minute
	never    = 1 << 62

	lineage = time.Hour // of the issuers of a simulation
)

var (
	hangs  = []string{faultHang, faultDeaf, faultSlow}                                    // a call that has begun meanwhile goes on
	away   = []string{faultDown, faultHang, faultDeaf, faultPartial, faultAll, faultSlow} // reads fail or are late
	unread = []string{faultKey, faultList, faultCutoffs}                                  // a record is unreadable
	dark   = slices.Concat(away, unread)
	blind  = append(dark, faultLag)
	deaf   = append(blind, faultLost, faultSilent)
	mute   = slices.Concat(unread, []string{faultHang, faultDeaf, faultLag, faultSilent}) // announcements are lost, or were of no use
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
	for _, c := range h.Changes {
		allows := func(o Change) bool { return o.What == Pruned && o.Start < c.End && c.Before <= o.floor() }
		h.rule("a floor is too high", c.What == Pruned && c.Done && !slices.ContainsFunc(h.Changes, allows), c)
	}
	return h.wrong
}

// judgeToken judges how a token was issued or renewed.
func (h *History) judgeToken(t *Token) {
	first := h.token(t.Lineage)
	early, late := h.clock(t.Replica, t.Start, t.End)
	delay, rotates := time.Duration(h.Settings.PublishDelay), h.Settings.RotateEvery > 0
	h.rule("renewal is dated anew", t.IssuedAt != first.IssuedAt || t.Made != first.Made, *t)
	longer := h.Settings.MaxLifetime == 0 && t.ExpiresAt-t.NotBefore >= first.ExpiresAt-first.NotBefore+time.Second
	h.rule("a renewal is more than the first token", t != first && (longer || t.Name != first.Name || t.ExpiresAt > first.Made+lineage), *t, *first)
	for _, k := range h.Keys {
		removed := slices.ContainsFunc(h.Changes, func(c Change) bool { return c.What == KeyRemoved && c.Serial == k.Serial && c.Start < t.End })
		h.rule("an older key signs", k.Serial > t.Serial && k.Made+delay < min(t.Start, early) && !removed && h.lagged(t.Replica, k.Made, t.End) == 0, *t, k)
		h.rule("a key signs too early", k.Serial < t.Serial && h.made(t.Serial)+delay > max(t.End, late) && !removed && !rotates, *t, k) // or the older one was removed by itself
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
	h.rule("an answer takes too long", a.End-a.Start > waits, a)
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
	for at := s.Start; at < s.End; at += time.Second {
		early, _ := h.clock(s.Replica, at, at+check)
		c := h.overdue(s.Replica, t, at, at, h.Settings.SessionMaxStale+Span(check), dark)
		if c != nil || at+check < s.End && (at-s.Start > left || early >= t.ExpiresAt+leeway) {
			h.rule("a session outlives its token", true, s, *t, c)
			break
		}
	}
	since, good := h.goodSince(t, s.End)
	if made := h.made(t.Serial); h.lagged(s.Replica, made, s.End) > 0 { // an older state has no such key
		since = max(since, made, 1)
	}
	_, late := h.clock(s.Replica, s.Start, s.End)
	ends := t.ExpiresAt + leeway - h.furthest(s.Replica, s.Start, s.End) // a clock that was ahead makes it end earlier
	inTime := s.End < ends && late >= t.NotBefore-leeway && t.IssuedAt <= late+3*skew
	good = good && (since == 0 || s.End > h.known(s.Replica, since-2*fullRead, since, s.End, never, dark)) // and the replica knows
	h.rule("a good session ends", inTime && (s.Cause == Invalid && good || s.Cause == Expired), s, *t)
	h.rule("a session ends as if its validator was closed", s.Cause == Closed && s.End < h.End && s.End > s.Start && !h.restarted(s.Replica, s.End), s)
	h.rule("a session ends without a reason", s.Cause == Unavailable && inTime && !h.mayNotKnow(s.Replica, t, s.End, s.End, time.Duration(h.Settings.SessionMaxStale)), s, *t)
}

// stands reports whether a change for the worse was made, and certainly not taken back by a moment.
func (h *History) stands(c Change, t *Token, at time.Duration) bool {
	undone := func(u Change) bool { return u.undoes(c) && u.End > c.Start && u.Start < at }
	return c.Done && c.bad(t) && !slices.ContainsFunc(h.Changes, undone)
}

// goodSince returns since when a token has certainly been good until a moment. 0: always.
func (h *History) goodSince(t *Token, until time.Duration) (since time.Duration, good bool) {
	for _, c := range h.Changes {
		if c.bad(t) && c.Start < until {
			since = max(since, h.undone(c))
		}
	}
	return since, since < until
}

// undone returns when a change had certainly been taken back, or never.
func (h *History) undone(c Change) time.Duration {
	at := time.Duration(never)
	for _, u := range h.Changes {
		spared := func(m Change) bool { return m.What == MadeGlobalList && m.End > u.Start && m.Start < u.End }
		if u.undoes(c) && u.Done && u.Start >= c.End && !slices.ContainsFunc(h.Changes, spared) {
			at = min(at, u.End)
		}
	}
	return at
}

// overdue returns why a replica must refuse a token, if it is asked at start and answers at end.
func (h *History) overdue(replica int, t *Token, start, end time.Duration, maxStale Span, why []string) *Change {
	for i, c := range h.Changes {
		if !h.stands(c, t, end) {
			continue
		}
		heard := c.Start
		for _, before := range h.Changes { // of the same kind, which has left nothing to announce
			if before.What == c.What && before.bad(t) && h.undone(before) > c.Start {
				heard = min(heard, before.Start)
			}
		}
		if start > h.known(replica, heard, c.End, end, max(time.Duration(maxStale), check), why) {
			return &h.Changes[i]
		}
	}
	return nil
}

// known returns by when a replica has read what was done, or is too old to answer without it.
func (h *History) known(replica int, heard, done, at, maxStale time.Duration, why []string) time.Duration {
	done, bound := max(done, h.lagged(replica, done, at)), prompt
	if h.faults(mute, replica, heard-check, at) > 0 {
		bound += h.interval()
	} else if h.faults(deaf, replica, heard-check, at) > 0 {
		bound += watching
	}
	return done + min(bound+h.faults(why, replica, done, at), max(bound, maxStale))
}

// mayNotKnow reports whether a replica has a reason to answer that it could not know.
func (h *History) mayNotKnow(replica int, t *Token, start, end, maxStale time.Duration) bool {
	gone := func(c Change) bool { return c.What == KeyRemoved && c.bad(t) && c.Start < end }
	if (h.Settings.RotateEvery > 0 && end > t.ExpiresAt || slices.ContainsFunc(h.Changes, gone)) && (end-start >= time.Second || h.faults(blind, replica, start-tail, end) > 0) {
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
