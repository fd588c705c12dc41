package httpauth

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// grace is how long a handler whose context has ended may take to return. After that its
// connection or stream is ended for it.
const grace = 250 * time.Millisecond

// past is a deadline that fails what waits for it.
var past = time.Unix(1, 0)

// guard ends a response with the session. Until then it passes on the calls of the handler
// and counts those that may block. After the end they fail, and the real ResponseWriter is
// the guard's as soon as those in progress have returned.
type guard struct {
	of      http.ResponseWriter
	control *http.ResponseController
	header  http.Header // that the response had before the handler
	http1   bool
	http10  bool

	end     context.CancelCauseFunc // of the handler's context
	release func()                  // of the session
	unwatch func() bool

	left chan struct{} // closed when the handler has returned
	over chan struct{} // closed when the end of the session is dealt with

	mu       sync.Mutex
	reason   error // of the end of the session
	wrote    bool  // the response has begun
	inFlight int
	idle     chan struct{} // closed when inFlight is 0 after the end
	conn     *conn         // that the handler has hijacked
	taken    bool          // the guard has closed the connection
}

func newGuard(w http.ResponseWriter, r *http.Request, end context.CancelCauseFunc, release func()) *guard {
	return &guard{
		of: w, control: http.NewResponseController(w), header: maps.Clone(w.Header()), http1: r.ProtoMajor == 1, http10: !r.ProtoAtLeast(1, 1),
		end: end, release: sync.OnceFunc(release),
		left: make(chan struct{}), over: make(chan struct{}), idle: make(chan struct{}),
	}
}

// watch ends the response when the session ends, and calls ended with the reason. It calls
// stuck if the response cannot be ended.
func (g *guard) watch(session context.Context, ended, stuck func(reason error)) {
	g.unwatch = context.AfterFunc(session, func() {
		defer close(g.over)
		reason := context.Cause(session)
		open := g.finish(reason)
		ended(reason)
		if open && !g.force() {
			stuck(reason)
		}
	})
}

// finish makes the calls of the handler fail, also those in progress, and closes a
// connection that the handler has hijacked. It reports whether the handler still has to
// return.
func (g *guard) finish(reason error) (open bool) {
	g.mu.Lock()
	g.reason = fmt.Errorf("httpauth: the session has ended: %w", reason)
	wrote, hijacked := g.wrote, g.conn
	if g.inFlight == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	g.end(reason)
	if hijacked != nil {
		abort(hijacked.Conn)
		g.release()
		return false
	}
	// If the response has not begun, it can still be an answer.
	_ = g.control.SetReadDeadline(past)
	if wrote {
		_ = g.control.SetWriteDeadline(past)
	}
	return true
}

// force ends the response of a handler that does not return. It reports whether it could.
func (g *guard) force() bool {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-g.left:
		return true
	case <-timer.C:
	}
	g.mu.Lock()
	hijacked := g.conn != nil
	g.mu.Unlock()
	if hijacked { // while the session ended, and closed then
		return true
	}
	err := g.control.SetWriteDeadline(past) // on HTTP/2 it resets the stream
	if err != nil || !g.http1 {
		return err == nil
	}
	select {
	case <-g.left:
		return true
	case <-g.idle:
	}
	return g.take(abort)
}

// take closes the connection of a response of HTTP/1, and reports whether it could. No call
// of the handler may be in progress.
func (g *guard) take(shut func(net.Conn)) bool {
	conn, _, err := g.control.Hijack()
	if err != nil {
		return false
	}
	g.mu.Lock()
	g.taken = true
	g.mu.Unlock()
	shut(conn)
	return true
}

// What is left to do after the handler.
type rest int

const (
	nothing rest = iota
	answer       // the response has not begun: say why
	cut          // abort it
)

// leave says that the handler has returned. It returns what is left to do. The session is
// released unless a hijacked connection is open.
func (g *guard) leave() rest {
	close(g.left)
	g.mu.Lock()
	hijacked, reason := g.conn != nil, g.reason
	g.mu.Unlock()
	if hijacked && reason == nil {
		return nothing // Close of the connection, or the end of the session, releases it
	}
	if !hijacked && g.unwatch() {
		g.release()
		return nothing
	}
	<-g.over
	g.release()
	g.mu.Lock()
	wrote, taken := g.wrote, g.taken
	g.mu.Unlock()
	switch {
	case hijacked || taken:
		return nothing
	case wrote && g.http10 && g.take(reset): // the end of the connection would be that of the body
		return nothing
	case wrote:
		return cut
	}
	header := g.of.Header()
	clear(header)
	maps.Copy(header, g.header)
	if g.http1 {
		header.Set("Connection", "close") // no more is read from it
	}
	return answer
}

// begin counts a call that may block. It returns an error if the session has ended.
// isResponse says that the response begins with it.
func (g *guard) begin(isResponse bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != nil {
		return g.reason
	}
	g.wrote = g.wrote || isResponse
	g.inFlight++
	return nil
}

// done counts down after begin. It returns an error if the session ended meanwhile.
func (g *guard) done() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if g.reason != nil && g.inFlight == 0 {
		close(g.idle)
	}
	return g.reason
}

// unlessOver calls do, which must not block, unless the session has ended.
func (g *guard) unlessOver(do func() error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != nil {
		return g.reason
	}
	return do()
}

// hijack hands the connection to the handler, and keeps it to close it.
func (g *guard) hijack() (net.Conn, *bufio.ReadWriter, error) {
	if err := g.begin(false); err != nil {
		return nil, nil, err
	}
	defer func() { _ = g.done() }()
	raw, buffered, err := g.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn = &conn{Conn: raw, guard: g}
	if g.reason != nil {
		abort(raw)
		return nil, nil, g.reason
	}
	return g.conn, buffered, nil
}

// abort closes a connection at once. It does not say goodbye in TLS, which could block, so
// that the peer can tell the end from a regular one.
func abort(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	_ = c.Close()
}

// reset closes a connection so that the peer gets an error instead of an end, if it can.
func reset(c net.Conn) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
