package serviceaccount

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/token"
)

// Validator validates service account tokens. It is safe for concurrent use.
type Validator struct {
	reviews   authenticationv1.TokenReviewInterface
	audiences []string
	config    config

	answers   *answers
	sessions  *sessions
	refusals  *limit.Reporter // separate, so that a flood of refusals does not hide an outage
	unchecked *limit.Reporter
	closed    context.Context // ends with Close
	close     context.CancelCauseFunc
	underWay  sync.WaitGroup // reviews
}

// NewValidator returns a validator that asks an API server about tokens, through
// the TokenReviews() of client-go's authentication/v1 client. A token must be for
// at least one of the audiences; there must be at least one.
//
// Create must return when its context ends, as client-go's does. By default a
// client allows 5 requests a second and delays the others: set the QPS of its
// rest.Config to -1. It needs the permission to create
// tokenreviews.authentication.k8s.io.
//
// NewValidator sends no request. The error is about the arguments. Close the
// validator when it is no longer needed.
func NewValidator(reviews authenticationv1.TokenReviewInterface, audiences []string, options ...Option) (*Validator, error) {
	if reviews == nil {
		return nil, errors.New("serviceaccount: NewValidator: the client for TokenReviews is nil")
	}
	if len(audiences) == 0 {
		return nil, errors.New("serviceaccount: NewValidator: there is no audience; without one, any token for the API server would be accepted")
	}
	if slices.Contains(audiences, "") {
		return nil, errors.New("serviceaccount: NewValidator: an audience is empty")
	}
	c := config{log: slog.Default(), now: time.Now, ttl: defaultTTL, perSecond: defaultPerSecond}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("serviceaccount: an option is nil")
		}
		if err := option(&c); err != nil {
			return nil, fmt.Errorf("serviceaccount: %w", err)
		}
	}
	v := &Validator{
		reviews:   reviews,
		audiences: slices.Clone(audiences),
		config:    c,
		answers:   newAnswers(c.ttl, c.perSecond),
		sessions:  newSessions(c.now),

		refusals:  limit.NewReporter(c.log),
		unchecked: limit.NewReporter(c.log),
	}
	v.closed, v.close = context.WithCancelCause(context.Background())
	return v, nil
}

// Validate checks a token. Unless it remembers a recent answer, it asks the API
// server, and waits for at most 5 seconds or until ctx ends.
//
// If the token is definitely not good, the error matches token.ErrInvalid. It also
// matches token.ErrMalformed, token.ErrClaims or token.ErrExpired if the validator
// refused the token without asking the API server. The error matches
// token.ErrUnavailable if the API server could not be reached, did not answer in
// time, or answered with an error, such as that the control plane may not create
// TokenReviews; if the limit on reviews is reached; and after Close, when it is
// token.ErrClosed.
//
// Tell a peer only the class of the error, not the reason.
func (v *Validator) Validate(ctx context.Context, raw string) (Verified, error) {
	review, c, err := v.validate(ctx, raw)
	if err != nil {
		v.logRefusal(ctx, c, err)
		return Verified{}, err
	}
	return Verified{review}, nil
}

// validate is Validate without the log. With an error it also returns the claims
// that it could read.
func (v *Validator) validate(ctx context.Context, raw string) (*review, claims, error) {
	if v.closed.Err() != nil {
		return nil, claims{}, token.ErrClosed
	}
	c, err := v.precheck(raw) // even a remembered token may have expired
	if err != nil {
		return nil, c, err
	}
	d := sha256.Sum256([]byte(raw))
	r, p, err := v.answers.find(d, func(p *pending) { v.begin(d, p, raw, c) })
	if err != nil || r != nil {
		return r, c, err
	}
	select {
	case <-p.done:
		return p.review, c, p.err
	case <-ctx.Done():
		return nil, c, fmt.Errorf("%w: %w", token.ErrUnavailable, context.Cause(ctx))
	}
}

// begin starts a review. The review does not end with the caller's context: other
// callers may wait for it too, and later ones can use the answer.
func (v *Validator) begin(d digest, p *pending, raw string, c claims) {
	v.underWay.Go(func() {
		began := time.Now()
		r, err := v.ask(raw, c)
		v.answers.settle(d, p, began, r, err)
	})
}

// Close ends every bound context with token.ErrClosed as its cause, and waits for
// reviews in progress. Afterwards Validate returns token.ErrClosed. Close always
// returns nil and may be called more than once.
func (v *Validator) Close() error {
	v.answers.close() // no review begins from here on
	v.close(token.ErrClosed)
	v.sessions.close()
	v.underWay.Wait()
	return nil
}

// logRefusal logs the reason and the claims, never the token.
func (v *Validator) logRefusal(ctx context.Context, c claims, err error) {
	to, level, message := v.refusals, slog.LevelInfo, "token refused"
	if errors.Is(err, token.ErrUnavailable) {
		to, message = v.unchecked, "token could not be checked"
		if ctx.Err() == nil && !errors.Is(err, token.ErrClosed) {
			level = slog.LevelWarn
		}
	}
	to.Report(ctx, level, message, func() []slog.Attr { return describeRefusal(c, err) })
}

func describeRefusal(c claims, err error) []slog.Attr {
	attrs := []slog.Attr{slog.String("kind", "service account"), slog.String("reason", err.Error())}
	if c.subject != "" {
		attrs = append(attrs, slog.String("account", strings.TrimPrefix(c.subject, usernamePrefix)))
	}
	if c.id != "" {
		attrs = append(attrs, slog.String("jti", printable(c.id, maxNameShown)))
	}
	return attrs
}
