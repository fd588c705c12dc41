package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/etcd"
	"github.com/meshpass/meshpass/keystore/postgres"
)

// The stores that replicas can share.
const (
	storeDir      = "directory"
	storeEtcd     = "etcd"
	storePostgres = "PostgreSQL"
)

// Storage says where a store is, to other processes too.
type Storage struct {
	Kind string
	At   string // path, address or connection string
}

// newStorage makes an empty store, and what it needs. It ends with the test.
func newStorage(tb testing.TB, kind string) Storage {
	tb.Helper()
	switch kind {
	case storeDir:
		return Storage{kind, tb.TempDir()}
	case storeEtcd:
		return Storage{kind, engines.NewEtcd(tb)}
	case storePostgres:
		at := engines.NewPostgres(tb).NewDatabase(tb)
		pool, err := pgxpool.New(tb.Context(), at)
		require.NoError(tb, err)
		defer pool.Close()
		store, err := postgres.New(pool)
		require.NoError(tb, err)
		require.NoError(tb, store.Migrate(tb.Context()))
		return Storage{kind, at}
	default:
		tb.Fatalf("there is no store %q", kind)
		return Storage{}
	}
}

// open opens the store, as each replica and the operator do.
func (s Storage) open(ctx context.Context) (_ watched, stop func(), err error) {
	switch s.Kind {
	case storeDir:
		store, err := dir.Open(s.At)
		return store, func() {}, err
	case storeEtcd:
		store, err := etcd.Open(ctx, clientv3.Config{Endpoints: []string{"http://" + s.At}})
		if err != nil {
			return nil, nil, err
		}
		return store, func() { store.Close() }, nil
	case storePostgres:
		pool, err := pgxpool.New(ctx, s.At)
		if err != nil {
			return nil, nil, err
		}
		store, err := postgres.New(pool)
		return store, pool.Close, err
	default:
		return nil, nil, fmt.Errorf("there is no store %q", s.Kind)
	}
}
