package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// The exit statuses.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitRefused = 3
)

func main() {
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now, canAsk: isTerminal(os.Stdin)}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// app is one call of the tool: its inputs and outputs, and the flags of all commands.
type app struct {
	in       io.Reader
	inRead   bool // standard input was read
	canAsk   bool // standard input is a terminal
	out, err io.Writer
	report   report // writes to out
	getenv   func(string) string
	now      func() time.Time
	renewer  renewer // in tests, in place of a control plane's client

	store             string
	controlPlane      string
	authTokenFile     string
	caCert            string
	encryptionKeyFile string
	timeout           time.Duration
	verbose           bool
}

// run executes a command line and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	a.report.to = a.out
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(&a.report)
	root.SetErr(a.err)
	correctCobra(root)
	command, err := root.ExecuteContextC(ctx)
	if a.report.err != nil && (err == nil || errors.Is(err, errRefused)) {
		err = a.report.err
	}
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errRefused):
		return exitRefused // the command has said why
	case errors.As(err, &usage):
		more := "; see " + command.CommandPath() + " --help"
		switch text := err.Error(); {
		case strings.Contains(text, "meshpass help"):
			more = ""
		case strings.HasSuffix(text, "?"):
			more = " See" + strings.TrimPrefix(more, "; see")
		}
		a.say("%s%s", err, more)
		return exitUsage
	}
	a.say("%s", err)
	return exitFailed
}

// report writes text for people. It remembers the first error of its writer, such as
// that of a full disk.
type report struct {
	to  io.Writer
	err error
}

func (r *report) Write(text []byte) (int, error) {
	n, err := r.to.Write(text)
	if r.err == nil {
		r.err = err
	}
	return n, err
}

// say writes a line to standard error.
func (a *app) say(format string, args ...any) {
	fmt.Fprintln(a.err, "meshpass: "+oneLine(fmt.Sprintf(format, args...)))
}

// secret matches tokens, PEM, and base64 of PEM, which a user may have given in the
// wrong place.
var secret = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*|-----BEGIN(?s:.*)|LS0tLS1CRUdJTi[A-Za-z0-9+/=]*`)

func isSecret(text string) bool { return secret.MatchString(text) }

// oneLine returns a text without line ends and without secrets.
func oneLine(text string) string {
	return strings.Join(strings.Fields(secret.ReplaceAllString(text, "(a secret)")), " ")
}

// errRefused ends a command when the token is or would be refused.
var errRefused = errors.New("refused")

// usageError is about the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// advised is an error with what to do next.
type advised struct {
	error
	next string
}

func (e *advised) Error() string { return e.error.Error() + "; " + e.next }
func (e *advised) Unwrap() error { return e.error }

func advise(err error, next string, args ...any) error {
	return &advised{err, fmt.Sprintf(next, args...)}
}
