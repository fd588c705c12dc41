package audit_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
)

func Example() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // the same each time
			}
			return a
		},
	}))
	ctx := audit.WithActor(audit.WithLogger(context.Background(), log), "alice@example.com")

	store := keystore.NewMemory()
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		fmt.Println(err)
	}
	if err := dataplane.Revoke(ctx, store, "default", "6baf2c90-0e86-4c62-97a7-7835855834bc"); err != nil {
		fmt.Println(err)
	}
	// Output:
	// level=INFO msg="audit: done" action="create key" actor=alice@example.com kind=dataplane mesh=default kid=1
	// level=INFO msg="audit: done" action=revoke actor=alice@example.com kind=dataplane mesh=default jti=6baf2c90-0e86-4c62-97a7-7835855834bc
}
