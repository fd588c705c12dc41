package etcdtest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(tb testing.TB) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	a := &authority{key: key}
	a.certificate = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate = a.sign(tb, a.certificate, key)
	return a
}

func (a *authority) sign(tb testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	require.NoError(tb, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(tb, err)
	return certificate
}

// issue returns a certificate for 127.0.0.1 and for clients, and its key.
func (a *authority) issue(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(tb, err)
	certificate := a.sign(tb, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	return tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
}

// clientTLS returns what a client needs that trusts the authority and has one of
// its certificates.
func (a *authority) clientTLS(tb testing.TB) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{a.issue(tb, "client")}, MinVersion: tls.VersionTLS12}
}

// serve makes a member speak TLS, to clients with a certificate.
func (a *authority) serve(tb testing.TB) func(*embed.Config) {
	return func(config *embed.Config) {
		dir := tb.TempDir()
		write := func(name, kind string, der []byte) string {
			path := filepath.Join(dir, name)
			require.NoError(tb, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
			return path
		}
		certificate := a.issue(tb, "server")
		key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		require.NoError(tb, err)
		config.ListenClientUrls[0].Scheme = "https"
		config.ClientTLSInfo.CertFile = write("server.pem", "CERTIFICATE", certificate.Certificate[0])
		config.ClientTLSInfo.KeyFile = write("server-key.pem", "PRIVATE KEY", key)
		config.ClientTLSInfo.TrustedCAFile = write("ca.pem", "CERTIFICATE", a.certificate.Raw)
		config.ClientTLSInfo.ClientCertAuth = true
	}
}

const password = "correct-horse"

// as returns the configuration for a user, whose password is the one of all users.
func as(config clientv3.Config, user string) clientv3.Config {
	config.Username, config.Password = user, password
	return config
}

// startWithUsers starts a member with TLS and with authentication, and with users
// writer and reader, who have these permissions for the prefix and no others.
func startWithUsers(tb testing.TB, prefix string) (config clientv3.Config, root *clientv3.Client) {
	tb.Helper()
	ca := newAuthority(tb)
	config = startCluster(tb, 1, ca.serve(tb)).config()
	config.TLS = ca.clientTLS(tb)
	anybody, ctx := connect(tb, config), context.Background()
	add := func(user string, permission clientv3.PermissionType) {
		_, err := anybody.UserAdd(ctx, user, password)
		require.NoError(tb, err)
		_, err = anybody.RoleAdd(ctx, user)
		require.NoError(tb, err)
		_, err = anybody.RoleGrantPermission(ctx, user, prefix, clientv3.GetPrefixRangeEnd(prefix), permission)
		require.NoError(tb, err)
		_, err = anybody.UserGrantRole(ctx, user, user)
		require.NoError(tb, err)
	}
	add("root", clientv3.PermissionType(clientv3.PermReadWrite))
	add("writer", clientv3.PermissionType(clientv3.PermReadWrite))
	add("reader", clientv3.PermissionType(clientv3.PermRead))
	_, err := anybody.AuthEnable(ctx)
	require.NoError(tb, err)
	return config, connect(tb, as(config, "root"))
}

func TestStoreConformsWithTLSAndUsersWhoHaveTheirPrefixOnly(t *testing.T) {
	config, _ := startWithUsers(t, "/tests/")
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			prefix := etcd.WithPrefix("/tests" + newPrefix())
			return keystoretest.Storage{
				Open:         func(t *testing.T) keystore.KeyStore { return open(t, as(config, "writer"), prefix) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore { return open(t, as(config, "reader"), prefix) },
			}
		},
		MaxData: etcd.MaxData,
	})
}

func TestStoreSaysWhatEtcdSaysOutsideOfItsPermissions(t *testing.T) {
	config, _ := startWithUsers(t, "/tests/")
	store := open(t, as(config, "writer"), etcd.WithPrefix("/others/"))
	_, err := store.Get(t.Context(), "default", "key-1")
	require.ErrorContains(t, err, "permission denied")
	_, err = store.List(t.Context(), keystore.AllScopes, "")
	require.ErrorContains(t, err, "permission denied")
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.ErrorIs(t, err, keystore.ErrReadOnly)
	require.ErrorIs(t, store.Delete(t.Context(), "default", "key-1"), keystore.ErrReadOnly)
	err = store.Watch(t.Context(), func(keystore.Scope) { t.Error("a watch that may see nothing has begun") })
	require.ErrorContains(t, err, "permission denied")
}

func TestStoreRenewsATokenOfEtcdThatHasBecomeInvalid(t *testing.T) {
	config, root := startWithUsers(t, "/meshpass/")
	store := open(t, as(config, "writer"))
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	invalidate := func() { // as its expiry does
		_, err := root.UserChangePassword(t.Context(), "writer", password)
		require.NoError(t, err)
	}
	invalidate()
	_, err = store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	invalidate()
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
	require.NoError(t, err)
	invalidate()
	watched := watch(t, store)
	watched.await(keystore.AllScopes)
	invalidate()
	r.Data = []byte("content")
	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	watched.await("default")
}

func TestStoreIsTheUserThatItsCertificateNames(t *testing.T) {
	config, root := startWithUsers(t, "/meshpass/")
	store := open(t, config) // with a certificate of the name client
	_, err := store.Get(t.Context(), "default", "key-1")
	require.ErrorContains(t, err, "permission denied")
	_, err = root.UserAddWithOptions(t.Context(), "client", "", &clientv3.UserAddOptions{NoPassword: true})
	require.NoError(t, err)
	_, err = root.UserGrantRole(t.Context(), "client", "writer")
	require.NoError(t, err)
	create(t, store, "default", "key-1", "content")
	watch(t, store).await(keystore.AllScopes)
}

func TestStoreSaysThatItDoesNotTrustTheServer(t *testing.T) {
	ca := newAuthority(t)
	config := startCluster(t, 1, ca.serve(t)).config()
	config.TLS = newAuthority(t).clientTLS(t)
	store := open(t, config)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := store.Get(ctx, "default", "key-1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "certificate signed by unknown authority")

	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = etcd.Open(ctx, as(config, "writer"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

func TestStoreWithoutTheCertificateThatTheServerAsksForIsRefused(t *testing.T) {
	ca := newAuthority(t)
	config := startCluster(t, 1, ca.serve(t)).config()
	config.TLS = ca.clientTLS(t)
	config.TLS.Certificates = nil
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := open(t, config).Get(ctx, "default", "key-1")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Regexp(t, "connection error|broken pipe|connection reset", err.Error(), "as the refusal comes after the handshake (TLS 1.3)")
}

func TestStorePutsNoPasswordIntoErrorsAndPrintsNone(t *testing.T) {
	config, _ := startWithUsers(t, "/meshpass/")
	store := open(t, as(config, "writer"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%p"} {
		for _, holder := range []any{store, *store, struct{ store *etcd.Store }{store}, struct{ store etcd.Store }{*store}} {
			require.NotContains(t, fmt.Sprintf(verb, holder), password)
		}
	}
	config = as(config, "writer")
	config.Password = "wrong-secret"
	_, err := etcd.Open(t.Context(), config)
	require.ErrorContains(t, err, "authentication failed")
	require.NotContains(t, err.Error(), "secret")
}
