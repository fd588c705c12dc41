package etcdtest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

func TestStoreServesTokensThroughTheirLife(t *testing.T) {
	storetest.LifeOfAToken(t, startCluster(t, 3, calm).opener())
}

func TestStoreLetsARevocationEndASessionOfAnotherReplica(t *testing.T) {
	for _, members := range []int{1, 3} {
		t.Run(fmt.Sprint(members, " members"), func(t *testing.T) {
			storetest.ARevocationEndsASessionOfAnotherReplica(t, startCluster(t, members, calm).opener())
		})
	}
}

func TestStoreGivesManyProcessesOneFirstKey(t *testing.T) {
	c := startCluster(t, 1)
	s := storage{Endpoints: c.config().Endpoints, Prefix: newPrefix()}
	encoded, err := json.Marshal(s)
	require.NoError(t, err)
	storetest.ManyProcessesMakeOneFirstKey(t, string(encoded), func(tb testing.TB) keystore.KeyStore {
		return open(tb, c.config(), etcd.WithPrefix(s.Prefix))
	})
}

func TestStoreLosesNothingAcknowledgedWhenAMemberDiesAndReturns(t *testing.T) {
	c := startCluster(t, 1)
	storetest.Outage(t, c.opener(), storetest.Fault{
		Break: func(testing.TB) { c.kill(0) },
		For:   2 * time.Second,
		Mend:  func(tb testing.TB) { c.start(tb, 0) },
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheLeaderDies(t *testing.T) {
	c := startCluster(t, 3)
	storetest.Outage(t, c.opener(), storetest.Fault{
		Break: func(tb testing.TB) { c.kill(c.leader(tb)) },
		Mend:  func(tb testing.TB) { c.leader(tb) },
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheClusterLosesItsMajority(t *testing.T) {
	c := startCluster(t, 3)
	var killed []int
	storetest.Outage(t, c.opener(), storetest.Fault{
		Break: func(tb testing.TB) {
			for range 2 { // the second one is the leader of the two that are left
				leader := c.leader(tb)
				c.kill(leader)
				killed = append(killed, leader)
			}
		},
		For:  3 * time.Second,
		Mend: func(tb testing.TB) { c.start(tb, killed...) },
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheLeaderIsCutOff(t *testing.T) {
	c := startCluster(t, 3)
	var leader int
	storetest.Outage(t, c.opener(), storetest.Fault{
		Break: func(tb testing.TB) {
			leader = c.leader(tb)
			c.cutOff(leader)
		},
		For: 3 * time.Second,
		Mend: func(tb testing.TB) {
			c.reconnect(leader)
			c.awaitLeader(tb, leader)
		},
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheServerIsKilled(t *testing.T) {
	s := startServerProcess(t)
	storetest.Outage(t, func(tb testing.TB) keystore.KeyStore { return open(tb, s.config()) }, storetest.Fault{
		Break: s.kill,
		For:   time.Second,
		Mend:  s.start,
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheNetworkCloses(t *testing.T) {
	c := startCluster(t, 1)
	p := startProxy(t, c.members[0])
	storetest.Outage(t, func(tb testing.TB) keystore.KeyStore { return p.open(tb) }, storetest.Fault{
		Break:  p.cut,
		For:    3 * time.Second,
		Mend:   p.mend,
		Beside: func(tb testing.TB) keystore.KeyStore { return open(tb, c.config()) },
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheNetworkFallsSilent(t *testing.T) {
	t.Parallel() // it waits for most of its time
	c := startCluster(t, 1)
	p := startProxy(t, c.members[0])
	storetest.Outage(t, func(tb testing.TB) keystore.KeyStore { return p.open(tb) }, storetest.Fault{
		Break:  p.silence,
		For:    20 * time.Second, // long enough for the connections to be given up
		Mend:   func(testing.TB) { p.speak() },
		Beside: func(tb testing.TB) keystore.KeyStore { return open(tb, c.config()) },
	})
}

func BenchmarkRevocation(b *testing.B) { storetest.BenchmarkRevocation(b, startCluster(b, 3).opener()) }
