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
	patience = time.Minute      // for what ought to happen soon
	grace    = 30 * time.Second // for a process to end when it is told to
)

// process is a subcommand that runs in a process of its own. What it logs can be waited for.
type process struct {
	name string
	cmd  *exec.Cmd

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed by the next event
	seen   int           // events that have been waited for

	stderr bytes.Buffer
	exited chan struct{}
	err    error // how it ended; set before exited is closed
}

// event is a line of a process's log.
type event map[string]any

// has says whether an event has a message, and attributes, given as names and values in turn.
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

// startProcess runs this program again with other arguments. With a writer, the log goes
// there too.
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

// await waits for an event that comes after the one that was waited for before.
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

// rewind lets the events so far be waited for again.
func (p *process) rewind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = 0
}

// none is an error if there has been such an event since the one that was waited for last.
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

// stop tells the process to end, and waits until it has. It is an error if that had to be
// forced, or if the process says that something was wrong.
func (p *process) stop() error {
	p.interrupt()
	return p.wait()
}

// interrupt tells the process to end.
func (p *process) interrupt() {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		_ = p.cmd.Process.Kill() // it has ended, or interrupts do not exist here
	}
}

// wait waits until the process has ended, and forces it to if that takes too long.
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
