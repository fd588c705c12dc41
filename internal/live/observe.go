package live

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// attach gives the validator to the observers that want its reports.
func (v *Validator) attach() {
	for _, o := range v.config.Observers {
		if attacher, ok := o.(observe.Attacher); ok {
			v.detach = append(v.detach, attacher.Attach(v))
		}
	}
}

// now returns the present instant, if there are observers who want to know it.
func (v *Validator) now() setting.Instant {
	if len(v.config.Observers) == 0 {
		return 0
	}
	return setting.Now()
}

// accepted tells the observers that a token was accepted, at a time by the system's clock.
func (v *Validator) accepted(t *Verified, began setting.Instant, at time.Time) {
	if len(v.config.Observers) == 0 {
		return
	}
	v.config.Observe(observe.Outcome{
		Operation: observe.Validate,
		Kind:      v.family.Kind,
		Mesh:      v.meshOf(t.scope()),
		KeyID:     t.signer.kid,
		Took:      began.Until(at),
	})
}

// refused tells the observers why a token was not accepted, and logs it. t is nil if there
// was no good signature.
func (v *Validator) refused(ctx context.Context, want Want, raw string, t *Verified, began setting.Instant, err error) {
	if t == nil && len(v.config.Observers) == 0 { // a flood of nonsense must cost next to nothing
		v.logRefusal(ctx, want, raw, t, err)
		return
	}
	defer v.logRefusal(ctx, want, raw, t, err) // not part of the time that it took
	reason := token.ReasonOf(err)
	kid := ""
	if t != nil {
		kid = t.signer.kid
		if reason != token.ReasonUnknownKey && reason.Class() != token.Unavailable {
			v.uses.of(keystore.Scope(v.meshOf(want.Scope)), t.signer).refused.Add(1)
		}
	}
	if len(v.config.Observers) == 0 {
		return
	}
	v.config.Observe(observe.Outcome{
		Operation: observe.Validate,
		Kind:      v.family.Kind,
		Mesh:      v.meshOf(want.Scope),
		KeyID:     kid,
		Reason:    reason,
		Took:      began.Until(time.Now()),
	})
}

// NotPermitted tells the observers that the token does not permit a use, and returns why.
func (t *Verified) NotPermitted(why error) error {
	v := t.validator
	v.config.Observe(observe.Outcome{
		Operation: observe.Permit,
		Kind:      v.family.Kind,
		Mesh:      v.meshOf(t.scope()),
		KeyID:     t.signer.kid,
		Reason:    token.ReasonNotPermitted,
	})
	return why
}

// meshOf returns the name of a scope, or "" if neither the store nor a source of keys
// has it: peers make names up.
func (v *Validator) meshOf(scope keystore.Scope) string {
	if v.follower != nil && v.follower.State().Has(scope) || v.sources.State().Has(scope) {
		return string(scope)
	}
	return ""
}

// Report returns the present state, for monitoring.
func (v *Validator) Report() observe.Report {
	r := observe.Report{Kind: v.family.Kind, Sources: v.sources.Report()}
	r.Staleness, r.Loaded = v.Staleness()

	type name struct{ mesh, kid string }
	keys := map[name]*observe.Key{}
	of := func(scope keystore.Scope, kid string) *observe.Key {
		at := name{v.meshOf(scope), kid}
		k := keys[at]
		if k == nil {
			k = &observe.Key{Mesh: at.mesh, KeyID: kid, State: observe.OfSource}
			keys[at] = k
		}
		return k
	}
	if v.follower != nil {
		r.Complete, r.Single = v.follower.Reads()
		if s := v.follower.State(); s != nil {
			r.Meshes = s.Meshes()
			s.Keys(func(scope keystore.Scope, key signing.Key) {
				k := of(scope, key.Serial.KeyID())
				k.Created, k.State = key.Created, observe.Verifies
				switch {
				case key.Err != nil:
					k.State = observe.Unreadable
				case key.Signs:
					k.State = observe.Signs
				}
			})
		}
	}
	v.sources.State().Keys(func(scope keystore.Scope, kid string) { of(scope, kid) })
	lastUsed := map[*observe.Key]time.Time{}
	v.uses.each(func(scope keystore.Scope, key signer, use *keyUse) {
		k := of(scope, key.kid)
		k.Accepted += use.validations.Load()
		k.Refused += use.refused.Load()
		if last, used := use.last(); used && last.After(lastUsed[k]) {
			lastUsed[k] = last
		}
	})
	v.sessions.open(func(scope keystore.Scope, kid string, n int) { of(scope, kid).Sessions += n })
	for _, k := range keys {
		k.UnusedSince = lastUsed[k]
		if k.UnusedSince.IsZero() {
			k.UnusedSince = v.made
			if k.Created.After(v.made) {
				k.UnusedSince = k.Created
			}
		}
		r.Keys = append(r.Keys, *k)
	}
	slices.SortFunc(r.Meshes, func(a, b observe.Mesh) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Sources, func(a, b observe.Source) int {
		return cmp.Or(cmp.Compare(a.Mesh, b.Mesh), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(r.Keys, func(a, b observe.Key) int {
		return cmp.Or(cmp.Compare(a.Mesh, b.Mesh), cmp.Compare(a.KeyID, b.KeyID))
	})
	return r
}
