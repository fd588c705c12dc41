package kubernetes_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/kubernetes"
)

// opener opens stores with connections of their own, as a program does.
func opener(config *rest.Config, namespace string) storetest.Opener {
	return func(tb testing.TB) keystore.KeyStore {
		tb.Helper()
		store, err := kubernetes.Open(config, namespace)
		require.NoError(tb, err)
		return store
	}
}

func TestValidatorsNoticeInTimeThatTheAPIServerIsOutOfReach(t *testing.T) {
	c := theCluster(t)
	for name, fail := range map[string]func(*proxy){"connections refused": (*proxy).refuse, "connections swallowed": (*proxy).vanish} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := c.newNamespace(t)
			p, config := throughProxy(t, n.controlPlane)
			storetest.StalenessEndsWithin(t, opener(config, n.name), storetest.Fault{
				Break:  func(testing.TB) { fail(p) },
				Mend:   func(testing.TB) { p.comeBack() },
				Beside: n.open,
			})
		})
	}
}

func TestValidatorsNoticeInTimeThatTheAPIServerStandsStill(t *testing.T) {
	c := theCluster(t)
	n := c.newNamespace(t)
	storetest.StalenessEndsWithin(t, opener(n.controlPlane, n.name), storetest.Fault{Break: c.Pause, Mend: c.Resume})
}

func TestValidatorsNoticeInTimeThatTheEtcdOfTheAPIServerStandsStill(t *testing.T) {
	c := theCluster(t)
	n := c.newNamespace(t)
	storetest.StalenessEndsWithin(t, opener(n.controlPlane, n.name), storetest.Fault{Break: c.PauseEtcd, Mend: c.ResumeEtcd})
}
