package check

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The histories of these tests are made by hand. Times are in seconds. Changes are to be in
// force within a second; validator-1 has a MaxStale and a SessionMaxStale of 5 s.
var bounds = Bounds{InForce: time.Second / 2, Grace: time.Second / 2}

const (
	mesh = "default"
	id   = "id-1"
	kid  = "1"
	who  = "dp-1"
)

func at(seconds float64) int64 { return int64(seconds * 1e9) }

// event returns what a process does from one time to another. An end of 0 is none.
func event(process string, do Do, start, end float64, outcome Outcome) Event {
	return Event{Process: process, Do: do, Start: at(start), End: at(end), Outcome: outcome, Mesh: mesh}
}

func record(do Do, start, end float64, expect, value string, outcome Outcome) Event {
	e := event(fmt.Sprint("writer-", start), do, start, end, outcome)
	e.Record, e.Expect, e.Value = "record-1", expect, value
	return e
}

func onToken(process string, do Do, start, end float64, outcome Outcome) Event {
	e := event(process, do, start, end, outcome)
	e.ID = id
	return e
}

func change(do Do, start, end float64, outcome Outcome) Event {
	e := onToken("writer-1.1", do, start, end, outcome)
	switch do {
	case CutOff, Uncut:
		e.ID, e.Name, e.Value = "", who, "a moment"
	case RemoveKey, AddKey:
		e.ID, e.Key = "", kid
	}
	return e
}

func validation(start float64, outcome Outcome) Event {
	return onToken("validator-1.1", Validate, start, start+0.001, outcome)
}

func listRead(start float64, found ...string) Event {
	e := event("writer-2.1", Revoked, start, start+0.001, OK)
	e.Asked, e.Found = []string{id}, found
	return e
}

func session(start, end float64, outcome Outcome, why string) Event {
	e := onToken("validator-1.1", Session, start, end, outcome)
	e.Why = why
	return e
}

func faultOf(process string, start, end float64) Event { return event(process, Fault, start, end, "") }

func stall(process string, start, end float64) Event { return event(process, Stall, start, end, "") }

func has(do Do, start float64, found ...string) Event {
	e := event("writer-1.1", do, start, start+0.001, OK)
	e.Found = found
	return e
}

// token begins each history that is about a token: it is issued at 1 s.
func token(more ...Event) []Event {
	issue := change(Issue, 0.9, 1, OK)
	issue.Key, issue.Name = kid, who
	begin := event("validator-1.1", Begin, 0, 0, "")
	begin.MaxStale, begin.SessionMaxStale = 5*time.Second, 5*time.Second
	other := begin
	other.Process = "validator-2.1"
	return append([]Event{begin, other, issue}, more...)
}

// another returns a change that is about another moment.
func another(e Event) Event {
	e.Value = "another moment"
	return e
}

func by(process string, e Event) Event {
	e.Process = process
	return e
}

func since(why string, e Event) Event {
	e.Why = why
	return e
}

func TestManyWritesInDoubtAreCheckedAtOnce(t *testing.T) {
	h := []Event{}
	for i := range 60 { // 2^60 of them may have taken effect
		at := float64(3 * i)
		h = append(h, record(Create, at, at+1, "", fmt.Sprint(i), Unknown), record(Get, at+1.5, at+2, "", "", Absent))
	}
	h = append(h, record(Create, 200, 201, "", "good", OK), record(Get, 202, 203, "", "good", OK))
	require.Empty(t, Check(h, Bounds{}))
}

func TestCheckFindsWhatMustNotBe(t *testing.T) {
	for _, c := range []struct {
		what string
		of   int // the check that finds it; 0: it may be
		h    []Event
	}{
		// 1: registers.
		{"a record is created, updated, read and deleted", 0, []Event{
			record(Create, 1, 2, "", "a", OK), record(Get, 3, 4, "", "a", OK), record(Update, 5, 6, "a", "b", OK),
			record(Get, 7, 8, "", "b", OK), record(Delete, 9, 10, "", "", OK), record(Get, 11, 12, "", "", Absent)}},
		{"a read returns what was replaced before", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", OK), record(Get, 5, 6, "", "a", OK)}},
		{"a read beside an update returns the old value", 0, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 6, "a", "b", OK), record(Get, 4, 5, "", "a", OK)}},
		{"two updates of one version succeed", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 6, "a", "b", OK), record(Update, 3.5, 6, "a", "c", OK)}},
		{"an acknowledged update is lost", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", OK), record(Update, 5, 6, "a", "c", OK)}},
		{"two creations succeed", 1, []Event{record(Create, 1, 3, "", "a", OK), record(Create, 2, 3, "", "b", OK)}},
		{"an update in doubt takes effect late", 0, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Unknown), record(Get, 5, 6, "", "a", OK), record(Get, 7, 8, "", "b", OK)}},
		{"an update of a process that was killed never takes effect", 0, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 0, "a", "b", ""), record(Get, 5, 6, "", "a", OK)}},
		{"an update in doubt takes effect and is undone", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Unknown), record(Get, 5, 6, "", "b", OK), record(Get, 7, 8, "", "a", OK)}},
		{"an update that was refused takes effect", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Conflict), record(Get, 5, 6, "", "b", OK)}},
		{"the present version is refused", 1, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Conflict), record(Get, 5, 6, "", "a", OK)}},
		{"a missing record exists", 1, []Event{record(Create, 1, 2, "", "a", Exists)}},
		{"one of many creations in doubt was first", 0, []Event{
			record(Create, 1, 2, "", "a", Unknown), record(Create, 1, 2, "", "b", Unknown), record(Create, 3, 4, "", "c", Exists)}},
		{"an update in doubt that nobody sees refuses another", 0, []Event{
			record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Unknown), record(Update, 5, 6, "a", "c", Conflict)}},
		{"a present record is absent", 1, []Event{record(Create, 1, 2, "", "a", OK), record(Get, 3, 4, "", "", Absent)}},
		{"a value from nowhere", 1, []Event{record(Create, 1, 2, "", "a", OK), record(Get, 3, 4, "", "b", OK)}},
		{"an id is on the list, off it and on it", 0, token(change(Revoke, 2, 3, OK), listRead(4, id), change(Restore, 5, 6, OK), listRead(7))},
		{"an acknowledged id is not on the list", 1, token(change(Revoke, 2, 3, OK), listRead(4))},
		{"an id in doubt comes late", 0, token(change(Revoke, 2, 3, Unknown), listRead(4), listRead(5, id))},
		{"an id in doubt goes again", 1, token(change(Revoke, 2, 3, Unknown), listRead(4, id), listRead(5))},
		{"an id is on the list before it was revoked", 1, token(listRead(1.5, id), change(Revoke, 2, 3, OK))},
		{"an id is on the list that was never revoked", 1, token(listRead(1.5, id))},

		// 2: what is revoked is refused.
		{"a revoked token is accepted within the bound", 0, token(change(Revoke, 2, 3, OK), validation(3.9, Accepted), validation(4.1, Invalid))},
		{"a revoked token is accepted after the bound", 2, token(change(Revoke, 2, 3, OK), validation(4.1, Accepted))},
		{"a token of a removed key is accepted after the bound", 2, token(change(RemoveKey, 2, 3, OK), validation(4.1, Accepted))},
		{"a token that was cut off is accepted after the bound", 2, token(change(CutOff, 2, 3, OK), validation(4.1, Accepted))},
		{"a token whose revocation is in doubt is accepted", 0, token(change(Revoke, 2, 3, Unknown), validation(4.1, Accepted))},
		{"a token whose revocation was not answered is accepted", 0, token(change(Revoke, 2, 0, ""), validation(4.1, Accepted))},
		{"a token whose revocation failed is accepted", 0, token(change(Revoke, 2, 3, Failed), validation(4.1, Accepted))},
		{"a revoked token is accepted by a replica that is cut off", 0, token(change(Revoke, 2, 3, OK), faultOf("validator-1", 1.5, 8), validation(7.9, Accepted))},
		{"a revoked token is accepted by another replica than the one that is cut off", 2, token(change(Revoke, 2, 3, OK), faultOf("validator-2", 1.5, 8), validation(7.9, Accepted))},
		{"a revoked token is accepted by a replica that is cut off for longer than MaxStale", 2, token(change(Revoke, 2, 3, OK), faultOf("*", 1.5, 20), validation(8.1, Accepted))},
		{"a revoked token is accepted within the bound after a fault", 0, token(change(Revoke, 2, 3, OK), faultOf("*", 1.5, 5), validation(5.9, Accepted))},
		{"a revoked token is accepted later than the bound after a fault", 2, token(change(Revoke, 2, 3, OK), faultOf("*", 1.5, 5), validation(6.1, Accepted))},
		{"a fault from before the revocation excuses nothing", 2, token(change(Revoke, 2, 3, OK), faultOf("*", 1.5, 1.9), validation(4.1, Accepted))},
		{"a fault from after the bound excuses nothing", 2, token(change(Revoke, 2, 3, OK), faultOf("*", 4.5, 6), validation(5, Accepted))},
		{"a revoked token is accepted while the process stands still", 0, token(change(Revoke, 2, 3, OK), stall("validator-1.1", 3.5, 4.5), validation(4.9, Accepted))},
		{"a revoked token is accepted for longer than the process stands still", 2, token(change(Revoke, 2, 3, OK), stall("validator-1.1", 3.5, 4.5), validation(5.1, Accepted))},
		{"a revoked token is accepted for longer than the process stands still, again and again", 2, token(change(Revoke, 2, 3, OK),
			stall("validator-1.1", 3.5, 3.7), stall("*", 3.6, 3.8), stall("validator-1.1", 4.2, 4.4), stall("validator-1.1", 5, 5.2), validation(4.6, Accepted))},
		{"a revoked token is accepted while another process stands still", 2, token(change(Revoke, 2, 3, OK), stall("validator-2.1", 3.5, 4.5), validation(4.1, Accepted))},
		{"a restored token is accepted", 0, token(change(Revoke, 2, 3, OK), change(Restore, 4, 5, OK), validation(6, Accepted))},
		{"a token that is being restored is accepted", 0, token(change(Revoke, 2, 3, OK), change(Restore, 5, 0, ""), validation(6, Accepted))},
		{"a token is accepted before it is restored", 2, token(change(Revoke, 2, 3, OK), validation(5, Accepted), change(Restore, 6, 7, OK))},
		{"a token is accepted that was restored before it was revoked", 2, token(change(Restore, 1.5, 1.6, OK), change(Revoke, 2, 3, OK), validation(5, Accepted))},
		{"a restored token is accepted, although it was cut off", 2, token(change(CutOff, 2, 3, OK), change(Restore, 3, 4, OK), validation(6, Accepted))},
		{"a token that was revoked before an older backup was restored is accepted", 0, token(change(Revoke, 2, 3, OK), event("*", Rollback, 4, 5, ""), validation(6, Accepted))},
		{"a token that was revoked after an older backup was restored is accepted", 2, token(event("*", Rollback, 1.5, 1.6, ""), change(Revoke, 2, 3, OK), validation(6, Accepted))},

		// 3: what stands is accepted.
		{"a good token is accepted", 0, token(validation(2, Accepted))},
		{"a good token is refused", 3, token(validation(2, Invalid))},
		{"a good token could not be known while the replica is cut off", 0, token(faultOf("validator-1", 1.5, 4), validation(3.2, Unavailable))},
		{"a good token is refused while the replica is cut off", 3, token(faultOf("validator-1", 1.5, 3), validation(2, Invalid))},
		{"a token is refused while it is being revoked", 0, token(change(Revoke, 2, 5, OK), validation(3, Invalid))},
		{"a token is refused before it is revoked", 3, token(validation(2, Invalid), change(Revoke, 3, 5, OK))},
		{"a token is refused whose revocation failed for sure", 3, token(change(Revoke, 2, 3, Failed), validation(4, Invalid))},
		{"a token of a key that stands is refused", 3, token(change(RemoveKey, 2, 3, Failed), validation(4, Invalid))},
		{"a restored token is refused within the bound", 0, token(change(Revoke, 2, 3, OK), change(Restore, 4, 5, OK), validation(5.9, Invalid))},
		{"a restored token is refused after the bound", 3, token(change(Revoke, 2, 3, OK), change(Restore, 4, 5, OK), validation(6.1, Invalid))},
		{"a token is refused although its cutoff was removed", 3, token(change(CutOff, 2, 3, OK), change(Uncut, 4, 5, OK), validation(6.1, Invalid))},
		{"a token is refused although one of its two cutoffs was removed", 0, token(change(CutOff, 2, 3, OK), another(change(CutOff, 2, 3, OK)), change(Uncut, 4, 5, OK), validation(6.1, Invalid))},
		{"a token from before an older backup was restored is refused", 0, token(event("*", Rollback, 2, 3, ""), validation(4, Invalid))},

		// 4: sessions.
		{"a session of a good token stays", 0, token(session(2, 0, "", ""), validation(9, Accepted))},
		{"a session ends with its token", 0, token(session(2, 4, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK))},
		{"a session is ended by its holder", 0, token(session(2, 4, Stopped, ""))},
		{"a session outlives the revocation", 4, token(session(2, 6, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK))},
		{"a session that never ends outlives the revocation", 4, token(session(2, 0, "", ""), change(Revoke, 3, 3.5, OK), validation(9, Invalid))},
		{"a session whose process was killed in time", 0, token(session(2, 0, "", ""), change(Revoke, 3, 3.5, OK), event("validator-1.1", Gone, 4, 0, ""), by("validator-2.1", validation(9, Invalid)))},
		{"a session of a token that was revoked before it was bound stays", 4, token(change(Revoke, 2, 3, OK), session(3.5, 9, Stopped, ""))},
		{"a session outlives the removal of the key", 4, token(session(2, 6, Stopped, ""), change(RemoveKey, 3, 3.5, OK))},
		{"a session outlives a cutoff", 4, token(session(2, 6, Stopped, ""), change(CutOff, 3, 3.5, OK))},
		{"a session outlives the revocation on a replica that is cut off", 0, token(session(2, 8, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK), faultOf("*", 2.5, 7.5))},
		{"a session outlives the revocation on a replica that is cut off for longer than its limit", 4, token(session(2, 15, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK), faultOf("*", 2.5, 14.5))},
		{"a session ends since nothing is known", 0, token(session(2, 8, Ended, WhyUnavailable), faultOf("*", 2.5, 14.5))},
		{"a session ends since nothing is known, after a fault that was too short", 4, token(session(2, 8, Ended, WhyUnavailable), faultOf("*", 6.5, 7.5))},
		{"a session ends since nothing is known, after a fault of another replica", 4, token(session(2, 8, Ended, WhyUnavailable), faultOf("validator-2", 2.5, 14.5))},
		{"a session ends since nothing is known, without a fault", 4, token(session(2, 8, Ended, WhyUnavailable))},
		{"a session whose limit is no longer than a busy machine takes ends since nothing is known", 0, func() []Event {
			h := token(session(2, 8, Ended, WhyUnavailable))
			h[0].SessionMaxStale = time.Second - 1
			return h
		}()},
		{"a session of a good token ends", 4, token(session(2, 8, Ended, WhyRevoked))},
		{"a session ends before the revocation begins", 4, token(session(2, 2.5, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK))},
		{"a session ends for a key that stands", 4, token(session(2, 4, Ended, WhyKey), change(Revoke, 3, 3.5, OK))},
		{"a session ends with its token, which has not expired", 4, token(session(2, 4, Ended, "token expired"))},
		{"sessions end when the validator closes", 0, token(session(2, 8, Ended, WhyClosed), event("validator-1.1", Closing, 7, 0, ""))},
		{"a session ends as if the validator closed", 4, token(session(2, 8, Ended, WhyClosed))},

		// 5: agreement, and nothing lost.
		{"all agree", 0, token(by("validator-1.1", onToken("", Sweep, 8, 8.1, Accepted)), by("validator-2.1", onToken("", Sweep, 8, 8.1, Accepted)))},
		{"replicas disagree about a token in doubt", 5, token(change(Revoke, 2, 0, ""), by("validator-1.1", onToken("", Sweep, 8, 8.1, Accepted)), by("validator-2.1", onToken("", Sweep, 8, 8.1, Invalid)))},
		{"a replica could not know a token whose key is gone", 0, token(change(RemoveKey, 2, 3, OK),
			by("validator-1.1", onToken("", Sweep, 8, 8.1, Unavailable)), by("validator-2.1", since(WhyKey, onToken("", Sweep, 8, 8.1, Invalid))))},
		{"a replica could not know a token that is revoked", 5, token(change(Revoke, 2, 3, OK),
			by("validator-1.1", onToken("", Sweep, 8, 8.1, Unavailable)), by("validator-2.1", since(WhyRevoked, onToken("", Sweep, 8, 8.1, Invalid))))},
		{"a replica knows nothing although it is not cut off", 5, token(validation(8, Unavailable))},
		{"a replica knows nothing soon after it is cut off", 5, token(faultOf("*", 7, 9), validation(8, Unavailable))},
		{"a replica knows nothing long after it is cut off", 0, token(faultOf("*", 6, 9), validation(8, Unavailable))},
		{"a replica knows nothing of a new key soon after it is cut off", 0, token(change(AddKey, 0.8, 0.85, OK), faultOf("*", 1.2, 4), validation(2.2, Unavailable))},
		{"a replica that has just begun knows nothing while it is cut off", 0, func() []Event {
			h := token(faultOf("*", 4.5, 9), validation(8, Unavailable))
			h[0].Start = at(4)
			return h
		}()},
		{"a replica knows nothing long after a fault", 5, token(faultOf("*", 2, 3), validation(8, Unavailable))},
		{"a revocation is there", 0, token(change(Revoke, 2, 3, OK), has(HasIDs, 9, id))},
		{"a revocation is lost", 5, token(change(Revoke, 2, 3, OK), has(HasIDs, 9))},
		{"a revocation that was undone is not there", 0, token(change(Revoke, 2, 3, OK), change(Restore, 4, 5, OK), has(HasIDs, 9))},
		{"a revocation in doubt is not there", 0, token(change(Revoke, 2, 3, Unknown), has(HasIDs, 9))},
		{"a cutoff is lost", 5, token(change(CutOff, 2, 3, OK), has(HasCutoffs, 9))},
		{"a cutoff is there", 0, token(change(CutOff, 2, 3, OK), has(HasCutoffs, 9, who))},
		{"a key is lost", 5, token(change(AddKey, 0.1, 0.2, OK), has(HasKeys, 9))},
		{"a key is there", 0, token(change(AddKey, 0.1, 0.2, OK), has(HasKeys, 9, kid))},
		{"a key that was removed is not there", 0, token(change(AddKey, 0.1, 0.2, OK), change(RemoveKey, 2, 3, OK), has(HasKeys, 9))},
		{"a serial is given twice", 5, token(change(AddKey, 0.1, 0.2, OK), change(AddKey, 2, 3, OK))},
		{"a serial is given again after an older backup was restored", 0, token(change(AddKey, 0.1, 0.2, OK), event("*", Rollback, 1.2, 1.3, ""), change(AddKey, 2, 3, OK))},
		{"the store cannot be read in the end", 5, token(event("writer-1.1", HasIDs, 9, 10, Unknown))},
	} {
		t.Run(c.what, func(t *testing.T) {
			for i := range c.h {
				c.h[i].Op = int64(i + 1)
			}
			var text strings.Builder
			for _, i := range rand.Perm(len(c.h)) { // lines of several processes come in any order
				text.WriteString(c.h[i].String() + "\n")
			}
			history, err := Read(strings.NewReader(text.String()))
			require.NoError(t, err)
			found := Check(history, bounds)
			if c.of == 0 {
				require.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			for _, v := range found {
				require.Equal(t, c.of, v.Check, "%v", v)
				var page bytes.Buffer
				require.NoError(t, Draw(&page, v, history))
				require.Contains(t, page.String(), "<html", "it is drawn")
			}
		})
	}
}

func TestCheckTakesAnAnswerOfAClientThatSendsTwiceForInDoubt(t *testing.T) {
	h := []Event{record(Create, 1, 2, "", "a", OK), record(Update, 3, 4, "a", "b", Conflict), record(Get, 5, 6, "", "b", OK)}
	require.NotEmpty(t, Check(h, bounds))
	twice := bounds
	twice.SendsTwice = true
	require.Empty(t, Check(h, twice))
}

func TestReadJoinsTheTwoLinesOfAnOperation(t *testing.T) {
	begun := Event{Process: "writer-1.1", Op: 7, Do: Update, Start: 5}
	ended := begun
	ended.End, ended.Outcome = 9, OK
	h, err := Read(strings.NewReader(begun.String() + "\n" + ended.String() + "\n"))
	require.NoError(t, err)
	require.Equal(t, []Event{ended}, h)
	_, err = Read(strings.NewReader("no event\n"))
	require.ErrorContains(t, err, "line 1")
}

func TestEnoughRefusesAHistoryThatShowsLittle(t *testing.T) {
	require.ErrorContains(t, Enough(token(), bounds, time.Minute), "revoke")
	require.ErrorContains(t, Enough(token(), bounds, time.Minute), "0 times fault, want 1")
	ended := token(session(2, 3.75, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK))
	require.ErrorContains(t, Enough(ended, bounds, 5*time.Minute), "1 sessions that a cause has ended outside of faults, want 25")
	require.ErrorContains(t, Enough(append(ended, faultOf("*", 2, 5)), bounds, 5*time.Minute), "0 sessions that a cause has ended outside of faults")
	require.NotContains(t, Enough(ended, bounds, time.Minute).Error(), "outside of faults", "of a minute")
}

func TestWorkIsEnoughOnceEachKindHasHappenedOftenEnoughForTheTime(t *testing.T) {
	var history []Event
	for _, do := range []Do{Issue, Revoke, Restore, CutOff, AddKey, Update, Revoked, Validate, Session} {
		for range 500 {
			history = append(history, Event{Do: do}, Event{Do: do, Outcome: OK})
		}
	}
	require.ErrorContains(t, Worked(history, time.Minute), "0 times fault, want 1")
	history = append(history, Event{Do: Fault})
	require.NoError(t, Worked(history, time.Minute))
	require.ErrorContains(t, Worked(history, 2*time.Minute), "500 times validate, want 600")
	require.ErrorContains(t, Enough(history, bounds, time.Minute), "0 times sweep")
}

func TestSummaryCountsFromTheAcknowledgementToTheEndOfASession(t *testing.T) {
	s := Summarize(token(session(2, 3.75, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK)), bounds)
	require.Equal(t, []time.Duration{250 * time.Millisecond}, s.Calm)
	require.Equal(t, 1, s.Causes)
	s = Summarize(token(session(2, 3.75, Ended, WhyRevoked), change(Revoke, 3, 3.5, OK), faultOf("*", 3, 3.6)), bounds)
	require.Empty(t, s.Calm)
	require.Len(t, s.All, 1)
	require.Contains(t, s.Table("x", 0), "| 250.0 ms |")
}
