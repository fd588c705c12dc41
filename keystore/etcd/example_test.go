package etcd_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// The certificate of this control plane names it as a user of etcd.
func ExampleOpen() {
	ctx := context.Background()
	ca, err := os.ReadFile("/etc/etcd/ca.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	certificate, err := tls.LoadX509KeyPair("/etc/meshpass/etcd.pem", "/etc/meshpass/etcd-key.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := etcd.Open(ctx, clientv3.Config{
		Endpoints: []string{"https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"},
		TLS:       &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}},
	}, etcd.WithPrefix("/meshpass/production/"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()

	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		fmt.Println(err)
	}
}
