// Package loopback runs gRPC servers for tests, over real connections with TLS.
package loopback

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Server starts a server on the loopback interface, with the services that
// register adds, and stops it when the test ends.
func Server(tb testing.TB, register func(*grpc.Server), options ...grpc.ServerOption) (address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	config := &tls.Config{Certificates: []tls.Certificate{certificate()}}
	server := grpc.NewServer(append(options, grpc.Creds(credentials.NewTLS(config)))...)
	register(server)
	go func() { _ = server.Serve(listener) }()
	tb.Cleanup(server.Stop)
	return listener.Addr().String()
}

// Client returns a connection to a server of this package. It is closed when
// the test ends.
func Client(tb testing.TB, address string, options ...grpc.DialOption) *grpc.ClientConn {
	roots := x509.NewCertPool()
	roots.AddCert(certificate().Leaf)
	creds := credentials.NewTLS(&tls.Config{RootCAs: roots})
	conn, err := grpc.NewClient(address, append(options, grpc.WithTransportCredentials(creds))...)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = conn.Close() })
	return conn
}

// certificate returns a self-signed certificate for 127.0.0.1.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})
