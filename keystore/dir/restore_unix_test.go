//go:build unix

package dir_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// revokedTokens is the environment variable with the file that has the tokens which no
// validator may let in, one a line.
const revokedTokens = "KEYSTORE_TEST_TOKENS"

func init() {
	moreRoles["let none in"] = letNoneIn
	moreRoles["revoke until end"] = revokeUntilEnd
	moreRoles["restore, keeping revocations"] = restoreKeepingRevocations
}

// letNoneIn validates revoked tokens until its input ends: with one validator all the
// time, and with others that have just been started. It fails if one is let in.
func letNoneIn(ctx context.Context, store keystore.KeyStore) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
	}()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	text, err := os.ReadFile(os.Getenv(revokedTokens))
	if err != nil {
		return err
	}
	validate := func(validator dataplane.Validator) error {
		for raw := range strings.Lines(string(text)) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			_, err := validator.Validate(ctx, "default", strings.TrimSpace(raw))
			cancel()
			if !errors.Is(err, token.ErrRevoked) && !errors.Is(err, token.ErrUnavailable) {
				return fmt.Errorf("a revoked token was answered with %v", err)
			}
		}
		return nil
	}
	lasting, err := dataplane.NewValidator(store)
	if err != nil {
		return err
	}
	defer lasting.Close()
	fmt.Println("begun")
	for {
		started, err := dir.Open(os.Getenv(folder)) // remembers nothing, as after a start
		if err != nil {
			return err
		}
		fresh, err := dataplane.NewValidator(started)
		if err == nil {
			err = errors.Join(validate(lasting), validate(fresh), fresh.Close())
		}
		if err != nil {
			return err
		}
		select {
		case <-ended:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// revokeUntilEnd revokes ids until its input ends, and prints those that it has revoked.
func revokeUntilEnd(ctx context.Context, store keystore.KeyStore) error {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		stop()
	}()
	fmt.Println("begun")
	slog.SetDefault(slog.New(slog.DiscardHandler))
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprintf("id-%d-%d", os.Getpid(), i)
		if err := revocation.Dataplane("default").Add(ctx, store, id); err == nil {
			fmt.Println(id)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// underLoad runs during while processes validate tokens, which must not be let in, and
// revoke ids. It returns the revoked ids.
func underLoad(t *testing.T, path string, tokens []string, during func()) (revoked []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(tokens, "\n")), 0o600))
	t.Setenv(revokedTokens, file)
	type running struct {
		*exec.Cmd
		lines *bufio.Scanner
		end   func() error
	}
	var all []running
	for _, does := range []string{"let none in", "let none in", "revoke until end"} {
		cmd := process(t, does, path)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		r := running{cmd, bufio.NewScanner(stdout), stdin.Close}
		all = append(all, r)
		for r.lines.Scan() && r.lines.Text() != "begun" {
		}
		if does == "revoke until end" && r.lines.Scan() { // at least one, however busy the machine is
			revoked = append(revoked, r.lines.Text())
		}
	}
	during()
	for _, r := range all {
		require.NoError(t, r.end())
	}
	for _, r := range all {
		for r.lines.Scan() {
			if strings.HasPrefix(r.lines.Text(), "id-") {
				revoked = append(revoked, r.lines.Text())
			} else if strings.HasPrefix(r.lines.Text(), "error") {
				t.Error(r.lines.Text())
			}
		}
		assert.NoError(t, r.Wait())
	}
	return revoked
}

// storeUnderLoad returns a store and a token of mesh default that is revoked in it.
func storeUnderLoad(t *testing.T) (store *dir.Store, path, revoked string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys")
	store = openDir(t, path)
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	ids := make([]string, 5000) // so that the list is not written at once, and the token's id is the last one
	for i := range ids {
		ids[i] = fmt.Sprint("filler-", i)
	}
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", ids[0], ids[1:]...))
	return store, path, revokedToken(t, store)
}

func TestDirLetsNoRevokedTokenInWhileABackupIsRestoredUnderLoad(t *testing.T) {
	store, path, revokedBefore := storeUnderLoad(t)
	archive := backup(t, store)
	revokedSince := revokedToken(t, store)
	revoked := underLoad(t, path, []string{revokedBefore, revokedSince}, func() {
		for range storetest.Repeat(8, 100) {
			require.NoError(t, store.Restore(t.Context(), strings.NewReader(string(archive)), keepRevocations))
			time.Sleep(100 * time.Millisecond)
		}
	})
	list, err := revocation.Dataplane("default").Load(t.Context(), store)
	require.NoError(t, err)
	require.NotEmpty(t, revoked)
	for _, id := range revoked {
		assert.True(t, list.Contains(id), "what was acknowledged as revoked stays so: %s", id)
	}
}

// revokedToken returns a token that is revoked.
func revokedToken(t *testing.T, store keystore.KeyStore) string {
	t.Helper()
	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", issued.ID))
	return issued.Token
}

func TestDirLetsNoTokenInThatTheBackupRevokesWhileItIsCopiedOverTheStore(t *testing.T) {
	store, path, revokedBefore := storeUnderLoad(t)
	older := path + "-older"
	command(t, "cp", "-a", path, older)
	revokedToken(t, store)
	command(t, "tar", "-C", older, "-cf", older+".tar", ".")
	list := filepath.Join("meshes", "default", "dataplane-token-revocations-default")
	content, err := os.ReadFile(filepath.Join(older, list))
	require.NoError(t, err)
	underLoad(t, path, []string{revokedBefore}, func() {
		for range storetest.Repeat(3, 30) {
			command(t, "cp", "-a", older+"/.", path)
			time.Sleep(300 * time.Millisecond)
			command(t, "tar", "-C", path, "-xf", older+".tar")
			time.Sleep(300 * time.Millisecond)
			f, err := os.OpenFile(filepath.Join(path, list), os.O_WRONLY|os.O_TRUNC, 0) // a copy that takes longer
			require.NoError(t, err)
			for len(content) > 0 {
				n := min(8<<10, len(content))
				_, err = f.Write(content[:n])
				require.NoError(t, err)
				content = content[n:]
				time.Sleep(20 * time.Millisecond)
			}
			require.NoError(t, f.Close())
			content, err = os.ReadFile(filepath.Join(older, list))
			require.NoError(t, err)
		}
	})
	read, err := store.List(t.Context(), "default", "")
	for err != nil {
		require.ErrorContains(t, err, "a restore seems to be going on")
		read, err = store.List(t.Context(), "default", "")
	}
	require.NotEmpty(t, read, "what was copied is believed in the end")
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// archiveFile is the environment variable with the file of the backup to restore.
const archiveFile = "KEYSTORE_TEST_ARCHIVE"

func restoreKeepingRevocations(ctx context.Context, store keystore.KeyStore) error {
	archive, err := os.Open(os.Getenv(archiveFile))
	if err != nil {
		return err
	}
	defer archive.Close()
	return store.(*dir.Store).Restore(ctx, archive, keepRevocations)
}

func keepRevocations(ctx context.Context, present, older keystore.KeyStore) error {
	list, err := revocation.Dataplane("default").Load(ctx, present)
	if err != nil {
		return err
	}
	ctx = audit.WithLogger(ctx, slog.New(slog.DiscardHandler))
	return revocation.Dataplane("default").Add(ctx, older, list.IDs()...)
}

func TestDirLetsNoRevokedTokenInAfterARestoreThatWasKilledAtAnyPoint(t *testing.T) {
	store, path, revokedBefore := storeUnderLoad(t)
	for i := range 200 {
		create(t, store, keystore.Scope(fmt.Sprint("mesh-", i)), "some-key", "content")
	}
	archive := filepath.Join(t.TempDir(), "archive")
	require.NoError(t, os.WriteFile(archive, []byte(backup(t, store)), 0o600))
	t.Setenv(archiveFile, archive)
	for i := range 200 {
		require.NoError(t, store.Delete(t.Context(), keystore.Scope(fmt.Sprint("mesh-", i)), "some-key"))
	}
	revokedSince := revokedToken(t, store)
	took := 200 * time.Millisecond
	revoked := underLoad(t, path, []string{revokedBefore, revokedSince}, func() {
		for i := range storetest.Repeat(6, 200) {
			cmd := process(t, "restore, keeping revocations", path)
			require.NoError(t, cmd.Start())
			time.Sleep(time.Duration(i%6+1) * took / 6) // the moment is the test's subject
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait()
			if i%3 == 2 {
				began := time.Now()
				require.NoError(t, restoreKeepingRevocations(t.Context(), store))
				took = time.Since(began) + 50*time.Millisecond
				time.Sleep(100 * time.Millisecond) // for those who revoke
			}
			for i := range 20 { // so that the next restore has something to do
				_ = store.Delete(t.Context(), keystore.Scope(fmt.Sprint("mesh-", i)), "some-key")
			}
		}
		require.NoError(t, restoreKeepingRevocations(t.Context(), store))
	})
	list, err := revocation.Dataplane("default").Load(t.Context(), store)
	require.NoError(t, err)
	require.NotEmpty(t, revoked)
	for _, id := range revoked {
		assert.True(t, list.Contains(id), "what was acknowledged as revoked stays so: %s", id)
	}
}
