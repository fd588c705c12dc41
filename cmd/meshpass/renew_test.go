package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// authority renews tokens in place of a control plane.
type authority struct {
	err  error
	kind token.Kind // of the last one
}

func (r *authority) RenewDataplane(_ context.Context, raw string) (token.Issued, error) {
	return r.renew(token.KindDataplane, raw)
}

func (r *authority) RenewZone(_ context.Context, raw string) (token.Issued, error) {
	return r.renew(token.KindZone, raw)
}

func (r *authority) renew(kind token.Kind, raw string) (token.Issued, error) {
	r.kind = kind
	if r.err != nil {
		return token.Issued{}, r.err
	}
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Issued{}, err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return token.Issued{}, err
	}
	claims.ExpiresAt = claims.ExpiresAt.Add(time.Hour)
	raw, err = token.Encode("1", claims, func([]byte) ([]byte, error) { return []byte("signature"), nil })
	return token.Issued{Token: raw, ID: claims.ID, KeyID: "1", ExpiresAt: claims.ExpiresAt}, err
}

// renew calls the tool with an authority in place of a control plane.
func (c *tool) renew(ctx context.Context, r renewer, args ...string) result {
	c.t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err, getenv: func(name string) string { return c.env[name] }, now: c.now, renewer: r}
	status := a.run(ctx, append([]string{"renew"}, args...))
	return result{status, out.String(), err.String()}
}

func newToolWithTokens(t *testing.T) *tool {
	c := newToolWithKeys(t)
	c.done("generate", "dataplane-token", "--name", "dp-1", "--valid-for", "1h", "--output", "dp-1.token")
	c.done("generate", "zone-token", "--zone", "west", "--scope", "cp", "--valid-for", "1h", "--output", "west.token")
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": "https://control-plane.invalid"}
	return c
}

func TestRenewReplacesATokenOfEitherKindInItsFile(t *testing.T) {
	c := newToolWithTokens(t)
	for file, kind := range map[string]token.Kind{"dp-1.token": token.KindDataplane, "west.token": token.KindZone} {
		_, before := c.decode(c.read(file))
		a := &authority{}
		r := c.renew(t.Context(), a, file)
		require.Equal(t, exitDone, r.status, r.err)
		require.Equal(t, kind, a.kind)
		_, after := c.decode(c.read(file))
		require.Equal(t, before.ExpiresAt.Add(time.Hour), after.ExpiresAt)
		require.Contains(t, r.err, "meshpass: renewed the token: id "+after.ID+", key 1, expires ")
		require.NotContains(t, r.err+r.out, "eyJ")
	}
}

func TestRenewAsksAControlPlaneThatRenews(t *testing.T) {
	c := newToolWithTokens(t)
	ctx := audit.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(ctx, store, "default")
	require.NoError(t, err)
	_, err = zone.EnsureKey(ctx, store)
	require.NoError(t, err)
	earlier := func() time.Time { return time.Now().Add(-40 * time.Minute) }
	proxies, err := dataplane.NewIssuer(store, dataplane.WithClock(earlier))
	require.NoError(t, err)
	proxy, err := proxies.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(store, zone.WithClock(earlier))
	require.NoError(t, err)
	west, err := zones.Issue(ctx, token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	require.NoError(t, err)

	ofProxies, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer ofProxies.Close()
	ofZones, err := zone.NewValidator(store)
	require.NoError(t, err)
	defer ofZones.Close()
	renewsProxies, err := dataplane.NewIssuer(store, dataplane.WithMaxLineage(24*time.Hour))
	require.NoError(t, err)
	renewsZones, err := zone.NewIssuer(store, zone.WithMaxLineage(24*time.Hour))
	require.NoError(t, err)
	handler, err := httpapi.New(store, renewsProxies, renewsZones, func(_ *http.Request, what httpapi.Request) (string, error) {
		if what.Action != httpapi.Renew {
			return "", httpapi.ErrUnauthenticated
		}
		return "renewal", nil
	}, httpapi.WithRenewal(ofProxies, ofZones), httpapi.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()

	for file, issued := range map[string]token.Issued{"dp-1.token": proxy, "west.token": west} {
		require.NoError(t, os.WriteFile(file, []byte(issued.Token), 0o600))
		r := c.renew(t.Context(), nil, file, "--control-plane", server.URL)
		require.Equal(t, exitDone, r.status, r.err)
		_, after := c.decode(c.read(file))
		require.Equal(t, issued.ID, after.ID)
		require.InDelta(t, time.Hour.Seconds(), time.Until(after.ExpiresAt).Seconds(), 60, "as long as the token was")
		r = c.renew(t.Context(), nil, file, "--control-plane", server.URL)
		require.Equal(t, exitFailed, r.status)
		require.Contains(t, r.err, "429")
	}
	require.NoError(t, zone.RemoveAllKeys(ctx, store))
	require.Eventually(t, func() bool {
		return c.renew(t.Context(), nil, "west.token", "--control-plane", server.URL).status == exitRefused
	}, 30*time.Second, 50*time.Millisecond)
}

func TestRenewSaysWhyATokenWasNotRenewedAndLeavesTheFile(t *testing.T) {
	c := newToolWithTokens(t)
	before := c.read("dp-1.token")
	for _, x := range []struct {
		err    error
		status int
		want   string
	}{
		{fmt.Errorf("%w: %w", token.ErrInvalid, &httpapi.Error{Status: http.StatusUnauthorized, Title: "Unauthorized"}), exitRefused, "issue a new token"},
		{&httpapi.Error{Status: http.StatusBadRequest, Title: "Could not renew the token"}, exitRefused, "issue a new token"},
		{&httpapi.Error{Status: http.StatusForbidden, Title: "Access Denied"}, exitRefused, "if its lineage is over, issue a new token"},
		{&httpapi.Error{Status: http.StatusTooManyRequests, Title: "Too Many Requests"}, exitFailed, "429"},
		{&httpapi.Error{Status: http.StatusNotFound, Title: "Not Found"}, exitFailed, "Kuma does not"},
		{fmt.Errorf("%w: connection refused", token.ErrUnavailable), exitFailed, "check that the control plane runs"},
		{errors.ErrUnsupported, exitFailed, "unsupported"},
	} {
		r := c.renew(t.Context(), &authority{err: x.err}, "dp-1.token")
		require.Equal(t, x.status, r.status, r.err)
		require.Contains(t, r.err, "the token was not renewed: ")
		require.Contains(t, r.err, x.want)
		require.Equal(t, 1, strings.Count(r.err, "\n"), r.err)
		require.NotContains(t, r.err, "--auth-token-file")
		require.Equal(t, before, c.read("dp-1.token"))
	}
	require.Contains(t, c.renew(t.Context(), &authority{}, "missing.token").err, "no such file")
}

func TestRenewRefusesACommandLineThatCannotBeMeant(t *testing.T) {
	c := newToolWithTokens(t)
	for want, args := range map[string][]string{
		"want one argument":                         {},
		"want a file, since its token is replaced":  {"-"},
		"want the path of a file, not its content":  {c.read("dp-1.token")},
		"--point and --max-lineage are for --watch": {"dp-1.token", "--point", "0.5"},
		"want a number between 0 and 1":             {"dp-1.token", "--watch", "--point", "1.5"},
		"the timeout is 0s":                         {"dp-1.token", "--timeout", "0s"},
		"renew needs a control plane":               {"dp-1.token", "--store", "dir:./keys"},
		"leave out --auth-token-file":               {"dp-1.token", "--auth-token-file", "operator.token"},
	} {
		r := c.renew(t.Context(), &authority{}, args...)
		require.Equal(t, exitUsage, r.status, r.err)
		require.Contains(t, r.err, want)
		require.NotContains(t, r.err, "eyJ")
	}
}

func TestRenewWatchesUntilItsContextEnds(t *testing.T) {
	c := newToolWithTokens(t)
	before := c.read("dp-1.token")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &authority{}
	done := make(chan result)
	go func() { done <- c.renew(ctx, a, "dp-1.token", "--watch", "--point", "1e-6", "--max-lineage", "2160h") }()
	require.Eventually(t, func() bool { return c.read("dp-1.token") != before }, time.Minute, 10*time.Millisecond)
	cancel()
	r := <-done
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `msg="token renewed"`)
	require.NotContains(t, r.err, "eyJ")
	require.Empty(t, r.out)
}

func TestRenewEndsWithASignalAndExitStatusZero(t *testing.T) {
	c := newToolWithTokens(t)
	binary, err := os.Executable()
	require.NoError(t, err)
	named := filepath.Join(t.TempDir(), "meshpass")
	if err := os.Symlink(binary, named); err != nil {
		t.Skip(err)
	}
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		said, err := os.Create("log")
		require.NoError(t, err)
		defer said.Close()
		command := exec.CommandContext(t.Context(), named, "renew", "dp-1.token", "--watch", "--control-plane", "http://127.0.0.1:1")
		command.Stderr = said
		require.NoError(t, command.Start())
		require.Eventually(t, func() bool { return strings.Contains(c.read("log"), "looking after the token") }, time.Minute, 10*time.Millisecond)
		if command.Process.Signal(signal) != nil {
			t.Skip("no signals on this system")
		}
		require.NoError(t, command.Wait())
	}
}

func TestRenewRefusesToWatchAFileThatItCannotReplace(t *testing.T) {
	c := newToolWithTokens(t)
	if err := os.Symlink("dp-1.token", "link.token"); err != nil {
		t.Skip(err)
	}
	r := c.renew(t.Context(), &authority{}, "link.token", "--watch")
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "symbolic link")
	require.Contains(t, r.err, "emptyDir")
}
