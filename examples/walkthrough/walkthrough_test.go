//go:build unix

package walkthrough

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A result in the cache may be older than the tool, the control plane and the library, which
// the scripts build: run it with -count=1.
func TestWalkthroughComesOutAsItSaysAndLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts dozens of processes and takes seconds")
	}
	for _, needed := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(needed); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	procedures, err := filepath.Glob("[0-9][0-9]-*.sh")
	if err != nil || len(procedures) < 10 {
		t.Fatalf("there are %d procedures, want at least 10 (%v)", len(procedures), err)
	}
	temp, err := os.MkdirTemp("", "mp") // not t.TempDir: the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()

	cmd := exec.CommandContext(ctx, "./run")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// What the script has started is to end too.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, procedure := range procedures {
		number, name, _ := strings.Cut(strings.TrimSuffix(procedure, ".sh"), "-")
		if heading := number + " " + strings.ReplaceAll(name, "-", " ") + "\n   "; !strings.Contains(out.String(), heading) {
			t.Errorf("%s tells nothing:\n%s", procedure, &out)
		}
	}
	if strings.Contains(out.String(), "PRIVATE") || strings.Contains(out.String(), "eyJ") {
		t.Errorf("there is a key or a token in what it tells:\n%s", &out)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("files are left behind: %v (%v)", left, err)
	}
}
