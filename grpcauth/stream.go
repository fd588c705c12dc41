package grpcauth

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// guardedStream is the stream that a handler gets. Once its session has ended, it lets
// nothing through to grpc's stream, which belongs to grpc again when the interceptor has
// returned.
type guardedStream struct {
	stream grpc.ServerStream
	ctx    context.Context // ends with the session
	call   context.Context

	mu     sync.Mutex // also held while headers and trailers are set, which does not block
	reason error      // why the session ended, once that was seen
}

// outcome is how a handler went.
type outcome struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// run calls the handler in a goroutine of its own. It returns the handler's
// result; or, if the session ends first, the status at once, and the reason. It
// tells of a panic where it happens, and panics too unless the session has ended.
//
// When it returns because the session has ended, no method of grpc's stream is in use
// but SendMsg and RecvMsg. Those grpc ends when it has the status: it expects handlers to
// leave some behind, and guards what it shares with them.
func (s *guardedStream) run(handler func() error, panicked func(value any, stack []byte)) (err, reason error) {
	if reason := s.end(); reason != nil {
		return Status(reason).Err(), reason
	}
	done := make(chan outcome, 1) // the goroutine never waits
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
		if s.end() == nil { // the call itself ended, as the handler learns from grpc's stream
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

// end returns why the session ended, nil if it has not. Once it has, it has for good.
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

// unlessOver returns the status if the session has ended, and otherwise does something
// that does not block. The session's end is not acted on meanwhile.
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

// transfer sends or receives. A session that ends meanwhile has the last word.
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
