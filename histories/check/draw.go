package check

import (
	"fmt"
	"io"
	"time"

	"github.com/anishathalye/porcupine"
)

// drawing is how long porcupine may search before it draws what it has found.
const drawing = 3 * time.Second

// Draw writes a page of HTML that shows the events of a violation on a line of time, and the
// faults beside them.
func Draw(w io.Writer, v Violation, history []Event) error {
	var shown []Event
	first, last := int64(forever), int64(0)
	for _, e := range v.Events {
		if e.End == 0 && e.Do == Session {
			e.End = e.Start // porcupine would draw an operation without an end over all others
		}
		first, last = min(first, e.Start), max(last, e.Start, e.End)
		shown = append(shown, e)
	}
	_, info := porcupine.CheckOperationsVerbose(v.model, operations(shown), drawing)
	notes := []porcupine.Annotation{{Tag: "what is wrong", Start: first, End: last, Description: v.String(), BackgroundColor: "#ffc0c0"}}
	for _, e := range history {
		if (e.Do == Fault || e.Do == Rollback || e.Do == Stall) && e.end() >= first && e.Start <= last {
			notes = append(notes, porcupine.Annotation{Tag: fmt.Sprintf("%s of %s", e.Do, e.Process), Start: max(e.Start, first), End: min(e.end(), last), Description: string(e.Do) + " " + e.Why})
		}
	}
	info.AddAnnotations(notes)
	return porcupine.Visualize(v.model, info, w)
}
