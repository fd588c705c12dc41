package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

func TestQuickstartPrintsWhatTheREADMEShows(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	shown := "    $ go run ./examples/quickstart\n"
	for line := range strings.Lines(out.String()) {
		shown += "    " + line
	}
	if !strings.Contains(string(readme), shown) {
		t.Errorf("README.md has other lines, want\n%s", shown)
	}
}
