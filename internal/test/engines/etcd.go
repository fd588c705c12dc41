package engines

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// EtcdCluster is an etcd with members in processes of their own, which bring what they
// acknowledge to the disk: it survives Kill.
type EtcdCluster struct {
	folder  string // of the binary
	members []*etcdMember
	initial string // all members, as each is told
}

type etcdMember struct {
	name, data, client, peer string
	process                  *process // nil while it is down
}

// NewEtcdCluster starts an etcd with so many members, without TLS and users, and waits until
// all are ready. They end with the test.
func NewEtcdCluster(tb testing.TB, members int) *EtcdCluster {
	tb.Helper()
	c := &EtcdCluster{folder: kubernetesFolder(tb)}
	var initial []string
	for i := range members {
		m := &etcdMember{name: fmt.Sprint("member-", i), data: tb.TempDir(), client: FreeAddress(tb), peer: FreeAddress(tb)}
		initial = append(initial, m.name+"=http://"+m.peer)
		c.members = append(c.members, m)
	}
	c.initial = strings.Join(initial, ",")
	tb.Cleanup(func() {
		for i, m := range c.members {
			if m.process != nil {
				c.Kill(tb, i)
			}
		}
	})
	for i := range c.members {
		c.begin(tb, i)
	}
	for i := range c.members {
		c.await(tb, i)
	}
	return c
}

// Address returns where clients reach a member, HOST:PORT.
func (c *EtcdCluster) Address(member int) string { return c.members[member].client }

// Kill ends a member with SIGKILL. Its data stays.
func (c *EtcdCluster) Kill(tb testing.TB, member int) {
	tb.Helper()
	c.members[member].process.kill()
	c.members[member].process = nil
}

// Start starts a member again after Kill, and waits until it is ready. If Kill has taken the
// majority, start all members with one call.
func (c *EtcdCluster) Start(tb testing.TB, members ...int) {
	tb.Helper()
	for _, member := range members {
		c.begin(tb, member)
	}
	for _, member := range members {
		c.await(tb, member)
	}
}

// Pause stops a member where it is (SIGSTOP), until Resume.
func (c *EtcdCluster) Pause(tb testing.TB, member int) {
	tb.Helper()
	c.members[member].process.pause(tb)
}

// Resume lets a member go on after Pause.
func (c *EtcdCluster) Resume(member int) { c.members[member].process.resume() }

func (c *EtcdCluster) begin(tb testing.TB, member int) {
	tb.Helper()
	m := c.members[member]
	client, peer := "http://"+m.client, "http://"+m.peer
	m.process = startProcess(tb, filepath.Join(m.data, "etcd.log"), filepath.Join(c.folder, "server"),
		"--name="+m.name, "--data-dir="+filepath.Join(m.data, "etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer,
		"--initial-cluster="+c.initial, "--initial-cluster-state=new", "--log-level=warn")
}

func (c *EtcdCluster) await(tb testing.TB, member int) {
	tb.Helper()
	m := c.members[member]
	m.process.waitUntilReady(tb, &http.Client{Timeout: requestTimeout}, "http://"+m.client+"/health")
}
