//go:build unix

package etcdtest

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

func TestValidatorsNoticeInTimeThatEtcdStandsStill(t *testing.T) {
	t.Parallel() // it waits for most of its time
	s := startServerProcess(t)
	signal := func(signal syscall.Signal) func(testing.TB) {
		return func(tb testing.TB) { require.NoError(tb, s.command.Process.Signal(signal)) }
	}
	storetest.StalenessEndsWithin(t, func(tb testing.TB) keystore.KeyStore { return open(tb, s.config()) }, storetest.Fault{
		Break: signal(syscall.SIGSTOP),
		Mend:  signal(syscall.SIGCONT),
	})
}
