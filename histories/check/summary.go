package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Summary is what a history shows, in figures.
type Summary struct {
	Long       time.Duration
	Operations int // of all processes
	Unknown    int // of these, with an effect in doubt
	Faults     int
	Causes     int // revocations, cutoffs and removals of keys that were acknowledged
	Ended      int // sessions that a cause has ended

	// Calm are the times from the acknowledgement of a cause to the end of a session,
	// outside of faults, sorted. All has those within faults too.
	Calm, All []time.Duration
}

// Summarize counts what is in a history.
func Summarize(history []Event, bounds Bounds) Summary {
	x := newIndex(history, bounds)
	s := Summary{Long: time.Duration(x.last - x.first)}
	for _, e := range history {
		switch e.Do {
		case Fault, Rollback:
			s.Faults++
		case Begin, Closing, Stall, Gone:
		default:
			s.Operations++
		}
		if isCause(e) && e.Outcome == OK {
			s.Causes++
		}
		if e.Do != Session && (e.Outcome == Unknown || e.Outcome == "") && e.Do != Fault && e.Do != Begin && e.Do != Closing && e.Do != Stall && e.Do != Gone && e.Do != Rollback {
			s.Unknown++
		}
	}
	for _, t := range x.tokens {
		for _, session := range t.sessions {
			if session.Outcome != Ended || session.Why != WhyRevoked && session.Why != WhyKey {
				continue
			}
			s.Ended++
			for _, cause := range t.changes {
				if !x.stands(t, cause, session.End) || cause.Start < session.Start || (cause.Do == RemoveKey) != (session.Why == WhyKey) {
					continue
				}
				took := max(0, time.Duration(session.End-cause.End))
				s.All = append(s.All, took)
				if x.due(session.Process, cause.End) == cause.End+x.slack() {
					s.Calm = append(s.Calm, took)
				}
				break
			}
		}
	}
	slices.Sort(s.Calm)
	slices.Sort(s.All)
	return s
}

// Table is a table in Markdown with one line.
func (s Summary) Table(name string, violations int) string {
	var b strings.Builder
	b.WriteString("| history | long | operations | effect in doubt | faults | revocations, cutoffs, removals | sessions that they ended | p50 | p99 | max | max with faults | violations |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	fmt.Fprintf(&b, "| %s | %.0f s | %d | %d | %d | %d | %d | %s | %s | %s | %s | %d |", strings.TrimPrefix(name, "TestHistoryOf"), s.Long.Seconds(),
		s.Operations, s.Unknown, s.Faults, s.Causes, s.Ended, percentile(s.Calm, 50), percentile(s.Calm, 99), percentile(s.Calm, 100), percentile(s.All, 100), violations)
	return b.String()
}

// percentile returns one of sorted times, in milliseconds.
func percentile(sorted []time.Duration, percent int) string {
	if len(sorted) == 0 {
		return "none"
	}
	at := max(0, (len(sorted)*percent+99)/100-1)
	return fmt.Sprintf("%.1f ms", float64(sorted[at].Microseconds())/1000)
}

// Enough returns an error if a history is so poor that it shows nothing: a check of what
// never happened finds no fault, and neither does one of what faults and stalls excuse
// throughout. The faults of a minute may leave no time in which nothing is excused, those of
// five minutes must. long is how long it was to be.
func Enough(history []Event, bounds Bounds, long time.Duration) error {
	times := count(history)
	poor := errors.Join(Worked(history, long), least(times, Sweep, 10), least(times, HasIDs, 1))
	if calm, want := len(Summarize(history, bounds).Calm), 25*int(long/(5*time.Minute)); calm < want {
		poor = errors.Join(poor, fmt.Errorf("%d sessions that a cause has ended outside of faults, want %d", calm, want))
	}
	return poor
}

func perMinute(times float64, long time.Duration) int { return max(1, int(times*long.Minutes())) }

// Worked is [Enough] without what is done once all faults are mended. The events need not
// be merged.
func Worked(history []Event, long time.Duration) error {
	times := count(history)
	var poor error
	for do, often := range map[Do]float64{Issue: 10, Revoke: 5, Restore: 1, CutOff: 1, AddKey: 1, Update: 20, Revoked: 2, Validate: 300, Session: 20, Fault: 1} {
		poor = errors.Join(poor, least(times, do, perMinute(often, long)))
	}
	return poor
}

// count counts what was done and answered, and faults.
func count(history []Event) map[Do]int {
	times := map[Do]int{}
	for _, e := range history {
		switch {
		case e.Do == Fault, e.Outcome == OK, e.Outcome == Accepted, e.Outcome == Invalid, e.Outcome == Ended:
			times[e.Do]++
		}
	}
	return times
}

func least(times map[Do]int, what Do, want int) error {
	if times[what] < want {
		return fmt.Errorf("%d times %s, want %d", times[what], what, want)
	}
	return nil
}
