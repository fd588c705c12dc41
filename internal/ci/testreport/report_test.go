package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// reportOf runs the tests in a file, and returns what a report says about them.
func reportOf(t *testing.T, tests string, flags ...string) (*report, string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/p\n\ngo 1.25.0\n", "p_test.go": "package p\n\n" + tests} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", append([]string{"test", "-json"}, flags...)...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOWORK=off")
	events, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r := newReport(&out)
	if err := r.read(events); err != nil {
		t.Fatal(err)
	}
	if failed := cmd.Wait() != nil; failed != r.hasFailed() {
		t.Errorf("go test has failed: %t, the report says: %t", failed, r.hasFailed())
	}
	return r, regexp.MustCompile(`\d\.\d+s`).ReplaceAllString(out.String(), "TIME")
}

func TestReportOfAPassedPackageIsTheClosingLineOfGoTest(t *testing.T) {
	_, out := reportOf(t, `import ("fmt"; "testing")
func TestA(t *testing.T) { t.Log("a log"); fmt.Println("a line") }
func TestB(t *testing.T) {}
`)
	if want := "ok  \texample.com/p\tTIME\n2 passed, 0 failed, 0 skipped\n"; out != want {
		t.Errorf("%s\nwant:\n%s", out, want)
	}
}

func TestReportShowsWhatFailedTestsPrinted(t *testing.T) {
	_, out := reportOf(t, `import ("fmt"; "testing")
func TestGood(t *testing.T) { t.Log("all is well") }
func TestBad(t *testing.T) { fmt.Println("a line"); t.Run("inner", func(t *testing.T) { t.Error("the reason") }) }
`)
	want := "FAIL: TestBad/inner of example.com/p\n    p_test.go:5: the reason\n" +
		"FAIL: TestBad of example.com/p\na line\n" +
		"FAIL\nexit status 1\nFAIL\texample.com/p\tTIME\n1 passed, 2 failed, 0 skipped\n"
	if out != want {
		t.Errorf("%s\nwant:\n%s", out, want)
	}
}

func TestReportLeavesOutTheMiddleOfWhatIsTooLong(t *testing.T) {
	_, out := reportOf(t, `import ("strings"; "testing")
func TestBad(t *testing.T) {
	for i := range 30_000 { t.Log(i) }
	t.Error(strings.Repeat("x", 30_000))
}
`)
	for _, want := range []string{
		"p_test.go:5: 0\n", "p_test.go:5: 49\n... 29901 lines are left out ...\n", "p_test.go:5: 29999\n", "xxx ...\nFAIL\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if lines := strings.Count(out, "\n"); lines > 2*shownLines+10 || len(out) > 5_000 {
		t.Errorf("it has %d lines, %d bytes", lines, len(out))
	}
}

func TestReportShowsAPanicWhichEndsItsTestAndThePackage(t *testing.T) {
	_, out := reportOf(t, `import "testing"
func TestBad(t *testing.T) { panic("the reason") }
`)
	if !strings.HasPrefix(out, "FAIL: TestBad of example.com/p\npanic: the reason") || !strings.HasSuffix(out, "FAIL\texample.com/p\tTIME\n0 passed, 1 failed, 0 skipped\n") {
		t.Error(out)
	}
}

func TestReportNamesTheTestsThatHadNotEndedWhenTheirProcessDid(t *testing.T) {
	_, out := reportOf(t, `import ("fmt"; "os"; "testing")
func TestBad(t *testing.T) { fmt.Println("what it was about to do"); os.Exit(3) }
`)
	if !strings.Contains(out, "FAIL: TestBad of example.com/p: it has not ended\nwhat it was about to do\n") {
		t.Error(out)
	}
}

func TestReportShowsTheLimitOfTimeThatATestRanInto(t *testing.T) {
	_, out := reportOf(t, `import "testing"
func TestSlow(t *testing.T) { select {} }
`, "-timeout=100ms")
	if !strings.Contains(out, "FAIL: TestSlow of example.com/p: it has not ended\npanic: test timed out after 100ms\n") {
		t.Error(out)
	}
}

func TestReportShowsWhyAPackageCannotBeBuilt(t *testing.T) {
	_, out := reportOf(t, `func TestBad(t *T) { missing() }`)
	if !strings.Contains(out, "undefined: missing\n") || !strings.Contains(out, "FAIL\texample.com/p [build failed]\n") {
		t.Error(out)
	}
}

func TestReportKeepsTheReasonsOfSkippedTests(t *testing.T) {
	r, out := reportOf(t, `import "testing"
func TestA(t *testing.T) { t.Skip("no engine: see\nthe documentation") }
func TestB(t *testing.T) { t.Log("said before"); t.Skip("no engine: see the documentation") }
func TestC(t *testing.T) { t.SkipNow() }
`)
	if !strings.HasSuffix(out, "\n0 passed, 0 failed, 3 skipped\n") {
		t.Error(out)
	}
	want := "example.com/p: TestA and 1 more: no engine: see the documentation\nexample.com/p: TestC: no reason is given\n"
	if r.skippedLines() != want {
		t.Errorf("%s\nwant:\n%s", r.skippedLines(), want)
	}
}

func TestReportPrintsWhatIsNoEvent(t *testing.T) {
	var out strings.Builder
	if err := newReport(&out).read(strings.NewReader("{not JSON\nno event")); err != nil {
		t.Fatal(err)
	}
	if want := "{not JSON\nno event0 passed, 0 failed, 0 skipped\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}
