package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/keystore"
)

// MaxData is how many bytes of data the store takes in a record: 1 MiB. etcd takes
// requests of 1.5 MiB unless its --max-request-bytes says otherwise.
const MaxData = 1 << 20

// DefaultPrefix is what the keys of a store begin with unless [WithPrefix] says
// otherwise.
const DefaultPrefix = "/meshpass/"

const (
	// The first page of a list is small, since the size of the records is not known
	// yet. The later ones have about pageBytes.
	firstPage = 8
	maxPage   = 1000
	pageBytes = 2 << 20

	// How often a list begins, if etcd compacts the revision that it reads.
	maxLists = 5
)

// Store is a [keystore.KeyStore] and a [keystore.Watcher] in an etcd cluster. Any
// number of processes may call all methods concurrently. The package comment says what
// it promises. It must be closed.
type Store struct {
	client func() *clientv3.Client // a func, since fmt follows a pointer, down to the password, but not a func
	prefix keyPrefix
}

// Option changes a store that is being opened.
type Option func(*settings)

type settings struct {
	prefix string
}

// WithPrefix sets the beginning of all keys, instead of [DefaultPrefix]. The prefix may
// not be empty. Open adds a slash at its end if there is none. Stores with different
// prefixes share nothing. Open refuses a prefix whose last part is global or meshes: a
// store above it has records there.
func WithPrefix(prefix string) Option {
	return func(s *settings) { s.prefix = prefix }
}

// Close ends all calls and watches, and closes the connections. Later calls return an
// error.
func (s *Store) Close() error {
	if err := s.client().Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("etcd: cannot close the store: %w", err)
	}
	return nil
}

// Get implements [keystore.KeyStore].
func (s *Store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return keystore.Record{}, err
	}
	r, err := s.get(ctx, scope, name)
	if err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	return r, nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one
// consistent view. A key in the folder of a scope whose name no record can have, such as
// one with a blank at its end, is an unreadable record.
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	if prefix != "" && keystore.CheckName(prefix) != nil {
		return nil, nil // no name can begin with it
	}
	var records []keystore.Record
	var unreadable []*keystore.Error
	err := s.list(ctx, scope, prefix, func() keystore.EachScope {
		records, unreadable = nil, nil
		return func(_ keystore.Scope, found []keystore.Record, bad []*keystore.Error) error {
			records, unreadable = append(records, found...), append(unreadable, bad...)
			return nil
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(records, keystore.CompareRecords) // etcd has default-2/ before default/
	return records, keystore.Unreadable(unreadable)
}

// ListScopes implements [keystore.ScopeLister]. The scopes come in the order of their keys,
// and are one consistent view.
func (s *Store) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	if err := ctx.Err(); err != nil {
		return keystore.Failed("list", keystore.AllScopes, "", err)
	}
	if prefix != "" && keystore.CheckName(prefix) != nil {
		begin()
		return nil
	}
	return s.list(ctx, keystore.AllScopes, prefix, begin)
}

// Create implements [keystore.KeyStore]. The time of creation is by the clock of this
// machine, since etcd keeps no times.
func (s *Store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, MaxData); err != nil {
		return keystore.Record{}, err
	}
	r.Created = time.Now().UTC()
	created, err := s.put(ctx, r, 0)
	if err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	return created, nil
}

// Update implements [keystore.KeyStore]. It reads the record before it writes, to
// keep its time of creation.
func (s *Store) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, MaxData); err != nil {
		return keystore.Record{}, err
	}
	updated, err := s.update(ctx, r)
	if err != nil {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
	}
	return updated, nil
}

// Delete implements [keystore.KeyStore].
func (s *Store) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return keystore.Failed("delete", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return err
	}
	err := s.request(ctx, func(ctx context.Context) error {
		_, err := s.client().Delete(ctx, s.prefix.key(scope, name))
		return err
	})
	if err != nil {
		return keystore.Failed("delete", scope, name, writeError(err))
	}
	return nil
}

func (s *Store) get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	response, err := s.read(ctx, s.prefix.key(scope, name))
	if err != nil {
		return keystore.Record{}, err
	}
	if len(response.Kvs) == 0 {
		return keystore.Record{}, keystore.ErrNotFound
	}
	r, err := record(scope, name, response.Kvs[0])
	if err != nil {
		return keystore.Record{}, keystore.CannotRead(err)
	}
	return r, nil
}

// update is Update without the checks.
func (s *Store) update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	current, err := s.get(ctx, r.Scope, r.Name)
	if err != nil {
		return keystore.Record{}, err
	}
	if r.Version != current.Version {
		return keystore.Record{}, keystore.ErrConflict
	}
	revision, err := strconv.ParseInt(current.Version, 10, 64)
	if err != nil {
		return keystore.Record{}, err
	}
	r.Created = current.Created
	return s.put(ctx, r, revision)
}

// put writes the record if its key was last changed at the revision; 0 is the
// revision of a key that does not exist.
func (s *Store) put(ctx context.Context, r keystore.Record, revision int64) (keystore.Record, error) {
	key, value := s.prefix.key(r.Scope, r.Name), encode(r.Created, r.Data)
	var response *clientv3.TxnResponse
	err := s.request(ctx, func(ctx context.Context) (err error) {
		response, err = s.client().Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
			Then(clientv3.OpPut(key, string(value))).
			Else(clientv3.OpGet(key)).
			Commit()
		return err
	})
	if err != nil {
		return keystore.Record{}, writeError(err)
	}
	r = r.Clone()
	if response.Succeeded {
		r.Version = strconv.FormatInt(response.Header.Revision, 10)
		return r, nil
	}
	found := response.Responses[0].GetResponseRange().Kvs
	switch {
	case len(found) == 1 && bytes.Equal(found[0].Value, value):
		// No other write has this value, so the request has reached etcd twice. The client
		// sends it again after certain errors, and a proxy might too.
		r.Version = strconv.FormatInt(found[0].ModRevision, 10)
		return r, nil
	case revision == 0:
		return keystore.Record{}, keystore.ErrExists
	case len(found) == 0:
		return keystore.Record{}, keystore.ErrNotFound
	}
	return keystore.Record{}, keystore.ErrConflict
}

// list lists a scope, or all, in parts. It begins anew if etcd compacts the revision that it
// reads.
func (s *Store) list(ctx context.Context, scope keystore.Scope, prefix string, begin func() keystore.EachScope) error {
	for range maxLists - 1 {
		if err := s.listOnce(ctx, scope, prefix, begin()); !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
	}
	return s.listOnce(ctx, scope, prefix, begin())
}

// listOnce reads in pages, so that neither etcd nor the client holds a huge response. All
// pages have the revision of the first one, and so are of one moment.
func (s *Store) listOnce(ctx context.Context, scope keystore.Scope, prefix string, each keystore.EachScope) error {
	start := s.prefix.folder(scope)
	if scope != keystore.AllScopes {
		start += prefix
	}
	end := clientv3.GetPrefixRangeEnd(start)

	var part struct { // of the scope that is being read; all its keys come together
		scope      keystore.Scope
		records    []keystore.Record
		unreadable []*keystore.Error
	}
	give := func() error {
		if len(part.records)+len(part.unreadable) == 0 {
			return nil
		}
		slices.SortFunc(part.records, keystore.CompareRecords)
		_ = keystore.Unreadable(part.unreadable) // sorts them, and makes each match ErrUnreadable
		err := each(part.scope, part.records, part.unreadable)
		part.records, part.unreadable = part.records[:0], nil
		return err
	}
	progressed := keystore.Progress(ctx)
	var revision int64 // 0 is the latest
	var keys, size int
	for limit := firstPage; ; limit = min(max(pageBytes/(1+size/keys), 1), maxPage) {
		page, err := s.read(ctx, start, clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(int64(limit)))
		if err != nil {
			return keystore.Failed("list", scope, "", err)
		}
		progressed()
		for _, kv := range page.Kvs {
			keys++
			size += len(kv.Value)
			of, name, ok := s.prefix.parse(kv.Key)
			if !ok || !strings.HasPrefix(name, prefix) {
				continue
			}
			if of != part.scope {
				if err := give(); err != nil {
					return err
				}
				part.scope = of
			}
			r, err := record(of, name, kv)
			if err != nil {
				part.unreadable = append(part.unreadable, &keystore.Error{Op: "read", Scope: of, Name: name, Err: err})
				continue
			}
			part.records = append(part.records, r)
		}
		if !page.More {
			return give()
		}
		if revision == 0 {
			revision = page.Header.Revision
		}
		start = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// record returns the record in a key's value, whose memory it takes over.
func record(scope keystore.Scope, name string, kv *mvccpb.KeyValue) (keystore.Record, error) {
	if err := keystore.CheckName(name); err != nil {
		return keystore.Record{}, fmt.Errorf("key %q: %w", kv.Key, err)
	}
	created, data, err := decode(kv.Value)
	if err != nil {
		return keystore.Record{}, fmt.Errorf("key %q: %w", kv.Key, err)
	}
	return keystore.Record{
		Scope:   scope,
		Name:    name,
		Data:    data,
		Version: strconv.FormatInt(kv.ModRevision, 10),
		Created: created,
	}, nil
}
