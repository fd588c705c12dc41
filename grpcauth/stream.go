package grpcauth

import (
	"context"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/internal/offer"
)

// guardedStream is the stream that a handler uses. After the end of the session it
// no longer calls grpc's stream, to which the status has then been given.
type guardedStream struct {
	stream   grpc.ServerStream
	ctx      context.Context // ends with the session
	call     context.Context
	of       *interceptor
	method   string
	identity Identity
	cancel   context.CancelCauseFunc // of ctx, or of its parent

	mu     sync.Mutex // also held while headers and trailers are set, which does not block
	reason error      // set when the end of the session is first seen

	logged sync.Once

	transport statusWriter // that takes the status at the end of the session
	serving   sync.Mutex   // not held while code of others runs: whoever ends a session needs it
	here      bool         // serveHere is running
	writing   sync.WaitGroup
}

// statusWriter is a stream of grpc's transports that ends with a status. Their type is
// internal to grpc, so another version of grpc may not have this method.
type statusWriter interface {
	WriteStatus(*status.Status) error
}

// bind binds the session to a context for the handler. It offers that context, so that a
// session of this module needs none of its own. It returns a function that releases both.
func (s *guardedStream) bind() func() {
	ctx, cancel := context.WithCancelCause(NewContext(s.call, s.identity))
	s.ctx, s.cancel = ctx, cancel
	offered := offer.New(ctx, s.ended)
	bound, release := s.identity.Bind(offered)
	offered.Withdraw()
	if bound == ctx {
		return release // ends the context too
	}
	if bound != context.Context(offered) {
		s.ctx = bound
	}
	stop := context.AfterFunc(s.ctx, func() { s.ended(context.Cause(s.ctx)) })
	return func() {
		stop()
		release()
		cancel(nil)
	}
}

// ended ends the context with the session. While serveHere is running, it also has the
// status written.
func (s *guardedStream) ended(reason error) {
	s.cancel(reason)
	s.serving.Lock()
	defer s.serving.Unlock()
	if s.here {
		s.writing.Go(func() {
			if s.end() != nil { // else the call ended, which grpc handles
				_ = s.transport.WriteStatus(s.over()) // it fails if the peer can no longer be told
			}
		})
	}
}

// serve calls the handler and returns its result. If the session ends first, the peer
// gets the status at once, and serve returns it.
func (s *guardedStream) serve(handler func() error) error {
	transport, ok := grpc.ServerTransportStreamFromContext(s.call).(statusWriter)
	if !ok || s.of.separate {
		return s.serveApart(handler)
	}
	s.transport = transport
	return s.serveHere(handler)
}

// serveHere calls the handler. At the end of the session the status is written to the
// transport while the handler still runs. To grpc that is the end of the call: calls of
// the stream in progress return, later writes of a status do nothing, and all that they
// share is synchronised, since a failing SendMsg or RecvMsg of any goroutine does the same.
func (s *guardedStream) serveHere(handler func() error) (err error) {
	if s.begin(); s.end() != nil {
		s.leave()
		return s.over().Err()
	}
	returned := false
	defer func() {
		s.leave()
		over := s.end() != nil
		if !returned {
			if value := recover(); value != nil {
				s.of.logPanic(s.call, "handler", s.method, value, debug.Stack())
				if !over {
					panic(value)
				}
			}
		}
		if over {
			err = s.over().Err()
		}
	}()
	err = handler()
	returned = true
	return err
}

func (s *guardedStream) begin() {
	s.serving.Lock()
	defer s.serving.Unlock()
	s.here = true
}

// leave waits until the stream is left alone from now on.
func (s *guardedStream) leave() {
	s.serving.Lock()
	s.here = false
	s.serving.Unlock()
	s.writing.Wait()
}

// serveApart calls the handler in a new goroutine. At the end of the session it returns
// at once, so that grpc writes the status.
//
// Then only SendMsg and RecvMsg of grpc's stream may still be running. grpc ends them
// when it has the status: it expects that handlers leave such calls running, and
// synchronises the shared state.
func (s *guardedStream) serveApart(handler func() error) error {
	if s.end() != nil {
		return s.over().Err()
	}
	done := apart(handler, func(value any, stack []byte) { s.of.logPanic(s.call, "handler", s.method, value, stack) })
	var result outcome
	select {
	case result = <-done:
	case <-s.ctx.Done():
		if s.end() == nil { // the call ended: grpc's stream tells the handler
			result = <-done
		}
	}
	if s.end() != nil {
		return s.over().Err()
	}
	return result.here()
}

// over returns the status of a session that has ended. It first logs the end, once.
func (s *guardedStream) over() *status.Status {
	s.logged.Do(func() { s.of.logEnd(s.call, s.method, s.identity, s.reason) })
	return Status(s.reason)
}

// end returns why the session ended, or nil. A reason, once set, does not change.
func (s *guardedStream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endLocked()
}

func (s *guardedStream) endLocked() error {
	if s.reason == nil {
		s.reason = endOfSession(s.ctx, s.call)
	}
	return s.reason
}

// unlessOver returns the status if the session has ended. Otherwise it calls
// do, which must not block, and holds mu until do returns.
func (s *guardedStream) unlessOver(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reason := s.endLocked(); reason != nil {
		return Status(reason).Err()
	}
	return do()
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (s *guardedStream) SetHeader(md metadata.MD) error {
	return s.unlessOver(func() error { return s.stream.SetHeader(md) })
}

func (s *guardedStream) SendHeader(md metadata.MD) error {
	return s.unlessOver(func() error { return s.stream.SendHeader(md) })
}

func (s *guardedStream) SetTrailer(md metadata.MD) {
	_ = s.unlessOver(func() error {
		s.stream.SetTrailer(md)
		return nil
	})
}

func (s *guardedStream) SendMsg(m any) error { return s.transfer(s.stream.SendMsg, m) }
func (s *guardedStream) RecvMsg(m any) error { return s.transfer(s.stream.RecvMsg, m) }

// transfer sends or receives. If the session ends meanwhile, it returns the
// status.
func (s *guardedStream) transfer(move func(any) error, m any) error {
	if reason := s.end(); reason != nil {
		return Status(reason).Err()
	}
	err := move(m)
	if reason := s.end(); reason != nil {
		return Status(reason).Err()
	}
	return err
}
