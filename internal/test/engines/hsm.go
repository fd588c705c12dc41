package engines

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// SoftHSM is a PKCS#11 token in software.
type SoftHSM struct {
	Module string // path of the shared library
	Label  string // of the token
	PIN    string // of its user
}

// NewSoftHSM makes an empty token and sets SOFTHSM2_CONF for the test, so that the module
// sees no other.
func NewSoftHSM(tb testing.TB) SoftHSM {
	tb.Helper()
	program, err := exec.LookPath("softhsm2-util")
	if err != nil {
		missing(tb, "no SoftHSM: "+err.Error())
	}
	h := SoftHSM{Label: "meshpass", PIN: "123456"}
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so",
		"/usr/lib*/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); h.Module == "" && len(found) > 0 {
			h.Module = found[0]
		}
	}
	if h.Module == "" {
		missing(tb, "no SoftHSM: libsofthsm2.so is in no folder that is known")
	}
	folder := tb.TempDir()
	config := filepath.Join(folder, "softhsm2.conf")
	check(tb, os.WriteFile(config, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", folder), 0o600))
	tb.Setenv("SOFTHSM2_CONF", config)
	output, err := exec.Command(program, "--init-token", "--free", "--label", h.Label, "--so-pin", "654321", "--pin", h.PIN).CombinedOutput()
	if err != nil {
		tb.Fatalf("%v: %s", err, output)
	}
	return h
}

// NewTPM starts an empty TPM 2.0 in software and returns the path of its Unix socket. It
// ends with the test.
func NewTPM(tb testing.TB) string {
	tb.Helper()
	program, err := exec.LookPath("swtpm")
	if err != nil {
		missing(tb, "no swtpm: "+err.Error())
	}
	folder, err := os.MkdirTemp("", "tpm") // the path of a socket is short
	check(tb, err)
	tb.Cleanup(func() { check(tb, os.RemoveAll(folder)) })
	socket := filepath.Join(folder, "socket")
	p := startProcess(tb, filepath.Join(folder, "log"), program, "socket", "--tpm2", "--tpmstate", "dir="+folder,
		"--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear")
	tb.Cleanup(p.kill)
	patient := time.After(startTimeout)
	for {
		connection, err := net.Dial("unix", socket)
		if err == nil {
			check(tb, connection.Close())
			return socket
		}
		select {
		case <-p.exited:
			err = errors.New("it has ended")
		case <-patient:
		case <-time.After(10 * time.Millisecond):
			continue
		}
		output, _ := os.ReadFile(p.log)
		tb.Fatalf("swtpm is not ready: %v; it says:\n%s", err, output)
	}
}
