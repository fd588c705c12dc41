package etcd_test

import (
	"context"
	"crypto/tls"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// nowhere is a configuration for an address at which nobody listens.
var nowhere = clientv3.Config{Endpoints: []string{"http://127.0.0.1:1"}}

func TestOpenRefusesWhatItCannotUseAndNamesIt(t *testing.T) {
	for wanted, c := range map[string]struct {
		config  clientv3.Config
		options []etcd.Option
	}{
		"no Endpoints":                   {},
		"endpoint 2 is empty":            {config: clientv3.Config{Endpoints: []string{"http://a:1", ""}}},
		"endpoint 1 has an @":            {config: clientv3.Config{Endpoints: []string{"http://user:secret@a:1"}}},
		"without TLS":                    {config: clientv3.Config{Endpoints: []string{"http://a:1"}, TLS: &tls.Config{}}},
		`"HTTP://b:1" is without TLS`:    {config: clientv3.Config{Endpoints: []string{"a:1", "HTTP://b:1"}, TLS: &tls.Config{}}},
		`"http://a:1" and "https://b:1"`: {config: clientv3.Config{Endpoints: []string{"http://a:1", "https://b:1"}}},
		`"HTTPS://a:1" and "b:1"`:        {config: clientv3.Config{Endpoints: []string{"HTTPS://a:1", "b:1"}}},
		"one of Username and":            {config: clientv3.Config{Endpoints: []string{"http://a:1"}, Password: "secret"}},
		"Username and Password":          {config: clientv3.Config{Endpoints: []string{"http://a:1"}, Username: "secret"}},
		"option 1 of 1 is nil":           {config: nowhere, options: []etcd.Option{nil}},
		"the prefix is empty":            {config: nowhere, options: []etcd.Option{etcd.WithPrefix("")}},
		`"/a/meshes/" ends in`:           {config: nowhere, options: []etcd.Option{etcd.WithPrefix("/a/meshes")}},
		`"/a/global/" ends in`:           {config: nowhere, options: []etcd.Option{etcd.WithPrefix("/a/global/")}},
		`"meshes/" ends in meshes/`:      {config: nowhere, options: []etcd.Option{etcd.WithPrefix("meshes")}},
	} {
		store, err := etcd.Open(t.Context(), c.config, c.options...)
		require.ErrorContains(t, err, wanted)
		require.NotContains(t, err.Error(), "secret")
		require.Nil(t, store)
	}
}

func TestOpenDoesNotWaitForEtcdUnlessItNeedsAToken(t *testing.T) {
	store, err := etcd.Open(t.Context(), nowhere)
	require.NoError(t, err)
	require.NoError(t, store.Close())

	config := nowhere
	config.Username, config.Password = "user", "secret"
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = etcd.Open(ctx, config)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "secret")

	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	for _, config := range []clientv3.Config{nowhere, config} {
		_, err = etcd.Open(ctx, config)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestStoreNeverAsksEtcdForWhatIsNoName(t *testing.T) {
	store, err := etcd.Open(t.Context(), nowhere)
	require.NoError(t, err)
	defer store.Close()
	_, err = store.Get(t.Context(), "default", "../key")
	require.ErrorIs(t, err, keystore.ErrName)
	_, err = store.List(t.Context(), "a/b", "")
	require.ErrorIs(t, err, keystore.ErrName)
	records, err := store.List(t.Context(), keystore.AllScopes, "a/b")
	require.NoError(t, err)
	require.Empty(t, records)
	_, err = store.Create(t.Context(), keystore.Record{Name: "key-1", Data: make([]byte, etcd.MaxData+1)})
	require.ErrorIs(t, err, keystore.ErrTooLarge)
}
