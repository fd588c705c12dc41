package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	keySetMaxAge  = time.Second     // how long a read answers requests
	keySetTimeout = 5 * time.Second // of a read

	// maxUnknownReads is the maximum number of reads a second for meshes that are not
	// known to have keys: a client may ask for any name.
	maxUnknownReads = 10
)

var errTooManyMeshes = fmt.Errorf("%w: clients asked for more than %d meshes without known keys within a second", token.ErrUnavailable, maxUnknownReads)

// serveKeys answers with a key set.
func (h *handler) serveKeys(ctx context.Context, w http.ResponseWriter, r *http.Request, what Request) error {
	series := signing.ZoneKeys()
	if what.Kind == token.KindDataplane {
		series = signing.DataplaneKeys(what.Mesh)
	}
	set, err := h.keys.get(ctx, series)
	if err != nil {
		return err
	}
	caches := "private"
	if h.publicKeySets {
		caches = "public"
	}
	w.Header().Set("Cache-Control", caches+", max-age=60")
	w.Header().Set("ETag", set.etag)
	if matches(r.Header.Values("If-None-Match"), set.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	if r.Method != http.MethodHead {
		_, _ = w.Write(set.text) // fails only if the client is gone
	}
	return nil
}

// matches reports whether an If-None-Match names the tag (RFC 9110,
// section 13.1.2). Our tags contain no comma.
func matches(ifNoneMatch []string, etag string) bool {
	for tag := range strings.SplitSeq(strings.Join(ifNoneMatch, ","), ",") {
		tag = strings.TrimSpace(tag)
		if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
			return true
		}
	}
	return false
}

// keySets holds key sets. It reads a set when a client asks for it, at most once a
// second. It remembers the meshes that have keys, and for a second those that have
// none.
type keySets struct {
	store keystore.KeyStore
	log   *slog.Logger

	mu      sync.Mutex
	reads   map[signing.Series]*keySetRead // the last read of each
	unknown int                            // reads for unknown meshes, counted from since
	since   time.Time
}

func newKeySets(store keystore.KeyStore, log *slog.Logger) *keySets {
	return &keySets{store: store, log: log, reads: map[signing.Series]*keySetRead{}}
}

// keySetRead is one read of a series. Concurrent requests share it.
type keySetRead struct {
	began time.Time
	done  chan struct{} // closed when the rest is set

	set *keySet // the last successful one, or nil
	err error
}

func (r *keySetRead) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// keySet is a built key set. It is immutable.
type keySet struct {
	public *signing.PublicSet
	text   []byte
	etag   string
}

// get returns a key set that was read within the last second. It waits for a read
// until ctx ends.
func (k *keySets) get(ctx context.Context, series signing.Series) (*keySet, error) {
	read, err := k.read(series)
	if err != nil {
		return nil, err
	}
	select {
	case <-read.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: reading the keys: %w", token.ErrUnavailable, ctx.Err())
	}
	if read.err != nil {
		return nil, read.err
	}
	return read.set, nil
}

// read returns the last read of a series, or starts the next one.
func (k *keySets) read(series signing.Series) (*keySetRead, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	last := k.reads[series]
	if last != nil && (!last.ended() || now.Sub(last.began) < keySetMaxAge) {
		return last, nil
	}
	var previous *keySet
	if last != nil {
		previous = last.set
	}
	if previous == nil && series != signing.ZoneKeys() {
		if now.Sub(k.since) >= time.Second {
			k.since, k.unknown = now, 0
			k.forget(now)
		}
		if k.unknown++; k.unknown == maxUnknownReads+1 {
			k.log.Warn("request failed", slog.String("action", string(Keys)), slog.String("error", errTooManyMeshes.Error()))
		}
		if k.unknown > maxUnknownReads {
			return nil, errTooManyMeshes
		}
	}
	next := &keySetRead{began: now, done: make(chan struct{})}
	k.reads[series] = next
	// Not with the context of the first request: other requests wait for it too.
	go func() {
		defer close(next.done)
		ctx, cancel := context.WithTimeout(context.Background(), keySetTimeout)
		defer cancel()
		next.set, next.err = k.load(ctx, series, previous)
		if errors.Is(next.err, token.ErrUnavailable) { // logged once a read, not once a request
			k.log.Warn("request failed", slog.String("action", string(Keys)), slog.String("kind", string(series.Kind())),
				slog.String("mesh", string(series.Scope())), slog.String("error", next.err.Error()))
		}
	}()
	return next, nil
}

// forget forgets the meshes that had no keys. The limit on reads keeps them few.
func (k *keySets) forget(now time.Time) {
	for series, read := range k.reads {
		if read.ended() && read.set == nil && now.Sub(read.began) >= keySetMaxAge {
			delete(k.reads, series)
		}
	}
}

// load reads a series, and builds its key set unless it is the previous one. A
// failed read returns the previous set too, for the next read.
func (k *keySets) load(ctx context.Context, series signing.Series, previous *keySet) (*keySet, error) {
	records, err := k.store.List(ctx, series.Scope(), series.Prefix())
	unreadable, err := keystore.SplitUnreadable(err)
	if err != nil {
		return previous, fmt.Errorf("%w: reading the keys: %w", token.ErrUnavailable, err)
	}
	var before *signing.PublicSet
	if previous != nil {
		before = previous.public
	}
	public := series.PublicSet(records, unreadable, before)
	keys := readable(public)
	if len(keys) == 0 {
		if len(public.Keys()) > 0 {
			return previous, fmt.Errorf("%w: no key can be read: %w", token.ErrUnavailable, errors.Join(public.Problems()...))
		}
		return nil, signing.ErrNoKey
	}
	log := k.log.With(slog.String("kind", string(series.Kind())), slog.String("mesh", string(series.Scope())))
	if problems := text(public.Problems()); problems != "" && (before == nil || problems != text(before.Problems())) {
		log.Warn("key records with faults", slog.String("problems", problems))
	}
	if previous != nil && slices.EqualFunc(keys, readable(before), func(a, b signing.Key) bool {
		return a.Serial == b.Serial && a.Public == b.Public
	}) {
		return &keySet{public, previous.text, previous.etag}, nil
	}
	set, err := build(public, keys)
	if err != nil {
		return previous, err
	}
	log.Info("built key set", slog.Int("keys", len(keys)))
	return set, nil
}

func readable(public *signing.PublicSet) []signing.Key {
	return slices.DeleteFunc(public.Keys(), func(key signing.Key) bool { return key.Public == nil })
}

func text(problems []error) string {
	if len(problems) == 0 {
		return ""
	}
	return errors.Join(problems...).Error()
}

func build(public *signing.PublicSet, keys []signing.Key) (*keySet, error) {
	byKeyID := make(map[string]*signing.PublicKey, len(keys))
	for _, key := range keys {
		byKeyID[key.Serial.KeyID()] = key.Public
	}
	text, err := jwks.Format(byKeyID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", token.ErrUnavailable, err)
	}
	sum := sha256.Sum256(text)
	return &keySet{public, text, `"` + hex.EncodeToString(sum[:16]) + `"`}, nil
}
