package sealed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/meshpass/meshpass/keystore"
)

// openers is how many data keys one List opens at once.
const openers = 16

// Option changes how New and Reseal treat records that are not sealed.
type Option func(*store)

// AcceptPlaintext lets the store return records that are not sealed, while encryption is
// being turned on. The store seals what it writes. AcceptPlaintext gives up the protection
// against write access to the inner store: a planted record that is not sealed, such as a
// signing key or an empty revocation list, counts. A record that begins like a sealed one
// is always opened.
func AcceptPlaintext() Option {
	return func(s *store) { s.acceptPlaintext = true }
}

// WritePlaintext is AcceptPlaintext for the first step of turning encryption on. The store
// can read sealed records but writes without sealing, for processes that cannot read
// sealed records yet. It refuses to write data that begins like a sealed record.
func WritePlaintext() Option {
	return func(s *store) { s.acceptPlaintext, s.writePlaintext = true, true }
}

// New returns a store that keeps its records sealed in the inner store. It is a
// [keystore.Watcher] exactly if the inner store is one. Version, Created and the order of
// records are those of the inner store. So is the limit on Data: [keystore.ErrTooLarge]
// counts the data and what sealing adds. The inner store's promises about concurrency and
// crashes hold for New's store too.
//
// New reads nothing and does not call the sealer. It returns an error if inner or sealer
// is nil. Write to the inner store only through stores made by New and by [Reseal].
func New(inner keystore.KeyStore, sealer Sealer, options ...Option) (keystore.KeyStore, error) {
	switch {
	case inner == nil:
		return nil, errors.New("keystore/sealed: the store is nil")
	case sealer == nil:
		return nil, errors.New("keystore/sealed: the sealer is nil")
	}
	keys := newDataKeys()
	s := &store{inner: inner, sealer: sealer, keys: func() *dataKeys { return keys }}
	for i, option := range options {
		if option == nil {
			return nil, fmt.Errorf("keystore/sealed: option %d of %d is nil", i+1, len(options))
		}
		option(s)
	}
	if watcher, ok := inner.(keystore.Watcher); ok {
		return &watchedStore{store: s, Watcher: watcher}, nil
	}
	return s, nil
}

// store is a sealed store whose inner one cannot be watched.
type store struct {
	inner           keystore.KeyStore
	sealer          Sealer
	acceptPlaintext bool
	writePlaintext  bool

	// A func, since fmt does not look into it.
	keys func() *dataKeys
}

// watchedStore is a sealed store whose inner one can be watched. Announcements need no
// encryption.
type watchedStore struct {
	*store
	keystore.Watcher
}

// unwatched returns the store in what New has made, or nil for any other store.
func unwatched(made keystore.KeyStore) *store {
	switch s := made.(type) {
	case *store:
		return s
	case *watchedStore:
		return s.store
	}
	return nil
}

// Format writes the same words for every verb, and nothing that the store holds.
func (s *store) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "sealed keystore") }

// LogValue logs what Format writes.
func (s *store) LogValue() slog.Value { return slog.StringValue("sealed keystore") }

// Get implements [keystore.KeyStore].
func (s *store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	r, err := s.inner.Get(ctx, scope, name)
	if err != nil {
		return keystore.Record{}, err
	}
	if err := checkPlace(r, scope, name); err != nil {
		return keystore.Record{}, keystore.Failed("open", scope, name, keystore.CannotRead(err))
	}
	if r.Data, err = s.open(ctx, r); err != nil {
		return keystore.Record{}, err
	}
	return r, nil
}

// checkPlace refuses an answer about another record than the one that was asked for. A
// store that folds case may give one, and an envelope would open for the place where it
// was sealed.
func checkPlace(r keystore.Record, scope keystore.Scope, name string) error {
	if r.Scope == scope && r.Name == name {
		return nil
	}
	return fmt.Errorf("%w: the store answered with record %.64q of scope %.64q", ErrAltered, r.Name, string(r.Scope))
}

// List implements [keystore.KeyStore].
func (s *store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := s.inner.List(ctx, scope, prefix)
	unreadable, err := keystore.SplitUnreadable(err)
	if err != nil {
		return nil, err
	}
	bad := slices.Clone(unreadable)
	failures := make([]error, len(records)) // of the records that certainly cannot be opened
	var unknown []int                       // the records whose data keys have to be opened
	for i, r := range records {
		if err := ctx.Err(); err != nil {
			return nil, cannotOpen(r, err)
		}
		if scope != keystore.AllScopes && r.Scope != scope || !strings.HasPrefix(r.Name, prefix) {
			return nil, keystore.Failed("list", scope, "", checkPlace(r, scope, prefix))
		}
		data, known, err := s.openRemembered(r)
		switch {
		case certain(err):
			failures[i] = err
		case err != nil:
			return nil, err
		case known:
			records[i].Data = data
		default:
			unknown = append(unknown, i)
		}
	}
	if err := s.openAll(ctx, records, unknown, failures); err != nil {
		return nil, err
	}
	opened := records[:0]
	for i, r := range records {
		var failed *keystore.Error
		if errors.As(failures[i], &failed) {
			bad = append(bad, failed)
		} else {
			opened = append(opened, r)
		}
	}
	return opened, keystore.Unreadable(bad)
}

// certain reports whether a record cannot be opened for a reason that lies in the record
// and stays. What else a Sealer says may be over in a moment.
func certain(err error) bool {
	return errors.Is(err, ErrNotSealed) || errors.Is(err, ErrAltered) || errors.Is(err, ErrNoKey)
}

// openAll opens the records with these indexes. A record that certainly cannot be opened
// has its error in failures. At any other error openAll stops. It waits for the calls of
// the sealer that are under way.
func (s *store) openAll(ctx context.Context, records []keystore.Record, indexes []int, failures []error) error {
	var (
		workers sync.WaitGroup
		next    atomic.Int64
		failure atomic.Pointer[error]
		opened  = keystore.Progress(ctx)
	)
	for range min(openers, len(indexes)) {
		workers.Go(func() {
			for failure.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(indexes) {
					return
				}
				at := indexes[i]
				data, err := s.open(ctx, records[at])
				opened() // a KMS may be slow
				switch {
				case certain(err):
					failures[at] = err
				case err != nil:
					failure.CompareAndSwap(nil, &err)
					return
				default:
					records[at].Data = data
				}
			}
		})
	}
	workers.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}

// open returns the data of a record of the inner store.
func (s *store) open(ctx context.Context, r keystore.Record) ([]byte, error) {
	data, known, err := s.openRemembered(r)
	if err != nil || known {
		return data, err
	}
	if data, err = s.openAnew(ctx, r); err != nil {
		return nil, cannotOpen(r, err)
	}
	return data, nil
}

// openRemembered returns the data of a record of the inner store if that takes no
// call of the sealer.
func (s *store) openRemembered(r keystore.Record) (data []byte, known bool, err error) {
	e, err := parse(r.Data, r.Scope, r.Name)
	if s.acceptPlaintext && errors.Is(err, ErrNotSealed) {
		return r.Data, true, nil
	}
	if err != nil {
		return nil, false, cannotOpen(r, err)
	}
	dataKey, known := s.keys().get(e.header)
	if !known {
		return nil, false, nil
	}
	if data, err = e.decrypt(dataKey); err != nil {
		return nil, false, cannotOpen(r, err)
	}
	return data, true, nil
}

// openAnew asks the sealer for the data key of a record and returns its data.
func (s *store) openAnew(ctx context.Context, r keystore.Record) ([]byte, error) {
	e, err := parse(r.Data, r.Scope, r.Name)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	opened, err := s.sealer.Open(ctx, e.sealedKey, r.Scope, r.Name)
	if errors.Is(err, ErrNoKey) || errors.Is(err, ErrAltered) {
		return nil, err // its text is about the record
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open its data key: %w", err)
	}
	if len(opened) != dataKeyLength {
		return nil, fmt.Errorf("the sealer returned a data key of %d bytes, want %d", len(opened), dataKeyLength)
	}
	dataKey := [dataKeyLength]byte(opened)
	data, err := e.decrypt(dataKey)
	if err != nil {
		return nil, err
	}
	s.keys().put(e.header, dataKey)
	return data, nil
}

func cannotOpen(r keystore.Record, err error) error {
	if certain(err) {
		err = keystore.CannotRead(err)
	}
	return keystore.Failed("open", r.Scope, r.Name, err)
}

// Create implements [keystore.KeyStore].
func (s *store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return s.write(ctx, "create", r, s.inner.Create)
}

// Update implements [keystore.KeyStore].
func (s *store) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return s.write(ctx, "update", r, s.inner.Update)
}

// write seals a record and writes it with one of the inner store's methods.
func (s *store) write(ctx context.Context, op string, r keystore.Record,
	write func(context.Context, keystore.Record) (keystore.Record, error)) (keystore.Record, error) {

	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed(op, r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, math.MaxInt); err != nil { // the sealer must not get such a name
		return keystore.Record{}, err
	}
	if s.writePlaintext {
		if err := notThisFormat(r.Data); err != ErrNotSealed {
			return keystore.Record{}, keystore.Failed(op, r.Scope, r.Name, errors.New("its data begins like a sealed record"))
		}
		written, err := write(ctx, r)
		if err == nil {
			err = checkWritten(op, written, r)
		}
		if err != nil {
			return keystore.Record{}, err
		}
		return written, nil
	}
	stored, header, dataKey, err := s.seal(ctx, r)
	if err != nil {
		return keystore.Record{}, keystore.Failed(op, r.Scope, r.Name, err)
	}
	written, err := write(ctx, stored)
	if errors.Is(err, keystore.ErrTooLarge) {
		err = fmt.Errorf("%w (%d added by sealing)", err, len(stored.Data)-len(r.Data))
	}
	if err == nil {
		err = checkWritten(op, written, r)
	}
	if err != nil {
		return keystore.Record{}, err
	}
	s.keys().put(header, dataKey)
	written.Data = append([]byte{}, r.Data...)
	return written, nil
}

// checkWritten checks the answer of the inner store to a write.
func checkWritten(op string, written, r keystore.Record) error {
	if err := checkPlace(written, r.Scope, r.Name); err != nil {
		return keystore.Failed(op, r.Scope, r.Name, err)
	}
	return nil
}

// seal returns a record as the inner store is to get it.
func (s *store) seal(ctx context.Context, r keystore.Record) (stored keystore.Record, header []byte, dataKey [dataKeyLength]byte, err error) {
	dataKey = newDataKey()
	given := dataKey // the sealer may change its slice
	sealedKey, err := s.sealer.Seal(ctx, given[:], r.Scope, r.Name)
	if err != nil {
		return stored, nil, dataKey, fmt.Errorf("cannot seal its data key: %w", err)
	}
	if len(sealedKey) == 0 || len(sealedKey) > maxSealedKey {
		return stored, nil, dataKey, fmt.Errorf("the sealer returned a sealed data key of %d bytes, want 1 to %d", len(sealedKey), maxSealedKey)
	}
	header = newHeader(r.Scope, r.Name, sealedKey)
	stored = r
	stored.Data, err = encrypt(header, dataKey, r.Data)
	return stored, header, dataKey, err
}

// Delete implements [keystore.KeyStore].
func (s *store) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	return s.inner.Delete(ctx, scope, name)
}
