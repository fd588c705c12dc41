package keystore

import "context"

// progressKey is the key of a context's function that hears of progress.
type progressKey struct{}

// WithProgress returns a context for a List, whose store calls progressed each time that
// it gets on. A caller that limits the time of a List can so tell a long one from one
// that hangs. progressed is called by any goroutine and must not block.
func WithProgress(ctx context.Context, progressed func()) context.Context {
	return context.WithValue(ctx, progressKey{}, progressed)
}

// Progress returns the function that a List calls after each part that it has read, such
// as a page, a row or a file. A validator gives up a List that neither ends nor gets on
// for 5 s. If the caller does not ask for progress, the function does nothing.
func Progress(ctx context.Context) func() {
	if progressed, ok := ctx.Value(progressKey{}).(func()); ok {
		return progressed
	}
	return func() {}
}
