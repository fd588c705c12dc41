package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
)

// program stands in for a test where there is none: what starts engines asks for one. It has
// the methods that these functions and testify use.
type program struct {
	testing.TB // nil
	ctx        context.Context
	cleanups   []func()
	failures   []error
}

// leftOut is why something was not run.
type leftOut string

// Error implements error.
func (l leftOut) Error() string { return string(l) }

// errStopped is what program panics with, to leave what it was given to.
var errStopped = errors.New("stopped")

// inProgram calls f, and cleans up as a test does. It returns why f failed, or a leftOut.
func inProgram(ctx context.Context, f func(tb testing.TB)) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &program{ctx: ctx}
	p.guarded(func() { f(p) })
	cancel()
	for len(p.cleanups) > 0 {
		last := p.cleanups[len(p.cleanups)-1]
		p.cleanups = p.cleanups[:len(p.cleanups)-1]
		p.guarded(last)
	}
	return errors.Join(p.failures...)
}

func (p *program) guarded(f func()) {
	defer func() {
		if r := recover(); r != nil && r != errStopped {
			panic(r)
		}
	}()
	f()
}

func (p *program) Helper()                  {}
func (p *program) Name() string             { return "benchmarks" }
func (p *program) Context() context.Context { return p.ctx }
func (p *program) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }
func (p *program) FailNow()                 { panic(errStopped) }

func (p *program) Errorf(format string, args ...any) {
	p.failures = append(p.failures, fmt.Errorf(format, args...))
}

func (p *program) Fatal(args ...any) {
	p.failures = append(p.failures, errors.New(fmt.Sprint(args...)))
	p.FailNow()
}

func (p *program) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }

func (p *program) Skip(args ...any) {
	p.failures = append(p.failures, leftOut(fmt.Sprint(args...)))
	p.FailNow()
}

func (p *program) TempDir() string {
	folder, err := os.MkdirTemp("", "meshpass-benchmarks-")
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(folder) })
	return folder
}
