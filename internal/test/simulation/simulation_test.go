package simulation

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
)

var (
	seeds = flag.Int("seeds", 0, "simulate so many plans")
	from  = flag.Uint64("from", 1, "the seed of the first of them")
	show  = flag.Bool("show", false, "print what happens")
	keep  = flag.String("keep", "", "a folder for the plan of the first seed that fails")
)

func judged(t *testing.T, plan Plan) []string {
	h, _ := Run(t, plan, false)
	return h.Judge()
}

// TestSimulation ends at the first seed that fails, and prints the smallest plan that fails
// in the same way. Kept in testdata it becomes a test.
func TestSimulation(t *testing.T) {
	n := uint64(*seeds)
	if n == 0 {
		if n = uint64(storetest.Repeat(100, 20_000)); testing.Short() {
			n = 10
		}
	}
	pool()
	began := time.Now()
	for seed := *from; seed < *from+n; seed++ {
		plan := NewPlan(seed)
		h, trace := Run(t, plan, *show)
		if *show {
			fmt.Println(strings.Join(trace, "\n"))
		}
		if wrong := h.Judge(); len(wrong) > 0 {
			t.Errorf("seed %d, after %d others: %s", seed, seed-*from, wrong)
			report(t, plan)
			return
		}
	}
	t.Logf("%d seeds, %.1f a second", n, float64(n)/time.Since(began).Seconds())
}

func report(t *testing.T, plan Plan) {
	small := Minimise(plan, func(p Plan) []string { return judged(t, p) })
	text, err := json.MarshalIndent(small, "", "\t")
	require.NoError(t, err)
	h, trace := Run(t, small, false)
	t.Logf("%d of %d events and %d of %d faults are needed:\n%s\n%s\n%s", len(small.Events), len(plan.Events), len(small.Faults), len(plan.Faults),
		text, strings.Join(trace, "\n"), strings.Join(h.Judge(), "\n"))
	if *keep != "" {
		require.NoError(t, os.WriteFile(filepath.Join(*keep, fmt.Sprintf("seed-%d.json", plan.Seed)), append(text, '\n'), 0o666))
	}
}

func TestSimulationTakesTheSameCourseEachTime(t *testing.T) {
	n := uint64(*seeds)
	if n == 0 {
		n = uint64(storetest.Repeat(5, 200))
	}
	for seed := *from; seed < *from+n; seed++ {
		_, first := Run(t, NewPlan(seed), true)
		_, second := Run(t, NewPlan(seed), true)
		if !slices.Equal(first, second) {
			at := 0
			for at < min(len(first), len(second)) && first[at] == second[at] {
				at++
			}
			t.Errorf("seed %d: from line %d on\n%s\n\nand then\n%s", seed, at, part(first, at), part(second, at))
		}
	}
}

// part returns some lines of a trace.
func part(trace []string, at int) string {
	return strings.Join(trace[max(at-20, 0):min(at+5, len(trace))], "\n")
}

// TestPlansThatOnceFailed replays the plans in testdata. Each is the smallest that has shown a
// fault, planted or real.
func TestPlansThatOnceFailed(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var plan Plan
			require.NoError(t, json.Unmarshal(text, &plan))
			assert.Empty(t, judged(t, plan))
		})
	}
}
