package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	patience = time.Minute      // for events that should come soon
	grace    = 30 * time.Second // for a process to end
)

// process is a subcommand in a separate process. Callers can wait for events in its log.
type process struct {
	name string
	cmd  *exec.Cmd

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed by the next event
	seen   int           // events up to the last one that await returned

	stderr bytes.Buffer
	exited chan struct{}
	err    error // how it ended; set before exited is closed
}

// event is a line of a process's log.
type event map[string]any

// has reports whether an event has a message and attributes, given as alternating names and
// values.
func (e event) has(message string, attrs ...string) bool {
	if e["msg"] != message {
		return false
	}
	for i := 0; i < len(attrs); i += 2 {
		if e[attrs[i]] != attrs[i+1] {
			return false
		}
	}
	return true
}

// startProcess runs this program again with other arguments. If verbose is not nil, the log
// goes there too.
func startProcess(name string, verbose io.Writer, args ...string) (*process, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: exec.Command(program, args...), more: make(chan struct{}), exited: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	log, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			if verbose != nil {
				fmt.Fprintf(verbose, "           %s: %s\n", name, lines.Text())
			}
			e := event{}
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				e["msg"] = lines.Text()
			}
			p.add(e)
		}
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) add(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, e)
	close(p.more)
	p.more = make(chan struct{})
}

// await waits for an event after the last one that it returned.
func (p *process) await(ctx context.Context, message string, attrs ...string) (event, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		e, more := p.find(message, attrs)
		if e != nil {
			return e, nil
		}
		select {
		case <-more:
		case <-p.exited:
			return nil, fmt.Errorf("%s ended (%v) before it logged %q %v: %s", p.name, p.err, message, attrs, p.stderr.String())
		case <-ctx.Done():
			return nil, fmt.Errorf("%s did not log %q %v: %w", p.name, message, attrs, ctx.Err())
		}
	}
}

func (p *process) find(message string, attrs []string) (event, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, e := range p.events[p.seen:] {
		if e.has(message, attrs...) {
			p.seen += i + 1
			return e, nil
		}
	}
	return nil, p.more
}

// rewind lets callers wait for earlier events again.
func (p *process) rewind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = 0
}

// none returns an error if there was such an event after the last one that await returned.
func (p *process) none(message string, attrs ...string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events[p.seen:] {
		if e.has(message, attrs...) {
			return fmt.Errorf("%s logged %v", p.name, e)
		}
	}
	return nil
}

// last returns the newest lines of the log.
func (p *process) last(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text strings.Builder
	for _, e := range p.events[max(0, len(p.events)-n):] {
		fmt.Fprintf(&text, "%s: %v\n", p.name, map[string]any(e))
	}
	return text.String()
}

// stop tells the process to end, and waits for it. It returns an error if the process had to
// be killed, or if it failed.
func (p *process) stop() error {
	p.interrupt()
	return p.wait()
}

// interrupt tells the process to end.
func (p *process) interrupt() {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		_ = p.cmd.Process.Kill() // it has ended, or the system has no interrupts
	}
}

// wait waits until the process has ended, and kills it if that takes too long.
func (p *process) wait() error {
	select {
	case <-p.exited:
	case <-time.After(grace):
		_ = p.cmd.Process.Kill()
		<-p.exited
		return fmt.Errorf("%s did not stop within %s", p.name, grace)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, p.stderr.String())
	}
	return nil
}
