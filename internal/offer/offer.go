// Package offer lets a session end a context that a server has made anyway, so that the
// session needs none of its own.
package offer

import (
	"context"
	"sync/atomic"
)

// Context is a context that a server offers to the session that it binds to it.
type Context struct {
	context.Context
	end   context.CancelCauseFunc
	state atomic.Int32
}

// The states of an offer.
const (
	open int32 = iota
	taken
	withdrawn
)

// New offers a context. The first session that is bound to it takes it: the session ends it
// with end, and derives no other. end may be called more than once and concurrently, and
// must not block. The reason is nil if the session is released.
func New(ctx context.Context, end context.CancelCauseFunc) *Context {
	return &Context{Context: ctx, end: end}
}

// Withdraw ends the offer, so that nothing that is bound to the context later ends it.
func (c *Context) Withdraw() { c.state.Store(withdrawn) }

// Take returns the context that was offered, and the function that ends it. ok is false if
// ctx is not offered, or no longer: then a session derives a context from it.
func Take(ctx context.Context) (offered context.Context, end context.CancelCauseFunc, ok bool) {
	c, is := ctx.(*Context)
	if !is || !c.state.CompareAndSwap(open, taken) {
		return nil, nil, false
	}
	return c.Context, c.end, true
}

// End returns the function that ends a context that a session has taken, for one more who
// may end it. ok is false if none has, or if the offer is withdrawn.
func End(ctx context.Context) (end context.CancelCauseFunc, ok bool) {
	c, is := ctx.(*Context)
	if !is || c.state.Load() != taken {
		return nil, false
	}
	return c.end, true
}
