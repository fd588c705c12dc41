package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// patience is how long porcupine may search for an order of the operations on one record.
const patience = time.Minute

// register is a record with compare-and-swap. Its state is the value, or "" while there is
// no record: values are never used twice.
func register(sendsTwice bool) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			now, e := state.(string), input.(Event)
			next, applies := now, false
			switch e.Do {
			case Get:
				return e.Outcome != OK && e.Outcome != Absent || now == e.Value, now
			case Create:
				next, applies = e.Value, now == ""
			case Update:
				next, applies = e.Value, now != "" && now == e.Expect
			case Delete:
				next, applies = "", true
			}
			switch e.Outcome {
			case OK:
				return applies, next
			case Conflict, Exists, Absent: // another writer was faster
				if applies {
					return sendsTwice, next
				}
				switch e.Outcome {
				case Exists:
					return now != "" || sendsTwice, now
				case Absent:
					return now == "" || sendsTwice, now
				}
				return now != "" || sendsTwice, now
			case Failed:
				return true, now
			}
			if applies {
				return true, next
			}
			return true, now
		},
		DescribeOperation: describe,
		DescribeState:     func(state any) string { return fmt.Sprintf("%q", state) },
	}
}

// membership is one token id on a revocation list. Its state is whether it is on it.
func membership() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return false },
		Step: func(state, input, output any) (bool, any) {
			on, e := state.(bool), input.(Event)
			if e.Outcome == Failed {
				return true, on
			}
			switch e.Do {
			case Revoke:
				return true, true
			case Restore:
				return true, false
			case Revoked:
				return e.Outcome != OK || on == slices.Contains(e.Found, e.ID), on
			case Validate, Sweep: // drawn only: a validator may be behind
				return e.Outcome == Unavailable || on == (e.Outcome == Invalid), on
			}
			return true, on
		},
		DescribeOperation: describe,
		DescribeState: func(state any) string {
			if state.(bool) {
				return "revoked"
			}
			return "not revoked"
		},
	}
}

func describe(input, _ any) string {
	e := input.(Event)
	text := string(e.Do)
	switch {
	case e.Record != "" && e.Expect != "":
		text += fmt.Sprintf(" %s -> %s", e.Expect, e.Value)
	case e.Value != "":
		text += " " + e.Value
	case e.Key != "" && e.ID == "":
		text += " key " + e.Key
	}
	outcome := e.Outcome
	if outcome == "" {
		outcome = "never answered"
	}
	text += ": " + string(outcome)
	if e.Why != "" {
		text += ", " + e.Why
	}
	return text
}

// operations returns events as porcupine takes them: a client for each process, and an
// operation whose effect is in doubt returns at the end of time.
func operations(events []Event) []porcupine.Operation {
	clients := map[string]int{}
	all := make([]porcupine.Operation, len(events))
	for i, e := range events {
		client, ok := clients[e.Process]
		if !ok {
			client = len(clients)
			clients[e.Process] = client
		}
		end := e.end()
		if e.Do != Get && e.Do != Revoked && e.Do != Validate && e.Do != Sweep {
			end = e.effect()
		}
		all[i] = porcupine.Operation{ClientId: client, Input: e, Output: e, Call: e.Start, Return: end}
	}
	return all
}

// withoutUnseen returns the operations on a record without the writes in doubt whose value
// nobody has seen. If there is an order of the others, there is one of all, since such a write may take
// effect after them. To search for it among all takes a time that doubles with each of them.
func withoutUnseen(events []Event) []Event {
	seen := map[string]bool{}
	for _, e := range events {
		seen[e.Expect] = true
		if e.effect() != forever || e.Do == Get {
			seen[e.Value] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(events), func(e Event) bool {
		return (e.Do == Create || e.Do == Update) && e.effect() == forever && !seen[e.Value]
	})
}

// registers is the first check.
func (x *index) registers() {
	for _, record := range sorted(x.records) {
		model := register(x.bounds.SendsTwice)
		result := porcupine.CheckOperationsTimeout(model, operations(withoutUnseen(x.records[record])), patience)
		if result != porcupine.Ok {
			result = porcupine.CheckOperationsTimeout(model, operations(x.records[record]), patience)
		}
		if result != porcupine.Ok {
			x.report(Violation{Check: 1, Events: x.records[record], model: model,
				Text: fmt.Sprintf("record %q is no linearizable register: %s", record, result)})
		}
	}
	for _, t := range x.tokens {
		ops := slices.Concat(t.of(Revoke), t.of(Restore), t.reads)
		if len(ops) == 0 || x.void(forever) > t.issue.Start {
			continue
		}
		model := membership()
		result := porcupine.CheckOperationsTimeout(model, operations(ops), patience)
		if result != porcupine.Ok {
			x.report(Violation{Check: 1, Events: ops, model: model,
				Text: fmt.Sprintf("id %s is no linearizable member of the list of mesh %s: %s", t.issue.ID, t.issue.Mesh, result)})
		}
	}
}
