package etcdtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// TestMain also is what the processes that tests start do: see storetest.Child and
// serveAsChild.
func TestMain(m *testing.M) {
	switch {
	case storetest.Child(openStorage):
	case serveAsChild():
	default:
		os.Exit(m.Run())
	}
}

// storage is how another process finds a store.
type storage struct {
	Endpoints []string
	Prefix    string
}

func openStorage(encoded string) (keystore.KeyStore, error) {
	var s storage
	if err := json.Unmarshal([]byte(encoded), &s); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return etcd.Open(context.Background(), clientv3.Config{Endpoints: s.Endpoints}, etcd.WithPrefix(s.Prefix))
}
