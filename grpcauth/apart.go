package grpcauth

import (
	"runtime"
	"runtime/debug"
)

// outcome is what came of a function in another goroutine.
type outcome struct {
	err      error
	panicked any
	exited   bool // by runtime.Goexit
}

// apart calls a function in a new goroutine, which never blocks on the result. If the
// function panics, it first reports the panic with its stack.
func apart(do func() error, panicked func(value any, stack []byte)) <-chan outcome {
	done := make(chan outcome, 1)
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
		result.err = do()
		result.exited = false
	}()
	return done
}

// here returns, panics or exits the goroutine, as the function did.
func (o outcome) here() error {
	switch {
	case o.panicked != nil:
		panic(o.panicked)
	case o.exited:
		runtime.Goexit()
	}
	return o.err
}
