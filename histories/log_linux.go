package histories

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/meshpass/meshpass/histories/check"
)

// message is a line that a worker and the test send each other.
type message struct {
	Event *check.Event `json:"event,omitempty"`
	Token *given       `json:"token,omitempty"` // that was issued; not recorded
	Hot   string       `json:"hot,omitempty"`   // the id of a token that was revoked or restored
	Do    string       `json:"do,omitempty"`    // what the test wants; or "done"
}

// given is a token that was issued.
type given struct {
	Mesh, ID, Key, Name, Raw string
}

// log writes the events of one process.
type log struct {
	process string

	mu     sync.Mutex
	lines  *json.Encoder
	lastOp int64
}

func newLog(process string, w io.Writer) *log {
	return &log{process: process, lines: json.NewEncoder(w)}
}

func (l *log) send(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.lines.Encode(m) // if the test has gone, this process ends soon
}

// begin notes that an operation begins.
func (l *log) begin(e check.Event) check.Event {
	e = l.stamp(e)
	e.Start = now()
	l.send(message{Event: &e})
	return e
}

// end notes how an operation has ended.
func (l *log) end(e check.Event, outcome check.Outcome, why string) {
	e.End, e.Outcome, e.Why = now(), outcome, why
	l.send(message{Event: &e})
}

// note notes an event as it is.
func (l *log) note(e check.Event) {
	e = l.stamp(e)
	l.send(message{Event: &e})
}

func (l *log) stamp(e check.Event) check.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastOp++
	e.Process, e.Op = l.process, l.lastOp
	return e
}

// watchStalls notes when the machine does not run this process for a while.
func (l *log) watchStalls(ctx context.Context) {
	const tick, long = 20 * time.Millisecond, 150 * time.Millisecond
	for last := now(); ctx.Err() == nil; {
		time.Sleep(tick)
		t := now()
		if t-last > int64(long) {
			l.note(check.Event{Do: check.Stall, Start: last, End: t})
		}
		last = t
	}
}
