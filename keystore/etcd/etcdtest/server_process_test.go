package etcdtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// serverOfChild is set for a process that is to be an etcd server.
const serverOfChild = "MESHPASS_ETCDTEST_SERVER"

// serverProcess is an etcd server in a process of its own, this test binary again,
// which writes to the disk as etcd does in production.
type serverProcess struct {
	Dir          string
	Client, Peer url.URL

	command *exec.Cmd
	input   io.Closer
}

func startServerProcess(tb testing.TB) *serverProcess {
	tb.Helper()
	s := &serverProcess{Dir: tb.TempDir(), Client: freeURL(tb), Peer: freeURL(tb)}
	s.start(tb)
	tb.Cleanup(func() { s.kill(tb) })
	return s
}

// start starts the process, for the first time or again, and returns when it serves.
func (s *serverProcess) start(tb testing.TB) {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	encoded, err := json.Marshal(s)
	require.NoError(tb, err)
	s.command = exec.Command(self)
	s.command.Env = append(os.Environ(), serverOfChild+"="+string(encoded))
	s.command.Stderr = os.Stderr
	s.input, err = s.command.StdinPipe() // the child ends when this process does
	require.NoError(tb, err)
	output, err := s.command.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, s.command.Start())
	var line string
	_, err = fmt.Fscanln(output, &line)
	require.NoError(tb, err)
	require.Equal(tb, "ready", line)
}

// kill kills the process with SIGKILL.
func (s *serverProcess) kill(tb testing.TB) {
	tb.Helper()
	if s.command.ProcessState != nil {
		return
	}
	require.NoError(tb, s.command.Process.Kill())
	s.command.Wait()
	s.input.Close()
}

func (s *serverProcess) config() clientv3.Config {
	return clientv3.Config{Endpoints: []string{s.Client.String()}}
}

// serveAsChild is the server and returns true, in a process that is to be one.
func serveAsChild() bool {
	encoded := os.Getenv(serverOfChild)
	if encoded == "" {
		return false
	}
	var s serverProcess
	if err := json.Unmarshal([]byte(encoded), &s); err != nil {
		panic(err)
	}
	config := embed.NewConfig()
	config.Dir = s.Dir
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{s.Client}, []url.URL{s.Client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{s.Peer}, []url.URL{s.Peer}
	config.InitialCluster = config.Name + "=" + s.Peer.String()
	config.TickMs, config.ElectionMs = 10, 100
	config.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	server, err := embed.StartEtcd(config)
	if err != nil {
		panic(err)
	}
	<-server.Server.ReadyNotify()
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return true
}
