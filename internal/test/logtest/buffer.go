// Package logtest lets tests read what was logged.
package logtest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Buffer is a log that may be read while it is written.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Reset forgets what was logged.
func (b *Buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}

// Logger returns a logger that writes here, a line for each record of any level.
func (b *Buffer) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Last returns the last ten lines, each cut, for the message of a test that fails.
func (b *Buffer) Last() string {
	lines := strings.SplitAfter(b.String(), "\n")
	var last strings.Builder
	for _, line := range lines[max(0, len(lines)-11):] {
		if len(line) > 300 {
			line = line[:300] + "...\n"
		}
		last.WriteString(line)
	}
	return last.String()
}

// Count returns how many lines hold all of the texts.
func (b *Buffer) Count(texts ...string) (n int) {
lines:
	for line := range strings.Lines(b.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}
