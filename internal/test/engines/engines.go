// Package engines starts real engines for tests: servers that are installed on the
// machine, each as a process of its own with an empty store.
package engines

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
)

// missing skips the test, since the engine is not installed. Under CI=true it fails
// instead, since CI must test everything.
func missing(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("%s; under CI=true that is a failure", why)
	}
	tb.Skip(why)
}

// FreeAddress returns an address of this machine, HOST:PORT, on which no process
// listens. Its port is none that systems give to clients, so that it stays free while
// a server is down. No other call returns it while this process runs, in no test process.
func FreeAddress(tb testing.TB) string {
	tb.Helper()
	var err error
	for range 100 {
		var address string
		if address, err = reserve(20000 + rand.IntN(12000)); err == nil {
			return address
		}
	}
	tb.Fatal(err)
	return ""
}

// taken keeps the numbers of ports from other tests: whoever has the UDP port may use the
// TCP port of the same number. They are kept until the process ends.
var taken struct {
	sync.Mutex
	ports []net.PacketConn
}

func reserve(port int) (address string, err error) {
	address = fmt.Sprint("127.0.0.1:", port)
	number, err := net.ListenPacket("udp", address)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		number.Close()
		return "", err
	}
	taken.Lock()
	defer taken.Unlock()
	taken.ports = append(taken.ports, number)
	return address, listener.Close()
}
