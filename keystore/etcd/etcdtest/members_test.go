package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/keystore"
)

func TestStoreWithoutAMajorityFailsInBoundedTimeAndWorksAtOnceWhenItIsBack(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 3)
	store := open(t, c.config())
	r := create(t, store, "default", "key-1", "content")
	c.cutOff(0)
	c.cutOff(1)
	failed := make(chan error, 2)
	go func() { _, err := store.Update(context.Background(), r); failed <- err }()
	go func() { _, err := store.List(context.Background(), "default", ""); failed <- err }()
	for range 2 {
		select {
		case err := <-failed:
			require.ErrorContains(t, err, "without a majority")
			for _, definite := range []error{keystore.ErrReadOnly, keystore.ErrNotFound, keystore.ErrConflict, keystore.ErrExists} {
				require.NotErrorIs(t, err, definite)
			}
		case <-time.After(patience): // 10 s is the goal
			require.FailNow(t, "a call without a majority does not end")
		}
	}
	c.reconnect(0)
	c.reconnect(1)
	for i := range c.members {
		c.awaitLeader(t, i)
	}
	n := 0
	calls := func() time.Duration {
		began := time.Now()
		for range 6 { // each member twice
			create(t, store, "default", fmt.Sprint("new-", n), "content")
			_, err := store.List(t.Context(), "default", "")
			require.NoError(t, err)
			n++
		}
		return time.Since(began)
	}
	first, again := calls(), calls()
	require.Less(t, first, 5*time.Second+10*again, "they waited for something")
}

func TestStoreUsesTheOtherEndpointsWhenOneIsBad(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	for name, bad := range map[string]string{
		"refuses": "http://" + freeURL(t).Host,
		"silent":  "http://" + listener.Addr().String(),
		"no name": "http://no-such-host.invalid:2379",
	} {
		config := c.config()
		config.Endpoints = append([]string{bad}, config.Endpoints...)
		store := open(t, config)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		for i := range 4 {
			_, err := store.Create(ctx, keystore.Record{Scope: keystore.Scope(name[:2]), Name: fmt.Sprint("key-", i)})
			require.NoError(t, err, name)
			_, err = store.List(ctx, keystore.AllScopes, "")
			require.NoError(t, err, name)
		}
		watch(t, store).await(keystore.AllScopes)
		cancel()
	}
}

func TestWritesGoOnAtTheOtherMembersAfterOneHasFallenSilent(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 3, calm)
	all := startProxies(t, c)
	store := open(t, all.config())
	write := func(i int) error {
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: fmt.Sprint("key-", i)})
		return err
	}
	n := 0
	for ; n < 6; n++ {
		require.NoError(t, write(n))
	}
	all[1].silence(t)
	began := time.Now()
	for good := 0; good < 9; n++ { // no member is asked any more that does not answer
		require.Less(t, time.Since(began), 2*patience)
		call := time.Now()
		if write(n) == nil {
			good++
		} else {
			good = 0
			require.Less(t, time.Since(call), patience, "10 s is the goal")
		}
	}
	t.Logf("all writes succeed %.1f s after a member has fallen silent", time.Since(began).Seconds())
}

func TestStoreWorksBesideALearner(t *testing.T) {
	c := startCluster(t, 1)
	config := embed.NewConfig()
	*config = *c.members[0].config
	config.Name, config.Dir = "learner", t.TempDir()
	client, peer := freeURL(t), freeURL(t)
	config.ListenClientUrls = append(config.ListenClientUrls[:0:0], client)
	config.AdvertiseClientUrls = config.ListenClientUrls
	config.ListenPeerUrls = append(config.ListenPeerUrls[:0:0], peer)
	config.AdvertisePeerUrls = config.ListenPeerUrls
	config.InitialCluster += ",learner=" + peer.String()
	config.ClusterState = embed.ClusterStateFlagExisting
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	_, err := connect(t, c.config()).MemberAddAsLearner(t.Context(), []string{peer.String()})
	require.NoError(t, err)
	var learner *embed.Etcd
	require.Eventually(t, func() bool { // a new member is refused until the cluster has agreed on its version
		config.Dir = t.TempDir()
		learner, err = embed.StartEtcd(config)
		return err == nil
	}, patience, 10*time.Millisecond, "%v", err)
	t.Cleanup(func() {
		learner.Server.HardStop()
		learner.Close()
	})
	<-learner.Server.ReadyNotify()

	both := c.config()
	both.Endpoints = append(both.Endpoints, client.String())
	var refused atomic.Int64
	both.DialOptions = append(both.DialOptions, grpc.WithChainUnaryInterceptor(
		func(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			err := invoke(ctx, method, request, reply, conn, options...)
			if err != nil && strings.Contains(err.Error(), "learner") {
				refused.Add(1)
			}
			return err
		}))
	store := open(t, both)
	for i := 0; refused.Load() < 10; i++ {
		create(t, store, "default", fmt.Sprint("key-", i), "content")
		_, err := store.List(t.Context(), "default", fmt.Sprint("key-", i))
		require.NoError(t, err)
		require.Less(t, i, 1000, "the learner is not even asked")
	}
	only := c.config()
	only.Endpoints = []string{client.String()}
	_, err = open(t, only).List(t.Context(), "default", "")
	require.ErrorContains(t, err, "learner")
	require.False(t, errors.Is(err, keystore.ErrReadOnly))
}

func TestAClusterOutOfSpaceIsNotReadOnlyByIntent(t *testing.T) {
	c := startCluster(t, 1, func(config *embed.Config) { config.QuotaBackendBytes = 1 << 20 })
	store := open(t, c.config())
	r := create(t, store, "default", "key-1", "content")
	var err error
	for began := time.Now(); err == nil && time.Since(began) < patience; { // etcd measures what it has brought to the disk
		r.Data = make([]byte, 600_000)
		r, err = store.Update(t.Context(), r)
	}
	require.ErrorContains(t, err, "database space exceeded")
	require.NotErrorIs(t, err, keystore.ErrReadOnly)
	require.NotErrorIs(t, err, keystore.ErrTooLarge)
	_, err = store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
}
