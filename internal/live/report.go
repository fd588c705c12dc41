package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// logRefusal logs the reason, kid and jti, never the token. A decoded kid or
// jti is printable.
func (v *Validator) logRefusal(ctx context.Context, want Want, raw string, t *Verified, err error) {
	level, message := slog.LevelInfo, "token refused"
	if errors.Is(err, token.ErrUnavailable) {
		message = "token could not be checked"
		if ctx.Err() == nil && !errors.Is(err, token.ErrClosed) {
			level = slog.LevelWarn
		}
	}
	v.refusals.Report(ctx, level, message, func() []slog.Attr { return v.describeRefusal(want, raw, t, err) })
}

func (v *Validator) describeRefusal(want Want, raw string, t *Verified, err error) []slog.Attr {
	attrs := []slog.Attr{slog.String("kind", string(v.family.Kind)), slog.String("reason", err.Error())}
	if want.Scope != keystore.Global {
		attrs = append(attrs, slog.String("mesh", shorten(string(want.Scope))))
	}
	if want.Zone != "" {
		attrs = append(attrs, slog.String("zone", shorten(want.Zone)))
	}
	u, _ := token.ParseUnverified(raw)
	if header, err := u.HeaderOfAnyType(); err == nil {
		attrs = append(attrs, slog.String("kid", header.KeyID))
	}
	if t != nil && t.Untagged().ID != "" {
		attrs = append(attrs, slog.String("jti", t.Untagged().ID))
	}
	return attrs
}

// shorten escapes and truncates a name that a peer sent.
func shorten(s string) string {
	quoted := fmt.Sprintf("%.64q", s)
	return quoted[1 : len(quoted)-1]
}

// changed handles a change of a scope. It ends the affected sessions first.
func (v *Validator) changed(c replica.Change) {
	now := v.with(c.State)
	v.keysChanged(c.Scope, now)
	lists, cutoffs := c.Lists()
	for _, list := range lists {
		v.sessions.listChanged(list.Owner, list.List, c.State)
	}
	for _, owner := range cutoffs {
		v.sessions.cutoffsChanged(owner, c.State)
	}
	v.report(c, now)
}

func (v *Validator) sourceEvents() sources.Events {
	return sources.Events{Changed: v.sourceChanged, Reads: v.reportSourceReads}
}

// explain adds to the error of a signature that a source has a key of the same kid, which
// is not used.
func (v *Validator) explain(scope keystore.Scope, k signer, err error) error {
	if held, _ := v.sources.State().Find(scope, k.kid); held != nil && held.Source != k.source {
		return fmt.Errorf("%w: the key of the same kid in %s is not used", err, held.Source)
	}
	return err
}

// sourceChanged handles a change of a source. It ends the affected sessions first.
func (v *Validator) sourceChanged(c sources.Change) {
	now := v.known()
	v.keysChanged(c.Source.Scope, now)
	log := v.sourceLog(c.Source)
	for _, p := range c.Problems {
		log.Warn("source problem", slog.String("problem", p))
	}
	logKids(log.Warn, keyGone, c.Removed)
	logKids(log.Warn, "another key has this kid now: tokens of the key before are refused", c.Replaced)
	if !c.First {
		logKids(log.Info, keyNew, c.Added)
	}
	if c.Empty {
		log.Warn("the source has no key")
	}
	v.reportClashesOfSource(now, c)
}

// maxKids is how many kids a change of a source logs under one message. The owner of a key
// set may change all of them as often as it is read.
const maxKids = 16

// logKids logs a message for each kid, and how many more there are.
func logKids(log func(string, ...any), message string, kids []string) {
	for _, kid := range kids[:min(len(kids), maxKids)] {
		log(message, slog.String("kid", kid))
	}
	if more := len(kids) - maxKids; more > 0 {
		log(message, slog.Int("more", more))
	}
}

// keysChanged ends the sessions of a scope, or of every scope, whose keys are no longer
// good.
func (v *Validator) keysChanged(scope keystore.Scope, now known) {
	check := func(of keystore.Scope, k signer) error { return v.checkKey(now, of, k) }
	v.sessions.keysChanged(scope, check)
	v.uses.forget(scope, check)
}

// knowable says why sessions of a key could not be checked for too long.
func (v *Validator) knowable(scope keystore.Scope, k signer, now time.Time) error {
	age := k.source.Age()
	return v.checkKnowable(v.known().store, age, scope, k, now)
}

const (
	keyNew  = "new key"
	keyGone = "key is gone: tokens that it signed are refused"
)

// report logs each change of a scope once.
func (v *Validator) report(c replica.Change, now known) {
	log := v.config.Log.With(slog.String("kind", string(v.family.Kind)), slog.String("scope", string(c.Scope)))
	for _, p := range c.Problems() {
		log.Warn("record problem", slog.String("problem", p))
	}
	added, removed := c.Keys()
	v.reportClashesInStore(now, c.Scope, c.KeyIDs(), removed)
	for _, kid := range removed {
		log.Warn(keyGone, slog.String("kid", kid))
	}
	for _, kid := range added {
		log.Info(keyNew, slog.String("kid", kid))
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

// sourceLog returns a logger for messages about a source.
func (v *Validator) sourceLog(s *sources.Source) *slog.Logger {
	return v.config.Log.With(slog.String("kind", string(v.family.Kind)), slog.String("scope", string(s.Scope)), slog.String("source", s.String()))
}

func (v *Validator) reportSourceReads(s *sources.Source, err error) {
	if err != nil {
		v.sourceLog(s).Warn("reading a source of keys fails: validating with the last keys read", slog.String("error", err.Error()))
		return
	}
	v.sourceLog(s).Info("reading a source of keys works again")
}

func (v *Validator) reportReads(err error) {
	log := v.config.Log.With(slog.String("kind", string(v.family.Kind)))
	if err != nil {
		log.Warn("reading the store fails: validating with the last state read", slog.String("error", err.Error()))
		return
	}
	log.Info("reading the store works again")
}
