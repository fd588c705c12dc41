package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// noticed is how much later than its limit a validator may notice that its store has
// fallen silent. A busy machine needs some of it; the rest is for the limit 0, under which
// a read that hangs is overdue after 2 s.
const noticed = 6 * time.Second

// StalenessEndsWithin lets validators with limits of staleness of 0, 1 and 10 s answer,
// all at once, while the fault happens. It takes as long as the longest limit, and what the
// engine needs to be reached again, and fails unless
//
//   - within each limit the validator stops accepting a token that was accepted before,
//     and a session of it ends with token.ErrUnavailable, or with token.ErrRevoked if the
//     news got through;
//   - after Mend, a token that was revoked beside the fault is refused, and others are
//     accepted again.
//
// For is not used.
func StalenessEndsWithin(t *testing.T, open Opener, fault Fault) {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	issuer, _ := issuerAndValidator(t, store, open(t), "default")
	issue := func() token.Issued {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
		must(t, err)
		return issued
	}
	good := issue()
	var subjects []*staleSubject
	for _, limit := range []time.Duration{0, time.Second, 10 * time.Second} {
		v, err := dataplane.NewValidator(open(t), quiet, dataplane.WithMaxStale(limit), dataplane.WithSessionMaxStale(limit))
		must(t, err)
		t.Cleanup(func() { v.Close() })
		subjects = append(subjects, &staleSubject{limit: limit, validator: v, doomed: issue()})
	}
	for _, s := range subjects {
		// Under the limit 0 any hiccup ends a session, so it begins when all is ready.
		verified := eventually(t, "the token is good", func() (dataplane.Verified, error) {
			return s.validator.Validate(ctx, "default", s.doomed.Token)
		})
		var stop func()
		s.session, stop = verified.Bind(ctx)
		t.Cleanup(stop)
	}

	fault.Break(t)
	broken := time.Now()
	if fault.Beside != nil {
		beside := fault.Beside(t)
		for _, s := range subjects {
			must(t, dataplane.Revoke(ctx, beside, "default", s.doomed.ID))
		}
		broken = time.Now()
	}
	results := make(chan error)
	for _, s := range subjects {
		go func() { results <- s.goesStale(ctx, broken) }()
	}
	for range subjects {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}

	fault.Mend(t)
	mended := time.Now()
	for _, s := range subjects {
		doomed := error(nil)
		if fault.Beside != nil {
			doomed = token.ErrRevoked
		}
		for raw, wanted := range map[string]error{good.Token: nil, s.doomed.Token: doomed} {
			within(t, patience-time.Since(mended), fmt.Sprintf("the validator with limit %s knows again: %v", s.limit, wanted), func() (struct{}, error) {
				_, err := s.validator.Validate(ctx, "default", raw)
				if wanted == nil {
					return struct{}{}, err
				}
				return struct{}{}, want(err, wanted)
			})
		}
	}
	t.Logf("the engine was back; validators knew all %.0f ms later", milliseconds(time.Since(mended)))
}

// staleSubject is a validator with a limit, a token that is revoked during the fault, and
// a session of it.
type staleSubject struct {
	limit     time.Duration
	validator dataplane.Validator
	doomed    token.Issued
	session   context.Context
}

// goesStale waits until the token is not accepted and the session has ended.
func (s *staleSubject) goesStale(ctx context.Context, broken time.Time) error {
	giveUp := s.limit + noticed - time.Since(broken)
	select {
	case <-s.session.Done():
		cause := context.Cause(s.session)
		if !errors.Is(cause, token.ErrUnavailable) && !errors.Is(cause, token.ErrRevoked) {
			return fmt.Errorf("limit %s: the session ended with %v", s.limit, cause)
		}
	case <-time.After(giveUp):
		return fmt.Errorf("limit %s: the session lives %s after the fault began", s.limit, time.Since(broken))
	}
	for {
		_, err := s.validator.Validate(ctx, "default", s.doomed.Token)
		switch age := time.Since(broken); {
		case err != nil && !errors.Is(err, token.ErrUnavailable) && !errors.Is(err, token.ErrRevoked):
			return fmt.Errorf("limit %s: the token was refused with %w", s.limit, err)
		case err != nil:
			return nil
		case age > s.limit+noticed:
			return fmt.Errorf("limit %s: the token is accepted %s after the fault began", s.limit, age)
		}
		rest(ctx, 20*time.Millisecond)
	}
}
