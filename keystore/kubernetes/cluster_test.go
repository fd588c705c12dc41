package kubernetes_test

import (
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedrbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/kubernetes"
)

// cluster is the API server that all tests share, and its administrator.
type cluster struct {
	*engines.Kubernetes
	admin *rest.Config
}

func theCluster(tb testing.TB) *cluster {
	k := engines.SharedKubernetes(tb)
	c := &cluster{Kubernetes: k}
	c.admin = c.user(k.Cert, k.Key)
	return c
}

func (c *cluster) user(cert, key []byte) *rest.Config {
	return &rest.Config{
		Host:            c.URL,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA, CertData: cert, KeyData: key},
		QPS:             -1,
	}
}

// namespace is one to which rbac.yaml was applied, with the service accounts that
// it names.
type namespace struct {
	*cluster
	name                    string
	secrets                 typedcorev1.SecretInterface // as an administrator
	controlPlane, validator *rest.Config
}

// newNamespace makes a namespace. It stays: nobody here could delete it.
func (c *cluster) newNamespace(tb testing.TB) *namespace {
	tb.Helper()
	n := &namespace{cluster: c, name: "test-" + strings.ToLower(rand.Text()[:10])}
	n.secrets = secretsOf(tb, c.admin, n.name)
	_, err := coreClient(tb, c.admin).Namespaces().Create(tb.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n.name}}, metav1.CreateOptions{})
	require.NoError(tb, err)
	n.applyRoles(tb)
	n.controlPlane, n.validator = n.account(tb, "control-plane"), n.account(tb, "validator")
	return n
}

// applyRoles applies rbac.yaml as it is.
func (n *namespace) applyRoles(tb testing.TB) {
	tb.Helper()
	rbac, err := typedrbacv1.NewForConfig(n.admin)
	require.NoError(tb, err)
	manifest, err := os.ReadFile("rbac.yaml")
	require.NoError(tb, err)
	for document := range strings.SplitSeq(string(manifest), "\n---\n") {
		var kind metav1.TypeMeta
		require.NoError(tb, yaml.Unmarshal([]byte(document), &kind))
		switch kind.Kind {
		case "Role":
			var role rbacv1.Role
			require.NoError(tb, yaml.UnmarshalStrict([]byte(document), &role))
			_, err = rbac.Roles(n.name).Create(tb.Context(), &role, metav1.CreateOptions{})
		case "RoleBinding":
			var binding rbacv1.RoleBinding
			require.NoError(tb, yaml.UnmarshalStrict([]byte(document), &binding))
			_, err = rbac.RoleBindings(n.name).Create(tb.Context(), &binding, metav1.CreateOptions{})
		default:
			require.Fail(tb, "unknown kind", kind.Kind)
		}
		require.NoError(tb, err)
	}
}

// account makes a service account and returns the configuration of a Pod that runs
// as it, once its role is in force.
func (n *namespace) account(tb testing.TB, name string) *rest.Config {
	tb.Helper()
	accounts := coreClient(tb, n.admin).ServiceAccounts(n.name)
	_, err := accounts.Create(tb.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(tb, err)
	day := int64(24 * 60 * 60)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &day}}
	request, err = accounts.CreateToken(tb.Context(), name, request, metav1.CreateOptions{})
	require.NoError(tb, err)
	account := n.user(nil, nil)
	account.BearerToken = request.Status.Token
	require.Eventually(tb, func() bool { // the API server hears of it by a watch of its own
		_, err := secretsOf(tb, account, n.name).List(tb.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) {
			require.NoError(tb, err)
		}
		return err == nil
	}, 10*time.Second, time.Millisecond)
	return account
}

// clear removes all Secrets.
func (n *namespace) clear(tb testing.TB) {
	tb.Helper()
	require.NoError(tb, n.secrets.DeleteCollection(tb.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
}

// open returns a store for the control plane.
func (n *namespace) open(tb testing.TB) keystore.KeyStore {
	tb.Helper()
	return newStore(tb, n.controlPlane, n.name)
}

// openReadOnly returns a store for a validator.
func (n *namespace) openReadOnly(tb testing.TB) keystore.KeyStore {
	tb.Helper()
	return newStore(tb, n.validator, n.name)
}

func newStore(tb testing.TB, user *rest.Config, namespace string) *kubernetes.Store {
	tb.Helper()
	store, err := kubernetes.New(secretsOf(tb, user, namespace))
	require.NoError(tb, err)
	return store
}

func secretsOf(tb testing.TB, user *rest.Config, namespace string) typedcorev1.SecretInterface {
	tb.Helper()
	return coreClient(tb, user).Secrets(namespace)
}

func coreClient(tb testing.TB, user *rest.Config) *typedcorev1.CoreV1Client {
	tb.Helper()
	client, err := typedcorev1.NewForConfig(user)
	require.NoError(tb, err)
	return client
}

// storage is what another process needs to open the store.
type storage struct {
	Host, Namespace, Token string
	TLS                    rest.TLSClientConfig
}

func (n *namespace) storage(tb testing.TB) string {
	tb.Helper()
	text, err := json.Marshal(storage{n.controlPlane.Host, n.name, n.controlPlane.BearerToken, n.controlPlane.TLSClientConfig})
	require.NoError(tb, err)
	return string(text)
}

func openStorage(text string) (keystore.KeyStore, error) {
	var s storage
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, err
	}
	client, err := typedcorev1.NewForConfig(&rest.Config{Host: s.Host, BearerToken: s.Token, TLSClientConfig: s.TLS, QPS: -1})
	if err != nil {
		return nil, err
	}
	return kubernetes.New(client.Secrets(s.Namespace))
}
