package serviceaccount_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// logBuffer keeps what is logged, for tests to read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// logger returns a logger that writes here, a line for each record.
func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// count returns how many lines hold all of the texts.
func (b *logBuffer) count(texts ...string) int {
	n := 0
	for line := range strings.Lines(b.String()) {
		holds := true
		for _, text := range texts {
			holds = holds && strings.Contains(line, text)
		}
		if holds {
			n++
		}
	}
	return n
}
