package grpcauth

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// guardedStream is the stream that a handler uses. After the end of the session it
// no longer calls grpc's stream, which belongs to grpc again after the interceptor
// has returned.
type guardedStream struct {
	stream grpc.ServerStream
	ctx    context.Context // ends with the session
	call   context.Context

	mu     sync.Mutex // also held while headers and trailers are set, which does not block
	reason error      // set when the end of the session is first seen
}

// outcome is the result of a handler.
type outcome struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// run calls the handler in a new goroutine and returns its result. If the session
// ends first, run returns the status and the reason at once. If the handler panics,
// run reports the panic with its stack, and panics too unless the session has ended.
//
// When run returns at the end of the session, only SendMsg and RecvMsg of grpc's
// stream may still be running. grpc ends them when it has the status: it expects
// that handlers leave such calls running, and synchronises the shared state.
func (s *guardedStream) run(handler func() error, panicked func(value any, stack []byte)) (err, reason error) {
	if reason := s.end(); reason != nil {
		return Status(reason).Err(), reason
	}
	done := make(chan outcome, 1) // buffered: the goroutine never blocks
	go func() {
		result := outcome{exited: true}
		defer func() {
			if result.exited {
				if result.panicked = recover(); result.panicked != nil {
					panicked(result.panicked, debug.Stack())
				}
			}
			done <- result
		}()
		result.err = handler()
		result.exited = false
	}()

	var result outcome
	select {
	case result = <-done:
	case <-s.ctx.Done():
		if s.end() == nil { // the call ended: grpc's stream tells the handler
			result = <-done
		}
	}
	if reason := s.end(); reason != nil {
		return Status(reason).Err(), reason
	}
	switch {
	case result.panicked != nil:
		panic(result.panicked)
	case result.exited:
		runtime.Goexit()
	}
	return result.err, nil
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
