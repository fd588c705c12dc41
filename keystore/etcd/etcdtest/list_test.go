package etcdtest

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// between calls do after each page of a list that is not the last one.
func between(config clientv3.Config, do func()) clientv3.Config {
	config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			err := invoke(ctx, method, request, reply, conn, options...)
			if page, ok := reply.(*pb.RangeResponse); ok && err == nil && page.More {
				do()
			}
			return err
		}))
	return config
}

func TestListOfManyPagesIsOneMoment(t *testing.T) {
	const n = 3000
	c := startCluster(t, 1)
	writer := open(t, c.config())
	name := func(i int) string { return fmt.Sprintf("key-%04d", i) }
	first := create(t, writer, "a", name(0), "0")
	fill(t, c, n)
	last := create(t, writer, "z", name(n), "0")
	pages := 0
	reader := open(t, between(c.config(), func() { // changes before and behind what was read
		pages++
		var err error
		last.Data = []byte(strconv.Itoa(pages))
		last, err = writer.Update(t.Context(), last)
		require.NoError(t, err)
		first.Data = last.Data
		first, err = writer.Update(t.Context(), first)
		require.NoError(t, err)
		require.NoError(t, writer.Delete(t.Context(), "m", name(n-pages)))
		create(t, writer, "zz", name(pages), "content")
	}))
	records, err := reader.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, pages, 3)
	require.Len(t, records, n+2)
	for i, r := range records[1 : n+1] {
		require.Equal(t, keystore.Scope("m"), r.Scope)
		require.Equal(t, name(i), r.Name)
	}
	require.Equal(t, "0", string(records[0].Data))
	require.Equal(t, "0", string(records[n+1].Data))
}

// fill puts n small records into scope m.
func fill(tb testing.TB, c *cluster, n int) {
	tb.Helper()
	client := connect(tb, c.config())
	var puts []clientv3.Op
	for i := range n {
		puts = append(puts, clientv3.OpPut(fmt.Sprintf("/meshpass/meshes/m/key-%04d", i), "content"))
		if len(puts) == 100 || i == n-1 { // of 128 that etcd takes
			_, err := client.Txn(context.Background()).Then(puts...).Commit()
			require.NoError(tb, err)
			puts = nil
		}
	}
}

func TestListStartsOverWhenItsMomentWasCompacted(t *testing.T) {
	c := startCluster(t, 1)
	fill(t, c, 3000)
	client := connect(t, c.config())
	var compactions atomic.Int64
	compact := func() {
		response, err := client.Put(t.Context(), "/meshpass/meshes/m/key-0000", "changed")
		require.NoError(t, err)
		_, err = client.Compact(t.Context(), response.Header.Revision)
		require.NoError(t, err)
	}
	store := open(t, between(c.config(), func() {
		if compactions.Add(1) <= 2 {
			compact()
		}
	}))
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 3000)
	require.Equal(t, "changed", string(records[0].Data))

	compactions.Store(0)
	begun, given := 0, 0
	require.NoError(t, store.ListScopes(t.Context(), "", func() keystore.EachScope {
		begun, given = begun+1, 0
		return func(_ keystore.Scope, records []keystore.Record, _ []*keystore.Error) error {
			given += len(records)
			return nil
		}
	}))
	require.Equal(t, 3, begun)
	require.Equal(t, 3000, given)

	always := open(t, between(c.config(), compact))
	_, err = always.List(t.Context(), keystore.AllScopes, "")
	require.ErrorContains(t, err, "compacted")
}

func TestListReadsLargeRecordsInPagesThatSuitThem(t *testing.T) {
	c := startCluster(t, 1)
	config := c.config()
	config.MaxCallRecvMsgSize = 10 << 20
	store := open(t, config)
	for i := range 20 {
		create(t, store, "default", fmt.Sprintf("key-%02d", i), string(make([]byte, etcd.MaxData)))
	}
	records, err := store.List(t.Context(), "default", "")
	require.NoError(t, err)
	require.Len(t, records, 20)
}
