package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBenchWritesTheTableAndThePlotIntoAFolder(t *testing.T) {
	folder := t.TempDir()
	readme := filepath.Join(folder, "README.md")
	require.NoError(t, os.WriteFile(readme, []byte("before\n"+tableBegin+"an old table\n"+tableEnd+"after\n"), 0o644))
	require.NoError(t, run(10, folder))

	data, err := os.ReadFile(readme)
	require.NoError(t, err)
	text := string(data)
	require.True(t, strings.HasPrefix(text, "before\n"+tableBegin), "what stands before the table is left alone")
	require.True(t, strings.HasSuffix(text, tableEnd+"after\n"), "and what stands after it")
	require.NotContains(t, text, "an old table")
	var rows []string
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "| ") {
			cells := strings.Split(line, "|")
			require.Len(t, cells, 1+1+len(contenders())+1, line)
			rows = append(rows, strings.TrimSpace(cells[1]))
		}
	}
	require.Equal(t, []string{
		"median, in µs",
		"validate, first sight",
		"validate again",
		"validate, first sight, 100,000 revoked ids",
		"validate again, 100,000 revoked ids",
		"issue, the key in a store",
		"issue, the key at hand",
	}, rows)
	require.Equal(t, 2, strings.Count(text, "–"), "all do all the work, but for cap, which does not issue")

	svg, err := os.ReadFile(filepath.Join(folder, "bench.svg"))
	require.NoError(t, err)
	bars := 0
	for decoder := xml.NewDecoder(strings.NewReader(string(svg))); ; {
		element, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, "the plot is well-formed XML")
		if start, ok := element.(xml.StartElement); ok && start.Name.Local == "rect" {
			bars++
		}
	}
	require.Equal(t, 1+6*len(contenders())-2, bars, "the background, and a bar for each figure of the table")

	require.NoError(t, run(10, folder), "it can be written again")
}

func TestBenchLeavesAREADMEWithoutAPlaceForTheTableAlone(t *testing.T) {
	readme := filepath.Join(t.TempDir(), "README.md")
	require.NoError(t, os.WriteFile(readme, []byte("text\n"+tableBegin), 0o644))
	require.ErrorContains(t, replaceTable(readme, "table"), "no place for the table")
	text, err := os.ReadFile(readme)
	require.NoError(t, err)
	require.Equal(t, "text\n"+tableBegin, string(text))
}
