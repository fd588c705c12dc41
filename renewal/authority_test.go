package renewal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

// authority issues and renews tokens as a control plane does. Its clock is right.
type authority struct {
	lifetime   time.Duration
	maxLineage time.Duration // 0: none
	step       time.Duration // not 0: by how much longer each token is valid than the one before

	mu    sync.Mutex
	away  error               // its answer, if it is away
	asked []time.Time         // when it was asked
	ages  []time.Duration     // of the tokens that it renewed
	alter func(*token.Claims) // what a wrong authority does to a renewed token
}

// encode makes a token that has no good signature. Nothing here checks one.
func encode(claims token.Claims) string {
	raw, err := token.Encode("1", claims, func([]byte) ([]byte, error) { return bytes.Repeat([]byte{7}, 256), nil })
	if err != nil {
		panic(err)
	}
	return raw
}

func (a *authority) issue(id string) string {
	now := time.Now().UTC().Truncate(time.Second)
	return encode(token.Claims{
		Registered: token.Registered{ID: id, IssuedAt: now.Add(-5 * time.Second), NotBefore: now.Add(-5 * time.Minute), ExpiresAt: now.Add(a.lifetime)},
		Dataplane:  token.Dataplane{Mesh: "default", Name: "dp-1", Tags: map[string][]string{"kuma.io/service": {"backend", "web"}}},
	})
}

func claimsOf(raw string) token.Claims {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		panic(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		panic(err)
	}
	return claims
}

func (a *authority) renew(_ context.Context, raw string) (token.Issued, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Second)
	a.asked = append(a.asked, time.Now())
	if a.away != nil {
		return token.Issued{}, a.away
	}
	claims := claimsOf(raw)
	if !now.Before(claims.ExpiresAt) {
		return token.Issued{}, fmt.Errorf("401: %w", token.ErrExpired)
	}
	end := claims.IssuedAt.Add(a.maxLineage)
	if a.maxLineage > 0 && !now.Before(end) {
		return token.Issued{}, fmt.Errorf("403: %w", token.ErrDenied)
	}
	a.ages = append(a.ages, now.Sub(claims.NotBefore.Add(5*time.Minute)))
	expires := now.Add(a.lifetime)
	if a.step > 0 {
		expires = claims.ExpiresAt.Add(a.step)
	}
	claims.NotBefore, claims.ExpiresAt = now.Add(-5*time.Minute), expires
	if a.maxLineage > 0 && claims.ExpiresAt.After(end) {
		claims.ExpiresAt = end
	}
	if a.alter != nil {
		a.alter(&claims)
	}
	return token.Issued{Token: encode(claims), ID: claims.ID, KeyID: "1", ExpiresAt: claims.ExpiresAt}, nil
}

func (a *authority) goAway(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.away = err
}

func (a *authority) timesAsked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.asked)
}

// kept is a token file that a Keeper looks after.
type kept struct {
	*authority
	t      *testing.T
	path   string
	log    logtest.Buffer
	keeper *renewal.Keeper
}

func keep(t *testing.T, a *authority, options ...renewal.Option) *kept {
	t.Helper()
	k := &kept{authority: a, t: t, path: filepath.Join(t.TempDir(), "token")}
	k.put(a.issue("id-1"))
	k.keeper = k.another(options...)
	return k
}

func (k *kept) another(options ...renewal.Option) *renewal.Keeper {
	k.t.Helper()
	return k.anotherWith(k.renew, options...)
}

func (k *kept) anotherWith(renew renewal.Renew, options ...renewal.Option) *renewal.Keeper {
	k.t.Helper()
	keeper, err := renewal.NewKeeper(k.path, renew, append([]renewal.Option{renewal.WithLogger(k.log.Logger())}, options...)...)
	require.NoError(k.t, err)
	return keeper
}

// put replaces the file as an operator does.
func (k *kept) put(text string) {
	k.t.Helper()
	replaceFile(k.t, k.path, text)
}

func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".operator", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".operator", path))
}

func (k *kept) text() string {
	k.t.Helper()
	data, err := os.ReadFile(k.path)
	require.NoError(k.t, err)
	return string(data)
}

// claims returns what the token in the file says. That it is a whole token is checked on
// the way.
func (k *kept) claims() token.Claims {
	k.t.Helper()
	raw := strings.TrimSpace(k.text())
	unverified, err := token.ParseUnverified(raw)
	require.NoError(k.t, err)
	require.Len(k.t, unverified.AppendSignature(nil), 256)
	return claimsOf(raw)
}

// run runs the Keeper, and returns a function that ends it.
func (k *kept) run(keeper *renewal.Keeper) (stop func()) {
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan error)
	go func() { done <- keeper.Run(ctx) }()
	return func() {
		cancel()
		require.ErrorIs(k.t, <-done, context.Canceled)
	}
}

// files returns the names in the folder of the token file.
func (k *kept) files() (names []string) {
	k.t.Helper()
	entries, err := os.ReadDir(filepath.Dir(k.path))
	require.NoError(k.t, err)
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}
