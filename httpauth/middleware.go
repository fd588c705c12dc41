package httpauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"

	"github.com/meshpass/meshpass/internal/caller"
)

// Middleware returns a function that puts authentication in front of a handler. The
// handler sees only requests that auth lets in. It finds the caller with [FromContext],
// its context ends with the session of the caller, and so does its response: see the
// package comment. The header Authorization is not in its request, see
// [WithTokenInRequest].
//
// The error is about the arguments.
func Middleware(auth AuthFunc, options ...Option) (func(http.Handler) http.Handler, error) {
	if auth == nil {
		return nil, errors.New("httpauth: the AuthFunc is nil: Zone needs an authenticator and a scope, Proxy an authenticator and a function")
	}
	m := &middleware{auth: auth, log: slog.Default()}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("httpauth: an option is nil")
		}
		if err := option(m); err != nil {
			return nil, fmt.Errorf("httpauth: %w", err)
		}
	}
	m.callers = caller.NewLog(m.log)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}, nil
}

type middleware struct {
	auth      AuthFunc
	log       *slog.Logger
	callers   caller.Log
	keepToken bool
}

// Option is an option of [Middleware].
type Option func(*middleware) error

// WithLogger sets the logger; the default is slog.Default(). The middleware logs
// "request refused" for a rejected request, unless the validator has logged it, and
// "session ended" for a session that ended before its request. Both are at Info, or at
// Warn for an error that [Status] does not know. They are limited to a burst of 10 and
// then one a second, except for sessions that the validator ended.
func WithLogger(log *slog.Logger) Option {
	return func(m *middleware) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		m.log = log
		return nil
	}
}

// WithTokenInRequest leaves the header Authorization in the request that the handler
// sees. Without it the middleware removes the header, so that a reverse proxy does not
// hand the token to its backends, and a handler that logs headers does not log it. Use it
// in front of a backend that checks the token itself.
func WithTokenInRequest() Option {
	return func(m *middleware) error {
		m.keepToken = true
		return nil
	}
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	identity, err := m.auth(r)
	if err == nil && identity == nil {
		err = errors.New("the AuthFunc returned neither an identity nor an error")
	}
	if err != nil {
		m.callers.Refused(r.Context(), "request refused", err, attrs(r, err)...)
		refuse(w, err)
		return
	}

	// The session does not end with the request: a hijacked connection outlives it.
	session, release := identity.Bind(context.WithoutCancel(r.Context()))
	if session.Err() != nil {
		reason := context.Cause(session)
		release()
		m.callers.Ended(r.Context(), identity, reason, attrs(r, reason)...)
		refuse(w, reason)
		return
	}
	ctx, end := context.WithCancelCause(NewContext(r.Context(), identity))
	defer end(nil)
	inner := r.WithContext(ctx)
	if !m.keepToken {
		inner.Header = maps.Clone(r.Header)
		inner.Header.Del(authorization)
	}

	g := newGuard(w, r, end, release)
	if r.Body != nil && r.Body != http.NoBody {
		inner.Body = &body{r.Body, g}
	}
	var reason error
	g.watch(session, func(why error) {
		reason = why
		m.callers.Ended(r.Context(), identity, why, attrs(r, why)...)
	}, func(why error) {
		m.log.LogAttrs(r.Context(), slog.LevelWarn, "response not ended: the handler still runs, and a ResponseWriter around it supports no deadlines", attrs(r, why)...)
	})
	returned := false
	defer func() {
		todo := g.leave()
		if r.MultipartForm == nil {
			r.MultipartForm = inner.MultipartForm // the server removes its files
		}
		switch {
		case !returned: // the handler panics
		case todo == answer:
			refuse(w, reason)
		case todo == cut:
			panic(http.ErrAbortHandler) // so that the client does not take what it got for complete
		}
	}()
	next.ServeHTTP(g.writer(), inner)
	returned = true
}

func attrs(r *http.Request, reason error) []slog.Attr {
	return []slog.Attr{slog.String("method", caller.Shorten(r.Method)), slog.String("path", caller.Shorten(r.URL.Path)),
		slog.String("peer", r.RemoteAddr), slog.Int("status", Status(reason))}
}
