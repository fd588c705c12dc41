package serviceaccount_test

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	rbacv1 "k8s.io/client-go/kubernetes/typed/rbac/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/internal/test/engines"
)

const audience = "mesh.example.com"

// cluster is a real API server, and clients for what kubelets and operators do.
type cluster struct {
	*engines.Kubernetes
	core corev1.CoreV1Interface
	rbac rbacv1.RbacV1Interface
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Kubernetes: engines.SharedKubernetes(t)}
	var err error
	c.core, err = corev1.NewForConfig(c.admin())
	require.NoError(t, err)
	c.rbac, err = rbacv1.NewForConfig(c.admin())
	require.NoError(t, err)
	return c
}

func (c *cluster) admin() *rest.Config {
	return &rest.Config{Host: c.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: c.CA, CertData: c.Cert, KeyData: c.Key}}
}

// reviews returns a client for TokenReviews that counts what it is asked.
func (c *cluster) reviews(t *testing.T, config *rest.Config) *counted {
	t.Helper()
	client, err := authenticationv1.NewForConfig(config)
	require.NoError(t, err)
	return &counted{TokenReviewInterface: client.TokenReviews()}
}

// counted counts reviews.
type counted struct {
	authenticationv1.TokenReviewInterface
	n atomic.Int64
}

func (c *counted) Create(ctx context.Context, review *authentication.TokenReview, options meta.CreateOptions) (*authentication.TokenReview, error) {
	c.n.Add(1)
	return c.TokenReviewInterface.Create(ctx, review, options)
}

// namespace makes a namespace with the service accounts, which no controller makes
// here, and returns its name.
func (c *cluster) namespace(t *testing.T, accounts ...string) string {
	t.Helper()
	made, err := c.core.Namespaces().Create(t.Context(), &core.Namespace{ObjectMeta: meta.ObjectMeta{GenerateName: "test-"}}, meta.CreateOptions{})
	require.NoError(t, err)
	for _, account := range accounts {
		c.account(t, made.Name, account)
	}
	return made.Name
}

func (c *cluster) account(t *testing.T, namespace, name string) {
	t.Helper()
	_, err := c.core.ServiceAccounts(namespace).Create(t.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}, meta.CreateOptions{})
	require.NoError(t, err)
}

// pod makes a Pod, already on a node: there is no scheduler here.
func (c *cluster) pod(t *testing.T, namespace, account, name string) *core.Pod {
	t.Helper()
	made, err := c.core.Pods(namespace).Create(t.Context(), &core.Pod{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec: core.PodSpec{
			ServiceAccountName: account,
			NodeName:           "node-1",
			Containers:         []core.Container{{Name: "proxy", Image: "example.com/proxy:1"}},
		},
	}, meta.CreateOptions{})
	require.NoError(t, err)
	return made
}

// token returns a token for an account, as the kubelet gets one; bound to a Pod
// unless that is nil.
func (c *cluster) token(t *testing.T, namespace, account string, pod *core.Pod, audiences ...string) (raw string, expires time.Time) {
	t.Helper()
	seconds := int64(600)
	request := &authentication.TokenRequest{Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	if pod != nil {
		request.Spec.BoundObjectRef = &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	answer, err := c.core.ServiceAccounts(namespace).CreateToken(t.Context(), account, request, meta.CreateOptions{})
	require.NoError(t, err)
	return answer.Status.Token, answer.Status.ExpirationTimestamp.Time
}

// podOf describes a Pod of the API server's as the README does.
func podOf(pod *core.Pod) serviceaccount.Pod {
	return serviceaccount.Pod{Namespace: pod.Namespace, ServiceAccount: pod.Spec.ServiceAccountName,
		Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName}
}

// manifest decodes the README's manifest of a kind.
func manifest[T core.Pod | rbac.ClusterRole | rbac.ClusterRoleBinding](t *testing.T, kind string) *T {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if strings.Contains(text, "\nkind: "+kind+"\n") {
			object := new(T)
			require.NoError(t, yaml.UnmarshalStrict([]byte(text), object))
			return object
		}
	}
	require.Fail(t, "the README has no manifest of a "+kind)
	return nil
}

// newValidator returns a validator that ends with the test.
func newValidator(t testing.TB, reviews authenticationv1.TokenReviewInterface, options ...serviceaccount.Option) *serviceaccount.Validator {
	t.Helper()
	v, err := serviceaccount.NewValidator(reviews, []string{audience}, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, v.Close()) })
	return v
}
