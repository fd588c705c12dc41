package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/internal/test/engines"
)

// Kubernetes says where an API server is, to other processes too, with the rights of an
// administrator.
type Kubernetes struct {
	URL           string
	CA, Cert, Key []byte
	Namespace     string // of the proxies' accounts
}

// The service accounts of the proxies: the operator deletes the old one.
const (
	oldAccount = "old"
	newAccount = "new"
)

func newKubernetes(tb testing.TB) Kubernetes {
	tb.Helper()
	server := engines.NewKubernetes(tb)
	k := Kubernetes{URL: server.URL, CA: server.CA, Cert: server.Cert, Key: server.Key, Namespace: "proxies"}
	client := k.core(tb)
	_, err := client.Namespaces().Create(tb.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: k.Namespace}}, meta.CreateOptions{})
	require.NoError(tb, err)
	for _, name := range []string{oldAccount, newAccount} {
		_, err := client.ServiceAccounts(k.Namespace).Create(tb.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
		require.NoError(tb, err)
	}
	return k
}

func (k Kubernetes) rest() *rest.Config {
	return &rest.Config{Host: k.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: k.CA, CertData: k.Cert, KeyData: k.Key}}
}

func (k Kubernetes) core(tb testing.TB) corev1.CoreV1Interface {
	tb.Helper()
	client, err := corev1.NewForConfig(k.rest())
	require.NoError(tb, err)
	return client
}

// issueTokens requests tokens for n proxies, of both accounts.
func (k Kubernetes) issueTokens(tb testing.TB, n int) tokens {
	tb.Helper()
	accounts := k.core(tb).ServiceAccounts(k.Namespace)
	request := func(account string) []string {
		raws := make([]string, n)
		seconds := int64(3600)
		require.NoError(tb, concurrently(16, n, func(i int) error {
			answer, err := accounts.CreateToken(tb.Context(), account, &authentication.TokenRequest{
				Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
			}, meta.CreateOptions{})
			if err != nil {
				return err
			}
			raws[i] = answer.Status.Token
			return nil
		}))
		return raws
	}
	return tokens{old: request(oldAccount), replacement: request(newAccount)}
}

// deletion is the operator's command that makes tokens of the old account bad.
func (k Kubernetes) deletion(tb testing.TB) func(ctx context.Context) error {
	tb.Helper()
	accounts := k.core(tb).ServiceAccounts(k.Namespace)
	return func(ctx context.Context) error { return accounts.Delete(ctx, oldAccount, meta.DeleteOptions{}) }
}
