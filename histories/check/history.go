// Package check decides whether a recorded history is one that Meshpass may produce. It
// knows what the documents promise and nothing of the implementation: it imports no other
// package of this repository.
//
// [Check] makes five checks:
//
//  1. Each record of a store is a linearizable register with compare-and-swap, and each
//     token id is a linearizable member of its revocation list.
//  2. No validation accepts a token, if it begins later than the bound after a revocation, a
//     cutoff or the removal of the key was acknowledged. While a replica was cut off the
//     bound is its MaxStale.
//  3. No token is refused as invalid whose id, name and key stood throughout.
//  4. No session outlives its cause by more than the bound, and none of a good token ends.
//  5. When all faults are mended, all replicas agree within the bound, and nothing that was
//     acknowledged is lost.
//
// An operation that was not answered, or whose answer leaves its effect in doubt, may take
// effect at any later moment, or never.
package check

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Event is one line of a history. An operation that changes something has two, one before
// it begins and one after it has ended, with the same Process and Op: the first alone tells
// of an operation whose process was killed.
type Event struct {
	Process string `json:"process"` // with the number of its start, such as writer-1.2
	Op      int64  `json:"op"`
	Do      Do     `json:"do"`

	// Start and End are in nanoseconds on the monotonic clock of the machine, which all
	// processes share. End is 0 if it is not known.
	Start int64 `json:"start"`
	End   int64 `json:"end,omitempty"`

	Outcome Outcome `json:"outcome,omitempty"`
	Why     string  `json:"why,omitempty"` // the class of an error, or what a fault is

	// Of tokens and keys.
	Mesh string `json:"mesh,omitempty"`
	ID   string `json:"id,omitempty"`
	Key  string `json:"key,omitempty"` // the kid
	Name string `json:"name,omitempty"`

	// Of records: Expect is the value that an update replaces. Of cutoffs, Value is the
	// moment.
	Record string `json:"record,omitempty"`
	Value  string `json:"value,omitempty"`
	Expect string `json:"expect,omitempty"`

	// Of reads of whole lists: what was looked for, if not everything, and what was found.
	Asked []string `json:"asked,omitempty"`
	Found []string `json:"found,omitempty"`

	// Of validators that begin.
	MaxStale        time.Duration `json:"maxStale,omitempty"`
	SessionMaxStale time.Duration `json:"sessionMaxStale,omitempty"`

	// Recovery is the documented time after the end of a fault within which the replicas
	// that it concerned are current again.
	Recovery time.Duration `json:"recovery,omitempty"`
}

// Do says what an event is about.
type Do string

// What processes do.
const (
	Get    Do = "get"    // a record
	Create Do = "create" // a record
	Update Do = "update" // a record
	Delete Do = "delete" // a record

	Issue     Do = "issue"
	Revoke    Do = "revoke"
	Restore   Do = "restore"
	CutOff    Do = "cutoff"
	Uncut     Do = "uncut" // removes a cutoff
	AddKey    Do = "addkey"
	RemoveKey Do = "removekey"
	Revoked   Do = "revoked" // reads a revocation list

	Begin    Do = "begin" // a validator begins to follow its store
	Validate Do = "validate"
	Session  Do = "session" // from binding until it ends
	Closing  Do = "closing" // the process ends its sessions itself
	Sweep    Do = "sweep"   // validates a token when all faults are mended

	// Reads by a new store, when all faults are mended.
	HasIDs     Do = "has-ids"
	HasKeys    Do = "has-keys"
	HasCutoffs Do = "has-cutoffs"

	Stall    Do = "stall"    // the machine did not let the process run
	Fault    Do = "fault"    // Process is the one that it concerns, or "*"
	Rollback Do = "rollback" // an older backup is restored: believed, and reported
	Gone     Do = "gone"     // the process was killed
)

// Outcome is how an operation ended.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Failed  Outcome = "failed"  // for sure nothing was changed
	Unknown Outcome = "unknown" // it may have taken effect, or may still do so

	// Of writes of records.
	Conflict Outcome = "conflict"
	Exists   Outcome = "exists"
	Absent   Outcome = "absent"

	// Of validations.
	Accepted    Outcome = "accepted"
	Invalid     Outcome = "invalid"
	Unavailable Outcome = "unavailable"

	// Of sessions.
	Ended   Outcome = "ended"   // by the validator
	Stopped Outcome = "stopped" // by its holder
)

// The classes of errors about tokens.
const (
	WhyRevoked     = "revoked"
	WhyKey         = "key"
	WhyUnavailable = "unavailable"
	WhyClosed      = "closed"
	WhyOther       = "other"
)

// Bounds are what the documents promise of a store.
type Bounds struct {
	// InForce is the time within which a change is in force on each replica.
	InForce time.Duration
	// Grace is what a busy machine is given beyond each bound.
	Grace time.Duration
	// SendsTwice says that the client may send a write again, so that the answer that
	// another writer was faster may come from a write that took effect.
	SendsTwice bool
}

const forever = math.MaxInt64

func (e Event) end() int64 {
	if e.End == 0 {
		return forever
	}
	return e.End
}

// effect is when an operation has certainly taken effect, if it does.
func (e Event) effect() int64 {
	if e.Outcome == Unknown || e.Outcome == "" {
		return forever
	}
	return e.end()
}

// String is the event on a line.
func (e Event) String() string {
	text, _ := json.Marshal(e)
	return string(text)
}

// at is a time of a history, in seconds since its beginning.
func (x *index) at(t int64) string {
	if t == forever {
		return "never"
	}
	return fmt.Sprintf("%.3f s", float64(t-x.first)/1e9)
}

// Read reads a history, one JSON object a line.
func Read(r io.Reader) ([]Event, error) {
	var lines []Event
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var e Event
		if err := json.Unmarshal(scanner.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(lines)+1, err)
		}
		lines = append(lines, e)
	}
	return Merge(lines), scanner.Err()
}

// Merge makes one event of the two lines of an operation, and sorts them by Start.
func Merge(lines []Event) []Event {
	type key struct {
		process string
		op      int64
		do      Do
	}
	at := map[key]int{}
	var merged []Event
	for _, e := range lines {
		k := key{e.Process, e.Op, e.Do}
		if i, ok := at[k]; ok && e.Op != 0 {
			merged[i] = e
			continue
		}
		at[k] = len(merged)
		merged = append(merged, e)
	}
	slices.SortStableFunc(merged, func(a, b Event) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	return merged
}

// replica is the name of a process without the number of its start.
func replica(process string) string {
	name, _, _ := strings.Cut(process, ".")
	return name
}
