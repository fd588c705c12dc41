package histories

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
	"github.com/meshpass/meshpass/keystore/kubernetes"
	"github.com/meshpass/meshpass/keystore/postgres"
)

const back = time.Second // within which a store that was away is read again

func openPostgres(url string) (*postgres.Store, error) {
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		return nil, err
	}
	return postgres.New(pool)
}

// paths are several ways of one replica to one engine.
type paths []*proxy

func (all paths) set(m mode) {
	for _, p := range all {
		p.set(m)
	}
}

// sockets are the ways of all replicas to a server with a Unix socket.
type sockets struct {
	connString string // without a way
	all        []*proxy
}

// dial makes a way, with the settings that the store's README advises.
func (s *sockets) dial(tb testing.TB, _ string) (path, storage) {
	folder, err := os.MkdirTemp("/tmp", "meshpass-histories-")
	require.NoError(tb, err)
	tb.Cleanup(func() { os.RemoveAll(folder) })
	parsed, err := url.Parse(s.connString)
	require.NoError(tb, err)
	query := parsed.Query()
	name := ".s.PGSQL." + query.Get("port")
	p := newProxy(tb, "unix", filepath.Join(folder, name))
	p.retarget(filepath.Join(query.Get("host"), name))
	s.all = append(s.all, p)
	tb.Cleanup(func() { p.tell(tb) })
	query.Set("host", folder)
	query.Set("connect_timeout", "2")
	query.Set("pool_ping_timeout", "2s")
	parsed.RawQuery = query.Encode()
	return p, storage{Postgres: parsed.String()}
}

// moveTo makes all ways lead to another server.
func (s *sockets) moveTo(socket string) {
	for _, p := range s.all {
		p.retarget(socket)
		p.set(cut)
		p.set(open)
	}
}

func migrated(tb testing.TB, url string) *postgres.Store {
	tb.Helper()
	store, err := openPostgres(url)
	require.NoError(tb, err)
	require.NoError(tb, store.Migrate(tb.Context()))
	return store
}

func execute(tb testing.TB, url, statement string) string {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), url)
	require.NoError(tb, err)
	defer pool.Close()
	var answer string
	rows, err := pool.Query(tb.Context(), statement)
	require.NoError(tb, err)
	for rows.Next() {
		values, err := rows.Values()
		require.NoError(tb, err)
		if len(values) > 0 {
			answer, _ = values[0].(string)
		}
	}
	require.NoError(tb, rows.Err())
	return answer
}

// The standby is a synchronous one: what was acknowledged is on both.
func TestHistoryOfPostgres(t *testing.T) {
	server := engines.NewPostgres(t)
	migrated(t, server.URL())
	standby := server.NewStandby(t)
	execute(t, standby.URL(), "ALTER SYSTEM SET wal_retrieve_retry_interval = '100ms'")
	execute(t, standby.URL(), "SELECT pg_reload_conf()")
	execute(t, server.URL(), "ALTER SYSTEM SET synchronous_standby_names = '*'")
	execute(t, server.URL(), "SELECT pg_reload_conf()")
	inStep := func(tb testing.TB) {
		require.Eventually(tb, func() bool {
			return execute(tb, server.URL(), "SELECT state || sync_state FROM pg_stat_replication") == "streamingsync"
		}, patience, 20*time.Millisecond)
	}
	inStep(t)
	ways := &sockets{connString: server.URL()}
	_, direct := ways.dial(t, "")
	store, err := openPostgres(direct.Postgres)
	require.NoError(t, err)
	promoted := fault{what: "the primary is killed, and the standby promoted", of: "*", recovery: back}
	current := server
	promoted.breaks = func(tb testing.TB) {
		inStep(tb)
		server.Kill(tb)
		standby.Promote(tb)
		current = standby
		ways.moveTo(standby.Socket())
	}
	history(t, &deployment{
		bounds: check.Bounds{Grace: grace},
		direct: store,
		dial:   ways.dial,
		silent: 6 * time.Second,
		once:   &promoted,
		faults: []fault{
			{what: "SIGKILL of the server", of: "*", lasts: time.Second, recovery: back,
				breaks: func(tb testing.TB) { current.Kill(tb) }, mends: func(tb testing.TB) { current.Start(tb) }},
			{what: "SIGSTOP of the server", of: "*", lasts: 4 * time.Second, recovery: back,
				breaks: func(tb testing.TB) { current.Pause(tb) }, mends: func(tb testing.TB) { current.Resume(tb) }},
		},
	})
}

// loginRetry is how long PgBouncer refuses clients after it could not log in to its server:
// the default of its setting server_login_retry.
const loginRetry = 15 * time.Second

func TestHistoryOfPgBouncer(t *testing.T) {
	server := engines.NewPostgres(t)
	store := migrated(t, server.URL())
	ways := &sockets{connString: server.NewPgBouncer(t, "transaction", "postgres")}
	history(t, &deployment{
		bounds: check.Bounds{InForce: time.Second, Grace: grace}, // the store is polled
		direct: store,
		dial:   ways.dial,
		silent: 6 * time.Second,
		faults: []fault{
			{what: "SIGKILL of the server", of: "*", lasts: time.Second, recovery: loginRetry + back, breaks: server.Kill, mends: server.Start},
			{what: "SIGSTOP of the server", of: "*", lasts: 4 * time.Second, recovery: back, breaks: server.Pause, mends: server.Resume},
		},
	})
}

func TestHistoryOfEtcd(t *testing.T) {
	cluster := engines.NewEtcdCluster(t, 1)
	history(t, onEtcd(t, cluster, 1,
		fault{what: "SIGKILL of etcd", of: "*", lasts: time.Second, recovery: back,
			breaks: func(tb testing.TB) { cluster.Kill(tb, 0) }, mends: func(tb testing.TB) { cluster.Start(tb, 0) }},
		fault{what: "SIGSTOP of etcd", of: "*", lasts: 4 * time.Second, recovery: back,
			breaks: func(tb testing.TB) { cluster.Pause(tb, 0) }, mends: func(testing.TB) { cluster.Resume(0) }}))
}

func TestHistoryOfEtcdWithThreeMembers(t *testing.T) {
	cluster := engines.NewEtcdCluster(t, 3)
	var faults []fault
	for member := range 3 { // one of them leads
		faults = append(faults, fault{what: "SIGKILL of a member", of: "*", lasts: 5 * time.Second, over: 2 * time.Second, recovery: back, // an election takes a second or two
			breaks: func(tb testing.TB) { cluster.Kill(tb, member) }, mends: func(tb testing.TB) { cluster.Start(tb, member) }})
		faults = append(faults, fault{what: "SIGSTOP of a member", of: "*", lasts: 4 * time.Second, recovery: back,
			breaks: func(tb testing.TB) { cluster.Pause(tb, member) }, mends: func(testing.TB) { cluster.Resume(member) }})
	}
	faults = append(faults, fault{what: "SIGKILL of two members", of: "*", lasts: 3 * time.Second, recovery: back,
		breaks: func(tb testing.TB) { cluster.Kill(tb, 1); cluster.Kill(tb, 2) }, mends: func(tb testing.TB) { cluster.Start(tb, 1, 2) }})
	history(t, onEtcd(t, cluster, 3, faults...))
}

func onEtcd(t *testing.T, cluster *engines.EtcdCluster, members int, faults ...fault) *deployment {
	var endpoints []string
	for i := range members {
		endpoints = append(endpoints, "http://"+cluster.Address(i))
	}
	store, err := storage{Etcd: endpoints}.open()
	require.NoError(t, err)
	return &deployment{
		bounds: check.Bounds{Grace: grace, SendsTwice: true},
		direct: store,
		silent: 13 * time.Second,
		faults: faults,
		dial: func(tb testing.TB, _ string) (path, storage) {
			var ways paths
			var s storage
			for i := range members {
				address := engines.FreeAddress(tb)
				p := newProxy(tb, "tcp", address)
				p.retarget(cluster.Address(i))
				tb.Cleanup(func() { p.tell(tb) })
				ways, s.Etcd = append(ways, p), append(s.Etcd, "http://"+address)
			}
			return ways, s
		},
	}
}

func openEtcd(endpoints []string) (keystore.KeyStore, error) {
	return etcd.Open(context.Background(), clientv3.Config{Endpoints: endpoints})
}

// access is how a process reaches an API server.
type access struct {
	Host          string
	CA, Cert, Key []byte
}

func (a access) config() *rest.Config {
	return &rest.Config{Host: a.Host, TLSClientConfig: rest.TLSClientConfig{CAData: a.CA, CertData: a.Cert, KeyData: a.Key}}
}

const namespace = "histories"

func TestHistoryOfKubernetes(t *testing.T) {
	k := engines.NewKubernetes(t)
	a := access{Host: k.URL, CA: k.CA, Cert: k.Cert, Key: k.Key}
	client, err := typedcorev1.NewForConfig(a.config())
	require.NoError(t, err)
	_, err = client.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	require.NoError(t, err)
	store, err := kubernetes.Open(a.config(), namespace)
	require.NoError(t, err)
	history(t, &deployment{
		bounds: check.Bounds{Grace: grace},
		direct: store,
		silent: 15 * time.Second,
		dial: func(tb testing.TB, _ string) (path, storage) {
			address := engines.FreeAddress(tb)
			p := newProxy(tb, "tcp", address)
			p.retarget(strings.TrimPrefix(k.URL, "https://"))
			tb.Cleanup(func() { p.tell(tb) })
			through := a
			through.Host = "https://" + address
			return p, storage{Kubernetes: &through}
		},
		faults: []fault{
			{what: "SIGKILL of the API server", of: "*", lasts: time.Second, recovery: back, breaks: k.Kill, mends: k.Start},
			{what: "SIGSTOP of the API server", of: "*", lasts: 4 * time.Second, recovery: back, breaks: k.Pause, mends: k.Resume},
			{what: "SIGSTOP of the etcd of the API server", of: "*", lasts: 4 * time.Second, recovery: back, breaks: k.PauseEtcd, mends: k.ResumeEtcd},
		},
	})
}
