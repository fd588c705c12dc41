package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// logRefusal logs the reason, kid and jti, never the token. A decoded kid or
// jti is printable.
func (v *Validator) logRefusal(ctx context.Context, want Want, u token.Unverified, t *Verified, err error) {
	level, message := slog.LevelInfo, "token refused"
	if errors.Is(err, token.ErrUnavailable) {
		message = "token could not be checked"
		if ctx.Err() == nil && !errors.Is(err, token.ErrClosed) {
			level = slog.LevelWarn
		}
	}
	if !v.config.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("kind", string(v.family.Kind)), slog.String("reason", err.Error())}
	if want.Scope != keystore.Global {
		attrs = append(attrs, slog.String("mesh", shorten(string(want.Scope))))
	}
	if want.Zone != "" {
		attrs = append(attrs, slog.String("zone", shorten(want.Zone)))
	}
	if header, err := u.Header(); err == nil {
		attrs = append(attrs, slog.String("kid", header.KeyID))
	}
	if t != nil && t.claims.ID != "" {
		attrs = append(attrs, slog.String("jti", t.claims.ID))
	}
	v.refusals.Report(ctx, level, message, attrs...)
}

// shorten escapes and truncates a name that a peer sent.
func shorten(s string) string {
	quoted := fmt.Sprintf("%.64q", s)
	return quoted[1 : len(quoted)-1]
}

// changed handles a change of a scope. It ends the affected sessions first.
func (v *Validator) changed(c replica.Change) {
	v.sessions.keysChanged(c.Scope, c.State)
	lists, cutoffs := c.Lists()
	for _, list := range lists {
		v.sessions.listChanged(list.Owner, list.List, c.State)
	}
	for _, owner := range cutoffs {
		v.sessions.cutoffsChanged(owner, c.State)
	}
	v.uses.forget(c.Scope, c.State)
	v.report(c)
}

// report logs each change of a scope once.
func (v *Validator) report(c replica.Change) {
	log := v.config.Log.With(slog.String("kind", string(v.family.Kind)), slog.String("scope", string(c.Scope)))
	for _, p := range c.Problems() {
		log.Warn("record problem", slog.String("problem", p))
	}
	v.reportHidden(c, log)
	added, removed := c.Keys()
	for _, kid := range removed {
		log.Warn("key is gone: tokens that it signed are refused", slog.String("kid", kid))
	}
	for _, kid := range added {
		log.Info("new key", slog.String("kid", kid))
	}
	restored, pruned := c.Restored()
	for _, n := range restored {
		log.Warn("ids are gone from a revocation list", slog.Int("ids", n))
	}
	for _, n := range pruned {
		log.Info("a revocation list was pruned: the floor among the cutoffs still revokes the ids", slog.Int("ids", n))
	}
	for _, gone := range c.Uncut() {
		log.Warn("cutoffs are gone: what they alone revoked is valid again",
			slog.String("record", gone.Name), slog.Int("cutoffs", len(gone.Texts)), slog.String("first", gone.Texts[0]))
	}
}

// reportHidden logs the keys of the store that a configured key hides.
func (v *Validator) reportHidden(c replica.Change, log *slog.Logger) {
	if v.config.withoutStore || len(v.config.configured) == 0 {
		return
	}
	for _, kid := range c.KeyIDs() {
		if v.configuredKey(c.Scope, kid) == nil {
			continue
		}
		if _, reported := v.collided.LoadOrStore(configuredKey{c.Scope, kid}, struct{}{}); !reported {
			log.Warn("a configured public key hides the key of the same kid in the store", slog.String("kid", kid))
		}
	}
}

func (v *Validator) reportReads(err error) {
	log := v.config.Log.With(slog.String("kind", string(v.family.Kind)))
	if err != nil {
		log.Warn("reading the store fails: validating with the last state read", slog.String("error", err.Error()))
		return
	}
	log.Info("reading the store works again")
}
