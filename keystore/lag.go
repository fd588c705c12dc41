package keystore

import (
	"context"
	"sync/atomic"
)

// lagKey is the key of a context's lag.
type lagKey struct{}

// lag is whether an answer may be behind.
type lag struct {
	noted atomic.Bool
	outer *lag // of who called the caller, or nil
}

// WithLag returns a context for a Get, a List or a [ListScopes], and a function that reports
// after this call whether the store's answer may lack what was written before the call: it
// came from a copy of the engine's data that is behind, such as a standby of a database. From
// such an answer no caller can tell that there is no record. Once the function has reported
// true it does so for every later call with this context. It does not block, and any goroutine
// may call it.
func WithLag(ctx context.Context) (_ context.Context, mayLag func() bool) {
	l := &lag{}
	l.outer, _ = ctx.Value(lagKey{}).(*lag)
	return context.WithValue(ctx, lagKey{}, l), l.noted.Load
}

// NoteLag is called by a store before a Get, a List or a ListScopes returns an answer that may
// lack what was written before the call. ctx is the context of the call; a store that wraps
// another one only has to pass it on. NoteLag does not block, and any goroutine may call it.
func NoteLag(ctx context.Context) {
	for l, _ := ctx.Value(lagKey{}).(*lag); l != nil; l = l.outer {
		l.noted.Store(true)
	}
}
