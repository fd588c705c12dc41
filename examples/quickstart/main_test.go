package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestQuickstartPlaysTheLifeOfATokenToItsEnd(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) < 12 || len(lines) > 24 {
		t.Errorf("it says what it does in %d lines, want a dozen or two:\n%s", len(lines), &out)
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "zone west, scope cp") {
		t.Errorf("the last line is %q", last)
	}
}
