// Package year_test uses a revocation list for a year, in simulated time. It is a package of
// its own since that takes some seconds.
package year_test

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/plot"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var update = flag.Bool("update", false, "draw docs/revocations.svg anew")

const (
	day      = 24 * time.Hour
	lifetime = 90 * day // of all tokens
	perDay   = 140      // tokens that are revoked, of all ages
	before   = 100      // days of it, after which the list has 14,000 ids and the year begins
	days     = 365
	limit    = 28_000 // ids in a record of etcd and Kubernetes
)

var quiet = dataplane.WithLogger(slog.New(slog.DiscardHandler))

// yearList is a list that grows through the year, and perhaps is pruned.
type yearList struct {
	store   *keystore.Memory
	pruned  bool // weekly
	every   int  // days between writes: a long list takes long to write
	pending []string
	line    plot.Line // of its size
}

func (l *yearList) size(t *testing.T) int {
	t.Helper()
	list, err := dataplane.Revoked(t.Context(), l.store, "default")
	require.NoError(t, err)
	return list.Len()
}

func (l *yearList) end() int { return l.line.Points[len(l.line.Points)-1].Y }

func TestPrunedListStaysShortForAYearAsThePlotInTheDocumentsShows(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	key, err := signing.Generate(signing.MinBits)
	require.NoError(t, err)
	slog.SetDefault(slog.New(slog.DiscardHandler)) // for audit events
	synctest.Test(t, func(t *testing.T) {
		never := &yearList{store: keystore.NewMemory(), every: 5}
		weekly := &yearList{store: keystore.NewMemory(), every: 1, pruned: true}
		lists := []*yearList{never, weekly}

		var age time.Duration // of the token that is issued next
		clock := func() time.Time { return time.Now().Add(-age) }
		issuer, err := dataplane.NewOfflineIssuer(key, "key-1", dataplane.WithClock(clock), quiet)
		require.NoError(t, err)
		var tokens []string
		for d := range before + days + 1 {
			for _, l := range lists {
				if d%l.every > 0 {
					continue
				}
				if ids := l.pending; len(ids) > 0 {
					require.NoError(t, dataplane.Revoke(t.Context(), l.store, "default", ids[0], ids[1:]...))
				}
				l.pending = nil
				if l.pruned && d > before && (d-before)%7 == 0 {
					_, err := dataplane.PruneRevocations(t.Context(), l.store, "default", lifetime, false)
					require.NoError(t, err)
				}
				if d >= before {
					l.line.Points = append(l.line.Points, plot.Point{X: d - before, Y: l.size(t)})
				}
			}
			if d == before+days {
				break
			}
			for i := range perDay {
				age = (lifetime * time.Duration(i) / perDay).Truncate(time.Millisecond)
				id := fmt.Sprintf("%08x-%04x-7%03x-8def-%012x", clock().UnixMilli()>>16, clock().UnixMilli()&0xffff, i, d)
				if i == d%perDay { // signing all of them would take minutes
					issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, lifetime)
					require.NoError(t, err)
					made, ok := revocation.IDTime(issued.ID)
					require.True(t, ok)
					require.Equal(t, clock().UTC(), made)
					id, tokens = issued.ID, append(tokens, issued.Token)
				}
				never.pending, weekly.pending = append(never.pending, id), append(weekly.pending, id)
			}
			time.Sleep(day)
		}

		assert.Equal(t, 14_000, never.line.Points[0].Y)
		assert.Equal(t, 14_000+days*perDay, never.end())
		assert.Less(t, weekly.end(), 8_000)
		validator, err := dataplane.NewValidator(weekly.store, dataplane.WithPublicKey("default", "key-1", key.Public()), dataplane.WithoutStoreKeys(), quiet)
		require.NoError(t, err)
		defer validator.Close()
		for _, raw := range tokens {
			_, err := validator.Validate(t.Context(), "default", raw)
			assert.ErrorIs(t, err, token.ErrRevoked, "pruned or not")
		}

		never.line.Name = []string{"never pruned: " + plot.Thousands(never.end())}
		weekly.line.Name = []string{"pruned weekly: " + plot.Thousands(weekly.end())}
		drawn := plot.Plot{
			Title: "Ids on a list of revoked tokens through a year, from 14,000 on: pruned weekly and never pruned",
			X:     "days", XMax: days, XTick: 30,
			Y: "ids on the list", YMax: 70_000, YTick: 10_000,
			Lines: []plot.Line{never.line, weekly.line, {
				Name:   []string{"28,000: the limit of", "etcd and Kubernetes"},
				Dashes: "8 4",
				Points: []plot.Point{{X: 0, Y: limit}, {X: days, Y: limit}},
			}},
		}.SVG()
		const file = "../../../docs/revocations.svg"
		if *update {
			require.NoError(t, os.WriteFile(file, drawn, 0o644))
		}
		committed, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.True(t, string(committed) == string(drawn), "%s is not what this test draws: look at it, and run it with -update", file)
	})
}
