package audit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/token"
)

// logged returns what an event looks like in the text format, without its time.
func logged(ctx context.Context, e audit.Event) string {
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	audit.Log(ctx, log, e)
	_, line, _ := strings.Cut(b.String(), " ")
	return line
}

func TestAnEventSaysWhoDidWhatToWhich(t *testing.T) {
	ctx := audit.WithActor(t.Context(), "alice@example.com")
	assert.Equal(t, `level=INFO msg="audit: done" action=issue actor=alice@example.com kind=zone zone=west scope=cp,egress jti=7 kid=3 expires=2026-01-02T03:04:05Z`+"\n",
		logged(ctx, audit.Event{Action: audit.Issue, Kind: token.KindZone, Zone: "west", Scope: []string{"cp", "egress"},
			TokenID: "7", KeyID: "3", Expires: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}))
	assert.Equal(t, `level=INFO msg="audit: done" action=issue kind=dataplane mesh=default type=ingress workload=shop tags="{\"region\":[\"a,b\",\"c\"],\"team\":[\"x\"]}"`+"\n",
		logged(t.Context(), audit.Event{Action: audit.Issue, Kind: token.KindDataplane, Mesh: "default", Type: "ingress", Workload: "shop",
			Tags: map[string][]string{"team": {"x"}, "region": {"a,b", "c"}}}))
	assert.Equal(t, `level=WARN msg="audit: not done" action="remove key" kind=dataplane mesh=default name=dp-1 reason="the key signs"`+"\n",
		logged(t.Context(), audit.Event{Action: audit.RemoveKey, Kind: token.KindDataplane, Mesh: "default", Name: "dp-1",
			Err: errors.New("the key signs")}))
}

func TestAnEventOfARenewalAndOfAForkSaysWhatALineageIs(t *testing.T) {
	ctx := audit.WithAddress(audit.WithAddress(audit.WithAddress(t.Context(), ""), "10.0.0.1:9"), "of-a-proxy-in-between")
	assert.Equal(t, "10.0.0.1:9", audit.Address(ctx), "what stands there stays")
	assert.Equal(t, `level=INFO msg="audit: done" action=renew address=10.0.0.1:9 kind=zone zone=west jti=7 lineage_age=1h0m1s`+"\n",
		logged(ctx, audit.Event{Action: audit.Renew, Kind: token.KindZone, Zone: "west", TokenID: "7", LineageAge: time.Hour + 600*time.Millisecond}))
	assert.Equal(t, `level=WARN msg="audit: noticed" action=fork jti=7 before=2026-01-02T03:04:05Z other_address=6.6.6.6:1`+"\n",
		logged(t.Context(), audit.Event{Action: audit.Fork, TokenID: "7", Before: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), OtherAddress: "6.6.6.6:1"}))
}

func TestAnAddressIsNoLongerThanAddressesAre(t *testing.T) {
	for length, want := range map[int]int{1: 1, 256: 256, 257: 256, 1 << 20: 256} {
		assert.Len(t, audit.Address(audit.WithAddress(t.Context(), strings.Repeat("a", length))), want)
	}
}

func TestTheContextsLoggerComesBeforeTheIssuersOwn(t *testing.T) {
	var b bytes.Buffer
	ctx := audit.WithLogger(t.Context(), slog.New(slog.NewTextHandler(&b, nil)))
	assert.Empty(t, logged(ctx, audit.Event{Action: audit.Revoke}))
	assert.Contains(t, b.String(), "action=revoke")
}

func TestNoValueForgesALineOrFloodsTheLog(t *testing.T) {
	var b bytes.Buffer
	plain := slog.New(&lineHandler{&b})
	for _, hostile := range []string{"a\nlevel=INFO msg=forged", "a\u202eb", "a\x1b[31m", "\xff", strings.Repeat("x", 1<<20)} {
		b.Reset()
		audit.Log(audit.WithAddress(audit.WithActor(t.Context(), hostile), hostile), plain, audit.Event{
			Action: audit.Issue, OtherAddress: hostile, Mesh: hostile, Name: hostile, Zone: hostile, Scope: []string{hostile}, Err: errors.New(hostile),
			Type: hostile, Workload: hostile, Tags: map[string][]string{hostile: {hostile}}})
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		assert.NotContains(t, b.String(), "\x1b")
		assert.NotContains(t, b.String(), "\u202e")
		assert.Less(t, b.Len(), 12<<10)
	}
}

// lineHandler writes values as they are, as a careless handler does.
type lineHandler struct{ b *bytes.Buffer }

func (*lineHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *lineHandler) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h *lineHandler) WithGroup(string) slog.Handler          { return h }
func (h *lineHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		h.b.WriteString(a.Value.String() + " ")
		return true
	})
	h.b.WriteString("\n")
	return nil
}
