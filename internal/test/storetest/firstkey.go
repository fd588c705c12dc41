package storetest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// storageOfChild is set for the processes of ManyProcessesMakeOneFirstKey: what
// the test passed for opening the store.
const storageOfChild = "MESHPASS_STORETEST_STORAGE"

// Child does the work of a process that ManyProcessesMakeOneFirstKey has started
// and returns true, in such a process. A package that runs that test calls Child
// first in TestMain, with what opens a store on the storage that the test names.
func Child(open func(storage string) (keystore.KeyStore, error)) bool {
	storage := os.Getenv(storageOfChild)
	if storage == "" {
		return false
	}
	if err := ensureKeys(storage, open); err != nil {
		fmt.Println("failed:", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	return true
}

// ensureKeys reads names of meshes, a line each, and prints for each the serial and
// the fingerprint of its key, and a token.
func ensureKeys(storage string, open func(string) (keystore.KeyStore, error)) error {
	store, err := open(storage)
	if err != nil {
		return err
	}
	issuer, err := dataplane.NewIssuer(store, quiet)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ctx, cancel := context.WithTimeout(audit.WithLogger(context.Background(), discard), 2*time.Minute)
		key, err := dataplane.EnsureKey(ctx, store, lines.Text())
		if err != nil {
			cancel()
			return err
		}
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: lines.Text()}, day)
		cancel()
		if err != nil {
			return err
		}
		fmt.Println(key.Serial.KeyID(), key.Public.Fingerprint(), issued.Token)
	}
	return nil
}

// ManyProcessesMakeOneFirstKey lets 16 processes, which are this test binary again,
// create the first key of a mesh at once; in a stress run 64 processes do so, for 20
// meshes one after the other. There must be one key, with which every process signs.
// The storage is what the processes pass to the function given to [Child].
func ManyProcessesMakeOneFirstKey(t *testing.T, storage string, open Opener) {
	processes, rounds := Repeat(16, 64), Repeat(1, 20)
	self, err := os.Executable()
	must(t, err)
	type process struct {
		command *exec.Cmd
		input   interface {
			WriteString(string) (int, error)
			Close() error
		}
		output *bufio.Reader
	}
	children := make([]process, processes)
	for i := range children {
		command := exec.CommandContext(t.Context(), self)
		command.Env = append(os.Environ(), storageOfChild+"="+storage)
		command.Stderr = os.Stderr
		input, w, err := os.Pipe()
		must(t, err)
		command.Stdin = input
		output, err := command.StdoutPipe()
		must(t, err)
		must(t, command.Start())
		input.Close()
		children[i] = process{command, w, bufio.NewReader(output)}
	}
	answer := func(p process) string {
		t.Helper()
		line, err := p.output.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "failed:") {
			t.Fatalf("a process said %q, %v", strings.TrimSpace(line), err)
		}
		return strings.TrimSpace(line)
	}
	for _, p := range children {
		answer(p) // ready
	}

	store := open(t)
	validator := newValidator(t, open(t))
	for round := range rounds {
		mesh := fmt.Sprint("mesh-", round)
		for _, p := range children {
			_, err := p.input.WriteString(mesh + "\n")
			must(t, err)
		}
		fingerprints := map[string]bool{}
		for _, p := range children {
			fields := strings.Fields(answer(p))
			if len(fields) != 3 || fields[0] != "1" {
				t.Fatalf("mesh %s: a process did not get the key with serial 1", mesh)
			}
			fingerprints[fields[1]] = true
			eventually(t, "a token of each process is good", func() (dataplane.Verified, error) {
				return validator.Validate(t.Context(), mesh, fields[2])
			})
		}
		if len(fingerprints) != 1 {
			t.Errorf("mesh %s: the processes were given %d keys, want 1", mesh, len(fingerprints))
		}
		keys, err := dataplane.Keys(t.Context(), store, mesh)
		must(t, err)
		if len(keys) != 1 {
			t.Errorf("mesh %s has %d keys, want 1", mesh, len(keys))
		}
	}
	for _, p := range children {
		must(t, p.input.Close())
		must(t, p.command.Wait())
	}
}
