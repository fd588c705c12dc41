// Package audit records decisions about tokens and keys as events on log/slog:
// each token that was issued or refused, revoked or restored, and each key that
// was made, added or removed. An event never holds a token.
//
// The packages dataplane and zone record their decisions by themselves. A caller
// says in the context who acts, and where the events go:
//
//	ctx = audit.WithActor(ctx, "alice@example.com")
//	issued, err := issuer.Issue(ctx, claims, day) // the event has actor=alice@example.com
//
// Events are not limited in rate, and none is left out.
package audit

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/meshpass/meshpass/token"
)

// An Action is what was decided about. It is the event's attribute "action".
type Action string

// The actions. A key that signs is created for a new mesh or for the zones, and
// later ones are added.
const (
	Issue     Action = "issue"
	Revoke    Action = "revoke"
	Restore   Action = "restore"
	CreateKey Action = "create key"
	AddKey    Action = "add key"
	RemoveKey Action = "remove key"
)

// Event is one decision. Empty fields are left out of the log.
type Event struct {
	Action Action

	// Err is nil if the action was done, and says otherwise why not. If it is an
	// error of a store, such as a lost connection, the store may have done it all the
	// same. Its text must not hold a token.
	Err error

	Kind     token.Kind
	Mesh     string
	Name     string // of the proxy that may use the token, as are the next three
	Type     string
	Workload string
	Tags     map[string][]string
	Zone     string
	Scope    []string // of a zone token
	TokenID  string   // the token's jti
	KeyID    string   // the kid of the key that signed, or that the action is about
	Expires  time.Time
}

type contextKey int

const (
	actorKey contextKey = iota
	loggerKey
)

// WithActor returns a context for what is done on behalf of an actor, such as a
// user, by the name under which the caller has authenticated them.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey, actor)
}

// WithLogger returns a context whose events go to log. Without it, those of an
// issuer go to its own logger, and all others to slog.Default().
func WithLogger(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey, log)
}

// Log records an event: at Info with the message "audit: done", or at Warn with
// "audit: not done" and the attribute "reason" (which tells refusals from stores
// that did not answer, of which the outcome is not known). The attributes are action, actor,
// kind, mesh, name, type, workload, tags (as JSON), zone, scope, jti, kid and expires
// (RFC 3339), as far as they are known; text with characters that do not print is quoted, and long text is cut
// at 1,024 bytes. The event goes to the context's logger, or else to log, or if that
// is nil to slog.Default().
func Log(ctx context.Context, log *slog.Logger, e Event) {
	if own, _ := ctx.Value(loggerKey).(*slog.Logger); own != nil {
		log = own
	} else if log == nil {
		log = slog.Default()
	}
	level, message := slog.LevelInfo, "audit: done"
	if e.Err != nil {
		level, message = slog.LevelWarn, "audit: not done"
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 16), slog.String("action", string(e.Action)))
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, printable(value)))
		}
	}
	actor, _ := ctx.Value(actorKey).(string)
	text("actor", actor)
	text("kind", string(e.Kind))
	text("mesh", e.Mesh)
	text("name", e.Name)
	text("type", e.Type)
	text("workload", e.Workload)
	if len(e.Tags) > 0 {
		tags, _ := json.Marshal(e.Tags) // never fails; other forms leave open where a value ends
		text("tags", string(tags))
	}
	text("zone", e.Zone)
	text("scope", strings.Join(e.Scope, ","))
	text("jti", e.TokenID)
	text("kid", e.KeyID)
	if !e.Expires.IsZero() {
		attrs = append(attrs, slog.String("expires", e.Expires.Format(time.RFC3339)))
	}
	if e.Err != nil {
		text("reason", e.Err.Error())
	}
	log.LogAttrs(ctx, level, message, attrs...)
}

// printable keeps a value from forging lines of a log.
func printable(value string) string {
	const longest = 1024
	if len(value) > longest {
		value = value[:longest] + "..."
	}
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(value)
	}
	return value
}
