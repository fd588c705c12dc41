// Package audit records decisions about tokens and keys as events on log/slog:
// each token that was issued, renewed or refused, revoked or restored, each cutoff, and
// each key that was created, added or removed. An event never holds a token.
//
// Packages dataplane and zone record their decisions. The context of a call says
// who acts, and where the events go:
//
//	ctx = audit.WithActor(ctx, "alice@example.com")
//	issued, err := issuer.Issue(ctx, claims, day) // the event has actor=alice@example.com
//
// Without [WithLogger], the events of an issuer go to the issuer's logger, and all
// others to slog.Default(). No event is left out: there is no rate limit.
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

// An Action is what an event is about. It is the event's attribute "action".
type Action string

// The actions. CreateKey is for the first key of a mesh or of the zones, AddKey
// for every later one. MakeGlobalList is for the revocation list of a mesh that Kuma reads.
const (
	Issue          Action = "issue"
	Renew          Action = "renew" // a token with the claims and the id of another
	Revoke         Action = "revoke"
	Restore        Action = "restore"
	MakeGlobalList Action = "make global list"
	CreateKey      Action = "create key"
	AddKey         Action = "add key"
	RemoveKey      Action = "remove key"

	CutOff       Action = "cut off"       // revoke all tokens issued before a moment
	RemoveCutoff Action = "remove cutoff" // make them valid again
	Prune        Action = "prune"         // drop the ids of expired tokens from a list
)

// Fork is no decision: a token was used or renewed although a later one with the same id
// had been presented, or that comes of another than the latest one; or the latest one was
// renewed for the third time or more. Expires is that of the token, Before when the latest
// one was made; if the token is later than that, when the latest one was first renewed.
const Fork Action = "fork"

// Event is one decision. Empty fields are left out of the log.
type Event struct {
	Action Action

	// Err is nil if the action was done, and otherwise says why not. After an error
	// of the store, such as a lost connection, the store may still have made the
	// change. The text of Err must not hold a token.
	Err error

	Kind     token.Kind
	Mesh     string
	Name     string // of the proxy, like Type, Workload and Tags
	Type     string
	Workload string
	Tags     map[string][]string
	Zone     string
	Scope    []string // of a zone token
	TokenID  string   // the token's jti
	KeyID    string   // kid of the key that signed, or that was created, added or removed
	Expires  time.Time
	Before   time.Time // the moment of a cutoff, or the floor of a pruning
	Dropped  int       // how many ids a pruning took from the list

	LineageAge   time.Duration // of a renewal: the time since the id was made
	OtherAddress string        // of a fork: from where the latest token was presented first
	Repeated     int           // of a fork: how often the latest token was renewed, if it is this one
}

type contextKey int

const (
	actorKey contextKey = iota
	loggerKey
	addressKey
)

// WithActor returns a context whose events name the actor, such as a user whom
// the caller has authenticated.
func WithActor(ctx context.Context, actor string) context.Context {
	return context.WithValue(ctx, actorKey, actor)
}

// WithLogger returns a context whose events go to log. Without it, the events of
// an issuer go to the logger of the issuer, and all others to slog.Default().
func WithLogger(ctx context.Context, log *slog.Logger) context.Context {
	return context.WithValue(ctx, loggerKey, log)
}

const maxAddress = 256

// WithAddress returns a context whose events name the address from which the peer calls.
// An address that the context has already stays, since a server behind a proxy knows better
// than its connections. Of an address of more than 256 bytes these are taken: it may come from a
// header, and addresses are remembered.
func WithAddress(ctx context.Context, address string) context.Context {
	if address == "" || Address(ctx) != "" {
		return ctx
	}
	if len(address) > maxAddress {
		address = strings.Clone(address[:maxAddress])
	}
	return context.WithValue(ctx, addressKey, address)
}

// Address returns the address of [WithAddress], or "".
func Address(ctx context.Context) string {
	address, _ := ctx.Value(addressKey).(string)
	return address
}

// Log records an event. If Err is nil, the message is "audit: done" at Info.
// Otherwise it is "audit: not done" at Warn, with Err as the attribute "reason". For a
// [Fork] it is "audit: noticed" at Warn. The
// other attributes are action, actor, address, kind, mesh, name, type, workload, tags (as
// JSON), zone, scope, jti, kid, expires and before (RFC 3339), dropped, lineage_age (as Go writes a
// duration, in seconds), other_address and repeated. Empty ones are left out. Text
// with unprintable characters is quoted, and text over 1,024 bytes is cut.
//
// The event goes to the logger of ctx, or else to log. If both are missing, it goes
// to slog.Default().
func Log(ctx context.Context, log *slog.Logger, e Event) {
	if own, _ := ctx.Value(loggerKey).(*slog.Logger); own != nil {
		log = own
	} else if log == nil {
		log = slog.Default()
	}
	level, message := slog.LevelInfo, "audit: done"
	switch {
	case e.Err != nil:
		level, message = slog.LevelWarn, "audit: not done"
	case e.Action == Fork:
		level, message = slog.LevelWarn, "audit: noticed"
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
	text("address", Address(ctx))
	text("kind", string(e.Kind))
	text("mesh", e.Mesh)
	text("name", e.Name)
	text("type", e.Type)
	text("workload", e.Workload)
	if len(e.Tags) > 0 {
		tags, _ := json.Marshal(e.Tags) // never fails; JSON shows where each value ends
		text("tags", string(tags))
	}
	text("zone", e.Zone)
	text("scope", strings.Join(e.Scope, ","))
	text("jti", e.TokenID)
	text("kid", e.KeyID)
	if !e.Expires.IsZero() {
		attrs = append(attrs, slog.String("expires", e.Expires.Format(time.RFC3339)))
	}
	if !e.Before.IsZero() {
		attrs = append(attrs, slog.String("before", e.Before.Format(time.RFC3339)))
	}
	if e.Dropped > 0 {
		attrs = append(attrs, slog.Int("dropped", e.Dropped))
	}
	if e.LineageAge > 0 {
		attrs = append(attrs, slog.String("lineage_age", e.LineageAge.Round(time.Second).String()))
	}
	text("other_address", e.OtherAddress)
	if e.Repeated > 0 {
		attrs = append(attrs, slog.Int("repeated", e.Repeated))
	}
	if e.Err != nil {
		text("reason", e.Err.Error())
	}
	log.LogAttrs(ctx, level, message, attrs...)
}

// printable quotes a value that could forge log lines, and cuts a long one.
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
