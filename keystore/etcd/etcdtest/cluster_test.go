package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// patience is how long a test waits for what must come. Nothing is measured with it.
const patience = 30 * time.Second

// member is a member of a cluster. It may be stopped and started again.
type member struct {
	config *embed.Config
	etcd   *embed.Etcd // nil while it is stopped
}

// cluster is an etcd cluster in this process, with its data in temporary folders.
type cluster struct {
	members []*member
}

// startCluster starts n members and waits until they have a leader.
func startCluster(tb testing.TB, n int, change ...func(*embed.Config)) *cluster {
	tb.Helper()
	c := &cluster{}
	var initial []string
	for i := range n {
		config := embed.NewConfig()
		config.Name = fmt.Sprint("member-", i)
		config.Dir = tb.TempDir()
		config.ListenClientUrls = []url.URL{freeURL(tb)}
		config.AdvertiseClientUrls = config.ListenClientUrls
		config.ListenPeerUrls = []url.URL{freeURL(tb)}
		config.AdvertisePeerUrls = config.ListenPeerUrls
		config.TickMs, config.ElectionMs = 10, 100 // which elects itself
		if n > 1 {
			config.TickMs, config.ElectionMs = 100, 1000
		}
		config.BcryptCost = 4 // the least: passwords are not what is tested
		config.UnsafeNoFsync = true
		config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
		for _, change := range change {
			change(config)
		}
		initial = append(initial, config.Name+"="+config.ListenPeerUrls[0].String())
		c.members = append(c.members, &member{config: config})
	}
	for _, m := range c.members {
		m.config.InitialCluster = strings.Join(initial, ",")
	}
	tb.Cleanup(func() { // after the clients have been closed, or it takes 5 s
		for i := range c.members {
			c.kill(i)
		}
	})
	c.start(tb, c.all()...)
	return c
}

// calm keeps the leader of a cluster that is to lose none, also if a busy machine delays its
// heartbeats.
func calm(config *embed.Config) { config.ElectionMs *= 3 }

func freeURL(tb testing.TB) url.URL {
	tb.Helper()
	return url.URL{Scheme: "http", Host: engines.FreeAddress(tb)}
}

// all returns the numbers of all members.
func (c *cluster) all() []int {
	var all []int
	for i := range c.members {
		all = append(all, i)
	}
	return all
}

// start starts members, for the first time or again, and waits until they serve
// linearizable reads.
func (c *cluster) start(tb testing.TB, members ...int) {
	tb.Helper()
	var starting sync.WaitGroup
	failures := make([]error, len(members))
	for i, number := range members {
		starting.Go(func() {
			m := c.members[number]
			m.etcd, failures[i] = embed.StartEtcd(m.config)
			if failures[i] == nil {
				<-m.etcd.Server.ReadyNotify()
			}
		})
	}
	starting.Wait()
	require.NoError(tb, errors.Join(failures...))
	for _, number := range members {
		c.awaitLeader(tb, number)
	}
}

// awaitLeader waits until a member knows a leader and answers with it.
func (c *cluster) awaitLeader(tb testing.TB, number int) {
	tb.Helper()
	require.Eventually(tb, func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return c.members[number].etcd.Server.LinearizableReadNotify(ctx) == nil
	}, patience, 5*time.Millisecond, "member %d has no leader", number)
}

// kill stops a member at once: it hands nothing over and closes its connections.
func (c *cluster) kill(number int) {
	m := c.members[number]
	if m.etcd == nil {
		return
	}
	m.etcd.Server.HardStop()
	m.etcd.Close()
	m.etcd = nil
}

// leader returns the number of the leader.
func (c *cluster) leader(tb testing.TB) int {
	tb.Helper()
	leader := -1
	require.Eventually(tb, func() bool {
		for i, m := range c.members {
			if m.etcd != nil && m.etcd.Server.Leader() == m.etcd.Server.MemberID() {
				leader = i
			}
		}
		return leader >= 0
	}, patience, 5*time.Millisecond)
	return leader
}

// cutOff keeps a member from talking with the others, in both directions. Clients
// still reach it.
func (c *cluster) cutOff(number int) {
	c.eachOther(number, func(m, other *embed.Etcd) {
		m.Server.CutPeer(other.Server.MemberID())
		other.Server.CutPeer(m.Server.MemberID())
	})
}

func (c *cluster) reconnect(number int) {
	c.eachOther(number, func(m, other *embed.Etcd) {
		m.Server.MendPeer(other.Server.MemberID())
		other.Server.MendPeer(m.Server.MemberID())
	})
}

func (c *cluster) eachOther(number int, do func(m, other *embed.Etcd)) {
	for i, other := range c.members {
		if i != number {
			do(c.members[number].etcd, other.etcd)
		}
	}
}

// config returns the configuration of a client of all members.
func (c *cluster) config() clientv3.Config {
	var endpoints []string
	for _, m := range c.members {
		endpoints = append(endpoints, m.config.ListenClientUrls[0].String())
	}
	return clientv3.Config{Endpoints: endpoints}
}

// opener opens stores whose keys begin with a prefix that no other call returns.
func (c *cluster) opener() storetest.Opener {
	prefix := newPrefix()
	return func(tb testing.TB) keystore.KeyStore { return open(tb, c.config(), etcd.WithPrefix(prefix)) }
}

var prefixes struct {
	sync.Mutex
	last int
}

func newPrefix() string {
	prefixes.Lock()
	defer prefixes.Unlock()
	prefixes.last++
	return fmt.Sprintf("/test-%d/", prefixes.last)
}

// open opens a store until the test ends.
func open(tb testing.TB, config clientv3.Config, options ...etcd.Option) *etcd.Store {
	tb.Helper()
	store, err := etcd.Open(context.Background(), config, options...)
	require.NoError(tb, err)
	tb.Cleanup(func() { store.Close() })
	return store
}

// connect returns etcd's own client, for what an administrator does.
func connect(tb testing.TB, config clientv3.Config) *clientv3.Client {
	tb.Helper()
	config.Logger = zap.NewNop()
	client, err := clientv3.New(config)
	require.NoError(tb, err)
	tb.Cleanup(func() { client.Close() })
	return client
}
