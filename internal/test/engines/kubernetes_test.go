package engines_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
)

func TestKubernetesAuthenticatesByCertificateAndKeepsItsDataThroughACrash(t *testing.T) {
	k := engines.NewKubernetes(t)
	as := func(cert, key []byte) *http.Client {
		certificate, err := tls.X509KeyPair(cert, key)
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(k.CA))
		return &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
		}}
	}
	status := func(response *http.Response, err error) int {
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	const namespaces = "/api/v1/namespaces"
	admin := as(k.Cert, k.Key)
	require.Equal(t, http.StatusCreated, status(admin.Post(k.URL+namespaces, "application/json", strings.NewReader(
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "some-namespace"}}`))))
	require.Equal(t, http.StatusForbidden, status(as(k.ClientCert(t, "some-user", "some-group")).Get(k.URL+namespaces)))

	k.Kill(t)
	_, err := admin.Get(k.URL + namespaces)
	require.Error(t, err)
	k.Start(t)
	require.Equal(t, http.StatusOK, status(admin.Get(k.URL+namespaces+"/some-namespace")))
}
