package httpapi_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/token"
)

func TestClientDoesNotAdviseToAskAgainWhereTheTwoSidesDoNotTrustOrUnderstandEachOther(t *testing.T) {
	quietServer := func(config *tls.Config) *httptest.Server {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = config
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	modern := quietServer(&tls.Config{MinVersion: tls.VersionTLS13})
	certificates := quietServer(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert})
	old := modern.Client().Transport.(*http.Transport).Clone()
	old.TLSClientConfig.MaxVersion = tls.VersionTLS12

	for name, c := range map[string]struct {
		url  string
		http *http.Client
		says string
	}{
		"an unknown authority":       {modern.URL, nil, "certificate signed by unknown authority"},
		"another host":               {strings.Replace(modern.URL, "127.0.0.1", "localhost", 1), modern.Client(), "certificate is valid for"},
		"no TLS at the server":       {strings.Replace(plain.URL, "http:", "https:", 1), nil, "HTTP response to HTTPS client"},
		"no client certificate":      {certificates.URL, certificates.Client(), "tls: certificate required"},
		"no version of TLS for both": {modern.URL, &http.Client{Transport: old}, "protocol version not supported"},
	} {
		client, err := httpapi.NewClient(c.url, c.http)
		require.NoError(t, err)
		_, err = client.ZoneKeys(t.Context())
		assert.ErrorContains(t, err, c.says, name)
		assert.NotErrorIs(t, err, token.ErrUnavailable, name)
	}
}
