package main

import (
	"errors"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// replicaVariable, when it is set, makes this program a replica.
const replicaVariable = "MESHPASS_BENCHMARK_REPLICA"

// replica is a process with a control plane.
type replica struct {
	config  Config
	address string // on which it listens
	process *exec.Cmd
	client  *rpc.Client
}

// startReplica runs this program again as a replica. It ends with the test.
func startReplica(tb testing.TB, config Config) *replica {
	tb.Helper()
	r := &replica{config: config}
	r.start(tb)
	tb.Cleanup(r.kill)
	return r
}

func (r *replica) start(tb testing.TB) {
	tb.Helper()
	program, err := os.Executable()
	require.NoError(tb, err)
	r.process = exec.Command(program)
	r.process.Env = append(os.Environ(), replicaVariable+"=1")
	r.process.Stderr = os.Stderr
	in, err := r.process.StdinPipe() // the process ends with it
	require.NoError(tb, err)
	out, err := r.process.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, r.process.Start())
	r.client = rpc.NewClient(pipes{out, in})
	require.NoError(tb, r.client.Call("Control.Start", r.config, &r.address))
	r.config.Address = r.address // where it is when it starts again
}

// restart kills the replica and starts it again on the same address.
func (r *replica) restart(tb testing.TB) {
	tb.Helper()
	r.kill()
	r.start(tb)
}

func (r *replica) kill() {
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
	_ = r.client.Close()
}

// pipes are both ends of a conversation.
type pipes struct {
	io.ReadCloser
	in io.WriteCloser
}

func (p pipes) Write(data []byte) (int, error) { return p.in.Write(data) }

// Close implements io.Closer.
func (p pipes) Close() error { return errors.Join(p.ReadCloser.Close(), p.in.Close()) }

// replicas are those of one control plane.
type replicas []*replica

func (all replicas) publish(tb testing.TB, version string) {
	tb.Helper()
	for _, r := range all {
		require.NoError(tb, r.client.Call("Control.Publish", version, &None{}))
	}
}

func (all replicas) begin(tb testing.TB) {
	tb.Helper()
	for _, r := range all {
		require.NoError(tb, r.client.Call("Control.Begin", None{}, &None{}))
	}
}

// end returns what all replicas have spent together since begin, or since they started.
func (all replicas) end(tb testing.TB) (sum Cost) {
	tb.Helper()
	for _, r := range all {
		var cost Cost
		require.NoError(tb, r.client.Call("Control.End", None{}, &cost))
		sum.CPU += cost.CPU
		sum.Auth += cost.Auth
		sum.Reads += cost.Reads
	}
	return sum
}

// streams returns how many streams are open.
func (all replicas) streams(tb testing.TB) (sum int64) {
	tb.Helper()
	for _, r := range all {
		var open int64
		require.NoError(tb, r.client.Call("Control.Streams", None{}, &open))
		sum += open
	}
	return sum
}
