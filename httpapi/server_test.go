package httpapi_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
)

func TestServerEndsConnectionsOfSlowClientsAndRefusesLargeHeaders(t *testing.T) {
	w := newWorld(t)
	serve := func(server *http.Server) (address string) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() { _ = server.Serve(listener) }()
		t.Cleanup(func() { server.Close() })
		return listener.Addr().String()
	}
	hasty := httpapi.NewServer(w.handler)
	hasty.ReadHeaderTimeout, hasty.ReadTimeout = hasty.ReadHeaderTimeout/25, hasty.ReadTimeout/25 // the test has no 30 s
	address := serve(hasty)

	for name, sent := range map[string]string{
		"half of the headers": "POST /revocations/zone HTTP/1.1\r\nHost: x\r\nAs: al",
		"half of the body":    "POST /revocations/zone HTTP/1.1\r\nHost: x\r\nAs: alice\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, sent)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
		_, err = io.Copy(io.Discard, conn)
		assert.NoError(t, err, "%s: the server keeps the connection", name)
	}

	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+serve(httpapi.NewServer(w.handler))+"/revocations/zone", nil)
	require.NoError(t, err)
	r.Header.Set("Padding", strings.Repeat("x", 64<<10))
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	answer.Body.Close()
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, answer.StatusCode)
}
