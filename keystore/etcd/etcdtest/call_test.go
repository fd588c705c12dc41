package etcdtest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

func TestStoreDoesNotRefuseAWriteThatReachesEtcdTwice(t *testing.T) {
	config := startCluster(t, 1).config()
	var repeated atomic.Int64
	config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			if _, ok := request.(*pb.TxnRequest); ok {
				repeated.Add(1)
				if err := invoke(ctx, method, request, new(pb.TxnResponse), conn, options...); err != nil {
					return err
				}
			}
			return invoke(ctx, method, request, reply, conn, options...)
		}))
	store := open(t, config)
	r := create(t, store, "default", "key-1", "content")
	got, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, r, got)
	for range 2 { // the second time without a change
		r.Data = []byte("new content")
		r, err = store.Update(t.Context(), r)
		require.NoError(t, err)
		got, err = store.Get(t.Context(), "default", "key-1")
		require.NoError(t, err)
		require.Equal(t, r, got)
	}
	require.EqualValues(t, 3, repeated.Load())
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("new content")})
	require.ErrorIs(t, err, keystore.ErrExists)
}

func TestStoreReturnsTheErrorOfADeadlineThatEtcdSeesFirst(t *testing.T) {
	config := startCluster(t, 1).config()
	config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			for deadline, _ := ctx.Deadline(); time.Now().Before(deadline); { // without a pause, to be back before the context's timer
			}
			return rpctypes.ErrGRPCTimeout // what a member answers then
		}))
	store := open(t, config)
	for range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1"})
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
}

// The client tells of its own timer, or of a member that has ended the stream just before.
func TestStoreSaysThatNoMemberAnswersWhoeverSeesTheDeadlineFirst(t *testing.T) {
	for _, answer := range []error{
		status.Error(codes.DeadlineExceeded, context.DeadlineExceeded.Error()),
		status.Error(codes.Canceled, "stream terminated by RST_STREAM with error code: CANCEL"),
	} {
		config := startCluster(t, 1).config()
		config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
				<-ctx.Done()
				return answer
			}))
		store := open(t, config)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := store.List(ctx, "default", "")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "without a majority of the members none does")
	}
}

func TestStoreAnswersReadsWhileOneMemberIsCutOff(t *testing.T) {
	c := startCluster(t, 3, calm)
	store := open(t, c.config())
	create(t, store, "default", "key-1", "content")
	c.cutOff((c.leader(t) + 1) % 3)
	for range 9 { // three of them at the member that is cut off
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // as long as a validator waits
		_, err := store.Get(ctx, "default", "key-1")
		cancel()
		require.NoError(t, err)
	}
}

func TestStoreEndsCallsWithTheirContextsOrByItselfWithoutAMajority(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 3)
	store := open(t, c.config())
	r := create(t, store, "default", "key-1", "content")
	c.cutOff(0)
	c.cutOff(1)
	calls := map[string]func(ctx context.Context) error{
		"Get":  func(ctx context.Context) error { _, err := store.Get(ctx, "default", "key-1"); return err },
		"List": func(ctx context.Context) error { _, err := store.List(ctx, keystore.AllScopes, ""); return err },
		"Create": func(ctx context.Context) error {
			_, err := store.Create(ctx, keystore.Record{Name: "key-2"})
			return err
		},
		"Update": func(ctx context.Context) error { _, err := store.Update(ctx, r); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "default", "key-1") },
	}
	ended := make(chan error, len(calls))
	for name, call := range calls {
		go func() { ended <- call(context.Background()) }()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		require.ErrorIs(t, call(ctx), context.DeadlineExceeded, name)
		cancel()
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		require.ErrorIs(t, call(ctx), context.Canceled, name)
	}
	for range calls {
		select {
		case err := <-ended:
			require.Error(t, err)
			require.NotErrorIs(t, err, keystore.ErrNotFound)
		case <-time.After(time.Minute): // 10 s is the goal
			require.FailNow(t, "a call without a deadline does not end")
		}
	}
}

func TestOpenNeedsNoEtcdAndTheStoreWorksOnceItIsThere(t *testing.T) {
	c := startCluster(t, 1)
	p := startProxy(t, c.members[0])
	p.cut(t)
	store := p.open(t)
	timesOutSaying(t, "connection refused", func(ctx context.Context) error {
		_, err := store.Get(ctx, "default", "key-1")
		return err
	})
	p.mend(t)
	create(t, store, "default", "key-1", "content")
}

func TestCloseEndsCallsAndWatches(t *testing.T) {
	p := startProxy(t, startCluster(t, 1).members[0])
	store := p.open(t)
	w := watch(t, store)
	w.await(keystore.AllScopes)
	p.silence(t)
	call := make(chan error, 1)
	go func() {
		_, err := store.Get(context.Background(), "default", "key-1")
		call <- err
	}()
	require.NoError(t, store.Close())
	require.ErrorContains(t, w.awaitLoss(patience), "closed")
	select {
	case err := <-call:
		require.ErrorContains(t, err, "closed")
	case <-time.After(patience):
		require.FailNow(t, "a call goes on after Close")
	}
	began := time.Now()
	for range 10 { // the client by itself would try again for 2.5 s each
		_, err := store.List(t.Context(), keystore.AllScopes, "")
		require.ErrorContains(t, err, "closed")
		require.NotErrorIs(t, err, context.Canceled)
	}
	require.Less(t, time.Since(began), 20*time.Second)
	require.ErrorContains(t, store.Watch(t.Context(), func(keystore.Scope) {}), "closed")
	require.NoError(t, store.Close())
}

func TestStoreReturnsErrTooLargeForALimitOfEtcdBelowItsOwn(t *testing.T) {
	c := startCluster(t, 1, func(config *embed.Config) { config.MaxRequestBytes = 100_000 })
	store := open(t, c.config())
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: make([]byte, 200_000)})
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	require.ErrorContains(t, err, "--max-request-bytes")
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: make([]byte, etcd.MaxData+1)})
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	require.ErrorContains(t, err, "1048576")
}

func TestStoreGoesOnTryingToConnectAtShortIntervals(t *testing.T) {
	t.Parallel() // it waits for most of its time
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	var attempts atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			attempts.Add(1)
			conn.Close()
		}
	}()
	watch(t, open(t, clientv3.Config{Endpoints: []string{"http://" + listener.Addr().String()}}))
	// About 6 s. With what gRPC does by default there would be 5 attempts in this time.
	require.Eventually(t, func() bool { return attempts.Load() >= 15 }, patience, 10*time.Millisecond)
}
