package etcdtest

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// proxies stand in front of all members of a cluster.
type proxies []*proxy

func startProxies(tb testing.TB, c *cluster) proxies {
	tb.Helper()
	var all proxies
	for _, m := range c.members {
		all = append(all, startProxy(tb, m))
	}
	return all
}

func (all proxies) each(do func(*proxy, testing.TB)) func(testing.TB) {
	return func(tb testing.TB) {
		for _, p := range all {
			do(p, tb)
		}
	}
}

func (all proxies) config() clientv3.Config {
	var config clientv3.Config
	for _, p := range all {
		config.Endpoints = append(config.Endpoints, "http://"+p.address)
	}
	return config
}

func TestValidatorsNoticeInTimeThatEtcdIsOutOfReach(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprint(members, " members"), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, members, calm)
			for name, how := range map[string]struct{ fail, mend func(*proxy, testing.TB) }{
				"connections refused":   {(*proxy).cut, (*proxy).mend},
				"connections swallowed": {(*proxy).silence, func(p *proxy, _ testing.TB) { p.speak() }},
			} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					all := startProxies(t, c)
					prefix := etcd.WithPrefix(newPrefix())
					through := func(tb testing.TB) keystore.KeyStore { return open(tb, all.config(), prefix) }
					storetest.StalenessEndsWithin(t, through, storetest.Fault{
						Break:  all.each(how.fail),
						Mend:   all.each(how.mend),
						Beside: func(tb testing.TB) keystore.KeyStore { return open(tb, c.config(), prefix) },
					})
				})
			}
		})
	}
}

func TestValidatorsNoticeInTimeThatEtcdHasNoMajority(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 3)
	storetest.StalenessEndsWithin(t, func(tb testing.TB) keystore.KeyStore { return open(tb, c.config()) }, storetest.Fault{
		Break: func(testing.TB) { c.cutOff(0); c.cutOff(1) },
		Mend:  func(tb testing.TB) { c.reconnect(0); c.reconnect(1); c.leader(tb) },
	})
}
