package postgres_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
)

// advised adds the time limits that README advises.
func advised(url string) string {
	return with(with(url, "connect_timeout", "2"), "pool_ping_timeout", "2s")
}

func TestValidatorsNoticeInTimeThatTheServerIsOutOfReach(t *testing.T) {
	for name, pooled := range map[string]bool{"direct": false, "through PgBouncer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := engines.NewPostgres(t)
			migrate(t, server.URL())
			socket, url := server.Socket(), server.URL()
			if pooled {
				url = server.NewPgBouncer(t, "transaction", "postgres")
				socket = socketOf(t, url)
			}
			t.Run("connections refused", func(t *testing.T) {
				t.Parallel()
				network, through := newProxy(t, socket, advised(url))
				storetest.StalenessEndsWithin(t, opener(through), storetest.Fault{
					Break:  func(testing.TB) { network.refuse() },
					Mend:   func(testing.TB) { network.comeBack() },
					Beside: opener(server.URL()),
				})
			})
			t.Run("connections swallowed", func(t *testing.T) {
				t.Parallel()
				network, through := newProxy(t, socket, advised(url))
				defer network.cut() // or the pools wait for the connections' end
				storetest.StalenessEndsWithin(t, opener(through), storetest.Fault{
					Break:  func(testing.TB) { network.vanish() },
					Mend:   func(testing.TB) { network.comeBack() },
					Beside: opener(server.URL()),
				})
			})
		})
	}
}

func TestValidatorsNoticeInTimeThatTheServerStandsStill(t *testing.T) {
	for name, pooled := range map[string]bool{"direct": false, "through PgBouncer": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := engines.NewPostgres(t)
			migrate(t, server.URL())
			url := server.URL()
			if pooled {
				url = server.NewPgBouncer(t, "transaction", "postgres")
			}
			storetest.StalenessEndsWithin(t, opener(advised(url)), storetest.Fault{Break: server.Pause, Mend: server.Resume})
		})
	}
}
