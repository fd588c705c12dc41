package dataplane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// modelledKey is a key of a mesh, in the store under a serial or configured.
type modelledKey struct {
	mesh, kid string
	serial    signing.Serial // 0: configured
	key       int
	removed   bool
}

type modelledToken struct {
	key      *modelledKey
	id       string // may be that of other tokens, or empty
	expires  time.Time
	verified dataplane.Verified
}

type modelledSession struct {
	token *modelledToken
	ctx   context.Context
	stop  context.CancelFunc
	ended error // nil: it is open
}

// sessionsModel says which sessions are open, as plainly as can be: it asks each.
type sessionsModel struct {
	*following
	draw     *rand.Rand
	keys     []*modelledKey
	tokens   []*modelledToken
	sessions []*modelledSession
	revoked  map[[2]string]bool // mesh and id
}

func newSessionsModel(t *testing.T, seed uint64) *sessionsModel {
	m := &sessionsModel{
		following: &following{t: t, store: newFaultStore()},
		draw:      rand.New(rand.NewPCG(seed, 0)),
		keys: []*modelledKey{
			{mesh: "default", kid: "1", serial: 1, key: 0},
			{mesh: "default", kid: "2", serial: 2, key: 1},
			{mesh: "default", kid: "own", key: 2},
			{mesh: "other", kid: "1", serial: 1, key: 0},
		},
		revoked: map[[2]string]bool{},
	}
	for _, k := range m.keys {
		if k.serial != 0 {
			putKey(t, m.store.Memory, k.mesh, k.serial, testKey(k.key))
		}
	}
	m.start(dataplane.WithUnrevocableTokens(), dataplane.WithLeeway(0), dataplane.WithPublicKey("default", "own", testKey(2).Public()))
	return m
}

// good reports whether a token may have open sessions.
func (m *sessionsModel) good(x *modelledToken) bool {
	return !x.key.removed && !m.revoked[[2]string{x.key.mesh, x.id}] && time.Now().Before(x.expires)
}

// addToken makes a token for some minutes. Some tokens share an id.
func (m *sessionsModel) addToken() {
	x := &modelledToken{key: m.keys[m.draw.IntN(len(m.keys))], expires: time.Now().Add(time.Duration(2+m.draw.IntN(30)) * time.Minute)}
	claim := ""
	if n := m.draw.IntN(6); n > 0 {
		x.id = fmt.Sprint("id-", n)
		claim = `,"jti":"` + x.id + `"`
	}
	if !m.good(x) {
		return
	}
	var err error
	x.verified, err = m.validator.Validate(m.t.Context(), x.key.mesh, signPayload(m.t, testKey(x.key.key), x.key.kid,
		fmt.Sprintf(`{"Mesh":"%s","exp":%d%s}`, x.key.mesh, x.expires.Unix(), claim)))
	require.NoError(m.t, err)
	m.tokens = append(m.tokens, x)
}

func (m *sessionsModel) bind() {
	if len(m.tokens) == 0 {
		return
	}
	x := m.tokens[m.draw.IntN(len(m.tokens))]
	if !m.good(x) {
		return
	}
	for range 1 + m.draw.IntN(4) {
		s := &modelledSession{token: x}
		s.ctx, s.stop = x.verified.Bind(m.t.Context())
		m.sessions = append(m.sessions, s)
	}
}

// end ends the open sessions for which a condition holds.
func (m *sessionsModel) end(cause error, condition func(*modelledSession) bool) {
	for _, s := range m.sessions {
		if s.ended == nil && condition(s) {
			s.ended = cause
		}
	}
}

// stop stops some sessions of a token or of a key: the oldest, the newest, those in
// the middle or any.
func (m *sessionsModel) stop() {
	if len(m.sessions) == 0 {
		return
	}
	example := m.sessions[m.draw.IntN(len(m.sessions))]
	byKey := m.draw.IntN(2) == 0
	var open []*modelledSession
	for _, s := range m.sessions {
		if s.ended == nil && (s.token == example.token || byKey && s.token.key == example.token.key) {
			open = append(open, s)
		}
	}
	order := m.draw.IntN(4)
	for range m.draw.IntN(len(open) + 1) {
		at := [...]int{0, len(open) - 1, len(open) / 2, m.draw.IntN(len(open))}[order]
		open[at].stop()
		open[at].ended = context.Canceled
		open = append(open[:at], open[at+1:]...)
	}
}

func (m *sessionsModel) revokeOrRestore() {
	mesh, id := m.keys[m.draw.IntN(len(m.keys))].mesh, fmt.Sprint("id-", 1+m.draw.IntN(5))
	at := [2]string{mesh, id}
	if m.revoked[at] {
		require.NoError(m.t, dataplane.Restore(m.t.Context(), m.store.Memory, mesh, id))
		delete(m.revoked, at)
		return
	}
	list := revocation.Dataplane(mesh)
	if m.draw.IntN(2) == 0 {
		list = revocation.DataplaneGlobal(mesh)
	}
	require.NoError(m.t, list.Add(m.t.Context(), m.store.Memory, id))
	m.revoked[at] = true
	m.end(token.ErrRevoked, func(s *modelledSession) bool { return s.token.key.mesh == mesh && s.token.id == id })
}

func (m *sessionsModel) removeOrAddKey() {
	k := m.keys[m.draw.IntN(len(m.keys))]
	switch {
	case k.serial == 0:
	case k.removed:
		putKey(m.t, m.store.Memory, k.mesh, k.serial, testKey(k.key))
		k.removed = false
	default:
		require.NoError(m.t, m.store.Delete(m.t.Context(), keystore.Scope(k.mesh), signing.DataplaneKeys(k.mesh).KeyName(k.serial)))
		k.removed = true
		m.end(token.ErrUnknownKey, func(s *modelledSession) bool { return s.token.key == k })
	}
}

func (m *sessionsModel) expire() {
	m.pass(time.Duration(m.draw.IntN(300)) * time.Second)
	m.end(token.ErrExpired, func(s *modelledSession) bool { return !time.Now().Before(s.token.expires) })
}

func (m *sessionsModel) close() {
	require.NoError(m.t, m.validator.Close())
	m.end(token.ErrClosed, func(*modelledSession) bool { return true })
}

// compare compares the model with the validator, and forgets the sessions that have
// ended.
func (m *sessionsModel) compare(after string) {
	synctest.Wait()
	want := map[[2]string]int{}
	var open []*modelledSession
	for _, s := range m.sessions {
		if s.ended == nil {
			require.NoError(m.t, context.Cause(s.ctx), "after %s: of key %s/%s, id %q", after, s.token.key.mesh, s.token.key.kid, s.token.id)
			want[[2]string{s.token.key.mesh, s.token.key.kid}]++
			open = append(open, s)
			continue
		}
		require.ErrorIs(m.t, context.Cause(s.ctx), s.ended, "after %s: of key %s/%s, id %q", after, s.token.key.mesh, s.token.key.kid, s.token.id)
		s.stop() // is of no effect
	}
	m.sessions = open
	have := map[[2]string]int{}
	for _, use := range m.validator.Usage() {
		if use.Sessions > 0 {
			have[[2]string{use.Mesh, use.KeyID}] = use.Sessions
		}
	}
	require.Equal(m.t, want, have, "after %s", after)
	listed := map[[2]string]int{}
	for session := range m.validator.Sessions() {
		listed[[2]string{session.Claims().Mesh, session.KeyID()}]++
	}
	require.Equal(m.t, want, listed, "after %s", after)
}

func TestSessionsEndWhateverTheOrderInWhichOthersEnded(t *testing.T) {
	for range storetest.Repeat(20, 500) {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %#x", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newSessionsModel(t, seed)
				steps := []struct {
					what  string
					often int
					do    func()
				}{
					{"a new token", 3, m.addToken}, {"Bind", 8, m.bind}, {"stops", 5, m.stop}, {"a revocation", 2, m.revokeOrRestore},
					{"a removed key", 1, m.removeOrAddKey}, {"some minutes", 1, m.expire},
				}
				var drawn []int
				for i, s := range steps {
					for range s.often {
						drawn = append(drawn, i)
					}
				}
				for range 200 {
					s := steps[drawn[m.draw.IntN(len(drawn))]]
					s.do()
					m.compare(s.what)
				}
				m.close()
				m.compare("Close")
			})
		})
	}
}
