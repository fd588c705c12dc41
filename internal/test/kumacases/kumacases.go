// Package kumacases compares what tests find out with the table "Cases of Kuma's own
// tests" in docs/kuma.md.
package kumacases

import (
	"os"
	"strings"
	"testing"
)

// Outcome says who accepts a case.
type Outcome struct{ Kuma, Meshpass bool }

func (o Outcome) verdict() string {
	switch {
	case o.Kuma == o.Meshpass:
		return "same"
	case o.Kuma:
		return "stricter"
	}
	return "different"
}

// Check compares outcomes, by the ids of their cases, with the rows of the document
// whose ids begin with one of the letters. Each row must have an outcome and the other
// way round, and each row must be true. A row that is not "same" must have a reason.
func Check(t testing.TB, document, letters string, outcomes map[string]Outcome) {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]Outcome{}
	for id, o := range outcomes {
		left[id] = o
	}
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		if len(cells) < 5 || !strings.HasPrefix(line, "|") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		id, kuma, verdict := cells[0], cells[3], cells[4]
		if id == "" || !strings.ContainsAny(id[:1], letters) || strings.Trim(id[1:], "0123456789") != "" || id[1:] == "" {
			continue
		}
		o, known := left[id]
		delete(left, id)
		switch {
		case !known:
			t.Errorf("%s: %s is not tested, or stands there twice", document, id)
		case kuma != map[bool]string{true: "accepted", false: "refused"}[o.Kuma]:
			t.Errorf("%s: %s: Kuma is said to have it %q", document, id, kuma)
		case verdict != o.verdict():
			t.Errorf("%s: %s is said to be %q, it is %q", document, id, verdict, o.verdict())
		case verdict != "same" && (len(cells) < 6 || cells[5] == ""):
			t.Errorf("%s: %s has no reason", document, id)
		}
	}
	for id := range left {
		t.Errorf("%s: %s is missing", document, id)
	}
}
